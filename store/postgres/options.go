package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-926035fd/authz/internal/migrate"
)

// Option is a setting of [Open] and [New].
type Option func(*settings)

type settings struct {
	pooled, withoutListen, withoutAdvisoryLocks bool
}

// Pooled is for a database behind a pooler that hands each transaction to another
// server connection, such as PgBouncer in transaction mode: no statement is kept,
// and Watch needs a way of its own to the server ([Store.ListenOn]). The driver
// must send a statement and its parameters in one round trip. Open sees to that
// (binary_parameters=yes), for New it is the host's business; Open, and Migrate of
// a Store of New, fail where they see that it does not work.
func Pooled() Option { return func(s *settings) { s.pooled = true } }

// WithoutListen is for a database without LISTEN, NOTIFY or the triggers that
// [Store.Watch] needs. They are not made, and Watch returns an error that wraps
// errors.ErrUnsupported: a Manager answers from its cache for Config.UnwatchedTTL,
// which is 0 unless the host says otherwise. The next Open or Migrate of a Store
// without this option makes them.
func WithoutListen() Option { return func(s *settings) { s.withoutListen = true } }

// WithoutAdvisoryLocks has Migrate take no advisory lock, for a database that has
// none. Processes that start at once are kept apart by a primary key instead. Give
// account.WithoutAdvisoryLocks to a directory in the same database.
func WithoutAdvisoryLocks() Option { return func(s *settings) { s.withoutAdvisoryLocks = true } }

func newSettings(options []Option) (s settings) {
	for _, option := range options {
		option(&s)
	}
	return s
}

const (
	// maxConns is the parameter of the DSN that sizes the pool.
	maxConns = "pool_max_conns"

	poolMode      = "pool_mode"
	listen        = "listen"
	advisoryLocks = "advisory_locks"
)

// take moves the settings that stand in the DSN, beside what goes to the server,
// to s.
func (s *settings) take(parameters map[string]string) error {
	for _, p := range []struct {
		name, usual, other string
		set                *bool
	}{
		{poolMode, "session", "transaction", &s.pooled},
		{listen, "on", "off", &s.withoutListen},
		{advisoryLocks, "on", "off", &s.withoutAdvisoryLocks},
	} {
		value, ok := parameters[p.name]
		switch {
		case !ok:
		case value == p.other:
			*p.set = true
		case value == p.usual && *p.set:
			return fmt.Errorf("%s in the DSN is %s, and an option of Open says otherwise", p.name, value)
		case value != p.usual:
			return fmt.Errorf("%s in the DSN must be %s or %s", p.name, p.usual, p.other)
		}
		delete(parameters, p.name)
	}
	return nil
}

var ourPair = regexp.MustCompile(`(^|\s)(?:` + strings.Join([]string{maxConns, poolMode, listen, advisoryLocks}, "|") + `)\s*=\s*('[^']*'|\S*)`)

// withoutOurs takes out the parameters that only Open knows.
func withoutOurs(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		query := u.Query()
		for _, name := range []string{maxConns, poolMode, listen, advisoryLocks} {
			query.Del(name)
		}
		u.RawQuery = query.Encode()
		return u.String()
	}
	return ourPair.ReplaceAllString(dsn, "$1")
}

// changeFeed is the version of the migration that WithoutListen leaves out.
const changeFeed = 4

func (s settings) schema() migrate.Set {
	set := migrate.Set{
		Part:       "store",
		Migrations: migrate.Load(migrations, "migrations"),
		Begin:      migrate.Postgres,
	}
	if s.withoutAdvisoryLocks {
		set.Begin = migrate.PostgresWithoutLocks
	}
	if s.withoutListen {
		set.Skip = func(m migrate.Migration) bool { return m.Version == changeFeed }
	}
	return set
}

var errMixedUp = errors.New("statements that run at once get each other's answers: the driver must send each in one round trip and keep none (lib/pq: binary_parameters=yes; pgx: default_query_exec_mode=exec)")

// checkPooled finds out whether statements that overlap get their own answers.
func checkPooled(ctx context.Context, db *sql.DB) error {
	const workers, each = 8, 25
	errs := make(chan error, workers)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := range each {
				name := strconv.Itoa(worker) + "-" + strconv.Itoa(i)
				var got, parameter string
				err := db.QueryRowContext(ctx, "SELECT '"+name+"', CAST($1 AS TEXT)", name).Scan(&got, &parameter)
				if err == nil && (got != name || parameter != name) {
					err = errMixedUp
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("behind a pooler: %w", err)
	default:
		return nil
	}
}
