package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed-926035fd/authz"
)

// GRPC returns what protects a server's calls and streams:
//
//	grpc.NewServer(rpc.GRPC(manager, scopes)...)
//
// Clients send the metadata "authorization": "Bearer azt_…".
func GRPC(m *authz.Manager, scopes Scopes) []grpc.ServerOption {
	authorize := func(ctx context.Context, procedure string) (context.Context, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		ctx, err := scopes.authorize(ctx, m, procedure, md.Get("authorization"))
		if err == nil {
			return ctx, nil
		}
		code := codes.Unavailable
		switch {
		case errors.Is(err, errUnauthenticated):
			code = codes.Unauthenticated
		case errors.Is(err, errDenied):
			code = codes.PermissionDenied
		}
		return nil, status.Error(code, err.Error())
	}
	unary := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, err := authorize(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
	stream := func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, err := authorize(ss.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		return next(srv, &serverStream{ss, ctx})
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream)}
}

// serverStream is a stream with another context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a stream of gRPC has its context like this
}

func (s *serverStream) Context() context.Context { return s.ctx }
