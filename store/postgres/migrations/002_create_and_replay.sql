-- slot tells apart the authorizations of one key without a fingerprint: 0, or one more than the highest.
ALTER TABLE authz_authorizations
	ADD COLUMN slot              BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN issued_at         BIGINT NOT NULL DEFAULT 0, -- when the token was made
	ADD COLUMN replay_id         BYTEA, -- NULL: no answer is kept
	ADD COLUMN replay_seal       BYTEA, -- NULL: the token was used
	ADD COLUMN replay_expires_at BIGINT,
	ALTER COLUMN note TYPE TEXT COLLATE "C";
UPDATE authz_authorizations SET issued_at = updated_at;

DROP INDEX authz_authorizations_key;
CREATE UNIQUE INDEX authz_authorizations_key       ON authz_authorizations (owner, client_id, fingerprint, slot);
CREATE INDEX        authz_authorizations_owner     ON authz_authorizations (owner, (id + 0)); -- for lists; no planner takes the primary key for it
CREATE UNIQUE INDEX authz_authorizations_note      ON authz_authorizations (owner, note) WHERE client_id = ''; -- personal ones
CREATE UNIQUE INDEX authz_authorizations_replay_id ON authz_authorizations (replay_id) WHERE replay_id IS NOT NULL;
CREATE INDEX authz_authorizations_replay_end ON authz_authorizations (replay_expires_at) WHERE replay_expires_at IS NOT NULL;
