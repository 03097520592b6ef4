package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// The names of the figures.
const (
	perToken     = "a token in the cache"
	perRecord    = "of these: its record, with its strings and scopes"
	perKey       = "its key, the hash"
	beyondRecord = "all the rest"
)

// openCache measures what a full cache takes.
func openCache(_ *data, o options) (*backend, error) {
	return &backend{
		about: fmt.Sprintf("The heap, after a garbage collection, of a Manager's cache (package cache) with %d tokens in it that were verified once.", o.cached),
		cases: []*benchCase{{name: "memory", callers: 1, gauge: func(ctx context.Context, _ plan) ([]figure, error) {
			return cacheMemory(ctx, o.cached)
		}}},
		close: func() {},
	}, nil
}

func cacheMemory(ctx context.Context, n int) ([]figure, error) {
	s := endless{memory.New()}
	records := make([]*store.Authorization, n)
	before := heap()
	for i := range records {
		rec, _, err := s.Lookup(ctx, store.Hash{byte(i)})
		if err != nil {
			return nil, err
		}
		records[i] = &rec
	}
	record := (heap() - before) / float64(n)
	runtime.KeepAlive(records)
	clear(records)

	kept := &noticingCache{Cache: cache.New(n)}
	m, err := authz.New(s, authz.Config{Cache: kept, LastUsedInterval: -1}) // what a use costs until it is stored is not the cache's
	if err != nil {
		return nil, err
	}
	app, secret, err := m.RegisterApp(ctx, authz.NewApp{Name: "shop", URL: "https://shop.example"})
	if err != nil {
		return nil, err
	}
	if err := m.Start(ctx); err != nil {
		return nil, err
	}
	defer m.Close(context.WithoutCancel(ctx))
	req := authz.Request{Owner: "user", ClientID: app.ClientID, ClientSecret: secret}
	hashes := make([]store.Hash, 0, n)
	before = heap() // the Manager's tables are of a fixed size
	for len(hashes) < n && ctx.Err() == nil {
		res, err := m.GetOrCreate(ctx, req)
		if err != nil {
			return nil, err
		}
		rec, err := m.Verify(ctx, res.Token.Reveal())
		if err != nil {
			return nil, err
		}
		if kept.used.Load() { // it hears of changes by now
			hashes = append(hashes, rec.TokenHash)
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	token := (heap() - before) / float64(n)
	inside := 0
	for i := range hashes {
		if _, ok := kept.Get(binary.NativeEndian.Uint64(hashes[i][:])); ok {
			inside++
		}
	}
	if ctx.Err() == nil && inside < n*99/100 {
		return nil, errors.New("the cache has not kept what was put there")
	}
	const key = float64(len(store.Hash{}))
	return []figure{
		{perToken, "bytes", token},
		{perRecord, "bytes", record},
		{perKey, "bytes", key},
		{beyondRecord, "bytes", token - record - key},
	}, nil
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first one has only queued, as pools do
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// endless is a store that has every token and keeps none: what is on the heap is
// the cache's. All records are alike, each with memory of its own.
type endless struct{ *memory.Store }

func (endless) GetOrCreate(_ context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	candidate.ID, candidate.Revision = 1, 1
	return candidate, true, nil
}

func (endless) Lookup(_ context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	return store.Authorization{
		ID: 1, Revision: 1,
		Key:    store.Key{Owner: strings.Clone("user-00000001"), ClientID: strings.Clone("0123456789abcdef0123"), Fingerprint: strings.Clone(fingerprint)},
		Scopes: []string{strings.Clone(scopes[0]), strings.Clone(scopes[1])},
		Note:   strings.Clone(note), NoteURL: strings.Clone(noteURL),
		TokenHash: hash, TokenLastEight: strings.Clone("01234567"),
	}, store.Standing{App: true}, nil
}
