package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// target is a figure that we want to reach (docs/performance.md begins with all
// of them). Nothing ends or fails when one is missed: the report says so.
type target struct {
	path string // what is done
	want string // in words, limit included
	// The figure is the ratio of a row of a case, or its allocations, or a figure
	// of a gauge.
	id, row string
	allocs  bool
	limit   float64
	most    bool // limit is the most that it may be, not the least
	memory  bool // a profile of the CPU says nothing about it
	// elsewhere says where else the figure can be had, if this run has none.
	elsewhere string
}

// targets are in the order of the report.
var targets = slices.Concat(
	each([]int{1, 32}, "peers/verify-memory/%d", func(id string, n int) []target {
		path := fmt.Sprintf("Verify, cached, in process, %s", callersText(n))
		return []target{
			{path: path, want: "within 1.5 times the floor, SHA-256 and a map: at least 0.67 of its rate", id: id, row: byFloor, limit: 0.67},
			{path: path, want: "no allocation", id: id, row: byAuthz, allocs: true, most: true},
			{path: path, want: "at least 10 times fosite's introspection", id: id, row: byFosite, limit: 10},
			{path: path, want: "at least 15 times go-oauth2's", id: id, row: byOAuth2, limit: 15},
			{path: path, want: "at least 30 times a session of scs", id: id, row: bySCS, limit: 30},
		}
	}),
	each([]int{1, 32}, "sqlite/verify/%d", atLeast("Verify, not cached, SQLite", 0.85, "of the raw prepared get, same driver and pool")),
	each([]int{1}, "postgres/verify/%d", atLeast("Verify, not cached, PostgreSQL", 0.9, "of raw lib/pq, prepared")),
	each([]int{32, 64}, "postgres/verify/%d", atLeast("Verify, not cached, PostgreSQL", 3, "times raw single statements: misses that meet share one")),
	each([]int{1, 32}, "sqlite/existing/%d", atLeast("get-or-create of an existing one, SQLite", 0.85, "of the raw prepared SELECT")),
	each([]int{1, 32}, "postgres/existing/%d", atLeast("get-or-create of an existing one, PostgreSQL", 0.85, "of the raw prepared SELECT")),
	each([]int{1}, "sqlite/create/%d", atLeast("creation, SQLite, synchronous=FULL", 0.85, "of the raw INSERT")),
	each([]int{64}, "sqlite/create/%d", atLeast("creation, SQLite, synchronous=FULL", 10, "times one transaction for each row, and nobody is answered before the fsync (the tests of store/sqlite see to that)")),
	each([]int{1}, "postgres/create/%d", atLeast("creation, PostgreSQL", 0.85, "of raw; 0.6 is allowed where it takes two statements")),
	each([]int{64}, "postgres/create/%d", atLeast("creation, PostgreSQL", 3, "times raw single INSERTs")),
	[]target{
		{path: "HTTP, middleware before hello", want: "at least 0.9 of the same handler behind a check by hand", id: "http/hello/32", row: byHand, limit: 0.9},
		{path: "HTTP, middleware before hello", want: "at least 10 times hydra's introspection", id: "http/introspect/32", row: byHydra, limit: 10,
			elsewhere: "`make bench-hydra` builds it; in runs of their own it answered 5.1 k/s from memory, and hello without a check 74.7 k/s: " + otherRuns},
		{path: "HTTP, middleware before hello", want: "at least 8 times dex's introspection", id: "http/introspect/32", row: byDex, limit: 8,
			elsewhere: "its releases are no modules that the proxy has, so it cannot be built here; in runs of their own it answered 7.7 k/s from memory, and hello without a check 74.7 k/s: " + otherRuns},
		{path: "HTTP, PUT of an existing one, host authenticator without KDF, memory", want: "at least 0.8 of a handler that decodes and encodes the JSON", id: "http/put/32", row: byJSON, limit: 0.8},
		{path: "memory, cache of 1 M tokens", want: "at most 200 bytes for each beyond key and record", id: "cache/memory/1", row: beyondRecord, limit: 200, most: true, memory: true},
		{path: "login storm, 64 callers, argon2id: Verify's p99, the call", want: "at most 2 times that without the storm", id: "storm/logins/64", row: stormCall, limit: 2, most: true},
		{path: "login storm, 64 callers, argon2id: Verify's p99, from when it was due", want: "at most 2 times that without the storm", id: "storm/logins/64", row: stormDue, limit: 2, most: true},
		{path: "login storm, 64 callers, argon2id: memory", want: "bounded and stated: MiB, a quarter of what 64 hashes at once would take at most", id: "storm/logins/64", row: stormHeap, limit: stormCallers * 19 / 4, most: true, memory: true},
	},
)

const otherRuns = "another load client on another day, so no ratio"

func each(callers []int, id string, of func(id string, callers int) []target) (all []target) {
	for _, n := range callers {
		all = append(all, of(fmt.Sprintf(id, n), n)...)
	}
	return all
}

// atLeast is about the Manager beside the raw side.
func atLeast(path string, limit float64, of string) func(string, int) []target {
	return func(id string, n int) []target {
		return []target{{
			path: path + ", " + callersText(n), want: fmt.Sprintf("at least %s %s", number(limit), of),
			id: id, row: byManager, limit: limit,
		}}
	}
}

func callersText(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprintf("%d callers", n)
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// key names a target in reasons.
func (t *target) key() string {
	key := t.id + " " + t.row
	if t.allocs {
		key += " allocs"
	}
	return key
}

// command repeats what the target's figure comes from.
func (t *target) command() string {
	backend, _, _ := strings.Cut(t.id, "/")
	return fmt.Sprintf("cd bench && go run . -backends %s -run '^%s$'", backend, t.id)
}

// targetOf returns what is wanted of the ratio of a row, 0 if nothing is.
func targetOf(id, row string) float64 {
	for _, t := range targets {
		if t.id == id && t.row == row && !t.allocs {
			return t.limit
		}
	}
	return 0
}

// unwantedAllocs says that a row should have none.
func unwantedAllocs(id, row string) bool {
	return slices.ContainsFunc(targets, func(t target) bool { return t.id == id && t.row == row && t.allocs })
}

// outcome is a target with what was measured of it, a median for each round.
type outcome struct {
	target
	medians []float64
	profile string // where the time goes, if it falls short
}

// value is the median of the medians.
func (o *outcome) value() float64 { return median(o.medians) }

// missed judges what the report shows: 0.854 is 0.85.
func (o *outcome) missed() bool {
	switch {
	case len(o.medians) == 0:
		return false
	case o.allocs:
		return math.Round(o.value()) > o.limit
	case o.most:
		return round2(o.value()) > o.limit
	}
	return round2(o.value()) < o.limit
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }

func (o *outcome) text(v float64) string {
	switch {
	case o.allocs:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// outcomes are those of all targets, measured or not.
func (r *report) outcomes() []*outcome {
	var all []*outcome
	for _, t := range targets {
		all = append(all, &outcome{target: t, medians: r.medians(&t), profile: r.profiles[t.key()]})
	}
	return all
}

func (r *report) medians(t *target) []float64 {
	res := r.result(t.id)
	if res == nil {
		return nil
	}
	for _, row := range res.rows {
		switch {
		case row.name != t.row:
		case t.allocs:
			return res.byRound(row.allocs)
		default:
			return res.byRound(res.ratios(row))
		}
	}
	var medians []float64
	for _, figures := range res.figures {
		for _, f := range figures {
			if f.name == t.row {
				medians = append(medians, f.value)
			}
		}
	}
	return medians
}

// targetTable is the head of docs/performance.md. A part of a run shows what it
// has measured.
func (r *report) targetTable() string {
	var b, why strings.Builder
	b.WriteString("| path | wanted | measured | its medians | repeat with |\n|---|---|--:|---|---|\n")
	for _, o := range r.outcomes() {
		var parts []string
		for _, m := range o.medians {
			parts = append(parts, o.text(m))
		}
		measured := ""
		switch {
		case len(o.medians) == 0 && !r.whole:
			continue
		case len(o.medians) == 0:
			measured = "not measured in this run"
			if o.elsewhere != "" {
				measured += " (" + o.elsewhere + ")"
			}
		case o.missed():
			measured = "**" + o.text(o.value()) + "**"
			fmt.Fprintf(&why, "- **%s**, %s: %s against %s. %s\n", o.path, o.want, o.text(o.value()), number(o.limit), reason(o.key()))
			why.WriteString(o.profile)
		default:
			measured = o.text(o.value())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` |\n", o.path, o.want, measured, strings.Join(parts, ", "), o.command())
	}
	if r.whole {
		b.WriteString(r.growth)
	}
	if why.Len() > 0 {
		b.WriteString("\n### What falls short, and why\n\n" + why.String())
	}
	return b.String()
}
