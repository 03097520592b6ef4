package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// add stores c by Create, which must succeed, and returns what was stored.
func add(t tb, s store.Store, c store.Authorization) store.Authorization {
	t.Helper()
	rec, err := s.Create(t.Context(), c)
	if err != nil {
		t.Fatalf("Create(%+v) = error %v; nothing is in its way: it must be created", c.Key, err)
	}
	return rec
}

// personal returns a record to store that belongs to no app. Each note may be
// used once by an owner.
func personal(owner, note, token string) store.Authorization {
	c := candidate(owner, "", "", token)
	c.Note = note
	return c
}

// taken checks that err names the field whose value is taken, and the record
// that has it.
func taken(t tb, call string, err error, field string, by int64) {
	t.Helper()
	want := store.ConflictError{Field: field, ID: by}
	if c, ok := errors.AsType[*store.ConflictError](err); !ok {
		t.Errorf("%s = error %v, want a *ConflictError %+v", call, err, want)
	} else if *c != want || !errors.Is(err, store.ErrConflict) {
		t.Errorf("%s = a *ConflictError %+v, want %+v: the field on the wire, and the ID of the record in the way", call, *c, want)
	}
}

// gone checks that there is no such record through any handle.
func gone(t tb, s []store.Store, why string, rec store.Authorization) {
	t.Helper()
	for _, h := range s {
		if _, err := h.Get(t.Context(), rec.Owner, rec.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of a record that %s = error %v, want ErrNotFound", why, err)
		}
		if _, err := h.GetByTokenHash(t.Context(), rec.TokenHash); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("GetByTokenHash of a record that %s = error %v, want ErrNotFound", why, err)
		}
	}
}

func createFields(t tb, s []store.Store) {
	allFields(t, s[0], "Create", func(c store.Authorization) (store.Authorization, error) { return s[0].Create(t.Context(), c) })
}

func createRepeat(t tb, s []store.Store) {
	dead := candidate("mona", "app", "dead on arrival", "dead token")
	dead.ExpiresAt = dead.CreatedAt
	for i, c := range []store.Authorization{
		candidate("mona", "app", "", "first"),
		candidate("mona", "app", "", "second"), // under the same key
		candidate("mona", "app", "fingerprint", "third"),
		personal("mona", "a note", "fourth"),
		withReplay(personal("mona", "another note", "fifth"), "a key"),
		dead,
	} {
		want := add(t, s[0], c)
		repeat := func(what string) {
			t.Helper()
			for _, h := range s {
				got, err := h.Create(t.Context(), c)
				if err != nil {
					t.Errorf("the repeat of a Create %s = error %v; its answer may have been lost: want the stored record, no error", what, err)
				} else if d := diff(got, want); d != "" {
					t.Errorf("the repeat of a Create %s must return what is stored: %s", what, d)
				}
			}
			if n := len(owned(t, s[0], "mona")); n != i+1 {
				t.Errorf("there are %d records after the repeat of a Create %s, want %d as before", n, what, i+1)
			}
		}
		repeat("that has taken effect")
		want.NoteURL = "changed"
		rec, err := s[0].Replace(t.Context(), want)
		if err != nil {
			t.Fatalf("Replace = error %v", err)
		}
		want = rec
		repeat("whose record has changed since")
	}
	_, err := s[0].Create(t.Context(), candidate("hubot", "app", "", "first"))
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		t.Errorf("Create of another key with a TokenHash that is taken = error %v; want one that is neither ErrNotFound nor ErrConflict", err)
	}
	if n := len(owned(t, s[0], "hubot")); n != 0 {
		t.Errorf("%d records were stored for a TokenHash that is taken, want none", n)
	}
}

func createConflicts(t tb, s []store.Store) {
	conflicts(t, s, "Create", []string{"fingerprint", "note", "idempotency_key"}, func(h store.Store, c store.Authorization) error {
		_, err := h.Create(t.Context(), c)
		return err
	})
}

func getOrCreateConflicts(t tb, s []store.Store) {
	conflicts(t, s, "GetOrCreate", []string{"note", "idempotency_key"}, func(h store.Store, c store.Authorization) error {
		_, _, err := h.GetOrCreate(t.Context(), c)
		return err
	})
}

func replaceConflicts(t tb, s []store.Store) {
	n := 0
	conflicts(t, s, "Replace", []string{"fingerprint", "note", "idempotency_key"}, func(h store.Store, c store.Authorization) error {
		n++
		free := candidate(c.Owner, c.ClientID, fmt.Sprint("free ", n), fmt.Sprint("free token ", n))
		rec := add(t, h, free)
		c.ID, c.Revision = rec.ID, rec.Revision
		_, err := h.Replace(t.Context(), c)
		stored(t, h, rec)
		return err
	})
}

// conflicts checks what a method says of a candidate that has a value of a
// record stored before.
func conflicts(t tb, s []store.Store, method string, fields []string, call func(h store.Store, c store.Authorization) error) {
	old := map[string]store.Authorization{
		"fingerprint":     add(t, s[0], candidate("mona", "app", "taken", "old fingerprint")),
		"note":            add(t, s[0], personal("mona", "taken", "old note")),
		"idempotency_key": add(t, s[0], withReplay(candidate("hubot", "app", "", "old key"), "taken")),
	}
	again := map[string]store.Authorization{
		"fingerprint":     candidate("mona", "app", "taken", "new fingerprint"),
		"note":            personal("mona", "taken", "new note"),
		"idempotency_key": withReplay(candidate("mona", "another app", "", "new key"), "taken"),
	}
	for _, field := range fields {
		c := again[field]
		if method == "GetOrCreate" {
			c.Fingerprint = "new"
		}
		for _, h := range s {
			taken(t, method+" with a "+field+" that is taken", call(h, c), field, old[field].ID)
			if got, err := h.GetByTokenHash(t.Context(), c.TokenHash); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("GetByTokenHash of what %s refused to store = ID %d, error %v, want ErrNotFound", method, got.ID, err)
			}
		}
	}
	for _, rec := range old {
		stored(t, s[0], rec)
	}
}

func createSeveral(t tb, s []store.Store) {
	for _, clientID := range []string{"app", ""} {
		for _, how := range []string{"was deleted", "has expired"} {
			owner := "mona, whose record " + how
			var recs []store.Authorization
			for i := range 4 {
				c := candidate(owner, clientID, "", fmt.Sprintf("token %d of %q, %s", i, clientID, how))
				c.ExpiresAt = now.Add(time.Duration(i+1) * time.Hour)
				if i == 0 {
					recs = append(recs, create(t, s[0], c))
				} else {
					recs = append(recs, add(t, s[i%2], c))
				}
			}
			if got := ids(walk(t, s[0], store.Query{Owner: owner, ClientID: &clientID, Limit: 3})); !slices.Equal(got, ids(recs)) {
				t.Errorf("List = IDs %v, want %v: several records may have one Key with an empty Fingerprint", got, ids(recs))
			}
			ask := func(i int) (store.Authorization, bool, error) {
				c := candidate(owner, clientID, "", fmt.Sprintf("question %d of %q, %s", i, clientID, how))
				if how == "has expired" {
					c.CreatedAt = now.Add(time.Duration(i) * time.Hour)
				}
				return s[i%2].GetOrCreate(t.Context(), c)
			}
			for i, rec := range recs {
				got, created, err := ask(i)
				if err != nil || created || got.ID != rec.ID {
					t.Errorf("GetOrCreate without a fingerprint = ID %d, created %t, error %v; want the one with the smallest ID of those that live, %d of %v",
						got.ID, created, err, rec.ID, ids(recs))
				}
				if how == "was deleted" {
					if err := s[0].Delete(t.Context(), owner, rec.ID); err != nil {
						t.Fatalf("Delete = error %v", err)
					}
				}
			}
			if got, created, err := ask(len(recs)); err != nil || !created || got.ID <= recs[3].ID {
				t.Errorf("GetOrCreate after the last record without a fingerprint %s = ID %d, created %t, error %v, want a new one", how, got.ID, created, err)
			}
		}
	}
}

func createSeveralRace(t tb, s []store.Store) {
	const each = 5
	n := len(s) * raceGoroutines
	var mu sync.Mutex
	var got []int64
	together(n, func(g int) {
		for i := range each {
			rec, err := s[g%len(s)].Create(t.Context(), candidate("mona", "app", "", fmt.Sprintf("token %d of goroutine %d", i, g)))
			if err != nil {
				t.Errorf("Create without a fingerprint in a race = error %v; several records may have one Key with an empty Fingerprint", err)
				return
			}
			mu.Lock()
			got = append(got, rec.ID)
			mu.Unlock()
		}
	})
	slices.Sort(got)
	if left := ids(owned(t, s[0], "mona")); len(left) != n*each || !slices.Equal(left, got) {
		t.Errorf("%d callers of Create heard of %d records, %d are there; want %d, each under an ID of its own", n, len(got), len(left), n*each)
	}
}

func createFingerprintRace(t tb, s []store.Store) {
	uniqueRace(t, s, "fingerprint", store.Store.Create, func(g int) store.Authorization {
		return candidate("mona", "app", "wanted by all", fmt.Sprint("token ", g))
	})
}

func createNoteRace(t tb, s []store.Store) {
	uniqueRace(t, s, "note", store.Store.Create, func(g int) store.Authorization {
		return personal("mona", "wanted by all", fmt.Sprint("token ", g))
	})
}

// uniqueRace stores candidates with one value of field, all at once: one must
// win, and the others must hear of it.
func uniqueRace(t tb, s []store.Store, field string, method creator, c func(g int) store.Authorization) {
	for range 3 {
		n := len(s) * raceGoroutines
		recs, errs := make([]store.Authorization, n), make([]error, n)
		together(n, func(g int) { recs[g], errs[g] = method(s[g%len(s)], t.Context(), c(g)) })
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("none of %d callers won a race for a %s, the first heard %v; exactly one must", n, field, errs[0])
		}
		for g, err := range errs {
			if g != winner {
				taken(t, "the second in a race for a "+field, err, field, recs[winner].ID)
			}
		}
		if got := ids(owned(t, s[0], "mona")); !slices.Equal(got, []int64{recs[winner].ID}) {
			t.Errorf("a race for a %s has left the IDs %v, want only the winner's, %d", field, got, recs[winner].ID)
		}
		if err := s[0].Delete(t.Context(), "mona", recs[winner].ID); err != nil {
			t.Fatalf("Delete = error %v", err)
		}
	}
}

func createExpired(t tb, s []store.Store) {
	expiredMakeWay(t, s, "Create", func(c store.Authorization, at time.Time) (store.Authorization, error) {
		c.CreatedAt, c.UpdatedAt = at, now // UpdatedAt of a candidate says nothing
		return s[1].Create(t.Context(), c)
	})
}

func getOrCreateExpiredNote(t tb, s []store.Store) {
	expiredMakeWay(t, s, "GetOrCreate", func(c store.Authorization, at time.Time) (store.Authorization, error) {
		c.CreatedAt, c.UpdatedAt = at, now
		rec, _, err := s[1].GetOrCreate(t.Context(), c)
		return rec, err
	})
}

func replaceExpired(t tb, s []store.Store) {
	recs := make(map[store.Hash]store.Authorization)
	expiredMakeWay(t, s, "Replace", func(c store.Authorization, at time.Time) (store.Authorization, error) {
		if _, ok := recs[c.TokenHash]; !ok {
			free := candidate(c.Owner, c.ClientID, "free "+c.TokenLastEight, "free "+c.TokenLastEight)
			recs[c.TokenHash] = add(t, s[0], free)
		}
		rec := recs[c.TokenHash]
		c.ID, c.Revision, c.UpdatedAt = rec.ID, rec.Revision, at
		c.CreatedAt = now.AddDate(1, 0, 0) // of a change it says nothing, nor does it change
		return s[1].Replace(t.Context(), c)
	})
}

// expiredMakeWay checks that a record in the way of a Key or Note that has
// expired counts as none, and that no other goes with it.
func expiredMakeWay(t tb, s []store.Store, method string, call func(c store.Authorization, at time.Time) (store.Authorization, error)) {
	expires := now.Add(time.Hour)
	old := func(c store.Authorization) store.Authorization {
		c.ExpiresAt = expires
		return add(t, s[0], c)
	}
	bystanders := []store.Authorization{
		old(candidate("mona", "app", "bystander", "bystander 1")),
		old(candidate("mona", "app", "", "bystander 2")),
		old(candidate("hubot", "app", "wanted", "bystander 3")),
		old(personal("mona", "bystander", "bystander 4")),
		old(personal("hubot", "wanted", "bystander 5")),
	}
	named := personal("mona", "one of two", "new 3")
	named.Fingerprint = "two of two"
	other := personal("mona", "the note of another", "old 3b")
	other.Fingerprint = named.Fingerprint
	for _, way := range []struct {
		field string // of the conflict before
		old   []store.Authorization
		new   store.Authorization
	}{
		{"fingerprint", []store.Authorization{old(candidate("mona", "app", "wanted", "old 1"))}, candidate("mona", "app", "wanted", "new 1")},
		{"note", []store.Authorization{old(personal("mona", "wanted", "old 2"))}, personal("mona", "wanted", "new 2")},
		{"", []store.Authorization{old(personal("mona", "one of two", "old 3a")), old(other)}, named}, // a key and a note
	} {
		if method == "GetOrCreate" {
			if way.field == "fingerprint" {
				continue // an existing record, and no conflict
			}
			way.new.Fingerprint = "of " + way.new.TokenLastEight
		}
		if way.field != "" {
			_, err := call(way.new, expires.Add(-time.Microsecond))
			taken(t, method+" one microsecond before the record in the way of its "+way.field+" expires", err, way.field, way.old[0].ID)
			stored(t, s[0], way.old[0])
		}
		rec, err := call(way.new, expires)
		if err != nil {
			t.Errorf("%s when the record in the way has expired = error %v; it counts as none", method, err)
			continue
		}
		for _, h := range s {
			stored(t, h, rec)
		}
		for i, old := range way.old {
			if method == "GetOrCreate" && i > 0 {
				continue // its key is not wanted here
			}
			if rec.ID == old.ID {
				t.Errorf("%s returned the ID of the expired record in its way, %d; an ID is never used again", method, rec.ID)
			}
			gone(t, s, "was in the way and has expired", old)
		}
	}
	for _, rec := range bystanders {
		stored(t, s[0], rec) // expired as well, but in nobody's way
	}
	keyed := old(withReplay(candidate("hubot", "app", "", "old key"), "taken"))
	again := withReplay(candidate("mona", "app", "new key", "new key"), "taken")
	_, err := call(again, expires.Add(time.Minute))
	taken(t, method+" with the Replay of an expired record, which is in the way like any other,", err, "idempotency_key", keyed.ID)
	stored(t, s[0], keyed)
}

func notesUnique(t tb, s []store.Store) {
	rec := add(t, s[0], personal("mona", "my script", "token 1"))
	others := []store.Authorization{ // in nobody's way
		add(t, s[0], personal("hubot", "my script", "token 2")),
		add(t, s[0], personal("", "my script", "token 3")),
	}
	for i := range 3 { // notes of an app's records are free
		c := candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("app token ", i))
		if c.Note = "my script"; i == 0 {
			others = append(others, create(t, s[0], c))
		} else {
			others = append(others, add(t, s[0], c))
		}
	}
	app := add(t, s[0], candidate("mona", "app", "", "app token"))
	app.Note, app.ClientID = "my script", "" // ClientID never changes, so it is no personal record
	app, err := s[0].Replace(t.Context(), app)
	if err != nil {
		t.Fatalf("Replace of an app's record with a note of others = error %v; only notes of personal records are unique", err)
	}
	others = append(others, app)
	other := add(t, s[0], personal("mona", "another", "token 4"))
	change := other
	change.Note, change.ClientID = "my script", "app" // and this is one
	_, err = s[0].Replace(t.Context(), change)
	taken(t, "Replace of a personal record with a note that is taken", err, "note", rec.ID)
	stored(t, s[0], other)

	rec.NoteURL = "changed" // its own note is not in its way
	if rec, err = s[0].Replace(t.Context(), rec); err != nil {
		t.Fatalf("Replace of a personal record that keeps its note = error %v", err)
	}
	rec.Note = "my old script"
	if rec, err = s[0].Replace(t.Context(), rec); err != nil {
		t.Fatalf("Replace of a note = error %v", err)
	}
	next := add(t, s[1], personal("mona", "my script", "token 5")) // free now
	_, err = s[1].Create(t.Context(), personal("mona", "my old script", "token 6"))
	taken(t, "Create with a note that Replace has moved there", err, "note", rec.ID)
	if err := s[0].Delete(t.Context(), "mona", next.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	add(t, s[1], personal("mona", "my script", "token 7")) // and again
	for _, rec := range others {
		stored(t, s[0], rec)
	}
}

func notesSpelled(t tb, s []store.Store) {
	notes := append([]string{"\u7b14\u8bb0" + strings.Repeat("\u4e16", 253), strings.Repeat("\u4e16", 255)}, spellings...)
	for i, note := range notes {
		rec, err := s[0].Create(t.Context(), personal("mona", note, fmt.Sprint("token ", i)))
		if err != nil || rec.Note != note {
			t.Errorf("Create with the note %+q = note %+q, error %v; notes must be compared and kept byte for byte", note, rec.Note, err)
			continue
		}
		_, err = s[0].Create(t.Context(), personal("mona", note, fmt.Sprint("again ", i)))
		taken(t, fmt.Sprintf("Create with the note %+q again", note), err, "note", rec.ID)
	}
}

func replaceEmptyFingerprint(t tb, s []store.Store) {
	a := create(t, s[0], candidate("mona", "app", "x", "token a"))
	b := create(t, s[0], candidate("mona", "app", "", "token b"))
	c := add(t, s[0], candidate("mona", "app", "", "token c"))
	move := func(rec *store.Authorization, fingerprint string) {
		t.Helper()
		change := *rec
		change.Fingerprint, change.NoteURL = fingerprint, "moved to "+fingerprint
		got, err := s[0].Replace(t.Context(), change)
		if err != nil {
			t.Fatalf("Replace of the fingerprint %q by %q = error %v; several records may have one Key with an empty Fingerprint", rec.Fingerprint, fingerprint, err)
		}
		*rec = got
		for _, h := range s {
			stored(t, h, *rec)
		}
	}
	n := 0
	found := func(fingerprint string, want store.Authorization) {
		t.Helper()
		for _, h := range s {
			n++
			got, created, err := h.GetOrCreate(t.Context(), candidate("mona", "app", fingerprint, fmt.Sprint("question ", n)))
			if err != nil || created || got.ID != want.ID {
				t.Errorf("GetOrCreate(fingerprint %q) = ID %d, created %t, error %v, want ID %d: the smallest there", fingerprint, got.ID, created, err, want.ID)
			}
		}
	}
	found("", b)
	move(&c, "") // stays beside b
	move(&a, "")
	found("", a)
	free := create(t, s[0], candidate("mona", "app", "x", "token d"))
	found("x", free)
	move(&a, "y")
	found("y", a)
	found("", b)
	change := b
	change.Fingerprint = "y"
	_, err := s[0].Replace(t.Context(), change)
	taken(t, "Replace of an empty fingerprint by one that is taken", err, "fingerprint", a.ID)
	stored(t, s[0], b)
	move(&b, "z")
	found("", c)
	found("z", b)
	if got, want := ids(owned(t, s[0], "mona")), ids([]store.Authorization{a, b, c, free}); !slices.Equal(got, want) {
		t.Errorf("List = IDs %v, want %v", got, want)
	}
}
