package authz_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// fuzzed is the API with a user's authorization for an app, of which targets ask
// a million times: no sockets, and no httptest.
type fuzzed struct {
	http.Handler
	m      *authz.Manager
	st     *memory.Store
	result authz.Result // the authorization, fingerprint "fuzzed"
	grant  int64
}

func newFuzzed(f *testing.F, change ...func(*authz.HandlerConfig)) *fuzzed {
	w := &fuzzed{st: memory.New()}
	w.m, _ = newManager(f, w.st, authz.Config{})
	w.Handler = newHandler(f, w.m, append(change, func(c *authz.HandlerConfig) { c.LegacyTokenPaths = true })...)
	w.make(f)
	grants, err := w.m.Grants(context.Background(), owner)
	if err != nil {
		f.Fatal(err)
	}
	w.grant = grants[0].ID
	return w
}

func (w *fuzzed) make(t testing.TB) { w.result = mustGet(t, w.m, request(fingerprint("fuzzed"))) }

// fill puts in what differs from process to process.
func (w *fuzzed) fill(s string) string {
	return strings.NewReplacer(
		"{token}", w.result.Token.Reveal(), "{id}", strconv.FormatInt(w.result.Authorization.ID, 10), "{grant}", strconv.FormatInt(w.grant, 10),
	).Replace(s)
}

// ask sends a request with these header lines, name and value in turn. It
// returns false if net/http would refuse the target.
func (w *fuzzed) ask(t *testing.T, method, target, body string, header ...string) (answer, bool) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return answer{}, false
	}
	r := &http.Request{
		Method: method, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "h",
		Header: make(http.Header, len(header)/2), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	to := &written{header: http.Header{}}
	w.ServeHTTP(to, r)
	got := answer{to.status, to.header, to.body.String()}
	if got.status < 200 || got.status > 499 {
		t.Fatalf("%s %q: %d %s", method, target, got.status, got.body)
	}
	return got, true
}

// rows is how many authorizations there are.
func (w *fuzzed) rows(t *testing.T) int64 {
	t.Helper()
	n, err := w.m.Count(context.Background(), owner, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// written is an http.ResponseWriter.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(p []byte) (int, error) { return w.body.Write(p) }

// Whatever stands in the last segment of a path leads to what it names, once its
// escapes are undone, and else to 404, or 422 where it is a parameter. A
// fingerprint comes back whole.
func FuzzPaths(f *testing.F) {
	for i, s := range []string{
		"a", "a%2Fb", "..%2F", "%2E%2E", "..", ".", "", "/", "%2F", "%2f%2f", "%00", "%FF", "+", ";", "a;b=c", "%25", "%252F", "é", "a|b", "%C3%A9", "a/b", "a//b", "%zz", "%", "a%20b", "{x}", "?a", "#a",
		strings.Repeat("x", 256), "%7F", "%0D%0A", "..%5C..", "%F0%9F%92%BB",
		"0", "-1", "+{id}", "0{id}", "{id}%20", "%20{id}", "{id}.0", "{id}e0", "9223372036854775807", "9223372036854775808", "18446744073709551617", "%D9%A1", "1_0", "0x1",
		"{id}/", "{id}%00", "{token}/", "{token}%00", "x{token}", "{token}?a=b", "token", "grant", "%74oken", "grants", "clients", "clients/", clientID + "%20", strings.ToUpper(clientID), "%61" + clientID[1:], clientID + "?x",
	} {
		f.Add(s, uint8(i))
	}
	for kind := range uint8(5) {
		for _, s := range []string{"{id}", "{grant}", "{token}", "%2F", "?", "{id}%2F", clientID} {
			f.Add(s, kind)
		}
	}
	user, app := basic("mona", password), basic(clientID, clientSecret)
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, segment string, kind uint8) {
		segment = w.fill(segment)
		raw, _, _ := strings.Cut(segment, "?")
		name, err := url.PathUnescape(raw)
		whole := err == nil && !strings.Contains(raw, "/")
		method, target, auth := http.MethodGet, "", user
		var right []string // what leads to 200
		var wrong func(status int) bool
		switch kind % 5 {
		case 0:
			method, target = http.MethodPut, path+"/"+segment
			wrong = func(status int) bool { return status == 404 || status == 422 && whole }
		case 1:
			target, right = "/authorizations/"+segment, []string{w.fill("{id}")}
			wrong = func(status int) bool { return status == 404 || status == 405 && !whole }
		case 2: // grants/token and what lies below it are an app's paths
			target, right = "/applications/grants/"+segment, []string{w.fill("{grant}")}
			wrong = func(status int) bool {
				return status == 404 || status == 401 && (!whole || name == "token" || name == "grant")
			}
		case 3:
			target, auth, right = "/applications/"+clientID+"/tokens/"+segment, app, []string{w.fill("{token}")}
			wrong = func(status int) bool { return status == 404 }
		case 4:
			method, target, right = http.MethodPut, "/authorizations/clients/"+segment, []string{clientID}
			wrong = func(status int) bool { return status == 404 || status == 422 || !whole && status < 300 }
		}
		got, ok := w.ask(t, method, target, `{`+bodyKey+`,"note":"made"}`, "Authorization", auth)
		if !ok {
			return
		}
		v := got.decode(t)
		if got.status == 201 { // only PUT does that
			id := got.id(t)
			if err := w.m.Delete(context.Background(), owner, id); err != nil {
				t.Fatal(err)
			}
			if location := got.header.Get("Location"); location != "http://h/authorizations/"+strconv.FormatInt(id, 10) {
				t.Errorf("%q: Location %q", segment, location)
			}
		}
		switch {
		case kind%5 == 0 && got.status < 300:
			if !whole || name == "" || v["fingerprint"] != name {
				t.Errorf("%q: fingerprint %q, want %q", segment, v["fingerprint"], name)
			}
		case whole && slices.Contains(right, name):
			if got.status != 200 && (kind%5 != 4 || got.status != 201) {
				t.Errorf("%s %q: %d %s", method, target, got.status, got.body)
			}
		case !wrong(got.status):
			t.Errorf("%s %q: %d %s", method, target, got.status, got.body)
		}
		if n := w.rows(t); n != 1 {
			t.Fatalf("%s %q: %d rows", method, target, n)
		}
	})
}

// formOf reads a form by hand: the last state of each parameter, or !ok if the
// form is broken or has one twice.
func formOf(body string) (form map[string]string, ok bool) {
	form = map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimRight(body, "\r\n"), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, okName := unescapeForm(name)
		value, okValue := unescapeForm(value)
		if _, twice := form[name]; twice || !okName || !okValue || strings.Contains(pair, ";") {
			return nil, false
		}
		form[name] = value
	}
	return form, true
}

func unescapeForm(s string) (string, bool) {
	var out []byte
	for s != "" {
		switch c := s[0]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%':
			if len(s) < 3 {
				return "", false
			}
			b, err := strconv.ParseUint(s[1:3], 16, 8)
			if err != nil || s[1] == '+' || s[1] == '-' {
				return "", false
			}
			out, s = append(out, byte(b)), s[2:]
		default:
			out = append(out, c)
		}
		s = s[1:]
	}
	return string(out), true
}

// What a form asks of introspection and revocation is what it says by another
// reading, with every escape undone once; nothing else happens.
func FuzzForms(f *testing.F) {
	id, secret := "client_id="+clientID, "client_secret="+clientSecret
	escaped := "client_secret=%61" + clientSecret[1:]
	for _, s := range []string{
		"", "token={token}", "token={token}\r\n", "token=x", "token=", "token", "=", "&", "&&token={token}&", "token={token}&token={token}", "token=&token={token}", "token=%7Btoken%7D", "%74oken={token}", "token=+{token}",
		"token={token};x=y", "token=%", "token=%4", "token=%zz", "token=%00", "token=%ff", "token={token}%20", "token=%61zt_", "Token={token}", "token[]={token}", "token={token}&token_type_hint=access_token", "token={token}&x=1&x=2",
		"token={token}&" + id, "token={token}&client_id=zyxwv98765utsrq43210", "token={token}&" + secret, "{\"token\":\"{token}\"}", "token={token}\n&x=y", "token==", "token={token}#", "token={token}&" + strings.Repeat("a", 1000),
	} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(1))
		f.Add(s+"&"+id+"&"+secret, uint8(2))
		f.Add(id+"&"+secret+"&"+s, uint8(3))
	}
	for _, s := range []string{escaped, "client_secret=%2561" + clientSecret[1:], secret + "%00", secret + "+", secret + "&client_secret=", "client_secret=", "client%5Fsecret=" + clientSecret, secret + "&" + secret} {
		f.Add("token={token}&"+id+"&"+s, uint8(2))
		f.Add("token={token}&"+s, uint8(0))
	}
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, body string, kind uint8) {
		body = w.fill(body)
		if len(body) > 60_000 {
			return // other bounds
		}
		revoke, inHeader := kind&1 != 0, kind&2 == 0
		target, header := "/oauth/introspect", []string{"Content-Type", "application/x-www-form-urlencoded"}
		if revoke {
			target = "/oauth/revoke"
		}
		if inHeader {
			header = append(header, "Authorization", basic(clientID, clientSecret))
		}
		got, _ := w.ask(t, http.MethodPost, target, body, header...)

		form, ok := formOf(body)
		live, status := form["token"] == w.result.Token.Reveal(), 0
		switch {
		case !ok, inHeader && form["client_secret"] != "":
			status = 400
		case inHeader && form["client_id"] != "" && form["client_id"] != clientID,
			!inHeader && (form["client_id"] != clientID || form["client_secret"] != clientSecret):
			status = 401
		case form["token"] == "":
			status = 400
		default:
			status = 200
		}
		if got.status != status {
			t.Errorf("%s %q: %d %s, want %d", target, body, got.status, got.body, status)
		}
		switch {
		case status != 200:
			if v := got.decode(t); v["error"] == "" || v["error"] == nil || v["message"] == "" {
				t.Errorf("%s %q: %s", target, body, got.body)
			}
		case revoke:
			if got.body != "{}\n" || alive(t, w.m, w.result.Token) == live {
				t.Errorf("%s %q: %q, and the token lives: %t", target, body, got.body, !live)
			}
			if live {
				w.make(t)
			}
			return
		default:
			if v := got.decode(t); v["active"] != live || live && v["sub"] != owner || !live && len(v) != 1 {
				t.Errorf("%s %q: %s, want active %t", target, body, got.body, live)
			}
		}
		if n := w.rows(t); n != 1 {
			t.Fatalf("%s %q: %d rows", target, body, n)
		}
	})
}

// No Authorization header lets an app in that does not hold its client_id and
// client_secret, nor its form-encoded ones where OAuth says so; every usual one
// does.
func FuzzAppCredentials(f *testing.F) {
	const trickyID, trickySecret = "Tricky00000000000000", `%41+%2B:colon&amp=;"'\~0123456789abcdefg`
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	once := url.QueryEscape(trickySecret)
	unescaped, _ := url.QueryUnescape("%41+%2B:colon")
	for _, s := range []string{
		"", "Basic", "Basic ", "Basic ====", "Basic " + encode(":"), "Basic " + encode(trickyID), "Basic " + encode(trickyID+":"), "Bearer " + trickySecret, "token x", "Basic " + trickyID + ":" + trickySecret,
		"Basic " + encode(trickyID+":"+trickySecret), "BASIC  " + encode(trickyID+":"+trickySecret) + " ", "basic " + encode(trickyID+":"+trickySecret+"\r\n"), "Basic " + encode(trickyID+":"+once), "Basic\t" + encode(trickyID+":"+trickySecret),
		"Basic " + encode(trickyID+":"+url.QueryEscape(once)), "Basic " + encode(trickyID+":"+unescaped+trickySecret[13:]), "Basic " + encode("%54ricky00000000000000:"+once), "Basic " + encode("%54ricky00000000000000:"+trickySecret),
		"Basic " + encode(trickyID+"\x00:"+trickySecret), "Basic " + encode(trickyID+": "+trickySecret), "Basic " + encode(trickyID+":"+trickySecret+" "), "Basic " + encode(trickyID+":"+trickySecret+"\x00"), "Basic " + encode(trickyID+":"+trickySecret+"a"),
		"Basic " + encode(clientID+":"+trickySecret), "Basic " + encode(trickyID+":"+clientSecret), "Basic " + encode("\n"+trickyID+":"+trickySecret), "Basic " + encode(trickyID+":"+trickySecret) + "," + encode("a:b"),
		"Basic " + encode(clientID+":"+clientSecret), "Basic " + strings.TrimRight(encode(trickyID+":"+trickySecret), "="), "Basic " + encode(trickyID+":"+trickySecret) + "=", "Basic Basic " + encode(trickyID+":"+trickySecret),
	} {
		f.Add(s)
	}
	padded := encode(trickyID + ":" + trickySecret)
	last := strings.Index(padded, "=") - 1
	f.Add("Basic " + padded[:last] + string(padded[last]+1) + padded[last+1:])
	w := newFuzzed(f)
	app, _, err := w.m.RegisterApp(context.Background(), authz.NewApp{Name: "tricky", ClientID: trickyID, ClientSecret: authz.NewSecret(trickySecret)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		// What the header may mean at most, whatever its white space and padding.
		var plain, encoded, other bool
		if text := strings.TrimSpace(header); len(text) > 6 && strings.EqualFold(text[:6], "basic ") {
			text = strings.TrimRight(strings.Join(strings.Fields(text[6:]), ""), "=")
			raw, err := base64.RawStdEncoding.DecodeString(text)
			if base64.RawStdEncoding.EncodeToString(raw) != text {
				raw = nil // bits left over
			}
			id, secret, _ := strings.Cut(strings.TrimRight(string(raw), "\r\n"), ":")
			plain = err == nil && id == app.ClientID && secret == trickySecret
			other = err == nil && id == clientID && secret == clientSecret
			id, okID := unescapeForm(id)
			secret, okSecret := unescapeForm(secret)
			encoded = err == nil && okID && okSecret && (id == app.ClientID && secret == trickySecret || id == clientID && secret == clientSecret)
		}
		// What it means without any doubt.
		id, secret, _ := (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
		sure := id == app.ClientID && secret == trickySecret && header[6:] == encode(id+":"+secret)

		got, _ := w.ask(t, http.MethodPost, "/applications/"+trickyID+"/token", `{}`, "Authorization", header)
		if in := got.status == 422; in && !plain || !in && sure || !in && got.status != 401 && (got.status != 404 || !other) {
			t.Errorf("%q: %d %s; the credentials are right: %t", header, got.status, got.body, plain)
		}
		got, _ = w.ask(t, http.MethodPost, "/oauth/introspect", "token=x", "Authorization", header)
		if in := got.status == 200; in && !plain && !encoded && !other || !in && sure || !in && got.status != 401 {
			t.Errorf("%q, introspection: %d %s; the credentials are right: %t, %t", header, got.status, got.body, plain, encoded)
		}
	})
}

var idempotencyKeyForm = regexp.MustCompile(`^[!-~]{16,255}$`)

// An Idempotency-Key makes a token once and repeats it, for the same request
// alone; the store never holds it. What is no key makes nothing.
func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{
		"", " ", "a", strings.Repeat("k", 15), strings.Repeat("k", 16), strings.Repeat("k", 255), strings.Repeat("k", 256), "7f2d3c1e-8a4b-4d9e-9b1f-0c2d3e4f5a6b", strings.Repeat("k", 15) + " ", strings.Repeat("k", 15) + "\x00", strings.Repeat("é", 16),
		strings.Repeat("k", 16) + "\x7f", "\"" + strings.Repeat("k", 16) + "\"", strings.Repeat("k", 16) + ", " + strings.Repeat("k", 16), strings.Repeat("%", 16), strings.Repeat("~", 16), strings.Repeat("!", 16), strings.Repeat("k", 8) + "\t" + strings.Repeat("k", 8),
	} {
		f.Add(s, "note", "other", uint8(0))
		f.Add(s, "note", "note", uint8(1))
	}
	f.Add(strings.Repeat("k", 16), "a", "", uint8(2))
	user := basic("mona", password)
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, key, note, other string, kind uint8) {
		send := func(note string) answer {
			body := `{` + bodyKey + `,"note":` + strconv.QuoteToASCII(note) + `}`
			method, target := http.MethodPost, "/authorizations"
			if kind&1 != 0 {
				method, target = http.MethodPut, path+"/"+w.fill("{id}") // any fingerprint
			}
			got, _ := w.ask(t, method, target, body, "Authorization", user, "Idempotency-Key", key)
			return got
		}
		if len(note) > 100 || len(other) > 100 {
			return
		}
		first := send(note)
		if first.status != 201 {
			if first.status == 422 && idempotencyKeyForm.MatchString(key) && !strings.Contains(first.body, `"note"`) || first.status != 422 && first.status != 400 {
				t.Errorf("%q: %d %s", key, first.status, first.body)
			}
			if n := w.rows(t); n != 1 {
				t.Fatalf("%q: %d rows", key, n)
			}
			return
		}
		if !idempotencyKeyForm.MatchString(key) {
			t.Errorf("%q is taken for a key", key)
		}
		rec, err := w.m.Get(context.Background(), owner, first.id(t))
		token, _ := first.decode(t)["token"].(string)
		if err != nil || token == "" || rec.Replay.IsZero() || bytes.Contains(rec.Replay.Seal, []byte(token)) || bytes.Contains(rec.Replay.Seal, []byte(key)) {
			t.Errorf("%q: kept as %+v, %v", key, rec, err)
		}
		second := send(other)
		switch {
		case other == note:
			if second.status != 201 || second.body != first.body || second.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%q, again: %d %s, want\n%s", key, second.status, second.body, first.body)
			}
		case second.status == 400: // the other note is none
		case second.status != 422 || !strings.Contains(second.body, "another request") && !strings.Contains(second.body, `"note"`):
			t.Errorf("%q, another request: %d %s", key, second.status, second.body)
		}
		if n := w.rows(t); n != 2 {
			t.Errorf("%q: %d rows", key, n)
		}
		if err := w.m.Delete(context.Background(), owner, rec.ID); err != nil {
			t.Fatal(err)
		}
	})
}

var scopeForm = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,100}$`)

// Scopes after any changes are what a list without duplicates is after them; a
// change that is refused changes nothing.
func FuzzUpdateScopes(f *testing.F) {
	for _, s := range []string{
		"", "=a b", "+a", "-a", "=a b c\n-b\n+b", "=a a a", "+a a b a", "=a\n=", "=a\n-", "-a\n-a", "+é", "+\"", "-\\", "+a  b", "=a\n+a\n-a\n+a", "=public_repo repo\n+user:email\n-repo\n=user",
		"+" + strings.Repeat("s", 101), "-" + strings.Repeat("s", 100), "=" + strings.Repeat("a ", 100) + "a", "+A\n+a\n-A", "+\x7f", "=a a\x7f", "-\x1f", "=~!#[]", "=a b c d e\n-e d\n+d e",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	var hundred []string
	for i := range authz.MaxScopes {
		hundred = append(hundred, "s"+strconv.Itoa(i))
	}
	f.Add("="+strings.Join(hundred, " ")+"\n+x\n-s5\n+x", false)
	ctx := context.Background()
	declared := []string{"a", "b", "c", "A", "repo", "public_repo", "user"}
	type world struct {
		m  *authz.Manager
		id int64
	}
	var worlds [2]world
	for i, scopes := range [][]authz.Scope{nil, authz.ScopeNames(declared...)} {
		m, _ := newManager(f, memory.New(), authz.Config{Scopes: scopes})
		worlds[i] = world{m, mustGet(f, m, request(func(r *authz.Request) { r.Scopes = nil })).Authorization.ID}
	}
	f.Fuzz(func(t *testing.T, program string, only bool) {
		w := worlds[0]
		if only {
			w = worlds[1]
		}
		rec, err := w.m.Update(ctx, owner, w.id, authz.Update{Scopes: []string{}})
		if err != nil || len(rec.Scopes) != 0 {
			t.Fatal(rec.Scopes, err)
		}
		var model []string
		lines := strings.Split(program, "\n")
		for _, line := range lines[:min(8, len(lines))] {
			if line == "" {
				continue
			}
			list := []string{}
			if line[1:] != "" {
				list = strings.Split(line[1:], " ")
			}
			refused := len(list) > authz.MaxScopes
			for _, s := range list {
				refused = refused || !scopeForm.MatchString(s) || only && line[0] != '-' && !slices.Contains(declared, s)
			}
			var u authz.Update
			next := slices.Clone(model)
			switch line[0] {
			case '=':
				u.Scopes, next = list, nil
				fallthrough
			case '+':
				if line[0] == '+' {
					u.AddScopes = list
				}
				for _, s := range list {
					if !slices.Contains(next, s) {
						next = append(next, s)
					}
				}
				refused = refused || len(next) > authz.MaxScopes
			case '-':
				u.RemoveScopes = list
				next = slices.DeleteFunc(next, func(s string) bool { return slices.Contains(list, s) })
			default:
				continue
			}
			was := rec
			rec, err = w.m.Update(ctx, owner, w.id, u)
			if v := (*authz.ValidationError)(nil); refused {
				if !errors.As(err, &v) || len(v.Fields) != 1 || v.Fields[0].Field != map[byte]string{'=': "scopes", '+': "add_scopes", '-': "remove_scopes"}[line[0]] {
					t.Fatalf("%q: %v, %v, want it refused", line, rec.Scopes, err)
				}
				if rec, err = w.m.Get(ctx, owner, w.id); err != nil || rec.Revision != was.Revision {
					t.Fatalf("%q was refused and has changed %v, %v", line, rec, err)
				}
			} else {
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if changed := rec.Revision != was.Revision; changed == slices.Equal(next, model) {
					t.Errorf("%q on %q: a new revision: %t", line, model, changed)
				}
				model = next
			}
			if !slices.Equal(rec.Scopes, model) {
				t.Fatalf("%q: %q, want %q", line, rec.Scopes, model)
			}
		}
	})
}
