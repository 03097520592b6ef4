package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// connection is how to reach the server.
type connection struct {
	path, scopes string
	caCert       string
	insecure     bool
	timeout      time.Duration
	connections  int // that are kept alive
}

// api is the server's, as one user and one app. What a run makes has
// fingerprints of one prefix, so that what was made by a request without an
// answer is found again.
type api struct {
	credentials
	connection
	client *http.Client
	prefix string
	made   atomic.Int64 // fingerprints given out

	pool []authorization // there before the load; none dies in it

	mu     sync.Mutex
	spares []int64 // what create has made and revoke may take
}

type authorization struct {
	ID          int64  `json:"id"`
	Token       string `json:"token"`
	Fingerprint string `json:"fingerprint"`
}

func newAPI(c credentials, conn connection) (*api, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, conn.connections
	t.DisableCompression = true
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: conn.insecure} //nolint:gosec // -insecure
	if conn.caCert != "" {
		pem, err := os.ReadFile(conn.caCert)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-cacert: %s has no certificate", conn.caCert)
		}
	}
	// A redirect is an answer: credentials go nowhere else.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &api{
		credentials: c, connection: conn,
		client: &http.Client{Transport: t, Timeout: max(patience, conn.timeout), CheckRedirect: stay},
		prefix: "load-" + strings.ToLower(rand.Text()[:10]) + "-",
	}, nil
}

// statusError is an answer that was not the expected one.
type statusError struct {
	status     int
	retryAfter string
	body       string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.body) }

var errInactive = errors.New("introspection says that a live token is not active")

// do runs one operation and returns the name of what was run.
func (a *api) do(ctx context.Context, op string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	one := a.pool[mathrand.IntN(len(a.pool))] //nolint:gosec // no secret
	var err error
	switch op {
	case opPut:
		err = a.put(ctx, one.Fingerprint, http.StatusOK, nil)
	case opVerify:
		err = a.send(ctx, http.MethodGet, a.path, nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+one.Token) }, http.StatusOK, nil)
	case opList:
		err = a.send(ctx, http.MethodGet, "/authorizations", nil, a.asUser, http.StatusOK, nil)
	case opCheck:
		err = a.send(ctx, http.MethodPost, "/applications/"+url.PathEscape(a.ClientID)+"/token", asJSON(map[string]any{"access_token": one.Token}), a.asApp, http.StatusOK, nil)
	case opIntrospect:
		var answer struct {
			Active bool `json:"active"`
		}
		err = a.send(ctx, http.MethodPost, "/oauth/introspect", []byte(url.Values{"token": {one.Token}}.Encode()), func(r *http.Request) {
			a.asApp(r)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, http.StatusOK, &answer)
		if err == nil && !answer.Active {
			err = errInactive
		}
	case opRevoke:
		if id, ok := a.takeSpare(); ok {
			err = a.delete(ctx, id)
			break
		}
		op = opCreate // there is nothing to revoke yet
		fallthrough
	case opCreate:
		var made authorization
		if made, err = a.create(ctx); err == nil {
			a.mu.Lock()
			a.spares = append(a.spares, made.ID)
			a.mu.Unlock()
		}
	}
	return op, err
}

func (a *api) takeSpare() (id int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := len(a.spares) - 1
	if last < 0 {
		return 0, false
	}
	id, a.spares = a.spares[last], a.spares[:last]
	return id, true
}

func (a *api) create(ctx context.Context) (made authorization, err error) {
	err = a.put(ctx, a.prefix+strconv.FormatInt(a.made.Add(1), 10), http.StatusCreated, &made)
	if err == nil && (made.ID == 0 || made.Token == "") {
		err = errors.New("the answer has no id or no token")
	}
	return made, err
}

func (a *api) put(ctx context.Context, fingerprint string, want int, into *authorization) error {
	body := map[string]any{"client_secret": a.ClientSecret, "note": "load", "fingerprint": fingerprint}
	if a.scopes != "" {
		body["scopes"] = strings.Split(a.scopes, ",")
	}
	var answer any
	if into != nil {
		answer = into
	}
	return a.send(ctx, http.MethodPut, "/authorizations/clients/"+url.PathEscape(a.ClientID), asJSON(body), a.asUser, want, answer)
}

func (a *api) delete(ctx context.Context, id int64) error {
	return a.send(ctx, http.MethodDelete, "/authorizations/"+strconv.FormatInt(id, 10), nil, a.asUser, http.StatusNoContent, nil)
}

func (a *api) asUser(r *http.Request) { r.SetBasicAuth(a.Login, a.Password) }
func (a *api) asApp(r *http.Request)  { r.SetBasicAuth(a.ClientID, a.ClientSecret) }

func asJSON(v any) []byte {
	b, _ := json.Marshal(v) // maps of strings
	return b
}

// send reads the answer to its end: the connection is used again, and the time
// is that of the whole answer.
func (a *api) send(ctx context.Context, method, path string, body []byte, auth func(*http.Request), want int, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	auth(req)
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_, _ = io.Copy(io.Discard, res.Body)
		return &statusError{res.StatusCode, res.Header.Get("Retry-After"), string(text)}
	}
	if into == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// describe is an error without the secrets that it may quote.
func (a *api) describe(err error) string {
	secrets := []string{a.Login + ":" + a.Password, a.ClientID + ":" + a.ClientSecret, a.Password, a.ClientSecret}
	for _, one := range a.pool {
		secrets = append(secrets, one.Token)
	}
	text := err.Error()
	if u := (*url.Error)(nil); errors.As(err, &u) {
		text = u.Err.Error() // without the URL, which all have
	}
	if s := (*statusError)(nil); errors.As(err, &s) {
		text = s.body
	}
	return redact(text, secrets...)
}

const (
	// helpers is how many requests make and delete tokens at once.
	helpers = 8
	// patience is for those requests: they come when a server may be busy with the load.
	patience = 30 * time.Second
)

// prepare makes the tokens that the load needs.
func (a *api) prepare(ctx context.Context, n int, p *progress) error {
	var (
		group, groupCtx = errgroup.WithContext(ctx)
		pool            = make([]authorization, n)
		done            atomic.Int64
	)
	group.SetLimit(helpers)
	for i := range pool {
		group.Go(func() (err error) {
			if groupCtx.Err() != nil {
				return groupCtx.Err()
			}
			// A request is not broken off: the token would be made all the same.
			if pool[i], err = a.create(context.WithoutCancel(ctx)); err == nil {
				p.every("making tokens: %d of %d", done.Add(1), n)
			}
			return err
		})
	}
	err := group.Wait()
	a.pool = pool
	if err != nil {
		return fmt.Errorf("making tokens: %s", a.describe(err))
	}
	return nil
}

// cleanUp deletes what has the run's fingerprints, until there is none: a
// request that was given up may still make one.
func (a *api) cleanUp(ctx context.Context, p *progress) error {
	for range 5 {
		ids, err := a.remaining(ctx)
		if err == nil && len(ids) > 0 {
			err = a.deleteAll(ctx, ids, p)
		}
		if err != nil {
			return errors.New(a.describe(err))
		}
		if len(ids) == 0 {
			return nil
		}
	}
	return errors.New("more are made all the time")
}

func (a *api) remaining(ctx context.Context) (ids []int64, err error) {
	for page := 1; ; page++ {
		var list []authorization
		query := url.Values{"client_id": {a.ClientID}, "per_page": {"100"}, "page": {strconv.Itoa(page)}}
		if err := a.send(ctx, http.MethodGet, "/authorizations?"+query.Encode(), nil, a.asUser, http.StatusOK, &list); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return ids, nil
		}
		for _, one := range list {
			if strings.HasPrefix(one.Fingerprint, a.prefix) {
				ids = append(ids, one.ID)
			}
		}
	}
}

func (a *api) deleteAll(ctx context.Context, ids []int64, p *progress) error {
	var (
		group errgroup.Group
		done  atomic.Int64
	)
	group.SetLimit(helpers)
	for _, id := range ids {
		group.Go(func() error {
			err := a.delete(ctx, id)
			if s := (*statusError)(nil); errors.As(err, &s) && s.status == http.StatusNotFound {
				err = nil // a revocation whose answer was lost
			}
			p.every("deleting tokens: %d of %d", done.Add(1), len(ids))
			return err
		})
	}
	return group.Wait()
}
