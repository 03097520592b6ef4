package authz_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// The app of the seed document, and a user.
const (
	clientID     = "abcde12345fghij67890"
	clientSecret = "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"
	otherClient  = "zyxwv98765utsrq43210"
	owner        = "user-1"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2011, 9, 6, 17, 26, 27, 246813579, time.FixedZone("", 7200))}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newManager returns a Manager on s with a still clock and the seed's app.
func newManager(t testing.TB, s store.Store, cfg authz.Config) (*authz.Manager, *clock) {
	t.Helper()
	c := newClock()
	cfg.Now = c.Now
	m, err := authz.New(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(t, m, clientID)
	return m, c
}

func register(t testing.TB, m *authz.Manager, id string) authz.App {
	t.Helper()
	app, _, err := m.RegisterApp(context.Background(), authz.NewApp{
		Name: "my github app", URL: "http://my-github-app.com",
		ClientID: id, ClientSecret: authz.NewSecret(clientSecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// request is a request for the seed's app, changed by each of change.
func request(change ...func(*authz.Request)) authz.Request {
	req := authz.Request{
		Owner: owner, ClientID: clientID, ClientSecret: authz.NewSecret(clientSecret),
		Scopes: []string{"public_repo"}, Note: "admin script",
	}
	for _, c := range change {
		c(&req)
	}
	return req
}

func fingerprint(f string) func(*authz.Request) {
	return func(r *authz.Request) { r.Fingerprint = f }
}

func onExisting(o authz.OnExisting) func(*authz.Request) {
	return func(r *authz.Request) { r.OnExisting = o }
}

func mustGet(t testing.TB, m *authz.Manager, req authz.Request) authz.Result {
	t.Helper()
	res, err := m.GetOrCreate(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// alive reports whether the token is accepted. Any error but ErrInvalidToken
// fails the test.
func alive(t testing.TB, m *authz.Manager, token authz.Secret) bool {
	t.Helper()
	_, err := m.Verify(context.Background(), token.Reveal())
	if err != nil && !errors.Is(err, authz.ErrInvalidToken) {
		t.Fatal(err)
	}
	return err == nil
}

// count is how many authorizations the store holds for the owners.
func count(t testing.TB, s store.Store, owners ...string) (n int) {
	t.Helper()
	for _, o := range owners {
		recs, err := s.List(context.Background(), store.Query{Owner: o, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		n += len(recs)
	}
	return n
}

func TestNewRefuses(t *testing.T) {
	if _, err := authz.New(nil, authz.Config{}); err == nil {
		t.Error("New(nil) gave no error")
	}
	for name, cfg := range map[string]authz.Config{
		"prefix too long":          {TokenPrefix: "a2345678901234567"},
		"prefix with dash":         {TokenPrefix: "a-b"},
		"prefix begins with _":     {TokenPrefix: "_a"},
		"prefix begins with digit": {TokenPrefix: "1a"},
		"prefix not ASCII":         {TokenPrefix: "é"},
		"lifetime negative":        {Lifetime: -1},
		"limit negative":           {MaxPerUserAndApp: -1},
		"scope with space":         {Scopes: authz.ScopeNames("a b")},
		"scope empty":              {Scopes: authz.ScopeNames("")},
		"scope too long":           {Scopes: authz.ScopeNames(strings.Repeat("a", authz.MaxScope+1))},
	} {
		if _, err := authz.New(memory.New(), cfg); err == nil {
			t.Errorf("%s: New gave no error", name)
		}
	}
	for _, prefix := range []string{"a", "azt", "my_app_2", "a234567890123456"} {
		if _, err := authz.New(memory.New(), authz.Config{TokenPrefix: prefix}); err != nil {
			t.Errorf("New with prefix %q: %v", prefix, err)
		}
	}
}

func TestGetOrCreate(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{})
	now := c.Now().UTC().Truncate(time.Microsecond)
	want := authz.Authorization{
		ID: 1, Revision: 1,
		Key:    store.Key{Owner: owner, ClientID: clientID, Fingerprint: "desk"},
		Scopes: []string{"b", "a"}, Note: "a note", NoteURL: "https://example.com/x",
		CreatedAt: now, UpdatedAt: now, IssuedAt: now,
	}
	req := request(func(r *authz.Request) {
		r.Fingerprint, r.Scopes, r.Note, r.NoteURL = "desk", []string{"b", "a", "b"}, want.Note, want.NoteURL
	})
	first := mustGet(t, m, req)
	token := first.Token.Reveal()
	want.TokenHash, want.TokenLastEight = store.HashOf(token), token[len(token)-8:]
	if !first.Created || token == "" || first.NotApplied != nil || !reflect.DeepEqual(first.Authorization, want) {
		t.Errorf("first call:\ngot  %+v\nwant %+v, created", first, want)
	}
	if first.App.Name != "my github app" || first.App.ClientID != clientID {
		t.Errorf("App = %+v", first.App)
	}

	c.Add(time.Hour)
	again := mustGet(t, m, req)
	if again.Created || !again.Token.IsZero() || again.NotApplied != nil || !reflect.DeepEqual(again.Authorization, want) {
		t.Errorf("second call:\ngot  %+v\nwant %+v, unchanged and without token", again, want)
	}
	rec, err := m.Verify(context.Background(), token)
	if err != nil || !reflect.DeepEqual(*rec, want) {
		t.Errorf("Verify = %+v, %v; want %+v", rec, err, want)
	}
}

// Owner, app and fingerprint are the key, each byte for byte.
func TestGetOrCreateKeys(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	register(t, m, otherClient)
	ids := map[int64]string{}
	check := func(name string, req authz.Request) {
		t.Helper()
		res := mustGet(t, m, req)
		if !res.Created {
			t.Errorf("%s: is the authorization of %s", name, ids[res.Authorization.ID])
		}
		if again := mustGet(t, m, req); again.Authorization.ID != res.Authorization.ID || again.Created {
			t.Errorf("%s: asked again: got id %d, want %d", name, again.Authorization.ID, res.Authorization.ID)
		}
		ids[res.Authorization.ID] = name
	}
	for _, f := range []string{
		"", "a", "A", "a ", " a", "a/b", "a%2Fb", "..", ".", "+", "a+b", "a b", "null", "é", "e\u0301", "\u212b", "\u00c5",
		"ß", "ss", "'", `"`, `\`, "%", "_", "\ufffd", "💻", strings.Repeat("x", 255), strings.Repeat("x", 254),
	} {
		check(fmt.Sprintf("fingerprint %q", f), request(fingerprint(f)))
	}
	check("another user", request(func(r *authz.Request) { r.Owner = "User-1" }))
	check("another app", request(func(r *authz.Request) { r.ClientID = otherClient }))
}

func TestNotApplied(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	with := func(scopes []string, note, noteURL string) authz.Request {
		return request(func(r *authz.Request) { r.Scopes, r.Note, r.NoteURL = scopes, note, noteURL })
	}
	first := mustGet(t, m, with([]string{"a", "b"}, "note", "https://example.com"))
	for _, test := range []struct {
		name string
		req  authz.Request
		want []string
	}{
		{"the same", with([]string{"a", "b"}, "note", "https://example.com"), nil},
		{"another order of scopes", with([]string{"b", "a", "b"}, "note", "https://example.com"), nil},
		{"nothing asked for", with(nil, "", ""), nil},
		{"no scopes asked for", with([]string{}, "", ""), []string{"scopes"}},
		{"fewer scopes", with([]string{"a"}, "", ""), []string{"scopes"}},
		{"more scopes", with([]string{"a", "b", "c"}, "", ""), []string{"scopes"}},
		{"other scopes", with([]string{"a", "c"}, "", ""), []string{"scopes"}},
		{"note", with(nil, "Note", ""), []string{"note"}},
		{"note_url", with(nil, "", "https://example.com/"), []string{"note_url"}},
		{"all", with([]string{"c"}, "x", "https://x.example"), []string{"scopes", "note", "note_url"}},
	} {
		for _, what := range []authz.OnExisting{"", authz.OnExistingReturn, authz.OnExistingRotate} {
			test.req.OnExisting = what
			res := mustGet(t, m, test.req)
			if !slices.Equal(res.NotApplied, test.want) {
				t.Errorf("%s, on_existing %q: NotApplied = %q, want %q", test.name, what, res.NotApplied, test.want)
			}
			got, want := res.Authorization, first.Authorization
			if !slices.Equal(got.Scopes, want.Scopes) || got.Note != want.Note || got.NoteURL != want.NoteURL {
				t.Errorf("%s, on_existing %q: the authorization has changed: %+v", test.name, what, got)
			}
		}
	}
}

func TestOnExistingRotate(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{Lifetime: time.Hour})
	rotate := request(onExisting(authz.OnExistingRotate))
	first := mustGet(t, m, rotate)
	if !first.Created {
		t.Fatal("rotate on nothing did not create")
	}
	c.Add(30 * time.Minute)
	second := mustGet(t, m, rotate)
	if second.Created || second.Token.IsZero() || second.Token.Equal(first.Token) {
		t.Errorf("rotate: Created %v, a token %v, the same %v; want a new token and Created false",
			second.Created, !second.Token.IsZero(), second.Token.Equal(first.Token))
	}
	a, b := first.Authorization, second.Authorization
	if b.ID != a.ID || !b.CreatedAt.Equal(a.CreatedAt) {
		t.Errorf("rotate: id %d created %v, want id %d created %v", b.ID, b.CreatedAt, a.ID, a.CreatedAt)
	}
	if now := c.Now().Truncate(time.Microsecond); !b.UpdatedAt.Equal(now) || !b.ExpiresAt.Equal(now.Add(time.Hour)) {
		t.Errorf("rotate: updated %v, expires %v; want both from now on", b.UpdatedAt, b.ExpiresAt)
	}
	if b.TokenHash != store.HashOf(second.Token.Reveal()) || !strings.HasSuffix(second.Token.Reveal(), b.TokenLastEight) {
		t.Error("rotate: hash or last eight are not of the new token")
	}
	if alive(t, m, first.Token) {
		t.Error("the old token is alive")
	}
	if !alive(t, m, second.Token) {
		t.Error("the new token is dead")
	}
}

// However many rotate at once, each gets a token, one of them lives, and the
// authorization stays one.
func TestRotateRace(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	const n = 32
	results := make([]authz.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			results[i], _ = m.GetOrCreate(context.Background(), request(onExisting(authz.OnExistingRotate)))
		})
	}
	wg.Wait()
	living, created := 0, 0
	for i, res := range results {
		if res.Token.IsZero() {
			t.Fatalf("call %d got no token", i)
		}
		if res.Created {
			created++
		}
		if alive(t, m, res.Token) {
			living++
		}
	}
	if created != 1 || living != 1 || count(t, s, owner) != 1 {
		t.Errorf("%d created, %d tokens alive, %d rows; want 1 of each", created, living, count(t, s, owner))
	}
}

// A rotation that meets a change looks again, with the same token.
func TestRotateMeetsAChange(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(m *authz.Manager, id int64) error{
		"rotated": func(m *authz.Manager, _ int64) error {
			_, err := m.GetOrCreate(ctx, request(onExisting(authz.OnExistingRotate)))
			return err
		},
		"deleted": func(m *authz.Manager, id int64) error { return m.Delete(ctx, owner, id) },
	} {
		s := &meddledStore{Store: memory.New()}
		m, _ := newManager(t, s, authz.Config{})
		first := mustGet(t, m, request())
		var err error
		s.before = func() { err = change(m, first.Authorization.ID) }
		res := mustGet(t, m, request(onExisting(authz.OnExistingRotate)))
		if err != nil {
			t.Fatal(err)
		}
		if res.Created != (name == "deleted") || !alive(t, m, res.Token) || alive(t, m, first.Token) || count(t, s, owner) != 1 {
			t.Errorf("%s: Created %v, want one row with a living new token", name, res.Created)
		}
	}
}

// meddledStore calls before, once, before a Replace.
type meddledStore struct {
	store.Store
	before func()
}

func (s *meddledStore) Replace(ctx context.Context, rec store.Authorization) (store.Authorization, error) {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	return s.Store.Replace(ctx, rec)
}

func TestOnExistingError(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	req := request(onExisting(authz.OnExistingError))
	first := mustGet(t, m, req)
	if !first.Created {
		t.Fatal("the first call did not create")
	}
	_, err := m.GetOrCreate(context.Background(), req)
	var exists *authz.ExistsError
	if !errors.As(err, &exists) || exists.ID != first.Authorization.ID {
		t.Errorf("err = %v, want *ExistsError with ID %d", err, first.Authorization.ID)
	}
	if !alive(t, m, first.Token) {
		t.Error("the token died of it")
	}
}

func TestLifetime(t *testing.T) {
	s := memory.New()
	m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
	first := mustGet(t, m, request())
	if want := first.Authorization.CreatedAt.Add(time.Hour); !first.Authorization.ExpiresAt.Equal(want) {
		t.Errorf("ExpiresAt = %v, want %v", first.Authorization.ExpiresAt, want)
	}
	c.Add(time.Hour - time.Microsecond)
	if !alive(t, m, first.Token) {
		t.Error("dead one microsecond too early")
	}
	if mustGet(t, m, request()).Created {
		t.Error("replaced one microsecond too early")
	}
	c.Add(time.Microsecond)
	if alive(t, m, first.Token) {
		t.Error("alive at the very instant of its end")
	}
	second := mustGet(t, m, request(onExisting(authz.OnExistingError))) // the expired one does not exist
	if !second.Created || second.Authorization.ID <= first.Authorization.ID {
		t.Errorf("after the end: Created %v, id %d after %d; want a new one", second.Created, second.Authorization.ID, first.Authorization.ID)
	}
	if alive(t, m, first.Token) || !alive(t, m, second.Token) || count(t, s, owner) != 1 {
		t.Error("after the end: want the old token dead, the new one alive, one row")
	}
	forever, _ := newManager(t, memory.New(), authz.Config{})
	if res := mustGet(t, forever, request()); !res.Authorization.ExpiresAt.IsZero() {
		t.Errorf("without Lifetime ExpiresAt = %v", res.Authorization.ExpiresAt)
	}
}

func TestMaxPerUserAndApp(t *testing.T) {
	s := memory.New()
	m, c := newManager(t, s, authz.Config{MaxPerUserAndApp: 3, Lifetime: time.Hour})
	register(t, m, otherClient)
	var tokens []authz.Secret
	get := func(req authz.Request) {
		t.Helper()
		tokens = append(tokens, mustGet(t, m, req).Token)
	}
	check := func(want ...bool) {
		t.Helper()
		got := make([]bool, len(tokens))
		for i, token := range tokens {
			got[i] = alive(t, m, token)
		}
		if !slices.Equal(got, want) {
			t.Errorf("alive = %v, want %v", got, want)
		}
	}
	get(request(func(r *authz.Request) { r.Owner = "user-2" }))
	get(request(func(r *authz.Request) { r.ClientID = otherClient }))
	for _, f := range []string{"a", "b", "c"} {
		get(request(fingerprint(f)))
	}
	check(true, true, true, true, true)
	get(request(fingerprint("d"))) // the oldest, a, goes
	check(true, true, false, true, true, true)
	if mustGet(t, m, request(fingerprint("b"))).Created { // an existing one pushes nobody out
		t.Error("b is gone")
	}
	check(true, true, false, true, true, true)
	c.Add(2 * time.Hour) // expired ones do not count
	get(request(fingerprint("e")))
	get(request(fingerprint("f")))
	get(request(fingerprint("g")))
	check(false, false, false, false, false, false, true, true, true)
}

// Expired authorizations do not push out a living one that is older.
func TestMaxPerUserAndAppCountsTheLiving(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{MaxPerUserAndApp: 2, Lifetime: time.Hour})
	mustGet(t, m, request(fingerprint("old")))
	mustGet(t, m, request(fingerprint("expired")))
	c.Add(30 * time.Minute)
	old := mustGet(t, m, request(fingerprint("old"), onExisting(authz.OnExistingRotate)))
	c.Add(45 * time.Minute)
	fresh := mustGet(t, m, request(fingerprint("new")))
	if !alive(t, m, old.Token) || !alive(t, m, fresh.Token) {
		t.Error("want both living ones to stay")
	}
}

// MaxPerUserAndApp holds for users with more rows than one page of the store.
func TestMaxPerUserAndAppManyRows(t *testing.T) {
	s := memory.New()
	unlimited, _ := newManager(t, s, authz.Config{})
	for i := range 250 {
		mustGet(t, unlimited, request(fingerprint(fmt.Sprint(i))))
	}
	limited, err := authz.New(s, authz.Config{MaxPerUserAndApp: 2})
	if err != nil {
		t.Fatal(err)
	}
	mustGet(t, limited, request(fingerprint("last")))
	recs, err := s.List(context.Background(), store.Query{Owner: owner, Limit: 1000})
	if err != nil || len(recs) != 2 || recs[0].Fingerprint != "249" || recs[1].Fingerprint != "last" {
		t.Errorf("left: %v, %v; want the two newest", recs, err)
	}
}

func TestClientIsChecked(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	secret := func(s string) func(*authz.Request) {
		return func(r *authz.Request) { r.ClientSecret = authz.NewSecret(s) }
	}
	id := func(s string) func(*authz.Request) { return func(r *authz.Request) { r.ClientID = s } }
	for name, req := range map[string]authz.Request{
		"wrong secret":              request(secret(strings.Repeat("x", 40))),
		"secret cut short":          request(secret(clientSecret[:39])),
		"secret prolonged":          request(secret(clientSecret + "x")),
		"secret in upper case":      request(secret(strings.ToUpper(clientSecret))),
		"unknown client_id":         request(id("00000000000000000001")),
		"client_id of zeros":        request(id("00000000000000000000")),
		"client_id empty":           request(id("")),
		"client_id too long":        request(id(clientID + "x")),
		"client_id in another case": request(id(strings.ToUpper(clientID))),
	} {
		if _, err := m.GetOrCreate(context.Background(), req); !errors.Is(err, authz.ErrInvalidClient) {
			t.Errorf("%s: err = %v, want ErrInvalidClient", name, err)
		}
	}
	mustGet(t, m, request())
	if _, err := m.GetOrCreate(context.Background(), request(secret("x"))); !errors.Is(err, authz.ErrInvalidClient) {
		t.Errorf("wrong secret for an existing authorization: err = %v, want ErrInvalidClient", err)
	}
	if n := count(t, s, owner); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestRegisterApp(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	app, secret, err := m.RegisterApp(ctx, authz.NewApp{Name: "App", URL: "https://example.com"})
	if err != nil {
		t.Fatal(err)
	}
	now := c.Now().UTC().Truncate(time.Microsecond)
	if len(app.ClientID) != 20 || len(secret.Reveal()) != 40 || app.Name != "App" || app.URL != "https://example.com" ||
		app.ID <= 0 || !app.CreatedAt.Equal(now) || !app.UpdatedAt.Equal(now) ||
		len(app.Secrets) != 1 || app.Secrets[0].Hash != store.HashOf(secret.Reveal()) {
		t.Errorf("RegisterApp = %+v", app)
	}
	if got, err := m.AuthenticateApp(ctx, app.ClientID, secret); err != nil || !reflect.DeepEqual(got, app) {
		t.Errorf("AuthenticateApp = %+v, %v", got, err)
	}
	if got, err := m.App(ctx, app.ClientID); err != nil || !reflect.DeepEqual(got, app) {
		t.Errorf("App = %+v, %v", got, err)
	}

	long := strings.Repeat("é", authz.MaxAppName)
	good := authz.NewSecret(strings.Repeat("~", 40))
	if _, _, err := m.RegisterApp(ctx, authz.NewApp{Name: long, ClientID: "A2345678901234567890", ClientSecret: good}); err != nil {
		t.Errorf("app at the limits: %v", err)
	}
	for _, test := range []struct {
		name, field string
		code        authz.ErrorCode
		app         authz.NewApp
	}{
		{"no name", "name", authz.CodeMissingField, authz.NewApp{}},
		{"blank name", "name", authz.CodeMissingField, authz.NewApp{Name: " \t"}},
		{"long name", "name", authz.CodeInvalid, authz.NewApp{Name: long + "é"}},
		{"control character", "name", authz.CodeInvalid, authz.NewApp{Name: "a\x00"}},
		{"url", "url", authz.CodeInvalid, authz.NewApp{Name: "a", URL: "javascript:alert(1)"}},
		{"short client_id", "client_id", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: "abc", ClientSecret: good}},
		{"client_id of zeros", "client_id", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: strings.Repeat("0", 20), ClientSecret: good}},
		{"client_id with dash", "client_id", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: "abcde-12345-fghij-67", ClientSecret: good}},
		{"client_id alone", "client_secret", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: "B2345678901234567890"}},
		{"client_secret alone", "client_id", authz.CodeInvalid, authz.NewApp{Name: "a", ClientSecret: good}},
		{"short client_secret", "client_secret", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: "B2345678901234567890", ClientSecret: authz.NewSecret("x")}},
		{"client_secret with space", "client_secret", authz.CodeInvalid, authz.NewApp{Name: "a", ClientID: "B2345678901234567890", ClientSecret: authz.NewSecret(strings.Repeat(" ", 40))}},
		{"client_id taken", "client_id", authz.CodeAlreadyExists, authz.NewApp{Name: "a", ClientID: clientID, ClientSecret: good}},
	} {
		_, secret, err := m.RegisterApp(ctx, test.app)
		wantField(t, test.name, err, test.field, test.code)
		if !secret.IsZero() {
			t.Errorf("%s: a secret came with the error", test.name)
		}
	}
}

// wantField fails the test unless err is a *ValidationError for this field and
// code alone.
func wantField(t testing.TB, name string, err error, field string, code authz.ErrorCode) {
	t.Helper()
	var v *authz.ValidationError
	if !errors.As(err, &v) || len(v.Fields) != 1 || v.Fields[0].Field != field || v.Fields[0].Code != code {
		t.Errorf("%s: err = %v, want %s %s", name, err, field, code)
	}
}

func TestRotateSecret(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	first := authz.NewSecret(clientSecret)
	rotate := func(overlap time.Duration) authz.Secret {
		t.Helper()
		app, secret, err := m.RotateSecret(ctx, clientID, overlap)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret.Reveal()) != 40 || app.Secrets[len(app.Secrets)-1].Hash != store.HashOf(secret.Reveal()) {
			t.Errorf("RotateSecret = %+v", app)
		}
		return secret
	}
	check := func(when string, secret authz.Secret, want bool) {
		t.Helper()
		_, err := m.AuthenticateApp(ctx, clientID, secret)
		if err != nil && !errors.Is(err, authz.ErrInvalidClient) {
			t.Fatal(err)
		}
		if got := err == nil; got != want {
			t.Errorf("%s: live = %v, want %v", when, got, want)
		}
	}
	second := rotate(time.Hour)
	check("first during the overlap", first, true)
	check("second during the overlap", second, true)
	c.Add(30 * time.Minute)
	third := rotate(24 * time.Hour) // does not prolong the first
	c.Add(30*time.Minute - time.Microsecond)
	check("first just before its end", first, true)
	c.Add(time.Microsecond)
	check("first at its end", first, false)
	check("second after the first's end", second, true)
	check("third", third, true)

	fourth := rotate(0)
	for name, s := range map[string]authz.Secret{"first": first, "second": second, "third": third} {
		check(name+" after overlap 0", s, false)
	}
	check("fourth", fourth, true)

	_, _, err := m.RotateSecret(ctx, clientID, -1)
	wantField(t, "negative overlap", err, "overlap", authz.CodeInvalid)
	if _, _, err := m.RotateSecret(ctx, otherClient, 0); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("unknown app: err = %v, want ErrNotFound", err)
	}
}

func TestUpdateApp(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	before, err := m.App(ctx, clientID)
	if err != nil {
		t.Fatal(err)
	}
	c.Add(time.Minute)
	name, empty, bad := "New name", "", "ftp://x"
	app, err := m.UpdateApp(ctx, clientID, authz.AppUpdate{Name: &name})
	if err != nil || app.Name != name || app.URL != before.URL || !app.UpdatedAt.After(before.UpdatedAt) ||
		!app.CreatedAt.Equal(before.CreatedAt) || !reflect.DeepEqual(app.Secrets, before.Secrets) {
		t.Errorf("name: %+v, %v", app, err)
	}
	if app, err := m.UpdateApp(ctx, clientID, authz.AppUpdate{URL: &empty}); err != nil || app.URL != "" || app.Name != name {
		t.Errorf("url: %+v, %v", app, err)
	}
	_, err = m.UpdateApp(ctx, clientID, authz.AppUpdate{Name: &empty})
	wantField(t, "no name", err, "name", authz.CodeMissingField)
	_, err = m.UpdateApp(ctx, clientID, authz.AppUpdate{URL: &bad})
	wantField(t, "bad url", err, "url", authz.CodeInvalid)
	if _, err := m.UpdateApp(ctx, otherClient, authz.AppUpdate{Name: &name}); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("unknown app: err = %v, want ErrNotFound", err)
	}
	// What is shown of the app follows at once.
	if res := mustGet(t, m, request()); res.App.Name != name {
		t.Errorf("GetOrCreate shows %q, want %q", res.App.Name, name)
	}
}

func TestApps(t *testing.T) {
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("app%017d", i)
		register(t, m, id)
		want = append(want, id)
	}
	for _, limit := range []int{-1, 0, 1, 2, 3, 7, 8, 5000} {
		var got []string
		var after int64
		for {
			page, err := m.Apps(context.Background(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > max(limit, 1) {
				t.Errorf("limit %d: a page of %d", limit, len(page))
			}
			if len(page) == 0 {
				break
			}
			for _, app := range page {
				got = append(got, app.ClientID)
			}
			after = page[len(page)-1].ID
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %q, want %q", limit, got, want)
		}
	}
}

func TestDelete(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	res := mustGet(t, m, request())
	if err := m.Delete(ctx, "user-2", res.Authorization.ID); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("another user's: err = %v, want ErrNotFound", err)
	}
	if !alive(t, m, res.Token) {
		t.Error("another user has revoked it")
	}
	if err := m.Delete(ctx, owner, res.Authorization.ID); err != nil {
		t.Fatal(err)
	}
	if alive(t, m, res.Token) {
		t.Error("the token is alive after Delete")
	}
	if err := m.Delete(ctx, owner, res.Authorization.ID); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("deleted before: err = %v, want ErrNotFound", err)
	}
	if next := mustGet(t, m, request()); !next.Created || next.Authorization.ID == res.Authorization.ID {
		t.Errorf("after Delete: %+v, want a new one under a new id", next.Authorization)
	}
}

// Mastodon CVE-2024-25619: the app was deleted, its tokens lived on.
func TestCVE_2024_25619_DeletedAppTakesItsTokens(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	register(t, m, otherClient)
	ctx := context.Background()
	one := mustGet(t, m, request())
	two := mustGet(t, m, request(fingerprint("x"), func(r *authz.Request) { r.Owner = "user-2" }))
	kept := mustGet(t, m, request(func(r *authz.Request) { r.ClientID = otherClient }))
	n, err := m.DeleteApp(ctx, clientID)
	if err != nil || n != 2 {
		t.Errorf("DeleteApp = %d, %v; want 2", n, err)
	}
	if alive(t, m, one.Token) || alive(t, m, two.Token) || !alive(t, m, kept.Token) {
		t.Error("want the app's two tokens dead and the other app's alive")
	}
	if n := count(t, s, owner, "user-2"); n != 1 {
		t.Errorf("%d rows left, want 1", n)
	}
	if _, err := m.GetOrCreate(ctx, request()); !errors.Is(err, authz.ErrInvalidClient) {
		t.Errorf("get-or-create for the deleted app: err = %v, want ErrInvalidClient", err)
	}
	if _, err := m.App(ctx, clientID); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("App: err = %v, want ErrNotFound", err)
	}
	for _, id := range []string{clientID, "nonsense"} {
		if _, err := m.DeleteApp(ctx, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("DeleteApp(%q) again: err = %v, want ErrNotFound", id, err)
		}
	}
	_, _, err = m.RegisterApp(ctx, authz.NewApp{Name: "a", ClientID: clientID, ClientSecret: authz.NewSecret(clientSecret)})
	wantField(t, "the client_id of a deleted app", err, "client_id", authz.CodeAlreadyExists)
}

// An authorization whose app is gone, from the host's own table even, is dead.
func TestOrphanIsDead(t *testing.T) {
	apps := memory.New() // the host's table of apps
	m, _ := newManager(t, memory.New(), authz.Config{Apps: apps})
	res := mustGet(t, m, request())
	if !alive(t, m, res.Token) {
		t.Fatal("dead from the start")
	}
	if _, err := apps.DeleteApp(context.Background(), clientID); err != nil {
		t.Fatal(err)
	}
	if alive(t, m, res.Token) {
		t.Error("alive without its app")
	}
}

func TestValidation(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	list := func(n int) (scopes []string) {
		for i := range n {
			scopes = append(scopes, fmt.Sprint("s", i))
		}
		return scopes
	}
	url := func(n int) string { return "https://example.com/" + strings.Repeat("x", n-len("https://example.com/")) }
	type change = func(*authz.Request)
	scopes := func(v ...string) change { return func(r *authz.Request) { r.Scopes = v } }
	note := func(v string) change { return func(r *authz.Request) { r.Note = v } }
	noteURL := func(v string) change { return func(r *authz.Request) { r.NoteURL = v } }
	user := func(v string) change { return func(r *authz.Request) { r.Owner = v } }

	// Each is a row of its own, so that the fingerprint does not hide them.
	for i, c := range []change{
		user(strings.Repeat("u", 255)), user("é"), user(" "),
		note(strings.Repeat("n", 255)), note(strings.Repeat("é", 255)), note(""), note("<b>&'\"\\\u2028\ufffd"),
		noteURL(""), noteURL(url(2048)), noteURL("http://localhost"), noteURL("https://[::1]:8080/x?y=z#f"), noteURL("HTTP://EXAMPLE.com"), noteURL("http://bücher.example/ü"),
		scopes(), scopes(list(100)...), scopes(strings.Repeat("s", 100)), scopes("!", "#[", "]~", "user:email", "https://example.com/auth/x"),
	} {
		if _, err := m.GetOrCreate(context.Background(), request(fingerprint(fmt.Sprint("fine", i)), c)); err != nil {
			t.Errorf("fine %d: %v", i, err)
		}
	}
	if _, err := m.GetOrCreate(context.Background(), request(fingerprint(strings.Repeat("é", 255)))); err != nil {
		t.Errorf("fingerprint of 255 characters: %v", err)
	}
	before := count(t, s, owner)
	for _, test := range []struct {
		name, field string
		change      change
	}{
		{"no owner", "owner", user("")},
		{"owner of 256 bytes", "owner", user(strings.Repeat("u", 256))},
		{"owner with 128 é", "owner", user(strings.Repeat("é", 128))},
		{"owner with NUL", "owner", user("a\x00")},
		{"owner of invalid UTF-8", "owner", user("a\xff")},
		{"note of 256", "note", note(strings.Repeat("é", 256))},
		{"note with NUL", "note", note("\x00")},
		{"note with newline", "note", note("a\nb")},
		{"note with DEL", "note", note("\x7f")},
		{"note with C1", "note", note("\u0085")},
		{"note of invalid UTF-8", "note", note("\xed\xa0\x80")},
		{"note_url of 2049", "note_url", noteURL(url(2049))},
		{"note_url relative", "note_url", noteURL("/x")},
		{"note_url without host", "note_url", noteURL("http:///x")},
		{"note_url with port only", "note_url", noteURL("http://:80/")},
		{"note_url opaque", "note_url", noteURL("http:example.com")},
		{"note_url without scheme", "note_url", noteURL("//example.com")},
		{"note_url javascript", "note_url", noteURL("javascript:alert(1)")},
		{"note_url javascript with host", "note_url", noteURL("javascript://example.com/%0aalert(1)")},
		{"note_url data", "note_url", noteURL("data:text/html,x")},
		{"note_url ftp", "note_url", noteURL("ftp://example.com")},
		{"note_url with user", "note_url", noteURL("http://user@example.com")},
		{"note_url with user and password", "note_url", noteURL("http://u:p@example.com")},
		{"note_url with space", "note_url", noteURL("http://example.com/a b")},
		{"note_url with leading space", "note_url", noteURL(" http://example.com")},
		{"note_url with newline", "note_url", noteURL("http://example.com/\r\nX: y")},
		{"note_url with bad escape", "note_url", noteURL("http://example.com/%zz")},
		{"note_url with bad port", "note_url", noteURL("http://example.com:x")},
		{"fingerprint of 256", "fingerprint", fingerprint(strings.Repeat("é", 256))},
		{"fingerprint with NUL", "fingerprint", fingerprint("a\x00b")},
		{"fingerprint of invalid UTF-8", "fingerprint", fingerprint("\xff")},
		{"101 scopes", "scopes", scopes(list(101)...)},
		{"scope of 101", "scopes", scopes(strings.Repeat("s", 101))},
		{"scope empty", "scopes", scopes("a", "")},
		{"scope with space", "scopes", scopes("a b")},
		{"scope with quote", "scopes", scopes(`a"`)},
		{"scope with backslash", "scopes", scopes(`a\`)},
		{"scope with DEL", "scopes", scopes("a\x7f")},
		{"scope with NUL", "scopes", scopes("a\x00")},
		{"scope not ASCII", "scopes", scopes("é")},
		{"on_existing", "on_existing", onExisting("Return")},
	} {
		_, err := m.GetOrCreate(context.Background(), request(test.change))
		wantField(t, test.name, err, test.field, authz.CodeInvalid)
	}
	_, err := m.GetOrCreate(context.Background(), request(func(r *authz.Request) { r.ClientSecret = authz.Secret{} }))
	wantField(t, "no client_secret", err, "client_secret", authz.CodeMissingField)

	_, err = m.GetOrCreate(context.Background(), authz.Request{Note: "\x00", NoteURL: "x", Fingerprint: "\x00", Scopes: []string{""}, OnExisting: "x"})
	var v *authz.ValidationError
	if !errors.As(err, &v) || len(v.Fields) != 7 {
		t.Errorf("all wrong at once: %v, want seven fields", err)
	}
	if after := count(t, s, owner); after != before {
		t.Errorf("refused requests made %d rows", after-before)
	}
}

func TestDeclaredScopes(t *testing.T) {
	declared := authz.ScopeNames("repo", "user:email")
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: declared})
	declared[0].Name = "changed" // the Config is copied
	scopes := func(v ...string) authz.Request { return request(func(r *authz.Request) { r.Scopes = v }) }
	mustGet(t, m, scopes("user:email", "repo"))
	_, err := m.GetOrCreate(context.Background(), scopes("a", "repo", "Repo", "b", "a"))
	wantField(t, "undeclared", err, "scopes", authz.CodeCustom)
	var v *authz.ValidationError
	if errors.As(err, &v) && v.Fields[0].Message != "scopes are invalid: a,Repo,b" {
		t.Errorf("message = %q", v.Fields[0].Message)
	}
	none, _ := newManager(t, memory.New(), authz.Config{Scopes: authz.ScopeNames()})
	mustGet(t, none, scopes())
	_, err = none.GetOrCreate(context.Background(), scopes("repo"))
	wantField(t, "no scope declared", err, "scopes", authz.CodeCustom)
}

// countingStore counts the questions about tokens and apps, and can fail.
type countingStore struct {
	store.Store
	lookups, apps atomic.Int64
	err           atomic.Pointer[error]
}

func (s *countingStore) fail(err error) {
	if err == nil {
		s.err.Store(nil)
		return
	}
	s.err.Store(&err)
}

func (s *countingStore) failure() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *countingStore) Lookup(ctx context.Context, h store.Hash) (store.Authorization, store.Standing, error) {
	s.lookups.Add(1)
	if err := s.failure(); err != nil {
		return store.Authorization{}, store.Standing{}, err
	}
	return s.Store.Lookup(ctx, h)
}

func (s *countingStore) App(ctx context.Context, id string) (store.App, error) {
	s.apps.Add(1)
	if err := s.failure(); err != nil {
		return store.App{}, err
	}
	return s.Store.App(ctx, id)
}

func TestTokenForm(t *testing.T) {
	for _, prefix := range []string{"", "my_app"} {
		m, _ := newManager(t, memory.New(), authz.Config{TokenPrefix: prefix})
		token := mustGet(t, m, request()).Token.Reveal()
		want := prefix
		if want == "" {
			want = "azt"
		}
		if rest, ok := strings.CutPrefix(token, want+"_"); !ok || len(rest) != 36 {
			t.Errorf("token has the wrong form under prefix %q", prefix)
		}
	}
}

// Zitadel CVE-2026-27840: a truncated token was accepted. Here whatever is not
// exactly a token is refused, and without a question to the store.
func TestCVE_2026_27840_OnlyWholeTokens(t *testing.T) {
	s := &countingStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token.Reveal()
	if _, err := m.Verify(context.Background(), token); err != nil {
		t.Fatal(err)
	}
	if s.lookups.Load() != 1 {
		t.Fatalf("%d lookups for a good token, want 1", s.lookups.Load())
	}
	var bad []string
	for i := range len(token) {
		bad = append(bad, token[:i], token[i+1:]) // cut at either end
		changed := []byte(token)
		if changed[i]++; changed[i] > 'z' || i == 3 {
			changed[i] = '0'
		}
		bad = append(bad, string(changed)) // one character changed
		flipped := []byte(token)
		flipped[i] ^= 0x20 // case
		if flipped[i] != token[i] {
			bad = append(bad, string(flipped))
		}
	}
	bad = append(bad, token+"0", token+" ", token+"\n", " "+token, token+token, "\x00"+token, strings.Repeat("a", 1<<20),
		strings.ToUpper(token), "other"+token[3:], "a"+token, "azt__"+token[4:], "_"+token, token[4:], "azt"+token[4:])
	for _, b := range bad {
		if b == token {
			continue
		}
		if _, err := m.Verify(context.Background(), b); !errors.Is(err, authz.ErrInvalidToken) {
			t.Errorf("Verify of %d bytes = %v, want ErrInvalidToken", len(b), err)
		}
	}
	if n := s.lookups.Load(); n != 1 {
		t.Errorf("the store was asked %d times about malformed tokens", n-1)
	}
}

// Two Managers on one store, with two prefixes, do not take each other's tokens.
func TestVerifyOtherPrefix(t *testing.T) {
	s := &countingStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	other, err := authz.New(s, authz.Config{TokenPrefix: "other"})
	if err != nil {
		t.Fatal(err)
	}
	token := mustGet(t, m, request()).Token.Reveal()
	if _, err := other.Verify(context.Background(), token); !errors.Is(err, authz.ErrInvalidToken) || s.lookups.Load() != 0 {
		t.Errorf("err = %v after %d lookups; want ErrInvalidToken after none", err, s.lookups.Load())
	}
}

func TestVerifyUnknown(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	elsewhere, _ := newManager(t, memory.New(), authz.Config{})
	if alive(t, m, mustGet(t, elsewhere, request()).Token) {
		t.Error("a token of another store is alive")
	}
}

// fosite CVE-2020-15223: a storage error was answered like a fact.
func TestCVE_2020_15223_StorageErrorsAreNoAnswers(t *testing.T) {
	s := &countingStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	token := mustGet(t, m, request()).Token.Reveal()
	broken := errors.New("the disk is gone")
	s.fail(broken)
	ctx := context.Background()
	calls := map[string]error{}
	_, calls["Verify"] = m.Verify(ctx, token)
	_, calls["GetOrCreate"] = m.GetOrCreate(ctx, request())
	_, calls["AuthenticateApp"] = m.AuthenticateApp(ctx, clientID, authz.NewSecret(clientSecret))
	_, _, calls["RotateSecret"] = m.RotateSecret(ctx, clientID, 0)
	for name, err := range calls {
		if !errors.Is(err, broken) || errors.Is(err, authz.ErrInvalidToken) || errors.Is(err, authz.ErrInvalidClient) || errors.Is(err, authz.ErrNotFound) {
			t.Errorf("%s: err = %v, want the store's error and nothing else", name, err)
		}
	}
	s.fail(nil)
	if _, err := m.Verify(ctx, token); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}

// OpenBao CVE-2025-54999 and its kind: what exists must not be told by the work
// that an answer takes.
func TestCVE_2025_54999_UnknownClientCostsTheSame(t *testing.T) {
	s := &countingStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	var work []int64
	var texts []string
	for _, req := range []authz.Request{
		request(func(r *authz.Request) { r.ClientSecret = authz.NewSecret("wrong") }),
		request(func(r *authz.Request) { r.ClientID = otherClient }),
	} {
		before := s.apps.Load()
		_, err := m.GetOrCreate(context.Background(), req)
		if err == nil {
			t.Fatal("no error")
		}
		work, texts = append(work, s.apps.Load()-before), append(texts, err.Error())
	}
	if work[0] != work[1] || texts[0] != texts[1] {
		t.Errorf("wrong secret: %d questions, %q; unknown client_id: %d questions, %q; want the same", work[0], texts[0], work[1], texts[1])
	}
}

func TestSecretCannotBePrinted(t *testing.T) {
	const plain = "hunter2hunter2"
	secret := authz.NewSecret(plain)
	type inner struct{ S, hidden authz.Secret }
	type outer struct {
		Secret authz.Secret
		P      *authz.Secret
		In     inner
		in     *inner
		List   []authz.Secret
		Map    map[string]authz.Secret
		Any    any
	}
	in := inner{secret, secret}
	values := map[string]any{
		"secret": secret, "pointer": &secret, "inner": in, "inner pointer": &in,
		"outer":       outer{secret, &secret, in, &in, []authz.Secret{secret}, map[string]authz.Secret{"k": secret}, secret},
		"slice":       []authz.Secret{secret},
		"array":       [1]any{secret},
		"map":         map[string]*authz.Secret{"k": &secret},
		"request":     request(func(r *authz.Request) { r.ClientSecret = secret }),
		"request ptr": &authz.Request{ClientSecret: secret},
		"result":      authz.Result{Token: secret},
		"newapp":      authz.NewApp{ClientSecret: secret},
		"credentials": authz.Credentials{Password: secret, OTP: secret},
	}
	for name, v := range values {
		var out bytes.Buffer
		for _, verb := range "vsdqxXtTbcoOUeEfFgGpw" {
			for _, flags := range []string{"", "+", "#", " ", "0", "-40", ".3", "+#10.2"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&out, v)
		out.WriteString(fmt.Errorf("wrapped: %v", v).Error())
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, options), slog.NewJSONHandler(&out, options)} {
			slog.New(h).Debug("message", "key", v, slog.Group("g", "k", v))
			slog.New(h).With("with", v).Debug(fmt.Sprint(v))
		}
		hexed := fmt.Sprintf("%x", plain)
		for _, leak := range []string{plain, plain[:4], hexed, strings.ToUpper(hexed), fmt.Sprint([]byte(plain))} {
			if bytes.Contains(out.Bytes(), []byte(leak)) {
				t.Errorf("%s: the output holds %q", name, leak)
			}
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s %q %d", secret, secret, secret, secret, secret, secret); got != strings.TrimSpace(strings.Repeat("[redacted] ", 6)) {
		t.Errorf("fmt prints %q", got)
	}
	if text, err := secret.MarshalText(); err != nil || string(text) != "[redacted]" {
		t.Errorf("MarshalText = %q, %v", text, err)
	}
	if b, err := json.Marshal(secret); err != nil || string(b) != `"[redacted]"` {
		t.Errorf("json = %s, %v", b, err)
	}
}

func TestSecret(t *testing.T) {
	var zero authz.Secret
	a, b := authz.NewSecret("a"), authz.NewSecret("b")
	if zero.Reveal() != "" || !zero.IsZero() || zero.String() != "" || !authz.NewSecret("").IsZero() {
		t.Error("the zero Secret is not the empty string")
	}
	if a.Reveal() != "a" || a.IsZero() {
		t.Error("NewSecret(a) does not reveal a")
	}
	if !a.Equal(authz.NewSecret("a")) || a.Equal(b) || a.Equal(zero) || zero.Equal(a) || !zero.Equal(authz.Secret{}) {
		t.Error("Equal is wrong")
	}
}

func TestSeedHash(t *testing.T) {
	const want = "25f94a2a5c7fbaf499c665bc73d67c1c87e496da8985131633ee0a95819db2e8"
	if got := store.HashOf("abcdefgh12345678").Hex(); got != want {
		t.Errorf("hash = %s, want the seed's %s", got, want)
	}
}

// Errors must not hold what they are about.
func TestErrorsHoldNoSecrets(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	const marker = "sup3rs3cr3t"
	_, invalid := m.GetOrCreate(context.Background(), request(func(r *authz.Request) {
		r.Note, r.NoteURL, r.Fingerprint, r.Owner = marker+"\x00", marker, marker+"\x00", marker+"\x00"
		r.ClientSecret = authz.NewSecret(marker)
		r.OnExisting = authz.OnExisting(marker)
	}))
	_, client := m.GetOrCreate(context.Background(), request(func(r *authz.Request) { r.ClientSecret = authz.NewSecret(marker) }))
	_, token := m.Verify(context.Background(), marker)
	for _, err := range []error{invalid, client, token} {
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), marker) {
			t.Errorf("err = %v", err)
		}
	}
}
