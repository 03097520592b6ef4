package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store/postgres"
)

// openPostgres measures in a schema of its own, on a private server with fsync
// unless options name another.
func openPostgres(d *data, o options) (b *backend, err error) {
	ctx := context.Background()
	var closers []func()
	end := func() {
		for i := range closers {
			closers[len(closers)-1-i]()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()

	dsn := o.dsn
	if dsn == "" {
		server, err := pgtest.Start(pgtest.Options{Fsync: true})
		if err != nil {
			return nil, err
		}
		closers = append(closers, server.Close)
		dsn = server.DSN()
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("-dsn must be a URL, postgres://user:password@host:port/database") // never the value: it holds a password
	}
	admin, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() { _ = admin.Close() })
	schema := "bench_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
		return nil, err
	}
	closers = append(closers, func() { _, _ = admin.Exec("DROP SCHEMA " + schema + " CASCADE") })
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()

	s, err := postgres.Open(ctx, u.String())
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() { _ = s.Close() })
	db := s.DB()
	if err := load(db, d); err != nil {
		return nil, err
	}
	if err := loaded(ctx, d, s); err != nil {
		return nil, err
	}
	if _, err := db.Exec("VACUUM ANALYZE authz_authorizations, authz_apps"); err != nil {
		return nil, err
	}
	r, err := newRaw(db, unlocked{})
	if err != nil {
		return nil, err
	}
	cases, endCases, err := storeCases(d, s, r)
	if err != nil {
		return nil, err
	}
	closers = append(closers, endCases)
	var version, fsync, commit string
	for setting, to := range map[string]*string{"server_version": &version, "fsync": &fsync, "synchronous_commit": &commit} {
		if err := db.QueryRow("SHOW " + setting).Scan(to); err != nil {
			return nil, err
		}
	}
	return &backend{
		about: fmt.Sprintf("PostgreSQL %s over TCP (lib/pq), fsync=%s, synchronous_commit=%s; one pool of %d connections.", version, fsync, commit, db.Stats().MaxOpenConnections),
		cases: cases,
		close: end,
	}, nil
}
