package saml

import (
	"slices"
	"testing"
	"time"
)

const (
	classPassword = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	classMFA      = "https://refeds.org/profile/mfa"
)

// secondLevel makes a report of failure of the response.
func secondLevel(first, second string) func(testing.TB, *message) {
	return func(t testing.TB, m *message) {
		code := m.find("StatusCode")
		code.CreateAttr("Value", first)
		appendXML(t, code, `<samlp:StatusCode xmlns:samlp="`+nsProtocol+`" Value="`+second+`"/>`)
		without("./Assertion")(t, m)
	}
}

// unanswered takes InResponseTo away, as in a sign-on that the identity provider
// began.
func unanswered(_ testing.TB, m *message) {
	m.root.RemoveAttr("InResponseTo")
	m.find("SubjectConfirmationData").RemoveAttr("InResponseTo")
}

func unsolicitedAllowed(_ *testing.T, cfg *Config, _ *testIdP) { cfg.UnsafeUnsolicited = true }

// signOns are answers to a sign-on that asked for something, or to none.
func signOns() []attack {
	return slices.Concat(pins(), unsolicited(), demands(), domains())
}

// pins are signatures with a certificate whose time is over, or is still to come.
func pins() []attack {
	const year = 365 * 24 * time.Hour
	shifted := func(by time.Duration) func(testing.TB, *testIdP) {
		return func(t testing.TB, idp *testIdP) { idp.cert = testCertificate(t, idp.key, by) }
	}
	pinned := func(_ *testing.T, cfg *Config, idp *testIdP) { cfg.PinnedKeys = []string{keyHash(idp.cert)} }
	return []attack{
		{id: "B7d", name: "certificate expired, its key pinned", idp: shifted(-year), config: pinned},
		{id: "B7e", name: "certificate of the future, its key pinned", idp: shifted(year), config: pinned, sign: signBoth},
		{id: "B7f", name: "certificate expired, another key pinned", want: CodeIdPCertificate, idp: shifted(-year),
			config: func(t *testing.T, cfg *Config, _ *testIdP) {
				cfg.PinnedKeys = []string{keyHash(testCertificate(t, testKey(t, "rsa-other"), 0))}
			}},
		{id: "B7g", name: "key pinned, its certificate not in the metadata", want: CodeUnknownCertificate,
			config: func(t *testing.T, cfg *Config, idp *testIdP) {
				pinned(t, cfg, idp)
				cfg.IdPMetadata = testMetadata(newTestIdP(t, "rsa-other").cert)
			}},
	}
}

func unsolicited() []attack {
	empty := ""
	return []attack{
		{id: "C9c", name: "unsolicited, allowed", request: &empty, edit: unanswered, config: unsolicitedAllowed},
		{id: "C9d", name: "unsolicited, allowed, the response signed", sign: signResponse, request: &empty, edit: unanswered, config: unsolicitedAllowed},
		{id: "C9e", name: "unsolicited allowed, but the confirmation answers another browser", want: CodeInResponseTo, request: &empty, config: unsolicitedAllowed,
			edit: func(_ testing.TB, m *message) { m.root.RemoveAttr("InResponseTo") }},
		{id: "C9f", name: "unsolicited allowed, but the envelope answers another browser", want: CodeInResponseTo, request: &empty, config: unsolicitedAllowed,
			edit: noAttr("SubjectConfirmationData", "InResponseTo")},
		{id: "C9g", name: "unsolicited allowed, but this browser has begun a sign-on", want: CodeInResponseTo, edit: unanswered, config: unsolicitedAllowed},
		{id: "C9h", name: "unsolicited allowed, and for another audience", want: CodeAudience, request: &empty, config: unsolicitedAllowed,
			edit: func(t testing.TB, m *message) {
				unanswered(t, m)
				setText(".//Audience", "https://other.example.test/")(t, m)
			}},
		{id: "C9i", name: "unsolicited allowed, and weaker than is always asked for", want: CodeAuthnContext, request: &empty, edit: unanswered,
			config: func(_ *testing.T, cfg *Config, _ *testIdP) {
				cfg.UnsafeUnsolicited, cfg.AuthnContext = true, AuthnContext{Classes: []string{classMFA}}
			}},
	}
}

func demands() []attack {
	forced := func(began time.Duration) Expectation {
		return Expectation{SignOn: SignOn{ForceAuthn: true}, RequestedAt: testNow.Add(began)}
	}
	classes := func(minimum bool, classes ...string) Expectation {
		return Expectation{SignOn: SignOn{AuthnContext: AuthnContext{Classes: classes, Minimum: minimum}}}
	}
	class := func(s string) func(testing.TB, *message) { return setText(".//AuthnContextClassRef", s) }
	always := func(classes ...string) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.AuthnContext.Classes = classes }
	}
	maxAge := func(d time.Duration) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.MaxAge = d }
	}
	authenticated := func(d time.Duration) func(testing.TB, *message) {
		return attr("AuthnStatement", "AuthnInstant", at(d))
	}
	const responder, requester = statusPrefix + "Responder", statusPrefix + "Requester"
	return []attack{
		{id: "C24f", name: "passive sign-on of somebody without a session", want: CodeNoPassive, edit: secondLevel(responder, statusNoPassive)},
		{id: "C24g", name: "NoPassive as the first code", want: CodeNoPassive, edit: secondLevel(statusNoPassive, "urn:x:y")},
		{id: "C24h", name: "denied", want: CodeStatus, edit: secondLevel(responder, statusPrefix+"RequestDenied")},
		{id: "C24i", name: "context that the identity provider does not know", want: CodeNoAuthnContext, edit: secondLevel(requester, statusNoAuthnContext)},
		{id: "C24k", name: "no such context, by whose fault the identity provider does not say rightly", want: CodeNoAuthnContext, edit: secondLevel(responder, statusNoAuthnContext)},
		{id: "C24l", name: "NoAuthnContext as the first code", want: CodeNoAuthnContext, edit: secondLevel(statusNoAuthnContext, "urn:x:y")},
		{id: "C24m", name: "NoAuthnContext in words that only begin so", want: CodeStatus, edit: secondLevel(responder, statusNoAuthnContext+"Class")},
		{id: "C24j", name: "status that only begins like success", want: CodeStatus, edit: secondLevel(statusSuccess+"ful", statusSuccess)},

		{id: "C26h", name: "forced, and authenticated anew", expect: forced(-3 * time.Minute)},
		{id: "C26i", name: "forced, and answered from an old session", want: CodeAuthnNotFresh, expect: forced(-time.Minute), edit: authenticated(-time.Hour)},
		{id: "C26j", name: "forced, at the edge of the skew", expect: forced(-time.Minute), edit: authenticated(-4 * time.Minute)},
		{id: "C26k", name: "forced, one second behind the edge", want: CodeAuthnNotFresh, expect: forced(-time.Minute), edit: authenticated(-4*time.Minute - time.Second)},
		{id: "C26l", name: "forced, in the second of the request", expect: forced(-time.Minute + 900*time.Millisecond), edit: authenticated(-time.Minute),
			config: func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.ClockSkew = 0 }},
		{id: "C26m", name: "forced, no skew, one second before the request", want: CodeAuthnNotFresh, expect: forced(-time.Minute), edit: authenticated(-61 * time.Second),
			config: func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.ClockSkew = 0 }},
		{id: "C26n", name: "older than is expected of this sign-on", want: CodeAuthnAge, expect: Expectation{MaxAge: 5 * time.Minute}, edit: authenticated(-8*time.Minute - time.Second), config: maxAge(time.Hour)},
		{id: "C26o", name: "as old as is expected of this sign-on", expect: Expectation{MaxAge: 5 * time.Minute}, edit: authenticated(-8 * time.Minute), config: maxAge(time.Hour)},
		{id: "C26p", name: "an expectation does not lengthen what is configured", want: CodeAuthnAge, expect: Expectation{MaxAge: time.Hour}, edit: authenticated(-9 * time.Minute), config: maxAge(5 * time.Minute)},
		{id: "C26q", name: "expected of this sign-on alone", want: CodeAuthnAge, expect: Expectation{MaxAge: time.Minute}, edit: authenticated(-time.Hour)},

		{id: "C27", name: "weaker class than was asked for", want: CodeAuthnContext, expect: classes(false, classMFA)},
		{id: "C27b", name: "the class that was asked for", expect: classes(false, classMFA), edit: class(classMFA)},
		{id: "C27c", name: "one of several classes", expect: classes(false, classMFA, classPassword)},
		{id: "C27d", name: "stronger than the minimum", expect: classes(true, classPassword, classMFA), edit: class(classMFA)},
		{id: "C27e", name: "the minimum itself", expect: classes(true, classPassword, classMFA)},
		{id: "C27f", name: "a class that nobody has ranked", want: CodeAuthnContext, expect: classes(true, classPassword, classMFA), edit: class("urn:x:better")},
		{id: "C27g", name: "class of another case", want: CodeAuthnContext, expect: classes(false, classMFA), edit: class("https://REFEDS.org/profile/mfa")},
		{id: "C27h", name: "class with more behind it", want: CodeAuthnContext, expect: classes(false, classMFA), edit: class(classMFA + "/no")},
		{id: "C27i", name: "class in lines", expect: classes(false, classMFA), edit: class("\n  " + classMFA + "\n")},
		{id: "C27j", name: "no class", want: CodeAuthnContext, expect: classes(false, classMFA), edit: without(".//AuthnContextClassRef")},
		{id: "C27k", name: "a declaration in place of a class", want: CodeAuthnContext, expect: classes(false, classMFA), edit: func(t testing.TB, m *message) {
			without(".//AuthnContextClassRef")(t, m)
			appendXML(t, m.find("AuthnContext"), `<saml:AuthnContextDeclRef xmlns:saml="`+nsAssertion+`">`+classMFA+`</saml:AuthnContextDeclRef>`)
		}},
		{id: "C27l", name: "weaker than is always asked for", want: CodeAuthnContext, config: always(classMFA)},
		{id: "C27m", name: "what is always asked for", config: always(classPassword)},
		{id: "C27n", name: "a sign-on asks for more than always", want: CodeAuthnContext, expect: classes(false, classMFA), config: always(classPassword)},
		{id: "C27o", name: "a sign-on asks for something else than always", expect: classes(false, classPassword), config: always(classMFA)},
	}
}

func domains() []attack {
	mail := `.//Attribute[@Name='mail']/AttributeValue`
	only := func(domains ...string) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.UserDomains = domains }
	}
	byNameID := func(domains ...string) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, cfg *Config, _ *testIdP) {
			cfg.UserDomains, cfg.Attributes.User = domains, []string{NameIDAttribute}
		}
	}
	return []attack{
		{id: "C40", name: "user of the identity provider's own domain", config: only("example.org", "example.com")},
		{id: "C40b", name: "user of another domain", want: CodeDomain, config: only("example.org")},
		{id: "C40c", name: "user of a domain that ends the same", want: CodeDomain, config: only("example.com"), edit: setText(mail, "alice@notexample.com")},
		{id: "C40d", name: "user of a subdomain", want: CodeDomain, config: only("example.com"), edit: setText(mail, "alice@dev.example.com")},
		{id: "C40e", name: "user of a domain that goes on", want: CodeDomain, config: only("example.com"), edit: setText(mail, "alice@example.com.evil.test")},
		{id: "C40f", name: "domain in capitals", config: only("example.com"), edit: setText(mail, "alice@EXAMPLE.Com")},
		{id: "C40g", name: "letter that folds to another", want: CodeDomain, config: only("kelvin.test"), edit: setText(mail, "alice@\u212aelvin.test")},
		{id: "C40h", name: "user without a domain", want: CodeDomain, config: only("example.com"), edit: func(t testing.TB, m *message) {
			without(`.//Attribute[@Name='mail']`)(t, m)
			setText(".//NameID", "alice")(t, m)
		}},
		{id: "C40i", name: "e-mail address of another domain", want: CodeDomain, config: byNameID("example.com"), edit: setText(mail, "alice@evil.test")},
		{id: "C40j", name: "no e-mail address", config: byNameID("example.com"), edit: without(`.//Attribute[@Name='mail']`)},
		{id: "C40k", name: "domain with a dot behind it", want: CodeDomain, config: only("example.com"), edit: setText(mail, "alice@example.com.")},
	}
}
