package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
)

type serveFlags struct {
	storeFlags
	listenFlags
	baseURL  string
	prefixes []string
	proxies  []string
	servers  []string
	tlsCert  string
	tlsKey   string
	lifetime time.Duration
	scopes   []string
}

func (p *program) serve() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API",
		Long: `Serves the API at each prefix, with its OpenAPI document at openapi.yaml, GET
/user beside it as an example of a route that tokens protect, /healthz (the
process answers) and /readyz (so does the store).

The store is migrated at the start. SIGINT or SIGTERM lets requests under way
finish, for at most 10 s; a second signal ends at once. Nothing that was
acknowledged is lost either way, but a second signal, as a crash, costs the last
minute of the times when tokens were used.

Verified tokens are kept in memory (--cache) while the store tells of changes: a
revocation by another process is heeded within milliseconds, and where changes
go unheard, within a second nothing is answered from memory any more.`,
		Example: `  authz serve --store sqlite:authz.db
  authz serve --store-file /etc/authz/store --addr :8443 --tls-cert cert.pem --tls-key key.pem
  authz serve --prefix /api/v3 --base-url https://git.example.com --trusted-proxy 10.0.0.0/8`,
	}
	f.storeFlags.register(c)
	f.listenFlags.listenEnv = true
	f.listenFlags.register(c)
	flags := c.Flags()
	flags.StringVar(&f.baseURL, "base-url", "", "what clients put before the prefix, such as https://api.example.com (default: from each request)")
	flags.StringArrayVar(&f.prefixes, "prefix", nil, "path before the API, / for none; may be repeated (default / and /api/v3)")
	flags.StringArrayVar(&f.proxies, "trusted-proxy", nil, "network (10.0.0.0/8) or address whose X-Forwarded-Proto and X-Forwarded-Host count; may be repeated")
	flags.StringArrayVar(&f.servers, "resource-server", nil, "client_id of an app that may introspect the tokens of all apps; may be repeated")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "PEM file with the certificate and its chain")
	flags.StringVar(&f.tlsKey, "tls-key", "", "PEM file with the certificate's private key")
	flags.DurationVar(&f.lifetime, "lifetime", 0, "how long a token lives, such as 720h (default: for ever)")
	flags.StringArrayVar(&f.scopes, "scopes", nil, "the scopes that may be asked for, such as repo,user (default: any)")
	_ = c.MarkFlagFilename("tls-cert")
	_ = c.MarkFlagFilename("tls-key")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error { return p.runServe(ctx, &f) })
}

func (p *program) runServe(ctx context.Context, f *serveFlags) error {
	log, err := f.logger(p.stderr)
	if err != nil {
		return err
	}
	rt, err := f.routes()
	if err != nil {
		return err
	}
	encrypt, err := f.tls()
	if err != nil {
		return err
	}
	cfg := authz.Config{Lifetime: f.lifetime}
	if declared := scopes(f.scopes); declared != nil {
		cfg.Scopes = authz.ScopeNames(declared...)
	}
	if err := f.try(rt, cfg); err != nil {
		return err
	}
	svc, err := p.openService(ctx, &f.listenFlags, &f.storeFlags, cfg, log)
	if err != nil {
		return err
	}
	defer svc.close()
	handler, err := newHandler(svc, rt, log)
	if err != nil {
		return err
	}
	warnExposed(log, svc.ln, encrypt != nil)
	if svc.target.kind == kindMemory {
		log.Warn("the store memory: is empty at each start and has no users: authz demo --store memory: makes some")
	}
	scheme := "http"
	if encrypt != nil {
		scheme = "https"
	}
	return svc.serveUntil(ctx, handler, encrypt, func() {
		base := baseURL(scheme, f.addr, svc.ln)
		log.Info("serving", "base_url", base, "store", svc.target.name(), "prefixes", strings.Join(shown(rt.prefixes), " "))
		err := p.print(struct {
			BaseURL string `json:"base_url"`
		}{base}, func(w io.Writer) { fmt.Fprintf(w, "authz serves on %s\n", base) })
		if err != nil {
			log.Warn(err.Error())
		}
	})
}

func shown(prefixes []string) (out []string) {
	for _, prefix := range prefixes {
		out = append(out, prefix+"/")
	}
	return out
}

func (f *serveFlags) routes() (routes, error) {
	rt := routes{
		prefixes: defaultPrefixes, baseURL: strings.TrimRight(f.baseURL, "/"),
		resourceServers: f.servers, legacyTokenPaths: f.legacyTokenPaths,
	}
	if f.prefixes != nil {
		rt.prefixes = nil
		for _, prefix := range f.prefixes {
			prefix = strings.TrimRight(prefix, "/")
			if prefix != "" && prefix[0] != '/' {
				return routes{}, usagef("--prefix %q must begin with /", prefix)
			}
			if !slices.Contains(rt.prefixes, prefix) {
				rt.prefixes = append(rt.prefixes, prefix)
			}
		}
	}
	for _, text := range f.proxies {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return routes{}, usagef("--trusted-proxy %q must be a network such as 10.0.0.0/8, or an address", text)
			}
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
		rt.trustedProxies = append(rt.trustedProxies, network.Masked())
	}
	return rt, nil
}

func (f *serveFlags) tls() (*tls.Config, error) {
	switch {
	case f.tlsCert == "" && f.tlsKey == "":
		return nil, nil
	case f.tlsCert == "" || f.tlsKey == "":
		return nil, usagef("--tls-cert and --tls-key go together: give both")
	}
	cert, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w: give a PEM certificate and the key that belongs to it", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}
