// Package sqlerr says what an error of a database driver means. It links no
// driver: PostgreSQL's drivers have SQLState on their errors, modernc.org/sqlite
// has Code, and other drivers for SQLite at least say what SQLite says.
package sqlerr

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// Class is the meaning of a driver's error.
type Class int

// The classes of errors.
const (
	Fatal    Class = iota // repeating the statement will not help
	Contend               // another transaction was in the way: repeat soon
	Away                  // the database is not there: repeat with patience
	ReadOnly              // this server only reads: repeat on another connection
	Unique                // a unique value is taken
	NoTable               // the schema is not there
)

// Classify returns the class of an error; nil is Fatal.
func Classify(err error) Class {
	if err == nil {
		return Fatal
	}
	if state := State(err); state != "" {
		return postgres(state)
	}
	if code := Code(err); code != 0 {
		return sqlite(code, err.Error())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Fatal
	}
	for _, gone := range []error{
		driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
	} {
		if errors.Is(err, gone) {
			return Away
		}
	}
	var network net.Error // such as the time-out of a dialer's connection
	if errors.As(err, &network) {
		return Away
	}
	switch text := err.Error(); {
	case strings.Contains(text, "database is locked"):
		return Contend
	case strings.Contains(text, "UNIQUE constraint failed"):
		return Unique
	case strings.Contains(text, "no such table"):
		return NoTable
	}
	return Fatal
}

// State returns PostgreSQL's SQLSTATE, or "".
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func State(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

func postgres(state string) Class {
	switch {
	case state == "40001", state == "40P01": // serialization_failure, deadlock_detected
		return Contend
	case state == "25006": // read_only_sql_transaction: the node was demoted
		return ReadOnly
	case state == "23505": // unique_violation
		return Unique
	case state == "42P01": // undefined_table
		return NoTable
	case strings.HasPrefix(state, "08"), // connection_exception
		state == "53300",                                     // too_many_connections
		state == "57P01", state == "57P02", state == "57P03": // shutdown, crash, starting up
		return Away
	}
	return Fatal
}

// SQLite's primary result codes, https://sqlite.org/rescode.html.
const (
	SQLiteError    = 1
	SQLiteBusy     = 5
	SQLiteLocked   = 6
	SQLiteReadOnly = 8
	SQLiteIOErr    = 10
	SQLiteCorrupt  = 11
	SQLiteFull     = 13
	SQLiteCantOpen = 14
	SQLiteNotADB   = 26

	sqliteUnique = 2067 // an extended one
)

// Code returns SQLite's extended result code, or 0. Its low byte is the primary
// one.
func Code(err error) int {
	var e interface{ Code() int }
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func sqlite(code int, text string) Class {
	switch primary := code & 0xff; {
	case code == sqliteUnique:
		return Unique
	case primary == SQLiteBusy, primary == SQLiteLocked:
		return Contend
	case primary == SQLiteError && strings.Contains(text, "no such table"):
		return NoTable
	}
	return Fatal
}
