package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// maxAddresses bounds the nodes of one Vault: a call must get round them all.
const maxAddresses = 9

// parseAddresses accepts one address or several, separated by commas.
func parseAddresses(list string, unsafeHTTP bool) ([]*url.URL, error) {
	var bases []*url.URL
	for address := range strings.SplitSeq(list, ",") {
		base, err := parseAddress(strings.TrimSpace(address), unsafeHTTP)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(bases, func(other *url.URL) bool { return *other == *base }) {
			return nil, fmt.Errorf("parsing the Vault address %q: expected each address once", list)
		}
		bases = append(bases, base)
	}
	if len(bases) > maxAddresses {
		return nil, fmt.Errorf("parsing the Vault address: expected at most %d addresses, found %d", maxAddresses, len(bases))
	}
	return bases, nil
}

// parseAddress accepts https URLs, and http ones to loopback if unsafeHTTP.
func parseAddress(address string, unsafeHTTP bool) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("parsing the Vault address: expected a URL such as https://vault.internal:8200")
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("parsing the Vault address %q: expected https://HOST:PORT", u.Redacted())
	case u.Scheme == "https":
	case u.Scheme != "http":
		return nil, fmt.Errorf("parsing the Vault address %q: expected scheme https", address)
	case !unsafeHTTP:
		return nil, fmt.Errorf("parsing the Vault address %q: plain http needs the unsafe option and a loopback host", address)
	case !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("parsing the Vault address %q: plain http is for loopback addresses only", address)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// isLoopback accepts literal loopback addresses only: what "localhost" means is
// for a resolver to say.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, errors.New("reading the CA file: none given, expected --vault-ca-file FILE, or VAULT_CACERT in the environment; the system's roots are not used")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("reading the CA file %q: expected PEM certificates, found none", path)
	}
	return pool, nil
}

// checkNamespace accepts the path of a namespace, or none.
func checkNamespace(namespace string) error {
	if namespace == "" {
		return nil
	}
	if err := CheckPath(strings.TrimSuffix(namespace, "/")); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	return nil
}

// newTLS trusts the CA file alone, and shows our own certificate if there is one.
func newTLS(cfg Config) (*tls.Config, error) {
	roots, err := readRoots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if cfg.CertFile == "" && cfg.KeyFile == "" {
		return settings, nil
	}
	pair := &keyPair{certFile: cfg.CertFile, keyFile: cfg.KeyFile}
	if err := pair.load(); err != nil {
		return nil, err
	}
	settings.GetClientCertificate = pair.present
	return settings, nil
}

// keyPair is a client certificate whose files somebody else renews. It is safe
// for concurrent use.
type keyPair struct {
	certFile, keyFile string

	mu   sync.Mutex       // guards last
	last *tls.Certificate // the last good one
}

// load reads both files; what was read before stays if they do not fit.
func (p *keyPair) load() error {
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return fmt.Errorf("reading the client certificate for Vault: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &pair
	return nil
}

// present implements [tls.Config.GetClientCertificate]. Files that are just being
// written do not fit together; then the certificate before them is shown.
func (p *keyPair) present(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	_ = p.load() // Vault will say if the old one has ended
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, nil
}
