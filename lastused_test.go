package authz_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func lastUsed(t *testing.T, m *authz.Manager, id int64) time.Time {
	t.Helper()
	a, err := m.Get(t.Context(), owner, id)
	if err != nil {
		t.Fatal(err)
	}
	return a.LastUsedAt
}

// waitFor waits until ok, or fails the test.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timeout: " + what)
		}
	}
}

func TestLastUsed(t *testing.T) {
	s := newWatchedStore()
	m, clock, _ := startCaching(t, s, authz.Config{})
	used, unused := mustGet(t, m, request()), mustGet(t, m, request(fingerprint("unused")))
	clock.Add(time.Minute)
	want := clock.Now().UTC().Truncate(time.Microsecond)
	for range 3 {
		s.reads(t, m, used.Token, true)
		clock.Add(time.Second)
	}
	if at := lastUsed(t, m, used.Authorization.ID); !at.IsZero() {
		t.Errorf("stored at %v already: there was a write for a verification", at)
	}
	closeManager(t, m)
	if at := lastUsed(t, m, used.Authorization.ID); !at.Equal(want) {
		t.Errorf("last used at %v, want %v", at, want)
	}
	if at := lastUsed(t, m, unused.Authorization.ID); !at.IsZero() {
		t.Errorf("one that was not used: %v", at)
	}
	if a, err := m.Get(t.Context(), owner, used.Authorization.ID); err != nil || !a.UpdatedAt.Equal(used.Authorization.UpdatedAt) || a.Revision != used.Authorization.Revision {
		t.Errorf("a use has changed more than its time: %+v, %v", a, err)
	}
	list, err := m.List(t.Context(), owner, authz.ListOptions{})
	if err != nil || !list[0].LastUsedAt.Equal(want) {
		t.Errorf("List: %+v, %v", list, err)
	}
}

// One statement for all, once in an interval, and each token once in each.
func TestLastUsedInterval(t *testing.T) {
	s := newWatchedStore()
	var mu sync.Mutex
	var batches [][]store.Use
	s.touched = func(uses []store.Use) error {
		mu.Lock()
		defer mu.Unlock()
		batches = append(batches, slices.Clone(uses))
		return nil
	}
	stored := func() int { mu.Lock(); defer mu.Unlock(); return len(batches) }
	m, _, _ := startCaching(t, s, authz.Config{LastUsedInterval: 300 * time.Millisecond})
	var tokens []authz.Secret
	for _, f := range []string{"a", "b", "c"} {
		tokens = append(tokens, mustGet(t, m, request(fingerprint(f))).Token)
	}
	use := func() {
		for range 5 {
			for _, token := range tokens {
				s.reads(t, m, token, true)
			}
		}
	}
	use()
	waitFor(t, "the first flush", func() bool { return stored() == 1 })
	use()
	waitFor(t, "the second flush", func() bool { return stored() == 2 })
	time.Sleep(400 * time.Millisecond)
	closeManager(t, m)
	if n := stored(); n != 2 {
		t.Errorf("%d statements, want 2: where nothing was used, there is none", n)
	}
	for i, batch := range batches {
		if len(batch) != len(tokens) {
			t.Errorf("statement %d holds %d uses, want %d", i, len(batch), len(tokens))
		}
	}
}

// While the store is away, times of use are kept; a later one is not replaced by them.
func TestLastUsedStoreAway(t *testing.T) {
	s := newWatchedStore()
	var mu sync.Mutex
	away, tries := true, 0
	s.touched = func([]store.Use) error {
		mu.Lock()
		defer mu.Unlock()
		tries++
		if away {
			return errors.New("the store is away")
		}
		return nil
	}
	m, clock, _ := startCaching(t, s, authz.Config{LastUsedInterval: 20 * time.Millisecond})
	early, late := mustGet(t, m, request()), mustGet(t, m, request(fingerprint("late")))
	first := clock.Now().UTC().Truncate(time.Microsecond)
	s.reads(t, m, early.Token, true)
	s.reads(t, m, late.Token, true)
	waitFor(t, "two failures", func() bool { mu.Lock(); defer mu.Unlock(); return tries >= 2 })
	clock.Add(time.Hour)
	s.reads(t, m, late.Token, true)
	mu.Lock()
	away = false
	mu.Unlock()
	closeManager(t, m)
	if at := lastUsed(t, m, early.Authorization.ID); !at.Equal(first) {
		t.Errorf("used while the store was away: %v, want %v", at, first)
	}
	if at := lastUsed(t, m, late.Authorization.ID); !at.Equal(first.Add(time.Hour)) {
		t.Errorf("used again: %v, want %v", at, first.Add(time.Hour))
	}
}

func TestLastUsedOff(t *testing.T) {
	s := newWatchedStore()
	s.touched = func([]store.Use) error { t.Error("a time of use was stored"); return nil }
	m, _, _ := startCaching(t, s, authz.Config{LastUsedInterval: -1})
	s.reads(t, m, mustGet(t, m, request()).Token, true)
	closeManager(t, m)

	if _, err := authz.New(memory.New(), authz.Config{LastUsedInterval: -1, IdleTimeout: time.Hour}); err == nil {
		t.Error("New takes an IdleTimeout without times of use")
	}
	// Nobody would ever store them.
	m2, _ := newManager(t, s, authz.Config{})
	s.reads(t, m2, mustGet(t, m2, request(fingerprint("not started"))).Token, true)
	closeManager(t, m2)
}

// A token lives as long as it is used, in whatever process, and never beyond its Lifetime.
func TestIdleTimeout(t *testing.T) {
	const idle, interval = time.Hour, time.Minute
	const most = idle + 2*interval
	s := newWatchedStore()
	cfg := authz.Config{IdleTimeout: idle, LastUsedInterval: interval, Lifetime: 3 * time.Hour}
	m, clock, _ := startCaching(t, s, cfg)
	used, unused := mustGet(t, m, request()), mustGet(t, m, request(fingerprint("unused")))
	if end := used.Authorization.CreatedAt.Add(most); !used.Authorization.ExpiresAt.Equal(end) {
		t.Errorf("a new one expires at %v, want %v", used.Authorization.ExpiresAt, end)
	}
	s.reads(t, m, used.Token, true)
	elsewhere := func() { // another process has seen it in use, and stored that
		if err := s.Touch(t.Context(), []store.Use{{ID: used.Authorization.ID, At: clock.Now().UTC().Truncate(time.Microsecond)}}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Add(idle)
	elsewhere()
	clock.Add(most - idle)
	s.reads(t, m, unused.Token, false)
	wantReads(t, "idle for this process", s.reads(t, m, used.Token, true), 1) // it must ask
	wantReads(t, "the same, known", s.reads(t, m, used.Token, true), 0)
	if res, err := m.GetOrCreate(t.Context(), request(fingerprint("unused"))); err != nil || !res.Created {
		t.Errorf("one that has been idle for too long counts as absent: created %t, %v", res.Created, err)
	}
	for range 2 {
		clock.Add(55 * time.Minute)
		elsewhere()
	}
	clock.Add(3*time.Hour - most - 2*55*time.Minute - time.Microsecond)
	s.reads(t, m, used.Token, true) // at its 3 hours but for a moment
	clock.Add(time.Microsecond)
	s.reads(t, m, used.Token, false)
}
