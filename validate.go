package authz

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what requests may hold. They bound rows and index entries; the
// handler bounds whole bodies before them.
const (
	MaxOwner       = 255  // bytes of User.ID
	MaxNote        = 255  // characters
	MaxNoteURL     = 2048 // bytes
	MaxFingerprint = 255  // characters
	MaxScopes      = 100  // scopes of one authorization
	MaxScope       = 100  // bytes of one scope
	MaxAppName     = 255  // characters
)

// problems gathers what is wrong with a request, so that a client hears of
// everything at once.
type problems []FieldError

func (p *problems) add(field string, code ErrorCode, message string) {
	*p = append(*p, FieldError{Field: field, Code: code, Message: message})
}

func (p *problems) invalid(field, format string, args ...any) {
	p.add(field, CodeInvalid, field+" "+fmt.Sprintf(format, args...))
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &ValidationError{Fields: p}
}

// text checks a string that people wrote: every store must be able to keep it
// and every terminal to show it.
func (p *problems) text(field, value string, maxChars int) {
	switch {
	case !utf8.ValidString(value):
		p.invalid(field, "must be valid UTF-8")
	case strings.ContainsFunc(value, unicode.IsControl):
		p.invalid(field, "must not contain control characters")
	case utf8.RuneCountInString(value) > maxChars:
		p.invalid(field, "must be at most %d characters long", maxChars)
	}
}

// httpURL checks "" or an absolute http(s) URL.
func (p *problems) httpURL(field, value string) {
	if value == "" {
		return
	}
	before := len(*p)
	if len(value) > MaxNoteURL {
		p.invalid(field, "must be at most %d bytes long", MaxNoteURL)
		return
	}
	if p.text(field, value, MaxNoteURL); len(*p) > before {
		return
	}
	u, err := url.Parse(value)
	if err == nil && u.User != nil {
		p.invalid(field, "must not hold a login or password")
		return
	}
	if err != nil || u.Host == "" || u.Hostname() == "" || strings.Contains(value, " ") ||
		(u.Scheme != "http" && u.Scheme != "https") {
		p.invalid(field, "must be an absolute http or https URL")
	}
}

// scopes checks scope-tokens, drops duplicates and what others include, and keeps
// the order. Rules that are nil allow all.
func (p *problems) scopes(field string, scopes []string, rules scopeRules) []string {
	if len(scopes) > MaxScopes {
		p.invalid(field, "must hold at most %d scopes", MaxScopes)
		return nil
	}
	out := make([]string, 0, len(scopes))
	var unknown []string
	for i, s := range scopes {
		if !validScope(s) {
			p.invalid(field, "must be scope-tokens of RFC 6749, at most %d bytes long each: number %d is none", MaxScope, i+1)
			return nil
		}
		if slices.Contains(out, s) {
			continue
		}
		out = append(out, s)
		if !rules.declares(s) {
			unknown = append(unknown, s)
		}
	}
	if unknown != nil {
		p.add(field, CodeCustom, "scopes are invalid: "+strings.Join(unknown, ","))
	}
	return rules.reduce(out)
}

// validScope reports whether s is a scope-token: 1*( %x21 / %x23-5B / %x5D-7E )
// (RFC 6749 section 3.3).
func validScope(s string) bool {
	if s == "" || len(s) > MaxScope {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (p *problems) owner(owner string) {
	if !validOwner(owner) {
		p.invalid("owner", "must be 1 to %d bytes of UTF-8 without control characters", MaxOwner)
	}
}

// noteOfPersonal checks the note that tells personal authorizations apart.
func (p *problems) noteOfPersonal(note string) {
	if strings.TrimSpace(note) == "" {
		p.add("note", CodeMissingField, "")
	}
}

func validOwner(s string) bool {
	return s != "" && len(s) <= MaxOwner && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// PersonalClientID stands for "no app" wherever a client_id is shown or asked
// for. No app can have it. Records of personal authorizations have the ClientID
// "" instead.
const PersonalClientID = "00000000000000000000"

func validClientID(s string) bool {
	return len(s) == clientIDSize && isBase62(s) && s != PersonalClientID
}
