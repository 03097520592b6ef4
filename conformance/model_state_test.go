package conformance_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The model: what the documents say of a Manager and its store, in a few
// slices that are searched from end to end. It knows no tokens, hashes or IDs,
// but numbers them; a world (world_test.go) knows what a store has in their
// place. A name that begins with "?" is that of something random.

type model struct {
	now     time.Time
	apps    []*mApp  // in order of ID, deleted ones included
	recs    []*mAuth // in order of ID
	lastID  int
	tokens  []mToken // token n is tokens[n-1]
	secrets int      // how many client secrets were made
	random  int      // how many "?" names were made
	events  []mEvent // of this operation

	suspended map[string]time.Time // owners
}

// mConfig is what a Manager is configured with.
type mConfig struct {
	prefix    string
	lifetime  time.Duration
	maxUser   int // 0: no limit
	maxScopes int // 0: no limit
	scopes    []string
}

type mApp struct {
	client, name, url string
	secrets           []mSecret
	rev               int64
	created, updated  time.Time
	suspended         time.Time
	deleted           bool
}

type mSecret struct {
	n                int
	created, expires time.Time
}

type mAuth struct {
	id, tok                           int
	owner, client, fp                 string
	scopes                            []string
	note, url                         string
	issued, created, updated, expires time.Time
	used                              time.Time
	replay                            *mReplay

	// spent: it has expired and was in the way of another. Stores need not keep
	// it, and need not remove it.
	spent bool
}

// mReplay is the answer that is kept for an Idempotency-Key.
type mReplay struct {
	key, request string
	created      bool
	sealed       bool // the token was neither used nor replaced yet
	ends         time.Time
}

type mToken struct{ prefix string }

type mGrantee struct{ owner, client string }

type mGrant struct {
	owner            string
	app              mApp
	scopes           []string
	count            int
	created, updated time.Time
}

// mEvent is an event. bulk are the IDs of many in one event.
type mEvent struct {
	kind, reason, owner, client string
	id                          int
	bulk                        []int
}

// mRequest is a request of any kind.
type mRequest struct {
	owner, client, secret, fp string
	secretN                   int // the number of the client secret, 0: secret is as it is
	scopes                    []string
	note, url, onExisting     string
	key                       string
	token                     mGiven // for the app's side
}

// mGiven is a token as somebody presents it: number n (0: none), with text
// behind it.
type mGiven struct {
	n    int
	text string
}

// outcome is what an operation returns. errs has more than one where the
// documents leave open which one it is; "" is none.
type outcome struct {
	errs       []string
	rec        *mAuth
	app        *mApp
	tok        int // the token that is shown
	created    bool
	replayed   bool
	notApplied []string
	removed    []int // what went or would go, spent ones included
	recs       []mAuth
	grants     []mGrant
	n          int64
}

func failed(errs ...string) outcome { return outcome{errs: errs} }

const (
	notFound      = "not found"
	invalidClient = "invalid client"
	invalidToken  = "invalid token"
	personalID    = "00000000000000000000"
)

// problem is a field error, as problems joins them.
func problem(field, code string) string { return field + " " + code }

func taken(field string, id int) string { return fmt.Sprintf("%s already_exists #%d", field, id) }

func problems(list []string) string {
	slices.Sort(list)
	return "validation: " + strings.Join(slices.Compact(list), ", ")
}

func (r *mAuth) expired(now time.Time) bool { return !r.expires.IsZero() && !now.Before(r.expires) }

func (m *model) live() (live []*mAuth) {
	for _, r := range m.recs {
		if !r.expired(m.now) {
			live = append(live, r)
		}
	}
	return live
}

func (m *model) appOf(client string) *mApp {
	for _, a := range m.apps {
		if a.client == client && !a.deleted {
			return a
		}
	}
	return nil
}

func (m *model) event(e mEvent) { m.events = append(m.events, e) }

// authenticate returns the app if the secret is one of its live ones.
func (m *model) authenticate(client string, secret int) *mApp {
	if a := m.appOf(client); a != nil && a.suspended.IsZero() {
		for _, s := range a.secrets {
			if s.n == secret && (s.expires.IsZero() || m.now.Before(s.expires)) {
				return a
			}
		}
	}
	return nil
}

// normal drops duplicates.
func normal(scopes []string) []string {
	if scopes == nil {
		return nil
	}
	out := []string{}
	for _, s := range scopes {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func scopeProblem(c mConfig, field string, scopes []string, declared bool) []string {
	for _, s := range scopes {
		if slices.Contains(badScopes, s) {
			return []string{problem(field, "invalid")}
		}
	}
	if len(scopes) > 100 {
		return []string{problem(field, "invalid")}
	}
	for _, s := range scopes {
		if declared && c.scopes != nil && !slices.Contains(c.scopes, s) {
			return []string{problem(field, "custom")}
		}
	}
	return nil
}

func invalid(field, value string, bad []string) []string {
	if slices.Contains(bad, value) {
		return []string{problem(field, "invalid")}
	}
	return nil
}

// validate checks what all requests have.
func (m *model) validate(c mConfig, r mRequest) (p []string) {
	p = append(p, scopeProblem(c, "scopes", r.scopes, true)...)
	p = append(p, invalid("note", r.note, badNotes)...)
	p = append(p, invalid("note_url", r.url, badURLs)...)
	p = append(p, invalid("fingerprint", r.fp, badFingerprints)...)
	p = append(p, invalid("on_existing", r.onExisting, []string{"replace"})...)
	p = append(p, invalid("Idempotency-Key", r.key, badKeys)...)
	return p
}

func blank(note string) bool { return strings.TrimSpace(note) == "" }

// once is how an Idempotency-Key works: do runs unless its answer is kept.
func (m *model) once(sender, key, request string, do func(*mReplay) outcome) outcome {
	if key == "" {
		return do(nil)
	}
	name := sender + " " + key
	for _, r := range m.recs {
		switch {
		case r.replay == nil || r.replay.key != name || r.replay.ended(m.now):
		case r.expired(m.now):
			r.spent = true // a dead token is nobody's answer
		case r.replay.request != request:
			return failed(problems([]string{problem("Idempotency-Key", "custom")}))
		case !r.replay.sealed:
			return outcome{errs: []string{problems([]string{problem("Idempotency-Key", "custom")})}, rec: r, n: 1} // n: used
		default:
			return outcome{rec: r, tok: r.tok, created: r.replay.created, replayed: true}
		}
	}
	return do(&mReplay{key: name, request: request, sealed: true})
}

// keep stores the answer to a request with the record it made.
func (r *mAuth) keep(replay *mReplay, created bool, now time.Time) {
	if r.replay = nil; replay == nil {
		return
	}
	kept := *replay
	kept.created, kept.ends = created, now.Add(10*time.Minute)
	r.replay = &kept
}

// spend ends the answer that is kept; its key is not free before its time.
func (r *mAuth) spend() {
	if r.replay == nil || !r.replay.sealed {
		return
	}
	spent := *r.replay
	spent.sealed = false
	r.replay = &spent
}

// ended: it counts as none, and may be wiped or not.
func (r *mReplay) ended(now time.Time) bool { return !now.Before(r.ends) }

func (m *model) wipeReplays() outcome {
	for _, r := range m.recs {
		if r.replay != nil && r.replay.ended(m.now) {
			r.replay = nil
		}
	}
	return outcome{}
}

func (m *model) newToken(c mConfig) int {
	m.tokens = append(m.tokens, mToken{c.prefix})
	return len(m.tokens)
}

func (c mConfig) end(now time.Time) time.Time {
	if c.lifetime == 0 {
		return time.Time{}
	}
	return now.Add(c.lifetime)
}

func (m *model) getOrCreate(c mConfig, r mRequest) outcome {
	p := m.validate(c, r)
	p = append(p, invalid("owner", r.owner, badOwners)...)
	if r.secretN == 0 && r.secret == "" {
		p = append(p, problem("client_secret", "missing_field"))
	}
	if p != nil {
		return failed(problems(p))
	}
	app := m.authenticate(r.client, r.secretN)
	if app == nil {
		return failed(invalidClient)
	}
	r.scopes = normal(r.scopes)
	request := fmt.Sprintf("get or create %q", []any{r.client, r.fp, r.scopes, r.scopes == nil, r.note, r.url, cmp.Or(r.onExisting, "return")})
	a := m.once("user "+r.owner, r.key, request, func(replay *mReplay) outcome { return m.getOrCreateOnce(c, r, replay) })
	if a.errs != nil && a.n == 1 { // the token is in use
		if a.rec.owner != r.owner || a.rec.client != r.client || a.rec.fp != r.fp || r.onExisting == "rotate" {
			return failed(a.errs...)
		}
		a = m.getOrCreateOnce(c, r, nil)
	}
	if a.errs != nil {
		return a
	}
	a.app = app
	if !a.created {
		if r.scopes != nil && !sameSet(r.scopes, a.rec.scopes) {
			a.notApplied = append(a.notApplied, "scopes")
		}
		if r.note != "" && r.note != a.rec.note {
			a.notApplied = append(a.notApplied, "note")
		}
		if r.url != "" && r.url != a.rec.url {
			a.notApplied = append(a.notApplied, "note_url")
		}
	}
	return a
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func (m *model) getOrCreateOnce(c mConfig, r mRequest, replay *mReplay) outcome {
	for _, old := range m.live() {
		if old.owner != r.owner || old.client != r.client || old.fp != r.fp {
			continue
		}
		switch r.onExisting {
		case "error":
			return failed(fmt.Sprintf("exists #%d", old.id))
		case "rotate":
			return m.rotate(c, old, replay)
		}
		return outcome{rec: old}
	}
	for _, old := range m.recs { // all of them have expired
		if old.owner == r.owner && old.client == r.client && old.fp == r.fp {
			old.spent = true
		}
	}
	rec := m.add(c, r, c.end(m.now), replay)
	m.trim(rec, c.maxUser, 0, func(*mAuth) bool { return true })
	return outcome{rec: rec, tok: rec.tok, created: true}
}

// add stores a new record, and removes the expired ones in its way.
func (m *model) add(c mConfig, r mRequest, end time.Time, replay *mReplay) *mAuth {
	m.lastID++
	rec := &mAuth{
		id: m.lastID, tok: m.newToken(c), owner: r.owner, client: r.client, fp: r.fp, scopes: r.scopes, note: r.note, url: r.url,
		issued: m.now, created: m.now, updated: m.now, expires: end,
	}
	rec.keep(replay, true, m.now)
	m.makeWay(rec)
	m.recs = append(m.recs, rec)
	m.event(mEvent{kind: "created", owner: rec.owner, client: rec.client, id: rec.id})
	return rec
}

func (m *model) rotate(c mConfig, rec *mAuth, replay *mReplay) outcome {
	rec.tok, rec.issued, rec.updated, rec.expires = m.newToken(c), m.now, m.now, c.end(m.now)
	if replay != nil {
		rec.keep(replay, false, m.now)
	} else {
		rec.spend()
	}
	m.event(mEvent{kind: "rotated", owner: rec.owner, client: rec.client, id: rec.id})
	return outcome{rec: rec, tok: rec.tok}
}

// inTheWay are the other records that have what is unique of rec.
func (m *model) inTheWay(rec *mAuth) (notes, fingerprints []*mAuth) {
	for _, old := range m.recs {
		if old.id == rec.id || old.owner != rec.owner || old.client != rec.client {
			continue
		}
		if rec.client == "" && old.note == rec.note {
			notes = append(notes, old)
		}
		if rec.fp != "" && old.fp == rec.fp {
			fingerprints = append(fingerprints, old)
		}
	}
	return notes, fingerprints
}

// makeWay removes the expired records in the way of rec.
func (m *model) makeWay(rec *mAuth) {
	notes, fingerprints := m.inTheWay(rec)
	for _, old := range slices.Concat(notes, fingerprints) {
		m.remove(old.id)
	}
}

// conflicts are the live records in the way of rec, as errors. If there are
// any, the store may remove the expired ones or leave them.
func (m *model) conflicts(rec *mAuth) (errs []string) {
	notes, fingerprints := m.inTheWay(rec)
	for _, old := range notes {
		if !old.expired(m.now) {
			errs = append(errs, problems([]string{taken("note", old.id)}))
		}
	}
	for _, old := range fingerprints {
		if !old.expired(m.now) {
			errs = append(errs, problems([]string{taken("fingerprint", old.id)}))
		}
	}
	if errs != nil {
		for _, old := range slices.Concat(notes, fingerprints) {
			old.spent = old.spent || old.expired(m.now)
		}
	}
	return errs
}

func (m *model) remove(ids ...int) {
	m.recs = slices.DeleteFunc(m.recs, func(r *mAuth) bool { return slices.Contains(ids, r.id) })
}

// trim makes the oldest of those that count go. The limit is one of those beside
// spared.
func (m *model) trim(rec *mAuth, limit, spared int, counts func(*mAuth) bool) {
	var all []*mAuth
	for _, r := range m.live() {
		if r.owner == rec.owner && r.client == rec.client && r.id != spared && counts(r) {
			all = append(all, r)
		}
	}
	excess := len(all) - limit
	for _, r := range all {
		if limit > 0 && excess > 0 {
			excess--
			m.remove(r.id)
			m.event(mEvent{kind: "revoked", reason: "limit", owner: r.owner, client: r.client, id: r.id})
		}
	}
}

func (m *model) create(c mConfig, r mRequest) outcome {
	p := m.validate(c, r)
	p = append(p, invalid("owner", r.owner, badOwners)...)
	switch {
	case r.client == "" && blank(r.note):
		p = append(p, problem("note", "missing_field"))
	case r.client != "" && r.secretN == 0 && r.secret == "":
		p = append(p, problem("client_secret", "missing_field"))
	}
	if r.onExisting != "" {
		p = append(p, problem("on_existing", "invalid"))
	}
	if p != nil {
		return failed(problems(p))
	}
	var app *mApp
	if r.client != "" {
		if app = m.authenticate(r.client, r.secretN); app == nil {
			return failed(invalidClient)
		}
	}
	r.scopes = normal(r.scopes)
	request := fmt.Sprintf("create %q", []any{r.client, r.fp, r.scopes, r.scopes == nil, r.note, r.url})
	a := m.once("user "+r.owner, r.key, request, func(replay *mReplay) outcome {
		return m.createOnce(c, r, c.end(m.now), replay, 0)
	})
	if a.errs == nil {
		if a.app = app; app == nil {
			a.app = &mApp{client: personalID, name: a.rec.note, url: a.rec.url}
		}
	}
	return a
}

func (m *model) createOnce(c mConfig, r mRequest, end time.Time, replay *mReplay, spared int) outcome {
	if errs := m.conflicts(&mAuth{owner: r.owner, client: r.client, fp: r.fp, note: r.note}); errs != nil {
		return failed(errs...)
	}
	rec := m.add(c, r, end, replay)
	if rec.client != "" {
		m.trim(rec, c.maxScopes, spared, func(o *mAuth) bool { return sameSet(o.scopes, rec.scopes) })
		m.trim(rec, c.maxUser, spared, func(*mAuth) bool { return true })
	}
	return outcome{rec: rec, tok: rec.tok, created: true}
}

// find returns the owner's live authorization.
func (m *model) find(owner string, id int) *mAuth {
	for _, r := range m.live() {
		if r.owner == owner && r.id == id {
			return r
		}
	}
	return nil
}

func (m *model) get(owner string, id int) outcome {
	if r := m.find(owner, id); r != nil {
		return outcome{rec: r}
	}
	return failed(notFound)
}

type mList struct {
	client             string
	after, skip, limit int // after is an ID's number
}

// selects reports whether a client_id as callers write it selects r.
func selects(client string, r *mAuth) bool {
	return client == "" || client == r.client || client == personalID && r.client == ""
}

func (m *model) list(owner string, o mList) (a outcome) {
	if o.limit <= 0 {
		o.limit = 100
	}
	for _, r := range m.live() {
		switch {
		case r.owner != owner || !selects(o.client, r) || r.id <= o.after:
		case o.skip > 0:
			o.skip--
		case len(a.recs) < min(o.limit, 1000):
			a.recs = append(a.recs, *r)
		}
	}
	return a
}

func (m *model) count(owner, client string) (a outcome) {
	a.n = int64(len(m.list(owner, mList{client: client, limit: 1000}).recs))
	return a
}

type mUpdate struct {
	scopes, add, remove []string
	note, url, fp       *string
}

func (m *model) update(c mConfig, owner string, id int, u mUpdate) outcome {
	var p []string
	given := 0
	for _, l := range []struct {
		field  string
		scopes []string
	}{{"scopes", u.scopes}, {"add_scopes", u.add}, {"remove_scopes", u.remove}} {
		if l.scopes != nil {
			given++
			p = append(p, scopeProblem(c, l.field, l.scopes, l.field != "remove_scopes")...)
		}
	}
	if given > 1 {
		p = append(p, problem("scopes", "invalid"))
	}
	if u.note != nil {
		p = append(p, invalid("note", *u.note, badNotes)...)
	}
	if u.url != nil {
		p = append(p, invalid("note_url", *u.url, badURLs)...)
	}
	if u.fp != nil {
		p = append(p, invalid("fingerprint", *u.fp, badFingerprints)...)
	}
	if p != nil {
		return failed(problems(p))
	}
	r := m.find(owner, id)
	if r == nil {
		return failed(notFound)
	}
	next := *r
	switch {
	case u.scopes != nil:
		next.scopes = normal(u.scopes)
	case u.add != nil:
		next.scopes = normal(slices.Concat(r.scopes, u.add))
		if len(next.scopes) > 100 {
			p = append(p, problem("add_scopes", "invalid"))
		}
	case u.remove != nil:
		next.scopes = nil
		for _, s := range r.scopes {
			if !slices.Contains(u.remove, s) {
				next.scopes = append(next.scopes, s)
			}
		}
	}
	if u.note != nil {
		if next.note = *u.note; r.client == "" && blank(next.note) {
			p = append(p, problem("note", "missing_field"))
		}
	}
	if u.url != nil {
		next.url = *u.url
	}
	if u.fp != nil {
		next.fp = *u.fp
	}
	if p != nil {
		return failed(problems(p))
	}
	if slices.Equal(next.scopes, r.scopes) && next.note == r.note && next.url == r.url && next.fp == r.fp {
		return outcome{rec: r}
	}
	if errs := m.conflicts(&next); errs != nil {
		return failed(errs...)
	}
	m.makeWay(&next)
	next.updated = m.now
	*r = next
	m.event(mEvent{kind: "updated", owner: r.owner, client: r.client, id: r.id})
	return outcome{rec: r}
}

func (m *model) delete(owner string, id int) outcome {
	for _, r := range m.recs {
		if r.owner == owner && r.id == id && !r.expired(m.now) {
			m.remove(id)
			m.event(mEvent{kind: "revoked", owner: r.owner, client: r.client, id: id})
			return outcome{removed: []int{id}}
		}
	}
	return failed(notFound)
}

func (m *model) revokeAll(owner, client string, dry bool) (a outcome) {
	var p []string
	if owner == "" && client == "" {
		p = append(p, problem("owner", "missing_field"))
	}
	if owner != "" {
		p = append(p, invalid("owner", owner, badOwners)...)
	}
	if p = append(p, invalid("client_id", client, badClients)...); p != nil {
		return failed(problems(p))
	}
	for _, r := range m.recs {
		if (owner == "" || r.owner == owner) && selects(client, r) {
			a.removed = append(a.removed, r.id)
		}
	}
	if !dry {
		m.remove(a.removed...)
		m.event(mEvent{kind: "revoked", owner: owner, client: client, bulk: a.removed})
	}
	return a
}

func (m *model) grants(owner string) (a outcome) {
	for _, app := range m.apps {
		g := mGrant{owner: owner, app: *app}
		for _, r := range m.live() {
			if r.owner != owner || r.client != app.client || app.deleted {
				continue
			}
			if g.count++; g.count == 1 {
				g.created = r.created
			}
			if r.updated.After(g.updated) {
				g.updated = r.updated
			}
			g.scopes = normal(slices.Concat(g.scopes, r.scopes))
		}
		if g.count > 0 {
			a.grants = append(a.grants, g)
		}
	}
	return a
}

func (m *model) grant(owner, client string) outcome {
	for _, g := range m.grants(owner).grants {
		if g.app.client == client {
			return outcome{grants: []mGrant{g}}
		}
	}
	return failed(notFound)
}

func (m *model) deleteGrant(owner, client string) (a outcome) {
	if a := m.grant(owner, client); a.errs != nil {
		return a
	}
	return m.deleteAll(owner, client)
}

func (m *model) deleteAll(owner, client string) (a outcome) {
	for _, r := range m.recs {
		if r.owner == owner && r.client == client {
			a.removed = append(a.removed, r.id)
		}
	}
	m.remove(a.removed...)
	m.event(mEvent{kind: "revoked", owner: owner, client: client, bulk: a.removed})
	return a
}

// use finds the live authorization of a token. Whoever has the token needs no
// replay of the answer that held it.
func (m *model) use(c mConfig, t mGiven) *mAuth {
	for _, r := range m.live() {
		if t.text == "" && r.tok == t.n && m.tokens[t.n-1].prefix == c.prefix {
			r.spend()
			return r
		}
	}
	return nil
}

func (m *model) verify(c mConfig, t mGiven) outcome {
	if r := m.use(c, t); r != nil && (r.client == "" || m.appOf(r.client) != nil) && !m.asleep(r) {
		return outcome{rec: r}
	}
	return failed(invalidToken)
}

func (m *model) check(c mConfig, client string, t mGiven) outcome {
	a := m.ofApp(c, client, t)
	if a.errs == nil && m.asleep(a.rec) {
		return failed(notFound)
	}
	return a
}

// asleep: its user or its app is suspended.
func (m *model) asleep(r *mAuth) bool {
	app := m.appOf(r.client)
	return !m.suspended[r.owner].IsZero() || app != nil && !app.suspended.IsZero()
}

// ofApp is check for what a suspended user's tokens can do, too.
func (m *model) ofApp(c mConfig, client string, t mGiven) outcome {
	if r := m.use(c, t); r != nil && r.client == client && client != "" {
		return outcome{rec: r}
	}
	return failed(notFound)
}

func (m *model) reset(c mConfig, r mRequest) outcome {
	if p := invalid("Idempotency-Key", r.key, badKeys); p != nil {
		return failed(problems(p))
	}
	app := m.appOf(r.client)
	if app == nil {
		return failed(notFound)
	}
	a := m.once("app "+r.client, r.key, fmt.Sprintf("reset %v", r.token), func(replay *mReplay) outcome {
		a := m.check(c, r.client, r.token)
		if a.errs != nil {
			return a
		}
		return m.rotate(c, a.rec, replay)
	})
	if a.replayed && m.asleep(a.rec) {
		return failed(notFound)
	}
	a.app = app
	return a
}

func (m *model) revoke(c mConfig, client string, t mGiven) outcome {
	a := m.ofApp(c, client, t)
	if a.errs != nil {
		return a
	}
	m.remove(a.rec.id)
	m.event(mEvent{kind: "revoked", owner: a.rec.owner, client: client, id: a.rec.id})
	return outcome{}
}

func (m *model) revokeGrant(c mConfig, client string, t mGiven) outcome {
	a := m.ofApp(c, client, t)
	if a.errs != nil {
		return a
	}
	return m.deleteAll(a.rec.owner, client)
}

func (m *model) scoped(c mConfig, r mRequest) outcome {
	p := m.validate(c, r)
	if r.scopes == nil {
		p = append(p, problem("scopes", "missing_field"))
	}
	if p != nil {
		return failed(problems(p))
	}
	app := m.appOf(r.client)
	if app == nil {
		return failed(notFound)
	}
	r.scopes = normal(r.scopes)
	request := fmt.Sprintf("scoped %q %v", []any{r.fp, r.scopes, r.note, r.url}, r.token)
	a := m.once("app "+r.client, r.key, request, func(replay *mReplay) outcome {
		a := m.check(c, r.client, r.token)
		if a.errs != nil {
			return a
		}
		for _, s := range r.scopes {
			if !slices.Contains(a.rec.scopes, s) {
				return failed(problems([]string{problem("scopes", "custom")}))
			}
		}
		r := r
		if r.owner = a.rec.owner; r.fp == "" {
			m.random++
			r.fp = fmt.Sprintf("?fingerprint %d", m.random)
		}
		end := c.end(m.now)
		if wide := a.rec.expires; end.IsZero() || !wide.IsZero() && wide.Before(end) {
			end = wide
		}
		return m.createOnce(c, r, end, replay, a.rec.id)
	})
	if a.replayed {
		if wide := m.check(c, r.client, r.token); wide.errs != nil {
			return wide
		}
	}
	a.app = app
	return a
}

func (m *model) suspendUser(owner string, suspend bool) outcome {
	if p := invalid("owner", owner, badOwners); p != nil {
		return failed(problems(p))
	}
	switch was := !m.suspended[owner].IsZero(); {
	case was == suspend:
	case suspend:
		m.suspended[owner] = m.now
		m.event(mEvent{kind: "suspended", owner: owner})
	default:
		delete(m.suspended, owner)
		m.event(mEvent{kind: "resumed", owner: owner})
	}
	return outcome{}
}

func (m *model) suspendApp(client string, suspend bool) outcome {
	app := m.appOf(client)
	if app == nil {
		return failed(notFound)
	}
	switch was := !app.suspended.IsZero(); {
	case was == suspend:
		return outcome{app: app}
	case suspend:
		app.suspended = m.now
		m.event(mEvent{kind: "suspended", client: client})
	default:
		app.suspended = time.Time{}
		m.event(mEvent{kind: "resumed", client: client})
	}
	app.rev++
	app.updated = m.now
	return outcome{app: app}
}

// touch is that a use at a time is stored.
func (m *model) touch(id int, at time.Time) outcome {
	for _, r := range m.recs {
		if r.id == id && at.After(r.used) {
			r.used = at
		}
	}
	return outcome{}
}

func (m *model) purge() (a outcome) {
	for _, r := range m.recs {
		if r.expired(m.now) {
			a.removed = append(a.removed, r.id)
		}
	}
	m.remove(a.removed...)
	return a
}

func (m *model) expiringWithin(d time.Duration) (a outcome) {
	for _, r := range m.live() {
		if !r.expires.IsZero() && !r.expires.After(m.now.Add(d)) {
			a.recs = append(a.recs, *r)
		}
	}
	slices.SortStableFunc(a.recs, func(x, y mAuth) int { return x.expires.Compare(y.expires) })
	return a
}

func (m *model) unused(since time.Time) (a outcome) {
	for _, r := range m.live() {
		if r.created.Before(since) && r.used.Before(since) {
			a.recs = append(a.recs, *r)
		}
	}
	return a
}

// registerApp takes a client_id and its secret's number, or "" for random ones.
func (m *model) registerApp(name, url, client string, secret int) outcome {
	var p []string
	if blank(name) {
		p = append(p, problem("name", "missing_field"))
	} else {
		p = append(p, invalid("name", name, badNotes)...)
	}
	p = append(p, invalid("url", url, badURLs)...)
	p = append(p, invalid("client_id", client, append(badClients, personalID))...)
	if p != nil {
		return failed(problems(p))
	}
	if client == "" {
		m.random++
		client = fmt.Sprintf("?client %d", m.random)
	}
	for _, a := range m.apps {
		if a.client == client { // deleted or not
			return failed(problems([]string{problem("client_id", "already_exists")}))
		}
	}
	app := &mApp{client: client, name: name, url: url, rev: 1, created: m.now, updated: m.now, secrets: []mSecret{{n: secret, created: m.now}}}
	m.apps = append(m.apps, app)
	return outcome{app: app}
}

func (m *model) rotateSecret(client string, secret int, overlap time.Duration) outcome {
	if overlap < 0 {
		return failed(problems([]string{problem("overlap", "invalid")}))
	}
	app := m.appOf(client)
	if app == nil {
		return failed(notFound)
	}
	var secrets []mSecret
	end := m.now.Add(overlap)
	for _, s := range app.secrets {
		if s.expires.IsZero() || m.now.Before(s.expires) {
			if s.expires.IsZero() || end.Before(s.expires) {
				s.expires = end
			}
			secrets = append(secrets, s)
		}
	}
	app.secrets = append(secrets, mSecret{n: secret, created: m.now})
	app.rev++
	app.updated = m.now
	return outcome{app: app}
}

func (m *model) updateApp(client string, name, url *string) outcome {
	var p []string
	if name != nil && blank(*name) {
		p = append(p, problem("name", "missing_field"))
	} else if name != nil {
		p = append(p, invalid("name", *name, badNotes)...)
	}
	if url != nil {
		p = append(p, invalid("url", *url, badURLs)...)
	}
	if p != nil {
		return failed(problems(p))
	}
	app := m.appOf(client)
	if app == nil {
		return failed(notFound)
	}
	if name != nil {
		app.name = *name
	}
	if url != nil {
		app.url = *url
	}
	app.rev++
	app.updated = m.now
	return outcome{app: app}
}

func (m *model) deleteApp(client string) (a outcome) {
	app := m.appOf(client)
	if app == nil {
		return failed(notFound)
	}
	app.deleted = true
	for _, r := range m.recs {
		if r.client == client {
			a.removed = append(a.removed, r.id)
		}
	}
	m.remove(a.removed...)
	m.event(mEvent{kind: "revoked", client: client, bulk: a.removed})
	return a
}
