package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

// The server's answers to one get-or-create are cut at every byte (see cutStep). Whatever
// the driver and database/sql make of that, the caller gets the token of the
// row that was made, or an error: never "existing" without a token.
func TestAnswerCutAtEveryByte(t *testing.T) {
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
			dsn := pgtest.DSN(t)
			direct := open(t, dsn)
			p, through := newProxy(t, dsn)
			m, err := authz.New(mode.open(t, through), authz.Config{Apps: direct})
			if err != nil {
				t.Fatal(err)
			}
			app, secret, err := m.RegisterApp(t.Context(), authz.NewApp{Name: "cut"})
			if err != nil {
				t.Fatal(err)
			}
			// Prepares the statements, so that the cuts are in answers to the
			// statements themselves.
			put := func(owner string) (authz.Result, error) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				return m.GetOrCreate(ctx, authz.Request{Owner: owner, ClientID: app.ClientID, ClientSecret: secret})
			}
			if _, err := put("first"); err != nil {
				t.Fatal(err)
			}
			created, failed := 0, 0
			for n := int64(0); ; n += cutStep(5) {
				owner := fmt.Sprintf("cut at %d", n)
				before := p.cuts.Load()
				p.left.Store(n)
				got, err := put(owner)
				p.left.Store(-1)
				rows, listErr := direct.List(t.Context(), store.Query{Owner: owner, Limit: 10})
				if listErr != nil {
					t.Fatal(listErr)
				}
				if len(rows) > 1 {
					t.Fatalf("cut after %d bytes: %d rows, want at most 1", n, len(rows))
				}
				switch {
				case err != nil:
					failed++
				case !got.Created || got.Token.IsZero():
					t.Fatalf("cut after %d bytes: answered 200 without a token for the row that the same call made", n)
				case len(rows) != 1 || rows[0].ID != got.Authorization.ID:
					t.Fatalf("cut after %d bytes: created %d, the database has %v", n, got.Authorization.ID, rows)
				default:
					created++
					if _, err := m.Verify(t.Context(), got.Token.Reveal()); err != nil {
						t.Fatalf("cut after %d bytes: the token does not verify: %v", n, err)
					}
				}
				if p.cuts.Load() == before { // n is past the last answer
					t.Logf("cut at %d bytes: %d times created with its token, %d times an error", n, created, failed)
					if n < 200 {
						t.Fatalf("only %d bytes were cut: the proxy does not see the answers", n)
					}
					return
				}
			}
		})
	}
}

// lateness begins to measure by how much this machine wakes sleepers too late, as
// a busy one does; the func that it returns ends that and says the most it was.
func lateness() func() time.Duration {
	end, most := make(chan struct{}), make(chan time.Duration)
	go func() {
		var late time.Duration
		for {
			select {
			case <-end:
				most <- late
				return
			default:
			}
			start := time.Now()
			time.Sleep(time.Millisecond)
			late = max(late, time.Since(start)-time.Millisecond)
		}
	}()
	return func() time.Duration { close(end); return <-most }
}

// A network that swallows bytes costs a call its deadline and no more, leaves
// no goroutine behind, and the pool works again soon after.
func TestHungNetwork(t *testing.T) {
	dsn := pgtest.DSN(t)
	p, through := newProxy(t, dsn)
	s := open(t, through+"&pool_max_conns=4")
	for range 4 { // warm
		if _, _, err := s.GetOrCreate(t.Context(), candidate("warm")); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	p.swallow.Store(true)
	const deadline = 500 * time.Millisecond
	var wg sync.WaitGroup
	late := lateness()
	took := make([]time.Duration, 32)
	for i := range took {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			start := time.Now()
			_, _, err := s.GetOrCreate(ctx, candidate(fmt.Sprint("hung ", i)))
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
	p.open()
	start := time.Now()
	eventually(t, 6*time.Second, "the pool is usable again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, _, err := s.GetOrCreate(ctx, candidate("after"))
		return err == nil
	})
	t.Logf("usable %v after the network was", time.Since(start).Round(time.Millisecond))
	eventually(t, 10*time.Second, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+8 })
}

// A write that was cut off by its caller's context is not cancelled on the
// server, where a cancelled COMMIT can report success for a row that is lost.
func TestContextDoesNotCancelTheStatement(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn)
	if _, _, err := s.GetOrCreate(t.Context(), candidate("warm")); err != nil {
		t.Fatal(err)
	}
	blocker := openDB(t, dsn)
	tx, err := blocker.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("LOCK TABLE authz_authorizations IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := s.GetOrCreate(ctx, candidate("slow")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("GetOrCreate behind a lock = %v, want context.DeadlineExceeded", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the statement took effect", func() bool {
		rows, err := s.List(t.Context(), store.Query{Owner: "slow", Limit: 10})
		return err == nil && len(rows) == 1
	})
}

// The server is killed and comes back: calls wait for it within their contexts.
func TestServerRestarts(t *testing.T) {
	server := pgtest.StartServer(t, pgtest.Options{})
	s := open(t, server.DSN())
	if _, _, err := s.GetOrCreate(t.Context(), candidate("before")); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 16)
	for i := range cap(done) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_, created, err := s.GetOrCreate(ctx, candidate(fmt.Sprint("during ", i)))
			if err == nil && !created {
				err = errors.New("existing, want created")
			}
			done <- err
		}()
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("a call across a restart of the server: %v", err)
		}
	}
	if _, created, err := s.GetOrCreate(t.Context(), candidate("before")); err != nil || created {
		t.Errorf("after the restart: created %v, %v; want the row from before", created, err)
	}
}

// No error of Open holds the password.
func TestOpenErrors(t *testing.T) {
	const password = "hunter2hunter2"
	for _, tc := range []struct{ name, dsn, want string }{
		{"refused", "postgres://u:" + password + "@127.0.0.1:1/db?sslmode=disable", "does not answer"},
		{"no URL", "postgres://u:" + password + "@host:notaport/db", "DSN"},
		{"control character", "postgres://u:" + password + "\n@host/db", "DSN"},
		{"not a DSN", "password=" + password + " nonsense", "DSN"},
		{"pool", "postgres://u:" + password + "@127.0.0.1:1/db?pool_max_conns=many", "pool_max_conns"},
		{"sslmode", "postgres://u:" + password + "@127.0.0.1:1/db?sslmode=" + password, "DSN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := postgres.Open(t.Context(), tc.dsn)
			if err == nil {
				t.Fatal("Open succeeded")
			}
			if text := fmt.Sprintf("%v %+v %#v", err, err, err); !strings.Contains(text, tc.want) || strings.Contains(text, password) {
				t.Errorf("Open = %v, want an error with %q and without the password", err, tc.want)
			}
		})
	}
}

func candidate(owner string) store.Authorization {
	now := time.Now()
	token := owner + now.String()
	return store.Authorization{
		Key:       store.Key{Owner: owner, ClientID: "abcde12345fghij67890"},
		TokenHash: store.HashOf(token), TokenLastEight: "12345678",
		CreatedAt: now, UpdatedAt: now,
	}
}

func openDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Close does not wait for a server that does not answer.
func TestCloseOnAHungNetwork(t *testing.T) {
	p, through := newProxy(t, pgtest.DSN(t))
	s, err := postgres.Open(t.Context(), through+"&pool_max_conns=8")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 64 { // opens all connections
		wg.Go(func() { _, _, _ = s.GetOrCreate(t.Context(), candidate(fmt.Sprint("warm ", i))) })
	}
	wg.Wait()
	p.swallow.Store(true)
	start := time.Now()
	_ = s.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Close on a hung network took %v, want about a second", took)
	}
}

// An app with more authorizations than one statement can delete in the time
// that one answer may take can be deleted.
func TestDeleteOfABigApp(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.DSN(t))
	now := time.Now()
	if _, err := s.CreateApp(t.Context(), store.App{ClientID: "big", Name: "big", CreatedAt: now, UpdatedAt: now}); err != nil {
		t.Fatal(err)
	}
	const rows = 6000
	for _, text := range []string{
		`INSERT INTO authz_authorizations (revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at)
			SELECT 1, 'owner ' || i, 'big', '', '', '', '', sha256(i::text::bytea), '', 1, 1 FROM generate_series(1, ` + fmt.Sprint(rows) + `) i`,
		`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END $$`,
		`CREATE TRIGGER slow BEFORE DELETE ON authz_authorizations FOR EACH ROW EXECUTE FUNCTION slow()`,
	} {
		if _, err := s.DB().ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	n, err := s.DeleteApp(ctx, "big")
	if err != nil || n != rows {
		t.Errorf("DeleteApp = %d, %v after %v; want %d", n, err, time.Since(start), rows)
	}
}

// A role that may not create tables can use a schema that is up to date.
func TestOpenWithoutTheRightToCreate(t *testing.T) {
	dsn := pgtest.Database(t)
	s := open(t, dsn)
	role := fmt.Sprintf("authz_test_%d", time.Now().UnixNano())
	for _, text := range []string{
		`CREATE ROLE ` + role + ` LOGIN PASSWORD 'x'`,
		`REVOKE CREATE ON SCHEMA public FROM PUBLIC`,
		`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ` + role,
	} {
		if _, err := s.DB().ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = openDB(t, dsn).Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role) })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the DSN is no URL")
	}
	u.User = url.UserPassword(role, "x")
	limited, err := postgres.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	if _, created, err := limited.GetOrCreate(t.Context(), candidate("limited")); err != nil || !created {
		t.Errorf("GetOrCreate = %v, %v; want created", created, err)
	}
}
