package authz

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/seed-926035fd/authz/store"
)

// Create makes a new authorization: one for an app, of which a user can have
// several without a fingerprint, or a personal one (see Request.ClientID). Of
// more than Config.MaxPerScopes for one app and set of scopes, the oldest go.
//
// Errors: [*ValidationError], also if the owner has a personal authorization
// with this note, or one for the app with this fingerprint (FieldError.ExistingID
// names it); [ErrInvalidClient]. Any other error is the store's, and leaves open
// whether the authorization was made.
func (m *Manager) Create(ctx context.Context, req Request) (Result, error) {
	var p problems
	p.owner(req.Owner)
	switch personal := req.ClientID == ""; {
	case personal:
		p.noteOfPersonal(req.Note)
	case req.ClientSecret.IsZero():
		p.add("client_secret", CodeMissingField, "")
	}
	m.validateRest(&p, &req)
	if req.OnExisting != "" {
		p.invalid("on_existing", "is for get-or-create")
	}
	if err := p.err(); err != nil {
		return Result{}, err
	}
	var app App
	if req.ClientID != "" {
		var err error
		if app, err = m.AuthenticateApp(ctx, req.ClientID, req.ClientSecret); err != nil {
			return Result{}, err
		}
	}
	result, err := m.once(ctx, req.replayKey("create"), func(key *replayKey) (Result, error) {
		token := newToken(m.cfg.TokenPrefix)
		return m.create(ctx, m.candidate(req, token), token, key, 0)
	})
	if err != nil {
		return Result{}, err
	}
	if result.App = app; req.ClientID == "" {
		result.App = personalApp(result.Authorization)
	}
	return result, nil
}

// create stores a candidate with this token. The limits spare the authorization
// spared, which the candidate comes from.
func (m *Manager) create(ctx context.Context, candidate Authorization, token Secret, key *replayKey, spared int64) (Result, error) {
	candidate.Replay = key.seal(token, true, candidate.CreatedAt)
	rec, err := m.store.Create(ctx, candidate)
	if err != nil {
		return Result{}, taken(err, "create")
	}
	m.event(ctx, EventCreated, rec)
	if rec.ClientID != "" {
		m.trim(ctx, rec, m.cfg.MaxPerScopes, func(a Authorization) bool { return a.ID != spared && m.scopes.same(a.Scopes, rec.Scopes) })
		m.trim(ctx, rec, m.cfg.MaxPerUserAndApp, func(a Authorization) bool { return a.ID != spared })
	}
	return Result{Authorization: rec, Token: token, Created: true}, nil
}

// taken makes a validation error of a store's conflict over a field that the
// caller chose, and names what was done where it is another error.
func taken(err error, what string) error {
	conflict := new(store.ConflictError)
	switch {
	case !errors.As(err, &conflict):
		return fmt.Errorf("authz: %s: %w", what, err)
	case conflict.Field == "idempotency_key":
		return err // once knows what to do
	}
	return &ValidationError{Fields: []FieldError{{Field: conflict.Field, Code: CodeAlreadyExists, ExistingID: conflict.ID}}}
}

// personalApp is what stands for the app of a personal authorization.
func personalApp(a Authorization) App {
	return App{ClientID: PersonalClientID, Name: a.Note, URL: a.NoteURL}
}

// AppOf returns the app of an authorization, where it can from memory (see
// [Manager.Start]). A personal one has the app [PersonalClientID] with its note as
// the name. Errors: [ErrNotFound], if the app
// was deleted; anything else is the store's.
func (m *Manager) AppOf(ctx context.Context, a Authorization) (App, error) {
	if a.ClientID == "" {
		return personalApp(a), nil
	}
	e, err := m.app(ctx, a.ClientID)
	if err != nil {
		return App{}, err
	}
	return e.copy(), nil
}

// Get returns the owner's authorization with this ID. Errors: [ErrNotFound],
// also if it has expired or belongs to somebody else; anything else is the
// store's.
func (m *Manager) Get(ctx context.Context, owner string, id int64) (Authorization, error) {
	if !validOwner(owner) { // nobody's, and not every store can look it up
		return Authorization{}, fmt.Errorf("authz: get: %w", ErrNotFound)
	}
	rec, err := m.store.Get(ctx, owner, id)
	if err == nil && rec.Expired(m.now()) {
		err = store.ErrNotFound
	}
	if err != nil {
		return Authorization{}, fmt.Errorf("authz: get: %w", err)
	}
	return rec, nil
}

// ListOptions select a page of a user's authorizations.
type ListOptions struct {
	// ClientID selects those of one app, or with [PersonalClientID] the
	// personal ones. "" selects all.
	ClientID string
	// After selects those with a greater ID: give the last ID of a page to have
	// the next one. A walk like that meets each authorization once, whatever is
	// made or revoked meanwhile.
	After int64
	// Skip leaves out that many of the selected ones, for pages by number.
	Skip int
	// Limit is the most to return; it is cut to 1000. Defaults to 100.
	Limit int
}

const maxListLimit = 1000

// List returns the owner's authorizations in rising order of ID, without those
// that have expired; fewer than the limit are the last. Errors are the store's.
func (m *Manager) List(ctx context.Context, owner string, o ListOptions) ([]Authorization, error) {
	clientID, ok := m.selects(owner, o.ClientID)
	if !ok {
		return nil, nil
	}
	if o.Limit <= 0 {
		o.Limit = 100
	}
	recs, err := m.store.List(ctx, store.Query{
		Owner: owner, ClientID: clientID, LiveAt: m.now(), After: o.After, Skip: max(0, o.Skip), Limit: min(o.Limit, maxListLimit),
	})
	if err != nil {
		return nil, fmt.Errorf("authz: list: %w", err)
	}
	return recs, nil
}

// Count returns how many authorizations [Manager.List] has for this owner and
// client_id in all. Errors are the store's.
func (m *Manager) Count(ctx context.Context, owner, clientID string) (int64, error) {
	selected, ok := m.selects(owner, clientID)
	if !ok {
		return 0, nil
	}
	n, err := m.store.Count(ctx, store.Selection{Owner: &owner, ClientID: selected, LiveAt: m.now()})
	if err != nil {
		return 0, fmt.Errorf("authz: count: %w", err)
	}
	return n, nil
}

// selects turns a client_id as callers write it into one as stores keep it; nil
// selects all. !ok means that nobody can have such authorizations, and that not
// every store can be asked for them.
func (m *Manager) selects(owner, clientID string) (selected *string, ok bool) {
	switch {
	case !validOwner(owner):
		return nil, false
	case clientID == "":
		return nil, true
	case clientID == PersonalClientID:
		return new(string), true
	}
	return &clientID, validClientID(clientID)
}

// walk goes through all live authorizations of an owner, in rising order of ID.
func (m *Manager) walk(ctx context.Context, owner string, clientID *string) iter.Seq2[Authorization, error] {
	return func(yield func(Authorization, error) bool) {
		q := store.Query{Owner: owner, ClientID: clientID, LiveAt: m.now(), Limit: maxListLimit}
		for {
			page, err := m.store.List(ctx, q)
			if err != nil {
				yield(Authorization{}, err)
				return
			}
			for _, rec := range page {
				if !yield(rec, nil) {
					return
				}
				q.After = rec.ID
			}
			if len(page) < q.Limit {
				return
			}
		}
	}
}

// Update says what to change of an authorization; nil leaves a field as it is.
type Update struct {
	// Scopes replaces the scopes, AddScopes appends those that are not there
	// yet, RemoveScopes takes away those that are. Only one of the three may be
	// set in one Update. Afterwards no scope is listed that another one includes
	// (see [Scope]). RemoveScopes goes by what is listed: one that is only
	// included stays allowed, for there is no name for what would be left; name
	// what is to be left in Scopes.
	Scopes, AddScopes, RemoveScopes []string
	// Note, NoteURL and Fingerprint follow the rules of [Request].
	Note, NoteURL, Fingerprint *string
}

// Update changes the owner's authorization with this ID and returns it; its
// token stays. Concurrent Updates all take effect, one after the other. Errors:
// [ErrNotFound]; [*ValidationError], also if the new note or fingerprint belongs
// to another authorization (FieldError.ExistingID); anything else is the store's.
func (m *Manager) Update(ctx context.Context, owner string, id int64, u Update) (Authorization, error) {
	if err := m.validateUpdate(&u); err != nil {
		return Authorization{}, err
	}
	for {
		rec, err := m.Get(ctx, owner, id)
		if err != nil {
			return Authorization{}, err
		}
		changed, err := u.apply(rec, m.scopes)
		if err != nil || changed.same(rec) {
			return rec, err
		}
		changed.Authorization.UpdatedAt = m.now()
		next, err := m.store.Replace(ctx, changed.Authorization)
		conflict := new(store.ConflictError)
		if errors.Is(err, store.ErrConflict) && (!errors.As(err, &conflict) || conflict.Field == "idempotency_key") {
			continue // somebody else was faster, or has used again the key of an answer that was wiped meanwhile
		}
		if err != nil {
			return Authorization{}, taken(err, "update")
		}
		m.event(ctx, EventUpdated, next)
		return next, nil
	}
}

// validateUpdate checks an update and brings its scopes into their normal form.
func (m *Manager) validateUpdate(u *Update) error {
	var p problems
	given := 0
	for _, list := range []struct {
		field  string
		scopes *[]string
		known  scopeRules
	}{
		{"scopes", &u.Scopes, m.scopes},
		{"add_scopes", &u.AddScopes, m.scopes},
		{"remove_scopes", &u.RemoveScopes, nil}, // what is not known any more can go
	} {
		if *list.scopes != nil {
			given++
			*list.scopes = p.scopes(list.field, *list.scopes, list.known)
		}
	}
	if given > 1 {
		p.add("scopes", CodeInvalid, "scopes, add_scopes and remove_scopes cannot be combined: send one of them")
	}
	if u.Note != nil {
		p.text("note", *u.Note, MaxNote)
	}
	if u.NoteURL != nil {
		p.httpURL("note_url", *u.NoteURL)
	}
	if u.Fingerprint != nil {
		p.text("fingerprint", *u.Fingerprint, MaxFingerprint)
	}
	return p.err()
}

// updated is an authorization after an [Update].
type updated struct{ Authorization }

// apply returns what a valid update makes of rec.
func (u Update) apply(rec Authorization, rules scopeRules) (updated, error) {
	var p problems
	switch {
	case u.Scopes != nil:
		rec.Scopes = u.Scopes
	case u.AddScopes != nil:
		rec.Scopes = slices.Clone(rec.Scopes)
		for _, s := range u.AddScopes {
			if !slices.Contains(rec.Scopes, s) {
				rec.Scopes = append(rec.Scopes, s)
			}
		}
		rec.Scopes = rules.reduce(rec.Scopes)
		if len(rec.Scopes) > MaxScopes {
			p.invalid("add_scopes", "must leave at most %d scopes", MaxScopes)
		}
	case u.RemoveScopes != nil:
		rec.Scopes = rules.reduce(without(rec.Scopes, u.RemoveScopes))
	}
	if u.Note != nil {
		if rec.Note = *u.Note; rec.ClientID == "" {
			p.noteOfPersonal(rec.Note)
		}
	}
	if u.NoteURL != nil {
		rec.NoteURL = *u.NoteURL
	}
	if u.Fingerprint != nil {
		rec.Fingerprint = *u.Fingerprint
	}
	return updated{rec}, p.err()
}

// same reports whether an update has changed nothing.
func (u updated) same(rec Authorization) bool {
	return slices.Equal(u.Scopes, rec.Scopes) && u.Note == rec.Note && u.NoteURL == rec.NoteURL && u.Fingerprint == rec.Fingerprint
}

// Delete revokes the owner's authorization with this ID; its token is dead when
// Delete returns. Errors as of [Manager.Get].
func (m *Manager) Delete(ctx context.Context, owner string, id int64) error {
	rec, err := m.Get(ctx, owner, id) // the event says for which app it was
	if err != nil {
		return err
	}
	if err := m.store.Delete(ctx, owner, id); err != nil {
		return fmt.Errorf("authz: delete: %w", err)
	}
	m.event(ctx, EventRevoked, rec)
	return nil
}

// Revocation selects authorizations to revoke. At least one of Owner and
// ClientID must be set.
type Revocation struct {
	// Owner selects those of one user: the password was changed, the account
	// was closed. "" selects all users.
	Owner string
	// ClientID selects those for one app, or with [PersonalClientID] the
	// personal ones. "" selects all.
	ClientID string
	// DryRun counts and revokes nothing.
	DryRun bool
}

// RevokeAll revokes all that r selects in one step, and after that what was made
// meanwhile of a token that it has revoked; it returns how many authorizations it
// was, expired ones included. Their tokens are dead when
// RevokeAll returns. First change what lets people in (password, account): a
// request that was let in at the same moment can still make another one. Errors:
// [*ValidationError]; anything else is the store's.
func (m *Manager) RevokeAll(ctx context.Context, r Revocation) (int64, error) {
	var p problems
	var sel store.Selection
	if r.Owner == "" && r.ClientID == "" {
		p.add("owner", CodeMissingField, "owner or client_id is required")
	}
	if r.Owner != "" {
		p.owner(r.Owner)
		sel.Owner = &r.Owner
	}
	switch {
	case r.ClientID == PersonalClientID:
		sel.ClientID = new(string)
	case r.ClientID != "" && !validClientID(r.ClientID):
		p.invalid("client_id", "must be %d letters and digits", clientIDSize)
	case r.ClientID != "":
		sel.ClientID = &r.ClientID
	}
	if err := p.err(); err != nil {
		return 0, err
	}
	if r.DryRun {
		n, err := m.store.Count(ctx, sel)
		if err != nil {
			return 0, fmt.Errorf("authz: revoke all: %w", err)
		}
		return n, nil
	}
	n, err := m.deleteAll(ctx, sel)
	if err != nil {
		return 0, fmt.Errorf("authz: revoke all: %w", err)
	}
	if n > 0 {
		m.cfg.event(ctx, Event{Kind: EventRevoked, Owner: r.Owner, ClientID: r.ClientID, Count: n})
	}
	return n, nil
}

// deleteAll deletes what sel selects, and what was made meanwhile from a token that
// it has deleted: a Scoped that has looked at its token for the last time before the
// deletion was committed has stored its own by then. From that one the next can have
// been made, but not for ever.
func (m *Manager) deleteAll(ctx context.Context, sel store.Selection) (total int64, err error) {
	for range 10 {
		n, err := m.store.DeleteAll(ctx, sel)
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}
