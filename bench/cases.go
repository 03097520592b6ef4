package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
)

// backend is a store to be measured, and what is measured on it.
type backend struct {
	about string // settings that the figures depend on
	ratio string // head of the column of ratios; "÷ raw" if empty
	cases []*benchCase
	close func()
}

// openers make the backends ready, with the data in them.
var openers = map[string]func(*data, options) (*backend, error){
	"sqlite":   openSQLite,
	"postgres": openPostgres,
	"memory":   openMemory,
	"peers":    openPeers,
	"http":     openHTTP,
	"cache":    openCache,
	"storm":    openStorm,
}

// backendNames are all of them, in the order of the report.
var backendNames = []string{"sqlite", "postgres", "memory", "peers", "http", "cache", "storm"}

// callerCounts are the points of the curves.
var callerCounts = []int{1, 2, 4, 8, 16, 32, 64}

// The names of the subjects.
const (
	byRaw     = "raw"
	byStore   = "store"
	byManager = "Manager"
)

var (
	errNotCreated = errors.New("not created, though the key is new")
	errCreated    = errors.New("created, though the key is there")
	errWrong      = errors.New("another record than asked for")
)

// raw are the least statements that do the same as the store, or the least maps.
type raw interface {
	byKey(ctx context.Context, owner, clientID, fingerprint string) (rawRecord, error)
	byHash(ctx context.Context, hash []byte) (rawRecord, error)
	insert(ctx context.Context, a *store.Authorization) (id int64, err error)
}

// storeCases is the table of what is measured on a store, in the order of the
// report: creations last, so that the others see the table as it was loaded. The
// Manager is started, as in a host: it keeps apps while it hears of changes.
func storeCases(d *data, s store.Store, r raw) (cases []*benchCase, end func(), err error) {
	ctx := context.Background()
	m, err := authz.New(s, authz.Config{})
	if err != nil {
		return nil, nil, err
	}
	if err := m.Start(ctx); err != nil {
		return nil, nil, err
	}
	end = func() { _ = m.Close(ctx) }

	existing := []subject{
		{name: byRaw, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			rec, err := r.byKey(ctx, k.Owner, k.ClientID, k.Fingerprint)
			return check(err, rec.owner == k.Owner, errWrong)
		}},
		{name: byStore, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			candidate := *k
			candidate.TokenHash = store.Hash{1} // a new token, as a Manager makes one each time
			rec, created, err := s.GetOrCreate(ctx, candidate)
			return errors.Join(check(err, !created, errCreated), check(err, rec.Owner == k.Owner, errWrong))
		}},
		{name: byManager, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			res, err := m.GetOrCreate(ctx, d.request(k.Owner))
			return errors.Join(check(err, !res.Created, errCreated), check(err, res.Authorization.Owner == k.Owner, errWrong))
		}},
	}
	verify := []subject{
		{name: byRaw, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			rec, err := r.byHash(ctx, k.TokenHash[:])
			return check(err, rec.owner == k.Owner, errWrong)
		}},
		{name: byStore, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			rec, _, err := s.Lookup(ctx, k.TokenHash)
			return check(err, rec.Owner == k.Owner, errWrong)
		}},
		{name: byManager, op: func(ctx context.Context, w *worker) error {
			i := w.rng.IntN(len(d.recs))
			rec, err := m.Verify(ctx, d.tokens[i])
			return check(err, err == nil && rec.Owner == d.recs[i].Owner, errWrong)
		}},
	}
	creation := []subject{
		{name: byRaw, op: func(ctx context.Context, w *worker) error {
			rec := d.candidate(w)
			id, err := r.insert(ctx, &rec)
			return check(err, id > 0, errNotCreated)
		}},
		{name: byStore, op: func(ctx context.Context, w *worker) error {
			_, created, err := s.GetOrCreate(ctx, d.candidate(w))
			return check(err, created, errNotCreated)
		}},
		{name: byManager, op: func(ctx context.Context, w *worker) error {
			res, err := m.GetOrCreate(ctx, d.request(d.newOwner()))
			return check(err, res.Created, errNotCreated)
		}},
	}

	add := func(name string, callers int, background bool, subjects []subject) {
		cases = append(cases, &benchCase{name: name, callers: callers, background: background, base: true, subjects: subjects})
	}
	for _, callers := range callerCounts {
		add("existing", callers, false, existing)
	}
	add("existing-background", 1, true, existing)
	for _, callers := range callerCounts {
		add("verify", callers, false, verify)
	}
	for _, callers := range callerCounts {
		add("create", callers, false, creation)
	}
	return cases, end, nil
}

// check returns err, or otherwise if what was expected is not so.
func check(err error, ok bool, otherwise error) error {
	if err != nil {
		return err
	}
	if !ok {
		return otherwise
	}
	return nil
}

// loaded returns an error unless the app and the authorizations are in s.
func loaded(ctx context.Context, d *data, s store.Store) error {
	if _, err := s.CreateApp(ctx, d.app); err != nil {
		return err
	}
	last := d.recs[len(d.recs)-1]
	rec, err := s.GetByTokenHash(ctx, last.TokenHash)
	if err != nil {
		return fmt.Errorf("the last authorization loaded: %w", err)
	}
	if rec.Owner != last.Owner || rec.NoteURL != last.NoteURL || !rec.CreatedAt.Equal(last.CreatedAt) {
		return errors.New("the last authorization was not loaded as it was")
	}
	return nil
}
