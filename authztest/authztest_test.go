package authztest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/authztest"
)

func TestToken(t *testing.T) {
	t.Parallel()
	m, clock := authztest.NewManager(t, authz.Config{Lifetime: time.Hour})
	token, other := authztest.Token(t, m, "mona", "repo", "user"), authztest.Token(t, m, "mona")
	a, err := m.Verify(t.Context(), token)
	if err != nil || a.Owner != "mona" || strings.Join(a.Scopes, " ") != "repo user" {
		t.Errorf("Verify = %+v, %v", a, err)
	}
	if b, err := m.Verify(t.Context(), other); err != nil || b.ID == a.ID {
		t.Errorf("a second token: %+v, %v", b, err)
	}
	clock.Advance(time.Hour - time.Microsecond)
	if _, err := m.Verify(t.Context(), token); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	clock.Advance(time.Microsecond)
	if _, err := m.Verify(t.Context(), token); !errors.Is(err, authz.ErrInvalidToken) {
		t.Errorf("at its end: err = %v, want ErrInvalidToken", err)
	}
}

func TestAppToken(t *testing.T) {
	t.Parallel()
	m, _ := authztest.NewManager(t, authz.Config{})
	app, secret := authztest.App(t, m, "my app")
	token := authztest.AppToken(t, m, "mona", app, secret, "repo")
	a, err := m.Check(t.Context(), app.ClientID, token)
	if err != nil || a.Owner != "mona" || a.ClientID != app.ClientID {
		t.Errorf("Check = %+v, %v", a, err)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	users := authztest.Users{"mona": "secret", "empty": ""}
	for _, c := range []struct {
		login, password string
		want            error
	}{
		{"mona", "secret", nil},
		{"mona", "secret ", authz.ErrBadCredentials},
		{"mona", "", authz.ErrBadCredentials},
		{"Mona", "secret", authz.ErrBadCredentials},
		{"nobody", "", authz.ErrBadCredentials},
		{"", "", authz.ErrBadCredentials},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(c.login, c.password)
		user, err := users.Authenticate(r)
		if !errors.Is(err, c.want) || err == nil && user != (authz.User{ID: c.login, Login: c.login}) {
			t.Errorf("%q, %q: %+v, %v, want %v", c.login, c.password, user, err, c.want)
		}
	}
	if _, err := users.Authenticate(httptest.NewRequest("GET", "/", nil)); !errors.Is(err, authz.ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}

// A host's own test, as a reader would write it.
func Example() {
	t := new(testing.T) // the test's own
	m, clock := authztest.NewManager(t, authz.Config{Lifetime: time.Hour})
	token := authztest.Token(t, m, "mona", "repo")

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // the host's
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := m.Verify(r.Context(), token); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	get := func() int {
		r := httptest.NewRequestWithContext(context.Background(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}

	fmt.Println(get())
	clock.Advance(time.Hour)
	fmt.Println(get())
	// Output:
	// 200
	// 401
}
