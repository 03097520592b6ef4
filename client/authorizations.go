package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Credentials are what a user types: for the few requests that make and manage
// tokens, not to be kept.
type Credentials struct {
	Login    string
	Password Secret
}

// OnExisting says what [Client.GetOrCreate] does with an authorization that is
// there already.
type OnExisting string

// What to do with an existing authorization.
const (
	OnExistingReturn OnExisting = "return" // leave it alone, and fail with *NoTokenError: the default
	OnExistingRotate OnExisting = "rotate" // give it a new token; the old one is dead at once
	OnExistingError  OnExisting = "error"  // fail with *Error, StatusCode 409
)

// Request says what an authorization should be like. The zero Request is one
// without scopes.
type Request struct {
	// Scopes are what the token is good for. Nil asks for nothing in
	// particular: a new authorization has none.
	Scopes []string
	// Note and NoteURL remind the user what the token is for. NoteURL is "" or
	// an absolute http or https URL.
	Note    string
	NoteURL string
	// Fingerprint distinguishes authorizations of one user for one app, such
	// as one for each machine.
	Fingerprint string
	// OnExisting is OnExistingReturn if empty. For GetOrCreate only.
	OnExisting OnExisting
}

// Authorization is the record of one token.
type Authorization struct {
	ID     int64    `json:"id"`
	URL    string   `json:"url"`
	Scopes []string `json:"scopes"`
	// Token is zero unless the server has just made or checked the token.
	Token          Secret `json:"token"`
	TokenLastEight string `json:"token_last_eight"`
	// HashedToken is the token's SHA-256 in hexadecimal digits.
	HashedToken string    `json:"hashed_token"`
	App         App       `json:"app"`
	Note        string    `json:"note"`
	NoteURL     string    `json:"note_url"`
	UpdatedAt   time.Time `json:"updated_at"`
	CreatedAt   time.Time `json:"created_at"`
	Fingerprint string    `json:"fingerprint"`
	// LastUsedAt is when the token was used last, as far as the server knows; the
	// zero time if it was not, or if the server does not tell.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	// User is whose token it is, in answers to the app; else nil.
	User *User `json:"user,omitempty"`
}

// App is what users are shown of an app.
type App struct {
	URL  string `json:"url"`
	Name string `json:"name"`
	// ClientID is [PersonalClientID] for a personal token; URL and Name are
	// then the token's note_url and note.
	ClientID string `json:"client_id"`
}

// PersonalClientID is the client_id of tokens that belong to no app.
const PersonalClientID = "00000000000000000000"

// User is what an app is told of a token's owner.
type User struct {
	Login  string `json:"login"`
	ID     int64  `json:"id"`
	NodeID string `json:"node_id"` // the server's own ID, which ID is made of
	URL    string `json:"url"`
	Type   string `json:"type"`
}

// Grant is all that a user lets one app do.
type Grant struct {
	ID        int64     `json:"id"`
	URL       string    `json:"url"`
	App       App       `json:"app"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Scopes    []string  `json:"scopes"` // of all its authorizations together
}

// Result is the answer to [Client.GetOrCreate]. Its Token is not zero.
type Result struct {
	Authorization
	// Created says that the authorization is new.
	Created bool
	// NotApplied names what was asked for and an existing authorization has
	// otherwise: "scopes", "note", "note_url". [Client.Update] changes it.
	NotApplied []string
}

// Update says what to change of an authorization; nil leaves a field as it is.
// At most one of the three lists of scopes may be set; an empty one that is not
// nil in Scopes takes all scopes away.
type Update struct {
	Scopes       []string `json:"scopes,omitzero"`
	AddScopes    []string `json:"add_scopes,omitzero"`
	RemoveScopes []string `json:"remove_scopes,omitzero"`
	Note         *string  `json:"note,omitzero"`
	NoteURL      *string  `json:"note_url,omitzero"`
	Fingerprint  *string  `json:"fingerprint,omitzero"`
}

// GetOrCreate returns the user's authorization for the app and the request's
// fingerprint with its token, making it if there is none. An existing one is
// never changed but for its token, and that only with [OnExistingRotate].
//
// Errors, beside those of every method: [*NoTokenError] if the authorization
// exists and the request does not say what to do about it; *Error with
// StatusCode 409 and ExistingURL for [OnExistingError].
func (c *Client) GetOrCreate(ctx context.Context, user Credentials, req Request) (Result, error) {
	const op = "get or create"
	if c.cfg.ClientID == "" {
		return Result{}, fmt.Errorf("client: %s: %w", op, errNoApp)
	}
	if err := req.check(); err != nil {
		return Result{}, fmt.Errorf("client: %s: %w", op, err)
	}
	body := newWireRequest(req)
	body.ClientSecret = c.cfg.ClientSecret.Reveal()
	body.OnExisting = string(req.OnExisting)
	a, err := c.do(ctx, call{
		op: op, user: &user, method: http.MethodPut, path: "/authorizations/clients/" + c.cfg.ClientID, body: body, keyed: true,
	})
	if err != nil {
		return Result{}, err
	}
	result := Result{Created: a.status == http.StatusCreated}
	if result.Authorization, err = a.authorization(op); err != nil {
		return Result{}, err
	}
	for field := range strings.SplitSeq(a.header.Get("Authz-Not-Applied"), ",") {
		if field = strings.TrimSpace(field); field != "" {
			result.NotApplied = append(result.NotApplied, field)
		}
	}
	if result.Token.IsZero() {
		return Result{}, &NoTokenError{result.Authorization, result.NotApplied}
	}
	return result, nil
}

// Create makes a new authorization and returns it with its token: one for the
// app of the Config, or, if that names no app, a personal one, which needs a
// Note that no other personal token of the user has. The request's OnExisting
// must be empty.
//
// If the fingerprint or note is taken, the *Error (422) has ExistingURL.
func (c *Client) Create(ctx context.Context, user Credentials, req Request) (Authorization, error) {
	const op = "create"
	if req.OnExisting != "" {
		return Authorization{}, fmt.Errorf("client: %s: OnExisting is for GetOrCreate", op)
	}
	if err := req.check(); err != nil {
		return Authorization{}, fmt.Errorf("client: %s: %w", op, err)
	}
	body := newWireRequest(req)
	body.ClientID, body.ClientSecret = c.cfg.ClientID, c.cfg.ClientSecret.Reveal()
	a, err := c.do(ctx, call{op: op, user: &user, method: http.MethodPost, path: "/authorizations", body: body, keyed: true})
	if err != nil {
		return Authorization{}, err
	}
	return a.withToken(op)
}

// Get returns the user's authorization with this ID, without its token. One
// that is not there, or belongs to somebody else, is an *Error with StatusCode
// 404.
func (c *Client) Get(ctx context.Context, user Credentials, id int64) (Authorization, error) {
	const op = "get"
	a, err := c.do(ctx, call{op: op, user: &user, method: http.MethodGet, path: authorizationPath(id)})
	if err != nil {
		return Authorization{}, err
	}
	return a.authorization(op)
}

// List returns the user's authorizations, without their tokens: all of them, or
// only those for the app with this client_id if it is not "";
// [PersonalClientID] stands for personal ones. It gets them in pages of 100,
// each when it is needed. An error ends the sequence.
//
// What is made or deleted meanwhile can make others appear twice or not at all.
// A user with one-time passwords is asked for a new one for each page.
func (c *Client) List(ctx context.Context, user Credentials, clientID string) iter.Seq2[Authorization, error] {
	return list(ctx, c, call{
		op: "list", user: &user, method: http.MethodGet, path: "/authorizations", query: firstPage(clientID),
	}, wireAuthorization.authorization)
}

// Update changes the user's authorization and returns it, without its token. If
// its answer is lost it is carried out again, like all updates without regard
// to what others changed in between.
func (c *Client) Update(ctx context.Context, user Credentials, id int64, u Update) (Authorization, error) {
	const op = "update"
	texts := append(append(append([]string(nil), u.Scopes...), u.AddScopes...), u.RemoveScopes...)
	for _, p := range []*string{u.Note, u.NoteURL, u.Fingerprint} {
		if p != nil {
			texts = append(texts, *p)
		}
	}
	if err := checkTexts(texts...); err != nil {
		return Authorization{}, fmt.Errorf("client: %s: %w", op, err)
	}
	a, err := c.do(ctx, call{op: op, user: &user, method: http.MethodPatch, path: authorizationPath(id), body: u})
	if err != nil {
		return Authorization{}, err
	}
	return a.authorization(op)
}

// Delete revokes the user's authorization with this ID: its token is dead when
// Delete returns.
func (c *Client) Delete(ctx context.Context, user Credentials, id int64) error {
	_, err := c.do(ctx, call{op: "delete", user: &user, method: http.MethodDelete, path: authorizationPath(id), gone: true})
	return err
}

// Grants returns what the user lets apps do, one Grant for each app; only that
// for the app with this client_id if it is not "". It works as [Client.List].
func (c *Client) Grants(ctx context.Context, user Credentials, clientID string) iter.Seq2[Grant, error] {
	return list(ctx, c, call{
		op: "list grants", user: &user, method: http.MethodGet, path: "/applications/grants", query: firstPage(clientID),
	}, func(g Grant) Grant { return g })
}

// Grant returns the user's grant with this ID.
func (c *Client) Grant(ctx context.Context, user Credentials, id int64) (Grant, error) {
	const op = "get grant"
	a, err := c.do(ctx, call{op: op, user: &user, method: http.MethodGet, path: grantPath(id)})
	if err != nil {
		return Grant{}, err
	}
	var g Grant
	if err := json.Unmarshal(a.body, &g); err != nil || g.ID == 0 {
		return Grant{}, notOurs(op, a, "no grant")
	}
	return g, nil
}

// DeleteGrant revokes all tokens that the user has for the grant's app.
func (c *Client) DeleteGrant(ctx context.Context, user Credentials, id int64) error {
	_, err := c.do(ctx, call{op: "delete grant", user: &user, method: http.MethodDelete, path: grantPath(id), gone: true})
	return err
}

func authorizationPath(id int64) string { return "/authorizations/" + strconv.FormatInt(id, 10) }
func grantPath(id int64) string         { return "/applications/grants/" + strconv.FormatInt(id, 10) }

var errNoApp = errors.New("needs Config.ClientID and ClientSecret")

// wireRequest is the body of PUT and POST.
type wireRequest struct {
	ClientID     string   `json:"client_id,omitzero"`
	ClientSecret string   `json:"client_secret,omitzero"`
	Scopes       []string `json:"scopes,omitzero"`
	Note         string   `json:"note,omitzero"`
	NoteURL      string   `json:"note_url,omitzero"`
	Fingerprint  string   `json:"fingerprint,omitzero"`
	OnExisting   string   `json:"on_existing,omitzero"`
}

func newWireRequest(r Request) wireRequest {
	return wireRequest{Scopes: r.Scopes, Note: r.Note, NoteURL: r.NoteURL, Fingerprint: r.Fingerprint}
}

func (r Request) check() error {
	return checkTexts(append([]string{r.Note, r.NoteURL, r.Fingerprint}, r.Scopes...)...)
}

// checkTexts refuses what encoding/json would send as something else. All other
// checks are the server's.
func checkTexts(texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q is not valid UTF-8", s)
		}
	}
	return nil
}

// wireAuthorization is an Authorization with a token that can be read.
type wireAuthorization struct {
	Authorization
	Token string `json:"token"`
}

func (w wireAuthorization) authorization() Authorization {
	w.Authorization.Token = NewSecret(w.Token)
	return w.Authorization
}

// authorization reads the authorization in an answer.
func (a answer) authorization(op string) (Authorization, error) {
	var w wireAuthorization
	if err := json.Unmarshal(a.body, &w); err != nil || w.ID == 0 {
		return Authorization{}, notOurs(op, a, "no authorization")
	}
	return w.authorization(), nil
}

func (a answer) withToken(op string) (Authorization, error) {
	auth, err := a.authorization(op)
	if err == nil && auth.Token.IsZero() {
		return Authorization{}, notOurs(op, a, "an authorization without its token")
	}
	return auth, err
}

func firstPage(clientID string) url.Values {
	q := url.Values{"per_page": {"100"}}
	if clientID != "" {
		q.Set("client_id", clientID)
	}
	return q
}

// list makes the calls that q begins, page after page.
func list[W, T any](ctx context.Context, c *Client, q call, convert func(W) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q := q // each use of the sequence begins anew
		for {
			var (
				zero T
				page []W
			)
			a, err := c.do(ctx, q)
			if err == nil && json.Unmarshal(a.body, &page) != nil {
				err = notOurs(q.op, a, "no list")
			}
			if err != nil {
				yield(zero, err)
				return
			}
			for _, w := range page {
				if !yield(convert(w), nil) {
					return
				}
			}
			next := nextPage(a.header)
			if next == nil || len(page) == 0 || next.Encode() == q.query.Encode() {
				return
			}
			q.query = next
		}
	}
}

// nextPage returns the query of the Link with rel="next", or nil. Of its URL
// nothing else is used: it may name another host, which must not get the user's
// password.
func nextPage(h http.Header) url.Values {
	for _, value := range h.Values("Link") {
		for value != "" {
			_, rest, _ := strings.Cut(value, "<")
			target, rest, _ := strings.Cut(rest, ">")
			params, rest, _ := strings.Cut(rest, "<") // no comma that separates links stands inside of <>
			if rest != "" {
				rest = "<" + rest
			}
			value = rest
			for p := range strings.SplitSeq(strings.TrimRight(params, ", "), ";") {
				name, rel, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(name, "rel") && strings.Trim(rel, `"`) == "next" {
					if u, err := url.Parse(target); err == nil {
						return u.Query()
					}
				}
			}
		}
	}
	return nil
}
