package combine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-926035fd/authz/store/internal/combine"
)

type call = combine.Call[int, int]

func answerAll(batch []*call) {
	for _, c := range batch {
		c.Answer(2*c.In, nil)
	}
}

func TestEveryCallIsAnsweredOnce(t *testing.T) {
	var most, batches atomic.Int64
	g := combine.New(2, 7, func(batch []*call) {
		batches.Add(1)
		most.Store(max(most.Load(), int64(len(batch))))
		time.Sleep(100 * time.Microsecond)
		answerAll(batch)
	})
	var wg sync.WaitGroup
	for i := range 64 {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = context.Background() // has no end
		}
		wg.Go(func() {
			for j := range 100 {
				if out, err := g.Do(ctx, 100*i+j); err != nil || out != 2*(100*i+j) {
					t.Errorf("Do(%d) = %d, %v", 100*i+j, out, err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 7 || batches.Load() > 6400/2 {
		t.Errorf("%d batches, the largest of %d calls", batches.Load(), most.Load())
	}
}

func TestNobodyWaitsForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		g := combine.New(1, 100, func(batch []*call) {
			sizes = append(sizes, len(batch))
			time.Sleep(time.Second)
			answerAll(batch)
		})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { _, _ = g.Do(t.Context(), i) })
			synctest.Wait()
		}
		wg.Wait()
		if len(sizes) != 2 || sizes[0] != 1 || sizes[1] != 3 {
			t.Errorf("batches of %v calls, want [1 3]", sizes)
		}
	})
}

func TestACallerLeavesItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did []int
		g := combine.New(1, 100, func(batch []*call) {
			time.Sleep(time.Second)
			for _, c := range batch {
				did = append(did, c.In)
			}
			answerAll(batch)
		})
		do := func(in int, patience time.Duration) <-chan error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			out := make(chan error, 1)
			go func() {
				defer cancel()
				start := time.Now()
				_, err := g.Do(ctx, in)
				if d := time.Since(start); d > patience {
					t.Errorf("call %d returned after %v", in, d)
				}
				out <- err
			}()
			synctest.Wait()
			return out
		}
		first := do(1, 500*time.Millisecond)  // leaves in the middle of its batch
		second := do(2, 700*time.Millisecond) // leaves the queue
		third := do(3, 5*time.Second)
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first: %v", err)
		}
		if err := <-second; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second: %v", err)
		}
		if err := <-third; err != nil {
			t.Errorf("third: %v", err)
		}
		if len(did) != 2 || did[0] != 1 || did[1] != 3 {
			t.Errorf("done: %v, want [1 3]: one that had begun, and not one whose caller left before", did)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Do(ended, 4); !errors.Is(err, context.Canceled) || len(did) != 2 {
			t.Errorf("a context that is done: %v, done %v", err, did)
		}
	})
}

// A batch that hangs holds up nobody who comes behind it.
func TestOverdueBatchGivesItsLaneAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := combine.New(1, 100, func(batch []*call) {
			if batch[0].In == 0 {
				time.Sleep(time.Minute)
			}
			time.Sleep(time.Second)
			answerAll(batch)
		})
		g.Overdue(3 * time.Second)
		var wg sync.WaitGroup
		do := func(ctx context.Context, in int, want time.Duration) {
			start := time.Now()
			wg.Go(func() {
				out, err := g.Do(ctx, in)
				if took := time.Since(start); err != nil || out != 2*in || took != want {
					t.Errorf("Do(%d) = %d, %v after %v, want %v", in, out, err, took, want)
				}
			})
			synctest.Wait()
		}
		do(context.Background(), 0, 61*time.Second) // in its caller's own goroutine
		do(t.Context(), 1, 4*time.Second)
		do(t.Context(), 2, 4*time.Second)
		time.Sleep(10 * time.Second)
		do(t.Context(), 3, time.Second) // the lane is free
		time.Sleep(2 * time.Second)
		do(t.Context(), 0, 61*time.Second)
		do(t.Context(), 4, 4*time.Second)
		wg.Wait()
	})
}

// Few callers go beside the lanes; where many meet, they share.
func TestExtraCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		g := combine.New(1, 100, func(batch []*call) {
			mu.Lock()
			sizes = append(sizes, len(batch))
			mu.Unlock()
			time.Sleep(time.Second)
			answerAll(batch)
		})
		g.Extra(2, 1)
		var wg sync.WaitGroup
		meet := func(n int, want time.Duration, batches ...int) {
			t.Helper()
			sizes = nil
			start := time.Now()
			for i := range n {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = context.Background() // works in its own goroutine
				}
				wg.Go(func() { _, _ = g.Do(ctx, i) })
				synctest.Wait()
			}
			wg.Wait()
			synctest.Wait()
			if took := time.Since(start); took != want || !slices.Equal(sizes, batches) {
				t.Errorf("%d callers took %v in batches of %v, want %v, %v", n, took, sizes, want, batches)
			}
		}
		meet(3, time.Second, 1, 1, 1)
		meet(5, 2*time.Second, 1, 1, 1, 2)
		meet(2, 2*time.Second, 1, 1) // as many as before could come
		meet(3, time.Second, 1, 1, 1)

		// While the batch of two is at work, those who come wait for the next.
		sizes = nil
		for i := range 5 {
			wg.Go(func() { _, _ = g.Do(t.Context(), i) })
			synctest.Wait()
		}
		time.Sleep(1500 * time.Millisecond)
		for i := range 3 {
			wg.Go(func() { _, _ = g.Do(t.Context(), i) })
			synctest.Wait()
		}
		wg.Wait()
		if want := []int{1, 1, 1, 2, 3}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}
