package authz

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// App is a registered OAuth app. Its secrets are hashes; the secrets themselves
// are known only to who received them from [Manager.RegisterApp] or
// [Manager.RotateSecret].
type App = store.App

// NewApp is what a host says of an app that it registers.
type NewApp struct {
	// Name is shown to users. Required, at most [MaxAppName] characters.
	Name string
	// URL is the app's home page: "" or an absolute http(s) URL.
	URL string
	// ClientID and ClientSecret bring over an app that is known elsewhere: 20
	// letters and digits, and 40 printable ASCII characters. Leave both empty
	// to have them made.
	ClientID     string
	ClientSecret Secret
}

// RegisterApp stores a new app and returns it with its client_secret, which
// cannot be had again. Errors: [*ValidationError], also if the client_id is or
// was in use; anything else is the store's.
func (m *Manager) RegisterApp(ctx context.Context, app NewApp) (App, Secret, error) {
	var p problems
	p.name(app.Name)
	p.httpURL("url", app.URL)
	id, secret := app.ClientID, app.ClientSecret
	if id == "" && secret.IsZero() {
		id, secret = randomBase62(clientIDSize), NewSecret(randomBase62(secretSize))
	}
	if !validClientID(id) {
		p.invalid("client_id", "must be %d letters and digits", clientIDSize)
	}
	if !validClientSecret(secret.Reveal()) {
		p.invalid("client_secret", "must be %d printable ASCII characters", secretSize)
	}
	if err := p.err(); err != nil {
		return App{}, Secret{}, err
	}
	now := m.now()
	stored, err := m.apps.CreateApp(ctx, App{
		ClientID:  id,
		Name:      app.Name,
		URL:       app.URL,
		Secrets:   []store.AppSecret{{Hash: store.HashOf(secret.Reveal()), CreatedAt: now}},
		CreatedAt: now,
		UpdatedAt: now,
	})
	if errors.Is(err, store.ErrConflict) {
		p.add("client_id", CodeAlreadyExists, "")
		return App{}, Secret{}, p.err()
	}
	if err != nil {
		return App{}, Secret{}, fmt.Errorf("authz: register app: %w", err)
	}
	return stored, secret, nil
}

// RotateSecret gives the app a new client_secret and returns it; it cannot be
// had again. The secrets that were live go on for overlap, so that the app's
// installations can change over without a gap; overlap 0 ends them at once.
// Errors: [ErrNotFound]; a [*ValidationError] if overlap is negative; anything
// else is the store's.
func (m *Manager) RotateSecret(ctx context.Context, clientID string, overlap time.Duration) (App, Secret, error) {
	if overlap < 0 {
		var p problems
		p.invalid("overlap", "must not be negative")
		return App{}, Secret{}, p.err()
	}
	secret := NewSecret(randomBase62(secretSize)) // one for all turns of the loop
	app, err := m.changeApp(ctx, clientID, func(app *App) {
		now := app.UpdatedAt
		end := now.Add(overlap)
		app.Secrets = slices.DeleteFunc(app.Secrets, func(s store.AppSecret) bool { return !s.Live(now) })
		for i := range app.Secrets {
			if s := &app.Secrets[i]; s.Live(end) {
				s.ExpiresAt = end
			}
		}
		app.Secrets = append(app.Secrets, store.AppSecret{Hash: store.HashOf(secret.Reveal()), CreatedAt: now})
	})
	if err != nil {
		return App{}, Secret{}, err
	}
	return app, secret, nil
}

// AppUpdate says what to change of an app; nil leaves a field as it is.
type AppUpdate struct {
	Name *string
	URL  *string
}

// UpdateApp changes an app's name or URL. Errors: [ErrNotFound],
// [*ValidationError]; anything else is the store's.
func (m *Manager) UpdateApp(ctx context.Context, clientID string, u AppUpdate) (App, error) {
	var p problems
	if u.Name != nil {
		p.name(*u.Name)
	}
	if u.URL != nil {
		p.httpURL("url", *u.URL)
	}
	if err := p.err(); err != nil {
		return App{}, err
	}
	return m.changeApp(ctx, clientID, func(app *App) {
		if u.Name != nil {
			app.Name = *u.Name
		}
		if u.URL != nil {
			app.URL = *u.URL
		}
	})
}

// changeApp replaces the app by what change makes of it, again and again until
// nobody else was faster.
func (m *Manager) changeApp(ctx context.Context, clientID string, change func(*App)) (App, error) {
	for {
		app, err := m.App(ctx, clientID)
		if err != nil {
			return App{}, err
		}
		app.UpdatedAt = m.now()
		change(&app)
		app, err = m.apps.ReplaceApp(ctx, app)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return App{}, fmt.Errorf("authz: change app: %w", err)
		}
		return app, nil
	}
}

// App returns a registered app, always from the store. Errors: [ErrNotFound];
// anything else is the store's.
func (m *Manager) App(ctx context.Context, clientID string) (App, error) {
	if !validClientID(clientID) {
		return App{}, fmt.Errorf("authz: app: %w", ErrNotFound)
	}
	app, err := m.apps.App(ctx, clientID)
	if err != nil {
		return App{}, fmt.Errorf("authz: app: %w", err)
	}
	return app, nil
}

// Apps returns at most limit registered apps with an ID greater than after, in
// rising order of ID. limit is cut to 1 … 1000.
func (m *Manager) Apps(ctx context.Context, after int64, limit int) ([]App, error) {
	apps, err := m.apps.ListApps(ctx, after, min(max(limit, 1), 1000))
	if err != nil {
		return nil, fmt.Errorf("authz: apps: %w", err)
	}
	return apps, nil
}

// DeleteApp removes an app and revokes all its tokens, and returns how many
// authorizations went. Its client_id is never given out again. Errors:
// [ErrNotFound]; anything else is the store's.
func (m *Manager) DeleteApp(ctx context.Context, clientID string) (authorizations int64, err error) {
	if !validClientID(clientID) {
		return 0, fmt.Errorf("authz: delete app: %w", ErrNotFound)
	}
	n, err := m.apps.DeleteApp(ctx, clientID)
	if err != nil {
		return 0, fmt.Errorf("authz: delete app: %w", err)
	}
	if n > 0 {
		m.cfg.event(ctx, Event{Kind: EventRevoked, ClientID: clientID, Count: n})
	}
	return n, nil
}

// AuthenticateApp returns the app if secret is one of its live client secrets.
// An unknown client_id, a wrong secret and a suspended app are all
// [ErrInvalidClient], after the same work; any other error is the store's.
//
// What is right may be answered from memory (see [Manager.Start]), and a secret
// that was ended elsewhere is taken until this Manager hears of it, as a token is
// that was revoked there. What is refused was read from the store: a secret that
// is new elsewhere is good here at once.
func (m *Manager) AuthenticateApp(ctx context.Context, clientID string, secret Secret) (App, error) {
	last := m.appRead.Load()
	e, err := m.app(ctx, clientID)
	hash := store.HashOf(secret.Reveal())
	if err == nil && e.read <= last && !takes(&e.app, &hash, m.now()) {
		e, err = m.readApp(ctx, clientID) // what was known of it may be too old
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return App{}, ErrInvalidClient
	case err != nil:
		return App{}, err
	case !takes(&e.app, &hash, m.now()):
		return App{}, ErrInvalidClient
	}
	return e.copy(), nil
}

// takes reports whether the hash is that of a live secret of an app that is not
// suspended. It looks at all of them, whichever it is.
func takes(app *App, hash *store.Hash, now time.Time) bool {
	ok := 0
	for i := range app.Secrets {
		s := &app.Secrets[i]
		equal := subtle.ConstantTimeCompare(s.Hash[:], hash[:])
		if s.Live(now) {
			ok |= equal
		}
	}
	return ok == 1 && app.SuspendedAt.IsZero()
}

func (p *problems) name(name string) {
	if strings.TrimSpace(name) == "" {
		p.add("name", CodeMissingField, "")
		return
	}
	p.text("name", name, MaxAppName)
}

func validClientSecret(s string) bool {
	return len(s) == secretSize && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
