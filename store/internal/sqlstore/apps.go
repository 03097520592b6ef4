package sqlstore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/seed-926035fd/authz/store"
)

// CreateApp implements store.Apps.
func (s *Store) CreateApp(ctx context.Context, app store.App) (store.App, error) {
	secrets, err := marshalSecrets(app.Secrets)
	if err != nil {
		return store.App{}, err
	}
	app.Secrets = slices.Clone(app.Secrets) // the caller may leave
	return write(ctx, s, "create app", loose, func(ctx context.Context, q session) (store.App, error) {
		now, deleted, err := scanAnyApp(q.queryRow(ctx, insertApp,
			app.ClientID, app.Name, app.URL, secrets, end(app.SuspendedAt), app.CreatedAt.UnixMicro(), app.UpdatedAt.UnixMicro()))
		if err == nil && (deleted || now.Revision != 1 || !sameApp(now, app)) {
			return now, &store.ConflictError{Field: "client_id"}
		}
		return now, err
	})
}

// App implements store.Apps.
func (s *Store) App(ctx context.Context, clientID string) (store.App, error) {
	return do(ctx, s, "get app", oneRow, func(ctx context.Context) (store.App, error) {
		return scanApp(s.queryRow(ctx, getApp, clientID))
	})
}

// ListApps implements store.Apps.
func (s *Store) ListApps(ctx context.Context, after int64, limit int) ([]store.App, error) {
	return do(ctx, s, "list apps", repeating, func(ctx context.Context) ([]store.App, error) {
		rows, err := s.query(ctx, listApps, after, limit)
		if err != nil {
			return nil, err
		}
		return collect(rows, scanApp)
	})
}

// ReplaceApp implements store.Apps.
func (s *Store) ReplaceApp(ctx context.Context, app store.App) (store.App, error) {
	secrets, err := marshalSecrets(app.Secrets)
	if err != nil {
		return store.App{}, err
	}
	app.Secrets = slices.Clone(app.Secrets)
	return write(ctx, s, "replace app", loose, func(ctx context.Context, q session) (store.App, error) {
		now, err := scanApp(q.queryRow(ctx, replaceApp,
			app.ClientID, app.Revision, app.Name, app.URL, secrets, end(app.SuspendedAt), app.UpdatedAt.UnixMicro()))
		if !errors.Is(err, store.ErrNotFound) {
			return now, err
		}
		now, err = scanApp(q.queryRow(ctx, getApp, app.ClientID))
		app := app
		app.CreatedAt = now.CreatedAt // never changes, so it says nothing
		if err == nil && (now.Revision != app.Revision+1 || !sameApp(now, app)) {
			return now, store.ErrConflict
		}
		return now, err
	})
}

// DeleteApp implements store.Apps.
func (s *Store) DeleteApp(ctx context.Context, clientID string) (int64, error) {
	return s.remover(ctx, "delete app", func(ctx context.Context, q session) (int64, error) {
		apps, err := affected(q.execText(ctx, deleteApp, clientID))
		switch {
		case err != nil:
			return 0, err
		case apps == 0 && q.unsure():
			return 0, nil
		case apps == 0:
			return 0, store.ErrNotFound
		}
		return deleteAll(ctx, q, store.Selection{ClientID: &clientID})
	})
}

// secret is the form in which a client secret's record is kept.
type secret struct {
	Hash    string `json:"hash"`
	Created int64  `json:"created_at"`
	Expires *int64 `json:"expires_at"`
}

var errDamaged = errors.New("an app's secrets in the database are damaged")

func marshalSecrets(secrets []store.AppSecret) (string, error) {
	out := make([]secret, len(secrets))
	for i, s := range secrets {
		out[i] = secret{Hash: s.Hash.Hex(), Created: s.CreatedAt.UnixMicro()}
		if expires := end(s.ExpiresAt); expires.Valid {
			out[i].Expires = &expires.Int64
		}
	}
	text, err := json.Marshal(out)
	return string(text), err
}

func unmarshalSecrets(text string) ([]store.AppSecret, error) {
	var in []secret
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, errDamaged
	}
	out := make([]store.AppSecret, len(in))
	for i, s := range in {
		hash, err := hex.DecodeString(s.Hash)
		if err != nil || copy(out[i].Hash[:], hash) != len(hash) || len(hash) != len(out[i].Hash) {
			return nil, errDamaged
		}
		out[i].CreatedAt = fromMicros(s.Created)
		if s.Expires != nil {
			out[i].ExpiresAt = fromMicros(*s.Expires)
		}
	}
	return out, nil
}

// sameApp reports whether two apps hold the same, but for ID and Revision.
func sameApp(a, b store.App) bool {
	return a.ClientID == b.ClientID && a.Name == b.Name && a.URL == b.URL &&
		sameTime(a.CreatedAt, b.CreatedAt) && sameTime(a.UpdatedAt, b.UpdatedAt) && sameTime(a.SuspendedAt, b.SuspendedAt) &&
		slices.EqualFunc(a.Secrets, b.Secrets, func(x, y store.AppSecret) bool {
			return x.Hash == y.Hash && sameTime(x.CreatedAt, y.CreatedAt) && sameTime(x.ExpiresAt, y.ExpiresAt)
		})
}

func scanApp(r row) (store.App, error) {
	app, _, err := scanAnyApp(r)
	return app, err
}

func scanAnyApp(r row) (app store.App, deleted bool, err error) {
	var (
		secrets          string
		suspended        sql.NullInt64
		created, updated int64
		gone             int64
	)
	if err := r.Scan(&app.ID, &app.Revision, &app.ClientID, &app.Name, &app.URL, &secrets, &suspended, &created, &updated, &gone); err != nil {
		return store.App{}, false, notFound(err)
	}
	if app.Secrets, err = unmarshalSecrets(secrets); err != nil {
		return store.App{}, false, err
	}
	app.SuspendedAt, app.CreatedAt, app.UpdatedAt = fromEnd(suspended), fromMicros(created), fromMicros(updated)
	return app, gone != 0, nil
}
