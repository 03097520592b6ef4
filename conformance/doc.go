// Package conformance holds the HTTP API to what is written about it.
//
// Its tests validate every answer that the tests of package authz get against
// docs/openapi.yaml, see that every answer in the document is given by the
// handler, run go-github's own client against it, and keep docs/api.md in step:
//
//	go test -run TestPage -update
//
// Random sequences of all operations must have the same answers from all three
// stores and from one small model, and what 32 concurrent callers see must be
// linearizable; AUTHZ_TEST_FULL=1 makes those two run for minutes.
//
// It is a module of its own, so that nobody who uses authz takes what these
// tests need.
package conformance
