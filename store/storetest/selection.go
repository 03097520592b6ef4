package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// population stores records of all kinds, some of which expire at now, and
// returns them. Each round may be stored once at a time.
func population(t tb, s store.Store, round int) []store.Authorization {
	t.Helper()
	var recs []store.Authorization
	for i, key := range []store.Key{
		{Owner: "mona", ClientID: "app"}, {Owner: "mona", ClientID: "app"}, {Owner: "mona", ClientID: "app", Fingerprint: "x"},
		{Owner: "mona", ClientID: "other"}, {Owner: "mona"}, {Owner: "mona"},
		{Owner: "hubot", ClientID: "app"}, {Owner: "hubot", ClientID: "other"}, {Owner: "hubot"}, {ClientID: "app"}, {},
	} {
		c := candidate(key.Owner, key.ClientID, key.Fingerprint, fmt.Sprintf("token %d of round %d", i, round))
		c.CreatedAt = now.Add(-time.Hour)
		if i%2 == 1 {
			c.ExpiresAt = now
		}
		recs = append(recs, add(t, s, c))
	}
	return recs
}

// selections returns what can be asked of a population: every owner, app and
// time with every other, and tokens.
func selections(recs []store.Authorization, times ...time.Time) []store.Selection {
	var out []store.Selection
	for _, owner := range []*string{nil, new("mona"), new("")} {
		for _, clientID := range []*string{nil, new("app"), new("")} {
			for _, liveAt := range times {
				out = append(out, store.Selection{Owner: owner, ClientID: clientID, LiveAt: liveAt})
			}
		}
	}
	out = append(out, store.Selection{Owner: new("nobody")}, store.Selection{ClientID: new("none")})
	hash, dead, unknown := recs[0].TokenHash, recs[1].TokenHash, store.HashOf("unknown")
	return append(out,
		store.Selection{TokenHash: &hash}, store.Selection{TokenHash: &unknown}, store.Selection{TokenHash: &store.Hash{}},
		store.Selection{TokenHash: &hash, Owner: new("mona")}, store.Selection{TokenHash: &hash, Owner: new("hubot")},
		store.Selection{TokenHash: &hash, ClientID: new("app")}, store.Selection{TokenHash: &hash, ClientID: new("other")},
		store.Selection{TokenHash: &hash, ClientID: new("")}, store.Selection{TokenHash: &hash, Owner: new("")},
		store.Selection{TokenHash: &dead, LiveAt: now.Add(-time.Microsecond)}, store.Selection{TokenHash: &dead, LiveAt: now},
	)
}

// tell describes sel.
func tell(sel store.Selection) string {
	var set []string
	if sel.Owner != nil {
		set = append(set, fmt.Sprintf("Owner: %q", *sel.Owner))
	}
	if sel.ClientID != nil {
		set = append(set, fmt.Sprintf("ClientID: %q", *sel.ClientID))
	}
	if sel.TokenHash != nil {
		set = append(set, fmt.Sprintf("TokenHash: %v", *sel.TokenHash))
	}
	if !sel.LiveAt.IsZero() {
		set = append(set, fmt.Sprintf("LiveAt: expiry %+v", sel.LiveAt.Sub(now)))
	}
	return "{" + strings.Join(set, ", ") + "}"
}

// selects is what a Selection says, once more.
func selects(sel store.Selection, rec store.Authorization) bool {
	switch {
	case sel.Owner != nil && rec.Owner != *sel.Owner,
		sel.ClientID != nil && rec.ClientID != *sel.ClientID,
		sel.TokenHash != nil && rec.TokenHash != *sel.TokenHash,
		!sel.LiveAt.IsZero() && !rec.ExpiresAt.IsZero() && !rec.ExpiresAt.After(sel.LiveAt):
		return false
	}
	return true
}

// picked returns those of recs that sel selects.
func picked(sel store.Selection, recs []store.Authorization) []store.Authorization {
	return slices.DeleteFunc(slices.Clone(recs), func(rec store.Authorization) bool { return !selects(sel, rec) })
}

func count(t tb, s store.Store, sel store.Selection, want int) {
	t.Helper()
	if n, err := s.Count(t.Context(), sel); err != nil || n != int64(want) {
		t.Errorf("Count(%s) = %d, error %v, want %d; all that is set must match, \"\" too, and what is not set selects all", tell(sel), n, err, want)
	}
}

func countSelected(t tb, s []store.Store) {
	count(t, s[0], store.Selection{}, 0)
	recs := population(t, s[0], 0)
	for i, sel := range selections(recs, time.Time{}, now.Add(-time.Microsecond), now) {
		count(t, s[i%len(s)], sel, len(picked(sel, recs)))
	}
	if err := s[0].Delete(t.Context(), recs[0].Owner, recs[0].ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	count(t, s[1], store.Selection{}, len(recs)-1)
}

func deleteAllSelected(t tb, s []store.Store) {
	for i := range selections(population(t, s[0], 0), time.Time{}, now) {
		for _, owner := range []string{"mona", "hubot", ""} {
			if _, err := s[0].DeleteAll(t.Context(), store.Selection{Owner: &owner}); err != nil {
				t.Fatalf("DeleteAll(Owner: %q) = error %v", owner, err)
			}
		}
		count(t, s[1], store.Selection{}, 0)
		recs := population(t, s[0], i+1)
		sel := selections(recs, time.Time{}, now)[i]
		n, err := s[0].DeleteAll(t.Context(), sel)
		if sel.Owner == nil && sel.ClientID == nil && sel.TokenHash == nil {
			if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
				t.Errorf("DeleteAll(%s) = %d, error %v; want an error that is neither ErrNotFound nor ErrConflict: it has neither Owner nor ClientID nor TokenHash", tell(sel), n, err)
			}
			count(t, s[1], store.Selection{}, len(recs))
			continue
		}
		if want := len(picked(sel, recs)); err != nil || n != int64(want) {
			t.Errorf("DeleteAll(%s) = %d, error %v, want %d; all that is set must match", tell(sel), n, err, want)
		}
		for j, owner := range []string{"mona", "hubot", ""} {
			left := ids(slices.DeleteFunc(picked(store.Selection{Owner: &owner}, recs), func(rec store.Authorization) bool { return selects(sel, rec) }))
			if got := ids(owned(t, s[j%2], owner)); !slices.Equal(got, left) {
				t.Errorf("DeleteAll(%s) has left IDs %v of %q, want %v", tell(sel), got, owner, left)
			}
		}
		if n, err := s[1].DeleteAll(t.Context(), sel); n != 0 || err != nil {
			t.Errorf("DeleteAll(%s) again = %d, error %v, want 0: nothing is left", tell(sel), n, err)
		}
	}
}

func deleteAllFrees(t tb, s []store.Store) {
	c := withReplay(personal("mona", "note", "token"), "key")
	c.Fingerprint = "fingerprint"
	rec := add(t, s[0], c)
	if n, err := s[0].DeleteAll(t.Context(), store.Selection{ClientID: new("")}); n != 1 || err != nil {
		t.Fatalf("DeleteAll(ClientID: \"\") = %d, error %v, want 1", n, err)
	}
	gone(t, s, "DeleteAll has removed", rec)
	for _, h := range s {
		if _, err := h.GetByReplay(t.Context(), rec.Replay.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("GetByReplay of a record that DeleteAll has removed = error %v, want ErrNotFound", err)
		}
	}
	again := add(t, s[1], c) // key, note, replay and token are free
	if again.ID <= rec.ID {
		t.Errorf("a record has ID %d, the one before, which DeleteAll has removed, had %d; IDs rise and are never used again", again.ID, rec.ID)
	}
}

// More than any backend should do in one statement, and in one step all the
// same: nobody sees a part of it, and of two callers who do it at once one
// removes all and the other nothing.
func deleteAllMany(t tb, s []store.Store) {
	const writers = 8
	together(writers, func(g int) {
		for i := range many / writers {
			if _, err := s[g%len(s)].Create(t.Context(), candidate("mona", "app", "", fmt.Sprintf("token %d of %d", i, g))); err != nil {
				t.Errorf("Create = error %v", err)
				return
			}
		}
	})
	bystander := add(t, s[0], candidate("hubot", "app", "", "bystander"))
	sel := store.Selection{Owner: new("mona"), ClientID: new("app")}
	count(t, s[0], sel, many)
	var removed [2]int64
	var deleters atomic.Int64
	deleters.Store(int64(len(removed)))
	together(3, func(g int) {
		if g < 2 {
			defer deleters.Add(-1)
			var err error
			if removed[g], err = s[g].DeleteAll(t.Context(), sel); err != nil {
				t.Errorf("DeleteAll in a race = error %v; a race is no error", err)
			}
			return
		}
		for deleters.Load() > 0 {
			n, err := s[2].Count(t.Context(), sel)
			if err != nil {
				t.Errorf("Count during a DeleteAll = error %v", err)
				return
			}
			if n != 0 && n != int64(many) {
				t.Errorf("Count during a DeleteAll = %d of %d; it must remove them in one step", n, many)
				return
			}
		}
	})
	if max(removed[0], removed[1]) != int64(many) || min(removed[0], removed[1]) != 0 {
		t.Errorf("two callers of DeleteAll removed %d and %d of %d records; it must remove them in one step, so one removes all and the other nothing",
			removed[0], removed[1], many)
	}
	count(t, s[1], sel, 0)
	stored(t, s[1], bystander)
}

func listLive(t tb, s []store.Store) {
	var recs []store.Authorization
	for i, ends := range []time.Duration{0, time.Microsecond, -time.Hour, 0, time.Hour, -time.Microsecond} {
		c := candidate("mona", fmt.Sprint("app ", i%2), fmt.Sprint(i), fmt.Sprint("token ", i))
		c.ExpiresAt = now.Add(ends)
		if i == 3 {
			c.ExpiresAt = time.Time{} // never
		}
		recs = append(recs, add(t, s[0], c))
	}
	for _, liveAt := range []time.Time{{}, now.AddDate(-1, 0, 0), now.Add(-time.Microsecond), now, now.Add(time.Microsecond), now.AddDate(1, 0, 0)} {
		for _, clientID := range []*string{nil, new("app 0"), new("app 1")} {
			want := ids(picked(store.Selection{ClientID: clientID, LiveAt: liveAt}, recs))
			for limit := 1; limit <= 7; limit += 2 {
				got := ids(walk(t, s[0], store.Query{Owner: "mona", ClientID: clientID, LiveAt: liveAt, Limit: limit}))
				if !slices.Equal(got, want) {
					t.Errorf("List(LiveAt: %v) in pages of %d = IDs %v, want %v: those that have not expired at that time", liveAt, limit, got, want)
				}
			}
		}
	}
}

func listSkip(t tb, s []store.Store) {
	var recs []store.Authorization
	for i := range 8 {
		c := candidate("mona", []string{"app", "other"}[i%2], "", fmt.Sprint("token ", i))
		if i%3 == 1 {
			c.ExpiresAt = now
		}
		recs = append(recs, add(t, s[0], c))
		add(t, s[0], candidate("hubot", "app", "", fmt.Sprint("token of hubot ", i)))
	}
	for _, q := range []store.Query{
		{}, {ClientID: new("app")}, {LiveAt: now}, {ClientID: new("other"), LiveAt: now}, {After: recs[2].ID}, {After: recs[0].ID, LiveAt: now},
	} {
		all := ids(slices.DeleteFunc(picked(store.Selection{ClientID: q.ClientID, LiveAt: q.LiveAt}, recs), func(rec store.Authorization) bool { return rec.ID <= q.After }))
		for skip := range len(all) + 2 {
			for _, limit := range []int{1, 3, 100} {
				q.Owner, q.Skip, q.Limit = "mona", skip, limit
				from := min(skip, len(all))
				want := all[from:min(from+limit, len(all))]
				page, err := s[0].List(t.Context(), q)
				if err != nil || !slices.Equal(ids(page), want) {
					t.Errorf("List with After %d, Skip %d, Limit %d = IDs %v, error %v, want %v: Skip leaves out that many of the selected records",
						q.After, skip, limit, ids(page), err, want)
				}
			}
		}
	}
}
