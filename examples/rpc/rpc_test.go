package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	check = "/grpc.health.v1.Health/Check"
	watch = "/grpc.health.v1.Health/Watch"
	list  = "/grpc.health.v1.Health/List" // nobody has said who may call it
)

var needed = Scopes{check: {"repo:read"}, watch: {"repo"}}

// away is a store that can be away.
type away struct {
	store.Store
	is atomic.Bool
}

func (s *away) Lookup(ctx context.Context, h store.Hash) (store.Authorization, store.Standing, error) {
	if s.is.Load() {
		return store.Authorization{}, store.Standing{}, errors.New("secret words about the database")
	}
	return s.Store.Lookup(ctx, h)
}

// health is the ready service, which answers SERVING to mona alone.
type health struct {
	healthpb.UnimplementedHealthServer
}

func serving(ctx context.Context) *healthpb.HealthCheckResponse {
	if a, ok := authz.FromContext(ctx); ok && a.Owner == "mona" {
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}
}

func (health) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return serving(ctx), nil
}

func (health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	return &healthpb.HealthListResponse{}, nil
}

func (health) Watch(_ *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return stream.Send(serving(stream.Context()))
}

type call struct {
	name, procedure string
	authorization   []string
	away            bool
	want            codes.Code
}

func newCalls(t *testing.T) (*authz.Manager, *away, []call) {
	t.Helper()
	s := &away{Store: memory.New()}
	m, err := authz.New(s, authz.Config{Scopes: []authz.Scope{{Name: "repo", Includes: []string{"repo:read"}}, {Name: "repo:read"}, {Name: "user"}}})
	if err != nil {
		t.Fatal(err)
	}
	token := func(note, scope string) string {
		result, err := m.Create(context.Background(), authz.Request{Owner: "mona", Note: note, Scopes: []string{scope}})
		if err != nil {
			t.Fatal(err)
		}
		return result.Token.Reveal()
	}
	repo, read, user := token("repo", "repo"), token("read", "repo:read"), token("user", "user")
	return m, s, []call{
		{"an included scope", check, []string{"Bearer " + repo}, false, codes.OK},
		{"the scope itself", check, []string{"token " + read}, false, codes.OK},
		{"a stream", watch, []string{"bearer " + repo}, false, codes.OK},
		{"nothing", check, nil, false, codes.Unauthenticated},
		{"nothing, a stream", watch, nil, false, codes.Unauthenticated},
		{"a bad token", check, []string{"Bearer " + repo + "x"}, false, codes.Unauthenticated},
		{"a bad token, a stream", watch, []string{"Bearer x"}, false, codes.Unauthenticated},
		{"another scheme", check, []string{"Basic " + repo}, false, codes.Unauthenticated},
		{"a bare token", check, []string{repo}, false, codes.Unauthenticated},
		{"two tokens", check, []string{"Bearer " + repo, "Bearer " + read}, false, codes.Unauthenticated},
		{"another scope", check, []string{"Bearer " + user}, false, codes.PermissionDenied},
		{"a narrower scope, a stream", watch, []string{"Bearer " + read}, false, codes.PermissionDenied},
		{"a procedure that nobody has listed", list, []string{"Bearer " + repo}, false, codes.PermissionDenied},
		{"a store that is away", check, []string{"Bearer " + token("new", "repo")}, true, codes.Unavailable},
		{"a store that is away, a stream", watch, []string{"Bearer " + token("newer", "repo")}, true, codes.Unavailable},
	}
}

func run(t *testing.T, s *away, calls []call, do func(context.Context, call) (*healthpb.HealthCheckResponse, codes.Code, string)) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			s.is.Store(c.away)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			got, code, message := do(ctx, c)
			if code != c.want {
				t.Errorf("%v (%s), want %v", code, message, c.want)
			}
			if c.want == codes.OK && got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("the service does not know who it is: %v", got.GetStatus())
			}
			if c.away && message != errUnavailable.Error() {
				t.Errorf("the caller is told %q", message)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	m, s, calls := newCalls(t)
	server := grpc.NewServer(GRPC(m, needed)...)
	healthpb.RegisterHealthServer(server, health{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := healthpb.NewHealthClient(conn)
	run(t, s, calls, func(ctx context.Context, c call) (resp *healthpb.HealthCheckResponse, _ codes.Code, _ string) {
		for _, value := range c.authorization {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
		}
		var err error
		switch c.procedure {
		case check:
			resp, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
		case watch:
			var stream grpc.ServerStreamingClient[healthpb.HealthCheckResponse]
			if stream, err = client.Watch(ctx, &healthpb.HealthCheckRequest{}); err == nil {
				resp, err = stream.Recv()
			}
		case list:
			_, err = client.List(ctx, &healthpb.HealthListRequest{})
		}
		return resp, status.Code(err), status.Convert(err).Message()
	})
}

// handlers serve the health service by Connect.
func handlers(options ...connect.HandlerOption) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(check, connect.NewUnaryHandler(check, func(ctx context.Context, _ *connect.Request[healthpb.HealthCheckRequest]) (*connect.Response[healthpb.HealthCheckResponse], error) {
		return connect.NewResponse(serving(ctx)), nil
	}, options...))
	mux.Handle(list, connect.NewUnaryHandler(list, func(context.Context, *connect.Request[healthpb.HealthCheckRequest]) (*connect.Response[healthpb.HealthCheckResponse], error) {
		return connect.NewResponse(&healthpb.HealthCheckResponse{}), nil
	}, options...))
	mux.Handle(watch, connect.NewServerStreamHandler(watch, func(ctx context.Context, _ *connect.Request[healthpb.HealthCheckRequest], stream *connect.ServerStream[healthpb.HealthCheckResponse]) error {
		return stream.Send(serving(ctx))
	}, options...))
	return mux
}

// connectCaller calls a server of Connect.
func connectCaller(server *httptest.Server, options ...connect.ClientOption) func(context.Context, call) (*healthpb.HealthCheckResponse, codes.Code, string) {
	return func(ctx context.Context, c call) (*healthpb.HealthCheckResponse, codes.Code, string) {
		client := connect.NewClient[healthpb.HealthCheckRequest, healthpb.HealthCheckResponse](server.Client(), server.URL+c.procedure, options...)
		req := connect.NewRequest(&healthpb.HealthCheckRequest{})
		for _, value := range c.authorization {
			req.Header().Add("Authorization", value)
		}
		var (
			got *healthpb.HealthCheckResponse
			err error
		)
		if c.procedure == watch {
			var stream *connect.ServerStreamForClient[healthpb.HealthCheckResponse]
			if stream, err = client.CallServerStream(ctx, req); err == nil {
				if stream.Receive() {
					got = stream.Msg()
				}
				err = stream.Err()
				_ = stream.Close()
			}
		} else {
			var resp *connect.Response[healthpb.HealthCheckResponse]
			if resp, err = client.CallUnary(ctx, req); err == nil {
				got = resp.Msg
			}
		}
		if err == nil {
			return got, codes.OK, ""
		}
		message := err.Error()
		if e := new(connect.Error); errors.As(err, &e) {
			message = e.Message()
		}
		return got, codes.Code(connect.CodeOf(err)), message // the numbers are gRPC's
	}
}

var protocols = map[string][]connect.ClientOption{"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()}}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestConnect(t *testing.T) {
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			m, s, calls := newCalls(t)
			server := serve(t, handlers(connect.WithInterceptors(Connect(m, needed))))
			run(t, s, calls, connectCaller(server, options...))
		})
	}
}

// The middleware of net/http before the same handlers: clients make the same codes of
// its statuses.
func TestMiddlewareBeforeConnect(t *testing.T) {
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			m, s, calls := newCalls(t)
			protect, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			for procedure, scopes := range needed {
				mux.Handle(procedure, protect(authz.RequireScopes(scopes...)(handlers())))
			}
			server := serve(t, mux)
			for i, c := range calls {
				if c.procedure == list { // no such route
					calls[i].want = codes.Unimplemented
				}
				if len(c.authorization) > 1 { // 400
					calls[i].want = codes.Internal
				}
			}
			do := connectCaller(server, options...)
			run(t, s, calls, func(ctx context.Context, c call) (*healthpb.HealthCheckResponse, codes.Code, string) {
				got, code, message := do(ctx, c)
				if c.away {
					message = errUnavailable.Error() // the client's own words
				}
				return got, code, message
			})
		})
	}
}
