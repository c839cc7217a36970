package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the public authorities, for an image without any files

	"github.com/sallyport/sallyport/config"
)

// Bounds of fetching an identity provider's metadata.
const (
	metadataTimeout   = 20 * time.Second
	metadataBytes     = 2 << 20 // package saml takes no more either
	metadataRedirects = 3
)

// fetcher gets the identity provider's metadata from its URL. What it gets is
// hostile until its signature was verified, which is not its business; TLS keeps
// others from holding an old version against us.
type fetcher struct {
	dialer *net.Dialer
}

func newFetcher() *fetcher {
	return &fetcher{dialer: &net.Dialer{Timeout: 5 * time.Second}}
}

// metadata fetches it once. No proxy of the environment's is asked.
func (f *fetcher) metadata(ctx context.Context, cfg *config.Gateway) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	roots, err := metadataRoots(cfg.SAML.MetadataCAFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         f.dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 5 * time.Second,
		DisableKeepAlives:   true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: staySafe}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.SAML.MetadataURL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: %w", cfg.SAML.MetadataURL, withoutURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: status %d, expected 200", cfg.SAML.MetadataURL, res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, metadataBytes+1))
	if err == nil && len(text) > metadataBytes {
		err = fmt.Errorf("more than %d bytes", metadataBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: %w", cfg.SAML.MetadataURL, err)
	}
	return text, nil
}

// staySafe follows a few redirects, and none that leaves TLS.
func staySafe(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Scheme != "https":
		return fmt.Errorf("redirected to scheme %q, expected https", req.URL.Scheme)
	case len(via) > metadataRedirects:
		return fmt.Errorf("redirected more than %d times", metadataRedirects)
	}
	return nil
}

// metadataRoots are the authorities in file, or nil for the public ones.
func metadataRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading saml.metadata_ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading saml.metadata_ca_file %q: expected PEM certificates, found none", file)
	}
	return roots, nil
}

// withoutURL drops what http.Client puts before the cause; it may quote the
// target of a redirect.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
