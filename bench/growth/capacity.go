package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store/memory"
)

// memoryFigures are what a cache costs and brings.
type memoryFigures struct {
	Tokens   int     `json:"tokens"`
	PerToken float64 `json:"bytes_per_token"`
	Hits     float64 `json:"hits_per_second"`
	Cores    int     `json:"cores"`
}

// measureMemory fills a cache with tokens, and verifies them on all cores.
func (r *report) measureMemory(ctx context.Context, o options, p *progress) error {
	s := memory.New()
	m, err := authz.New(s, authz.Config{Cache: cache.New(o.cached * 2), CacheTTL: time.Hour})
	if err != nil {
		return err
	}
	app, secret, err := m.RegisterApp(ctx, authz.NewApp{Name: "shop", URL: "https://shop.example"})
	if err != nil {
		return err
	}
	tokens := make([]string, o.cached)
	for i := range tokens {
		res, err := m.GetOrCreate(ctx, authz.Request{
			Owner: ownerName(i), ClientID: app.ClientID, ClientSecret: secret, Fingerprint: "laptop", Scopes: []string{"repo", "user:email"},
			Note: "command line of the example shop", NoteURL: "https://shop.example/help/tokens",
		})
		if err != nil {
			return err
		}
		tokens[i] = res.Token.Reveal()
		if i%1000 == 0 {
			p.say(0, "cache: made %d of %d tokens", i, len(tokens))
		}
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	defer m.Close(context.WithoutCancel(ctx))
	time.Sleep(100 * time.Millisecond) // until it hears of changes: nothing is kept before
	before := heap()
	for _, token := range tokens {
		if _, err := m.Verify(ctx, token); err != nil {
			return err
		}
	}
	after := heap()
	var (
		total  atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
		began  = time.Now()
		end    = began.Add(o.pass)
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			for n := int64(0); ; n++ {
				if n%1024 == 0 && !time.Now().Before(end) {
					total.Add(n)
					return
				}
				if _, err := m.Verify(ctx, tokens[rng.IntN(len(tokens))]); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	r.Memory = &memoryFigures{len(tokens), float64(after-before) / float64(len(tokens)), float64(total.Load()) / time.Since(began).Seconds(), runtime.GOMAXPROCS(0)}
	return nil
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What capacity asks for.
const (
	wantTokens   = 1e9
	wantVerifies = 1e6
)

// capacity is the arithmetic for a billion authorizations and a million
// verifications a second, with the figures of this run alone.
func (r *report) capacity() string {
	const backend = "postgres"
	largest := 0
	for _, m := range r.Rows {
		if m.Backend == backend {
			largest = max(largest, m.Rows)
		}
	}
	find := func(operation string) row {
		for _, m := range r.Rows {
			if m.Backend == backend && m.Rows == largest && m.Operation == operation && m.Callers == 8 && m.Subject == ours {
				return m
			}
		}
		return row{}
	}
	lookup, create, revoke := find("verify, not cached"), find("get-or-create, new"), find("revoke by user")
	if lookup.N == 0 || create.N == 0 || revoke.N == 0 || r.Memory == nil {
		return ""
	}
	var table, total, hash float64
	for _, s := range r.Sizes {
		if s.Backend == backend && s.Rows == largest {
			total += s.PerRow
			switch s.Relation {
			case "authz_authorizations":
				table = s.PerRow
			case "authz_authorizations_token_hash":
				hash = s.PerRow
			}
		}
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("## One billion authorizations, one million verifications a second\n")
	line("Arithmetic with figures of this run: PostgreSQL at %s rows, this machine (%d cores that client and server share). What is an assumption says so.\n", count(float64(largest)), r.Memory.Cores)
	line("| step | arithmetic | result |\n|---|---|--:|")
	line("| table | %s × %.0f bytes a row | %s |", count(wantTokens), table, bytesOf(wantTokens*table))
	line("| all indexes | %s × %.0f bytes a row | %s |", count(wantTokens), total-table, bytesOf(wantTokens*(total-table)))
	line("| on disk, one copy | the sum | %s |", bytesOf(wantTokens*total))
	line("| index by token hash, all of it: hashes are spread evenly, so that a lookup of any token is one read from the disk if it is not in RAM | %s × %.0f bytes | %s |", count(wantTokens), hash, bytesOf(wantTokens*hash))
	const active = 1e7
	line("| RAM for tokens in use | assumption: %s tokens are used in an hour; each touches a page of the index and one of the table: %s × 2 × 8 KiB | %s |", count(active), count(active), bytesOf(active*2*8192))
	line("| RAM of a node's cache | %s tokens × %.0f bytes (measured with %s tokens) | %s |", count(active), r.Memory.PerToken, count(float64(r.Memory.Tokens)), bytesOf(active*r.Memory.PerToken))
	nodes := wantVerifies / (r.Memory.Hits / 2)
	line("| verifications from memory | %s/s ÷ half of the %s/s that %d cores have verified, the other half for the service itself | %.1f machines like this |", count(wantVerifies), count(r.Memory.Hits), r.Memory.Cores, nodes)
	for _, miss := range []float64{0.1, 0.01, 0.001} {
		misses := wantVerifies * miss
		line("| misses at a hit rate of %.4g %% | %s/s × %g ÷ %s lookups/s (8 callers) | %s/s: %.1f servers like this |", 100-miss*100, count(wantVerifies), miss, count(lookup.PerSecond), count(misses), misses/lookup.PerSecond)
	}
	const many = 4.0
	for _, ttl := range []time.Duration{time.Minute, time.Hour} {
		misses := active / ttl.Seconds()
		line("| the least misses with CacheTTL %v | each token in use is read again once in that time: %s ÷ %.0f s if requests go to nodes by token, %.0f times as much if %.0f nodes see all | %s/s to %s/s |",
			ttl, count(active), ttl.Seconds(), many, many, count(misses), count(misses*many))
	}
	const perDay = 0.01
	a := wantTokens * perDay / 86400
	line("| creations | assumption: %g %% of all a day: %s × %g ÷ 86,400 s; measured %s/s | %.0f/s: %.0f %% of it |", perDay*100, count(wantTokens), perDay, count(create.PerSecond), a, 100*a/create.PerSecond)
	line("| log of changes for them | × %.0f bytes each, measured; whole pages after a checkpoint are in it | %s/s |", create.Written, bytesOf(a*create.Written))
	line("| flushes for them | one for each commit at most; %.0f/s if none share one | %.0f/s |", a, a)
	a = wantTokens * perDay / 86400 / perOwner
	line("| revocations by user | as many authorizations go, %d for each user; measured %s/s, which no core adds to: NOTIFY holds a lock of the whole server until the commit | %.0f/s: %.0f %% of it |", perOwner, count(revoke.PerSecond), a, 100*a/revoke.PerSecond)
	line("| times of use | %s tokens in use, each stored once in LastUsedInterval (a minute), in a batch for each node; not measured here | %s rows/s |", count(active), count(active/60))
	return b.String()
}
