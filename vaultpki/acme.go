package vaultpki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/cenkalti/backoff/v5"
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
	forcedOrder     = time.Hour // the least time between two orders of one name that somebody asks for
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

// orderer is certmagic's own ACME issuer, whose certificates are checked, and
// whose failures are remembered.
type orderer struct {
	*certmagic.ACMEIssuer
	failed *failedOrders
}

// newOrderer makes the issuer of cfg. Every field that certmagic would otherwise
// fill from its package-wide defaults, or from the environment, is set.
func newOrderer(magic *certmagic.Config, cfg *ACME, failed *failedOrders, logger *zap.Logger) *orderer {
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
	return &orderer{certmagic.NewACMEIssuer(magic, template), failed}
}

// PreCheck implements [certmagic.PreChecker], without asking anybody anything.
func (o *orderer) PreCheck(ctx context.Context, names []string, _ bool) error {
	return o.ACMEIssuer.PreCheck(ctx, names, false)
}

// Issue implements [certmagic.Issuer].
func (o *orderer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	issued, err := o.order(ctx, request)
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) { // else nobody has refused anything
		o.failed.note(nameOf(request), err)
	}
	return issued, err
}

func (o *orderer) order(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
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
	c.challenges.answers = map[string]*challengeAnswer{}
	c.pace, c.forcedPause = pace{firstOrderDelay, longestOrder, firstOrderDelay}, forcedOrder
	c.magic.Storage = newKVStorage(cfg.Client, cfg.ACME.KVMount, cfg.ACME.KVPath)
	c.magic.Issuers = []certmagic.Issuer{newOrderer(c.magic, cfg.ACME, &c.failed, newZap(ctx, cfg.Log))}
	return c, nil
}

// failedOrders remembers the names for which the last order failed, and when the
// next may be placed: whoever wants a name may ask for it as often as he likes.
type failedOrders struct {
	mu     sync.Mutex // guards byName
	byName map[string]*failedOrder
}

type failedOrder struct {
	cause  error
	until  time.Time
	delays *backoff.ExponentialBackOff
}

// note remembers how an order ended.
func (f *failedOrders) note(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.byName, name)
		return
	}
	order := f.byName[name]
	if order == nil {
		order = &failedOrder{delays: newDelays(firstOrderDelay, longestOrder)}
		if f.byName == nil {
			f.byName = map[string]*failedOrder{}
		}
		f.byName[name] = order
	}
	order.cause, order.until = err, time.Now().Add(max(order.delays.NextBackOff(), wire.RetryAfter(err))).Round(0)
}

// forget forgets the names that nobody wants any more.
func (f *failedOrders) forget(wanted []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.byName, func(name string, _ *failedOrder) bool { return !slices.Contains(wanted, name) })
}

// check returns the last failure if it is too early for another order.
func (f *failedOrders) check(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	order := f.byName[name]
	if order == nil || !time.Now().Before(order.until) {
		return nil
	}
	e := Error{Reason: ReasonUnreachable, Op: "ordering a certificate for " + name, Err: order.cause}
	var cause *Error
	if errors.As(order.cause, &cause) {
		e = *cause
	}
	e.Err = fmt.Errorf("%w; it is not tried again before %s", e.Err, order.until.UTC().Format(time.RFC3339))
	return &e
}

// obtainShared takes the certificate that another replica, or an earlier start,
// has left in the storage, and orders one only if there is none that is good.
func (c *Certificates) obtainShared(ctx context.Context, h *held) error {
	return c.place(ctx, func() error {
		return c.alone(ctx, h, func(ctx context.Context) error {
			stored, err := c.takeStored(ctx, h)
			if err != nil || stored {
				return err
			}
			if err := c.failed.check(h.name); err != nil {
				return err
			}
			if err := c.magic.RenewCertSync(ctx, h.name, true); err != nil { // which obtains one if there is none
				return err
			}
			return c.putInUse(ctx, h)
		})
	})
}

// takeStored takes the certificate that is in the storage into use. It says false
// if there is none that is good.
func (c *Certificates) takeStored(ctx context.Context, h *held) (bool, error) {
	err := c.putInUse(ctx, h)
	var unread *Error
	switch {
	case err == nil:
		return c.timeLeft(h.name) > minLife, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.As(err, &unread) || ctx.Err() != nil:
		return false, err
	}
	c.cfg.Log.Warn("certificate in the storage is of no use: ordering another", "name", h.name, "cause", err.Error())
	return false, nil
}

// renewShared is renew for a storage that is shared: whoever comes first renews,
// the others take what he got, unless somebody asked for another.
func (c *Certificates) renewShared(ctx context.Context, h *held, forced bool) error {
	return c.alone(ctx, h, func(ctx context.Context) error {
		if !forced {
			before := c.certificate(h.name)
			stored, err := c.takeStored(ctx, h)
			if err != nil {
				return err
			}
			if now := c.certificate(h.name); stored && before != nil && now.Hash() != before.Hash() && time.Now().Before(c.due(h)) {
				return nil // another replica has renewed it
			}
		}
		return c.magic.RenewCertSync(ctx, h.name, true)
	})
}

// judgeStored judges what was loaded as what is issued is judged: whoever may
// write to the storage is no authority.
func (c *Certificates) judgeStored(name string, loaded certmagic.Certificate) error {
	key, ok := loaded.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("the storage holds a certificate for %q without a key", name)
	}
	chain, err := chainOf(&loaded)
	if err == nil {
		want := expectation{request: &x509.CertificateRequest{DNSNames: []string{name}, PublicKey: key.Public()}, usage: c.cfg.Usage, now: time.Now()}
		err = want.check(chain)
	}
	if err != nil {
		return fmt.Errorf("judging the certificate for %q in the storage: %w", name, err)
	}
	return nil
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
