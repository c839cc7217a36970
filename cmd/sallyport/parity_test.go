package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/header"
)

// TestNoHeaderIsGoodOnlyUntilTheStart holds what a configuration may name in answers to
// what a gateway takes: `check` refuses what a start would, before an introduction is spent.
func TestNoHeaderIsGoodOnlyUntilTheStart(t *testing.T) {
	names := []string{
		"Permissions-Policy", "Server", "X-Frame-Options", "Cache-Control", "Access-Control-Allow-Origin", "Refresh", "Link", "Age", "Etag", "Vary",
		"Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Upgrade", "Keep-Alive", "Te", "Content-Encoding", "Content-Range", "Date",
		"Set-Cookie", "Location", "Alt-Svc", "Clear-Site-Data", "Via", "Forwarded", "Proxy-Connection", "Proxy-Authenticate", "X-Real-Ip",
		"X-Accel-Redirect", "X-Sendfile", "X-Sendfile-Type", "X-Request-Id", "Traceparent",
	}
	names = append(names,
		header.User, header.Email, header.Groups, header.PreferredUsername, header.ForwardedFor, header.ForwardedHost, header.ForwardedPrefix,
		"Remote-User", "Remote-Groups", "X-Webauth-User", "X-Authentik-Username", "X-Auth-Request-User", "X-Sallyport-Assertion", "X-Original-Url",
	)
	for _, name := range names {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			yaml := gatewayYAML("127.0.0.1:8443", "127.0.0.1:9090", "") +
				fmt.Sprintf("  - name: more\n    host: more.example.com\n    backend: {url: \"https://more\"}\n    answers: {remove_headers: [%q]}\n", spelling)
			_, err := loadGateway("test", []byte(yaml))
			if err != nil && !strings.Contains(err.Error(), spelling) {
				t.Errorf("%s: %v, expected an error that names it", spelling, err)
			}
			if err == nil && !proxy.SettableHeader(spelling) {
				t.Errorf("%s passes, and the gateway cannot take it away", spelling)
			}
		}
	}
}
