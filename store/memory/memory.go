// Package memory is a [store.Store] in the memory of one process.
//
// It is meant for tests, demonstrations and hosts that want no persistence:
// everything is lost when the process ends, and no other process sees it. It
// keeps the whole contract of package store otherwise.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

var (
	// errTokenTaken is no ErrConflict: two equal hashes of random tokens are no
	// state that a caller can answer to, but a fault of whoever made the token.
	errTokenTaken = errors.New("store/memory: token hash is taken by another record")

	errSelectsAll = errors.New("store/memory: DeleteAll needs an owner, client_id or token hash")
)

// Store keeps authorizations and apps in maps. Make one with [New].
//
// Reading an authorization by ID, key, token hash or replay costs a map lookup;
// listing costs one walk over the owner's records after Query.After; only
// DeleteApp, WipeReplays, Purge, Expiring and selections with neither owner nor
// token hash look at more.
type Store struct {
	mu sync.RWMutex // guards everything below

	// Stored records are never written to again, a change puts a new one in
	// their place: so a reader needs the lock for the lookup only, and makes
	// the caller's copy outside.

	lastAuthorization int64
	byID              map[int64]*store.Authorization
	byHash            map[store.Hash]*store.Authorization
	byReplay          map[store.Hash]*store.Authorization
	byNote            map[note]*store.Authorization
	byKey             map[store.Key][]*store.Authorization // in order of ID; several if the fingerprint is empty
	byOwner           map[string][]*store.Authorization    // in order of ID
	suspended         map[string]time.Time                 // owners

	lastApp    int64
	byClientID map[string]*store.App // nil for a deleted app: its client_id stays taken
	apps       []*store.App          // in order of ID

	observers map[*store.Observer]store.Observer // of Watch
}

// note is what is unique about a personal authorization.
type note struct{ owner, text string }

var (
	_ store.Store       = (*Store)(nil)
	_ store.Housekeeper = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		byID:       make(map[int64]*store.Authorization),
		byHash:     make(map[store.Hash]*store.Authorization),
		byReplay:   make(map[store.Hash]*store.Authorization),
		byNote:     make(map[note]*store.Authorization),
		byKey:      make(map[store.Key][]*store.Authorization),
		byOwner:    make(map[string][]*store.Authorization),
		suspended:  make(map[string]time.Time),
		byClientID: make(map[string]*store.App),
		observers:  make(map[*store.Observer]store.Observer),
	}
}

// GetOrCreate implements [store.Authorizations].
func (s *Store) GetOrCreate(ctx context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, false, err
	}
	rec := unused(candidate)

	s.mu.RLock()
	old := s.existing(&rec)
	s.mu.RUnlock()
	if old == nil {
		var err error
		if old, err = s.getOrCreate(&rec); err != nil {
			return store.Authorization{}, false, err
		}
	}
	return clone(old), old.TokenHash == rec.TokenHash, nil
}

// existing returns the record that counts as the one with the candidate's Key,
// nil if there is none.
func (s *Store) existing(candidate *store.Authorization) *store.Authorization {
	if old := s.same(candidate); old != nil {
		return old
	}
	for _, old := range s.byKey[candidate.Key] {
		if !old.Expired(candidate.CreatedAt) {
			return old
		}
	}
	return nil
}

// same returns the candidate as it was stored by an earlier call with the same
// arguments, else nil. However short its life, a repeat stores nothing new.
func (s *Store) same(candidate *store.Authorization) *store.Authorization {
	if old := s.byHash[candidate.TokenHash]; old != nil && old.Key == candidate.Key {
		return old
	}
	return nil
}

// getOrCreate stores rec unless there is one with its Key by now, and returns
// the one that is stored.
func (s *Store) getOrCreate(rec *store.Authorization) (*store.Authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.existing(rec); old != nil {
		return old, nil
	}
	return rec, s.create(rec, s.byKey[rec.Key]...) // all of them have expired
}

// Create implements [store.Authorizations].
func (s *Store) Create(ctx context.Context, candidate store.Authorization) (store.Authorization, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, err
	}
	rec := unused(candidate)

	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.same(&rec); old != nil {
		return clone(old), nil
	}
	if err := s.create(&rec); err != nil {
		return store.Authorization{}, err
	}
	return clone(&rec), nil
}

// create stores rec, which gets its ID, and removes the dead.
func (s *Store) create(rec *store.Authorization, dead ...*store.Authorization) error {
	rec.ID, rec.Revision = s.lastAuthorization+1, 1
	dead, err := s.makeWay(rec, rec.CreatedAt, dead)
	if err != nil {
		return err
	}
	s.lastAuthorization++
	s.swap(rec, dead...)
	s.tellRemoved(dead)
	return nil
}

// makeWay adds to dead, which must go when rec is stored, the records in the
// way of its Key and Note that have expired at now. It returns an error if one
// in its way lives. Of several it names the one with its Replay: that is likely
// to be the same request.
func (s *Store) makeWay(rec *store.Authorization, now time.Time, dead []*store.Authorization) ([]*store.Authorization, error) {
	dead = slices.Clone(dead)
	free := func(other *store.Authorization) bool {
		return other == nil || other.ID == rec.ID || slices.Contains(dead, other)
	}
	var err error
	claim := func(field string, other *store.Authorization) {
		switch {
		case free(other):
		case other.Expired(now):
			dead = append(dead, other)
		default:
			err = &store.ConflictError{Field: field, ID: other.ID}
		}
	}
	if rec.Fingerprint != "" {
		for _, other := range s.byKey[rec.Key] { // one at most
			claim("fingerprint", other)
		}
	}
	if rec.ClientID == "" {
		claim("note", s.byNote[noteOf(rec)])
	}
	if other := s.byReplay[rec.Replay.ID]; !free(other) {
		err = &store.ConflictError{Field: "idempotency_key", ID: other.ID}
	}
	if other := s.byHash[rec.TokenHash]; !free(other) {
		err = errTokenTaken
	}
	return dead, err
}

// Get implements [store.Authorizations].
func (s *Store) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, err
	}
	s.mu.RLock()
	rec := s.byID[id]
	s.mu.RUnlock()
	if rec == nil || rec.Owner != owner {
		return store.Authorization{}, store.ErrNotFound
	}
	return clone(rec), nil
}

// GetByTokenHash implements [store.Authorizations].
func (s *Store) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, err
	}
	s.mu.RLock()
	rec := s.byHash[hash]
	s.mu.RUnlock()
	if rec == nil {
		return store.Authorization{}, store.ErrNotFound
	}
	return clone(rec), nil
}

// Lookup implements [store.Authorizations].
func (s *Store) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, store.Standing{}, err
	}
	s.mu.RLock()
	rec := s.byHash[hash]
	if rec == nil {
		s.mu.RUnlock()
		return store.Authorization{}, store.Standing{}, store.ErrNotFound
	}
	_, suspended := s.suspended[rec.Owner]
	var app *store.App
	if rec.ClientID != "" {
		app = s.byClientID[rec.ClientID]
	}
	s.mu.RUnlock()
	return clone(rec), store.Standing{
		App:       app != nil,
		Suspended: suspended || app != nil && !app.SuspendedAt.IsZero(),
	}, nil
}

// GetByReplay implements [store.Authorizations].
func (s *Store) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, err
	}
	s.mu.RLock()
	rec := s.byReplay[id]
	s.mu.RUnlock()
	if rec == nil {
		return store.Authorization{}, store.ErrNotFound
	}
	return clone(rec), nil
}

// List implements [store.Authorizations].
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	sel := store.Selection{Owner: &q.Owner, ClientID: q.ClientID, LiveAt: q.LiveAt}

	s.mu.RLock()
	defer s.mu.RUnlock()
	recs := s.byOwner[q.Owner]
	var page []store.Authorization
	for _, rec := range recs[after(recs, q.After, authorizationID):] {
		if len(page) >= q.Limit {
			break
		}
		switch {
		case !selects(sel, rec):
		case q.Skip > 0:
			q.Skip--
		default:
			page = append(page, clone(rec))
		}
	}
	return page, nil
}

// Count implements [store.Authorizations].
func (s *Store) Count(ctx context.Context, sel store.Selection) (int64, error) {
	if err := done(ctx); err != nil {
		return 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(len(s.selected(sel))), nil
}

// selected returns the records that sel selects, in no order.
func (s *Store) selected(sel store.Selection) []*store.Authorization {
	var from iter.Seq[*store.Authorization]
	switch {
	case sel.TokenHash != nil:
		from = func(yield func(*store.Authorization) bool) {
			if rec := s.byHash[*sel.TokenHash]; rec != nil {
				yield(rec)
			}
		}
	case sel.Owner != nil:
		from = slices.Values(s.byOwner[*sel.Owner])
	default:
		from = maps.Values(s.byID)
	}
	var recs []*store.Authorization
	for rec := range from {
		if selects(sel, rec) {
			recs = append(recs, rec)
		}
	}
	return recs
}

// selects reports whether sel selects rec.
func selects(sel store.Selection, rec *store.Authorization) bool {
	return (sel.Owner == nil || *sel.Owner == rec.Owner) &&
		(sel.ClientID == nil || *sel.ClientID == rec.ClientID) &&
		(sel.TokenHash == nil || *sel.TokenHash == rec.TokenHash) &&
		(sel.LiveAt.IsZero() || !rec.Expired(sel.LiveAt))
}

// Replace implements [store.Authorizations].
func (s *Store) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, err
	}
	next := normal(rec)
	next.Revision++

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byID[next.ID]
	if old == nil || old.Owner != next.Owner {
		return store.Authorization{}, store.ErrNotFound
	}
	next.ClientID, next.CreatedAt, next.LastUsedAt = old.ClientID, old.CreatedAt, old.LastUsedAt
	applied := next
	if slid(old, &next) {
		applied.ExpiresAt = old.ExpiresAt
	}
	if reflect.DeepEqual(*old, applied) {
		return clone(old), nil // this call has taken effect before
	}
	if old.Revision != rec.Revision {
		return store.Authorization{}, store.ErrConflict
	}
	dead, err := s.makeWay(&next, next.UpdatedAt, []*store.Authorization{old})
	if err != nil {
		return store.Authorization{}, err
	}
	s.swap(&next, dead...)
	s.tellRemoved(dead) // old is one of them
	return clone(&next), nil
}

// Delete implements [store.Authorizations].
func (s *Store) Delete(ctx context.Context, owner string, id int64) error {
	if err := done(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.byID[id]
	if rec == nil || rec.Owner != owner {
		return store.ErrNotFound
	}
	s.remove(rec)
	s.tell(store.Change{ID: id})
	return nil
}

// DeleteAll implements [store.Authorizations].
func (s *Store) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	if err := done(ctx); err != nil {
		return 0, err
	}
	if sel.Owner == nil && sel.ClientID == nil && sel.TokenHash == nil {
		return 0, errSelectsAll
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteAll(sel), nil
}

// deleteAll removes what sel selects, and returns how many went.
func (s *Store) deleteAll(sel store.Selection) int64 {
	recs := s.selected(sel)
	s.remove(recs...)
	s.tellRemoved(recs)
	return int64(len(recs))
}

// WipeReplays implements [store.Authorizations].
func (s *Store) WipeReplays(ctx context.Context, now time.Time) (int64, error) {
	if err := done(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var wiped int64
	for _, old := range s.byReplay {
		if !old.Replay.ExpiresAt.After(now) {
			next := *old
			next.Replay = store.Replay{}
			s.swap(&next, old)
			wiped++
		}
	}
	return wiped, nil
}

// Touch implements [store.Authorizations].
func (s *Store) Touch(ctx context.Context, uses []store.Use) error {
	if err := done(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, use := range uses {
		old, at := s.byID[use.ID], micro(use.At)
		if old == nil || !at.After(old.LastUsedAt) {
			continue
		}
		next := *old
		next.LastUsedAt = at
		if ends := slide(old, at); next.IdleTimeout > 0 && !next.Expired(at) && ends.After(next.ExpiresAt) && !next.ExpiresAt.IsZero() {
			next.ExpiresAt = ends
		}
		s.put(&next)
	}
	return nil
}

// slide returns the end that a use at the time at gives to rec.
func slide(rec *store.Authorization, at time.Time) time.Time {
	ends := at.Add(rec.IdleTimeout)
	if !rec.EndsAt.IsZero() && rec.EndsAt.Before(ends) {
		return rec.EndsAt
	}
	return ends
}

// slid reports whether uses can have raised the ExpiresAt that next has to the
// one that now has.
func slid(now, next *store.Authorization) bool {
	return now.IdleTimeout > 0 && !next.ExpiresAt.IsZero() &&
		now.ExpiresAt.After(next.ExpiresAt) && !slide(now, now.LastUsedAt).Before(now.ExpiresAt)
}

// Suspend implements [store.Authorizations].
func (s *Store) Suspend(ctx context.Context, owner string, at time.Time) error {
	if err := done(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.suspended[owner]; !ok {
		s.suspended[owner] = micro(at)
	}
	s.tell(store.Change{Owner: &owner})
	return nil
}

// Resume implements [store.Authorizations].
func (s *Store) Resume(ctx context.Context, owner string) error {
	if err := done(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.suspended, owner)
	s.tell(store.Change{Owner: &owner})
	return nil
}

// Suspended implements [store.Authorizations].
func (s *Store) Suspended(ctx context.Context, owner string) (time.Time, error) {
	if err := done(ctx); err != nil {
		return time.Time{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.suspended[owner], nil
}

// Purge implements [store.Housekeeper].
func (s *Store) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	if err := done(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	recs := s.ending(func(p store.Position) bool { return !p.ExpiresAt.After(before) })
	recs = recs[:min(len(recs), limit)]
	s.remove(recs...)
	s.tellRemoved(recs)
	return int64(len(recs)), nil
}

// Expiring implements [store.Housekeeper].
func (s *Store) Expiring(ctx context.Context, from, to time.Time, after store.Position, limit int) ([]store.Authorization, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	recs := s.ending(func(p store.Position) bool {
		return p.ExpiresAt.After(from) && !p.ExpiresAt.After(to) && comparePositions(p, after) > 0
	})
	var page []store.Authorization
	for _, rec := range recs[:min(len(recs), limit)] {
		page = append(page, clone(rec))
	}
	return page, nil
}

// ending returns the records that end at a position which is wanted, in the
// order of these.
func (s *Store) ending(wanted func(store.Position) bool) []*store.Authorization {
	var recs []*store.Authorization
	for _, rec := range s.byID {
		if !rec.ExpiresAt.IsZero() && wanted(positionOf(rec)) {
			recs = append(recs, rec)
		}
	}
	slices.SortFunc(recs, func(a, b *store.Authorization) int { return comparePositions(positionOf(a), positionOf(b)) })
	return recs
}

func positionOf(rec *store.Authorization) store.Position {
	return store.Position{ExpiresAt: rec.ExpiresAt, ID: rec.ID}
}

func comparePositions(a, b store.Position) int {
	return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
}

// window is how many IDs a call of Unused looks at.
const window = 10_000

// Unused implements [store.Housekeeper].
func (s *Store) Unused(ctx context.Context, since, liveAt time.Time, after int64, limit int) (page []store.Authorization, next int64, err error) {
	if err := done(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	last := s.lastAuthorization
	if after < last-window {
		last = after + window
		next = last
	}
	for id := after + 1; id <= last; id++ {
		rec := s.byID[id]
		if rec == nil || !rec.CreatedAt.Before(since) || !rec.LastUsedAt.Before(since) || rec.Expired(liveAt) {
			continue
		}
		if page = append(page, clone(rec)); len(page) == limit {
			return page, id, nil
		}
	}
	return page, next, nil
}

// put puts next in the place of the record with its ID, from which it differs in
// nothing that is an index.
func (s *Store) put(next *store.Authorization) {
	s.byID[next.ID] = next
	s.byHash[next.TokenHash] = next
	if !next.Replay.IsZero() {
		s.byReplay[next.Replay.ID] = next
	}
	if next.ClientID == "" {
		s.byNote[noteOf(next)] = next
	}
	for _, recs := range [][]*store.Authorization{s.byKey[next.Key], s.byOwner[next.Owner]} {
		recs[after(recs, next.ID-1, authorizationID)] = next
	}
}

// swap takes recs out of every index and puts next in.
func (s *Store) swap(next *store.Authorization, recs ...*store.Authorization) {
	s.remove(recs...)
	s.byID[next.ID] = next
	s.byHash[next.TokenHash] = next
	if !next.Replay.IsZero() {
		s.byReplay[next.Replay.ID] = next
	}
	if next.ClientID == "" {
		s.byNote[noteOf(next)] = next
	}
	insert(s.byKey, next.Key, next)
	insert(s.byOwner, next.Owner, next)
}

// remove takes recs out of every index.
func (s *Store) remove(recs ...*store.Authorization) {
	for _, rec := range recs {
		delete(s.byID, rec.ID)
		delete(s.byHash, rec.TokenHash)
		delete(s.byReplay, rec.Replay.ID)
		if rec.ClientID == "" {
			delete(s.byNote, noteOf(rec))
		}
		take(s.byKey, rec.Key, rec)
		take(s.byOwner, rec.Owner, rec)
	}
}

// insert puts rec into the list at key, in order of ID.
func insert[K comparable](lists map[K][]*store.Authorization, key K, rec *store.Authorization) {
	recs := lists[key]
	lists[key] = slices.Insert(recs, after(recs, rec.ID, authorizationID), rec)
}

// take takes rec out of the list at key.
func take[K comparable](lists map[K][]*store.Authorization, key K, rec *store.Authorization) {
	recs := lists[key]
	if len(recs) == 1 {
		delete(lists, key)
		return
	}
	i := after(recs, rec.ID-1, authorizationID)
	lists[key] = slices.Delete(recs, i, i+1)
}

// CreateApp implements [store.Apps].
func (s *Store) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	if err := done(ctx); err != nil {
		return store.App{}, err
	}
	next := normalApp(app)
	next.Revision = 1

	s.mu.Lock()
	defer s.mu.Unlock()
	if old, taken := s.byClientID[next.ClientID]; taken {
		if old != nil {
			next.ID = old.ID
			if reflect.DeepEqual(*old, next) {
				return cloneApp(old), nil // this call has taken effect before
			}
		}
		return store.App{}, &store.ConflictError{Field: "client_id"}
	}
	s.lastApp++
	next.ID = s.lastApp
	s.byClientID[next.ClientID] = &next
	s.apps = append(s.apps, &next)
	return cloneApp(&next), nil
}

// App implements [store.Apps].
func (s *Store) App(ctx context.Context, clientID string) (store.App, error) {
	if err := done(ctx); err != nil {
		return store.App{}, err
	}
	s.mu.RLock()
	app := s.byClientID[clientID]
	s.mu.RUnlock()
	if app == nil {
		return store.App{}, store.ErrNotFound
	}
	return cloneApp(app), nil
}

// ListApps implements [store.Apps].
func (s *Store) ListApps(ctx context.Context, afterID int64, limit int) ([]store.App, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var page []store.App
	for _, app := range s.apps[after(s.apps, afterID, appID):] {
		if len(page) >= limit {
			break
		}
		page = append(page, cloneApp(app))
	}
	return page, nil
}

// ReplaceApp implements [store.Apps].
func (s *Store) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	if err := done(ctx); err != nil {
		return store.App{}, err
	}
	next := normalApp(app)
	next.Revision++

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byClientID[next.ClientID]
	if old == nil {
		return store.App{}, store.ErrNotFound
	}
	next.ID, next.CreatedAt = old.ID, old.CreatedAt
	if reflect.DeepEqual(*old, next) {
		return cloneApp(old), nil // this call has taken effect before
	}
	if old.Revision != app.Revision {
		return store.App{}, store.ErrConflict
	}
	s.byClientID[next.ClientID] = &next
	s.apps[after(s.apps, next.ID-1, appID)] = &next
	s.tell(store.Change{ClientID: &next.ClientID})
	return cloneApp(&next), nil
}

// DeleteApp implements [store.Apps].
func (s *Store) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	if err := done(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.byClientID[clientID]
	if app == nil {
		return 0, store.ErrNotFound
	}
	s.byClientID[clientID] = nil
	i := after(s.apps, app.ID-1, appID)
	s.apps = slices.Delete(s.apps, i, i+1)
	s.tell(store.Change{ClientID: &clientID})
	return s.deleteAll(store.Selection{ClientID: &clientID}), nil
}

// done returns an error if ctx is done already. Nothing here waits for longer
// than a lock, so no call needs to look at it again.
func done(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store/memory: %w", err)
	}
	return nil
}

// after returns the index of the first record with a greater ID than last.
func after[R any](recs []*R, last int64, id func(*R) int64) int {
	i, _ := slices.BinarySearchFunc(recs, last, func(r *R, last int64) int {
		if id(r) <= last {
			return -1
		}
		return 1
	})
	return i
}

func noteOf(a *store.Authorization) note { return note{a.Owner, a.Note} }

func authorizationID(a *store.Authorization) int64 { return a.ID }
func appID(a *store.App) int64                     { return a.ID }

// normal returns a copy of a as it is stored, so that equal records are deeply
// equal.
func normal(a store.Authorization) store.Authorization {
	a.Scopes = append([]string(nil), a.Scopes...)
	a.Replay.Seal = append([]byte(nil), a.Replay.Seal...)
	a.Replay.ExpiresAt = micro(a.Replay.ExpiresAt)
	if a.Replay.IsZero() {
		a.Replay = store.Replay{}
	}
	a.IssuedAt, a.CreatedAt, a.UpdatedAt, a.ExpiresAt = micro(a.IssuedAt), micro(a.CreatedAt), micro(a.UpdatedAt), micro(a.ExpiresAt)
	a.IdleTimeout, a.EndsAt = a.IdleTimeout.Truncate(time.Microsecond), micro(a.EndsAt)
	return a
}

// unused is normal for a candidate.
func unused(a store.Authorization) store.Authorization {
	a.LastUsedAt = time.Time{}
	return normal(a)
}

// normalApp is normal for an app.
func normalApp(a store.App) store.App {
	a.Secrets = append([]store.AppSecret(nil), a.Secrets...)
	for i := range a.Secrets {
		a.Secrets[i].CreatedAt = micro(a.Secrets[i].CreatedAt)
		a.Secrets[i].ExpiresAt = micro(a.Secrets[i].ExpiresAt)
	}
	a.SuspendedAt, a.CreatedAt, a.UpdatedAt = micro(a.SuspendedAt), micro(a.CreatedAt), micro(a.UpdatedAt)
	return a
}

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func clone(a *store.Authorization) store.Authorization {
	c := *a
	c.Scopes = slices.Clone(a.Scopes)
	c.Replay.Seal = slices.Clone(a.Replay.Seal)
	return c
}

func cloneApp(a *store.App) store.App {
	c := *a
	c.Secrets = slices.Clone(a.Secrets)
	return c
}
