package authz

import (
	"strings"
	"testing"
)

func TestChecksum(t *testing.T) {
	for random, want := range map[string]string{
		strings.Repeat("A", 30):          "0uCPlr",
		strings.Repeat("0", 30):          "2C8GjS",
		"abcdefghijklmnopqrstuvwxyz0123": "2LolCm",
	} {
		if got := checksum(random); got != want {
			t.Errorf("checksum(%s) = %s, want %s", random, got, want)
		}
		if !wellFormed("azt_" + random + want) {
			t.Errorf("azt_%s%s is not well-formed", random, want)
		}
	}
}

// Every character is as likely as any other, and no token comes twice.
func TestTokensAreUniform(t *testing.T) {
	const n = 20_000
	counts := map[byte]int{}
	seen := make(map[string]bool, n)
	for range n {
		token := newToken("azt").Reveal()
		if !wellFormed(token) || seen[token] {
			t.Fatal("a token is malformed, or came twice")
		}
		seen[token] = true
		for _, c := range []byte(token[4 : 4+tokenRandom]) {
			counts[c]++
		}
	}
	const want = float64(n*tokenRandom) / 62
	chi2 := 0.0
	for _, c := range []byte(base62) {
		d := float64(counts[c]) - want
		chi2 += d * d / want
	}
	// 61 degrees of freedom: more than 150 comes once in 10⁸ runs. Taking bytes
	// modulo 62 gives over 10,000.
	if len(counts) != 62 || chi2 > 150 {
		t.Errorf("%d characters, chi² = %.0f, want 62 and about 61", len(counts), chi2)
	}
}

func TestLastEight(t *testing.T) {
	for token, want := range map[string]string{"abcdefgh12345678": "12345678", "12345678": "12345678", "123": "123", "": ""} {
		if got := lastEight(token); got != want {
			t.Errorf("lastEight(%q) = %q, want %q", token, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	good := "azt_" + strings.Repeat("A", 30) + "0uCPlr"
	for _, s := range []string{"", "_", good, good[1:], good + "0", good[:len(good)-1], "a_b_" + good[4:], "_" + good[4:], "1" + good[3:], strings.ToLower(good), "é" + good, strings.Repeat("_", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if wellFormed(s) {
			i := strings.LastIndexByte(s, '_')
			if prefix, rest := s[:i], s[i+1:]; !validPrefix(prefix) || len(rest) != 36 || !isBase62(rest[30:]) || checksum(rest[:30]) != rest[30:] {
				t.Errorf("%q is taken for a token", s)
			}
			for i := range len(s) { // no single character can be changed behind the prefix
				b := []byte(s)
				b[i] ^= 1
				if i > strings.LastIndexByte(s, '_') && wellFormed(string(b)) {
					t.Errorf("%q and %q are both well-formed", s, b)
				}
			}
		}
		// Whatever the 30 characters are, the checksum makes them whole.
		if len(s) == tokenRandom && isBase62(s) && !wellFormed("azt_"+s+checksum(s)) {
			t.Errorf("%q with its checksum is not well-formed", s)
		}
	})
}
