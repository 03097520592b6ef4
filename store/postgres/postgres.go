// Package postgres is the store for several nodes: one PostgreSQL, or a highly
// available cluster of them, under any number of processes.
//
// [Open] sets everything right and bounds what the driver does not: it owns the
// connections, so that a server that hangs or a network that swallows bytes
// costs no call more than its context. [New] takes a *sql.DB that the host has
// opened already, with lib/pq, with pgx's stdlib driver, or with any other.
// Calls return by their contexts there as well, but a connection that hangs is
// the host's to end (TCP_USER_TIMEOUT, or a dialer with deadlines).
//
// # Poolers
//
// Behind a pooler that hands each transaction to another server connection,
// such as PgBouncer in transaction mode, statements cannot be kept prepared,
// and lib/pq's usual protocol can read another client's answer. Give Open a
// DSN with pool_mode=transaction or the option [Pooled]; New with that option needs
// a database that sends each statement in one round trip (with pgx:
// default_query_exec_mode=exec).
//
// # Callers that meet
//
// Calls of Lookup, GetByTokenHash and GetOrCreate that are under way at once share
// statements: nobody waits for company, and who is alone has a statement of their
// own. Each call has its own answer: an error that is not the database's going
// away sends the calls of a shared statement on alone. A shared insert waits for
// another transaction's lock for 100 ms at most, then only the call that wants that
// very key waits on; and a statement that takes longer than that lets others past.
//
// # Other databases
//
// For what speaks PostgreSQL's protocol and lacks some of its features there are
// [WithoutListen] and [WithoutAdvisoryLocks]. Needed are identity columns,
// INSERT … ON CONFLICT … RETURNING, partial indexes and FOR UPDATE SKIP LOCKED.
// A database that does not know the statements that callers share gets single ones.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/internal/sqlstore"
)

//go:embed migrations
var migrations embed.FS

// Store implements [store.Store] and [store.Housekeeper]. It is safe for use by many goroutines, and
// any number of Stores in any number of processes may share one database.
type Store struct {
	store.Store       // the contract
	store.Housekeeper // and what goes with it
	sql               *sqlstore.Store
	settings          settings
	owned             *pq.Config // of Open
	end               *deadline  // of Open
	listen            string     // the DSN for Watch
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.Housekeeper = (*Store)(nil)
)

// New returns a Store on db, which it borrows: closing it is the caller's
// business. Call Migrate before the first use. It keeps prepared statements, so
// db must not lead through a pooler in transaction mode, unless the option [Pooled]
// says so.
//
// Set the pool's bounds before: SetMaxOpenConns, or nothing bounds the calls
// that wait for a server that hangs; and SetMaxIdleConns to the same, or the
// pool opens new connections all the time under load.
func New(db *sql.DB, options ...Option) *Store {
	settings := newSettings(options)
	return newStore(db, !settings.pooled, settings)
}

func newStore(db *sql.DB, prepared bool, settings settings) *Store {
	s := sqlstore.New(db, sqlstore.Dialect{
		Name:   "store/postgres",
		Schema: settings.schema(),
		// Under a stricter default, statements here would fail that are right
		// as they are.
		Begin:    "BEGIN ISOLATION LEVEL READ COMMITTED",
		Prepared: prepared,
		Calls:    db.Stats().MaxOpenConnections,
		Detached: true,
		Lanes:    lanes,
		// The casts say what a driver cannot guess. The time is compared here
		// too: what changes nothing is not locked either.
		Uses: `SELECT a.id AS used_id, CAST(u.value AS BIGINT) AS used_at
	FROM json_each_text(CAST(CAST($1 AS TEXT) AS JSON)) u JOIN authz_authorizations a ON a.id = CAST(u.key AS BIGINT)
	WHERE a.last_used_at IS NULL OR a.last_used_at < CAST(u.value AS BIGINT)
	ORDER BY a.id FOR NO KEY UPDATE OF a`,
		SkipLocked: "FOR UPDATE SKIP LOCKED",
		Advice:     advice,
	})
	return &Store{Store: s, Housekeeper: s, sql: s, settings: settings}
}

const (
	// lanes is how many statements for callers that meet run at once, of each
	// kind. The fewer, the more calls go together.
	lanes = 2
	// patience is how long one answer of the server may take. It frees the
	// connections of a server that went away without a word.
	patience = 5 * time.Second
)

// Open connects to the database of dsn and migrates it. dsn is what lib/pq
// takes, a postgres:// URL or key=value pairs, several hosts included
// (host=a,b target_session_attrs=read-write); pool_max_conns=N sets the size of
// the pool, by default the greater of 8 and 4 × GOMAXPROCS. An answer of the
// server that takes more than 5 s counts as none. The caller must Close the
// Store.
//
// The options can stand in the DSN too, for those who configure a program:
// pool_mode=transaction is [Pooled], listen=off [WithoutListen], advisory_locks=off
// [WithoutAdvisoryLocks]; pool_mode=session, listen=on and advisory_locks=on are
// what holds anyway. Open mostly notices a pooler in transaction mode by itself, but
// not one that goes round-robin.
// No error of Open holds the password.
func Open(ctx context.Context, dsn string, options ...Option) (*Store, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		// Its text can quote the DSN, and so the password.
		return nil, errors.New("store/postgres: open: the DSN is neither a valid postgres:// URL nor a list of key=value pairs that lib/pq knows (https://pkg.go.dev/github.com/lib/pq#NewConfig)")
	}
	conns := max(8, 4*runtime.GOMAXPROCS(0))
	if text, ok := cfg.Runtime[maxConns]; ok {
		if conns, err = strconv.Atoi(text); err != nil || conns < 1 {
			return nil, errors.New("store/postgres: open: " + maxConns + " in the DSN must be a number from 1")
		}
		delete(cfg.Runtime, maxConns)
	}
	settings := newSettings(options)
	if err := settings.take(cfg.Runtime); err != nil {
		return nil, fmt.Errorf("store/postgres: open: %w", err)
	}
	cfg.BinaryParameters = cfg.BinaryParameters || settings.pooled
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = patience
	}
	if cfg.ApplicationName == "" && cfg.FallbackApplicationName == "" {
		cfg.FallbackApplicationName = "authz"
	}
	s, err := connect(ctx, cfg, conns, settings)
	if err != nil {
		return nil, err
	}
	if !cfg.BinaryParameters && conns > 1 {
		pooled, err := pooled(ctx, s.DB())
		if err != nil || pooled {
			_ = s.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("store/postgres: open: %w", err)
		}
		if pooled {
			cfg.BinaryParameters = true
			if s, err = connect(ctx, cfg, conns, settings); err != nil {
				return nil, err
			}
		}
	}
	if settings.pooled {
		if err := checkPooled(ctx, s.DB()); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("store/postgres: open: %w", err)
		}
	} else {
		s.listen = withoutOurs(dsn) // a pooler hears nothing: see ListenOn
	}
	if err := s.Migrate(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// connect returns a Store on a pool of its own, which has answered once.
func connect(ctx context.Context, cfg pq.Config, conns int, settings settings) (*Store, error) {
	end := new(deadline)
	db, err := openDB(cfg, dialer{patience, end})
	if err != nil {
		return nil, fmt.Errorf("store/postgres: open: %w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	s := newStore(db, !cfg.BinaryParameters, settings)
	s.owned, s.end = &cfg, end
	// Nothing is repeated here: who starts a program wants to hear at once
	// that the address is wrong.
	if err := db.PingContext(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("store/postgres: open: %s does not answer: %w", where(cfg), reason(err))
	}
	return s, nil
}

// pooled notices a pooler in transaction mode before it does harm: under load,
// kept statements fail there, and unnamed ones can get the answers of others.
// Two connections that are open at once have two server processes, unless
// somebody hands these out by turns.
func pooled(ctx context.Context, db *sql.DB) (bool, error) {
	var process [2]int64
	for i := range process {
		conn, err := db.Conn(ctx)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		if err := conn.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&process[i]); err != nil {
			return false, err
		}
	}
	return process[0] == process[1], nil
}

// Migrate creates or updates the tables. It does nothing if they are up to
// date, may be called by many processes at once, and refuses a database that a
// newer version of this module has migrated: errors.Is(err, store.ErrSchema).
func (s *Store) Migrate(ctx context.Context) error {
	if s.owned == nil {
		if s.settings.pooled {
			if err := checkPooled(ctx, s.DB()); err != nil {
				return fmt.Errorf("store/postgres: migrate: %w", err)
			}
		}
		return s.sql.Migrate(ctx, s.sql.DB())
	}
	// A migration may take longer than any other statement, and so may the
	// wait for another process that migrates.
	db, err := openDB(*s.owned, dialer{})
	if err != nil {
		return fmt.Errorf("store/postgres: migrate: %w", err)
	}
	defer db.Close()
	return s.sql.Migrate(ctx, db)
}

// Ready returns nil if the database answers and its schema is the one that this
// program needs. It wraps store.ErrSchema if the schema is another.
func (s *Store) Ready(ctx context.Context) error { return s.sql.Ready(ctx) }

// DB returns the database that the Store works on, for other tables of the
// host, such as those of package account. The caller must not close it. After
// Open, none of its statements may go without an answer for more than 5 s.
func (s *Store) DB() *sql.DB { return s.sql.DB() }

// AdvisoryLocks reports whether Migrate takes advisory locks, for others who
// migrate in the same database.
func (s *Store) AdvisoryLocks() bool { return !s.settings.withoutAdvisoryLocks }

// Close ends the Store: it closes its statements, and the database if Open
// opened it. Calls under way fail. A server that does not answer holds it up
// for about a second, however many connections there are.
func (s *Store) Close() error {
	if s.end != nil {
		s.end.set(time.Now().Add(time.Second))
	}
	return s.sql.Close(s.owned != nil)
}

func openDB(cfg pq.Config, d dialer) (*sql.DB, error) {
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	connector.Dialer(d)
	return sql.OpenDB(connector), nil
}

// where names the server without the password.
func where(cfg pq.Config) string {
	network := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if strings.HasPrefix(cfg.Host, "/") {
		network = cfg.Host
	}
	return fmt.Sprintf("PostgreSQL at %s (database %q, user %q)", network, cfg.Database, cfg.User)
}

// reason replaces the driver's word for "the connection ended", which says
// nothing to people.
func reason(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return errors.New("the server closed the connection")
	}
	return err
}

// dialer makes connections on which no single answer can take longer than
// patience: lib/pq blocks past any context when a server hangs.
type dialer struct {
	patience time.Duration // 0: no bound
	end      *deadline
}

// deadline is the end of all connections of a pool, once it is set.
type deadline struct{ unixNano atomic.Int64 }

func (d *deadline) set(t time.Time) { d.unixNano.Store(t.UnixNano()) }

func (d *deadline) before(t time.Time) time.Time {
	if ns := d.unixNano.Load(); ns != 0 && ns < t.UnixNano() {
		return time.Unix(0, ns)
	}
	return t
}

var _ pq.DialerContext = dialer{}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || d.patience == 0 {
		return conn, err
	}
	return &boundedConn{Conn: conn, dialer: d}, nil
}

// boundedConn gives each Read and Write a deadline of its own. An earlier
// deadline of the driver, as during the handshake, goes first.
type boundedConn struct {
	net.Conn
	dialer dialer
	limit  time.Time // of the driver
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(c.next()); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *boundedConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(c.next()); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *boundedConn) SetDeadline(t time.Time) error {
	c.limit = t
	return nil
}

func (c *boundedConn) next() time.Time {
	next := c.dialer.end.before(time.Now().Add(c.dialer.patience))
	if !c.limit.IsZero() && c.limit.Before(next) {
		return c.limit
	}
	return next
}

// advice says what to do about the errors that people meet.
func advice(err error) string {
	switch sqlerr.State(err) {
	case "26000", "42P05": // invalid_sql_statement_name, duplicate_prepared_statement
		return "a pooler in transaction mode stands between: add pool_mode=transaction to the DSN, or give New the option Pooled"
	case "42501": // insufficient_privilege
		return "grant the user of the DSN what is missing"
	case "53100": // disk_full
		return "the server's disk is full: free some space; nothing that was acknowledged is lost"
	}
	return ""
}
