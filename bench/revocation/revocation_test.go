//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

// The nodes are this test binary, started again.
func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(nodeVariable); ok {
		os.Exit(asNode(job))
	}
	os.Exit(m.Run())
}

var tiny = []string{"-duration", "1s", "-fault-duration", "1200ms", "-rate", "100", "-sqlite-rate", "50", "-fault-rate", "100",
	"-live", "20", "-verifies", "1000", "-sample", "2"}

// need skips what is not here, or fails where nothing may be skipped.
func need(t *testing.T) {
	t.Helper()
	s, err := pgtest.Start(pgtest.Options{})
	if err == nil {
		defer s.Close()
		var end func()
		if _, end, err = pgtest.StartPgBouncer(s.DSN(), 1); err == nil {
			end()
			return
		}
	}
	if !errors.Is(err, pgtest.ErrNotFound) && !errors.Is(err, pgtest.ErrNoPgBouncer) || os.Getenv(pgtest.EnvRequire) == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// The whole program, so small that its times mean nothing. That it measures every
// fault does, and that no token outlives any of them.
func TestRun(t *testing.T) {
	need(t)
	report, drawing := filepath.Join(t.TempDir(), "report.md"), filepath.Join(t.TempDir(), "plot.svg")
	args := append([]string{"-o", report, "-plot", drawing}, tiny...)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d; stderr:\n%s\nstdout:\n%s", code, &stderr, &stdout)
	}
	text := stdout.String()
	if written, err := os.ReadFile(report); err != nil || string(written) != text {
		t.Errorf("the file of -o holds something else than stdout (%v)", err)
	}
	for _, s := range scenarios(sizes{faultDuration: 1200 * time.Millisecond}) {
		title := regexp.QuoteMeta("| " + s.title + " | ")
		ms := `[\d.]+ ms \| `
		if !regexp.MustCompile(`(?m)^` + title + `[1-9]\d* \| ` + ms + ms + ms + ms + `(max|p99) ≤ [\d.]+ ms \| (yes|\*\*no\*\*) \|$`).MatchString(text) {
			t.Errorf("%s: no line with its latencies", s.name)
		}
		// Nothing alive, nothing refused wrongly.
		if !regexp.MustCompile(`(?m)^` + title + `[1-9]\d* \| \d+ \| -?[\d.]+ ms \| [\d.]+ % \| ([\d.]+ %)? \| 0 \| 0 \| \d+ \| [\d.]+ ms \|$`).MatchString(text) {
			t.Errorf("%s: no line with its counts", s.name)
		}
		if s.deaf && !regexp.MustCompile(`(?m)^`+title+`.* % \| 0 % \| 0 \|`).MatchString(text) {
			t.Errorf("%s: a process that cannot hear answers from memory", s.name)
		}
		if !strings.Contains(stderr.String(), s.name+": p50 ") {
			t.Errorf("%s: no progress on stderr", s.name)
		}
	}
	if svg, err := os.ReadFile(drawing); err != nil || !bytes.Contains(svg, []byte("<svg")) || !bytes.Contains(svg, []byte("SQLite, no fault")) {
		t.Errorf("the plot is not complete (%v)", err)
	}
	if !strings.Contains(text, "](plot.svg)") && !strings.Contains(text, "/plot.svg)") {
		t.Error("the report does not show the plot")
	}
	if t.Failed() {
		t.Logf("%s\n%s", text, &stderr)
	}
}

// An interrupt ends the program with what there is, and leaves no process behind.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	interrupt := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "revocations a second") {
			cancel()
		}
		return stderr.Write(p)
	})
	began := time.Now()
	code := run(ctx, []string{"-run", "sqlite", "-duration", "1h", "-sqlite-rate", "0.1"}, &stdout, interrupt)
	if code != 130 || !strings.Contains(stdout.String(), "Interrupted") {
		t.Errorf("exit code %d, report:\n%s\nstderr:\n%s", code, &stdout, &stderr)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A node ends with its parent, however that ends.
func TestNodeEndsWithItsStdin(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	dir := t.TempDir()
	board, err := openBoard(filepath.Join(dir, "board"), 1, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer board.close()
	if err := os.WriteFile(filepath.Join(dir, "tokens"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), nodeVariable+`={"Nodes":1,"Count":1,"Backend":"sqlite","DSN":"`+filepath.Join(dir, "db")+
		`","Board":"`+filepath.Join(dir, "board")+`","Tokens":"`+filepath.Join(dir, "tokens")+`"}`)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the node: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunBadArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-rate", "0"}, {"-duration", "-1s"}, {"-live", "0"}, {"-sample", "0"}, {"-run", "("}, {"-nosuch"}, {"left over"}, {"-plot", "/nonexistent/plot.svg"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 || stdout.Len() != 0 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
}

// What a scenario counts against itself.
func TestVerdict(t *testing.T) {
	s := &scenario{quantile: 0.99, target: 10 * time.Millisecond}
	fine := func() *result {
		r := &result{scenario: s}
		for range 99 {
			r.latencies = append(r.latencies, time.Millisecond)
		}
		r.latencies = append(r.latencies, time.Second)
		return r
	}
	if r := fine(); !r.met() || r.at(1) != time.Second || r.at(0.5) != time.Millisecond {
		t.Errorf("p99 %v, max %v: want it met", r.at(0.99), r.at(1))
	}
	for name, spoil := range map[string]func(r *result){
		"p99":     func(r *result) { r.latencies[98] = time.Second },
		"alive":   func(r *result) { r.counts[alive] = 1 },
		"own":     func(r *result) { r.counts[ownAccepted] = 1 },
		"wrong":   func(r *result) { r.counts[wrong] = 1 },
		"silent":  func(r *result) { r.unrefused = 1 },
		"nothing": func(r *result) { r.latencies = nil },
		"failed":  func(r *result) { r.err = errors.New("boom") },
	} {
		r := fine()
		if spoil(r); r.met() {
			t.Errorf("%s: the target counts as met", name)
		}
	}
}

// A process that stands still is asked from when it goes on.
func TestReadOfStoppedNode(t *testing.T) {
	b, err := openBoard(filepath.Join(t.TempDir(), "board"), 2, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	// Token 0 is alive, 1 is revoked by node 0, 2 by node 1.
	b.revoked[1].Store(1000)
	b.revoked[2].Store(1000)
	b.tell(2)
	b.tell(1)
	b.at[0].refused[2].Store(5300)
	b.at[0].accepted[2].Store(5100)
	b.at[1].refused[1].Store(1200)
	c := &cluster{}
	c.woken.Store(5000)
	r := &result{scenario: &scenario{paused: true, duration: time.Second}, live: 1}
	r.read(b, c, 0)
	if len(r.latencies) != 2 || r.latencies[0] != 200 || r.latencies[1] != 300 || r.accepted != 100 || r.revoked != 2 || r.unrefused != 0 {
		t.Errorf("latencies %v, accepted %v, %d revoked, %d not refused", r.latencies, r.accepted, r.revoked, r.unrefused)
	}
}
