// Package pgtest gives tests a real PostgreSQL, and throws it away afterwards.
//
// [DSN] is all that most tests need:
//
//	db, err := sql.Open("postgres", pgtest.DSN(t))
//
// The server is the one that AUTHZ_TEST_POSTGRES_DSN names (a postgres:// URL of a user who may create schemas and
// databases), else a private cluster in a temporary folder, started once for the test process from the PostgreSQL
// binaries of this machine. It needs no TestMain, and it ends with the test process however that ends, kill -9 included.
// With neither, the test is skipped, and the skip is written to standard error; AUTHZ_TEST_REQUIRE_POSTGRES=1 makes
// it a failure instead.
//
// What comes back is always a plain URL: a multi-process test hands it to its children in their environment.
//
// fsync is off, so that tests are fast: a killed server loses nothing (the kernel has the pages), a killed machine would.
// AUTHZ_TEST_POSTGRES_FSYNC=1 or [Options] turn it on.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
)

// The environment variables that steer this package.
const (
	EnvDSN     = "AUTHZ_TEST_POSTGRES_DSN"
	EnvRequire = "AUTHZ_TEST_REQUIRE_POSTGRES"
	EnvFsync   = "AUTHZ_TEST_POSTGRES_FSYNC"
)

// DSN returns the URL of a fresh, empty schema: search_path is a parameter of the URL, and the schema is dropped when t ends.
// Schemas share the database and so its advisory locks and NOTIFY channels; a test that must be alone there takes [Database].
// It may be called from several tests at once.
func DSN(t testing.TB) string {
	t.Helper()
	base := shared(t)
	schema := "test_" + strings.ToLower(rand.Text())
	execute(t, base, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { execute(t, base, "DROP SCHEMA IF EXISTS "+schema+" CASCADE") })
	return withParam(base, "search_path", schema)
}

// Database returns the URL of a fresh, empty database, dropped when t ends. It costs some 50 ms more than [DSN].
func Database(t testing.TB) string {
	t.Helper()
	base := shared(t)
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, base, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { execute(t, base, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u := mustParse(base)
	u.Path = "/" + name
	return u.String()
}

// StartServer starts a cluster for t alone, to be stopped, killed or paused as the test likes, and removes it when t ends.
func StartServer(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if errors.Is(err, ErrNotFound) {
		missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// theServer is the private cluster of this process. Nothing closes it: its guard does when the process ends.
var theServer = sync.OnceValues(func() (*Server, error) { return Start(Options{}) })

// shared returns the URL of the server that all tests of this process share, or does not return.
func shared(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(EnvDSN); dsn != "" {
		if u, err := url.Parse(dsn); err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			t.Fatalf("pgtest: %s must be a URL, postgres://user:password@host:port/database", EnvDSN) // never the value: it holds a password
		}
		return dsn
	}
	s, err := theServer()
	if errors.Is(err, ErrNotFound) {
		missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.DSN()
}

// missing ends t because a program is: as a failure if the environment demands it, else as a skip that is seen.
func missing(t testing.TB, why error) {
	t.Helper()
	if os.Getenv(EnvRequire) == "1" {
		t.Fatal(why)
	}
	if _, again := told.LoadOrStore(why, true); !again {
		shout(why.Error())
	}
	shout("SKIPPED " + filepath.Base(os.Args[0]) + " " + t.Name())
	t.Skip(why)
}

// told holds what was said once already.
var told sync.Map

// shout writes a line that is seen without -v too. The go command drops what a passing package wrote, standard
// error included, so the line goes to the go command's own standard error, or to the terminal, as well.
func shout(line string) {
	line += "\n"
	fmt.Fprint(os.Stderr, line)
	if testing.Verbose() {
		return
	}
	own, err := os.Stderr.Stat()
	if err != nil {
		return
	}
	for _, name := range []string{filepath.Join("/proc", strconv.Itoa(os.Getppid()), "fd/2"), "/dev/tty"} {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			continue
		}
		if fi, err := f.Stat(); err == nil && !os.SameFile(own, fi) {
			fmt.Fprint(f, line)
		}
		f.Close()
		return
	}
}

// execute runs one statement on a connection of its own: no pool is kept whose goroutines a test could count as its leak.
func execute(t testing.TB, dsn, query string) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// A test that forgot an open transaction gets an error that names the statement here, instead of a hang.
	db.SetMaxOpenConns(1) // SET holds for the connection
	for _, q := range []string{"SET lock_timeout = '10s'", "SET client_min_messages = warning", query} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatalf("pgtest: %s: %v", q, err)
		}
	}
}

// ping connects once.
func ping(ctx context.Context, dsn string) error {
	c, err := pq.NewConnector(dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer db.Close()
	return db.PingContext(ctx)
}

func mustParse(dsn string) *url.URL {
	u, err := url.Parse(dsn)
	if err != nil {
		panic("pgtest: not a URL") // checked in shared
	}
	return u
}

func withParam(dsn, key, value string) string {
	u := mustParse(dsn)
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}
