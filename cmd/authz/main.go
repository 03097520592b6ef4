// Command authz serves the authz API on SQLite, PostgreSQL or in memory, and
// administers its apps, users and tokens.
//
//	authz demo                      a server with users and an app to try
//	authz serve --store sqlite:authz.db
//	authz app create --name "my app"
//	authz user create mona
//	authz token list --user mona
//
// "authz help" has the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// A reader that goes away must not end a server: writing fails instead.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for signals: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		stdin: stdin, stdout: stdout, stderr: stderr,
		json: slices.Contains(args, "--json") || slices.Contains(args, "--json=true"), // for errors in flags before it
	}
	root := p.root()
	root.SetArgs(args)
	return p.report(root.ExecuteContext(ctx))
}

// program is one run of the command.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	started        bool // the command line was understood
}

func (p *program) root() *cobra.Command {
	root := p.group("authz", "Get-or-create API tokens for the users of a web app", `Serves the API PUT /authorizations/clients/{client_id}, with all that belongs to
it, and administers its apps, users and tokens.

Begin with "authz demo": a server on an SQLite file, with users and an app,
and curl lines to paste.

Results go to stdout, logs and questions to stderr. With --json results and
errors are JSON. Secrets are read from files or stdin, never from arguments.`)
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.PersistentFlags().BoolVar(&p.json, "json", p.json, "print results and errors as JSON")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.Version = buildVersion().Version
	root.AddCommand(p.demo(), p.serve(), p.app(), p.user(), p.token(), p.migrate(), p.version(), exitCodes())
	root.SetHelpCommand(p.help(root))
	root.InitDefaultCompletionCmd("completion")
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Args = noArgs // cobra's own answer to an unknown shell is its help, and 0
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	return root
}

// help is cobra's help, but a topic that does not exist is an error.
func (p *program) help(root *cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if c, _, err := root.Find(args); err == nil {
				for _, sub := range c.Commands() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		topic, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return at(root, fmt.Errorf("there is no help on %q", strings.Join(args, " ")))
		}
		topic.InitDefaultHelpFlag()
		return topic.Help()
	}
	return c
}

// group is a command that only holds others.
func (p *program) group(use, short, long string) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("unknown command %q", args[0])
		if like := c.SuggestionsFor(args[0]); len(like) > 0 {
			err = fmt.Errorf("%w, did you mean %q?", err, like[0])
		}
		return at(c, err)
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.SuggestionsMinimumDistance = 2
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if unknown := c.Args(c, c.Flags().Args()); unknown != nil { // the flag may be that of the command meant
			return unknown
		}
		return at(c, err)
	})
	return c
}

// command is a command that does something.
func (p *program) command(c *cobra.Command, args cobra.PositionalArgs, do func(ctx context.Context, args []string) error) *cobra.Command {
	c.Args = func(c *cobra.Command, a []string) error {
		if err := args(c, a); err != nil {
			return at(c, err)
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, a []string) error {
		p.started = true
		err := do(c.Context(), a)
		if usage := new(usageError); errors.As(err, &usage) {
			return at(c, err)
		}
		return err
	}
	c.SetFlagErrorFunc(at)
	return c
}

// noArgs and arg are cobra's NoArgs and ExactArgs(1) in words.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is one argument too many", args[0])
	}
	return nil
}

func arg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("%s is missing", name)
		case len(args) > 1:
			return fmt.Errorf("%q is one argument too many", args[1])
		}
		return nil
	}
}

// scopes are the values of a flag that may be repeated and holds lists as well; ""
// is an empty list.
func scopes(values []string) (all []string) {
	for _, list := range values {
		if list != "" {
			all = append(all, strings.Split(list, ",")...)
		} else if all == nil {
			all = []string{}
		}
	}
	return all
}

// at says where to read how the command is used.
func at(c *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%s (see: %s --help)", strings.TrimSuffix(err.Error(), "."), c.CommandPath())}
}
