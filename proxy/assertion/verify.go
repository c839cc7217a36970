package assertion

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Bounds of what a Verifier reads before it believes anything.
const (
	mostToken = 48 << 10 // what the gateway sends has three to six kilobytes
	mostChain = 5
	clockSkew = time.Minute // by which two clocks may differ
)

// Claims are what a verified assertion says of a person. They are shared, and must not
// be modified.
type Claims struct {
	Subject, Email, Name string
	Groups               []string
	// ID is the assertion's (jti).
	ID string
}

// VerifierConfig is what a Verifier needs. It must not be modified after NewVerifier.
type VerifierConfig struct {
	// Issuer is the door's origin, the only iss that is believed. Required.
	Issuer string
	// Audiences are those that are believed; see [Audience]. An empty list believes none.
	Audiences []string
	// Chain says whether a chain, leaf first, certifies a key of the door at this moment:
	// by the authorities that are trusted now, for the one name and the one use that such
	// keys have. The keys of whatever it returns nil for may sign. It is called
	// concurrently. Required.
	Chain func(chain []*x509.Certificate) error
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Verifier tells assertions of the door from all others, by the authority alone: nobody
// is asked. It remembers for a moment what it has found good. It is safe for concurrent
// use.
type Verifier struct {
	cfg      VerifierConfig
	verdicts verdicts
}

// NewVerifier returns a Verifier, or an error that says what is missing in cfg.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if cfg.Issuer == "" || cfg.Chain == nil {
		return nil, errors.New("verifying assertions: issuer and authority are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Verifier{cfg: cfg}, nil
}

// Verify returns what token says, which came on a connection on which peer was shown as
// the client's certificate (as DER). The error says what is wrong with it, in words that
// have nothing of its values but names and times.
func (v *Verifier) Verify(token string, peer []byte) (*Claims, error) {
	if len(token) > mostToken {
		return nil, fmt.Errorf("assertion has %d bytes, expected at most %d", len(token), mostToken)
	}
	now := v.cfg.Now()
	at := verdictKey{sha256.Sum256([]byte(token)), sha256.Sum256(peer)}
	if known := v.verdicts.find(at, now); known != nil {
		return known, nil
	}
	said, err := v.read(token)
	if err != nil {
		return nil, err
	}
	if err := v.judge(said, at.peer, now); err != nil {
		return nil, err
	}
	verified := &Claims{Subject: said.Subject, Email: said.Email, Name: said.Name, Groups: said.Groups, ID: said.ID}
	v.verdicts.add(at, verified, now, time.Unix(said.Expires, 0))
	return verified, nil
}

// read verifies the signature, and returns what was signed.
func (v *Verifier) read(token string) (*claims, error) {
	signed, signature, ok := cutLast(token)
	head, body, two := strings.Cut(signed, ".")
	if !ok || !two || strings.Contains(body, ".") || strings.ContainsAny(token, "\r\n") { // which base64 passes over
		return nil, errors.New("assertion is not of three parts")
	}
	key, err := v.key(head)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(key, signed, signature); err != nil {
		return nil, err
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, errors.New("assertion's claims are not base64url")
	}
	said := &claims{}
	if err := json.Unmarshal(text, said); err != nil {
		return nil, errors.New("assertion's claims are not what a gateway writes")
	}
	return said, nil
}

// cutLast cuts at the last dot.
func cutLast(token string) (before, after string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}

// receivedHeader is a header of whoever made the token.
type receivedHeader struct {
	joseHeader
	Critical json.RawMessage `json:"crit"`
}

// key returns the key of a header's certificate, if that is one of the door's.
func (v *Verifier) key(head string) (*ecdsa.PublicKey, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(head)
	if err != nil {
		return nil, errors.New("assertion's header is not base64url")
	}
	var h receivedHeader
	switch err := json.Unmarshal(text, &h); {
	case err != nil:
		return nil, errors.New("assertion's header is not what a gateway writes")
	case h.Algorithm != algorithm:
		return nil, fmt.Errorf("assertion is not signed with %s", algorithm)
	case h.Critical != nil:
		return nil, errors.New("assertion's header has something critical")
	case len(h.Chain) == 0:
		return nil, errors.New("assertion has no certificates: see the end of those of the gateway's keys")
	case len(h.Chain) > mostChain:
		return nil, fmt.Errorf("assertion has %d certificates, expected at most %d", len(h.Chain), mostChain)
	}
	chain, err := parseChain(h.Chain)
	if err != nil {
		return nil, err
	}
	if err := v.cfg.Chain(chain); err != nil {
		return nil, fmt.Errorf("assertion's certificate: %w", err)
	}
	key, ok := chain[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("assertion's certificate is for another kind of key")
	}
	return key, nil
}

func parseChain(texts []string) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(texts))
	for i, text := range texts {
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("assertion's certificate %d is not base64", i)
		}
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("assertion's certificate %d: %w", i, err)
		}
	}
	return chain, nil
}

// checkSignature verifies ES256: both numbers, each of 32 octets (RFC 7518 section 3.4).
func checkSignature(key *ecdsa.PublicKey, signed, signature string) error {
	octets, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil || len(octets) != 64 {
		return errors.New("assertion's signature is not of 64 octets")
	}
	digest := sha256.Sum256([]byte(signed))
	r, s := new(big.Int).SetBytes(octets[:32]), new(big.Int).SetBytes(octets[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return errors.New("assertion's signature is another's")
	}
	return nil
}

// judge looks at what the door has signed: whether it is for here, now, and this peer.
func (v *Verifier) judge(said *claims, peer [sha256.Size]byte, now time.Time) error {
	issued, begins, ends := time.Unix(said.IssuedAt, 0), time.Unix(said.NotBefore, 0), time.Unix(said.Expires, 0)
	bound, _ := base64.RawURLEncoding.Strict().DecodeString(said.Bound.Thumbprint)
	switch {
	case said.Issuer != v.cfg.Issuer:
		return fmt.Errorf("assertion is of another issuer than %s", v.cfg.Issuer)
	case !slices.Contains(v.cfg.Audiences, said.Audience):
		return fmt.Errorf("assertion is for another audience than %q", v.cfg.Audiences)
	case said.Subject == "":
		return errors.New("assertion is of nobody")
	case said.IssuedAt == 0 || said.Expires == 0 || ends.Sub(issued) > Life:
		return fmt.Errorf("assertion does not end within %s", Life)
	case !now.Before(ends.Add(clockSkew)):
		return fmt.Errorf("assertion has ended at %s", ends.UTC().Format(time.RFC3339))
	case now.Add(clockSkew).Before(issued), now.Add(clockSkew).Before(begins):
		return fmt.Errorf("assertion begins at %s", issued.UTC().Format(time.RFC3339))
	case len(bound) != sha256.Size || subtle.ConstantTimeCompare(bound, peer[:]) != 1:
		return errors.New("assertion is bound to another client certificate than this connection's")
	}
	return nil
}

// verdictKey is what a verdict is about: a token, and who has shown it.
type verdictKey struct{ token, peer [sha256.Size]byte }
