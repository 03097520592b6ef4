package authz

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
)

// What apps do with their users' tokens.

// asApp lets the app in whose path it is.
func (h *handler) asApp(w *response, r *http.Request) error {
	if r.PathValue("client_id") == "grants" { // no app's: a user asks for a grant that cannot be
		return cmp.Or(h.asUser(w, r), errNoRoute)
	}
	id, secret, ok := basicCredentials(r)
	if !ok {
		return ErrBadCredentials
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	app, err := h.m.AuthenticateApp(ctx, id, NewSecret(secret))
	switch {
	case errors.Is(err, ErrInvalidClient):
		return ErrBadCredentials
	case err != nil:
		return err
	case app.ClientID != r.PathValue("client_id"):
		return errNoRoute
	}
	w.app = app
	return nil
}

// basicCredentials reads Basic authentication as [BasicAuth] does.
func basicCredentials(r *http.Request) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	return decodeBasic(strings.Join(strings.Fields(encoded), ""))
}

// tokenOf reads the token that a request is about, from the path or the body.
func (h *handler) tokenOf(w *response, r *http.Request, others fields) (string, error) {
	if err := w.bodyErr; err != nil {
		return "", err
	}
	if strings.HasSuffix(r.Pattern, "/{access_token}") {
		return r.PathValue("access_token"), nil
	}
	return decodeToken(w.body, others)
}

// shown answers with an authorization, its token and its user.
func (h *handler) shown(w *response, r *http.Request, a Authorization, token string, user User) {
	root := h.root(r)
	out := h.shows(root, a, w.app, NewSecret(token))
	out.User = newWireUser(root, user)
	w.json(http.StatusOK, &out)
}

// ownerOf looks up the user of a token before something is made of it: what
// comes after that may not fail, or the new token would be lost. A dead token has
// no user here; its answer may still be replayed.
func (h *handler) ownerOf(ctx context.Context, w *response, token string) (User, error) {
	rec, err := h.m.Check(ctx, w.app.ClientID, token)
	if errors.Is(err, ErrNotFound) {
		return User{}, nil
	}
	if err != nil {
		return User{}, err
	}
	return h.userOf(ctx, rec)
}

// remake answers a request that makes a token of another.
func (h *handler) remake(w *response, r *http.Request, token string, run func(context.Context) (Result, error)) {
	ctx, cancel := h.bounded(r)
	defer cancel()
	user, err := h.ownerOf(ctx, w, token)
	if err != nil {
		w.fail(err)
		return
	}
	result, err := run(ctx)
	if err != nil {
		w.fail(err)
		return
	}
	if user.ID == "" { // the token was dead: this is a replay, or the work of a request beside it
		if user, err = h.userOf(ctx, result.Authorization); err != nil {
			w.fail(err) // nothing is lost: the replay can be had again
			return
		}
	}
	w.replayed(result)
	h.shown(w, r, result.Authorization, result.Token.Reveal(), user)
}

// checkToken answers POST /applications/{client_id}/token.
func (h *handler) checkToken(w *response, r *http.Request) {
	token, err := h.tokenOf(w, r, nil)
	if err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	rec, err := h.m.Check(ctx, w.app.ClientID, token)
	if err != nil {
		w.fail(err)
		return
	}
	user, err := h.userOf(ctx, rec)
	if err != nil {
		w.fail(err)
		return
	}
	h.shown(w, r, rec, token, user)
}

// resetToken answers PATCH /applications/{client_id}/token.
func (h *handler) resetToken(w *response, r *http.Request) {
	token, err := h.tokenOf(w, r, nil)
	var p problems
	key := p.idempotencyHeader(r)
	if err == nil {
		err = p.err()
	}
	if err != nil {
		w.fail(err)
		return
	}
	h.remake(w, r, token, func(ctx context.Context) (Result, error) {
		return h.m.Reset(ctx, ResetRequest{ClientID: w.app.ClientID, Token: NewSecret(token), IdempotencyKey: key})
	})
}

// revokeToken answers DELETE /applications/{client_id}/token.
func (h *handler) revokeToken(w *response, r *http.Request) {
	token, err := h.tokenOf(w, r, nil)
	if err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	if err := h.m.Revoke(ctx, w.app.ClientID, token); err != nil {
		w.fail(err)
		return
	}
	w.empty(http.StatusNoContent)
}

// revokeGrant answers DELETE /applications/{client_id}/grant.
func (h *handler) revokeGrant(w *response, r *http.Request) {
	token, err := h.tokenOf(w, r, nil)
	if err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	if _, err := h.m.RevokeGrant(ctx, w.app.ClientID, token); err != nil {
		w.fail(err)
		return
	}
	w.empty(http.StatusNoContent)
}

// scopeToken answers POST /applications/{client_id}/token/scoped.
func (h *handler) scopeToken(w *response, r *http.Request) {
	req := ScopedRequest{ClientID: w.app.ClientID}
	token, err := h.tokenOf(w, r, func(p *problems, m member) bool {
		return p.decodeCommon(m, &req.Scopes, &req.Note, &req.NoteURL, &req.Fingerprint)
	})
	var p problems
	req.Token, req.IdempotencyKey = NewSecret(token), p.idempotencyHeader(r)
	if err == nil {
		err = p.err()
	}
	if err != nil {
		w.fail(err)
		return
	}
	h.remake(w, r, token, func(ctx context.Context) (Result, error) { return h.m.Scoped(ctx, req) })
}
