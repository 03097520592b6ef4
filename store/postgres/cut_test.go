package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// cutStep is 1 with AUTHZ_TEST_FULL, and else step: every byte takes minutes.
func cutStep(step int64) int64 {
	if os.Getenv("AUTHZ_TEST_FULL") != "" {
		return 1
	}
	return step
}

// The server's answers to one operation are cut at every byte (see cutStep), as
// for get-or-create (TestAnswerCutAtEveryByte). Whatever the driver and database/sql
// make of that, the operation takes effect once; its token reaches the caller or
// there is an error; and after an error the same request with the same
// Idempotency-Key has its token.
func TestOperationsCut(t *testing.T) {
	type fixture struct {
		m      *authz.Manager // through the proxy
		app    authz.App
		secret authz.Secret
	}
	request := func(f fixture, owner string, key authz.Secret) authz.Request {
		return authz.Request{Owner: owner, ClientID: f.app.ClientID, ClientSecret: f.secret, IdempotencyKey: key}
	}
	operations := []struct {
		name string
		// prepare runs before the cut; do is cut, and then repeated if it has
		// failed. Both get an owner of their own for each cut.
		prepare func(ctx context.Context, f fixture, owner string) (authz.Result, error)
		do      func(ctx context.Context, f fixture, owner string, before authz.Result, key authz.Secret) (authz.Result, error)
		rows    int64
	}{
		{
			name: "Create",
			do: func(ctx context.Context, f fixture, owner string, _ authz.Result, key authz.Secret) (authz.Result, error) {
				return f.m.Create(ctx, request(f, owner, key))
			},
			rows: 1,
		},
		{
			name: "Reset",
			prepare: func(ctx context.Context, f fixture, owner string) (authz.Result, error) {
				return f.m.Create(ctx, request(f, owner, authz.Secret{}))
			},
			do: func(ctx context.Context, f fixture, _ string, before authz.Result, key authz.Secret) (authz.Result, error) {
				return f.m.Reset(ctx, authz.ResetRequest{ClientID: f.app.ClientID, Token: before.Token, IdempotencyKey: key})
			},
			rows: 1,
		},
		{
			name: "rotate",
			prepare: func(ctx context.Context, f fixture, owner string) (authz.Result, error) {
				return f.m.Create(ctx, request(f, owner, authz.Secret{}))
			},
			do: func(ctx context.Context, f fixture, owner string, _ authz.Result, key authz.Secret) (authz.Result, error) {
				req := request(f, owner, key)
				req.OnExisting = authz.OnExistingRotate
				return f.m.GetOrCreate(ctx, req)
			},
			rows: 1,
		},
		{
			name: "RevokeAll",
			prepare: func(ctx context.Context, f fixture, owner string) (authz.Result, error) {
				for range 2 {
					if _, err := f.m.Create(ctx, request(f, owner, authz.Secret{})); err != nil {
						return authz.Result{}, err
					}
				}
				return f.m.Create(ctx, request(f, owner, authz.Secret{}))
			},
			do: func(ctx context.Context, f fixture, owner string, _ authz.Result, key authz.Secret) (authz.Result, error) {
				n, err := f.m.RevokeAll(ctx, authz.Revocation{Owner: owner})
				if err == nil && n != 3 {
					err = fmt.Errorf("RevokeAll = %d, want 3", n)
				}
				return authz.Result{}, err
			},
		},
		{
			name: "Revoke",
			prepare: func(ctx context.Context, f fixture, owner string) (authz.Result, error) {
				return f.m.Create(ctx, request(f, owner, authz.Secret{}))
			},
			do: func(ctx context.Context, f fixture, _ string, before authz.Result, _ authz.Secret) (authz.Result, error) {
				return authz.Result{}, f.m.Revoke(ctx, f.app.ClientID, before.Token.Reveal())
			},
		},
	}
	step := cutStep(29)
	for _, mode := range []struct {
		name, parameters string
		keyed            bool
	}{
		{"", "", true},
		{" without a key", "", false},
		{" with binary_parameters", "&binary_parameters=yes", true},
	} {
		for _, op := range operations {
			if op.rows == 0 && !mode.keyed {
				continue // has no key anyway
			}
			t.Run(op.name+mode.name, func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.DSN(t)
				direct := open(t, dsn)
				p, through := newProxy(t, dsn)
				m, err := authz.New(open(t, through+"&pool_max_conns=1"+mode.parameters), authz.Config{Apps: direct})
				if err != nil {
					t.Fatal(err)
				}
				f := fixture{m: m}
				if f.app, f.secret, err = m.RegisterApp(t.Context(), authz.NewApp{Name: "cut"}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				run := func(owner string, n int64) (cut bool, failed bool) {
					var before authz.Result
					if op.prepare != nil {
						if before, err = op.prepare(ctx, f, owner); err != nil {
							t.Fatal(err)
						}
					}
					var key authz.Secret
					if mode.keyed {
						key = authz.NewSecret(uuid.NewString())
					}
					cuts := p.cuts.Load()
					p.left.Store(n)
					got, err := op.do(ctx, f, owner, before, key)
					p.left.Store(-1)
					failed = err != nil
					if errors.Is(err, authz.ErrNotFound) {
						t.Fatalf("cut after %d bytes: %v, of what was there", n, err)
					}
					if failed && !mode.keyed {
						return true, true
					}
					if failed && op.rows > 0 { // the client asks again
						if got, err = op.do(ctx, f, owner, before, key); err != nil {
							t.Fatalf("cut after %d bytes: asked again: %v", n, err)
						}
					}
					if rows, err := m.Count(ctx, owner, ""); err != nil || !failed && rows != op.rows || rows > 3 {
						t.Fatalf("cut after %d bytes: %d authorizations, %v; want %d", n, rows, err, op.rows)
					}
					if op.rows > 0 {
						if a, err := m.Verify(ctx, got.Token.Reveal()); err != nil || a.ID != got.Authorization.ID || a.Owner != owner {
							t.Fatalf("cut after %d bytes: the token does not verify: %v, %v", n, a, err)
						}
					}
					if !before.Token.IsZero() && !failed {
						if _, err := m.Verify(ctx, before.Token.Reveal()); !errors.Is(err, authz.ErrInvalidToken) {
							t.Fatalf("cut after %d bytes: the old token: %v, want ErrInvalidToken", n, err)
						}
					}
					return p.cuts.Load() != cuts, failed
				}
				run("first", -1) // prepares the statements
				errs := 0
				for n := int64(0); ; n += step {
					cut, failed := run(fmt.Sprint("cut at ", n), n)
					if failed {
						errs++
					}
					if !cut { // n is past the last answer
						t.Logf("cut at %d bytes, %d times an error", n, errs)
						if errs > 0 {
							t.Errorf("%d cuts were an error to the caller, who had time left", errs)
						}
						if n < 60 {
							t.Fatalf("only %d bytes were cut: the proxy does not see the answers", n)
						}
						return
					}
				}
			})
		}
	}
}

// The answers to statements that callers share are cut at every byte (see cutStep).
// Nobody is told "existing" of the row that its call has made, each row is there
// once, and nobody is told "not found" of what is there.
func TestSharedAnswersCut(t *testing.T) {
	for _, mode := range []struct {
		name string
		open func(t *testing.T, dsn string) *postgres.Store
	}{
		{"Open", func(t *testing.T, dsn string) *postgres.Store { return open(t, dsn+"&pool_max_conns=1") }},
		{"Open binary_parameters", func(t *testing.T, dsn string) *postgres.Store {
			return open(t, dsn+"&pool_max_conns=1&binary_parameters=yes")
		}},
		{"New", func(t *testing.T, dsn string) *postgres.Store {
			db := openDB(t, dsn)
			db.SetMaxOpenConns(1)
			return postgres.New(db)
		}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			const callers = 8 // on one connection: all but two of them meet
			dsn := pgtest.DSN(t)
			direct := open(t, dsn)
			p, through := newProxy(t, dsn)
			s := mode.open(t, through)
			each := func(fn func(ctx context.Context, i int)) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() { fn(ctx, i) })
				}
				wg.Wait()
			}
			run := func(name string, n int64) (cuts int64) {
				before := p.cuts.Load()
				recs := make([]store.Authorization, callers)
				p.left.Store(n)
				each(func(ctx context.Context, i int) {
					c := candidate(fmt.Sprint(name, i))
					rec, created, err := s.GetOrCreate(ctx, c)
					if err != nil || !created || rec.TokenHash != c.TokenHash || rec.Owner != c.Owner {
						t.Errorf("cut after %d bytes: created %t, of %q, %v; want created", n, created, rec.Owner, err)
					}
					recs[i] = rec
				})
				p.left.Store(-1)
				for i, rec := range recs {
					if rows, err := direct.List(t.Context(), store.Query{Owner: fmt.Sprint(name, i), Limit: 10}); err != nil || len(rows) != 1 || rows[0].ID != rec.ID {
						t.Errorf("cut after %d bytes: the database has %d rows, %v; want %d alone", n, len(rows), err, rec.ID)
					}
				}
				p.left.Store(n)
				each(func(ctx context.Context, i int) {
					if got, _, err := s.Lookup(ctx, recs[i].TokenHash); err != nil || got.ID != recs[i].ID {
						t.Errorf("cut after %d bytes: Lookup of %d = %d, %v", n, recs[i].ID, got.ID, err)
					}
				})
				p.left.Store(n)
				each(func(ctx context.Context, i int) {
					got, created, err := s.GetOrCreate(ctx, candidate(fmt.Sprint(name, i)))
					if err != nil || created || got.ID != recs[i].ID {
						t.Errorf("cut after %d bytes: GetOrCreate of %d = %d, created %t, %v", n, recs[i].ID, got.ID, created, err)
					}
				})
				p.left.Store(-1)
				return p.cuts.Load() - before
			}
			for i := range 3 { // prepares the statements
				run(fmt.Sprint("warm ", i, " "), -1)
			}
			cut := int64(0)
			for n := int64(0); !t.Failed(); n += cutStep(37) {
				cuts := run(fmt.Sprint("cut at ", n, " "), n)
				if cut += cuts; cuts == 0 { // n is past the last answer
					t.Logf("%d cuts, up to %d bytes", cut, n)
					if n < 1500 {
						t.Fatalf("only %d bytes were cut: the proxy does not see the answers", n)
					}
					return
				}
			}
		})
	}
}
