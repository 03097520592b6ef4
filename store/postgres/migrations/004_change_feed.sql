-- Whoever changes a row, by whatever program, tells those who listen in the same transaction: 'a' and the ids of
-- authorizations, 'o' and an owner, 'c' and a client_id, or '*' for anything. See store.Watcher.
CREATE FUNCTION authz_authorization_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), 'a' || OLD.id);
	RETURN NULL;
END $$;

-- One statement can delete very many rows, and a payload holds less than 8000 bytes.
CREATE FUNCTION authz_authorizations_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM (SELECT 1 FROM gone LIMIT 5001) AS few) > 5000 THEN
		PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), '*');
	ELSE
		PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), 'a' || string_agg(id::text, ','))
		FROM (SELECT id, (row_number() OVER () - 1) / 300 AS part FROM gone) AS parts GROUP BY part;
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION authz_app_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), CASE WHEN octet_length(OLD.client_id) < 7999 THEN 'c' || OLD.client_id ELSE '*' END);
	RETURN NULL;
END $$;

CREATE FUNCTION authz_owner_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), CASE WHEN octet_length(OLD.owner) < 7999 THEN 'o' || OLD.owner ELSE '*' END);
	END IF;
	IF TG_OP <> 'DELETE' THEN
		PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), CASE WHEN octet_length(NEW.owner) < 7999 THEN 'o' || NEW.owner ELSE '*' END);
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION authz_anything_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify(CAST('authz_changes.' || TG_TABLE_SCHEMA AS name), '*');
	RETURN NULL;
END $$;

-- What Touch and WipeReplays do is no change, and must not pay for one. An end that comes earlier is.
CREATE TRIGGER authz_changed AFTER UPDATE ON authz_authorizations FOR EACH ROW
	WHEN (OLD.revision IS DISTINCT FROM NEW.revision OR OLD.id IS DISTINCT FROM NEW.id
		OR OLD.owner IS DISTINCT FROM NEW.owner OR OLD.client_id IS DISTINCT FROM NEW.client_id
		OR OLD.token_hash IS DISTINCT FROM NEW.token_hash OR OLD.scopes IS DISTINCT FROM NEW.scopes
		OR COALESCE(NEW.expires_at, 9223372036854775807) < COALESCE(OLD.expires_at, 9223372036854775807))
	EXECUTE FUNCTION authz_authorization_changed();
CREATE TRIGGER authz_deleted AFTER DELETE ON authz_authorizations REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION authz_authorizations_deleted();
CREATE TRIGGER authz_truncated AFTER TRUNCATE ON authz_authorizations
	FOR EACH STATEMENT EXECUTE FUNCTION authz_anything_changed();

CREATE TRIGGER authz_changed AFTER UPDATE OR DELETE ON authz_apps FOR EACH ROW EXECUTE FUNCTION authz_app_changed();
CREATE TRIGGER authz_truncated AFTER TRUNCATE ON authz_apps
	FOR EACH STATEMENT EXECUTE FUNCTION authz_anything_changed();

CREATE TRIGGER authz_changed AFTER INSERT OR UPDATE OR DELETE ON authz_suspended_owners
	FOR EACH ROW EXECUTE FUNCTION authz_owner_changed();
CREATE TRIGGER authz_truncated AFTER TRUNCATE ON authz_suspended_owners
	FOR EACH STATEMENT EXECUTE FUNCTION authz_anything_changed();
