package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
)

func TestLockAndItsEnd(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d, other := h.directory(t), h.directory(t)
		u := create(t, d, login)
		for i := range 10 {
			wantBad(t, auth(d, login, guess(i), noCode))
		}
		wantLocked(t, auth(d, login, password, noCode), 15*time.Minute)
		wantLocked(t, auth(other, "MONA", password, noCode), 15*time.Minute)
		h.clock.advance(10 * time.Minute)
		for range 20 { // knocking makes it no longer
			wantLocked(t, auth(other, login, guess(1), noCode), 5*time.Minute)
		}
		h.clock.advance(5*time.Minute - time.Microsecond)
		wantLocked(t, auth(d, login, password, noCode), time.Microsecond)
		h.clock.advance(time.Microsecond)
		must(t, auth(d, login, password, noCode))

		// The count begins again, after a lock as after a success.
		for range 3 {
			for i := range 9 {
				wantBad(t, auth(d, login, guess(i), noCode))
			}
			must(t, auth(other, login, password, noCode))
		}
		for i := range 10 {
			wantBad(t, auth(d, login, guess(i), noCode))
		}
		h.clock.advance(15 * time.Minute)
		for i := range 10 {
			wantBad(t, auth(d, login, guess(i), noCode))
		}
		wantLocked(t, auth(d, login, password, noCode), 15*time.Minute)
		must(t, other.Unlock(t.Context(), u.ID))
		must(t, auth(d, login, password, noCode))
	})
}

func TestFailuresAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		create(t, d, login)
		for _, name := range []string{login, "nobody"} { // alike, or it would tell them apart
			for i := range 9 {
				wantBad(t, auth(d, name, guess(i), noCode))
			}
			h.clock.advance(15*time.Minute - time.Microsecond)
			wantBad(t, auth(d, name, guess(0), noCode))
			wantLocked(t, auth(d, name, password, noCode), 15*time.Minute)
			h.clock.advance(time.Hour)

			for i := range 9 {
				wantBad(t, auth(d, name, guess(i), noCode))
			}
			h.clock.advance(15 * time.Minute)
			for i := range 9 {
				wantBad(t, auth(d, name, guess(i), noCode))
			}
			wantBad(t, auth(d, name, guess(9), noCode))
			wantLocked(t, auth(d, name, password, noCode), 15*time.Minute)
		}
	})
}

func TestMissingAndUsedCodesAreNoFailures(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := withOTP(t, d)
		recovery, err := d.NewRecoveryCodes(t.Context(), u.ID)
		must(t, err)
		must(t, auth(d, login, password, recovery[0]))
		must(t, auth(d, login, password, h.clock.code(0)))
		for range 12 {
			wantOTP(t, auth(d, login, password, noCode))
			wantOTP(t, auth(d, login, password, h.clock.code(0)))
			wantOTP(t, auth(d, login, password, recovery[0]))
		}
		// But the right password alone does not set the count back.
		for i := range 10 {
			wantBad(t, auth(d, login, guess(i), noCode))
			if i < 9 {
				wantOTP(t, auth(d, login, password, noCode))
				wantOTP(t, auth(d, login, password, h.clock.code(0)))
			}
		}
		wantLocked(t, auth(d, login, password, h.clock.code(1)), 15*time.Minute)
	})
}

func TestManyRightLogins(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		dearer := func(c *Config) { c.Argon2id.Memory++ } // and all find the hash out of date
		ds := []*Directory{h.directory(t, dearer), h.directory(t, dearer)}
		create(t, h.directory(t), login)
		for i := range 9 {
			wantBad(t, auth(ds[0], login, guess(i), noCode)) // on the brink of the lock
		}
		together(64, func(i int) {
			if err := auth(ds[i%2], login, password, noCode); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestManyWrongGuesses(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t, func(c *Config) { c.MaxHashes = 4 })
		create(t, d, login)
		for _, name := range []string{login, "nobody"} {
			n := counted(d)
			together(200, func(i int) {
				err := auth(d, name, guess(i), noCode)
				if err == nil {
					t.Error("a wrong guess was let in")
				}
				if err != authz.ErrBadCredentials && !errors.As(err, new(*authz.LockedError)) {
					t.Error(err)
				}
			})
			if got := n.Load(); got < 10 || got > 10+4 {
				t.Errorf("%s: %d guesses were checked, want 10 and at most 4 more", name, got)
			}
			wantLocked(t, auth(d, name, password, noCode), 15*time.Minute)
		}
	})
}

// The right password among the excess guesses must not get in once the lock
// has fallen, although its check had begun before.
func TestLockedDuringTheCheck(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d, other := h.directory(t), h.directory(t)
		u := withOTP(t, d)
		plain := create(t, d, "plain")
		recovery, err := d.NewRecoveryCodes(t.Context(), u.ID)
		must(t, err)
		for _, c := range []struct {
			login string
			code  authz.Secret
		}{{"plain", noCode}, {login, h.clock.code(0)}, {login, recovery[0]}} {
			var once atomic.Bool
			d.kdf = func(p string, params Argon2id, salt []byte) []byte {
				if once.CompareAndSwap(false, true) {
					for i := range 10 {
						wantBad(t, auth(other, c.login, guess(i), noCode))
					}
				}
				return quick(p, params, salt)
			}
			wantLocked(t, auth(d, c.login, password, c.code), 15*time.Minute)
			must(t, other.Unlock(t.Context(), u.ID))
			must(t, other.Unlock(t.Context(), plain.ID))
			must(t, auth(d, c.login, password, c.code)) // no code was used up
		}
	})
}

// An unknown login, a wrong password and a disabled user: the same answer, the
// same work, the same lock.
func TestNobodyCanTellWhoExists(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		s := &spy{Backend: h.open()}
		d := directory(t, s, h.clock)
		var costs []Argon2id
		d.kdf = func(password string, p Argon2id, salt []byte) []byte {
			costs = append(costs, p)
			return quick(password, p, salt)
		}
		create(t, d, login)
		must(t, d.Disable(t.Context(), create(t, d, "gone").ID))
		impossible := strings.Repeat("x", 300) + "\x00\xff"
		for _, try := range []struct{ login, password string }{
			{login, "wrong password"},
			{login, strings.Repeat("x", 5000)},
			{login, ""},
			{"nobody", password},
			{"NOBODY", password},
			{"", password},
			{impossible, password},
			{"gone", password},
			{"gone", "wrong password"},
		} {
			s.calls, costs = nil, nil
			wantBad(t, auth(d, try.login, try.password, authz.NewSecret("123456")))
			if want := []string{"look", "look", "fail"}; !slices.Equal(s.calls, want) {
				t.Errorf("%.20q: got %v, want %v", try.login, s.calls, want)
			}
			if want := []Argon2id{cheap}; !slices.Equal(costs, want) {
				t.Errorf("%.20q: got %v, want %v", try.login, costs, want)
			}
		}
		for name, already := range map[string]int{login: 3, "nobody": 2, impossible: 1, "gone": 2} {
			for i := already; i < 10; i++ {
				wantBad(t, auth(d, name, guess(i), noCode))
			}
			s.calls, costs = nil, nil
			wantLocked(t, auth(d, strings.ToUpper(name), password, noCode), 15*time.Minute)
			if len(costs) != 0 || len(s.calls) != 1 {
				t.Errorf("%.20q: a locked login costs %v and %v", name, costs, s.calls)
			}
		}
	})
}

func TestUnknownNamesAreSwept(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		b := d.b
		for i := range 100 {
			must(t, b.fail(t.Context(), failure{subject: fmt.Sprint("n", i), request: newRequest(), at: d.now(), max: 10, lockFor: d.cfg.LockFor.Microseconds()}))
		}
		h.clock.advance(14 * time.Minute)
		wantBad(t, auth(d, "nobody", password, noCode)) // sweeps, but there is nothing old
		if got := count(t, b); got != 101 {
			t.Errorf("got %d tallies, want 101", got)
		}
		h.clock.advance(time.Minute)
		wantBad(t, auth(d, "nobody", password, noCode))
		if got := count(t, b); got != 1 {
			t.Errorf("got %d tallies, want 1", got)
		}
	})
}

func count(t *testing.T, b Backend) (n int) {
	t.Helper()
	if m, ok := b.(*memory); ok {
		return len(m.tallies)
	}
	must(t, b.(*sqlBackend).db.QueryRow(`SELECT COUNT(*) FROM authz_login_failures`).Scan(&n))
	return n
}

// hangUp is a login whose client is gone when the password is checked.
func hangUp(d *Directory, c authz.Credentials) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := d.kdf
	defer func() { d.kdf = before }()
	d.kdf = func(password string, p Argon2id, salt []byte) []byte {
		cancel()
		return quick(password, p, salt)
	}
	_, err := d.Authenticate(ctx, c)
	d.idle()
	return err
}

func TestHangingUpSavesNoFailure(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		withOTP(t, d)
		for i := range 5 {
			_ = hangUp(d, authz.Credentials{Login: login, Password: authz.NewSecret(guess(i))})
			_ = hangUp(d, authz.Credentials{Login: login, Password: authz.NewSecret(password), OTP: authz.NewSecret("000000")})
		}
		wantLocked(t, auth(d, login, password, h.clock.code(0)), 15*time.Minute)
	})
}

func TestAuthenticateReturnsWhenContextEnds(t *testing.T) {
	d := directory(t, Memory(), newClock())
	create(t, d, login)
	hung := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	d.kdf = func(string, Argon2id, []byte) []byte {
		cancel()
		<-hung
		return nil
	}
	_, err := d.Authenticate(ctx, authz.Credentials{Login: login, Password: authz.NewSecret(password)})
	wantIs(t, err, context.Canceled)
	close(hung)
	d.idle()
}

// With a full disk reads go on and failures cannot be stored: that must give
// nobody more guesses.
func TestFailuresThatCannotBeStored(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		s := &spy{Backend: h.open()}
		d := directory(t, s, h.clock)
		create(t, d, login)
		create(t, d, "hubot")
		n := counted(d)
		diskFull := errors.New("database or disk is full")
		s.failErr = diskFull
		for i := range 50 {
			wantIs(t, auth(d, login, guess(i), noCode), diskFull)
		}
		wantIs(t, auth(d, login, password, noCode), diskFull)
		if n.Load() != 1 {
			t.Errorf("%d guesses were checked, want 1", n.Load())
		}
		must(t, auth(d, "hubot", password, noCode)) // others go on

		s.failErr = nil
		for i := range 9 {
			wantBad(t, auth(d, login, guess(i), noCode)) // the first one was the tenth
		}
		wantLocked(t, auth(d, login, password, noCode), 15*time.Minute)
		if len(d.owed.of) != 0 {
			t.Errorf("%d subjects are still owed", len(d.owed.of))
		}
	})
}

func TestDebtsAreBounded(t *testing.T) {
	s := &spy{Backend: Memory(), failErr: errors.New("down")}
	d := directory(t, s, newClock())
	create(t, d, login)
	for i := range maxOwed {
		d.owed.add(failure{subject: fmt.Sprint("n", i), request: newRequest(), max: 10, lockFor: 1e6})
	}
	wantIs(t, auth(d, login, password, noCode), s.failErr) // nobody any more
	wantIs(t, auth(d, "nobody", password, noCode), s.failErr)
	if len(d.owed.of) != maxOwed {
		t.Errorf("got %d, want %d", len(d.owed.of), maxOwed)
	}
	s.failErr = nil
	must(t, auth(d, login, password, noCode))
	if len(d.owed.of) != 0 {
		t.Errorf("got %d, want 0", len(d.owed.of))
	}
}

func TestStorageErrorsAreNoAnswers(t *testing.T) {
	s := &spy{Backend: Memory(), lookErr: errors.New("connection refused")}
	d := directory(t, s, newClock())
	create(t, d, login)
	for _, p := range []string{password, "wrong password"} {
		err := auth(d, login, p, noCode)
		wantIs(t, err, s.lookErr)
		if errors.Is(err, authz.ErrBadCredentials) || !strings.HasPrefix(err.Error(), "account: ") || strings.Contains(err.Error(), p) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTally(t *testing.T) {
	f := failure{subject: "u1", request: "a", at: 1000, max: 2, lockFor: 100}
	one := tally{}.add(f)
	if one.add(f) != one {
		t.Error("a repeat counts twice")
	}
	f.request, f.at = "b", 1050
	two := one.add(f)
	if !two.locked(1149) || two.locked(1150) {
		t.Errorf("got %+v, want a lock from 1050 to 1150", two)
	}
	f.request, f.at = "c", 1149
	if two.add(f) != two {
		t.Error("a failure during the lock changes it")
	}
	f.at = 1150
	if got := two.add(f); got.failures != 1 || got.locked(1150) {
		t.Errorf("after the lock: got %+v, want one failure", got)
	}
}
