package http1

import (
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// A byte of every kind, at every place of values that are read in pieces of eight.
func TestValuesAreValidAsElsewhere(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for b := range 256 {
				v := []byte(strings.Repeat("a", length))
				v[at] = byte(b)
				if got, want := validValue(string(v)), httpguts.ValidHeaderFieldValue(string(v)); got != want {
					t.Errorf("%q is valid: %t, want %t", v, got, want)
				}
			}
		}
	}
}

func FuzzValuesAreValidAsElsewhere(f *testing.F) {
	f.Add("text\tand more of it\x7f")
	f.Fuzz(func(t *testing.T, v string) {
		if got, want := validValue(v), httpguts.ValidHeaderFieldValue(v); got != want {
			t.Errorf("%q is valid: %t, want %t", v, got, want)
		}
	})
}
