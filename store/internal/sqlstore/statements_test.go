package sqlstore

import (
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"modernc.org/libc"
	_ "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// plansDB is a database whose rows are mostly one user's, and those come last.
func plansDB(t *testing.T) (db *sql.DB, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "plans.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	files, err := filepath.Glob(filepath.Join("..", "..", "sqlite", "migrations", "*.sql")) // sorted
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(`WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 3000)
INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at)
SELECT 1, CASE WHEN i < 1000 THEN 'user-' || i ELSE 'bot' END, 'abcde12345fghij67890', i, '', '', '', i, '', 1, 1 FROM g`); err != nil {
		t.Fatal(err)
	}
	return db, path
}

// A user's rows are found by the user, however many others have.
func TestPlans(t *testing.T) {
	db, _ := plansDB(t)
	for _, statistics := range []string{"", "ANALYZE"} {
		if _, err := db.Exec(statistics); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[statement]string{
			oldestByKey:          "authz_authorizations_key (owner=? AND client_id=? AND fingerprint=?)",
			getByKey:             "authz_authorizations_key (owner=? AND client_id=? AND fingerprint=?)",
			listByOwner:          "authz_authorizations_owner (owner=? AND <expr>>?)",
			listByOwnerAndClient: "authz_authorizations_owner (owner=? AND <expr>>?)",
		} {
			var a, b, c int
			var plan string
			args := []any{"user-7", 0, 0, 30, 0, "abcde12345fghij67890"}[:strings.Count(texts[id], "$")]
			if err := db.QueryRow("EXPLAIN QUERY PLAN "+texts[id], args...).Scan(&a, &b, &c, &plan); err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(plan, want) {
				t.Errorf("after %q, statement %d: %s, want %s", statistics, id, plan, want)
			}
		}
	}
}

// SQLite compiles no statement anew because other values are bound to it.
func TestStatementsAreKept(t *testing.T) {
	db, path := plansDB(t)
	for _, statistics := range []string{"", "ANALYZE"} {
		if _, err := db.Exec(statistics); err != nil {
			t.Fatal(err)
		}
		for id, text := range texts {
			if statement(id) == getByReplay && statistics != "" {
				continue // there is no name for its type that both databases know, and it is rare
			}
			if n := recompiled(t, path, text); n != 0 {
				t.Errorf("after %q, statement %d was compiled anew %d times in 3 executions", statistics, id, n)
			}
		}
	}
}

// recompiled executes a statement three times, each with other values, and
// returns how often SQLite compiled it once more. The driver does not tell.
func recompiled(t *testing.T, path, text string) int32 {
	t.Helper()
	tls := libc.NewTLS()
	defer tls.Close()
	var allocated []uintptr
	alloc := func(n int) uintptr {
		p := libc.Xcalloc(tls, 1, libc.Tsize_t(n))
		allocated = append(allocated, p)
		return p
	}
	cString := func(s string) uintptr {
		p := alloc(len(s) + 1)
		copy(libc.GoBytes(p, len(s)), s)
		return p
	}
	defer func() {
		for _, p := range allocated {
			libc.Xfree(tls, p)
		}
	}()
	handle := alloc(16) // of the database, and behind it of the statement
	ok := func(rc int32) {
		t.Helper()
		if rc != sqlite3.SQLITE_OK {
			t.Fatalf("SQLite: %d", rc)
		}
	}
	ok(sqlite3.Xsqlite3_open_v2(tls, cString(path), handle, sqlite3.SQLITE_OPEN_READWRITE, 0))
	database := libc.AtomicLoadPUintptr(handle)
	defer sqlite3.Xsqlite3_close_v2(tls, database)
	ok(sqlite3.Xsqlite3_prepare_v2(tls, database, cString(text), -1, handle+8, 0))
	stmt := libc.AtomicLoadPUintptr(handle + 8)
	defer sqlite3.Xsqlite3_finalize(tls, stmt)
	for execution := range 3 {
		for i := range sqlite3.Xsqlite3_bind_parameter_count(tls, stmt) {
			ok(sqlite3.Xsqlite3_bind_text(tls, stmt, i+1, cString(strconv.Itoa(execution)), -1, 0))
		}
		sqlite3.Xsqlite3_step(tls, stmt) // whether it finds or violates something does not matter here
		sqlite3.Xsqlite3_reset(tls, stmt)
	}
	return sqlite3.Xsqlite3_stmt_status(tls, stmt, sqlite3.SQLITE_STMTSTATUS_REPREPARE, 0)
}
