package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
)

// appView is an app in JSON.
type appView struct {
	ClientID     string       `json:"client_id"`
	ClientSecret string       `json:"client_secret,omitempty"` // when it has just been made
	Name         string       `json:"name"`
	URL          string       `json:"url"`
	Secrets      []secretView `json:"secrets"`
	SuspendedAt  timestamp    `json:"suspended_at"`
	CreatedAt    timestamp    `json:"created_at"`
	UpdatedAt    timestamp    `json:"updated_at"`
}

type secretView struct {
	CreatedAt timestamp `json:"created_at"`
	ExpiresAt timestamp `json:"expires_at"`
}

func viewApp(app authz.App, secret authz.Secret) appView {
	v := appView{
		ClientID: app.ClientID, ClientSecret: secret.Reveal(), Name: app.Name, URL: app.URL,
		Secrets:     []secretView{},
		SuspendedAt: timestamp(app.SuspendedAt),
		CreatedAt:   timestamp(app.CreatedAt), UpdatedAt: timestamp(app.UpdatedAt),
	}
	for _, s := range app.Secrets {
		if s.Live(time.Now()) {
			v.Secrets = append(v.Secrets, secretView{timestamp(s.CreatedAt), timestamp(s.ExpiresAt)})
		}
	}
	return v
}

func (v appView) text(w io.Writer) {
	rows := []string{row("name", v.Name), row("url", orDash(v.URL)), row("client_id", v.ClientID)}
	if v.ClientSecret != "" {
		rows = append(rows, row("client_secret", v.ClientSecret))
	}
	if v.suspended() {
		rows = append(rows, row("suspended", v.SuspendedAt.String()))
	}
	rows = append(rows, row("created", v.CreatedAt.String()), row("updated", v.UpdatedAt.String()))
	for i, s := range v.Secrets {
		rows = append(rows, row("secret "+strconv.Itoa(i+1), "made "+s.CreatedAt.String()+", ends "+s.ExpiresAt.String()))
	}
	table(w, rows...)
}

func (v appView) suspended() bool { return !time.Time(v.SuspendedAt).IsZero() }

func (p *program) app() *cobra.Command {
	c := p.group("app", "Administer apps", "Registers, lists, changes, suspends and deletes the apps that may ask for tokens.")
	c.AddCommand(p.appCreate(), p.appList(), p.appShow(), p.appUpdate(), p.appRotateSecret(), p.appSuspend(), p.appResume(), p.appDelete())
	return c
}

// withApps opens the store of an app command.
func (p *program) withApps(ctx context.Context, f *storeFlags, create bool, do func(m *authz.Manager) error) error {
	s, err := p.open(ctx, f, create)
	if err != nil {
		return err
	}
	defer s.close()
	m, err := s.manager(authz.Config{})
	if err != nil {
		return err
	}
	return do(m)
}

// noApp names the app that a command was given.
func noApp(clientID string, err error) error {
	if errors.Is(err, authz.ErrNotFound) {
		return fmt.Errorf("there is no app %q in this store: see authz app list", clientID)
	}
	return err
}

const keepSecret = "Keep the client_secret: it cannot be shown again."

func (p *program) appCreate() *cobra.Command {
	var (
		f          storeFlags
		app        authz.NewApp
		secretFile string
	)
	c := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Register an app and print its client_id and client_secret",
		Long: `Registers an app and prints its client_id and client_secret, which cannot be
shown again. An app that is known elsewhere keeps both: its client_id is an
argument, its client_secret comes from a file or stdin.`,
		Example: `  authz app create --name "my app" --url https://app.example.com
  authz app create --name old --client-id abcde12345fghij67890 --client-secret-file - <secret.txt`,
	}
	f.register(c)
	c.Flags().StringVar(&app.Name, "name", "", "what users see")
	c.Flags().StringVar(&app.URL, "url", "", "home page")
	c.Flags().StringVar(&app.ClientID, "client-id", "", "20 letters and digits (default: made)")
	c.Flags().StringVar(&secretFile, "client-secret-file", "", "file with the client_secret of 40 characters, - is stdin (default: made)")
	_ = c.MarkFlagFilename("client-secret-file")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		switch {
		case app.Name == "":
			return usagef("--name is required")
		case (app.ClientID == "") != (secretFile == ""):
			return usagef("--client-id and --client-secret-file go together: give both, or none to have them made")
		}
		if secretFile != "" {
			secret, err := p.readSecret("--client-secret-file", secretFile)
			if err != nil {
				return err
			}
			app.ClientSecret = secret
		}
		return p.withApps(ctx, &f, true, func(m *authz.Manager) error {
			made, secret, err := m.RegisterApp(ctx, app)
			if taken(err) {
				return fmt.Errorf("the client_id %s is in use, or was by an app that is deleted: take another one", app.ClientID)
			}
			if err != nil {
				return err
			}
			v := viewApp(made, secret)
			if err := p.print(v, v.text); err != nil {
				return err
			}
			p.say(keepSecret)
			return nil
		})
	})
}

func (p *program) appList() *cobra.Command {
	var f storeFlags
	c := &cobra.Command{Use: "list", Short: "List all apps"}
	f.register(c)
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			views := []appView{}
			for after := int64(0); ; {
				const limit = 1000
				apps, err := m.Apps(ctx, after, limit)
				if err != nil {
					return err
				}
				for _, app := range apps {
					views = append(views, viewApp(app, authz.Secret{}))
					after = app.ID
				}
				if len(apps) < limit {
					break
				}
			}
			return p.print(views, func(w io.Writer) {
				rows := []string{row("CLIENT_ID", "NAME", "URL", "SECRETS", "SUSPENDED", "CREATED")}
				for _, v := range views {
					rows = append(rows, row(v.ClientID, v.Name, orDash(v.URL), strconv.Itoa(len(v.Secrets)), yes(v.suspended()), v.CreatedAt.String()))
				}
				table(w, rows...)
			})
		})
	})
}

func (p *program) appShow() *cobra.Command {
	var f storeFlags
	c := &cobra.Command{Use: "show CLIENT_ID", Short: "Show an app"}
	f.register(c)
	return p.command(c, arg("CLIENT_ID"), func(ctx context.Context, args []string) error {
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			app, err := m.App(ctx, args[0])
			if err != nil {
				return noApp(args[0], err)
			}
			v := viewApp(app, authz.Secret{})
			return p.print(v, v.text)
		})
	})
}

func (p *program) appUpdate() *cobra.Command {
	var (
		f         storeFlags
		name, url string
	)
	c := &cobra.Command{Use: "update CLIENT_ID", Short: "Change an app's name or URL"}
	f.register(c)
	c.Flags().StringVar(&name, "name", "", "what users see")
	c.Flags().StringVar(&url, "url", "", `home page, "" for none`)
	return p.command(c, arg("CLIENT_ID"), func(ctx context.Context, args []string) error {
		var u authz.AppUpdate
		if c.Flags().Changed("name") {
			u.Name = &name
		}
		if c.Flags().Changed("url") {
			u.URL = &url
		}
		if u == (authz.AppUpdate{}) {
			return usagef("give --name or --url, or both")
		}
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			app, err := m.UpdateApp(ctx, args[0], u)
			if err != nil {
				return noApp(args[0], err)
			}
			v := viewApp(app, authz.Secret{})
			return p.print(v, v.text)
		})
	})
}

func (p *program) appRotateSecret() *cobra.Command {
	var (
		f       storeFlags
		overlap time.Duration
	)
	c := &cobra.Command{
		Use:   "rotate-secret CLIENT_ID",
		Short: "Give an app a new client_secret and print it",
		Long: `Gives an app a new client_secret and prints it; it cannot be shown again. The
secrets that are live go on for --overlap, so that the app's installations can
change over without a gap. --overlap 0 ends them at once: for a secret that was
stolen.`,
	}
	f.register(c)
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the secrets from before go on")
	return p.command(c, arg("CLIENT_ID"), func(ctx context.Context, args []string) error {
		if overlap < 0 {
			return usagef("--overlap must not be negative")
		}
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			app, secret, err := m.RotateSecret(ctx, args[0], overlap)
			if err != nil {
				return noApp(args[0], err)
			}
			v := viewApp(app, secret)
			if err := p.print(v, v.text); err != nil {
				return err
			}
			p.say(keepSecret)
			return nil
		})
	})
}

func (p *program) appSuspend() *cobra.Command {
	return p.appChange("suspend", "Refuse an app and all its tokens until app resume",
		"Suspends an app: its client_secret and all its tokens are refused as wrong ones\nare, until app resume. Nothing is revoked.",
		"suspended", "Refused until authz app resume %s: its client_secret and its tokens.", (*authz.Manager).SuspendApp)
}

func (p *program) appResume() *cobra.Command {
	return p.appChange("resume", "Undo suspend",
		"Ends what app suspend has begun: the app's client_secret and its tokens are good\nagain, but those that were revoked or have expired.",
		"resumed", "", (*authz.Manager).ResumeApp)
}

// appChange is a command that changes one app without more to say.
func (p *program) appChange(use, short, long, done, more string, change func(m *authz.Manager, ctx context.Context, clientID string) (authz.App, error)) *cobra.Command {
	var f storeFlags
	c := &cobra.Command{Use: use + " CLIENT_ID", Short: short, Long: long}
	f.register(c)
	return p.command(c, arg("CLIENT_ID"), func(ctx context.Context, args []string) error {
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			app, err := change(m, ctx, args[0])
			if err != nil {
				return noApp(args[0], err)
			}
			if err := p.print(viewApp(app, authz.Secret{}), func(w io.Writer) {
				fmt.Fprintf(w, "%s the app %q (%s)\n", done, app.Name, app.ClientID)
			}); err != nil || more == "" {
				return err
			}
			p.say(more, app.ClientID)
			return nil
		})
	})
}

func (p *program) appDelete() *cobra.Command {
	var (
		f   storeFlags
		yes bool
	)
	c := &cobra.Command{
		Use:   "delete CLIENT_ID",
		Short: "Delete an app and revoke all its tokens",
		Long: `Deletes an app and revokes all its tokens, and says how many. Its client_id is
never given out again. It asks first; without a terminal it needs --yes.`,
	}
	f.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return p.command(c, arg("CLIENT_ID"), func(ctx context.Context, args []string) error {
		if err := p.mayAsk(yes, "to delete the app and revoke all its tokens"); err != nil {
			return err
		}
		return p.withApps(ctx, &f, false, func(m *authz.Manager) error {
			app, err := m.App(ctx, args[0])
			if err != nil {
				return noApp(args[0], err)
			}
			n, err := m.RevokeAll(ctx, authz.Revocation{ClientID: app.ClientID, DryRun: true})
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Delete the app %q (%s) and revoke %s?", app.Name, app.ClientID, count(n, "token"))
			if err := p.confirm(ctx, yes, question, "nothing was deleted"); err != nil {
				return err
			}
			n, err = m.DeleteApp(ctx, args[0])
			if err != nil {
				return noApp(args[0], err)
			}
			return p.print(struct {
				ClientID       string `json:"client_id"`
				Authorizations int64  `json:"authorizations"`
			}{args[0], n}, func(w io.Writer) {
				fmt.Fprintf(w, "deleted the app %q (%s) and %s\n", app.Name, app.ClientID, count(n, "authorization"))
			})
		})
	})
}

// count is a number of things in words.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.FormatInt(n, 10) + " " + thing + "s"
}
