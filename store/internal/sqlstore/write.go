package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
)

// session runs the statements of a write: a Store, on any connection of its
// pool, or a line.
type session interface {
	queryRow(ctx context.Context, id statement, args ...any) row
	exec(ctx context.Context, id statement, args ...any) (sql.Result, error)
	queryText(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	execText(ctx context.Context, text string, args ...any) (sql.Result, error)
	// unsure says that an earlier run of this write may have taken effect, with
	// its answer lost.
	unsure() bool
}

var (
	_ session = (*Store)(nil)
	_ session = (*line)(nil)
)

// hold says what a write needs.
type hold int

const (
	// loose writes in single statements that may be repeated, or stay done when
	// a later one fails.
	loose hold = iota
	// pinned counts what a statement changes. database/sql repeats a statement
	// silently when a pooled connection breaks, but never one on a connection
	// that the caller holds, so that is where it runs.
	pinned
	// whole writes all or nothing.
	whole
)

// write runs fn, again and again until it succeeds, fails for good, or ctx ends.
// All that is random must be made outside it. It must not keep anything of an
// earlier run, which may have been rolled back.
func write[T any](ctx context.Context, s *Store, what string, h hold, fn func(context.Context, session) (T, error)) (T, error) {
	if s.writer == nil {
		return writeAlone(ctx, s, what, h, fn)
	}
	var out, zero T
	_, err := s.writer.group.Do(ctx, job{h, func(ctx context.Context, q session) (err error) {
		out, err = fn(ctx, q)
		return err
	}})
	if err != nil {
		return zero, s.wrap(what, err, ctx.Err())
	}
	return out, nil
}

// writeAlone is write for a database that takes many writers at once.
func writeAlone[T any](ctx context.Context, s *Store, what string, h hold, fn func(context.Context, session) (T, error)) (T, error) {
	unsure := false
	return do(ctx, s, what, repeating, func(ctx context.Context) (out T, err error) {
		if h == loose {
			return fn(ctx, s)
		}
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return out, err
		}
		defer conn.Close()
		l, ended := &line{conn: conn, again: unsure}, h == pinned
		run := func(ctx context.Context) (err error) {
			out, err = fn(ctx, l)
			ended = ended || err == nil
			return err
		}
		if h == pinned {
			err = run(ctx)
		} else {
			err = l.transact(ctx, s.d.Begin, run)
		}
		unsure = unsure || err != nil && ended && sqlerr.Classify(err) == sqlerr.Away
		return out, err
	})
}

// line is a connection that is held.
type line struct {
	conn  *sql.Conn
	again bool // the answer of an earlier run may have been lost
	keeps bool // its statements, prepared
	stmts [statements]*sql.Stmt
}

func (l *line) unsure() bool { return l.again }

func (l *line) prepare(ctx context.Context, id statement) (*sql.Stmt, error) {
	if l.stmts[id] == nil {
		stmt, err := l.conn.PrepareContext(ctx, texts[id])
		if err != nil {
			return nil, err
		}
		l.stmts[id] = stmt
	}
	return l.stmts[id], nil
}

func (l *line) queryRow(ctx context.Context, id statement, args ...any) row {
	if !l.keeps {
		return l.conn.QueryRowContext(ctx, texts[id], args...)
	}
	stmt, err := l.prepare(ctx, id)
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRowContext(ctx, args...)
}

func (l *line) exec(ctx context.Context, id statement, args ...any) (sql.Result, error) {
	if !l.keeps {
		return l.conn.ExecContext(ctx, texts[id], args...)
	}
	stmt, err := l.prepare(ctx, id)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (l *line) queryText(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return l.conn.QueryContext(ctx, text, args...)
}

func (l *line) execText(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return l.conn.ExecContext(ctx, text, args...)
}

// forget closes the statements.
func (l *line) forget() {
	for i, stmt := range l.stmts {
		if stmt != nil {
			_ = stmt.Close()
			l.stmts[i] = nil
		}
	}
}

// close gives the connection back.
func (l *line) close() error {
	l.forget()
	if err := l.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		return err
	}
	return nil
}

// transact runs fn in a transaction. Once begun, it ends by COMMIT or ROLLBACK
// whatever becomes of ctx.
func (l *line) transact(ctx context.Context, begin string, fn func(context.Context) error) (err error) {
	if _, err := l.conn.ExecContext(ctx, begin); err != nil {
		if ctx.Err() != nil {
			// The driver may have begun and still say that ctx ended: SQLite's
			// one lock for writers would then lie in the pool for ever.
			_, _ = l.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
		return err
	}
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			_, rollback := l.conn.ExecContext(ctx, "ROLLBACK")
			// SQLite has rolled back itself after some errors, and then says that
			// there is nothing to roll back (https://sqlite.org/lang_transaction.html).
			if rollback != nil && sqlerr.Code(rollback)&0xff != sqlerr.SQLiteError {
				l.forget() // first: a driver can crash on statements of a closed connection
				_ = l.conn.Raw(func(any) error { return driver.ErrBadConn })
			}
		}
	}()
	if err := fn(ctx); err != nil {
		return err
	}
	return l.commit(ctx)
}

// commit ends a transaction. SQLite without WAL refuses it as busy while others
// read, keeps the transaction and lets no more readers in: there is no need to do
// all of it again.
func (l *line) commit(ctx context.Context) error {
	for attempt, giveUp := 0, time.Now().Add(time.Second); ; attempt++ {
		_, err := l.conn.ExecContext(ctx, "COMMIT")
		if sqlerr.Code(err)&0xff != sqlerr.SQLiteBusy || time.Now().After(giveUp) {
			return err
		}
		pause, _ := backoff(sqlerr.Contend, attempt)
		time.Sleep(pause)
	}
}
