package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// standing checks what Lookup says of rec through any handle.
func standing(t tb, s []store.Store, what string, rec store.Authorization, want store.Standing) {
	t.Helper()
	for _, h := range s {
		got, st, err := h.Lookup(t.Context(), rec.TokenHash)
		if err != nil {
			t.Errorf("%s: Lookup = error %v, want ID %d", what, err, rec.ID)
			continue
		}
		if d := diff(got, rec); d != "" {
			t.Errorf("%s: Lookup must return the record as it was stored: %s", what, d)
		}
		if st != want {
			t.Errorf("%s: Lookup of a record of %q, app %q = %+v, want %+v", what, rec.Owner, rec.ClientID, st, want)
		}
	}
}

func suspend(t tb, s store.Store, owner string, at time.Time) {
	t.Helper()
	if err := s.Suspend(t.Context(), owner, at); err != nil {
		t.Fatalf("Suspend(%+q) = error %v", owner, err)
	}
}

func resume(t tb, s store.Store, owner string) {
	t.Helper()
	if err := s.Resume(t.Context(), owner); err != nil {
		t.Fatalf("Resume(%+q) = error %v", owner, err)
	}
}

// suspended checks since when the owner is suspended, the zero time for not.
func suspended(t tb, s []store.Store, what, owner string, want time.Time) {
	t.Helper()
	for _, h := range s {
		if got, err := h.Suspended(t.Context(), owner); err != nil || !got.Equal(want) {
			t.Errorf("%s: Suspended(%+q) = %v, error %v, want %v", what, owner, got, err, want)
		}
	}
}

func lookupFollows(t tb, s []store.Store) {
	none := func(why string, hash store.Hash) {
		t.Helper()
		for _, h := range s {
			if got, st, err := h.Lookup(t.Context(), hash); !errors.Is(err, store.ErrNotFound) || st != (store.Standing{}) {
				t.Errorf("Lookup of a token that %s = ID %d, %+v, error %v, want ErrNotFound", why, got.ID, st, err)
			}
		}
	}
	none("never was", store.HashOf("first token"))
	c := withReplay(candidate("mona", "app", "fingerprint", "first token"), "key")
	c.IdleTimeout, c.EndsAt = time.Hour, now.Add(time.Hour)
	rec := create(t, s[0], c)
	dead := candidate("hubot", "app", "", "dead token")
	dead.ExpiresAt = dead.CreatedAt
	dead = create(t, s[0], dead)
	none("is the zero hash", store.Hash{})
	standing(t, s, "a live token", rec, store.Standing{})
	standing(t, s, "an expired token, which is found like others", dead, store.Standing{})

	old := rec.TokenHash
	rec.TokenHash, rec.TokenLastEight = store.HashOf("second token"), lastEight("second token")
	rec, err := s[0].Replace(t.Context(), rec)
	if err != nil {
		t.Fatalf("Replace with a new token hash = error %v", err)
	}
	none("Replace has put another in the place of", old)
	standing(t, s, "after Replace", rec, store.Standing{})
	touch(t, s[0], store.Use{ID: rec.ID, At: now.Add(time.Minute)})
	rec.LastUsedAt = now.Add(time.Minute)
	standing(t, s, "after Touch", rec, store.Standing{})
	if err := s[0].Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	none("was deleted", rec.TokenHash)
}

func lookupApps(t tb, s []store.Store) {
	rec := create(t, s[0], candidate("mona", "app", "", "token"))
	own := add(t, s[0], personal("mona", "note", "own token"))
	other := create(t, s[0], candidate("mona", "App", "", "other token"))
	rest := func(what string) {
		t.Helper()
		standing(t, s, what+": a personal record", own, store.Standing{})
		standing(t, s, what+": a record of another client_id", other, store.Standing{})
	}
	replace := func(app store.App, at time.Time) store.App {
		t.Helper()
		app.SuspendedAt = at
		app, err := s[0].ReplaceApp(t.Context(), app)
		if err != nil {
			t.Fatalf("ReplaceApp = error %v", err)
		}
		return app
	}
	standing(t, s, "without the app", rec, store.Standing{})
	app := createApp(t, s[0], application("app"))
	standing(t, s, "with its app", rec, store.Standing{App: true})
	rest("with the app")
	app = replace(app, now)
	standing(t, s, "its app was suspended", rec, store.Standing{App: true, Suspended: true})
	rest("the app was suspended")
	late := create(t, s[0], candidate("hubot", "app", "", "token of hubot"))
	standing(t, s, "made while its app is suspended", late, store.Standing{App: true, Suspended: true})
	app = replace(app, time.Time{})
	standing(t, s, "its app is suspended no more", rec, store.Standing{App: true})
	replace(app, time.Unix(0, 0)) // a time like others
	standing(t, s, "its app was suspended in 1970", rec, store.Standing{App: true, Suspended: true})

	if _, err := s[0].DeleteApp(t.Context(), "app"); err != nil {
		t.Fatalf("DeleteApp = error %v", err)
	}
	outlived := create(t, s[0], candidate("mona", "app", "", "token that outlives"))
	standing(t, s, "its app was deleted, and is neither there nor suspended", outlived, store.Standing{})
	rest("the app was deleted")

	born := application("born suspended")
	born.SuspendedAt = now
	createApp(t, s[0], born)
	standing(t, s, "its app was created suspended", create(t, s[0], candidate("mona", "born suspended", "", "token of the born")), store.Standing{App: true, Suspended: true})
}

func suspendOwner(t tb, s []store.Store) {
	createApp(t, s[0], application("app"))
	before := create(t, s[0], candidate("mona", "app", "1", "token 1"))
	own := add(t, s[0], personal("mona", "note", "own token"))
	bystander := create(t, s[0], candidate("hubot", "app", "", "bystander"))
	dead, live := store.Standing{App: true, Suspended: true}, store.Standing{App: true}
	suspended(t, s, "at first", "mona", time.Time{})
	suspended(t, s, "at first", "nobody", time.Time{})
	resume(t, s[0], "mona") // who is not suspended
	standing(t, s, "at first", before, live)

	suspend(t, s[0], "mona", now.Add(789*time.Nanosecond).In(time.FixedZone("", 3600)))
	suspended(t, s, "after Suspend", "mona", now)
	if at, err := s[1].Suspended(t.Context(), "mona"); err != nil || at.Location() != time.UTC {
		t.Errorf("Suspended = %v, error %v; times must come back in UTC", at, err)
	}
	standing(t, s, "made before Suspend", before, dead)
	standing(t, s, "personal, made before Suspend", own, store.Standing{Suspended: true})
	after := create(t, s[1], candidate("mona", "app", "2", "token 2"))
	standing(t, s, "made after Suspend", after, dead)
	standing(t, s, "of another owner", bystander, live)
	suspended(t, s, "of another owner", "hubot", time.Time{})

	suspend(t, s[1], "mona", now.Add(time.Hour)) // changes nothing
	suspend(t, s[1], "mona", now.Add(-time.Hour))
	suspended(t, s, "the second Suspend changes nothing", "mona", now)
	for _, rec := range []store.Authorization{before, own, after, bystander} {
		stored(t, s[1], rec) // all else goes on as ever
	}

	if n, err := s[0].DeleteAll(t.Context(), store.Selection{Owner: new("mona")}); n != 3 || err != nil {
		t.Errorf("DeleteAll of a suspended owner = %d, error %v, want 3", n, err)
	}
	suspended(t, s, "DeleteAll does not end it", "mona", now)
	again := create(t, s[0], candidate("mona", "app", "1", "token 3"))
	standing(t, s, "made after DeleteAll", again, dead)
	resume(t, s[1], "mona")
	suspended(t, s, "after Resume", "mona", time.Time{})
	standing(t, s, "after Resume", again, live)
	resume(t, s[0], "mona")
	suspend(t, s[0], "mona", now.Add(time.Hour))
	suspended(t, s, "suspended once more", "mona", now.Add(time.Hour))
	standing(t, s, "suspended once more", again, dead)

	suspend(t, s[0], "newcomer", now) // needs no records
	suspended(t, s, "without records", "newcomer", now)
	standing(t, s, "the first of a suspended owner", create(t, s[0], candidate("newcomer", "app", "", "token 4")), dead)
	resume(t, s[0], "newcomer")
	suspended(t, s, "after the Resume of another", "mona", now.Add(time.Hour))
}

func suspendSpelled(t tb, s []store.Store) {
	recs := make([]store.Authorization, len(spellings))
	for i, owner := range spellings {
		recs[i] = create(t, s[0], candidate(owner, "app", "", fmt.Sprint("token ", i)))
		if i%2 == 0 {
			suspend(t, s[0], owner, now.Add(time.Duration(i)*time.Second))
		}
	}
	check := func(what string, is func(i int) bool) {
		t.Helper()
		for i, owner := range spellings {
			var want time.Time
			if is(i) {
				want = now.Add(time.Duration(i) * time.Second)
			}
			suspended(t, s, what+"; owners must be compared byte for byte", owner, want)
			standing(t, s, what+"; owners must be compared byte for byte", recs[i], store.Standing{Suspended: is(i)})
		}
	}
	check("every second was suspended", func(i int) bool { return i%2 == 0 })
	for i, owner := range spellings {
		if i%4 != 0 {
			resume(t, s[0], owner)
		}
	}
	check("every fourth is still suspended", func(i int) bool { return i%4 == 0 })
}

// At each moment the owner or the app is suspended, or both: who looks at one
// after the other can find neither.
func lookupMoment(t tb, s []store.Store) {
	app := application("app")
	app.SuspendedAt = now
	app = createApp(t, s[0], app)
	rec := create(t, s[0], candidate("mona", "app", "", "token"))
	var over atomic.Bool
	together(len(s), func(g int) {
		if g > 0 {
			for i := 0; i < 300 && !over.Load(); i++ { // readers without end would keep a writer of SQLite out
				_, st, err := s[g].Lookup(t.Context(), rec.TokenHash)
				if want := (store.Standing{App: true, Suspended: true}); err != nil || st != want {
					t.Errorf("Lookup while suspensions change = %+v, error %v, want %+v as of any moment: the owner or the app was always suspended", st, err, want)
					return
				}
			}
			return
		}
		defer over.Store(true)
		for range rounds {
			err := s[0].Suspend(t.Context(), "mona", now)
			for _, at := range []time.Time{{}, now} {
				app.SuspendedAt = at
				if err == nil {
					app, err = s[0].ReplaceApp(t.Context(), app)
				}
			}
			if err == nil {
				err = s[0].Resume(t.Context(), "mona")
			}
			if err != nil {
				t.Errorf("Suspend, ReplaceApp or Resume = error %v", err)
				return
			}
		}
	})
}
