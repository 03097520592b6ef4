-- Whoever changes a row, by whatever program, leaves a line here in the same transaction. The last 4096 are kept: who
-- finds a gap takes it that anything may have changed. See store.Watcher.
CREATE TABLE authz_changes (
	seq              INTEGER PRIMARY KEY AUTOINCREMENT, -- rises, also when lines are removed by hand
	authorization_id INTEGER,
	owner            TEXT,
	client_id        TEXT
);
CREATE TRIGGER authz_changes_kept AFTER INSERT ON authz_changes BEGIN
	DELETE FROM authz_changes WHERE seq <= NEW.seq - 4096;
END;

-- What Touch and WipeReplays do is no change, and must not pay for one. An end that comes earlier is.
CREATE TRIGGER authz_authorization_changed AFTER UPDATE ON authz_authorizations
WHEN OLD.revision IS NOT NEW.revision OR OLD.id IS NOT NEW.id
	OR OLD.owner IS NOT NEW.owner OR OLD.client_id IS NOT NEW.client_id
	OR OLD.token_hash IS NOT NEW.token_hash OR OLD.scopes IS NOT NEW.scopes
	OR COALESCE(NEW.expires_at, 9223372036854775807) < COALESCE(OLD.expires_at, 9223372036854775807)
BEGIN
	INSERT INTO authz_changes (authorization_id) VALUES (OLD.id);
END;
CREATE TRIGGER authz_authorization_deleted AFTER DELETE ON authz_authorizations BEGIN
	INSERT INTO authz_changes (authorization_id) VALUES (OLD.id);
END;

CREATE TRIGGER authz_app_changed AFTER UPDATE ON authz_apps BEGIN
	INSERT INTO authz_changes (client_id) VALUES (OLD.client_id);
END;
CREATE TRIGGER authz_app_deleted AFTER DELETE ON authz_apps BEGIN
	INSERT INTO authz_changes (client_id) VALUES (OLD.client_id);
END;

CREATE TRIGGER authz_owner_suspended AFTER INSERT ON authz_suspended_owners BEGIN
	INSERT INTO authz_changes (owner) VALUES (NEW.owner);
END;
CREATE TRIGGER authz_owner_changed AFTER UPDATE ON authz_suspended_owners BEGIN
	INSERT INTO authz_changes (owner) VALUES (OLD.owner), (NEW.owner);
END;
CREATE TRIGGER authz_owner_resumed AFTER DELETE ON authz_suspended_owners BEGIN
	INSERT INTO authz_changes (owner) VALUES (OLD.owner);
END;
