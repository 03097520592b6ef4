package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// What goes on by itself between Start and Close: hearing of changes, storing
// times of use, removing what has expired.

// background are the goroutines of a Manager.
type background struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // nil before Start
	closed  bool
	workers sync.WaitGroup
}

// lease is how long after a moment, of which it is known that all changes before
// it were heard of, entries are answered from. Stores say so several times a
// second.
const lease = 800 * time.Millisecond

// Start begins what a Manager does by itself: from here on it listens to what the
// store tells of changes, times of use are stored, and expired authorizations and
// replays are removed. While changes are heard of, Verify answers from Config.Cache,
// and apps are answered for from memory, with or without a Cache: some 8000 of them,
// so that get-or-create asks the store once. What was changed here is heeded at
// once, what was changed elsewhere as soon as it is heard of: the same holds for a
// client_secret that was ended or an app that was suspended as for a token that was
// revoked. Start does not wait for the store: one that is away is asked again and
// again. All of it ends with ctx, or by
// [Manager.Close]. It returns an error if the Manager was started or closed
// before.
func (m *Manager) Start(ctx context.Context) error {
	b := &m.background
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return errors.New("authz: start: the Manager is closed")
	case b.cancel != nil:
		return errors.New("authz: start: the Manager was started before")
	}
	ctx, b.cancel = context.WithCancel(ctx)
	if m.cfg.Cache != nil || !m.foreignApps { // else there is nothing to keep
		b.workers.Go(func() { m.watch(ctx) })
	}
	if m.cfg.LastUsedInterval > 0 {
		m.uses.begin()
		b.workers.Go(func() { m.storeUses(ctx) })
	}
	b.workers.Go(func() { m.housekeep(ctx) })
	return nil
}

// Close ends what Start has begun, stores the times of use that are still in
// memory, and returns when all goroutines have ended, or ctx. The Manager goes on
// to work, without a cache. A second Close does nothing. It returns an error if
// ctx ended first.
func (m *Manager) Close(ctx context.Context) error {
	b := &m.background
	b.mu.Lock()
	b.closed = true
	cancel := b.cancel
	b.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	done := make(chan struct{})
	go func() { b.workers.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("authz: close: %w", ctx.Err())
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch hears of changes for as long as ctx lasts.
func (m *Manager) watch(ctx context.Context) {
	defer m.current.Store(0)
	watcher, ok := m.raw.(store.Watcher)
	if !ok {
		m.unwatched(ctx)
		return
	}
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := watcher.Watch(ctx, observer{m})
		m.current.Store(0) // and when it comes back, it begins with a change of anything
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errors.ErrUnsupported):
			m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "authz: the store does not tell of changes", slog.String("error", err.Error()))
			m.unwatched(ctx)
			return
		}
		m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "authz: not hearing of changes: everything is read from the store", slog.Any("error", err))
		if time.Since(began) > time.Minute {
			failures = 0
		}
		wait := min(50*time.Millisecond<<min(failures, 10), 2*time.Second)
		pause(ctx, wait/2+rand.N(wait))
	}
}

// unwatched lets entries be answered from on the host's own risk, if it has said so.
func (m *Manager) unwatched(ctx context.Context) {
	if m.cfg.UnwatchedTTL > 0 {
		m.ttl.Store(int64(m.cfg.UnwatchedTTL))
		m.current.Store(math.MaxInt64)
		<-ctx.Done()
	}
}

// observer is a Manager that hears of changes.
type observer struct{ m *Manager }

func (o observer) Changed(c store.Change) { o.m.validity.changed(c) }

func (o observer) Current(asOf time.Time) {
	o.m.current.Store(int64(asOf.Add(lease).Sub(o.m.began)))
}

// housekeepInterval is how often a started Manager looks for what has expired.
const housekeepInterval = time.Minute

// housekeep removes what has expired for as long as ctx lasts.
func (m *Manager) housekeep(ctx context.Context) {
	// Processes that start together do not come together.
	for wait := rand.N(housekeepInterval); pause(ctx, wait); wait = housekeepInterval {
		if _, err := m.WipeReplays(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "authz: replays are not wiped", slog.Any("error", err))
		}
		if m.cfg.PurgeAfter < 0 {
			continue
		}
		if _, err := m.Purge(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errors.ErrUnsupported) {
			m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "authz: expired authorizations are not removed", slog.Any("error", err))
		}
	}
}
