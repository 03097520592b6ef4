package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/internal/pgtest"
)

// site is a store with a user and an app, and a server on it.
type site struct {
	*process
	store, base      string
	clientID, secret string
}

const monaBasic = "mona:correct horse"

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	s := &site{store: "sqlite:" + filepath.Join(t.TempDir(), "a.db")}
	must(t, "correct horse\n", "user", "create", "mona", "--password-file", "-", "--store", s.store)
	app := decode[wireApp](t, must(t, "", "app", "create", "--name", "my app", "--store", s.store, "--json"))
	s.clientID, s.secret = app.ClientID, app.ClientSecret
	s.process = start(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--store", s.store, "--json", "--log-level", "debug"}, args...)...)
	s.base = decode[map[string]string](t, s.line())["base_url"]
	return s
}

func (s *site) body(extra string) string {
	return fmt.Sprintf(`{"client_secret":%q%s}`, s.secret, extra)
}

func (s *site) put(prefix, extra string, headers ...string) response {
	s.t.Helper()
	return do(s.t, "PUT", s.base+prefix+"/authorizations/clients/"+s.clientID, s.body(extra), append([]string{"basic", monaBasic}, headers...)...)
}

func TestServe(t *testing.T) {
	s := newSite(t)
	r := s.put("", `,"scopes":["a"]`).want(t, 201)
	token := decode[wireAuthorization](t, r.body).Token
	s.put("/api/v3", "").want(t, 200)
	do(t, "GET", s.base+"/user", "", "Authorization", "token "+token).want(t, 200)
	must(t, "", "user", "disable", "mona", "--store", s.store)
	bad := soon(t, s.base, token, 401)
	if !strings.Contains(bad.body, "Bad credentials") {
		t.Errorf("the token of a disabled user: %s", bad.body)
	}
	s.put("", "").want(t, 401)
	must(t, "", "user", "enable", "mona", "--store", s.store)
	soon(t, s.base, token, 200)
	// One who was disabled by a program that suspends nothing.
	withStore(t, s.store, func(st *stores) {
		users, err := st.directory(account.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := users.Disable(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		do(t, "GET", s.base+"/user", "", "Authorization", "token "+token).want(t, 401)
		if err := users.Enable(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
	must(t, "", "app", "suspend", s.clientID, "--store", s.store)
	soon(t, s.base, token, 401)
	s.put("", "").want(t, 422)
	must(t, "", "app", "resume", s.clientID, "--store", s.store)
	soon(t, s.base, token, 200)
	if out := must(t, "", "app", "delete", s.clientID, "--yes", "--store", s.store); !strings.Contains(out, "and 1 authorization\n") {
		t.Errorf("app delete: %s", out)
	}
	soon(t, s.base, token, 401)
	// ServeMux must not redirect a client that has a method to lose.
	do(t, "PUT", s.base+"/authorizations//clients/x", "{}", "basic", monaBasic).want(t, 404)
	do(t, "PATCH", s.base+"/authorizations", "", "basic", monaBasic).want(t, 404)
	for _, path := range []string{"/x/../user", "/nosuch", "/api/v3/nosuch", "//"} {
		r := do(t, "GET", s.base+path, "").want(t, 404)
		if decode[message](t, r.body).Message != "Not Found" {
			t.Errorf("GET %s: %s", path, r.body)
		}
	}
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	for _, secret := range []string{token, s.secret, "correct horse"} {
		if strings.Contains(s.stderr.String(), secret) {
			t.Errorf("the log holds a secret: %s", s.stderr)
		}
	}
}

func TestServeFlags(t *testing.T) {
	s := newSite(t, "--prefix", "/x/", "--base-url", "https://api.example.com/", "--scopes", "a,b", "--lifetime", "1ns",
		"--trusted-proxy", "127.0.0.1", "--log-format", "json")
	r := s.put("/x", `,"scopes":["a"]`).want(t, 201)
	if got := r.header.Get("Location"); got != "https://api.example.com/x/authorizations/1" {
		t.Errorf("Location: %s", got)
	}
	s.put("/x", "").want(t, 201) // the first one has expired
	if r := s.put("/x", `,"scopes":["c"]`).want(t, 422); !strings.Contains(r.body, "scopes are invalid: c") {
		t.Errorf("another scope: %s", r.body)
	}
	s.put("", "").want(t, 404)
	s.put("/api/v3", "").want(t, 404)
	s.stop()
	for line := range strings.Lines(s.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON in the log: %s", line)
		}
	}

	s = newSite(t, "--prefix", "/", "--trusted-proxy", "127.0.0.0/8")
	r = s.put("", "", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "git.example.com").want(t, 201)
	if got := r.header.Get("Location"); got != "https://git.example.com/authorizations/1" {
		t.Errorf("Location: %s", got)
	}
	token := decode[wireAuthorization](t, r.body).Token
	for _, c := range []struct {
		want    string
		headers []string
	}{
		{s.base + "/user", nil},
		{"https://git.example.com/user", []string{"X-Forwarded-Proto", "http, HTTPS", "X-Forwarded-Host", "evil.example, git.example.com"}},
		{s.base + "/user", []string{"X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "evil.example/x"}},
	} {
		r := do(t, "GET", s.base+"/user", "", append(c.headers, "Authorization", "token "+token)...).want(t, 200)
		if got := decode[map[string]any](t, r.body)["url"]; got != c.want {
			t.Errorf("%v: url %v, want %s", c.headers, got, c.want)
		}
	}
	s.put("/api/v3", "").want(t, 404)
	s.stop()
}

// TestServeRemembers stops a server, and finds when tokens were used.
func TestServeRemembers(t *testing.T) {
	eachStore(t, func(t *testing.T, store string) {
		for _, cache := range []string{"100", "0"} {
			login := "mona" + cache
			must(t, "", "user", "create", login, "--generate-password", "--store", store)
			token := decode[wireToken](t, must(t, "", "token", "create", "--user", login, "--note", "n", "--store", store, "--json")).Token
			p := start(t, "serve", "--addr", "127.0.0.1:0", "--store", store, "--cache", cache, "--idle-timeout", "24h", "--json")
			base := decode[map[string]string](t, p.line())["base_url"]
			before := time.Now().Truncate(time.Second)
			for range 3 {
				do(t, "GET", base+"/user", "", "Authorization", "token "+token).want(t, 200)
			}
			must(t, "", "user", "disable", login, "--store", store)
			soon(t, base, token, 401)
			must(t, "", "user", "enable", login, "--store", store)
			soon(t, base, token, 200)
			p.stop()
			list := decode[[]reported](t, must(t, "", "token", "list", "--user", login, "--store", store, "--json"))
			if len(list) != 1 || list[0].LastUsedAt == nil {
				t.Fatalf("--cache %s: no use was stored: %+v; stderr: %s", cache, list, p.stderr)
			}
			if at, err := time.Parse(time.RFC3339, *list[0].LastUsedAt); err != nil || at.Before(before) || at.After(time.Now()) {
				t.Errorf("--cache %s: used at %v, %v, want after %v", cache, at, err, before)
			}
			if log := p.stderr.String(); strings.Contains(log, "times of use") || strings.Contains(log, "level=ERROR") {
				t.Errorf("--cache %s: %s", cache, log)
			}
		}
	})
}

// A Config is what the flags say.
func TestServeConfig(t *testing.T) {
	f := listenFlags{idleTimeout: time.Hour, purgeAfter: time.Minute}
	cfg := f.config(authz.Config{Lifetime: time.Second}, slog.Default())
	if cfg.Lifetime != time.Second || cfg.IdleTimeout != time.Hour || cfg.PurgeAfter != time.Minute || cfg.Logger != slog.Default() {
		t.Errorf("%+v", cfg)
	}
	f.purgeAfter = 0
	if cfg := f.config(authz.Config{}, nil); cfg.PurgeAfter >= 0 {
		t.Errorf("--purge-after 0: %v, want for ever", cfg.PurgeAfter)
	}
}

// The demo brings back its user whose tokens are suspended.
func TestDemoResumes(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	p, _ := startDemo(t, store)
	p.stop()
	withStore(t, store, func(s *stores) {
		for _, owner := range []string{"1", "2"} {
			if err := s.Suspend(t.Context(), owner, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	})
	p, c := startDemo(t, store)
	token := decode[wireAuthorization](t, c.mona(t, c.BaseURL, "").want(t, 201).body).Token
	do(t, "GET", c.BaseURL+"/user", "", "Authorization", "token "+token).want(t, 200)
	p.stop()
}

// TestListenDSN serves through PgBouncer, where no changes can be heard of: the
// server itself is named for that. If it is not, or not rightly, tokens are read
// from the store, and the log says so without the DSN.
func TestListenDSN(t *testing.T) {
	direct := pgtest.Database(t)
	dsn := pgtest.PgBouncer(t, direct, 10)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	must(t, "", "user", "create", "mona", "--generate-password", "--store", dsn)
	token := decode[wireToken](t, must(t, "", "token", "create", "--user", "mona", "--note", "n", "--store", dsn, "--json")).Token
	for name, listen := range map[string]string{"right": direct, "wrong": "postgres://u:sekrit@127.0.0.1:1/d", "none": ""} {
		t.Setenv(listenDSNEnv, listen)
		p := start(t, "serve", "--addr", "127.0.0.1:0", "--store", dsn, "--json")
		base := decode[map[string]string](t, p.line())["base_url"]
		if name != "right" {
			p.logged("not hearing of changes")
		} else {
			time.Sleep(3 * time.Second) // the silence after which that is logged, and more
		}
		do(t, "GET", base+"/user", "", "Authorization", "token "+token).want(t, 200)
		p.stop()
		if log := p.stderr.String(); strings.Contains(log, "sekrit") || name == "right" && strings.Contains(log, "not hearing") {
			t.Errorf("%s: %s", name, log)
		}
	}
	t.Setenv(listenDSNEnv, "postgres://u:sekrit@h:bad/x")
	sentenceWanted(t, call(t, "", "serve", "--addr", "127.0.0.1:0", "--store", dsn), exitUsage, `\$AUTHZ_LISTEN_DSN is neither a valid`)
	// It is not for the demo, whose store is another one.
	p, _ := startDemo(t, "memory:")
	p.stop()
}

// TestStopUnderWay stops a server while a client is sending its body: the
// answer must come, and what it says must be stored.
func TestStopUnderWay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM")
	}
	s := newSite(t)
	conn, rest := s.halfSent(t)
	s.signal(syscall.SIGTERM)
	s.logged("stopping")
	for end := time.Now().Add(patience); ; { // no new clients
		c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(end) {
			t.Fatal("the port is still open")
		}
	}
	if _, err := io.WriteString(conn, rest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	token := decode[wireAuthorization](t, string(text)).Token
	p := start(t, "serve", "--addr", "127.0.0.1:0", "--store", s.store, "--json")
	base := decode[map[string]string](t, p.line())["base_url"]
	do(t, "GET", base+"/user", "", "Authorization", "token "+token).want(t, 200)
	p.stop()
}

// TestStopAtOnce sends a second signal while a request keeps the server.
func TestStopAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM")
	}
	s := newSite(t)
	s.halfSent(t)
	s.signal(syscall.SIGTERM)
	s.logged("stopping")
	begin := time.Now()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the second signal took %v", took)
	}
	must(t, "", "app", "show", s.clientID, "--store", s.store)
}

// halfSent is a PUT without the end of its body, when the server has its header.
func (s *site) halfSent(t *testing.T) (conn net.Conn, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	body := s.body("")
	r := httptest.NewRequest(http.MethodPut, s.base, nil)
	r.SetBasicAuth("mona", "correct horse")
	// 100 Continue tells that the handler is reading.
	_, err = fmt.Fprintf(conn, "PUT /authorizations/clients/%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
		s.clientID, r.Header.Get("Authorization"), len(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(conn, buf); err != nil || !strings.Contains(string(buf), "100 Continue") {
		t.Fatalf("%v: %s", err, buf)
	}
	return conn, body
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))

	p := start(t, "serve", "--addr", "127.0.0.1:0", "--store", "memory:", "--tls-cert", certFile, "--tls-key", keyFile, "--json")
	base := decode[map[string]string](t, p.line())["base_url"]
	if !strings.HasPrefix(base, "https://127.0.0.1:") {
		t.Errorf("base_url %s", base)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: patience}
	resp, err := secure.Get(base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	secure.CloseIdleConnections()
	p.stop()

	if o := call(t, "", "serve", "--store", "memory:", "--tls-cert", keyFile, "--tls-key", certFile); o.code != exitFailed {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}

func TestExposedAddress(t *testing.T) {
	p := start(t, "demo", "--addr", "0.0.0.0:0", "--store", "memory:", "--json")
	c := decode[demoCredentials](t, p.line())
	if !strings.HasPrefix(c.BaseURL, "http://127.0.0.1:") {
		t.Errorf("base_url %s", c.BaseURL)
	}
	p.logged("in the clear")
	c.mona(t, c.BaseURL, "").want(t, 201)
	p.stop()
}

// TestStoreAway closes the database under a server: 503, never 401.
func TestStoreAway(t *testing.T) {
	s, err := openStore(t.Context(), target{kind: kindSQLite, at: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.manager(authz.Config{})
	if err != nil {
		t.Fatal(err)
	}
	users, err := s.directory(account.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHandler(&service{stores: s, m: m, users: users}, routes{prefixes: defaultPrefixes}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	do(t, "GET", srv.URL+"/readyz", "").want(t, 200)
	const token = "azt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0uCPlr" // well formed, unknown
	do(t, "GET", srv.URL+"/user", "", "Authorization", "token "+token).want(t, 401)
	s.close()
	r := do(t, "GET", srv.URL+"/user", "", "Authorization", "token "+token).want(t, 503)
	if r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "Service unavailable") {
		t.Errorf("%v %s", r.header, r.body)
	}
	do(t, "PUT", srv.URL+"/authorizations/clients/aaaaaaaaaaaaaaaaaaaa", "{}", "basic", monaBasic).want(t, 503)
	do(t, "GET", srv.URL+"/readyz", "").want(t, 503)
	do(t, "GET", srv.URL+"/healthz", "").want(t, 200)
}

func TestUserRouteCredentials(t *testing.T) {
	s := newSite(t)
	for header, want := range map[string]string{
		"":                      "Requires authentication",
		"Basic bW9uYTpzZWNyZXQ": "Requires authentication",
		"token x":               "Bad credentials",
		"Bearer azt_x":          "Bad credentials",
	} {
		r := do(t, "GET", s.base+"/user", "", "Authorization", header).want(t, 401)
		if got := decode[message](t, r.body).Message; got != want {
			t.Errorf("Authorization %q: %s, want %s", header, got, want)
		}
	}
	r := do(t, "GET", s.base+"/user", "", "Authorization", "token").want(t, 400)
	if got := decode[message](t, r.body).Message; got != "The Authorization header is malformed" {
		t.Errorf("a scheme alone: %s", got)
	}
	s.stop()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
