package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Shown is one client certificate, the one that was in use when it was asked for,
// and the way to connect with just that: who tells a server something that is bound
// to the certificate of the connection must know which it is. Once another one is in
// use (see OnChange), there is another Shown to be asked for; this one goes on
// showing what it has for as long as that is valid. Safe for concurrent use.
type Shown struct {
	from *Certificates
	pair tls.Certificate
	leaf *x509.Certificate
}

// Shown returns the client certificate in use. The certificates must be of
// ClientUsage.
func (c *Certificates) Shown() (*Shown, error) {
	pair, err := c.clientCertificate(nil)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parsing the client certificate: %w", err)
	}
	return &Shown{from: c, pair: *pair, leaf: leaf}, nil
}

// Certificate is the one that is shown.
func (s *Shown) Certificate() *x509.Certificate { return s.leaf }

// DialTLS is [Certificates.DialTLS] that shows this certificate. One that has
// expired opens no door: then the one in use is shown, and what was bound to this
// one fits no longer.
func (s *Shown) DialTLS(peer string) *tls.Config {
	cfg := s.from.DialTLS(peer)
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if time.Now().After(s.leaf.NotAfter) {
			return s.from.clientCertificate(info)
		}
		return &s.pair, nil
	}
	return cfg
}
