package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// versions are those of HTTP that browsers speak to the gateway.
var versions = []string{"1.1", "2", "3"}

// overHTTP2 has every backend spoken to in HTTP/2, which gRPC needs.
func overHTTP2(cfg *proxy.Config) {
	for i := range cfg.Routes {
		cfg.Routes[i].Upstream.Protocol = upstream.HTTP2
	}
}

// front3 is the world's gateway in HTTP/3.
type front3 struct {
	address string
	stop    func() error
	pool    *x509.CertPool
}

// serve3 has the world's gateway speak HTTP/3 besides.
func (w *world) serve3(change func(*proxy.Server3Config)) *front3 {
	w.tb.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	hosts := []string{doorHost, "unknown.example.test"}
	for _, rt := range w.cfg.Routes {
		hosts = append(hosts, rt.Host)
	}
	cfg := proxy.Server3Config{
		Socket: socket, Handler: w.live, Drain: 5 * time.Second,
		TLS: &tls.Config{Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageServerAuth, hosts...)}},
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- proxy.Serve3(ctx, cfg) }()
	f := &front3{address: socket.LocalAddr().String(), pool: w.ca.pool, stop: sync.OnceValue(func() error { cancel(); return <-done })}
	w.tb.Cleanup(func() { _ = f.stop() })
	return f
}

// transport speaks HTTP/3 to f, whatever the address says.
func (f *front3) transport(tb testing.TB) *http3.Transport {
	tb.Helper()
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.pool, ClientSessionCache: tls.NewLRUClientSessionCache(8)},
		Dial: func(ctx context.Context, _ string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, f.address, config, settings)
		},
	}
	tb.Cleanup(func() { _ = transport.Close() })
	return transport
}

// over returns b, with its cookies, in another version of HTTP.
func (b *browser) over(version string) *browser {
	b.w.tb.Helper()
	client := *b.client
	switch version {
	case "2":
		transport := b.client.Transport.(*http.Transport).Clone()
		transport.ForceAttemptHTTP2 = true
		b.w.tb.Cleanup(transport.CloseIdleConnections)
		client.Transport = transport
	case "3":
		client.Transport = b.w.serve3(nil).transport(b.w.tb)
	}
	return &browser{w: b.w, client: &client}
}

// signedIn is alice at the tool, in each version of HTTP.
func (w *world) signedIn(version string) *browser {
	w.tb.Helper()
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	return b.over(version)
}

// begin begins a request as a program does, without reading the answer's body.
func (b *browser) begin(req *http.Request) *http.Response {
	b.w.tb.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	b.w.tb.Cleanup(func() { _ = res.Body.Close() })
	return res
}
