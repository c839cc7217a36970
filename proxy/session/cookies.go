package session

import (
	"net/http"
	"slices"
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
		if line = withoutOurs(line); strings.Trim(line, " \t;") != "" {
			kept = append(kept, line)
		}
	}
	replace(h, "Cookie", kept)
}

// withoutOurs returns one Cookie line without our cookies.
func withoutOurs(line string) string {
	size, found := 0, false
	for pair := range strings.SplitSeq(line, ";") {
		if ours(pair) {
			found = true
		} else {
			size += len(pair) + 1
		}
	}
	if !found {
		return line
	}
	var kept strings.Builder
	kept.Grow(size)
	for pair := range strings.SplitSeq(line, ";") {
		switch {
		case ours(pair):
			continue
		case kept.Len() > 0:
			kept.WriteByte(';')
		default:
			pair = strings.TrimLeft(pair, " \t")
		}
		kept.WriteString(pair)
	}
	return kept.String()
}

// StripResponse removes from a backend's answer every Set-Cookie that would
// plant or take away one of our cookies, and from Clear-Site-Data what would
// clear them: browsers clear the cookies of the whole site, so one tool would
// sign people out of the door and of all others.
func StripResponse(h http.Header) {
	replace(h, "Set-Cookie", slices.DeleteFunc(h["Set-Cookie"], ours))
	if clears := h["Clear-Site-Data"]; len(clears) > 0 {
		replace(h, "Clear-Site-Data", harmlessClears(clears))
	}
}

// harmlessClears returns what may stay of Clear-Site-Data lines: the known
// directives that concern one origin alone. "*" becomes those that a tool most
// likely means by it.
func harmlessClears(lines []string) []string {
	var kept []string
	for _, line := range lines {
		for directive := range strings.SplitSeq(line, ",") {
			switch directive = strings.TrimSpace(directive); directive {
			case `"cache"`, `"storage"`, `"executionContexts"`, `"clientHints"`, `"prefetchCache"`, `"prerenderCache"`:
				kept = append(kept, directive)
			case `"*"`:
				kept = append(kept, `"cache"`, `"storage"`)
			}
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return []string{strings.Join(kept, ", ")}
}

// replace stores lines under a canonical name; no lines, no header.
func replace(h http.Header, name string, lines []string) {
	if len(lines) == 0 {
		delete(h, name)
		return
	}
	h[name] = lines
}

// ours reports whether a "name=value…" pair names a cookie of ours. Browsers
// compare the __Host- prefix without case, trim blanks, and store a nameless
// cookie "=x=y" so that it is sent as "x=y". Controls are trimmed as well: not
// every browser refuses them.
func ours(pair string) bool {
	start := 0
	for start < len(pair) && (pair[start] <= ' ' || pair[start] == '=') {
		start++
	}
	name := pair[start:]
	return len(name) >= len(CookiePrefix) && strings.EqualFold(name[:len(CookiePrefix)], CookiePrefix)
}
