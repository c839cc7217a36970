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
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Pace of failed signing calls. certmagic's own pace (1, 2, 2, 5, 10 minutes)
// would let a leaf of five minutes expire after the second failure.
const (
	firstSignDelay   = 500 * time.Millisecond
	longestSignDelay = time.Minute
)

// issuer is certmagic's Issuer on MOUNT/sign/ROLE. Only the request leaves the
// process; the key stays. It is safe for concurrent use.
//
// At first, what cannot pass by waiting goes back to the caller at once, and
// what can is waited for as long as Config.Wait. Once persistent is set, Issue
// tries again whatever happened, until it succeeds or its context ends: so
// certmagic never sees a failed renewal and never slows down.
type issuer struct {
	client *Client
	mount  string
	role   string
	ttl    time.Duration
	usage  Usage
	roots  *x509.CertPool
	log    *slog.Logger

	persistent atomic.Bool
	timeLeft   func(name string) time.Duration // of the certificate in use

	mu      sync.Mutex     // guards closed, and that running grows only before it
	closed  bool           // no further Issue may begin
	running sync.WaitGroup // calls of Issue under way
}

// IssuerKey implements [certmagic.Issuer].
func (i *issuer) IssuerKey() string { return "vault-" + i.mount + "-" + i.role }

// Issue implements [certmagic.Issuer]: it has Vault sign the request and checks
// what comes back.
func (i *issuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if !i.begin() {
		return nil, context.Canceled
	}
	defer i.running.Done()
	if i.persistent.Load() {
		return i.signUntilDone(ctx, request)
	}
	var issued *certmagic.IssuedCertificate
	err := i.client.patience.do(ctx, "issuing a certificate for "+nameOf(request), func(ctx context.Context) (err error) {
		issued, err = i.sign(ctx, request)
		return err
	})
	return issued, err
}

// begin enters a call of Issue, unless the issuer is closed.
func (i *issuer) begin() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.running.Add(1)
	}
	return !i.closed
}

// close refuses further calls and waits for those under way, whose contexts
// the caller has cancelled.
func (i *issuer) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.running.Wait()
}

// signUntilDone is Issue for renewals: whatever fails is tried again.
func (i *issuer) signUntilDone(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	name := nameOf(request)
	delays := newDelays(firstSignDelay, min(longestSignDelay, i.ttl/20))
	for attempt := 1; ; attempt++ {
		issued, err := i.sign(ctx, request)
		if err == nil || ctx.Err() != nil {
			return issued, err
		}
		delay := max(delays.NextBackOff(), wire.RetryAfter(err))
		i.logFailure(ctx, name, attempt, delay, err)
		if !sleep(ctx, delay) {
			return nil, ctx.Err()
		}
	}
}

// logFailure tells of a failed renewal, louder the less time is left: at half
// of a certificate's life nothing is lost yet.
func (i *issuer) logFailure(ctx context.Context, name string, attempt int, delay time.Duration, err error) {
	left := i.timeLeft(name)
	level := slog.LevelWarn
	if left < i.ttl/4 {
		level = slog.LevelError
	}
	i.log.Log(ctx, level, "renewing the certificate did not succeed",
		"name", name, "cause", err.Error(), "attempt", attempt,
		"next_try", delay.Round(time.Millisecond).String(), "time_left", left.Round(time.Second).String())
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
	chain, err := i.accept(secret, request)
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
func (i *issuer) accept(secret *api.Secret, request *x509.CertificateRequest) ([]*x509.Certificate, error) {
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
	want := expectation{request: request, usage: i.usage, roots: i.roots, now: time.Now()}
	if err := want.check(chain); err != nil {
		return nil, err
	}
	if life := time.Until(leaf[0].NotAfter); life < i.ttl-clockSkew {
		i.log.Warn("certificate lives shorter than asked for", "name", nameOf(request),
			"asked", i.ttl.String(), "granted", life.Round(time.Second).String())
	}
	return withoutRoots(chain), nil
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
		e.Hint = fmt.Sprintf("grant the role a policy: path %q { capabilities = [\"update\"] }", path)
	case http.StatusBadRequest:
		// Vault's way to say that the PKI role does not allow the request.
		e.Reason = ReasonDenied
		e.Hint = fmt.Sprintf("allow the name in %s/roles/%s", i.mount, i.role)
	}
	return e
}

// nameOf returns the first name of a request; certmagic asks for one at a time.
func nameOf(request *x509.CertificateRequest) string {
	if len(request.DNSNames) == 0 {
		return ""
	}
	return request.DNSNames[0]
}
