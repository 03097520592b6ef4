package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-926035fd/authz/store"
)

// What an app does with the tokens that its users have for it. The caller has
// authenticated the app (see AuthenticateApp): clientID is trusted.

// Check returns the authorization of one of the app's tokens, always from the
// store. Errors: [ErrNotFound], if the token is malformed, unknown, revoked,
// expired, another app's, or its user or the app is suspended; anything else is the
// store's.
func (m *Manager) Check(ctx context.Context, clientID, token string) (Authorization, error) {
	rec, suspended, err := m.ofApp(ctx, clientID, token)
	if err == nil && suspended {
		err = store.ErrNotFound
	}
	if err != nil {
		return Authorization{}, fmt.Errorf("authz: check: %w", err)
	}
	return rec, nil
}

// ofApp returns the authorization of one of the app's tokens, or ErrNotFound.
func (m *Manager) ofApp(ctx context.Context, clientID, token string) (rec Authorization, suspended bool, err error) {
	if !m.wellFormed(token) {
		return Authorization{}, false, store.ErrNotFound
	}
	rec, standing, err := m.store.Lookup(ctx, store.HashOf(token))
	switch {
	case err != nil:
		return Authorization{}, false, err
	case rec.Expired(m.now()):
		return Authorization{}, false, store.ErrNotFound
	}
	if holdsAnswer(rec.Replay.Seal) { // another app has the token, too
		rec = m.wipeSeal(ctx, rec)
	}
	if rec.ClientID != clientID || clientID == "" {
		return Authorization{}, false, store.ErrNotFound
	}
	return rec, standing.Suspended, nil
}

// ResetRequest asks for a new token in the place of one of the app's.
type ResetRequest struct {
	ClientID string
	Token    Secret
	// IdempotencyKey is as in [Request], for the app in place of the owner.
	IdempotencyKey Secret
}

// Reset gives the token's authorization a new token; the old one is dead when
// Reset returns. ID and CreatedAt stay. However many calls race, one of them
// gets the new token. Errors: [*ValidationError]; [ErrNotFound] as in
// [Manager.Check]; any other error is the store's, and leaves open whether the
// token was replaced.
func (m *Manager) Reset(ctx context.Context, req ResetRequest) (Result, error) {
	var p problems
	if p.idempotencyKey(req.IdempotencyKey); len(p) > 0 {
		return Result{}, p.err()
	}
	app, err := m.app(ctx, req.ClientID)
	if err != nil {
		return Result{}, err
	}
	key := newReplayKey(req.IdempotencyKey, "app "+req.ClientID, "reset", store.HashOf(req.Token.Reveal()).Hex())
	result, err := m.once(ctx, key, func(key *replayKey) (Result, error) {
		token := newToken(m.cfg.TokenPrefix)
		for {
			rec, err := m.Check(ctx, req.ClientID, req.Token.Reveal())
			if err != nil {
				return Result{}, err
			}
			rec, err = m.rotate(ctx, rec, token, key)
			switch conflict := new(store.ConflictError); {
			case err == nil:
				return Result{Authorization: rec, Token: token}, nil
			case errors.As(err, &conflict):
				return Result{}, err // once knows what to do
			case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
				continue // changed or deleted meanwhile: look again
			}
			return Result{}, fmt.Errorf("authz: reset: %w", err)
		}
	})
	if err == nil && result.Replayed { // they may have been suspended since
		err = m.stillAwake(ctx, req.ClientID, result.Authorization.Owner)
	}
	if err != nil {
		return Result{}, err
	}
	result.App = app.copy()
	return result, nil
}

// stillAwake returns ErrNotFound if the app or the user is suspended, by the store.
func (m *Manager) stillAwake(ctx context.Context, clientID, owner string) error {
	app, err := m.App(ctx, clientID)
	if err != nil {
		return err
	}
	since, err := m.UserSuspended(ctx, owner)
	if err == nil && !(since.IsZero() && app.SuspendedAt.IsZero()) {
		err = fmt.Errorf("authz: reset: %w", store.ErrNotFound)
	}
	return err
}

// Revoke revokes one of the app's tokens; it is dead when Revoke returns.
// Errors: [ErrNotFound] as in [Manager.Check], so that a second Revoke fails, but
// a suspended user's tokens can be revoked; anything else is the store's.
func (m *Manager) Revoke(ctx context.Context, clientID, token string) error {
	rec, _, err := m.ofApp(ctx, clientID, token) // a suspended user's too: it could come to life again
	if err != nil {
		return fmt.Errorf("authz: revoke: %w", err)
	}
	// By its hash: a Reset that comes between has made another token of it.
	n, err := m.store.DeleteAll(ctx, store.Selection{Owner: &rec.Owner, TokenHash: &rec.TokenHash})
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("authz: revoke: %w", err)
	}
	m.event(ctx, EventRevoked, rec)
	return nil
}

// RevokeGrant revokes all authorizations that the token's user has for the app,
// in one step, and returns how many it was. Errors: [ErrNotFound] as in
// [Manager.Check]; anything else is the store's.
func (m *Manager) RevokeGrant(ctx context.Context, clientID, token string) (authorizations int64, err error) {
	rec, _, err := m.ofApp(ctx, clientID, token)
	if err != nil {
		return 0, fmt.Errorf("authz: revoke grant: %w", err)
	}
	return m.deleteGrant(ctx, rec.Owner, rec.ClientID)
}

// ScopedRequest asks for a token that may do less than another.
type ScopedRequest struct {
	ClientID string
	// Token is one of the app's tokens; it stays.
	Token Secret
	// Scopes are those of the new token: some of the other's, or of what those
	// include (see [Scope]). Required, but may be empty.
	Scopes []string
	// Note, NoteURL and Fingerprint are as in [Request]. Without a fingerprint
	// the new authorization gets a random one, so that get-or-create does not
	// find it in the place of the user's own.
	Note        string
	NoteURL     string
	Fingerprint string
	// IdempotencyKey is as in [Request], for the app in place of the owner.
	IdempotencyKey Secret
}

// Scoped makes a new authorization for the token's user and app with some of
// its scopes. It expires when the other does, if not before, but else is its own:
// revoking one does not revoke the other. Of more than Config.MaxPerScopes the
// oldest go. Errors: [*ValidationError]; [ErrNotFound] as in [Manager.Check]; any
// other error is the store's, and leaves open whether the authorization was made.
func (m *Manager) Scoped(ctx context.Context, req ScopedRequest) (Result, error) {
	var p problems
	if req.Scopes == nil {
		p.add("scopes", CodeMissingField, "")
	}
	asked := Request{
		ClientID: req.ClientID, Scopes: req.Scopes, Note: req.Note, NoteURL: req.NoteURL,
		Fingerprint: req.Fingerprint, IdempotencyKey: req.IdempotencyKey,
	}
	m.validateRest(&p, &asked)
	if err := p.err(); err != nil {
		return Result{}, err
	}
	app, err := m.app(ctx, req.ClientID)
	if err != nil {
		return Result{}, err
	}
	key := newReplayKey(req.IdempotencyKey, "app "+req.ClientID,
		"scoped", store.HashOf(req.Token.Reveal()).Hex(), asked.Scopes, req.Note, req.NoteURL, req.Fingerprint)
	result, err := m.once(ctx, key, func(key *replayKey) (Result, error) {
		wide, err := m.Check(ctx, req.ClientID, req.Token.Reveal())
		if err != nil {
			return Result{}, err
		}
		if beyond := m.scopes.beyond(asked.Scopes, wide.Scopes); len(beyond) > 0 {
			var p problems
			p.add("scopes", CodeCustom, "scopes are invalid: "+strings.Join(beyond, ","))
			return Result{}, p.err()
		}
		asked := asked
		if asked.Owner = wide.Owner; asked.Fingerprint == "" {
			asked.Fingerprint = uuid.NewString()
		}
		token := newToken(m.cfg.TokenPrefix)
		candidate := m.candidate(asked, token)
		candidate.ExpiresAt = earlier(candidate.ExpiresAt, wide.ExpiresAt)
		switch {
		case candidate.IdleTimeout == 0: // ExpiresAt never moves
		case wide.IdleTimeout == 0:
			candidate.EndsAt = earlier(candidate.EndsAt, wide.ExpiresAt)
		default:
			candidate.EndsAt = earlier(candidate.EndsAt, wide.EndsAt)
		}
		result, err := m.create(ctx, candidate, token, key, wide.ID)
		if err != nil {
			return Result{}, err
		}
		// Whoever has revoked the grant meanwhile may not have seen this one.
		if _, err := m.Check(ctx, req.ClientID, req.Token.Reveal()); err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := m.Delete(ctx, asked.Owner, result.Authorization.ID); err != nil && !errors.Is(err, ErrNotFound) {
				return Result{}, err
			}
			return Result{}, err
		}
		return result, nil
	})
	if err == nil && result.Replayed { // who made it may not have come to look again
		_, err = m.Check(ctx, req.ClientID, req.Token.Reveal())
	}
	if err != nil {
		return Result{}, err
	}
	result.App = app.copy()
	return result, nil
}

// without returns what a has and b has not.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// earlier returns the first of two ends; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
