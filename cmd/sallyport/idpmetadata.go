package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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

// fetched is metadata that was fetched, and from where. It is immutable; nil stands
// for none.
type fetched struct {
	text []byte
	from origin
}

// origin is what decides where metadata is fetched from, and whom it takes for the
// answerer. The zero value is nowhere.
type origin struct{ url, caFile string }

func originOf(idp config.IdP) origin { return origin{idp.MetadataURL, idp.MetadataCAFile} }

// isFrom says whether it was fetched as idp says.
func (f *fetched) isFrom(idp config.IdP) bool { return f != nil && f.from == originOf(idp) }

// same says whether both are the same text from the same place.
func (f *fetched) same(other *fetched) bool {
	if f == nil || other == nil {
		return f == other
	}
	return bytes.Equal(f.text, other.text) && f.from.url == other.from.url
}

// version names it.
func (f *fetched) version() string {
	if f == nil {
		return versionNone
	}
	return versionOfText(f.text)
}

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
func (f *fetcher) metadata(ctx context.Context, idp config.IdP) (*fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	roots, err := metadataRoots(idp.MetadataCAFile)
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, idp.MetadataURL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: %w", idp.MetadataURL, withoutURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: status %d, expected 200", idp.MetadataURL, res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, metadataBytes+1))
	if err == nil && len(text) > metadataBytes {
		err = fmt.Errorf("more than %d bytes", metadataBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the identity provider's metadata from %s: %w", idp.MetadataURL, err)
	}
	return &fetched{text: text, from: originOf(idp)}, nil
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
	return readAuthorities("saml.metadata_ca_file", file)
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
