// Package cache keeps verified tokens in memory for an [authz.Manager]:
//
//	m, err := authz.New(s, authz.Config{Cache: cache.New(100_000)})
//	…
//	err = m.Start(ctx)
//	defer m.Close(ctx)
//
// What may be answered from it, and for how long, is the Manager's business
// alone; see [authz.Config]. A Cache of another library is a dozen lines:
// [authz.Cache] has three methods.
package cache

import (
	"github.com/maypok86/otter/v2"

	"github.com/seed-926035fd/authz"
)

// DefaultSize is the number of tokens that New(0) keeps.
const DefaultSize = 100_000

// Cache is an [authz.Cache] of bounded size: it forgets what is used least
// (W-TinyLFU), and a hit costs no allocation. It is safe for use by many
// goroutines. One Cache belongs to one Manager.
type Cache struct {
	size  int
	otter *otter.Cache[uint64, *authz.CacheEntry]
}

var _ authz.Cache = (*Cache)(nil)

// New returns a Cache of at most size tokens, or [DefaultSize] if size is not
// positive. A token costs some 700 bytes, its record included; they are taken
// when they are needed.
func New(size int) *Cache {
	if size <= 0 {
		size = DefaultSize
	}
	return &Cache{size, otter.Must(&otter.Options[uint64, *authz.CacheEntry]{MaximumSize: size})}
}

// Get implements [authz.Cache].
func (c *Cache) Get(key uint64) (*authz.CacheEntry, bool) { return c.otter.GetIfPresent(key) }

// Set implements [authz.Cache].
func (c *Cache) Set(key uint64, e *authz.CacheEntry) { c.otter.Set(key, e) }

// Size implements [authz.Cache].
func (c *Cache) Size() int { return c.size }
