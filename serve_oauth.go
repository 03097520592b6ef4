package authz

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The endpoints of OAuth's standards: introspection (RFC 7662), revocation (RFC
// 7009) and metadata (RFC 8414).

// wellKnown is where clients look for the metadata (RFC 8414 section 3).
const wellKnown = "/.well-known/oauth-authorization-server"

func invalidRequest(description string) error {
	return &oauthError{http.StatusBadRequest, "invalid_request", description}
}

// asClient lets apps in by Basic authentication or by client_id and
// client_secret in the form (RFC 6749 section 2.3.1), and leaves the form in w.
func (h *handler) asClient(w *response, r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil // 405: there is no form to look at
	}
	var err error
	if w.form, err = h.readForm(w, r); err != nil {
		return err
	}
	inForm := w.form.Has("client_id") || w.form.Has("client_secret")
	id, secret := w.form.Get("client_id"), w.form.Get("client_secret")
	inHeader := r.Header.Get("Authorization") != ""
	if inHeader {
		if w.form.Has("client_secret") {
			return invalidRequest("Use one way of client authentication: Basic, or client_id and client_secret in the body")
		}
		basicID, basicSecret, ok := basicCredentials(r)
		if escaped, err := url.QueryUnescape(basicID); !ok || inForm && basicID != id && (err != nil || escaped != id) {
			return errInvalidClient
		}
		id, secret = basicID, basicSecret
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	app, err := h.m.AuthenticateApp(ctx, id, NewSecret(secret))
	// Clients that follow the RFC have escaped both for the header; most do not.
	if inHeader && errors.Is(err, ErrInvalidClient) {
		plainID, badID := url.QueryUnescape(id)
		plain, bad := url.QueryUnescape(secret)
		if badID == nil && bad == nil && (plainID != id || plain != secret) {
			app, err = h.m.AuthenticateApp(ctx, plainID, NewSecret(plain))
		}
	}
	if errors.Is(err, ErrInvalidClient) {
		return errInvalidClient
	}
	w.app = app
	return err
}

var errInvalidClient = &oauthError{http.StatusUnauthorized, "invalid_client", "Client authentication failed"}

// readForm reads a body of application/x-www-form-urlencoded. A parameter
// twice is refused (RFC 6749 section 3.2).
func (h *handler) readForm(w *response, r *http.Request) (url.Values, error) {
	if contentType := strings.Join(r.Header.Values("Content-Type"), ", "); contentType != "" {
		if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/x-www-form-urlencoded" {
			return nil, invalidRequest("The body must be application/x-www-form-urlencoded")
		}
	}
	switch {
	case errors.Is(w.bodyErr, errNotJSON):
		return nil, invalidRequest("The body did not arrive whole")
	case w.bodyErr != nil:
		return nil, w.bodyErr
	}
	form, err := url.ParseQuery(strings.TrimRight(string(w.body), "\r\n"))
	if err != nil {
		return nil, invalidRequest("The body is no valid form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, invalidRequest("The body has a parameter more than once")
		}
		if values[0] == "" { // as if it were not there (section 3.2)
			delete(form, name)
		}
	}
	return form, nil
}

// wireIntrospection is an answer of RFC 7662 section 2.2.
type wireIntrospection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope"`
	ClientID  string `json:"client_id,omitempty"`
	Username  string `json:"username,omitempty"`
	TokenType string `json:"token_type"`
	ExpiresAt int64  `json:"exp,omitempty"`
	IssuedAt  int64  `json:"iat"`
	Subject   string `json:"sub"`
}

func (a *wireIntrospection) layOut(l *layout) {
	l.open('{')
	l.key("active")
	l.b = strconv.AppendBool(l.b, a.Active)
	l.text("scope", a.Scope)
	l.textIf("client_id", a.ClientID)
	l.textIf("username", a.Username)
	l.text("token_type", a.TokenType)
	if a.ExpiresAt != 0 {
		l.number("exp", a.ExpiresAt)
	}
	l.number("iat", a.IssuedAt)
	l.text("sub", a.Subject)
	l.close('}')
}

// inactive is all that is told of a token that is dead, or none of the app's
// business.
type inactive struct {
	Active bool `json:"active"`
}

// introspect answers POST /oauth/introspect.
func (h *handler) introspect(w *response, r *http.Request) {
	token := w.form.Get("token")
	if token == "" {
		w.fail(invalidRequest("token is required"))
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	a, user, err := h.introspected(ctx, w.app, token)
	switch {
	case errors.Is(err, ErrInvalidToken), errors.Is(err, ErrNotFound):
		w.json(http.StatusOK, inactive{})
		return
	case err != nil:
		w.fail(err)
		return
	}
	out := &wireIntrospection{
		Active: true, Scope: strings.Join(a.Scopes, " "), ClientID: a.ClientID, Username: user.Login,
		TokenType: "Bearer", IssuedAt: a.IssuedAt.Unix(), Subject: a.Owner,
	}
	if !a.ExpiresAt.IsZero() {
		out.ExpiresAt = a.ExpiresAt.Unix()
	}
	w.json(http.StatusOK, out)
}

// introspected returns what an app may know of a token.
func (h *handler) introspected(ctx context.Context, app App, token string) (Authorization, User, error) {
	a, err := h.m.Verify(ctx, token)
	if err != nil {
		return Authorization{}, User{}, err
	}
	if a.ClientID != app.ClientID && !slices.Contains(h.cfg.ResourceServers, app.ClientID) {
		return Authorization{}, User{}, ErrInvalidToken
	}
	user, err := h.userOf(ctx, *a)
	return *a, user, err
}

// revoke answers POST /oauth/revoke. A token that is not there is revoked
// (RFC 7009 section 2.2); one of another app is refused (section 2.1).
func (h *handler) revoke(w *response, r *http.Request) {
	token := w.form.Get("token")
	if token == "" {
		w.fail(invalidRequest("token is required"))
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	err := h.m.Revoke(ctx, w.app.ClientID, token)
	if errors.Is(err, ErrNotFound) {
		if _, err = h.m.Verify(ctx, token); err == nil {
			err = &oauthError{http.StatusBadRequest, "invalid_grant", "The token was issued to another client"}
		}
	}
	if err != nil && !errors.Is(err, ErrInvalidToken) {
		w.fail(err)
		return
	}
	w.json(http.StatusOK, struct{}{}) // the RFC lets clients ignore it; some refuse an answer that is not JSON
}

// wireMetadata is the metadata of RFC 8414 section 2. There is no authorization
// and no token endpoint: the two lists are required, or mean more when absent,
// and are empty.
type wireMetadata struct {
	Issuer                   string   `json:"issuer"`
	Introspection            string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	Revocation               string   `json:"revocation_endpoint"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	Scopes                   []string `json:"scopes_supported,omitempty"`
	ResponseTypes            []string `json:"response_types_supported"`
	GrantTypes               []string `json:"grant_types_supported"`
	Documentation            string   `json:"service_documentation,omitempty"`
}

// metadata answers GET /.well-known/oauth-authorization-server.
func (h *handler) metadata(w *response, r *http.Request) {
	root, methods := h.root(r), []string{"client_secret_basic", "client_secret_post"}
	w.fresh(wireMetadata{
		Issuer:                   root,
		Introspection:            root + "/oauth/introspect",
		IntrospectionAuthMethods: methods,
		Revocation:               root + "/oauth/revoke",
		RevocationAuthMethods:    methods,
		Scopes:                   scopeNames(h.m.cfg.Scopes),
		ResponseTypes:            []string{},
		GrantTypes:               []string{},
		Documentation:            h.cfg.DocumentationURL,
	})
}
