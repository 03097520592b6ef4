package pgtest

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ErrNoPgBouncer says that this machine has no PgBouncer, and what to do about it.
var ErrNoPgBouncer = errors.New("no pgbouncer here: install it (apt-get install pgbouncer, brew install pgbouncer)")

// PgBouncer starts a pooler in transaction mode in front of dsn, with its few server connections (pool) shared by all clients,
// and returns the URL through it, for as long as t runs.
//
// The pooler is as strict as in the field: it refuses every start-up parameter that it does not know. So the search_path
// of dsn is not in the URL that comes back: each server connection has it set before a client gets it. dsn may be of [DSN].
func PgBouncer(t testing.TB, dsn string, pool int) string {
	t.Helper()
	through, end, err := StartPgBouncer(dsn, pool)
	if errors.Is(err, ErrNoPgBouncer) {
		missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return through
}

// StartPgBouncer is [PgBouncer] outside a test: the pooler lives until end is called or this process ends.
func StartPgBouncer(dsn string, pool int) (through string, end func(), err error) {
	bin, err := findPgBouncer()
	if err != nil {
		return "", nil, err
	}
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		return "", nil, errors.New("pgtest: PgBouncer needs a postgres:// URL with a user")
	}
	d, err := newDaemon()
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()

	query := u.Query()
	user := u.User.Username()
	password, _ := u.User.Password()
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	auth := "plain"
	if password == "" { // the server trusts us, so we trust the client
		auth = "any"
	}
	connect := ""
	if schema := query.Get("search_path"); schema != "" {
		connect = " connect_query='SET search_path TO " + schema + "'"
	}
	server := fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s", u.Hostname(), port, strings.TrimPrefix(u.Path, "/"), user, password)
	users := filepath.Join(d.dir, "users.txt")
	if err := d.writeFile(users, fmt.Sprintf("%q %q\n", user, password)); err != nil {
		return "", nil, err
	}

	for try := 1; ; try++ { // as with the server: another process can take the port first
		listen, err := freePort()
		if err != nil {
			return "", nil, err
		}
		ini := filepath.Join(d.dir, "pgbouncer.ini")
		err = d.writeFile(ini, strings.Join([]string{
			"[databases]",
			"pooled = " + server + connect,
			"[pgbouncer]",
			"listen_addr = 127.0.0.1",
			"listen_port = " + strconv.Itoa(listen),
			"unix_socket_dir =",
			"auth_type = " + auth,
			"auth_file = " + users,
			"pool_mode = transaction",
			"default_pool_size = " + strconv.Itoa(pool),
			"max_client_conn = 1000",
			"server_tls_sslmode = " + cmp.Or(query.Get("sslmode"), "prefer"),
			"ignore_startup_parameters = extra_float_digits", // as its manual has it: JDBC and lib/pq send it
			"",
		}, "\n"))
		if err != nil {
			return "", nil, err
		}
		if err := d.start(bin, ini); err != nil {
			return "", nil, err
		}
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(listen))
		u.Path = "/pooled"
		u.RawQuery = "sslmode=disable"
		if err = d.ready(u.String()); err == nil {
			return u.String(), d.close, nil
		}
		if d.running() || try == 5 {
			return "", nil, err
		}
	}
}

// findPgBouncer looks in $PATH, and where Debian has it, which is not in every user's.
func findPgBouncer() (string, error) {
	if !canStart {
		return "", ErrNoPgBouncer
	}
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer", "/usr/local/bin/pgbouncer"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", ErrNoPgBouncer
}
