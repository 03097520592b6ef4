// Package migrate brings the tables of one part of this module up to date.
//
// A migration is a plain SQL file named NNN_words.sql, numbered from 001
// without gaps. All missing ones run in one transaction under a lock that every
// process takes, so ten processes may start at once, and a process that dies
// half way leaves nothing behind. Where the database has no such lock, the primary
// key of the version table is one: a migration is recorded before it runs, so that
// a second process waits for the first, fails, and looks again.
package migrate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
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
	// Begin opens a transaction: SQLite, Postgres or PostgresWithoutLocks of this
	// package.
	Begin []string
	// Skip names migrations that are recorded but not run, since the database lacks
	// what they need. Nothing later may build on them. A Set without Skip runs them
	// when it finds them so recorded.
	Skip func(Migration) bool
}

// The ways to begin. All parts share them, since all share the version table. The
// first two exclude every other migration of any part and any process.
var (
	SQLite = []string{"BEGIN IMMEDIATE"}
	// The number is arbitrary, and the same in all versions of this module.
	Postgres = []string{"BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT pg_advisory_xact_lock(8102264130119521)"}
	// For what speaks PostgreSQL's protocol and has no advisory locks.
	PostgresWithoutLocks = []string{"BEGIN ISOLATION LEVEL READ COMMITTED"}
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
	selectVersion = `SELECT COALESCE(MAX(version), 0), COUNT(CASE WHEN name LIKE '%%` + notRun + `' THEN 1 END) FROM authz_schema WHERE part = '%s'`
	insertVersion = `INSERT INTO authz_schema (part, version, name) VALUES ($1, $2, $3)`
	claimSkipped  = `UPDATE authz_schema SET name = $3 WHERE part = $1 AND version = $2 AND name = $4`
	// notRun ends the recorded name of a migration that was skipped.
	notRun = " (not run)"
)

// Up runs what is missing. It does nothing to a database that is up to date,
// and refuses one that is newer than the program with store.ErrSchema.
func Up(ctx context.Context, db *sql.DB, set Set) error {
	for attempt := 1; ; attempt++ {
		raced, err := up(ctx, db, set)
		if !raced || attempt == maxAttempts {
			return err
		}
		select { // what the other has done may not be seen yet
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
			return err
		}
	}
}

// maxAttempts is how often a migration begins that meets another each time.
const maxAttempts = 50

// up is one attempt. raced says that another process did the same meanwhile.
func up(ctx context.Context, db *sql.DB, set Set) (raced bool, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	// Mostly nothing is missing: then nobody waits for a lock, and a user who
	// may not create tables can start the program.
	if s, err := read(ctx, conn, set); err == nil && s.version == len(set.Migrations) && !s.lacks {
		return false, nil
	}
	for i, stmt := range set.Begin {
		if _, err := conn.ExecContext(ctx, stmt); err != nil {
			// A driver may have begun and still say that ctx ended.
			if i > 0 || ctx.Err() != nil {
				abandon(conn)
			}
			return false, err
		}
	}
	// From here on the transaction ends by COMMIT or ROLLBACK. Whoever waits for
	// another process can leave; what is begun after that is not cut off.
	defer func() {
		if err != nil {
			abandon(conn)
		}
	}()
	if _, err := conn.ExecContext(ctx, createTable); err != nil {
		return meets(err), err
	}
	have, err := read(ctx, conn, set)
	if err != nil {
		return false, err
	}
	if have.version > len(set.Migrations) {
		return false, tooNew(set, have.version)
	}
	detached := context.WithoutCancel(ctx)
	for i, m := range set.Migrations {
		if i >= have.version {
			name := m.Name
			if set.Skip != nil && set.Skip(m) {
				name += notRun
			}
			if _, err := conn.ExecContext(ctx, insertVersion, set.Part, m.Version, name); err != nil {
				return meets(err), fmt.Errorf("migration %s: %w", m.Name, err)
			}
			if name != m.Name {
				continue
			}
		} else {
			if !have.lacks {
				continue
			}
			res, err := conn.ExecContext(ctx, claimSkipped, set.Part, m.Version, m.Name, m.Name+notRun)
			if err != nil {
				return meets(err), fmt.Errorf("migration %s: %w", m.Name, err)
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				continue
			}
		}
		if _, err := conn.ExecContext(detached, m.SQL); err != nil {
			return false, fmt.Errorf("migration %s: %w", m.Name, err)
		}
	}
	_, err = conn.ExecContext(detached, "COMMIT")
	return false, err
}

// meets reports whether err is what a transaction gets that does what another has
// just done: that has made the table, or recorded the migration.
func meets(err error) bool {
	switch sqlerr.State(err) {
	case "23505", "42P07", "42710", "40001": // unique_violation, duplicate_table, duplicate_object, serialization_failure
		return true
	}
	return false
}

// state is what is recorded of a part.
type state struct {
	version int  // the newest that has run
	lacks   bool // one was skipped that set wants
}

func read(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, set Set) (s state, err error) {
	var skipped int
	err = q.QueryRowContext(ctx, fmt.Sprintf(selectVersion, set.Part)).Scan(&s.version, &skipped)
	s.lacks = skipped > 0 && set.Skip == nil
	return s, err
}

// Check says whether the database fits the program: nil, or an error that
// wraps store.ErrSchema and says what to do, or any other error if the
// database cannot be asked. It changes nothing. missing reports whether err
// means that a table does not exist.
func Check(ctx context.Context, db *sql.DB, set Set, missing func(error) bool) error {
	s, err := read(ctx, db, set)
	have := s.version
	switch {
	case err != nil && missing(err):
		return tooOld(set, 0)
	case err != nil:
		return err
	case have > len(set.Migrations):
		return tooNew(set, have)
	case have < len(set.Migrations):
		return tooOld(set, have)
	case s.lacks:
		return fmt.Errorf("%w: a migration of the database's %s schema was left out by a program that does not need it, and this one does: run Migrate (authz migrate on the command line)",
			store.ErrSchema, set.Part)
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
