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
	passes int
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
	// wanted is the ratio to the base that we want to reach, or that of the
	// base to this where the case is inverse; 0: none.
	wanted float64
	// noAllocs says that it should allocate nothing.
	noAllocs bool
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
}

func (c *benchCase) id(backend string) string {
	return fmt.Sprintf("%s/%s/%d", backend, c.name, c.callers)
}

// result holds what was measured of a case: a row for each subject.
type result struct {
	name    string
	callers int
	base    bool
	inverse bool
	rows    []*resultRow
	err     error
}

// resultRow has a value for each whole pass.
type resultRow struct {
	subject
	rates  []float64 // operations per second
	cpu    []float64 // microseconds of this process for each operation
	allocs []float64 // for each operation, in this process
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

// measure runs the subjects of a case in turn, pass after pass. A pass counts
// for all subjects or, if ctx ends in it, for none.
func measure(ctx context.Context, id string, c *benchCase, p plan, at func(pass int)) *result {
	res := &result{name: c.name, callers: c.callers, base: c.base, inverse: c.inverse}
	for _, s := range c.subjects {
		res.rows = append(res.rows, &resultRow{subject: s})
	}
	slice := sliceOfOne
	if c.callers > 1 {
		slice = sliceOfMany
	}
	for pass := range p.passes + 1 {
		length := p.pass
		if pass == 0 { // warms up: statements are prepared, caches filled
			length = p.pass / 5
		}
		at(pass)
		for i := range res.rows {
			if begin := res.rows[i].begin; begin != nil {
				if res.err = begin(); res.err != nil {
					return res
				}
			}
		}
		runtime.GC()
		sums := make([]usage, len(res.rows))
		turns := max(1, int(length/slice))
		for range turns {
			// In a random order: whoever comes after one that makes much
			// garbage pays for a part of it.
			for _, i := range rand.Perm(len(res.rows)) {
				s := &res.rows[i].subject
				var err error
				pprof.Do(context.Background(), pprof.Labels("case", id, "subject", s.name), func(context.Context) {
					err = turnOf(ctx, c, s, min(slice, length), &sums[i])
				})
				if err != nil {
					res.err = fmt.Errorf("%s: %w", s.name, err)
					return res
				}
				if ctx.Err() != nil {
					return res
				}
			}
		}
		if pass == 0 {
			continue
		}
		for i, row := range res.rows {
			u, n := sums[i], float64(max(sums[i].ops, 1))
			row.rates = append(row.rates, n/u.wall.Seconds())
			row.cpu = append(row.cpu, float64(u.cpu.Nanoseconds())/1e3/n)
			row.allocs = append(row.allocs, float64(u.allocs)/n)
		}
	}
	return res
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
