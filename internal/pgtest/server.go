package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNotFound says that this machine has no PostgreSQL that could be started, and what to do about it.
var ErrNotFound = errors.New("no PostgreSQL here: install it (apt-get install postgresql, brew install postgresql), or set " +
	EnvDSN + " to the postgres:// URL of a server for tests")

// Options are the settings of a cluster. The zero Options are right for most tests.
type Options struct {
	Fsync    bool     // Flush to the disk. Defaults to AUTHZ_TEST_POSTGRES_FSYNC=1.
	Settings []string // More settings for postgres, each "name=value".
}

// Server is a private PostgreSQL cluster. Its methods are not safe for concurrent use, DSN excepted.
type Server struct {
	bin      string
	port     int
	password string
	settings []string
	daemon   *daemon
}

// Start starts a cluster outside a test: it lives until Close or the end of this process.
func Start(o Options) (*Server, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	d, err := newDaemon()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, password: rand.Text(), daemon: d, settings: []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "timezone=UTC",
	}}
	if !o.Fsync && os.Getenv(EnvFsync) != "1" {
		s.settings = append(s.settings, "fsync=off", "full_page_writes=off")
	}
	s.settings = append(s.settings, o.Settings...)
	if err := s.init(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) init() error {
	// A password, though only this machine can connect: a superuser of the cluster can run commands as our user.
	// It goes in clear text over loopback, which costs no driver its key derivation at every connection.
	pwfile := filepath.Join(s.daemon.dir, "password")
	if err := s.daemon.writeFile(pwfile, s.password); err != nil {
		return err
	}
	err := s.daemon.start(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username=postgres", "--pwfile", pwfile,
		"--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	if err := s.daemon.wait(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w\n%s", err, s.daemon.log())
	}
	// Another process can take the free port before us: then a new one is tried.
	for range 5 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.Restart(); err == nil {
			return nil
		}
	}
	return err
}

func (s *Server) data() string { return filepath.Join(s.daemon.dir, "data") }

// DSN returns the URL of the database postgres, as superuser. It is the same after Restart.
func (s *Server) DSN() string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/postgres", RawQuery: "sslmode=disable",
	}).String()
}

// Restart starts the server again after Stop or Kill, on the same port and the same data, and returns when it answers.
func (s *Server) Restart() error {
	args := []string{"-D", s.data(), "-c", "port=" + strconv.Itoa(s.port)}
	for _, v := range s.settings {
		args = append(args, "-c", v)
	}
	for attempt := 1; ; attempt++ {
		if err := s.daemon.start(filepath.Join(s.bin, "postgres"), args...); err != nil {
			return err
		}
		err := s.daemon.ready(s.DSN())
		// The last process of a server that was killed can take a moment to go.
		if err == nil || attempt == 20 || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Stop shuts the server down as an administrator would: open transactions are rolled back, clients are told (57P01).
func (s *Server) Stop() error {
	if err := s.daemon.signal(os.Interrupt); err != nil {
		return err
	}
	s.daemon.wait() //nolint:errcheck // how it ended does not matter: it has ended
	return nil
}

// Kill ends every process of the server at once with SIGKILL, as a crash of its machine would.
func (s *Server) Kill() error {
	if err := s.daemon.signalAll(os.Kill); err != nil {
		return err
	}
	s.daemon.wait() //nolint:errcheck // as above
	return nil
}

// Pause stops every process of the server with SIGSTOP: connections are accepted by the kernel and nothing answers.
func (s *Server) Pause() error { return s.daemon.signalAll(sigStop) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.daemon.signalAll(sigCont) }

// Close ends the server, whatever its state, and removes its files.
func (s *Server) Close() {
	if s.daemon.running() {
		s.Resume() //nolint:errcheck // spares a paused one the 5 s after which PostgreSQL kills what does not listen
	}
	s.daemon.close()
}

// findBin returns the folder of the newest PostgreSQL binaries that it finds; one in $PATH goes first.
func findBin() (string, error) {
	if !canStart {
		return "", ErrNotFound
	}
	var dirs []string
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                   // Red Hat, SUSE
		"/usr/local/pgsql/bin",                               // built from source
		"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew on Apple silicon
		"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
		"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",     // Homebrew on Linux
		"/opt/local/lib/postgresql*/bin",                     // MacPorts
	} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, newestFirst(found)...)
	}
	for _, dir := range dirs {
		if isFile(filepath.Join(dir, "initdb")) && isFile(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", ErrNotFound
}

// newestFirst orders folders by the first number in them: 9.6 < 15 < 18, which the alphabet does not know.
func newestFirst(dirs []string) []string {
	version := func(s string) (v float64) {
		s = s[max(0, strings.IndexAny(s, "0123456789")):]
		end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end >= 0 {
			s = s[:end]
		}
		v, _ = strconv.ParseFloat(s, 64)
		return v
	}
	for i := range dirs { // a handful: insertion sort keeps equal ones in place
		for j := i; j > 0 && version(dirs[j]) > version(dirs[j-1]); j-- {
			dirs[j], dirs[j-1] = dirs[j-1], dirs[j]
		}
	}
	return dirs
}

func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular()
}

// freePort returns a port below the range from which the kernel gives clients theirs, so that none of them takes it
// while the server is down.
func freePort() (int, error) {
	for range 50 {
		port := 15000 + mathrand.IntN(15000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("pgtest: no free port between 15000 and 30000 on 127.0.0.1")
}

// daemon is a process with a folder of its own, and a guard that ends the one and removes the other when this process ends.
type daemon struct {
	dir   string
	guard *exec.Cmd
	pipe  io.WriteCloser // the guard reads it: the process id to end, or 0; end of file is its call
	cmd   *exec.Cmd      // nil until the first start
	done  chan struct{}  // closed when cmd has ended
	err   error          // of cmd, once done
}

// guardScript is the guard. The pipe closes with this process, even on kill -9; nobody else holds it (it is close-on-exec).
// SIGQUIT is PostgreSQL's immediate shutdown: it ends its children itself, also those that are stopped, within 5 s.
// A server that was killed has left the small shared memory segment that the 7th line of its pid file names.
const guardScript = `
trap '' HUP INT QUIT TERM
pid=0
while read -r p; do pid=$p; done
if [ "$pid" != 0 ]; then
	kill -QUIT "$pid"; kill -CONT "$pid"
	n=0; while kill -0 "$pid" && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
	kill -KILL "$pid"
fi
shm=$(sed -n '7s/.* //p' "$1/data/postmaster.pid") && [ -n "$shm" ] && ipcrm -m "$shm"
rm -rf "$1"
`

func newDaemon() (*daemon, error) {
	parent, err := traversable(os.TempDir(), "/tmp", "/var/tmp")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "authz-pg-")
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	d := &daemon{dir: dir, guard: exec.Command("sh", "-c", guardScript, "sh", dir)}
	d.guard.Dir = "/"
	detach(d.guard)
	if d.pipe, err = d.guard.StdinPipe(); err == nil {
		err = d.guard.Start()
	}
	if err == nil {
		err = giveAway(dir)
	}
	if err != nil {
		if d.guard.Process == nil {
			os.Remove(dir)
		} else {
			d.close()
		}
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	return d, nil
}

// start runs a program in the daemon's folder, as a user who is not root, and tells the guard of it.
func (d *daemon) start(name string, args ...string) error {
	if d.running() {
		return fmt.Errorf("pgtest: %s runs already", filepath.Base(d.cmd.Path))
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Dir = d.dir // the current one may be closed to that user
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = log, log // never our own: the go command waits until nobody holds them
	detach(cmd)
	asUser(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	fmt.Fprintln(d.pipe, cmd.Process.Pid)
	done := make(chan struct{})
	d.cmd, d.done, d.err = cmd, done, nil
	go func() {
		d.err = cmd.Wait()
		fmt.Fprintln(d.pipe, 0) // its id may be another's from now on
		close(done)
	}()
	return nil
}

func (d *daemon) running() bool {
	if d.cmd == nil {
		return false
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// wait waits until the process has ended, and says how.
func (d *daemon) wait() error {
	<-d.done
	return d.err
}

// ready waits until the PostgreSQL protocol is spoken at dsn.
func (d *daemon) ready(dsn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := ping(ctx, dsn)
		if err == nil && d.running() {
			return nil
		}
		select {
		case <-d.done:
			return fmt.Errorf("pgtest: %s ended: %w\n%s", filepath.Base(d.cmd.Path), d.err, d.log())
		case <-ctx.Done():
			return fmt.Errorf("pgtest: %s does not answer: %w\n%s", filepath.Base(d.cmd.Path), err, d.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *daemon) signal(sig os.Signal) error {
	if !d.running() {
		return errors.New("pgtest: the server is not running")
	}
	return d.cmd.Process.Signal(sig)
}

// signalAll signals the process and its children. It is stopped first, so that it starts no others meanwhile.
func (d *daemon) signalAll(sig os.Signal) error {
	if err := d.signal(sigStop); err != nil {
		return err
	}
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return fmt.Errorf("pgtest: ps: %w", err)
	}
	if err := d.signal(sig); err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == strconv.Itoa(d.cmd.Process.Pid) {
			if pid, err := strconv.Atoi(f[0]); err == nil {
				if p, err := os.FindProcess(pid); err == nil {
					p.Signal(sig) //nolint:errcheck // it may have ended meanwhile
				}
			}
		}
	}
	return nil
}

// log returns the end of what the process wrote.
func (d *daemon) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	lines := bytes.SplitAfter(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], nil))
}

func (d *daemon) writeFile(name, content string) error {
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	return giveAway(name)
}

// close has the guard do its work now, and waits for it.
func (d *daemon) close() {
	d.pipe.Close()
	d.guard.Wait() //nolint:errcheck // it ends with whatever rm said
}
