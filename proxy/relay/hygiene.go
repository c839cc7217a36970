package relay

import (
	"net/http"
	"strings"
)

// ValidMethod accepts every method that tools use (WebDAV's too) and refuses CONNECT and
// TRACE, the HTTP/2 preface, and methods in lower case, which servers behind us might
// take for something else (RFC 9110 section 9.1).
func ValidMethod(method string) bool {
	switch method {
	case http.MethodConnect, http.MethodTrace, "PRI", "":
		return false
	}
	return !strings.ContainsFunc(method, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '-' })
}

// ValidTarget accepts a request for a path, and refuses one for a whole server and one
// with a fragment, which is for browsers alone (CVE-2021-32779). A host in the target is
// for HTTP/1 (RFC 9112 section 3.2.2); where requests come in frames it has a field of its
// own, and a target with another would name two (RFC 9113 section 8.3.1). Frames can carry
// a blank, too, which would end the target where HTTP/1 is spoken.
func ValidTarget(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/") && !strings.ContainsAny(r.RequestURI, "# ") &&
		(r.ProtoMajor < 2 || strings.HasPrefix(r.RequestURI, "/"))
}
