package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// patience is how long a case waits for what must come. It is no measure of how
// soon: the suite runs on busy machines.
func patience(t tb) time.Duration {
	if t, ok := t.(interface{ patience() time.Duration }); ok { // of the planted faults
		return t.patience()
	}
	return 20 * time.Second
}

// heard is one call of an Observer.
type heard struct {
	change *store.Change // nil: Current
	asOf   time.Time
	at     time.Time
}

// watching is a Watch that is under way, and its Observer: it remembers all calls.
type watching struct {
	inside  atomic.Int32 // calls under way
	overlap atomic.Bool
	cancel  context.CancelFunc
	stopped bool
	ended   chan struct{} // closed when Watch has returned
	err     error         // of Watch, once ended

	mu    sync.Mutex
	calls []heard
	more  chan struct{} // closed at the next call
}

func (w *watching) Changed(c store.Change) {
	for _, text := range []**string{&c.Owner, &c.ClientID} { // the caller's memory is the caller's
		if *text != nil {
			*text = new(strings.Clone(**text))
		}
	}
	w.call(heard{change: &c})
}

func (w *watching) Current(asOf time.Time) { w.call(heard{asOf: asOf}) }

func (w *watching) call(h heard) {
	if w.inside.Add(1) > 1 {
		w.overlap.Store(true)
	}
	runtime.Gosched() // who calls two at a time is to be found out
	w.mu.Lock()
	h.at = time.Now()
	w.calls = append(w.calls, h)
	close(w.more)
	w.more = make(chan struct{})
	w.mu.Unlock()
	w.inside.Add(-1)
}

// watchers begins a Watch of each handle, and waits until all have called. It
// reports false where the store cannot watch. What it returns ends all of them.
func watchers(t tb, handles ...store.Store) (all []*watching, stop func(), ok bool) {
	t.Helper()
	stop = func() {
		for _, w := range all {
			w.stop(t)
		}
	}
	for _, h := range handles {
		watcher, ok := h.(store.Watcher)
		if !ok {
			stop()
			return nil, nil, false
		}
		w := watch(t.Context(), watcher)
		all = append(all, w)
		if _, ok := w.await(patience(t), func(calls []heard) bool { return len(calls) > 0 }); !ok {
			stop()
			if w.done() && errors.Is(w.err, errors.ErrUnsupported) {
				return nil, nil, false
			}
			t.Fatalf("Watch has called nothing: %s; its first call is Changed with the zero Change", w.fate())
		}
	}
	return all, stop, true
}

// watch begins a Watch.
func watch(ctx context.Context, watcher store.Watcher) *watching {
	w := &watching{ended: make(chan struct{}), more: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.ended)
		w.err = watcher.Watch(ctx, w)
	}()
	return w
}

func (w *watching) done() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// fate says, for a message, what has become of it.
func (w *watching) fate() string {
	if w.done() {
		return fmt.Sprintf("it has returned error %v", w.err)
	}
	return "it goes on"
}

// await waits until ok says so of the calls, and returns them. It gives up when
// Watch has returned, and after so long.
func (w *watching) await(patience time.Duration, ok func(calls []heard) bool) ([]heard, bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for ended := false; ; {
		w.mu.Lock()
		calls, more := w.calls, w.more
		w.mu.Unlock()
		switch {
		case ok(calls):
			return calls, true
		case ended:
			return calls, false
		}
		select {
		case <-more:
		case <-w.ended:
			ended = true
		case <-timer.C:
			ended = true
		}
	}
}

// count returns how many calls there were.
func (w *watching) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

// current returns the index of the first Current that is of later than at, from
// the call from on; -1: there is none.
func current(calls []heard, from int, at time.Time) int {
	for i := from; i < len(calls); i++ {
		if calls[i].change == nil && calls[i].asOf.After(at) {
			return i
		}
	}
	return -1
}

// upTo waits for a Current of later than at, and returns all calls.
func (w *watching) upTo(t tb, at time.Time) []heard {
	t.Helper()
	calls, ok := w.await(patience(t), func(calls []heard) bool { return current(calls, 0, at) >= 0 })
	if !ok {
		t.Fatalf("Watch does not call Current with a time after the return of a call: %s; it must come several times a second", w.fate())
	}
	return calls
}

// stop ends the Watch, and checks what is so of every one.
func (w *watching) stop(t tb) {
	t.Helper()
	if w.stopped {
		return
	}
	w.stopped = true
	early := w.done()
	w.cancel()
	select {
	case <-w.ended:
	case <-time.After(patience(t)):
		t.Errorf("Watch does not return though its context has ended")
		return
	}
	switch {
	case early && errors.Is(w.err, errors.ErrUnsupported):
		return
	case early:
		t.Errorf("Watch = error %v before its context has ended; nothing was wrong", w.err)
	case !errors.Is(w.err, context.Canceled):
		t.Errorf("Watch = error %v when its context is cancelled; it must return why it has ended", w.err)
	}
	if w.overlap.Load() {
		t.Errorf("Watch has called its Observer while a call was under way; it must call one at a time")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last := time.Time{}
	for i, h := range w.calls {
		switch {
		case h.change != nil:
			if i == 0 && *h.change != (store.Change{}) {
				t.Errorf("the first call of Watch is Changed(%s); it must be the zero Change", describe(*h.change))
			}
			if set := fields(*h.change); set > 1 {
				t.Errorf("Changed(%s): %d fields are set; it must be one, or none", describe(*h.change), set)
			}
			continue
		case i == 0:
			t.Errorf("the first call of Watch is Current; it must be Changed with the zero Change")
		case h.asOf.After(h.at):
			t.Errorf("Current is of %v later than it was called; nobody knows the future", h.asOf.Sub(h.at))
		case h.asOf == h.asOf.Round(0):
			t.Errorf("Current(%v) has no monotonic reading", h.asOf)
		case h.asOf.Before(last):
			t.Errorf("Current goes back by %v; what was told once stays told", last.Sub(h.asOf))
		}
		last = h.asOf
	}
}

func fields(c store.Change) (n int) {
	for _, set := range []bool{c.ID != 0, c.Owner != nil, c.ClientID != nil} {
		if set {
			n++
		}
	}
	return n
}

func describe(c store.Change) string {
	text := fmt.Sprint("ID ", c.ID)
	if c.Owner != nil {
		text += fmt.Sprintf(", owner %+.40q", *c.Owner)
	}
	if c.ClientID != nil {
		text += fmt.Sprintf(", client_id %+.40q", *c.ClientID)
	}
	return text
}

// cause is something that was done, and what must be told of it.
type cause struct {
	what   string
	recs   []store.Authorization // each of them, by ID, owner or client_id
	owner  *string
	client *string

	before   int       // calls of the Observer before it began
	returned time.Time // when it had returned
}

// covered returns what is missing in the changes, "" for nothing.
func (c cause) covered(changes []store.Change) string {
	ids, owners, clients := make(map[int64]bool), make(map[string]bool), make(map[string]bool)
	for _, change := range changes {
		switch {
		case change == store.Change{}:
			return ""
		case change.Owner != nil:
			owners[*change.Owner] = true
		case change.ClientID != nil:
			clients[*change.ClientID] = true
		default:
			ids[change.ID] = true
		}
	}
	for _, rec := range c.recs {
		if !ids[rec.ID] && !owners[rec.Owner] && !clients[rec.ClientID] {
			return describe(store.Change{ID: rec.ID})
		}
	}
	if c.owner != nil && !owners[*c.owner] {
		return describe(store.Change{Owner: c.owner})
	}
	if c.client != nil && !clients[*c.client] {
		return describe(store.Change{ClientID: c.client})
	}
	return ""
}

// check checks that w was told of c before it was told that it knows all of then.
func (c cause) check(t tb, w *watching, calls []heard) {
	t.Helper()
	end := current(calls, c.before, c.returned)
	if end < 0 {
		t.Errorf("%s: no Current is of later than its return", c.what)
		return
	}
	var changes []store.Change
	for _, h := range calls[c.before:end] {
		if h.change != nil {
			changes = append(changes, *h.change)
		}
	}
	if missing := c.covered(changes); missing != "" {
		t.Errorf("%s: Watch does not tell of %s before the first Current that is of later than its return (it tells of %d changes)", c.what, missing, len(changes))
	}
}

func watchTells(t tb, s []store.Store) {
	all, stop, ok := watchers(t, s[0])
	if !ok {
		return
	}
	defer stop()
	w := all[0]
	var causes []cause
	did := func(c cause, do func() error) {
		t.Helper()
		c.before = w.count()
		if err := do(); err != nil {
			t.Fatalf("%s = error %v", c.what, err)
		}
		c.returned = time.Now()
		causes = append(causes, c)
	}
	tokens := 0
	put := func(owner, clientID, fingerprint string, dead bool) store.Authorization {
		t.Helper()
		tokens++
		c := candidate(owner, clientID, fingerprint, fmt.Sprint("token ", tokens))
		if dead {
			c.CreatedAt, c.ExpiresAt = now.Add(-time.Hour), now
		}
		return add(t, s[1], c)
	}
	type recs = []store.Authorization

	// Owners and apps of their own: no change must pass for another.
	for i, h := range s { // by another handle, and by that which watches
		owner := fmt.Sprint("handle ", i)
		rec := put(owner, "replaced", "", false)
		did(cause{what: fmt.Sprint("Replace by handle ", i), recs: recs{rec}}, func() error {
			rec.TokenHash = store.HashOf("replaced by " + owner)
			_, err := h.Replace(t.Context(), rec)
			return err
		})
		rec = put(owner, "deleted", "", false)
		did(cause{what: fmt.Sprint("Delete by handle ", i), recs: recs{rec}}, func() error { return h.Delete(t.Context(), owner, rec.ID) })
	}

	deleteAll := func(what string, sel store.Selection, recs ...store.Authorization) {
		t.Helper()
		did(cause{what: "DeleteAll of " + what, recs: recs}, func() error {
			n, err := s[1].DeleteAll(t.Context(), sel)
			if err == nil && n != int64(len(recs)) {
				err = fmt.Errorf("%d records went, want %d", n, len(recs))
			}
			return err
		})
	}
	deleteAll("an owner", store.Selection{Owner: new("ben")}, put("ben", "ben's app", "", false), put("ben", "", "", true))
	deleteAll("an app", store.Selection{ClientID: new("gone")}, put("dave", "gone", "", false), put("erin", "gone", "", false))
	deleteAll("an owner's personal ones", store.Selection{Owner: new("frank"), ClientID: new("")}, put("frank", "", "", false))
	rec := put("grace", "grace's app", "", false)
	deleteAll("a token", store.Selection{TokenHash: &rec.TokenHash}, rec)
	var several recs
	for range many / 3 {
		several = append(several, put("many", "many", "", false))
	}
	deleteAll("many", store.Selection{Owner: new("many")}, several...)

	rec = put("heidi", "way", "1", true)
	did(cause{what: "GetOrCreate in the place of an expired record", recs: recs{rec}}, func() error {
		_, _, err := s[1].GetOrCreate(t.Context(), candidate("heidi", "way", "1", "in its place"))
		return err
	})
	rec = put("ivan", "way", "2", true)
	did(cause{what: "Create in the place of an expired record", recs: recs{rec}}, func() error {
		_, err := s[1].Create(t.Context(), candidate("ivan", "way", "2", "in its place too"))
		return err
	})
	rec, live := put("judy", "way", "3", true), put("judy", "way", "4", false)
	did(cause{what: "Replace in the place of an expired record", recs: recs{rec, live}}, func() error {
		live.Fingerprint = "3"
		_, err := s[1].Replace(t.Context(), live)
		return err
	})
	if k, ok := s[1].(store.Housekeeper); ok {
		dead := recs{put("karl", "dead", "", true), put("laura", "", "", true)}
		did(cause{what: "Purge", recs: dead}, func() error {
			n, err := k.Purge(t.Context(), now, 10)
			if err == nil && n != int64(len(dead)) {
				err = fmt.Errorf("%d records went, want %d", n, len(dead))
			}
			return err
		})
	}

	long := strings.Repeat("\U0001D11E", 255)
	owners := []string{"nobody", "", "o'a,*\\", "Mona ", long}
	clientIDs := []string{"registered", "Registered ", "*", long}
	var apps []store.App
	for _, owner := range owners {
		did(cause{what: "Suspend", owner: &owner}, func() error { return s[1].Suspend(t.Context(), owner, now) })
	}
	for _, clientID := range clientIDs {
		app := createApp(t, s[1], application(clientID))
		did(cause{what: "ReplaceApp", client: &clientID}, func() (err error) {
			app.SuspendedAt = now
			app, err = s[1].ReplaceApp(t.Context(), app)
			return err
		})
		apps = append(apps, app)
	}
	w.upTo(t, time.Now()) // what comes now is of the same owners and apps
	for _, owner := range owners {
		did(cause{what: "Resume", owner: &owner}, func() error { return s[1].Resume(t.Context(), owner) })
	}
	for _, app := range apps {
		rec := put("mike", app.ClientID, "", false)
		did(cause{what: "DeleteApp", client: &app.ClientID, recs: recs{rec}}, func() error {
			_, err := s[1].DeleteApp(t.Context(), app.ClientID)
			return err
		})
	}

	calls := w.upTo(t, causes[len(causes)-1].returned)
	for _, c := range causes {
		c.check(t, w, calls)
	}
}

// What is no change, or was refused and so rolled back, costs those who watch
// nothing.
func watchTellsNoMore(t tb, s []store.Store) {
	dead := candidate("hubot", "", "dead", "dead token")
	dead.CreatedAt, dead.ExpiresAt = now.Add(-time.Hour), now
	dead = add(t, s[1], dead)
	sliding := withReplay(candidate("mona", "app", "sliding", "sliding token"), "sliding")
	sliding.IdleTimeout, sliding.ExpiresAt = time.Hour, now.Add(time.Hour)
	sliding = add(t, s[1], sliding)
	last := add(t, s[1], candidate("last", "app", "", "last token"))

	all, stop, ok := watchers(t, s[0])
	if !ok {
		return
	}
	defer stop()
	w := all[0]
	w.upTo(t, time.Now()) // and whatever was committed before
	before := w.count()

	for i, h := range s {
		create(t, h, candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("token ", i)))
		if _, _, err := h.GetOrCreate(t.Context(), candidate("mona", "app", fmt.Sprint(i), fmt.Sprint("other token ", i))); err != nil {
			t.Fatalf("GetOrCreate = error %v", err)
		}
		add(t, h, withReplay(personal("mona", fmt.Sprint("note ", i), fmt.Sprint("own token ", i)), fmt.Sprint("key ", i)))
		touch(t, h, store.Use{ID: sliding.ID, At: now.Add(time.Duration(i+1) * time.Minute)}, store.Use{ID: last.ID, At: now})
		if n, err := h.WipeReplays(t.Context(), now.AddDate(1, 0, 0)); n == 0 || err != nil {
			t.Fatalf("WipeReplays = %d, error %v, want some", n, err)
		}
		old := sliding
		old.Revision += 7
		if _, err := h.Replace(t.Context(), old); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("Replace of another revision = error %v, want ErrConflict", err)
		}
		if err := h.Delete(t.Context(), "nobody", sliding.ID); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Delete for another owner = error %v, want ErrNotFound", err)
		}
		if n, err := h.DeleteAll(t.Context(), store.Selection{Owner: new("nobody")}); n != 0 || err != nil {
			t.Fatalf("DeleteAll of nothing = %d, error %v, want 0", n, err)
		}
		// One in the way is dead, the other lives: none goes.
		refused := personal("hubot", dead.Note, fmt.Sprint("refused token ", i))
		refused.Replay = store.Replay{ID: store.HashOf(fmt.Sprint("taken ", i)), ExpiresAt: now.AddDate(1, 0, 0)}
		taken := candidate("hubot", "app", "", fmt.Sprint("taken token ", i))
		taken.Replay = refused.Replay
		add(t, h, taken)
		if _, err := h.Create(t.Context(), refused); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("Create with a Replay that is taken = error %v, want ErrConflict", err)
		}
	}
	stored(t, s[0], dead)

	// What comes after shows that all before it has come.
	if err := s[1].Delete(t.Context(), last.Owner, last.ID); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
	end := cause{what: "Delete", recs: []store.Authorization{last}, before: before, returned: time.Now()}
	calls := w.upTo(t, end.returned)
	end.check(t, w, calls)
	for _, h := range calls[before:] {
		if h.change != nil && *h.change == (store.Change{}) {
			t.Errorf("Watch tells that anything may have changed; new authorizations, Touch, WipeReplays and what was refused are no changes")
		} else if h.change != nil && end.covered([]store.Change{*h.change}) != "" {
			t.Errorf("Watch tells of %s; new authorizations, Touch, WipeReplays and what was refused are no changes", describe(*h.change))
		}
	}
}

// Who hears nothing for longer than a second must be able to take it that
// something is wrong.
func watchCurrent(t tb, s []store.Store) {
	all, stop, ok := watchers(t, s[0])
	if !ok {
		return
	}
	defer stop()
	// The quickest of some: a busy machine is late at times.
	calls, ok := all[0].await(patience(t), func(calls []heard) bool {
		var last []time.Time
		for _, h := range calls {
			if h.change == nil {
				last = append(last, h.at)
			}
			if n := len(last); n > 3 && last[n-1].Sub(last[n-4]) < 1500*time.Millisecond {
				return true
			}
		}
		return false
	})
	if !ok {
		t.Fatalf("Watch calls Current not even three times in 1.5 s: %s (%d calls in all)", all[0].fate(), len(calls))
	}
	all[0].upTo(t, time.Now()) // it rises
}

func watchSeveral(t tb, s []store.Store) {
	all, stop, ok := watchers(t, s[0], s[0], s[1])
	if !ok {
		return
	}
	defer stop()
	tell := func(what string, all ...*watching) {
		t.Helper()
		rec := add(t, s[2], candidate("mona", "app", "", what))
		causes := make([]cause, len(all))
		for i, w := range all {
			causes[i] = cause{what: fmt.Sprintf("Delete, %s, Watch %d", what, i), recs: []store.Authorization{rec}, before: w.count()}
		}
		if err := s[2].Delete(t.Context(), rec.Owner, rec.ID); err != nil {
			t.Fatalf("Delete = error %v", err)
		}
		returned := time.Now()
		for i, w := range all {
			causes[i].returned = returned
			causes[i].check(t, w, w.upTo(t, returned))
		}
	}
	tell("three watch", all...)
	all[0].stop(t)
	tell("one has ended", all[1:]...)
}

// Changes come from all sides at once.
func watchRace(t tb, s []store.Store) {
	all, stop, ok := watchers(t, s[0])
	if !ok {
		return
	}
	defer stop()
	w := all[0]
	causes := make([][]cause, len(s))
	together(len(s), func(g int) {
		owner := fmt.Sprint("owner ", g)
		for i := range rounds {
			rec, err := s[g].Create(t.Context(), candidate(owner, "app", "", fmt.Sprintf("token %d of %d", i, g)))
			if err != nil {
				t.Errorf("Create in a race = error %v", err)
				return
			}
			c := cause{what: "Delete in a race", recs: []store.Authorization{rec}, before: w.count()}
			if err := s[g].Delete(t.Context(), owner, rec.ID); err != nil {
				t.Errorf("Delete in a race = error %v", err)
				return
			}
			c.returned = time.Now()
			causes[g] = append(causes[g], c)
		}
	})
	calls := w.upTo(t, time.Now())
	for _, list := range causes {
		for _, c := range list {
			c.check(t, w, calls)
		}
	}
}

func watchEnds(t tb, s []store.Store) {
	all, stop, ok := watchers(t, s[0])
	if !ok {
		return
	}
	stop()
	before := all[0].count()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late := watch(ctx, s[0].(store.Watcher))
	select {
	case <-late.ended:
		if !errors.Is(late.err, context.Canceled) {
			t.Errorf("Watch under a context that is done = error %v, want one that wraps the context's", late.err)
		}
	case <-time.After(patience(t)):
		t.Errorf("Watch under a context that is done does not return")
	}

	// A goroutine has the labels of the one that began it. One that a pool began
	// with a connection may stay, one for each Watch may not.
	const times = 4
	const label = "storetest"
	value := strconv.FormatInt(lastLabel.Add(1), 10)
	pprof.Do(t.Context(), pprof.Labels(label, value), func(ctx context.Context) {
		for range times {
			all, stop, ok := watchers(t, s[0])
			if !ok {
				t.Fatalf("Watch is unsupported where it was not before")
			}
			if calls, ok := all[0].await(patience(t), func(calls []heard) bool { return len(calls) > 1 }); !ok || calls[0].change == nil {
				t.Errorf("another Watch: %s after %d calls; it must begin like the first", all[0].fate(), len(calls))
			}
			stop()
		}
	})
	left := 0
	for end := time.Now().Add(patience(t)); ; time.Sleep(10 * time.Millisecond) {
		if left = labelled(label, value); left < times || time.Now().After(end) {
			break
		}
	}
	if left >= times {
		t.Errorf("%d goroutines are left of %d Watches that have ended; none may be", left, times)
	}
	if n := all[0].count() - before; n > 0 {
		t.Errorf("Watch has called its Observer %d times after it returned", n)
	}
}

var lastLabel atomic.Int64

// labelled returns how many goroutines have this label.
func labelled(label, value string) (n int) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return 0
	}
	count := 0
	for line := range strings.Lines(profile.String()) {
		if number, _, ok := strings.Cut(line, " @ "); ok {
			count, _ = strconv.Atoi(number)
		} else if strings.HasPrefix(line, "# labels:") && strings.Contains(line, fmt.Sprintf("%q:%q", label, value)) {
			n += count
		}
	}
	return n
}
