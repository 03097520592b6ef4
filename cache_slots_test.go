package authz

import "testing"

// A revocation makes those read again that share a slot with it: that must stay
// rare for IDs as databases give them, one after the other or by a stride.
func TestIDsShareFewSlots(t *testing.T) {
	for _, size := range []int{100, 1 << 10, 30_000, 100_000, 200_000} {
		slots := powerOf2(size, 1<<10, 1<<18)
		v := newValidity(slots)
		for _, stride := range []int64{1, 2, 3, 4, 10, 32, 1000} {
			for _, first := range []int64{1, 1_000_003, 1 << 40} {
				in := make(map[uint32]int64)
				for i := range int64(size) {
					in[v.idSlot(first+i*stride)]++
				}
				var others int64
				for _, n := range in {
					others += n * (n - 1)
				}
				// By chance it were 0.92 at most here; a stride can be worse by a little.
				limit := 1.0
				if stride > 1 {
					limit = 2.5
				}
				if each := float64(others) / float64(size); each > limit {
					t.Errorf("%d IDs from %d by %d: each shares its slot with %.2f others, of %d slots", size, first, stride, each, slots)
				}
			}
		}
	}
}
