package authz_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/sqlite"
)

const (
	retryKey = "0d9a6c1e-5b1f-4f0e-8a57-1c2d3e4f5a6b"
	usedKey  = "Idempotency-Key was used for a request whose token was used or replaced since"
	otherUse = "Idempotency-Key was used for another request"
)

// keyed is a request that heeds the Idempotency-Key.
type keyed struct {
	name                       string
	method, target, body, auth string
	status                     int
	other                      string // a body, or target, that asks for something else
	reused                     string // the body of the answer when the token is in use; "" is 200 with an empty token
}

// keyedRequests prepares the server for each of the requests that heed the key:
// one for each way of making a token.
func keyedRequests(t testing.TB, s *server) []keyed {
	t.Helper()
	before := func(f string) string {
		return mustGet(t, s.m, request(fingerprint(f), func(r *authz.Request) { r.Scopes = []string{"a", "b"} })).Token.Reveal()
	}
	before("rotated")
	used := invalid("Idempotency-Key", "custom", usedKey)
	reset, legacy, wide := before("reset"), before("legacy"), before("wide")
	return []keyed{
		{name: "PUT", method: "PUT", target: path, body: minimalBody, status: 201, other: `{` + secretField + `,"note":"other"}`},
		{name: "PUT with a fingerprint", method: "PUT", target: path + "/f", body: minimalBody, status: 201, other: `{` + secretField + `,"scopes":[]}`},
		{name: "PUT, rotate", method: "PUT", target: path + "/rotated", body: `{` + secretField + `,"on_existing":"rotate"}`, status: 200, other: `{` + secretField + `}`, reused: used},
		{name: "POST for an app", method: "POST", target: "/authorizations", body: `{"client_id":"` + clientID + `",` + secretField + `}`, status: 201, other: `{"client_id":"` + clientID + `",` + secretField + `,"fingerprint":"x"}`, reused: used},
		{name: "POST, personal", method: "POST", target: "/authorizations", body: `{"note":"mine"}`, status: 201, other: `{"note":"mine, too"}`, reused: used},
		{name: "reset", method: "PATCH", target: ofApp + "/token", body: accessToken(reset), auth: asClient, status: 200, other: accessToken(wide), reused: used},
		{name: "reset, older form", method: "POST", target: ofApp + "/tokens/" + legacy, auth: asClient, status: 200, other: "target", reused: used},
		{name: "scoped", method: "POST", target: ofApp + "/token/scoped", body: `{"access_token":"` + wide + `","scopes":["a"]}`, auth: asClient, status: 200, other: `{"access_token":"` + wide + `","scopes":["b"]}`, reused: used},
	}
}

func (k keyed) send(t testing.TB, s *server, headers ...string) answer {
	t.Helper()
	if k.auth != "" {
		headers = append(headers, k.auth)
	}
	return s.send(t, k.method, k.target, k.body, headers...)
}

func legacyPaths(c *authz.HandlerConfig) { c.LegacyTokenPaths = true }

// Which Idempotency-Keys there can be, and where they count.
func TestIdempotencyKeyForms(t *testing.T) {
	s := newServer(t, legacyPaths)
	const wrongForm = "Idempotency-Key must be 16 to 255 visible ASCII characters"
	rows := count(t, s.store, owner)
	requests := keyedRequests(t, s)
	rows = count(t, s.store, owner) - rows
	for _, k := range requests {
		for _, value := range []string{"short", strings.Repeat("x", 15), strings.Repeat("x", 256), "with a space in the middle", "tab\tin the middle of it", "é-is-no-ascii-character", "x" + strings.Repeat("\u00a0", 16)} {
			wantAnswer(t, k.name+", "+value, k.send(t, s, "Idempotency-Key: "+value), 422, invalid("Idempotency-Key", "invalid", wrongForm))
		}
		req := func(values ...string) answer {
			r, err := http.NewRequest(k.method, s.URL+k.target, strings.NewReader(k.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", strings.TrimPrefix(k.auth, "Authorization: "))
			if k.auth == "" {
				r.Header.Set("Authorization", basic("mona", password))
			}
			r.Header["Idempotency-Key"] = values
			return s.do(t, r)
		}
		for _, empty := range []string{"", " ", "\t"} {
			got := req(empty)
			if got.status != 422 || !strings.Contains(got.body, `"field": "Idempotency-Key",`) || !strings.Contains(got.body, `"code": "invalid"`) || strings.Count(got.body, `"field"`) != 1 {
				t.Errorf("%s, empty key: %d %s", k.name, got.status, got.body)
			}
		}
		for _, two := range [][]string{{retryKey, retryKey}, {retryKey, ""}, {"", ""}, {retryKey, retryKey + "x"}} {
			wantAnswer(t, k.name+", two keys", req(two...), 400, message("Request has more than one Idempotency-Key header"))
		}
	}
	if n := count(t, s.store, owner); n != rows {
		t.Errorf("refused requests made %d rows", n-rows)
	}
	for i, value := range []string{strings.Repeat("x", 16), strings.Repeat("~", 255), "!\"#$%&'()*+,-./:;<=>?@", "   " + retryKey + " "} {
		if got := s.put(t, path+"/"+strconv.Itoa(i), minimalBody, "Idempotency-Key: "+value); got.status != 201 || got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("key %q: %d %s", value, got.status, got.body)
		}
	}
	// Elsewhere it says nothing, whatever its form.
	for _, r := range [][2]string{{"GET", "/authorizations"}, {"GET", "/authorizations/1"}, {"PATCH", "/authorizations/1"}, {"POST", "/authorizations/1"}, {"GET", "/applications/grants"}, {"DELETE", "/authorizations/1"}} {
		for _, value := range []string{"short", retryKey} {
			if got := s.send(t, r[0], r[1], "", "Idempotency-Key: "+value); got.status >= 300 && !(r[0] == "DELETE" && value == retryKey) || got.header.Get("Idempotency-Replayed") != "" {
				t.Errorf("%s %s with key %s: %d %s", r[0], r[1], value, got.status, got.body)
			}
		}
	}
}

// The same request with the same key has the same answer, until its token is in
// use or the time is over.
func TestIdempotencyOverHTTP(t *testing.T) {
	for i := range 8 {
		s := newServer(t, legacyPaths)
		k := keyedRequests(t, s)[i]
		key := "Idempotency-Key: " + retryKey
		first := k.send(t, s, key)
		token := issued(t, k.name, first)
		if first.status != k.status || first.header.Get("Idempotency-Replayed") != "" {
			t.Fatalf("%s: %d, Idempotency-Replayed %q", k.name, first.status, first.header.Get("Idempotency-Replayed"))
		}
		extra := []string{"Idempotency-Replayed: true"}
		if location := first.header.Get("Location"); location != "" {
			extra = append(extra, "Location: "+location)
		}
		rows := count(t, s.store, owner)
		for range 3 {
			s.clock.Add(3 * time.Minute)
			wantAnswer(t, k.name+" again", k.send(t, s, key), k.status, first.body, extra...)
		}
		// The layout of the body is not what is asked for.
		if k.body != "" {
			spaced := k
			spaced.body = " " + strings.ReplaceAll(k.body, ",", " ,\n") + "\r\n"
			wantAnswer(t, k.name+", spaced", spaced.send(t, s, key), k.status, first.body, extra...)
		}
		other := k
		if other.body = k.other; k.other == "target" {
			other.target, other.body = ofApp+"/tokens/"+token, ""
		}
		wantAnswer(t, k.name+", another request", other.send(t, s, key), 422, invalid("Idempotency-Key", "custom", otherUse))
		if k.other == "target" {
			continue // the token is in the path: the request has used it
		}
		wantAnswer(t, k.name+", after another request", k.send(t, s, key), k.status, first.body, extra...)
		if n := count(t, s.store, owner); n != rows {
			t.Errorf("%s: repeats made %d rows", k.name, n-rows)
		}
		// Others may have the same key.
		if k.auth == "" {
			got := k.send(t, s, key, "Authorization: "+basic("hubot", password), "X-GitHub-OTP: "+otpCode)
			if got.status/100 != 2 || got.header.Get("Idempotency-Replayed") != "" || issued(t, "another user", got) == token {
				t.Errorf("%s, another user: %d %s", k.name, got.status, got.body)
			}
		}
		if !alive(t, s.m, authz.NewSecret(token)) { // which uses it
			t.Errorf("%s: the token is dead", k.name)
		}
		got := k.send(t, s, key)
		if k.reused == "" {
			want := strings.Replace(first.body, strconv.Quote(token), `""`, 1)
			wantAnswer(t, k.name+", token in use", got, 200, want, "Location: "+first.header.Get("Location"))
		} else {
			wantAnswer(t, k.name+", token in use", got, 422, k.reused)
		}
		if !alive(t, s.m, authz.NewSecret(token)) {
			t.Errorf("%s: a repeat has killed the token", k.name)
		}
	}
}

// Ten minutes after it was made an answer is gone, and the request is a new one.
func TestIdempotencyWindowOverHTTP(t *testing.T) {
	for i := range 8 {
		s := newServer(t, legacyPaths)
		k := keyedRequests(t, s)[i]
		key := "Idempotency-Key: " + retryKey
		first := k.send(t, s, key)
		token := issued(t, k.name, first)
		s.clock.Add(authz.ReplayWindow - time.Microsecond)
		if got := k.send(t, s, key); got.body != first.body || got.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s, at the last moment: %d %s", k.name, got.status, got.body)
		}
		s.clock.Add(time.Microsecond)
		got := k.send(t, s, key)
		if got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s, after the window: Idempotency-Replayed", k.name)
		}
		switch {
		case strings.HasPrefix(k.name, "PUT") && k.reused == "":
			wantAnswer(t, k.name, got, 200, strings.Replace(first.body, strconv.Quote(token), `""`, 1), "Location: "+first.header.Get("Location"))
		case strings.HasPrefix(k.name, "reset"):
			wantAnswer(t, k.name, got, 404, message("Not Found"))
		case k.name == "POST, personal":
			wantAnswer(t, k.name, got, 422, clash("note", first.header.Get("Location")))
		default:
			if next := issued(t, k.name, got); next == token || got.status != k.status {
				t.Errorf("%s: %d %s", k.name, got.status, got.body)
			}
		}
	}
}

// cutting runs a request that has the header X-Die and then closes the
// connection instead of answering.
func cutting(h http.Handler, cut *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Die") == "" || cut.Add(1) > 1 {
			h.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	})
}

// cutServer is the API where answers can be lost.
func cutServer(t testing.TB, st store.Store, cut *atomic.Int64) *server {
	t.Helper()
	s := &server{store: &rowCounter{Store: st}}
	s.m, s.clock = newManager(t, s.store, authz.Config{})
	s.Server = httptest.NewServer(cutting(newHandler(t, s.m, legacyPaths), cut))
	t.Cleanup(s.Close)
	return s
}

func openStores(t testing.TB) map[string]store.Store {
	t.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "authz.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return map[string]store.Store{"memory": memory.New(), "sqlite": db}
}

// The fault that Idempotency-Key is for: the change is stored, and the answer is
// lost with its connection. The client repeats the request and has its token.
func TestLostAnswers(t *testing.T) {
	for i := range 8 {
		for name, st := range openStores(t) {
			var cut atomic.Int64
			s := cutServer(t, st, &cut)
			k := keyedRequests(t, s)[i]
			t.Run(name+"/"+k.name, func(t *testing.T) {
				s.Client().Transport.(*http.Transport).DisableKeepAlives = true // or the client repeats it by itself
				before := count(t, st, owner)
				req, err := http.NewRequest(k.method, s.URL+k.target, strings.NewReader(k.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{"Authorization": {basic("mona", password)}, "Idempotency-Key": {retryKey}, "X-Die": {"yes"}}
				if k.auth != "" {
					req.Header.Set("Authorization", basic(clientID, clientSecret))
				}
				resp, err := s.Client().Do(req)
				if err == nil {
					resp.Body.Close()
					t.Fatalf("the answer arrived: %d", resp.StatusCode)
				}
				after := count(t, st, owner)
				if made := k.status == 201 || k.name == "scoped"; made != (after == before+1) {
					t.Fatalf("%d rows before and %d after: was it stored?", before, after)
				}
				got := k.send(t, s, "Idempotency-Key: "+retryKey)
				if got.status != k.status || got.header.Get("Idempotency-Replayed") != "true" {
					t.Fatalf("retry: %d %s, want %d, replayed", got.status, got.body, k.status)
				}
				token := issued(t, "retry", got)
				again := k.send(t, s, "Idempotency-Key: "+retryKey)
				if again.body != got.body {
					t.Errorf("second retry: %s\nfirst %s", again.body, got.body)
				}
				if n := count(t, st, owner); n != after {
					t.Errorf("the retries made %d rows", n-after)
				}
				if !alive(t, s.m, authz.NewSecret(token)) {
					t.Error("the token is dead")
				}
				if old := oldToken(k); old != "" && k.name != "scoped" && alive(t, s.m, authz.NewSecret(old)) {
					t.Error("the token that was reset lives")
				}
			})
		}
	}
}

// oldToken is the token that a request is about.
func oldToken(k keyed) string {
	if at := strings.Index(k.body+k.target, "azt_"); at >= 0 {
		return (k.body + k.target)[at : at+40]
	}
	return ""
}

// Without a key, what was lost is lost: the reason why there are keys.
func TestLostAnswerWithoutAKey(t *testing.T) {
	var cut atomic.Int64
	s := cutServer(t, memory.New(), &cut)
	req, err := http.NewRequest("PUT", s.URL+path, strings.NewReader(minimalBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {basic("mona", password)}, "X-Die": {"yes"}}
	if resp, err := s.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("the answer arrived")
	}
	if got := s.put(t, path, minimalBody); got.status != 200 || got.decode(t)["token"] != "" {
		t.Errorf("retry: %d %s, want 200 without a token", got.status, got.body)
	}
}

// Go's own client repeats a request that has an Idempotency-Key when a used
// connection dies: the caller sees nothing of the fault.
func TestGoClientRepeatsByItself(t *testing.T) {
	for i := range 8 {
		var cut atomic.Int64
		s := cutServer(t, memory.New(), &cut)
		k := keyedRequests(t, s)[i]
		s.send(t, "GET", "/authorizations", "") // the connection is a used one
		got := k.send(t, s, "Idempotency-Key: "+retryKey, "X-Die: yes")
		if got.status != k.status || got.header.Get("Idempotency-Replayed") != "true" || cut.Load() != 2 {
			t.Errorf("%s: %d, Idempotency-Replayed %q after %d requests, want %d, true, 2", k.name, got.status, got.header.Get("Idempotency-Replayed"), cut.Load(), k.status)
		}
		issued(t, k.name, got)
	}
}
