// Command authz serves the authz API on an embedded database.
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
	st, err := sqlite.Open(ctx, "authz-demo.db")
	if err != nil {
		log.Fatal(err)
	}
	m, err := authz.New(st, authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	app, secret, err := m.RegisterApp(ctx, authz.NewApp{Name: "demo", URL: "http://demo.example"})
	if err != nil {
		log.Fatal(err)
	}
	h, err := authz.NewHandler(m, authz.HandlerConfig{Authenticator: authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
		if c.Login != "mona" || !c.Password.Equal(authz.NewSecret("mona")) {
			return authz.User{}, authz.ErrBadCredentials
		}
		return authz.User{ID: "1", Login: "mona"}, nil
	})})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -i -u mona:mona -X PUT http://127.0.0.1:8080/authorizations/clients/%s -d '{\"client_secret\":%q,\"scopes\":[\"public_repo\"],\"note\":\"admin script\"}'\n", app.ClientID, secret.Reveal())
	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: h, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}
