package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// touch calls Touch, which must succeed.
func touch(t tb, s store.Store, uses ...store.Use) {
	t.Helper()
	if err := s.Touch(t.Context(), uses); err != nil {
		t.Errorf("Touch of %d uses = error %v", len(uses), err)
	}
}

func touchLatest(t tb, s []store.Store) {
	var recs []store.Authorization
	for i := range 4 {
		recs = append(recs, create(t, s[0], candidate([]string{"mona", "hubot"}[i%2], "app", fmt.Sprint(i), fmt.Sprint("token ", i))))
	}
	own := add(t, s[0], withReplay(personal("mona", "note", "own token"), "key"))
	recs = append(recs, own)
	const unknown = 1_000_000
	check := func(what string) {
		t.Helper()
		for i, want := range recs {
			h := s[i%2]
			stored(t, h, want) // Revision and UpdatedAt included
			for method, get := range map[string]func() (store.Authorization, error){
				"GetByTokenHash": func() (store.Authorization, error) { return h.GetByTokenHash(t.Context(), want.TokenHash) },
				"List": func() (store.Authorization, error) {
					page, err := h.List(t.Context(), store.Query{Owner: want.Owner, After: want.ID - 1, Limit: 1})
					return append(page, store.Authorization{})[0], err
				},
			} {
				if got, err := get(); err != nil || !got.LastUsedAt.Equal(want.LastUsedAt) {
					t.Errorf("%s: %s = LastUsedAt %v, error %v, want %v", what, method, got.LastUsedAt, err, want.LastUsedAt)
				}
			}
		}
	}
	check("at first")
	touch(t, s[0])
	check("a Touch of nothing")

	zone := time.FixedZone("somewhere", 5*3600)
	touch(t, s[0], store.Use{ID: unknown, At: now}, store.Use{ID: recs[2].ID, At: now.Add(time.Hour + 789*time.Nanosecond).In(zone)},
		store.Use{ID: -1, At: now}, store.Use{ID: recs[0].ID, At: now}, store.Use{ID: own.ID, At: now.Add(time.Minute)})
	recs[0].LastUsedAt, recs[2].LastUsedAt, recs[4].LastUsedAt = now, now.Add(time.Hour), now.Add(time.Minute)
	check("the first use; it must be stored for each record named, and no other, at the same Revision")

	touch(t, s[1], store.Use{ID: recs[2].ID, At: now.Add(time.Hour - time.Microsecond)}, store.Use{ID: recs[0].ID, At: now.Add(time.Microsecond)})
	recs[0].LastUsedAt = now.Add(time.Microsecond)
	check("one use is later, and one earlier, which changes nothing")

	touch(t, s[1], store.Use{ID: recs[0].ID, At: now.Add(time.Microsecond)}) // the repeat
	touch(t, s[0], store.Use{ID: recs[0].ID, At: now})
	check("what is not later changes nothing")

	touch(t, s[0], store.Use{ID: recs[1].ID, At: now.AddDate(-100, 0, 0)}, store.Use{ID: recs[3].ID, At: now.AddDate(100, 0, 0)})
	recs[1].LastUsedAt, recs[3].LastUsedAt = now.AddDate(-100, 0, 0), now.AddDate(100, 0, 0)
	check("before CreatedAt, and in a hundred years")

	if err := s[0].Delete(t.Context(), own.Owner, own.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	touch(t, s[1], store.Use{ID: own.ID, At: now.Add(2 * time.Hour)})
	gone(t, s, "was deleted and used", own)
}

// More uses than a statement may have parameters.
func touchMany(t tb, s []store.Store) {
	first := create(t, s[0], candidate("mona", "app", "1", "token 1"))
	last := create(t, s[0], candidate("mona", "app", "2", "token 2"))
	uses := []store.Use{{ID: first.ID, At: now}}
	for i := range int64(9_998) {
		uses = append(uses, store.Use{ID: last.ID + 1 + i, At: now}) // none is there
	}
	touch(t, s[0], append(uses, store.Use{ID: last.ID, At: now})...)
	first.LastUsedAt, last.LastUsedAt = now, now
	stored(t, s[0], first)
	stored(t, s[0], last)
}

func touchSlides(t tb, s []store.Store) {
	const hour = time.Hour
	type use struct{ at, wantExpires time.Duration } // since now; 0: never
	for i, c := range []struct {
		what                string
		expires, idle, ends time.Duration
		uses                []use
	}{
		{"an IdleTimeout moves ExpiresAt", hour, hour, 0, []use{{hour / 2, hour + hour/2}, {hour/2 + time.Microsecond, hour + hour/2 + time.Microsecond}}},
		{"a use that is not later moves nothing", hour, hour, 0, []use{{hour / 2, hour + hour/2}, {hour / 2, hour + hour/2}, {hour / 4, hour + hour/2}}},
		{"at most to EndsAt", hour, hour, 2 * hour, []use{{hour / 2, hour + hour/2}, {hour + hour/4, 2 * hour}, {hour + hour/3, 2 * hour}}},
		{"EndsAt is a bound also where it is ExpiresAt", hour, hour, hour, []use{{hour / 2, hour}}},
		{"EndsAt lowers nothing", 2 * hour, 3 * hour, hour, []use{{hour / 2, 2 * hour}}},
		{"without an IdleTimeout nothing moves", hour, 0, 9 * hour, []use{{hour / 2, hour}}},
		{"without an ExpiresAt there is nothing to move", 0, hour, 9 * hour, []use{{hour / 2, 0}}},
		{"ExpiresAt is never lowered", 9 * hour, hour, 0, []use{{hour, 9 * hour}, {8 * hour, 9 * hour}, {8*hour + time.Microsecond, 9*hour + time.Microsecond}}},
		{"a record that had expired stays so", hour, hour, 0, []use{{hour + time.Microsecond, hour}, {9 * hour, hour}}},
		{"ExpiresAt is the first instant of being expired", hour, hour, 0, []use{{hour, hour}}},
		{"the last instant before it", hour, hour, 0, []use{{hour - time.Microsecond, 2*hour - time.Microsecond}}},
		{"told of after it has expired, and used before", hour, 2 * hour, 0, []use{{-hour, hour}, {0, 2 * hour}}},
	} {
		a := candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i))
		at := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return now.Add(d)
		}
		a.ExpiresAt, a.IdleTimeout, a.EndsAt = at(c.expires), c.idle, at(c.ends)
		rec := create(t, s[0], a)
		bystander := create(t, s[0], candidate("mona", "app", fmt.Sprint("bystander ", i), fmt.Sprint("bystander ", i)))
		for j, u := range c.uses {
			used := now.Add(u.at)
			touch(t, s[j%2], store.Use{ID: rec.ID, At: used})
			if used.After(rec.LastUsedAt) {
				rec.LastUsedAt = used
			}
			rec.ExpiresAt = at(u.wantExpires)
			got, err := s[1].Get(t.Context(), "mona", rec.ID)
			if err != nil {
				t.Fatalf("Get = error %v", err)
			}
			if d := diff(got, rec); d != "" {
				t.Errorf("%s: with IdleTimeout %v, EndsAt %v, ExpiresAt %v at first, after use %d at %v: %s", c.what, c.idle, c.ends, c.expires, j+1, u.at, d)
			}
		}
		stored(t, s[0], bystander)
	}
}

func touchRace(t tb, s []store.Store) {
	const n = 12
	recs := make([]store.Authorization, n)
	for i := range recs {
		c := candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i))
		c.ExpiresAt, c.IdleTimeout = now.Add(time.Hour), time.Hour
		recs[i] = create(t, s[0], c)
	}
	batches := make([][]store.Use, len(s)*4)
	for g := range batches {
		for _, i := range rand.Perm(n)[:n*3/4] { // they overlap, in any order
			use := store.Use{ID: recs[i].ID, At: now.Add(time.Duration(1+rand.N(3000)) * time.Second)}
			batches[g] = append(batches[g], use)
			if use.At.After(recs[i].LastUsedAt) {
				recs[i].LastUsedAt, recs[i].ExpiresAt = use.At, use.At.Add(time.Hour)
			}
		}
	}
	together(len(batches), func(g int) {
		if err := s[g%len(s)].Touch(t.Context(), batches[g]); err != nil {
			t.Errorf("Touch in a race = error %v; a race is no error", err)
		}
	})
	for i, rec := range recs {
		stored(t, s[i%len(s)], rec) // the latest of all
	}
}

// A use comes between a Replace and its repeat, or between the reading of a record
// and its Replace.
func touchReplace(t tb, s []store.Store) {
	for i, idle := range []time.Duration{0, time.Hour} {
		c := candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i))
		c.ExpiresAt, c.IdleTimeout, c.EndsAt = now.Add(time.Hour), idle, now.Add(3*time.Hour)
		rec := create(t, s[0], c)
		slid := func(at time.Duration) time.Time {
			if idle == 0 {
				return rec.ExpiresAt
			}
			return now.Add(min(at+idle, 3*time.Hour))
		}
		touch(t, s[0], store.Use{ID: rec.ID, At: now.Add(time.Minute)})
		change := rec // was read before the use
		change.Note, change.UpdatedAt = "changed", now.Add(time.Minute)
		change.LastUsedAt = now.Add(99 * time.Hour)
		want := change
		want.Revision, want.LastUsedAt = 2, now.Add(time.Minute)
		got, err := s[1].Replace(t.Context(), change)
		if err != nil {
			t.Fatalf("Replace of a record that was used since it was read = error %v; uses change no Revision", err)
		}
		if d := diff(got, want); d != "" {
			t.Errorf("Replace of a record that was used since it was read must keep LastUsedAt as it is stored, and store ExpiresAt as it is told: %s", d)
		}
		touch(t, s[0], store.Use{ID: rec.ID, At: now.Add(time.Minute)}) // is not later
		stored(t, s[0], want)

		for j, at := range []time.Duration{0, 2 * time.Minute, 59 * time.Minute, 118 * time.Minute, 150 * time.Minute, 9 * time.Hour} {
			if j > 0 {
				touch(t, s[0], store.Use{ID: rec.ID, At: now.Add(at)})
				want.LastUsedAt = now.Add(at)
				if at < 3*time.Hour {
					want.ExpiresAt = slid(at)
				}
			}
			stored(t, s[0], want)
			got, err := s[j%2].Replace(t.Context(), change) // the repeat
			if err != nil {
				t.Errorf("the repeat of a Replace (IdleTimeout %v), with a use at %v since = error %v; want the stored record, no error", idle, at, err)
			} else if d := diff(got, want); d != "" {
				t.Errorf("the repeat of a Replace, with a use since, must return what is stored: %s", d)
			}
			for _, expires := range []time.Time{{}, want.ExpiresAt.Add(time.Microsecond)} {
				other := change
				other.ExpiresAt = expires
				if _, err := s[0].Replace(t.Context(), other); !errors.Is(err, store.ErrConflict) {
					t.Errorf("Replace of an old Revision with an ExpiresAt that no use can have moved = error %v; it is no repeat: want ErrConflict", err)
				}
			}
			if again, err := s[0].Create(t.Context(), c); err != nil {
				t.Errorf("the repeat of a Create, with a use since = error %v; want the stored record, no error", err)
			} else if d := diff(again, want); d != "" {
				t.Errorf("the repeat of a Create, with a use since, must return what is stored: %s", d)
			}
		}
	}
}
