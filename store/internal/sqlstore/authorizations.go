package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
)

// GetOrCreate implements store.Authorizations: a plain SELECT for the common
// case, one INSERT that also returns the row in the way for the other.
func (s *Store) GetOrCreate(ctx context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	key := candidate.Key // held by the closure in the candidate's place, which so stays off the heap
	rec, err := do(ctx, s, "get or create", reading, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByKey, key.Owner, key.ClientID, key.Fingerprint))
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && expired(rec, candidate) {
		rec, err = s.create(ctx, candidate)
	}
	if err != nil {
		return store.Authorization{}, false, err
	}
	// Not "did the statement insert": database/sql may have run it twice, and
	// then its second run meets the row of the first.
	return rec, rec.TokenHash == candidate.TokenHash, nil
}

// create stores the candidate unless a live record has its key, and returns
// what is there.
func (s *Store) create(ctx context.Context, candidate store.Authorization) (store.Authorization, error) {
	return do(ctx, s, "get or create", writing, func(ctx context.Context) (store.Authorization, error) {
		for {
			rec, err := scanAuthorization(s.queryRow(ctx, insertOrGet, insertArgs(candidate)...))
			if err != nil || !expired(rec, candidate) {
				return rec, err
			}
			if rec, err = s.supersede(ctx, rec, candidate); !errors.Is(err, errMoved) {
				return rec, err
			}
		}
	})
}

var errTokenTaken = errors.New("the token hash is taken by another record")

var errMoved = errors.New("the record in the way has changed")

// supersede puts the candidate in the place of an expired record, in one step.
func (s *Store) supersede(ctx context.Context, old, candidate store.Authorization) (rec store.Authorization, err error) {
	err = s.transact(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, deleteRevision, old.ID, old.Revision); err != nil {
			return err
		}
		rec, err = scanAuthorization(conn.QueryRowContext(ctx, texts[insertOrGet], insertArgs(candidate)...))
		if err == nil && expired(rec, candidate) {
			return errMoved // rotated meanwhile, and expired once more
		}
		return err
	})
	if err != nil {
		return store.Authorization{}, err
	}
	return rec, nil
}

// expired reports whether rec counts as absent for the candidate. A candidate
// never supersedes itself, however short its life.
func expired(rec, candidate store.Authorization) bool {
	return rec.TokenHash != candidate.TokenHash && rec.Expired(candidate.CreatedAt)
}

// Get implements store.Authorizations.
func (s *Store) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return do(ctx, s, "get", reading, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByID, id, owner))
	})
}

// GetByTokenHash implements store.Authorizations.
func (s *Store) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	return do(ctx, s, "get by token hash", reading, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByHash, hash[:]))
	})
}

// List implements store.Authorizations.
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return do(ctx, s, "list", reading, func(ctx context.Context) ([]store.Authorization, error) {
		id, args := listByOwner, []any{q.Owner, q.After, q.Limit}
		if q.ClientID != nil {
			id, args = listByOwnerAndClient, append(args, *q.ClientID)
		}
		rows, err := s.query(ctx, id, args...)
		if err != nil {
			return nil, err
		}
		return collect(rows, scanAuthorization)
	})
}

// Replace implements store.Authorizations.
func (s *Store) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	return do(ctx, s, "replace", writing, func(ctx context.Context) (store.Authorization, error) {
		now, err := scanAuthorization(s.queryRow(ctx, replace, rec.ID, rec.Owner, rec.Revision,
			rec.Fingerprint, joinScopes(rec.Scopes), rec.Note, rec.NoteURL, rec.TokenHash[:], rec.TokenLastEight,
			rec.UpdatedAt.UnixMicro(), end(rec.ExpiresAt)))
		switch {
		case err == nil:
			return now, nil
		case sqlerr.Classify(err) == sqlerr.Unique:
			// No ErrConflict for a hash that is taken: callers would try again.
			if other, err := scanAuthorization(s.queryRow(ctx, getByHash, rec.TokenHash[:])); err == nil && other.ID != rec.ID {
				return now, errTokenTaken
			}
			return now, &store.ConflictError{Field: "fingerprint"}
		case !errors.Is(err, store.ErrNotFound):
			return now, err
		}
		now, err = scanAuthorization(s.queryRow(ctx, getByID, rec.ID, rec.Owner))
		if err == nil && !applied(rec, now) {
			return now, store.ErrConflict
		}
		return now, err
	})
}

// applied reports whether now is what Replace(rec) leaves behind: then the
// first run of the statement had taken effect and only its answer was lost.
func applied(rec, now store.Authorization) bool {
	return now.Revision == rec.Revision+1 &&
		now.TokenHash == rec.TokenHash && now.TokenLastEight == rec.TokenLastEight &&
		now.Fingerprint == rec.Fingerprint && slices.Equal(now.Scopes, rec.Scopes) &&
		now.Note == rec.Note && now.NoteURL == rec.NoteURL &&
		sameTime(now.UpdatedAt, rec.UpdatedAt) && sameTime(now.ExpiresAt, rec.ExpiresAt)
}

// Delete implements store.Authorizations.
func (s *Store) Delete(ctx context.Context, owner string, id int64) error {
	unknown := false // whether an earlier run of the statement took effect
	_, err := do(ctx, s, "delete", writing, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.pinned(ctx, func(ctx context.Context, conn *sql.Conn) error {
			n, err := affected(conn.ExecContext(ctx, deleteByID, id, owner))
			if err == nil && n == 0 && !unknown {
				return store.ErrNotFound
			}
			unknown = unknown || err != nil && sqlerr.Classify(err) == sqlerr.Away
			return err
		})
	})
	return err
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func insertArgs(a store.Authorization) []any {
	return []any{
		a.Owner, a.ClientID, a.Fingerprint, joinScopes(a.Scopes), a.Note, a.NoteURL,
		a.TokenHash[:], a.TokenLastEight, a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro(), end(a.ExpiresAt),
	}
}

// Scopes are kept as OAuth writes them (RFC 6749 section 3.3): a scope-token
// holds no space.
func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }

func splitScopes(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " ")
}

func scanAuthorization(r row) (store.Authorization, error) {
	var v struct { // one allocation for all that Scan points to
		store.Authorization
		scopes           string
		hash             []byte
		created, updated int64
		expires          sql.NullInt64
	}
	// The error goes first: a driver can fill the variables and still fail.
	if err := r.Scan(&v.ID, &v.Revision, &v.Owner, &v.ClientID, &v.Fingerprint, &v.scopes, &v.Note, &v.NoteURL,
		&v.hash, &v.TokenLastEight, &v.created, &v.updated, &v.expires); err != nil {
		return store.Authorization{}, notFound(err)
	}
	if len(v.hash) != len(v.TokenHash) {
		return store.Authorization{}, errors.New("a token hash in the database has a wrong length")
	}
	v.Scopes = splitScopes(v.scopes)
	copy(v.TokenHash[:], v.hash)
	v.CreatedAt, v.UpdatedAt, v.ExpiresAt = fromMicros(v.created), fromMicros(v.updated), fromEnd(v.expires)
	return v.Authorization, nil
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// collect reads all rows.
func collect[T any](rows *sql.Rows, scan func(row) (T, error)) (out []T, err error) {
	defer rows.Close()
	for rows.Next() {
		rec, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, rows.Err()
}
