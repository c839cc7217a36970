package vaultpki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// KeyRequest asks for a certificate of a key that exists already and signs
// assertions.
type KeyRequest struct {
	Key  crypto.Signer // signs the request, and nothing else here
	Role string        // a PKI role of the mount, whose certificates are for AssertionUsage alone
	Name string        // the one DNS name in the certificate
	TTL  time.Duration // the life that is asked for; Vault may grant less. At least 10 seconds.
	// Patient waits for an unreachable Vault as long as the Client's Config.Wait, and
	// asks again. Otherwise it is asked once.
	Patient bool
}

// CertifyKey has Vault sign a certificate of the key, and returns it with what
// leads from it to the roots of the mount, which are left out: leaf first. It is
// checked as all certificates are that come from Vault: our own key, just that name
// and that use, a chain to a root that is trusted. Nothing is
// remembered, and nothing renewed: that is the caller's.
//
// The error is an [*Error] with ReasonConfig, ReasonDenied, ReasonUnreachable or
// ReasonBadCertificate.
func (c *Certificates) CertifyKey(ctx context.Context, want KeyRequest) ([]*x509.Certificate, error) {
	if err := c.checkRequest(want); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the certificate of a key", Err: err}
	}
	ctx, leave, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{want.Name}}, want.Key)
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "signing a request for " + want.Name, Err: err}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "signing a request for " + want.Name, Err: err}
	}
	by := &issuer{
		client: c.cfg.Client, mount: c.cfg.Mount, role: want.Role, ttl: want.TTL, usage: AssertionUsage,
		log: c.cfg.Log.With("pki_role", want.Role), trust: c.trust.Load, refresh: c.refreshRoots,
	}
	var chain []*x509.Certificate
	ask := func(ctx context.Context) error {
		issued, err := by.sign(ctx, request)
		if err == nil {
			chain, err = parseChain(string(issued.Certificate))
		}
		return err
	}
	if want.Patient {
		return chain, c.cfg.Client.patience.do(ctx, "issuing a certificate for "+want.Name, ask)
	}
	return chain, ask(ctx)
}

// checkRequest returns every fault of a request.
func (c *Certificates) checkRequest(want KeyRequest) error {
	var faults []error
	if c.cfg.ACME != nil {
		faults = append(faults, errors.New("certificates: they come from an ACME server, which signs none for other uses"))
	}
	if want.Key == nil {
		faults = append(faults, errors.New("key: none given"))
	}
	faults = append(faults, wire.CheckPath(want.Role), checkNameList([]string{want.Name}, ServerUsage))
	if isSPIFFE(want.Name) {
		faults = append(faults, fmt.Errorf("name %q: expected a DNS name", want.Name))
	}
	if want.TTL < shortestTTL {
		faults = append(faults, fmt.Errorf("ttl %s: expected at least %s", want.TTL, shortestTTL))
	}
	return errors.Join(faults...)
}
