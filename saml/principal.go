package saml

import "time"

// Principal is who the identity provider says it is. Every text in it has been
// through the same rule: valid UTF-8, at most 256 characters, no white space at
// its ends, no control or invisible characters. Nothing is folded: names that
// differ in case, or in how an accent is composed, are different names.
type Principal struct {
	User   string   // never empty, never a transient NameID
	Email  string   // empty, or with exactly one '@'
	Name   string   // for display only; may be empty
	Groups []string // in the order of the assertion, no repetition; a name may have commas

	Subject      Subject // how the IdP names the person; may be empty
	SessionIndex string  // the IdP's name for the session; may be empty
	IdP          string  // entity ID
	AssertionID  string
	AuthnContext string // class of authentication; may be empty

	AuthnInstant        time.Time // when the person proved who they are
	SessionNotOnOrAfter time.Time // the session must end here; zero if not said

	SigningCertificate string // SHA-256 of the certificate that verified, in hex
}

// Subject is a name identifier, whole: a logout must name the person exactly as
// the identity provider did (saml-core 3.7.3, saml2int SDP-SP30).
type Subject struct {
	NameID, Format                 string
	NameQualifier, SPNameQualifier string
}
