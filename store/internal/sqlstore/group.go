package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/internal/combine"
)

// groupOf is the most writes that share a transaction: more of them gain little,
// and each would wait for all.
const groupOf = 128

// writer is the one place where a Store writes: what its callers want meanwhile
// goes into one transaction, with one flush to disk. A caller that is alone pays
// for no transaction beyond its own statement.
type writer struct {
	s     *Store
	db    *sql.DB
	own   bool // db has one connection, and it is ours
	group *combine.Group[job, struct{}]

	mu   sync.Mutex // held while line is in use
	line *line      // kept from one batch to the next, if own
}

// job is what one caller wants to write.
type job struct {
	hold hold
	do   func(context.Context, session) error
}

type call = combine.Call[job, struct{}]

func newWriter(s *Store, db *sql.DB, own bool) *writer {
	w := &writer{s: s, db: db, own: own}
	w.group = combine.New(1, groupOf, w.run)
	return w
}

// run does a batch, again as long as the database is busy. A batch that fails is
// rolled back and done over one by one, so that nobody fails for a neighbour.
func (w *writer) run(batch []*call) {
	var giveUp time.Time
	for attempt := 0; ; attempt++ {
		errs, err := w.attempt(batch)
		if err == nil {
			for i, c := range batch {
				c.Answer(struct{}{}, errs[i])
			}
			return
		}
		pause, again := backoff(sqlerr.Classify(err), attempt)
		if errors.Is(err, errNoConnection) {
			pause, again = 0, true // it has waited already
		}
		if !again && len(batch) > 1 {
			for i := range batch {
				w.run(batch[i : i+1 : i+1])
			}
			return
		}
		if attempt == 0 {
			giveUp = time.Now().Add(patience)
		}
		rest := make([]*call, 0, len(batch))
		for _, c := range batch {
			_, bounded := c.Context().Deadline()
			if !again || c.Context().Err() != nil || !bounded && time.Now().After(giveUp) {
				c.Answer(struct{}{}, err)
			} else {
				rest = append(rest, c)
			}
		}
		if batch = rest; len(batch) == 0 {
			return
		}
		time.Sleep(pause)
	}
}

// attempt does the batch once. errs say what became of each; where err is not
// nil, nothing was done.
func (w *writer) attempt(batch []*call) (errs []error, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if alone := batch[0]; len(batch) == 1 && !w.own && alone.In.hold == loose {
		// On the pool, whose connections have the statements prepared. Its
		// context ends nobody else's work.
		err := alone.In.do(alone.Context(), w.s)
		if err == nil {
			// database/sql closes a row's statement itself when ctx ends, and drops the error of the COMMIT in it.
			err = alone.Context().Err()
		}
		return outcome(err)
	}
	l, err := w.hold()
	if err != nil {
		return nil, err
	}
	defer func() { w.release(l, err) }()
	ctx := context.Background()
	if alone := batch[0].In; len(batch) == 1 && alone.hold != whole {
		return outcome(alone.do(ctx, l))
	}
	errs = make([]error, len(batch))
	err = l.transact(ctx, w.s.d.Begin, func(ctx context.Context) error {
		for i, c := range batch {
			if errs[i] = c.In.do(ctx, l); errs[i] != nil && !answers(errs[i]) {
				return errs[i]
			}
		}
		return nil
	})
	return errs, err
}

// outcome is attempt's answer for one call.
func outcome(err error) ([]error, error) {
	if err == nil || answers(err) {
		return []error{err}, nil
	}
	return nil, err
}

// answers reports whether err is an answer: then the statement behind it has
// changed nothing, and its transaction can go on.
func answers(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, errTokenTaken)
}

var errNoConnection = errors.New("the pool has no free connection")

// hold returns the connection to write on.
func (w *writer) hold() (*line, error) {
	if w.line != nil {
		return w.line, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := w.db.Conn(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errNoConnection
		}
		return nil, err
	}
	l := &line{conn: conn, keeps: true}
	if w.own {
		w.line = l
	}
	return l, nil
}

// release gives the connection back, unless it is kept and still good.
func (w *writer) release(l *line, err error) {
	if w.own && (err == nil || l.conn.Raw(func(any) error { return nil }) == nil) {
		return
	}
	_ = l.close()
	w.line = nil
}

// close ends the writer. Calls under way fail, or are done before.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.line != nil {
		err = w.line.close()
		w.line = nil
	}
	if w.own {
		err = errors.Join(err, w.db.Close())
	}
	return err
}
