package main

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 as all authenticator apps do it
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
)

const (
	demoLogin    = "mona"
	demoOTPLogin = "hubot"
	demoStore    = "sqlite:authz-demo.db"
)

type demoFlags struct {
	storeFlags
	listenFlags
}

func (p *program) demo() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Serve the API with users and an app to try, and print how",
		Long: `Makes or finds the user mona with a password, the user hubot with a password and
one-time passwords, and an app; serves the API at the root and under /api/v3;
prints the credentials and curl lines to paste. It can be run again, and several
times at once, on one store.

The credentials are derived from the key file, so they stay the same and lie
nowhere in the database. Passwords of mona and hubot that were changed are set
back, and so are hubot's one-time passwords if they were removed. For that reason
demo does not heed $AUTHZ_STORE: name a store yourself, and not one in earnest.

With --json the first line of stdout is an object with base_url, login,
password, otp_login, otp_password, otp_secret (base32), client_id and
client_secret, printed when the server listens.`,
		Example: `  authz demo
  authz demo --addr 127.0.0.1:0 --store memory: --json`,
	}
	f.storeFlags.registerFor(c, demoStore)
	f.listenFlags.register(c)
	p.command(c, noArgs, func(ctx context.Context, _ []string) error { return p.runDemo(ctx, &f) })
	c.AddCommand(p.demoCode())
	return c
}

func (p *program) runDemo(ctx context.Context, f *demoFlags) error {
	log, err := f.logger(p.stderr)
	if err != nil {
		return err
	}
	rt := routes{prefixes: defaultPrefixes, legacyTokenPaths: f.legacyTokenPaths}
	if err := f.try(rt, authz.Config{}); err != nil {
		return err
	}
	svc, err := p.openService(ctx, &f.listenFlags, &f.storeFlags, authz.Config{}, log)
	if err != nil {
		return err
	}
	defer svc.close()
	setup := &demoSetup{key: svc.key, m: svc.m, users: svc.users, log: log}
	cred, err := setup.credentials(ctx)
	if err != nil {
		return err
	}
	handler, err := newHandler(svc, rt, log)
	if err != nil {
		return err
	}
	warnExposed(log, svc.ln, false)
	return svc.serveUntil(ctx, handler, nil, func() {
		cred.BaseURL = baseURL("http", f.addr, svc.ln)
		log.Info("serving", "base_url", cred.BaseURL, "store", svc.target.name())
		if err := p.print(cred, func(w io.Writer) { cred.text(w, svc.target, keyPath(svc.target, f.keyFile)) }); err != nil {
			log.Warn(err.Error())
		}
	})
}

// demoCredentials is the first line of demo --json.
type demoCredentials struct {
	BaseURL      string `json:"base_url"`
	Login        string `json:"login"`
	Password     string `json:"password"`
	OTPLogin     string `json:"otp_login"`
	OTPPassword  string `json:"otp_password"`
	OTPSecret    string `json:"otp_secret"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// text prints the credentials and how to use them, for people.
func (c *demoCredentials) text(w io.Writer, t target, keyFile string) {
	kept := "nothing is kept"
	if keyFile != "" {
		kept = t.name() + ", key file " + keyFile
	}
	fmt.Fprintf(w, "authz demo on %s (%s)\n\n", c.BaseURL, kept)
	table(w,
		row("app", "client_id", c.ClientID),
		row("", "client_secret", c.ClientSecret),
		row("user", c.Login, c.Password),
		row("user with OTP", c.OTPLogin, c.OTPPassword),
		row("", "OTP secret", c.OTPSecret),
	)
	put := func(login, password, path, otp string) string {
		return fmt.Sprintf(`-u %s:%s -X PUT %s/authorizations/clients/%s%s%s -d '{"client_secret":"%s","scopes":["public_repo"],"note":"admin script"}'`,
			login, password, c.BaseURL, c.ClientID, path, otp, c.ClientSecret)
	}
	program, err := os.Executable()
	if err != nil {
		program = "authz"
	}
	otp := fmt.Sprintf(` -H "X-GitHub-OTP: $(echo %s | %s demo code)"`, c.OTPSecret, shellWord(program))
	fmt.Fprintf(w, `
# Get or create a token: 201, with the token (200 if an earlier run did it).
curl -i %[1]s

# Again: 200, the same authorization, and no token: it is shown once.
curl -i %[1]s

# Another machine, told apart by a fingerprint: a token of its own.
curl -i %[2]s

# With a one-time password, which is good for one request. Without the header: 401 and X-GitHub-OTP.
curl -i %[3]s

# What the token is for.
TOKEN=$(curl -s %[4]s | sed -n 's/.*"token": "\([^"]*\)".*/\1/p')
curl -i -H "Authorization: token $TOKEN" %[5]s/user

# All authorizations of %[6]s, without their tokens.
curl -i -u %[6]s:%[7]s %[5]s/authorizations

# The app asks whether a token is good, and for what (RFC 7662).
curl -i -u %[8]s:%[9]s %[5]s/oauth/introspect -d "token=$TOKEN"

# The app revokes it (RFC 7009). Ask again: it is not active any more.
curl -i -u %[8]s:%[9]s %[5]s/oauth/revoke -d "token=$TOKEN"
curl -i -u %[8]s:%[9]s %[5]s/oauth/introspect -d "token=$TOKEN"

# All that there is: %[5]s/openapi.yaml

Ctrl-C stops it.
`,
		put(c.Login, c.Password, "", ""),
		put(c.Login, c.Password, "/laptop", ""),
		put(c.OTPLogin, c.OTPPassword, "", otp),
		put(c.Login, c.Password, "/$(date +%s)", ""),
		c.BaseURL, c.Login, c.Password, c.ClientID, c.ClientSecret)
}

// shellWord quotes s for a POSIX shell if it needs it.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// demoSetup makes the demo's users and app, or finds them, beside other
// processes that do the same at the same moment.
type demoSetup struct {
	key   authz.Secret
	m     *authz.Manager
	users *account.Directory
	log   *slog.Logger
}

func (d *demoSetup) credentials(ctx context.Context) (*demoCredentials, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	c := &demoCredentials{
		Login:       demoLogin,
		Password:    d.password(demoLogin),
		OTPLogin:    demoOTPLogin,
		OTPPassword: d.password(demoOTPLogin),
		OTPSecret:   base32.StdEncoding.EncodeToString(d.derive("one-time passwords of "+demoOTPLogin, 20)),
	}
	mona, err := d.user(ctx, c.Login, c.Password)
	if err != nil {
		return nil, err
	}
	if mona.OTP {
		d.log.Info("removing one-time passwords, which the demo's user does not have", "login", c.Login)
		if err := d.users.RemoveOTP(ctx, mona.ID); err != nil {
			return nil, err
		}
	}
	hubot, err := d.user(ctx, c.OTPLogin, c.OTPPassword)
	if err != nil {
		return nil, err
	}
	// It changes nothing if the seed is there, and leaves the last code used as
	// it is, so a code cannot be used again by it.
	if err := d.users.ImportOTP(ctx, hubot.ID, authz.NewSecret(c.OTPSecret)); err != nil {
		return nil, err
	}
	c.ClientID, c.ClientSecret, err = d.app(ctx)
	return c, err
}

// user makes or finds a user who can log in with the password.
func (d *demoSetup) user(ctx context.Context, login, password string) (u account.User, err error) {
	u, err = d.users.ByLogin(ctx, login)
	if errors.Is(err, store.ErrNotFound) {
		u, err = d.users.Create(ctx, account.NewUser{Login: login, Password: authz.NewSecret(password)})
		if !errors.Is(err, store.ErrConflict) {
			return u, err
		}
		u, err = d.users.ByLogin(ctx, login) // another process was faster
	}
	if err != nil {
		return u, err
	}
	suspended, err := d.m.UserSuspended(ctx, u.Authz().ID)
	if err != nil {
		return u, err
	}
	if !u.DisabledAt.IsZero() || !suspended.IsZero() {
		d.log.Info("enabling the demo's user", "login", login)
		if err := enable(ctx, d.m, d.users, u); err != nil {
			return u, err
		}
	}
	_, err = d.users.Authenticate(ctx, authz.Credentials{Login: login, Password: authz.NewSecret(password)})
	var (
		otp    *authz.OTPRequiredError
		locked *authz.LockedError
	)
	switch {
	case err == nil, errors.As(err, &otp): // the password is right
		return u, nil
	case errors.As(err, &locked):
		d.log.Warn("the user is locked after too many failures: logins fail until that ends", "login", login, "for", locked.RetryAfter.Round(time.Second))
	case !errors.Is(err, authz.ErrBadCredentials):
		return u, err
	default:
		d.log.Info("setting the password of the demo's user back", "login", login)
	}
	return u, d.users.SetPassword(ctx, u.ID, authz.NewSecret(password))
}

// app makes or finds the app. One that was deleted, or whose secret was
// changed, is followed by the next.
func (d *demoSetup) app(ctx context.Context) (clientID, clientSecret string, err error) {
	for n := 1; ; n++ {
		name := "app " + strconv.Itoa(n)
		id := hex.EncodeToString(d.derive("client_id of "+name, 10))
		secret := authz.NewSecret(hex.EncodeToString(d.derive("client_secret of "+name, 20)))
		_, err := d.m.AuthenticateApp(ctx, id, secret)
		if errors.Is(err, authz.ErrInvalidClient) {
			_, _, err = d.m.RegisterApp(ctx, authz.NewApp{Name: "authz demo", URL: "http://demo.example", ClientID: id, ClientSecret: secret})
			if taken(err) { // by another process, just now, or by an app that is gone
				_, err = d.m.AuthenticateApp(ctx, id, secret)
			}
		}
		switch {
		case err == nil:
			return id, secret.Reveal(), nil
		case !errors.Is(err, authz.ErrInvalidClient):
			return "", "", err
		}
	}
}

// password has 100 bits, in characters that need no quotes anywhere.
func (d *demoSetup) password(login string) string {
	text := strings.ToLower(base32.StdEncoding.EncodeToString(d.derive("password of "+login, 15)))
	return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:20]
}

// derive makes n bytes for one purpose from the key file (RFC 5869). Package
// account derives other purposes from the same key.
func (d *demoSetup) derive(purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, []byte(d.key.Reveal()), nil, "authz demo: "+purpose, n)
	if err != nil {
		panic(err) // n is small
	}
	return out
}

func (p *program) demoCode() *cobra.Command {
	c := &cobra.Command{
		Use:     "code",
		Short:   "Print the current one-time password of a base32 secret read from stdin",
		Long:    "Prints the current one-time password (RFC 6238: SHA-1, 6 digits, 30 s) of the\nbase32 secret on stdin, so that the demo can be tried without an authenticator app.",
		Example: "  echo OTP_SECRET | authz demo code",
	}
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		line, err := p.askLine(ctx, "base32 secret: ")
		if err != nil {
			return err
		}
		seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(strings.TrimRight(strings.ReplaceAll(line, " ", ""), "=")))
		if err != nil || len(seed) == 0 {
			return usagef("stdin holds no base32 secret")
		}
		code := totpCode(seed, time.Now())
		return p.print(struct {
			Code string `json:"code"`
		}{code}, func(w io.Writer) { fmt.Fprintln(w, code) })
	})
}

// totpCode is the code of a seed at a time (RFC 6238).
func totpCode(seed []byte, now time.Time) string {
	mac := hmac.New(sha1.New, seed)
	_ = binary.Write(mac, binary.BigEndian, now.Unix()/30)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1e6)
}
