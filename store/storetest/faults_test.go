package storetest

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// TestFaults proves the suite: each fault, planted into a store that passes,
// must turn at least one case red. Run it with -v to see which.
func TestFaults(t *testing.T) {
	defer func(m, r int) { many, rounds = m, r }(many, rounds)
	many, rounds = many/10, rounds/4
	var mu sync.Mutex
	caught := make(map[fault][]string)
	attempt := func(ctx context.Context, f fault, c testCase) {
		r := record(ctx, func(r *recorder) {
			if f != none {
				r.waits = 200 * time.Millisecond
			}
			c.run(r, plant(f, c.handles))
		})
		mu.Lock()
		defer mu.Unlock()
		if len(r.failures) == 0 || slices.Contains(caught[f], c.name) {
			return
		}
		caught[f] = append(caught[f], c.name)
		if f == none {
			t.Errorf("without a fault, %s fails: %s", c.name, r.failures[0])
		}
	}
	t.Run("plant", func(t *testing.T) {
		for _, f := range append([]fault{none}, faults...) {
			t.Run(string(f), func(t *testing.T) {
				t.Parallel()
				for _, c := range cases {
					attempt(t.Context(), f, c)
				}
			})
		}
	})
	delete(caught, none)

	// Some faults show in races alone, and no race is certain on a busy machine:
	// what was missed, and what has caught nothing, gets more chances.
	var missed []fault
	var useless []string
	for try := 0; ; try++ {
		missed = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return len(caught[f]) > 0 })
		useless = nil
		for _, c := range cases {
			if !slices.ContainsFunc(faults, func(f fault) bool { return slices.Contains(caught[f], c.name) }) {
				useless = append(useless, c.name)
			}
		}
		if len(missed)+len(useless) == 0 || try == 10 {
			break
		}
		t.Logf("once more: faults %q, cases %q", missed, useless)
		for _, f := range faults {
			for _, c := range cases {
				if slices.Contains(missed, f) || slices.Contains(useless, c.name) {
					attempt(t.Context(), f, c)
				}
			}
		}
	}
	if len(missed) > 0 {
		t.Errorf("no case catches these faults: %q", missed)
	}
	if len(useless) > 0 {
		t.Errorf("no fault turns these cases red: %q", useless)
	}

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, f := range faults {
		fmt.Fprintf(w, "%s\t%d\t%s\n", f, len(caught[f]), strings.Join(caught[f][:min(3, len(caught[f]))], ", "))
	}
	w.Flush()
	t.Logf("fault, number of cases that catch it, the first of them:\n%s", table.String())
}

// recorder is a tb that keeps failures to itself.
type recorder struct {
	ctx      context.Context
	waits    time.Duration // for what a fault keeps from coming
	mu       sync.Mutex
	failures []string
}

// record runs f as a test runs: in a goroutine that Fatalf can end.
func record(ctx context.Context, f func(r *recorder)) *recorder {
	r := &recorder{ctx: ctx, waits: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) patience() time.Duration  { return r.waits }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// fault names what is wrong with a planted store.
type fault string

const (
	none fault = "none"

	noUniqueKey        fault = "no unique key: create always inserts"
	foldedKeys         fault = "keys fold case"
	trimmedKeys        fault = "keys are trimmed"
	gluedKeys          fault = "keys are glued together"
	alwaysCreated      fault = "created is always true"
	neverCreated       fault = "created is always false"
	insertedIsCreated  fault = "created means inserted by this call, not our token"
	overwrites         fault = "GetOrCreate overwrites an existing record"
	plainInsert        fault = "plain insert: an error when the key is taken"
	checkThenAct       fault = "GetOrCreate looks and stores in two steps"
	expiredLives       fault = "an expired record is returned as existing"
	expiredLate        fault = "a record expires one instant late"
	expiredStays       fault = "an expired record keeps its ID when it is replaced"
	replacesItself     fault = "the repeat of a GetOrCreate that stored a dead record replaces it"
	expiredHidden      fault = "expired records are hidden from Get and List, by the clock"
	noUniqueHash       fault = "token hashes are not unique"
	getAnyOwner        fault = "Get does not check the owner"
	replaceAnyOwner    fault = "Replace does not check the owner"
	deleteAnyOwner     fault = "Delete does not check the owner"
	deleteTwice        fault = "Delete of nothing is no error"
	listAnyOwner       fault = "List with the empty owner lists all"
	emptyClientIsNone  fault = "List takes the filter client_id \"\" for none"
	listDescending     fault = "List in falling order"
	listByKey          fault = "List in order of the key"
	listInclusive      fault = "List begins at After, not behind it"
	listNoLimit        fault = "List ignores Limit"
	listAfterRecord    fault = "List looks for the record After, which may be deleted"
	idsReused          fault = "IDs are used again (the highest plus one)"
	appIDsReused       fault = "app IDs are used again (the highest plus one)"
	millisecond        fault = "times are cut to milliseconds"
	localZone          fault = "times come back in another zone"
	epochIsNever       fault = "1970 is taken for the zero time"
	zeroIsEpoch        fault = "the zero time comes back as 1970"
	noCompare          fault = "Replace does not compare revisions"
	splitSwap          fault = "Replace compares and swaps in two steps"
	sameRevision       fault = "Replace does not raise the revision"
	repeatConflicts    fault = "the repeat of a Replace is a conflict"
	oldIsRepeat        fault = "any Replace of the revision before passes for a repeat"
	changesImmutable   fault = "Replace changes CreatedAt and ClientID"
	partialReplace     fault = "Replace forgets the scopes"
	staleHash          fault = "the token hash index is stale after Replace"
	fingerprintClash   fault = "Replace does not look whether the fingerprint is taken"
	untypedConflict    fault = "a taken fingerprint or client_id is an ErrConflict without its field"
	sharesIn           fault = "slices are shared with the caller's argument"
	sharesOut          fault = "slices are shared with the caller's result"
	unwrapped          fault = "errors do not wrap the sentinels"
	contextIgnored     fault = "a done context is ignored"
	contextStalls      fault = "a done context breaks the store"
	hashInError        fault = "a hash is in an error's text"
	ownerInError       fault = "a parameter is in an error inside an error"
	noCascade          fault = "DeleteApp leaves the authorizations"
	cascadeAll         fault = "DeleteApp removes other apps' authorizations"
	cascadeCount       fault = "DeleteApp does not count"
	cascadeSplit       fault = "DeleteApp succeeds for each of two racing callers"
	cascadeUnknown     fault = "DeleteApp of no app removes authorizations"
	clientIDFree       fault = "the client_id of a deleted app is free again"
	appOverwrites      fault = "CreateApp overwrites"
	appCreateConflicts fault = "the repeat of a CreateApp is a conflict"
	secretsLost        fault = "only the newest secret is kept"
	secretsSorted      fault = "secrets are sorted by time"
	appNoCompare       fault = "ReplaceApp does not compare revisions"
	appSplitSwap       fault = "ReplaceApp compares and swaps in two steps"
	appRepeatConflicts fault = "the repeat of a ReplaceApp is a conflict"
	appListDescending  fault = "ListApps in falling order"
	cached             fault = "handles cache what they read"
	cutNote            fault = "long texts are cut"
	lostField          fault = "a field is not stored"

	createGets            fault = "Create returns an existing record"
	createRepeatConflicts fault = "the repeat of a Create is an error"
	createRepeatCandidate fault = "the repeat of a Create returns the candidate, whatever is stored"
	splitInsert           fault = "what is unique is looked for and stored in two steps"
	slotTaken             fault = "callers who create without a fingerprint at once get in each other's way"
	oneWithoutFingerprint fault = "one record only without a fingerprint"
	newestFirst           fault = "of several records GetOrCreate returns the newest"
	firstOnly             fault = "of several records GetOrCreate sees the first only"
	orderOfArrival        fault = "of several records GetOrCreate returns the one that has had its fingerprint for longest"
	conflictNoID          fault = "a conflict does not say which record is in the way"
	conflictOwnID         fault = "a conflict names the ID of the record that was to be changed"
	noteFree              fault = "notes are not unique"
	noteFreeInReplace     fault = "Replace does not look whether the note is taken"
	noteFreeInGetOrCreate fault = "GetOrCreate does not look whether the note is taken"
	noteEverywhere        fault = "the notes of an app's records are unique too"
	noteAnyOwner          fault = "notes are unique over all owners"
	noteFolded            fault = "notes fold case"
	noteTrimmed           fault = "notes are trimmed"
	noteCut               fault = "notes are compared by their first 254 characters"
	noteOfArgument        fault = "Replace takes its argument for personal, not the stored record"
	expiredBlocksKey      fault = "an expired record keeps its fingerprint"
	expiredBlocksNote     fault = "an expired record keeps its note"
	expiredPurged         fault = "all expired records go when a record is stored"
	expiredBeside         fault = "an expired record in the way stays there"
	expiredReplayFree     fault = "an expired record in the way of a Replay goes"
	replaceMoment         fault = "in Replace, CreatedAt is the time of the change"
	updatedMoment         fault = "in Create, UpdatedAt is the time of the change"
	ghosts                fault = "what was deleted stays in the way"
	issuedKept            fault = "Replace leaves IssuedAt as it is"
	issuedLost            fault = "IssuedAt is not stored"
	sealLost              fault = "a Seal of more than 512 bytes is cut"
	replayKept            fault = "Replace leaves the Replay as it is"
	sealKept              fault = "an empty Seal leaves the old one"
	sealless              fault = "a Replay with an empty Seal counts as none"
	replayZero            fault = "GetByReplay of the zero hash finds a record without one"
	replayStale           fault = "the replay index is stale after Replace"
	replayHidden          fault = "GetByReplay does not return expired records"
	replayFree            fault = "Replay IDs are not unique"
	replayFreeInReplace   fault = "Replace does not look whether the Replay ID is taken"
	replayPerOwner        fault = "Replay IDs are unique for each owner"
	sharesSealIn          fault = "the Seal is shared with the caller's argument"
	sharesSealOut         fault = "the Seal is shared with the caller's result"
	replayInError         fault = "a Replay ID is in an error's text"
	sealInError           fault = "a Seal is in an error inside an error"
	wipesEarly            fault = "WipeReplays wipes all"
	wipesLate             fault = "WipeReplays leaves what ends at that instant"
	wipesSeal             fault = "WipeReplays wipes the Seal only"
	wipeSkipsUsed         fault = "WipeReplays leaves those without a Seal"
	wipeRaises            fault = "WipeReplays raises revisions"
	wipeCount             fault = "WipeReplays does not count"
	wipesRecords          fault = "WipeReplays removes expired records"
	emptyOwnerIsNone      fault = "a Selection takes the owner \"\" for none"
	hashAlone             fault = "a Selection with a TokenHash looks at nothing else"
	liveIgnored           fault = "LiveAt is ignored"
	liveLate              fault = "LiveAt selects what expires at that instant"
	liveNow               fault = "LiveAt selects what lives by the clock"
	deleteAllOfNothing    fault = "DeleteAll removes all when nothing is set"
	deleteAllOfTime       fault = "DeleteAll is content with LiveAt"
	deleteAllBatch        fault = "DeleteAll removes no more than a batch"
	deleteAllSplit        fault = "DeleteAll removes in several steps"
	deleteAllTwice        fault = "DeleteAll counts and removes in two steps"
	deleteAllCount        fault = "DeleteAll does not count"
	skipIgnored           fault = "Skip is ignored"
	skipUnfiltered        fault = "Skip counts records that are not selected"
	skipInLimit           fault = "what is skipped counts for Limit"
	bulkIgnoresContext    fault = "a done context is ignored by what counts, removes or wipes many"

	idleLost               fault = "IdleTimeout is not stored"
	idleMillis             fault = "IdleTimeout is cut to milliseconds"
	endsLost               fault = "EndsAt is not stored"
	usedOfCandidate        fault = "a candidate's LastUsedAt is stored"
	idleKept               fault = "Replace leaves IdleTimeout as it is"
	endsKept               fault = "Replace leaves EndsAt as it is"
	usedByReplace          fault = "Replace stores LastUsedAt"
	touchNothing           fault = "Touch stores nothing"
	touchLowers            fault = "Touch takes an earlier time"
	touchRaises            fault = "Touch raises revisions"
	touchUpdates           fault = "Touch sets UpdatedAt"
	touchOwner             fault = "Touch stores the use for all records of the owner"
	touchUnknownFails      fault = "Touch of an unknown ID is ErrNotFound"
	touchUnknownEnds       fault = "Touch ends at an unknown ID"
	touchFirstOnly         fault = "Touch stores the first use only"
	touchBatch             fault = "Touch stores no more than 1000 uses"
	touchSplit             fault = "Touch looks and stores in two steps"
	slidesNot              fault = "ExpiresAt does not slide"
	slidesBeyondEnd        fault = "ExpiresAt slides beyond EndsAt"
	slidesToEnd            fault = "ExpiresAt slides to EndsAt at once"
	slidesDead             fault = "ExpiresAt slides for a record that had expired"
	slidesLate             fault = "a record that expires at At has its ExpiresAt slide"
	slidesWithoutTimeout   fault = "IdleTimeout 0 is taken for an hour"
	slidesNever            fault = "a record without ExpiresAt gets one by its use"
	slidesDown             fault = "ExpiresAt slides down"
	slidesEarlier          fault = "a use that is not later has ExpiresAt slide"
	touchedRepeatConflicts fault = "the repeat of a Replace is a conflict if there was a use since"
	slidRepeatConflicts    fault = "the repeat of a Replace is a conflict if ExpiresAt has slid since"
	slidAnyRepeat          fault = "a Replace of the revision before passes for a repeat whatever its ExpiresAt"
	replaceKeepsSlid       fault = "Replace leaves an ExpiresAt that is later"
	touchConflicts         fault = "a use makes a conflict of a Replace"
	lookupStale            fault = "Lookup finds a token that was replaced"
	lookupHidesDead        fault = "Lookup does not return expired records"
	lookupAnyApp           fault = "Lookup says App of all that have a client_id"
	lookupPersonalApp      fault = "Lookup says App of personal records"
	lookupDeletedApp       fault = "Lookup says App of a deleted app"
	lookupAppDead          fault = "a suspended app is none to Lookup"
	appSuspensionIgnored   fault = "the suspension of an app is ignored"
	appSuspensionOutlives  fault = "the suspension of an app outlives it"
	appSuspensionLost      fault = "CreateApp does not store SuspendedAt"
	appSuspensionKept      fault = "ReplaceApp leaves SuspendedAt as it is"
	ownerSuspensionIgnored fault = "the suspension of an owner is ignored"
	lookupSplit            fault = "Lookup looks at owner and app in two steps"
	suspendOverwrites      fault = "a second Suspend stores its time"
	suspendFails           fault = "a second Suspend is an error"
	suspendPresent         fault = "Suspend is for the records that are there"
	suspendNeedsRecords    fault = "Suspend of an owner without records does nothing"
	suspendPersonalNot     fault = "personal records are not suspended"
	suspendRaises          fault = "Suspend raises revisions"
	suspendAll             fault = "the suspension of the empty owner is that of all"
	resumeFails            fault = "Resume of one who is not suspended is ErrNotFound"
	resumeAll              fault = "Resume resumes all"
	resumeNot              fault = "Resume does nothing"
	deleteAllResumes       fault = "DeleteAll ends the suspension"
	purgeNoLimit           fault = "Purge ignores limit"
	purgeByID              fault = "Purge removes the records with the smallest IDs first"
	purgeLate              fault = "Purge leaves what expires at that instant"
	purgeNever             fault = "Purge removes records that never expire"
	purgeLive              fault = "Purge removes records that have not expired"
	purgeCount             fault = "Purge does not count"
	purgeTwice             fault = "Purge counts and removes in two steps"
	expiringFrom           fault = "Expiring returns what expires at from"
	expiringTo             fault = "Expiring leaves out what expires at to"
	expiringByID           fault = "Expiring in order of ID"
	expiringByTime         fault = "Expiring begins behind the time of the position"
	expiringInclusive      fault = "Expiring begins at the position, not behind it"
	expiringAfter          fault = "a position of Expiring counts in the place of from"
	expiringNoLimit        fault = "Expiring ignores limit"
	expiringNever          fault = "Expiring returns records that never expire"
	unusedNew              fault = "Unused returns records that were made since"
	unusedUsed             fault = "Unused returns records that were used since"
	unusedAtSince          fault = "Unused returns what was used at that instant"
	unusedNeverOnly        fault = "Unused returns what was never used only"
	unusedDead             fault = "Unused returns expired records"
	unusedNoLimit          fault = "Unused ignores limit"
	unusedSkips            fault = "Unused goes on behind what limit has left out"
	unusedEndless          fault = "Unused does not say that it is at the end"
	unusedStops            fault = "Unused ends at the first empty page"
	unusedInclusive        fault = "Unused begins at after, not behind it"
	sharesLookup           fault = "the scopes of Lookup's record are shared"
	useIgnoresContext      fault = "a done context is ignored by Touch, Suspend and Resume"
	keeperIgnoresContext   fault = "a done context is ignored by Purge, Expiring and Unused"

	watchNothingFirst  fault = "Watch does not begin with a change of anything"
	watchCurrentFirst  fault = "the first call of Watch is Current"
	watchNotReplace    fault = "Replace is not told"
	watchNotDelete     fault = "Delete is not told"
	watchNotDeleteAll  fault = "DeleteAll is not told"
	watchNotInTheWay   fault = "expired records in the way go untold"
	watchNotPurge      fault = "Purge is not told"
	watchNotSuspend    fault = "Suspend is not told"
	watchNotResume     fault = "Resume is not told"
	watchNotReplaceApp fault = "ReplaceApp is not told"
	watchNotDeleteApp  fault = "DeleteApp is not told"
	watchFirstOnly     fault = "of several records that go at once the first is told"
	watchBatch         fault = "of many records that go at once the first 30 are told"
	watchNotOthers     fault = "changes by another handle are not told"
	watchTokenOnly     fault = "DeleteAll is told where it is of one token"
	watchOwnerCut      fault = "an owner is told by its first 63 bytes"
	watchOwnerEmpty    fault = "the empty owner is told as no owner at all, with an ID"
	watchAppTrimmed    fault = "a client_id is told without its spaces"
	watchTwoFields     fault = "a change is told with two fields"
	watchEarly         fault = "Current comes before the changes that it is for"
	watchAhead         fault = "Current is of a time to come"
	watchBack          fault = "Current goes back"
	watchStill         fault = "Current is of the same time for ever"
	watchSilent        fault = "Current comes once"
	watchSeldom        fault = "Current comes once a second"
	watchWallClock     fault = "the time of Current has no monotonic reading"
	watchCreate        fault = "new records are told"
	watchTouch         fault = "Touch is told"
	watchTouchAny      fault = "Touch is told as a change of anything"
	watchWipe          fault = "WipeReplays is told"
	watchRefused       fault = "a change that was refused is told"
	watchRolledBack    fault = "expired records that would have gone are told"
	watchGivesUp       fault = "Watch ends at the first change, without an error"
	watchFails         fault = "Watch ends at the first change, with an error"
	watchEndsNil       fault = "Watch returns nil when its context ends"
	watchOutlives      fault = "Watch does not end with its context"
	watchDone          fault = "a done context is ignored by Watch"
	watchLeaks         fault = "Watch leaves a goroutine"
	watchCallsOn       fault = "Watch calls its Observer after it has returned"
	watchOne           fault = "a second Watch takes the place of the first"
	watchEndsAll       fault = "the end of one Watch is the end of all"
	watchTwoAtATime    fault = "Watch makes two calls at a time"
)

var faults = []fault{
	noUniqueKey, foldedKeys, trimmedKeys, gluedKeys, alwaysCreated, neverCreated, insertedIsCreated, overwrites, plainInsert, checkThenAct,
	expiredLives, expiredLate, expiredStays, replacesItself, expiredHidden, noUniqueHash, getAnyOwner, replaceAnyOwner, deleteAnyOwner, deleteTwice,
	listAnyOwner, emptyClientIsNone, listDescending, listByKey, listInclusive, listNoLimit, listAfterRecord, idsReused, appIDsReused,
	millisecond, localZone, epochIsNever, zeroIsEpoch, noCompare, splitSwap, sameRevision, repeatConflicts, oldIsRepeat, changesImmutable,
	partialReplace, staleHash, fingerprintClash, untypedConflict, sharesIn, sharesOut, unwrapped, contextIgnored, contextStalls,
	hashInError, ownerInError, noCascade, cascadeAll, cascadeCount, cascadeSplit, cascadeUnknown, clientIDFree, appOverwrites,
	appCreateConflicts, secretsLost, secretsSorted, appNoCompare, appSplitSwap, appRepeatConflicts, appListDescending, cached, cutNote, lostField,

	createGets, createRepeatConflicts, createRepeatCandidate, splitInsert, slotTaken, oneWithoutFingerprint, newestFirst, firstOnly, orderOfArrival,
	conflictNoID, conflictOwnID, noteFree, noteFreeInReplace, noteFreeInGetOrCreate, noteEverywhere, noteAnyOwner, noteFolded, noteTrimmed, noteCut,
	noteOfArgument, expiredBlocksKey, expiredBlocksNote, expiredPurged, expiredBeside, expiredReplayFree, replaceMoment, updatedMoment, ghosts,
	issuedKept, issuedLost, sealLost, replayKept, sealKept, sealless, replayZero, replayStale, replayHidden, replayFree, replayFreeInReplace,
	replayPerOwner, sharesSealIn, sharesSealOut, replayInError, sealInError, wipesEarly, wipesLate, wipesSeal, wipeSkipsUsed, wipeRaises, wipeCount,
	wipesRecords, emptyOwnerIsNone, hashAlone, liveIgnored, liveLate, liveNow, deleteAllOfNothing, deleteAllOfTime, deleteAllBatch, deleteAllSplit,
	deleteAllTwice, deleteAllCount, skipIgnored, skipUnfiltered, skipInLimit, bulkIgnoresContext,

	idleLost, idleMillis, endsLost, usedOfCandidate, idleKept, endsKept, usedByReplace, touchNothing, touchLowers, touchRaises, touchUpdates, touchOwner,
	touchUnknownFails, touchUnknownEnds, touchFirstOnly, touchBatch, touchSplit, slidesNot, slidesBeyondEnd, slidesToEnd, slidesDead, slidesLate,
	slidesWithoutTimeout, slidesNever, slidesDown, slidesEarlier, touchedRepeatConflicts, slidRepeatConflicts, slidAnyRepeat, replaceKeepsSlid,
	touchConflicts, lookupStale, lookupHidesDead, lookupAnyApp, lookupPersonalApp, lookupDeletedApp, lookupAppDead, appSuspensionIgnored,
	appSuspensionOutlives, appSuspensionLost, appSuspensionKept, ownerSuspensionIgnored, lookupSplit, suspendOverwrites, suspendFails, suspendPresent,
	suspendNeedsRecords, suspendPersonalNot, suspendRaises, suspendAll, resumeFails, resumeAll, resumeNot, deleteAllResumes, purgeNoLimit, purgeByID,
	purgeLate, purgeNever, purgeLive, purgeCount, purgeTwice, expiringFrom, expiringTo, expiringByID, expiringByTime, expiringInclusive, expiringAfter,
	expiringNoLimit, expiringNever, unusedNew, unusedUsed, unusedAtSince, unusedNeverOnly, unusedDead, unusedNoLimit, unusedSkips, unusedEndless,
	unusedStops, unusedInclusive, sharesLookup, useIgnoresContext, keeperIgnoresContext,

	watchNothingFirst, watchCurrentFirst, watchNotReplace, watchNotDelete, watchNotDeleteAll, watchNotInTheWay, watchNotPurge,
	watchNotSuspend, watchNotResume, watchNotReplaceApp, watchNotDeleteApp, watchFirstOnly, watchBatch, watchNotOthers, watchTokenOnly,
	watchOwnerCut, watchOwnerEmpty, watchAppTrimmed, watchTwoFields, watchEarly, watchAhead, watchBack, watchStill, watchSilent, watchSeldom,
	watchWallClock, watchCreate, watchTouch, watchTouchAny, watchWipe, watchRefused, watchRolledBack, watchGivesUp, watchFails, watchEndsNil,
	watchOutlives, watchDone, watchLeaks, watchCallsOn, watchOne, watchEndsAll, watchTwoAtATime,
}

// plant returns n handles on a store with the fault f.
func plant(f fault, n int) []store.Store {
	s := &planted{f: f, hashes: make(map[store.Hash]int64), replays: make(map[store.Hash]int64), since: make(map[int64]int)}
	handles := make([]store.Store, n)
	for i := range handles {
		handles[i] = s
		if f == cached {
			handles[i] = &cachingHandle{planted: s, seen: make(map[int64]store.Authorization)}
		}
		if f == watchNotOthers && i > 0 {
			handles[i] = mutedHandle{s}
		}
	}
	return handles
}

// planted is the plainest store there is, slices searched from end to end,
// with one fault.
type planted struct {
	f fault

	mu      sync.Mutex
	broken  bool // for contextStalls
	recs    []store.Authorization
	hashes  map[store.Hash]int64  // for staleHash
	replays map[store.Hash]int64  // for replayStale
	since   map[int64]int         // for orderOfArrival: when a record got its fingerprint
	removed []store.Authorization // for ghosts
	last    int64
	apps    []store.App
	lastApp int64
	gone    []store.App // deleted
	owners  []suspension
	watches []*plantedWatch
	muted   bool // for watchNotOthers
}

// suspension is of an owner.
type suspension struct {
	owner string
	at    time.Time
	recs  []int64 // for suspendPresent: what the owner had
}

var (
	_ store.Store       = (*planted)(nil)
	_ store.Housekeeper = (*planted)(nil)
	_ store.Watcher     = (*planted)(nil)
)

// begin begins a call.
func (s *planted) begin(ctx context.Context) error {
	s.mu.Lock()
	if s.broken {
		return fmt.Errorf("broken")
	}
	if err := ctx.Err(); err != nil && s.f != contextIgnored {
		s.broken = s.f == contextStalls
		return err
	}
	return nil
}

// pause lets others in, in the middle of a call.
func (s *planted) pause() {
	s.mu.Unlock()
	time.Sleep(time.Millisecond)
	s.mu.Lock()
}

// refused is failed for a call that has an authorization for its argument.
func (s *planted) refused(err error, rec store.Authorization) error {
	switch s.f {
	case replayInError:
		return fmt.Errorf("%w: %v", err, rec.Replay.ID[:])
	case sealInError:
		return fmt.Errorf("store: %w", &detailedError{err, string(rec.Replay.Seal)})
	}
	return s.failed(err, rec.TokenHash, rec.Owner)
}

func (s *planted) failed(err error, hash store.Hash, owner string) error {
	switch s.f {
	case unwrapped:
		return fmt.Errorf("%v", err)
	case hashInError:
		return fmt.Errorf("%w: %x", err, hash[:])
	case ownerInError:
		return fmt.Errorf("store: %w", &detailedError{err, owner})
	}
	if _, ok := err.(*store.ConflictError); ok && s.f == untypedConflict {
		return store.ErrConflict
	}
	return err
}

// detailedError hides a detail from its text, as pq.Error does.
type detailedError struct {
	error
	Detail string
}

func (e *detailedError) Unwrap() error { return e.error }

func (s *planted) time(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	switch {
	case s.f == millisecond:
		return t.Truncate(time.Millisecond)
	case s.f == localZone:
		return t.In(time.FixedZone("local", 3600))
	case s.f == epochIsNever && t.Unix() == 0:
		return time.Time{}
	case s.f == zeroIsEpoch && t.IsZero():
		return time.Unix(0, 0).UTC()
	}
	return t
}

func (s *planted) in(a store.Authorization) store.Authorization {
	if s.f != sharesIn {
		a.Scopes = slices.Clone(a.Scopes)
	}
	if s.f != sharesIn && s.f != sharesSealIn {
		a.Replay.Seal = slices.Clone(a.Replay.Seal)
	}
	a.CreatedAt, a.UpdatedAt, a.ExpiresAt = s.time(a.CreatedAt), s.time(a.UpdatedAt), s.time(a.ExpiresAt)
	a.IssuedAt, a.Replay.ExpiresAt, a.EndsAt = s.time(a.IssuedAt), s.time(a.Replay.ExpiresAt), s.time(a.EndsAt)
	switch s.f {
	case idleLost:
		a.IdleTimeout = 0
	case idleMillis:
		a.IdleTimeout = a.IdleTimeout.Truncate(time.Millisecond)
	case endsLost:
		a.EndsAt = time.Time{}
	}
	if s.f == issuedLost {
		a.IssuedAt = a.CreatedAt
	}
	if s.f == sealLost {
		a.Replay.Seal = a.Replay.Seal[:min(len(a.Replay.Seal), 512)]
	}
	if s.f == sealless && len(a.Replay.Seal) == 0 {
		a.Replay = store.Replay{}
	}
	if s.f == cutNote {
		a.Note = a.Note[:min(len(a.Note), 1024)]
	}
	if s.f == lostField {
		a.TokenLastEight = ""
	}
	return a
}

func (s *planted) out(a store.Authorization) store.Authorization {
	if s.f != sharesOut {
		a.Scopes = slices.Clone(a.Scopes)
	}
	if s.f != sharesOut && s.f != sharesSealOut {
		a.Replay.Seal = slices.Clone(a.Replay.Seal)
	}
	return a
}

func (s *planted) inApp(a store.App) store.App {
	if s.f != sharesIn {
		a.Secrets = slices.Clone(a.Secrets)
	}
	for i := range a.Secrets {
		a.Secrets[i].CreatedAt, a.Secrets[i].ExpiresAt = s.time(a.Secrets[i].CreatedAt), s.time(a.Secrets[i].ExpiresAt)
	}
	if s.f == secretsLost {
		a.Secrets = a.Secrets[max(0, len(a.Secrets)-1):]
	}
	if s.f == secretsSorted {
		slices.SortFunc(a.Secrets, func(x, y store.AppSecret) int { return x.CreatedAt.Compare(y.CreatedAt) })
	}
	a.CreatedAt, a.UpdatedAt, a.SuspendedAt = s.time(a.CreatedAt), s.time(a.UpdatedAt), s.time(a.SuspendedAt)
	return a
}

func (s *planted) outApp(a store.App) store.App {
	if s.f != sharesOut {
		a.Secrets = slices.Clone(a.Secrets)
	}
	return a
}

func (s *planted) same(a, b store.Key) bool {
	switch s.f {
	case foldedKeys:
		return strings.EqualFold(a.Owner, b.Owner) && strings.EqualFold(a.ClientID, b.ClientID) && strings.EqualFold(a.Fingerprint, b.Fingerprint)
	case trimmedKeys:
		return strings.TrimSpace(a.Owner) == strings.TrimSpace(b.Owner) && strings.TrimSpace(a.ClientID) == strings.TrimSpace(b.ClientID) &&
			strings.TrimSpace(a.Fingerprint) == strings.TrimSpace(b.Fingerprint)
	case gluedKeys:
		return a.Owner+a.ClientID+a.Fingerprint == b.Owner+b.ClientID+b.Fingerprint
	}
	return a == b
}

func (s *planted) find(match func(*store.Authorization) bool) int {
	for i := range s.recs {
		if match(&s.recs[i]) {
			return i
		}
	}
	return -1
}

func (s *planted) byID(owner string, id int64, anyOwner fault) int {
	for i := range s.recs { // find, but thousands of times
		if a := &s.recs[i]; a.ID == id && (a.Owner == owner || s.f == anyOwner) {
			return i
		}
	}
	return -1
}

func (s *planted) hidden(a store.Authorization) bool {
	return s.f == expiredHidden && a.Expired(time.Now())
}

func (s *planted) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, false, err
	}
	rec := s.in(c)
	i := s.existing(rec)
	if s.f == checkThenAct {
		s.pause()
	}
	if s.f == plainInsert && s.find(func(a *store.Authorization) bool { return s.same(a.Key, rec.Key) }) >= 0 {
		return store.Authorization{}, false, fmt.Errorf("UNIQUE constraint failed")
	}
	if i >= 0 && i < len(s.recs) {
		if s.f == overwrites {
			s.recs[i].Note = rec.Note
		}
		created := s.recs[i].TokenHash == rec.TokenHash && s.f != neverCreated && s.f != insertedIsCreated
		return s.out(s.recs[i]), created || s.f == alwaysCreated, nil
	}
	rec, err := s.insert(rec, "GetOrCreate")
	return rec, err == nil && s.f != neverCreated, err
}

// existing returns the index of the record that counts as the one with the
// candidate's Key, -1 if there is none.
func (s *planted) existing(c store.Authorization) int {
	found := -1
	for i := range s.recs {
		a := &s.recs[i]
		if s.f == noUniqueKey || !s.same(a.Key, c.Key) {
			continue
		}
		if a.TokenHash == c.TokenHash && s.f != replacesItself {
			return i
		}
		if a.Expired(s.moment(c.CreatedAt)) && s.f != expiredLives {
			if s.f == firstOnly {
				return -1
			}
			continue
		}
		if found < 0 || s.f == newestFirst || s.f == orderOfArrival && s.since[a.ID] < s.since[s.recs[found].ID] {
			found = i
		}
	}
	return found
}

func (s *planted) moment(t time.Time) time.Time {
	if s.f == expiredLate {
		t = t.Add(-time.Microsecond)
	}
	return t
}

func (s *planted) Create(ctx context.Context, c store.Authorization) (store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, err
	}
	rec := s.in(c)
	i := s.find(func(a *store.Authorization) bool {
		return a.Key == rec.Key && (a.TokenHash == rec.TokenHash && s.f != createRepeatConflicts || s.f == createGets)
	})
	if i >= 0 && s.f == createRepeatCandidate {
		rec.ID, rec.Revision = s.recs[i].ID, s.recs[i].Revision
		return s.out(rec), nil
	}
	if i >= 0 {
		return s.out(s.recs[i]), nil
	}
	return s.insert(rec, "Create")
}

// insert stores rec as a new record.
func (s *planted) insert(rec store.Authorization, method string) (store.Authorization, error) {
	if rec.ID = 0; s.f != usedOfCandidate {
		rec.LastUsedAt = time.Time{}
	}
	moment := rec.CreatedAt
	if s.f == updatedMoment && method == "Create" {
		moment = rec.UpdatedAt
	}
	kept, err := s.makeWay(rec, moment, method)
	if err != nil {
		return store.Authorization{}, err
	}
	switch s.f {
	case splitInsert:
		s.pause()
	case slotTaken:
		n := s.last
		s.pause()
		if n != s.last && method == "Create" {
			return store.Authorization{}, fmt.Errorf("UNIQUE constraint failed")
		}
	case idsReused:
		s.last = 0
		for _, a := range s.recs {
			s.last = max(s.last, a.ID)
		}
	}
	s.last++
	rec.ID, rec.Revision = cmp.Or(kept, s.last), 1
	s.recs = append(s.recs, rec)
	s.index(rec)
	if s.f == watchCreate {
		s.tell(none, store.Change{ID: rec.ID})
	}
	return s.out(rec), nil
}

// index keeps what some faults need.
func (s *planted) index(rec store.Authorization) {
	s.hashes[rec.TokenHash] = rec.ID
	if !rec.Replay.IsZero() {
		s.replays[rec.Replay.ID] = rec.ID
	}
	s.since[rec.ID] = len(s.hashes)
}

// makeWay removes the expired records in the way of rec, and returns an error
// if one in its way lives, or the ID of the last that went for expiredStays.
func (s *planted) makeWay(rec store.Authorization, moment time.Time, method string) (kept int64, err error) {
	moment = s.moment(moment)
	var dead []int64
	in := s.recs
	if s.f == ghosts {
		in = slices.Concat(s.removed, in)
	}
	for i := range in {
		a := &in[i]
		if a.ID == rec.ID {
			continue
		}
		field, expired := "", a.Expired(moment)
		switch {
		case s.replayTaken(a, rec, method):
			field, expired = "idempotency_key", expired && s.f == expiredReplayFree
		case s.noteTaken(a, rec, method):
			field, expired = "note", expired && s.f != expiredBlocksNote
		case s.keyTaken(a, rec, method, expired):
			field, expired = "fingerprint", expired && s.f != expiredBlocksKey
		case s.f == expiredPurged && expired:
		case a.TokenHash == rec.TokenHash && s.f != noUniqueHash && s.f != noUniqueKey:
			return 0, s.refused(fmt.Errorf("token hash is taken"), rec)
		default:
			continue
		}
		if expired && s.f == watchRolledBack {
			s.tell(none, store.Change{ID: a.ID})
		}
		switch conflict := (store.ConflictError{Field: field, ID: a.ID}); {
		case expired:
			dead = append(dead, a.ID)
		case s.f == conflictNoID, s.f == conflictOwnID:
			conflict.ID = rec.ID
			if s.f == conflictNoID {
				conflict.ID = 0
			}
			fallthrough
		default:
			return 0, s.refused(&conflict, rec)
		}
	}
	if s.f == expiredBeside {
		return 0, nil
	}
	if s.f == expiredStays && dead != nil {
		kept = dead[0]
	}
	s.recs = slices.DeleteFunc(s.recs, func(a store.Authorization) bool { return slices.Contains(dead, a.ID) })
	s.tellGone(watchNotInTheWay, dead)
	return kept, nil
}

func (s *planted) replayTaken(a *store.Authorization, rec store.Authorization, method string) bool {
	return !rec.Replay.IsZero() && a.Replay.ID == rec.Replay.ID && s.f != replayFree &&
		(s.f != replayFreeInReplace || method != "Replace") && (s.f != replayPerOwner || a.Owner == rec.Owner)
}

func (s *planted) noteTaken(a *store.Authorization, rec store.Authorization, method string) bool {
	if (rec.ClientID != "" || a.ClientID != "") && (s.f != noteEverywhere || a.ClientID != rec.ClientID) ||
		a.Owner != rec.Owner && s.f != noteAnyOwner {
		return false
	}
	switch {
	case s.f == noteFree, s.f == noteFreeInReplace && method == "Replace", s.f == noteFreeInGetOrCreate && method == "GetOrCreate":
		return false
	case s.f == noteFolded:
		return strings.EqualFold(a.Note, rec.Note)
	case s.f == noteTrimmed:
		return strings.TrimSpace(a.Note) == strings.TrimSpace(rec.Note)
	case s.f == noteCut:
		return a.Note[:min(254, len(a.Note))] == rec.Note[:min(254, len(rec.Note))]
	}
	return a.Note == rec.Note
}

func (s *planted) keyTaken(a *store.Authorization, rec store.Authorization, method string, expired bool) bool {
	switch {
	case !s.same(a.Key, rec.Key), s.f == noUniqueKey, s.f == fingerprintClash && method == "Replace", s.f == checkThenAct && method == "GetOrCreate":
		return false
	case rec.Fingerprint == "" && s.f != oneWithoutFingerprint:
		return method == "GetOrCreate" && expired // the others are none
	}
	return true
}

func (s *planted) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, err
	}
	i := s.byID(owner, id, getAnyOwner)
	if i < 0 || s.hidden(s.recs[i]) {
		return store.Authorization{}, s.failed(store.ErrNotFound, store.Hash{}, owner)
	}
	return s.out(s.recs[i]), nil
}

func (s *planted) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, err
	}
	i := s.find(func(a *store.Authorization) bool {
		return a.TokenHash == hash || s.f == staleHash && s.hashes[hash] == a.ID
	})
	if i < 0 || s.hidden(s.recs[i]) {
		return store.Authorization{}, s.failed(store.ErrNotFound, hash, "")
	}
	return s.out(s.recs[i]), nil
}

func (s *planted) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, err
	}
	i := s.find(func(a *store.Authorization) bool {
		return a.Replay.ID == id && (!a.Replay.IsZero() || s.f == replayZero) || s.f == replayStale && s.replays[id] == a.ID
	})
	if i < 0 || s.hidden(s.recs[i]) || s.f == replayHidden && s.recs[i].Expired(now) {
		return store.Authorization{}, s.refused(store.ErrNotFound, store.Authorization{Replay: store.Replay{ID: id}})
	}
	return s.out(s.recs[i]), nil
}

// selects reports whether sel selects a.
func (s *planted) selects(sel store.Selection, a store.Authorization) bool {
	if sel.TokenHash != nil && s.f == hashAlone {
		return a.TokenHash == *sel.TokenHash
	}
	if sel.LiveAt.IsZero() || s.f == liveIgnored {
		a.ExpiresAt = time.Time{}
	}
	switch s.f {
	case liveLate:
		sel.LiveAt = sel.LiveAt.Add(-time.Microsecond)
	case liveNow:
		sel.LiveAt = time.Now()
	}
	return (sel.Owner == nil || a.Owner == *sel.Owner || *sel.Owner == "" && s.f == emptyOwnerIsNone) &&
		(sel.ClientID == nil || a.ClientID == *sel.ClientID || *sel.ClientID == "" && s.f == emptyClientIsNone) &&
		(sel.TokenHash == nil || a.TokenHash == *sel.TokenHash) && !a.Expired(sel.LiveAt)
}

func (s *planted) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if s.f == listAfterRecord && s.find(func(a *store.Authorization) bool { return a.ID == q.After }) < 0 {
		q.After = 0
	}
	sel := store.Selection{Owner: &q.Owner, ClientID: q.ClientID, LiveAt: q.LiveAt}
	if q.Owner == "" && s.f == listAnyOwner {
		sel.Owner = nil
	}
	var page []store.Authorization
	for _, a := range s.recs {
		switch {
		case a.ID < q.After || a.ID == q.After && s.f != listInclusive:
		case s.f == skipUnfiltered && q.Skip > 0 && a.Owner == q.Owner:
			q.Skip--
		case s.selects(sel, a) && !s.hidden(a):
			page = append(page, s.out(a))
		}
	}
	switch s.f {
	case listDescending:
		slices.Reverse(page)
	case listByKey:
		slices.SortFunc(page, func(a, b store.Authorization) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
	case listNoLimit:
		return page, nil
	case skipIgnored:
		q.Skip = 0
	case skipInLimit:
		page = page[:min(len(page), q.Limit)]
	}
	page = page[min(len(page), q.Skip):]
	return page[:min(len(page), q.Limit)], nil
}

// beginBulk is begin for what counts, removes or wipes many.
func (s *planted) beginBulk(ctx context.Context) error {
	if s.f == bulkIgnoresContext {
		ctx = context.Background()
	}
	return s.begin(ctx)
}

func (s *planted) Count(ctx context.Context, sel store.Selection) (n int64, err error) {
	defer s.mu.Unlock()
	if err := s.beginBulk(ctx); err != nil {
		return 0, err
	}
	for _, a := range s.recs {
		if s.selects(sel, a) {
			n++
		}
	}
	return n, nil
}

func (s *planted) DeleteAll(ctx context.Context, sel store.Selection) (n int64, err error) {
	defer s.mu.Unlock()
	if err := s.beginBulk(ctx); err != nil {
		return 0, err
	}
	if sel.Owner == nil && sel.ClientID == nil && sel.TokenHash == nil && s.f != deleteAllOfNothing &&
		(s.f != deleteAllOfTime || sel.LiveAt.IsZero()) {
		return 0, s.failed(fmt.Errorf("nothing is selected"), store.Hash{}, "")
	}
	if s.f == deleteAllTwice {
		for _, a := range s.recs {
			if s.selects(sel, a) {
				n++
			}
		}
		s.pause()
	}
	var dead []int64
	for i := 0; i < len(s.recs); i++ {
		if !s.selects(sel, s.recs[i]) {
			continue
		}
		if s.f == deleteAllSplit && n%50 == 49 {
			s.pause()
			if i >= len(s.recs) || !s.selects(sel, s.recs[i]) {
				break
			}
		}
		if s.f == deleteAllBatch && n == int64(many)-8 {
			break
		}
		dead = append(dead, s.recs[i].ID)
		s.removed = append(s.removed, s.recs[i])
		s.recs = slices.Delete(s.recs, i, i+1)
		if i--; s.f != deleteAllTwice {
			n++
		}
	}
	if s.f != watchTokenOnly || sel.TokenHash != nil {
		s.tellGone(watchNotDeleteAll, dead)
	}
	if s.f == deleteAllResumes && sel.Owner != nil {
		s.resume(*sel.Owner)
	}
	if s.f == deleteAllCount {
		n = 0
	}
	return n, nil
}

func (s *planted) WipeReplays(ctx context.Context, now time.Time) (n int64, err error) {
	defer s.mu.Unlock()
	if err := s.beginBulk(ctx); err != nil {
		return 0, err
	}
	for i := range s.recs {
		a := &s.recs[i]
		ends := a.Replay.ExpiresAt
		if a.Replay.IsZero() || ends.After(now) && s.f != wipesEarly ||
			s.f == wipesLate && !ends.Before(now.Truncate(time.Microsecond)) || s.f == wipeSkipsUsed && len(a.Replay.Seal) == 0 {
			continue
		}
		switch n++; s.f {
		case wipesSeal:
			a.Replay.Seal = nil
			continue
		case wipeRaises:
			a.Revision++
		}
		a.Replay = store.Replay{}
		if s.f == watchWipe {
			s.tell(none, store.Change{ID: a.ID})
		}
	}
	switch s.f {
	case wipeCount:
		n = 0
	case wipesRecords:
		s.recs = slices.DeleteFunc(s.recs, func(a store.Authorization) bool { return a.Expired(now) })
	}
	return n, nil
}

func (s *planted) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, err
	}
	i := s.byID(rec.Owner, rec.ID, replaceAnyOwner)
	if i < 0 {
		return store.Authorization{}, s.refused(store.ErrNotFound, rec)
	}
	next, old := s.in(rec), s.recs[i]
	if s.f != changesImmutable {
		next.ClientID, next.CreatedAt = old.ClientID, old.CreatedAt
	}
	switch {
	case s.f == partialReplace:
		next.Scopes = old.Scopes
	case s.f == issuedKept:
		next.IssuedAt = old.IssuedAt
	case s.f == replayKept:
		next.Replay = old.Replay
	case s.f == idleKept:
		next.IdleTimeout = old.IdleTimeout
	case s.f == endsKept:
		next.EndsAt = old.EndsAt
	case s.f == replaceKeepsSlid && old.ExpiresAt.After(next.ExpiresAt):
		next.ExpiresAt = old.ExpiresAt
	case s.f == sealKept && len(next.Replay.Seal) == 0 && next.Replay.ID == old.Replay.ID:
		next.Replay.Seal = old.Replay.Seal
	}
	if next.Owner = old.Owner; s.f != usedByReplace {
		next.LastUsedAt = old.LastUsedAt
	}
	next.Revision++
	repeat := s.utc(next)
	if s.f == touchedRepeatConflicts {
		repeat.LastUsedAt = rec.LastUsedAt
	}
	if s.slid(old, next) {
		repeat.ExpiresAt = s.utc(old).ExpiresAt
	}
	if old.Revision == next.Revision && s.f != repeatConflicts && (s.f == oldIsRepeat || diff(s.utc(old), repeat) == "") {
		return s.out(old), nil
	}
	if old.Revision != rec.Revision && s.f != noCompare || s.f == touchConflicts && !old.LastUsedAt.Equal(rec.LastUsedAt) {
		if s.f == watchRefused {
			s.tell(none, store.Change{ID: rec.ID})
		}
		return store.Authorization{}, s.refused(store.ErrConflict, rec)
	}
	wanted, moment := next, next.UpdatedAt
	switch s.f {
	case noteOfArgument:
		wanted.ClientID = rec.ClientID
	case replaceMoment:
		moment = rec.CreatedAt
	}
	if _, err := s.makeWay(wanted, moment, "Replace"); err != nil {
		return store.Authorization{}, err
	}
	if s.f == sameRevision {
		next.Revision--
	}
	if s.f == splitSwap {
		s.pause()
	}
	if i = s.byID(old.Owner, old.ID, replaceAnyOwner); i >= 0 {
		s.recs[i] = next
	}
	since := s.since[next.ID]
	s.index(next)
	if next.Key == old.Key {
		s.since[next.ID] = since
	}
	s.tell(watchNotReplace, store.Change{ID: next.ID})
	return s.out(next), nil
}

// utc undoes localZone, so that diff can compare.
func (s *planted) utc(a store.Authorization) store.Authorization {
	a.CreatedAt, a.UpdatedAt, a.ExpiresAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC(), a.ExpiresAt.UTC()
	a.IssuedAt, a.Replay.ExpiresAt = a.IssuedAt.UTC(), a.Replay.ExpiresAt.UTC()
	a.EndsAt, a.LastUsedAt = a.EndsAt.UTC(), a.LastUsedAt.UTC()
	return a
}

func (s *planted) Delete(ctx context.Context, owner string, id int64) error {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	if s.f == deleteTwice {
		s.pause()
	}
	i := s.byID(owner, id, deleteAnyOwner)
	if i < 0 {
		if s.f == deleteTwice {
			return nil
		}
		return s.failed(store.ErrNotFound, store.Hash{}, owner)
	}
	s.removed = append(s.removed, s.recs[i])
	s.recs = slices.Delete(s.recs, i, i+1)
	s.tell(watchNotDelete, store.Change{ID: id})
	return nil
}

func (s *planted) app(clientID string) int {
	return slices.IndexFunc(s.apps, func(a store.App) bool {
		return s.same(store.Key{ClientID: a.ClientID}, store.Key{ClientID: clientID})
	})
}

func (s *planted) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.App{}, err
	}
	next := s.inApp(app)
	if next.Revision = 1; s.f == appSuspensionLost {
		next.SuspendedAt = time.Time{}
	}
	i := s.app(app.ClientID)
	if i >= 0 {
		next.ID = s.apps[i].ID
		if diff(next, s.apps[i]) == "" && s.f != appCreateConflicts || s.f == localZone {
			return s.outApp(s.apps[i]), nil
		}
		if s.f == appOverwrites {
			s.apps[i] = next
			return s.outApp(next), nil
		}
	}
	if i >= 0 || slices.ContainsFunc(s.gone, func(a store.App) bool { return a.ClientID == app.ClientID }) && s.f != clientIDFree {
		return store.App{}, s.failed(&store.ConflictError{Field: "client_id"}, store.Hash{}, app.ClientID)
	}
	if s.f == appIDsReused {
		s.lastApp = 0
		for _, a := range s.apps {
			s.lastApp = max(s.lastApp, a.ID)
		}
	}
	s.lastApp++
	next.ID = s.lastApp
	s.apps = append(s.apps, next)
	return s.outApp(next), nil
}

func (s *planted) App(ctx context.Context, clientID string) (store.App, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.App{}, err
	}
	i := s.app(clientID)
	if i < 0 {
		return store.App{}, s.failed(store.ErrNotFound, store.Hash{}, clientID)
	}
	return s.outApp(s.apps[i]), nil
}

func (s *planted) ListApps(ctx context.Context, after int64, limit int) ([]store.App, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	var page []store.App
	for _, a := range s.apps {
		if a.ID > after || a.ID == after && s.f == listInclusive {
			page = append(page, s.outApp(a))
		}
	}
	if s.f == appListDescending {
		slices.Reverse(page)
	}
	return page[:min(len(page), limit)], nil
}

func (s *planted) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.App{}, err
	}
	i := s.app(app.ClientID)
	if i < 0 {
		return store.App{}, s.failed(store.ErrNotFound, store.Hash{}, app.ClientID)
	}
	next, old := s.inApp(app), s.apps[i]
	next.ID, next.CreatedAt = old.ID, old.CreatedAt
	if next.Revision++; s.f == appSuspensionKept {
		next.SuspendedAt = old.SuspendedAt
	}
	if diff(next, old) == "" && s.f != appRepeatConflicts {
		return s.outApp(old), nil
	}
	if old.Revision != app.Revision && s.f != appNoCompare {
		return store.App{}, s.failed(store.ErrConflict, store.Hash{}, app.ClientID)
	}
	if s.f == appSplitSwap {
		s.pause()
	}
	s.apps[i] = next
	s.tell(watchNotReplaceApp, store.Change{ClientID: &next.ClientID})
	if s.f == lookupSplit {
		s.pause()
	}
	return s.outApp(next), nil
}

func (s *planted) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	i := s.app(clientID)
	if i < 0 && s.f != cascadeUnknown {
		return 0, s.failed(store.ErrNotFound, store.Hash{}, clientID)
	}
	if s.f == cascadeSplit {
		s.pause()
		i = s.app(clientID)
	}
	if i >= 0 {
		s.gone = append(s.gone, s.apps[i])
		s.apps = slices.Delete(s.apps, i, i+1)
	}
	before := len(s.recs)
	s.recs = slices.DeleteFunc(s.recs, func(a store.Authorization) bool {
		return s.f == cascadeAll || s.f != noCascade && s.same(store.Key{ClientID: a.ClientID}, store.Key{ClientID: clientID})
	})
	if i < 0 && s.f == cascadeUnknown {
		return 0, store.ErrNotFound
	}
	s.tell(watchNotDeleteApp, store.Change{ClientID: &clientID})
	if s.f == cascadeCount {
		return 0, nil
	}
	return int64(before - len(s.recs)), nil
}

func (s *planted) Touch(ctx context.Context, uses []store.Use) error {
	defer s.mu.Unlock()
	if err := s.beginUse(ctx); err != nil || s.f == touchNothing {
		return err
	}
	switch s.f {
	case touchFirstOnly:
		uses = uses[:min(len(uses), 1)]
	case touchBatch:
		uses = uses[:min(len(uses), 1000)]
	}
	for _, use := range uses {
		i := s.find(func(a *store.Authorization) bool { return a.ID == use.ID })
		switch {
		case i < 0 && s.f == touchUnknownFails:
			return s.failed(store.ErrNotFound, store.Hash{}, "")
		case i < 0 && s.f == touchUnknownEnds:
			return nil
		case i < 0:
			continue
		}
		old := s.recs[i]
		next := s.used(old, s.time(use.At))
		if s.f == touchSplit {
			s.pause()
			i = s.find(func(a *store.Authorization) bool { return a.ID == use.ID })
		}
		if i >= 0 {
			s.recs[i] = next
		}
		switch s.f {
		case watchTouch:
			s.tell(none, store.Change{ID: use.ID})
		case watchTouchAny:
			s.tell(none, store.Change{})
		}
		for j := range s.recs {
			if s.f == touchOwner && s.recs[j].Owner == next.Owner {
				s.recs[j].LastUsedAt = next.LastUsedAt
			}
		}
	}
	return nil
}

// used returns a as its use leaves it.
func (s *planted) used(a store.Authorization, at time.Time) store.Authorization {
	later := at.After(a.LastUsedAt)
	if later || s.f == touchLowers {
		a.LastUsedAt = at
		if s.f == touchRaises {
			a.Revision++
		}
		if s.f == touchUpdates {
			a.UpdatedAt = at
		}
	}
	idle := a.IdleTimeout
	if idle == 0 && s.f == slidesWithoutTimeout {
		idle = time.Hour
	}
	ends := at.Add(idle)
	if !a.EndsAt.IsZero() && (ends.After(a.EndsAt) && s.f != slidesBeyondEnd || s.f == slidesToEnd) {
		ends = a.EndsAt
	}
	switch {
	case s.f == slidesNot, idle == 0, !later && s.f != slidesEarlier,
		a.ExpiresAt.IsZero() && s.f != slidesNever,
		a.Expired(at) && s.f != slidesDead && (s.f != slidesLate || at.After(a.ExpiresAt)),
		!ends.After(a.ExpiresAt) && s.f != slidesDown:
	default:
		a.ExpiresAt = ends
	}
	return a
}

// slid reports whether uses can have moved the ExpiresAt of next to that of now.
func (s *planted) slid(now, next store.Authorization) bool {
	ends := now.LastUsedAt.Add(now.IdleTimeout)
	if !now.EndsAt.IsZero() && now.EndsAt.Before(ends) {
		ends = now.EndsAt
	}
	can := now.IdleTimeout > 0 && !next.ExpiresAt.IsZero() && now.ExpiresAt.After(next.ExpiresAt) && !now.ExpiresAt.After(ends)
	return can && s.f != slidRepeatConflicts || s.f == slidAnyRepeat
}

func (s *planted) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return store.Authorization{}, store.Standing{}, err
	}
	i := s.find(func(a *store.Authorization) bool {
		return a.TokenHash == hash || s.f == lookupStale && s.hashes[hash] == a.ID
	})
	if i < 0 || s.hidden(s.recs[i]) || s.f == lookupHidesDead && s.recs[i].Expired(now) {
		return store.Authorization{}, store.Standing{}, s.failed(store.ErrNotFound, hash, "")
	}
	rec := s.recs[i]
	var st store.Standing
	st.Suspended = s.ownerSuspended(rec)
	if s.f == lookupSplit {
		s.pause()
		s.pause()
	}
	if i := s.app(rec.ClientID); i >= 0 && rec.ClientID != "" {
		dead := !s.apps[i].SuspendedAt.IsZero()
		st.App = !dead || s.f != lookupAppDead
		st.Suspended = st.Suspended || dead && s.f != appSuspensionIgnored
	}
	for _, a := range s.gone {
		if a.ClientID == rec.ClientID {
			st.App = st.App || s.f == lookupDeletedApp
			st.Suspended = st.Suspended || !a.SuspendedAt.IsZero() && s.f == appSuspensionOutlives
		}
	}
	st.App = st.App || s.f == lookupAnyApp && rec.ClientID != "" || s.f == lookupPersonalApp && rec.ClientID == ""
	if s.f == sharesLookup {
		return rec, st, nil
	}
	return s.out(rec), st, nil
}

func (s *planted) ownerSuspended(rec store.Authorization) bool {
	if s.f == ownerSuspensionIgnored || s.f == suspendPersonalNot && rec.ClientID == "" {
		return false
	}
	return slices.ContainsFunc(s.owners, func(o suspension) bool {
		return (s.isOwner(o, rec.Owner) || s.f == suspendAll && o.owner == "") && (s.f != suspendPresent || slices.Contains(o.recs, rec.ID))
	})
}

func (s *planted) isOwner(o suspension, owner string) bool {
	return s.same(store.Key{Owner: o.owner}, store.Key{Owner: owner})
}

func (s *planted) Suspend(ctx context.Context, owner string, at time.Time) error {
	defer s.mu.Unlock()
	if err := s.beginUse(ctx); err != nil {
		return err
	}
	if i := slices.IndexFunc(s.owners, func(o suspension) bool { return s.isOwner(o, owner) }); i >= 0 {
		switch s.f {
		case suspendOverwrites:
			s.owners[i].at = s.time(at)
		case suspendFails:
			return s.failed(store.ErrConflict, store.Hash{}, owner)
		}
		return nil
	}
	o := suspension{owner: owner, at: s.time(at)}
	for i := range s.recs {
		if a := &s.recs[i]; a.Owner == owner {
			o.recs = append(o.recs, a.ID)
			if s.f == suspendRaises {
				a.Revision++
			}
		}
	}
	if o.recs != nil || s.f != suspendNeedsRecords {
		s.owners = append(s.owners, o)
	}
	s.tell(watchNotSuspend, store.Change{Owner: &owner})
	if s.f == lookupSplit { // there is time to look in between
		s.pause()
	}
	return nil
}

func (s *planted) resume(owner string) bool {
	before := len(s.owners)
	s.owners = slices.DeleteFunc(s.owners, func(o suspension) bool { return s.isOwner(o, owner) || s.f == resumeAll })
	s.tell(watchNotResume, store.Change{Owner: &owner})
	return len(s.owners) < before
}

func (s *planted) Resume(ctx context.Context, owner string) error {
	defer s.mu.Unlock()
	if err := s.beginUse(ctx); err != nil || s.f == resumeNot {
		return err
	}
	if !s.resume(owner) && s.f == resumeFails {
		return s.failed(store.ErrNotFound, store.Hash{}, owner)
	}
	return nil
}

func (s *planted) Suspended(ctx context.Context, owner string) (time.Time, error) {
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return time.Time{}, err
	}
	for _, o := range s.owners {
		if s.isOwner(o, owner) {
			return o.at, nil
		}
	}
	return time.Time{}, nil
}

// beginUse is begin for what marks records and owners.
func (s *planted) beginUse(ctx context.Context) error {
	if s.f == useIgnoresContext {
		ctx = context.Background()
	}
	return s.begin(ctx)
}

// beginKeeping is begin for the methods of a Housekeeper.
func (s *planted) beginKeeping(ctx context.Context) error {
	if s.f == keeperIgnoresContext {
		ctx = context.Background()
	}
	return s.begin(ctx)
}

// ending returns the records that are wanted, by (ExpiresAt, ID) but for one fault.
func (s *planted) ending(byID fault, wanted func(store.Authorization) bool) (recs []store.Authorization) {
	for _, a := range s.recs {
		if wanted(a) {
			recs = append(recs, a)
		}
	}
	if s.f != byID {
		slices.SortFunc(recs, func(a, b store.Authorization) int {
			return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
		})
	}
	return recs
}

func (s *planted) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	defer s.mu.Unlock()
	if err := s.beginKeeping(ctx); err != nil {
		return 0, err
	}
	dead := s.ending(purgeByID, func(a store.Authorization) bool {
		switch {
		case a.ExpiresAt.IsZero():
			return s.f == purgeNever
		case s.f == purgeLate:
			return a.ExpiresAt.Before(before.Truncate(time.Microsecond))
		}
		return !a.ExpiresAt.After(before) || s.f == purgeLive
	})
	if s.f != purgeNoLimit {
		dead = dead[:min(len(dead), limit)]
	}
	if s.f == purgeTwice {
		s.pause()
	}
	s.recs = slices.DeleteFunc(s.recs, func(a store.Authorization) bool { return slices.Contains(ids(dead), a.ID) })
	s.tellGone(watchNotPurge, ids(dead))
	if s.f == purgeCount {
		return 0, nil
	}
	return int64(len(dead)), nil
}

func (s *planted) Expiring(ctx context.Context, from, to time.Time, after store.Position, limit int) ([]store.Authorization, error) {
	defer s.mu.Unlock()
	if err := s.beginKeeping(ctx); err != nil {
		return nil, err
	}
	page := s.ending(expiringByID, func(a store.Authorization) bool {
		ends := a.ExpiresAt
		behind := cmp.Or(ends.Compare(after.ExpiresAt), cmp.Compare(a.ID, after.ID))
		switch {
		case ends.IsZero():
			return s.f == expiringNever
		case ends.Equal(from.Truncate(time.Microsecond)) && s.f == expiringFrom:
		case !ends.After(from) && (s.f != expiringAfter || after == store.Position{}):
			return false
		}
		return !ends.After(to) && (s.f != expiringTo || ends.Before(to.Truncate(time.Microsecond))) &&
			(behind > 0 || behind == 0 && s.f == expiringInclusive) && (s.f != expiringByTime || ends.After(after.ExpiresAt))
	})
	if s.f != expiringNoLimit {
		page = page[:min(len(page), limit)]
	}
	for i := range page {
		page[i] = s.out(page[i])
	}
	return page, nil
}

// Unused looks at three records in each call.
func (s *planted) Unused(ctx context.Context, since, liveAt time.Time, after int64, limit int) (page []store.Authorization, next int64, err error) {
	defer s.mu.Unlock()
	if err := s.beginKeeping(ctx); err != nil {
		return nil, 0, err
	}
	seen := 0
	for _, a := range s.recs {
		if a.ID < after || a.ID == after && (s.f != unusedInclusive || after == 0) {
			continue
		}
		if seen == 3 {
			if len(page) == 0 && s.f == unusedStops {
				return nil, 0, nil
			}
			return page, next, nil
		}
		seen++
		next = a.ID
		if !a.CreatedAt.Before(since) && s.f != unusedNew ||
			!a.LastUsedAt.Before(since) && s.f != unusedUsed && (s.f != unusedAtSince || a.LastUsedAt.After(since)) ||
			!a.LastUsedAt.IsZero() && s.f == unusedNeverOnly ||
			a.Expired(liveAt) && s.f != unusedDead {
			continue
		}
		if len(page) == limit && s.f == unusedSkips {
			continue
		}
		page = append(page, s.out(a))
		if len(page) == limit && s.f != unusedNoLimit && s.f != unusedSkips {
			return page, next, nil
		}
	}
	if s.f == unusedEndless {
		return page, max(next, after+1), nil
	}
	return page, 0, nil
}

// cachingHandle remembers what it has read by ID.
type cachingHandle struct {
	*planted
	mu   sync.Mutex
	seen map[int64]store.Authorization
}

func (h *cachingHandle) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rec, ok := h.seen[id]; ok && rec.Owner == owner && ctx.Err() == nil {
		return h.out(rec), nil
	}
	rec, err := h.planted.Get(ctx, owner, id)
	if err == nil {
		h.seen[id] = rec
	}
	return rec, err
}

// plantedWatch is what one Watch has yet to tell.
type plantedWatch struct {
	queue []store.Change
	over  bool // ended by another
}

// tell tells all who watch, unless that is the fault. The caller holds the lock.
func (s *planted) tell(untold fault, c store.Change) {
	if s.f == untold && untold != none || s.muted {
		return
	}
	switch {
	case s.f == watchOwnerCut && c.Owner != nil:
		c.Owner = new((*c.Owner)[:min(63, len(*c.Owner))])
	case s.f == watchOwnerEmpty && c.Owner != nil && *c.Owner == "":
		c = store.Change{ID: -1}
	case s.f == watchAppTrimmed && c.ClientID != nil:
		c.ClientID = new(strings.TrimSpace(*c.ClientID))
	case s.f == watchTwoFields && c.ID != 0:
		c.Owner = new("mona")
	}
	for _, w := range s.watches {
		w.queue = append(w.queue, c)
	}
}

// tellGone is tell for records that go at once.
func (s *planted) tellGone(untold fault, ids []int64) {
	switch s.f {
	case watchFirstOnly:
		ids = ids[:min(len(ids), 1)]
	case watchBatch:
		ids = ids[:min(len(ids), 30)]
	}
	for _, id := range ids {
		s.tell(untold, store.Change{ID: id})
	}
}

// Watch tells once a millisecond.
func (s *planted) Watch(ctx context.Context, o store.Observer) error {
	outer := ctx
	if s.f == watchDone && ctx.Err() != nil {
		ctx = context.Background()
	}
	w := &plantedWatch{}
	if err := s.begin(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	if s.f == watchOne {
		s.watches = nil
	}
	s.watches = append(s.watches, w)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches = slices.DeleteFunc(s.watches, func(other *plantedWatch) bool {
			other.over = other.over || s.f == watchEndsAll
			return other == w
		})
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // in the faults that ignore it
	defer cancel()
	switch s.f {
	case watchLeaks:
		go time.Sleep(2 * time.Second)
	case watchOutlives:
		ctx = context.Background()
	case watchCallsOn:
		defer func() {
			go func() {
				for range 20 {
					time.Sleep(time.Millisecond)
					o.Current(time.Now())
				}
			}()
		}()
	}
	began := time.Now()
	switch s.f {
	case watchCurrentFirst:
		o.Current(began)
		fallthrough
	default:
		o.Changed(store.Change{})
	case watchNothingFirst:
	}
	pulse := time.Millisecond
	if s.f == watchSeldom {
		pulse = time.Second
	}
	ticker := time.NewTicker(pulse)
	defer ticker.Stop()
	var late []store.Change
	for turn := 0; ; turn++ {
		s.mu.Lock()
		asOf, queue, over := time.Now(), w.queue, w.over
		w.queue = nil
		s.mu.Unlock()
		switch {
		case over:
			return fmt.Errorf("another Watch has ended")
		case s.f == watchEarly:
			queue, late = late, queue
		case len(queue) > 0 && s.f == watchGivesUp:
			return nil
		case len(queue) > 0 && s.f == watchFails:
			return fmt.Errorf("a change")
		}
		var beside sync.WaitGroup
		if s.f == watchTwoAtATime {
			beside.Go(func() { o.Current(asOf) })
		}
		for _, c := range queue {
			o.Changed(c)
		}
		switch {
		case s.f == watchSilent && turn > 0:
		case s.f == watchStill:
			o.Current(began)
		case s.f == watchAhead:
			o.Current(asOf.Add(time.Hour))
		case s.f == watchBack && turn%2 == 1:
			o.Current(asOf.Add(-time.Hour))
		case s.f == watchWallClock:
			o.Current(asOf.Round(0))
		default:
			o.Current(asOf)
		}
		beside.Wait()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if s.f == watchEndsNil {
				return nil
			}
			return ctx.Err()
		}
		if s.f == watchOutlives && outer.Err() != nil && time.Since(began) > time.Second {
			return outer.Err()
		}
	}
}

// mutedHandle changes what nobody is told of.
type mutedHandle struct{ *planted }

func (h mutedHandle) Delete(ctx context.Context, owner string, id int64) error {
	h.mu.Lock()
	h.muted = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.muted = false
		h.mu.Unlock()
	}()
	return h.planted.Delete(ctx, owner, id)
}
