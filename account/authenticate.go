package account

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seed-926035fd/authz"
)

// Authenticator returns the directory as an [authz.Authenticator] for Basic
// authentication and the X-GitHub-OTP header.
func (d *Directory) Authenticator() authz.Authenticator { return authz.BasicAuth(d.Authenticate) }

// Authenticate checks a login, a password and, for users with two-factor
// authentication, a code or recovery code. Its errors are
//
//   - authz.ErrBadCredentials: no such login, a wrong password, or a disabled
//     user, at the same cost;
//   - *[authz.OTPRequiredError]: the password was right; the code was missing,
//     wrong, expired or used before;
//   - *[authz.LockedError]: too many failures, whatever was sent;
//   - any other: no answer could be found, for storage is away or ctx ended.
//
// It returns as soon as ctx is done. A check that has begun goes on behind it,
// so that a client cannot save itself a failure by hanging up.
func (d *Directory) Authenticate(ctx context.Context, c authz.Credentials) (authz.User, error) {
	type result struct {
		user authz.User
		err  error
	}
	done := make(chan result, 1)
	go func() {
		user, err := d.login(ctx, c)
		done <- result{user, err}
	}()
	select {
	case r := <-done:
		return r.user, r.err
	case <-ctx.Done():
		return authz.User{}, wrap("authenticate", ctx.Err())
	}
}

// errChanged says that the user's password, one-time password or state changed
// while the login was under way, so that what was checked is out of date.
var errChanged = errors.New("the user keeps changing")

func (d *Directory) login(ctx context.Context, c authz.Credentials) (authz.User, error) {
	for range 3 {
		user, err := d.attempt(ctx, c)
		if !errors.Is(err, errChanged) {
			return user, err
		}
	}
	return authz.User{}, wrap("authenticate", errChanged)
}

func (d *Directory) attempt(ctx context.Context, c authz.Credentials) (authz.User, error) {
	// Before the queue for a slot: who is locked takes no slot from others.
	key, nobody := lookupKey(c.Login), d.names(c.Login)
	s, err := d.lookUnlocked(ctx, key, nobody)
	if err != nil {
		return authz.User{}, err
	}
	release, err := d.slot(ctx)
	if err != nil {
		return authz.User{}, err
	}
	defer release()

	// And again: others may have failed while this one waited.
	if err := d.settle(ctx, s.subject); err != nil {
		return authz.User{}, err
	}
	if s, err = d.lookUnlocked(ctx, key, nobody); err != nil {
		return authz.User{}, err
	}

	// Everybody's password is checked, also nobody's, and nothing before.
	phc := d.dummy
	if s.found {
		phc = s.rec.password
	}
	right, stale, err := d.verify(phc, c.Password)
	if err != nil {
		return authz.User{}, err
	}
	if !right || !s.found || s.rec.disabledAt != 0 {
		return authz.User{}, d.fail(ctx, s.subject, authz.ErrBadCredentials)
	}
	if err := d.admit(ctx, s, c.OTP.Reveal()); err != nil {
		return authz.User{}, err
	}

	// Upkeep. The login has succeeded; if this fails, the next one does it.
	if stale {
		_ = d.b.rehash(ctx, s.rec.id, s.rec.password, d.hash(c.Password.Reveal()))
	}
	_, _ = d.reseal(ctx, s.rec.id, s.rec.seed)
	return s.rec.user().Authz(), nil
}

// sight is what a Backend knows of a login, at one moment.
type sight struct {
	rec     record
	found   bool
	subject string // whose failures are counted: the user's, or the name's
	tally   tally
}

func (d *Directory) lookUnlocked(ctx context.Context, key, nobody string) (sight, error) {
	s, err := d.b.look(ctx, key, nobody)
	if err != nil {
		return sight{}, wrap("authenticate", err)
	}
	if now := d.now(); s.tally.locked(now) {
		return sight{}, lockedError(s.tally.until, now)
	}
	return s, nil
}

func lockedError(until, now int64) error {
	return &authz.LockedError{RetryAfter: time.Duration(until-now) * time.Microsecond}
}

// admission is a login whose password was right, in the state in which it was
// seen. A Backend takes it in one step, or refuses it.
type admission struct {
	id         int64
	rev        int64  // credentials_rev as it was seen
	subject    string // must not be locked by now
	now        int64
	request    string
	forget     bool   // there are failures to forget
	step       int64  // the code's time step to use up, or 0
	reuseAfter int64  // a step that is used already will do if its first use was later
	recovery   string // the hash of the recovery code to use up, or ""
}

type verdict int

const (
	admitted verdict = iota
	isLocked         // since the user was looked up
	isChanged
	isUsed  // the code was right, and was used before
	isWrong // no such recovery code
)

// admit checks the code of a user whose password was right, and lets the user in.
func (d *Directory) admit(ctx context.Context, s sight, code string) error {
	now := d.now()
	a := admission{
		id:         s.rec.id,
		rev:        s.rec.rev,
		subject:    s.subject,
		now:        now,
		request:    newRequest(),
		forget:     s.tally != (tally{}),
		reuseAfter: math.MaxInt64,
	}
	if reuse := d.cfg.OTPReuse; reuse > 0 {
		a.reuseAfter = now - reuse.Microseconds()
	}
	if s.rec.seed != "" {
		if code == "" {
			return &authz.OTPRequiredError{Delivery: authz.OTPApp}
		}
		if recovery, ok := recoveryCode(code); ok {
			a.recovery = recoveryHash(s.rec.id, recovery)
		} else {
			seed, _, err := d.keys.open(s.rec.id, s.rec.seed)
			if err != nil {
				return err
			}
			if a.step, ok = matchStep(seed, code, now); !ok {
				return d.fail(ctx, s.subject, &authz.OTPRequiredError{Delivery: authz.OTPApp})
			}
		}
	}
	v, until, err := d.b.admit(ctx, a)
	switch {
	case err != nil:
		return wrap("authenticate", err)
	case v == admitted:
		return nil
	case v == isLocked:
		return lockedError(until, now)
	case v == isChanged:
		return wrap("authenticate", errChanged)
	case v == isUsed:
		// Not counted: a client that sends one code twice is no guesser.
		return &authz.OTPRequiredError{Delivery: authz.OTPApp}
	case v == isWrong:
		return d.fail(ctx, s.subject, &authz.OTPRequiredError{Delivery: authz.OTPApp})
	}
	panic(fmt.Sprintf("account: unknown verdict %d", v))
}
