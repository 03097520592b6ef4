// Package protect shows how to put the middleware of package authz before the routes
// of a web app, on the routers that people use. Copy the function that you need.
//
// protect is what authz.NewMiddleware returns. Each of the functions makes an app with
// two routes: GET /user takes every token, POST /repos one with the scope repo. What
// stands behind them finds out who has sent a request with authz.FromContext.
//
// Routers whose middleware is a func(http.Handler) http.Handler take both as they are;
// echo has a wrapper for these, and for gin there is one in gin.go.
package protect

import (
	"fmt"
	"net/http"

	"github.com/seed-926035fd/authz"
)

// hello is the app itself.
func hello(w http.ResponseWriter, r *http.Request) {
	a, _ := authz.FromContext(r.Context())
	fmt.Fprintf(w, "hello, %s", a.Owner)
}
