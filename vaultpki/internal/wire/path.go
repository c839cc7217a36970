package wire

import (
	"fmt"
	"strings"
)

// CheckPath accepts a Vault path as an operator writes it: segments joined by
// single slashes, without those that a URL would resolve away, and without what
// a URL or a policy would read as something else (in a policy '*' and '+' match
// other paths too, and a quote ends the path).
func CheckPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || strings.Contains(segment, "..") {
			return fmt.Errorf("path %q: expected segments joined by single slashes", path)
		}
	}
	for _, r := range path {
		if r < 0x21 || r > 0x7e || strings.ContainsRune(`?#%\*+"{}`, r) {
			return fmt.Errorf("path %q: unexpected character %q", path, r)
		}
	}
	return nil
}

// CheckName accepts the name of a role: a path of one segment.
func CheckName(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("name %q: unexpected character '/'", name)
	}
	return CheckPath(name)
}
