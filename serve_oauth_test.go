package authz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	formType = "Content-Type: application/x-www-form-urlencoded"
	notLive  = "{\n  \"active\": false\n}\n"
	realm    = `WWW-Authenticate: Basic realm="authz"`
)

// oauthBody is the body of an error of these endpoints.
func oauthBody(code, description string) string {
	return fmt.Sprintf("{\n  \"message\": %q,\n  \"error\": %q,\n  \"error_description\": %q\n}\n", description, code, description)
}

// active is the body of an answer about a live token; exp 0 is none.
func active(scope, client, username, sub string, exp, iat int64) string {
	expires := ""
	if exp != 0 {
		expires = fmt.Sprintf("\n  \"exp\": %d,", exp)
	}
	if client != "" {
		client = fmt.Sprintf("\n  \"client_id\": %q,", client)
	}
	return fmt.Sprintf("{\n  \"active\": true,\n  \"scope\": %q,%s\n  \"username\": %q,\n  \"token_type\": \"Bearer\",%s\n  \"iat\": %d,\n  \"sub\": %q\n}\n", scope, client, username, expires, iat, sub)
}

func introspect(t testing.TB, s *server, token, auth string) answer {
	t.Helper()
	return s.send(t, "POST", "/oauth/introspect", "token="+url.QueryEscape(token), auth, formType)
}

func TestIntrospection(t *testing.T) {
	for _, lifetime := range []time.Duration{0, time.Hour} {
		const resources, third = "resource0000server00", "another0000resource0"
		s := newServerOn(t, memory.New(), authz.Config{Lifetime: lifetime}, func(c *authz.HandlerConfig) { c.ResourceServers = []string{"x", resources} })
		for _, id := range []string{otherClient, resources, third} {
			register(t, s.m, id)
		}
		asResources, asThird := "Authorization: "+basic(resources, clientSecret), "Authorization: "+basic(third, clientSecret)
		iat := s.clock.Now().Unix()
		exp := func(iat int64) int64 {
			if lifetime == 0 {
				return 0
			}
			return iat + 3600
		}
		token := issued(t, "PUT", s.put(t, path, `{`+secretField+`,"scopes":["repo","user"]}`))
		bare := issued(t, "PUT", s.put(t, path+"/bare", minimalBody))
		personal := issued(t, "POST", s.send(t, "POST", "/authorizations", `{"note":"n","scopes":["gist"]}`))

		wantAnswer(t, "active", introspect(t, s, token, asClient), 200, active("repo user", clientID, owner, owner, exp(iat), iat))
		wantAnswer(t, "no scopes", introspect(t, s, bare, asClient), 200, active("", clientID, owner, owner, exp(iat), iat))
		wantAnswer(t, "by a resource server", introspect(t, s, token, asResources), 200, active("repo user", clientID, owner, owner, exp(iat), iat))
		wantAnswer(t, "personal, by a resource server", introspect(t, s, personal, asResources), 200, active("gist", "", owner, owner, exp(iat), iat))
		for _, auth := range []string{asOtherClient, asThird} {
			wantAnswer(t, "another app's", introspect(t, s, token, auth), 200, notLive)
			wantAnswer(t, "personal", introspect(t, s, personal, auth), 200, notLive)
		}
		wantAnswer(t, "personal", introspect(t, s, personal, asClient), 200, notLive)
		for _, none := range []string{"x", "azt_" + strings.Repeat("A", 30) + "0uCPlr", token + "x", " " + token, strings.ToUpper(token), "%00", strings.Repeat("t", 10_000), clientSecret} {
			wantAnswer(t, "no token", introspect(t, s, none, asResources), 200, notLive)
		}
		wantAnswer(t, "with a hint and unknown parameters", s.send(t, "POST", "/oauth/introspect", "token_type_hint=refresh_token&x=y&token="+token, asClient, formType), 200,
			active("repo user", clientID, owner, owner, exp(iat), iat))

		// A reset makes a token that was issued then; the authorization is older.
		s.clock.Add(10 * time.Minute)
		later := s.clock.Now().Unix()
		reset := issued(t, "reset", s.send(t, "PATCH", ofApp+"/token", accessToken(token), asClient))
		wantAnswer(t, "before the reset", introspect(t, s, token, asClient), 200, notLive)
		wantAnswer(t, "after the reset", introspect(t, s, reset, asClient), 200, active("repo user", clientID, owner, owner, exp(later), later))
		// Other changes do not issue one.
		s.clock.Add(time.Minute)
		if got := s.send(t, "PATCH", "/authorizations/1", `{"note":"n","scopes":["gist"]}`); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		wantAnswer(t, "after a change", introspect(t, s, reset, asClient), 200, active("gist", clientID, owner, owner, exp(later), later))
		rotated := issued(t, "rotate", s.put(t, path, `{`+secretField+`,"on_existing":"rotate"}`))
		now := s.clock.Now().Unix()
		wantAnswer(t, "rotated", introspect(t, s, rotated, asClient), 200, active("gist", clientID, owner, owner, exp(now), now))
		wantAnswer(t, "before it", introspect(t, s, reset, asClient), 200, notLive)
		if lifetime > 0 {
			s.clock.Add(lifetime - time.Second)
			if got := introspect(t, s, rotated, asClient); !strings.Contains(got.body, `"active": true`) {
				t.Errorf("a second before its end: %s", got.body)
			}
			s.clock.Add(time.Second)
			wantAnswer(t, "expired", introspect(t, s, rotated, asClient), 200, notLive)
			continue
		}
		if got := s.send(t, "DELETE", "/authorizations/1", ""); got.status != 204 {
			t.Fatalf("%d", got.status)
		}
		wantAnswer(t, "revoked", introspect(t, s, rotated, asClient), 200, notLive)
		if _, err := s.m.DeleteApp(context.Background(), clientID); err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, "of a deleted app", introspect(t, s, bare, asResources), 200, notLive)
		wantAnswer(t, "by a deleted app", introspect(t, s, bare, asClient), 401, oauthBody("invalid_client", "Client authentication failed"), realm)
	}
}

// A disabled user's tokens are not active; the directory names the others.
func TestIntrospectionOfUsers(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.Users = func(_ context.Context, id string) (authz.User, error) {
			if id == "disabled" {
				return authz.User{}, authz.ErrNotFound
			}
			return authz.User{ID: "x", Login: "mona"}, nil
		}
	})
	iat := s.clock.Now().Unix()
	live := mustGet(t, s.m, request()).Token.Reveal()
	wantAnswer(t, "live", introspect(t, s, live, asClient), 200, active("public_repo", clientID, "mona", owner, 0, iat))
	disabled := mustGet(t, s.m, request(func(r *authz.Request) { r.Owner = "disabled" })).Token.Reveal()
	wantAnswer(t, "disabled", introspect(t, s, disabled, asClient), 200, notLive)
}

// How apps may say who they are at /oauth/, and how not.
func TestClientAuthentication(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.Realm = "r" })
	register(t, s.m, otherClient)
	const odd = "a%2Bb+c/d=e&f%g~h!i\"j#k$l'm(n)o*p,q;r:st" // 40 characters that a form would have escaped
	if _, _, err := s.m.RegisterApp(context.Background(), authz.NewApp{Name: "odd", ClientID: "odd00000000000000000", ClientSecret: authz.NewSecret(odd)}); err != nil {
		t.Fatal(err)
	}
	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	const header = `WWW-Authenticate: Basic realm="r"`
	wrong := oauthBody("invalid_client", "Client authentication failed")
	both := oauthBody("invalid_request", "Use one way of client authentication: Basic, or client_id and client_secret in the body")
	everyEscape := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}
	for _, test := range []struct {
		name, auth, body string
		status           int
		want             string
	}{
		{name: "Basic", auth: basic(clientID, clientSecret), body: "token=x", status: 200},
		{name: "basic", auth: "basic" + strings.TrimPrefix(basic(clientID, clientSecret), "Basic"), body: "token=x", status: 200},
		{name: "newline in the credentials", auth: basic(clientID, clientSecret+"\r\n"), body: "token=x", status: 200},
		{name: "Basic and client_id", auth: basic(clientID, clientSecret), body: form("token", "x", "client_id", clientID), status: 200},
		{name: "Basic, escaped throughout", auth: basic(everyEscape(clientID), everyEscape(clientSecret)), body: "token=x", status: 200},
		{name: "Basic, escaped, and client_id", auth: basic(everyEscape(clientID), everyEscape(clientSecret)), body: form("token", "x", "client_id", clientID), status: 200},
		{name: "Basic, escaped, and another client_id", auth: basic(everyEscape(clientID), everyEscape(clientSecret)), body: form("token", "x", "client_id", otherClient), status: 401, want: wrong},
		{name: "Basic, not escaped", auth: basic("odd00000000000000000", odd), body: "token=x", status: 200},
		{name: "Basic, escaped", auth: basic("odd00000000000000000", url.QueryEscape(odd)), body: "token=x", status: 200},
		{name: "body", body: form("token", "x", "client_id", clientID, "client_secret", clientSecret), status: 200},
		{name: "body, odd", body: form("token", "x", "client_id", "odd00000000000000000", "client_secret", odd), status: 200},
		{name: "both", auth: basic(clientID, clientSecret), body: form("token", "x", "client_id", clientID, "client_secret", clientSecret), status: 400, want: both},
		{name: "both, wrong", auth: basic(clientID, "x"), body: form("token", "x", "client_secret", clientSecret), status: 400, want: both},
		{name: "Basic and another client_id", auth: basic(clientID, clientSecret), body: form("token", "x", "client_id", otherClient), status: 401, want: wrong},
		{name: "none", body: "token=x", status: 401, want: wrong},
		{name: "only client_id", body: form("token", "x", "client_id", clientID), status: 401, want: wrong},
		{name: "only client_secret", body: form("token", "x", "client_secret", clientSecret), status: 401, want: wrong},
		{name: "client_secret empty", body: form("token", "x", "client_id", clientID, "client_secret", ""), status: 401, want: wrong},
		{name: "client_secret wrong", body: form("token", "x", "client_id", clientID, "client_secret", "x"), status: 401, want: wrong},
		{name: "Basic wrong", auth: basic(clientID, "x"), body: "token=x", status: 401, want: wrong},
		{name: "Basic empty", auth: basic("", ""), body: "token=x", status: 401, want: wrong},
		{name: "Basic, unknown", auth: basic("aaaaaaaaaaaaaaaaaaaa", clientSecret), body: "token=x", status: 401, want: wrong},
		{name: "Basic, twenty zeros", auth: basic(authz.PersonalClientID, clientSecret), body: "token=x", status: 401, want: wrong},
		{name: "Basic, the user", auth: basic("mona", password), body: "token=x", status: 401, want: wrong},
		{name: "Basic, no base64", auth: "Basic !", body: "token=x", status: 401, want: wrong},
		{name: "Bearer", auth: "Bearer x", body: "token=x", status: 401, want: wrong},
		{name: "Bearer beside the body", auth: "Bearer x", body: form("token", "x", "client_id", clientID), status: 401, want: wrong},
		{name: "wrong and no token", auth: basic(clientID, "x"), body: "", status: 401, want: wrong},
	} {
		for _, target := range []string{"/oauth/introspect", "/oauth/revoke"} {
			name, want := test.name+" at "+target, test.want
			got := s.send(t, "POST", target, test.body, "Authorization: "+test.auth, formType)
			switch {
			case test.status == 401:
				wantAnswer(t, name, got, 401, want, header)
			case test.status == 400:
				wantAnswer(t, name, got, 400, want)
			case target == "/oauth/revoke":
				wantAnswer(t, name, got, 200, "{}\n")
			default:
				wantAnswer(t, name, got, 200, notLive)
			}
		}
	}
	// 401 says nothing of which of the two was wrong.
	a := s.send(t, "POST", "/oauth/revoke", "token=x", "Authorization: "+basic(clientID, "x"), formType)
	b := s.send(t, "POST", "/oauth/revoke", "token=x", "Authorization: "+basic("aaaaaaaaaaaaaaaaaaaa", "x"), formType)
	if a.status != b.status || a.body != b.body {
		t.Errorf("wrong secret %v, unknown client %v", a, b)
	}
}

// Forms: what is none, what is too much, and what is missing.
func TestForms(t *testing.T) {
	s := newServer(t)
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	noForm := oauthBody("invalid_request", "The body must be application/x-www-form-urlencoded")
	badForm := oauthBody("invalid_request", "The body is no valid form")
	twice := oauthBody("invalid_request", "The body has a parameter more than once")
	missing := oauthBody("invalid_request", "token is required")
	for _, target := range []string{"/oauth/introspect", "/oauth/revoke"} {
		for _, test := range []struct{ contentType, body, want string }{
			{"application/json", `{"token":"` + token + `"}`, noForm},
			{"application/json", "token=" + token, noForm},
			{"text/plain", "token=" + token, noForm},
			{"multipart/form-data; boundary=x", "token=" + token, noForm},
			{";;;", "token=" + token, noForm},
			{"application/x-www-form-urlencoded", "token=" + token + "&token=" + token, twice},
			{"application/x-www-form-urlencoded", "token=x&token=" + token, twice},
			{"application/x-www-form-urlencoded", "token=&token=" + token, twice},
			{"application/x-www-form-urlencoded", "x=1&token=" + token + "&x=2", twice},
			{"application/x-www-form-urlencoded", "token_type_hint=a&token_type_hint=a&token=" + token, twice},
			{"application/x-www-form-urlencoded", "client_id=" + clientID + "&client_id=" + clientID + "&token=" + token, twice},
			{"application/x-www-form-urlencoded", "token=" + token + ";x=1", badForm},
			{"application/x-www-form-urlencoded", "token=%zz", badForm},
			{"application/x-www-form-urlencoded", "", missing},
			{"application/x-www-form-urlencoded", "token=", missing},
			{"application/x-www-form-urlencoded", "token", missing},
			{"application/x-www-form-urlencoded", "Token=" + token, missing},
			{"application/x-www-form-urlencoded", "access_token=" + token, missing},
			{"", `{"token":"` + token + `"}`, missing},
		} {
			name := fmt.Sprintf("%s %s %s", target, test.contentType, test.body)
			wantAnswer(t, name, s.send(t, "POST", target, test.body, asClient, "Content-Type: "+test.contentType), 400, test.want)
			// The query is no form.
			wantAnswer(t, name+" beside a query", s.send(t, "POST", target+"?token="+token, test.body, asClient, "Content-Type: "+test.contentType), 400, test.want)
		}
		wantAnswer(t, target+", large", s.send(t, "POST", target, "token="+strings.Repeat("x", 64<<10), asClient, formType), 413, message("Request body is too large"))
		wantAnswer(t, target+", encoded", s.send(t, "POST", target, "token=x", asClient, formType, "Content-Encoding: gzip"), 415, message("Request body must not have a Content-Encoding"))
	}
	if !alive(t, s.m, authz.NewSecret(token)) {
		t.Fatal("a refused request has revoked the token")
	}
	for i, contentType := range []string{"", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-URLencoded"} {
		for _, end := range []string{"", "\r\n", "\n\n"} {
			token := issued(t, "PUT", s.put(t, path+"/"+strconv.Itoa(i)+"-"+strconv.Itoa(len(end)), minimalBody))
			got := s.send(t, "POST", "/oauth/introspect", "token="+token+end, asClient, "Content-Type: "+contentType)
			if !strings.Contains(got.body, `"active": true`) {
				t.Errorf("%q: %d %s", contentType, got.status, got.body)
			}
			wantAnswer(t, contentType, s.send(t, "POST", "/oauth/revoke", "token="+token+end, asClient, "Content-Type: "+contentType), 200, "{}\n")
			if alive(t, s.m, authz.NewSecret(token)) {
				t.Errorf("%q: the token lives", contentType)
			}
		}
	}
}

// Doorkeeper CVE-2016-6582: revocation answered 200 and the token lived on. Here
// it is dead by every way to ask; and who may not revoke it does not hear 200.
func TestCVE_2016_6582_RevokedTokensAreDead(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.ResourceServers = []string{otherClient}; c.LegacyTokenPaths = true })
	register(t, s.m, otherClient)
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	other := issued(t, "PUT", s.put(t, path+"/other", minimalBody))
	personal := issued(t, "POST", s.send(t, "POST", "/authorizations", `{"note":"n"}`))
	revoke := func(token, auth string) answer {
		return s.send(t, "POST", "/oauth/revoke", "token_type_hint=access_token&token="+token, auth, formType)
	}
	refused := oauthBody("invalid_grant", "The token was issued to another client")
	for name, of := range map[string]string{"another app's": token, "a user's own": personal} {
		wantAnswer(t, name, revoke(of, asOtherClient), 400, refused)
		if !alive(t, s.m, authz.NewSecret(of)) {
			t.Errorf("%s token is dead", name)
		}
	}
	wantAnswer(t, "a user's own", revoke(personal, asClient), 400, refused)
	// Client authentication failing revokes nothing.
	wantAnswer(t, "wrong client", revoke(token, "Authorization: "+basic(clientID, "x")), 401, oauthBody("invalid_client", "Client authentication failed"), realm)
	wantAnswer(t, "no client", revoke(token, "Authorization:"), 401, oauthBody("invalid_client", "Client authentication failed"), realm)
	if !alive(t, s.m, authz.NewSecret(token)) {
		t.Fatal("a refused request has revoked the token")
	}

	wantAnswer(t, "revoked", revoke(token, asClient), 200, "{}\n")
	if alive(t, s.m, authz.NewSecret(token)) {
		t.Error("Verify: it lives")
	}
	for _, auth := range []string{asClient, asOtherClient} {
		wantAnswer(t, "introspected", introspect(t, s, token, auth), 200, notLive)
	}
	wantAnswer(t, "GET", s.send(t, "GET", "/authorizations/1", ""), 404, message("Not Found"))
	for _, e := range appEndpoints(ofApp, token) {
		wantAnswer(t, e[0]+" "+e[1], s.send(t, e[0], e[1], e[2], asClient), 404, message("Not Found"))
	}
	if _, err := s.store.GetByTokenHash(context.Background(), store.HashOf(token)); err == nil {
		t.Error("the store has it")
	}
	if !alive(t, s.m, authz.NewSecret(other)) {
		t.Error("another token of the app is dead")
	}
	// Once more, by whomever, and what never was one: 200.
	for _, none := range []string{token, "x", "azt_" + strings.Repeat("A", 30) + "0uCPlr", strings.Repeat("x", 1000)} {
		for _, auth := range []string{asClient, asOtherClient} {
			wantAnswer(t, "again", revoke(none, auth), 200, "{}\n")
		}
	}
	// The user gets a new one, whole.
	again := s.put(t, path, minimalBody)
	if again.status != 201 || again.id(t) == 1 || issued(t, "PUT", again) == token {
		t.Errorf("PUT afterwards: %d %s", again.status, again.body)
	}
}

// metadataBody is the document for an API at root.
func metadataBody(root, extra, documentation string) string {
	return `{
  "issuer": "` + root + `",
  "introspection_endpoint": "` + root + `/oauth/introspect",
  "introspection_endpoint_auth_methods_supported": [
    "client_secret_basic",
    "client_secret_post"
  ],
  "revocation_endpoint": "` + root + `/oauth/revoke",
  "revocation_endpoint_auth_methods_supported": [
    "client_secret_basic",
    "client_secret_post"
  ],` + extra + `
  "response_types_supported": [],
  "grant_types_supported": []` + documentation + `
}
`
}

// The metadata stands at both places where clients look, and names the server as
// the client sees it. Nobody is asked who they are.
func TestMetadata(t *testing.T) {
	const place = "/.well-known/oauth-authorization-server"
	strip := func(h http.Handler) http.Handler { return http.StripPrefix("/outer", h) }
	for _, test := range []struct {
		name    string
		scopes  []authz.Scope
		cfg     authz.HandlerConfig
		wrap    func(http.Handler) http.Handler
		targets []string
		nowhere []string
		root    string // behind the server's URL, or whole
	}{
		{name: "root", targets: []string{place}, nowhere: []string{place + "/", place + "/x"}},
		{name: "prefix", cfg: authz.HandlerConfig{Prefix: "/api/v3"}, targets: []string{"/api/v3" + place, place + "/api/v3"}, nowhere: []string{place, place + "/api", "/api/v3" + place + "/api/v3"}, root: "/api/v3"},
		{name: "stripped", wrap: strip, targets: []string{"/outer" + place}, nowhere: []string{place, place + "/outer"}, root: "/outer"},
		{name: "stripped, and a prefix", cfg: authz.HandlerConfig{Prefix: "/v3"}, wrap: strip, targets: []string{"/outer/v3" + place, "/outer" + place + "/v3"}, root: "/outer/v3"},
		{name: "BaseURL", cfg: authz.HandlerConfig{BaseURL: "https://api.example.com"}, targets: []string{place}, root: "https://api.example.com"},
		{name: "BaseURL and a prefix", cfg: authz.HandlerConfig{BaseURL: "https://api.example.com/x/", Prefix: "/v3"}, targets: []string{"/v3" + place, place + "/v3"}, root: "https://api.example.com/x/v3"},
		{name: "scopes and documentation", scopes: authz.ScopeNames("repo", "user"), cfg: authz.HandlerConfig{DocumentationURL: "https://docs.example.com"}, targets: []string{place}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, _ := newManager(t, memory.New(), authz.Config{Scopes: test.scopes})
			h := newHandler(t, m, func(c *authz.HandlerConfig) {
				test.cfg.Authenticator = c.Authenticator
				*c = test.cfg
			})
			if test.wrap != nil {
				h = test.wrap(h)
			}
			ts := httptest.NewServer(h)
			t.Cleanup(ts.Close)
			s := &server{Server: ts}
			root := test.root
			if !strings.HasPrefix(root, "https:") {
				root = ts.URL + root
			}
			extra, documentation := "", ""
			if test.scopes != nil {
				extra = "\n  \"scopes_supported\": [\n    \"repo\",\n    \"user\"\n  ],"
				documentation = ",\n  \"service_documentation\": \"https://docs.example.com\""
			}
			want := metadataBody(root, extra, documentation)
			for _, target := range test.targets {
				for _, auth := range []string{"Authorization:", "Authorization: Bearer x", "Authorization: " + basic("mona", "x")} {
					wantAnswer(t, target, s.send(t, "GET", target, "", auth), 200, want, "ETag: *")
				}
				got := s.send(t, "HEAD", target, "", "Authorization:")
				wantAnswer(t, "HEAD "+target, got, 200, "", "ETag: *", "Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(want)))
				if !json.Valid([]byte(want)) {
					t.Error("want is no JSON")
				}
			}
			for _, target := range test.nowhere {
				if got := s.send(t, "GET", target, "", "Authorization:"); got.status != 404 {
					t.Errorf("GET %s: %d, want 404", target, got.status)
				}
			}
		})
	}
}

// What the metadata names is there.
func TestMetadataEndpointsAnswer(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = "/api/v3" })
	var doc struct {
		Introspection string   `json:"introspection_endpoint"`
		Revocation    string   `json:"revocation_endpoint"`
		Methods       []string `json:"revocation_endpoint_auth_methods_supported"`
	}
	if err := jsonInto(s.send(t, "GET", "/.well-known/oauth-authorization-server/api/v3", "").body, &doc); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{doc.Introspection, doc.Revocation} {
		if got := s.send(t, "POST", strings.TrimPrefix(target, s.URL), "token=x", asClient, formType); got.status != 200 {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if !slices.Equal(doc.Methods, []string{"client_secret_basic", "client_secret_post"}) {
		t.Errorf("methods %v", doc.Methods)
	}
}

// The OpenAPI document is served where the host wants it, to anybody.
func TestOpenAPIOverHTTP(t *testing.T) {
	for _, prefix := range []string{"", "/api/v3"} {
		off := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = prefix })
		wantAnswer(t, "off", off.send(t, "GET", prefix+"/openapi.yaml", ""), 404, message("Not Found"))
		on := newServer(t, func(c *authz.HandlerConfig) { c.Prefix, c.OpenAPI = prefix, true })
		want := string(authz.OpenAPI())
		yaml := "Content-Type: application/yaml"
		got := on.send(t, "GET", prefix+"/openapi.yaml", "", "Authorization:")
		if got.body != want || !strings.HasPrefix(want, "# ") || !strings.Contains(want, "\nopenapi: 3.1") {
			t.Errorf("got %d bytes, want %d", len(got.body), len(want))
		}
		got.body = ""
		wantAnswer(t, "on", got, 200, "", yaml, "Content-Length: "+strconv.Itoa(len(want)), "ETag: *")
		wantAnswer(t, "HEAD", on.send(t, "HEAD", prefix+"/openapi.yaml", "", "Authorization:"), 200, "", yaml, "Content-Length: "+strconv.Itoa(len(want)), "ETag: "+got.header.Get("ETag"))
		wantAnswer(t, "304", on.send(t, "GET", prefix+"/openapi.yaml", "", "If-None-Match: "+got.header.Get("ETag")), 304, "", "ETag: "+got.header.Get("ETag"))
	}
	doc := authz.OpenAPI()
	doc[0] ^= 1
	if authz.OpenAPI()[0] == doc[0] {
		t.Error("OpenAPI hands out its own memory")
	}
}
