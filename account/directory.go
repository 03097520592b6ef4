package account

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
)

const maxLogin = 255 // as authz.BasicAuth accepts

// Config is how a [Directory] works. The zero Config has sound defaults, but no
// Key, and so no one-time passwords.
type Config struct {
	// Key seals the seeds of one-time passwords: 32 random bytes that do not
	// lie in the database. Without it no user can enrol.
	Key authz.Secret
	// OldKeys are former values of Key. They open what they sealed, and a
	// login seals it again under Key. Directory.Reseal does that for all.
	OldKeys []authz.Secret
	// Issuer is the name that authenticator apps show beside the login.
	// Defaults to "authz". It must not hold ":".
	Issuer string

	// Argon2id is the cost of new password hashes. Defaults to 19 MiB, two
	// passes, one thread, as OWASP recommends.
	Argon2id Argon2id
	// MaxHashes is how many passwords are hashed at once. Defaults to
	// GOMAXPROCS, but not more than 4.
	MaxHashes int
	// MinPassword is the least number of characters of a new password.
	// Defaults to 8 (NIST SP 800-63B).
	MinPassword int

	// MaxFailures is how many failures in a row lock a user, at most 100.
	// Defaults to 10.
	MaxFailures int
	// LockFor is how long the lock lasts. Defaults to 15 minutes.
	LockFor time.Duration

	// OTPReuse lets the code that was used last be used again, for so long
	// after its first use and within its own time window, for old clients that
	// send one code with several requests. Defaults to 0: a code is accepted
	// once, as RFC 6238 section 5.2 demands. 90 s is the whole window.
	OTPReuse time.Duration

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Issuer == "" {
		c.Issuer = "authz"
	}
	if c.Argon2id == (Argon2id{}) {
		c.Argon2id = Argon2id{Memory: 19 << 10, Time: 2, Threads: 1}
	}
	if c.MaxHashes == 0 {
		c.MaxHashes = min(runtime.GOMAXPROCS(0), 4)
	}
	if c.MinPassword == 0 {
		c.MinPassword = 8
	}
	if c.MaxFailures == 0 {
		c.MaxFailures = 10
	}
	if c.LockFor == 0 {
		c.LockFor = 15 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case strings.Contains(c.Issuer, ":"), !graphic(c.Issuer):
		return c, errors.New("account: Config.Issuer must not hold \":\" or control characters")
	case !c.Argon2id.valid():
		return c, errors.New("account: Config.Argon2id is out of range")
	case c.MaxHashes < 1:
		return c, errors.New("account: Config.MaxHashes must not be negative")
	case c.MinPassword < 1 || c.MinPassword > maxPassword:
		return c, fmt.Errorf("account: Config.MinPassword must lie between 1 and %d", maxPassword)
	case c.MaxFailures < 1 || c.MaxFailures > 100:
		return c, errors.New("account: Config.MaxFailures must lie between 1 and 100")
	case c.LockFor < 0:
		return c, errors.New("account: Config.LockFor must not be negative")
	case c.OTPReuse < 0:
		return c, errors.New("account: Config.OTPReuse must not be negative")
	}
	return c, nil
}

// Directory is a set of users. All its methods are safe for use by many
// goroutines, and by many processes on one database. It has nothing to close.
type Directory struct {
	b     Backend
	cfg   Config
	keys  *keyring
	names func(login string) string // the failure subject of a login that does not exist

	slots chan struct{} // one element for each hash being computed
	dummy string        // the hash that a login without a user is checked with
	kdf   kdf

	owed      debts
	lastSweep atomic.Int64
}

// New returns a Directory over b. It does not touch the database.
func New(b Backend, cfg Config) (*Directory, error) {
	if b == nil {
		return nil, errors.New("account: no Backend")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	keys, err := newKeyring(cfg.Key, cfg.OldKeys)
	if err != nil {
		return nil, err
	}
	return &Directory{
		b:     b,
		cfg:   cfg,
		keys:  keys,
		names: nameHasher(cfg.Key),
		slots: make(chan struct{}, cfg.MaxHashes),
		dummy: cfg.Argon2id.dummy(),
		kdf:   argon2id,
	}, nil
}

// Migrate brings the tables up to date. Any number of processes may call it at
// once; it does nothing if there is nothing to do. It returns an error that
// wraps store.ErrSchema if the tables are newer than the program.
func (d *Directory) Migrate(ctx context.Context) error { return wrap("migrate", d.b.migrate(ctx)) }

// Check says whether the directory can be used: nil, an error that wraps
// store.ErrSchema if the tables do not fit the program, or another error if the
// database cannot be asked. It changes nothing.
func (d *Directory) Check(ctx context.Context) error { return wrap("check", d.b.check(ctx)) }

// User is a user of a [Directory].
type User struct {
	// ID is greater than zero, rises, and is never used again.
	ID int64
	// Login is spelt as it was when the user was created.
	Login string
	// OTP says that logins need a one-time password.
	OTP bool
	// DisabledAt is zero for a user who is not disabled.
	DisabledAt time.Time
	CreatedAt  time.Time
	// UpdatedAt is when password, one-time password or DisabledAt were set
	// last.
	UpdatedAt time.Time
}

// Authz returns the user as an [authz.Manager] knows it: the ID in decimal.
//
// [authz.Manager]: https://pkg.go.dev/github.com/seed-926035fd/authz#Manager
func (u User) Authz() authz.User {
	return authz.User{ID: strconv.FormatInt(u.ID, 10), Login: u.Login}
}

// NewUser is what [Directory.Create] needs to know.
type NewUser struct {
	Login    string
	Password authz.Secret
}

// InvalidError says that a value cannot be accepted, and why. It does not hold
// the value.
type InvalidError struct {
	// Field is "login", "password" or "seed".
	Field string
	// Reason completes the sentence that begins with Field, such as "must have
	// at least 8 characters".
	Reason string
}

func (e *InvalidError) Error() string { return "account: " + e.Field + " " + e.Reason }

// Create adds a user. It returns an *[InvalidError] for a login or password
// that cannot be, and an error that wraps store.ErrConflict if the login is
// taken, in whatever case it is written.
func (d *Directory) Create(ctx context.Context, u NewUser) (User, error) {
	key, err := checkLogin(u.Login)
	if err != nil {
		return User{}, err
	}
	hash, err := d.newPassword(ctx, u.Password)
	if err != nil {
		return User{}, err
	}
	now := d.now()
	rec, err := d.b.insert(ctx, record{login: u.Login, key: key, password: hash, createdAt: now, updatedAt: now})
	if err != nil {
		return User{}, wrap("create user", err)
	}
	return rec.user(), nil
}

// User returns the user with this ID, or an error that wraps store.ErrNotFound.
func (d *Directory) User(ctx context.Context, id int64) (User, error) {
	rec, err := d.b.byID(ctx, id)
	if err != nil {
		return User{}, wrap("user", err)
	}
	return rec.user(), nil
}

// ByLogin returns the user with this login, in whatever case it is written, or
// an error that wraps store.ErrNotFound.
func (d *Directory) ByLogin(ctx context.Context, login string) (User, error) {
	s, err := d.b.look(ctx, lookupKey(login), "")
	if err != nil {
		return User{}, wrap("user by login", err)
	}
	if !s.found {
		return User{}, wrap("user by login", store.ErrNotFound)
	}
	return s.rec.user(), nil
}

// Lookup returns the user whose ID is this number in decimal, as
// [authz.HandlerConfig] wants it in Users. It returns an error that wraps
// authz.ErrNotFound if there is no such user, or a disabled one.
//
//	authz.HandlerConfig{Authenticator: users.Authenticator(), Users: users.Lookup, …}
//
// [authz.HandlerConfig]: https://pkg.go.dev/github.com/seed-926035fd/authz#HandlerConfig
func (d *Directory) Lookup(ctx context.Context, id string) (authz.User, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return authz.User{}, wrap("look up", store.ErrNotFound) // nobody's: +1 and 01 are not 1
	}
	u, err := d.User(ctx, n)
	if err != nil {
		return authz.User{}, err
	}
	if !u.DisabledAt.IsZero() {
		return authz.User{}, wrap("look up", store.ErrNotFound)
	}
	return u.Authz(), nil
}

// List returns users in rising order of ID, beginning after the ID after, at
// most limit of them; a limit below 1 or above 1000 is taken as 1000. Fewer
// than limit mean that there are no more.
func (d *Directory) List(ctx context.Context, after int64, limit int) ([]User, error) {
	recs, err := d.list(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	users := make([]User, len(recs))
	for i, rec := range recs {
		users[i] = rec.user()
	}
	return users, nil
}

func (d *Directory) list(ctx context.Context, after int64, limit int) ([]record, error) {
	if limit < 1 || limit > 1000 {
		limit = 1000
	}
	recs, err := d.b.list(ctx, after, limit)
	return recs, wrap("list users", err)
}

// Disable refuses the user's logins from now on, as if the user did not exist.
// Tokens that exist live on: they are the Manager's, whose
// [authz.Manager.SuspendUser] puts them to sleep. It returns an error that wraps
// store.ErrNotFound if there is no such user.
//
// [authz.Manager.SuspendUser]: https://pkg.go.dev/github.com/seed-926035fd/authz#Manager.SuspendUser
func (d *Directory) Disable(ctx context.Context, id int64) error {
	now := d.now()
	return wrap("disable user", d.b.setDisabled(ctx, id, now, now))
}

// Enable undoes [Directory.Disable], with the same errors.
func (d *Directory) Enable(ctx context.Context, id int64) error {
	return wrap("enable user", d.b.setDisabled(ctx, id, 0, d.now()))
}

// SetPassword gives the user another password. A login that is under way with
// the old one fails. It returns an *[InvalidError] for a password that cannot
// be, and an error that wraps store.ErrNotFound if there is no such user. It
// does not end a lock; [Directory.Unlock] does.
func (d *Directory) SetPassword(ctx context.Context, id int64, password authz.Secret) error {
	hash, err := d.newPassword(ctx, password)
	if err != nil {
		return err
	}
	return wrap("set password", d.b.setPassword(ctx, id, hash, d.now()))
}

// Unlock forgets the user's failed logins, and so ends a lock. It does nothing
// if there are none.
func (d *Directory) Unlock(ctx context.Context, id int64) error {
	return wrap("unlock user", d.b.forget(ctx, userSubject(id)))
}

// now is the clock in microseconds, as the tables hold times.
func (d *Directory) now() int64 { return d.cfg.Now().UnixMicro() }

// record is a user as a Backend keeps it. Times are microseconds, 0 is never.
type record struct {
	id         int64
	login, key string
	password   string // PHC string
	rev        int64  // rises whenever what a login needs is changed
	seed       string // sealed; "" without two-factor authentication
	pending    string // sealed; "" unless an enrolment waits for its first code
	disabledAt int64
	createdAt  int64
	updatedAt  int64
}

func (r record) user() User {
	return User{
		ID:         r.id,
		Login:      r.login,
		OTP:        r.seed != "",
		DisabledAt: fromMicro(r.disabledAt),
		CreatedAt:  fromMicro(r.createdAt),
		UpdatedAt:  fromMicro(r.updatedAt),
	}
}

func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// checkLogin returns the key of a login that a user may have.
func checkLogin(login string) (string, error) {
	switch {
	case login == "":
		return "", &InvalidError{"login", "must not be empty"}
	case len(login) > maxLogin:
		return "", &InvalidError{"login", fmt.Sprintf("must not be longer than %d bytes", maxLogin)}
	case !graphic(login) || strings.ContainsFunc(login, unicode.IsSpace):
		return "", &InvalidError{"login", "must hold visible characters only, in UTF-8"}
	case strings.Contains(login, ":"):
		return "", &InvalidError{"login", "must not hold \":\""}
	}
	return fold(login), nil
}

// lookupKey is the key to look a login up by. What no user can be called is
// looked up too, so that it costs the same, under a key that nobody has.
func lookupKey(login string) string {
	key, err := checkLogin(login)
	if err != nil {
		return ""
	}
	return key
}

// fold maps two strings to one if and only if strings.EqualFold holds them
// equal: each character becomes the least of those that differ in case alone.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// graphic excludes control, format and private-use characters, and those that
// this Unicode version does not know, whose folding may yet change.
func graphic(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// wrap adds where an error comes from. Errors of drivers name tables and codes;
// no statement of this package sends a password, code or seed in the clear.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("account: %s: %w", what, err)
}

// newRequest names one call, so that a statement that is repeated because its
// answer was lost recognises what it wrote the first time.
func newRequest() string { return rand.Text() }
