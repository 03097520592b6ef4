//go:build unix

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

const (
	nodes = 4
	// farAway is a CacheTTL that helps nobody: what a change does not end lives on.
	farAway = time.Hour
	// lease is how long a Manager that hears nothing answers from memory.
	lease = 800 * time.Millisecond
	// grace is for the read that refuses a token, where a bound is a constant of the design.
	grace = 100 * time.Millisecond
)

// sizes say how much is measured.
type sizes struct {
	rate, sqliteRate, faultRate float64 // revocations a second, of all nodes
	duration, faultDuration     time.Duration
	live                        int // tokens that are not revoked
	verifies                    int // a second, in each node
	sample                      int
}

// scenario is one run.
type scenario struct {
	name     string
	title    string
	backend  string
	rate     float64
	duration time.Duration
	sample   int
	ttl      time.Duration
	victim   bool // node 0 has the fault
	paused   bool // node 0 itself stands still
	deaf     bool // node 0 hears nothing from the beginning
	quantile float64
	target   time.Duration // for that quantile; 1 is the greatest
	fault    func(c *cluster, ctx context.Context) error
}

// cluster is what a fault can reach.
type cluster struct {
	*scenario
	admin   *sql.DB // nil on SQLite
	schema  string
	nodes   []*process
	proxies []*proxy
	woken   atomic.Int64 // when node 0 went on after a fault that stopped it
}

// hole is how long a fault lasts.
func (c *cluster) hole() time.Duration { return c.duration / 2 }

func scenarios(z sizes) []*scenario {
	ttl := z.faultDuration * 3 / 10
	list := []*scenario{
		{name: "postgres", title: "PostgreSQL, no fault", rate: z.rate, duration: z.duration, sample: z.sample, quantile: 0.99, target: 50 * time.Millisecond},
		{name: "sqlite", title: "SQLite, no fault", backend: "sqlite", rate: z.sqliteRate, duration: z.duration, sample: z.sample, quantile: 0.99, target: 100 * time.Millisecond},
		{name: "listener-killed", title: "one listener's backend ended, five times", victim: true, fault: (*cluster).killListener},
		{name: "listener-stopped", title: "one listener's backend stopped (SIGSTOP)", victim: true, fault: (*cluster).stopListener},
		{name: "connection-cut", title: "one listener's connection cut", victim: true, fault: (*cluster).cut},
		{name: "connection-blackholed", title: "one listener's connection and all that follow swallow every byte", victim: true, fault: (*cluster).swallow},
		{name: "pooler", title: "one listener behind PgBouncer in transaction mode", victim: true, deaf: true},
		{name: "process-stopped", title: "one verifying process stopped (SIGSTOP); counted from when it goes on", victim: true, paused: true, fault: (*cluster).stopNode},
		{name: "all-blackholed", title: "all listeners' connections swallow every byte", target: lease + grace, fault: (*cluster).swallowAll},
		{name: "no-triggers", title: fmt.Sprintf("triggers disabled, heartbeats go on, CacheTTL %v", ttl), ttl: ttl, target: ttl + grace, fault: (*cluster).disableTriggers},
	}
	for _, s := range list {
		if s.backend == "" {
			s.backend = "postgres"
		}
		if s.rate == 0 {
			s.rate, s.duration, s.sample, s.quantile = z.faultRate, z.faultDuration, 1, 1
		}
		if s.ttl == 0 {
			s.ttl = farAway
		}
		if s.target == 0 {
			s.target = time.Second
		}
	}
	return list
}

// listenerName is the application_name of a node's listener.
func listenerName(node int) string { return fmt.Sprintf("authz-listen-%d", node) }

func (c *cluster) killListener(ctx context.Context) error {
	const times = 5
	for range times {
		var killed int
		err := c.admin.QueryRowContext(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1", listenerName(0)).Scan(&killed)
		if err != nil {
			return err
		}
		if err := sleep(ctx, c.hole()/times); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) stopListener(ctx context.Context) error {
	var pid int
	if err := c.admin.QueryRowContext(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1", listenerName(0)).Scan(&pid); err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	err := sleep(ctx, c.hole())
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

func (c *cluster) cut(context.Context) error {
	c.proxies[0].cut()
	return nil
}

func (c *cluster) swallow(ctx context.Context) error { return c.swallowAt(ctx, c.proxies[:1]) }

func (c *cluster) swallowAll(ctx context.Context) error { return c.swallowAt(ctx, c.proxies) }

func (c *cluster) swallowAt(ctx context.Context, proxies []*proxy) error {
	for _, p := range proxies {
		p.swallow.Store(true)
	}
	err := sleep(ctx, c.hole())
	for _, p := range proxies {
		p.swallow.Store(false)
	}
	return err
}

func (c *cluster) stopNode(ctx context.Context) error {
	if err := c.nodes[0].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := sleep(ctx, c.hole()*6/10)
	c.woken.Store(now())
	return errors.Join(err, c.nodes[0].signal(syscall.SIGCONT))
}

func (c *cluster) disableTriggers(ctx context.Context) error {
	_, err := c.admin.ExecContext(ctx, "ALTER TABLE "+c.schema+".authz_authorizations DISABLE TRIGGER ALL")
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bench is what scenarios share.
type bench struct {
	sizes
	server  *pgtest.Server // started by the first scenario that needs it
	dir     string
	verbose bool
	stderr  io.Writer
	say     func(format string, args ...any)
}

func (b *bench) close() {
	if b.server != nil {
		b.server.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// measure runs one scenario.
func (b *bench) measure(ctx context.Context, s *scenario) (r *result, err error) {
	r = &result{scenario: s, live: b.live}
	var closers []func()
	defer func() {
		for _, end := range slices.Backward(closers) {
			end()
		}
	}()
	count := b.live + int(s.rate*s.duration.Seconds())
	dir := filepath.Join(b.dir, s.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	c := &cluster{scenario: s}
	dsn, listen := filepath.Join(dir, "authz.db"), make([]string, nodes)
	var opened store.Store
	if s.backend == "sqlite" {
		db, err := sqlite.Open(ctx, dsn)
		if err != nil {
			return nil, err
		}
		closers = append(closers, func() { _ = db.Close() })
		// This database has yet to hold something that must survive.
		db.DB().SetMaxOpenConns(1)
		if _, err := db.DB().ExecContext(ctx, "PRAGMA synchronous = OFF"); err != nil {
			return nil, err
		}
		opened = db
		if r.about, err = ask(ctx, db.DB(), "SQLite %s (modernc), journal_mode=%s, synchronous=FULL", "SELECT sqlite_version()", "PRAGMA journal_mode"); err != nil {
			return nil, err
		}
	} else {
		if b.server == nil {
			if b.server, err = pgtest.Start(pgtest.Options{Fsync: true}); err != nil {
				return nil, err
			}
		}
		if c.admin, err = sql.Open("postgres", b.server.DSN()); err != nil {
			return nil, err
		}
		closers = append(closers, func() { _ = c.admin.Close() })
		c.schema = "run_" + fmt.Sprint(now())
		if _, err := c.admin.ExecContext(ctx, "CREATE SCHEMA "+c.schema); err != nil {
			return nil, err
		}
		dsn = with(b.server.DSN(), "search_path", c.schema)
		for i := range listen {
			p, proxied, err := newProxy(b.server.DSN())
			if err != nil {
				return nil, err
			}
			closers = append(closers, p.close)
			c.proxies = append(c.proxies, p)
			if i == 0 && s.deaf {
				through, end, err := pgtest.StartPgBouncer(b.server.DSN(), 10)
				if err != nil {
					return nil, err
				}
				closers = append(closers, end)
				proxied = through
			}
			listen[i] = with(proxied, "application_name", listenerName(i))
		}
		db, err := postgres.Open(ctx, with(dsn, "synchronous_commit", "off")) // as above
		if err != nil {
			return nil, err
		}
		closers = append(closers, func() { _ = db.Close() })
		opened = db
		if r.about, err = ask(ctx, c.admin, "PostgreSQL %s over TCP (lib/pq), fsync=%s, synchronous_commit=%s", "SHOW server_version", "SHOW fsync", "SHOW synchronous_commit"); err != nil {
			return nil, err
		}
	}

	b.say("%s: making %d tokens", s.name, count)
	file := filepath.Join(dir, "tokens")
	if err := makeTokens(ctx, opened, count, file); err != nil {
		return nil, err
	}
	if c.admin != nil {
		if _, err := c.admin.ExecContext(ctx, "VACUUM ANALYZE "+c.schema+".authz_authorizations"); err != nil {
			return nil, err
		}
	}
	boardFile := filepath.Join(dir, "board")
	board, err := openBoard(boardFile, nodes, count, true)
	if err != nil {
		return nil, err
	}
	closers = append(closers, board.close, func() { closeAll(c.nodes) })
	for i := range nodes {
		p, err := startNode(job{
			Node: i, Nodes: nodes, Backend: s.backend, DSN: dsn, Listen: listen[i], TTL: s.ttl, Deaf: s.deaf && i == 0,
			Board: boardFile, Tokens: file, Count: count, Live: b.live, Rate: s.rate / nodes, Verifies: b.verifies,
			Duration: s.duration, Sample: s.sample, Verbose: b.verbose,
		}, b.stderr)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, p)
	}
	b.say("%s: every node reads every token", s.name)
	if err := all(ctx, c.nodes, order{Do: "warm"}); err != nil {
		return nil, err
	}
	b.say("%s: %.0f revocations a second for %v", s.name, s.rate, s.duration)
	start := now() + int64(100*time.Millisecond)
	broken := make(chan error, 1)
	faultCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if s.fault == nil {
			broken <- nil
			return
		}
		err := sleep(faultCtx, s.duration/4)
		if err == nil {
			b.say("%s: the fault begins", s.name)
			err = s.fault(c, faultCtx)
			b.say("%s: the fault is over", s.name)
		}
		broken <- err
	}()
	if b.verbose {
		var watching sync.WaitGroup
		watching.Go(func() { b.watch(faultCtx, s.name, board) })
		defer func() { // before the board goes
			cancel()
			watching.Wait()
		}()
	}
	if err := all(ctx, c.nodes, order{"run", start}); err != nil {
		cancel()
		<-broken
		return nil, err
	}
	if err := <-broken; err != nil {
		return nil, fmt.Errorf("the fault: %w", err)
	}
	wait := 5 * time.Second
	if s.ttl != farAway {
		wait += s.ttl
	}
	if err := all(ctx, c.nodes, order{"settle", now() + int64(wait)}); err != nil {
		return nil, err
	}
	b.say("%s: every node verifies every revoked token", s.name)
	if err := all(ctx, c.nodes, order{Do: "check"}); err != nil {
		return nil, err
	}
	r.read(board, c, start)
	return r, nil
}

// watch says each second what the load does meanwhile.
func (b *bench) watch(ctx context.Context, name string, board *board) {
	var before [nodes][2]int64
	for sleep(ctx, time.Second) == nil {
		line := ""
		for i, at := range board.at {
			calls, reads := at.counts[verified].Load(), at.counts[read].Load()
			line += fmt.Sprintf("  %d/%d", reads-before[i][1], calls-before[i][0])
			before[i] = [2]int64{calls, reads}
		}
		b.say("%s: reads/calls of each node:%s", name, line)
	}
}

// ask fills in what a database answers, so that the report says what is, not what should be.
func ask(ctx context.Context, db *sql.DB, format string, queries ...string) (string, error) {
	answers := make([]any, len(queries))
	for i, query := range queries {
		var answer string
		if err := db.QueryRowContext(ctx, query).Scan(&answer); err != nil {
			return "", err
		}
		answers[i] = answer
	}
	return fmt.Sprintf(format, answers...), nil
}

// with sets a parameter of a DSN.
func with(dsn, name, value string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		panic(err) // of our own making
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

// makeTokens makes tokens of as many owners, and writes them to a file.
func makeTokens(ctx context.Context, s store.Store, count int, file string) error {
	m, err := authz.New(s, authz.Config{})
	if err != nil {
		return err
	}
	app, secret, err := m.RegisterApp(ctx, authz.NewApp{Name: "shop", URL: "https://shop.example"})
	if err != nil {
		return err
	}
	tokens := make([]token, count)
	err = parallel(ctx, count, func(i int) error {
		owner := fmt.Sprintf("user-%08d", i)
		res, err := m.GetOrCreate(ctx, authz.Request{Owner: owner, ClientID: app.ClientID, ClientSecret: secret, Scopes: []string{"repo", "user:email"}})
		tokens[i] = token{res.Token.Reveal(), res.Authorization.ID, owner}
		return err
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
