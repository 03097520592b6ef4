package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// server is a PostgreSQL for all sizes: the one of -dsn, or one of our own that is
// started when it is needed first.
type server struct {
	dsn   string
	close func()
}

// settings are those of a server that has the machine to itself, or nearly.
var settings = []string{"shared_buffers=2GB", "maintenance_work_mem=768MB", "max_wal_size=6GB", "checkpoint_timeout=30min", "autovacuum=off"}

func (s *server) start() error {
	if s.dsn != "" {
		u, err := url.Parse(s.dsn)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return errors.New("-dsn must be a URL, postgres://user:password@host:port/database") // never the value: it holds a password
		}
		return nil
	}
	own, err := pgtest.Start(pgtest.Options{Fsync: true, Settings: settings})
	if err != nil {
		return err
	}
	s.dsn, s.close = own.DSN(), own.Close
	return nil
}

func (s *server) stop() {
	if s.close != nil {
		s.close()
	}
}

// openPostgres loads a schema of its own.
func openPostgres(ctx context.Context, p population, on *server, at func(stage string, rows int)) (d *database, err error) {
	if err := on.start(); err != nil {
		return nil, err
	}
	schema := "growth_" + strings.ToLower(rand.Text())
	admin, err := sql.Open("postgres", on.dsn)
	if err != nil {
		return nil, err
	}
	if _, err := admin.ExecContext(ctx, "CREATE SCHEMA "+schema); err != nil {
		_ = admin.Close()
		return nil, err
	}
	end := func() {
		_, _ = admin.Exec("DROP SCHEMA " + schema + " CASCADE")
		_ = admin.Close()
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	u, err := url.Parse(on.dsn)
	if err != nil {
		return nil, errors.New("-dsn is no URL")
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	s, err := postgres.Open(ctx, u.String())
	if err != nil {
		return nil, err
	}
	// Not the store's pool: some of these statements take minutes.
	slow, err := sql.Open("postgres", u.String())
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	drop := end
	end = func() {
		_ = s.Close()
		_ = slow.Close()
		drop()
	}
	if err := register(ctx, p, s); err != nil {
		return nil, err
	}
	took, err := loadPostgres(ctx, p, slow, at)
	if err != nil {
		return nil, err
	}
	raw, err := newRaw(s.DB())
	if err != nil {
		return nil, err
	}
	var version, fsync, commit, buffers string
	for setting, to := range map[string]*string{"server_version": &version, "fsync": &fsync, "synchronous_commit": &commit, "shared_buffers": &buffers} {
		if err := slow.QueryRowContext(ctx, "SHOW "+setting).Scan(to); err != nil {
			return nil, err
		}
	}
	return &database{
		population: p, backend: "postgres", store: s, db: slow, raw: raw, loaded: took, writer: unlocked{},
		about: fmt.Sprintf("PostgreSQL %s over TCP (lib/pq), fsync=%s, synchronous_commit=%s, shared_buffers=%s; one pool of %d connections",
			version, fsync, commit, buffers, s.DB().Stats().MaxOpenConnections),
		put: func(ctx context.Context, recs []store.Authorization) error {
			return copyIn(ctx, slow, loadColumns[1:], func(add func([]any) error) error {
				for i := range recs {
					if err := add(values(&recs[i])[1:]); err != nil {
						return err
					}
				}
				return nil
			})
		},
		sizes: func(ctx context.Context) ([]size, error) {
			return sizesOf(ctx, slow, `SELECT c.relname, pg_table_size(c.oid) FROM pg_class c
	WHERE c.oid = CAST('authz_authorizations' AS regclass) OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = CAST('authz_authorizations' AS regclass))
	ORDER BY c.relname`)
		},
		written: func() (n int64, err error) {
			err = slow.QueryRow("SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS BIGINT)").Scan(&n)
			return n, err
		},
		close: end,
	}, nil
}

// loadPostgres drops the indexes, copies, and makes them anew: each is sorted once.
// The primary key stays, since IDs come in its order.
func loadPostgres(ctx context.Context, p population, db *sql.DB, at func(stage string, rows int)) (took loaded, err error) {
	want, err := schemaOfPostgres(ctx, db)
	if err != nil {
		return took, err
	}
	const ofTable = ` FROM pg_index i WHERE indrelid = CAST('authz_authorizations' AS regclass) AND NOT indisprimary ORDER BY indexrelid`
	names, err := texts(ctx, db, `SELECT CAST(CAST(indexrelid AS regclass) AS TEXT)`+ofTable)
	if err != nil {
		return took, err
	}
	definitions, err := texts(ctx, db, `SELECT pg_get_indexdef(indexrelid)`+ofTable)
	if err != nil {
		return took, err
	}
	if _, err := db.ExecContext(ctx, "DROP INDEX "+strings.Join(names, ", ")); err != nil {
		return took, err
	}
	began := time.Now()
	err = copyIn(ctx, db, loadColumns, func(add func([]any) error) error {
		return fill(ctx, p, copyTarget(add), func(rows int) { at("loading", rows) })
	})
	if err != nil {
		return took, err
	}
	if _, err := db.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('authz_authorizations', 'id'), $1)", p.rows); err != nil {
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
	have, err := schemaOfPostgres(ctx, db)
	if err != nil {
		return took, err
	}
	if !slices.Equal(have, want) {
		return took, errors.New("the load has left another schema than that of the migrations")
	}
	at("vacuum", p.rows)
	for _, query := range []string{"VACUUM ANALYZE authz_authorizations", "ANALYZE authz_apps", "CHECKPOINT"} {
		if _, err := db.ExecContext(ctx, query); err != nil {
			return took, err
		}
	}
	return took, nil
}

type copyTarget func(values []any) error

func (t copyTarget) add(values []any) error { return t(values) }

// copyIn streams rows in one transaction.
func copyIn(ctx context.Context, db *sql.DB, columns []string, rows func(add func(values []any) error) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, "COPY authz_authorizations ("+strings.Join(columns, ", ")+") FROM STDIN")
	if err != nil {
		return err
	}
	err = rows(func(values []any) error {
		_, err := stmt.Exec(values...)
		return err
	})
	if err == nil {
		_, err = stmt.ExecContext(ctx)
	}
	if err := errors.Join(err, stmt.Close()); err != nil {
		return err
	}
	return tx.Commit()
}

// schemaOfPostgres is all that the catalog says of the tables, without the schema's name.
func schemaOfPostgres(ctx context.Context, db *sql.DB) ([]string, error) {
	return texts(ctx, db, `SELECT replace(line, current_schema() || '.', '') FROM (
	SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || COALESCE(collation_name, '') || ' ' || is_nullable || ' ' || COALESCE(column_default, '') || ' ' || is_identity
		FROM information_schema.columns WHERE table_schema = current_schema()
	UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = current_schema()
	UNION ALL SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = CAST(current_schema() AS regnamespace)
	UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = CAST(current_schema() AS regnamespace)
) AS lines (line) ORDER BY line`)
}
