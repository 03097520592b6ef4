-- Use, suspension and housekeeping. Nothing is rewritten.
ALTER TABLE authz_authorizations
	ADD COLUMN last_used_at BIGINT, -- NULL: never
	ADD COLUMN idle_timeout BIGINT NOT NULL DEFAULT 0, -- microseconds; 0: lives without being used
	ADD COLUMN ends_at      BIGINT; -- NULL: nothing bounds how far a use moves expires_at
CREATE INDEX authz_authorizations_expires_at ON authz_authorizations (expires_at, id) WHERE expires_at IS NOT NULL;

ALTER TABLE authz_apps ADD COLUMN suspended_at BIGINT; -- NULL: it is not

-- A user who is suspended needs no authorizations.
CREATE TABLE authz_suspended_owners (
	owner        TEXT   COLLATE "C" PRIMARY KEY,
	suspended_at BIGINT NOT NULL
);
