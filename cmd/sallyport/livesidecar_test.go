package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/vaultpki"
)

// TestARequestIsJudgedByTheListInUse, and not by that of the configuration by which it came:
// whoever is taken off the list at that moment is let in by neither.
func TestARequestIsJudgedByTheListInUse(t *testing.T) {
	const text = "name: tool.backend.internal\napp: http://127.0.0.1:1\ngateways: [%s]\n"
	s := &liveSidecar{
		certificates: &vaultpki.Certificates{}, access: accesslog.New(io.Discard, "sidecar"), log: slog.New(slog.DiscardHandler),
	}
	var states []*sidecarState
	for _, gateway := range []string{"one.internal", "two.internal"} {
		cfg, err := config.LoadSidecar("sidecar.yaml", fmt.Appendf(nil, text, gateway))
		if err != nil {
			t.Fatal(err)
		}
		state := &sidecarState{cfg: cfg}
		if err := s.build(state); err != nil {
			t.Fatal(err)
		}
		states = append(states, state)
	}
	s.current.Store(states[1])
	leaf := &x509.Certificate{DNSNames: []string{"one.internal"}}
	r := httptest.NewRequest(http.MethodGet, "https://tool.example.com/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	w := httptest.NewRecorder()
	states[0].guard.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("status %d", w.Code)
	}
}
