package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// question is what one of the concurrent callers asks for, about one key.
type question struct {
	kind  string
	key   int
	id    int64  // delete, get, update
	token string // verify, reset, revoke
	scope string // update: to add
}

// reply is what it was told.
type reply struct {
	err     string // "": none
	id      int64
	rev     int64 // tells the changes apart, or the search would take ages
	created bool
	token   string // the new one
	scopes  string
}

// held is the state of a key: its authorization, if there is one.
type held struct {
	id, rev       int64
	token, scopes string
}

// linearizable says what each call must be told if they come one after the
// other. Porcupine looks for an order in which that is so, and in which no call
// comes before one that had ended when it began.
var linearizable = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[int][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(question).key
			parts[key] = append(parts[key], o)
		}
		var list [][]porcupine.Operation
		for _, part := range parts {
			list = append(list, part)
		}
		return list
	},
	Init: func() any { return held{} },
	Step: func(state, input, output any) (bool, any) {
		s, c, r := state.(held), input.(question), output.(reply)
		there := s.id != 0
		told := held{r.id, r.rev, r.token, r.scopes}
		switch c.kind {
		case "return", "rotate", "error", "create":
			if !there { // the one caller that makes it
				return r.err == "" && r.rev == 1 && r.created && r.token != "" && r.scopes == "", told
			}
			switch c.kind {
			case "return":
				return r == reply{id: s.id, rev: s.rev, scopes: s.scopes}, s
			case "rotate":
				return r.err == "" && !r.created && r.id == s.id && r.rev == s.rev+1 && r.token != "" && r.scopes == s.scopes, told
			}
			return r == reply{id: s.id, err: "exists"}, s
		case "get":
			if s.id != c.id {
				return r == reply{err: notFound}, s
			}
			return r == reply{id: s.id, rev: s.rev, scopes: s.scopes}, s
		case "update": // none is lost
			if s.id != c.id {
				return r == reply{err: notFound}, s
			}
			s.rev++
			s.scopes = strings.TrimSpace(s.scopes + " " + c.scope)
			return r == reply{id: s.id, rev: s.rev, scopes: s.scopes}, s
		case "delete":
			if s.id != c.id {
				return r == reply{err: notFound}, s
			}
			return r == reply{}, held{}
		case "verify": // a token is dead when the call that ended it has returned
			if s.token != c.token {
				return r == reply{err: invalidToken}, s
			}
			return r == reply{id: s.id, rev: s.rev, scopes: s.scopes}, s
		case "reset": // one of many gets the new token
			if s.token != c.token {
				return r == reply{err: notFound}, s
			}
			return r.err == "" && r.id == s.id && r.rev == s.rev+1 && r.token != "" && r.scopes == s.scopes, told
		case "revoke":
			if s.token != c.token {
				return r == reply{err: notFound}, s
			}
			return r == reply{}, held{}
		}
		return false, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

const callers = 32

// sizes are of what is searched in seconds: all on one key, and longer ones on
// several.
var sizes = []struct{ keys, calls int }{{1, 2}, {3, 6}, {8, 12}}

// mix are the kinds of calls, as often as they come.
var mix = slices.Concat(
	slices.Repeat([]string{"return"}, 5), slices.Repeat([]string{"rotate", "delete", "verify", "update"}, 3),
	slices.Repeat([]string{"create", "reset", "get"}, 2), []string{"error", "revoke"},
)

// history lets the callers loose on the keys of an owner who has nothing yet,
// and returns what they were told when.
func history(t *testing.T, managers []*authz.Manager, app authz.App, secret authz.Secret, owner string, keys, calls int) []porcupine.Operation {
	t.Helper()
	var (
		wg    sync.WaitGroup
		begin = time.Now()
		all   = make([][]porcupine.Operation, callers)
		mu    sync.Mutex
		known = make([]held, keys) // what callers saw last, so that they get in each other's way
		seed  = rand.Uint64()
	)
	t.Logf("owner %s, seed %d", owner, seed)
	for i := range callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			m := managers[i%len(managers)]
			mine := make([]held, keys) // what this one saw last
			for n := range calls {
				c := question{kind: mix[random.IntN(len(mix))], key: random.IntN(keys)}
				mu.Lock()
				last := known[c.key]
				mu.Unlock()
				if old := mine[c.key]; old.id != 0 && random.IntN(8) == 0 {
					last = old
				}
				c.id, c.token = last.id, last.token
				if c.id == 0 { // nothing to talk about yet
					c.kind = "return"
				}
				switch c.kind {
				case "get", "delete", "update":
					c.token = ""
				case "verify", "reset", "revoke":
					c.id = 0
				default:
					c.id, c.token = 0, ""
				}
				if c.kind == "update" {
					c.scope = fmt.Sprintf("s%d.%d", i, n)
				}
				o := porcupine.Operation{ClientId: i, Input: c, Call: time.Since(begin).Nanoseconds()}
				r := ask(m, app, secret, owner, c)
				o.Output, o.Return = r, time.Since(begin).Nanoseconds()
				all[i] = append(all[i], o)
				if r.token != "" {
					mine[c.key] = held{id: r.id, token: r.token}
					if random.IntN(8) > 0 {
						mu.Lock()
						known[c.key] = mine[c.key]
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...)
}

// ask makes the call.
func ask(m *authz.Manager, app authz.App, secret authz.Secret, owner string, c question) reply {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var (
		res authz.Result
		err error
	)
	req := authz.Request{Owner: owner, ClientID: app.ClientID, ClientSecret: secret, Note: fmt.Sprint(c.key)}
	if c.key > 0 {
		req.Fingerprint = fmt.Sprint(c.key)
	}
	switch c.kind {
	case "return", "rotate", "error":
		req.OnExisting = authz.OnExisting(c.kind)
		res, err = m.GetOrCreate(ctx, req)
	case "create":
		if req.Fingerprint == "" { // would make another one
			req.OnExisting = authz.OnExistingError
			res, err = m.GetOrCreate(ctx, req)
		} else {
			res, err = m.Create(ctx, req)
		}
	case "get":
		res.Authorization, err = m.Get(ctx, owner, c.id)
	case "update":
		res.Authorization, err = m.Update(ctx, owner, c.id, authz.Update{AddScopes: []string{c.scope}})
	case "delete":
		err = m.Delete(ctx, owner, c.id)
	case "verify":
		var a *authz.Authorization
		if a, err = m.Verify(ctx, c.token); err == nil {
			res.Authorization = *a
		}
	case "reset":
		res, err = m.Reset(ctx, authz.ResetRequest{ClientID: app.ClientID, Token: authz.NewSecret(c.token)})
	case "revoke":
		err = m.Revoke(ctx, app.ClientID, c.token)
	}
	exists, validation := new(authz.ExistsError), new(authz.ValidationError)
	switch {
	case err == nil:
		return reply{
			id: res.Authorization.ID, rev: res.Authorization.Revision, created: res.Created, token: res.Token.Reveal(), scopes: strings.Join(res.Authorization.Scopes, " "),
		}
	case errors.As(err, &exists):
		return reply{err: "exists", id: exists.ID}
	case errors.As(err, &validation) && validation.Fields[0].Code == authz.CodeAlreadyExists:
		return reply{err: "exists", id: validation.Fields[0].ExistingID}
	case errors.Is(err, authz.ErrNotFound):
		return reply{err: notFound}
	case errors.Is(err, authz.ErrInvalidToken):
		return reply{err: invalidToken}
	}
	return reply{err: err.Error()} // never right
}

// settle makes a Manager on each handle, and an app.
func settle(t *testing.T, handles []store.Store) ([]*authz.Manager, authz.App, authz.Secret) {
	t.Helper()
	var managers []*authz.Manager
	for _, s := range handles {
		m, err := authz.New(s, authz.Config{MaxPerScopes: -1})
		if err != nil {
			t.Fatal(err)
		}
		managers = append(managers, m)
	}
	app, secret, err := managers[0].RegisterApp(t.Context(), authz.NewApp{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	return managers, app, secret
}

// TestLinearizable lets 32 callers get-or-create, rotate, reset, update and
// delete on a few keys, over several handles of each store, and finds for all
// that they were told an order in which one after the other would have been told
// the same. AUTHZ_TEST_FULL=1 runs it for some minutes.
func TestLinearizable(t *testing.T) {
	handles := map[string]func(t *testing.T) []store.Store{
		"memory": func(*testing.T) []store.Store { return []store.Store{memory.New()} },
		"SQLite": func(t *testing.T) []store.Store {
			path := filepath.Join(t.TempDir(), "test.db")
			return open(t, func() (closer, error) { return sqlite.Open(t.Context(), path) })
		},
		"PostgreSQL": func(t *testing.T) []store.Store {
			dsn := pgtest.DSN(t)
			return open(t, func() (closer, error) { return postgres.Open(t.Context(), dsn) })
		},
	}
	rounds := map[string]int{"memory": 12, "SQLite": 6, "PostgreSQL": 6}
	for _, name := range []string{"memory", "SQLite", "PostgreSQL"} {
		t.Run(name, func(t *testing.T) {
			managers, app, secret := settle(t, handles[name](t))
			n, operations, unknown := rounds[name], 0, 0
			if os.Getenv("AUTHZ_TEST_FULL") == "1" {
				n *= 10
			}
			for round := range n {
				size := sizes[round%len(sizes)]
				ops := history(t, managers, app, secret, fmt.Sprint("owner", round), size.keys, size.calls)
				operations += len(ops)
				switch result, info := porcupine.CheckOperationsVerbose(linearizable, ops, 5*time.Second); result {
				case porcupine.Illegal:
					t.Fatalf("round %d is not linearizable, see %s", round, visualized(info))
				case porcupine.Unknown:
					unknown++ // the search is exponential
				}
			}
			t.Logf("%d rounds, %d operations, %d rounds without a verdict", n, operations, unknown)
			if unknown > n/2 {
				t.Error("the search came to no end too often")
			}
		})
	}
}

type closer interface {
	store.Store
	Close() error
}

// open opens four handles.
func open(t *testing.T, open func() (closer, error)) (handles []store.Store) {
	t.Helper()
	for range 4 {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		handles = append(handles, s)
	}
	return handles
}

// visualized keeps the history as a page to look at.
func visualized(info porcupine.LinearizationInfo) string {
	f, err := os.CreateTemp("", "linearizable-*.html")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if err := porcupine.Visualize(linearizable, info, f); err != nil {
		return err.Error()
	}
	return f.Name()
}

// Stores that are wrong in ways that only concurrent callers see. Each is a
// memory store with one method that is like what people write.

type cachingStore struct {
	store.Store
	mu    sync.Mutex
	cache map[store.Hash]looked
	until time.Time
}

type looked struct {
	rec      store.Authorization
	standing store.Standing
}

// Lookup knows for a moment longer what is gone.
func (s *cachingStore) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(s.until) {
		clear(s.cache)
		s.until = now.Add(5 * time.Millisecond)
	}
	if l, ok := s.cache[hash]; ok {
		return l.rec, l.standing, nil
	}
	rec, standing, err := s.Store.Lookup(ctx, hash)
	if err == nil {
		s.cache[hash] = looked{rec, standing}
	}
	return rec, standing, err
}

type lookThenLeapStore struct{ store.Store }

// GetOrCreate looks first, and inserts if there was nothing.
func (s lookThenLeapStore) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	all, err := s.List(ctx, store.Query{Owner: c.Owner, Limit: 1000})
	if err != nil {
		return store.Authorization{}, false, err
	}
	for _, rec := range all {
		if rec.Key == c.Key {
			return rec, false, nil
		}
	}
	time.Sleep(time.Millisecond)
	rec, err := s.Create(ctx, c)
	if errors.Is(err, store.ErrConflict) {
		return s.Store.GetOrCreate(ctx, c)
	}
	return rec, true, err
}

type lastWinsStore struct{ store.Store }

// Replace does not compare the Revision.
func (s lastWinsStore) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	time.Sleep(100 * time.Microsecond)
	for {
		now, err := s.Get(ctx, rec.Owner, rec.ID)
		if err != nil {
			return store.Authorization{}, err
		}
		rec.Revision = now.Revision
		if now, err = s.Store.Replace(ctx, rec); !errors.Is(err, store.ErrConflict) {
			return now, err
		}
	}
}

type lateStore struct{ store.Store }

// Delete says that it is done, and then does it.
func (s lateStore) Delete(ctx context.Context, owner string, id int64) error {
	if _, err := s.Get(ctx, owner, id); err != nil {
		return err
	}
	time.AfterFunc(time.Millisecond, func() { _ = s.Store.Delete(context.Background(), owner, id) })
	return nil
}

type lostAnswerStore struct{ store.Store }

// GetOrCreate repeats itself now and then, as if an answer had been lost, and
// takes its own record for another's.
func (s lostAnswerStore) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	rec, created, err := s.Store.GetOrCreate(ctx, c)
	return rec, created && rand.IntN(4) > 0, err
}

// TestLinearizableFaults shows that the checker finds what is wrong.
func TestLinearizableFaults(t *testing.T) {
	for name, faulty := range map[string]func() store.Store{
		"cache": func() store.Store {
			return &cachingStore{Store: memory.New(), cache: make(map[store.Hash]looked)}
		},
		"look, then leap":  func() store.Store { return lookThenLeapStore{memory.New()} },
		"last writer wins": func() store.Store { return lastWinsStore{memory.New()} },
		"late delete":      func() store.Store { return lateStore{memory.New()} },
		"lost answer":      func() store.Store { return lostAnswerStore{memory.New()} },
	} {
		t.Run(name, func(t *testing.T) {
			for round := range 60 {
				managers, app, secret := settle(t, []store.Store{faulty()})
				ops := history(t, managers, app, secret, fmt.Sprint("owner", round), 1, 3)
				if porcupine.CheckOperationsTimeout(linearizable, ops, 2*time.Second) == porcupine.Illegal {
					t.Logf("found in round %d", round+1)
					return
				}
			}
			t.Error("every history is linearizable: the fault was not found")
		})
	}
}
