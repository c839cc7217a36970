// Package assertion tells a backend, under a signature, who asks: the value of
// X-Sallyport-Assertion. A backend that believes X-Forwarded-User believes the
// way by which it came; one that verifies an assertion believes the door's key,
// whatever lies between.
//
// An assertion is a JWT signed with ES256. It is for one route (aud) and for
// [Life] at most. Whoever knows the authority that our certificates are signed
// by can verify it with that alone: x5c leads from the key up to it (RFC 7515
// section 4.1.6). And cnf names the client certificate that the gateway shows
// to backends (RFC 8705 section 3.1): a backend that ends mutual TLS itself sees
// whether an assertion came from the gateway or from somebody who got hold of it.
//
// The package is handed keys and certificates and knows no Vault, no HTTP and no
// policy. It has no hostile input but the values that identity providers send of
// people, and bounds what it remembers. Outputs: assertions, and the JWK set by
// which they are verified (RFC 7517).
//
// Specifications: RFC 7515 (JWS), RFC 7518 section 3.4 (ES256), RFC 7519 (JWT),
// RFC 7638 (thumbprints), RFC 8705 (certificate-bound tokens), RFC 8725 (best
// current practice), RFC 9509 (the use of the certificates).
package assertion

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/proxy/session"
)

// Life is how long an assertion may be used. It ends with the session if that
// ends first.
const Life = 5 * time.Minute

// reuse is for how long one assertion serves the requests of a session: then a
// third of its life is left, for those that are on their way.
const reuse = Life * 2 / 3

// audiencePrefix begins every audience: a name that no other issuer's tokens are
// for.
const audiencePrefix = "sallyport:route:"

// Audience is the aud of assertions for the route of that name. It stays the same
// when the tool's host or its backend changes.
func Audience(route string) string { return audiencePrefix + route }

// Key is one of the door's keys.
type Key struct {
	// Signer signs; an ECDSA key on P-256. It is called concurrently.
	Signer crypto.Signer
	// Chain is the certificate for that key and what leads to the authority that
	// backends trust, leaf first and without the root. Nil for none: then a
	// backend can verify by the JWK set alone.
	Chain []*x509.Certificate
}

// Config is what an Issuer needs. It must not be modified after New.
type Config struct {
	// Origin is the door's, and the iss of every assertion. Required.
	Origin string
	// ClientCertificate is the one, as DER, that is shown on every connection to
	// a backend on which these assertions are sent. Required.
	ClientCertificate []byte
	// Current signs. Required.
	Current Key
	// Others are published beside it: the key that will sign next, and the one
	// that signed before. Nil for none.
	Others []Key
	// LogID is what logs call the assertion of that id (jti). It is called concurrently;
	// nil means that they do not call it.
	LogID func(id string) string
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Issuer signs assertions with one set of keys, and remembers them. It is
// immutable but for that memory: with other keys, certificates or another
// client certificate, another Issuer takes its place, which remembers nothing.
// It is safe for concurrent use.
type Issuer struct {
	cfg     Config
	prefix  string // the encoded header and the dot after it, without x5c
	chained string // the same with x5c; empty if there is no chain
	until   time.Time
	bound   confirmation
	keySet  []byte
	memory  memory
}

// New returns an Issuer, or an error that says which part of cfg is wrong.
func New(cfg Config) (*Issuer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Origin == "" || len(cfg.ClientCertificate) == 0 {
		return nil, errors.New("making assertions: origin and client certificate are required")
	}
	i := &Issuer{cfg: cfg}
	i.memory.prepare()
	sum := sha256.Sum256(cfg.ClientCertificate)
	i.bound.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	current, err := newJWK(cfg.Current)
	if err != nil {
		return nil, fmt.Errorf("making assertions: the current key: %w", err)
	}
	set := keySet{Keys: []jwk{current}}
	for n, key := range cfg.Others {
		other, err := newJWK(key)
		if err != nil {
			return nil, fmt.Errorf("making assertions: key %d beside the current one: %w", n, err)
		}
		if !slices.ContainsFunc(set.Keys, func(k jwk) bool { return k.ID == other.ID }) {
			set.Keys = append(set.Keys, other)
		}
	}
	if i.keySet, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("encoding the key set: %w", err)
	}
	return i, i.prepare(current)
}

// prepare encodes the headers, which are the same for every assertion.
func (i *Issuer) prepare(current jwk) error {
	h := joseHeader{Algorithm: algorithm, KeyID: current.ID, Type: "JWT"}
	var err error
	if i.prefix, err = h.encode(); err != nil || len(current.Chain) == 0 {
		return err
	}
	h.Chain, i.until = current.Chain, i.cfg.Current.Chain[0].NotAfter
	for _, authority := range i.cfg.Current.Chain[1:] {
		if authority.NotAfter.Before(i.until) {
			i.until = authority.NotAfter
		}
	}
	i.chained, err = h.encode()
	return err
}

// KeySet is the JWK set: the current key first, each with its certificates. It
// must not be modified.
func (i *Issuer) KeySet() []byte { return i.keySet }

// Route is what assertions are for: a route of one gateway. It is immutable and safe
// for concurrent use; make one with [Issuer.For].
type Route struct {
	issuer  *Issuer
	name    string
	release func(groups []string) []string
}

// For returns the route of that name, whose backends may know of those of a person's
// groups that release returns; nil returns all. It is called concurrently, and changes
// nothing.
func (i *Issuer) For(route string, release func(groups []string) []string) *Route {
	if release == nil {
		release = func(groups []string) []string { return groups }
	}
	return &Route{i, route, release}
}

// Assert returns the assertion that s is who asks the route. The same one is
// returned for as long as it serves and nothing of s has changed that it speaks of;
// concurrent callers sign once.
//
// Whoever calls has judged s: that it has ended is not looked at here. The error
// says that a value cannot be told without becoming another, or that the key
// does not sign.
func (r *Route) Assert(s *session.State) (string, error) {
	token, _, err := r.Issue(s)
	return token, err
}

// Issue is Assert, and says besides what logs call the assertion.
func (r *Route) Issue(s *session.State) (token, logID string, err error) {
	i := r.issuer
	now := i.cfg.Now()
	e, mine := i.memory.find(r, s, now)
	if mine {
		e.token, e.err = i.sign(e, now)
		i.memory.settle(e, now)
	} else {
		e.wait()
	}
	return e.token, e.logID, e.err
}

// Forget drops what is remembered, of an Issuer that is hardly used any more. Who asks
// again has another one signed.
func (i *Issuer) Forget() { i.memory.forget() }

// sign makes the assertion of e.
func (i *Issuer) sign(e *entry, now time.Time) (string, error) {
	s, route := &e.state, e.route
	groups := append([]string{}, route.release(s.Groups)...)
	for _, text := range append([]string{s.User, s.Email, s.Name, s.AuthnContext, s.IdP}, groups...) {
		if !utf8.ValidString(text) {
			return "", fmt.Errorf("asserting for %q: %q is not UTF-8", route.name, text)
		}
	}
	ends := now.Add(Life)
	if s.ExpiresAt().Before(ends) {
		ends = s.ExpiresAt()
	}
	id := session.NewID()
	if i.cfg.LogID != nil {
		e.logID = i.cfg.LogID(id)
	}
	payload, err := json.Marshal(claims{
		Issuer: i.cfg.Origin, Audience: Audience(route.name), Subject: s.User, Email: s.Email, Name: s.Name,
		Groups: groups, Session: s.LogID(), ID: id,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: ends.Unix(),
		AuthnContext: s.AuthnContext, AuthnAt: s.AuthnAt, IdP: s.IdP, Bound: i.bound,
	})
	if err != nil {
		return "", fmt.Errorf("encoding an assertion: %w", err)
	}
	prefix := i.prefix
	if i.chained != "" && !ends.After(i.until) {
		prefix = i.chained
	}
	signed := base64.RawURLEncoding.AppendEncode([]byte(prefix), payload)
	signature, err := i.signature(signed)
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(signed, '.'), signature)), nil
}

// signature signs for ES256: both numbers, each of 32 octets (RFC 7518 section 3.4).
func (i *Issuer) signature(text []byte) ([]byte, error) {
	digest := sha256.Sum256(text)
	der, err := i.cfg.Current.Signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing an assertion: %w", err)
	}
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 || numbers.R.BitLen() > 256 || numbers.S.BitLen() > 256 {
		return nil, errors.New("signing an assertion: the key's signature is not of ECDSA on P-256")
	}
	signature := make([]byte, 64)
	numbers.R.FillBytes(signature[:32])
	numbers.S.FillBytes(signature[32:])
	return signature, nil
}
