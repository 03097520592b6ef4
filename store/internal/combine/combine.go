// Package combine lets callers that meet share one piece of work: a transaction
// and its fsync, or a statement for many keys. Nobody waits for company: a
// caller that finds a lane free starts at once, and those who come while all
// lanes are at work go together, as soon as one is free.
package combine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Call is one caller's share of a batch.
type Call[In, Out any] struct {
	In    In
	out   Out
	err   error
	ctx   context.Context
	state atomic.Int32
	done  chan struct{}
}

// The states of a call.
const (
	waiting int32 = iota
	taken         // by a lane: it may take effect
	left          // by its caller, before it was taken: it will not
)

// Answer gives the caller what it waits for. It is called once for each call of
// a batch, whether or not the caller is still there.
func (c *Call[In, Out]) Answer(out Out, err error) {
	c.out, c.err = out, err
	close(c.done)
}

// Context is the caller's. Its end is no reason to leave a batch half done, but
// one not to try again for this call alone.
func (c *Call[In, Out]) Context() context.Context { return c.ctx }

// Group combines calls. It is safe for use by many goroutines. It has none of
// its own while nobody calls.
type Group[In, Out any] struct {
	run         func(batch []*Call[In, Out])
	lanes, most int
	overdue     time.Duration // 0: never
	extra, few  int

	mu    sync.Mutex
	queue []*Call[In, Out]
	busy  int  // lanes at work
	alone int  // calls beside the lanes
	many  bool // the last batch that had to wait was of more than few
	turns []*turn
	armed bool // handOver will come
}

// turn is a batch at work.
type turn struct {
	began time.Time
	over  bool // its lane is another's
}

// New returns a Group whose batches run does, at most lanes of them at once, and
// with at most most calls each. run must answer every call of its batch, or see to
// it that somebody does, and must end soon: a call that its batch cannot answer
// keeps the others waiting.
func New[In, Out any](lanes, most int, run func(batch []*Call[In, Out])) *Group[In, Out] {
	return &Group[In, Out]{run: run, lanes: max(1, lanes), most: max(1, most)}
}

// Overdue lets a batch that takes longer than after keep its own calls waiting
// only: its lane goes to those who come behind it. More than lanes batches can be
// at work then; what bounds them is run's business. Call it before the first Do.
func (g *Group[In, Out]) Overdue(after time.Duration) { g.overdue = after }

// Extra lets n calls more go by themselves, beside the lanes, as long as batches are
// of few calls: a batch that is small can cost more than its calls alone. Call it
// before the first Do.
func (g *Group[In, Out]) Extra(n, few int) { g.extra, g.few = n, few }

// Do has in done, with those of others that wait. When ctx ends it returns at
// once, with the context's error; the call may still take effect then, if its
// batch had begun. A context that is done before changes nothing.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var zero Out
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	c := &Call[In, Out]{In: in, ctx: ctx, done: make(chan struct{})}
	g.mu.Lock()
	work := g.aside
	switch {
	case g.busy < g.lanes: // then the queue is empty
		g.busy++
		work = g.lead
	case g.alone < g.extra && len(g.queue) == 0 && !g.many:
		g.alone++
	default:
		g.queue = append(g.queue, c)
		g.arm()
		work = nil
	}
	g.mu.Unlock()
	if work != nil {
		c.state.Store(taken)
		if ctx.Done() == nil { // who cannot leave does the work: no change of goroutines
			work(c)
			<-c.done
			return c.out, c.err
		}
		go work(c)
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
	}
	if !c.state.CompareAndSwap(waiting, left) {
		select {
		case <-c.done: // at the same moment: an answer is worth more
			return c.out, c.err
		default:
		}
	}
	return zero, ctx.Err()
}

// aside runs a call beside the lanes.
func (g *Group[In, Out]) aside(c *Call[In, Out]) {
	g.run([]*Call[In, Out]{c})
	g.mu.Lock()
	g.alone--
	g.mu.Unlock()
}

// lead runs a call in a lane of its own, and goes on with those who came meanwhile.
func (g *Group[In, Out]) lead(c *Call[In, Out]) {
	if !g.inTime([]*Call[In, Out]{c}) {
		return
	}
	if batch := g.next(); batch != nil {
		go g.lane(batch) // c's caller may be the one that works here
	}
}

// lane runs batches until nobody waits.
func (g *Group[In, Out]) lane(batch []*Call[In, Out]) {
	for batch != nil {
		if !g.inTime(batch) {
			return
		}
		if len(batch) > 1 {
			// Those who have their answer now often come again: let them run
			// first, so that they go together. Who is alone is not held up.
			runtime.Gosched()
		}
		batch = g.next()
	}
}

// inTime runs a batch, and reports whether its lane is still its own.
func (g *Group[In, Out]) inTime(batch []*Call[In, Out]) bool {
	if g.overdue == 0 {
		g.run(batch)
		return true
	}
	t := &turn{began: time.Now()}
	g.mu.Lock()
	g.turns = append(g.turns, t)
	g.mu.Unlock()
	g.run(batch)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turns = slices.DeleteFunc(g.turns, func(other *turn) bool { return other == t })
	return !t.over
}

// arm has handOver come when the first batch is overdue. Only while somebody waits:
// a timer for each batch would cost a caller who is alone. g.mu is held.
func (g *Group[In, Out]) arm() {
	if g.overdue == 0 || g.armed || len(g.queue) == 0 {
		return
	}
	wait := g.overdue
	for _, t := range g.turns {
		if !t.over {
			wait = min(wait, g.overdue-time.Since(t.began))
		}
	}
	g.armed = true
	time.AfterFunc(wait, g.handOver)
}

// handOver gives the lanes of overdue batches to those who wait.
func (g *Group[In, Out]) handOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.turns {
		if !t.over && time.Since(t.began) >= g.overdue {
			t.over = true
			go func() { g.lane(g.next()) }()
		}
	}
	g.armed = false
	g.arm()
}

// next takes the batch that comes next, or ends the lane.
func (g *Group[In, Out]) next() []*Call[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch []*Call[In, Out]
	for len(g.queue) > 0 && len(batch) < g.most {
		c := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if c.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, c)
		}
	}
	if len(g.queue) == 0 {
		g.queue = nil
	}
	if batch == nil {
		g.busy--
	} else {
		g.many = len(batch) > g.few
	}
	return batch
}
