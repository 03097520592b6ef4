package storetest

import (
	"sync"
	"testing"
)

// TestProcessFaults proves the bookkeeping of RunProcesses, with goroutines in
// the place of processes.
func TestProcessFaults(t *testing.T) {
	for _, f := range []fault{none, noUniqueKey, checkThenAct, plainInsert, alwaysCreated, neverCreated, deleteTwice, idsReused} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			const processes = 3
			s := plant(f, processes)
			results := make([]result, processes)
			var done sync.WaitGroup
			for i := range results {
				done.Go(func() {
					results[i] = job{Process: i, Goroutines: 4, Keys: 20}.do(t.Context(), s[i])
				})
			}
			done.Wait()
			r := record(t.Context(), func(r *recorder) { job{Keys: 20}.check(r, s[0], results) })
			green := f == none
			if red := len(r.failures) > 0; red == green {
				t.Errorf("red %t, want %t: %q", red, !green, r.failures)
			}
		})
	}
}
