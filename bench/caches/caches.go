package main

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	theine "github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/seed-926035fd/authz/store"
)

// cache is what a Manager needs of one. Records are pointers: a hit copies
// nothing.
type cache interface {
	get(store.Hash) *store.Authorization // nil if it is not there
	set(store.Hash, *store.Authorization)
	// settle waits until what was set is there, or refused. A miss costs a
	// statement, and a cache that works in the background is done by then.
	settle()
	// len is the number of entries, asked for after settle.
	len() int
	close()
}

// candidates are the libraries, and what they are measured against.
var candidates = []struct {
	name string
	// bounded is false for what never evicts: there is no hit rate to measure.
	bounded bool
	open    func(capacity int) (cache, error)
}{
	{"map + sync.RWMutex", false, func(n int) (cache, error) { return &plain{m: make(map[store.Hash]*store.Authorization, n)}, nil }},
	{"CLOCK, 64 shards, by hand", true, func(n int) (cache, error) { return newClock(n), nil }},
	{"otter", true, func(n int) (cache, error) {
		c, err := otter.New(&otter.Options[store.Hash, *store.Authorization]{MaximumSize: n})
		return otterCache{c}, err
	}},
	{"otter, TTL", true, func(n int) (cache, error) {
		c, err := otter.New(&otter.Options[store.Hash, *store.Authorization]{
			MaximumSize:      n,
			ExpiryCalculator: otter.ExpiryWriting[store.Hash, *store.Authorization](time.Hour),
		})
		return otterCache{c}, err
	}},
	{"theine", true, func(n int) (cache, error) {
		c, err := theine.NewBuilder[store.Hash, *store.Authorization](int64(n)).Build()
		return theineCache{c}, err
	}},
	{"ristretto", true, func(n int) (cache, error) { return newRistretto(n, 0) }},
	{"ristretto, TTL", true, func(n int) (cache, error) { return newRistretto(n, time.Hour) }},
	{"golang-lru", true, func(n int) (cache, error) {
		c, err := lru.New[store.Hash, *store.Authorization](n)
		return lruCache{c}, err
	}},
	{"golang-lru, 2Q", true, func(n int) (cache, error) {
		c, err := lru.New2Q[store.Hash, *store.Authorization](n)
		return twoQueueCache{c}, err
	}},
}

// plain is the floor: what a lookup costs at least.
type plain struct {
	mu sync.RWMutex
	m  map[store.Hash]*store.Authorization
}

func (c *plain) get(k store.Hash) *store.Authorization {
	c.mu.RLock()
	v := c.m[k]
	c.mu.RUnlock()
	return v
}

func (c *plain) set(k store.Hash, v *store.Authorization) {
	c.mu.Lock()
	c.m[k] = v
	c.mu.Unlock()
}

func (c *plain) settle()  {}
func (c *plain) len() int { return len(c.m) }
func (c *plain) close()   {}

// clock is about the least that evicts: a second chance for what was read
// since the hand came by last. It shows what a library costs, and gives.
type clock [64]clockShard

type clockShard struct {
	mu   sync.RWMutex
	m    map[store.Hash]*clockEntry
	ring []*clockEntry
	hand int
	_    [64]byte // no two shards on one cache line
}

type clockEntry struct {
	key  store.Hash
	v    *store.Authorization
	used atomic.Bool
}

func newClock(n int) *clock {
	c := new(clock)
	for i := range c {
		c[i].m = make(map[store.Hash]*clockEntry, n/len(c))
		c[i].ring = make([]*clockEntry, 0, max(1, n/len(c)))
	}
	return c
}

func (c *clock) get(k store.Hash) *store.Authorization {
	s := &c[k[0]%64]
	s.mu.RLock()
	e := s.m[k]
	s.mu.RUnlock()
	if e == nil {
		return nil
	}
	if !e.used.Load() { // a store to a line that others read costs them a miss
		e.used.Store(true)
	}
	return e.v
}

func (c *clock) set(k store.Hash, v *store.Authorization) {
	s := &c[k[0]%64]
	e := &clockEntry{key: k, v: v}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[k] != nil {
		return
	}
	s.m[k] = e
	if len(s.ring) < cap(s.ring) {
		s.ring = append(s.ring, e)
		return
	}
	for s.ring[s.hand].used.Swap(false) {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	delete(s.m, s.ring[s.hand].key)
	s.ring[s.hand] = e
	s.hand = (s.hand + 1) % len(s.ring)
}

func (c *clock) settle() {}
func (c *clock) close()  {}

func (c *clock) len() int {
	n := 0
	for i := range c {
		n += len(c[i].m)
	}
	return n
}

type otterCache struct {
	c *otter.Cache[store.Hash, *store.Authorization]
}

func (c otterCache) get(k store.Hash) *store.Authorization {
	v, _ := c.c.GetIfPresent(k)
	return v
}
func (c otterCache) set(k store.Hash, v *store.Authorization) { c.c.Set(k, v) }
func (c otterCache) settle()                                  { c.c.CleanUp() }
func (c otterCache) len() int                                 { return c.c.EstimatedSize() }
func (c otterCache) close()                                   { c.c.StopAllGoroutines() }

type theineCache struct {
	c *theine.Cache[store.Hash, *store.Authorization]
}

func (c theineCache) get(k store.Hash) *store.Authorization {
	v, _ := c.c.Get(k)
	return v
}
func (c theineCache) set(k store.Hash, v *store.Authorization) { c.c.Set(k, v, 1) }
func (c theineCache) settle()                                  { c.c.Wait() }
func (c theineCache) len() int                                 { return c.c.Len() }
func (c theineCache) close()                                   { c.c.Close() }

// ristrettoCache has 8 of the key's bytes as the key: the keys it takes are
// strings, slices and integers, and a [32]byte made one would go to the heap.
// It keeps no keys, so that an answer has to be looked at: another record with
// the same 8 bytes is as good as a miss.
type ristrettoCache struct {
	c   *ristretto.Cache[uint64, *store.Authorization]
	ttl time.Duration
}

func newRistretto(n int, ttl time.Duration) (cache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *store.Authorization]{
		NumCounters: 10 * int64(n), MaxCost: int64(n), BufferItems: 64, IgnoreInternalCost: true,
	})
	return ristrettoCache{c, ttl}, err
}

func (c ristrettoCache) get(k store.Hash) *store.Authorization {
	v, ok := c.c.Get(binary.NativeEndian.Uint64(k[:]))
	if !ok || v.TokenHash != k {
		return nil
	}
	return v
}
func (c ristrettoCache) set(k store.Hash, v *store.Authorization) {
	c.c.SetWithTTL(binary.NativeEndian.Uint64(k[:]), v, 1, c.ttl)
}
func (c ristrettoCache) settle() { c.c.Wait() }
func (c ristrettoCache) len() int {
	n := 0
	c.c.IterValues(func(*store.Authorization) bool { n++; return false })
	return n
}
func (c ristrettoCache) close() { c.c.Close() }

type lruCache struct {
	c *lru.Cache[store.Hash, *store.Authorization]
}

func (c lruCache) get(k store.Hash) *store.Authorization {
	v, _ := c.c.Get(k)
	return v
}
func (c lruCache) set(k store.Hash, v *store.Authorization) { c.c.Add(k, v) }
func (c lruCache) settle()                                  {}
func (c lruCache) len() int                                 { return c.c.Len() }
func (c lruCache) close()                                   {}

type twoQueueCache struct {
	c *lru.TwoQueueCache[store.Hash, *store.Authorization]
}

func (c twoQueueCache) get(k store.Hash) *store.Authorization {
	v, _ := c.c.Get(k)
	return v
}
func (c twoQueueCache) set(k store.Hash, v *store.Authorization) { c.c.Add(k, v) }
func (c twoQueueCache) settle()                                  {}
func (c twoQueueCache) len() int                                 { return c.c.Len() }
func (c twoQueueCache) close()                                   {}
