package saml

import "fmt"

// Refusal is every error of [ReadPost], [ServiceProvider.Verify] and their
// counterparts for logout. Error is for the log only: it may quote what the browser
// sent, bounded and escaped, and the person at the browser must not see it.
type Refusal struct {
	Code string // one of the Code constants: stable, fit for metrics
	Err  error  // what exactly was wrong; never nil
}

// Error returns the code and the private cause.
func (r *Refusal) Error() string { return r.Code + ": " + r.Err.Error() }

// Unwrap returns the private cause.
func (r *Refusal) Unwrap() error { return r.Err }

// refusef makes a refusal. Hostile text goes in with %.100q: bounded, escaped.
func refusef(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Err: fmt.Errorf(format, args...)}
}

// Codes of the HTTP step: what arrived is not a form of an identity provider.
const (
	CodeMethod      = "method"       // not a POST
	CodeContentType = "content_type" // not a plain URL-encoded form
	CodeBodySize    = "body_size"    // more than 512 KiB
	CodeForm        = "form"         // unreadable, or not exactly one message
	CodeQuery       = "query"        // not the query of a signed redirect, and nothing else
	CodeRelayState  = "relay_state"  // repeated, too long, or not printable ASCII
	CodeBusy        = "busy"         // too many responses at once, or the browser went away
)

// Codes of the bytes and stream gates: what arrived is not XML that can be read
// cheaply and in one way only.
const (
	CodeEncoding = "encoding"  // not strict base64 of UTF-8 text that begins with '<'
	CodeXML      = "xml"       // not well-formed, or well-formed in a way that parsers disagree about
	CodeDoctype  = "doctype"   // a document type declaration
	CodeComment  = "comment"   // a comment or a CDATA section
	CodeXMLLimit = "xml_limit" // too large, too deep, too many of something
)

// Codes of the shape gate: well-formed, but not one plain SAML response.
const (
	CodeRoot           = "root"             // not a SAML 2.0 Response, or not the logout message that belongs there
	CodeStatus         = "status"           // the identity provider reports an error
	CodeNoPassive      = "no_passive"       // it would have had to ask the person, and was not to
	CodeNoAuthnContext = "no_authn_context" // it cannot authenticate the person as was asked for
	CodeEncrypted      = "encrypted"        // holds something encrypted that we take in the clear only
	CodeAssertions     = "assertions"       // not exactly one assertion, in its place
	CodeElement        = "element"          // an element where the profile has none
	CodeDuplicate      = "duplicate"        // an element twice
	CodeMissing        = "missing"          // an element or attribute that the profile demands is not there
	CodeText           = "text"             // text between elements, or elements in text
	CodeAttribute      = "attribute"        // an XML attribute that imitates another
	CodeID             = "id"               // an ID that is missing, repeated or malformed
	CodeInstant        = "instant"          // not a point in time
	CodeVersion        = "version"          // not SAML 2.0
)

// Codes of the signature: who says so.
const (
	CodeUnsigned           = "unsigned"             // neither response nor assertion is signed, or the logout message is not
	CodeSignatureShape     = "signature_shape"      // a signature of an unusual or dangerous form
	CodeAlgorithm          = "algorithm"            // an algorithm that is not allowed
	CodeUnknownCertificate = "unknown_certificate"  // made with a certificate that is not in the metadata
	CodeIdPCertificate     = "idp_certificate"      // the metadata's certificate is outside its validity
	CodeIdPMetadataExpired = "idp_metadata_expired" // the metadata is past its validUntil
	CodeSignature          = "signature"            // does not verify
	CodeTooManyValues      = "too_many_values"      // more attribute values than there is room for
)

// Codes of an encrypted assertion. What goes wrong once a key of ours is used has
// one code and one text, whatever it is: who could tell the faults apart could
// have a message read to them, one guess at a time.
const (
	CodeEncryptionShape = "encryption_shape" // encrypted in an unusual or dangerous form
	CodeDecryption      = "decryption"       // none of our keys opens it, or what comes out is not XML
)

// Codes of the profile: signed, but not for us, not now, or not asked for.
const (
	CodeIssuer              = "issuer"               // another identity provider
	CodeDestination         = "destination"          // sent to another address, or a signed response without one
	CodeRecipient           = "recipient"            // confirmed for another address
	CodeSubjectConfirmation = "subject_confirmation" // not a plain bearer confirmation
	CodeConditions          = "conditions"           // missing, or with a condition that we do not know
	CodeAudience            = "audience"             // for somebody else, or for nobody
	CodeNotYetValid         = "not_yet_valid"        // begins in the future
	CodeExpired             = "expired"              // too old
	CodeLifetime            = "lifetime"             // valid for longer than 25 hours
	CodeInResponseTo        = "in_response_to"       // does not answer the request of this browser
	CodeAuthnStatement      = "authn_statement"      // does not say when and how the person proved who they are
	CodeAuthnAge            = "authn_age"            // that was too long ago
	CodeAuthnNotFresh       = "authn_not_fresh"      // that was before this sign-on, which was to make them prove it anew
	CodeAuthnContext        = "authn_context"        // that was done in another way than was asked for
	CodeSessionExpired      = "session_expired"      // the session at the identity provider is over
	CodeReplay              = "replay"               // this assertion or logout message was used before
	CodeReplayFull          = "replay_full"          // the memory of used assertions is full
)

// Codes of the identity: genuine, but it names nobody whom we can pass on.
const (
	CodeUser      = "user"              // no attribute holds a user name
	CodeTransient = "transient_name_id" // only a transient NameID does
	CodeAmbiguous = "ambiguous"         // several user names
	CodeValue     = "value"             // a value with characters that have no business in a name
	CodeEmail     = "email"             // not an e-mail address
	CodeDomain    = "domain"            // somebody whom the identity provider may not speak for
)

// CodeInternal is a fault of ours or of a library: it panicked.
const CodeInternal = "internal"
