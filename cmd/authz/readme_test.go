package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
)

var update = flag.Bool("update", false, "write the session into the README")

// The session in the README is what the demo says today, byte for byte but for
// what differs from run to run.
func TestREADME(t *testing.T) {
	const (
		readme = "../../README.md"
		begin  = "<!-- session: written by `go test ./cmd/authz -run README -update`, checked by every test run -->\n"
		end    = "<!-- /session -->\n"
	)
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks", readme)
	}
	want := "```console\n" + session(t) + "```\n"
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("the session in %s is another one: go test ./cmd/authz -run README -update\n%s", readme, want)
	}
	if err := os.WriteFile(readme, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// session plays what the demo prints: create, create again, use, and then, with
// the bodies of the answers alone, list, introspect, revoke.
func session(t *testing.T) string {
	_, c := startDemo(t, "memory:")
	path := "/authorizations/clients/" + c.ClientID
	body := fmt.Sprintf(`{"client_secret":%q,"scopes":["public_repo"],"note":"admin script"}`, c.ClientSecret)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Login+":"+c.Password))
	put := fmt.Sprintf("$ curl -i -u %s:%s -X PUT %s%s \\\n    -d '%s'\n", c.Login, c.Password, c.BaseURL, path, body)

	var out strings.Builder
	first := exchange(t, c.BaseURL, "PUT", path, basic, body)
	token := regexp.MustCompile(`azt_[0-9A-Za-z]{36}`).FindString(first)
	out.WriteString(put + first + "\n")
	out.WriteString(put + exchange(t, c.BaseURL, "PUT", path, basic, body) + "\n")
	out.WriteString("$ curl -i -H 'Authorization: Bearer " + token + "' " + c.BaseURL + "/user\n")
	out.WriteString(exchange(t, c.BaseURL, "GET", "/user", "Bearer "+token, "") + "\n")

	content := func(answer string) string { _, body, _ := strings.Cut(answer, "\n\n"); return body }
	app := "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ClientID+":"+c.ClientSecret))
	asApp := func(path string) string {
		return fmt.Sprintf("$ curl -u %s:%s %s%s \\\n    -d token=%s\n", c.ClientID, c.ClientSecret, c.BaseURL, path, token)
	}
	fmt.Fprintf(&out, "$ curl -u %s:%s %s/authorizations | jq -c '.[] | {id, token_last_eight, note}'\n", c.Login, c.Password, c.BaseURL)
	out.WriteString(picked(t, content(exchange(t, c.BaseURL, "GET", "/authorizations", basic, ""))) + "\n")
	out.WriteString(asApp("/oauth/introspect") + content(exchange(t, c.BaseURL, "POST", "/oauth/introspect", app, "token="+token)) + "\n")
	out.WriteString(asApp("/oauth/revoke") + content(exchange(t, c.BaseURL, "POST", "/oauth/revoke", app, "token="+token)) + "\n")
	out.WriteString(asApp("/oauth/introspect") + content(exchange(t, c.BaseURL, "POST", "/oauth/introspect", app, "token="+token)))

	// What differs from run to run, in the place of which stands one example.
	const example = "azt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0uCPlr"
	return strings.NewReplacer(
		c.BaseURL, "http://127.0.0.1:8080",
		c.Password, "joyqr-7etcl-vqy2e-mespv",
		c.ClientID, "48d7a11493b05cd029d4",
		c.ClientSecret, "1fe0abe7d066a6482dc9d5b48f2771c97ec19cdb",
		token, example,
		`"token_last_eight": "`+token[len(token)-8:], `"token_last_eight": "`+example[len(example)-8:],
		`"token_last_eight":"`+token[len(token)-8:], `"token_last_eight":"`+example[len(example)-8:],
		store.HashOf(token).Hex(), store.HashOf(example).Hex(),
	).Replace(out.String())
}

// picked is what jq -c '.[] | {id, token_last_eight, note}' makes of a list.
func picked(t *testing.T, list string) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	for _, a := range decode[[]struct {
		ID             int64  `json:"id"`
		TokenLastEight string `json:"token_last_eight"`
		Note           string `json:"note"`
	}](t, list) {
		if err := enc.Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// exchange returns an answer as it comes over the wire, as curl -i shows it.
func exchange(t *testing.T, base, method, path, authorization, body string) string {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	conn, err := net.DialTimeout("tcp", host, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		method, path, host, authorization, len(body), body)
	raw, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	answer := strings.ReplaceAll(string(raw), "\r\n", "\n")
	answer = strings.Replace(answer, "Connection: close\n", "", 1)
	for expr, with := range map[string]string{
		`(?m)^Date: .*$`:         "Date: Sun, 22 Nov 2026 08:58:51 GMT",
		`(?m)^X-Request-Id: .*$`: "X-Request-Id: 45c53938-e99a-4165-b8e5-4c2901e344d1",
		`_at": "[^"]*"`:          `_at": "2026-11-22T08:58:51Z"`,
		`"iat": \d+`:             `"iat": 1795337931`,
	} {
		answer = regexp.MustCompile(expr).ReplaceAllLiteralString(answer, with)
	}
	// The port in the body's url has one digit more or less.
	head, content, _ := strings.Cut(answer, "\n\n")
	length := len(strings.ReplaceAll(content, base, "http://127.0.0.1:8080"))
	return regexp.MustCompile(`(?m)^Content-Length: .*$`).ReplaceAllLiteralString(head, fmt.Sprint("Content-Length: ", length)) + "\n\n" + content
}
