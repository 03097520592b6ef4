package authz_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
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
		"javascript:alert(1)", "JavaScript://x/%0aalert(1)", "data:text/html,x", "ftp://x", "file:///etc/passwd", "http://user@x", "http://u:p@x", "http://", "http:///x",
		"http:x", "https//x", "//x", "/x", "x", " http://x", "http://x y", "http://x/a b", "http://x/%zz", "http://[::1", "http://x:y", "http://:80", "http://?", "http://x\\\\y",
	} {
		rows = append(rows, hostile{name: "note_url " + u, status: 422, want: "note_url must be an absolute http or https URL", body: `{` + bodyKey + `,"note_url":"` + u + `"}`})
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
