package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// operation is something that is done by the store, and beside it by others.
type operation struct {
	name     string
	callers  []int
	subjects []*subject
}

// subject is one way of doing an operation.
type subject struct {
	name string
	op   func(ctx context.Context, rng *rand.Rand) error
	// before, if set, runs before each op, outside of the measured time.
	before func(ctx context.Context) error
	// limit is how often it can be done with one number of callers: it uses
	// something up. 0: as often as there is time.
	limit int
}

// The names of subjects.
const (
	ours = "store"
	raw  = "raw"
)

var errWrong = errors.New("it returned something else than what was loaded")

func expect(err error, right bool) error {
	if err == nil && !right {
		return errWrong
	}
	return err
}

// operations are in the order in which they are measured: those that read come
// first, while nothing is missing.
func (d *database) operations() []operation {
	one, both := []int{1}, []int{1, 8}
	var (
		victims = rand.Perm(d.owners())
		next    atomic.Int64
		// Each of the four runs (two subjects, two numbers of callers) revokes a tenth.
		share = max(1, min(2000, d.owners()/10))
	)
	victim := func() string { return ownerName(victims[int(next.Add(1)-1)%len(victims)]) }
	one30 := store.Query{Limit: 30}
	locked := func(op func(ctx context.Context, rng *rand.Rand) error) func(ctx context.Context, rng *rand.Rand) error {
		return func(ctx context.Context, rng *rand.Rand) error {
			d.writer.Lock()
			defer d.writer.Unlock()
			return op(ctx, rng)
		}
	}
	doomed := func(ctx context.Context) error {
		rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		recs := make([]store.Authorization, purgeAtOnce)
		for i := range recs {
			recs[i] = d.fresh(rng)
			recs[i].Revision, recs[i].ExpiresAt = 1, d.now.Add(-10*365*24*time.Hour)
		}
		return d.put(ctx, recs)
	}
	return []operation{
		{"get", both, []*subject{
			{name: ours, op: func(ctx context.Context, rng *rand.Rand) error {
				want := d.any(rng)
				rec, err := d.store.Get(ctx, want.Owner, want.ID)
				return expect(err, rec.TokenHash == want.TokenHash)
			}},
			{name: raw, op: func(ctx context.Context, rng *rand.Rand) error {
				n, err := read(ctx, d.raw.byID, d.any(rng).ID)
				return expect(err, n == 1)
			}},
		}},
		{"get-or-create, existing", both, []*subject{
			{name: ours, op: func(ctx context.Context, rng *rand.Rand) error {
				want := d.live(rng)
				candidate := want
				candidate.CreatedAt, candidate.TokenHash = d.now, store.Hash{1}
				rec, created, err := d.store.GetOrCreate(ctx, candidate)
				return expect(err, !created && rec.ID == want.ID)
			}},
			{name: raw, op: func(ctx context.Context, rng *rand.Rand) error {
				want := d.live(rng)
				n, err := read(ctx, d.raw.byKey, want.Owner, want.ClientID, want.Fingerprint)
				return expect(err, n == 1)
			}},
		}},
		{"verify, not cached", both, []*subject{
			{name: ours, op: func(ctx context.Context, rng *rand.Rand) error {
				want := d.any(rng)
				rec, standing, err := d.store.Lookup(ctx, want.TokenHash)
				return expect(err, rec.ID == want.ID && standing.App == (want.ClientID != ""))
			}},
			{name: raw, op: func(ctx context.Context, rng *rand.Rand) error {
				hash := d.any(rng).TokenHash
				n, err := read(ctx, d.raw.byHash, hash[:])
				return expect(err, n == 1)
			}},
		}},
		{"list, usual owner", both, []*subject{
			{name: ours, op: func(ctx context.Context, rng *rand.Rand) error {
				q := one30
				q.Owner = ownerName(rng.IntN(d.owners()))
				recs, err := d.store.List(ctx, q)
				return expect(err, len(recs) >= perOwner)
			}},
			{name: raw, op: func(ctx context.Context, rng *rand.Rand) error {
				n, err := read(ctx, d.raw.list, ownerName(rng.IntN(d.owners())))
				return expect(err, n >= perOwner)
			}},
		}},
		{"list, heavy owner", both, []*subject{
			{name: ours, op: func(ctx context.Context, _ *rand.Rand) error {
				q := one30
				q.Owner = heavyOwner
				recs, err := d.store.List(ctx, q)
				return expect(err, len(recs) == q.Limit)
			}},
			{name: raw, op: func(ctx context.Context, _ *rand.Rand) error {
				n, err := read(ctx, d.raw.list, heavyOwner)
				return expect(err, n == one30.Limit)
			}},
		}},
		{"get-or-create, new", both, []*subject{
			{name: ours, op: func(ctx context.Context, rng *rand.Rand) error {
				_, created, err := d.store.GetOrCreate(ctx, d.fresh(rng))
				return expect(err, created)
			}},
			{name: raw, op: locked(func(ctx context.Context, rng *rand.Rand) error {
				rec := d.fresh(rng)
				_, err := d.raw.insert.ExecContext(ctx, insertValues(&rec)...)
				return err
			})},
		}},
		{"revoke by user", both, []*subject{
			{name: ours, limit: share, op: func(ctx context.Context, _ *rand.Rand) error {
				owner := victim()
				n, err := d.store.DeleteAll(ctx, store.Selection{Owner: &owner})
				return expect(err, n >= perOwner)
			}},
			{name: raw, limit: share, op: locked(func(ctx context.Context, _ *rand.Rand) error {
				_, err := d.raw.revoke.ExecContext(ctx, victim())
				return err
			})},
		}},
		{"purge 1,000", one, []*subject{
			{name: ours, limit: purges, before: doomed, op: func(ctx context.Context, _ *rand.Rand) error {
				n, err := d.store.Purge(ctx, d.now.Add(-365*24*time.Hour), purgeAtOnce)
				return expect(err, n == purgeAtOnce)
			}},
			{name: raw, limit: purges, before: doomed, op: func(ctx context.Context, _ *rand.Rand) error {
				_, err := d.raw.purge.ExecContext(ctx, d.now.Add(-365*24*time.Hour).UnixMicro())
				return err
			}},
		}},
	}
}

const (
	purgeAtOnce = 1000
	purges      = 12
)

// row is what was measured of one subject.
type row struct {
	Backend   string  `json:"backend"`
	Rows      int     `json:"rows"`
	Operation string  `json:"operation"`
	Callers   int     `json:"callers"`
	Subject   string  `json:"subject"`
	N         int     `json:"n"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	PerSecond float64 `json:"per_second"`
	Written   float64 `json:"log_bytes,omitempty"` // to the write-ahead log, for each
}

// slice is how long a subject runs before it is another's turn: what else the
// machine does meets all of them.
const slice = 100 * time.Millisecond

// measure runs the subjects in turn until each has had its time, or has used up
// what it needs. The first turn of what can be repeated counts for nothing.
func measure(ctx context.Context, o operation, callers int, pass time.Duration, written func() (int64, error)) ([]row, error) {
	type sum struct {
		latencies []time.Duration
		wall      time.Duration
		done      atomic.Int64
		written   int64
	}
	sums := make([]sum, len(o.subjects))
	runtime.GC()
	turns := int(max(pass/slice, 1))
	for turn := range turns + 1 {
		for _, i := range rand.Perm(len(o.subjects)) {
			s, to := o.subjects[i], &sums[i]
			if turn == 0 && s.limit > 0 {
				continue
			}
			if turn > 0 && s.limit > 0 && int(to.done.Load()) >= s.limit {
				continue
			}
			var before, after int64
			var err error
			if written != nil {
				if before, err = written(); err != nil {
					return nil, err
				}
			}
			latencies, wall, err := runTurn(ctx, s, callers, min(slice, pass), &to.done)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", o.name, s.name, err)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if written != nil {
				if after, err = written(); err != nil {
					return nil, err
				}
			}
			if turn > 0 {
				to.latencies = append(to.latencies, latencies...)
				to.wall += wall
				to.written += after - before
			}
		}
	}
	rows := make([]row, len(sums))
	for i := range sums {
		v := sums[i].latencies
		slices.Sort(v)
		rows[i] = row{Operation: o.name, Callers: callers, Subject: o.subjects[i].name, N: len(v)}
		if len(v) > 0 {
			rows[i].P50, rows[i].P99 = microseconds(v[len(v)/2]), microseconds(v[len(v)*99/100])
			rows[i].PerSecond = float64(len(v)) / sums[i].wall.Seconds()
			if o.subjects[i].before == nil {
				rows[i].Written = float64(sums[i].written) / float64(len(v))
			}
		}
	}
	return rows, nil
}

func microseconds(d time.Duration) float64 { return float64(d) / 1e3 }

func runTurn(ctx context.Context, s *subject, callers int, length time.Duration, done *atomic.Int64) ([]time.Duration, time.Duration, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		spent atomic.Int64 // in before
		wg    sync.WaitGroup
	)
	began := time.Now()
	end := began.Add(length)
	for range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			// Not ctx: an interrupt lets the last operation finish.
			op, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var mine []time.Duration
			var err error
			for err == nil && time.Now().Before(end) && ctx.Err() == nil {
				if s.limit > 0 && int(done.Add(1)) > s.limit {
					break
				}
				if s.before != nil {
					from := time.Now()
					if err = s.before(op); err != nil {
						break
					}
					spent.Add(int64(time.Since(from)))
				}
				from := time.Now()
				err = s.op(op, rng)
				mine = append(mine, time.Since(from))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, time.Since(began) - time.Duration(spent.Load()), first
}
