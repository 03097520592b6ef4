package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// decodeObject returns the members of a JSON object in their order. Its errors
// are errNotJSON and errNotObject.
func decodeObject(body []byte) ([]member, error) {
	if !utf8.Valid(body) || !json.Valid(body) || loneSurrogate(body) {
		return nil, errNotJSON
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); trimmed[0] != '{' {
		return nil, errNotObject
	}
	if duplicateKeys(body) {
		return nil, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if _, err := dec.Token(); err != nil { // the {
		return nil, errNotJSON
	}
	var members []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, errNotJSON
		}
		m := member{key: key.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, errNotJSON
		}
		members = append(members, m)
	}
	return members, nil
}

// duplicateKeys reports whether any object in a valid JSON text, at any depth,
// has a key twice.
func duplicateKeys(body []byte) bool {
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // the next token is a key
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var stack []level
	for {
		token, err := dec.Token()
		if err != nil {
			return false // the end: the text is valid
		}
		top := len(stack) - 1
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].keys != nil {
			if stack[top].key {
				key := token.(string)
				if stack[top].keys[key] {
					return true
				}
				stack[top].keys[key] = true
			}
			stack[top].key = !stack[top].key
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}, key: true})
		case json.Delim('['):
			stack = append(stack, level{})
		}
	}
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

// field takes the value of a key that an endpoint knows.
type field func(p *problems, m member)

func stringField(into *string) field {
	return func(p *problems, m member) { p.decodeString(m, into) }
}

// nullableField takes null for an absent key.
func nullableField(into *string) field {
	return func(p *problems, m member) {
		if string(m.value) != "null" {
			p.decodeString(m, into)
		}
	}
}

// givenField tells an absent key, nil, from an empty string.
func givenField(into **string) field {
	return func(p *problems, m member) {
		*into = new(string)
		p.decodeString(m, *into)
	}
}

func stringsField(into *[]string) field {
	return func(p *problems, m member) { p.decodeStrings(m, into) }
}

// decodeFields hands the values of a body's object to the fields that know them.
// A key that none knows is an *unpermittedKeyError.
func decodeFields(body []byte, fields map[string]field) error {
	members, err := decodeObject(body)
	if err != nil {
		return err
	}
	var p problems
	for _, m := range members {
		take, known := fields[m.key]
		if !known {
			return &unpermittedKeyError{m.key}
		}
		take(&p, m)
	}
	return p.err()
}

// decodeKnown is decodeFields for endpoints that ignore keys which they do not
// know, and take an empty body for an empty object: clients send one to try a
// one-time password.
func decodeKnown(body []byte, fields map[string]field) error {
	if len(bytes.Trim(body, " \t\r\n")) == 0 { // what JSON calls white space, and no more
		return nil
	}
	members, err := decodeObject(body)
	if err != nil {
		return err
	}
	var p problems
	for _, m := range members {
		if take, known := fields[m.key]; known {
			take(&p, m)
		}
	}
	return p.err()
}

// decodeGetOrCreate reads the body of PUT /authorizations/clients/…. It returns
// the body's client_id beside the request, since the path has one as well.
func decodeGetOrCreate(body []byte) (req Request, clientID *string, err error) {
	var secret string
	var onExisting *string
	err = decodeFields(body, map[string]field{
		"client_id":     givenField(&clientID),
		"client_secret": nullableField(&secret),
		"scopes":        stringsField(&req.Scopes),
		"note":          stringField(&req.Note),
		"note_url":      stringField(&req.NoteURL),
		"fingerprint":   stringField(&req.Fingerprint),
		"on_existing": func(p *problems, m member) {
			onExisting = new(string)
			if p.decodeString(m, onExisting) && *onExisting == "" {
				p.onExisting() // absent is the default, "" is not
			}
		},
	})
	if req.ClientSecret = NewSecret(secret); onExisting != nil {
		req.OnExisting = OnExisting(*onExisting)
	}
	return req, clientID, err
}

// decodeCreate reads the body of POST /authorizations.
func decodeCreate(body []byte) (req Request, err error) {
	var secret string
	err = decodeKnown(body, map[string]field{
		"client_id":     nullableField(&req.ClientID),
		"client_secret": nullableField(&secret),
		"scopes":        stringsField(&req.Scopes),
		"note":          stringField(&req.Note),
		"note_url":      stringField(&req.NoteURL),
		"fingerprint":   stringField(&req.Fingerprint),
	})
	req.ClientSecret = NewSecret(secret)
	return req, err
}

// decodeUpdate reads the body of PATCH /authorizations/{id}.
func decodeUpdate(body []byte) (u Update, err error) {
	err = decodeKnown(body, map[string]field{
		"scopes":        stringsField(&u.Scopes),
		"add_scopes":    stringsField(&u.AddScopes),
		"remove_scopes": stringsField(&u.RemoveScopes),
		"note":          givenField(&u.Note),
		"note_url":      givenField(&u.NoteURL),
		"fingerprint":   givenField(&u.Fingerprint),
	})
	return u, err
}

// decodeToken reads the access_token that apps send, and the other fields of
// the endpoint.
func decodeToken(body []byte, others map[string]field) (token string, err error) {
	given := (*string)(nil)
	fields := map[string]field{"access_token": givenField(&given)}
	maps.Copy(fields, others)
	if err := decodeKnown(body, fields); err != nil {
		return "", err
	}
	if given == nil || *given == "" {
		var p problems
		p.add("access_token", CodeMissingField, "")
		return "", p.err()
	}
	return *given, nil
}

func (p *problems) decodeString(m member, into *string) (ok bool) {
	if m.value[0] != '"' || json.Unmarshal(m.value, into) != nil {
		p.invalid(m.key, "must be a string, not %s", jsonType(m.value))
		return false
	}
	return true
}

// decodeStrings takes null for an empty array.
func (p *problems) decodeStrings(m member, into *[]string) {
	if string(m.value) == "null" {
		*into = []string{}
		return
	}
	var values []json.RawMessage
	if json.Unmarshal(m.value, &values) != nil {
		p.invalid(m.key, "must be an array of strings, not %s", jsonType(m.value))
		return
	}
	*into = make([]string, len(values))
	for i, v := range values {
		if v[0] != '"' || json.Unmarshal(v, &(*into)[i]) != nil {
			p.invalid(m.key, "must be an array of strings, but number %d is %s", i+1, jsonType(v))
			return
		}
	}
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
