package saml

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/http"
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

	// IdPMetadata is the identity provider's metadata document: an
	// EntityDescriptor, or an EntitiesDescriptor that holds exactly one
	// identity provider. Required.
	IdPMetadata []byte

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
// its ends, no control or invisible characters.
type Principal struct {
	User   string   // never empty, never a transient NameID
	Email  string   // empty, or with exactly one '@'
	Name   string   // for display only; may be empty
	Groups []string // in the order of the assertion, no repetition, no commas

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

// ServiceProvider is immutable and safe for concurrent use. A new key or new
// metadata means a new one.
type ServiceProvider struct{}

var errNotBuilt = errors.New("not built")

// ParseKeyPair reads a private key and its certificate.
func ParseKeyPair(keyPEM, certPEM []byte) (crypto.Signer, *x509.Certificate, error) {
	return nil, nil, errNotBuilt
}

// New judges the configuration and the metadata in it.
func New(cfg Config) (*ServiceProvider, error) { return nil, errNotBuilt }

// Metadata returns our metadata document.
func (sp *ServiceProvider) Metadata() []byte { return nil }

// IdP describes the identity provider.
func (sp *ServiceProvider) IdP() IdPInfo { return IdPInfo{} }

// Begin starts a sign-on.
func (sp *ServiceProvider) Begin(relayState string) (AuthnRequest, error) {
	return AuthnRequest{}, errNotBuilt
}

// ReadPost reads the form of the assertion consumer service.
func ReadPost(w http.ResponseWriter, r *http.Request) (Post, error) {
	return Post{}, refuse(CodeInternal, errNotBuilt)
}

// Verify judges a response.
func (sp *ServiceProvider) Verify(ctx context.Context, p Post, requestID string) (*Principal, error) {
	return nil, refuse(CodeInternal, errNotBuilt)
}
