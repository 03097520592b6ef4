//go:build !race

package authz_test // -race allocates on its own

import (
	"net/http"
	"testing"

	"github.com/seed-926035fd/authz"
)

// What must not creep up again of the ways that are gone often. The counts have a little room: the standard library's own change.
func TestAllocations(t *testing.T) {
	w := newHot(t, authz.Config{Cache: newCache()})
	put, check, introspect := w.put(), w.check(), w.introspect()
	ctx := t.Context()
	for _, test := range []struct {
		name string
		most float64
		do   func()
	}{
		{"GetOrCreate, existing", 13, func() {
			if _, err := w.m.GetOrCreate(ctx, hotRequest(7)); err != nil {
				t.Fatal(err)
			}
		}},
		{"AuthenticateApp", 1, func() {
			if _, err := w.m.AuthenticateApp(ctx, clientID, secretOfSeed); err != nil {
				t.Fatal(err)
			}
		}},
		{"Check", 3, func() {
			if _, err := w.m.Check(ctx, clientID, w.tokens[7]); err != nil {
				t.Fatal(err)
			}
		}},
		{"PUT, existing", 62, func() { put.send(t, http.StatusOK) }},
		{"POST …/token", 51, func() { check.send(t, http.StatusOK) }},
		{"POST /oauth/introspect", 40, func() { introspect.send(t, http.StatusOK) }},
	} {
		n := testing.AllocsPerRun(200, test.do)
		t.Log(test.name, n)
		if n > test.most {
			t.Errorf("%s: %v allocations, want %v at most", test.name, n, test.most)
		}
	}
}
