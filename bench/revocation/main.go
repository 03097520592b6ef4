//go:build unix

// Command revocation measures how long a revoked token lives on in other processes,
// with every channel in order and with each of them broken. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if job, ok := os.LookupEnv(nodeVariable); ok {
		os.Exit(asNode(job))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func asNode(job string) int {
	if err := runNode(job, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "revocation: node:", err)
		return 1
	}
	return 0
}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("revocation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		z       sizes
		quick   = flags.Bool("quick", false, "a few seconds for each scenario")
		only    = flags.String("run", "", "only the scenarios whose name, such as \"postgres\" or \"process-stopped\", matches this regular expression")
		out     = flags.String("o", "", "write the report to this file too")
		plot    = flags.String("plot", "", "draw the latencies to this SVG file")
		verbose = flags.Bool("v", false, "show what the nodes log")
	)
	flags.Float64Var(&z.rate, "rate", 1000, "revocations a second on PostgreSQL")
	flags.Float64Var(&z.sqliteRate, "sqlite-rate", 500, "revocations a second on SQLite")
	flags.Float64Var(&z.faultRate, "fault-rate", 200, "revocations a second beside a fault")
	flags.DurationVar(&z.duration, "duration", 30*time.Second, "length of a run without a fault")
	flags.DurationVar(&z.faultDuration, "fault-duration", 10*time.Second, "length of a run with a fault, which lasts half of it at most")
	flags.IntVar(&z.live, "live", 500, "tokens that are not revoked")
	flags.IntVar(&z.verifies, "verifies", 20_000, "calls of Verify a second, in each process")
	flags.IntVar(&z.sample, "sample", 5, "without a fault, measure one token in so many: to verify a revoked token costs a read in each process")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "revocation:", err)
		return code
	}
	if *quick {
		z.duration, z.faultDuration = 4*time.Second, 4*time.Second
	}
	if z.rate <= 0 || z.sqliteRate <= 0 || z.faultRate <= 0 || z.duration <= 0 || z.faultDuration <= 0 || z.live < 1 || z.verifies < 1 || z.sample < 1 || flags.NArg() > 0 {
		return fail(2, errors.New("all numbers must be positive, and there are no other arguments"))
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fail(2, err)
	}
	for _, file := range []string{*out, *plot} { // now, not after some minutes
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			return fail(2, err)
		}
	}
	dir, err := os.MkdirTemp("", "authz-revocation-")
	if err != nil {
		return fail(1, err)
	}
	stderr = &locked{w: stderr} // the nodes write to it, too
	b := &bench{sizes: z, dir: dir, verbose: *verbose, stderr: stderr, say: func(format string, args ...any) {
		fmt.Fprintf(stderr, format+"\n", args...)
	}}
	defer b.close()

	rep := &report{sizes: z, when: time.Now(), command: strings.Join(append([]string{"go run ./revocation"}, args...), " ")}
	for _, s := range scenarios(z) {
		if ctx.Err() != nil {
			break
		}
		if !chosen.MatchString(s.name) {
			continue
		}
		res, err := b.measure(ctx, s)
		switch {
		case ctx.Err() != nil:
			rep.interrupted = true
			continue
		case err != nil:
			res = &result{scenario: s, err: err}
			b.say("%s: failed: %v", s.name, err)
		default:
			b.say("%s: p50 %s, p99 %s, max %s", s.name, millis(res.at(0.5)), millis(res.at(0.99)), millis(res.at(1)))
		}
		rep.results = append(rep.results, res)
	}
	if *plot != "" {
		if err := rep.draw(*plot); err != nil {
			return fail(1, err)
		}
		rep.plot = filepath.Base(*plot)
		if rel, err := filepath.Rel(filepath.Dir(*out), *plot); err == nil && *out != "" {
			rep.plot = filepath.ToSlash(rel)
		}
	}
	text := rep.markdown()
	fmt.Fprint(stdout, text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			return fail(1, err)
		}
	}
	switch {
	case rep.interrupted:
		fmt.Fprintln(stderr, "revocation: interrupted: the report holds what was measured until then")
		return 130
	case rep.failed():
		return 1
	}
	return 0
}

// locked is a writer for several.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
