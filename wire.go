package authz

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wireAuthorization is an authorization on the wire. The fields stand in the
// order of the seed document.
type wireAuthorization struct {
	ID             int64    `json:"id"`
	URL            string   `json:"url"`
	Scopes         []string `json:"scopes"`
	Token          string   `json:"token"`
	TokenLastEight string   `json:"token_last_eight"`
	HashedToken    string   `json:"hashed_token"`
	App            wireApp  `json:"app"`
	Note           string   `json:"note"`
	NoteURL        string   `json:"note_url"`
	UpdatedAt      string   `json:"updated_at"`
	CreatedAt      string   `json:"created_at"`
	Fingerprint    string   `json:"fingerprint"`

	LastUsedAt string    `json:"last_used_at,omitempty"`
	User       *wireUser `json:"user,omitempty"`
}

func (a *wireAuthorization) layOut(l *layout) {
	l.open('{')
	l.number("id", a.ID)
	l.text("url", a.URL)
	l.texts("scopes", a.Scopes)
	l.text("token", a.Token)
	l.text("token_last_eight", a.TokenLastEight)
	l.text("hashed_token", a.HashedToken)
	l.key("app")
	l.open('{')
	l.text("url", a.App.URL)
	l.text("name", a.App.Name)
	l.text("client_id", a.App.ClientID)
	l.close('}')
	l.text("note", a.Note)
	l.text("note_url", a.NoteURL)
	l.text("updated_at", a.UpdatedAt)
	l.text("created_at", a.CreatedAt)
	l.text("fingerprint", a.Fingerprint)
	l.textIf("last_used_at", a.LastUsedAt)
	if u := a.User; u != nil {
		l.key("user")
		l.open('{')
		l.text("login", u.Login)
		l.number("id", u.ID)
		l.text("node_id", u.NodeID)
		l.text("url", u.URL)
		l.text("type", u.Type)
		l.close('}')
	}
	l.close('}')
}

// wireAuthorizations is a page of them.
type wireAuthorizations []wireAuthorization

func (page wireAuthorizations) layOut(l *layout) {
	l.open('[')
	for i := range page {
		l.item()
		page[i].layOut(l)
	}
	l.close(']')
}

type wireApp struct {
	URL      string `json:"url"`
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
}

func newWireAuthorization(a Authorization, app App, token Secret, url string) wireAuthorization {
	if a.Scopes == nil {
		a.Scopes = []string{}
	}
	return wireAuthorization{
		ID:             a.ID,
		URL:            url,
		Scopes:         a.Scopes,
		Token:          token.Reveal(),
		TokenLastEight: a.TokenLastEight,
		HashedToken:    a.TokenHash.Hex(),
		App:            newWireApp(app),
		Note:           a.Note,
		NoteURL:        a.NoteURL,
		UpdatedAt:      wireTime(a.UpdatedAt),
		CreatedAt:      wireTime(a.CreatedAt),
		Fingerprint:    a.Fingerprint,
		LastUsedAt:     wireLastUsed(a.LastUsedAt),
	}
}

// wireLastUsed is a time that can be missing.
func wireLastUsed(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return wireTime(t)
}

// shows is an authorization as the handler shows it. root is where the API begins.
func (h *handler) shows(root string, a Authorization, app App, token Secret) wireAuthorization {
	if h.cfg.HideLastUsed {
		a.LastUsedAt = time.Time{}
	}
	return newWireAuthorization(a, app, token, authorizationURL(root, a.ID))
}

func newWireApp(app App) wireApp {
	return wireApp{URL: app.URL, Name: app.Name, ClientID: app.ClientID}
}

func wireTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// wireGrant is a grant on the wire.
type wireGrant struct {
	ID        int64    `json:"id"`
	URL       string   `json:"url"`
	App       wireApp  `json:"app"`
	CreatedAt string   `json:"created_at"`
	UpdatedAt string   `json:"updated_at"`
	Scopes    []string `json:"scopes"`
}

// wireUser is a user on the wire. Its id is a number always, since that is what
// typed clients decode; node_id is User.ID itself.
type wireUser struct {
	Login  string `json:"login"`
	ID     int64  `json:"id"`
	NodeID string `json:"node_id"`
	URL    string `json:"url"`
	Type   string `json:"type"`
}

func newWireUser(root string, u User) *wireUser {
	id, err := strconv.ParseInt(u.ID, 10, 64)
	if err != nil || id < 1 || id >= 1<<53 || strconv.FormatInt(id, 10) != u.ID {
		id = number("user", u.ID)
	}
	return &wireUser{Login: u.Login, ID: id, NodeID: u.ID, URL: root + "/users/" + url.PathEscape(u.Login), Type: "User"}
}

// userOf looks up whose authorization it is.
func (h *handler) userOf(ctx context.Context, a Authorization) (User, error) {
	if h.cfg.Users == nil {
		return User{ID: a.Owner, Login: a.Owner}, nil
	}
	user, err := h.cfg.Users(ctx, a.Owner)
	switch {
	case errors.Is(err, ErrNotFound):
		return User{}, ErrNotFound
	case err != nil:
		return User{}, &troubleError{err}
	}
	user.ID = a.Owner
	return user, nil
}

// pathID reads the ID in a path; 0 is none.
func pathID(r *http.Request) int64 {
	text := r.PathValue("id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 || strconv.FormatInt(id, 10) != text {
		return 0
	}
	return id
}

// authorizationURL is an authorization's url. root is where the API begins, as the
// client sees the server.
func authorizationURL(root string, id int64) string {
	return root + "/authorizations/" + strconv.FormatInt(id, 10)
}

func (h *handler) grantURL(r *http.Request, id int64) string {
	return h.root(r) + "/applications/grants/" + strconv.FormatInt(id, 10)
}

// root is where the API begins, as the client sees the server.
func (h *handler) root(r *http.Request) string { return h.baseURL(r) + h.cfg.Prefix }

func (h *handler) baseURL(r *http.Request) string {
	if h.cfg.BaseURL != "" {
		return h.cfg.BaseURL
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && host == "" {
		host = local.String() // HTTP/1.0
	}
	if h.trusts(r.RemoteAddr) {
		if proto := strings.ToLower(lastForwarded(r, "X-Forwarded-Proto")); proto == "http" || proto == "https" {
			scheme = proto
		}
		if u, err := url.Parse("//" + lastForwarded(r, "X-Forwarded-Host")); err == nil && u.Host != "" && u.String() == "//"+u.Host {
			host = u.Host
		}
	}
	// What a router has stripped from the path still stands in RequestURI.
	var stripped string
	path := r.URL.EscapedPath()
	if uri, _, _ := strings.Cut(r.RequestURI, "?"); uri == path {
		// Nothing: it need not be taken apart.
	} else if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		if prefix, ok := strings.CutSuffix(u.EscapedPath(), path); ok {
			stripped = prefix
		}
	}
	return scheme + "://" + host + stripped
}

// lastForwarded is the value that the nearest proxy has set.
func lastForwarded(r *http.Request, name string) string {
	values := r.Header.Values(name)
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

func (h *handler) trusts(remote string) bool {
	if len(h.cfg.TrustedProxies) == 0 {
		return false
	}
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && slices.ContainsFunc(h.cfg.TrustedProxies, func(p netip.Prefix) bool {
		return p.Contains(addr.Addr().Unmap().WithZone(""))
	})
}
