package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	_ "github.com/lib/pq"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

// PostgreSQL reads back what array wrote, whichever way parameters go to it.
func FuzzArray(f *testing.F) {
	dsn := pgtest.DSN(f)
	var dbs []*sql.DB
	for _, parameters := range []string{"", "&binary_parameters=yes"} {
		db, err := sql.Open("postgres", dsn+parameters)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = db.Close() })
		dbs = append(dbs, db)
	}
	f.Add("", []byte{}, int64(0))
	f.Add("NULL", []byte(nil), int64(-1<<63))
	f.Add(`"`, []byte(`"\`), int64(1<<63-1))
	f.Add(`\`, []byte{0, 0xff}, int64(1))
	f.Add(`{a,b}`, []byte("x"), int64(2))
	f.Add(`a, "b\\" 'c' $1 `, []byte("NULL"), int64(3))
	f.Add("\n\t\r\x01\u00e9\u2028\U0001F600", []byte("{}"), int64(4))
	f.Fuzz(func(t *testing.T, text string, data []byte, n int64) {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Skip() // not in a Store: see package store
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		texts := []string{text, "", text + text, "NULL"}
		blobs := [][]byte{data, nil, {}, append(slices.Clone(data), data...)}
		ints := []sql.NullInt64{{Int64: n, Valid: true}, {}, {Int64: -n, Valid: true}, {}}
		var a, b, c array
		for i := range texts {
			a.add(texts[i])
			b.add(blobs[i])
			c.add(ints[i])
		}
		for _, db := range dbs {
			rows, err := db.QueryContext(ctx, "SELECT a, b, c FROM "+unnest("TEXT", "BYTEA", "BIGINT")+" WITH ORDINALITY AS u(a, b, c, n) ORDER BY n",
				a.String(), b.String(), c.String())
			if err != nil {
				t.Fatalf("%q, %q, %d: %v", text, data, n, err)
			}
			defer rows.Close()
			i := 0
			for ; rows.Next(); i++ {
				var (
					gotText sql.NullString
					gotData []byte
					gotInt  sql.NullInt64
				)
				if err := rows.Scan(&gotText, &gotData, &gotInt); err != nil {
					t.Fatal(err)
				}
				if gotText.String != texts[i] || !gotText.Valid || string(gotData) != string(blobs[i]) || (gotData == nil) != (blobs[i] == nil) || gotInt != ints[i] {
					t.Errorf("element %d is %q, %q, %v; want %q, %q, %v", i, gotText.String, gotData, gotInt, texts[i], blobs[i], ints[i])
				}
			}
			if err := rows.Err(); err != nil || i != len(texts) {
				t.Errorf("%d rows, %v; want %d", i, err, len(texts))
			}
		}
	})
}

func TestEmptyArray(t *testing.T) {
	if got := array(nil).String(); got != "{}" {
		t.Errorf("an array of nothing is %q", got)
	}
}
