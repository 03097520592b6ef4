package authz_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const ofApp = "/applications/" + clientID

func accessToken(token string) string { return `{"access_token":"` + token + `"}` }

// userShape is the user object of these answers.
func userShape(root, login string, id int64, nodeID string) string {
	return fmt.Sprintf("{\n  \"login\": %q,\n  \"id\": %d,\n  \"node_id\": %q,\n  \"url\": \"%s/users/%s\",\n  \"type\": \"User\"\n}", login, id, nodeID, root, login)
}

// derivedID is the number that stands for a User.ID which is none.
func derivedID(id string) int64 {
	sum := sha256.Sum256([]byte("user\x00" + id + "\x00"))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 11)
}

// Endpoints 11 to 15, and 16, each with the bytes and all headers of its answer.
func TestApplicationsToTheByte(t *testing.T) {
	for _, prefix := range []string{"", "/api/v3"} {
		for _, legacy := range []bool{false, true} {
			s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix, c.LegacyTokenPaths = prefix, legacy })
			app := prefix + ofApp
			// call sends a request in the newer or the older form.
			call := func(method, what, token string) answer {
				t.Helper()
				if !legacy {
					return s.send(t, method, app+"/"+what, accessToken(token), asClient)
				}
				if method == "POST" {
					method = "GET"
				}
				if method == "PATCH" {
					method = "POST"
				}
				return s.send(t, method, app+"/"+what+"s/"+token, "", asClient)
			}
			notFound := func(name, token string) {
				t.Helper()
				for _, r := range [][2]string{{"POST", "token"}, {"PATCH", "token"}, {"DELETE", "token"}, {"DELETE", "grant"}} {
					wantAnswer(t, name+": "+r[0]+" "+r[1], call(r[0], r[1], token), 404, message("Not Found"))
				}
				wantAnswer(t, name+": scoped", s.send(t, "POST", app+"/token/scoped", `{"access_token":"`+token+`","scopes":[]}`, asClient), 404, message("Not Found"))
			}
			w := newShape(s, 1, issued(t, "PUT", s.put(t, prefix+path+"/f", `{`+secretField+`,"scopes":["repo","user"],"note":"n","note_url":"http://x"}`)))
			w.root, w.scopes, w.note, w.noteURL, w.fingerprint = s.URL+prefix, []string{"repo", "user"}, "n", "http://x", "f"
			w.user = userShape(w.root, owner, derivedID(owner), owner)

			// 11
			s.clock.Add(time.Minute)
			wantAnswer(t, "check", call("POST", "token", w.token), 200, w.body())
			// 15
			s.clock.Add(time.Minute)
			got := s.send(t, "POST", app+"/token/scoped", `{"access_token":"`+w.token+`","scopes":["user"],"note":"less","note_url":"http://y","fingerprint":"g","foo":1}`, asClient)
			scoped := newShape(s, 2, issued(t, "scoped", got))
			scoped.root, scoped.scopes, scoped.note, scoped.noteURL, scoped.fingerprint, scoped.user = w.root, []string{"user"}, "less", "http://y", "g", w.user
			scoped.updated, scoped.created = "2011-09-06T15:28:27Z", "2011-09-06T15:28:27Z"
			wantAnswer(t, "scoped", got, 200, scoped.body())
			wantAnswer(t, "check of scoped", call("POST", "token", scoped.token), 200, scoped.body())
			wantAnswer(t, "check, as it was", call("POST", "token", w.token), 200, w.body())
			// 12, twice
			old := w.token
			for i := range 2 {
				s.clock.Add(time.Minute)
				got = call("PATCH", "token", w.token)
				before := w.token
				w.token = issued(t, "reset", got)
				w.hash, w.last = store.HashOf(w.token).Hex(), w.token[32:]
				w.updated = fmt.Sprintf("2011-09-06T15:%d:27Z", 29+i)
				wantAnswer(t, "reset", got, 200, w.body())
				notFound("after reset", before)
			}
			notFound("after two resets", old)
			wantAnswer(t, "check after reset", call("POST", "token", w.token), 200, w.body())
			// 13
			wantAnswer(t, "DELETE", call("DELETE", "token", w.token), 204, "")
			notFound("after DELETE", w.token)
			wantAnswer(t, "scoped lives on", call("POST", "token", scoped.token), 200, scoped.body())
			// 14
			third := issued(t, "PUT", s.put(t, prefix+path, minimalBody))
			wantAnswer(t, "DELETE grant", call("DELETE", "grant", third), 204, "")
			notFound("after DELETE grant", third)
			notFound("after DELETE grant", scoped.token)
			if n := count(t, s.store, owner); n != 0 {
				t.Errorf("%d rows are left", n)
			}
			// What never was a token.
			for _, token := range []string{"x", "azt_" + strings.Repeat("A", 30) + "0uCPlr", "azt_" + strings.Repeat("A", 36), strings.Repeat("x", 4000)} {
				notFound("no token", token)
			}
		}
	}
}

// Older forms are off unless they are wanted, with the right credentials too.
func TestLegacyPathsAreOff(t *testing.T) {
	s := newServer(t)
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	for _, target := range []string{ofApp + "/tokens/" + token, ofApp + "/grants/" + token} {
		for _, method := range []string{"GET", "POST", "DELETE", "PATCH"} {
			for _, auth := range []string{asClient, "Authorization:", "Authorization: " + basic("mona", password)} {
				wantAnswer(t, method+" "+target, s.send(t, method, target, "", auth), 404, message("Not Found"))
			}
		}
	}
	if !alive(t, s.m, authz.NewSecret(token)) {
		t.Error("the token is dead")
	}
}

// HEAD of the older form is GET without the body.
func TestLegacyHead(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.LegacyTokenPaths = true })
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	got := s.send(t, "GET", ofApp+"/tokens/"+token, "", asClient)
	wantAnswer(t, "HEAD", s.send(t, "HEAD", ofApp+"/tokens/"+token, "", asClient), 200, "", "Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(got.body)))
}

// appEndpoints are 11 to 16, with a body that is good but for its token.
func appEndpoints(app, token string) [][3]string {
	body := accessToken(token)
	return [][3]string{
		{"POST", app + "/token", body},
		{"PATCH", app + "/token", body},
		{"DELETE", app + "/token", body},
		{"DELETE", app + "/grant", body},
		{"POST", app + "/token/scoped", `{"access_token":"` + token + `","scopes":[]}`},
		{"GET", app + "/tokens/" + token, ""},
		{"POST", app + "/tokens/" + token, ""},
		{"DELETE", app + "/tokens/" + token, ""},
		{"DELETE", app + "/grants/" + token, ""},
	}
}

// The app's credentials come first, then whose path it is, then the method, then
// the body. A user's login is no app's, and a foreign token is not found.
func TestAppAuthentication(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.LegacyTokenPaths = true })
	register(t, s.m, otherClient)
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	foreign := issued(t, "PUT", s.put(t, "/authorizations/clients/"+otherClient, minimalBody))
	personal := issued(t, "POST", s.send(t, "POST", "/authorizations", `{"note":"n"}`))
	for _, e := range appEndpoints(ofApp, token) {
		name := e[0] + " " + e[1]
		for _, auth := range []string{
			"", basic("mona", password), basic(clientID, "x"), basic(clientID, ""), basic("", clientSecret), basic("", ""), basic("x", clientSecret), basic(strings.ToUpper(clientID), clientSecret),
			basic(authz.PersonalClientID, clientSecret), basic("aaaaaaaaaaaaaaaaaaaa", clientSecret), basic(clientID+"\x00", clientSecret), "Bearer " + token, "token " + token, "Bearer " + clientSecret, "Basic",
			"Basic !", "Basic " + strings.TrimPrefix(basic(clientID, clientSecret), "Basic ") + "!", "Digest x", basic(clientID+":"+clientSecret, ""), basic(clientID, clientSecret+" "),
		} {
			wantAnswer(t, name+", "+auth, s.send(t, e[0], e[1], e[2], "Authorization: "+auth), 401, message("Bad credentials"))
		}
		wantAnswer(t, name+", another app", s.send(t, e[0], e[1], e[2], asOtherClient), 404, message("Not Found"))
		wantAnswer(t, name+", another app, another method", s.send(t, "PUT", e[1], "", asOtherClient), 404, message("Not Found"))
		wantAnswer(t, name+", no credentials, another method", s.send(t, "PUT", e[1], "", "Authorization:"), 401, message("Bad credentials"))
		wantAnswer(t, name+", two-factor header", s.send(t, "PUT", e[1], "", "Authorization:", "X-GitHub-OTP: x"), 401, message("Bad credentials"))
		if e[2] != "" {
			wantAnswer(t, name+", no credentials, no JSON", s.send(t, e[0], e[1], "{", "Authorization:"), 401, message("Bad credentials"))
			wantAnswer(t, name+", another app, no JSON", s.send(t, e[0], e[1], "{", asOtherClient), 404, message("Not Found"))
		}
	}
	for _, other := range []string{foreign, personal} {
		for _, e := range appEndpoints(ofApp, other) {
			wantAnswer(t, e[0]+" of a foreign token", s.send(t, e[0], e[1], e[2], asClient), 404, message("Not Found"))
		}
		for _, e := range appEndpoints("/applications/"+authz.PersonalClientID, other) {
			wantAnswer(t, e[0]+" as nobody's app", s.send(t, e[0], e[1], e[2], "Authorization: "+basic(authz.PersonalClientID, clientSecret)), 401, message("Bad credentials"))
		}
	}
	for _, tok := range []string{token, foreign, personal} {
		if !alive(t, s.m, authz.NewSecret(tok)) {
			t.Error("a token is dead")
		}
	}
}

// What the endpoints for apps say to wrong bodies.
func TestAppBodies(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{Scopes: authz.ScopeNames("a", "b", "c")})
	token := issued(t, "PUT", s.put(t, path, `{`+secretField+`,"scopes":["a","b"]}`))
	issued(t, "PUT", s.put(t, path+"/taken", minimalBody))
	for _, e := range appEndpoints(ofApp, token)[:5] {
		name := e[0] + " " + e[1]
		for body, want := range map[string]string{
			"": invalid("access_token", "missing_field", ""), "{}": invalid("access_token", "missing_field", ""), "\r\n": invalid("access_token", "missing_field", ""),
			`{"access_token":""}`: invalid("access_token", "missing_field", ""), `{"token":"x"}`: invalid("access_token", "missing_field", ""),
			`{"access_token":null}`:              invalid("access_token", "invalid", "access_token must be a string, not null"),
			`{"access_token":1}`:                 invalid("access_token", "invalid", "access_token must be a string, not a number"),
			`{"access_token":["` + token + `"]}`: invalid("access_token", "invalid", "access_token must be a string, not an array"),
		} {
			wantAnswer(t, name+" "+body, s.send(t, e[0], e[1], body, asClient), 422, want)
		}
		for _, body := range []string{"{", accessToken(token) + "x", `{"access_token":"x","access_token":"` + token + `"}`, "{\"access_token\":\"\xff\"}"} {
			wantAnswer(t, name+" "+body, s.send(t, e[0], e[1], body, asClient), 400, message("Problems parsing JSON"))
		}
		for _, body := range []string{"[]", "null", `"` + token + `"`} {
			wantAnswer(t, name+" "+body, s.send(t, e[0], e[1], body, asClient), 400, message("Body should be a JSON object"))
		}
		wantAnswer(t, name+", too large", s.send(t, e[0], e[1], strings.Repeat(" ", 64<<10)+e[2], asClient), 413, message("Request body is too large"))
		wantAnswer(t, name+", encoded", s.send(t, e[0], e[1], e[2], asClient, "Content-Encoding: gzip"), 415, message("Request body must not have a Content-Encoding"))
	}
	for rest, want := range map[string]string{
		``:                                   invalid("scopes", "missing_field", ""),
		`,"scopes":"a"`:                      invalid("scopes", "invalid", "scopes must be an array of strings, not a string"),
		`,"scopes":["c","a"]`:                invalid("scopes", "custom", "scopes are invalid: c"),
		`,"scopes":["z"]`:                    invalid("scopes", "custom", "scopes are invalid: z"),
		`,"scopes":[""]`:                     invalid("scopes", "invalid", "scopes must be scope-tokens of RFC 6749, at most 100 bytes long each: number 1 is none"),
		`,"scopes":[],"note":null`:           invalid("note", "invalid", "note must be a string, not null"),
		`,"scopes":[],"note_url":"x"`:        invalid("note_url", "invalid", "note_url must be an absolute http or https URL"),
		`,"scopes":[],"fingerprint":"\t"`:    invalid("fingerprint", "invalid", "fingerprint must not contain control characters"),
		`,"scopes":[],"fingerprint":"taken"`: clash("fingerprint", s.URL+"/authorizations/2"),
	} {
		wantAnswer(t, "scoped "+rest, s.send(t, "POST", ofApp+"/token/scoped", `{"access_token":"`+token+`"`+rest+`}`, asClient), 422, want)
	}
	if n := count(t, s.store, owner); n != 2 || !alive(t, s.m, authz.NewSecret(token)) {
		t.Errorf("%d rows, want 2, and the token alive", n)
	}
}

// A scoped token is none that get-or-create returns, and dies no later than the
// token it came from.
func TestScopedOverHTTP(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{Lifetime: time.Hour})
	token := issued(t, "PUT", s.put(t, path, `{`+secretField+`,"scopes":["a","b"]}`))
	s.clock.Add(30 * time.Minute)
	got := s.send(t, "POST", ofApp+"/token/scoped", `{"access_token":"`+token+`","scopes":null}`, asClient)
	scoped := issued(t, "scoped", got)
	v := got.decode(t)
	if f, _ := v["fingerprint"].(string); !uuidForm.MatchString(f) || fmt.Sprint(v["scopes"]) != "[]" || v["id"] != 2.0 {
		t.Errorf("got %s, want a UUID for a fingerprint and no scopes", got.body)
	}
	if again := s.put(t, path, minimalBody); again.status != 200 || again.id(t) != 1 {
		t.Errorf("PUT: %d id %d, want 200 and 1", again.status, again.id(t))
	}
	wider := s.send(t, "POST", ofApp+"/token/scoped", `{"access_token":"`+scoped+`","scopes":["a"]}`, asClient)
	wantAnswer(t, "wider than it", wider, 422, invalid("scopes", "custom", "scopes are invalid: a"))
	s.clock.Add(30*time.Minute - time.Second)
	if !alive(t, s.m, authz.NewSecret(scoped)) {
		t.Error("dead before its time")
	}
	s.clock.Add(time.Second)
	if alive(t, s.m, authz.NewSecret(scoped)) {
		t.Error("it outlives the token it came from")
	}
	wantAnswer(t, "expired", s.send(t, "POST", ofApp+"/token", accessToken(scoped), asClient), 404, message("Not Found"))
}

// The user object: a number for an id always, whatever the host's IDs are.
func TestUserObject(t *testing.T) {
	for id, number := range map[string]int64{
		"1": 1, "583231": 583231, "9007199254740991": 1<<53 - 1,
		"9007199254740992": 0, "18446744073709551616": 0, "0": 0, "-1": 0, "007": 0, "+7": 0, "1.5": 0, "１": 0, "1e3": 0,
		"8d4f0a3e-3b1a-4c5e-9d6f-7a8b9c0d1e2f": 0, "mona": 0, "é": 0, strings.Repeat("9", 255): 0,
	} {
		if number == 0 {
			number = derivedID(id)
		}
		s := newServer(t, func(c *authz.HandlerConfig) {
			c.Users = func(_ context.Context, asked string) (authz.User, error) {
				if asked != id {
					t.Errorf("asked for %q, want %q", asked, id)
				}
				return authz.User{ID: "what it says here does not count", Login: "mona lisa/é"}, nil
			}
		})
		r := mustGet(t, s.m, request(func(r *authz.Request) { r.Owner = id }))
		v := s.send(t, "POST", ofApp+"/token", accessToken(r.Token.Reveal()), asClient).decode(t)
		got, _ := v["user"].(map[string]any)
		want := map[string]any{"login": "mona lisa/é", "id": float64(number), "node_id": id, "url": s.URL + "/users/mona%20lisa%2F%C3%A9", "type": "User"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("ID %.40q: user %v, want %v", id, got, want)
		}
		if number < 1 || number >= 1<<53 {
			t.Errorf("ID %.40q: number %d", id, number)
		}
	}
}

// HandlerConfig.Users: who is gone has no tokens; a directory that fails is 503,
// and then nothing was done.
func TestUsersLookup(t *testing.T) {
	var users struct {
		sync.Mutex
		user authz.User
		err  error
	}
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.LegacyTokenPaths = true
		c.Users = func(context.Context, string) (authz.User, error) {
			users.Lock()
			defer users.Unlock()
			return users.user, users.err
		}
	})
	set := func(login string, err error) {
		users.Lock()
		defer users.Unlock()
		users.user, users.err = authz.User{Login: login}, err
	}
	set("mona", nil)
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	w := newShape(s, 1, token)
	w.user = userShape(s.URL, "mona", derivedID(owner), owner)
	check := func() answer {
		t.Helper()
		return s.send(t, "POST", ofApp+"/token", accessToken(token), asClient)
	}
	wantAnswer(t, "found", check(), 200, w.body())

	shows := [][3]string{ // the endpoints that show the user
		{"POST", ofApp + "/token", accessToken(token)},
		{"PATCH", ofApp + "/token", accessToken(token)},
		{"POST", ofApp + "/token/scoped", `{"access_token":"` + token + `","scopes":[]}`},
		{"GET", ofApp + "/tokens/" + token, ""},
		{"POST", ofApp + "/tokens/" + token, ""},
	}
	for name, test := range map[string]struct {
		err    error
		status int
		body   string
		header []string
	}{
		"gone":              {authz.ErrNotFound, 404, message("Not Found"), nil},
		"gone, wrapped":     {fmt.Errorf("users: %w", authz.ErrNotFound), 404, message("Not Found"), nil},
		"down":              {errors.New("dial tcp: refused"), 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"too slow":          {context.DeadlineExceeded, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"bad credentials":   {authz.ErrBadCredentials, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"no credentials":    {authz.ErrNoCredentials, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"invalid client":    {authz.ErrInvalidClient, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"invalid token":     {authz.ErrInvalidToken, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"validation failed": {&authz.ValidationError{Fields: []authz.FieldError{{Field: "id", Code: "invalid"}}}, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
		"exists":            {&authz.ExistsError{ID: 1}, 503, message("Service unavailable"), []string{"Retry-After: 1"}},
	} {
		set("mona", test.err)
		for _, e := range shows {
			wantAnswer(t, name+": "+e[0]+" "+e[1], s.send(t, e[0], e[1], e[2], asClient), test.status, test.body, test.header...)
		}
		got := s.send(t, "POST", "/oauth/introspect", "token="+token, asClient, "Content-Type: application/x-www-form-urlencoded")
		if test.status == 404 {
			wantAnswer(t, name+": introspect", got, 200, "{\n  \"active\": false\n}\n")
		} else {
			wantAnswer(t, name+": introspect", got, test.status, test.body, test.header...)
		}
		if n := count(t, s.store, owner); n != 1 || !alive(t, s.m, authz.NewSecret(token)) {
			t.Fatalf("%s: something was done: %d rows", name, n)
		}
	}
	set("mona", nil)
	wantAnswer(t, "found again", check(), 200, w.body())
	// A replay shows no token of a user who may do nothing, and waits for one who cannot be looked up.
	reset := func() answer {
		t.Helper()
		return s.send(t, "PATCH", ofApp+"/token", accessToken(token), asClient, "Idempotency-Key: idempotency-key-of-this-test")
	}
	first := reset()
	set("", authz.ErrNotFound)
	wantAnswer(t, "replay, gone", reset(), 404, message("Not Found"))
	set("", errors.New("down"))
	wantAnswer(t, "replay, down", reset(), 503, message("Service unavailable"), "Retry-After: 1")
	set("mona", nil)
	wantAnswer(t, "replay", reset(), 200, first.body, "Idempotency-Replayed: true")
	token = issued(t, "reset", first)
	// Revoking does not ask who the user is.
	set("", errors.New("down"))
	wantAnswer(t, "DELETE", s.send(t, "DELETE", ofApp+"/token", accessToken(token), asClient), 204, "")
	second := issued(t, "PUT", s.put(t, path, minimalBody))
	wantAnswer(t, "DELETE grant", s.send(t, "DELETE", ofApp+"/grant", accessToken(second), asClient), 204, "")
}

// No token, no secret and no password gets into the log, with tokens in paths
// too, nor into any answer but the one that is due.
func TestLegacyPathsLogNoToken(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) {
		c.LegacyTokenPaths = true
		c.Users = func(_ context.Context, id string) (authz.User, error) {
			if id == "user-2" {
				panic("no such table")
			}
			return authz.User{Login: "mona"}, nil
		}
	})
	register(t, s.m, otherClient)
	var secrets []string
	keep := func(a answer) string {
		token := issued(t, "issue", a)
		secrets = append(secrets, token)
		return token
	}
	const key = "idempotency-key-of-this-test"
	token := keep(s.put(t, path, minimalBody, "Idempotency-Key: "+key))
	keep(s.put(t, path, minimalBody, "Idempotency-Key: "+key))
	token = keep(s.send(t, "POST", ofApp+"/tokens/"+token, "", asClient, "Idempotency-Key: "+key))
	token = keep(s.send(t, "PATCH", ofApp+"/token", accessToken(token), asClient))
	keep(s.send(t, "POST", ofApp+"/token/scoped", `{"access_token":"`+token+`","scopes":[]}`, asClient, "Idempotency-Key: "+key+"2"))
	keep(s.send(t, "POST", "/authorizations", `{"note":"n"}`))
	keep(s.put(t, path, `{`+secretField+`,"on_existing":"rotate"}`))
	hubots := keep(s.put(t, path, minimalBody, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode))
	secrets = append(secrets, clientSecret, password, otpCode, key)
	var answers strings.Builder
	form := "Content-Type: application/x-www-form-urlencoded"
	for _, secret := range append([]string{hubots}, secrets...) {
		for _, root := range []string{ofApp + "/tokens/", ofApp + "/grants/", ofApp + "/", "/", "/authorizations/", "/authorizations/clients/" + clientID + "/x/", "/applications/grants/", "/oauth/", "/applications/" + otherClient + "/tokens/", "/applications/x/tokens/"} {
			for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
				for _, auth := range []string{asClient, asOtherClient, "Authorization:"} {
					if root == ofApp+"/tokens/" && auth == asClient && method == "GET" {
						continue // it is its own to show
					}
					a := s.send(t, method, root+strings.ReplaceAll(secret, " ", "%20"), "", auth)
					fmt.Fprintln(&answers, a.status, a.header, a.body)
				}
			}
		}
		for _, e := range [][2]string{{"POST", "/oauth/introspect"}, {"POST", "/oauth/revoke"}} {
			for _, body := range []string{"token=" + secret, "token=x&client_secret=" + secret, "token=" + secret + "&token=" + secret, "token=x&client_id=" + secret, secret + "=x", "%zz" + secret} {
				for _, auth := range []string{asClient, asOtherClient, "Authorization:"} {
					a := s.send(t, e[0], e[1], strings.ReplaceAll(body, " ", "+"), auth, form)
					fmt.Fprintln(&answers, a.status, a.header, a.body)
				}
			}
		}
		a := s.send(t, "POST", ofApp+"/token", accessToken(secret), asOtherClient)
		fmt.Fprintln(&answers, a.status, a.header, a.body)
	}
	log := s.log.String()
	for i, secret := range secrets {
		for where, text := range map[string]string{"log": log, "answers": answers.String()} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s: secret %d stands in %q", where, i, text[max(0, at-200):at+len(secret)])
			}
		}
		if strings.Contains(log, store.HashOf(secret).Hex()) {
			t.Errorf("log: the hash of secret %d", i)
		}
	}
	if !strings.Contains(log, `"route":"/applications/{client_id}/tokens/{access_token}"`) || !strings.Contains(log, `"client_id":"`+clientID+`"`) || !strings.Contains(log, "no such table") {
		t.Error("the log has no lines of these endpoints, or not the panic's cause")
	}
}

// A JSON body on DELETE, chunked too, and no body where none is needed.
func TestDeleteWithBody(t *testing.T) {
	s := newServer(t)
	for i, target := range []string{ofApp + "/token", ofApp + "/grant"} {
		token := issued(t, "PUT", s.put(t, path, minimalBody))
		req, err := http.NewRequest("DELETE", s.URL+target, onlyReader{strings.NewReader(accessToken(token) + "\r\n")})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", basic(clientID, clientSecret))
		wantAnswer(t, target+", chunked", s.do(t, req), 204, "")
		if alive(t, s.m, authz.NewSecret(token)) {
			t.Errorf("%d: the token lives", i)
		}
	}
	issued(t, "PUT", s.put(t, path, minimalBody))
	id := s.put(t, path, minimalBody).id(t)
	for i, body := range []string{"{}", `{"anything":["goes"]}`, "", "no JSON at all"} {
		got := s.send(t, "DELETE", "/authorizations/"+strconv.FormatInt(id+int64(i), 10), body)
		wantAnswer(t, "DELETE with "+body, got, 204, "")
		s.put(t, path, minimalBody)
	}
}

type onlyReader struct{ r *strings.Reader }

func (o onlyReader) Read(p []byte) (int, error) { return o.r.Read(p) }
