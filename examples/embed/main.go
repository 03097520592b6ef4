// Command embed is a whole web app, in one file, whose users have API tokens.
// It keeps everything in memory: take store/sqlite or store/postgres instead.
package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = serve(l, os.Stdout)
	}
	log.Fatal(err)
}

// serve serves the app until the listener is closed.
func serve(l net.Listener, out io.Writer) error {
	manager, err := authz.New(memory.New(), authz.Config{Scopes: authz.ScopeNames("repo", "user")})
	if err != nil {
		return err
	}
	app, secret, err := manager.RegisterApp(context.Background(), authz.NewApp{Name: "command line tool"})
	if err != nil {
		return err
	}
	api, err := authz.NewHandler(manager, authz.HandlerConfig{Authenticator: authz.BasicAuth(login), Users: user})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/authorizations", "/authorizations/", "/applications/", "/oauth/", "/.well-known/oauth-authorization-server"} {
		mux.Handle(path, api)
	}
	protect, err := authz.NewMiddleware(manager, authz.MiddlewareConfig{})
	if err != nil {
		return err
	}
	mux.Handle("GET /user", protect(authz.RequireScopes("user")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := authz.FromContext(r.Context())
		fmt.Fprintf(w, "user %s\n", a.Owner)
	}))))
	fmt.Fprintf(out, "curl -u mona:octocat -X PUT -d '{\"client_secret\":%q,\"scopes\":[\"user\"]}' http://%s/authorizations/clients/%s\n", secret.Reveal(), l.Addr(), app.ClientID)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	return server.Serve(l)
}

// login is where your users are: here there is one. Yours keeps hashes of
// passwords, and takes as long for an unknown login as for a wrong password.
func login(_ context.Context, c authz.Credentials) (authz.User, error) {
	known := subtle.ConstantTimeCompare([]byte(c.Login), []byte("mona")) == 1
	if right := c.Password.Equal(authz.NewSecret("octocat")); !known || !right {
		return authz.User{}, authz.ErrBadCredentials
	}
	return authz.User{ID: "1", Login: "mona"}, nil
}

// user is for the answers to apps, which name the user that a token belongs to.
// Say ErrNotFound of those who are gone or disabled: apps find their tokens no
// more.
func user(_ context.Context, id string) (authz.User, error) {
	if id != "1" {
		return authz.User{}, authz.ErrNotFound
	}
	return authz.User{ID: "1", Login: "mona"}, nil
}
