package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/client"
)

func TestNew(t *testing.T) {
	secret := client.NewSecret("hunter2hunter2")
	for _, test := range []struct {
		cfg  client.Config
		want string // in the error; "" = none
	}{
		{client.Config{BaseURL: "https://api.example.com"}, ""},
		{client.Config{BaseURL: "https://api.example.com/api/v3/", ClientID: "abc", ClientSecret: secret}, ""},
		{client.Config{BaseURL: "http://127.0.0.1:8080"}, ""},
		{client.Config{BaseURL: "http://[::1]:8080"}, ""},
		{client.Config{BaseURL: "http://LocalHost"}, ""},
		{client.Config{BaseURL: "http://192.168.0.1", AllowInsecure: true}, ""},
		{client.Config{BaseURL: "http://192.168.0.1"}, "use https"},
		{client.Config{BaseURL: "http://localhost.example.com"}, "use https"},
		{client.Config{BaseURL: "http://127.0.0.1.example.com"}, "use https"},
		{client.Config{}, "must be an https URL"},
		{client.Config{BaseURL: "api.example.com"}, "must be an https URL"},
		{client.Config{BaseURL: "https://:443"}, "must be an https URL"},
		{client.Config{BaseURL: "ftp://api.example.com"}, "must be an https URL"},
		{client.Config{BaseURL: "https://mona:hunter2hunter2@api.example.com:x"}, "must be an https URL"},
		{client.Config{BaseURL: "https://mona:hunter2hunter2@api.example.com"}, "no login"},
		{client.Config{BaseURL: "https://api.example.com?token=hunter2hunter2"}, "no login"},
		{client.Config{BaseURL: "https://api.example.com", ClientID: "abc"}, "both"},
		{client.Config{BaseURL: "https://api.example.com", ClientSecret: secret}, "both"},
		{client.Config{BaseURL: "https://api.example.com", ClientID: "../x", ClientSecret: secret}, "letters and digits"},
		{client.Config{BaseURL: "https://api.example.com", Retry: client.Retry{Attempts: -1}}, "negative"},
	} {
		_, err := client.New(test.cfg)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("New(%+v): %v", test.cfg, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("New(%+v): got %v, want %q", test.cfg, err, test.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("New: %v", err)
		}
	}
}

func TestGetOrCreate(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		req := client.Request{Scopes: []string{"repo"}, Note: "laptop", NoteURL: "https://acme.example/help", Fingerprint: "ab/ü.."}
		first, err := c.GetOrCreate(t.Context(), mona, req)
		check(t, err)
		if !first.Created || !w.lives(first.Token.Reveal()) {
			t.Errorf("first: got Created %v, a live token: %v", first.Created, w.lives(first.Token.Reveal()))
		}
		if got, want := first.App, (client.App{URL: "https://acme.example", Name: "acme", ClientID: w.app.ClientID}); got != want {
			t.Errorf("App: got %+v, want %+v", got, want)
		}
		if !slices.Equal(first.Scopes, req.Scopes) || first.Note != req.Note || first.NoteURL != req.NoteURL || first.Fingerprint != req.Fingerprint {
			t.Errorf("got %+v for %+v", first, req)
		}
		if first.URL == "" || first.HashedToken == "" || !strings.HasSuffix(first.Token.Reveal(), first.TokenLastEight) || first.CreatedAt.IsZero() || first.UpdatedAt.IsZero() {
			t.Errorf("fields are empty: %+v", first)
		}

		req.Scopes, req.Note = []string{"repo", "user"}, "desktop"
		_, err = c.GetOrCreate(t.Context(), mona, req)
		var none *client.NoTokenError
		if !errors.As(err, &none) {
			t.Fatalf("second: got %v, want *NoTokenError", err)
		}
		if none.Authorization.ID != first.ID || none.Authorization.URL != first.URL || !none.Authorization.Token.IsZero() ||
			!slices.Equal(none.NotApplied, []string{"scopes", "note"}) {
			t.Errorf("second: got %+v", none)
		}
		for _, want := range []string{first.URL, "rotate", "delete", "create", fmt.Sprint(first.ID)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		}

		req.OnExisting = client.OnExistingRotate
		third, err := c.GetOrCreate(t.Context(), mona, req)
		check(t, err)
		if third.Created || third.ID != first.ID || !w.lives(third.Token.Reveal()) || w.lives(first.Token.Reveal()) || len(third.NotApplied) != 2 {
			t.Errorf("third: got %+v", third)
		}

		req.OnExisting = client.OnExistingError
		_, err = c.GetOrCreate(t.Context(), mona, req)
		if e := wantError(t, err, http.StatusConflict); e != nil && e.ExistingURL != first.URL {
			t.Errorf("ExistingURL: got %q, want %q", e.ExistingURL, first.URL)
		}
	})
}

// The server tells when a token was used last, once it knows.
func TestLastUsedAt(t *testing.T) {
	w := newWorld(t)
	check(t, w.manager.Start(t.Context()))
	c := w.client()
	made, err := c.GetOrCreate(t.Context(), mona, client.Request{})
	check(t, err)
	if !made.LastUsedAt.IsZero() {
		t.Errorf("a new one was used at %v", made.LastUsedAt)
	}
	before := time.Now().Truncate(time.Second)
	if !w.lives(made.Token.Reveal()) {
		t.Fatal("the token is dead")
	}
	check(t, w.manager.Close(t.Context()))
	got, err := c.Get(t.Context(), mona, made.ID)
	check(t, err)
	if got.LastUsedAt.Before(before) || got.LastUsedAt.After(time.Now()) {
		t.Errorf("used at %v, want after %v", got.LastUsedAt, before)
	}
}

// Every call has a key of its own.
func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	for range 2 {
		_, err := c.GetOrCreate(t.Context(), mona, client.Request{OnExisting: client.OnExistingRotate})
		check(t, err)
	}
	seen := w.seen()
	if len(seen) != 2 || len(seen[0].key) != 36 || len(seen[1].key) != 36 || seen[0].key == seen[1].key {
		t.Errorf("got %+v", seen)
	}
}

func TestOTP(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		_, err := w.client().GetOrCreate(t.Context(), hubot, client.Request{})
		var required *client.OTPRequiredError
		if !errors.As(err, &required) || required.Delivery != client.OTPApp || required.Refused != 0 {
			t.Fatalf("without a hook: got %v, want *OTPRequiredError", err)
		}
		wantError(t, err, http.StatusUnauthorized)

		var challenges []client.Challenge
		c := w.client(func(cfg *client.Config) {
			cfg.OTP = func(_ context.Context, ch client.Challenge) (string, error) {
				challenges = append(challenges, ch)
				if ch.Attempt < 3 {
					return "000000", nil
				}
				return w.code(), nil
			}
		})
		w.fault(nil)
		result, err := c.GetOrCreate(t.Context(), hubot, client.Request{})
		check(t, err)
		if !w.lives(result.Token.Reveal()) {
			t.Error("the token is dead")
		}
		want := []client.Challenge{{"hubot", "app", 1, false}, {"hubot", "app", 2, false}, {"hubot", "app", 3, false}}
		if !slices.Equal(challenges, want) {
			t.Errorf("got %+v, want %+v", challenges, want)
		}
		seen := w.seen()
		if len(seen) != 4 {
			t.Fatalf("got %d requests, want 4", len(seen))
		}
		for i, r := range seen {
			if r.key != seen[0].key || r.key == "" || (r.otp == "") != (i == 0) {
				t.Errorf("request %d: got %+v", i, r)
			}
		}
	})
}

func TestOTPRefused(t *testing.T) {
	w := newWorld(t)
	asked := 0
	c := w.client(func(cfg *client.Config) {
		cfg.OTP = func(context.Context, client.Challenge) (string, error) { asked++; return "000000", nil }
	})
	_, err := c.GetOrCreate(t.Context(), hubot, client.Request{})
	var required *client.OTPRequiredError
	if !errors.As(err, &required) || required.Refused != 3 || asked != 3 {
		t.Errorf("got %v after %d questions, want *OTPRequiredError after 3", err, asked)
	}

	broken := errors.New("no terminal")
	for _, hook := range []func(context.Context, client.Challenge) (string, error){
		func(context.Context, client.Challenge) (string, error) { return "", broken },
		func(context.Context, client.Challenge) (string, error) { return " \n", nil },
	} {
		w.fault(nil)
		c := w.client(func(cfg *client.Config) { cfg.OTP = hook })
		_, err = c.GetOrCreate(t.Context(), hubot, client.Request{})
		if err == nil || len(w.seen()) != 1 {
			t.Errorf("got %v after %d requests", err, len(w.seen()))
		}
	}
	if _, err := w.client(func(cfg *client.Config) {
		cfg.OTP = func(context.Context, client.Challenge) (string, error) { return "", broken }
	}).
		GetOrCreate(t.Context(), hubot, client.Request{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the hook's error", err)
	}
}

// What the server says of a bad request arrives, and nothing is repeated.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	for _, test := range []struct {
		name string
		do   func() error
		want client.Error
	}{
		{"password", func() error {
			_, err := c.GetOrCreate(t.Context(), client.Credentials{Login: "mona", Password: client.NewSecret("wrong")}, client.Request{})
			return err
		}, client.Error{StatusCode: 401, Message: "Bad credentials"}},
		{"app", func() error {
			c := w.client(func(cfg *client.Config) { cfg.ClientSecret = client.NewSecret(strings.Repeat("x", 40)) })
			_, err := c.GetOrCreate(t.Context(), mona, client.Request{})
			return err
		}, client.Error{StatusCode: 422, Message: "Invalid OAuth application client_id or secret."}},
		{"fields", func() error {
			_, err := c.GetOrCreate(t.Context(), mona, client.Request{NoteURL: "x", Scopes: []string{"a b"}})
			return err
		}, client.Error{StatusCode: 422, Message: "Validation Failed", Errors: []client.FieldError{
			{"OauthAccess", "scopes", "invalid", ""}, {"OauthAccess", "note_url", "invalid", ""},
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.fault(nil)
			err := test.do()
			e := wantError(t, err, test.want.StatusCode)
			if e == nil {
				return
			}
			for i := range e.Errors {
				if e.Errors[i].Message == "" {
					t.Errorf("no message in %+v", e.Errors[i])
				}
				e.Errors[i].Message = ""
			}
			if e.Message != test.want.Message || !slices.Equal(e.Errors, test.want.Errors) {
				t.Errorf("got %+v, want %+v", *e, test.want)
			}
			if e.RequestID == "" || !strings.Contains(err.Error(), e.RequestID) {
				t.Errorf("no request id: %v", err)
			}
			if n := len(w.seen()); n != 1 {
				t.Errorf("got %d requests, want 1", n)
			}
		})
	}
}

func TestLocked(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	for range 10 {
		_, _ = c.GetOrCreate(t.Context(), client.Credentials{Login: "mona", Password: client.NewSecret("wrong")}, client.Request{})
	}
	w.fault(nil)
	_, err := c.GetOrCreate(t.Context(), mona, client.Request{})
	if e := wantError(t, err, http.StatusForbidden); e != nil && e.RetryAfter == 0 {
		t.Errorf("no RetryAfter: %+v", e)
	}
	if n := len(w.seen()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

// What cannot be sent as it is is not sent.
func TestBadArguments(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	personal := w.client(func(cfg *client.Config) { cfg.ClientID, cfg.ClientSecret = "", client.Secret{} })
	bad := "\xff"
	for name, do := range map[string]func() error{
		"no app":         func() error { _, err := personal.GetOrCreate(t.Context(), mona, client.Request{}); return err },
		"no app, check":  func() error { _, err := personal.Check(t.Context(), "t"); return err },
		"no app, revoke": func() error { return personal.Revoke(t.Context(), "t") },
		"no login":       func() error { _, err := c.GetOrCreate(t.Context(), client.Credentials{}, client.Request{}); return err },
		"colon":          func() error { return c.Delete(t.Context(), client.Credentials{Login: "a:b"}, 1) },
		"fingerprint":    func() error { _, err := c.GetOrCreate(t.Context(), mona, client.Request{Fingerprint: bad}); return err },
		"scopes":         func() error { _, err := c.Create(t.Context(), mona, client.Request{Scopes: []string{bad}}); return err },
		"note":           func() error { _, err := c.Update(t.Context(), mona, 1, client.Update{Note: &bad}); return err },
		"add": func() error {
			_, err := c.Update(t.Context(), mona, 1, client.Update{AddScopes: []string{bad}})
			return err
		},
		"on existing": func() error {
			_, err := c.Create(t.Context(), mona, client.Request{OnExisting: client.OnExistingRotate})
			return err
		},
	} {
		if err := do(); err == nil || !strings.HasPrefix(err.Error(), "client: ") {
			t.Errorf("%s: got %v, want an error", name, err)
		}
	}
	if n := len(w.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

func TestCreate(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		for _, fingerprint := range []string{"", "one"} {
			a, err := c.Create(t.Context(), mona, client.Request{Scopes: []string{"repo"}, Fingerprint: fingerprint})
			check(t, err)
			if !w.lives(a.Token.Reveal()) || a.App.ClientID != w.app.ClientID || a.Fingerprint != fingerprint {
				t.Errorf("got %+v", a)
			}
		}
		_, err := c.Create(t.Context(), mona, client.Request{Fingerprint: "one"})
		if e := wantError(t, err, http.StatusUnprocessableEntity); e != nil && (e.ExistingURL == "" || len(e.Errors) != 1 || e.Errors[0].Code != "already_exists") {
			t.Errorf("got %+v", e)
		}

		personal := w.client(func(cfg *client.Config) { cfg.ClientID, cfg.ClientSecret = "", client.Secret{} })
		_, err = personal.Create(t.Context(), mona, client.Request{})
		wantError(t, err, http.StatusUnprocessableEntity)
		a, err := personal.Create(t.Context(), mona, client.Request{Note: "backup script", NoteURL: "https://acme.example/n"})
		check(t, err)
		if want := (client.App{Name: "backup script", URL: "https://acme.example/n", ClientID: client.PersonalClientID}); a.App != want || !w.lives(a.Token.Reveal()) {
			t.Errorf("got %+v, want the app %+v", a, want)
		}
	})
}

func TestGetUpdateDelete(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		made, err := c.GetOrCreate(t.Context(), mona, client.Request{Scopes: []string{"a", "b"}, Note: "n"})
		check(t, err)
		got, err := c.Get(t.Context(), mona, made.ID)
		check(t, err)
		want := made.Authorization
		want.Token = client.Secret{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Get: got %+v, want %+v", got, want)
		}
		note, empty := "new", ""
		for _, test := range []struct {
			u      client.Update
			scopes string
			note   string
		}{
			{client.Update{}, "a b", "n"},
			{client.Update{AddScopes: []string{"c", "a"}}, "a b c", "n"},
			{client.Update{RemoveScopes: []string{"b"}, Note: &note}, "a c", "new"},
			{client.Update{Scopes: []string{"d"}}, "d", "new"},
			{client.Update{Scopes: []string{}, Note: &empty}, "", ""},
		} {
			got, err := c.Update(t.Context(), mona, made.ID, test.u)
			check(t, err)
			if strings.Join(got.Scopes, " ") != test.scopes || got.Note != test.note || got.ID != made.ID || !got.Token.IsZero() {
				t.Errorf("Update(%+v): got %+v", test.u, got)
			}
		}
		_, err = c.Update(t.Context(), mona, made.ID, client.Update{AddScopes: []string{"a"}, RemoveScopes: []string{"b"}})
		wantError(t, err, http.StatusUnprocessableEntity)

		check(t, c.Delete(t.Context(), mona, made.ID))
		if w.lives(made.Token.Reveal()) {
			t.Error("the token lives after Delete")
		}
		w.fault(nil)
		wantError(t, c.Delete(t.Context(), mona, made.ID), http.StatusNotFound)
		_, err = c.Get(t.Context(), mona, made.ID)
		wantError(t, err, http.StatusNotFound)
		if n := len(w.seen()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// Pages follow Link, whose host (elsewhere.example) is not believed.
func TestList(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		other, otherSecret, err := w.manager.RegisterApp(t.Context(), authz.NewApp{Name: "other"})
		check(t, err)
		const n = 230
		var want []int64
		for i := range n + 1 {
			app, secret := w.app, w.secret
			if i == n {
				app, secret = other, otherSecret
			}
			r, err := w.manager.GetOrCreate(t.Context(), authz.Request{Owner: "1", ClientID: app.ClientID, ClientSecret: secret, Fingerprint: fmt.Sprint(i)})
			check(t, err)
			want = append(want, r.Authorization.ID)
		}
		c := w.client()
		all := c.List(t.Context(), mona, "")
		for range 2 { // a sequence can be used again
			w.fault(nil)
			var got []int64
			for a, err := range all {
				check(t, err)
				got = append(got, a.ID)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got %d of %d: %v", len(got), len(want), got)
			}
			if n := len(w.seen()); n != 3 {
				t.Errorf("got %d requests, want 3", n)
			}
		}
		w.fault(nil)
		for range all {
			break
		}
		if n := len(w.seen()); n != 1 {
			t.Errorf("got %d requests for the first one, want 1", n)
		}
		for clientID, want := range map[string]int{other.ClientID: 1, w.app.ClientID: n, client.PersonalClientID: 0} {
			got := 0
			for a, err := range c.List(t.Context(), mona, clientID) {
				check(t, err)
				if a.App.ClientID == clientID {
					got++
				}
			}
			if got != want {
				t.Errorf("%s: got %d, want %d", clientID, got, want)
			}
		}
		got := 0
		for _, err := range c.List(t.Context(), client.Credentials{Login: "mona", Password: client.NewSecret("wrong")}, "") {
			wantError(t, err, http.StatusUnauthorized)
			got++
		}
		if got != 1 {
			t.Errorf("got %d errors, want 1", got)
		}
	})
}

func TestGrants(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		var tokens []string
		for i := range 2 {
			a, err := c.GetOrCreate(t.Context(), mona, client.Request{Scopes: []string{fmt.Sprint("s", i)}, Fingerprint: fmt.Sprint(i)})
			check(t, err)
			tokens = append(tokens, a.Token.Reveal())
		}
		var grants []client.Grant
		for g, err := range c.Grants(t.Context(), mona, w.app.ClientID) {
			check(t, err)
			grants = append(grants, g)
		}
		if len(grants) != 1 || grants[0].App.ClientID != w.app.ClientID || len(grants[0].Scopes) != 2 || grants[0].URL == "" || grants[0].CreatedAt.IsZero() {
			t.Fatalf("got %+v", grants)
		}
		g, err := c.Grant(t.Context(), mona, grants[0].ID)
		check(t, err)
		if !reflect.DeepEqual(g, grants[0]) {
			t.Errorf("got %+v, want %+v", g, grants[0])
		}
		check(t, c.DeleteGrant(t.Context(), mona, g.ID))
		if w.lives(tokens[0]) || w.lives(tokens[1]) {
			t.Error("a token lives")
		}
		wantError(t, c.DeleteGrant(t.Context(), mona, g.ID), http.StatusNotFound)
		_, err = c.Grant(t.Context(), mona, g.ID)
		wantError(t, err, http.StatusNotFound)
	})
}

func TestAppSide(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		made, err := c.GetOrCreate(t.Context(), mona, client.Request{Scopes: []string{"repo"}})
		check(t, err)
		token := made.Token.Reveal()
		checked, err := c.Check(t.Context(), token)
		check(t, err)
		if checked.ID != made.ID || checked.Token.Reveal() != token || checked.User == nil || checked.User.ID != 1 || checked.User.Type != "User" {
			t.Errorf("Check: got %+v, user %+v", checked, checked.User)
		}
		reset, err := c.Reset(t.Context(), token)
		check(t, err)
		if reset.ID != made.ID || w.lives(token) || !w.lives(reset.Token.Reveal()) {
			t.Errorf("Reset: got %+v", reset)
		}
		_, err = c.Check(t.Context(), token)
		wantError(t, err, http.StatusNotFound)
		_, err = c.Reset(t.Context(), token)
		wantError(t, err, http.StatusNotFound)
		wantError(t, c.Revoke(t.Context(), token), http.StatusNotFound)

		check(t, c.Revoke(t.Context(), reset.Token.Reveal()))
		if w.lives(reset.Token.Reveal()) {
			t.Error("Revoke: the token lives")
		}
		var tokens []string
		for _, fingerprint := range []string{"one", "two"} {
			a, err := c.GetOrCreate(t.Context(), mona, client.Request{Fingerprint: fingerprint})
			check(t, err)
			tokens = append(tokens, a.Token.Reveal())
		}
		check(t, c.RevokeGrant(t.Context(), tokens[0]))
		if w.lives(tokens[0]) || w.lives(tokens[1]) {
			t.Error("RevokeGrant: a token lives")
		}
		wantError(t, c.RevokeGrant(t.Context(), tokens[0]), http.StatusNotFound)

		wrong := w.client(func(cfg *client.Config) { cfg.ClientSecret = client.NewSecret(strings.Repeat("x", 40)) })
		_, err = wrong.Check(t.Context(), tokens[0])
		wantError(t, err, http.StatusUnauthorized)
	})
}

// An older server sends null where ours sends "".
func TestNulls(t *testing.T) {
	w := newWorld(t)
	w.fault(func(rw http.ResponseWriter, _ *http.Request, _ int) bool {
		_, _ = rw.Write([]byte(`{"id":1,"url":"u","scopes":null,"token":"t","app":{"name":"n","url":"u","client_id":"c"},"note":null,"note_url":null,"fingerprint":null,"new":{}}`))
		return true
	})
	got, err := w.client().GetOrCreate(t.Context(), mona, client.Request{})
	check(t, err)
	if got.ID != 1 || got.Token.Reveal() != "t" || got.Note != "" || got.Created {
		t.Errorf("got %+v", got)
	}
}

// An Authorization can be shown as JSON, without its token.
func TestJSON(t *testing.T) {
	a := client.Authorization{ID: 1, Scopes: []string{"repo"}, Token: client.NewSecret("abcdefgh12345678")}
	got := string(must(json.Marshal(a)))
	if !strings.HasPrefix(got, `{"id":1,"url":"","scopes":["repo"],"token":"[redacted]",`) {
		t.Errorf("got %s", got)
	}
}

// wantError returns err's *Error.
func wantError(t *testing.T, err error, status int) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.StatusCode != status {
		t.Errorf("got %v, want an *Error with status %d", err, status)
		return nil
	}
	return e
}
