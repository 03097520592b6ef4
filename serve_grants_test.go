package authz_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
)

// grantShape is a grant on the wire.
type grantShape struct {
	id               int64
	root             string
	app              string
	scopes           []string
	created, updated string
}

func (g grantShape) text() string {
	scopes := "[]"
	if len(g.scopes) > 0 {
		scopes = "[\n    \"" + strings.Join(g.scopes, "\",\n    \"") + "\"\n  ]"
	}
	return fmt.Sprintf(`{
  "id": %d,
  "url": "%s/applications/grants/%d",
  "app": {
    "url": "http://my-github-app.com",
    "name": "my github app",
    "client_id": %q
  },
  "created_at": %q,
  "updated_at": %q,
  "scopes": %s
}`, g.id, g.root, g.id, g.app, g.created, g.updated, scopes)
}

// grantsOf reads the list of the user's grants.
func grantsOf(t testing.TB, s *server, target string) (ids []int64) {
	t.Helper()
	var list []struct{ ID int64 }
	got := s.send(t, "GET", target, "")
	if err := jsonInto(got.body, &list); err != nil || got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, g := range list {
		ids = append(ids, g.ID)
	}
	return ids
}

// Endpoints 8 to 10, each with the bytes and all headers of its answer.
func TestGrantsToTheByte(t *testing.T) {
	for _, prefix := range []string{"", "/api/v3"} {
		s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = prefix })
		register(t, s.m, otherClient)
		base := prefix + "/applications/grants"
		wantAnswer(t, "none", s.send(t, "GET", base, ""), 200, "[]\n", "ETag: *")

		// A personal authorization is granted to nobody.
		issued(t, "personal", s.send(t, "POST", prefix+"/authorizations", `{"note":"n","scopes":["admin"]}`))
		wantAnswer(t, "personal", s.send(t, "GET", base, ""), 200, "[]\n", "ETag: *")

		var tokens []string
		for i, scopes := range []string{`["b"]`, `["a","b"]`, `[]`} {
			tokens = append(tokens, issued(t, "PUT", s.put(t, prefix+path+"/"+strconv.Itoa(i), `{`+secretField+`,"scopes":`+scopes+`}`)))
			s.clock.Add(time.Minute)
		}
		other := issued(t, "PUT other", s.put(t, prefix+"/authorizations/clients/"+otherClient, minimalBody))
		hubots := issued(t, "PUT hubot", s.put(t, prefix+path, minimalBody, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode))

		ids := grantsOf(t, s, base)
		if len(ids) != 2 || ids[0] < 1 || ids[1] < 1 || ids[0] >= 1<<53 || ids[1] >= 1<<53 || ids[0] == ids[1] {
			t.Fatalf("ids %v, want two that JavaScript can hold", ids)
		}
		one := grantShape{ids[0], s.URL + prefix, clientID, []string{"b", "a"}, made, "2011-09-06T15:28:27Z"}
		two := grantShape{ids[1], s.URL + prefix, otherClient, nil, "2011-09-06T15:29:27Z", "2011-09-06T15:29:27Z"}
		wantAnswer(t, "list", s.send(t, "GET", base, ""), 200, arrayOf(one.text(), two.text()), "ETag: *")
		wantAnswer(t, "list of one app", s.send(t, "GET", base+"?client_id="+otherClient, ""), 200, arrayOf(two.text()), "ETag: *")
		wantAnswer(t, "list, client_id empty", s.send(t, "GET", base+"?client_id=", ""), 200, arrayOf(one.text(), two.text()), "ETag: *")
		for _, none := range []string{authz.PersonalClientID, "x", "aaaaaaaaaaaaaaaaaaaa"} {
			wantAnswer(t, "list of "+none, s.send(t, "GET", base+"?client_id="+none, ""), 200, "[]\n", "ETag: *")
		}
		first, second := base+"/"+strconv.FormatInt(ids[0], 10), base+"/"+strconv.FormatInt(ids[1], 10)
		got := s.send(t, "GET", first, "")
		wantAnswer(t, "one", got, 200, one.text()+"\n", "ETag: *", "Last-Modified: Tue, 06 Sep 2011 15:28:27 GMT")
		wantAnswer(t, "HEAD", s.send(t, "HEAD", first, ""), 200, "", "ETag: "+got.header.Get("ETag"), "Last-Modified: Tue, 06 Sep 2011 15:28:27 GMT",
			"Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(got.body)))

		// All of the user's tokens for that app go, and nothing else.
		wantAnswer(t, "DELETE", s.send(t, "DELETE", first, "{}"), 204, "")
		for _, token := range tokens {
			if alive(t, s.m, authz.NewSecret(token)) {
				t.Error("DELETE: a token lives")
			}
		}
		if !alive(t, s.m, authz.NewSecret(other)) || !alive(t, s.m, authz.NewSecret(hubots)) {
			t.Error("DELETE: a token of another app or user is dead")
		}
		for _, method := range []string{"GET", "DELETE"} {
			wantAnswer(t, method+" again", s.send(t, method, first, ""), 404, message("Not Found"))
		}
		wantAnswer(t, "list after DELETE", s.send(t, "GET", base, ""), 200, arrayOf(two.text()), "ETag: *")
		if got := s.send(t, "GET", prefix+"/authorizations", ""); strings.Count(got.body, `"id"`) != 2 {
			t.Errorf("authorizations after DELETE: %s", got.body)
		}
		// Granted again, it has its id again.
		issued(t, "PUT again", s.put(t, prefix+path, minimalBody))
		if again := grantsOf(t, s, base); len(again) != 2 || again[0] != ids[0] && again[1] != ids[0] {
			t.Errorf("granted again: %v, want %d among them", again, ids[0])
		}
		// Another user's grant of the same app is another one.
		if got := s.send(t, "DELETE", second, "", "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode); got.status != 404 {
			t.Errorf("another user's grant: %d", got.status)
		}
	}
}

func TestGrantsPaging(t *testing.T) {
	for _, n := range []int{0, 1, 30, 31, 100, 101} {
		s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = "/api/v3" })
		for i := range n {
			id := fmt.Sprintf("app%017d", i+1)
			register(t, s.m, id)
			mustGet(t, s.m, request(func(r *authz.Request) { r.ClientID = id }))
			s.clock.Add(time.Second)
		}
		checkPages(t, s, "/api/v3/applications/grants", n, func(v map[string]any) int {
			i, err := strconv.Atoi(strings.TrimPrefix(v["app"].(map[string]any)["client_id"].(string), "app"))
			if err != nil {
				t.Fatal(err)
			}
			return i
		})
	}
}

// Grants are the user's affair: authentication is as below /authorizations.
func TestGrantsAuthentication(t *testing.T) {
	s := newServer(t)
	for _, target := range []string{"/applications/grants", "/applications/grants/1", "/applications/grants/x"} {
		for _, method := range []string{"GET", "DELETE", "PUT"} {
			name := method + " " + target
			wantAnswer(t, name, s.send(t, method, target, "", "Authorization:"), 401, message("Requires authentication"), `WWW-Authenticate: Basic realm="authz"`)
			wantAnswer(t, name, s.send(t, method, target, "", "Authorization: "+basic("mona", "x")), 401, message("Bad credentials"))
			wantAnswer(t, name, s.send(t, method, target, "", asClient), 401, message("Bad credentials"))
			wantAnswer(t, name, s.send(t, method, target, "", "Authorization: "+basic("hubot-sms", password)), 401, message("Must specify two-factor authentication OTP code."), "X-GitHub-OTP: required; sms")
			wantAnswer(t, name, s.send(t, method, target, "", "Authorization: Bearer x"), 403, message("This API can only be accessed with username and password Basic Auth"))
		}
	}
}
