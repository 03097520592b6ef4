package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// FieldError says what is wrong with one parameter of a request.
type FieldError struct {
	Resource string `json:"resource"`
	Field    string `json:"field"`   // as on the wire, such as "note_url"
	Code     string `json:"code"`    // missing, missing_field, invalid, already_exists or custom
	Message  string `json:"message"` // for people; often ""
}

// Error is an answer of the server other than success, or one that is not an
// answer of this API (StatusCode is then 2xx or 3xx). Its texts are the
// server's, without control characters other than line ends, cut to a kilobyte,
// and with secrets of the request taken out.
type Error struct {
	// StatusCode is the HTTP status: 401 for a wrong login or password, 403
	// for a locked login, 404, 409 ([OnExistingError]), 422 and so on.
	StatusCode int
	// Message is what the server said, or the words of the status.
	Message string
	// Errors are the parameters that are wrong, if the server named them.
	Errors []FieldError
	// DocumentationURL is where the server says more.
	DocumentationURL string
	// RequestID names the request in the server's log.
	RequestID string
	// ExistingURL is the authorization that is in the way of a new one.
	ExistingURL string
	// RetryAfter is how long the server wants to be left alone; 0 if it did
	// not say.
	RetryAfter time.Duration

	op string
}

// Error names the call, the status and what the server said.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client: %s: %d %s", e.op, e.StatusCode, e.Message)
	for i, f := range e.Errors {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(f.Field + " " + f.Code)
		if f.Message != "" {
			b.WriteString(" (" + f.Message + ")")
		}
	}
	if e.ExistingURL != "" {
		b.WriteString(", existing: " + e.ExistingURL)
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return oneLine(b.String())
}

// OTPRequiredError says that login and password are right and the server wants
// a one-time password: there is no Config.OTP to ask for one, or all that it
// gave were refused.
type OTPRequiredError struct {
	// Delivery is as in [Challenge].
	Delivery string
	// Refused is how many codes were refused.
	Refused int

	err *Error
}

// Error says which of the two it is.
func (e *OTPRequiredError) Error() string {
	if e.Refused > 0 {
		return fmt.Sprintf("client: %s: %d one-time passwords were refused", e.err.op, e.Refused)
	}
	return fmt.Sprintf("client: %s: a one-time password is required (%s), and Config.OTP is nil", e.err.op, e.Delivery)
}

// Unwrap returns the server's last answer, an [*Error].
func (e *OTPRequiredError) Unwrap() error { return e.err }

// NoTokenError says that the authorization exists already and that its token
// cannot be shown again: it was shown when it was made. There are three ways
// out:
//
//   - use the token that was kept at that time;
//   - ask again with [OnExistingRotate]: the authorization gets a new token, and
//     the old one is dead at once, wherever it is used;
//   - delete the authorization ([Client.Delete]) and ask again: the new one also
//     has the scopes and the note that were asked for.
//
// Or ask with another Fingerprint, for an authorization beside this one.
type NoTokenError struct {
	// Authorization is the existing one, its ID and URL included; Token is
	// zero.
	Authorization Authorization
	// NotApplied is as in [Result].
	NotApplied []string
}

// Error names the authorization and the ways out.
func (e *NoTokenError) Error() string {
	return fmt.Sprintf("client: authorization %d (%s) exists already, and its token is shown only when it is made: "+
		"use the token that was kept then, ask with OnExisting \"rotate\" for a new one (the old one dies), or delete authorization %[1]d and create it anew",
		e.Authorization.ID, oneLine(secrets(nil).clean(e.Authorization.URL)))
}

// newError makes an Error of an answer.
func newError(op string, a answer) *Error {
	s := a.hidden
	e := &Error{op: op, StatusCode: a.status, RetryAfter: retryAfter(a.header)}
	var body struct {
		Message          string       `json:"message"`
		Errors           []FieldError `json:"errors"`
		DocumentationURL string       `json:"documentation_url"`
		ExistingURL      string       `json:"existing_url"`
	}
	if json.Unmarshal(a.body, &body) != nil {
		body.Message, body.Errors = "", nil // a proxy's page, or half of an answer
	}
	e.Message = s.clean(body.Message)
	for _, f := range body.Errors {
		e.Errors = append(e.Errors, FieldError{s.clean(f.Resource), s.clean(f.Field), s.clean(f.Code), s.clean(f.Message)})
	}
	e.DocumentationURL = s.clean(body.DocumentationURL)
	e.ExistingURL = s.clean(body.ExistingURL)
	e.RequestID = s.clean(a.header.Get("X-Request-Id"))
	if e.ExistingURL == "" && a.status == http.StatusConflict {
		e.ExistingURL = s.clean(a.header.Get("Location"))
	}
	switch {
	case a.status >= 300 && a.status < 400:
		e.Message = "redirects are not followed"
		if u, err := url.Parse(a.header.Get("Location")); err == nil && u.Host != "" {
			e.Message += s.clean("; this one leads to " + u.Scheme + "://" + u.Host)
		}
	case e.Message == "":
		e.Message = http.StatusText(a.status)
	}
	return e
}

// notOurs is the error for a successful answer that this API does not give.
func notOurs(op string, a answer, why string) *Error {
	e := newError(op, a)
	e.Message, e.Errors = "the server's answer is not one of this API: "+why, nil
	return e
}

// retryAfter reads a Retry-After header in both of its forms.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, 1<<31)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date")) // the server's clock, not ours
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}

// secrets are what a request holds and no error may.
type secrets []string

const maxText = 1024

// clean makes a text of the server's fit to be shown.
func (s secrets) clean(text string) string {
	text = s.hide(text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' { // "Invalid request.\n\n…" is one of the server's
			return ' '
		}
		return r
	}, text)
}

// hide takes the secrets out of a text. Of two that begin at one place the longer
// goes: the shorter may be a piece of it.
func (s secrets) hide(text string) string {
	var pairs []string
	for _, secret := range slices.SortedFunc(slices.Values(s), func(a, b string) int { return len(b) - len(a) }) {
		if secret == "" {
			continue
		}
		quoted := strconv.Quote(secret)
		pairs = append(pairs, secret, redacted, quoted[1:len(quoted)-1], redacted)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// err returns err, or, if its text holds a secret, one that does not.
func (s secrets) err(err error) error {
	if text := err.Error(); s.hide(text) != text {
		return errors.New(oneLine(s.clean(text)))
	}
	return err
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
