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
	"runtime/debug"
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
	whole    bool // all backends and cases
	rows     int
	cached   int
	backends []string
	only     *regexp.Regexp
	dsn      string
	hydra    string
}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		o        options
		quick    = flags.Bool("quick", false, "1 round of 3 passes of 100 ms, and a small cache: rough figures in under three minutes")
		rounds   = flags.Int("rounds", 3, "rounds of everything")
		passes   = flags.Int("passes", 3, "passes of each subject in a round")
		pass     = flags.Duration("pass", 300*time.Millisecond, "length of a pass")
		rows     = flags.Int("rows", 10_000, "authorizations that are there before")
		cached   = flags.Int("cached", 1_000_000, "tokens in the cache whose memory is measured")
		backends = flags.String("backends", strings.Join(backendNames, ","), "which to measure")
		only     = flags.String("run", "", "only the cases whose name, such as \"sqlite/existing/32\", matches this regular expression")
		dsn      = flags.String("dsn", "", "postgres:// URL of a server to measure on, in a schema of its own (default: a private server with fsync, started from this machine's binaries)")
		hydra    = flags.String("hydra", builtHydra, "program of ory/hydra to measure beside; the default only if it is there, \"\" for none")
		docs     = flags.String("docs", "", "put the report of a whole run into this document, and its plots beside it, unless it is interrupted or something fails")
		out      = flags.String("o", "", "write the report to this file too")
		profile  = flags.String("cpuprofile", "", "write a CPU profile, with the labels case and subject, to this file")
	)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	o.rounds, o.passes, o.pass, o.rows, o.cached, o.dsn, o.hydra = *rounds, *passes, *pass, *rows, *cached, *dsn, *hydra
	if *quick {
		o.rounds, o.passes, o.pass, o.cached = 1, 3, 100*time.Millisecond, 100_000
	}
	if _, err := os.Stat(builtHydra); err != nil && o.hydra == builtHydra {
		o.hydra = ""
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "bench:", err)
		return code
	}
	if o.rounds < 1 || o.passes < 1 || o.pass <= 0 || o.rows < 1 || o.cached < 1 || flags.NArg() > 0 {
		return fail(2, errors.New("-rounds, -passes, -pass, -rows and -cached must be positive, and there are no other arguments"))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fail(2, err)
	}
	for name := range strings.SplitSeq(*backends, ",") {
		if name = strings.TrimSpace(name); openers[name] == nil {
			return fail(2, fmt.Errorf("-backends: there is no %q, only %s", name, strings.Join(backendNames, ", ")))
		}
		o.backends = append(o.backends, name)
	}
	o.whole = *only == "" && len(o.backends) == len(backendNames)
	if *docs != "" && !o.whole {
		return fail(2, errors.New("-docs wants the whole: no -run, and all -backends"))
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

	growth, err := growthTable(growthFile(*docs)) // now: what is wrong with it must not cost the run
	if err != nil {
		return fail(1, err)
	}
	rep, err := measureAll(ctx, o, &progress{w: stderr, rewrite: isTerminal(stderr)})
	if err != nil {
		return fail(1, err)
	}
	rep.growth = growth
	text := rep.markdown()
	fmt.Fprint(stdout, text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			return fail(1, err)
		}
	}
	switch {
	case rep.interrupted:
		fmt.Fprintln(stderr, "bench: interrupted: the report holds what was measured until then")
		return 130
	case rep.failed():
		return 1
	}
	if *docs != "" {
		if err := rep.publish(*docs); err != nil {
			return fail(1, err)
		}
	}
	return 0
}

// builtHydra is where `make bench-hydra` puts it.
const builtHydra = ".cache/hydra"

// measureAll measures the cases of all backends, one backend after another, round
// after round: what else the machine does for a minute meets one of a case's
// medians. A backend or case that fails is told of in the report.
func measureAll(ctx context.Context, o options, p *progress) (*report, error) {
	rep := newReport(o)
	p.say("making %d authorizations", o.rows)
	data, err := newData(o.rows)
	if err != nil {
		return nil, err
	}
	for round := range o.rounds {
		for i, sec := range rep.sections {
			if sec.err != nil || ctx.Err() != nil {
				continue
			}
			at := fmt.Sprintf("round %d/%d, backend %d/%d", round+1, o.rounds, i+1, len(rep.sections))
			p.say("%s: starting %s", at, sec.backend)
			b, err := openers[sec.backend](data, o)
			if err != nil {
				sec.err = err
				continue
			}
			sec.measure(ctx, b, o, func(text string) { p.say("%s, %s", at, text) })
			b.close()
			debug.FreeOSMemory() // the next one's heap is its own
		}
	}
	if ctx.Err() == nil {
		profileMissed(ctx, o, data, rep, p)
	}
	p.end()
	rep.interrupted = ctx.Err() != nil
	return rep, nil
}

// measure measures the chosen cases of a backend once more.
func (sec *section) measure(ctx context.Context, b *backend, o options, say func(string)) {
	sec.about, sec.ratio = b.about, b.ratio
	var chosen []*benchCase
	for _, c := range b.cases {
		if o.only.MatchString(c.id(sec.backend)) {
			chosen = append(chosen, c)
		}
	}
	if sec.results == nil {
		for _, c := range chosen {
			sec.results = append(sec.results, newResult(c.id(sec.backend), c))
		}
	}
	for i, c := range chosen {
		res := sec.results[i]
		if ctx.Err() != nil {
			return
		}
		if res.err != nil {
			continue
		}
		res.round(ctx, c, o.plan, func(pass int) {
			say(fmt.Sprintf("case %d/%d: %s, pass %d/%d", i+1, len(chosen), res.id, pass, o.passes))
		})
	}
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
