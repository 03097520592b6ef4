package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/client"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/sqlite"
)

const (
	password = "correct horse battery staple"
	seed     = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
)

// world is a real server on a real store, with users, apps and faults. Users:
// mona, and hubot with one-time passwords; both have the same password.
type world struct {
	t       *testing.T
	url     string
	manager *authz.Manager
	users   *account.Directory
	app     authz.App
	secret  authz.Secret
	line    *cutter

	mu       sync.Mutex
	skew     time.Duration // of the users' clock: codes work once
	requests []*request
	// answer is asked before the real handler, if set; it returns false to
	// leave the request to that. n counts the requests from 1.
	answer func(w http.ResponseWriter, r *http.Request, n int) bool
}

// request is what the server has seen.
type request struct {
	method, path, key, otp string
	status                 int
}

// worlds runs a test on each of the stores.
func worlds(t *testing.T, f func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) { f(t, newWorld(t)) })
	t.Run("sqlite", func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "authz.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		f(t, startWorld(t, db, account.SQLite(db.DB())))
	})
}

func newWorld(t *testing.T) *world { return startWorld(t, memory.New(), account.Memory()) }

func startWorld(t *testing.T, s store.Store, b account.Backend) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t}
	w.users = must(account.New(b, account.Config{
		Key:      authz.NewSecret(strings.Repeat("k", 32)),
		Argon2id: account.Argon2id{Memory: 7 << 10, Time: 1, Threads: 1},
		Now:      w.now,
	}))
	check(t, w.users.Migrate(ctx))
	for _, login := range []string{"mona", "hubot"} {
		u := must(w.users.Create(ctx, account.NewUser{Login: login, Password: authz.NewSecret(password)}))
		if login == "hubot" {
			check(t, w.users.ImportOTP(ctx, u.ID, authz.NewSecret(seed)))
		}
	}
	w.manager = must(authz.New(s, authz.Config{}))
	app, secret, err := w.manager.RegisterApp(ctx, authz.NewApp{Name: "acme", URL: "https://acme.example"})
	check(t, err)
	w.app, w.secret = app, secret
	api := must(authz.NewHandler(w.manager, authz.HandlerConfig{
		Authenticator: w.users.Authenticator(),
		Prefix:        "/api/v3",
		BaseURL:       "https://elsewhere.example", // clients must not go there
	}))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		seen := &request{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), r.Header.Get("X-GitHub-OTP"), 0}
		w.requests = append(w.requests, seen)
		n := len(w.requests)
		answer := w.answer
		w.mu.Unlock()
		rec := &statusWriter{ResponseWriter: rw}
		if answer == nil || !answer(rec, r, n) {
			api.ServeHTTP(rec, r)
		}
		w.mu.Lock()
		seen.status = rec.status
		w.mu.Unlock()
	}))
	w.line = &cutter{Listener: server.Listener}
	server.Listener = w.line
	server.Start()
	t.Cleanup(server.Close)
	w.url = server.URL + "/api/v3"
	return w
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skew)
}

// code returns a one-time password of hubot's that was not used before, but for
// the first: time passes until the app shows the next one.
func (w *world) code() string {
	w.mu.Lock()
	w.skew += 30 * time.Second
	w.mu.Unlock()
	return must(totp.GenerateCode(seed, w.now()))
}

func (w *world) seen() (all []request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		all = append(all, *r)
	}
	return all
}

func (w *world) fault(f func(w http.ResponseWriter, r *http.Request, n int) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.requests = f, nil
}

// client is a Client of the app, which waits for next to nothing.
func (w *world) client(change ...func(*client.Config)) *client.Client {
	w.t.Helper()
	cfg := client.Config{
		BaseURL:      w.url,
		ClientID:     w.app.ClientID,
		ClientSecret: client.NewSecret(w.secret.Reveal()),
		Retry:        client.Retry{Wait: time.Millisecond},
	}
	for _, f := range change {
		f(&cfg)
	}
	return must(client.New(cfg))
}

func (w *world) asksForCodes(challenges *[]client.Challenge) func(*client.Config) {
	return func(cfg *client.Config) {
		cfg.OTP = func(_ context.Context, c client.Challenge) (string, error) {
			*challenges = append(*challenges, c)
			code := w.code()
			return " " + code[:3] + " " + code[3:] + "\n", nil // as people type it
		}
	}
}

// lives reports whether a token is good.
func (w *world) lives(token string) bool {
	w.t.Helper()
	_, err := w.manager.Verify(context.Background(), token)
	return err == nil
}

var (
	mona  = client.Credentials{Login: "mona", Password: client.NewSecret(password)}
	hubot = client.Credentials{Login: "hubot", Password: client.NewSecret(password)}
)

// cutter is a listener whose connections die when the server answers: the work
// is done and committed, and the client does not hear of it.
type cutter struct {
	net.Listener
	mu   sync.Mutex
	left int // successful answers to cut
	keep int // bytes of them to let through
	cuts int // that were made
}

func (l *cutter) cut(answers, keep int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.keep, l.cuts = answers, keep, 0
}

func (l *cutter) made() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

func (l *cutter) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &cutConn{conn, l}, err
}

type cutConn struct {
	net.Conn
	l *cutter
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.l.mu.Lock()
	cut := c.l.left > 0 && bytes.HasPrefix(p, []byte("HTTP/1.1 2"))
	if cut {
		c.l.left--
		c.l.cuts++
	}
	keep := c.l.keep
	c.l.mu.Unlock()
	if !cut {
		return c.Conn.Write(p)
	}
	if keep > 0 {
		_, _ = c.Conn.Write(p[:min(keep, len(p)-1)])
	}
	_ = c.Close()
	return 0, net.ErrClosed
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("%v", err))
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// roundTripper is a transport that a test makes up.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1}
}
