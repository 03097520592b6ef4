// Package memory is a [store.Store] in the memory of one process.
//
// It is meant for tests, demonstrations and hosts that want no persistence:
// everything is lost when the process ends, and no other process sees it. It
// keeps the whole contract of package store otherwise.
package memory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// errTokenTaken is no ErrConflict: two equal hashes of random tokens are no
// state that a caller can answer to, but a fault of whoever made the token.
var errTokenTaken = errors.New("store/memory: token hash is taken by another record")

// Store keeps authorizations and apps in maps. Make one with [New].
//
// Reading an authorization by ID, key or token hash costs a map lookup;
// listing costs one walk over the owner's records after Query.After; only
// DeleteApp looks at every record.
type Store struct {
	mu sync.RWMutex // guards everything below

	// Stored records are never written to again, a change puts a new one in
	// their place: so a reader needs the lock for the lookup only, and makes
	// the caller's copy outside.

	lastAuthorization int64
	byID              map[int64]*store.Authorization
	byKey             map[store.Key]*store.Authorization
	byHash            map[store.Hash]*store.Authorization
	byOwner           map[string][]*store.Authorization // in order of ID

	lastApp    int64
	byClientID map[string]*store.App // nil for a deleted app: its client_id stays taken
	apps       []*store.App          // in order of ID
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		byID:       make(map[int64]*store.Authorization),
		byKey:      make(map[store.Key]*store.Authorization),
		byHash:     make(map[store.Hash]*store.Authorization),
		byOwner:    make(map[string][]*store.Authorization),
		byClientID: make(map[string]*store.App),
	}
}

// GetOrCreate implements [store.Authorizations].
func (s *Store) GetOrCreate(ctx context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	if err := done(ctx); err != nil {
		return store.Authorization{}, false, err
	}
	rec := normal(candidate)

	s.mu.RLock()
	old := s.byKey[rec.Key]
	s.mu.RUnlock()
	if !inTheWay(old, &rec) {
		var err error
		if old, err = s.create(&rec); err != nil {
			return store.Authorization{}, false, err
		}
	}
	return clone(old), old.TokenHash == rec.TokenHash, nil
}

// inTheWay reports whether old is there and counts as the record with the
// candidate's Key. It does if it is the candidate itself, however short its
// life: the repeat of a call stores nothing new.
func inTheWay(old, candidate *store.Authorization) bool {
	return old != nil && (!old.Expired(candidate.CreatedAt) || old.TokenHash == candidate.TokenHash)
}

// create stores rec unless a live record has its Key by now, and returns the
// one that is stored.
func (s *Store) create(rec *store.Authorization) (*store.Authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byKey[rec.Key]
	if inTheWay(old, rec) {
		return old, nil
	}
	if other := s.byHash[rec.TokenHash]; other != nil && other != old {
		return nil, errTokenTaken
	}
	if old != nil {
		s.remove(old)
	}
	s.lastAuthorization++
	rec.ID, rec.Revision = s.lastAuthorization, 1
	s.byID[rec.ID] = rec
	s.byKey[rec.Key] = rec
	s.byHash[rec.TokenHash] = rec
	s.byOwner[rec.Owner] = append(s.byOwner[rec.Owner], rec)
	return rec, nil
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

// List implements [store.Authorizations].
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	recs := s.byOwner[q.Owner]
	var page []store.Authorization
	for _, rec := range recs[after(recs, q.After, authorizationID):] {
		if len(page) >= q.Limit {
			break
		}
		if q.ClientID == nil || *q.ClientID == rec.ClientID {
			page = append(page, clone(rec))
		}
	}
	return page, nil
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
	next.ClientID, next.CreatedAt = old.ClientID, old.CreatedAt
	if reflect.DeepEqual(*old, next) {
		return clone(old), nil // this call has taken effect before
	}
	if old.Revision != rec.Revision {
		return store.Authorization{}, store.ErrConflict
	}
	if other := s.byKey[next.Key]; other != nil && other != old {
		return store.Authorization{}, &store.ConflictError{Field: "fingerprint"}
	}
	if other := s.byHash[next.TokenHash]; other != nil && other != old {
		return store.Authorization{}, errTokenTaken
	}
	delete(s.byKey, old.Key)
	delete(s.byHash, old.TokenHash)
	s.byID[next.ID] = &next
	s.byKey[next.Key] = &next
	s.byHash[next.TokenHash] = &next
	recs := s.byOwner[next.Owner]
	recs[after(recs, next.ID-1, authorizationID)] = &next
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
	return nil
}

// remove takes rec out of every index. The caller holds the lock.
func (s *Store) remove(rec *store.Authorization) {
	delete(s.byID, rec.ID)
	delete(s.byKey, rec.Key)
	delete(s.byHash, rec.TokenHash)
	recs := s.byOwner[rec.Owner]
	if len(recs) == 1 {
		delete(s.byOwner, rec.Owner)
		return
	}
	i := after(recs, rec.ID-1, authorizationID)
	s.byOwner[rec.Owner] = slices.Delete(recs, i, i+1)
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

	var removed int64
	for _, rec := range s.byID {
		if rec.ClientID == clientID {
			s.remove(rec)
			removed++
		}
	}
	return removed, nil
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

func authorizationID(a *store.Authorization) int64 { return a.ID }
func appID(a *store.App) int64                     { return a.ID }

// normal returns a copy of a as it is stored, so that equal records are deeply
// equal.
func normal(a store.Authorization) store.Authorization {
	a.Scopes = append([]string(nil), a.Scopes...)
	a.CreatedAt, a.UpdatedAt, a.ExpiresAt = micro(a.CreatedAt), micro(a.UpdatedAt), micro(a.ExpiresAt)
	return a
}

// normalApp is normal for an app.
func normalApp(a store.App) store.App {
	a.Secrets = append([]store.AppSecret(nil), a.Secrets...)
	for i := range a.Secrets {
		a.Secrets[i].CreatedAt = micro(a.Secrets[i].CreatedAt)
		a.Secrets[i].ExpiresAt = micro(a.Secrets[i].ExpiresAt)
	}
	a.CreatedAt, a.UpdatedAt = micro(a.CreatedAt), micro(a.UpdatedAt)
	return a
}

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func clone(a *store.Authorization) store.Authorization {
	c := *a
	c.Scopes = slices.Clone(a.Scopes)
	return c
}

func cloneApp(a *store.App) store.App {
	c := *a
	c.Secrets = slices.Clone(a.Secrets)
	return c
}
