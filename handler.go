package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// HandlerConfig holds the settings of [NewHandler]. Authenticator is required;
// the other zero values are sound.
type HandlerConfig struct {
	// Authenticator says which user sent a request. Required; see [BasicAuth].
	Authenticator Authenticator

	// Prefix stands before every path, such as "/api/v3", on routers that keep
	// the whole path. Defaults to "": the API is at the root, or the host
	// strips the prefix itself (http.StripPrefix).
	Prefix string

	// BaseURL is what clients put before Prefix, such as
	// "https://api.example.com", with what the host strips from the path before
	// it calls the handler. Defaults to "": taken from each request, its Host
	// header and what was stripped included, which is right for direct clients
	// and for proxies that keep Host; set it if the url of an authorization is
	// to be relied on.
	BaseURL string

	// TrustedProxies are the networks whose X-Forwarded-Proto and
	// X-Forwarded-Host headers count. Defaults to none.
	TrustedProxies []netip.Prefix

	// Users looks up the user that an app's token belongs to, by User.ID, for the
	// answers that show them. [ErrNotFound] says that there is no such user any
	// more, or that they may do nothing: their tokens are not found then. Any
	// other error is answered 503. Defaults to nil: the ID is shown as the login.
	Users func(ctx context.Context, id string) (User, error)

	// ResourceServers are the client_ids of apps that may introspect the tokens
	// of all apps. Defaults to none: an app sees its own alone.
	ResourceServers []string

	// LegacyTokenPaths serves the older forms of the endpoints for apps, which
	// have the token in the path. What is in a path lands in the logs of
	// proxies. Defaults to false.
	LegacyTokenPaths bool

	// HideLastUsed leaves last_used_at out of all answers. Defaults to false: it
	// is shown where it is known, see Config.LastUsedInterval.
	HideLastUsed bool

	// OpenAPI serves the API's description (OpenAPI 3.1) at openapi.yaml.
	// Defaults to false.
	OpenAPI bool

	// Realm is the realm in WWW-Authenticate. Defaults to "authz".
	Realm string

	// DocumentationURL is shown in error bodies. Defaults to none.
	DocumentationURL string

	// MaxPerPage is the most records that one page of a list may hold. Defaults
	// to 100, which is what clients count on.
	MaxPerPage int

	// MaxBody is the largest request body in bytes. Defaults to 64 KiB.
	MaxBody int64

	// BodyTimeout is how long a client may take to send its body. Defaults to
	// 10 s. Slow headers are for the http.Server to end: set its
	// ReadHeaderTimeout.
	BodyTimeout time.Duration

	// Timeout is how long the Authenticator may take, and how long the work
	// that comes after the body may take, waiting for the store included; then
	// the request is answered 503. Defaults to 10 s.
	Timeout time.Duration

	// Logger gets a line for each request, without any secret, and the causes
	// of 5xx answers. Defaults to nil: nothing is logged.
	Logger *slog.Logger
}

// NewHandler returns the HTTP API of m. It keeps no state of its own, starts no
// goroutine, and can be mounted on any router, several times if need be. It
// returns an error if the HandlerConfig makes no sense.
func NewHandler(m *Manager, cfg HandlerConfig) (http.Handler, error) {
	if m == nil {
		return nil, errors.New("authz: NewHandler needs a Manager")
	}
	if cfg.Authenticator == nil {
		return nil, errors.New("authz: HandlerConfig.Authenticator is required: see BasicAuth")
	}
	if cfg.Prefix != "" && (cfg.Prefix[0] != '/' || strings.HasSuffix(cfg.Prefix, "/") || unclean(cfg.Prefix) || strings.ContainsAny(cfg.Prefix, "{}%?# ")) {
		return nil, fmt.Errorf("authz: HandlerConfig.Prefix %q must begin with / and not end with it, such as /api/v3", cfg.Prefix)
	}
	if cfg.BaseURL != "" {
		u, err := url.Parse(cfg.BaseURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, errors.New("authz: HandlerConfig.BaseURL must be an http or https URL without query, such as https://api.example.com")
		}
		cfg.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	}
	if cfg.Realm == "" {
		cfg.Realm = defaultRealm
	}
	if !validRealm(cfg.Realm) {
		return nil, errors.New("authz: HandlerConfig.Realm must be printable ASCII without quotes")
	}
	if cfg.MaxPerPage < 0 || cfg.MaxPerPage > maxListLimit || cfg.MaxBody < 0 || cfg.BodyTimeout < 0 || cfg.Timeout < 0 {
		return nil, fmt.Errorf("authz: HandlerConfig.MaxPerPage, MaxBody, BodyTimeout and Timeout must not be negative, and MaxPerPage at most %d", maxListLimit)
	}
	if cfg.MaxPerPage == 0 {
		cfg.MaxPerPage = 100
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 64 << 10
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 10 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.TrustedProxies = slices.Clone(cfg.TrustedProxies)
	cfg.ResourceServers = slices.Clone(cfg.ResourceServers)
	h := &handler{m: m, cfg: cfg, mux: http.NewServeMux()}
	h.routes()
	return h, nil
}

type handler struct {
	m   *Manager
	cfg HandlerConfig
	mux *http.ServeMux
}

// endpoint answers one method of one path.
type endpoint func(w *response, r *http.Request)

// methods are the endpoints of one path. A nil endpoint is a method that leads
// nowhere, as if there were no such path.
type methods map[string]endpoint

// ofID is m for a path that ends in an ID, and nothing for one that does not.
func (m methods) ofID(r *http.Request) methods {
	if pathID(r) == 0 {
		return nil
	}
	return m
}

// authentication lets a request in, and remembers in w who sent it.
type authentication func(w *response, r *http.Request) error

func (h *handler) routes() {
	// Clients test a one-time password with PATCH on the list: below
	// /authorizations, authentication comes before routing.
	h.route("/authorizations", h.asUser, methods{
		http.MethodGet: h.list, http.MethodPost: h.create, http.MethodPatch: nil, http.MethodPut: nil,
	})
	h.route("/authorizations/", h.asUser, nil)
	one := methods{http.MethodGet: h.get, http.MethodPatch: h.update, http.MethodPost: h.update, http.MethodDelete: h.delete}
	h.mux.HandleFunc(h.cfg.Prefix+"/authorizations/{id}", func(w http.ResponseWriter, r *http.Request) {
		h.serve(w.(*response), r, h.asUser, one.ofID(r))
	})
	getOrCreate := methods{http.MethodPut: h.getOrCreate}
	h.route("/authorizations/clients/{client_id}", h.asUser, getOrCreate)
	h.route("/authorizations/clients/{client_id}/{fingerprint}", h.asUser, getOrCreate)
	// ServeMux takes the fingerprint %2F for a slash at the end of the path.
	h.mux.HandleFunc(h.cfg.Prefix+"/authorizations/clients/{client_id}/{$}", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.EscapedPath(), "/") {
			h.serve(w.(*response), r, h.asUser, nil)
			return
		}
		h.serve(w.(*response), r, h.asUser, getOrCreate)
	})

	h.route("/applications/grants", h.asUser, methods{http.MethodGet: h.listGrants})
	// ServeMux knows no pattern for grants/{id} beside {client_id}/token.
	grant := methods{http.MethodGet: h.getGrant, http.MethodDelete: h.deleteGrant}
	h.mux.HandleFunc(h.cfg.Prefix+"/applications/{grants}/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("grants") != "grants" {
			w.(*response).fail(errNoRoute)
			return
		}
		h.serve(w.(*response), r, h.asUser, grant.ofID(r))
	})

	h.route("/applications/{client_id}/token", h.asApp, methods{
		http.MethodPost: h.checkToken, http.MethodPatch: h.resetToken, http.MethodDelete: h.revokeToken,
	})
	h.route("/applications/{client_id}/token/scoped", h.asApp, methods{http.MethodPost: h.scopeToken})
	h.route("/applications/{client_id}/grant", h.asApp, methods{http.MethodDelete: h.revokeGrant})
	if h.cfg.LegacyTokenPaths {
		h.route("/applications/{client_id}/tokens/{access_token}", h.asApp, methods{
			http.MethodGet: h.checkToken, http.MethodPost: h.resetToken, http.MethodDelete: h.revokeToken,
		})
		h.route("/applications/{client_id}/grants/{access_token}", h.asApp, methods{http.MethodDelete: h.revokeGrant})
	}

	h.route("/oauth/introspect", h.asClient, methods{http.MethodPost: h.introspect})
	h.route("/oauth/revoke", h.asClient, methods{http.MethodPost: h.revoke})
	h.route(wellKnown, anybody, methods{http.MethodGet: h.metadata})
	if h.cfg.Prefix != "" { // where RFC 8414 section 3.1 puts it
		h.mux.HandleFunc(wellKnown+h.cfg.Prefix, func(w http.ResponseWriter, r *http.Request) {
			h.serve(w.(*response), r, anybody, methods{http.MethodGet: h.metadata})
		})
	}
	if h.cfg.OpenAPI {
		h.route("/openapi.yaml", anybody, methods{http.MethodGet: h.openAPI})
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.(*response).fail(errNoRoute) })
}

// route serves a path. It has one pattern for all methods, so that 405 is
// answered here, in JSON; without methods it leads nowhere.
func (h *handler) route(path string, auth authentication, m methods) {
	h.mux.HandleFunc(h.cfg.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		h.serve(w.(*response), r, auth, m)
	})
}

// serve asks who sent the request first, and then which method it has. The body
// is read before both, though its errors come after them: whoever is let in must
// not do it with a body that ends long after they were shut out, and their tokens
// revoked.
func (h *handler) serve(w *response, r *http.Request, auth authentication, m methods) {
	if m[r.Method] != nil && r.Method != http.MethodGet {
		if w.body, w.bodyErr = h.readBody(w, r); w.bodyErr != nil {
			// net/http has ended the context, but who it is still comes first.
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
	}
	if err := auth(w, r); err != nil {
		w.fail(err)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	switch serve, known := m[method]; {
	case serve != nil:
		serve(w, r)
	case known, m == nil:
		w.fail(errNoRoute)
	default:
		w.fail(&methodError{allow: m})
	}
}

func anybody(*response, *http.Request) error { return nil }

// asUser lets users in.
func (h *handler) asUser(w *response, r *http.Request) error {
	ctx, cancel := h.bounded(r)
	defer cancel()
	user, err := h.cfg.Authenticator.Authenticate(r.WithContext(ctx))
	switch {
	case err == nil && !validOwner(user.ID):
		return errors.New("the Authenticator returned a user without a valid ID")
	case err != nil && !refusal(err):
		return &troubleError{err}
	case err != nil:
		return err
	}
	w.user = user
	return nil
}

// refusal reports whether an Authenticator's error is one of those that it may
// answer with.
func refusal(err error) bool {
	var (
		otp    *OTPRequiredError
		locked *LockedError
	)
	return errors.Is(err, ErrNoCredentials) || errors.Is(err, ErrBadCredentials) || errors.Is(err, ErrTokenNotAllowed) ||
		errors.As(err, &otp) || errors.As(err, &locked)
}

// bounded is the context of work that the client waits for.
func (h *handler) bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), h.cfg.Timeout)
}

// ServeHTTP is the one way in: headers that all answers have, bounds, the log.
func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, h: h, r: r, started: time.Now(), id: requestID(r)}
	header := rw.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Request-Id", w.id)

	if straysAfter(r) {
		header.Set("Connection", "close")
	}

	r = r.WithContext(r.Context()) // a copy: ServeMux writes to it
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			w.fail(&unforeseenError{p, debug.Stack()})
		}
		w.log(r)
	}()
	switch {
	case len(r.Header.Values("Authorization")) > 1:
		w.fail(&badRequestError{"Request has more than one Authorization header"})
	case len(r.Header[canonical[otpHeader]]) > 1:
		w.fail(&badRequestError{"Request has more than one " + otpHeader + " header"})
	case len(r.Header.Values(idempotencyKeyField)) > 1:
		w.fail(&badRequestError{"Request has more than one " + idempotencyKeyField + " header"})
	case unclean(r.URL.EscapedPath()):
		// ServeMux would redirect it, and clients would lose their method.
		if below(r.URL.EscapedPath(), h.cfg.Prefix+"/authorizations") {
			h.serve(w, r, h.asUser, nil)
			return
		}
		w.fail(errNoRoute)
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// requestID keeps the client's X-Request-Id if it is a UUID.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); len(id) == 36 && uuid.Validate(id) == nil {
		return id
	}
	return uuid.NewString()
}

// unclean reports whether ServeMux would redirect the path.
func unclean(path string) bool {
	if path == "" || path[0] != '/' || strings.Contains(path, "//") {
		return true
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func below(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}

// Errors that only the HTTP side knows.
var (
	errNoRoute  = errors.New("no such route")
	errTooLarge = errors.New("body is too large")
	errSlow     = errors.New("body came too slowly")
	errEncoded  = errors.New("body has a Content-Encoding")
)

type badRequestError struct{ message string }

func (e *badRequestError) Error() string { return e.message }

type methodError struct{ allow methods }

func (e *methodError) Error() string { return "method not allowed" }

// header is the Allow header.
func (e *methodError) header() string {
	var allow []string
	for name, serve := range e.allow {
		if serve == nil {
			continue
		}
		if allow = append(allow, name); name == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	return strings.Join(allow, ", ")
}

// troubleError hides from errors.Is what an error wraps that only sounds like
// an answer: a host's or a store's own trouble is 503, and not 404.
type troubleError struct{ err error }

func (e *troubleError) Error() string { return e.err.Error() }

// found is for what cannot be missing.
func found(err error) error {
	if errors.Is(err, ErrNotFound) {
		return &troubleError{err}
	}
	return err
}

// oauthError is an error of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

type unforeseenError struct {
	cause any
	stack []byte
}

func (e *unforeseenError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.cause, e.stack) }

// wireError is every error body.
type wireError struct {
	Message          string           `json:"message"`
	Errors           []wireFieldError `json:"errors,omitempty"`
	ExistingURL      string           `json:"existing_url,omitempty"`
	DocumentationURL string           `json:"documentation_url,omitempty"`
	// What RFC 6749 section 5.2 wants at its endpoints.
	Error            string `json:"error,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`
}

type wireFieldError struct {
	Resource string    `json:"resource"`
	Field    string    `json:"field"`
	Code     ErrorCode `json:"code"`
	Message  string    `json:"message,omitempty"`
}

// spelled returns the name of a header as it is to be sent. Scripts look for
// GitHub's own letters, which are not those that net/http makes of them. Who asks
// an httptest.ResponseRecorder by Get finds the header, too: nothing is sent there.
func spelled(name string, r *http.Request) string {
	if r.Context().Value(http.ServerContextKey) == nil {
		return canonical[name]
	}
	return name
}

// canonical are all headers that GitHub spells in letters of its own, as net/http
// spells them; what spelled is asked for stands here.
var canonical = map[string]string{
	otpHeader:      http.CanonicalHeaderKey(otpHeader),
	scopesHeader:   http.CanonicalHeaderKey(scopesHeader),
	acceptedHeader: http.CanonicalHeaderKey(acceptedHeader),
}

// answer is the one table from errors to statuses, words and headers. Clients
// test the words: they are kept to the letter.
func (h *handler) answer(err error, r *http.Request, header http.Header) (status int, body wireError) {
	var (
		validation  *ValidationError
		unpermitted *unpermittedKeyError
		otp         *OTPRequiredError
		locked      *LockedError
		exists      *ExistsError
		method      *methodError
		badRequest  *badRequestError
		oauth       *oauthError
		unforeseen  *unforeseenError
	)
	switch {
	case errors.Is(err, ErrNoCredentials):
		header.Set("WWW-Authenticate", `Basic realm="`+h.cfg.Realm+`"`)
		return http.StatusUnauthorized, wireError{Message: "Requires authentication"}
	case errors.Is(err, ErrBadCredentials):
		return http.StatusUnauthorized, wireError{Message: "Bad credentials"}
	case errors.As(err, &otp):
		delivery := OTPApp
		if otp.Delivery == OTPSMS {
			delivery = OTPSMS
		}
		header[spelled(otpHeader, r)] = []string{"required; " + string(delivery)}
		return http.StatusUnauthorized, wireError{Message: "Must specify two-factor authentication OTP code."}
	case errors.Is(err, ErrTokenNotAllowed):
		return http.StatusForbidden, wireError{Message: "This API can only be accessed with username and password Basic Auth"}
	case errors.As(err, &locked):
		seconds := max(1, int64((locked.RetryAfter+time.Second-1)/time.Second))
		header.Set("Retry-After", strconv.FormatInt(seconds, 10))
		return http.StatusForbidden, wireError{Message: "Maximum number of login attempts exceeded. Please try again later."}
	case errors.Is(err, errNotJSON):
		return http.StatusBadRequest, wireError{Message: "Problems parsing JSON"}
	case errors.Is(err, errNotObject):
		return http.StatusBadRequest, wireError{Message: "Body should be a JSON object"}
	case errors.As(err, &badRequest):
		return http.StatusBadRequest, wireError{Message: badRequest.message}
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, wireError{Message: "Request body is too large"}
	case errors.Is(err, errSlow):
		return http.StatusRequestTimeout, wireError{Message: "Request body came too slowly"}
	case errors.Is(err, errEncoded):
		return http.StatusUnsupportedMediaType, wireError{Message: "Request body must not have a Content-Encoding"}
	case errors.As(err, &unpermitted):
		return http.StatusUnprocessableEntity, wireError{Message: "Invalid request.\n\n" + quoted(unpermitted.key) + " is not a permitted key."}
	case errors.As(err, &validation):
		fields := make([]wireFieldError, len(validation.Fields))
		for i, f := range validation.Fields {
			fields[i] = wireFieldError{Resource: "OauthAccess", Field: f.Field, Code: f.Code, Message: f.Message}
			if f.ExistingID != 0 {
				body.ExistingURL = authorizationURL(h.root(r), f.ExistingID)
			}
		}
		body.Message, body.Errors = "Validation Failed", fields
		return http.StatusUnprocessableEntity, body
	case errors.Is(err, ErrInvalidClient):
		return http.StatusUnprocessableEntity, wireError{Message: "Invalid OAuth application client_id or secret."}
	case errors.As(err, &exists):
		return http.StatusConflict, wireError{Message: "Authorization already exists"}
	case errors.Is(err, errNoRoute), errors.Is(err, ErrNotFound):
		return http.StatusNotFound, wireError{Message: "Not Found"}
	case errors.As(err, &method):
		header.Set("Allow", method.header())
		return http.StatusMethodNotAllowed, wireError{Message: "Method Not Allowed"}
	case errors.As(err, &oauth):
		if oauth.status == http.StatusUnauthorized {
			header.Set("WWW-Authenticate", `Basic realm="`+h.cfg.Realm+`"`)
		}
		return oauth.status, wireError{Message: oauth.description, Error: oauth.code, ErrorDescription: oauth.description}
	case errors.As(err, &unforeseen):
		return http.StatusInternalServerError, wireError{Message: "Internal Server Error"}
	}
	// What is left came from the store or from the host's Authenticator.
	header.Set("Retry-After", "1")
	return http.StatusServiceUnavailable, wireError{Message: "Service unavailable"}
}
