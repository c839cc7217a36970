package saml

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config is what a service provider is made from. It must not be modified
// after [New]; New copies what it keeps.
type Config struct {
	// EntityID is our name at the identity provider, and the audience that an
	// assertion must be for. Required; compared byte for byte.
	EntityID string

	// ACSURL is the address that the identity provider posts to. Required,
	// https. Destination and Recipient are compared with it byte for byte.
	ACSURL string

	// Key signs our requests and Certificate publishes it; both from
	// [ParseKeyPair]. Required. Key is called concurrently.
	Key         crypto.Signer
	Certificate *x509.Certificate

	// Published are certificates of keys that we had before Key, or shall have
	// after it. They stand in our metadata beside Certificate, so that an
	// identity provider knows a key before it signs anything. Nil for none.
	Published []*x509.Certificate

	// IdPMetadata is the identity provider's metadata document: an
	// EntityDescriptor, or an EntitiesDescriptor that holds exactly one
	// identity provider. Required.
	IdPMetadata []byte

	// MetadataSigner, if not nil, must have signed IdPMetadata as a whole, with
	// a signature in the document. Metadata from a place that cannot be trusted
	// needs one.
	MetadataSigner *x509.Certificate

	// Attributes says where in an assertion to look for each part of a
	// principal. At least one name for User is required.
	Attributes Attributes

	// ClockSkew is how far the identity provider's clock may be off, in either
	// direction. Zero means none; more than five minutes is refused.
	ClockSkew time.Duration

	// MaxAge is how long ago the person may have proven who they are
	// (AuthnInstant). Zero means that it does not matter.
	MaxAge time.Duration

	// Replay remembers the assertions that were used. Nil means a memory of our
	// own, which holds for this process alone.
	Replay Replay

	// Now tells the time; nil means time.Now. It is called concurrently.
	Now func() time.Time
}

// Attributes names, for each part of a [Principal], the attributes that may
// hold it, best first: the first that is present in the assertion is used. The
// name [NameIDAttribute] stands for the subject's NameID. FriendlyNames are
// never looked at: an identity provider does not vouch for them.
type Attributes struct {
	User, Email, Name, Groups []string
}

// NameIDAttribute in [Attributes] stands for the subject's NameID.
const NameIDAttribute = "name_id"

// Replay is the memory of assertions that were used.
//
// Remember reports whether id is new, and from then on it is not, until the
// given instant. Of concurrent calls with one id exactly one may see true. An
// implementation that cannot tell, or cannot keep it until then, must say
// false. The id is opaque and at most 64 bytes long.
type Replay interface {
	Remember(id string, until time.Time) (first bool)
}

// AuthnRequest is a sign-on that was begun.
type AuthnRequest struct {
	// ID must be kept for the browser that is sent to URL, and for no other;
	// [ServiceProvider.Verify] wants it back.
	ID string
	// URL is where to redirect the browser: the identity provider's, with the
	// signed request in its query.
	URL string
}

// Post is the form that a browser brought from the identity provider. Nothing
// in it has been verified.
type Post struct {
	Response   string // still in base64
	RelayState string // printable ASCII, at most 80 bytes; may be empty
}

// Principal is who the identity provider says it is. Every text in it has been
// through the same rule: valid UTF-8, at most 256 characters, no white space at
// its ends, no control or invisible characters. Nothing is folded: names that
// differ in case, or in how an accent is composed, are different names.
type Principal struct {
	User   string   // never empty, never a transient NameID
	Email  string   // empty, or with exactly one '@'
	Name   string   // for display only; may be empty
	Groups []string // in the order of the assertion, no repetition; a name may have commas

	NameID, NameIDFormat string // may be empty
	SessionIndex         string // the IdP's name for the session; may be empty
	IdP                  string // entity ID
	AssertionID          string
	AuthnContext         string // class of authentication; may be empty

	AuthnInstant        time.Time // when the person proved who they are
	SessionNotOnOrAfter time.Time // the session must end here; zero if not said

	SigningCertificate string // SHA-256 of the certificate that verified, in hex
}

// IdPInfo describes the identity provider as its metadata does.
type IdPInfo struct {
	EntityID     string
	SSOURL       string
	Certificates []IdPCertificate // as in the metadata, expired ones included
	ValidUntil   time.Time        // of the metadata; zero if not said
}

// IdPCertificate is one signing certificate of the identity provider. Responses
// signed with one that is outside its validity are refused, so it is worth a
// warning long before NotAfter.
type IdPCertificate struct {
	Fingerprint         string // SHA-256 of the certificate, in hex
	NotBefore, NotAfter time.Time
}

// ServiceProvider is one side of a trust between us and one identity provider.
// It is immutable, but for its replay memory, and safe for concurrent use. A
// new key or new metadata means a new one; give both the same [Replay].
type ServiceProvider struct {
	entityID, acsURL string
	idp              *identityProvider
	attributes       Attributes
	skew, maxAge     time.Duration
	now              func() time.Time
	replay           Replay

	metadata  []byte
	requests  *requester
	verifiers []*verifier // one for each trusted certificate
	limiter   *limiter
}

// New judges the configuration and the metadata in it, and starts nothing. Its
// errors name what is wrong and quote it, but never key material.
func New(cfg Config) (*ServiceProvider, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Replay == nil {
		cfg.Replay = newMemory(maxReplayEntries, cfg.Now)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	idp, err := cfg.identityProvider()
	if err != nil {
		return nil, fmt.Errorf("reading the identity provider's metadata: %w", err)
	}
	sp := &ServiceProvider{
		entityID: cfg.EntityID, acsURL: cfg.ACSURL, idp: idp, attributes: cfg.Attributes.clone(),
		skew: cfg.ClockSkew, maxAge: cfg.MaxAge, now: cfg.Now, replay: cfg.Replay, limiter: newLimiter(),
	}
	if sp.requests, err = newRequester(&cfg, idp); err != nil {
		return nil, err
	}
	for _, cert := range idp.certificates {
		sp.verifiers = append(sp.verifiers, sp.newVerifier(cert))
	}
	sp.metadata = buildMetadata(&cfg)
	return sp, nil
}

// check judges what does not need the metadata.
func (cfg *Config) check() error {
	if err := checkEntityID(cfg.EntityID); err != nil {
		return fmt.Errorf("checking our own entity ID: %w", err)
	}
	if err := checkEndpoint(cfg.ACSURL); err != nil {
		return fmt.Errorf("checking the assertion consumer service %q: %w", cfg.ACSURL, err)
	}
	switch {
	case cfg.Key == nil || cfg.Certificate == nil:
		return errors.New("a key and its certificate are required")
	case !publishes(cfg.Certificate, cfg.Key):
		return errors.New("the certificate does not belong to the private key: their public keys differ")
	case cfg.ClockSkew < 0 || cfg.ClockSkew > maxClockSkew:
		return fmt.Errorf("clock skew of %s, expected 0 to %s", cfg.ClockSkew, maxClockSkew)
	case cfg.MaxAge < 0:
		return fmt.Errorf("maximum age of %s, expected 0 or more", cfg.MaxAge)
	case len(cfg.Attributes.User) == 0:
		return errors.New("no attribute for the user name")
	}
	for _, cert := range append([]*x509.Certificate{cfg.Certificate}, cfg.Published...) {
		if err := checkStrength(cert.PublicKey); err != nil {
			return fmt.Errorf("checking our own key: %w", err)
		}
	}
	return nil
}

// identityProvider reads the metadata, and nothing of it before its signature
// was verified, if one is wanted.
func (cfg *Config) identityProvider() (*identityProvider, error) {
	raw := cfg.IdPMetadata
	if cfg.MetadataSigner != nil {
		var err error
		if raw, err = signedMetadata(raw, cfg.MetadataSigner, cfg.Now); err != nil {
			return nil, err
		}
	}
	return parseIdPMetadata(raw, cfg.Now())
}

func (a Attributes) clone() Attributes {
	return Attributes{
		User: slices.Clone(a.User), Email: slices.Clone(a.Email),
		Name: slices.Clone(a.Name), Groups: slices.Clone(a.Groups),
	}
}

// Metadata returns our own metadata document, for the identity provider. It is
// the same, byte for byte, as long as the configuration is. The caller must not
// modify it.
func (sp *ServiceProvider) Metadata() []byte { return sp.metadata }

// IdP describes the identity provider.
func (sp *ServiceProvider) IdP() IdPInfo { return sp.idp.info() }

// Begin makes the request that starts a sign-on. The relay state comes back
// with the response, unverified: it must be a key to the caller's own state,
// of at most 80 printable ASCII characters, and may be empty.
func (sp *ServiceProvider) Begin(relayState string) (AuthnRequest, error) {
	if err := checkRelayState(relayState); err != nil {
		return AuthnRequest{}, fmt.Errorf("beginning a sign-on with the relay state %.100q: %w", relayState, err)
	}
	if err := sp.idp.checkFresh(sp.now()); err != nil {
		return AuthnRequest{}, fmt.Errorf("beginning a sign-on: %w", err)
	}
	return sp.requests.begin(relayState)
}
