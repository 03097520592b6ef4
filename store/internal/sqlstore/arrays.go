package sqlstore

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
)

// array is the text of a PostgreSQL array. As a parameter of type TEXT that the
// statement casts, it means the same through every driver and protocol.
// https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
type array []byte

// add appends an element: a string, bytes, an integer or NULL.
func (a *array) add(v any) {
	t := *a
	if t == nil {
		t = append(t, '{')
	} else {
		t = append(t, ',')
	}
	switch v := v.(type) {
	case nil:
		t = append(t, "NULL"...)
	case int64:
		t = strconv.AppendInt(t, v, 10)
	case sql.NullInt64:
		if v.Valid {
			t = strconv.AppendInt(t, v.Int64, 10)
		} else {
			t = append(t, "NULL"...)
		}
	case []byte:
		if v == nil {
			t = append(t, "NULL"...)
			break
		}
		t = append(t, `"\\x`...)
		t = hex.AppendEncode(t, v)
		t = append(t, '"')
	case string:
		// In quotes everything stands for itself, but these two.
		t = append(t, '"')
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				t = append(t, '\\')
			}
			t = append(t, v[i])
		}
		t = append(t, '"')
	default:
		panic(fmt.Sprintf("sqlstore: an array of %T", v))
	}
	*a = t
}

// String returns the whole.
func (a array) String() string {
	if a == nil {
		return "{}"
	}
	return string(a) + "}"
}
