package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/seed-926035fd/authz"
)

// maxSecret bounds what is read from a secret's file.
const maxSecret = 64 << 10

// readSecret reads a secret from a file, or from stdin for "-". One line end at
// its end is not part of it.
func (p *program) readSecret(flag, path string) (authz.Secret, error) {
	in, name := p.stdin, "stdin"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return authz.Secret{}, fmt.Errorf("%s: %w", flag, err)
		}
		defer func() { _ = f.Close() }()
		in, name = f, path
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	switch {
	case err != nil:
		return authz.Secret{}, fmt.Errorf("%s: %w", flag, err)
	case len(text) > maxSecret:
		return authz.Secret{}, fmt.Errorf("%s: %s is too long for a secret", flag, name)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if line == "" {
		return authz.Secret{}, fmt.Errorf("%s: %s is empty", flag, name)
	}
	return authz.NewSecret(line), nil
}

// terminal returns stdin if it is a terminal.
func (p *program) terminal() (f *os.File, ok bool) {
	f, ok = p.stdin.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// askHidden asks for a secret without echo.
func (p *program) askHidden(ctx context.Context, tty *os.File, question string) (authz.Secret, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return authz.Secret{}, err
	}
	fmt.Fprint(p.stderr, question)
	defer fmt.Fprintln(p.stderr)
	line, err := waitFor(ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		return string(b), err
	})
	if err != nil {
		_ = term.Restore(fd, before)
		return authz.Secret{}, err
	}
	return authz.NewSecret(line), nil
}

// askLine reads one line of stdin, after a question if stdin is a terminal.
func (p *program) askLine(ctx context.Context, question string) (string, error) {
	if _, ok := p.terminal(); ok {
		fmt.Fprint(p.stderr, question)
	}
	line, err := waitFor(ctx, func() (string, error) {
		return bufio.NewReader(io.LimitReader(p.stdin, maxSecret)).ReadString('\n')
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// mayAsk refuses a command that needs an answer and has nobody to ask. The
// purpose completes the sentence "give --yes".
func (p *program) mayAsk(yes bool, purpose string) error {
	if _, tty := p.terminal(); !yes && !tty {
		return usagef("stdin is no terminal to ask on: give --yes %s", purpose)
	}
	return nil
}

// confirm asks, unless yes. refused is the error where the answer is no.
func (p *program) confirm(ctx context.Context, yes bool, question, refused string) error {
	if yes {
		return nil
	}
	line, err := p.askLine(ctx, question+" [y/N] ")
	if err != nil {
		return err
	}
	if line != "y" && line != "Y" && line != "yes" {
		return &refusedError{refused}
	}
	return nil
}

// waitFor is f, but an interrupt ends the wait.
func waitFor(ctx context.Context, f func() (string, error)) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := f()
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
