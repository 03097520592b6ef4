package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
}

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

// raw are the least statements that do the same as the store; nil where there
// is no database below it.
type raw interface {
	byKey(ctx context.Context, owner, clientID, fingerprint string) (rawRecord, error)
	byHash(ctx context.Context, hash []byte) (rawRecord, error)
	insert(ctx context.Context, a *store.Authorization) (id int64, err error)
}

// storeCases is the table of what is measured on a store, in the order of the
// report: creations last, so that the others see the table as it was loaded.
func storeCases(d *data, s store.Store, r raw) ([]*benchCase, error) {
	m, err := authz.New(s, authz.Config{})
	if err != nil {
		return nil, err
	}

	existing := []subject{
		{name: byRaw, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			rec, err := r.byKey(ctx, k.Owner, k.ClientID, k.Fingerprint)
			return check(err, rec.owner == k.Owner, errWrong)
		}},
		{name: byStore, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			candidate := *k
			candidate.TokenHash = store.Hash{1} // a new token, as a Manager makes one each time
			rec, created, err := s.GetOrCreate(ctx, candidate)
			return errors.Join(check(err, !created, errCreated), check(err, rec.Owner == k.Owner, errWrong))
		}},
		{name: byManager, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
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
		{name: byStore, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
			k := d.pick(w)
			rec, err := s.GetByTokenHash(ctx, k.TokenHash)
			return check(err, rec.Owner == k.Owner, errWrong)
		}},
		{name: byManager, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
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
		{name: byStore, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
			_, created, err := s.GetOrCreate(ctx, d.candidate(w))
			return check(err, created, errNotCreated)
		}},
		{name: byManager, wanted: 0.85, op: func(ctx context.Context, w *worker) error {
			res, err := m.GetOrCreate(ctx, d.request(d.newOwner()))
			return check(err, res.Created, errNotCreated)
		}},
	}

	const one, many = 1, 32
	cases := []*benchCase{
		{name: "existing", callers: one, subjects: existing},
		{name: "existing-background", callers: one, background: true, subjects: existing},
		{name: "existing", callers: many, subjects: existing},
		{name: "verify", callers: one, subjects: verify},
		{name: "verify", callers: many, subjects: verify},
		{name: "create", callers: one, subjects: creation},
		{name: "create", callers: many, subjects: creation},
	}
	if r != nil {
		for _, c := range cases {
			c.base = true
		}
		return cases, nil
	}
	cases = slices.DeleteFunc(cases, func(c *benchCase) bool { return c.background }) // nothing there watches a context
	for _, c := range cases {
		c.subjects = c.subjects[1:]
	}
	return cases, nil
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
