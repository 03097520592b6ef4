package main

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// loadColumns are those that differ from their defaults, in the order of values.
var loadColumns = []string{
	"id", "revision", "owner", "client_id", "fingerprint", "scopes", "note", "note_url", "token_hash", "token_last_eight",
	"issued_at", "created_at", "updated_at", "expires_at", "last_used_at",
}

// values are a record's for loadColumns.
func values(a *store.Authorization) []any {
	return []any{a.ID, a.Revision, a.Owner, a.ClientID, a.Fingerprint, strings.Join(a.Scopes, " "), a.Note, a.NoteURL, a.TokenHash[:], a.TokenLastEight,
		a.IssuedAt.UnixMicro(), a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro(), micros(a.ExpiresAt), micros(a.LastUsedAt)}
}

func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// The raw statements: what the same work costs at least. They read all columns
// that the store reads.
const (
	rawColumns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight,
	issued_at, replay_id, replay_seal, replay_expires_at, created_at, updated_at, expires_at, idle_timeout, ends_at, last_used_at`
	rawByID  = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE id = $1`
	rawByKey = `SELECT ` + rawColumns + ` FROM authz_authorizations
	WHERE owner = CAST($1 AS TEXT) AND client_id = CAST($2 AS TEXT) AND fingerprint = CAST($3 AS TEXT)`
	rawByHash = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE token_hash = $1`
	rawList   = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE owner = CAST($1 AS TEXT) ORDER BY id + 0 LIMIT CAST(30 AS BIGINT)`
	rawInsert = `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, issued_at, created_at, updated_at)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	rawRevoke = `DELETE FROM authz_authorizations WHERE owner = CAST($1 AS TEXT)`
	rawPurge  = `DELETE FROM authz_authorizations WHERE id IN (SELECT id FROM authz_authorizations WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT 1000)`
)

// rawSQL are the statements, prepared.
type rawSQL struct {
	byID, byKey, byHash, list, insert, revoke, purge *sql.Stmt
}

func newRaw(db *sql.DB) (*rawSQL, error) {
	r := new(rawSQL)
	for text, to := range map[string]**sql.Stmt{
		rawByID: &r.byID, rawByKey: &r.byKey, rawByHash: &r.byHash, rawList: &r.list, rawInsert: &r.insert, rawRevoke: &r.revoke, rawPurge: &r.purge,
	} {
		stmt, err := db.Prepare(text)
		if err != nil {
			return nil, err
		}
		*to = stmt
	}
	return r, nil
}

// read fetches whole rows, and returns how many.
func read(ctx context.Context, stmt *sql.Stmt, args ...any) (n int, err error) {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			id, revision, issued, created, updated, idle         int64
			owner, client, fingerprint, scopes, note, url, eight string
			hash, replay, seal                                   []byte
			replayEnd, expires, ends, used                       sql.NullInt64
		)
		if err := rows.Scan(&id, &revision, &owner, &client, &fingerprint, &scopes, &note, &url, &hash, &eight,
			&issued, &replay, &seal, &replayEnd, &created, &updated, &expires, &idle, &ends, &used); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

func insertValues(a *store.Authorization) []any {
	return []any{a.Owner, a.ClientID, a.Fingerprint, strings.Join(a.Scopes, " "), a.Note, a.NoteURL, a.TokenHash[:], a.TokenLastEight,
		a.IssuedAt.UnixMicro(), a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro()}
}
