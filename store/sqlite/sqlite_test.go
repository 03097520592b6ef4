package sqlite_test

import (
	"path/filepath"
	"testing"

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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		path := filepath.Join(t.TempDir(), "authz.db")
		handles := make([]store.Store, n)
		for i := range handles {
			handles[i] = open(t, path)
		}
		return handles
	})
}
