package main

import (
	"strings"
	"testing"
)

func TestTableTellsRatiosRoundByRound(t *testing.T) {
	got := table(door, []string{"nginx", "gateway", "floor"}, map[string]series{
		"h1":     {"nginx": {10, 40, 20}, "gateway": {20, 60, 44}, "floor": {30, 90}},
		"signon": {"gateway": {9000}},
	})
	for _, want := range []string{
		"| figure | nginx | gateway | floor |\n|---|---|---|---|\n",
		"| 1 KiB, HTTP/1.1, µs a request | 20, ×1.00 (1.00–1.00) | 44, ×2.00 (1.50–2.20) | 60 |\n", // a round that failed pairs with nothing
		"| whole sign-on, µs | – | 9000 | – |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "HTTP/2") {
		t.Errorf("what was not measured is told:\n%s", got)
	}
}
