// Command testsum reads the output of `go test -json`, prints a line for each package and the whole output of each
// test that failed, and adds "PASSED FAILED SKIPPED" to the file that TESTSUM_COUNTS names, and each skipped test to the one
// that TESTSUM_SKIPS names.
//
// It fails if a test failed, and if a test of PostgreSQL or PgBouncer was skipped, whatever the reason: such a
// skip must not look like a success.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is a line of go test -json; see go doc test2json. Build output has its own field for the package.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

var (
	mustRun = regexp.MustCompile(`(?i)postgres|pgbouncer|pgtest`)
	place   = regexp.MustCompile(`\.go:\d+: (.*)`)
)

type summary struct {
	passed, failed, skipped int
	skips                   []string
	output                  map[[2]string]*strings.Builder // by package and test; of those that have not ended
	failedIn                map[string]int                 // by package
}

func newSummary() *summary {
	return &summary{output: map[[2]string]*strings.Builder{}, failedIn: map[string]int{}}
}

func main() {
	s := newSummary()
	err := s.read(os.Stdin, os.Stdout)
	if err == nil {
		err = add(os.Getenv("TESTSUM_COUNTS"), fmt.Sprintln(s.passed, s.failed, s.skipped))
	}
	if err == nil && len(s.skips) > 0 {
		err = add(os.Getenv("TESTSUM_SKIPS"), strings.Join(s.skips, "\n")+"\n")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	if s.failed > 0 {
		os.Exit(1)
	}
}

func (s *summary) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				s.take(e, w)
			} else {
				fmt.Fprint(w, line) // not everything that go test prints is JSON
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event, w io.Writer) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		if s.output[key] == nil {
			s.output[key] = new(strings.Builder)
		}
		s.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		var out string
		if b := s.output[key]; b != nil {
			out = b.String()
		}
		delete(s.output, key)
		if e.Test == "" {
			s.endPackage(e, out, w)
		} else {
			s.endTest(e, out, w)
		}
	}
}

func (s *summary) endTest(e event, out string, w io.Writer) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.fail(e)
		fmt.Fprintf(w, "FAIL %s\n%s", name, out)
	case "skip":
		if mustRun.MatchString(name + out) {
			s.fail(e)
			fmt.Fprintf(w, "FAIL %s: skipped, but a test of PostgreSQL must run\n%s", name, out)
			return
		}
		s.skipped++
		s.skips = append(s.skips, name+": "+reason(out))
	}
}

func (s *summary) endPackage(e event, out string, w io.Writer) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(w, "ok   %s %.1f s\n", e.Package, e.Elapsed)
	case "fail":
		// A package fails with its tests, or alone: it did not build, it panicked, it ran out of time.
		if s.failedIn[e.Package] == 0 {
			s.fail(e)
		}
		fmt.Fprintf(w, "FAIL %s %.1f s\n%s", e.Package, e.Elapsed, out)
		for key, b := range s.output { // of the tests that never ended
			if key[0] == e.Package {
				fmt.Fprintf(w, "FAIL %s %s did not end\n%s", key[0], key[1], b)
				delete(s.output, key)
			}
		}
	}
}

func (s *summary) fail(e event) {
	s.failed++
	s.failedIn[e.Package]++
}

// reason finds what a test said with Skip: the line that names the place, as in "    x_test.go:12: not here".
func reason(out string) string {
	if m := place.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return "no reason given"
}

func add(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
