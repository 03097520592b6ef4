// Package store is the contract between an [authz.Manager] and the place where
// its records live.
//
// Three implementations come with the module: store/memory, store/sqlite and
// store/postgres. Package store/storetest holds the same contract as a test
// suite, so a backend of your own is right when storetest.Run passes for it.
//
// # Rules for every implementation
//
// The words must, must not and may are used as in RFC 2119.
//
// A Store must be safe for use by many goroutines, and, if its data is shared
// by several processes, by all of them at once.
//
// Records go in and come out by value. A Store must not keep or hand out
// memory that a caller can change: slices are copied on the way in and on the
// way out.
//
// Strings are valid UTF-8 without U+0000, those of a [Key] at most 255
// characters long. They are compared byte for byte: no case folding, no
// trimming, no Unicode normalisation. The empty string is a value like any
// other.
//
// Times are kept to the microsecond and come back in UTC. The zero time means
// "never" and must come back as the zero time. A Store must not read a clock:
// the only time it knows is the one in its arguments.
//
// Methods return nil, an error that wraps [ErrNotFound] or [ErrConflict] where
// the method's text says so, or any other error, which callers treat as
// "storage is unavailable, the outcome is unknown". After such an error the
// caller may repeat the call with the same arguments, and the repeat must
// behave as if the failed call and the repeat were one; only a repeat of Delete
// or DeleteApp may return ErrNotFound. Errors must not hold token hashes, secret
// hashes or parameters of statements.
//
// A nil error means that the change is as durable as the Store makes it: no
// acknowledged change may be lost by a later crash of the process. A call whose
// context is done before it begins changes nothing and returns an error that
// wraps the context's. Every call must return soon after its context is done; a
// call that had begun to write may still take effect then.
//
// [authz.Manager]: https://pkg.go.dev/github.com/seed-926035fd/authz#Manager
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Store is everything that a Manager needs from a backend.
type Store interface {
	Authorizations
	Apps
}

// Authorizations keeps authorization records.
//
// At any time there is at most one record for a [Key], and at most one for a
// TokenHash; a TokenHash that another record has is an error that is neither
// ErrNotFound nor ErrConflict, for it cannot happen by chance.
type Authorizations interface {
	// GetOrCreate returns the record with the candidate's Key, storing the
	// candidate first if there is none. A record that has expired at
	// candidate.CreatedAt counts as none, unless it has the candidate's
	// TokenHash: it is removed and the candidate stored in one step, under a
	// new ID.
	//
	// However many callers race, in any number of processes, exactly one of
	// them sees created == true and all see the same ID, until that record is
	// deleted or expires. created means that the record returned is the
	// candidate of this call: a Store that repeats a statement whose answer
	// was lost must compare TokenHash, so that a caller never hears "existing"
	// of the record it has just made.
	//
	// An existing record is returned unchanged. The Store sets ID and
	// Revision; what the candidate holds there is ignored. IDs are greater
	// than zero, rise from call to call (calls that overlap may get them in
	// either order), and are never used again, deleted or not.
	GetOrCreate(ctx context.Context, candidate Authorization) (rec Authorization, created bool, err error)

	// Get returns the record with this ID if it belongs to owner, else
	// ErrNotFound. Expired records are returned like others.
	Get(ctx context.Context, owner string, id int64) (Authorization, error)

	// GetByTokenHash returns the record with this token hash, else
	// ErrNotFound. Expired records are returned like others.
	GetByTokenHash(ctx context.Context, hash Hash) (Authorization, error)

	// List returns the records that match q, in rising order of ID; a page
	// shorter than q.Limit is the last. A record
	// that exists during the whole of a walk through several pages appears in
	// it exactly once, whatever is created or deleted meanwhile.
	List(ctx context.Context, q Query) ([]Authorization, error)

	// Replace stores rec in the place of the record with its ID, Owner and
	// Revision, raises Revision by one and returns what is now stored. Owner,
	// ClientID, ID and CreatedAt of a record never change: a Store takes them
	// from the stored record.
	//
	// It returns ErrNotFound if owner has no record with that ID, and
	// ErrConflict if its Revision is another one; a *ConflictError with Field
	// "fingerprint" if another record has the same Key.
	// A repeat of a call that has taken effect already, with its answer lost,
	// returns the stored record and no error.
	Replace(ctx context.Context, rec Authorization) (Authorization, error)

	// Delete removes the record with this ID if it belongs to owner, else it
	// returns ErrNotFound.
	Delete(ctx context.Context, owner string, id int64) error
}

// Apps keeps registered OAuth apps. A host that has a table of apps already
// can implement this interface alone and set it in the Manager's Config.
type Apps interface {
	// CreateApp stores app and returns it with its ID and Revision. It returns
	// a *ConflictError with Field "client_id" if the client_id is taken, also
	// by an app that was deleted: a client_id is never used again. A repeat of
	// a call that has taken effect already, with its answer lost, returns the
	// stored app and no error.
	CreateApp(ctx context.Context, app App) (App, error)

	// App returns the app with this client_id, else ErrNotFound.
	App(ctx context.Context, clientID string) (App, error)

	// ListApps returns apps in rising order of ID, beginning after the ID
	// after, at most limit of them (limit > 0).
	ListApps(ctx context.Context, after int64, limit int) ([]App, error)

	// ReplaceApp stores app in the place of the app with its ClientID and
	// Revision, raises Revision by one and returns what is now stored. ID and
	// CreatedAt never change. It returns ErrNotFound if there is no such app
	// and ErrConflict if its Revision is another one. A repeat of a call that
	// has taken effect already, with its answer lost, returns the stored app
	// and no error.
	ReplaceApp(ctx context.Context, app App) (App, error)

	// DeleteApp removes the app and all authorizations with its client_id in
	// one step, and returns how many authorizations went. It returns
	// ErrNotFound if there is no such app. An authorization whose creation
	// races with DeleteApp may stay behind; callers treat an authorization
	// without its app as dead, and since the client_id stays taken it can
	// never come back to life.
	DeleteApp(ctx context.Context, clientID string) (authorizations int64, err error)
}

// Key identifies an authorization for get-or-create: one user, one app, one
// fingerprint. It is compared byte for byte. Fingerprint "" is a key of its own.
type Key struct {
	Owner       string
	ClientID    string
	Fingerprint string
}

// Authorization is one token's record. It never holds the token.
type Authorization struct {
	// ID is set by the Store: > 0, rising, never used again.
	ID int64
	// Revision is set by the Store: 1 when stored first, one more at each
	// Replace. It is the compare value of Replace.
	Revision int64

	// Key says whose authorization it is, for which app, under which
	// fingerprint.
	Key

	// Scopes are RFC 6749 scope-tokens, in the order they were asked for. Nil
	// and empty are the same.
	Scopes []string
	// Note and NoteURL are reminders for people.
	Note    string
	NoteURL string

	// TokenHash is the SHA-256 of the whole token.
	TokenHash Hash
	// TokenLastEight is the last 8 characters of the token.
	TokenLastEight string

	CreatedAt time.Time
	UpdatedAt time.Time
	// ExpiresAt is the first instant at which the token is dead. The zero time
	// means never.
	ExpiresAt time.Time
}

// Expired reports whether the authorization is dead at now.
func (a Authorization) Expired(now time.Time) bool {
	return !a.ExpiresAt.IsZero() && !now.Before(a.ExpiresAt)
}

// App is a registered OAuth app.
type App struct {
	// ID is set by the Store: > 0, rising, never used again. It orders lists;
	// everything else refers to an app by ClientID.
	ID int64
	// Revision is set by the Store, as in [Authorization].
	Revision int64

	ClientID string
	Name     string
	URL      string

	// Secrets are the client secrets that are known, oldest first. Several can
	// be live at once, so that a secret can be rotated without a gap.
	Secrets []AppSecret

	CreatedAt time.Time
	UpdatedAt time.Time
}

// AppSecret is a client secret of an app, hashed.
type AppSecret struct {
	Hash      Hash
	CreatedAt time.Time
	// ExpiresAt is the first instant at which the secret is dead. The zero
	// time means never.
	ExpiresAt time.Time
}

// Live reports whether the secret can be used at now.
func (s AppSecret) Live(now time.Time) bool {
	return s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt)
}

// Query selects authorizations for List.
type Query struct {
	// Owner selects one user's records. It is compared even when it is "".
	Owner string
	// ClientID selects one app's records; nil selects all.
	ClientID *string
	// After selects records with a greater ID.
	After int64
	// Limit is the most records to return, > 0.
	Limit int
}

// Hash is a SHA-256. It is an array so that records can be compared and copied.
type Hash [sha256.Size]byte

// HashOf returns the SHA-256 of a token or client secret.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// Hex returns the hash in lower-case hexadecimal, as `hashed_token` on the wire.
func (h Hash) Hex() string { return hex.EncodeToString(h[:]) }

// String hides the hash, so that a record can be printed without handing out
// something to search a stolen database for. Hex gives it.
func (h Hash) String() string {
	if h == (Hash{}) {
		return "[none]"
	}
	return "[hash]"
}
