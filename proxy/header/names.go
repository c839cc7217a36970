package header

import (
	"errors"
	"net/textproto"
	"slices"
	"strings"
)

// Profile says under which header each thing about a person is told. A name that is
// empty tells nothing.
type Profile struct {
	// User is the name that policy and log use; ID is the same once more, for tools
	// that want a key beside it.
	User, ID string
	// Email, Name and Groups are the address, the display name and the groups.
	Email, Name, Groups string
	// Separator is what joins the groups; the zero value is a comma.
	Separator Separator
}

// Names are those that p tells something under, as they are written there.
func (p Profile) Names() []string {
	return slices.DeleteFunc([]string{p.User, p.ID, p.Email, p.Name, p.Groups}, func(name string) bool { return name == "" })
}

// Separator is what stands between the names of two groups. Within a name it is
// percent-encoded.
type Separator string

// The separators.
const (
	Comma     Separator = ","
	Pipe      Separator = "|"
	Semicolon Separator = ";"
	// Lines gives each group a header line of its own, in which a comma is
	// percent-encoded: many programs join such lines with one.
	Lines Separator = "lines"
)

// Separators are all that there are.
func Separators() []Separator { return []Separator{Comma, Pipe, Semicolon, Lines} }

// Names of the profiles. The first is what a route has that says nothing.
const (
	XForwarded = "x-forwarded"
	Remote     = "remote"
	WebAuth    = "webauth"
	Authentik  = "authentik"
)

// ProfileOf returns the profile of that name: what a family of tools reads when they
// are told that a proxy signs people in.
func ProfileOf(name string) (p Profile, ok bool) {
	switch name {
	case XForwarded: // oauth2-proxy's, and the most of those who came after it
		return Profile{User: User, Email: Email, Name: PreferredUsername, Groups: Groups}, true
	case Remote: // Authelia's, and what CGI calls REMOTE_USER
		return Profile{User: "Remote-User", Email: "Remote-Email", Name: "Remote-Name", Groups: "Remote-Groups"}, true
	case WebAuth: // Grafana's
		return Profile{User: "X-Webauth-User", Email: "X-Webauth-Email", Name: "X-Webauth-Name", Groups: "X-Webauth-Groups"}, true
	case Authentik:
		return Profile{
			User: "X-Authentik-Username", ID: "X-Authentik-Uid", Email: "X-Authentik-Email", Name: "X-Authentik-Name",
			Groups: "X-Authentik-Groups", Separator: Pipe,
		}, true
	}
	return Profile{}, false
}

// maxName bounds a name that an operator chooses, in bytes.
const maxName = 64

// Settable returns nil for a name under which a route may tell who somebody is, and
// else what is wrong with it: a name that some program between here and the tool would
// not take for that of a header, one by which requests are framed, routed, guarded or
// understood, and one that says something else than who somebody is.
func Settable(name string) error {
	var buf [maxName]byte
	switch {
	case !plain(name) || len(name) > maxName || name[0] == '-' || name[0] >= '0' && name[0] <= '9':
		return errors.New("it is not 1 to 64 letters, digits and hyphens that begin with a letter")
	case strings.HasPrefix(string(fold(buf[:0], name)), "x-sallyport-"):
		return errors.New("names that begin with X-Sallyport- are the gateway's own")
	}
	folded := string(fold(buf[:0], name))
	switch {
	case slices.Contains(otherNames[:], folded) || hasPrefix(folded, otherPrefixes[:]):
		return errors.New("it means something else in HTTP or to proxies, or guards the tool")
	case Managed(name) && !personal(folded):
		return errors.New("it does not say who somebody is")
	}
	return nil
}

// canonical is the spelling that HTTP/1.1 is written in here.
func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// otherNames and otherPrefixes are folded names that no client is kept from sending and
// that say something else than who somebody is.
var (
	otherNames = [...]string{
		"host", "cookie", "cookie2", "set-cookie", "authorization", "www-authenticate", "authentication-info",
		"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "http2-settings", "expect", "alt-svc", "alt-used",
		"date", "age", "vary", "etag", "server", "location", "retry-after", "allow", "link", "refresh", "priority", "early-data",
		"origin", "referer", "referrer-policy", "range", "accept", "user-agent", "cache-control", "pragma", "expires", "warning", "max-forwards",
		"if", "depth", "destination", "overwrite", "lock-token", "timeout", "translate", "dav", "method", "path", "scheme", "authority", "protocol",
		"dnt", "last-event-id", "last-modified", "traceparent", "tracestate", "baggage", "save-data", "downlink", "rtt",
		"x-requested-with", "x-auth-token", "x-api-key", "x-correlation-id", "x-trace-id", "x-amz-date", "idempotency-key",
		"client-ip", "remote-addr", "remote-host", "remote-port", "remote-ip", "remote-method", "remote-uri", "remote-proto",
		"x-remote-addr", "x-remote-host", "x-remote-port", "x-remote-ip", "x-remote-proto",
	}
	otherPrefixes = [...]string{
		"content-", "if-", "accept-", "access-control-", "sec-", "grpc-", "proxy-", "x-csrf", "x-xsrf", "x-b3-", "x-content-",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-amz-", "strict-transport-", "cross-origin-", "x-frame-", "x-http-",
		"x-vault-", "http-", "signature", "device-", "viewport-", "cdn-", "surrogate-", "x-cache",
	}
)
