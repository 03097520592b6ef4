package protect

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // no list of routes on stdout
	os.Exit(m.Run())
}

// away is a store that can be away.
type away struct {
	store.Store
	is atomic.Bool
}

func (s *away) Lookup(ctx context.Context, h store.Hash) (store.Authorization, store.Standing, error) {
	if s.is.Load() {
		return store.Authorization{}, store.Standing{}, errors.New("the database is away")
	}
	return s.Store.Lookup(ctx, h)
}

func TestProtect(t *testing.T) {
	for name, app := range map[string]func(func(http.Handler) http.Handler) http.Handler{"ServeMux": ServeMux, "chi": Chi, "gin": Gin, "echo": Echo} {
		t.Run(name, func(t *testing.T) {
			s := &away{Store: memory.New()}
			m, err := authz.New(s, authz.Config{Scopes: []authz.Scope{{Name: "admin", Includes: []string{"repo"}}, {Name: "repo"}, {Name: "user"}}})
			if err != nil {
				t.Fatal(err)
			}
			protect, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(app(protect))
			defer server.Close()
			token := func(scope string) string {
				result, err := m.Create(context.Background(), authz.Request{Owner: "mona", Note: scope, Scopes: []string{scope}})
				if err != nil {
					t.Fatal(err)
				}
				return "Bearer " + result.Token.Reveal()
			}
			user, repo, admin, unused := token("user"), token("repo"), token("admin"), ""
			if result, err := m.Create(context.Background(), authz.Request{Owner: "mona", Note: "unused", Scopes: []string{"repo"}}); err == nil {
				unused = "Bearer " + result.Token.Reveal()
			}
			for _, test := range []struct {
				method, path, authorization string
				away                        bool
				status                      int
				body, challenge, scopes     string
			}{
				{"GET", "/user", user, false, 200, "hello, mona", "", "user"},
				{"POST", "/repos", repo, false, 200, "hello, mona", "", "repo"},
				{"POST", "/repos", admin, false, 200, "hello, mona", "", "admin"},
				{"GET", "/user", "", false, 401, `"Requires authentication"`, `Bearer realm="authz"`, ""},
				{"POST", "/repos", "", false, 401, `"Requires authentication"`, `Bearer realm="authz"`, ""},
				{"GET", "/user", user + "x", false, 401, `"Bad credentials"`, `Bearer realm="authz", error="invalid_token"`, ""},
				{"GET", "/user", "Bearer", false, 400, `"invalid_request"`, `Bearer realm="authz", error="invalid_request"`, ""},
				{"POST", "/repos", user, false, 403, `"The token lacks the scope repo"`, `Bearer realm="authz", error="insufficient_scope", scope="repo"`, "user"},
				{"POST", "/repos", unused, true, 503, `"Service unavailable"`, "", ""},
			} {
				s.is.Store(test.away)
				req, err := http.NewRequest(test.method, server.URL+test.path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if test.authorization != "" {
					req.Header.Set("Authorization", test.authorization)
				}
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.body) || strings.Contains(string(body), "hello") != (test.status == 200) {
					t.Errorf("%s %s: %d %s, want %d with %s", test.method, test.path, resp.StatusCode, body, test.status, test.body)
				}
				if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, test.challenge) || (got == "") != (test.challenge == "") {
					t.Errorf("%s %s: WWW-Authenticate %q, want %q", test.method, test.path, got, test.challenge)
				}
				if got := resp.Header.Get("X-OAuth-Scopes"); got != test.scopes {
					t.Errorf("%s %s: X-OAuth-Scopes %q, want %q", test.method, test.path, got, test.scopes)
				}
				if got := resp.Header.Get("Retry-After"); (got != "") != (test.status == 503) {
					t.Errorf("%s %s: %d with Retry-After %q", test.method, test.path, resp.StatusCode, got)
				}
			}
		})
	}
}

// gin goes on to the next handler unless it is told not to; what that one writes would
// be cut off behind the refusal, but its work would be done.
func TestWrapGinAborts(t *testing.T) {
	e := gin.New()
	e.GET("/", WrapGin(authz.RequireScopes("repo")), func(*gin.Context) { t.Error("the handler was reached") })
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d, want 401", w.Code)
	}
}
