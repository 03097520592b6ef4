package postgres_test

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
)

// deleteAllBeside calls DeleteAll while a transaction that has run stmt is open, and
// ends that only when DeleteAll waits for it.
func deleteAllBeside(t *testing.T, s store.Store, db *sql.DB, sel store.Selection, stmt string, args ...any) int64 {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), stmt, args...); err != nil {
		t.Fatal(err)
	}
	var n int64
	done := make(chan error, 1)
	go func() {
		var err error
		n, err = s.DeleteAll(t.Context(), sel)
		done <- err
	}()
	for waiting := false; !waiting; time.Sleep(5 * time.Millisecond) {
		if err := db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM authz_authorizations%' AND datname = current_database())`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("DeleteAll did not wait: %v", err)
		default:
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return n
}

// A record that somebody else deletes at the same time must not end the
// revocation of all others.
func TestDeleteAllBesideDelete(t *testing.T) {
	dsn := schema(t)
	s, db := open(t, dsn), openDB(t, dsn)
	if _, err := db.Exec(`INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at)
SELECT 1, 'mona', 'abcde12345fghij67890', lpad(i::text, 5, '0'), '', '', '', decode(lpad(to_hex(i), 64, '0'), 'hex'), '', 1, 1
FROM generate_series(1, 2500) i`); err != nil {
		t.Fatal(err)
	}
	owner := "mona"
	n := deleteAllBeside(t, s, db, store.Selection{Owner: &owner}, "DELETE FROM authz_authorizations WHERE owner = 'mona' AND fingerprint = '00001'")
	left, err := s.Count(t.Context(), store.Selection{Owner: &owner})
	if err != nil || left != 0 || n != 2499 {
		t.Errorf("DeleteAll = %d, and %d are left, %v; want 2499 and none", n, left, err)
	}
}

// A token that was replaced before its revocation is dead already: the new one
// must live.
func TestDeleteAllBesideReplace(t *testing.T) {
	dsn := schema(t)
	s, db := open(t, dsn), openDB(t, dsn)
	old, young := store.HashOf("old"), store.HashOf("young")
	now := time.Now()
	rec, err := s.Create(t.Context(), store.Authorization{
		Key: store.Key{Owner: "mona", ClientID: "abcde12345fghij67890"}, TokenHash: old, IssuedAt: now, CreatedAt: now, UpdatedAt: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := deleteAllBeside(t, s, db, store.Selection{TokenHash: &old},
		"UPDATE authz_authorizations SET token_hash = $2, revision = revision + 1 WHERE id = $1", rec.ID, young[:])
	if _, err := s.GetByTokenHash(t.Context(), young); n != 0 || err != nil {
		t.Errorf("DeleteAll of the old token = %d, and the new one: %v; want 0 and the record", n, err)
	}
}

// A transaction that deletes does not see what is committed beside it: a scoped
// token that was made of a revoked one must not outlive the revocation.
func TestScopedBesideRevokeAll(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.DSN(t))
	m, err := authz.New(s, authz.Config{MaxPerScopes: -1})
	if err != nil {
		t.Fatal(err)
	}
	app, secret, err := m.RegisterApp(t.Context(), authz.NewApp{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 100 { // of 200, 32 left a token without a second look
		owner := fmt.Sprint("user ", round)
		wide, err := m.GetOrCreate(t.Context(), authz.Request{Owner: owner, ClientID: app.ClientID, ClientSecret: secret, Scopes: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		start := make(chan struct{})
		var made [4]authz.Secret
		var wg sync.WaitGroup
		for i := range made {
			wg.Go(func() {
				<-start
				if res, err := m.Scoped(t.Context(), authz.ScopedRequest{ClientID: app.ClientID, Token: wide.Token, Scopes: []string{"a"}}); err == nil {
					made[i] = res.Token
				} else if !errors.Is(err, authz.ErrNotFound) {
					t.Errorf("Scoped = %v", err)
				}
			})
		}
		wg.Go(func() {
			<-start
			time.Sleep(time.Duration(round%20) * 200 * time.Microsecond)
			if _, err := m.RevokeAll(t.Context(), authz.Revocation{Owner: owner}); err != nil {
				t.Errorf("RevokeAll = %v", err)
			}
		})
		close(start)
		wg.Wait()
		for _, token := range made {
			if _, err := m.Verify(t.Context(), token.Reveal()); !errors.Is(err, authz.ErrInvalidToken) {
				t.Fatalf("round %d: a scoped token after RevokeAll: %v, want ErrInvalidToken", round, err)
			}
		}
	}
}
