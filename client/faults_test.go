package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/client"
)

// The connection dies after the server has committed and before its answer has
// arrived, or in the middle of it. The repetition gets the token.
func TestLostAnswer(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		for i, keep := range []int{0, 12, 500} {
			fingerprint := fmt.Sprint(i)
			for _, test := range []struct {
				name string
				do   func(t *testing.T, c *client.Client) (client.Authorization, error)
			}{
				{"GetOrCreate", func(t *testing.T, c *client.Client) (client.Authorization, error) {
					r, err := c.GetOrCreate(t.Context(), mona, client.Request{Fingerprint: fingerprint})
					if err == nil && !r.Created {
						t.Error("not Created")
					}
					return r.Authorization, err
				}},
				{"rotate", func(t *testing.T, c *client.Client) (client.Authorization, error) {
					r, err := c.GetOrCreate(t.Context(), mona, client.Request{Fingerprint: fingerprint, OnExisting: client.OnExistingRotate})
					return r.Authorization, err
				}},
				{"Create", func(t *testing.T, c *client.Client) (client.Authorization, error) {
					return c.Create(t.Context(), mona, client.Request{Fingerprint: "create" + fingerprint})
				}},
			} {
				t.Run(fmt.Sprintf("%s after %d bytes", test.name, keep), func(t *testing.T) {
					before := authorizations(t, w)
					w.fault(nil)
					w.line.cut(2, keep)
					a, err := test.do(t, w.client())
					check(t, err)
					if w.line.made() != 2 || len(w.seen()) != 3 {
						t.Errorf("got %d cuts and %d requests, want 2 and 3", w.line.made(), len(w.seen()))
					}
					if !w.lives(a.Token.Reveal()) {
						t.Error("the token is dead")
					}
					for _, r := range w.seen() {
						if r.key == "" || r.key != w.seen()[0].key {
							t.Errorf("another Idempotency-Key: %+v", w.seen())
						}
					}
					want := before + 1
					if test.name == "rotate" {
						want = before
					}
					if got := authorizations(t, w); got != want {
						t.Errorf("got %d authorizations, want %d", got, want)
					}
				})
			}
		}
	})
}

func authorizations(t *testing.T, w *world) int {
	t.Helper()
	page, err := w.manager.List(context.Background(), "1", authz.ListOptions{})
	check(t, err)
	return len(page)
}

// The code was used up by the request whose answer was lost: the hook is asked
// for another one, the key stays the same, and nothing counts as refused.
func TestLostAnswerWithOTP(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		var challenges []client.Challenge
		w.line.cut(3, 0) // as many as codes may be refused
		result, err := w.client(w.asksForCodes(&challenges)).GetOrCreate(t.Context(), hubot, client.Request{})
		check(t, err)
		if !w.lives(result.Token.Reveal()) || !result.Created {
			t.Errorf("got Created %v, a live token: %v", result.Created, w.lives(result.Token.Reveal()))
		}
		want := []client.Challenge{{"hubot", "app", 1, false}, {"hubot", "app", 2, true}, {"hubot", "app", 3, true}, {"hubot", "app", 4, true}}
		if !slices.Equal(challenges, want) {
			t.Errorf("got %+v, want %+v", challenges, want)
		}
		var statuses []int
		for _, r := range w.seen() {
			statuses = append(statuses, r.status)
			if r.key != w.seen()[0].key {
				t.Errorf("another Idempotency-Key: %+v", w.seen())
			}
		}
		if want := []int{401, 201, 401, 201, 401, 201, 401, 201}; !slices.Equal(statuses, want) {
			t.Errorf("got %v, want %v", statuses, want)
		}
	})
}

func TestLostAnswerOfOthers(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		made := func(t *testing.T) client.Authorization {
			t.Helper()
			r, err := c.GetOrCreate(t.Context(), mona, client.Request{OnExisting: client.OnExistingRotate})
			check(t, err)
			return r.Authorization
		}
		note := "changed"
		for _, test := range []struct {
			name string
			do   func(t *testing.T, a client.Authorization) error
			dead bool // the token, afterwards
		}{
			{"Get", func(t *testing.T, a client.Authorization) error { _, err := c.Get(t.Context(), mona, a.ID); return err }, false},
			{"Check", func(t *testing.T, a client.Authorization) error {
				_, err := c.Check(t.Context(), a.Token.Reveal())
				return err
			}, false},
			{"Update", func(t *testing.T, a client.Authorization) error {
				got, err := c.Update(t.Context(), mona, a.ID, client.Update{Note: &note, AddScopes: []string{"x"}})
				if got.Note != note || !slices.Equal(got.Scopes, []string{"x"}) {
					t.Errorf("got %+v", got)
				}
				return err
			}, false},
			{"Reset", func(t *testing.T, a client.Authorization) error {
				got, err := c.Reset(t.Context(), a.Token.Reveal())
				if err == nil && !w.lives(got.Token.Reveal()) {
					t.Error("the new token is dead")
				}
				return err
			}, true},
			{"Delete", func(t *testing.T, a client.Authorization) error { return c.Delete(t.Context(), mona, a.ID) }, true},
			{"DeleteGrant", func(t *testing.T, _ client.Authorization) error {
				for g, err := range c.Grants(t.Context(), mona, "") { // its one page is cut first
					check(t, err)
					w.line.cut(1, 0)
					return c.DeleteGrant(t.Context(), mona, g.ID)
				}
				return errors.New("no grant")
			}, true},
			{"Revoke", func(t *testing.T, a client.Authorization) error { return c.Revoke(t.Context(), a.Token.Reveal()) }, true},
			{"RevokeGrant", func(t *testing.T, a client.Authorization) error {
				// That the token is gone does not say that the others are: it may have died otherwise.
				err := c.RevokeGrant(t.Context(), a.Token.Reveal())
				if e := new(client.Error); !errors.As(err, &e) || e.StatusCode != 404 {
					return fmt.Errorf("RevokeGrant = %w, want 404", err)
				}
				return nil
			}, true},
		} {
			t.Run(test.name, func(t *testing.T) {
				a := made(t)
				w.line.cut(1, 0)
				check(t, test.do(t, a))
				if w.line.made() != 1 {
					t.Errorf("got %d cuts, want 1", w.line.made())
				}
				if w.lives(a.Token.Reveal()) == test.dead {
					t.Errorf("the token is dead: %v, want %v", !test.dead, test.dead)
				}
			})
		}
	})
}

// A 404 counts as done only if an earlier attempt may have done it.
func TestDeleteNeverSent(t *testing.T) {
	w := newWorld(t)
	n := 0
	c := w.client(func(cfg *client.Config) {
		cfg.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	wantError(t, c.Delete(t.Context(), mona, 77), http.StatusNotFound)
	if n != 2 {
		t.Errorf("got %d requests, want 2", n)
	}
}

// The server is away for a while.
func TestUnavailable(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} {
		w := newWorld(t)
		w.fault(func(rw http.ResponseWriter, _ *http.Request, n int) bool {
			if n < 4 {
				http.Error(rw, "<html>a proxy's page</html>", status)
			}
			return n < 4
		})
		r, err := w.client().GetOrCreate(t.Context(), mona, client.Request{})
		if err != nil || !w.lives(r.Token.Reveal()) || len(w.seen()) != 4 {
			t.Errorf("%d: got %v after %d requests", status, err, len(w.seen()))
		}

		w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
			http.Error(rw, "<html>a proxy's page</html>", status)
			return true
		})
		_, err = w.client().GetOrCreate(t.Context(), mona, client.Request{})
		if e := wantError(t, err, status); e != nil && (e.Message != http.StatusText(status) || len(w.seen()) != 4) {
			t.Errorf("%d: got %+v after %d requests", status, e, len(w.seen()))
		}
		w.fault(w.answer)
		_, err = w.client(func(cfg *client.Config) { cfg.Retry.Attempts = 1 }).GetOrCreate(t.Context(), mona, client.Request{})
		if wantError(t, err, status); len(w.seen()) != 1 {
			t.Errorf("%d: got %d requests, want 1", status, len(w.seen()))
		}
	}
}

func TestNotRepeated(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 501, 505, 302, 304} {
		w := newWorld(t)
		w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(status)
			return true
		})
		_, err := w.client().GetOrCreate(t.Context(), mona, client.Request{})
		if wantError(t, err, status); len(w.seen()) != 1 {
			t.Errorf("%d: got %d requests, want 1", status, len(w.seen()))
		}
	}
}

// A code that a failing server may have used up is not a wrong one.
func TestUnavailableWithOTP(t *testing.T) {
	w := newWorld(t)
	w.fault(func(rw http.ResponseWriter, r *http.Request, n int) bool {
		if n == 2 { // the code is used up, then the store is away
			_, err := w.users.Authenticate(r.Context(), authz.Credentials{
				Login: "hubot", Password: authz.NewSecret(password), OTP: authz.NewSecret(r.Header.Get("X-GitHub-OTP")), Method: r.Method,
			})
			if err != nil {
				t.Error(err)
			}
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 2
	})
	var challenges []client.Challenge
	_, err := w.client(w.asksForCodes(&challenges)).GetOrCreate(t.Context(), hubot, client.Request{})
	check(t, err)
	if len(challenges) != 2 || !challenges[1].Lost {
		t.Errorf("got %+v", challenges)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		time.AfterFunc(50*time.Millisecond, cancel)
		return true
	})
	c := w.client(func(cfg *client.Config) { cfg.Retry = client.Retry{Wait: time.Hour, MaxWait: time.Hour} })
	start := time.Now()
	_, err := c.GetOrCreate(ctx, mona, client.Request{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	wantError(t, err, http.StatusServiceUnavailable) // why it was waiting
	if took := time.Since(start); took > 10*time.Second || len(w.seen()) != 1 {
		t.Errorf("took %v and %d requests", took, len(w.seen()))
	}

	// A request under way.
	ctx, cancel = context.WithCancel(t.Context())
	w.fault(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client goes
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err = w.client().GetOrCreate(ctx, mona, client.Request{}); !errors.Is(err, context.Canceled) || len(w.seen()) != 1 {
		t.Errorf("got %v after %d requests, want context.Canceled after 1", err, len(w.seen()))
	}

	// No time left to wait: the server's error, at once.
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	start = time.Now()
	_, err = c.GetOrCreate(ctx, mona, client.Request{})
	wantError(t, err, http.StatusServiceUnavailable)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// The times between attempts, on a clock that costs nothing.
func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		name       string
		retry      client.Retry
		retryAfter string
		want       [][2]time.Duration // least and most
	}{
		{"default", client.Retry{}, "", [][2]time.Duration{{125e6, 250e6}, {250e6, 500e6}, {500e6, 1e9}}},
		{"bounded", client.Retry{Attempts: 6, Wait: time.Second, MaxWait: 3 * time.Second}, "", [][2]time.Duration{{5e8, 1e9}, {1e9, 2e9}, {15e8, 3e9}, {15e8, 3e9}, {15e8, 3e9}}},
		{"huge", client.Retry{Attempts: 80, Wait: 1, MaxWait: 1}, "", slices.Repeat([][2]time.Duration{{0, 1}}, 79)},
		{"Retry-After", client.Retry{}, "7", slices.Repeat([][2]time.Duration{{7e9, 7250e6}}, 3)},
		{"Retry-After, a date", client.Retry{}, "Sun, 06 Nov 1994 08:49:40 GMT", slices.Repeat([][2]time.Duration{{3e9, 3250e6}}, 3)},
		{"Retry-After, past", client.Retry{Attempts: 2}, "Sun, 06 Nov 1994 08:49:30 GMT", [][2]time.Duration{{125e6, 250e6}}},
		{"Retry-After, too long", client.Retry{}, "11", nil},
		{"Retry-After, for ever", client.Retry{}, "18446744073709551615", nil},
		{"Retry-After, nonsense", client.Retry{Attempts: 2}, "soon", [][2]time.Duration{{125e6, 250e6}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				c := must(client.New(client.Config{BaseURL: "https://api.example.com", ClientID: "abc", ClientSecret: client.NewSecret("s"), Retry: test.retry,
					HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
						at = append(at, time.Now())
						return reply(503, "", "Retry-After", test.retryAfter, "Date", "Sun, 06 Nov 1994 08:49:37 GMT"), nil
					})}}))
				_, err := c.GetOrCreate(t.Context(), mona, client.Request{})
				e := wantError(t, err, 503)
				if len(at) != len(test.want)+1 {
					t.Fatalf("got %d attempts, want %d", len(at), len(test.want)+1)
				}
				for i, want := range test.want {
					if got := at[i+1].Sub(at[i]); got < want[0] || got > want[1] {
						t.Errorf("wait %d: got %v, want %v", i+1, got, want)
					}
				}
				if test.want == nil && e != nil && e.RetryAfter < 11*time.Second {
					t.Errorf("RetryAfter: got %v", e.RetryAfter)
				}
			})
		})
	}
}

// Nothing listens there; a certificate that nobody knows.
func TestConnectionErrors(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	_ = l.Close()
	c := must(client.New(client.Config{BaseURL: "http://" + l.Addr().String(), Retry: client.Retry{Attempts: 2, Wait: time.Millisecond}}))
	_, err := c.Get(t.Context(), mona, 1)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("got %v, want a *net.OpError", err)
	}
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		t.Errorf("got a *url.Error: %v", err)
	}

	var hits atomic.Int32
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			hits.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	c = must(client.New(client.Config{BaseURL: server.URL, Retry: client.Retry{Wait: time.Millisecond}}))
	if _, err = c.Get(t.Context(), mona, 1); err == nil || !strings.Contains(err.Error(), "certificate") || hits.Load() != 1 {
		t.Errorf("got %v after %d connections, want an error of the certificate after 1", err, hits.Load())
	}
}

// A server that hangs is given up by the HTTP client's timeout, and asked again.
func TestHungServer(t *testing.T) {
	w := newWorld(t)
	w.fault(func(_ http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}
		return n == 1
	})
	c := w.client(func(cfg *client.Config) { cfg.HTTPClient = &http.Client{Timeout: 2 * time.Second} })
	_, err := c.GetOrCreate(t.Context(), mona, client.Request{})
	if err != nil || len(w.seen()) != 2 {
		t.Errorf("got %v after %d requests", err, len(w.seen()))
	}
}

// Answers that are not of this API are errors, and not repeated.
func TestStrangeAnswers(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "<html>Please log in to this wireless network</html>", "{}", "[]", "null", `{"id":"x"}`, `{"id":1,"token":"t"`} {
		for name, do := range map[string]func(c *client.Client) error{
			"GetOrCreate": func(c *client.Client) error { _, err := c.GetOrCreate(t.Context(), mona, client.Request{}); return err },
			"Create":      func(c *client.Client) error { _, err := c.Create(t.Context(), mona, client.Request{}); return err },
			"Get":         func(c *client.Client) error { _, err := c.Get(t.Context(), mona, 1); return err },
			"Grant":       func(c *client.Client) error { _, err := c.Grant(t.Context(), mona, 1); return err },
			"Check":       func(c *client.Client) error { _, err := c.Check(t.Context(), "t"); return err },
		} {
			w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
				_, _ = rw.Write([]byte(body))
				return true
			})
			err := do(w.client())
			if wantError(t, err, 200); len(w.seen()) != 1 {
				t.Errorf("%s, %q: got %d requests, want 1", name, body, len(w.seen()))
			}
		}
	}
	w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
		_, _ = rw.Write([]byte(`{"id":1}`))
		return true
	})
	_, err := w.client().Create(t.Context(), mona, client.Request{})
	wantError(t, err, 200)
	_, err = w.client().Reset(t.Context(), "t")
	wantError(t, err, 200)
	for _, err := range w.client().List(t.Context(), mona, "") {
		wantError(t, err, 200)
	}
}

// A body without end is cut off.
func TestHugeAnswer(t *testing.T) {
	w := newWorld(t)
	var sent atomic.Int64
	w.fault(func(rw http.ResponseWriter, r *http.Request, _ int) bool {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for sent.Load() < 1<<30 {
			n, err := rw.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				break
			}
		}
		return true
	})
	_, err := w.client().GetOrCreate(t.Context(), mona, client.Request{})
	if err == nil || !strings.Contains(err.Error(), "larger than") || sent.Load() > 64<<20 {
		t.Errorf("got %v after %d bytes", err, sent.Load())
	}
}

// Pages that lead to themselves end.
func TestCircularPages(t *testing.T) {
	w := newWorld(t)
	w.fault(func(rw http.ResponseWriter, r *http.Request, n int) bool {
		rw.Header().Add("Link", `<https://elsewhere.example/?page=1>; rel="prev", <https://elsewhere.example/?q=a,b&page=2>; title="a"; REL="next"`)
		_, _ = rw.Write([]byte(`[{"id":` + fmt.Sprint(n) + `}]`))
		return true
	})
	n := 0
	for _, err := range w.client().List(t.Context(), mona, "") {
		check(t, err)
		n++
	}
	if n != 2 {
		t.Errorf("got %d, want 2", n)
	}
}

// answering is a client of a server that answers as told, request by request; the
// last answer is that to all others.
func answering(t *testing.T, answers ...func(w http.ResponseWriter)) *client.Client {
	t.Helper()
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answers[min(int(n.Add(1)), len(answers))-1](w)
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{BaseURL: srv.URL, ClientID: "abc", ClientSecret: client.NewSecret("s3cr3t-s3cr3t"), Retry: client.Retry{Wait: time.Millisecond}})
	check(t, err)
	return c
}

func page(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Nothing counts as revoked that the server did not say so of.
func TestRevocationThatDidNotHappen(t *testing.T) {
	ctx, notFound := t.Context(), page(404, `{"message":"Not Found"}`)
	if err := answering(t, page(503, "{}"), notFound).RevokeGrant(ctx, "azt_x"); err == nil {
		t.Error("RevokeGrant: 503, then 404: no error, though the token may have died otherwise")
	}
	if err := answering(t, page(502, ""), notFound).Revoke(ctx, "azt_x"); err != nil {
		t.Errorf("Revoke: 502, then the server's 404: %v", err)
	}
	if err := answering(t, page(502, ""), page(404, "default backend - 404")).Revoke(ctx, "azt_x"); err == nil {
		t.Error("Revoke: 502, then a proxy's 404: no error")
	}
	for _, status := range []int{200, 202} {
		c := answering(t, page(status, "<html>"))
		if c.Revoke(ctx, "azt_x") == nil || c.Delete(ctx, mona, 7) == nil || c.DeleteGrant(ctx, mona, 7) == nil {
			t.Errorf("a web page with status %d: no error", status)
		}
	}
}

// A short secret may be a piece of a longer one, and must not leave the rest of it.
func TestErrorsHidePiecesOfSecrets(t *testing.T) {
	c := answering(t, page(422, `{"message":"you sent s3cr3t-s3cr3t and 3"}`))
	_, err := c.GetOrCreate(t.Context(), client.Credentials{Login: "mona", Password: client.NewSecret("3")}, client.Request{})
	if want := "client: get or create: 422 you sent [redacted] and [redacted]"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// The transport repeats a request of its own, and cannot dial any more: the code has
// reached the server all the same, and is lost, not refused.
func TestCodeLostByTheTransport(t *testing.T) {
	var n, dials atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case n.Add(1) == 2: // the code is used up, and the connection breaks
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
		case r.Header.Get("X-GitHub-OTP") == "222222":
			page(201, `{"id":1,"token":"t"}`)(w)
		default:
			w.Header().Set("X-GitHub-OTP", "required; app")
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(srv.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 2 {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	var lost []bool
	c, err := client.New(client.Config{
		BaseURL: srv.URL, ClientID: "abc", ClientSecret: client.NewSecret("secret"), HTTPClient: &http.Client{Transport: transport}, Retry: client.Retry{Wait: time.Millisecond},
		OTP: func(_ context.Context, ch client.Challenge) (string, error) {
			lost = append(lost, ch.Lost)
			return strings.Repeat(strconv.Itoa(ch.Attempt), 6), nil
		},
	})
	check(t, err)
	if _, err := c.GetOrCreate(t.Context(), mona, client.Request{}); err != nil || !slices.Equal(lost, []bool{false, true}) {
		t.Errorf("err %v, Challenge.Lost %v, want false and then true", err, lost)
	}
}
