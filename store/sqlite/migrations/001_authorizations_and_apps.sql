-- Times are microseconds since 1970 in UTC.
-- Text is compared byte for byte: BINARY is SQLite's default collation.
CREATE TABLE authz_authorizations (
	id               INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: an id is never used again
	revision         INTEGER NOT NULL,
	owner            TEXT    NOT NULL,
	client_id        TEXT    NOT NULL,
	fingerprint      TEXT    NOT NULL,
	scopes           TEXT    NOT NULL, -- RFC 6749 section 3.3: separated by spaces
	note             TEXT    NOT NULL,
	note_url         TEXT    NOT NULL,
	token_hash       BLOB    NOT NULL, -- SHA-256 of the token
	token_last_eight TEXT    NOT NULL,
	created_at       INTEGER NOT NULL,
	updated_at       INTEGER NOT NULL,
	expires_at       INTEGER -- NULL: never
);
CREATE UNIQUE INDEX authz_authorizations_key        ON authz_authorizations (owner, client_id, fingerprint);
CREATE UNIQUE INDEX authz_authorizations_token_hash ON authz_authorizations (token_hash);
CREATE INDEX        authz_authorizations_client_id  ON authz_authorizations (client_id);

CREATE TABLE authz_apps (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	revision   INTEGER NOT NULL,
	client_id  TEXT    NOT NULL UNIQUE,
	name       TEXT    NOT NULL,
	url        TEXT    NOT NULL,
	secrets    TEXT    NOT NULL, -- JSON array of {hash, created_at, expires_at}, oldest first
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	deleted    INTEGER NOT NULL  -- 1: the app is gone, its client_id stays taken
);
