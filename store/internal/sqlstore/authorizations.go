package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
)

// GetOrCreate implements store.Authorizations: a plain SELECT for the common
// case, one INSERT that also returns the row in the way for the other.
func (s *Store) GetOrCreate(ctx context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	if s.combined.on() {
		return s.combined.getOrCreate(ctx, candidate)
	}
	key, now := candidate.Key, candidate.CreatedAt.UnixMicro() // held by the closure in the candidate's place, which so stays off the heap
	rec, err := do(ctx, s, "get or create", oneRow, func(ctx context.Context) (store.Authorization, error) {
		return s.byKey(ctx, key, now)
	})
	if errors.Is(err, store.ErrNotFound) {
		rec, err = s.getOrInsert(ctx, candidate)
	}
	if err != nil {
		return store.Authorization{}, false, err
	}
	// Not "did the statement insert": database/sql may have run it twice, and
	// then its second run meets the row of the first.
	return rec, rec.TokenHash == candidate.TokenHash, nil
}

// byKey returns the oldest record with the key that lives at now. Nearly always
// there is only one, and no sorting is needed.
func (s *Store) byKey(ctx context.Context, key store.Key, now int64) (store.Authorization, error) {
	args := []any{key.Owner, key.ClientID, key.Fingerprint, now}
	rows, err := s.query(ctx, getByKey, args...)
	if err != nil {
		return store.Authorization{}, err
	}
	defer rows.Close()
	if !rows.Next() {
		return store.Authorization{}, cmp.Or(rows.Err(), store.ErrNotFound)
	}
	rec, err := scanAuthorization(rows)
	if err != nil {
		return store.Authorization{}, err
	}
	if several := rows.Next(); !several {
		return rec, rows.Err()
	}
	if err := rows.Close(); err != nil { // its connection is needed
		return store.Authorization{}, err
	}
	return scanAuthorization(s.queryRow(ctx, oldestByKey, args...))
}

// getOrInsert stores the candidate unless a live record has its key, and
// returns what is there.
func (s *Store) getOrInsert(ctx context.Context, candidate store.Authorization) (store.Authorization, error) {
	candidate.ID = 0
	candidate = private(candidate)
	return write(ctx, s, "get or create", loose, func(ctx context.Context, q session) (store.Authorization, error) {
		return s.insertUnblocked(ctx, q, candidate)
	})
}

// private returns rec without memory of the caller, who may leave while it is
// being written.
func private(rec store.Authorization) store.Authorization {
	rec.Scopes, rec.Replay.Seal = slices.Clone(rec.Scopes), bytes.Clone(rec.Replay.Seal)
	return rec
}

// insertUnblocked is insertOrGet that removes what is in the way and has expired.
func (s *Store) insertUnblocked(ctx context.Context, q session, candidate store.Authorization) (store.Authorization, error) {
	return unblocked(func() (store.Authorization, error) {
		rec, err := s.insertOrGet(ctx, q, candidate)
		switch {
		case sqlerr.Classify(err) == sqlerr.Unique:
			return unblock(ctx, q, candidate, candidate.CreatedAt, err)
		case err == nil && expired(rec, candidate):
			return store.Authorization{}, remove(ctx, q, rec, candidate.CreatedAt)
		}
		return rec, err
	})
}

// Create implements store.Authorizations.
func (s *Store) Create(ctx context.Context, candidate store.Authorization) (store.Authorization, error) {
	candidate.ID = 0
	candidate = private(candidate)
	return write(ctx, s, "create", loose, func(ctx context.Context, q session) (store.Authorization, error) {
		return unblocked(func() (store.Authorization, error) {
			rec, err := s.insert(ctx, q, candidate)
			if sqlerr.Classify(err) == sqlerr.Unique {
				return unblock(ctx, q, candidate, candidate.CreatedAt, err)
			}
			return rec, err
		})
	})
}

// insertOrGet stores the candidate, or returns the record in its way.
func (s *Store) insertOrGet(ctx context.Context, q session, candidate store.Authorization) (store.Authorization, error) {
	if !s.d.Grouped {
		return scanAuthorization(q.queryRow(ctx, insertOrGet, insertArgs(candidate)...))
	}
	rec, err := inserted(candidate)(q.exec(ctx, insertOrNothing, insertArgs(candidate)...))
	if !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	rec, err = scanAuthorization(q.queryRow(ctx, getFirstSlot, candidate.Owner, candidate.ClientID, candidate.Fingerprint))
	if errors.Is(err, store.ErrNotFound) { // outside of a transaction it can go meanwhile
		err = errUnblocked
	}
	return rec, err
}

// insert stores the candidate beside others of its key.
func (s *Store) insert(ctx context.Context, q session, candidate store.Authorization) (store.Authorization, error) {
	if !s.d.Grouped {
		return scanAuthorization(q.queryRow(ctx, insert, insertArgs(candidate)...))
	}
	return inserted(candidate)(q.exec(ctx, insertOnly, insertArgs(candidate)...))
}

// inserted returns what an INSERT of the candidate has stored, or ErrNotFound if
// it has stored nothing. To have SQLite return the row costs half as much as to
// insert it.
func inserted(candidate store.Authorization) func(sql.Result, error) (store.Authorization, error) {
	return func(res sql.Result, err error) (store.Authorization, error) {
		n, err := affected(res, err)
		if err != nil {
			return store.Authorization{}, err
		}
		if n == 0 {
			return store.Authorization{}, store.ErrNotFound
		}
		id, err := res.LastInsertId()
		return stored(candidate, id), err
	}
}

// stored is the candidate as it comes back from the database.
func stored(candidate store.Authorization, id int64) store.Authorization {
	rec := candidate
	rec.ID, rec.Revision, rec.LastUsedAt = id, 1, time.Time{}
	rec.Scopes = splitScopes(joinScopes(rec.Scopes))
	rec.Replay = store.Replay{}
	if r := candidate.Replay; !r.IsZero() {
		rec.Replay = store.Replay{ID: r.ID, ExpiresAt: fromMicros(r.ExpiresAt.UnixMicro())}
		if len(r.Seal) > 0 {
			rec.Replay.Seal = bytes.Clone(r.Seal)
		}
	}
	for _, t := range []*time.Time{&rec.IssuedAt, &rec.CreatedAt, &rec.UpdatedAt} {
		*t = fromMicros(t.UnixMicro())
	}
	rec.ExpiresAt, rec.EndsAt = fromEnd(end(rec.ExpiresAt)), fromEnd(end(rec.EndsAt))
	rec.IdleTimeout = rec.IdleTimeout.Truncate(time.Microsecond)
	return rec
}

var (
	errTokenTaken = errors.New("the token hash is taken by another record")

	// errUnblocked says that what was in the way is gone: try again.
	errUnblocked = errors.New("what was in the way is gone")
)

// unblocked runs write again for as long as it was only blocked. There is an
// end to it, as a unique index that is not ours would block for ever.
func unblocked(write func() (store.Authorization, error)) (rec store.Authorization, err error) {
	for range 1000 {
		if rec, err = write(); !errors.Is(err, errUnblocked) {
			break
		}
	}
	return rec, err
}

// unblock finds what is in the way of rec after a unique index has refused it
// with the error cause. It returns the record of rec's own token, if it is
// stored by now; a *store.ConflictError; or errUnblocked if nothing is in the
// way any more, since it has expired at now.
func unblock(ctx context.Context, q session, rec store.Authorization, now time.Time, cause error) (store.Authorization, error) {
	other, err := scanAuthorization(q.queryRow(ctx, getByHash, rec.TokenHash[:]))
	switch {
	case err == nil && other.Key == rec.Key && rec.ID == 0:
		return other, nil // an earlier run of the statement has stored it
	case err == nil && other.ID != rec.ID:
		// No ErrConflict: callers would try again.
		return store.Authorization{}, errTokenTaken
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.Authorization{}, err
	}
	for _, unique := range []struct {
		field string
		held  bool
		id    statement
		args  []any
	}{
		{"idempotency_key", !rec.Replay.IsZero(), getByReplay, []any{rec.Replay.ID[:]}},
		{"note", rec.ClientID == "", getByNote, []any{rec.Owner, rec.Note}},
		{"fingerprint", rec.Fingerprint != "", getByKey, []any{rec.Owner, rec.ClientID, rec.Fingerprint, liveAt(time.Time{})}},
	} {
		if !unique.held {
			continue
		}
		other, err := scanAuthorization(q.queryRow(ctx, unique.id, unique.args...))
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && other.ID == rec.ID:
			continue
		case err != nil:
			return store.Authorization{}, err
		case unique.field != "idempotency_key" && other.Expired(now):
			return store.Authorization{}, remove(ctx, q, other, now)
		}
		return store.Authorization{}, &store.ConflictError{Field: unique.field, ID: other.ID}
	}
	return store.Authorization{}, fmt.Errorf("%w: %w", errUnblocked, cause)
}

// remove takes away a record that has expired at now, unless it has changed, and
// returns errUnblocked.
func remove(ctx context.Context, q session, rec store.Authorization, now time.Time) error {
	if _, err := q.execText(ctx, deleteExpired, rec.ID, rec.Revision, now.UnixMicro()); err != nil {
		return err
	}
	return errUnblocked
}

// expired reports whether rec counts as absent for the candidate. A candidate
// never supersedes itself, however short its life.
func expired(rec, candidate store.Authorization) bool {
	return rec.TokenHash != candidate.TokenHash && rec.Expired(candidate.CreatedAt)
}

// Get implements store.Authorizations.
func (s *Store) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return do(ctx, s, "get", oneRow, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByID, id, owner))
	})
}

// GetByTokenHash implements store.Authorizations.
func (s *Store) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	if s.combined.on() {
		rec, _, err := s.combined.lookup(ctx, "get by token hash", hash, false)
		return rec, err
	}
	return do(ctx, s, "get by token hash", oneRow, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByHash, hash[:]))
	})
}

// Lookup implements store.Authorizations.
func (s *Store) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	if s.combined.on() {
		return s.combined.lookup(ctx, "lookup", hash, true)
	}
	f, err := do(ctx, s, "lookup", oneRow, func(ctx context.Context) (f found, err error) {
		f.rec, f.standing, err = scanStanding(s.queryRow(ctx, lookup, hash[:]))
		return f, err
	})
	return f.rec, f.standing, err
}

// GetByReplay implements store.Authorizations.
func (s *Store) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	return do(ctx, s, "get by replay", oneRow, func(ctx context.Context) (store.Authorization, error) {
		return scanAuthorization(s.queryRow(ctx, getByReplay, id[:]))
	})
}

// List implements store.Authorizations.
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return do(ctx, s, "list", repeating, func(ctx context.Context) ([]store.Authorization, error) {
		id, args := listByOwner, []any{q.Owner, q.After, liveAt(q.LiveAt), q.Limit, q.Skip}
		if q.ClientID != nil {
			id, args = listByOwnerAndClient, append(args, *q.ClientID)
		}
		rows, err := s.query(ctx, id, args...)
		if err != nil {
			return nil, err
		}
		return collect(rows, newScanner(false).authorization)
	})
}

// liveAt is the time that expires_at must be greater than; all times are if
// none is asked for.
func liveAt(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

// Replace implements store.Authorizations.
func (s *Store) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	rec = private(rec)
	return write(ctx, s, "replace", loose, func(ctx context.Context, q session) (store.Authorization, error) {
		return unblocked(func() (store.Authorization, error) {
			replayID, seal, replayEnd := replayArgs(rec.Replay)
			now, err := scanAuthorization(q.queryRow(ctx, replace, rec.ID, rec.Owner, rec.Revision,
				rec.Fingerprint, joinScopes(rec.Scopes), rec.Note, rec.NoteURL, rec.TokenHash[:], rec.TokenLastEight,
				rec.IssuedAt.UnixMicro(), replayID, seal, replayEnd, rec.UpdatedAt.UnixMicro(), end(rec.ExpiresAt),
				rec.IdleTimeout.Microseconds(), end(rec.EndsAt)))
			if err == nil {
				return now, nil
			}
			blocked := sqlerr.Classify(err) == sqlerr.Unique
			if !blocked && !errors.Is(err, store.ErrNotFound) {
				return now, err
			}
			cause := err
			now, err = scanAuthorization(q.queryRow(ctx, getByID, rec.ID, rec.Owner))
			switch {
			case err != nil:
				return now, err
			case blocked:
				rec := rec
				rec.ClientID = now.ClientID // never changes, whatever rec says
				return unblock(ctx, q, rec, rec.UpdatedAt, cause)
			case !applied(rec, now):
				return now, store.ErrConflict
			}
			return now, nil
		})
	})
}

// applied reports whether now is what Replace(rec) leaves behind: then the
// first run of the statement had taken effect and only its answer was lost.
func applied(rec, now store.Authorization) bool {
	return now.Revision == rec.Revision+1 &&
		now.TokenHash == rec.TokenHash && now.TokenLastEight == rec.TokenLastEight &&
		now.Fingerprint == rec.Fingerprint && slices.Equal(now.Scopes, rec.Scopes) &&
		now.Note == rec.Note && now.NoteURL == rec.NoteURL &&
		sameReplay(now.Replay, rec.Replay) && sameTime(now.IssuedAt, rec.IssuedAt) &&
		sameTime(now.UpdatedAt, rec.UpdatedAt) && sameTime(now.EndsAt, rec.EndsAt) &&
		now.IdleTimeout.Microseconds() == rec.IdleTimeout.Microseconds() &&
		(sameTime(now.ExpiresAt, rec.ExpiresAt) || slid(rec, now))
}

// slid reports whether uses can have raised the ExpiresAt of rec to that of now.
func slid(rec, now store.Authorization) bool {
	ends := now.LastUsedAt.Add(now.IdleTimeout)
	if !now.EndsAt.IsZero() && now.EndsAt.Before(ends) {
		ends = now.EndsAt
	}
	return now.IdleTimeout > 0 && !rec.ExpiresAt.IsZero() &&
		now.ExpiresAt.After(rec.ExpiresAt) && !ends.Before(now.ExpiresAt)
}

func sameReplay(a, b store.Replay) bool {
	return a.ID == b.ID && bytes.Equal(a.Seal, b.Seal) && sameTime(a.ExpiresAt, b.ExpiresAt)
}

// Delete implements store.Authorizations.
func (s *Store) Delete(ctx context.Context, owner string, id int64) error {
	_, err := write(ctx, s, "delete", pinned, func(ctx context.Context, q session) (struct{}, error) {
		n, err := affected(q.exec(ctx, deleteByID, id, owner))
		if err == nil && n == 0 && !q.unsure() {
			err = store.ErrNotFound
		}
		return struct{}{}, err
	})
	return err
}

// selected is sel as a condition of SQL and its parameters.
func selected(sel store.Selection) (where string, args []any) {
	var conditions []string
	add := func(condition string, arg any) {
		args = append(args, arg)
		conditions = append(conditions, condition+"$"+strconv.Itoa(len(args)))
	}
	if sel.Owner != nil {
		add("owner = ", *sel.Owner)
	}
	if sel.ClientID != nil {
		add("client_id = ", *sel.ClientID)
	}
	if sel.TokenHash != nil {
		add("token_hash = ", sel.TokenHash[:])
	}
	if !sel.LiveAt.IsZero() {
		add("COALESCE(expires_at, 9223372036854775807) > ", sel.LiveAt.UnixMicro())
	}
	if conditions == nil {
		return "1 = 1", nil
	}
	return strings.Join(conditions, " AND "), args
}

// Count implements store.Authorizations.
func (s *Store) Count(ctx context.Context, sel store.Selection) (int64, error) {
	where, args := selected(sel)
	return do(ctx, s, "count", repeating, func(ctx context.Context) (n int64, err error) {
		err = s.db.QueryRowContext(ctx, countSelected+where, args...).Scan(&n)
		return n, err
	})
}

var errNothingSelected = errors.New("neither owner nor client_id nor token hash is selected")

// DeleteAll implements store.Authorizations.
func (s *Store) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	if sel.Owner == nil && sel.ClientID == nil && sel.TokenHash == nil {
		return 0, s.wrap("delete all", errNothingSelected, nil)
	}
	return s.remover(ctx, "delete all", func(ctx context.Context, q session) (int64, error) {
		return deleteAll(ctx, q, sel)
	})
}

// remover removes records in one step and counts them.
func (s *Store) remover(ctx context.Context, what string, fn func(context.Context, session) (int64, error)) (int64, error) {
	var counted int64
	return write(ctx, s, what, whole, func(ctx context.Context, q session) (int64, error) {
		n, err := fn(ctx, q)
		if err == nil && (n > 0 || !q.unsure()) { // else the earlier run has counted
			counted = n
		}
		return counted, err
	})
}

// deleteAll deletes in parts, since a single answer may not take for ever. What a
// part holds is asked for apart: others can delete some of it first, so that how
// many were deleted does not say whether it was the last. The condition stands in
// the DELETE too: what has changed meanwhile, such as a token, may not be selected
// any more.
func deleteAll(ctx context.Context, q session, sel store.Selection) (total int64, err error) {
	where, args := selected(sel)
	if sel.TokenHash != nil { // one at most
		return affected(q.execText(ctx, deleteSelected+where, args...))
	}
	for {
		rows, err := q.queryText(ctx, idsSelected+where+" LIMIT "+strconv.Itoa(deleteAtOnce), args...)
		if err != nil {
			return 0, err
		}
		ids, err := collect(rows, scanID)
		if err != nil || len(ids) == 0 {
			return total, err
		}
		n, err := affected(q.execText(ctx, deleteSelected+byIDs.Replace(where)+" AND id IN ("+strings.Join(ids, ",")+")", args...))
		if err != nil {
			return 0, err
		}
		if total += n; len(ids) < deleteAtOnce {
			return total, nil
		}
	}
}

// byIDs keeps a planner from walking all that the owner or the app has, for each
// part again: the IDs lead.
var byIDs = strings.NewReplacer("owner = ", "owner || '' = ", "client_id = ", "client_id || '' = ")

// scanID returns an ID as SQL writes it.
func scanID(r row) (string, error) {
	var id int64
	err := r.Scan(&id)
	return strconv.FormatInt(id, 10), err
}

// WipeReplays implements store.Authorizations. It goes in parts: after a busy time
// there are so many that one answer would take for ever, and all other writers wait
// for it.
func (s *Store) WipeReplays(ctx context.Context, now time.Time) (total int64, err error) {
	for {
		n, err := write(ctx, s, "wipe replays", pinned, func(ctx context.Context, q session) (int64, error) {
			return affected(q.execText(ctx, wipeReplays, now.UnixMicro()))
		})
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func insertArgs(a store.Authorization) []any {
	replayID, seal, replayEnd := replayArgs(a.Replay)
	return []any{
		a.Owner, a.ClientID, a.Fingerprint, joinScopes(a.Scopes), a.Note, a.NoteURL,
		a.TokenHash[:], a.TokenLastEight, a.IssuedAt.UnixMicro(), replayID, seal, replayEnd,
		a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro(), end(a.ExpiresAt), a.IdleTimeout.Microseconds(), end(a.EndsAt),
	}
}

// replayArgs are NULL where there is nothing.
func replayArgs(r store.Replay) (id, seal, expires any) {
	if r.IsZero() {
		return nil, nil, nil
	}
	if len(r.Seal) > 0 {
		seal = r.Seal
	}
	return r.ID[:], seal, r.ExpiresAt.UnixMicro()
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

func scanAuthorization(r row) (store.Authorization, error) { return newScanner(false).authorization(r) }

func scanStanding(r row) (store.Authorization, store.Standing, error) {
	return newScanner(true).scan(r)
}

// scanner reads the columns of authorizations, in one allocation for all that Scan
// points to, and for all rows.
type scanner struct {
	rec                      store.Authorization
	scopes                   string
	hash, replayID           []byte
	issued, created, updated int64
	replayEnd, expires, ends sql.NullInt64
	idle                     int64
	used, app, suspended     sql.NullInt64

	all     [22]any
	columns []any // those that there are
}

// newScanner returns one for rows of authorizationColumns, and where standing is
// set, two more: 1 for an app, 2 for one that is suspended; and when the owner was
// suspended.
func newScanner(standing bool) *scanner {
	v := new(scanner)
	v.all = [...]any{&v.rec.ID, &v.rec.Revision, &v.rec.Owner, &v.rec.ClientID, &v.rec.Fingerprint, &v.scopes, &v.rec.Note, &v.rec.NoteURL,
		&v.hash, &v.rec.TokenLastEight, &v.issued, &v.replayID, &v.rec.Replay.Seal, &v.replayEnd, &v.created, &v.updated, &v.expires,
		&v.idle, &v.ends, &v.used, &v.app, &v.suspended}
	v.columns = v.all[:]
	if !standing {
		v.columns = v.all[:len(v.all)-2]
	}
	return v
}

func (v *scanner) authorization(r row) (store.Authorization, error) {
	rec, _, err := v.scan(r)
	return rec, err
}

func (v *scanner) scan(r row) (store.Authorization, store.Standing, error) {
	// The error goes first: a driver can fill the variables and still fail.
	if err := r.Scan(v.columns...); err != nil {
		return store.Authorization{}, store.Standing{}, notFound(err)
	}
	rec := &v.rec
	if len(v.hash) != len(rec.TokenHash) || v.replayID != nil && len(v.replayID) != len(rec.Replay.ID) {
		return store.Authorization{}, store.Standing{}, errors.New("a hash in the database has a wrong length")
	}
	rec.Scopes = splitScopes(v.scopes)
	copy(rec.TokenHash[:], v.hash)
	rec.Replay.ID = store.Hash{}
	copy(rec.Replay.ID[:], v.replayID)
	rec.Replay.ExpiresAt = fromEnd(v.replayEnd)
	rec.IssuedAt, rec.CreatedAt, rec.UpdatedAt, rec.ExpiresAt = fromMicros(v.issued), fromMicros(v.created), fromMicros(v.updated), fromEnd(v.expires)
	rec.IdleTimeout, rec.EndsAt, rec.LastUsedAt = time.Duration(v.idle)*time.Microsecond, fromEnd(v.ends), fromEnd(v.used)
	return *rec, store.Standing{
		App:       v.app.Valid && rec.ClientID != "",
		Suspended: v.suspended.Valid || v.app.Int64 == 2 && rec.ClientID != "",
	}, nil
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// collect reads all rows.
func collect[T any](rows *sql.Rows, scan func(row) (T, error)) (out []T, err error) {
	err = each(rows, func(r row) error {
		rec, err := scan(r)
		if err == nil {
			out = append(out, rec)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each calls fn for all rows.
func each(rows *sql.Rows, fn func(row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
