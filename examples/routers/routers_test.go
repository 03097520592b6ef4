package routers

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // no list of routes on stdout
	os.Exit(m.Run())
}

const (
	clientID     = "abcde12345fghij67890"
	clientSecret = "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"
)

func newAPI(t *testing.T, prefix string) http.Handler {
	t.Helper()
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = m.RegisterApp(context.Background(), authz.NewApp{Name: "app", ClientID: clientID, ClientSecret: authz.NewSecret(clientSecret)})
	if err != nil {
		t.Fatal(err)
	}
	api, err := authz.NewHandler(m, authz.HandlerConfig{
		Prefix: prefix,
		Authenticator: authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
			switch {
			case c.Login != "hubot" || c.Password.Reveal() != "beep":
				return authz.User{}, authz.ErrBadCredentials
			case c.OTP.Reveal() != "123456":
				return authz.User{}, &authz.OTPRequiredError{}
			}
			return authz.User{ID: "1"}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// router is one of the functions here.
type router struct {
	name    string
	mount   func(http.Handler) http.Handler
	at      string // where clients find the API
	handler string // HandlerConfig.Prefix
}

// each tests every router at the root, below a prefix, and below one that is
// stripped.
func each(t *testing.T, test func(t *testing.T, r router, server *httptest.Server)) {
	for _, r := range []struct {
		name                   string
		root, prefix, stripped func(http.Handler) http.Handler
	}{
		{"ServeMux", ServeMuxRoot, ServeMuxPrefix, ServeMuxStripped},
		{"chi", ChiRoot, ChiPrefix, ChiStripped},
		{"gin", GinRoot, GinPrefix, GinStripped},
		{"echo", EchoRoot, EchoPrefix, EchoStripped},
		{"gorilla", GorillaRoot, GorillaPrefix, GorillaStripped},
	} {
		for _, r := range []router{{r.name + " root", r.root, "", ""}, {r.name + " prefix", r.prefix, Prefix, Prefix}, {r.name + " stripped", r.stripped, Prefix, ""}} {
			t.Run(r.name, func(t *testing.T) {
				server := httptest.NewServer(r.mount(newAPI(t, r.handler)))
				defer server.Close()
				server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				test(t, r, server)
			})
		}
	}
}

func TestRouters(t *testing.T) {
	const (
		put    = "/authorizations/clients/" + clientID
		secret = `{"client_secret":"` + clientSecret + `"}`
	)
	each(t, func(t *testing.T, r router, server *httptest.Server) {
		for _, test := range []struct {
			method, path, otp string
			status            int
			field, value      string // of the body
			header, is        string
			id                string
		}{
			{method: "PUT", path: put, otp: "123456", status: 201, field: "fingerprint", value: "", id: "1"},
			{method: "PUT", path: put, otp: "123456", status: 200, field: "token", value: "", id: "1"},
			{method: "PUT", path: put + "/a%2Fb", otp: "123456", status: 201, field: "fingerprint", value: "a/b", id: "2"},
			{method: "PUT", path: put + "/a%2Fb", otp: "123456", status: 200, field: "fingerprint", value: "a/b", id: "2"},
			{method: "PUT", path: put + "/..%2F", otp: "123456", status: 201, field: "fingerprint", value: "../", id: "3"},
			{method: "PUT", path: put + "/%2E%2E", otp: "123456", status: 201, field: "fingerprint", value: "..", id: "4"},
			{method: "PUT", path: put + "/%2F", otp: "123456", status: 201, field: "fingerprint", value: "/", id: "5"},
			{method: "PUT", path: put + "/a%20b%252F+%C3%A9", otp: "123456", status: 201, field: "fingerprint", value: "a b%2F+é", id: "6"},
			{method: "PUT", path: put + "/a%00b", otp: "123456", status: 422, field: "message", value: "Validation Failed"},
			{method: "PUT", path: put + "/a/b", otp: "123456", status: 404, field: "message", value: "Not Found"},
			{method: "GET", path: "/authorizations/1", otp: "123456", status: 200, field: "token", value: ""},
			{method: "GET", path: put, otp: "123456", status: 405, field: "message", value: "Method Not Allowed", header: "Allow", is: "PUT"},
			{method: "DELETE", path: put + "/x", otp: "123456", status: 405, field: "message", value: "Method Not Allowed", header: "Allow", is: "PUT"},
			{method: "PATCH", path: "/authorizations", status: 401, field: "message", value: "Must specify two-factor authentication OTP code.", header: "X-GitHub-OTP", is: "required; app"},
			{method: "PATCH", path: "/authorizations", otp: "123456", status: 404, field: "message", value: "Not Found"},
			{method: "GET", path: "/authorizations/", otp: "123456", status: 404, field: "message", value: "Not Found"},
		} {
			req, err := http.NewRequest(test.method, server.URL+r.at+test.path, strings.NewReader(secret))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("hubot", "beep")
			req.Header.Set("X-GitHub-OTP", test.otp)
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			var body map[string]any
			if err != nil || json.Unmarshal(text, &body) != nil || resp.StatusCode != test.status || body[test.field] != test.value {
				t.Errorf("%s %s: %d %s, want %d with %s %q", test.method, test.path, resp.StatusCode, text, test.status, test.field, test.value)
				continue
			}
			if test.header != "" && resp.Header.Get(test.header) != test.is {
				t.Errorf("%s %s: %s is %q, want %q", test.method, test.path, test.header, resp.Header.Get(test.header), test.is)
			}
			if want := server.URL + r.at + "/authorizations/" + test.id; test.id != "" && (resp.Header.Get("Location") != want || body["url"] != want) {
				t.Errorf("%s %s: Location %q, url %q, want %q", test.method, test.path, resp.Header.Get("Location"), body["url"], want)
			}
		}
	})
}

// The whole family is reachable, each endpoint by what only it answers.
func TestFamily(t *testing.T) {
	each(t, func(t *testing.T, r router, server *httptest.Server) {
		base := server.URL + r.at
		do := func(method, url, body string, status int, holds string, sets ...func(*http.Request)) map[string]any {
			t.Helper()
			req, err := http.NewRequest(method, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for _, set := range sets {
				set(req)
			}
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status || !strings.Contains(string(text), holds) {
				t.Errorf("%s %s: %d %s, want %d with %s", method, url, resp.StatusCode, text, status, holds)
			}
			var out map[string]any
			_ = json.Unmarshal(text, &out) // nil for a list
			return out
		}
		user := func(r *http.Request) { r.SetBasicAuth("hubot", "beep"); r.Header.Set("X-GitHub-OTP", "123456") }
		app := func(r *http.Request) { r.SetBasicAuth(clientID, clientSecret) }
		form := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
		withToken := func(format string, token any) string { return strings.Replace(format, "TOKEN", token.(string), 1) }

		const body, own = `{"access_token":"TOKEN"}`, "/applications/" + clientID
		made := do("POST", base+"/authorizations", `{"client_id":"`+clientID+`","client_secret":"`+clientSecret+`","scopes":["a"]}`, 201, `"token": "azt_`, user)
		one, _ := made["url"].(string)
		if one != base+"/authorizations/1" {
			t.Fatalf("url %q below %s", one, base)
		}
		do("GET", base+"/authorizations?per_page=5", "", 200, `"url": "`+one+`"`, user)
		do("GET", one, "", 200, `"token": ""`, user)
		do("PATCH", one, `{"note":"new"}`, 200, `"note": "new"`, user)
		do("PUT", one, "{}", 405, `"Method Not Allowed"`, user)

		do("GET", base+"/applications/grants", "", 200, `"url": "`+base+"/applications/grants/", user)
		do("POST", base+own+"/token", withToken(body, made["token"]), 200, `"node_id": "1"`, app)
		reset := do("PATCH", base+own+"/token", withToken(body, made["token"]), 200, `"url": "`+one+`"`, app)
		do("POST", base+own+"/token/scoped", withToken(`{"access_token":"TOKEN","scopes":[]}`, reset["token"]), 200, `"scopes": []`, app)
		do("POST", base+"/oauth/introspect", withToken("token=TOKEN", reset["token"]), 200, `"active": true`, app, form)
		do("POST", base+"/oauth/revoke", withToken("token=TOKEN", reset["token"]), 200, "", app, form)
		do("DELETE", base+own+"/token", withToken(body, reset["token"]), 404, `"Not Found"`, app)
		do("DELETE", one, "", 404, `"Not Found"`, user)
		again := do("POST", base+"/authorizations", `{"client_id":"`+clientID+`","client_secret":"`+clientSecret+`"}`, 201, `"token": "azt_`, user)
		do("DELETE", base+own+"/grant", withToken(body, again["token"]), 204, "", app)
		personal := do("POST", base+"/authorizations", `{"note":"mine"}`, 201, authz.PersonalClientID, user)
		do("DELETE", personal["url"].(string), "", 204, "", user)

		metadata := do("GET", base+WellKnown, "", 200, `"issuer": "`+base+`"`)
		do("POST", metadata["introspection_endpoint"].(string), "token=x", 200, `"active": false`, app, form)
		if r.handler == r.at { // RFC 8414 section 3.1; an API whose prefix is stripped knows none
			do("GET", server.URL+WellKnown+r.at, "", 200, `"issuer": "`+base+`"`)
		}
		do("GET", base+"/applications/nosuch/x", "", 404, `"Not Found"`)
		do("GET", base+"/oauth/nosuch", "", 404, `"Not Found"`)
		do("GET", base+"/oauth/revoke", "", 405, `"Method Not Allowed"`)
	})
}
