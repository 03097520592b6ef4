package sqlite_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
	"github.com/seed-926035fd/authz/store/storetest"
)

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fresh(t *testing.T) string { return filepath.Join(t.TempDir(), "authz.db") }

func TestOpen(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		path := fresh(t)
		handles := make([]store.Store, n)
		for i := range handles {
			handles[i] = open(t, path)
		}
		return handles
	})
}

// A host's own *sql.DB with nothing set: no busy_timeout, no WAL, deferred
// transactions, connections without a bound.
func TestNew(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		path := fresh(t)
		handles := make([]store.Store, n)
		for i := range handles {
			s := sqlite.New(openDB(t, path))
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			handles[i] = s
		}
		return handles
	})
}

func openDB(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestProcesses(t *testing.T) {
	storetest.RunProcesses(t, storetest.Processes{
		Fresh: fresh,
		Open:  func(t *testing.T, path string) store.Store { return open(t, path) },
	})
}

// Ten processes that start at once, on no file at all.
func TestMigrateAtOnce(t *testing.T) {
	path := fresh(t)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Migrate(t.Context()); err != nil {
				t.Errorf("Migrate again: %v", err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestSchemaOfAnotherVersion(t *testing.T) {
	path := fresh(t)
	db := openDB(t, path)
	empty := sqlite.New(db)
	if err := empty.Ready(t.Context()); !errors.Is(err, store.ErrSchema) {
		t.Errorf("Ready on an empty file = %v, want ErrSchema", err)
	}
	if _, err := empty.App(t.Context(), "x"); !errors.Is(err, store.ErrSchema) {
		t.Errorf("App on an empty file = %v, want ErrSchema", err)
	}
	s := open(t, path)
	if _, err := db.Exec(`INSERT INTO authz_schema (part, version, name) VALUES ('store', 999, 'future')`); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), path)
	for name, err := range map[string]error{"Ready": s.Ready(t.Context()), "Migrate": s.Migrate(t.Context()), "Open": err} {
		if !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "999") {
			t.Errorf("%s on a newer schema = %v, want ErrSchema with the version", name, err)
		}
	}
}

// What Open promises: durable, and for its owner alone.
func TestOpenSettings(t *testing.T) {
	path := fresh(t)
	s := open(t, path)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := s.DB().QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("PRAGMA %s = %q, %v; want %q", pragma, got, err, want)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v; want 0600", filepath.Base(path)+suffix, info.Mode().Perm(), err)
		}
	}
}

func TestOpenOddPaths(t *testing.T) {
	for _, name := range []string{"with space.db", "q?mark&x=1.db", "hash#1.db", "100%.db", "ümläut.db"} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.ContainsAny(name, "?") {
				return // no file can have such a name there
			}
			path := filepath.Join(t.TempDir(), name)
			open(t, path)
			if info, err := os.Stat(path); err != nil || info.Size() == 0 {
				t.Errorf("Open did not use the file: %v", err)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"":                                    "is not the path of a file",
		":memory:":                            "store/memory",
		"file:x.db":                           "is not the path of a file",
		filepath.Join(dir, "nowhere", "x.db"): "create it first",
		dir:                                   "directory",
		text:                                  "is not an SQLite database",
	} {
		_, err := sqlite.Open(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, want an error with %q", name, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made a folder")
	}
}

// crashVariable makes TestCrash the process that is killed.
const crashVariable = "AUTHZ_TEST_CRASH_DB"

// A process is killed while it writes: every row that it acknowledged is there.
func TestCrash(t *testing.T) {
	if path := os.Getenv(crashVariable); path != "" {
		s := open(t, path)
		for caller := range 16 { // who share their transactions
			go func() {
				for i := 0; ; i++ {
					rec, _, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint("owner ", caller, i)))
					if err != nil {
						panic(err)
					}
					fmt.Printf("acknowledged %d\n", rec.ID)
				}
			}()
		}
		select {}
	}
	path := fresh(t)
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), crashVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []int64
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
				id, _ := strconv.ParseInt(text, 10, 64)
				acknowledged = append(acknowledged, id)
				if len(acknowledged) == 300*(round+1) {
					_ = cmd.Process.Kill()
				}
			}
		}
		timer.Stop()
		_ = cmd.Wait()
		if len(acknowledged) < 300 {
			t.Fatalf("round %d: the process acknowledged %d rows before it ended, want 300", round, len(acknowledged))
		}
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		var integrity string
		if err := s.DB().QueryRow("PRAGMA integrity_check").Scan(&integrity); err != nil || integrity != "ok" {
			t.Errorf("integrity_check = %q, %v", integrity, err)
		}
		for _, id := range acknowledged {
			var n int
			if err := s.DB().QueryRow("SELECT COUNT(*) FROM authz_authorizations WHERE id = $1", id).Scan(&n); err != nil || n != 1 {
				t.Fatalf("round %d: acknowledged row %d: found %d, %v", round, id, n, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path + "-wal")
		_ = os.Remove(path + "-shm")
	}
}

func candidate(owner string) store.Authorization {
	now := time.Now()
	return store.Authorization{
		Key:       store.Key{Owner: owner, ClientID: "abcde12345fghij67890"},
		TokenHash: store.HashOf(owner + now.String()), TokenLastEight: "12345678",
		CreatedAt: now, UpdatedAt: now,
	}
}
