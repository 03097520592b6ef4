package authz

import (
	"context"
	"fmt"
	"slices"
)

// appSets is the size of the front that keeps apps: four for each, in 128 KiB and
// what the apps themselves take. They are few with most hosts; where they are more,
// those in use displace each other. An app that nobody knows is not kept, so that
// made-up client_ids displace nothing.
const appSets = 1 << 11

// appEntry is what is known of an app.
type appEntry struct {
	app   App    // its Secrets are shared: see copy
	read  uint64 // the number of its read
	began int64  // when that did, in the Manager's nanoseconds
	seq   uint64 // of validity, from before the read
	slot  uint32
}

// copy is the app for somebody who may change it.
func (e *appEntry) copy() App {
	app := e.app
	app.Secrets = slices.Clone(app.Secrets)
	return app
}

// keepsApps reports whether apps may be answered for from memory.
func (m *Manager) keepsApps() bool { return !m.foreignApps && m.hearing(m.elapsed()) }

// app returns an app, from memory while changes are heard of. Errors as of App.
func (m *Manager) app(ctx context.Context, clientID string) (*appEntry, error) {
	switch {
	case !validClientID(clientID):
		return nil, fmt.Errorf("authz: app: %w", ErrNotFound)
	case !m.keepsApps():
		return m.readApp(ctx, clientID)
	}
	e := m.appFront.get(m.validity.appKey(clientID))
	if e != nil && e.app.ClientID == clientID && m.elapsed()-e.began < m.ttl.Load() && m.validity.appHolds(e) {
		return e, nil
	}
	e, err := m.appReads.get(ctx, clientID)
	if err != nil && ctx.Err() != nil { // it may have waited for another's read
		return nil, fmt.Errorf("authz: app: %w", err)
	}
	return e, err
}

// readApp reads an app from the store, and keeps it where others find it.
func (m *Manager) readApp(ctx context.Context, clientID string) (*appEntry, error) {
	e := &appEntry{read: m.appRead.Add(1), began: m.elapsed(), seq: m.validity.seq.Load(), slot: m.validity.appSlot(clientID)}
	var err error
	if e.app, err = m.App(ctx, clientID); err != nil {
		return nil, err
	}
	if m.keepsApps() {
		m.appFront.put(m.validity.appKey(clientID), e)
	}
	return e, nil
}
