package account

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"
)

// patience is how long something is repeated when the context has no deadline.
const patience = 10 * time.Second

// retry runs f until it returns nil or an error that does not go away by
// repeating, or ctx ends. f must be safe to repeat after an unknown outcome.
func retry(ctx context.Context, f func() error) error {
	start := time.Now()
	for turn := 0; ; turn++ {
		err := f()
		wait, again := pause(err, turn)
		if !again || time.Since(start)+wait > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// pause says whether err may go away, and how long to wait before a repeat. It
// knows the drivers by the methods of their errors only.
func pause(err error, turn int) (wait time.Duration, again bool) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return 0, false
	}
	limit := 250 * time.Millisecond
	switch state := sqlState(err); {
	case state == "40001", state == "40P01": // lost a race: the winner is through
		limit = 10 * time.Millisecond
	case sqliteCode(err) == sqliteBusy, sqliteCode(err) == sqliteLocked:
		limit = 20 * time.Millisecond
	case unusable(err):
	default:
		return 0, false
	}
	// Full jitter: those who wait for one thing must not come back together.
	longest := min(time.Millisecond<<min(turn, 10), limit)
	return rand.N(longest) + time.Millisecond/4, true
}

// unusable reports whether the connection is good for nothing any more, though
// another one may work.
func unusable(err error) bool {
	switch state := sqlState(err); {
	case strings.HasPrefix(state, "08"), // connection exceptions
		state == "57P01", state == "57P02", state == "57P03", // shutting down, starting up
		state == "53300", // too many connections
		state == "25006": // read-only since a failover
		return true
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error // such as the time-out of a dialer's connection
	if errors.As(err, &network) {
		return true
	}
	for _, gone := range []error{
		driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// sqlState returns the SQLSTATE of an error of lib/pq or pgx, else "".
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// Primary result codes of SQLite.
const (
	sqliteError  = 1
	sqliteBusy   = 5
	sqliteLocked = 6
)

// sqliteCode returns the primary result code of an error of modernc.org/sqlite,
// else 0.
func sqliteCode(err error) int {
	var e interface{ Code() int }
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func sqliteMissing(err error) bool {
	return sqliteCode(err) == sqliteError && strings.Contains(err.Error(), "no such table")
}

// abandon ends the transaction on conn and gives conn back, or throws it away
// if it may still be in a transaction.
func abandon(conn *sql.Conn, cause error) {
	bad := unusable(cause)
	if !bad {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := conn.ExecContext(ctx, "ROLLBACK")
		// SQLite says so if no transaction is open: BEGIN itself failed, or the
		// error ended it.
		bad = err != nil && sqliteCode(err) != sqliteError
	}
	if bad {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = conn.Close()
}
