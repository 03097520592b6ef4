package main

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// database is one that is loaded.
type database struct {
	population
	backend string
	about   string // as it answers when asked
	store   interface {
		store.Store
		store.Housekeeper
	}
	db     *sql.DB
	raw    *rawSQL
	writer sync.Locker // held by raw statements that write
	loaded loaded
	// put adds records to the table.
	put func(ctx context.Context, recs []store.Authorization) error
	// sizes are the bytes of the table and of each index.
	sizes func(ctx context.Context) ([]size, error)
	// written is how much was written to the log of changes so far; nil: there is no telling.
	written func() (int64, error)
	close   func()
}

// loaded says how long it took.
type loaded struct {
	Rows    time.Duration
	Indexes time.Duration
}

// size is that of a table or an index.
type size struct {
	Backend  string  `json:"backend"`
	Rows     int     `json:"rows"`
	Relation string  `json:"relation"`
	Bytes    int64   `json:"bytes"`
	PerRow   float64 `json:"bytes_per_row"`
}

// target is a table that rows are streamed into.
type target interface{ add(values []any) error }

// fill loads the table, and tells how far it is after each part of it.
func fill(ctx context.Context, p population, t target, at func(rows int)) error {
	for i := range p.rows {
		if i%2000 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			at(i)
		}
		rec := p.record(i)
		if err := t.add(values(&rec)); err != nil {
			return err
		}
	}
	return nil
}

// register adds the apps: each Lookup reads one.
func register(ctx context.Context, p population, s store.Store) error {
	for n := range apps {
		if _, err := s.CreateApp(ctx, p.app(n)); err != nil {
			return err
		}
	}
	return nil
}

// texts reads a column.
func texts(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// unlocked is for databases with many writers.
type unlocked struct{}

func (unlocked) Lock()   {}
func (unlocked) Unlock() {}
