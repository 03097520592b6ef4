package authz_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// hostile is a request that must be refused: with this status, in words that
// hold want, and without a trace in the store.
type hostile struct {
	name   string
	status int
	want   string // in the message, or in that of a field
	body   string
	method string   // PUT by default
	target string   // path by default
	header []string // "Name: value" lines beside the usual ones
	auth   string   // instead of the usual Authorization
	raw    string   // the whole request instead
}

const (
	noJSON   = "Problems parsing JSON"
	noObject = "Body should be a JSON object"
	noClient = "Invalid OAuth application client_id or secret."
	bodyKey  = `"client_secret":"` + clientSecret + `"`
)

// hostileRequests are the rows that the handler itself answers.
func hostileRequests() []hostile {
	rows := []hostile{
		// No JSON, or not quite.
		{name: "empty body", status: 400, want: noJSON, body: "\x00none"},
		{name: "white space", status: 400, want: noJSON, body: " \r\n\t "},
		{name: "words", status: 400, want: noJSON, body: "hello"},
		{name: "cut short", status: 400, want: noJSON, body: minimalBody[:len(minimalBody)-1]},
		{name: "cut in a string", status: 400, want: noJSON, body: minimalBody[:20]},
		{name: "second object", status: 400, want: noJSON, body: minimalBody + `{"note":"x"}`},
		{name: "second object on a line", status: 400, want: noJSON, body: minimalBody + "\n" + minimalBody},
		{name: "trailing word", status: 400, want: noJSON, body: minimalBody + " true"},
		{name: "trailing NUL", status: 400, want: noJSON, body: minimalBody + "\x00"},
		{name: "trailing brace", status: 400, want: noJSON, body: minimalBody + "}"},
		{name: "leading comma", status: 400, want: noJSON, body: "," + minimalBody},
		{name: "duplicate client_secret", status: 400, want: noJSON, body: `{"client_secret":"x",` + bodyKey + `}`},
		{name: "duplicate client_secret, the same", status: 400, want: noJSON, body: `{` + bodyKey + `,` + bodyKey + `}`},
		{name: "duplicate note", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"a","note":"b"}`},
		{name: "duplicate by escape", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"a","n\u006fte":"b"}`},
		{name: "duplicate empty key", status: 400, want: noJSON, body: `{` + bodyKey + `,"":1,"":2}`},
		{name: "duplicate nested in a field", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":{"a":1,"a":2}}`},
		{name: "duplicate nested in an array", status: 400, want: noJSON, body: `{` + bodyKey + `,"scopes":["a",{"b":[],"b":{}}]}`},
		{name: "duplicate nested deep", status: 400, want: noJSON, body: `{` + bodyKey + `,"x":[[{"y":{"z":0,"z":0}}]]}`},
		{name: "invalid UTF-8 in a value", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"a` + "\xff" + `"}`},
		{name: "invalid UTF-8 in a key", status: 400, want: noJSON, body: `{` + bodyKey + `,"note` + "\xff" + `":"a"}`},
		{name: "over-long UTF-8", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"` + "\xc0\x80" + `"}`},
		{name: "surrogate in UTF-8", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"` + "\xed\xa0\x80" + `"}`},
		{name: "Latin-1", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"` + "\xe9" + `"}`},
		{name: "lone high surrogate", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\ud800"}`},
		{name: "lone low surrogate", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\uDFFF"}`},
		{name: "surrogates the wrong way round", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\udc00\ud800"}`},
		{name: "two high surrogates", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\ud800\ud800\udc00"}`},
		{name: "high surrogate, then U+E000", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\ud800\ue000"}`},
		{name: "high surrogate, then text", status: 400, want: noJSON, body: `{` + bodyKey + `,"fingerprint":"\ud800xudc00"}`},
		{name: "lone surrogate in a key", status: 400, want: noJSON, body: `{` + bodyKey + `,"\ud83d":1}`},
		{name: "byte order mark", status: 400, want: noJSON, body: "\ufeff" + minimalBody},
		{name: "UTF-16", status: 400, want: noJSON, body: "\xff\xfe{\x00}\x00"},
		{name: "NaN", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":NaN}`},
		{name: "Infinity", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":-Infinity}`},
		{name: "undefined", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":undefined}`},
		{name: "single quotes", status: 400, want: noJSON, body: `{'client_secret':'` + clientSecret + `'}`},
		{name: "bare key", status: 400, want: noJSON, body: `{client_secret:"` + clientSecret + `"}`},
		{name: "comment", status: 400, want: noJSON, body: `{` + bodyKey + `/* */}`},
		{name: "line comment", status: 400, want: noJSON, body: minimalBody + "// x"},
		{name: "trailing comma", status: 400, want: noJSON, body: `{` + bodyKey + `,}`},
		{name: "two colons", status: 400, want: noJSON, body: `{"client_secret"::"x"}`},
		{name: "leading zero", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":01}`},
		{name: "hexadecimal number", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":0x1}`},
		{name: "raw newline in a string", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"a` + "\n" + `b"}`},
		{name: "raw NUL in a string", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"a` + "\x00" + `b"}`},
		{name: "escape x", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"\x41"}`},
		{name: "escape cut short", status: 400, want: noJSON, body: `{` + bodyKey + `,"note":"\u12"}`},
		{name: "deep arrays", status: 400, want: noJSON, body: `{"scopes":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`},
		{name: "deep objects", status: 400, want: noJSON, body: strings.Repeat(`{"a":`, 12000) + `1` + strings.Repeat("}", 1000)},
		{name: "form", status: 400, want: noJSON, body: "client_secret=" + clientSecret, header: []string{"Content-Type: application/x-www-form-urlencoded"}},
		{name: "XML", status: 400, want: noJSON, body: `<client_secret>x</client_secret>`},
		{name: "gzip bytes", status: 400, want: noJSON, body: "\x1f\x8b\x08\x00\x00\x00\x00\x00"},
		{name: "JSON string of JSON", status: 400, want: noObject, body: fmt.Sprintf("%q", minimalBody)},
		{name: "array", status: 400, want: noObject, body: "[]"},
		{name: "array of the object", status: 400, want: noObject, body: "[" + minimalBody + "]"},
		{name: "array with a duplicate", status: 400, want: noObject, body: `[{"a":1,"a":1}]`},
		{name: "number", status: 400, want: noObject, body: "1"},
		{name: "huge number", status: 400, want: noObject, body: "1" + strings.Repeat("0", 5000)},
		{name: "null", status: 400, want: noObject, body: "null"},
		{name: "true", status: 400, want: noObject, body: " true "},

		// Keys that only look right.
		{name: "capital key", status: 422, want: `"Client_Secret" is not a permitted key.`, body: `{"Client_Secret":"` + clientSecret + `"}`},
		{name: "two cases of a key", status: 422, want: `"CLIENT_SECRET" is not a permitted key.`, body: `{` + bodyKey + `,"CLIENT_SECRET":"x"}`},
		{name: "long s in a key", status: 422, want: `"ſcopes" is not a permitted key.`, body: `{` + bodyKey + `,"ſcopes":["admin"]}`},
		{name: "space in a key", status: 422, want: `"note " is not a permitted key.`, body: `{` + bodyKey + `,"note ":"x"}`},
		{name: "NUL in a key", status: 422, want: `"note\x00" is not a permitted key.`, body: `{` + bodyKey + `,"note\u0000":"x"}`},
		{name: "empty key", status: 422, want: `"" is not a permitted key.`, body: `{` + bodyKey + `,"":1}`},
		{name: "unknown key", status: 422, want: `"owner" is not a permitted key.`, body: `{` + bodyKey + `,"owner":"root"}`},
		{name: "__proto__", status: 422, want: `"__proto__" is not a permitted key.`, body: `{` + bodyKey + `,"__proto__":{"a":1}}`},
		{name: "key of another endpoint", status: 422, want: `"add_scopes" is not a permitted key.`, body: `{` + bodyKey + `,"add_scopes":["a"]}`},
		{name: "key of an answer", status: 422, want: `"token" is not a permitted key.`, body: `{` + bodyKey + `,"token":"a"}`},
		{name: "long key", status: 422, want: `kkk…" is not a permitted key.`, body: `{` + bodyKey + `,"` + strings.Repeat("k", 60000) + `":1}`},
		{name: "a thousand keys", status: 422, want: `"k0" is not a permitted key.`, body: `{` + manyKeys(1000) + bodyKey + `}`},

		// Values.
		{name: "no client_secret", status: 422, want: "client_secret missing_field", body: `{"note":"x"}`},
		{name: "client_secret null", status: 422, want: "client_secret missing_field", body: `{"client_secret":null}`},
		{name: "client_secret empty", status: 422, want: "client_secret missing_field", body: `{"client_secret":""}`},
		{name: "client_secret too long", status: 422, want: noClient, body: `{"client_secret":"` + clientSecret + `a"}`},
		{name: "client_secret with NUL", status: 422, want: noClient, body: `{"client_secret":"` + clientSecret + `\u0000"}`},
		{name: "client_secret with space", status: 422, want: noClient, body: `{"client_secret":" ` + clientSecret + `"}`},
		{name: "client_secret very long", status: 422, want: noClient, body: `{"client_secret":"` + strings.Repeat("a", 60000) + `"}`},
		{name: "scopes of a number", status: 422, want: "scopes must be an array of strings, but number 2 is a number", body: `{` + bodyKey + `,"scopes":["a",1]}`},
		{name: "scopes of null", status: 422, want: "scopes must be an array of strings, but number 1 is null", body: `{` + bodyKey + `,"scopes":[null]}`},
		{name: "scopes of arrays", status: 422, want: "scopes must be an array of strings, but number 1 is an array", body: `{` + bodyKey + `,"scopes":[["a"]]}`},
		{name: "scopes as a list in a string", status: 422, want: "scopes must be an array of strings, not a string", body: `{` + bodyKey + `,"scopes":"a,b"}`},
		{name: "101 scopes", status: 422, want: "scopes must hold at most 100 scopes", body: `{` + bodyKey + `,"scopes":["a"` + strings.Repeat(`,"a"`, 100) + `]}`},
		{name: "scope too long", status: 422, want: "number 1 is none", body: `{` + bodyKey + `,"scopes":["` + strings.Repeat("s", 101) + `"]}`},
		{name: "on_existing empty", status: 422, want: `on_existing must be "return"`, body: `{` + bodyKey + `,"on_existing":""}`},
		{name: "on_existing in capitals", status: 422, want: `on_existing must be "return"`, body: `{` + bodyKey + `,"on_existing":"RETURN"}`},
		{name: "note too long", status: 422, want: "note must be at most 255 characters long", body: `{` + bodyKey + `,"note":"` + strings.Repeat("é", 256) + `"}`},
		{name: "fingerprint too long", status: 422, want: "fingerprint must be at most 255 characters long", body: `{` + bodyKey + `,"fingerprint":"` + strings.Repeat("f", 256) + `"}`},
		{name: "note_url too long", status: 422, want: "note_url must be at most 2048 bytes long", body: `{` + bodyKey + `,"note_url":"http://x/` + strings.Repeat("u", 2048) + `"}`},
		{name: "another client_id", status: 422, want: "client_id must be the one in the path", body: `{` + bodyKey + `,"client_id":"` + otherClient + `"}`},
		{name: "client_id empty", status: 422, want: "client_id must be the one in the path", body: `{` + bodyKey + `,"client_id":""}`},
		{name: "fingerprint in path and body", status: 422, want: "fingerprint must be the one in the path", target: path + "/a", body: `{` + bodyKey + `,"fingerprint":"A"}`},
		{name: "everything wrong", status: 422, want: "note_url must be a string", body: `{"client_secret":1,"scopes":1,"note":1,"note_url":1,"fingerprint":1,"on_existing":1,"client_id":1}`},

		// The body around the JSON.
		{name: "gzip", status: 415, want: "Content-Encoding", body: "\x1f\x8b\x08", header: []string{"Content-Encoding: gzip"}},
		{name: "gzip announced, JSON sent", status: 415, want: "Content-Encoding", header: []string{"Content-Encoding: GZIP"}},
		{name: "two encodings", status: 415, want: "Content-Encoding", header: []string{"Content-Encoding: identity, br"}},
		{name: "one byte too large", status: 413, want: "too large", body: minimalBody + strings.Repeat(" ", 64<<10+1-len(minimalBody))},
		{name: "too large, chunked", status: 413, want: "too large", raw: head(path, "Transfer-Encoding: chunked", "Connection: close") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 64<<10+1, strings.Repeat(" ", 64<<10+1))},
		{name: "chunk size is no number", status: 400, want: noJSON, raw: head(path, "Transfer-Encoding: chunked") + "zz\r\n" + minimalBody + "\r\n0\r\n\r\n"},
		{name: "chunk size negative", status: 400, want: noJSON, raw: head(path, "Transfer-Encoding: chunked") + "-1\r\n" + minimalBody + "\r\n0\r\n\r\n"},
		{name: "chunk size overflows", status: 400, want: noJSON, raw: head(path, "Transfer-Encoding: chunked") + "ffffffffffffffffff\r\n" + minimalBody + "\r\n0\r\n\r\n"},
		{name: "chunk without its end", status: 400, want: noJSON, raw: head(path, "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%sxx0\r\n\r\n", len(minimalBody), minimalBody)},
		{name: "chunk smaller than the body", status: 400, want: noJSON, raw: head(path, "Transfer-Encoding: chunked") + "5\r\n" + minimalBody + "\r\n0\r\n\r\n"},
		{name: "body after no length", status: 400, want: noJSON, raw: head(path) + minimalBody},
		{name: "length too small", status: 400, want: noJSON, raw: head(path, "Content-Length: 10") + minimalBody},

		// Headers.
		{name: "two Authorization headers", status: 400, want: "more than one Authorization", header: []string{"Authorization: " + basic("root", "x")}},
		{name: "two Authorization headers, the same", status: 400, want: "more than one Authorization", header: []string{"authorization: " + basic("mona", password)}},
		{name: "two X-GitHub-OTP headers", status: 400, want: "more than one X-GitHub-OTP", header: []string{"X-GitHub-OTP: 000000", "x-github-otp: 123456"}},
		{name: "two credentials in one header", status: 401, want: "Bad credentials", auth: basic("mona", password) + ", " + basic("root", "x")},
		{name: "folded header", status: 401, want: "Bad credentials", auth: basic("mona", password) + "\r\n " + basic("root", "x")},
		{name: "Basic without credentials", status: 401, want: "Bad credentials", auth: "Basic"},
		{name: "Basic without colon", status: 401, want: "Bad credentials", auth: "Basic " + base64.StdEncoding.EncodeToString([]byte("mona"))},
		{name: "Basic, not base64", status: 401, want: "Bad credentials", auth: "Basic mona:" + password},
		{name: "Basic, bits left over", status: 401, want: "Bad credentials", auth: strings.Replace(basic("hubot", password), "Q==", "R==", 1), header: []string{"X-GitHub-OTP: " + otpCode}},
		{name: "Basic, URL alphabet", status: 401, want: "Bad credentials", auth: "Basic bW9uYTr_-_8="},
		{name: "NUL in the login", status: 401, want: "Bad credentials", auth: basic("mona\x00", password)},
		{name: "NUL in the password", status: 401, want: "Bad credentials", auth: basic("mona", password+"\x00")},
		{name: "space after the login", status: 401, want: "Bad credentials", auth: basic("mona ", password)},
		{name: "login in capitals", status: 401, want: "Bad credentials", auth: basic("MONA", password)},
		{name: "no login", status: 401, want: "Bad credentials", auth: basic("", password)},
		{name: "login of invalid UTF-8", status: 401, want: "Bad credentials", auth: basic("mona\xff", password)},
		{name: "long login", status: 401, want: "Bad credentials", auth: basic(strings.Repeat("m", 300), password)},
		{name: "long password", status: 401, want: "Bad credentials", auth: basic("mona", strings.Repeat("p", 5000))},
		{name: "code with spaces", status: 401, want: "two-factor", auth: basic("hubot", password), header: []string{"X-GitHub-OTP: 123 456"}},
		{name: "long code", status: 401, want: "two-factor", auth: basic("hubot", password), header: []string{"X-GitHub-OTP: " + strings.Repeat("1", 5000)}},
		{name: "two codes in one header", status: 401, want: "two-factor", auth: basic("hubot", password), header: []string{"X-GitHub-OTP: 123456, 123456"}},
		{name: "Digest", status: 401, want: "Requires authentication", auth: `Digest username="mona"`},
		{name: "a token", status: 403, want: "only be accessed with username and password", auth: "token azt_x"},
		{name: "user in the target", status: 401, want: "Requires authentication", raw: "PUT http://mona:pw@h" + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"},

		// Methods and paths.
		{name: "GET", status: 405, want: "Method Not Allowed", method: "GET"},
		{name: "DELETE", status: 405, want: "Method Not Allowed", method: "DELETE"},
		{name: "put in small letters", status: 405, want: "Method Not Allowed", method: "put"},
		{name: "method of our own", status: 405, want: "Method Not Allowed", method: "PUTT"},
		{name: "method override", status: 405, want: "Method Not Allowed", method: "POST", header: []string{"X-HTTP-Method-Override: PUT"}},
		{name: "TRACE", status: 405, want: "Method Not Allowed", method: "TRACE"},
		{name: "NUL in the path", status: 422, want: "fingerprint must not contain control characters", target: path + "/a%00b"},
		{name: "NUL behind the client_id", status: 422, want: noClient, target: path + "%00"},
		{name: "newline in the path", status: 422, want: "fingerprint must not contain control characters", target: path + "/a%0d%0aX:%20y"},
		{name: "escape character in the path", status: 422, want: "fingerprint must not contain control characters", target: path + "/%1b[2J"},
		{name: "invalid UTF-8 in the path", status: 422, want: "fingerprint must be valid UTF-8", target: path + "/%ff"},
		{name: "over-long UTF-8 in the path", status: 422, want: "fingerprint must be valid UTF-8", target: path + "/%c0%af"},
		{name: "long fingerprint in the path", status: 422, want: "fingerprint must be at most 255", target: path + "/" + strings.Repeat("f", 256)},
		{name: "very long path", status: 422, want: "fingerprint must be at most 255", target: path + "/" + strings.Repeat("f", 500_000)},
		{name: "slash in the client_id", status: 422, want: noClient, target: "/authorizations/clients/abcde12345%2Ffghij67890"},
		{name: "dots for the client_id", status: 422, want: noClient, target: "/authorizations/clients/%2e%2e"},
		{name: "client_id in capitals", status: 422, want: noClient, target: "/authorizations/clients/" + strings.ToUpper(clientID)},
		{name: "client_id of zeros", status: 422, want: noClient, target: "/authorizations/clients/00000000000000000000"},
		{name: "client_id cut short", status: 422, want: noClient, target: path[:len(path)-1]},
		{name: "client_id with SQL", status: 422, want: noClient, target: "/authorizations/clients/'%20OR%201=1--"},
		{name: "client_id in another script", status: 422, want: noClient, target: "/authorizations/clients/" + strings.Repeat("%EF%BC%A1", 20)},
		{name: "dots in the path", status: 404, want: "Not Found", target: "/authorizations/x/../clients/" + clientID},
		{name: "dots out of the path", status: 404, want: "Not Found", target: path + "/../../.."},
		{name: "two slashes", status: 404, want: "Not Found", target: "//authorizations/clients/" + clientID},
		{name: "two slashes inside", status: 404, want: "Not Found", target: "/authorizations//clients/" + clientID},
		{name: "slash behind", status: 404, want: "Not Found", target: path + "/"},
		{name: "GET with a slash behind", status: 404, want: "Not Found", method: "GET", target: path + "/"},
		{name: "one segment too many", status: 404, want: "Not Found", target: path + "/a/b"},
		{name: "capital path", status: 404, want: "Not Found", target: "/Authorizations/clients/" + clientID},
		{name: "escaped path", status: 404, want: "Not Found", target: "/authorizations%2Fclients%2F" + clientID},
		{name: "backslashes", status: 404, want: "Not Found", target: `/authorizations\clients\` + clientID},
		{name: "client_id in the query", status: 404, want: "Not Found", target: "/authorizations/clients?client_id=" + clientID},
	}
	for _, field := range []string{"client_id", "client_secret", "note", "note_url", "fingerprint", "on_existing"} {
		for _, v := range []struct{ value, kind string }{
			{"1", "a number"}, {"1e999999", "a number"}, {"-0.0", "a number"}, {"true", "a boolean"}, {`["x"]`, "an array"}, {`{"x":"y"}`, "an object"}, {"null", "null"},
		} {
			if field == "client_secret" && v.value == "null" {
				continue // as good as absent: above
			}
			body := `{` + bodyKey + `,"` + field + `":` + v.value + `}`
			if field == "client_secret" {
				body = `{"client_secret":` + v.value + `}`
			}
			rows = append(rows, hostile{name: field + " " + v.value, status: 422, want: field + " must be a string, not " + v.kind, body: body})
		}
	}
	for _, v := range []struct{ value, kind string }{{"1", "a number"}, {"false", "a boolean"}, {`{"0":"a"}`, "an object"}, {`"a"`, "a string"}} {
		rows = append(rows, hostile{name: "scopes " + v.value, status: 422, want: "scopes must be an array of strings, not " + v.kind, body: `{` + bodyKey + `,"scopes":` + v.value + `}`})
	}
	for _, field := range []string{"note", "note_url", "fingerprint"} {
		for _, c := range []string{`\u0000`, `\u0007`, `\n`, `\u001b[31m`, `\u007f`, `\u0085`, `\u009b`} {
			rows = append(rows, hostile{name: field + " with " + c, status: 422, want: field + " must not contain control characters",
				body: `{` + bodyKey + `,"` + field + `":"http://x/` + c + `"}`})
		}
	}
	for _, u := range []string{
		"javascript:alert(1)", "JavaScript://x/%0aalert(1)", "data:text/html,x", "ftp://x", "file:///etc/passwd", "http://", "http:///x",
		"http:x", "https//x", "//x", "/x", "x", " http://x", "http://x y", "http://x/a b", "http://x/%zz", "http://[::1", "http://x:y", "http://:80", "http://?", "http://x\\\\y",
	} {
		rows = append(rows, hostile{name: "note_url " + u, status: 422, want: "note_url must be an absolute http or https URL", body: `{` + bodyKey + `,"note_url":"` + u + `"}`})
	}
	for _, u := range []string{"http://user@x", "http://u:p@x", "http://@x"} {
		rows = append(rows, hostile{name: "note_url " + u, status: 422, want: "note_url must not hold a login or password", body: `{` + bodyKey + `,"note_url":"` + u + `"}`})
	}
	for _, scope := range []string{"", " ", "a b", `\"`, `\\`, `\u0000`, `\u007f`, "é", `\ud83d\udcbb`, `a\tb`, `a\n`} {
		rows = append(rows, hostile{name: "scope " + scope, status: 422, want: "number 1 is none", body: `{` + bodyKey + `,"scopes":["` + scope + `"]}`})
	}
	return rows
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return b.String()
}

// text is the request as it goes over the wire.
func (h hostile) text() string {
	if h.raw != "" {
		return h.raw
	}
	method, target, auth, body := h.method, h.target, h.auth, h.body
	if method == "" {
		method = http.MethodPut
	}
	if target == "" {
		target = path
	}
	if auth == "" {
		auth = basic("mona", password)
	}
	switch body {
	case "":
		body = minimalBody
	case "\x00none":
		body = ""
	}
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: api.example.com", "Authorization: " + auth, fmt.Sprint("Content-Length: ", len(body))}, h.header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func TestHostileRequests(t *testing.T) {
	rows := hostileRequests()
	if len(rows) < 60 {
		t.Fatalf("only %d rows", len(rows))
	}
	st := memory.New()
	s := newServerOn(t, st, authz.Config{})
	names := map[string]bool{}
	for _, row := range rows {
		if names[row.name] {
			t.Errorf("two rows are named %q", row.name)
		}
		names[row.name] = true
		c := s.dial(t)
		c.write(t, row.text())
		got := c.read(t)
		c.Close()
		checkCommon(t, row.name, got)
		if got.status != row.status || !strings.Contains(words(t, got), row.want) {
			t.Errorf("%s: got %d %s, want %d with %q", row.name, got.status, got.body, row.status, row.want)
		}
		if got.status < 400 || got.status > 499 {
			t.Errorf("%s: status %d", row.name, got.status)
		}
		if n := s.store.created.Load(); n != 0 {
			t.Fatalf("%s: has made a row", row.name)
		}
	}
	if n := count(t, st, owner, "user-2"); n != 0 {
		t.Errorf("%d rows in the store", n)
	}
	// The usual request, of which all rows are changes, is a good one.
	c := s.dial(t)
	c.write(t, hostile{}.text())
	if got := c.read(t); got.status != 201 {
		t.Errorf("the usual request: %d %s", got.status, got.body)
	}
	t.Logf("%d hostile requests", len(rows))
}

// hostileCall is a request to one of the other endpoints that must be refused,
// or do no harm, and in either case leave everything as it was. In its texts
// {id}, {grant}, {token} stand for what mona has, {theirs} and {stolen} for the
// authorization and the token of another user and app.
type hostileCall struct {
	name   string
	status int
	want   string // in the words of an error, or in the body of a success
	call   string // method and target
	body   string
	header []string
	auth   string // instead of the usual Authorization; "none" for none
}

// jsonCalls are the endpoints that take JSON, with the members of a good body.
var jsonCalls = []struct{ call, members string }{
	{"POST /authorizations", `"note":"hostile"`},
	{"PATCH /authorizations/{id}", `"note":"hostile"`},
	{"POST /authorizations/{id}", `"fingerprint":"hostile"`},
	{"POST /applications/" + clientID + "/token", `"access_token":"{token}"`},
	{"PATCH /applications/" + clientID + "/token", `"access_token":"{token}"`},
	{"DELETE /applications/" + clientID + "/token", `"access_token":"{token}"`},
	{"DELETE /applications/" + clientID + "/grant", `"access_token":"{token}"`},
	{"POST /applications/" + clientID + "/token/scoped", `"access_token":"{token}","scopes":[]`},
}

const (
	badClient  = "Client authentication failed"
	badForm    = "The body is no valid form"
	twiceForm  = "The body has a parameter more than once"
	introspec  = "POST /oauth/introspect"
	revocation = "POST /oauth/revoke"
	onList     = "GET /authorizations"
	tokenPath  = "/applications/" + clientID + "/tokens/"
	grantPath  = "/applications/" + clientID + "/grants/"
	chunked    = "Transfer-Encoding: chunked"
)

func hostileCalls() []hostileCall {
	var rows []hostileCall
	add := func(row hostileCall) { rows = append(rows, row) }

	// Bodies of JSON: the same for all endpoints that take it.
	for _, e := range jsonCalls {
		good := "{" + e.members + "}"
		last := strings.TrimSuffix(strings.TrimPrefix(e.members[strings.LastIndex(e.members, ",")+1:], `"`), `"`)
		key, _, _ := strings.Cut(last, `"`)
		for _, b := range []struct{ name, body string }{
			{"cut short", good[:len(good)-1]}, {"second object", good + "{}"}, {"trailing word", good + " null"}, {"trailing NUL", good + "\x00"}, {"trailing brace", good + "}"}, {"trailing comma", "{" + e.members + ",}"},
			{"duplicate key", "{" + e.members + `,"` + key + `":"x"}`}, {"duplicate key first", `{"` + key + `":"x",` + e.members + "}"}, {"duplicate by escape", "{" + e.members + fmt.Sprintf(`,"\u%04x%s":"x"}`, key[0], key[1:])},
			{"duplicate unknown key", "{" + e.members + `,"x":1,"x":2}`}, {"duplicate nested", "{" + e.members + `,"x":[{"a":1,"a":2}]}`}, {"duplicate empty key", "{" + e.members + `,"":1,"":1}`},
			{"invalid UTF-8", "{" + e.members + ",\"x\":\"\xff\"}"}, {"invalid UTF-8 in a key", "{" + e.members + ",\"\xc0\x80\":1}"}, {"surrogate in UTF-8", "{" + e.members + ",\"x\":\"\xed\xa0\x80\"}"},
			{"lone high surrogate", "{" + e.members + `,"x":"\ud800"}`}, {"lone low surrogate", "{" + e.members + `,"x":"\udfff"}`}, {"lone surrogate in a key", "{" + e.members + `,"\ud83d":1}`},
			{"deep arrays", "{" + e.members + `,"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"}, {"deep objects", strings.Repeat(`{"a":`, 11000)},
			{"raw NUL", "{" + e.members + ",\"x\":\"\x00\"}"}, {"NaN", "{" + e.members + `,"x":NaN}`}, {"byte order mark", "\ufeff" + good}, {"comment", "{" + e.members + "/**/}"}, {"form", "access_token={token}&note=hostile"},
			{"no-break space", "\u00a0"}, {"vertical tab", "\v"}, {"a byte of NUL", "\x00"},
		} {
			add(hostileCall{name: b.name, status: 400, want: noJSON, call: e.call, body: b.body})
		}
		for _, b := range []struct{ name, body string }{
			{"array", "[" + good + "]"}, {"string", fmt.Sprintf("%q", good)}, {"null", "null"}, {"number", "1e999999"}, {"array of duplicates", `[{"a":1,"a":1}]`},
		} {
			add(hostileCall{name: b.name, status: 400, want: noObject, call: e.call, body: b.body})
		}
		add(hostileCall{name: "gzip", status: 415, want: "Content-Encoding", call: e.call, body: good, header: []string{"Content-Encoding: gzip"}})
		add(hostileCall{name: "gzip on a second line", status: 415, want: "Content-Encoding", call: e.call, body: good, header: []string{"Content-Encoding: identity", "Content-Encoding: gzip"}})
		add(hostileCall{name: "too large", status: 413, want: "too large", call: e.call, body: good + strings.Repeat(" ", 64<<10)})
		add(hostileCall{name: "chunk size is no number", status: 400, want: noJSON, call: e.call, body: "zz\r\n" + good + "\r\n0\r\n\r\n", header: []string{chunked}})
		add(hostileCall{name: "chunk size overflows", status: 400, want: noJSON, call: e.call, body: "fffffffffffffffff\r\n" + good + "\r\n0\r\n\r\n", header: []string{chunked}})
		add(hostileCall{name: "chunk without its end", status: 400, want: noJSON, call: e.call, body: "2\r\n{}x\r\n0\r\n\r\n", header: []string{chunked}})
		add(hostileCall{name: "two Authorization headers", status: 400, want: "more than one Authorization", call: e.call, body: good, header: []string{"Authorization: Basic eDp5"}})
		add(hostileCall{name: "two Idempotency-Key headers", status: 400, want: "more than one Idempotency-Key", call: e.call, body: good, header: []string{"Idempotency-Key: " + strings.Repeat("k", 16), "idempotency-key: " + strings.Repeat("k", 16)}})
		add(hostileCall{name: "no credentials", status: 401, want: "e", call: e.call, body: good, auth: "none"})
		add(hostileCall{name: "another app's credentials", status: 401, want: "Bad credentials", call: e.call, body: good, auth: basic(clientID, strings.Repeat("x", 40))})

		// The keys of one case are the only ones: others are ignored.
		if strings.Contains(e.members, "access_token") {
			add(hostileCall{name: "key in capitals", status: 422, want: "access_token missing_field", call: e.call, body: `{"Access_Token":"{token}","ACCESS_TOKEN":"{token}","scopes":[]}`})
			add(hostileCall{name: "empty body", status: 422, want: "access_token missing_field", call: e.call})
			add(hostileCall{name: "empty token", status: 422, want: "access_token missing_field", call: e.call, body: `{"access_token":"","scopes":[]}`})
			for _, token := range []string{"x", "{token}0", " {token}", "{token} ", `{token}\n`, `{token}\u0000`, "{stolen}", `\ud83d\udcbb`, strings.Repeat("t", 60000)} {
				add(hostileCall{name: "token " + token[:min(len(token), 30)], status: 404, want: "Not Found", call: e.call, body: `{"access_token":"` + token + `","scopes":[]}`})
			}
			add(hostileCall{name: "a user's credentials", status: 401, want: "Bad credentials", call: e.call, body: good, auth: basic("mona", password)})
			add(hostileCall{name: "its own token", status: 401, want: "Bad credentials", call: e.call, body: good, auth: "Bearer {token}"})
			add(hostileCall{name: "path of another app", status: 404, want: "Not Found", call: strings.Replace(e.call, clientID, otherClient, 1), body: good})
			add(hostileCall{name: "path of no app", status: 404, want: "Not Found", call: strings.Replace(e.call, clientID, clientID+"%00", 1), body: good})
			add(hostileCall{name: "token in the query", status: 422, want: "access_token missing_field", call: e.call + "?access_token={token}", body: `{"scopes":[]}`})
		} else {
			add(hostileCall{name: "an app's credentials", status: 401, want: "Bad credentials", call: e.call, body: good, auth: basic(clientID, clientSecret)})
			add(hostileCall{name: "a token for a password", status: 403, want: "username and password", call: e.call, body: good, auth: basic("mona", "azt_"+strings.Repeat("A", 30)+"0uCPlr")})
		}
		for _, key := range []string{"short", strings.Repeat("k", 256), strings.Repeat("k", 100_000), strings.Repeat("k", 16) + "\xc3\xa9", strings.Repeat("k", 16) + " k", ""} {
			if method, _, _ := strings.Cut(e.call, " "); method == "DELETE" || strings.Contains(e.call, "{id}") || e.call == "POST /applications/"+clientID+"/token" {
				break // they take no key
			}
			add(hostileCall{name: "Idempotency-Key " + key[:min(len(key), 20)] + fmt.Sprint(len(key)), status: 422, want: "Idempotency-Key", call: e.call, body: good, header: []string{"Idempotency-Key: " + key}})
		}
	}
	add(hostileCall{name: "keys in capitals", status: 422, want: "note missing_field", call: "POST /authorizations", body: `{"Note":"a","NOTE":"b"}`})
	add(hostileCall{name: "empty body", status: 422, want: "note missing_field", call: "POST /authorizations"})
	add(hostileCall{name: "blank note", status: 422, want: "note missing_field", call: "POST /authorizations", body: `{"note":" \u2003"}`})
	add(hostileCall{name: "no client_secret", status: 422, want: "client_secret missing_field", call: "POST /authorizations", body: `{"client_id":"` + clientID + `"}`})
	add(hostileCall{name: "client_id of zeros", status: 422, want: noClient, call: "POST /authorizations", body: `{"note":"x","client_id":"` + strings.Repeat("0", 20) + `",` + bodyKey + `}`})
	add(hostileCall{name: "client_id with NUL", status: 422, want: noClient, call: "POST /authorizations", body: `{"note":"x","client_id":"` + clientID + `\u0000",` + bodyKey + `}`})
	add(hostileCall{name: "taken fingerprint", status: 422, want: "fingerprint already_exists", call: "POST /authorizations", body: `{"client_id":"` + clientID + `","fingerprint":"hers",` + bodyKey + `}`})
	add(hostileCall{name: "keys in capitals", status: 200, want: `"note": "admin script"`, call: "PATCH /authorizations/{id}", body: `{"Note":"a","NOTE":"b","Scopes":[]}`})
	add(hostileCall{name: "keys of an answer", status: 200, want: `"note": "admin script"`, call: "PATCH /authorizations/{id}", body: `{"id":9,"token":"x","hashed_token":"x","app":{},"client_id":"x","updated_at":"x","user":null}`})
	add(hostileCall{name: "empty body", status: 200, want: `"note": "admin script"`, call: "PATCH /authorizations/{id}"})
	add(hostileCall{name: "all three lists", status: 422, want: "scopes invalid", call: "PATCH /authorizations/{id}", body: `{"scopes":["a"],"add_scopes":["b"],"remove_scopes":["c"]}`})
	add(hostileCall{name: "two lists, one null", status: 422, want: "scopes invalid", call: "PATCH /authorizations/{id}", body: `{"scopes":null,"add_scopes":["b"]}`})
	add(hostileCall{name: "more scopes than allowed", status: 422, want: "scopes are invalid: admin", call: "POST /applications/" + clientID + "/token/scoped", body: `{"access_token":"{token}","scopes":["public_repo","admin"]}`})
	add(hostileCall{name: "no scopes", status: 422, want: "scopes missing_field", call: "POST /applications/" + clientID + "/token/scoped", body: `{"access_token":"{token}"}`})

	// Wrong types and values, field by field.
	for _, e := range []struct {
		call         string
		texts, lists []string
	}{
		{"POST /authorizations", []string{"client_id", "client_secret", "note", "note_url", "fingerprint"}, []string{"scopes"}},
		{"PATCH /authorizations/{id}", []string{"note", "note_url", "fingerprint"}, []string{"scopes", "add_scopes", "remove_scopes"}},
		{"POST /applications/" + clientID + "/token", []string{"access_token"}, nil},
		{"DELETE /applications/" + clientID + "/token", []string{"access_token"}, nil},
		{"POST /applications/" + clientID + "/token/scoped", []string{"access_token", "note", "note_url", "fingerprint"}, []string{"scopes"}},
	} {
		typed := func(field, value, want string) {
			add(hostileCall{name: field + " " + value[:min(len(value), 10)], status: 422, want: want, call: e.call, body: `{"x":0,"` + field + `":` + value + "}"})
		}
		for _, v := range []struct{ value, kind string }{
			{"1", "a number"}, {"1e999999", "a number"}, {"1" + strings.Repeat("0", 5000), "a number"}, {"true", "a boolean"}, {`["x"]`, "an array"}, {`{"x":"y"}`, "an object"}, {"null", "null"}, {`"x"`, "a string"},
		} {
			for _, field := range e.texts {
				if v.kind != "a string" && (v.kind != "null" || !strings.HasPrefix(field, "client_")) { // null is as good as absent there
					typed(field, v.value, field+" must be a string, not "+v.kind)
				}
			}
			for _, field := range e.lists {
				if v.kind != "an array" && v.kind != "null" { // null is an empty one
					typed(field, v.value, field+" must be an array of strings, not "+v.kind)
				}
			}
		}
		for _, field := range e.lists {
			typed(field, `["a",1]`, field+" must be an array of strings, but number 2 is a number")
			typed(field, `[null]`, field+" must be an array of strings, but number 1 is null")
		}
		for _, field := range e.lists {
			for _, scope := range []string{"", "a b", `\u0000`, "é", `\"`, strings.Repeat("s", 101)} {
				add(hostileCall{name: field + " scope " + scope[:min(len(scope), 10)], status: 422, want: "number 1 is none", call: e.call, body: `{"note":"x","access_token":"{token}","` + field + `":["` + scope + `"]}`})
			}
			add(hostileCall{name: field + ", 101", status: 422, want: "at most 100 scopes", call: e.call, body: `{"note":"x","access_token":"{token}","` + field + `":["a"` + strings.Repeat(`,"a"`, 100) + `]}`})
		}
		for _, field := range []string{"note", "fingerprint"} {
			if slices.Contains(e.texts, field) {
				add(hostileCall{name: field + " with NUL", status: 422, want: field + " must not contain control characters", call: e.call, body: `{"access_token":"{token}","scopes":[],"` + field + `":"a\u0000"}`})
				add(hostileCall{name: field + " too long", status: 422, want: field + " must be at most 255", call: e.call, body: `{"access_token":"{token}","` + field + `":"` + strings.Repeat("é", 256) + `"}`})
			}
		}
		if slices.Contains(e.texts, "note_url") {
			add(hostileCall{name: "note_url of a script", status: 422, want: "note_url must be an absolute http or https URL", call: e.call, body: `{"access_token":"{token}","note":"x","note_url":"javascript:alert(1)"}`})
		}
	}

	// IDs that are none, or somebody else's.
	for _, id := range []string{
		"0", "-1", "+{id}", "0{id}", "{id}.0", "{id}e0", "0x1", "1_0", "{id}%20", "%20{id}", "{id}%00", "{id}%0a", "%D9%A1", "9223372036854775807", "9223372036854775808", "18446744073709551617", strings.Repeat("9", 5000), "{id}/", "{id}/x", "{theirs}", "null", "%2F", "{id}%2F", "{id};x", "..%2F{id}",
	} {
		for _, method := range []string{"GET", "PATCH", "POST", "DELETE", "HEAD"} {
			add(hostileCall{name: "id " + id[:min(len(id), 20)], status: 404, want: "Not Found", call: method + " /authorizations/" + id, body: `{"note":"hostile"}`})
		}
		for _, method := range []string{"GET", "DELETE"} {
			add(hostileCall{name: "id " + id[:min(len(id), 20)], status: 404, want: "Not Found", call: method + " /applications/grants/" + strings.ReplaceAll(id, "{id}", "{grant}"), body: `{}`})
		}
	}

	// A body that nobody asks for has its limits all the same.
	for _, call := range []string{"DELETE /authorizations/{id}", "DELETE /applications/grants/{grant}"} {
		add(hostileCall{name: "too large", status: 413, want: "too large", call: call, body: strings.Repeat(" ", 64<<10+1)})
	}
	for _, target := range []string{"token", "grant", "token/scoped"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			add(hostileCall{name: "no id but an app's endpoint", status: 404, want: "Not Found", call: method + " /applications/grants/" + target, body: `{"access_token":"{token}"}`})
		}
	}

	// Tokens in paths, where only what is the token to the byte will do.
	for _, token := range []string{
		"{token}0", "{token}%00", "{token}%20", "%20{token}", "{token}%0a", "{token}/", "{token}/x", "%2F{token}", "{stolen}", "x", "%2F", "%ff", "azt_" + strings.Repeat("!", 30) + "44tfNt", strings.Repeat("t", 100_000), "{token};x=y", "..%2F{token}",
	} {
		for _, call := range []string{"GET " + tokenPath, "POST " + tokenPath, "DELETE " + tokenPath, "DELETE " + grantPath, "HEAD " + tokenPath} {
			add(hostileCall{name: "token " + token[:min(len(token), 20)], status: 404, want: "Not Found", call: call + token})
		}
	}
	add(hostileCall{name: "token without credentials", status: 401, want: "Bad credentials", call: "DELETE " + tokenPath + "{token}", auth: "none"})
	add(hostileCall{name: "token with a user's credentials", status: 401, want: "Bad credentials", call: "GET " + tokenPath + "{token}", auth: basic("mona", password)})
	add(hostileCall{name: "token with another app's path", status: 404, want: "Not Found", call: "DELETE /applications/" + otherClient + "/tokens/{token}"})
	add(hostileCall{name: "token with a method that does not go", status: 405, want: "Method Not Allowed", call: "PATCH " + tokenPath + "{token}"})
	add(hostileCall{name: "two Idempotency-Keys to reset", status: 400, want: "more than one", call: "POST " + tokenPath + "{token}", header: []string{"Idempotency-Key: " + strings.Repeat("k", 16), "Idempotency-Key: " + strings.Repeat("l", 16)}})
	add(hostileCall{name: "short Idempotency-Key to reset", status: 422, want: "Idempotency-Key must be", call: "POST " + tokenPath + "{token}", header: []string{"Idempotency-Key: k"}})

	// Lists: what is no page is the first, what is no filter filters nothing.
	for _, q := range []string{
		"page=x", "page=0", "page=-1", "page=1e9", "page=-99999999999999999999", "page=%00", "page=%zz", "page=1&page=2", "page=1;per_page=1", "page[]=2", "per_page=0", "per_page=-5", "per_page=99999999999999999999", "per_page=%F0%9F%92%BB", "per_page=1_0", "PAGE=2",
		";", "&&&", "=", "%", "client_id", "client_id=", "client_id;=", "client_id=%zz", "client_id=" + clientID, "client_id=%61" + clientID[1:], "client_id=" + clientID + "&client_id=" + otherClient, "Client_Id=" + otherClient, strings.Repeat("a=b&", 12_000),
	} {
		add(hostileCall{name: "query " + q[:min(len(q), 40)], status: 200, want: `/authorizations/{id}"`, call: onList + "?" + q})
		add(hostileCall{name: "query " + q[:min(len(q), 40)], status: 200, want: `/applications/grants/{grant}"`, call: "GET /applications/grants?" + q})
	}
	for _, q := range []string{
		"page=2", "page=9223372036854775807", "page=99999999999999999999", "per_page=100&page=2", "client_id=" + otherClient, "client_id=" + clientID + "%00", "client_id=" + clientID + "%20", "client_id=+" + clientID, "client_id=" + strings.ToUpper(clientID), "client_id=%ff", "client_id='%20OR%201=1--", "client_id=" + strings.Repeat("x", 100_000), "client_id=" + otherClient + "&client_id=" + clientID,
	} {
		add(hostileCall{name: "query " + q[:min(len(q), 40)], status: 200, want: "[]\n", call: onList + "?" + q})
		add(hostileCall{name: "query " + q[:min(len(q), 40)], status: 200, want: "[]\n", call: "GET /applications/grants?" + q})
	}
	for _, target := range []string{"/authorizations", "/authorizations/{id}", "/applications/grants", "/applications/grants/{grant}", "/.well-known/oauth-authorization-server"} {
		for name, header := range map[string]string{"100 KB": strings.Repeat(`"x", `, 20_000), "no tag": "x", "open quote": `"`, "weak nothing": "W/", "control": "\"\t\"", "many stars": "**"} {
			add(hostileCall{name: "If-None-Match: " + name, status: 200, want: "http://api.example.com/", call: "GET " + target, header: []string{"If-None-Match: " + header}})
		}
		add(hostileCall{name: "If-None-Match: *", status: 304, call: "GET " + target, header: []string{"If-None-Match: *"}})
		add(hostileCall{name: "body on GET", status: 200, want: "http://api.example.com/", call: "GET " + target, body: `{"note":"hostile","x":`})
		add(hostileCall{name: "chunked rubbish on GET", status: 200, want: "http://api.example.com/", call: "GET " + target, body: "zz\r\nx", header: []string{chunked}})
		add(hostileCall{name: "HEAD with a body", status: 200, call: "HEAD " + target, body: "x"})
		add(hostileCall{name: "absolute form", status: 200, want: "http://other.example/", call: "GET http://other.example" + target})
		add(hostileCall{name: "absolute form with a login", status: 200, want: "http://other.example/", call: "GET http://hubot:x@other.example" + target})
		add(hostileCall{name: "method override", status: 200, want: "http://api.example.com/", call: "GET " + target, header: []string{"X-HTTP-Method-Override: DELETE", "X-Method: DELETE"}})
		add(hostileCall{name: "two slashes", status: 404, want: "Not Found", call: "GET /" + target})
		add(hostileCall{name: "slash behind", status: 404, want: "Not Found", call: "GET " + target + "/"})
		add(hostileCall{name: "dots", status: 404, want: "Not Found", call: "GET /x/.." + target})
		add(hostileCall{name: "dots behind", status: 404, want: "Not Found", call: "GET " + target + "/x/.."})
		add(hostileCall{name: "capitals", status: 404, want: "Not Found", call: "GET " + strings.ToUpper(target[:3]) + target[3:]})
		for _, method := range []string{"get", "delete", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "GETX"} {
			add(hostileCall{name: "method " + method, status: 405, want: "Method Not Allowed", call: method + " " + target})
		}
	}
	for _, target := range []string{"/oauth/introspect", "/oauth/revoke", "/applications/" + clientID + "/token", "/applications/" + clientID + "/token/scoped", "/applications/" + clientID + "/grant"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "post", "delete"} {
			add(hostileCall{name: "method " + method, status: 405, want: "Method Not Allowed", call: method + " " + target, body: "token={token}"})
		}
	}
	for _, call := range []string{"PATCH /authorizations", "PUT /authorizations", "GET /authorizations/", "DELETE /authorizations/clients", "GET /authorizations/clients/", "GET *", "GET /applications", "GET /applications/" + clientID, "GET /applications/" + clientID + "/tokens", "POST /oauth", "POST /oauth/introspect/", "POST /oauth/token", "GET /oauth/authorize", "CONNECT h:80", "GET /.well-known", "GET /.well-known/openid-configuration", "GET /%2e%2e/authorizations/x"} {
		add(hostileCall{name: "leads nowhere", status: 404, want: "Not Found", call: call, body: "{}"})
	}

	// Forms.
	for _, call := range []string{introspec, revocation} {
		for _, b := range []struct {
			status     int
			want, body string
		}{
			{400, "token is required", ""}, {400, "token is required", "token="}, {400, "token is required", "token"}, {400, "token is required", "Token={token}"}, {400, "token is required", "token[]={token}"}, {400, "token is required", `{"token":"{token}"}`}, {400, "token is required", "token%00={token}"},
			{400, "token is required", "\x00"}, {400, badForm, "token=%"}, {400, badForm, "token=%4"}, {400, badForm, "token=%zz"}, {400, badForm, "%=x&token={token}"}, {400, badForm, "token={token};x=y"}, {400, badForm, "token={token}&a;b"}, {400, badForm, "token={token}&x=%u0041"},
			{400, twiceForm, "token={token}&token={token}"}, {400, twiceForm, "token=x&token={token}"}, {400, twiceForm, "token=&token={token}"}, {400, twiceForm, "token={token}&x=1&x=2"}, {400, twiceForm, "token={token}&%74oken=x"}, {400, twiceForm, "token={token}&=&="},
			{400, "Use one way", "token={token}&client_secret=" + clientSecret}, {400, "Use one way", "token={token}&client_id=" + clientID + "&client_secret=" + clientSecret}, {401, badClient, "token={token}&client_id=" + otherClient}, {401, badClient, "token={token}&client_id=" + clientID + "%00"},
			{413, "too large", "token={token}&x=" + strings.Repeat("x", 64<<10)}, {400, badForm, "token={token}" + strings.Repeat("&a", 12_000) + "&%"},
		} {
			add(hostileCall{name: "form " + b.body[:min(len(b.body), 60)], status: b.status, want: b.want, call: call, body: b.body})
		}
		for _, id := range []string{
			"", "client_id=" + clientID, "client_id=" + clientID + "&client_secret=", "client_id=" + clientID + "&client_secret=x", "client_id=" + otherClient + "&client_secret=x", "client_secret=" + clientSecret, "client_id=%00&client_secret=" + clientSecret,
			"client_id=" + clientID + "&client_secret=" + clientSecret + "%00", "client_id=" + clientID + "&client_secret=" + clientSecret + "+", "client_id=" + clientID + "&client_secret=%2561" + clientSecret[1:], "client_id=%2561" + clientID[1:] + "&client_secret=" + clientSecret, "Client_id=" + clientID + "&client_secret=" + clientSecret,
		} {
			add(hostileCall{name: "client " + id, status: 401, want: badClient, call: call, body: "token={token}&" + id, auth: "none"})
		}
		for _, auth := range []string{"Basic", "Basic x", "Basic ====", basic(clientID, "x"), basic(clientID, clientSecret+" "), basic(clientID, clientSecret+"%00"), basic(clientID, "%2561"+clientSecret[1:]), basic("mona", password), "Bearer {token}", "token {token}", basic("", ""), "Digest x", basic(clientID, clientSecret) + ", " + basic(otherClient, clientSecret)} {
			add(hostileCall{name: "Authorization " + auth, status: 401, want: badClient, call: call, body: "token={token}", auth: auth})
		}
		for _, contentType := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded, application/json", "application/x-www-form-urlencoded2", "/", "x", ";", "application/x-www-form-urlencoded; charset", strings.Repeat("x", 100_000)} {
			add(hostileCall{name: "Content-Type " + contentType[:min(len(contentType), 60)], status: 400, want: "The body must be application/x-www-form-urlencoded", call: call, body: "token={token}", header: []string{"Content-Type: " + contentType}})
		}
		add(hostileCall{name: "two Content-Types", status: 400, want: "must be application/x-www-form-urlencoded", call: call, body: "token={token}", header: []string{formType, "Content-Type: application/json"}})
		add(hostileCall{name: "two Authorization headers", status: 400, want: "more than one Authorization", call: call, body: "token={token}", header: []string{"Authorization: " + basic(otherClient, clientSecret)}})
		add(hostileCall{name: "token in the query", status: 400, want: "token is required", call: call + "?token={token}"})
		add(hostileCall{name: "client in the query", status: 401, want: badClient, call: call + "?client_id=" + clientID + "&client_secret=" + clientSecret, body: "token={token}", auth: "none"})
		add(hostileCall{name: "gzip", status: 415, want: "Content-Encoding", call: call, body: "token={token}", header: []string{"Content-Encoding: gzip"}})
		add(hostileCall{name: "chunked rubbish", status: 400, want: "The body did not arrive whole", call: call, body: "zz\r\ntoken={token}", header: []string{chunked}})
		add(hostileCall{name: "chunk without its end", status: 400, want: "The body did not arrive whole", call: call, body: "5\r\ntokenxx", header: []string{chunked}})
	}
	for _, token := range []string{"x", "{token}+", "+{token}", "{token}%00", "{token}%0a", "%ff", "{stolen}", strings.Repeat("t", 60_000), "{token}%26x%3Dy"} {
		add(hostileCall{name: "introspect " + token[:min(len(token), 20)], status: 200, want: "{\n  \"active\": false\n}\n", call: introspec, body: "token=" + token})
		if token != "{stolen}" {
			add(hostileCall{name: "revoke " + token[:min(len(token), 20)], status: 200, want: "{}", call: revocation, body: "token=" + token})
		}
	}
	add(hostileCall{name: "revoke another's", status: 400, want: "The token was issued to another client", call: revocation, body: "token={stolen}"})
	return rows
}

// text is the request as it goes over the wire; fill puts in what differs from
// run to run.
func (h hostileCall) text(fill *strings.Replacer) string {
	method, target, _ := strings.Cut(h.call, " ")
	auth, body := h.auth, fill.Replace(h.body)
	switch path := target[max(0, strings.Index(target, "/a")):]; { // in absolute form too
	case auth != "":
	case strings.HasPrefix(path, "/applications/") && !strings.HasPrefix(path, "/applications/grants"), strings.HasPrefix(target, "/oauth"):
		auth = basic(clientID, clientSecret)
	default:
		auth = basic("mona", password)
	}
	lines := []string{method + " " + target + " HTTP/1.1", "Host: api.example.com"}
	if auth != "none" {
		lines = append(lines, "Authorization: "+auth)
	}
	if !slices.Contains(h.header, chunked) {
		lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
	}
	return fill.Replace(strings.Join(append(lines, h.header...), "\r\n")+"\r\n\r\n") + body
}

func TestHostileCalls(t *testing.T) {
	st := memory.New()
	s := newServerOn(t, st, authz.Config{}, func(c *authz.HandlerConfig) { c.LegacyTokenPaths = true })
	register(t, s.m, otherClient)
	hers := mustGet(t, s.m, request(fingerprint("hers")))
	theirs := mustGet(t, s.m, request(func(r *authz.Request) { r.Owner, r.ClientID = "user-2", otherClient }))
	grants, err := s.m.Grants(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer(
		"{id}", fmt.Sprint(hers.Authorization.ID), "{grant}", fmt.Sprint(grants[0].ID), "{token}", hers.Token.Reveal(),
		"{theirs}", fmt.Sprint(theirs.Authorization.ID), "{stolen}", theirs.Token.Reveal(),
	)
	all := func() (recs []authz.Authorization) {
		for _, user := range []string{owner, "user-2"} {
			page, err := st.List(t.Context(), store.Query{Owner: user, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, page...)
		}
		return recs
	}
	before := all()
	rows := hostileCalls()
	names := map[string]bool{}
	for _, row := range rows {
		name := row.call[:min(len(row.call), 100)] + ": " + row.name
		if names[name] {
			t.Errorf("two rows are named %q", name)
		}
		names[name] = true
		c := s.dial(t)
		c.write(t, row.text(fill))
		method, _, _ := strings.Cut(row.call, " ")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := read(t, resp)
		c.Close()
		switch {
		case got.status != row.status:
			t.Errorf("%s: got %d %s, want %d with %q", name, got.status, got.body, row.status, row.want)
		case method == "HEAD":
			if got.body != "" {
				t.Errorf("%s: body %q", name, got.body)
			}
		case got.status >= 400:
			if checkCommon(t, name, got); !strings.Contains(words(t, got), row.want) {
				t.Errorf("%s: got %d %s, want the words %q", name, got.status, got.body, row.want)
			}
		case row.want == "" && got.body != "" || !strings.Contains(got.body, fill.Replace(row.want)):
			t.Errorf("%s: got %d %s, want %q in it", name, got.status, got.body, row.want)
		}
		if after := all(); !reflect.DeepEqual(before, after) {
			t.Fatalf("%s: has changed\n%+v\ninto\n%+v", name, before, after)
		}
	}
	// The bodies of which the rows are changes are good ones.
	for _, e := range jsonCalls {
		fresh := mustGet(t, s.m, request(fingerprint(e.call)))
		fill := strings.NewReplacer("{id}", fmt.Sprint(fresh.Authorization.ID), "{token}", fresh.Token.Reveal())
		c := s.dial(t)
		c.write(t, hostileCall{call: e.call, body: "{" + e.members + "}"}.text(fill))
		if got := c.read(t); got.status < 200 || got.status > 204 {
			t.Errorf("%s: %d %s", e.call, got.status, got.body)
		}
		c.Close()
	}
	t.Logf("%d hostile calls", len(rows))
}

// words are all texts of an error body, "field code" for each field included.
func words(t testing.TB, a answer) string {
	t.Helper()
	var body struct {
		Message string
		Errors  []struct{ Resource, Field, Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	all := body.Message
	for _, e := range body.Errors {
		all += "\n" + e.Field + " " + e.Code + "\n" + e.Message
	}
	return all
}

// What net/http itself refuses never reaches the handler. It must stay so.
func TestRefusedByNetHTTP(t *testing.T) {
	s := newServer(t)
	length := fmt.Sprint("Content-Length: ", len(minimalBody))
	for name, request := range map[string]string{
		"bad escape in the path":   head(path+"/%zz", length) + minimalBody,
		"space in the path":        head(path+"/a b", length) + minimalBody,
		"raw control in the path":  head(path+"/a\x01b", length) + minimalBody,
		"two lengths":              head(path, length, "Content-Length: 1") + minimalBody,
		"negative length":          head(path, "Content-Length: -1") + minimalBody,
		"length with sign":         head(path, "Content-Length: +1") + minimalBody,
		"space before a colon":     head(path, length, "X-A : b") + minimalBody,
		"NUL in a header":          head(path, length, "X-A: \x00") + minimalBody,
		"header without colon":     head(path, length, "X-A") + minimalBody,
		"two hosts":                head(path, length, "Host: b") + minimalBody,
		"bad host":                 "PUT " + path + " HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"no host":                  "PUT " + path + " HTTP/1.1\r\n" + length + "\r\n\r\n" + minimalBody,
		"method with a bracket":    "P(T " + path + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"no version":               "PUT " + path + "\r\n\r\n",
		"headers of two megabytes": head(path, length, "X-A: "+strings.Repeat("x", 2<<20)) + minimalBody,
		"TLS":                      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"unprintable length":       head(path, "Content-Length: 1\x0b0") + minimalBody,
	} {
		c := s.dial(t)
		_, _ = c.Write([]byte(request)) // it may be refused before its end
		if got := c.read(t); got.status < 400 || got.status > 499 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if n := s.store.created.Load(); n != 0 {
		t.Errorf("%d rows", n)
	}
}
