package memory_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const rows = 1000

// record is the i-th authorization, with a token of its own.
func record(i int64) store.Authorization {
	now := time.UnixMicro(1_700_000_000_000_000).UTC()
	rec := store.Authorization{
		Key:    store.Key{Owner: fmt.Sprint("user ", i), ClientID: "abcde12345fghij67890", Fingerprint: "laptop"},
		Scopes: []string{"repo", "user:email"}, Note: "command line", TokenLastEight: "12345678",
		IssuedAt: now, CreatedAt: now, UpdatedAt: now,
	}
	binary.BigEndian.PutUint64(rec.TokenHash[:], uint64(i)+1) //nolint:gosec // G115: not negative
	return rec
}

// BenchmarkStore is what the hot paths ask of a store: a token, an authorization that is there, one that is not.
func BenchmarkStore(b *testing.B) {
	s, ctx := memory.New(), context.Background()
	recs := make([]store.Authorization, rows)
	for i := range recs {
		recs[i] = record(int64(i))
		if _, created, err := s.GetOrCreate(ctx, recs[i]); err != nil || !created {
			b.Fatal(created, err)
		}
	}
	var next atomic.Int64
	next.Store(rows)
	for _, bench := range []struct {
		name string
		do   func(i int64) error
	}{
		{"lookup", func(i int64) error { _, _, err := s.Lookup(ctx, recs[i%rows].TokenHash); return err }},
		{"existing", func(i int64) error {
			rec := recs[i%rows]
			rec.TokenHash = store.Hash{1} // a new one, as a Manager makes it
			_, created, err := s.GetOrCreate(ctx, rec)
			return is(created, false, err)
		}},
		{"new", func(int64) error {
			_, created, err := s.GetOrCreate(ctx, record(next.Add(1)))
			return is(created, true, err)
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				if err := bench.do(i); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := int64(0); pb.Next(); i++ {
					if err := bench.do(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func is(created, want bool, err error) error {
	if err == nil && created != want {
		return fmt.Errorf("created is %v", created)
	}
	return err
}
