package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
)

// ownCertificate is a certificate for tool.example.com, and who trusts it.
func ownCertificate(t *testing.T) (*tls.Config, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"tool.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool, ServerName: "tool.example.com"}
}

// receiveWith serves who the client is, behind r, until the test ends; stop tells how that went.
func receiveWith(t *testing.T, r reception) (address string, client *tls.Config, stop func() error) {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var socket net.PacketConn
	if r.publicPort != 0 {
		if socket, err = (sockets{}).packets(t.Context(), socketHTTP3, listener.Addr().String(), forHTTP3); err != nil {
			t.Fatal(err)
		}
	}
	server, client := ownCertificate(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto+" "+r.RemoteAddr) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.serve(ctx, proxy.ServerConfig{Listener: listener, TLS: server, Handler: handler, Drain: time.Second}, socket)
	}()
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return listener.Addr().String(), client, stop
}

func TestHTTP3IsServedBesideAndAdvertised(t *testing.T) {
	address, trust, stop := receiveWith(t, receptionOf(&config.Gateway{Listen: config.Listen{HTTP3: true}, Door: config.Door{PublicPort: 443}}))
	transport3 := &http3.Transport{TLSClientConfig: trust}
	defer transport3.Close()
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	for _, test := range []struct {
		transport      http.RoundTripper
		proto, service string
	}{{transport, "HTTP/1.1", `h3=":443"; ma=86400`}, {transport3, "HTTP/3.0", ""}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := test.transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if !strings.HasPrefix(string(body), test.proto+" 127.0.0.1:") || res.Header.Get("Alt-Svc") != test.service {
			t.Errorf("%s: %q, Alt-Svc %q", test.proto, body, res.Header.Get("Alt-Svc"))
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestHTTP3IsOffByDefault(t *testing.T) {
	cfg, err := config.LoadGateway("gateway.yaml", []byte("door: {host: door.example.com}\nroutes: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := receptionOf(cfg)
	if r.balancers != nil || cfg.Clients.Forwarded() != nil {
		t.Errorf("%+v, %v are trusted", r, cfg.Clients.Forwarded())
	}
	if at := gatewayAddresses(cfg); at.http3 != "" {
		t.Errorf("HTTP/3 at %s", at.http3)
	}
}

func TestATakenPortOfHTTP3IsFoundBeforeTheStart(t *testing.T) {
	var listen net.ListenConfig
	taken, err := listen.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = (sockets{}).checkFree(t.Context(), addresses{http3: taken.LocalAddr().String()})
	if hint := (*hinted)(nil); !errors.As(err, &hint) || !strings.Contains(err.Error(), "HTTP/3") {
		t.Errorf("%v", err)
	}
	if err := (sockets{}).checkFree(t.Context(), addresses{work: taken.LocalAddr().String()}); err != nil {
		t.Errorf("without HTTP/3: %v", err)
	}
}

func TestABalancerSaysWhomItSpeaksFor(t *testing.T) {
	cfg := &config.Gateway{Clients: config.Clients{ProxyProtocol: true, TrustedProxies: []string{"127.0.0.0/8"}}}
	if cfg.Clients.Forwarded() != nil {
		t.Error("X-Forwarded-For is believed beside it")
	}
	address, trust, _ := receiveWith(t, receptionOf(cfg))
	for header, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n": "HTTP/1.1 192.0.2.1:4711",
		"": "",
	} {
		transport := &http.Transport{TLSClientConfig: trust, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				_, err = io.WriteString(conn, header)
			}
			return conn, err
		}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+netip.MustParseAddrPort(address).String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			if want != "" {
				t.Errorf("header %q: %v", header, err)
			}
			continue
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		transport.CloseIdleConnections()
		if string(body) != want {
			t.Errorf("header %q: %q, want %q", header, body, want)
		}
	}
}

// TestConnectionsAreCountedTogether: one of TCP and one of QUIC are two, by the address
// of the client and not of a balancer.
func TestConnectionsAreCountedTogether(t *testing.T) {
	limit := connectionLimits(config.Limits{Connections: 100, ConnectionsPerAddress: 1}, proxy.NewMetrics())
	address, trust, _ := receiveWith(t, reception{publicPort: 443, limit: limit})
	conn, err := tls.Dial("tcp", address, trust)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http3.Transport{TLSClientConfig: trust}
	defer transport.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := transport.RoundTrip(req); err == nil {
		_ = res.Body.Close()
		t.Error("a second connection of the same address is let in")
	}
	_ = conn.Close()
	for deadline := time.Now().Add(patience); ; {
		res, err := transport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the first has ended: %v", err)
		}
	}

	balanced, trust, _ := receiveWith(t, reception{balancers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, limit: limit})
	for _, client := range []string{"192.0.2.1", "192.0.2.2"} {
		conn, err := net.Dial("tcp", balanced)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "PROXY TCP4 "+client+" 198.51.100.1 4711 443\r\n")
		if err := tls.Client(conn, trust).HandshakeContext(t.Context()); err != nil {
			t.Errorf("%s: %v", client, err)
		}
	}
}
