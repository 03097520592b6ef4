//go:build unix

// Package backend is an example of a store of one's own: a log of changes in a
// file that processes share. README.md walks through it.
package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// Store is a [store.Store] in a log: a file with a line for each change, in
// the order in which they happened. What the lines add up to is kept in memory
// by every process, which reads what others have added before each call.
type Store struct {
	turn  chan struct{} // a lock, whose wait can end with a context; it guards the rest
	log   *os.File
	read  int64         // how much of the log is in state
	state *memory.Store // compares, finds and counts; the same lines make the same state everywhere
}

var _ store.Store = (*Store)(nil)

// Open opens the log at path, creating it if it does not exist.
func Open(path string) (*Store, error) {
	log, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	return &Store{turn: make(chan struct{}, 1), log: log, state: memory.New()}, nil
}

// Close closes the log.
func (s *Store) Close() error { return s.log.Close() }

// change is a line of the log: a call that has changed something.
type change struct {
	Method              string
	store.Authorization `json:"Authorization,omitzero"`
	Selection           store.Selection `json:",omitzero"`
	App                 store.App       `json:",omitzero"`
	Now                 time.Time       `json:",omitzero"`
	Uses                []store.Use     `json:",omitempty"`
}

// changes make a change in memory. The store there keeps the contract, so a
// call that fails changes nothing.
var changes = map[string]func(m *memory.Store, c change) (any, error){
	"GetOrCreate": func(m *memory.Store, c change) (any, error) {
		rec, _, err := m.GetOrCreate(endless, c.Authorization)
		return rec, err
	},
	"Create":      func(m *memory.Store, c change) (any, error) { return m.Create(endless, c.Authorization) },
	"Replace":     func(m *memory.Store, c change) (any, error) { return m.Replace(endless, c.Authorization) },
	"Delete":      func(m *memory.Store, c change) (any, error) { return nil, m.Delete(endless, c.Owner, c.ID) },
	"DeleteAll":   func(m *memory.Store, c change) (any, error) { return m.DeleteAll(endless, c.Selection) },
	"WipeReplays": func(m *memory.Store, c change) (any, error) { return m.WipeReplays(endless, c.Now) },
	"Touch":       func(m *memory.Store, c change) (any, error) { return nil, m.Touch(endless, c.Uses) },
	"Suspend":     func(m *memory.Store, c change) (any, error) { return nil, m.Suspend(endless, c.Owner, c.Now) },
	"Resume":      func(m *memory.Store, c change) (any, error) { return nil, m.Resume(endless, c.Owner) },
	"CreateApp":   func(m *memory.Store, c change) (any, error) { return m.CreateApp(endless, c.App) },
	"ReplaceApp":  func(m *memory.Store, c change) (any, error) { return m.ReplaceApp(endless, c.App) },
	"DeleteApp":   func(m *memory.Store, c change) (any, error) { return m.DeleteApp(endless, c.App.ClientID) },
}
var endless = context.Background() // a change that has begun is made, whoever still waits for it

// catchUp applies the lines that others have added.
func (s *Store) catchUp() error {
	text, err := io.ReadAll(io.NewSectionReader(s.log, s.read, math.MaxInt64-s.read))
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // somebody died while writing it
		}
		var c change
		err := json.Unmarshal(line, &c)
		apply := changes[c.Method]
		if err == nil && apply != nil {
			_, err = apply(s.state, c)
		}
		if err != nil || apply == nil { // no error in the text: JSON's error may quote a hash
			return fmt.Errorf("backend: %s is damaged at byte %d", s.log.Name(), s.read)
		}
		s.read += int64(len(line))
	}
	return nil
}

// do makes a change, on top of all changes before, and has it in the log before
// anybody hears of it.
func do[R any](ctx context.Context, s *Store, c change) (R, error) {
	return alone(ctx, s, func() (none R, err error) {
		out, err := changes[c.Method](s.state, c)
		result, _ := out.(R) // some have none
		if rec, ok := out.(store.Authorization); err != nil || ok && rec.TokenHash != c.TokenHash {
			return result, err // nothing has changed: it failed, or found a record
		}
		line, err := json.Marshal(c)
		line = append(line, '\n')
		if err == nil {
			err = s.log.Truncate(s.read) // drops what somebody died while writing
		}
		if err == nil {
			_, err = s.log.WriteAt(line, s.read)
		}
		if err == nil {
			err = s.log.Sync()
		}
		if err != nil { // what is in memory may not be in the log: read it anew
			s.read, s.state = 0, memory.New()
			return none, fmt.Errorf("backend: %w", err)
		}
		s.read += int64(len(line))
		return result, nil
	})
}

// alone calls f with the state up to date, while nobody else, here or in
// another process, reads or writes the log.
func alone[R any](ctx context.Context, s *Store, f func() (R, error)) (none R, err error) {
	select {
	case <-ctx.Done():
		return none, fmt.Errorf("backend: %w", ctx.Err())
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	}
	for ctx.Err() == nil && syscall.Flock(int(s.log.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		time.Sleep(time.Millisecond) // Flock could wait by itself, but would not end with ctx
	}
	defer syscall.Flock(int(s.log.Fd()), syscall.LOCK_UN) // the end of the process unlocks too
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("backend: %w", err)
	}
	if err := s.catchUp(); err != nil {
		return none, err
	}
	return f()
}

// What follows implements store.Authorizations and store.Apps, a line each.

func (s *Store) GetOrCreate(ctx context.Context, a store.Authorization) (store.Authorization, bool, error) {
	rec, err := do[store.Authorization](ctx, s, change{Method: "GetOrCreate", Authorization: a})
	return rec, err == nil && rec.TokenHash == a.TokenHash, err
}
func (s *Store) Create(ctx context.Context, a store.Authorization) (store.Authorization, error) {
	return do[store.Authorization](ctx, s, change{Method: "Create", Authorization: a})
}
func (s *Store) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return alone(ctx, s, func() (store.Authorization, error) { return s.state.Get(ctx, owner, id) })
}
func (s *Store) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	return alone(ctx, s, func() (store.Authorization, error) { return s.state.GetByTokenHash(ctx, hash) })
}
func (s *Store) Lookup(ctx context.Context, hash store.Hash) (rec store.Authorization, st store.Standing, err error) {
	rec, err = alone(ctx, s, func() (store.Authorization, error) {
		rec, st, err = s.state.Lookup(ctx, hash)
		return rec, err
	})
	return rec, st, err
}
func (s *Store) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	return alone(ctx, s, func() (store.Authorization, error) { return s.state.GetByReplay(ctx, id) })
}
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return alone(ctx, s, func() ([]store.Authorization, error) { return s.state.List(ctx, q) })
}
func (s *Store) Count(ctx context.Context, sel store.Selection) (int64, error) {
	return alone(ctx, s, func() (int64, error) { return s.state.Count(ctx, sel) })
}
func (s *Store) Replace(ctx context.Context, a store.Authorization) (store.Authorization, error) {
	return do[store.Authorization](ctx, s, change{Method: "Replace", Authorization: a})
}
func (s *Store) Delete(ctx context.Context, owner string, id int64) error {
	_, err := do[any](ctx, s, change{Method: "Delete", Authorization: store.Authorization{ID: id, Key: store.Key{Owner: owner}}})
	return err
}
func (s *Store) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	return do[int64](ctx, s, change{Method: "DeleteAll", Selection: sel})
}
func (s *Store) WipeReplays(ctx context.Context, now time.Time) (int64, error) {
	return do[int64](ctx, s, change{Method: "WipeReplays", Now: now})
}
func (s *Store) Touch(ctx context.Context, uses []store.Use) error {
	_, err := do[any](ctx, s, change{Method: "Touch", Uses: uses})
	return err
}
func (s *Store) Suspend(ctx context.Context, owner string, at time.Time) error {
	_, err := do[any](ctx, s, change{Method: "Suspend", Authorization: store.Authorization{Key: store.Key{Owner: owner}}, Now: at})
	return err
}
func (s *Store) Resume(ctx context.Context, owner string) error {
	_, err := do[any](ctx, s, change{Method: "Resume", Authorization: store.Authorization{Key: store.Key{Owner: owner}}})
	return err
}
func (s *Store) Suspended(ctx context.Context, owner string) (time.Time, error) {
	return alone(ctx, s, func() (time.Time, error) { return s.state.Suspended(ctx, owner) })
}
func (s *Store) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	return do[store.App](ctx, s, change{Method: "CreateApp", App: app})
}
func (s *Store) App(ctx context.Context, clientID string) (store.App, error) {
	return alone(ctx, s, func() (store.App, error) { return s.state.App(ctx, clientID) })
}
func (s *Store) ListApps(ctx context.Context, after int64, limit int) ([]store.App, error) {
	return alone(ctx, s, func() ([]store.App, error) { return s.state.ListApps(ctx, after, limit) })
}
func (s *Store) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	return do[store.App](ctx, s, change{Method: "ReplaceApp", App: app})
}
func (s *Store) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	return do[int64](ctx, s, change{Method: "DeleteApp", App: store.App{ClientID: clientID}})
}
