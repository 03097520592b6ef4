package authz_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func TestSuspendUser(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		var h hearing
		m, clock := newManager(t, s, authz.Config{OnEvent: h.hear})
		ctx := t.Context()
		before, other := mustGet(t, m, request(scopes("a"))), mustGet(t, m, request(by("user-2")))
		personal, err := m.Create(ctx, authz.Request{Owner: owner, Note: "personal"})
		if err != nil {
			t.Fatal(err)
		}
		h.take()
		if at, err := m.UserSuspended(ctx, owner); err != nil || !at.IsZero() {
			t.Errorf("nobody was suspended: %v, %v", at, err)
		}
		at := clock.Now().UTC().Truncate(1000)
		for range 2 { // the second time nothing changes, and nobody is told
			if err := m.SuspendUser(ctx, owner); err != nil {
				t.Fatal(err)
			}
			if got, err := m.UserSuspended(ctx, owner); err != nil || !got.Equal(at) {
				t.Errorf("suspended at %v, %v, want %v", got, err, at)
			}
			clock.Add(1000)
		}
		if got, want := h.take(), []authz.Event{{Kind: authz.EventSuspended, Owner: owner}}; !slices.Equal(got, want) {
			t.Errorf("heard %+v, want %+v", got, want)
		}
		meanwhile := mustGet(t, m, request(fingerprint("meanwhile")))
		for name, token := range map[string]authz.Secret{"before": before.Token, "personal": personal.Token, "meanwhile": meanwhile.Token} {
			if alive(t, m, token) {
				t.Errorf("%s: the token is alive", name)
			}
		}
		if !alive(t, m, other.Token) {
			t.Error("the token of another user is dead")
		}
		token := before.Token
		_, check := m.Check(ctx, clientID, token.Reveal())
		_, reset := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: token})
		_, scoped := m.Scoped(ctx, authz.ScopedRequest{ClientID: clientID, Token: token, Scopes: []string{}})
		for name, err := range map[string]error{"Check": check, "Reset": reset, "Scoped": scoped} {
			if !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
		if list, err := m.List(ctx, owner, authz.ListOptions{}); err != nil || len(list) != 3 {
			t.Errorf("List: %d, %v: nothing went", len(list), err)
		}
		if err := m.Revoke(ctx, clientID, meanwhile.Token.Reveal()); err != nil {
			t.Errorf("Revoke: %v", err)
		}
		h.take()
		for range 2 {
			if err := m.ResumeUser(ctx, owner); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := h.take(), []authz.Event{{Kind: authz.EventResumed, Owner: owner}}; !slices.Equal(got, want) {
			t.Errorf("heard %+v, want %+v", got, want)
		}
		if !alive(t, m, before.Token) || !alive(t, m, personal.Token) || alive(t, m, meanwhile.Token) {
			t.Error("after ResumeUser: want all alive but what was revoked")
		}
		for _, bad := range []string{"", "a\x00"} {
			_, suspended := m.UserSuspended(ctx, bad)
			for name, err := range map[string]error{"SuspendUser": m.SuspendUser(ctx, bad), "ResumeUser": m.ResumeUser(ctx, bad), "UserSuspended": suspended} {
				if v := new(authz.ValidationError); !errors.As(err, &v) || v.Fields[0].Field != "owner" {
					t.Errorf("%s(%q): %v, want a ValidationError", name, bad, err)
				}
			}
		}
	})
}

func TestSuspendApp(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		var h hearing
		m, clock := newManager(t, s, authz.Config{OnEvent: h.hear})
		register(t, m, otherClient)
		ctx := t.Context()
		ofIt, other := mustGet(t, m, request()), mustGet(t, m, request(forApp(otherClient)))
		reset := authz.ResetRequest{ClientID: clientID, Token: mustGet(t, m, request(fingerprint("reset"))).Token, IdempotencyKey: authz.NewSecret(retryKey)}
		if _, err := m.Reset(ctx, reset); err != nil {
			t.Fatal(err)
		}
		h.take()
		clock.Add(1000)
		at := clock.Now().UTC().Truncate(1000)
		var last authz.App
		for range 2 { // the second time nothing changes, and nobody is told
			app, err := m.SuspendApp(ctx, clientID)
			if err != nil || !app.SuspendedAt.Equal(at) || !app.UpdatedAt.Equal(at) {
				t.Errorf("SuspendApp: %+v, %v, want suspended at %v", app, err, at)
			}
			last = app
			clock.Add(1000)
		}
		if app, err := m.App(ctx, clientID); err != nil || !reflect.DeepEqual(app, last) {
			t.Errorf("App: %+v, %v, want %+v", app, err, last)
		}
		if got, want := h.take(), []authz.Event{{Kind: authz.EventSuspended, ClientID: clientID}}; !slices.Equal(got, want) {
			t.Errorf("heard %+v, want %+v", got, want)
		}
		if alive(t, m, ofIt.Token) || !alive(t, m, other.Token) {
			t.Error("want the suspended app's token dead and the other's alive")
		}
		if _, err := m.AuthenticateApp(ctx, clientID, authz.NewSecret(clientSecret)); !errors.Is(err, authz.ErrInvalidClient) {
			t.Errorf("AuthenticateApp: %v", err)
		}
		if res, err := m.Reset(ctx, reset); !errors.Is(err, authz.ErrNotFound) || !res.Token.IsZero() {
			t.Errorf("Reset, replayed: %v", err)
		}
		if _, err := m.GetOrCreate(ctx, request(fingerprint("new"))); !errors.Is(err, authz.ErrInvalidClient) {
			t.Errorf("GetOrCreate: %v", err)
		}
		for range 2 {
			if app, err := m.ResumeApp(ctx, clientID); err != nil || !app.SuspendedAt.IsZero() {
				t.Errorf("ResumeApp: %+v, %v", app, err)
			}
		}
		if got, want := h.take(), []authz.Event{{Kind: authz.EventResumed, ClientID: clientID}}; !slices.Equal(got, want) {
			t.Errorf("heard %+v, want %+v", got, want)
		}
		if !alive(t, m, ofIt.Token) {
			t.Error("after ResumeApp: the token is dead")
		}
		for _, id := range []string{"", "unknown", strings.Repeat("0", 20)} {
			_, suspend := m.SuspendApp(ctx, id)
			_, resume := m.ResumeApp(ctx, id)
			if !errors.Is(suspend, authz.ErrNotFound) || !errors.Is(resume, authz.ErrNotFound) {
				t.Errorf("%q: %v, %v, want ErrNotFound", id, suspend, resume)
			}
		}
	})
}

// To apps, a suspended user's tokens are none; but they can be revoked, so that
// they do not come to life again.
func TestSuspendedUserOverHTTP(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{}, legacyPaths)
	token := func(f string) string {
		return mustGet(t, s.m, request(fingerprint(f), scopes("a", "b"))).Token.Reveal()
	}
	kept, revoked, revokedToo, replayed := token("kept"), token("revoked"), token("revoked too"), token("replayed")
	const key = "Idempotency-Key: " + retryKey
	made := s.send(t, "PATCH", ofApp+"/token", accessToken(replayed), asClient, key)
	if made.status != 200 {
		t.Fatal(made.body)
	}
	wide := `{"access_token":"` + kept + `","scopes":["a"]}`
	if err := s.m.SuspendUser(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]answer{
		"check":             s.send(t, "POST", ofApp+"/token", accessToken(kept), asClient),
		"reset":             s.send(t, "PATCH", ofApp+"/token", accessToken(kept), asClient),
		"scoped":            s.send(t, "POST", ofApp+"/token/scoped", wide, asClient),
		"reset with a key":  s.send(t, "PATCH", ofApp+"/token", accessToken(kept), asClient, "Idempotency-Key: "+freshKey("reset")),
		"scoped with a key": s.send(t, "POST", ofApp+"/token/scoped", wide, asClient, "Idempotency-Key: "+freshKey("scoped")),
		"reset, replayed":   s.send(t, "PATCH", ofApp+"/token", accessToken(replayed), asClient, key),
		"older check":       s.send(t, "GET", ofApp+"/tokens/"+kept, "", asClient),
		"older reset":       s.send(t, "POST", ofApp+"/tokens/"+kept, "", asClient),
	} {
		wantAnswer(t, name, got, 404, message("Not Found"))
	}
	wantAnswer(t, "introspection", introspect(t, s, kept, asClient), 200, notLive)
	wantAnswer(t, "revocation", s.send(t, "DELETE", ofApp+"/token", accessToken(revoked), asClient), 204, "")
	wantAnswer(t, "revocation again", s.send(t, "DELETE", ofApp+"/token", accessToken(revoked), asClient), 404, message("Not Found"))
	wantAnswer(t, "RFC 7009", s.send(t, "POST", "/oauth/revoke", "token="+revokedToo, asClient, formType), 200, "{}\n")
	// Whether they may log in is for the host's Authenticator to say.
	if got := s.send(t, "GET", "/authorizations", ""); got.status != 200 || strings.Count(got.body, `"id":`) != 2 {
		t.Errorf("list: %d %s", got.status, got.body)
	}
	if err := s.m.ResumeUser(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if got := s.send(t, "POST", ofApp+"/token", accessToken(kept), asClient); got.status != 200 {
		t.Errorf("check after it: %d %s", got.status, got.body)
	}
	if got := s.send(t, "PATCH", ofApp+"/token", accessToken(replayed), asClient, key); got.body != made.body || got.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replay after it: %d %s", got.status, got.body)
	}
	if !strings.Contains(introspect(t, s, kept, asClient).body, `"active": true`) {
		t.Error("introspection after it: not active")
	}
	for _, gone := range []string{revoked, revokedToo} {
		if alive(t, s.m, authz.NewSecret(gone)) {
			t.Error("what was revoked meanwhile is alive again")
		}
	}

	// The grant goes as a whole.
	if err := s.m.SuspendUser(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "revocation of the grant", s.send(t, "DELETE", ofApp+"/grant", accessToken(kept), asClient), 204, "")
	if n := count(t, s.store, owner); n != 0 {
		t.Errorf("%d authorizations are left", n)
	}
}

// freshKey is a key that nothing was made with.
func freshKey(name string) string { return strings.Repeat(name, 4) }

// A suspended app is refused as one with a wrong client_secret.
func TestSuspendedAppOverHTTP(t *testing.T) {
	const resources = "resource0000server00"
	s := newServerOn(t, memory.New(), authz.Config{}, legacyPaths, func(c *authz.HandlerConfig) { c.ResourceServers = []string{resources} })
	register(t, s.m, resources)
	asResources := "Authorization: " + basic(resources, clientSecret)
	made := mustGet(t, s.m, request(scopes("a")))
	token := made.Token.Reveal()
	if _, err := s.m.SuspendApp(t.Context(), clientID); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]answer{
		"check":  s.send(t, "POST", ofApp+"/token", accessToken(token), asClient),
		"reset":  s.send(t, "PATCH", ofApp+"/token", accessToken(token), asClient),
		"revoke": s.send(t, "DELETE", ofApp+"/token", accessToken(token), asClient),
		"scoped": s.send(t, "POST", ofApp+"/token/scoped", `{"access_token":"`+token+`","scopes":["a"]}`, asClient),
		"grant":  s.send(t, "DELETE", ofApp+"/grant", accessToken(token), asClient),
		"older":  s.send(t, "GET", ofApp+"/tokens/"+token, "", asClient),
	} {
		wantAnswer(t, name, got, 401, message("Bad credentials"))
	}
	for _, endpoint := range []string{"introspect", "revoke"} {
		got := s.send(t, "POST", "/oauth/"+endpoint, "token="+token, asClient, formType)
		wantAnswer(t, endpoint, got, 401, oauthBody("invalid_client", "Client authentication failed"), realm)
	}
	const refused = "Invalid OAuth application client_id or secret."
	wantAnswer(t, "PUT", s.put(t, path, minimalBody), 422, message(refused))
	wantAnswer(t, "PUT of a new one", s.put(t, path+"/new", minimalBody), 422, message(refused))
	wantAnswer(t, "POST", s.send(t, "POST", "/authorizations", `{"client_id":"`+clientID+`",`+secretField+`}`), 422, message(refused))
	wantAnswer(t, "introspection by another", introspect(t, s, token, asResources), 200, notLive)
	// Users go on to see what they have, and can take it away.
	if got := s.send(t, "GET", "/authorizations", ""); got.status != 200 || !strings.Contains(got.body, `"my github app"`) {
		t.Errorf("list: %d %s", got.status, got.body)
	}
	if got := s.send(t, "GET", "/applications/grants", ""); got.status != 200 || !strings.Contains(got.body, `"my github app"`) {
		t.Errorf("grants: %d %s", got.status, got.body)
	}
	if _, err := s.m.ResumeApp(t.Context(), clientID); err != nil {
		t.Fatal(err)
	}
	if got := s.send(t, "POST", ofApp+"/token", accessToken(token), asClient); got.status != 200 {
		t.Errorf("check after it: %d %s", got.status, got.body)
	}
	if got := s.put(t, path, minimalBody); got.status != 200 {
		t.Errorf("PUT after it: %d %s", got.status, got.body)
	}
	if !strings.Contains(introspect(t, s, token, asResources).body, `"active": true`) {
		t.Error("introspection after it: not active")
	}
}
