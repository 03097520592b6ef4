package conformance_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	github17 "github.com/google/go-github/github"
	github29 "github.com/google/go-github/v29/github"
	github32 "github.com/google/go-github/v32/github"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// service is the AuthorizationsService of go-github as long as it had users'
// authorizations, up to version 29. A is its Authorization, G its Grant, O its
// ListOptions, R and U its requests to create and to update, P its Response.
type service[A, G, O, R, U, P any] interface {
	List(context.Context, *O) ([]*A, *P, error)
	Get(context.Context, int64) (*A, *P, error)
	Create(context.Context, *R) (*A, *P, error)
	GetOrCreateForApp(context.Context, string, *R) (*A, *P, error)
	Edit(context.Context, int64, *U) (*A, *P, error)
	Delete(context.Context, int64) (*P, error)
	Check(context.Context, string, string) (*A, *P, error)
	Reset(context.Context, string, string) (*A, *P, error)
	Revoke(context.Context, string, string) (*P, error)
	ListGrants(context.Context, *O) ([]*G, *P, error)
	GetGrant(context.Context, int64) (*G, *P, error)
	DeleteGrant(context.Context, int64) (*P, error)
}

// library is a version of go-github, signed in as somebody.
type library struct {
	list, grants          func(page, perPage int) returned
	get, grant            func(id int64) returned
	remove, removeGrant   func(id int64) returned
	create                func(request map[string]any) returned
	getOrCreate           func(clientID string, request map[string]any) returned
	edit                  func(id int64, request map[string]any) returned
	check, reset          func(clientID, token string) returned
	revoke, removeGrantOf func(clientID, token string) returned
}

// returned is what a method of the library has returned.
type returned struct {
	value                   []byte // what was decoded, in JSON again
	status                  int
	next, prev, first, last int
	err                     error
}

// decoded is an authorization or a grant as the library has it. Nil was not
// there.
type decoded struct {
	ID             *int64     `json:"id"`
	URL            *string    `json:"url"`
	Scopes         []string   `json:"scopes"`
	Token          *string    `json:"token"`
	TokenLastEight *string    `json:"token_last_eight"`
	HashedToken    *string    `json:"hashed_token"`
	App            *app       `json:"app"`
	Note           *string    `json:"note"`
	NoteURL        *string    `json:"note_url"`
	UpdatedAt      *time.Time `json:"updated_at"`
	CreatedAt      *time.Time `json:"created_at"`
	Fingerprint    *string    `json:"fingerprint"`
	User           *struct {
		Login  string `json:"login"`
		ID     int64  `json:"id"`
		NodeID string `json:"node_id"`
		URL    string `json:"url"`
		Type   string `json:"type"`
	} `json:"user"`
}

type app struct {
	URL      *string `json:"url"`
	Name     *string `json:"name"`
	ClientID *string `json:"client_id"`
}

func returnedOf(value, response any, err error) returned {
	r := returned{err: err}
	if p := reflect.Indirect(reflect.ValueOf(response)); p.IsValid() {
		page := func(name string) int { return int(p.FieldByName(name).Int()) }
		r.next, r.prev, r.first, r.last = page("NextPage"), page("PrevPage"), page("FirstPage"), page("LastPage")
		r.status = p.FieldByName("Response").Interface().(*http.Response).StatusCode
	}
	if err == nil && value != nil {
		var problem error
		if r.value, problem = json.Marshal(value); problem != nil {
			r.err = problem
		}
	}
	return r
}

// into makes a value of one of the library's types from one of ours.
func into[T any](v any) *T {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(b, out); err != nil {
		panic(err)
	}
	return out
}

func adapt[A, G, O, R, U, P any](s service[A, G, O, R, U, P]) library {
	ctx := context.Background()
	options := func(page, perPage int) *O { return into[O](map[string]int{"Page": page, "PerPage": perPage}) }
	one := func(v *A, p *P, err error) returned { return returnedOf(v, p, err) }
	none := func(p *P, err error) returned { return returnedOf(nil, p, err) }
	return library{
		list: func(page, perPage int) returned {
			v, p, err := s.List(ctx, options(page, perPage))
			return returnedOf(v, p, err)
		},
		grants: func(page, perPage int) returned {
			v, p, err := s.ListGrants(ctx, options(page, perPage))
			return returnedOf(v, p, err)
		},
		grant: func(id int64) returned {
			v, p, err := s.GetGrant(ctx, id)
			return returnedOf(v, p, err)
		},
		get:         func(id int64) returned { return one(s.Get(ctx, id)) },
		remove:      func(id int64) returned { return none(s.Delete(ctx, id)) },
		removeGrant: func(id int64) returned { return none(s.DeleteGrant(ctx, id)) },
		create:      func(request map[string]any) returned { return one(s.Create(ctx, into[R](request))) },
		getOrCreate: func(id string, request map[string]any) returned {
			return one(s.GetOrCreateForApp(ctx, id, into[R](request)))
		},
		edit:   func(id int64, request map[string]any) returned { return one(s.Edit(ctx, id, into[U](request))) },
		check:  func(id, token string) returned { return one(s.Check(ctx, id, token)) },
		reset:  func(id, token string) returned { return one(s.Reset(ctx, id, token)) },
		revoke: func(id, token string) returned { return none(s.Revoke(ctx, id, token)) },
	}
}

// version makes libraries. base is where the API is, with its prefix.
type version func(t testing.TB, base, prefix string, login, password, otp string, transport http.RoundTripper) library

func version17(t testing.TB, base, prefix string, login, password, otp string, transport http.RoundTripper) library {
	auth := &github17.BasicAuthTransport{Username: login, Password: password, OTP: otp, Transport: transport}
	c, err := github17.NewEnterpriseClient(base+prefix, base+prefix, auth.Client()) // it appends nothing
	if err != nil {
		t.Fatal(err)
	}
	return adapt(c.Authorizations)
}

func version29(t testing.TB, base, prefix string, login, password, otp string, transport http.RoundTripper) library {
	auth := &github29.BasicAuthTransport{Username: login, Password: password, OTP: otp, Transport: transport}
	c, err := github29.NewEnterpriseClient(base, base, auth.Client()) // it appends /api/v3/
	if err != nil {
		t.Fatal(err)
	}
	if prefix == "" {
		c.BaseURL.Path = "/"
	}
	return adapt(c.Authorizations)
}

// version32 has what apps do alone, with the token in the body.
func version32(t testing.TB, base, prefix string, login, password, otp string, transport http.RoundTripper) library {
	auth := &github32.BasicAuthTransport{Username: login, Password: password, OTP: otp, Transport: transport}
	c, err := github32.NewEnterpriseClient(base, base, auth.Client())
	if err != nil {
		t.Fatal(err)
	}
	if prefix == "" {
		c.BaseURL.Path = "/"
	}
	ctx, s := context.Background(), c.Authorizations
	return library{
		check: func(id, token string) returned {
			v, p, err := s.Check(ctx, id, token)
			return returnedOf(v, p, err)
		},
		reset: func(id, token string) returned {
			v, p, err := s.Reset(ctx, id, token)
			return returnedOf(v, p, err)
		},
		revoke: func(id, token string) returned {
			p, err := s.Revoke(ctx, id, token)
			return returnedOf(nil, p, err)
		},
		removeGrantOf: func(id, token string) returned {
			p, err := s.DeleteGrant(ctx, id, token)
			return returnedOf(nil, p, err)
		},
	}
}

// failure is an error of the library, in words that all versions share: its
// type, status and message, and what it says of fields.
func failure(err error) string {
	var (
		e17      *github17.ErrorResponse
		e29      *github29.ErrorResponse
		e32      *github32.ErrorResponse
		factor17 *github17.TwoFactorAuthError
		factor29 *github29.TwoFactorAuthError
	)
	words := func(kind string, e any) string {
		v := reflect.Indirect(reflect.ValueOf(e))
		out := []string{kind, strconv.Itoa(v.FieldByName("Response").Interface().(*http.Response).StatusCode), v.FieldByName("Message").String()}
		for i, errs := 0, v.FieldByName("Errors"); i < errs.Len(); i++ {
			e := errs.Index(i)
			out = append(out, e.FieldByName("Resource").String()+" "+e.FieldByName("Field").String()+" "+e.FieldByName("Code").String())
		}
		return strings.Join(out, "; ")
	}
	switch {
	case err == nil:
		return ""
	case errors.As(err, &factor17):
		return words("TwoFactorAuthError", factor17)
	case errors.As(err, &factor29):
		return words("TwoFactorAuthError", factor29)
	case errors.As(err, &e17):
		return words("ErrorResponse", e17)
	case errors.As(err, &e29):
		return words("ErrorResponse", e29)
	case errors.As(err, &e32):
		return words("ErrorResponse", e32)
	}
	return err.Error()
}

// ok returns what something returned with this status has decoded.
func ok[T any](t testing.TB, r returned, status int) (v T) {
	t.Helper()
	if r.err != nil || r.status != status {
		t.Fatalf("got %d, %v; want %d", r.status, r.err, status)
	}
	if err := json.Unmarshal(r.value, &v); err != nil {
		t.Fatalf("%s: %v", r.value, err)
	}
	return v
}

func wantFailure(t testing.TB, name string, r returned, want string) {
	t.Helper()
	if got := failure(r.err); got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
	}
}

// side is a server for one client library, and the exchanges it had with it.
type side struct {
	t        *testing.T
	base     string // of the server
	prefix   string
	url      string // of the API: both
	rec      *recorder
	version  version
	one, two client       // apps
	clock    atomic.Int64 // a second later whenever it is read
}

func (s *side) as(login, password, otp string) library {
	return s.version(s.t, s.base, s.prefix, login, password, otp, s.rec)
}

func newSide(t *testing.T, st store.Store, v version, prefix string) *side {
	s := &side{t: t, prefix: prefix, rec: &recorder{next: http.DefaultTransport}, version: v}
	s.clock.Store(time.Date(2026, 11, 22, 8, 58, 51, 0, time.UTC).Unix())
	m, err := authz.New(st, authz.Config{Now: func() time.Time { return time.Unix(s.clock.Add(1), 0) }})
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, m, authz.HandlerConfig{Prefix: prefix, LegacyTokenPaths: true})
	s.base, s.url = server.URL, server.URL+prefix
	s.one, s.two = register(t, m, "my github app"), register(t, m, "another app")
	// What the library had for an answer is in the document as well.
	t.Cleanup(func() {
		list := s.rec.exchanges()
		if d := load(t).deviations(list); d != "" {
			t.Errorf("of %d exchanges these deviate:\n%s", len(list), d)
		}
		t.Logf("%d exchanges", len(list))
	})
	return s
}

func openSQLite(t *testing.T) store.Store {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "authz.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func openPostgres(t *testing.T) store.Store {
	st, err := postgres.Open(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// go-github's clients, from when they had these methods, on both databases, at
// the root and where GitHub Enterprise has its API.
func TestGoGitHub(t *testing.T) {
	for _, test := range []struct {
		name    string
		version version
		open    func(*testing.T) store.Store
		prefix  string
	}{
		{"v17 on SQLite", version17, openSQLite, ""},
		{"v17 on PostgreSQL below a prefix", version17, openPostgres, "/api/v3"},
		{"v29 on SQLite below a prefix", version29, openSQLite, "/api/v3"},
		{"v29 on PostgreSQL", version29, openPostgres, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSide(t, test.open(t), test.version, test.prefix)
			for _, step := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"GetOrCreateForApp", s.getOrCreate},
				{"Create", s.create},
				{"List", s.list},
				{"Get, Edit and Delete", s.edit},
				{"Check, Reset and Revoke", s.appSide},
				{"grants", s.grants},
				{"two factors", s.twoFactors},
			} {
				t.Run(step.name, func(t *testing.T) { step.run(t) })
			}
		})
	}
}

// What is left of the service in a client of today: the app's side, with the
// token in the body, that of DELETE too.
func TestGoGitHubToday(t *testing.T) {
	for _, test := range []struct {
		name   string
		open   func(*testing.T) store.Store
		prefix string
	}{
		{"SQLite below a prefix", openSQLite, "/api/v3"},
		{"PostgreSQL", openPostgres, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSide(t, test.open(t), version17, test.prefix)
			mona := s.as("mona", password, "")
			s.version = version32
			s.appSideOf(t, mona)
			app := s.as(s.one.id, s.one.secret, "")
			token := *ok[decoded](t, mona.create(s.request("token of a grant")), 201).Token
			if r := app.removeGrantOf(s.one.id, token); r.err != nil || r.status != 204 {
				t.Errorf("DeleteGrant: %d, %v", r.status, r.err)
			}
			wantFailure(t, "DeleteGrant again", app.removeGrantOf(s.one.id, token), "ErrorResponse; 404; Not Found")
			if left := ok[[]decoded](t, mona.list(1, 100), 200); len(left) != 0 {
				t.Errorf("after DeleteGrant the user has %d authorizations, want none", len(left))
			}
		})
	}
}

// request is one for the first app.
func (s *side) request(note string) map[string]any {
	return map[string]any{"client_id": s.one.id, "client_secret": s.one.secret, "scopes": []string{"public_repo", "repo"}, "note": note, "note_url": "http://example.com/"}
}

func (s *side) without(key string, r map[string]any) map[string]any {
	delete(r, key)
	return r
}

// check checks all that an authorization of the first app should hold.
func (s *side) check(t *testing.T, a decoded, token, note, fingerprint string) {
	t.Helper()
	if a.ID == nil || a.UpdatedAt == nil || a.CreatedAt == nil || a.Token == nil || a.HashedToken == nil || a.TokenLastEight == nil || a.Fingerprint == nil || a.App == nil {
		t.Fatalf("members are missing: %+v", a)
	}
	if age := s.clock.Load() - a.CreatedAt.Unix(); age < 0 || age > 1000 || a.UpdatedAt.Before(*a.CreatedAt) {
		t.Errorf("created_at %v, updated_at %v", a.CreatedAt, a.UpdatedAt)
	}
	if *a.Token != token {
		t.Errorf("token %q, want %q", *a.Token, token)
	}
	if sum := sha256.Sum256([]byte(token)); token != "" && (*a.HashedToken != hex.EncodeToString(sum[:]) || !strings.HasSuffix(token, *a.TokenLastEight) || len(*a.TokenLastEight) != 8) {
		t.Errorf("hashed_token %s, token_last_eight %s of %s", *a.HashedToken, *a.TokenLastEight, token)
	}
	got := []any{*a.URL, a.Scopes, *a.Note, *a.NoteURL, *a.Fingerprint, *a.App.URL, *a.App.Name, *a.App.ClientID}
	want := []any{s.url + "/authorizations/" + strconv.FormatInt(*a.ID, 10), []string{"public_repo", "repo"}, note, "http://example.com/", fingerprint, "http://my-github-app.com", "my github app", s.one.id}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func (s *side) getOrCreate(t *testing.T) {
	mona := s.as("mona", password, "")
	request := s.without("client_id", s.request("admin script"))
	first := ok[decoded](t, mona.getOrCreate(s.one.id, request), 201)
	s.check(t, first, *first.Token, "admin script", "")
	if *first.Token == "" {
		t.Error("201 without a token")
	}
	second := ok[decoded](t, mona.getOrCreate(s.one.id, request), 200)
	s.check(t, second, "", "admin script", "")
	if *second.ID != *first.ID || *second.HashedToken != *first.HashedToken {
		t.Errorf("200: %d, want %d", *second.ID, *first.ID)
	}
	// The library puts the fingerprint into the path and into the body.
	request["fingerprint"] = "laptop"
	third := ok[decoded](t, mona.getOrCreate(s.one.id, request), 201)
	s.check(t, third, *third.Token, "admin script", "laptop")
	fourth := ok[decoded](t, mona.getOrCreate(s.one.id, request), 200)
	s.check(t, fourth, "", "admin script", "laptop")
	if *third.ID == *first.ID || *third.ID != *fourth.ID {
		t.Errorf("ids with a fingerprint: %d and %d; without: %d", *third.ID, *fourth.ID, *first.ID)
	}
	wantFailure(t, "wrong secret", mona.getOrCreate(s.one.id, map[string]any{"client_secret": "x"}), "ErrorResponse; 422; Invalid OAuth application client_id or secret.")
	wantFailure(t, "no secret", mona.getOrCreate(s.one.id, nil), "ErrorResponse; 422; Validation Failed; OauthAccess client_secret missing_field")
	wantFailure(t, "wrong password", s.as("mona", "x", "").getOrCreate(s.one.id, request), "ErrorResponse; 401; Bad credentials")
	wantFailure(t, "token as password", s.as("mona", *first.Token, "").getOrCreate(s.one.id, request), "ErrorResponse; 403; This API can only be accessed with username and password Basic Auth")
	wantFailure(t, "locked", s.as("locked", password, "").getOrCreate(s.one.id, request), "ErrorResponse; 403; Maximum number of login attempts exceeded. Please try again later.")
}

func (s *side) create(t *testing.T) {
	mona := s.as("mona", password, "")
	request := s.request("by Create")
	a := ok[decoded](t, mona.create(request), 201)
	s.check(t, a, *a.Token, "by Create", "")
	b := ok[decoded](t, mona.create(request), 201)
	s.check(t, b, *b.Token, "by Create", "")
	if *a.ID == *b.ID || *a.Token == *b.Token {
		t.Errorf("Create twice: %v and %v", a, b)
	}
	request["fingerprint"] = "laptop"
	wantFailure(t, "taken fingerprint", mona.create(request), "ErrorResponse; 422; Validation Failed; OauthAccess fingerprint already_exists")

	personal := ok[decoded](t, mona.create(map[string]any{"note": "personal", "note_url": "http://example.com/"}), 201)
	if got, want := *personal.App, (app{personal.NoteURL, personal.Note, new(strings.Repeat("0", 20))}); !reflect.DeepEqual(got, want) || *personal.Token == "" || len(personal.Scopes) != 0 {
		t.Errorf("personal: %+v", personal)
	}
	wantFailure(t, "taken note", mona.create(map[string]any{"note": "personal"}), "ErrorResponse; 422; Validation Failed; OauthAccess note already_exists")
	wantFailure(t, "no note", mona.create(nil), "ErrorResponse; 422; Validation Failed; OauthAccess note missing_field")
}

func (s *side) list(t *testing.T) {
	mona := s.as("mona", password, "")
	all := ok[[]decoded](t, mona.list(1, 100), 200)
	if len(all) != 5 { // of the steps before
		t.Fatalf("%d authorizations, want 5", len(all))
	}
	if r := mona.list(1, 100); r.next != 0 || r.prev != 0 || r.first != 0 || r.last != 0 {
		t.Errorf("all on one page: next %d, prev %d, first %d, last %d", r.next, r.prev, r.first, r.last)
	}
	var ids, walked []int64
	for _, a := range all {
		ids = append(ids, *a.ID)
		if *a.Token != "" {
			t.Errorf("%d is listed with its token", *a.ID)
		}
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids %v", ids)
	}
	pages := []returned{{next: 2, last: 3}, {next: 3, last: 3, prev: 1, first: 1}, {prev: 2, first: 1}}
	for page, n := 1, 0; page != 0; n++ { // as the library's users do
		r := mona.list(page, 2)
		for _, a := range ok[[]decoded](t, r, 200) {
			walked = append(walked, *a.ID)
		}
		if n >= len(pages) {
			t.Fatalf("page %d: there is no such page", page)
		}
		if want := pages[n]; r.next != want.next || r.prev != want.prev || r.first != want.first || r.last != want.last {
			t.Errorf("page %d: next %d, prev %d, first %d, last %d; want %+v", page, r.next, r.prev, r.first, r.last, want)
		}
		page = r.next
	}
	if !slices.Equal(walked, ids) {
		t.Errorf("by pages %v, want %v", walked, ids)
	}
	if other := ok[[]decoded](t, s.as("hubot", password, otpCode).list(1, 100), 200); len(other) != 0 {
		t.Errorf("another user sees %d", len(other))
	}
}

func (s *side) edit(t *testing.T) {
	mona := s.as("mona", password, "")
	made := ok[decoded](t, mona.create(s.request("before")), 201)
	got := ok[decoded](t, mona.get(*made.ID), 200)
	s.check(t, got, "", "before", "")

	changed := ok[decoded](t, mona.edit(*made.ID, map[string]any{"add_scopes": []string{"user", "repo"}, "note": "after", "note_url": "http://example.org/", "fingerprint": "phone"}), 200)
	if want := []string{"public_repo", "repo", "user"}; !slices.Equal(changed.Scopes, want) || *changed.Note != "after" || *changed.NoteURL != "http://example.org/" || *changed.Fingerprint != "phone" ||
		*changed.Token != "" || *changed.ID != *made.ID || *changed.HashedToken != *made.HashedToken || !changed.CreatedAt.Equal(*made.CreatedAt) || !changed.UpdatedAt.After(*made.UpdatedAt) {
		t.Errorf("edited: %+v", changed)
	}
	changed = ok[decoded](t, mona.edit(*made.ID, map[string]any{"remove_scopes": []string{"repo", "gist"}}), 200)
	if want := []string{"public_repo", "user"}; !slices.Equal(changed.Scopes, want) || *changed.Note != "after" {
		t.Errorf("scopes removed: %+v", changed)
	}
	changed = ok[decoded](t, mona.edit(*made.ID, map[string]any{"scopes": []string{"gist"}}), 200)
	if got := ok[decoded](t, mona.get(*made.ID), 200); !slices.Equal(changed.Scopes, []string{"gist"}) || !reflect.DeepEqual(got, changed) {
		t.Errorf("scopes replaced: %+v, and read again %+v", changed, got)
	}
	wantFailure(t, "two lists", mona.edit(*made.ID, map[string]any{"scopes": []string{"a"}, "add_scopes": []string{"b"}}), "ErrorResponse; 422; Validation Failed; OauthAccess scopes invalid")
	wantFailure(t, "Get of another user's", s.as("hubot", password, otpCode).get(*made.ID), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Edit of another user's", s.as("hubot", password, otpCode).edit(*made.ID, nil), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Delete of another user's", s.as("hubot", password, otpCode).remove(*made.ID), "ErrorResponse; 404; Not Found")
	if r := mona.remove(*made.ID); r.err != nil || r.status != 204 {
		t.Errorf("Delete: %d, %v", r.status, r.err)
	}
	wantFailure(t, "Get of a deleted one", mona.get(*made.ID), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Delete again", mona.remove(*made.ID), "ErrorResponse; 404; Not Found")
}

func (s *side) appSide(t *testing.T) { s.appSideOf(t, s.as("mona", password, "")) }

func (s *side) appSideOf(t *testing.T, mona library) {
	app, other := s.as(s.one.id, s.one.secret, ""), s.as(s.two.id, s.two.secret, "")
	made := ok[decoded](t, mona.create(s.request("app side")), 201)
	token := *made.Token

	checked := ok[decoded](t, app.check(s.one.id, token), 200)
	s.check(t, checked, token, "app side", "")
	if u := checked.User; u == nil || u.Login != "mona" || u.ID != 583231 || u.NodeID != "583231" || u.URL != s.url+"/users/mona" || u.Type != "User" {
		t.Errorf("user: %+v", u)
	}
	reset := ok[decoded](t, app.reset(s.one.id, token), 200)
	s.check(t, reset, *reset.Token, "app side", "")
	if *reset.Token == token || *reset.Token == "" || *reset.ID != *made.ID || !reset.CreatedAt.Equal(*made.CreatedAt) || !reset.UpdatedAt.After(*made.UpdatedAt) || reset.User == nil || reset.User.Login != "mona" {
		t.Errorf("reset: %+v", reset)
	}
	wantFailure(t, "Check of the old token", app.check(s.one.id, token), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Reset of the old token", app.reset(s.one.id, token), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Revoke of the old token", app.revoke(s.one.id, token), "ErrorResponse; 404; Not Found")
	token = *reset.Token
	wantFailure(t, "Check by another app", other.check(s.two.id, token), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Check in another app's name", other.check(s.one.id, token), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Check with a wrong secret", s.as(s.one.id, "x", "").check(s.one.id, token), "ErrorResponse; 401; Bad credentials")
	if r := app.revoke(s.one.id, token); r.err != nil || r.status != 204 {
		t.Errorf("Revoke: %d, %v", r.status, r.err)
	}
	wantFailure(t, "Revoke again", app.revoke(s.one.id, token), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Get of a revoked one", returned{err: missing(mona, *made.ID)}, "ErrorResponse; 404; Not Found")
}

func missing(l library, id int64) error { return l.get(id).err }

func (s *side) grants(t *testing.T) {
	mona := s.as("mona", password, "")
	before := ok[[]decoded](t, mona.grants(1, 100), 200)
	if len(before) != 1 {
		t.Fatalf("%d grants, want 1", len(before))
	}
	g := before[0]
	if *g.App.ClientID != s.one.id || *g.App.Name != "my github app" || *g.URL != s.url+"/applications/grants/"+strconv.FormatInt(*g.ID, 10) ||
		!slices.Equal(g.Scopes, []string{"public_repo", "repo"}) || g.CreatedAt.After(*g.UpdatedAt) {
		t.Errorf("grant: %+v", g)
	}
	ok[decoded](t, mona.getOrCreate(s.two.id, map[string]any{"client_secret": s.two.secret, "scopes": []string{"gist"}}), 201)
	if r := mona.grants(1, 1); r.next != 2 || r.last != 2 || len(ok[[]decoded](t, r, 200)) != 1 {
		t.Errorf("page 1 of grants: %+v", r)
	}
	second := ok[[]decoded](t, mona.grants(2, 1), 200)
	if len(second) != 1 || *second[0].App.ClientID != s.two.id || !slices.Equal(second[0].Scopes, []string{"gist"}) {
		t.Errorf("page 2 of grants: %+v", second)
	}
	if got := ok[decoded](t, mona.grant(*g.ID), 200); !reflect.DeepEqual(got, g) {
		t.Errorf("GetGrant: %+v, want %+v", got, g)
	}
	wantFailure(t, "another user's grant", s.as("hubot", password, otpCode).grant(*g.ID), "ErrorResponse; 404; Not Found")

	token := *ok[decoded](t, mona.create(s.request("granted")), 201).Token
	if r := mona.removeGrant(*g.ID); r.err != nil || r.status != 204 {
		t.Errorf("DeleteGrant: %d, %v", r.status, r.err)
	}
	wantFailure(t, "DeleteGrant again", mona.removeGrant(*g.ID), "ErrorResponse; 404; Not Found")
	wantFailure(t, "GetGrant of a deleted one", mona.grant(*g.ID), "ErrorResponse; 404; Not Found")
	wantFailure(t, "Check after DeleteGrant", s.as(s.one.id, s.one.secret, "").check(s.one.id, token), "ErrorResponse; 404; Not Found")
	if after := ok[[]decoded](t, mona.grants(1, 100), 200); len(after) != 1 || *after[0].App.ClientID != s.two.id {
		t.Errorf("grants after DeleteGrant: %+v", after)
	}
	if left := ok[[]decoded](t, mona.list(1, 100), 200); len(left) != 2 { // the personal one, and the second app's
		t.Errorf("%d authorizations are left, want 2", len(left))
	}
}

func (s *side) twoFactors(t *testing.T) {
	const required = "TwoFactorAuthError; 401; Must specify two-factor authentication OTP code."
	request := s.without("client_id", s.request("two factors"))
	for _, login := range []string{"hubot", "hubot-sms"} {
		wantFailure(t, login+" without a code", s.as(login, password, "").getOrCreate(s.one.id, request), required)
		wantFailure(t, login+" with a wrong code", s.as(login, password, "000000").create(nil), required)
		wantFailure(t, login+" with a wrong code, to list", s.as(login, password, "000000").list(1, 1), required)
		wantFailure(t, login+" with a wrong password", s.as(login, "x", otpCode).list(1, 1), "ErrorResponse; 401; Bad credentials")
		a := ok[decoded](t, s.as(login, password, otpCode).getOrCreate(s.one.id, request), 201)
		s.check(t, a, *a.Token, "two factors", "")
	}
}
