// Package routers shows how to put the API on the routers that people use: at
// the root, below a prefix on a router that keeps the path, and below a prefix
// that is stripped. Copy the function that you need, and [Paths] for the root.
//
// api is what authz.NewHandler returns. For the functions called …Prefix it is
// made with HandlerConfig.Prefix set to [Prefix]; for all others without.
//
// One rule holds for all: give the API each of its paths and everything below,
// for all methods. Clients test a one-time password with PATCH /authorizations,
// and 401, 404 and 405 should be the API's own, in JSON.
//
// Below a prefix the metadata stands twice: beside everything else, and where
// RFC 8414 section 3.1 puts it, with the prefix behind [WellKnown]. The latter
// is for an API that knows its prefix.
package routers

// Prefix is where the API stands in the examples with a prefix.
const Prefix = "/api/v3"

// WellKnown is where clients look for the metadata.
const WellKnown = "/.well-known/oauth-authorization-server"

// Paths are what the API needs at the root, each with everything below.
var Paths = []string{"/authorizations", "/applications", "/oauth", WellKnown}
