package account

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
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

// pause says whether err may go away, and how long to wait before a repeat.
func pause(err error, turn int) (wait time.Duration, again bool) {
	limit := 250 * time.Millisecond
	switch sqlerr.Classify(err) {
	case sqlerr.Contend:
		limit = 20 * time.Millisecond
	case sqlerr.Away, sqlerr.ReadOnly:
	default:
		return 0, false
	}
	// Full jitter: those who wait for one thing must not come back together.
	longest := min(time.Millisecond<<min(turn, 10), limit)
	return rand.N(longest) + time.Millisecond/4, true
}

func missing(err error) bool { return sqlerr.Classify(err) == sqlerr.NoTable }

// abandon ends the transaction on conn and gives conn back, or throws it away
// if it may still be in a transaction.
func abandon(conn *sql.Conn, cause error) {
	class := sqlerr.Classify(cause)
	bad := class == sqlerr.Away || class == sqlerr.ReadOnly
	if !bad {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := conn.ExecContext(ctx, "ROLLBACK")
		// SQLite says so if no transaction is open: BEGIN itself failed, or the
		// error ended it.
		bad = err != nil && sqlerr.Code(err)&0xff != sqlerr.SQLiteError
	}
	if bad {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = conn.Close()
}
