package provision_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// cutter is a proxy in front of Vault that lets so many writes through, does the
// next and loses its answer. That Vault had one write less, as if the connection
// were cut on the way there, is what the count before leaves behind.
type cutter struct {
	*httptest.Server
	left atomic.Int64
}

func newCutter(t *testing.T) *cutter {
	t.Helper()
	proxy := newProxy(t)
	c := &cutter{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/sys/wrapping/wrap") || c.left.Add(-1) >= 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(c.Server.Close)
	return c
}

// newProxy passes calls on to Vault.
func newProxy(t *testing.T) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(vault.Address)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	raw, err := os.ReadFile(vault.CAFile)
	if err != nil || !pool.AppendCertsFromPEM(raw) {
		t.Fatal("no CA", err)
	}
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}
}

// clientOf asks Vault through a server.
func clientOf(t *testing.T, server *httptest.Server) *provision.Client {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := provision.NewClient(provision.Config{Server: vaultpki.Server{Address: server.URL, CAFile: ca}, Token: vault.RootToken})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
