package authz

import "context"

// EventKind says what happened to an authorization.
type EventKind string

// What can happen.
const (
	EventCreated EventKind = "created"
	EventRotated EventKind = "rotated" // a new token; the old one is dead
	EventUpdated EventKind = "updated" // other fields
	EventRevoked EventKind = "revoked"

	// All tokens of an owner or for an app are dead, and go on as before. Who was
	// suspended before is not told again, unless two did it at the same moment.
	EventSuspended EventKind = "suspended"
	EventResumed   EventKind = "resumed"
)

// ReasonLimit is the Reason of an authorization that was revoked because newer
// ones exceeded a limit of the [Config].
const ReasonLimit = "limit"

// Event is a change that was stored. It holds no secret.
type Event struct {
	Kind   EventKind
	Reason string // ReasonLimit, or "": somebody asked for it

	// Owner and ClientID are those of the authorizations. With ID 0, "" stands
	// for all owners or all apps, and ClientID [PersonalClientID] for personal
	// authorizations; else ClientID "" is that of a personal authorization.
	Owner    string
	ClientID string
	// ID is the authorization, 0 if many were revoked at once.
	ID int64
	// Count is how many authorizations it was, 0 for EventSuspended and
	// EventResumed: nobody counts those.
	Count int64
}

func (m *Manager) event(ctx context.Context, kind EventKind, rec Authorization) {
	m.cfg.event(ctx, Event{Kind: kind, Owner: rec.Owner, ClientID: rec.ClientID, ID: rec.ID, Count: 1})
}

func (cfg *Config) event(ctx context.Context, e Event) {
	if cfg.OnEvent != nil {
		cfg.OnEvent(ctx, e)
	}
}
