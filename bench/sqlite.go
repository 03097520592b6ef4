package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/seed-926035fd/authz/store/sqlite"
)

// openSQLite puts the database into a temporary folder: on the disk, if TMPDIR
// is there.
func openSQLite(d *data, _ options) (b *backend, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "authz-bench-")
	if err != nil {
		return nil, err
	}
	end := func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			end()
		}
	}()
	s, err := sqlite.Open(ctx, filepath.Join(dir, "authz.db"))
	if err != nil {
		return nil, err
	}
	end = func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
	if err := load(s.DB(), d); err != nil {
		return nil, err
	}
	if err := loaded(ctx, d, s); err != nil {
		return nil, err
	}
	// SQLite has one writer at a time. Who wants the most of it from Go lets
	// the others wait in Go: they wake at once, and under a lock the pool
	// hands out the same connection all the time, whose cache stays warm.
	r, err := newRaw(s.DB(), new(sync.Mutex))
	if err != nil {
		return nil, err
	}
	cases, endCases, err := storeCases(d, s, r)
	if err != nil {
		return nil, err
	}
	closeDB := end
	end = func() {
		endCases()
		closeDB()
	}
	// Asked, so that the report says what is, not what should be.
	var version, journal, sync string
	for query, to := range map[string]*string{
		"SELECT sqlite_version()": &version, "PRAGMA journal_mode": &journal, "PRAGMA synchronous": &sync,
	} {
		if err := s.DB().QueryRow(query).Scan(to); err != nil {
			return nil, err
		}
	}
	return &backend{
		about: fmt.Sprintf("SQLite %s (modernc), journal_mode=%s, synchronous=%s (2 is FULL); one pool of %d connections; raw INSERTs wait for each other in a mutex.",
			version, journal, sync, s.DB().Stats().MaxOpenConnections),
		cases: cases,
		close: end,
	}, nil
}
