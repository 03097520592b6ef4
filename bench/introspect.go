package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// The names of the peers that are servers of their own.
const (
	byIntrospection = "authz, introspection"
	byHydra         = "hydra, introspection"
	byDex           = "dex, introspection"
)

// introspectSubjects are servers that are asked whose token it is. hydra is left
// out, and said to be, where its program is not there.
func introspectSubjects(s *site, d *data, api http.Handler, o options) (subjects []subject, hydra string, err error) {
	addr, err := s.serve(api)
	if err != nil {
		return nil, "", err
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(d.app.ClientID+":"+d.secret.Reveal()))
	subjects = append(subjects, introspection(s, byIntrospection, addr, "/oauth/introspect", basic, d.tokens))
	if o.hydra == "" {
		return subjects, "no other: `make bench-hydra` builds hydra.", nil
	}
	addr, tokens, end, err := startHydra(o.hydra)
	if err != nil {
		return nil, "", fmt.Errorf("hydra: %w", err)
	}
	s.closers = append(s.closers, end)
	theirs := introspection(s, byHydra, addr, "/admin/oauth2/introspect", "", tokens)
	return append(subjects, theirs), "hydra, a process of its own, all in memory (SQLite).", nil
}

// alive are the ways in which servers write that a token is.
var alive = [][]byte{[]byte(`"active":true`), []byte(`"active": true`)}

// introspection asks about tokens by POST, as RFC 7662 has it.
func introspection(s *site, name, addr, path, authorization string, tokens []string) subject {
	conns := make([]*httpConn, httpCallers)
	// A connection that waits for its turn for long is closed by some servers.
	begin := func() (err error) {
		fresh, err := s.dial(addr, len(conns))
		copy(conns, fresh)
		return err
	}
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		body := "token=" + url.QueryEscape(token)
		header := ""
		if authorization != "" {
			header = "Authorization: " + authorization + "\r\n"
		}
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			path, addr, header, len(body), body)
	}
	return subject{name: name, begin: begin, op: func(_ context.Context, w *worker) error {
		body, err := conns[w.id].ask(requests[w.rng.IntN(len(requests))])
		return check(err, bytes.Contains(body, alive[0]) || bytes.Contains(body, alive[1]), errInactive)
	}}
}

var errInactive = errors.New("a live token is not active")
