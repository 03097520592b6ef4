package storetest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

func idsNeverReused(t tb, s []store.Store) {
	var last int64
	n := 0
	next := func(after string) store.Authorization {
		t.Helper()
		n++
		c := candidate("mona", "app", fmt.Sprint(n), fmt.Sprint("token ", n))
		c.ExpiresAt = now.Add(time.Hour)
		store := create
		if n%2 == 0 {
			store = add
		}
		rec := store(t, s[n/2%len(s)], c)
		if rec.ID <= last {
			t.Errorf("the ID of a new record %s is %d, that of the record before was %d; IDs rise and are never used again, deleted or not", after, rec.ID, last)
		}
		last = max(last, rec.ID)
		return rec
	}
	remove := func(rec store.Authorization) {
		t.Helper()
		if err := s[0].Delete(t.Context(), "mona", rec.ID); err != nil {
			t.Fatalf("Delete = error %v", err)
		}
	}
	first, middle, highest := next("at the start"), next("after one"), next("after two")
	remove(highest)
	highest = next("after the deletion of the highest") // SQLite without AUTOINCREMENT
	remove(middle)
	remove(first)
	remove(highest)
	highest = next("after the deletion of all")

	c := candidate("mona", "app", highest.Fingerprint, "in the place of the expired")
	c.CreatedAt = highest.ExpiresAt
	if rec := create(t, s[0], c); rec.ID <= last {
		t.Errorf("the record in the place of an expired one has ID %d, that one had %d; IDs are never used again", rec.ID, last)
	} else {
		last = rec.ID
	}

	app := createApp(t, s[0], application("app"))
	if _, err := s[0].DeleteApp(t.Context(), "app"); err != nil {
		t.Fatalf("DeleteApp = error %v", err)
	}
	next("after DeleteApp")
	if _, err := s[0].DeleteAll(t.Context(), store.Selection{Owner: new("mona")}); err != nil {
		t.Fatalf("DeleteAll = error %v", err)
	}
	next("after DeleteAll")
	if second := createApp(t, s[1], application("second app")); second.ID <= app.ID {
		t.Errorf("the ID of a new app is %d, that of a deleted one was %d; IDs rise and are never used again", second.ID, app.ID)
	}
}

func times(t tb, s []store.Store) {
	zone := time.FixedZone("somewhere", 5*3600+1800)
	for i, tm := range []time.Time{
		now,
		now.In(zone),
		now.Add(789 * time.Nanosecond).In(zone), // finer than a microsecond
		{},
		time.Time{}.In(zone),
		time.Unix(0, 0).UTC(), // a time like others, not "never"
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(1900, 1, 1, 0, 0, 0, 1000, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		wrong := false // once for each time is enough
		check := func(field string, got time.Time) {
			t.Helper()
			demand := ""
			switch {
			case tm.IsZero() != got.IsZero():
				demand = "the zero time, and no other, must come back as the zero time"
			case got.Nanosecond()%1000 != 0 || got.Sub(tm).Abs() >= time.Microsecond:
				demand = "times must be kept to the microsecond"
			case got.Location() != time.UTC:
				demand = "times must come back in UTC"
			}
			if demand != "" && !wrong {
				wrong = true
				t.Errorf("%s: %v came back as %v; %s", field, tm, got, demand)
			}
		}
		authorization := func(method string, a store.Authorization) {
			t.Helper()
			check(method+" CreatedAt", a.CreatedAt)
			check(method+" UpdatedAt", a.UpdatedAt)
			check(method+" ExpiresAt", a.ExpiresAt)
			check(method+" EndsAt", a.EndsAt)
			check(method+" IssuedAt", a.IssuedAt)
			check(method+" Replay.ExpiresAt", a.Replay.ExpiresAt)
		}
		app := func(method string, a store.App) {
			t.Helper()
			check(method+" CreatedAt", a.CreatedAt)
			check(method+" UpdatedAt", a.UpdatedAt)
			check(method+" SuspendedAt", a.SuspendedAt)
			if len(a.Secrets) != 1 {
				t.Fatalf("%s returned %d secrets, want 1", method, len(a.Secrets))
			}
			check(method+" secret CreatedAt", a.Secrets[0].CreatedAt)
			check(method+" secret ExpiresAt", a.Secrets[0].ExpiresAt)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%v: error %v", tm, err)
			}
		}

		c := withReplay(candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i)), fmt.Sprint(i))
		c.CreatedAt, c.UpdatedAt, c.ExpiresAt, c.IssuedAt, c.Replay.ExpiresAt, c.EndsAt = tm, tm, tm, tm, tm, tm
		rec := create(t, s[0], c)
		authorization("GetOrCreate", rec)
		got, err := s[0].Get(t.Context(), "mona", rec.ID)
		must(err)
		authorization("Get", got)
		got, err = s[0].GetByTokenHash(t.Context(), rec.TokenHash)
		must(err)
		authorization("GetByTokenHash", got)
		got, _, err = s[0].Lookup(t.Context(), rec.TokenHash)
		must(err)
		authorization("Lookup", got)
		got, err = s[0].GetByReplay(t.Context(), rec.Replay.ID)
		must(err)
		authorization("GetByReplay", got)
		got, err = s[0].Create(t.Context(), c)
		must(err)
		authorization("Create again", got)
		page, err := s[0].List(t.Context(), store.Query{Owner: "mona", After: rec.ID - 1, Limit: 1})
		must(err)
		if len(page) == 1 {
			authorization("List", page[0])
		}
		c.ID, c.Revision, c.Note = rec.ID, rec.Revision, "replaced"
		got, err = s[0].Replace(t.Context(), c)
		must(err)
		authorization("Replace", got)
		got, err = s[0].Replace(t.Context(), c) // the repeat, with the times as the caller has them
		must(err)
		authorization("Replace again", got)
		if !tm.IsZero() {
			must(s[0].Touch(t.Context(), []store.Use{{ID: rec.ID, At: tm}}))
			got, err = s[0].Get(t.Context(), "mona", rec.ID)
			must(err)
			check("LastUsedAt", got.LastUsedAt)
			owner := fmt.Sprint("suspended ", i)
			must(s[0].Suspend(t.Context(), owner, tm))
			since, err := s[0].Suspended(t.Context(), owner)
			must(err)
			check("Suspended", since)
		}

		a := application(fmt.Sprint("app ", i))
		a.CreatedAt, a.UpdatedAt, a.SuspendedAt = tm, tm, tm
		a.Secrets = []store.AppSecret{{Hash: store.HashOf("secret"), CreatedAt: tm, ExpiresAt: tm}}
		created := createApp(t, s[0], a)
		app("CreateApp", created)
		again, err := s[0].CreateApp(t.Context(), a) // the repeat, with the times as the caller has them
		must(err)
		app("CreateApp again", again)
		again, err = s[0].App(t.Context(), a.ClientID)
		must(err)
		app("App", again)
		apps, err := s[0].ListApps(t.Context(), created.ID-1, 1)
		must(err)
		if len(apps) == 1 {
			app("ListApps", apps[0])
		}
		created.Name, created.Secrets = "replaced", a.Secrets
		created.UpdatedAt = tm
		again, err = s[0].ReplaceApp(t.Context(), created)
		must(err)
		app("ReplaceApp", again)
	}

	c := candidate("zones", "app", "", "zones")
	c.ExpiresAt = now.Add(time.Hour)
	rec := create(t, s[0], c)
	for _, z := range []*time.Location{time.FixedZone("", -11*3600), time.FixedZone("", 13*3600), time.UTC} {
		c := candidate("zones", "app", "", "other token "+z.String())
		c.CreatedAt = now.In(z)
		if got, created, err := s[0].GetOrCreate(t.Context(), c); err != nil || created || got.ID != rec.ID {
			t.Errorf("GetOrCreate one hour before ExpiresAt, told in another zone = created %t, error %v; an instant is the same in every zone", created, err)
		}
	}
}

func noClock(t tb, s []store.Store) {
	for _, year := range []int{1901, 1999, 2150, 9900} {
		c := candidate("mona", "app", fmt.Sprint(year), fmt.Sprint("first token of ", year))
		c.CreatedAt = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		c.ExpiresAt = c.CreatedAt.AddDate(1, 0, 0)
		rec := create(t, s[0], c)
		stored(t, s[0], rec)
		c = candidate("mona", "app", c.Fingerprint, fmt.Sprint("second token of ", year))
		c.CreatedAt = rec.ExpiresAt.Add(-time.Hour)
		if got, created, err := s[0].GetOrCreate(t.Context(), c); err != nil || created || got.ID != rec.ID {
			t.Errorf("GetOrCreate in %d, an hour before ExpiresAt = created %t, error %v; the only time a Store knows is the one in its arguments", year, created, err)
		}
		if _, err := s[0].GetByTokenHash(t.Context(), rec.TokenHash); err != nil {
			t.Errorf("GetByTokenHash of a record of %d = error %v; expired records are returned like others", year, err)
		}
		count(t, s[0], store.Selection{TokenHash: &rec.TokenHash, LiveAt: c.CreatedAt}, 1)
		count(t, s[0], store.Selection{TokenHash: &rec.TokenHash, LiveAt: rec.ExpiresAt}, 0)
	}
	if n := len(owned(t, s[0], "mona")); n != 4 {
		t.Errorf("List = %d records, want 4; expired records are returned like others", n)
	}
}

func copies(t tb, s []store.Store) {
	spoil := func(a store.Authorization) {
		for i := range a.Scopes {
			a.Scopes[i] = "spoiled"
		}
		_ = append(a.Scopes[:0], "appended")
		clear(a.Replay.Seal)
	}
	fresh := func(fingerprint, token string) store.Authorization {
		c := withReplay(candidate("mona", "app", fingerprint, token), token)
		c.Scopes = make([]string, 1, 4) // with room behind
		c.Scopes[0] = "repo"
		return c
	}
	c := fresh("", "token")
	rec := create(t, s[0], c)
	want := rec
	want.Scopes, want.Replay.Seal = []string{"repo"}, fresh("", "token").Replay.Seal

	check := func(what string) {
		t.Helper()
		got, err := s[0].Get(t.Context(), "mona", rec.ID)
		if err != nil {
			t.Fatalf("Get = error %v", err)
		}
		if d := diff(got, want); d != "" {
			t.Errorf("after a caller changed %s: %s; slices must be copied on the way in and on the way out", what, d)
		}
	}
	spoil(c)
	check("the candidate of GetOrCreate")
	spoil(rec)
	check("the created record from GetOrCreate")
	for what, call := range map[string]func() (store.Authorization, error){
		"the existing record from GetOrCreate": func() (store.Authorization, error) {
			a, _, err := s[0].GetOrCreate(t.Context(), candidate("mona", "app", "", "other token"))
			return a, err
		},
		"the record from Get":            func() (store.Authorization, error) { return s[0].Get(t.Context(), "mona", rec.ID) },
		"the record from GetByTokenHash": func() (store.Authorization, error) { return s[0].GetByTokenHash(t.Context(), rec.TokenHash) },
		"the record from GetByReplay":    func() (store.Authorization, error) { return s[0].GetByReplay(t.Context(), rec.Replay.ID) },
		"the record from Lookup": func() (store.Authorization, error) {
			a, _, err := s[0].Lookup(t.Context(), rec.TokenHash)
			return a, err
		},
		"the record from a repeat of Create": func() (store.Authorization, error) {
			return s[0].Create(t.Context(), fresh("", "token"))
		},
		"a record from List": func() (store.Authorization, error) {
			page, err := s[0].List(t.Context(), store.Query{Owner: "mona", Limit: 1})
			if len(page) != 1 {
				return store.Authorization{}, err
			}
			return page[0], err
		},
	} {
		got, err := call()
		if err != nil {
			t.Errorf("%s: error %v", what, err)
		}
		spoil(got)
		check(what)
	}
	change := withReplay(want, "another")
	change.Scopes = []string{"gist", "user"}
	got, err := s[0].Replace(t.Context(), change)
	if err != nil {
		t.Fatalf("Replace = error %v", err)
	}
	want = withReplay(want, "another")
	want.Scopes, want.Revision = []string{"gist", "user"}, 2
	spoil(change)
	check("the argument of Replace")
	spoil(got)
	check("the record from Replace")
	change = withReplay(change, "another")
	change.Scopes = []string{"gist", "user"}
	if got, err = s[0].Replace(t.Context(), change); err != nil {
		t.Fatalf("the repeat of Replace = error %v", err)
	}
	spoil(got)
	check("the record from a repeat of Replace")

	c = fresh("created", "another token")
	rec = add(t, s[0], c)
	want = rec
	want.Scopes, want.Replay.Seal = []string{"repo"}, fresh("created", "another token").Replay.Seal
	spoil(c)
	check("the candidate of Create")
	spoil(rec)
	check("the record from Create")

	spoilApp := func(a store.App) { clear(a.Secrets) }
	checkApp := func(what string, want store.App) {
		t.Helper()
		got, err := s[0].App(t.Context(), want.ClientID)
		if err != nil {
			t.Fatalf("App = error %v", err)
		}
		if d := diff(got, want); d != "" {
			t.Errorf("after a caller changed %s: %s; slices must be copied on the way in and on the way out", what, d)
		}
	}
	in := application("app")
	out := createApp(t, s[0], in)
	wantApp := application("app")
	wantApp.ID, wantApp.Revision = out.ID, 1
	spoilApp(in)
	checkApp("the argument of CreateApp", wantApp)
	spoilApp(out)
	checkApp("the app from CreateApp", wantApp)
	if out, err = s[0].App(t.Context(), "app"); err != nil {
		t.Fatalf("App = error %v", err)
	}
	spoilApp(out)
	checkApp("the app from App", wantApp)
	page, err := s[0].ListApps(t.Context(), 0, 1)
	if err != nil || len(page) != 1 {
		t.Fatalf("ListApps = %d apps, error %v", len(page), err)
	}
	spoilApp(page[0])
	checkApp("an app from ListApps", wantApp)
	in = application("app")
	in.Revision, in.Name = 1, "replaced"
	wantApp.Revision, wantApp.Name = 2, "replaced"
	if out, err = s[0].ReplaceApp(t.Context(), in); err != nil {
		t.Fatalf("ReplaceApp = error %v", err)
	}
	spoilApp(in)
	checkApp("the argument of ReplaceApp", wantApp)
	spoilApp(out)
	checkApp("the app from ReplaceApp", wantApp)
}

// What was read through one handle must not hide what is written through
// another later: not the record, not its absence.
func handlesSeeEachOther(t tb, s []store.Store) {
	a, b := s[0], s[1]
	c := withReplay(candidate("mona", "app", "", "token"), "key")
	absent := func(method string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of what is not there = error %v, want ErrNotFound", method, err)
		}
	}
	_, err := b.GetByTokenHash(t.Context(), c.TokenHash)
	absent("GetByTokenHash", err)
	_, _, err = b.Lookup(t.Context(), c.TokenHash)
	absent("Lookup", err)
	_, err = b.GetByReplay(t.Context(), c.Replay.ID)
	absent("GetByReplay", err)
	_, err = b.App(t.Context(), "app")
	absent("App", err)
	owned(t, b, "mona")
	count(t, b, store.Selection{Owner: new("mona")}, 0)

	rec := create(t, a, c)
	app := createApp(t, a, application("app"))
	for range 2 {
		stored(t, b, rec)
		storedApp(t, b, app)
		if got, err := b.GetByTokenHash(t.Context(), rec.TokenHash); err != nil || got.ID != rec.ID || got.Note != rec.Note {
			t.Errorf("GetByTokenHash through another handle = ID %d, note %q, error %v; a write must be seen at once: want ID %d, note %q", got.ID, got.Note, err, rec.ID, rec.Note)
		}
		if got, err := b.GetByReplay(t.Context(), c.Replay.ID); err != nil || got.ID != rec.ID || got.Note != rec.Note {
			t.Errorf("GetByReplay through another handle = ID %d, note %q, error %v; a write must be seen at once: want ID %d, note %q", got.ID, got.Note, err, rec.ID, rec.Note)
		}
		count(t, b, store.Selection{Owner: new("mona")}, 1)
		if got := owned(t, b, "mona"); len(got) != 1 || got[0].Note != rec.Note {
			t.Errorf("List through another handle = %d records, want the one as it was written last", len(got))
		}
		if got, created, err := b.GetOrCreate(t.Context(), candidate("mona", "app", "", "other")); err != nil || created || got.Note != rec.Note {
			t.Errorf("GetOrCreate through another handle = note %q, created %t, error %v; want the existing record as it was written last", got.Note, created, err)
		}
		if apps, err := b.ListApps(t.Context(), 0, 10); err != nil || len(apps) != 1 || apps[0].Name != app.Name {
			t.Errorf("ListApps through another handle = %d apps, error %v, want the one as it was written last", len(apps), err)
		}
		rec.Note, rec.TokenHash = "changed", store.HashOf("changed token")
		if rec, err = a.Replace(t.Context(), rec); err != nil {
			t.Fatalf("Replace = error %v", err)
		}
		app.Name = "changed"
		if app, err = a.ReplaceApp(t.Context(), app); err != nil {
			t.Fatalf("ReplaceApp = error %v", err)
		}
		rec.Scopes, app.Secrets = append([]string{}, rec.Scopes...), append([]store.AppSecret{}, app.Secrets...)
		stored(t, b, rec)
		storedApp(t, b, app)
	}
	if err := a.Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	if _, err := a.DeleteApp(t.Context(), "app"); err != nil {
		t.Fatalf("DeleteApp = error %v", err)
	}
	_, err = b.Get(t.Context(), "mona", rec.ID)
	absent("Get through another handle", err)
	_, err = b.GetByTokenHash(t.Context(), rec.TokenHash)
	absent("GetByTokenHash through another handle", err)
	_, err = b.GetByReplay(t.Context(), c.Replay.ID)
	absent("GetByReplay through another handle", err)
	count(t, b, store.Selection{Owner: new("mona")}, 0)
	_, err = b.App(t.Context(), "app")
	absent("App through another handle", err)
	if n := len(owned(t, b, "mona")); n != 0 {
		t.Errorf("List through another handle = %d records after the last was deleted, want none", n)
	}
}

// soon is how long a call may take after its context is done. It is generous:
// it tells a call that waits for its context from one that does not.
const soon = 5 * time.Second

// everyMethod calls each method of s once, on things that exist.
func everyMethod(ctx context.Context, s store.Store, rec store.Authorization, app store.App) map[string]error {
	out := make(map[string]error)
	_, _, out["GetOrCreate of an existing key"] = s.GetOrCreate(ctx, candidate(rec.Owner, rec.ClientID, rec.Fingerprint, "done 1"))
	_, _, out["GetOrCreate of a new key"] = s.GetOrCreate(ctx, candidate(rec.Owner, rec.ClientID, "new", "done 2"))
	_, out["Get"] = s.Get(ctx, rec.Owner, rec.ID)
	_, out["Create"] = s.Create(ctx, candidate(rec.Owner, rec.ClientID, "created when done", "done 3"))
	_, out["GetByTokenHash"] = s.GetByTokenHash(ctx, rec.TokenHash)
	_, _, out["Lookup"] = s.Lookup(ctx, rec.TokenHash)
	_, out["GetByReplay"] = s.GetByReplay(ctx, rec.Replay.ID)
	_, out["Count"] = s.Count(ctx, store.Selection{Owner: &rec.Owner})
	_, out["WipeReplays"] = s.WipeReplays(ctx, rec.Replay.ExpiresAt)
	out["Touch"] = s.Touch(ctx, []store.Use{{ID: rec.ID, At: now}})
	out["Touch of nothing"] = s.Touch(ctx, nil)
	out["Suspend"] = s.Suspend(ctx, rec.Owner, now)
	_, out["Suspended"] = s.Suspended(ctx, rec.Owner)
	out["Resume"] = s.Resume(ctx, "suspended before")
	if k, ok := s.(store.Housekeeper); ok {
		_, out["Purge"] = k.Purge(ctx, rec.CreatedAt, 1)
		_, out["Expiring"] = k.Expiring(ctx, rec.CreatedAt, rec.ExpiresAt, store.Position{}, 1)
		_, _, out["Unused"] = k.Unused(ctx, now, now, 0, 1)
	}
	_, out["List"] = s.List(ctx, store.Query{Owner: rec.Owner, Limit: 1})
	_, out["CreateApp"] = s.CreateApp(ctx, application("created when done"))
	_, out["App"] = s.App(ctx, app.ClientID)
	_, out["ListApps"] = s.ListApps(ctx, 0, 1)
	rec.Note, app.Name = "changed when done", "changed when done"
	_, out["Replace"] = s.Replace(ctx, rec)
	_, out["ReplaceApp"] = s.ReplaceApp(ctx, app)
	out["Delete"] = s.Delete(ctx, rec.Owner, rec.ID)
	_, out["DeleteAll"] = s.DeleteAll(ctx, store.Selection{Owner: &rec.Owner})
	_, out["DeleteApp"] = s.DeleteApp(ctx, app.ClientID)
	return out
}

func contextDone(t tb, s []store.Store) {
	rec := create(t, s[0], withReplay(candidate("mona", "app", "", "token"), "key"))
	app := createApp(t, s[0], application("app"))
	dead := candidate("hubot", "app", "", "dead token")
	dead.ExpiresAt = dead.CreatedAt
	dead = create(t, s[0], dead)
	suspend(t, s[0], "suspended before", now)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), now)
	defer cancel()
	for _, ctx := range []context.Context{canceled, late} {
		begin := time.Now()
		for method, err := range everyMethod(ctx, s[0], rec, app) {
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("%s with a context that was done before = error %v; it must return an error that wraps %q", method, err, ctx.Err())
			}
		}
		if d := time.Since(begin); d > soon {
			t.Errorf("calls with a context that is done took %v; they must return soon", d)
		}
		stored(t, s[0], rec) // and nothing has changed
		stored(t, s[0], dead)
		storedApp(t, s[0], app)
		suspended(t, s, "after calls whose context was done before", rec.Owner, time.Time{})
		suspended(t, s, "after calls whose context was done before", "suspended before", now)
		if n := len(owned(t, s[0], "mona")); n != 1 {
			t.Errorf("there are %d records after calls whose context was done before, want 1", n)
		}
	}
	for method, err := range everyMethod(t.Context(), s[0], rec, app) {
		if err != nil {
			t.Errorf("%s = error %v; the store must be usable after calls whose context was done", method, err)
		}
	}
}

func contextEnds(t tb, s []store.Store) {
	var mu sync.Mutex
	var acknowledged []store.Authorization
	together(len(s)*4, func(g int) {
		h := s[g%len(s)]
		for i := range rounds {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan time.Time, 1)
			go func() {
				if i%2 == 0 { // some before, some during, some after
					time.Sleep(time.Duration(g*i) * time.Microsecond)
				}
				cancel()
				ended <- time.Now()
			}()
			rec, created, err := h.GetOrCreate(ctx, candidate("mona", "app", fmt.Sprintf("%d of %d", i, g), fmt.Sprintf("token %d of %d", i, g)))
			if d := time.Since(<-ended); d > soon {
				t.Errorf("GetOrCreate returned %v after its context was done; it must return soon", d)
			}
			switch {
			case err == nil && created:
				mu.Lock()
				acknowledged = append(acknowledged, rec)
				mu.Unlock()
			case err == nil:
				t.Errorf("GetOrCreate of a new key = existing ID %d", rec.ID)
			case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict):
				t.Errorf("GetOrCreate whose context ended = error %v, which says something about the record", err)
			}
		}
	})
	for _, rec := range acknowledged {
		stored(t, s[0], rec)
	}
	for _, h := range s {
		for g := range len(s) * 4 { // whatever became of the calls, their repeat ends well
			c := candidate("mona", "app", fmt.Sprintf("%d of %d", rounds-1, g), fmt.Sprintf("token %d of %d", rounds-1, g))
			if _, created, err := h.GetOrCreate(t.Context(), c); err != nil || !created {
				t.Errorf("the repeat of a GetOrCreate whose context ended = created %t, error %v; it must behave as if both calls were one", created, err)
			}
		}
	}
}

func errorsHoldNoSecrets(t tb, s []store.Store) {
	const mark = "marked-parameter"
	secret := store.HashOf("secret of " + mark)
	hash, other, replay, unknown := store.HashOf("hash one"), store.HashOf("hash two"), store.HashOf("replay"), store.HashOf("unknown")
	seal := []byte("seal \x00\x01 of " + mark)
	words := []string{mark}
	for _, b := range [][]byte{secret[:], hash[:], other[:], replay[:], unknown[:], seal} {
		numbers := strings.Trim(fmt.Sprint(b), "[]")
		literal := strings.TrimPrefix(strings.TrimSuffix(fmt.Sprintf("%#v", b), "}"), "[]byte{")
		words = append(words, fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), string(b), base64.StdEncoding.EncodeToString(b), numbers, literal)
	}
	var check func(method string, err error)
	check = func(method string, err error) {
		t.Helper()
		for _, text := range []string{fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			for _, w := range words {
				if strings.Contains(text, w) {
					t.Errorf("an error of %s holds a hash or a parameter: %.500q; errors must not", method, text)
				}
			}
		}
		switch e := err.(type) { // the whole tree: somebody will print what errors.As finds
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				check(method, inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				check(method, inner)
			}
		}
	}
	failed := func(method string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s = no error", method)
			return
		}
		check(method, err)
	}
	marked := func(fingerprint string, hash store.Hash) store.Authorization {
		c := candidate("owner "+mark, "client "+mark, fingerprint+mark, mark)
		c.TokenHash, c.TokenLastEight, c.Scopes = hash, mark[:8], []string{mark}
		return c
	}
	keyed := func(c store.Authorization) store.Authorization {
		c.Replay = store.Replay{ID: replay, Seal: seal, ExpiresAt: now}
		return c
	}
	rec := create(t, s[0], keyed(marked("one", hash)))
	two := create(t, s[0], marked("two", other))
	app := application(mark)
	app.Secrets[0].Hash = secret
	app = createApp(t, s[0], app)

	_, _, err := s[0].GetOrCreate(t.Context(), marked("three", hash))
	failed("GetOrCreate with a TokenHash that is taken", err)
	two.TokenHash = hash
	_, err = s[0].Replace(t.Context(), two)
	failed("Replace with a TokenHash that is taken", err)
	two.TokenHash, two.Fingerprint = other, rec.Fingerprint
	_, err = s[0].Replace(t.Context(), two)
	failed("Replace with a fingerprint that is taken", err)
	two.Fingerprint = "two" + mark
	_, err = s[0].Replace(t.Context(), keyed(two))
	failed("Replace with a Replay that is taken", err)
	_, err = s[0].Create(t.Context(), marked("four", hash))
	failed("Create with a TokenHash that is taken", err)
	_, err = s[0].Create(t.Context(), marked("one", unknown))
	failed("Create with a fingerprint that is taken", err)
	_, err = s[0].Create(t.Context(), keyed(marked("four", unknown)))
	failed("Create with a Replay that is taken", err)
	_, _, err = s[0].GetOrCreate(t.Context(), keyed(marked("four", unknown)))
	failed("GetOrCreate with a Replay that is taken", err)
	own := marked("", secret)
	own.ClientID = ""
	add(t, s[0], own)
	own.TokenHash = unknown
	_, err = s[0].Create(t.Context(), own)
	failed("Create with a note that is taken", err)
	_, err = s[0].GetByReplay(t.Context(), unknown)
	failed("GetByReplay of an unknown Replay", err)
	_, err = s[0].DeleteAll(t.Context(), store.Selection{LiveAt: now})
	failed("DeleteAll of nothing in particular", err)
	two.Revision += 3
	_, err = s[0].Replace(t.Context(), two)
	failed("Replace of another Revision", err)
	two.ID += 1_000_000
	_, err = s[0].Replace(t.Context(), two)
	failed("Replace of an unknown record", err)
	_, err = s[0].Get(t.Context(), "other "+mark, rec.ID)
	failed("Get of an unknown record", err)
	_, _, err = s[0].Lookup(t.Context(), unknown)
	failed("Lookup of an unknown hash", err)
	_, err = s[0].GetByTokenHash(t.Context(), unknown)
	failed("GetByTokenHash of an unknown hash", err)
	failed("Delete of an unknown record", s[0].Delete(t.Context(), "other "+mark, rec.ID))
	app.Name += "changed"
	_, err = s[0].CreateApp(t.Context(), app)
	failed("CreateApp with a client_id that is taken", err)
	app.Revision += 3
	_, err = s[0].ReplaceApp(t.Context(), app)
	failed("ReplaceApp of another Revision", err)
	app.ClientID += "unknown"
	_, err = s[0].ReplaceApp(t.Context(), app)
	failed("ReplaceApp of an unknown app", err)
	_, err = s[0].App(t.Context(), mark+"unknown")
	failed("App of an unknown client_id", err)
	_, err = s[0].DeleteApp(t.Context(), mark+"unknown")
	failed("DeleteApp of an unknown client_id", err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for method, err := range everyMethod(ctx, s[0], rec, app) {
		failed(method+" with a context that is done", err)
	}
}
