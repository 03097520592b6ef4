// Command bench measures authz beside its limits in one run: the raw prepared
// statements that the same work costs at least, on the same driver and
// database, and a hash and a map where all is in memory; there also beside its
// peers. What counts are the ratios, not the rates. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	plan
	rows     int
	backends []string
	only     *regexp.Regexp
	dsn      string
}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		o        options
		quick    = flags.Bool("quick", false, "3 passes of 300 ms: rough figures in about a minute")
		passes   = flags.Int("passes", 5, "passes of each subject")
		pass     = flags.Duration("pass", 450*time.Millisecond, "length of a pass")
		rows     = flags.Int("rows", 10_000, "authorizations that are there before")
		backends = flags.String("backends", "sqlite,postgres,memory,peers,http", "which to measure")
		only     = flags.String("run", "", "only the cases whose name, such as \"sqlite/existing/32\", matches this regular expression")
		dsn      = flags.String("dsn", "", "postgres:// URL of a server to measure on, in a schema of its own (default: a private server with fsync, started from this machine's binaries)")
		out      = flags.String("o", "", "write the report to this file too")
		profile  = flags.String("cpuprofile", "", "write a CPU profile, with the labels case and subject, to this file")
	)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	o.passes, o.pass, o.rows, o.dsn = *passes, *pass, *rows, *dsn
	if *quick {
		o.passes, o.pass = 3, 300*time.Millisecond
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "bench:", err)
		return code
	}
	if o.passes < 1 || o.pass <= 0 || o.rows < 1 || flags.NArg() > 0 {
		return fail(2, errors.New("-passes, -pass and -rows must be positive, and there are no other arguments"))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fail(2, err)
	}
	for name := range strings.SplitSeq(*backends, ",") {
		if name = strings.TrimSpace(name); openers[name] == nil {
			return fail(2, fmt.Errorf("-backends: there is no %q, only sqlite, postgres, memory, peers and http", name))
		}
		o.backends = append(o.backends, name)
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return fail(1, err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fail(1, err)
		}
		defer pprof.StopCPUProfile()
	}

	rep, err := measureAll(ctx, o, &progress{w: stderr, rewrite: isTerminal(stderr)})
	if err != nil {
		return fail(1, err)
	}
	text := rep.markdown()
	fmt.Fprint(stdout, text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			return fail(1, err)
		}
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "bench: interrupted: the report holds what was measured until then")
		return 130
	case rep.failed():
		return 1
	}
	return 0
}

// measureAll measures the cases of all backends, one backend after another. A
// backend or case that fails is told of in the report.
func measureAll(ctx context.Context, o options, p *progress) (*report, error) {
	rep := newReport(o)
	p.say("making %d authorizations", o.rows)
	data, err := newData(o.rows)
	if err != nil {
		return nil, err
	}
	for i, name := range o.backends {
		if ctx.Err() != nil {
			break
		}
		p.say("%s: starting", name)
		sec := section{backend: name}
		b, err := openers[name](data, o)
		if err != nil {
			sec.err = err
			rep.sections = append(rep.sections, sec)
			continue
		}
		sec.about, sec.ratio = b.about, b.ratio
		var chosen []*benchCase
		for _, c := range b.cases {
			if o.only.MatchString(c.id(name)) {
				chosen = append(chosen, c)
			}
		}
		for j, c := range chosen {
			if ctx.Err() != nil {
				break
			}
			id := c.id(name)
			sec.results = append(sec.results, measure(ctx, id, c, o.plan, func(pass int) {
				p.say("backend %d/%d, case %d/%d: %s, pass %d/%d", i+1, len(o.backends), j+1, len(chosen), id, pass, o.passes)
			}))
		}
		b.close()
		rep.sections = append(rep.sections, sec)
	}
	p.end()
	rep.interrupted = ctx.Err() != nil
	return rep, nil
}

// progress is one line on standard error that says what is being measured.
type progress struct {
	w       io.Writer
	rewrite bool // the line in place; else one line after another
}

func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if p.rewrite {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

func (p *progress) end() {
	if p.rewrite {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
