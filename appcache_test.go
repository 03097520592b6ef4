package authz_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// appStore counts what is asked of it for get-or-create.
type appStore struct {
	*watchedStore
	apps, gets atomic.Int64
	read       func(do func()) // around a read of an app, if it is set
}

func newAppStore() *appStore { return &appStore{watchedStore: newWatchedStore()} }

func (s *appStore) App(ctx context.Context, id string) (app store.App, err error) {
	s.apps.Add(1)
	do := func() { app, err = s.Store.App(ctx, id) }
	if s.read != nil {
		s.read(do)
	} else {
		do()
	}
	return app, err
}

func (s *appStore) GetOrCreate(ctx context.Context, c store.Authorization) (store.Authorization, bool, error) {
	s.gets.Add(1)
	return s.Store.GetOrCreate(ctx, c)
}

// startApps starts a Manager without a Cache, which hears of changes for the whole test.
func startApps(t *testing.T, s *appStore, cfg authz.Config) (*authz.Manager, store.Observer) {
	t.Helper()
	m, _ := newManager(t, s, cfg)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeManager(t, m) })
	o := <-s.watching
	o.Current(forTheWholeTest())
	return m, o
}

// enters checks the client's credentials, and says how often the store was asked.
func (s *appStore) enters(t *testing.T, m *authz.Manager, secret authz.Secret, want bool) int64 {
	t.Helper()
	before := s.apps.Load()
	_, err := m.AuthenticateApp(t.Context(), clientID, secret)
	if in := err == nil; in != want || err != nil && !errors.Is(err, authz.ErrInvalidClient) {
		t.Fatalf("AuthenticateApp: err = %v, want let in %t", err, want)
	}
	return s.apps.Load() - before
}

var secretOfSeed = authz.NewSecret(clientSecret)

func TestAppsFromMemory(t *testing.T) {
	s := newAppStore()
	m, _ := newManager(t, s, authz.Config{})
	mustGet(t, m, request())
	wantReads(t, "before Start", s.enters(t, m, secretOfSeed, true)+s.enters(t, m, secretOfSeed, true), 2)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	o := <-s.watching
	wantReads(t, "before there is news", s.enters(t, m, secretOfSeed, true)+s.enters(t, m, secretOfSeed, true), 2)
	o.Current(forTheWholeTest())
	wantReads(t, "first use", s.enters(t, m, secretOfSeed, true), 1)
	wantReads(t, "second use", s.enters(t, m, secretOfSeed, true), 0)

	apps, gets := s.apps.Load(), s.gets.Load()
	if res := mustGet(t, m, request()); res.Created || res.App.Name != "my github app" {
		t.Errorf("%+v", res)
	}
	if apps, gets = s.apps.Load()-apps, s.gets.Load()-gets; apps != 0 || gets != 1 {
		t.Errorf("get-or-create of what is there reads the app %d times and asks %d times, want 0 and 1", apps, gets)
	}
	if app, err := m.App(t.Context(), clientID); err != nil || app.ClientID != clientID || s.apps.Load() == apps {
		t.Errorf("App: %v, %v: it is to ask the store", app, err)
	}
	closeManager(t, m)
	wantReads(t, "after Close", s.enters(t, m, secretOfSeed, true), 1)
}

// No word for 800 ms: everything is read, until there is.
func TestAppsWithoutNews(t *testing.T) {
	s := newAppStore()
	m, o := startApps(t, s, authz.Config{})
	s.enters(t, m, secretOfSeed, true)
	o.Current(time.Now().Add(-799 * time.Millisecond))
	time.Sleep(2 * time.Millisecond)
	wantReads(t, "without news", s.enters(t, m, secretOfSeed, true)+s.enters(t, m, secretOfSeed, true), 2)
	o.Current(forTheWholeTest())
	wantReads(t, "news again", s.enters(t, m, secretOfSeed, true), 0)
	s.end <- errors.New("cut")
	<-s.watching // it begins again, and has heard nothing yet
	wantReads(t, "cut", s.enters(t, m, secretOfSeed, true), 1)
}

func TestAppsCacheTTL(t *testing.T) {
	s := newAppStore()
	const ttl = 50 * time.Millisecond
	m, _ := startApps(t, s, authz.Config{CacheTTL: ttl})
	s.enters(t, m, secretOfSeed, true)
	time.Sleep(ttl)
	wantReads(t, "after the TTL", s.enters(t, m, secretOfSeed, true), 1)
}

// What this Manager changes it heeds at once.
func TestAppsAfterOwnChanges(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	ctx := t.Context()
	s.enters(t, m, secretOfSeed, true)

	name := "another name"
	if _, err := m.UpdateApp(ctx, clientID, authz.AppUpdate{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if res := mustGet(t, m, request()); res.App.Name != name {
		t.Errorf("name %q, want %q", res.App.Name, name)
	}
	_, secret, err := m.RotateSecret(ctx, clientID, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.enters(t, m, secretOfSeed, false)
	s.enters(t, m, secret, true)
	wantReads(t, "the new secret", s.enters(t, m, secret, true), 0)
	if _, err := m.SuspendApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	s.enters(t, m, secret, false)
	if _, err := m.ResumeApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	s.enters(t, m, secret, true)
	if _, err := m.DeleteApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	s.enters(t, m, secret, false)
}

// What others change it heeds when it is told; but what is refused was read.
func TestAppsHearOfChanges(t *testing.T) {
	id := clientID
	for name, change := range map[string]store.Change{"the app": {ClientID: &id}, "anything": {}} {
		t.Run(name, func(t *testing.T) {
			s := newAppStore()
			m, o := startApps(t, s, authz.Config{})
			other, err := authz.New(s.Store, authz.Config{Now: newClock().Now})
			if err != nil {
				t.Fatal(err)
			}
			s.enters(t, m, secretOfSeed, true)
			_, secret, err := other.RotateSecret(t.Context(), clientID, 0)
			if err != nil {
				t.Fatal(err)
			}
			wantReads(t, "not told yet", s.enters(t, m, secretOfSeed, true), 0)
			o.Changed(change)
			wantReads(t, "told", s.enters(t, m, secretOfSeed, false), 1)

			_, newest, err := other.RotateSecret(t.Context(), clientID, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			wantReads(t, "a secret that it has not heard of", s.enters(t, m, newest, true), 1)
			wantReads(t, "again", s.enters(t, m, newest, true)+s.enters(t, m, secret, true), 0)
			if _, err := other.SuspendApp(t.Context(), clientID); err != nil {
				t.Fatal(err)
			}
			o.Changed(change)
			s.enters(t, m, newest, false)
			if _, err := other.ResumeApp(t.Context(), clientID); err != nil {
				t.Fatal(err)
			}
			s.enters(t, m, newest, true) // before it is told
		})
	}
}

// A change that comes while the app is read: what was read is kept for nobody.
func TestAppsReadBesideAChange(t *testing.T) {
	s := newAppStore()
	m, o := startApps(t, s, authz.Config{})
	other, err := authz.New(s.Store, authz.Config{Now: newClock().Now})
	if err != nil {
		t.Fatal(err)
	}
	s.read = func(do func()) {
		do()
		s.read = nil
		if _, _, err := other.RotateSecret(t.Context(), clientID, 0); err != nil {
			t.Error(err)
		}
		id := clientID
		o.Changed(store.Change{ClientID: &id})
	}
	s.enters(t, m, secretOfSeed, true) // its read came first
	s.enters(t, m, secretOfSeed, false)
}

// Callers that miss one app at once share a read, and one that was made new is
// found by who asks after that, whatever a read beside it has missed.
func TestAppsShareReads(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	const callers = 1000
	var inside, all sync.WaitGroup
	inside.Add(callers)
	s.read = func(do func()) {
		inside.Wait()
		time.Sleep(20 * time.Millisecond)
		do()
	}
	var failed atomic.Int64
	before := s.apps.Load()
	for range callers {
		all.Go(func() {
			inside.Done()
			if _, err := m.AuthenticateApp(t.Context(), clientID, secretOfSeed); err != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if n := s.apps.Load() - before; n != 1 || failed.Load() != 0 {
		t.Errorf("%d reads and %d failures of %d, want 1 and 0", n, failed.Load(), callers)
	}
}

func TestAppsNewBesideARead(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	missed, goOn, done := make(chan bool), make(chan bool), make(chan error, 2)
	var once sync.Once
	s.read = func(do func()) {
		do()
		once.Do(func() { missed <- true; <-goOn })
	}
	enter := func() {
		_, err := m.AuthenticateApp(context.Background(), otherClient, secretOfSeed)
		done <- err
	}
	go enter()
	<-missed
	register(t, m, otherClient)
	go enter()
	time.Sleep(20 * time.Millisecond) // it waits for the other, or is about to
	goOn <- true
	if a, b := <-done, <-done; a == nil == (b == nil) {
		t.Errorf("%v and %v: want the first refused and the second let in", a, b)
	}
}

// Made-up client_ids and wrong secrets cost what they cost, and displace nothing.
func TestAppsFloodOfUnknown(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	s.enters(t, m, secretOfSeed, true)
	before := s.apps.Load()
	const n = 50_000
	for i := range n {
		if _, err := m.AuthenticateApp(t.Context(), fmt.Sprintf("%020d", i+1), secretOfSeed); !errors.Is(err, authz.ErrInvalidClient) {
			t.Fatal(err)
		}
	}
	wantReads(t, "unknown apps", s.apps.Load()-before, n)
	wantReads(t, "wrong secret", s.enters(t, m, authz.NewSecret("wrong"), false), 1)
	wantReads(t, "the known app after it all", s.enters(t, m, secretOfSeed, true), 0)
}

// A caller that changes what it was given changes nobody else's.
func TestAppsAreCopies(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	spoil := func(app authz.App, err error) {
		t.Helper()
		if err != nil || len(app.Secrets) != 1 {
			t.Fatal(app, err)
		}
		app.Secrets[0] = store.AppSecret{}
	}
	res := mustGet(t, m, request())
	reset, err := m.Reset(t.Context(), authz.ResetRequest{ClientID: clientID, Token: res.Token})
	for range 2 { // read, and from memory
		spoil(m.AuthenticateApp(t.Context(), clientID, secretOfSeed))
		spoil(m.AppOf(t.Context(), res.Authorization))
		spoil(reset.App, err)
		spoil(mustGet(t, m, request()).App, nil)
		res.App, reset.App = mustGet(t, m, request()).App, mustGet(t, m, request()).App
	}
	grants, err := m.Grants(t.Context(), owner)
	if err != nil || len(grants) != 1 {
		t.Fatal(grants, err)
	}
	spoil(grants[0].App, nil)
	wantReads(t, "after all that", s.enters(t, m, secretOfSeed, true), 0)
}

// Nobody tells when the host's own table changes.
func TestForeignAppsAreReadEachTime(t *testing.T) {
	s, host := newAppStore(), newAppStore()
	m, err := authz.New(s, authz.Config{Apps: host, Cache: newCache()})
	if err != nil {
		t.Fatal(err)
	}
	register(t, m, clientID)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeManager(t, m) })
	(<-s.watching).Current(forTheWholeTest())
	wantReads(t, "three times", host.enters(t, m, secretOfSeed, true)+host.enters(t, m, secretOfSeed, true)+host.enters(t, m, secretOfSeed, true), 3)
}

// On a store that cannot tell, apps live as long as tokens do.
func TestAppsUnwatched(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{0: 2, time.Hour: 0} {
		s := newAppStore()
		m, _ := newManager(t, struct{ store.Store }{s}, authz.Config{UnwatchedTTL: ttl})
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ttl != 0 {
			waitFor(t, "an app in memory", func() bool { return s.enters(t, m, secretOfSeed, true) == 0 })
		}
		wantReads(t, fmt.Sprint("UnwatchedTTL ", ttl), s.enters(t, m, secretOfSeed, true)+s.enters(t, m, secretOfSeed, true), want)
		closeManager(t, m)
	}
}

// Two Managers on one store: what one does to an app is heard in the other.
func TestAppsOfTwoManagers(t *testing.T) {
	stores := map[string]func(t *testing.T) (a, b store.Store){
		"memory": func(*testing.T) (a, b store.Store) { s := memory.New(); return s, s },
		"sqlite": func(t *testing.T) (a, b store.Store) {
			path := filepath.Join(t.TempDir(), "authz.db")
			var both []store.Store
			for range 2 {
				s, err := sqlite.Open(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				both = append(both, s)
			}
			return both[0], both[1]
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			first, second := open(t)
			here, _ := newManager(t, first, authz.Config{})
			there, err := authz.New(second, authz.Config{Now: newClock().Now})
			if err != nil {
				t.Fatal(err)
			}
			if err := here.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeManager(t, here) })
			token := mustGet(t, here, request()).Authorization
			in := func(secret authz.Secret) bool {
				_, err := here.GetOrCreate(t.Context(), request(func(r *authz.Request) { r.ClientSecret = secret }))
				if err != nil && !errors.Is(err, authz.ErrInvalidClient) {
					t.Fatal(err)
				}
				return err == nil
			}
			within := func(what string, ok func() bool) {
				t.Helper()
				for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
					if time.Since(began) > 5*time.Second {
						t.Fatal("not heard of: ", what)
					}
				}
			}
			ctx := t.Context()
			for range 20 { // in memory by then, if it ever is
				in(secretOfSeed)
				time.Sleep(20 * time.Millisecond)
			}
			_, secret, err := there.RotateSecret(ctx, clientID, 0)
			if err != nil {
				t.Fatal(err)
			}
			within("the end of a secret", func() bool { return !in(secretOfSeed) })
			if !in(secret) {
				t.Error("the new secret is refused")
			}
			if _, err := there.SuspendApp(ctx, clientID); err != nil {
				t.Fatal(err)
			}
			within("a suspension", func() bool { return !in(secret) })
			if _, err := there.ResumeApp(ctx, clientID); err != nil {
				t.Fatal(err)
			}
			if !in(secret) {
				t.Error("refused after it was resumed")
			}
			if _, err := there.DeleteApp(ctx, clientID); err != nil {
				t.Fatal(err)
			}
			within("a deletion", func() bool { return !in(secret) })
			within("a deletion, by who shows it", func() bool {
				_, err := here.AppOf(ctx, token)
				return errors.Is(err, authz.ErrNotFound)
			})
		})
	}
}

// More apps than have a place: all of them are answered for.
func TestMoreAppsThanPlaces(t *testing.T) {
	s := newAppStore()
	m, _ := startApps(t, s, authz.Config{})
	var ids []string
	for i := range 12_000 {
		id := fmt.Sprintf("%020d", i+1)
		ids = append(ids, id)
		if _, err := s.CreateApp(t.Context(), store.App{ClientID: id, Name: id, Secrets: []store.AppSecret{{Hash: store.HashOf(clientSecret)}}}); err != nil {
			t.Fatal(err)
		}
	}
	var reads [2]int64
	for i := range reads {
		before := s.apps.Load()
		for _, id := range ids {
			app, err := m.AuthenticateApp(t.Context(), id, secretOfSeed)
			if err != nil || app.Name != id {
				t.Fatal(app, err)
			}
		}
		reads[i] = s.apps.Load() - before
	}
	if reads[0] != int64(len(ids)) || reads[1] > int64(len(ids))*3/4 {
		t.Errorf("%d apps were read %d times, then %d", len(ids), reads[0], reads[1])
	}
}
