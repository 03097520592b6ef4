package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

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
	var closers []func() error
	end := func() {
		for i := range closers {
			_ = closers[len(closers)-1-i]()
		}
		_ = os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	path := filepath.Join(dir, "authz.db")
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	closers = append(closers, s.Close)
	conns := s.DB().Stats().MaxOpenConnections

	// The raw side has the same file, settings and number of connections, in
	// pools of its own, opened as everybody would. Who wants the most of SQLite
	// from Go writes through one connection; so does the raw side.
	open := func(conns int) (*sql.DB, error) {
		query := url.Values{"_pragma": {"busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(1)"}}
		db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query.Encode()}).String())
		if err != nil {
			return nil, err
		}
		closers = append(closers, db.Close)
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		return db, nil
	}
	reads, err := open(conns)
	if err != nil {
		return nil, err
	}
	writes, err := open(1)
	if err != nil {
		return nil, err
	}
	if err := load(writes, d); err != nil {
		return nil, err
	}
	if err := loaded(ctx, d, s); err != nil {
		return nil, err
	}
	r, err := newRaw(reads, writes)
	if err != nil {
		return nil, err
	}
	cases, err := storeCases(d, s, r)
	if err != nil {
		return nil, err
	}
	// Asked of both pools, so that the report says what is, not what should be.
	var about [2]string
	for i, db := range []*sql.DB{s.DB(), writes} {
		var version, journal, sync string
		for query, to := range map[string]*string{
			"SELECT sqlite_version()": &version, "PRAGMA journal_mode": &journal, "PRAGMA synchronous": &sync,
		} {
			if err := db.QueryRow(query).Scan(to); err != nil {
				return nil, err
			}
		}
		about[i] = fmt.Sprintf("SQLite %s (modernc), journal_mode=%s, synchronous=%s", version, journal, sync)
	}
	if about[0] != about[1] {
		return nil, fmt.Errorf("the settings differ: %s; raw: %s", about[0], about[1])
	}
	return &backend{
		about: fmt.Sprintf("%s (2 is FULL); %d connections on each side; the raw INSERT has one connection of its own.", about[0], conns),
		cases: cases,
		close: end,
	}, nil
}
