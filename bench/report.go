package main

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is all that was measured.
type report struct {
	plan
	rows        int
	when        time.Time
	sections    []section
	interrupted bool
}

// section is what was measured of one backend, or why nothing was.
type section struct {
	backend string
	about   string
	ratio   string
	results []*result
	err     error
}

func newReport(o options) *report {
	return &report{plan: o.plan, rows: o.rows, when: time.Now()}
}

func (r *report) failed() bool {
	return slices.ContainsFunc(r.sections, func(s section) bool {
		return s.err != nil || slices.ContainsFunc(s.results, func(r *result) bool { return r.err != nil })
	})
}

// titles are the names of cases for readers.
var titles = map[string]string{
	"existing":            "get-or-create, existing",
	"existing-background": "the same, context.Background()",
	"verify":              "verify, not cached",
	"create":              "get-or-create, new",
	"verify-memory":       "verify, in memory",
	"hello":               "GET with a Bearer token",
}

// markdown is the report as a document, or as a part of one.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s %s/%s, GOMAXPROCS=%d, %d authorizations loaded; medians of %d passes of %s each, interleaved.\n",
		r.when.UTC().Format("2006-01-02"), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), r.rows, r.passes, r.pass)
	b.WriteString("“÷ raw” is the rate over that of the raw statement in the same pass, “authz ÷ it” authz's rate over that of the row; **bold** is what misses what is wanted. " +
		"CPU and allocations are this process's, for each operation.\n")
	if r.interrupted {
		b.WriteString("\nInterrupted: incomplete.\n")
	}
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n### %s\n\n", s.backend)
		if s.err != nil {
			fmt.Fprintf(&b, "Not measured: %v\n", s.err)
			continue
		}
		fmt.Fprintf(&b, "%s\n\n", s.about)
		fmt.Fprintf(&b, "| operation | callers | by | per second | %s | min … max | wanted | CPU µs | allocs |\n", cmp.Or(s.ratio, "÷ raw"))
		b.WriteString("|---|--:|---|--:|--:|--:|--:|--:|--:|\n")
		for _, res := range s.results {
			res.markdown(&b)
		}
		for _, res := range s.results {
			if res.err != nil {
				fmt.Fprintf(&b, "\nFailed: %s, %d callers: %v\n", titles[res.name], res.callers, res.err)
			}
		}
	}
	return b.String()
}

func (r *result) markdown(b *strings.Builder) {
	for i, row := range r.rows {
		if len(row.rates) == 0 {
			continue
		}
		ratio, spread, wanted := "", "", ""
		if r.base && i == 0 {
			ratio = "1"
		} else if r.base {
			ratios := r.ratios(row)
			m := median(ratios)
			ratio = fmt.Sprintf("%.2f", m)
			spread = fmt.Sprintf("%.2f … %.2f", slices.Min(ratios), slices.Max(ratios))
			if row.wanted > 0 {
				wanted = strconv.FormatFloat(row.wanted, 'f', -1, 64)
				if m < row.wanted {
					ratio = "**" + ratio + "**"
				}
			}
		}
		allocs := fmt.Sprintf("%.0f", median(row.allocs))
		if row.noAllocs && allocs != "0" {
			allocs = "**" + allocs + "**"
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", titles[r.name], r.callers, row.name,
			short(median(row.rates)), ratio, spread, wanted, short(median(row.cpu)), allocs)
	}
}

// short writes a rate with three digits: 987, 12.3 k, 4.56 M.
func short(v float64) string {
	unit := ""
	switch {
	case v >= 999_500:
		v, unit = v/1e6, " M"
	case v >= 999.5:
		v, unit = v/1e3, " k"
	}
	digits := 0
	if v > 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(v))))
	}
	return strconv.FormatFloat(v, 'f', min(digits, 2), 64) + unit
}
