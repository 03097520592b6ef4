package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

const partitions = 16

// The copies that are compared: one table, and one in partitions by the hash of the
// owner. Neither has triggers. What is unique in a table with partitions must hold
// the owner, so that token_hash and id cannot be: a table beside it, whose key is the
// hash, holds the owner of each token.
var copies = []struct {
	name       string
	tables     string // their names, as LIKE takes them
	statements []string
}{
	{"one table", "copy_one", []string{
		`CREATE TABLE copy_one (LIKE authz_authorizations)`,
		`INSERT INTO copy_one SELECT * FROM authz_authorizations`,
		`ALTER TABLE copy_one ADD PRIMARY KEY (id)`,
		`CREATE UNIQUE INDEX ON copy_one (owner, client_id, fingerprint, slot)`,
		`CREATE UNIQUE INDEX ON copy_one (token_hash)`,
		`CREATE INDEX ON copy_one (owner, (id + 0))`,
		`CREATE INDEX ON copy_one (client_id)`,
		`VACUUM ANALYZE copy_one`,
	}},
	{"16 partitions", "copy_parts_%", append(append([]string{
		`CREATE TABLE copy_parts (LIKE authz_authorizations) PARTITION BY HASH (owner)`,
	}, each(`CREATE TABLE copy_parts_%[1]d PARTITION OF copy_parts FOR VALUES WITH (MODULUS %[2]d, REMAINDER %[1]d)`)...),
		`INSERT INTO copy_parts SELECT * FROM authz_authorizations`,
		`ALTER TABLE copy_parts ADD PRIMARY KEY (owner, id)`,
		`CREATE UNIQUE INDEX ON copy_parts (owner, client_id, fingerprint, slot)`,
		`CREATE INDEX ON copy_parts (token_hash)`,
		`CREATE INDEX ON copy_parts (owner, (id + 0))`,
		`CREATE INDEX ON copy_parts (client_id)`,
		`VACUUM ANALYZE copy_parts`,
	)},
	{"hash → owner", "copy_owners", []string{
		`CREATE TABLE copy_owners AS SELECT token_hash, owner FROM authz_authorizations`,
		`ALTER TABLE copy_owners ADD PRIMARY KEY (token_hash)`,
		`VACUUM ANALYZE copy_owners`,
	}},
}

func each(format string) (out []string) {
	for i := range partitions {
		out = append(out, fmt.Sprintf(format, i, partitions))
	}
	return out
}

// measurePartitions compares statements on the copies.
func (r *report) measurePartitions(ctx context.Context, o options, d *database, p *progress) error {
	for _, c := range copies {
		p.rowsLeft -= d.rows
		for _, statement := range c.statements {
			p.say(0, "postgres, %d rows: partitions: copying to %s", d.rows, c.name)
			if _, err := d.db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		var bytes int64
		err := d.db.QueryRowContext(ctx, `SELECT CAST(SUM(pg_total_relation_size(CAST(c.relname AS regclass))) AS BIGINT)
	FROM pg_class c WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind = 'r' AND relname LIKE $1`, c.tables).Scan(&bytes)
		if err != nil {
			return err
		}
		r.Partitions.Sizes = append(r.Partitions.Sizes, size{Backend: "postgres", Rows: d.rows, Relation: c.name, Bytes: bytes, PerRow: float64(bytes) / float64(d.rows)})
	}
	r.Partitions.Rows = d.rows
	defer func() { _, _ = d.db.Exec("DROP TABLE IF EXISTS copy_one, copy_parts, copy_owners") }()

	// A pool like the store's: the copies are under the same load.
	d.db.SetMaxIdleConns(8)
	prepare := func(text string) (*sql.Stmt, error) {
		return d.db.PrepareContext(ctx, strings.ReplaceAll(text, "*", rawColumns))
	}
	var (
		next    atomic.Int64
		victims = rand.Perm(d.owners())
		share   = max(1, min(1000, d.owners()/10))
		err     error
	)
	statement := func(name, text string, limit, want int, args func(rng *rand.Rand) []any) *subject {
		stmt, failed := prepare(text)
		if failed != nil && err == nil {
			err = fmt.Errorf("%s: %w", name, failed)
		}
		return &subject{name: name, limit: limit, op: func(ctx context.Context, rng *rand.Rand) error {
			if want == 0 {
				_, err := stmt.ExecContext(ctx, args(rng)...)
				return err
			}
			n, err := read(ctx, stmt, args(rng)...)
			return expect(err, n >= want)
		}}
	}
	byHash := func(rng *rand.Rand) []any { hash := d.any(rng).TokenHash; return []any{hash[:]} }
	byHashAndOwner := func(rng *rand.Rand) []any { a := d.any(rng); return []any{a.TokenHash[:], a.Owner} }
	byKey := func(rng *rand.Rand) []any {
		a := d.any(rng)
		return []any{a.Owner, a.ClientID, a.Fingerprint}
	}
	byOwner := func(rng *rand.Rand) []any { return []any{ownerName(rng.IntN(d.owners()))} }
	victim := func(*rand.Rand) []any { return []any{ownerName(victims[int(next.Add(1)-1)%len(victims)])} }
	const one, parts = "one table", "16 partitions"
	operations := []operation{
		{"lookup by hash", []int{1, 8}, []*subject{
			statement(one, `SELECT * FROM copy_one WHERE token_hash = $1`, 0, 1, byHash),
			statement(parts+", each asked", `SELECT * FROM copy_parts WHERE token_hash = $1`, 0, 1, byHash),
			statement(parts+", the token tells the owner", `SELECT * FROM copy_parts WHERE token_hash = $1 AND owner = $2`, 0, 1, byHashAndOwner),
			statement(parts+", a table tells the owner", `SELECT * FROM copy_parts WHERE token_hash = $1 AND owner = (SELECT o.owner FROM copy_owners o WHERE o.token_hash = $1)`, 0, 1, byHash),
		}},
		{"get by key", []int{1, 8}, []*subject{
			statement(one, `SELECT * FROM copy_one WHERE owner = $1 AND client_id = $2 AND fingerprint = $3`, 0, 1, byKey),
			statement(parts, `SELECT * FROM copy_parts WHERE owner = $1 AND client_id = $2 AND fingerprint = $3`, 0, 1, byKey),
		}},
		{"list, usual owner", []int{1, 8}, []*subject{
			statement(one, `SELECT * FROM copy_one WHERE owner = $1 ORDER BY id + 0 LIMIT 30`, 0, perOwner, byOwner),
			statement(parts, `SELECT * FROM copy_parts WHERE owner = $1 ORDER BY id + 0 LIMIT 30`, 0, perOwner, byOwner),
		}},
		{"revoke by user", []int{1, 8}, []*subject{
			statement(one, `DELETE FROM copy_one WHERE owner = $1`, share, 0, victim),
			statement(parts, `DELETE FROM copy_parts WHERE owner = $1`, share, 0, victim),
		}},
	}
	if err != nil {
		return err
	}
	for _, op := range operations {
		for _, callers := range op.callers {
			p.timeLeft -= time.Duration(len(op.subjects)) * o.pass
			p.say(time.Duration(len(op.subjects))*o.pass, "postgres, %d rows: partitions: %s, %d callers", d.rows, op.name, callers)
			measured, err := measure(ctx, op, callers, o.pass, nil)
			if err != nil {
				return err
			}
			for _, m := range measured {
				m.Backend, m.Rows = "postgres", d.rows
				r.Partitions.Measured = append(r.Partitions.Measured, m)
			}
		}
	}
	return nil
}
