package postgres_test

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/storetest"
)

func open(t *testing.T, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// handles returns an Open for storetest whose n stores are what one gives for
// n times the same schema.
func handles(dsn func(t *testing.T) string, one func(t *testing.T, dsn string) *postgres.Store) storetest.Open {
	return func(t *testing.T, n int) []store.Store {
		url := dsn(t)
		out := make([]store.Store, n)
		for i := range out {
			out[i] = one(t, url)
		}
		return out
	}
}

// pooled is handles behind PgBouncer in transaction mode, with four server
// connections for all. They listen on the server itself.
func pooled(one func(t *testing.T, dsn string) *postgres.Store) storetest.Open {
	return func(t *testing.T, n int) []store.Store {
		direct := pgtest.DSN(t)
		through := pgtest.PgBouncer(t, direct, 4)
		out := make([]store.Store, n)
		for i := range out {
			s := one(t, through)
			if err := s.ListenOn(direct); err != nil {
				t.Fatal(err)
			}
			out[i] = s
		}
		return out
	}
}

func schema(t *testing.T) string { return pgtest.DSN(t) }

func TestOpen(t *testing.T) { storetest.Run(t, handles(schema, open)) }

// A host's own *sql.DB, with database/sql's defaults.
func TestNew(t *testing.T) {
	storetest.Run(t, handles(schema, func(t *testing.T, dsn string) *postgres.Store {
		s := postgres.New(openDB(t, dsn))
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.ListenOn(dsn); err != nil {
			t.Fatal(err)
		}
		return s
	}))
}

// A server whose default isolation makes right statements fail.
func TestSerializable(t *testing.T) {
	storetest.Run(t, handles(schema, func(t *testing.T, dsn string) *postgres.Store {
		return open(t, dsn+"&default_transaction_isolation=serializable")
	}))
}

// PgBouncer in transaction mode, four server connections for all handles.
func TestPgBouncer(t *testing.T) {
	storetest.Run(t, pooled(func(t *testing.T, dsn string) *postgres.Store { return open(t, dsn+"&binary_parameters=yes") }))
}

// Without the setting Open notices the pooler, and the contract holds.
func TestOpenNoticesThePooler(t *testing.T) {
	storetest.Run(t, pooled(open))
}

func TestNewBehindAPooler(t *testing.T) {
	storetest.Run(t, pooled(func(t *testing.T, dsn string) *postgres.Store {
		s := postgres.New(openDB(t, dsn+"&binary_parameters=yes"), postgres.Pooled())
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}))
}

// Ten processes that start at once, on an empty schema, whatever the server's
// default isolation is: a stricter one shows each the schema before it had its turn.
func TestMigrateAtOnce(t *testing.T) {
	for _, isolation := range []string{"read%20committed", "repeatable%20read", "serializable"} {
		t.Run(isolation, func(t *testing.T) { migrateAtOnce(t, pgtest.DSN(t)+"&default_transaction_isolation="+isolation) })
	}
}

func migrateAtOnce(t *testing.T, dsn string) {
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Migrate(t.Context()); err != nil {
				t.Errorf("Migrate again: %v", err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestSchemaOfAnotherVersion(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDB(t, dsn)
	empty := postgres.New(db)
	if err := empty.Ready(t.Context()); !errors.Is(err, store.ErrSchema) {
		t.Errorf("Ready on an empty schema = %v, want ErrSchema", err)
	}
	if _, err := empty.App(t.Context(), "x"); !errors.Is(err, store.ErrSchema) {
		t.Errorf("App on an empty schema = %v, want ErrSchema", err)
	}
	s := open(t, dsn)
	if _, err := db.Exec(`INSERT INTO authz_schema (part, version, name) VALUES ('store', 999, 'future')`); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Ready": s.Ready(t.Context()), "Migrate": s.Migrate(t.Context()), "Open": second(postgres.Open(t.Context(), dsn)),
	} {
		if !errors.Is(err, store.ErrSchema) {
			t.Errorf("%s on a newer schema = %v, want ErrSchema", name, err)
		}
	}
}

func second(_ *postgres.Store, err error) error { return err }

// The number of idle connections equals that of open ones, or the pool opens
// new ones all the time.
func TestPoolDoesNotChurn(t *testing.T) {
	s := open(t, pgtest.DSN(t)+"&pool_max_conns=8")
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := s.List(t.Context(), store.Query{Owner: fmt.Sprint(i), Limit: 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var stats sql.DBStats = s.DB().Stats()
	if stats.MaxOpenConnections != 8 || stats.MaxIdleClosed != 0 {
		t.Errorf("open at most %d, closed for idleness %d; want 8 and 0", stats.MaxOpenConnections, stats.MaxIdleClosed)
	}
}

func TestProcesses(t *testing.T) {
	storetest.RunProcesses(t, storetest.Processes{
		Fresh: schema,
		Open:  func(t *testing.T, dsn string) store.Store { return open(t, dsn) },
	})
}
