package authz

import (
	"context"
	"errors"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func TestChecksum(t *testing.T) {
	for random, want := range map[string]string{
		strings.Repeat("A", 30):          "0uCPlr",
		strings.Repeat("0", 30):          "2C8GjS",
		"abcdefghijklmnopqrstuvwxyz0123": "2LolCm",
	} {
		if got := checksum([]byte(random)); string(got[:]) != want {
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

var (
	tokenForm  = regexp.MustCompile(`^([a-zA-Z][0-9A-Za-z_]{0,15})_([0-9A-Za-z]{30})([0-9A-Za-z]{6})$`)
	bigLetters = strings.NewReplacer(letterPairs()...)
)

// letterPairs turn our base62 into math/big's, which has the small letters first.
func letterPairs() (pairs []string) {
	for c := 'a'; c <= 'z'; c++ {
		small, big := string(c), string(c-'a'+'A')
		pairs = append(pairs, small, big, big, small)
	}
	return pairs
}

// formOf reads a token by another way than wellFormed does.
func formOf(s string) (prefix string, ok bool) {
	m := tokenForm.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	sum, ok := new(big.Int).SetString(bigLetters.Replace(m[3]), 62)
	return m[1], ok && sum.IsUint64() && sum.Uint64() == uint64(crc32.ChecksumIEEE([]byte(m[2])))
}

// countedLookups counts the tokens that a store is asked for.
type countedLookups struct {
	store.Store
	n int
}

func (s *countedLookups) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	s.n++
	return s.Store.Lookup(ctx, hash)
}

// A string is a token exactly if it has the form and the checksum; the store is
// asked for tokens alone; and none verifies but those that were issued.
func FuzzToken(f *testing.F) {
	good := "azt_" + strings.Repeat("A", 30) + "0uCPlr"
	for _, s := range []string{
		"", "_", good, good[1:], good + "0", good[:len(good)-1], "a_b_" + good[4:], "_" + good[4:], "1" + good[3:], strings.ToLower(good), "é" + good, strings.Repeat("_", 40),
		"azt_" + strings.Repeat("A", 30) + "000000", "a_" + good[4:], strings.Repeat("p", 16) + good[3:], strings.Repeat("p", 17) + good[3:], "azt__" + good[4:], good + "\n", " " + good, "AZT" + good[3:],
		strings.Repeat("!", 30), strings.Repeat("_", 30), "abc\x00" + strings.Repeat("A", 26), "é" + strings.Repeat("A", 28), strings.Repeat("0", 30), "{token}", "{token}0", "x{token}", "{token} ", "{token}\n", "a_{token}",
	} {
		f.Add(s, uint8(0), uint8(0))
	}
	for at := range len(good) { // each of its characters another one
		f.Add("{token}", uint8(at), uint8(1))
	}
	lookups := &countedLookups{Store: memory.New()}
	m, err := New(lookups, Config{})
	if err != nil {
		f.Fatal(err)
	}
	made, err := m.Create(context.Background(), Request{Owner: "user", Note: "note"})
	if err != nil {
		f.Fatal(err)
	}
	issued := made.Token.Reveal()
	check := func(t *testing.T, s string) {
		prefix, ok := formOf(s)
		if wellFormed(s) != ok {
			t.Errorf("%q: well-formed is %t, want %t", s, !ok, ok)
		}
		before := lookups.n
		rec, err := m.Verify(context.Background(), s)
		switch {
		case s == issued && (err != nil || rec.ID != made.Authorization.ID):
			t.Errorf("the token that was issued: %v, %v", rec, err)
		case s != issued && !errors.Is(err, ErrInvalidToken):
			t.Errorf("%q verifies: %v, %v", s, rec, err)
		}
		if asked := lookups.n > before; asked != (ok && prefix == "azt") {
			t.Errorf("%q: the store was asked: %t", s, asked)
		}
	}
	f.Fuzz(func(t *testing.T, s string, at, bits uint8) {
		s = strings.ReplaceAll(s, "{token}", issued)
		check(t, s)
		if bits != 0 && s != "" { // one character another one
			b := []byte(s)
			b[int(at)%len(b)] ^= bits
			check(t, string(b))
			if s != string(b) && wellFormed(s) && wellFormed(string(b)) && int(at)%len(b) >= len(s)-tokenRandom-tokenSum {
				t.Errorf("%q and %q are both well-formed", s, b)
			}
		}
		// Whatever the 30 characters are, the checksum makes them whole, and no
		// others: a checksum does not make a token of what is none.
		if len(s) == tokenRandom {
			sum := checksum([]byte(s))
			check(t, "azt_"+s+string(sum[:]))
		}
	})
}
