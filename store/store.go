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
// Strings are valid UTF-8 without U+0000, those of a [Key] and the note of a
// personal authorization at most 255 characters long. The ClientID of an app is
// not empty. They are compared byte for byte: no case folding, no
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
// or DeleteApp may return ErrNotFound, and a repeat of DeleteAll, WipeReplays or
// Purge a smaller number. Errors must not hold token hashes, secret hashes or
// parameters of statements.
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
// At any time these values are unique:
//
//   - a Key whose Fingerprint is not empty. Several records may have one Key
//     with an empty Fingerprint: Create makes them.
//   - the Note of an owner's personal records, those whose ClientID is empty.
//   - Replay.ID, where a record has one.
//   - TokenHash. One that another record has is an error that is neither
//     ErrNotFound nor ErrConflict, for it cannot happen by chance.
//
// A method that would break one of the first three returns a *ConflictError
// with Field "fingerprint", "note" or "idempotency_key" and the ID of the record
// in the way; "idempotency_key" first, if there are several. A record in the way of a Key or Note that has expired at the time
// of the change, which is CreatedAt of a candidate and UpdatedAt in Replace,
// counts as none and is removed.
type Authorizations interface {
	// GetOrCreate returns the record with the candidate's Key, storing the
	// candidate first if there is none. If there are several, it returns the
	// one with the smallest ID. A record that has expired at
	// candidate.CreatedAt counts as none, unless it has the candidate's
	// TokenHash.
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

	// Create stores the candidate as a new record and returns it, or a
	// *ConflictError. A repeat of a call that has taken effect already, with
	// its answer lost, returns the stored record and no error.
	Create(ctx context.Context, candidate Authorization) (Authorization, error)

	// Get returns the record with this ID if it belongs to owner, else
	// ErrNotFound. Expired records are returned like others.
	Get(ctx context.Context, owner string, id int64) (Authorization, error)

	// GetByTokenHash returns the record with this token hash, else
	// ErrNotFound. Expired records are returned like others.
	GetByTokenHash(ctx context.Context, hash Hash) (Authorization, error)

	// GetByReplay returns the record whose Replay has this ID, else
	// ErrNotFound. The zero Hash is nobody's.
	GetByReplay(ctx context.Context, id Hash) (Authorization, error)

	// Lookup is GetByTokenHash that also returns what stands beside the record,
	// all as of one moment. It is the read of every verification: one round trip.
	Lookup(ctx context.Context, hash Hash) (Authorization, Standing, error)

	// List returns the records that match q, in rising order of ID; a page
	// shorter than q.Limit is the last. A record that exists during the whole
	// of a walk by After through several pages appears in it exactly once,
	// whatever is created or deleted meanwhile.
	List(ctx context.Context, q Query) ([]Authorization, error)

	// Count returns how many records sel selects.
	Count(ctx context.Context, sel Selection) (int64, error)

	// Replace stores rec in the place of the record with its ID, Owner and
	// Revision, raises Revision by one and returns what is now stored. Owner,
	// ClientID, ID and CreatedAt of a record never change, and LastUsedAt is
	// Touch's: a Store takes them from the stored record.
	//
	// ExpiresAt becomes what rec says, even where a Touch has raised it since
	// rec was read, for that changes no Revision: a caller who leaves it as it
	// was takes that rise back, and the next Touch makes up for it.
	//
	// It returns ErrNotFound if owner has no record with that ID, and
	// ErrConflict if its Revision is another one; a *ConflictError if another
	// record is in the way. A repeat of a call that has taken effect already,
	// with its answer lost, returns the stored record and no error, also if a
	// Touch came in between.
	Replace(ctx context.Context, rec Authorization) (Authorization, error)

	// Delete removes the record with this ID if it belongs to owner, else it
	// returns ErrNotFound.
	Delete(ctx context.Context, owner string, id int64) error

	// DeleteAll removes the records that sel selects, in one step, and returns
	// how many went. It returns an error, and removes nothing, if sel has
	// neither Owner nor ClientID nor TokenHash.
	DeleteAll(ctx context.Context, sel Selection) (int64, error)

	// WipeReplays removes the Replay of all records where its ExpiresAt is not
	// after now, and returns how many it has removed. Revisions stay.
	WipeReplays(ctx context.Context, now time.Time) (int64, error)

	// Touch stores that tokens were used. It raises LastUsedAt of each record
	// named to the Use's At, if that is later. Where it does, the record has an
	// IdleTimeout and an ExpiresAt, and had not expired at At, it also raises
	// ExpiresAt to At + IdleTimeout, at most to EndsAt; it never lowers it.
	// Revision and UpdatedAt stay. Records that are not there are left out,
	// without an error. No two uses have one ID, and there can be thousands.
	//
	// All of it is one step where the Store has such. The order does not
	// matter, and Touches that race leave the latest time.
	Touch(ctx context.Context, uses []Use) error

	// Suspend makes Lookup say Suspended for all records of the owner, those
	// that will be made included, until Resume. Resume ends it. To suspend
	// who is suspended, or resume who is not, changes nothing and is no error.
	// An owner needs no records for it, and DeleteAll does not end it. at is
	// not the zero time.
	Suspend(ctx context.Context, owner string, at time.Time) error
	Resume(ctx context.Context, owner string) error

	// Suspended returns when the owner was suspended, the zero time if they are
	// not.
	Suspended(ctx context.Context, owner string) (time.Time, error)
}

// Housekeeper is a Store that finds and removes what time has passed by. It is
// an ability of its own: a Store can do without.
type Housekeeper interface {
	// Purge removes at most limit (> 0) records whose ExpiresAt is not after
	// before, the longest expired first, and returns how many went. It is meant
	// to be called again until it returns less than limit. It may leave out
	// records that another call is changing or removing at that moment.
	Purge(ctx context.Context, before time.Time, limit int) (int64, error)

	// Expiring returns the records of all owners whose ExpiresAt is after from
	// and not after to, in the order of (ExpiresAt, ID), beginning behind the
	// position after (the zero Position is before all), at most limit (> 0) of
	// them.
	Expiring(ctx context.Context, from, to time.Time, after Position, limit int) ([]Authorization, error)

	// Unused returns the records of all owners that were made before since, were
	// not used from since on (LastUsedAt), and have not expired at liveAt, in
	// rising order of ID, beginning after the ID after. It looks at a bounded
	// number of records in each call, and returns at most limit (> 0): next is
	// the after of the next call, 0 at the end. A page can be empty though there
	// is a next one.
	Unused(ctx context.Context, since, liveAt time.Time, after int64, limit int) (page []Authorization, next int64, err error)
}

// Position is a place in the order of Housekeeper.Expiring.
type Position struct {
	ExpiresAt time.Time
	ID        int64
}

// Use says when a token was used.
type Use struct {
	ID int64 // of the authorization
	At time.Time
}

// Standing is what stands beside an authorization.
type Standing struct {
	// App says that its ClientID is that of an app in this Store. It is false
	// for personal authorizations.
	App bool
	// Suspended says that its owner or its app is suspended.
	Suspended bool
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
// ClientID "" is that of personal authorizations, which belong to no app.
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
	// IssuedAt is when the token was made: CreatedAt, or when it was replaced
	// last.
	IssuedAt time.Time

	// Replay lets the client whose answer was lost have the token again, for a
	// short time.
	Replay Replay

	CreatedAt time.Time
	UpdatedAt time.Time
	// ExpiresAt is the first instant at which the token is dead. The zero time
	// means never.
	ExpiresAt time.Time
	// IdleTimeout is how long the token lives without being used, in whole
	// microseconds, >= 0; 0 is for ever. Touch moves ExpiresAt by it, never
	// beyond EndsAt (the zero time: no bound).
	IdleTimeout time.Duration
	EndsAt      time.Time

	// LastUsedAt is the latest time that Touch has told; the zero time is
	// never. Only Touch changes it: what candidates and Replace hold there is
	// ignored.
	LastUsedAt time.Time
}

// Expired reports whether the authorization is dead at now.
func (a Authorization) Expired(now time.Time) bool {
	return !a.ExpiresAt.IsZero() && !now.Before(a.ExpiresAt)
}

// Replay keeps the answer to a request that came with an Idempotency-Key. The
// zero Replay is none.
type Replay struct {
	// ID is derived from the key and from who sent it. It is unique.
	ID Hash
	// Seal holds a keyed hash of the request and, until the token is used, the
	// token, encrypted; both under keys that are derived from the Idempotency-Key
	// and kept nowhere. A Store knows nothing of it: at most 1024 bytes; nil and
	// empty are the same.
	Seal []byte
	// ExpiresAt is the first instant at which WipeReplays removes it; until then
	// it is found and in the way. It is not zero if there is an ID.
	ExpiresAt time.Time
}

// IsZero reports whether there is no Replay.
func (r Replay) IsZero() bool { return r.ID == (Hash{}) }

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

	// SuspendedAt is when the app was suspended: its tokens are dead until it
	// is not any more. The zero time: it is not.
	SuspendedAt time.Time

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

// Selection selects authorizations. All that is set must match.
type Selection struct {
	// Owner selects one user's records, "" included; nil selects all.
	Owner *string
	// ClientID selects one app's records, and with "" the personal ones; nil
	// selects all.
	ClientID *string
	// TokenHash selects the record of one token; nil selects all.
	TokenHash *Hash
	// LiveAt selects records that have not expired at this time; the zero time
	// selects all.
	LiveAt time.Time
}

// Query selects authorizations for List.
type Query struct {
	// Owner selects one user's records. It is compared even when it is "".
	Owner string
	// ClientID selects one app's records, and with "" the personal ones; nil
	// selects all.
	ClientID *string
	// LiveAt selects records that have not expired at this time; the zero time
	// selects all.
	LiveAt time.Time
	// After selects records with a greater ID.
	After int64
	// Skip leaves out that many of the selected records, >= 0. It is for pages
	// by number; a walk goes by After.
	Skip int
	// Limit is the most records to return, > 0.
	Limit int
}

// Hash is a SHA-256. It is an array so that records can be compared and copied.
type Hash [sha256.Size]byte

// HashOf returns the SHA-256 of a token or client secret.
func HashOf(secret string) Hash {
	var text [64]byte // for most of them: as a []byte of its own it would go to the heap
	return sha256.Sum256(append(text[:0], secret...))
}

// Hex returns the hash in lower-case hexadecimal, as `hashed_token` on the wire.
func (h Hash) Hex() string {
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], h[:])
	return string(text[:])
}

// String hides the hash, so that a record can be printed without handing out
// something to search a stolen database for. Hex gives it.
func (h Hash) String() string {
	if h == (Hash{}) {
		return "[none]"
	}
	return "[hash]"
}
