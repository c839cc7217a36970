// Package header owns the one list of request headers by which a backend
// learns who somebody is and where a request came from, and the only two
// things that may be done with it: strip every spelling of those names from
// what a client sent, and set them from a verified session. A route may set
// further names ([Template]); what it sets, no client may send it.
//
// Both ends of the inner door use it: the gateway on what browsers send, the
// sidecar on what arrives at it. A name counts as managed by its folded form
// (lower-case, every byte that is no letter or digit read as "-"), because PHP,
// WSGI and CGI fold names the same way and would read X_Forwarded_User or
// X.Forwarded.User as X-Forwarded-User (CVE-2025-64484, CVE-2026-54763,
// CVE-2026-88011). Names with bytes other than letters, digits and "-" are
// removed altogether: no browser sends them.
//
// The sidecar carries over from the gateway what is on a list of its own, and what
// the gateway says it has set ([SetNames]); see [Carry].
//
// Hostile input: every name and value in a client's header or trailer.
// Output: an http.Header in which a managed name is either absent or ours.
package header

// The names that carry identity to a backend. They are the de-facto standard
// of forward-authentication proxies.
const (
	User   = "X-Forwarded-User"
	Email  = "X-Forwarded-Email"
	Groups = "X-Forwarded-Groups"
	// PreferredUsername is the display name, whatever the name of the header suggests:
	// two people may have the same, and no tool may know anybody by it.
	PreferredUsername = "X-Forwarded-Preferred-Username"
	// Assertion says all of it under a signature, for one route.
	Assertion = "X-Sallyport-Assertion"
)

// The names that tell a backend about the request's way to it.
const (
	ForwardedFor   = "X-Forwarded-For"
	ForwardedHost  = "X-Forwarded-Host"
	ForwardedProto = "X-Forwarded-Proto"
	// ForwardedPrefix is the beginning of the path that the gateway has taken off.
	ForwardedPrefix = "X-Forwarded-Prefix"
	RequestID       = "X-Request-Id"
)

// Fault is how a sidecar tells the gateway, in an answer, that the application
// did not answer. An application cannot say so itself: the name is managed.
const Fault = "X-Sallyport-Fault"
