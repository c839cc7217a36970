package vaultpki_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// pair is a sidecar and a gateway with their certificates.
type pair struct {
	sidecar, gateway *vaultpki.Certificates
}

func newPair(t *testing.T) pair {
	t.Helper()
	return pair{
		sidecar: issue(t, sidecarConfig(login(t, sidecarRole))),
		gateway: issue(t, clientConfig(login(t, gatewayRole))),
	}
}

func TestMutualTLSNamesBothPeers(t *testing.T) {
	p := newPair(t)
	client, server, err := shakeBoth(p.sidecar.GuardTLS([]string{clientName}), p.gateway.DialTLS(sidecarName))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := vaultpki.PeerName(server); err != nil || name != clientName {
		t.Errorf("the sidecar sees %q, %v; expected %q", name, err, clientName)
	}
	if names := client.PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != sidecarName {
		t.Errorf("the gateway sees %q, expected %q", names, sidecarName)
	}
	if client.Version != tls.VersionTLS13 {
		t.Errorf("TLS version %x, expected 1.3", client.Version)
	}
}

func TestMutualTLSWorksThroughHTTP2(t *testing.T) {
	p := newPair(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, err := vaultpki.PeerName(*r.TLS)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Peer", name)
	}))
	server.TLS, server.EnableHTTP2 = p.sidecar.GuardTLS([]string{clientName}), true
	server.StartTLS()
	defer server.Close()
	transport := &http.Transport{TLSClientConfig: p.gateway.DialTLS(sidecarName), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.Header.Get("Peer") != clientName {
		t.Errorf("answer over %s to peer %q, expected HTTP/2 to %q", resp.Proto, resp.Header.Get("Peer"), clientName)
	}
}

func TestGuardLetsNobodyElseIn(t *testing.T) {
	p := newPair(t)
	stranger := newAuthority(t)
	show := func(cert tls.Certificate) *tls.Config {
		cfg := p.gateway.DialTLS(sidecarName)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		return cfg
	}
	gatewayOnly := []string{clientName}
	const id = "spiffe://example.com/gateway"
	write(t, "pki-backend/roles/any-name", map[string]any{
		"allow_any_name": true, "enforce_hostnames": false, "cn_validations": "disabled", "require_cn": false,
		"client_flag": true, "server_flag": false, "key_type": "ec", "key_bits": 256, "ttl": "1h",
	})
	old := p.gateway.DialTLS(sidecarName)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	tests := map[string]struct {
		allowed []string
		client  *tls.Config
		text    string
	}{
		"no certificate":       {gatewayOnly, show(tls.Certificate{}), "certificate required"},
		"name not allowed":     {[]string{"other.sallyport.internal"}, p.gateway.DialTLS(sidecarName), `"` + clientName + `"`},
		"nobody allowed":       {nil, p.gateway.DialTLS(sidecarName), "expected one of []"},
		"server's certificate": {gatewayOnly, show(serverPair(t, p.sidecar)), "incompatible key usage"},
		"certificate for both usages": {
			gatewayOnly, show(signedPair(t, "pki-backend/sign/both", clientName, nil)), "more uses than as a client",
		},
		"certificate of two names": {
			gatewayOnly, show(signedPair(t, "pki-backend/sign/two", clientName, map[string]any{
				"common_name": clientName, "alt_names": "root." + clientName,
			})), "expected one DNS name or one SPIFFE ID",
		},
		"DNS name that spells an allowed SPIFFE ID": {
			[]string{id}, show(signedPair(t, "pki-backend/sign/any-name", id, map[string]any{"alt_names": id})), "is no DNS name",
		},
		"certificate of another authority": {
			gatewayOnly, show(stranger.leaf(t, clientName, x509.ExtKeyUsageClientAuth)), "unknown authority",
		},
		"certificate of the edge's authority": {
			gatewayOnly, show(signedPair(t, "pki-edge/sign/client", clientName, nil)), "unknown authority",
		},
		"TLS 1.2": {gatewayOnly, old, "protocol version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := shakeBoth(p.sidecar.GuardTLS(test.allowed), test.client)
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("handshake: %v, expected a refusal with %q", err, test.text)
			}
		})
	}
}

// serverPair takes a server's certificate and key out of its configuration.
func serverPair(t *testing.T, certs *vaultpki.Certificates) tls.Certificate {
	t.Helper()
	cert, err := certs.EdgeTLS().GetCertificate(&tls.ClientHelloInfo{ServerName: sidecarName})
	if err != nil {
		t.Fatal(err)
	}
	return *cert
}

func TestDialTrustsNoOtherServer(t *testing.T) {
	p := newPair(t)
	edge := issue(t, edgeConfig(login(t, gatewayRole)))
	serve := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}
	}
	old := serve(serverPair(t, p.sidecar))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	tests := map[string]struct {
		server *tls.Config
		name   string
		text   string
	}{
		"another name": {
			serve(serverPair(t, p.sidecar)), "headers.backend.sallyport.internal", `expected one of ["headers.backend.sallyport.internal"]`,
		},
		"client's certificate": {
			serve(signedPair(t, "pki-backend/sign/sallyport-gateway", clientName, nil)), clientName, "not for use as a server",
		},
		"certificate for both usages": {
			serve(signedPair(t, "pki-backend/sign/both", sidecarName, nil)), sidecarName, "more uses than as a server",
		},
		"wildcard": {
			serve(signedPair(t, "pki-backend/sign/wild", "*.backend.sallyport.internal", nil)), sidecarName, "wildcard",
		},
		"another authority": {
			serve(newAuthority(t).leaf(t, sidecarName, x509.ExtKeyUsageServerAuth)), sidecarName, "unknown authority",
		},
		"edge's authority": {edge.EdgeTLS(), doorHost, "unknown authority"},
		"TLS 1.2":          {old, sidecarName, "protocol version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := shakeBoth(test.server, p.gateway.DialTLS(test.name))
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("handshake: %v, expected a refusal with %q", err, test.text)
			}
		})
	}
}

func TestGuardResumesNothing(t *testing.T) {
	p := newPair(t)
	server, client := p.sidecar.GuardTLS([]string{clientName}), p.gateway.DialTLS(sidecarName)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 3 {
		state, err := shake(server, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume {
			t.Errorf("connection %d was resumed", i)
		}
	}
}

// Tickets are off; should somebody switch them on, a resumed connection is
// judged like any other.
func TestResumedConnectionsAreJudgedAgain(t *testing.T) {
	p := newPair(t)
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		t.Fatal(err)
	}
	withTickets := func(allowed string) *tls.Config {
		cfg := p.sidecar.GuardTLS([]string{allowed})
		cfg.GetConfigForClient, cfg.SessionTicketsDisabled = nil, false
		cfg.SetSessionTicketKeys([][32]byte{key})
		return cfg
	}
	client := p.gateway.DialTLS(sidecarName)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	if _, err := shake(withTickets(clientName), client); err != nil {
		t.Fatal(err)
	}
	state, err := shake(withTickets(clientName), client)
	if err != nil || !state.DidResume {
		t.Fatalf("second connection: resumed %t, %v; the test needs a resumed one", state.DidResume, err)
	}
	_, serverState, err := shakeBoth(withTickets("other.sallyport.internal"), client)
	if err == nil || !serverState.DidResume || !strings.Contains(err.Error(), "expected one of") {
		t.Errorf("resumed %t, %v; expected a refusal of the resumed connection", serverState.DidResume, err)
	}
}

func TestConfigurationsAreOfNoUseTheOtherWayRound(t *testing.T) {
	p := newPair(t)
	if _, err := p.gateway.GuardTLS(nil).GetCertificate(&tls.ClientHelloInfo{ServerName: clientName}); err == nil {
		t.Error("a client certificate answers handshakes")
	}
	if _, err := p.sidecar.DialTLS(sidecarName).GetClientCertificate(&tls.CertificateRequestInfo{}); err == nil {
		t.Error("a server certificate is shown to servers")
	}
}

func TestPeerNameNeedsAVerifiedCertificate(t *testing.T) {
	certs := issue(t, edgeConfig(login(t, gatewayRole)))
	server := certs.EdgeTLS()
	server.ClientAuth = tls.RequireAnyClientCert
	pair := newAuthority(t).leaf(t, clientName, x509.ExtKeyUsageClientAuth)
	client := &tls.Config{ServerName: doorHost, RootCAs: mountRoots(t, "pki-edge"), Certificates: []tls.Certificate{pair}}
	_, state, err := shakeBoth(server, client)
	if err != nil {
		t.Fatal(err)
	}
	if len(state.PeerCertificates) == 0 {
		t.Fatal("the test needs a connection with an unverified certificate")
	}
	if name, err := vaultpki.PeerName(state); err == nil {
		t.Errorf("PeerName believes the unverified %q", name)
	}
	if name, err := vaultpki.PeerName(tls.ConnectionState{}); err == nil {
		t.Errorf("PeerName of no connection is %q", name)
	}
}

func TestEdgeSpeaksToBrowsers(t *testing.T) {
	edge := issue(t, edgeConfig(login(t, gatewayRole))).EdgeTLS()
	roots := mountRoots(t, "pki-edge")
	for _, host := range []string{doorHost, notesHost, strings.ToUpper(notesHost)} {
		client := &tls.Config{ServerName: host, RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}}
		state, err := shake(edge, client)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if state.NegotiatedProtocol != "h2" || state.PeerCertificates[0].DNSNames[0] != strings.ToLower(host) {
			t.Errorf("%s: protocol %q, certificate for %q", host, state.NegotiatedProtocol, state.PeerCertificates[0].DNSNames)
		}
	}
	tests := map[string]*tls.Config{
		"unknown name": {ServerName: "evil.example.com", InsecureSkipVerify: true},
		"no name":      {InsecureSkipVerify: true},
		"TLS 1.1":      {ServerName: doorHost, RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	}
	for name, client := range tests {
		if _, err := shake(edge, client); err == nil {
			t.Errorf("%s: the handshake succeeded", name)
		}
	}
}

// What strangers send to an open port is noise: it must not fill the log.
func TestStrangersWriteNoLogLine(t *testing.T) {
	var log journal
	cfg := edgeConfig(login(t, gatewayRole))
	cfg.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	edge := issue(t, cfg).EdgeTLS()
	before := log.String()
	for name, client := range map[string]*tls.Config{
		"unknown name":    {ServerName: "evil.example.com", InsecureSkipVerify: true},
		"no name":         {InsecureSkipVerify: true},
		"ACME validation": {ServerName: doorHost, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}},
		"odd protocol":    {ServerName: doorHost, InsecureSkipVerify: true, NextProtos: []string{"x"}},
		"long name":       {ServerName: strings.Repeat("a.", 120) + "example.com", InsecureSkipVerify: true},
	} {
		if _, err := shake(edge, client); err == nil {
			t.Errorf("%s: the handshake succeeded", name)
		}
	}
	if after := log.String(); after != before {
		t.Errorf("the log grew by:\n%s", strings.TrimPrefix(after, before))
	}
}

func BenchmarkGetCertificate(b *testing.B) {
	certs := issue(b, edgeConfig(login(b, gatewayRole)))
	get := certs.EdgeTLS().GetCertificate
	hello := &tls.ClientHelloInfo{ServerName: notesHost}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := get(hello); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMutualHandshake(b *testing.B) {
	sidecar := issue(b, sidecarConfig(login(b, sidecarRole)))
	gateway := issue(b, clientConfig(login(b, gatewayRole)))
	server, client := sidecar.GuardTLS([]string{clientName}), gateway.DialTLS(sidecarName)
	for b.Loop() {
		if _, err := shake(server, client); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIntroduction is the start-up cost of an identity: from the wrapping
// token to a held certificate.
func BenchmarkIntroduction(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		token := mint(b, gatewayRole, time.Minute)
		cfg := configFor(gatewayRole, tokenFile(b, token))
		b.StartTimer()
		client, err := vaultpki.Login(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		certs, err := vaultpki.NewCertificates(b.Context(), edgeConfig(client))
		if err != nil {
			b.Fatal(err)
		}
		certs.Close()
	}
}
