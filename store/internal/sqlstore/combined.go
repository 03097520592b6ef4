package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/internal/combine"
)

// Callers that meet share a statement. Who is alone has the single statement
// that it would have without this; nobody waits for company.

const (
	// most is how many calls share a statement.
	most = 128
	// singles is how many lookups go alone, beside the lanes, as long as no more than
	// few would share a statement: below that it costs more than it saves (8 callers:
	// 0.79 of raw, 0.65 without).
	singles = 6
	few     = 3
	// mostInserts is how many batches that have found nothing are stored together.
	mostInserts = 4
	// overdue is when a statement counts as hanging, and others are let past it.
	overdue = 100 * time.Millisecond
	// lockTimeout is for how many milliseconds a shared statement that writes
	// waits for another transaction. Then its calls go alone, and only the one
	// that is blocked waits on.
	lockTimeout = 100
)

// The statements for many calls, behind those of texts.
const (
	lookupMany statement = statements + iota
	byKeyMany
	insertMany
	allStatements
)

var textsOfMany = [allStatements]string{
	lookupMany: `SELECT ` + authorizationColumns + standingColumns + `
FROM authz_authorizations a
WHERE token_hash = ANY (CAST(` + arrayOf(1, "BYTEA") + ` AS BYTEA[]))`,

	// LATERAL with a LIMIT: one read of the index for each key, whatever the
	// statistics say.
	byKeyMany: `SELECT k.n, a.* FROM ` + unnest("TEXT", "TEXT", "TEXT", "BIGINT") + ` WITH ORDINALITY AS k(owner, client_id, fingerprint, live_at, n)
CROSS JOIN LATERAL (SELECT ` + authorizationColumns + ` FROM authz_authorizations
	WHERE owner = k.owner AND client_id = k.client_id AND fingerprint = k.fingerprint AND (expires_at IS NULL OR expires_at > k.live_at)
	ORDER BY id * 1 LIMIT 1) a`,

	// The setting ends with the statement, which is a transaction of its own. In
	// the order of n: see insertBatch.
	insertMany: `INSERT INTO authz_authorizations
	(revision, owner, client_id, fingerprint, scopes, note, note_url, token_hash, token_last_eight,
	issued_at, replay_id, replay_seal, replay_expires_at, created_at, updated_at, expires_at, idle_timeout, ends_at, slot)
SELECT 1, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, 0
FROM (SELECT set_config('lock_timeout', '` + strconv.Itoa(lockTimeout) + `', true)) AS wait(setting)
CROSS JOIN ` + unnest("TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "BYTEA", "TEXT",
		"BIGINT", "BYTEA", "BYTEA", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT") + `
	WITH ORDINALITY AS c(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, n)
WHERE setting IS NOT NULL ORDER BY n
ON CONFLICT (owner, client_id, fingerprint, slot) DO UPDATE SET owner = excluded.owner
RETURNING ` + authorizationColumns,
}

// unnest makes rows of one array for each column.
func unnest(types ...string) string {
	columns := make([]string, len(types))
	for i, t := range types {
		columns[i] = arrayOf(i+1, t)
	}
	return "unnest(" + strings.Join(columns, ", ") + ")"
}

// arrayOf is parameter n as an array. In a SELECT of its own a planner does not see
// how long it is: else PostgreSQL thinks that a plan for the few that there are is
// cheaper than one for any number, and makes a new one at each execution.
func arrayOf(n int, element string) string {
	return "(SELECT CAST(CAST($" + strconv.Itoa(n) + " AS TEXT) AS " + element + "[]))"
}

// text is what a statement says.
func text(id statement) string {
	if id < statements {
		return texts[id]
	}
	return textsOfMany[id]
}

// combined are the calls of a Store that share statements.
type combined struct {
	s       *Store
	lookups *combine.Group[hashQuery, found]
	keys    *combine.Group[*creation, store.Authorization]
	inserts *combine.Group[[]*creating, struct{}]
	// lacking says that the database does not know the statements for many.
	lacking atomic.Bool
}

type (
	hashQuery struct {
		hash     store.Hash
		standing bool // is asked for as well
	}
	found struct {
		rec      store.Authorization
		standing store.Standing
	}
	// creation is a GetOrCreate.
	creation struct{ candidate store.Authorization }
	creating = combine.Call[*creation, store.Authorization]
	// answer is what becomes of one call.
	answer[Out any] struct {
		out Out
		err error
	}
)

// newCombined returns nil for no lanes.
func newCombined(s *Store, lanes int) *combined {
	if lanes <= 0 {
		return nil
	}
	c := &combined{s: s}
	c.lookups = combine.New(lanes, most, func(batch []*combine.Call[hashQuery, found]) {
		work(c, batch, s.lookupOne, s.lookupBatch, (*combine.Call[hashQuery, found]).Answer)
	})
	c.keys = combine.New(lanes, most, func(batch []*creating) {
		// Those that are not there go on together, and hold up no reader.
		var missing []*creating
		work(c, batch, s.byKeyOne, s.byKeyBatch, func(call *creating, rec store.Authorization, err error) {
			if errors.Is(err, store.ErrNotFound) {
				missing = append(missing, call)
			} else {
				call.Answer(rec, err)
			}
		})
		if missing != nil {
			go c.inserts.Do(context.Background(), missing)
		}
	})
	c.inserts = combine.New(lanes, mostInserts, func(batch []*combine.Call[[]*creating, struct{}]) {
		calls := batch[0].In
		for _, more := range batch[1:] {
			calls = append(calls, more.In...)
		}
		work(c, calls, s.insertOne, s.insertBatch, (*creating).Answer)
		for _, call := range batch {
			call.Answer(struct{}{}, nil)
		}
	})
	c.lookups.Extra(singles, few)
	c.lookups.Overdue(overdue)
	c.keys.Overdue(overdue)
	c.inserts.Overdue(overdue)
	return c
}

// on reports whether calls are combined.
func (c *combined) on() bool { return c != nil && !c.lacking.Load() }

// errAlone tells a caller that the statement it shared has no answer for it: it
// goes alone, since what is wrong can be its neighbours' fault.
var errAlone = errors.New("the shared statement has no answer")

// work has a batch done, a single call by one, several by many, and calls settle
// for each. many runs one statement and returns the answers in the order of the
// calls.
func work[In, Out any](c *combined, batch []*combine.Call[In, Out], one func(context.Context, In) (Out, error),
	many func(context.Context, []In) ([]answer[Out], error), settle func(*combine.Call[In, Out], Out, error)) {
	var zero Out
	take(context.Background(), c.s.calls)
	defer give(c.s.calls)
	// That may have taken its time: nothing is begun for callers who are gone.
	batch = slices.DeleteFunc(batch, func(call *combine.Call[In, Out]) bool {
		err := call.Context().Err()
		if err != nil {
			call.Answer(zero, err)
		}
		return err != nil
	})
	switch len(batch) {
	case 0:
		return
	case 1: // not under the caller's context: see Dialect.Detached
		out, err := one(context.WithoutCancel(batch[0].Context()), batch[0].In)
		settle(batch[0], out, err)
		return
	}
	ins := make([]In, len(batch))
	for i, call := range batch {
		ins[i] = call.In
	}
	answers, err := many(context.Background(), ins)
	if err == nil {
		for i, call := range batch {
			settle(call, answers[i].out, answers[i].err)
		}
		return
	}
	switch sqlerr.Classify(err) {
	case sqlerr.Contend, sqlerr.Away, sqlerr.ReadOnly, sqlerr.NoTable: // nobody's fault
	default:
		if unknown(err) {
			c.lacking.Store(true)
		}
		err = errAlone
	}
	for _, call := range batch {
		settle(call, zero, err)
	}
}

// unknown reports whether err says that the database does not know such
// statements: some speak PostgreSQL's protocol and not all of its SQL.
func unknown(err error) bool {
	switch sqlerr.State(err) {
	case "42601", "42883", "42846", "0A000": // syntax_error, undefined_function, cannot_coerce, feature_not_supported
		return true
	}
	return false
}

// share has in done by g, or alone where that has no answer. What passes is
// repeated for each caller apart, for as long as its own context lets it.
func share[In, Out any](ctx context.Context, s *Store, what string, g *combine.Group[In, Out], in In,
	one func(context.Context, In) (Out, error)) (Out, error) {
	alone := false
	return do(ctx, s, what, together, func(ctx context.Context) (Out, error) {
		if !alone {
			out, err := g.Do(ctx, in)
			if alone = err == errAlone; !alone {
				return out, err
			}
		}
		return attemptOnce(ctx, s, repeating, func(ctx context.Context) (Out, error) { return one(ctx, in) })
	})
}

// lookup is Lookup, and GetByTokenHash without the standing.
func (c *combined) lookup(ctx context.Context, what string, hash store.Hash, standing bool) (store.Authorization, store.Standing, error) {
	f, err := share(ctx, c.s, what, c.lookups, hashQuery{hash, standing}, c.s.lookupOne)
	return f.rec, f.standing, err
}

func (s *Store) lookupOne(ctx context.Context, q hashQuery) (f found, err error) {
	if q.standing {
		f.rec, f.standing, err = scanStanding(s.queryRow(ctx, lookup, q.hash[:]))
	} else {
		f.rec, err = scanAuthorization(s.queryRow(ctx, getByHash, q.hash[:]))
	}
	return f, err
}

func (s *Store) lookupBatch(ctx context.Context, qs []hashQuery) ([]answer[found], error) {
	var hashes array
	for i := range qs {
		hashes.add(qs[i].hash[:])
	}
	rows, err := s.query(ctx, lookupMany, hashes.String())
	if err != nil {
		return nil, err
	}
	all := make([]shared[found], 0, len(qs)) // never moved: pointers lead into it
	byHash := make(map[store.Hash]*shared[found], len(qs))
	columns := newScanner(true)
	err = each(rows, func(r row) (err error) {
		var f shared[found]
		f.out.rec, f.out.standing, err = columns.scan(r)
		all = append(all, f)
		byHash[f.out.rec.TokenHash] = &all[len(all)-1]
		return err
	})
	if err != nil {
		return nil, err
	}
	answers := make([]answer[found], len(qs))
	for i, q := range qs {
		f, ok := byHash[q.hash]
		if !ok {
			answers[i].err = store.ErrNotFound
			continue
		}
		answers[i].out = f.out
		answers[i].out.rec = f.own(f.out.rec)
	}
	return answers, nil
}

// shared is an answer that several calls can get.
type shared[Out any] struct {
	out   Out
	given bool
}

// own returns rec, the answer's, so that no two callers share memory.
func (s *shared[Out]) own(rec store.Authorization) store.Authorization {
	if s.given {
		rec = private(rec)
	}
	s.given = true
	return rec
}

// getOrCreate is GetOrCreate. The caller may leave before it is done: nothing of
// its memory is kept.
func (c *combined) getOrCreate(ctx context.Context, candidate store.Authorization) (store.Authorization, bool, error) {
	in := &creation{private(candidate)}
	in.candidate.ID = 0
	rec, err := share(ctx, c.s, "get or create", c.keys, in, c.s.getOrCreateOne)
	if err != nil {
		return store.Authorization{}, false, err
	}
	return rec, rec.TokenHash == in.candidate.TokenHash, nil // and not "did the statement insert": see GetOrCreate
}

func (s *Store) getOrCreateOne(ctx context.Context, in *creation) (store.Authorization, error) {
	rec, err := s.byKeyOne(ctx, in)
	if errors.Is(err, store.ErrNotFound) {
		rec, err = s.insertOne(ctx, in)
	}
	return rec, err
}

func (s *Store) byKeyOne(ctx context.Context, in *creation) (store.Authorization, error) {
	return s.byKey(ctx, in.candidate.Key, in.candidate.CreatedAt.UnixMicro())
}

func (s *Store) byKeyBatch(ctx context.Context, ins []*creation) ([]answer[store.Authorization], error) {
	var owners, clients, fingerprints, lives array
	for _, in := range ins {
		owners.add(in.candidate.Owner)
		clients.add(in.candidate.ClientID)
		fingerprints.add(in.candidate.Fingerprint)
		lives.add(in.candidate.CreatedAt.UnixMicro())
	}
	rows, err := s.query(ctx, byKeyMany, owners.String(), clients.String(), fingerprints.String(), lives.String())
	if err != nil {
		return nil, err
	}
	answers := make([]answer[store.Authorization], len(ins))
	for i := range answers {
		answers[i].err = store.ErrNotFound
	}
	numbered, columns := numberedRow{row: rows}, newScanner(false)
	err = each(rows, func(row) error {
		rec, err := columns.authorization(&numbered)
		switch n := numbered.n; {
		case err != nil:
			return err
		case n < 1 || n > len(ins) || rec.Key != ins[n-1].candidate.Key:
			return errors.New("a row answers no call")
		default:
			answers[n-1] = answer[store.Authorization]{out: rec}
		}
		return nil
	})
	return answers, err
}

// numberedRow is a row with a number before its columns. One scanner reads it, row
// after row.
type numberedRow struct {
	row
	n    int
	dest []any
}

func (r *numberedRow) Scan(dest ...any) error {
	if r.dest == nil {
		r.dest = append([]any{&r.n}, dest...)
	}
	return r.row.Scan(r.dest...)
}

func (s *Store) insertOne(ctx context.Context, in *creation) (store.Authorization, error) {
	return s.insertUnblocked(ctx, s, in.candidate)
}

// insertBatch stores at most one candidate for each key: a statement cannot meet
// its own row. The others get the row that the first one has. In the order of the
// keys, so that no two processes wait for each other in a circle.
func (s *Store) insertBatch(ctx context.Context, ins []*creation) ([]answer[store.Authorization], error) {
	first := make(map[store.Key]*creation, len(ins))
	for _, in := range ins {
		if first[in.candidate.Key] == nil {
			first[in.candidate.Key] = in
		}
	}
	firsts := make([]*creation, 0, len(first))
	for _, in := range first {
		firsts = append(firsts, in)
	}
	slices.SortFunc(firsts, func(a, b *creation) int {
		x, y := &a.candidate.Key, &b.candidate.Key
		return cmp.Or(strings.Compare(x.Owner, y.Owner), strings.Compare(x.ClientID, y.ClientID), strings.Compare(x.Fingerprint, y.Fingerprint))
	})
	var arrays []array
	for _, in := range firsts {
		values := insertArgs(in.candidate)
		if arrays == nil {
			arrays = make([]array, len(values))
		}
		for i, value := range values {
			arrays[i].add(value)
		}
	}
	args := make([]any, len(arrays))
	for i := range arrays {
		args[i] = arrays[i].String()
	}
	rows, err := s.query(ctx, insertMany, args...)
	if err != nil {
		return nil, err
	}
	recs := make([]shared[store.Authorization], 0, len(firsts)) // never moved: pointers lead into it
	byKey := make(map[store.Key]*shared[store.Authorization], len(firsts))
	columns := newScanner(false)
	err = each(rows, func(r row) error { // to the end: then it is committed
		rec, err := columns.authorization(r)
		recs = append(recs, shared[store.Authorization]{out: rec})
		byKey[rec.Key] = &recs[len(recs)-1]
		return err
	})
	if err != nil {
		return nil, err
	}
	answers := make([]answer[store.Authorization], len(ins))
	for i, in := range ins {
		rec := byKey[in.candidate.Key]
		if rec == nil || expired(rec.out, in.candidate) {
			answers[i].err = errAlone
			continue
		}
		answers[i].out = rec.own(rec.out)
	}
	return answers, nil
}
