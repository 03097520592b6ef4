// Package routers shows how to put the API on the routers that people use: at
// the root, below a prefix on a router that keeps the path, and below a prefix
// that is stripped. Copy the function that you need.
//
// api is what authz.NewHandler returns. For the functions called …Prefix it is
// made with HandlerConfig.Prefix set to [Prefix]; for all others without.
//
// One rule holds for all: give the API both /authorizations and everything
// below, for all methods. Clients test a one-time password with
// PATCH /authorizations, and 401, 404 and 405 should be the API's own, in JSON.
package routers

// Prefix is where the API stands in the examples with a prefix.
const Prefix = "/api/v3"
