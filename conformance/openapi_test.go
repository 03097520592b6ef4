package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi/datamodel/high/base"
)

// cannotHappen are documented answers that nothing here can provoke.
var cannotHappen = map[string]string{}

// right makes, for each operation, a request that is answered with the best
// status that it has.
func (h *host) right() map[string]func() call {
	secret := `"client_secret":"` + h.app.secret + `"`
	app := "/applications/" + h.app.id
	id := func() string { id, _ := h.fresh(); return id }
	token := func() string { _, token := h.fresh(); return token }
	return map[string]func() call{
		"getOrCreateAuthorization": func() call { return h.byUser("PUT", "/authorizations/clients/"+h.app.id, `{`+secret+`}`) },
		"getOrCreateAuthorizationWithFingerprint": func() call {
			return h.byUser("PUT", "/authorizations/clients/"+h.app.id+"/f", `{`+secret+`,"scopes":["repo"],"note":"n"}`)
		},
		"listAuthorizations":        func() call { id(); return h.byUser("GET", "/authorizations", "") },
		"createAuthorization":       func() call { return h.byUser("POST", "/authorizations", `{"client_id":"`+h.app.id+`",`+secret+`}`) },
		"getAuthorization":          func() call { return h.byUser("GET", "/authorizations/"+id(), "") },
		"updateAuthorization":       func() call { return h.byUser("PATCH", "/authorizations/"+id(), `{"add_scopes":["user"]}`) },
		"updateAuthorizationByPost": func() call { return h.byUser("POST", "/authorizations/"+id(), `{"note":"m"}`) },
		"deleteAuthorization":       func() call { return h.byUser("DELETE", "/authorizations/"+id(), "") },
		"listGrants":                func() call { id(); return h.byUser("GET", "/applications/grants", "") },
		"getGrant":                  func() call { return h.byUser("GET", "/applications/grants/"+h.grant(), "") },
		"deleteGrant":               func() call { return h.byUser("DELETE", "/applications/grants/"+h.grant(), "") },
		"checkToken":                func() call { return h.byApp("POST", app+"/token", access(token())) },
		"resetToken":                func() call { return h.byApp("PATCH", app+"/token", access(token())) },
		"revokeToken":               func() call { return h.byApp("DELETE", app+"/token", access(token())) },
		"revokeGrant":               func() call { return h.byApp("DELETE", app+"/grant", access(token())) },
		"scopeToken": func() call {
			return h.byApp("POST", app+"/token/scoped", `{"access_token":"`+token()+`","scopes":["repo"]}`)
		},
		"checkTokenInPath":  func() call { return h.byApp("GET", app+"/tokens/"+token(), "") },
		"resetTokenInPath":  func() call { return h.byApp("POST", app+"/tokens/"+token(), "") },
		"revokeTokenInPath": func() call { return h.byApp("DELETE", app+"/tokens/"+token(), "") },
		"revokeGrantInPath": func() call { return h.byApp("DELETE", app+"/grants/"+token(), "") },
		"introspectToken": func() call {
			return h.byApp("POST", "/oauth/introspect", form("token", token())).as("Content-Type", formType)
		},
		"revoke": func() call {
			return h.byApp("POST", "/oauth/revoke", form("token", token())).as("Content-Type", formType)
		},
		"getServerMetadata": func() call { return call{method: "GET", path: wellKnown} },
		"getDescription":    func() call { return call{method: "GET", path: "/openapi.yaml"} },
	}
}

const formType = "application/x-www-form-urlencoded"

// wrong spoils a right request so that it is answered with a status; nil where
// that takes something else. It makes the requests that must go before.
func (h *host) wrong(op operation, status string, c call) []call {
	byApp := slices.Contains([]string{"Applications", "Legacy token paths", "OAuth 2.0"}, op.Tags[0])
	switch status {
	case "200": // a PUT
		h.do(c)
		return []call{c}
	case "304":
		etag := h.want(200, c).header.Get("ETag")
		return []call{c.as("If-None-Match", etag), c.as("If-None-Match", `"x", W/`+etag), c.as("If-None-Match", "*")}
	case "400":
		calls := []call{c.as("Authorization", basic("x", "x"), basic("x", "x")), c.as("Idempotency-Key", "x", "x")}
		if op.RequestBody != nil && op.Tags[0] != "OAuth 2.0" {
			calls = append(calls, c.with("{"), c.with("[]"), c.with(`{"a":1,"a":2}`))
		}
		if op.Tags[0] == "OAuth 2.0" {
			calls = append(calls, c.with(""), c.as("Content-Type", "application/json"), c.with(c.body+"&token=x"), c.with(c.body+"&"+form("client_id", h.app.id, "client_secret", h.app.secret)))
		}
		return calls
	case "401":
		calls := []call{c.as("Authorization"), c.as("Authorization", basic("mona", "x"))}
		if byApp {
			return append(calls, c.as("Authorization", basic(h.app.id, "x")), c.as("Authorization", "Bearer x"))
		}
		return append(calls, c.as("Authorization", basic("hubot", password)), c.as("Authorization", basic("hubot-sms", password)).as("X-GitHub-OTP", "000000"))
	case "403":
		_, token := h.fresh()
		return []call{c.as("Authorization", "token "+token), c.as("Authorization", basic("mona", token)), c.as("Authorization", basic("locked", password))}
	case "404":
		switch op.Tags[0] {
		case "Applications":
			return []call{c.with(`{"access_token":"x","scopes":[]}`), c.as("Authorization", basic(h.other.id, h.other.secret))}
		case "Legacy token paths":
			return []call{c.at(c.path + "x"), c.as("Authorization", basic(h.other.id, h.other.secret))}
		case "Description":
			return []call{c.on(h.plain)}
		}
		i := strings.LastIndex(c.path, "/")
		return []call{c.at(c.path[:i] + "/999999"), c.at(c.path[:i] + "/x"), c.as("Authorization", basic("hubot", password)).as("X-GitHub-OTP", otpCode)}
	case "409":
		h.do(c)
		return []call{c.with(`{"client_secret":"` + h.app.secret + `","on_existing":"error"}`)}
	case "413":
		return []call{c.with(strings.Repeat(" ", 64<<10+1))}
	case "415":
		return []call{c.as("Content-Encoding", "gzip").with("x")}
	case "422":
		switch {
		case op.OperationId == "resetTokenInPath":
			return []call{c.as("Idempotency-Key", "short")}
		case op.OperationId == "scopeToken":
			return []call{c.with("{}"), c.with(strings.Replace(c.body, `["repo"]`, `["user"]`, 1)), c.with(strings.Replace(c.body, `["repo"]`, `1`, 1))}
		case byApp:
			return []call{c.with("{}"), c.with(`{"access_token":1}`)}
		case strings.HasPrefix(op.OperationId, "update"):
			return []call{c.with(`{"note":1}`), c.with(`{"scopes":["nope"]}`), c.with(`{"scopes":[],"add_scopes":[]}`)}
		}
		return []call{
			c.with("{}"), c.with(`{"client_id":"` + h.app.id + `","client_secret":"x"}`), c.with(strings.Replace(c.body, "{", `{"note_url":"x",`, 1)),
			c.as("Idempotency-Key", "short"),
		}
	case "500", "503":
		if !byApp {
			return []call{c.as("Authorization", basic(map[string]string{"500": "panics", "503": "broken"}[status], password))}
		}
		return []call{c}
	}
	return nil
}

// every makes each operation give each of its answers.
func (h *host) every(a *api) {
	right := h.right()
	for _, op := range a.operations {
		make := right[op.OperationId]
		if make == nil {
			h.Errorf("%s: no request for it here", op.OperationId)
			continue
		}
		best := slices.Min(slices.DeleteFunc(op.statuses(), func(s string) bool { return s == "200" && op.method == "PUT" }))
		// The best one first: a PUT creates once.
		for _, status := range append([]string{best}, slices.DeleteFunc(op.statuses(), func(s string) bool { return s == best })...) {
			code, err := strconv.Atoi(status)
			if err != nil {
				h.Errorf("%s: status %q is no number", op.OperationId, status)
				continue
			}
			c := make()
			switch {
			case status == best:
				h.want(code, c)
				continue
			case status == "408":
				if got := h.slowly(c); got.status != code {
					h.Errorf("%s with a slow body: got %d %s, want 408", op.OperationId, got.status, got.body)
				}
				continue
			}
			calls := h.wrong(op, status, c)
			if calls == nil && cannotHappen[op.OperationId+" "+status] == "" {
				h.Errorf("%s %s: nothing here provokes it", op.OperationId, status)
			}
			trouble := map[string]func() error{"500": func() error { panic("the store is on fire") }, "503": func() error { return errors.New("the store is away") }}[status]
			for _, c := range calls {
				if trouble == nil {
					h.want(code, c)
				} else {
					h.during(trouble, func() { h.want(code, c) })
				}
			}
		}
	}
}

// others makes requests whose answers have headers and members that the ones
// above do not.
func (h *host) others() {
	key := func(s string) string { return s + "-0123456789abcdef" }
	for _, path := range []string{"/authorizations/clients/" + h.other.id + "/others", "/authorizations/clients/" + h.other.id} {
		secret := `{"client_secret":"` + h.other.secret + `"`
		key := func(s string) string { return key(s + path) }
		put := h.byUser("PUT", path, secret+`,"scopes":["repo"],"note":"n"}`)
		first := h.want(201, put.as("Idempotency-Key", key("put")))
		if again := h.want(201, put.as("Idempotency-Key", key("put"))); again.header.Get("Idempotency-Replayed") != "true" || again.body != first.body {
			h.Errorf("replayed: %v, want %v", again, first)
		}
		h.want(422, put.as("Idempotency-Key", key("put")).with(secret+`}`))
		if a := h.want(200, put.with(secret+`,"scopes":["user"],"note":"m","note_url":"http://x/"}`)); a.header.Get("Authz-Not-Applied") != "scopes, note, note_url" {
			h.Errorf("Authz-Not-Applied: %v", a)
		}
		h.want(422, put.with(secret+`,"foo":1}`))
		rotate := put.with(secret+`,"on_existing":"rotate"}`).as("Idempotency-Key", key("rotate"))
		h.want(200, rotate)
		h.want(200, rotate)
	}

	create := h.byUser("POST", "/authorizations", `{"note":"personal","note_url":"http://example.com/","scopes":null}`)
	h.want(201, create.as("Idempotency-Key", key("post")))
	h.want(201, create.as("Idempotency-Key", key("post")))
	if a := h.want(422, create); a.member("existing_url") == "" {
		h.Errorf("existing_url: %v", a)
	}
	h.want(200, h.byUser("GET", "/authorizations?client_id=00000000000000000000", ""))
	h.want(200, h.byUser("GET", "/authorizations?client_id=xxxxxxxxxxxxxxxxxxxx", ""))
	for range 3 {
		h.fresh()
	}
	for _, query := range []string{"?per_page=2", "?per_page=2&page=2", "?per_page=1&page=99&client_id=" + h.app.id, "?page=x&per_page=-1"} {
		h.want(200, h.byUser("GET", "/authorizations"+query, ""))
		list := h.byUser("GET", "/applications/grants"+query, "")
		h.want(200, list)
		h.want(304, list.as("If-None-Match", "*"))
	}
	h.want(200, h.byUser("HEAD", "/authorizations?per_page=1", ""))
	h.want(304, h.byUser("HEAD", "/authorizations?per_page=1", "").as("If-None-Match", "*"))
	h.want(304, h.byUser("GET", "/authorizations?per_page=1", "").as("If-None-Match", "*"))

	app := "/applications/" + h.app.id
	for _, c := range []call{
		h.byApp("PATCH", app+"/token", ""), h.byApp("POST", app+"/token/scoped", ""), h.byApp("POST", app+"/tokens/", ""),
	} {
		_, token := h.fresh()
		if c = c.as("Idempotency-Key", key(token)); strings.HasSuffix(c.path, "/") {
			c.path += token
		} else {
			c.body = `{"access_token":"` + token + `","scopes":["repo"]}`
		}
		first := h.want(200, c)
		if again := h.want(200, c); again.header.Get("Idempotency-Replayed") != "true" || again.body != first.body {
			h.Errorf("replayed: %v, want %v", again, first)
		}
	}
	_, token := h.fresh()
	h.want(200, call{method: "POST", path: "/oauth/introspect", body: form("token", token, "token_type_hint", "access_token", "client_id", h.app.id, "client_secret", h.app.secret)})
	short := h.want(201, h.byUser("PUT", "/authorizations/clients/"+h.app.id+"/short-lived", `{"client_secret":"`+h.app.secret+`"}`).on(h.plain))
	if a := h.want(200, h.byApp("POST", "/oauth/introspect", form("token", short.member("token")))); a.member("exp") == "" {
		h.Errorf("exp: %v", a)
	}
	h.want(200, h.byApp("POST", "/oauth/introspect", form("token", "x")))
	h.want(200, h.byApp("POST", "/oauth/revoke", form("token", "x")))
	h.want(400, h.byApp("POST", "/oauth/revoke", form("token", token)).as("Authorization", basic(h.other.id, h.other.secret)))
	h.want(200, call{method: "GET", path: wellKnown, server: h.plain})
	h.want(200, h.byUser("PATCH", "/authorizations/"+func() string { id, _ := h.fresh(); return id }(), ""))

	// What leads to no operation.
	for status, calls := range map[int][]call{
		400: {call{method: "GET", path: "/nowhere"}.as("Authorization", "x", "x")},
		401: {call{method: "PATCH", path: "/authorizations"}, h.byApp("PUT", app+"/token", "").as("Authorization")},
		403: {h.byUser("PUT", "/authorizations", "").as("Authorization", "token x"), h.byUser("PUT", "/authorizations", "").as("Authorization", basic("locked", ""))},
		404: {
			h.byUser("PATCH", "/authorizations", "{}"), h.byUser("PUT", "/authorizations", "{}"), h.byUser("GET", "/authorizations/1/2", ""), {method: "GET", path: "/nowhere"},
			{method: "GET", path: app}, {method: "GET", path: app + "/nowhere"}, h.byUser("PUT", "/authorizations/x", ""), h.byApp("GET", app+"/tokens/x", "").on(h.plain),
		},
		405: {
			h.byUser("DELETE", "/authorizations", ""), h.byUser("PUT", "/authorizations/1", ""), h.byUser("GET", "/authorizations/clients/x", ""), h.byUser("POST", "/authorizations/clients/x/y", ""),
			h.byUser("POST", "/applications/grants", ""), h.byUser("PATCH", "/applications/grants/1", ""), h.byApp("GET", app+"/token", ""), h.byApp("PUT", app+"/token/scoped", ""),
			h.byApp("GET", app+"/grant", ""), h.byApp("PATCH", app+"/tokens/x", ""), h.byApp("GET", app+"/grants/x", ""), h.byApp("GET", "/oauth/introspect", ""), h.byApp("PUT", "/oauth/revoke", ""),
			{method: "POST", path: wellKnown}, {method: "POST", path: "/openapi.yaml"},
		},
		500: {h.byUser("PATCH", "/authorizations", "").as("Authorization", basic("panics", password))},
		503: {h.byUser("PATCH", "/authorizations", "").as("Authorization", basic("broken", password))},
	} {
		for _, c := range calls {
			h.want(status, c)
		}
	}
}

// rootExchanges runs the tests of package authz, which record all exchanges
// with the handler. With an error it returns what there is.
var rootExchanges = sync.OnceValues(func() ([]exchange, error) {
	dir, err := os.MkdirTemp("", "authz-exchanges-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "exchanges.jsonl")
	cmd := exec.Command("go", "test", "-count=1", "github.com/seed-926035fd/authz")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "AUTHZ_TEST_RECORD="+file)
	out, failed := cmd.CombinedOutput()
	if failed != nil {
		failed = fmt.Errorf("%v: %w\n%s", cmd, failed, out)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	defer f.Close()
	list, err := readExchanges(f)
	return list, errors.Join(failed, err)
})

// deviations groups what a check finds: a group for each operation, status and
// error, with how often it came and the first exchange.
func (a *api) deviations(list []exchange) string {
	type group struct {
		n     int
		first exchange
	}
	groups, m, right := map[string]*group{}, a.mountsOf(list), map[string]bool{}
	for _, e := range list {
		shape := e.shape()
		if right[shape] {
			continue // the hostile tests get thousands of equal answers
		}
		op, err := a.check(e, m)
		if err == nil {
			right[shape] = true
			continue
		}
		key := fmt.Sprintf("%s %d: %v", op.OperationId, e.Status, err)
		if groups[key] == nil {
			groups[key] = &group{first: e}
		}
		groups[key].n++
	}
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&out, "%d times: %s\n\tfirst: %v\n", groups[key].n, key, groups[key].first)
	}
	return out.String()
}

var aUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// shape is the exchange without what differs in all of them: their ids, if they
// are UUIDs as they should be, and the time.
func (e exchange) shape() string {
	e.Header = e.Header.Clone()
	if ids := e.Header["X-Request-Id"]; len(ids) == 1 && aUUID.MatchString(ids[0]) {
		e.Header["X-Request-Id"] = []string{"a UUID"}
	}
	delete(e.Header, "Date")
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(b)
}

var hosted struct {
	once sync.Once
	list []exchange
}

// hostExchanges are those of this package's own host.
func hostExchanges(t *testing.T) []exchange {
	hosted.once.Do(func() {
		h := newHost(t)
		h.every(load(t))
		h.others()
		hosted.list = h.rec.exchanges()
	})
	return hosted.list
}

// Every answer that the tests of package authz get is in the document.
func TestExchangesOfTheTests(t *testing.T) {
	a := load(t)
	list, err := rootExchanges()
	if len(list) < 100 {
		t.Fatalf("%d exchanges were recorded; there are more: %v", len(list), err)
	}
	if err != nil {
		t.Logf("what fails in those tests is for them to report; their exchanges are checked all the same: %v", err)
	}
	if d := a.deviations(list); d != "" {
		t.Errorf("of %d exchanges these deviate:\n%s", len(list), d)
	}
	t.Logf("%d exchanges", len(list))
}

// Every operation gives each of its documented answers, and no others.
func TestEveryAnswer(t *testing.T) {
	a := load(t)
	list := hostExchanges(t)
	if d := a.deviations(list); d != "" {
		t.Errorf("of %d exchanges these deviate:\n%s", len(list), d)
	}
	t.Logf("%d exchanges", len(list))
}

// Nothing is in the document that no test has seen: no answer of an operation,
// no optional header, no member of a body, no words of an error.
func TestCoverage(t *testing.T) {
	a := load(t)
	list, _ := rootExchanges() // TestExchangesOfTheTests reports the error
	list = append(slices.Clone(list), hostExchanges(t)...)
	m := a.mountsOf(list)
	seen, headers := map[string]int{}, map[string]bool{}
	var bodies bytes.Buffer
	for _, e := range list {
		op, _, _ := a.locate(e, m)
		if e.Method != http.MethodHead { // which is not in the document
			seen[op.OperationId+" "+strconv.Itoa(e.Status)]++
		}
		for name := range e.Header {
			headers[op.OperationId+" "+strconv.Itoa(e.Status)+" "+strings.ToLower(name)] = true
		}
		bodies.WriteString(e.Body)
	}
	n := 0
	for _, op := range append(slices.Clone(a.operations), a.unrouted) {
		for status, response := range op.Responses.Codes.FromOldest() {
			name := op.OperationId + " " + status
			switch reason := cannotHappen[name]; {
			case seen[name] == 0 && reason == "":
				t.Errorf("%s: documented, and no test has seen it", name)
			case seen[name] > 0 && reason != "":
				t.Errorf("%s: cannot happen (%s), and has happened", name, reason)
			}
			n++
			for header := range response.Headers.FromOldest() {
				if seen[name] > 0 && !headers[name+" "+strings.ToLower(header)] {
					t.Errorf("%s: header %s: documented, and no test has seen it", name, header)
				}
			}
		}
	}
	for name := range cannotHappen {
		op, status, _ := strings.Cut(name, " ")
		if !slices.ContainsFunc(a.operations, func(o operation) bool { return o.OperationId == op && o.Responses.Codes.GetOrZero(status) != nil }) {
			t.Errorf("cannotHappen has %q, which is not documented", name)
		}
	}
	for name, schema := range a.model.Components.Schemas.FromOldest() {
		if strings.HasSuffix(name, "Request") {
			continue
		}
		for _, word := range words(schema.Schema()) {
			if !bytes.Contains(bodies.Bytes(), []byte(word)) {
				t.Errorf("schema %s: %s: documented, and no test has seen it", name, word)
			}
		}
	}
	t.Logf("%d operations with %d answers, %d exchanges", len(a.operations), n, len(list))
}

// words are what bodies of a schema hold literally: the names of members, and
// strings that a member always or sometimes is.
func words(s *base.Schema) (list []string) {
	if s.Properties == nil {
		return nil
	}
	for name, property := range s.Properties.FromOldest() {
		list = append(list, strconv.Quote(name)+":")
		p := property.Schema()
		if p.Const != nil {
			list = append(list, literals(decodeNode(p.Const))...)
		}
		for _, v := range p.Enum {
			list = append(list, literals(decodeNode(v))...)
		}
	}
	return list
}

func literals(v any) (list []string) {
	if array, ok := v.([]any); ok {
		for _, v := range array {
			list = append(list, literals(v)...)
		}
		return list
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return []string{string(b)}
}
