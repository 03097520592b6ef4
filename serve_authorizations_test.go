package authz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// wantAnswer holds an answer to its status, its body to the byte and its headers
// to the last: those that all answers have, those of a body, and extra ("Name:
// value", with * for any value), and no other.
func wantAnswer(t testing.TB, name string, got answer, status int, body string, extra ...string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Errorf("%s: got %d\n%s\nwant %d\n%s", name, got.status, got.body, status, body)
	}
	want := map[string]string{
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
		"Status":                 strconv.Itoa(status) + " " + http.StatusText(status),
		"X-Request-Id":           "*",
		"Date":                   "*",
	}
	if body != "" {
		want["Content-Type"], want["Content-Length"] = jsonType, strconv.Itoa(len(body))
	}
	for _, line := range extra {
		name, value, _ := strings.Cut(line, ": ")
		want[http.CanonicalHeaderKey(name)] = value
	}
	for header, value := range want {
		if have := got.header.Values(header); len(have) != 1 || value != "*" && have[0] != value {
			t.Errorf("%s: %s = %q, want %q", name, header, have, value)
		}
	}
	for header, have := range got.header {
		if _, ok := want[header]; !ok {
			t.Errorf("%s: %s = %q, want no such header", name, header, have)
		}
	}
	if id := got.header.Get("X-Request-Id"); !uuidForm.MatchString(id) {
		t.Errorf("%s: X-Request-Id = %q, want a UUID", name, id)
	}
}

// message is the body of an error that has no more to say.
func message(text string) string { return "{\n  \"message\": " + strconv.Quote(text) + "\n}\n" }

// invalid is the body of a 422 with one field; "" for a text is none.
func invalid(field, code, text string) string {
	return "{\n  \"message\": \"Validation Failed\",\n  \"errors\": [\n    " + strings.ReplaceAll(fieldError(field, code, text), "\n", "\n    ") + "\n  ]\n}\n"
}

func fieldError(field, code, text string) string {
	s := "{\n  \"resource\": \"OauthAccess\",\n  \"field\": " + strconv.Quote(field) + ",\n  \"code\": " + strconv.Quote(code)
	if text != "" {
		s += ",\n  \"message\": " + strconv.Quote(text)
	}
	return s + "\n}"
}

// clash is the body of a 422 over a value that another authorization has.
func clash(field, url string) string {
	return strings.Replace(invalid(field, "already_exists", ""), "\n  ]\n", "\n  ],\n  \"existing_url\": "+strconv.Quote(url)+"\n", 1)
}

// shape is an authorization on the wire.
type shape struct {
	id               int64
	root             string // http://host/prefix
	scopes           []string
	token            string // as shown
	hash, last       string
	app              string // client_id
	appName, appURL  string
	note, noteURL    string
	updated, created string
	fingerprint      string
	user             string // the whole object, if there is one
}

const made = "2011-09-06T15:26:27Z" // the clock of all servers, until it is moved

// newShape is what a token is made with when nothing is said but who and what.
func newShape(s *server, id int64, token string) shape {
	return shape{
		id: id, root: s.URL, token: token, hash: store.HashOf(token).Hex(), last: token[max(0, len(token)-8):],
		app: clientID, appName: "my github app", appURL: "http://my-github-app.com", updated: made, created: made,
	}
}

// withoutToken is the shape with an empty token.
func (w shape) withoutToken() shape {
	w.token = ""
	return w
}

// text is the object, laid out as in the seed document.
func (w shape) text() string {
	scopes := "[]"
	if len(w.scopes) > 0 {
		scopes = "[\n    \"" + strings.Join(w.scopes, "\",\n    \"") + "\"\n  ]"
	}
	user := ""
	if w.user != "" {
		user = ",\n  \"user\": " + strings.ReplaceAll(w.user, "\n", "\n  ")
	}
	return fmt.Sprintf(`{
  "id": %d,
  "url": "%s/authorizations/%d",
  "scopes": %s,
  "token": %q,
  "token_last_eight": %q,
  "hashed_token": %q,
  "app": {
    "url": %q,
    "name": %q,
    "client_id": %q
  },
  "note": %q,
  "note_url": %q,
  "updated_at": %q,
  "created_at": %q,
  "fingerprint": %q%s
}`, w.id, w.root, w.id, scopes, w.token, w.last, w.hash, w.appURL, w.appName, w.app, w.note, w.noteURL, w.updated, w.created, w.fingerprint, user)
}

func (w shape) body() string { return w.text() + "\n" }

// arrayOf lays objects out as a list.
func arrayOf(objects ...string) string {
	if len(objects) == 0 {
		return "[]\n"
	}
	for i, o := range objects {
		objects[i] = "  " + strings.ReplaceAll(o, "\n", "\n  ")
	}
	return "[\n" + strings.Join(objects, ",\n") + "\n]\n"
}

// issued is the token of an answer, which must have one of our form.
func issued(t testing.TB, name string, a answer) string {
	t.Helper()
	var token string
	if a.status == 200 || a.status == 201 {
		token, _ = a.decode(t)["token"].(string)
	}
	if !strings.HasPrefix(token, "azt_") || len(token) != 40 {
		t.Fatalf("%s: %d %s: no token", name, a.status, a.body)
	}
	return token
}

// personal makes the shape that of a personal authorization.
func (w shape) personal() shape {
	w.app, w.appName, w.appURL = authz.PersonalClientID, w.note, w.noteURL
	return w
}

func jsonInto(text string, v any) error { return json.Unmarshal([]byte(text), v) }

const secretField = `"client_secret":"` + clientSecret + `"`

// Endpoints 1 to 7, each with the bytes and all headers of its answer.
func TestAuthorizationsToTheByte(t *testing.T) {
	for _, prefix := range []string{"", "/api/v3"} {
		s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = prefix })
		root := s.URL + prefix
		base := prefix + "/authorizations"
		location := func(id int64) string { return "Location: " + root + "/authorizations/" + strconv.FormatInt(id, 10) }

		// 1: created, and existing.
		body := `{` + secretField + `,"scopes":["repo","user","repo"],"note":"a <note> & \"more\"","note_url":"http://x/?a=b&c"}`
		got := s.put(t, prefix+path, body)
		one := newShape(s, 1, issued(t, "PUT", got))
		one.root, one.scopes, one.note, one.noteURL = root, []string{"repo", "user"}, `a <note> & "more"`, "http://x/?a=b&c"
		wantAnswer(t, "PUT 201", got, 201, one.body(), location(1))
		s.clock.Add(time.Second)
		wantAnswer(t, "PUT 200", s.put(t, prefix+path, body), 200, one.withoutToken().body(), location(1))
		wantAnswer(t, "PUT 200, others", s.put(t, prefix+path, `{`+secretField+`,"scopes":[],"note":"b","note_url":"http://y"}`), 200,
			one.withoutToken().body(), location(1), "Authz-Not-Applied: scopes, note, note_url")

		// 2
		got = s.put(t, prefix+path+"/a%2Fb", minimalBody)
		two := newShape(s, 2, issued(t, "PUT fingerprint", got))
		two.root, two.fingerprint, two.updated, two.created = root, "a/b", "2011-09-06T15:26:28Z", "2011-09-06T15:26:28Z"
		wantAnswer(t, "PUT fingerprint 201", got, 201, two.body(), location(2))
		wantAnswer(t, "PUT fingerprint 200", s.put(t, prefix+path+"/a%2Fb", minimalBody), 200, two.withoutToken().body(), location(2))

		// 3: for an app, and a personal one.
		got = s.send(t, "POST", base, `{"client_id":"`+clientID+`",`+secretField+`,"scopes":["repo"],"fingerprint":"f"}`)
		three := newShape(s, 3, issued(t, "POST", got))
		three.root, three.scopes, three.fingerprint, three.updated, three.created = root, []string{"repo"}, "f", two.updated, two.created
		wantAnswer(t, "POST", got, 201, three.body(), location(3))
		got = s.send(t, "POST", base, `{"note":"mine","note_url":"https://mine","scopes":null}`)
		four := newShape(s, 4, issued(t, "POST personal", got))
		four.root, four.note, four.noteURL, four.updated, four.created = root, "mine", "https://mine", two.updated, two.created
		four = four.personal()
		wantAnswer(t, "POST personal", got, 201, four.body(), location(4))

		// 4 and 5, with HEAD.
		all := arrayOf(one.withoutToken().text(), two.withoutToken().text(), three.withoutToken().text(), four.withoutToken().text())
		got = s.send(t, "GET", base, "")
		wantAnswer(t, "GET list", got, 200, all, "ETag: *")
		wantAnswer(t, "HEAD list", s.send(t, "HEAD", base, ""), 200, "",
			"ETag: "+got.header.Get("ETag"), "Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(all)))
		got = s.send(t, "GET", base+"/1", "")
		modified := "Last-Modified: Tue, 06 Sep 2011 15:26:27 GMT"
		wantAnswer(t, "GET", got, 200, one.withoutToken().body(), "ETag: *", modified)
		wantAnswer(t, "HEAD", s.send(t, "HEAD", base+"/1", ""), 200, "",
			"ETag: "+got.header.Get("ETag"), modified, "Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(got.body)))
		wantAnswer(t, "GET personal", s.send(t, "GET", base+"/4", ""), 200, four.withoutToken().body(), "ETag: *", "Last-Modified: Tue, 06 Sep 2011 15:26:28 GMT")

		// 6, by PATCH and by POST.
		s.clock.Add(time.Hour)
		one.scopes, one.note, one.updated = []string{"repo", "user", "gist"}, "n", "2011-09-06T16:26:28Z"
		wantAnswer(t, "PATCH", s.send(t, "PATCH", base+"/1", `{"add_scopes":["user","gist"],"note":"n"}`), 200, one.withoutToken().body())
		four.note, four.noteURL, four.fingerprint, four.updated = "yours", "", "machine", one.updated
		four = four.personal()
		wantAnswer(t, "POST on one", s.send(t, "POST", base+"/4", `{"note":"yours","note_url":"","fingerprint":"machine"}`), 200, four.withoutToken().body())
		wantAnswer(t, "GET after PATCH", s.send(t, "GET", base+"/1", ""), 200, one.withoutToken().body(), "ETag: *", "Last-Modified: Tue, 06 Sep 2011 16:26:28 GMT")
		if !alive(t, s.m, authz.NewSecret(one.token)) {
			t.Error("PATCH: the token is dead")
		}

		// 7
		for i, w := range []shape{one, two, three, four} {
			target := base + "/" + strconv.Itoa(i+1)
			wantAnswer(t, "DELETE", s.send(t, "DELETE", target, ""), 204, "")
			if alive(t, s.m, authz.NewSecret(w.token)) {
				t.Errorf("DELETE %d: the token lives", i+1)
			}
			for _, method := range []string{"GET", "PATCH", "POST", "DELETE"} {
				wantAnswer(t, method+" after DELETE", s.send(t, method, target, ""), 404, message("Not Found"))
			}
			wantAnswer(t, "HEAD after DELETE", s.send(t, "HEAD", target, ""), 404, "", "Content-Type: "+jsonType, "Content-Length: *")
		}
		wantAnswer(t, "GET empty list", s.send(t, "GET", base, ""), 200, "[]\n", "ETag: *")
	}
}

// POST /authorizations: what it takes, and what it says to the rest.
func TestCreateOverHTTP(t *testing.T) {
	app := `"client_id":"` + clientID + `"`
	for _, test := range []struct {
		name, body string
		status     int
		want       string // of an error; of a 201 the client_id of its app
	}{
		{"personal", `{"note":"n"}`, 201, authz.PersonalClientID},
		{"client_id empty", `{"client_id":"","note":"n"}`, 201, authz.PersonalClientID},
		{"client_id null", `{"client_id":null,"client_secret":null,"note":"n"}`, 201, authz.PersonalClientID},
		{"a secret without client_id", `{"client_secret":"x","note":"n"}`, 201, authz.PersonalClientID},
		{"unknown keys", `{"note":"n","foo":1,"on_existing":"error","access_token":{},"":null}`, 201, authz.PersonalClientID},
		{"for an app", `{` + app + `,` + secretField + `}`, 201, clientID},
		{"everything null that may be", `{` + app + `,` + secretField + `,"scopes":null}`, 201, clientID},
		{"empty body", ``, 422, invalid("note", "missing_field", "")},
		{"only space", " \r\n\t", 422, invalid("note", "missing_field", "")},
		{"empty object", `{}`, 422, invalid("note", "missing_field", "")},
		{"note empty", `{"note":""}`, 422, invalid("note", "missing_field", "")},
		{"note of spaces", `{"note":" \u2003"}`, 422, invalid("note", "missing_field", "")},
		{"note null", `{"note":null}`, 422, invalid("note", "invalid", "note must be a string, not null")},
		{"note_url null", `{"note":"n","note_url":null}`, 422, invalid("note_url", "invalid", "note_url must be a string, not null")},
		{"fingerprint null", `{"note":"n","fingerprint":null}`, 422, invalid("fingerprint", "invalid", "fingerprint must be a string, not null")},
		{"client_id a number", `{"client_id":1}`, 422, invalid("client_id", "invalid", "client_id must be a string, not a number")},
		{"no secret", `{` + app + `}`, 422, invalid("client_secret", "missing_field", "")},
		{"secret null", `{` + app + `,"client_secret":null}`, 422, invalid("client_secret", "missing_field", "")},
		{"secret empty", `{` + app + `,"client_secret":""}`, 422, invalid("client_secret", "missing_field", "")},
		{"secret wrong", `{` + app + `,"client_secret":"x"}`, 422, message("Invalid OAuth application client_id or secret.")},
		{"client_id unknown", `{"client_id":"` + otherClient + `",` + secretField + `}`, 422, message("Invalid OAuth application client_id or secret.")},
		{"client_id of personal ones", `{"client_id":"` + authz.PersonalClientID + `",` + secretField + `}`, 422, message("Invalid OAuth application client_id or secret.")},
		{"client_id malformed", `{"client_id":"x",` + secretField + `}`, 422, message("Invalid OAuth application client_id or secret.")},
		{"no JSON", `{`, 400, message("Problems parsing JSON")},
		{"trailing data", `{"note":"n"} 1`, 400, message("Problems parsing JSON")},
		{"duplicate key", `{"note":"n","note":"n"}`, 400, message("Problems parsing JSON")},
		{"duplicate unknown key", `{"note":"n","x":{"a":1,"a":2}}`, 400, message("Problems parsing JSON")},
		{"invalid UTF-8", "{\"note\":\"\xff\"}", 400, message("Problems parsing JSON")},
		{"half a surrogate pair", `{"note":"n","x":"\ud800"}`, 400, message("Problems parsing JSON")},
		{"array", `[]`, 400, message("Body should be a JSON object")},
		{"null", `null`, 400, message("Body should be a JSON object")},
		{"string", `"note"`, 400, message("Body should be a JSON object")},
		{"number", ` 1`, 400, message("Body should be a JSON object")},
	} {
		s := newServer(t)
		got := s.send(t, "POST", "/authorizations", test.body)
		if test.status != 201 {
			wantAnswer(t, test.name, got, test.status, test.want)
			if n := count(t, s.store, owner); n != 0 {
				t.Errorf("%s: %d rows", test.name, n)
			}
			continue
		}
		w := newShape(s, 1, issued(t, test.name, got))
		if test.want == authz.PersonalClientID {
			w.note = "n"
			w = w.personal()
		}
		wantAnswer(t, test.name, got, 201, w.body(), "Location: "+s.URL+"/authorizations/1")
	}
}

// All that is wrong is said at once, in the order of the body and then of the
// checks.
func TestSeveralWrongFields(t *testing.T) {
	s := newServer(t)
	errors := func(list ...string) string {
		for i := range list {
			list[i] = "    " + strings.ReplaceAll(list[i], "\n", "\n    ")
		}
		return "{\n  \"message\": \"Validation Failed\",\n  \"errors\": [\n" + strings.Join(list, ",\n") + "\n  ]\n}\n"
	}
	wantAnswer(t, "types", s.send(t, "POST", "/authorizations", `{"scopes":{},"note":[],"note_url":true,"fingerprint":1.5}`), 422, errors(
		fieldError("scopes", "invalid", "scopes must be an array of strings, not an object"),
		fieldError("note", "invalid", "note must be a string, not an array"),
		fieldError("note_url", "invalid", "note_url must be a string, not a boolean"),
		fieldError("fingerprint", "invalid", "fingerprint must be a string, not a number")))
	wantAnswer(t, "values", s.send(t, "POST", "/authorizations", `{"scopes":["a b"],"note_url":"x","fingerprint":"\u0000"}`, "Idempotency-Key: short"), 422, errors(
		fieldError("note", "missing_field", ""),
		fieldError("scopes", "invalid", "scopes must be scope-tokens of RFC 6749, at most 100 bytes long each: number 1 is none"),
		fieldError("note_url", "invalid", "note_url must be an absolute http or https URL"),
		fieldError("fingerprint", "invalid", "fingerprint must not contain control characters"),
		fieldError("Idempotency-Key", "invalid", "Idempotency-Key must be 16 to 255 visible ASCII characters")))
}

// Clients try a one-time password with an empty POST: 401 until the code is
// right, then 422 over the body.
func TestProbeWithEmptyPost(t *testing.T) {
	s := newServer(t)
	const words = "Must specify two-factor authentication OTP code."
	for login, header := range map[string]string{"hubot": "X-GitHub-OTP: required; app", "hubot-sms": "X-GitHub-OTP: required; sms"} {
		as := "Authorization: " + basic(login, password)
		wantAnswer(t, "no code", s.send(t, "POST", "/authorizations", "", as), 401, message(words), header)
		wantAnswer(t, "null", s.send(t, "POST", "/authorizations", "", as, "X-GitHub-OTP: null"), 401, message(words), header)
		wantAnswer(t, "wrong code", s.send(t, "POST", "/authorizations", "", as, "X-GitHub-OTP: 000000"), 401, message(words), header)
		wantAnswer(t, "right code", s.send(t, "POST", "/authorizations", "", as, "X-GitHub-OTP: "+otpCode), 422, invalid("note", "missing_field", ""))
		wantAnswer(t, "wrong password", s.send(t, "POST", "/authorizations", "", "Authorization: "+basic(login, "x"), "X-GitHub-OTP: "+otpCode), 401, message("Bad credentials"))
	}
	wantAnswer(t, "no two factors", s.send(t, "POST", "/authorizations", "", "X-GitHub-OTP: null"), 422, invalid("note", "missing_field", ""))
}

// Ten tokens of one user, app and set of scopes live; the eleventh is made, and
// the oldest is gone.
func TestEleventhToken(t *testing.T) {
	s := newServer(t)
	var tokens []string
	post := func(extra string) answer {
		return s.send(t, "POST", "/authorizations", `{"client_id":"`+clientID+`",`+secretField+extra+`}`)
	}
	for i := range 11 {
		s.clock.Add(time.Second)
		extra := `,"scopes":["a","b"]`
		if i%2 == 1 {
			extra = `,"scopes":["b","a"]` // the same set
		}
		tokens = append(tokens, issued(t, "POST", post(extra)))
	}
	issued(t, "other scopes", post(`,"scopes":["a"]`))
	issued(t, "personal", s.send(t, "POST", "/authorizations", `{"note":"n","scopes":["a","b"]}`))
	for i, token := range tokens {
		target := "/authorizations/" + strconv.Itoa(i+1)
		if live, want := alive(t, s.m, authz.NewSecret(token)), i > 0; live != want {
			t.Errorf("token %d: alive is %v, want %v", i+1, live, want)
		}
		if got := s.send(t, "GET", target, ""); i > 0 && got.status != 200 || i == 0 && got.status != 404 {
			t.Errorf("GET %s: %d", target, got.status)
		}
	}
	got := s.send(t, "POST", "/applications/"+clientID+"/token", `{"access_token":"`+tokens[0]+`"}`, asClient)
	wantAnswer(t, "check of the oldest", got, 404, message("Not Found"))
}

// asClient and asOtherClient are the seed's app and another one.
var (
	asClient      = "Authorization: " + basic(clientID, clientSecret)
	asOtherClient = "Authorization: " + basic(otherClient, clientSecret)
)

// What must be unique names the authorization in the way, as the client sees it.
func TestAlreadyExists(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix, c.DocumentationURL = "/api/v3", "https://docs.example.com" })
	base := "/api/v3/authorizations"
	of := func(id int) string { return s.URL + base + "/" + strconv.Itoa(id) }
	clash := func(field string, id int) string {
		return strings.Replace(clash(field, of(id)), "\"\n}\n", "\",\n  \"documentation_url\": \"https://docs.example.com\"\n}\n", 1)
	}
	app := `{"client_id":"` + clientID + `",` + secretField + `,"fingerprint":"f"}`
	for id, body := range []string{`{"note":"a"}`, `{"note":"b"}`, app, `{"client_id":"` + clientID + `",` + secretField + `,"fingerprint":"g"}`, `{"note":"c","fingerprint":"f"}`} {
		if got := s.send(t, "POST", base, body); got.status != 201 || got.id(t) != int64(id+1) {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	wantAnswer(t, "POST, note", s.send(t, "POST", base, `{"note":"b"}`), 422, clash("note", 2))
	wantAnswer(t, "POST, fingerprint", s.send(t, "POST", base, app), 422, clash("fingerprint", 3))
	wantAnswer(t, "POST, fingerprint among personal ones", s.send(t, "POST", base, `{"note":"d","fingerprint":"f"}`), 422, clash("fingerprint", 5))
	wantAnswer(t, "PATCH, note", s.send(t, "PATCH", base+"/1", `{"note":"b"}`), 422, clash("note", 2))
	wantAnswer(t, "PATCH, fingerprint", s.send(t, "PATCH", base+"/4", `{"fingerprint":"f"}`), 422, clash("fingerprint", 3))
	wantAnswer(t, "PATCH by POST", s.send(t, "POST", base+"/4", `{"fingerprint":"f"}`), 422, clash("fingerprint", 3))
	// Its own value is in nobody's way; another user's neither; nor is the note
	// of an authorization for an app.
	for _, r := range [][2]string{{base + "/1", `{"note":"a"}`}, {base + "/3", `{"fingerprint":"f"}`}, {base + "/3", `{"note":"a"}`}, {base + "/4", `{"fingerprint":""}`}} {
		if got := s.send(t, "PATCH", r[0], r[1]); got.status != 200 {
			t.Errorf("PATCH %s %s: %d %s", r[0], r[1], got.status, got.body)
		}
	}
	hubot := []string{"Authorization: " + basic("hubot", password), "X-GitHub-OTP: " + otpCode}
	if got := s.send(t, "POST", base, `{"note":"a"}`, hubot...); got.status != 201 {
		t.Errorf("another user's note: %d %s", got.status, got.body)
	}
}

// PATCH /authorizations/{id}, and POST as its other name.
func TestUpdateOverHTTP(t *testing.T) {
	type change = func(*shape)
	scopes := func(list ...string) change { return func(w *shape) { w.scopes = list } }
	for _, test := range []struct {
		name, body string
		change     change // of a 200, nil if it changes nothing
		want       string // of an error
	}{
		{name: "scopes", body: `{"scopes":["x","y","x"]}`, change: scopes("x", "y")},
		{name: "scopes empty", body: `{"scopes":[]}`, change: scopes()},
		{name: "scopes null", body: `{"scopes":null}`, change: scopes()},
		{name: "scopes in another order", body: `{"scopes":["b","a"]}`, change: scopes("b", "a")},
		{name: "add_scopes", body: `{"add_scopes":["c","a","c","d"]}`, change: scopes("a", "b", "c", "d")},
		{name: "remove_scopes", body: `{"remove_scopes":["a","nope"]}`, change: scopes("b")},
		{name: "remove all", body: `{"remove_scopes":["b","a"]}`, change: scopes()},
		{name: "note", body: `{"note":"m"}`, change: func(w *shape) { w.note = "m" }},
		{name: "note empty", body: `{"note":""}`, change: func(w *shape) { w.note = "" }},
		{name: "note_url", body: `{"note_url":"http://y"}`, change: func(w *shape) { w.noteURL = "http://y" }},
		{name: "note_url empty", body: `{"note_url":""}`, change: func(w *shape) { w.noteURL = "" }},
		{name: "fingerprint", body: `{"fingerprint":"g"}`, change: func(w *shape) { w.fingerprint = "g" }},
		{name: "fingerprint empty", body: `{"fingerprint":""}`, change: func(w *shape) { w.fingerprint = "" }},
		{name: "all", body: `{"add_scopes":["c"],"note":"m","note_url":"","fingerprint":"g"}`, change: func(w *shape) {
			w.scopes, w.note, w.noteURL, w.fingerprint = []string{"a", "b", "c"}, "m", "", "g"
		}},
		{name: "empty body"},
		{name: "empty object", body: `{}`},
		{name: "unknown keys", body: `{"token":"x","id":7,"client_id":"x","client_secret":"x","user":{"login":"x"},"created_at":null}`},
		{name: "the same", body: `{"scopes":["a","b"],"note":"n","note_url":"http://x","fingerprint":"f"}`},
		{name: "add nothing new", body: `{"add_scopes":["b"]}`},
		{name: "add_scopes null", body: `{"add_scopes":null}`},
		{name: "remove nothing", body: `{"remove_scopes":[]}`},
		{name: "scopes and add_scopes", body: `{"scopes":["a"],"add_scopes":["b"]}`, want: invalid("scopes", "invalid", "scopes, add_scopes and remove_scopes cannot be combined: send one of them")},
		{name: "scopes and remove_scopes", body: `{"scopes":[],"remove_scopes":[]}`, want: invalid("scopes", "invalid", "scopes, add_scopes and remove_scopes cannot be combined: send one of them")},
		{name: "add_scopes and remove_scopes", body: `{"remove_scopes":["a"],"add_scopes":["b"]}`, want: invalid("scopes", "invalid", "scopes, add_scopes and remove_scopes cannot be combined: send one of them")},
		{name: "all three, null", body: `{"scopes":null,"remove_scopes":null,"add_scopes":null}`, want: invalid("scopes", "invalid", "scopes, add_scopes and remove_scopes cannot be combined: send one of them")},
		{name: "scope undeclared", body: `{"scopes":["z","a","zz"]}`, want: invalid("scopes", "custom", "scopes are invalid: z,zz")},
		{name: "add_scopes undeclared", body: `{"add_scopes":["z"]}`, want: invalid("add_scopes", "custom", "scopes are invalid: z")},
		{name: "scopes a string", body: `{"scopes":"a"}`, want: invalid("scopes", "invalid", "scopes must be an array of strings, not a string")},
		{name: "add_scopes a number", body: `{"add_scopes":["a",1]}`, want: invalid("add_scopes", "invalid", "add_scopes must be an array of strings, but number 2 is a number")},
		{name: "remove_scopes no scope", body: `{"remove_scopes":[""]}`, want: invalid("remove_scopes", "invalid", "remove_scopes must be scope-tokens of RFC 6749, at most 100 bytes long each: number 1 is none")},
		{name: "note null", body: `{"note":null}`, want: invalid("note", "invalid", "note must be a string, not null")},
		{name: "note_url null", body: `{"note_url":null}`, want: invalid("note_url", "invalid", "note_url must be a string, not null")},
		{name: "fingerprint null", body: `{"fingerprint":null}`, want: invalid("fingerprint", "invalid", "fingerprint must be a string, not null")},
		{name: "note too long", body: `{"note":"` + strings.Repeat("n", 256) + `"}`, want: invalid("note", "invalid", "note must be at most 255 characters long")},
		{name: "note with a line end", body: `{"note":"a\nb"}`, want: invalid("note", "invalid", "note must not contain control characters")},
		{name: "note_url no URL", body: `{"note_url":"javascript:x"}`, want: invalid("note_url", "invalid", "note_url must be an absolute http or https URL")},
		{name: "fingerprint NUL", body: `{"fingerprint":"\u0000"}`, want: invalid("fingerprint", "invalid", "fingerprint must not contain control characters")},
	} {
		for _, method := range []string{"PATCH", "POST"} {
			name := method + " " + test.name
			s := newServerOn(t, memory.New(), authz.Config{Scopes: authz.ScopeNames("a", "b", "c", "d", "x", "y")})
			got := s.put(t, path+"/f", `{`+secretField+`,"scopes":["a","b"],"note":"n","note_url":"http://x"}`)
			w := newShape(s, 1, issued(t, name, got))
			w.scopes, w.note, w.noteURL, w.fingerprint = []string{"a", "b"}, "n", "http://x", "f"
			s.clock.Add(time.Minute)
			got = s.send(t, method, "/authorizations/1", test.body)
			if test.want != "" {
				wantAnswer(t, name, got, 422, test.want)
			} else {
				if test.change != nil {
					test.change(&w)
					w.updated = "2011-09-06T15:27:27Z"
				}
				wantAnswer(t, name, got, 200, w.withoutToken().body())
			}
			if now := s.send(t, "GET", "/authorizations/1", ""); now.body != w.withoutToken().body() {
				t.Errorf("%s: afterwards it is\n%s\nwant\n%s", name, now.body, w.withoutToken().body())
			}
			if !alive(t, s.m, authz.NewSecret(w.token)) {
				t.Errorf("%s: the token is dead", name)
			}
		}
	}
	s := newServer(t)
	issued(t, "personal", s.send(t, "POST", "/authorizations", `{"note":"n"}`))
	for _, note := range []string{"", " "} {
		wantAnswer(t, "personal without note", s.send(t, "PATCH", "/authorizations/1", `{"note":"`+note+`"}`), 422, invalid("note", "missing_field", ""))
	}
	wantAnswer(t, "no JSON", s.send(t, "PATCH", "/authorizations/1", `{"note":`), 400, message("Problems parsing JSON"))
	wantAnswer(t, "duplicate", s.send(t, "PATCH", "/authorizations/1", `{"x":1,"x":1}`), 400, message("Problems parsing JSON"))
	wantAnswer(t, "array", s.send(t, "PATCH", "/authorizations/1", `[{}]`), 400, message("Body should be a JSON object"))
}

// An id that is none, an unknown one and another user's: one answer, whatever is
// asked of it.
func TestOtherIDsAreNotFound(t *testing.T) {
	s := newServer(t)
	register(t, s.m, otherClient)
	hubot := []string{"Authorization: " + basic("hubot", password), "X-GitHub-OTP: " + otpCode}
	token := issued(t, "PUT", s.put(t, path, minimalBody))
	var grants []map[string]any
	if err := jsonInto(s.send(t, "GET", "/applications/grants", "").body, &grants); err != nil || len(grants) != 1 {
		t.Fatalf("%v: %v", grants, err)
	}
	grant := strconv.FormatInt(int64(grants[0]["id"].(float64)), 10)
	for _, root := range []string{"/authorizations/", "/applications/grants/"} {
		own := map[string]string{"/authorizations/": "1", "/applications/grants/": grant}[root]
		ids := []string{own, "2", "9223372036854775807", "9223372036854775808", "18446744073709551617", "0", "-1", "+1", "01", "1.0", "1e0", "0x1", "%31%20", "%20" + own, own + "%00", own + "%2F", "x", "%F0", "１", "null", "clients"}
		for _, id := range ids {
			for _, method := range []string{"GET", "DELETE", "PATCH", "POST", "PUT", "OPTIONS"} {
				n, err := strconv.ParseInt(id, 10, 64)
				isID := err == nil && n > 0 && strconv.FormatInt(n, 10) == id
				headers := hubot
				if id != own {
					headers = nil
				}
				got := s.send(t, method, root+id, "", headers...)
				allow := map[string]string{"/authorizations/": "DELETE, GET, HEAD, PATCH, POST", "/applications/grants/": "DELETE, GET, HEAD"}[root]
				if isID && !slices.Contains(strings.Split(allow, ", "), method) {
					wantAnswer(t, method+" "+root+id, got, 405, message("Method Not Allowed"), "Allow: "+allow)
					continue
				}
				wantAnswer(t, method+" "+root+id, got, 404, message("Not Found"))
			}
		}
	}
	if !alive(t, s.m, authz.NewSecret(token)) {
		t.Error("the token is dead")
	}
}

// Lists in pages: the links lead through all of them, as the client sees the
// server.
func TestPaging(t *testing.T) {
	for _, n := range []int{0, 1, 30, 31, 100, 101} {
		s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = "/api/v3" })
		for i := range n {
			mustGet(t, s.m, request(fingerprint(strconv.Itoa(i))))
		}
		checkPages(t, s, "/api/v3/authorizations", n, func(v map[string]any) int { return int(v["id"].(float64)) })
	}
}

// checkPages holds all pages of a list of n records, of which number gives the
// position from 1, to the rules.
func checkPages(t *testing.T, s *server, base string, n int, number func(map[string]any) int) {
	t.Helper()
	const maxInt = "9223372036854775807"
	for _, test := range []struct {
		query      string
		size, page int
	}{
		{"", 30, 1}, {"?page=1", 30, 1}, {"?page=2", 30, 2}, {"?page=4", 30, 4}, {"?page=5", 30, 5}, {"?page=99", 30, 99}, {"?page=" + maxInt, 30, -1},
		{"?per_page=100", 100, 1}, {"?per_page=100&page=2", 100, 2}, {"?per_page=1", 1, 1}, {"?per_page=1&page=31", 1, 31}, {"?page=2&per_page=50", 50, 2},
		{"?per_page=101", 100, 1}, {"?per_page=" + maxInt + "&page=2", 100, 2},
		// What is no number above 0 is absent.
		{"?page=0", 30, 1}, {"?page=-1", 30, 1}, {"?page=", 30, 1}, {"?page=x", 30, 1}, {"?page=1.5", 30, 1}, {"?page=2e0", 30, 1}, {"?page=0x2", 30, 1}, {"?page=+2", 30, 1},
		{"?page=9223372036854775808", 30, math.MaxInt}, {"?page=%00", 30, 1}, {"?page=%zz", 30, 1}, {"?page=２", 30, 1}, {"?Page=2", 30, 1}, {"?page[]=2", 30, 1}, {"?page=1&page=2", 30, 1},
		{"?per_page=0", 30, 1}, {"?per_page=-5", 30, 1}, {"?per_page=x", 30, 1}, {"?per_page=", 30, 1}, {"?per_page=99999999999999999999&page=2", 100, 2}, {"?;page=2", 30, 1}, {"?unknown=1", 30, 1},
	} {
		name := fmt.Sprintf("%d records, %s", n, test.query)
		got := s.send(t, "GET", base+test.query, "")
		last := max(1, (n+test.size-1)/test.size)
		page, beyond := test.page, test.page > last
		if page == -1 {
			page, beyond = last+2, true // a page so far away has no number here
		}
		var links []string
		per := ""
		if v := strings.Split(test.query, "per_page="); len(v) == 2 && (test.size != 30 || strings.HasPrefix(v[1], "30")) {
			per = "per_page=" + strconv.Itoa(test.size) + "&"
		}
		add := func(rel string, page int) {
			links = append(links, "<"+s.URL+base+"?"+per+"page="+strconv.Itoa(page)+">; rel=\""+rel+"\"")
		}
		if page < last {
			add("next", page+1)
			add("last", last)
		}
		if page > 1 {
			add("first", 1)
			add("prev", min(page-1, last))
		}
		extra := []string{"ETag: *"}
		if links != nil {
			extra = append(extra, "Link: "+strings.Join(links, ", "))
		}
		wantAnswer(t, name, got, 200, got.body, extra...)
		var records []map[string]any
		if err := jsonInto(got.body, &records); err != nil {
			t.Fatal(err)
		}
		want := min(test.size, max(0, n-(page-1)*test.size))
		if beyond {
			want = 0
			if got.body != "[]\n" {
				t.Errorf("%s: beyond the end: %q, want []", name, got.body)
			}
		}
		if len(records) != want {
			t.Errorf("%s: %d records, want %d", name, len(records), want)
		}
		for i, r := range records {
			if at := number(r); at != (page-1)*test.size+i+1 {
				t.Errorf("%s: record %d is number %d", name, i, at)
				break
			}
			if token, ok := r["token"]; ok && token != "" {
				t.Errorf("%s: record %d has a token", name, i)
			}
		}
	}
}

// The filter: an app's, the personal ones, an unknown app's; and the links keep
// it.
func TestClientIDFilter(t *testing.T) {
	s := newServer(t)
	register(t, s.m, otherClient)
	ids := map[string][]int64{}
	for i := range 6 {
		ids[clientID] = append(ids[clientID], mustGet(t, s.m, request(fingerprint(strconv.Itoa(i)))).Authorization.ID)
		if i%2 == 0 {
			r := mustGet(t, s.m, request(fingerprint(strconv.Itoa(i)), func(r *authz.Request) { r.ClientID = otherClient }))
			ids[otherClient] = append(ids[otherClient], r.Authorization.ID)
			p, err := s.m.Create(context.Background(), authz.Request{Owner: owner, Note: strconv.Itoa(i)})
			if err != nil {
				t.Fatal(err)
			}
			ids[authz.PersonalClientID] = append(ids[authz.PersonalClientID], p.Authorization.ID)
		}
		mustGet(t, s.m, request(fingerprint(strconv.Itoa(i)), func(r *authz.Request) { r.Owner = "user-2" }))
	}
	for _, ofOne := range []string{clientID, otherClient, authz.PersonalClientID} {
		ids[""] = append(ids[""], ids[ofOne]...)
	}
	slices.Sort(ids[""])
	unknown := []string{"aaaaaaaaaaaaaaaaaaaa", "x", "%00", "%FF", strings.Repeat("x", 5000), strings.ToUpper(clientID), clientID + "%20", "null"}
	for _, u := range unknown {
		ids[u] = nil
	}
	for filter, want := range ids {
		got := s.send(t, "GET", "/authorizations?client_id="+filter, "")
		var records []struct{ ID int64 }
		if err := jsonInto(got.body, &records); err != nil || got.status != 200 {
			t.Fatalf("%s: %d %s", filter, got.status, got.body)
		}
		var have []int64
		for _, r := range records {
			have = append(have, r.ID)
		}
		if !slices.Equal(have, want) {
			t.Errorf("client_id %.30q: got %v, want %v", filter, have, want)
		}
		if want == nil && got.body != "[]\n" {
			t.Errorf("client_id %.30q: %q", filter, got.body)
		}
	}
	base := s.URL + "/authorizations?client_id=" + otherClient
	got := s.send(t, "GET", "/authorizations?x=y&per_page=1&page=2&client_id="+otherClient, "")
	want := "<" + base + `&per_page=1&page=3>; rel="next", <` + base + `&per_page=1&page=3>; rel="last", <` + base + `&per_page=1&page=1>; rel="first", <` + base + `&per_page=1&page=1>; rel="prev"`
	if link := got.header.Get("Link"); link != want {
		t.Errorf("Link:\n%s\nwant\n%s", link, want)
	}
	// A walk along the links meets each once.
	var walked []int64
	for target := s.URL + "/authorizations?per_page=2"; target != ""; {
		got := s.send(t, "GET", strings.TrimPrefix(target, s.URL), "")
		var records []struct{ ID int64 }
		if err := jsonInto(got.body, &records); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			walked = append(walked, r.ID)
		}
		target = ""
		for link := range strings.SplitSeq(got.header.Get("Link"), ", ") {
			if url, ok := strings.CutSuffix(link, `; rel="next"`); ok {
				target = strings.Trim(url, "<>")
			}
		}
	}
	if !slices.Equal(walked, ids[""]) {
		t.Errorf("along the links: %v, want %v", walked, ids[""])
	}
	// As a client on another host and port sees the server.
	req, err := http.NewRequest("GET", s.URL+"/authorizations?per_page=11", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example.com:8443"
	req.Header.Set("Authorization", basic("mona", password))
	const host = "<http://api.example.com:8443/authorizations?per_page=11&page=2>"
	if link, want := s.do(t, req).header.Get("Link"), host+`; rel="next", `+host+`; rel="last"`; link != want {
		t.Errorf("Link on another host: %s, want %s", link, want)
	}
}

// Every GET answers If-None-Match, and HEAD as GET but for the body.
func TestConditionalRequests(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix, c.OpenAPI = "/api/v3", true })
	const root = "/api/v3"
	issued(t, "PUT", s.put(t, root+path, minimalBody))
	for i := range 40 {
		mustGet(t, s.m, request(fingerprint(strconv.Itoa(i))))
	}
	var grants []struct{ ID int64 }
	if err := jsonInto(s.send(t, "GET", root+"/applications/grants", "").body, &grants); err != nil || len(grants) != 1 {
		t.Fatalf("%v, %v", grants, err)
	}
	grant := root + "/applications/grants/" + strconv.FormatInt(grants[0].ID, 10)
	touch := func() {
		s.clock.Add(time.Minute)
		if got := s.send(t, "PATCH", root+"/authorizations/1", `{"note":"changed","scopes":["changed"]}`); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	for _, target := range []string{
		root + "/authorizations", root + "/authorizations?page=2", root + "/authorizations/1", root + "/applications/grants", grant,
		root + "/openapi.yaml", root + "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server" + root,
	} {
		got := s.send(t, "GET", target, "")
		etag := got.header.Get("ETag")
		if got.status != 200 || len(etag) < 18 || etag[0] != '"' || etag[len(etag)-1] != '"' || strings.Count(etag, `"`) != 2 {
			t.Fatalf("GET %s: %d, ETag %q; want a strong one", target, got.status, etag)
		}
		same := maps.Clone(got.header) // what HEAD has, too
		for _, h := range []string{"X-Request-Id", "Date"} {
			same.Del(h)
		}
		headOnly := s.send(t, "HEAD", target, "")
		headers := maps.Clone(headOnly.header)
		headers.Del("X-Request-Id")
		headers.Del("Date")
		if headOnly.status != 200 || headOnly.body != "" || !maps.EqualFunc(same, headers, slices.Equal) {
			t.Errorf("HEAD %s: %d %v %q, want %v and no body", target, headOnly.status, headers, headOnly.body, same)
		}
		var kept []string // the headers that a 304 has beside those of all
		for _, h := range []string{"ETag", "Last-Modified", "Link"} {
			if v := got.header.Get(h); v != "" {
				kept = append(kept, h+": "+v)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			for tags, hit := range map[string]bool{
				etag: true, "W/" + etag: true, "*": true, `"x", ` + etag: true, etag + `,"x"`: true, `"x" , W/` + etag + ` , "y"`: true,
				`"x"`: false, strings.Trim(etag, `"`): false, `w/` + etag: false, "": false, `"x", "y"`: false, strings.ToUpper(etag): false, `""`: false,
			} {
				name := fmt.Sprintf("%s %s, If-None-Match: %s", method, target, tags)
				again := s.send(t, method, target, "", "If-None-Match: "+tags)
				switch {
				case hit:
					wantAnswer(t, name, again, 304, "", kept...)
				case again.status != 200 || again.header.Get("ETag") != etag || method == "GET" && again.body != got.body:
					t.Errorf("%s: %d %v", name, again.status, again.header)
				}
			}
		}
		// In two lines, and beside conditions that count for less.
		req, err := http.NewRequest("GET", s.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {basic("mona", password)}, "If-None-Match": {`"x"`, etag}, "If-Modified-Since": {"Mon, 01 Jan 1990 00:00:00 GMT"}, "Range": {"bytes=0-1"}}
		if again := s.do(t, req); again.status != 304 {
			t.Errorf("%s, two lines: %d", target, again.status)
		}
		if again := s.send(t, "GET", target, "", "Range: bytes=0-1", "If-Modified-Since: "+time.Now().UTC().Format(http.TimeFormat)); again.status != 200 || again.body != got.body {
			t.Errorf("%s, Range: %d", target, again.status)
		}
	}
	// Another body is another tag, for the list, the one and the grant.
	for _, target := range []string{root + "/authorizations", root + "/authorizations/1", root + "/applications/grants", grant} {
		before := s.send(t, "GET", target, "")
		if target == root+"/authorizations" {
			touch()
		} else {
			s.clock.Add(time.Minute)
			if got := s.send(t, "PATCH", root+"/authorizations/1", `{"note":"for `+target+`"}`); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
		}
		after := s.send(t, "GET", target, "", "If-None-Match: "+before.header.Get("ETag"))
		if after.status != 200 || after.header.Get("ETag") == before.header.Get("ETag") || after.body == before.body {
			t.Errorf("%s after a change: %d, ETag %s, before %s", target, after.status, after.header.Get("ETag"), before.header.Get("ETag"))
		}
	}
	// What is not there is 404, whatever the tag; what changes something has none.
	wantAnswer(t, "404", s.send(t, "GET", root+"/authorizations/999", "", "If-None-Match: *"), 404, message("Not Found"))
	if got := s.send(t, "DELETE", root+"/authorizations/1", "", "If-None-Match: *"); got.status != 204 {
		t.Errorf("DELETE with If-None-Match: %d", got.status)
	}
}

// Below /authorizations nothing is said before it is clear who asks, whatever
// the method and the path; then routes are told apart.
func TestAuthenticationBeforeRouting(t *testing.T) {
	const realm = `WWW-Authenticate: Basic realm="authz"`
	for _, prefix := range []string{"", "/api/v3"} {
		s := newServer(t, func(c *authz.HandlerConfig) { c.Prefix = prefix })
		for _, target := range []string{
			"", "/", "/1", "/x", "/1/2", "/clients", "/clients/", "/clients/" + clientID, "/clients/" + clientID + "/", "/clients/" + clientID + "/f",
			"/clients/" + clientID + "/f/g", "//", "/../authorizations", "/./1", "/1/..", "/%2e%2e", "/%00", "?x=y", "/no/such/route",
		} {
			target = prefix + "/authorizations" + target
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get"} {
				name := method + " " + target
				check := func(got answer, status int, words string, extra ...string) {
					t.Helper()
					if method == "HEAD" {
						wantAnswer(t, name, got, status, "", append(extra, "Content-Type: "+jsonType, "Content-Length: "+strconv.Itoa(len(message(words))))...)
						return
					}
					wantAnswer(t, name, got, status, message(words), extra...)
				}
				check(s.send(t, method, target, "", "Authorization:"), 401, "Requires authentication", realm)
				check(s.send(t, method, target, "", "Authorization: "+basic("mona", "x")), 401, "Bad credentials")
				check(s.send(t, method, target, "", "Authorization: "+basic("hubot", password)), 401, "Must specify two-factor authentication OTP code.", "X-GitHub-OTP: required; app")
				check(s.send(t, method, target, "", "Authorization: token x"), 403, "This API can only be accessed with username and password Basic Auth")
				if got := s.send(t, method, target, ""); got.status == 401 || got.status == 403 {
					t.Errorf("%s: %d once authenticated", name, got.status)
				}
			}
		}
		for _, method := range []string{"PATCH", "PUT"} {
			wantAnswer(t, method+" on the list", s.send(t, method, prefix+"/authorizations", "{}"), 404, message("Not Found"))
		}
		for _, target := range []string{"/", "/x", "/1/2", "/clients", "/clients/", "/clients/" + clientID + "/", "/clients/" + clientID + "/f/g", "//", "/../authorizations", "/1/.."} {
			for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} {
				wantAnswer(t, method+" "+target, s.send(t, method, prefix+"/authorizations"+target, ""), 404, message("Not Found"))
			}
		}
	}
}

// A method that a known path does not have is 405, with the ones it has.
func TestAllow(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.OpenAPI, c.LegacyTokenPaths = true, true })
	app := "/applications/" + clientID
	for _, test := range []struct {
		target, allow, auth string
		notFound            []string // methods that lead nowhere
	}{
		{"/authorizations", "GET, HEAD, POST", "", []string{"PATCH", "PUT"}},
		{"/authorizations/1", "DELETE, GET, HEAD, PATCH, POST", "", nil},
		{path, "PUT", "", nil},
		{path + "/f", "PUT", "", nil},
		{path + "/%2F", "PUT", "", nil},
		{"/applications/grants", "GET, HEAD", "", nil},
		{"/applications/grants/1", "DELETE, GET, HEAD", "", nil},
		{app + "/token", "DELETE, PATCH, POST", asClient, nil},
		{app + "/token/scoped", "POST", asClient, nil},
		{app + "/grant", "DELETE", asClient, nil},
		{app + "/tokens/x", "DELETE, GET, HEAD, POST", asClient, nil},
		{app + "/grants/x", "DELETE", asClient, nil},
		{"/oauth/introspect", "POST", "Authorization:", nil},
		{"/oauth/revoke", "POST", "Authorization:", nil},
		{"/.well-known/oauth-authorization-server", "GET, HEAD", "Authorization:", nil},
		{"/openapi.yaml", "GET, HEAD", "Authorization:", nil},
	} {
		var headers []string
		if test.auth != "" {
			headers = append(headers, test.auth)
		}
		allowed := strings.Split(test.allow, ", ")
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post"} {
			name := method + " " + test.target
			got := s.send(t, method, test.target, "", headers...)
			switch {
			case slices.Contains(allowed, method):
				if got.status == 405 || got.header.Get("Allow") != "" {
					t.Errorf("%s: %d, Allow %q", name, got.status, got.header.Get("Allow"))
				}
			case slices.Contains(test.notFound, method):
				wantAnswer(t, name, got, 404, message("Not Found"))
			case method == "HEAD":
				wantAnswer(t, name, got, 405, "", "Allow: "+test.allow, "Content-Type: "+jsonType, "Content-Length: *")
			default:
				wantAnswer(t, name, got, 405, message("Method Not Allowed"), "Allow: "+test.allow)
			}
		}
	}
	// What is no route is 404, with credentials or without.
	for _, target := range []string{
		"/", "/x", "/authorizationsx", "/applications", "/applications/", "/applications/" + clientID, app + "/", app + "/x", app + "/token/", app + "/token/x", app + "/tokens", app + "/tokens/",
		app + "/tokens/a/b", app + "/grants", "/applications/grants/", "/applications/grants/1/2", "/applications//token", "/applications/../x", "/oauth", "/oauth/", "/oauth/token", "/oauth/introspect/",
		"/.well-known/", "/.well-known/oauth-authorization-server/", "/.well-known/openid-configuration", "/openapi.yaml/", "/openapi.json", "/user", "/AUTHORIZATIONS",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			for _, auth := range []string{"Authorization:", asClient, "Authorization: " + basic("mona", password)} {
				wantAnswer(t, method+" "+target, s.send(t, method, target, "", auth), 404, message("Not Found"))
			}
		}
	}
}

// A body that is announced and does not come holds up no endpoint for longer
// than BodyTimeout, those that read no body included.
func TestSlowBodyOnEveryEndpoint(t *testing.T) {
	s := newServer(t, func(c *authz.HandlerConfig) { c.BodyTimeout, c.OpenAPI = 50*time.Millisecond, true })
	user, app := "Authorization: "+basic("mona", password), asClient
	for _, r := range []struct {
		method, target, auth string
		status               int
	}{
		{"PUT", path, user, 408},
		{"POST", "/authorizations", user, 408},
		{"GET", "/authorizations", user, 200},
		{"DELETE", "/authorizations/1", user, 408},
		{"GET", "/authorizations/2", user, 200},
		{"GET", "/authorizations/3", user, 404},
		{"PATCH", "/authorizations/2", user, 408},
		{"GET", "/applications/grants", user, 200},
		{"DELETE", "/applications/grants/1", user, 408},
		{"POST", "/applications/" + clientID + "/token", app, 408},
		{"PATCH", "/applications/" + clientID + "/token", app, 408},
		{"DELETE", "/applications/" + clientID + "/token", app, 408},
		{"DELETE", "/applications/" + clientID + "/grant", app, 408},
		{"POST", "/applications/" + clientID + "/token/scoped", app, 408},
		{"POST", "/oauth/introspect", app, 408},
		{"POST", "/oauth/revoke", app, 408},
		{"GET", "/oauth/revoke", "X-A: b", 405},
		{"GET", "/.well-known/oauth-authorization-server", "X-A: b", 200},
		{"GET", "/openapi.yaml", "X-A: b", 200},
		{"GET", "/nowhere", "X-A: b", 404},
	} {
		if r.method == "PUT" {
			for i := range 2 {
				mustGet(t, s.m, request(fingerprint(strconv.Itoa(i))))
			}
		}
		c := s.dial(t)
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		c.write(t, r.method+" "+r.target+" HTTP/1.1\r\nHost: h\r\n"+r.auth+"\r\nContent-Length: 100\r\n\r\n{")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: r.method})
		if err != nil {
			t.Errorf("%s %s: %v", r.method, r.target, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != r.status {
			t.Errorf("%s %s: %d, want %d", r.method, r.target, resp.StatusCode, r.status)
		}
	}
}
