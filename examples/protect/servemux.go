package protect

import (
	"net/http"

	"github.com/seed-926035fd/authz"
)

// ServeMux protects each route where it is made.
func ServeMux(protect func(http.Handler) http.Handler) http.Handler {
	repo := authz.RequireScopes("repo")
	mux := http.NewServeMux()
	mux.Handle("GET /user", protect(http.HandlerFunc(hello)))
	mux.Handle("POST /repos", protect(repo(http.HandlerFunc(hello))))
	return mux
}
