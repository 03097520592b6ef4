package authz

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
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
	"{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "\ufeff{}", `{"a":"\ufffd"}`, "{\"a\":\"\ufffd\"}", `{"a":[[[[]]]],"b":{"c":{}}}`, `{"ſcopes":[]}`, `{"":0,"":1}`,
}

// Whatever is accepted means the same to encoding/json, and has unique keys.
func FuzzDecodeObject(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		members, err := decodeObject(body)
		if err != nil {
			if !errors.Is(err, errNotJSON) && !errors.Is(err, errNotObject) {
				t.Errorf("err = %v", err)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(body, &want); err != nil || want == nil {
			t.Fatalf("accepted, but encoding/json says: %v", err)
		}
		if len(members) != len(want) {
			t.Fatalf("%d members, encoding/json has %d", len(members), len(want))
		}
		for _, m := range members {
			if raw, ok := want[m.key]; !ok || !bytes.Equal(raw, m.value) {
				t.Errorf("%q is %s, encoding/json has %s", m.key, m.value, raw)
			}
			// No character was replaced, but where the text itself holds U+FFFD.
			var s string
			if m.value[0] == '"' && json.Unmarshal(m.value, &s) == nil && strings.ContainsRune(s, utf8.RuneError) &&
				!bytes.Contains(m.value, []byte("\ufffd")) && !bytes.Contains(bytes.ToLower(m.value), []byte(`\ufffd`)) {
				t.Errorf("%q: a character was replaced in %s", m.key, m.value)
			}
		}
		if twice(t, json.NewDecoder(bytes.NewReader(body))) {
			t.Error("accepted with a duplicate key")
		}
	})
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

// Whatever is accepted is what encoding/json reads, and valid UTF-8.
func FuzzDecodeRequest(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s))
	}
	m := &Manager{}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, clientID, err := decodeGetOrCreate(body)
		var (
			v   *ValidationError
			key *unpermittedKeyError
		)
		if err != nil {
			if !errors.Is(err, errNotJSON) && !errors.Is(err, errNotObject) && !errors.As(err, &v) && !errors.As(err, &key) {
				t.Errorf("err = %v", err)
			}
			if key != nil && (len([]rune(quoted(key.key))) > 64*10+3 || strings.ContainsFunc(quoted(key.key), unicode.IsControl)) {
				t.Errorf("the key is shown as %s", quoted(key.key))
			}
			return
		}
		var want struct {
			ClientID     *string `json:"client_id"`
			ClientSecret string  `json:"client_secret"`
			Scopes       []string
			Note         string
			NoteURL      string `json:"note_url"`
			Fingerprint  string
			OnExisting   OnExisting `json:"on_existing"`
		}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("accepted, but encoding/json says: %v", err)
		}
		if req.ClientSecret.Reveal() != want.ClientSecret || !slices.Equal(req.Scopes, want.Scopes) || req.Note != want.Note || req.NoteURL != want.NoteURL ||
			req.Fingerprint != want.Fingerprint || req.OnExisting != want.OnExisting || !reflect.DeepEqual(clientID, want.ClientID) {
			t.Errorf("got %+v %v, encoding/json has %+v", req, clientID, want)
		}
		// What passes validation as well can be kept by any store.
		req.Owner = "user"
		if m.validate(&req) != nil {
			return
		}
		for _, s := range append([]string{req.Note, req.NoteURL, req.Fingerprint}, req.Scopes...) {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 4*255 && len(s) > MaxNoteURL {
				t.Errorf("validation lets %q pass", s)
			}
		}
	})
}

func FuzzScopes(f *testing.F) {
	for _, s := range []string{"", "a", "a b", "a,a", "!#[]~", `"`, `\`, "\x7f", "é", "user:email\x1frepo", strings.Repeat("s\x1f", 120), strings.Repeat("s", 101)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		in := strings.Split(joined, "\x1f")
		var p problems
		out := p.scopes("scopes", slices.Clone(in), nil)
		if len(p) > 0 {
			if out != nil || len(p) != 1 || p[0].Field != "scopes" || p[0].Code != CodeInvalid {
				t.Errorf("%q: %q with %v", in, out, p)
			}
			return
		}
		if len(out) > MaxScopes || len(out) > len(in) {
			t.Errorf("%q: %d scopes", in, len(out))
		}
		rest := in
		for i, s := range out { // the order is kept, nothing comes twice
			if slices.Contains(out[:i], s) {
				t.Errorf("%q twice in %q", s, out)
			}
			at := slices.Index(rest, s)
			if at < 0 {
				t.Fatalf("%q: the order of %q is another", in, out)
			}
			rest = rest[at+1:]
			if s == "" || len(s) > MaxScope || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
				t.Errorf("%q is no scope-token", s)
			}
		}
		for _, s := range in {
			if !slices.Contains(out, s) {
				t.Errorf("%q: %q is lost", in, s)
			}
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
