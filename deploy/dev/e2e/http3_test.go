package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/sallyport/sallyport/proxy"
)

// openHTTP3 serves the house by UDP, too. Each host has a certificate of its own, as
// from Vault. With one for all, Chromium asks for a second host over its connection to
// the first, is refused (421), and asks again by TCP; but not while it is told to use
// QUIC alone.
func (h *house) openHTTP3() {
	h.t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(h.t.Context(), "udp", net.JoinHostPort("127.0.0.1", h.port))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var certs []tls.Certificate
	for _, host := range houseHosts {
		certs = append(certs, shared.authority.issue(h.t, x509.ExtKeyUsageServerAuth, host))
	}
	go func() {
		ended <- proxy.Serve3(ctx, proxy.Server3Config{
			Socket: socket, TLS: &tls.Config{Certificates: certs}, Handler: h.gateway, Drain: time.Second,
		})
	}()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, proxy.ErrDrain) {
			h.t.Errorf("closing the socket for HTTP/3: %v", err)
		}
	})
}

// overHTTP3: the same browser, told to speak HTTP/3 with the house from the first
// request on. What it learns by Alt-Svc it believes of public authorities alone.
func overHTTP3(t *testing.T) {
	h := newHouse(t)
	h.openHTTP3()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	var origins []string
	for _, host := range houseHosts {
		origins = append(origins, net.JoinHostPort(host, h.port))
	}
	b, err := startBrowserWith(chromium, filepath.Join(t.TempDir(), "home"), []string{shared.authority.file},
		chromedp.Flag("origin-to-force-quic-on", strings.Join(origins, ",")),
		// It takes a name of loopback for ::1, and with QUIC tries no other address.
		chromedp.Flag("host-resolver-rules", "MAP *.localhost 127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	alice := newTab(b.ctx, t, chromedp.WithNewBrowserContext())
	alice.open(h.origin(houseStreams) + "/")
	alice.click(`a[href*="idp=corp"]`)
	alice.signInAt(h.corp.origin, "alice", "alice-pw")
	alice.at(h.origin(houseStreams) + "/")
	if spoken := ask(alice, chromedp.Evaluate[string](`performance.getEntriesByType("navigation")[0].nextHopProtocol`)); spoken != "h3" {
		t.Fatalf("the browser speaks %s", spoken)
	}
	h.eventsPass(alice)
	filesPass(alice)
	second := alice.tab()
	second.open(h.origin(houseStreams) + "/.sallyport/sign_out")
	second.click("button[type=submit]")
	second.sees("signed out")
	if got := alice.fetch("/"); got.Status != 401 {
		t.Errorf("after the sign-out: status %d", got.Status)
	}
	logs(t, h.records, 2, record{"http.version": "3", "event.action": "stream_begin", "url.path": "/events", "user.name": "alice@example.com"})
	logs(t, h.records, 2, record{"http.version": "3", "event.action": "access", "url.path": "/events", "user.name": "alice@example.com"})
	logs(t, h.records, 1, record{"http.version": "3", "event.action": "signout", "event.reason": "asked", "http.request.method": "POST"})
}
