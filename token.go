package authz

import (
	"crypto/rand"
	"hash/crc32"
	"strings"
)

// A token is a prefix, "_", 30 random base62 characters (178 bits) and their
// CRC-32 (IEEE) as 6 base62 characters, most significant first. The checksum
// lets scanners and Verify tell a token from other strings without a database.
const (
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokenRandom  = 30
	tokenSum     = 6
	maxPrefix    = 16
	clientIDSize = 20
	secretSize   = 40
)

// newToken returns a token with this prefix. crypto/rand never fails.
func newToken(prefix string) Secret {
	var text [maxPrefix + 1 + tokenRandom + tokenSum]byte
	b := append(append(text[:0], prefix...), '_')
	b = appendBase62(b, tokenRandom)
	sum := checksum(b[len(b)-tokenRandom:])
	return NewSecret(string(append(b, sum[:]...)))
}

// wellFormed reports whether s has the form of a token, under any prefix.
func wellFormed(s string) bool {
	i := len(s) - (tokenRandom + tokenSum)
	if i < 2 || i > maxPrefix+1 || s[i-1] != '_' || !validPrefix(s[:i-1]) {
		return false
	}
	var random [tokenRandom]byte
	copy(random[:], s[i:])
	sum := checksum(random[:])
	return string(sum[:]) == s[i+tokenRandom:] && isBase62(s[i:i+tokenRandom])
}

// wellFormed reports whether s has the form of this Manager's tokens.
func (m *Manager) wellFormed(s string) bool {
	n := len(m.cfg.TokenPrefix)
	return wellFormed(s) && len(s) == n+1+tokenRandom+tokenSum && s[:n] == m.cfg.TokenPrefix
}

func validPrefix(p string) bool {
	return p != "" && len(p) <= maxPrefix && strings.IndexByte(base62[10:], p[0]) >= 0 &&
		isBase62(strings.ReplaceAll(p, "_", ""))
}

func isBase62(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return false
		}
	}
	return true
}

func checksum(random []byte) (out [tokenSum]byte) {
	sum := crc32.ChecksumIEEE(random)
	for i := tokenSum - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return out
}

// randomBase62 returns n characters, each drawn evenly from the alphabet.
func randomBase62(n int) string { return string(appendBase62(nil, n)) }

// appendBase62 appends n such characters.
func appendBase62(out []byte, n int) []byte {
	n += len(out)
	var buf [64]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:])
		for _, b := range buf {
			// 248 is the greatest multiple of 62 in a byte: more would favour
			// the first characters.
			if b < 248 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return out
}

func lastEight(token string) string { return token[max(0, len(token)-8):] }
