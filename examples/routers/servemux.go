package routers

import "net/http"

// ServeMuxRoot serves the API at the root, beside other routes.
func ServeMuxRoot(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range Paths {
		mux.Handle(path, api) // without it ServeMux would redirect to path/
		mux.Handle(path+"/", api)
	}
	return mux
}

// ServeMuxPrefix serves the API below a prefix that it knows.
func ServeMuxPrefix(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(Prefix+"/", api)
	mux.Handle(WellKnown+Prefix, api)
	return mux
}

// ServeMuxStripped serves the API below a prefix that it does not know.
func ServeMuxStripped(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(Prefix+"/", http.StripPrefix(Prefix, api))
	return mux
}
