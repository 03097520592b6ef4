package sqlstore

// statement is the index of a statement in texts.
type statement int

const (
	getByKey statement = iota
	oldestByKey
	insertOrGet
	insertOrNothing
	getFirstSlot
	insert
	insertOnly
	getByID
	getByHash
	lookup
	getByReplay
	getByNote
	listByOwner
	listByOwnerAndClient
	replace
	deleteByID
	insertApp
	getApp
	listApps
	replaceApp
	getSuspended
	statements
)

const (
	authorizationColumns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight,
	issued_at, replay_id, replay_seal, replay_expires_at, created_at, updated_at, expires_at, idle_timeout, ends_at, last_used_at`
	appColumns = `id, revision, client_id, name, url, secrets, suspended_at, created_at, updated_at, deleted`
)

// texts are the statements that both databases run as they are.
var texts = [statements]string{
	// The CASTs are for SQLite, here and below. It looks at the values of bare
	// parameters to see whether a partial index (that of notes) or the statistics
	// of ANALYZE help, or how small a LIMIT is, and then compiles the statement
	// anew for each execution: three times the work.
	getByKey: selectByKey + ` LIMIT 2`,

	// id * 1 keeps a planner from walking the primary key, or a user's rows by
	// their id + 0, in search of the first.
	oldestByKey: selectByKey + ` ORDER BY id * 1 LIMIT 1`,

	// The heart of get-or-create: one statement that inserts, or locks and
	// returns the row in the way. DO NOTHING would return no row, and a
	// second SELECT beside it can miss the row of a transaction that
	// committed in between.
	insertOrGet: insertAuthorization + `0)
ON CONFLICT (owner, client_id, fingerprint, slot) DO UPDATE SET owner = excluded.owner
RETURNING ` + authorizationColumns,

	// The same in two, where there is one writer.
	insertOrNothing: insertAuthorization + `0)
ON CONFLICT (owner, client_id, fingerprint, slot) DO NOTHING`,

	getFirstSlot: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = CAST($1 AS TEXT) AND client_id = CAST($2 AS TEXT) AND fingerprint = CAST($3 AS TEXT) AND slot = 0`,

	insert:     insertAuthorization + nextSlot + ` RETURNING ` + authorizationColumns,
	insertOnly: insertAuthorization + nextSlot,

	getByID: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE id = $1 AND owner = $2`,

	getByHash: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE token_hash = $1`,

	// Subqueries and not joins: no statistics can make a planner read a table of
	// these from end to end for them.
	lookup: `SELECT ` + authorizationColumns + standingColumns + `
FROM authz_authorizations a
WHERE token_hash = $1`,

	getByReplay: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE replay_id = $1`,

	getByNote: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = CAST($1 AS TEXT) AND note = CAST($2 AS TEXT) AND client_id = ''`,

	// There is an index for owner and id + 0. Under its own name a planner walks the
	// primary key or, by client_id, all that an app has, where most rows are other
	// users'.
	listByOwner: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = CAST($1 AS TEXT) AND id + 0 > $2 + CAST(0 AS BIGINT) AND (expires_at IS NULL OR expires_at > CAST($3 AS BIGINT)) ORDER BY id + 0 LIMIT CAST($4 AS BIGINT) OFFSET $5`,

	listByOwnerAndClient: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = CAST($1 AS TEXT) AND id + 0 > $2 + CAST(0 AS BIGINT) AND (expires_at IS NULL OR expires_at > CAST($3 AS BIGINT)) AND client_id || '' = $6 ORDER BY id + 0 LIMIT CAST($4 AS BIGINT) OFFSET $5`,

	replace: `UPDATE authz_authorizations SET revision = revision + 1,
	fingerprint = $4, scopes = $5, note = $6, note_url = $7, token_hash = $8, token_last_eight = $9,
	issued_at = $10, replay_id = $11, replay_seal = $12, replay_expires_at = $13, updated_at = $14, expires_at = $15,
	idle_timeout = $16, ends_at = $17,
	slot = CASE WHEN fingerprint = $4 THEN slot WHEN $4 = '' THEN (
		SELECT COALESCE(MAX(o.slot) + 1, 0) FROM authz_authorizations o
		WHERE o.owner = CAST($2 AS TEXT) AND o.client_id = authz_authorizations.client_id AND o.fingerprint = '') ELSE 0 END
WHERE id = $1 AND owner = $2 AND revision = $3
RETURNING ` + authorizationColumns,

	deleteByID: `DELETE FROM authz_authorizations WHERE id = $1 AND owner = $2`,

	insertApp: `INSERT INTO authz_apps (revision, client_id, name, url, secrets, suspended_at, created_at, updated_at, deleted)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, 0)
ON CONFLICT (client_id) DO UPDATE SET client_id = excluded.client_id
RETURNING ` + appColumns,

	getApp: `SELECT ` + appColumns + ` FROM authz_apps
WHERE client_id = $1 AND deleted = 0`,

	listApps: `SELECT ` + appColumns + ` FROM authz_apps
WHERE id > $1 AND deleted = 0 ORDER BY id LIMIT CAST($2 AS BIGINT)`,

	replaceApp: `UPDATE authz_apps SET revision = revision + 1, name = $3, url = $4, secrets = $5, suspended_at = $6, updated_at = $7
WHERE client_id = $1 AND revision = $2 AND deleted = 0
RETURNING ` + appColumns,

	getSuspended: `SELECT suspended_at FROM authz_suspended_owners WHERE owner = $1`,
}

const standingColumns = `,
	(SELECT CASE WHEN p.suspended_at IS NULL THEN 1 ELSE 2 END FROM authz_apps p WHERE p.client_id = a.client_id AND p.deleted = 0),
	(SELECT o.suspended_at FROM authz_suspended_owners o WHERE o.owner = a.owner)`

const selectByKey = `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = CAST($1 AS TEXT) AND client_id = CAST($2 AS TEXT) AND fingerprint = CAST($3 AS TEXT) AND (expires_at IS NULL OR expires_at > CAST($4 AS BIGINT))`

const nextSlot = `CASE WHEN $3 = '' THEN (
	SELECT COALESCE(MAX(slot) + 1, 0) FROM authz_authorizations
	WHERE owner = CAST($1 AS TEXT) AND client_id = CAST($2 AS TEXT) AND fingerprint = '') ELSE 0 END)`

// insertAuthorization lacks the slot, the last of its values.
const insertAuthorization = `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight,
	issued_at, replay_id, replay_seal, replay_expires_at, created_at, updated_at, expires_at, idle_timeout, ends_at, slot)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, `

// Statements that are rare. Those that count what they change run on a pinned
// connection: they must not be repeated behind our back.
const (
	// A use can have given it a new end, at the same revision.
	deleteExpired = `DELETE FROM authz_authorizations WHERE id = $1 AND revision = $2 AND expires_at <= $3`

	wipeReplays = `UPDATE authz_authorizations SET replay_id = NULL, replay_seal = NULL, replay_expires_at = NULL
WHERE replay_expires_at <= $1 AND id IN (SELECT id FROM authz_authorizations WHERE replay_expires_at <= $1 LIMIT 1000)`

	// %s are the uses. What changes nothing is not written, and a use that is
	// not later leaves both times alone.
	touch = `UPDATE authz_authorizations SET last_used_at = used_at, expires_at = CASE
	WHEN idle_timeout = 0 OR expires_at IS NULL OR expires_at <= used_at OR expires_at >= used_at + idle_timeout OR expires_at >= ends_at THEN expires_at
	WHEN ends_at < used_at + idle_timeout THEN ends_at
	ELSE used_at + idle_timeout END
FROM (%s) u WHERE id = used_id AND (last_used_at IS NULL OR last_used_at < used_at)`

	suspend = `INSERT INTO authz_suspended_owners (owner, suspended_at) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING`
	resume  = `DELETE FROM authz_suspended_owners WHERE owner = $1`

	// In a WITH, since a planner may run a subquery more than once, and each time
	// it would find others. %s keeps callers out of each other's way.
	purge = `WITH dead AS (SELECT id FROM authz_authorizations WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2 %s)
DELETE FROM authz_authorizations WHERE id IN (SELECT id FROM dead)`

	expiring = `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE expires_at <= $1 AND (expires_at, id) > ($2, $3) ORDER BY expires_at, id LIMIT $4`

	windowEnd = `SELECT id FROM authz_authorizations WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2`
	unused    = `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE id > $1 AND id <= $2 AND created_at < $3 AND (last_used_at IS NULL OR last_used_at < $3) AND (expires_at IS NULL OR expires_at > $4)
ORDER BY id LIMIT $5`

	// The row stays, so that the client_id stays taken.
	deleteApp = `UPDATE authz_apps SET revision = revision + 1, deleted = 1, secrets = '[]' WHERE client_id = $1 AND deleted = 0`
)

// A selection of authorizations follows these as a condition of its own.
const (
	countSelected = `SELECT COUNT(*) FROM authz_authorizations WHERE `

	idsSelected    = `SELECT id FROM authz_authorizations WHERE `
	deleteSelected = `DELETE FROM authz_authorizations WHERE `
	deleteAtOnce   = 1000
)
