package conformance_test

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	sampleBody = `{
  "id": 1,
  "url": "http://127.0.0.1:1/authorizations/1",
  "scopes": ["public_repo"],
  "token": "abcdefgh12345678",
  "token_last_eight": "12345678",
  "hashed_token": "25f94a2a5c7fbaf499c665bc73d67c1c87e496da8985131633ee0a95819db2e8",
  "app": {"url": "http://my-github-app.com", "name": "my github app", "client_id": "abcde12345fghij67890"},
  "note": "optional note",
  "note_url": "http://optional/note/url",
  "updated_at": "2011-09-06T20:39:23Z",
  "created_at": "2011-09-06T17:26:27Z",
  "fingerprint": ""
}
`
	sampleList = "[" + sampleBody + "]"
)

// sample is a right exchange.
func sample() exchange {
	return exchange{
		Method:        "PUT",
		URL:           "http://127.0.0.1:1/authorizations/clients/abcde12345fghij67890",
		RequestHeader: http.Header{"Authorization": {"Basic bW9uYTp4"}},
		RequestBody:   `{"client_secret":"abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"}`,
		Status:        201,
		Header: http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"application/json; charset=utf-8"}, "Date": {"Sun, 22 Nov 2026 08:58:51 GMT"},
			"Location": {"http://127.0.0.1:1/authorizations/1"}, "Status": {"201 Created"},
			"X-Content-Type-Options": {"nosniff"}, "X-Request-Id": {"45c53938-e99a-4165-b8e5-4c2901e344d1"},
		},
		Body: sampleBody,
	}
}

// list turns a sample into the answer to a list, which has optional headers.
func list(e *exchange) {
	e.Method, e.URL, e.RequestBody, e.Status = "GET", "http://127.0.0.1:1/api/v3/authorizations?page=2", "", 200
	e.Body = strings.ReplaceAll(sampleList, `"token": "abcdefgh12345678"`, `"token": ""`)
	e.Header.Set("Status", "200 OK")
	e.Header.Set("ETag", `"x"`)
	e.Header.Set("Link", `<http://127.0.0.1:1/authorizations?page=1>; rel="prev", <http://127.0.0.1:1/authorizations?page=1>; rel="first"`)
	e.Header.Del("Location")
}

// fail turns a sample into an error.
func fail(status int, text, body string) func(*exchange) {
	return func(e *exchange) {
		e.Status, e.Body = status, body
		e.Header.Set("Status", text)
		e.Header.Del("Location")
	}
}

// introspection turns a sample into the answer to a form.
func introspection(form string) func(*exchange) {
	return func(e *exchange) {
		e.Method, e.URL, e.RequestBody, e.Status, e.Body = "POST", "http://127.0.0.1:1/oauth/introspect", form, 200, `{"active":false}`
		e.Header.Set("Status", "200 OK")
		e.Header.Del("Location")
	}
}

func replace(old, new string) func(*exchange) {
	return func(e *exchange) { e.Body = strings.Replace(e.Body, old, new, 1) }
}

func set(name, value string) func(*exchange) {
	return func(e *exchange) { e.Header.Set(name, value) }
}

func del(name string) func(*exchange) { return func(e *exchange) { e.Header.Del(name) } }

func request(body string) func(*exchange) { return func(e *exchange) { e.RequestBody = body } }

// The checks of this package find what is wrong, and nothing where nothing is.
func TestPlantedFaults(t *testing.T) {
	a := load(t)
	for _, test := range []struct {
		name   string
		change []func(*exchange)
		want   string // in the error; "" for none
	}{
		{"nothing", nil, ""},
		{"a list", []func(*exchange){list}, ""},
		{"an error", []func(*exchange){fail(422, "422 Unprocessable Entity", `{"message":"Invalid OAuth application client_id or secret."}`)}, ""},
		{"HEAD", []func(*exchange){list, func(e *exchange) { e.Method, e.Body = "HEAD", "" }}, ""},
		{"JSON with another Content-Type", []func(*exchange){func(e *exchange) { e.RequestHeader.Set("Content-Type", "text/plain") }}, ""},
		{"405", []func(*exchange){fail(405, "405 Method Not Allowed", `{"message":"Method Not Allowed"}`), set("Allow", "PUT"), func(e *exchange) { e.Method = "GET" }}, ""},

		{"503", []func(*exchange){fail(503, "503 Service Unavailable", `{"message":"Service unavailable"}`), set("Retry-After", "1")}, ""},
		{"an error with documentation_url", []func(*exchange){fail(400, "400 Bad Request", `{"message":"Problems parsing JSON","documentation_url":"https://example.com/"}`)}, ""},

		{"a status that is not documented", []func(*exchange){fail(418, "418 I'm a teapot", `{}`)}, "status 418 is not documented"},
		{"202 for 201", []func(*exchange){func(e *exchange) { e.Status = 202 }, set("Status", "202 Accepted")}, "status 202 is not documented"},
		{"200 with a token is rotate's", []func(*exchange){func(e *exchange) { e.Status = 200 }, set("Status", "200 OK")}, ""},
		{"201 without a token", []func(*exchange){replace(`"token": "abcdefgh12345678"`, `"token": ""`)}, "minLength"},
		{"a list with a token", []func(*exchange){list, replace(`"token": ""`, `"token": "x"`)}, "oken"},
		{"a member is missing", []func(*exchange){replace(`"note": "optional note",`, ``)}, "missing property 'note'"},
		{"a member too many", []func(*exchange){replace(`"note":`, `"nota": "", "note":`)}, "nota"},
		{"a member too many in the app", []func(*exchange){replace(`"name":`, `"nome": "", "name":`)}, "nome"},
		{"null for a string", []func(*exchange){replace(`"fingerprint": ""`, `"fingerprint": null`)}, "fingerprint"},
		{"a string for a number", []func(*exchange){replace(`"id": 1`, `"id": "1"`)}, "got string, want integer"},
		{"a time with a fraction", []func(*exchange){replace(`20:39:23Z`, `20:39:23.5Z`)}, "updated_at"},
		{"a time with an offset", []func(*exchange){replace(`20:39:23Z`, `20:39:23+01:00`)}, "updated_at"},
		{"no such day", []func(*exchange){replace(`2011-09-06T20`, `2011-02-30T20`)}, "updated_at"},
		{"a hash in upper case", []func(*exchange){replace(`25f94a2a`, `25F94A2A`)}, "hashed_token"},
		{"a relative url", []func(*exchange){replace(`"http://127.0.0.1:1/authorizations/1"`, `"/authorizations/1"`)}, "url"},
		{"a scope twice", []func(*exchange){replace(`["public_repo"]`, `["a","a"]`)}, "scopes"},
		{"no JSON", []func(*exchange){replace(`{`, `{{`)}, "decode"},
		{"no body", []func(*exchange){func(e *exchange) { e.Body = "" }}, "the body is empty"},
		{"another Content-Type", []func(*exchange){set("Content-Type", "text/html")}, "text/html"},
		{"other words", []func(*exchange){fail(422, "422 Unprocessable Entity", `{"message":"Invalid OAuth application client_id or secret"}`)}, "message"},
		{"errors where clients test that there are none", []func(*exchange){fail(422, "422 Unprocessable Entity", `{"message":"Invalid OAuth application client_id or secret.","errors":[]}`)}, "errors"},
		{"an unknown code", []func(*exchange){fail(422, "422 Unprocessable Entity", `{"message":"Validation Failed","errors":[{"resource":"OauthAccess","field":"note","code":"wrong"}]}`)}, "code"},
		{"503 without Retry-After", []func(*exchange){fail(503, "503 Service Unavailable", `{"message":"Service unavailable"}`)}, "Retry-After"},

		{"a required header is missing", []func(*exchange){del("Location")}, "Location"},
		{"a header of all answers is missing", []func(*exchange){del("X-Request-Id")}, "X-Request-Id"},
		{"a required header is wrong", []func(*exchange){set("Location", "/authorizations/1")}, "Location"},
		{"max-age", []func(*exchange){set("Cache-Control", "max-age=60")}, "Cache-Control"},
		{"no UUID", []func(*exchange){set("X-Request-Id", "1")}, "X-Request-Id"},
		{"an optional header is wrong", []func(*exchange){list, set("Link", "http://127.0.0.1/")}, "Link"},
		{"a weak ETag", []func(*exchange){list, set("ETag", `W/"x"`)}, "Etag"},
		{"a header that is not documented", []func(*exchange){set("X-Secret", "1")}, "X-Secret is not documented"},
		{"a header of another answer", []func(*exchange){set("Retry-After", "1")}, "Retry-After is not documented"},
		{"a header twice", []func(*exchange){func(e *exchange) { e.Header.Add("Location", e.Header.Get("Location")) }}, "2 times"},
		{"Status lies", []func(*exchange){set("Status", "200 OK")}, `"200 OK", want "201 Created"`},
		{"Content-Length lies", []func(*exchange){set("Content-Length", "1")}, "Content-Length"},
		{"405 without Allow", []func(*exchange){fail(405, "405 Method Not Allowed", `{"message":"Method Not Allowed"}`), func(e *exchange) { e.Method = "GET" }}, "Allow"},
		{"204 with a body", []func(*exchange){fail(204, "204 No Content", `{}`), del("Content-Type"), func(e *exchange) { e.Method, e.URL = "DELETE", "http://127.0.0.1:1/authorizations/1" }}, "should be empty"},
		{"HEAD with a body", []func(*exchange){list, func(e *exchange) { e.Method = "HEAD" }}, "should be empty"},

		{"a form", []func(*exchange){introspection("token=%3D%26&client_id=x")}, ""},
		{"a request that should be refused: a form without a token", []func(*exchange){introspection("client_id=x")}, "token"},
		{"a request that should be refused: no secret", []func(*exchange){request(`{}`)}, "client_secret"},
		{"a request that should be refused: unknown key", []func(*exchange){request(`{"client_secret":"x","foo":1}`)}, "foo"},
		{"a request that should be refused: wrong type", []func(*exchange){request(`{"client_secret":"x","note":1}`)}, "note"},
		{"a request that should be refused: a scope with a space", []func(*exchange){request(`{"client_secret":"x","scopes":["a b"]}`)}, "scopes"},
		{"a request that should be refused: no body", []func(*exchange){request(``)}, "equest"},
		{"a request that should be refused: no credentials", []func(*exchange){func(e *exchange) { e.RequestHeader.Del("Authorization") }}, "credentials"},
		{"a request that should be refused: a short key", []func(*exchange){func(e *exchange) { e.RequestHeader.Set("Idempotency-Key", "x") }}, "dempotency"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := sample()
			for _, change := range test.change {
				change(&e)
			}
			_, err := a.check(e, nil)
			switch {
			case err == nil && test.want != "":
				t.Errorf("got no error, want one with %q, for %v", test.want, e)
			case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

// What the document says is what is checked: with a fault in the document
// itself, the right exchange is wrong.
func TestPlantedFaultsInTheDocument(t *testing.T) {
	source := load(t).source
	for _, test := range []struct{ old, new, want string }{
		{"token: {minLength: 1}", "token: {maxLength: 1}", "maxLength"},
		{"required: [id, url, scopes, ", "required: [id, url, scopas, ", "scopas"},
		{"{$ref: '#/components/responses/Created'}", "{$ref: '#/components/responses/Done'}", "empty"},
		{"        '201': ", "        '202': ", "status 201 is not documented"},
		{"const: no-store", "const: no-cache", "no-cache"},
	} {
		changed := bytes.ReplaceAll(source, []byte(test.old), []byte(test.new))
		if bytes.Equal(changed, source) {
			t.Errorf("the document has no %q", test.old)
			continue
		}
		a, err := parse(changed)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := a.check(sample(), nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q: got %v, want an error with %q", test.new, test.old, err, test.want)
		}
	}
}

// A handler under a prefix is known by its answers; what is 404 elsewhere on
// the same server is no answer of an operation.
func TestLocate(t *testing.T) {
	a := load(t)
	at := func(url string, status int) exchange {
		return exchange{Method: "PUT", URL: url, Status: status, Header: http.Header{}}
	}
	under, beside := at("http://a/api/v3/authorizations/clients/x", 201), at("http://a/authorizations/clients/x", 404)
	root, below := at("http://b/authorizations/clients/x", 422), at("http://b/y/authorizations/clients/x", 404)
	m := a.mountsOf([]exchange{under, beside, root, below})
	for _, test := range []struct {
		e    exchange
		want string
	}{
		{under, "getOrCreateAuthorization"},
		{beside, "unrouted"},
		{root, "getOrCreateAuthorization"},
		{below, "unrouted"},
		{at("http://b/y/../authorizations/clients/x", 404), "unrouted"},
		{at("http://b/authorizations/clients/x", 404), "getOrCreateAuthorization"}, // not documented: a deviation
	} {
		if op, _, _ := a.locate(test.e, m); op.OperationId != test.want {
			t.Errorf("%v: got %s, want %s", test.e, op.OperationId, test.want)
		}
	}
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, []string{"a", "b"}) || !m["a"]["/api/v3"] || m["a"][""] || !m["b"][""] {
		t.Errorf("mounts %v", m)
	}
}
