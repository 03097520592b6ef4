package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/seed-926035fd/authz"
)

const (
	period    = 30 // seconds in a time step
	skew      = 1  // steps before and after the current one that are accepted
	codeSize  = 6  // digits
	seedSize  = 20 // bytes of a new seed (RFC 4226, section 4, R6)
	minSeed   = 10 // bytes of an imported seed: 16 characters of base32 were common
	maxSeed   = 64
	keySize   = 32
	keyIDSize = 4

	recoveryCodes = 10
	recoveryBytes = 20 // 160 bits: SHA-256 alone is enough to store them
	recoverySize  = recoveryBytes * 8 / 5
)

var (
	// ErrNoKey says that Config.Key is missing, so that no seed can be sealed.
	ErrNoKey = errors.New("account: one-time passwords need Config.Key")

	// ErrNoOTP says that the user has no two-factor authentication or, in
	// ConfirmOTP, has not begun to enrol.
	ErrNoOTP = errors.New("account: the user has no one-time passwords")

	// ErrBadCode says that the code given to ConfirmOTP is wrong.
	ErrBadCode = errors.New("account: wrong one-time password")
)

// Enrolment is what a user's authenticator app needs to know.
type Enrolment struct {
	// Secret is the seed in base32, to be typed in.
	Secret authz.Secret
	// URI is the same as an otpauth URI, to be shown as a QR code.
	URI authz.Secret
}

// EnrolOTP begins two-factor authentication with a new seed. Nothing changes
// for the user's logins until ConfirmOTP; until then another EnrolOTP takes the
// place of this one. It returns [ErrNoKey] without Config.Key, and an error that
// wraps store.ErrNotFound if there is no such user.
func (d *Directory) EnrolOTP(ctx context.Context, id int64) (Enrolment, error) {
	rec, err := d.b.byID(ctx, id)
	if err != nil {
		return Enrolment{}, wrap("enrol", err)
	}
	seed := randomBytes(seedSize)
	sealed, err := d.keys.seal(id, seed)
	if err != nil {
		return Enrolment{}, err
	}
	if err := d.b.setPending(ctx, id, sealed, d.now()); err != nil {
		return Enrolment{}, wrap("enrol", err)
	}
	secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)
	return Enrolment{
		Secret: authz.NewSecret(secret),
		URI:    authz.NewSecret(otpauth(d.cfg.Issuer, rec.login, secret)),
	}, nil
}

// otpauth writes the URI that authenticator apps read. The library's own leaves
// "&" and "+" of an issuer as they are.
func otpauth(issuer, login, secret string) string {
	v := url.Values{
		"secret":    {secret},
		"issuer":    {issuer},
		"algorithm": {"SHA1"},
		"digits":    {strconv.Itoa(codeSize)},
		"period":    {strconv.Itoa(period)},
	}
	u := url.URL{
		Scheme:   "otpauth",
		Host:     "totp",
		Path:     "/" + issuer + ":" + login,
		RawQuery: strings.ReplaceAll(v.Encode(), "+", "%20"), // apps show the plus
	}
	return u.String()
}

// ConfirmOTP ends what EnrolOTP began: from now on the user's logins need a
// code of the new seed. code shows that the app has it, and is used up. The
// recovery codes are new, those from before are void, and nobody can show them
// again. It returns [ErrBadCode], [ErrNoOTP] if no enrolment waits, and an error
// that wraps store.ErrNotFound if there is no such user.
func (d *Directory) ConfirmOTP(ctx context.Context, id int64, code authz.Secret) (recovery []authz.Secret, err error) {
	rec, err := d.b.byID(ctx, id)
	if err != nil {
		return nil, wrap("confirm", err)
	}
	if rec.pending == "" {
		return nil, ErrNoOTP
	}
	seed, _, err := d.keys.open(id, rec.pending)
	if err != nil {
		return nil, wrap("confirm", err)
	}
	step, ok := matchStep(seed, code.Reveal(), d.now())
	if !ok {
		return nil, ErrBadCode
	}
	recovery, hashes := newRecoveryCodes(id)
	done, err := d.b.confirm(ctx, confirmation{
		id: id, pending: rec.pending, step: step, request: newRequest(), recovery: hashes, now: d.now(),
	})
	if err != nil {
		return nil, wrap("confirm", err)
	}
	if !done { // another ConfirmOTP or EnrolOTP was faster
		return nil, ErrNoOTP
	}
	return recovery, nil
}

// ImportOTP gives the user two-factor authentication with a seed that an app
// has already, such as one from another system: base32, 10 to 64 bytes, with
// or without padding and spaces, in any case. It takes the place of a seed that
// is there, and uses up no code; recovery codes stay as they are. If the user
// has this seed already it changes nothing. It returns an *[InvalidError] for a
// seed that cannot be read, [ErrNoKey] without Config.Key, and an error that
// wraps store.ErrNotFound if there is no such user.
func (d *Directory) ImportOTP(ctx context.Context, id int64, seed authz.Secret) error {
	text := strings.ToUpper(strings.TrimRight(strings.ReplaceAll(seed.Reveal(), " ", ""), "="))
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(raw) < minSeed || len(raw) > maxSeed {
		return &InvalidError{"seed", fmt.Sprintf("must be %d to %d bytes in base32", minSeed, maxSeed)}
	}
	sealed, err := d.keys.seal(id, raw)
	if err != nil {
		return err
	}
	rec, err := d.b.byID(ctx, id)
	if err != nil {
		return wrap("import a seed", err)
	}
	if rec.seed != "" {
		if have, _, err := d.keys.open(id, rec.seed); err == nil && subtle.ConstantTimeCompare(have, raw) == 1 {
			return nil
		}
	}
	return wrap("import a seed", d.b.setSeed(ctx, id, sealed, d.now()))
}

// RemoveOTP ends two-factor authentication: the seed and all recovery codes are
// gone, and so is an enrolment that waits. It does nothing if there is none, and
// returns an error that wraps store.ErrNotFound if there is no such user.
func (d *Directory) RemoveOTP(ctx context.Context, id int64) error {
	return wrap("remove one-time passwords", d.b.removeOTP(ctx, id, d.now()))
}

// NewRecoveryCodes replaces all recovery codes of the user, used or not, by ten
// new ones, and nobody can show them again. It returns [ErrNoOTP] for a user
// without two-factor authentication, and an error that wraps store.ErrNotFound
// if there is no such user.
func (d *Directory) NewRecoveryCodes(ctx context.Context, id int64) ([]authz.Secret, error) {
	rec, err := d.b.byID(ctx, id)
	if err != nil {
		return nil, wrap("new recovery codes", err)
	}
	if rec.seed == "" {
		return nil, ErrNoOTP
	}
	codes, hashes := newRecoveryCodes(id)
	if err := d.b.setRecovery(ctx, id, hashes, d.now()); err != nil {
		return nil, wrap("new recovery codes", err)
	}
	return codes, nil
}

// Reseal seals all seeds that were sealed under one of Config.OldKeys again
// under Config.Key, and returns how many there were. When it has run, in a
// process that has both, and no process writes under the old key any more, the
// old key can be thrown away.
func (d *Directory) Reseal(ctx context.Context) (int, error) {
	n := 0
	for after := int64(0); ; {
		recs, err := d.list(ctx, after, 1000)
		if err != nil {
			return n, err
		}
		for _, rec := range recs {
			for _, sealed := range []string{rec.seed, rec.pending} {
				done, err := d.reseal(ctx, rec.id, sealed)
				if err != nil {
					return n, wrap("reseal", err)
				}
				if done {
					n++
				}
			}
			after = rec.id
		}
		if len(recs) < 1000 {
			return n, nil
		}
	}
}

func (d *Directory) reseal(ctx context.Context, id int64, sealed string) (done bool, err error) {
	if sealed == "" {
		return false, nil
	}
	seed, stale, err := d.keys.open(id, sealed)
	if err != nil || !stale {
		return false, err
	}
	again, err := d.keys.seal(id, seed)
	if err != nil {
		return false, err
	}
	return true, d.b.reseal(ctx, id, sealed, again)
}

// isCode reports whether s is six ASCII digits. Anything else is no code: the
// library would trim spaces, and one code must not have two spellings.
func isCode(s string) bool {
	if len(s) != codeSize {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// matchStep returns the time step that code belongs to at now. If it fits
// several, it is the last: that uses it up for the others too.
func matchStep(seed []byte, code string, now int64) (step int64, ok bool) {
	if !isCode(code) {
		return 0, false
	}
	secret := base32.StdEncoding.EncodeToString(seed)
	current := now / 1e6 / period
	for s := max(current-skew, 1); s <= current+skew; s++ {
		want, err := hotp.GenerateCodeCustom(secret, uint64(s),
			hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// newRecoveryCodes returns codes as people see them, and the hashes to store.
func newRecoveryCodes(id int64) (codes []authz.Secret, hashes []string) {
	for range recoveryCodes {
		code := base32.StdEncoding.EncodeToString(randomBytes(recoveryBytes))
		codes = append(codes, authz.NewSecret(code[:8]+"-"+code[8:16]+"-"+code[16:24]+"-"+code[24:]))
		hashes = append(hashes, recoveryHash(id, code))
	}
	return codes, hashes
}

// recoveryCode brings what was typed to the one spelling that is hashed: upper
// case, no hyphens.
func recoveryCode(s string) (code string, ok bool) {
	code = strings.ToUpper(strings.ReplaceAll(s, "-", ""))
	if len(code) != recoverySize {
		return "", false
	}
	_, err := base32.StdEncoding.DecodeString(code)
	return code, err == nil
}

func recoveryHash(id int64, code string) string {
	sum := sha256.Sum256([]byte("authz account recovery code\x00" + strconv.FormatInt(id, 10) + "\x00" + code))
	return hex.EncodeToString(sum[:])
}

// keyring seals seeds. What it writes is base64 of a version byte, the key's
// id, the nonce, and the AES-256-GCM ciphertext; the user's ID is bound to it.
type keyring struct {
	keys []sealKey // the first one seals
}

type sealKey struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

const sealVersion = 1

func newKeyring(key authz.Secret, old []authz.Secret) (*keyring, error) {
	if key.IsZero() {
		if len(old) > 0 {
			return nil, errors.New("account: Config.OldKeys without Config.Key")
		}
		return &keyring{}, nil
	}
	k := new(keyring)
	for _, secret := range append([]authz.Secret{key}, old...) {
		if len(secret.Reveal()) != keySize {
			return nil, fmt.Errorf("account: Config.Key and Config.OldKeys must have %d bytes", keySize)
		}
		block, err := aes.NewCipher(derive(secret, "authz account totp seed"))
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, sealKey{
			id:   [keyIDSize]byte(derive(secret, "authz account key id")),
			aead: aead,
		})
	}
	return k, nil
}

// bound is the additional data of a seal: a seed copied to another user's row
// does not open.
func bound(id int64) []byte {
	return []byte("authz account totp seed of user " + strconv.FormatInt(id, 10))
}

func (k *keyring) seal(id int64, seed []byte) (string, error) {
	if len(k.keys) == 0 {
		return "", ErrNoKey
	}
	key := k.keys[0]
	out := append([]byte{sealVersion}, key.id[:]...)
	nonce := randomBytes(key.aead.NonceSize())
	out = append(out, nonce...)
	return base64.RawStdEncoding.EncodeToString(key.aead.Seal(out, nonce, seed, bound(id))), nil
}

// open returns the seed; stale means that an old key sealed it.
func (k *keyring) open(id int64, sealed string) (seed []byte, stale bool, err error) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(sealed)
	if err != nil || len(raw) < 1+keyIDSize || raw[0] != sealVersion {
		return nil, false, errors.New("account: a stored seed cannot be read")
	}
	keyID, rest := [keyIDSize]byte(raw[1:]), raw[1+keyIDSize:]
	for i, key := range k.keys {
		n := key.aead.NonceSize()
		if key.id != keyID || len(rest) < n {
			continue
		}
		if seed, err := key.aead.Open(nil, rest[:n], rest[n:], bound(id)); err == nil {
			return seed, i > 0, nil
		}
	}
	return nil, false, errors.New("account: no key in Config opens a stored seed")
}
