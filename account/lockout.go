package account

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"github.com/seed-926035fd/authz"
)

const (
	// recordWithin bounds the writing of a failure, which goes on after the
	// request's context has ended.
	recordWithin = 5 * time.Second
	// maxOwed bounds the memory for failures that could not be stored.
	maxOwed = 4096
	// sweepEvery is how often a process removes failures that count no more.
	sweepEvery = time.Minute
)

// tally is the stored count of one subject: a user, or a name that nobody has.
type tally struct {
	failures int64
	last     int64 // when the last failure was counted
	until    int64 // the end of the lock; 0 without one
	request  string
}

// failure is one wrong password or code.
type failure struct {
	subject string
	request string
	at      int64
	max     int64
	lockFor int64
}

func (t tally) locked(now int64) bool { return t.until > now }

// add counts one failure. It is the whole policy of the lock, for all backends;
// they run it while nobody else can change the row.
func (t tally) add(f failure) tally {
	switch {
	case t.request == f.request: // a repeat: counted already
		return t
	case t.locked(f.at):
		// A guess that was under way when the lock fell. It must not make the
		// lock longer: whoever guesses could keep the user out for ever.
		return t
	case t.until != 0, t.last <= f.at-f.lockFor:
		t = tally{} // the lock is over, or the last failure long ago
	}
	t.failures++
	t.last = max(t.last, f.at) // clocks of processes differ
	t.request = f.request
	if t.failures >= f.max {
		t.until = f.at + f.lockFor
	}
	return t
}

func userSubject(id int64) string { return "u" + strconv.FormatInt(id, 10) }

// nameHasher returns the function that hides names that nobody has.
func nameHasher(key authz.Secret) func(string) string {
	var derived []byte
	if !key.IsZero() {
		derived = derive(key, "authz account unknown login")
	}
	return func(login string) string {
		sum := hmac.New(sha256.New, derived)
		sum.Write([]byte(fold(login)))
		return "n" + hex.EncodeToString(sum.Sum(nil))
	}
}

// derive makes a key for one purpose from Config.Key (RFC 5869).
func derive(key authz.Secret, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, purpose, 32)
	if err != nil {
		panic(err) // 32 bytes are never too many
	}
	return out
}

// fail stores a failure of subject and returns answer, or another error if it
// could not be stored. The caller holds a slot: it is given back only when the
// failure counts, so that no more guesses than slots are ever uncounted.
func (d *Directory) fail(ctx context.Context, subject string, answer error) error {
	f := failure{
		subject: subject,
		request: newRequest(),
		at:      d.now(),
		max:     int64(d.cfg.MaxFailures),
		lockFor: d.cfg.LockFor.Microseconds(),
	}
	if err := d.record(ctx, f); err != nil {
		d.owed.add(f)
		return wrap("count a failure", err)
	}
	return answer
}

// record stores a failure even if the client has hung up.
func (d *Directory) record(ctx context.Context, f failure) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	if err := d.b.fail(ctx, f); err != nil {
		return err
	}
	d.sweep(ctx)
	return nil
}

// sweep removes what counts no more, so that made-up names do not fill the
// database. Its own failure matters to nobody: the next sweep does the work.
func (d *Directory) sweep(ctx context.Context) {
	now, last := d.now(), d.lastSweep.Load()
	if now-last >= sweepEvery.Microseconds() && d.lastSweep.CompareAndSwap(last, now) {
		_ = d.b.sweep(ctx, now-d.cfg.LockFor.Microseconds(), now)
	}
}

// debts are failures that could not be stored yet.
type debts struct {
	mu sync.Mutex
	of map[string][]failure // by subject
}

func (o *debts) add(f failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = make(map[string][]failure)
	}
	o.of[f.subject] = append(o.of[f.subject], f)
}

// list returns what must be stored before a guess for subject may be checked:
// that subject's failures, or everybody's if there are too many.
func (o *debts) list(subject string) []failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.of) < maxOwed {
		return append([]failure(nil), o.of[subject]...)
	}
	var all []failure
	for _, fs := range o.of {
		all = append(all, fs...)
	}
	return all
}

func (o *debts) paid(f failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rest := o.of[f.subject][:0]
	for _, g := range o.of[f.subject] {
		if g.request != f.request {
			rest = append(rest, g)
		}
	}
	if len(rest) == 0 {
		delete(o.of, f.subject)
	} else {
		o.of[f.subject] = rest
	}
}

// settle stores what is owed for subject.
func (d *Directory) settle(ctx context.Context, subject string) error {
	for _, f := range d.owed.list(subject) {
		if err := d.record(ctx, f); err != nil {
			return wrap("count a failure", err)
		}
		d.owed.paid(f)
	}
	return nil
}
