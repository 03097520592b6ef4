// Command with runs a command beside a private PostgreSQL, so that the tests of many packages share one:
//
//	with [--] COMMAND [ARGUMENTS]
//
// The command finds the server's URL in AUTHZ_TEST_POSTGRES_DSN. If that is set already, with starts nothing.
// Signals are passed on; the exit code is the command's, or 128 + the number of the signal that ended it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: with [--] COMMAND [ARGUMENTS]")
		return 2
	}

	// Before the server starts: a signal that comes now is kept for the command, and the server still ends in order.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	if os.Getenv(pgtest.EnvDSN) == "" {
		s, err := pgtest.Start(pgtest.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, "with:", err)
			return 1
		}
		defer s.Close()
		os.Setenv(pgtest.EnvDSN, s.DSN())
	}

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
		return 127
	}
	go func() {
		for sig := range signals {
			cmd.Process.Signal(sig) //nolint:errcheck // it may have ended
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "with:", err)
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
