package saml

import "time"

// What a message may cost and how old it may be, all in one place. A response has
// room for about 950 values of attributes.
const (
	maxBodySize       = 512 << 10 // of the POST, in bytes
	maxResponseSize   = 256 << 10 // of the XML in it
	maxRelayStateSize = 80        // saml-bindings 3.4.3
	maxIDLength       = 256       // of an XML ID
	maxEntityID       = 1024      // saml-core 8.3.6
	maxTextLength     = 256       // of a NameID or an attribute value, in characters

	maxAssertionAge      = 5 * time.Minute // since IssueInstant, plus the clock skew
	maxAssertionLifetime = 25 * time.Hour  // from IssueInstant to any NotOnOrAfter; LemonLDAP::NG says a day and a minute
	maxClockSkew         = 5 * time.Minute // saml2int SDP-G01 asks for three to five

	maxLogoutSize     = 64 << 10        // of the XML of a logout message, in bytes
	maxLogoutBody     = 256 << 10       // of the POST that it comes in
	maxQuerySize      = 128 << 10       // of the query that it comes in
	maxInflation      = 64              // how often the message may be as large as what it was packed into
	maxSessionIndexes = 64              // in one logout request
	maxLogoutAge      = 5 * time.Minute // since IssueInstant, plus the clock skew
	logoutLifetime    = 5 * time.Minute // of our own requests

	maxAuthnClasses    = 16      // of one request
	maxIdPCertificates = 8       // each may be tried in turn
	maxReplayEntries   = 200_000 // live assertions of one identity provider; about 40 MB when full
	maxDecryptionKeys  = 4       // of ours: the one in use, and some before and after it
	maxEncryptedKeys   = 4       // of one assertion
	maxUnwraps         = 6       // RSA operations for one response: 4 ms with 2048 bits, 42 ms with 4096
	maxWaiting         = 128     // responses that wait for their turn in Verify
	maxWait            = 10 * time.Second
)

// streamLimits bounds one XML document before a tree is made of it.
type streamLimits struct {
	size          int // bytes
	depth         int
	elements      int
	attributes    int // of one element, namespace declarations included
	allAttributes int // of the whole document
	scope         int // namespace declarations in force at one place
	text          int // bytes of one run of text, or of one attribute value
	cipher        int // the same of the text of a CipherValue, if it is more
	comments      bool
	rebinding     bool // one prefix may stand for several namespaces
}

// responseLimits is for what strangers send, so these are the tightest.
//
// What goxmldsig spends on a document grows with the number of elements times
// the number of namespaces in scope of each: twenty thousand declarations on one
// element cost it half a minute. So it is the scope that is bounded here, not
// the number of declarations: Okta, Keycloak and Shibboleth write two of them on
// every attribute value, and people have many groups.
func responseLimits() streamLimits {
	return streamLimits{
		size: maxResponseSize, depth: 32, elements: 1000, attributes: 32, allAttributes: 4000,
		scope: 24, text: 64 << 10, cipher: maxResponseSize,
	}
}

// logoutLimits is for logout messages, which are short: what they have in number
// are session indexes, and the elements of a signature.
func logoutLimits() streamLimits {
	return streamLimits{
		size: maxLogoutSize, depth: 16, elements: 256, attributes: 32, allAttributes: 512,
		scope: 24, text: 16 << 10,
	}
}

// metadataLimits is for what the operator gives us and our own code reads.
// Federations are large, and people write comments.
func metadataLimits() streamLimits {
	return streamLimits{
		size: 2 << 20, depth: 32, elements: 20_000, attributes: 64, allAttributes: 60_000,
		scope: 64, text: 256 << 10, comments: true, rebinding: true,
	}
}
