package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
)

// What a person does who cleans up: reports over the tokens of all users, and the
// removal of those that have expired.

// ownedToken is a token and whose it is. The owner is what the host calls the
// user; only those of the directory here have a login.
type ownedToken struct {
	Owner string `json:"owner"`
	Login string `json:"login,omitempty"`
	tokenView
}

func (v ownedToken) user() string {
	if v.Login == "" {
		return v.Owner
	}
	return v.Login
}

func (p *program) tokenUnused() *cobra.Command {
	var (
		f     storeFlags
		since string
	)
	c := &cobra.Command{
		Use:   "unused --since 90d",
		Short: "List the tokens of all users that were not used since then",
		Long: `Lists the live tokens of all users that were made before a time and not used
since. Uses are known from when this program, or a host with this library, began
to store them.`,
		Example: `  authz token unused --since 90d
  authz token unused --since 2026-01-31 --json | jq -r '.[] | [.owner, .id] | @tsv'`,
	}
	f.register(c)
	c.Flags().StringVar(&since, "since", "", "how long ago, such as 90d or 36h, or a date such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC where it does not say)")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		at, err := pastTime(since, time.Now())
		if err != nil {
			return err
		}
		return p.reportTokens(ctx, &f, "LAST USED", func(v ownedToken) timestamp { return v.LastUsedAt },
			func(m *authz.Manager) iter.Seq2[authz.Authorization, error] { return m.Unused(ctx, at) })
	})
}

func (p *program) tokenExpiring() *cobra.Command {
	var (
		f      storeFlags
		within string
	)
	c := &cobra.Command{
		Use:     "expiring --within 7d",
		Short:   "List the tokens of all users that expire soon",
		Long:    "Lists the live tokens of all users that expire within a time, the first to expire\nfirst: for reminders.",
		Example: "  authz token expiring --within 7d",
	}
	f.register(c)
	c.Flags().StringVar(&within, "within", "", "how long from now, such as 7d or 36h")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		if within == "" {
			return usagef("--within is required, such as --within 7d")
		}
		d, err := days(within)
		if err != nil || d <= 0 {
			return usagef("--within %q must be a time such as 7d or 36h", within)
		}
		return p.reportTokens(ctx, &f, "EXPIRES", func(v ownedToken) timestamp { return v.ExpiresAt },
			func(m *authz.Manager) iter.Seq2[authz.Authorization, error] { return m.ExpiringWithin(ctx, d) })
	})
}

func (p *program) tokenPurge() *cobra.Command {
	var (
		f     storeFlags
		after time.Duration
	)
	c := &cobra.Command{
		Use:   "purge",
		Short: "Remove the tokens that have expired",
		Long: `Removes the tokens of all users that have expired, 1000 at a time, and says how
many it was. They are dead anyway: it makes room. A server does it by itself a
week after they have expired (serve --purge-after).`,
	}
	f.register(c)
	c.Flags().DurationVar(&after, "after", 0, "leave those alone that expired less than so long ago, such as 168h")
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		if after < 0 {
			return usagef("--after must not be negative")
		}
		cfg := authz.Config{PurgeAfter: after}
		if after == 0 {
			cfg.PurgeAfter = -1
		}
		return p.withAll(ctx, &f, cfg, func(m *authz.Manager, _ *account.Directory) error {
			n, err := purge(ctx, p, m)
			if err != nil {
				return err
			}
			return p.print(struct {
				Authorizations int64 `json:"authorizations"`
			}{n}, func(w io.Writer) { fmt.Fprintf(w, "removed %s\n", count(n, "expired token")) })
		})
	})
}

// purge removes what has expired. Its errors say how far it came.
func purge(ctx context.Context, p *program, m *authz.Manager) (n int64, err error) {
	defer p.patiently("still removing what has expired", nil)()
	switch n, err = m.Purge(ctx); {
	case errors.Is(err, context.Canceled):
		return n, fmt.Errorf("interrupted: removed %s so far, run it again for the rest", count(n, "expired token"))
	case err != nil:
		return n, fmt.Errorf("removed %s before it failed: %w", count(n, "expired token"), err)
	}
	return n, nil
}

// rowsAtOnce is how many rows of a report are aligned with each other, and written
// before the next are looked for.
const rowsAtOnce = 500

// reportTokens prints tokens as they are found: there can be millions. when is the
// column that the report is about.
func (p *program) reportTokens(ctx context.Context, f *storeFlags, column string, when func(ownedToken) timestamp, find func(m *authz.Manager) iter.Seq2[authz.Authorization, error]) error {
	return p.withAll(ctx, f, authz.Config{}, func(m *authz.Manager, users *account.Directory) error {
		var found atomic.Int64
		stop := p.patiently("still looking", &found)
		defer stop()
		out := &tokenWriter{p: p, column: column, when: when}
		names := logins{users: users, known: make(map[string]string)}
		for a, err := range find(m) {
			if err != nil {
				return out.broken(err)
			}
			v := ownedToken{Owner: a.Owner, tokenView: viewToken(a, authz.Secret{})}
			if v.Login, err = names.of(ctx, a.Owner); err != nil {
				return out.broken(err)
			}
			if err := out.add(v); err != nil {
				return err
			}
			found.Add(1)
		}
		stop()
		return out.end()
	})
}

// tokenWriter writes one JSON array, or tables one behind the other.
type tokenWriter struct {
	p      *program
	column string
	when   func(ownedToken) timestamp
	rows   []string
	n      int
}

func (w *tokenWriter) add(v ownedToken) error {
	if w.n == 0 && !w.p.json {
		w.rows = append(w.rows, row("ID", "USER", "APP", "NOTE", "LAST EIGHT", "CREATED", w.column))
	}
	if w.n++; w.p.json {
		text := new(strings.Builder)
		enc := json.NewEncoder(text)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
		before := ","
		if w.n == 1 {
			before = "["
		}
		w.rows = append(w.rows, before+strings.TrimSuffix(text.String(), "\n"))
	} else {
		w.rows = append(w.rows, row(strconv.FormatInt(v.ID, 10), v.user(), v.app(), orDash(v.Note), v.TokenLastEight, v.CreatedAt.String(), w.when(v).String()))
	}
	if w.n%rowsAtOnce != 0 {
		return nil
	}
	return w.flush()
}

func (w *tokenWriter) flush() error {
	var out strings.Builder
	if w.p.json {
		for _, line := range w.rows {
			out.WriteString(line + "\n")
		}
	} else if len(w.rows) > 0 {
		table(&out, w.rows...)
	}
	w.rows = w.rows[:0]
	if _, err := io.WriteString(w.p.stdout, out.String()); err != nil {
		return fmt.Errorf("the result could not be written: %w", err)
	}
	return nil
}

func (w *tokenWriter) end() error {
	switch {
	case w.p.json && w.n == 0:
		w.rows = append(w.rows, "[]")
	case w.p.json:
		w.rows = append(w.rows, "]")
	case w.n == 0:
		w.p.say("No tokens.")
	}
	return w.flush()
}

// broken writes what was found before it went wrong. As JSON it has no end, so
// that nobody takes it for all there is.
func (w *tokenWriter) broken(err error) error {
	if flushed := w.flush(); flushed != nil {
		return flushed
	}
	return err
}

// logins finds the logins of owners, and remembers some.
type logins struct {
	users *account.Directory
	known map[string]string
}

func (l *logins) of(ctx context.Context, owner string) (string, error) {
	if login, ok := l.known[owner]; ok {
		return login, nil
	}
	var login string
	if id, err := strconv.ParseInt(owner, 10, 64); err == nil && strconv.FormatInt(id, 10) == owner {
		u, err := l.users.User(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		login = u.Login
	}
	if len(l.known) >= 10_000 {
		clear(l.known)
	}
	l.known[owner] = login
	return login, nil
}

// progressAfter is when people begin to wonder.
const progressAfter = 5 * time.Second

// patiently says now and then that it goes on, and how much was found, until stop.
func (p *program) patiently(what string, found *atomic.Int64) (stop func()) {
	return inBackground(context.Background(), func(ctx context.Context) {
		tick := time.NewTicker(progressAfter)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if found == nil {
				p.say("… %s", what)
			} else {
				p.say("… %s, %s so far", what, count(found.Load(), "token"))
			}
		}
	})
}

// days reads a duration, which may be in days.
func days(text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(v) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// pastTime reads --since.
func pastTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, usagef("--since is required, such as --since 90d")
	}
	var at time.Time
	if d, err := days(text); err == nil {
		at = now.Add(-d)
	} else {
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			if at, err = time.ParseInLocation(layout, text, time.UTC); err == nil {
				break
			}
		}
		if err != nil {
			return time.Time{}, usagef("--since %q must be how long ago, such as 90d or 36h, or a date such as 2026-01-31", text)
		}
	}
	if at.After(now) {
		return time.Time{}, usagef("--since %q must be in the past", text)
	}
	return at, nil
}
