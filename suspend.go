package authz

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// To suspend is to put to sleep: tokens are dead from when it returns until it is
// ended, and then go on as before. [Manager.RevokeAll] is for ever.

// SuspendUser suspends all tokens of a user, those that are made meanwhile
// included. Call it where the host disables an account. To suspend a user again
// changes nothing. Errors: [*ValidationError]; anything else is the store's.
func (m *Manager) SuspendUser(ctx context.Context, owner string) error {
	return m.suspendUser(ctx, owner, EventSuspended, func() error { return m.store.Suspend(ctx, owner, m.now()) })
}

// ResumeUser ends what SuspendUser has begun, and changes nothing for a user who
// is not suspended. Errors as of SuspendUser.
func (m *Manager) ResumeUser(ctx context.Context, owner string) error {
	return m.suspendUser(ctx, owner, EventResumed, func() error { return m.store.Resume(ctx, owner) })
}

// suspendUser changes it whatever it was: what was read is for the event alone.
func (m *Manager) suspendUser(ctx context.Context, owner string, kind EventKind, change func() error) error {
	since, err := m.UserSuspended(ctx, owner)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return fmt.Errorf("authz: user %s: %w", kind, err)
	}
	if since.IsZero() == (kind == EventSuspended) {
		m.cfg.event(ctx, Event{Kind: kind, Owner: owner})
	}
	return nil
}

// UserSuspended returns since when a user's tokens are suspended, the zero time
// if they are not. Errors as of SuspendUser.
func (m *Manager) UserSuspended(ctx context.Context, owner string) (time.Time, error) {
	if err := ownerError(owner); err != nil {
		return time.Time{}, err
	}
	at, err := m.store.Suspended(ctx, owner)
	if err != nil {
		return time.Time{}, fmt.Errorf("authz: user suspended: %w", err)
	}
	return at, nil
}

// SuspendApp suspends an app: its tokens are dead, and its client_id and
// client_secret are refused as wrong ones are. To suspend an app again changes
// nothing. Errors: [ErrNotFound]; anything else is the store's.
func (m *Manager) SuspendApp(ctx context.Context, clientID string) (App, error) {
	return m.suspendApp(ctx, clientID, EventSuspended)
}

// ResumeApp ends what SuspendApp has begun. Errors as of SuspendApp.
func (m *Manager) ResumeApp(ctx context.Context, clientID string) (App, error) {
	return m.suspendApp(ctx, clientID, EventResumed)
}

func (m *Manager) suspendApp(ctx context.Context, clientID string, kind EventKind) (App, error) {
	app, err := m.App(ctx, clientID)
	if err != nil || app.SuspendedAt.IsZero() == (kind == EventResumed) {
		m.validity.changed(store.Change{ClientID: &clientID}) // another process was faster, and we have not heard of it yet
		return app, err
	}
	app, err = m.changeApp(ctx, clientID, func(app *App) {
		switch {
		case kind == EventResumed:
			app.SuspendedAt = time.Time{}
		case app.SuspendedAt.IsZero():
			app.SuspendedAt = app.UpdatedAt
		}
	})
	if err == nil {
		m.cfg.event(ctx, Event{Kind: kind, ClientID: clientID})
	}
	return app, err
}

func ownerError(owner string) error {
	var p problems
	p.owner(owner)
	return p.err()
}
