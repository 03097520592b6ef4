package account

import "context"

// Backend is where a [Directory] keeps its users: [Memory], [SQLite] or
// [Postgres]. Several directories over one Backend share their users, as
// several processes on one database do.
//
// Its methods are not exported: the rules between them are too easy to break.
// A host with users of its own implements [authz.Authenticator] instead.
type Backend interface {
	// Every method is atomic, and may be repeated with the same arguments when
	// its outcome is unknown. Those with an id return store.ErrNotFound if
	// there is no such user.

	migrate(ctx context.Context) error
	check(ctx context.Context) error

	// insert stores a new user. The password hash, whose salt is new, tells it
	// its own row from another's: that is a *store.ConflictError.
	insert(ctx context.Context, r record) (record, error)
	byID(ctx context.Context, id int64) (record, error)
	list(ctx context.Context, after int64, limit int) ([]record, error)
	setDisabled(ctx context.Context, id, disabledAt, now int64) error
	setPassword(ctx context.Context, id int64, phc string, now int64) error
	// rehash replaces one hash of a password by another hash of the same.
	rehash(ctx context.Context, id int64, old, phc string) error

	setPending(ctx context.Context, id int64, sealed string, now int64) error
	// confirm makes the pending seed the seed, if it is still the pending one.
	confirm(ctx context.Context, c confirmation) (done bool, err error)
	setSeed(ctx context.Context, id int64, sealed string, now int64) error
	removeOTP(ctx context.Context, id, now int64) error
	setRecovery(ctx context.Context, id int64, hashes []string, now int64) error
	// reseal replaces one seal by another seal of the same seed.
	reseal(ctx context.Context, id int64, old, sealed string) error

	// look finds the user with this key, and the failures of the user or, if
	// there is none, of the subject nobody.
	look(ctx context.Context, key, nobody string) (sight, error)
	// admit uses up the code of a login, unless the user is locked or was
	// changed, and forgets the failures.
	admit(ctx context.Context, a admission) (v verdict, lockedUntil int64, err error)
	// fail counts a failure by tally.add.
	fail(ctx context.Context, f failure) error
	forget(ctx context.Context, subject string) error
	// sweep removes tallies whose last failure is not after before, and whose
	// lock, if any, ended by now.
	sweep(ctx context.Context, before, now int64) error
}

// confirmation is a successful ConfirmOTP.
type confirmation struct {
	id       int64
	pending  string
	step     int64 // of the code that confirmed it, used up
	request  string
	recovery []string
	now      int64
}
