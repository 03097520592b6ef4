package authz_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// onStores runs test on a store in memory and on a database on disk.
func onStores(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("sqlite", func(t *testing.T) { test(t, onDisk(t)) })
}

func inMemory(*testing.T) store.Store { return memory.New() }

// onDisk returns a store on a new SQLite database. It does not wait for the
// disk: nothing here pulls the plug.
func onDisk(t *testing.T) store.Store {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "authz.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	s := sqlite.New(db)
	t.Cleanup(func() { s.Close(); db.Close() })
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// hearing is an OnEvent that keeps what it hears.
type hearing struct {
	mu     sync.Mutex
	events []authz.Event
}

func (h *hearing) hear(_ context.Context, e authz.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// take returns what was heard since the last call.
func (h *hearing) take() []authz.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := h.events
	h.events = nil
	return events
}

// change changes a request.
type change = func(*authz.Request)

func note(v string) change          { return func(r *authz.Request) { r.Note = v } }
func noteURL(v string) change       { return func(r *authz.Request) { r.NoteURL = v } }
func scopes(v ...string) change     { return func(r *authz.Request) { r.Scopes = v } }
func by(user string) change         { return func(r *authz.Request) { r.Owner = user } }
func forApp(clientID string) change { return func(r *authz.Request) { r.ClientID = clientID } }

// personal asks for a personal authorization with this note.
func personal(text string, changes ...change) authz.Request {
	req := authz.Request{Owner: owner, Note: text, Scopes: []string{"public_repo"}}
	for _, c := range changes {
		c(&req)
	}
	return req
}

func mustCreate(t testing.TB, m *authz.Manager, req authz.Request) authz.Result {
	t.Helper()
	res, err := m.Create(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// wantTaken fails the test unless err says that this field's value belongs to
// the authorization id.
func wantTaken(t testing.TB, name string, err error, field string, id int64) {
	t.Helper()
	wantField(t, name, err, field, authz.CodeAlreadyExists)
	if v := new(authz.ValidationError); errors.As(err, &v) && v.Fields[0].ExistingID != id {
		t.Errorf("%s: ExistingID = %d, want %d", name, v.Fields[0].ExistingID, id)
	}
}

// wantFields fails the test unless err is a *ValidationError for these fields
// and codes, in any order.
func wantFields(t testing.TB, name string, err error, want ...string) {
	t.Helper()
	var v *authz.ValidationError
	if !errors.As(err, &v) {
		t.Errorf("%s: err = %v, want a *ValidationError", name, err)
		return
	}
	var got []string
	for _, f := range v.Fields {
		got = append(got, f.Field+" "+string(f.Code))
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%s: fields\ngot  %q\nwant %q", name, got, want)
	}
}

func ids(recs []authz.Authorization) (out []int64) {
	for _, rec := range recs {
		out = append(out, rec.ID)
	}
	return out
}

// listed are the IDs of all live authorizations of an owner.
func listed(t testing.TB, m *authz.Manager, owner string) []int64 {
	t.Helper()
	recs, err := m.List(context.Background(), owner, authz.ListOptions{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return ids(recs)
}

// many is more scopes than one can have, if n is large enough.
func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("s", i))
	}
	return list
}

// hostileOwners are those that nobody can be, and some databases cannot look up.
var hostileOwners = []string{"", "\x00", "a\x00b", "\xff", "a\nb", strings.Repeat("u", authz.MaxOwner+1)}

func TestCreate(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		now := c.Now().UTC().Truncate(time.Microsecond)
		want := authz.Authorization{
			ID: 1, Revision: 1,
			Key:    store.Key{Owner: owner, ClientID: clientID},
			Scopes: []string{"b", "a"}, Note: "a note", NoteURL: "https://example.com/x",
			CreatedAt: now, UpdatedAt: now, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
		}
		req := request(scopes("b", "a", "b"), note(want.Note), noteURL(want.NoteURL))
		for id := int64(1); id <= 2; id++ { // several without a fingerprint
			res := mustCreate(t, m, req)
			token := res.Token.Reveal()
			want.ID, want.TokenHash, want.TokenLastEight = id, store.HashOf(token), token[max(0, len(token)-8):]
			if !reflect.DeepEqual(res.Authorization, want) {
				t.Errorf("Create:\ngot  %+v\nwant %+v", res.Authorization, want)
			}
			if !res.Created || res.Replayed || res.NotApplied != nil || len(token) != len("azt_")+36 {
				t.Errorf("Create: Created %v, Replayed %v, NotApplied %q, token of %d characters",
					res.Created, res.Replayed, res.NotApplied, len(token))
			}
			if res.App.ClientID != clientID || res.App.Name != "my github app" || res.App.URL != "http://my-github-app.com" {
				t.Errorf("App = %+v", res.App)
			}
			if rec, err := m.Verify(context.Background(), token); err != nil || !reflect.DeepEqual(*rec, want) {
				t.Errorf("Verify = %+v, %v; want %+v", rec, err, want)
			}
		}
	})
}

func TestCreatePersonal(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{})
		now := c.Now().UTC().Truncate(time.Microsecond)
		res := mustCreate(t, m, personal("backup script", noteURL("https://example.com"), fingerprint("desk"), scopes("repo")))
		token := res.Token.Reveal()
		want := authz.Authorization{
			ID: 1, Revision: 1,
			Key:    store.Key{Owner: owner, Fingerprint: "desk"},
			Scopes: []string{"repo"}, Note: "backup script", NoteURL: "https://example.com",
			TokenHash: store.HashOf(token), TokenLastEight: token[max(0, len(token)-8):],
			CreatedAt: now, UpdatedAt: now, IssuedAt: now,
		}
		if !res.Created || !reflect.DeepEqual(res.Authorization, want) {
			t.Errorf("Create:\ngot  %+v\nwant %+v", res.Authorization, want)
		}
		app := authz.App{ClientID: "00000000000000000000", Name: "backup script", URL: "https://example.com"}
		if !reflect.DeepEqual(res.App, app) {
			t.Errorf("App = %+v, want %+v", res.App, app)
		}
		if rec, err := m.Verify(context.Background(), token); err != nil || !reflect.DeepEqual(*rec, want) {
			t.Errorf("Verify = %+v, %v; want %+v", rec, err, want)
		}
		if got, err := m.AppOf(context.Background(), res.Authorization); err != nil || !reflect.DeepEqual(got, app) {
			t.Errorf("AppOf = %+v, %v; want %+v", got, err, app)
		}
		if err := m.Delete(context.Background(), owner, 1); err != nil || alive(t, m, res.Token) {
			t.Errorf("after Delete (%v) the token is alive", err)
		}
	})
}

func TestAppOf(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	res := mustCreate(t, m, request())
	if app, err := m.AppOf(ctx, res.Authorization); err != nil || !reflect.DeepEqual(app, res.App) {
		t.Errorf("AppOf = %+v, %v; want %+v", app, err, res.App)
	}
	if _, err := m.DeleteApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	if _, err := m.AppOf(ctx, res.Authorization); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("AppOf of a deleted app: err = %v, want ErrNotFound", err)
	}
}

func TestCreateValidation(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{Scopes: authz.ScopeNames(append(many(101), "public_repo")...)})
	ctx := context.Background()
	for _, test := range []struct {
		name, field string
		code        authz.ErrorCode
		change      change
	}{
		{"no owner", "owner", authz.CodeInvalid, by("")},
		{"owner too long", "owner", authz.CodeInvalid, by(strings.Repeat("u", 256))},
		{"owner with NUL", "owner", authz.CodeInvalid, by("a\x00")},
		{"note too long", "note", authz.CodeInvalid, note(strings.Repeat("é", 256))},
		{"note with NUL", "note", authz.CodeInvalid, note("a\x00")},
		{"note of invalid UTF-8", "note", authz.CodeInvalid, note("a\xff")},
		{"note_url", "note_url", authz.CodeInvalid, noteURL("javascript:alert(1)")},
		{"note_url too long", "note_url", authz.CodeInvalid, noteURL("https://example.com/" + strings.Repeat("x", 2048))},
		{"fingerprint too long", "fingerprint", authz.CodeInvalid, fingerprint(strings.Repeat("f", 256))},
		{"fingerprint with NUL", "fingerprint", authz.CodeInvalid, fingerprint("\x00")},
		{"too many scopes", "scopes", authz.CodeInvalid, scopes(many(101)...)},
		{"scope with space", "scopes", authz.CodeInvalid, scopes("a b")},
		{"scope that is not declared", "scopes", authz.CodeCustom, scopes("nobody:knows")},
		{"on_existing return", "on_existing", authz.CodeInvalid, onExisting(authz.OnExistingReturn)},
		{"on_existing rotate", "on_existing", authz.CodeInvalid, onExisting(authz.OnExistingRotate)},
		{"on_existing error", "on_existing", authz.CodeInvalid, onExisting(authz.OnExistingError)},
		{"Idempotency-Key", "Idempotency-Key", authz.CodeInvalid, func(r *authz.Request) { r.IdempotencyKey = authz.NewSecret("short") }},
	} {
		_, err := m.Create(ctx, request(test.change))
		wantField(t, test.name, err, test.field, test.code)
		_, err = m.Create(ctx, personal("a note", test.change))
		wantField(t, "personal: "+test.name, err, test.field, test.code)
	}
	_, err := m.Create(ctx, request(func(r *authz.Request) { r.ClientSecret = authz.Secret{} }))
	wantField(t, "no client_secret", err, "client_secret", authz.CodeMissingField)
	for _, blank := range []string{"", " ", "\u2003\u00a0"} {
		_, err := m.Create(ctx, personal(blank))
		wantField(t, fmt.Sprintf("personal without a note: %q", blank), err, "note", authz.CodeMissingField)
	}
	wrong := authz.Request{
		Note: "\x00", NoteURL: "x", Fingerprint: "\x00", Scopes: []string{""},
		OnExisting: authz.OnExistingReturn, IdempotencyKey: authz.NewSecret("x"),
	}
	all := []string{"owner invalid", "note invalid", "note_url invalid", "fingerprint invalid", "scopes invalid", "on_existing invalid", "Idempotency-Key invalid"}
	_, err = m.Create(ctx, wrong)
	wantFields(t, "all wrong at once, personal", err, slices.Clone(all)...)
	wrong.ClientID = "x"
	_, err = m.Create(ctx, wrong)
	wantFields(t, "all wrong at once", err, append(all, "client_secret missing_field")...)

	for _, fine := range []authz.Request{
		request(note(""), scopes()), // an app's needs no note
		request(note(strings.Repeat("é", 255)), fingerprint(strings.Repeat("é", 255)), scopes(many(100)...)),
		personal(strings.Repeat("é", 255), by(strings.Repeat("u", 255)), scopes()),
	} {
		mustCreate(t, m, fine)
	}
	if n := count(t, s, owner); n != 2 {
		t.Errorf("%d rows, want the two that were fine", n)
	}
}

func TestCreateChecksTheClient(t *testing.T) {
	s := memory.New()
	m, _ := newManager(t, s, authz.Config{})
	for name, req := range map[string]authz.Request{
		"wrong secret":       request(func(r *authz.Request) { r.ClientSecret = authz.NewSecret("wrong") }),
		"unknown client_id":  request(forApp(otherClient)),
		"client_id too long": request(forApp(clientID + "x")),
		"no app's client_id": request(forApp(authz.PersonalClientID)),
	} {
		if _, err := m.Create(context.Background(), req); !errors.Is(err, authz.ErrInvalidClient) {
			t.Errorf("%s: err = %v, want ErrInvalidClient", name, err)
		}
	}
	if n := count(t, s, owner); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

func TestCreateNoteIsUnique(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		mustCreate(t, m, request(note("backup"))) // an app's note is nobody's
		first := mustCreate(t, m, personal("backup"))
		_, err := m.Create(ctx, personal("backup", fingerprint("other"), scopes("other")))
		wantTaken(t, "the same note", err, "note", first.Authorization.ID)
		for _, other := range []string{"Backup", "backup ", " backup", "back\u00adup", "ba\u0441kup"} {
			mustCreate(t, m, personal(other)) // byte for byte
		}
		mustCreate(t, m, personal("backup", by("user-2")))
		mustCreate(t, m, request(note("backup")))
		if !alive(t, m, first.Token) {
			t.Error("the first one died of it")
		}

		if err := m.Delete(ctx, owner, first.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		second := mustCreate(t, m, personal("backup"))
		c.Add(time.Hour) // an expired one is not in the way
		third := mustCreate(t, m, personal("backup"))
		if third.Authorization.ID <= second.Authorization.ID || alive(t, m, second.Token) || !alive(t, m, third.Token) {
			t.Errorf("after the end: id %d after %d; want a new one that lives", third.Authorization.ID, second.Authorization.ID)
		}
	})
}

func TestCreateFingerprintIsUnique(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		register(t, m, otherClient)
		ctx := context.Background()
		first := mustCreate(t, m, request(fingerprint("desk")))
		_, err := m.Create(ctx, request(fingerprint("desk"), note("other"), scopes("other")))
		wantTaken(t, "the same fingerprint", err, "fingerprint", first.Authorization.ID)
		put := mustGet(t, m, request(fingerprint("put")))
		_, err = m.Create(ctx, request(fingerprint("put")))
		wantTaken(t, "that of a get-or-create", err, "fingerprint", put.Authorization.ID)

		mustCreate(t, m, request(fingerprint("Desk")))
		mustCreate(t, m, request(fingerprint("desk"), by("user-2")))
		mustCreate(t, m, request(fingerprint("desk"), forApp(otherClient)))
		own := mustCreate(t, m, personal("a", fingerprint("desk")))
		_, err = m.Create(ctx, personal("b", fingerprint("desk")))
		wantTaken(t, "that of a personal one", err, "fingerprint", own.Authorization.ID)
		if !alive(t, m, first.Token) || !alive(t, m, put.Token) || !alive(t, m, own.Token) {
			t.Error("a refused creation has killed a token")
		}
		c.Add(time.Hour)
		if res := mustCreate(t, m, request(fingerprint("desk"))); !alive(t, m, res.Token) {
			t.Error("after the end: the new one is dead")
		}
	})
}

// However many ask for one note, or for one fingerprint, one of them gets it
// and the others hear whose it is.
func TestCreateUniqueRace(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		for field, req := range map[string]authz.Request{"note": personal("backup"), "fingerprint": request(fingerprint("desk"))} {
			const n = 32
			results, errs := make([]authz.Result, n), make([]error, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { results[i], errs[i] = m.Create(context.Background(), req) })
			}
			wg.Wait()
			winner := slices.IndexFunc(errs, func(err error) bool { return err == nil })
			if winner < 0 {
				t.Fatalf("%s: nobody won: %v", field, errs[0])
			}
			for i, err := range errs {
				if i != winner {
					wantTaken(t, field, err, field, results[winner].Authorization.ID)
				}
			}
		}
	})
}

// The seed: "if an authorization for the app is present", it is returned.
func TestPutAfterPost(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		mustCreate(t, m, request(fingerprint("desk")))
		mustCreate(t, m, personal("mine"))
		oldest := mustCreate(t, m, request(note("first")))
		second := mustCreate(t, m, request(note("second")))
		res := mustGet(t, m, request(note("put")))
		if res.Created || !res.Token.IsZero() || !reflect.DeepEqual(res.Authorization, oldest.Authorization) || !slices.Equal(res.NotApplied, []string{"note"}) {
			t.Errorf("got  %+v\nwant the oldest, unchanged, without token: %+v", res, oldest.Authorization)
		}
		rotated := mustGet(t, m, request(onExisting(authz.OnExistingRotate)))
		if rotated.Authorization.ID != oldest.Authorization.ID || alive(t, m, oldest.Token) || !alive(t, m, rotated.Token) || !alive(t, m, second.Token) {
			t.Errorf("rotate: id %d, want the oldest's %d with a new token, and the second left alone", rotated.Authorization.ID, oldest.Authorization.ID)
		}
		if err := m.Delete(context.Background(), owner, oldest.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		if res := mustGet(t, m, request()); res.Created || res.Authorization.ID != second.Authorization.ID {
			t.Errorf("after the oldest was deleted: id %d, want %d", res.Authorization.ID, second.Authorization.ID)
		}
		if err := m.Delete(context.Background(), owner, second.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		if res := mustGet(t, m, request()); !res.Created {
			t.Errorf("after both were deleted: id %d, want a new one", res.Authorization.ID)
		}
	})
}

// Of more than ten for one user, app and set of scopes, the oldest go.
func TestMaxPerScopes(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, c := newManager(t, s, authz.Config{OnEvent: h.hear})
		register(t, m, otherClient)
		bystanders := []authz.Result{
			mustCreate(t, m, request(by("user-2"), scopes("a", "b"))),
			mustCreate(t, m, request(forApp(otherClient), scopes("a", "b"))),
			mustCreate(t, m, request(scopes("a"))),
			mustCreate(t, m, request(scopes("a", "b", "c"))),
			mustCreate(t, m, request(scopes())),
		}
		for i := range 12 {
			bystanders = append(bystanders, mustCreate(t, m, personal(fmt.Sprint(i), scopes("a", "b")))) // no limit for these
		}
		var mine []authz.Result
		for i := range 10 { // in either order, with fingerprint or without, from either method
			list := []string{"a", "b"}
			if i%2 == 0 {
				slices.Reverse(list)
			}
			switch i {
			case 0:
				mine = append(mine, mustGet(t, m, request(fingerprint("put"), scopes(list...))))
			case 1:
				mine = append(mine, mustCreate(t, m, request(fingerprint("post"), scopes(list...))))
			default:
				mine = append(mine, mustCreate(t, m, request(scopes(list...))))
			}
		}
		for i, res := range append(mine, bystanders...) {
			if !alive(t, m, res.Token) {
				t.Errorf("at the limit, number %d is dead", i)
			}
		}
		for i := range 3 { // each new one pushes one out, the oldest
			h.take()
			c.Add(time.Second)
			mine = append(mine, mustCreate(t, m, request(scopes("b", "a"))))
			want := []authz.Event{
				{Kind: authz.EventCreated, Owner: owner, ClientID: clientID, ID: mine[len(mine)-1].Authorization.ID, Count: 1},
				{Kind: authz.EventRevoked, Reason: authz.ReasonLimit, Owner: owner, ClientID: clientID, ID: mine[i].Authorization.ID, Count: 1},
			}
			if got := h.take(); !reflect.DeepEqual(got, want) {
				t.Errorf("events:\ngot  %+v\nwant %+v", got, want)
			}
		}
		for i, res := range mine {
			if got, want := alive(t, m, res.Token), i >= 3; got != want {
				t.Errorf("number %d: alive = %v, want %v", i, got, want)
			}
		}
		for i, res := range bystanders {
			if !alive(t, m, res.Token) {
				t.Errorf("bystander %d is dead", i)
			}
		}
		// Get-or-create makes an eleventh.
		put := mustGet(t, m, request(fingerprint("eleventh"), scopes("a", "b")))
		if !put.Created || !alive(t, m, mine[3].Token) {
			t.Error("get-or-create took part in the limit")
		}
	})
}

func TestMaxPerScopesIsConfigured(t *testing.T) {
	for _, test := range []struct{ limit, made, want int }{{0, 15, 10}, {1, 3, 1}, {3, 7, 3}, {12, 15, 12}, {-1, 15, 15}, {-100, 15, 15}} {
		s := memory.New()
		m, _ := newManager(t, s, authz.Config{MaxPerScopes: test.limit})
		for range test.made {
			if res := mustCreate(t, m, request()); !alive(t, m, res.Token) {
				t.Fatalf("limit %d: a new one is dead", test.limit)
			}
		}
		if got := count(t, s, owner); got != test.want {
			t.Errorf("limit %d: %d left of %d, want %d", test.limit, got, test.made, test.want)
		}
	}
}

// Expired authorizations do not count, and do not push out living ones.
func TestMaxPerScopesCountsTheLiving(t *testing.T) {
	m, c := newManager(t, memory.New(), authz.Config{MaxPerScopes: 2, Lifetime: time.Hour})
	old := mustCreate(t, m, request(fingerprint("old")))
	mustCreate(t, m, request())
	c.Add(30 * time.Minute)
	old = mustGet(t, m, request(fingerprint("old"), onExisting(authz.OnExistingRotate)))
	c.Add(45 * time.Minute)
	fresh := mustCreate(t, m, request())
	if !alive(t, m, old.Token) || !alive(t, m, fresh.Token) {
		t.Error("want both living ones to stay")
	}
}

// However many are made at once, the newest ten stay.
func TestMaxPerScopesRace(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
		const n = 32
		results := make([]authz.Result, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				var err error
				if results[i], err = m.Create(context.Background(), request()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var all []int64
		for _, res := range results {
			all = append(all, res.Authorization.ID)
		}
		slices.Sort(all)
		if got, want := listed(t, m, owner), all[n-10:]; !slices.Equal(got, want) {
			t.Errorf("left: %v, want the newest ten %v", got, want)
		}
		gone := map[int64]int{}
		for _, e := range h.take() {
			if e.Kind == authz.EventRevoked {
				gone[e.ID]++
			}
		}
		for _, id := range all[:n-10] {
			if gone[id] != 1 {
				t.Errorf("%d events say that %d was revoked, want 1", gone[id], id)
			}
		}
		if len(gone) != n-10 {
			t.Errorf("events say that %d were revoked, want %d", len(gone), n-10)
		}
	})
}

func TestCreateMaxPerUserAndApp(t *testing.T) {
	h := new(hearing)
	m, _ := newManager(t, memory.New(), authz.Config{MaxPerUserAndApp: 3, OnEvent: h.hear})
	register(t, m, otherClient)
	other := mustCreate(t, m, request(forApp(otherClient)))
	mine := mustCreate(t, m, personal("mine"))
	first := mustCreate(t, m, request(scopes("0")))
	for i := range 2 {
		mustCreate(t, m, request(scopes(fmt.Sprint("s", i))))
	}
	h.take()
	last := mustCreate(t, m, request(scopes("last")))
	if alive(t, m, first.Token) || !alive(t, m, last.Token) || !alive(t, m, other.Token) || !alive(t, m, mine.Token) {
		t.Error("want the oldest of the user and app dead, and no other")
	}
	want := authz.Event{Kind: authz.EventRevoked, Reason: authz.ReasonLimit, Owner: owner, ClientID: clientID, ID: first.Authorization.ID, Count: 1}
	if got := h.take(); len(got) != 2 || got[1] != want {
		t.Errorf("events = %+v, want the second to be %+v", got, want)
	}
	h.take()
	mustGet(t, m, request(fingerprint("put"))) // get-or-create says why, too
	if got := h.take(); len(got) != 2 || got[1].Kind != authz.EventRevoked || got[1].Reason != authz.ReasonLimit || got[1].ID != first.Authorization.ID+1 {
		t.Errorf("events of get-or-create = %+v, want the second to say that %d fell to the limit", got, first.Authorization.ID+1)
	}
	for i := range 5 {
		mustCreate(t, m, personal(fmt.Sprint("mine ", i))) // no limit for these
	}
	if !alive(t, m, mine.Token) {
		t.Error("a personal one fell to the limit")
	}
}

func TestGet(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		for _, res := range []authz.Result{mustCreate(t, m, request()), mustCreate(t, m, personal("mine"))} {
			id := res.Authorization.ID
			if got, err := m.Get(ctx, owner, id); err != nil || !reflect.DeepEqual(got, res.Authorization) {
				t.Errorf("Get = %+v, %v; want %+v", got, err, res.Authorization)
			}
			for _, who := range append([]string{"user-2", "User-1"}, hostileOwners...) {
				if got, err := m.Get(ctx, who, id); !errors.Is(err, authz.ErrNotFound) || got.ID != 0 {
					t.Errorf("Get by %q = %+v, %v; want ErrNotFound", who, got, err)
				}
			}
		}
		for _, id := range []int64{0, -1, 3, 1 << 62} {
			if _, err := m.Get(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("Get(%d): err = %v, want ErrNotFound", id, err)
			}
		}
		c.Add(time.Hour - time.Microsecond)
		if _, err := m.Get(ctx, owner, 1); err != nil {
			t.Errorf("a microsecond before the end: %v", err)
		}
		c.Add(time.Microsecond)
		if got, err := m.Get(ctx, owner, 1); !errors.Is(err, authz.ErrNotFound) || got.ID != 0 {
			t.Errorf("Get of an expired one = %+v, %v; want ErrNotFound", got, err)
		}
	})
}

func TestList(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		register(t, m, otherClient)
		ctx := context.Background()
		check := func(name, who string, o authz.ListOptions, want ...int64) {
			t.Helper()
			recs, err := m.List(ctx, who, o)
			if got := ids(recs); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: List = %v, %v; want %v", name, got, err, want)
			}
		}
		counts := func(name, who, client string, want int64) {
			t.Helper()
			if n, err := m.Count(ctx, who, client); err != nil || n != want {
				t.Errorf("%s: Count = %d, %v; want %d", name, n, err, want)
			}
		}
		check("nothing yet", owner, authz.ListOptions{})
		counts("nothing yet", owner, "", 0)
		first := mustCreate(t, m, request())          // 1
		mustCreate(t, m, personal("a"))               // 2
		mustCreate(t, m, request(by("user-2")))       // 3
		c.Add(30 * time.Minute)                       //
		mustGet(t, m, request(forApp(otherClient)))   // 4
		mustCreate(t, m, personal("b"))               // 5
		mustCreate(t, m, request(fingerprint("x")))   // 6
		mustCreate(t, m, personal("c", by("user-2"))) // 7
		recs, err := m.List(ctx, owner, authz.ListOptions{})
		if err != nil || len(recs) == 0 || !reflect.DeepEqual(recs[0], first.Authorization) {
			t.Errorf("List = %+v, %v; want %+v first", recs, err, first.Authorization)
		}
		check("all", owner, authz.ListOptions{}, 1, 2, 4, 5, 6)
		counts("all", owner, "", 5)
		check("of an app", owner, authz.ListOptions{ClientID: clientID}, 1, 6)
		counts("of an app", owner, clientID, 2)
		check("of the other app", owner, authz.ListOptions{ClientID: otherClient}, 4)
		check("personal", owner, authz.ListOptions{ClientID: authz.PersonalClientID}, 2, 5)
		counts("personal", owner, authz.PersonalClientID, 2)
		check("of another user", "user-2", authz.ListOptions{}, 3, 7)
		counts("of another user", "user-2", "", 2)
		check("after", owner, authz.ListOptions{After: 2}, 4, 5, 6)
		check("after one that is not there", owner, authz.ListOptions{After: 3, Limit: 2}, 4, 5)
		check("after the last", owner, authz.ListOptions{After: 7})
		check("limit", owner, authz.ListOptions{Limit: 2}, 1, 2)
		check("skip", owner, authz.ListOptions{Skip: 3}, 5, 6)
		check("skip and limit", owner, authz.ListOptions{Skip: 1, Limit: 3}, 2, 4, 5)
		check("skip the end", owner, authz.ListOptions{Skip: 5})
		check("skip more than there are", owner, authz.ListOptions{Skip: 1 << 40})
		check("skip of the personal ones", owner, authz.ListOptions{ClientID: authz.PersonalClientID, Skip: 1}, 5)
		check("after, skip and limit", owner, authz.ListOptions{After: 1, Skip: 1, Limit: 2}, 4, 5)
		check("negative numbers", owner, authz.ListOptions{After: -5, Skip: -5, Limit: -5}, 1, 2, 4, 5, 6)
		for _, who := range append([]string{"nobody"}, hostileOwners...) {
			check(fmt.Sprintf("owner %q", who), who, authz.ListOptions{})
			counts(fmt.Sprintf("owner %q", who), who, "", 0)
		}
		for _, client := range []string{"x", "\x00", "\xff", strings.Repeat("z", 20), clientID + "x", strings.ToUpper(clientID), strings.Repeat("0", 21)} {
			check(fmt.Sprintf("client_id %q", client), owner, authz.ListOptions{ClientID: client})
			counts(fmt.Sprintf("client_id %q", client), owner, client, 0)
		}
		c.Add(30 * time.Minute) // the first three have expired
		check("the living", owner, authz.ListOptions{}, 4, 5, 6)
		counts("the living", owner, "", 3)
		check("skip counts the living", owner, authz.ListOptions{Skip: 1}, 5, 6)
		check("the living personal", owner, authz.ListOptions{ClientID: authz.PersonalClientID}, 5)
		counts("the living personal", owner, authz.PersonalClientID, 1)
		c.Add(time.Hour)
		check("all expired", owner, authz.ListOptions{})
		counts("all expired", owner, "", 0)
	})
}

func TestListLimit(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{MaxPerScopes: -1})
	for range 1005 {
		mustCreate(t, m, request())
	}
	for limit, want := range map[int]int{-1: 100, 0: 100, 1: 1, 99: 99, 1000: 1000, 1001: 1000, 1 << 40: 1000} {
		recs, err := m.List(context.Background(), owner, authz.ListOptions{Limit: limit})
		if err != nil || len(recs) != want || recs[len(recs)-1].ID != int64(want) {
			t.Errorf("limit %d: %d, %v; want %d", limit, len(recs), err, want)
		}
	}
}

// A walk by After meets what is there all the time once, whatever comes and
// goes meanwhile.
func TestListWalk(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{MaxPerScopes: -1})
		ctx := context.Background()
		var stay, leave []int64
		for i := range 60 {
			id := mustCreate(t, m, request()).Authorization.ID
			if i%3 == 0 {
				leave = append(leave, id)
			} else {
				stay = append(stay, id)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, id := range leave {
				if err := m.Delete(ctx, owner, id); err != nil {
					t.Error(err)
				}
				if _, err := m.Create(ctx, request()); err != nil {
					t.Error(err)
				}
			}
		})
		for range 5 {
			seen := map[int64]int{}
			o := authz.ListOptions{Limit: 7}
			for {
				recs, err := m.List(ctx, owner, o)
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range recs {
					if seen[rec.ID]++; rec.ID <= o.After {
						t.Fatalf("%d comes after %d", rec.ID, o.After)
					}
					o.After = rec.ID
				}
				if len(recs) < o.Limit {
					break
				}
			}
			for _, id := range stay {
				if seen[id] != 1 {
					t.Errorf("%d was met %d times, want once", id, seen[id])
				}
			}
		}
		wg.Wait()
	})
}

func TestUpdate(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		res := mustCreate(t, m, request(scopes("a", "b"), note("old"), noteURL("https://old.example"), fingerprint("old")))
		id := res.Authorization.ID
		for _, test := range []struct {
			name  string
			u     authz.Update
			apply func(*authz.Authorization)
		}{
			{"scopes", authz.Update{Scopes: []string{"x", "a", "x"}}, func(a *authz.Authorization) { a.Scopes = []string{"x", "a"} }},
			{"add_scopes", authz.Update{AddScopes: []string{"c", "x", "b", "c"}}, func(a *authz.Authorization) { a.Scopes = []string{"x", "a", "c", "b"} }},
			{"remove_scopes", authz.Update{RemoveScopes: []string{"a", "nothing", "c", "a"}}, func(a *authz.Authorization) { a.Scopes = []string{"x", "b"} }},
			{"another order of scopes", authz.Update{Scopes: []string{"b", "x"}}, func(a *authz.Authorization) { a.Scopes = []string{"b", "x"} }},
			{"no scopes", authz.Update{Scopes: []string{}}, func(a *authz.Authorization) { a.Scopes = nil }},
			{"add_scopes to none", authz.Update{AddScopes: []string{"z"}}, func(a *authz.Authorization) { a.Scopes = []string{"z"} }},
			{"note", authz.Update{Note: new("new")}, func(a *authz.Authorization) { a.Note = "new" }},
			{"no note", authz.Update{Note: new("")}, func(a *authz.Authorization) { a.Note = "" }},
			{"note_url", authz.Update{NoteURL: new("https://new.example")}, func(a *authz.Authorization) { a.NoteURL = "https://new.example" }},
			{"no note_url", authz.Update{NoteURL: new("")}, func(a *authz.Authorization) { a.NoteURL = "" }},
			{"fingerprint", authz.Update{Fingerprint: new("new")}, func(a *authz.Authorization) { a.Fingerprint = "new" }},
			{"no fingerprint", authz.Update{Fingerprint: new("")}, func(a *authz.Authorization) { a.Fingerprint = "" }},
			{"all at once", authz.Update{AddScopes: []string{"y"}, Note: new("n"), NoteURL: new("http://n.example"), Fingerprint: new("f")}, func(a *authz.Authorization) {
				a.Scopes, a.Note, a.NoteURL, a.Fingerprint = []string{"z", "y"}, "n", "http://n.example", "f"
			}},
		} {
			before, err := m.Get(ctx, owner, id)
			if err != nil {
				t.Fatal(err)
			}
			c.Add(time.Second)
			want := before
			test.apply(&want)
			want.Revision++
			want.UpdatedAt = c.Now().UTC().Truncate(time.Microsecond)
			got, err := m.Update(ctx, owner, id, test.u)
			if err != nil || !sameRecord(got, want) {
				t.Errorf("%s:\ngot  %+v, %v\nwant %+v", test.name, got, err, want)
			}
			if stored, err := m.Get(ctx, owner, id); err != nil || !sameRecord(stored, want) {
				t.Errorf("%s: stored:\ngot  %+v, %v\nwant %+v", test.name, stored, err, want)
			}
		}
		if !alive(t, m, res.Token) {
			t.Error("the token died of an update")
		}
		if put := mustGet(t, m, request(fingerprint("f"))); put.Created || put.Authorization.ID != id {
			t.Error("get-or-create does not find the new fingerprint")
		}
		if put := mustGet(t, m, request(fingerprint("old"))); !put.Created {
			t.Error("get-or-create finds the old fingerprint")
		}
	})
}

// sameRecord compares records; no scopes are nil or empty.
func sameRecord(a, b authz.Authorization) bool {
	if len(a.Scopes) == 0 && len(b.Scopes) == 0 {
		a.Scopes, b.Scopes = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// What changes nothing is no change: no new UpdatedAt, no event.
func TestUpdateNothing(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, c := newManager(t, s, authz.Config{OnEvent: h.hear})
		ctx := context.Background()
		want := mustCreate(t, m, request(scopes("a", "b"), note("n"), noteURL("https://n.example"), fingerprint("f"))).Authorization
		h.take()
		c.Add(time.Hour)
		for name, u := range map[string]authz.Update{
			"nothing":           {},
			"the same scopes":   {Scopes: []string{"a", "b", "a"}},
			"scopes it has":     {AddScopes: []string{"b", "a"}},
			"no scopes more":    {AddScopes: []string{}},
			"scopes it has not": {RemoveScopes: []string{"c"}},
			"no scopes less":    {RemoveScopes: []string{}},
			"the same texts":    {Note: new("n"), NoteURL: new("https://n.example"), Fingerprint: new("f")},
		} {
			if got, err := m.Update(ctx, owner, want.ID, u); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\ngot  %+v, %v\nwant %+v", name, got, err, want)
			}
		}
		if got, err := m.Get(ctx, owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("stored:\ngot  %+v, %v\nwant %+v", got, err, want)
		}
		if events := h.take(); events != nil {
			t.Errorf("events = %+v, want none", events)
		}
	})
}

func TestUpdateValidation(t *testing.T) {
	s := memory.New()
	h := new(hearing)
	m, c := newManager(t, s, authz.Config{Scopes: authz.ScopeNames(many(150)...), OnEvent: h.hear})
	ctx := context.Background()
	before := mustCreate(t, m, request(scopes(many(60)...))).Authorization
	mine := mustCreate(t, m, personal("mine", scopes())).Authorization
	h.take()
	c.Add(time.Hour)
	none, some := []string{}, []string{"s1"}
	for _, test := range []struct {
		name, field string
		code        authz.ErrorCode
		u           authz.Update
	}{
		{"scopes and add_scopes", "scopes", authz.CodeInvalid, authz.Update{Scopes: some, AddScopes: some}},
		{"scopes and remove_scopes", "scopes", authz.CodeInvalid, authz.Update{Scopes: some, RemoveScopes: some}},
		{"add_scopes and remove_scopes", "scopes", authz.CodeInvalid, authz.Update{AddScopes: some, RemoveScopes: some}},
		{"all three, empty", "scopes", authz.CodeInvalid, authz.Update{Scopes: none, AddScopes: none, RemoveScopes: none}},
		{"scopes: bad one", "scopes", authz.CodeInvalid, authz.Update{Scopes: []string{"a b"}}},
		{"add_scopes: bad one", "add_scopes", authz.CodeInvalid, authz.Update{AddScopes: []string{""}}},
		{"remove_scopes: bad one", "remove_scopes", authz.CodeInvalid, authz.Update{RemoveScopes: []string{"é"}}},
		{"scopes: not declared", "scopes", authz.CodeCustom, authz.Update{Scopes: []string{"x"}}},
		{"add_scopes: not declared", "add_scopes", authz.CodeCustom, authz.Update{AddScopes: []string{"x"}}},
		{"scopes: too many", "scopes", authz.CodeInvalid, authz.Update{Scopes: many(101)}},
		{"add_scopes: too many", "add_scopes", authz.CodeInvalid, authz.Update{AddScopes: many(101)}},
		{"add_scopes: too many together", "add_scopes", authz.CodeInvalid, authz.Update{AddScopes: many(101)[50:]}},
		{"note", "note", authz.CodeInvalid, authz.Update{Note: new("a\x00")}},
		{"long note", "note", authz.CodeInvalid, authz.Update{Note: new(strings.Repeat("é", 256))}},
		{"note_url", "note_url", authz.CodeInvalid, authz.Update{NoteURL: new("ftp://x")}},
		{"fingerprint", "fingerprint", authz.CodeInvalid, authz.Update{Fingerprint: new("\xff")}},
		{"long fingerprint", "fingerprint", authz.CodeInvalid, authz.Update{Fingerprint: new(strings.Repeat("f", 256))}},
	} {
		_, err := m.Update(ctx, owner, before.ID, test.u)
		wantField(t, test.name, err, test.field, test.code)
		if test.code == authz.CodeCustom && !strings.Contains(fmt.Sprint(err), "scopes are invalid: x") {
			t.Errorf("%s: err = %v, want the names of the scopes", test.name, err)
		}
	}
	_, err := m.Update(ctx, owner, before.ID, authz.Update{Scopes: some, AddScopes: some})
	if want := "add_scopes and remove_scopes cannot be combined: send one of them)"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want it to say %s", err, want)
	}
	_, err = m.Update(ctx, owner, before.ID, authz.Update{
		Scopes: []string{""}, AddScopes: []string{""}, RemoveScopes: []string{""},
		Note: new("\x00"), NoteURL: new("x"), Fingerprint: new("\x00"),
	})
	wantFields(t, "all wrong at once", err, "scopes invalid", "scopes invalid", "add_scopes invalid", "remove_scopes invalid",
		"note invalid", "note_url invalid", "fingerprint invalid")
	for _, blank := range []string{"", "  "} {
		_, err = m.Update(ctx, owner, mine.ID, authz.Update{Note: &blank})
		wantField(t, "a personal one without a note", err, "note", authz.CodeMissingField)
	}
	for _, want := range []authz.Authorization{before, mine} {
		if got, err := m.Get(ctx, owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("a refused update has changed it:\ngot  %+v, %v\nwant %+v", got, err, want)
		}
	}
	if events := h.take(); events != nil {
		t.Errorf("events of refused updates: %+v", events)
	}
	// At the limit; and what is not declared any more can go.
	if got, err := m.Update(ctx, owner, before.ID, authz.Update{AddScopes: many(100)}); err != nil || len(got.Scopes) != 100 {
		t.Errorf("100 scopes: %d, %v", len(got.Scopes), err)
	}
	if _, err := m.Update(ctx, owner, before.ID, authz.Update{RemoveScopes: []string{"gone"}}); err != nil {
		t.Errorf("remove_scopes: not declared: %v", err)
	}
}

func TestUpdateUnique(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		desk := mustCreate(t, m, request(fingerprint("desk"), note("n"))).Authorization
		bare := mustCreate(t, m, request(note("n"))).Authorization
		a := mustCreate(t, m, personal("a")).Authorization
		c.Add(time.Minute)
		b := mustCreate(t, m, personal("b")).Authorization
		lap := mustCreate(t, m, request(fingerprint("lap"))).Authorization

		_, err := m.Update(ctx, owner, lap.ID, authz.Update{Fingerprint: &desk.Fingerprint, Note: new("x")})
		wantTaken(t, "fingerprint", err, "fingerprint", desk.ID)
		_, err = m.Update(ctx, owner, b.ID, authz.Update{Note: &a.Note})
		wantTaken(t, "note", err, "note", a.ID)
		for _, want := range []authz.Authorization{desk, bare, a, b, lap} {
			if got, err := m.Get(ctx, owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("a refused update has changed it:\ngot  %+v, %v\nwant %+v", got, err, want)
			}
		}
		if _, err := m.Update(ctx, owner, lap.ID, authz.Update{Note: new("n"), Fingerprint: new("")}); err != nil {
			t.Errorf("an app's note, and no fingerprint, can be had twice: %v", err)
		}
		c.Add(59 * time.Minute) // desk and a have expired
		if got, err := m.Update(ctx, owner, lap.ID, authz.Update{Fingerprint: &desk.Fingerprint}); err != nil || got.Fingerprint != "desk" {
			t.Errorf("the fingerprint of an expired one: %+v, %v", got, err)
		}
		if got, err := m.Update(ctx, owner, b.ID, authz.Update{Note: &a.Note}); err != nil || got.Note != "a" {
			t.Errorf("the note of an expired one: %+v, %v", got, err)
		}
	})
}

func TestUpdateNotFound(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		want := mustCreate(t, m, request()).Authorization
		u := authz.Update{Note: new("mine now"), AddScopes: []string{"admin"}}
		for _, who := range append([]string{"user-2"}, hostileOwners...) {
			if got, err := m.Update(ctx, who, want.ID, u); !errors.Is(err, authz.ErrNotFound) || got.ID != 0 {
				t.Errorf("Update by %q = %+v, %v; want ErrNotFound", who, got, err)
			}
		}
		if _, err := m.Update(ctx, owner, 99, u); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("unknown: err = %v, want ErrNotFound", err)
		}
		if got, err := m.Get(ctx, owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("somebody else has changed it: %+v, %v", got, err)
		}
		c.Add(time.Hour)
		if _, err := m.Update(ctx, owner, want.ID, u); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("expired: err = %v, want ErrNotFound", err)
		}
	})
}

// However many updates race, all take effect.
func TestUpdateRace(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		h := new(hearing)
		m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
		ctx := context.Background()
		res := mustCreate(t, m, request(scopes()))
		h.take()
		const n = 32
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				got, err := m.Update(ctx, owner, res.Authorization.ID, authz.Update{AddScopes: []string{fmt.Sprint("s", i)}})
				if err != nil || !slices.Contains(got.Scopes, fmt.Sprint("s", i)) {
					t.Errorf("Update = %+v, %v", got, err)
				}
			})
		}
		wg.Wait()
		got, err := m.Get(ctx, owner, res.Authorization.ID)
		slices.Sort(got.Scopes)
		want := many(n)
		if slices.Sort(want); err != nil || !slices.Equal(got.Scopes, want) {
			t.Errorf("scopes = %q, %v; want %q", got.Scopes, err, want)
		}
		if got.Revision != n+1 {
			t.Errorf("revision %d, want %d", got.Revision, n+1)
		}
		if events := h.take(); len(events) != n {
			t.Errorf("%d events, want %d", len(events), n)
		}
		if !alive(t, m, res.Token) {
			t.Error("the token died of it")
		}
	})
}

func TestDeleteByHostileOwners(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	res := mustCreate(t, m, request())
	for _, who := range hostileOwners {
		if err := m.Delete(context.Background(), who, res.Authorization.ID); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("Delete by %q: err = %v, want ErrNotFound", who, err)
		}
	}
	if !alive(t, m, res.Token) {
		t.Error("the token is dead")
	}
}

func TestRevokeAll(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		ctx := context.Background()
		h := new(hearing)
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour, OnEvent: h.hear})
		register(t, m, otherClient)
		tokens := map[string]authz.Secret{}
		fill := func() {
			t.Helper()
			for _, who := range []string{"u1", "u2"} {
				if _, err := m.RevokeAll(ctx, authz.Revocation{Owner: who}); err != nil {
					t.Fatal(err)
				}
				tokens[who+" expired"] = mustCreate(t, m, request(by(who), note("expired"))).Token
			}
			c.Add(time.Hour)
			for _, who := range []string{"u1", "u2"} {
				tokens[who+" app"] = mustCreate(t, m, request(by(who))).Token
				tokens[who+" app, fingerprint"] = mustGet(t, m, request(by(who), fingerprint("f"))).Token
				tokens[who+" other"] = mustCreate(t, m, request(by(who), forApp(otherClient))).Token
				tokens[who+" personal"] = mustCreate(t, m, personal("p", by(who))).Token
			}
			h.take()
		}
		for _, test := range []struct {
			name string
			r    authz.Revocation
			n    int64
			dead []string
		}{
			{"nobody", authz.Revocation{Owner: "u3"}, 0, nil},
			{"app of nobody", authz.Revocation{ClientID: "abcdefghijabcdefghij"}, 0, nil},
			{"user", authz.Revocation{Owner: "u1"}, 5, []string{"u1 app", "u1 app, fingerprint", "u1 other", "u1 personal"}},
			{"app", authz.Revocation{ClientID: clientID}, 6, []string{"u1 app", "u1 app, fingerprint", "u2 app", "u2 app, fingerprint"}},
			{"user and app", authz.Revocation{Owner: "u2", ClientID: clientID}, 3, []string{"u2 app", "u2 app, fingerprint"}},
			{"personal", authz.Revocation{ClientID: authz.PersonalClientID}, 2, []string{"u1 personal", "u2 personal"}},
			{"user's personal", authz.Revocation{Owner: "u1", ClientID: authz.PersonalClientID}, 1, []string{"u1 personal"}},
		} {
			fill()
			dry := test.r
			dry.DryRun = true
			if n, err := m.RevokeAll(ctx, dry); err != nil || n != test.n {
				t.Errorf("%s: dry run = %d, %v; want %d", test.name, n, err, test.n)
			}
			for name, token := range tokens {
				if alive(t, m, token) != !strings.HasSuffix(name, "expired") {
					t.Errorf("%s: the dry run has revoked %s", test.name, name)
				}
			}
			if events := h.take(); events != nil {
				t.Errorf("%s: events of the dry run: %+v", test.name, events)
			}
			if n, err := m.RevokeAll(ctx, test.r); err != nil || n != test.n {
				t.Errorf("%s: RevokeAll = %d, %v; want %d", test.name, n, err, test.n)
			}
			for name, token := range tokens {
				if got, want := alive(t, m, token), !slices.Contains(test.dead, name) && !strings.HasSuffix(name, "expired"); got != want {
					t.Errorf("%s: %s: alive = %v, want %v", test.name, name, got, want)
				}
			}
			var want []authz.Event
			if test.n > 0 {
				want = []authz.Event{{Kind: authz.EventRevoked, Owner: test.r.Owner, ClientID: test.r.ClientID, Count: test.n}}
			}
			if got := h.take(); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: events\ngot  %+v\nwant %+v", test.name, got, want)
			}
			if n, err := m.RevokeAll(ctx, test.r); err != nil || n != 0 {
				t.Errorf("%s, again: RevokeAll = %d, %v; want 0", test.name, n, err)
			}
		}
	})
}

func TestRevokeAllValidation(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	res := mustCreate(t, m, request())
	for _, dry := range []bool{false, true} {
		for name, test := range map[string]struct {
			r    authz.Revocation
			want []string
		}{
			"nothing selected": {authz.Revocation{}, []string{"owner missing_field"}},
			"bad owner":        {authz.Revocation{Owner: "a\x00"}, []string{"owner invalid"}},
			"bad client_id":    {authz.Revocation{ClientID: "x"}, []string{"client_id invalid"}},
			"owner, bad app":   {authz.Revocation{Owner: owner, ClientID: clientID + "\x00"}, []string{"client_id invalid"}},
			"both bad":         {authz.Revocation{Owner: "\xff", ClientID: "é"}, []string{"owner invalid", "client_id invalid"}},
		} {
			test.r.DryRun = dry
			n, err := m.RevokeAll(context.Background(), test.r)
			if wantFields(t, name, err, test.want...); n != 0 {
				t.Errorf("%s: %d with the error", name, n)
			}
		}
	}
	if !alive(t, m, res.Token) {
		t.Error("the token died of a refused call")
	}
}

// Every operation tells what it did, and nothing where it did nothing.
func TestEvents(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		ctx := context.Background()
		h := new(hearing)
		m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
		check := func(name string, want ...authz.Event) {
			t.Helper()
			if got := h.take(); !slices.Equal(got, want) {
				t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
			}
		}
		one := func(kind authz.EventKind, rec authz.Authorization) authz.Event {
			return authz.Event{Kind: kind, Owner: rec.Owner, ClientID: rec.ClientID, ID: rec.ID, Count: 1}
		}
		app := mustCreate(t, m, request())
		check("Create", one(authz.EventCreated, app.Authorization))
		mine := mustCreate(t, m, personal("mine"))
		check("Create, personal", authz.Event{Kind: authz.EventCreated, Owner: owner, ID: mine.Authorization.ID, Count: 1})
		put := mustGet(t, m, request(fingerprint("f")))
		check("GetOrCreate", one(authz.EventCreated, put.Authorization))
		mustGet(t, m, request(fingerprint("f")))
		check("GetOrCreate of an existing one")
		put = mustGet(t, m, request(fingerprint("f"), onExisting(authz.OnExistingRotate)))
		check("rotate", one(authz.EventRotated, put.Authorization))
		if _, err := m.Update(ctx, owner, put.Authorization.ID, authz.Update{Note: new("x")}); err != nil {
			t.Fatal(err)
		}
		check("Update", one(authz.EventUpdated, put.Authorization))
		reset, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: put.Token})
		if err != nil {
			t.Fatal(err)
		}
		check("Reset", one(authz.EventRotated, put.Authorization))
		scoped, err := m.Scoped(ctx, authz.ScopedRequest{ClientID: clientID, Token: reset.Token, Scopes: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		check("Scoped", one(authz.EventCreated, scoped.Authorization))

		// Reading is silent.
		_, _ = m.Get(ctx, owner, app.Authorization.ID)
		_, _ = m.List(ctx, owner, authz.ListOptions{})
		_, _ = m.Count(ctx, owner, "")
		_, _ = m.Grants(ctx, owner)
		_, _ = m.Check(ctx, clientID, app.Token.Reveal())
		_, _ = m.Verify(ctx, app.Token.Reveal())
		check("reading")

		// So is failing.
		failures := map[string]error{}
		_, failures["Create"] = m.Create(ctx, personal("mine"))
		_, failures["Create, client"] = m.Create(ctx, request(forApp(otherClient)))
		_, failures["GetOrCreate"] = m.GetOrCreate(ctx, request(fingerprint("f"), onExisting(authz.OnExistingError)))
		_, failures["Update"] = m.Update(ctx, owner, mine.Authorization.ID, authz.Update{Note: new("")})
		_, failures["Update, another's"] = m.Update(ctx, "user-2", mine.Authorization.ID, authz.Update{Note: new("x")})
		failures["Delete"] = m.Delete(ctx, "user-2", mine.Authorization.ID)
		_, failures["RevokeAll"] = m.RevokeAll(ctx, authz.Revocation{})
		_, failures["DeleteGrant"] = m.DeleteGrant(ctx, "user-2", 1)
		_, failures["Reset"] = m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: put.Token})
		failures["Revoke"] = m.Revoke(ctx, clientID, put.Token.Reveal())
		_, failures["RevokeGrant"] = m.RevokeGrant(ctx, clientID, mine.Token.Reveal())
		_, failures["Scoped"] = m.Scoped(ctx, authz.ScopedRequest{ClientID: clientID, Token: app.Token, Scopes: []string{"admin"}})
		for name, err := range failures {
			if err == nil {
				t.Errorf("%s gave no error", name)
			}
		}
		check("failures")

		if err := m.Revoke(ctx, clientID, scoped.Token.Reveal()); err != nil {
			t.Fatal(err)
		}
		check("Revoke", one(authz.EventRevoked, scoped.Authorization))
		if err := m.Delete(ctx, owner, app.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		check("Delete", one(authz.EventRevoked, app.Authorization))
		if err := m.Delete(ctx, owner, mine.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		check("Delete, personal", one(authz.EventRevoked, mine.Authorization))
		grants, err := m.Grants(ctx, owner)
		if err != nil || len(grants) != 1 {
			t.Fatalf("Grants = %+v, %v", grants, err)
		}
		if _, err := m.DeleteGrant(ctx, owner, grants[0].ID); err != nil {
			t.Fatal(err)
		}
		check("DeleteGrant", authz.Event{Kind: authz.EventRevoked, Owner: owner, ClientID: clientID, Count: 1})
		for range 3 {
			app = mustCreate(t, m, request())
		}
		h.take()
		if n, err := m.RevokeGrant(ctx, clientID, app.Token.Reveal()); err != nil || n != 3 {
			t.Fatalf("RevokeGrant = %d, %v", n, err)
		}
		check("RevokeGrant", authz.Event{Kind: authz.EventRevoked, Owner: owner, ClientID: clientID, Count: 3})
		mustCreate(t, m, request())
		mustCreate(t, m, request(by("user-2")))
		h.take()
		if n, err := m.DeleteApp(ctx, clientID); err != nil || n != 2 {
			t.Fatalf("DeleteApp = %d, %v", n, err)
		}
		check("DeleteApp", authz.Event{Kind: authz.EventRevoked, ClientID: clientID, Count: 2})
		if _, err := m.DeleteApp(ctx, clientID); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("DeleteApp again: err = %v, want ErrNotFound", err)
		}
		register(t, m, otherClient)
		if _, err := m.DeleteApp(ctx, otherClient); err != nil {
			t.Fatal(err)
		}
		check("DeleteApp of none, and of one that nobody used")
	})
}

// An event comes after its change was stored, with the context of the call.
func TestEventsComeAfterTheChange(t *testing.T) {
	type name struct{}
	ctx := context.WithValue(context.Background(), name{}, "the caller's")
	s := memory.New()
	heard := 0
	m, _ := newManager(t, s, authz.Config{OnEvent: func(ctx context.Context, e authz.Event) {
		if heard++; ctx.Value(name{}) != "the caller's" {
			t.Errorf("%s: another context", e.Kind)
		}
		rec, err := s.Get(ctx, e.Owner, e.ID)
		want := map[authz.EventKind]int64{authz.EventCreated: 1, authz.EventUpdated: 2, authz.EventRotated: 3, authz.EventRevoked: 0}
		if rec.Revision != want[e.Kind] || errors.Is(err, authz.ErrNotFound) != (e.Kind == authz.EventRevoked) {
			t.Errorf("%s: revision %d, %v; want %d", e.Kind, rec.Revision, err, want[e.Kind])
		}
	}})
	res, err := m.Create(ctx, request())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Update(ctx, owner, res.Authorization.ID, authz.Update{Note: new("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: res.Token}); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete(ctx, owner, res.Authorization.ID); err != nil || heard != 4 {
		t.Errorf("Delete: %v, %d events; want 4", err, heard)
	}
}

// Every method hands on the store's error, and takes it for nothing else.
func TestStoreErrors(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("the disk is gone")
	s := &spy{Store: memory.New()}
	h := new(hearing)
	m, _ := newManager(t, s, authz.Config{OnEvent: h.hear})
	res := mustCreate(t, m, request())
	token, id := res.Token, res.Authorization.ID
	h.take()
	key := authz.NewSecret("0123456789abcdef")
	for name, call := range map[string]func() error{
		"Create":           func() error { _, err := m.Create(ctx, request()); return err },
		"Create, personal": func() error { _, err := m.Create(ctx, personal("p")); return err },
		"Create, key": func() error {
			_, err := m.Create(ctx, personal("p", func(r *authz.Request) { r.IdempotencyKey = key }))
			return err
		},
		"Get":         func() error { _, err := m.Get(ctx, owner, id); return err },
		"List":        func() error { _, err := m.List(ctx, owner, authz.ListOptions{}); return err },
		"Count":       func() error { _, err := m.Count(ctx, owner, ""); return err },
		"Update":      func() error { _, err := m.Update(ctx, owner, id, authz.Update{Note: new("x")}); return err },
		"Delete":      func() error { return m.Delete(ctx, owner, id) },
		"RevokeAll":   func() error { _, err := m.RevokeAll(ctx, authz.Revocation{Owner: owner}); return err },
		"dry run":     func() error { _, err := m.RevokeAll(ctx, authz.Revocation{Owner: owner, DryRun: true}); return err },
		"Grants":      func() error { _, err := m.Grants(ctx, owner); return err },
		"Grant":       func() error { _, err := m.Grant(ctx, owner, 1); return err },
		"DeleteGrant": func() error { _, err := m.DeleteGrant(ctx, owner, 1); return err },
		"AppOf":       func() error { _, err := m.AppOf(ctx, res.Authorization); return err },
		"Check":       func() error { _, err := m.Check(ctx, clientID, token.Reveal()); return err },
		"Reset":       func() error { _, err := m.Reset(ctx, authz.ResetRequest{ClientID: clientID, Token: token}); return err },
		"Revoke":      func() error { return m.Revoke(ctx, clientID, token.Reveal()) },
		"RevokeGrant": func() error { _, err := m.RevokeGrant(ctx, clientID, token.Reveal()); return err },
		"Scoped": func() error {
			_, err := m.Scoped(ctx, authz.ScopedRequest{ClientID: clientID, Token: token, Scopes: []string{}})
			return err
		},
		"WipeReplays": func() error { _, err := m.WipeReplays(ctx); return err },
	} {
		s.before = func(string, ...any) error { return broken }
		err := call()
		s.before = nil
		if v := new(authz.ValidationError); !errors.Is(err, broken) || errors.Is(err, authz.ErrNotFound) ||
			errors.Is(err, authz.ErrInvalidClient) || errors.Is(err, authz.ErrInvalidToken) || errors.As(err, &v) {
			t.Errorf("%s: err = %v, want the store's error and nothing else", name, err)
		}
		if events := h.take(); events != nil {
			t.Errorf("%s: events of a failure: %+v", name, events)
		}
		if got, err := m.Get(ctx, owner, id); err != nil || !reflect.DeepEqual(got, res.Authorization) {
			t.Fatalf("%s: has changed something: %+v, %v", name, got, err)
		}
	}
}

// What has expired is not there, for DELETE as for GET.
func TestDeleteExpired(t *testing.T) {
	m, clock := newManager(t, memory.New(), authz.Config{Lifetime: time.Hour})
	id := mustGet(t, m, request()).Authorization.ID
	clock.Add(time.Hour)
	if err := m.Delete(t.Context(), owner, id); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("Delete of an expired authorization = %v, want ErrNotFound", err)
	}
}
