package storetest_test

import (
	"slices"
	"testing"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
	"github.com/seed-926035fd/authz/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, n int) []store.Store {
		return slices.Repeat([]store.Store{memory.New()}, n)
	})
}
