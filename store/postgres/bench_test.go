package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// The Store beside the statement that it would run for each call alone, prepared,
// on the same pool: lookups, get-or-create of what is there, and creation, at 1
// and 64 callers.
func BenchmarkStore(b *testing.B) {
	s, err := postgres.Open(b.Context(), pgtest.DSN(b))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	db := s.DB()
	const rows = 10_000
	candidates := make([]store.Authorization, rows)
	for i := range candidates {
		candidates[i] = candidate(fmt.Sprint("user ", i))
		if _, _, err := s.GetOrCreate(b.Context(), candidates[i]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := db.ExecContext(b.Context(), "ANALYZE"); err != nil {
		b.Fatal(err)
	}
	prepare := func(text string) *sql.Stmt {
		stmt, err := db.PrepareContext(b.Context(), text)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = stmt.Close() })
		return stmt
	}
	// Rows as wide as those of the Store, and what makes a record of them left out.
	const columns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, issued_at, created_at, updated_at, idle_timeout`
	scan := func(row *sql.Row) error {
		var (
			n                [6]int64
			text             [7]string
			hash             []byte
			a, b, c, d, e, f = &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]
		)
		return row.Scan(a, b, &text[0], &text[1], &text[2], &text[3], &text[4], &text[5], &hash, &text[6], c, d, e, f)
	}
	byHash := prepare(`SELECT ` + columns + ` FROM authz_authorizations WHERE token_hash = $1`)
	byKey := prepare(`SELECT ` + columns + ` FROM authz_authorizations WHERE owner = $1 AND client_id = $2 AND fingerprint = $3`)
	insert := prepare(`INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, issued_at, created_at, updated_at)
VALUES (1, $1, $2, $3, '', '', '', $4, $5, $6, $7, $8) RETURNING ` + columns)

	var made atomic.Int64
	next := func() store.Authorization { return candidate(fmt.Sprint("new ", made.Add(1))) }
	for _, bench := range []struct {
		name string
		raw  func(ctx context.Context, i int) error
		ours func(ctx context.Context, i int) error
	}{
		{
			"lookup",
			func(ctx context.Context, i int) error {
				return scan(byHash.QueryRowContext(ctx, candidates[i%rows].TokenHash[:]))
			},
			func(ctx context.Context, i int) error {
				_, _, err := s.Lookup(ctx, candidates[i%rows].TokenHash)
				return err
			},
		},
		{
			"existing",
			func(ctx context.Context, i int) error {
				c := &candidates[i%rows]
				return scan(byKey.QueryRowContext(ctx, c.Owner, c.ClientID, c.Fingerprint))
			},
			func(ctx context.Context, i int) error {
				_, _, err := s.GetOrCreate(ctx, candidates[i%rows])
				return err
			},
		},
		{
			"create",
			func(ctx context.Context, _ int) error {
				c := next()
				return scan(insert.QueryRowContext(ctx, c.Owner, c.ClientID, c.Fingerprint, c.TokenHash[:], c.TokenLastEight,
					c.CreatedAt.UnixMicro(), c.CreatedAt.UnixMicro(), c.UpdatedAt.UnixMicro()))
			},
			func(ctx context.Context, _ int) error {
				_, created, err := s.GetOrCreate(ctx, next())
				if err == nil && !created {
					err = store.ErrConflict
				}
				return err
			},
		},
	} {
		for _, callers := range []int{1, 2, 8, 32, 64} {
			for _, side := range []struct {
				name string
				do   func(ctx context.Context, i int) error
			}{{"raw", bench.raw}, {"store", bench.ours}} {
				b.Run(fmt.Sprintf("%s/%d/%s", bench.name, callers, side.name), func(b *testing.B) {
					b.ReportAllocs()
					var turn atomic.Int64
					var wg sync.WaitGroup
					ctx, cancel := context.WithCancel(b.Context()) // as a request's: it can end
					defer cancel()
					b.ResetTimer()
					for range callers {
						wg.Go(func() {
							for i := turn.Add(1); i <= int64(b.N); i = turn.Add(1) {
								if err := side.do(ctx, int(i*7919%rows)); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
				})
			}
		}
	}
}
