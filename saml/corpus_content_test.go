package saml

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const otherAudience = `<saml:AudienceRestriction xmlns:saml="` + nsAssertion + `"><saml:Audience>https://other.example.test/</saml:Audience></saml:AudienceRestriction>`

// attr sets an attribute of the first element of that name before signing.
func attr(tag, key, value string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) { m.find(tag).CreateAttr(key, value) }
}

func noAttr(tag, key string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) { m.find(tag).RemoveAttr(key) }
}

func without(path string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) { detach(m.root.FindElement(path)) }
}

// again puts a copy of an element behind itself.
func again(path string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) {
		el := m.root.FindElement(path)
		el.Parent().InsertChildAt(el.Index(), el.Copy())
	}
}

func inside(path, xml string) func(testing.TB, *message) {
	return func(t testing.TB, m *message) { appendXML(t, m.root.FindElement(path), xml) }
}

func setText(path, s string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) { m.root.FindElement(path).SetText(s) }
}

func inAssertion(name string) string { return `<saml:` + name + ` xmlns:saml="` + nsAssertion + `"/>` }

// contents are assertions that are not for us, or not of the profile.
func contents() []attack {
	return []attack{
		{id: "C1", name: "audience of another service", want: CodeAudience, edit: setText(".//Audience", "https://other.example.test/")},
		{id: "C2", name: "no audience restriction", want: CodeAudience, edit: without(".//AudienceRestriction")},
		{id: "C3", name: "two restrictions, one without us", want: CodeAudience, edit: inside(".//Conditions", otherAudience)},
		{id: "C3b", name: "audience with blanks", want: CodeAudience, edit: setText(".//Audience", " "+testEntityID+" ")},
		{id: "C3c", name: "restriction without an audience", want: CodeMissing, edit: without(".//Audience")},
		{id: "C3d", name: "two audiences in one restriction, one is ours", edit: inside(".//AudienceRestriction", `<saml:Audience xmlns:saml="`+nsAssertion+`">x:y</saml:Audience>`)},
		{id: "C4", name: "wrong recipient", want: CodeRecipient, edit: attr("SubjectConfirmationData", "Recipient", "https://other.example.test/acs")},
		{id: "C4b", name: "no recipient", want: CodeRecipient, edit: noAttr("SubjectConfirmationData", "Recipient")},
		{id: "C4c", name: "recipient of another case", want: CodeRecipient, edit: attr("SubjectConfirmationData", "Recipient", strings.ToUpper(testACS))},
		{id: "C5", name: "wrong destination", want: CodeDestination, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("Destination", "https://other.example.test/acs") }},
		{id: "C6", name: "signed response without a destination", sign: signResponse, want: CodeDestination, edit: func(_ testing.TB, m *message) { m.root.RemoveAttr("Destination") }},
		{id: "C18", name: "assertion of version 1.1", want: CodeVersion, edit: attr("Assertion", "Version", "1.1")},
		{id: "C18b", name: "assertion without a version", want: CodeVersion, edit: noAttr("Assertion", "Version")},
		{id: "C18c", name: "response of version 1.1", want: CodeVersion, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("Version", "1.1") }},
		{id: "C19", name: "two subjects", want: CodeDuplicate, edit: again(".//Subject")},
		{id: "C19b", name: "two NameIDs", want: CodeDuplicate, edit: again(".//NameID")},
		{id: "C19c", name: "two conditions", want: CodeConditions, edit: again(".//Conditions")},
		{id: "C19d", name: "two issuers of the assertion", want: CodeDuplicate, edit: again("./Assertion/Issuer")},
		{id: "C19e", name: "two issuers of the response", want: CodeDuplicate, edit: again("./Issuer")},
		{id: "C19f", name: "two attribute statements", want: CodeDuplicate, edit: again(".//AttributeStatement")},
		{id: "C19g", name: "no subject", want: CodeMissing, edit: without(".//Subject")},
		{id: "C20", name: "two confirmations", want: CodeDuplicate, edit: again(".//SubjectConfirmation")},
		{id: "C20b", name: "two confirmation data", want: CodeSubjectConfirmation, edit: again(".//SubjectConfirmationData")},
		{id: "C21", name: "holder of key", want: CodeSubjectConfirmation, edit: attr("SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")},
		{id: "C21b", name: "sender vouches, without data", want: CodeSubjectConfirmation, edit: without(".//SubjectConfirmationData")},
		{id: "C21c", name: "confirmation without an end", want: CodeSubjectConfirmation, edit: noAttr("SubjectConfirmationData", "NotOnOrAfter")},
		{id: "C21d", name: "no confirmation", want: CodeMissing, edit: without(".//SubjectConfirmation")},
		{id: "C22", name: "confirmation with a NotBefore", want: CodeSubjectConfirmation, edit: attr("SubjectConfirmationData", "NotBefore", "2026-11-22T11:00:00Z")},
		{id: "C22b", name: "confirmation with an address", edit: attr("SubjectConfirmationData", "Address", "192.0.2.1")},
		{id: "C23", name: "unknown condition", want: CodeConditions, edit: inside(".//Conditions", `<x:Condition xmlns:x="urn:x"/>`)},
		{id: "C23b", name: "ProxyRestriction", want: CodeConditions, edit: inside(".//Conditions", inAssertion("ProxyRestriction"))},
		{id: "C23c", name: "no conditions", want: CodeConditions, edit: without(".//Conditions")},
		{id: "C24", name: "status of failure", want: CodeStatus, edit: attr("StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")},
		{id: "C24b", name: "failure without an assertion", sign: signResponse, want: CodeStatus, edit: func(t testing.TB, m *message) {
			attr("StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Requester")(t, m)
			without("./Assertion")(t, m)
		}},
		{id: "C24c", name: "two statuses", want: CodeDuplicate, edit: again(".//Status")},
		{id: "C24d", name: "no status", want: CodeMissing, edit: without(".//Status")},
		{id: "C24e", name: "success without an assertion", sign: signResponse, want: CodeAssertions, edit: without("./Assertion")},
		{id: "C25", name: "assertion of another issuer", want: CodeIssuer, edit: setText("./Assertion/Issuer", "https://evil.example.test/")},
		{id: "C25b", name: "response of another issuer", want: CodeIssuer, edit: setText("./Issuer", "https://evil.example.test/")},
		{id: "C25c", name: "issuer that is not an entity", want: CodeIssuer, edit: attr("Issuer", "Format", formatTransient)},
		{id: "C25d", name: "response without an issuer", want: CodeIssuer, edit: without("./Issuer")},
		{id: "C25e", name: "assertion without an issuer", sign: signResponse, want: CodeMissing, edit: without("./Assertion/Issuer")},
		{id: "C25f", name: "issuer behind the status", want: CodeElement, edit: func(_ testing.TB, m *message) { m.root.AddChild(detach(m.root.FindElement("./Issuer"))) }},
		{id: "C26", name: "no authentication statement", want: CodeAuthnStatement, edit: without(".//AuthnStatement")},
		{id: "C26b", name: "authentication statement without an instant", want: CodeAuthnStatement, edit: noAttr("AuthnStatement", "AuthnInstant")},
		{id: "C26c", name: "two authentication statements", want: CodeAuthnStatement, edit: again(".//AuthnStatement")},
		{id: "C38", name: "unknown element in the assertion", want: CodeElement, edit: inside("./Assertion", `<x:y xmlns:x="urn:x"/>`)},
		{id: "C38b", name: "authorization decision", want: CodeElement, edit: inside("./Assertion", inAssertion("AuthzDecisionStatement"))},
		{id: "C38c", name: "text between elements", want: CodeText, edit: func(_ testing.TB, m *message) { m.assertion.CreateText("hello") }},
		{id: "C39", name: "InResponseTo imitated in another namespace", want: CodeAttribute, edit: func(_ testing.TB, m *message) {
			data := m.find("SubjectConfirmationData")
			data.CreateAttr("xmlns:x", "urn:x")
			data.CreateAttr("x:InResponseTo", "_other")
		}},
	}
}

// at is an instant relative to testNow, as SAML writes it.
func at(d time.Duration) string { return testNow.Add(d).Format(time.RFC3339) }

// occasions are assertions for us at the wrong time, or that nobody asked for.
// The clock of the tests allows three minutes.
func occasions() []attack {
	empty, other := "", "_of-another-browser"
	short := func(t testing.TB, m *message) { // ends in one minute
		m.find("SubjectConfirmationData").CreateAttr("NotOnOrAfter", at(time.Minute))
	}
	return []attack{
		{id: "C7", name: "answers another request", want: CodeInResponseTo, edit: attr("SubjectConfirmationData", "InResponseTo", "_other")},
		{id: "C7b", name: "answers no request", want: CodeInResponseTo, edit: noAttr("SubjectConfirmationData", "InResponseTo")},
		{id: "C8", name: "the envelope says otherwise", want: CodeInResponseTo, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("InResponseTo", "_other") }},
		{id: "C9", name: "unsolicited", want: CodeInResponseTo, request: &empty},
		{id: "C9b", name: "unsolicited, and says so", want: CodeInResponseTo, request: &empty, edit: noAttr("SubjectConfirmationData", "InResponseTo")},
		{id: "C10", name: "brought by another browser", want: CodeInResponseTo, request: &other},
		{id: "C12", name: "conditions over", want: CodeExpired, edit: attr("Conditions", "NotOnOrAfter", at(-4*time.Minute))},
		{id: "C12b", name: "conditions not begun", want: CodeNotYetValid, edit: attr("Conditions", "NotBefore", at(4*time.Minute))},
		{id: "C12c", name: "conditions begin within the skew", edit: attr("Conditions", "NotBefore", at(178*time.Second))},
		{id: "C12d", name: "conditions begin just behind the skew", want: CodeNotYetValid, edit: attr("Conditions", "NotBefore", at(182*time.Second))},
		{id: "C12e", name: "conditions begin at the edge of the skew", edit: attr("Conditions", "NotBefore", at(180*time.Second))},
		{id: "C13", name: "at the very end, skew included", want: CodeExpired, edit: short, clock: 4 * time.Minute},
		{id: "C13b", name: "conditions at the very end", want: CodeExpired, edit: attr("Conditions", "NotOnOrAfter", at(time.Minute)), clock: 4 * time.Minute},
		{id: "C14", name: "confirmation over for 1 s", edit: short, clock: time.Minute + time.Second},
		{id: "C14b", name: "confirmation over for 178 s", edit: short, clock: time.Minute + 178*time.Second},
		{id: "C14c", name: "confirmation over for 182 s", want: CodeExpired, edit: short, clock: time.Minute + 182*time.Second},
		{id: "C14d", name: "our clock behind by 178 s", clock: -178 * time.Second},
		{id: "C14e", name: "our clock behind by 182 s", want: CodeNotYetValid, clock: -182 * time.Second},
		{id: "C14f", name: "no skew allowed, conditions over", want: CodeExpired, edit: attr("Conditions", "NotOnOrAfter", at(0)),
			config: func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.ClockSkew = 0 }},
		{id: "C16", name: "lifetime of ten years", want: CodeLifetime, edit: attr("SubjectConfirmationData", "NotOnOrAfter", "2036-11-22T12:00:00Z")},
		{id: "C16b", name: "conditions of ten years", want: CodeLifetime, edit: attr("Conditions", "NotOnOrAfter", "2036-11-22T12:00:00Z")},
		{id: "C16c", name: "issued in 2001", want: CodeExpired, edit: attr("Assertion", "IssueInstant", "2001-11-22T12:00:00Z")},
		{id: "C16d", name: "issued in 2099", want: CodeNotYetValid, edit: attr("Assertion", "IssueInstant", "2099-11-22T12:00:00Z")},
		{id: "C16e", name: "not issued at all", want: CodeMissing, edit: noAttr("Assertion", "IssueInstant")},
		{id: "C16f", name: "issued 479 s ago", edit: attr("Assertion", "IssueInstant", at(-479*time.Second))},
		{id: "C16g", name: "issued 481 s ago", want: CodeExpired, edit: attr("Assertion", "IssueInstant", at(-481*time.Second))},
		{id: "C17", name: "instant without a zone", want: CodeInstant, edit: attr("Assertion", "IssueInstant", "2026-11-22T12:00:00")},
		{id: "C17b", name: "instant that is not one", want: CodeInstant, edit: attr("Conditions", "NotBefore", "yesterday")},
		{id: "C17c", name: "response with an instant that is not one", want: CodeInstant, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("IssueInstant", "0") }},
		{id: "C17d", name: "instant in another zone", edit: attr("Conditions", "NotBefore", "2026-11-22T12:59:30+01:00")},
		{id: "C26d", name: "session over", want: CodeSessionExpired, edit: attr("AuthnStatement", "SessionNotOnOrAfter", at(-4*time.Minute))},
		{id: "C26e", name: "authenticated in the future", want: CodeNotYetValid, edit: attr("AuthnStatement", "AuthnInstant", at(time.Hour))},
		{id: "C26f", name: "authenticated too long ago", want: CodeAuthnAge, edit: attr("AuthnStatement", "AuthnInstant", at(-time.Hour)),
			config: func(_ *testing.T, cfg *Config, _ *testIdP) { cfg.MaxAge = 30 * time.Minute }},
		{id: "C26g", name: "authenticated long ago, which does not matter", edit: attr("AuthnStatement", "AuthnInstant", at(-1000*time.Hour))},
	}
}

// identities are genuine assertions about somebody whom we cannot pass on.
func identities() []attack {
	mail := `.//Attribute[@Name='mail']/AttributeValue`
	group := `.//Attribute[@Name='groups']/AttributeValue`
	value := func(s string) string {
		return `<saml:AttributeValue xmlns:saml="` + nsAssertion + `">` + s + `</saml:AttributeValue>`
	}
	attribute := func(name, friendly string, values ...string) string {
		s := `<saml:Attribute xmlns:saml="` + nsAssertion + `" Name="` + name + `" FriendlyName="` + friendly + `">`
		for _, v := range values {
			s += value(v)
		}
		return s + `</saml:Attribute>`
	}
	user := func(want string) func(*testing.T, Principal) {
		return func(t *testing.T, p Principal) {
			if p.User != want {
				t.Errorf("user %q, want %q", p.User, want)
			}
		}
	}
	groups := func(want ...string) func(*testing.T, Principal) {
		return func(t *testing.T, p Principal) {
			if diff := cmp.Diff(want, p.Groups); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		}
	}
	named := func(attribute string) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, c *Config, _ *testIdP) { c.Attributes.User = []string{attribute} }
	}
	scoped := func(attribute string) func(*testing.T, *Config, *testIdP) {
		return func(_ *testing.T, c *Config, _ *testIdP) {
			c.Attributes.User, c.UserDomains = []string{attribute}, []string{"example.com"}
		}
	}
	noMail := without(`.//Attribute[@Name='mail']`)
	statement := ".//AttributeStatement"
	return []attack{
		{id: "C28", name: "no NameID, but a mail", edit: without(".//NameID"), check: user("alice@example.com")},
		{id: "C28b", name: "neither NameID nor mail", want: CodeUser, edit: func(t testing.TB, m *message) { without(".//NameID")(t, m); noMail(t, m) }},
		{id: "C28c", name: "transient NameID and no mail", want: CodeTransient, edit: func(t testing.TB, m *message) {
			attr("NameID", "Format", formatTransient)(t, m)
			noMail(t, m)
		}},
		{id: "C28d", name: "transient NameID beside a mail", edit: attr("NameID", "Format", formatTransient), check: user("alice@example.com")},
		{id: "C28e", name: "NameID stands in for mail", edit: func(t testing.TB, m *message) { setText(".//NameID", "alice")(t, m); noMail(t, m) }, check: user("alice")},
		{id: "C28f", name: "no attributes at all", edit: without(statement), check: user("alice@example.com")},
		{id: "C29", name: "comment in the NameID", want: CodeComment, raw: func(s string) string {
			return strings.Replace(s, ">alice@example.com</saml:NameID>", ">alice@example.com<!-- -->.evil.test</saml:NameID>", 1)
		}},
		{id: "C29b", name: "CDATA in the NameID", want: CodeComment, raw: func(s string) string {
			return strings.Replace(s, ">alice@example.com</saml:NameID>", "><![CDATA[alice@example.com]]></saml:NameID>", 1)
		}},
		{id: "C29c", name: "processing instruction in the NameID", want: CodeXML, raw: func(s string) string {
			return strings.Replace(s, ">alice@example.com</saml:NameID>", ">alice@example.com<?x?>.evil.test</saml:NameID>", 1)
		}},
		{id: "C30", name: "element in the NameID", want: CodeText, edit: inside(".//NameID", `<x:y xmlns:x="urn:x"/>`)},
		{id: "C30b", name: "element in a value", want: CodeText, edit: inside(mail, `<x:y xmlns:x="urn:x"/>`)},
		{id: "C30c", name: "element in the audience", want: CodeText, edit: inside(".//Audience", `<x:y xmlns:x="urn:x"/>`)},
		{id: "C31", name: "line break in the NameID", want: CodeValue, edit: setText(".//NameID", "alice\nX-Admin: 1")},
		{id: "C31b", name: "tab in a group", want: CodeValue, edit: setText(group, "a\tb")},
		{id: "C32", name: "blanks before the mail", want: CodeValue, edit: setText(mail, "  admin@example.com")},
		{id: "C32b", name: "no-break space behind the name", want: CodeValue, edit: setText(`.//Attribute[@Name='displayName']/AttributeValue`, "Alice\u00a0")},
		{id: "C33", name: "bidirectional override", want: CodeValue, edit: setText(mail, "alice\u202e@example.com")},
		{id: "C33b", name: "zero-width space", want: CodeValue, edit: setText(group, "admin\u200bs")},
		{id: "C33c", name: "Hangul filler", want: CodeValue, edit: setText(group, "admins\u3164")},
		{id: "C33d", name: "combining grapheme joiner", want: CodeValue, edit: setText(group, "ad\u034fmins")},
		{id: "C33e", name: "letters of other scripts are letters", edit: setText(group, "инженеры"), check: groups("инженеры", "admins")},
		{id: "C33f", name: "session index with a line break", want: CodeValue, edit: attr("AuthnStatement", "SessionIndex", "a\nb")},
		{id: "C34", name: "two at signs", want: CodeEmail, edit: setText(mail, "admin@corp@evil.test")},
		{id: "C34b", name: "two addresses", want: CodeAmbiguous, edit: inside(`.//Attribute[@Name='mail']`, value("root@example.com"))},
		{id: "C34g", name: "two addresses of somebody with another name", config: named(NameIDAttribute), edit: inside(`.//Attribute[@Name='mail']`, value("root@example.com")), check: func(t *testing.T, p Principal) {
			if p.User != "alice@example.com" || p.Email != "" {
				t.Errorf("user %q, e-mail address %q, want the name alone", p.User, p.Email)
			}
		}},
		{id: "C34h", name: "two addresses, one that cannot be shown", config: named(NameIDAttribute), edit: inside(`.//Attribute[@Name='mail']`, value("root\u202e@example.com")), want: CodeValue},
		{id: "C34i", name: "subject identifier", config: named(subjectID), edit: inside(statement, attribute(subjectID, "", "7f3a=4711@example.org")), check: user("7f3a=4711@example.org")},
		{id: "C34j", name: "pairwise identifier, and no NameID", config: named(pairwiseID), edit: func(t testing.TB, m *message) {
			without(".//NameID")(t, m)
			inside(statement, attribute(pairwiseID, "", "HA2TKNZZGE@example.org"))(t, m)
		}, check: user("HA2TKNZZGE@example.org")},
		{id: "C34k", name: "two subject identifiers", config: named(subjectID), edit: inside(statement, attribute(subjectID, "", "a@example.org", "b@example.org")), want: CodeAmbiguous},
		{id: "C34l", name: "subject identifier of a scope that it may speak for", config: scoped(subjectID), edit: inside(statement, attribute(subjectID, "", "7f3a@Example.COM")), check: user("7f3a@Example.COM")},
		{id: "C34m", name: "subject identifier of another scope", config: scoped(subjectID), edit: inside(statement, attribute(subjectID, "", "7f3a@example.org")), want: CodeDomain},
		{id: "C34n", name: "subject identifier of a scope below", config: scoped(subjectID), edit: inside(statement, attribute(subjectID, "", "7f3a@sub.example.com")), want: CodeDomain},
		{id: "C34o", name: "subject identifier without a scope", config: scoped(subjectID), edit: inside(statement, attribute(subjectID, "", "7f3a")), want: CodeDomain},
		{id: "C34p", name: "pairwise identifier of another scope", config: scoped(pairwiseID), edit: inside(statement, attribute(pairwiseID, "", "7f3a@example.org")), want: CodeDomain},
		{id: "C34c", name: "the same address twice", edit: inside(`.//Attribute[@Name='mail']`, value("alice@example.com")), check: user("alice@example.com")},
		{id: "C34d", name: "mail without an at sign", want: CodeEmail, edit: setText(mail, "alice")},
		{id: "C34e", name: "mail with a comma", want: CodeEmail, edit: setText(mail, "alice,root@example.com")},
		{id: "C34f", name: "mail with a blank inside", want: CodeEmail, edit: setText(mail, "alice root@example.com")},
		{id: "C35", name: "groups in two attributes of one name", edit: inside(statement, attribute("groups", "", "auditors", "admins")), check: groups("engineers", "admins", "auditors")},
		{id: "C35b", name: "group with commas stays one group", edit: setText(group, "CN=Users,DC=example"), check: groups("CN=Users,DC=example", "admins")},
		{id: "C35c", name: "FriendlyName says mail", edit: func(t testing.TB, m *message) {
			noMail(t, m)
			inside(statement, attribute("urn:x", "mail", "root@example.com"))(t, m)
		}, check: func(t *testing.T, p Principal) {
			if p.Email != "" {
				t.Errorf("e-mail %q by its FriendlyName", p.Email)
			}
		}},
		{id: "C35d", name: "first of several names that is present", edit: inside(statement, attribute("memberOf", "", "root")), check: groups("engineers", "admins")},
		{id: "C35e", name: "empty values say nothing", edit: inside(`.//Attribute[@Name='groups']`, value("")), check: groups("engineers", "admins")},
		{id: "C36", name: "value of 257 characters", want: CodeValue, edit: setText(group, strings.Repeat("é", 257))},
		{id: "C36b", name: "value of 256 characters", edit: setText(group, strings.Repeat("é", 256))},
		{id: "C37", name: "1,200 groups", want: CodeTooManyValues, edit: manyGroups(1200)},
		{id: "C37c", name: "groups of 500 bytes, 600 of them", want: CodeTooManyValues, edit: func(t testing.TB, m *message) {
			manyGroups(600)(t, m)
			for _, value := range m.root.FindElements(".//AttributeValue") {
				value.SetText(strings.Repeat("g", 500) + value.Text())
			}
		}},
		{id: "C37d", name: "900 groups", edit: manyGroups(900), check: func(t *testing.T, p Principal) {
			if len(p.Groups) < 900 {
				t.Errorf("%d groups, want all 900", len(p.Groups))
			}
		}},
		{id: "C37b", name: "400 groups", edit: manyGroups(400), check: func(t *testing.T, p Principal) {
			if len(p.Groups) != 402 {
				t.Errorf("%d groups, want 402", len(p.Groups))
			}
		}},
	}
}
