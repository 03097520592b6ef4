package authz_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// family is a registry with two levels, and a scope that two others include.
func family() []authz.Scope {
	return []authz.Scope{
		{Name: "repo", Description: "everything", Includes: []string{"repo:status", "public_repo"}},
		{Name: "repo:status", Includes: []string{"repo:read"}},
		{Name: "public_repo", Includes: []string{"repo:read"}},
		{Name: "repo:read"},
		{Name: "user"},
	}
}

func TestNewRefusesScopes(t *testing.T) {
	long := strings.Repeat("a", authz.MaxScope+1)
	for name, test := range map[string]struct {
		scopes []authz.Scope
		want   string
	}{
		"space":             {authz.ScopeNames("ok", "a b"), `"a b" is no scope-token (RFC 6749 section 3.3) of at most 100 bytes`},
		"empty":             {authz.ScopeNames(""), `"" is no scope-token (RFC 6749 section 3.3) of at most 100 bytes`},
		"too long":          {authz.ScopeNames(long), `"` + long + `" is no scope-token (RFC 6749 section 3.3) of at most 100 bytes`},
		"quote":             {authz.ScopeNames(`a"`), `"a\"" is no scope-token (RFC 6749 section 3.3) of at most 100 bytes`},
		"twice":             {authz.ScopeNames("a", "b", "a"), `"a" is there twice`},
		"unknown":           {[]authz.Scope{{Name: "a", Includes: []string{"b"}}}, `"a" includes "b", which is not declared`},
		"other case":        {[]authz.Scope{{Name: "a", Includes: []string{"B"}}, {Name: "b"}}, `"a" includes "B", which is not declared`},
		"included twice":    {[]authz.Scope{{Name: "a", Includes: []string{"b", "b"}}, {Name: "b"}}, `"a" includes "b" twice`},
		"itself":            {[]authz.Scope{{Name: "a", Includes: []string{"a"}}}, `"a" includes itself: a > a`},
		"itself by another": {[]authz.Scope{{Name: "a", Includes: []string{"b"}}, {Name: "b", Includes: []string{"a"}}}, `"a" includes itself: a > b > a`},
		"a ring further down": {
			[]authz.Scope{{Name: "top", Includes: []string{"a"}}, {Name: "a", Includes: []string{"b"}}, {Name: "b", Includes: []string{"c"}}, {Name: "c", Includes: []string{"a"}}},
			`"a" includes itself: a > b > c > a`,
		},
	} {
		_, err := authz.New(memory.New(), authz.Config{Scopes: test.scopes})
		if want := "authz: Config.Scopes: " + test.want; err == nil || err.Error() != want {
			t.Errorf("%s: err = %v, want %s", name, err, want)
		}
	}
	if _, err := authz.New(memory.New(), authz.Config{Scopes: family()}); err != nil {
		t.Errorf("two that include a third: %v", err)
	}
}

func TestScopesAreCopied(t *testing.T) {
	declared := family()
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: declared})
	for range 2 { // a change of the Config, then of what Scopes returned
		declared[0].Name, declared[0].Includes[0] = "x", "user"
		if got := m.Scopes(); !reflect.DeepEqual(got, family()) {
			t.Errorf("Scopes() = %v, want %v", got, family())
		}
		declared = m.Scopes()
	}
	if !m.Allows(&authz.Authorization{Scopes: []string{"repo"}}, "repo:status") {
		t.Error("repo does not allow repo:status")
	}
	for _, test := range []struct {
		declared, want []authz.Scope
	}{
		{nil, nil},
		{authz.ScopeNames(), []authz.Scope{}},
		{authz.ScopeNames("a", "b"), []authz.Scope{{Name: "a"}, {Name: "b"}}},
	} {
		m, _ := newManager(t, memory.New(), authz.Config{Scopes: test.declared})
		if got := m.Scopes(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("Scopes() = %#v, want %#v", got, test.want)
		}
	}
	if got := authz.ScopeNames([]string(nil)...); got == nil {
		t.Error("ScopeNames without names is nil, which would allow any scope")
	}
}

func TestAllows(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	anything, _ := newManager(t, memory.New(), authz.Config{})
	for _, test := range []struct {
		held, scopes []string
		want, plain  bool // with the family, and with nothing declared
	}{
		{nil, nil, true, true},
		{nil, []string{"repo"}, false, false},
		{nil, []string{""}, false, false},
		{[]string{"repo"}, []string{""}, false, false},
		{[]string{"repo"}, []string{"repo"}, true, true},
		{[]string{"repo"}, []string{"Repo"}, false, false},
		{[]string{"repo"}, []string{"rep"}, false, false},
		{[]string{"repo"}, []string{"public_repo"}, true, false},
		{[]string{"repo"}, []string{"repo:read"}, true, false},
		{[]string{"repo"}, []string{"repo:read", "user"}, false, false},
		{[]string{"repo"}, []string{"user", "repo:read"}, false, false},
		{[]string{"user", "repo"}, []string{"repo:read", "user"}, true, false},
		{[]string{"repo:read"}, []string{"repo"}, false, false},
		{[]string{"public_repo"}, []string{"repo:status"}, false, false},
		{[]string{"gone"}, []string{"gone"}, true, true}, // what is not declared any more is still its own name
		{[]string{"gone"}, []string{"repo"}, false, false},
	} {
		a := &authz.Authorization{Scopes: test.held}
		if got := m.Allows(a, test.scopes...); got != test.want {
			t.Errorf("%q allow %q: %v, want %v", test.held, test.scopes, got, test.want)
		}
		if got := anything.Allows(a, test.scopes...); got != test.plain {
			t.Errorf("%q allow %q, nothing declared: %v, want %v", test.held, test.scopes, got, test.plain)
		}
	}
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	a := &authz.Authorization{Scopes: []string{"user", "repo"}}
	if n := testing.AllocsPerRun(100, func() {
		if !m.Allows(a, "repo:read", "user") || m.Allows(a, "admin") {
			t.Error("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// What is stored is the normal form, whichever way it comes.
func TestImpliedScopes(t *testing.T) {
	s := memory.New()
	m, c := newManager(t, s, authz.Config{Scopes: family()})
	ctx := context.Background()
	want := func(name string, got authz.Authorization, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(got.Scopes, want) {
			t.Errorf("%s: %q, %v; want %q", name, got.Scopes, err, want)
		}
	}
	made := mustGet(t, m, request(scopes("repo:status", "user", "repo", "repo:read", "repo")))
	want("get or create", made.Authorization, nil, "user", "repo")
	want("create", mustCreate(t, m, request(scopes("public_repo", "repo:read", "repo:status"))).Authorization, nil, "public_repo", "repo:status")

	id := made.Authorization.ID
	for _, test := range []struct {
		name string
		u    authz.Update
		want []string
	}{
		{"add what is implied", authz.Update{AddScopes: []string{"repo:read"}}, []string{"user", "repo"}},
		{"remove what is implied", authz.Update{RemoveScopes: []string{"repo:read", "public_repo"}}, []string{"user", "repo"}},
		{"remove what is listed and what it implies", authz.Update{RemoveScopes: []string{"repo:status", "repo"}}, []string{"user"}},
		{"add some", authz.Update{AddScopes: []string{"repo:read", "repo:status"}}, []string{"user", "repo:status"}},
		{"add what implies", authz.Update{AddScopes: []string{"repo"}}, []string{"user", "repo"}},
		{"replace", authz.Update{Scopes: []string{"repo:read", "public_repo"}}, []string{"public_repo"}},
	} {
		before, err := m.Get(ctx, owner, id)
		if err != nil {
			t.Fatal(err)
		}
		c.Add(time.Second)
		got, err := m.Update(ctx, owner, id, test.u)
		want(test.name, got, err, test.want...)
		if same := slices.Equal(before.Scopes, test.want); got.UpdatedAt.Equal(before.UpdatedAt) != same {
			t.Errorf("%s: updated at %v, before %v", test.name, got.UpdatedAt, before.UpdatedAt)
		}
	}

	// A record from before the host declared its scopes: what is removed goes by what is
	// listed, and the rest is brought into normal form.
	stale := scopes("repo", "repo:status", "user")
	for _, test := range []struct{ remove, want []string }{
		{[]string{"repo"}, []string{"repo:status", "user"}},
		{[]string{"user"}, []string{"repo"}},
		{[]string{"nothing"}, []string{"repo", "user"}},
	} {
		s := memory.New()
		old, _ := newManager(t, s, authz.Config{})
		id := mustGet(t, old, request(stale)).Authorization.ID
		m, err := authz.New(s, authz.Config{Scopes: family()})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Update(ctx, owner, id, authz.Update{RemoveScopes: test.remove})
		want(fmt.Sprintf("an old record without %q", test.remove), got, err, test.want...)
	}

	// The limit is for what is stored.
	full := append(family(), authz.ScopeNames(many(authz.MaxScopes-1)...)...)
	m, _ = newManager(t, memory.New(), authz.Config{Scopes: full})
	made = mustGet(t, m, request(scopes(append(many(authz.MaxScopes-1), "repo:read")...)))
	got, err := m.Update(ctx, owner, made.Authorization.ID, authz.Update{AddScopes: []string{"repo"}})
	want("at the limit", got, err, append(many(authz.MaxScopes-1), "repo")...)
}

func TestNotAppliedKnowsImpliedScopes(t *testing.T) {
	s := memory.New()
	old, _ := newManager(t, s, authz.Config{}) // before the host declared its scopes
	mustGet(t, old, request(scopes("repo", "repo:status"), fingerprint("old")))
	m, err := authz.New(s, authz.Config{Scopes: family()})
	if err != nil {
		t.Fatal(err)
	}
	mustGet(t, m, request(scopes("repo"), fingerprint("new")))
	for _, test := range []struct {
		asked []string
		want  []string
	}{
		{[]string{"repo"}, nil},
		{[]string{"repo", "repo:status"}, nil},
		{[]string{"repo:read", "repo", "public_repo"}, nil},
		{[]string{"repo:status"}, []string{"scopes"}},
		{[]string{"repo", "user"}, []string{"scopes"}},
		{[]string{}, []string{"scopes"}},
		{nil, nil},
	} {
		for _, f := range []string{"old", "new"} {
			res := mustGet(t, m, request(fingerprint(f), func(r *authz.Request) { r.Scopes = test.asked }))
			if res.Created || !slices.Equal(res.NotApplied, test.want) {
				t.Errorf("%s, %q: created %v, not applied %q, want %q", f, test.asked, res.Created, res.NotApplied, test.want)
			}
		}
	}
}

// A narrower token may have what the wide one's scopes include, and no more.
func TestScopedIncludes(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	ctx := context.Background()
	wide := mustCreate(t, m, request(scopes("repo:status", "user")))
	got, err := m.Scoped(ctx, scopedRequest(wide.Token, "repo:read", "user"))
	if err != nil || !slices.Equal(got.Authorization.Scopes, []string{"repo:read", "user"}) {
		t.Errorf("included: %q, %v", got.Authorization.Scopes, err)
	}
	if got, err = m.Scoped(ctx, scopedRequest(wide.Token, "repo:read", "repo:status")); err != nil || !slices.Equal(got.Authorization.Scopes, []string{"repo:status"}) {
		t.Errorf("in normal form: %q, %v", got.Authorization.Scopes, err)
	}
	_, err = m.Scoped(ctx, scopedRequest(wide.Token, "user", "public_repo", "repo"))
	if want := "authz: validation failed: scopes custom (scopes are invalid: repo)"; err == nil || err.Error() != want {
		t.Errorf("beyond: err = %v, want %s", err, want)
	}
}

// Sets that allow the same count as one for the limit.
func TestLimitKnowsImpliedScopes(t *testing.T) {
	s := memory.New()
	old, _ := newManager(t, s, authz.Config{})
	first := mustCreate(t, old, request(scopes("repo", "repo:status")))
	m, err := authz.New(s, authz.Config{Scopes: family(), MaxPerScopes: 1})
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, m, request(scopes("user")))
	if !alive(t, m, first.Token) {
		t.Error("another set of scopes has used up the limit")
	}
	mustCreate(t, m, request(scopes("repo")))
	if alive(t, m, first.Token) {
		t.Error("two live for one set of scopes, with a limit of one")
	}
}

func TestGrantsHaveNormalScopes(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: family()})
	mustCreate(t, m, request(scopes("repo:read", "user")))
	mustCreate(t, m, request(scopes("repo")))
	grants, err := m.Grants(context.Background(), owner)
	if err != nil || len(grants) != 1 || !slices.Equal(grants[0].Scopes, []string{"user", "repo"}) {
		t.Errorf("%+v, %v; want user and repo", grants, err)
	}
}

// On the wire: the stored list is the normal form, and only what differs in what it
// allows was not applied.
func TestImpliedScopesOnTheWire(t *testing.T) {
	s := newServerOn(t, memory.New(), authz.Config{Scopes: family()})
	body := func(scopes string) string { return `{"client_secret":"` + clientSecret + `","scopes":` + scopes + `}` }
	got := s.send(t, http.MethodPut, path, body(`["repo:status","repo"]`))
	if got.status != 201 || !strings.Contains(got.body, "\"scopes\": [\n    \"repo\"\n  ]") {
		t.Errorf("%d %s", got.status, got.body)
	}
	for asked, want := range map[string]string{`["repo","public_repo"]`: "", `["public_repo"]`: "scopes"} {
		if got := s.send(t, http.MethodPut, path, body(asked)); got.status != 200 || got.header.Get("Authz-Not-Applied") != want {
			t.Errorf("%s: %d, not applied %q, want %q", asked, got.status, got.header.Get("Authz-Not-Applied"), want)
		}
	}
	got = s.send(t, http.MethodPut, path, body(`["repo:write"]`))
	if got.status != 422 || !strings.Contains(got.body, `"scopes are invalid: repo:write"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// The rules against the plainest thing that can be said of them, on random registries.
func TestScopeRulesModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		declared := make([]authz.Scope, 1+rng.IntN(8))
		for i := range declared {
			declared[i].Name = fmt.Sprint("s", i)
			for j := range i {
				if rng.IntN(3) == 0 {
					declared[i].Includes = append(declared[i].Includes, fmt.Sprint("s", j))
				}
			}
		}
		rng.Shuffle(len(declared), func(i, j int) { declared[i], declared[j] = declared[j], declared[i] })
		m, _ := newManager(t, memory.New(), authz.Config{Scopes: declared, MaxPerScopes: -1})
		// what a list allows, found by asking again until nothing new comes
		closure := func(list []string) map[string]bool {
			all := map[string]bool{}
			for _, s := range list {
				all[s] = true
			}
			for before := -1; before != len(all); {
				before = len(all)
				for _, s := range declared {
					if all[s.Name] {
						for _, included := range s.Includes {
							all[included] = true
						}
					}
				}
			}
			return all
		}
		for range 10 {
			var asked []string
			for _, s := range declared {
				if rng.IntN(2) == 0 {
					asked = append(asked, s.Name)
				}
			}
			stored := mustCreate(t, m, request(scopes(asked...))).Authorization
			allowed := closure(asked)
			if got := closure(stored.Scopes); !reflect.DeepEqual(got, allowed) {
				t.Fatalf("%v: %q stored as %q", declared, asked, stored.Scopes)
			}
			for _, s := range declared {
				if got := m.Allows(&stored, s.Name); got != allowed[s.Name] {
					t.Fatalf("%v: %q allow %s: %v", declared, stored.Scopes, s.Name, got)
				}
			}
			for i, s := range stored.Scopes { // nothing less would do, and the order is that of the request
				if rest := slices.Delete(slices.Clone(stored.Scopes), i, i+1); closure(rest)[s] {
					t.Fatalf("%v: %s is implied in %q", declared, s, stored.Scopes)
				}
			}
			if i := 0; !slices.Equal(slices.DeleteFunc(slices.Clone(asked), func(s string) bool {
				if i < len(stored.Scopes) && stored.Scopes[i] == s {
					i++
					return false
				}
				return true
			}), stored.Scopes) {
				t.Fatalf("%q stored as %q: another order", asked, stored.Scopes)
			}
		}
	}
}
