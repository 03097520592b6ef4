package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

func appFields(t tb, s []store.Store) {
	full := application("client 世界 e\u0301")
	full.Name, full.URL = "Grüße ' \" \\ % \U0001F9ED\n", "https://example.com/?q=%00&ü"
	full.Secrets = append(full.Secrets, store.AppSecret{
		Hash: store.HashOf("third"), CreatedAt: now.Add(-24 * time.Hour), ExpiresAt: now.Add(-time.Microsecond), // neither youngest nor live
	})
	full.SuspendedAt = now.Add(time.Microsecond)
	none := store.App{ClientID: "none", Secrets: []store.AppSecret{}}
	empty := store.App{Name: "the empty client_id"}
	for _, a := range []store.App{full, none, empty} {
		a.ID, a.Revision = 4711, 42 // ignored
		app := createApp(t, s[0], a)
		if app.ID <= 0 || app.Revision != 1 {
			t.Errorf("CreateApp returned ID %d, Revision %d; a new app has an ID greater than zero and Revision 1", app.ID, app.Revision)
		}
		a.ID, a.Revision = app.ID, 1
		if d := diff(app, a); d != "" {
			t.Errorf("CreateApp must return every field of the app, its secrets in their order: %s", d)
		}
		storedApp(t, s[0], a)
		page, err := s[0].ListApps(t.Context(), app.ID-1, 1)
		if err != nil || len(page) != 1 {
			t.Fatalf("ListApps = %d apps, error %v, want the one that was created", len(page), err)
		}
		if d := diff(page[0], a); d != "" {
			t.Errorf("ListApps must return every field of the app, its secrets in their order: %s", d)
		}
	}
	if _, err := s[0].App(t.Context(), "unknown"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("App of an unknown client_id = error %v, want ErrNotFound", err)
	}
}

// clientIDTaken checks that err says so.
func clientIDTaken(t tb, when string, err error) {
	t.Helper()
	if c, ok := errors.AsType[*store.ConflictError](err); !ok || c.Field != "client_id" || !errors.Is(err, store.ErrConflict) {
		t.Errorf("CreateApp %s = error %v, want a *ConflictError with Field \"client_id\"", when, err)
	}
}

func appTaken(t tb, s []store.Store) {
	app := createApp(t, s[0], application("app"))
	other := application("app")
	other.Name, other.Secrets = "another app", nil
	for _, h := range s {
		_, err := h.CreateApp(t.Context(), other)
		clientIDTaken(t, "with a client_id that is taken", err)
		storedApp(t, h, app)
	}
	if _, err := s[0].DeleteApp(t.Context(), "app"); err != nil {
		t.Fatalf("DeleteApp = error %v", err)
	}
	for _, h := range s {
		_, err := h.CreateApp(t.Context(), other)
		clientIDTaken(t, "with the client_id of a deleted app", err)
		_, err = h.CreateApp(t.Context(), application("app"))
		clientIDTaken(t, "with everything of a deleted app", err)
		if _, err := h.App(t.Context(), "app"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("App of a deleted app = error %v, want ErrNotFound", err)
		}
	}
}

func appKeys(t tb, s []store.Store) {
	for i, v := range spellings {
		a := application(v)
		if app, err := s[0].CreateApp(t.Context(), a); err != nil || app.ClientID != v {
			t.Errorf("CreateApp(%+q) = client_id %+q, error %v; client ids must be compared and kept byte for byte", v, app.ClientID, err)
		}
		create(t, s[0], candidate("mona", v, "", fmt.Sprint("token ", i)))
	}
	for _, v := range spellings {
		if app, err := s[0].App(t.Context(), v); err != nil || app.ClientID != v {
			t.Errorf("App(%+q) = client_id %+q, error %v; client ids must be compared byte for byte", v, app.ClientID, err)
		}
	}
	for i, v := range spellings {
		if i%2 == 0 {
			if n, err := s[0].DeleteApp(t.Context(), v); err != nil || n != 1 {
				t.Errorf("DeleteApp(%+q) = %d authorizations, error %v, want its one: client ids must be compared byte for byte", v, n, err)
			}
		}
	}
	left := make(map[string]bool)
	for _, rec := range owned(t, s[0], "mona") {
		left[rec.ClientID] = true
	}
	for i, v := range spellings {
		_, err := s[0].App(t.Context(), v)
		if deleted := i%2 == 0; (err == nil) == deleted || left[v] == deleted {
			t.Errorf("after DeleteApp of every second client_id: app %+q error %v, authorization there %t; want deleted %t: client ids must be compared byte for byte",
				v, err, left[v], deleted)
		}
	}
}

func appCreateRepeat(t tb, s []store.Store) {
	app := createApp(t, s[0], application("app"))
	for _, h := range s {
		got, err := h.CreateApp(t.Context(), application("app"))
		if err != nil {
			t.Errorf("the repeat of a CreateApp that has taken effect = error %v; its answer may have been lost: want the stored app, no error", err)
		} else if d := diff(got, app); d != "" {
			t.Errorf("the repeat of a CreateApp that has taken effect must return what is stored: %s", d)
		}
	}
	for field, alter := range map[string]func(*store.App){
		"Name":           func(a *store.App) { a.Name = "other" },
		"URL":            func(a *store.App) { a.URL = "other" },
		"number secrets": func(a *store.App) { a.Secrets = a.Secrets[:1] },
		"secret Hash":    func(a *store.App) { a.Secrets[1].Hash = store.HashOf("other") },
		"secret End":     func(a *store.App) { a.Secrets[1].ExpiresAt = now },
		"secret order":   func(a *store.App) { slices.Reverse(a.Secrets) },
		"SuspendedAt":    func(a *store.App) { a.SuspendedAt = now },
		"CreatedAt":      func(a *store.App) { a.CreatedAt = now },
		"UpdatedAt":      func(a *store.App) { a.UpdatedAt = now.Add(time.Second) },
	} {
		other := application("app")
		alter(&other)
		_, err := s[1].CreateApp(t.Context(), other)
		clientIDTaken(t, "that differs from the stored app in "+field, err)
	}
	storedApp(t, s[1], app)
	if apps, err := s[0].ListApps(t.Context(), 0, 10); err != nil || len(apps) != 1 {
		t.Errorf("ListApps = %d apps, error %v after the repeat of a CreateApp, want 1", len(apps), err)
	}
}

func appCreateRace(t tb, s []store.Store) {
	var mu sync.Mutex
	var winners []store.App
	together(len(s)*4, func(g int) {
		a := application("app")
		a.Name = fmt.Sprint("app of ", g)
		app, err := s[g%len(s)].CreateApp(t.Context(), a)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			winners = append(winners, app)
		} else {
			clientIDTaken(t, "in a race", err)
		}
	})
	if len(winners) != 1 {
		t.Fatalf("%d callers created one client_id; exactly one must", len(winners))
	}
	storedApp(t, s[0], winners[0])
}

func appList(t tb, s []store.Store) {
	var want []int64
	list := func(after int64, limit int, want []int64) {
		t.Helper()
		apps, err := s[0].ListApps(t.Context(), after, limit)
		var got []int64
		for _, app := range apps {
			got = append(got, app.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ListApps(after %d, limit %d) = IDs %v, error %v, want %v: rising, after the ID after, at most limit", after, limit, got, err, want)
		}
	}
	list(0, 10, nil)
	for i := range 7 {
		want = append(want, createApp(t, s[0], application(fmt.Sprint("app ", i*5%7))).ID) // not in order of client_id
	}
	for limit := 1; limit <= len(want)+1; limit++ {
		list(0, limit, want[:min(limit, len(want))])
		list(want[1], limit, want[2:min(2+limit, len(want))])
	}
	list(want[6], 10, nil)
	if _, err := s[0].DeleteApp(t.Context(), fmt.Sprint("app ", 3*5%7)); err != nil {
		t.Fatalf("DeleteApp = error %v", err)
	}
	list(0, 10, slices.Delete(slices.Clone(want), 3, 4))
	list(want[3], 2, want[4:6])
}

func appReplaceFields(t tb, s []store.Store) {
	bystander := createApp(t, s[0], application("other"))
	app := createApp(t, s[0], application("app"))

	change := app
	change.Name, change.URL = "new name", ""
	secrets := application("app").Secrets
	change.Secrets = []store.AppSecret{secrets[1], {Hash: store.HashOf("newest"), CreatedAt: now.Add(time.Hour)}, secrets[0]}
	change.UpdatedAt, change.SuspendedAt = now.Add(time.Hour), now.Add(time.Minute)
	want := change
	want.Revision = 2
	change.ID, change.CreatedAt = bystander.ID, now.Add(-9*time.Hour) // never change
	got, err := s[0].ReplaceApp(t.Context(), change)
	if err != nil {
		t.Fatalf("ReplaceApp = error %v", err)
	}
	if d := diff(got, want); d != "" {
		t.Errorf("ReplaceApp must store every field but ID and CreatedAt, raise Revision by one, and return what is stored: %s", d)
	}
	storedApp(t, s[0], want)

	want.Secrets, want.SuspendedAt = nil, time.Time{}
	if got, err = s[0].ReplaceApp(t.Context(), want); err != nil {
		t.Fatalf("ReplaceApp = error %v", err)
	}
	want.Revision = 3
	if d := diff(got, want); d != "" {
		t.Errorf("ReplaceApp must be able to take all secrets and SuspendedAt away: %s", d)
	}
	storedApp(t, s[0], want)
	storedApp(t, s[0], bystander)

	want.ClientID = "unknown"
	if _, err := s[0].ReplaceApp(t.Context(), want); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ReplaceApp of an unknown client_id = error %v, want ErrNotFound", err)
	}
}

func appReplaceCompareAndSwap(t tb, s []store.Store) {
	app := createApp(t, s[0], application("app"))
	change := app
	change.Name = "changed"
	second, err := s[0].ReplaceApp(t.Context(), change)
	if err != nil || second.Revision != app.Revision+1 {
		t.Fatalf("ReplaceApp of Revision %d = Revision %d, error %v; it must raise Revision by one", app.Revision, second.Revision, err)
	}
	for _, revision := range []int64{app.Revision, second.Revision + 1, 0, -1} {
		stale := second
		stale.Revision, stale.Name = revision, "lost update"
		if _, err := s[1].ReplaceApp(t.Context(), stale); !errors.Is(err, store.ErrConflict) {
			t.Errorf("ReplaceApp of Revision %d while %d is stored = error %v, want ErrConflict", revision, second.Revision, err)
		}
	}
	storedApp(t, s[1], second)
}

func appReplaceRace(t tb, s []store.Store) {
	app := createApp(t, s[0], application("app"))
	for range 5 {
		var mu sync.Mutex
		var winners []store.App
		together(len(s)*4, func(g int) {
			change := app
			change.Secrets = append(slices.Clone(app.Secrets), store.AppSecret{Hash: store.HashOf(fmt.Sprint("secret of ", g)), CreatedAt: now})
			got, err := s[g%len(s)].ReplaceApp(t.Context(), change)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, got)
			} else if !errors.Is(err, store.ErrConflict) {
				t.Errorf("ReplaceApp in a race = error %v, want nil or ErrConflict", err)
			}
		})
		if len(winners) != 1 || winners[0].Revision != app.Revision+1 {
			t.Fatalf("%d of %d callers changed Revision %d; exactly one must, the rest must get ErrConflict", len(winners), len(s)*4, app.Revision)
		}
		app = winners[0]
		storedApp(t, s[0], app)
	}
}

func appReplaceRepeat(t tb, s []store.Store) {
	change := createApp(t, s[0], application("app"))
	change.Secrets = append(application("app").Secrets[:1], store.AppSecret{Hash: store.HashOf("newest"), CreatedAt: now})
	change.UpdatedAt = now.Add(time.Minute)
	second, err := s[0].ReplaceApp(t.Context(), change)
	if err != nil {
		t.Fatalf("ReplaceApp = error %v", err)
	}
	for _, h := range s {
		got, err := h.ReplaceApp(t.Context(), change)
		if err != nil {
			t.Errorf("the repeat of a ReplaceApp that has taken effect = error %v; its answer may have been lost: want the stored app, no error", err)
		} else if d := diff(got, second); d != "" {
			t.Errorf("the repeat of a ReplaceApp that has taken effect must return what is stored, at the same Revision: %s", d)
		}
	}
	for field, alter := range map[string]func(*store.App){
		"Name":        func(a *store.App) { a.Name = "other" },
		"URL":         func(a *store.App) { a.URL = "other" },
		"Secrets":     func(a *store.App) { a.Secrets = a.Secrets[:1] },
		"SuspendedAt": func(a *store.App) { a.SuspendedAt = now },
		"UpdatedAt":   func(a *store.App) { a.UpdatedAt = now.Add(time.Hour) },
	} {
		other := change
		alter(&other)
		if _, err := s[0].ReplaceApp(t.Context(), other); !errors.Is(err, store.ErrConflict) {
			t.Errorf("ReplaceApp of an old Revision that differs in %s from the one that took effect = error %v; it is no repeat: want ErrConflict", field, err)
		}
	}
	storedApp(t, s[1], second)
}

func appDeleteCascades(t tb, s []store.Store) {
	createApp(t, s[0], application("app"))
	other := createApp(t, s[0], application("other"))
	var gone, left []store.Authorization
	for i, owner := range []string{"mona", "hubot", ""} {
		c := candidate(owner, "app", "", fmt.Sprint("token ", i))
		c.ExpiresAt = now.Add(time.Duration(i) * time.Minute) // expired or not, all go
		gone = append(gone, create(t, s[0], c), create(t, s[0], candidate(owner, "app", "second", fmt.Sprint("second token ", i))))
		left = append(left, create(t, s[0], candidate(owner, "other", "", fmt.Sprint("other token ", i))),
			create(t, s[0], candidate(owner, "unregistered", "app", fmt.Sprint("unregistered token ", i))))
	}
	n, err := s[0].DeleteApp(t.Context(), "app")
	if err != nil || n != int64(len(gone)) {
		t.Errorf("DeleteApp = %d authorizations, error %v, want %d", n, err, len(gone))
	}
	for _, h := range s {
		for _, rec := range gone {
			if _, err := h.Get(t.Context(), rec.Owner, rec.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get of an authorization whose app was deleted = error %v, want ErrNotFound", err)
			}
			if _, err := h.GetByTokenHash(t.Context(), rec.TokenHash); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("GetByTokenHash of an authorization whose app was deleted = error %v, want ErrNotFound", err)
			}
		}
		for _, rec := range left {
			stored(t, h, rec) // another app's
		}
		storedApp(t, h, other)
		if _, err := h.App(t.Context(), "app"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("App after DeleteApp = error %v, want ErrNotFound", err)
		}
		if _, err := h.ReplaceApp(t.Context(), application("app")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("ReplaceApp after DeleteApp = error %v, want ErrNotFound", err)
		}
		for _, clientID := range []string{"app", "unregistered", "unknown"} {
			if n, err := h.DeleteApp(t.Context(), clientID); n != 0 || !errors.Is(err, store.ErrNotFound) {
				t.Errorf("DeleteApp(%q), which is no app = %d, error %v, want 0, ErrNotFound", clientID, n, err)
			}
		}
		for _, rec := range left {
			stored(t, h, rec) // nor those of a client_id that is no app
		}
	}
}

func appDeleteRace(t tb, s []store.Store) {
	const each = 10
	for round := range 3 {
		clientID := fmt.Sprint("app ", round)
		createApp(t, s[0], application(clientID))
		bystander := create(t, s[0], candidate("bystander", "other", clientID, "bystander of "+clientID))
		var created, cascaded, deletions atomic.Int64
		together(len(s)*3, func(g int) {
			h := s[g%len(s)]
			if g < 2 { // two delete, one of them wins
				n, err := h.DeleteApp(t.Context(), clientID)
				if err == nil {
					deletions.Add(1)
					cascaded.Add(n)
				} else if !errors.Is(err, store.ErrNotFound) {
					t.Errorf("DeleteApp in a race = error %v, want nil or ErrNotFound", err)
				}
				return
			}
			for i := range each {
				c := candidate(fmt.Sprint("owner ", g), clientID, fmt.Sprint(i), fmt.Sprintf("token %d of %d for %s", i, g, clientID))
				_, ok, err := h.GetOrCreate(t.Context(), c)
				if err != nil {
					t.Errorf("GetOrCreate in a race with DeleteApp = error %v; a race is no error", err)
				}
				if ok {
					created.Add(1)
				}
			}
		})
		var left int64
		for g := range len(s) * 3 {
			for _, rec := range walk(t, s[0], store.Query{Owner: fmt.Sprint("owner ", g), ClientID: &clientID, Limit: each}) {
				left++
				if err := s[0].Delete(t.Context(), rec.Owner, rec.ID); err != nil {
					t.Errorf("Delete of an authorization that outlived its app = error %v", err)
				}
			}
		}
		if deletions.Load() != 1 {
			t.Errorf("%d callers deleted one app; exactly one must, the other must get ErrNotFound", deletions.Load())
		}
		if created.Load() != cascaded.Load()+left {
			t.Errorf("%d authorizations were created, DeleteApp removed %d and %d are left; created must be removed + left",
				created.Load(), cascaded.Load(), left)
		}
		_, err := s[0].CreateApp(t.Context(), application(clientID))
		clientIDTaken(t, "with the client_id of a deleted app", err)
		stored(t, s[0], bystander)
	}
}
