package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

func getOrCreateFields(t tb, s []store.Store) {
	allFields(t, s[0], "GetOrCreate", func(c store.Authorization) (store.Authorization, error) {
		rec, created, err := s[0].GetOrCreate(t.Context(), c)
		if err == nil && !created {
			err = errors.New("the record is said to exist")
		}
		return rec, err
	})
}

// allFields checks that a method stores every field of a candidate, and that
// all others return it.
func allFields(t tb, s store.Store, method string, create func(c store.Authorization) (store.Authorization, error)) {
	const unicode = "Grüße, 世界 \U0001F9ED e\u0301 \u202e \ufffd ' \" \\ % _ \t\r\n \x7f"
	full := candidate("mona "+unicode, "client "+unicode, "fingerprint "+unicode, "token-of-all-fields")
	full.Scopes = []string{"user", "repo", "a", "repo:status", "!#[]~"} // neither sorted nor alike
	full.Note, full.NoteURL = unicode, "https://example.com/"+unicode
	full.UpdatedAt, full.ExpiresAt = now.Add(time.Microsecond), now.Add(2*time.Microsecond)
	full.IssuedAt = now.Add(-time.Microsecond)
	full.IdleTimeout, full.EndsAt = 90*time.Minute+time.Microsecond, now.Add(3*time.Microsecond)
	full = withReplay(full, "all fields")

	long := candidate(strings.Repeat("o", 255), strings.Repeat("c", 255), strings.Repeat("f", 255), "long")
	long.Note, long.NoteURL = strings.Repeat("note ", 13_000), strings.Repeat("url ", 16_000)
	long.Scopes = slices.Repeat([]string{strings.Repeat("s", 255)}, 200)
	long = withReplay(long, "long")
	long.Replay.Seal = make([]byte, 1024)
	for i := range long.Replay.Seal {
		long.Replay.Seal[i] = byte(i)
	}

	empty := store.Authorization{TokenHash: store.HashOf("empty")}
	none := candidate("none", "", "", "no-scopes")
	none.Scopes = []string{}
	used := withReplay(candidate("used", "app", "", "used"), "used")
	used.Replay.Seal, used.Replay.ExpiresAt = []byte{}, now.Add(-time.Hour)

	for _, c := range []store.Authorization{full, long, empty, none, used} {
		c.ID, c.Revision, c.LastUsedAt = 4711, 42, now // ignored
		rec, err := create(c)
		if err != nil {
			t.Fatalf("%s(%+v) = error %v; there is no such record: it must be created", method, c.Key, err)
		}
		if rec.ID <= 0 || rec.Revision != 1 {
			t.Errorf("%s returned ID %d, Revision %d; a new record has an ID greater than zero and Revision 1", method, rec.ID, rec.Revision)
		}
		want := c
		want.ID, want.Revision, want.LastUsedAt = rec.ID, 1, time.Time{}
		check := func(method string, got store.Authorization, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s = error %v; the record must be there", method, err)
			} else if d := diff(got, want); d != "" {
				t.Errorf("%s must return every field of the candidate: %s", method, d)
			}
		}
		check(method, rec, nil)
		got, err := s.Get(t.Context(), c.Owner, rec.ID)
		check("Get", got, err)
		got, err = s.GetByTokenHash(t.Context(), c.TokenHash)
		check("GetByTokenHash", got, err)
		got, _, err = s.Lookup(t.Context(), c.TokenHash)
		check("Lookup", got, err)
		if !c.Replay.IsZero() {
			got, err = s.GetByReplay(t.Context(), c.Replay.ID)
			check("GetByReplay", got, err)
		}
		page, err := s.List(t.Context(), store.Query{Owner: c.Owner, Limit: 2})
		if len(page) != 1 {
			t.Fatalf("List = %d records, error %v; want the one that was created", len(page), err)
		}
		check("List", page[0], err)
		if c.ExpiresAt.IsZero() {
			other := candidate(c.Owner, c.ClientID, c.Fingerprint, "another token")
			got, _, err = s.GetOrCreate(t.Context(), other)
			check("GetOrCreate (existing)", got, err)
		}
	}
}

func getOrCreateExisting(t tb, s []store.Store) {
	first := create(t, s[0], candidate("mona", "app", "", "first"))

	second := candidate("mona", "app", "", "second")
	second.Scopes, second.Note, second.NoteURL = nil, "", "other"
	second.CreatedAt, second.UpdatedAt, second.ExpiresAt = now.Add(time.Hour), now.Add(time.Hour), now.Add(2*time.Hour)
	rec, created, err := s[0].GetOrCreate(t.Context(), second)
	if err != nil || created {
		t.Fatalf("GetOrCreate of an existing key = created %t, error %v; want the existing record, created false", created, err)
	}
	if d := diff(rec, first); d != "" {
		t.Errorf("GetOrCreate must return an existing record unchanged: %s", d)
	}
	stored(t, s[0], first)
	if _, err := s[0].GetByTokenHash(t.Context(), second.TokenHash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("GetByTokenHash of a candidate that was not stored = error %v, want ErrNotFound", err)
	}
	if n := len(owned(t, s[0], "mona")); n != 1 {
		t.Errorf("there are %d records for one key, want 1", n)
	}
}

func getOrCreateRepeat(t tb, s []store.Store) {
	dead := candidate("mona", "app", "dead on arrival", "dead token")
	dead.ExpiresAt = dead.CreatedAt
	for _, c := range []store.Authorization{
		candidate("mona", "app", "", "token"), dead, withReplay(personal("mona", "a note", "personal token"), "a key"),
	} {
		getOrCreateRepeatOf(t, s, c)
	}
}

func getOrCreateRepeatOf(t tb, s []store.Store, c store.Authorization) {
	t.Helper()
	first := create(t, s[0], c)
	before := len(owned(t, s[0], "mona"))
	for _, h := range s {
		rec, created, err := h.GetOrCreate(t.Context(), c)
		if err != nil || !created {
			t.Errorf("the repeat of a GetOrCreate whose answer may have been lost = created %t, error %v; "+
				"the record has the candidate's TokenHash: the caller must hear created, not existing", created, err)
		}
		if d := diff(rec, first); d != "" {
			t.Errorf("the repeat of a GetOrCreate must return what the first call stored: %s", d)
		}
	}
	if n := len(owned(t, s[0], "mona")); n != before {
		t.Errorf("there are %d records after the repeat of a GetOrCreate, want %d as before", n, before)
	}
}

func getOrCreateExpired(t tb, s []store.Store) {
	for i, fingerprint := range []string{"", "fingerprint"} {
		getOrCreateExpiredKey(t, s, fmt.Sprint("app ", i), fingerprint)
	}
}

func getOrCreateExpiredKey(t tb, s []store.Store, clientID, fingerprint string) {
	t.Helper()
	c := candidate("mona", clientID, fingerprint, "first of "+clientID)
	c.ExpiresAt = now.Add(time.Hour)
	first := create(t, s[0], c)
	bystander := create(t, s[0], candidate("mona", clientID, "other", "bystander of "+clientID))

	c = candidate("mona", clientID, fingerprint, "too early for "+clientID)
	c.CreatedAt = first.ExpiresAt.Add(-time.Microsecond)
	rec, created, err := s[1].GetOrCreate(t.Context(), c)
	if err != nil || created || rec.ID != first.ID {
		t.Errorf("GetOrCreate one microsecond before ExpiresAt = ID %d, created %t, error %v; the record lives: want ID %d, created false",
			rec.ID, created, err, first.ID)
	}

	c = candidate("mona", clientID, fingerprint, "second of "+clientID)
	c.CreatedAt, c.Scopes, c.Note = first.ExpiresAt, []string{"gist"}, "second"
	second, created, err := s[1].GetOrCreate(t.Context(), c)
	if err != nil || !created {
		t.Fatalf("GetOrCreate at ExpiresAt = created %t, error %v; a record that expired at candidate.CreatedAt counts as none: want created", created, err)
	}
	if second.ID <= bystander.ID || second.Revision != 1 {
		t.Errorf("an expired record was replaced by ID %d, Revision %d; want a new ID, greater than %d, and Revision 1", second.ID, second.Revision, bystander.ID)
	}
	c.ID, c.Revision = second.ID, 1
	if d := diff(second, c); d != "" {
		t.Errorf("GetOrCreate in the place of an expired record must store the candidate: %s", d)
	}
	for _, h := range s {
		stored(t, h, second)
		stored(t, h, bystander)
		if got, want := ids(walk(t, h, store.Query{Owner: "mona", ClientID: &clientID, Limit: 100})), []int64{bystander.ID, second.ID}; !slices.Equal(got, want) {
			t.Errorf("List after the replacement of an expired record = IDs %v, want %v", got, want)
		}
	}
	gone(t, s, "has expired and was replaced", first)
}

// spellings are strings that a careless comparison takes for one another:
// folded, trimmed, normalised, matched as a pattern, cut, read as a number.
var spellings = []string{
	"", " ", "app", "App", "APP", "app ", " app", "app\t", "app\n", "\u200bapp", "ａｐｐ", "app'", `app"`, `app\`, "app'--", "app;",
	"%", "_", "ap_", "ap%", "*", "?", "NULL", "null", "0", "00", "0.0", "1", "１", "1e0", "true",
	"\u00e9", "e\u0301", "\u00c9", "E\u0301", "e", "ß", "ss", "ẞ", "ﬁ", "fi", "k", "\u212a", "K", "i", "I", "İ", "ı", "ſ", "s",
	"\u03c3", "\u03c2", "\U0001F9ED", "\ufffd", "a\u034fpp",
	strings.Repeat("x", 254), strings.Repeat("x", 255), strings.Repeat("x", 254) + "y", strings.Repeat("x", 254) + "Y",
}

// openfga CVE-2026-55170: a collation folded two identifiers.
func getOrCreateKeys(t tb, s []store.Store) {
	keys := []store.Key{ // what a key glued together would confuse
		{Owner: "ab", ClientID: "c"}, {Owner: "a", ClientID: "bc"}, {Owner: "a", ClientID: "b", Fingerprint: "c"},
		{Owner: "a|b", ClientID: "c"}, {Owner: "a", ClientID: "b|c"}, {Owner: "a", Fingerprint: "bc"},
	}
	for _, v := range spellings {
		keys = append(keys,
			store.Key{Owner: v, ClientID: "client", Fingerprint: "owner differs"},
			store.Key{Owner: "mona", ClientID: v, Fingerprint: "client differs"},
			store.Key{Owner: "mona", ClientID: "client", Fingerprint: v})
	}
	byKey := make(map[store.Key]store.Authorization)
	for i, key := range keys {
		rec, created, err := s[0].GetOrCreate(t.Context(), candidate(key.Owner, key.ClientID, key.Fingerprint, fmt.Sprint("token ", i)))
		switch {
		case err != nil:
			t.Fatalf("GetOrCreate(%+q) = error %v", key, err)
		case !created:
			t.Errorf("GetOrCreate(%+q) found %+q; keys must be compared byte for byte: no folding, no trimming, no normalisation", key, rec.Key)
		case rec.Key != key:
			t.Errorf("GetOrCreate(%+q) stored %+q; a key must be kept byte for byte", key, rec.Key)
		}
		byKey[key] = rec
	}
	for i, key := range keys {
		rec, created, err := s[0].GetOrCreate(t.Context(), candidate(key.Owner, key.ClientID, key.Fingerprint, fmt.Sprint("again ", i)))
		if err != nil || created || rec.ID != byKey[key].ID {
			t.Errorf("GetOrCreate(%+q) again = ID %d, created %t, error %v; want the record with exactly this key, ID %d",
				key, rec.ID, created, err, byKey[key].ID)
		}
	}
	for _, v := range spellings {
		want := byKey[store.Key{Owner: v, ClientID: "client", Fingerprint: "owner differs"}]
		if got := owned(t, s[0], v); len(got) != 1 {
			t.Errorf("List(Owner: %+q) = IDs %v, want only %d: owners must be compared byte for byte", v, ids(got), want.ID)
		}
		for _, other := range spellings {
			if _, err := s[0].Get(t.Context(), other, want.ID); (err == nil) != (other == v) {
				t.Errorf("Get(%+q) of a record of owner %+q = error %v; owners must be compared byte for byte", other, v, err)
			}
		}
		byClient := walk(t, s[0], store.Query{Owner: "mona", ClientID: &v, Limit: 100})
		if len(byClient) != 1 || byClient[0].ClientID != v {
			t.Errorf("List(ClientID: %+q) = IDs %v, want only %d: client ids must be compared byte for byte",
				v, ids(byClient), byKey[store.Key{Owner: "mona", ClientID: v, Fingerprint: "client differs"}].ID)
		}
	}
}

func tokenHashUnique(t tb, s []store.Store) {
	first := create(t, s[0], candidate("mona", "app", "", "token"))
	rec, created, err := s[0].GetOrCreate(t.Context(), candidate("hubot", "app", "", "token"))
	if err == nil {
		t.Errorf("GetOrCreate of another key with a TokenHash that is taken = ID %d, created %t, no error; there is at most one record for a TokenHash", rec.ID, created)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		t.Errorf("GetOrCreate with a TokenHash that is taken = error %v; want one that is neither ErrNotFound nor ErrConflict", err)
	}
	if n := len(owned(t, s[0], "hubot")); n != 0 {
		t.Errorf("%d records were stored for a TokenHash that is taken, want none", n)
	}

	second := create(t, s[0], candidate("mona", "app", "second", "token 2"))
	change := second
	change.TokenHash = first.TokenHash
	if _, err := s[0].Replace(t.Context(), change); err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		t.Errorf("Replace with a TokenHash that is taken = error %v; want one that is neither ErrNotFound nor ErrConflict", err)
	}
	stored(t, s[0], first)
	stored(t, s[0], second)
	got, err := s[0].GetByTokenHash(t.Context(), first.TokenHash)
	if err != nil || got.ID != first.ID {
		t.Errorf("GetByTokenHash = ID %d, error %v, want ID %d", got.ID, err, first.ID)
	}
}

const (
	raceGoroutines = 8 // for each handle
	raceKeys       = 20
)

func getOrCreateRace(t tb, s []store.Store) {
	type answer struct {
		id      int64
		created bool
	}
	n := len(s) * raceGoroutines
	answers := make([][raceKeys]answer, n)
	together(n, func(g int) {
		for i := range raceKeys {
			c := candidate("mona", "app", fmt.Sprint("key ", i), fmt.Sprintf("token %d of goroutine %d", i, g))
			rec, created, err := s[g%len(s)].GetOrCreate(t.Context(), c)
			if err != nil {
				t.Errorf("GetOrCreate in a race = error %v; a race is no error", err)
				return
			}
			if rec.Key != c.Key || (rec.TokenHash == c.TokenHash) != created {
				t.Errorf("GetOrCreate in a race = a record of key %+v, ours %t, created %t; created means that the record is the candidate of this call",
					rec.Key, rec.TokenHash == c.TokenHash, created)
			}
			answers[g][i] = answer{rec.ID, created}
		}
	})
	for i := range raceKeys {
		created, seen := 0, make(map[int64]bool)
		for g := range answers {
			seen[answers[g][i].id] = true
			if answers[g][i].created {
				created++
			}
		}
		if created != 1 || len(seen) != 1 {
			t.Errorf("key %d: %d of %d callers heard created, IDs %v; exactly one must, and all must see the same ID",
				i, created, n, slices.Sorted(maps.Keys(seen)))
		}
	}
	if got := len(owned(t, s[0], "mona")); got != raceKeys {
		t.Errorf("there are %d records after the race, want one for each of %d keys", got, raceKeys)
	}
}

func getOrCreateExpiredRace(t tb, s []store.Store) {
	for round := range 5 {
		fingerprint := fmt.Sprint("round ", round)
		c := candidate("mona", "app", fingerprint, "expires "+fingerprint)
		c.ExpiresAt = now.Add(time.Minute)
		old := create(t, s[0], c)

		var mu sync.Mutex
		created, seen := 0, make(map[int64]bool)
		together(len(s)*raceGoroutines, func(g int) {
			c := candidate("mona", "app", fingerprint, fmt.Sprintf("%s of goroutine %d", fingerprint, g))
			c.CreatedAt = old.ExpiresAt.Add(time.Duration(g) * time.Second)
			rec, ok, err := s[g%len(s)].GetOrCreate(t.Context(), c)
			if err != nil {
				t.Errorf("GetOrCreate in a race for an expired key = error %v; a race is no error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[rec.ID] = true
			if ok {
				created++
			}
		})
		if created != 1 || len(seen) != 1 || seen[old.ID] {
			t.Errorf("a race for a key whose record (ID %d) has expired: %d heard created, IDs %v; exactly one must, and all must see its new ID",
				old.ID, created, slices.Sorted(maps.Keys(seen)))
		}
		if _, err := s[0].Get(t.Context(), "mona", old.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of the expired record that was replaced = error %v, want ErrNotFound", err)
		}
	}
}

func getOrCreateDeleteRace(t tb, s []store.Store) {
	const owners, rounds = 3, 30
	var l ledger
	n := len(s) * 4
	together(n, func(g int) {
		h := s[g%len(s)]
		for i := range rounds {
			owner := fmt.Sprint("owner ", (g+i)%owners)
			c := candidate(owner, "app", "", fmt.Sprintf("token %d of goroutine %d", i, g))
			rec, created, err := h.GetOrCreate(t.Context(), c)
			if err != nil {
				t.Errorf("GetOrCreate in a race with Delete = error %v; a race is no error", err)
				return
			}
			if rec.Key != c.Key || (rec.TokenHash == c.TokenHash) != created {
				t.Errorf("GetOrCreate in a race with Delete = a record of key %+v, ours %t, created %t; created means that the record is the candidate of this call",
					rec.Key, rec.TokenHash == c.TokenHash, created)
			}
			if created {
				l.create(rec.ID)
			}
			if (g+i)%2 == 0 {
				switch err := h.Delete(t.Context(), owner, rec.ID); {
				case err == nil:
					l.delete(rec.ID)
				case !errors.Is(err, store.ErrNotFound):
					t.Errorf("Delete in a race = error %v, want nil or ErrNotFound", err)
				}
			}
		}
	})
	var left []int64
	for i := range owners {
		left = append(left, ids(owned(t, s[0], fmt.Sprint("owner ", i)))...)
	}
	l.check(t, left)
}

// ledger keeps what callers heard of IDs, to compare with what is left.
type ledger struct {
	mu      sync.Mutex
	created []int64
	deleted []int64
}

func (l *ledger) create(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created = append(l.created, id)
}

func (l *ledger) delete(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = append(l.deleted, id)
}

// check compares the ledger with the IDs that are left in the store.
func (l *ledger) check(t tb, left []int64) {
	t.Helper()
	if len(l.created) != len(left)+len(l.deleted) {
		t.Errorf("%d callers heard created, %d records are left and %d were deleted; created must be left + deleted", len(l.created), len(left), len(l.deleted))
	}
	balance := make(map[int64]int)
	for _, id := range l.created {
		if balance[id]++; balance[id] > 1 {
			t.Errorf("ID %d was created more than once; an ID is never used again", id)
		}
	}
	for _, id := range slices.Concat(l.deleted, left) {
		balance[id]--
	}
	wrong := 0
	for id, n := range balance {
		if n != 0 {
			if wrong++; wrong <= 3 {
				t.Errorf("ID %d: created minus deleted minus left is %d; each ID that was created must be deleted once or left", id, n)
			}
		}
	}
}
