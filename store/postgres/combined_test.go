package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// meet runs the calls so that they share statements: while another transaction
// holds the table in mode, and all lanes wait for it.
func meet(t *testing.T, s *postgres.Store, dsn, mode string, calls []func()) {
	t.Helper()
	tx, err := openDB(t, dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("LOCK TABLE authz_authorizations IN " + mode + " MODE"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 { // they fill the lanes of every kind
		wg.Go(func() { _, _, _ = s.Lookup(t.Context(), store.HashOf(fmt.Sprint("nobody's ", i))) })
		wg.Go(func() { _, _, _ = s.GetOrCreate(t.Context(), candidate(fmt.Sprint("first ", i))) })
	}
	time.Sleep(20 * time.Millisecond)
	for _, call := range calls {
		wg.Go(call)
	}
	time.Sleep(40 * time.Millisecond)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// beside opens a Store through a proxy, and returns the way around it too.
func beside(t *testing.T, parameters string) (s *postgres.Store, p *proxy, dsn string) {
	t.Helper()
	dsn = pgtest.DSN(t)
	p, through := newProxy(t, dsn)
	return open(t, through+parameters), p, dsn
}

// Callers of Lookup and GetByTokenHash that meet share statements, and each gets
// its own answer, in memory of its own.
func TestLookupsShareStatements(t *testing.T) {
	for _, parameters := range []string{"", "&binary_parameters=yes"} {
		s, p, dsn := beside(t, parameters)
		now := time.Now()
		if _, err := s.CreateApp(t.Context(), store.App{ClientID: "app", Name: "app", CreatedAt: now, UpdatedAt: now}); err != nil {
			t.Fatal(err)
		}
		const rows = 40
		recs := make([]store.Authorization, rows)
		for i := range recs {
			c := candidate(fmt.Sprint("user ", i))
			c.Scopes = []string{"repo", fmt.Sprint("s", i)}
			c.Replay = store.Replay{ID: store.HashOf(fmt.Sprint("replay ", i)), Seal: []byte{byte(i), 1}, ExpiresAt: now.Add(time.Hour)}
			if i%2 == 0 {
				c.ClientID = "app"
			}
			var err error
			if recs[i], _, err = s.GetOrCreate(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if err := s.Suspend(t.Context(), c.Owner, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		var calls []func()
		for i := range 3 * rows {
			calls = append(calls, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				want := recs[i%rows]
				got, standing, err := s.Lookup(ctx, want.TokenHash)
				if err != nil || got.ID != want.ID || got.Owner != want.Owner || !slices.Equal(got.Scopes, want.Scopes) || !slices.Equal(got.Replay.Seal, want.Replay.Seal) {
					t.Errorf("Lookup of %d = %d %q %q, %v", want.ID, got.ID, got.Owner, got.Scopes, err)
					return
				}
				if n := i % rows; standing != (store.Standing{App: n%2 == 0, Suspended: n%3 == 0}) {
					t.Errorf("the standing of %d is %+v", n, standing)
				}
				got.Scopes[0], got.Replay.Seal[0] = "mine", 0xff // nobody else may see it, nor the race detector
			})
			switch i % 3 {
			case 0:
				calls = append(calls, func() {
					if got, err := s.GetByTokenHash(t.Context(), recs[i%rows].TokenHash); err != nil || got.ID != recs[i%rows].ID {
						t.Errorf("GetByTokenHash of %d = %d, %v", recs[i%rows].ID, got.ID, err)
					}
				})
			case 1:
				calls = append(calls, func() {
					if got, _, err := s.Lookup(t.Context(), store.HashOf(fmt.Sprint("none ", i))); !errors.Is(err, store.ErrNotFound) {
						t.Errorf("Lookup of what is not there = %d, %v, want ErrNotFound", got.ID, err)
					}
				})
			}
		}
		sent := p.sent.Load()
		meet(t, s, dsn, "ACCESS EXCLUSIVE", calls)
		if sent = p.sent.Load() - sent; sent > 60 { // of 200 calls
			t.Errorf("%d lookups took %d messages to the server: they share nothing", len(calls), sent)
		}
	}
}

// Callers of GetOrCreate that meet share statements, one wins each key, and one
// bad call spoils nobody else's.
func TestCreationsShareStatements(t *testing.T) {
	for _, parameters := range []string{"", "&binary_parameters=yes"} {
		s, p, dsn := beside(t, parameters)
		expired := candidate("expired")
		expired.ExpiresAt = expired.CreatedAt.Add(time.Microsecond)
		old, _, err := s.GetOrCreate(t.Context(), expired)
		if err != nil {
			t.Fatal(err)
		}
		taken := candidate("taken")
		taken.Replay = store.Replay{ID: store.HashOf("replay"), Seal: []byte("{\\\"}"), ExpiresAt: time.Now().Add(time.Hour)}
		if taken, _, err = s.GetOrCreate(t.Context(), taken); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // candidates are younger than what has expired

		for _, spoilt := range []bool{false, true} {
			const keys, each = 30, 4
			type result struct {
				rec     store.Authorization
				created bool
				own     bool
			}
			results := make([][each]result, keys)
			var calls []func()
			owner := func(i int) string { return fmt.Sprint("o'w\"n\\e{r},", spoilt, i) }
			for i := range keys {
				for j := range each {
					calls = append(calls, func() {
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						defer cancel()
						c := candidate(owner(i))
						c.TokenHash = store.HashOf(fmt.Sprint(owner(i), j))
						c.Scopes, c.Note, c.NoteURL = []string{"a", `"\`}, "NULL", ""
						c.IdleTimeout, c.EndsAt = time.Hour, c.CreatedAt.Add(24*time.Hour)
						c.ExpiresAt = c.CreatedAt.Add(time.Hour)
						rec, created, err := s.GetOrCreate(ctx, c)
						if err != nil || rec.Key != c.Key || !slices.Equal(rec.Scopes, c.Scopes) || rec.Note != "NULL" || !rec.EndsAt.Equal(rec.CreatedAt.Add(24*time.Hour)) {
							t.Errorf("GetOrCreate of %+v = %+v, %v", c.Key, rec, err)
							return
						}
						results[i][j] = result{rec, created, rec.TokenHash == c.TokenHash}
						rec.Scopes[0] = "mine"
					})
				}
			}
			if spoilt {
				calls = append(calls, func() {
					c := candidate("wants the same")
					c.Replay = taken.Replay
					var conflict *store.ConflictError
					if rec, _, err := s.GetOrCreate(t.Context(), c); !errors.As(err, &conflict) || conflict.ID != taken.ID {
						t.Errorf("GetOrCreate with a Replay that is taken = %d, %v, want a conflict with %d", rec.ID, err, taken.ID)
					}
				}, func() {
					if _, _, err := s.GetOrCreate(t.Context(), candidate("no\x00text")); err == nil {
						t.Error("GetOrCreate with U+0000 succeeded")
					}
				}, func() {
					if rec, created, err := s.GetOrCreate(t.Context(), candidate("expired")); err != nil || !created || rec.ID == old.ID {
						t.Errorf("GetOrCreate in the place of an expired one = %d, %t, %v", rec.ID, created, err)
					}
				})
			}
			sent := p.sent.Load()
			meet(t, s, dsn, "SHARE", calls)
			if sent = p.sent.Load() - sent; !spoilt && sent > 60 { // of 120 calls with two statements each
				t.Errorf("%d creations took %d messages to the server: they share nothing", len(calls), sent)
			}
			for i, of := range results {
				created := 0
				for _, r := range of {
					if r.created {
						created++
					}
					if r.created != r.own || r.rec.ID != of[0].rec.ID {
						t.Errorf("key %d: created %t of an own token %t, IDs %d and %d", i, r.created, r.own, r.rec.ID, of[0].rec.ID)
					}
				}
				rows, err := s.List(t.Context(), store.Query{Owner: owner(i), Limit: 10})
				if created != 1 || err != nil || len(rows) != 1 {
					t.Errorf("key %d: %d callers created %d rows, %v; want 1 and 1", i, created, len(rows), err)
				}
			}
		}
	}
}

// A caller that leaves takes nobody with it.
func TestLeavingASharedStatement(t *testing.T) {
	s, _, dsn := beside(t, "")
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	var calls []func()
	for i := range 40 {
		calls = append(calls, func() {
			ctx := t.Context()
			if i%4 == 0 {
				ctx = short
			}
			_, created, err := s.GetOrCreate(ctx, candidate(fmt.Sprint("user ", i)))
			if i%4 == 0 && err != nil && !errors.Is(err, context.DeadlineExceeded) || i%4 != 0 && (err != nil || !created) {
				t.Errorf("caller %d: created %t, %v", i, created, err)
			}
		})
	}
	meet(t, s, dsn, "SHARE", calls)
}

// Another transaction has one key: whoever wants that key waits for it, the others
// do not.
func TestALockHoldsUpOneCreation(t *testing.T) {
	s, _, dsn := beside(t, "")
	tx, err := openDB(t, dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	locked := candidate("locked")
	if _, err := tx.Exec(`INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at)
VALUES (1, $1, $2, '', '', '', '', $3, '', 1, 1)`, locked.Owner, locked.ClientID, []byte("another's")); err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error, 3)
	for range cap(blocked) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_, created, err := s.GetOrCreate(ctx, candidate("locked"))
			if err == nil && !created {
				err = errors.New("existing")
			}
			blocked <- err
		}()
		time.Sleep(30 * time.Millisecond) // each alone: they fill the lanes
	}
	var wg sync.WaitGroup
	start := time.Now()
	for i := range 64 {
		wg.Go(func() {
			if _, created, err := s.GetOrCreate(t.Context(), candidate(fmt.Sprint("free ", i))); err != nil || !created {
				t.Errorf("GetOrCreate of another key = %t, %v", created, err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a lock on one key held up the creation of others for %v", took)
	}
	select {
	case err := <-blocked:
		t.Fatalf("GetOrCreate of a locked key did not wait: %v", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	created := 0
	for range cap(blocked) {
		if err := <-blocked; err == nil {
			created++
		} else if err.Error() != "existing" {
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("%d of those who waited for one key created it, want 1", created)
	}
}

// The server falls silent with statements of many under way: every caller is back
// by its deadline, and in the end nothing is left.
func TestSharedStatementsOnAHungNetwork(t *testing.T) {
	dsn := pgtest.DSN(t)
	p, through := newProxy(t, dsn)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		// The proxy's own, for connections that the server may not have ended yet.
		goleak.IgnoreAnyFunction("github.com/seed-926035fd/authz/store/postgres_test.(*proxy).copy"))
	s, err := postgres.Open(t.Context(), through+"&pool_max_conns=6")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec, _, err := s.GetOrCreate(t.Context(), candidate("known"))
	if err != nil {
		t.Fatal(err)
	}
	busy, stop := context.WithCancel(t.Context())
	var load, wg sync.WaitGroup
	for i := range 16 { // so that the silence falls among shared statements
		load.Go(func() {
			for j := 0; busy.Err() == nil; j++ {
				_, _, _ = s.Lookup(busy, rec.TokenHash)
				_, _, _ = s.GetOrCreate(busy, candidate(fmt.Sprint("busy ", i, " ", j)))
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	p.swallow.Store(true)
	late := lateness()
	const deadline = 500 * time.Millisecond
	took := make([]time.Duration, 96)
	for i := range took {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			start := time.Now()
			var err error
			switch i % 3 {
			case 0:
				_, _, err = s.Lookup(ctx, rec.TokenHash)
			case 1:
				_, err = s.GetByTokenHash(ctx, rec.TokenHash)
			case 2:
				_, _, err = s.GetOrCreate(ctx, candidate(fmt.Sprint("hung ", i)))
			}
			took[i] = time.Since(start)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a call on a hung network = %v, want context.DeadlineExceeded", err)
			}
		})
	}
	wg.Wait()
	if machine := late(); slices.Max(took) > deadline+100*time.Millisecond+machine {
		t.Errorf("a call on a hung network took %v, want at most its deadline and 100 ms (and %v, by which this machine is late)", slices.Max(took), machine)
	}
	stop()
	load.Wait()
	p.open()
	start := time.Now()
	eventually(t, 6*time.Second, "the pool is usable again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, _, err := s.Lookup(ctx, rec.TokenHash)
		return err == nil
	})
	t.Logf("usable %v after the network was", time.Since(start).Round(time.Millisecond))
}

// Under load the pool keeps the connections that it has.
func TestNoConnectionIsMadeAnew(t *testing.T) {
	s, p, _ := beside(t, "&pool_max_conns=8")
	before := p.dialled.Load() // of Open: one in the pool, a second to see a pooler, one to migrate
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for j := range 30 {
				rec, _, err := s.GetOrCreate(ctx, candidate(fmt.Sprint(i, j)))
				if err == nil {
					_, _, err = s.Lookup(ctx, rec.TokenHash)
				}
				if err == nil {
					_, err = s.List(ctx, store.Query{Owner: rec.Owner, Limit: 1})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if made := p.dialled.Load() - before; made > 7 {
		t.Errorf("%d connections were made under load, want at most 7 for a pool of 8 that has one", made)
	}
}
