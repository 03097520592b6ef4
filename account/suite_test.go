package account

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	_ "modernc.org/sqlite"
)

const (
	login    = "mona"
	password = "correct horse"
	seed     = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238's, in base32
)

// cheap are the least parameters.
var cheap = Argon2id{Memory: 7 << 10, Time: 1, Threads: 1}

func testKey(b byte) authz.Secret {
	key := make([]byte, 32)
	for i := range key {
		key[i] = b
	}
	return authz.NewSecret(string(key))
}

// clock is a clock that stands still until it is told.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.us.Store(time.Date(2026, 3, 14, 15, 9, 0, 0, time.UTC).UnixMicro()) // begins a step
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }
func (c *clock) code(steps int64) authz.Secret {
	return authz.NewSecret(codeAt(seed, c.now().Unix()/period+steps))
}

func codeAt(seed string, step int64) string {
	code, err := hotp.GenerateCodeCustom(seed, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix})
	if err != nil {
		panic(err)
	}
	return code
}

// house is one set of data, and a way to come to it as another process would.
type house struct {
	clock *clock
	open  func() Backend
	dump  func(t *testing.T) string // everything that is stored
}

// each runs a test on every backend.
func each(t *testing.T, f func(t *testing.T, h house)) {
	t.Run("memory", func(t *testing.T) {
		b := Memory()
		f(t, house{clock: newClock(), open: func() Backend { return b }})
	})
	eachSQL(t, f)
}

func eachSQL(t *testing.T, f func(t *testing.T, h house)) {
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			dsn := newDatabase(t, driver)
			h := house{
				clock: newClock(),
				open:  func() Backend { return openSQL(t, driver, dsn) },
				dump:  func(t *testing.T) string { return dump(t, openDB(t, driver, dsn)) },
			}
			if err := h.open().migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			f(t, h)
		})
	}
}

func newDatabase(t testing.TB, driver string) string {
	if driver == "postgres" {
		return pgtest.DSN(t)
	}
	// WAL, but no busy_timeout: the package must not need it.
	return "file:" + filepath.Join(t.TempDir(), "a.db") + "?_pragma=journal_mode(WAL)"
}

func openDB(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openSQL(t testing.TB, driver, dsn string) Backend {
	t.Helper()
	if driver == "postgres" {
		return Postgres(openDB(t, driver, dsn))
	}
	return SQLite(openDB(t, driver, dsn))
}

func dump(t *testing.T, db *sql.DB) string {
	t.Helper()
	var out []byte
	for _, table := range []string{"authz_users", "authz_recovery_codes", "authz_login_failures"} {
		rows, err := db.Query("SELECT * FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]sql.RawBytes, len(columns))
			ptrs := make([]any, len(columns))
			for i := range values {
				ptrs[i] = &values[i]
			}
			if err := rows.Scan(ptrs...); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				out = append(append(out, v...), '|')
			}
			out = append(out, '\n')
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return string(out)
}

// directory opens the house's data as one more process.
func (h house) directory(t *testing.T, change ...func(*Config)) *Directory {
	t.Helper()
	return directory(t, h.open(), h.clock, change...)
}

func directory(t *testing.T, b Backend, c *clock, change ...func(*Config)) *Directory {
	t.Helper()
	cfg := Config{Key: testKey(1), Argon2id: cheap, MaxHashes: 2, Now: c.now}
	for _, f := range change {
		f(&cfg)
	}
	d, err := New(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.kdf = quick
	return d
}

// quick stands for Argon2id where its cost is not the matter.
func quick(password string, p Argon2id, salt []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %q %q", p, salt, password))
	return sum[:]
}

func create(t *testing.T, d *Directory, login string) User {
	t.Helper()
	u, err := d.Create(t.Context(), NewUser{Login: login, Password: authz.NewSecret(password)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// withOTP makes a user with RFC 6238's seed.
func withOTP(t *testing.T, d *Directory) User {
	t.Helper()
	u := create(t, d, login)
	must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
	return u
}

func auth(d *Directory, login, password string, otp authz.Secret) error {
	_, err := d.Authenticate(context.Background(),
		authz.Credentials{Login: login, Password: authz.NewSecret(password), OTP: otp, Method: "POST"})
	return err
}

var noCode authz.Secret

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantBad(t *testing.T, err error) {
	t.Helper()
	if err != authz.ErrBadCredentials {
		t.Fatalf("got %v, want ErrBadCredentials", err)
	}
}

func wantOTP(t *testing.T, err error) {
	t.Helper()
	var e *authz.OTPRequiredError
	if !errors.As(err, &e) || *e != (authz.OTPRequiredError{Delivery: authz.OTPApp}) || err != error(e) {
		t.Fatalf("got %#v, want OTPRequiredError", err)
	}
}

func wantLocked(t *testing.T, err error, want time.Duration) {
	t.Helper()
	var e *authz.LockedError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want LockedError", err)
	}
	if e.RetryAfter != want {
		t.Fatalf("RetryAfter: got %v, want %v", e.RetryAfter, want)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

// together runs f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// idle waits until no login is under way behind a request that has gone.
func (d *Directory) idle() {
	for range cap(d.slots) {
		d.slots <- struct{}{}
	}
	for range cap(d.slots) {
		<-d.slots
	}
}

// counted makes d count its hashes.
func counted(d *Directory) *atomic.Int64 {
	n := new(atomic.Int64)
	d.kdf = func(password string, p Argon2id, salt []byte) []byte {
		n.Add(1)
		return quick(password, p, salt)
	}
	return n
}

// spy is a Backend that notes its calls for logins, and fails on demand.
type spy struct {
	Backend
	mu      sync.Mutex
	calls   []string
	lookErr error
	failErr error
}

func (s *spy) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (s *spy) look(ctx context.Context, key, nobody string) (sight, error) {
	s.note("look")
	if s.lookErr != nil {
		return sight{}, s.lookErr
	}
	return s.Backend.look(ctx, key, nobody)
}

func (s *spy) admit(ctx context.Context, a admission) (verdict, int64, error) {
	s.note("admit")
	return s.Backend.admit(ctx, a)
}

func (s *spy) fail(ctx context.Context, f failure) error {
	s.note("fail")
	if s.failErr != nil {
		return s.failErr
	}
	return s.Backend.fail(ctx, f)
}

func guess(i int) string { return "wrong password " + strconv.Itoa(i) }
