package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/postgres"
)

// stopWithin is how long requests under way have after a signal. The process
// is to be gone within 10 s, and closing the store takes up to a second when
// its server hangs.
const stopWithin = 8 * time.Second

// settleWithin is how long it then takes at most to store when tokens were used.
const settleWithin = 500 * time.Millisecond

// listenFlags are what demo and serve share.
type listenFlags struct {
	addr             string
	keyFile          string
	otpReuse         time.Duration
	legacyTokenPaths bool
	logFormat        string
	logLevel         string

	cache       int
	listenDSN   string
	listenEnv   bool // AUTHZ_LISTEN_DSN counts
	idleTimeout time.Duration
	purgeAfter  time.Duration
}

// listenDSNEnv stands for --listen-dsn.
const listenDSNEnv = "AUTHZ_LISTEN_DSN"

func (f *listenFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.IntVar(&f.cache, "cache", cache.DefaultSize, "how many verified tokens to keep in memory, some 700 bytes each; 0: each verification reads the store")
	flags.StringVar(&f.listenDSN, "listen-dsn", "", "postgres://… of the server itself, where the store's URL leads through a pooler in transaction mode, on which changes cannot be heard of"+f.listenDefault())
	flags.DurationVar(&f.idleTimeout, "idle-timeout", 0, "end tokens that are not used for so long, such as 2160h; for those made from now on (default: none)")
	flags.DurationVar(&f.purgeAfter, "purge-after", 7*24*time.Hour, "how long expired tokens stay in the store; 0: for ever")
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "HOST:PORT to listen on; port 0 takes a free one")
	flags.StringVar(&f.keyFile, "key-file", "", keyFlagHelp)
	flags.DurationVar(&f.otpReuse, "otp-reuse", 0, "accept the one-time password that was used last again for so long, within its own window (90s is all of it), for old clients that send one code twice")
	flags.BoolVar(&f.legacyTokenPaths, "legacy-token-paths", false, "serve the older endpoints for apps too, /applications/CLIENT_ID/tokens/TOKEN and …/grants/TOKEN: the token in their URL lands in the logs of proxies")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json, on stderr")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	_ = c.MarkFlagFilename("key-file")
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *listenFlags) logger(w io.Writer) (*slog.Logger, error) {
	var opts slog.HandlerOptions
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(f.logLevel)) {
		return nil, usagef("--log-level must be debug, info, warn or error, not %q", f.logLevel)
	}
	opts.Level = level
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, &opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &opts)), nil
	}
	return nil, usagef("--log-format must be text or json, not %q", f.logFormat)
}

// listenDefault is for a command that heeds the environment.
func (f *listenFlags) listenDefault() string {
	if f.listenEnv {
		return " (default $" + listenDSNEnv + "): everybody on this machine can read arguments, so put one with a password into $" + listenDSNEnv
	}
	return ""
}

// config adds what the flags say to a Config.
func (f *listenFlags) config(cfg authz.Config, log *slog.Logger) authz.Config {
	cfg.IdleTimeout, cfg.PurgeAfter, cfg.Logger = f.idleTimeout, f.purgeAfter, log
	if f.purgeAfter == 0 {
		cfg.PurgeAfter = -1
	}
	return cfg
}

// listenOn is the DSN to listen on, "" for the store's own.
func (f *listenFlags) listenOn() string {
	if f.listenDSN == "" && f.listenEnv {
		return os.Getenv(listenDSNEnv)
	}
	return f.listenDSN
}

// try refuses settings that cannot be, before anything is opened or made.
func (f *listenFlags) try(rt routes, cfg authz.Config) error {
	switch {
	case f.cache < 0:
		return usagef("--cache must not be negative: 0 is for none")
	case f.purgeAfter < 0:
		return usagef("--purge-after must not be negative: 0 is for ever")
	}
	if dsn := f.listenOn(); dsn != "" && new(postgres.Store).ListenOn(dsn) != nil {
		return usagef("--listen-dsn or $%s is neither a valid postgres:// URL nor a list of key=value pairs", listenDSNEnv)
	}
	m, err := authz.New(memory.New(), f.config(cfg, nil))
	if err != nil {
		return flagError(err)
	}
	users, err := account.New(account.Memory(), account.Config{OTPReuse: f.otpReuse})
	if err != nil {
		return flagError(err)
	}
	_, err = newHandler(&service{m: m, users: users}, rt, slog.New(slog.DiscardHandler))
	return err
}

// service is what a server is made of.
type service struct {
	target target
	ln     net.Listener
	stores *stores
	key    authz.Secret
	m      *authz.Manager
	users  *account.Directory
	log    *slog.Logger
}

// openService opens the port before anything else is touched, then the store. The
// caller closes what comes back.
func (p *program) openService(ctx context.Context, f *listenFlags, sf *storeFlags, cfg authz.Config, log *slog.Logger) (_ *service, err error) {
	s := &service{log: log}
	if s.target, err = p.target(sf); err != nil {
		return nil, err
	}
	if f.listenDSN != "" && s.target.kind != kindPostgres {
		return nil, usagef("--listen-dsn is for PostgreSQL: leave it out")
	}
	if s.ln, err = listen(ctx, f.addr); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.stores, err = openStore(ctx, s.target); err != nil {
		return nil, err
	}
	if pg, ok := s.stores.Store.(*postgres.Store); ok && f.listenOn() != "" {
		if err = pg.ListenOn(f.listenOn()); err != nil {
			return nil, err
		}
	}
	cfg = f.config(cfg, log)
	if f.cache > 0 {
		cfg.Cache = cache.New(f.cache)
	}
	if s.m, err = s.stores.manager(cfg); err != nil {
		return nil, err
	}
	if s.key, err = keyOf(ctx, s.stores, f.keyFile, func(text string) { log.Warn(text) }); err != nil {
		return nil, err
	}
	if s.users, err = s.stores.directory(account.Config{Key: s.key, OTPReuse: f.otpReuse}); err != nil {
		return nil, err
	}
	// A signal ends ctx: requests under way are answered, and tokens used, after it.
	return s, s.m.Start(context.WithoutCancel(ctx))
}

// settle ends the work beside requests, and stores when tokens were used.
func (s *service) settle(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := s.m.Close(ctx); err != nil {
		s.log.Warn("not all times of use could be stored", "error", err.Error())
	}
}

func (s *service) close() {
	_ = s.ln.Close()
	if s.m != nil {
		s.settle(settleWithin)
	}
	if s.stores != nil {
		s.stores.close()
	}
}

// inBackground runs f until ctx is done or stop is called, which waits for it.
func inBackground(ctx context.Context, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// routes is what a server answers.
type routes struct {
	prefixes         []string
	baseURL          string
	trustedProxies   []netip.Prefix
	resourceServers  []string
	legacyTokenPaths bool
}

var defaultPrefixes = []string{"", "/api/v3"}

// newHandler puts the API, the routes of this program and JSON 404s together.
func newHandler(s *service, rt routes, log *slog.Logger) (http.Handler, error) {
	router := &router{mux: http.NewServeMux()}
	protect, err := authz.NewMiddleware(s.m, authz.MiddlewareConfig{Logger: log})
	if err != nil {
		return nil, err
	}
	for _, prefix := range rt.prefixes {
		api, err := authz.NewHandler(s.m, authz.HandlerConfig{
			Authenticator:    s.users.Authenticator(),
			Users:            s.users.Lookup,
			ResourceServers:  rt.resourceServers,
			LegacyTokenPaths: rt.legacyTokenPaths,
			OpenAPI:          true,
			Prefix:           prefix,
			BaseURL:          rt.baseURL,
			TrustedProxies:   rt.trustedProxies,
			Logger:           log,
		})
		if err != nil {
			return nil, flagError(err)
		}
		router.apis = append(router.apis, mounted{prefix, api})
		if prefix != "" { // where RFC 8414 section 3.1 puts it: not below the prefix
			router.mux.Handle("/.well-known/oauth-authorization-server"+prefix, api)
		}
		user := &userRoute{users: s.users, routes: rt, path: prefix + "/user", log: log}
		router.mux.Handle("GET "+prefix+"/user", logged(log, slog.LevelInfo, protect(user)))
	}
	slices.SortStableFunc(router.apis, func(a, b mounted) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	router.mux.Handle("GET /healthz", logged(log, slog.LevelDebug, http.HandlerFunc(healthz)))
	router.mux.Handle("GET /readyz", logged(log, slog.LevelDebug, readyz(s.stores, s.users, log)))
	router.mux.HandleFunc("/", router.api)
	return router, nil
}

// router sends the paths of this program to their routes and all others to the
// API, whose own answer to a path that leads nowhere is the right one.
type router struct {
	mux  *http.ServeMux
	apis []mounted // the longest prefix first
}

type mounted struct {
	prefix string
	http.Handler
}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// ServeMux redirects what is not in its normal form, and clients lose
	// their method then. The API has its own answer.
	if path := r.URL.EscapedPath(); strings.Contains(path, "//") || slices.ContainsFunc(strings.Split(path, "/"), isDots) {
		rt.api(w, r)
		return
	}
	rt.mux.ServeHTTP(w, r)
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

func (rt *router) api(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	for _, api := range rt.apis {
		if rest, ok := strings.CutPrefix(path, api.prefix); ok && (rest == "" || rest[0] == '/') {
			api.ServeHTTP(w, r)
			return
		}
	}
	answer(w, http.StatusNotFound, message{"Not Found"})
}

// message is the body of errors, and all that it holds.
type message struct {
	Message string `json:"message"`
}

// answer writes v as JSON, as the API does.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone hears nothing
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says whether requests can be answered. Why not is for the log: it
// names hosts.
func readyz(s *stores, users *account.Directory, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		status, body := http.StatusOK, map[string]string{"status": "ok", "store": "ok", "users": "ok"}
		check := func(name string, err error) {
			if err != nil {
				status, body["status"], body[name] = http.StatusServiceUnavailable, "unavailable", "unavailable"
				log.LogAttrs(r.Context(), slog.LevelWarn, "not ready", slog.String("part", name), slog.String("error", err.Error()))
			}
		}
		check("store", s.ready(ctx))
		check("users", users.Check(ctx))
		if status != http.StatusOK {
			w.Header().Set("Retry-After", "1")
		}
		answer(w, status, body)
	}
}

// logged writes a line for each request, as the API does for its own.
func logged(log *slog.Logger, level slog.Level, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		recorder := &statusRecorder{ResponseWriter: w}
		next.ServeHTTP(recorder, r)
		log.LogAttrs(r.Context(), level, "request", slog.String("route", r.Pattern),
			slog.Int("status", recorder.status), slog.Duration("duration", time.Since(started)))
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// listen opens the address, before anything else is touched.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError(addr, err)
	}
	return ln, nil
}

// baseURL is where a client on this machine reaches the listener.
func baseURL(scheme, addr string, ln net.Listener) string {
	host, _, _ := net.SplitHostPort(addr)
	bound, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return scheme + "://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(bound.Port))
}

func warnExposed(log *slog.Logger, ln net.Listener, encrypted bool) {
	if bound, ok := ln.Addr().(*net.TCPAddr); ok && !bound.IP.IsLoopback() && !encrypted {
		log.Warn("passwords and tokens travel in the clear: this address is reachable from other machines and has no TLS; give serve --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has it",
			"addr", bound.String())
	}
}

// serveUntil serves until ctx is done, and then until the requests under way
// have their answers and what they used is stored. ready is called when the server
// answers.
func (s *service) serveUntil(ctx context.Context, h http.Handler, encrypt *tls.Config, ready func()) error {
	ln, log := s.ln, s.log
	srv := &http.Server{
		Handler:           h,
		TLSConfig:         encrypt,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      40 * time.Second, // from the header on: the API bounds body and answer itself
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() {
		if encrypt != nil {
			failed <- srv.ServeTLS(ln, "", "")
		} else {
			failed <- srv.Serve(ln)
		}
	}()
	ready()
	select {
	case err := <-failed:
		return fmt.Errorf("the server stopped: %w", err)
	case <-ctx.Done():
	}
	asked := time.Now()
	log.Info("stopping: requests under way are answered first; a second signal ends at once")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		_ = srv.Close()
	}
	s.settle(max(settleWithin, stopWithin-time.Since(asked)))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.New("requests were still under way 10 s after the signal and were cut off: what was acknowledged is stored")
		}
		return fmt.Errorf("stop: %w", err)
	}
	log.Info("stopped")
	return nil
}
