package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// creator is a method that stores a candidate.
type creator func(s store.Store, ctx context.Context, c store.Authorization) (store.Authorization, error)

// withReplay returns c with a Replay whose ID comes from key.
func withReplay(c store.Authorization, key string) store.Authorization {
	c.Replay = store.Replay{ID: store.HashOf("replay " + key), Seal: []byte("seal\x00\xff of " + key), ExpiresAt: now.Add(24 * time.Hour)}
	return c
}

func replayFollows(t tb, s []store.Store) {
	found := func(want store.Authorization) {
		t.Helper()
		for _, h := range s {
			if got, err := h.GetByReplay(t.Context(), want.Replay.ID); err != nil {
				t.Errorf("GetByReplay = error %v, want ID %d", err, want.ID)
			} else if d := diff(got, want); d != "" {
				t.Errorf("GetByReplay must return the record as it was stored: %s", d)
			}
		}
	}
	none := func(why string, id store.Hash) {
		t.Helper()
		for _, h := range s {
			if got, err := h.GetByReplay(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("GetByReplay of a Replay that %s = ID %d, error %v, want ErrNotFound", why, got.ID, err)
			}
		}
	}
	replace := func(rec store.Authorization) store.Authorization {
		t.Helper()
		got, err := s[0].Replace(t.Context(), rec)
		if err != nil {
			t.Fatalf("Replace = error %v", err)
		}
		rec.Revision++
		if d := diff(got, rec); d != "" {
			t.Errorf("Replace must store the Replay as it is told: %s", d)
		}
		return got
	}
	plain := create(t, s[0], candidate("hubot", "app", "", "plain"))
	none("never was", store.HashOf("replay first"))
	none("is the zero hash, which is nobody's", store.Hash{})
	rec := create(t, s[0], withReplay(candidate("mona", "app", "", "token"), "first"))
	other := withReplay(personal("hubot", "other", "other token"), "other")
	other.ExpiresAt = other.CreatedAt
	other = add(t, s[0], other)
	found(rec)
	found(other) // an expired record is returned like others
	none("is the zero hash, which is nobody's", store.Hash{})

	rec.Replay.Seal = nil // the token was used
	rec = replace(rec)
	found(rec)
	rec.Replay.Seal = []byte{}
	rec = replace(rec)
	found(rec)
	rec = replace(withReplay(rec, "second"))
	none("Replace has put another in the place of", store.HashOf("replay first"))
	found(rec)
	plain = replace(withReplay(plain, "first")) // free again
	found(plain)
	rec.Replay = store.Replay{}
	rec = replace(rec)
	none("Replace has taken away", store.HashOf("replay second"))
	stored(t, s[1], rec)
	plain.Replay = store.Replay{} // two records have none
	plain = replace(plain)
	rec = replace(withReplay(rec, "third"))
	found(rec)
	if err := s[0].Delete(t.Context(), "mona", rec.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	none("was deleted", rec.Replay.ID)
	found(add(t, s[1], withReplay(candidate("mona", "app", "", "token 2"), "third")))
	found(other)
	stored(t, s[1], plain)
}

func replayRace(t tb, s []store.Store) {
	uniqueRace(t, s, "idempotency_key", store.Store.Create, func(g int) store.Authorization {
		return withReplay(candidate("mona", "app", "", fmt.Sprint("token ", g)), "wanted by all")
	})
}

func replayGetOrCreateRace(t tb, s []store.Store) {
	getOrCreate := func(s store.Store, ctx context.Context, c store.Authorization) (store.Authorization, error) {
		rec, created, err := s.GetOrCreate(ctx, c)
		if err == nil && !created {
			t.Errorf("GetOrCreate of a new key = existing ID %d", rec.ID)
		}
		return rec, err
	}
	uniqueRace(t, s, "idempotency_key", getOrCreate, func(g int) store.Authorization {
		return withReplay(candidate("mona", "app", fmt.Sprint("key ", g), fmt.Sprint("token ", g)), "wanted by all")
	})
}

func wipeReplays(t tb, s []store.Store) {
	recs := []store.Authorization{add(t, s[0], candidate("mona", "app", "", "plain"))}
	for i, ends := range []time.Duration{-time.Hour, -time.Microsecond, 0, time.Microsecond, time.Hour} {
		c := withReplay(candidate("mona", fmt.Sprint("app ", i), "", fmt.Sprint("token ", i)), fmt.Sprint(i))
		c.Replay.ExpiresAt = now.Add(ends)
		recs = append(recs, add(t, s[0], c))
	}
	used := withReplay(personal("hubot", "used", "used token"), "used")
	used.Replay.Seal, used.Replay.ExpiresAt = nil, now
	used.ExpiresAt = now // the record has expired as well, and stays
	recs = append(recs, add(t, s[0], used))

	wipe := func(at time.Time, want ...int) {
		t.Helper()
		n, err := s[0].WipeReplays(t.Context(), at)
		if err != nil || n != int64(len(want)) {
			t.Errorf("WipeReplays(%v) = %d, error %v; want %d, those whose ExpiresAt is not after it", at, n, err, len(want))
		}
		for i := range recs {
			id := recs[i].Replay.ID
			if slices.Contains(want, i) {
				recs[i].Replay = store.Replay{}
				for _, h := range s {
					if _, err := h.GetByReplay(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
						t.Errorf("GetByReplay of a Replay that was wiped = error %v, want ErrNotFound", err)
					}
				}
			} else if id != (store.Hash{}) {
				if got, err := s[1].GetByReplay(t.Context(), id); err != nil || got.ID != recs[i].ID {
					t.Errorf("WipeReplays(%v): GetByReplay of one that ends at %v = ID %d, error %v, want ID %d", at, recs[i].Replay.ExpiresAt, got.ID, err, recs[i].ID)
				}
			}
			stored(t, s[1], recs[i]) // at the same Revision
		}
	}
	wipe(now.AddDate(-1, 0, 0))
	wipe(now.Add(-time.Hour), 1)
	wipe(now.Add(999*time.Nanosecond).In(time.FixedZone("", 3600)), 2, 3, 6)
	wipe(now)
	again := add(t, s[1], withReplay(candidate("hubot", "app", "", "again"), "2")) // what was wiped is free
	wipe(now.Add(time.Hour), 4, 5)
	stored(t, s[0], again)
}
