package account

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
)

func TestUsers(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		ctx := t.Context()
		d := h.directory(t)
		u := create(t, d, "Mona")
		at := h.clock.now().UTC()
		if want := (User{ID: u.ID, Login: "Mona", CreatedAt: at, UpdatedAt: at}); u != want || u.ID < 1 {
			t.Fatalf("Create: got %+v, want %+v", u, want)
		}
		for _, get := range []func() (User, error){
			func() (User, error) { return d.User(ctx, u.ID) },
			func() (User, error) { return d.ByLogin(ctx, "mONA") },
			func() (User, error) { return h.directory(t).ByLogin(ctx, "Mona") },
		} {
			got, err := get()
			must(t, err)
			if got != u {
				t.Errorf("got %+v, want %+v", got, u)
			}
		}
		got, err := d.Authenticate(ctx, authz.Credentials{Login: "MONA", Password: authz.NewSecret(password)})
		must(t, err)
		if want := (authz.User{ID: fmt.Sprint(u.ID), Login: "Mona"}); got != want || u.Authz() != want {
			t.Errorf("Authenticate: got %+v, want %+v", got, want)
		}

		_, err = d.Create(ctx, NewUser{Login: "mOnA", Password: authz.NewSecret(password)})
		wantIs(t, err, store.ErrConflict)
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) || conflict.Field != "login" {
			t.Errorf("got %v, want a ConflictError of login", err)
		}
		if next := create(t, d, "hubot"); next.ID <= u.ID {
			t.Errorf("IDs do not rise: %d after %d", next.ID, u.ID)
		}

		_, err = d.User(ctx, 999)
		wantIs(t, err, store.ErrNotFound)
		_, err = d.ByLogin(ctx, "nobody")
		wantIs(t, err, store.ErrNotFound)
		_, err = d.ByLogin(ctx, "\x00\xff")
		wantIs(t, err, store.ErrNotFound)
		wantIs(t, d.Disable(ctx, 999), store.ErrNotFound)
		wantIs(t, d.Enable(ctx, 999), store.ErrNotFound)
		wantIs(t, d.SetPassword(ctx, 999, authz.NewSecret(password)), store.ErrNotFound)
		must(t, d.Unlock(ctx, 999))
	})
}

func TestLookup(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		ctx := t.Context()
		d := h.directory(t)
		u := create(t, d, "Mona")
		id := fmt.Sprint(u.ID)
		got, err := d.Lookup(ctx, id)
		must(t, err)
		if want := (authz.User{ID: id, Login: "Mona"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for _, none := range []string{"", "mona", "999", "0", "-1", "+" + id, "0" + id, " " + id, id + ".0", "9223372036854775808", "\x00\xff"} {
			got, err := d.Lookup(ctx, none)
			if wantIs(t, err, authz.ErrNotFound); got != (authz.User{}) {
				t.Errorf("%q: got %+v", none, got)
			}
		}
		must(t, d.Disable(ctx, u.ID))
		_, err = d.Lookup(ctx, id)
		wantIs(t, err, authz.ErrNotFound)
		must(t, d.Enable(ctx, u.ID))
		_, err = d.Lookup(ctx, id)
		must(t, err)

		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := d.Lookup(ended, id); errors.Is(err, authz.ErrNotFound) {
			t.Errorf("trouble is no answer: %v", err)
		}
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		for i := range 5 {
			create(t, d, fmt.Sprint("user", i))
		}
		var got []string
		for after := int64(0); ; {
			page, err := d.List(t.Context(), after, 2)
			must(t, err)
			for _, u := range page {
				got = append(got, u.Login)
				after = u.ID
			}
			if len(page) < 2 {
				break
			}
		}
		if want := "user0 user1 user2 user3 user4"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if all, err := d.List(t.Context(), 0, 0); err != nil || len(all) != 5 {
			t.Errorf("limit 0: got %d users and %v, want all 5", len(all), err)
		}
	})
}

func TestOneCreatorWins(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		made := make(chan User, 16)
		ds := []*Directory{h.directory(t), h.directory(t)}
		together(16, func(i int) {
			u, err := ds[i%2].Create(t.Context(), NewUser{Login: []string{"mona", "MONA"}[i/8], Password: authz.NewSecret(password)})
			if err == nil {
				made <- u
			} else if !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
		})
		if len(made) != 1 {
			t.Errorf("got %d users, want 1", len(made))
		}
	})
}

func TestLoginRules(t *testing.T) {
	d := directory(t, Memory(), newClock())
	for _, bad := range []string{
		"", strings.Repeat("a", 256), "a b", " a", "a\u00a0", "a:b", "a\x00", "a\n", "a\x7f", "a\u0085",
		"a\u200b", "a\u202e", "\ufeffa", "a\ue000", "\xff", "a\xc3",
	} {
		_, err := d.Create(t.Context(), NewUser{Login: bad, Password: authz.NewSecret(password)})
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "login" {
			t.Errorf("%q: got %v, want InvalidError", bad, err)
		}
	}
	for _, good := range []string{"a", strings.Repeat("é", 127), "mona@example.com", "o'brien", "%_\\", "日本", "e\u0301"} {
		create(t, d, good)
		must(t, auth(d, good, password, noCode))
	}
}

func TestFoldIsEqualFold(t *testing.T) {
	words := []string{"mona", "MONA", "Kelvin", "\u212aelvin", "long\u017f", "longs", "ß", "ẞ", "ss", "é", "É", "e\u0301", "ı", "i", "I", "İ", "ς", "σ", "Σ", "app", "app "}
	for _, a := range words {
		for _, b := range words {
			if got, want := fold(a) == fold(b), strings.EqualFold(a, b); got != want {
				t.Errorf("%q and %q: got %v, want %v", a, b, got, want)
			}
		}
	}
}

func TestDisabledUserCannotLogIn(t *testing.T) {
	each(t, func(t *testing.T, h house) {
		d := h.directory(t)
		u := create(t, d, login)
		h.clock.advance(time.Minute)
		must(t, d.Disable(t.Context(), u.ID))
		wantBad(t, auth(d, login, password, noCode))
		got, err := d.User(t.Context(), u.ID)
		must(t, err)
		if at := h.clock.now().UTC(); got.DisabledAt != at || got.UpdatedAt != at {
			t.Errorf("got %+v, want it disabled at %v", got, at)
		}
		must(t, d.Enable(t.Context(), u.ID))
		must(t, auth(d, login, password, noCode))
	})
}

func TestConfig(t *testing.T) {
	key := testKey(1)
	for name, cfg := range map[string]Config{
		"short key":     {Key: authz.NewSecret("short")},
		"short old key": {Key: key, OldKeys: []authz.Secret{authz.NewSecret("short")}},
		"old key alone": {OldKeys: []authz.Secret{key}},
		"issuer":        {Issuer: "a:b"},
		"argon2id":      {Argon2id: Argon2id{Memory: 1, Time: 1, Threads: 1}},
		"hashes":        {MaxHashes: -1},
		"min password":  {MinPassword: -1},
		"failures":      {MaxFailures: 101},
		"lock":          {LockFor: -1},
		"reuse":         {OTPReuse: -1},
	} {
		if _, err := New(Memory(), cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("no backend: got no error")
	}
	d, err := New(Memory(), Config{})
	must(t, err)
	if got, want := d.cfg.Argon2id, (Argon2id{Memory: 19456, Time: 2, Threads: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if d.cfg.MaxFailures != 10 || d.cfg.LockFor != 15*time.Minute || d.cfg.MinPassword != 8 || d.cfg.OTPReuse != 0 ||
		d.cfg.MaxHashes < 1 || d.cfg.MaxHashes > 4 {
		t.Errorf("defaults: got %+v", d.cfg)
	}
}

// The package links no driver, and prints no key.
func TestLinksNoDriver(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skip("no go command: ", err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, bad := range []string{"modernc.org/", "github.com/lib/pq", "github.com/seed-926035fd/authz/store/"} {
			if strings.HasPrefix(dep, bad) {
				t.Errorf("depends on %s", dep)
			}
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	cfg := Config{Key: testKey('k'), OldKeys: []authz.Secret{testKey('o')}}
	d, err := New(Memory(), cfg)
	must(t, err)
	for _, v := range []any{cfg, d, *d.keys, d.keys, d.b} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			s := fmt.Sprintf(verb, v)
			for _, bad := range []string{"kkkk", "oooo", "6b6b6b6b", "6f6f6f6f", "107 107 107", "0x6b, 0x6b"} {
				if strings.Contains(s, bad) {
					t.Errorf("%s of %T holds a key", verb, v)
				}
			}
		}
	}
}

func TestMigrateAndCheck(t *testing.T) {
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			dsn := newDatabase(t, driver)
			d := directory(t, openSQL(t, driver, dsn), newClock())
			wantIs(t, d.Check(t.Context()), store.ErrSchema)
			ds := make([]*Directory, 8)
			for i := range ds {
				ds[i] = directory(t, openSQL(t, driver, dsn), newClock())
			}
			errs := make(chan error, len(ds)+1)
			together(len(ds)+1, func(i int) {
				switch {
				case i < len(ds):
					errs <- ds[i].Migrate(t.Context())
				case driver == "postgres":
					// Another part of the module, whose tables come at the same time.
					errs <- postgres.New(openDB(t, driver, dsn)).Migrate(t.Context())
				}
			})
			close(errs)
			for err := range errs {
				must(t, err)
			}
			must(t, d.Check(t.Context()))
			must(t, d.Migrate(t.Context()))
			_, err := openDB(t, driver, dsn).Exec(`INSERT INTO authz_schema (part, version, name) VALUES ('account', 99, 'future')`)
			must(t, err)
			wantIs(t, d.Check(t.Context()), store.ErrSchema)
			wantIs(t, d.Migrate(t.Context()), store.ErrSchema)
		})
	}
}
