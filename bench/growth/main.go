// Command growth measures what a growing table costs: the latency of each
// operation beside that of the raw statement, and the bytes, from ten thousand
// rows to ten million. It writes docs/growth.md. See ../README.md.
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
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	sizes      []int
	backends   []string
	dsn        string
	pass       time.Duration
	partitions int // rows, 0: none
	cached     int // tokens
}

type opener func(ctx context.Context, p population, on *server, at func(stage string, rows int)) (*database, error)

var openers = map[string]opener{"sqlite": openSQLite, "postgres": openPostgres}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		o        options
		rows     = flags.String("rows", "10000,1000000,10000000", "sizes of the table")
		backends = flags.String("backends", "sqlite,postgres", "which to measure")
		out      = flags.String("o", "", "write the report to this file too")
		plot     = flags.String("plot", "", "draw latency against rows to this SVG file")
		figures  = flags.String("json", "", "write the figures to this file, for another program")
	)
	flags.StringVar(&o.dsn, "dsn", "", "postgres:// URL of a server to measure on, in a schema of its own (default: a private server with fsync, started from this machine's binaries)")
	flags.DurationVar(&o.pass, "pass", time.Second, "how long each subject is measured, with each number of callers")
	flags.IntVar(&o.partitions, "partitions", 1_000_000, "compare one table with 16 partitions at this size, which must be one of -rows; 0: do not")
	flags.IntVar(&o.cached, "cached", 200_000, "tokens in the cache whose memory and rate of hits are measured")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "growth:", err)
		return code
	}
	for text := range strings.SplitSeq(*rows, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1000 {
			return fail(2, fmt.Errorf("-rows: %q is no number from 1000", text))
		}
		o.sizes = append(o.sizes, n)
	}
	slices.Sort(o.sizes)
	for name := range strings.SplitSeq(*backends, ",") {
		if name = strings.TrimSpace(name); openers[name] == nil {
			return fail(2, fmt.Errorf("-backends: there is no %q, only sqlite and postgres", name))
		}
		o.backends = append(o.backends, name)
	}
	if o.pass <= 0 || o.cached < 1 || flags.NArg() > 0 {
		return fail(2, errors.New("-pass and -cached must be positive, and there are no other arguments"))
	}
	for _, file := range []string{*out, *plot, *figures} { // now, not after half an hour
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			return fail(2, err)
		}
	}

	rep := &report{When: time.Now().UTC(), Command: strings.Join(append([]string{"go run ./growth"}, args...), " "), Machine: machine()}
	rep.measure(ctx, o, newProgress(stderr))
	if *plot != "" && len(rep.Rows) > 0 {
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
	if *figures != "" {
		data, err := json.MarshalIndent(rep, "", " ")
		if err != nil {
			return fail(1, err)
		}
		if err := os.WriteFile(*figures, append(data, '\n'), 0o644); err != nil {
			return fail(1, err)
		}
	}
	switch {
	case rep.Interrupted:
		fmt.Fprintln(stderr, "growth: interrupted: the report holds what was measured until then")
		return 130
	case len(rep.Failed) > 0:
		return 1
	}
	return 0
}

// measure does all of it; what fails is told of in the report.
func (r *report) measure(ctx context.Context, o options, p *progress) {
	defer p.end()
	on := &server{dsn: o.dsn}
	defer on.stop()
	const runs = 15 // operations with each number of callers, see database.operations
	for _, rows := range o.sizes {
		p.rowsLeft += rows * len(o.backends)
		p.timeLeft += time.Duration(len(o.backends)*runs*2) * o.pass
	}
	if slices.Contains(o.backends, "postgres") && slices.Contains(o.sizes, o.partitions) {
		p.rowsLeft += len(copies) * o.partitions
		p.timeLeft += 20 * o.pass // subjects with each number of callers, see measurePartitions
	}
	r.failed(ctx, "cache", r.measureMemory(ctx, o, p))
	for _, backend := range o.backends {
		for _, rows := range o.sizes {
			if ctx.Err() != nil {
				r.Interrupted = true
				return
			}
			p.rowsLeft -= rows
			r.failed(ctx, fmt.Sprintf("%s, %d rows", backend, rows), r.measureOne(ctx, o, backend, rows, on, p))
		}
	}
	r.Interrupted = ctx.Err() != nil
}

// failed notes an error, unless it is an interrupt's.
func (r *report) failed(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		r.Failed = append(r.Failed, what+": "+err.Error())
	}
}

// measureOne measures a table of one size.
func (r *report) measureOne(ctx context.Context, o options, backend string, rows int, on *server, p *progress) error {
	d, err := openers[backend](ctx, newPopulation(rows), on, p.loading(backend, rows))
	if err != nil {
		return err
	}
	defer d.close()
	r.about(backend, d.about)
	r.Loads = append(r.Loads, load{backend, rows, d.loaded.Rows.Seconds(), d.loaded.Indexes.Seconds()})
	p.perRow = (d.loaded.Rows + d.loaded.Indexes) / time.Duration(rows)
	sizes, err := d.sizes(ctx)
	if err != nil {
		return err
	}
	for _, s := range sizes {
		s.Backend, s.Rows, s.PerRow = backend, rows, float64(s.Bytes)/float64(rows)
		r.Sizes = append(r.Sizes, s)
	}
	if backend == "postgres" && o.partitions == rows {
		if err := r.measurePartitions(ctx, o, d, p); err != nil {
			return fmt.Errorf("partitions: %w", err)
		}
	}
	for _, op := range d.operations() {
		for _, callers := range op.callers {
			p.timeLeft -= time.Duration(len(op.subjects)) * o.pass
			p.say(time.Duration(len(op.subjects))*o.pass, "%s, %d rows: %s, %d callers", backend, rows, op.name, callers)
			measured, err := measure(ctx, op, callers, o.pass, d.written)
			if err != nil {
				return err
			}
			for _, m := range measured {
				m.Backend, m.Rows = backend, rows
				r.Rows = append(r.Rows, m)
			}
		}
	}
	return nil
}
