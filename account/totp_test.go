package account

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
)

// RFC 6238, appendix B, SHA-1, the last six of eight digits.
func TestRFC6238Vectors(t *testing.T) {
	for unix, code := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471",
		1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		step, ok := matchStep([]byte("12345678901234567890"), code, unix*1e6)
		if !ok || step != unix/30 {
			t.Errorf("%d: got step %d, %v, want %d", unix, step, ok, unix/30)
		}
	}
}

func TestStepsAccepted(t *testing.T) {
	for steps := int64(-3); steps <= 3; steps++ {
		c := newClock()
		d := directory(t, Memory(), c)
		withOTP(t, d)
		err := auth(d, login, password, c.code(steps))
		if -1 <= steps && steps <= 1 {
			must(t, err)
		} else {
			wantOTP(t, err)
		}
	}
}

// A code that fits two steps of the window must not be accepted for each.
func TestCodeOfTwoSteps(t *testing.T) {
	raw, _ := base32.StdEncoding.DecodeString(seed)
	for step := int64(2); ; step++ {
		if codeAt(seed, step-1) != codeAt(seed, step+1) {
			continue
		}
		got, ok := matchStep(raw, codeAt(seed, step+1), step*30*1e6)
		if !ok || got != step+1 {
			t.Errorf("got step %d, %v, want the later one, %d", got, ok, step+1)
		}
		return
	}
}

func TestCodeIsAcceptedOnce(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		ds := []*Directory{h.directory(t), h.directory(t)}
		withOTP(t, ds[0])
		code := h.clock.code(0)
		must(t, auth(ds[0], login, password, code))
		wantOTP(t, auth(ds[0], login, password, code))
		wantOTP(t, auth(ds[1], login, password, code))
		// An older one that nobody used is gone too (devise-two-factor's lesson).
		wantOTP(t, auth(ds[1], login, password, h.clock.code(-1)))
		must(t, auth(ds[1], login, password, h.clock.code(1)))
		h.clock.advance(period * time.Second)
		wantOTP(t, auth(ds[0], login, password, h.clock.code(0)))
		must(t, auth(ds[0], login, password, h.clock.code(1)))
	})
}

func TestOneCodeOneWinner(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		many := func(c *Config) { c.MaxHashes = 8 }
		ds := []*Directory{h.directory(t, many), h.directory(t, many)}
		withOTP(t, ds[0])
		for range 3 {
			var won atomic.Int64
			together(16, func(i int) {
				err := auth(ds[i%2], login, password, h.clock.code(0))
				if err == nil {
					won.Add(1)
				} else {
					wantOTPConcurrently(t, err)
				}
			})
			if won.Load() != 1 {
				t.Errorf("one code was accepted %d times", won.Load())
			}
			h.clock.advance(2 * period * time.Second)
		}
	})
}

func wantOTPConcurrently(t *testing.T, err error) {
	if _, ok := err.(*authz.OTPRequiredError); !ok {
		t.Errorf("got %v, want OTPRequiredError", err)
	}
}

func TestOTPReuse(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		reuse := func(c *Config) { c.OTPReuse = 45 * time.Second; c.MaxHashes = 8 }
		ds := []*Directory{h.directory(t, reuse), h.directory(t, reuse)}
		withOTP(t, ds[0])
		code := h.clock.code(1) // the client's clock is ahead: 90 s to live
		for range 2 {
			together(16, func(i int) {
				if err := auth(ds[i%2], login, password, code); err != nil {
					t.Error(err)
				}
			})
			wantOTP(t, auth(ds[0], login, password, h.clock.code(0))) // older than the one used
			h.clock.advance(20 * time.Second)                         // each use must not make it live longer
		}
		h.clock.advance(4 * time.Second)
		must(t, auth(ds[1], login, password, code)) // 44 s
		h.clock.advance(time.Second)
		wantOTP(t, auth(ds[1], login, password, code)) // 45 s, though still in its window

		// Nor longer than the window.
		h.clock.advance(5 * time.Minute)
		code = h.clock.code(-1)
		must(t, auth(ds[0], login, password, code))
		h.clock.advance(30 * time.Second)
		wantOTP(t, auth(ds[0], login, password, code))
	})
}

// Order: password first, then the code; and a code alone says nothing.
func TestPasswordBeforeCode(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		withOTP(t, d)
		code := h.clock.code(0)
		wantBad(t, auth(d, login, "wrong password", code))
		wantBad(t, auth(d, login, "wrong password", noCode))
		wantOTP(t, auth(d, login, password, noCode))
		wantOTP(t, auth(d, login, password, authz.NewSecret("000000")))
		must(t, auth(d, login, password, code)) // the wrong password has not used it up
	})
}

func TestCodeIsIgnoredWithoutTwoFactor(t *testing.T) {
	d := directory(t, Memory(), newClock())
	create(t, d, login)
	for _, code := range []string{"", "123456", "garbage"} {
		for range 2 {
			must(t, auth(d, login, password, authz.NewSecret(code)))
		}
	}
}

func TestEnrol(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		ctx := t.Context()
		d := h.directory(t, func(c *Config) { c.Issuer = "Héllo & Co+1" })
		u := create(t, d, login)
		_, err := d.ConfirmOTP(ctx, u.ID, authz.NewSecret("123456"))
		wantIs(t, err, ErrNoOTP)
		_, err = d.NewRecoveryCodes(ctx, u.ID)
		wantIs(t, err, ErrNoOTP)

		first, err := d.EnrolOTP(ctx, u.ID)
		must(t, err)
		e, err := d.EnrolOTP(ctx, u.ID)
		must(t, err)
		if first.Secret.Equal(e.Secret) {
			t.Error("two enrolments have the same seed")
		}
		uri, err := url.Parse(e.URI.Reveal())
		must(t, err)
		q := uri.Query()
		if uri.Scheme != "otpauth" || uri.Host != "totp" || uri.Path != "/Héllo & Co+1:mona" || q.Get("secret") != e.Secret.Reveal() ||
			q.Get("issuer") != "Héllo & Co+1" || q.Get("digits") != "6" || q.Get("period") != "30" || q.Get("algorithm") != "SHA1" {
			t.Errorf("got %s %s %s and %d parameters", uri.Scheme, uri.Host, uri.Path, len(q))
		}
		if raw, err := base32.StdEncoding.DecodeString(e.Secret.Reveal()); err != nil || len(raw) != 20 {
			t.Errorf("seed: got %d bytes, %v, want 20", len(raw), err)
		}
		if s := fmt.Sprintf("%+v %#v", e, e); strings.Contains(s, e.Secret.Reveal()) {
			t.Error("an Enrolment prints its seed")
		}

		must(t, auth(d, login, password, noCode)) // not yet confirmed
		step := h.clock.now().Unix() / period
		_, err = d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(first.Secret.Reveal(), step)))
		wantIs(t, err, ErrBadCode)
		_, err = d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(e.Secret.Reveal(), step)+" "))
		wantIs(t, err, ErrBadCode)
		recovery, err := d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(e.Secret.Reveal(), step)))
		must(t, err)
		if len(recovery) != 10 {
			t.Errorf("got %d recovery codes, want 10", len(recovery))
		}
		if got, _ := d.User(ctx, u.ID); !got.OTP {
			t.Errorf("got %+v, want OTP", got)
		}
		wantOTP(t, auth(d, login, password, noCode))
		wantOTP(t, auth(d, login, password, authz.NewSecret(codeAt(e.Secret.Reveal(), step)))) // used up
		must(t, auth(d, login, password, authz.NewSecret(codeAt(e.Secret.Reveal(), step+1))))
		_, err = d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(e.Secret.Reveal(), step+1)))
		wantIs(t, err, ErrNoOTP)

		// A second device takes the place of the first only when confirmed.
		second, err := d.EnrolOTP(ctx, u.ID)
		must(t, err)
		h.clock.advance(time.Hour)
		step = h.clock.now().Unix() / period
		must(t, auth(d, login, password, authz.NewSecret(codeAt(e.Secret.Reveal(), step))))
		_, err = d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(second.Secret.Reveal(), step)))
		must(t, err)
		wantOTP(t, auth(d, login, password, authz.NewSecret(codeAt(e.Secret.Reveal(), step+1))))
		wantOTP(t, auth(d, login, password, recovery[0])) // void
		must(t, auth(d, login, password, authz.NewSecret(codeAt(second.Secret.Reveal(), step+1))))

		must(t, d.RemoveOTP(ctx, u.ID))
		must(t, d.RemoveOTP(ctx, u.ID))
		must(t, auth(d, login, password, noCode))
		wantIs(t, d.RemoveOTP(ctx, 999), store.ErrNotFound)
		wantIs(t, d.ImportOTP(ctx, 999, authz.NewSecret(seed)), store.ErrNotFound)
		for _, f := range []func() error{
			func() error { _, err := d.EnrolOTP(ctx, 999); return err },
			func() error { _, err := d.ConfirmOTP(ctx, 999, authz.NewSecret("123456")); return err },
			func() error { _, err := d.NewRecoveryCodes(ctx, 999); return err },
		} {
			wantIs(t, f(), store.ErrNotFound)
		}
	})
}

func TestOneConfirmationWins(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		e, err := d.EnrolOTP(t.Context(), u.ID)
		must(t, err)
		code := authz.NewSecret(codeAt(e.Secret.Reveal(), h.clock.now().Unix()/period))
		var won atomic.Int64
		together(8, func(int) {
			if _, err := d.ConfirmOTP(t.Context(), u.ID, code); err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrNoOTP) {
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("confirmed %d times, want 1", won.Load())
		}
	})
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		for _, spelling := range []string{seed, strings.ToLower(seed), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ", "GEZDGNBVGY3TQOJQ", "GEZDGNBVGY3TQOJQGE======"} {
			must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(spelling)))
			wantOTP(t, auth(d, login, password, noCode))
		}
		for _, bad := range []string{"", "GEZDGNBV", "!", "GEZDGNBVGY3TQOJ1", strings.Repeat("A", 200)} {
			err := d.ImportOTP(t.Context(), u.ID, authz.NewSecret(bad))
			var invalid *InvalidError
			if !errors.As(err, &invalid) || invalid.Field != "seed" {
				t.Errorf("%q: got %v, want InvalidError", bad, err)
			}
		}
		must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
		must(t, auth(d, login, password, h.clock.code(0))) // no code is used up by importing
		must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
		wantOTP(t, auth(d, login, password, h.clock.code(0))) // nor does a used one come back
		must(t, d.RemoveOTP(t.Context(), u.ID))
		must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
		wantOTP(t, auth(d, login, password, h.clock.code(0)))
	})
}

// A seed that is there already is left as it is: a login under way goes on.
func TestImportAgain(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		seen := map[int64]bool{}
		for range 3 {
			must(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
			rec, err := d.b.byID(t.Context(), u.ID)
			must(t, err)
			seen[rec.rev] = true
		}
		if len(seen) != 1 {
			t.Errorf("importing one seed again changed the user: revisions %v", seen)
		}
	})
}

func TestNoKey(t *testing.T) {
	h := house{clock: newClock()}
	b := Memory()
	d := directory(t, b, h.clock, func(c *Config) { c.Key = authz.Secret{} })
	u := create(t, d, login)
	must(t, auth(d, login, password, noCode))
	_, err := d.EnrolOTP(t.Context(), u.ID)
	wantIs(t, err, ErrNoKey)
	wantIs(t, d.ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)), ErrNoKey)

	// A process that lacks the key must not let anybody in without a code.
	must(t, directory(t, b, h.clock).ImportOTP(t.Context(), u.ID, authz.NewSecret(seed)))
	wantOTP(t, auth(d, login, password, noCode))
	err = auth(d, login, password, h.clock.code(0))
	var required *authz.OTPRequiredError
	if err == nil || err == authz.ErrBadCredentials || errors.As(err, &required) {
		t.Errorf("got %v, want an error that is none of authz's", err)
	}
	_, err = d.Reseal(t.Context())
	if err == nil {
		t.Error("Reseal: got no error")
	}
}

func TestRecoveryCodes(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := withOTP(t, d)
		codes, err := d.NewRecoveryCodes(t.Context(), u.ID)
		must(t, err)
		seen := make(map[string]bool)
		for _, code := range codes {
			s := code.Reveal()
			seen[s] = true
			if raw, err := base32.StdEncoding.DecodeString(strings.ReplaceAll(s, "-", "")); err != nil || len(raw)*8 < 160 {
				t.Errorf("got %d bytes, %v, want 160 bits", len(raw), err)
			}
			if len(s) > 64 { // what authz.BasicAuth lets pass
				t.Errorf("%d characters do not fit the header", len(s))
			}
		}
		if len(seen) != 10 {
			t.Errorf("got %d codes, want 10", len(seen))
		}

		wantBad(t, auth(d, login, "wrong password", codes[0]))
		must(t, auth(d, login, password, codes[0]))
		wantOTP(t, auth(d, login, password, codes[0]))
		wantOTP(t, auth(d, login, password, authz.NewSecret(strings.ToLower(codes[0].Reveal()))))
		wantOTP(t, auth(d, login, password, authz.NewSecret(strings.ReplaceAll(codes[0].Reveal(), "-", ""))))
		must(t, auth(d, login, password, authz.NewSecret(strings.ToLower(strings.ReplaceAll(codes[1].Reveal(), "-", "")))))
		wantOTP(t, auth(d, login, password, codes[1]))
		for _, bad := range []string{codes[2].Reveal()[1:], codes[2].Reveal() + "A", " " + codes[2].Reveal(), strings.Repeat("A", 32)} {
			wantOTP(t, auth(d, login, password, authz.NewSecret(bad)))
		}

		ds := []*Directory{d, h.directory(t)}
		var won atomic.Int64
		together(16, func(i int) {
			if auth(ds[i%2], login, password, codes[2]) == nil {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Errorf("one recovery code was accepted %d times", won.Load())
		}

		// Another user's codes are nothing.
		other := create(t, d, "hubot")
		must(t, d.ImportOTP(t.Context(), other.ID, authz.NewSecret(seed)))
		wantOTP(t, auth(d, "hubot", password, codes[3]))

		fresh, err := d.NewRecoveryCodes(t.Context(), u.ID)
		must(t, err)
		wantOTP(t, auth(d, login, password, codes[3]))
		must(t, auth(d, login, password, fresh[3]))
	})
}

func TestNewRecoveryCodesAtOnce(t *testing.T) {
	eachSQL(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := withOTP(t, d)
		together(8, func(int) {
			if _, err := d.NewRecoveryCodes(t.Context(), u.ID); err != nil {
				t.Error(err)
			}
		})
		var n int
		must(t, d.b.(*sqlBackend).db.QueryRow(`SELECT COUNT(*) FROM authz_recovery_codes`).Scan(&n))
		if n != 10 {
			t.Errorf("got %d codes, want 10", n)
		}
	})
}

func TestKeyRotation(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		ctx := t.Context()
		before := h.directory(t)
		u := withOTP(t, before)
		lazy := create(t, before, "lazy") // never logs in
		must(t, before.ImportOTP(ctx, lazy.ID, authz.NewSecret(seed)))
		_, err := before.EnrolOTP(ctx, lazy.ID) // and has a seed pending
		must(t, err)

		both := h.directory(t, func(c *Config) { c.Key = testKey(2); c.OldKeys = []authz.Secret{testKey(3), testKey(1)} })
		after := h.directory(t, func(c *Config) { c.Key = testKey(2) })
		if err := auth(after, login, password, h.clock.code(-1)); err == nil || errors.As(err, new(*authz.OTPRequiredError)) {
			t.Errorf("without the old key: got %v", err)
		}
		must(t, auth(both, login, password, h.clock.code(-1))) // seals again
		must(t, auth(after, login, password, h.clock.code(0)))

		n, err := both.Reseal(ctx)
		must(t, err)
		if n != 2 {
			t.Errorf("Reseal: got %d, want 2", n)
		}
		must(t, auth(after, "lazy", password, h.clock.code(0)))
		if n, err := both.Reseal(ctx); n != 0 || err != nil {
			t.Errorf("Reseal again: got %d, %v", n, err)
		}
		if got, _ := after.User(ctx, u.ID); !got.OTP {
			t.Error("the seed is gone")
		}
	})
}

func TestSealIsBoundToUser(t *testing.T) {
	k, err := newKeyring(testKey(1), nil)
	must(t, err)
	sealed, err := k.seal(1, []byte("some seed"))
	must(t, err)
	if again, _ := k.seal(1, []byte("some seed")); again == sealed {
		t.Error("two seals are the same: the nonce is not new")
	}
	if got, stale, err := k.open(1, sealed); err != nil || stale || string(got) != "some seed" {
		t.Errorf("got %d bytes, %v, %v", len(got), stale, err)
	}
	if _, _, err := k.open(2, sealed); err == nil {
		t.Error("another user's seal opens")
	}
	for i := range sealed {
		forged := []byte(sealed)
		if forged[i]++; forged[i] > 'z' {
			forged[i] = 'A'
		}
		if _, _, err := k.open(1, string(forged)); err == nil {
			t.Errorf("opens with byte %d changed", i)
		}
		if _, _, err := k.open(1, sealed[:i]); err == nil {
			t.Errorf("opens when cut at %d", i)
		}
	}
}

// A stolen dump gives nothing that can be used.
func TestDumpHoldsNoSecrets(t *testing.T) {
	eachSQL(t, func(t *testing.T, h house) {
		ctx := t.Context()
		d := h.directory(t)
		u := create(t, d, login)
		pending, err := d.EnrolOTP(ctx, u.ID)
		must(t, err)
		recovery, err := d.ConfirmOTP(ctx, u.ID, authz.NewSecret(codeAt(pending.Secret.Reveal(), h.clock.now().Unix()/period)))
		must(t, err)
		_ = auth(d, "my secret password", password, noCode) // typed into the wrong field
		raw, _ := base32.StdEncoding.DecodeString(pending.Secret.Reveal())
		secrets := []string{password, pending.Secret.Reveal(), string(raw), fmt.Sprintf("%x", raw), "my secret password", fold("my secret password"),
			directory(t, d.b, h.clock, func(c *Config) { c.Key = authz.Secret{} }).names("my secret password")}
		for _, code := range recovery {
			secrets = append(secrets, code.Reveal(), strings.ReplaceAll(code.Reveal(), "-", ""))
		}
		stored := h.dump(t)
		if !strings.Contains(stored, "mona") {
			t.Fatal("the dump is empty")
		}
		for i, secret := range secrets {
			if strings.Contains(strings.ToLower(stored), strings.ToLower(secret)) {
				t.Errorf("secret %d is in the dump", i)
			}
		}
	})
}
