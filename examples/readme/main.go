package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/sqlite"
)

func main() {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, "authz.db") // created and migrated
	check(err)
	tokens, err := authz.New(db, authz.Config{TokenPrefix: "acme"})
	check(err)
	app, secret, err := tokens.RegisterApp(ctx, authz.NewApp{Name: "acme command line"}) // once, in a real app
	check(err)
	fmt.Printf("client_id %s, client_secret %s\n", app.ClientID, secret.Reveal())

	api, err := authz.NewHandler(tokens, authz.HandlerConfig{Authenticator: authz.BasicAuth(login)})
	check(err)
	for _, path := range []string{"/authorizations", "/authorizations/", "/applications/", "/oauth/", "/.well-known/oauth-authorization-server"} {
		http.Handle(path, api)
	}
	protect, err := authz.NewMiddleware(tokens, authz.MiddlewareConfig{})
	check(err)
	http.Handle("GET /hello", protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := authz.FromContext(r.Context())
		fmt.Fprintf(w, "hello, user %s with scopes %v\n", a.Owner, a.Scopes)
	})))
	server := &http.Server{Addr: "127.0.0.1:8080", ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// login asks your users table; an unknown login must take as long as a wrong password.
func login(_ context.Context, c authz.Credentials) (authz.User, error) {
	if right := c.Password.Equal(authz.NewSecret("octocat")); !right || c.Login != "mona" {
		return authz.User{}, authz.ErrBadCredentials
	}
	return authz.User{ID: "1", Login: "mona"}, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
