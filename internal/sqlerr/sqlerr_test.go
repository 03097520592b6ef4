package sqlerr_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/seed-926035fd/authz/internal/sqlerr"
)

type postgres string

func (e postgres) Error() string    { return "ERROR: something (SQLSTATE " + string(e) + ")" }
func (e postgres) SQLState() string { return string(e) }

type sqlite struct {
	code int
	text string
}

func (e sqlite) Error() string { return e.text }
func (e sqlite) Code() int     { return e.code }

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want sqlerr.Class
	}{
		{nil, sqlerr.Fatal},
		{errors.New("anything"), sqlerr.Fatal},
		{context.DeadlineExceeded, sqlerr.Fatal}, // a net.Error as well
		{context.Canceled, sqlerr.Fatal},
		{postgres("40001"), sqlerr.Contend},
		{postgres("40P01"), sqlerr.Contend},
		{postgres("25006"), sqlerr.ReadOnly},
		{postgres("23505"), sqlerr.Unique},
		{postgres("42P01"), sqlerr.NoTable},
		{postgres("08006"), sqlerr.Away},
		{postgres("53300"), sqlerr.Away},
		{postgres("57P01"), sqlerr.Away},
		{postgres("57P03"), sqlerr.Away},
		{postgres("57014"), sqlerr.Fatal}, // query_canceled
		{postgres("22021"), sqlerr.Fatal},
		{sqlite{5, "database is locked"}, sqlerr.Contend},
		{sqlite{517, "database is locked"}, sqlerr.Contend}, // BUSY_SNAPSHOT
		{sqlite{6, "database table is locked"}, sqlerr.Contend},
		{sqlite{2067, "UNIQUE constraint failed"}, sqlerr.Unique},
		{sqlite{1, "no such table: x"}, sqlerr.NoTable},
		{sqlite{1, "near x: syntax error"}, sqlerr.Fatal},
		{sqlite{13, "database or disk is full"}, sqlerr.Fatal},
		{errors.New("database is locked"), sqlerr.Contend}, // of a driver without codes
		{errors.New("UNIQUE constraint failed: a.b"), sqlerr.Unique},
		{errors.New("no such table: a"), sqlerr.NoTable},
		{driver.ErrBadConn, sqlerr.Away},
		{io.ErrUnexpectedEOF, sqlerr.Away},
		{net.ErrClosed, sqlerr.Away},
		{syscall.ECONNREFUSED, sqlerr.Away},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, sqlerr.Away},
	} {
		if got := sqlerr.Classify(tc.err); got != tc.want {
			t.Errorf("Classify(%v) = %d, want %d", tc.err, got, tc.want)
		}
		if tc.err == nil {
			continue
		}
		if got := sqlerr.Classify(fmt.Errorf("wrapped: %w", tc.err)); got != tc.want {
			t.Errorf("Classify of %v, wrapped = %d, want %d", tc.err, got, tc.want)
		}
	}
}
