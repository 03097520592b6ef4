package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// A model of what a cache of tokens may answer. Verifications, revocations and suspensions overlap in every way: each
// stops before and after what it does in the store, until the schedule lets it go on. Some changes are another process's:
// they are made behind the Manager's back, and told later. Time is the bubble's.

// leaseOfNews is how long a Manager may answer from memory without news.
const leaseOfNews = 800 * time.Millisecond

func TestCacheModel(t *testing.T) {
	scale(t, "rapid.checks", "20000", "500000")
	rapid.Check(t, func(rt *rapid.T) {
		// Nothing is drawn in the bubble: rapid ends a run by a panic.
		kinds := rapid.SliceOfN(rapid.SampledFrom(cacheSteps), 1, 80).Draw(rt, "steps")
		which := rapid.SliceOfN(rapid.IntRange(0, 1<<10), len(kinds), len(kinds)).Draw(rt, "which")
		var w *cacheWorld
		synctest.Test(t, func(t *testing.T) {
			w = newCacheWorld(t)
			for i, kind := range kinds {
				w.step(kind, which[i])
			}
			w.finish()
		})
		if w.wrong != "" {
			rt.Fatalf("%s\n%s", w.wrong, w.log)
		}
	})
}

// cacheCall is a call that may be stopped on its way.
type cacheCall struct {
	name       string
	start, end int // steps; end 0: not yet
	err        error

	gate    chan struct{}
	stopped bool
	cancel  context.CancelFunc

	// Of a verification.
	verifies  int // the token, or -1
	late      bool
	cancelled bool

	// Of a change.
	kills    []int // tokens, for good
	suspends bool  // puts all tokens to sleep
	resumes  bool
	foreign  bool // another process's: it ends when it was told
	change   store.Change
}

type cacheCallKey struct{}

// stop stops the cacheCall of ctx, if it has one.
func stop(ctx context.Context) error {
	op, ok := ctx.Value(cacheCallKey{}).(*cacheCall)
	if !ok {
		return nil
	}
	op.stopped = true
	defer func() { op.stopped = false }()
	select {
	case <-op.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stoppingStore stops operations before and after what they do in the store.
type stoppingStore struct {
	*memory.Store
	observer chan store.Observer
}

func stopping[T any](ctx context.Context, do func() (T, error)) (T, error) {
	var zero T
	if err := stop(ctx); err != nil {
		return zero, err
	}
	out, err := do()
	if late := stop(ctx); late != nil {
		return zero, late // done, and its answer lost
	}
	return out, err
}

func (s *stoppingStore) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	type found struct {
		rec      store.Authorization
		standing store.Standing
	}
	f, err := stopping(ctx, func() (found, error) {
		rec, standing, err := s.Store.Lookup(ctx, hash)
		return found{rec, standing}, err
	})
	return f.rec, f.standing, err
}

func (s *stoppingStore) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	return stopping(ctx, func() (store.Authorization, error) { return s.Store.Replace(ctx, rec) })
}

func (s *stoppingStore) Delete(ctx context.Context, owner string, id int64) error {
	_, err := stopping(ctx, func() (struct{}, error) { return struct{}{}, s.Store.Delete(ctx, owner, id) })
	return err
}

func (s *stoppingStore) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	return stopping(ctx, func() (int64, error) { return s.Store.DeleteAll(ctx, sel) })
}

func (s *stoppingStore) Suspend(ctx context.Context, owner string, at time.Time) error {
	_, err := stopping(ctx, func() (struct{}, error) { return struct{}{}, s.Store.Suspend(ctx, owner, at) })
	return err
}

func (s *stoppingStore) Resume(ctx context.Context, owner string) error {
	_, err := stopping(ctx, func() (struct{}, error) { return struct{}{}, s.Store.Resume(ctx, owner) })
	return err
}

// Watch hands the observer to the schedule: nothing is told but by it.
func (s *stoppingStore) Watch(ctx context.Context, o store.Observer) error {
	o.Changed(store.Change{})
	s.observer <- o
	<-ctx.Done()
	return ctx.Err()
}

const modelOwner = "mona"

type cacheWorld struct {
	t        *testing.T
	s        *stoppingStore
	m        *authz.Manager
	observer store.Observer
	asOf     time.Time // of the last news

	now    int // the step
	tokens []string
	ids    []int64
	ops    []*cacheCall

	wg    sync.WaitGroup
	wrong string
	log   string
}

func newCacheWorld(t *testing.T) *cacheWorld {
	w := &cacheWorld{t: t, s: &stoppingStore{Store: memory.New(), observer: make(chan store.Observer, 1)}}
	var err error
	if w.m, err = authz.New(w.s, authz.Config{Cache: cache.New(100), CacheTTL: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := w.m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.observer = <-w.s.observer
	w.news()
	for range 3 {
		res, err := w.m.Create(context.Background(), authz.Request{Owner: modelOwner, Note: fmt.Sprint("note ", len(w.tokens))})
		if err != nil {
			t.Fatal(err)
		}
		w.tokens, w.ids = append(w.tokens, res.Token.Reveal()), append(w.ids, res.Authorization.ID)
	}
	return w
}

// news tells all that is not told yet.
func (w *cacheWorld) news() {
	for _, op := range w.ops {
		if op.foreign && op.end == 0 {
			w.tell(op)
		}
	}
	w.asOf = time.Now()
	w.observer.Current(w.asOf)
}

func (w *cacheWorld) tell(op *cacheCall) {
	w.observer.Changed(op.change)
	op.end = w.now
}

// cacheSteps are what can happen, the frequent ones several times.
var cacheSteps = []string{
	"verify", "verify", "verify", "go on", "go on", "go on", "go on", "delete", "suspend", "resume", "revoke all",
	"foreign delete", "foreign suspend", "foreign resume", "tell", "news", "time",
}

// step does what kind says; n says which.
func (w *cacheWorld) step(kind string, n int) {
	w.now++
	i := n % len(w.tokens)
	foreign := func(op *cacheCall) {
		op.name, op.start, op.verifies, op.foreign = kind, w.now, -1, true
		w.logf("%s: %v", op.name, op.err)
		w.ops = append(w.ops, op)
	}
	someone := modelOwner
	switch kind {
	case "verify":
		w.begin(&cacheCall{name: fmt.Sprint("verify ", i), verifies: i, late: time.Since(w.asOf) >= leaseOfNews}, func(ctx context.Context) error {
			_, err := w.m.Verify(ctx, w.tokens[i])
			return err
		})
	case "go on":
		var stopped []*cacheCall
		for _, op := range w.ops {
			if op.stopped {
				stopped = append(stopped, op)
			}
		}
		if len(stopped) == 0 {
			return
		}
		op := stopped[n%len(stopped)]
		if n/len(stopped)%8 == 7 && op.verifies >= 0 { // or go away
			w.logf("%s is cancelled", op.name)
			op.cancelled = true
			op.cancel()
			break
		}
		w.logf("%s goes on", op.name)
		op.gate <- struct{}{}
	case "delete":
		w.begin(&cacheCall{name: fmt.Sprint("delete ", i), verifies: -1, kills: []int{i}}, func(ctx context.Context) error {
			return w.m.Delete(ctx, modelOwner, w.ids[i])
		})
	case "suspend":
		w.begin(&cacheCall{name: kind, verifies: -1, suspends: true}, func(ctx context.Context) error { return w.m.SuspendUser(ctx, modelOwner) })
	case "resume":
		w.begin(&cacheCall{name: kind, verifies: -1, resumes: true}, func(ctx context.Context) error { return w.m.ResumeUser(ctx, modelOwner) })
	case "revoke all":
		w.begin(&cacheCall{name: kind, verifies: -1, kills: w.all()}, func(ctx context.Context) error {
			_, err := w.m.RevokeAll(ctx, authz.Revocation{Owner: modelOwner})
			return err
		})
	// What another process does is done at once, and told later.
	case "foreign delete":
		foreign(&cacheCall{kills: []int{i}, change: store.Change{ID: w.ids[i]}, err: w.s.Store.Delete(context.Background(), modelOwner, w.ids[i])})
	case "foreign suspend":
		foreign(&cacheCall{suspends: true, change: store.Change{Owner: &someone}, err: w.s.Store.Suspend(context.Background(), modelOwner, time.Now())})
	case "foreign resume":
		foreign(&cacheCall{resumes: true, change: store.Change{Owner: &someone}, err: w.s.Store.Resume(context.Background(), modelOwner)})
	case "tell":
		for _, op := range w.ops {
			if op.foreign && op.end == 0 && n%2 == 0 {
				w.logf("%s is told", op.name)
				w.tell(op)
			}
			n /= 2
		}
	case "news":
		w.logf("news")
		w.news()
	case "time":
		d := []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, time.Second, 6 * time.Second}[n%4]
		w.logf("%v pass", d)
		time.Sleep(d)
	}
	synctest.Wait()
}

func (w *cacheWorld) all() []int {
	out := make([]int, len(w.tokens))
	for i := range out {
		out[i] = i
	}
	return out
}

func (w *cacheWorld) logf(format string, args ...any) {
	w.log += fmt.Sprintf("%3d %v ", w.now, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))) + fmt.Sprintf(format, args...) + "\n"
}

// begin runs do until it stops somewhere, or ends.
func (w *cacheWorld) begin(op *cacheCall, do func(ctx context.Context) error) {
	w.logf("%s begins", op.name)
	op.start, op.gate = w.now, make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), cacheCallKey{}, op))
	op.cancel = cancel
	w.ops = append(w.ops, op)
	w.wg.Go(func() {
		op.err = do(ctx)
		op.end = w.now
	})
	synctest.Wait()
	w.judge()
}

// finish lets all operations go on to their ends.
func (w *cacheWorld) finish() {
	for running := true; running; {
		running = false
		w.now++
		for _, op := range w.ops {
			if op.stopped {
				running = true
				op.gate <- struct{}{}
				synctest.Wait()
			}
		}
	}
	w.wg.Wait()
	w.judge()
	for _, op := range w.ops {
		if op.cancel != nil {
			op.cancel()
		}
	}
	if err := w.m.Close(context.Background()); err != nil {
		w.t.Error(err)
	}
}

// judge looks at all verifications that have ended.
func (w *cacheWorld) judge() {
	for _, v := range w.ops {
		if v.verifies < 0 || v.end == 0 || w.wrong != "" {
			continue
		}
		switch dead, alive := w.expected(v); {
		case errors.Is(v.err, context.Canceled) && v.cancelled:
		case v.err == nil && dead:
			w.wrong = fmt.Sprintf("%s of step %d: alive, after its end was acknowledged", v.name, v.start)
		case errors.Is(v.err, authz.ErrInvalidToken) && alive:
			w.wrong = fmt.Sprintf("%s of step %d: dead, though nothing has ended it", v.name, v.start)
		case v.err != nil && !errors.Is(v.err, authz.ErrInvalidToken):
			w.wrong = fmt.Sprintf("%s of step %d: %v", v.name, v.start, v.err)
		}
	}
}

// expected says whether a verification must find its token dead, or alive; neither, where something overlaps it.
func (w *cacheWorld) expected(v *cacheCall) (dead, alive bool) {
	// ended reports whether a change was acknowledged before v began: told, if it is another process's, or so long ago
	// that there should have been news.
	ended := func(op *cacheCall) bool {
		return op.end != 0 && op.end < v.start || op.foreign && v.late && op.start < v.start
	}
	// before reports whether a had its effect before b began to.
	before := func(a, b *cacheCall) bool {
		if a.foreign {
			return a.start < b.start
		}
		return a.end != 0 && a.end < b.start
	}
	// A 404 acknowledges nothing: somebody else is at it, and not done yet.
	done := func(op *cacheCall) bool { return op.err == nil }
	alive = true
	for _, op := range w.ops {
		begun := op.start <= v.end
		for _, i := range op.kills {
			if i == v.verifies {
				dead = dead || ended(op) && done(op)
				alive = alive && !begun
			}
		}
		if !op.suspends || !begun {
			continue
		}
		resumed, perhaps := false, false
		for _, r := range w.ops {
			if !r.resumes || r.start > v.end {
				continue
			}
			resumed = resumed || before(op, r) && ended(r) && done(r)
			perhaps = perhaps || !before(r, op)
		}
		dead = dead || ended(op) && done(op) && !perhaps
		alive = alive && resumed
	}
	return dead, alive
}
