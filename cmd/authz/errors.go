package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
)

// The exit codes. exitCodes tells people.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

func exitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes:

  0  done; a server that was told to stop has stopped in order
  1  failed: the store, the network, no such app or user, a name that is taken;
     or stopped at once, by a second signal
  2  not understood: an unknown command or flag, or a value that cannot be
  3  refused, and nothing was changed: the database belongs to another version
     of this program, the key file is missing, or the answer was no

An error is one sentence on stderr, with --json {"error": "…"}.`,
	}
}

// usageError says that the command line cannot be followed.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// refusedError says that the program could, but should not.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

// report tells of err, if any, and returns the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	text := strings.TrimSuffix(sentence(err), ".")
	if p.json {
		_ = json.NewEncoder(p.stderr).Encode(struct {
			Error string `json:"error"`
		}{text})
	} else {
		fmt.Fprintf(p.stderr, "authz: %s.\n", text)
	}
	return p.code(err)
}

func (p *program) code(err error) int {
	var (
		usage      *usageError
		refused    *refusedError
		validation *authz.ValidationError
		invalid    *account.InvalidError
	)
	switch {
	case errors.As(err, &refused), errors.Is(err, store.ErrSchema):
		return exitRefused
	case errors.As(err, &usage), !p.started,
		errors.As(err, &validation) && !taken(err), errors.As(err, &invalid):
		return exitUsage
	}
	return exitFailed
}

// taken reports whether a value is in use already, such as a client_id.
func taken(err error) bool {
	var validation *authz.ValidationError
	return errors.As(err, &validation) && len(validation.Fields) == 1 && validation.Fields[0].Code == authz.CodeAlreadyExists
}

// sentence says what is wrong, on one line, and what to do where the error does
// not know.
func sentence(err error) string {
	text := strings.Join(strings.Fields(plain(err)), " ")
	switch {
	case strings.Contains(text, "free some space"), strings.Contains(text, "change its permissions"):
	case errors.Is(err, syscall.ENOSPC):
		text += ": free some space on the disk and try again"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		text += ": change the permissions, or give another path"
	case errors.Is(err, syscall.EISDIR):
		text += ": give the path of a file"
	}
	return text
}

var packages = strings.NewReplacer(": authz: ", ": ", ": account: ", ": ", ": store: ", ": ", ": store/sqlite: ", ": ", ": store/postgres: ", ": ")

// flagNames are the settings that come from flags.
var flagNames = strings.NewReplacer(
	"HandlerConfig.Prefix", "--prefix", "HandlerConfig.BaseURL", "--base-url",
	"Config.Lifetime and Config.MaxPerUserAndApp", "--lifetime", "Config.CacheTTL, Config.UnwatchedTTL and Config.IdleTimeout", "--idle-timeout", "Config.Scopes:", "--scopes:", "Config.OTPReuse", "--otp-reuse")

// flagError is a usage error about a setting of a library, in terms of flags.
func flagError(err error) error { return usagef("%s", flagNames.Replace(err.Error())) }

// plain drops the names of packages, which mean nothing to people.
func plain(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, account.ErrNoOTP):
		return "no one-time passwords wait to be confirmed: begin with authz user otp enrol"
	case strings.Contains(err.Error(), "no key in Config opens"):
		return "the key file is not the one that sealed this user's seed: give the right one with --key-file"
	case errors.Is(err, account.ErrBadCode):
		return "the code is wrong or too old: nothing was changed, try again with the next one"
	}
	text := ": " + err.Error()
	for before := ""; text != before; {
		before, text = text, packages.Replace(text)
	}
	return strings.TrimPrefix(text, ": ")
}

// listenError says what to do about an address that cannot be listened on.
func listenError(addr string, err error) error {
	var (
		address *net.AddrError
		dns     *net.DNSError
	)
	_, port, splitErr := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use: stop what listens there or give --addr 127.0.0.1:0", addr)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("port %s needs more rights than this user has: give --addr with a port above 1023", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this machine: give --addr 127.0.0.1:8080 or :8080 for all of them", addr)
	case splitErr != nil, errors.As(err, &address):
		return usagef("--addr %q must be HOST:PORT, such as 127.0.0.1:8080", addr)
	case errors.As(err, &dns):
		return fmt.Errorf("--addr %q cannot be found: give a host that this machine has, and a port from 0 to 65535", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}
