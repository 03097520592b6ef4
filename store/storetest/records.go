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

func ownersApart(t tb, s []store.Store) {
	rec := create(t, s[0], candidate("mona", "app", "", "token"))
	create(t, s[0], candidate("hubot", "app", "", "token of hubot"))
	for _, other := range []string{"hubot", "nobody", ""} {
		if _, err := s[0].Get(t.Context(), other, rec.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get(%q) of a record of mona = error %v, want ErrNotFound", other, err)
		}
		change := rec
		change.Owner, change.Note = other, "taken over"
		if _, err := s[0].Replace(t.Context(), change); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Replace by %q of a record of mona = error %v, want ErrNotFound", other, err)
		}
		if err := s[0].Delete(t.Context(), other, rec.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete(%q) of a record of mona = error %v, want ErrNotFound", other, err)
		}
		stored(t, s[0], rec) // nothing has changed
	}
	for _, id := range []int64{0, -1, rec.ID + 1_000_000} {
		if _, err := s[0].Get(t.Context(), "mona", id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of ID %d, which does not exist = error %v, want ErrNotFound", id, err)
		}
	}
}

func tokenHashFollows(t tb, s []store.Store) {
	found := func(hash store.Hash, want store.Authorization) {
		t.Helper()
		for _, h := range s {
			if got, err := h.GetByTokenHash(t.Context(), hash); err != nil {
				t.Errorf("GetByTokenHash of a live token = error %v, want ID %d", err, want.ID)
			} else if d := diff(got, want); d != "" {
				t.Errorf("GetByTokenHash must return the record as it was stored: %s", d)
			}
		}
	}
	gone := func(why string, hash store.Hash) {
		t.Helper()
		for _, h := range s {
			if got, err := h.GetByTokenHash(t.Context(), hash); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("GetByTokenHash of a token that %s = ID %d, error %v, want ErrNotFound", why, got.ID, err)
			}
		}
	}
	rec := create(t, s[0], candidate("mona", "app", "", "first token"))
	other := create(t, s[0], candidate("hubot", "app", "", "other token"))
	gone("never was", store.HashOf("second token"))
	gone("is the zero hash", store.Hash{})
	old := rec.TokenHash
	found(old, rec)

	rec.TokenHash, rec.TokenLastEight = store.HashOf("second token"), lastEight("second token")
	rec, err := s[0].Replace(t.Context(), rec)
	if err != nil {
		t.Fatalf("Replace with a new token hash = error %v", err)
	}
	gone("Replace has put another in the place of", old)
	found(rec.TokenHash, rec)

	if err := s[0].Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	gone("was deleted", rec.TokenHash)
	gone("was replaced before its record was deleted", old)
	found(other.TokenHash, other)
}

func listOrder(t tb, s []store.Store) {
	var want []int64
	for i := range 7 {
		// Neither key nor time rises with the ID.
		c := candidate("mona", fmt.Sprint("app ", 9-i), fmt.Sprint(i*5%7), fmt.Sprint("token ", i))
		c.CreatedAt = now.Add(-time.Duration(i) * time.Hour)
		want = append(want, create(t, s[0], c).ID)
		create(t, s[0], candidate("hubot", "app", fmt.Sprint(i), fmt.Sprint("token of hubot ", i)))
	}
	for limit := 1; limit <= len(want)+1; limit++ {
		if got := ids(walk(t, s[0], store.Query{Owner: "mona", Limit: limit})); !slices.Equal(got, want) {
			t.Errorf("a walk in pages of %d = IDs %v, want %v: every record once, in rising order", limit, got, want)
		}
		page, err := s[0].List(t.Context(), store.Query{Owner: "mona", Limit: limit})
		if n := min(limit, len(want)); err != nil || !slices.Equal(ids(page), want[:n]) {
			t.Errorf("List with Limit %d = IDs %v, error %v, want the first: %v", limit, ids(page), err, want[:n])
		}
	}
	for i, id := range want {
		page, err := s[0].List(t.Context(), store.Query{Owner: "mona", After: id, Limit: 100})
		if err != nil || !slices.Equal(ids(page), want[i+1:]) {
			t.Errorf("List with After %d = IDs %v, error %v, want %v: After selects records with a greater ID", id, ids(page), err, want[i+1:])
		}
	}
	if err := s[0].Delete(t.Context(), "mona", want[3]); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	page, err := s[0].List(t.Context(), store.Query{Owner: "mona", After: want[3], Limit: 2})
	if err != nil || !slices.Equal(ids(page), want[4:6]) {
		t.Errorf("List with After on a deleted record = IDs %v, error %v, want %v", ids(page), err, want[4:6])
	}
}

func listFilters(t tb, s []store.Store) {
	want := make(map[store.Key]int64)
	for i, key := range []store.Key{
		{Owner: "mona", ClientID: "app"}, {Owner: "mona", ClientID: "app", Fingerprint: "2"}, {Owner: "mona", ClientID: "other"},
		{Owner: "mona", ClientID: ""}, {Owner: "hubot", ClientID: "app"}, {Owner: "", ClientID: "app"}, {Owner: "", ClientID: ""},
	} {
		want[key] = create(t, s[0], candidate(key.Owner, key.ClientID, key.Fingerprint, fmt.Sprint("token ", i))).ID
	}
	for _, owner := range []string{"mona", "hubot", "", "nobody"} {
		for _, clientID := range []*string{nil, new("app"), new("other"), new(""), new("none")} {
			var wantIDs []int64
			for key, id := range want {
				if key.Owner == owner && (clientID == nil || *clientID == key.ClientID) {
					wantIDs = append(wantIDs, id)
				}
			}
			slices.Sort(wantIDs)
			filter := "nil"
			if clientID != nil {
				filter = fmt.Sprintf("%q", *clientID)
			}
			for limit := range 2 {
				got := ids(walk(t, s[0], store.Query{Owner: owner, ClientID: clientID, Limit: limit + 1}))
				if !slices.Equal(got, wantIDs) {
					t.Errorf("List(Owner: %q, ClientID: %s) = IDs %v, want %v; a nil ClientID selects all, \"\" and every Owner are compared",
						owner, filter, got, wantIDs)
				}
			}
		}
	}
}

func listWalk(t tb, s []store.Store) {
	var stable []int64
	for i := range 30 {
		stable = append(stable, create(t, s[0], candidate("mona", "app", fmt.Sprint("stable ", i), fmt.Sprint("stable token ", i))).ID)
		create(t, s[0], candidate("mona", "app", fmt.Sprint("passing ", i), fmt.Sprint("passing token ", i)))
	}
	var walked atomic.Bool
	together(3, func(g int) {
		if g == 0 {
			defer walked.Store(true)
			for limit := 1; limit <= 8; limit++ {
				var got []int64
				for _, id := range ids(walkTo(t, s[0], store.Query{Owner: "mona", Limit: limit}, stable[len(stable)-1])) {
					if slices.Contains(stable, id) {
						got = append(got, id)
					}
				}
				if !slices.Equal(got, stable) {
					t.Errorf("a walk in pages of %d while others create and delete = %v of the records that were there all the time, want %v", limit, got, stable)
				}
			}
			return
		}
		for i := 0; i < 1000 && !walked.Load(); i++ {
			rec, created, err := s[g].GetOrCreate(t.Context(), candidate("mona", "app", fmt.Sprint("passing ", i%30), fmt.Sprintf("passing %d of %d", i, g)))
			if err != nil {
				t.Errorf("GetOrCreate during a walk = error %v", err)
				return
			}
			if !created {
				if err := s[g].Delete(t.Context(), "mona", rec.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("Delete during a walk = error %v", err)
					return
				}
			}
		}
	})
}

func replaceFields(t tb, s []store.Store) {
	bystander := create(t, s[0], candidate("mona", "app", "other", "bystander"))
	rec := create(t, s[0], candidate("mona", "app", "", "first token"))

	change := rec
	change.Fingerprint = "new"
	change.Scopes = []string{"z", "a"}
	change.Note, change.NoteURL = "new note", ""
	change.TokenHash, change.TokenLastEight = store.HashOf("second token"), lastEight("second token")
	change.IssuedAt, change.UpdatedAt, change.ExpiresAt = now.Add(time.Minute), now.Add(time.Hour), now.Add(2*time.Hour)
	change.IdleTimeout, change.EndsAt = time.Hour+time.Microsecond, now.Add(3*time.Hour)
	change = withReplay(change, "new key")
	want := change
	want.Revision = 2
	change.ClientID, change.CreatedAt, change.LastUsedAt = "another app", now.Add(-time.Hour), now // never change by it

	got, err := s[0].Replace(t.Context(), change)
	if err != nil {
		t.Fatalf("Replace = error %v", err)
	}
	if d := diff(got, want); d != "" {
		t.Errorf("Replace must store every field but ID, Owner, ClientID, CreatedAt and LastUsedAt, raise Revision by one, and return what is stored: %s", d)
	}
	stored(t, s[0], want)

	want.Scopes, want.ExpiresAt, want.IssuedAt, want.Fingerprint, want.Replay = nil, time.Time{}, time.Time{}, "", store.Replay{}
	want.IdleTimeout, want.EndsAt = 0, time.Time{}
	got, err = s[0].Replace(t.Context(), want)
	want.Revision = 3
	if err != nil {
		t.Fatalf("Replace = error %v", err)
	}
	if d := diff(got, want); d != "" {
		t.Errorf("Replace must be able to empty Scopes, ExpiresAt, IssuedAt, Fingerprint, Replay, IdleTimeout and EndsAt: %s", d)
	}
	stored(t, s[0], want)
	stored(t, s[0], bystander)

	want.ID += 1_000_000
	if _, err := s[0].Replace(t.Context(), want); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Replace of an ID that does not exist = error %v, want ErrNotFound", err)
	}
}

func replaceCompareAndSwap(t tb, s []store.Store) {
	first := create(t, s[0], candidate("mona", "app", "", "token"))
	change := first
	change.Note = "changed"
	second, err := s[0].Replace(t.Context(), change)
	if err != nil || second.Revision != first.Revision+1 {
		t.Fatalf("Replace of Revision %d = Revision %d, error %v; it must raise Revision by one", first.Revision, second.Revision, err)
	}
	for _, revision := range []int64{first.Revision, second.Revision + 1, 0, -1} {
		stale := second
		stale.Revision, stale.Note = revision, "lost update"
		if _, err := s[1].Replace(t.Context(), stale); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Replace of Revision %d while %d is stored = error %v, want ErrConflict", revision, second.Revision, err)
		}
	}
	stored(t, s[1], second)
}

func replaceRace(t tb, s []store.Store) {
	rec := create(t, s[0], candidate("mona", "app", "", "token"))
	for range 5 {
		var mu sync.Mutex
		var winners []store.Authorization
		together(len(s)*4, func(g int) {
			change := rec
			change.Note = fmt.Sprint("winner is ", g)
			got, err := s[g%len(s)].Replace(t.Context(), change)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, got)
			} else if !errors.Is(err, store.ErrConflict) {
				t.Errorf("Replace in a race = error %v, want nil or ErrConflict", err)
			}
		})
		if len(winners) != 1 || winners[0].Revision != rec.Revision+1 {
			t.Fatalf("%d of %d callers changed Revision %d; exactly one must, the rest must get ErrConflict", len(winners), len(s)*4, rec.Revision)
		}
		rec = winners[0]
		stored(t, s[0], rec)
	}
}

func replaceRepeat(t tb, s []store.Store) {
	change := create(t, s[0], candidate("mona", "app", "", "token"))
	change = withReplay(change, "new key")
	change.Fingerprint = "new"
	change.Scopes = []string{"gist"}
	change.TokenHash = store.HashOf("token 2")
	change.UpdatedAt = now.Add(time.Minute)
	change.ClientID = "ignored"
	second, err := s[0].Replace(t.Context(), change)
	if err != nil {
		t.Fatalf("Replace = error %v", err)
	}
	for _, h := range s {
		got, err := h.Replace(t.Context(), change)
		if err != nil {
			t.Errorf("the repeat of a Replace that has taken effect = error %v; its answer may have been lost: want the stored record, no error", err)
			continue
		}
		if d := diff(got, second); d != "" {
			t.Errorf("the repeat of a Replace that has taken effect must return what is stored, at the same Revision: %s", d)
		}
	}
	for field, alter := range map[string]func(*store.Authorization){
		"Fingerprint":    func(a *store.Authorization) { a.Fingerprint = "newer" },
		"Scopes":         func(a *store.Authorization) { a.Scopes = []string{"gist", "repo"} },
		"Note":           func(a *store.Authorization) { a.Note = "other" },
		"NoteURL":        func(a *store.Authorization) { a.NoteURL = "other" },
		"TokenHash":      func(a *store.Authorization) { a.TokenHash = store.HashOf("token 3") },
		"TokenLastEight": func(a *store.Authorization) { a.TokenLastEight = "87654321" },
		"UpdatedAt":      func(a *store.Authorization) { a.UpdatedAt = now.Add(time.Hour) },
		"ExpiresAt":      func(a *store.Authorization) { a.ExpiresAt = now.Add(time.Hour) },
		"IssuedAt":       func(a *store.Authorization) { a.IssuedAt = now.Add(time.Hour) },
		"IdleTimeout":    func(a *store.Authorization) { a.IdleTimeout = time.Hour },
		"EndsAt":         func(a *store.Authorization) { a.EndsAt = now.Add(time.Hour) },
		"Replay":         func(a *store.Authorization) { a.Replay = store.Replay{} },
		"Replay.ID":      func(a *store.Authorization) { a.Replay.ID = store.HashOf("replay of another") },
		"Replay.Seal":    func(a *store.Authorization) { a.Replay.Seal = nil },
		"Replay's end":   func(a *store.Authorization) { a.Replay.ExpiresAt = now },
	} {
		other := change
		alter(&other)
		if _, err := s[0].Replace(t.Context(), other); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Replace of an old Revision that differs in %s from the one that took effect = error %v; it is no repeat: want ErrConflict", field, err)
		}
	}
	stored(t, s[1], second)
}

func replaceFingerprint(t tb, s []store.Store) {
	rec := create(t, s[0], candidate("mona", "app", "one", "token 1"))
	two := create(t, s[0], candidate("mona", "app", "two", "token 2"))
	create(t, s[0], candidate("mona", "other app", "three", "token 3"))
	create(t, s[0], candidate("hubot", "app", "three", "token 4"))

	change := rec
	change.Fingerprint = "two"
	_, err := s[0].Replace(t.Context(), change)
	taken(t, "Replace with a fingerprint that is taken", err, "fingerprint", two.ID)
	stored(t, s[0], rec)
	stored(t, s[0], two)

	change.Fingerprint = "three" // another app's, another owner's: another Key
	moved, err := s[0].Replace(t.Context(), change)
	if err != nil {
		t.Fatalf("Replace with a fingerprint that is free for this owner and client_id = error %v", err)
	}
	got, created, err := s[0].GetOrCreate(t.Context(), candidate("mona", "app", "three", "token 5"))
	if err != nil || created || got.ID != rec.ID {
		t.Errorf("GetOrCreate of the new fingerprint = ID %d, created %t, error %v, want the record that Replace moved there, ID %d", got.ID, created, err, rec.ID)
	}
	again := create(t, s[0], candidate("mona", "app", "one", "token 6")) // the old key is free
	if again.ID == rec.ID {
		t.Errorf("a new record under the old fingerprint has the ID %d of the one that moved", rec.ID)
	}
	stored(t, s[0], moved)
}

func replaceFingerprintRace(t tb, s []store.Store) {
	n := len(s) * 4
	recs := make([]store.Authorization, n)
	for i := range recs {
		recs[i] = create(t, s[0], candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i)))
	}
	errs := make([]error, n)
	together(n, func(g int) {
		change := recs[g]
		change.Fingerprint = "wanted by all"
		_, errs[g] = s[g%len(s)].Replace(t.Context(), change)
	})
	won, holders := 0, []int64(nil)
	for _, rec := range owned(t, s[0], "mona") {
		if rec.Fingerprint == "wanted by all" {
			holders = append(holders, rec.ID)
		}
	}
	for _, err := range errs {
		if err == nil {
			won++
		} else if len(holders) == 1 {
			taken(t, "the second Replace in a race for a fingerprint", err, "fingerprint", holders[0])
		}
	}
	if won != 1 || len(holders) != 1 {
		t.Errorf("%d callers won a race for one fingerprint, the records %v have it; want one and its record", won, holders)
	}
}

func deleteOnce(t tb, s []store.Store) {
	rec := create(t, s[0], candidate("mona", "app", "", "token"))
	bystander := create(t, s[0], candidate("mona", "app", "other", "other token"))
	if err := s[0].Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	for _, h := range s {
		if _, err := h.Get(t.Context(), "mona", rec.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get after Delete = error %v, want ErrNotFound", err)
		}
		if _, err := h.Replace(t.Context(), rec); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Replace after Delete = error %v, want ErrNotFound", err)
		}
		if err := h.Delete(t.Context(), "mona", rec.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete after Delete = error %v, want ErrNotFound", err)
		}
		if got := ids(owned(t, h, "mona")); !slices.Equal(got, []int64{bystander.ID}) {
			t.Errorf("List after Delete = IDs %v, want only %d", got, bystander.ID)
		}
	}
	create(t, s[1], candidate("mona", "app", "", "new token")) // the key is free again
	stored(t, s[1], bystander)

	rec = create(t, s[0], candidate("mona", "app", "race", "race token"))
	var deleted atomic.Int64
	together(8, func(g int) {
		if err := s[g%len(s)].Delete(t.Context(), "mona", rec.ID); err == nil {
			deleted.Add(1)
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete in a race = error %v, want nil or ErrNotFound", err)
		}
	})
	if deleted.Load() != 1 {
		t.Errorf("%d callers deleted one record; exactly one must, the rest must get ErrNotFound", deleted.Load())
	}
}
