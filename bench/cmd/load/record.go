package main

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recorder counts what was measured.
type recorder struct {
	onTheWay atomic.Int64
	describe func(error) string // without secrets

	mu       sync.Mutex
	ops      map[string]*counts
	second   counts // since the last live line
	failures map[string]*failure
	dropped  int64
}

type counts struct {
	times  *hdrhistogram.Histogram // microseconds
	errors int64
}

// failure is all errors of one kind.
type failure struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
	Op    string `json:"first_operation"`
	Text  string `json:"first_text"`
	// What the server asked for; the load goes on all the same.
	RetryAfters int64  `json:"retry_after_count,omitempty"`
	RetryAfter  string `json:"retry_after_last,omitempty"`
}

const longest = int64(time.Hour / time.Microsecond)

func newCounts() counts { return counts{times: hdrhistogram.New(1, longest, 3)} }

func (c *counts) add(took time.Duration, failed bool) {
	_ = c.times.RecordValue(min(took.Microseconds(), longest)) // in range
	if failed {
		c.errors++
	}
}

func newRecorder(describe func(error) string) *recorder {
	return &recorder{describe: describe, ops: map[string]*counts{}, second: newCounts(), failures: map[string]*failure{}}
}

// record counts a request; one that failed has a time as well, or the time of
// those that ran into their deadline would be missing. What is not measured
// shows in the live line only.
func (r *recorder) record(op string, took time.Duration, err error, measured bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.second.add(took, err != nil)
	if !measured {
		return
	}
	c := r.ops[op]
	if c == nil {
		made := newCounts()
		c = &made
		r.ops[op] = c
	}
	c.add(took, err != nil)
	if err == nil {
		return
	}
	kind := kindOf(err)
	f := r.failures[kind]
	if f == nil {
		f = &failure{Kind: kind, Op: op, Text: r.describe(err)}
		r.failures[kind] = f
	}
	f.Count++
	if s := (*statusError)(nil); errors.As(err, &s) && s.retryAfter != "" {
		f.RetryAfters++
		f.RetryAfter = s.retryAfter
	}
}

func (r *recorder) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped++
}

// line is what the live line tells of the time since it was asked last.
type line struct {
	count, failed int64
	p50, p99      time.Duration
	dropped       int64 // in all
}

func (r *recorder) lastSecond() line {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := line{r.second.times.TotalCount(), r.second.errors, quantile(r.second.times, 50), quantile(r.second.times, 99), r.dropped}
	r.second.times.Reset()
	r.second.errors = 0
	return l
}

func quantile(h *hdrhistogram.Histogram, q float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
}

// kindOf is an answer's status, or what became of a request without an answer.
func kindOf(err error) string {
	var (
		status *statusError
		dns    *net.DNSError
		netErr net.Error
	)
	switch {
	case errors.As(err, &status):
		return strconv.Itoa(status.status)
	case errors.Is(err, errInactive):
		return "inactive"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost"
	case errors.As(err, &dns):
		return "name not found"
	}
	return "other"
}

func (r *recorder) summary(o *options, elapsed time.Duration, interrupted bool) *summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &summary{
		Loop: "closed", Callers: o.callers, Mix: o.mix.String(), Seconds: elapsed.Seconds(),
		Interrupted: interrupted, Dropped: r.dropped, Operations: []row{}, Failures: []*failure{},
	}
	if o.rate > 0 {
		s.Loop, s.Callers, s.Wanted, s.Arrivals, s.InFlight = "open", 0, o.rate, o.arrivals, o.inFlight
	}
	total := newCounts()
	for _, op := range allOps {
		if c := r.ops[op]; c != nil {
			s.Operations = append(s.Operations, newRow(op, c, elapsed))
			total.times.Merge(c.times)
			total.errors += c.errors
		}
	}
	s.Total = newRow("total", &total, elapsed)
	for _, f := range r.failures {
		told := *f
		told.RetryAfter = r.describe(errors.New(f.RetryAfter))
		s.Failures = append(s.Failures, &told)
	}
	slices.SortFunc(s.Failures, func(a, b *failure) int { return int(b.Count - a.Count) })
	if asked := s.Total.Count + s.Dropped; asked > 0 {
		s.ErrorShare = float64(s.Total.Errors+s.Dropped) / float64(asked)
	}
	return s
}
