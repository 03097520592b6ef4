package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-926035fd/authz"
	"golang.org/x/crypto/argon2"
)

const (
	maxPassword = 1024 // bytes, as authz.BasicAuth accepts
	saltSize    = 16
	hashSize    = 32

	maxMemory = 1 << 20 // KiB: a damaged row must not take all memory
	maxTime   = 64
)

// Argon2id is the cost of one password hash (RFC 9106, section 3.1).
type Argon2id struct {
	// Memory in KiB, from 7168 (7 MiB) to 1 GiB.
	Memory uint32
	// Time is the number of passes over the memory, from 1 to 64.
	Time uint32
	// Threads is the degree of parallelism, at least 1.
	Threads uint8
}

func (p Argon2id) valid() bool {
	return p.Memory >= 7<<10 && p.Memory <= maxMemory && p.Time >= 1 && p.Time <= maxTime && p.Threads >= 1
}

// kdf is a field of Directory so that tests can count and hold up hashes.
type kdf func(password string, p Argon2id, salt []byte) []byte

func argon2id(password string, p Argon2id, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, hashSize)
}

// encode writes the PHC string format.
func (p Argon2id) encode(salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.Memory, p.Time, p.Threads, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

var errHash = errors.New("account: a stored password hash cannot be read")

// decode is the reverse of encode. It takes nothing else: what it reads was
// written by encode.
func decode(phc string) (p Argon2id, salt, hash []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 {
		return p, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil {
		return p, nil, nil, errHash
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, saltErr := b64.DecodeString(parts[4])
	hash, hashErr := b64.DecodeString(parts[5])
	if saltErr != nil || hashErr != nil || len(hash) != hashSize || !p.valid() || p.encode(salt, hash) != phc {
		return p, nil, nil, errHash
	}
	return p, salt, hash, nil
}

// dummy is a hash that no password fits. Checking it costs what checking a
// user's hash costs.
func (p Argon2id) dummy() string { return p.encode(randomBytes(saltSize), randomBytes(hashSize)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// hash needs a slot.
func (d *Directory) hash(password string) string {
	salt := randomBytes(saltSize)
	return d.cfg.Argon2id.encode(salt, d.kdf(password, d.cfg.Argon2id, salt))
}

// verify checks a password at full cost, whatever it is. It needs a slot. stale
// means that the hash has other parameters than the configured ones.
func (d *Directory) verify(phc string, password authz.Secret) (right, stale bool, err error) {
	p, salt, want, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	s := password.Reveal()
	if len(s) > maxPassword {
		s = "" // nobody's password, since it is too short
	}
	got := d.kdf(s, p, salt)
	return subtle.ConstantTimeCompare(got, want) == 1, p != d.cfg.Argon2id, nil
}

// newPassword checks and hashes the password of a new or changed user.
func (d *Directory) newPassword(ctx context.Context, password authz.Secret) (string, error) {
	s := password.Reveal()
	switch {
	case utf8.RuneCountInString(s) < d.cfg.MinPassword:
		return "", &InvalidError{"password", fmt.Sprintf("must have at least %d characters", d.cfg.MinPassword)}
	case len(s) > maxPassword:
		return "", &InvalidError{"password", fmt.Sprintf("must not be longer than %d bytes", maxPassword)}
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "", &InvalidError{"password", "must be UTF-8 without control characters"}
	}
	release, err := d.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return d.hash(s), nil
}

// slot waits until this process may compute one more hash.
func (d *Directory) slot(ctx context.Context) (release func(), err error) {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, wrap("waiting for other logins", ctx.Err())
	}
	if err := ctx.Err(); err != nil { // no work for a client that is gone
		<-d.slots
		return nil, wrap("waiting for other logins", err)
	}
	return func() { <-d.slots }, nil
}
