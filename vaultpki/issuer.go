package vaultpki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// issuer is certmagic's Issuer on MOUNT/sign/ROLE. Only the request leaves the
// process; the key stays. It asks once: when to ask again is not its business.
// It is safe for concurrent use.
type issuer struct {
	client *Client
	mount  string
	role   string
	ttl    time.Duration
	usage  Usage
	log    *slog.Logger

	trust   func() *trust                   // what is trusted now
	refresh func(ctx context.Context) error // reads that anew
}

// IssuerKey implements [certmagic.Issuer].
func (i *issuer) IssuerKey() string { return "vault-" + i.mount + "-" + i.role }

// Issue implements [certmagic.Issuer]: it has Vault sign the request and checks
// what comes back.
func (i *issuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return i.sign(ctx, request)
}

// sign makes one call to Vault. It may be repeated: a lost answer costs one
// certificate that nobody has the key of.
func (i *issuer) sign(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	path := i.mount + "/sign/" + i.role
	secret, err := i.client.write(ctx, path, map[string]any{
		"csr":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request.Raw})),
		"ttl":    fmt.Sprintf("%ds", int(i.ttl.Seconds())),
		"format": "pem",
	})
	if err != nil {
		return nil, i.signError(path, request, err)
	}
	chain, err := i.accept(ctx, secret, request)
	if err != nil {
		return nil, &Error{
			Reason: ReasonBadCertificate, Op: "checking the certificate from", Where: path, Err: err,
			Hint: "compare the PKI role with what `sallyport provision plan` wants; if it is right, do not trust this Vault",
		}
	}
	var bundle bytes.Buffer
	for _, cert := range chain {
		if err := pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return nil, fmt.Errorf("encoding the certificate: %w", err)
		}
	}
	return &certmagic.IssuedCertificate{Certificate: bundle.Bytes()}, nil
}

// accept returns the chain to present, leaf first, if it is what was asked for.
func (i *issuer) accept(ctx context.Context, secret *api.Secret, request *x509.CertificateRequest) ([]*x509.Certificate, error) {
	if secret == nil {
		return nil, errors.New("vault's answer is empty")
	}
	if secret.LeaseID != "" {
		return nil, errors.New("the certificate has a lease: it would be revoked with the token (set generate_lease=false on the PKI role)")
	}
	text, _ := secret.Data["certificate"].(string)
	leaf, err := parseChain(text)
	if err != nil {
		return nil, err
	}
	if len(leaf) != 1 {
		return nil, fmt.Errorf("vault's answer has %d certificates in place of one", len(leaf))
	}
	chain := leaf
	// Vault gives the chain separately, and none if the issuer is a root.
	authorities, _ := secret.Data["ca_chain"].([]any)
	for _, authority := range authorities {
		text, _ := authority.(string)
		certs, err := parseChain(text)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certs...)
	}
	if err := i.judge(ctx, chain, request); err != nil {
		return nil, err
	}
	if life := time.Until(leaf[0].NotAfter); life < i.ttl-clockSkew {
		i.log.Warn("certificate lives shorter than asked for", "name", nameOf(request),
			"asked", i.ttl.String(), "granted", life.Round(time.Second).String())
	}
	return withoutRoots(chain), nil
}

// judge checks a chain. Vault may have begun to sign under a root that is newer
// than what was read of it; so a chain that leads nowhere has the roots read
// anew before it is refused.
func (i *issuer) judge(ctx context.Context, chain []*x509.Certificate, request *x509.CertificateRequest) error {
	want := expectation{request: request, usage: i.usage, trust: i.trust(), now: time.Now()}
	err := want.check(chain)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return err
	}
	if failed := i.refresh(ctx); failed != nil {
		return errors.Join(err, failed)
	}
	want.trust = i.trust()
	return want.check(chain)
}

// withoutRoots drops authorities that signed themselves: a verifier must have
// them, and gains nothing from being sent them. Everything else is passed on as
// it came; cross-signed intermediates need it.
func withoutRoots(chain []*x509.Certificate) []*x509.Certificate {
	kept := chain[:1:1]
	for _, cert := range chain[1:] {
		if !isRoot(cert) {
			kept = append(kept, cert)
		}
	}
	return kept
}

// signError explains a failed signing call.
func (i *issuer) signError(path string, request *x509.CertificateRequest, err error) error {
	e := Classify("issuing a certificate for "+nameOf(request)+" by", path, err)
	switch wire.Status(err) {
	case http.StatusForbidden:
		e.Hint = fmt.Sprintf("grant the role a policy: path %q { capabilities = [\"update\"] }; or start with the role that has it: is the name of the certificate that of another process?", path)
	case http.StatusBadRequest:
		// Vault's way to say that the PKI role does not allow the request.
		e.Reason = ReasonDenied
		e.Hint = fmt.Sprintf("have %s/roles/%s allow the name: run `sallyport provision plan --config FILE` with the new configuration, "+
			"and with the other files of the set-up, then `apply --allow-loosen`", i.mount, i.role)
	}
	return e
}
