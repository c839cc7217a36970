package http1_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzAnswer: whatever a backend answers, net/http and this package tell the same of
// it, or fail both.
func FuzzAnswer(f *testing.F) {
	for _, raw := range answers {
		f.Add([]byte(raw), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		theirs, ours := both(t, method, string(raw), 1<<20, false)
		if len(theirs.Interim) > 16 {
			return // bounded here, and not there
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("(-net/http +http1):\n%s", diff)
		}
	})
}
