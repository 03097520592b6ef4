package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// plan is what load to make.
type plan struct {
	mix      mix
	callers  int     // closed loop
	rate     float64 // open loop if above 0
	arrivals string
	inFlight int
	duration time.Duration
	warmup   time.Duration
}

// doer runs an operation and returns the name of what was run.
type doer interface {
	do(ctx context.Context, op string) (string, error)
}

// drive makes the load and returns how long it measured. When ctx ends, no more
// is sent; what is on the way is waited for, since it was asked of the server.
func drive(ctx context.Context, pl plan, target doer, rec *recorder, p *progress) time.Duration {
	start := time.Now()
	r := &runner{target: target, rec: rec, from: start.Add(pl.warmup), until: start.Add(pl.warmup + pl.duration)}
	loadCtx, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	r.ctx = loadCtx

	stopLines := p.live(rec, start, pl)
	defer stopLines()
	if pl.rate > 0 {
		r.open(pl)
	} else {
		r.closed(pl)
	}
	sent := time.Now()
	if sent.After(r.until) {
		sent = r.until
	}
	r.wait.Wait()
	return max(sent.Sub(r.from), 0)
}

type runner struct {
	ctx         context.Context //nolint:containedctx // of one run
	target      doer
	rec         *recorder
	from, until time.Time // what is measured
	wait        sync.WaitGroup
}

// closed has callers that send the next request when the one before is
// answered. A server that stalls is asked less often: a stall counts once for
// each caller.
func (r *runner) closed(pl plan) {
	for range pl.callers {
		r.wait.Go(func() {
			for r.ctx.Err() == nil {
				r.rec.onTheWay.Add(1)
				r.one(pl.mix.draw(), time.Now())
			}
		})
	}
	<-r.ctx.Done()
}

// open sends requests at their times, whatever became of those before, and
// counts each from the time when it was to be sent: what comes during a stall
// waits, and its waiting is measured.
func (r *runner) open(pl plan) {
	slots := make(chan struct{}, pl.inFlight)
	gap := func() float64 { return 1 }
	if pl.arrivals == "poisson" {
		gap = rand.ExpFloat64
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for at := time.Now(); at.Before(r.until); at = at.Add(time.Duration(gap() / pl.rate * float64(time.Second))) {
		// If this loop is late, it does not wait, and its lateness is measured too.
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-r.ctx.Done():
				return
			}
		} else if r.ctx.Err() != nil && time.Now().Before(r.until) {
			return // interrupted
		}
		select {
		case slots <- struct{}{}:
			r.rec.onTheWay.Add(1)
			r.wait.Go(func() {
				defer func() { <-slots }()
				r.one(pl.mix.draw(), at)
			})
		default:
			if r.measured(at) {
				r.rec.drop()
			}
		}
	}
}

func (r *runner) measured(at time.Time) bool { return !at.Before(r.from) }

// one runs an operation whose time counts from at.
func (r *runner) one(op string, at time.Time) {
	op, err := r.target.do(context.WithoutCancel(r.ctx), op)
	took := time.Since(at)
	r.rec.onTheWay.Add(-1)
	r.rec.record(op, took, err, r.measured(at))
}
