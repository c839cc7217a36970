package proxy

import (
	"net/http"
	"strings"
)

// clean refuses what no honest client sends before anything else looks at it.
// net/http has refused malformed framing and header bytes by now. A host in the target
// is for HTTP/1 (RFC 9112 section 3.2.2); where requests come in frames it has a field of
// its own, and a target with another would name two (RFC 9113 section 8.3.1).
func clean(r *http.Request) *refusal {
	switch {
	case !validMethod(r.Method):
		return &refusal{
			status: http.StatusMethodNotAllowed, reason: "method",
			title: "That cannot be done here", message: "This kind of request is not served here.",
		}
	case r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.RequestURI, "#"), r.ProtoMajor > 1 && r.RequestURI[0] != '/':
		return &refusal{
			status: http.StatusBadRequest, reason: "path",
			title: "That address is not valid", message: "The address of this request is not one that a browser sends.",
		}
	}
	return nil
}

// validMethod accepts every method that tools use (WebDAV's too) and refuses
// CONNECT and TRACE, the HTTP/2 preface, and methods in lower case, which
// servers behind us might take for something else (RFC 9110 section 9.1).
func validMethod(method string) bool {
	switch method {
	case http.MethodConnect, http.MethodTrace, "PRI", "":
		return false
	}
	return !strings.ContainsFunc(method, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '-' })
}
