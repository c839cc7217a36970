package config

import (
	"strings"
	"testing"
)

// TestShortCertificatesLeaveAssertionsAlone: an assertion takes along no certificate that
// ends before it does, and the operator is told.
func TestShortCertificatesLeaveAssertionsAlone(t *testing.T) {
	cases := map[string]struct {
		ttl, route string
		want       bool
	}{
		"too short":       {"14m", "backend: {url: \"https://a\"}", true},
		"long enough":     {"15m", "backend: {url: \"https://a\"}", false},
		"no assertions":   {"5m", "backend: {url: \"https://a\"}, assertion: false", false},
		"through ingress": {"5m", "forward_auth: true", true},
		"no tool":         {"5m", "respond: {title: a, message: b}", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g, err := LoadGateway("f", []byte("door: {host: door}\nvault: {backend_pki: {ttl: "+c.ttl+"}}\nroutes: [{name: a, host: a, allow: {any_signed_in: true}, "+c.route+"}]"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(strings.Join(g.Warnings(), "\n"), "vault.backend_pki.ttl: "); got != c.want {
				t.Errorf("warnings %q", g.Warnings())
			}
		})
	}
}
