package authz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// byEncodingJSON is how every answer was written before there was a layout.
func byEncodingJSON(t *testing.T, v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func checkLayout(t *testing.T, v laidOut) {
	t.Helper()
	if got, want := string(encode(v)), byEncodingJSON(t, v); got != want {
		t.Errorf("got\n%s\nencoding/json has\n%s", got, want)
	}
}

// texts are what strings are made of: all that is escaped, and its neighbours.
var texts = []string{
	"", "a", "repo:status", "\"", "\\", "/", "<a href='x'>&amp;</a>", "\u2028", "\u2029", "\u2027", "\u202a", "\x00", "\b\f\n\r\t", "\v", "\x1f", " ", "\x7f", "\u0080",
	"\ufffd", "\xff", "\xed\xa0\x80", "\xe2\x80", "é", "💻", "e\u0301",
}

func TestLayoutIsThatOfEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() (s string) {
		for range rng.IntN(4) {
			s += texts[rng.IntN(len(texts))]
		}
		return s
	}
	for range 3000 {
		scopes := []string{}
		for range rng.IntN(3) {
			scopes = append(scopes, text())
		}
		a := wireAuthorization{
			ID: rng.Int64() - rng.Int64(), URL: text(), Scopes: scopes, Token: text(), TokenLastEight: text(), HashedToken: text(),
			App: wireApp{text(), text(), text()}, Note: text(), NoteURL: text(), UpdatedAt: text(), CreatedAt: text(), Fingerprint: text(), LastUsedAt: text(),
		}
		if rng.IntN(2) == 0 {
			a.User = &wireUser{text(), rng.Int64(), text(), text(), text()}
		}
		checkLayout(t, &a)
		page := wireAuthorizations{}
		for range rng.IntN(4) {
			page = append(page, a)
		}
		checkLayout(t, page)
		checkLayout(t, &wireIntrospection{rng.IntN(2) == 0, text(), text(), text(), text(), int64(rng.IntN(3)), int64(rng.IntN(3)), text()})
	}
}

func FuzzText(f *testing.F) {
	for _, a := range texts {
		for _, b := range texts {
			f.Add(fmt.Sprint(a, b))
		}
	}
	f.Fuzz(func(t *testing.T, s string) { checkLayout(t, wireAuthorizations{{Note: s, Scopes: []string{s}}}) })
}
