// Package sqlstore is the store that SQLite and PostgreSQL share: the same
// statements, run through a [Dialect] that holds the few things in which the
// two differ.
package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/internal/migrate"
	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
)

// Dialect is what a database does its own way.
type Dialect struct {
	// Name begins every error text, such as "store/sqlite".
	Name string
	// Schema is the part "store" of the database's tables.
	Schema migrate.Set
	// Begin opens a transaction that writes.
	Begin string
	// Prepared keeps statements prepared. It must be off where a pooler hands
	// each transaction to another connection.
	Prepared bool
	// Calls bounds how many calls run at once; 0 means no bound. Callers above
	// it wait in their own context, not in the driver.
	Calls int
	// Readers, if not 0, is how many of the pool's connections reads of one row
	// have for themselves. They are short and wait for nothing, so they run
	// without the caller's context: to watch it would cost more than the read.
	Readers int
	// Grouped lets writes that meet share one transaction, and so one flush to
	// disk: for databases with one writer at a time.
	Grouped bool
	// Detached runs each statement under a context that is never cancelled, in
	// a goroutine that the caller leaves behind when its own context ends. It
	// is for databases behind a network, where a cancelled COMMIT can report
	// success for a row that is lost later, and where the driver can block
	// past any deadline.
	Detached bool
	// Lanes is how many statements for many calls run at once, of each kind: see
	// combine. 0 means that every call has a statement of its own. The database
	// must speak as PostgreSQL does, and Detached must be set.
	Lanes int
	// Uses is a query for the rows (used_id, used_at) of $1, a JSON object from
	// IDs to times. Callers of Touch whose IDs overlap must not wait for each
	// other in a circle, so it locks the rows of the authorizations in order,
	// where the database locks rows.
	Uses string
	// SkipLocked ends a query so that it locks the rows which it finds, and
	// leaves out those that others have locked; "" where there is one writer.
	SkipLocked string
	// Advice says what people can do about an error of the driver, or "".
	Advice func(error) string
}

// patience is how long a call whose context has no deadline repeats its
// statements.
const patience = 10 * time.Second

// Store implements store.Store on a *sql.DB.
type Store struct {
	db      *sql.DB
	d       Dialect
	calls   chan struct{}
	readers chan struct{}
	writer  *writer // nil unless Grouped
	stmts   [allStatements]atomic.Pointer[sql.Stmt]

	combined *combined // nil: nothing is
}

// New returns a Store on db, which it borrows.
func New(db *sql.DB, d Dialect) *Store {
	s := &Store{db: db, d: d, calls: slots(d.Calls), readers: slots(d.Readers)}
	if d.Grouped {
		s.writer = newWriter(s, db, false)
	}
	s.combined = newCombined(s, d.Lanes)
	return s
}

// WriteOn lets all writes go through db, another handle on the same database,
// with one connection that nobody else uses. It is closed with the Store.
func (s *Store) WriteOn(db *sql.DB) { s.writer = newWriter(s, db, true) }

func slots(n int) chan struct{} {
	if n <= 0 {
		return nil
	}
	return make(chan struct{}, n)
}

// DB returns the database.
func (s *Store) DB() *sql.DB { return s.db }

// Migrate runs the migrations that are missing, on db: the Store's own or
// another handle on the same database.
func (s *Store) Migrate(ctx context.Context, db *sql.DB) error {
	_, err := do(ctx, s, "migrate", repeating, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, migrate.Up(ctx, db, s.d.Schema)
	})
	return err
}

// Ready says whether the schema can be used.
func (s *Store) Ready(ctx context.Context) error {
	_, err := do(ctx, s, "ready", once, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, migrate.Check(ctx, s.db, s.d.Schema, func(err error) bool {
			return sqlerr.Classify(err) == sqlerr.NoTable
		})
	})
	return err
}

// Exec runs one statement that may be repeated.
func (s *Store) Exec(ctx context.Context, text string) error {
	_, err := do(ctx, s, "exec", repeating, func(ctx context.Context) (sql.Result, error) {
		return s.db.ExecContext(ctx, text)
	})
	return err
}

// forget closes the prepared statements. The Store must not be used again.
func (s *Store) forget() {
	for i := range s.stmts {
		if stmt := s.stmts[i].Swap(nil); stmt != nil {
			_ = stmt.Close()
		}
	}
}

// Close closes the statements, and the database if asked to.
func (s *Store) Close(database bool) error {
	s.forget()
	var err error
	if s.writer != nil {
		err = s.writer.close()
	}
	if database {
		err = errors.Join(err, s.db.Close())
	}
	if err != nil {
		return fmt.Errorf("%s: close: %w", s.d.Name, err)
	}
	return nil
}

// mode says how do runs a function.
type mode int

const (
	repeating mode = iota // what fails for a passing reason
	oneRow                // and reads one row: see Dialect.Readers
	once                  // says at once what is wrong
	together              // as repeating, for a function that bounds itself
)

// do runs fn until it succeeds, fails for good, or ctx ends. fn is repeated
// with the same arguments, so all that is random must be made outside it.
func do[T any](ctx context.Context, s *Store, what string, m mode, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, s.wrap(what, err, nil)
	}
	var giveUp time.Time
	for attempt := 0; ; attempt++ {
		out, err := attemptOnce(ctx, s, m, fn)
		if err == nil {
			return out, nil
		}
		if attempt == 0 {
			giveUp = time.Now().Add(patience)
		}
		class := sqlerr.Classify(err)
		if class == sqlerr.ReadOnly {
			_, _ = attemptOnce(ctx, s, m, func(ctx context.Context) (struct{}, error) { s.dropIdle(ctx); return struct{}{}, nil })
		}
		pause, again := backoff(class, attempt)
		if _, bounded := ctx.Deadline(); !bounded && time.Now().After(giveUp) {
			again = false
		}
		if !again || m == once {
			return zero, s.wrap(what, err, ctx.Err())
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return zero, s.wrap(what, err, ctx.Err())
		}
	}
}

// attemptOnce runs fn once, within the bounds of the dialect.
func attemptOnce[T any](ctx context.Context, s *Store, m mode, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	if m == together {
		return fn(ctx)
	}
	if m == oneRow && s.readers != nil {
		if !take(ctx, s.readers) {
			return zero, ctx.Err()
		}
		defer give(s.readers)
		return fn(context.WithoutCancel(ctx))
	}
	if !take(ctx, s.calls) {
		return zero, ctx.Err()
	}
	if !s.d.Detached || ctx.Done() == nil {
		defer give(s.calls)
		out, err := fn(ctx)
		if err == nil && ctx.Err() != nil {
			// database/sql closes a row's statement itself when ctx ends, and drops the error of the COMMIT in it.
			return zero, ctx.Err()
		}
		return out, err
	}
	type result struct {
		out T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer give(s.calls)
		out, err := fn(context.WithoutCancel(ctx))
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

func take(ctx context.Context, slots chan struct{}) bool {
	if slots == nil {
		return true
	}
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func give(slots chan struct{}) {
	if slots != nil {
		<-slots
	}
}

// backoff says how long to wait before a statement is repeated, with jitter so
// that callers which failed together do not return together.
func backoff(class sqlerr.Class, attempt int) (pause time.Duration, again bool) {
	switch class {
	case sqlerr.Contend:
		pause = min(time.Millisecond<<min(attempt, 5), 20*time.Millisecond)
	case sqlerr.Away, sqlerr.ReadOnly:
		pause = min(5*time.Millisecond<<min(attempt, 10), 250*time.Millisecond)
	default:
		return 0, false
	}
	return pause/2 + rand.N(pause), true
}

// dropIdle closes the idle connections: they lead to a server that has become
// read-only, and the pool would hand them out for ever. It leaves the pool's
// settings alone, which are the host's.
func (s *Store) dropIdle(ctx context.Context) {
	for range s.db.Stats().Idle {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return
		}
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// wrap names the operation. A context that ended goes before the error of the
// driver, which often knows it under another name.
func (s *Store) wrap(what string, err, ctxErr error) error {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		return err
	case sqlerr.Classify(err) == sqlerr.NoTable:
		return fmt.Errorf("%s: %s: %w: tables are missing: run Migrate (authz migrate on the command line): %w", s.d.Name, what, store.ErrSchema, &cause{err})
	case errors.Is(err, store.ErrSchema):
		return fmt.Errorf("%s: %s: %w", s.d.Name, what, err)
	case s.d.Advice(err) != "" && ctxErr != nil && !errors.Is(err, ctxErr):
		return fmt.Errorf("%s: %s: %w: %w: %s", s.d.Name, what, ctxErr, &cause{err}, s.d.Advice(err))
	case s.d.Advice(err) != "":
		return fmt.Errorf("%s: %s: %w: %s", s.d.Name, what, &cause{err}, s.d.Advice(err))
	case ctxErr != nil && !errors.Is(err, ctxErr):
		return fmt.Errorf("%s: %s: %w: %w", s.d.Name, what, ctxErr, &cause{err})
	}
	return fmt.Errorf("%s: %s: %w", s.d.Name, what, &cause{err})
}

// queryRow runs a statement that returns at most one row.
func (s *Store) queryRow(ctx context.Context, id statement, args ...any) row {
	if !s.d.Prepared {
		return s.db.QueryRowContext(ctx, text(id), args...)
	}
	stmt, err := s.prepare(ctx, id)
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRowContext(ctx, args...)
}

func (s *Store) unsure() bool { return false } // only loose writes come here

func (s *Store) exec(ctx context.Context, id statement, args ...any) (sql.Result, error) {
	return s.db.ExecContext(ctx, texts[id], args...)
}

func (s *Store) queryText(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return s.db.QueryContext(ctx, text, args...)
}

func (s *Store) execText(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return s.db.ExecContext(ctx, text, args...)
}

// query runs a statement that returns rows.
func (s *Store) query(ctx context.Context, id statement, args ...any) (*sql.Rows, error) {
	if !s.d.Prepared {
		return s.db.QueryContext(ctx, text(id), args...)
	}
	stmt, err := s.prepare(ctx, id)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// prepare returns the statement, prepared at its first use: New may be called
// before the tables are there.
func (s *Store) prepare(ctx context.Context, id statement) (*sql.Stmt, error) {
	if stmt := s.stmts[id].Load(); stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, text(id))
	if err != nil {
		return nil, err
	}
	if s.stmts[id].CompareAndSwap(nil, stmt) {
		return stmt, nil
	}
	first := s.stmts[id].Load()
	if first == nil { // closed meanwhile: the statement will say so
		return stmt, nil
	}
	_ = stmt.Close()
	return first, nil
}

// row is a *sql.Row, or the error that kept it from being asked for.
type row interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// Times are kept as microseconds since 1970 in UTC; an end that never comes is
// NULL, so that a comparison leaves it out.

func end(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromEnd(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return fromMicros(us.Int64)
}

// sameTime reports whether two times are kept as the same.
func sameTime(a, b time.Time) bool {
	return a.UnixMicro() == b.UnixMicro()
}

// cause is a driver's error without its fields, which can hold what a statement
// was about: PostgreSQL names the values of a row in the way.
type cause struct {
	err error
}

func (c *cause) Error() string { return c.err.Error() }

// Is finds the sentinels of package context and database/sql.
func (c *cause) Is(target error) bool { return errors.Is(c.err, target) }

// Code is SQLite's result code, or 0.
func (c *cause) Code() int { return sqlerr.Code(c.err) }

// SQLState is PostgreSQL's, or "".
func (c *cause) SQLState() string { return sqlerr.State(c.err) }
