package http1

import "golang.org/x/net/http/httpguts"

// validValue reports what [httpguts.ValidHeaderFieldValue] does, eight bytes at once:
// the values of a request, with its cookies and its assertion, have some thousand.
func validValue(v string) bool {
	const (
		ones    = 0x0101010101010101
		highs   = 0x80 * ones
		blanks  = 0x20 * ones
		deletes = 0x7f * ones
	)
	for ; len(v) >= 8; v = v[8:] {
		x := uint64(v[0]) | uint64(v[1])<<8 | uint64(v[2])<<16 | uint64(v[3])<<24 | uint64(v[4])<<32 | uint64(v[5])<<40 | uint64(v[6])<<48 | uint64(v[7])<<56
		control := (x - blanks) &^ x & highs // is any byte below a blank
		x ^= deletes
		if control|(x-ones)&^x&highs != 0 { // or DEL
			break // it may be a tab
		}
	}
	return httpguts.ValidHeaderFieldValue(v)
}
