package authz

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// User is who a request acts for, as the host's [Authenticator] knows them.
type User struct {
	// ID names the user for ever: authorizations belong to it. It must not be
	// empty, must never pass to another person, and is not a login that can be
	// changed. At most 255 bytes of UTF-8 without control characters.
	ID string
	// Login is the name that people know the user by.
	Login string
}

// Authenticator says who sent a request to the endpoints that users call. It
// is the host's door to its own users; [BasicAuth] is the ready adapter for
// login, password and one-time password.
//
// Authenticate must be safe for use by many goroutines. Its error decides the
// answer (http-api, section 5):
//
//   - [ErrNoCredentials]: 401, Requires authentication
//   - [ErrBadCredentials]: 401, Bad credentials
//   - [*OTPRequiredError]: 401 with X-GitHub-OTP
//   - [ErrTokenNotAllowed]: 403
//   - [*LockedError]: 403 with Retry-After
//   - anything else: 503, the cause goes to the log only
type Authenticator interface {
	Authenticate(r *http.Request) (User, error)
}

var (
	// ErrNoCredentials says that a request holds no credentials at all.
	ErrNoCredentials = errors.New("authz: no credentials")

	// ErrBadCredentials says that login or password are wrong. An unknown
	// login must give the same error, in the same time.
	ErrBadCredentials = errors.New("authz: bad credentials")

	// ErrTokenNotAllowed says that a token was sent where only a login and
	// password will do.
	ErrTokenNotAllowed = errors.New("authz: a token cannot be used here")
)

// OTPDelivery says how a user comes by one-time passwords.
type OTPDelivery string

// The deliveries that clients of the API know.
const (
	OTPApp OTPDelivery = "app" // an authenticator app (RFC 6238)
	OTPSMS OTPDelivery = "sms" // a message that the host has just sent
)

// OTPRequiredError says that the password was right and a valid one-time
// password is missing: none was sent, or it was wrong, expired or used before.
// Which of these it was must not be told.
type OTPRequiredError struct {
	// Delivery is what the X-GitHub-OTP header tells the client; OTPApp if
	// empty. For OTPSMS the host sends the message before it returns the
	// error, on POST, PUT and PATCH only (see [Credentials].Method).
	Delivery OTPDelivery
}

func (e *OTPRequiredError) Error() string { return "authz: one-time password required" }

// LockedError says that a user failed too often and is refused for a while,
// with the right password too.
type LockedError struct {
	// RetryAfter is how long the lock lasts from now.
	RetryAfter time.Duration
}

func (e *LockedError) Error() string { return "authz: locked after too many failures" }

// Credentials are what a client sent by Basic authentication (RFC 7617).
type Credentials struct {
	// Login is valid UTF-8, not empty, without control characters, at most
	// 255 bytes. It is what the client typed: resolve it to a user before you
	// count failures by it.
	Login string
	// Password is at most 1024 bytes.
	Password Secret
	// OTP is the X-GitHub-OTP header, zero if the client sent none. It must be
	// ignored for a user without two-factor authentication.
	OTP Secret
	// Method is the request's method: messages with codes are sent on POST,
	// PUT and PATCH only.
	Method string
}

const (
	maxLogin    = 255
	maxPassword = 1024
	maxOTP      = 64
	otpHeader   = "X-GitHub-OTP"
)

// BasicAuth makes an [Authenticator] from a function that checks a login, a
// password and a one-time password, and returns the errors that Authenticator
// names. It reads what clients of GitHub's API send: the scheme in any case,
// padding or none, spaces and a newline in the encoded credentials, and the
// word null for "no code". A token in the place of login or password, or with
// the schemes token and Bearer, is ErrTokenNotAllowed.
func BasicAuth(check func(ctx context.Context, c Credentials) (User, error)) Authenticator {
	return basicAuth(check)
}

type basicAuth func(ctx context.Context, c Credentials) (User, error)

func (check basicAuth) Authenticate(r *http.Request) (User, error) {
	scheme, encoded, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	switch {
	case scheme == "":
		return User{}, ErrNoCredentials
	case strings.EqualFold(scheme, "token"), strings.EqualFold(scheme, "bearer"):
		return User{}, ErrTokenNotAllowed
	case !strings.EqualFold(scheme, "basic"):
		return User{}, ErrNoCredentials
	}
	// Perl's MIME::Base64 breaks long credentials into lines, which arrive here
	// with spaces between them.
	login, password, ok := decodeBasic(strings.Join(strings.Fields(encoded), ""))
	if !ok {
		return User{}, ErrBadCredentials
	}
	if wellFormed(login) || wellFormed(password) {
		return User{}, ErrTokenNotAllowed
	}
	if login == "" || len(login) > maxLogin || len(password) > maxPassword ||
		!utf8.ValidString(login) || strings.ContainsFunc(login, unicode.IsControl) {
		return User{}, ErrBadCredentials
	}
	otp := strings.Trim(r.Header.Get(otpHeader), " \t")
	if otp == "null" {
		otp = ""
	}
	if len(otp) > maxOTP {
		otp = "too long" // wrong, whatever it was
	}
	return check(r.Context(), Credentials{
		Login:    login,
		Password: NewSecret(password),
		OTP:      NewSecret(otp),
		Method:   r.Method,
	})
}

// decodeBasic splits user-id and password as RFC 7617 section 2 says.
func decodeBasic(encoded string) (login, password string, ok bool) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(strings.TrimRight(string(raw), "\r\n"), ":")
}
