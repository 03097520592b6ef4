package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

const (
	storeEnv     = "AUTHZ_STORE"
	defaultStore = "sqlite:authz.db"
	// openWithin bounds the start: another process may be migrating.
	openWithin = 30 * time.Second
)

// storeFlags are --store and --store-file.
type storeFlags struct {
	cmd        *cobra.Command
	spec, file string
	env        bool // AUTHZ_STORE counts
}

func (f *storeFlags) register(c *cobra.Command) {
	f.env = true
	c.Flags().StringVar(&f.spec, "store", "", "sqlite:PATH or postgres://… (default $"+storeEnv+", else "+defaultStore+"); everybody on this machine can read arguments: put a URL with a password into $"+storeEnv+" or --store-file")
	f.registerFile(c)
}

// registerFor is register for a command with a default of its own.
func (f *storeFlags) registerFor(c *cobra.Command, def string) {
	c.Flags().StringVar(&f.spec, "store", def, "memory:, sqlite:PATH or postgres://…; everybody on this machine can read arguments: put a URL with a password into --store-file")
	f.registerFile(c)
}

func (f *storeFlags) registerFile(c *cobra.Command) {
	f.cmd = c
	c.Flags().StringVar(&f.file, "store-file", "", "read what --store would say from this file, - is stdin")
	_ = c.MarkFlagFilename("store-file")
}

type storeKind int

const (
	kindMemory storeKind = iota
	kindSQLite
	kindPostgres
)

// target is a store that was named and not yet opened.
type target struct {
	kind storeKind
	at   string // the path, or the DSN with its password: print name instead
}

// name is the target without secrets.
func (t target) name() string {
	switch t.kind {
	case kindSQLite:
		return "sqlite:" + t.at
	case kindPostgres:
		u, err := url.Parse(t.at)
		if err != nil {
			return "postgres"
		}
		clean := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
		return clean.String()
	}
	return "memory:"
}

// target reads the flags.
func (p *program) target(f *storeFlags) (target, error) {
	spec := f.spec
	switch {
	case f.file != "" && f.cmd.Flags().Changed("store"):
		return target{}, usagef("give --store or --store-file, not both")
	case f.file != "":
		secret, err := p.readSecret("--store-file", f.file)
		if err != nil {
			return target{}, err
		}
		spec = secret.Reveal()
	case spec == "" && f.env:
		spec = os.Getenv(storeEnv)
	}
	if spec == "" {
		spec = defaultStore
	}
	scheme, rest, ok := strings.Cut(spec, ":")
	switch {
	case spec == "memory" || scheme == "memory" && rest == "":
		return target{kind: kindMemory}, nil
	case scheme == "sqlite" && strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "///"):
		return target{}, usagef("--store sqlite: takes a path without //, such as sqlite:authz.db or sqlite:/var/lib/authz.db")
	case scheme == "sqlite" && strings.Trim(rest, "/") != "":
		return target{kind: kindSQLite, at: strings.TrimPrefix(rest, "//")}, nil
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return target{kind: kindPostgres, at: spec}, nil
	}
	// The value may hold a password that was mistyped elsewhere: not shown.
	return target{}, usagef("the store must be memory:, sqlite:PATH or a postgres:// URL, such as --store %s", defaultStore)
}

// stores is an open store and the users beside it.
type stores struct {
	target
	store.Store
	users account.Backend
	ready func(context.Context) error
	close func() // what was acknowledged is stored: nothing is left to go wrong
}

// open opens and migrates the store of a command. Only commands that make
// something make the file; the others would only hide a mistyped path.
func (p *program) open(ctx context.Context, f *storeFlags, create bool) (*stores, error) {
	t, err := p.target(f)
	if err != nil {
		return nil, err
	}
	if t.kind == kindMemory {
		return nil, usagef("the store memory: ends with each command: give --store sqlite:PATH or a postgres:// URL")
	}
	if t.kind == kindSQLite && !create && !exists(t.at) {
		return nil, fmt.Errorf("there is no database %s: give its path with --store, or make it with authz migrate --store %s", t.at, t.name())
	}
	return openStore(ctx, t)
}

// openStore opens and migrates a store and its users.
func openStore(ctx context.Context, t target) (*stores, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	s := &stores{target: t, ready: func(context.Context) error { return nil }, close: func() {}}
	var db *sql.DB
	switch t.kind {
	case kindMemory:
		s.Store, s.users = memory.New(), account.Memory()
		return s, nil
	case kindSQLite:
		st, err := sqlite.Open(ctx, t.at)
		if err != nil {
			return nil, err
		}
		db = st.DB()
		s.Store, s.users, s.ready, s.close = st, account.SQLite(db), st.Ready, func() { _ = st.Close() }
	case kindPostgres:
		st, err := postgres.Open(ctx, t.at)
		if err != nil {
			return nil, postgresAdvice(err)
		}
		db = st.DB()
		var options []account.PostgresOption
		if !st.AdvisoryLocks() {
			options = append(options, account.WithoutAdvisoryLocks())
		}
		s.Store, s.users, s.ready, s.close = st, account.Postgres(db, options...), st.Ready, func() { _ = st.Close() }
	}
	users, err := s.directory(account.Config{})
	if err == nil {
		err = users.Migrate(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// postgresAdvice adds what to do to the errors that Open does not explain.
func postgresAdvice(err error) error {
	var (
		state  interface{ SQLState() string }
		advice = "see that the server runs and that --store names its host and port"
	)
	switch {
	case strings.HasPrefix(err.Error(), "store/postgres: open: the DSN "), strings.Contains(err.Error(), " in the DSN "):
		return &usageError{err}
	case errors.Is(err, store.ErrSchema), !strings.Contains(err.Error(), "does not answer"):
		return err
	case errors.As(err, &state):
		switch code := state.SQLState(); {
		case strings.HasPrefix(code, "28"): // invalid authorization
			advice = "see that user and password are right"
		case code == "3D000": // invalid_catalog_name
			advice = "create the database first, or name another one"
		case code == "53300": // too_many_connections
			advice = "raise max_connections of the server, or give pool_max_conns in the URL"
		}
	case strings.Contains(err.Error(), "SSL is not enabled"):
		advice = "add sslmode=disable to the URL if the network is trusted"
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// directory returns the users of the store.
func (s *stores) directory(cfg account.Config) (*account.Directory, error) {
	return account.New(s.users, cfg)
}

// manager returns the Manager of the store.
func (s *stores) manager(cfg authz.Config) (*authz.Manager, error) { return authz.New(s.Store, cfg) }
