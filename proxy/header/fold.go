package header

import "strings"

// managedName reports whether a folded name is one that no client may set.
func managedName(folded []byte) bool {
	switch string(folded) { // the compiler makes no copy for this
	case "forwarded", "forwarded-for", "x-forwarded", "via",
		// Where a request came from.
		"x-real-ip", "true-client-ip", "x-client-ip", "client-ip", "x-cluster-client-ip", "x-proxyuser-ip",
		"fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-azure-socketip", "x-originating-ip",
		"cf-pseudo-ipv4", "x-host", "x-request-id",
		// How it came: servers and frameworks take these for https.
		"x-scheme", "x-url-scheme", "front-end-https", "https", "script-name", "x-script-name", "x-prefix",
		// Who somebody is.
		"x-user", "x-username", "x-email", "x-groups", "x-roles",
		"x-user-id", "x-user-email", "x-user-name", "x-user-groups", "x-user-roles",
		// What is asked for, said twice (CVE-2026-40575 and the like).
		"x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override",
		// Read by CGI as the variable that names an outgoing proxy.
		"proxy":
		return true
	}
	return false
}

// managedPrefixes are the beginnings of folded names that no client may set.
var managedPrefixes = [...]string{
	"x-forwarded-", "x-sallyport-", "x-original-", "proxy-",
	"remote-", "x-remote-", "x-auth-request-", "x-webauth-", "x-authentik-",
	"x-auth-user", "x-auth-email", "x-auth-name", "x-auth-groups", "x-auth-roles", "x-authenticated-",
	"oidc-claim-", "mellon-", "shib-", "x-saml-", "x-vouch-", "x-proxy-", "x-appengine-", "x-pomerium-",
	"sm-", "iv-", "oam-", "impersonate-", "x-consumer-", "x-forward-", "x-sso-", "x-client-dn", "x-client-verify",
	"x-jwt-assertion", "x-id-token",
	"x-goog-authenticated-", "x-goog-iap-",
	"x-ms-client-principal", "x-amzn-oidc-", "cf-access-", "cf-connecting-", "wl-proxy-", "teleport-",
	"x-ssl-", "ssl-client-", "x-client-cert", "client-cert", "x-tls-client-",
	"x-accel-", "x-sendfile", "x-envoy-",
}

// Managed reports whether a header of this name is the gateway's alone, in any
// spelling. Operators may not map an attribute or a client header to it.
func Managed(name string) bool {
	var buf [64]byte
	folded := fold(buf[:0], name)
	if managedName(folded) {
		return true
	}
	for _, prefix := range managedPrefixes {
		if len(folded) >= len(prefix) && string(folded[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

// fold appends the folded form of name to dst: letters in lower case, digits
// as they are, every other byte as "-".
func fold(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}

// plain reports whether name has only letters, digits and "-", as every header
// that a browser or an honest client sends.
func plain(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

const upperHex = "0123456789ABCDEF"

// Encode makes s safe as a header value, one to one: visible ASCII and inner
// blanks stay, every other byte and "%" become %XX (RFC 3986 section 2.1), so
// two different identities never look the same to a backend.
func Encode(s string) string {
	if encoded(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := range len(s) {
		if c := s[i]; keeps(s, i) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

// encoded reports whether Encode would return s unchanged.
func encoded(s string) bool {
	for i := range len(s) {
		if !keeps(s, i) {
			return false
		}
	}
	return true
}

// keeps reports whether byte i of s may stand in a header value as it is. A
// blank at either end may not: HTTP trims it on the way.
func keeps(s string, i int) bool {
	c := s[i]
	if c == ' ' {
		return i > 0 && i < len(s)-1
	}
	return c > ' ' && c < 0x7f && c != '%'
}
