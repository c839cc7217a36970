package vaultpki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
)

// EdgeTLS returns the configuration of a listener for browsers: TLS 1.2 or
// later, HTTP/2 and HTTP/1.1, the certificate by the name that the client asks
// for. A client that asks for no name, or for another, gets no certificate.
// Sessions are resumed until the trusted roots change or the name is dropped.
// The certificates must be of ServerUsage and for DNS names.
func (c *Certificates) EdgeTLS() *tls.Config {
	cfg := &tls.Config{
		MinVersion:       tls.VersionTLS12,
		NextProtos:       []string{"h2", "http/1.1"},
		GetCertificate:   c.serverCertificate,
		VerifyConnection: c.checkAsked,
	}
	if c.cfg.ACME != nil && !c.cfg.ACME.HTTP {
		cfg.NextProtos = append(cfg.NextProtos, acmez.ACMETLS1Protocol)
	}
	// The keys of tickets stay crypto/tls's, which changes them daily.
	cfg.WrapSession = func(cs tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		seal := c.trust.Load().seal
		session.Extra = append(session.Extra, seal[:])
		return cfg.EncryptTicket(cs, session)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := cfg.DecryptTicket(ticket, cs)
		if err != nil || session == nil {
			return nil, err
		}
		seal := c.trust.Load().seal
		if !slices.ContainsFunc(session.Extra, func(extra []byte) bool { return bytes.Equal(extra, seal[:]) }) {
			return nil, nil // a full handshake
		}
		return session, nil
	}
	return cfg
}

// checkAsked refuses a connection to a name that is held no longer: a resumed
// one gets by without a certificate.
func (c *Certificates) checkAsked(cs tls.ConnectionState) error {
	if cs.NegotiatedProtocol == acmez.ACMETLS1Protocol {
		return nil // nothing is said after such a handshake
	}
	name := strings.ToLower(cs.ServerName)
	_, parent, _ := strings.Cut(name, ".")
	if names := c.names(); !slices.Contains(names, name) && !slices.Contains(names, wildcard+parent) {
		return fmt.Errorf("answering for %q: there is no such name", cs.ServerName)
	}
	return nil
}

// GuardTLS returns the configuration of a listener that lets in only clients
// with a certificate of this mount for one of the allowed names, DNS names or
// SPIFFE IDs: TLS 1.3, a client certificate demanded, checked on every
// connection, resumed ones included (and none is resumed: tickets are off). The
// roots are those trusted at the time of each handshake. An empty list lets
// nobody in. The certificates must be of ServerUsage.
func (c *Certificates) GuardTLS(allowed []string) *tls.Config {
	allowed = slices.Clone(allowed)
	guard := func(roots *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:             tls.VersionTLS13,
			NextProtos:             []string{"h2", "http/1.1"},
			GetCertificate:         c.serverCertificate,
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              roots,
			SessionTicketsDisabled: true,
			VerifyConnection: func(cs tls.ConnectionState) error {
				by := c.trust.Load()
				name, err := checkPeer(cs, ClientUsage, by, allowed)
				if err == nil {
					c.admitted.add(by, cs.PeerCertificates, name) // its first request follows
				}
				return err
			},
		}
	}
	// Whoever leaves out GetConfigForClient has a guard all the same, of the
	// roots of this moment.
	cfg := guard(c.trust.Load().pool)
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return guard(c.trust.Load().pool), nil
	}
	return cfg
}

// DialTLS returns the configuration to connect to the server called peer, a DNS
// name or a SPIFFE ID: TLS 1.3, the server's certificate of a root that is
// trusted at the time of the handshake and for exactly that name, our own shown
// if asked for, the one in use then. The certificates must be of ClientUsage.
//
// crypto/tls can verify a server against a pool that is fixed in the
// configuration, and by DNS name or address alone. A transport keeps its
// configuration for as long as it lives, through every change of roots, and a
// peer may be known by a URI. So its verification is off, and VerifyConnection
// does all of it: chain, validity, usage and name, on resumed connections too.
func (c *Certificates) DialTLS(peer string) *tls.Config {
	cfg := &tls.Config{
		MinVersion:           tls.VersionTLS13,
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection verifies everything, as said above
		GetClientCertificate: c.clientCertificate,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := checkPeer(cs, ServerUsage, c.trust.Load(), []string{peer})
			var unknown x509.UnknownAuthorityError
			if errors.As(err, &unknown) {
				c.askForRoots() // the peer may have been the first to learn of a new one
			}
			return err
		},
	}
	if !isSPIFFE(peer) {
		cfg.ServerName = peer
	}
	return cfg
}

// serverCertificate implements tls.Config.GetCertificate. Whatever a stranger
// sends, nothing is written to the log above Debug: names without a certificate
// are certmagic's Debug, and its louder lines are about protocols (acme-tls/1)
// that crypto/tls refuses first, since both listeners list theirs.
func (c *Certificates) serverCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.cfg.Usage != ServerUsage {
		return nil, fmt.Errorf("answering a handshake with a certificate for use as a %s", c.cfg.Usage)
	}
	if c.cfg.ACME != nil && isValidation(hello) {
		return c.challengeCertificate(hello)
	}
	if name := c.names()[0]; isSPIFFE(name) {
		return c.tlsCertificate(name) // no handshake can ask for it, and there is no other
	}
	return c.magic.GetCertificate(hello)
}

// clientCertificate implements tls.Config.GetClientCertificate.
func (c *Certificates) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c.cfg.Usage != ClientUsage {
		return nil, fmt.Errorf("showing a certificate for use as a %s", c.cfg.Usage)
	}
	return c.tlsCertificate(c.names()[0])
}

// tlsCertificate returns the certificate for name in the form of crypto/tls.
func (c *Certificates) tlsCertificate(name string) (*tls.Certificate, error) {
	cert := c.certificate(name)
	if cert == nil {
		return nil, fmt.Errorf("choosing a certificate: there is none for %q", name)
	}
	return &cert.Certificate, nil
}

// checkPeer judges a connection's peer, and returns its name. crypto/tls calls it on
// resumed connections too, whose chains it does not build again; so it is done here, in
// full, each time.
func checkPeer(cs tls.ConnectionState, usage Usage, by *trust, allowed []string) (name string, err error) {
	if len(cs.PeerCertificates) == 0 {
		return "", errors.New("checking the peer: it showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	if err := checkUsage(leaf, usage); err != nil {
		return "", fmt.Errorf("checking the peer: %w", err)
	}
	if err := checkChain(cs.PeerCertificates, usage, by, time.Now()); err != nil {
		return "", fmt.Errorf("checking the peer: %w", err)
	}
	if name, err = soleName(leaf); err != nil {
		return "", fmt.Errorf("checking the peer: %w", err)
	}
	if !slices.ContainsFunc(allowed, func(a string) bool { return sameName(a, name) }) {
		return "", fmt.Errorf("checking the peer: its name is %q, expected one of %q", name, allowed)
	}
	return name, nil
}

// PeerName returns the name of a client that connected to [Certificates.GuardTLS]:
// the one DNS name of its verified certificate, in lower case, or its SPIFFE ID.
// Without a verified certificate of exactly one name it is an error.
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
