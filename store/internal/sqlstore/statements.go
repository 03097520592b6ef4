package sqlstore

// statement is the index of a statement in texts.
type statement int

const (
	getByKey statement = iota
	insertOrGet
	getByID
	getByHash
	listByOwner
	listByOwnerAndClient
	replace
	insertApp
	getApp
	listApps
	replaceApp
	statements
)

const (
	authorizationColumns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at`
	appColumns           = `id, revision, client_id, name, url, secrets, created_at, updated_at, deleted`
)

// texts are the statements that both databases run as they are.
var texts = [statements]string{
	getByKey: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = $1 AND client_id = $2 AND fingerprint = $3`,

	// The heart of get-or-create: one statement that inserts, or locks and
	// returns the row in the way. DO NOTHING would return no row, and a
	// second SELECT beside it can miss the row of a transaction that
	// committed in between.
	insertOrGet: `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (owner, client_id, fingerprint) DO UPDATE SET owner = excluded.owner
RETURNING ` + authorizationColumns,

	getByID: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE id = $1 AND owner = $2`,

	getByHash: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE token_hash = $1`,

	listByOwner: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3`,

	listByOwnerAndClient: `SELECT ` + authorizationColumns + ` FROM authz_authorizations
WHERE owner = $1 AND id > $2 AND client_id = $4 ORDER BY id LIMIT $3`,

	replace: `UPDATE authz_authorizations SET revision = revision + 1,
	fingerprint = $4, scopes = $5, note = $6, note_url = $7, token_hash = $8, token_last_eight = $9, updated_at = $10, expires_at = $11
WHERE id = $1 AND owner = $2 AND revision = $3
RETURNING ` + authorizationColumns,

	insertApp: `INSERT INTO authz_apps (revision, client_id, name, url, secrets, created_at, updated_at, deleted)
VALUES (1, $1, $2, $3, $4, $5, $6, 0)
ON CONFLICT (client_id) DO UPDATE SET client_id = excluded.client_id
RETURNING ` + appColumns,

	getApp: `SELECT ` + appColumns + ` FROM authz_apps
WHERE client_id = $1 AND deleted = 0`,

	listApps: `SELECT ` + appColumns + ` FROM authz_apps
WHERE id > $1 AND deleted = 0 ORDER BY id LIMIT $2`,

	replaceApp: `UPDATE authz_apps SET revision = revision + 1, name = $3, url = $4, secrets = $5, updated_at = $6
WHERE client_id = $1 AND revision = $2 AND deleted = 0
RETURNING ` + appColumns,
}

// Statements for a pinned connection: they are rare, and must not be repeated
// behind our back.
const (
	deleteByID = `DELETE FROM authz_authorizations WHERE id = $1 AND owner = $2`

	deleteRevision = `DELETE FROM authz_authorizations WHERE id = $1 AND revision = $2`

	deleteByClient = `DELETE FROM authz_authorizations
WHERE id IN (SELECT id FROM authz_authorizations WHERE client_id = $1 LIMIT $2)`
	deleteAtOnce = 1000

	// The row stays, so that the client_id stays taken.
	deleteApp = `UPDATE authz_apps SET revision = revision + 1, deleted = 1, secrets = '[]' WHERE client_id = $1 AND deleted = 0`
)
