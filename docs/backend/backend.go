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
	Method        string
	Authorization store.Authorization `json:",omitzero"`
	App           store.App           `json:",omitzero"`
}

// outcome is what a change came to.
type outcome struct {
	authorization store.Authorization
	created       bool
	app           store.App
	removed       int64
}

// apply makes a change in memory. The store there keeps the contract, so a
// call that fails changes nothing.
func (s *Store) apply(c change) (o outcome, err error) {
	ctx := context.Background() // a change that has begun is made, whoever still waits for it
	switch c.Method {
	case "GetOrCreate":
		o.authorization, o.created, err = s.state.GetOrCreate(ctx, c.Authorization)
	case "Replace":
		o.authorization, err = s.state.Replace(ctx, c.Authorization)
	case "Delete":
		err = s.state.Delete(ctx, c.Authorization.Owner, c.Authorization.ID)
	case "CreateApp":
		o.app, err = s.state.CreateApp(ctx, c.App)
	case "ReplaceApp":
		o.app, err = s.state.ReplaceApp(ctx, c.App)
	case "DeleteApp":
		o.removed, err = s.state.DeleteApp(ctx, c.App.ClientID)
	default:
		err = fmt.Errorf("backend: unknown method %q", c.Method)
	}
	return o, err
}

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
		if err == nil {
			_, err = s.apply(c)
		}
		if err != nil { // not in the text: JSON's error may quote a hash
			return fmt.Errorf("backend: %s is damaged at byte %d", s.log.Name(), s.read)
		}
		s.read += int64(len(line))
	}
	return nil
}

// do makes a change, on top of all changes before, and has it in the log before
// anybody hears of it.
func (s *Store) do(ctx context.Context, c change) (outcome, error) {
	return alone(ctx, s, func() (o outcome, err error) {
		if o, err = s.apply(c); err != nil || c.Method == "GetOrCreate" && !o.created {
			return o, err
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
			return outcome{}, fmt.Errorf("backend: %w", err)
		}
		s.read += int64(len(line))
		return o, nil
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
	o, err := s.do(ctx, change{Method: "GetOrCreate", Authorization: a})
	return o.authorization, o.created, err
}
func (s *Store) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return alone(ctx, s, func() (store.Authorization, error) { return s.state.Get(ctx, owner, id) })
}
func (s *Store) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	return alone(ctx, s, func() (store.Authorization, error) { return s.state.GetByTokenHash(ctx, hash) })
}
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return alone(ctx, s, func() ([]store.Authorization, error) { return s.state.List(ctx, q) })
}
func (s *Store) Replace(ctx context.Context, a store.Authorization) (store.Authorization, error) {
	o, err := s.do(ctx, change{Method: "Replace", Authorization: a})
	return o.authorization, err
}
func (s *Store) Delete(ctx context.Context, owner string, id int64) error {
	_, err := s.do(ctx, change{Method: "Delete", Authorization: store.Authorization{ID: id, Key: store.Key{Owner: owner}}})
	return err
}
func (s *Store) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	o, err := s.do(ctx, change{Method: "CreateApp", App: app})
	return o.app, err
}
func (s *Store) App(ctx context.Context, clientID string) (store.App, error) {
	return alone(ctx, s, func() (store.App, error) { return s.state.App(ctx, clientID) })
}
func (s *Store) ListApps(ctx context.Context, after int64, limit int) ([]store.App, error) {
	return alone(ctx, s, func() ([]store.App, error) { return s.state.ListApps(ctx, after, limit) })
}
func (s *Store) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	o, err := s.do(ctx, change{Method: "ReplaceApp", App: app})
	return o.app, err
}
func (s *Store) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	o, err := s.do(ctx, change{Method: "DeleteApp", App: store.App{ClientID: clientID}})
	return o.removed, err
}
