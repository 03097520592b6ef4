package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/client"
	"golang.org/x/term"
)

// A whole command-line program, which says who its user is. The first time it
// asks for login, password and one-time password, and keeps its token in the
// user's configuration folder; from then on it asks nobody.
//
// Its main would be
//
//	dir, err := os.UserConfigDir()
//	…
//	err = whoami(context.Background(), "https://api.example.com", dir, os.Stdin, os.Stdout)
//
// Here it runs against a server of its own, three times: as a new program, with
// its token, and after the user has revoked that.
func Example() {
	server := newExampleServer()
	defer server.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	for run, typed := range []string{"hubot\ncorrect horse\n123 456\n", "", ""} {
		if run == 2 {
			server.revokeAll()
		}
		if err := whoami(context.Background(), server.URL, dir, strings.NewReader(typed), os.Stdout); err != nil {
			fmt.Println("whoami:", err)
		}
	}
	// Output:
	// Login: Password: One-time password (app): Hello, hubot!
	// Hello, hubot!
	// whoami: the token was revoked: run it again to log in
}

func whoami(ctx context.Context, server, configDir string, in io.Reader, out io.Writer) error {
	t := &terminal{in: in, lines: bufio.NewReader(in), out: out}
	c, err := client.New(client.Config{
		BaseURL:  server,
		ClientID: exampleClientID,
		// In the hands of every user, and so no secret; the API wants it.
		ClientSecret: client.NewSecret(exampleClientSecret),
		UserAgent:    "whoami/1.0",
		OTP: func(_ context.Context, c client.Challenge) (string, error) {
			switch {
			case c.Lost:
				fmt.Fprintln(out, "The connection broke, and the code is used up. Wait for the next one.")
			case c.Attempt > 1:
				fmt.Fprintln(out, "That code was refused.")
			}
			return t.ask("One-time password (" + c.Delivery + "): ")
		},
	})
	if err != nil {
		return err
	}

	host, err := os.Hostname()
	if err != nil {
		return err
	}
	kept := client.File(filepath.Join(configDir, "whoami", "token"))
	token, err := c.Token(ctx, kept, t.login, client.Request{
		Note:        "whoami on " + host,
		Fingerprint: host,                    // each machine has a token of its own,
		OnExisting:  client.OnExistingRotate, // and gets another one if that is lost
	})
	var e *client.Error
	switch {
	case errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized:
		return errors.New("wrong login or password")
	case errors.As(err, &e) && e.StatusCode == http.StatusForbidden && e.RetryAfter > 0:
		return fmt.Errorf("too many failures: try again in %v", e.RetryAfter.Round(time.Minute))
	case err != nil:
		return err
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/user", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		name, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
		fmt.Fprintf(out, "Hello, %s!\n", name)
		return err
	case http.StatusUnauthorized: // revoked, or expired
		if err := kept.Save(ctx, ""); err != nil {
			return err
		}
		return errors.New("the token was revoked: run it again to log in")
	}
	return errors.New(resp.Status)
}

// terminal asks people.
type terminal struct {
	in    io.Reader
	lines *bufio.Reader
	out   io.Writer
}

func (t *terminal) login(context.Context) (client.Credentials, error) {
	login, err := t.ask("Login: ")
	if err != nil {
		return client.Credentials{}, err
	}
	password, err := t.askHidden("Password: ")
	if err != nil {
		return client.Credentials{}, err
	}
	return client.Credentials{Login: login, Password: client.NewSecret(password)}, nil
}

func (t *terminal) ask(question string) (string, error) {
	fmt.Fprint(t.out, question)
	line, err := t.lines.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// askHidden does not show what is typed.
func (t *terminal) askHidden(question string) (string, error) {
	file, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return t.ask(question)
	}
	fmt.Fprint(t.out, question)
	password, err := term.ReadPassword(int(file.Fd()))
	fmt.Fprintln(t.out)
	return string(password), err
}
