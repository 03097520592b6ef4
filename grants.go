package authz

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Grant is what a user has granted to an app: all live authorizations of the
// one for the other. It is there as long as there is one of them. Personal
// authorizations are granted to nobody.
type Grant struct {
	// ID names the grant. It depends on owner and app alone, so it is the same
	// in every process, and again if the grant is given once more; > 0 and
	// small enough for JavaScript's numbers.
	ID    int64
	Owner string
	App   App
	// Scopes are those of all authorizations together, in the order in which
	// they came, without those that others of them include.
	Scopes []string
	// Authorizations is how many there are.
	Authorizations int
	// CreatedAt is the creation of the oldest, UpdatedAt the last change of any.
	CreatedAt time.Time
	UpdatedAt time.Time
}

func grantID(owner, clientID string) int64 { return number("grant", owner, clientID) }

// number derives a number above 0 and below 2^53 from texts. The client_id
// comes last and has no NUL: two different lists make different input.
func number(texts ...string) int64 {
	h := sha256.New()
	for _, text := range texts {
		h.Write([]byte(text))
		h.Write([]byte{0})
	}
	return max(1, int64(binary.BigEndian.Uint64(h.Sum(nil))>>11))
}

// Grants returns the owner's grants, the oldest first. It reads all of the
// owner's authorizations. Errors are the store's.
func (m *Manager) Grants(ctx context.Context, owner string) ([]Grant, error) {
	return m.grants(ctx, owner, nil)
}

// grants returns those of all apps, or of one.
func (m *Manager) grants(ctx context.Context, owner string, clientID *string) ([]Grant, error) {
	if !validOwner(owner) {
		return nil, nil
	}
	type scopeOf struct{ clientID, scope string }
	seen := make(map[scopeOf]bool) // a user may have very many
	byClient := make(map[string]*Grant)
	for rec, err := range m.walk(ctx, owner, clientID) {
		if err != nil {
			return nil, fmt.Errorf("authz: grants: %w", err)
		}
		if rec.ClientID == "" {
			continue
		}
		g := byClient[rec.ClientID]
		if g == nil {
			g = &Grant{ID: grantID(owner, rec.ClientID), Owner: owner, CreatedAt: rec.CreatedAt, Scopes: []string{}}
			byClient[rec.ClientID] = g
		}
		g.Authorizations++
		if rec.CreatedAt.Before(g.CreatedAt) {
			g.CreatedAt = rec.CreatedAt
		}
		if rec.UpdatedAt.After(g.UpdatedAt) {
			g.UpdatedAt = rec.UpdatedAt
		}
		for _, s := range rec.Scopes {
			if of := (scopeOf{rec.ClientID, s}); !seen[of] {
				seen[of] = true
				g.Scopes = append(g.Scopes, s)
			}
		}
	}
	grants := make([]Grant, 0, len(byClient))
	for clientID, g := range byClient {
		e, err := m.app(ctx, clientID)
		if errors.Is(err, ErrNotFound) {
			continue // the app is gone, and what it was granted is dead
		}
		if err != nil {
			return nil, err
		}
		g.App, g.Scopes = e.copy(), m.scopes.reduce(g.Scopes)
		grants = append(grants, *g)
	}
	slices.SortFunc(grants, func(a, b Grant) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return grants, nil
}

// Grant returns the owner's grant with this ID. Errors: [ErrNotFound]; anything
// else is the store's.
func (m *Manager) Grant(ctx context.Context, owner string, id int64) (Grant, error) {
	clientID, err := m.grantedTo(ctx, owner, id)
	if err != nil {
		return Grant{}, err
	}
	grants, err := m.grants(ctx, owner, &clientID)
	if err != nil {
		return Grant{}, err
	}
	if len(grants) == 0 {
		return Grant{}, fmt.Errorf("authz: grant: %w", ErrNotFound)
	}
	return grants[0], nil
}

// grantedTo returns the client_id of the owner's grant with this ID.
func (m *Manager) grantedTo(ctx context.Context, owner string, id int64) (string, error) {
	if validOwner(owner) {
		for rec, err := range m.walk(ctx, owner, nil) {
			if err != nil {
				return "", fmt.Errorf("authz: grant: %w", err)
			}
			if rec.ClientID != "" && grantID(owner, rec.ClientID) == id {
				return rec.ClientID, nil
			}
		}
	}
	return "", fmt.Errorf("authz: grant: %w", ErrNotFound)
}

// DeleteGrant revokes all of the owner's authorizations for the grant's app in
// one step, and returns how many it was. Errors: [ErrNotFound]; anything else is
// the store's.
func (m *Manager) DeleteGrant(ctx context.Context, owner string, id int64) (authorizations int64, err error) {
	clientID, err := m.grantedTo(ctx, owner, id)
	if err != nil {
		return 0, err
	}
	return m.deleteGrant(ctx, owner, clientID)
}

func (m *Manager) deleteGrant(ctx context.Context, owner, clientID string) (int64, error) {
	n, err := m.deleteAll(ctx, store.Selection{Owner: &owner, ClientID: &clientID})
	if err == nil && n == 0 {
		err = store.ErrNotFound // somebody else was faster
	}
	if err != nil {
		return 0, fmt.Errorf("authz: delete grant: %w", err)
	}
	m.cfg.event(ctx, Event{Kind: EventRevoked, Owner: owner, ClientID: clientID, Count: n})
	return n, nil
}
