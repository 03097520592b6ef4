package main

import (
	"context"
	"database/sql"
	"strings"
	"sync"

	"github.com/seed-926035fd/authz/store"
)

// rawRecord holds the columns as they come, all that the store reads.
type rawRecord struct {
	id, revision                 int64
	owner, clientID, fingerprint string
	scopes, note, noteURL        string
	tokenHash                    []byte
	lastEight                    string
	issuedAt                     int64
	replayID, replaySeal         []byte
	replayEnd                    sql.NullInt64
	createdAt, updatedAt         int64
	expiresAt                    sql.NullInt64
	idleTimeout                  int64
	endsAt, lastUsedAt           sql.NullInt64
}

// The statements of both databases. Without the CASTs SQLite would compile the
// first one anew each time (see the store's statements).
const (
	rawColumns = `id, revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight,
	issued_at, replay_id, replay_seal, replay_expires_at, created_at, updated_at, expires_at, idle_timeout, ends_at, last_used_at`
	rawByKey = `SELECT ` + rawColumns + ` FROM authz_authorizations
	WHERE owner = CAST($1 AS TEXT) AND client_id = CAST($2 AS TEXT) AND fingerprint = CAST($3 AS TEXT)`
	rawByHash = `SELECT ` + rawColumns + ` FROM authz_authorizations WHERE token_hash = $1`
	rawInsert = `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight, issued_at, created_at, updated_at, expires_at)
VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id`
)

// rawSQL is what a competent user of database/sql would write: prepared
// statements, each in a transaction of its own.
//
// They run on the store's own pool. Connections are not all alike: a server
// process sits on a busy core, a page cache is laid out badly, and the same
// statement takes a tenth longer there, or thrice as long. With one caller the
// pool hands out the same connection all the time, to both sides.
type rawSQL struct {
	key, hash, ins *sql.Stmt
	writer         sync.Locker // held while inserting
}

func newRaw(db *sql.DB, writer sync.Locker) (*rawSQL, error) {
	r := &rawSQL{writer: writer}
	for text, to := range map[string]**sql.Stmt{rawByKey: &r.key, rawByHash: &r.hash, rawInsert: &r.ins} {
		stmt, err := db.Prepare(text)
		if err != nil {
			return nil, err
		}
		*to = stmt
	}
	return r, nil
}

// unlocked is for databases with many writers.
type unlocked struct{}

func (unlocked) Lock()   {}
func (unlocked) Unlock() {}

func (r *rawSQL) byKey(ctx context.Context, owner, clientID, fingerprint string) (rawRecord, error) {
	return scan(r.key.QueryRowContext(ctx, owner, clientID, fingerprint))
}

func (r *rawSQL) byHash(ctx context.Context, hash []byte) (rawRecord, error) {
	return scan(r.hash.QueryRowContext(ctx, hash))
}

func (r *rawSQL) insert(ctx context.Context, a *store.Authorization) (id int64, err error) {
	r.writer.Lock()
	defer r.writer.Unlock()
	err = r.ins.QueryRowContext(ctx, rawArgs(a)...).Scan(&id)
	return id, err
}

func rawArgs(a *store.Authorization) []any {
	var expires sql.NullInt64
	return []any{a.Owner, a.ClientID, a.Fingerprint, strings.Join(a.Scopes, " "), a.Note, a.NoteURL,
		a.TokenHash[:], a.TokenLastEight, a.IssuedAt.UnixMicro(), a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro(), expires}
}

func scan(row *sql.Row) (rec rawRecord, err error) {
	err = row.Scan(&rec.id, &rec.revision, &rec.owner, &rec.clientID, &rec.fingerprint, &rec.scopes, &rec.note, &rec.noteURL,
		&rec.tokenHash, &rec.lastEight, &rec.issuedAt, &rec.replayID, &rec.replaySeal, &rec.replayEnd, &rec.createdAt, &rec.updatedAt, &rec.expiresAt,
		&rec.idleTimeout, &rec.endsAt, &rec.lastUsedAt)
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
