package authz_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// spy sees every call to a store and can fail it: before it is made, or after,
// so that it has taken effect and its answer is lost.
type spy struct {
	store.Store
	before func(method string, args ...any) error
	after  func(method string, result any, err error) error
}

// gotten is the result of GetOrCreate.
type gotten struct {
	rec     store.Authorization
	created bool
}

func spied[R any](s *spy, method string, do func() (R, error), args ...any) (R, error) {
	var none R
	if s.before != nil {
		if err := s.before(method, args...); err != nil {
			return none, err
		}
	}
	result, err := do()
	if s.after != nil {
		if err := s.after(method, result, err); err != nil {
			return none, err
		}
	}
	return result, err
}

func (s *spy) GetOrCreate(ctx context.Context, rec store.Authorization) (store.Authorization, bool, error) {
	got, err := spied(s, "GetOrCreate", func() (gotten, error) {
		rec, created, err := s.Store.GetOrCreate(ctx, rec)
		return gotten{rec, created}, err
	}, rec)
	return got.rec, got.created, err
}

func (s *spy) Create(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	return spied(s, "Create", func() (store.Authorization, error) { return s.Store.Create(ctx, rec) }, rec)
}

func (s *spy) Get(ctx context.Context, owner string, id int64) (store.Authorization, error) {
	return spied(s, "Get", func() (store.Authorization, error) { return s.Store.Get(ctx, owner, id) }, owner, id)
}

func (s *spy) GetByTokenHash(ctx context.Context, hash store.Hash) (store.Authorization, error) {
	return spied(s, "GetByTokenHash", func() (store.Authorization, error) { return s.Store.GetByTokenHash(ctx, hash) }, hash)
}

func (s *spy) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	type looked struct {
		rec      store.Authorization
		standing store.Standing
	}
	v, err := spied(s, "Lookup", func() (looked, error) {
		rec, standing, err := s.Store.Lookup(ctx, hash)
		return looked{rec, standing}, err
	}, hash)
	return v.rec, v.standing, err
}

func (s *spy) GetByReplay(ctx context.Context, id store.Hash) (store.Authorization, error) {
	return spied(s, "GetByReplay", func() (store.Authorization, error) { return s.Store.GetByReplay(ctx, id) }, id)
}

func (s *spy) List(ctx context.Context, q store.Query) ([]store.Authorization, error) {
	return spied(s, "List", func() ([]store.Authorization, error) { return s.Store.List(ctx, q) }, q)
}

func (s *spy) Count(ctx context.Context, sel store.Selection) (int64, error) {
	return spied(s, "Count", func() (int64, error) { return s.Store.Count(ctx, sel) }, sel)
}

func (s *spy) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	return spied(s, "Replace", func() (store.Authorization, error) { return s.Store.Replace(ctx, rec) }, rec)
}

func (s *spy) Delete(ctx context.Context, owner string, id int64) error {
	_, err := spied(s, "Delete", func() (int64, error) { return 0, s.Store.Delete(ctx, owner, id) }, owner, id)
	return err
}

func (s *spy) DeleteAll(ctx context.Context, sel store.Selection) (int64, error) {
	return spied(s, "DeleteAll", func() (int64, error) { return s.Store.DeleteAll(ctx, sel) }, sel)
}

func (s *spy) WipeReplays(ctx context.Context, now time.Time) (int64, error) {
	return spied(s, "WipeReplays", func() (int64, error) { return s.Store.WipeReplays(ctx, now) }, now)
}

func (s *spy) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	return spied(s, "CreateApp", func() (store.App, error) { return s.Store.CreateApp(ctx, app) }, app)
}

func (s *spy) App(ctx context.Context, clientID string) (store.App, error) {
	return spied(s, "App", func() (store.App, error) { return s.Store.App(ctx, clientID) }, clientID)
}

// operation is one of those that make a token, with what it needs there already.
type operation struct {
	name    string
	created bool // it makes an authorization
	call    func(key authz.Secret) (authz.Result, error)
}

// operations are all that take an Idempotency-Key, each on records of its own.
func operations(t testing.TB, m *authz.Manager) []operation {
	t.Helper()
	ctx := context.Background()
	keyed := func(req authz.Request, key authz.Secret) authz.Request {
		req.IdempotencyKey = key
		return req
	}
	mustGet(t, m, request(fingerprint("rotate")))
	reset := mustGet(t, m, request(fingerprint("reset"))).Token
	wide := mustGet(t, m, request(fingerprint("wide"), scopes("a", "b"))).Token
	return []operation{
		{"Create", true, func(key authz.Secret) (authz.Result, error) {
			return m.Create(ctx, keyed(request(scopes("post")), key))
		}},
		{"Create, personal", true, func(key authz.Secret) (authz.Result, error) { return m.Create(ctx, keyed(personal("mine"), key)) }},
		{"GetOrCreate", true, func(key authz.Secret) (authz.Result, error) {
			return m.GetOrCreate(ctx, keyed(request(fingerprint("put")), key))
		}},
		{"rotate", false, func(key authz.Secret) (authz.Result, error) {
			return m.GetOrCreate(ctx, keyed(request(fingerprint("rotate"), onExisting(authz.OnExistingRotate)), key))
		}},
		{"Reset", false, func(key authz.Secret) (authz.Result, error) {
			return m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: reset, IdempotencyKey: key})
		}},
		{"Scoped", true, func(key authz.Secret) (authz.Result, error) {
			return m.Scoped(ctx, authz.ScopedRequest{ClientID: clientID, Token: wide, Scopes: []string{"a"}, IdempotencyKey: key})
		}},
	}
}

// eachOperation runs test for each operation, on a store of its own.
func eachOperation(t *testing.T, cfg authz.Config, newStore func(t *testing.T) store.Store,
	test func(t *testing.T, m *authz.Manager, c *clock, op operation)) {
	t.Helper()
	plain, _ := newManager(t, memory.New(), authz.Config{})
	for i, op := range operations(t, plain) {
		t.Run(op.name, func(t *testing.T) {
			m, c := newManager(t, newStore(t), cfg)
			test(t, m, c, operations(t, m)[i])
		})
	}
}

var (
	key1 = authz.NewSecret("11111111-aaaa-4aaa-8aaa-111111111111")
	key2 = authz.NewSecret("22222222-bbbb-4bbb-8bbb-222222222222")
)

func mustCall(t testing.TB, op operation, key authz.Secret) authz.Result {
	t.Helper()
	res, err := op.call(key)
	if err != nil {
		t.Fatalf("%s: %v", op.name, err)
	}
	return res
}

// wantReplay fails the test unless got is the answer want once more.
func wantReplay(t testing.TB, name string, got authz.Result, err error, want authz.Result) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v, want the same answer again", name, err)
		return
	}
	if !got.Token.Equal(want.Token) || got.Token.IsZero() || got.Authorization.ID != want.Authorization.ID ||
		got.Created != want.Created || !got.Replayed || !reflect.DeepEqual(got.App, want.App) {
		t.Errorf("%s: id %d, the same token %v, Created %v, Replayed %v, App %+v; want id %d and the same token, Created %v, Replayed, App %+v",
			name, got.Authorization.ID, got.Token.Equal(want.Token), got.Created, got.Replayed, got.App,
			want.Authorization.ID, want.Created, want.App)
	}
}

// wantKeyError fails the test unless err is about the Idempotency-Key.
func wantKeyError(t testing.TB, name string, err error) {
	t.Helper()
	wantField(t, name, err, "Idempotency-Key", authz.CodeCustom)
}

// The same request with the same key gets the same answer, however often.
func TestReplay(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) store.Store{"memory": inMemory, "sqlite": onDisk} {
		t.Run(name, func(t *testing.T) {
			h := new(hearing)
			eachOperation(t, authz.Config{OnEvent: h.hear}, newStore, func(t *testing.T, m *authz.Manager, c *clock, op operation) {
				h.take()
				first := mustCall(t, op, key1)
				if first.Replayed || first.Created != op.created || first.Token.IsZero() {
					t.Fatalf("first: Replayed %v, Created %v, want false and %v", first.Replayed, first.Created, op.created)
				}
				if n := len(h.take()); n != 1 {
					t.Errorf("%d events, want 1", n)
				}
				before := listed(t, m, owner)
				for range 3 {
					c.Add(time.Minute)
					again, err := op.call(key1)
					wantReplay(t, "again", again, err, first)
					if !reflect.DeepEqual(again.Authorization, first.Authorization) {
						t.Errorf("again:\ngot  %+v\nwant %+v", again.Authorization, first.Authorization)
					}
				}
				if events := h.take(); events != nil {
					t.Errorf("events of a replay: %+v", events)
				}
				if after := listed(t, m, owner); !slices.Equal(after, before) {
					t.Errorf("authorizations %v, want %v as before", after, before)
				}
				if !alive(t, m, first.Token) {
					t.Error("the token is dead")
				}
			})
		})
	}
}

func TestReplayWindow(t *testing.T) {
	if authz.ReplayWindow != 10*time.Minute {
		t.Errorf("ReplayWindow = %v, want 10 minutes", authz.ReplayWindow)
	}
	eachOperation(t, authz.Config{}, inMemory, func(t *testing.T, m *authz.Manager, c *clock, op operation) {
		first := mustCall(t, op, key1)
		c.Add(authz.ReplayWindow - time.Microsecond)
		again, err := op.call(key1)
		wantReplay(t, "a microsecond before the end", again, err, first)
		c.Add(time.Microsecond)
		late, err := op.call(key1)
		switch op.name {
		case "Create", "Scoped", "rotate": // as without a key
			if err != nil || late.Replayed || late.Token.IsZero() || late.Token.Equal(first.Token) {
				t.Errorf("at the end: %+v, %v; want another token", late, err)
			}
		case "Create, personal":
			wantTaken(t, "at the end", err, "note", first.Authorization.ID)
		case "GetOrCreate":
			if err != nil || late.Replayed || late.Created || !late.Token.IsZero() || late.Authorization.ID != first.Authorization.ID {
				t.Errorf("at the end: %+v, %v; want the existing one without token", late, err)
			}
		case "Reset":
			if !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("at the end: err = %v, want ErrNotFound: the old token is dead", err)
			}
		}
	})
}

// Each use of the token ends the replay, and leaves nothing to open.
func TestReplayEndsWithTheFirstUse(t *testing.T) {
	ctx := context.Background()
	for use, do := range map[string]func(m *authz.Manager, token authz.Secret) error{
		"Verify": func(m *authz.Manager, token authz.Secret) error { _, err := m.Verify(ctx, token.Reveal()); return err },
		"Check": func(m *authz.Manager, token authz.Secret) error {
			_, err := m.Check(ctx, clientID, token.Reveal())
			if errors.Is(err, authz.ErrNotFound) {
				_, err = m.Verify(ctx, token.Reveal()) // a personal one
			}
			return err
		},
		"Check by another app": func(m *authz.Manager, token authz.Secret) error {
			_, err := m.Check(ctx, otherClient, token.Reveal())
			if !errors.Is(err, authz.ErrNotFound) {
				return fmt.Errorf("err = %w, want ErrNotFound", err)
			}
			return nil
		},
	} {
		t.Run(use, func(t *testing.T) {
			h := new(hearing)
			var s store.Store
			newStore := func(*testing.T) store.Store { s = memory.New(); return s }
			eachOperation(t, authz.Config{OnEvent: h.hear}, newStore, func(t *testing.T, m *authz.Manager, c *clock, op operation) {
				first := mustCall(t, op, key1)
				id := first.Authorization.ID
				if rec, err := s.Get(ctx, owner, id); err != nil || len(rec.Replay.Seal) == 0 {
					t.Fatalf("nothing is sealed: %+v, %v", rec.Replay, err)
				}
				h.take()
				if err := do(m, first.Token); err != nil {
					t.Fatal(err)
				}
				rec, err := s.Get(ctx, owner, id)
				if err != nil || len(rec.Replay.Seal) != sha256.Size || rec.Replay.ID != first.Authorization.Replay.ID {
					t.Errorf("after the first use: %+v, %v; want the hash of the request alone", rec.Replay, err)
				}
				if !rec.UpdatedAt.Equal(first.Authorization.UpdatedAt) {
					t.Error("the use has changed UpdatedAt")
				}
				before := listed(t, m, owner)
				for range 2 {
					res, err := op.call(key1)
					switch {
					case op.name != "GetOrCreate":
						if wantKeyError(t, "after the first use", err); !strings.Contains(fmt.Sprint(err), "was used") {
							t.Errorf("err = %v, want it to say that the token is in use", err)
						}
						if !reflect.DeepEqual(res, authz.Result{}) {
							t.Errorf("after the first use: %+v beside the error", res)
						}
					case err != nil || res.Created || res.Replayed || !res.Token.IsZero() || res.Authorization.ID != id || res.App.ClientID != clientID:
						t.Errorf("after the first use: %+v, %v; want the existing one without token", res, err)
					}
				}
				if after := listed(t, m, owner); !slices.Equal(after, before) || !alive(t, m, first.Token) {
					t.Errorf("authorizations %v, want %v as before and the token alive", after, before)
				}
				if events := h.take(); events != nil {
					t.Errorf("events: %+v, want none", events)
				}
				c.Add(authz.ReplayWindow)
				if n, err := m.WipeReplays(ctx); n != 1 || err != nil {
					t.Errorf("WipeReplays = %d, %v; want 1", n, err)
				}
				if rec, err := s.Get(ctx, owner, id); err != nil || !rec.Replay.IsZero() {
					t.Errorf("after the window: %+v, %v", rec.Replay, err)
				}
			})
		})
	}
}

// A key is good for one request, also after its token was replaced: the late twin
// does nothing again, and another request is told that it is another.
func TestReplayAfterTheTokenWasReplaced(t *testing.T) {
	ctx := context.Background()
	eachOperation(t, authz.Config{}, inMemory, func(t *testing.T, m *authz.Manager, _ *clock, op operation) {
		first := mustCall(t, op, key1)
		live := first.Token
		if first.Authorization.ClientID != "" { // nothing replaces a personal one
			second, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: first.Token})
			if err != nil {
				t.Fatal(err)
			}
			live = second.Token
		} else if _, err := m.Verify(ctx, live.Reveal()); err != nil {
			t.Fatal(err)
		}
		before := listed(t, m, owner)
		res, err := op.call(key1)
		switch {
		case op.name == "GetOrCreate":
			if err != nil || res.Created || res.Replayed || !res.Token.IsZero() || res.Authorization.ID != first.Authorization.ID {
				t.Errorf("the same request = %+v, %v; want the existing one without token", res, err)
			}
		default:
			if wantKeyError(t, "the same request", err); !strings.Contains(fmt.Sprint(err), "used or replaced") {
				t.Errorf("the same request: %v", err)
			}
		}
		if strings.HasPrefix(op.name, "Reset") || op.name == "Scoped" {
			_, err = m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: live, IdempotencyKey: key1})
		} else {
			_, err = m.GetOrCreate(ctx, request(fingerprint("of another request"), func(r *authz.Request) { r.IdempotencyKey = key1 }))
		}
		if wantKeyError(t, "another request", err); !strings.Contains(fmt.Sprint(err), "another request") {
			t.Errorf("another request: %v", err)
		}
		if after := listed(t, m, owner); !slices.Equal(after, before) || !alive(t, m, live) {
			t.Errorf("authorizations %v, want %v as before and the token alive", after, before)
		}
	})
}

// A use that cannot be noted is a use all the same: the token is right.
func TestUseWhileTheStoreCannotWrite(t *testing.T) {
	s := &spy{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	res := mustCreate(t, m, request(func(r *authz.Request) { r.IdempotencyKey = key1 }))
	s.before = func(method string, _ ...any) error {
		if method == "Replace" {
			return errors.New("the disk is full")
		}
		return nil
	}
	if !alive(t, m, res.Token) {
		t.Error("the token is dead")
	}
	s.before = nil
	if _, err := m.Verify(context.Background(), res.Token.Reveal()); err != nil {
		t.Fatal(err)
	}
	_, err := m.Create(context.Background(), request(func(r *authz.Request) { r.IdempotencyKey = key1 }))
	wantKeyError(t, "after the next use", err)
}

func TestWipeReplays(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{})
		ctx := context.Background()
		wipe := func(want int64) {
			t.Helper()
			if n, err := m.WipeReplays(ctx); err != nil || n != want {
				t.Errorf("WipeReplays = %d, %v; want %d", n, err, want)
			}
		}
		wipe(0)
		keyed := func(key string) authz.Result {
			t.Helper()
			return mustCreate(t, m, request(func(r *authz.Request) { r.IdempotencyKey = authz.NewSecret(key) }))
		}
		mustCreate(t, m, request())
		first := keyed("first-key-0123456789")
		c.Add(time.Minute)
		second := keyed("second-key-0123456789")
		wipe(0)
		c.Add(authz.ReplayWindow - time.Minute - time.Microsecond)
		wipe(0)
		c.Add(time.Microsecond)
		wipe(1)
		wipe(0)
		if rec, err := s.Get(ctx, owner, first.Authorization.ID); err != nil || !rec.Replay.IsZero() || rec.Replay.Seal != nil || !rec.Replay.ExpiresAt.IsZero() {
			t.Errorf("the first one: %+v, %v; want nothing left", rec.Replay, err)
		}
		if rec, err := s.Get(ctx, owner, second.Authorization.ID); err != nil || len(rec.Replay.Seal) == 0 {
			t.Errorf("the second one: %+v, %v; want it there", rec.Replay, err)
		}
		// A request with a key of its own does it too.
		c.Add(time.Minute)
		keyed("third-key-0123456789")
		if rec, err := s.Get(ctx, owner, second.Authorization.ID); err != nil || !rec.Replay.IsZero() {
			t.Errorf("the second one: %+v, %v; want nothing left", rec.Replay, err)
		}
		if !alive(t, m, first.Token) || !alive(t, m, second.Token) {
			t.Error("a token died of it")
		}
	})
}

// Requests with keys wipe once in a minute, and again where that failed.
func TestRequestsWipeNowAndThen(t *testing.T) {
	s := &spy{Store: memory.New()}
	m, c := newManager(t, s, authz.Config{})
	wipes := 0
	var fail error
	s.before = func(method string, _ ...any) error {
		if method != "WipeReplays" {
			return nil
		}
		wipes++
		return fail
	}
	n := 0
	call := func() error {
		n++
		_, err := m.Create(context.Background(), request(func(r *authz.Request) {
			r.IdempotencyKey = authz.NewSecret(fmt.Sprintf("%020d", n))
		}))
		return err
	}
	check := func(when string, want int) {
		t.Helper()
		wipes = 0
		for range 5 {
			if err := call(); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		if wipes != want {
			t.Errorf("%s: %d wipes, want %d", when, wipes, want)
		}
	}
	check("at first", 1)
	check("at once", 0)
	c.Add(time.Minute - time.Microsecond)
	check("within the minute", 0)
	c.Add(time.Microsecond)
	check("after a minute", 1)
	c.Add(-time.Hour)
	check("after the clock was set back", 1)
	c.Add(time.Minute)
	fail = errLost
	if err := call(); !errors.Is(err, errLost) {
		t.Errorf("err = %v, want the store's error", err)
	}
	fail = nil
	check("after a failure", 1)
	wipes = 0
	if mustCreate(t, m, request()); wipes != 0 {
		t.Error("a request without a key wipes")
	}
}

// The same request in other words is the same request.
func TestReplayInOtherWords(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	keyed := func(changes ...change) authz.Request {
		req := request(append([]change{scopes("a", "b")}, changes...)...)
		req.IdempotencyKey = key1
		return req
	}
	first := mustGet(t, m, keyed(scopes("a", "b", "a")))
	for name, req := range map[string]authz.Request{
		"scopes twice":        keyed(scopes("a", "a", "b", "b")),
		"scopes once":         keyed(scopes("a", "b")),
		"on_existing spelled": keyed(onExisting(authz.OnExistingReturn)),
	} {
		again, err := m.GetOrCreate(ctx, req)
		wantReplay(t, name, again, err, first)
	}
	wide := mustCreate(t, m, request(scopes("a", "b"))).Token
	narrow := scopedRequest(wide, "b", "a", "b")
	narrow.IdempotencyKey = key2
	one, err := m.Scoped(ctx, narrow)
	if err != nil {
		t.Fatal(err)
	}
	narrow.Scopes = []string{"b", "a"}
	again, err := m.Scoped(ctx, narrow)
	wantReplay(t, "Scoped, scopes once", again, err, one)
}

// An app's new client_secret makes no other request; a wrong one is refused
// before the key is looked at.
func TestReplayChecksTheClient(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	req := request(func(r *authz.Request) { r.IdempotencyKey = key1 })
	first := mustCreate(t, m, req)
	_, secret, err := m.RotateSecret(ctx, clientID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(ctx, req); !errors.Is(err, authz.ErrInvalidClient) {
		t.Errorf("with the old client_secret: err = %v, want ErrInvalidClient", err)
	}
	req.ClientSecret = secret
	again, err := m.Create(ctx, req)
	first.App = again.App // with another secret
	wantReplay(t, "with the new client_secret", again, err, first)
	if _, err := m.DeleteApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	if res, err := m.Create(ctx, req); !errors.Is(err, authz.ErrInvalidClient) || !res.Token.IsZero() {
		t.Errorf("for a deleted app: %+v, %v; want ErrInvalidClient", res, err)
	}
}

// Another request with the same key is refused and does nothing.
func TestReplayOfAnotherRequest(t *testing.T) {
	ctx := context.Background()
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
		register(t, m, otherClient)
		reset, wide := mustCreate(t, m, request(scopes("r"))).Token, mustCreate(t, m, request(scopes("a", "b"))).Token
		existing := mustGet(t, m, request(fingerprint("existing")))
		userKey, appKey := key1, key2
		base := request(scopes("a", "b"), fingerprint("base"), noteURL("https://example.com"), func(r *authz.Request) { r.IdempotencyKey = userKey })
		with := func(changes ...change) authz.Request {
			req := base
			for _, c := range changes {
				c(&req)
			}
			return req
		}
		first := mustCreate(t, m, base)
		narrow := scopedRequest(wide, "a")
		narrow.IdempotencyKey = appKey
		narrowed, err := m.Scoped(ctx, narrow)
		if err != nil {
			t.Fatal(err)
		}
		scopedWith := func(change func(*authz.ScopedRequest)) authz.ScopedRequest {
			req := narrow
			change(&req)
			return req
		}
		create := func(req authz.Request) error { _, err := m.Create(ctx, req); return err }
		put := func(req authz.Request) error { _, err := m.GetOrCreate(ctx, req); return err }
		scoped := func(req authz.ScopedRequest) error { _, err := m.Scoped(ctx, req); return err }
		before := listed(t, m, owner)
		h.take()
		for name, err := range map[string]error{
			"note":              create(with(note("another"))),
			"no note":           create(with(note(""))),
			"note_url":          create(with(noteURL("https://example.com/"))),
			"fingerprint":       create(with(fingerprint("another"))),
			"fewer scopes":      create(with(scopes("a"))),
			"other order":       create(with(scopes("b", "a"))),
			"scopes joined":     create(with(scopes("a,b"))),
			"another app":       create(with(forApp(otherClient))),
			"personal":          create(with(forApp(""))),
			"get-or-create":     put(base),
			"... and rotate":    put(with(onExisting(authz.OnExistingRotate))),
			"... and error":     put(with(onExisting(authz.OnExistingError))),
			"... of another":    put(with(fingerprint("existing"))),
			"... rotating that": put(with(fingerprint("existing"), onExisting(authz.OnExistingRotate))),
			"Reset": func() error {
				_, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: reset, IdempotencyKey: appKey})
				return err
			}(),
			"Scoped: other token":  scoped(scopedWith(func(r *authz.ScopedRequest) { r.Token = reset })),
			"Scoped: more scopes":  scoped(scopedWith(func(r *authz.ScopedRequest) { r.Scopes = []string{"a", "b"} })),
			"Scoped: note":         scoped(scopedWith(func(r *authz.ScopedRequest) { r.Note = "x" })),
			"Scoped: note_url":     scoped(scopedWith(func(r *authz.ScopedRequest) { r.NoteURL = "https://x.example" })),
			"Scoped: fingerprint":  scoped(scopedWith(func(r *authz.ScopedRequest) { r.Fingerprint = "x" })),
			"Scoped: dead token":   scoped(scopedWith(func(r *authz.ScopedRequest) { r.Token = authz.NewSecret("azt_x") })),
			"Scoped: beyond scope": scoped(scopedWith(func(r *authz.ScopedRequest) { r.Scopes = []string{"admin"} })),
		} {
			if wantKeyError(t, name, err); !strings.Contains(fmt.Sprint(err), "another request") {
				t.Errorf("%s: err = %v, want it to say that it was another request", name, err)
			}
		}
		if after := listed(t, m, owner); !slices.Equal(after, before) {
			t.Errorf("authorizations %v, want %v as before", after, before)
		}
		if events := h.take(); events != nil {
			t.Errorf("events: %+v, want none", events)
		}
		// None of it has ended the first ones' replay.
		again, err := m.Create(ctx, base)
		wantReplay(t, "Create", again, err, first)
		again, err = m.Scoped(ctx, narrow)
		wantReplay(t, "Scoped", again, err, narrowed)
		if !alive(t, m, existing.Token) || !alive(t, m, reset) || !alive(t, m, wide) {
			t.Error("a token died of it")
		}
	})
}

// A key is its sender's own: others may have the same one.
func TestReplayKeyOfAnother(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	register(t, m, otherClient)
	ctx := context.Background()
	key := func(r *authz.Request) { r.IdempotencyKey = key1 }
	tokens := map[string]bool{}
	var all []authz.Secret
	fresh := func(name string, res authz.Result, err error) {
		t.Helper()
		if err != nil || res.Replayed || res.Token.IsZero() || tokens[res.Token.Reveal()] {
			t.Errorf("%s: %+v, %v; want a token of its own", name, res, err)
			return
		}
		tokens[res.Token.Reveal()] = true
		all = append(all, res.Token)
	}
	for _, who := range []string{owner, "user-2", "app " + clientID, clientID, "User-1", "user-1 "} { // a user with an app's name is still a user
		res, err := m.Create(ctx, request(by(who), key))
		fresh("Create by "+who, res, err)
	}
	for _, app := range []string{clientID, otherClient} {
		wide := mustCreate(t, m, request(forApp(app)))
		req := scopedRequest(wide.Token)
		req.ClientID, req.IdempotencyKey = app, key1
		res, err := m.Scoped(ctx, req)
		fresh("Scoped by "+app, res, err)
	}
	for i, token := range all {
		if !alive(t, m, token) {
			t.Errorf("token %d is dead", i)
		}
	}
}

func TestIdempotencyKeyForm(t *testing.T) {
	eachOperation(t, authz.Config{}, inMemory, func(t *testing.T, m *authz.Manager, _ *clock, op operation) {
		long := strings.Repeat("k", 300)
		before := listed(t, m, owner)
		for name, key := range map[string]string{
			"1 character":        "k",
			"15 characters":      long[:15],
			"256 characters":     long[:256],
			"a megabyte":         strings.Repeat("k", 1<<20),
			"a space":            long[:10] + " " + long[:10],
			"a space at the end": long[:20] + " ",
			"spaces alone":       strings.Repeat(" ", 20),
			"a tab":              long[:20] + "\t",
			"a newline":          long[:20] + "\n",
			"NUL":                long[:20] + "\x00",
			"DEL":                long[:20] + "\x7f",
			"not ASCII":          strings.Repeat("é", 10),
			"one é":              long[:20] + "é",
			"of invalid UTF-8":   long[:20] + "\xff",
		} {
			_, err := op.call(authz.NewSecret(key))
			wantField(t, name, err, "Idempotency-Key", authz.CodeInvalid)
			if len(key) > 1 && strings.Contains(fmt.Sprint(err), key) {
				t.Errorf("%s: the error holds the key", name)
			}
		}
		if after := listed(t, m, owner); !slices.Equal(after, before) {
			t.Errorf("authorizations %v, want %v as before", after, before)
		}
	})
	for name, key := range map[string]string{
		"16 characters": "0123456789abcdef", "255 characters": strings.Repeat("k", 255),
		"the first": strings.Repeat("!", 16), "the last": strings.Repeat("~", 16), "punctuation": `"\'<>&%;,:=/?#[]{}`,
	} {
		eachOperation(t, authz.Config{}, inMemory, func(t *testing.T, m *authz.Manager, _ *clock, op operation) {
			first := mustCall(t, op, authz.NewSecret(key))
			again, err := op.call(authz.NewSecret(key))
			wantReplay(t, name, again, err, first)
		})
	}
}

// Without a key every request is one of its own.
func TestNoIdempotencyKey(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	one, two := mustCreate(t, m, request()), mustCreate(t, m, request())
	if one.Authorization.ID == two.Authorization.ID || two.Replayed || !two.Authorization.Replay.IsZero() {
		t.Errorf("the second: %+v, want another", two)
	}
}

// However many requests with one key race, one does it and all get its token.
func TestReplayRace(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) store.Store{"memory": inMemory, "sqlite": onDisk} {
		t.Run(name, func(t *testing.T) {
			h := new(hearing)
			eachOperation(t, authz.Config{OnEvent: h.hear}, newStore, func(t *testing.T, m *authz.Manager, _ *clock, op operation) {
				before := len(listed(t, m, owner))
				h.take()
				const n = 32
				results, errs := make([]authz.Result, n), make([]error, n)
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() { results[i], errs[i] = op.call(key1) })
				}
				wg.Wait()
				first := slices.IndexFunc(results, func(res authz.Result) bool { return !res.Token.IsZero() && !res.Replayed })
				if first < 0 {
					t.Fatalf("nobody was first: %v", errs[0])
				}
				for i := range n {
					if i != first {
						wantReplay(t, fmt.Sprint("call ", i), results[i], errs[i], results[first])
					}
				}
				want, made := authz.EventRotated, 0
				if op.created {
					want, made = authz.EventCreated, 1
				}
				if events := h.take(); len(events) != 1 || events[0].Kind != want {
					t.Errorf("events: %+v, want one, %s", events, want)
				}
				if after := len(listed(t, m, owner)); after != before+made {
					t.Errorf("%d authorizations, want %d", after, before+made)
				}
				if !alive(t, m, results[first].Token) {
					t.Error("the token is dead")
				}
			})
		})
	}
}

var errLost = errors.New("the connection broke")

// isWrite reports whether this call to the store has made a token.
func isWrite(method string, result any, err error) bool {
	got, _ := result.(gotten)
	return err == nil && (method == "Create" || method == "Replace" || method == "GetOrCreate" && got.created)
}

// The store has done it and its answer was lost, with everything after it: a
// repetition gets the token, and nothing is done twice.
func TestReplayOfALostAnswer(t *testing.T) {
	var s *spy
	newStore := func(*testing.T) store.Store { s = &spy{Store: memory.New()}; return s }
	for name, stays := range map[string]bool{"the store is back at once": false, "the store stays away": true} {
		t.Run(name, func(t *testing.T) {
			eachOperation(t, authz.Config{}, newStore, func(t *testing.T, m *authz.Manager, c *clock, op operation) {
				before := len(listed(t, m, owner))
				writes, away := 0, false
				s.after = func(method string, result any, err error) error {
					if !isWrite(method, result, err) {
						return nil
					}
					if writes++; writes > 1 {
						return nil
					}
					away = stays
					return errLost
				}
				s.before = func(string, ...any) error {
					if away {
						return errLost
					}
					return nil
				}
				lost, err := op.call(key1)
				if stays {
					if !errors.Is(err, errLost) || !reflect.DeepEqual(lost, authz.Result{}) {
						t.Fatalf("%+v, %v; want the store's error alone", lost, err)
					}
				} else if err != nil || lost.Token.IsZero() {
					t.Fatalf("%+v, %v; want the token, since the key finds it", lost, err)
				}
				away = false
				c.Add(time.Minute)
				first, err := op.call(key1)
				if err != nil || !first.Replayed || first.Created != op.created || first.Token.IsZero() {
					t.Fatalf("again: %+v, %v; want the token", first, err)
				}
				if !stays {
					wantReplay(t, "again", first, err, lost)
				}
				third, err := op.call(key1)
				wantReplay(t, "once more", third, err, first)
				if writes != 1 {
					t.Errorf("%d writes, want 1", writes)
				}
				want := before
				if op.created {
					want++
				}
				if after := len(listed(t, m, owner)); after != want {
					t.Errorf("%d authorizations, want %d", after, want)
				}
				if !alive(t, m, first.Token) {
					t.Error("the token is dead")
				}
			})
		})
	}
}

// The store fails before it does anything: a repetition does it.
func TestReplayOfAFailure(t *testing.T) {
	var s *spy
	newStore := func(*testing.T) store.Store { s = &spy{Store: memory.New()}; return s }
	eachOperation(t, authz.Config{}, newStore, func(t *testing.T, m *authz.Manager, _ *clock, op operation) {
		s.before = func(method string, _ ...any) error {
			if method == "Create" || method == "Replace" || method == "GetOrCreate" {
				return errLost
			}
			return nil
		}
		if res, err := op.call(key1); !errors.Is(err, errLost) || !reflect.DeepEqual(res, authz.Result{}) {
			t.Fatalf("%+v, %v; want the store's error alone", res, err)
		}
		s.before = nil
		first := mustCall(t, op, key1)
		if first.Replayed || first.Token.IsZero() || !alive(t, m, first.Token) {
			t.Errorf("again: %+v, want a new token", first)
		}
	})
}

// A request that was refused has kept nothing: its key can be used again.
func TestReplayOfARefusal(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	key := func(r *authz.Request) { r.IdempotencyKey = key1 }
	mustCreate(t, m, personal("taken"))
	if _, err := m.Create(ctx, personal("taken", key)); err == nil {
		t.Fatal("no error")
	}
	if res := mustCreate(t, m, personal("free", key)); res.Replayed {
		t.Error("a refusal was replayed")
	}
	// So has one that found an authorization.
	mustGet(t, m, request())
	if res := mustGet(t, m, request(func(r *authz.Request) { r.IdempotencyKey = key2 })); res.Created || res.Replayed || !res.Token.IsZero() {
		t.Errorf("existing: %+v", res)
	}
	if res := mustGet(t, m, request(fingerprint("f"), func(r *authz.Request) { r.IdempotencyKey = key2 })); !res.Created || res.Replayed {
		t.Errorf("after an existing one: %+v, want a new one", res)
	}
}

// Whatever happened to the authorization between: a replay never hands out a
// dead token, and never rotates one that it has not made.
func TestReplayAfterChanges(t *testing.T) {
	ctx := context.Background()
	type between struct {
		name string
		do   func(m *authz.Manager, c *clock, res authz.Result) error
	}
	for _, b := range []between{
		{"deleted", func(m *authz.Manager, _ *clock, res authz.Result) error {
			return m.Delete(ctx, owner, res.Authorization.ID)
		}},
		{"updated", func(m *authz.Manager, _ *clock, res authz.Result) error {
			_, err := m.Update(ctx, owner, res.Authorization.ID, authz.Update{Note: new("changed"), AddScopes: []string{"more"}})
			return err
		}},
		{"updated to another fingerprint", func(m *authz.Manager, _ *clock, res authz.Result) error {
			_, err := m.Update(ctx, owner, res.Authorization.ID, authz.Update{Fingerprint: new("elsewhere")})
			return err
		}},
		{"rotated", func(m *authz.Manager, _ *clock, res authz.Result) error {
			if res.Authorization.ClientID == "" {
				return nil // a personal one has no app to rotate it
			}
			_, err := m.GetOrCreate(ctx, request(fingerprint(res.Authorization.Fingerprint), onExisting(authz.OnExistingRotate)))
			return err
		}},
		{"reset", func(m *authz.Manager, _ *clock, res authz.Result) error {
			if res.Authorization.ClientID == "" {
				return nil
			}
			_, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: res.Token})
			return err
		}},
		{"all revoked", func(m *authz.Manager, _ *clock, _ authz.Result) error {
			_, err := m.RevokeAll(ctx, authz.Revocation{Owner: owner})
			return err
		}},
		{"expired", func(_ *authz.Manager, c *clock, _ authz.Result) error {
			c.Add(5 * time.Minute)
			return nil
		}},
	} {
		for storeName, newStore := range map[string]func(*testing.T) store.Store{"memory": inMemory, "sqlite": onDisk} {
			t.Run(b.name+" "+storeName, func(t *testing.T) {
				eachOperation(t, authz.Config{Lifetime: 5 * time.Minute}, newStore, func(t *testing.T, m *authz.Manager, c *clock, op operation) {
					// Nothing here may take for ever.
					ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
					defer cancel()
					first := mustCall(t, op, key1)
					if err := b.do(m, c, first); err != nil {
						t.Fatal(err)
					}
					done := make(chan struct{})
					var again authz.Result
					var err error
					go func() { defer close(done); again, err = op.call(key1) }()
					select {
					case <-done:
					case <-ctx.Done():
						t.Fatal("it takes for ever")
					}
					if !again.Token.IsZero() && !alive(t, m, again.Token) {
						t.Error("the token is dead")
					}
					v := new(authz.ValidationError)
					switch {
					case err != nil && !errors.As(err, &v) && !errors.Is(err, authz.ErrNotFound):
						t.Error(err)
					case again.Replayed && !again.Token.Equal(first.Token):
						t.Error("Replayed, and another token")
					}
					switch {
					case strings.HasPrefix(b.name, "updated"):
						if first.Authorization.ClientID == "" && b.name == "updated" {
							first.App.Name = "changed" // its note
						}
						if wantReplay(t, "updated", again, err, first); b.name == "updated" && again.Authorization.Note != "changed" {
							t.Errorf("note %q, want the new one", again.Authorization.Note)
						}
					case op.name == "Reset": // the token that it names is dead for good
						if b.name != "rotated" && b.name != "reset" && !errors.Is(err, authz.ErrNotFound) {
							t.Errorf("%+v, %v; want ErrNotFound", again, err)
						}
					case b.name == "deleted", b.name == "expired" && op.name != "Scoped":
						if err != nil || !again.Created || again.Replayed || again.Authorization.ID == first.Authorization.ID {
							t.Errorf("%+v, %v; want a new authorization", again, err)
						}
					}
				})
			})
		}
	}
}

// An update that began before the answer was wiped, and whose key was used
// again, is an update like any other.
func TestUpdateMeetsAKeyUsedAgain(t *testing.T) {
	ctx := context.Background()
	onStores(t, func(t *testing.T, inner store.Store) {
		s := &spy{Store: inner}
		m, c := newManager(t, s, authz.Config{})
		keyed := func(r *authz.Request) { r.IdempotencyKey = key1 }
		first := mustCreate(t, m, request(keyed))
		var second authz.Result
		s.before = func(method string, _ ...any) error {
			if method != "Replace" {
				return nil
			}
			s.before = nil
			c.Add(authz.ReplayWindow)
			second = mustCreate(t, m, request(keyed))
			return nil
		}
		got, err := m.Update(ctx, owner, first.Authorization.ID, authz.Update{Note: new("changed")})
		if err != nil || got.Note != "changed" || !got.Replay.IsZero() {
			t.Errorf("Update = %+v, %v; want the change and no replay", got, err)
		}
		again, err := m.Create(ctx, request(keyed))
		wantReplay(t, "the second answer", again, err, second)
	})
}

// A replay of an answer does not rotate twice, in whatever order the two
// requests come.
func TestReplayDoesNotRotateTwice(t *testing.T) {
	for _, name := range []string{"rotate", "Reset"} {
		m, _ := newManager(t, memory.New(), authz.Config{})
		for _, op := range operations(t, m) {
			if op.name != name {
				continue
			}
			first := mustCall(t, op, key1)
			for range 5 {
				again, err := op.call(key1)
				wantReplay(t, name, again, err, first)
			}
			rec, err := m.Get(context.Background(), owner, first.Authorization.ID)
			if err != nil || rec.Revision != first.Authorization.Revision || rec.TokenHash != first.Authorization.TokenHash {
				t.Errorf("%s: %+v, %v; want it unchanged", name, rec, err)
			}
			if !alive(t, m, first.Token) {
				t.Errorf("%s: the token is dead", name)
			}
			for range 3 {
				_, err := op.call(key1)
				wantKeyError(t, name+" after the first use", err)
			}
			if !alive(t, m, first.Token) {
				t.Errorf("%s: the token in use was rotated", name)
			}
			// Another key is another request.
			second, err := op.call(key2)
			switch {
			case name == "rotate" && (err != nil || second.Replayed || second.Token.Equal(first.Token) || alive(t, m, first.Token)):
				t.Errorf("rotate with another key: %+v, %v; want another token", second, err)
			case name == "Reset" && (!errors.Is(err, authz.ErrNotFound) || !alive(t, m, first.Token)):
				t.Errorf("Reset with another key: %+v, %v; want ErrNotFound: the old token is dead", second, err)
			}
		}
	}
}

// on_existing "error" says so to the second request, but not to the first's
// repetition.
func TestReplayAndOnExistingError(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	req := request(onExisting(authz.OnExistingError), func(r *authz.Request) { r.IdempotencyKey = key1 })
	first := mustGet(t, m, req)
	again, err := m.GetOrCreate(context.Background(), req)
	wantReplay(t, "again", again, err, first)
	if !alive(t, m, first.Token) {
		t.Fatal("the token is dead")
	}
	exists := new(authz.ExistsError)
	if _, err := m.GetOrCreate(context.Background(), req); !errors.As(err, &exists) || exists.ID != first.Authorization.ID {
		t.Errorf("after the first use: err = %v, want *ExistsError", err)
	}
}

// secretForms are the ways in which a secret could lie about.
func secretForms(secret []byte) map[string][]byte {
	forms := map[string][]byte{
		"itself": secret,
		"hex":    []byte(hex.EncodeToString(secret)),
		"HEX":    []byte(strings.ToUpper(hex.EncodeToString(secret))),
	}
	// As base64 at each of the three offsets, without what depends on neighbours.
	for i := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString(append(make([]byte, i), secret...))
			forms[fmt.Sprint(name, i)] = []byte(text[4 : len(text)-4])
		}
	}
	return forms
}

// derived is a key that the Idempotency-Key leads to.
func derived(t testing.TB, key authz.Secret, purpose, sender string) []byte {
	t.Helper()
	out, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, "authz idempotency "+purpose+" of "+sender, 32)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// opened is what is sealed in rec, for who has the key.
func opened(t testing.TB, rec authz.Authorization, key authz.Secret, sender string) []byte {
	t.Helper()
	block, err := aes.NewCipher(derived(t, key, "seal", sender))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Replay.Seal) < sha256.Size+aead.NonceSize() {
		t.Fatal("nothing is sealed")
	}
	request, seal := rec.Replay.Seal[:sha256.Size], rec.Replay.Seal[sha256.Size:]
	text, err := aead.Open(nil, seal[:aead.NonceSize()], seal[aead.NonceSize():], append(rec.Replay.ID[:], request...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The seal is what the documents say: AES-256-GCM under HKDF-SHA256 of the
// key, at most as long as stores take, never the same twice.
func TestSeal(t *testing.T) {
	seals := map[string]bool{}
	eachOperation(t, authz.Config{TokenPrefix: "a234567890123456"}, inMemory, func(t *testing.T, _ *authz.Manager, _ *clock, op operation) {
		res := mustCall(t, op, key1)
		sender := "user " + owner
		if op.name == "Reset" || op.name == "Scoped" {
			sender = "app " + clientID
		}
		rec := res.Authorization
		if !bytes.Equal(rec.Replay.ID[:], derived(t, key1, "id", sender)) {
			t.Error("Replay.ID is not derived as it should be")
		}
		if text := opened(t, rec, key1, sender); !bytes.HasSuffix(text, []byte(res.Token.Reveal())) {
			t.Error("the token is not what is sealed")
		}
		if want := rec.IssuedAt.Add(authz.ReplayWindow); !rec.Replay.ExpiresAt.Equal(want) {
			t.Errorf("Replay.ExpiresAt = %v, want %v", rec.Replay.ExpiresAt, want)
		}
		if len(rec.Replay.Seal) > 1024 || seals[string(rec.Replay.Seal)] {
			t.Errorf("a seal of %d bytes, or one made before", len(rec.Replay.Seal))
		}
		seals[string(rec.Replay.Seal)] = true
	})
}

// A seal that was tampered with, or moved to another record, opens nothing.
func TestSealDamaged(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	ctx := context.Background()
	one := mustCreate(t, m, request(func(r *authz.Request) { r.IdempotencyKey = key1 })).Authorization
	two := mustCreate(t, m, request(func(r *authz.Request) { r.IdempotencyKey = key2 })).Authorization
	for name, seal := range map[string][]byte{
		"of another": two.Replay.Seal, "short": one.Replay.Seal[:10], "cut": one.Replay.Seal[:len(one.Replay.Seal)-1],
		"flipped": append([]byte{one.Replay.Seal[0] ^ 1}, one.Replay.Seal[1:]...),
	} {
		rec, err := s.Get(ctx, owner, one.ID)
		if err != nil {
			t.Fatal(err)
		}
		rec.Replay.Seal = seal
		if _, err := s.Replace(ctx, rec); err != nil {
			t.Fatal(err)
		}
		res, err := m.Create(ctx, request(func(r *authz.Request) { r.IdempotencyKey = key1 }))
		if v := new(authz.ValidationError); err == nil || !res.Token.IsZero() || errors.As(err, &v) || errors.Is(err, authz.ErrNotFound) {
			t.Errorf("%s: %+v, %v; want an error that is nobody's fault", name, res, err)
		}
	}
}

// What reaches the store holds neither tokens nor keys, nor what opens a seal.
func TestStoreSeesNoSecrets(t *testing.T) {
	var seen bytes.Buffer
	var mu sync.Mutex
	s := &spy{Store: memory.New()}
	s.before = func(method string, args ...any) error {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&seen, "%s %#v\n", method, args)
		for _, arg := range args {
			switch arg := arg.(type) {
			case store.Authorization:
				for _, field := range []any{arg.TokenHash[:], arg.Replay.ID[:], arg.Replay.Seal} {
					seen.Write(field.([]byte))
				}
				fmt.Fprintf(&seen, "%q %q %q %q", arg.Note, arg.NoteURL, arg.Fingerprint, arg.Scopes)
			case store.Hash:
				seen.Write(arg[:])
			}
		}
		return nil
	}
	m, c := newManager(t, s, authz.Config{})
	secrets := secretsOfALife(t, m, c)
	text := seen.Bytes()
	if !bytes.Contains(text, []byte("Replace")) || !bytes.Contains(text, []byte("WipeReplays")) || !bytes.Contains(text, derived(t, key1, "id", "user "+owner)) {
		t.Fatal("the spy has seen nothing")
	}
	for name, secret := range secrets {
		for form, leak := range secretForms(secret) {
			if bytes.Contains(text, leak) {
				t.Errorf("the store has seen %s (%s)", name, form)
			}
		}
		if bytes.Contains(text, []byte(strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"))) {
			t.Errorf("the store has seen %s (Go syntax)", name)
		}
	}
}

// secretsOfALife uses every operation, with and without replays, and returns
// all that must not be kept.
func secretsOfALife(t testing.TB, m *authz.Manager, c *clock) map[string][]byte {
	t.Helper()
	secrets := map[string][]byte{
		"key 1": []byte(key1.Reveal()), "key 2": []byte(key2.Reveal()), "client_secret": []byte(clientSecret),
	}
	for _, key := range []authz.Secret{key1, key2} {
		for _, sender := range []string{"user " + owner, "app " + clientID} {
			secrets["seal key of "+sender+key.Reveal()[:1]] = derived(t, key, "seal", sender)
		}
		sum := sha256.Sum256([]byte(key.Reveal()))
		secrets["hash of a key "+key.Reveal()[:1]] = sum[:] // could be searched for, were the key guessable
	}
	for i, op := range operations(t, m) {
		key := authz.NewSecret(fmt.Sprintf("%s-%d", key1.Reveal(), i))
		if i == 0 {
			key = key1
		}
		res := mustCall(t, op, key)
		if again, err := op.call(key); err != nil || !again.Replayed {
			t.Fatalf("%s: no replay: %v", op.name, err)
		}
		secrets["key of "+op.name] = []byte(key.Reveal())
		secrets["token of "+op.name] = []byte(res.Token.Reveal())
		secrets["random part of "+op.name] = []byte(res.Token.Reveal()[4:34])
		sender := "user " + owner
		if op.name == "Reset" || op.name == "Scoped" {
			sender = "app " + clientID
		}
		secrets["seal key of "+op.name] = derived(t, key, "seal", sender)
		secrets["what is sealed of "+op.name] = opened(t, res.Authorization, key, sender)[:sha256.Size]
		if i%2 == 0 && !alive(t, m, res.Token) {
			t.Errorf("%s: the token is dead", op.name)
		}
	}
	c.Add(authz.ReplayWindow)
	if _, err := m.WipeReplays(context.Background()); err != nil {
		t.Fatal(err)
	}
	return secrets
}

// What lies on the disk holds neither tokens nor keys, nor what opens a seal.
func TestDiskHoldsNoSecrets(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(context.Background(), filepath.Join(dir, "authz.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, c := newManager(t, s, authz.Config{})
	search := func(when string, secrets map[string][]byte) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", when, err)
		}
		control := false
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			control = control || bytes.Contains(data, []byte("admin script")) // the notes are there
			for name, secret := range secrets {
				for form, leak := range secretForms(secret) {
					if bytes.Contains(data, leak) {
						t.Errorf("%s: %s holds %s (%s)", when, filepath.Base(file), name, form)
					}
				}
			}
		}
		if !control {
			t.Errorf("%s: the files hold no authorizations", when)
		}
	}
	secrets := secretsOfALife(t, m, c)
	search("while open", secrets)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	search("closed", secrets)
}

// Nothing that a Result or an error prints holds a key.
func TestReplayPrintsNoKey(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	req := request(func(r *authz.Request) { r.IdempotencyKey = key1 })
	first := mustCreate(t, m, req)
	again, err := m.Create(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	alive(t, m, first.Token)
	_, used := m.Create(context.Background(), req)
	req.Note = "another"
	_, other := m.Create(context.Background(), req)
	for _, v := range []any{req, first, again, used, other, authz.ResetRequest{Token: first.Token, IdempotencyKey: key1}, authz.ScopedRequest{Token: first.Token, IdempotencyKey: key1}} {
		text := fmt.Sprintf("%v %+v %#v", v, v, v)
		if strings.Contains(text, key1.Reveal()) || strings.Contains(text, first.Token.Reveal()) {
			t.Errorf("%T prints its secrets", v)
		}
	}
}

// A key and a personal authorization: the replay shows its app again.
func TestReplayPersonal(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	req := personal("mine", noteURL("https://example.com"), func(r *authz.Request) { r.IdempotencyKey = key1 })
	first := mustCreate(t, m, req)
	again, err := m.Create(context.Background(), req)
	wantReplay(t, "again", again, err, first)
	if again.App.Name != "mine" || again.App.ClientID != authz.PersonalClientID {
		t.Errorf("App = %+v", again.App)
	}
}

// NotApplied of a replayed rotation is that of the first answer.
func TestReplayNotApplied(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	mustGet(t, m, request())
	req := request(note("another"), scopes("other"), onExisting(authz.OnExistingRotate), func(r *authz.Request) { r.IdempotencyKey = key1 })
	for range 2 {
		if res := mustGet(t, m, req); !slices.Equal(res.NotApplied, []string{"scopes", "note"}) {
			t.Errorf("NotApplied = %q, want scopes and note", res.NotApplied)
		}
	}
}

// A token is verified while the database cannot be written to, as any other
// read: the seal that its first use wipes is wiped later.
func TestVerifyBesideWriter(t *testing.T) {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "authz.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	m, _ := newManager(t, s, authz.Config{})
	result, err := m.GetOrCreate(t.Context(), authz.Request{
		Owner: owner, ClientID: clientID, ClientSecret: authz.NewSecret(clientSecret), IdempotencyKey: authz.NewSecret(uuid.NewString()),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, verified := m.Verify(ctx, result.Token.Reveal())
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if verified != nil {
		t.Errorf("Verify beside a writer = %v", verified)
	}
	if _, err := m.Verify(t.Context(), result.Token.Reveal()); err != nil {
		t.Fatal(err)
	}
	rec, err := s.GetByTokenHash(t.Context(), store.HashOf(result.Token.Reveal()))
	if err != nil || len(rec.Replay.Seal) != sha256.Size {
		t.Errorf("Verify after it = %v, and the seal has %d bytes, want no more than the hash of the request", err, len(rec.Replay.Seal))
	}
}

// loseTheAnswer makes the next Replace take effect and lose its answer, while a
// PATCH comes before the store repeats the statement.
func loseTheAnswer(t *testing.T, s *spy) {
	s.after = func(method string, res any, err error) error {
		if method != "Replace" || err != nil {
			return err
		}
		s.after = nil
		stored := res.(store.Authorization)
		sent, patched := stored, stored
		sent.Revision--
		patched.Note = "patched"
		if _, err := s.Store.Replace(context.Background(), patched); err != nil {
			t.Error(err)
		}
		_, err = s.Store.Replace(context.Background(), sent)
		return err
	}
}

// A rotation that took effect is one, whatever came after it: no second 201, and no
// token that nobody gets.
func TestRotationWithALostAnswerAndAnUpdate(t *testing.T) {
	ctx := context.Background()
	s, h := &spy{Store: memory.New()}, new(hearing)
	m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
	first := mustGet(t, m, request())
	h.take()
	loseTheAnswer(t, s)
	rotated := mustGet(t, m, request(onExisting(authz.OnExistingRotate)))
	if rotated.Created || rotated.Authorization.ID != first.Authorization.ID || !alive(t, m, rotated.Token) || alive(t, m, first.Token) {
		t.Errorf("rotate = %+v; want the new token of the same authorization", rotated)
	}
	loseTheAnswer(t, s)
	reset, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: rotated.Token})
	if err != nil || !alive(t, m, reset.Token) || alive(t, m, rotated.Token) {
		t.Errorf("Reset = %+v, %v; want the new token", reset, err)
	}
	if events := h.take(); len(events) != 2 || events[0].Kind != authz.EventRotated || events[1].Kind != authz.EventRotated {
		t.Errorf("events: %+v, want two rotations", events)
	}
}

// A scoped token that cannot be taken back at once, after the grant was revoked
// beside it, is shown to nobody.
func TestScopedOfARevokedGrantIsNotReplayed(t *testing.T) {
	for _, trouble := range []string{"Delete fails", "the context ends"} {
		s := &spy{Store: memory.New()}
		m, _ := newManager(t, s, authz.Config{})
		wide := mustGet(t, m, request(scopes("a", "b")))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.before = func(method string, _ ...any) error {
			if method == "Create" {
				if _, err := m.RevokeGrant(t.Context(), clientID, wide.Token.Reveal()); err != nil {
					t.Error(err)
				}
			}
			if method == "Delete" && trouble == "Delete fails" {
				return errors.New("away")
			}
			return nil
		}
		s.after = func(method string, _ any, err error) error {
			if method == "Create" && trouble == "the context ends" {
				cancel()
			}
			return err
		}
		req := authz.ScopedRequest{ClientID: clientID, Token: wide.Token, Scopes: []string{"a"}, IdempotencyKey: key1}
		if res, err := m.Scoped(ctx, req); err == nil || !res.Token.IsZero() {
			t.Errorf("%s: Scoped = %+v, %v; want an error", trouble, res, err)
		}
		s.before, s.after = nil, nil
		if res, err := m.Scoped(t.Context(), req); !errors.Is(err, authz.ErrNotFound) || !res.Token.IsZero() {
			t.Errorf("%s, again: Scoped = %+v, %v; want ErrNotFound", trouble, res, err)
		}
	}
}
