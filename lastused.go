package authz

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

const (
	// usesAtOnce is how many times of use one statement stores.
	usesAtOnce = 10_000
	// maxUses bounds the memory of a Manager whose store is away: what comes on
	// top is not noted until some are stored.
	maxUses = 1_000_000
)

// uses are the times of use that are not stored yet. A token's use is noted once
// in a window, so that a hit of the cache costs one comparison.
type uses struct {
	window  atomic.Int64 // the number of this one; 0: nothing is noted
	mu      sync.Mutex
	pending map[int64]time.Time // by ID
}

func (u *uses) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending = make(map[int64]time.Time)
	u.window.Store(1)
}

// used notes that e's token was used.
func (m *Manager) used(e *CacheEntry) {
	window := m.uses.window.Load()
	if last := e.window.Load(); window == 0 || last == window || !e.window.CompareAndSwap(last, window) {
		return
	}
	now := m.now()
	m.uses.mu.Lock()
	defer m.uses.mu.Unlock()
	if len(m.uses.pending) < maxUses {
		m.uses.pending[e.rec.ID] = now
	}
}

// take returns what is to be stored, and opens the next window.
func (u *uses) take() map[int64]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	pending := u.pending
	u.pending = make(map[int64]time.Time)
	u.window.Add(1)
	return pending
}

// putBack returns what could not be stored.
func (u *uses) putBack(missed []store.Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range missed {
		if _, later := u.pending[use.ID]; !later && len(u.pending) < maxUses {
			u.pending[use.ID] = use.At
		}
	}
}

// storeUses stores the times of use once in an interval, and those that are left
// when ctx ends.
func (m *Manager) storeUses(ctx context.Context) {
	for pause(ctx, m.cfg.LastUsedInterval) {
		m.flushUses(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	m.flushUses(ctx)
	m.uses.window.Store(0)
}

// flushUses stores the times of use, in one statement but for very many.
func (m *Manager) flushUses(ctx context.Context) {
	pending := m.uses.take()
	batch := make([]store.Use, 0, min(len(pending), usesAtOnce))
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if err := m.store.Touch(ctx, batch); err != nil {
			m.uses.putBack(batch)
			m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "authz: times of use are not stored yet",
				slog.Int("authorizations", len(batch)), slog.Any("error", err))
		}
		batch = batch[:0]
	}
	for id, at := range pending {
		if batch = append(batch, store.Use{ID: id, At: at}); len(batch) == usesAtOnce {
			flush()
		}
	}
	flush()
}
