package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// A BEGIN IMMEDIATE whose context ends may have begun all the same. The one
// lock for writers must not stay with a connection in the pool.
func TestCancelledBeginLeavesNoLock(t *testing.T) {
	path := fresh(t)
	a, b := open(t, path), open(t, path)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _, _ = b.GetOrCreate(context.Background(), candidate(fmt.Sprint("other ", i)))
			}
		}
	}()
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(rand.N(1500*time.Microsecond), cancel)
		_, _ = a.DeleteApp(ctx, fmt.Sprint("nothing ", i))
		cancel()
	}
	close(stop)
	<-done
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, _, err := b.GetOrCreate(ctx, candidate("after")); err != nil {
		t.Fatalf("after cancelled transactions of another store: %v; want nil, since none of them may hold the lock", err)
	}
}

// POSIX locks belong to the process: when any descriptor of a file is closed,
// all of them go. A second Open must not take those of the first.
func TestOpenKeepsTheLocksOfOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // /proc/locks tells
	}
	locks := func() (n int) {
		text, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if fields := bytes.Fields(line); len(fields) > 4 && string(fields[4]) == fmt.Sprint(os.Getpid()) {
				n++
			}
		}
		return n
	}
	path := fresh(t)
	if err := exec.Command("true").Run(); err != nil { // no thread of ours is younger than this
		t.Fatal(err)
	}
	a := open(t, path)
	if _, _, err := a.GetOrCreate(t.Context(), candidate("a")); err != nil {
		t.Fatal(err)
	}
	before := locks()
	b, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if after := locks(); before == 0 || after < before {
		t.Errorf("this process had %d locks and has %d after another Open and Close; want no fewer", before, after)
	}
}

// The first use of a statement prepares it, and must keep to its context too.
func TestPrepareKeepsToItsContext(t *testing.T) {
	db := openDB(t, fresh(t))
	db.SetMaxOpenConns(1)
	s := sqlite.New(db)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context()) // the only one
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = s.Get(ctx, "nobody", 1)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
		t.Errorf("Get without a free connection = %v after %v, want DeadlineExceeded after 100 ms", err, took)
	}
}

// Who waits for a lock until the context ends hears of the context.
func TestBusyUntilTheDeadline(t *testing.T) {
	s := open(t, fresh(t))
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = conn.ExecContext(context.Background(), "ROLLBACK") }()
	for i := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+17*i)*time.Millisecond)
		_, _, err := s.GetOrCreate(ctx, candidate("waits"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("GetOrCreate behind a lock = %v, want DeadlineExceeded", err)
		}
	}
}

func TestCloseLeavesABorrowedDatabase(t *testing.T) {
	db := openDB(t, fresh(t))
	s := sqlite.New(db)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("Close of a Store on a borrowed database closed that: %v", err)
	}
}

// A token hash that is taken is no conflict: callers would try again for ever.
func TestReplaceWithATakenHash(t *testing.T) {
	s := open(t, fresh(t))
	first, _, err := s.GetOrCreate(t.Context(), candidate("first"))
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := s.GetOrCreate(t.Context(), candidate("second"))
	if err != nil {
		t.Fatal(err)
	}
	second.TokenHash = first.TokenHash
	if _, err := s.Replace(t.Context(), second); err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Replace with a taken token hash = %v, want an error that is neither ErrConflict nor ErrNotFound", err)
	}
}
