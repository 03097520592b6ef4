package postgres_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/storetest"
)

// 100,000 calls of 64 callers behind PgBouncer in transaction mode with four
// server connections, alone and sharing statements: each has its own answer.
func TestPooledMode(t *testing.T) {
	direct := pgtest.DSN(t)
	s := open(t, pgtest.PgBouncer(t, direct, 4)+"&pool_mode=transaction&pool_max_conns=32")
	const calls, callers, rows = 100_000, 64, 200
	recs := make([]store.Authorization, rows)
	for i := range recs {
		c := candidate(fmt.Sprint("user ", i))
		c.Note = c.Owner
		var err error
		if recs[i], _, err = s.GetOrCreate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var turn, wrong atomic.Int64
	fail := func(format string, args ...any) {
		if wrong.Add(1) < 10 {
			t.Errorf(format, args...)
		}
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(turn.Add(1)); i <= calls; i = int(turn.Add(1)) {
				want := recs[i*7919%rows]
				switch i % 60 {
				case 0: // a creation
					c := candidate(fmt.Sprint("new ", i))
					if got, created, err := s.GetOrCreate(t.Context(), c); err != nil || !created || got.Key != c.Key || got.TokenHash != c.TokenHash {
						fail("GetOrCreate of %q = %q, created %t, %v", c.Owner, got.Owner, created, err)
					}
				case 1, 2: // statements that nobody shares
					if got, err := s.Get(t.Context(), want.Owner, want.ID); err != nil || got.Note != want.Owner {
						fail("Get of %q = %q, %v", want.Owner, got.Owner, err)
					}
				case 3, 4:
					if got, err := s.List(t.Context(), store.Query{Owner: want.Owner, Limit: 5}); err != nil || len(got) != 1 || got[0].ID != want.ID {
						fail("List of %q = %v, %v", want.Owner, got, err)
					}
				case 5:
					if n, err := s.Count(t.Context(), store.Selection{Owner: &want.Owner}); err != nil || n != 1 {
						fail("Count of %q = %d, %v", want.Owner, n, err)
					}
				case 6:
					if got, _, err := s.Lookup(t.Context(), store.HashOf(fmt.Sprint(i))); !errors.Is(err, store.ErrNotFound) {
						fail("Lookup of nobody's = %q, %v", got.Owner, err)
					}
				case 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
					if got, created, err := s.GetOrCreate(t.Context(), candidate(want.Owner)); err != nil || created || got.ID != want.ID || got.Note != want.Owner {
						fail("GetOrCreate of %q = %q, created %t, %v", want.Owner, got.Owner, created, err)
					}
				default:
					if got, _, err := s.Lookup(t.Context(), want.TokenHash); err != nil || got.ID != want.ID || got.Note != want.Owner {
						fail("Lookup of %q = %q, %v", want.Owner, got.Owner, err)
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls in %v", calls, time.Since(start).Round(time.Millisecond))
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d calls had a wrong answer or an error", n, calls)
	}
	for range 20 { // of whichever server connection
		var kept int
		if err := s.DB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pg_prepared_statements").Scan(&kept); err != nil || kept != 0 {
			t.Fatalf("%d statements are kept behind a pooler, %v", kept, err)
		}
	}
	if err := watch(t, s).end(time.Second); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "ListenOn") {
		t.Errorf("Watch in pooled mode = %v, want ErrUnsupported and what to do about it", err)
	}
}

// A driver that needs two round trips for a statement is not right for the option
// Pooled, and Migrate says so.
func TestPooledIsChecked(t *testing.T) {
	direct := pgtest.DSN(t)
	db := openDB(t, pgtest.PgBouncer(t, direct, 2))
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	if err := postgres.New(db, postgres.Pooled()).Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("Migrate through a driver that mixes up answers = %v", err)
	}
}

// What the DSN says beside pool_max_conns: wrong values are refused, right ones
// do not reach the server, on no connection.
func TestParametersOfTheDSN(t *testing.T) {
	t.Parallel()
	base := pgtest.Database(t)
	for parameters, want := range map[string]string{
		"pool_mode=statement":            "pool_mode in the DSN must be session or transaction",
		"listen=no":                      "listen in the DSN must be on or off",
		"advisory_locks=OFF":             "advisory_locks in the DSN must be on or off",
		"listen=off&advisory_locks=true": "advisory_locks in the DSN must be",
	} {
		s, err := postgres.Open(t.Context(), base+"&"+parameters)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with %s = %v, want %q", parameters, err, want)
		}
	}
	if s, err := postgres.Open(t.Context(), base+"&listen=on", postgres.WithoutListen()); err == nil {
		_ = s.Close()
		t.Error("Open with listen=on and WithoutListen succeeded")
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal("the DSN is no URL")
	}
	password, _ := u.User.Password()
	pairs := fmt.Sprintf(`host=%s port=%s dbname='%s' user=%s sslmode=disable password='%s'`, u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/"), u.User.Username(), password)
	for _, dsn := range []string{
		base + "&pool_mode=session&listen=on&advisory_locks=off&pool_max_conns=3",
		"pool_mode=session listen = 'on' " + pairs + " advisory_locks=on pool_max_conns=3",
	} {
		s := open(t, dsn)
		o := watch(t, s)
		o.current()
		o.cancel()
		if err := o.end(time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch = %v", err)
		}
	}
	for _, s := range []*postgres.Store{
		open(t, base+"&listen=off&advisory_locks=off"),
		openWith(t, base, postgres.WithoutListen(), postgres.WithoutAdvisoryLocks()),
		postgres.New(openDB(t, base), postgres.WithoutListen(), postgres.WithoutAdvisoryLocks()),
	} {
		if err := watch(t, s).end(time.Second); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "listen=off") {
			t.Errorf("Watch with listen=off = %v, want ErrUnsupported", err)
		}
		if s.AdvisoryLocks() {
			t.Error("AdvisoryLocks with advisory_locks=off")
		}
	}
}

func openWith(t *testing.T, dsn string, options ...postgres.Option) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// lockMigrations returns a database in which nobody can take an advisory lock
// that migrations take, and a func for fresh schemas there.
func lockMigrations(t *testing.T) (base string, fresh func(t *testing.T) string) {
	t.Helper()
	base = pgtest.Database(t)
	conn, err := openDB(t, base).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.ExecContext(t.Context(), "SELECT pg_advisory_lock(8102264130119521)"); err != nil {
		t.Fatal(err)
	}
	// The test of the test: with advisory locks nothing goes on here.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if s, err := postgres.Open(ctx, base); err == nil {
		_ = s.Close()
		t.Fatal("a migration with advisory locks did not wait for the one that is held")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := postgres.Open(ctx, base, postgres.WithoutListen(), postgres.WithoutAdvisoryLocks())
	if err != nil { // and the rest of the test would hang
		t.Fatal(err)
	}
	_ = s.Close()
	return base, func(t *testing.T) string {
		t.Helper()
		name := "s_" + strings.ToLower(rand.Text())
		if _, err := openDB(t, base).ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
			t.Fatal(err)
		}
		return base + "&search_path=" + name
	}
}

// feeds counts what LISTEN needs in the database: triggers, and functions that
// notify.
func feeds(t *testing.T, dsn string) (n int) {
	t.Helper()
	if err := openDB(t, dsn).QueryRowContext(t.Context(), `SELECT
	(SELECT COUNT(*) FROM pg_trigger WHERE NOT tgisinternal) + (SELECT COUNT(*) FROM pg_proc WHERE prosrc LIKE '%pg_notify%' AND proname LIKE 'authz%')`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The whole contract with everything off that engines lack which speak
// PostgreSQL's protocol. The advisory lock is held by somebody else all the time,
// so that whoever asked for it would wait for ever; there is no trigger and
// nothing that notifies.
func TestWithoutListenAndAdvisoryLocks(t *testing.T) {
	t.Parallel()
	base, fresh := lockMigrations(t)
	storetest.Run(t, handles(fresh, func(t *testing.T, dsn string) *postgres.Store { return open(t, dsn+"&listen=off&advisory_locks=off") }))
	if n := feeds(t, base); n != 0 {
		t.Errorf("%d triggers and functions that notify are there", n)
	}
	var locks int
	if err := openDB(t, base).QueryRow(`SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&locks); err != nil || locks != 1 {
		t.Errorf("%d advisory locks are there, %v; want this test's own", locks, err)
	}
}

// A Manager on such a store verifies and revokes; it answers from memory only
// where the host has said for how long.
func TestManagerWithoutListen(t *testing.T) {
	t.Parallel()
	_, fresh := lockMigrations(t)
	for _, unwatched := range []time.Duration{0, time.Hour} {
		dsn := fresh(t)
		s := open(t, dsn+"&listen=off&advisory_locks=off")
		users, err := account.New(account.Postgres(s.DB(), account.WithoutAdvisoryLocks()), account.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := users.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		m, err := authz.New(s, authz.Config{Cache: cache.New(100), UnwatchedTTL: unwatched, CacheTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		app, secret, err := m.RegisterApp(t.Context(), authz.NewApp{Name: "app"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.GetOrCreate(t.Context(), authz.Request{Owner: "mona", ClientID: app.ClientID, ClientSecret: secret})
		if err != nil || !got.Created {
			t.Fatal(got, err)
		}
		verify := func() error {
			_, err := m.Verify(t.Context(), got.Token.Reveal())
			return err
		}
		for range 2 { // Start does not wait for Watch to say that it cannot
			if err := verify(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		// Another process, of which nobody tells.
		if err := open(t, dsn+"&listen=off&advisory_locks=off").Delete(t.Context(), "mona", got.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		if err := verify(); (err == nil) != (unwatched > 0) {
			t.Errorf("with UnwatchedTTL %v a token that another process has removed: %v", unwatched, err)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A database that was made without what LISTEN needs gets it from the next that
// listens. Until then nobody takes its silence for "nothing has changed".
func TestListenAfterAll(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	without := open(t, dsn+"&listen=off")
	rec, _, err := without.GetOrCreate(t.Context(), candidate("mona"))
	if err != nil {
		t.Fatal(err)
	}
	if n := feeds(t, dsn); n != 0 {
		t.Errorf("listen=off has made %d triggers and functions", n)
	}
	if err := without.Ready(t.Context()); err != nil {
		t.Errorf("Ready with listen=off = %v", err)
	}
	bare := postgres.New(openDB(t, dsn))
	if err := bare.ListenOn(dsn); err != nil {
		t.Fatal(err)
	}
	if err := bare.Ready(t.Context()); !errors.Is(err, store.ErrSchema) {
		t.Errorf("Ready of a Store that wants to listen = %v, want ErrSchema", err)
	}
	if err := watch(t, bare).end(3 * time.Second); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("Watch without triggers = %v, want ErrSchema and what to do", err)
	}
	migrateAtOnce(t, dsn)
	full := feeds(t, dsn)
	if fresh := pgtest.Database(t); open(t, fresh) == nil || full != feeds(t, fresh) || full == 0 {
		t.Errorf("%d triggers and functions were made, %d in a new database", full, feeds(t, fresh))
	}
	o := watch(t, bare)
	o.current()
	if err := without.Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatal(err)
	}
	if got, want := show(o.current()), fmt.Sprint("ID ", rec.ID); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	for range 2 {
		if err := open(t, dsn+"&listen=off").Ready(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := feeds(t, dsn); n != full {
		t.Errorf("%d triggers and functions are left of %d", n, full)
	}
}

// Ten processes start at once, without advisory locks or half of them with, and
// with users in the same database.
func TestMigrateAtOnceWithoutAdvisoryLocks(t *testing.T) {
	t.Parallel()
	for _, mixed := range []bool{false, true} {
		for round := range 5 {
			dsn := pgtest.DSN(t)
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					parameters, options := "&advisory_locks=off", []account.PostgresOption{account.WithoutAdvisoryLocks()}
					if mixed && i%2 == 0 {
						parameters, options = "", nil
					}
					s, err := postgres.Open(t.Context(), dsn+parameters)
					if err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					defer s.Close()
					users, err := account.New(account.Postgres(s.DB(), options...), account.Config{})
					if err == nil {
						err = users.Migrate(t.Context())
					}
					if err == nil {
						err = s.Ready(t.Context())
					}
					if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			wg.Wait()
			var recorded, distinct int
			if err := openDB(t, dsn).QueryRow("SELECT COUNT(*), COUNT(DISTINCT (part, version)) FROM authz_schema").Scan(&recorded, &distinct); err != nil || recorded != distinct || recorded < 5 {
				t.Errorf("%d migrations are recorded, %d different, %v", recorded, distinct, err)
			}
		}
	}
}

// A process that dies while it migrates without advisory locks leaves the way free.
func TestMigratorDiesWithoutAdvisoryLocks(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db := openDB(t, dsn)
	if _, err := db.Exec("CREATE TABLE authz_schema (part TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (part, version))"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO authz_schema (part, version, name) VALUES ('store', 1, 'half')"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if s, err := postgres.Open(ctx, dsn, postgres.WithoutAdvisoryLocks()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
		if err == nil {
			_ = s.Close()
		}
		t.Errorf("Open beside a migration under way = %v after %v, want context.DeadlineExceeded", err, time.Since(start))
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := openWith(t, dsn, postgres.WithoutAdvisoryLocks()).Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
