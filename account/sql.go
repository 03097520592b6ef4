package account

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/seed-926035fd/authz/internal/migrate"
	"github.com/seed-926035fd/authz/store"
)

//go:embed migrations
var migrations embed.FS

// SQLite returns a Backend in a SQLite database. It borrows db and never closes
// it; the database may be the one that the authorizations are in. It waits for
// locks by itself, for as long as the context lets it, whether or not db has a
// busy_timeout.
func SQLite(db *sql.DB) Backend {
	return &sqlBackend{
		db:    db,
		read:  "BEGIN",
		write: "BEGIN IMMEDIATE", // a read that becomes a write fails under load
		set: migrate.Set{
			Part:       "account",
			Migrations: migrate.Load(migrations, "migrations/sqlite"),
			Begin:      migrate.SQLite,
		},
	}
}

// Postgres returns a Backend in a PostgreSQL database, through lib/pq or the
// stdlib adapter of pgx. It borrows db and never closes it; the database may be
// the one that the authorizations are in. All logins and changes run inside
// transactions, so that database/sql repeats nothing by itself, and a pooler in
// transaction mode can stand between. How long a server that hangs can hold a connection is
// up to db: lib/pq honours no context then, unless its dialer sets deadlines.
// Authenticate returns in time nevertheless.
func Postgres(db *sql.DB, options ...PostgresOption) Backend {
	b := &sqlBackend{
		db:    db,
		read:  "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
		write: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
		set: migrate.Set{
			Part:       "account",
			Migrations: migrate.Load(migrations, "migrations/postgres"),
			Begin:      migrate.Postgres,
		},
	}
	for _, option := range options {
		option(b)
	}
	return b
}

// PostgresOption is a setting of [Postgres].
type PostgresOption func(*sqlBackend)

// WithoutAdvisoryLocks has Migrate take no advisory lock, for what speaks
// PostgreSQL's protocol and has none. Processes that start at once are kept apart
// all the same.
func WithoutAdvisoryLocks() PostgresOption {
	return func(b *sqlBackend) { b.set.Begin = migrate.PostgresWithoutLocks }
}

// sqlBackend speaks the SQL that both databases understand, word for word.
type sqlBackend struct {
	db          *sql.DB
	read, write string // how a transaction begins
	set         migrate.Set
}

func (b *sqlBackend) migrate(ctx context.Context) error {
	return retry(ctx, func() error { return migrate.Up(ctx, b.db, b.set) })
}

func (b *sqlBackend) check(ctx context.Context) error {
	return retry(ctx, func() error { return migrate.Check(ctx, b.db, b.set, missing) })
}

const userColumns = `id, login, login_key, password, credentials_rev, otp_seed, otp_pending, disabled_at, created_at, updated_at`

func scanUser(row interface{ Scan(...any) error }) (r record, err error) {
	err = row.Scan(&r.id, &r.login, &r.key, &r.password, &r.rev, &r.seed, &r.pending,
		&r.disabledAt, &r.createdAt, &r.updatedAt)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return r, err
}

const (
	insertUser = `INSERT INTO authz_users (login, login_key, password, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (login_key) DO NOTHING`
	selectByKey = `SELECT ` + userColumns + ` FROM authz_users WHERE login_key = $1`
	selectByID  = `SELECT ` + userColumns + ` FROM authz_users WHERE id = $1`
	selectUsers = `SELECT ` + userColumns + ` FROM authz_users WHERE id > $1 ORDER BY id LIMIT $2`

	updateDisabled = `UPDATE authz_users SET disabled_at = $1, updated_at = $2,
		credentials_rev = credentials_rev + 1 WHERE id = $3`
	updatePassword = `UPDATE authz_users SET password = $1, updated_at = $2,
		credentials_rev = credentials_rev + 1 WHERE id = $3`
	updateHash = `UPDATE authz_users SET password = $1 WHERE id = $2 AND password = $3`

	updatePending = `UPDATE authz_users SET otp_pending = $1, updated_at = $2 WHERE id = $3`
	updateConfirm = `UPDATE authz_users SET otp_seed = $1, otp_pending = '', otp_step = $2, otp_used_at = $3,
		otp_request = $4, updated_at = $3, credentials_rev = credentials_rev + 1
		WHERE id = $5 AND (otp_pending = $1 OR (otp_seed = $1 AND otp_request = $4))`
	// otp_step stays: a code that was used must not come back with its seed.
	updateSeed = `UPDATE authz_users SET otp_seed = $1, otp_pending = '', updated_at = $2,
		credentials_rev = credentials_rev + 1 WHERE id = $3`
	updateSeal = `UPDATE authz_users SET
		otp_seed    = CASE WHEN otp_seed    = $1 THEN $2 ELSE otp_seed    END,
		otp_pending = CASE WHEN otp_pending = $1 THEN $2 ELSE otp_pending END
		WHERE id = $3`
	touchUser      = `UPDATE authz_users SET updated_at = $1 WHERE id = $2`
	deleteRecovery = `DELETE FROM authz_recovery_codes WHERE user_id = $1`
	insertRecovery = `INSERT INTO authz_recovery_codes (user_id, hash) VALUES ($1, $2)`

	selectTally = `SELECT failures, last_at, locked_until, request FROM authz_login_failures WHERE subject = $1`
	// The update changes nothing, but locks the row until the end of the
	// transaction, whether it was there or not.
	lockTally = `INSERT INTO authz_login_failures (subject, failures, last_at, locked_until, request)
		VALUES ($1, 0, 0, 0, '') ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject
		RETURNING failures, last_at, locked_until, request`
	updateTally = `UPDATE authz_login_failures SET failures = $1, last_at = $2, locked_until = $3, request = $4
		WHERE subject = $5`
	deleteTally    = `DELETE FROM authz_login_failures WHERE subject = $1`
	deleteUnlocked = `DELETE FROM authz_login_failures WHERE subject = $1 AND locked_until <= $2`
	sweepTallies   = `DELETE FROM authz_login_failures WHERE last_at <= $1 AND locked_until <= $2`

	// The three ways in. Each is one statement that does nothing if the user
	// was changed or locked in the meantime.
	unchanged = ` AND credentials_rev = $2
		AND NOT EXISTS (SELECT 1 FROM authz_login_failures WHERE subject = $3 AND locked_until > $4)`
	admitPlain = `SELECT COUNT(*) FROM authz_users WHERE id = $1` + unchanged
	// A step is used once: it must be later than the last one, unless it is the
	// last one and this very call used it, or its reuse is allowed.
	admitStep = `UPDATE authz_users SET otp_step = $5,
		otp_used_at = CASE WHEN otp_step < $5 THEN $4 ELSE otp_used_at END,
		otp_request = CASE WHEN otp_step < $5 THEN $6 ELSE otp_request END
		WHERE id = $1` + unchanged + `
		AND (otp_step < $5 OR (otp_step = $5 AND (otp_request = $6 OR otp_used_at > $7)))`
	admitRecovery = `UPDATE authz_recovery_codes SET used_at = $4, request = $6
		WHERE user_id = $1 AND hash = $5 AND (used_at = 0 OR request = $6)
		AND EXISTS (SELECT 1 FROM authz_users WHERE id = $1` + unchanged + `)`
	countRecovery = `SELECT COUNT(*) FROM authz_recovery_codes WHERE user_id = $1 AND hash = $2`
)

func (b *sqlBackend) insert(ctx context.Context, r record) (out record, err error) {
	err = b.tx(ctx, b.write, func(c *sql.Conn) (err error) {
		if _, err := c.ExecContext(ctx, insertUser, r.login, r.key, r.password, r.createdAt, r.updatedAt); err != nil {
			return err
		}
		if out, err = scanUser(c.QueryRowContext(ctx, selectByKey, r.key)); err != nil {
			return err
		}
		if out.password != r.password {
			return &store.ConflictError{Field: "login"}
		}
		return nil
	})
	return out, err
}

func (b *sqlBackend) byID(ctx context.Context, id int64) (r record, err error) {
	err = b.tx(ctx, b.read, func(c *sql.Conn) (err error) {
		r, err = scanUser(c.QueryRowContext(ctx, selectByID, id))
		return err
	})
	return r, err
}

func (b *sqlBackend) list(ctx context.Context, after int64, limit int) (out []record, err error) {
	err = b.tx(ctx, b.read, func(c *sql.Conn) error {
		out = nil
		rows, err := c.QueryContext(ctx, selectUsers, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scanUser(rows)
			if err != nil {
				return err
			}
			out = append(out, r)
		}
		return rows.Err()
	})
	return out, err
}

// one runs a statement that must change the row of one user.
func one(ctx context.Context, c *sql.Conn, stmt string, args ...any) error {
	n, err := affected(c.ExecContext(ctx, stmt, args...))
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	return err
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// exec runs one statement that must change the row of one user, alone.
func (b *sqlBackend) exec(ctx context.Context, stmt string, args ...any) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error { return one(ctx, c, stmt, args...) })
}

func (b *sqlBackend) setDisabled(ctx context.Context, id, disabledAt, now int64) error {
	return b.exec(ctx, updateDisabled, disabledAt, now, id)
}

func (b *sqlBackend) setPassword(ctx context.Context, id int64, phc string, now int64) error {
	return b.exec(ctx, updatePassword, phc, now, id)
}

func (b *sqlBackend) rehash(ctx context.Context, id int64, old, phc string) error {
	return b.exec(ctx, updateHash, phc, id, old)
}

func (b *sqlBackend) setPending(ctx context.Context, id int64, sealed string, now int64) error {
	return b.exec(ctx, updatePending, sealed, now, id)
}

func (b *sqlBackend) confirm(ctx context.Context, x confirmation) (done bool, err error) {
	err = b.tx(ctx, b.write, func(c *sql.Conn) error {
		n, err := affected(c.ExecContext(ctx, updateConfirm, x.pending, x.step, x.now, x.request, x.id))
		if done = n > 0; err != nil || !done {
			return err
		}
		return replaceRecovery(ctx, c, x.id, x.recovery)
	})
	return done, err
}

func (b *sqlBackend) setSeed(ctx context.Context, id int64, sealed string, now int64) error {
	return b.exec(ctx, updateSeed, sealed, now, id)
}

func (b *sqlBackend) removeOTP(ctx context.Context, id, now int64) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error {
		if err := one(ctx, c, updateSeed, "", now, id); err != nil {
			return err
		}
		return replaceRecovery(ctx, c, id, nil)
	})
}

func (b *sqlBackend) setRecovery(ctx context.Context, id int64, hashes []string, now int64) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error {
		if err := one(ctx, c, touchUser, now, id); err != nil {
			return err
		}
		return replaceRecovery(ctx, c, id, hashes)
	})
}

// replaceRecovery needs the lock on the user's row, or two calls at once would
// leave the codes of both.
func replaceRecovery(ctx context.Context, c *sql.Conn, id int64, hashes []string) error {
	if _, err := c.ExecContext(ctx, deleteRecovery, id); err != nil {
		return err
	}
	for _, hash := range hashes {
		if _, err := c.ExecContext(ctx, insertRecovery, id, hash); err != nil {
			return err
		}
	}
	return nil
}

func (b *sqlBackend) reseal(ctx context.Context, id int64, old, sealed string) error {
	return b.exec(ctx, updateSeal, old, sealed, id)
}

func (b *sqlBackend) look(ctx context.Context, key, nobody string) (s sight, err error) {
	err = b.tx(ctx, b.read, func(c *sql.Conn) (err error) {
		s = sight{found: true}
		s.rec, err = scanUser(c.QueryRowContext(ctx, selectByKey, key))
		switch {
		case errors.Is(err, store.ErrNotFound):
			s.found, s.subject = false, nobody
		case err != nil:
			return err
		default:
			s.subject = userSubject(s.rec.id)
		}
		s.tally, err = scanTally(c.QueryRowContext(ctx, selectTally, s.subject))
		return err
	})
	return s, err
}

func scanTally(row *sql.Row) (t tally, err error) {
	err = row.Scan(&t.failures, &t.last, &t.until, &t.request)
	if errors.Is(err, sql.ErrNoRows) {
		return tally{}, nil
	}
	return t, err
}

func (b *sqlBackend) admit(ctx context.Context, a admission) (v verdict, until int64, err error) {
	begin := b.write
	if a.step == 0 && a.recovery == "" && !a.forget {
		begin = b.read // most logins: nothing to write
	}
	err = b.tx(ctx, begin, func(c *sql.Conn) error {
		v, until = admitted, 0
		var n int64
		var err error
		args := []any{a.id, a.rev, a.subject, a.now}
		switch {
		case a.recovery != "":
			n, err = affected(c.ExecContext(ctx, admitRecovery, append(args, a.recovery, a.request)...))
		case a.step != 0:
			n, err = affected(c.ExecContext(ctx, admitStep, append(args, a.step, a.request, a.reuseAfter)...))
		default:
			err = c.QueryRowContext(ctx, admitPlain, args...).Scan(&n)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			v, until, err = refusal(ctx, c, a)
			return err
		}
		if a.forget {
			_, err = c.ExecContext(ctx, deleteUnlocked, a.subject, a.now)
		}
		return err
	})
	return v, until, err
}

// refusal finds out why a login was not admitted.
func refusal(ctx context.Context, c *sql.Conn, a admission) (v verdict, until int64, err error) {
	t, err := scanTally(c.QueryRowContext(ctx, selectTally, a.subject))
	if err != nil {
		return 0, 0, err
	}
	if t.locked(a.now) {
		return isLocked, t.until, nil
	}
	r, err := scanUser(c.QueryRowContext(ctx, selectByID, a.id))
	if err != nil {
		return 0, 0, err
	}
	if r.rev != a.rev {
		return isChanged, 0, nil
	}
	if a.recovery != "" {
		var n int64
		if err := c.QueryRowContext(ctx, countRecovery, a.id, a.recovery).Scan(&n); err != nil {
			return 0, 0, err
		}
		if n == 0 {
			return isWrong, 0, nil
		}
	}
	if a.recovery == "" && a.step == 0 {
		return isChanged, 0, nil // locked or changed then, and back again by now
	}
	return isUsed, 0, nil
}

func (b *sqlBackend) fail(ctx context.Context, f failure) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error {
		t, err := scanTally(c.QueryRowContext(ctx, lockTally, f.subject))
		if err != nil {
			return err
		}
		t = t.add(f)
		_, err = c.ExecContext(ctx, updateTally, t.failures, t.last, t.until, t.request, f.subject)
		return err
	})
}

func (b *sqlBackend) forget(ctx context.Context, subject string) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error {
		_, err := c.ExecContext(ctx, deleteTally, subject)
		return err
	})
}

func (b *sqlBackend) sweep(ctx context.Context, before, now int64) error {
	return b.tx(ctx, b.write, func(c *sql.Conn) error {
		_, err := c.ExecContext(ctx, sweepTallies, before, now)
		return err
	})
}

// tx runs f in a transaction, again and again while repeating can help. All its
// statements use one connection: database/sql repeats nothing there by itself.
func (b *sqlBackend) tx(ctx context.Context, begin string, f func(*sql.Conn) error) error {
	return retry(ctx, func() error { return b.try(ctx, begin, f) })
}

func (b *sqlBackend) try(ctx context.Context, begin string, f func(*sql.Conn) error) error {
	conn, err := b.db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err = conn.ExecContext(ctx, begin); err == nil {
		err = f(conn)
	}
	if err != nil {
		abandon(conn, err)
		return err
	}
	// Never under a context that can end: a COMMIT that is cancelled may say
	// nil and not be done. When the time is up, its outcome is unknown.
	done := make(chan error, 1)
	go func() {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
		if err != nil {
			abandon(conn, err)
		} else {
			err = conn.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(recordWithin):
		return fmt.Errorf("COMMIT did not return: %w", context.DeadlineExceeded)
	}
}
