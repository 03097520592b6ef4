package postgres_test

import (
	"testing"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/storetest"
)

func open(t *testing.T, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		dsn := pgtest.DSN(t)
		handles := make([]store.Store, n)
		for i := range handles {
			handles[i] = open(t, dsn)
		}
		return handles
	})
}
