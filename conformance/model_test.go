package conformance_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
)

// Small pools, so that requests collide. What begins with "bad" is invalid by
// the documents.
var (
	owners       = []string{"mona", "Mona"} // most often the first
	badOwners    = []string{"", "mo\x00na", "mona\n", "\xff", strings.Repeat("m", 256)}
	clients      = []string{strings.Repeat("a", 20), strings.Repeat("A", 20), "abcde12345fghij67890"}
	badClients   = []string{"zz", strings.Repeat("-", 20), strings.Repeat("a", 21)}
	fingerprints = []string{"", "", "f", "F", "f ", "%2F.."}

	badFingerprints = []string{"\x7f", "a\x00", "\xc3\x28", strings.Repeat("ü", 256)}

	notes    = []string{"n", "N", "n ", "", " ", strings.Repeat("ü", 255)}
	badNotes = []string{"a\tb", "\xff", strings.Repeat("ü", 256)}
	urls     = []string{"", "http://a.example/?b#c", "https://a.example"}
	badURLs  = []string{"ftp://a.example", "a.example", "http://", "http://u:p@a.example", "http://a.example/ b"}

	keys    = []string{"0123456789abcdef", "0123456789abcdeF", strings.Repeat("~", 255)}
	badKeys = []string{"0123456789abcde", "0123456789 abcdef", "0123456789abcdeü", strings.Repeat("~", 256)}

	badScopes  = []string{"", "a b", "\"", "é", "\\", strings.Repeat("s", 101)}
	manyScopes = func() (list []string) {
		for i := range 100 {
			list = append(list, "s"+string(rune('0'+i/10))+string(rune('0'+i%10)))
		}
		return list
	}()
	scopeLists = [][]string{nil, {}, {"a"}, {"a"}, {"a", "b"}, {"b", "a"}, {"b"}, {"a", "a", "b"}, {"a", "b", "c:d"}}
	rareScopes = [][]string{{"undeclared"}, {"a", "undeclared"}, manyScopes, append(slices.Clone(manyScopes), "a"), {""}, {"a", "a b"}, {"\""}, {"é"}, {"\\"}, {strings.Repeat("s", 101)}}

	badTokens = []string{
		"", "x", "azt_" + strings.Repeat("A", 30) + "000000", // a wrong checksum
		"azt_" + strings.Repeat("A", 30) + "0uCPlr", "acme_x_" + strings.Repeat("A", 30) + "0uCPlr", // right, and never given out
		strings.Repeat("0", 30) + "2C8GjS", "_" + strings.Repeat("0", 30) + "2C8GjS", strings.Repeat("x", 100_000),
	}
)

// one draws from a list, each value as often as any other.
func one[V any](t *rapid.T, label string, list []V) V {
	return rapid.Custom(func(t *rapid.T) V {
		n := 0
		for range 10 {
			if n *= 2; rapid.Bool().Draw(t, "") {
				n++
			}
		}
		return list[n%len(list)]
	}).Draw(t, label)
}

// upTo draws a number from 0 to n.
func upTo(t *rapid.T, label string, n int) int {
	numbers := make([]int, n+1)
	for i := range numbers {
		numbers[i] = i
	}
	return one(t, label, numbers)
}

// once in n times it is true.
func seldom(t *rapid.T, label string, n int) bool {
	times := make([]bool, n)
	times[n-1] = true
	return one(t, label, times)
}

// pick draws from good, and now and then from bad.
func pick[V any](t *rapid.T, label string, good, bad []V) V {
	if seldom(t, "bad "+label, 40) {
		return one(t, label, bad)
	}
	return one(t, label, good)
}

// machine runs operations on the model and on all worlds.
type machine struct {
	m       *model
	worlds  []*world
	configs [2]mConfig
}

func newMachine(t *rapid.T, list []backend) *machine {
	x := &machine{m: &model{now: time.Date(2026, 11, 22, 10, 0, 0, 123_456_000, time.UTC), suspended: make(map[string]time.Time)}}
	for i := range x.configs {
		x.configs[i] = mConfig{
			prefix:    one(t, "prefix", []string{"azt", "azt", "acme_x"}),
			lifetime:  one(t, "lifetime", []time.Duration{0, 0, 5 * time.Minute, time.Hour, time.Microsecond}),
			maxUser:   one(t, "MaxPerUserAndApp", []int{0, 0, 0, 3, 1}),
			maxScopes: one(t, "MaxPerScopes", []int{0, 0, 2, 2, 1}),
			scopes:    one(t, "declared", [][]string{nil, slices.Concat([]string{"a", "b", "c:d"}, manyScopes), nil}),
		}
	}
	for _, b := range list {
		x.worlds = append(x.worlds, newWorld(b, x.m, x.configs))
	}
	for range 2 { // apps to begin with
		x.registerApp(t, "app", "", clients[len(x.m.apps)], true)
	}
	return x
}

// do runs an operation, on the model first.
func (x *machine) do(t *rapid.T, operation func() outcome, on func(w *world, want outcome)) {
	t.Helper()
	operations.Add(1)
	x.m.events = nil
	want := operation()
	for _, w := range x.worlds {
		w.t, w.events = t, nil
		on(w, want)
		w.heard(x.m.events)
	}
}

var operations atomic.Int64

// manager draws one of the two Managers, which have handles and settings of
// their own.
func (x *machine) manager(t *rapid.T) (int, mConfig) {
	i := upTo(t, "manager", 1)
	return i, x.configs[i]
}

func (x *machine) owner(t *rapid.T) string {
	return pick(t, "owner", append(slices.Repeat(owners[:1], 3), owners...), badOwners)
}

// client draws a client_id that is known or could be, and a secret of it.
func (x *machine) client(t *rapid.T) (client string, secret int) {
	names := slices.Clone(clients)
	for _, a := range x.m.apps {
		if !a.deleted {
			names = append(names, x.m.apps[0].client, a.client, a.client) // most often the first
		}
	}
	client = one(t, "client_id", names)
	if a := x.m.appOf(client); a != nil {
		secret = a.secrets[len(a.secrets)-1].n
		if seldom(t, "old secret", 6) {
			secret = a.secrets[0].n
		}
	}
	return client, secret
}

// request draws what all requests have.
func (x *machine) request(t *rapid.T) (r mRequest) {
	r.owner = x.owner(t)
	r.client, r.secretN = x.client(t)
	switch upTo(t, "client kind", 40) {
	case 38:
		r.client = one(t, "bad client_id", append(badClients, "", personalID))
	case 39:
		r.secretN, r.secret = 0, strings.Repeat("x", 40)
	case 40:
		r.secretN = 0 // none
	}
	if r.secretN == 0 && r.secret == "" && !seldom(t, "no secret", 6) {
		r.secret = "x"
	}
	r.fp = pick(t, "fingerprint", fingerprints, badFingerprints)
	if len(x.m.recs) > 0 && seldom(t, "as one that is stored", 3) {
		old := x.stored(t)
		r.owner, r.client, r.fp, r.secretN = old.owner, old.client, old.fp, 0
		if app := x.m.appOf(r.client); app != nil {
			r.secretN = app.secrets[len(app.secrets)-1].n
		}
	}
	r.scopes = x.scopes(t, "scopes")
	r.note = pick(t, "note", notes, badNotes)
	r.url = pick(t, "note_url", urls, badURLs)
	r.key = x.key(t)
	return r
}

func (x *machine) scopes(t *rapid.T, label string) []string {
	if seldom(t, "rare "+label, 12) {
		return one(t, label, rareScopes)
	}
	return one(t, label, scopeLists)
}

func (x *machine) key(t *rapid.T) string {
	if seldom(t, "with Idempotency-Key", 3) {
		return pick(t, "Idempotency-Key", keys, badKeys)
	}
	return ""
}

// id draws the number of an authorization and its owner.
func (x *machine) id(t *rapid.T) (owner string, id int) {
	switch kind := upTo(t, "ID kind", 9); {
	case kind < 8 && len(x.m.recs) > 0:
		r := x.stored(t)
		owner, id = r.owner, r.id
	case kind == 8 && x.m.lastID > 0:
		owner, id = owners[0], 1+upTo(t, "any ID", x.m.lastID-1)
	default:
		owner, id = owners[0], one(t, "nobody's ID", []int{0, -1, 1 << 62})
	}
	if seldom(t, "another owner", 6) {
		owner = x.owner(t)
	}
	return owner, id
}

func (x *machine) stored(t *rapid.T) *mAuth {
	return x.m.recs[upTo(t, "stored", len(x.m.recs)-1)]
}

// token draws one, most often of a stored authorization, and its app.
func (x *machine) token(t *rapid.T) (g mGiven, client string) {
	client, _ = x.client(t)
	switch kind := upTo(t, "token kind", 12); {
	case kind < 9 && len(x.m.recs) > 0:
		r := x.stored(t)
		if r.client == "" { // the app's side has no use for those: once more
			r = x.stored(t)
		}
		if g.n = r.tok; !seldom(t, "another app", 6) {
			client = r.client
		}
	case kind < 11 && len(x.m.tokens) > 0:
		g.n = 1 + upTo(t, "any token", len(x.m.tokens)-1)
	case kind < 12 && len(x.m.tokens) > 0:
		g = mGiven{len(x.m.tokens), one(t, "behind", []string{" ", "\n", "A", "\x00"})}
	default:
		g.text = one(t, "bad token", badTokens)
	}
	return g, client
}

func (x *machine) registerApp(t *rapid.T, name, url, client string, given bool) {
	x.m.secrets++
	n := x.m.secrets
	x.do(t, func() outcome { return x.m.registerApp(name, url, client, n) }, func(w *world, want outcome) {
		app := authz.NewApp{Name: name, URL: url, ClientID: client}
		if given {
			app.ClientSecret = authz.NewSecret(fmt.Sprintf("%040d", n))
		}
		got, secret, err := w.managers[0].RegisterApp(context.Background(), app)
		if w.failed(err, want) {
			return
		}
		if given && !secret.Equal(app.ClientSecret) || len(secret.Reveal()) != 40 {
			w.failf("the client_secret is another one")
		}
		w.secrets[n] = secret.Reveal()
		if strings.HasPrefix(want.app.client, "?") {
			w.names[want.app.client] = got.ClientID
		}
		w.app(got, want.app)
	})
}

// TestModel runs random sequences of all operations of a Manager on the three
// stores and on one small model: all of them must give the same answers, field
// for field, and have the same records after each step. AUTHZ_TEST_FULL=1 runs
// it for some minutes; -rapid.checks and -rapid.steps do as they say.
func TestModel(t *testing.T) {
	scale(t, "rapid.checks", "25", "600")
	scale(t, "rapid.steps", "80", "120")
	list := backends(t)
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		x := newMachine(t, list)
		t.Repeat(x.actions())
	})
	t.Logf("%d checks, %d operations on each of %d stores", checks, operations.Load(), len(list))
}

// scale sets a flag of rapid's that was not given.
func scale(t *testing.T, name, value, full string) {
	if os.Getenv("AUTHZ_TEST_FULL") == "1" {
		value = full
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if old := flag.Lookup(name).Value.String(); !given {
		_ = flag.Set(name, value)
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

func (x *machine) actions() map[string]func(*rapid.T) {
	m, ctx := x.m, context.Background()
	actions := map[string]func(*rapid.T){
		"GetOrCreate": func(t *rapid.T) {
			i, c := x.manager(t)
			r := x.request(t)
			r.onExisting = pick(t, "on_existing", []string{"", "", "return", "rotate", "error"}, []string{"replace"})
			for range one(t, "times", []int{1, 1, 1, 2, 3}) {
				x.do(t, func() outcome { return m.getOrCreate(c, r) }, func(w *world, want outcome) {
					got, err := w.managers[i].GetOrCreate(ctx, w.request(r))
					w.result(got, err, want)
				})
			}
		},
		"GetOrCreate what is there": func(t *rapid.T) {
			i, c := x.manager(t)
			r := mRequest{owner: owners[0], client: clients[0]}
			if len(m.recs) > 0 {
				old := x.stored(t)
				r.owner, r.client, r.fp = old.owner, old.client, old.fp
				if rapid.Bool().Draw(t, "of several") {
					r.fp = ""
				}
			}
			if app := m.appOf(r.client); app != nil {
				r.secretN = app.secrets[len(app.secrets)-1].n
			} else {
				r.secret = "x"
			}
			x.do(t, func() outcome { return m.getOrCreate(c, r) }, func(w *world, want outcome) {
				got, err := w.managers[i].GetOrCreate(ctx, w.request(r))
				w.result(got, err, want)
			})
		},
		"Create": func(t *rapid.T) {
			i, c := x.manager(t)
			r := x.request(t)
			if rapid.Bool().Draw(t, "personal") {
				r.client = ""
			}
			r.onExisting = pick(t, "on_existing", []string{""}, []string{"return", "replace"})
			for range one(t, "times", []int{1, 1, 1, 2, 3}) {
				x.do(t, func() outcome { return m.create(c, r) }, func(w *world, want outcome) {
					got, err := w.managers[i].Create(ctx, w.request(r))
					w.result(got, err, want)
				})
			}
		},
		"Get": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner, id := x.id(t)
			x.do(t, func() outcome { return m.get(owner, id) }, func(w *world, want outcome) {
				if got, err := w.managers[i].Get(ctx, owner, w.id(id)); !w.failed(err, want) {
					w.record(got, want.rec)
				}
			})
		},
		"List": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner := x.owner(t)
			o := mList{client: x.filter(t), after: upTo(t, "after", x.m.lastID+1) - 1}
			o.skip = upTo(t, "skip", 5) - 1
			o.limit = one(t, "limit", []int{1, 2, 3, 0, -1, 5000})
			x.do(t, func() outcome { return m.list(owner, o) }, func(w *world, want outcome) {
				after := w.id(o.after)
				got, err := w.managers[i].List(ctx, owner, authz.ListOptions{ClientID: w.real(o.client), After: after, Skip: o.skip, Limit: o.limit})
				if !w.failed(err, want) {
					w.records(got, want.recs)
				}
			})
		},
		"Count": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner, client := x.owner(t), x.filter(t)
			x.do(t, func() outcome { return m.count(owner, client) }, func(w *world, want outcome) {
				got, err := w.managers[i].Count(ctx, owner, w.real(client))
				w.count(got, err, want)
			})
		},
		"Update": func(t *rapid.T) {
			i, c := x.manager(t)
			owner, id := x.id(t)
			var u mUpdate
			which := upTo(t, "scope list", 4)
			if which == 1 || which == 4 {
				u.scopes = x.scopes(t, "scopes")
			}
			if which == 2 || which == 4 && rapid.Bool().Draw(t, "add too") {
				u.add = x.scopes(t, "add_scopes")
			}
			if which == 3 || which == 4 && rapid.Bool().Draw(t, "remove too") {
				u.remove = x.scopes(t, "remove_scopes")
			}
			u.note = x.maybe(t, "note", notes, badNotes)
			u.url = x.maybe(t, "note_url", urls, badURLs)
			u.fp = x.maybe(t, "fingerprint", fingerprints, badFingerprints)
			if seldom(t, "only drop a fingerprint", 3) {
				for _, r := range m.live() {
					if u = (mUpdate{fp: new(string)}); r.fp != "" && r.client != "" {
						owner, id = r.owner, r.id
						break
					}
				}
			}
			x.do(t, func() outcome { return m.update(c, owner, id, u) }, func(w *world, want outcome) {
				got, err := w.managers[i].Update(ctx, owner, w.id(id), authz.Update{
					Scopes: u.scopes, AddScopes: u.add, RemoveScopes: u.remove, Note: u.note, NoteURL: u.url, Fingerprint: u.fp,
				})
				if !w.failed(err, want) {
					w.record(got, want.rec)
				}
			})
		},
		"Delete": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner, id := x.id(t)
			x.do(t, func() outcome { return m.delete(owner, id) }, func(w *world, want outcome) {
				if w.gone[id] {
					want = failed(notFound)
				}
				w.failed(w.managers[i].Delete(ctx, owner, w.id(id)), want)
			})
		},
		"RevokeAll": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner, client := "", ""
			if rapid.Bool().Draw(t, "by owner") {
				owner = x.owner(t)
			}
			if owner == "" || rapid.Bool().Draw(t, "by app") {
				client = x.filter(t)
			}
			dry := !seldom(t, "for good", 4)
			x.do(t, func() outcome { return m.revokeAll(owner, client, dry) }, func(w *world, want outcome) {
				got, err := w.managers[i].RevokeAll(ctx, authz.Revocation{Owner: owner, ClientID: w.real(client), DryRun: dry})
				w.count(got, err, want)
			})
		},
		"Grants": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner := x.owner(t)
			x.do(t, func() outcome { return m.grants(owner) }, func(w *world, want outcome) {
				got, err := w.managers[i].Grants(ctx, owner)
				w.allGrants(got, err, want)
			})
		},
		"Grant": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner := x.owner(t)
			client, _ := x.client(t)
			x.do(t, func() outcome { return m.grant(owner, client) }, func(w *world, want outcome) {
				if got, err := w.managers[i].Grant(ctx, owner, w.grantID(i, owner, client)); !w.failed(err, want) {
					w.grant(got, want.grants[0])
				}
			})
		},
		"DeleteGrant": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner := x.owner(t)
			client, _ := x.client(t)
			ids := make(map[*world]int64)
			for _, w := range x.worlds {
				ids[w] = w.grantID(i, owner, client)
			}
			x.do(t, func() outcome { return m.deleteGrant(owner, client) }, func(w *world, want outcome) {
				got, err := w.managers[i].DeleteGrant(ctx, owner, ids[w])
				w.count(got, err, want)
			})
		},
		"Verify": func(t *rapid.T) {
			i, c := x.manager(t)
			g, _ := x.token(t)
			x.do(t, func() outcome { return m.verify(c, g) }, func(w *world, want outcome) {
				if got, err := w.managers[i].Verify(ctx, w.given(g)); !w.failed(err, want) {
					shown := *want.rec
					shown.replay = nil // Verify shows none
					w.record(*got, &shown)
				}
			})
		},
		"Check": func(t *rapid.T) {
			i, c := x.manager(t)
			g, client := x.token(t)
			x.do(t, func() outcome { return m.check(c, client, g) }, func(w *world, want outcome) {
				if got, err := w.managers[i].Check(ctx, w.real(client), w.given(g)); !w.failed(err, want) {
					w.record(got, want.rec)
				}
			})
		},
		"Reset": func(t *rapid.T) {
			i, c := x.manager(t)
			g, client := x.token(t)
			r := mRequest{client: client, token: g, key: x.key(t)}
			for range one(t, "times", []int{1, 1, 1, 2, 3}) {
				x.do(t, func() outcome { return m.reset(c, r) }, func(w *world, want outcome) {
					got, err := w.managers[i].Reset(ctx, authz.ResetRequest{
						ClientID: w.real(client), Token: authz.NewSecret(w.given(g)), IdempotencyKey: authz.NewSecret(r.key),
					})
					w.result(got, err, want)
				})
			}
		},
		"Revoke": func(t *rapid.T) {
			i, c := x.manager(t)
			g, client := x.token(t)
			x.do(t, func() outcome { return m.revoke(c, client, g) }, func(w *world, want outcome) {
				w.failed(w.managers[i].Revoke(ctx, w.real(client), w.given(g)), want)
			})
		},
		"RevokeGrant": func(t *rapid.T) {
			i, c := x.manager(t)
			g, client := x.token(t)
			x.do(t, func() outcome { return m.revokeGrant(c, client, g) }, func(w *world, want outcome) {
				got, err := w.managers[i].RevokeGrant(ctx, w.real(client), w.given(g))
				w.count(got, err, want)
			})
		},
		"Scoped": func(t *rapid.T) {
			i, c := x.manager(t)
			r := x.request(t)
			var g mGiven
			g, r.client = x.token(t)
			r.token = g
			for _, old := range m.recs {
				if old.tok == g.n && !seldom(t, "any scopes", 6) { // some of the token's
					r.scopes = one(t, "scopes", [][]string{old.scopes, old.scopes[:len(old.scopes)/2], {}})
				}
			}
			for range one(t, "times", []int{1, 1, 1, 2, 3}) {
				x.do(t, func() outcome { return m.scoped(c, r) }, func(w *world, want outcome) {
					q := w.request(r)
					got, err := w.managers[i].Scoped(ctx, authz.ScopedRequest{
						ClientID: q.ClientID, Token: authz.NewSecret(w.given(g)), Scopes: q.Scopes, Note: q.Note, NoteURL: q.NoteURL,
						Fingerprint: q.Fingerprint, IdempotencyKey: q.IdempotencyKey,
					})
					w.result(got, err, want)
				})
			}
		},
		"WipeReplays": func(t *rapid.T) {
			i, _ := x.manager(t)
			x.do(t, m.wipeReplays, func(w *world, want outcome) {
				got, err := w.managers[i].WipeReplays(ctx)
				want.n = w.ended
				w.count(got, err, want)
			})
		},
		"AuthenticateApp": func(t *rapid.T) {
			i, _ := x.manager(t)
			r := x.request(t)
			x.do(t, func() outcome {
				if app := m.authenticate(r.client, r.secretN); app != nil {
					return outcome{app: app}
				}
				return failed(invalidClient)
			}, func(w *world, want outcome) {
				q := w.request(r)
				if got, err := w.managers[i].AuthenticateApp(ctx, q.ClientID, q.ClientSecret); !w.failed(err, want) {
					w.app(got, want.app)
				}
			})
		},
		"RegisterApp": func(t *rapid.T) {
			name := pick(t, "name", []string{"app", "App ü"}, append(badNotes, "", " "))
			url := pick(t, "url", urls, badURLs)
			client := pick(t, "client_id", clients, append(badClients, personalID))
			if seldom(t, "random", 6) {
				x.registerApp(t, name, url, "", false)
			} else {
				x.registerApp(t, name, url, client, true)
			}
		},
		"RotateSecret": func(t *rapid.T) {
			i, _ := x.manager(t)
			client, _ := x.client(t)
			overlap := one(t, "overlap", []time.Duration{0, time.Minute, time.Hour, -1})
			x.m.secrets++
			n := x.m.secrets
			x.do(t, func() outcome { return m.rotateSecret(client, n, overlap) }, func(w *world, want outcome) {
				got, secret, err := w.managers[i].RotateSecret(ctx, w.real(client), overlap)
				if !w.failed(err, want) {
					if slices.Contains(slices.Collect(maps.Values(w.secrets)), secret.Reveal()) || len(secret.Reveal()) != 40 {
						w.failf("the client_secret is not new")
					}
					w.secrets[n] = secret.Reveal()
					w.app(got, want.app)
				}
			})
		},
		"UpdateApp": func(t *rapid.T) {
			i, _ := x.manager(t)
			client, _ := x.client(t)
			name, url := x.maybe(t, "name", []string{"app", "other"}, append(badNotes, "")), x.maybe(t, "url", urls, badURLs)
			x.do(t, func() outcome { return m.updateApp(client, name, url) }, func(w *world, want outcome) {
				if got, err := w.managers[i].UpdateApp(ctx, w.real(client), authz.AppUpdate{Name: name, URL: url}); !w.failed(err, want) {
					w.app(got, want.app)
				}
			})
		},
		"DeleteApp": func(t *rapid.T) {
			i, _ := x.manager(t)
			client, _ := x.client(t)
			if !seldom(t, "for good", 3) {
				client = "zz"
			}
			x.do(t, func() outcome { return m.deleteApp(client) }, func(w *world, want outcome) {
				got, err := w.managers[i].DeleteApp(ctx, w.real(client))
				w.count(got, err, want)
			})
		},
		"SuspendUser": func(t *rapid.T) {
			i, _ := x.manager(t)
			owner, suspend := x.owner(t), seldom(t, "suspend", 3)
			x.do(t, func() outcome { return m.suspendUser(owner, suspend) }, func(w *world, want outcome) {
				if suspend {
					w.failed(w.managers[i].SuspendUser(ctx, owner), want)
				} else {
					w.failed(w.managers[i].ResumeUser(ctx, owner), want)
				}
				if at, err := w.managers[1-i].UserSuspended(ctx, owner); !w.failed(err, want) && !sameTime(at, m.suspended[owner]) {
					w.failf("suspended at %v, want %v", at, m.suspended[owner])
				}
			})
		},
		"SuspendApp": func(t *rapid.T) {
			i, _ := x.manager(t)
			client, _ := x.client(t)
			suspend := seldom(t, "suspend", 3)
			x.do(t, func() outcome { return m.suspendApp(client, suspend) }, func(w *world, want outcome) {
				change := w.managers[i].ResumeApp
				if suspend {
					change = w.managers[i].SuspendApp
				}
				if got, err := change(ctx, w.real(client)); !w.failed(err, want) {
					w.app(got, want.app)
				}
			})
		},
		"a use is stored": func(t *rapid.T) { // by a Manager that was started, somewhere
			_, id := x.id(t)
			at := m.now.Add(one(t, "ago", []time.Duration{0, 0, -time.Minute, -time.Hour}))
			x.do(t, func() outcome { return m.touch(id, at) }, func(w *world, want outcome) {
				w.failed(w.store.Touch(ctx, []store.Use{{ID: w.id(id), At: at}}), want)
			})
		},
		"Purge": func(t *rapid.T) {
			i, _ := x.manager(t)
			x.do(t, m.purge, func(w *world, want outcome) {
				got, err := w.managers[i].Purge(ctx)
				w.count(got, err, want)
			})
		},
		"ExpiringWithin": func(t *rapid.T) {
			i, _ := x.manager(t)
			d := one(t, "within", []time.Duration{time.Hour, 5 * time.Minute, time.Minute, 0, -time.Minute})
			x.do(t, func() outcome { return m.expiringWithin(d) }, func(w *world, want outcome) {
				w.found(w.managers[i].ExpiringWithin(ctx, d), want.recs)
			})
		},
		"Unused": func(t *rapid.T) {
			i, _ := x.manager(t)
			since := m.now.Add(one(t, "since", []time.Duration{0, 1, -time.Minute, -time.Hour, time.Hour}))
			since = since.Truncate(time.Microsecond)
			x.do(t, func() outcome { return m.unused(since) }, func(w *world, want outcome) {
				w.found(w.managers[i].Unused(ctx, since), want.recs)
			})
		},
		"time passes": func(t *rapid.T) {
			m.now = m.now.Add(one(t, "time", []time.Duration{
				time.Microsecond, time.Minute, 5 * time.Minute, 10*time.Minute - time.Microsecond, 10 * time.Minute, time.Hour,
			}))
		},
	}
	var often []string // as many times as it is to come
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		times := 2
		switch name {
		case "GetOrCreate", "Create", "Scoped", "Update":
			times = 8
		case "GetOrCreate what is there", "Reset", "Verify", "Check", "Get", "List", "time passes":
			times = 4
		case "RevokeAll", "DeleteGrant", "RevokeGrant", "DeleteApp", "SuspendUser", "SuspendApp", "Purge":
			times = 1
		}
		often = append(often, slices.Repeat([]string{name}, times)...)
	}
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			for _, w := range x.worlds {
				w.t = t
				w.state(owners)
			}
		},
		"step": func(t *rapid.T) { actions[one(t, "operation", often)](t) },
	}
}

// filter draws a client_id to select by, as callers write it.
func (x *machine) filter(t *rapid.T) string {
	client, _ := x.client(t)
	return pick(t, "filter", []string{"", personalID, client, client}, badClients)
}

func (x *machine) maybe(t *rapid.T, label string, good, bad []string) *string {
	if rapid.Bool().Draw(t, "change "+label) {
		v := pick(t, label, good, bad)
		return &v
	}
	return nil
}
