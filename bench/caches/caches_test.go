package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// BenchmarkGet is a hit in a cache of 4096, one by one. `go run ./caches` lets
// the libraries take turns, and measures more than time.
func BenchmarkGet(b *testing.B) {
	for _, c := range candidates {
		b.Run(c.name, func(b *testing.B) {
			cache, keys := filled(b, c.open, 1<<12)
			b.Run("single", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if cache.get(keys[i%len(keys)]) == nil {
						b.Fatal("not there")
					}
				}
			})
			b.Run("parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						if cache.get(keys[i%len(keys)]) == nil {
							b.Error("not there")
							return
						}
					}
				})
			})
		})
	}
}

func filled(tb testing.TB, open func(int) (cache, error), n int) (cache, []store.Hash) {
	c, err := open(2 * n)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.close)
	recs := make([]*store.Authorization, n)
	keys := make([]store.Hash, n)
	for i := range recs {
		recs[i] = record(uint64(i))
		keys[i] = recs[i].TokenHash
	}
	fill(c, recs)
	return c, keys
}

func TestCandidates(t *testing.T) {
	for _, c := range candidates {
		t.Run(c.name, func(t *testing.T) {
			cache, keys := filled(t, c.open, 1<<12) // many, so that the shards of those that have some are about even
			for _, k := range keys {
				if r := cache.get(k); r == nil || r.TokenHash != k {
					t.Fatalf("%x: got %v", k[:4], r)
				}
			}
			if cache.get(hash(1<<20)) != nil {
				t.Error("found what was never set")
			}
			if n := cache.len(); n != len(keys) {
				t.Errorf("len = %d, want %d", n, len(keys))
			}
			if !c.bounded {
				return
			}
			for i := range uint64(20_000) {
				r := record(1<<20 + i)
				cache.set(r.TokenHash, r)
				cache.settle()
			}
			if n := cache.len(); n > 2*len(keys) {
				t.Errorf("holds %d, may hold %d", n, 2*len(keys))
			}
		})
	}
}

// The whole comparison, so small that its figures mean nothing.
func TestCompare(t *testing.T) {
	var out strings.Builder
	s := sizes{hot: []int{1 << 12, 1 << 13}, keys: 1000, accesses: 5000, entries: 2000, rounds: 1, slice: time.Millisecond}
	if err := compare(&out, s); err != nil {
		t.Fatal(err)
	}
	for _, c := range candidates {
		if !strings.Contains(out.String(), "\n"+c.name+" ") {
			t.Errorf("no row for %s:\n%s", c.name, &out)
		}
	}
}

// Of two keys with a skew of 1, the first comes twice as often.
func TestZipf(t *testing.T) {
	head := 0
	for _, k := range zipf(2, 1, 30_000) {
		if k == 0 {
			head++
		}
	}
	if head < 19_000 || head > 21_000 { // 2/3
		t.Errorf("the first of two keys was drawn %d times of 30,000", head)
	}
}
