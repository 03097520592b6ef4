package authz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// endpointCall is one endpoint with a request that is good, and what it does.
type endpointCall struct {
	name                 string
	method, target, body string
	as                   string // user, app, client or nobody
	status               int
	done                 func(t testing.TB, s *server) bool // whether it has done its work
	json                 bool                               // it reads a JSON body
	makes                bool                               // it makes a token, and heeds the Idempotency-Key
	own                  authz.Authorization                // what it is about, where it is about one
	token                authz.Secret
}

func (o endpointCall) send(t testing.TB, s *server, prefix string, headers ...string) answer {
	t.Helper()
	return s.send(t, o.method, prefix+o.target, o.body, append(o.headers(), headers...)...)
}

func (o endpointCall) headers() []string {
	switch o.as {
	case "app":
		return []string{asClient}
	case "client":
		return []string{asClient, formType}
	case "nobody":
		return []string{"Authorization:"}
	}
	return nil
}

// endpointCalls prepares a server for one request to each endpoint: they do not get
// into each other's way.
func endpointCalls(t testing.TB, s *server) []endpointCall {
	t.Helper()
	var of func(o endpointCall) endpointCall
	n := 0
	of = func(o endpointCall) endpointCall {
		t.Helper()
		n++
		r := mustGet(t, s.m, request(fingerprint("of operation "+strconv.Itoa(n)), func(r *authz.Request) { r.Scopes = []string{"a"} }))
		o.own, o.token = r.Authorization, r.Token
		if o.name == "" {
			o.name = o.method + " " + o.target
		}
		for _, field := range []*string{&o.target, &o.body} {
			*field = strings.NewReplacer("{id}", strconv.FormatInt(r.Authorization.ID, 10), "{token}", r.Token.Reveal()).Replace(*field)
		}
		return o
	}
	find := func(t testing.TB, s *server, o store.Query) []store.Authorization {
		t.Helper()
		o.Owner, o.Limit = owner, 1000
		recs, err := s.store.List(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return recs
	}
	made := func(has func(a authz.Authorization) bool) func(testing.TB, *server) bool {
		return func(t testing.TB, s *server) bool {
			t.Helper()
			return slices.ContainsFunc(find(t, s, store.Query{}), has)
		}
	}
	ops := []endpointCall{
		of(endpointCall{method: "PUT", target: "/authorizations/clients/" + clientID, body: minimalBody, status: 201, json: true, makes: true, done: made(func(a authz.Authorization) bool { return a.Fingerprint == "" && a.ClientID != "" })}),
		of(endpointCall{method: "PUT", target: "/authorizations/clients/" + clientID + "/put", body: minimalBody, status: 201, json: true, makes: true, done: made(func(a authz.Authorization) bool { return a.Fingerprint == "put" })}),
		of(endpointCall{name: "PUT, rotate", method: "PUT", target: "/authorizations/clients/" + clientID + "/to-rotate", body: `{` + secretField + `,"on_existing":"rotate"}`, status: 200, json: true, makes: true, done: made(func(a authz.Authorization) bool {
			return a.Fingerprint == "to-rotate" && a.Note == "" && a.Revision > 1
		})}),
		of(endpointCall{name: "PUT, existing", method: "PUT", target: "/authorizations/clients/" + clientID + "/existing", body: minimalBody, status: 200, json: true}),
		of(endpointCall{name: "POST for an app", method: "POST", target: "/authorizations", body: `{"client_id":"` + clientID + `",` + secretField + `,"fingerprint":"post"}`, status: 201, json: true, makes: true, done: made(func(a authz.Authorization) bool { return a.Fingerprint == "post" })}),
		of(endpointCall{name: "POST personal", method: "POST", target: "/authorizations", body: `{"note":"mine"}`, status: 201, json: true, makes: true, done: made(func(a authz.Authorization) bool { return a.ClientID == "" })}),
		of(endpointCall{method: "GET", target: "/authorizations", status: 200}),
		of(endpointCall{method: "GET", target: "/authorizations/{id}", status: 200}),
		of(endpointCall{method: "PATCH", target: "/authorizations/{id}", body: `{"note":"patched"}`, status: 200, json: true, done: made(func(a authz.Authorization) bool { return a.Note == "patched" })}),
		of(endpointCall{method: "POST", target: "/authorizations/{id}", body: `{"note":"posted"}`, status: 200, json: true, done: made(func(a authz.Authorization) bool { return a.Note == "posted" })}),
		of(endpointCall{method: "DELETE", target: "/authorizations/{id}", status: 204}),
		of(endpointCall{method: "GET", target: "/applications/grants", status: 200}),
		of(endpointCall{method: "GET", target: "/applications/grants/{grant}", status: 200}),
		of(endpointCall{name: "check", method: "POST", target: ofApp + "/token", body: `{"access_token":"{token}"}`, as: "app", status: 200, json: true}),
		of(endpointCall{name: "reset", method: "PATCH", target: ofApp + "/token", body: `{"access_token":"{token}"}`, as: "app", status: 200, json: true, makes: true}),
		of(endpointCall{name: "revoke", method: "DELETE", target: ofApp + "/token", body: `{"access_token":"{token}"}`, as: "app", status: 204, json: true}),
		of(endpointCall{name: "scoped", method: "POST", target: ofApp + "/token/scoped", body: `{"access_token":"{token}","scopes":[],"fingerprint":"scoped"}`, as: "app", status: 200, json: true, makes: true, done: made(func(a authz.Authorization) bool { return a.Fingerprint == "scoped" })}),
		of(endpointCall{name: "older check", method: "GET", target: ofApp + "/tokens/{token}", as: "app", status: 200}),
		of(endpointCall{name: "older reset", method: "POST", target: ofApp + "/tokens/{token}", as: "app", status: 200, makes: true}),
		of(endpointCall{name: "older revoke", method: "DELETE", target: ofApp + "/tokens/{token}", as: "app", status: 204}),
		of(endpointCall{method: "POST", target: "/oauth/introspect", body: "token={token}", as: "client", status: 200}),
		of(endpointCall{method: "POST", target: "/oauth/revoke", body: "token={token}", as: "client", status: 200}),
		// These take all that the user has for the app.
		of(endpointCall{method: "DELETE", target: "/applications/grants/{grant}", status: 204}),
		of(endpointCall{name: "revoke grant", method: "DELETE", target: ofApp + "/grant", body: `{"access_token":"{token}"}`, as: "app", status: 204, json: true}),
		of(endpointCall{name: "older revoke grant", method: "DELETE", target: ofApp + "/grants/{token}", as: "app", status: 204}),
	}
	mustGet(t, s.m, request(fingerprint("to-rotate"), func(r *authz.Request) { r.Note = "" }))
	mustGet(t, s.m, request(fingerprint("existing")))
	grants, err := s.m.Grants(context.Background(), owner)
	if err != nil || len(grants) != 1 {
		t.Fatalf("%v, %v", grants, err)
	}
	for i := range ops {
		o := &ops[i]
		o.target = strings.Replace(o.target, "{grant}", strconv.FormatInt(grants[0].ID, 10), 1)
		if o.done == nil && (o.status == 204 || strings.HasSuffix(o.target, "revoke") || strings.Contains(o.name, "reset")) {
			hash := o.own.TokenHash
			o.done = func(t testing.TB, s *server) bool {
				t.Helper()
				return !slices.ContainsFunc(find(t, s, store.Query{}), func(a store.Authorization) bool { return a.TokenHash == hash })
			}
		}
	}
	return ops
}

// Every operation is good: what the tests below find wrong is what they change.
func TestEndpointCalls(t *testing.T) {
	s := newServer(t, legacyPaths)
	for i := range endpointCalls(t, s) {
		s := newServer(t, legacyPaths)
		o := endpointCalls(t, s)[i]
		if o.done != nil && o.done(t, s) {
			t.Errorf("%s: done before it is asked for", o.name)
		}
		if got := o.send(t, s, ""); got.status != o.status {
			t.Errorf("%s: %d %s, want %d", o.name, got.status, got.body, o.status)
		}
		if o.done != nil && !o.done(t, s) {
			t.Errorf("%s: not done", o.name)
		}
	}
}

const docs = "https://docs.example.com/authz"

// documented is an error body of a host that has documentation.
func documented(body string) string {
	if rest, ok := strings.CutSuffix(body, "\n}\n"); ok {
		if at := strings.Index(rest, ",\n  \"error\":"); at > 0 {
			return rest[:at] + ",\n  \"documentation_url\": \"" + docs + "\"" + rest[at:] + "\n}\n"
		}
		return rest + ",\n  \"documentation_url\": \"" + docs + "\"\n}\n"
	}
	return body
}

// The table of http-api, section 5, on every endpoint where a row can occur: all
// bytes of the body and all headers.
func TestErrorTableOfEveryEndpoint(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{Scopes: authz.ScopeNames("a", "public_repo")}, legacyPaths, func(c *authz.HandlerConfig) {
		c.DocumentationURL, c.Realm = docs, "my realm"
	})
	register(t, s.m, otherClient)
	ops := endpointCalls(t, s)
	rows, err := s.m.Count(context.Background(), owner, "")
	if err != nil {
		t.Fatal(err)
	}
	const (
		challenge = `WWW-Authenticate: Basic realm="my realm"`
		otpWords  = "Must specify two-factor authentication OTP code."
		noToken   = "This API can only be accessed with username and password Basic Auth"
		lockWords = "Maximum number of login attempts exceeded. Please try again later."
		notJSON   = "Problems parsing JSON"
	)
	token := "azt_" + strings.Repeat("A", 30) + "0uCPlr"
	for _, o := range ops {
		// check sends the operation with some headers, or another body, in place.
		check := func(row string, o endpointCall, status int, body string, want []string, headers ...string) {
			t.Helper()
			wantAnswer(t, o.name+": "+row, o.send(t, s, "", headers...), status, documented(body), want...)
		}
		with := func(body string) endpointCall { o := o; o.body = body; return o }
		plus := func(member string) endpointCall {
			o := o
			if o.body = strings.TrimSuffix(o.body, "}") + "," + member + "}"; o.body[0] != '{' {
				t.Fatalf("%s: body %s", o.name, o.body)
			}
			return o
		}
		as := func(login, password string) string { return "Authorization: " + basic(login, password) }
		switch o.as {
		case "":
			check("no credentials", o, 401, message("Requires authentication"), []string{challenge}, "Authorization:")
			check("unknown scheme", o, 401, message("Requires authentication"), []string{challenge}, "Authorization: Negotiate x")
			check("wrong password", o, 401, message("Bad credentials"), nil, as("mona", "x"))
			check("unknown login", o, 401, message("Bad credentials"), nil, as("nemo", password))
			check("broken credentials", o, 401, message("Bad credentials"), nil, "Authorization: Basic ?")
			check("no code", o, 401, message(otpWords), []string{"X-GitHub-OTP: required; app"}, as("hubot", password))
			check("wrong code", o, 401, message(otpWords), []string{"X-GitHub-OTP: required; app"}, as("hubot", password), "X-GitHub-OTP: 000000")
			check("no code, sms", o, 401, message(otpWords), []string{"X-GitHub-OTP: required; sms"}, as("hubot-sms", password))
			check("right code, wrong password", o, 401, message("Bad credentials"), nil, as("hubot", "x"), "X-GitHub-OTP: "+otpCode)
			check("token as password", o, 403, message(noToken), nil, as("mona", token))
			check("token as login", o, 403, message(noToken), nil, as(token, ""))
			check("scheme token", o, 403, message(noToken), nil, "Authorization: token "+token)
			check("scheme Bearer", o, 403, message(noToken), nil, "Authorization: bearer "+token)
			check("locked", o, 403, message(lockWords), []string{"Retry-After: 91"}, as("locked", password))
			check("directory away", o, 503, message("Service unavailable"), []string{"Retry-After: 1"}, as("broken", password))
			check("directory panics", o, 500, message("Internal Server Error"), nil, as("panics", password))
			if strings.Contains(o.target, "{id}") || o.method != "PUT" && strings.HasPrefix(o.target, "/authorizations/") || strings.HasPrefix(o.target, "/applications/grants/") {
				check("another user's", o, 404, message("Not Found"), nil, as("hubot", password), "X-GitHub-OTP: "+otpCode)
				unknown := o
				unknown.target = o.target[:strings.LastIndexByte(o.target, '/')+1] + "123456789"
				check("unknown id", unknown, 404, message("Not Found"), nil)
			}
		case "app":
			check("no credentials", o, 401, message("Bad credentials"), nil, "Authorization:")
			check("wrong secret", o, 401, message("Bad credentials"), nil, as(clientID, "x"))
			check("unknown app", o, 401, message("Bad credentials"), nil, as("aaaaaaaaaaaaaaaaaaaa", clientSecret))
			check("a user", o, 401, message("Bad credentials"), nil, as("mona", password))
			check("a token", o, 401, message("Bad credentials"), nil, "Authorization: Bearer "+token)
			check("another app's path", o, 404, message("Not Found"), nil, asOtherClient)
			unknown := o
			unknown.body, unknown.target = strings.ReplaceAll(o.body, o.token.Reveal(), token), strings.ReplaceAll(o.target, o.token.Reveal(), token)
			check("unknown token", unknown, 404, message("Not Found"), nil)
			foreign, err := s.m.GetOrCreate(context.Background(), request(func(r *authz.Request) {
				r.ClientID, r.Owner, r.OnExisting = otherClient, "user-3", authz.OnExistingRotate
			}))
			if err != nil {
				t.Fatal(err)
			}
			unknown.body, unknown.target = strings.ReplaceAll(o.body, o.token.Reveal(), foreign.Token.Reveal()), strings.ReplaceAll(o.target, o.token.Reveal(), foreign.Token.Reveal())
			check("another app's token", unknown, 404, message("Not Found"), nil)
		case "client":
			bad := oauthBody("invalid_client", "Client authentication failed")
			check("no credentials", o, 401, bad, []string{challenge}, "Authorization:")
			check("wrong secret", o, 401, bad, []string{challenge}, as(clientID, "x"))
			check("a user", o, 401, bad, []string{challenge}, as("mona", password))
			check("no token", with("x=y"), 400, oauthBody("invalid_request", "token is required"), nil)
			check("JSON", o, 400, oauthBody("invalid_request", "The body must be application/x-www-form-urlencoded"), nil, "Content-Type: application/json")
		}
		if o.as != "nobody" {
			other := o
			other.method = "PROPFIND"
			allow := map[string]string{"/oauth/introspect": "POST", "/oauth/revoke": "POST"}[o.target]
			if allow != "" {
				check("method", other, 405, message("Method Not Allowed"), []string{"Allow: " + allow})
			}
		}
		if o.makes {
			check("key of a wrong form", o, 422, invalid("Idempotency-Key", "invalid", "Idempotency-Key must be 16 to 255 visible ASCII characters"), nil, "Idempotency-Key: x")
		}
		if o.body != "" && o.as != "nobody" {
			check("too large", with(strings.Repeat(" ", 64<<10)+o.body), 413, message("Request body is too large"), nil)
			check("encoded", o, 415, message("Request body must not have a Content-Encoding"), nil, "Content-Encoding: br")
		}
		if !o.json {
			continue
		}
		for row, body := range map[string]string{
			"no JSON": "nonsense", "cut off": o.body[:len(o.body)-1], "trailing data": o.body + "{}", "duplicate key": o.body[:len(o.body)-1] + "," + o.body[1:], "invalid UTF-8": `{"x":"` + "\xc3\x28" + `"}`,
			"duplicate key deep inside": o.body[:len(o.body)-1] + `,"x":[{"a":1,"\u0061":2}]}`, "byte order mark": "\ufeff" + o.body, "NUL behind": o.body + "\x00",
		} {
			check(row, with(body), 400, message(notJSON), nil)
		}
		for _, body := range []string{"[" + o.body + "]", "null", "true", "12", `"{}"`, " \n[]\n"} {
			check("no object: "+body, with(body), 400, message("Body should be a JSON object"), nil)
		}
		if o.method == "PUT" {
			check("empty body", with(""), 400, message(notJSON), nil)
			check("unknown key", plus(`"foo":null`), 422, message("Invalid request.\n\n\"foo\" is not a permitted key."), nil)
			check("client_secret absent", with("{}"), 422, invalid("client_secret", "missing_field", ""), nil)
			check("client_secret wrong", with(`{"client_secret":"x"}`), 422, message("Invalid OAuth application client_id or secret."), nil)
			unknown := o
			unknown.target = strings.Replace(o.target, clientID, "aaaaaaaaaaaaaaaaaaaa", 1)
			check("client_id unknown", unknown, 422, message("Invalid OAuth application client_id or secret."), nil)
			check("another client_id in the body", plus(`"client_id":"`+otherClient+`"`), 422, invalid("client_id", "invalid", "client_id must be the one in the path"), nil)
		}
		for _, field := range map[string][]string{
			"PUT": {"scopes", "note", "note_url", "fingerprint"}, "POST for an app": {"scopes", "note", "note_url"}, "POST personal": {"scopes", "note_url", "fingerprint"},
			"PATCH": {"scopes", "add_scopes", "note_url", "fingerprint"}, "scoped": {"note", "note_url"},
		}[map[bool]string{true: o.method, false: o.name}[o.method == "PUT" || o.method == "PATCH" && o.as == ""]] {
			switch field {
			case "scopes", "add_scopes":
				check(field+" of a wrong type", plus(`"`+field+`":{}`), 422, invalid(field, "invalid", field+" must be an array of strings, not an object"), nil)
				check(field+" of wrong types", plus(`"`+field+`":["a",null]`), 422, invalid(field, "invalid", field+" must be an array of strings, but number 2 is null"), nil)
				check(field+" of bad syntax", plus(`"`+field+`":["a","b c"]`), 422, invalid(field, "invalid", field+" must be scope-tokens of RFC 6749, at most 100 bytes long each: number 2 is none"), nil)
				check(field+" undeclared", plus(`"`+field+`":["x","a","y"]`), 422, invalid(field, "custom", "scopes are invalid: x,y"), nil)
				check(field+", too many", plus(`"`+field+`":["a"`+strings.Repeat(`,"a"`, 100)+`]`), 422, invalid(field, "invalid", field+" must hold at most 100 scopes"), nil)
				continue
			case "note_url":
				check("note_url bad", plus(`"note_url":"ftp://x"`), 422, invalid("note_url", "invalid", "note_url must be an absolute http or https URL"), nil)
				check("note_url over-long", plus(`"note_url":"http://x/`+strings.Repeat("x", 2048)+`"`), 422, invalid("note_url", "invalid", "note_url must be at most 2048 bytes long"), nil)
			default:
				if field == "fingerprint" && strings.Count(o.target, "/") == 4 {
					continue // the one in the path wins
				}
				check(field+" over-long", plus(`"`+field+`":"`+strings.Repeat("é", 256)+`"`), 422, invalid(field, "invalid", field+" must be at most 255 characters long"), nil)
			}
			check(field+" of a wrong type", plus(`"`+field+`":false`), 422, invalid(field, "invalid", field+" must be a string, not a boolean"), nil)
			check(field+" with NUL", plus(`"`+field+`":"\u0000"`), 422, invalid(field, "invalid", field+" must not contain control characters"), nil)
			check(field+" with DEL", plus(`"`+field+`":"a\u007f"`), 422, invalid(field, "invalid", field+" must not contain control characters"), nil)
		}
	}
	// Two of a header whose meaning is one, on any route.
	for header, words := range map[string]string{"Authorization": "Request has more than one Authorization header", "X-Github-Otp": "Request has more than one X-GitHub-OTP header", "Idempotency-Key": "Request has more than one Idempotency-Key header"} {
		for _, target := range []string{"/authorizations", path, ofApp + "/token", "/oauth/revoke", "/nowhere"} {
			req, err := http.NewRequest("POST", s.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header[header] = []string{basic("mona", password), basic("mona", password)}
			wantAnswer(t, "two of "+header+" at "+target, s.do(t, req), 400, documented(message(words)))
		}
	}
	if n, err := s.m.Count(context.Background(), owner, ""); err != nil || n != rows {
		t.Errorf("%d rows, want %d as before (%v)", n, rows, err)
	}
	for _, o := range ops {
		if o.done != nil && o.done(t, s) {
			t.Errorf("%s: a refused request has done its work", o.name)
		}
		if !alive(t, s.m, o.token) {
			t.Errorf("%s: the token is dead", o.name)
		}
	}
}

// faulty is a store whose n-th call fails.
type faulty struct {
	store.Store
	mu    sync.Mutex
	mode  string // fails, answers lost, or hangs
	at, n int    // at 0: never
	calls []string
	name  string // of the call that failed
	err   error
}

func (f *faulty) arm(mode string, at int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.at, f.n, f.calls, f.name, f.err = mode, at, 0, nil, "", err
}

// call counts a call and says whether it fails before or after its work.
func (f *faulty) call(ctx context.Context, name string) (before, after error) {
	f.mu.Lock()
	f.n++
	f.calls = append(f.calls, name)
	hit, mode, err := f.n == f.at, f.mode, f.err
	if hit {
		f.name = name
	}
	f.mu.Unlock()
	switch {
	case !hit:
		return nil, nil
	case mode == "answer lost":
		return nil, err
	case mode == "hangs":
		<-ctx.Done()
		return ctx.Err(), nil
	}
	return err, nil
}

func faultyCall[T any](ctx context.Context, f *faulty, name string, do func() (T, error)) (T, error) {
	var zero T
	before, after := f.call(ctx, name)
	if before != nil {
		return zero, before
	}
	v, err := do()
	if after != nil {
		return zero, after
	}
	return v, err
}

type recAndFlag struct {
	rec     store.Authorization
	created bool
}

func (f *faulty) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	v, err := faultyCall(ctx, f, "GetOrCreate", func() (recAndFlag, error) {
		rec, created, err := f.Store.GetOrCreate(ctx, c)
		return recAndFlag{rec, created}, err
	})
	return v.rec, v.created, err
}

func (f *faulty) Create(ctx context.Context, c store.Authorization) (store.Authorization, error) {
	return faultyCall(ctx, f, "Create", func() (store.Authorization, error) { return f.Store.Create(ctx, c) })
}

func (f *faulty) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return faultyCall(ctx, f, "Get", func() (store.Authorization, error) { return f.Store.Get(ctx, owner, id) })
}

func (f *faulty) GetByTokenHash(ctx context.Context, h store.Hash) (store.Authorization, error) {
	return faultyCall(ctx, f, "GetByTokenHash", func() (store.Authorization, error) { return f.Store.GetByTokenHash(ctx, h) })
}

func (f *faulty) Lookup(ctx context.Context, h store.Hash) (store.Authorization, store.Standing, error) {
	type looked struct {
		rec      store.Authorization
		standing store.Standing
	}
	v, err := faultyCall(ctx, f, "Lookup", func() (looked, error) {
		rec, standing, err := f.Store.Lookup(ctx, h)
		return looked{rec, standing}, err
	})
	return v.rec, v.standing, err
}

func (f *faulty) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	return faultyCall(ctx, f, "GetByReplay", func() (store.Authorization, error) { return f.Store.GetByReplay(ctx, id) })
}

func (f *faulty) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return faultyCall(ctx, f, "List", func() ([]store.Authorization, error) { return f.Store.List(ctx, q) })
}

func (f *faulty) Count(ctx context.Context, sel store.Selection) (int64, error) {
	return faultyCall(ctx, f, "Count", func() (int64, error) { return f.Store.Count(ctx, sel) })
}

func (f *faulty) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	return faultyCall(ctx, f, "Replace", func() (store.Authorization, error) { return f.Store.Replace(ctx, rec) })
}

func (f *faulty) Delete(ctx context.Context, owner string, id int64) error {
	_, err := faultyCall(ctx, f, "Delete", func() (bool, error) { return true, f.Store.Delete(ctx, owner, id) })
	return err
}

func (f *faulty) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	return faultyCall(ctx, f, "DeleteAll", func() (int64, error) { return f.Store.DeleteAll(ctx, sel) })
}

func (f *faulty) WipeReplays(ctx context.Context, now time.Time) (int64, error) {
	return faultyCall(ctx, f, "WipeReplays", func() (int64, error) { return f.Store.WipeReplays(ctx, now) })
}

func (f *faulty) App(ctx context.Context, id string) (store.App, error) {
	return faultyCall(ctx, f, "App", func() (store.App, error) { return f.Store.App(ctx, id) })
}

// fosite CVE-2020-15223: a revocation that the store refused was answered 200.
// Here each call that each endpoint makes to its store fails, or loses its
// answer, or hangs: the answer is 503 and never another refusal, and success is
// said only of what is done.
func TestCVE_2020_15223_EveryCallOfEveryEndpoint(t *testing.T) {
	cause := errors.New("dial tcp 192.0.2.1:5432: connection refused")
	setUp := func(i int, mode string) (*server, *faulty, endpointCall) {
		f := &faulty{Store: memory.New()}
		s := newServerOn(t, f, authz.Config{MaxPerUserAndApp: 100}, legacyPaths, func(c *authz.HandlerConfig) {
			if mode == "hangs" {
				c.Timeout = 20 * time.Millisecond
			}
		})
		return s, f, endpointCalls(t, s)[i]
	}
	// What may fail without a word: what trims, and what wipes a seal.
	bearable := map[string][]string{
		"List": {"PUT", "POST"}, "Delete": {"PUT", "POST"},
	}
	tried := 0
	for i := range endpointCalls(t, newServer(t)) {
		for _, headers := range [][]string{nil, {"Idempotency-Key: " + retryKey}} {
			s, f, o := setUp(i, "")
			if headers != nil && !o.makes {
				continue
			}
			f.arm("", 0, nil)
			if got := o.send(t, s, "", headers...); got.status != o.status {
				t.Fatalf("%s %s: %d %s", o.name, headers, got.status, got.body)
			}
			calls := slices.Clone(f.calls)
			s.Close()
			for at := 1; at <= len(calls); at++ {
				for _, mode := range []string{"fails", "answer lost", "hangs"} {
					s, f, o := setUp(i, mode)
					f.arm(mode, at, cause)
					got := o.send(t, s, "", headers...)
					failed := f.name
					f.arm("", 0, nil)
					tried++
					name := fmt.Sprintf("%s %s, call %d of %v %s", o.name, headers, at, calls, mode)
					// With a key, what was stored is found again.
					replayed := headers != nil && mode == "answer lost" && slices.Contains([]string{"GetOrCreate", "Create", "Replace"}, failed)
					switch {
					case got.status == 503:
						wantAnswer(t, name, got, 503, message("Service unavailable"), "Retry-After: 1")
						if log := s.log.String(); mode != "hangs" && !strings.Contains(log, cause.Error()) || !strings.Contains(log, got.header.Get("X-Request-Id")) {
							t.Errorf("%s: the log does not name the cause", name)
						}
					case got.status == o.status && (replayed || slices.Contains(bearable[failed], o.method)):
						if o.done != nil && !o.done(t, s) || o.makes && !alive(t, s.m, authz.NewSecret(issued(t, name, got))) {
							t.Errorf("%s: %d, and it is not done", name, got.status)
						}
					default:
						t.Errorf("%s: %d %s, want 503", name, got.status, got.body)
					}
					s.Close()
				}
			}
		}
	}
	t.Logf("%d faults", tried)
}

// What old clients send (http-api, section 7), to every endpoint, at the root and
// under /api/v3.
func TestOldClientsOnEveryEndpoint(t *testing.T) {
	for _, prefix := range []string{"", "/api/v3"} {
		set := func(c *authz.HandlerConfig) { c.Prefix, c.LegacyTokenPaths = prefix, true }
		for i := range endpointCalls(t, newServer(t)) {
			for _, test := range []struct {
				name   string
				wear   func(credentials string) string
				extra  []string
				bodyOf func(string) string
			}{
				{name: "no Content-Type"},
				{name: "text/plain", extra: []string{"Content-Type: text/plain"}},
				{name: "form", extra: []string{formType}},
				{name: "JSON with a charset", extra: []string{"Content-Type: application/json;charset=utf-8"}},
				{name: "Accept", extra: []string{"Accept: application/vnd.github.mirage-preview+json"}},
				{name: "Accept of something else", extra: []string{"Accept: text/html"}},
				{name: "basic", wear: func(c string) string { return "basic " + c }},
				{name: "BASIC and spaces", wear: func(c string) string { return "BASIC   " + c }},
				{name: "no padding", wear: func(c string) string { return "Basic " + strings.TrimRight(c, "=") }},
				{name: "in two lines", wear: func(c string) string { return "Basic " + c[:20] + " " + c[20:] }},
				{name: "newline", wear: func(c string) string { return "newline" }},
				{name: "code null", extra: []string{"X-GitHub-OTP: null"}},
				{name: "chunked"},
				{name: "line ends behind", bodyOf: func(b string) string { return b + "\r\n\r\n" }},
				{name: "body where none is needed", bodyOf: func(b string) string {
					if b == "" {
						return "{}"
					}
					return b
				}},
			} {
				s := newServer(t, set)
				o := endpointCalls(t, s)[i]
				name := test.name + ": " + o.name
				if o.as == "client" && len(test.extra) > 0 && strings.HasPrefix(test.extra[0], "Content-Type") && test.extra[0] != formType {
					continue // the RFCs want a form
				}
				login, secret := "mona", password
				if o.as != "" {
					login, secret = clientID, clientSecret
				}
				if test.name == "newline" {
					secret += "\n"
				}
				credentials := basic(login, secret)
				if test.wear != nil && test.name != "newline" {
					credentials = test.wear(strings.TrimPrefix(credentials, "Basic "))
				}
				body := o.body
				if test.bodyOf != nil {
					body = test.bodyOf(body)
				}
				var reader io.Reader = strings.NewReader(body)
				if test.name == "chunked" {
					reader = onlyReader{strings.NewReader(body)}
				}
				req, err := http.NewRequest(o.method, s.URL+prefix+o.target, reader)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", credentials)
				if o.as == "client" {
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
				for _, line := range test.extra {
					header, value, _ := strings.Cut(line, ": ")
					req.Header.Set(header, value)
				}
				got := s.do(t, req)
				if got.status != o.status || o.done != nil && !o.done(t, s) {
					t.Errorf("%s: %d %s, want %d", name, got.status, got.body, o.status)
				}
				if want := jsonType; got.body != "" && got.header.Get("Content-Type") != want {
					t.Errorf("%s: Content-Type %q, want %q", name, got.header.Get("Content-Type"), want)
				}
				if strings.Contains(got.body, `/authorizations/`) && !strings.Contains(got.body, s.URL+prefix+"/authorizations/") {
					t.Errorf("%s: the url is not the client's own: %s", name, got.body)
				}
				s.Close()
			}
		}
	}
}

// A line end after a body is no request of its own, whatever the method.
func TestStrayLineEndOnEveryEndpoint(t *testing.T) {
	for i := range endpointCalls(t, newServer(t)) {
		s := newServer(t, legacyPaths)
		o := endpointCalls(t, s)[i]
		if o.body == "" {
			continue
		}
		var head bytes.Buffer
		fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\nContent-Length: %d\r\n", o.method, o.target, len(o.body))
		if o.as == "" {
			fmt.Fprintf(&head, "Authorization: %s\r\n", basic("mona", password))
		}
		for _, h := range o.headers() {
			head.WriteString(h + "\r\n")
		}
		c := s.dial(t)
		c.write(t, head.String()+"\r\n"+o.body+"\r\n")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: o.method})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != o.status {
			t.Errorf("%s: %d, want %d", o.name, resp.StatusCode, o.status)
		}
		if !resp.Close {
			c.write(t, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n")
			if next := c.read(t); next.status != 404 {
				t.Errorf("%s: the next request on the connection: %d", o.name, next.status)
			}
		}
		s.Close()
	}
}
