package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress is one line on standard error: what is being done, how fast, and how
// long all of it will take from here.
type progress struct {
	w        io.Writer
	rewrite  bool // the line in place; else one line after another
	last     time.Time
	rowsLeft int           // to be loaded after this load
	timeLeft time.Duration // to be measured
	perRow   time.Duration // of loading, indexes included: of the last load, or a guess
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, perRow: 15 * time.Microsecond}
	if f, ok := w.(*os.File); ok {
		fi, err := f.Stat()
		p.rewrite = err == nil && fi.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// say writes a line; here is what is left of the present step.
func (p *progress) say(here time.Duration, format string, args ...any) {
	now := time.Now()
	if now.Sub(p.last) < time.Second/4 {
		return
	}
	p.last = now
	left := here + p.timeLeft + time.Duration(p.rowsLeft)*p.perRow
	line := fmt.Sprintf(format, args...) + fmt.Sprintf("; about %v left", left.Round(time.Second))
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

// loading returns what a load calls to tell how far it is.
func (p *progress) loading(backend string, rows int) func(stage string, done int) {
	began := time.Now()
	p.last = time.Time{}
	return func(stage string, done int) {
		if stage != "loading" {
			p.last = time.Time{} // there are few of these
			p.say(0, "%s, %d rows: %s", backend, rows, stage)
			return
		}
		rate := float64(done) / max(time.Since(began).Seconds(), 1e-3)
		p.say(time.Duration(rows-done)*p.perRow, "%s, %d rows: loaded %d (%.0f/s)", backend, rows, done, rate)
	}
}
