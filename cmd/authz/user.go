package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
)

// userView is a user in JSON.
type userView struct {
	ID         int64     `json:"id"`
	Login      string    `json:"login"`
	Password   string    `json:"password,omitempty"` // when it has just been made
	OTP        bool      `json:"otp"`
	Disabled   bool      `json:"disabled"`
	DisabledAt timestamp `json:"disabled_at"`
	CreatedAt  timestamp `json:"created_at"`
	UpdatedAt  timestamp `json:"updated_at"`

	// How many tokens disable has suspended, or revoked.
	Live    *int64 `json:"authorizations,omitempty"`
	Revoked *int64 `json:"revoked,omitempty"`
}

func viewUser(u account.User) userView {
	return userView{
		ID: u.ID, Login: u.Login, OTP: u.OTP, Disabled: !u.DisabledAt.IsZero(), DisabledAt: timestamp(u.DisabledAt),
		CreatedAt: timestamp(u.CreatedAt), UpdatedAt: timestamp(u.UpdatedAt),
	}
}

// everyUser walks over all users.
func everyUser(ctx context.Context, users *account.Directory) iter.Seq2[account.User, error] {
	return func(yield func(account.User, error) bool) {
		const limit = 1000
		for after := int64(0); ; {
			page, err := users.List(ctx, after, limit)
			if err != nil {
				yield(account.User{}, err)
				return
			}
			for _, u := range page {
				after = u.ID
				if !yield(u, nil) {
					return
				}
			}
			if len(page) < limit {
				return
			}
		}
	}
}

func (p *program) user() *cobra.Command {
	c := p.group("user", "Administer users", `Creates, lists and changes the users of the small directory beside the store.
A host with users of its own needs none of it.`)
	c.AddCommand(p.userCreate(), p.userList(), p.userPasswd(), p.userDisable(), p.userEnable(), p.userUnlock(), p.userOTP())
	return c
}

// withUsers opens the store of a user command that needs no key.
func (p *program) withUsers(ctx context.Context, f *storeFlags, create bool, do func(users *account.Directory) error) error {
	s, err := p.open(ctx, f, create)
	if err != nil {
		return err
	}
	defer s.close()
	users, err := s.directory(account.Config{})
	if err != nil {
		return err
	}
	return do(users)
}

// byLogin finds the user that a command was given.
func byLogin(ctx context.Context, users *account.Directory, login string) (account.User, error) {
	u, err := users.ByLogin(ctx, login)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("there is no user %q in this store: see authz user list", login)
	}
	return u, err
}

// passwordFlags say where a new password comes from.
type passwordFlags struct {
	file     string
	generate bool
}

func (f *passwordFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "password-file", "", "file with the password, - is stdin (default: asked on the terminal)")
	c.Flags().BoolVar(&f.generate, "generate-password", false, "make a password and print it")
	_ = c.MarkFlagFilename("password-file")
}

// newPassword asks twice if it has to ask. generated is what to print.
func (p *program) newPassword(ctx context.Context, f *passwordFlags) (password authz.Secret, generated string, err error) {
	switch tty, ok := p.terminal(); {
	case f.generate && f.file != "":
		return authz.Secret{}, "", usagef("give --password-file or --generate-password, not both")
	case f.generate:
		generated = strings.ToLower(rand.Text()) // 130 bits
		return authz.NewSecret(generated), generated, nil
	case f.file != "":
		password, err = p.readSecret("--password-file", f.file)
		return password, "", err
	case !ok:
		return authz.Secret{}, "", usagef("stdin is no terminal to ask for a password on: give --password-file FILE, --password-file - to read stdin, or --generate-password")
	default:
		if password, err = p.askHidden(ctx, tty, "New password: "); err != nil {
			return authz.Secret{}, "", err
		}
		again, err := p.askHidden(ctx, tty, "The same again: ")
		if err != nil {
			return authz.Secret{}, "", err
		}
		if !password.Equal(again) {
			return authz.Secret{}, "", errors.New("the two passwords differ: nothing was changed")
		}
		return password, "", nil
	}
}

func (p *program) userCreate() *cobra.Command {
	var (
		f    storeFlags
		from passwordFlags
	)
	c := &cobra.Command{
		Use:   "create LOGIN",
		Short: "Create a user",
		Long:  "Creates a user. The password is asked for on the terminal, twice, or comes from\na file or stdin, or is made and printed.",
		Example: `  authz user create mona
  authz user create mona --generate-password
  pass show mona | authz user create mona --password-file -`,
	}
	f.register(c)
	from.register(c)
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withUsers(ctx, &f, true, func(users *account.Directory) error {
			password, generated, err := p.newPassword(ctx, &from)
			if err != nil {
				return err
			}
			u, err := users.Create(ctx, account.NewUser{Login: args[0], Password: password})
			if errors.Is(err, store.ErrConflict) {
				return fmt.Errorf("the login %q is taken, in this or another spelling: see authz user list", args[0])
			}
			if err != nil {
				return err
			}
			v := viewUser(u)
			v.Password = generated
			return p.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "created the user %s (id %d)\n", v.Login, v.ID)
				v.printPassword(w)
			})
		})
	})
}

func (v userView) printPassword(w io.Writer) {
	if v.Password != "" {
		fmt.Fprintf(w, "password  %s\n", v.Password)
	}
}

func (p *program) userList() *cobra.Command {
	var f storeFlags
	c := &cobra.Command{Use: "list", Short: "List all users"}
	f.register(c)
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		return p.withUsers(ctx, &f, false, func(users *account.Directory) error {
			views := []userView{}
			for u, err := range everyUser(ctx, users) {
				if err != nil {
					return err
				}
				views = append(views, viewUser(u))
			}
			return p.print(views, func(w io.Writer) {
				rows := []string{row("ID", "LOGIN", "OTP", "DISABLED", "CREATED")}
				for _, v := range views {
					rows = append(rows, row(strconv.FormatInt(v.ID, 10), v.Login, yes(v.OTP), yes(v.Disabled), v.CreatedAt.String()))
				}
				table(w, rows...)
			})
		})
	})
}

func (p *program) userPasswd() *cobra.Command {
	var (
		f    storeFlags
		from passwordFlags
	)
	c := &cobra.Command{
		Use:   "passwd LOGIN",
		Short: "Set a user's password",
		Long:  "Sets a user's password, which comes as with user create. Tokens go on.",
	}
	f.register(c)
	from.register(c)
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withUsers(ctx, &f, false, func(users *account.Directory) error {
			u, err := byLogin(ctx, users, args[0])
			if err != nil {
				return err
			}
			password, generated, err := p.newPassword(ctx, &from)
			if err != nil {
				return err
			}
			if err := users.SetPassword(ctx, u.ID, password); err != nil {
				return err
			}
			return p.printUser(ctx, users, u.ID, generated, "set the password of "+u.Login)
		})
	})
}

// printUser prints a user who was changed.
func (p *program) printUser(ctx context.Context, users *account.Directory, id int64, password, done string) error {
	u, err := users.User(ctx, id)
	if err != nil {
		return err
	}
	v := viewUser(u)
	v.Password = password
	return p.print(v, func(w io.Writer) {
		fmt.Fprintln(w, done)
		v.printPassword(w)
	})
}

// userChange is a command that changes one user.
func (p *program) userChange(use, short, long, done string, change func(ctx context.Context, users *account.Directory, id int64) error) *cobra.Command {
	var f storeFlags
	c := &cobra.Command{Use: use + " LOGIN", Short: short, Long: long}
	f.register(c)
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withUsers(ctx, &f, false, func(users *account.Directory) error {
			u, err := byLogin(ctx, users, args[0])
			if err != nil {
				return err
			}
			if err := change(ctx, users, u.ID); err != nil {
				return err
			}
			return p.printUser(ctx, users, u.ID, "", fmt.Sprintf(done, u.Login))
		})
	})
}

func (p *program) userDisable() *cobra.Command {
	var (
		f      storeFlags
		revoke bool
	)
	c := &cobra.Command{
		Use:   "disable LOGIN",
		Short: "Refuse a user's logins from now on",
		Long: `Refuses a user's logins from now on, as if the user did not exist, and suspends
all tokens of the user: they are refused until user enable. --revoke revokes
them: that cannot be undone by user enable.`,
	}
	f.register(c)
	c.Flags().BoolVar(&revoke, "revoke", false, "revoke all tokens of the user too")
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withAll(ctx, &f, authz.Config{}, func(m *authz.Manager, users *account.Directory) error {
			u, err := byLogin(ctx, users, args[0])
			if err != nil {
				return err
			}
			if err := users.Disable(ctx, u.ID); err != nil {
				return err
			}
			if u, err = users.User(ctx, u.ID); err != nil {
				return err
			}
			if err := m.SuspendUser(ctx, u.Authz().ID); err != nil {
				return fmt.Errorf("%s is disabled, but the tokens go on, as they could not be suspended; try again: %w", u.Login, err)
			}
			v := viewUser(u)
			if revoke { // after Disable: no login makes more of them
				var n int64
				if n, err = m.RevokeAll(ctx, authz.Revocation{Owner: u.Authz().ID}); err != nil {
					return fmt.Errorf("%s is disabled, but the tokens could not be revoked: %w", u.Login, err)
				}
				v.Revoked = &n
				return p.print(v, func(w io.Writer) { fmt.Fprintf(w, "disabled %s and revoked %s\n", v.Login, count(n, "token")) })
			}
			n, err := m.Count(ctx, u.Authz().ID, "")
			if err != nil {
				return fmt.Errorf("%s is disabled, but the tokens could not be counted: %w", u.Login, err)
			}
			v.Live = &n
			if err := p.print(v, func(w io.Writer) { fmt.Fprintf(w, "disabled %s\n", v.Login) }); err != nil {
				return err
			}
			if n > 0 {
				p.say("Suspended until authz user enable %[2]s: %[1]s. authz token revoke-all --user %[2]s ends them for good.", count(n, "token"), v.Login)
			}
			return nil
		})
	})
}

func (p *program) userEnable() *cobra.Command {
	var f storeFlags
	c := &cobra.Command{
		Use:   "enable LOGIN",
		Short: "Undo disable",
		Long:  "Lets a disabled user log in again, and resumes the user's tokens, but those that\nwere revoked.",
	}
	f.register(c)
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withAll(ctx, &f, authz.Config{}, func(m *authz.Manager, users *account.Directory) error {
			u, err := byLogin(ctx, users, args[0])
			if err != nil {
				return err
			}
			if err := enable(ctx, m, users, u); err != nil {
				return err
			}
			return p.printUser(ctx, users, u.ID, "", "enabled "+u.Login)
		})
	})
}

// enable undoes disable. The tokens come last: they are not to live while the user
// is disabled.
func enable(ctx context.Context, m *authz.Manager, users *account.Directory, u account.User) error {
	if err := users.Enable(ctx, u.ID); err != nil {
		return err
	}
	if err := m.ResumeUser(ctx, u.Authz().ID); err != nil {
		return fmt.Errorf("%s is enabled, but the tokens are still suspended; try again: %w", u.Login, err)
	}
	return nil
}

func (p *program) userUnlock() *cobra.Command {
	return p.userChange("unlock", "End the lock after too many failed logins",
		"Forgets a user's failed logins, and so ends the lock that falls after 10 in a row.\nWithout it the lock ends by itself after 15 minutes.",
		"unlocked %s", func(ctx context.Context, users *account.Directory, id int64) error { return users.Unlock(ctx, id) })
}

func (p *program) userOTP() *cobra.Command {
	c := p.group("otp", "Administer a user's one-time passwords", `Two-factor authentication with an authenticator app: enrol prints a seed, confirm
turns it on with a first code, remove turns it off.`)
	c.AddCommand(p.otpEnrol(), p.otpConfirm(), p.userChange("remove", "Turn one-time passwords off",
		"Turns a user's one-time passwords off, and forgets the seed and all recovery codes.",
		"removed the one-time passwords of %s", func(ctx context.Context, users *account.Directory, id int64) error { return users.RemoveOTP(ctx, id) }))
	return c
}

// withKey opens the store of a command that seals or opens seeds.
func (p *program) withKey(ctx context.Context, f *storeFlags, keyFile string, create bool, login string, do func(users *account.Directory, u account.User) error) error {
	s, err := p.open(ctx, f, false)
	if err != nil {
		return err
	}
	defer s.close()
	users, err := s.directory(account.Config{})
	if err != nil {
		return err
	}
	u, err := byLogin(ctx, users, login) // before a key file is made
	if err != nil {
		return err
	}
	if path := keyPath(s.target, keyFile); !create && !exists(path) {
		return fmt.Errorf("the key file %s does not exist: begin with authz user otp enrol, or give the --key-file that it used", path)
	}
	key, err := keyOf(ctx, s, keyFile, func(text string) { p.say("Note: %s", text) })
	if err != nil {
		return err
	}
	if users, err = s.directory(account.Config{Key: key}); err != nil {
		return err
	}
	return do(users, u)
}

func (p *program) otpEnrol() *cobra.Command {
	var (
		f       storeFlags
		keyFile string
	)
	c := &cobra.Command{
		Use:   "enrol LOGIN",
		Short: "Print a new seed for an authenticator app",
		Long: `Prints a new seed, as an otpauth URI (to be shown as a QR code) and in base32 (to
be typed in). Logins stay as they are until user otp confirm.`,
		Aliases: []string{"enroll"},
	}
	f.register(c)
	c.Flags().StringVar(&keyFile, "key-file", "", keyFlagHelp)
	_ = c.MarkFlagFilename("key-file")
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withKey(ctx, &f, keyFile, true, args[0], func(users *account.Directory, u account.User) error {
			e, err := users.EnrolOTP(ctx, u.ID)
			if err != nil {
				return err
			}
			err = p.print(struct {
				Login  string `json:"login"`
				URI    string `json:"uri"`
				Secret string `json:"secret"`
			}{u.Login, e.URI.Reveal(), e.Secret.Reveal()}, func(w io.Writer) {
				table(w, row("uri", e.URI.Reveal()), row("secret", e.Secret.Reveal()))
			})
			if err == nil {
				p.say("Put it into an authenticator app, then: authz user otp confirm %s", u.Login)
			}
			return err
		})
	})
}

func (p *program) otpConfirm() *cobra.Command {
	var (
		f       storeFlags
		keyFile string
	)
	c := &cobra.Command{
		Use:   "confirm LOGIN",
		Short: "Turn one-time passwords on with a first code, and print recovery codes",
		Long: `Reads a code of the seed that user otp enrol printed from the terminal or stdin.
From then on logins need a code. The recovery codes stand in for a lost device,
each of them once; they cannot be shown again.`,
	}
	f.register(c)
	c.Flags().StringVar(&keyFile, "key-file", "", keyFlagHelp)
	_ = c.MarkFlagFilename("key-file")
	return p.command(c, arg("LOGIN"), func(ctx context.Context, args []string) error {
		return p.withKey(ctx, &f, keyFile, false, args[0], func(users *account.Directory, u account.User) error {
			code, err := p.askLine(ctx, "Code: ")
			if err != nil {
				return err
			}
			if code == "" {
				return usagef("stdin holds no code")
			}
			recovery, err := users.ConfirmOTP(ctx, u.ID, authz.NewSecret(code))
			if err != nil {
				return err
			}
			codes := make([]string, len(recovery))
			for i, c := range recovery {
				codes[i] = c.Reveal()
			}
			err = p.print(struct {
				Login         string   `json:"login"`
				RecoveryCodes []string `json:"recovery_codes"`
			}{u.Login, codes}, func(w io.Writer) { fmt.Fprintln(w, strings.Join(codes, "\n")) })
			if err == nil {
				p.say("%s needs a one-time password from now on. Keep the recovery codes: each is good once.", u.Login)
			}
			return err
		})
	})
}
