package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// keepers returns the handles as what they may be beside a Store.
func keepers(s []store.Store) ([]store.Housekeeper, bool) {
	out := make([]store.Housekeeper, len(s))
	for i, h := range s {
		k, ok := h.(store.Housekeeper)
		if !ok {
			return nil, false
		}
		out[i] = k
	}
	return out, true
}

// expiring stores a record of its own key that ends at now + ends.
func expiring(t tb, s store.Store, n int, ends time.Duration) store.Authorization {
	t.Helper()
	c := candidate([]string{"mona", "hubot", ""}[n%3], []string{"app", ""}[n%2], fmt.Sprint(n), fmt.Sprint("token ", n))
	c.CreatedAt, c.ExpiresAt = now.AddDate(-1, 0, 0), now.Add(ends)
	return add(t, s, c)
}

func purge(t tb, s []store.Store) {
	k, ok := keepers(s)
	if !ok {
		return
	}
	var recs []store.Authorization // by ExpiresAt, though not by ID
	for i, ends := range []time.Duration{-time.Hour, time.Hour, time.Microsecond, 0, -3 * time.Hour, -time.Microsecond, -2 * time.Hour, 2 * time.Hour} {
		recs = append(recs, expiring(t, s[0], i, ends))
	}
	never := add(t, s[0], withReplay(personal("hubot", "never", "never"), "never"))
	slices.SortFunc(recs, func(a, b store.Authorization) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
	purge := func(before time.Time, limit, want int) {
		t.Helper()
		n, err := k[0].Purge(t.Context(), before, limit)
		if err != nil || n != int64(want) {
			t.Errorf("Purge(%v, limit %d) = %d, error %v; want %d", before, limit, n, err, want)
		}
		for i, rec := range recs {
			if i < want {
				gone(t, s, "Purge has removed, since it was among those that had expired first", rec)
			} else {
				stored(t, s[1], rec)
			}
		}
		recs = recs[min(want, len(recs)):]
		stored(t, s[1], never)
	}
	first := recs[0]
	purge(now.AddDate(-1, 0, 0), 10, 0)
	purge(now, 1, 1)
	purge(now, 2, 2)
	purge(now.Add(999*time.Nanosecond).In(time.FixedZone("", 3600)), 10, 2) // what expires at that instant is one of them
	purge(now, 10, 0)
	again := first
	again.ID = 0
	again = add(t, s[1], again) // all that was unique is free
	if again.ID <= never.ID {
		t.Errorf("a record has ID %d, the newest before had %d; IDs are never used again", again.ID, never.ID)
	}
	if n, err := k[1].Purge(t.Context(), now, 1); n != 1 || err != nil {
		t.Errorf("Purge of one = %d, error %v, want 1", n, err)
	}
	gone(t, s, "Purge has removed", again)
	purge(now.AddDate(1, 0, 0), 3, 3)
	purge(now.AddDate(1, 0, 0), 3, 0)
}

func purgeRace(t tb, s []store.Store) {
	k, ok := keepers(s)
	if !ok {
		return
	}
	n := many / 10
	for i := range n {
		expiring(t, s[0], i, -time.Duration(i)*time.Second)
	}
	var purged atomic.Int64
	together(len(k), func(g int) {
		for {
			n, err := k[g].Purge(t.Context(), now, 7)
			if err != nil {
				t.Errorf("Purge in a race = error %v; a race is no error", err)
			}
			if purged.Add(n); n == 0 || err != nil {
				return
			}
		}
	})
	if purged.Load() != int64(n) {
		t.Errorf("callers who purge at once have removed %d of %d records; each must be counted once", purged.Load(), n)
	}
	count(t, s[0], store.Selection{}, 0)
}

func expiringPages(t tb, s []store.Store) {
	k, ok := keepers(s)
	if !ok {
		return
	}
	var recs []store.Authorization
	for i, ends := range []time.Duration{5, 1, 3, 3, 0, 3, -1, 2, 5, 3, 4} { // with ties
		recs = append(recs, expiring(t, s[0], i, ends*time.Microsecond))
	}
	never := add(t, s[0], personal("mona", "never", "never"))
	slices.SortStableFunc(recs, func(a, b store.Authorization) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
	at := func(rec store.Authorization) store.Position {
		return store.Position{ExpiresAt: rec.ExpiresAt, ID: rec.ID}
	}
	page := func(from, to time.Time, after store.Position, limit int, want []store.Authorization) []store.Authorization {
		t.Helper()
		got, err := k[0].Expiring(t.Context(), from, to, after, limit)
		if err != nil || !slices.Equal(ids(got), ids(want)) {
			t.Errorf("Expiring(from now%+d µs, to now%+d µs, after %d at %v, limit %d) = IDs %v, error %v, want %v: after from, not after to, by (ExpiresAt, ID), behind the position, at most limit",
				from.Sub(now).Microseconds(), to.Sub(now).Microseconds(), after.ID, after.ExpiresAt, limit, ids(got), err, ids(want))
		}
		return got
	}
	for from := time.Duration(-2); from <= 5; from++ {
		for to := from; to <= 6; to++ {
			from, to := now.Add(from*time.Microsecond), now.Add(to*time.Microsecond)
			want := slices.DeleteFunc(slices.Clone(recs), func(rec store.Authorization) bool { return !rec.ExpiresAt.After(from) || rec.ExpiresAt.After(to) })
			page(from, to.Add(999*time.Nanosecond).In(time.FixedZone("", 3600)), store.Position{}, 100, want)
			for i, rec := range want {
				page(from, to, at(rec), 2, want[i+1:min(i+3, len(want))])
			}
		}
	}
	end := now.Add(time.Hour)
	for i, rec := range recs { // a position before from
		page(now, end, at(rec), 100, recs[max(i+1, 2):])
	}
	page(time.Time{}, end, store.Position{}, 100, recs) // and not the one that never expires
	for i, rec := range page(now.Add(-time.Hour), end, store.Position{}, len(recs), recs) {
		if d := diff(rec, recs[min(i, len(recs)-1)]); d != "" {
			t.Errorf("Expiring must return the records as they were stored: %s", d)
		}
	}
	if err := s[0].Delete(t.Context(), recs[4].Owner, recs[4].ID); err != nil { // one of those that tie
		t.Fatalf("Delete = error %v", err)
	}
	page(now.Add(-time.Hour), end, at(recs[4]), 3, recs[5:8])
	stored(t, s[0], never)
}

// unusedSince walks all pages of Unused.
func unusedSince(t tb, k store.Housekeeper, since, liveAt time.Time, after int64, limit int) []store.Authorization {
	t.Helper()
	var all []store.Authorization
	for range 1000 {
		page, next, err := k.Unused(t.Context(), since, liveAt, after, limit)
		if err != nil {
			t.Errorf("Unused = error %v", err)
			return all
		}
		if len(page) > limit {
			t.Errorf("Unused returned %d records; limit %d is the most it may return", len(page), limit)
			return all
		}
		all = append(all, page...)
		if next == 0 {
			return all
		}
		if next <= after {
			t.Errorf("Unused after %d = next %d; it must rise, or be 0 at the end", after, next)
			return all
		}
		after = next
	}
	t.Errorf("Unused has gone on for 1000 pages; next must be 0 at the end")
	return all
}

func unusedPages(t tb, s []store.Store) {
	k, ok := keepers(s)
	if !ok {
		return
	}
	if page, next, err := k[0].Unused(t.Context(), now, now, 0, 10); len(page) != 0 || next != 0 || err != nil {
		t.Errorf("Unused of an empty store = %d records, next %d, error %v, want none", len(page), next, err)
	}
	const day = 24 * time.Hour
	since := now.Add(-30 * day)
	var unused []store.Authorization
	var all []int64
	put := func(made, used, expires time.Duration, is bool) { // since since; 0 of the latter two: never
		t.Helper()
		n := len(all)
		c := candidate([]string{"mona", "hubot", ""}[n%3], []string{"app", ""}[n%2], fmt.Sprint(n), fmt.Sprint("token ", n))
		c.CreatedAt = since.Add(made)
		if expires != 0 {
			c.ExpiresAt = since.Add(expires)
		}
		rec := add(t, s[0], c)
		if used != 0 {
			rec.LastUsedAt = since.Add(used)
			touch(t, s[0], store.Use{ID: rec.ID, At: rec.LastUsedAt})
		}
		if all = append(all, rec.ID); is {
			unused = append(unused, rec)
		}
	}
	for range 2 {
		put(-day, 0, 0, true)
		put(-time.Microsecond, 0, 0, true)
		put(0, 0, 0, false)
		put(day, 0, 0, false)
		put(-day, -time.Microsecond, 0, true)
		put(-day, time.Microsecond, 0, false)
		put(-day, -time.Hour, 31*day, true)
		put(-day, 0, 30*day, false) // expires at now
		put(-day, 0, 30*day+time.Microsecond, true)
		put(-day, 0, day, false)
		for range 9 { // a page can be empty though there is a next one
			put(-day, day, 0, false)
		}
	}
	put(-day, 0, 0, false)
	touch(t, s[0], store.Use{ID: all[len(all)-1], At: since}) // from since on
	for limit := 1; limit <= len(unused)+1; limit++ {
		got := unusedSince(t, k[limit%2], since, now, 0, limit)
		if !slices.Equal(ids(got), ids(unused)) {
			t.Errorf("a walk by Unused in pages of %d = IDs %v, want %v: made before since, not used from since on, not expired at liveAt, in rising order", limit, ids(got), ids(unused))
			continue
		}
		for i, rec := range got {
			if d := diff(rec, unused[i]); d != "" {
				t.Errorf("Unused must return the records as they were stored: %s", d)
			}
		}
	}
	for _, after := range all {
		want := slices.DeleteFunc(ids(unused), func(id int64) bool { return id <= after })
		if got := ids(unusedSince(t, k[0], since, now, after, 3)); !slices.Equal(got, want) {
			t.Errorf("Unused after %d = IDs %v, want %v", after, got, want)
		}
	}
	if err := s[0].Delete(t.Context(), unused[0].Owner, unused[0].ID); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Delete = error %v", err)
	}
	if got := ids(unusedSince(t, k[1], since, now, 0, 2)); !slices.Equal(got, ids(unused[1:])) {
		t.Errorf("Unused after a Delete = IDs %v, want %v", got, ids(unused[1:]))
	}
}
