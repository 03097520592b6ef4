package main

import (
	"context"
	"database/sql"
	"strings"

	"github.com/seed-926035fd/authz/store"
)

// rawRecord holds the columns as they come, all that the store reads.
type rawRecord struct {
	id, revision                 int64
	owner, clientID, fingerprint string
	scopes, note, noteURL        string
	tokenHash                    []byte
	lastEight                    string
	createdAt, updatedAt         int64
	expiresAt                    sql.NullInt64
}

// The statements of both databases.
const (
	rawColumns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at`
	rawByKey   = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE owner = $1 AND client_id = $2 AND fingerprint = $3`
	rawByHash  = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE token_hash = $1`
	rawInsert  = `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, created_at, updated_at, expires_at)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`
)

// rawSQL is what a competent user of database/sql would write: prepared
// statements, each in a transaction of its own.
type rawSQL struct {
	key, hash, ins *sql.Stmt
}

// newRaw prepares the statements: those that read on one pool, the one that
// writes on another, or on the same.
func newRaw(reads, writes *sql.DB) (r *rawSQL, err error) {
	r = &rawSQL{}
	if r.key, err = reads.Prepare(rawByKey); err != nil {
		return nil, err
	}
	if r.hash, err = reads.Prepare(rawByHash); err != nil {
		return nil, err
	}
	if r.ins, err = writes.Prepare(rawInsert); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *rawSQL) byKey(ctx context.Context, owner, clientID, fingerprint string) (rawRecord, error) {
	return scan(r.key.QueryRowContext(ctx, owner, clientID, fingerprint))
}

func (r *rawSQL) byHash(ctx context.Context, hash []byte) (rawRecord, error) {
	return scan(r.hash.QueryRowContext(ctx, hash))
}

func (r *rawSQL) insert(ctx context.Context, a *store.Authorization) (id int64, err error) {
	err = r.ins.QueryRowContext(ctx, rawArgs(a)...).Scan(&id)
	return id, err
}

func rawArgs(a *store.Authorization) []any {
	var expires sql.NullInt64
	return []any{a.Owner, a.ClientID, a.Fingerprint, strings.Join(a.Scopes, " "), a.Note, a.NoteURL,
		a.TokenHash[:], a.TokenLastEight, a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro(), expires}
}

func scan(row *sql.Row) (rec rawRecord, err error) {
	err = row.Scan(&rec.id, &rec.revision, &rec.owner, &rec.clientID, &rec.fingerprint, &rec.scopes, &rec.note, &rec.noteURL,
		&rec.tokenHash, &rec.lastEight, &rec.createdAt, &rec.updatedAt, &rec.expiresAt)
	return rec, err
}

// load stores the authorizations in one transaction.
func load(db *sql.DB, d *data) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.Prepare(rawInsert)
	if err != nil {
		return err
	}
	for i := range d.recs {
		var id int64
		if err := stmt.QueryRow(rawArgs(&d.recs[i])...).Scan(&id); err != nil {
			return err
		}
	}
	return tx.Commit()
}
