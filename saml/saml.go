package saml

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
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

	// SLOURL is the address that the identity provider sends logout messages to,
	// by HTTP-Redirect and by HTTP-POST, https. Destination is compared with it
	// byte for byte. Empty means that we take none.
	SLOURL string

	// Key signs our requests and Certificate publishes it; both from
	// [ParseKeyPair]. Required. Key is called concurrently.
	Key         crypto.Signer
	Certificate *x509.Certificate

	// Published are certificates of keys that we had before Key, or shall have
	// after it. They stand in our metadata beside Certificate, so that an
	// identity provider knows a key before it signs anything. Nil for none.
	Published []*x509.Certificate

	// Decryption are the keys that assertions may be encrypted to, the one in use
	// first; then those before and after it. The metadata offers the first, and a
	// response may use any. Nil means that encrypted assertions are refused.
	Decryption []DecryptionKey

	// Description is what our metadata says about us besides; see [Description].
	Description Description

	// IdPMetadata is the identity provider's metadata document: an
	// EntityDescriptor, or an EntitiesDescriptor. Required.
	IdPMetadata []byte

	// IdPEntityID is which entity of IdPMetadata to trust, byte for byte. Empty
	// takes the only identity provider in it, and refuses a document with several.
	IdPEntityID string

	// PinnedKeys are SHA-256 hashes of public keys (SubjectPublicKeyInfo, in DER),
	// in lower-case hex. A certificate in IdPMetadata with such a key is good
	// beyond its validity: somebody has decided to trust the key itself.
	PinnedKeys []string

	// RequestBinding is how requests go to the identity provider. The zero value
	// takes HTTP-Redirect if the metadata offers it, else HTTP-POST.
	RequestBinding Binding

	// NameIDFormat is what a request asks for in NameIDPolicy; empty asks for
	// nothing, which leaves it to the identity provider (saml2int SDP-SP04).
	NameIDFormat string

	// AuthnContext is what every request asks for, unless [SignOn] asks for
	// something itself. The answer must satisfy it.
	AuthnContext AuthnContext

	// UnsafeUnsolicited lets in responses that answer no request of ours: a sign-on
	// that the identity provider began. Such a response may have been begun by
	// somebody else than the person at the browser (login CSRF).
	UnsafeUnsolicited bool

	// UserDomains are the e-mail domains, in lower-case, that the identity provider
	// may speak for: a user name or e-mail address of another one is refused. Nil
	// lets it speak for all.
	UserDomains []string

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

// DecryptionKey is a key that assertions may be encrypted to, and the certificate
// that publishes it. RSA only.
type DecryptionKey struct {
	Key         crypto.Decrypter // called concurrently
	Certificate *x509.Certificate
}

// Binding is how a message travels through the browser.
type Binding int

// The bindings (saml-bindings 3.4 and 3.5).
const (
	BindingAny Binding = iota // as the other side's metadata has it
	BindingRedirect
	BindingPost
)

// AuthnContext is how a person has to have proved who they are. The zero value
// demands nothing.
type AuthnContext struct {
	// Classes are authentication context class references, the weakest first.
	// Whichever way it was asked for, the answer must name one of them.
	Classes []string
	// Minimum asks for the first class or anything that the identity provider
	// holds to be stronger, in place of exactly one of Classes (saml-core 3.3.2.2.1).
	Minimum bool
}

// SignOn is what a sign-on asks for. The zero value asks the identity provider
// for nothing but who it is.
type SignOn struct {
	// RelayState comes back with the response, unverified: it must be a key to the
	// caller's own state, of at most 80 printable ASCII characters. May be empty.
	RelayState string
	// ForceAuthn asks that the person prove anew who they are; Passive that they
	// be asked nothing. Not both.
	ForceAuthn, Passive bool
	// AuthnContext, if it demands something, stands in for [Config.AuthnContext].
	AuthnContext AuthnContext
}

// Message is one of ours on its way to the identity provider through the
// browser: an AuthnRequest, a LogoutRequest or a LogoutResponse.
type Message struct {
	// ID must be kept for the browser that takes the message, and for no other:
	// verifying the answer wants it back.
	ID string
	// IssuedAt is when it was made.
	IssuedAt time.Time
	// URL is where the browser goes. If Form is nil, it is redirected there, with
	// the signed message in the query; else it posts Form there.
	URL string
	// Form are the fields of the HTTP-POST binding, in their order. Nil for
	// HTTP-Redirect.
	Form []FormField
}

// FormField is a hidden field of a form.
type FormField struct{ Name, Value string }

// Expectation is what a response must live up to besides our configuration: what
// was asked for, by this browser.
type Expectation struct {
	// RequestID is the ID of the [Message] that this browser was given. Empty
	// means that it was given none: then the response must be unsolicited, and is
	// refused unless [Config.UnsafeUnsolicited].
	RequestID string
	// SignOn is what was asked for.
	SignOn SignOn
	// RequestedAt is [Message.IssuedAt]; with ForceAuthn, the person must have
	// proved who they are since then.
	RequestedAt time.Time
	// MaxAge, if not zero, is how long ago that may be, if [Config.MaxAge] is not
	// less.
	MaxAge time.Duration
	// Trace, if not nil, is told of each check that is made.
	Trace *Trace
}

// Post is the form that a browser brought from the identity provider. Nothing
// in it has been verified.
type Post struct {
	Response   string // still in base64
	RelayState string // printable ASCII, at most 80 bytes; may be empty
}

// ServiceProvider is one side of a trust between us and one identity provider.
// It is immutable, but for its replay memory, and safe for concurrent use. A
// new key or new metadata means a new one; give both the same [Replay].
type ServiceProvider struct {
	entityID, acsURL string
	sloURL           string // empty: no logout messages are taken
	idp              *identityProvider
	attributes       Attributes
	skew, maxAge     time.Duration
	now              func() time.Time
	replay           Replay

	authnContext AuthnContext
	userDomains  []string
	unsolicited  bool
	decryption   []DecryptionKey

	metadata  []byte
	sender    *sender
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
	if err := idp.checkElsewhere(cfg.ACSURL); err != nil {
		return nil, fmt.Errorf("reading the identity provider's metadata: %w", err)
	}
	sp := &ServiceProvider{
		entityID: cfg.EntityID, acsURL: cfg.ACSURL, sloURL: cfg.SLOURL, idp: idp, attributes: cfg.Attributes.clone(),
		skew: cfg.ClockSkew, maxAge: cfg.MaxAge, now: cfg.Now, replay: cfg.Replay, limiter: newLimiter(),
		authnContext: cfg.AuthnContext.clone(), userDomains: slices.Clone(cfg.UserDomains), unsolicited: cfg.UnsafeUnsolicited,
		decryption: slices.Clone(cfg.Decryption),
	}
	if sp.sender, err = newSender(cfg.Key, cfg.Certificate); err != nil {
		return nil, err
	}
	sp.requests = newRequester(&cfg, idp, sp.sender)
	for _, cert := range idp.certificates {
		sp.verifiers = append(sp.verifiers, sp.newVerifier(cert))
	}
	if sp.metadata, err = buildMetadata(&cfg, sp.sender); err != nil {
		return nil, err
	}
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
	if err := checkDecryptionKeys(cfg.Decryption); err != nil {
		return err
	}
	for _, cert := range append([]*x509.Certificate{cfg.Certificate}, cfg.Published...) {
		if err := checkStrength(cert.PublicKey); err != nil {
			return fmt.Errorf("checking our own key: %w", err)
		}
	}
	return cfg.checkOptions()
}

// checkOptions judges what may be left out.
func (cfg *Config) checkOptions() error {
	if cfg.SLOURL != "" {
		if err := checkEndpoint(cfg.SLOURL); err != nil {
			return fmt.Errorf("checking the single logout service %q: %w", cfg.SLOURL, err)
		}
		if strings.Contains(cfg.SLOURL, "?") {
			return fmt.Errorf("single logout service %q with a query, expected none: signed messages come in it", cfg.SLOURL)
		}
	}
	if cfg.RequestBinding < BindingAny || cfg.RequestBinding > BindingPost {
		return fmt.Errorf("binding %d for requests, expected one of the constants", cfg.RequestBinding)
	}
	if cfg.NameIDFormat != "" {
		if err := checkURI(cfg.NameIDFormat); err != nil {
			return fmt.Errorf("format %.100q of the NameID: %w", cfg.NameIDFormat, err)
		}
	}
	if err := cfg.AuthnContext.check(); err != nil {
		return err
	}
	if err := checkUserDomains(cfg.UserDomains); err != nil {
		return err
	}
	return cfg.Description.check()
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
	pins, err := pinSet(cfg.PinnedKeys)
	if err != nil {
		return nil, err
	}
	return parseIdPMetadata(raw, metadataChoice{
		entityID: cfg.IdPEntityID, binding: cfg.RequestBinding, pins: pins, now: cfg.Now().Add(-cfg.ClockSkew),
	})
}

func (a Attributes) clone() Attributes {
	return Attributes{
		User: slices.Clone(a.User), Email: slices.Clone(a.Email),
		Name: slices.Clone(a.Name), Groups: slices.Clone(a.Groups),
	}
}

// Metadata returns our own metadata document, for the identity provider. It is
// the same, byte for byte, as long as the configuration is; if it is signed with an
// elliptic key, as long as the service provider lives, for such a signature is
// another one each time. The caller must not modify it.
func (sp *ServiceProvider) Metadata() []byte { return sp.metadata }

// IdP describes the identity provider.
func (sp *ServiceProvider) IdP() IdPInfo {
	info := sp.idp.info()
	info.ErrorURL = strings.ReplaceAll(info.ErrorURL, "ERRORURL_RP", url.QueryEscape(sp.entityID))
	return info
}

// Begin makes the request that starts a sign-on.
func (sp *ServiceProvider) Begin(s SignOn) (Message, error) {
	if err := s.check(); err != nil {
		return Message{}, fmt.Errorf("beginning a sign-on with the relay state %.100q: %w", s.RelayState, err)
	}
	if err := sp.checkFresh(sp.now()); err != nil {
		return Message{}, fmt.Errorf("beginning a sign-on: %w", err)
	}
	return sp.requests.begin(s)
}
