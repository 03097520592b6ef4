// Package conformance holds the HTTP API to what is written about it.
//
// Its tests validate every answer that the tests of package authz get against
// docs/openapi.yaml, see that every answer in the document is given by the
// handler, run go-github's own client against it, and keep docs/api.md in step:
//
//	go test -run TestPage -update
//
// It is a module of its own, so that nobody who uses authz takes what these
// tests need.
package conformance
