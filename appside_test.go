package authz_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// appCalls are what an app can do with a token.
func appCalls(m *authz.Manager) map[string]func(clientID, token string) error {
	ctx := context.Background()
	return map[string]func(clientID, token string) error{
		"Check": func(id, token string) error {
			rec, err := m.Check(ctx, id, token)
			return failed(err, rec.ID != 0)
		},
		"Reset": func(id, token string) error {
			res, err := m.Reset(ctx, authz.ResetRequest{ClientID: id, Token: authz.NewSecret(token)})
			return failed(err, !reflect.DeepEqual(res, authz.Result{}))
		},
		"Revoke": func(id, token string) error { return m.Revoke(ctx, id, token) },
		"RevokeGrant": func(id, token string) error {
			n, err := m.RevokeGrant(ctx, id, token)
			return failed(err, n != 0)
		},
		"Scoped": func(id, token string) error {
			res, err := m.Scoped(ctx, authz.ScopedRequest{ClientID: id, Token: authz.NewSecret(token), Scopes: []string{}})
			return failed(err, !reflect.DeepEqual(res, authz.Result{}))
		},
	}
}

var errAnswered = errors.New("there was a result beside the error")

func failed(err error, result bool) error {
	if err != nil && result {
		return errAnswered
	}
	return err
}

// An app's own living token, or nothing.
func TestAppsOwnTokensOnly(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		register(t, m, otherClient)
		ctx := context.Background()
		expired := mustCreate(t, m, request()).Token.Reveal()
		c.Add(time.Hour)
		good := mustCreate(t, m, request())
		others := mustCreate(t, m, request(forApp(otherClient)))
		mine := mustCreate(t, m, personal("mine"))
		revoked := mustCreate(t, m, request())
		if err := m.Delete(ctx, owner, revoked.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		elsewhere, _ := newManager(t, memory.New(), authz.Config{})
		token := good.Token.Reveal()
		for call, do := range appCalls(m) {
			for name, test := range map[string]struct{ clientID, token string }{
				"another app's":           {clientID, others.Token.Reveal()},
				"asked by another app":    {otherClient, token},
				"asked by an unknown app": {"00000000000000000001", token},
				"asked by nobody":         {"", token},
				"asked by garbage":        {"\x00", token},
				"personal":                {clientID, mine.Token.Reveal()},
				"personal, as zeros":      {authz.PersonalClientID, mine.Token.Reveal()},
				"personal, as nothing":    {"", mine.Token.Reveal()},
				"expired":                 {clientID, expired},
				"revoked":                 {clientID, revoked.Token.Reveal()},
				"unknown":                 {clientID, mustCreate(t, elsewhere, request()).Token.Reveal()},
				"empty":                   {clientID, ""},
				"cut short":               {clientID, token[:len(token)-1]},
				"with a newline":          {clientID, token + "\n"},
				"with NUL":                {clientID, token + "\x00"},
				"of invalid UTF-8":        {clientID, "\xff"},
				"a hash":                  {clientID, good.Authorization.TokenHash.Hex()},
				"a client_secret":         {clientID, clientSecret},
				"a megabyte":              {clientID, strings.Repeat("a", 1<<20)},
				"under another's prefix":  {clientID, "other" + token[3:]},
				"in another case":         {clientID, strings.ToUpper(token)},
			} {
				if err := do(test.clientID, test.token); !errors.Is(err, authz.ErrNotFound) {
					t.Errorf("%s: %s: err = %v, want ErrNotFound", call, name, err)
				}
			}
		}
		for name, res := range map[string]authz.Result{"good": good, "another app's": others, "personal": mine} {
			if !alive(t, m, res.Token) {
				t.Errorf("the %s token has died of a refused call", name)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		for _, res := range []authz.Result{mustCreate(t, m, request()), mustGet(t, m, request(fingerprint("f")))} {
			if got, err := m.Check(context.Background(), clientID, res.Token.Reveal()); err != nil || !reflect.DeepEqual(got, res.Authorization) {
				t.Errorf("Check = %+v, %v; want %+v", got, err, res.Authorization)
			}
		}
	})
}

// Malformed tokens do not reach the store.
func TestCheckAsksNotForGarbage(t *testing.T) {
	s := &countingStore{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	for _, bad := range []string{"", "x", "azt_", strings.Repeat("a", 40), "\x00"} {
		_, _ = m.Check(context.Background(), clientID, bad)
	}
	if n := s.lookups.Load(); n != 0 {
		t.Errorf("%d lookups, want none", n)
	}
}

func TestReset(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		first := mustCreate(t, m, request(fingerprint("f"), scopes("b", "a"), noteURL("https://example.com")))
		c.Add(30 * time.Minute)
		res, err := m.Reset(context.Background(), authz.ResetRequest{ClientID: clientID, Token: first.Token})
		if err != nil {
			t.Fatal(err)
		}
		token := res.Token.Reveal()
		now := c.Now().UTC().Truncate(time.Microsecond)
		want := first.Authorization // id, created_at and all else stay
		want.Revision++
		want.TokenHash, want.TokenLastEight = store.HashOf(token), token[max(0, len(token)-8):]
		want.IssuedAt, want.UpdatedAt, want.ExpiresAt = now, now, now.Add(time.Hour)
		if !reflect.DeepEqual(res.Authorization, want) {
			t.Errorf("Reset:\ngot  %+v\nwant %+v", res.Authorization, want)
		}
		if res.Created || res.Replayed || res.App.ClientID != clientID || token == first.Token.Reveal() {
			t.Errorf("Reset: Created %v, Replayed %v, App %+v", res.Created, res.Replayed, res.App)
		}
		if alive(t, m, first.Token) || !alive(t, m, res.Token) {
			t.Error("want the old token dead, and the new one alive")
		}
		if _, err := m.Reset(context.Background(), authz.ResetRequest{ClientID: clientID, Token: first.Token}); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("Reset of the old token: err = %v, want ErrNotFound", err)
		}
		if !alive(t, m, res.Token) {
			t.Error("a second Reset of the old token has killed the new one")
		}
	})
}

// However many reset one token, one of them gets the new one.
func TestResetRace(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
		first := mustCreate(t, m, request())
		h.take()
		const n = 32
		results, errs := make([]authz.Result, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				results[i], errs[i] = m.Reset(context.Background(), authz.ResetRequest{ClientID: clientID, Token: first.Token})
			})
		}
		wg.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil:
				won++
				if !alive(t, m, results[i].Token) || results[i].Authorization.ID != first.Authorization.ID {
					t.Error("the winner's token is dead, or another authorization's")
				}
			case !errors.Is(err, authz.ErrNotFound):
				t.Errorf("err = %v, want ErrNotFound", err)
			}
		}
		if won != 1 || alive(t, m, first.Token) || len(h.take()) != 1 {
			t.Errorf("%d won, want 1, the old token dead, one event", won)
		}
	})
}

// A Reset that meets a change of something else looks again; one that meets
// the end of the token says so.
func TestResetMeetsAChange(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct {
		change func(m *authz.Manager, first authz.Result) error
		gone   bool
	}{
		"updated": {func(m *authz.Manager, first authz.Result) error {
			_, err := m.Update(ctx, owner, first.Authorization.ID, authz.Update{Note: new("changed")})
			return err
		}, false},
		"deleted": {func(m *authz.Manager, first authz.Result) error { return m.Delete(ctx, owner, first.Authorization.ID) }, true},
		"revoked": {func(m *authz.Manager, first authz.Result) error { return m.Revoke(ctx, clientID, first.Token.Reveal()) }, true},
		"rotated": {func(m *authz.Manager, _ authz.Result) error {
			_, err := m.GetOrCreate(ctx, request(onExisting(authz.OnExistingRotate)))
			return err
		}, true},
		"reset": {func(m *authz.Manager, first authz.Result) error {
			_, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: first.Token})
			return err
		}, true},
	} {
		s := &meddledStore{Store: memory.New()}
		m, _ := newManager(t, s, authz.Config{})
		first := mustCreate(t, m, request())
		var changeErr error
		s.before = func() { changeErr = test.change(m, first) }
		res, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: first.Token})
		switch {
		case changeErr != nil:
			t.Fatal(changeErr)
		case test.gone && !errors.Is(err, authz.ErrNotFound):
			t.Errorf("%s: err = %v, want ErrNotFound", name, err)
		case !test.gone && (err != nil || !alive(t, m, res.Token) || res.Authorization.Note != "changed"):
			t.Errorf("%s: %+v, %v; want a living token and the change", name, res, err)
		}
		if alive(t, m, first.Token) {
			t.Errorf("%s: the old token is alive", name)
		}
	}
}

func TestRevoke(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		ctx := context.Background()
		one, two := mustCreate(t, m, request()), mustCreate(t, m, request())
		if err := m.Revoke(ctx, clientID, one.Token.Reveal()); err != nil {
			t.Fatal(err)
		}
		if alive(t, m, one.Token) || !alive(t, m, two.Token) {
			t.Error("want the one token dead and the other alive")
		}
		if err := m.Revoke(ctx, clientID, one.Token.Reveal()); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("again: err = %v, want ErrNotFound", err)
		}
		const n = 16
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = m.Revoke(ctx, clientID, two.Token.Reveal()) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("err = %v, want ErrNotFound", err)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d have revoked it, want 1", won, n)
		}
	})
}

// A Revoke of the old token never kills the one that a Reset made beside it.
func TestRevokeRacesReset(t *testing.T) {
	ctx := context.Background()
	// Reset comes between the lookup and the deletion.
	s := &spy{Store: memory.New()}
	m, _ := newManager(t, s, authz.Config{})
	first := mustCreate(t, m, request())
	var fresh authz.Result
	s.before = func(method string, _ ...any) error {
		if method != "DeleteAll" && method != "Delete" {
			return nil
		}
		s.before = nil
		var err error
		fresh, err = m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: first.Token})
		return err
	}
	if err := m.Revoke(ctx, clientID, first.Token.Reveal()); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("Revoke = %v, want ErrNotFound", err)
	}
	if fresh.Token.IsZero() || !alive(t, m, fresh.Token) || alive(t, m, first.Token) {
		t.Error("want the old token dead and the new one alive")
	}

	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		for range 50 {
			old := mustCreate(t, m, request())
			var (
				wg             sync.WaitGroup
				fresh          authz.Result
				reset, revoked error
			)
			wg.Go(func() { fresh, reset = m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: old.Token}) })
			wg.Go(func() { revoked = m.Revoke(ctx, clientID, old.Token.Reveal()) })
			wg.Wait()
			// One of them took the old token, the other found none.
			switch {
			case reset == nil && errors.Is(revoked, authz.ErrNotFound) && alive(t, m, fresh.Token):
			case revoked == nil && errors.Is(reset, authz.ErrNotFound) && fresh.Token.IsZero():
			default:
				t.Fatalf("Reset: %v, Revoke: %v, new token alive: %v", reset, revoked, reset == nil && alive(t, m, fresh.Token))
			}
			if alive(t, m, old.Token) {
				t.Fatal("the old token is alive")
			}
		}
	})
}

func TestRevokeGrant(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		register(t, m, otherClient)
		dead := []authz.Result{mustCreate(t, m, request()), mustCreate(t, m, request()), mustGet(t, m, request(fingerprint("f")))}
		kept := []authz.Result{mustCreate(t, m, request(by("user-2"))), mustCreate(t, m, personal("mine")), mustCreate(t, m, request(forApp(otherClient)))}
		if n, err := m.RevokeGrant(context.Background(), clientID, dead[1].Token.Reveal()); err != nil || n != 3 {
			t.Errorf("RevokeGrant = %d, %v; want 3", n, err)
		}
		for i, res := range dead {
			if alive(t, m, res.Token) {
				t.Errorf("token %d is alive", i)
			}
		}
		for i, res := range kept {
			if !alive(t, m, res.Token) {
				t.Errorf("bystander %d is dead", i)
			}
		}
		if n, err := m.RevokeGrant(context.Background(), clientID, dead[1].Token.Reveal()); !errors.Is(err, authz.ErrNotFound) || n != 0 {
			t.Errorf("again: %d, %v; want ErrNotFound", n, err)
		}
	})
}

func scopedRequest(token authz.Secret, scopes ...string) authz.ScopedRequest {
	return authz.ScopedRequest{ClientID: clientID, Token: token, Scopes: append([]string{}, scopes...)}
}

func TestScoped(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{})
		ctx := context.Background()
		wide := mustCreate(t, m, request(scopes("a", "b", "c")))
		c.Add(time.Minute)
		now := c.Now().UTC().Truncate(time.Microsecond)
		req := scopedRequest(wide.Token, "c", "a", "c")
		req.Note, req.NoteURL, req.Fingerprint = "a note", "https://example.com", "narrow"
		res, err := m.Scoped(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		token := res.Token.Reveal()
		want := authz.Authorization{
			ID: 2, Revision: 1,
			Key:    store.Key{Owner: owner, ClientID: clientID, Fingerprint: "narrow"},
			Scopes: []string{"c", "a"}, Note: "a note", NoteURL: "https://example.com",
			TokenHash: store.HashOf(token), TokenLastEight: token[max(0, len(token)-8):],
			CreatedAt: now, UpdatedAt: now, IssuedAt: now,
		}
		if !reflect.DeepEqual(res.Authorization, want) {
			t.Errorf("Scoped:\ngot  %+v\nwant %+v", res.Authorization, want)
		}
		if !res.Created || res.Replayed || res.App.ClientID != clientID {
			t.Errorf("Scoped: Created %v, Replayed %v, App %+v", res.Created, res.Replayed, res.App)
		}
		if got, err := m.Get(ctx, owner, wide.Authorization.ID); err != nil || !reflect.DeepEqual(got, wide.Authorization) {
			t.Errorf("the other one has changed: %+v, %v", got, err)
		}
		if !alive(t, m, wide.Token) || !alive(t, m, res.Token) {
			t.Error("want both tokens alive")
		}
		if grants := mustGrants(t, m, owner); len(grants) != 1 || grants[0].Authorizations != 2 {
			t.Errorf("Grants = %+v, want both in one", grants)
		}

		// Each is its own: revoked and reset without the other.
		if err := m.Revoke(ctx, clientID, wide.Token.Reveal()); err != nil || !alive(t, m, res.Token) {
			t.Errorf("Revoke of the wide one: %v, the narrow one alive: %v", err, alive(t, m, res.Token))
		}
		narrower, err := m.Scoped(ctx, scopedRequest(res.Token, "a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Revoke(ctx, clientID, narrower.Token.Reveal()); err != nil || !alive(t, m, res.Token) {
			t.Errorf("Revoke of the narrow one: %v, the other alive: %v", err, alive(t, m, res.Token))
		}
	})
}

func TestScopedSubset(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	ctx := context.Background()
	wide := mustCreate(t, m, request(scopes("a", "b", "repo")))
	for _, fine := range [][]string{{}, {"a"}, {"repo", "b", "a"}, {"a", "a"}} {
		res, err := m.Scoped(ctx, scopedRequest(wide.Token, fine...))
		if err != nil {
			t.Errorf("%q: %v", fine, err)
			continue
		}
		for _, scope := range res.Authorization.Scopes {
			if !slices.Contains(fine, scope) {
				t.Errorf("%q: got %q", fine, res.Authorization.Scopes)
			}
		}
	}
	before := count(t, s, owner)
	for text, beyond := range map[string][]string{
		"scopes are invalid: c":           {"c"},
		"scopes are invalid: A":           {"a", "A"},
		"scopes are invalid: x,y":         {"x", "a", "y", "x"},
		"scopes are invalid: repo:status": {"repo:status"}, // scopes mean what the host says: none holds another
	} {
		_, err := m.Scoped(ctx, scopedRequest(wide.Token, beyond...))
		if wantField(t, fmt.Sprint(beyond), err, "scopes", authz.CodeCustom); !strings.HasSuffix(fmt.Sprint(err), "("+text+")") {
			t.Errorf("%q: err = %v, want %s", beyond, err, text)
		}
	}
	// A token without scopes gives away none.
	bare := mustCreate(t, m, request(scopes()))
	_, err := m.Scoped(ctx, scopedRequest(bare.Token, "a"))
	wantField(t, "of none", err, "scopes", authz.CodeCustom)
	if n := count(t, s, owner); n != before+1 {
		t.Errorf("refused requests made %d rows", n-before-1)
	}
}

func TestScopedValidation(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{Scopes: authz.ScopeNames("a")})
	ctx := context.Background()
	wide := mustCreate(t, m, request(scopes("a"), fingerprint("wide")))
	for _, test := range []struct {
		name, field string
		code        authz.ErrorCode
		change      func(*authz.ScopedRequest)
	}{
		{"no scopes", "scopes", authz.CodeMissingField, func(r *authz.ScopedRequest) { r.Scopes = nil }},
		{"bad scope", "scopes", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.Scopes = []string{"a b"} }},
		{"undeclared scope", "scopes", authz.CodeCustom, func(r *authz.ScopedRequest) { r.Scopes = []string{"x"} }},
		{"too many scopes", "scopes", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.Scopes = many(101) }},
		{"note", "note", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.Note = "\x00" }},
		{"note_url", "note_url", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.NoteURL = "/x" }},
		{"fingerprint", "fingerprint", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.Fingerprint = "\xff" }},
		{"Idempotency-Key", "Idempotency-Key", authz.CodeInvalid, func(r *authz.ScopedRequest) { r.IdempotencyKey = authz.NewSecret("x") }},
	} {
		req := scopedRequest(wide.Token, "a")
		test.change(&req)
		_, err := m.Scoped(ctx, req)
		wantField(t, test.name, err, test.field, test.code)
	}
	_, err := m.Scoped(ctx, authz.ScopedRequest{Note: "\x00", NoteURL: "x", Fingerprint: "\x00", IdempotencyKey: authz.NewSecret("x")})
	wantFields(t, "all wrong at once", err, "scopes missing_field", "note invalid", "note_url invalid", "fingerprint invalid", "Idempotency-Key invalid")
	taken := scopedRequest(wide.Token, "a")
	taken.Fingerprint = "wide"
	_, err = m.Scoped(ctx, taken)
	wantTaken(t, "a fingerprint that is taken", err, "fingerprint", wide.Authorization.ID)
}

// Without a fingerprint it gets a random one: get-or-create does not find it.
func TestScopedFingerprint(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	wide := mustCreate(t, m, request(fingerprint("wide")))
	seen := map[string]bool{}
	for range 5 {
		res, err := m.Scoped(context.Background(), scopedRequest(wide.Token))
		if err != nil {
			t.Fatal(err)
		}
		f := res.Authorization.Fingerprint
		if len(f) != 36 || seen[f] {
			t.Errorf("fingerprint %q, want a new random UUID", f)
		}
		seen[f] = true
	}
	if put := mustGet(t, m, request()); !put.Created {
		t.Errorf("get-or-create found %+v", put.Authorization)
	}
}

func TestScopedExpiry(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		ctx := context.Background()
		forever, c := newManager(t, s, authz.Config{})
		hour, err := authz.New(s, authz.Config{Lifetime: time.Hour, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		minute, err := authz.New(s, authz.Config{Lifetime: time.Minute, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Add(time.Minute)
		now := c.Now().UTC().Truncate(time.Microsecond)
		endless := mustCreate(t, forever, request())
		ends := mustCreate(t, hour, request())
		for _, test := range []struct {
			name string
			m    *authz.Manager
			of   authz.Result
			want time.Time
		}{
			{"neither ends", forever, endless, time.Time{}},
			{"the other ends", forever, ends, now.Add(time.Hour)},
			{"this ends", minute, endless, now.Add(time.Minute)},
			{"this ends first", minute, ends, now.Add(time.Minute)},
		} {
			res, err := test.m.Scoped(ctx, scopedRequest(test.of.Token))
			if err != nil || !res.Authorization.ExpiresAt.Equal(test.want) {
				t.Errorf("%s: expires %v, %v; want %v", test.name, res.Authorization.ExpiresAt, err, test.want)
			}
		}
		c.Add(30 * time.Minute)
		res, err := hour.Scoped(ctx, scopedRequest(ends.Token))
		if err != nil || !res.Authorization.ExpiresAt.Equal(ends.Authorization.ExpiresAt) {
			t.Errorf("made later: expires %v, %v; want %v like the other", res.Authorization.ExpiresAt, err, ends.Authorization.ExpiresAt)
		}
		c.Add(30 * time.Minute)
		if alive(t, hour, res.Token) {
			t.Error("it outlives the token that it came from")
		}
	})
}

// The limits push out others, never the token that is asked with.
func TestScopedLimits(t *testing.T) {
	ctx := context.Background()
	for name, cfg := range map[string]authz.Config{
		"MaxPerScopes":     {MaxPerScopes: 2},
		"MaxPerUserAndApp": {MaxPerUserAndApp: 2},
		"both":             {MaxPerScopes: 1, MaxPerUserAndApp: 1},
	} {
		m, _ := newManager(t, memory.New(), cfg)
		h := new(hearing)
		cfg.OnEvent = h.hear
		wide := mustCreate(t, m, request()) // the oldest, with the same scopes
		var made []authz.Result
		for range 5 {
			res, err := m.Scoped(ctx, scopedRequest(wide.Token, wide.Authorization.Scopes...))
			if err != nil {
				t.Fatal(err)
			}
			if made = append(made, res); !alive(t, m, wide.Token) || !alive(t, m, res.Token) {
				t.Fatalf("%s: want the token asked with and the new one alive", name)
			}
		}
		if alive(t, m, made[0].Token) {
			t.Errorf("%s: the oldest made is alive", name)
		}
	}
	// The default is ten beside the one asked with.
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	wide := mustCreate(t, m, request())
	for range 15 {
		if _, err := m.Scoped(ctx, scopedRequest(wide.Token, wide.Authorization.Scopes...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, owner); n != 11 || !alive(t, m, wide.Token) {
		t.Errorf("%d rows, want 10 and the one they came from", n)
	}
}

// late is a store that lets something happen just before Create.
type late struct {
	store.Store
	before func()
}

func (s *late) Create(ctx context.Context, c store.Authorization) (store.Authorization, error) {
	s.before()
	return s.Store.Create(ctx, c)
}

// A grant that is revoked while a scoped token is made of one of its tokens takes
// that with it.
func TestScopedBesideRevocation(t *testing.T) {
	st := &late{Store: memory.New()}
	m, _ := newManager(t, st, authz.Config{})
	wide := mustGet(t, m, request(scopes("a", "b")))
	st.before = func() {
		if _, err := m.RevokeGrant(t.Context(), clientID, wide.Token.Reveal()); err != nil {
			t.Error(err)
		}
	}
	result, err := m.Scoped(t.Context(), scopedRequest(wide.Token, "a"))
	if !errors.Is(err, authz.ErrNotFound) || !result.Token.IsZero() {
		t.Errorf("Scoped = %+v, %v, want ErrNotFound", result, err)
	}
	if n, err := m.Count(t.Context(), owner, ""); n != 0 || err != nil {
		t.Errorf("%d authorizations are left, %v", n, err)
	}
}
