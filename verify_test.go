package authz_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// mapCache is a Cache without an end. Package cache imports this one.
type mapCache struct {
	mu sync.RWMutex
	m  map[uint64]*authz.CacheEntry
}

func newCache() *mapCache { return &mapCache{m: map[uint64]*authz.CacheEntry{}} }

func (c *mapCache) Get(key uint64) (*authz.CacheEntry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[key]
	return e, ok
}

func (c *mapCache) Set(key uint64, e *authz.CacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[key] = e
}

func (c *mapCache) Size() int { return 1000 }

// watchedStore is a store in memory that counts its lookups, can be slow or broken,
// and whose Watch is the test's to steer.
type watchedStore struct {
	*memory.Store
	lookups atomic.Int64
	lookup  func(ctx context.Context) error // before the lookup, if it is set

	touched func([]store.Use) error // in the place of Touch, if it is set

	watching chan store.Observer // of each Watch that begins
	end      chan error          // ends the Watch
}

func newWatchedStore() *watchedStore {
	return &watchedStore{Store: memory.New(), watching: make(chan store.Observer, 1), end: make(chan error)}
}

func (s *watchedStore) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	s.lookups.Add(1)
	if s.lookup != nil {
		if err := s.lookup(ctx); err != nil {
			return store.Authorization{}, store.Standing{}, err
		}
	}
	return s.Store.Lookup(ctx, hash)
}

func (s *watchedStore) Touch(ctx context.Context, uses []store.Use) error {
	if s.touched != nil {
		if err := s.touched(uses); err != nil {
			return err
		}
	}
	return s.Store.Touch(ctx, uses)
}

func (s *watchedStore) Watch(ctx context.Context, o store.Observer) error {
	o.Changed(store.Change{})
	s.watching <- o
	select {
	case err := <-s.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forTheWholeTest is an asOf that does not get late.
func forTheWholeTest() time.Time { return time.Now().Add(time.Hour) }

// startCaching starts a Manager on s that answers from memory from here on.
func startCaching(t *testing.T, s *watchedStore, cfg authz.Config) (*authz.Manager, *clock, store.Observer) {
	t.Helper()
	if cfg.Cache == nil {
		cfg.Cache = newCache()
	}
	m, clock := newManager(t, s, cfg)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeManager(t, m) })
	o := <-s.watching
	o.Current(forTheWholeTest())
	return m, clock, o
}

func closeManager(t testing.TB, m *authz.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		t.Error(err)
	}
}

// reads verifies a token, and says how often the store was asked.
func (s *watchedStore) reads(t *testing.T, m *authz.Manager, token authz.Secret, wantAlive bool) int64 {
	t.Helper()
	before := s.lookups.Load()
	_, err := m.Verify(t.Context(), token.Reveal())
	if alive := err == nil; alive != wantAlive || err != nil && !errors.Is(err, authz.ErrInvalidToken) {
		t.Fatalf("Verify: err = %v, want alive %t", err, wantAlive)
	}
	return s.lookups.Load() - before
}

func wantReads(t *testing.T, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d reads, want %d", what, got, want)
	}
}

func TestVerifyFromMemory(t *testing.T) {
	s := newWatchedStore()
	m, clock, _ := startCaching(t, s, authz.Config{Lifetime: time.Hour})
	res := mustGet(t, m, request())
	wantReads(t, "first use", s.reads(t, m, res.Token, true), 1)
	wantReads(t, "second use", s.reads(t, m, res.Token, true), 0)
	a, err := m.Verify(t.Context(), res.Token.Reveal())
	if err != nil || a.ID != res.Authorization.ID || a.Owner != owner || !slices.Equal(a.Scopes, res.Authorization.Scopes) || a.TokenHash != res.Authorization.TokenHash {
		t.Errorf("from memory: %+v, %v; want %+v", a, err, res.Authorization)
	}
	if bad := authz.NewSecret(res.Token.Reveal()[:len(res.Token.Reveal())-1] + "!"); s.reads(t, m, bad, false) != 0 {
		t.Error("the store was asked for a string that is no token")
	}
	clock.Add(time.Hour - time.Microsecond)
	wantReads(t, "just before the end", s.reads(t, m, res.Token, true), 0)
	clock.Add(time.Microsecond)
	wantReads(t, "at its end", s.reads(t, m, res.Token, false), 0)
}

// A hit allocates nothing.
func TestVerifyAllocations(t *testing.T) {
	s := newWatchedStore()
	m, _, _ := startCaching(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token.Reveal()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := m.Verify(ctx, token); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a hit, want 0", n)
	}
	wantReads(t, "all of it", s.lookups.Load(), 1)
}

// Whatever makes a token dead, or its authorization another, is heeded at once by the Manager that did it.
func TestVerifyAfterChanges(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]struct {
		do    func(m *authz.Manager, res authz.Result) error
		alive bool
	}{
		"Delete": {func(m *authz.Manager, res authz.Result) error { return m.Delete(ctx, owner, res.Authorization.ID) }, false},
		"RevokeAll": {func(m *authz.Manager, _ authz.Result) error {
			_, err := m.RevokeAll(ctx, authz.Revocation{Owner: owner})
			return err
		}, false},
		"RevokeAll of an app": {func(m *authz.Manager, _ authz.Result) error {
			_, err := m.RevokeAll(ctx, authz.Revocation{ClientID: clientID})
			return err
		}, false},
		"Revoke": {func(m *authz.Manager, res authz.Result) error { return m.Revoke(ctx, clientID, res.Token.Reveal()) }, false},
		"RevokeGrant": {func(m *authz.Manager, res authz.Result) error {
			_, err := m.RevokeGrant(ctx, clientID, res.Token.Reveal())
			return err
		}, false},
		"DeleteGrant": {func(m *authz.Manager, _ authz.Result) error {
			grants, err := m.Grants(ctx, owner)
			if err == nil {
				_, err = m.DeleteGrant(ctx, owner, grants[0].ID)
			}
			return err
		}, false},
		"Reset": {func(m *authz.Manager, res authz.Result) error {
			_, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: res.Token})
			return err
		}, false},
		"rotate": {func(m *authz.Manager, _ authz.Result) error {
			req := request()
			req.OnExisting = authz.OnExistingRotate
			_, err := m.GetOrCreate(ctx, req)
			return err
		}, false},
		"DeleteApp":   {func(m *authz.Manager, _ authz.Result) error { _, err := m.DeleteApp(ctx, clientID); return err }, false},
		"SuspendUser": {func(m *authz.Manager, _ authz.Result) error { return m.SuspendUser(ctx, owner) }, false},
		"SuspendApp":  {func(m *authz.Manager, _ authz.Result) error { _, err := m.SuspendApp(ctx, clientID); return err }, false},
		"ResumeUser": {func(m *authz.Manager, res authz.Result) error {
			if err := m.SuspendUser(ctx, owner); err != nil {
				return err
			}
			if _, err := m.Verify(ctx, res.Token.Reveal()); !errors.Is(err, authz.ErrInvalidToken) {
				return fmt.Errorf("suspended: %v", err)
			}
			return m.ResumeUser(ctx, owner)
		}, true},
		"ResumeApp": {func(m *authz.Manager, res authz.Result) error {
			if _, err := m.SuspendApp(ctx, clientID); err != nil {
				return err
			}
			if _, err := m.Verify(ctx, res.Token.Reveal()); !errors.Is(err, authz.ErrInvalidToken) {
				return fmt.Errorf("suspended: %v", err)
			}
			_, err := m.ResumeApp(ctx, clientID)
			return err
		}, true},
		"Update": {func(m *authz.Manager, res authz.Result) error {
			_, err := m.Update(ctx, owner, res.Authorization.ID, authz.Update{Scopes: []string{"less"}})
			if err != nil {
				return err
			}
			a, err := m.Verify(ctx, res.Token.Reveal())
			if err == nil && !slices.Equal(a.Scopes, []string{"less"}) {
				return fmt.Errorf("scopes are %v still", a.Scopes)
			}
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWatchedStore()
			m, _, _ := startCaching(t, s, authz.Config{})
			res := mustGet(t, m, request())
			other := request()
			other.Owner = "somebody else"
			otherToken := mustGet(t, m, other).Token
			for range 2 {
				s.reads(t, m, res.Token, true)
				s.reads(t, m, otherToken, true)
			}
			if err := change.do(m, res); err != nil {
				t.Fatal(err)
			}
			s.reads(t, m, res.Token, change.alive)
			wantReads(t, "once more", s.reads(t, m, res.Token, change.alive), 0)
		})
	}
}

// Another process changes something: here it is heard of through the store's Watch alone.
func TestVerifyHearsOfChanges(t *testing.T) {
	s := newWatchedStore()
	m, _, o := startCaching(t, s, authz.Config{})
	res := mustGet(t, m, request())
	s.reads(t, m, res.Token, true)
	someone, client := owner, clientID
	for name, c := range map[string]store.Change{
		"ID": {ID: res.Authorization.ID}, "owner": {Owner: &someone}, "app": {ClientID: &client}, "anything": {},
	} {
		o.Changed(c)
		wantReads(t, name, s.reads(t, m, res.Token, true), 1)
		wantReads(t, name+", again", s.reads(t, m, res.Token, true), 0)
	}
	const others = 16
	heeded := int64(0)
	for i := range others {
		other := fmt.Sprint("somebody else ", i)
		o.Changed(store.Change{Owner: &other})
		heeded += s.reads(t, m, res.Token, true)
	}
	if heeded > others/4 { // one in 64 shares a slot with the owner
		t.Errorf("changes of %d other owners caused %d reads", others, heeded)
	}
	if err := s.Delete(t.Context(), owner, res.Authorization.ID); err != nil { // behind the Manager's back
		t.Fatal(err)
	}
	s.reads(t, m, res.Token, true)
	o.Changed(store.Change{ID: res.Authorization.ID})
	s.reads(t, m, res.Token, false)
}

// Without news, with old news, and when hearing has ended, every call reads the store; and what was kept before does not
// count any more when it comes back.
func TestVerifyWithoutNews(t *testing.T) {
	s := newWatchedStore()
	m, _, o := startCaching(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token
	s.reads(t, m, token, true)
	wantReads(t, "with news", s.reads(t, m, token, true), 0)

	o.Current(time.Now().Add(-800 * time.Millisecond))
	for range 3 {
		wantReads(t, "late", s.reads(t, m, token, true), 1)
	}
	o.Current(forTheWholeTest()) // nothing has changed meanwhile
	wantReads(t, "back in time", s.reads(t, m, token, true), 0)

	s.end <- errors.New("the listener is gone")
	again := <-s.watching
	for range 3 {
		wantReads(t, "listening anew, no news yet", s.reads(t, m, token, true), 1)
	}
	again.Current(forTheWholeTest())
	wantReads(t, "what was read before", s.reads(t, m, token, true), 1)
	wantReads(t, "what was read since", s.reads(t, m, token, true), 0)

	closeManager(t, m)
	for range 3 {
		wantReads(t, "closed", s.reads(t, m, token, true), 1)
	}
}

// unwatched is a store that does not tell of changes.
type unwatched struct{ store.Store }

func TestVerifyUnwatched(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{0: 3, time.Hour: 1} {
		s := newWatchedStore()
		m, _ := newManager(t, unwatched{s}, authz.Config{Cache: newCache(), UnwatchedTTL: ttl})
		token := mustGet(t, m, request()).Token
		for range 3 {
			s.reads(t, m, token, true)
		}
		wantReads(t, "not started", s.lookups.Swap(0), 3)
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ttl != 0 { // it takes a moment
			deadline := time.Now().Add(10 * time.Second)
			for s.reads(t, m, token, true)+s.reads(t, m, token, true) == 2 && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			s.lookups.Store(1)
		}
		for range 3 {
			s.reads(t, m, token, true)
		}
		wantReads(t, fmt.Sprint("UnwatchedTTL ", ttl), s.lookups.Load(), want)
		closeManager(t, m)
	}
}

// What bounds it then is UnwatchedTTL, not the CacheTTL.
func TestUnwatchedTTL(t *testing.T) {
	s := newWatchedStore()
	const ttl = 200 * time.Millisecond
	c := newCache()
	m, _ := newManager(t, unwatched{s}, authz.Config{Cache: c, UnwatchedTTL: ttl, CacheTTL: time.Hour})
	token := mustGet(t, m, request()).Token
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer closeManager(t, m)
	waitFor(t, "an entry in the cache", func() bool {
		s.reads(t, m, token, true)
		c.mu.RLock()
		defer c.mu.RUnlock()
		return len(c.m) > 0
	})
	time.Sleep(ttl)
	wantReads(t, "after the TTL", s.reads(t, m, token, true), 1)
}

func TestCacheTTL(t *testing.T) {
	s := newWatchedStore()
	const ttl = 200 * time.Millisecond
	m, _, _ := startCaching(t, s, authz.Config{CacheTTL: ttl})
	token := mustGet(t, m, request()).Token
	began := time.Now()
	s.reads(t, m, token, true)
	again := s.reads(t, m, token, true)
	if time.Since(began) < ttl {
		wantReads(t, "within the TTL", again, 0)
	}
	time.Sleep(ttl)
	wantReads(t, "after the TTL", s.reads(t, m, token, true), 1)
}

// Ten thousand callers, one cold token, one read.
func TestVerifyStorm(t *testing.T) {
	s := newWatchedStore()
	m, _, _ := startCaching(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token.Reveal()
	const callers = 10_000
	var inside sync.WaitGroup
	inside.Add(callers)
	s.lookup = func(context.Context) error {
		inside.Wait() // all have called Verify, or are about to
		time.Sleep(50 * time.Millisecond)
		return nil
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	for range callers {
		all.Go(func() {
			inside.Done()
			if _, err := m.Verify(t.Context(), token); err != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), callers)
	}
	wantReads(t, "the storm", s.lookups.Load(), 1)
}

// Whoever reads for the others goes away: that ends nobody else's call.
func TestVerifyLeaderGoesAway(t *testing.T) {
	s := newWatchedStore()
	m, _, _ := startCaching(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token.Reveal()
	reading, release := make(chan struct{}, 10), make(chan struct{})
	s.lookup = func(ctx context.Context) error {
		reading <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	leader, follower := make(chan error, 1), make(chan error, 1)
	go func() { _, err := m.Verify(ctx, token); leader <- err }()
	<-reading
	go func() { _, err := m.Verify(t.Context(), token); follower <- err }()
	for stack := ""; !containsAll(stack, "authz.(*Manager).read", "select"); { // until it waits
		buf := make([]byte, 1<<20)
		stack = string(buf[:runtime.Stack(buf, true)])
	}
	cancel()
	if err := <-leader; !errors.Is(err, context.Canceled) || errors.Is(err, authz.ErrInvalidToken) {
		t.Errorf("the one that went away: %v", err)
	}
	<-reading // the follower reads itself
	close(release)
	if err := <-follower; err != nil {
		t.Errorf("the other: %v", err)
	}

	// A caller that waits is bound by its own context.
	s.lookup = func(ctx context.Context) error { reading <- struct{}{}; <-ctx.Done(); return ctx.Err() }
	m2, _, _ := startCaching(t, s, authz.Config{})
	slow, stop := context.WithCancel(t.Context())
	go func() { _, err := m2.Verify(slow, token); leader <- err }()
	<-reading
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m2.Verify(short, token); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller with a deadline: %v", err)
	}
	stop()
	<-leader
}

// What the store answers with is an error for all who wait, and kept for nobody.
func TestVerifyErrorsAreNotKept(t *testing.T) {
	s := newWatchedStore()
	m, _, _ := startCaching(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token
	broken := errors.New("the disk is gone")
	s.lookup = func(context.Context) error { return broken }
	for range 2 {
		if _, err := m.Verify(t.Context(), token.Reveal()); !errors.Is(err, broken) || errors.Is(err, authz.ErrInvalidToken) {
			t.Errorf("err = %v, want the store's", err)
		}
	}
	s.lookup = func(context.Context) error { panic("the store has a fault") }
	func() {
		defer func() { _ = recover() }()
		_, _ = m.Verify(t.Context(), token.Reveal())
	}()
	s.lookup = nil
	s.reads(t, m, token, true)
}

// randomToken is one that nobody has, of the right form.
func randomToken() string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var random [30]byte
	_, _ = rand.Read(random[:])
	for i, b := range random {
		random[i] = base62[b%62]
	}
	sum := crc32.ChecksumIEEE(random[:])
	var tail [6]byte
	for i := 5; i >= 0; i-- {
		tail[i] = base62[sum%62]
		sum /= 62
	}
	return "azt_" + string(random[:]) + string(tail[:])
}

// A dead token that is sent again and again costs one read in a while.
func TestVerifyUnknownFromMemory(t *testing.T) {
	s := newWatchedStore()
	m, _, o := startCaching(t, s, authz.Config{})
	token := authz.NewSecret(randomToken())
	wantReads(t, "unknown", s.reads(t, m, token, false), 1)
	wantReads(t, "unknown, again", s.reads(t, m, token, false), 0)
	o.Current(time.Now().Add(-time.Minute))
	wantReads(t, "unknown, without news", s.reads(t, m, token, false), 1)
}

func containsAll(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
}

// Nothing runs before Start, and nothing after Close or the end of Start's context.
func TestStartAndClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	begun := runtime.NumGoroutine()
	m, _ := newManager(t, memory.New(), authz.Config{Cache: newCache()})
	token := mustGet(t, m, request()).Token.Reveal()
	if _, err := m.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if n := runtime.NumGoroutine(); n > begun {
		t.Errorf("%d goroutines before Start, %d before New", n, begun)
	}
	closeManager(t, m) // never started
	if err := m.Start(t.Context()); err == nil {
		t.Error("Start after Close succeeds")
	}

	for name, end := range map[string]func(m *authz.Manager, cancel func()){
		"Close":       func(m *authz.Manager, _ func()) { closeManager(t, m); closeManager(t, m) },
		"the context": func(_ *authz.Manager, cancel func()) { cancel() },
		"both":        func(m *authz.Manager, cancel func()) { cancel(); closeManager(t, m) },
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			m, _ := newManager(t, memory.New(), authz.Config{Cache: newCache()})
			if err := m.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if err := m.Start(ctx); err == nil {
				t.Error("a second Start succeeds")
			}
			end(m, cancel)
		})
	}
}

func TestCloseInTime(t *testing.T) {
	s := newWatchedStore()
	m, _, _ := startCaching(t, s, authz.Config{})
	release := make(chan struct{})
	s.touched = func([]store.Use) error { <-release; return nil }
	s.reads(t, m, mustGet(t, m, request()).Token, true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := m.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while the store hangs: err = %v, want the context's", err)
	}
	close(release)
}
