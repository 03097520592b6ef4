package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// data are the app and the authorizations that are in every database before,
// with their secrets.
type data struct {
	app    store.App
	secret authz.Secret
	recs   []store.Authorization
	tokens []string
	fresh  atomic.Int64 // the last number given to a key that was not there
}

// What every authorization here has in common.
const (
	fingerprint = "laptop-0123"
	note        = "command line of the example shop"
	noteURL     = "https://shop.example/help/tokens"
)

var scopes = []string{"repo", "user:email"}

// newData makes them with a Manager on a store in memory, which is fast.
func newData(n int) (*data, error) {
	ctx := context.Background()
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		return nil, err
	}
	d := &data{}
	if d.app, d.secret, err = m.RegisterApp(ctx, authz.NewApp{Name: "shop", URL: "https://shop.example"}); err != nil {
		return nil, err
	}
	for i := range n {
		res, err := m.GetOrCreate(ctx, d.request(fmt.Sprintf("user-%08d", i)))
		if err != nil {
			return nil, err
		}
		d.recs = append(d.recs, res.Authorization)
		d.tokens = append(d.tokens, res.Token.Reveal())
	}
	return d, nil
}

// request asks for the authorization of an owner.
func (d *data) request(owner string) authz.Request {
	return authz.Request{
		Owner: owner, ClientID: d.app.ClientID, ClientSecret: d.secret, Fingerprint: fingerprint,
		Scopes: scopes, Note: note, NoteURL: noteURL,
	}
}

// pick draws one of the authorizations that are there.
func (d *data) pick(w *worker) *store.Authorization { return &d.recs[w.rng.IntN(len(d.recs))] }

// newOwner returns an owner who has no authorization yet.
func (d *data) newOwner() string {
	return "new-" + strconv.FormatInt(d.fresh.Add(1)+10_000_000, 10)
}

// candidate is a new authorization as a Manager would hand it to a store.
func (d *data) candidate(w *worker) store.Authorization {
	now := time.Now().UTC().Truncate(time.Microsecond)
	rec := store.Authorization{
		Key:    store.Key{Owner: d.newOwner(), ClientID: d.app.ClientID, Fingerprint: fingerprint},
		Scopes: scopes, Note: note, NoteURL: noteURL,
		TokenLastEight: "01234567", CreatedAt: now, UpdatedAt: now,
	}
	for i := 0; i < len(rec.TokenHash); i += 8 {
		binary.NativeEndian.PutUint64(rec.TokenHash[i:], w.rng.Uint64())
	}
	return rec
}
