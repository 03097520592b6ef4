// Package pgx runs the store's contract on pgx's stdlib driver, handed to
// postgres.New as any *sql.DB.
package pgx_test

import (
	"database/sql"
	"errors"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/storetest"
)

func openDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	// Idle connections as many as open ones, or the pool churns.
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestNew(t *testing.T) {
	run(t, func(t *testing.T) string { return pgtest.DSN(t) })
}

// Behind PgBouncer in transaction mode, pgx must send each statement in one
// round trip, and keep none.
func TestPooled(t *testing.T) {
	run(t, func(t *testing.T) string {
		return pgtest.PgBouncer(t, pgtest.DSN(t), 4) + "&default_query_exec_mode=exec"
	}, postgres.Pooled())
}

func run(t *testing.T, dsn func(*testing.T) string, options ...postgres.Option) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		url := dsn(t)
		handles := make([]store.Store, n)
		for i := range handles {
			s := postgres.New(openDB(t, url), options...)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			handles[i] = s
		}
		return handles
	})
}

// The users' directory works on the same *sql.DB.
func TestAccount(t *testing.T) {
	db := openDB(t, pgtest.DSN(t))
	users, err := account.New(account.Postgres(db), account.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := users.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	mona, err := users.Create(t.Context(), account.NewUser{Login: "mona", Password: authz.NewSecret("correct horse")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := users.Authenticate(t.Context(), authz.Credentials{Login: "Mona", Password: authz.NewSecret("correct horse")})
	if err != nil || got != mona.Authz() {
		t.Errorf("Authenticate = %v, %v; want %v", got, err, mona.Authz())
	}
	if _, err := users.Authenticate(t.Context(), authz.Credentials{Login: "mona", Password: authz.NewSecret("wrong")}); !errors.Is(err, authz.ErrBadCredentials) {
		t.Errorf("Authenticate with a wrong password = %v, want ErrBadCredentials", err)
	}
}
