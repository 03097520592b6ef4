package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
)

// TestFamily reaches every part of the API under both prefixes, through the
// command's own router.
func TestFamily(t *testing.T) {
	const server, serverSecret = "abcde12345fghij67890", "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"
	s := newSite(t, "--legacy-token-paths", "--resource-server", server)
	app := s.clientID + ":" + s.secret
	must(t, serverSecret, "app", "create", "--name", "api", "--client-id", server, "--client-secret-file", "-", "--store", s.store)
	must(t, serverSecret, "app", "create", "--name", "other", "--client-id", strings.ToUpper(server), "--client-secret-file", "-", "--store", s.store)
	for _, prefix := range defaultPrefixes {
		base := s.base + prefix
		r := s.put(prefix, `,"scopes":["a"],"on_existing":"rotate"`)
		a := decode[wireAuthorization](t, r.body)
		tokenBody := fmt.Sprintf(`{"access_token":%q}`, a.Token)
		form := []string{"basic", app, "Content-Type", "application/x-www-form-urlencoded"}
		for _, c := range []struct {
			method, path, body string
			headers            []string
			status             int
			holds              string
		}{
			{"GET", "/authorizations", "", []string{"basic", monaBasic}, 200, `"url": "` + a.URL + `"`},
			{"GET", fmt.Sprint("/authorizations/", a.ID), "", []string{"basic", monaBasic}, 200, `"token": ""`},
			{"PATCH", fmt.Sprint("/authorizations/", a.ID), `{"note":"new"}`, []string{"basic", monaBasic}, 200, `"note": "new"`},
			{"GET", "/applications/grants", "", []string{"basic", monaBasic}, 200, `"name": "my app"`},
			{"POST", "/applications/" + s.clientID + "/token", tokenBody, []string{"basic", app}, 200, `"login": "mona"`},
			{"GET", "/applications/" + s.clientID + "/tokens/" + a.Token, "", []string{"basic", app}, 200, `"login": "mona"`},
			{"POST", "/oauth/introspect", "token=" + a.Token, form, 200, `"username": "mona"`},
			{"POST", "/oauth/introspect", "token=" + a.Token, []string{"basic", server + ":" + serverSecret}, 200, `"username": "mona"`},
			{"POST", "/oauth/introspect", "token=" + a.Token, []string{"basic", strings.ToUpper(server) + ":" + serverSecret}, 200, `"active": false`},
			{"GET", "/.well-known/oauth-authorization-server", "", nil, 200, `"issuer": "` + base + `"`},
			{"GET", "/openapi.yaml", "", nil, 200, "openapi: 3.1"},
			{"GET", "/user", "", []string{"Authorization", "token " + a.Token}, 200, `"login": "mona"`},
			{"POST", "/authorizations", `{"note":"personal ` + prefix + `"}`, []string{"basic", monaBasic}, 201, authz.PersonalClientID},
			{"POST", "/oauth/revoke", "token=" + a.Token, form, 200, ""},
			{"GET", "/user", "", []string{"Authorization", "token " + a.Token}, 401, "Bad credentials"},
			{"DELETE", fmt.Sprint("/authorizations/", a.ID), "", []string{"basic", monaBasic}, 404, "Not Found"},
			{"GET", "/nosuch", "", nil, 404, `"message": "Not Found"`},
			{"GET", "/applications", "", nil, 404, `"message": "Not Found"`},
			{"GET", "/oauth/nosuch", "", nil, 404, `"message": "Not Found"`},
		} {
			r := do(t, c.method, base+c.path, c.body, c.headers...)
			if r.status != c.status || !strings.Contains(r.body, c.holds) {
				t.Errorf("%s %s: %d, want %d with %s: %s", c.method, prefix+c.path, r.status, c.status, c.holds, r.body)
			}
		}
	}
	// RFC 8414 section 3.1: the path of the issuer comes last.
	r := do(t, "GET", s.base+"/.well-known/oauth-authorization-server/api/v3", "").want(t, 200)
	if !strings.Contains(r.body, `"introspection_endpoint": "`+s.base+`/api/v3/oauth/introspect"`) {
		t.Errorf("metadata: %s", r.body)
	}

	// Apps learn nothing of the tokens of a disabled user.
	token := decode[wireAuthorization](t, s.put("", "").want(t, 201).body).Token
	check := func() response {
		return do(t, "POST", s.base+"/applications/"+s.clientID+"/token", fmt.Sprintf(`{"access_token":%q}`, token), "basic", app)
	}
	check().want(t, 200)
	must(t, "", "user", "disable", "mona", "--store", s.store)
	check().want(t, 404)
	s.stop()
	if strings.Contains(s.stderr.String(), token) {
		t.Error("the log holds a token")
	}

	s = newSite(t)
	token = decode[wireAuthorization](t, s.put("", "").want(t, 201).body).Token
	do(t, "GET", s.base+"/applications/"+s.clientID+"/tokens/"+token, "", "basic", s.clientID+":"+s.secret).want(t, 404)
	s.stop()
}
