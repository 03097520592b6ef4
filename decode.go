package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// encoding/json alone gives hostile bodies two readings: of two equal keys the
// last one counts, keys match fields in any case, invalid UTF-8 and lone
// surrogates become U+FFFD, so that two fingerprints are one, and what follows
// the object is ignored. A body is therefore taken apart here, and what is not
// exactly one JSON object with unique keys is refused.

var (
	errNotJSON   = errors.New("problems parsing JSON")
	errNotObject = errors.New("body is no JSON object")
)

// member is one key of a JSON object with its value, not decoded yet.
type member struct {
	key   string
	value json.RawMessage
}

// decodeObject returns the members of a JSON object in their order; they point
// into the body. Its errors are errNotJSON and errNotObject.
func decodeObject(body []byte) ([]member, error) {
	if !utf8.Valid(body) || !json.Valid(body) || loneSurrogate(body) {
		return nil, errNotJSON
	}
	w := jsonText{text: body}
	if w.next() != '{' {
		return nil, errNotObject
	}
	members := w.object(make([]member, 0, 8)) // most have no more
	if w.twice {
		return nil, errNotJSON
	}
	return members, nil
}

// jsonText is a valid JSON text on the way through it. twice says that an object had
// a key twice, at any depth.
type jsonText struct {
	text  []byte
	at    int
	twice bool
}

// next passes over white space, and returns what stands behind it.
func (w *jsonText) next() byte {
	for ; ; w.at++ {
		switch c := w.text[w.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
}

// more passes over a comma, or over the end of an object or array.
func (w *jsonText) more() bool {
	comma := w.next() == ','
	w.at++
	return comma
}

// value passes over one value and returns it.
func (w *jsonText) value() json.RawMessage {
	c := w.next()
	begin := w.at
	switch c {
	case '{':
		w.object(nil)
	case '[':
		w.array(func(json.RawMessage) {})
	case '"':
		for w.at++; w.text[w.at] != '"'; w.at++ {
			if w.text[w.at] == '\\' {
				w.at++ // what is escaped
			}
		}
		w.at++
	default: // a number or a name
		for w.at < len(w.text) && bytes.IndexByte([]byte(" \t\r\n,]}"), w.text[w.at]) < 0 {
			w.at++
		}
	}
	return w.text[begin:w.at]
}

// array hands the values of an array to take.
func (w *jsonText) array(take func(json.RawMessage)) {
	w.at++
	if w.next() == ']' {
		w.at++
		return
	}
	for {
		if take(w.value()); !w.more() {
			return
		}
	}
}

// fewKeys is up to where it is faster to look at each key than to ask a map.
const fewKeys = 16

// object appends the members of an object.
func (w *jsonText) object(members []member) []member {
	w.at++
	if w.next() == '}' {
		w.at++
		return members
	}
	var many map[string]bool
	for {
		m := member{key: unquote(w.value())}
		w.next() // the colon
		w.at++
		m.value = w.value()
		switch n := len(members); {
		case n < fewKeys:
			w.twice = w.twice || slices.ContainsFunc(members, func(other member) bool { return other.key == m.key })
		case many == nil:
			many = make(map[string]bool)
			for _, other := range members {
				many[other.key] = true
			}
			fallthrough
		default:
			w.twice = w.twice || many[m.key]
			many[m.key] = true
		}
		if members = append(members, m); !w.more() {
			return members
		}
	}
}

// unquote returns the text of a valid JSON string.
func unquote(value json.RawMessage) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		panic(err) // never, for a valid one
	}
	return text
}

// loneSurrogate reports whether a valid JSON text holds half of a surrogate
// pair, which encoding/json would replace by U+FFFD.
func loneSurrogate(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // what is escaped
		if body[i] != 'u' {
			continue
		}
		switch unit := hex4(body[i+1:]); {
		case 0xD800 <= unit && unit < 0xDC00:
			rest := body[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if low := hex4(rest[2:]); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 10
		case 0xDC00 <= unit && unit <= 0xDFFF:
			return true
		default:
			i += 4
		}
	}
	return false
}

// hex4 reads the four hexadecimal digits that a valid JSON text has after \u.
func hex4(digits []byte) (unit int) {
	for _, c := range digits[:4] {
		unit <<= 4
		switch {
		case c <= '9':
			unit |= int(c - '0')
		default:
			unit |= int(c|0x20-'a') + 10
		}
	}
	return unit
}

// unpermittedKeyError names a key that an endpoint does not know.
type unpermittedKeyError struct{ key string }

func (e *unpermittedKeyError) Error() string { return "key is not permitted" }

// fields takes the value of a key that an endpoint knows.
type fields func(p *problems, m member) (known bool)

// decodeFields hands the values of a body's object to who knows them. A key that
// is not known is an *unpermittedKeyError.
func decodeFields(body []byte, take fields) error {
	members, err := decodeObject(body)
	if err != nil {
		return err
	}
	var p problems
	for _, m := range members {
		if !take(&p, m) {
			return &unpermittedKeyError{m.key}
		}
	}
	return p.err()
}

// decodeKnown is decodeFields for endpoints that ignore keys which they do not
// know, and take an empty body for an empty object: clients send one to try a
// one-time password.
func decodeKnown(body []byte, take fields) error {
	if len(bytes.Trim(body, " \t\r\n")) == 0 { // what JSON calls white space, and no more
		return nil
	}
	members, err := decodeObject(body)
	if err != nil {
		return err
	}
	var p problems
	for _, m := range members {
		take(&p, m)
	}
	return p.err()
}

// decodeGetOrCreate reads the body of PUT /authorizations/clients/…. It returns
// the body's client_id beside the request, since the path has one as well.
func decodeGetOrCreate(body []byte) (req Request, clientID *string, err error) {
	var secret string
	err = decodeFields(body, func(p *problems, m member) bool {
		switch m.key {
		case "client_id":
			p.decodeGiven(m, &clientID)
		case "client_secret":
			p.decodeNullable(m, &secret)
		case "on_existing":
			var on string
			if p.decodeString(m, &on) && on == "" {
				p.onExisting() // absent is the default, "" is not
			}
			req.OnExisting = OnExisting(on)
		default:
			return p.decodeCommon(m, &req.Scopes, &req.Note, &req.NoteURL, &req.Fingerprint)
		}
		return true
	})
	req.ClientSecret = NewSecret(secret)
	return req, clientID, err
}

// decodeCreate reads the body of POST /authorizations.
func decodeCreate(body []byte) (req Request, err error) {
	var secret string
	err = decodeKnown(body, func(p *problems, m member) bool {
		switch m.key {
		case "client_id":
			p.decodeNullable(m, &req.ClientID)
		case "client_secret":
			p.decodeNullable(m, &secret)
		default:
			return p.decodeCommon(m, &req.Scopes, &req.Note, &req.NoteURL, &req.Fingerprint)
		}
		return true
	})
	req.ClientSecret = NewSecret(secret)
	return req, err
}

// decodeCommon takes what all endpoints know that make an authorization.
func (p *problems) decodeCommon(m member, scopes *[]string, note, noteURL, fingerprint *string) (known bool) {
	switch m.key {
	case "scopes":
		p.decodeStrings(m, scopes)
	case "note":
		p.decodeString(m, note)
	case "note_url":
		p.decodeString(m, noteURL)
	case "fingerprint":
		p.decodeString(m, fingerprint)
	default:
		return false
	}
	return true
}

// decodeUpdate reads the body of PATCH /authorizations/{id}.
func decodeUpdate(body []byte) (u Update, err error) {
	err = decodeKnown(body, func(p *problems, m member) bool {
		switch m.key {
		case "scopes":
			p.decodeStrings(m, &u.Scopes)
		case "add_scopes":
			p.decodeStrings(m, &u.AddScopes)
		case "remove_scopes":
			p.decodeStrings(m, &u.RemoveScopes)
		case "note":
			p.decodeGiven(m, &u.Note)
		case "note_url":
			p.decodeGiven(m, &u.NoteURL)
		case "fingerprint":
			p.decodeGiven(m, &u.Fingerprint)
		default:
			return false
		}
		return true
	})
	return u, err
}

// decodeToken reads the access_token that apps send, and the other fields of
// the endpoint, if it has some.
func decodeToken(body []byte, others fields) (token string, err error) {
	err = decodeKnown(body, func(p *problems, m member) bool {
		if m.key == "access_token" {
			p.decodeString(m, &token)
			return true
		}
		return others != nil && others(p, m)
	})
	if err != nil {
		return "", err
	}
	if token == "" {
		var p problems
		p.add("access_token", CodeMissingField, "")
		return "", p.err()
	}
	return token, nil
}

// decodeNullable takes null for an absent key.
func (p *problems) decodeNullable(m member, into *string) {
	if string(m.value) != "null" {
		p.decodeString(m, into)
	}
}

// decodeGiven tells an absent key, nil, from an empty string.
func (p *problems) decodeGiven(m member, into **string) {
	*into = new(string)
	p.decodeString(m, *into)
}

func (p *problems) decodeString(m member, into *string) (ok bool) {
	if m.value[0] != '"' {
		p.invalid(m.key, "must be a string, not %s", jsonType(m.value))
		return false
	}
	*into = unquote(m.value)
	return true
}

// decodeStrings takes null for an empty array.
func (p *problems) decodeStrings(m member, into *[]string) {
	if string(m.value) == "null" {
		*into = []string{}
		return
	}
	if m.value[0] != '[' {
		p.invalid(m.key, "must be an array of strings, not %s", jsonType(m.value))
		return
	}
	texts, bad := make([]string, 0, 8), false
	w := jsonText{text: m.value}
	w.array(func(v json.RawMessage) {
		switch {
		case bad:
		case v[0] != '"':
			p.invalid(m.key, "must be an array of strings, but number %d is %s", len(texts)+1, jsonType(v))
			bad = true
		default:
			texts = append(texts, unquote(v))
		}
	})
	*into = texts
}

// jsonType names the type of a JSON value.
func jsonType(value json.RawMessage) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// quoted shows a key of a hostile body: short, and without control characters.
func quoted(key string) string {
	if runes := []rune(key); len(runes) > 64 {
		key = string(runes[:64]) + "…"
	}
	return fmt.Sprintf("%q", key)
}
