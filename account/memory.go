package account

import (
	"context"
	"sync"

	"github.com/seed-926035fd/authz/store"
)

// Memory returns a Backend that forgets everything with the process.
func Memory() Backend {
	return &memory{
		users:   make(map[int64]*memoryUser),
		byKey:   make(map[string]int64),
		tallies: make(map[string]tally),
	}
}

type memory struct {
	mu      sync.Mutex
	last    int64
	users   map[int64]*memoryUser
	byKey   map[string]int64
	tallies map[string]tally
}

type memoryUser struct {
	record
	step, usedAt int64
	recovery     map[string]bool // by hash; true when used
}

func (m *memory) migrate(ctx context.Context) error { return ctx.Err() }
func (m *memory) check(ctx context.Context) error   { return ctx.Err() }

// user runs f on the user with this ID, alone.
func (m *memory) user(ctx context.Context, id int64, f func(u *memoryUser)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.users[id]
	if !ok {
		return store.ErrNotFound
	}
	f(u)
	return nil
}

func (m *memory) insert(ctx context.Context, r record) (record, error) {
	if err := ctx.Err(); err != nil {
		return record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.byKey[r.key]; taken {
		return record{}, &store.ConflictError{Field: "login"}
	}
	m.last++
	r.id, r.rev = m.last, 1
	m.users[r.id] = &memoryUser{record: r}
	m.byKey[r.key] = r.id
	return r, nil
}

func (m *memory) byID(ctx context.Context, id int64) (r record, err error) {
	err = m.user(ctx, id, func(u *memoryUser) { r = u.record })
	return r, err
}

func (m *memory) list(ctx context.Context, after int64, limit int) ([]record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []record
	for id := max(after, 0) + 1; id <= m.last && len(out) < limit; id++ {
		out = append(out, m.users[id].record) // users are never removed
	}
	return out, nil
}

func (m *memory) setDisabled(ctx context.Context, id, disabledAt, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) {
		u.disabledAt, u.updatedAt = disabledAt, now
		u.rev++
	})
}

func (m *memory) setPassword(ctx context.Context, id int64, phc string, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) {
		u.password, u.updatedAt = phc, now
		u.rev++
	})
}

func (m *memory) rehash(ctx context.Context, id int64, old, phc string) error {
	return m.user(ctx, id, func(u *memoryUser) {
		if u.password == old {
			u.password = phc
		}
	})
}

func (m *memory) setPending(ctx context.Context, id int64, sealed string, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) { u.pending, u.updatedAt = sealed, now })
}

func (m *memory) confirm(ctx context.Context, c confirmation) (done bool, err error) {
	err = m.user(ctx, c.id, func(u *memoryUser) {
		if done = u.pending == c.pending; !done {
			return
		}
		u.seed, u.pending, u.step, u.usedAt, u.updatedAt = c.pending, "", c.step, c.now, c.now
		u.setRecovery(c.recovery)
		u.rev++
	})
	return done, err
}

func (u *memoryUser) setRecovery(hashes []string) {
	u.recovery = make(map[string]bool)
	for _, hash := range hashes {
		u.recovery[hash] = false
	}
}

func (m *memory) setSeed(ctx context.Context, id int64, sealed string, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) {
		u.seed, u.pending, u.updatedAt = sealed, "", now
		u.rev++
	})
}

func (m *memory) removeOTP(ctx context.Context, id, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) {
		u.seed, u.pending, u.recovery, u.updatedAt = "", "", nil, now
		u.rev++
	})
}

func (m *memory) setRecovery(ctx context.Context, id int64, hashes []string, now int64) error {
	return m.user(ctx, id, func(u *memoryUser) {
		u.setRecovery(hashes)
		u.updatedAt = now
	})
}

func (m *memory) reseal(ctx context.Context, id int64, old, sealed string) error {
	return m.user(ctx, id, func(u *memoryUser) {
		for _, s := range []*string{&u.seed, &u.pending} {
			if *s == old {
				*s = sealed
			}
		}
	})
}

func (m *memory) look(ctx context.Context, key, nobody string) (sight, error) {
	if err := ctx.Err(); err != nil {
		return sight{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := sight{subject: nobody}
	if id, ok := m.byKey[key]; ok {
		s.rec, s.found, s.subject = m.users[id].record, true, userSubject(id)
	}
	s.tally = m.tallies[s.subject]
	return s, nil
}

func (m *memory) admit(ctx context.Context, a admission) (v verdict, until int64, err error) {
	err = m.user(ctx, a.id, func(u *memoryUser) {
		t := m.tallies[a.subject]
		used, known := u.recovery[a.recovery]
		switch {
		case t.locked(a.now):
			v, until = isLocked, t.until
			return
		case u.rev != a.rev:
			v = isChanged
			return
		case a.recovery != "" && !known:
			v = isWrong
			return
		case a.recovery != "" && used,
			a.step != 0 && a.step < u.step,
			a.step != 0 && a.step == u.step && u.usedAt <= a.reuseAfter:
			v = isUsed
			return
		case a.recovery != "":
			u.recovery[a.recovery] = true
		case a.step > u.step:
			u.step, u.usedAt = a.step, a.now
		}
		delete(m.tallies, a.subject)
	})
	return v, until, err
}

func (m *memory) fail(ctx context.Context, f failure) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tallies[f.subject] = m.tallies[f.subject].add(f)
	return nil
}

func (m *memory) forget(ctx context.Context, subject string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tallies, subject)
	return nil
}

func (m *memory) sweep(ctx context.Context, before, now int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for subject, t := range m.tallies {
		if t.last <= before && t.until <= now {
			delete(m.tallies, subject)
		}
	}
	return nil
}
