// Command caches compares cache libraries for what a Manager would cache:
// records by the hash of their token.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// sizes are those of the workloads.
type sizes struct {
	hot      []int // entries for the time of a hit, all of them there: some that stay in a core's cache, and many
	keys     int   // of the workload for hit rates; the cache holds a tenth
	accesses int
	entries  int // for the memory of one
	rounds   int
	slice    time.Duration
}

func main() {
	s := sizes{hot: []int{1 << 12, 1 << 17}}
	flag.IntVar(&s.keys, "keys", 200_000, "keys of the workload for hit rates; a tenth of them fits")
	flag.IntVar(&s.accesses, "accesses", 2_000_000, "accesses of that workload")
	flag.IntVar(&s.entries, "entries", 1_000_000, "entries for the memory of each")
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of timing, of which the median counts")
	flag.DurationVar(&s.slice, "slice", 300*time.Millisecond, "length of a subject's turn in a round")
	flag.Parse()
	if err := compare(os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "caches:", err)
		os.Exit(1)
	}
}

// figures are those of one candidate.
type figures struct {
	times  []float64 // ns per hit: for each of sizes.hot, one caller and GOMAXPROCS
	allocs float64
	rates  []float64
	bytes  float64
	kept   int
}

func compare(w io.Writer, s sizes) error {
	all := make([]figures, len(candidates))
	for _, n := range s.hot {
		if err := timeHits(all, s, n); err != nil {
			return err
		}
	}
	if err := hitRates(all, s); err != nil {
		return err
	}
	if err := memory(all, s); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s %s/%s, GOMAXPROCS=%d. ns/hit: medians of %d turns of %s in random order, keys drawn at random.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds, s.slice)
	fmt.Fprintf(w, "par: GOMAXPROCS callers, wall time over hits of all.\nHit rates: %d keys, capacity %d, %d accesses; flood: after each 5 %% of them twice the capacity of keys that never come again (not counted).\n",
		s.keys, s.keys/10, s.accesses)
	fmt.Fprintf(w, "bytes/entry: heap after GC, with the key and the pointer (40 bytes), without the record, %d entries set in a cache of that capacity.\n\n", s.entries)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "cache\t")
	for _, n := range s.hot {
		fmt.Fprintf(t, "ns/hit of %d\tpar\t", n)
	}
	fmt.Fprintln(t, "allocs\tZipf 1.01\t1.01 + flood\tZipf 0.8\t0.8 + flood\tbytes/entry\tkept")
	for i, c := range candidates {
		f := all[i]
		rates := ""
		for j := range 4 {
			rate := "-"
			if c.bounded {
				rate = fmt.Sprintf("%.1f %%", 100*f.rates[j])
			}
			rates += rate + "\t"
		}
		times := ""
		for _, ns := range f.times {
			times += fmt.Sprintf("%.0f\t", ns)
		}
		fmt.Fprintf(t, "%s\t%s%.3f\t%s%.0f\t%.1f %%\n", c.name, times, f.allocs, rates, f.bytes, 100*float64(f.kept)/float64(s.entries))
	}
	return t.Flush()
}

// record i, under a key as uniform as those of tokens.
func record(i uint64) *store.Authorization {
	return &store.Authorization{TokenHash: hash(i)}
}

func hash(i uint64) store.Hash {
	return store.Hash(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, i)))
}

// timeHits lets the candidates take turns.
func timeHits(all []figures, s sizes, n int) error {
	recs := make([]*store.Authorization, n)
	keys := make([]store.Hash, n) // side by side: what is fetched from memory is the cache's
	for i := range recs {
		recs[i] = record(uint64(i))
		keys[i] = recs[i].TokenHash
	}
	caches := make([]cache, len(candidates))
	for i, c := range candidates {
		var err error
		if caches[i], err = c.open(2 * n); err != nil { // room for all, so that each is a hit
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer caches[i].close()
		fill(caches[i], recs)
	}
	for _, callers := range []int{1, runtime.GOMAXPROCS(0)} {
		took := make([][]float64, len(caches))
		allocs := make([][]float64, len(caches))
		for round := range s.rounds + 1 {
			for _, i := range rand.Perm(len(caches)) {
				ns, a, hits := turn(caches[i], keys, callers, s.slice)
				if hits < 0.99 {
					return fmt.Errorf("%s: only %.1f %% were hits", candidates[i].name, 100*hits)
				}
				if round > 0 { // the first warms up
					took[i], allocs[i] = append(took[i], ns), append(allocs[i], a)
				}
			}
		}
		for i := range all {
			all[i].times = append(all[i].times, median(took[i]))
			all[i].allocs = max(all[i].allocs, median(allocs[i]))
		}
	}
	return nil
}

// turn returns the nanoseconds and allocations for each lookup, and the share
// of hits.
func turn(c cache, keys []store.Hash, callers int, length time.Duration) (ns, allocs, hits float64) {
	var (
		stop          atomic.Bool
		ops, found    atomic.Int64
		wg            sync.WaitGroup
		before, after runtime.MemStats
	)
	runtime.ReadMemStats(&before)
	began := time.Now()
	timer := time.AfterFunc(length, func() { stop.Store(true) })
	defer timer.Stop()
	for range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			n, hit := 0, 0
			for !stop.Load() {
				for range 64 {
					if c.get(keys[rng.IntN(len(keys))]) != nil {
						hit++
					}
					n++
				}
			}
			ops.Add(int64(n))
			found.Add(int64(hit))
		})
	}
	wg.Wait()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	n := float64(ops.Load())
	return float64(took.Nanoseconds()) / n, float64(after.Mallocs-before.Mallocs) / n, float64(found.Load()) / n
}

func fill(c cache, recs []*store.Authorization) {
	for i, r := range recs {
		c.set(r.TokenHash, r)
		if i%64 == 0 {
			c.settle()
		}
	}
	c.settle()
}

// hitRates gives all the same accesses.
func hitRates(all []figures, s sizes) error {
	recs := make([]*store.Authorization, s.keys)
	for i := range recs {
		recs[i] = record(uint64(i))
	}
	capacity := max(1, s.keys/10)
	for _, skew := range []float64{1.01, 0.8} {
		accesses := zipf(s.keys, skew, s.accesses)
		for _, flood := range []bool{false, true} {
			for i, c := range candidates {
				if !c.bounded {
					continue
				}
				cache, err := c.open(capacity)
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				rate := hitRate(cache, recs, accesses, capacity, flood)
				cache.close()
				all[i].rates = append(all[i].rates, rate)
			}
		}
	}
	return nil
}

func hitRate(c cache, recs []*store.Authorization, accesses []int32, capacity int, flood bool) float64 {
	once := uint64(1) << 32 // the first key that comes but once
	missed := 0
	miss := func(r *store.Authorization) {
		c.set(r.TokenHash, r)
		if missed++; missed%64 == 0 {
			c.settle()
		}
	}
	hits := 0
	for i, k := range accesses {
		if flood && i > 0 && i%max(1, len(accesses)/20) == 0 {
			for range 2 * capacity {
				r := record(once)
				once++
				if c.get(r.TokenHash) == nil {
					miss(r)
				}
			}
		}
		r := recs[k]
		if c.get(r.TokenHash) == r {
			hits++
		} else {
			miss(r)
		}
	}
	return float64(hits) / float64(len(accesses))
}

// zipf draws n of the keys, the k-th with a probability of k^-skew over their
// sum. That of math/rand wants a skew above 1.
func zipf(keys int, skew float64, n int) []int32 {
	sums := make([]float64, keys)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -skew)
		sums[i] = sum
	}
	rng := rand.New(rand.NewPCG(1, 2)) // the same for all, and each time
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(min(sort.SearchFloat64s(sums, rng.Float64()*sum), keys-1))
	}
	return out
}

// memory sets as many entries as the cache may hold.
func memory(all []figures, s sizes) error {
	recs := make([]*store.Authorization, s.entries)
	for i := range recs {
		recs[i] = record(uint64(i))
	}
	for i, c := range candidates {
		before := heap()
		cache, err := c.open(s.entries)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fill(cache, recs)
		used := heap() - before
		all[i].kept = cache.len()
		all[i].bytes = used / float64(max(1, all[i].kept))
		cache.close()
	}
	runtime.KeepAlive(recs)
	return nil
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first one has only queued, as pools do
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
