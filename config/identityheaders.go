package config

import (
	"regexp"
	"slices"
	"strings"
)

// namesOfSets are the headers of each set, in lower case.
var namesOfSets = map[string][]string{
	headersStandard: {"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"},
	"remote":        {"remote-user", "remote-email", "remote-groups", "remote-name"},
	"webauth":       {"x-webauth-user", "x-webauth-email", "x-webauth-groups", "x-webauth-name"},
	"authentik":     {"x-authentik-username", "x-authentik-uid", "x-authentik-email", "x-authentik-groups", "x-authentik-name"},
}

// identityHeaderName is a name that every program between here and the tool takes for the same.
var identityHeaderName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)

// judgeIdentityHeader returns what was expected instead of a header that shall say who
// somebody is, or "". Package proxy/header has the last word; a test holds both together.
func judgeIdentityHeader(name string) string {
	folded := strings.ToLower(name)
	begins := func(prefix string) bool { return strings.HasPrefix(folded, prefix) }
	switch {
	case !identityHeaderName.MatchString(name):
		return "a header name of 1 to 64 letters, digits and hyphens that begins with a letter: some programs read _ and . as a hyphen"
	case begins("x-sallyport-"):
		return "another name: those that begin with X-Sallyport- are the gateway's own"
	case folded == "authorization":
		return "another name; what a tool is shown in Authorization is said under credentials"
	case slices.Contains(meaningful[:], folded) || slices.ContainsFunc(meaningfulPrefixes[:], begins):
		return "a name that means nothing else in HTTP, to proxies or to a tool's own defences, such as X-My-User"
	case begins("x-forwarded-") && !slices.Contains(forwardedPersons[:], folded):
		return "a name that says who somebody is, such as X-Forwarded-User; the others of X-Forwarded- say where a request came from"
	}
	return ""
}

// meaningful and meaningfulPrefixes are names by which requests are framed, routed,
// guarded or understood, or by which it is said where they came from.
var (
	meaningful = [...]string{
		"host", "cookie", "cookie2", "set-cookie", "www-authenticate", "authentication-info",
		"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "http2-settings", "expect", "alt-svc", "alt-used",
		"date", "age", "vary", "etag", "server", "location", "retry-after", "allow", "link", "refresh", "priority", "early-data",
		"origin", "referer", "referrer-policy", "range", "accept", "user-agent", "cache-control", "pragma", "expires", "warning", "max-forwards",
		"if", "depth", "destination", "overwrite", "lock-token", "timeout", "translate", "dav", "method", "path", "scheme", "authority", "protocol",
		"dnt", "last-event-id", "last-modified", "traceparent", "tracestate", "baggage", "save-data", "downlink", "rtt",
		"x-requested-with", "x-auth-token", "x-api-key", "x-correlation-id", "x-trace-id", "x-amz-date", "idempotency-key",
		"remote-addr", "remote-host", "remote-port", "remote-ip", "remote-method", "remote-uri", "remote-proto",
		"x-remote-addr", "x-remote-host", "x-remote-port", "x-remote-ip", "x-remote-proto",
		"forwarded", "forwarded-for", "x-forwarded", "via", "x-real-ip", "true-client-ip", "x-client-ip", "client-ip", "x-cluster-client-ip",
		"x-proxyuser-ip", "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-azure-socketip", "x-originating-ip", "cf-pseudo-ipv4", "x-host",
		"x-request-id", "x-scheme", "x-url-scheme", "front-end-https", "https", "script-name", "x-script-name", "x-prefix",
		"x-rewrite-url", "x-method-override", "proxy",
	}
	meaningfulPrefixes = [...]string{
		"content-", "if-", "accept-", "access-control-", "sec-", "grpc-", "proxy-", "x-csrf", "x-xsrf", "x-b3-", "x-content-",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-amz-", "strict-transport-", "cross-origin-", "x-frame-", "x-http-",
		"x-vault-", "http-", "signature", "device-", "viewport-", "cdn-", "surrogate-", "x-cache",
		"x-original-", "x-jwt-assertion", "x-id-token", "x-goog-iap-", "x-forward-", "x-client-dn", "x-client-verify",
		"cf-connecting-", "wl-proxy-", "x-ssl-", "ssl-client-", "x-client-cert", "client-cert", "x-tls-client-",
		"x-accel-", "x-sendfile", "x-envoy-",
	}
	forwardedPersons = [...]string{
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
		"x-forwarded-name", "x-forwarded-username", "x-forwarded-roles", "x-forwarded-login",
	}
)
