// Package interop has the door meet identity providers that others wrote:
// SimpleSAMLphp (PHP, xmlseclibs), LemonLDAP::NG (Perl, Lasso and xmlsec) and
// crewjam/saml (Go), each with a signature code of its own. All are real: nothing of
// the SAML between them and the door is made up here.
//
// Everything is in its tests. The identity providers run on loopback, behind a TLS
// listener each, since the door speaks to nothing else; the door runs in the test's
// process, without Vault, which has no part in SAML. A browser of the tests' own
// follows redirects, posts forms and loads frames, and keeps cookies as a browser
// does: SameSite decides which of them go along.
package interop
