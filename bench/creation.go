package main

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"

	"github.com/seed-926035fd/authz"
)

// The names of fosite's two settings.
const (
	byFosite12 = "fosite, bcrypt 12"
	byFosite4  = "fosite, bcrypt 4"
)

// creationCases are those of a new token in memory. Each pass begins with a fresh
// store on our side; the peers' take fewer.
func creationCases(d *data) (cases []*benchCase, end func(), err error) {
	ctx := context.Background()
	s := &fresh{d: d}
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	m, err := authz.New(s, authz.Config{})
	if err != nil {
		return nil, nil, err
	}
	if err := m.Start(ctx); err != nil {
		return nil, nil, err
	}
	_, oauth2, err := newOAuth2(d)
	if err != nil {
		return nil, nil, err
	}
	fosite12, err := newFositeIssuer(ctx, 12)
	if err != nil {
		return nil, nil, err
	}
	fosite4, err := newFositeIssuer(ctx, 4)
	if err != nil {
		return nil, nil, err
	}
	sessions := newSCS()
	subjects := []subject{
		{name: byAuthz, begin: s.begin, op: func(ctx context.Context, w *worker) error {
			res, err := m.GetOrCreate(ctx, d.request(d.newOwner()))
			return check(err, res.Created, errNotCreated)
		}},
		{name: byFosite4, op: func(ctx context.Context, w *worker) error { return fosite4.issue(ctx) }},
		{name: byOAuth2, op: func(ctx context.Context, w *worker) error {
			info, err := oauth2(ctx, d.newOwner())
			return check(err, err == nil && info.GetAccess() != "", errNotCreated)
		}},
		{name: bySCS, op: func(ctx context.Context, w *worker) error {
			ctx, err := sessions.Load(ctx, "")
			if err != nil {
				return err
			}
			sessions.Put(ctx, "owner", d.newOwner())
			token, _, err := sessions.Commit(ctx)
			return check(err, token != "", errNotCreated)
		}},
	}
	// At 32 callers a turn of it would take seconds: each has one going.
	slow := subject{name: byFosite12, op: func(ctx context.Context, w *worker) error { return fosite12.issue(ctx) }}
	return []*benchCase{
		{name: "create-memory", callers: 1, base: true, inverse: true, subjects: append(subjects[:len(subjects):len(subjects)], slow)},
		{name: "create-memory", callers: 32, base: true, inverse: true, subjects: subjects},
	}, func() { _ = m.Close(ctx) }, nil
}

// fositeIssuer answers the token endpoint's requests by client credentials.
type fositeIssuer struct {
	provider fosite.OAuth2Provider
	id, form string
	secret   string
}

func newFositeIssuer(ctx context.Context, cost int) (*fositeIssuer, error) {
	config := &fosite.Config{GlobalSecret: []byte(rand.Text() + rand.Text()), AccessTokenLifespan: lifetime, HashCost: cost}
	f := &fositeIssuer{id: "shop", secret: rand.Text()}
	hash, err := (&fosite.BCrypt{Config: config}).Hash(ctx, []byte(f.secret))
	if err != nil {
		return nil, err
	}
	s := storage.NewMemoryStore()
	s.Clients[f.id] = &fosite.DefaultClient{ID: f.id, Secret: hash, Scopes: []string{scopes[0]}, GrantTypes: []string{"client_credentials"}}
	f.provider = compose.Compose(config, s, &compose.CommonStrategy{CoreStrategy: compose.NewOAuth2HMACStrategy(config)}, compose.OAuth2ClientCredentialsGrantFactory)
	f.form = url.Values{"grant_type": {"client_credentials"}, "scope": {scopes[0]}}.Encode()
	return f, nil
}

func (f *fositeIssuer) issue(ctx context.Context) error {
	r := &http.Request{
		Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body: io.NopCloser(strings.NewReader(f.form)),
	}
	r.SetBasicAuth(f.id, f.secret)
	req, err := f.provider.NewAccessRequest(ctx, r, new(fosite.DefaultSession))
	if err != nil {
		return err
	}
	res, err := f.provider.NewAccessResponse(ctx, req)
	return check(err, err == nil && res.GetAccessToken() != "", errNotCreated)
}
