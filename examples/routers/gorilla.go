package routers

import (
	"net/http"

	"github.com/gorilla/mux"
)

// newGorilla is a router that leaves paths alone: without SkipClean it takes a
// fingerprint ..%2F for a step up and redirects.
func newGorilla() *mux.Router { return mux.NewRouter().SkipClean(true) }

// GorillaRoot serves the API at the root, beside other routes.
func GorillaRoot(api http.Handler) http.Handler {
	r := newGorilla()
	for _, path := range Paths {
		r.Handle(path, api)
		r.PathPrefix(path + "/").Handler(api)
	}
	return r
}

// GorillaPrefix serves the API below a prefix that it knows.
func GorillaPrefix(api http.Handler) http.Handler {
	r := newGorilla()
	r.PathPrefix(Prefix + "/").Handler(api)
	r.Handle(WellKnown+Prefix, api)
	return r
}

// GorillaStripped serves the API below a prefix that it does not know.
func GorillaStripped(api http.Handler) http.Handler {
	r := newGorilla()
	r.PathPrefix(Prefix + "/").Handler(http.StripPrefix(Prefix, api))
	return r
}
