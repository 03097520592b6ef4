package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	maxAnswer  = 8 << 20 // bytes of a body: far more than 100 authorizations
	maxRefused = 3       // one-time passwords
	otpHeader  = "X-GitHub-OTP"
)

// call says what a call of the API asks for.
type call struct {
	op     string // for errors
	method string
	path   string // escaped
	query  url.Values
	body   any          // nil: none
	token  string       // in the body, and to be kept out of errors
	keyed  bool         // send an Idempotency-Key
	gone   bool         // a 404 after an attempt of unknown outcome is success
	user   *Credentials // nil: the app itself
}

// answer is a whole answer, and what must not be shown of it.
type answer struct {
	status int
	header http.Header
	body   []byte
	hidden secrets
}

// do makes a call, however many requests it takes, and returns its successful
// answer.
func (c *Client) do(ctx context.Context, q call) (answer, error) {
	x, err := c.newExchange(q)
	if err != nil {
		return answer{}, fmt.Errorf("client: %s: %w", q.op, err)
	}
	for attempt := 1; ; {
		a, err := x.send(ctx)
		var e *Error
		switch {
		case err != nil && ctx.Err() != nil:
			return answer{}, fmt.Errorf("client: %s: %w", q.op, ctx.Err())
		case err != nil:
			err = fmt.Errorf("client: %s: %w", q.op, x.hidden.err(err))
		case a.status/100 == 2 && q.method == http.MethodDelete && a.status != http.StatusNoContent: // some other page
			return answer{}, notOurs(q.op, a, "a deletion is answered with 204")
		case a.status/100 == 2, a.notFound() && q.gone && x.unsure:
			return a, nil
		default:
			e = newError(q.op, a)
			err = e
			if delivery, ok := challenged(a); ok && q.user != nil {
				if err := x.ask(ctx, e, delivery); err != nil {
					return answer{}, err
				}
				continue
			}
		}
		if attempt == c.cfg.Retry.Attempts || !retryable(err) {
			return answer{}, err
		}
		if x.sent || !neverSent(err) {
			x.unsure, x.lost = true, true
		}
		wait, ok := c.wait(attempt, e)
		if deadline, has := ctx.Deadline(); !ok || has && time.Until(deadline) < wait {
			return answer{}, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return answer{}, fmt.Errorf("client: %s: %w, after: %w", q.op, ctx.Err(), err)
		}
		attempt++
	}
}

// exchange is a call under way: what all of its requests have in common, and
// what is known after those that were sent.
type exchange struct {
	c      *Client
	call   call
	login  string
	header http.Header
	body   []byte
	hidden secrets

	asked, refused int  // one-time passwords
	sent           bool // the last attempt has left, whatever its error says
	unsure         bool // an attempt may have done the work
	lost           bool // an attempt may have used up the one-time password
}

func (c *Client) newExchange(q call) (*exchange, error) {
	login, password := c.cfg.ClientID, c.cfg.ClientSecret.Reveal()
	if q.user != nil {
		login, password = q.user.Login, q.user.Password.Reveal()
		if login == "" || strings.Contains(login, ":") {
			return nil, errors.New("Credentials.Login must not be empty or hold a colon")
		}
	}
	basic := base64.StdEncoding.EncodeToString([]byte(login + ":" + password))
	x := &exchange{c: c, call: q, login: login, header: http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Basic " + basic},
		"User-Agent":    {c.cfg.UserAgent},
	}}
	if q.body != nil {
		body, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		x.body = body
		x.header.Set("Content-Type", "application/json")
	}
	x.hidden = secrets{basic, password, c.cfg.ClientSecret.Reveal(), q.token}
	if q.keyed {
		key := uuid.NewString()
		x.header.Set("Idempotency-Key", key) // who has it can have the token
		x.hidden = append(x.hidden, key)
	}
	return x, nil
}

// ask gets the next one-time password, after the server has wanted one in e.
func (x *exchange) ask(ctx context.Context, e *Error, delivery string) error {
	hadCode := x.header.Get(otpHeader) != ""
	if hadCode && !x.lost {
		x.refused++
	}
	delivery = x.hidden.clean(delivery)
	if x.c.cfg.OTP == nil || x.refused == maxRefused {
		return &OTPRequiredError{Delivery: delivery, Refused: x.refused, err: e}
	}
	x.asked++
	code, err := x.c.cfg.OTP(ctx, Challenge{Login: x.login, Delivery: delivery, Attempt: x.asked, Lost: hadCode && x.lost})
	if err != nil {
		return fmt.Errorf("client: %s: one-time password: %w", x.call.op, err)
	}
	code = strings.Join(strings.Fields(code), "")
	if code == "" {
		return fmt.Errorf("client: %s: Config.OTP returned no one-time password", x.call.op)
	}
	x.header.Set(otpHeader, code)
	x.hidden = append(x.hidden, code)
	x.lost = false
	return nil
}

// send makes one request and reads its whole answer.
func (x *exchange) send(ctx context.Context) (answer, error) {
	target := x.c.base + x.call.path
	if len(x.call.query) > 0 {
		target += "?" + x.call.query.Encode()
	}
	var body io.Reader
	if x.body != nil {
		body = bytes.NewReader(x.body)
	}
	// http.Transport repeats some requests by itself when a kept connection
	// turns out to be broken, those with an Idempotency-Key among them.
	var written atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Add(1) }})
	defer func() {
		x.sent = written.Load() > 0
		if written.Load() > 1 {
			x.unsure, x.lost = true, true
		}
	}()
	req, err := http.NewRequestWithContext(ctx, x.call.method, target, body)
	if err != nil {
		return answer{}, permanent{err}
	}
	req.Header = x.header.Clone()
	resp, err := x.c.http.Do(req)
	if err != nil {
		var wrapped *url.Error // says nothing that the caller does not know
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(content) > maxAnswer {
		return answer{}, permanent{fmt.Errorf("the answer is larger than %d bytes", maxAnswer)}
	}
	return answer{resp.StatusCode, resp.Header, content, x.hidden}, nil
}

// notFound reports whether it is the server itself that knows no such record, and
// not a proxy on the way.
func (a answer) notFound() bool {
	var body struct {
		Message string `json:"message"`
	}
	return a.status == http.StatusNotFound && json.Unmarshal(a.body, &body) == nil && body.Message != ""
}

// challenged reports whether the server wants a one-time password.
func challenged(a answer) (delivery string, ok bool) {
	word, delivery, _ := strings.Cut(a.header.Get(otpHeader), ";")
	return strings.TrimSpace(delivery), a.status == http.StatusUnauthorized && strings.EqualFold(strings.TrimSpace(word), "required")
}

// permanent is an error that a repetition would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retryable reports whether it makes sense to send the request again.
func retryable(err error) bool {
	var (
		e           *Error
		p           permanent
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		dns         *net.DNSError
	)
	switch {
	case errors.As(err, &e):
		switch e.StatusCode {
		case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	case errors.As(err, &p), errors.As(err, &certificate), errors.As(err, &record):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}

// neverSent reports whether the server cannot have seen the request.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// wait is how long to wait after so many attempts, and false if that is too
// long.
func (c *Client) wait(attempts int, e *Error) (time.Duration, bool) {
	r := c.cfg.Retry
	wait := r.Wait
	for range attempts - 1 {
		if wait *= 2; wait <= 0 || wait > r.MaxWait {
			break
		}
	}
	if wait <= 0 || wait > r.MaxWait {
		wait = r.MaxWait
	}
	wait -= rand.N(wait/2 + 1)
	if e != nil && e.RetryAfter > 0 {
		if e.RetryAfter > r.MaxWait {
			return 0, false
		}
		// Not at the very same time as all others who were told so.
		wait = max(wait, e.RetryAfter+rand.N(r.Wait))
	}
	return wait, true
}
