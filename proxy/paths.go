package proxy

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
)

// judgedPath returns the path of u by which routes and rules are found: the very
// string that is sent on (see [relay.SentPath]), so that nothing reaches a backend
// under another path than was decided on. It reports false for one that a backend
// might read as another path than it is here, and by which nothing is decided
// (CVE-2019-9901, CVE-2026-48020, CVE-2026-73553).
//
// What is no UTF-8 is among them: lenient decoders read "%C0%AF" as "/".
//
// It makes no copy of a path that a browser would send.
func judgedPath(u *url.URL) (path string, ok bool) {
	path = relay.SentPath(u)
	return path, !strange(u.RawPath) && utf8.ValidString(u.Path) && plainSegments(path)
}

// strange reports a path with bytes that no URL has: they are escaped on the way,
// but a backend may have its own idea of what they were.
func strange(raw string) bool {
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || raw[i] == '\\' {
			return true
		}
	}
	return false
}

// plainSegments reports whether path has one meaning: no segment is empty but the
// last, none is "." or "..", none has parameters, and no byte is escaped that means
// something where it stands, or that may stand in the path of a rule.
func plainSegments(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	start, dots := 1, true // of the segment; whether it has only dots so far
	for i := 1; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			if i == start || dots && i-start <= 2 {
				return false
			}
			start, dots = i+1, true
		case c == ';':
			return false
		case c == '%':
			if i+2 >= len(path) || telling(unhex(path[i+1])<<4|unhex(path[i+2])) {
				return false
			}
			dots = false
		case c != '.':
			dots = false
		}
	}
	size := len(path) - start
	return size == 0 || !dots || size > 2
}

// telling reports whether a byte must not be escaped where something is decided by
// the path: "/", "\", ";" and controls, which some servers decode before they look
// at segments; and what RFC 3986 section 2.3 calls unreserved, of which alone the
// paths of routes and rules are made: "%61dmin" is "admin" to every backend, and is
// not to a comparison of bytes.
func telling(c byte) bool {
	return c < ' ' || c == 0x7f || strings.IndexByte(`/\;-._~`, c) >= 0 ||
		c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// unhex is the value of a hexadecimal digit; net/url has refused all others.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// stripped returns a path without the prefix under which it lies.
func stripped(path, prefix string) string {
	if !policy.Under(path, prefix) || prefix == "/" {
		return path
	}
	if path = path[len(prefix):]; path == "" {
		return "/"
	}
	return path
}
