package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

// The whole program, so small that it takes a moment. What it measures here
// means nothing; that it measures everything does.
func TestRun(t *testing.T) {
	for _, backend := range []string{"memory", "sqlite", "postgres"} {
		t.Run(backend, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "report.md")
			args := []string{"-rounds", "1", "-passes", "1", "-pass", "5ms", "-rows", "50", "-backends", backend, "-o", file}
			if backend == "postgres" {
				args = append(args, "-dsn", pgtest.DSN(t))
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
				t.Fatalf("exit code %d; stderr:\n%s\nstdout:\n%s", code, &stderr, &stdout)
			}
			text := stdout.String()
			if written, err := os.ReadFile(file); err != nil || string(written) != text {
				t.Errorf("the file of -o holds something else than stdout (%v)", err)
			}
			if !strings.Contains(stderr.String(), backend+"/create/64, pass 1/1") {
				t.Errorf("no progress on stderr:\n%s", &stderr)
			}
			const rate = `[\d.]+( [kM])?`
			figures := map[string]string{
				byRaw:     rate + ` \| 1 \|  \| `,
				byStore:   rate + ` \| \d+\.\d\d \| \d+\.\d\d … \d+\.\d\d \| `,
				byManager: rate + ` \| (\*\*)?\d+\.\d\d(\*\*)? \| \d+\.\d\d … \d+\.\d\d \| [\d.]*`,
			}
			operations := []string{"the same, context.Background() | 1"}
			for _, operation := range []string{"get-or-create, existing", "verify, not cached", "get-or-create, new"} {
				for _, callers := range callerCounts {
					operations = append(operations, fmt.Sprintf("%s | %d", operation, callers))
				}
			}
			text = tablesOf(text)
			want := 0
			for _, operation := range operations {
				for subject, figures := range figures {
					want++
					pattern := `(?m)^\| ` + regexp.QuoteMeta(operation+" | "+subject+" | ") + figures + ` \| ` + rate + ` \| \d+ \|$`
					if n := len(regexp.MustCompile(pattern).FindAllString(text, -1)); n != 1 {
						t.Errorf("%d rows for %q by %q, want 1", n, operation, subject)
					}
				}
			}
			if got := strings.Count(text, "\n| ") - 1; got != want { // the head is not one
				t.Errorf("%d rows, want %d", got, want)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// tablesOf leaves out the targets before.
func tablesOf(text string) string { return text[strings.Index(text, "\n### "+"")+1:] }

// The same for what is not about a store: other subjects, and authz's rate over
// theirs.
func TestRunPeers(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-rounds", "1", "-passes", "1", "-pass", "10ms", "-rows", "50", "-backends", "peers,http", "-hydra", ""}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d; stderr:\n%s\nstdout:\n%s", code, &stderr, &stdout)
	}
	text := tablesOf(stdout.String())
	if n := strings.Count(text, "| authz ÷ it |"); n != 2 {
		t.Errorf("%d tables of authz's rate over others, want 2", n)
	}
	const rate = `[\d.]+( [kM])?`
	ratio := func(wanted string) string {
		return rate + ` \| (\*\*)?\d+\.\d\d(\*\*)? \| \d+\.\d\d … \d+\.\d\d \| ` + wanted
	}
	base := rate + ` \| 1 \|  \| `
	want := 0
	for operation, subjects := range map[string]map[string]string{
		"verify, in memory | 1":        {byAuthz: base, byFloor: ratio("0.67"), byFosite: ratio("10"), byOAuth2: ratio("15"), bySCS: ratio("30")},
		"verify, in memory | 32":       {byAuthz: base, byFloor: ratio("0.67"), byFosite: ratio("10"), byOAuth2: ratio("15"), bySCS: ratio("30")},
		"a new token, in memory | 1":   {byAuthz: base, byFosite12: ratio(""), byFosite4: ratio(""), byOAuth2: ratio(""), bySCS: ratio("")},
		"a new token, in memory | 32":  {byAuthz: base, byFosite4: ratio(""), byOAuth2: ratio(""), bySCS: ratio("")},
		"GET with a Bearer token | 32": {byAuthz: base, byHand: ratio("0.9"), byNothing: ratio(""), bySockets: ratio("")},
		"PUT of an existing one | 32":  {byAuthz: base, byJSON: ratio("0.8")},
		"whose token is it | 32":       {byAuthz: base, byIntrospection: ratio("")},
	} {
		for subject, figures := range subjects {
			want++
			pattern := `(?m)^\| ` + regexp.QuoteMeta(operation+" | "+subject+" | ") + figures + ` \| ` + rate + ` \| (\*\*)?\d+(\*\*)? \|$`
			if n := len(regexp.MustCompile(pattern).FindAllString(text, -1)); n != 1 {
				t.Errorf("%d rows for %q by %q, want 1", n, operation, subject)
			}
		}
	}
	if got := strings.Count(text, "\n| ") - 2; got != want { // the heads are none
		t.Errorf("%d rows, want %d", got, want)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// The floor of tokens must be one, or it flatters authz.
func TestFloorAllocatesNothing(t *testing.T) {
	d, err := newData(10)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFloor(d)
	if err != nil {
		t.Fatal(err)
	}
	for i, token := range d.tokens {
		if rec := f.verify(token); rec == nil || rec.Owner != d.recs[i].Owner {
			t.Errorf("token %d: %v", i, rec)
		}
	}
	if f.verify(strings.Repeat("x", tokenSize)) != nil || f.verify("") != nil {
		t.Error("found what is not there")
	}
	if n := testing.AllocsPerRun(100, func() { f.verify(d.tokens[3]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A server that lets nobody in must not count as a fast one.
func TestGetWantsHello(t *testing.T) {
	s := httptest.NewServer(checkByHand(&floor{}, http.HandlerFunc(hello)))
	defer s.Close()
	c, err := dial(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.c.Close()
	if err := c.get(strings.Repeat("x", tokenSize)); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("err = %v, want one that says 401", err)
	}
	open := httptest.NewServer(http.HandlerFunc(hello))
	defer open.Close()
	if err := refuses(open.Listener.Addr().String()); err == nil {
		t.Error("a server that checks nothing passes for one that does")
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	docs := document(t)
	var stdout, stderr bytes.Buffer
	interrupt := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "memory/existing/1, pass 2") {
			cancel()
		}
		return stderr.Write(p)
	})
	code := run(ctx, []string{"-passes", "1000", "-pass", "5ms", "-rows", "10", "-backends", "memory,sqlite,postgres,peers,http,cache,storm", "-docs", docs}, &stdout, interrupt)
	if code != 130 {
		t.Errorf("exit code %d, want 130; stderr:\n%s", code, &stderr)
	}
	for _, want := range []string{"Interrupted", "| get-or-create, existing | 1 | store | "} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &stdout)
		}
	}
	if strings.Contains(stdout.String(), "### sqlite") {
		t.Errorf("went on after the interrupt:\n%s", &stdout)
	}
	if text, err := os.ReadFile(docs); err != nil || string(text) != blank {
		t.Errorf("the document was changed: %q, %v", text, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunBadArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-passes", "0"}, {"-pass", "-1s"}, {"-rows", "0"}, {"-rounds", "0"}, {"-cached", "-1"}, {"-backends", "oracle"}, {"-run", "("}, {"-nosuch"}, {"-docs", "x", "-run", "verify"}, {"-docs", "x", "-backends", "memory"}, {"left over"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 || stdout.Len() != 0 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
}

func TestFailedBackendIsReported(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-rounds", "1", "-pass", "1ms", "-rows", "1", "-backends", "postgres,memory", "-run", "verify/1",
		"-dsn", "host=nowhere password=hidden"}, &stdout, &stderr)
	if code != 1 || !strings.Contains(stdout.String(), "Not measured: ") || !strings.Contains(stdout.String(), "| verify, not cached | 1 | Manager |") {
		t.Errorf("exit code %d, report:\n%s", code, &stdout)
	}
	if strings.Contains(stdout.String()+stderr.String(), "hidden") {
		t.Error("the password is in the output")
	}
}

// An operation that fails ends its case, and the report says so.
func TestMeasureFailure(t *testing.T) {
	boom := errors.New("boom")
	c := &benchCase{name: "verify", callers: 4, base: true, subjects: []subject{
		{name: byRaw, op: func(context.Context, *worker) error { return nil }},
		{name: byStore, op: func(context.Context, *worker) error { return boom }},
	}}
	res := newResult("x", c)
	res.round(t.Context(), c, plan{passes: 3, pass: time.Hour}, func(int) {})
	if !errors.Is(res.err, boom) {
		t.Fatalf("err = %v, want boom", res.err)
	}
	rep := &report{sections: []*section{{backend: "sqlite", about: "x", results: []*result{res}}}}
	if text := rep.markdown(); !rep.failed() || !strings.Contains(text, "Failed: verify, not cached, 4 callers: store: boom") {
		t.Errorf("report:\n%s", text)
	}
}

func TestRatiosArePassByPass(t *testing.T) {
	res := &result{base: true, rows: []*resultRow{
		{rates: []float64{100, 200, 400}},
		{rates: []float64{90, 160, 400}},
	}}
	got := res.ratios(res.rows[1])
	if got[0] != 0.9 || got[1] != 0.8 || got[2] != 1 || median(got) != 0.9 {
		t.Errorf("ratios %v, median %v", got, median(got))
	}
	res.inverse = true
	if got := res.ratios(res.rows[1]); got[1] != 1.25 || got[2] != 1 {
		t.Errorf("inverse ratios %v", got)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median of four = %v, want 2.5", m)
	}
}

func TestUnwantedAllocations(t *testing.T) {
	for allocs, want := range map[float64]string{0.01: "| 0 |\n", 2: "| **2** |\n"} {
		var b strings.Builder
		(&result{id: "peers/verify-memory/1", rows: []*resultRow{row(byAuthz, 1, allocs)}}).markdown(&b)
		if !strings.HasSuffix(b.String(), want) {
			t.Errorf("%v allocations: %q does not end in %q", allocs, &b, want)
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.712: "0.71", 9.876: "9.88", 98.76: "98.8", 987.6: "988", 999.6: "1.00 k", 1234: "1.23 k",
		12_345: "12.3 k", 123_456: "123 k", 999_600: "1.00 M", 4_560_000: "4.56 M",
	} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %q, want %q", v, got, want)
		}
	}
}
