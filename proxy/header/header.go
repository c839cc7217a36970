// Package header owns the one list of request headers by which a backend
// learns who somebody is and where a request came from, and the only two
// things that may be done with it: strip every spelling of those names from
// what a client sent, and set them from a verified session.
//
// Both ends of the inner door use it: the gateway on what browsers send, the
// sidecar on what arrives at it. A name counts as managed by its folded form
// (lower-case, every byte that is no letter or digit read as "-"), because PHP,
// WSGI and CGI fold names the same way and would read X_Forwarded_User or
// X.Forwarded.User as X-Forwarded-User (CVE-2025-64484, CVE-2026-54763,
// CVE-2026-88011). Names with bytes other than letters, digits and "-" are
// removed altogether: no browser sends them.
//
// Hostile input: every name and value in a client's header or trailer.
// Output: an http.Header in which a managed name is either absent or ours.
package header

import (
	"net/http"
	"strings"
)

// The names that carry identity to a backend. They are the de-facto standard
// of forward-authentication proxies.
const (
	User   = "X-Forwarded-User"
	Email  = "X-Forwarded-Email"
	Groups = "X-Forwarded-Groups"
	// PreferredUsername is the display name, whatever the name of the header suggests:
	// two people may have the same, and no tool may know anybody by it.
	PreferredUsername = "X-Forwarded-Preferred-Username"
)

// The names that tell a backend about the request's way to it.
const (
	ForwardedFor   = "X-Forwarded-For"
	ForwardedHost  = "X-Forwarded-Host"
	ForwardedProto = "X-Forwarded-Proto"
	// ForwardedPrefix is the beginning of the path that was taken away before the
	// backend was asked.
	ForwardedPrefix = "X-Forwarded-Prefix"
	RequestID       = "X-Request-Id"
)

// Fault is how a sidecar tells the gateway, in an answer, that the application
// did not answer. An application cannot say so itself: the name is managed.
const Fault = "X-Sallyport-Fault"

// GroupSeparator joins the group names in [Groups]. Within a name it is
// percent-encoded.
const GroupSeparator = ","

// carried are the names that a sidecar takes over from the gateway, and the
// only managed names that reach a backend.
var carried = [...]string{
	User, Email, Groups, PreferredUsername,
	ForwardedFor, ForwardedHost, ForwardedProto, ForwardedPrefix, RequestID,
}

// Identity is what a backend is told about a signed-in person. The zero value
// sets no header at all.
type Identity struct {
	// User is the name that policy and log use, usually the e-mail address.
	User string
	// Email may be empty when the identity provider sends none.
	Email string
	// Name is the display name; it may hold any letters, and be another person's too.
	Name string
	// Groups are released in this order.
	Groups []string
}

// Set replaces the identity headers in h by those of id. A field that is empty
// leaves its header absent, so a client's value can never stand in for it.
func Set(h http.Header, id Identity) {
	set(h, User, Encode(id.User))
	set(h, Email, Encode(id.Email))
	set(h, PreferredUsername, Encode(id.Name))
	set(h, Groups, encodeGroups(id.Groups))
}

// encodeGroups joins the encoded names. A comma within a name (distinguished
// names have them) becomes %2C: it must not read as two groups.
func encodeGroups(groups []string) string {
	encoded := make([]string, len(groups))
	for i, group := range groups {
		encoded[i] = strings.ReplaceAll(Encode(group), GroupSeparator, "%2C")
	}
	return strings.Join(encoded, GroupSeparator)
}

// set stores the one value under name, or removes the name when value is empty.
func set(h http.Header, name, value string) {
	if value == "" {
		delete(h, name)
		return
	}
	h[name] = []string{value}
}

// Strip removes from h every header by which a client could pass for somebody
// else or for another place, in whatever spelling, and reports how many names
// it removed. The caller sets its own values afterwards. Strip leaves
// Authorization and Cookie alone; they have owners of their own.
func Strip(h http.Header) (removed int) {
	for name := range h {
		if Managed(name) || !plain(name) {
			delete(h, name)
			removed++
		}
	}
	return removed
}

// StripResponse removes from an answer's header every managed name: an
// application has nothing to say under them.
func StripResponse(h http.Header) {
	for name := range h {
		if Managed(name) {
			delete(h, name)
		}
	}
}

// Carry strips out and then gives it the managed headers of in, which must
// come from a peer that mutual TLS has verified to be the gateway. Each may
// occur once at most: a name that occurs twice is a fault of the peer and ends
// in an *AmbiguousError, with out stripped and nothing set.
//
// in and out may be the same map.
func Carry(out, in http.Header) error {
	var values [len(carried)]string
	for i, name := range carried {
		switch vv := in[name]; {
		case len(vv) > 1:
			Strip(out)
			return &AmbiguousError{Name: name, Count: len(vv)}
		case len(vv) == 1:
			values[i] = vv[0]
		}
	}
	Strip(out)
	for i, name := range carried {
		set(out, name, values[i])
	}
	return nil
}
