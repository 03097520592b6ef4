package account

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
)

// The published holes of systems of this kind, one test each.

// The one-time password in the header over Basic authentication was checked,
// and never used up.
func TestGiteaCVE202620779HeaderCodeIsUsedUp(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		withOTP(t, d)
		send := func(code authz.Secret) error {
			r := httptest.NewRequest(http.MethodPut, "/authorizations/clients/x", nil)
			r.SetBasicAuth(login, password)
			r.Header.Set("X-GitHub-OTP", code.Reveal())
			_, err := d.Authenticator().Authenticate(r)
			return err
		}
		must(t, send(h.clock.code(0)))
		wantOTP(t, send(h.clock.code(0)))
		wantOTP(t, auth(d, login, password, h.clock.code(0)))
	})
}

// A used code was accepted again, and guesses were not counted, when spelt with
// spaces.
func TestVaultCVE20256014CodeHasOneSpelling(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := withOTP(t, d)
		code := h.clock.code(0).Reveal()
		spellings := []string{" " + code, code + " ", code[:3] + " " + code[3:], "\t" + code, code + "\n", code + "\x00", "0" + code,
			"+" + code, code[:3] + "-" + code[3:], strings.Map(func(r rune) rune { return r - '0' + '０' }, code),
			strings.Map(func(r rune) rune { return r - '0' + '٠' }, code), code[:5]}
		for _, s := range spellings {
			wantOTP(t, auth(d, login, password, authz.NewSecret(s)))
			must(t, d.Unlock(t.Context(), u.ID))
		}
		must(t, auth(d, login, password, authz.NewSecret(code)))
		for i, s := range spellings[:10] {
			if i == 9 {
				wantOTP(t, auth(d, login, password, authz.NewSecret(code))) // and is no failure
			}
			wantOTP(t, auth(d, login, password, authz.NewSecret(s)))
		}
		wantLocked(t, auth(d, login, password, h.clock.code(1)), 15*time.Minute)
	})
}

// The same hole in the fork: its limiter forgot who had been guessing.
func TestOpenBaoCVE202555000GuessesAreLimited(t *testing.T) {
	d := directory(t, Memory(), newClock())
	withOTP(t, d)
	for i := range 10 {
		wantOTP(t, auth(d, login, password, authz.NewSecret(strings.Repeat(" ", i)+"000000")))
	}
	wantLocked(t, auth(d, login, password, authz.NewSecret("000000")), 15*time.Minute)
}

// The last step was not remembered: a code worked as often as one liked.
func TestDeviseTwoFactorCVE20157225LastStepIsRemembered(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		withOTP(t, h.directory(t))
		must(t, auth(h.directory(t), login, password, h.clock.code(1)))
		for steps := int64(-1); steps <= 1; steps++ {
			wantOTP(t, auth(h.directory(t), login, password, h.clock.code(steps))) // a restart forgets nothing
		}
	})
}

// The lock was written in the request's transaction, which rolled back.
func TestVikunjaCVE202635597FailuresOutliveTheRequest(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		create(t, d, login)
		for i := range 10 {
			wantIs(t, hangUp(d, authz.Credentials{Login: login, Password: authz.NewSecret(guess(i))}), context.Canceled)
		}
		wantLocked(t, auth(h.directory(t), login, password, noCode), 15*time.Minute)
	})
}

// The limiter went by the name as it was typed: each spelling had guesses of
// its own.
func TestVaultCVE20256004LockGoesByUser(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		create(t, d, "kelvin")
		spellings := []string{"kelvin", "KELVIN", "Kelvin", "kElvin", "\u212aelvin", "\u212aELVIN", "kelviN", "KelviN", "kELVIN", "keLvin"}
		for i, s := range spellings {
			wantBad(t, auth(d, s, guess(i), noCode))
		}
		for _, s := range spellings {
			wantLocked(t, auth(d, s, password, noCode), 15*time.Minute)
		}
		for _, s := range []string{" kelvin", "kelvin ", "kelvin\x00"} { // other names, and nobody's
			wantBad(t, auth(d, s, password, noCode))
		}
	})
}

// The same: upper and lower case.
func TestAutheliaCVE202524806LockGoesByUser(t *testing.T) {
	d := directory(t, Memory(), newClock())
	for i := range 10 { // also for a name that nobody has
		wantBad(t, auth(d, []string{"Nobody", "nobody"}[i%2], guess(i), noCode))
	}
	wantLocked(t, auth(d, "NOBODY", password, noCode), 15*time.Minute)
}

// Codes could be guessed without limit: only passwords were counted.
func TestZitadelCVE202432868CodesAreCounted(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		withOTP(t, d)
		for i := range 5 {
			wantBad(t, auth(d, login, guess(i), noCode))
			wantOTP(t, auth(d, login, password, authz.NewSecret("000000")))
		}
		wantLocked(t, auth(d, login, password, h.clock.code(0)), 15*time.Minute)
	})
}

// Users were found by the time of the answer: TestNobodyCanTellWhoExists has
// the whole of it, this is the clock on the wall.
func TestOpenBaoCVE202554999SameTime(t *testing.T) {
	d := directory(t, Memory(), newClock(), func(c *Config) { c.Argon2id = Argon2id{Memory: 19 << 10, Time: 2, Threads: 1} })
	d.kdf = argon2id
	create(t, d, login)
	took := func(name string, n int) time.Duration {
		start := time.Now()
		wantBad(t, auth(d, name, guess(n), noCode))
		return time.Since(start)
	}
	known, unknown := time.Hour, time.Hour // the fastest of some: what a busy machine adds is not told
	for i := range 9 {
		known, unknown = min(known, took(login, i)), min(unknown, took("nobody", i))
	}
	if known > 2*unknown || unknown > 2*known {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
}

// Users were found by the answer.
func TestVaultCVE20233462SameAnswer(t *testing.T) {
	d := directory(t, Memory(), newClock())
	create(t, d, login)
	if known, unknown := auth(d, login, "wrong password", noCode), auth(d, "nobody", "wrong password", noCode); known != unknown {
		t.Errorf("known: %v, unknown: %v", known, unknown)
	}
}

// A collation folded two identifiers into one: what is not the same by
// EqualFold is not the same.
func TestOpenFGACVE202655170CollationFoldsNothing(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		for _, name := range []string{"e", "é", "e\u0301", "ae", "æ", "ss", "ß", "a-b", "ab", "a_b", "a%b"} {
			u := create(t, d, name)
			if got, err := d.ByLogin(t.Context(), name); err != nil || got.ID != u.ID {
				t.Errorf("%q: got %+v, %v", name, got, err)
			}
		}
	})
}
