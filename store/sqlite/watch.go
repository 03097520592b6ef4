package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seed-926035fd/authz/store"
)

var _ store.Watcher = (*Store)(nil)

// pollInterval is how often Watch asks. One question costs some 20 µs.
const pollInterval = 10 * time.Millisecond

// The oldest line and those that are new, as of one moment.
const pollChanges = `SELECT (SELECT MIN(seq) FROM authz_changes), (SELECT MAX(seq) FROM authz_changes), seq, authorization_id, owner, client_id
FROM (SELECT 1) LEFT JOIN authz_changes ON seq > CAST($1 AS INTEGER) ORDER BY seq`

// Watch implements [store.Watcher]: a hundred times a second it reads what
// triggers have noted down. PRAGMA data_version would cost less, but says only
// that something was written: each new authorization, and each Touch, would be
// taken for a change of everything.
func (s *Store) Watch(ctx context.Context, o store.Observer) error {
	stmt, err := s.DB().PrepareContext(ctx, pollChanges)
	if err != nil {
		return fmt.Errorf("store/sqlite: watch: %w", err)
	}
	defer stmt.Close()
	feed := feed{stmt: stmt}
	if err := feed.poll(ctx, nobody{}); err != nil { // only to find the last line
		return fmt.Errorf("store/sqlite: watch: %w", err)
	}
	o.Changed(store.Change{})
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		asOf := time.Now()
		if err := feed.poll(ctx, o); err != nil {
			return fmt.Errorf("store/sqlite: watch: %w", err)
		}
		o.Current(asOf)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// feed is the place in the notes up to which one Watch has read.
type feed struct {
	stmt *sql.Stmt
	last int64
}

// poll tells o of what came since.
func (f *feed) poll(ctx context.Context, o store.Observer) error {
	// Where the database is busy for longer, observers are in the dark anyway.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rows, err := f.stmt.QueryContext(ctx, f.last)
	if err != nil {
		return err
	}
	defer rows.Close()
	last := f.last
	for rows.Next() {
		var (
			oldest, newest, seq, id sql.NullInt64
			owner, clientID         *string
		)
		if err := rows.Scan(&oldest, &newest, &seq, &id, &owner, &clientID); err != nil {
			return err
		}
		if newest.Int64 < f.last || seq.Valid && oldest.Int64 > f.last+1 { // lines are missing
			o.Changed(store.Change{})
		} else if seq.Valid {
			o.Changed(store.Change{ID: id.Int64, Owner: owner, ClientID: clientID})
		}
		last = newest.Int64
	}
	if err := rows.Err(); err != nil {
		return err // what was told will be told again
	}
	f.last = last
	return nil
}

type nobody struct{}

func (nobody) Changed(store.Change) {}
func (nobody) Current(time.Time)    {}
