package session

import (
	"net/http"
	"strings"
)

// StripRequest removes our cookies from a request that goes to a backend, and
// leaves all others as they came, byte for byte.
func StripRequest(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if line = withoutOurs(line); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// withoutOurs returns one Cookie line without our cookies.
func withoutOurs(line string) string {
	if !strings.Contains(strings.ToLower(line), strings.ToLower(CookiePrefix)) {
		return line
	}
	var kept []string
	for pair := range strings.SplitSeq(line, ";") {
		if pair = strings.TrimSpace(pair); pair != "" && !ours(pair) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}

// StripResponse removes from a backend's answer every Set-Cookie that would
// plant or take away one of our cookies.
func StripResponse(h http.Header) {
	lines := h["Set-Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if !ours(line) {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Set-Cookie")
		return
	}
	h["Set-Cookie"] = kept
}

// ours reports whether a "name=value…" pair names a cookie of ours. Browsers
// compare the __Host- prefix without case, trim blanks, and store a nameless
// cookie "=x=y" so that it is sent as "x=y".
func ours(pair string) bool {
	name := strings.TrimLeft(pair, "= \t")
	return len(name) >= len(CookiePrefix) && strings.EqualFold(name[:len(CookiePrefix)], CookiePrefix)
}
