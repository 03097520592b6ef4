// Command load puts a running server under load and says how it bears it: with
// a number of callers that wait for their answers (closed loop), or with
// requests that come whether or not the ones before were answered (open loop).
// See the README of bench.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	credentials
	connection
	plan
	tokens    int
	keep      bool
	maxErrors float64
	json      bool
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (*options, error) {
	var (
		o     options
		mix   string
		file  string
		flags = flag.NewFlagSet("load", flag.ContinueOnError)
	)
	flags.SetOutput(stderr)
	flags.StringVar(&file, "credentials", "", "JSON `file` with base_url, login, password, client_id and client_secret, as authz demo --json writes it")
	flags.StringVar(&o.BaseURL, "url", "", "what stands before /authorizations (default: base_url of the file)")
	flags.StringVar(&o.Login, "login", "", "a user without two-factor authentication; the password is in the file or in $"+passwordEnv)
	flags.StringVar(&o.ClientID, "client-id", "", "the app; its secret is in the file or in $"+secretEnv)
	flags.StringVar(&o.path, "path", "/user", "what verify reads with a Bearer token, below the URL")
	flags.StringVar(&o.scopes, "scopes", "", "scopes of the tokens, with commas")
	flags.StringVar(&o.caCert, "cacert", "", "PEM `file` of the certificates to trust, in place of the system's")
	flags.BoolVar(&o.insecure, "insecure", false, "do not check the server's certificate: passwords go to whoever answers")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "of a request, answer included")
	flags.IntVar(&o.callers, "callers", 8, "closed loop: callers, each with one request at a time")
	flags.Float64Var(&o.rate, "rate", 0, "open loop: requests a second")
	flags.StringVar(&o.arrivals, "arrivals", "poisson", "open loop: poisson or constant")
	flags.IntVar(&o.inFlight, "inflight", 256, "open loop: requests on the way at once; one more is dropped, and counted")
	flags.StringVar(&mix, "mix", "put=1,verify=20,list=1,check=5,introspect=5,create=1,revoke=1", "operations by weight")
	flags.DurationVar(&o.duration, "d", 30*time.Second, "how long to measure")
	flags.DurationVar(&o.warmup, "warmup", 0, "load before that is not measured")
	flags.IntVar(&o.tokens, "tokens", 100, "tokens to make before the run")
	flags.BoolVar(&o.keep, "keep", false, "do not delete what the run has made")
	flags.Float64Var(&o.maxErrors, "max-errors", 0, "share of requests that may fail or be dropped, 0 to 1; more make the exit code 1")
	flags.BoolVar(&o.json, "json", false, "write the summary as JSON")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if set["rate"] && set["callers"] {
		return nil, errors.New("-rate is the open loop, -callers the closed one: choose")
	}
	switch {
	case flags.NArg() > 0:
		return nil, errors.New("there are no arguments beside the flags") // not repeated: it may be a secret
	case set["rate"] && !(o.rate > 0 && o.rate <= 1e6), o.callers < 1, o.inFlight < 1, o.tokens < 1, o.duration <= 0, o.warmup < 0, o.timeout <= 0:
		return nil, errors.New("-rate, -callers, -inflight, -tokens, -d and -timeout must be positive, and -rate at most a million")
	case o.arrivals != "poisson" && o.arrivals != "constant":
		return nil, errors.New("-arrivals is poisson or constant")
	case !(o.maxErrors >= 0 && o.maxErrors <= 1):
		return nil, errors.New("-max-errors is a share, 0 to 1")
	}
	if o.connections = o.callers; o.rate > 0 {
		o.connections = o.inFlight
	}
	var err error
	if o.mix, err = parseMix(mix); err != nil {
		return nil, err
	}
	return &o, o.credentials.complete(file, getenv)
}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "load:", err)
		return code
	}
	o, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return fail(2, err)
	}
	api, err := newAPI(o.credentials, o.connection)
	if err != nil {
		return fail(2, err)
	}
	p := newProgress(stderr)
	defer context.AfterFunc(ctx, func() {
		p.note("load: stopping once what is under way is answered; Ctrl-C again ends at once, and leaves authorizations whose fingerprints begin with %s", api.prefix)
	})()

	err = api.prepare(ctx, o.tokens, p)
	var sum *summary
	if err == nil {
		rec := newRecorder(api.describe)
		elapsed := drive(ctx, o.plan, api, rec, p)
		sum = rec.summary(o, elapsed, ctx.Err() != nil)
	}
	var left error
	if !o.keep {
		left = api.cleanUp(context.WithoutCancel(ctx), p)
	}
	p.end()
	if sum != nil {
		if o.json {
			enc := json.NewEncoder(stdout)
			enc.SetIndent("", "  ")
			err = enc.Encode(sum)
		} else {
			err = sum.table(stdout)
		}
	}
	switch {
	case ctx.Err() != nil && sum == nil:
		err = errors.New("interrupted before the load began")
	case err == nil && sum.ErrorShare > o.maxErrors:
		err = fmt.Errorf("%.3g%% of the requests failed or were dropped", 100*sum.ErrorShare)
	}
	if left != nil {
		left = fmt.Errorf("authorizations whose fingerprints begin with %s are left: %w", api.prefix, left)
	}
	if err = errors.Join(err, left); err != nil {
		fail(1, err)
	}
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		return 1
	}
	return 0
}
