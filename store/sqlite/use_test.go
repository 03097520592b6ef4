package sqlite_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// fill stores n records, made and expiring a microsecond apart from 1970 on, with
// the IDs from 1 on.
func fill(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	if _, err := s.DB().Exec(`WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < $1)
INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at, idle_timeout)
SELECT 1, 'owner ' || i, 'app', '', '', '', '', CAST(printf('%032d', i) AS BLOB), '', i, i, i, 1000 FROM g`, n); err != nil {
		t.Fatal(err)
	}
}

// What changes nothing writes nothing.
func TestTouchAgainWritesNothing(t *testing.T) {
	s := open(t, fresh(t))
	const n = 10_000
	fill(t, s, n)
	now := time.Now()
	var uses []store.Use
	for id := range int64(n) {
		uses = append(uses, store.Use{ID: id + 1, At: now})
	}
	if err := s.Touch(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d uses took %v", n, time.Since(now))
	if _, err := s.DB().Exec(`CREATE TABLE written (id INTEGER);
CREATE TRIGGER written AFTER UPDATE ON authz_authorizations BEGIN INSERT INTO written VALUES (NEW.id); END`); err != nil {
		t.Fatal(err)
	}
	uses[0].At = now.Add(time.Second)
	uses[1].At = now.Add(-time.Second)
	if err := s.Touch(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	var written int
	if err := s.DB().QueryRow(`SELECT COUNT(*) FROM written`).Scan(&written); err != nil || written != 1 {
		t.Errorf("%d rows were written, %v; want the one whose use is later", written, err)
	}
}

// More records than one call of Unused looks at.
func TestUnusedInWindows(t *testing.T) {
	s := open(t, fresh(t))
	fill(t, s, 20_000)
	if _, err := s.DB().Exec(`UPDATE authz_authorizations SET expires_at = NULL WHERE id % 5000 = 0`); err != nil {
		t.Fatal(err)
	}
	now, after := time.Now(), int64(0)
	var found, nexts []int64
	for {
		page, next, err := s.Unused(t.Context(), now, now, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page {
			found = append(found, rec.ID)
		}
		if next == 0 {
			break
		}
		after, nexts = next, append(nexts, next)
	}
	if !slices.Equal(found, []int64{5000, 10_000, 15_000, 20_000}) || !slices.Equal(nexts, []int64{10_000, 20_000}) {
		t.Errorf("Unused of 20,000 records = %v, by way of %v; want every 5000th, by way of 10,000 and 20,000", found, nexts)
	}
}
