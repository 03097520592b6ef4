package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
)

var _ store.Watcher = (*Store)(nil)

// pollInterval is how often Watch asks. One question costs some 40 µs.
const pollInterval = 10 * time.Millisecond

// The oldest line and those that are new, as of one moment.
const pollChanges = `SELECT (SELECT MIN(seq) FROM authz_changes), (SELECT MAX(seq) FROM authz_changes), seq, authorization_id, owner, client_id
FROM (SELECT 1) LEFT JOIN authz_changes ON seq > CAST($1 AS INTEGER) ORDER BY seq`

// Watch implements [store.Watcher]: a hundred times a second it reads what
// triggers have noted down. PRAGMA data_version would cost less, but says only
// that something was written: each new authorization, and each Touch, would be
// taken for a change of everything.
func (s *Store) Watch(ctx context.Context, o store.Observer) error {
	feed := feed{db: s.sql.DB()}
	defer feed.close()
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
	db   *sql.DB
	stmt *sql.Stmt // nil before the first question
	last int64
}

func (f *feed) close() {
	if f.stmt != nil {
		_ = f.stmt.Close()
	}
}

// poll tells o of what came since. It asks again while the database is locked, as
// it is to readers too, at each commit, where it is not in WAL mode.
func (f *feed) poll(ctx context.Context, o store.Observer) error {
	// Where it is for longer, observers are in the dark anyway.
	bounded, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		err := f.ask(bounded, o)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil: // which the driver knows under another name
			return ctx.Err()
		case bounded.Err() == nil && sqlerr.Classify(err) != sqlerr.Contend:
			return err
		}
		select {
		case <-time.After(time.Millisecond + rand.N(time.Millisecond)):
		case <-bounded.Done():
			return fmt.Errorf("the database is locked, or the pool has no connection, for too long: %w", err)
		}
	}
}

// ask asks once.
func (f *feed) ask(ctx context.Context, o store.Observer) (err error) {
	if f.stmt == nil {
		if f.stmt, err = f.db.PrepareContext(ctx, pollChanges); err != nil {
			return err
		}
	}
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
