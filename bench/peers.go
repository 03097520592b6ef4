package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	oauth2store "github.com/go-oauth2/oauth2/v4/store"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store"
)

// The names of the subjects that are no store's.
const (
	byAuthz  = "authz"
	byFloor  = "hash + map"
	byFosite = "fosite"
	byOAuth2 = "go-oauth2"
	bySCS    = "scs"
)

// openPeers measures the verification of a token in this process, where all is
// in memory, beside the least that it takes and beside what others offer.
func openPeers(d *data, _ options) (*backend, error) {
	m, end, err := cachedManager(d)
	if err != nil {
		return nil, err
	}
	f, err := newFloor(d)
	if err != nil {
		return nil, err
	}
	subjects := []subject{
		{name: byAuthz, op: func(ctx context.Context, w *worker) error {
			i := w.rng.IntN(len(d.recs))
			rec, err := m.Verify(ctx, d.tokens[i])
			return check(err, err == nil && rec.Owner == d.recs[i].Owner, errWrong)
		}},
		{name: byFloor, op: func(_ context.Context, w *worker) error {
			i := w.rng.IntN(len(d.recs))
			rec := f.verify(d.tokens[i])
			return check(nil, rec != nil && rec.Owner == d.recs[i].Owner, errWrong)
		}},
	}
	for _, peer := range []struct {
		name string
		open func(*data) (verify func(ctx context.Context, i int) (owner string, err error), err error)
	}{{byFosite, openFosite}, {byOAuth2, openOAuth2}, {bySCS, openSCS}} {
		verify, err := peer.open(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", peer.name, err)
		}
		subjects = append(subjects, subject{name: peer.name, op: func(ctx context.Context, w *worker) error {
			i := w.rng.IntN(len(d.recs))
			owner, err := verify(ctx, i)
			return check(err, owner == d.recs[i].Owner, errWrong)
		}})
	}
	var cases []*benchCase
	for _, callers := range []int{1, 32} {
		cases = append(cases, &benchCase{name: "verify-memory", callers: callers, base: true, inverse: true, subjects: subjects})
	}
	creations, endCreations, err := creationCases(d)
	if err != nil {
		return nil, err
	}
	cases = append(cases, creations...)
	return &backend{
		about: "A token's owner, all in memory, in this process. “hash + map” is SHA-256 and a map under a sync.RWMutex; " +
			"fosite introspects an opaque token (HMAC), go-oauth2 loads an access token, scs loads a session and reads a value: each on its own store in memory. " +
			"A new token, each with the check of a client's secret: authz get-or-create under a new key; fosite by client credentials, where bcrypt costs what its default is, 12, or 4; go-oauth2, which keeps secrets in the clear, by password; scs, which has no clients, puts a value and commits.",
		ratio: "authz ÷ it",
		cases: cases,
		close: func() {
			endCreations()
			end()
		},
	}, nil
}

// cachedManager is the Manager that is compared with peers, started and with all
// tokens in its cache.
func cachedManager(d *data) (m *authz.Manager, end func(), err error) {
	ctx := context.Background()
	s := &fresh{d: d}
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	filled := &noticingCache{Cache: cache.New(max(cache.DefaultSize, 2*len(d.tokens)))}
	if m, err = authz.New(s.Store, authz.Config{Cache: filled}); err != nil {
		return nil, nil, err
	}
	if err := m.Start(ctx); err != nil {
		return nil, nil, err
	}
	// It answers from memory once it hears of changes.
	for !filled.used.Load() {
		if _, err := m.Verify(ctx, d.tokens[0]); err != nil {
			return nil, nil, err
		}
		time.Sleep(time.Millisecond)
	}
	for _, token := range d.tokens {
		if _, err := m.Verify(ctx, token); err != nil {
			return nil, nil, err
		}
	}
	return m, func() { _ = m.Close(ctx) }, nil
}

// noticingCache notices its first entry.
type noticingCache struct {
	*cache.Cache
	used atomic.Bool
}

func (c *noticingCache) Set(key uint64, e *authz.CacheEntry) {
	c.used.Store(true)
	c.Cache.Set(key, e)
}

// floor is the least that turns a token into its record.
type floor struct {
	mu sync.RWMutex
	m  map[store.Hash]*store.Authorization
}

// tokenSize is that of a token with the default prefix.
const tokenSize = 40

func newFloor(d *data) (*floor, error) {
	f := &floor{m: make(map[store.Hash]*store.Authorization, len(d.recs))}
	for i := range d.recs {
		if len(d.tokens[i]) != tokenSize {
			return nil, fmt.Errorf("a token of %d characters, not %d", len(d.tokens[i]), tokenSize)
		}
		rec := d.recs[i] // its own, as any cache's
		rec.Owner = strings.Clone(rec.Owner)
		f.m[rec.TokenHash] = &rec
	}
	return f, nil
}

// verify returns nil for a token that is not there. It allocates nothing: as
// []byte(token) the copy would go to the heap.
func (f *floor) verify(token string) *store.Authorization {
	if len(token) != tokenSize {
		return nil
	}
	var b [tokenSize]byte
	copy(b[:], token)
	hash := store.Hash(sha256.Sum256(b[:]))
	f.mu.RLock()
	rec := f.m[hash]
	f.mu.RUnlock()
	return rec
}

// lifetime keeps the peers' tokens alive for as long as any run takes.
const lifetime = 24 * time.Hour

func openFosite(d *data) (func(context.Context, int) (string, error), error) {
	config := &fosite.Config{GlobalSecret: []byte(rand.Text() + rand.Text()), AccessTokenLifespan: lifetime}
	strategy := compose.NewOAuth2HMACStrategy(config)
	s := storage.NewMemoryStore()
	provider := compose.Compose(config, s, &compose.CommonStrategy{CoreStrategy: strategy}, compose.OAuth2TokenIntrospectionFactory)
	client := &fosite.DefaultClient{ID: d.app.ClientID, Scopes: scopes}
	s.Clients[client.ID] = client
	ctx := context.Background()
	tokens := make([]string, len(d.recs))
	for i := range d.recs {
		session := &fosite.DefaultSession{Subject: d.recs[i].Owner}
		session.SetExpiresAt(fosite.AccessToken, time.Now().Add(lifetime))
		req := fosite.NewAccessRequest(session)
		req.Client = client
		for _, scope := range scopes {
			req.AppendRequestedScope(scope)
			req.GrantScope(scope)
		}
		token, signature, err := strategy.GenerateAccessToken(ctx, req)
		if err != nil {
			return nil, err
		}
		if err := s.CreateAccessTokenSession(ctx, signature, req); err != nil {
			return nil, err
		}
		tokens[i] = token
	}
	return func(ctx context.Context, i int) (string, error) {
		_, req, err := provider.IntrospectToken(ctx, tokens[i], fosite.AccessToken, new(fosite.DefaultSession))
		if err != nil {
			return "", err
		}
		return req.GetSession().GetSubject(), nil
	}, nil
}

// newOAuth2 returns one and how to make a token with it.
func newOAuth2(d *data) (*manage.Manager, func(ctx context.Context, owner string) (oauth2.TokenInfo, error), error) {
	m := manage.NewDefaultManager()
	m.MustTokenStorage(oauth2store.NewMemoryTokenStore())
	clients := oauth2store.NewClientStore()
	secret := rand.Text()
	if err := clients.Set(d.app.ClientID, &models.Client{ID: d.app.ClientID, Secret: secret}); err != nil {
		return nil, nil, err
	}
	m.MapClientStorage(clients)
	m.SetPasswordTokenCfg(&manage.Config{AccessTokenExp: lifetime}) // no refresh token: less to look at
	return m, func(ctx context.Context, owner string) (oauth2.TokenInfo, error) {
		return m.GenerateAccessToken(ctx, oauth2.PasswordCredentials, &oauth2.TokenGenerateRequest{
			ClientID: d.app.ClientID, ClientSecret: secret, UserID: owner, Scope: scopes[0],
		})
	}, nil
}

func openOAuth2(d *data) (func(context.Context, int) (string, error), error) {
	m, create, err := newOAuth2(d)
	if err != nil {
		return nil, err
	}
	tokens := make([]string, len(d.recs))
	for i := range d.recs {
		info, err := create(context.Background(), d.recs[i].Owner)
		if err != nil {
			return nil, err
		}
		tokens[i] = info.GetAccess()
	}
	return func(ctx context.Context, i int) (string, error) {
		info, err := m.LoadAccessToken(ctx, tokens[i])
		if err != nil {
			return "", err
		}
		return info.GetUserID(), nil
	}, nil
}

func newSCS() *scs.SessionManager {
	m := scs.New()
	m.Store = memstore.NewWithCleanupInterval(0) // none: nothing expires
	m.Lifetime = lifetime
	return m
}

func openSCS(d *data) (func(context.Context, int) (string, error), error) {
	m := newSCS()
	tokens := make([]string, len(d.recs))
	for i := range d.recs {
		ctx, err := m.Load(context.Background(), "")
		if err != nil {
			return nil, err
		}
		m.Put(ctx, "owner", d.recs[i].Owner)
		if tokens[i], _, err = m.Commit(ctx); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, i int) (string, error) {
		ctx, err := m.Load(ctx, tokens[i])
		if err != nil {
			return "", err
		}
		return m.GetString(ctx, "owner"), nil
	}, nil
}
