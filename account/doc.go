// Package account is a small directory of users, for hosts that have none of
// their own: logins, passwords, one-time passwords and a lock against
// guessing. It lives in the same database as the authorizations, or in memory.
//
//	users, err := account.New(account.SQLite(db), account.Config{Key: key})
//	…
//	err = users.Migrate(ctx)
//	mona, err := users.Create(ctx, account.NewUser{Login: "mona", Password: password})
//	…
//	authz.HandlerConfig{Authenticator: users.Authenticator(), Users: users.Lookup, …}
//
// The package opens no database and links no driver: [SQLite] and [Postgres]
// borrow a *sql.DB. It was written for modernc.org/sqlite and lib/pq; jackc/pgx
// is known by the same interfaces. [Memory] is for tests and demonstrations.
//
// # Users
//
// A user has an ID, greater than zero, rising, and never used again, and a
// login. Two logins are one if [strings.EqualFold] says so, which is Unicode's
// simple case folding: Mona, mona and MONA are one user. There is no
// normalisation beyond that: é as one character and é as e with an accent are
// two logins. A login has 1 to 255 bytes of valid UTF-8, all of them graphic
// characters but white space and ":" (which RFC 7617 uses as the separator).
//
// Users are disabled and not deleted, since the tokens that belong to their ID
// may outlive them. Neither disabling nor locking a user touches tokens that
// exist: a host that wants them gone must revoke them.
//
// # Passwords
//
// A password has at least [Config].MinPassword characters and at most 1024
// bytes, and no control characters. It is kept as an Argon2id hash (RFC 9106)
// in the PHC string format, and hashed again after a login when
// [Config].Argon2id has changed. One hash costs 19 MiB and some 20 to 30 ms of one
// core; at most [Config].MaxHashes are computed at once, others wait as long as
// their context lets them. So a login storm uses MaxHashes × 19 MiB at a time,
// and up to three times that in the heap, since the garbage collector comes a
// little later (measured: 58 MiB for 1, 115 for 2, 191 for 4; GOMEMLIMIT lowers
// it).
//
// # One-time passwords
//
// Codes are those of RFC 6238: SHA-1, six digits, 30 seconds. The code of one
// step before and after the current one is accepted as well. An accepted code
// is used up for all processes at once; so is every older one. Ten recovery
// codes of 160 random bits each stand in for a lost device, each of them once,
// in the same header.
//
// Seeds are sealed with AES-256-GCM under a key derived from [Config].Key,
// which must not lie in the database.
//
// # Locking
//
// After [Config].MaxFailures failures in a row, wrong passwords and wrong codes
// together, a user is locked for [Config].LockFor: every login is answered by
// *[authz.LockedError], with the right password too. The lock ends by itself. A
// successful login starts the count again, and so do LockFor without a failure.
// A missing code is no failure, and neither is a right code that was used
// before, since neither helps to guess one.
//
// The count belongs to the user, however the login is spelt, and is shared by
// all processes on one database. Logins that do not exist are counted and
// locked in the same way, so that a lock does not tell who exists. Those names
// are kept only as a hash, and not much longer than LockFor. People type passwords
// into the wrong field: with a Config.Key the hash is an HMAC under a key derived
// from it, and a stolen database tells nothing; without a Key it has no key, and
// hides only what cannot be guessed.
//
// A process checks at most MaxHashes guesses at once, and a guess ends only when
// its failure is stored. So at most MaxFailures - 1 + MaxHashes guesses are
// checked by one process before the lock holds, and MaxHashes more for each
// further process. A failure that cannot be stored
// is owed: until it is stored, the process checks no other guess for that user,
// so that a full disk does not give unlimited guesses.
//
// # Errors
//
// Errors of [Directory.Authenticate] are those that [authz.Authenticator]
// names. Everything else, such as storage that is away, begins with "account:"
// and wraps its cause. No error holds a login, password, code or seed.
package account
