package authz_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func newMiddleware(t testing.TB, m *authz.Manager, cfg authz.MiddlewareConfig) func(http.Handler) http.Handler {
	t.Helper()
	mw, err := authz.NewMiddleware(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return mw
}

// hello says who came through.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	a, ok := authz.FromContext(r.Context())
	if !ok {
		a = &authz.Authorization{}
	}
	fmt.Fprintf(w, "%q %q %v", a.Owner, a.Scopes, ok)
})

// ask sends a request to h by no network. Header lines are "Name: value"; a header can
// be there several times, and its value is not touched.
func ask(t testing.TB, h http.Handler, headers ...string) answer {
	t.Helper()
	return askAs(t, h, http.MethodGet, "/", "", headers...)
}

func askAs(t testing.TB, h http.Handler, method, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// wantRefusal checks all that is the same for every refusal.
func wantRefusal(t testing.TB, name string, got answer, status int, challenges []string, body map[string]any) {
	t.Helper()
	if got.status != status || !slices.Equal(got.header["Www-Authenticate"], challenges) {
		t.Errorf("%s: %d %q, want %d %q", name, got.status, got.header["Www-Authenticate"], status, challenges)
	}
	var decoded map[string]any
	if err := json.Unmarshal([]byte(got.body), &decoded); err != nil || fmt.Sprint(decoded) != fmt.Sprint(body) {
		t.Errorf("%s: body %s (%v), want %v", name, got.body, err, body)
	}
	for header, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": jsonType, "Content-Length": strconv.Itoa(len(got.body)),
	} {
		if v := got.header.Get(header); v != want {
			t.Errorf("%s: %s = %q, want %q", name, header, v, want)
		}
	}
	if v := strings.Join(got.header["Vary"], ", "); !strings.Contains(v, "Accept") || !strings.Contains(v, "Authorization") {
		t.Errorf("%s: Vary = %q", name, v)
	}
	if retry := got.header.Get("Retry-After"); (retry == "1") != (status == 503) {
		t.Errorf("%s: %d with Retry-After %q", name, status, retry)
	}
}

// What the refusals say.
var (
	noCredentials = map[string]any{"message": "Requires authentication"}
	badToken      = map[string]any{
		"message": "Bad credentials", "error": "invalid_token", "error_description": "The token is malformed, unknown, revoked or expired",
	}
	malformed = map[string]any{
		"message": "The Authorization header is malformed", "error": "invalid_request", "error_description": "The Authorization header is malformed",
	}
	several = map[string]any{
		"message": "Request has more than one Authorization header", "error": "invalid_request", "error_description": "Request has more than one Authorization header",
	}
	unavailable = map[string]any{"message": "Service unavailable"}

	bearerChallenge    = []string{`Bearer realm="authz"`}
	badTokenChallenge  = []string{`Bearer realm="authz", error="invalid_token", error_description="The token is malformed, unknown, revoked or expired"`}
	malformedChallenge = []string{`Bearer realm="authz", error="invalid_request", error_description="The Authorization header is malformed"`}
	severalChallenge   = []string{`Bearer realm="authz", error="invalid_request", error_description="Request has more than one Authorization header"`}
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// unknownToken has the form of a token, and nobody has made it.
var unknownToken = "azt_" + strings.Repeat("A", 30) + "0uCPlr"

func TestNewMiddlewareRefuses(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	if _, err := authz.NewMiddleware(nil, authz.MiddlewareConfig{}); err == nil {
		t.Error("no Manager: no error")
	}
	for name, cfg := range map[string]authz.MiddlewareConfig{
		"quote":    {Realm: `a"b`},
		"newline":  {Realm: "a\nb"},
		"no ASCII": {Realm: "é"},
		"timeout":  {Timeout: -1},
	} {
		if _, err := authz.NewMiddleware(m, cfg); err == nil || !strings.HasPrefix(err.Error(), "authz: MiddlewareConfig.") {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

// Every way to send a token, and every way to send none: with Basic switched off and on.
func TestMiddlewareAuthorization(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{Lifetime: time.Hour})
	ctx := context.Background()
	expired := mustCreate(t, m, personal("expired")).Token.Reveal()
	c.Add(time.Hour)
	token := mustCreate(t, m, request(scopes("repo", "user"))).Token.Reveal()
	other := mustCreate(t, m, request(by("user-2"))).Token.Reveal()
	revoked := mustCreate(t, m, request()).Token.Reveal()
	if err := m.Revoke(ctx, clientID, revoked); err != nil {
		t.Fatal(err)
	}
	orphan := mustCreate(t, m, request(forApp(register(t, m, otherClient).ClientID))).Token.Reveal()
	if _, err := m.DeleteApp(ctx, otherClient); err != nil {
		t.Fatal(err)
	}
	kelvin := "to\u212aen " + token
	const (
		pass = iota
		none // no credentials
		odd  // malformed
		bad  // invalid token
		two
	)
	for _, test := range []struct {
		name            string
		want, withBasic int
		headers         []string
	}{
		{"nothing", none, none, nil},
		{"Bearer", pass, pass, []string{"Authorization: Bearer " + token}},
		{"token", pass, pass, []string{"Authorization: token " + token}},
		{"lower case", pass, pass, []string{"Authorization: bearer " + token}},
		{"upper case", pass, pass, []string{"Authorization: BEARER " + token}},
		{"mixed case", pass, pass, []string{"Authorization: ToKeN " + token}},
		{"several spaces", pass, pass, []string{"Authorization: Bearer    " + token}},
		{"spaces around", pass, pass, []string{"Authorization:   Bearer " + token + " \t"}},

		{"empty", none, none, []string{"Authorization: "}},
		{"spaces", none, none, []string{"Authorization:  \t "}},
		{"Digest", none, none, []string{`Authorization: Digest username="x"`}},
		{"Negotiate", none, none, []string{"Authorization: Negotiate YII="}},
		{"bare token", none, none, []string{"Authorization: " + token}},
		{"run together", none, none, []string{"Authorization: Bearer" + token}},
		{"in X-Authorization", none, none, []string{"X-Authorization: Bearer " + token}},
		{"in Proxy-Authorization", none, none, []string{"Proxy-Authorization: Bearer " + token}},
		{"in a cookie", none, none, []string{"Cookie: access_token=" + token}},

		{"scheme alone", odd, odd, []string{"Authorization: Bearer"}},
		{"scheme and space", odd, odd, []string{"Authorization: Bearer "}},
		{"scheme and padding", odd, odd, []string{"Authorization: Bearer ==="}},
		{"tab", odd, odd, []string{"Authorization: Bearer\t" + token}},
		{"tab after space", odd, odd, []string{"Authorization: Bearer \t" + token}},
		{"colon", odd, odd, []string{"Authorization: Bearer: " + token}},
		{"quotes", odd, odd, []string{`Authorization: Bearer "` + token + `"`}},
		{"Rails", odd, odd, []string{`Authorization: Token token="` + token + `"`}},
		{"two tokens", odd, odd, []string{"Authorization: Bearer " + token + " " + other}},
		{"two tokens in a list", odd, odd, []string{"Authorization: Bearer " + token + ", Bearer " + other}},
		{"parameters", odd, odd, []string{"Authorization: Bearer " + token + `, realm="x"`}},
		{"newline", odd, odd, []string{"Authorization: Bearer " + token + "\n"}},
		{"CR LF and a header", odd, odd, []string{"Authorization: Bearer " + token + "\r\nX-Admin: 1"}},
		{"NUL behind", odd, odd, []string{"Authorization: Bearer " + token + "\x00"}},
		{"NUL in front", odd, odd, []string{"Authorization: \x00Bearer " + token}},
		{"NUL for the space", odd, odd, []string{"Authorization: Bearer\x00" + token}},
		{"no UTF-8", odd, odd, []string{"Authorization: Bearer \xff\xfe"}},
		{"a wide space", odd, odd, []string{"Authorization: Bearer\u00a0" + token}},
		{"wide letters", odd, odd, []string{"Authorization: Ｂｅａｒｅｒ " + token}},
		{"Kelvin", odd, odd, []string{"Authorization: " + kelvin}},
		{"garbage", odd, odd, []string{"Authorization: ][;'/.,"}},
		{"huge", odd, odd, []string{"Authorization: Bearer " + strings.Repeat("a", 5000)}},
		{"huge scheme", odd, odd, []string{"Authorization: " + strings.Repeat("a", 5000)}},
		{"huge, of spaces", odd, odd, []string{"Authorization: Bearer " + strings.Repeat(" ", 5000) + token}},

		{"unknown", bad, bad, []string{"Authorization: Bearer " + unknownToken}},
		{"expired", bad, bad, []string{"Authorization: Bearer " + expired}},
		{"revoked", bad, bad, []string{"Authorization: Bearer " + revoked}},
		{"of an app that is gone", bad, bad, []string{"Authorization: Bearer " + orphan}},
		{"a JWT", bad, bad, []string{"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyLTEifQ."}},
		{"cut short", bad, bad, []string{"Authorization: Bearer " + token[:len(token)-1]}},
		{"cut in front", bad, bad, []string{"Authorization: Bearer " + token[1:]}},
		{"padded", bad, bad, []string{"Authorization: Bearer " + token + "="}},
		{"other case", bad, bad, []string{"Authorization: Bearer " + strings.ToUpper(token)}},
		{"twice", bad, bad, []string{"Authorization: Bearer " + token + token}},
		{"base64 of a token", bad, bad, []string{"Authorization: Bearer " + b64(token)}},
		{"a hash", bad, bad, []string{"Authorization: Bearer " + store.HashOf(token).Hex()}},

		{"two headers", two, two, []string{"Authorization: Bearer " + token, "Authorization: Bearer " + token}},
		{"two headers, one of them empty", two, two, []string{"Authorization: Bearer " + token, "Authorization: "}},
		{"two headers, Basic first", two, two, []string{"Authorization: Basic x", "Authorization: Bearer " + token}},

		{"Basic: user, no password", none, pass, []string{"Authorization: Basic " + b64(token+":")}},
		{"Basic: user, x-oauth-basic", none, pass, []string{"Authorization: Basic " + b64(token+":x-oauth-basic")}},
		{"Basic: password", none, pass, []string{"Authorization: Basic " + b64("mona:"+token)}},
		{"Basic: password, no user", none, pass, []string{"Authorization: Basic " + b64(":"+token)}},
		{"Basic: x-access-token", none, pass, []string{"Authorization: Basic " + b64("x-access-token:"+token)}},
		{"Basic: lower case", none, pass, []string{"Authorization: basic " + b64(token+":")}},
		{"Basic: no padding", none, pass, []string{"Authorization: Basic " + strings.TrimRight(b64(token+":"), "=")}},
		{"Basic: a newline inside", none, pass, []string{"Authorization: Basic " + b64(token+":x-oauth-basic\n")}},
		{"Basic: in two lines", none, pass, []string{"Authorization: Basic " + b64(token + ":x-oauth-basic")[:60] + " " + b64(token + ":x-oauth-basic")[60:]}},
		{"Basic: login and password", none, bad, []string{"Authorization: Basic " + b64("mona:"+password)}},
		{"Basic: user, other password", none, bad, []string{"Authorization: Basic " + b64(token+":x")}},
		{"Basic: X-OAuth-Basic", none, bad, []string{"Authorization: Basic " + b64(token+":X-OAuth-Basic")}},
		{"Basic: password with more", none, bad, []string{"Authorization: Basic " + b64("mona:"+token+":x")}},
		{"Basic: password with NUL", none, bad, []string{"Authorization: Basic " + b64("mona:"+token+"\x00")}},
		{"Basic: unknown token", none, bad, []string{"Authorization: Basic " + b64(unknownToken+":")}},
		{"Basic: revoked token", none, bad, []string{"Authorization: Basic " + b64("mona:"+revoked)}},
		{"Basic: two tokens", none, odd, []string{"Authorization: Basic " + b64(token+":"+other)}},
		{"Basic: two tokens, both the same", none, odd, []string{"Authorization: Basic " + b64(token+":"+token)}},
		{"Basic: no colon", none, odd, []string{"Authorization: Basic " + b64(token)}},
		{"Basic: nothing", none, odd, []string{"Authorization: Basic " + b64(":")}},
		{"Basic: nothing, x-oauth-basic", none, odd, []string{"Authorization: Basic " + b64(":x-oauth-basic")}},
		{"Basic: empty", none, odd, []string{"Authorization: Basic "}},
		{"Basic: not encoded", none, odd, []string{"Authorization: Basic " + token + ":"}},
		{"Basic: URL alphabet", none, odd, []string{"Authorization: Basic " + strings.NewReplacer("+", "-", "/", "_").Replace(b64("~~~???:"+token))}},
		{"Basic: stray bits", none, odd, []string{"Authorization: Basic " + strayBits(token+":x")}},
		{"Basic: padding inside", none, odd, []string{"Authorization: Basic " + b64(token + ":")[:8] + "=" + b64(token + ":")[8:]}},
		{"Basic: a newline in the code", none, odd, []string{"Authorization: Basic " + b64(token + ":")[:8] + "\n" + b64(token + ":")[8:]}},
		{"Basic: huge", none, odd, []string{"Authorization: Basic " + b64(strings.Repeat("a", 5000)+":"+token)}},
	} {
		for _, basic := range []bool{false, true} {
			h := newMiddleware(t, m, authz.MiddlewareConfig{Basic: basic})(hello)
			name, want := fmt.Sprintf("%s, Basic %v", test.name, basic), test.want
			if basic {
				want = test.withBasic
			} else if want == none && strings.Contains(test.name, "huge") {
				want = odd // whatever it is, it is not looked into
			}
			got := ask(t, h, test.headers...)
			if basic && got.status == 401 {
				challenges := got.header["Www-Authenticate"]
				if len(challenges) != 2 || challenges[1] != `Basic realm="authz"` {
					t.Errorf("%s: challenges %q, want one for Basic too", name, challenges)
					continue
				}
				got.header["Www-Authenticate"] = challenges[:1]
			}
			switch want {
			case pass:
				if got.status != 200 || got.body != `"user-1" ["repo" "user"] true` {
					t.Errorf("%s: %d %s, want 200", name, got.status, got.body)
				}
			case none:
				wantRefusal(t, name, got, 401, bearerChallenge, noCredentials)
			case odd:
				wantRefusal(t, name, got, 400, malformedChallenge, malformed)
			case bad:
				wantRefusal(t, name, got, 401, badTokenChallenge, badToken)
			case two:
				wantRefusal(t, name, got, 400, severalChallenge, several)
			}
		}
		// What other transports are told is the same.
		var values []string
		for _, line := range test.headers {
			if value, ok := strings.CutPrefix(line, "Authorization: "); ok {
				values = append(values, value)
			}
		}
		got, err := authz.BearerToken(values)
		wantErr := map[int]error{none: authz.ErrNoCredentials, odd: authz.ErrMalformedCredentials, two: authz.ErrMalformedCredentials}[test.want]
		if strings.Contains(test.name, "huge") {
			wantErr = authz.ErrMalformedCredentials
		}
		if !errors.Is(err, wantErr) || (err == nil) != (got != "") || test.want == pass && got != token {
			t.Errorf("%s: BearerToken: %v, want %v", test.name, err, wantErr)
		}
	}
}

// strayBits is base64 whose last character has bits that stand for nothing.
func strayBits(s string) string {
	for len(s)%3 != 1 {
		s += "x"
	}
	encoded := strings.TrimRight(b64(s), "=")
	return encoded[:len(encoded)-1] + string(encoded[len(encoded)-1]+1)
}

// A token is in the Authorization header or nowhere.
func TestMiddlewareReadsNoURLAndNoBody(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	h := newMiddleware(t, m, authz.MiddlewareConfig{Basic: true})(hello)
	challenges := []string{bearerChallenge[0], `Basic realm="authz"`}
	for _, target := range []string{"/?access_token=" + token, "/?token=" + token, "/?private_token=" + token, "http://" + token + ":x-oauth-basic@example.com/", "/" + token} {
		wantRefusal(t, target, askAs(t, h, http.MethodGet, target, ""), 401, challenges, noCredentials)
	}
	for _, contentType := range []string{"application/x-www-form-urlencoded", "application/json"} {
		got := askAs(t, h, http.MethodPost, "/", "access_token="+token, "Content-Type: "+contentType)
		wantRefusal(t, "body", got, 401, challenges, noCredentials)
	}
}

// The scopes go out in GitHub's letters, and the answer depends on who asks.
func TestMiddlewareHeaders(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	several := mustCreate(t, m, request(scopes("repo", "user"))).Token.Reveal()
	one := mustCreate(t, m, request(scopes("user"))).Token.Reveal()
	none := mustCreate(t, m, request(scopes())).Token.Reveal()
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "X-Mine")
		w.WriteHeader(http.StatusNoContent)
	})
	h := newMiddleware(t, m, authz.MiddlewareConfig{})(authz.RequireScopes()(inner))
	withVary := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Origin")
		h.ServeHTTP(w, r)
	})
	for range 2 { // what is shared between answers stays as it is
		for token, want := range map[string]string{several: "repo, user", one: "user", none: ""} {
			got := ask(t, h, "Authorization: Bearer "+token)
			if v := got.header["X-Oauth-Scopes"]; len(v) != 1 || v[0] != want {
				t.Errorf("X-OAuth-Scopes = %q, want %q", v, want)
			}
			if v := got.header["Vary"]; !slices.Equal(v, []string{"Authorization", "X-Mine"}) {
				t.Errorf("Vary = %q", v)
			}
			if got.header.Get("Cache-Control") != "" || got.status != 204 {
				t.Errorf("%d, Cache-Control %q: it is the host's", got.status, got.header.Get("Cache-Control"))
			}
		}
		if v := ask(t, withVary, "Authorization: Bearer "+one).header["Vary"]; !slices.Equal(v, []string{"Origin", "Authorization", "X-Mine"}) {
			t.Errorf("Vary = %q", v)
		}
		if v := ask(t, withVary).header["Vary"]; !slices.Equal(v, []string{"Origin", "Accept, Authorization"}) {
			t.Errorf("Vary of a refusal = %q", v)
		}
	}

	ts := httptest.NewServer(newMiddleware(t, m, authz.MiddlewareConfig{})(authz.RequireScopes("repo:read", "user")(inner)))
	t.Cleanup(ts.Close)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: token %s\r\nConnection: close\r\n\r\n", several)
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"HTTP/1.1 204 No Content\r\n", "\r\nX-OAuth-Scopes: repo, user\r\n", "\r\nX-Accepted-OAuth-Scopes: repo:read, user\r\n"} {
		if !bytes.Contains(raw, []byte(line)) {
			t.Errorf("no %q in\n%s", line, raw)
		}
	}
}

func TestRequireScopes(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	mw := newMiddleware(t, m, authz.MiddlewareConfig{Realm: "acme", Basic: true, DocumentationURL: "https://docs.example.com"})
	for _, test := range []struct {
		held, needed []string
		missing      string // "" lets the request pass
	}{
		{nil, nil, ""},
		{[]string{"user"}, nil, ""},
		{[]string{"repo"}, []string{"repo"}, ""},
		{[]string{"repo"}, []string{"repo:read"}, ""},
		{[]string{"repo", "user"}, []string{"public_repo", "user"}, ""},
		{nil, []string{"repo"}, "The token lacks the scope repo"},
		{[]string{"user"}, []string{"repo"}, "The token lacks the scope repo"},
		{[]string{"repo:read"}, []string{"repo"}, "The token lacks the scope repo"},
		{[]string{"repo"}, []string{"repo:status", "user"}, "The token lacks the scope user"},
		{[]string{"user"}, []string{"user", "repo", "public_repo"}, "The token lacks the scopes repo, public_repo"},
		{[]string{"repo"}, []string{"nobody-has-this"}, "The token lacks the scope nobody-has-this"},
	} {
		token := mustCreate(t, m, request(scopes(test.held...))).Token.Reveal()
		h := mw(authz.RequireScopes(test.needed...)(hello))
		name := fmt.Sprintf("%q of %q", test.needed, test.held)
		got := ask(t, h, "Authorization: Bearer "+token)
		if v := got.header.Get("X-Accepted-OAuth-Scopes"); v != strings.Join(test.needed, ", ") {
			t.Errorf("%s: X-Accepted-OAuth-Scopes = %q", name, v)
		}
		if v := got.header["X-Oauth-Scopes"]; len(v) != 1 || v[0] != strings.Join(test.held, ", ") {
			t.Errorf("%s: X-OAuth-Scopes = %q", name, v)
		}
		if test.missing == "" {
			if got.status != 200 || got.body != fmt.Sprintf(`"user-1" %q true`, test.held) {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
			continue
		}
		wantRefusal(t, name, got, 403, []string{
			`Bearer realm="acme", error="insufficient_scope", scope="` + strings.Join(test.needed, " ") + `", error_description="` + test.missing + `"`,
		}, map[string]any{
			"message": test.missing, "error": "insufficient_scope", "error_description": test.missing, "documentation_url": "https://docs.example.com",
		})
	}

	// One behind another: both must be content, and each says what it wants.
	h := mw(authz.RequireScopes("user")(authz.RequireScopes("repo")(hello)))
	for _, test := range []struct {
		held     []string
		status   int
		accepted string
	}{
		{[]string{"user", "repo"}, 200, "user, repo"},
		{[]string{"user"}, 403, "user, repo"},
		{[]string{"repo"}, 403, "user"},
	} {
		got := ask(t, h, "Authorization: Bearer "+mustCreate(t, m, request(scopes(test.held...))).Token.Reveal())
		if v := got.header.Get("X-Accepted-OAuth-Scopes"); got.status != test.status || v != test.accepted {
			t.Errorf("%q: %d, X-Accepted-OAuth-Scopes %q, want %d %q", test.held, got.status, v, test.status, test.accepted)
		}
	}

	// The list is the caller's.
	needed := []string{"repo"}
	h = mw(authz.RequireScopes(needed...)(hello))
	needed[0] = "user"
	if got := ask(t, h, "Authorization: Bearer "+mustCreate(t, m, request(scopes("user"))).Token.Reveal()); got.status != 403 {
		t.Errorf("a changed list: %d", got.status)
	}
	for _, bad := range []string{"", "a b", `a"b`, "é", "a\nb", strings.Repeat("a", authz.MaxScope+1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("RequireScopes(%q) does not panic", bad)
				}
			}()
			authz.RequireScopes("ok", bad)
		}()
	}
}

// Gitea CVE-2026-28699: for tokens that came by Basic authentication nobody had
// noted any scopes, and what is absent was not checked. Here every way in goes
// through one verification, and RequireScopes refuses where nothing was noted.
func TestCVE_2026_28699_AbsentScopesAreADenial(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	token := mustCreate(t, m, request(scopes("public_repo"))).Token.Reveal()
	ways := []string{
		"Authorization: Bearer " + token, "Authorization: token " + token,
		"Authorization: Basic " + b64(token+":x-oauth-basic"), "Authorization: Basic " + b64(token+":"), "Authorization: Basic " + b64("mona:"+token),
	}
	reached := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	needs := authz.RequireScopes("write:package")
	inFront := newMiddleware(t, m, authz.MiddlewareConfig{Basic: true})
	for _, way := range ways {
		if got := ask(t, inFront(needs(reached)), way); got.status != 403 {
			t.Errorf("%s…: %d, want 403", way[:20], got.status)
		}
		if got := ask(t, inFront(hello), way); got.body != `"user-1" ["public_repo"] true` {
			t.Errorf("%s…: %s", way[:20], got.body)
		}
	}
	// Nobody in front, the wrong way round, nobody let in, an authorization without
	// scopes, an empty one.
	optional := newMiddleware(t, m, authz.MiddlewareConfig{Optional: true})
	carry := func(a authz.Authorization) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			needs(reached).ServeHTTP(w, r.WithContext(m.NewContext(r.Context(), &a)))
		})
	}
	challenge := []string{`Bearer realm="authz", scope="write:package"`}
	for name, h := range map[string]http.Handler{"alone": needs(reached), "wrong way round": needs(inFront(reached)), "optional": optional(needs(reached))} {
		wantRefusal(t, name, ask(t, h), 401, challenge, noCredentials)
	}
	wantRefusal(t, "wrong way round, with a token", ask(t, needs(inFront(reached)), ways[0]), 401, challenge, noCredentials)
	wantRefusal(t, "no scopes, nobody in front", ask(t, authz.RequireScopes()(reached)), 401, bearerChallenge, noCredentials)
	for _, a := range []authz.Authorization{{}, {Scopes: []string{}}, {Scopes: []string{""}}, {Scopes: []string{"write"}}} {
		if got := ask(t, carry(a)); got.status != 403 {
			t.Errorf("%v: %d, want 403", a.Scopes, got.status)
		}
	}
}

func TestMiddlewareOptional(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	mw := newMiddleware(t, m, authz.MiddlewareConfig{Optional: true, Realm: "acme"})
	h := mw(hello)
	for _, headers := range [][]string{nil, {"Authorization: "}, {"Authorization: Digest x"}} {
		got := ask(t, h, headers...)
		if got.status != 200 || got.body != `"" [] false` || got.header.Get("Vary") != "Authorization" {
			t.Errorf("%q: %d %s, Vary %q", headers, got.status, got.body, got.header.Get("Vary"))
		}
		if v, ok := got.header["X-Oauth-Scopes"]; ok {
			t.Errorf("%q: X-OAuth-Scopes %q without a token", headers, v)
		}
	}
	if got := ask(t, h, "Authorization: Bearer "+token); got.body != `"user-1" ["public_repo"] true` {
		t.Errorf("%d %s", got.status, got.body)
	}
	for header, status := range map[string]int{"Bearer " + unknownToken: 401, "Bearer x": 401, "Bearer": 400, "][": 400} {
		if got := ask(t, h, "Authorization: "+header); got.status != status {
			t.Errorf("%s: %d, want %d", header, got.status, status)
		}
	}
	if got := ask(t, mw(authz.RequireScopes("user")(hello))); got.status != 401 || got.header.Get("Www-Authenticate") != `Bearer realm="acme", scope="user"` {
		t.Errorf("RequireScopes: %d %q", got.status, got.header["Www-Authenticate"])
	}
	// A host has verified something itself, further out.
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(m.NewContext(r.Context(), &authz.Authorization{Key: store.Key{Owner: "cookie"}})))
	})
	if got := ask(t, outer); got.body != `"cookie" [] true` {
		t.Errorf("an authorization of the host's own: %s", got.body)
	}
	if got := ask(t, outer, "Authorization: Bearer "+token); got.body != `"user-1" ["public_repo"] true` {
		t.Errorf("a token beside it: %s", got.body)
	}
	if got := ask(t, outer, "Authorization: Bearer "+unknownToken); got.status != 401 {
		t.Errorf("a bad token beside it: %d", got.status)
	}
}

func TestMiddlewareHead(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ts := httptest.NewServer(newMiddleware(t, m, authz.MiddlewareConfig{})(hello))
	t.Cleanup(ts.Close)
	resp, err := ts.Client().Head(ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	full := ask(t, newMiddleware(t, m, authz.MiddlewareConfig{})(hello))
	if got := read(t, resp); got.status != 401 || got.body != "" || got.header.Get("Content-Length") != strconv.Itoa(len(full.body)) {
		t.Errorf("%d, %q, Content-Length %s", got.status, got.body, got.header.Get("Content-Length"))
	}
	if got := askAs(t, newMiddleware(t, m, authz.MiddlewareConfig{})(hello), http.MethodHead, "/", ""); got.body != "" {
		t.Errorf("a body for HEAD: %q", got.body)
	}
}

// hookedStore does something before it looks for a token.
type hookedStore struct {
	store.Store
	before func(context.Context) error
}

func (s *hookedStore) Lookup(ctx context.Context, h store.Hash) (store.Authorization, store.Standing, error) {
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return store.Authorization{}, store.Standing{}, err
		}
	}
	return s.Store.Lookup(ctx, h)
}

// fosite CVE-2020-15223: a storage error was answered like a fact. A store that fails
// says nothing about a token.
func TestCVE_2020_15223_MiddlewareStoreErrorsAre503(t *testing.T) {
	for _, cause := range []error{
		errors.New("connection refused"), context.DeadlineExceeded, context.Canceled, io.EOF,
		store.ErrSchema, fmt.Errorf("x: %w", store.ErrConflict), &store.ConflictError{Field: "fingerprint"},
	} {
		s := &countingStore{Store: memory.New()}
		m, _ := newManager(t, s, authz.Config{})
		token := mustCreate(t, m, request()).Token.Reveal()
		log := new(lockedBuffer)
		cfg := authz.MiddlewareConfig{Basic: true, Optional: true, Logger: slog.New(slog.NewTextHandler(log, nil))}
		h := newMiddleware(t, m, cfg)(authz.RequireScopes("public_repo")(hello))
		s.fail(cause)
		for _, way := range []string{"Authorization: Bearer " + token, "Authorization: Basic " + b64(token+":")} {
			got := ask(t, h, way)
			wantRefusal(t, cause.Error(), got, 503, nil, unavailable)
			if strings.Contains(got.body, cause.Error()) {
				t.Errorf("the cause is told: %s", got.body)
			}
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), cause.Error()) {
			t.Errorf("no cause in the log: %s", log)
		}
		s.fail(nil)
		if got := ask(t, h, "Authorization: Bearer "+token); got.status != 200 {
			t.Errorf("after the store came back: %d", got.status)
		}
	}
}

// The end of Timeout ends the waiting, and whoever waits hears of it.
func TestMiddlewareTimeout(t *testing.T) {
	var looked func(ctx context.Context) error
	s := &hookedStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	s.before = func(ctx context.Context) error { return looked(ctx) }
	h := newMiddleware(t, m, authz.MiddlewareConfig{Timeout: 50 * time.Millisecond})(hello)
	for name, wait := range map[string]func(ctx context.Context) error{
		"Done": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"a derived context": func(ctx context.Context) error {
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("a derived context needs a goroutine (%d, then %d)", before, n)
			}
			<-ctx.Done()
			return ctx.Err()
		},
		"Deadline": func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) > 50*time.Millisecond {
				t.Errorf("deadline in %v, %v", time.Until(deadline), ok)
			}
			<-ctx.Done()
			return ctx.Err()
		},
		"Err": func(ctx context.Context) error {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
	} {
		var ended context.Context
		looked = func(ctx context.Context) error {
			ended = ctx //nolint:fatcontext // to be looked at afterwards
			err := wait(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: err = %v", name, err)
			}
			return err
		}
		start := time.Now()
		wantRefusal(t, name, ask(t, h, "Authorization: Bearer "+token), 503, nil, unavailable)
		if took := time.Since(start); took < 40*time.Millisecond || took > 2*time.Second {
			t.Errorf("%s: answered after %v, want 50 ms", name, took)
		}
		if err := ended.Err(); name == "Done" && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: afterwards err = %v", name, err)
		}
	}
	// The request's own end comes first, where that is earlier.
	for _, deadline := range []bool{false, true} {
		looked = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(context.Background())
		if deadline {
			ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
		} else {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		log := new(lockedBuffer)
		h := newMiddleware(t, m, authz.MiddlewareConfig{Timeout: time.Minute, Logger: slog.New(slog.NewTextHandler(log, nil))})(hello)
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		start := time.Now()
		h.ServeHTTP(w, r)
		cancel()
		if took := time.Since(start); w.Code != 503 || took > 2*time.Second {
			t.Errorf("deadline %v: %d after %v", deadline, w.Code, took)
		}
		// Who hangs up is no fault of this side; a deadline is.
		if got := strings.Contains(log.String(), "level=ERROR"); got != deadline {
			t.Errorf("deadline %v: %s", deadline, log)
		}
	}
	// What a store leaves behind is told to end.
	var left context.Context
	looked = func(ctx context.Context) error {
		left = ctx //nolint:fatcontext // as a store does that leaves its work behind
		return nil
	}
	if got := ask(t, h, "Authorization: Bearer "+token); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if err := left.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	select {
	case <-left.Done():
	case <-time.After(40 * time.Millisecond):
		t.Error("the context lives on after the verification")
	}
	if err := left.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// A panic while a token is verified lets nobody in, and is told in the log; one of the
// host's handler is the host's.
func TestMiddlewarePanics(t *testing.T) {
	s := &hookedStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	log := new(lockedBuffer)
	cfg := authz.MiddlewareConfig{Optional: true, Logger: slog.New(slog.NewTextHandler(log, nil))}
	h := newMiddleware(t, m, cfg)(hello)
	s.before = func(context.Context) error { panic("the table is on fire") }
	wantRefusal(t, "panic", ask(t, h, "Authorization: Bearer "+token), 500, nil, map[string]any{"message": "Internal Server Error"})
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "the table is on fire") {
		t.Errorf("log: %s", log)
	}
	s.before = nil
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v, want the handler's panic", p)
		}
	}()
	ask(t, newMiddleware(t, m, cfg)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })), "Authorization: Bearer "+token)
}

func TestMiddlewareProblemJSON(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	h := newMiddleware(t, m, authz.MiddlewareConfig{DocumentationURL: "https://docs.example.com"})(authz.RequireScopes("user")(hello))
	for accept, problem := range map[string]bool{
		"application/problem+json":                                                               true,
		"Application/Problem+JSON":                                                               true,
		"application/problem+json;q=0.001":                                                       true,
		"application/problem+json; q=1.000":                                                      true,
		"application/problem+json, */*":                                                          true,
		"application/problem+json, application/*":                                                true,
		"text/html, application/problem+json;q=0.5, */*;q=0.1":                                   true,
		"application/json;q=0.5, application/problem+json":                                       true,
		"application/problem+json;q=0.1, application/json;q=0.5, application/problem+json;q=0.9": true,
		"application/json;q=0, */*":                                                              true,
		"application/problem+json;charset=utf-8":                                                 true,
		"application/problem+json ; q=0.9 , application/json ;q=0.8 ":                            true,

		"":                        false,
		"*/*":                     false,
		"application/json":        false,
		"application/*":           false,
		"text/html":               false,
		"application/problem+xml": false,
		"application/problem+json, application/json":           false,
		"application/json, application/problem+json":           false,
		"application/problem+json;q=0.5, application/json":     false,
		"application/problem+json;q=0.5, */*":                  false,
		"application/problem+json;q=0":                         false,
		"application/problem+json;q=0, */*":                    false,
		"application/problem+json;q=2":                         false,
		"application/problem+json;q=-1":                        false,
		"application/problem+json;q=NaN":                       false,
		"application/problem+json;q=1e0":                       false,
		"application/problem+json;q=0x1":                       false,
		"application/problem+json;q=":                          false,
		"application/problem+json;q=0.12345":                   false,
		"application/problem+jsonx":                            false,
		"application/vnd.github.v3+json":                       false,
		",,;;q,=":                                              false,
		"application/problem+json" + strings.Repeat(" ", 5000): false, // bounded
	} {
		got := ask(t, h, "Accept: "+accept, "Authorization: Bearer "+token)
		want, body := jsonType, `{"documentation_url":"https://docs.example.com","error":"insufficient_scope","error_description":"The token lacks the scope user","message":"The token lacks the scope user"}`
		if problem {
			want, body = "application/problem+json", `{"detail":"The token lacks the scope user","documentation_url":"https://docs.example.com","error":"insufficient_scope","status":403,"title":"Forbidden"}`
		}
		decoded, err := json.Marshal(got.decode(t))
		if v := got.header.Get("Content-Type"); v != want || string(decoded) != body || err != nil {
			t.Errorf("Accept %.60q: %s %s, want %s %s", accept, v, decoded, want, body)
		}
	}
	for _, lines := range [][]string{{"text/html", "application/problem+json"}, {"application/json;q=0.2", "application/problem+json;q=0.3"}} {
		if got := ask(t, h, "Accept: "+lines[0], "Accept: "+lines[1]); got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%q: %s", lines, got.header.Get("Content-Type"))
		}
	}
	got := ask(t, h, "Accept: application/problem+json")
	if v, err := json.Marshal(got.decode(t)); err != nil || string(v) != `{"detail":"Requires authentication","documentation_url":"https://docs.example.com","status":401,"title":"Unauthorized"}` {
		t.Errorf("no credentials: %s", v)
	}
}

// A refused request whose body comes slowly, or never, has its answer soon, and its
// connection is not kept.
func TestMiddlewareRefusesSlowBodies(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ts := httptest.NewServer(newMiddleware(t, m, authz.MiddlewareConfig{Timeout: 100 * time.Millisecond})(hello))
	t.Cleanup(ts.Close)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nslow")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v, %v; want 401", resp, err)
	}
}

// The context is a context like any other.
func TestMiddlewareContext(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	token := mustCreate(t, m, request()).Token.Reveal()
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "outer"))
	defer cancel()
	h := newMiddleware(t, m, authz.MiddlewareConfig{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Context().Value(key{}); v != "outer" {
			t.Errorf("value %v", v)
		}
		inner, stop := context.WithCancel(context.WithValue(r.Context(), key{}, "inner"))
		defer stop()
		if a, ok := authz.FromContext(inner); !ok || a.Owner != owner {
			t.Errorf("%v, %v in a derived context", a, ok)
		}
		if text := fmt.Sprintf("%v %+v %s", r.Context(), inner, inner); strings.Contains(text, owner) || !strings.Contains(text, "authz.session") {
			t.Errorf("printed: %s", text)
		}
		cancel()
		select {
		case <-inner.Done():
		case <-time.After(5 * time.Second):
			t.Error("a derived context does not hear of the request's end")
		}
		// What goes on after the request keeps who it was.
		if _, ok := authz.FromContext(context.WithoutCancel(inner)); !ok {
			t.Error("WithoutCancel has lost the authorization")
		}
	}))
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	h.ServeHTTP(httptest.NewRecorder(), r)

	if _, ok := authz.FromContext(context.Background()); ok {
		t.Error("an authorization out of nowhere")
	}
	a := &authz.Authorization{Key: store.Key{Owner: owner}, Scopes: []string{"user"}}
	if got, ok := authz.FromContext(m.NewContext(context.Background(), a)); !ok || got.Owner != owner {
		t.Errorf("%v, %v", got, ok)
	}
	// NewContext inside of a middleware: what refuses is that one's.
	mw := newMiddleware(t, m, authz.MiddlewareConfig{Realm: "acme", Optional: true})
	got := ask(t, mw(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authz.RequireScopes("repo")(hello).ServeHTTP(w, r.WithContext(m.NewContext(r.Context(), a)))
	})))
	if v := got.header.Get("Www-Authenticate"); got.status != 403 || !strings.HasPrefix(v, `Bearer realm="acme", `) {
		t.Errorf("%d %s", got.status, v)
	}
}

// Vault CVE-2024-8365, Gogs CVE-2026-26196: tokens in logs and URLs. Of all that a
// middleware writes nothing holds a token, wherever the client has put it.
func TestCVE_2024_8365_NoTokenInMiddlewareOutput(t *testing.T) {
	s := &hookedStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	token := mustCreate(t, m, request(scopes("user"))).Token.Reveal()
	log := new(lockedBuffer)
	h := newMiddleware(t, m, authz.MiddlewareConfig{Basic: true, Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})(authz.RequireScopes("repo")(hello))
	lines := 0
	for _, before := range []func(context.Context) error{
		func(context.Context) error { return errors.New("away") },
		func(context.Context) error { panic("on fire") },
		nil,
	} {
		s.before = before
		for _, header := range []string{
			"", "Bearer " + token, "token " + token, token, token + " " + token, "Bearer" + token, "Bearer " + token + "\x00", "Bearer " + token[:39], token + "\x00",
			"Basic " + b64(token+":"), "Basic " + b64("x:"+token), "Basic " + b64(token), "Basic " + token, "Basic " + b64(token+":"+token), "Digest " + token,
		} {
			for _, target := range []string{"/", "/" + token, "/?access_token=" + token} {
				r := httptest.NewRequest(http.MethodGet, target, nil)
				r.Header.Set("Authorization", header)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code < 400 {
					t.Fatalf("%q: %d", header, w.Code)
				}
				var text bytes.Buffer
				_ = w.Result().Write(&text)
				for name, output := range map[string]string{"answer": text.String(), "log": log.String()} {
					if strings.Contains(output, token[:39]) || strings.Contains(output, b64(token)[:40]) || strings.Contains(output, store.HashOf(token).Hex()) {
						t.Fatalf("%q, %s: a token in the %s: %s", header, target, name, output)
					}
				}
				lines++
				if n := strings.Count(log.String(), "\n"); n != lines {
					t.Fatalf("%d lines in the log after %d refusals", n, lines)
				}
			}
		}
	}
	for _, want := range []string{`"status":401`, `"status":400`, `"status":403`, `"status":503`, `"status":500`, `"user":"user-1"`, `"error":"authz: The token lacks the scope repo"`, `"method":"GET"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
	// Errors of the parts, too.
	for _, err := range []error{authz.ErrMalformedCredentials, authz.ErrInvalidToken} {
		if strings.Contains(err.Error(), token) {
			t.Error(err)
		}
	}
}

// golang-jwt CVE-2025-30204, Vault CVE-2023-6337: memory from input that nobody has
// authenticated.
func TestCVE_2025_30204_MiddlewareBoundsHeaders(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	h := newMiddleware(t, m, authz.MiddlewareConfig{Basic: true})(hello)
	for _, header := range []string{
		"Bearer " + strings.Repeat(".", 1<<20), "Bearer " + strings.Repeat(" ", 1<<20), "Basic " + strings.Repeat("QUFB", 1<<18), "Basic " + strings.Repeat(" ", 1<<20), strings.Repeat("x", 1<<20),
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{header}
		r.Header["Accept"] = []string{strings.Repeat("application/problem+json,", 1<<16)}
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for range runs {
			h.ServeHTTP(&written{header: http.Header{}}, r)
		}
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 16<<10 {
			t.Errorf("%.20s…: %d bytes for a refusal", header, n)
		}
		if took > runs*5*time.Millisecond {
			t.Errorf("%.20s…: %v for %d refusals", header, took, runs)
		}
	}
}

// Many at once, each with their own.
func TestMiddlewareConcurrently(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{MaxPerScopes: -1})
	h := newMiddleware(t, m, authz.MiddlewareConfig{})(authz.RequireScopes("user")(hello))
	var wg sync.WaitGroup
	for i := range 8 {
		user := fmt.Sprint("user-", i)
		token := mustCreate(t, m, request(by(user), scopes("user", fmt.Sprint("s", i)))).Token.Reveal()
		wg.Go(func() {
			for range 50 {
				got := ask(t, h, "Authorization: Bearer "+token)
				if want := fmt.Sprintf(`%q ["user" "s%d"] true`, user, i); got.body != want || got.header.Get("X-OAuth-Scopes") != fmt.Sprint("user, s", i) {
					t.Errorf("%s %q, want %s", got.body, got.header.Get("X-OAuth-Scopes"), want)
				}
			}
		})
	}
	wg.Wait()
}

// What the middleware itself costs beside Verify: the session and the copy of the
// request.
func TestMiddlewareAllocations(t *testing.T) {
	m, _, _ := startCaching(t, newWatchedStore(), authz.Config{Scopes: family()})
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if a, ok := authz.FromContext(r.Context()); !ok || a.Owner != owner {
			t.Error("nobody")
		}
	})
	h := newMiddleware(t, m, authz.MiddlewareConfig{Basic: true})(authz.RequireScopes("repo:read")(next))
	for _, test := range []struct {
		scopes []string
		want   float64
	}{{[]string{"repo"}, 2}, {[]string{"user", "repo"}, 2}} {
		token := mustCreate(t, m, request(scopes(test.scopes...))).Token.Reveal()
		verify := testing.AllocsPerRun(200, func() {
			if _, err := m.Verify(context.Background(), token); err != nil {
				t.Error(err)
			}
		})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := &written{header: http.Header{}}
		all := testing.AllocsPerRun(200, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		})
		if got := all - verify; got > test.want {
			t.Errorf("%q: %v allocations beside the %v of Verify, want %v", test.scopes, got, verify, test.want)
		}
	}
}

var bearerForm = regexp.MustCompile(`^[ \t]*([bB][eE][aA][rR][eE][rR]|[tT][oO][kK][eE][nN]) +([A-Za-z0-9._~+/-]+=*)[ \t]*$`)

// Whatever a header holds, there is an answer, 2xx only for a live token, and the same
// one from BearerToken.
func FuzzAuthorization(f *testing.F) {
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		f.Fatal(err)
	}
	register(f, m, clientID)
	token := mustCreate(f, m, request()).Token.Reveal()
	for _, s := range []string{
		"", " ", "Bearer {}", "bearer  {}", "TOKEN {}", "token {} {}", "Bearer {}=", "Bearer\t{}", "Bearer {}\n", "\x00", "Basic", "Basic {}", "Basic e30=", "Digest x", "Bearer ====", "Bearer", "{}", "Bearer, {}", "to\u212aen {}",
	} {
		f.Add(s, "", false)
	}
	for _, s := range []string{"{}:", ":{}", "{}:x-oauth-basic", "{}:{}", "a:b:c", ":", "", "mona:{}\r\n", "mona:{}\x00"} {
		f.Add("Basic ", s, true)
	}
	off, on := newMiddleware(f, m, authz.MiddlewareConfig{})(hello), newMiddleware(f, m, authz.MiddlewareConfig{Basic: true})(hello)
	f.Fuzz(func(t *testing.T, value, encoded string, twice bool) {
		value = strings.ReplaceAll(value, "{}", token)
		encoded = strings.ReplaceAll(encoded, "{}", token)
		if encoded != "" {
			value += b64(encoded)
		}
		values := []string{value}
		send := func(h http.Handler, values []string) int {
			r := &http.Request{Method: http.MethodGet, Header: http.Header{"Authorization": values}, Body: http.NoBody}
			w := &written{header: http.Header{}}
			h.ServeHTTP(w, r)
			if w.status == 0 {
				w.status = 200
			}
			if w.status != 200 && strings.Contains(w.body.String(), token) {
				t.Fatalf("the token is in %s", &w.body)
			}
			return w.status
		}
		if twice && send(on, []string{value, value}) != 400 {
			t.Fatalf("%q twice is not 400", value)
		}
		without, with := send(off, values), send(on, values)
		form := bearerForm.FindStringSubmatch(value)
		got, err := authz.BearerToken(values)
		switch {
		case form != nil && len(value) <= 4096:
			if want := map[bool]int{true: 200, false: 401}[form[2] == token]; without != want || with != want || err != nil || got != form[2] {
				t.Fatalf("%q: %d and %d, want %d; BearerToken %v", value, without, with, want, err)
			}
		case err == nil || got != "":
			t.Fatalf("%q: BearerToken gives %d bytes", value, len(got))
		case errors.Is(err, authz.ErrNoCredentials):
			if without != 401 {
				t.Fatalf("%q: %d, want 401", value, without)
			}
		case !errors.Is(err, authz.ErrMalformedCredentials) || without != 400:
			t.Fatalf("%q: %d, %v", value, without, err)
		}
		if with == 200 && without != 200 { // by Basic
			raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(strings.Trim(value, " \t")[6:], " ", ""))
			if err != nil {
				raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.ReplaceAll(strings.Trim(value, " \t")[6:], " ", ""), "="))
			}
			if text := strings.TrimRight(string(raw), "\r\n"); err != nil || text != token+":" && text != token+":x-oauth-basic" && !strings.HasSuffix(text, ":"+token) {
				t.Fatalf("%q passes (%q, %v)", value, raw, err)
			}
		}
		if without == 503 || with == 503 || without >= 500 || with >= 500 {
			t.Fatalf("%q: %d and %d", value, without, with)
		}
	})
}

// What a guarded route costs: nothing in front, the same check by hand in front of a
// map, Verify alone, and the middleware.
func BenchmarkMiddleware(b *testing.B) {
	m, _ := newManager(b, memory.New(), authz.Config{Scopes: family()})
	made := mustCreate(b, m, request(scopes("repo")))
	token := made.Token.Reveal()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })

	type key struct{}
	byHash := map[[sha256.Size]byte]*authz.Authorization{sha256.Sum256([]byte(token)): &made.Authorization}
	var mu sync.RWMutex
	byHand := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(token))
		mu.RLock()
		a := byHash[sum]
		mu.RUnlock()
		if !ok || a == nil {
			http.Error(w, "Bad credentials", http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-OAuth-Scopes", strings.Join(a.Scopes, ", "))
		hello(w, r.WithContext(context.WithValue(r.Context(), key{}, a)))
	})
	mw := newMiddleware(b, m, authz.MiddlewareConfig{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, new(http.Server)))
	for _, bench := range []struct {
		name string
		h    http.Handler
	}{
		{"bare", hello}, {"byHand", byHand}, {"middleware", mw(hello)}, {"middlewareAndScopes", mw(authz.RequireScopes("repo:read")(hello))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := &written{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				w.body.Reset()
				bench.h.ServeHTTP(w, r)
			}
		})
	}
	b.Run("Verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Verify(context.Background(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
