package authz_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// What each of the ways costs that are gone often, on a store in memory. cache, store/memory, store/sqlite and
// store/postgres have their own; bench/ measures beside limits and peers.

// hot is a started Manager that answers from memory, with authorizations to ask for.
type hot struct {
	m      *authz.Manager
	h      http.Handler
	tokens []string
	ids    []int64
}

const hotOwners = 1000

func hotOwner(i int) string { return fmt.Sprintf("user-%04d", i%hotOwners) }

func newHot(t testing.TB, cfg authz.Config) *hot {
	t.Helper()
	m, err := authz.New(memory.New(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(t, m, clientID)
	w := &hot{m: m}
	for i := range hotOwners {
		res := mustGet(t, m, hotRequest(i))
		w.tokens, w.ids = append(w.tokens, res.Token.Reveal()), append(w.ids, res.Authorization.ID)
	}
	w.h, err = authz.NewHandler(m, authz.HandlerConfig{Authenticator: byHeader{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeManager(t, m) })
	for _, token := range w.tokens { // in memory from here on
		if _, err := m.Verify(context.Background(), token); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func hotRequest(i int) authz.Request {
	return authz.Request{
		Owner: hotOwner(i), ClientID: clientID, ClientSecret: secretOfSeed, Fingerprint: "laptop-0123",
		Scopes: []string{"repo", "user:email"}, Note: "command line of the example shop", NoteURL: "https://shop.example/help/tokens",
	}
}

const hotBody = `{"client_secret":"` + clientSecret + `","scopes":["repo","user:email"],` +
	`"note":"command line of the example shop","note_url":"https://shop.example/help/tokens","fingerprint":"laptop-0123"}`

// byHeader is an Authenticator without a password to hash.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (authz.User, error) {
	user := r.Header.Get("X-User")
	return authz.User{ID: user, Login: user}, nil
}

// discard is a ResponseWriter that keeps the status alone.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// net/http's can do it, and who cannot pays for an error.
func (d *discard) SetReadDeadline(time.Time) error { return nil }

// hotCall sends one request again and again: the body anew each time.
type hotCall struct {
	h    http.Handler
	w    discard
	r    *http.Request
	text string
	body strings.Reader
}

func newHotCall(h http.Handler, method, target, body string, headers ...string) *hotCall {
	x := &hotCall{h: h, text: body, w: discard{header: http.Header{}}, r: httptest.NewRequest(method, target, strings.NewReader(body))}
	for i := 0; i < len(headers); i += 2 {
		x.r.Header.Set(headers[i], headers[i+1])
	}
	x.r.Body = io.NopCloser(&x.body)
	return x
}

func (x *hotCall) send(t testing.TB, want int) {
	x.body.Reset(x.text)
	clear(x.w.header)
	x.h.ServeHTTP(&x.w, x.r)
	if x.w.status != want {
		t.Fatalf("status %d, want %d", x.w.status, want)
	}
}

func asAppHeader() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+clientSecret))
}

// The requests that are measured.
func (w *hot) put() *hotCall {
	return newHotCall(w.h, http.MethodPut, "/authorizations/clients/"+clientID, hotBody, "X-User", hotOwner(7), "Content-Type", "application/json")
}

func (w *hot) check() *hotCall {
	return newHotCall(w.h, http.MethodPost, "/applications/"+clientID+"/token", `{"access_token":"`+w.tokens[7]+`"}`, "Authorization", asAppHeader())
}

func (w *hot) introspect() *hotCall {
	return newHotCall(w.h, http.MethodPost, "/oauth/introspect", url.Values{"token": {w.tokens[7]}}.Encode(),
		"Authorization", asAppHeader(), "Content-Type", "application/x-www-form-urlencoded")
}

func (w *hot) list() *hotCall {
	return newHotCall(w.h, http.MethodGet, "/authorizations", "", "X-User", hotOwner(7))
}

func BenchmarkGetOrCreate(b *testing.B) {
	w := newHot(b, authz.Config{})
	ctx := b.Context()
	b.Run("existing", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if res, err := w.m.GetOrCreate(ctx, hotRequest(i)); err != nil || res.Created {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("existing-parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if res, err := w.m.GetOrCreate(ctx, hotRequest(i)); err != nil || res.Created {
					b.Error(res, err)
					return
				}
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			req := hotRequest(0)
			req.Owner = fmt.Sprint("new-", i)
			if _, err := w.m.GetOrCreate(ctx, req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	verify := func(m *authz.Manager, tokens []string, alive bool) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := m.Verify(b.Context(), tokens[i%len(tokens)]); err == nil != alive {
					b.Fatal(err)
				}
			}
		}
	}
	w, bare := newHot(b, authz.Config{Cache: newCache()}), newHot(b, authz.Config{})
	unknown := make([]string, 1000)
	for i := range unknown {
		unknown[i] = randomToken()
	}
	b.Run("hit", verify(w.m, w.tokens, true))
	b.Run("miss", verify(bare.m, bare.tokens, true))
	b.Run("unknown", verify(w.m, unknown, false))
	b.Run("malformed", verify(w.m, []string{"not a token at all, but of some length"}, false))
}

func BenchmarkCheck(b *testing.B) {
	w := newHot(b, authz.Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := w.m.Check(b.Context(), clientID, w.tokens[i%len(w.tokens)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateApp(b *testing.B) {
	w := newHot(b, authz.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.m.AuthenticateApp(b.Context(), clientID, secretOfSeed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	w := newHot(b, authz.Config{Cache: newCache()})
	run := func(name string, x *hotCall) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.send(b, http.StatusOK)
			}
		})
	}
	run("put", w.put())
	run("check", w.check())
	run("introspect", w.introspect())
	run("list", w.list())
}

// BenchmarkServer is a PUT of what is there through net/http on the loopback, beside the least that anybody has to do: decode a
// JSON body, and encode an answer. Who asks costs the same for both.
func BenchmarkServer(b *testing.B) {
	type wire struct {
		ClientSecret string   `json:"client_secret"`
		Scopes       []string `json:"scopes"`
		Note         string   `json:"note"`
		NoteURL      string   `json:"note_url"`
		Fingerprint  string   `json:"fingerprint"`
	}
	floor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v wire
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})
	w := newHot(b, authz.Config{})
	for _, bench := range []struct {
		name string
		h    http.Handler
	}{{"floor", floor}, {"put", w.h}} {
		b.Run(bench.name, func(b *testing.B) {
			srv := httptest.NewServer(bench.h)
			defer srv.Close()
			request := fmt.Appendf(nil, "PUT /authorizations/clients/%s HTTP/1.1\r\nHost: %s\r\nX-User: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				clientID, srv.Listener.Addr(), hotOwner(7), len(hotBody), hotBody)
			b.SetParallelism(8)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				answer := make([]byte, 4<<10)
				size := 0 // all answers are as long as the first
				for pb.Next() {
					if _, err := c.Write(request); err != nil {
						b.Error(err)
						return
					}
					n, err := io.ReadAtLeast(c, answer, max(1, size))
					if size = n; err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
						b.Errorf("%v %s", err, answer[:n])
						return
					}
				}
			})
		})
	}
}
