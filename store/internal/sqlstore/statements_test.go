package sqlstore

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// A user's rows are found by the user, however many others have.
func TestPlans(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "plans.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, name := range []string{"001_authorizations_and_apps.sql", "002_create_and_replay.sql"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "sqlite", "migrations", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(text)); err != nil {
			t.Fatal(err)
		}
	}
	// Most rows are one user's, and those come last.
	if _, err := db.Exec(`WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 3000)
INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at)
SELECT 1, CASE WHEN i < 1000 THEN 'user-' || i ELSE 'bot' END, 'abcde12345fghij67890', i, '', '', '', i, '', 1, 1 FROM g`); err != nil {
		t.Fatal(err)
	}
	for _, statistics := range []string{"", "ANALYZE"} {
		if _, err := db.Exec(statistics); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[statement]string{
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
