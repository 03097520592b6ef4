package authz_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	password    = "correct horse"
	otpCode     = "123456"
	path        = "/authorizations/clients/" + clientID
	minimalBody = `{"client_secret":"` + clientSecret + `"}`
	jsonType    = "application/json; charset=utf-8"
)

// checkLogin knows mona, who is owner; hubot, who has two factors (hubot-sms
// gets messages); and locked.
func checkLogin(_ context.Context, c authz.Credentials) (authz.User, error) {
	switch {
	case c.Login == "locked":
		return authz.User{}, &authz.LockedError{RetryAfter: 90*time.Second + time.Millisecond}
	case c.Password.Reveal() != password:
		return authz.User{}, authz.ErrBadCredentials
	case c.Login == "mona":
		return authz.User{ID: owner, Login: "mona"}, nil
	case c.Login == "hubot" && c.OTP.Reveal() != otpCode:
		return authz.User{}, &authz.OTPRequiredError{}
	case c.Login == "hubot-sms" && c.OTP.Reveal() != otpCode:
		return authz.User{}, &authz.OTPRequiredError{Delivery: authz.OTPSMS}
	case c.Login == "hubot", c.Login == "hubot-sms":
		return authz.User{ID: "user-2", Login: c.Login}, nil
	case c.Login == "panics":
		panic("the user table is on fire")
	case c.Login == "broken":
		return authz.User{}, fmt.Errorf("directory: %w", store.ErrNotFound)
	case c.Login == "nobody":
		return authz.User{}, nil
	}
	return authz.User{}, authz.ErrBadCredentials
}

// rowCounter counts the authorizations that a store has made.
type rowCounter struct {
	store.Store
	created atomic.Int64
}

func (s *rowCounter) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	rec, created, err := s.Store.GetOrCreate(ctx, c)
	if created {
		s.created.Add(1)
	}
	return rec, created, err
}

// server is the API on a real socket.
type server struct {
	*httptest.Server
	m     *authz.Manager
	clock *clock
	store *rowCounter
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newServer(t testing.TB, change ...func(*authz.HandlerConfig)) *server {
	t.Helper()
	return newServerOn(t, memory.New(), authz.Config{}, change...)
}

func newServerOn(t testing.TB, st store.Store, cfg authz.Config, change ...func(*authz.HandlerConfig)) *server {
	t.Helper()
	s := &server{store: &rowCounter{Store: st}, log: new(lockedBuffer)}
	s.m, s.clock = newManager(t, s.store, cfg)
	s.Server = httptest.NewServer(newHandler(t, s.m, append([]func(*authz.HandlerConfig){func(c *authz.HandlerConfig) {
		c.Logger = slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}}, change...)...))
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError)
	t.Cleanup(s.Close)
	return s
}

func newHandler(t testing.TB, m *authz.Manager, change ...func(*authz.HandlerConfig)) http.Handler {
	t.Helper()
	cfg := authz.HandlerConfig{Authenticator: authz.BasicAuth(checkLogin)}
	for _, c := range change {
		c(&cfg)
	}
	h, err := authz.NewHandler(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return recorded(t, h)
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) decode(t testing.TB) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d, body %q: %v", a.status, a.body, err)
	}
	return v
}

func (a answer) id(t testing.TB) int64 {
	t.Helper()
	id, _ := a.decode(t)["id"].(float64)
	return int64(id)
}

// send sends a request as mona, unless headers ("Name: value") say otherwise:
// a header without value is left out.
func (s *server) send(t testing.TB, method, target, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", basic("mona", password))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if value = strings.Trim(value, " \t"); value == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, value)
		}
	}
	return s.do(t, req)
}

func (s *server) put(t testing.TB, target, body string, headers ...string) answer {
	t.Helper()
	return s.send(t, http.MethodPut, target, body, headers...)
}

func (s *server) do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func read(t testing.TB, resp *http.Response) answer {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func basic(login, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+password))
}

// seedAnswer is the seed document's example of a 201.
func seedAnswer(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/seed-201.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var seedRequest = `{
  "client_secret": "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd",
  "scopes": [
    "public_repo"
  ],
  "note": "admin script"
}`

func TestSeedExample(t *testing.T) {
	s := newServer(t)
	first := s.put(t, path, seedRequest)
	if first.status != 201 {
		t.Fatalf("first PUT: %d %s", first.status, first.body)
	}
	v := first.decode(t)
	token, _ := v["token"].(string)
	url := s.URL + "/authorizations/1"
	// The seed's own text, with what must differ here put in its place.
	want := strings.NewReplacer(
		"https://api.github.com/authorizations/1", url,
		"abcdefgh12345678", token,
		`"12345678"`, strconv.Quote(token[len(token)-8:]),
		"25f94a2a5c7fbaf499c665bc73d67c1c87e496da8985131633ee0a95819db2e8", store.HashOf(token).Hex(),
		"optional note", "admin script",
		"http://optional/note/url", "",
		"2011-09-06T20:39:23Z", "2011-09-06T15:26:27Z",
		"2011-09-06T17:26:27Z", "2011-09-06T15:26:27Z",
	).Replace(seedAnswer(t))
	if strings.TrimSpace(first.body) != strings.TrimSpace(want) {
		t.Errorf("201:\n%s\nwant\n%s", first.body, want)
	}
	if loc := first.header.Get("Location"); loc != url {
		t.Errorf("201: Location = %q, want %q", loc, url)
	}

	s.clock.Add(time.Hour)
	second := s.put(t, path, seedRequest)
	want = strings.Replace(want, strconv.Quote(token), `""`, 1)
	if second.status != 200 || strings.TrimSpace(second.body) != strings.TrimSpace(want) {
		t.Errorf("200: %d\n%s\nwant\n%s", second.status, second.body, want)
	}
	if loc := second.header.Get("Location"); loc != url {
		t.Errorf("200: Location = %q, want %q", loc, url)
	}
	if na, ok := second.header["Authz-Not-Applied"]; ok {
		t.Errorf("200: Authz-Not-Applied = %q", na)
	}
	if _, err := s.m.Verify(context.Background(), token); err != nil {
		t.Errorf("the token of the 201: %v", err)
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// checkCommon checks what all answers of the API have.
func checkCommon(t testing.TB, name string, a answer) {
	t.Helper()
	for header, want := range map[string]string{
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
		"Content-Type":           jsonType,
		"Content-Length":         strconv.Itoa(len(a.body)),
		"Status":                 strconv.Itoa(a.status) + " " + http.StatusText(a.status),
	} {
		if got := a.header.Get(header); got != want {
			t.Errorf("%s: %s = %q, want %q", name, header, got, want)
		}
	}
	if id := a.header.Get("X-Request-Id"); !uuidForm.MatchString(id) {
		t.Errorf("%s: X-Request-Id = %q, want a UUID", name, id)
	}
	if a.status >= 400 {
		if m, _ := a.decode(t)["message"].(string); m == "" {
			t.Errorf("%s: body %q has no message", name, a.body)
		}
	}
}

// The table of http-api, section 5, as far as endpoints 1 and 2 go.
func TestErrorTable(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{Scopes: authz.ScopeNames("public_repo", "repo")})
	if a := s.put(t, path+"/taken", minimalBody); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	with := func(field, value string) string {
		return `{"client_secret":"` + clientSecret + `",` + strconv.Quote(field) + `:` + value + `}`
	}
	for _, test := range []struct {
		name         string
		method, path string
		body         string
		headers      []string
		status       int
		message      string
		field        string // of the one error, with its code and message
		code, text   string
		want         []string // headers
	}{
		{name: "no credentials", headers: []string{"Authorization:"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "unknown scheme", headers: []string{"Authorization: Digest x"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "wrong password", headers: []string{"Authorization: " + basic("mona", "x")}, status: 401, message: "Bad credentials"},
		{name: "unknown login", headers: []string{"Authorization: " + basic("nemo", password)}, status: 401, message: "Bad credentials"},
		{name: "code missing", headers: []string{"Authorization: " + basic("hubot", password)}, status: 401, message: "Must specify two-factor authentication OTP code.", want: []string{"X-GitHub-OTP: required; app"}},
		{name: "code wrong", headers: []string{"Authorization: " + basic("hubot", password), "X-GitHub-OTP: 000000"}, status: 401, message: "Must specify two-factor authentication OTP code.", want: []string{"X-GitHub-OTP: required; app"}},
		{name: "code by sms", headers: []string{"Authorization: " + basic("hubot-sms", password)}, status: 401, message: "Must specify two-factor authentication OTP code.", want: []string{"X-GitHub-OTP: required; sms"}},
		{name: "code right, password wrong", headers: []string{"Authorization: " + basic("hubot", "x"), "X-GitHub-OTP: " + otpCode}, status: 401, message: "Bad credentials"},
		{name: "scheme token", headers: []string{"Authorization: token x"}, status: 403, message: "This API can only be accessed with username and password Basic Auth"},
		{name: "scheme Bearer", headers: []string{"Authorization: Bearer x"}, status: 403, message: "This API can only be accessed with username and password Basic Auth"},
		{name: "token as password", headers: []string{"Authorization: " + basic("mona", "azt_"+strings.Repeat("A", 30)+"0uCPlr")}, status: 403, message: "This API can only be accessed with username and password Basic Auth"},
		{name: "token as login", headers: []string{"Authorization: " + basic("azt_"+strings.Repeat("A", 30)+"0uCPlr", "x-oauth-basic")}, status: 403, message: "This API can only be accessed with username and password Basic Auth"},
		{name: "locked", headers: []string{"Authorization: " + basic("locked", password)}, status: 403, message: "Maximum number of login attempts exceeded. Please try again later.", want: []string{"Retry-After: 91"}},
		{name: "no JSON", body: "{", status: 400, message: "Problems parsing JSON"},
		{name: "trailing data", body: minimalBody + "x", status: 400, message: "Problems parsing JSON"},
		{name: "duplicate key", body: `{"note":"a","note":"b"}`, status: 400, message: "Problems parsing JSON"},
		{name: "no object", body: "[]", status: 400, message: "Body should be a JSON object"},
		{name: "too large", body: strings.Repeat(" ", 64<<10+1), status: 413, message: "Request body is too large"},
		{name: "no client_secret", body: "{}", status: 422, message: "Validation Failed", field: "client_secret", code: "missing_field"},
		{name: "client_secret null", body: `{"client_secret":null}`, status: 422, message: "Validation Failed", field: "client_secret", code: "missing_field"},
		{name: "client_secret empty", body: `{"client_secret":""}`, status: 422, message: "Validation Failed", field: "client_secret", code: "missing_field"},
		{name: "client_secret wrong", body: `{"client_secret":"x"}`, status: 422, message: "Invalid OAuth application client_id or secret."},
		{name: "client_id unknown", path: "/authorizations/clients/" + otherClient, status: 422, message: "Invalid OAuth application client_id or secret."},
		{name: "client_id malformed", path: "/authorizations/clients/x", status: 422, message: "Invalid OAuth application client_id or secret."},
		{name: "wrong type", body: with("note", "1"), status: 422, message: "Validation Failed", field: "note", code: "invalid", text: "note must be a string, not a number"},
		{name: "control character", body: with("note", `"\u0007"`), status: 422, message: "Validation Failed", field: "note", code: "invalid", text: "note must not contain control characters"},
		{name: "over-long", body: with("note", `"`+strings.Repeat("n", 256)+`"`), status: 422, message: "Validation Failed", field: "note", code: "invalid", text: "note must be at most 255 characters long"},
		{name: "bad URL", body: with("note_url", `"x"`), status: 422, message: "Validation Failed", field: "note_url", code: "invalid", text: "note_url must be an absolute http or https URL"},
		{name: "bad scope", body: with("scopes", `["a b"]`), status: 422, message: "Validation Failed", field: "scopes", code: "invalid", text: "scopes must be scope-tokens of RFC 6749, at most 100 bytes long each: number 1 is none"},
		{name: "undeclared scope", body: with("scopes", `["a","repo","b"]`), status: 422, message: "Validation Failed", field: "scopes", code: "custom", text: "scopes are invalid: a,b"},
		{name: "unknown key", body: with("foo", "1"), status: 422, message: "Invalid request.\n\n\"foo\" is not a permitted key."},
		{name: "another client_id", body: with("client_id", `"`+otherClient+`"`), status: 422, message: "Validation Failed", field: "client_id", code: "invalid", text: "client_id must be the one in the path"},
		{name: "another fingerprint", path: path + "/a", body: with("fingerprint", `"b"`), status: 422, message: "Validation Failed", field: "fingerprint", code: "invalid", text: "fingerprint must be the one in the path"},
		{name: "on_existing unknown", body: with("on_existing", `"x"`), status: 422, message: "Validation Failed", field: "on_existing", code: "invalid", text: `on_existing must be "return", "rotate" or "error"`},
		{name: "on_existing error", path: path + "/taken", body: with("on_existing", `"error"`), status: 409, message: "Authorization already exists", want: []string{"Location: " + s.URL + "/authorizations/1"}},
		{name: "GET", method: "GET", status: 405, message: "Method Not Allowed", want: []string{"Allow: PUT"}},
		{name: "POST on endpoint 2", method: "POST", path: path + "/x", status: 405, message: "Method Not Allowed", want: []string{"Allow: PUT"}},
		{name: "OPTIONS", method: "OPTIONS", status: 405, message: "Method Not Allowed", want: []string{"Allow: PUT"}},
		{name: "PATCH /authorizations", method: "PATCH", path: "/authorizations", body: "{}", status: 404, message: "Not Found"},
		{name: "PUT /authorizations", path: "/authorizations", status: 404, message: "Not Found"},
		{name: "PUT /authorizations", method: "PUT", path: "/authorizations", status: 404, message: "Not Found"},
		{name: "GET /authorizations/99", method: "GET", path: "/authorizations/99", status: 404, message: "Not Found"},
		{name: "below /authorizations", path: path + "/a/b", status: 404, message: "Not Found"},
		{name: "below /authorizations, no credentials", path: path + "/a/b", headers: []string{"Authorization:"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "unclean, no credentials", path: path + "/../x", headers: []string{"Authorization:"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "PATCH /authorizations, no code", method: "PATCH", path: "/authorizations", headers: []string{"Authorization: " + basic("hubot", password)}, status: 401, message: "Must specify two-factor authentication OTP code.", want: []string{"X-GitHub-OTP: required; app"}},
		{name: "GET on endpoint 1, no credentials", method: "GET", headers: []string{"Authorization:"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "elsewhere", path: "/user", headers: []string{"Authorization:"}, status: 404, message: "Not Found"},
		{name: "a name like ours", path: "/authorizationsx", headers: []string{"Authorization:"}, status: 404, message: "Not Found"},
		{name: "authentication before the body", body: "{", headers: []string{"Authorization:"}, status: 401, message: "Requires authentication", want: []string{`WWW-Authenticate: Basic realm="authz"`}},
		{name: "Authenticator panics", headers: []string{"Authorization: " + basic("panics", password)}, status: 500, message: "Internal Server Error"},
		{name: "Authenticator's own error", headers: []string{"Authorization: " + basic("broken", password)}, status: 503, message: "Service unavailable", want: []string{"Retry-After: 1"}},
		{name: "Authenticator without ID", headers: []string{"Authorization: " + basic("nobody", password)}, status: 503, message: "Service unavailable", want: []string{"Retry-After: 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			method, target, body := test.method, test.path, test.body
			if method == "" {
				method = http.MethodPut
			}
			if target == "" {
				target = path
			}
			if body == "" {
				body = minimalBody
			}
			got := s.send(t, method, target, body, test.headers...)
			checkCommon(t, test.name, got)
			want := map[string]any{"message": test.message}
			if test.field != "" {
				e := map[string]any{"resource": "OauthAccess", "field": test.field, "code": test.code}
				if test.text != "" {
					e["message"] = test.text
				}
				want["errors"] = []any{e}
			}
			gotJSON, _ := json.Marshal(got.decode(t))
			wantJSON, _ := json.Marshal(want)
			if got.status != test.status || !bytes.Equal(gotJSON, wantJSON) {
				t.Errorf("got  %d %s\nwant %d %s", got.status, gotJSON, test.status, wantJSON)
			}
			for _, h := range []string{"WWW-Authenticate", "X-GitHub-OTP", "Retry-After", "Allow", "Location"} {
				value := ""
				for _, w := range test.want {
					if name, v, _ := strings.Cut(w, ": "); name == h {
						value = v
					}
				}
				if got := got.header.Get(h); got != value {
					t.Errorf("%s = %q, want %q", h, got, value)
				}
			}
		})
	}
	if n := s.store.created.Load(); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// One answer, to the header, for what must not be told apart.
func TestOneAnswer(t *testing.T) {
	s := newServer(t)
	same := func(a, b answer) bool {
		for _, h := range []answer{a, b} {
			h.header.Del("X-Request-Id")
			h.header.Del("Date")
		}
		return fmt.Sprint(a) == fmt.Sprint(b)
	}
	if a, b := s.put(t, path, `{"client_secret":"x"}`), s.put(t, "/authorizations/clients/"+otherClient, minimalBody); !same(a, b) {
		t.Errorf("wrong secret %v, unknown client_id %v", a, b)
	}
	if a, b := s.put(t, path, "", "Authorization: "+basic("mona", "x")), s.put(t, path, "", "Authorization: "+basic("nemo", "x")); !same(a, b) {
		t.Errorf("wrong password %v, unknown login %v", a, b)
	}
	if a, b := s.put(t, path, "", "Authorization: "+basic("hubot", password)), s.put(t, path, "", "Authorization: "+basic("hubot", password), "X-GitHub-OTP: 1"); !same(a, b) {
		t.Errorf("no code %v, wrong code %v", a, b)
	}
}

func TestOnExistingOverHTTP(t *testing.T) {
	s := newServer(t)
	body := func(extra string) string { return `{"client_secret":"` + clientSecret + `"` + extra + `}` }
	first := s.put(t, path, body(`,"scopes":["a"],"note":"n","on_existing":"error"`))
	if first.status != 201 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	old := first.decode(t)["token"].(string)

	s.clock.Add(time.Minute)
	kept := s.put(t, path, body(`,"scopes":["b"],"note":"m","note_url":"http://x","on_existing":"return"`))
	if got := kept.header.Get("Authz-Not-Applied"); kept.status != 200 || got != "scopes, note, note_url" {
		t.Errorf("return: %d, Authz-Not-Applied = %q", kept.status, got)
	}
	if got := kept.header.Get("Location"); got != first.header.Get("Location") {
		t.Errorf("return: Location = %q", got)
	}
	a, b := first.decode(t), kept.decode(t)
	delete(a, "token")
	if b["token"] != "" {
		t.Error("return: there is a token")
	}
	delete(b, "token")
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("return: got %v, want unchanged %v", b, a)
	}

	for scopes, want := range map[string]string{"null": "scopes", "[]": "scopes", `["a"]`: ""} {
		if got := s.put(t, path, body(`,"scopes":`+scopes)).header.Get("Authz-Not-Applied"); got != want {
			t.Errorf("scopes %s: Authz-Not-Applied = %q, want %q", scopes, got, want)
		}
	}

	rotated := s.put(t, path, body(`,"note":"m","on_existing":"rotate"`))
	v := rotated.decode(t)
	token, _ := v["token"].(string)
	if rotated.status != 200 || token == "" || token == old || v["id"] != a["id"] || v["created_at"] != a["created_at"] ||
		v["note"] != "n" || v["hashed_token"] != store.HashOf(token).Hex() || v["updated_at"] != "2011-09-06T15:27:27Z" {
		t.Errorf("rotate: %d %s", rotated.status, rotated.body)
	}
	if got := rotated.header.Get("Authz-Not-Applied"); got != "note" {
		t.Errorf("rotate: Authz-Not-Applied = %q, want note", got)
	}
	if alive(t, s.m, authz.NewSecret(old)) || !alive(t, s.m, authz.NewSecret(token)) {
		t.Error("rotate: want the old token dead and the new one alive")
	}
	if got := s.put(t, path, body(`,"on_existing":"error"`)); got.status != 409 {
		t.Errorf("error: %d", got.status)
	}
}

func TestFingerprintInPath(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct{ escaped, want string }{
		{"plain", "plain"}, {"a%2Fb", "a/b"}, {"a%2fc", "a/c"}, {"..%2F", "../"}, {"%2E%2E", ".."}, {"%2E", "."}, {"%2e%2e%2fauthorizations", "../authorizations"},
		{"a+b", "a+b"}, {"a%2Bc", "a+c"}, {"a%20b", "a b"}, {"a;b", "a;b"}, {"a=b&c", "a=b&c"}, {"a%3Fb", "a?b"}, {"a%23b", "a#b"},
		{"%25", "%"}, {"%252F", "%2F"}, {"%C3%A9", "é"}, {"e%CC%81", "e\u0301"}, {"%F0%9F%92%BB", "💻"}, {"~-_.!*'()", "~-_.!*'()"}, {":x@", ":x@"},
		{"null", "null"}, {"%7B%7D", "{}"}, {strings.Repeat("x", 255), strings.Repeat("x", 255)}, {"%22%5C", `"\`}, {"a%7Cb", "a|b"}, {"%2F", "/"}, {"%2F%2F", "//"},
	} {
		got := s.put(t, path+"/"+test.escaped, minimalBody)
		if got.status != 201 {
			t.Errorf("%s: %d %s", test.escaped, got.status, got.body)
			continue
		}
		if f := got.decode(t)["fingerprint"]; f != test.want {
			t.Errorf("%s: fingerprint = %q, want %q", test.escaped, f, test.want)
		}
		// The same one in the body, alone and beside the path, is the same key.
		body := `{"client_secret":"` + clientSecret + `","fingerprint":` + string(mustJSON(t, test.want)) + `}`
		for _, target := range []string{path, path + "/" + test.escaped} {
			if again := s.put(t, target, body); again.status != 200 || again.id(t) != got.id(t) {
				t.Errorf("%s in the body of %s: %d id %d, want 200 id %d", test.escaped, target, again.status, again.id(t), got.id(t))
			}
		}
	}
	n := s.store.created.Load()
	for escaped, status := range map[string]int{
		"%00": 422, "a%00b": 422, "%0A": 422, "%7F": 422, "%FF": 422, "%C0%80": 422, "%ED%A0%80": 422, strings.Repeat("x", 256): 422,
		"": 404, "a/b": 404, "/": 404, "..": 404, ".": 404, "a/": 404,
		strings.Repeat("x", 100_000): 422,
	} {
		if got := s.put(t, path+"/"+escaped, minimalBody); got.status != status {
			t.Errorf("%.20s: %d %s, want %d", escaped, got.status, got.body, status)
		}
	}
	if got := s.store.created.Load(); got != n {
		t.Errorf("refused fingerprints made %d rows", got-n)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What old clients send, and must get away with (http-api, section 7).
func TestOldClients(t *testing.T) {
	s := newServer(t)
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for i, test := range []struct {
		name    string
		body    string
		headers []string
	}{
		{"no Content-Type", minimalBody, nil},
		{"text/plain", minimalBody, []string{"Content-Type: text/plain"}},
		{"form", minimalBody, []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"charset", minimalBody, []string{"Content-Type: application/json;charset=utf-8"}},
		{"nonsense type", minimalBody, []string{"Content-Type: ;;;"}},
		{"Accept", minimalBody, []string{"Accept: application/vnd.github.v3+json"}},
		{"Accept only text", minimalBody, []string{"Accept: text/html"}},
		{"identity", minimalBody, []string{"Content-Encoding: identity"}},
		{"CRLF after the object", minimalBody + "\r\n\r\n", nil},
		{"space around", " \t\r\n" + minimalBody + "\n", nil},
		{"client_id in the body", `{"client_id":"` + clientID + `","client_secret":"` + clientSecret + `"}`, nil},
		{"scopes null", `{"scopes":null,"client_secret":"` + clientSecret + `"}`, nil},
		{"empty strings", `{"note":"","note_url":"","fingerprint":"","client_secret":"` + clientSecret + `"}`, nil},
		{"escaped", `{"client\u005fsecret":"` + strings.Replace(clientSecret, "a", `\u0061`, 1) + `"}`, nil},
		{"basic", minimalBody, []string{"Authorization: basic " + encoded("mona:"+password)}},
		{"BASIC", minimalBody, []string{"Authorization: BASIC " + encoded("mona:"+password)}},
		{"credentials in two lines", minimalBody, []string{"Authorization: Basic " + encoded("mona:" + password)[:6] + " " + encoded("mona:" + password)[6:]}},
		{"spaces after Basic", minimalBody, []string{"Authorization: Basic   " + encoded("mona:"+password)}},
		{"newline in the credentials", minimalBody, []string{"Authorization: Basic " + encoded("mona:"+password+"\n")}},
		{"CRLF in the credentials", minimalBody, []string{"Authorization: Basic " + encoded("mona:"+password+"\r\n")}},
		{"no padding", minimalBody, []string{"Authorization: Basic " + strings.TrimRight(encoded("mona:"+password), "=")}},
		{"code null, no two-factor", minimalBody, []string{"X-GitHub-OTP: null"}},
		{"code, no two-factor", minimalBody, []string{"X-GitHub-OTP: 000000"}},
		{"code with spaces around", minimalBody, []string{"Authorization: " + basic("hubot", password), "X-GitHub-OTP:  " + otpCode + " "}},
		{"gzip accepted", minimalBody, []string{"Accept-Encoding: gzip"}},
		{"conditions", minimalBody, []string{"If-None-Match: *", "If-Match: x", "Range: bytes=0-1"}},
		{"method override", minimalBody, []string{"X-HTTP-Method-Override: DELETE"}},
	} {
		target := path + "/client-" + strconv.Itoa(i)
		if strings.Contains(test.body, `"fingerprint"`) {
			target = path
		}
		got := s.put(t, target, test.body, test.headers...)
		checkCommon(t, test.name, got)
		if got.status != 201 {
			t.Errorf("%s: %d %s", test.name, got.status, got.body)
		}
	}

	// Chunked, which net/http sends for a body of unknown length.
	req, err := http.NewRequest(http.MethodPut, s.URL+path+"/chunked", io.MultiReader(strings.NewReader(minimalBody)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", basic("mona", password))
	if got := s.do(t, req); got.status != 201 {
		t.Errorf("chunked: %d %s", got.status, got.body)
	}

	// "null" is no code: the two-factor user hears what is missing.
	if got := s.put(t, path, minimalBody, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: null"); got.status != 401 || got.header.Get("X-GitHub-OTP") != "required; app" {
		t.Errorf("null from a two-factor user: %d", got.status)
	}

	// An app probes a code: 401, then 404 once it is right.
	if got := s.send(t, "PATCH", "/authorizations", "", "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode); got.status != 404 {
		t.Errorf("PATCH /authorizations with the code: %d, want 404", got.status)
	}
}

func TestRequestID(t *testing.T) {
	s := newServer(t)
	for given, kept := range map[string]bool{
		"c0ffee00-1111-4222-8333-444455556666":   true,
		"C0FFEE00-1111-4222-8333-444455556666":   true,
		"":                                       false,
		"x":                                      false,
		"{c0ffee00-1111-4222-8333-444455556666}": false,
		"urn:uuid:c0ffee00-1111-4222-8333-444455556666": false,
		"c0ffee0011114222833344445555666":               false,
		"c0ffee00-1111-4222-8333-44445555666 ":          false,
		"c0ffee00-1111-4222-8333-44445555666g":          false,
	} {
		got := s.put(t, path, minimalBody, "X-Request-Id: "+given).header.Get("X-Request-Id")
		if (got == given) != kept {
			t.Errorf("given %q: got %q, kept should be %v", given, got, kept)
		}
		if !kept && !uuidForm.MatchString(got) {
			t.Errorf("given %q: got %q, want a UUID", given, got)
		}
		if !strings.Contains(s.log.String(), `"request_id":"`+got+`"`) {
			t.Errorf("given %q: the log does not have %q", given, got)
		}
	}
}

// 64 goroutines put one key: one hears 201 and a token, all hear the same id.
func TestConcurrentPuts(t *testing.T) {
	s := newServer(t)
	answers := make([]answer, 64)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			<-start
			answers[i] = s.put(t, path, minimalBody)
		})
	}
	close(start)
	wg.Wait()
	created := 0
	for _, a := range answers {
		v := a.decode(t)
		if v["id"] != 1.0 {
			t.Errorf("id = %v, want 1", v["id"])
		}
		switch token, _ := v["token"].(string); {
		case a.status == 201 && token != "":
			created++
		case a.status != 200 || token != "":
			t.Errorf("status %d, token %v", a.status, token != "")
		}
	}
	if created != 1 || s.store.created.Load() != 1 {
		t.Errorf("%d answers 201 and %d rows, want 1 of each", created, s.store.created.Load())
	}
}

func TestURLs(t *testing.T) {
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	loopback := prefixes("127.0.0.0/8", "::1/128", "fe80::/10")
	strip := func(prefix string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return http.StripPrefix(prefix, h) }
	}
	for _, test := range []struct {
		name    string
		cfg     authz.HandlerConfig
		wrap    func(http.Handler) http.Handler
		target  string
		remote  string
		headers []string
		want    string
	}{
		{name: "plain", target: "http://api.example.com:8080" + path, want: "http://api.example.com:8080/authorizations/1"},
		{name: "TLS", target: "https://api.example.com" + path, want: "https://api.example.com/authorizations/1"},
		{name: "IPv6 host", target: "http://[::1]:80" + path, want: "http://[::1]:80/authorizations/1"},
		{name: "prefix kept", cfg: authz.HandlerConfig{Prefix: "/api/v3"}, target: "http://h/api/v3" + path, want: "http://h/api/v3/authorizations/1"},
		{name: "prefix stripped", wrap: strip("/api/v3"), target: "http://h/api/v3" + path, want: "http://h/api/v3/authorizations/1"},
		{name: "prefix stripped, query", wrap: strip("/api/v3"), target: "http://h/api/v3" + path + "?x=/authorizations", want: "http://h/api/v3/authorizations/1"},
		{name: "prefix stripped, escaped fingerprint", wrap: strip("/api/v3"), target: "http://h/api/v3" + path + "/a%2Fb", want: "http://h/api/v3/authorizations/1"},
		{name: "prefix stripped, odd escapes", wrap: strip("/api/v3"), target: "http://h/api/v3" + path + "/a|b", want: "http://h/api/v3/authorizations/1"},
		{name: "one stripped, one kept", cfg: authz.HandlerConfig{Prefix: "/v3"}, wrap: strip("/api"), target: "http://h/api/v3" + path, want: "http://h/api/v3/authorizations/1"},
		{name: "BaseURL", cfg: authz.HandlerConfig{BaseURL: "https://api.example.com/", Prefix: "/v3"}, target: "http://h/v3" + path, want: "https://api.example.com/v3/authorizations/1"},
		{name: "BaseURL with path", cfg: authz.HandlerConfig{BaseURL: "https://example.com/api"}, wrap: strip("/x"), target: "http://h/x" + path, want: "https://example.com/api/authorizations/1"},
		{name: "nobody trusted", target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: evil"}, want: "http://h/authorizations/1"},
		{name: "another trusted", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "192.0.2.1:1", headers: []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: evil"}, want: "http://h/authorizations/1"},
		{name: "trusted", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: api.example.com:8443"}, want: "https://api.example.com:8443/authorizations/1"},
		{name: "trusted IPv6", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "[::1]:1", headers: []string{"X-Forwarded-Proto: https"}, want: "https://h/authorizations/1"},
		{name: "trusted IPv6 with zone", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "[fe80::1%eth0]:1", headers: []string{"X-Forwarded-Proto: https"}, want: "https://h/authorizations/1"},
		{name: "trusted, mapped", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "[::ffff:127.0.0.1]:1", headers: []string{"X-Forwarded-Proto: https"}, want: "https://h/authorizations/1"},
		{name: "the last of a list", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Host: evil, good", "X-Forwarded-Proto: gopher, https"}, want: "https://good/authorizations/1"},
		{name: "the last of several headers", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Host: evil", "X-Forwarded-Host: good"}, want: "http://good/authorizations/1"},
		{name: "forwarded rubbish", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Host: a/b", "X-Forwarded-Proto: javascript"}, want: "http://h/authorizations/1"},
		{name: "forwarded host with user", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Host: u@a"}, want: "http://h/authorizations/1"},
		{name: "forwarded host with space", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "127.0.0.1:1", headers: []string{"X-Forwarded-Host: a b"}, want: "http://h/authorizations/1"},
		{name: "unix socket", cfg: authz.HandlerConfig{TrustedProxies: loopback}, target: "http://h" + path, remote: "@", headers: []string{"X-Forwarded-Proto: https"}, want: "http://h/authorizations/1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, _ := newManager(t, memory.New(), authz.Config{})
			h := newHandler(t, m, func(c *authz.HandlerConfig) {
				test.cfg.Authenticator = c.Authenticator
				*c = test.cfg
			})
			if test.wrap != nil {
				h = test.wrap(h)
			}
			for _, status := range []int{201, 200} {
				req := httptest.NewRequest(http.MethodPut, test.target, strings.NewReader(minimalBody))
				if scheme := strings.Index(test.target, "://"); scheme > 0 { // as a server sees it
					req.RequestURI = test.target[scheme+3+strings.IndexByte(test.target[scheme+3:], '/'):]
				}
				req.Header.Set("Authorization", basic("mona", password))
				for _, line := range test.headers {
					name, value, _ := strings.Cut(line, ": ")
					req.Header.Add(name, value)
				}
				if test.remote != "" {
					req.RemoteAddr = test.remote
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, req)
				got := read(t, rec.Result())
				if got.status != status || got.header.Get("Location") != test.want || got.decode(t)["url"] != test.want {
					t.Errorf("got %d Location %q url %v, want %d %q", got.status, got.header.Get("Location"), got.decode(t)["url"], status, test.want)
				}
			}
		})
	}
}

// The prefix is baked in: without it nothing answers.
func TestPrefix(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.Prefix, c.DocumentationURL, c.Realm = "/api/v3", "https://docs.example.com", "My API"
	})
	if a := s.put(t, "/api/v3"+path, minimalBody); a.status != 201 {
		t.Errorf("with prefix: %d %s", a.status, a.body)
	}
	for _, target := range []string{path, "/api/v3", "/api/v3/", "/api/v33" + path, "/api/v3/api/v3" + path, "/"} {
		if a := s.put(t, target, minimalBody, "Authorization:"); a.status != 404 || a.decode(t)["documentation_url"] != "https://docs.example.com" {
			t.Errorf("%s: %d %s, want 404 with the documentation_url", target, a.status, a.body)
		}
	}
	if a := s.send(t, "PATCH", "/api/v3/authorizations", "", "Authorization:"); a.status != 401 || a.header.Get("WWW-Authenticate") != `Basic realm="My API"` {
		t.Errorf("PATCH below the prefix: %d %v", a.status, a.header)
	}
}

// A path value of the router in front is no fingerprint.
func TestOuterPathValue(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	h := newHandler(t, m)
	req := httptest.NewRequest(http.MethodPut, path, strings.NewReader(minimalBody))
	req.Header.Set("Authorization", basic("mona", password))
	req.SetPathValue("fingerprint", "of the router")
	req.SetPathValue("client_id", otherClient)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if got := read(t, rec.Result()); got.status != 201 || got.decode(t)["fingerprint"] != "" {
		t.Errorf("got %d %s, want 201 and no fingerprint", got.status, got.body)
	}
}

func TestNewHandlerRefuses(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	auth := authz.BasicAuth(checkLogin)
	if _, err := authz.NewHandler(nil, authz.HandlerConfig{Authenticator: auth}); err == nil {
		t.Error("no Manager: no error")
	}
	if _, err := authz.NewHandler(m, authz.HandlerConfig{}); err == nil {
		t.Error("no Authenticator: no error")
	}
	for name, cfg := range map[string]authz.HandlerConfig{
		"prefix without /":       {Prefix: "api"},
		"prefix with / behind":   {Prefix: "/api/"},
		"prefix /":               {Prefix: "/"},
		"prefix with //":         {Prefix: "/a//b"},
		"prefix with ..":         {Prefix: "/a/../b"},
		"prefix with wildcard":   {Prefix: "/{x}"},
		"prefix with query":      {Prefix: "/a?b"},
		"BaseURL without scheme": {BaseURL: "api.example.com"},
		"BaseURL ftp":            {BaseURL: "ftp://example.com"},
		"BaseURL with query":     {BaseURL: "http://example.com?x"},
		"BaseURL with user":      {BaseURL: "http://u@example.com"},
		"realm with quote":       {Realm: `a"b`},
		"realm with newline":     {Realm: "a\nb"},
		"MaxBody":                {MaxBody: -1},
		"BodyTimeout":            {BodyTimeout: -1},
		"Timeout":                {Timeout: -1},
	} {
		cfg.Authenticator = auth
		if _, err := authz.NewHandler(m, cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// dial opens a connection to the server, on which whole requests are written.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func (s *server) dial(t testing.TB) *conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &conn{c, bufio.NewReader(c)}
}

func (c *conn) write(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func (c *conn) read(t testing.TB) answer {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

// Scripts look for the header letter by letter, as GitHub wrote it, and net/http
// would write it otherwise. Who tests with a recorder finds it as ever.
func TestOTPHeaderIsSpelledAsGitHubDid(t *testing.T) {
	s := newServer(t)
	c := s.dial(t)
	c.write(t, "POST /authorizations HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: "+basic("hubot", password)+"\r\n\r\n")
	sent, err := io.ReadAll(c.r)
	if err != nil || strings.Count(string(sent), "\r\nX-GitHub-OTP: required; app\r\n") != 1 || strings.Contains(string(sent), "X-Github-Otp") {
		t.Errorf("on the wire: %q, %v, want X-GitHub-OTP once", sent, err)
	}
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/authorizations", nil)
	req.Header.Set("Authorization", basic("hubot", password))
	s.Config.Handler.ServeHTTP(rec, req)
	if got := rec.Header().Get("X-GitHub-OTP"); got != "required; app" {
		t.Errorf("in a recorder: %q", got)
	}
}

// head is a request up to its own headers, for raw connections.
func head(target string, headers ...string) string {
	lines := append([]string{"PUT " + target + " HTTP/1.1", "Host: api.example.com", "Authorization: " + basic("mona", password)}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func TestSlowBody(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.BodyTimeout = 50 * time.Millisecond })
	for name, start := range map[string]string{
		"nothing":      head(path, "Content-Length: 100"),
		"half":         head(path, "Content-Length: 100") + minimalBody[:20],
		"chunked":      head(path, "Transfer-Encoding: chunked") + "5\r\n{\"cli",
		"chunk header": head(path, "Transfer-Encoding: chunked") + "5",
	} {
		c := s.dial(t)
		c.write(t, start)
		got := c.read(t)
		checkCommon(t, name, got)
		if got.status != 408 {
			t.Errorf("%s: %d, want 408", name, got.status)
		}
		if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the answer: %v, want EOF", name, err)
		}
	}
	// Refused, whatever its body: that may not hold up the answer for longer.
	c := s.dial(t)
	c.write(t, strings.Replace(head(path, "Content-Length: 100"), "Authorization", "X-Authorization", 1)+"{")
	if got := c.read(t); got.status != 401 {
		t.Errorf("slow body without credentials: %d, want 401", got.status)
	}
	if n := s.store.created.Load(); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Who is shut out while a body is on its way gets no token for it: revoking all
// that there are has not seen that one.
func TestShutOutDuringBody(t *testing.T) {
	var disabled atomic.Bool
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.Authenticator = authz.BasicAuth(func(ctx context.Context, c authz.Credentials) (authz.User, error) {
			if disabled.Load() {
				return authz.User{}, authz.ErrBadCredentials
			}
			return checkLogin(ctx, c)
		})
	})
	c := s.dial(t)
	c.write(t, head(path, "Content-Length: "+strconv.Itoa(len(minimalBody)))+minimalBody[:20])
	time.Sleep(50 * time.Millisecond)
	disabled.Store(true)
	if _, err := s.m.RevokeAll(t.Context(), authz.Revocation{Owner: owner}); err != nil {
		t.Fatal(err)
	}
	c.write(t, minimalBody[20:])
	if got := c.read(t); got.status != 401 || s.store.created.Load() != 0 {
		t.Errorf("%d %s and %d rows, want 401 and none", got.status, got.body, s.store.created.Load())
	}
}

// The deadline of one body is not that of the next request, nor of the work.
func TestConnectionIsUsedAgain(t *testing.T) {
	slow := &slowStore{Store: memory.New(), wait: make(chan struct{})}
	s := newServerOn(t, slow, authz.Config{}, func(c *authz.HandlerConfig) { c.BodyTimeout = 50 * time.Millisecond })
	length := "Content-Length: " + strconv.Itoa(len(minimalBody))
	c := s.dial(t)
	c.write(t, head(path+"/1", length)+minimalBody)
	time.AfterFunc(150*time.Millisecond, func() { close(slow.wait) }) // the store takes longer than the body may
	if got := c.read(t); got.status != 201 {
		t.Errorf("slow store: %d %s, want 201", got.status, got.body)
	}
	time.Sleep(100 * time.Millisecond) // and the connection idles for longer
	for _, test := range []struct {
		request string
		status  int
	}{
		{head(path+"/2", length) + minimalBody, 201},
		{head(path+"/2", "Content-Length: 1") + "x", 400},
		{strings.Replace(head(path, "Content-Length: 1")+"x", "Authorization", "X-A", 1), 401},
		{head("/nowhere", "Content-Length: 1") + "x", 404},
		{head(path+"/3", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(minimalBody), minimalBody), 201},
		{head(path+"/3", length) + minimalBody, 200},
	} {
		c.write(t, test.request)
		if got := c.read(t); got.status != test.status {
			t.Errorf("got %d %s, want %d", got.status, got.body, test.status)
		}
		time.Sleep(60 * time.Millisecond)
	}
}

// slowStore waits in GetOrCreate.
type slowStore struct {
	store.Store
	wait chan struct{} // until it is closed
}

func (s *slowStore) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	select {
	case <-s.wait:
		return s.Store.GetOrCreate(ctx, c)
	case <-ctx.Done():
		return store.Authorization{}, false, ctx.Err()
	}
}

// A store or an Authenticator that hangs is answered for by the deadline.
func TestHangingStore(t *testing.T) {
	hangs := &slowStore{Store: memory.New(), wait: make(chan struct{})}
	s := newServerOn(t, hangs, authz.Config{}, func(c *authz.HandlerConfig) {
		c.Timeout, c.BodyTimeout = 100*time.Millisecond, time.Minute
		check := c.Authenticator
		c.Authenticator = authenticatorFunc(func(r *http.Request) (authz.User, error) {
			if r.Header.Get("X-Hang") != "" {
				<-r.Context().Done()
				return authz.User{}, r.Context().Err()
			}
			return check.Authenticate(r)
		})
	})
	for _, header := range []string{"X-Hang:", "X-Hang: yes"} {
		start := time.Now()
		got := s.put(t, path, minimalBody, header)
		checkCommon(t, header, got)
		if took := time.Since(start); took > time.Second || got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d after %v, want 503 with Retry-After after 100 ms", header, got.status, took)
		}
	}
	close(hangs.wait)
	if got := s.put(t, path, minimalBody); got.status != 201 {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
}

type authenticatorFunc func(r *http.Request) (authz.User, error)

func (f authenticatorFunc) Authenticate(r *http.Request) (authz.User, error) { return f(r) }

// A store's error is 503, whatever it wraps: never 401, 404, 409 or 422.
func TestStoreErrorsAre503(t *testing.T) {
	for _, cause := range []error{
		errors.New("connection refused"), context.DeadlineExceeded, context.Canceled, io.EOF, io.ErrUnexpectedEOF,
		store.ErrSchema, fmt.Errorf("x: %w", store.ErrConflict), &store.ConflictError{Field: "fingerprint"}, fmt.Errorf("x: %w", store.ErrNotFound),
	} {
		for _, where := range []string{"App", "GetOrCreate", "Replace"} {
			if where != "GetOrCreate" && errors.Is(cause, store.ErrNotFound) || where == "Replace" && errors.Is(cause, store.ErrConflict) {
				continue // there they have a meaning
			}
			broken := &brokenStore{Store: memory.New()}
			s := newServerOn(t, broken, authz.Config{})
			if got := s.put(t, path, minimalBody); got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			broken.where, broken.err = where, cause
			got := s.put(t, path, `{"client_secret":"`+clientSecret+`","on_existing":"rotate"}`)
			checkCommon(t, where, got)
			if got.status != 503 || got.header.Get("Retry-After") != "1" || got.decode(t)["message"] != "Service unavailable" {
				t.Errorf("%s fails with %v: %d %s, want 503", where, cause, got.status, got.body)
			}
			if strings.Contains(got.body, cause.Error()) || !strings.Contains(s.log.String(), cause.Error()) {
				t.Errorf("%s fails with %v: want the cause in the log and not in %s", where, cause, got.body)
			}
		}
	}
}

type brokenStore struct {
	store.Store
	where string
	err   error
}

func (s *brokenStore) App(ctx context.Context, id string) (store.App, error) {
	if s.where == "App" {
		return store.App{}, s.err
	}
	return s.Store.App(ctx, id)
}

func (s *brokenStore) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	if s.where == "GetOrCreate" {
		return store.Authorization{}, false, s.err
	}
	return s.Store.GetOrCreate(ctx, c)
}

func (s *brokenStore) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	if s.where == "Replace" {
		return store.Authorization{}, s.err
	}
	return s.Store.Replace(ctx, rec)
}

func TestBodyLimit(t *testing.T) {
	s := newServer(t)
	padded := func(n int) string { return minimalBody + strings.Repeat(" ", n-len(minimalBody)) }
	for n, status := range map[int]int{64 << 10: 201, 64<<10 + 1: 413, 1 << 20: 413} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(padded(n))
			if chunked {
				body = io.MultiReader(body)
			}
			req, err := http.NewRequest(http.MethodPut, s.URL+path+"/"+strconv.FormatBool(chunked), body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", basic("mona", password))
			if got := s.do(t, req); got.status != status {
				t.Errorf("%d bytes, chunked %v: %d %s, want %d", n, chunked, got.status, got.body, status)
			}
		}
	}
	// Refused by its Content-Length alone, before a byte of it has come.
	c := s.dial(t)
	c.write(t, head(path, "Content-Length: 9999999999"))
	if got := c.read(t); got.status != 413 {
		t.Errorf("announced body: %d, want 413", got.status)
	}
	small := newServer(t, func(c *authz.HandlerConfig) { c.MaxBody = int64(len(minimalBody)) })
	if got := small.put(t, path, minimalBody); got.status != 201 {
		t.Errorf("at MaxBody: %d", got.status)
	}
	if got := small.put(t, path, minimalBody+" "); got.status != 413 {
		t.Errorf("above MaxBody: %d", got.status)
	}
}

// Requests as net/http's client would not send them, but others may.
func TestRawRequests(t *testing.T) {
	s := newServer(t)
	length := "Content-Length: " + strconv.Itoa(len(minimalBody))
	addr := s.Listener.Addr().String()
	auth := "Authorization: " + basic("mona", password) + "\r\n"
	for _, test := range []struct {
		name, request string
		status        int
		location      string
	}{
		{"absolute form", head("http://other.example.com"+path+"/1", length) + minimalBody, 201, "http://other.example.com/authorizations/1"},
		{"HTTP/1.0 without Host", "PUT " + path + "/2 HTTP/1.0\r\n" + auth + length + "\r\n\r\n" + minimalBody, 201, "http://" + addr + "/authorizations/2"},
		{"HTTP/1.0 with Host", "PUT " + path + "/3 HTTP/1.0\r\nHost: old.example.com\r\n" + auth + length + "\r\n\r\n" + minimalBody, 201, "http://old.example.com/authorizations/3"},
		{"CRLF beyond the body", head(path+"/4", length) + minimalBody + "\r\n", 201, "http://api.example.com/authorizations/4"},
		{"chunk extension and trailer", head(path+"/5", "Transfer-Encoding: chunked", "Trailer: X-T") + fmt.Sprintf("%x;a=b\r\n%s\r\n0\r\nX-T: 1\r\n\r\n", len(minimalBody), minimalBody), 201, "http://api.example.com/authorizations/5"},
		{"asterisk", "PUT * HTTP/1.1\r\nHost: h\r\n" + auth + "Content-Length: 0\r\n\r\n", 404, ""},
		{"HEAD", "HEAD " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + auth + "\r\n", 405, ""},
		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n" + auth + "\r\n", 404, ""},
		{"CONNECT with our path", "CONNECT " + path + " HTTP/1.1\r\nHost: h:80\r\n" + auth + "\r\n", 405, ""},
	} {
		c := s.dial(t)
		c.write(t, test.request)
		method, _, _ := strings.Cut(test.request, " ")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if resp.StatusCode != test.status || resp.Header.Get("Location") != test.location {
			t.Errorf("%s: %d Location %q, want %d %q", test.name, resp.StatusCode, resp.Header.Get("Location"), test.status, test.location)
		}
	}
}

// Vault CVE-2024-8365, Gogs CVE-2026-26196: secrets in logs. All output but the
// answer that issues one is searched for every secret that was in play.
func TestCVE_2024_8365_NoSecretInAnyOutput(t *testing.T) {
	s := newServer(t)
	const wrong = "Wr0ngPassw0rd"
	var secrets []string
	var output strings.Builder
	keep := func(a answer) {
		fmt.Fprintln(&output, a.status, a.header, a.body)
	}
	issue := func(a answer) string {
		t.Helper()
		token, _ := a.decode(t)["token"].(string)
		if token == "" {
			t.Fatalf("no token: %d %s", a.status, a.body)
		}
		secrets = append(secrets, token)
		keep(answer{a.status, a.header, strings.Replace(a.body, token, "", 1)})
		return token
	}
	body := func(extra string) string { return `{"client_secret":"` + clientSecret + `"` + extra + `}` }
	first := issue(s.put(t, path, minimalBody))
	second := issue(s.put(t, path+"/fp", minimalBody))
	third := issue(s.put(t, path+"/fp", body(`,"on_existing":"rotate"`)))
	for _, token := range []string{first, second, third} {
		keep(s.put(t, path, minimalBody))
		keep(s.put(t, path, minimalBody, "Authorization: token "+token))
		keep(s.put(t, path, minimalBody, "Authorization: Bearer "+token))
		keep(s.put(t, path, minimalBody, "Authorization: "+basic(token, "x-oauth-basic")))
		keep(s.put(t, path, minimalBody, "Authorization: "+basic("mona", token)))
		keep(s.put(t, path, `{"client_secret":"`+token+`"}`))
		keep(s.put(t, path, `{"client_secret":["`+token+`"]}`))
		keep(s.put(t, path, body(`,"note":["`+token+`"]`)))
		keep(s.put(t, path, body(`,"note_url":"`+token+`"`)))
		keep(s.put(t, path, body(`,"on_existing":"`+token+`"`)))
		keep(s.put(t, path, body(`,"client_id":"`+token+`"`)))
		keep(s.put(t, path+"/"+token+"/x", minimalBody))
		keep(s.put(t, "/authorizations/clients/"+token, minimalBody))
		keep(s.send(t, "DELETE", "/applications/"+clientID+"/tokens/"+token, ""))
		keep(s.put(t, path+"?access_token="+token, minimalBody))
		if _, err := s.m.Verify(context.Background(), token); err != nil {
			fmt.Fprintf(&output, "%v %+v %#v", err, err, err)
		}
		rec, _ := s.m.Verify(context.Background(), token)
		fmt.Fprintf(&output, "%v %+v", rec, rec)
	}
	for _, login := range []string{"mona", "nemo", "hubot", "locked", "panics", "broken", "nobody"} {
		keep(s.put(t, path, minimalBody, "Authorization: "+basic(login, wrong), "X-GitHub-OTP: 987654"))
		keep(s.put(t, path, minimalBody, "Authorization: "+basic(login, password), "X-GitHub-OTP: 987654"))
	}
	app, rotated, err := s.m.RotateSecret(context.Background(), clientID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&output, "%v %+v %v", app, app, rotated)
	keep(s.put(t, path, `{"client_secret":"`+rotated.Reveal()+`","x":1}`))
	keep(s.put(t, path, `{"client_secret":"`+rotated.Reveal()+`"}`))

	secrets = append(secrets, clientSecret, rotated.Reveal(), password, wrong, otpCode, "987654",
		base64.StdEncoding.EncodeToString([]byte("mona:"+password)), basic("mona", wrong))
	for _, where := range []struct{ name, text string }{{"log", s.log.String()}, {"answers", output.String()}} {
		for i, secret := range secrets {
			if strings.Contains(where.text, secret) {
				at := strings.Index(where.text, secret)
				t.Errorf("%s: secret %d stands in %q", where.name, i, where.text[max(0, at-100):at+len(secret)])
			}
		}
	}
	for _, token := range secrets[:3] { // no hash of a token in the log either
		if strings.Contains(s.log.String(), store.HashOf(token).Hex()) {
			t.Error("log: the hash of a token")
		}
	}
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	if len(lines) < 50 || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "panic: the user table is on fire") }) {
		t.Errorf("the log has %d lines; was it on, with the panic's cause?", len(lines))
	}
}

// golang-jwt CVE-2025-30204, Vault CVE-2023-6337: memory from input that nobody
// has authenticated. The body of such a request is read up to its limit, since
// whoever is let in must be so when the work begins.
func TestCVE_2023_6337_BoundedBeforeAuthentication(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	h := newHandler(t, m)
	for name, auth := range map[string]string{
		"none": "", "wrong": basic("mona", "x"), "huge": "Basic " + strings.Repeat("A", 900_000), "huge password": basic("mona", strings.Repeat("x", 100_000)),
	} {
		body := &countingReader{r: strings.NewReader(strings.Repeat(" ", 1<<20))}
		req := httptest.NewRequest(http.MethodPut, path, body)
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != 401 || body.n > 64<<10+1 {
			t.Errorf("%s: %d after %d bytes of body, want 401 after no more than the limit", name, rec.Code, body.n)
		}
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// Vault CVE-2025-6014, OpenBao CVE-2025-55000: spellings of a code. The handler
// hands on what it got, but for spaces around it; it never repairs a code.
func TestCVE_2025_6014_CodesAreNotRepaired(t *testing.T) {
	s := newServer(t)
	for _, code := range []string{"123 456", "123-456", "0123456", "123456, 123456", "123456\u00a0", "１２３４５６", "+123456", "123456.0"} {
		if got := s.put(t, path, minimalBody, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+code); got.status != 401 {
			t.Errorf("%q: %d, want 401", code, got.status)
		}
	}
}

// openfga CVE-2026-55170: identifiers folded into one. Two spellings in paths
// and bodies are two authorizations.
func TestCVE_2026_55170_FingerprintsAreNotFolded(t *testing.T) {
	s := newServer(t)
	for i, f := range []string{"app", "App", "app%20", "%20app", "%C3%A9", "e%CC%81", "%EF%BF%BD", "ss", "%C3%9F"} {
		if got := s.put(t, path+"/"+f, minimalBody); got.status != 201 || got.id(t) != int64(i+1) {
			t.Errorf("%s: %d %s, want 201 and id %d", f, got.status, got.body, i+1)
		}
	}
}

// Gitea CVE-2026-20779: a code over Basic auth was never handed to who consumes
// it. Each path to the user goes by the Authenticator, once per request, code
// included.
func TestCVE_2026_20779_TheCodeReachesTheAuthenticatorOnce(t *testing.T) {
	var calls atomic.Int64
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.Authenticator = authz.BasicAuth(func(ctx context.Context, cred authz.Credentials) (authz.User, error) {
			if cred.OTP.Reveal() != otpCode {
				t.Errorf("%s: the code is not there", cred.Method)
			}
			calls.Add(1)
			return checkLogin(ctx, cred)
		})
	})
	for i, r := range [][2]string{{"PUT", path}, {"PUT", path + "/x"}, {"GET", path}, {"PATCH", "/authorizations"}, {"GET", "/authorizations/1"}, {"DELETE", "/authorizations/../x"}, {"PUT", path + "/a/b/c"}} {
		s.send(t, r[0], r[1], minimalBody, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode)
		if n := calls.Load(); n != int64(i+1) {
			t.Errorf("%s %s: %d calls in all, want %d", r[0], r[1], n, i+1)
		}
	}
}

// HTTP/2 has its own deadlines and no Connection header.
func TestHTTP2(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ts := httptest.NewUnstartedServer(newHandler(t, m, func(c *authz.HandlerConfig) { c.BodyTimeout = 100 * time.Millisecond }))
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	s := &server{Server: ts}
	for _, status := range []int{201, 200} {
		a := s.put(t, path+"/a%2Fb", minimalBody)
		checkCommon(t, "HTTP/2", a)
		if a.status != status || a.header.Get("Location") != ts.URL+"/authorizations/1" || a.decode(t)["fingerprint"] != "a/b" {
			t.Errorf("%d Location %q %s, want %d", a.status, a.header.Get("Location"), a.body, status)
		}
	}
	slow, end := io.Pipe()
	defer end.Close()
	req, err := http.NewRequest(http.MethodPut, ts.URL+path, slow)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", basic("mona", password))
	if a := s.do(t, req); a.status != 408 {
		t.Errorf("slow body: %d %s, want 408", a.status, a.body)
	}
	if a := s.put(t, path, minimalBody+strings.Repeat(" ", 64<<10)); a.status != 413 {
		t.Errorf("large body: %d, want 413", a.status)
	}
	if a := s.put(t, path, minimalBody); a.status != 201 {
		t.Errorf("afterwards: %d %s, want 201", a.status, a.body)
	}
}

// A panic is a 500 that says nothing, wherever it comes from; ErrAbortHandler
// stays what net/http makes of it.
func TestPanics(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.Authenticator = authenticatorFunc(func(r *http.Request) (authz.User, error) {
			if r.Header.Get("X-Abort") != "" {
				panic(http.ErrAbortHandler)
			}
			panic("a nil map of users")
		})
	})
	got := s.put(t, path, minimalBody)
	checkCommon(t, "panic", got)
	if log := s.log.String(); got.status != 500 || strings.Contains(got.body, "nil map") || !strings.Contains(log, "nil map") ||
		!strings.Contains(log, "TestPanics") || !strings.Contains(log, got.header.Get("X-Request-Id")) {
		t.Errorf("%d %s, want 500 with the cause, its stack and the request's id in the log alone:\n%s", got.status, got.body, log)
	}
	c := s.dial(t)
	c.write(t, head(path, "Content-Length: 0", "X-Abort: yes"))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("ErrAbortHandler: read %v, want EOF", err)
	}
}

// npm's github package writes a line end behind its bodies, and Node keeps its
// connections: the line end must not become the next request.
func TestStrayLineEndAfterABody(t *testing.T) {
	s := newServer(t)
	request := func(connection string) string {
		return "PUT " + path + " HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: " + basic("mona", password) + "\r\n" +
			connection + "Content-Length: " + strconv.Itoa(len(minimalBody)) + "\r\n\r\n" + minimalBody
	}
	for _, end := range []string{"\n", "\r\n"} {
		c := s.dial(t)
		c.write(t, request("Connection: keep-alive\r\n")+end)
		resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPut})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || !resp.Close {
			t.Errorf("body and %q: connection kept (%v), want it closed", end, err)
		}
		if rest, err := io.ReadAll(c.r); len(rest) != 0 || err != nil {
			t.Errorf("body and %q: after the answer came %q, %v; want nothing", end, rest, err)
		}
	}
	// Who does not ask for keep-alive keeps the connection.
	c := s.dial(t)
	for range 3 {
		c.write(t, request(""))
		resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPut})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close || resp.StatusCode/100 != 2 {
			t.Errorf("status %d, closed %v, %v; want the connection kept", resp.StatusCode, resp.Close, err)
		}
	}
}
