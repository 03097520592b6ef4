CREATE TABLE authz_users (
	id              INTEGER PRIMARY KEY AUTOINCREMENT,
	login           TEXT    NOT NULL,
	login_key       TEXT    NOT NULL UNIQUE,
	password        TEXT    NOT NULL,
	credentials_rev INTEGER NOT NULL DEFAULT 1,
	otp_seed        TEXT    NOT NULL DEFAULT '',
	otp_pending     TEXT    NOT NULL DEFAULT '',
	otp_step        INTEGER NOT NULL DEFAULT 0,
	otp_used_at     INTEGER NOT NULL DEFAULT 0,
	otp_request     TEXT    NOT NULL DEFAULT '',
	disabled_at     INTEGER NOT NULL DEFAULT 0,
	created_at      INTEGER NOT NULL,
	updated_at      INTEGER NOT NULL
);

CREATE TABLE authz_recovery_codes (
	user_id INTEGER NOT NULL,
	hash    TEXT    NOT NULL,
	used_at INTEGER NOT NULL DEFAULT 0,
	request TEXT    NOT NULL DEFAULT '',
	PRIMARY KEY (user_id, hash)
) WITHOUT ROWID;

CREATE TABLE authz_login_failures (
	subject      TEXT    NOT NULL PRIMARY KEY,
	failures     INTEGER NOT NULL,
	last_at      INTEGER NOT NULL,
	locked_until INTEGER NOT NULL,
	request      TEXT    NOT NULL
) WITHOUT ROWID;

CREATE INDEX authz_login_failures_last_at ON authz_login_failures (last_at);
