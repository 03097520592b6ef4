package pgtest_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestSchemasAreFreshAndDropped(t *testing.T) {
	var schemas sync.Map
	t.Run("group", func(t *testing.T) {
		for i := range 20 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				db := open(t, pgtest.DSN(t))
				if _, err := db.Exec("CREATE TABLE t (x int)"); err != nil {
					t.Fatal(err)
				}
				var schema string
				if err := db.QueryRow("SELECT current_schema()").Scan(&schema); err != nil {
					t.Fatal(err)
				}
				if _, twice := schemas.LoadOrStore(schema, true); twice {
					t.Fatalf("schema %s was given out twice", schema)
				}
			})
		}
	})
	db := open(t, pgtest.DSN(t))
	schemas.Range(func(schema, _ any) bool {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema).Scan(&n); err != nil || n != 0 {
			t.Errorf("schema %v: %d left, %v", schema, n, err)
		}
		return true
	})
}

func TestDatabase(t *testing.T) {
	var name string
	t.Run("use", func(t *testing.T) {
		db := open(t, pgtest.Database(t)) // still connected when it is dropped
		if err := db.QueryRow("SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
	})
	var n int
	if err := open(t, pgtest.DSN(t)).QueryRow("SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n); err != nil || n != 0 {
		t.Errorf("database %q: %d left, %v", name, n, err)
	}
}

func TestServerFaults(t *testing.T) {
	s := pgtest.StartServer(t, pgtest.Options{Fsync: true, Settings: []string{"log_statement=all"}})
	db := open(t, s.DSN())
	if _, err := db.Exec("CREATE TABLE t AS SELECT 1 AS x"); err != nil {
		t.Fatal(err)
	}
	reads := func() error {
		var x int
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return db.QueryRowContext(ctx, "SELECT x FROM t").Scan(&x)
	}
	var fsync string
	if err := db.QueryRow("SHOW fsync").Scan(&fsync); err != nil || fsync != "on" {
		t.Errorf("fsync = %q, %v, want on", fsync, err)
	}

	for name, end := range map[string]func() error{"Stop": s.Stop, "Kill": s.Kill} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if reads() == nil {
			t.Errorf("%s: the server still answers", name)
		}
		if err := s.Restart(); err != nil {
			t.Fatalf("Restart after %s: %v", name, err)
		}
		if err := reads(); err != nil {
			t.Errorf("Restart after %s: %v", name, err)
		}
	}

	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- reads() }()
	select {
	case err := <-answered:
		t.Errorf("a paused server answered: %v", err)
		answered <- nil
	case <-time.After(300 * time.Millisecond):
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("Resume: %v", err)
	}
	if err := s.Pause(); err != nil { // Close must manage a paused one
		t.Fatal(err)
	}
}

func TestPgBouncer(t *testing.T) {
	direct := pgtest.DSN(t)
	pooled := pgtest.PgBouncer(t, direct, 2)
	if _, err := open(t, direct).Exec("CREATE TABLE t (x int)"); err != nil {
		t.Fatal(err)
	}
	// Twenty clients see the schema of the direct URL, through two server connections.
	var clients sync.WaitGroup
	var mu sync.Mutex
	backends := map[int]bool{}
	for range 20 {
		clients.Go(func() {
			db := open(t, pooled+"&binary_parameters=yes")
			if _, err := db.Exec("INSERT INTO t (x) VALUES ($1)", 1); err != nil {
				t.Error(err)
			}
			var pid int
			if err := db.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			backends[pid] = true
		})
	}
	clients.Wait()
	var n int
	if err := open(t, direct).QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil || n != 20 {
		t.Errorf("%d rows, %v, want 20", n, err)
	}
	if len(backends) > 2 {
		t.Errorf("%d server connections, want at most 2", len(backends))
	}
	// A pooler in the field refuses parameters; so does this one.
	if err := open(t, pooled+"&search_path=public").Ping(); err == nil {
		t.Error("search_path as a start-up parameter was accepted")
	}
}

// TestNothingIsLeftAfterKill kills a process that started a server, and expects the server and its folder gone.
// The process is this test itself, run again.
func TestNothingIsLeftAfterKill(t *testing.T) {
	if os.Getenv("PGTEST_CHILD") == "1" {
		s := pgtest.StartServer(t, pgtest.Options{})
		var dir string
		if err := open(t, s.DSN()).QueryRow("SHOW data_directory").Scan(&dir); err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", s.DSN(), dir)
		time.Sleep(time.Minute)
		return
	}
	pgtest.DSN(t) // skips where there is no server

	child := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeftAfterKill$", "-test.v")
	child.Env = append(os.Environ(), "PGTEST_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	var dsn, dir, all string
	for lines := bufio.NewScanner(out); dsn == "" && lines.Scan(); {
		all += lines.Text() + "\n"
		fmt.Sscanf(lines.Text(), "child %s %s", &dsn, &dir)
	}
	if dsn == "" {
		child.Wait()
		if strings.Contains(all, "SKIP") {
			t.Skip("no private servers on this machine")
		}
		t.Fatalf("the child said:\n%s", all)
	}

	child.Process.Kill()
	child.Wait()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, dialErr := net.Dial("tcp", u.Host)
		if dialErr == nil {
			conn.Close()
		}
		_, statErr := os.Stat(dir)
		if dialErr != nil && os.IsNotExist(statErr) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("20 s after its test process was killed: dial %s: %v; stat %s: %v", u.Host, dialErr, dir, statErr)
		}
	}
}
