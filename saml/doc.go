// Package saml is Sallyport's SAML 2.0 service provider: it sends a browser to
// the identity provider with a signed request, and turns the response that the
// browser brings back into a [Principal], or into a [Refusal] that says why not.
//
// It is for web browser single sign-on (SAML profiles 4.1): AuthnRequest by
// HTTP-Redirect or HTTP-POST, Response by HTTP-POST, solicited unless told
// otherwise; and for single logout (profiles 4.4), begun by either side, by both
// bindings. It is not a session: it keeps nothing about a person, sets no cookie
// and writes no page. Which request a browser has started is the caller's to
// remember, and so is which sessions a logout ends; the memory of assertions and
// logout messages already used is the only state in here.
//
// Everything that comes through the browser is hostile: the body of the POST,
// every byte of the XML, and the text inside a correctly signed assertion too,
// because a person may choose their own display name. The metadata of the
// identity provider is trusted for what it says, not for how it is written.
//
// The signature is verified by goxmldsig, and what was signed is read by gosaml2.
// They are good at that and leave the rest of the profile to their caller, so
// [ServiceProvider.Verify]
// puts gates in front of them and checks behind them, in a fixed order that is
// written down once, in judgement.go:
//
//	bytes -> stream -> shape -> signature shape -> library -> profile -> identity -> replay
//
// An encrypted assertion is opened between the fourth and the fifth, behind the
// response's own signature if there is one, and what comes out begins again at the
// second; decryption.go says why that is safe.
//
// A logout message takes the same road, by checks of its own in logoutchecks.go, whose
// order is in logout.go: its signature is over the octets of the query, or in the
// message. Both are judged step by step in one way, in steps.go, which also tells a
// [Trace] what each step found.
//
// Each step sees only what the one before let through. The first three bound
// what an unauthenticated request can cost before an XML tree exists, and make
// sure that the tree can be read in one way only. Every refusal has a stable
// code; docs/saml-refusals.md tells an operator what to do about each.
//
// Specifications: saml-core-2.0-os, saml-bindings-2.0-os, saml-profiles-2.0-os,
// saml-metadata-2.0-os, xmldsig-core, exclusive XML canonicalisation, and
// Kantara's saml2int where it is stricter than those.
package saml
