package cache_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// counting counts the lookups of a store in memory.
type counting struct {
	*memory.Store
	lookups atomic.Int64
}

func (s *counting) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	s.lookups.Add(1)
	return s.Store.Lookup(ctx, hash)
}

// A million tokens that nobody has, all of the right form, push out none of the good ones.
func TestFloodOfUnknownTokens(t *testing.T) {
	const good, flood = 5_000, 1_000_000
	s := &counting{Store: memory.New()}
	m, tokens := started(t, s, cache.New(2*good), good)
	var hits, reads int64
	for i := range flood {
		if _, err := m.Verify(t.Context(), forged(i)); !errors.Is(err, authz.ErrInvalidToken) {
			t.Fatalf("a forged token: %v", err)
		}
		if i%10 != 0 { // a tenth of the traffic is good
			continue
		}
		before := s.lookups.Load()
		if _, err := m.Verify(t.Context(), tokens[i/10*7919%good]); err != nil {
			t.Fatal(err)
		}
		if s.lookups.Load() == before {
			hits++
		} else {
			reads++
		}
	}
	if n := s.lookups.Load(); n < flood {
		t.Fatalf("%d reads: the forged tokens are not even looked up", n)
	}
	rate := float64(hits) / float64(hits+reads)
	t.Logf("hit rate of good tokens in the flood: %.3f %%", 100*rate)
	if rate <= 0.99 {
		t.Errorf("hit rate %.4f, want more than 0.99", rate)
	}
}

// forged is a token that nobody has, of the right form.
func forged(i int) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	random := fmt.Appendf(nil, "%030d", i)
	tail := make([]byte, 6)
	sum := crc32.ChecksumIEEE(random)
	for j := 5; j >= 0; j-- {
		tail[j] = base62[sum%62]
		sum /= 62
	}
	return "azt_" + string(random) + string(tail)
}

// started returns a Manager with n tokens in its cache.
func started(t testing.TB, s store.Store, c authz.Cache, n int) (*authz.Manager, []string) {
	t.Helper()
	var filling atomic.Bool
	m, err := authz.New(s, authz.Config{Cache: noticing{c, &filling}})
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, n)
	for i := range tokens {
		res, err := m.Create(context.Background(), authz.Request{Owner: fmt.Sprint("user-", i), Note: "note", Scopes: []string{"repo", "user:email"}})
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = res.Token.Reveal()
	}
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	verify := func(token string) {
		if _, err := m.Verify(context.Background(), token); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); !filling.Load(); time.Sleep(time.Millisecond) { // until it hears of changes
		verify(tokens[0])
		if time.Now().After(deadline) {
			t.Fatal("the Manager does not begin to answer from memory")
		}
	}
	for _, token := range tokens {
		verify(token)
	}
	return m, tokens
}

// noticing is a Cache that notices when it is used.
type noticing struct {
	authz.Cache
	used *atomic.Bool
}

func (c noticing) Set(key uint64, e *authz.CacheEntry) {
	c.used.Store(true)
	c.Cache.Set(key, e)
}
