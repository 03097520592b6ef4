package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// summary is what -json writes.
type summary struct {
	Loop        string     `json:"loop"`
	Callers     int        `json:"callers,omitempty"`
	Wanted      float64    `json:"wanted_rate,omitempty"`
	Arrivals    string     `json:"arrivals,omitempty"`
	InFlight    int        `json:"max_in_flight,omitempty"`
	Mix         string     `json:"mix"`
	Seconds     float64    `json:"seconds"`
	Interrupted bool       `json:"interrupted"`
	Operations  []row      `json:"operations"`
	Total       row        `json:"total"`
	Dropped     int64      `json:"dropped"`
	ErrorShare  float64    `json:"error_share"`
	Failures    []*failure `json:"failures"`
}

// row is an operation; times are in milliseconds.
type row struct {
	Name   string  `json:"name"`
	Count  int64   `json:"count"`
	Rate   float64 `json:"rate"`
	P50    float64 `json:"p50_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	P999   float64 `json:"p99_9_ms"`
	Max    float64 `json:"max_ms"`
	Errors int64   `json:"errors"`
}

func newRow(name string, c *counts, elapsed time.Duration) row {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := func(q float64) float64 { return ms(c.times.ValueAtQuantile(q)) }
	r := row{Name: name, Count: c.times.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(c.times.Max()), Errors: c.errors}
	if elapsed > 0 {
		r.Rate = float64(r.Count) / elapsed.Seconds()
	}
	return r
}

// table writes the summary for people.
func (s *summary) table(w io.Writer) error {
	until := ""
	if s.Interrupted {
		until = ", interrupted"
	}
	if s.Loop == "open" {
		fmt.Fprintf(w, "open loop, %g requests/s wanted (%s), at most %d in flight, %.1f s%s\n\n", s.Wanted, s.Arrivals, s.InFlight, s.Seconds, until)
	} else {
		fmt.Fprintf(w, "closed loop, %d callers, %.1f s%s\n\n", s.Callers, s.Seconds, until)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcount\trate/s\tp50 ms\tp90\tp99\tp99.9\tmax\terrors\t")
	for _, r := range append(s.Operations, s.Total) {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t\n", r.Name, r.Count, r.Rate, r.P50, r.P90, r.P99, r.P999, r.Max, r.Errors)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.Dropped > 0 {
		fmt.Fprintf(w, "\n%d requests were dropped: %d were on the way\n", s.Dropped, s.InFlight)
	}
	if len(s.Failures) > 0 {
		fmt.Fprintln(w, "\nerrors, and the first of each kind:")
	}
	for _, f := range s.Failures {
		fmt.Fprintf(w, "  %s × %d: %s: %s\n", f.Kind, f.Count, f.Op, f.Text)
		if f.RetryAfters > 0 {
			fmt.Fprintf(w, "    Retry-After came with %d of them, the last %s; it was not heeded\n", f.RetryAfters, f.RetryAfter)
		}
	}
	return nil
}
