package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// told is an Observer that remembers, of a Watch in a goroutine with a label.
type told struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Watch, once ended

	mu      sync.Mutex
	changes []store.Change
	asOf    time.Time
	last    time.Time // when Current was called
}

func (o *told) Changed(c store.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changes = append(o.changes, c)
}

func (o *told) Current(asOf time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asOf, o.last = asOf, time.Now()
}

// watch begins a Watch. When the test ends no goroutine of it may be left.
func watch(t *testing.T, s *postgres.Store) *told {
	t.Helper()
	o := &told{t: t, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	name := fmt.Sprint(t.Name(), " ", time.Now().UnixNano())
	go pprof.Do(ctx, pprof.Labels("watch", name), func(ctx context.Context) {
		defer close(o.ended)
		o.err = s.Watch(ctx, o)
	})
	t.Cleanup(func() {
		cancel()
		o.end(time.Second)
		// A statement on a connection of the pool that hangs ends with that.
		eventually(t, 12*time.Second, "no goroutine of the Watch is left", func() bool { return !labelled(t, name) })
	})
	return o
}

// labelled reports whether there is a goroutine of this name.
func labelled(t *testing.T, name string) bool {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(profile.String(), strconv.Quote(name))
}

// end waits for the end of the Watch.
func (o *told) end(within time.Duration) error {
	o.t.Helper()
	select {
	case <-o.ended:
	case <-time.After(within + 2*time.Second): // a busy machine
		o.t.Fatalf("Watch has not returned within %v", within+2*time.Second)
	}
	return o.err
}

// current waits until all is told that was committed before now, and returns what
// was told since the last call.
func (o *told) current() []store.Change {
	o.t.Helper()
	now := time.Now()
	eventually(o.t, 10*time.Second, "Current", func() bool {
		select {
		case <-o.ended:
			o.t.Fatalf("Watch = %v", o.err)
		default:
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.asOf.After(now)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	changes := o.changes
	o.changes = nil
	return changes
}

// show writes changes as a text.
func show(changes []store.Change) string {
	var out []string
	for _, c := range changes {
		switch {
		case c.Owner != nil:
			out = append(out, "owner "+*c.Owner)
		case c.ClientID != nil:
			out = append(out, "app "+*c.ClientID)
		case c.ID != 0:
			out = append(out, fmt.Sprint("ID ", c.ID))
		default:
			out = append(out, "anything")
		}
	}
	return strings.Join(out, ", ")
}

func do(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// What a person at the database's own prompt does is told.
func TestWatchTellsOfSQL(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s, db := open(t, dsn), openDB(t, dsn)
	ids := fill(t, s, 6000)
	o := watch(t, s)
	if got := show(o.current()); got != "anything" {
		t.Errorf("told at first: %s; want anything", got)
	}
	long := strings.Repeat("\U0001D11E", 255)
	for _, clientID := range []string{"app", long} {
		if _, err := s.CreateApp(t.Context(), store.App{ClientID: clientID, CreatedAt: time.Now(), UpdatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	one := fmt.Sprint("ID ", ids[0])
	for _, step := range []struct{ do, want string }{
		{`UPDATE authz_authorizations SET token_hash = sha256('new') WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET scopes = 'less' WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET expires_at = expires_at - 1 WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET revision = revision + 1 WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET owner = 'another' WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET client_id = 'another' WHERE id = $1`, one},
		{`UPDATE authz_authorizations SET last_used_at = 7 WHERE id = $1`, ""},
		{`UPDATE authz_authorizations SET expires_at = expires_at + 1000000 WHERE id = $1`, ""},
		{`UPDATE authz_authorizations SET expires_at = NULL WHERE id = $1`, ""},
		{`UPDATE authz_authorizations SET expires_at = 5 WHERE id = $1`, one}, // it never did
		{`UPDATE authz_authorizations SET replay_id = sha256('replay'), replay_seal = 'x', replay_expires_at = 1 WHERE id = $1`, ""},
		{`UPDATE authz_authorizations SET replay_id = NULL, replay_seal = NULL, replay_expires_at = NULL WHERE id = $1`, ""},
		{`DELETE FROM authz_authorizations WHERE id = $1`, one},
		{`DELETE FROM authz_authorizations WHERE id = $1`, ""}, // it is gone
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ('mona', $1)`, "owner mona"},
		{`UPDATE authz_suspended_owners SET owner = 'hubot' WHERE owner = 'mona' AND $1 > 0`, "owner mona, owner hubot"},
		{`DELETE FROM authz_suspended_owners WHERE $1 > 0`, "owner hubot"},
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ('` + long + `', $1)`, "owner " + long},
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ('', $1)`, "owner "},
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES (repeat('x', 8100), $1)`, "anything"}, // no payload holds it
		{`UPDATE authz_apps SET suspended_at = $1 WHERE client_id = 'app'`, "app app"},
		{`DELETE FROM authz_apps WHERE client_id <> 'app' AND $1 > 0`, "app " + long},
	} {
		do(t, db, step.do, ids[0])
		if got := show(o.current()); got != step.want {
			t.Errorf("%.100s: told %.200q, want %.200q", step.do, got, step.want)
		}
	}

	// A transaction tells nothing before its end, and nothing if that is ROLLBACK.
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`DELETE FROM authz_authorizations WHERE id = $1`, ids[1]); err != nil {
		t.Fatal(err)
	}
	if got := show(o.current()); got != "" {
		t.Errorf("told before the transaction ended: %s", got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := show(o.current()); got != "" {
		t.Errorf("told though the transaction was rolled back: %s", got)
	}

	// Payloads are short: what is many goes in several, what is more as anything.
	do(t, db, `DELETE FROM authz_authorizations WHERE id >= $1 AND id < $2`, ids[1], ids[302])
	seen := make(map[int64]bool)
	for _, c := range o.current() {
		seen[c.ID] = c.Owner == nil && c.ClientID == nil
	}
	for _, id := range ids[1:302] {
		if !seen[id] {
			t.Fatalf("of 301 deletions %d are told, and not ID %d", len(seen), id)
		}
	}
	do(t, db, `DELETE FROM authz_authorizations WHERE id >= $1 AND id < $2`, ids[302], ids[302+5001])
	if got := show(o.current()); got != "anything" {
		t.Errorf("of 5001 deletions is told: %.100q", got)
	}
	for _, table := range []string{"authz_authorizations", "authz_apps", "authz_suspended_owners"} {
		do(t, db, `TRUNCATE `+table)
		if got := show(o.current()); got != "anything" {
			t.Errorf("TRUNCATE %s: told %q", table, got)
		}
	}
	if created, _, err := s.GetOrCreate(t.Context(), candidate("new")); err != nil || created.ID == 0 {
		t.Fatal(err)
	}
	if got := show(o.current()); got != "" {
		t.Errorf("a new record: told %q", got)
	}
}

// IDs as long as they get: 300 of them are in one payload.
func TestWatchTellsOfLongIDs(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.DSN(t))
	fill(t, s, 300)
	do(t, s.DB(), `UPDATE authz_authorizations SET id = 9223372036854775807 - 300 + id`)
	o := watch(t, s)
	o.current()
	do(t, s.DB(), `DELETE FROM authz_authorizations`)
	if got := o.current(); len(got) != 300 {
		t.Errorf("of 300 deletions %d are told", len(got))
	}
}

// A channel has 63 bytes at most, a schema too.
func TestWatchInASchemaWithALongName(t *testing.T) {
	t.Parallel()
	base := pgtest.Database(t)
	name := strings.Repeat("ü", 31)
	do(t, openDB(t, base), `CREATE SCHEMA "`+name+`"`)
	s := open(t, base+"&search_path="+url.QueryEscape(name))
	fill(t, s, 1)
	o := watch(t, s)
	o.current()
	if n, err := s.DeleteAll(t.Context(), store.Selection{ClientID: new("app")}); n != 1 || err != nil {
		t.Fatalf("DeleteAll = %d, %v", n, err)
	}
	if got := o.current(); len(got) != 1 {
		t.Errorf("told %q", show(got))
	}
}

// backend returns the process of the server that serves the Watch.
func backend(t *testing.T, db *sql.DB) (pid int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN "authz_beat.%' AND datname = current_database()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// A connection that is lost, stopped or blackholed ends Watch, and Current does not
// come meanwhile. Another Watch works when that is over.
func TestWatchLosesItsConnection(t *testing.T) {
	for _, tc := range []struct {
		name   string
		within time.Duration
		lose   func(t *testing.T, db *sql.DB, p *proxy) (mend func())
	}{
		{"terminated", time.Second, func(t *testing.T, db *sql.DB, _ *proxy) func() {
			do(t, db, `SELECT pg_terminate_backend($1)`, backend(t, db))
			return nil
		}},
		{"stopped", 3 * time.Second, func(t *testing.T, db *sql.DB, _ *proxy) func() {
			pid := strconv.Itoa(backend(t, db))
			if err := exec.Command("kill", "-STOP", pid).Run(); err != nil {
				t.Fatal(err)
			}
			return func() { _ = exec.Command("kill", "-CONT", pid).Run() }
		}},
		{"blackholed", 3 * time.Second, func(_ *testing.T, _ *sql.DB, p *proxy) func() {
			p.swallow.Store(true)
			return p.open
		}},
		{"cut", time.Second, func(_ *testing.T, _ *sql.DB, p *proxy) func() {
			p.closeAll()
			return nil
		}},
	} {
		for _, pool := range []string{"too", "not"} { // whether that of the changes goes the same way
			if pool == "too" && (tc.name == "terminated" || tc.name == "stopped") {
				continue
			}
			t.Run(tc.name+", the pool "+pool, func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.Database(t) // where there is one listener
				db := openDB(t, dsn)
				p, through := newProxy(t, dsn)
				s := open(t, map[string]string{"too": through, "not": dsn}[pool])
				if err := s.ListenOn(through); err != nil {
					t.Fatal(err)
				}
				o := watch(t, s)
				o.current()
				if mend := tc.lose(t, db, p); mend != nil {
					defer mend()
				}
				lost := time.Now()
				err := o.end(tc.within)
				if took := time.Since(lost); took > tc.within {
					t.Logf("Watch returned %v after its connection was lost", took)
				}
				if err == nil || errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("Watch = %v, want an error that says that the connection is lost", err)
				}
				t.Logf("Watch = %v, after %v", err, time.Since(lost).Round(time.Millisecond))
				// What was sent before it was lost may still have come.
				if o.asOf.After(lost.Add(100 * time.Millisecond)) {
					t.Errorf("Current is of %v after the connection was lost", o.asOf.Sub(lost))
				}
				p.open()
				p.closeAll()
				eventually(t, 15*time.Second, "another Watch works", func() bool {
					o := watch(t, s)
					defer o.cancel()
					for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
						o.mu.Lock()
						works := o.asOf.After(lost)
						o.mu.Unlock()
						if works {
							return true
						}
					}
					return false
				})
			})
		}
	}
}

// A server that hangs must not hold up who ends the Watch.
func TestWatchEndsOnAHungNetwork(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	p, through := newProxy(t, dsn)
	s := open(t, through)
	o := watch(t, s)
	o.current()
	p.swallow.Store(true)
	time.Sleep(300 * time.Millisecond) // a heartbeat is under way
	start := time.Now()
	o.cancel()
	if err := o.end(time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want Canceled", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Watch returned %v after its context ended, want soon", took)
	}
	// And one that begins now.
	again := watch(t, s)
	if err := again.end(3 * time.Second); err == nil {
		t.Error("Watch on a hung network = nil")
	}
	if len(again.changes) > 0 {
		t.Errorf("Watch on a hung network told %s", show(again.changes))
	}
	p.closeAll()
}

// The server is killed and comes back: another Watch works.
func TestWatchAcrossARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgtest.Options{})
	s := open(t, server.DSN())
	o := watch(t, s)
	o.current()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := o.end(time.Second); err == nil {
		t.Error("Watch of a server that was killed = nil")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	rec, _, err := s.GetOrCreate(t.Context(), candidate("after"))
	if err != nil {
		t.Fatal(err)
	}
	o = watch(t, s)
	if got := show(o.current()); got != "anything" {
		t.Errorf("another Watch begins with %q", got)
	}
	if err := s.Delete(t.Context(), "after", rec.ID); err != nil {
		t.Fatal(err)
	}
	if got, want := show(o.current()), fmt.Sprint("ID ", rec.ID); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// Through a pooler in transaction mode LISTEN succeeds and hears nothing.
func TestWatchThroughAPooler(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.PgBouncer(t, pgtest.DSN(t), 2))
	o := watch(t, s)
	err := o.end(3 * time.Second)
	if err == nil || !strings.Contains(err.Error(), "pooler") || !strings.Contains(err.Error(), "ListenOn") {
		t.Errorf("Watch through a pooler = %v, want what to do about it", err)
	}
	if !o.asOf.IsZero() {
		t.Error("Watch through a pooler called Current")
	}
}

func TestWatchAfterClose(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.DSN(t))
	o := watch(t, s)
	o.current()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := time.Now()
	if err := o.end(3 * time.Second); err == nil {
		t.Error("Watch of a Store that was closed = nil")
	}
	if o.asOf.After(closed.Add(100 * time.Millisecond)) {
		t.Errorf("Current is of %v after Close", o.asOf.Sub(closed))
	}
}

func TestListenOn(t *testing.T) {
	t.Parallel()
	base := pgtest.Database(t)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal("the DSN is no URL")
	}
	password, _ := u.User.Password()
	pairs := fmt.Sprintf(`host=%s port=%s dbname='%s' user=%s sslmode=disable password='%s'`, u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/"), u.User.Username(), password)
	for _, dsn := range []string{
		base + "&pool_max_conns=3",
		strings.Replace(base, "?", "?pool_max_conns=3&", 1),
		pairs,
		pairs + " pool_max_conns=3",
		"pool_max_conns=3 " + pairs,
		"pool_max_conns = '3' " + pairs,
	} {
		s, err := postgres.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		o := watch(t, s)
		o.current()
		o.cancel()
		if err := o.end(time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch = %v", err)
		}
		_ = s.Close()
	}

	s := postgres.New(openDB(t, base))
	if err := watch(t, s).end(time.Second); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "ListenOn") {
		t.Errorf("Watch of New = %v, want ErrUnsupported and what to do about it", err)
	}
	const secret = "hunter2hunter2"
	for _, dsn := range []string{
		"postgres://u:" + secret + "@host:notaport/db",
		"postgres://u:" + secret + "\n@host/db",
		"password=" + secret + " nonsense",
		"postgres://u:" + secret + "@127.0.0.1:1/db?sslmode=" + secret,
	} {
		if err := s.ListenOn(dsn); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("ListenOn = %v, want an error without the password", err)
		}
	}
	for _, dsn := range []string{
		"postgres://u:" + secret + "@127.0.0.1:1/db?sslmode=disable", // nobody answers there
		strings.Replace(base, ":"+password, ":"+secret, 1),           // the wrong password
	} {
		if err := s.ListenOn(dsn); err != nil {
			t.Fatal(err)
		}
		if err := watch(t, s).end(3 * time.Second); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("Watch = %v, want an error without the password", err)
		}
	}
}
