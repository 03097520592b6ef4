package authz_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func mustGrants(t testing.TB, m *authz.Manager, owner string) []authz.Grant {
	t.Helper()
	grants, err := m.Grants(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return grants
}

func TestGrants(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{})
		register(t, m, otherClient)
		ctx := context.Background()
		mustCreate(t, m, personal("granted to nobody"))
		if grants := mustGrants(t, m, owner); len(grants) != 0 {
			t.Errorf("Grants = %+v, want none", grants)
		}
		begin := c.Now().UTC().Truncate(time.Microsecond)
		other := mustGet(t, m, request(forApp(otherClient), scopes()))
		c.Add(time.Minute)
		first := mustCreate(t, m, request(scopes("b", "a")))
		mustCreate(t, m, request(by("user-2"), scopes("z")))
		c.Add(time.Minute)
		mustGet(t, m, request(fingerprint("f"), scopes("c", "a")))
		c.Add(time.Minute)
		if _, err := m.Update(ctx, owner, first.Authorization.ID, authz.Update{AddScopes: []string{"d"}}); err != nil {
			t.Fatal(err)
		}
		got := mustGrants(t, m, owner)
		if len(got) != 2 {
			t.Fatalf("Grants = %+v, want two", got)
		}
		want := []authz.Grant{
			{ID: got[0].ID, Owner: owner, App: other.App, Scopes: []string{}, Authorizations: 1, CreatedAt: begin, UpdatedAt: begin},
			{
				ID: got[1].ID, Owner: owner, App: first.App, Scopes: []string{"b", "a", "d", "c"}, Authorizations: 2,
				CreatedAt: begin.Add(time.Minute), UpdatedAt: begin.Add(3 * time.Minute),
			},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Grants:\ngot  %+v\nwant %+v", got, want)
		}
		for _, want := range want {
			if got, err := m.Grant(ctx, owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Grant:\ngot  %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
}

// A grant's number depends on user and app alone.
func TestGrantID(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{})
		ctx := context.Background()
		oldest := mustCreate(t, m, request(scopes("old")))
		c.Add(time.Minute)
		newer := mustCreate(t, m, request(scopes("new")))
		id := mustGrants(t, m, owner)[0].ID
		if err := m.Delete(ctx, owner, oldest.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		got := mustGrants(t, m, owner)
		if len(got) != 1 || got[0].ID != id || len(got[0].Scopes) != 1 || got[0].Scopes[0] != "new" || !got[0].CreatedAt.Equal(newer.Authorization.CreatedAt) {
			t.Errorf("without the oldest: %+v, want ID %d and what is left", got, id)
		}
		if err := m.Delete(ctx, owner, newer.Authorization.ID); err != nil {
			t.Fatal(err)
		}
		if got := mustGrants(t, m, owner); len(got) != 0 {
			t.Errorf("without any: %+v", got)
		}
		if _, err := m.Grant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("without any: err = %v, want ErrNotFound", err)
		}
		mustCreate(t, m, request())
		if got := mustGrants(t, m, owner); len(got) != 1 || got[0].ID != id {
			t.Errorf("granted once more: %+v, want ID %d", got, id)
		}
		elsewhere, _ := newManager(t, memory.New(), authz.Config{Lifetime: time.Hour})
		mustCreate(t, elsewhere, request())
		if got := mustGrants(t, elsewhere, owner); got[0].ID != id {
			t.Errorf("in another store: ID %d, want %d", got[0].ID, id)
		}
	})
}

func TestGrantIDsAreNumbersForAll(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	register(t, m, otherClient)
	seen := map[int64]string{}
	var above32 bool
	for i := range 500 {
		who := fmt.Sprint("user-", i)
		mustCreate(t, m, request(by(who)))
		mustCreate(t, m, request(by(who), forApp(otherClient)))
		for _, g := range mustGrants(t, m, who) {
			if g.ID <= 0 || g.ID >= 1<<53 {
				t.Errorf("ID %d of %s is not above 0 and below 2^53", g.ID, who)
			}
			if seen[g.ID] != "" {
				t.Errorf("%s and %s have the same grant", who, seen[g.ID])
			}
			seen[g.ID] = who
			above32 = above32 || g.ID > 1<<32
		}
	}
	if len(seen) != 1000 || !above32 {
		t.Errorf("%d numbers, some above 2^32: %v; want 1000 drawn from 53 bits", len(seen), above32)
	}
}

func TestGrantOfAnother(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{})
	ctx := context.Background()
	res := mustCreate(t, m, request())
	mustCreate(t, m, request(by("user-2"))) // has granted it to the same app
	id := mustGrants(t, m, owner)[0].ID
	for _, who := range append([]string{"user-2", "nobody"}, hostileOwners...) {
		if _, err := m.Grant(ctx, who, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("Grant by %q: err = %v, want ErrNotFound", who, err)
		}
		if n, err := m.DeleteGrant(ctx, who, id); !errors.Is(err, authz.ErrNotFound) || n != 0 {
			t.Errorf("DeleteGrant by %q: %d, %v; want ErrNotFound", who, n, err)
		}
	}
	for _, who := range hostileOwners {
		if grants := mustGrants(t, m, who); len(grants) != 0 {
			t.Errorf("Grants of %q = %+v", who, grants)
		}
	}
	for _, id := range []int64{0, -1, id + 1, res.Authorization.ID, -id} {
		if _, err := m.Grant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("Grant(%d): err = %v, want ErrNotFound", id, err)
		}
		if _, err := m.DeleteGrant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("DeleteGrant(%d): err = %v, want ErrNotFound", id, err)
		}
	}
	if !alive(t, m, res.Token) {
		t.Error("somebody else has revoked it")
	}
}

func TestGrantsCountTheLiving(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, c := newManager(t, s, authz.Config{Lifetime: time.Hour})
		ctx := context.Background()
		mustCreate(t, m, request(scopes("expired")))
		c.Add(30 * time.Minute)
		fresh := mustCreate(t, m, request(scopes("living")))
		id := mustGrants(t, m, owner)[0].ID
		c.Add(30 * time.Minute)
		got := mustGrants(t, m, owner)
		if len(got) != 1 || got[0].Authorizations != 1 || len(got[0].Scopes) != 1 || got[0].Scopes[0] != "living" ||
			!got[0].CreatedAt.Equal(fresh.Authorization.CreatedAt) {
			t.Errorf("Grants = %+v, want the living one's", got)
		}
		c.Add(time.Hour)
		if got := mustGrants(t, m, owner); len(got) != 0 {
			t.Errorf("all expired: %+v", got)
		}
		if _, err := m.Grant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("Grant, all expired: err = %v, want ErrNotFound", err)
		}
		if _, err := m.DeleteGrant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("DeleteGrant, all expired: err = %v, want ErrNotFound", err)
		}
	})
}

func TestDeleteGrant(t *testing.T) {
	onStores(t, func(t *testing.T, s store.Store) {
		m, _ := newManager(t, s, authz.Config{})
		register(t, m, otherClient)
		ctx := context.Background()
		dead := []authz.Result{mustCreate(t, m, request()), mustCreate(t, m, request()), mustGet(t, m, request(fingerprint("f")))}
		kept := []authz.Result{mustCreate(t, m, request(by("user-2"))), mustCreate(t, m, personal("mine"))}
		id := mustGrants(t, m, owner)[0].ID
		kept = append(kept, mustCreate(t, m, request(forApp(otherClient))))
		if n, err := m.DeleteGrant(ctx, owner, id); err != nil || n != 3 {
			t.Errorf("DeleteGrant = %d, %v; want 3", n, err)
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
		if n, err := m.DeleteGrant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) || n != 0 {
			t.Errorf("again: %d, %v; want ErrNotFound", n, err)
		}
	})
}

func TestGrantsWithoutTheirApp(t *testing.T) {
	apps := memory.New() // the host's table of apps
	m, _ := newManager(t, memory.New(), authz.Config{Apps: apps})
	register(t, m, otherClient)
	ctx := context.Background()
	mustCreate(t, m, request())
	id := mustGrants(t, m, owner)[0].ID
	mustCreate(t, m, request(forApp(otherClient)))
	if _, err := apps.DeleteApp(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	if got := mustGrants(t, m, owner); len(got) != 1 || got[0].App.ClientID != otherClient {
		t.Errorf("Grants = %+v, want the other app's alone", got)
	}
	if _, err := m.Grant(ctx, owner, id); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("Grant: err = %v, want ErrNotFound", err)
	}
}

// Grants reads more than one page of the store.
func TestGrantsManyRows(t *testing.T) {
	m, _ := newManager(t, memory.New(), authz.Config{MaxPerScopes: -1})
	register(t, m, otherClient)
	for range 2300 {
		mustCreate(t, m, request())
	}
	mustCreate(t, m, request(forApp(otherClient)))
	got := mustGrants(t, m, owner)
	if len(got) != 2 || got[0].Authorizations+got[1].Authorizations != 2301 {
		t.Errorf("Grants = %+v, want 2300 and one authorizations", got)
	}
	for _, g := range got {
		if again, err := m.Grant(context.Background(), owner, g.ID); err != nil || !reflect.DeepEqual(again, g) {
			t.Errorf("Grant = %+v, %v; want %+v", again, err, g)
		}
	}
}

// A user can have very many scopes: asking for the grants must not cost the
// square of them.
func TestGrantsOfManyScopes(t *testing.T) {
	const records = 300
	m, _ := newManager(t, memory.New(), authz.Config{})
	for i := range records {
		req := authz.Request{Owner: owner, ClientID: clientID, ClientSecret: authz.NewSecret(clientSecret), Fingerprint: strconv.Itoa(i)}
		for j := range authz.MaxScopes {
			req.Scopes = append(req.Scopes, fmt.Sprintf("%0100d", i*authz.MaxScopes+j))
		}
		if _, err := m.GetOrCreate(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	started := time.Now()
	grants, err := m.Grants(t.Context(), owner)
	if err != nil || len(grants) != 1 || len(grants[0].Scopes) != records*authz.MaxScopes {
		t.Fatalf("Grants = %d grants, %v", len(grants), err)
	}
	if took := time.Since(started); took > 2*time.Second { // 20 ms; as the square, some 3 s and more
		t.Errorf("Grants of %d scopes took %v", len(grants[0].Scopes), took)
	}
}
