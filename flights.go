package authz

import (
	"context"
	"errors"
	"sync"
)

// flights are the reads of one kind that are under way, one for each key: calls
// that miss the same thing share one.
type flights[K comparable, E any] struct {
	hearing func() bool // of all changes
	read    func(ctx context.Context, key K) (*E, error)
	holds   func(e *E) bool // nothing has changed since it was read
	absent  error           // of a read: there is none

	mu  sync.Mutex
	n   uint64 // the last one's number
	now map[K]*flight[E]
}

type flight[E any] struct {
	n    uint64
	done chan struct{} // closed when the rest is set
	e    *E
	err  error
}

// join returns the flight for a key, which the caller must fly if it is theirs,
// and the number of the last one that had begun.
func (fs *flights[K, E]) join(key K) (f *flight[E], theirs bool, last uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	last = fs.n
	if f := fs.now[key]; f != nil {
		return f, false, last
	}
	if fs.now == nil {
		fs.now = make(map[K]*flight[E])
	}
	fs.n++
	f = &flight[E]{n: fs.n, done: make(chan struct{})}
	fs.now[key] = f
	return f, true, last
}

func (fs *flights[K, E]) end(key K, f *flight[E]) {
	fs.mu.Lock()
	delete(fs.now, key)
	fs.mu.Unlock()
	close(f.done)
}

// errGone is for those who wait for a read that ended by a panic.
var errGone = errors.New("the read did not come to its end")

// fly reads for all who wait for f. What read keeps is there before the flight is
// over: who comes later finds it.
func (fs *flights[K, E]) fly(ctx context.Context, key K, f *flight[E]) {
	f.err = errGone
	defer fs.end(key, f)
	f.e, f.err = fs.read(ctx, key)
}

// get returns what a read finds: the caller's own, or one that others make. While
// changes are heard of, that can have begun before the call; else it has not.
func (fs *flights[K, E]) get(ctx context.Context, key K) (*E, error) {
	for first, arrived := true, uint64(0); ; first = false {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hearing := fs.hearing()
		f, ours, last := fs.join(key)
		if ours {
			fs.fly(ctx, key, f)
			return f.e, f.err
		}
		if first {
			arrived = last
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch absent := errors.Is(f.err, fs.absent); {
		case f.n <= arrived && (absent || !hearing):
			// It had begun before this call did. Where changes may go unheard, only
			// a read that begins after it can answer it, and what is made new is no
			// change: all who wait share the next.
		case f.err == nil && !fs.holds(f.e):
			// It has changed, perhaps before this call began: that read must not
			// answer it.
		case f.err == nil, absent:
			return f.e, f.err
		case errors.Is(f.err, context.Canceled), errors.Is(f.err, context.DeadlineExceeded):
			// Whoever went for it has gone away. That says nothing to others.
		default:
			return nil, f.err
		}
	}
}
