//go:build unix

package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is what was measured of one scenario.
type result struct {
	*scenario
	err        error
	about      string
	live       int
	revoked    int     // tokens
	achieved   float64 // of these, a second
	latencies  []time.Duration
	accepted   time.Duration // the longest time for which a token was accepted after it was revoked
	counts     [counters]int64
	victimHits float64
	unrefused  int // measured tokens that some node had not refused until the end
}

// read takes the figures from the board.
func (r *result) read(b *board, c *cluster, start int64) {
	var last int64
	for i := r.live; i < b.tokens; i++ {
		if t := b.revoked[i].Load(); t != 0 {
			r.revoked++
			last = max(last, t)
		}
	}
	r.achieved = float64(r.revoked) / (max(float64(last-start), float64(r.duration)) / 1e9)
	j := job{Nodes: b.nodes, Live: r.live}
	for line := range min(int(b.told.Load()), b.tokens) {
		i := int(b.log[line].Load()) - 1
		if i < 0 {
			continue
		}
		var worst int64
		for n, at := range b.at {
			if j.revoker(i) == n {
				continue
			}
			from, refused := b.revoked[i].Load(), at.refused[i].Load()
			// A process that stands still refuses nothing, and accepts nothing.
			if woken := c.woken.Load(); n == 0 && from < woken && woken < refused {
				from = woken
			}
			if refused == 0 {
				r.unrefused++
				continue
			}
			worst = max(worst, refused-from)
			if t := at.accepted[i].Load(); t != 0 {
				r.accepted = max(r.accepted, time.Duration(t-from))
			}
		}
		r.latencies = append(r.latencies, time.Duration(worst))
	}
	slices.Sort(r.latencies)
	for n, at := range b.at {
		for k := range r.counts {
			v := at.counts[k].Load()
			switch {
			case k != gap:
				r.counts[k] += v
			case !r.paused || n > 0:
				r.counts[k] = max(r.counts[k], v)
			}
		}
	}
	r.victimHits = share(b.at[0].counts[verified].Load(), b.at[0].counts[read].Load())
}

// share is that of calls which needed no read.
func share(calls, reads int64) float64 {
	if calls == 0 {
		return 0
	}
	return max(0, 1-float64(reads)/float64(calls))
}

// at is a quantile of the latencies.
func (r *result) at(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[max(0, int(math.Ceil(q*float64(len(r.latencies))))-1)]
}

// met reports whether the target was met, and nothing went wrong beside.
func (r *result) met() bool {
	return r.err == nil && len(r.latencies) > 0 && r.at(r.quantile) <= r.target && r.sound()
}

// sound reports whether what is no matter of time was right.
func (r *result) sound() bool {
	return r.unrefused == 0 && r.counts[alive] == 0 && r.counts[ownAccepted] == 0 && r.counts[wrong] == 0
}

// report is all that was measured.
type report struct {
	sizes
	when        time.Time
	command     string
	results     []*result
	plot        string // its name as the report links it
	interrupted bool
}

func (r *report) failed() bool {
	return slices.ContainsFunc(r.results, func(r *result) bool { return r.err != nil || !r.sound() })
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Revocation latency\n\n")
	fmt.Fprintf(&b, "How long a revoked token lives on in other processes. Written by `%s` on %s.\n\n", r.command, r.when.UTC().Format("2006-01-02"))
	fmt.Fprintf(&b, "%d processes on one database, each with a cache and started, each verifying %d times a second all tokens that are still alive. "+
		"They revoke by turns (every tenth token by `RevokeAll`, the others by `Delete`). A latency runs from the moment when the call that revoked a token had returned "+
		"until the last of the other processes had refused that token; each of them verifies it again every 0.1 to 0.3 ms, and every ms once it is 20 ms late. "+
		"CacheTTL is %v but where it says otherwise, so that nothing but the store's word ends a token.\n\n", nodes, r.verifies, farAway)
	fmt.Fprintf(&b, "Machine: %s.\n", machine())
	said := map[string]bool{}
	for _, res := range r.results {
		if res.about != "" && !said[res.about] {
			said[res.about] = true
			fmt.Fprintf(&b, "%s.\n", res.about)
		}
	}
	if r.interrupted {
		b.WriteString("\nInterrupted: incomplete.\n")
	}
	b.WriteString("\n| fault | n | p50 | p99 | p99.9 | max | target | met? |\n|---|--:|--:|--:|--:|--:|---|---|\n")
	for _, res := range r.results {
		if res.err != nil {
			fmt.Fprintf(&b, "| %s | | | | | | | **not measured** |\n", res.title)
			continue
		}
		which := "max"
		if res.quantile < 1 {
			which = "p" + strconv.FormatFloat(100*res.quantile, 'f', -1, 64)
		}
		met := "yes"
		if !res.met() {
			met = "**no**"
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s ≤ %s | %s |\n", res.title, len(res.latencies),
			millis(res.at(0.5)), millis(res.at(0.99)), millis(res.at(0.999)), millis(res.at(1)), which, millis(res.target), met)
	}
	if r.plot != "" {
		fmt.Fprintf(&b, "\n![Latency by percentile, for each fault](%s)\n", r.plot)
	}
	b.WriteString("\n## What else was counted\n\n" +
		"“accepted” is the longest time after a revocation at which a Verify began that still accepted the token. “hits” is the share of the load's calls that needed no read, " +
		"in all processes and in the one that had the fault. “alive” are revoked tokens, all of them and not only the n, that any process accepted at the end, or its own process even once; “refused” are live tokens that were refused, ever. " +
		"“errors” are calls of Verify that said nothing about the token, and revocations that had to be repeated. “pause” is the longest time for which the part that measures was not run: the machine's share of a latency.\n\n" +
		"| fault | revoked | per second | accepted | hits | hits there | alive | refused | errors | pause |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, res := range r.results {
		if res.err != nil {
			continue
		}
		there := ""
		if res.victim {
			there = percent(res.victimHits)
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %s | %s | %s | %d | %d | %d | %s |\n", res.title, res.revoked, res.achieved, millis(res.accepted),
			percent(share(res.counts[verified], res.counts[read])), there, res.counts[alive]+res.counts[ownAccepted]+int64(res.unrefused), res.counts[wrong],
			res.counts[failed]+res.counts[unrevoked], millis(time.Duration(res.counts[gap])))
	}
	for _, res := range r.results {
		if res.err != nil {
			fmt.Fprintf(&b, "\nFailed: %s: %v\n", res.title, res.err)
		}
	}
	return b.String()
}

func percent(share float64) string {
	if share > 0 && share < 1 {
		return strconv.FormatFloat(math.Floor(share*1e4)/100, 'f', 2, 64) + " %"
	}
	return strconv.FormatFloat(100*share, 'f', 0, 64) + " %"
}

// millis writes a time with three digits.
func millis(d time.Duration) string {
	ms := float64(d) / 1e6
	digits := 0
	if ms > 0 {
		digits = min(2, max(0, 2-int(math.Floor(math.Log10(ms)))))
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}

func machine() string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	return fmt.Sprintf("%s%d CPUs, %s %s/%s; all processes and the database share it", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// worst orders results for the plot's legend.
func worst(a, b *result) int { return cmp.Compare(b.at(1), a.at(1)) }
