// Package migrate brings the tables of one part of this module up to date.
//
// A migration is a plain SQL file named NNN_words.sql, numbered from 001
// without gaps. All missing ones run in one transaction under a lock that every
// process takes, so ten processes may start at once, and a process that dies
// half way leaves nothing behind.
package migrate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/seed-926035fd/authz/store"
)

// Migration is one step of a schema.
type Migration struct {
	Version int
	Name    string
	SQL     string
}

// Set is the schema of one part of the module.
type Set struct {
	// Part names the rows in the version table, such as "store".
	Part string
	// Migrations in order, from version 1, without gaps.
	Migrations []Migration
	// Begin opens a transaction that excludes every other migration of any
	// part and any process: SQLite or Postgres of this package.
	Begin []string
}

// The ways to begin. All parts share them, since all share the version table.
var (
	SQLite = []string{"BEGIN IMMEDIATE"}
	// The number is arbitrary, and the same in all versions of this module.
	Postgres = []string{"BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT pg_advisory_xact_lock(8102264130119521)"}
)

// Load reads the migrations from dir of fsys. It panics on a file that does not
// fit, since the files are embedded in the program.
func Load(fsys fs.FS, dir string) []Migration {
	names, err := fs.Glob(fsys, path.Join(dir, "*.sql"))
	if err != nil || len(names) == 0 {
		panic(fmt.Sprintf("migrate: no migrations in %s: %v", dir, err))
	}
	out := make([]Migration, 0, len(names))
	for i, name := range names { // Glob sorts
		base := path.Base(name)
		number, _, ok := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || version != i+1 {
			panic("migrate: " + base + " is out of order")
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			panic(err)
		}
		out = append(out, Migration{Version: version, Name: base, SQL: string(text)})
	}
	return out
}

const (
	createTable = `CREATE TABLE IF NOT EXISTS authz_schema (
	part    TEXT    NOT NULL,
	version INTEGER NOT NULL,
	name    TEXT    NOT NULL,
	PRIMARY KEY (part, version)
)`
	// Without a parameter it is one round trip, and so right behind a pooler
	// outside of a transaction too.
	selectVersion = `SELECT COALESCE(MAX(version), 0) FROM authz_schema WHERE part = '%s'`
	insertVersion = `INSERT INTO authz_schema (part, version, name) VALUES ($1, $2, $3)`
)

// Up runs what is missing. It does nothing to a database that is up to date,
// and refuses one that is newer than the program with store.ErrSchema.
func Up(ctx context.Context, db *sql.DB, set Set) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Mostly nothing is missing: then nobody waits for a lock, and a user who
	// may not create tables can start the program.
	if have, err := version(ctx, conn, set.Part); err == nil && have == len(set.Migrations) {
		return nil
	}
	for i, stmt := range set.Begin {
		if _, err := conn.ExecContext(ctx, stmt); err != nil {
			// A driver may have begun and still say that ctx ended.
			if i > 0 || ctx.Err() != nil {
				abandon(conn)
			}
			return err
		}
	}
	// From here on the transaction ends by COMMIT or ROLLBACK, whatever
	// becomes of the caller's context.
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			abandon(conn)
		}
	}()
	if _, err := conn.ExecContext(ctx, createTable); err != nil {
		return err
	}
	have, err := version(ctx, conn, set.Part)
	if err != nil {
		return err
	}
	if have > len(set.Migrations) {
		return tooNew(set, have)
	}
	for _, m := range set.Migrations[have:] {
		if _, err := conn.ExecContext(ctx, m.SQL); err != nil {
			return fmt.Errorf("migration %s: %w", m.Name, err)
		}
		if _, err := conn.ExecContext(ctx, insertVersion, set.Part, m.Version, m.Name); err != nil {
			return fmt.Errorf("migration %s: %w", m.Name, err)
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// version returns the newest version of part that has run.
func version(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, part string) (have int, err error) {
	err = q.QueryRowContext(ctx, fmt.Sprintf(selectVersion, part)).Scan(&have)
	return have, err
}

// Check says whether the database fits the program: nil, or an error that
// wraps store.ErrSchema and says what to do, or any other error if the
// database cannot be asked. It changes nothing. missing reports whether err
// means that a table does not exist.
func Check(ctx context.Context, db *sql.DB, set Set, missing func(error) bool) error {
	have, err := version(ctx, db, set.Part)
	switch {
	case err != nil && missing(err):
		return tooOld(set, 0)
	case err != nil:
		return err
	case have > len(set.Migrations):
		return tooNew(set, have)
	case have < len(set.Migrations):
		return tooOld(set, have)
	}
	return nil
}

func tooNew(set Set, have int) error {
	return fmt.Errorf("%w: the database's %s schema has version %d and this program knows up to %d: run the newer program, or restore a backup from before its migration",
		store.ErrSchema, set.Part, have, len(set.Migrations))
}

func tooOld(set Set, have int) error {
	return fmt.Errorf("%w: the database's %s schema has version %d and this program needs %d: run Migrate (authz migrate on the command line)",
		store.ErrSchema, set.Part, have, len(set.Migrations))
}

// abandon rolls back, and takes the connection out of the pool if it cannot.
func abandon(conn *sql.Conn) {
	if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}
