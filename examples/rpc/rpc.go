// Package rpc shows how to protect services of gRPC and Connect with the tokens of
// package authz. Copy the file that you need, and this one.
//
// The codes are those of the documents: a call without a valid token is
// Unauthenticated, one whose token lacks a scope PermissionDenied, and Unavailable says
// that the store is away, which is nothing about the token.
package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/seed-926035fd/authz"
)

// Scopes are what the token of a caller must be allowed to do, by the full name of the
// procedure, such as "/grpc.health.v1.Health/Check". An empty list takes every token; a
// procedure that is not there takes none, so that a new one is not open by oversight.
type Scopes map[string][]string

// Errors that a caller is told; causes stay here.
var (
	errUnauthenticated = errors.New("a valid token is required")
	errDenied          = errors.New("the token lacks a scope that the procedure needs")
	errUnavailable     = errors.New("service unavailable")
)

// authorize returns the context of a call, for authz.FromContext, or one of the errors
// above.
func (s Scopes) authorize(ctx context.Context, m *authz.Manager, procedure string, authorization []string) (context.Context, error) {
	token, err := authz.BearerToken(authorization)
	if err != nil {
		return nil, errUnauthenticated
	}
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := m.Verify(bounded, token)
	switch {
	case errors.Is(err, authz.ErrInvalidToken):
		return nil, errUnauthenticated
	case err != nil:
		return nil, errUnavailable // log err: it is the store's
	}
	if scopes, known := s[procedure]; !known || !m.Allows(a, scopes...) {
		return nil, errDenied
	}
	return m.NewContext(ctx, a), nil
}
