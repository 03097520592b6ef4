package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	login    = "mona"
	password = `pass "word" & more`
)

// server is authz on the loopback, which counts what it is asked.
type server struct {
	*httptest.Server
	m            *authz.Manager
	clientID     string
	clientSecret string

	mu     sync.Mutex
	counts map[string]int64 // by method and first part of the path

	stalled sync.RWMutex
	greeted atomic.Int64
	stallAt int64 // the greeting at which all greetings stall for a second
}

func newServer(t *testing.T) *server {
	t.Helper()
	m, err := authz.New(memory.New(), authz.Config{})
	check(t, err)
	app, secret, err := m.RegisterApp(t.Context(), authz.NewApp{Name: "load"})
	check(t, err)
	api, err := authz.NewHandler(m, authz.HandlerConfig{Authenticator: authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
		if c.Login != login || !c.Password.Equal(authz.NewSecret(password)) {
			return authz.User{}, authz.ErrBadCredentials
		}
		return authz.User{ID: "1", Login: login}, nil
	})})
	check(t, err)
	protect, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
	check(t, err)
	s := &server{m: m, clientID: app.ClientID, clientSecret: secret.Reveal(), counts: map[string]int64{}}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle("GET /user", protect(http.HandlerFunc(s.greet)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.counts[r.Method+" "+strings.SplitN(r.URL.Path, "/", 3)[1]]++
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) greet(w http.ResponseWriter, _ *http.Request) {
	if s.greeted.Add(1) == s.stallAt {
		s.stalled.Lock()
		time.Sleep(time.Second)
		s.stalled.Unlock()
	}
	s.stalled.RLock()
	defer s.stalled.RUnlock()
	time.Sleep(time.Millisecond)
	_, _ = io.WriteString(w, "hello\n")
}

// left is how many authorizations there are.
func (s *server) left(t *testing.T) int {
	t.Helper()
	n, err := s.m.Count(t.Context(), "1", "")
	check(t, err)
	return int(n)
}

// credentialsFile is what authz demo --json writes.
func credentialsFile(t *testing.T, baseURL, clientID, clientSecret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials.json")
	text, err := json.Marshal(credentials{baseURL, login, password, clientID, clientSecret})
	check(t, err)
	check(t, os.WriteFile(file, text, 0o600))
	return file
}

func noEnv(string) string { return "" }

// load runs the program with -json.
func (s *server) load(ctx context.Context, t *testing.T, args ...string) (code int, sum summary, stderr string) {
	t.Helper()
	var out, errOut lines
	args = append([]string{"-credentials", credentialsFile(t, s.URL, s.clientID, s.clientSecret), "-json"}, args...)
	code = run(ctx, args, noEnv, &out, &errOut)
	for _, secret := range []string{password, s.clientSecret, "azt_"} {
		if strings.Contains(out.String()+errOut.String(), secret) {
			t.Errorf("%q is in the output:\n%s%s", secret, out.String(), errOut.String())
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &sum); err != nil {
		t.Fatalf("%v: exit code %d, %s", err, code, errOut.String())
	}
	return code, sum, errOut.String()
}

// lines is a writer that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestEveryOperation(t *testing.T) {
	for name, args := range map[string][]string{
		"closed":           {"-callers", "4"},
		"open":             {"-rate", "300"},
		"open at constant": {"-rate", "300", "-arrivals", "constant"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			const tokens = 10
			code, sum, stderr := s.load(t.Context(), t, append(args, "-d", "600ms", "-keep", "-tokens", "10", "-mix", "put=1,verify=1,list=1,check=1,introspect=1,create=2,revoke=1")...)
			if code != 0 || sum.Total.Errors+sum.Dropped != 0 || len(sum.Operations) != len(allOps) {
				t.Fatalf("exit code %d, %+v\n%s", code, sum, stderr)
			}
			got := map[string]int64{}
			var total int64
			for _, r := range sum.Operations {
				got[r.Name], total = r.Count, total+r.Count
				if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Max {
					t.Errorf("%+v", r)
				}
			}
			if total != sum.Total.Count {
				t.Errorf("total %d, operations %d", sum.Total.Count, total)
			}
			for server, client := range map[string]int64{
				"PUT authorizations":    tokens + got[opPut] + got[opCreate],
				"GET user":              got[opVerify],
				"GET authorizations":    got[opList],
				"POST applications":     got[opCheck],
				"POST oauth":            got[opIntrospect],
				"DELETE authorizations": got[opRevoke],
			} {
				if s.counts[server] != client || client == 0 {
					t.Errorf("%s: the server counts %d, the client %d", server, s.counts[server], client)
				}
			}
			if got, want := s.left(t), tokens+int(got[opCreate]-got[opRevoke]); got != want {
				t.Errorf("%d authorizations are left, want %d", got, want)
			}
			if sum.Loop == "open" && (sum.Total.Count < 100 || sum.Total.Count > 260) {
				t.Errorf("%d requests in 0.6 s, want about 180", sum.Total.Count)
			}
		})
	}
}

// TestStall: a second in which nothing is answered is one request to a caller
// who waits, and a second's worth of requests to the rest of the world.
func TestStall(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		shows bool
		drops bool
	}{
		{"closed", []string{"-callers", "1"}, false, false},
		{"open", []string{"-rate", "100"}, true, false},
		{"open and bounded", []string{"-rate", "100", "-inflight", "4", "-max-errors", "1"}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.stallAt = 40
			code, sum, stderr := s.load(t.Context(), t, append(c.args, "-d", "2s", "-tokens", "1", "-mix", "verify=1")...)
			if code != 0 || sum.Total.Errors != 0 || sum.Total.Max < 900 {
				t.Fatalf("exit code %d, %+v\n%s", code, sum, stderr)
			}
			if shows := sum.Total.P99 > 500; shows != c.shows {
				t.Errorf("p99 is %.0f ms of %d requests", sum.Total.P99, sum.Total.Count)
			}
			if (sum.Dropped > 50) != c.drops || !c.drops && sum.Dropped != 0 {
				t.Errorf("%d were dropped", sum.Dropped)
			}
			// What was not sent was counted: together they are what was wanted.
			if asked := sum.Total.Count + sum.Dropped; sum.Loop == "open" && (asked < 140 || asked > 260) {
				t.Errorf("%d requests sent, %d dropped, want about 200", sum.Total.Count, sum.Dropped)
			}
			if want := float64(sum.Dropped) / float64(sum.Total.Count+sum.Dropped); sum.ErrorShare != want {
				t.Errorf("error share %g, want %g", sum.ErrorShare, want)
			}
		})
	}
}

type instant struct{}

func (instant) do(_ context.Context, op string) (string, error) { return op, nil }

// TestIntendedStart: a generator that comes too late does not flatter.
func TestIntendedStart(t *testing.T) {
	rec := newRecorder(error.Error)
	start := time.Now()
	r := &runner{ctx: t.Context(), target: instant{}, rec: rec, from: start.Add(-2 * time.Second), until: start.Add(time.Second)}
	rec.onTheWay.Add(1)
	r.one(opVerify, start.Add(-time.Second))
	if got := quantile(rec.ops[opVerify].times, 50); got < 999*time.Millisecond {
		t.Errorf("a request that was sent a second late took %v", got)
	}
}

func TestWarmUpIsNotMeasured(t *testing.T) {
	s := newServer(t)
	_, sum, _ := s.load(t.Context(), t, "-rate", "100", "-arrivals", "constant", "-warmup", "500ms", "-d", "500ms", "-tokens", "1", "-mix", "verify=1")
	if n := s.greeted.Load(); n < 80 || sum.Total.Count > n*6/10 || sum.Total.Count < n*4/10 {
		t.Errorf("%d of %d requests were measured, want half", sum.Total.Count, n)
	}
}

func TestInterrupted(t *testing.T) {
	s := newServer(t)
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(400*time.Millisecond, interrupt)
	code, sum, stderr := s.load(ctx, t, "-callers", "4", "-d", "1h", "-mix", "create=2,revoke=1,verify=1", "-tokens", "10")
	if code != 130 || !sum.Interrupted || sum.Total.Count == 0 || sum.Total.Errors != 0 || sum.Seconds > 30 {
		t.Errorf("exit code %d, %+v", code, sum)
	}
	if n := s.left(t); n != 0 {
		t.Errorf("%d authorizations are left\n%s", n, stderr)
	}
	if !strings.Contains(stderr, "Ctrl-C again") {
		t.Errorf("stderr does not say what a second Ctrl-C does: %s", stderr)
	}
}

// TestLostAnswers: what a request without an answer has made is deleted as well.
func TestLostAnswers(t *testing.T) {
	s := newServer(t)
	var puts atomic.Int64
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) > 1 {
			inner.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	})
	code, sum, _ := s.load(t.Context(), t, "-callers", "2", "-d", "200ms", "-mix", "create=1", "-tokens", "1")
	if code != 1 || sum.Total.Errors == 0 || len(sum.Failures) != 1 || sum.Failures[0].Kind != "connection lost" {
		t.Errorf("exit code %d, %+v", code, sum)
	}
	if n := s.left(t); n != 0 {
		t.Errorf("%d authorizations are left", n)
	}
}

// TestErrors: a server that refuses all, and says in its errors all it was sent.
func TestErrors(t *testing.T) {
	const (
		token        = "azt_SecretOfTheFirstToken"
		clientSecret = "1fe0abe7d066a6482dc9d5b48f2771c97ec19cdb"
	)
	var made atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodPut && made.Add(1) == 1:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":1,"token":%q}`, token)
			return
		case r.Method == http.MethodGet && r.URL.Path == "/user":
			w.Header().Set("Retry-After", "7 "+password)
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
		user, pass, _ := r.BasicAuth()
		fmt.Fprintf(w, "\x1b[31m%s %s %s %s", r.Header.Get("Authorization"), body, user, pass)
	}))
	defer s.Close()
	for _, format := range []string{"-json=true", "-json=false"} {
		for _, only := range []string{opPut, opVerify, opList, opCheck, opIntrospect, opCreate} {
			made.Store(0)
			var out, errOut lines
			code := run(t.Context(), []string{"-credentials", credentialsFile(t, s.URL, "abcde12345fghij67890", clientSecret), "-d", "30ms", "-callers", "2", "-tokens", "1", format, "-mix", only + "=1"}, noEnv, &out, &errOut)
			all := out.String() + errOut.String()
			if code != 1 || !strings.Contains(all, "[secret]") {
				t.Errorf("%s: exit code %d\n%s", only, code, all)
			}
			want := "500"
			if only == opVerify {
				want = "429"
				if !strings.Contains(all, "7 [secret]") {
					t.Errorf("no Retry-After in:\n%s", all)
				}
			}
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %s in:\n%s", only, want, all)
			}
			escaped, _ := json.Marshal(password)
			for _, secret := range []string{
				token, clientSecret, password, string(escaped[1 : len(escaped)-1]), "\x1b",
				base64.StdEncoding.EncodeToString([]byte(login + ":" + password)),
				base64.StdEncoding.EncodeToString([]byte("abcde12345fghij67890:" + clientSecret)),
			} {
				if strings.Contains(all, secret) {
					t.Errorf("%s: %q is in the output:\n%s", only, secret, all)
				}
			}
		}
	}
}

func TestMaxErrors(t *testing.T) {
	s := newServer(t)
	for share, want := range map[string]int{"0.5": 1, "1": 0} {
		code, sum, _ := s.load(t.Context(), t, "-path", "/nowhere", "-mix", "verify=1", "-d", "50ms", "-tokens", "1", "-max-errors", share)
		if code != want || sum.ErrorShare != 1 {
			t.Errorf("-max-errors %s: exit code %d, want %d; share %g", share, code, want, sum.ErrorShare)
		}
	}
}

func TestTimeout(t *testing.T) {
	s := newServer(t)
	s.stallAt = 2
	_, sum, _ := s.load(t.Context(), t, "-rate", "100", "-mix", "verify=1", "-d", "300ms", "-tokens", "1", "-timeout", "200ms", "-max-errors", "1")
	if len(sum.Failures) != 1 || sum.Failures[0].Kind != "timeout" || sum.Total.P99 < 190 {
		t.Errorf("%+v", sum)
	}
}

func TestUsage(t *testing.T) {
	file := credentialsFile(t, "http://127.0.0.1:1", "id", "a-secret")
	for name, args := range map[string][]string{
		"no credentials":     {},
		"an argument":        {"-credentials", file, "a-secret"},
		"both loops":         {"-credentials", file, "-rate", "1", "-callers", "1"},
		"no rate":            {"-credentials", file, "-rate", "0"},
		"an unknown op":      {"-credentials", file, "-mix", "steal=1"},
		"an op twice":        {"-credentials", file, "-mix", "put=1,put=1"},
		"no weight":          {"-credentials", file, "-mix", "put=0"},
		"password in URL":    {"-credentials", file, "-url", "http://mona:a-secret@localhost"},
		"no such arrivals":   {"-credentials", file, "-arrivals", "daily"},
		"share above 1":      {"-credentials", file, "-max-errors", "2"},
		"no certificates":    {"-credentials", file, "-cacert", file},
		"nobody listens":     {"-credentials", file},
		"not a JSON file":    {"-credentials", "load_test.go"},
		"a file that is not": {"-credentials", "nowhere.json"},
	} {
		var out, errOut lines
		want := 2
		if name == "nobody listens" {
			want = 1
		}
		if code := run(t.Context(), args, noEnv, &out, &errOut); code != want || errOut.String() == "" || out.String() != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", name, code, out.String(), errOut.String())
		}
		if strings.Contains(errOut.String(), "a-secret") {
			t.Errorf("%s: %s", name, errOut.String())
		}
	}
}

// TestTLS: -cacert, and the credentials from the environment.
func TestTLS(t *testing.T) {
	plain := newServer(t)
	s := httptest.NewTLSServer(plain.Config.Handler)
	defer s.Close()
	env := func(name string) string {
		return map[string]string{passwordEnv: password, secretEnv: plain.clientSecret}[name]
	}
	cert := filepath.Join(t.TempDir(), "cert.pem")
	check(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	for name, c := range map[string]struct {
		args []string
		code int
	}{"trusted": {[]string{"-cacert", cert}, 0}, "insecure": {[]string{"-insecure"}, 0}, "unknown": {nil, 1}} {
		var out, errOut lines
		args := append(c.args, "-url", s.URL, "-login", login, "-client-id", plain.clientID, "-d", "50ms", "-tokens", "1")
		if code := run(t.Context(), args, env, &out, &errOut); code != c.code {
			t.Errorf("%s: exit code %d\n%s", name, code, errOut.String())
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
