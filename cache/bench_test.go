package cache_test

import (
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store/memory"
)

// BenchmarkVerify is a hit of the cache; BenchmarkFloor the least that anybody has to do: hash and map.
func BenchmarkVerify(b *testing.B) {
	m, tokens := started(b, memory.New(), cache.New(20_000), 10_000)
	b.Run("single", func(b *testing.B) {
		b.ReportAllocs()
		ctx, i := b.Context(), 0
		for b.Loop() {
			if _, err := m.Verify(ctx, tokens[i*40503%len(tokens)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := m.Verify(ctx, tokens[i*40503%len(tokens)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkFloor(b *testing.B) {
	m, tokens := started(b, memory.New(), cache.New(20_000), 10_000)
	var mu sync.RWMutex
	recs := map[[32]byte]*authz.Authorization{}
	for _, token := range tokens {
		rec, _ := m.Verify(b.Context(), token)
		recs[sha256.Sum256([]byte(token))] = rec
	}
	get := func(token string) *authz.Authorization {
		var text [40]byte
		copy(text[:], token)
		hash := sha256.Sum256(text[:])
		mu.RLock()
		rec := recs[hash]
		mu.RUnlock()
		return rec
	}
	b.Run("single", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if get(tokens[i*40503%len(tokens)]) == nil {
				b.Fatal()
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if get(tokens[i*40503%len(tokens)]) == nil {
					b.Fatal()
				}
			}
		})
	})
}
