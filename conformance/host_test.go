package conformance_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	password = "correct horse"
	otpCode  = "123456"
	monasID  = "583231"
)

// checkLogin knows mona; hubot, who has two factors, and hubot-sms, who gets
// messages; locked, who is; and two logins that the directory has trouble with.
func checkLogin(_ context.Context, c authz.Credentials) (authz.User, error) {
	switch {
	case c.Login == "locked":
		return authz.User{}, &authz.LockedError{RetryAfter: time.Minute}
	case c.Login == "panics":
		panic("the directory is on fire")
	case c.Login == "broken":
		return authz.User{}, errors.New("the directory is away")
	case c.Password.Reveal() != password:
		return authz.User{}, authz.ErrBadCredentials
	case c.Login == "hubot" && c.OTP.Reveal() != otpCode:
		return authz.User{}, &authz.OTPRequiredError{}
	case c.Login == "hubot-sms" && c.OTP.Reveal() != otpCode:
		return authz.User{}, &authz.OTPRequiredError{Delivery: authz.OTPSMS}
	case c.Login == "mona":
		return authz.User{ID: monasID, Login: "mona"}, nil
	case c.Login == "hubot", c.Login == "hubot-sms":
		return authz.User{ID: "id-of-" + c.Login, Login: c.Login}, nil
	}
	return authz.User{}, authz.ErrBadCredentials
}

func user(_ context.Context, id string) (authz.User, error) {
	if id == monasID {
		return authz.User{ID: id, Login: "mona"}, nil
	}
	return authz.User{ID: id, Login: strings.TrimPrefix(id, "id-of-")}, nil
}

// troubledApps are a store's apps, until told otherwise.
type troubledApps struct {
	store.Apps
	trouble atomic.Pointer[func() error]
}

func (a *troubledApps) App(ctx context.Context, clientID string) (store.App, error) {
	if f := a.trouble.Load(); f != nil {
		return store.App{}, (*f)()
	}
	return a.Apps.App(ctx, clientID)
}

// host is an application that has mounted the API, three times: with all that
// can be switched on, with nothing of it but tokens that expire, and with no
// patience for slow bodies.
type host struct {
	testing.TB
	m            *authz.Manager
	apps         *troubledApps
	all          *httptest.Server
	plain, hasty *httptest.Server
	rec          *recorder
	app, other   client
	n            int
}

// client is an app's client_id and secret.
type client struct{ id, secret string }

func newHost(t testing.TB) *host {
	st := memory.New()
	h := &host{TB: t, apps: &troubledApps{Apps: st}, rec: &recorder{next: http.DefaultTransport}}
	var err error
	if h.m, err = authz.New(st, authz.Config{Apps: h.apps, Scopes: authz.ScopeNames("public_repo", "repo", "user")}); err != nil {
		t.Fatal(err)
	}
	h.app, h.other = register(t, h.m, "my github app"), register(t, h.m, "another app")
	h.all = serve(t, h.m, authz.HandlerConfig{LegacyTokenPaths: true, OpenAPI: true, DocumentationURL: "https://example.com/docs"})
	expiring, err := authz.New(st, authz.Config{Apps: h.apps, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.plain = serve(t, expiring, authz.HandlerConfig{})
	h.hasty = serve(t, h.m, authz.HandlerConfig{LegacyTokenPaths: true, BodyTimeout: 20 * time.Millisecond})
	return h
}

func register(t testing.TB, m *authz.Manager, name string) client {
	t.Helper()
	app, secret, err := m.RegisterApp(context.Background(), authz.NewApp{Name: name, URL: "http://my-github-app.com"})
	if err != nil {
		t.Fatal(err)
	}
	return client{app.ClientID, secret.Reveal()}
}

func serve(t testing.TB, m *authz.Manager, cfg authz.HandlerConfig) *httptest.Server {
	t.Helper()
	cfg.Authenticator, cfg.Users = authz.BasicAuth(checkLogin), user
	handler, err := authz.NewHandler(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func basic(login, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+password))
}

// call is a request to be made.
type call struct {
	method, path, body string
	header             http.Header
	server             *httptest.Server // all that can be switched on, unless said otherwise
}

// as returns c with a header, which replaces the one of that name; "" removes it.
func (c call) as(name string, values ...string) call {
	if c.header = c.header.Clone(); c.header == nil {
		c.header = http.Header{}
	}
	c.header[http.CanonicalHeaderKey(name)] = values
	return c
}

func (c call) with(body string) call { c.body = body; return c }

func (c call) at(path string) call { c.path = path; return c }

func (c call) on(s *httptest.Server) call { c.server = s; return c }

// byUser is a request of mona's, byApp one of the app's.
func (h *host) byUser(method, path, body string) call {
	return call{method: method, path: path, body: body}.as("Authorization", basic("mona", password))
}

func (h *host) byApp(method, path, body string) call {
	return call{method: method, path: path, body: body}.as("Authorization", basic(h.app.id, h.app.secret))
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// member is a string in the answer's body, or a number in decimal.
func (a answer) member(name string) string {
	var v map[string]json.RawMessage
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		return ""
	}
	var s string
	if json.Unmarshal(v[name], &s) == nil {
		return s
	}
	return string(v[name])
}

func (h *host) do(c call) answer {
	h.Helper()
	if c.server == nil {
		c.server = h.all
	}
	req, err := http.NewRequest(c.method, c.server.URL+c.path, strings.NewReader(c.body))
	if err != nil {
		h.Fatal(err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	resp, err := h.rec.RoundTrip(req)
	if err != nil {
		h.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// want makes a request that must be answered with this status.
func (h *host) want(status int, c call) answer {
	h.Helper()
	a := h.do(c)
	if a.status != status {
		h.Errorf("%s %s %q: got %d %s, want %d", c.method, c.path, c.body, a.status, a.body, status)
	}
	return a
}

// slowly makes a request whose body never ends.
func (h *host) slowly(c call) answer {
	h.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.hasty.URL, "http://"))
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n", c.method, c.path)
	_ = c.header.Write(conn)
	fmt.Fprint(conn, "\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	h.rec.add(exchange{"", c.method, h.hasty.URL + c.path, c.header, "{", resp.StatusCode, resp.Header, string(body)})
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// during runs f while the store of apps has trouble.
func (h *host) during(trouble func() error, f func()) {
	h.apps.trouble.Store(&trouble)
	defer h.apps.trouble.Store(nil)
	f()
}

// fresh makes a new authorization for mona and the app.
func (h *host) fresh() (id, token string) {
	h.Helper()
	h.n++
	a := h.want(201, h.byUser("PUT", fmt.Sprintf("/authorizations/clients/%s/fresh-%d", h.app.id, h.n),
		`{"client_secret":"`+h.app.secret+`","scopes":["public_repo","repo"],"note":"n","note_url":"http://example.com/"}`))
	return a.member("id"), a.member("token")
}

func (h *host) grant() string {
	h.Helper()
	h.fresh()
	a := h.want(200, h.byUser("GET", "/applications/grants", ""))
	var grants []struct {
		ID json.Number `json:"id"`
	}
	if err := json.Unmarshal([]byte(a.body), &grants); err != nil || len(grants) == 0 {
		h.Fatalf("grants: %s, %v", a.body, err)
	}
	return grants[0].ID.String()
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func access(token string) string { return `{"access_token":"` + token + `"}` }
