package account

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"modernc.org/sqlite"
)

// A cut loses the answer of one statement: the connection breaks before the
// statement runs, or after it.
type cut struct {
	stmt   string
	commit bool // cut the COMMIT of the transaction that stmt ran in, not stmt
	after  bool
}

// cutter is a driver that makes a cut, once.
type cutter struct {
	driver driver.Driver
	dsn    string
	armed  atomic.Pointer[cut]
}

func (c *cutter) Driver() driver.Driver { return c.driver }

func (c *cutter) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	return &cutConn{Conn: conn, c: c}, err
}

type cutConn struct {
	driver.Conn
	c   *cutter
	ran []string // in this transaction
}

// around runs f, which runs query, unless the connection breaks.
func (c *cutConn) around(query string, f func() error) error {
	if strings.HasPrefix(query, "BEGIN") {
		c.ran = nil
	}
	c.ran = append(c.ran, query)
	cut := c.c.armed.Load()
	here := cut != nil && (!cut.commit && query == cut.stmt || cut.commit && query == "COMMIT" && slices.Contains(c.ran, cut.stmt))
	if here && !cut.after {
		c.c.armed.Store(nil)
		return driver.ErrBadConn
	}
	err := f()
	if here && err == nil {
		c.c.armed.Store(nil)
		err = driver.ErrBadConn
	}
	return err
}

func (c *cutConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	err = c.around(query, func() (err error) {
		res, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		return err
	})
	if err == driver.ErrBadConn {
		_ = c.Close()
	}
	return res, err
}

func (c *cutConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = c.around(query, func() (err error) {
		rows, err = c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
		return err
	})
	if err == driver.ErrBadConn {
		if rows != nil {
			_ = rows.Close() // or SQLite keeps its lock
		}
		_ = c.Close()
	}
	return rows, err
}

// An answer that is lost, before or after its statement took effect, must
// neither fail the call nor let it take effect twice.
func TestLostAnswers(t *testing.T) {
	for name, drv := range map[string]driver.Driver{"sqlite": &sqlite.Driver{}, "postgres": &pq.Driver{}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			cutter := &cutter{driver: drv, dsn: newDatabase(t, name)}
			db := sql.OpenDB(cutter)
			defer db.Close()
			b := SQLite(db)
			if name == "postgres" {
				b = Postgres(db)
			}
			c := newClock()
			d := directory(t, b, c)
			must(t, d.Migrate(ctx))

			cuts := func(stmt string, f func(i int) error) {
				t.Helper()
				for i, cut := range []cut{{stmt, false, false}, {stmt, false, true}, {stmt, true, false}, {stmt, true, true}} {
					cutter.armed.Store(&cut)
					if err := f(i); err != nil {
						t.Fatalf("%+v: %v", cut, err)
					}
					if cutter.armed.Load() != nil {
						t.Fatalf("%+v: was not made", cut)
					}
				}
			}

			var u User
			cuts(insertUser, func(i int) (err error) {
				u, err = d.Create(ctx, NewUser{Login: fmt.Sprint("user", i), Password: authz.NewSecret(password)})
				return err
			})
			if all, err := d.List(ctx, 0, 0); err != nil || len(all) != 4 {
				t.Fatalf("got %d users, %v, want 4", len(all), err)
			}

			var e Enrolment
			cuts(updatePending, func(int) (err error) {
				e, err = d.EnrolOTP(ctx, u.ID)
				return err
			})
			code := func() authz.Secret {
				c.advance(time.Hour)
				return authz.NewSecret(codeAt(e.Secret.Reveal(), c.now().Unix()/period))
			}
			var recovery []authz.Secret
			for _, stmt := range []string{updateConfirm, insertRecovery} {
				cuts(stmt, func(int) (err error) {
					if e, err = d.EnrolOTP(ctx, u.ID); err == nil {
						recovery, err = d.ConfirmOTP(ctx, u.ID, code())
					}
					return err
				})
			}
			cuts(admitStep, func(int) error { return auth(d, u.Login, password, code()) })
			cuts(admitRecovery, func(i int) error { return auth(d, u.Login, password, recovery[i]) })
			cuts(deleteRecovery, func(int) (err error) {
				recovery, err = d.NewRecoveryCodes(ctx, u.ID)
				return err
			})
			must(t, auth(d, u.Login, password, recovery[0]))

			for _, stmt := range []string{lockTally, updateTally} {
				cuts(stmt, func(int) error {
					if err := auth(d, u.Login, "wrong password", noCode); err != authz.ErrBadCredentials {
						return err
					}
					return nil
				})
			}
			if s, err := b.look(ctx, lookupKey(u.Login), ""); err != nil || s.tally.failures != 8 {
				t.Errorf("got %d failures, %v, want 8", s.tally.failures, err)
			}
			cuts(updatePassword, func(int) error { return d.SetPassword(ctx, u.ID, authz.NewSecret(password)) })
			must(t, auth(d, u.Login, password, code()))
		})
	}
}

// A repeat recognises its own write; another request does not.
func TestRepeats(t *testing.T) {
	eachSQL(t, func(t *testing.T, h house) {
		ctx := t.Context()
		b := h.open()
		d := directory(t, b, h.clock)
		u := withOTP(t, d)
		rec, err := b.byID(ctx, u.ID)
		must(t, err)
		a := admission{id: u.ID, rev: rec.rev, subject: userSubject(u.ID), now: d.now(), request: newRequest(), step: 5, reuseAfter: 1 << 62}
		for range 2 {
			if v, _, err := b.admit(ctx, a); v != admitted || err != nil {
				t.Errorf("got %v, %v, want admitted", v, err)
			}
		}
		a.request = newRequest()
		if v, _, err := b.admit(ctx, a); v != isUsed || err != nil {
			t.Errorf("got %v, %v, want isUsed", v, err)
		}
	})
}

// Statements inside transactions keep apart behind a pooler, although lib/pq
// sends each of them in two halves.
func TestThroughPgBouncer(t *testing.T) {
	dsn := pgtest.DSN(t)
	must(t, openSQL(t, "postgres", dsn).migrate(t.Context()))
	db := openDB(t, "postgres", pgtest.PgBouncer(t, dsn, 2))
	c := newClock()
	d := directory(t, Postgres(db), c, func(c *Config) { c.MaxHashes = 8 })
	must(t, d.Check(t.Context()))
	for i := range 4 {
		create(t, d, fmt.Sprint("user", i))
	}
	together(64, func(i int) {
		name := fmt.Sprint("user", i%4)
		got, err := d.Authenticate(context.Background(), authz.Credentials{Login: name, Password: authz.NewSecret(password)})
		if err != nil || got.Login != name {
			t.Errorf("got %v, %v, want %s", got, err, name)
		}
	})
}

// SQLite without a busy_timeout: the package waits by itself.
func TestBusy(t *testing.T) {
	dsn := newDatabase(t, "sqlite")
	b := openSQL(t, "sqlite", dsn)
	must(t, b.migrate(t.Context()))
	d := directory(t, b, newClock())
	db := openDB(t, "sqlite", dsn)
	conn, err := db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = d.Create(ctx, NewUser{Login: login, Password: authz.NewSecret(password)})
	wantIs(t, err, context.DeadlineExceeded)

	done := make(chan error)
	go func() {
		_, err := d.Create(t.Context(), NewUser{Login: login, Password: authz.NewSecret(password)})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_, err = conn.ExecContext(t.Context(), "COMMIT")
	must(t, err)
	must(t, <-done)
}

type stateError string

func (e stateError) Error() string    { return "state " + string(e) }
func (e stateError) SQLState() string { return string(e) }

type codeError int

func (e codeError) Error() string { return fmt.Sprint("code ", int(e)) }
func (e codeError) Code() int     { return int(e) }

func TestWhatIsRepeated(t *testing.T) {
	for _, err := range []error{
		stateError("40001"), stateError("40P01"), stateError("57P01"), stateError("57P02"), stateError("57P03"),
		stateError("08006"), stateError("53300"), stateError("25006"), codeError(5), codeError(6), codeError(5 | 2<<8),
		driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED,
		fmt.Errorf("wrapped: %w", io.EOF),
	} {
		for turn := range 100 {
			if wait, again := pause(err, turn); !again || wait <= 0 || wait > time.Second {
				t.Errorf("%v, turn %d: got %v, %v", err, turn, wait, again)
			}
		}
	}
	for _, err := range []error{
		nil, stateError("23505"), stateError("22021"), stateError("42P01"), stateError("57014"), codeError(13), codeError(19), codeError(1),
		context.Canceled, context.DeadlineExceeded, errors.New("else"), sql.ErrNoRows,
	} {
		if _, again := pause(err, 0); again {
			t.Errorf("%v is repeated", err)
		}
	}
}
