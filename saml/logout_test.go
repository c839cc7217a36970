package saml

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

// attribute sets an attribute of the root, or takes it away if it is empty.
func attribute(name, value string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) {
		m.root.RemoveAttr(name)
		if value != "" {
			m.root.CreateAttr(name, value)
		}
	}
}

// instead puts a text in place of an element's.
func instead(tag, value string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) { m.find(tag).SetText(value) }
}

func extra(xml string) func(testing.TB, *message) {
	return func(t testing.TB, m *message) { appendXML(t, m.root, xml) }
}

const (
	ofProtocol  = ` xmlns:samlp="` + nsProtocol + `"`
	ofAssertion = ` xmlns:saml="` + nsAssertion + `"`
)

// logoutCorpus are the cases that both bindings have in common. Letters as in
// [attack]; F is for logout.
func logoutCorpus() []logoutCase {
	return slices.Concat(wellBehavedLogouts(), logoutOccasions(), logoutContents(), logoutAnswers())
}

func wellBehavedLogouts() []logoutCase {
	return []logoutCase{
		{id: "P1", name: "RSA with SHA-256"},
		{id: "P2", name: "RSA with SHA-384", idp: func(_ *testing.T, idp *testIdP) { idp.method = dsig.RSASHA384SignatureMethod }},
		{id: "P3", name: "RSA with SHA-512", idp: func(_ *testing.T, idp *testIdP) { idp.method = dsig.RSASHA512SignatureMethod }},
		{id: "P4", name: "ECDSA", key: "p256-idp"},
		{id: "P5", name: "no end", edit: attribute("NotOnOrAfter", "")},
		{id: "P6", name: "no session index: all sessions", edit: func(_ testing.TB, m *message) { m.root.RemoveChild(m.find("SessionIndex")) },
			demand: func(t *testing.T, r LogoutRequest) {
				if r.SessionIndexes != nil {
					t.Errorf("session indexes %q", r.SessionIndexes)
				}
			}},
		{id: "P7", name: "as many session indexes as there may be",
			edit: func(t testing.TB, m *message) {
				for range maxSessionIndexes - 1 {
					appendXML(t, m.root, `<samlp:SessionIndex`+ofProtocol+`>`+strings.Repeat("s", maxTextLength)+`</samlp:SessionIndex>`)
				}
			},
			demand: func(t *testing.T, r LogoutRequest) {
				if len(r.SessionIndexes) != maxSessionIndexes {
					t.Errorf("%d session indexes", len(r.SessionIndexes))
				}
			}},
		{id: "P8", name: "an extension", edit: func(t testing.TB, m *message) {
			m.root.InsertChildAt(1, fragment(t, `<samlp:Extensions`+ofProtocol+`><x:Asynchronous xmlns:x="urn:oasis:names:tc:SAML:2.0:protocol:ext:async-slo"/></samlp:Extensions>`))
		}},
		{id: "P9", name: "issuer with its format", edit: func(_ testing.TB, m *message) { m.find("Issuer").CreateAttr("Format", formatEntity) }},
		{id: "P10", name: "NameID without qualifiers", edit: func(_ testing.TB, m *message) { m.find("NameID").Attr = nil },
			demand: func(t *testing.T, r LogoutRequest) {
				if diff := cmp.Diff(Subject{NameID: "alice-4711"}, r.Subject); diff != "" {
					t.Error(diff)
				}
			}},
		{id: "P11", name: "consent", edit: attribute("Consent", "urn:oasis:names:tc:SAML:2.0:consent:unspecified")},
	}
}

func logoutOccasions() []logoutCase {
	// The metadata is still good when it is read, and ends before it is used.
	metadataEnds := func(cfg *Config) {
		cfg.IdPMetadata = []byte(strings.Replace(string(cfg.IdPMetadata), " entityID=", ` validUntil="2026-11-22T12:30:00Z" entityID=`, 1))
		then, reads := cfg.Now, 0
		cfg.Now = func() time.Time {
			if reads++; reads == 1 {
				return testNow
			}
			return then()
		}
	}
	return []logoutCase{
		{id: "F3", name: "issued ten years ago", edit: attribute("IssueInstant", "2016-11-22T12:00:00Z"), want: CodeExpired},
		{id: "F3b", name: "at the greatest age", clock: maxLogoutAge + testSkew, edit: attribute("NotOnOrAfter", "")},
		{id: "F3c", name: "older than that", clock: maxLogoutAge + testSkew + 1, edit: attribute("NotOnOrAfter", ""), want: CodeExpired},
		{id: "F3d", name: "issued in the future by the skew", clock: -testSkew},
		{id: "F3e", name: "issued later than that", clock: -testSkew - 1, want: CodeNotYetValid},
		{id: "F3f", name: "just before its end", clock: 4 * time.Minute, edit: attribute("NotOnOrAfter", "2026-11-22T12:01:01Z")},
		{id: "F3g", name: "at its end", clock: 4 * time.Minute, edit: attribute("NotOnOrAfter", "2026-11-22T12:01:00Z"), want: CodeExpired},
		{id: "F3h", name: "an end that cannot be read", edit: attribute("NotOnOrAfter", "soon"), want: CodeInstant},
		{id: "F3i", name: "an end without a zone", edit: attribute("NotOnOrAfter", "2026-11-22T12:05:00"), want: CodeInstant},
		{id: "F3j", name: "no instant", edit: attribute("IssueInstant", ""), want: CodeMissing},
		{id: "F3k", name: "metadata past its end", clock: time.Hour, config: metadataEnds, want: CodeIdPMetadataExpired},
		{id: "C30", name: "for another address of ours", edit: attribute("Destination", testACS), want: CodeDestination},
		{id: "C31", name: "for nowhere", edit: attribute("Destination", ""), want: CodeDestination},
		{id: "C32", name: "for almost our address", edit: attribute("Destination", testSLO+"/"), want: CodeDestination},
		{id: "C33", name: "for our address in other letters", edit: attribute("Destination", strings.Replace(testSLO, "door", "DOOR", 1)), want: CodeDestination},
		{id: "C34", name: "we take no logout messages", config: func(cfg *Config) { cfg.SLOURL = "" }, want: CodeDestination},
		{id: "C35", name: "we take none, and it is for nowhere", config: func(cfg *Config) { cfg.SLOURL = "" }, edit: attribute("Destination", ""), want: CodeDestination},
		{id: "C36", name: "by another identity provider", edit: instead("Issuer", "https://other.example.test/metadata"), want: CodeIssuer},
		{id: "C37", name: "by almost this one", edit: instead("Issuer", testIdPID+" "), want: CodeIssuer},
		{id: "C38", name: "by nobody", edit: func(_ testing.TB, m *message) { m.root.RemoveChild(m.find("Issuer")) }, want: CodeMissing},
		{id: "C39", name: "by somebody who is no entity", edit: func(_ testing.TB, m *message) {
			m.find("Issuer").CreateAttr("Format", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress")
		}, want: CodeIssuer},
		{id: "B30", name: "signed by somebody else", idp: func(t *testing.T, idp *testIdP) { *idp = *newTestIdP(t, "rsa-other"); idp.noKeyInfo = true }, want: CodeSignature},
		{id: "B31", name: "certificate has ended", clock: 200 * 24 * time.Hour, want: CodeIdPCertificate},
	}
}

func logoutContents() []logoutCase {
	return []logoutCase{
		{id: "A20", name: "assertion as the root", doc: testAssertion(), want: CodeRoot},
		{id: "A20b", name: "response to a sign-on", doc: testResponse, want: CodeRoot},
		{id: "A20c", name: "authentication request", doc: strings.Replace(strings.Replace(testLogoutRequest, "<samlp:LogoutRequest", "<samlp:AuthnRequest", 1), "</samlp:LogoutRequest", "</samlp:AuthnRequest", 1), want: CodeRoot},
		{id: "A20d", name: "logout request of another namespace", edit: func(_ testing.TB, m *message) {
			m.root.CreateAttr("xmlns:samlp", "urn:oasis:names:tc:SAML:1.0:protocol")
		}, want: CodeRoot},
		{id: "A21", name: "other version", edit: attribute("Version", "1.1"), want: CodeVersion},
		{id: "A22", name: "no ID", edit: attribute("ID", ""), want: CodeID},
		{id: "A23", name: "an ID that is no name", edit: attribute("ID", "7"), want: CodeID},
		{id: "A24", name: "an ID twice", edit: func(_ testing.TB, m *message) { m.find("NameID").CreateAttr("ID", "_logout") }, want: CodeID},
		{id: "C40", name: "no NameID", edit: func(_ testing.TB, m *message) { m.root.RemoveChild(m.find("NameID")) }, want: CodeMissing},
		{id: "C41", name: "two NameIDs", edit: extra(`<saml:NameID` + ofAssertion + `>bob</saml:NameID>`), want: CodeDuplicate},
		{id: "C42", name: "empty NameID", edit: instead("NameID", ""), want: CodeValue},
		{id: "C43", name: "blank around the NameID", edit: instead("NameID", " alice-4711"), want: CodeValue},
		{id: "C44", name: "invisible character in the NameID", edit: instead("NameID", "alice\u200b-4711"), want: CodeValue},
		{id: "C45", name: "long NameID", edit: instead("NameID", strings.Repeat("a", maxTextLength+1)), want: CodeValue},
		{id: "C46", name: "element in the NameID", edit: func(t testing.TB, m *message) { appendXML(t, m.find("NameID"), `<x/>`) }, want: CodeText},
		{id: "C47", name: "invisible character in a qualifier", edit: func(_ testing.TB, m *message) { m.find("NameID").CreateAttr("SPNameQualifier", "a\u202eb") }, want: CodeValue},
		{id: "C48", name: "encrypted NameID", edit: func(t testing.TB, m *message) {
			m.root.RemoveChild(m.find("NameID"))
			appendXML(t, m.root, `<saml:EncryptedID`+ofAssertion+`/>`)
		}, want: CodeEncrypted},
		{id: "C49", name: "encrypted NameID beside the plain one", edit: extra(`<saml:EncryptedID` + ofAssertion + `/>`), want: CodeEncrypted},
		{id: "C50", name: "BaseID", edit: extra(`<saml:BaseID` + ofAssertion + `/>`), want: CodeElement},
		{id: "C51", name: "empty session index", edit: instead("SessionIndex", ""), want: CodeValue},
		{id: "C52", name: "long session index", edit: instead("SessionIndex", strings.Repeat("s", maxTextLength+1)), want: CodeValue},
		{id: "C53", name: "too many session indexes", edit: func(t testing.TB, m *message) {
			for range maxSessionIndexes {
				appendXML(t, m.root, `<samlp:SessionIndex`+ofProtocol+`>s</samlp:SessionIndex>`)
			}
		}, want: CodeXMLLimit},
		{id: "C54", name: "assertion in it", edit: extra(`<saml:Assertion` + ofAssertion + `/>`), want: CodeAssertions},
		{id: "C55", name: "message in an extension", edit: extra(`<samlp:Extensions` + ofProtocol + `><x xmlns="urn:x"><samlp:LogoutRequest/></x></samlp:Extensions>`), want: CodeElement},
		{id: "C56", name: "text between the elements", edit: func(_ testing.TB, m *message) { m.root.CreateText("text") }, want: CodeText},
		{id: "C57", name: "imitation of an attribute", edit: func(_ testing.TB, m *message) {
			m.root.CreateAttr("xmlns:x", "urn:x")
			m.root.CreateAttr("x:NotOnOrAfter", "2030-01-01T00:00:00Z")
		}, want: CodeAttribute},
		{id: "C58", name: "issuer is not the first element", edit: func(_ testing.TB, m *message) { m.root.AddChild(m.root.RemoveChild(m.find("Issuer"))) }, want: CodeElement},
		{id: "E30", name: "comment in the NameID", edit: func(_ testing.TB, m *message) { m.find("NameID").CreateComment("x") }, want: CodeComment},
		{id: "E31", name: "document type", edit: func(_ testing.TB, m *message) { m.doc.InsertChildAt(0, directive("DOCTYPE x")) }, want: CodeDoctype},
		{id: "E32", name: "too many elements", edit: func(t testing.TB, m *message) {
			ext := appendXML(t, m.root, `<samlp:Extensions`+ofProtocol+`/>`)
			for range logoutLimits().elements {
				ext.CreateElement("x")
			}
		}, want: CodeXMLLimit},
	}
}

func logoutAnswers() []logoutCase {
	responder := strings.Replace(testLogoutResponse, statusSuccess, statusResponder, 1)
	nested := func(top, second string) string {
		return strings.Replace(testLogoutResponse, `<samlp:StatusCode Value="`+statusSuccess+`"/>`,
			`<samlp:StatusCode Value="`+top+`"><samlp:StatusCode Value="`+second+`"/></samlp:StatusCode><samlp:StatusMessage>why</samlp:StatusMessage>`, 1)
	}
	says := func(want LogoutResponse) func(*testing.T, LogoutResponse) {
		return func(t *testing.T, got LogoutResponse) {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		}
	}
	none, other := "", "_other"
	return []logoutCase{
		{id: "R1", name: "success", doc: testLogoutResponse, response: says(LogoutResponse{})},
		{id: "R2", name: "ECDSA", doc: testLogoutResponse, key: "p256-idp"},
		{id: "R3", name: "partial", doc: nested(statusSuccess, statusPartialLogout), response: says(LogoutResponse{Partial: true, Status: `"` + statusSuccess + `", "` + statusPartialLogout + `", message "why"`})},
		{id: "R4", name: "failed", doc: responder, response: says(LogoutResponse{Failed: true, Status: `"` + statusResponder + `", "", message ""`})},
		{id: "R5", name: "failed in part", doc: nested(statusResponder, statusPartialLogout), response: says(LogoutResponse{Failed: true, Partial: true, Status: `"` + statusResponder + `", "` + statusPartialLogout + `", message "why"`})},
		{id: "R6", name: "partial at the top", doc: strings.Replace(testLogoutResponse, statusSuccess, statusPartialLogout, 1), response: says(LogoutResponse{Failed: true, Partial: true, Status: `"` + statusPartialLogout + `", "", message ""`})},
		{id: "F1b", name: "answers another request", doc: testLogoutResponse, request: &other, want: CodeInResponseTo},
		{id: "F1c", name: "answers nothing", doc: testLogoutResponse, edit: attribute("InResponseTo", ""), want: CodeInResponseTo},
		{id: "F1d", name: "this browser has begun no logout", doc: testLogoutResponse, request: &none, want: CodeInResponseTo},
		{id: "F1e", name: "neither of them has", doc: testLogoutResponse, request: &none, edit: attribute("InResponseTo", ""), want: CodeInResponseTo},
		{id: "F1f", name: "no status", doc: testLogoutResponse, edit: func(_ testing.TB, m *message) { m.root.RemoveChild(m.find("Status")) }, want: CodeMissing},
		{id: "F1g", name: "two statuses", doc: testLogoutResponse, edit: func(_ testing.TB, m *message) { m.root.AddChild(m.find("Status").Copy()) }, want: CodeDuplicate},
		{id: "F1h", name: "old", doc: testLogoutResponse, clock: 9 * time.Minute, want: CodeExpired},
		{id: "F1i", name: "for another address", doc: testLogoutResponse, edit: attribute("Destination", testACS), want: CodeDestination},
		{id: "F1j", name: "by another identity provider", doc: testLogoutResponse, edit: instead("Issuer", "https://other.example.test/metadata"), want: CodeIssuer},
		{id: "F1k", name: "with a NameID", doc: testLogoutResponse, edit: extra(`<saml:NameID` + ofAssertion + `>alice</saml:NameID>`), want: CodeElement},
	}
}

// testAssertion is the assertion of a response, by itself.
func testAssertion() string {
	_, rest, _ := strings.Cut(testResponse, "<saml:Assertion")
	assertion, _, _ := strings.Cut(rest, "</samlp:Response>")
	return "<saml:Assertion" + assertion
}

func TestLogoutCorpus(t *testing.T) {
	for _, c := range logoutCorpus() {
		for binding, send := range map[string]sending{"redirect": logoutCase.byRedirect, "post": logoutCase.byPost} {
			t.Run(c.id+" "+c.name+" by "+binding, func(t *testing.T) {
				t.Parallel()
				idp, sp, request := c.scene(t)
				trace := &Trace{}
				got, demand, response := leave(t, sp, send(c, t, idp), request, trace)
				if got != c.want {
					t.Fatalf("code %q, want %q", got, c.want)
				}
				if (demand != nil || response != nil) != (c.want == "") {
					t.Fatalf("request %v and response %v with code %q", demand, response, got)
				}
				checkLogoutTrace(t, *trace, got)
				if c.demand != nil {
					c.demand(t, *demand)
				}
				if c.response != nil {
					c.response(t, *response)
				}
			})
		}
	}
}

func TestLogoutCorpusHasEachIDOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range logoutCorpus() {
		if seen[c.id] {
			t.Errorf("two cases %s", c.id)
		}
		seen[c.id] = true
	}
	if len(seen) < 80 {
		t.Errorf("%d cases, some got lost", len(seen))
	}
}

// checkLogoutTrace holds a trace to what there always is: all checks passed, or only the
// last failed; and nothing of a person.
func checkLogoutTrace(t *testing.T, trace Trace, code string) {
	t.Helper()
	for i, check := range trace.Checks {
		last := i == len(trace.Checks)-1
		if (check.Code != "") != (last && code != "") || (last && check.Code != code) {
			t.Errorf("check %d, %q, has the code %q, and the message %q", i, check.Name, check.Code, code)
		}
		if check.Want == "" || len(check.Want) > maxTraced || len(check.Got) > maxTraced {
			t.Errorf("check %q wants %q and got %q", check.Name, check.Want, check.Got)
		}
		for _, secret := range []string{"alice", "_session"} {
			if strings.Contains(check.Got+check.Want, secret) {
				t.Errorf("the check of the %s shows %q", check.Name, check.Got)
			}
		}
	}
}

func TestLogoutRequestIsWhatWasSigned(t *testing.T) {
	for binding, send := range map[string]sending{"redirect": logoutCase.byRedirect, "post": logoutCase.byPost} {
		c := logoutCase{clock: time.Minute}
		idp, sp, _ := c.scene(t)
		trace := &Trace{}
		code, got, _ := leave(t, sp, send(c, t, idp), "", trace)
		if code != "" {
			t.Fatal(code)
		}
		if diff := cmp.Diff(aliceLeaves(), *got); diff != "" {
			t.Errorf("request by %s (-want +got):\n%s", binding, diff)
		}
		want := Trace{
			Message: "LogoutRequest", ID: "_logout", Issued: testNow, Received: testNow.Add(time.Minute), Certificate: fingerprint(idp.cert.Raw),
			Checks: []Check{
				{Name: "metadata", Want: "metadata of " + testIdPID + " in force"},
				{Name: "root", Want: "a SAML 2.0 LogoutRequest"},
				{Name: "structure", Want: "one plain message, every ID once"},
				{Name: "version", Want: "version 2.0, with ID, IssueInstant and Issuer"},
				{Name: "signature", Want: "the " + map[string]string{"redirect": "query", "post": "message"}[binding] + " signed by a key of the metadata", Got: "SHA256-RSA"},
				{Name: "issuer", Want: testIdPID, Got: testIdPID},
				{Name: "destination", Want: testSLO, Got: testSLO},
				{Name: "age", Want: "2026-11-22T12:01:00Z, at most 5m0s ago", Got: "2026-11-22T12:00:00Z"},
				{Name: "end", Want: "none, or later than 2026-11-22T12:01:00Z", Got: "2026-11-22T12:05:00Z"},
				{Name: "name", Want: "a NameID that can be shown"},
				{Name: "sessions", Want: "session indexes that can be shown, or none for all", Got: "1 of them"},
				{Name: "replay", Want: "a message that was not used before", Got: "ID _logout"},
			},
		}
		if diff := cmp.Diff(want, *trace); diff != "" {
			t.Errorf("trace by %s (-want +got):\n%s", binding, diff)
		}
		if offset := trace.ClockOffset(); offset != -time.Minute {
			t.Errorf("clock offset %s", offset)
		}
	}
}
