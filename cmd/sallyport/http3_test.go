package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// testGatewayHTTP3 has the real command speak HTTP/3, with the certificates of the edge:
// the name that a client asks for is judged as over TCP, on resumed connections too.
func testGatewayHTTP3(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	config := strings.Replace(gatewayYAML(https, admin, ""), "listen: {", "listen: {http3: true, ", 1)
	intro := s.introduce(t, gatewayRole)
	p := s.startGateway(t, gatewayRole, intro.file, writeFile(t, t.TempDir(), "gateway.yaml", config))
	p.ready(t, admin)
	roots, tickets := s.roots(t, "pki-edge"), tls.NewLRUClientSessionCache(8)
	ask := func(name string) (res *http.Response, resumed bool, err error) {
		transport := &http3.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ClientSessionCache: tickets},
			Dial: func(ctx context.Context, _ string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
				return quic.DialAddr(ctx, https, config, settings)
			},
		}
		defer transport.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+"/saml/metadata", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err = transport.RoundTrip(req)
		if err != nil {
			return nil, false, err
		}
		_ = res.Body.Close()
		return res, res.TLS.DidResume, nil
	}
	for _, wantResumed := range []bool{false, true} {
		res, resumed, err := ask(doorHost)
		if err != nil || res.StatusCode != http.StatusOK || resumed != wantResumed || res.Header.Get("Alt-Svc") != "" {
			t.Errorf("the door: %v, %v; resumed %v, want %v", res, err, resumed, wantResumed)
		}
	}
	if res, _, err := ask("unknown.example.com"); err == nil {
		t.Errorf("a name that is not ours is answered for: %d", res.StatusCode)
	}
	p.eventually(t, "the access log tells", func() (string, bool) {
		return p.out.String(), strings.Contains(p.out.String(), `"http.version":"3"`)
	})
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	s.checkNoSecret(t, p)
}
