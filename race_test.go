//go:build race

package authz_test

// raceEnabled says that allocations cannot be counted: the detector makes some of its own.
const raceEnabled = true
