package main

import (
	"strings"
	"testing"
)

// Each stream is what go test -json prints, shortened.
func TestCounts(t *testing.T) {
	for _, tt := range []struct {
		name, in                string
		passed, failed, skipped int
		printed                 string
	}{
		{"pass and skip", `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: no moon\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}`, 1, 0, 1, "ok   p"},
		{"a failed test shows its output", `
{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`, 0, 1, 0, "got 1, want 2"},
		{"a skip in the PostgreSQL store", `
{"Action":"skip","Package":"store/postgres","Test":"TestA"}`, 0, 1, 0, "must run"},
		{"a skip for want of PgBouncer", `
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no pgbouncer here\n"}
{"Action":"skip","Package":"p","Test":"TestA"}`, 0, 1, 0, "must run"},
		{"a package that does not build", `
# p
{"ImportPath":"p [p.test]","Action":"build-output","Output":"undefined: x\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`, 0, 1, 0, "undefined: x"},
		{"a test that never ended", `
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}`, 0, 1, 0, "panic: test timed out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSummary()
			var out strings.Builder
			if err := s.read(strings.NewReader(tt.in), &out); err != nil {
				t.Fatal(err)
			}
			if s.passed != tt.passed || s.failed != tt.failed || s.skipped != tt.skipped {
				t.Errorf("%d passed, %d failed, %d skipped, want %d, %d, %d", s.passed, s.failed, s.skipped, tt.passed, tt.failed, tt.skipped)
			}
			if !strings.Contains(out.String(), tt.printed) {
				t.Errorf("printed %q, want %q in it", out.String(), tt.printed)
			}
		})
	}
	s := newSummary()
	in := `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: no moon\n"}
{"Action":"skip","Package":"p","Test":"TestB"}`
	if err := s.read(strings.NewReader(in), new(strings.Builder)); err != nil || len(s.skips) != 1 || s.skips[0] != "p TestB: no moon" {
		t.Errorf("skips %q, %v", s.skips, err)
	}
}
