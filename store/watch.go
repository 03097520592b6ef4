package store

import (
	"context"
	"time"
)

// Watcher is a Store that tells of changes, whoever has made them: another
// process, another version, a person at the database's own prompt. It is an
// ability of its own: a Store can do without.
//
// A change is one that can make a token that was alive dead, or one that was
// dead alive again, or change what an authorization says: a Replace, a removal,
// a suspension or its end, an app that is replaced or removed. New
// authorizations, Touch and WipeReplays are none.
type Watcher interface {
	// Watch tells o of all changes that are committed from its first call of
	// o.Changed on, until ctx ends or it can hear no more; it returns why. Its
	// first call is Changed with the zero Change, since what happened before is
	// not known. It calls o's methods one at a time, and must not be held up by
	// them. An error that wraps errors.ErrUnsupported will come again.
	//
	// Several Watches may run at once.
	Watch(ctx context.Context, o Observer) error
}

// Observer hears of changes. Its methods return at once.
type Observer interface {
	// Changed says what has changed.
	Changed(Change)
	// Current says that Changed was called for all changes that were committed
	// before asOf, which has a monotonic reading. Watch calls it several times
	// a second: where it falls silent, changes may be going unheard.
	Current(asOf time.Time)
}

// Change says what has changed: one field is set. The zero Change means that
// anything may have.
type Change struct {
	ID       int64   // an authorization
	Owner    *string // all authorizations of one owner
	ClientID *string // an app, and all authorizations for it
}
