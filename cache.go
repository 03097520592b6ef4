package authz

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Cache keeps what [Manager.Verify] has read. Package cache has one. It must be
// safe for use by many goroutines and bounded; it may forget any entry at any
// time, and need not know when one is too old: the Manager judges each entry at
// each use. A key is the first 64 bits of a token's hash: it is spread evenly, and
// an entry of another token behind the same key is found out.
type Cache interface {
	Get(key uint64) (*CacheEntry, bool)
	Set(key uint64, e *CacheEntry)
	// Size is how many entries it keeps at most.
	Size() int
}

// powerOf2 is the first power of 2 from n on, within bounds.
func powerOf2(n, least, most int) int {
	p := least
	for p < n && p < most {
		p *= 2
	}
	return p
}

// cacheKey is the key of a token's entry.
func cacheKey(hash *store.Hash) uint64 { return binary.NativeEndian.Uint64(hash[:]) }

// sameHash compares in constant time.
func sameHash(a, b *store.Hash) bool {
	var diff uint64
	for i := 0; i < len(a); i += 8 {
		diff |= binary.NativeEndian.Uint64(a[i:]) ^ binary.NativeEndian.Uint64(b[i:])
	}
	return diff == 0
}

// CacheEntry is what a [Cache] keeps of one token. Only a Manager can read it.
//
// What each hit looks at is here, and apart from the record: that is handed out,
// and what a caller does to it must not bring a token back to life.
type CacheEntry struct {
	hash      store.Hash
	until     int64          // the hard end, in the Manager's nanoseconds
	held      atomic.Uint64  // one more than validity.noted when it was right last; 0: not looked yet
	expiresAt int64          // in microseconds since 1970; MaxInt64: never
	rec       *Authorization // without Replay; shared by all callers
	scopes    string         // rec's, as the middleware shows them

	window atomic.Int64 // the last one in which the use was noted
	shown  atomic.Int64 // the last second in which the Cache has seen the entry in use

	seq   uint64 // of validity, from before rec was read
	id    uint32 // slots of what rec depends on
	owner uint32
	app   uint32

	dead    bool // suspended, or its app is gone
	idle    bool // expiresAt moves with the token's use
	foreign bool // only the host knows whether the app is there
}

// front holds the entries that are used most in front of a [Cache], which keeps an
// order and pays for it at each read: a hit here is one line of the processor's
// cache beside the entry's own, and no lock. It has a fixed number of places; an
// entry that has lost its own is still in the Cache.
type front[E any] []frontSet[E]

// frontSet is the places for keys that end alike: it fills one line.
type frontSet[E any] struct {
	keys    [4]atomic.Uint64
	entries [4]atomic.Pointer[E]
}

// get returns an entry that was put there under this key, nil if there is none. A
// put can run beside it: the caller looks whose entry it is.
func (f front[E]) get(key uint64) *E {
	set := &f[key%uint64(len(f))]
	for i := range set.keys {
		if set.keys[i].Load() == key {
			return set.entries[i].Load()
		}
	}
	return nil
}

// put puts an entry in its own place, or a free one, or that of another.
func (f front[E]) put(key uint64, e *E) {
	set := &f[key%uint64(len(f))]
	place := int(key >> 62)
	for i := range set.keys {
		if old := set.keys[i].Load(); old == key {
			place = i
			break
		} else if old == 0 {
			place = i
		}
	}
	set.keys[place].Store(key)
	set.entries[place].Store(e)
}

// validity knows which entries are still right. Every change gets a number, and
// is noted in the slot of what has changed; an entry has the number of the last
// change before its read began. So an entry is right as long as no slot that it
// depends on has a greater number, however the read and the change raced. Slots
// are shared: a change can make others read again, which costs no more than that.
type validity struct {
	seed   maphash.Seed
	shift  int             // of idSlot
	seq    atomic.Uint64   // the last change
	noted  atomic.Uint64   // how many are noted in their slots
	all    atomic.Uint64   // the slot of changes of anything
	ids    []atomic.Uint64 // the slots
	owners []atomic.Uint64
	apps   []atomic.Uint64
}

// newValidity returns one with this many slots for authorizations, which change
// most often. It is a power of 2.
func newValidity(slots int) *validity {
	return &validity{
		seed:   maphash.MakeSeed(),
		shift:  64 - bits.TrailingZeros(uint(slots)),
		ids:    make([]atomic.Uint64, slots),
		owners: make([]atomic.Uint64, slots/16),
		apps:   make([]atomic.Uint64, slots/16),
	}
}

// idSlot takes the highest bits of the product, and only they will do: they spread
// IDs that follow each other evenly (Knuth, TAOCP 6.4, Fibonacci hashing). By the
// bits below, each of 100,000 such IDs shared its slot with six others.
func (v *validity) idSlot(id int64) uint32 {
	return uint32(uint64(id) * 0x9E3779B97F4A7C15 >> v.shift)
}

func (v *validity) ownerSlot(owner string) uint32 {
	return uint32(maphash.String(v.seed, owner)) % uint32(len(v.owners))
}

func (v *validity) appSlot(clientID string) uint32 {
	return uint32(v.appKey(clientID)) % uint32(len(v.apps))
}

// appKey is an app's key in a front.
func (v *validity) appKey(clientID string) uint64 { return maphash.String(v.seed, clientID) }

// changed notes a change that is stored by now.
func (v *validity) changed(c store.Change) {
	slot := &v.all
	switch {
	case c.ID != 0:
		slot = &v.ids[v.idSlot(c.ID)]
	case c.Owner != nil:
		slot = &v.owners[v.ownerSlot(*c.Owner)]
	case c.ClientID != nil:
		slot = &v.apps[v.appSlot(*c.ClientID)]
	}
	for seq := v.seq.Add(1); ; {
		old := slot.Load()
		if old >= seq || slot.CompareAndSwap(old, seq) {
			break
		}
	}
	v.noted.Add(1) // in this order: see holds
}

// holds reports whether nothing has changed since e was read. As long as nothing at
// all has changed since it looked last, it need not look again.
func (v *validity) holds(e *CacheEntry) bool {
	noted := v.noted.Load()
	if e.held.Load() == noted+1 {
		return true
	}
	if v.ids[e.id].Load() > e.seq || v.owners[e.owner].Load() > e.seq ||
		v.apps[e.app].Load() > e.seq || v.all.Load() > e.seq {
		return false
	}
	e.held.Store(noted + 1)
	return true
}

// appHolds is holds for an app alone.
func (v *validity) appHolds(e *appEntry) bool {
	return v.apps[e.slot].Load() <= e.seq && v.all.Load() <= e.seq
}

// unknown remembers tokens that nobody has, for a moment: a client that goes on
// with a dead token costs no reads. It is apart from the Cache and of fixed size,
// each token having one place, so that a flood of made-up tokens displaces
// nothing but itself.
type unknown [1 << 12]atomic.Pointer[unknownToken]

type unknownToken struct {
	hash  store.Hash
	until int64
}

// unknownFor is how long a token stays unknown. It cannot come to life
// elsewhere meanwhile, but by a backup that is restored.
const unknownFor = 5 * time.Second

func (u *unknown) place(hash *store.Hash) *atomic.Pointer[unknownToken] {
	return &u[(uint(hash[0])<<8|uint(hash[1]))%uint(len(u))]
}

func (u *unknown) add(hash store.Hash, until int64) {
	u.place(&hash).Store(&unknownToken{hash, until})
}

func (u *unknown) has(hash *store.Hash, now int64) bool {
	t := u.place(hash).Load()
	return t != nil && now < t.until && sameHash(&t.hash, hash)
}

// forget is for a token that is stored now.
func (u *unknown) forget(hash store.Hash) {
	if place := u.place(&hash); place.Load() != nil {
		place.Store(nil)
	}
}

// watched is a Store whose changes this Manager's own entries hear of before the
// call returns, whatever it returns: a change can be made and its answer lost.
type watched struct {
	store.Store
	apps store.Apps
	m    *Manager
}

func (w watched) GetOrCreate(ctx context.Context, candidate Authorization) (Authorization, bool, error) {
	defer w.m.unknown.forget(candidate.TokenHash)
	return w.Store.GetOrCreate(ctx, candidate)
}

func (w watched) Create(ctx context.Context, candidate Authorization) (Authorization, error) {
	defer w.m.unknown.forget(candidate.TokenHash)
	return w.Store.Create(ctx, candidate)
}

func (w watched) Replace(ctx context.Context, rec Authorization) (Authorization, error) {
	defer w.m.unknown.forget(rec.TokenHash)
	defer w.m.validity.changed(store.Change{ID: rec.ID})
	return w.Store.Replace(ctx, rec)
}

func (w watched) Delete(ctx context.Context, owner string, id int64) error {
	defer w.m.validity.changed(store.Change{ID: id})
	return w.Store.Delete(ctx, owner, id)
}

func (w watched) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	c := store.Change{Owner: sel.Owner}
	if sel.Owner == nil {
		c.ClientID = sel.ClientID
	}
	defer w.m.validity.changed(c)
	return w.Store.DeleteAll(ctx, sel)
}

func (w watched) Suspend(ctx context.Context, owner string, at time.Time) error {
	defer w.m.validity.changed(store.Change{Owner: &owner})
	return w.Store.Suspend(ctx, owner, at)
}

func (w watched) Resume(ctx context.Context, owner string) error {
	defer w.m.validity.changed(store.Change{Owner: &owner})
	return w.Store.Resume(ctx, owner)
}

func (w watched) CreateApp(ctx context.Context, app App) (App, error) {
	return w.apps.CreateApp(ctx, app)
}

func (w watched) App(ctx context.Context, clientID string) (App, error) {
	return w.apps.App(ctx, clientID)
}

func (w watched) ListApps(ctx context.Context, after int64, limit int) ([]App, error) {
	return w.apps.ListApps(ctx, after, limit)
}

func (w watched) ReplaceApp(ctx context.Context, app App) (App, error) {
	defer w.m.validity.changed(store.Change{ClientID: &app.ClientID})
	return w.apps.ReplaceApp(ctx, app)
}

func (w watched) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	defer w.m.validity.changed(store.Change{ClientID: &clientID})
	return w.apps.DeleteApp(ctx, clientID)
}
