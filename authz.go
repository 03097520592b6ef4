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
// and the endpoints to list, change and revoke what these made, for users and
// for apps. It is the OAuth Authorizations API of GitHub, so clients written
// for that work unchanged; introspection (RFC 7662), revocation (RFC 7009) and
// metadata (RFC 8414) stand beside it. [NewMiddleware] and [RequireScopes] protect
// the host's own routes with the tokens. Tokens are shown once, when they are
// created; the store holds their SHA-256 alone.
package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
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

	// MaxPerScopes is how many live authorizations one user may have for one
	// app and one set of scopes before [Manager.Create] makes the oldest go.
	// Defaults to 10; negative means no limit.
	MaxPerScopes int

	// Scopes are the scopes that requests may ask for; see [ScopeNames] for plain
	// names. Defaults to nil: any scope-token of RFC 6749, and none includes another.
	Scopes []Scope

	// Apps keeps the registered apps. Defaults to the Manager's store; set it
	// if the host has its own table of apps. Deleting an app there leaves its
	// authorizations in the Manager's store: they are dead, as long as the
	// client_id is never given out again; [Manager.RevokeAll] removes them. Nobody
	// tells when such a table changes: it is read each time an app is asked for.
	Apps store.Apps

	// OnEvent hears of every change to authorizations after it was stored, in
	// the goroutine that made it: return soon. A change that the store made
	// although it answered with an error is not told. It must be safe for use by
	// many goroutines. Defaults to nil.
	OnEvent func(ctx context.Context, e Event)

	// Cache keeps verified tokens in memory: package cache has one. It is used
	// between Start and Close, while the store tells of changes (store.Watcher)
	// without delay. Defaults to nil: Verify reads the store each time. Apps are
	// kept without one; see [Manager.Start].
	Cache Cache

	// CacheTTL is how long a token or an app may be answered for from memory at
	// most, if everything else fails that tells of changes. Defaults to one minute.
	CacheTTL time.Duration

	// UnwatchedTTL is CacheTTL for a store that cannot tell of changes at all.
	// What other processes revoke lives on here for as long, and so does a
	// client_secret that they have ended, or an app that they have suspended.
	// Defaults to 0: nothing is answered from memory then.
	UnwatchedTTL time.Duration

	// LastUsedInterval is how often the times of use that Verify has seen are
	// stored, and so how exact they are, and how much of them a crash can lose.
	// Defaults to one minute; negative means that they are not stored.
	LastUsedInterval time.Duration

	// IdleTimeout ends tokens that are not used for so long (and at most twice the
	// LastUsedInterval longer), whatever Lifetime says. It holds for tokens made
	// since it was set, and needs Start in every process that verifies. Defaults to
	// 0: being unused ends no token.
	IdleTimeout time.Duration

	// PurgeAfter is how long expired authorizations are kept before a started
	// Manager removes them. Defaults to a week; negative means for ever.
	PurgeAfter time.Duration

	// Logger hears of trouble in what Start has begun. Defaults to nil: nothing
	// is logged.
	Logger *slog.Logger

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Manager makes, keeps and verifies authorizations. It is safe for use by many
// goroutines, and any number of Managers in any number of processes may share one
// store. It starts no goroutine before [Manager.Start], and only from then on does
// it keep anything in memory.
type Manager struct {
	store  store.Store // its changes are heard of here; see watched
	apps   store.Apps
	raw    store.Store // what New was given
	cfg    Config
	scopes scopeRules
	wiped  atomic.Int64 // when replays were wiped last, in microseconds since 1970

	// What Verify knows.
	began       time.Time
	foreignApps bool         // the host has its own table of apps
	current     atomic.Int64 // until when what is in memory may be answered from, in nanoseconds since began
	ttl         atomic.Int64 // CacheTTL or UnwatchedTTL
	validity    *validity
	front       front[CacheEntry]
	unknown     unknown
	reads       flights[store.Hash, CacheEntry]

	// And the apps that are known.
	appFront front[appEntry]
	appReads flights[string, appEntry]
	appRead  atomic.Uint64 // the number of the last one that began

	uses       uses
	background background
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
	if cfg.MaxPerScopes == 0 {
		cfg.MaxPerScopes = 10
	}
	if cfg.CacheTTL < 0 || cfg.UnwatchedTTL < 0 || cfg.IdleTimeout < 0 {
		return nil, errors.New("authz: Config.CacheTTL, Config.UnwatchedTTL and Config.IdleTimeout must not be negative")
	}
	if cfg.CacheTTL == 0 {
		cfg.CacheTTL = time.Minute
	}
	if cfg.LastUsedInterval == 0 {
		cfg.LastUsedInterval = time.Minute
	}
	if cfg.IdleTimeout > 0 && cfg.LastUsedInterval < 0 {
		return nil, errors.New("authz: Config.IdleTimeout needs the times of use: LastUsedInterval must not be negative")
	}
	if cfg.PurgeAfter == 0 {
		cfg.PurgeAfter = 7 * 24 * time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	foreign := cfg.Apps != nil
	if !foreign {
		cfg.Apps = s
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Scopes = cloneScopes(cfg.Scopes)
	scopes, err := newScopeRules(cfg.Scopes)
	if err != nil {
		return nil, fmt.Errorf("authz: Config.Scopes: %w", err)
	}
	m := &Manager{
		raw: s, cfg: cfg, scopes: scopes,
		began: time.Now(), foreignApps: foreign, appFront: make(front[appEntry], appSets),
	}
	m.ttl.Store(int64(cfg.CacheTTL))
	m.store = watched{s, cfg.Apps, m}
	m.apps = m.store
	slots := 1 << 10 // for reads that calls share
	if cfg.Cache != nil {
		size := cfg.Cache.Size()
		m.front = make(front[CacheEntry], powerOf2(size/2, 1<<6, 1<<16)) // places for twice as many, 4 MiB at most
		slots = powerOf2(size, slots, 1<<18)                             // 2 MiB at most
	}
	m.validity = newValidity(slots)
	m.reads = flights[store.Hash, CacheEntry]{hearing: m.caching, read: m.readToken, holds: m.validity.holds, absent: ErrInvalidToken}
	m.appReads = flights[string, appEntry]{hearing: m.keepsApps, read: m.readApp, holds: m.validity.appHolds, absent: ErrNotFound}
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

// Request asks for an authorization of one user for one app.
type Request struct {
	// Owner is the User.ID of who is asking. It is trusted: authenticate first.
	Owner string
	// ClientID and ClientSecret are the app's; both are checked each time. They
	// are required, but that [Manager.Create] without a ClientID makes a
	// personal authorization, which belongs to no app and needs a Note that the
	// owner has not used for another.
	ClientID     string
	ClientSecret Secret
	// Fingerprint distinguishes authorizations of one user for one app, such
	// as one for each machine. "" is a fingerprint like any other.
	Fingerprint string
	// Scopes are scope-tokens of RFC 6749; duplicates are dropped, and what
	// others of them include (see [Scope]), the order is kept. Nil asks for
	// nothing in particular: a new authorization has no scopes, and an existing
	// one is not said to differ.
	Scopes []string
	// Note and NoteURL remind people what the token is for; NoteURL is "" or an
	// absolute http(s) URL.
	Note    string
	NoteURL string
	// OnExisting is OnExistingReturn if empty. It is for GetOrCreate alone.
	OnExisting OnExisting
	// IdempotencyKey lets the sender repeat the request when its answer was
	// lost: within [ReplayWindow], and before the token is used, the same owner
	// gets the same token for the same request and key. 16 to 255 visible ASCII
	// characters that nobody can guess, such as a random UUID; or zero.
	IdempotencyKey Secret
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
	// Replayed says that an earlier request with the same IdempotencyKey did
	// it, and that this is its answer once more.
	Replayed bool
	// NotApplied names what was asked for and an existing authorization has
	// otherwise: "scopes", "note", "note_url", in this order. Scopes that allow
	// the same are the same.
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
	result, err := m.once(ctx, req.replayKey("get or create"), func(key *replayKey) (Result, error) {
		return m.getOrCreate(ctx, req, key)
	})
	if err != nil {
		used := new(usedError)
		if !errors.As(err, &used) || used.key != req.key() || req.OnExisting == OnExistingRotate {
			return Result{}, err
		}
		// It is there, its token in use: as without a key.
		if result, err = m.getOrCreate(ctx, req, nil); err != nil {
			return Result{}, err
		}
	}
	result.App = app
	if !result.Created {
		result.NotApplied = m.notApplied(req, result.Authorization)
	}
	return result, nil
}

func (m *Manager) getOrCreate(ctx context.Context, req Request, key *replayKey) (Result, error) {
	// One token for the whole call, made outside of every repetition: a store
	// that meets a row with its hash knows that it has made the row itself.
	token := newToken(m.cfg.TokenPrefix)
	candidate := m.candidate(req, token)
	candidate.Replay = key.seal(token, true, candidate.CreatedAt)
	for {
		rec, created, err := m.store.GetOrCreate(ctx, candidate)
		switch {
		case errors.Is(err, store.ErrConflict):
			return Result{}, err // once knows what to do
		case err != nil:
			return Result{}, fmt.Errorf("authz: get or create: %w", err)
		case created:
			m.event(ctx, EventCreated, rec)
			m.trim(ctx, rec, m.cfg.MaxPerUserAndApp, func(Authorization) bool { return true })
			return Result{Authorization: rec, Token: token, Created: true}, nil
		case key.made(rec):
			return key.open(rec) // by a request that ran beside this one
		case req.OnExisting == OnExistingError:
			return Result{}, &ExistsError{ID: rec.ID}
		case req.OnExisting != OnExistingRotate:
			return Result{Authorization: rec}, nil
		}
		rec, err = m.rotate(ctx, rec, token, key)
		switch conflict := new(store.ConflictError); {
		case err == nil:
			return Result{Authorization: rec, Token: token}, nil
		case errors.As(err, &conflict):
			return Result{}, err
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
			continue // changed or deleted meanwhile: look again
		}
		return Result{}, fmt.Errorf("authz: rotate: %w", err)
	}
}

// key is what the request's authorization is found by.
func (req Request) key() store.Key {
	return store.Key{Owner: req.Owner, ClientID: req.ClientID, Fingerprint: req.Fingerprint}
}

// candidate is the record that the request would create.
func (m *Manager) candidate(req Request, token Secret) Authorization {
	now := m.now()
	rec := Authorization{
		Key:            req.key(),
		Scopes:         req.Scopes,
		Note:           req.Note,
		NoteURL:        req.NoteURL,
		TokenHash:      store.HashOf(token.Reveal()),
		TokenLastEight: lastEight(token.Reveal()),
		IssuedAt:       now,
		CreatedAt:      now,
		UpdatedAt:      now,
	}
	m.setEnd(&rec, now)
	return rec
}

// setEnd gives a token that is made at now the end that the Config sets.
func (m *Manager) setEnd(rec *Authorization, now time.Time) {
	rec.ExpiresAt, rec.EndsAt, rec.IdleTimeout = time.Time{}, time.Time{}, 0
	if m.cfg.Lifetime > 0 {
		rec.ExpiresAt = now.Add(m.cfg.Lifetime)
	}
	if m.cfg.IdleTimeout > 0 {
		// A use is noted once in an interval, and stored at the end of it.
		rec.IdleTimeout = (m.cfg.IdleTimeout + 2*m.cfg.LastUsedInterval).Truncate(time.Microsecond)
		rec.EndsAt = rec.ExpiresAt
		rec.ExpiresAt = earlier(rec.ExpiresAt, now.Add(rec.IdleTimeout))
	}
}

// rotate gives rec a new token, and its answer in the key's keeping. Without a key,
// that of the token before stays spent: its late twin must not do its work again.
func (m *Manager) rotate(ctx context.Context, rec Authorization, token Secret, key *replayKey) (Authorization, error) {
	now := m.now()
	rec.TokenHash, rec.TokenLastEight = store.HashOf(token.Reveal()), lastEight(token.Reveal())
	rec.IssuedAt, rec.UpdatedAt = now, now
	if key != nil {
		rec.Replay = key.seal(token, false, now)
	} else {
		rec.Replay.Seal = spent(rec.Replay.Seal)
	}
	m.setEnd(&rec, now)
	next, err := m.store.Replace(ctx, rec)
	if conflict := new(store.ConflictError); errors.Is(err, store.ErrConflict) && !errors.As(err, &conflict) {
		// It may have taken effect, its answer been lost, and another change have come since.
		if ours, found := m.store.GetByTokenHash(ctx, rec.TokenHash); found == nil {
			next, err = ours, nil
		}
	}
	if err == nil {
		m.event(ctx, EventRotated, next)
	}
	return next, err
}

// trimAtOnce bounds what one creation deletes: where a limit is new there can be
// very many, and the token that was made waits.
const trimAtOnce = 1000

// trim deletes the oldest live authorizations above the limit, of those of
// created's user and app that count. Its errors are dropped: the authorization is
// there, its token must reach the caller, and the next creation trims again.
func (m *Manager) trim(ctx context.Context, created Authorization, limit int, counts func(Authorization) bool) {
	if limit <= 0 {
		return
	}
	var live []int64
	for rec, err := range m.walk(ctx, created.Owner, &created.ClientID) {
		if err != nil {
			return
		}
		if counts(rec) {
			live = append(live, rec.ID)
		}
	}
	for _, id := range live[:min(max(0, len(live)-limit), trimAtOnce)] {
		if m.store.Delete(ctx, created.Owner, id) == nil {
			m.cfg.event(ctx, Event{Kind: EventRevoked, Reason: ReasonLimit, Owner: created.Owner, ClientID: created.ClientID, ID: id, Count: 1})
		}
	}
}

// notApplied names what the request asks for and rec has otherwise.
func (m *Manager) notApplied(req Request, rec Authorization) (fields []string) {
	if req.Scopes != nil && !m.scopes.same(req.Scopes, rec.Scopes) {
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
	p.owner(req.Owner)
	if req.ClientSecret.IsZero() {
		p.add("client_secret", CodeMissingField, "")
	}
	m.validateRest(&p, req)
	return p.err()
}

// validateRest checks what all requests have.
func (m *Manager) validateRest(p *problems, req *Request) {
	if req.Scopes != nil {
		req.Scopes = p.scopes("scopes", req.Scopes, m.scopes)
	}
	p.text("note", req.Note, MaxNote)
	p.httpURL("note_url", req.NoteURL)
	p.text("fingerprint", req.Fingerprint, MaxFingerprint)
	switch req.OnExisting {
	case "", OnExistingReturn, OnExistingRotate, OnExistingError:
	default:
		p.onExisting()
	}
	p.idempotencyKey(req.IdempotencyKey)
}

func (p *problems) onExisting() {
	p.invalid("on_existing", `must be "return", "rotate" or "error"`)
}
