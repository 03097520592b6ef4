package protect

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/seed-926035fd/authz"
)

// Chi protects all routes of a router, and asks for scopes where they are needed.
func Chi(protect func(http.Handler) http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(protect)
	r.Get("/user", hello)
	r.With(authz.RequireScopes("repo")).Post("/repos", hello)
	return r
}
