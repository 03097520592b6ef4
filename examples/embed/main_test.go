package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The app is run, and what it prints is done.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(l, w) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	curl := regexp.MustCompile(`^curl -u (\w+):(\w+) -X PUT -d '(.*)' (\S+)\n$`).FindStringSubmatch(line)
	if curl == nil {
		t.Fatalf("printed %q", line)
	}
	do := func(method, url, body string, auth func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		auth(req)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	password := func(r *http.Request) { r.SetBasicAuth(curl[1], curl[2]) }
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	put := func(url, body string) (int, string) {
		t.Helper()
		status, text := do(http.MethodPut, url, body, password)
		var a struct{ Token string }
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatalf("%d %s: %v", status, text, err)
		}
		return status, a.Token
	}
	user := "http://" + l.Addr().String() + "/user"

	status, token := put(curl[4], curl[3])
	if status != 201 || token == "" {
		t.Fatalf("PUT: %d", status)
	}
	if status, again := put(curl[4], curl[3]); status != 200 || again != "" {
		t.Errorf("PUT again: %d, a token: %v", status, again != "")
	}
	if status, text := do(http.MethodGet, user, "", bearer(token)); status != 200 || text != "user 1\n" {
		t.Errorf("GET /user: %d %q", status, text)
	}
	if status, _ := do(http.MethodGet, user, "", bearer(token+"x")); status != 401 {
		t.Errorf("GET /user with a wrong token: %d", status)
	}
	_, narrow := put(curl[4]+"/narrow", strings.Replace(curl[3], `["user"]`, `["repo"]`, 1))
	if status, _ := do(http.MethodGet, user, "", bearer(narrow)); status != 403 {
		t.Errorf("GET /user without the scope: %d", status)
	}
	if status, _ := do(http.MethodPut, curl[4], curl[3], func(r *http.Request) { r.SetBasicAuth(curl[1], "x") }); status != 401 {
		t.Errorf("PUT with a wrong password: %d", status)
	}
	// The user's list, and what the app can do.
	root, clientID, _ := strings.Cut(curl[4], "/authorizations/clients/")
	if status, text := do(http.MethodGet, root+"/authorizations", "", password); status != 200 || strings.Count(text, `"id":`) != 2 {
		t.Errorf("GET /authorizations: %d %s", status, text)
	}
	var secret struct {
		ClientSecret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(curl[3]), &secret); err != nil {
		t.Fatal(err)
	}
	app := func(r *http.Request) { r.SetBasicAuth(clientID, secret.ClientSecret) }
	form := func(r *http.Request) { app(r); r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	own := root + "/applications/" + clientID + "/token"
	if status, text := do(http.MethodPost, own, `{"access_token":"`+token+`"}`, app); status != 200 || !strings.Contains(text, `"login": "mona"`) {
		t.Errorf("POST %s: %d %s", own, status, text)
	}
	if status, text := do(http.MethodPost, root+"/oauth/introspect", "token="+token, form); status != 200 || !strings.Contains(text, `"active": true`) {
		t.Errorf("introspect: %d %s", status, text)
	}
	if status, _ := do(http.MethodDelete, own, `{"access_token":"`+token+`"}`, app); status != 204 {
		t.Errorf("DELETE %s: %d", own, status)
	}
	if status, _ := do(http.MethodGet, user, "", bearer(token)); status != 401 {
		t.Errorf("GET /user with a token that is revoked: %d", status)
	}
	if status, text := do(http.MethodGet, root+"/.well-known/oauth-authorization-server", "", func(*http.Request) {}); status != 200 || !strings.Contains(text, `"issuer": "`+root+`"`) {
		t.Errorf("metadata: %d %s", status, text)
	}

	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v", err)
	}
}
