package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

	// Realm is the realm in WWW-Authenticate. Defaults to "authz".
	Realm string

	// DocumentationURL is shown in error bodies. Defaults to none.
	DocumentationURL string

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
		cfg.Realm = "authz"
	}
	if strings.ContainsFunc(cfg.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return nil, errors.New("authz: HandlerConfig.Realm must be printable ASCII without quotes")
	}
	if cfg.MaxBody < 0 || cfg.BodyTimeout < 0 || cfg.Timeout < 0 {
		return nil, errors.New("authz: HandlerConfig.MaxBody, BodyTimeout and Timeout must not be negative")
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
	h := &handler{m: m, cfg: cfg, mux: http.NewServeMux()}
	h.routes()
	return h, nil
}

type handler struct {
	m   *Manager
	cfg HandlerConfig
	mux *http.ServeMux
}

// endpoint answers one method of one path for a user.
type endpoint func(w *response, r *http.Request, user User)

func (h *handler) routes() {
	getOrCreate := map[string]endpoint{http.MethodPut: h.getOrCreate}
	h.asUser("/authorizations/clients/{client_id}", getOrCreate)
	h.asUser("/authorizations/clients/{client_id}/{fingerprint}", getOrCreate)
	// ServeMux takes the fingerprint %2F for a slash at the end of the path.
	h.mux.HandleFunc(h.cfg.Prefix+"/authorizations/clients/{client_id}/{$}", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.EscapedPath(), "/") {
			h.serveUser(w.(*response), r, nil)
			return
		}
		h.serveUser(w.(*response), r, getOrCreate)
	})

	// Clients test a one-time password with a request that leads nowhere:
	// below /authorizations, authentication comes before routing.
	h.asUser("/authorizations", nil)
	h.asUser("/authorizations/", nil)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.(*response).fail(errNoRoute) })
}

// asUser serves a path for authenticated users. The path has one pattern for
// all methods, so that 405 is answered here, in JSON; without methods it leads
// nowhere.
func (h *handler) asUser(path string, methods map[string]endpoint) {
	h.mux.HandleFunc(h.cfg.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		h.serveUser(w.(*response), r, methods)
	})
}

func (h *handler) serveUser(w *response, r *http.Request, methods map[string]endpoint) {
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Timeout)
	user, err := h.cfg.Authenticator.Authenticate(r.WithContext(ctx))
	cancel()
	if err == nil && !validOwner(user.ID) {
		err = errors.New("the Authenticator returned a user without a valid ID")
	}
	if err != nil {
		w.fail(err)
		return
	}
	w.user = user
	switch serve, ok := methods[r.Method]; {
	case ok:
		serve(w, r, user)
	case methods == nil:
		w.fail(errNoRoute)
	default:
		w.fail(&methodError{allow: methods})
	}
}

// ServeHTTP is the one way in: headers that all answers have, bounds, the log.
func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, h: h, started: time.Now(), id: requestID(r)}
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
	case len(r.Header.Values(otpHeader)) > 1:
		w.fail(&badRequestError{"Request has more than one " + otpHeader + " header"})
	case unclean(r.URL.EscapedPath()):
		// ServeMux would redirect it, and clients would lose their method.
		if below(r.URL.EscapedPath(), h.cfg.Prefix+"/authorizations") {
			h.serveUser(w, r, nil)
			return
		}
		w.fail(errNoRoute)
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// getOrCreate answers PUT /authorizations/clients/{client_id}[/{fingerprint}].
func (h *handler) getOrCreate(w *response, r *http.Request, user User) {
	body, err := h.readBody(w, r)
	if err != nil {
		w.fail(err)
		return
	}
	req, bodyClientID, err := decodeRequest(body)
	if err != nil {
		w.fail(err)
		return
	}
	req.Owner, req.ClientID = user.ID, r.PathValue("client_id")
	var p problems
	if bodyClientID != nil && *bodyClientID != req.ClientID {
		p.invalid("client_id", "must be the one in the path")
	}
	if fingerprint := pathFingerprint(r); fingerprint != "" {
		if req.Fingerprint != "" && req.Fingerprint != fingerprint {
			p.invalid("fingerprint", "must be the one in the path")
		}
		req.Fingerprint = fingerprint
	}
	if err := p.err(); err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Timeout)
	defer cancel()
	result, err := h.m.GetOrCreate(ctx, req)
	if exists := new(ExistsError); errors.As(err, &exists) {
		w.Header().Set("Location", h.authorizationURL(r, exists.ID))
	}
	if err != nil {
		w.fail(err)
		return
	}
	if result.NotApplied != nil {
		w.Header().Set("Authz-Not-Applied", strings.Join(result.NotApplied, ", "))
	}
	location := h.authorizationURL(r, result.Authorization.ID)
	w.Header().Set("Location", location)
	status := http.StatusOK
	if result.Created {
		status = http.StatusCreated
	}
	w.json(status, newWireAuthorization(result.Authorization, result.App, result.Token, location))
}

// pathFingerprint is the fingerprint in the path, or "". The pattern says if
// there is one: a router in front can have a path value of the same name.
func pathFingerprint(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.Pattern, "/{fingerprint}"):
		return r.PathValue("fingerprint")
	case strings.HasSuffix(r.Pattern, "/{$}"):
		return "/"
	}
	return ""
}

// readBody reads a request's body within its bounds.
func (h *handler) readBody(w *response, r *http.Request) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoded
	}
	if r.ContentLength > h.cfg.MaxBody {
		w.Header().Set("Connection", "close")
		return nil, errTooLarge
	}
	w.readDeadline(time.Now().Add(h.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, h.cfg.MaxBody))
	if err == nil {
		w.readDeadline(time.Time{})
		return body, nil
	}
	// Where the next request would begin is not known any more.
	w.Header().Set("Connection", "close")
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.As(err, &network) && network.Timeout():
		return nil, errSlow
	}
	return nil, errNotJSON
}

// straysAfter reports whether a line end may follow the request's body. Old
// clients send one, the github package of npm among them, and net/http takes it
// for the next request, except after POST: a connection that is used again would
// answer every second request with 400. All of them are on Node, whose agent
// asks for keep-alive in so many words; clients that do not ask keep theirs.
func straysAfter(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ContentLength > 0 && r.Method != http.MethodPost &&
		strings.EqualFold(r.Header.Get("Connection"), "keep-alive")
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

// authorizationURL is the authorization's url as the client sees the server.
func (h *handler) authorizationURL(r *http.Request, id int64) string {
	return h.baseURL(r) + h.cfg.Prefix + "/authorizations/" + strconv.FormatInt(id, 10)
}

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
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		if prefix, ok := strings.CutSuffix(u.EscapedPath(), r.URL.EscapedPath()); ok {
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
}

type wireApp struct {
	URL      string `json:"url"`
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
}

func newWireAuthorization(a Authorization, app App, token Secret, url string) wireAuthorization {
	scopes := a.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	return wireAuthorization{
		ID:             a.ID,
		URL:            url,
		Scopes:         scopes,
		Token:          token.Reveal(),
		TokenLastEight: a.TokenLastEight,
		HashedToken:    a.TokenHash.Hex(),
		App:            wireApp{URL: app.URL, Name: app.Name, ClientID: app.ClientID},
		Note:           a.Note,
		NoteURL:        a.NoteURL,
		UpdatedAt:      a.UpdatedAt.UTC().Format(time.RFC3339),
		CreatedAt:      a.CreatedAt.UTC().Format(time.RFC3339),
		Fingerprint:    a.Fingerprint,
	}
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

type methodError struct{ allow map[string]endpoint }

func (e *methodError) Error() string { return "method not allowed" }

type unforeseenError struct {
	cause any
	stack []byte
}

func (e *unforeseenError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.cause, e.stack) }

// wireError is every error body.
type wireError struct {
	Message          string           `json:"message"`
	Errors           []wireFieldError `json:"errors,omitempty"`
	DocumentationURL string           `json:"documentation_url,omitempty"`
}

type wireFieldError struct {
	Resource string    `json:"resource"`
	Field    string    `json:"field"`
	Code     ErrorCode `json:"code"`
	Message  string    `json:"message,omitempty"`
}

// answer is the one table from errors to statuses, words and headers. Clients
// test the words: they are kept to the letter.
func (h *handler) answer(err error, header http.Header) (status int, body wireError) {
	var (
		validation  *ValidationError
		unpermitted *unpermittedKeyError
		otp         *OTPRequiredError
		locked      *LockedError
		exists      *ExistsError
		method      *methodError
		badRequest  *badRequestError
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
		header.Set(otpHeader, "required; "+string(delivery))
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
		}
		return http.StatusUnprocessableEntity, wireError{Message: "Validation Failed", Errors: fields}
	case errors.Is(err, ErrInvalidClient):
		return http.StatusUnprocessableEntity, wireError{Message: "Invalid OAuth application client_id or secret."}
	case errors.As(err, &exists):
		return http.StatusConflict, wireError{Message: "Authorization already exists"}
	case errors.Is(err, errNoRoute):
		return http.StatusNotFound, wireError{Message: "Not Found"}
	case errors.As(err, &method):
		var allow []string
		for name := range method.allow {
			allow = append(allow, name)
		}
		slices.Sort(allow)
		header.Set("Allow", strings.Join(allow, ", "))
		return http.StatusMethodNotAllowed, wireError{Message: "Method Not Allowed"}
	case errors.As(err, &unforeseen):
		return http.StatusInternalServerError, wireError{Message: "Internal Server Error"}
	}
	// What is left came from the store or from the host's Authenticator.
	header.Set("Retry-After", "1")
	return http.StatusServiceUnavailable, wireError{Message: "Service unavailable"}
}

// response writes one answer and remembers what the log needs.
type response struct {
	http.ResponseWriter
	h       *handler
	started time.Time
	id      string
	user    User
	status  int
	err     error
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readDeadline bounds reading from the client. Not every ResponseWriter can do
// it, and not every test needs it.
func (w *response) readDeadline(t time.Time) {
	_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func (w *response) fail(err error) {
	w.err = err
	if w.status != 0 {
		return // a panic after the answer
	}
	// net/http takes in what is left of the body before it sends the answer.
	w.readDeadline(time.Now().Add(w.h.cfg.BodyTimeout))
	status, body := w.h.answer(err, w.Header())
	body.DocumentationURL = w.h.cfg.DocumentationURL
	w.json(status, body)
}

// json writes v, laid out as in the seed document.
func (w *response) json(status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	header.Set("Status", strconv.Itoa(status)+" "+http.StatusText(status))
	w.status = status
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a client that is gone hears nothing
}

// log writes the request's line. The path stays out: it can hold a token.
func (w *response) log(r *http.Request) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("request_id", w.id),
		slog.String("method", r.Method),
		slog.String("route", r.Pattern),
		slog.Int("status", w.status),
		slog.Duration("duration", time.Since(w.started)),
	}
	if w.user.ID != "" {
		attrs = append(attrs, slog.String("user", w.user.ID))
	}
	if w.err != nil {
		attrs = append(attrs, slog.String("error", w.err.Error()))
		// A client that hangs up ends its own request: no fault of this side.
		if w.status >= 500 && !errors.Is(r.Context().Err(), context.Canceled) {
			level = slog.LevelError
		}
	}
	w.h.cfg.Logger.LogAttrs(context.WithoutCancel(r.Context()), level, "authz request", attrs...)
}
