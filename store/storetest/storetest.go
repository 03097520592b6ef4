// Package storetest is the contract of package store as a test suite.
//
// A backend's test is a few lines:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, n int) []store.Store {
//			path := filepath.Join(t.TempDir(), "test.db") // a fresh database for each call
//			handles := make([]store.Store, n)
//			for i := range handles {
//				handles[i] = mustOpen(t, path) // closed by t.Cleanup
//			}
//			return handles
//		})
//	}
//
// A backend that several processes may share has to show that too, see
// [RunProcesses].
//
// The suite hands in every time and waits for nothing but what a [store.Watcher]
// tells, so a backend passes it or fails it whatever the clock says. It stays inside what every backend can
// keep: strings are valid UTF-8 without U+0000, owner, client id and
// fingerprint are at most 255 characters each, as is the note of a personal
// record, and times lie between the years 1900 and 9999.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Open returns n handles on one fresh, empty store. They should be as separate
// as they would be in n processes: connections and caches of their own. Open
// releases what it took with t.Cleanup. It is called once for each case, from
// several goroutines at a time.
type Open func(t *testing.T, n int) []store.Store

// Run tests that the store keeps the contract. Each case is a subtest with a
// store of its own; they run in parallel, and Run returns when all have ended.
// The cases of [store.Housekeeper] and [store.Watcher] test nothing where the
// store is none, or its Watch returns an error that wraps errors.ErrUnsupported.
func Run(t *testing.T, open Open) {
	t.Run("contract", func(t *testing.T) { // waits for the parallel subtests
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, open(t, c.handles))
			})
		}
	})
}

// tb is what a case needs of a testing.TB. The planted faults have their own,
// so that a case can fail without failing the test.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// testCase is a part of the contract.
type testCase struct {
	name    string
	handles int
	run     func(t tb, s []store.Store)
}

var cases = []testCase{
	{"GetOrCreate/fields", 1, getOrCreateFields},
	{"GetOrCreate/existing is unchanged", 1, getOrCreateExisting},
	{"GetOrCreate/repeat says created", 2, getOrCreateRepeat},
	{"GetOrCreate/expired is replaced", 2, getOrCreateExpired},
	{"GetOrCreate/keys are compared byte for byte", 1, getOrCreateKeys},
	{"GetOrCreate/token hashes are unique", 1, tokenHashUnique},
	{"GetOrCreate/race", 4, getOrCreateRace},
	{"GetOrCreate/race for an expired key", 4, getOrCreateExpiredRace},
	{"GetOrCreate/race with Delete", 4, getOrCreateDeleteRace},
	{"GetOrCreate/conflicts name the record", 2, getOrCreateConflicts},
	{"GetOrCreate/expired ones make way", 2, getOrCreateExpiredNote},

	{"Create/fields", 1, createFields},
	{"Create/repeat", 2, createRepeat},
	{"Create/conflicts name the record", 2, createConflicts},
	{"Create/expired ones make way", 2, createExpired},
	{"Create/several without a fingerprint", 2, createSeveral},
	{"Create/race without a fingerprint", 4, createSeveralRace},
	{"Create/race for a fingerprint", 4, createFingerprintRace},
	{"Create/race for a note", 4, createNoteRace},

	{"Get/owners are apart", 1, ownersApart},
	{"GetByTokenHash/follows Replace and Delete", 2, tokenHashFollows},
	{"List/order and limits", 1, listOrder},
	{"List/filters", 1, listFilters},
	{"List/walk during changes", 3, listWalk},
	{"List/live ones", 1, listLive},
	{"List/skip", 1, listSkip},
	{"Count/what is selected", 2, countSelected},

	{"Replace/fields", 1, replaceFields},
	{"Replace/compare and swap", 2, replaceCompareAndSwap},
	{"Replace/race has one winner", 4, replaceRace},
	{"Replace/repeat", 2, replaceRepeat},
	{"Replace/fingerprint", 1, replaceFingerprint},
	{"Replace/race for a fingerprint", 4, replaceFingerprintRace},
	{"Replace/fingerprint to and from empty", 2, replaceEmptyFingerprint},
	{"Replace/conflicts name the record", 2, replaceConflicts},
	{"Replace/expired ones make way", 2, replaceExpired},
	{"Delete/removes once", 2, deleteOnce},
	{"DeleteAll/what is selected", 2, deleteAllSelected},
	{"DeleteAll/frees what was unique", 2, deleteAllFrees},
	{"DeleteAll/many in one step", 3, deleteAllMany},

	{"Touch/latest time stays", 2, touchLatest},
	{"Touch/many at once", 1, touchMany},
	{"Touch/ExpiresAt slides", 2, touchSlides},
	{"Touch/race", 4, touchRace},
	{"Touch/beside Replace", 2, touchReplace},

	{"Lookup/follows Replace and Delete", 2, lookupFollows},
	{"Lookup/apps", 2, lookupApps},
	{"Lookup/is of one moment", 4, lookupMoment},
	{"Suspend/until Resume", 2, suspendOwner},
	{"Suspend/owners are compared byte for byte", 1, suspendSpelled},

	{"Housekeeper/Purge in parts", 2, purge},
	{"Housekeeper/Purge race", 4, purgeRace},
	{"Housekeeper/Expiring in pages", 1, expiringPages},
	{"Housekeeper/Unused in pages", 2, unusedPages},

	{"Watcher/every change is told", 2, watchTells},
	{"Watcher/what is no change is not", 2, watchTellsNoMore},
	{"Watcher/Current keeps coming", 1, watchCurrent},
	{"Watcher/several at once", 3, watchSeveral},
	{"Watcher/race of changes", 4, watchRace},
	{"Watcher/ends with its context", 1, watchEnds},

	{"Notes/unique among an owner's personal records", 2, notesUnique},
	{"Notes/compared byte for byte", 1, notesSpelled},

	{"Replay/follows Replace and Delete", 2, replayFollows},
	{"Replay/race of Create", 4, replayRace},
	{"Replay/race of GetOrCreate", 4, replayGetOrCreateRace},
	{"Replay/wiped when it ends", 2, wipeReplays},

	{"Apps/fields", 1, appFields},
	{"Apps/client_id is taken", 2, appTaken},
	{"Apps/client_ids are compared byte for byte", 1, appKeys},
	{"Apps/create repeat", 2, appCreateRepeat},
	{"Apps/create race has one winner", 4, appCreateRace},
	{"Apps/list", 1, appList},
	{"Apps/replace fields", 1, appReplaceFields},
	{"Apps/replace compare and swap", 2, appReplaceCompareAndSwap},
	{"Apps/replace race has one winner", 4, appReplaceRace},
	{"Apps/replace repeat", 2, appReplaceRepeat},
	{"Apps/delete cascades", 2, appDeleteCascades},
	{"Apps/delete races with GetOrCreate", 4, appDeleteRace},

	{"Rules/ids rise and are never reused", 2, idsNeverReused},
	{"Rules/times", 1, times},
	{"Rules/no clock", 1, noClock},
	{"Rules/copies", 1, copies},
	{"Rules/handles see each other", 2, handlesSeeEachOther},
	{"Rules/context is done", 1, contextDone},
	{"Rules/context ends during calls", 4, contextEnds},
	{"Rules/errors hold no secrets", 1, errorsHoldNoSecrets},
}

// now is the time at which most of the suite plays.
var now = time.Date(2024, time.February, 29, 23, 59, 59, 123456000, time.UTC)

// Sizes of what takes long; the planted faults do with less.
var (
	many   = 1040 // records that DeleteAll has to remove in one step
	rounds = 20   // calls of each goroutine whose context ends
)

// candidate returns a record to store, with something in every field but those
// of its end and Replay. Each token may be used once.
func candidate(owner, clientID, fingerprint, token string) store.Authorization {
	return store.Authorization{
		Key:            store.Key{Owner: owner, ClientID: clientID, Fingerprint: fingerprint},
		Scopes:         []string{"repo", "user:email"},
		Note:           "note for " + token,
		NoteURL:        "https://example.com/" + token,
		TokenHash:      store.HashOf(token),
		TokenLastEight: lastEight(token),
		IssuedAt:       now,
		CreatedAt:      now,
		UpdatedAt:      now,
	}
}

func lastEight(token string) string { return token[max(0, len(token)-8):] }

// application returns an app to store, with two secrets.
func application(clientID string) store.App {
	return store.App{
		ClientID: clientID,
		Name:     "App " + clientID,
		URL:      "https://example.com/app/" + clientID,
		Secrets: []store.AppSecret{
			{Hash: store.HashOf("old secret of " + clientID), CreatedAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour)},
			{Hash: store.HashOf("new secret of " + clientID), CreatedAt: now},
		},
		CreatedAt: now.Add(-2 * time.Hour),
		UpdatedAt: now,
	}
}

// create stores c, which must be new, and returns what was stored.
func create(t tb, s store.Store, c store.Authorization) store.Authorization {
	t.Helper()
	rec, created, err := s.GetOrCreate(t.Context(), c)
	if err != nil || !created {
		t.Fatalf("GetOrCreate(%+v) = created %t, error %v; there is no such record: it must be created", c.Key, created, err)
	}
	return rec
}

// createApp stores a, which must be new, and returns what was stored.
func createApp(t tb, s store.Store, a store.App) store.App {
	t.Helper()
	app, err := s.CreateApp(t.Context(), a)
	if err != nil {
		t.Fatalf("CreateApp(%q) = error %v; there is no such app: it must be created", a.ClientID, err)
	}
	return app
}

// stored checks that the store holds exactly want.
func stored(t tb, s store.Store, want store.Authorization) {
	t.Helper()
	got, err := s.Get(t.Context(), want.Owner, want.ID)
	if err != nil {
		t.Errorf("Get(%q, %d) = error %v; the record must be there", want.Owner, want.ID, err)
		return
	}
	if d := diff(got, want); d != "" {
		t.Errorf("Get(%q, %d) must return the record as it was stored: %s", want.Owner, want.ID, d)
	}
}

// storedApp checks that the store holds exactly want.
func storedApp(t tb, s store.Store, want store.App) {
	t.Helper()
	got, err := s.App(t.Context(), want.ClientID)
	if err != nil {
		t.Errorf("App(%q) = error %v; the app must be there", want.ClientID, err)
		return
	}
	if d := diff(got, want); d != "" {
		t.Errorf("App(%q) must return the app as it was stored: %s", want.ClientID, d)
	}
}

// walk lists all that q selects, in pages of q.Limit. It checks what every
// List must keep: rising IDs that begin after q.After, and the limit.
func walk(t tb, s store.Store, q store.Query) []store.Authorization {
	t.Helper()
	return walkTo(t, s, q, math.MaxInt64)
}

// walkTo is walk that ends at the ID last: others may create records as fast
// as they are listed.
func walkTo(t tb, s store.Store, q store.Query, last int64) []store.Authorization {
	t.Helper()
	var all []store.Authorization
	for q.After < last {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Errorf("List(%+v) = error %v", q, err)
			return all
		}
		if len(page) == 0 {
			return all
		}
		if len(page) > q.Limit {
			t.Errorf("List returned %d records; Limit %d is the most it may return", len(page), q.Limit)
			return all
		}
		for _, rec := range page {
			if rec.ID <= q.After {
				t.Errorf("List returned ID %d after %d; it must return records with an ID greater than After, in rising order", rec.ID, q.After)
				return all
			}
			q.After = rec.ID
			all = append(all, rec)
		}
	}
	return all
}

// owned lists all records of owner.
func owned(t tb, s store.Store, owner string) []store.Authorization {
	t.Helper()
	return walk(t, s, store.Query{Owner: owner, Limit: 100})
}

// ids returns the IDs of recs.
func ids(recs []store.Authorization) []int64 {
	out := make([]int64, len(recs))
	for i, rec := range recs {
		out[i] = rec.ID
	}
	return out
}

// together calls f(0) to f(n-1) in a goroutine each, all at once, and returns
// when the last is done. f must not call Fatalf.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	done.Wait()
}

// diff tells in which fields two records of one type differ, "" for none. Nil
// and empty slices are the same; times must be equal and got's in UTC.
func diff(got, want any) string {
	var out []string
	compare("", reflect.ValueOf(got), reflect.ValueOf(want), &out)
	return strings.Join(out, "; ")
}

func compare(name string, got, want reflect.Value, out *[]string) {
	report := func(g, w any) { *out = append(*out, fmt.Sprintf("%s is %.200v, want %.200v", name, g, w)) }
	switch g := got.Interface().(type) {
	case time.Time:
		if w := want.Interface().(time.Time); !g.Equal(w) {
			report(g, w)
		} else if g.Location() != time.UTC {
			report(g, "UTC")
		}
		return
	case store.Hash:
		if w := want.Interface().(store.Hash); g != w {
			report(g.Hex(), w.Hex())
		}
		return
	case []byte:
		if w := want.Bytes(); !bytes.Equal(g, w) {
			report(fmt.Sprintf("%.32q (%d bytes)", g, len(g)), fmt.Sprintf("%.32q (%d bytes)", w, len(w)))
		}
		return
	}
	switch got.Kind() {
	case reflect.Struct:
		for i := range got.NumField() {
			compare(strings.TrimPrefix(name+"."+got.Type().Field(i).Name, "."), got.Field(i), want.Field(i), out)
		}
	case reflect.Slice:
		if got.Len() != want.Len() {
			report(got, want)
			return
		}
		for i := range got.Len() {
			compare(fmt.Sprintf("%s[%d]", name, i), got.Index(i), want.Index(i), out)
		}
	default:
		if !got.Equal(want) {
			report(got, want)
		}
	}
}
