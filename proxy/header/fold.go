package header

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
		// What is asked for, said twice (CVE-2026-40575 and the like).
		"x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override",
		// Read by CGI as the variable that names an outgoing proxy.
		"proxy":
		return true
	// Who somebody is; see personal, too.
	case "x-user", "x-username", "x-email", "x-groups", "x-roles",
		"x-user-id", "x-user-email", "x-user-name", "x-user-groups", "x-user-roles":
		return true
	}
	return false
}

// managedPrefixes are the beginnings of folded names that no client may set, by their
// first letter: those that are followed by who somebody is, and the others.
var managedPrefixes = [...]struct{ personal, other []string }{
	'c': {[]string{"cf-access-"}, []string{"cf-connecting-", "client-cert"}},
	'i': {[]string{"iv-", "impersonate-"}, nil},
	'm': {[]string{"mellon-"}, nil},
	'o': {[]string{"oidc-claim-", "oam-"}, nil},
	'p': {nil, []string{"proxy-"}},
	'r': {[]string{"remote-"}, nil},
	's': {[]string{"shib-", "sm-"}, []string{"ssl-client-"}},
	't': {[]string{"teleport-"}, nil},
	'w': {nil, []string{"wl-proxy-"}},
	'x': {
		[]string{
			"x-remote-", "x-auth-request-", "x-webauth-", "x-authentik-",
			"x-auth-user", "x-auth-email", "x-auth-name", "x-auth-groups", "x-auth-roles", "x-authenticated-",
			"x-saml-", "x-vouch-", "x-proxy-", "x-appengine-", "x-pomerium-", "x-consumer-", "x-sso-",
			"x-goog-authenticated-", "x-ms-client-principal", "x-amzn-oidc-",
		},
		[]string{
			"x-forwarded-", "x-sallyport-", "x-original-",
			"x-jwt-assertion", "x-id-token", "x-goog-iap-", "x-forward-", "x-client-dn", "x-client-verify",
			"x-ssl-", "x-client-cert", "x-tls-client-", "x-accel-", "x-sendfile", "x-envoy-",
		},
	},
}

// harmless reports whether name is, to the letter, one that browsers send all the time,
// and that is neither managed nor settable: it need not be looked at any closer.
func harmless(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Cookie",
		"If-Modified-Since", "If-None-Match", "Origin", "Pragma", "Priority", "Range", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform",
		"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Te", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "X-Requested-With":
		return true
	}
	return false
}

// Managed reports whether a header of this name is the gateway's alone, in any
// spelling. Operators may not map an attribute or a client header to it.
func Managed(name string) bool {
	var buf [64]byte
	folded := fold(buf[:0], name[:min(len(name), len(buf))]) // no name on the list is as long
	if managedName(folded) {
		return true
	}
	if len(folded) == 0 || int(folded[0]) >= len(managedPrefixes) {
		return false
	}
	prefixes := &managedPrefixes[folded[0]]
	return begins(folded, prefixes.other) || begins(folded, prefixes.personal)
}

// begins reports whether name begins with one of prefixes.
func begins(name []byte, prefixes []string) bool {
	for _, prefix := range prefixes {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

// personal reports whether a folded name that is managed says who somebody is.
func personal(folded string) bool {
	switch folded {
	case "x-user", "x-username", "x-email", "x-groups", "x-roles",
		"x-user-id", "x-user-email", "x-user-name", "x-user-groups", "x-user-roles",
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
		"x-forwarded-name", "x-forwarded-username", "x-forwarded-roles", "x-forwarded-login":
		return true
	}
	return folded != "" && int(folded[0]) < len(managedPrefixes) && begins([]byte(folded), managedPrefixes[folded[0]].personal)
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
