package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// The operations, in the order of the summary.
const (
	opPut        = "put"        // PUT under a key that exists
	opVerify     = "verify"     // GET of what a token protects
	opList       = "list"       // the user's authorizations
	opCheck      = "check"      // POST /applications/{client_id}/token
	opIntrospect = "introspect" // RFC 7662
	opCreate     = "create"     // PUT under a new key
	opRevoke     = "revoke"     // DELETE of what create has made
)

var allOps = []string{opPut, opVerify, opList, opCheck, opIntrospect, opCreate, opRevoke}

// mix draws operations by their weights.
type mix struct {
	ops  []string
	upTo []int // sums of the weights
}

func parseMix(text string) (mix, error) {
	var m mix
	sum := 0
	for part := range strings.SplitSeq(text, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(weight)
		if err != nil || n < 0 || n > 1e6 || !slices.Contains(allOps, name) || slices.Contains(m.ops, name) {
			return mix{}, fmt.Errorf("-mix: %q is not one of %s with = and a weight, once each", part, strings.Join(allOps, ", "))
		}
		sum += n
		m.ops, m.upTo = append(m.ops, name), append(m.upTo, sum)
	}
	if sum == 0 {
		return mix{}, fmt.Errorf("-mix: %q has no weight above 0", text)
	}
	return m, nil
}

func (m mix) draw() string {
	n := rand.IntN(m.upTo[len(m.upTo)-1]) //nolint:gosec // no secret
	return m.ops[slices.IndexFunc(m.upTo, func(upTo int) bool { return n < upTo })]
}

func (m mix) String() string {
	var parts []string
	before := 0
	for i, name := range m.ops {
		parts = append(parts, fmt.Sprintf("%s=%d", name, m.upTo[i]-before))
		before = m.upTo[i]
	}
	return strings.Join(parts, ",")
}
