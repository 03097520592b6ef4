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

func TestRouters(t *testing.T) {
	type router struct {
		name    string
		mount   func(http.Handler) http.Handler
		at      string // where clients find the API
		handler string // HandlerConfig.Prefix
	}
	var routers []router
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
		routers = append(routers, router{r.name + " root", r.root, "", ""}, router{r.name + " prefix", r.prefix, Prefix, Prefix}, router{r.name + " stripped", r.stripped, Prefix, ""})
	}
	const (
		put    = "/authorizations/clients/" + clientID
		secret = `{"client_secret":"` + clientSecret + `"}`
	)
	for _, r := range routers {
		t.Run(r.name, func(t *testing.T) {
			server := httptest.NewServer(r.mount(newAPI(t, r.handler)))
			defer server.Close()
			client := server.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
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
				{method: "GET", path: "/authorizations/1", otp: "123456", status: 404, field: "message", value: "Not Found"},
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
				resp, err := client.Do(req)
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
}
