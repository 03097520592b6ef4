package sqlite_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// locked takes the lock for writers, so that those who come meanwhile meet in one
// batch, and returns what gives it back.
func locked(t *testing.T, path string) (unlock func()) {
	t.Helper()
	conn, err := openDB(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
}

// commits counts the transactions in a WAL: the last frame of each holds the size
// of the database (https://sqlite.org/fileformat2.html, section 4.1).
func commits(t *testing.T, path string) (n int) {
	t.Helper()
	wal, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	frame := 24 + int(binary.BigEndian.Uint32(wal[8:]))
	for at := 32; at+frame <= len(wal); at += frame {
		if binary.BigEndian.Uint32(wal[at+4:]) != 0 {
			n++
		}
	}
	return n
}

// All kinds of writes meet in few transactions, and are answered when others see them.
func TestWritersShareTransactions(t *testing.T) {
	path := fresh(t)
	s := open(t, path)
	other := openDB(t, path)
	const callers = 60
	recs := make([]store.Authorization, callers)
	for i := range recs {
		var err error
		if recs[i], _, err = s.GetOrCreate(t.Context(), candidate(fmt.Sprint("owner ", i))); err != nil {
			t.Fatal(err)
		}
	}
	before := commits(t, path)
	unlock := locked(t, path)
	var wg sync.WaitGroup
	// there says whether others see what the caller was told.
	there := func(what string, id int64, want string) {
		var got string
		if err := other.QueryRow(`SELECT CAST(COUNT(*) AS TEXT) || COALESCE(MAX(note), '') || COALESCE(MAX(last_used_at), '') FROM authz_authorizations WHERE id = $1`, id).Scan(&got); err != nil || got != want {
			t.Errorf("after %s was answered others see %q, %v; want %q", what, got, err, want)
		}
	}
	for i, rec := range recs {
		wg.Go(func() {
			switch i % 5 {
			case 0:
				rec, created, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint("new ", i)))
				if err != nil || !created {
					t.Errorf("GetOrCreate = %t, %v", created, err)
				}
				there("a creation", rec.ID, "1")
			case 1:
				c := candidate(fmt.Sprint("new ", i))
				rec, err := s.Create(t.Context(), c)
				if err != nil || rec.TokenHash != c.TokenHash {
					t.Errorf("Create: %v", err)
				}
				there("a creation", rec.ID, "1")
			case 2:
				rec.Note = "replaced"
				if _, err := s.Replace(t.Context(), rec); err != nil {
					t.Errorf("Replace: %v", err)
				}
				there("a replacement", rec.ID, "1replaced")
			case 3:
				if err := s.Delete(t.Context(), rec.Owner, rec.ID); err != nil {
					t.Errorf("Delete: %v", err)
				}
				there("a deletion", rec.ID, "0")
			case 4:
				if err := s.Touch(t.Context(), []store.Use{{ID: rec.ID, At: time.UnixMicro(7)}}); err != nil {
					t.Errorf("Touch: %v", err)
				}
				there("a use", rec.ID, "17")
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // all are waiting
	unlock()
	wg.Wait()
	// The first of them may go alone.
	if n := commits(t, path) - before; n < 1 || n > 5 {
		t.Errorf("%d writes took %d transactions, want 1 to 5", callers, n)
	}
}

// One write that fails for good, even one that ends the transaction, fails nobody
// else, and is not done.
func TestABadWriteFailsAlone(t *testing.T) {
	for _, raise := range []string{"ABORT", "ROLLBACK", "FAIL"} {
		t.Run(raise, func(t *testing.T) {
			path := fresh(t)
			s := open(t, path)
			if _, err := s.DB().Exec(`CREATE TRIGGER bad BEFORE INSERT ON authz_authorizations WHEN NEW.owner LIKE 'bad%'
BEGIN SELECT RAISE(` + raise + `, 'no'); END`); err != nil {
				t.Fatal(err)
			}
			taken, _, err := s.GetOrCreate(t.Context(), candidate("taken"))
			if err != nil {
				t.Fatal(err)
			}
			unlock := locked(t, path)
			const callers = 30
			errs := make([]error, callers)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					c := candidate(fmt.Sprint("good ", i))
					switch i % 10 {
					case 3:
						c.Owner = fmt.Sprint("bad ", i)
					case 5:
						c.TokenHash = taken.TokenHash
					case 7:
						errs[i] = s.Delete(t.Context(), "nobody", 1)
						return
					}
					var created bool
					if _, created, errs[i] = s.GetOrCreate(t.Context(), c); errs[i] == nil && !created {
						errs[i] = errors.New("not created")
					}
				})
			}
			time.Sleep(50 * time.Millisecond)
			unlock()
			wg.Wait()
			for i, err := range errs {
				switch i % 10 {
				case 3, 5:
					if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
						t.Errorf("a bad write: %v, want an error of its own", err)
					}
				case 7:
					if !errors.Is(err, store.ErrNotFound) {
						t.Errorf("Delete of nothing: %v, want ErrNotFound", err)
					}
				default:
					if err != nil {
						t.Errorf("a good write beside bad ones: %v", err)
					}
				}
			}
			var n int
			if err := s.DB().QueryRow(`SELECT COUNT(*) FROM authz_authorizations WHERE owner LIKE 'good%'`).Scan(&n); err != nil || n != callers*7/10 {
				t.Errorf("%d rows, %v; want those of the %d good writes", n, err, callers*7/10)
			}
		})
	}
}

// Who leaves takes nobody along, and leaves at once.
func TestALeavingWriterLeavesAlone(t *testing.T) {
	path := fresh(t)
	s := open(t, path)
	unlock := locked(t, path)
	leave, cancel := context.WithCancel(t.Context())
	var stay, gone sync.WaitGroup
	for i := range 20 {
		if i%3 == 0 {
			gone.Go(func() {
				if _, _, err := s.GetOrCreate(leave, candidate(fmt.Sprint("leaves ", i))); !errors.Is(err, context.Canceled) {
					t.Errorf("a caller who left: %v, want context.Canceled", err)
				}
			})
			continue
		}
		stay.Go(func() {
			if _, created, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint("stays ", i))); err != nil || !created {
				t.Errorf("a caller who stays: %t, %v", created, err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	cancel()
	gone.Wait()
	if took := time.Since(start); took > time.Second {
		t.Errorf("callers left after %v", took)
	}
	unlock()
	stay.Wait()
}

// Close waits for the transaction at work; whoever was acknowledged is there, and
// nobody waits for ever.
func TestCloseUnderWriters(t *testing.T) {
	for round := range 10 {
		path := fresh(t)
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		var (
			wg  sync.WaitGroup
			mu  sync.Mutex
			ids []int64
		)
		for caller := range 16 {
			wg.Go(func() {
				for i := 0; ; i++ {
					rec, _, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint(caller, i)))
					if err != nil {
						return
					}
					mu.Lock()
					ids = append(ids, rec.ID)
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
		db := openDB(t, path)
		for _, id := range ids {
			var one int
			if err := db.QueryRow(`SELECT 1 FROM authz_authorizations WHERE id = $1`, id).Scan(&one); err != nil {
				t.Fatalf("round %d: acknowledged row %d of %d: %v", round, id, len(ids), err)
			}
		}
	}
}

// A host's pool of one connection, that it uses as well.
func TestNewOnOneConnection(t *testing.T) {
	db := openDB(t, fresh(t))
	db.SetMaxOpenConns(1)
	s := sqlite.New(db)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			for i := range 20 {
				rec, created, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint(caller, " ", i)))
				if err != nil || !created {
					t.Errorf("GetOrCreate = %t, %v", created, err)
				}
				var owner string
				if err := db.QueryRow(`SELECT owner FROM authz_authorizations WHERE id = $1`, rec.ID).Scan(&owner); err != nil || owner != rec.Owner {
					t.Errorf("the host reads %q, %v; want %q", owner, err, rec.Owner)
				}
			}
		})
	}
	wg.Wait()
	// While the host holds it, callers leave by their contexts, and work goes on after.
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for range 3 {
		wg.Go(func() {
			if err := s.Touch(ctx, []store.Use{{ID: 1, At: time.Now()}}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Touch without a free connection: %v, want DeadlineExceeded", err)
			}
		})
	}
	wg.Wait()
	_ = conn.Close()
	if err := s.Touch(t.Context(), []store.Use{{ID: 1, At: time.Now()}}); err != nil {
		t.Errorf("Touch after that: %v", err)
	}
}
