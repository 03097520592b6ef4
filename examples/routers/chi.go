package routers

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// ChiRoot serves the API at the root, beside other routes.
func ChiRoot(api http.Handler) http.Handler {
	r := chi.NewRouter()
	for _, path := range Paths {
		r.Handle(path, api)
		r.Handle(path+"/*", api)
	}
	return r
}

// ChiPrefix serves the API below a prefix that it knows: Mount keeps the path.
func ChiPrefix(api http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Mount(Prefix, api)
	r.Handle(WellKnown+Prefix, api)
	return r
}

// ChiStripped serves the API below a prefix that it does not know.
func ChiStripped(api http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Mount(Prefix, http.StripPrefix(Prefix, api))
	return r
}
