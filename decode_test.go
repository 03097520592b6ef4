package authz

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-926035fd/authz/store"
)

// The seed's record, through the wire type, is the seed's text to the byte.
func TestWireIsTheSeeds(t *testing.T) {
	golden, err := os.ReadFile("testdata/seed-201.json")
	if err != nil {
		t.Fatal(err)
	}
	token := NewSecret("abcdefgh12345678")
	wire := newWireAuthorization(Authorization{
		ID:             1,
		Scopes:         []string{"public_repo"},
		TokenHash:      store.HashOf(token.Reveal()),
		TokenLastEight: lastEight(token.Reveal()),
		Note:           "optional note",
		NoteURL:        "http://optional/note/url",
		UpdatedAt:      time.Date(2011, 9, 6, 22, 39, 23, 999_999_999, time.FixedZone("", 7200)),
		CreatedAt:      time.Date(2011, 9, 6, 17, 26, 27, 0, time.UTC),
	}, App{URL: "http://my-github-app.com", Name: "my github app", ClientID: "abcde12345fghij67890"}, token, "https://api.github.com/authorizations/1")
	got, err := json.MarshalIndent(wire, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(golden)); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wire = newWireAuthorization(Authorization{}, App{}, Secret{}, "")
	if b, _ := json.Marshal(wire); !bytes.Contains(b, []byte(`"scopes":[],"token":"",`)) || bytes.Contains(b, []byte("null")) {
		t.Errorf("the empty record is %s", b)
	}
}

func TestDecodeObject(t *testing.T) {
	got, err := decodeObject([]byte(" {\"b\" : [1, {\"a\":1}] ,\"\\u0061\":\"\\ud83d\\udcbb\\\\ud800\",\"c\":{\"a\":{},\"b\":[{\"a\":1},{\"a\":1}]}}\r\n"))
	want := []member{
		{"b", json.RawMessage(`[1, {"a":1}]`)},
		{"a", json.RawMessage(`"\ud83d\udcbb\\ud800"`)},
		{"c", json.RawMessage(`{"a":{},"b":[{"a":1},{"a":1}]}`)},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := decodeObject([]byte("{}")); err != nil || len(got) != 0 {
		t.Errorf("{}: %q, %v", got, err)
	}
}

var bodySeeds = []string{
	"", " ", "{}", "[]", "null", "1", `""`, "{", `{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1},{"b":1}]}`, `{"A":1,"a":2}`, `{"a":1}{`, `{"a":1} x`,
	`{"client_secret":"x","scopes":["a","b"],"note":"n","note_url":"http://x","fingerprint":"f","on_existing":"rotate","client_id":"i"}`,
	`{"scopes":null}`, `{"scopes":[null]}`, `{"scopes":["\u0000"]}`, `{"note":null}`, `{"client_secret":null}`, `{"note":1e999}`, `{"on_existing":""}`,
	`{"a":"\ud800"}`, `{"a":"\udc00\ud800"}`, `{"a":"\ud83d\udcbb"}`, `{"a":"\\ud800"}`, `{"a":"\ud800\ue000"}`, `{"a":"\\\ud800"}`, `{"\ud800":1}`, `{"a":"\uD83D\uDCBB\uD83D"}`, `{"a":"\u00e9"}`,
	`{"access_token":"t","scopes":["a"],"extra":{"a":[1,2]}}`, `{"access_token":""}`, `{"access_token":null,"scopes":"a"}`, `{"add_scopes":["a"],"remove_scopes":[]}`,
	`{"add_scopes":null,"note":"","note_url":"","fingerprint":""}`, `{"remove_scopes":[1],"note":1,"note_url":[],"fingerprint":{}}`, `{"client_id":null,"note":"n"}`,
	`{"Note":"a"}`, `{"note":"a","NOTE":"b"}`, `{"SCOPES":["a"],"Access_Token":"t"}`, `{"x":[[{"a":{"b":1,"b":2}}]]}`, `{"a":"\udc00"}`, `{"a":"\ud83d"}`, `{"a":"\udc00\u0041"}`,
	"\u00a0", "\u2003\n", "\v", "\f", "\u0085", " \t\r\n", "\x00", `{"Note":"a","NOTE":"b","note":"c"}`, `{"note":"a","n\u006fte":"b"}`, `{"a":"\ufffd\ud800"}`, `{"a":"\ud800\ufffd"}`,
	"{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "\ufeff{}", `{"a":"\ufffd"}`, "{\"a\":\"\ufffd\"}", `{"a":[[[[]]]],"b":{"c":{}}}`, `{"ſcopes":[]}`, `{"":0,"":1}`,
	`{"note":"a\",\"b","fingerprint":"\\"}`, `{"a\"":"\"}","b":["\"]","\\"]}`, `{"a":["\"",{"b":1,"b":2}]}`,
	`{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"s":0,"t":0}`, `{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"s":0,"t":0,"a":0}`, `{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"s":0,"t":0,"t":0}`, `{"x":{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"s":0,"t":0,"\u0071":0}}`,
}

// reading is what a body's object holds by another way than decodeObject's: what
// encoding/json makes of it, where that has nothing to choose or to repair.
func reading(t *testing.T, body []byte) (object map[string]any, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || !utf8.Valid(body) || repaired(body) {
		return nil, errNotJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	if twice(t, json.NewDecoder(bytes.NewReader(body))) {
		return nil, errNotJSON
	}
	return object, nil
}

var jsonEscape = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|[^u])`)

// repaired reports whether encoding/json would put U+FFFD for an escape: another
// way to ask what loneSurrogate asks.
func repaired(body []byte) bool {
	if !bytes.Contains(body, []byte(`\u`)) {
		return false
	}
	var units []uint16 // of escapes side by side
	broken := func() bool {
		found := slices.Contains(utf16.Decode(units), utf8.RuneError)
		units = units[:0]
		return found
	}
	end := 0
	for _, at := range jsonEscape.FindAllIndex(body, -1) {
		unit, err := strconv.ParseUint(string(body[at[0]+2:at[1]]), 16, 16)
		if (at[0] != end || err != nil || unit == utf8.RuneError) && broken() {
			return true
		}
		if end = at[1]; err == nil && unit != utf8.RuneError {
			units = append(units, uint16(unit))
		}
	}
	return broken()
}

// twice reports whether the next value has a key twice, at any depth: another
// way to ask what duplicateKeys asks.
func twice(t *testing.T, dec *json.Decoder) (found bool) {
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch token {
	case json.Delim('{'):
		var keys []string
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			found = found || slices.Contains(keys, key.(string))
			keys = append(keys, key.(string))
			found = twice(t, dec) || found
		}
	case json.Delim('['):
		for dec.More() {
			found = twice(t, dec) || found
		}
	default:
		return false
	}
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	return found
}

// checkObject checks that a body is accepted exactly if it has one reading, and
// that this is what comes out.
func checkObject(t *testing.T, body []byte, want map[string]any, wantErr error) {
	t.Helper()
	members, err := decodeObject(body)
	if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		t.Fatalf("err = %v, want %v", err, wantErr)
	}
	if len(members) != len(want) {
		t.Fatalf("%d members, encoding/json has %d", len(members), len(want))
	}
	for _, m := range members {
		dec := json.NewDecoder(bytes.NewReader(m.value))
		dec.UseNumber()
		var got any
		if v, ok := want[m.key]; !ok || dec.Decode(&got) != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%q is %s, encoding/json has %v", m.key, m.value, v)
		}
	}
}

// expected is what an endpoint must make of an object.
type expected struct {
	object map[string]any
	known  map[string]bool
	wrong  []string // fields of another type
}

func (e *expected) know(key string) (v any, given bool) {
	if e.known == nil {
		e.known = map[string]bool{}
	}
	e.known[key] = true
	v, given = e.object[key]
	return v, given
}

// text is a string that may be absent, and null only if nullable.
func (e *expected) text(key string, nullable bool) (s string, given bool) {
	v, given := e.know(key)
	if !given || v == nil && nullable {
		return "", false
	}
	s, ok := v.(string)
	if !ok {
		e.wrong = append(e.wrong, key)
	}
	return s, true
}

// pointer is nil for an absent string.
func (e *expected) pointer(key string) *string {
	if s, given := e.text(key, false); given {
		return &s
	}
	return nil
}

// list is nil for an absent array of strings, and empty for null.
func (e *expected) list(key string) []string {
	v, given := e.know(key)
	if !given {
		return nil
	}
	out := []string{}
	values, ok := v.([]any)
	for _, v := range values {
		s, isString := v.(string)
		ok = ok && isString
		out = append(out, s)
	}
	if !ok && v != nil {
		e.wrong = append(e.wrong, key)
	}
	return out
}

// unknown are the keys that the endpoint does not know.
func (e *expected) unknown() (keys []string) {
	for key := range e.object {
		if !e.known[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// check compares an endpoint's answer with what must come: got and want count
// only if the body is right.
func (e *expected) check(t *testing.T, endpoint string, err, wantErr error, got, want any) {
	t.Helper()
	var v *ValidationError
	switch {
	case wantErr != nil:
		if !errors.Is(err, wantErr) {
			t.Errorf("%s: err = %v, want %v", endpoint, err, wantErr)
		}
	case len(e.wrong) > 0:
		if !errors.As(err, &v) {
			t.Fatalf("%s: err = %v, want one of %q", endpoint, err, e.wrong)
		}
		var fields []string
		for _, f := range v.Fields {
			if fields = append(fields, f.Field); f.Code != CodeInvalid || f.Message == "" {
				t.Errorf("%s: %+v", endpoint, f)
			}
		}
		if slices.Sort(fields); !slices.Equal(fields, slices.Sorted(slices.Values(e.wrong))) {
			t.Errorf("%s: wrong are %q, want %q", endpoint, fields, e.wrong)
		}
	case err != nil:
		t.Errorf("%s: err = %v", endpoint, err)
	case !reflect.DeepEqual(got, want):
		t.Errorf("%s: got %q, encoding/json has %q", endpoint, got, want)
	}
}

// plain is a Request without what DeepEqual cannot compare.
type plain struct {
	clientID, secret  string
	scopes            []string
	note, url, finger string
	onExisting        OnExisting
	bodyClientID      *string
}

func plainOf(req Request, bodyClientID *string) plain {
	return plain{req.ClientID, req.ClientSecret.Reveal(), req.Scopes, req.Note, req.NoteURL, req.Fingerprint, req.OnExisting, bodyClientID}
}

// Every endpoint reads what encoding/json reads, where its body has one reading,
// names every field of a wrong type, and knows only its own keys.
func FuzzDecodeBodies(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s))
	}
	m := &Manager{}
	f.Fuzz(func(t *testing.T, body []byte) {
		object, objectErr := reading(t, body)
		checkObject(t, body, object, objectErr)

		// PUT refuses keys that it does not know, and an empty body.
		e, want := expected{object: object}, plain{}
		want.bodyClientID = e.pointer("client_id")
		want.secret, _ = e.text("client_secret", true)
		want.scopes = e.list("scopes")
		want.note, _ = e.text("note", false)
		want.url, _ = e.text("note_url", false)
		want.finger, _ = e.text("fingerprint", false)
		on := e.pointer("on_existing")
		if on != nil && *on == "" && !slices.Contains(e.wrong, "on_existing") {
			e.wrong = append(e.wrong, "on_existing") // not the same as absent
		} else if on != nil {
			want.onExisting = OnExisting(*on)
		}
		req, bodyClientID, err := decodeGetOrCreate(body)
		if unknown, key := e.unknown(), (*unpermittedKeyError)(nil); objectErr == nil && len(unknown) > 0 {
			if !errors.As(err, &key) || !slices.Contains(unknown, key.key) {
				t.Errorf("PUT: err = %v, want one of the keys %q", err, unknown)
			} else if shown := quoted(key.key); utf8.RuneCountInString(shown) > 64*10+3 || strings.ContainsFunc(shown, unicode.IsControl) {
				t.Errorf("PUT: the key is shown as %s", shown)
			}
		} else {
			e.check(t, "PUT", err, objectErr, plainOf(req, bodyClientID), want)
		}
		// What passes validation as well can be kept by any store.
		if req.Owner = "user"; err == nil && m.validate(&req) == nil {
			for _, s := range append([]string{req.Note, req.NoteURL, req.Fingerprint}, req.Scopes...) {
				if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 4*255 && len(s) > MaxNoteURL {
					t.Errorf("validation lets %q pass", s)
				}
			}
		}

		// The others ignore them, and take an empty body for {}.
		if strings.Trim(string(body), " \t\r\n") == "" {
			object, objectErr = nil, nil
		}
		e, want = expected{object: object}, plain{}
		want.clientID, _ = e.text("client_id", true)
		want.secret, _ = e.text("client_secret", true)
		want.scopes = e.list("scopes")
		want.note, _ = e.text("note", false)
		want.url, _ = e.text("note_url", false)
		want.finger, _ = e.text("fingerprint", false)
		req, err = decodeCreate(body)
		e.check(t, "POST", err, objectErr, plainOf(req, nil), want)

		e = expected{object: object}
		wantUpdate := Update{
			e.list("scopes"), e.list("add_scopes"), e.list("remove_scopes"), e.pointer("note"), e.pointer("note_url"), e.pointer("fingerprint"),
		}
		update, err := decodeUpdate(body)
		e.check(t, "PATCH", err, objectErr, update, wantUpdate)

		e = expected{object: object}
		wantToken, _ := e.text("access_token", false)
		wantScopes := e.list("scopes")
		var scopes []string
		token, err := decodeToken(body, func(p *problems, m member) bool {
			if m.key == "scopes" {
				p.decodeStrings(m, &scopes)
			}
			return m.key == "scopes"
		})
		if v := (*ValidationError)(nil); objectErr == nil && len(e.wrong) == 0 && wantToken == "" {
			if !errors.As(err, &v) || len(v.Fields) != 1 || v.Fields[0] != (FieldError{Field: "access_token", Code: CodeMissingField}) {
				t.Errorf("token: err = %v, want access_token missing_field", err)
			}
		} else {
			e.check(t, "token", err, objectErr, append(scopes, token), append(wantScopes, wantToken))
		}
	})
}

func FuzzBasicAuth(f *testing.F) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, s := range []string{
		"", "Basic", "Basic ", "basic " + encode("a:b"), "BASIC " + encode("a:b\n"), "Basic " + encode("a:b:c"), "Basic " + encode(":b"), "Basic " + encode("a:"),
		"Basic " + encode("a"), "Basic " + encode("a\x00:b"), "Basic " + encode("\xff:b"), "Basic bW9uYTo", "Basic bW9uYTr/", "Basic ====", "token x", "Bearer x", "Basic\t" + encode("a:b"),
		"Basic " + encode("mona:azt_"+strings.Repeat("A", 30)+"0uCPlr"), "Basic  " + encode("a:b") + "  ", "Basic " + encode("a:b") + ",Basic " + encode("c:d"),
	} {
		f.Add(s, "null")
	}
	f.Add("Basic "+encode("a:b"), " 123456 ")
	f.Add("Basic "+encode("a:"+strings.Repeat("p", maxPassword)), "")
	f.Add("Basic "+encode("a:"+strings.Repeat("p", maxPassword+1)), "")
	f.Add("Basic "+encode("a:b"), strings.Repeat("1", 100))
	f.Fuzz(func(t *testing.T, authorization, otp string) {
		var got *Credentials
		auth := BasicAuth(func(_ context.Context, c Credentials) (User, error) {
			got = &c
			return User{ID: c.Login}, nil
		})
		r := &http.Request{Method: http.MethodPut, Header: http.Header{"Authorization": {authorization}, http.CanonicalHeaderKey(otpHeader): {otp}}}
		_, err := auth.Authenticate(r)
		if got == nil {
			if !errors.Is(err, ErrNoCredentials) && !errors.Is(err, ErrBadCredentials) && !errors.Is(err, ErrTokenNotAllowed) {
				t.Errorf("err = %v", err)
			}
			return
		}
		if got.Login == "" || len(got.Login) > maxLogin || !utf8.ValidString(got.Login) || strings.ContainsFunc(got.Login, unicode.IsControl) ||
			strings.Contains(got.Login, ":") || len(got.Password.Reveal()) > maxPassword || len(got.OTP.Reveal()) > maxOTP || got.OTP.Reveal() == "null" {
			t.Errorf("credentials %q", got.Login)
		}
		// net/http reads the same, but for a newline at the end, where it reads
		// anything at all: it wants the padding.
		if login, password, ok := r.BasicAuth(); ok && (login != got.Login || strings.TrimRight(password, "\r\n") != got.Password.Reveal()) {
			t.Errorf("got %q, net/http reads %q", got.Login, login)
		}
	})
}
