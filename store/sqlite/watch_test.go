package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// told is an Observer that remembers.
type told struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Watch, once ended

	mu      sync.Mutex
	changes []store.Change
	asOf    time.Time
}

func (o *told) Changed(c store.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changes = append(o.changes, c)
}

func (o *told) Current(asOf time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asOf = asOf
}

// watch begins a Watch, which ends with the test.
func watch(t *testing.T, s *sqlite.Store) *told {
	t.Helper()
	o := &told{t: t, ended: make(chan struct{})}
	var ctx context.Context
	ctx, o.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(o.ended)
		o.err = s.Watch(ctx, o)
	}()
	t.Cleanup(func() { o.cancel(); <-o.ended })
	return o
}

// knows reports whether all is told that was committed before at.
func (o *told) knows(at time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asOf.After(at)
}

// current waits until all is told that was committed before now, and returns what
// was told since the last call, as a text.
func (o *told) current() string {
	o.t.Helper()
	now := time.Now()
	for !o.knows(now) {
		select {
		case <-o.ended:
			o.t.Fatalf("Watch = %v", o.err)
		case <-time.After(time.Millisecond):
		}
		if time.Since(now) > 20*time.Second {
			o.t.Fatal("Current does not come")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, c := range o.changes {
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
	o.changes = nil
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
	path := fresh(t)
	s, db := open(t, path), openDB(t, path)
	do(t, db, `PRAGMA busy_timeout = 5000`)
	db.SetMaxOpenConns(1)
	fill(t, s, 10)
	if _, err := s.CreateApp(t.Context(), store.App{ClientID: "app", CreatedAt: time.Now(), UpdatedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	o := watch(t, s)
	if got := o.current(); got != "anything" {
		t.Errorf("told at first: %s; want anything", got)
	}
	for _, step := range []struct{ do, want string }{
		{`UPDATE authz_authorizations SET token_hash = CAST('new' AS BLOB) WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET scopes = 'less' WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET expires_at = 0 WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET revision = revision + 1 WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET owner = 'another' WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET client_id = 'another' WHERE id = 1`, "ID 1"},
		{`UPDATE authz_authorizations SET last_used_at = 7 WHERE id = 1`, ""},
		{`UPDATE authz_authorizations SET expires_at = expires_at + 1000000 WHERE id = 1`, ""},
		{`UPDATE authz_authorizations SET expires_at = NULL WHERE id = 1`, ""},
		{`UPDATE authz_authorizations SET expires_at = 5 WHERE id = 1`, "ID 1"}, // it never did
		{`UPDATE authz_authorizations SET replay_id = x'01', replay_seal = x'02', replay_expires_at = 1 WHERE id = 1`, ""},
		{`UPDATE authz_authorizations SET replay_id = NULL, replay_seal = NULL, replay_expires_at = NULL WHERE id = 1`, ""},
		{`DELETE FROM authz_authorizations WHERE id < 4`, "ID 1, ID 2, ID 3"},
		{`DELETE FROM authz_authorizations WHERE id < 4`, ""}, // they are gone
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ('mona', 1)`, "owner mona"},
		{`UPDATE authz_suspended_owners SET owner = 'hubot'`, "owner mona, owner hubot"},
		{`DELETE FROM authz_suspended_owners`, "owner hubot"},
		{`INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ('', 1)`, "owner "},
		{`UPDATE authz_apps SET suspended_at = 1`, "app app"},
		{`DELETE FROM authz_apps`, "app app"},
		{`BEGIN; DELETE FROM authz_authorizations; ROLLBACK`, ""},
		{`VACUUM`, ""},
		{`DELETE FROM authz_authorizations WHERE id = 4`, "ID 4"},
		{`DELETE FROM authz_authorizations`, "ID 5, ID 6, ID 7, ID 8, ID 9, ID 10"},
	} {
		do(t, db, step.do)
		if got := o.current(); got != step.want {
			t.Errorf("%s: told %q, want %q", step.do, got, step.want)
		}
	}
}

// Who has missed lines takes it that anything may have changed, and their number
// has a bound.
func TestWatchMissesLines(t *testing.T) {
	t.Parallel()
	s := open(t, fresh(t))
	fill(t, s, 30)
	kept := func() (n int) {
		t.Helper()
		if err := s.DB().QueryRow(`SELECT COUNT(*) FROM authz_changes`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	o := watch(t, s)
	o.current()
	for _, n := range []int{4096, 4097, 20_000} { // as many deletions would note them down, in less time
		do(t, s.DB(), `WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < $1) INSERT INTO authz_changes (authorization_id) SELECT i FROM g`, n)
		got := o.current()
		if all := strings.HasPrefix(got, "ID 1, ") && strings.HasSuffix(got, ", ID 4096"); n <= 4096 && !all || n > 4096 && !strings.Contains(got, "anything") {
			t.Errorf("of %d changes at once is told: %.50s", n, got)
		}
		if kept() > 4096 {
			t.Errorf("after %d changes at once %d are kept; want 4096", n, kept())
		}
	}

	// Emptied by hand, at the same moment as other changes too.
	do(t, s.DB(), `DELETE FROM authz_changes`)
	if got := o.current(); got != "anything" {
		t.Errorf("when the lines are removed is told: %q, want anything", got)
	}
	do(t, s.DB(), `DELETE FROM authz_authorizations WHERE id = 1`)
	if got := o.current(); got != "anything" && got != "ID 1" {
		t.Errorf("told %q, want anything, or ID 1", got)
	}
	do(t, s.DB(), `BEGIN; DELETE FROM authz_changes; DELETE FROM authz_authorizations WHERE id = 2; COMMIT`)
	if got := o.current(); got != "anything" && got != "ID 2" {
		t.Errorf("told %q, want anything, or ID 2", got)
	}
	do(t, s.DB(), `BEGIN; DELETE FROM authz_changes; DELETE FROM authz_authorizations WHERE id <= 10; COMMIT`)
	if got := o.current(); !strings.Contains(got, "anything") && !strings.Contains(got, "ID 3") {
		t.Errorf("told %q, want anything, or all", got)
	}
}

// watchVariable makes TestWatchTellsOfAnotherProcess the other process.
const watchVariable = "AUTHZ_TEST_WATCH_DB"

func TestWatchTellsOfAnotherProcess(t *testing.T) {
	if path := os.Getenv(watchVariable); path != "" {
		s := open(t, path)
		if err := s.Delete(t.Context(), "owner 1", 1); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	path := fresh(t)
	s := open(t, path)
	fill(t, s, 2)
	o := watch(t, s)
	o.current()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWatchTellsOfAnotherProcess$")
	cmd.Env = append(os.Environ(), watchVariable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := o.current(); got != "ID 1" {
		t.Errorf("told %q, want ID 1", got)
	}
}

// A host's own *sql.DB without WAL, with one connection: readers are locked out at
// each commit, and wait for their turn in the pool.
func TestWatchOnOneConnection(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	db, other := openDB(t, path), openDB(t, path)
	db.SetMaxOpenConns(1)
	s, writer := sqlite.New(db), sqlite.New(other)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := watch(t, s)
	o.current()
	var want []string
	for i := range 50 {
		w := []*sqlite.Store{s, writer}[i%2]
		rec, _, err := w.GetOrCreate(t.Context(), candidate(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Delete(t.Context(), rec.Owner, rec.ID); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint("ID ", rec.ID))
	}
	if got := o.current(); got != strings.Join(want, ", ") {
		t.Errorf("told %q, want %q", got, want)
	}
	var mode string
	if err := db.QueryRow(`PRAGMA journal_mode`).Scan(&mode); err != nil || mode == "wal" {
		t.Errorf("journal_mode = %q, %v; this test is for others", mode, err)
	}
}

// While the file is locked for readers too Current does not come, and then it does.
func TestWatchWhileLocked(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	s := sqlite.New(openDB(t, path))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec, _, err := s.GetOrCreate(t.Context(), candidate("mona"))
	if err != nil {
		t.Fatal(err)
	}
	o := watch(t, s)
	o.current()
	lock := openDB(t, path)
	lock.SetMaxOpenConns(1)
	do(t, lock, `PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE`)
	locked := time.Now()
	for time.Since(locked) < 300*time.Millisecond {
		if o.knows(locked.Add(50 * time.Millisecond)) {
			t.Fatal("Current came while nobody could read")
		}
		time.Sleep(10 * time.Millisecond)
	}
	do(t, lock, `DELETE FROM authz_authorizations`)
	do(t, lock, `COMMIT`)
	if got, want := o.current(), fmt.Sprint("ID ", rec.ID); got != want {
		t.Errorf("after the lock is told %q, want %q", got, want)
	}

	// Locked for so long, Watch says so; another one works.
	do(t, lock, `BEGIN EXCLUSIVE`)
	select {
	case <-o.ended:
		if o.err == nil || errors.Is(o.err, errors.ErrUnsupported) || !strings.Contains(o.err.Error(), "locked") {
			t.Errorf("Watch of a locked file = %v", o.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Watch of a locked file does not end")
	}
	again := watch(t, s)
	time.Sleep(100 * time.Millisecond)
	do(t, lock, `ROLLBACK`)
	if got := again.current(); got != "anything" {
		t.Errorf("another Watch begins with %q", got)
	}
}

func TestWatchAfterClose(t *testing.T) {
	t.Parallel()
	s := open(t, fresh(t))
	o := watch(t, s)
	o.current()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-o.ended:
		if o.err == nil {
			t.Error("Watch of a Store that was closed = nil")
		}
	case <-time.After(20 * time.Second):
		t.Error("Watch does not end when its Store is closed")
	}
}

// What Watch asks a hundred times a second.
func BenchmarkPoll(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir()+"/authz.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.DB().Exec(`WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 4096) INSERT INTO authz_changes (authorization_id) SELECT i FROM g`); err != nil {
		b.Fatal(err)
	}
	if err := sqlite.Poll(b.Context(), s, b.N); err != nil {
		b.Fatal(err)
	}
}
