package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// EdgeTLS returns the configuration of a listener for browsers: TLS 1.2 or
// later, HTTP/2 and HTTP/1.1, the certificate by the name that the client asks
// for. A client that asks for no name, or for another, gets no certificate.
// The certificates must be of ServerUsage.
func (c *Certificates) EdgeTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.serverCertificate,
	}
}

// GuardTLS returns the configuration of a listener that lets in only clients
// with a certificate of this mount for one of the allowed names: TLS 1.3, a
// client certificate demanded, checked on every connection, resumed ones
// included (and none is resumed: tickets are off). An empty list lets nobody
// in. The certificates must be of ServerUsage.
func (c *Certificates) GuardTLS(allowed []string) *tls.Config {
	allowed = slices.Clone(allowed)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2", "http/1.1"},
		GetCertificate:         c.serverCertificate,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              c.roots,
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return c.checkPeer(cs, ClientUsage, allowed)
		},
	}
}

// DialTLS returns the configuration to connect to the server called serverName:
// TLS 1.3, the server's certificate of this mount and for exactly that name,
// our own shown if asked for, the one in use at the time of each handshake. The
// certificates must be of ClientUsage.
func (c *Certificates) DialTLS(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		ServerName:           serverName,
		RootCAs:              c.roots,
		GetClientCertificate: c.clientCertificate,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return c.checkPeer(cs, ServerUsage, []string{serverName})
		},
	}
}

// serverCertificate implements tls.Config.GetCertificate. Whatever a stranger
// sends, nothing is written to the log above Debug: names without a certificate
// are certmagic's Debug, and its louder lines are about protocols (acme-tls/1)
// that crypto/tls refuses first, since both listeners list theirs.
func (c *Certificates) serverCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.cfg.Usage != ServerUsage {
		return nil, fmt.Errorf("answering a handshake with a certificate for use as a %s", c.cfg.Usage)
	}
	return c.magic.GetCertificate(hello)
}

// clientCertificate implements tls.Config.GetClientCertificate.
func (c *Certificates) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c.cfg.Usage != ClientUsage {
		return nil, fmt.Errorf("showing a certificate for use as a %s", c.cfg.Usage)
	}
	cert := c.certificate(c.cfg.Names[0])
	if cert == nil {
		return nil, fmt.Errorf("showing a client certificate: there is none for %q", c.cfg.Names[0])
	}
	return &cert.Certificate, nil
}

// checkPeer judges a connection's peer. crypto/tls calls it on resumed
// connections too, whose chains it does not build again; so it is done here, in
// full, each time.
func (c *Certificates) checkPeer(cs tls.ConnectionState, usage Usage, allowed []string) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("checking the peer: it showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	if err := checkUsage(leaf, usage); err != nil {
		return fmt.Errorf("checking the peer: %w", err)
	}
	if err := checkChain(cs.PeerCertificates, usage, c.roots, time.Now()); err != nil {
		return fmt.Errorf("checking the peer: %w", err)
	}
	name, err := soleName(leaf)
	if err != nil {
		return fmt.Errorf("checking the peer: %w", err)
	}
	if !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
		return fmt.Errorf("checking the peer: its name is %q, expected one of %q", name, allowed)
	}
	return nil
}

// PeerName returns the name of a connection's peer: the one DNS name of its
// verified certificate, in lower case. Without a verified certificate of
// exactly one name it is an error.
func PeerName(cs tls.ConnectionState) (string, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return "", errors.New("reading the peer's name: it has no verified certificate")
	}
	name, err := soleName(cs.VerifiedChains[0][0])
	if err != nil {
		return "", fmt.Errorf("reading the peer's name: %w", err)
	}
	return name, nil
}

// soleName returns a certificate's one name, in lower case. A certificate of
// several names would be several peers.
func soleName(leaf *x509.Certificate) (string, error) {
	others := len(leaf.IPAddresses) + len(leaf.EmailAddresses) + len(leaf.URIs)
	if len(leaf.DNSNames) != 1 || others > 0 {
		return "", fmt.Errorf("the certificate has names %q and %d of other kinds, expected one DNS name", leaf.DNSNames, others)
	}
	name := strings.ToLower(leaf.DNSNames[0])
	if strings.Contains(name, "*") {
		return "", fmt.Errorf("the certificate's name %q is a wildcard", name)
	}
	return name, nil
}
