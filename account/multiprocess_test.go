package account

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
)

// childEnv makes the test binary one of the processes of TestProcesses: it
// holds driver, clock and DSN.
const childEnv = "ACCOUNT_TEST_CHILD"

// TestChild is no test of its own. It reads one line for each round, and writes
// how many of 8 logins at once got in.
func TestChild(t *testing.T) {
	driver, rest, ok := strings.Cut(os.Getenv(childEnv), " ")
	if !ok {
		return
	}
	us, dsn, _ := strings.Cut(rest, " ")
	c := new(clock)
	n, err := strconv.ParseInt(us, 10, 64)
	must(t, err)
	c.us.Store(n)
	d := directory(t, openSQL(t, driver, dsn), c, func(c *Config) { c.MaxHashes = 8 })
	must(t, d.Check(t.Context()))
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		user, secrets, _ := strings.Cut(in.Text(), " ")
		pw, code, _ := strings.Cut(secrets, " ")
		var won atomic.Int64
		together(8, func(i int) {
			if auth(d, user, strings.ReplaceAll(pw, "_", " "), authz.NewSecret(code)) == nil {
				won.Add(1)
			}
		})
		fmt.Println("won", won.Load())
		c.advance(2 * period * time.Second)
	}
}

type child struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// line returns the next line that begins with word.
func (c child) line(t *testing.T, word string) string {
	t.Helper()
	for c.out.Scan() {
		if rest, ok := strings.CutPrefix(c.out.Text(), word); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatal("a child has ended")
	return ""
}

// Four processes, eight logins each: one code is accepted once, and wrong
// passwords lock for all of them.
func TestProcesses(t *testing.T) {
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			dsn := newDatabase(t, driver)
			c := newClock()
			d := directory(t, openSQL(t, driver, dsn), c)
			must(t, d.Migrate(t.Context()))
			u := withOTP(t, d)
			children := make([]child, 4)
			for i := range children {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childEnv, driver, c.us.Load(), dsn))
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				must(t, err)
				out, err := cmd.StdoutPipe()
				must(t, err)
				must(t, cmd.Start())
				t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
				children[i] = child{in, bufio.NewScanner(out)}
			}
			for _, c := range children {
				c.line(t, "ready")
			}
			round := func(pw, code string) (won int) {
				for _, c := range children {
					_, err := fmt.Fprintln(c.in, login, pw, code)
					must(t, err)
				}
				for _, c := range children {
					n, err := strconv.Atoi(c.line(t, "won"))
					must(t, err)
					won += n
				}
				c.advance(2 * period * time.Second)
				return won
			}
			for range 5 {
				if got := round("correct_horse", c.code(0).Reveal()); got != 1 {
					t.Errorf("one code was accepted %d times, want 1", got)
				}
			}
			codes, err := d.NewRecoveryCodes(t.Context(), u.ID)
			must(t, err)
			for _, code := range codes[:3] {
				if got := round("correct_horse", code.Reveal()); got != 1 {
					t.Errorf("one recovery code was accepted %d times, want 1", got)
				}
			}
			if got := round("wrong_password", ""); got != 0 {
				t.Errorf("a wrong password was accepted %d times", got)
			}
			wantLocked(t, auth(d, login, password, c.code(0)), 14*time.Minute)
			if got := round("correct_horse", c.code(0).Reveal()); got != 0 {
				t.Errorf("a locked user got in %d times", got)
			}
		})
	}
}
