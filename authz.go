// Package authz hands out API tokens for the users of a Go web app: "get or
// create an authorization for a specific app", and what belongs to it.
//
// A [Manager] makes, keeps and verifies authorizations behind a [store.Store]:
// store/memory for tests, store/sqlite for one machine, store/postgres for
// many. [NewHandler] puts the HTTP API on any router:
//
//	PUT /authorizations/clients/{client_id}
//	PUT /authorizations/clients/{client_id}/{fingerprint}
//
// It is the OAuth Authorizations API of GitHub, so clients written for that
// work unchanged. Tokens are shown once, when they are created; the store
// holds their SHA-256 alone.
package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Config holds the settings of a [Manager]. The zero value is sound.
type Config struct {
	// TokenPrefix begins every token, before "_". 1 to 16 letters, digits and
	// "_", beginning with a letter. Defaults to "azt".
	TokenPrefix string

	// Lifetime is how long a token lives after it was created or rotated.
	// Defaults to 0: for ever. An expired authorization counts as absent: the
	// next get-or-create replaces it.
	Lifetime time.Duration

	// MaxPerUserAndApp is how many live authorizations one user may have for
	// one app, under different fingerprints. When a new one exceeds it, the
	// oldest goes. Defaults to 0: no limit.
	MaxPerUserAndApp int

	// Scopes are the scopes that requests may ask for. Defaults to nil: any
	// scope-token of RFC 6749.
	Scopes []string

	// Apps keeps the registered apps. Defaults to the Manager's store; set it
	// if the host has its own table of apps. Deleting an app there does not
	// remove its authorizations from the Manager's store: they are dead, as
	// long as the client_id is never given out again.
	Apps store.Apps

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Manager makes, keeps and verifies authorizations. It is safe for use by many
// goroutines, holds no state of its own, and starts no goroutine: any number of
// Managers in any number of processes may share one store.
type Manager struct {
	store  store.Store
	apps   store.Apps
	cfg    Config
	scopes map[string]bool // nil: any
}

// New returns a Manager on s, which it borrows. It returns an error if the
// Config makes no sense.
func New(s store.Store, cfg Config) (*Manager, error) {
	if s == nil {
		return nil, errors.New("authz: New needs a store, such as memory.New()")
	}
	if cfg.TokenPrefix == "" {
		cfg.TokenPrefix = "azt"
	}
	if !validPrefix(cfg.TokenPrefix) {
		return nil, fmt.Errorf("authz: Config.TokenPrefix must be 1 to %d letters, digits and \"_\", beginning with a letter", maxPrefix)
	}
	if cfg.Lifetime < 0 || cfg.MaxPerUserAndApp < 0 {
		return nil, errors.New("authz: Config.Lifetime and Config.MaxPerUserAndApp must not be negative")
	}
	if cfg.Apps == nil {
		cfg.Apps = s
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m := &Manager{store: s, apps: cfg.Apps, cfg: cfg}
	if cfg.Scopes != nil {
		m.scopes = make(map[string]bool, len(cfg.Scopes))
		for _, scope := range cfg.Scopes {
			if !validScope(scope) {
				return nil, fmt.Errorf("authz: Config.Scopes: %q is no scope-token (RFC 6749 section 3.3) of at most %d bytes", scope, MaxScope)
			}
			m.scopes[scope] = true
		}
	}
	return m, nil
}

// now is the Manager's time: UTC, in whole microseconds, as stores keep it.
func (m *Manager) now() time.Time { return m.cfg.Now().UTC().Truncate(time.Microsecond) }

// Authorization is the record of one token. It never holds the token.
type Authorization = store.Authorization

// OnExisting says what [Manager.GetOrCreate] does with an authorization that is
// there already.
type OnExisting string

// What to do with an existing authorization.
const (
	OnExistingReturn OnExisting = "return" // return it unchanged, without a token: the default
	OnExistingRotate OnExisting = "rotate" // give it a new token; the old one is dead at once
	OnExistingError  OnExisting = "error"  // fail with *ExistsError
)

// Request asks for the authorization of one user for one app.
type Request struct {
	// Owner is the User.ID of who is asking. It is trusted: authenticate first.
	Owner string
	// ClientID and ClientSecret are the app's; both are required and checked
	// each time.
	ClientID     string
	ClientSecret Secret
	// Fingerprint distinguishes authorizations of one user for one app, such
	// as one for each machine. "" is a fingerprint like any other.
	Fingerprint string
	// Scopes are scope-tokens of RFC 6749; duplicates are dropped, the order is
	// kept. Nil asks for nothing in particular: a new authorization has no
	// scopes, and an existing one is not said to differ.
	Scopes []string
	// Note and NoteURL remind people what the token is for; NoteURL is "" or an
	// absolute http(s) URL.
	Note    string
	NoteURL string
	// OnExisting is OnExistingReturn if empty.
	OnExisting OnExisting
}

// Result is the answer to a [Request].
type Result struct {
	Authorization Authorization
	App           App
	// Token is the new token, or zero if there is none: an existing
	// authorization was returned, and its token is not kept. It cannot be had
	// again.
	Token Secret
	// Created says that this call made the authorization.
	Created bool
	// NotApplied names what was asked for and an existing authorization has
	// otherwise: "scopes", "note", "note_url", in this order.
	NotApplied []string
}

// GetOrCreate returns the owner's authorization for an app and fingerprint,
// making it if there is none (or only an expired one). However many calls race,
// in any number of processes on one store, exactly one has Created and a Token,
// and all have the same ID.
//
// An existing authorization is returned unchanged, whatever the request says;
// see Result.NotApplied and [OnExisting].
//
// Errors: [*ValidationError]; [ErrInvalidClient]; [*ExistsError] if the request
// asked for it. Any other error is the store's, and leaves open whether the
// authorization was made.
func (m *Manager) GetOrCreate(ctx context.Context, req Request) (Result, error) {
	if err := m.validate(&req); err != nil {
		return Result{}, err
	}
	app, err := m.AuthenticateApp(ctx, req.ClientID, req.ClientSecret)
	if err != nil {
		return Result{}, err
	}
	// One token for the whole call, made outside of every repetition: a store
	// that meets a row with its hash knows that it has made the row itself.
	token := newToken(m.cfg.TokenPrefix)
	candidate := m.candidate(req, token)
	for {
		rec, created, err := m.store.GetOrCreate(ctx, candidate)
		if err != nil {
			return Result{}, fmt.Errorf("authz: get or create: %w", err)
		}
		result := Result{Authorization: rec, App: app}
		switch {
		case created:
			m.trim(ctx, rec)
			result.Token, result.Created = token, true
			return result, nil
		case req.OnExisting == OnExistingError:
			return Result{}, &ExistsError{ID: rec.ID}
		case req.OnExisting == OnExistingRotate:
			rec, err = m.rotate(ctx, rec, candidate)
			if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
				continue // changed or deleted meanwhile: look again
			}
			if err != nil {
				return Result{}, fmt.Errorf("authz: rotate: %w", err)
			}
			result.Authorization, result.Token = rec, token
		}
		result.NotApplied = notApplied(req, rec)
		return result, nil
	}
}

// candidate is the record that the request would create.
func (m *Manager) candidate(req Request, token Secret) Authorization {
	now := m.now()
	rec := Authorization{
		Key:            store.Key{Owner: req.Owner, ClientID: req.ClientID, Fingerprint: req.Fingerprint},
		Scopes:         req.Scopes,
		Note:           req.Note,
		NoteURL:        req.NoteURL,
		TokenHash:      store.HashOf(token.Reveal()),
		TokenLastEight: lastEight(token.Reveal()),
		CreatedAt:      now,
		UpdatedAt:      now,
	}
	if m.cfg.Lifetime > 0 {
		rec.ExpiresAt = now.Add(m.cfg.Lifetime)
	}
	return rec
}

// rotate gives rec the candidate's token.
func (m *Manager) rotate(ctx context.Context, rec, candidate Authorization) (Authorization, error) {
	rec.TokenHash, rec.TokenLastEight = candidate.TokenHash, candidate.TokenLastEight
	rec.UpdatedAt, rec.ExpiresAt = candidate.UpdatedAt, candidate.ExpiresAt
	return m.store.Replace(ctx, rec)
}

// trim deletes the oldest live authorizations above the limit of created's user
// and app. Its errors are dropped: the authorization is there, its token must
// reach the caller, and the next creation trims again.
func (m *Manager) trim(ctx context.Context, created Authorization) {
	if m.cfg.MaxPerUserAndApp == 0 {
		return
	}
	var live []int64
	q := store.Query{Owner: created.Owner, ClientID: &created.ClientID, Limit: 100}
	for {
		page, err := m.store.List(ctx, q)
		if err != nil {
			return
		}
		for _, rec := range page {
			if !rec.Expired(created.CreatedAt) {
				live = append(live, rec.ID)
			}
		}
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1].ID
	}
	for _, id := range live[:max(0, len(live)-m.cfg.MaxPerUserAndApp)] {
		_ = m.store.Delete(ctx, created.Owner, id)
	}
}

// notApplied names what the request asks for and rec has otherwise.
func notApplied(req Request, rec Authorization) (fields []string) {
	if req.Scopes != nil && !sameSet(req.Scopes, rec.Scopes) {
		fields = append(fields, "scopes")
	}
	if req.Note != "" && req.Note != rec.Note {
		fields = append(fields, "note")
	}
	if req.NoteURL != "" && req.NoteURL != rec.NoteURL {
		fields = append(fields, "note_url")
	}
	return fields
}

// sameSet reports whether two lists without duplicates hold the same scopes.
func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// validate checks a request and brings its scopes into their normal form.
func (m *Manager) validate(req *Request) error {
	var p problems
	if !validOwner(req.Owner) {
		p.invalid("owner", "must be 1 to %d bytes of UTF-8 without control characters", MaxOwner)
	}
	if req.ClientSecret.IsZero() {
		p.add("client_secret", CodeMissingField, "")
	}
	if req.Scopes != nil {
		req.Scopes = p.scopes(req.Scopes, m.scopes)
	}
	p.text("note", req.Note, MaxNote)
	p.httpURL("note_url", req.NoteURL)
	p.text("fingerprint", req.Fingerprint, MaxFingerprint)
	switch req.OnExisting {
	case "", OnExistingReturn, OnExistingRotate, OnExistingError:
	default:
		p.onExisting()
	}
	return p.err()
}

func (p *problems) onExisting() {
	p.invalid("on_existing", `must be "return", "rotate" or "error"`)
}

// Verify returns the authorization that token belongs to, read from the store.
// A string that is no token of this Manager's form is refused without asking
// the store. Errors: [ErrInvalidToken]; any other error is the store's and says
// nothing about the token: answer 503, not 401.
func (m *Manager) Verify(ctx context.Context, token string) (Authorization, error) {
	if !wellFormed(token) || token[:len(token)-tokenRandom-tokenSum-1] != m.cfg.TokenPrefix {
		return Authorization{}, ErrInvalidToken
	}
	rec, err := m.store.GetByTokenHash(ctx, store.HashOf(token))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Authorization{}, ErrInvalidToken
	case err != nil:
		return Authorization{}, fmt.Errorf("authz: verify: %w", err)
	case rec.Expired(m.now()):
		return Authorization{}, ErrInvalidToken
	}
	// An authorization whose creation raced with the deletion of its app can
	// be left behind. It is dead all the same.
	switch _, err := m.App(ctx, rec.ClientID); {
	case errors.Is(err, ErrNotFound):
		return Authorization{}, ErrInvalidToken
	case err != nil:
		return Authorization{}, fmt.Errorf("authz: verify: %w", err)
	}
	return rec, nil
}

// Delete revokes the owner's authorization with this ID; its token is dead when
// Delete returns. Errors: [ErrNotFound], also if it belongs to somebody else;
// any other error is the store's.
func (m *Manager) Delete(ctx context.Context, owner string, id int64) error {
	if !validOwner(owner) { // nobody's, and not every store can look it up
		return fmt.Errorf("authz: delete: %w", ErrNotFound)
	}
	if err := m.store.Delete(ctx, owner, id); err != nil {
		return fmt.Errorf("authz: delete: %w", err)
	}
	return nil
}
