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
	whole       bool // everything was to be measured
	rows        int
	when        time.Time
	sections    []*section
	profiles    map[string]string // of targets that are missed, by their key
	growth      string            // rows of the table of targets that another program measures
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
	r := &report{plan: o.plan, whole: o.whole, rows: o.rows, when: time.Now(), profiles: map[string]string{}}
	for _, name := range o.backends {
		r.sections = append(r.sections, &section{backend: name})
	}
	return r
}

// result returns that of a case, nil if it was not measured.
func (r *report) result(id string) *result {
	for _, s := range r.sections {
		for _, res := range s.results {
			if res.id == id {
				return res
			}
		}
	}
	return nil
}

// rate is the median of a row, 0 if there is none.
func (r *report) rate(id, row string) float64 {
	if res := r.result(id); res != nil {
		for _, got := range res.rows {
			if got.name == row && len(got.rates) > 0 {
				return median(got.rates)
			}
		}
	}
	return 0
}

func (r *report) failed() bool {
	return slices.ContainsFunc(r.sections, func(s *section) bool {
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
	"create-memory":       "a new token, in memory",
	"hello":               "GET with a Bearer token",
	"put":                 "PUT of an existing one",
	"introspect":          "whose token is it",
	"memory":              "memory of the cache",
	"logins":              "login storm",
	"logins-spared":       "the same, a processor spared",
}

// markdown is the report as a document.
func (r *report) markdown() string {
	return r.head() + "\n" + r.targetTable() + r.tables()
}

// head says what the figures are.
func (r *report) head() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s %s/%s, GOMAXPROCS=%d, %d authorizations loaded; %s of everything, each with %s of %s, interleaved; a ratio is the median of its rounds' medians.\n",
		r.when.UTC().Format("2006-01-02"), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), r.rows,
		count(r.rounds, "round"), count(r.passes, "pass"), r.pass)
	b.WriteString("“÷ raw” is the rate over that of the raw statement in the same pass, “authz ÷ it” authz's rate over that of the row; **bold** is what misses what is wanted. " +
		"CPU and allocations are this process's, for each operation.\n")
	if r.interrupted {
		b.WriteString("\nInterrupted: incomplete.\n")
	}
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// tables hold all that was measured, by backend.
func (r *report) tables() string {
	var b strings.Builder
	for _, s := range r.sections {
		if s.about == "" && s.err == nil {
			continue // not begun
		}
		fmt.Fprintf(&b, "\n### %s\n\n", s.backend)
		if s.err != nil {
			fmt.Fprintf(&b, "Not measured: %v\n", s.err)
			continue
		}
		fmt.Fprintf(&b, "%s\n", s.about)
		if slices.ContainsFunc(s.results, func(r *result) bool { return len(r.rows) > 0 }) {
			fmt.Fprintf(&b, "\n| operation | callers | by | per second | %s | min … max | wanted | CPU µs | allocs |\n", cmp.Or(s.ratio, "÷ raw"))
			b.WriteString("|---|--:|---|--:|--:|--:|--:|--:|--:|\n")
		}
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

// gauged is the table of a gauge's figures.
func (r *result) gauged(b *strings.Builder) {
	if len(r.figures) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| %s | | median | min … max |\n|---|---|--:|--:|\n", titles[r.name])
	for i, f := range r.figures[0] {
		var values []float64
		for _, round := range r.figures {
			values = append(values, round[i].value)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s … %s |\n", f.name, f.unit, short(median(values)), short(slices.Min(values)), short(slices.Max(values)))
	}
}

func (r *result) markdown(b *strings.Builder) {
	r.gauged(b)
	for i, row := range r.rows {
		if len(row.rates) == 0 {
			continue
		}
		ratio, spread, wanted := "", "", ""
		if r.base && i == 0 {
			ratio = "1"
		} else if r.base {
			ratios := r.ratios(row)
			m := median(r.byRound(ratios)) // as a target is judged
			ratio = fmt.Sprintf("%.2f", m)
			spread = fmt.Sprintf("%.2f … %.2f", slices.Min(ratios), slices.Max(ratios))
			if limit := targetOf(r.id, row.name); limit > 0 {
				wanted = number(limit)
				if round2(m) < limit {
					ratio = "**" + ratio + "**"
				}
			}
		}
		allocs := fmt.Sprintf("%.0f", median(row.allocs))
		if allocs != "0" && unwantedAllocs(r.id, row.name) {
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
