// Package authztest helps to test a host: a Manager in memory, a clock that
// stands still, tokens in one line, and users with fixed passwords.
//
//	m, clock := authztest.NewManager(t, authz.Config{Lifetime: time.Hour})
//	token := authztest.Token(t, m, "mona", "repo")
//	…
//	clock.Advance(time.Hour) // the token has expired
//
// Nothing here waits, starts a goroutine or is shared between tests, so tests can
// run in parallel. Where something cannot be made, the test ends at once.
package authztest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// Clock is a clock that stands still until it is told to go on. It is safe for
// use by many goroutines.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a Clock that shows now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns what the Clock shows. It fits authz.Config.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the Clock by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Start is what the Clock of NewManager shows at first.
var Start = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// NewManager returns a Manager on a store in memory, and its clock, which takes
// the place of cfg.Now. It is not started: it reads the store at each call, and
// hears of all changes at once.
func NewManager(t testing.TB, cfg authz.Config) (*authz.Manager, *Clock) {
	t.Helper()
	clock := NewClock(Start)
	cfg.Now = clock.Now
	m, err := authz.New(memory.New(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m, clock
}

// Token makes a personal authorization with these scopes and returns its token.
// user is the User.ID, the owner.
func Token(t testing.TB, m *authz.Manager, user string, scopes ...string) string {
	t.Helper()
	result, err := m.Create(context.Background(), authz.Request{Owner: user, Note: "authztest " + uuid.NewString(), Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return result.Token.Reveal()
}

// App registers an app and returns it with its client_secret.
func App(t testing.TB, m *authz.Manager, name string) (authz.App, authz.Secret) {
	t.Helper()
	app, secret, err := m.RegisterApp(context.Background(), authz.NewApp{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return app, secret
}

// AppToken makes an authorization of a user for an app and returns its token.
func AppToken(t testing.TB, m *authz.Manager, user string, app authz.App, secret authz.Secret, scopes ...string) string {
	t.Helper()
	result, err := m.Create(context.Background(), authz.Request{Owner: user, ClientID: app.ClientID, ClientSecret: secret, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return result.Token.Reveal()
}

// Users are logins and their passwords: an authz.Authenticator for users without
// one-time passwords, whose User.ID is their login. It must not be changed while
// it is used.
type Users map[string]string

var _ authz.Authenticator = Users(nil)

// Authenticate implements [authz.Authenticator].
func (u Users) Authenticate(r *http.Request) (authz.User, error) {
	return authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
		if password, ok := u[c.Login]; !ok || !authz.NewSecret(password).Equal(c.Password) {
			return authz.User{}, authz.ErrBadCredentials
		}
		return authz.User{ID: c.Login, Login: c.Login}, nil
	}).Authenticate(r)
}
