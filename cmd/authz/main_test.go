package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

// runMain in its environment makes the test binary the command itself.
const runMain = "AUTHZ_TEST_RUN_MAIN"

// patience bounds every wait: the machine may be busy.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	_ = os.Unsetenv(storeEnv)
	_ = os.Unsetenv(listenDSNEnv)
	os.Exit(m.Run())
}

// outcome is what a command left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// call runs a command in this process.
func call(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// must is call for a command that has to succeed.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := call(t, stdin, args...)
	if o.code != exitOK {
		t.Fatalf("authz %s: exit %d: %s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o.stdout
}

// decode reads a JSON result.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not JSON: %v: %s", err, text)
	}
	return v
}

// process is the real command, running.
type process struct {
	*exec.Cmd
	t      *testing.T
	lines  chan string // of stdout
	stderr *lockedBuffer
	exited chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// command prepares the real command.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), runMain+"=1", "HOME="+os.Getenv("HOME"))
	return cmd
}

// start starts the real command; the test's end kills it.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := command(t, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, t: t, lines: make(chan string, 1000), stderr: new(lockedBuffer), exited: make(chan struct{})}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			p.lines <- scan.Text()
		}
		close(p.lines)
		_ = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.exited
	})
	return p
}

// line is the next line of stdout.
func (p *process) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("stdout ended; stderr: %s", p.stderr)
		}
		return line
	case <-time.After(patience):
		p.t.Fatalf("no line on stdout; stderr: %s", p.stderr)
	}
	return ""
}

// signal sends one and does not wait.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code, -1 for a process that a signal ended.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("the process does not end; stderr: %s", p.stderr)
	}
	return 0
}

// stop ends a server in order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(os.Interrupt)
	if code := p.wait(); code != exitOK {
		p.t.Errorf("exit code %d after SIGINT; stderr: %s", code, p.stderr)
	}
}

// logged waits for a text on stderr and returns what the expression found.
func (p *process) logged(expr string) string {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found := re.FindStringSubmatch(p.stderr.String()); found != nil {
			return found[len(found)-1]
		}
	}
	p.t.Fatalf("%q does not appear on stderr: %s", expr, p.stderr)
	return ""
}

var client = &http.Client{Timeout: patience}

// response is an answer, read.
type response struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are pairs.
func do(t *testing.T, method, url, body string, headers ...string) response {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		if pair[0] == "basic" {
			login, password, _ := strings.Cut(pair[1], ":")
			r.SetBasicAuth(login, password)
			continue
		}
		r.Header.Set(pair[0], pair[1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(text)}
}

func (r response) want(t *testing.T, status int) response {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// soon waits until GET /user answers a token with a status: another process has
// changed it, and the server is to hear of that.
func soon(t *testing.T, base, token string, status int) response {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		r := do(t, "GET", base+"/user", "", "Authorization", "token "+token)
		if r.status == status {
			return r
		}
		if time.Now().After(end) {
			return r.want(t, status)
		}
	}
}

type wireApp struct {
	ClientID     string           `json:"client_id"`
	ClientSecret string           `json:"client_secret"`
	Name         string           `json:"name"`
	URL          string           `json:"url"`
	Secrets      []map[string]any `json:"secrets"`
}

type wireAuthorization struct {
	ID    int64  `json:"id"`
	URL   string `json:"url"`
	Token string `json:"token"`
}

// eachStore runs a test on each kind of store that outlives a process.
func eachStore(t *testing.T, test func(t *testing.T, store string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db")) })
	t.Run("postgres", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		// The key file of PostgreSQL lies in the user's folder.
		t.Setenv("HOME", t.TempDir())
		t.Setenv("XDG_CONFIG_HOME", "")
		test(t, dsn)
	})
}
