package authz

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Verify returns the live authorization that token belongs to. A string that is
// no token of this Manager's form is refused without asking the store. Others are
// answered from Config.Cache while the Manager is started and hears of changes,
// and else read from the store, in one round trip; calls that miss the same token
// at the same time share one read.
//
// A revocation is heeded from when the call that made it returned, in this
// Manager; in others as soon as they hear of it (docs/design.md, "What revocation
// means, and how late it can be"). Expiry is judged at each call, by Config.Now.
//
// The result is shared with other callers and must not be changed. Errors:
// [ErrInvalidToken]; any other error is the store's and says nothing about the
// token: answer 503, not 401.
func (m *Manager) Verify(ctx context.Context, token string) (*Authorization, error) {
	hash, ok := m.hashOf(token)
	if !ok {
		return nil, ErrInvalidToken
	}
	e, err := m.recall(&hash)
	if e == nil && err == nil {
		e, err = m.ask(ctx, token, hash)
	}
	if err != nil {
		return nil, err
	}
	return e.rec, nil
}

// hashOf returns a token's hash; !ok says that it cannot be a token.
func (m *Manager) hashOf(token string) (hash store.Hash, ok bool) {
	if len(token) != len(m.cfg.TokenPrefix)+1+tokenRandom+tokenSum {
		return hash, false
	}
	// In an array: as a []byte it would go to the heap.
	var text [maxPrefix + 1 + tokenRandom + tokenSum]byte
	copy(text[:], token)
	return sha256.Sum256(text[:len(token)]), true
}

// recall returns the entry of a token that is alive, or ErrInvalidToken; neither,
// if somebody must be asked. Only what was a token once is in memory: its checksum
// needs no check.
func (m *Manager) recall(hash *store.Hash) (*CacheEntry, error) {
	e := m.cached(hash)
	if e == nil || e.foreign {
		return nil, nil
	}
	switch alive, known := m.judge(e); {
	case !known:
		return nil, nil
	case !alive:
		return nil, ErrInvalidToken
	}
	m.used(e)
	return e, nil
}

// ask is recall for what is not known.
func (m *Manager) ask(ctx context.Context, token string, hash store.Hash) (*CacheEntry, error) {
	if !m.wellFormed(token) {
		return nil, ErrInvalidToken
	}
	e := m.cached(&hash)
	if e == nil || !e.foreign { // else it is the host's table alone that must be asked
		var err error
		if e, err = m.read(ctx, hash); err != nil {
			return nil, err
		}
	}
	if alive, _ := m.judge(e); !alive {
		return nil, ErrInvalidToken
	}
	if e.foreign {
		if err := m.foreignApp(ctx, e.rec.ClientID); err != nil {
			return nil, err
		}
	}
	m.used(e)
	return e, nil
}

// cached returns what is known of a token, nil if that may have changed or is
// nothing.
func (m *Manager) cached(hash *store.Hash) *CacheEntry {
	now := m.elapsed()
	if m.front == nil || !m.hearing(now) {
		return nil
	}
	key := cacheKey(hash)
	e := m.front.get(key)
	switch second := now >> 30; {
	case e == nil || !sameHash(&e.hash, hash):
		if e, _ = m.cfg.Cache.Get(key); e == nil || !sameHash(&e.hash, hash) {
			return nil
		}
		m.front.put(key, e)
	case e.shown.Load() != second: // so that the Cache keeps what is in use
		e.shown.Store(second)
		m.cfg.Cache.Get(key)
	}
	if now >= e.until || !m.validity.holds(e) {
		return nil
	}
	return e
}

// judge reports whether an entry that holds is alive now. It is not known of one
// that has been idle for too long, by what this Manager knows: it may have been
// used elsewhere.
func (m *Manager) judge(e *CacheEntry) (alive, known bool) {
	switch {
	case e.dead:
		return false, true
	case e.expiresAt != math.MaxInt64 && m.now().UnixMicro() >= e.expiresAt:
		return false, !e.idle
	}
	return true, true
}

// foreignApp asks the host's own table of apps, each time: nobody else knows when
// it changes.
func (m *Manager) foreignApp(ctx context.Context, clientID string) error {
	app, err := m.App(ctx, clientID)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !app.SuspendedAt.IsZero():
		return ErrInvalidToken
	case err != nil:
		return fmt.Errorf("authz: verify: %w", err)
	}
	return nil
}

// elapsed is real time, in nanoseconds since New. It is cheaper than Config.Now,
// and goes on where that stands still.
func (m *Manager) elapsed() int64 { return int64(time.Since(m.began)) }

// hearing reports whether what is in memory may be answered from: all changes that
// were committed until a moment ago have been heard of.
func (m *Manager) hearing(now int64) bool { return now < m.current.Load() }

// caching is hearing where there is a Cache.
func (m *Manager) caching() bool { return m.cfg.Cache != nil && m.hearing(m.elapsed()) }

// read returns the entry of a token as it is in the store, or ErrInvalidToken.
func (m *Manager) read(ctx context.Context, hash store.Hash) (*CacheEntry, error) {
	if m.wasUnknown(&hash) {
		return nil, ErrInvalidToken
	}
	e, err := m.reads.get(ctx, hash)
	if err != nil && !errors.Is(err, ErrInvalidToken) {
		return nil, fmt.Errorf("authz: verify: %w", err)
	}
	return e, err
}

// wasUnknown reports whether the store had no such token a moment ago.
func (m *Manager) wasUnknown(hash *store.Hash) bool {
	return m.caching() && m.unknown.has(hash, m.elapsed())
}

// readToken reads a token's entry from the store, or returns ErrInvalidToken, and
// keeps either where the next use of the token finds it.
func (m *Manager) readToken(ctx context.Context, hash store.Hash) (*CacheEntry, error) {
	if m.wasUnknown(&hash) { // found out while this call waited for another's read
		return nil, ErrInvalidToken
	}
	began := m.elapsed()
	e, keep, err := m.lookup(ctx, hash)
	switch {
	case !m.caching():
	case errors.Is(err, ErrInvalidToken):
		m.unknown.add(hash, began+min(int64(unknownFor), m.ttl.Load()))
	case keep:
		e.until = began + m.ttl.Load()
		m.cfg.Cache.Set(cacheKey(&hash), e)
		m.front.put(cacheKey(&hash), e)
	}
	return e, err
}

// lookup reads a token's entry from the store, or returns ErrInvalidToken. keep
// says that the next use of the token needs no read.
func (m *Manager) lookup(ctx context.Context, hash store.Hash) (e *CacheEntry, keep bool, err error) {
	seq := m.validity.seq.Load() // before the read: what changes from now on is heeded
	rec, standing, err := m.store.Lookup(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, false, ErrInvalidToken
	case err != nil:
		return nil, false, err
	case !sameHash(&rec.TokenHash, &hash):
		return nil, false, errors.New("the store returned another token's record")
	}
	keep = !holdsAnswer(rec.Replay.Seal)
	if !keep && !rec.Expired(m.now()) { // to wipe it is a change
		rec = m.wipeSeal(ctx, rec)
	}
	rec.Replay = store.Replay{}
	e = &CacheEntry{
		hash:      hash,
		expiresAt: math.MaxInt64,
		rec:       &rec,
		scopes:    strings.Join(rec.Scopes, ", "),
		seq:       seq,
		id:        m.validity.idSlot(rec.ID),
		owner:     m.validity.ownerSlot(rec.Owner),
		app:       m.validity.appSlot(rec.ClientID),
		dead:      standing.Suspended || rec.ClientID != "" && !standing.App && !m.foreignApps,
		idle:      rec.IdleTimeout > 0,
		foreign:   rec.ClientID != "" && m.foreignApps,
	}
	if !rec.ExpiresAt.IsZero() {
		e.expiresAt = rec.ExpiresAt.UnixMicro()
	}
	return e, keep, nil
}
