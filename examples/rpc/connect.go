package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/seed-926035fd/authz"
)

// Connect returns what protects a handler's calls and streams, in all protocols of
// Connect:
//
//	connect.WithInterceptors(rpc.Connect(manager, scopes))
//
// An interceptor is asked after the message of a unary call was read. Where messages are
// large, put authz.NewMiddleware before the handler instead: clients of Connect make the
// same codes of its statuses, those of gRPC too.
func Connect(m *authz.Manager, scopes Scopes) connect.Interceptor { return &interceptor{m, scopes} }

type interceptor struct {
	m      *authz.Manager
	scopes Scopes
}

func (i *interceptor) authorize(ctx context.Context, procedure string, authorization []string) (context.Context, error) {
	ctx, err := i.scopes.authorize(ctx, i.m, procedure, authorization)
	if err == nil {
		return ctx, nil
	}
	code := connect.CodeUnavailable
	switch {
	case errors.Is(err, errUnauthenticated):
		code = connect.CodeUnauthenticated
	case errors.Is(err, errDenied):
		code = connect.CodePermissionDenied
	}
	return nil, connect.NewError(code, err)
}

// WrapUnary implements [connect.Interceptor].
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		ctx, err := i.authorize(ctx, req.Spec().Procedure, req.Header().Values("Authorization"))
		if err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, err := i.authorize(ctx, conn.Spec().Procedure, conn.RequestHeader().Values("Authorization"))
		if err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

// WrapStreamingClient implements [connect.Interceptor]: clients go their own way.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
