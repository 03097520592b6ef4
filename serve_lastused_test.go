package authz_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// last_used_at stands wherever an authorization does, once its use is stored, and
// nowhere where the host hides it.
func TestLastUsedOverHTTP(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{LastUsedInterval: time.Hour})
	if err := s.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	hiding := httptest.NewServer(newHandler(t, s.m, func(c *authz.HandlerConfig) { c.HideLastUsed = true }))
	t.Cleanup(hiding.Close)
	hidden := *s
	hidden.Server = hiding

	used := mustGet(t, s.m, request(func(r *authz.Request) { r.Scopes = []string{"a"} }))
	mustGet(t, s.m, request(fingerprint("unused")))
	one := fmt.Sprintf("/authorizations/%d", used.Authorization.ID)
	before := s.send(t, "GET", one, "")
	s.clock.Add(time.Minute)
	if !alive(t, s.m, used.Token) {
		t.Fatal("the token is dead")
	}
	s.clock.Add(time.Minute)
	if got := s.send(t, "GET", one, ""); got.body != before.body || strings.Contains(got.body, "last_used_at") {
		t.Errorf("before its use is stored: %s", got.body)
	}
	closeManager(t, s.m)

	// In UTC, without the fraction, behind what the seed has.
	const member = `"last_used_at": "2011-09-06T15:27:27Z"`
	after := s.send(t, "GET", one, "", "If-None-Match: "+before.header.Get("ETag"))
	want := strings.Replace(before.body, `"fingerprint": ""`, `"fingerprint": "",`+"\n  "+member, 1)
	wantAnswer(t, "GET", after, 200, want, "ETag: *", "Last-Modified: "+before.header.Get("Last-Modified"))
	wantAnswer(t, "GET of what is known", s.send(t, "GET", one, "", "If-None-Match: "+after.header.Get("ETag")), 304, "",
		"ETag: "+after.header.Get("ETag"), "Last-Modified: "+before.header.Get("Last-Modified"))
	wantAnswer(t, "hidden", hidden.send(t, "GET", one, ""), 200, strings.ReplaceAll(before.body, s.URL, hidden.URL),
		"ETag: *", "Last-Modified: "+before.header.Get("Last-Modified"))

	for _, req := range []struct{ what, method, target, body, auth string }{
		{"list", "GET", "/authorizations", "", ""},
		{"PATCH", "PATCH", one, `{"note":"x"}`, ""},
		{"POST to it", "POST", one, `{"note":"y"}`, ""},
		{"PUT", "PUT", path, minimalBody, ""},
		{"check", "POST", ofApp + "/token", accessToken(used.Token.Reveal()), asClient},
		{"PUT, rotated", "PUT", path, `{` + secretField + `,"on_existing":"rotate"}`, ""},
	} {
		for name, on := range map[string]*server{"shown": s, "hidden": &hidden} {
			var headers []string
			if req.auth != "" {
				headers = []string{req.auth}
			}
			if req.what == "PUT, rotated" && name == "hidden" {
				continue // once: it would be another token
			}
			got := on.send(t, req.method, req.target, req.body, headers...)
			wanted := 1 // the other one was never used
			if name == "hidden" {
				wanted = 0
			}
			if got.status != 200 || strings.Count(got.body, "last_used_at") != wanted || strings.Count(got.body, member) != wanted {
				t.Errorf("%s, %s: %d %s", req.what, name, got.status, got.body)
			}
			if at, user := strings.Index(got.body, member), strings.Index(got.body, `"user":`); user > 0 && wanted > 0 && at > user {
				t.Errorf("%s: last_used_at stands behind user: %s", req.what, got.body)
			}
			if req.what == "PUT, rotated" {
				reset := accessToken(issued(t, req.what, got))
				if got = s.send(t, "PATCH", ofApp+"/token", reset, asClient); got.status != 200 || !strings.Contains(got.body, member) {
					t.Errorf("reset: %d %s", got.status, got.body)
				}
				scoped := `{"access_token":"` + issued(t, "reset", got) + `","scopes":["a"]}`
				if got = s.send(t, "POST", ofApp+"/token/scoped", scoped, asClient); got.status != 200 || strings.Contains(got.body, "last_used_at") {
					t.Errorf("scoped, a new one: %d %s", got.status, got.body)
				}
			}
		}
	}
}
