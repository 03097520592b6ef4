package authz

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MiddlewareConfig holds the settings of [NewMiddleware]. The zero value is sound.
type MiddlewareConfig struct {
	// Realm is the realm in WWW-Authenticate. Defaults to "authz".
	Realm string

	// Basic takes tokens by Basic authentication (RFC 7617) too, as git sends them:
	// as the user-id with the password "" or "x-oauth-basic", or as the password
	// of any user-id. Refusals then have a second challenge, without which such
	// clients send nothing. Defaults to false.
	Basic bool

	// Optional lets requests without credentials through, and those with a scheme
	// that is none of a token's; [FromContext] has nothing for them, and
	// [RequireScopes] refuses them. A token that is not valid is refused all the
	// same. Defaults to false.
	Optional bool

	// Timeout is how long a verification may take, waiting for the store included;
	// then the request is answered 503. Defaults to 5 s.
	Timeout time.Duration

	// DocumentationURL is shown in error bodies. Defaults to none.
	DocumentationURL string

	// Logger gets a line for each request that is refused, without token or path,
	// and the causes of 5xx answers. Defaults to nil: nothing is logged.
	Logger *slog.Logger
}

// NewMiddleware returns what lets requests through to a host's own routes that have a
// valid token of m, as RFC 6750 says:
//
//	Authorization: Bearer azt_…
//
// or with the scheme token, as clients of GitHub's API send it; schemes in any case.
// Tokens in a URL or a body are never looked at. What is behind it finds the token's
// authorization with [FromContext]; [RequireScopes] asks for scopes.
//
// Requests that pass have the token's scopes in X-OAuth-Scopes of their answer, and
// Vary: Authorization. The others are answered here, with GitHub's words:
//
//   - no credentials, or a scheme that is none of these: 401, a challenge with no
//     error code
//   - more than one Authorization header, or one that cannot be read: 400,
//     invalid_request
//   - a token that is malformed, unknown, revoked or expired: 401, invalid_token
//   - the store is away, or too slow: 503 with Retry-After. That says nothing about
//     the token.
//   - a panic while the token is verified: 500
//
// in JSON, {"message": …} with error and error_description, or as
// application/problem+json (RFC 9457) where the Accept header prefers that.
//
// It knows tokens, not accounts: where the host disables one, it calls
// [Manager.SuspendUser] or [Manager.RevokeAll]. It can stand in front of any number of handlers,
// starts no goroutine, and keeps nothing. It returns an error if the MiddlewareConfig
// makes no sense.
func NewMiddleware(m *Manager, cfg MiddlewareConfig) (func(http.Handler) http.Handler, error) {
	if m == nil {
		return nil, errors.New("authz: NewMiddleware needs a Manager")
	}
	if cfg.Realm == "" {
		cfg.Realm = defaultRealm
	}
	if !validRealm(cfg.Realm) {
		return nil, errors.New("authz: MiddlewareConfig.Realm must be printable ASCII without quotes")
	}
	if cfg.Timeout < 0 {
		return nil, errors.New("authz: MiddlewareConfig.Timeout must not be negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultVerifyTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &guard{m: m, cfg: cfg}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next) })
	}, nil
}

const (
	defaultRealm         = "authz"
	defaultVerifyTimeout = 5 * time.Second

	scopesHeader   = "X-OAuth-Scopes"
	acceptedHeader = "X-Accepted-OAuth-Scopes"
)

func validRealm(realm string) bool {
	return !strings.ContainsFunc(realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// guard is one middleware.
type guard struct {
	m   *Manager
	cfg MiddlewareConfig
}

// bare answers for RequireScopes where no middleware stands in front of it.
var bare = &guard{cfg: MiddlewareConfig{Realm: defaultRealm, Timeout: defaultVerifyTimeout, Logger: slog.New(slog.DiscardHandler)}}

// The values of headers that all answers share have no room behind them: who adds to
// one makes a copy.
var (
	varyAuthorization = []string{"Authorization"}
	varyRefusal       = []string{"Accept, Authorization"}
)

func vary(h http.Header, value []string) {
	if old := h["Vary"]; len(old) > 0 {
		value = append(old[:len(old):len(old)], value...)
	}
	h["Vary"] = value
}

// serve is the way of every request: what it costs is paid each time.
func (g *guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	token, err := credentials(r.Header["Authorization"], g.cfg.Basic)
	if err != nil {
		if g.cfg.Optional && errors.Is(err, ErrNoCredentials) {
			vary(w.Header(), varyAuthorization)
			if sessionOf(r.Context()) == nil { // a host's own [Manager.NewContext] counts
				r = r.WithContext(&session{Context: r.Context(), guard: g})
			}
			next.ServeHTTP(w, r)
			return
		}
		g.refuse(w, r, nil, err)
		return
	}
	s := &session{Context: r.Context(), m: g.m, guard: g}
	if err := s.verify(token); err != nil {
		g.refuse(w, r, nil, err)
		return
	}
	h := w.Header()
	h[spelled(scopesHeader, r)] = s.scopes[:]
	vary(h, varyAuthorization)
	next.ServeHTTP(w, r.WithContext(s))
}

// RequireScopes returns what lets requests through whose token has all of these
// scopes, by name or because it has one that includes them (see [Scope]). It stands
// behind the middleware of [NewMiddleware], or behind a host's own verification and
// [Manager.NewContext]. Requests without an authorization are refused with 401,
// wherever it stands; those that lack a scope with 403, insufficient_scope, and the
// name of what is missing. Without scopes it asks for a token alone. The answer names
// what is wanted in X-Accepted-OAuth-Scopes.
//
// It panics if a scope is no scope-token of RFC 6749 section 3.3: no token could
// ever have it.
func RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	for _, s := range scopes {
		if !validScope(s) {
			panic("authz: RequireScopes: " + strconv.Quote(s) + " is no scope-token (RFC 6749 section 3.3)")
		}
	}
	scopes = slices.Clone(scopes)
	accepted := []string{strings.Join(scopes, ", ")}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h, name := w.Header(), spelled(acceptedHeader, r)
			if outer := h[name]; len(outer) > 0 && outer[0] != "" {
				h[name] = []string{outer[0] + ", " + accepted[0]}
			} else {
				h[name] = accepted
			}
			s := sessionOf(r.Context())
			if s == nil || s.authorization == nil {
				g := bare
				if s != nil {
					g = s.guard
				}
				g.refuse(w, r, s, &scopeError{needed: scopes, err: ErrNoCredentials})
				return
			}
			for _, scope := range scopes {
				if !s.m.scopes.allow(s.authorization.Scopes, scope) {
					s.guard.refuse(w, r, s, &scopeError{needed: scopes, missing: s.m.scopes.beyond(scopes, s.authorization.Scopes)})
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// FromContext returns the authorization that a request was let in with: ok is false
// if there is none, behind MiddlewareConfig.Optional or where no middleware stood in
// front. It is shared with other requests and must not be changed.
func FromContext(ctx context.Context) (a *Authorization, ok bool) {
	if s := sessionOf(ctx); s != nil && s.authorization != nil {
		return s.authorization, true
	}
	return nil, false
}

// NewContext returns a context that carries an authorization which [Manager.Verify]
// of m has returned, for [FromContext] and [RequireScopes]. It is for hosts that get
// tokens in other ways than by HTTP, such as an interceptor of gRPC; see
// [BearerToken] and [Manager.Allows].
func (m *Manager) NewContext(ctx context.Context, a *Authorization) context.Context {
	s := &session{Context: ctx, m: m, guard: bare, authorization: a}
	if outer := sessionOf(ctx); outer != nil {
		s.guard = outer.guard
	}
	return s
}

// session is the context of a request behind the middleware. It is a context itself,
// and holds all that a request needs, so that there is one thing to allocate.
type session struct {
	context.Context                //nolint:containedctx // it is one
	m               *Manager       // nil if nobody was asked
	guard           *guard         // never nil
	authorization   *Authorization // nil: there is none
	scopes          [1]string      // the value of X-OAuth-Scopes
}

type sessionKey struct{}

func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session)
	return s
}

// Value implements [context.Context].
func (s *session) Value(key any) any {
	if key == (sessionKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps the authorization out of what prints a context.
func (s *session) String() string { return "authz.session" }

// verify asks the Manager who the token belongs to. What is answered from memory
// pays for no timer.
func (s *session) verify(token string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &unforeseenError{p, debug.Stack()}
		}
	}()
	hash, ok := s.m.hashOf(token)
	if !ok {
		return ErrInvalidToken
	}
	e, err := s.m.recall(&hash)
	if e == nil && err == nil {
		ctx, cancel := context.WithTimeout(s.Context, s.guard.cfg.Timeout)
		defer cancel()
		e, err = s.m.ask(ctx, token, hash)
	}
	if err != nil {
		return err
	}
	s.authorization, s.scopes[0] = e.rec, e.scopes
	return nil
}

// scopeError says that a request needs scopes, and which it has not.
type scopeError struct {
	needed  []string
	missing []string
	err     error // ErrNoCredentials: none, for want of a token
}

func (e *scopeError) Unwrap() error { return e.err }

func (e *scopeError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return "authz: " + e.description()
}

func (e *scopeError) description() string {
	if len(e.missing) == 1 {
		return "The token lacks the scope " + e.missing[0]
	}
	return "The token lacks the scopes " + strings.Join(e.missing, ", ")
}

// answer is the middleware's table from errors to statuses, words and challenges.
// code and description are those of RFC 6750 section 3.
func (g *guard) answer(err error) (status int, message, code, description, needed string) {
	var (
		scope      *scopeError
		unforeseen *unforeseenError
	)
	if errors.As(err, &scope) {
		needed = strings.Join(scope.needed, " ")
	}
	switch {
	case errors.Is(err, ErrNoCredentials):
		return http.StatusUnauthorized, "Requires authentication", "", "", needed
	case errors.Is(err, errSeveral):
		description = "Request has more than one Authorization header"
		return http.StatusBadRequest, description, "invalid_request", description, ""
	case errors.Is(err, ErrMalformedCredentials):
		description = "The Authorization header is malformed"
		return http.StatusBadRequest, description, "invalid_request", description, ""
	case errors.Is(err, ErrInvalidToken):
		return http.StatusUnauthorized, "Bad credentials", "invalid_token", "The token is malformed, unknown, revoked or expired", ""
	case scope != nil:
		return http.StatusForbidden, scope.description(), "insufficient_scope", scope.description(), needed
	case errors.As(err, &unforeseen):
		return http.StatusInternalServerError, "Internal Server Error", "", "", ""
	}
	return http.StatusServiceUnavailable, "Service unavailable", "", "", ""
}

// wireProblem is an error body of RFC 9457. Without a type, the title is the
// status's.
type wireProblem struct {
	Title            string `json:"title"`
	Status           int    `json:"status"`
	Detail           string `json:"detail"`
	Error            string `json:"error,omitempty"`
	DocumentationURL string `json:"documentation_url,omitempty"`
}

// refuse answers a request that does not come through; s is nil if it has no session.
func (g *guard) refuse(w http.ResponseWriter, r *http.Request, s *session, err error) {
	status, message, code, description, needed := g.answer(err)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	vary(h, varyRefusal)
	if status < 500 {
		h["Www-Authenticate"] = g.challenges(status, code, description, needed)
	}
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	var body []byte
	if prefersProblem(r.Header["Accept"]) {
		h.Set("Content-Type", "application/problem+json")
		body = encode(wireProblem{Title: http.StatusText(status), Status: status, Detail: message, Error: code, DocumentationURL: g.cfg.DocumentationURL})
	} else {
		h.Set("Content-Type", contentJSON)
		body = encode(wireError{Message: message, DocumentationURL: g.cfg.DocumentationURL, Error: code, ErrorDescription: description})
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.ContentLength != 0 {
		// net/http takes in what is left of the body before it sends the answer.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.cfg.Timeout))
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone hears nothing
	}
	g.log(r, s, status, err)
}

// challenges are the values of WWW-Authenticate (RFC 6750 section 3).
func (g *guard) challenges(status int, code, description, needed string) []string {
	bearer := `Bearer realm="` + g.cfg.Realm + `"`
	for _, attribute := range [][2]string{{"error", code}, {"scope", needed}, {"error_description", description}} {
		if attribute[1] != "" {
			bearer += ", " + attribute[0] + `="` + attribute[1] + `"`
		}
	}
	if g.cfg.Basic && status == http.StatusUnauthorized {
		return []string{bearer, `Basic realm="` + g.cfg.Realm + `"`}
	}
	return []string{bearer}
}

// log writes the line of a request that was refused. The path stays out: it can hold
// a token; so does the header, in which it can stand for the scheme.
func (g *guard) log(r *http.Request, s *session, status int, err error) {
	level := slog.LevelInfo
	if status >= 500 && !errors.Is(r.Context().Err(), context.Canceled) { // a client that hangs up is no fault of this side
		level = slog.LevelError
	}
	if !g.cfg.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("route", r.Pattern),
		slog.Int("status", status),
		slog.String("error", err.Error()),
	}
	if s != nil && s.authorization != nil {
		attrs = append(attrs, slog.String("user", s.authorization.Owner), slog.Int64("authorization", s.authorization.ID))
	}
	g.cfg.Logger.LogAttrs(context.WithoutCancel(r.Context()), level, "authz refused", attrs...)
}

// maxAccept bounds what is looked into for who has not been let in.
const maxAccept = 4 << 10

// prefersProblem reports whether an Accept header (RFC 9110 section 12.5.1) prefers
// application/problem+json to application/json, which is what everybody else gets.
// Where both are as welcome, the one that is named counts more than a wildcard.
func prefersProblem(accept []string) bool {
	type match struct{ specific, quality int }
	var plain, problem match
	for _, line := range accept {
		if len(line) > maxAccept {
			return false
		}
		for item := range strings.SplitSeq(line, ",") {
			media, parameters, _ := strings.Cut(item, ";")
			quality := qualityOf(parameters)
			consider := func(m *match, specific int) {
				if specific > m.specific || specific == m.specific && quality > m.quality {
					*m = match{specific, quality}
				}
			}
			switch strings.ToLower(strings.Trim(media, " \t")) {
			case "application/problem+json":
				consider(&problem, 3)
			case "application/json":
				consider(&plain, 3)
			case "application/*":
				consider(&problem, 2)
				consider(&plain, 2)
			case "*/*":
				consider(&problem, 1)
				consider(&plain, 1)
			}
		}
	}
	if problem.quality != plain.quality {
		return problem.quality > plain.quality
	}
	return problem.quality > 0 && problem.specific > plain.specific
}

// qualityOf returns the weight in parameters of a media range, in thousandths; 1000
// without one, 0 for one that is none.
func qualityOf(parameters string) int {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.Trim(parameter, " \t"), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || len(value) > len("0.123") || strings.Trim(value, "0123456789.") != "" || q > 1 {
			return 0
		}
		return int(q*1000 + 0.5)
	}
	return 1000
}
