package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// fill stores n records, made and expiring a microsecond apart from 1970 on, and
// returns their IDs.
func fill(t *testing.T, s *postgres.Store, n int) []int64 {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at, idle_timeout)
SELECT 1, 'owner ' || i, 'app', '', '', '', '', sha256(i::text::bytea), '', i, i, i, 1000 FROM generate_series(1, $1::int) i RETURNING id`, n)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func deadlocks(t *testing.T, s *postgres.Store) (n int) {
	t.Helper()
	if err := s.DB().QueryRowContext(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Nodes that tell of the same tokens at once do not wait for each other in a
// circle, whatever order each has them in.
func TestTouchesDoNotDeadlock(t *testing.T) {
	dsn := pgtest.Database(t) // its own: its deadlocks are counted
	stores := []*postgres.Store{open(t, dsn), open(t, dsn)}
	ids := fill(t, stores[0], 2000)
	start := time.Now()
	latest := make(map[int64]time.Time)
	var batches [][]store.Use
	for round := range 16 {
		ids := slices.Clone(ids)
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		var uses []store.Use
		for _, id := range ids[:1500] {
			use := store.Use{ID: id, At: start.Add(time.Duration(round) * time.Second).Truncate(time.Microsecond)}
			uses, latest[id] = append(uses, use), use.At
		}
		batches = append(batches, uses)
	}
	var wg sync.WaitGroup
	for i, uses := range batches {
		wg.Go(func() {
			if err := stores[i%2].Touch(t.Context(), uses); err != nil {
				t.Errorf("Touch = %v", err)
			}
		})
	}
	wg.Wait()
	for i, id := range ids {
		rec, err := stores[0].Get(t.Context(), fmt.Sprint("owner ", i+1), id)
		if err != nil || !rec.LastUsedAt.Equal(latest[id]) {
			t.Fatalf("record %d: last used %v, %v; want %v", id, rec.LastUsedAt, err, latest[id])
		}
	}
	time.Sleep(time.Second) // a backend reports its statistics at most once a second
	if n := deadlocks(t, stores[0]); n != 0 {
		t.Errorf("%d deadlocks; the rows must be locked in order", n)
	}
}

// What changes nothing writes nothing: every process tells of a busy token again
// and again.
func TestTouchAgainWritesNothing(t *testing.T) {
	s := open(t, pgtest.DSN(t))
	ids := fill(t, s, 10_000)
	now := time.Now()
	var uses []store.Use
	for _, id := range ids {
		uses = append(uses, store.Use{ID: id, At: now})
	}
	versions := func() (n int) {
		t.Helper()
		if err := s.DB().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM authz_authorizations a
JOIN before b ON b.id = a.id AND b.place = a.ctid::text AND b.locked = a.xmax::text`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := s.Touch(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 uses took %v", time.Since(now))
	if _, err := s.DB().ExecContext(t.Context(), `CREATE TABLE before AS SELECT id, ctid::text AS place, xmax::text AS locked FROM authz_authorizations`); err != nil {
		t.Fatal(err)
	}
	uses[0].At = now.Add(time.Second)
	uses[1].At = now.Add(-time.Second)
	if err := s.Touch(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	if n := versions(); n != len(ids)-1 {
		t.Errorf("%d of %d rows were left alone; want all but one", n, len(ids))
	}
}

// A token can be used, and so get a new end, between the look that found it dead
// and its removal.
func TestTouchBesideRemovalOfTheExpired(t *testing.T) {
	dsn := pgtest.DSN(t)
	s, db := open(t, dsn), openDB(t, dsn)
	now := time.Now().Truncate(time.Microsecond)
	old := store.Authorization{
		Key: store.Key{Owner: "mona", ClientID: "app", Fingerprint: "x"}, TokenHash: store.HashOf("old"), IssuedAt: now, CreatedAt: now, UpdatedAt: now,
		ExpiresAt: now.Add(time.Hour), IdleTimeout: time.Hour,
	}
	rec, err := s.Create(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM authz_authorizations WHERE id = $1 FOR NO KEY UPDATE", rec.ID); err != nil { // as Touch begins
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		young := old
		young.TokenHash, young.CreatedAt = store.HashOf("young"), old.ExpiresAt
		_, err := s.Create(t.Context(), young)
		done <- err
	}()
	eventually(t, 5*time.Second, "the removal waits for the use", func() (waiting bool) {
		if err := db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM authz_authorizations%' AND datname = current_database())`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		return waiting
	})
	if _, err := tx.ExecContext(t.Context(), "UPDATE authz_authorizations SET expires_at = expires_at + 3600000000 WHERE id = $1", rec.ID); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Create has removed a record that lives; want a conflict with it")
	}
	if _, err := s.Get(t.Context(), "mona", rec.ID); err != nil {
		t.Errorf("Get of the record that was used = %v", err)
	}
}

// Several nodes purge at once, and none waits for what another has in hand.
func TestPurgeSkipsWhatIsLocked(t *testing.T) {
	dsn := pgtest.DSN(t)
	s, db := open(t, dsn), openDB(t, dsn)
	ids := fill(t, s, 30)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM authz_authorizations WHERE id <= $1 FOR UPDATE", ids[9]); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Purge(t.Context(), time.Now(), 15); n != 15 || err != nil {
		t.Errorf("Purge beside another = %d, %v; want 15", n, err)
	}
	if n, err := s.Purge(t.Context(), time.Now(), 15); n != 5 || err != nil {
		t.Errorf("Purge beside another = %d, %v; want the other 5", n, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Purge(t.Context(), time.Now(), 15); n != 10 || err != nil {
		t.Errorf("Purge = %d, %v; want 10", n, err)
	}
}

// More records than one call of Unused looks at, and in a pooler's mode too.
func TestUnusedInWindows(t *testing.T) {
	for _, parameters := range []string{"", "&binary_parameters=yes"} {
		s := open(t, pgtest.DSN(t)+parameters)
		ids := fill(t, s, 20_000)
		if _, err := s.DB().ExecContext(t.Context(), `UPDATE authz_authorizations SET expires_at = NULL WHERE id % 5000 = 0`); err != nil {
			t.Fatal(err)
		}
		now, after, found := time.Now(), int64(0), 0
		var nexts []int64
		for {
			page, next, err := s.Unused(t.Context(), now, now, after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if found += len(page); next == 0 {
				break
			}
			after, nexts = next, append(nexts, next)
		}
		if want := []int64{ids[9999], ids[19999]}; found != 4 || !slices.Equal(nexts, want) {
			t.Errorf("Unused of 20,000 records = %d of them, by way of %v; want 4, by way of %v", found, nexts, want)
		}
	}
}

// PgBouncer, few server connections, and statements of many callers on them.
func TestTouchBehindAPooler(t *testing.T) {
	dsn := pgtest.DSN(t)
	direct := open(t, dsn)
	ids := fill(t, direct, 500)
	s := open(t, pgtest.PgBouncer(t, dsn, 2))
	now := time.Now().Truncate(time.Microsecond)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var uses []store.Use
			for _, i := range rand.Perm(len(ids)) {
				uses = append(uses, store.Use{ID: ids[i], At: now.Add(time.Duration(g) * time.Second)})
			}
			if err := s.Touch(t.Context(), uses); err != nil {
				t.Errorf("Touch = %v", err)
			}
			for i := range 20 {
				hash := store.HashOf(fmt.Sprint(g*20 + i + 1)) // as fill makes them
				if rec, st, err := s.Lookup(t.Context(), hash); err != nil || rec.TokenHash != hash || st != (store.Standing{}) {
					t.Errorf("Lookup = %v, %+v, %v", rec.ID, st, err)
				}
			}
		})
	}
	wg.Wait()
	for i, id := range ids {
		rec, err := direct.Get(t.Context(), fmt.Sprint("owner ", i+1), id)
		if want := now.Add(7 * time.Second); err != nil || !rec.LastUsedAt.Equal(want) {
			t.Fatalf("last used %v, %v; want %v", rec.LastUsedAt, err, want)
		}
	}
}
