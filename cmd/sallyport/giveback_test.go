package main

import "testing"

func TestMemoryIsGivenBackWhenNobodyAsks(t *testing.T) {
	const mib = 1 << 20
	idle := idleness{last: 30 * mib, given: 30 * mib} // after the start
	for _, step := range []struct {
		what string
		now  uint64
		due  bool
	}{
		{"nothing was done", 30*mib + 1000, false},
		{"little was done", 31 * mib, false},
		{"requests", 60 * mib, false},
		{"more of them", 90 * mib, false},
		{"they have ended", 90*mib + 1000, true},
	} {
		if got := idle.due(step.now); got != step.due {
			t.Errorf("%s: %t", step.what, got)
		}
	}
	idle.given = idle.last
	if idle.due(90*mib + 2000) {
		t.Error("what was given back is given back again")
	}
	if before := allocated(); before == 0 || allocated() < before {
		t.Errorf("%d bytes are allocated", before)
	}
}
