package main

import (
	"context"
	"errors"
	"sync"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// openMemory shows what the Manager costs by itself; its raw side is a map for
// each index.
func openMemory(d *data, _ options) (*backend, error) {
	// Creations are so fast that they would fill the machine: each pass begins
	// with a fresh store.
	s, r := &fresh{d: d}, &rawMaps{}
	begin := func() error {
		r.begin(d)
		return s.begin()
	}
	if err := begin(); err != nil {
		return nil, err
	}
	cases, end, err := storeCases(d, s, r)
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.name == "create" {
			c.subjects[0].begin = begin
		}
	}
	return &backend{
		about: "No durability: what the Manager costs by itself. “raw” is a map by the key and one by the hash, under a sync.RWMutex.",
		cases: cases,
		close: end,
	}, nil
}

// fresh is a store in memory that begin replaces by a new one with the data, while
// nobody calls it but what a Manager does once a minute.
type fresh struct {
	*memory.Store
	d *data
}

func (f *fresh) begin() error {
	ctx := context.Background()
	f.Store = memory.New()
	for _, rec := range f.d.recs {
		if _, _, err := f.GetOrCreate(ctx, rec); err != nil {
			return err
		}
	}
	return loaded(ctx, f.d, f)
}

// rawMaps are the least that finds a record by its key and by its token.
type rawMaps struct {
	mu     sync.RWMutex
	keys   map[store.Key]*store.Authorization
	hashes map[store.Hash]*store.Authorization
}

func (r *rawMaps) begin(d *data) {
	r.keys = make(map[store.Key]*store.Authorization, len(d.recs))
	r.hashes = make(map[store.Hash]*store.Authorization, len(d.recs))
	for _, rec := range d.recs {
		_, _ = r.insert(context.Background(), &rec)
	}
}

var errNoRecord = errors.New("no such record")

func (r *rawMaps) byKey(_ context.Context, owner, clientID, fingerprint string) (rawRecord, error) {
	r.mu.RLock()
	rec := r.keys[store.Key{Owner: owner, ClientID: clientID, Fingerprint: fingerprint}]
	r.mu.RUnlock()
	if rec == nil {
		return rawRecord{}, errNoRecord
	}
	return rawRecord{id: rec.ID, owner: rec.Owner}, nil
}

func (r *rawMaps) byHash(_ context.Context, hash []byte) (rawRecord, error) {
	r.mu.RLock()
	rec := r.hashes[store.Hash(hash)]
	r.mu.RUnlock()
	if rec == nil {
		return rawRecord{}, errNoRecord
	}
	return rawRecord{id: rec.ID, owner: rec.Owner}, nil
}

func (r *rawMaps) insert(_ context.Context, a *store.Authorization) (int64, error) {
	rec := *a
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.ID = int64(len(r.keys) + 1)
	r.keys[rec.Key], r.hashes[rec.TokenHash] = &rec, &rec
	return rec.ID, nil
}
