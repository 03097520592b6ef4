package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
)

// tokenView is an authorization in JSON.
type tokenView struct {
	ID             int64     `json:"id"`
	Token          string    `json:"token,omitempty"` // when it has just been made
	TokenLastEight string    `json:"token_last_eight"`
	ClientID       string    `json:"client_id"`
	Scopes         []string  `json:"scopes"`
	Note           string    `json:"note"`
	NoteURL        string    `json:"note_url"`
	Fingerprint    string    `json:"fingerprint"`
	CreatedAt      timestamp `json:"created_at"`
	UpdatedAt      timestamp `json:"updated_at"`
	ExpiresAt      timestamp `json:"expires_at"`
	LastUsedAt     timestamp `json:"last_used_at"`
}

func viewToken(a authz.Authorization, token authz.Secret) tokenView {
	v := tokenView{
		ID: a.ID, Token: token.Reveal(), TokenLastEight: a.TokenLastEight, ClientID: a.ClientID,
		Scopes: a.Scopes, Note: a.Note, NoteURL: a.NoteURL, Fingerprint: a.Fingerprint,
		CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(a.UpdatedAt), ExpiresAt: timestamp(a.ExpiresAt), LastUsedAt: timestamp(a.LastUsedAt),
	}
	if v.ClientID == "" {
		v.ClientID = authz.PersonalClientID // as the API shows it
	}
	if v.Scopes == nil {
		v.Scopes = []string{}
	}
	return v
}

// app is the app's client_id for people.
func (v tokenView) app() string {
	if v.ClientID == authz.PersonalClientID {
		return personal
	}
	return v.ClientID
}

// personal stands for no app in --app; no client_id is so short.
const personal = "personal"

func (p *program) token() *cobra.Command {
	c := p.group("token", "Administer users' tokens", `Lists and revokes the tokens of users, makes personal ones, and cleans up. The tokens of
apps are made by the API: PUT /authorizations/clients/{client_id}.`)
	c.AddCommand(p.tokenCreate(), p.tokenList(), p.tokenGrants(), p.tokenRevoke(), p.tokenRevokeAll(), p.tokenUnused(), p.tokenExpiring(), p.tokenPurge())
	return c
}

// tokenFlags say where tokens are, and whose.
type tokenFlags struct {
	storeFlags
	login string
	app   string
}

func (f *tokenFlags) register(c *cobra.Command) {
	f.storeFlags.register(c)
	c.Flags().StringVar(&f.login, "user", "", "login of the user")
}

func (f *tokenFlags) registerApp(c *cobra.Command) {
	c.Flags().StringVar(&f.app, "app", "", "client_id of the app, or "+personal+" for the tokens of none")
	_ = c.RegisterFlagCompletionFunc("app", cobra.FixedCompletions([]string{personal}, cobra.ShellCompDirectiveNoFileComp))
}

// tokens is an open store, and whose tokens in it a command is about.
type tokens struct {
	m     *authz.Manager
	user  account.User // zero: of all users
	owner string
	app   authz.App // zero: for all apps
}

// withAll opens the store of a command about users and their tokens.
func (p *program) withAll(ctx context.Context, f *storeFlags, cfg authz.Config, do func(m *authz.Manager, users *account.Directory) error) error {
	s, err := p.open(ctx, f, false)
	if err != nil {
		return err
	}
	defer s.close()
	m, err := s.manager(cfg)
	if err != nil {
		return flagError(err)
	}
	users, err := s.directory(account.Config{})
	if err != nil {
		return err
	}
	return do(m, users)
}

// withTokens opens the store of a token command and finds what the flags name.
func (p *program) withTokens(ctx context.Context, f *tokenFlags, cfg authz.Config, do func(t *tokens) error) error {
	return p.withAll(ctx, &f.storeFlags, cfg, func(m *authz.Manager, users *account.Directory) (err error) {
		t := &tokens{m: m}
		if f.login != "" {
			if t.user, err = byLogin(ctx, users, f.login); err != nil {
				return err
			}
			t.owner = t.user.Authz().ID
		}
		switch f.app {
		case "":
		case personal, authz.PersonalClientID:
			t.app.ClientID = authz.PersonalClientID
		default:
			if t.app, err = m.App(ctx, f.app); err != nil {
				return noApp(f.app, err)
			}
		}
		return do(t)
	})
}

// names says which tokens they are, after their number.
func (t *tokens) names(n int64) string {
	text := count(n, "token")
	if t.app.ClientID == authz.PersonalClientID {
		text = count(n, "personal token")
	}
	if t.owner != "" {
		text += " of " + t.user.Login
	}
	if t.app.Name != "" {
		text += fmt.Sprintf(" for the app %q (%s)", t.app.Name, t.app.ClientID)
	}
	return text
}

func (p *program) tokenList() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:     "list --user LOGIN",
		Short:   "List a user's tokens",
		Long:    "Lists a user's tokens, without those that have expired. What they read like is\nnot kept: there are only their last eight characters. Uses are stored once a\nminute.",
		Example: "  authz token list --user mona\n  authz token list --user mona --app " + personal,
	}
	f.register(c)
	f.registerApp(c)
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		if f.login == "" {
			return usagef("--user is required")
		}
		return p.withTokens(ctx, &f, authz.Config{}, func(t *tokens) error {
			views := []tokenView{}
			for after := int64(0); ; {
				const limit = 1000
				page, err := t.m.List(ctx, t.owner, authz.ListOptions{ClientID: t.app.ClientID, After: after, Limit: limit})
				if err != nil {
					return err
				}
				for _, a := range page {
					views = append(views, viewToken(a, authz.Secret{}))
					after = a.ID
				}
				if len(page) < limit {
					break
				}
			}
			return p.print(views, func(w io.Writer) {
				rows := []string{row("ID", "APP", "SCOPES", "NOTE", "FINGERPRINT", "LAST EIGHT", "CREATED", "EXPIRES", "LAST USED")}
				for _, v := range views {
					rows = append(rows, row(strconv.FormatInt(v.ID, 10), v.app(), orDash(strings.Join(v.Scopes, ",")), orDash(v.Note), orDash(v.Fingerprint),
						v.TokenLastEight, v.CreatedAt.String(), v.ExpiresAt.String(), v.LastUsedAt.String()))
				}
				table(w, rows...)
			})
		})
	})
}

func (p *program) tokenCreate() *cobra.Command {
	var (
		f        tokenFlags
		req      authz.Request
		lifetime time.Duration
	)
	c := &cobra.Command{
		Use:   "create --user LOGIN --note NOTE",
		Short: "Make a personal token and print it",
		Long: `Makes a personal token of a user, which belongs to no app, and prints it; it
cannot be shown again. The note tells the user's personal tokens apart.`,
		Example: `  authz token create --user mona --note "nightly backup" --scopes repo --lifetime 2160h
  TOKEN=$(authz token create --user mona --note ci --json | jq -r .token)`,
	}
	f.register(c)
	c.Flags().StringVar(&req.Note, "note", "", "what the token is for; the user's other personal tokens have other notes")
	c.Flags().StringVar(&req.NoteURL, "note-url", "", "where to read more about it")
	c.Flags().StringArrayVar(&req.Scopes, "scopes", nil, "what the token may do, such as repo,user (default: nothing in particular)")
	c.Flags().DurationVar(&lifetime, "lifetime", 0, "how long the token lives, such as 720h (default: for ever)")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		switch {
		case f.login == "":
			return usagef("--user is required")
		case strings.TrimSpace(req.Note) == "":
			return usagef("--note is required")
		}
		return p.withTokens(ctx, &f, authz.Config{Lifetime: lifetime}, func(t *tokens) error {
			req.Owner, req.Scopes = t.owner, scopes(req.Scopes)
			result, err := t.m.Create(ctx, req)
			if taken(err) {
				return fmt.Errorf("%s has a personal token with the note %q: take another note, or revoke that token: see authz token list --user %s", t.user.Login, req.Note, t.user.Login)
			}
			if err != nil {
				return err
			}
			v := viewToken(result.Authorization, result.Token)
			err = p.print(v, func(w io.Writer) {
				table(w, row("id", strconv.FormatInt(v.ID, 10)), row("note", v.Note), row("scopes", orDash(strings.Join(v.Scopes, ","))),
					row("expires", v.ExpiresAt.String()), row("token", v.Token))
			})
			if err != nil { // a token that nobody has seen is nobody's
				if m := t.m.Delete(context.WithoutCancel(ctx), t.owner, v.ID); m != nil {
					return fmt.Errorf("the token could not be written; revoke it: authz token revoke %d --user %s: %w", v.ID, t.user.Login, errors.Unwrap(err))
				}
				return fmt.Errorf("the token could not be written, so it was revoked: %w", errors.Unwrap(err))
			}
			p.say("Keep the token: it cannot be shown again.")
			return nil
		})
	})
}

// grantView is a grant in JSON.
type grantView struct {
	ID             int64     `json:"id"`
	ClientID       string    `json:"client_id"`
	Name           string    `json:"name"`
	Scopes         []string  `json:"scopes"`
	Authorizations int       `json:"authorizations"`
	CreatedAt      timestamp `json:"created_at"`
	UpdatedAt      timestamp `json:"updated_at"`
}

func (p *program) tokenGrants() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:   "grants --user LOGIN",
		Short: "List the apps that a user has tokens for",
		Long:  "Lists the apps that a user has tokens for, with the scopes of all of them\ntogether and how many there are.",
	}
	f.register(c)
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		if f.login == "" {
			return usagef("--user is required")
		}
		return p.withTokens(ctx, &f, authz.Config{}, func(t *tokens) error {
			grants, err := t.m.Grants(ctx, t.owner)
			if err != nil {
				return err
			}
			views := make([]grantView, len(grants))
			for i, g := range grants {
				views[i] = grantView{g.ID, g.App.ClientID, g.App.Name, g.Scopes, g.Authorizations, timestamp(g.CreatedAt), timestamp(g.UpdatedAt)}
			}
			return p.print(views, func(w io.Writer) {
				rows := []string{row("CLIENT_ID", "NAME", "SCOPES", "TOKENS", "SINCE")}
				for _, v := range views {
					rows = append(rows, row(v.ClientID, v.Name, orDash(strings.Join(v.Scopes, ",")), strconv.Itoa(v.Authorizations), v.CreatedAt.String()))
				}
				table(w, rows...)
			})
		})
	})
}

func (p *program) tokenRevoke() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:     "revoke ID --user LOGIN",
		Short:   "Revoke one of a user's tokens",
		Long:    "Revokes one of a user's tokens; token list shows the IDs. It is dead at once.",
		Example: "  authz token revoke 17 --user mona",
	}
	f.register(c)
	return p.command(c, arg("ID"), func(ctx context.Context, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		switch {
		case err != nil || id < 1:
			return usagef("ID must be a number, as authz token list shows it")
		case f.login == "":
			return usagef("--user is required")
		}
		return p.withTokens(ctx, &f, authz.Config{}, func(t *tokens) error {
			err := t.m.Delete(ctx, t.owner, id)
			if errors.Is(err, authz.ErrNotFound) {
				return fmt.Errorf("%s has no token %d: see authz token list --user %s", t.user.Login, id, t.user.Login)
			}
			if err != nil {
				return err
			}
			return p.print(struct {
				ID    int64  `json:"id"`
				Login string `json:"login"`
			}{id, t.user.Login}, func(w io.Writer) { fmt.Fprintf(w, "revoked the token %d of %s\n", id, t.user.Login) })
		})
	})
}

func (p *program) tokenRevokeAll() *cobra.Command {
	var (
		f      tokenFlags
		yes    bool
		dryRun bool
	)
	c := &cobra.Command{
		Use:   "revoke-all",
		Short: "Revoke all tokens of a user, for an app, or of the one for the other",
		Long: `Revokes all tokens of a user, for an app, or those of the one for the other, in
one step, and says how many, expired ones included. They are dead at once. It
asks first; without a terminal it needs --yes. The app's client_secret goes on:
authz app rotate-secret changes it.`,
		Example: `  authz token revoke-all --user mona
  authz token revoke-all --app abcde12345fghij67890 --dry-run
  authz token revoke-all --user mona --app ` + personal + ` --yes`,
	}
	f.register(c)
	f.registerApp(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say how many it would be")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		if f.login == "" && f.app == "" {
			return usagef("give --user or --app, or both")
		}
		// Such as --app "$APP" without APP: it would be the tokens for all apps.
		for _, name := range []string{"user", "app"} {
			if flag := c.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
				return usagef("--%s is empty: leave it out to mean all", name)
			}
		}
		yes := yes || dryRun
		if err := p.mayAsk(yes, "to revoke the tokens"); err != nil {
			return err
		}
		return p.withTokens(ctx, &f, authz.Config{}, func(t *tokens) error {
			what := authz.Revocation{Owner: t.owner, ClientID: t.app.ClientID, DryRun: true}
			n, err := t.m.RevokeAll(ctx, what)
			if err == nil && !dryRun && n > 0 {
				if err = p.confirm(ctx, yes, "Revoke "+t.names(n)+"?", "nothing was revoked"); err == nil {
					what.DryRun = false
					n, err = t.m.RevokeAll(ctx, what)
				}
			}
			if err != nil {
				return err
			}
			return p.print(struct {
				Login          string `json:"login,omitempty"`
				ClientID       string `json:"client_id,omitempty"`
				Authorizations int64  `json:"authorizations"`
				DryRun         bool   `json:"dry_run"`
			}{t.user.Login, t.app.ClientID, n, dryRun}, func(w io.Writer) {
				done := "revoked"
				if dryRun {
					done = "would revoke"
				}
				fmt.Fprintf(w, "%s %s\n", done, t.names(n))
			})
		})
	})
}
