package conformance_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// backend is a kind of store: two handles on one, and a way to empty it.
type backend struct {
	name  string
	empty func() [2]store.Store
}

func backends(t *testing.T) []backend {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var lite [2]store.Store
	var liteDB *sql.DB
	path := filepath.Join(t.TempDir(), "model.db")
	for i := range lite {
		s, err := sqlite.Open(t.Context(), path)
		must(err)
		t.Cleanup(func() { _ = s.Close() })
		lite[i], liteDB = s, s.DB()
	}
	var pg [2]store.Store
	var pgDB *sql.DB
	dsn := pgtest.DSN(t)
	for i := range pg {
		s, err := postgres.Open(t.Context(), dsn)
		must(err)
		t.Cleanup(func() { _ = s.Close() })
		pg[i], pgDB = s, s.DB()
	}
	return []backend{
		{"memory", func() [2]store.Store { s := memory.New(); return [2]store.Store{s, s} }},
		{"SQLite", func() [2]store.Store {
			for _, table := range []string{"authz_authorizations", "authz_apps", "authz_suspended_owners"} {
				_, err := liteDB.ExecContext(t.Context(), "DELETE FROM "+table)
				must(err)
			}
			return lite
		}},
		{"PostgreSQL", func() [2]store.Store {
			_, err := pgDB.ExecContext(t.Context(), "TRUNCATE authz_authorizations, authz_apps, authz_suspended_owners")
			must(err)
			return pg
		}},
	}
}

// world is one store beside the model: what it has in the place of the model's
// numbers, and how its answers differ from the model's.
type world struct {
	t        failer
	name     string
	store    store.Store
	managers [2]*authz.Manager
	m        *model

	last    int64 // the greatest ID so far
	ids     map[int]int64
	numbers map[int64]int
	tokens  map[int]string
	secrets map[int]string
	names   map[string]string     // of what begins with "?"
	replays map[string]store.Hash // by the name of the key
	gone    map[int]bool          // spent records that were removed
	ended   int64                 // how many replays have ended and are not wiped
	revs    map[int]int64
	grants  map[mGrantee]int64
	events  []authz.Event
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(b backend, m *model, configs [2]mConfig) *world {
	w := &world{
		name: b.name, m: m, ids: make(map[int]int64), numbers: make(map[int64]int), tokens: make(map[int]string), secrets: make(map[int]string),
		names: make(map[string]string), replays: make(map[string]store.Hash), gone: make(map[int]bool), revs: make(map[int]int64), grants: make(map[mGrantee]int64),
	}
	zone := time.FixedZone("somewhere", 3600)
	for i, s := range b.empty() {
		c := configs[i]
		manager, err := authz.New(s, authz.Config{
			TokenPrefix: c.prefix, Lifetime: c.lifetime, MaxPerUserAndApp: c.maxUser, MaxPerScopes: cmpOr(c.maxScopes, -1), Scopes: declared(c.scopes),
			PurgeAfter: -1,                                                  // what has expired at all
			Now:        func() time.Time { return m.now.In(zone).Add(999) }, // in whole microseconds it is m.now
			OnEvent:    func(_ context.Context, e authz.Event) { w.events = append(w.events, e) },
		})
		if err != nil {
			panic(err)
		}
		w.managers[i], w.store = manager, s
	}
	return w
}

func cmpOr(a, b int) int {
	if a == 0 {
		return b
	}
	return a
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: %s", w.name, fmt.Sprintf(format, args...))
}

// given is a token as somebody presents it to this store.
func (w *world) given(g mGiven) string { return w.tokens[g.n] + g.text }

func (w *world) real(name string) string {
	if strings.HasPrefix(name, "?") {
		return w.names[name]
	}
	return name
}

func (w *world) id(n int) int64 {
	if id, ok := w.ids[n]; ok {
		return id
	}
	return int64(n) // one that nobody has: see drawID
}

func (w *world) request(r mRequest) authz.Request {
	secret := r.secret
	if r.secretN != 0 {
		secret = w.secrets[r.secretN]
	}
	return authz.Request{
		Owner: r.owner, ClientID: w.real(r.client), ClientSecret: authz.NewSecret(secret), Fingerprint: w.real(r.fp), Scopes: slices.Clone(r.scopes),
		Note: r.note, NoteURL: r.url, OnExisting: authz.OnExisting(r.onExisting), IdempotencyKey: authz.NewSecret(r.key),
	}
}

// class is what the model calls an error.
func (w *world) class(err error) string {
	validation, exists := new(authz.ValidationError), new(authz.ExistsError)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &validation):
		var list []string
		for _, f := range validation.Fields {
			text := problem(f.Field, string(f.Code))
			if f.ExistingID != 0 {
				text = taken(f.Field, w.numbers[f.ExistingID])
			}
			list = append(list, text)
		}
		return problems(list)
	case errors.As(err, &exists):
		return fmt.Sprintf("exists #%d", w.numbers[exists.ID])
	case errors.Is(err, authz.ErrNotFound):
		return notFound
	case errors.Is(err, authz.ErrInvalidClient):
		return invalidClient
	case errors.Is(err, authz.ErrInvalidToken):
		return invalidToken
	}
	return "another error: " + err.Error()
}

// failed compares errors, and reports whether there should be one.
func (w *world) failed(err error, want outcome) bool {
	w.t.Helper()
	got := w.class(err)
	if want.errs == nil && got != "" || want.errs != nil && !slices.Contains(want.errs, got) {
		w.failf("error %q, want %q", got, want.errs)
	}
	return want.errs != nil
}

func (w *world) result(got authz.Result, err error, want outcome) {
	w.t.Helper()
	if w.failed(err, want) {
		if !reflect.DeepEqual(got, authz.Result{}) {
			w.failf("a result beside an error")
		}
		return
	}
	if got.Created != want.created || got.Replayed != want.replayed {
		w.failf("Created %t, Replayed %t, want %t, %t", got.Created, got.Replayed, want.created, want.replayed)
	}
	if !slices.Equal(got.NotApplied, want.notApplied) {
		w.failf("NotApplied %q, want %q", got.NotApplied, want.notApplied)
	}
	w.token(got.Token.Reveal(), want.tok)
	if want.created && !want.replayed {
		w.created(got.Authorization.ID, want.rec.id)
		if strings.HasPrefix(want.rec.fp, "?") {
			if !uuids.MatchString(got.Authorization.Fingerprint) {
				w.failf("the fingerprint is %q, want a random UUID", got.Authorization.Fingerprint)
			}
			w.names[want.rec.fp] = got.Authorization.Fingerprint
		}
	}
	w.record(got.Authorization, want.rec)
	w.app(got.App, want.app)
}

var uuids = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// token learns a token that is new, and knows one that is not.
func (w *world) token(got string, n int) {
	w.t.Helper()
	if n == 0 {
		if got != "" {
			w.failf("there is a token, want none")
		}
		return
	}
	if known, ok := w.tokens[n]; ok {
		if got != known {
			w.failf("the token is another one, want that of before")
		}
		return
	}
	if prefix := w.m.tokens[n-1].prefix + "_"; !strings.HasPrefix(got, prefix) || len(got) != len(prefix)+36 {
		w.failf("%q has not the form of a token", got)
	}
	for _, other := range w.tokens {
		if got == other {
			w.failf("the token is that of before, want a new one")
		}
	}
	w.tokens[n] = got
}

func (w *world) created(id int64, n int) {
	w.t.Helper()
	if id <= w.last {
		w.failf("the new authorization has ID %d, but %d was there before", id, w.last)
	}
	w.last, w.ids[n], w.numbers[id] = id, id, n
}

// sameTime compares times as they are, in UTC.
func sameTime(got, want time.Time) bool { return got == want }

func (w *world) record(got authz.Authorization, want *mAuth) {
	w.t.Helper()
	if d := w.diff(got, want); d != "" {
		w.failf("authorization #%d: %s", want.id, d)
	}
}

func (w *world) diff(got authz.Authorization, want *mAuth) string {
	token := w.tokens[want.tok]
	switch {
	case got.ID != w.id(want.id):
		return fmt.Sprintf("ID %d (#%d), want %d", got.ID, w.numbers[got.ID], w.id(want.id))
	case got.Revision < w.revs[want.id] || got.Revision < 1:
		return fmt.Sprintf("Revision %d, before it was %d", got.Revision, w.revs[want.id])
	case got.Owner != want.owner || got.ClientID != w.real(want.client) || got.Fingerprint != w.real(want.fp):
		return fmt.Sprintf("Key %q, want %q %q %q", got.Key, want.owner, want.client, want.fp)
	case !slices.Equal(got.Scopes, want.scopes):
		return fmt.Sprintf("Scopes %q, want %q", got.Scopes, want.scopes)
	case got.Note != want.note || got.NoteURL != want.url:
		return fmt.Sprintf("Note %q, NoteURL %q, want %q, %q", got.Note, got.NoteURL, want.note, want.url)
	case got.TokenHash != store.HashOf(token) || got.TokenLastEight != token[len(token)-8:]:
		return "the hash or end of another token"
	case !sameTime(got.IssuedAt, want.issued) || !sameTime(got.CreatedAt, want.created) ||
		!sameTime(got.UpdatedAt, want.updated) || !sameTime(got.ExpiresAt, want.expires) || !sameTime(got.LastUsedAt, want.used):
		return fmt.Sprintf("issued, created, updated, expires, used %v, want %v", []time.Time{got.IssuedAt, got.CreatedAt, got.UpdatedAt, got.ExpiresAt, got.LastUsedAt},
			[]time.Time{want.issued, want.created, want.updated, want.expires, want.used})
	case got.IdleTimeout != 0 || !got.EndsAt.IsZero():
		return fmt.Sprintf("IdleTimeout %v, EndsAt %v, want none", got.IdleTimeout, got.EndsAt)
	}
	w.revs[want.id] = got.Revision
	sealed := len(got.Replay.Seal) > sha256.Size // more than the hash of the request
	switch {
	case want.replay == nil || want.replay.ended(w.m.now) && got.Replay.IsZero():
		if !got.Replay.IsZero() || len(got.Replay.Seal) > 0 || !got.Replay.ExpiresAt.IsZero() {
			return "a Replay, want none"
		}
		return ""
	case got.Replay.IsZero() || sealed != want.replay.sealed && !want.replay.ended(w.m.now) || !sameTime(got.Replay.ExpiresAt, want.replay.ends):
		return fmt.Sprintf("Replay %v, sealed %t, until %v, want sealed %t, until %v",
			got.Replay.ID, sealed, got.Replay.ExpiresAt, want.replay.sealed, want.replay.ends)
	}
	if known, ok := w.replays[want.replay.key]; ok && known != got.Replay.ID {
		return "another Replay.ID than before for the same key"
	}
	for key, id := range w.replays {
		if id == got.Replay.ID && key != want.replay.key {
			return fmt.Sprintf("the keys %q and %q have one Replay.ID", key, want.replay.key)
		}
	}
	w.replays[want.replay.key] = got.Replay.ID
	return ""
}

func (w *world) app(got authz.App, want *mApp) {
	w.t.Helper()
	if got.ClientID != w.real(want.client) || got.Name != want.name || got.URL != want.url || got.Revision != want.rev ||
		!sameTime(got.CreatedAt, want.created) || !sameTime(got.UpdatedAt, want.updated) || !sameTime(got.SuspendedAt, want.suspended) || len(got.Secrets) != len(want.secrets) {
		w.failf("app %+v, want %+v", got, *want)
	}
	for i, s := range got.Secrets {
		if e := want.secrets[i]; s.Hash != store.HashOf(w.secrets[e.n]) || !sameTime(s.CreatedAt, e.created) || !sameTime(s.ExpiresAt, e.expires) {
			w.failf("secret %d of the app %+v, want %+v", i, got, *want)
		}
	}
}

func (w *world) records(got []authz.Authorization, want []mAuth) {
	w.t.Helper()
	for i := range min(len(got), len(want)) {
		w.record(got[i], &want[i])
	}
	if len(got) != len(want) {
		w.failf("%d authorizations, want %d", len(got), len(want))
	}
}

// found is records for a walk over those of all owners.
func (w *world) found(walk iter.Seq2[authz.Authorization, error], want []mAuth) {
	w.t.Helper()
	var got []authz.Authorization
	for a, err := range walk {
		if err != nil {
			w.failf("%v", err)
		}
		got = append(got, a)
	}
	w.records(got, want)
}

// there is how many of these records the store has, the spent ones included.
func (w *world) there(ids []int) (n int64) {
	for _, id := range ids {
		if !w.gone[id] {
			n++
		}
	}
	return n
}

func (w *world) count(got int64, err error, want outcome) {
	w.t.Helper()
	if !w.failed(err, want) && got != want.n+w.there(want.removed) {
		w.failf("%d, want %d", got, want.n+w.there(want.removed))
	}
}

func (w *world) grant(got authz.Grant, want mGrant) {
	w.t.Helper()
	key := mGrantee{want.owner, want.app.client}
	if id, ok := w.grants[key]; ok && id != got.ID || got.ID <= 0 || got.ID >= 1<<53 {
		w.failf("the grant has ID %d, before it was %d", got.ID, id)
	}
	for other, id := range w.grants {
		if id == got.ID && other != key {
			w.failf("the grants %v and %v have one ID", key, other)
		}
	}
	w.grants[key] = got.ID
	w.app(got.App, &want.app)
	if got.Owner != want.owner || !slices.Equal(got.Scopes, want.scopes) || got.Authorizations != want.count ||
		!sameTime(got.CreatedAt, want.created) || !sameTime(got.UpdatedAt, want.updated) {
		w.failf("grant %+v, want %+v", got, want)
	}
}

func (w *world) allGrants(got []authz.Grant, err error, want outcome) {
	w.t.Helper()
	if w.failed(err, want) {
		return
	}
	if len(got) != len(want.grants) {
		w.failf("%d grants, want %d", len(got), len(want.grants))
	}
	for i, g := range got {
		if i > 0 {
			if last := got[i-1]; last.CreatedAt.After(g.CreatedAt) || last.CreatedAt.Equal(g.CreatedAt) && last.ID >= g.ID {
				w.failf("the grants are not in order")
			}
		}
		j := slices.IndexFunc(want.grants, func(e mGrant) bool { return w.real(e.app.client) == g.App.ClientID })
		if j < 0 {
			w.failf("there is a grant for %s, want none", g.App.ClientID)
		}
		w.grant(g, want.grants[j])
	}
}

// grantID is the ID of a grant that may be there.
func (w *world) grantID(manager int, owner, client string) int64 {
	if all, err := w.managers[manager].Grants(context.Background(), owner); err == nil {
		for _, g := range all {
			if g.App.ClientID == w.real(client) {
				return g.ID
			}
		}
	}
	if id, ok := w.grants[mGrantee{owner, client}]; ok {
		return id
	}
	return 12345
}

// heard compares the events of the last operation.
func (w *world) heard(want []mEvent) {
	w.t.Helper()
	got := w.events
	for _, e := range want {
		count, id := int64(1), w.ids[e.id]
		if e.kind == "suspended" || e.kind == "resumed" {
			count = 0 // nobody counts
		} else if e.id == 0 {
			if count = w.there(e.bulk); count == 0 {
				continue
			}
		}
		if w.gone[e.id] {
			continue
		}
		expected := authz.Event{Kind: authz.EventKind(e.kind), Reason: e.reason, Owner: e.owner, ClientID: w.real(e.client), ID: id, Count: count}
		if len(got) == 0 || got[0] != expected {
			w.failf("events %+v, want first %+v", got, expected)
		}
		got = got[1:]
	}
	if len(got) > 0 {
		w.failf("events %+v, want none (more)", got)
	}
}

// state compares all that is stored, expired authorizations included.
func (w *world) state(owners []string) {
	w.t.Helper()
	ctx := context.Background()
	w.ended = 0
	for _, owner := range owners {
		got, err := w.store.List(ctx, store.Query{Owner: owner, Limit: 10_000})
		if err != nil {
			w.failf("list of all: %v", err)
		}
		for _, rec := range got {
			if !rec.Replay.IsZero() && !rec.Replay.ExpiresAt.After(w.m.now) {
				w.ended++
			}
		}
		for _, want := range w.m.recs {
			switch {
			case want.owner != owner:
			case len(got) > 0 && got[0].ID == w.id(want.id):
				if w.gone[want.id] {
					w.failf("authorization #%d is there again", want.id)
				}
				w.record(got[0], want)
				got = got[1:]
			case want.spent && want.expired(w.m.now):
				w.gone[want.id] = true
			default:
				w.failf("authorization #%d of %q is not stored", want.id, owner)
			}
		}
		for _, rec := range got {
			w.failf("authorization #%d (ID %d) of %q is stored, want none", w.numbers[rec.ID], rec.ID, owner)
		}
	}
	apps, err := w.managers[0].Apps(ctx, 0, 1000)
	if err != nil {
		w.failf("list of apps: %v", err)
	}
	for _, want := range w.m.apps {
		if want.deleted {
			continue
		}
		if len(apps) == 0 {
			w.failf("app %s is not stored", want.client)
		}
		w.app(apps[0], want)
		apps = apps[1:]
	}
	if len(apps) > 0 {
		w.failf("app %s is stored, want none", apps[0].ClientID)
	}
}

// declared is nil for nil: any scope may be asked for.
func declared(names []string) []authz.Scope {
	if names == nil {
		return nil
	}
	return authz.ScopeNames(names...)
}
