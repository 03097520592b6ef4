package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Touch implements store.Authorizations. It counts nothing, and a repeat changes
// nothing: whoever repeats it, no harm is done.
func (s *Store) Touch(ctx context.Context, uses []store.Use) error {
	text := "" // nothing to do
	if len(uses) > 0 {
		text = marshalUses(uses)
	}
	_, err := write(ctx, s, "touch", loose, func(ctx context.Context, q session) (struct{}, error) {
		if text == "" {
			return struct{}{}, nil
		}
		_, err := q.execText(ctx, fmt.Sprintf(touch, s.d.Uses), text)
		return struct{}{}, err
	})
	return err
}

// marshalUses returns uses as a JSON object from IDs to times: both databases can
// read that, and it is one parameter however many there are.
func marshalUses(uses []store.Use) string {
	text := make([]byte, 0, 32*len(uses))
	for _, use := range uses {
		text = append(text, `,"`...)
		text = strconv.AppendInt(text, use.ID, 10)
		text = append(text, `":`...)
		text = strconv.AppendInt(text, use.At.UnixMicro(), 10)
	}
	text[0] = '{' // in the place of the first comma
	return string(append(text, '}'))
}

// Suspend implements store.Authorizations.
func (s *Store) Suspend(ctx context.Context, owner string, at time.Time) error {
	_, err := write(ctx, s, "suspend", loose, func(ctx context.Context, q session) (sql.Result, error) {
		return q.execText(ctx, suspend, owner, at.UnixMicro())
	})
	return err
}

// Resume implements store.Authorizations.
func (s *Store) Resume(ctx context.Context, owner string) error {
	_, err := write(ctx, s, "resume", loose, func(ctx context.Context, q session) (sql.Result, error) {
		return q.execText(ctx, resume, owner)
	})
	return err
}

// Suspended implements store.Authorizations.
func (s *Store) Suspended(ctx context.Context, owner string) (time.Time, error) {
	return do(ctx, s, "suspended", oneRow, func(ctx context.Context) (time.Time, error) {
		var at int64
		err := s.queryRow(ctx, getSuspended, owner).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			return time.Time{}, nil
		}
		return fromMicros(at), err
	})
}

// Purge implements store.Housekeeper.
func (s *Store) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	return write(ctx, s, "purge", pinned, func(ctx context.Context, q session) (int64, error) {
		return affected(q.execText(ctx, fmt.Sprintf(purge, s.d.SkipLocked), before.UnixMicro(), limit))
	})
}

// Expiring implements store.Housekeeper.
func (s *Store) Expiring(ctx context.Context, from, to time.Time, after store.Position, limit int) ([]store.Authorization, error) {
	behind, id := from.UnixMicro(), int64(math.MaxInt64) // the last position at from
	if at := after.ExpiresAt.UnixMicro(); at > behind {
		behind, id = at, after.ID
	}
	return do(ctx, s, "expiring", repeating, func(ctx context.Context) ([]store.Authorization, error) {
		rows, err := s.db.QueryContext(ctx, expiring, to.UnixMicro(), behind, id, limit)
		if err != nil {
			return nil, err
		}
		return collect(rows, newScanner(false).authorization)
	})
}

// window is how many records a call of Unused looks at.
const window = 10_000

// Unused implements store.Housekeeper. An index would have to be written at each
// use; this reads the table in parts, once in a long while.
func (s *Store) Unused(ctx context.Context, since, liveAt time.Time, after int64, limit int) ([]store.Authorization, int64, error) {
	type part struct {
		page []store.Authorization
		next int64
	}
	p, err := do(ctx, s, "unused", repeating, func(ctx context.Context) (p part, err error) {
		last := int64(math.MaxInt64)
		switch err := s.db.QueryRowContext(ctx, windowEnd, after, window-1).Scan(&last); {
		case err == nil:
			p.next = last
		case !errors.Is(err, sql.ErrNoRows): // then there are fewer, up to the end
			return part{}, err
		}
		rows, err := s.db.QueryContext(ctx, unused, after, last, since.UnixMicro(), liveAt.UnixMicro(), limit)
		if err != nil {
			return part{}, err
		}
		if p.page, err = collect(rows, newScanner(false).authorization); len(p.page) == limit {
			p.next = p.page[limit-1].ID // there may be more
		}
		return p, err
	})
	return p.page, p.next, err
}
