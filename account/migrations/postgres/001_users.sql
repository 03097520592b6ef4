CREATE TABLE authz_users (
	id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	login           TEXT   COLLATE "C" NOT NULL,
	login_key       TEXT   COLLATE "C" NOT NULL UNIQUE,
	password        TEXT   COLLATE "C" NOT NULL,
	credentials_rev BIGINT NOT NULL DEFAULT 1,
	otp_seed        TEXT   COLLATE "C" NOT NULL DEFAULT '',
	otp_pending     TEXT   COLLATE "C" NOT NULL DEFAULT '',
	otp_step        BIGINT NOT NULL DEFAULT 0,
	otp_used_at     BIGINT NOT NULL DEFAULT 0,
	otp_request     TEXT   COLLATE "C" NOT NULL DEFAULT '',
	disabled_at     BIGINT NOT NULL DEFAULT 0,
	created_at      BIGINT NOT NULL,
	updated_at      BIGINT NOT NULL
);

CREATE TABLE authz_recovery_codes (
	user_id BIGINT NOT NULL,
	hash    TEXT   COLLATE "C" NOT NULL,
	used_at BIGINT NOT NULL DEFAULT 0,
	request TEXT   COLLATE "C" NOT NULL DEFAULT '',
	PRIMARY KEY (user_id, hash)
);

CREATE TABLE authz_login_failures (
	subject      TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
	failures     BIGINT NOT NULL,
	last_at      BIGINT NOT NULL,
	locked_until BIGINT NOT NULL,
	request      TEXT   COLLATE "C" NOT NULL
);

CREATE INDEX authz_login_failures_last_at ON authz_login_failures (last_at);
