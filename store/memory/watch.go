package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-926035fd/authz/store"
)

var _ store.Watcher = (*Store)(nil)

// pulse is how often Watch says that it is still there.
const pulse = 200 * time.Millisecond

// Watch implements [store.Watcher]: o hears of a change before the call that made
// it returns.
func (s *Store) Watch(ctx context.Context, o store.Observer) error {
	if err := done(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.observers[&o] = o
	o.Changed(store.Change{})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.observers, &o)
	}()
	ticker := time.NewTicker(pulse)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		if ctx.Err() == nil {
			o.Current(time.Now())
		}
		s.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("store/memory: watch: %w", ctx.Err())
		}
	}
}

// tell tells all who watch. The caller holds the lock.
func (s *Store) tell(c store.Change) {
	for _, o := range s.observers {
		o.Changed(c)
	}
}

func (s *Store) tellRemoved(recs []*store.Authorization) {
	if len(s.observers) == 0 {
		return
	}
	for _, rec := range recs {
		s.tell(store.Change{ID: rec.ID})
	}
}
