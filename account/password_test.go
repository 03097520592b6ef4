package account

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-926035fd/authz"
)

func TestPasswordRules(t *testing.T) {
	d := directory(t, Memory(), newClock())
	u := create(t, d, login)
	for _, bad := range []string{"", "seven77", "ééééééé", strings.Repeat("a", 1025), "with\x00nul..", "with\nnewline", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		_, err := d.Create(t.Context(), NewUser{Login: "other", Password: authz.NewSecret(bad)})
		for _, err := range []error{err, d.SetPassword(t.Context(), u.ID, authz.NewSecret(bad))} {
			var invalid *InvalidError
			if !errors.As(err, &invalid) || invalid.Field != "password" {
				t.Errorf("%q: got %v, want InvalidError", bad, err)
			}
			if bad != "" && strings.Contains(err.Error(), bad) {
				t.Errorf("the error holds the password: %v", err)
			}
		}
	}
	for _, good := range []string{"eight888", "éééééééé", " spaces  are kept ", strings.Repeat("a", 1024), "a:colon:is:fine"} {
		must(t, d.SetPassword(t.Context(), u.ID, authz.NewSecret(good)))
		must(t, auth(d, login, good, noCode))
		wantBad(t, auth(d, login, good+"x", noCode))
		wantBad(t, auth(d, login, strings.TrimSpace(good)[1:], noCode))
	}
}

func TestSetPassword(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		must(t, d.SetPassword(t.Context(), u.ID, authz.NewSecret("another one")))
		wantBad(t, auth(d, login, password, noCode))
		must(t, auth(d, login, "another one", noCode))
	})
}

// A login with the old password that is under way when it changes must fail.
func TestPasswordChangedDuringLogin(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		for name, change := range map[string]func() error{
			"password": func() error { return h.directory(t).SetPassword(t.Context(), u.ID, authz.NewSecret("another one")) },
			"disable":  func() error { return h.directory(t).Disable(t.Context(), u.ID) },
		} {
			must(t, d.SetPassword(t.Context(), u.ID, authz.NewSecret(password)))
			must(t, d.Enable(t.Context(), u.ID))
			var once atomic.Bool
			d.kdf = func(password string, p Argon2id, salt []byte) []byte {
				if once.CompareAndSwap(false, true) {
					if err := change(); err != nil {
						t.Error(name, err)
					}
				}
				return quick(password, p, salt)
			}
			wantBad(t, auth(d, login, password, noCode))
		}
	})
}

func TestHashFormat(t *testing.T) {
	b := Memory()
	d, err := New(b, Config{})
	must(t, err)
	u := create(t, d, login)
	rec, err := b.byID(t.Context(), u.ID)
	must(t, err)
	if !strings.HasPrefix(rec.password, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("not a PHC string with the parameters: %d bytes", len(rec.password))
	}
	if _, salt, hash, err := decode(rec.password); err != nil || len(salt) != 16 || len(hash) != 32 {
		t.Errorf("decode: got %d bytes of salt, %d of hash, %v", len(salt), len(hash), err)
	}
	for _, bad := range []string{
		"", "x", strings.Replace(rec.password, "argon2id", "argon2i", 1), strings.Replace(rec.password, "v=19", "v=16", 1),
		strings.Replace(rec.password, "m=19456", "m=019456", 1), strings.Replace(rec.password, "m=19456", "m=4294967295", 1),
		strings.Replace(rec.password, "t=2", "t=0", 1), strings.Replace(rec.password, "p=1", "p=0", 1),
		rec.password + "A", rec.password + "$", rec.password[:len(rec.password)-1],
	} {
		if _, _, _, err := decode(bad); err == nil {
			t.Errorf("decode(%q): got no error", bad)
		}
	}
	// A known answer, made by the reference implementation: argon2id, v19, m=65536, t=2, p=1, "password", "somesalt".
	const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if right, _, err := d.verify(known, authz.NewSecret("password")); err != nil || !right {
		t.Errorf("reference hash: got %v, %v, want true", right, err)
	}
}

func TestRehashOnLogin(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		u := create(t, h.directory(t), login)
		dearer := Argon2id{Memory: 8 << 10, Time: 1, Threads: 1}
		d := h.directory(t, func(c *Config) { c.Argon2id = dearer })
		params := func() Argon2id {
			rec, err := d.b.byID(t.Context(), u.ID)
			must(t, err)
			p, _, _, err := decode(rec.password)
			must(t, err)
			return p
		}
		wantBad(t, auth(d, login, "wrong password", noCode))
		if params() != cheap {
			t.Error("rehashed after a wrong password")
		}
		n := counted(d)
		must(t, auth(d, login, password, noCode))
		if got := params(); got != dearer {
			t.Errorf("got %+v, want %+v", got, dearer)
		}
		must(t, auth(d, login, password, noCode))
		if got := n.Load(); got != 3 {
			t.Errorf("two logins cost %d hashes, want 3", got)
		}
	})
}

func TestHashesAtOnceAreBounded(t *testing.T) {
	d := directory(t, Memory(), newClock(), func(c *Config) { c.MaxHashes = 3 })
	d.kdf = argon2id // long enough to meet others
	create(t, d, login)
	var now, most atomic.Int64
	d.kdf = func(password string, p Argon2id, salt []byte) []byte {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		defer now.Add(-1)
		return argon2id(password, p, salt)
	}
	together(50, func(i int) {
		switch i % 5 {
		case 0:
			_ = auth(d, "nobody"+string(rune('a'+i)), "wrong password", noCode)
		case 1:
			_, _ = d.Create(t.Context(), NewUser{Login: guess(i)[6:8] + string(rune('a'+i)), Password: authz.NewSecret(password)})
		default:
			if err := auth(d, login, password, noCode); err != nil {
				t.Error(err)
			}
		}
	})
	if got := most.Load(); got != 3 {
		t.Errorf("got %d hashes at once, want 3", got)
	}
}

func TestWaitForSlotEndsWithContext(t *testing.T) {
	d := directory(t, Memory(), newClock(), func(c *Config) { c.MaxHashes = 1 })
	u := create(t, d, login)
	n := counted(d)
	d.slots <- struct{}{} // somebody is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Authenticate(ctx, authz.Credentials{Login: login, Password: authz.NewSecret(password)})
	wantIs(t, err, context.Canceled)
	_, err = d.Create(ctx, NewUser{Login: "other", Password: authz.NewSecret(password)})
	wantIs(t, err, context.Canceled)
	wantIs(t, d.SetPassword(ctx, u.ID, authz.NewSecret(password)), context.Canceled)
	<-d.slots
	// With a free slot there is still no work for a client that is gone.
	_, err = d.slot(ctx)
	wantIs(t, err, context.Canceled)
	if n.Load() != 0 {
		t.Errorf("got %d hashes, want 0", n.Load())
	}
	must(t, auth(d, login, password, noCode))
}

func BenchmarkLogin(b *testing.B) {
	for _, driver := range []string{"memory", "sqlite", "postgres"} {
		b.Run(driver, func(b *testing.B) {
			backend := Memory()
			if driver != "memory" {
				backend = openSQL(b, driver, newDatabase(b, driver))
			}
			d, err := New(backend, Config{})
			must(b, err)
			must(b, d.Migrate(b.Context()))
			_, err = d.Create(b.Context(), NewUser{Login: login, Password: authz.NewSecret(password)})
			must(b, err)
			b.ReportAllocs()
			for b.Loop() {
				must(b, auth(d, login, password, noCode))
			}
		})
	}
}
