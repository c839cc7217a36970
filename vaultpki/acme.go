package vaultpki

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// ACME says how server certificates are had from an ACME server in place of a
// role of a PKI mount. Account, certificates and their keys are kept in a KV
// version 2 mount, where processes of the same KVPath share them.
type ACME struct {
	// Directory is the https URL of the server's directory. Required.
	Directory string
	// Email is the account's. Required: certmagic would ask a person for it.
	Email string
	// AgreeToTerms says that the server's terms of service were read and agreed
	// to. Required.
	AgreeToTerms bool
	// Roots are trusted for the directory's own TLS certificate; nil is those of
	// the system.
	Roots *x509.CertPool
	// KeyID and MACKey bind the account to one that is known to the server by
	// other means; "" for none. MACKey is base64url, and secret.
	KeyID, MACKey string
	// Listen is the host:port on which the server's connections for validation
	// arrive. While nothing listens there, validations are answered by a listener
	// of their own. For tls-alpn-01 it is that of EdgeTLS.
	Listen string
	// HTTP has the names validated by http-01, not by tls-alpn-01.
	HTTP bool
	// KVMount and KVPath say where the state is kept. The token's policies must
	// allow create, read and update on KVMount/data/KVPath/*, and create, update,
	// delete and list on KVMount/metadata/KVPath/*.
	KVMount, KVPath string
}

// Pace and bounds of orders. ACME servers count failures, and stop to talk to
// those who have too many.
const (
	acmeTimeout     = 2 * time.Minute // of one order
	firstOrderDelay = time.Minute
	longestOrder    = time.Hour

	searchPause = 100 * time.Millisecond // between two looks for challenges of other replicas
	answerLife  = time.Second            // of what such a look has found
	mostAnswers = 100                    // of which are remembered
)

// check returns every fault.
func (a *ACME) check(cfg *CertificatesConfig) error {
	var faults []error
	if cfg.Usage != ServerUsage || cfg.Mount != "" || cfg.Role != "" || cfg.RevokeOnStop {
		faults = append(faults, errors.New("acme: expected server usage, no mount, no role and no revocation on stop"))
	}
	if slices.ContainsFunc(cfg.Names, isSPIFFE) {
		faults = append(faults, errors.New("acme: expected DNS names"))
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		faults = append(faults, fmt.Errorf("acme: directory %q: expected an https URL", a.Directory))
	}
	if address, err := mail.ParseAddress(a.Email); err != nil || address.Address != a.Email {
		faults = append(faults, fmt.Errorf("acme: email %q: expected an address", a.Email))
	}
	if !a.AgreeToTerms {
		faults = append(faults, errors.New("acme: the terms of service are not agreed to"))
	}
	if (a.KeyID == "") != (a.MACKey == "") {
		faults = append(faults, errors.New("acme: expected both a key id and a mac key, or neither"))
	}
	if _, port, err := a.address(); err != nil || port == 0 {
		faults = append(faults, fmt.Errorf("acme: listen %q: expected host:port", a.Listen))
	}
	return errors.Join(append(faults, wire.CheckPath(a.KVMount), wire.CheckPath(a.KVPath))...)
}

// address takes Listen apart.
func (a *ACME) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(a.Listen)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return host, int(number), err
}

// orderer is certmagic's own ACME issuer, whose certificates are checked.
type orderer struct {
	*certmagic.ACMEIssuer
}

// newOrderer makes the issuer of cfg. Every field that certmagic would otherwise
// fill from its package-wide defaults, or from the environment, is set.
func newOrderer(magic *certmagic.Config, cfg *ACME, logger *zap.Logger) *orderer {
	host, port, _ := cfg.address() // it was checked
	template := certmagic.ACMEIssuer{
		CA: cfg.Directory, Email: cfg.Email, Agreed: cfg.AgreeToTerms, TrustedRoots: cfg.Roots,
		DisableHTTPChallenge: !cfg.HTTP, DisableTLSALPNChallenge: cfg.HTTP,
		ListenHost: host, AltHTTPPort: port, AltTLSALPNPort: port,
		CertObtainTimeout: acmeTimeout, Logger: logger,
		HTTPProxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	if cfg.KeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: cfg.KeyID, MACKey: cfg.MACKey}
	}
	return &orderer{certmagic.NewACMEIssuer(magic, template)}
}

// PreCheck implements [certmagic.PreChecker], without asking anybody anything.
func (o *orderer) PreCheck(ctx context.Context, names []string, _ bool) error {
	return o.ACMEIssuer.PreCheck(ctx, names, false)
}

// Issue implements [certmagic.Issuer].
func (o *orderer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	issued, err := o.ACMEIssuer.Issue(ctx, request)
	if err != nil {
		return nil, o.orderError(request, err)
	}
	chain, err := parseChain(string(issued.Certificate))
	if err == nil {
		want := expectation{request: request, usage: ServerUsage, now: time.Now()}
		err = want.check(chain)
	}
	if err != nil {
		return nil, &Error{
			Reason: ReasonBadCertificate, Op: "checking the certificate from", Where: o.CA, Err: err,
			Hint: "do not trust this ACME server",
		}
	}
	return issued, nil
}

// orderError explains a failed order. What the server says of it is a problem
// document; all else is a server that cannot be reached, or a storage.
func (o *orderer) orderError(request *x509.CertificateRequest, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	e := &Error{
		Reason: ReasonUnreachable, Op: "ordering a certificate for " + nameOf(request) + " from", Where: o.CA, Err: err,
		Hint: "check the directory's address and authority, and the network",
	}
	var problem acme.Problem
	if errors.As(err, &problem) {
		e.Reason = ReasonDenied
		e.Hint = "check that the name leads here, that the port for validation is reachable, and the account"
	}
	return e
}

// newOrdering wires certmagic for an ACME server.
func newOrdering(ctx context.Context, cfg CertificatesConfig) (*Certificates, error) {
	none := &trust{pool: x509.NewCertPool()} // peers are not judged by these certificates
	if _, err := rand.Read(none.seal[:]); err != nil {
		return nil, fmt.Errorf("making a seal: %w", err)
	}
	c := newCertificates(ctx, cfg, nil, none)
	c.challenges = challenges{turn: make(chan struct{}, 1), answers: map[string]challengeAnswer{}}
	c.pace = pace{firstOrderDelay, longestOrder, firstOrderDelay}
	c.magic.Storage = newKVStorage(cfg.Client, cfg.ACME.KVMount, cfg.ACME.KVPath)
	c.magic.Issuers = []certmagic.Issuer{newOrderer(c.magic, cfg.ACME, newZap(ctx, cfg.Log))}
	return c, nil
}

// obtainShared takes the certificate that another replica, or an earlier start,
// has left in the storage, and orders one only if there is none that lives.
func (c *Certificates) obtainShared(ctx context.Context, h *held) error {
	return c.place(ctx, func() error {
		return c.alone(ctx, h, func(ctx context.Context) error {
			err := c.magic.ObtainCertSync(ctx, h.name)
			if err == nil {
				err = c.putInUse(ctx, h)
			}
			if err != nil || c.timeLeft(h.name) > minLife {
				return err
			}
			if err := c.magic.RenewCertSync(ctx, h.name, true); err != nil {
				return err
			}
			return c.putInUse(ctx, h)
		})
	})
}

// renewShared is renew for a storage that is shared: whoever comes first renews,
// the others take what he got, unless somebody asked for another.
func (c *Certificates) renewShared(ctx context.Context, h *held, forced bool) error {
	return c.alone(ctx, h, func(ctx context.Context) error {
		if !forced {
			before := c.certificate(h.name)
			if err := c.putInUse(ctx, h); err != nil {
				return err
			}
			if now := c.certificate(h.name); before != nil && now.Hash() != before.Hash() && time.Now().Before(c.due(h)) {
				return nil // another replica has renewed it
			}
		}
		return c.magic.RenewCertSync(ctx, h.name, true)
	})
}

// alone runs an order while no other replica runs one for the same name.
func (c *Certificates) alone(ctx context.Context, h *held, order func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, acmeTimeout)
	defer cancel()
	lock := "order_" + h.name
	if err := c.magic.Storage.Lock(ctx, lock); err != nil {
		return err
	}
	err := order(ctx)
	if failed := c.magic.Storage.Unlock(ctx, lock); failed != nil {
		c.cfg.Log.Warn("releasing the lock of an order did not succeed: it ends by itself", "name", h.name, "cause", failed.Error())
	}
	return err
}

// isValidation says whether a handshake is an ACME server's.
func isValidation(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol})
}

// challenges remembers for a moment what the storage says of validations.
type challenges struct {
	turn    chan struct{} // full while somebody looks into the storage; guards the rest
	last    time.Time     // when somebody did
	answers map[string]challengeAnswer
}

// challengeAnswer is what there was for a name.
type challengeAnswer struct {
	certificate *tls.Certificate
	err         error
	until       time.Time
}

// challengeCertificate answers an ACME server's handshake, whichever replica has
// placed the order. Anybody can open one, and public servers open several at
// once: so the storage is looked into by one handshake at a time, rarely, and
// the others take what it found.
func (c *Certificates) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if _, own := certmagic.GetACMEChallenge(name); own {
		return c.magic.GetCertificate(hello)
	}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("answering a validation: %w", err)
	}
	ch := &c.challenges
	select {
	case ch.turn <- struct{}{}:
		defer func() { <-ch.turn }()
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
	if answer, known := ch.answers[name]; known && time.Now().Before(answer.until) {
		return answer.certificate, answer.err
	}
	if !sleep(hello.Context(), time.Until(ch.last.Add(searchPause))) {
		return nil, hello.Context().Err()
	}
	certificate, err := c.magic.GetCertificate(hello)
	ch.last = time.Now()
	if len(ch.answers) >= mostAnswers {
		clear(ch.answers)
	}
	ch.answers[name] = challengeAnswer{certificate, err, ch.last.Add(answerLife)}
	return certificate, err
}
