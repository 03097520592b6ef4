package client_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/client"
)

const (
	hiddenPassword = `pass"wörd-hidden`
	hiddenSecret   = "secret-hidden-secret-hidden-secret-hidde"
	hiddenToken    = "azt_hiddenhiddenhiddenhidden"
	hiddenCode     = "hidden-424242"
)

// leaks returns what of the secrets is in a text.
func leaks(text string) (found []string) {
	for _, s := range []string{"hidden", hiddenCode, base64.StdEncoding.EncodeToString([]byte("mona:" + hiddenPassword))} {
		if strings.Contains(text, s) {
			found = append(found, s)
		}
	}
	return found
}

// shown is every way in which programs print a value.
func shown(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
		fmt.Fprintf(&b, verb+"\n", struct{ inner any }{v})
	}
	j, _ := json.Marshal(v)
	b.Write(j)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	return b.String()
}

func TestSecretsAreNotShown(t *testing.T) {
	cfg := client.Config{BaseURL: "https://api.example.com", ClientID: "abc", ClientSecret: client.NewSecret(hiddenSecret)}
	a := client.Authorization{Token: client.NewSecret(hiddenToken)}
	for _, v := range []any{
		client.NewSecret(hiddenToken), cfg, &cfg, must(client.New(cfg)), *must(client.New(cfg)),
		client.Credentials{Login: "mona", Password: client.NewSecret(hiddenPassword)},
		a, &a, client.Result{Authorization: a}, &client.NoTokenError{Authorization: a}, []client.Authorization{a},
		struct {
			inner struct{ a client.Authorization }
		}{struct{ a client.Authorization }{a}},
	} {
		if found := leaks(shown(v)); found != nil {
			t.Errorf("%T shows %q:\n%s", v, found, shown(v))
		}
	}
	if got := client.NewSecret(hiddenToken).Reveal(); got != hiddenToken {
		t.Errorf("Reveal: got %q", got)
	}
	if got := fmt.Sprintf("%v|%s|%v", client.NewSecret("x"), client.Secret{}, client.NewSecret("").IsZero()); got != "[redacted]||true" {
		t.Errorf("got %q", got)
	}
}

// echo is what a careless server or proxy says: all that it was sent.
func echo(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	dump, _ := httputil.DumpRequest(r, false)
	login, password, _ := r.BasicAuth()
	var fields map[string]any
	_ = json.Unmarshal(body, &fields)
	return fmt.Sprintf("%s\n%s\n%s:%s\n%v %q %q", dump, body, login, password, fields, password, r.Header.Get("Idempotency-Key"))
}

// No error shows a secret, whatever a server or a transport repeats.
func TestErrorsHoldNoSecrets(t *testing.T) {
	var mode atomic.Value
	mode.Store("")
	var key atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key.Store(r.Header.Get("Idempotency-Key"))
		if _, _, ok := r.BasicAuth(); ok && r.Header.Get("X-GitHub-OTP") == "" && !strings.Contains(r.URL.Path, "/abc/") {
			w.Header().Set("X-GitHub-OTP", "required; app")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		text := echo(r)
		flat := strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
		body, _ := json.Marshal(map[string]any{
			"message": text, "documentation_url": text, "existing_url": text,
			"errors": []any{map[string]string{"resource": text, "field": text, "code": text, "message": text}},
		})
		w.Header().Set("X-Request-Id", flat)
		switch mode.Load() {
		case "redirect":
			w.Header().Set("Location", "https://"+r.Header.Get("X-GitHub-OTP")+".example/?"+url.QueryEscape(flat))
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "422":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write(body)
		case "409":
			w.Header().Set("Location", flat)
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte("{}"))
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(body)
		case "401":
			w.Header().Set("X-GitHub-OTP", "required; app")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write(body)
		case "200":
			_, _ = w.Write(body)
		case "status line":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = conn.Write([]byte(flat + "\r\n\r\n"))
			_ = conn.Close()
		case "status code":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, password, _ := r.BasicAuth()
			_, _ = conn.Write([]byte("HTTP/1.1 " + password + " x\r\n\r\n"))
			_ = conn.Close()
		}
	}))
	defer server.Close()

	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		if mode.Load() != "transport" || r.Body == nil {
			return http.DefaultTransport.RoundTrip(r)
		}
		text := echo(r)
		return nil, &net.OpError{Op: "write", Net: text, Err: errors.New(text)}
	})
	c := must(client.New(client.Config{
		BaseURL: server.URL, ClientID: "abc", ClientSecret: client.NewSecret(hiddenSecret),
		HTTPClient: &http.Client{Transport: transport}, Retry: client.Retry{Attempts: 2, Wait: time.Millisecond},
		OTP: func(context.Context, client.Challenge) (string, error) { return hiddenCode, nil },
	}))
	user := client.Credentials{Login: "mona", Password: client.NewSecret(hiddenPassword)}
	note := "n"
	for _, m := range []string{"redirect", "422", "409", "500", "401", "200", "status line", "status code", "transport"} {
		for name, do := range map[string]func() error{
			"GetOrCreate": func() error { _, err := c.GetOrCreate(t.Context(), user, client.Request{}); return err },
			"Create":      func() error { _, err := c.Create(t.Context(), user, client.Request{}); return err },
			"Get":         func() error { _, err := c.Get(t.Context(), user, 1); return err },
			"Update":      func() error { _, err := c.Update(t.Context(), user, 1, client.Update{Note: &note}); return err },
			"List": func() error {
				for _, err := range c.List(t.Context(), user, "") {
					return err
				}
				return nil
			},
			"Check": func() error { _, err := c.Check(t.Context(), hiddenToken); return err },
			"Reset": func() error { _, err := c.Reset(t.Context(), hiddenToken); return err },
		} {
			mode.Store(m)
			err := do()
			if err == nil {
				if m == "transport" && (name == "Get" || name == "List") {
					continue // no body: not this fault
				}
				t.Errorf("%s, %s: no error", m, name)
				continue
			}
			for _, e := range tree(err) {
				text := shown(e)
				if found := leaks(text); found != nil {
					t.Errorf("%s, %s: %T shows %q:\n%s", m, name, e, found, text)
				}
				if k := key.Load().(string); k != "" && strings.Contains(text, k) {
					t.Errorf("%s, %s: %T shows the Idempotency-Key:\n%s", m, name, e, text)
				}
				if strings.ContainsAny(err.Error(), "\r\n\x1b") {
					t.Errorf("%s, %s: %T has control characters: %q", m, name, e, err.Error())
				}
			}
		}
	}
}

// tree is err with all that it wraps.
func tree(err error) []error {
	all := []error{err}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			all = append(all, tree(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, tree(inner)...)
		}
	}
	return all
}

// A server's words cannot drive the user's terminal, nor fill it.
func TestErrorText(t *testing.T) {
	w := newWorld(t)
	w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
		rw.WriteHeader(http.StatusTeapot)
		_, _ = rw.Write([]byte(`{"message":"\u001b[2Ja\r\nb\u009b\u202e` + strings.Repeat("ü", 1<<20) + `"}`))
		return true
	})
	_, err := w.client().Get(t.Context(), mona, 1)
	if text := err.Error(); strings.ContainsAny(text, "\x1b\r\n\u009b\u202e") || len(text) > 2000 {
		t.Errorf("got %d bytes: %.200q", len(text), text)
	}
}

// A redirect leads nowhere: not with the password, not with the code, and not
// with the client_secret in the body.
func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var stolen atomic.Int32
		thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stolen.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write([]byte(`{"id":1,"token":"t"}`))
		}))
		w := newWorld(t)
		for _, target := range []string{thief.URL, strings.Replace(thief.URL, "127.0.0.1", "localhost", 1), "/elsewhere"} {
			w.fault(func(rw http.ResponseWriter, r *http.Request, n int) bool {
				if r.Header.Get("X-GitHub-OTP") == "" {
					return false
				}
				rw.Header().Set("Location", target)
				rw.WriteHeader(status)
				return true
			})
			var challenges []client.Challenge
			c := w.client(w.asksForCodes(&challenges), func(cfg *client.Config) {
				cfg.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
			})
			_, err := c.GetOrCreate(t.Context(), hubot, client.Request{})
			if e := wantError(t, err, status); e != nil && !strings.Contains(e.Message, "redirect") {
				t.Errorf("got %v", err)
			}
			if target != "/elsewhere" && !strings.Contains(err.Error(), target) {
				t.Errorf("the error does not say where to: %v", err)
			}
			if len(w.seen()) != 2 {
				t.Errorf("got %d requests, want 2", len(w.seen()))
			}
		}
		if n := stolen.Load(); n != 0 {
			t.Errorf("%d: another host got %d requests", status, n)
		}
		thief.Close()
	}
}

// A page's Link to another host is not followed to there.
func TestLinkElsewhere(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	w := newWorld(t)
	var queries bytes.Buffer
	w.fault(func(rw http.ResponseWriter, r *http.Request, n int) bool {
		fmt.Fprintln(&queries, r.URL.Path, r.URL.RawQuery)
		if n == 1 {
			rw.Header().Set("Link", "<"+thief.URL+"/authorizations?page=2&per_page=100>; rel=\"next\"")
		}
		_, _ = rw.Write([]byte(`[{"id":1}]`))
		return true
	})
	n := 0
	for _, err := range w.client().List(t.Context(), mona, w.app.ClientID) {
		check(t, err)
		n++
	}
	want := "/api/v3/authorizations client_id=" + w.app.ClientID + "&per_page=100\n/api/v3/authorizations page=2&per_page=100\n"
	if n != 2 || stolen.Load() != 0 || queries.String() != want {
		t.Errorf("got %d of 2, %d requests elsewhere, queries:\n%s", n, stolen.Load(), &queries)
	}
}
