package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// plan says how often and how long to measure.
type plan struct {
	rounds int // of everything, so that what is measured of a case is spread in time
	passes int // of each subject in a round
	pass   time.Duration
}

// worker is what one caller needs for itself.
type worker struct {
	id  int // from 0, below the number of callers
	rng *rand.Rand
}

// subject is one way of doing what a case is about.
type subject struct {
	name string
	// op does it once.
	op func(ctx context.Context, w *worker) error
	// begin, if set, runs before each pass, outside the measured time.
	begin func() error
}

// benchCase is a number of subjects that do the same, measured in turn.
type benchCase struct {
	name       string
	callers    int
	background bool // context.Background() instead of one with a deadline
	// base says that the first subject is what the others are divided by.
	base bool
	// inverse says that the first is divided by the others: how many times as
	// fast as each of them it is.
	inverse  bool
	subjects []subject
	// gauge, if set, stands for the subjects: it takes figures of its own.
	gauge func(ctx context.Context, p plan) ([]figure, error)
}

// figure is something else than a rate.
type figure struct {
	name, unit string
	value      float64
}

func (c *benchCase) id(backend string) string {
	return fmt.Sprintf("%s/%s/%d", backend, c.name, c.callers)
}

// result holds what was measured of a case: a row for each subject, or the
// figures of its gauge.
type result struct {
	id      string
	name    string
	callers int
	base    bool
	inverse bool
	ends    []int // how many passes there were at the end of each round
	rows    []*resultRow
	figures [][]figure // of each round
	err     error
}

// resultRow has a value for each whole pass.
type resultRow struct {
	name   string
	rates  []float64 // operations per second
	cpu    []float64 // microseconds of this process for each operation
	allocs []float64 // for each operation, in this process
}

func newResult(id string, c *benchCase) *result {
	r := &result{id: id, name: c.name, callers: c.callers, base: c.base, inverse: c.inverse}
	for _, s := range c.subjects {
		r.rows = append(r.rows, &resultRow{name: s.name})
	}
	return r
}

// byRound returns the median of each round, of a value for each pass.
func (r *result) byRound(passes []float64) []float64 {
	var medians []float64
	begin := 0
	for _, end := range r.ends {
		if end > begin {
			medians = append(medians, median(passes[begin:end]))
		}
		begin = end
	}
	return medians
}

// ratios are the rates of the row over those of the base, or the inverse, pass
// by pass.
func (r *result) ratios(row *resultRow) []float64 {
	out := make([]float64, len(row.rates))
	for i := range out {
		out[i] = row.rates[i] / r.rows[0].rates[i]
		if r.inverse {
			out[i] = 1 / out[i]
		}
	}
	return out
}

// A pass is cut into slices, and the subjects take turns slice by slice: what
// else the machine does meets all of them. With many callers a slice must be
// long beside its end, when fewer and fewer of them are at work.
const (
	sliceOfOne  = 50 * time.Millisecond
	sliceOfMany = 100 * time.Millisecond
)

// round measures c once more, pass after pass: its subjects in turn. A pass
// counts for all subjects or, if ctx ends in it, for none.
func (r *result) round(ctx context.Context, c *benchCase, p plan, at func(pass int)) {
	if c.gauge != nil {
		at(1)
		var figures []figure
		pprof.Do(ctx, pprof.Labels("case", r.id), func(ctx context.Context) {
			figures, r.err = c.gauge(ctx, p)
		})
		switch {
		case ctx.Err() != nil:
			r.err = nil // the interrupt's
		case r.err == nil:
			r.figures = append(r.figures, figures)
		}
		return
	}
	defer func() { r.ends = append(r.ends, len(r.rows[0].rates)) }()
	for pass := range p.passes + 1 {
		length := p.pass
		if pass == 0 { // warms up: statements are prepared, caches filled
			length = p.pass / 5
		}
		at(pass)
		sums, err := r.pass(ctx, c, length)
		if err != nil {
			r.err = err
			return
		}
		if ctx.Err() != nil {
			return
		}
		if pass == 0 {
			continue
		}
		for i, row := range r.rows {
			u, n := sums[i], float64(max(sums[i].ops, 1))
			row.rates = append(row.rates, n/u.wall.Seconds())
			row.cpu = append(row.cpu, float64(u.cpu.Nanoseconds())/1e3/n)
			row.allocs = append(row.allocs, float64(u.allocs)/n)
		}
	}
}

// pass lets the subjects take turns until each has had its time.
func (r *result) pass(ctx context.Context, c *benchCase, length time.Duration) ([]usage, error) {
	for _, s := range c.subjects {
		if s.begin != nil {
			if err := s.begin(); err != nil {
				return nil, err
			}
		}
	}
	slice := sliceOfOne
	if c.callers > 1 {
		slice = sliceOfMany
	}
	runtime.GC()
	sums := make([]usage, len(c.subjects))
	for range max(1, int(length/slice)) {
		// In a random order: whoever comes after one that makes much
		// garbage pays for a part of it.
		for _, i := range rand.Perm(len(c.subjects)) {
			s := &c.subjects[i]
			var err error
			pprof.Do(context.Background(), pprof.Labels("case", r.id, "subject", s.name), func(context.Context) {
				err = turnOf(ctx, c, s, min(slice, length), &sums[i])
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if ctx.Err() != nil {
				return nil, nil
			}
		}
	}
	return sums, nil
}

// usage is what a number of operations took.
type usage struct {
	ops    int64
	wall   time.Duration
	cpu    time.Duration
	allocs uint64
}

// turnOf lets all callers do the subject's operation for a while, and adds what
// it took to sum. When ctx ends it returns soon.
func turnOf(ctx context.Context, c *benchCase, s *subject, length time.Duration, sum *usage) error {
	var (
		stop   atomic.Bool
		total  atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
		before runtime.MemStats
		after  runtime.MemStats
	)
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	for id := range c.callers {
		wg.Go(func() {
			w := &worker{id: id, rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
			// One context for all operations: making one for each would cost
			// both sides the same, and so hide a part of the difference. It is
			// not ctx: an interrupt lets the last operation finish.
			ctx := context.Background()
			if !c.background {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, length+time.Minute)
				defer cancel()
			}
			n := int64(0)
			for {
				if err := s.op(ctx, w); err != nil {
					first := err // a copy: err itself would be allocated for each operation
					failed.CompareAndSwap(nil, &first)
					stop.Store(true)
					break
				}
				n++
				if stop.Load() {
					break
				}
			}
			total.Add(n)
		})
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-finished: // an operation has failed
	}
	stop.Store(true)
	<-finished
	sum.wall += time.Since(began)
	sum.cpu += cpuTime() - cpu
	runtime.ReadMemStats(&after)
	sum.allocs += after.Mallocs - before.Mallocs
	sum.ops += total.Load()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// median of a list that is not empty; the list is not changed.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
