// Package localhost lets Go programs open the demo's addresses.
//
// Browsers and curl send every name below .localhost to the loopback interface
// themselves (RFC 6761, section 6.3); Go asks the system's resolver, which on many
// machines does not know such names. The clients made here dial loopback for them
// and refuse every other host, so that nothing of the demo can leave the machine
// by way of a mistyped name.
package localhost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Dial connects to addr ("host:port"), whose host is below .localhost or is a
// loopback address. It has the shape of [net.Dialer.DialContext].
func Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dialling %q: %w", addr, err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("dialling %q: not a name below .localhost or a loopback address", addr)
	}
	if net.ParseIP(host) == nil {
		host = "127.0.0.1"
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
}

func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Transport returns a transport that dials with [Dial] and trusts only the
// certificates in the PEM file caFile; "" trusts none, for plain HTTP.
func Transport(caFile string) (*http.Transport, error) {
	roots := x509.NewCertPool()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA certificate: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA certificate: no certificate in %s", caFile)
		}
	}
	return &http.Transport{
		DialContext:         Dial,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 5 * time.Second,
	}, nil
}

// Client returns a client on [Transport] that follows no redirect and gives up a
// request after ten seconds.
func Client(caFile string) (*http.Client, error) {
	transport, err := Transport(caFile)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// ErrNotReady is what a probe of [WaitOK] got last when its time was over.
var ErrNotReady = errors.New("not ready")

// WaitOK asks for url until it answers 200 or ctx ends; then the error says what
// the last answer was and wraps the cause of the end.
func WaitOK(ctx context.Context, client *http.Client, url string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last answer: %w)", url, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking %q: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err // an *url.Error, which names the address
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %s", ErrNotReady, resp.Status)
	}
	return nil
}
