// Package client gets and keeps API tokens from a server that speaks the OAuth
// Authorizations API, for authors of command-line tools.
//
// A tool asks its user once for login, password and, where the server wants
// one, a one-time password; it gets a token of its own in exchange, keeps that,
// and forgets the password:
//
//	c, err := client.New(client.Config{
//		BaseURL:      "https://api.example.com",
//		ClientID:     "48d7a11493b05cd029d4",
//		ClientSecret: client.NewSecret(clientSecret),
//		OTP:          askForCode,
//	})
//	…
//	token, err := c.Token(ctx, client.File(path), askForLogin, client.Request{
//		Scopes:      []string{"public_repo"},
//		Note:        "acme on " + hostname,
//		Fingerprint: machineID,
//		OnExisting:  client.OnExistingRotate,
//	})
//
// [Client.Token] asks nobody if a token is kept. [Client.GetOrCreate] is the
// request behind it; the other methods create, list, change and delete
// authorizations for a user, and check, reset and revoke tokens for the app.
//
// # Tokens are shown once
//
// The server keeps only a hash of each token. Who asks for an authorization
// that is there already gets it without its token: a [*NoTokenError], which
// says what can be done. Give each machine a Fingerprint of its own, so that a
// new token for one leaves the others alone.
//
// # Lost answers
//
// A request that failed on the way, or at the server for a while (500, 502, 503
// and 504), is repeated where that is safe; see [Retry]. GetOrCreate, Create
// and Reset carry an Idempotency-Key, the same in each repetition of one call:
// if the answer with the token was lost, the repetition gets the same token. A
// server that does not know this header answers a repeated GetOrCreate without
// a token, and may carry out a repeated Create twice.
//
// # Secrets
//
// Passwords, tokens and client secrets are [Secret] in every struct, and plain
// strings only where they are handed over. No error of this package holds one,
// nor a one-time password or an Idempotency-Key: what a server or a transport
// repeats of them is taken out. The package writes no log, sends nothing to any
// other server than Config.BaseURL, and follows no redirects.
package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config holds the settings of a [Client]. BaseURL is required; the other zero
// values are sound.
type Config struct {
	// BaseURL is what stands before "/authorizations", such as
	// "https://api.example.com/api/v3". It must be https, or http to this
	// machine (localhost, 127.0.0.1, ::1); see AllowInsecure.
	BaseURL string

	// ClientID and ClientSecret are those of the registered app. A client_id
	// consists of letters and digits. Without both, Create makes personal
	// tokens, and the methods that need an app fail.
	ClientID     string
	ClientSecret Secret

	// OTP asks the user for a one-time password when the server wants one, at
	// most until three were refused. Spaces in its answer are dropped. It runs
	// in the goroutine of the call that needs the code, and gets its context;
	// its error ends the call, and is wrapped in the call's error. Defaults to
	// nil: calls that need a code fail with [*OTPRequiredError].
	OTP func(ctx context.Context, c Challenge) (code string, err error)

	// Retry says how requests are repeated. Its zero value is sound.
	Retry Retry

	// HTTPClient sends the requests. Its CheckRedirect is not used; without a
	// Timeout of its own, a server that hangs is waited for until the context
	// ends. Defaults to a client that gives each request 30 seconds, on
	// http.DefaultTransport.
	HTTPClient *http.Client

	// UserAgent is the User-Agent header. Defaults to "authz-client".
	UserAgent string

	// AllowInsecure permits a BaseURL with http to another machine. Everybody
	// on the way can then read passwords and tokens.
	AllowInsecure bool
}

// Challenge is what the server said when it wanted a one-time password.
type Challenge struct {
	// Login is whose code is wanted.
	Login string
	// Delivery says how the user comes by the code: [OTPApp], [OTPSMS], or
	// whatever else the server said.
	Delivery string
	// Attempt counts the questions of one call, from 1.
	Attempt int
	// Lost says that the code before was not refused as far as anybody knows:
	// the connection broke or the server failed after it was sent, so it may
	// be used up. The user did nothing wrong, but needs another code: the next
	// one that the app shows.
	Lost bool
}

// The deliveries of one-time passwords.
const (
	OTPApp = "app" // an authenticator app shows it
	OTPSMS = "sms" // the server has just sent it
)

// Retry says how often and after which time a request is repeated. The zero
// value means 4 attempts, some 250 ms, 500 ms and 1 s apart.
//
// Repeated is what broke on the way (connections, timeouts of the HTTP client,
// answers cut short) or was answered 500, 502, 503 or 504, and nothing else:
// no 4xx, no failed check of a certificate. All requests of this package can
// safely be repeated: GET, PUT and DELETE by their nature, POST and PATCH
// because they carry an Idempotency-Key, read only (Check) or set what they set
// once more (Update). A repeated deletion that is answered 404 is taken to have
// been done the first time, but for RevokeGrant.
//
// The caller's context ends waiting at once. Where its deadline leaves no time
// to wait, the last error is returned without waiting.
type Retry struct {
	// Attempts is how many times a request is sent at most in one call, the
	// first time included; repetitions with another one-time password do not
	// count. Defaults to 4. 1 means: nothing is repeated.
	Attempts int
	// Wait is the time before the second attempt; it doubles each time, up to
	// MaxWait, and up to half of it is taken off at random. Defaults to 250 ms.
	Wait time.Duration
	// MaxWait bounds each time of waiting. If the server says Retry-After with
	// less, that much is waited; with more, the error is returned at once, its
	// RetryAfter set. Defaults to 10 s.
	MaxWait time.Duration
}

// Client calls one server, for any number of users. It is safe for use by many
// goroutines, keeps nothing but its Config, and starts no goroutine.
//
// The methods that take [Credentials] act for a user, and may call Config.OTP.
// The others act for the app of the Config, by its client_id and client_secret.
//
// Errors of all methods: [*Error] for what the server answered, and for an
// answer that cannot be understood; [*OTPRequiredError]; the context's error,
// wrapped. Any other error comes from the connection, or from arguments that
// make no sense. After an *Error with a 5xx status or an error of the
// connection it is open whether the server did what was asked.
type Client struct {
	cfg  Config
	base string // BaseURL without a slash at its end
	http *http.Client
}

// New returns a Client. It returns an error if the Config makes no sense, and
// sends nothing.
func New(cfg Config) (*Client, error) {
	base, err := checkBase(cfg.BaseURL, cfg.AllowInsecure)
	if err != nil {
		return nil, err
	}
	if (cfg.ClientID == "") != cfg.ClientSecret.IsZero() {
		return nil, errors.New("client: Config needs both of ClientID and ClientSecret, or neither")
	}
	if strings.ContainsFunc(cfg.ClientID, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return nil, errors.New("client: Config.ClientID must be letters and digits")
	}
	if cfg.Retry.Attempts < 0 || cfg.Retry.Wait < 0 || cfg.Retry.MaxWait < 0 {
		return nil, errors.New("client: Config.Retry must not hold negative values")
	}
	if cfg.Retry.Attempts == 0 {
		cfg.Retry.Attempts = 4
	}
	if cfg.Retry.Wait == 0 {
		cfg.Retry.Wait = 250 * time.Millisecond
	}
	if cfg.Retry.MaxWait == 0 {
		cfg.Retry.MaxWait = 10 * time.Second
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "authz-client"
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Timeout: 30 * time.Second}
	}
	httpClient := *cfg.HTTPClient
	// net/http takes the Authorization header off a redirect to another host,
	// but not the one-time password, nor the body with its client_secret; and
	// it makes a GET of most of them.
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg: cfg, base: base, http: &httpClient}, nil
}

// checkBase does not repeat the URL in its errors: it can hold a password.
func checkBase(base string, allowInsecure bool) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("client: Config.BaseURL must be an https URL, such as https://api.example.com")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("client: Config.BaseURL must have no login, password, query or fragment")
	}
	if u.Scheme == "http" && !allowInsecure && !loopback(u.Hostname()) {
		return "", errors.New("client: Config.BaseURL is http to another machine, where passwords and tokens could be read on the way: use https, or set AllowInsecure")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
