package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// A model of what a Manager may answer for an app from memory, made like that of tokens in cache_model_test.go: clients
// come with their secrets while these are replaced, and the app is suspended and resumed, here and in another process.

func TestAppModel(t *testing.T) {
	scale(t, "rapid.checks", "10000", "500000")
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom(appSteps), 1, 60).Draw(rt, "steps")
		which := rapid.SliceOfN(rapid.IntRange(0, 1<<10), len(kinds), len(kinds)).Draw(rt, "which")
		var w *appWorld
		synctest.Test(t, func(t *testing.T) {
			w = newAppWorld(t)
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

// appCall is a call that may be stopped on its way.
type appCall struct {
	cacheCall
	enters  int  // the secret that a client comes with, or -1
	ends    bool // all secrets that there were
	deletes bool // the app
}

// stoppingApps is a stoppingStore that stops at what is done to apps.
type stoppingApps struct{ *stoppingStore }

func (s *stoppingApps) App(ctx context.Context, id string) (store.App, error) {
	return stopping(ctx, func() (store.App, error) { return s.Store.App(ctx, id) })
}

func (s *stoppingApps) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	return stopping(ctx, func() (store.App, error) { return s.Store.ReplaceApp(ctx, app) })
}

func (s *stoppingApps) DeleteApp(ctx context.Context, id string) (int64, error) {
	return stopping(ctx, func() (int64, error) { return s.Store.DeleteApp(ctx, id) })
}

// appSecret is a client secret that was handed out in a step.
type appSecret struct {
	secret authz.Secret
	made   *appCall // that call, nil for the first
}

type appWorld struct {
	t        *testing.T
	s        *stoppingApps
	m, other *authz.Manager // other is another process's
	observer store.Observer
	asOf     time.Time

	now     int
	id      string
	secrets []appSecret
	ops     []*appCall

	wg    sync.WaitGroup
	wrong string
	log   string
}

func newAppWorld(t *testing.T) *appWorld {
	w := &appWorld{t: t, s: &stoppingApps{&stoppingStore{Store: memory.New(), observer: make(chan store.Observer, 1)}}}
	var err error
	if w.m, err = authz.New(w.s, authz.Config{CacheTTL: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if w.other, err = authz.New(w.s.Store, authz.Config{}); err != nil {
		t.Fatal(err)
	}
	if err := w.m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.observer = <-w.s.observer
	app, secret, err := w.m.RegisterApp(context.Background(), authz.NewApp{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	w.id, w.secrets = app.ClientID, []appSecret{{secret: secret}}
	w.news()
	return w
}

func (w *appWorld) news() {
	for _, op := range w.ops {
		if op.foreign && op.end == 0 {
			w.tell(op)
		}
	}
	w.asOf = time.Now()
	w.observer.Current(w.asOf)
}

func (w *appWorld) tell(op *appCall) {
	w.observer.Changed(store.Change{ClientID: &w.id})
	op.end = w.now
}

var appSteps = []string{
	"enter", "enter", "enter", "enter", "go on", "go on", "go on", "go on", "rotate", "suspend", "resume", "delete",
	"foreign rotate", "foreign suspend", "foreign resume", "tell", "news", "time",
}

func (w *appWorld) step(kind string, n int) {
	w.now++
	ctx := context.Background()
	op := &appCall{enters: -1}
	op.name, op.start = kind, w.now
	rotate := func(ctx context.Context, m *authz.Manager) error {
		_, secret, err := m.RotateSecret(ctx, w.id, 0)
		if err == nil {
			w.secrets = append(w.secrets, appSecret{secret, op})
		}
		return err
	}
	suspend := func(ctx context.Context, m *authz.Manager) error { _, err := m.SuspendApp(ctx, w.id); return err }
	resume := func(ctx context.Context, m *authz.Manager) error { _, err := m.ResumeApp(ctx, w.id); return err }
	foreign := func(err error) {
		op.foreign, op.err = true, err
		w.logf("%s: %v", kind, err)
		w.ops = append(w.ops, op)
	}
	switch kind {
	case "enter":
		op.enters, op.late = n%len(w.secrets), time.Since(w.asOf) >= leaseOfNews
		op.name = fmt.Sprint("enter ", op.enters)
		w.begin(op, func(ctx context.Context) error {
			_, err := w.m.AuthenticateApp(ctx, w.id, w.secrets[op.enters].secret)
			return err
		})
	case "go on":
		stopped := slices.DeleteFunc(slices.Clone(w.ops), func(op *appCall) bool { return !op.stopped })
		if len(stopped) == 0 {
			return
		}
		op := stopped[n%len(stopped)]
		if n/len(stopped)%8 == 7 && op.enters >= 0 { // or go away
			w.logf("%s of step %d is cancelled", op.name, op.start)
			op.cancelled = true
			op.cancel()
			break
		}
		w.logf("%s of step %d goes on", op.name, op.start)
		op.gate <- struct{}{}
	case "rotate":
		op.ends = true
		w.begin(op, func(ctx context.Context) error { return rotate(ctx, w.m) })
	case "suspend":
		op.suspends = true
		w.begin(op, func(ctx context.Context) error { return suspend(ctx, w.m) })
	case "resume":
		op.resumes = true
		w.begin(op, func(ctx context.Context) error { return resume(ctx, w.m) })
	case "delete":
		if n%8 != 0 { // or little else could happen
			return
		}
		op.deletes = true
		w.begin(op, func(ctx context.Context) error { _, err := w.m.DeleteApp(ctx, w.id); return err })
	// What another process does is done at once, and told later.
	case "foreign rotate":
		op.ends = true
		foreign(rotate(ctx, w.other))
	case "foreign suspend":
		op.suspends = true
		foreign(suspend(ctx, w.other))
	case "foreign resume":
		op.resumes = true
		foreign(resume(ctx, w.other))
	case "tell":
		for _, op := range w.ops {
			if op.foreign && op.end == 0 && n%2 == 0 {
				w.logf("%s of step %d is told", op.name, op.start)
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
	w.judge()
}

func (w *appWorld) logf(format string, args ...any) {
	w.log += fmt.Sprintf("%3d %v ", w.now, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))) + fmt.Sprintf(format, args...) + "\n"
}

func (w *appWorld) begin(op *appCall, do func(ctx context.Context) error) {
	w.logf("%s begins", op.name)
	op.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), cacheCallKey{}, &op.cacheCall))
	op.cancel = cancel
	w.ops = append(w.ops, op)
	w.wg.Go(func() {
		op.err = do(ctx)
		op.end = w.now
	})
}

func (w *appWorld) finish() {
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

func (w *appWorld) judge() {
	for _, v := range w.ops {
		if v.enters < 0 || v.end == 0 || w.wrong != "" {
			continue
		}
		switch dead, alive := w.expected(v); {
		case errors.Is(v.err, context.Canceled) && v.cancelled:
		case v.err == nil && dead:
			w.wrong = fmt.Sprintf("%s of step %d: let in, after its end was acknowledged", v.name, v.start)
		case errors.Is(v.err, authz.ErrInvalidClient) && alive:
			w.wrong = fmt.Sprintf("%s of step %d: refused, though nothing has ended it", v.name, v.start)
		case v.err != nil && !errors.Is(v.err, authz.ErrInvalidClient):
			w.wrong = fmt.Sprintf("%s of step %d: %v", v.name, v.start, v.err)
		}
	}
}

// expected says whether a client must be refused, or let in; neither, where something overlaps it.
func (w *appWorld) expected(v *appCall) (dead, alive bool) {
	// ended reports whether a change was acknowledged before v began: told, if it is another process's, or so long ago
	// that there should have been news.
	ended := func(op *appCall) bool {
		return op.err == nil && (op.end != 0 && op.end < v.start || op.foreign && v.late && op.start < v.start)
	}
	// over is when op was done, told or not: what is refused was read. 0: not yet.
	over := func(op *appCall) int {
		if op.foreign {
			return op.start
		}
		return op.end
	}
	before := func(a, b *appCall) bool { return over(a) != 0 && over(a) < b.start }
	made := w.secrets[v.enters].made
	alive = true
	for _, op := range w.ops {
		if op == made || op.enters >= 0 || op.start > v.end {
			continue
		}
		switch {
		case op.deletes:
			dead = dead || ended(op)
			alive = false
		case op.ends:
			dead = dead || ended(op) && (made == nil || before(made, op))
			alive = alive && made != nil && before(op, made)
		case op.suspends:
			resumed, perhaps := false, false
			for _, r := range w.ops {
				if !r.resumes || r.start > v.end {
					continue
				}
				resumed = resumed || r.err == nil && before(op, r) && before(r, v)
				perhaps = perhaps || !before(r, op)
			}
			dead = dead || ended(op) && !perhaps
			alive = alive && resumed
		}
	}
	return dead, alive
}
