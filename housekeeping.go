package authz

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// purgeAtOnce is how many authorizations one statement removes, so that others
// get in between.
const purgeAtOnce = 1000

// housekeeper is the store as one that can look for what time has passed by.
func (m *Manager) housekeeper() (store.Housekeeper, error) {
	if h, ok := m.raw.(store.Housekeeper); ok {
		return h, nil
	}
	return nil, fmt.Errorf("authz: the store is no store.Housekeeper: %w", errors.ErrUnsupported)
}

// Purge removes the authorizations that have expired more than Config.PurgeAfter
// ago (expired at all, if that is negative), 1000 at a time, and returns how many. A started Manager does
// it once a minute. If ctx ends on the way, what was removed is removed. Errors:
// one that wraps errors.ErrUnsupported if the store cannot do it; anything else is
// the store's.
func (m *Manager) Purge(ctx context.Context) (total int64, err error) {
	h, err := m.housekeeper()
	if err != nil {
		return 0, err
	}
	before := m.now().Add(-max(0, m.cfg.PurgeAfter))
	for {
		n, err := h.Purge(ctx, before, purgeAtOnce)
		if total += n; err != nil {
			return total, fmt.Errorf("authz: purge: %w", err)
		}
		if n < purgeAtOnce {
			return total, nil
		}
	}
}

// ExpiringWithin goes through the live authorizations of all users that expire
// within d from now, the first to expire first: for reminders. An authorization
// whose end moves meanwhile can be met twice or not at all. It ends at the first
// error; errors as of [Manager.Purge].
func (m *Manager) ExpiringWithin(ctx context.Context, d time.Duration) iter.Seq2[Authorization, error] {
	return func(yield func(Authorization, error) bool) {
		h, err := m.housekeeper()
		if err != nil {
			yield(Authorization{}, err)
			return
		}
		from := m.now()
		to, after := from.Add(d), store.Position{}
		for {
			page, err := h.Expiring(ctx, from, to, after, maxListLimit)
			if err != nil {
				yield(Authorization{}, fmt.Errorf("authz: expiring: %w", err))
				return
			}
			for _, rec := range page {
				if !yield(rec, nil) {
					return
				}
				after = store.Position{ExpiresAt: rec.ExpiresAt, ID: rec.ID}
			}
			if len(page) < maxListLimit {
				return
			}
		}
	}
}

// Unused goes through the live authorizations of all users that were made before
// since and not used from then on, in rising order of ID: for reports. It reads
// all authorizations. Times of use are stored once in Config.LastUsedInterval, and
// only by started Managers. It ends at the first error; errors as of
// [Manager.Purge].
func (m *Manager) Unused(ctx context.Context, since time.Time) iter.Seq2[Authorization, error] {
	return func(yield func(Authorization, error) bool) {
		h, err := m.housekeeper()
		if err != nil {
			yield(Authorization{}, err)
			return
		}
		since := since.UTC().Truncate(time.Microsecond)
		for after := int64(0); ; {
			page, next, err := h.Unused(ctx, since, m.now(), after, maxListLimit)
			if err != nil {
				yield(Authorization{}, fmt.Errorf("authz: unused: %w", err))
				return
			}
			for _, rec := range page {
				if !yield(rec, nil) {
					return
				}
			}
			if after = next; next == 0 {
				return
			}
		}
	}
}
