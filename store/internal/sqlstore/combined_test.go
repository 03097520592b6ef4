package sqlstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/internal/combine"
)

// A statement that callers share runs under the context of none of them: whoever
// leaves would have it cancelled, with a COMMIT in it. Those who have left before it
// begins are not part of it.
func TestSharedStatementsAreNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &combined{s: &Store{}}
		first := make(chan struct{})
		var asked []int
		one := func(ctx context.Context, in int) (int, error) {
			if ctx.Done() != nil {
				t.Error("a single statement of a detached store can be cancelled")
			}
			<-first
			return -in, nil
		}
		many := func(ctx context.Context, ins []int) ([]answer[int], error) {
			if ctx.Done() != nil {
				t.Error("a shared statement can be cancelled")
			}
			asked = append(asked, ins...)
			out := make([]answer[int], len(ins))
			for i, in := range ins {
				out[i].out = -in
				if in%2 == 0 {
					out[i].err = store.ErrNotFound
				}
			}
			return out, nil
		}
		g := combine.New(1, 100, func(batch []*combine.Call[int, int]) {
			work(c, batch, one, many, (*combine.Call[int, int]).Answer)
		})
		ctx, cancel := context.WithCancel(t.Context())
		short, leave := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		defer leave()
		var wg sync.WaitGroup
		for in := 1; in <= 9; in++ {
			ctx := ctx
			if in > 6 {
				ctx = short
			}
			wg.Go(func() {
				out, err := g.Do(ctx, in)
				switch {
				case in > 6:
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("who left has %d, %v", out, err)
					}
				case in > 1 && in%2 == 0:
					if !errors.Is(err, store.ErrNotFound) {
						t.Errorf("call %d has %d, %v, want ErrNotFound", in, out, err)
					}
				case out != -in || err != nil:
					t.Errorf("call %d has %d, %v", in, out, err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		close(first)
		wg.Wait()
		if len(asked) != 5 {
			t.Errorf("asked for %v, want 2 to 6", asked)
		}
	})
}

// What is wrong with a shared statement is nobody's answer, unless it passes; and
// what the database does not know is not tried again.
func TestErrorsOfSharedStatements(t *testing.T) {
	for _, tc := range []struct {
		state   string
		want    error // nil: the cause
		lacking bool
	}{
		{"23505", errAlone, false},
		{"55P03", errAlone, false},
		{"22021", errAlone, false},
		{"57014", errAlone, false},
		{"40P01", nil, false},
		{"57P01", nil, false},
		{"25006", nil, false},
		{"42P01", nil, false},
		{"42601", errAlone, true},
		{"0A000", errAlone, true},
	} {
		c := &combined{s: &Store{}}
		cause := sqlState(tc.state)
		var errs []error
		group := combine.New(1, 100, func(batch []*combine.Call[int, int]) {
			if len(batch) == 1 { // let others come
				time.Sleep(20 * time.Millisecond)
			}
			work(c, batch, func(context.Context, int) (int, error) { return 0, nil },
				func(context.Context, []int) ([]answer[int], error) { return nil, cause },
				func(call *combine.Call[int, int], out int, err error) {
					if err != nil {
						errs = append(errs, err)
					}
					call.Answer(out, err)
				})
		})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { _, _ = group.Do(t.Context(), i) })
		}
		wg.Wait()
		want := tc.want
		if want == nil {
			want = cause
		}
		if len(errs) != 4 || errs[0] != want || c.on() == tc.lacking {
			t.Errorf("SQLSTATE %s: %v, on %t; want 4 times %v, on %t", tc.state, errs, c.on(), want, !tc.lacking)
		}
	}
}

type sqlState string

func (s sqlState) Error() string    { return "SQLSTATE " + string(s) }
func (s sqlState) SQLState() string { return string(s) }
