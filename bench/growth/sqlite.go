package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// openSQLite loads a file in the temporary folder: on the disk, if TMPDIR is there.
func openSQLite(ctx context.Context, p population, _ *server, at func(stage string, rows int)) (d *database, err error) {
	dir, err := os.MkdirTemp("", "authz-growth-")
	if err != nil {
		return nil, err
	}
	end := func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			end()
		}
	}()
	path := filepath.Join(dir, "authz.db")
	s, err := sqlite.Open(ctx, path) // makes the tables
	if err != nil {
		return nil, err
	}
	if err := errors.Join(register(ctx, p, s), s.Close()); err != nil {
		return nil, err
	}
	took, err := loadSQLite(ctx, p, path, at)
	if err != nil {
		return nil, err
	}
	if s, err = sqlite.Open(ctx, path); err != nil {
		return nil, err
	}
	// The raw statements run on the host's pool, whose settings are those of the
	// store's own. What is put in comes by a third: it leaves both caches cold.
	db := s.DB()
	third, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	end = func() {
		_ = third.Close()
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
	raw, err := newRaw(db)
	if err != nil {
		return nil, err
	}
	var version, journal, durability string
	for query, to := range map[string]*string{
		"SELECT sqlite_version()": &version, "PRAGMA journal_mode": &journal, "PRAGMA synchronous": &durability,
	} {
		if err := db.QueryRowContext(ctx, query).Scan(to); err != nil {
			return nil, err
		}
	}
	return &database{
		population: p, backend: "sqlite", store: s, db: db, raw: raw, loaded: took,
		about: fmt.Sprintf("SQLite %s (modernc), journal_mode=%s, synchronous=%s (2 is FULL); raw statements that write wait for each other in a mutex", version, journal, durability),
		// SQLite has one writer at a time: callers that wait in Go wake at once.
		writer: new(sync.Mutex),
		put: func(ctx context.Context, recs []store.Authorization) error {
			tx, err := third.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			stmt, err := tx.PrepareContext(ctx, insertRow(loadColumns[1:]))
			if err != nil {
				return err
			}
			for i := range recs {
				if _, err := stmt.ExecContext(ctx, values(&recs[i])[1:]...); err != nil {
					return err
				}
			}
			return tx.Commit()
		},
		sizes: func(ctx context.Context) ([]size, error) {
			return sizesOf(ctx, db, `SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE AND name LIKE 'authz_authorizations%' ORDER BY name`)
		},
		close: end,
	}, nil
}

func insertRow(columns []string) string {
	return "INSERT INTO authz_authorizations (" + strings.Join(columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
}

// loadSQLite writes without a journal, since a file that is not finished is
// thrown away, and sorts each index once instead of looking for each row's place.
func loadSQLite(ctx context.Context, p population, path string, at func(stage string, rows int)) (took loaded, err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return took, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // the settings are the connection's
	for _, pragma := range []string{"journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "locking_mode = EXCLUSIVE", "temp_store = FILE", "threads = 2"} {
		if _, err := db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return took, err
		}
	}
	want, err := schemaOfSQLite(ctx, db)
	if err != nil {
		return took, err
	}
	names, err := texts(ctx, db, `SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'authz_authorizations' AND sql IS NOT NULL ORDER BY rowid`)
	if err != nil {
		return took, err
	}
	definitions, err := texts(ctx, db, `SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'authz_authorizations' AND sql IS NOT NULL ORDER BY rowid`)
	if err != nil {
		return took, err
	}
	for _, name := range names {
		if _, err := db.ExecContext(ctx, "DROP INDEX "+name); err != nil {
			return took, err
		}
	}
	began := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return took, err
	}
	defer tx.Rollback()
	stmt, err := tx.Prepare(insertRow(loadColumns))
	if err != nil {
		return took, err
	}
	if err := fill(ctx, p, sqliteTarget{stmt}, func(rows int) { at("loading", rows) }); err != nil {
		return took, err
	}
	if err := tx.Commit(); err != nil {
		return took, err
	}
	took.Rows, began = time.Since(began), time.Now()
	for i, definition := range definitions {
		at(fmt.Sprintf("index %d/%d", i+1, len(definitions)), p.rows)
		if _, err := db.ExecContext(ctx, definition); err != nil {
			return took, err
		}
	}
	took.Indexes = time.Since(began)
	have, err := schemaOfSQLite(ctx, db)
	if err == nil && !slices.Equal(have, want) {
		err = errors.New("the load has left another schema than that of the migrations")
	}
	return took, err
}

type sqliteTarget struct{ insert *sql.Stmt }

func (t sqliteTarget) add(values []any) error {
	_, err := t.insert.Exec(values...)
	return err
}

// schemaOfSQLite is all that the file says of its tables, indexes and triggers.
func schemaOfSQLite(ctx context.Context, db *sql.DB) ([]string, error) {
	return texts(ctx, db, `SELECT type || ' ' || name || ': ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY type, name`)
}

func sizesOf(ctx context.Context, db *sql.DB, query string) (out []size, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s size
		if err := rows.Scan(&s.Relation, &s.Bytes); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
