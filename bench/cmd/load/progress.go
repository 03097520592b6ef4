package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// progress is one line that says what is going on: in its place on a terminal,
// once a second elsewhere. It may be used by several goroutines.
type progress struct {
	mu      sync.Mutex
	w       io.Writer
	rewrite bool
	last    time.Time
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, rewrite: ok && isatty.IsTerminal(f.Fd())}
}

const clearLine = "\r\x1b[K"

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(format, args...)
}

// every says a line unless one was said just before.
func (p *progress) every(format string, args ...any) {
	often := time.Second
	if p.rewrite {
		often /= 10
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) >= often {
		p.write(format, args...)
	}
}

func (p *progress) write(format string, args ...any) {
	p.last = time.Now()
	text := fmt.Sprintf(format, args...)
	if p.rewrite {
		fmt.Fprint(p.w, clearLine+text)
		return
	}
	fmt.Fprintln(p.w, text)
}

// note says a line that stays.
func (p *progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(format, args...)
	if p.rewrite {
		fmt.Fprintln(p.w)
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rewrite {
		fmt.Fprint(p.w, clearLine)
	}
}

// live says a line each second until the function that it returns is called.
func (p *progress) live(rec *recorder, start time.Time, pl plan) (stop func()) {
	ticker, done := time.NewTicker(time.Second), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		before := time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				phase := ""
				if now.Sub(start) < pl.warmup {
					phase = " warm-up,"
				}
				l := rec.lastSecond()
				p.say("%3.0f s:%s %.0f requests/s, %d in flight, p50 %s, p99 %s, %d errors, %d dropped in all", now.Sub(start).Seconds(), phase,
					float64(l.count)/now.Sub(before).Seconds(), rec.onTheWay.Load(), short(l.p50), short(l.p99), l.failed, l.dropped)
				before = now
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		wait.Wait()
	}
}

func short(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}
