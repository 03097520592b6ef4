//go:build unix

package backend

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/storetest"
)

func open(t *testing.T, path string) store.Store {
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		path := filepath.Join(t.TempDir(), "log")
		handles := make([]store.Store, n)
		for i := range handles {
			handles[i] = open(t, path)
		}
		return handles
	})
}

func TestProcesses(t *testing.T) {
	storetest.RunProcesses(t, storetest.Processes{
		Fresh: func(t *testing.T) string { return filepath.Join(t.TempDir(), "log") },
		Open:  open,
	})
}

// What only this backend has to show: that it survives its own crash.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	create := func(s store.Store, fingerprint string) store.Authorization {
		t.Helper()
		rec, created, err := s.GetOrCreate(t.Context(), store.Authorization{
			Key: store.Key{Owner: "mona", ClientID: "app", Fingerprint: fingerprint}, TokenHash: store.HashOf(fingerprint),
		})
		if err != nil || !created {
			t.Fatalf("GetOrCreate = created %t, error %v", created, err)
		}
		return rec
	}
	first := create(open(t, path), "first")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole { // the process died here, in the middle of its next line
		if err := os.WriteFile(path, append(whole[:len(whole):len(whole)], whole[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, path)
		if _, err := s.Get(t.Context(), "mona", first.ID); err != nil {
			t.Fatalf("with %d bytes of a torn line: Get = error %v", cut, err)
		}
		second := create(s, "second")
		if got, err := open(t, path).Get(t.Context(), "mona", second.ID); err != nil || got.TokenHash != second.TokenHash {
			t.Fatalf("with %d bytes of a torn line: a record written after it = error %v", cut, err)
		}
	}
}
