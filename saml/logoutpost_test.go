package saml

import (
	"crypto/elliptic"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

// bobsRequest is what an attacker would like to have signed.
func bobsRequest(t testing.TB) *etree.Element {
	return fragment(t, strings.Replace(strings.Replace(testLogoutRequest, "alice-4711", "bob-1", 1), "_logout", "_evil", 1))
}

func unsigned(_ testing.TB, m *message) { m.root.RemoveChild(m.find("Signature")) }

// postCorpus are the cases of the signature in a message.
func postCorpus() []logoutCase {
	swap := func(path, attr, value string) func(testing.TB, *message) {
		return func(_ testing.TB, m *message) { m.find(path).CreateAttr(attr, value) }
	}
	return []logoutCase{
		{id: "F1", name: "response without a signature", doc: testLogoutResponse, after: unsigned, want: CodeUnsigned},
		{id: "F2", name: "request without a signature", after: unsigned, want: CodeUnsigned},
		{id: "A30", name: "NameID changed", after: instead("NameID", "bob-1"), want: CodeSignature},
		{id: "A31", name: "session index taken away", after: func(_ testing.TB, m *message) { m.root.RemoveChild(m.find("SessionIndex")) }, want: CodeSignature},
		{id: "A32", name: "session index added", after: extra(`<samlp:SessionIndex` + ofProtocol + `>other</samlp:SessionIndex>`), want: CodeSignature},
		{id: "A33", name: "end moved", after: attribute("NotOnOrAfter", "2027-11-22T12:05:00Z"), want: CodeSignature},
		{id: "A34", name: "attribute added", after: attribute("Consent", "x"), want: CodeSignature},
		{id: "A35", name: "signed one wrapped in an extension", after: func(t testing.TB, m *message) {
			evil, signed := bobsRequest(t), m.root
			sig := signed.RemoveChild(m.find("Signature")).(*etree.Element)
			m.doc.SetRoot(evil)
			m.root = evil
			evil.InsertChildAt(1, sig)
			ext := etree.NewElement("samlp:Extensions")
			ext.AddChild(signed)
			evil.InsertChildAt(2, ext)
		}, want: CodeElement},
		{id: "A36", name: "signed one wrapped in the signature", after: func(t testing.TB, m *message) {
			evil, signed := bobsRequest(t), m.root
			sig := signed.RemoveChild(m.find("Signature")).(*etree.Element)
			m.doc.SetRoot(evil)
			m.root = evil
			sig.CreateElement("ds:Object").AddChild(signed)
			evil.InsertChildAt(1, sig)
		}, want: CodeSignatureShape},
		{id: "A37", name: "signature of another request", after: func(t testing.TB, m *message) {
			evil := bobsRequest(t)
			evil.InsertChildAt(1, m.root.RemoveChild(m.find("Signature")).(*etree.Element))
			m.doc.SetRoot(evil)
			m.root = evil
		}, want: CodeSignatureShape},
		{id: "A38", name: "signature of another request with the same ID", after: func(t testing.TB, m *message) {
			evil := bobsRequest(t)
			evil.CreateAttr("ID", "_logout")
			evil.InsertChildAt(1, m.root.RemoveChild(m.find("Signature")).(*etree.Element))
			m.doc.SetRoot(evil)
			m.root = evil
		}, want: CodeSignature},
		{id: "A39", name: "two signatures", after: func(_ testing.TB, m *message) { m.root.InsertChildAt(1, m.find("Signature").Copy()) }, want: CodeDuplicate},
		{id: "A40", name: "signature at the end", after: func(_ testing.TB, m *message) { m.root.AddChild(m.root.RemoveChild(m.find("Signature"))) }, want: CodeSignatureShape},
		{id: "A41", name: "signature in the NameID", after: func(_ testing.TB, m *message) { m.find("NameID").AddChild(m.root.RemoveChild(m.find("Signature"))) }, want: CodeText},
		{id: "A42", name: "reference to the whole document", after: swap("Reference", "URI", ""), want: CodeSignatureShape},
		{id: "A43", name: "second reference", after: func(_ testing.TB, m *message) { m.find("SignedInfo").AddChild(m.find("Reference").Copy()) }, want: CodeSignatureShape},
		{id: "A44", name: "third transform", after: func(t testing.TB, m *message) {
			appendXML(t, m.find("Transforms"), `<ds:Transform xmlns:ds="`+nsDsig+`" Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>`)
		}, want: CodeSignatureShape},
		{id: "B40", name: "SHA-1", idp: func(_ *testing.T, idp *testIdP) { idp.method = dsig.RSASHA1SignatureMethod }, want: CodeAlgorithm},
		{id: "B41", name: "HMAC", after: swap("SignatureMethod", "Algorithm", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"), want: CodeAlgorithm},
		{id: "B42", name: "digest with SHA-1", after: swap("DigestMethod", "Algorithm", "http://www.w3.org/2000/09/xmldsig#sha1"), want: CodeAlgorithm},
		{id: "B43", name: "certificate of somebody else", idp: func(t *testing.T, idp *testIdP) { *idp = *newTestIdP(t, "rsa-other") }, want: CodeUnknownCertificate},
		{id: "B44", name: "key of somebody else under the certificate of ours", idp: func(t *testing.T, idp *testIdP) { idp.key = testKey(t, "rsa-other") }, want: CodeSignature},
		{id: "B45", name: "no KeyInfo", idp: func(_ *testing.T, idp *testIdP) { idp.noKeyInfo = true }},
		{id: "B46", name: "signature in the default namespace", idp: func(_ *testing.T, idp *testIdP) { idp.noPrefix = true }},
		{id: "B47", name: "prefixes of inclusive namespaces", idp: func(_ *testing.T, idp *testIdP) { idp.prefixes = "samlp saml" }},
		{id: "B48", name: "ECDSA as r||s", key: "p256-idp", idp: inPairs},
		{id: "B49", name: "ECDSA as r||s of zeros", key: "p256-idp", idp: inPairs, after: setPair("./Signature", func(_ elliptic.Curve, v []byte) []byte { return make([]byte, len(v)) }), want: CodeSignature},
		{id: "B50", name: "ECDSA as r||s, NameID changed", key: "p256-idp", idp: inPairs, after: instead("NameID", "bob-1"), want: CodeSignature},
		{id: "B51", name: "ECDSA as DER", key: "p256-idp"},
	}
}

func TestLogoutPostSignatures(t *testing.T) {
	for _, c := range postCorpus() {
		t.Run(c.id+" "+c.name, func(t *testing.T) {
			idp, sp, request := c.scene(t)
			trace := &Trace{}
			got, demand, _ := leave(t, sp, c.byPost(t, idp), request, trace)
			if got != c.want {
				t.Fatalf("code %q, want %q", got, c.want)
			}
			checkLogoutTrace(t, *trace, got)
			if demand == nil {
				return
			}
			if diff := cmp.Diff(aliceLeaves(), *demand); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSignatureOfTheOtherBinding: each has its own place, and counts nowhere else.
func TestSignatureOfTheOtherBinding(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	m := logoutCase{}.document(t)
	idp.sign(t, m.root)
	enveloped := string(m.bytes(t))
	query, err := url.ParseQuery(idp.query(t, testLogoutRequest, "state"))
	if err != nil {
		t.Fatal(err)
	}
	query.Set("SAMLRequest", encode([]byte(testLogoutRequest)))
	for name, tt := range map[string]struct {
		leave func() string
		want  string
	}{
		"signed message in an unsigned query": {func() string {
			got, _, _ := leave(t, sp, getRequest("SAMLRequest="+url.QueryEscape(pack(t, enveloped))), "", nil)
			return got
		}, CodeUnsigned},
		"signed message in a signed query": {func() string {
			got, _, _ := leave(t, sp, getRequest(idp.query(t, enveloped, "state")), "", nil)
			return got
		}, CodeSignatureShape},
		"signed message in a query that somebody else signed": {func() string {
			got, _, _ := leave(t, sp, getRequest(newTestIdP(t, "rsa-other").query(t, enveloped, "state")), "", nil)
			return got
		}, CodeSignatureShape},
		"signature of a query in a form": {func() string {
			got, _, _ := leave(t, sp, postRequest(query), "", nil)
			return got
		}, CodeUnsigned},
	} {
		if got := tt.leave(); got != tt.want {
			t.Errorf("%s: code %q, want %q", name, got, tt.want)
		}
	}
}

// TestLogoutIsTakenOnce: by whichever binding it comes the second time (row F3).
func TestLogoutIsTakenOnce(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	for _, c := range []logoutCase{{}, {doc: testLogoutResponse}} {
		for i, want := range []string{"", CodeReplay, CodeReplay, CodeReplay} {
			send := logoutCase.byRedirect
			if i%2 == 1 {
				send = logoutCase.byPost
			}
			if got, _, _ := leave(t, sp, send(c, t, idp), testLogoutID, nil); got != want {
				t.Errorf("time %d: code %q, want %q", i+1, got, want)
			}
		}
	}
}

// TestIDsOfLogoutMessagesAreTheirOwn: an assertion, a request and a response with one
// ID do not keep each other out.
func TestIDsOfLogoutMessagesAreTheirOwn(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	same := attribute("ID", "_assertion")
	for _, c := range []logoutCase{{edit: same}, {doc: testLogoutResponse, edit: same}} {
		if got, _, _ := leave(t, sp, c.byPost(t, idp), testLogoutID, nil); got != "" {
			t.Errorf("logout: code %q", got)
		}
	}
	if _, err := sp.Verify(t.Context(), Post{Response: attack{}.build(t, idp)}, Expectation{RequestID: testRequestID}); err != nil {
		t.Errorf("sign-on: %v", err)
	}
}

func TestRefusedLogoutUsesUpNothing(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := logoutConfig(t, idp)
	memory := &recording{first: true}
	cfg.Replay = memory
	sp := newTestSP(t, cfg)
	for _, c := range append(logoutCorpus(), postCorpus()...) {
		if c.want == "" || c.key != "" || c.idp != nil || c.config != nil || c.clock != 0 || c.request != nil {
			continue
		}
		if got, _, _ := leave(t, sp, c.byPost(t, idp), testLogoutID, nil); got != c.want {
			t.Errorf("%s: code %q, want %q", c.id, got, c.want)
		}
	}
	if len(memory.ids) != 0 {
		t.Errorf("%d messages were remembered that were refused", len(memory.ids))
	}
	memory.first = false
	if got, _, _ := leave(t, sp, logoutCase{}.byPost(t, idp), "", nil); got != CodeReplay || len(memory.ids) != 1 {
		t.Errorf("code %q after %d calls", got, len(memory.ids))
	}
}

func TestLogoutIsRememberedUntilItIsTooOld(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := logoutConfig(t, idp)
	now := testNow.Add(-testSkew)
	cfg.Now = func() time.Time { return now }
	sp := newTestSP(t, cfg)
	forever := logoutCase{edit: attribute("NotOnOrAfter", "")}
	for want := ""; now.Before(testNow.Add(time.Hour)); now = now.Add(10 * time.Second) {
		if now.After(testNow.Add(maxLogoutAge + testSkew)) {
			want = CodeExpired
		}
		if got, _, _ := leave(t, sp, forever.byRedirect(t, idp), "", nil); got != want {
			t.Fatalf("at %s: code %q, want %q", now, got, want)
		}
		if want == "" {
			want = CodeReplay
		}
	}
}

func TestLogoutWithPinnedKey(t *testing.T) {
	c := logoutCase{clock: 200 * 24 * time.Hour, edit: func(_ testing.TB, m *message) {
		m.root.RemoveAttr("NotOnOrAfter")
		m.root.CreateAttr("IssueInstant", testNow.Add(200*24*time.Hour).Format(time.RFC3339))
	}}
	for binding, byPost := range map[string]bool{"redirect": false, "post": true} {
		for _, pinned := range []bool{true, false} {
			c.config = nil
			want := CodeIdPCertificate
			if pinned {
				want = ""
				c.config = func(cfg *Config) { cfg.PinnedKeys = []string{keyHash(newTestIdP(t, "rsa-idp").cert)} }
			}
			idp, sp, _ := c.scene(t)
			r := c.byRedirect(t, idp)
			if byPost {
				r = c.byPost(t, idp)
			}
			if got, _, _ := leave(t, sp, r, "", nil); got != want {
				t.Errorf("pinned %v by %s: code %q, want %q", pinned, binding, got, want)
			}
		}
	}
}

// TestLogoutByTheSecondKey: all signing keys of the metadata count, in a query too,
// which does not name its certificate.
func TestLogoutByTheSecondKey(t *testing.T) {
	first, second := newTestIdP(t, "rsa-idp"), newTestIdP(t, "p256-idp")
	cfg := logoutConfig(t, first)
	cfg.IdPMetadata = testMetadata(first.cert, second.cert)
	sp := newTestSP(t, cfg)
	c := logoutCase{edit: attribute("ID", "_first")}
	for i, r := range []func() (string, *LogoutRequest, *LogoutResponse){
		func() (string, *LogoutRequest, *LogoutResponse) {
			return leave(t, sp, c.byRedirect(t, second), "", nil)
		},
		func() (string, *LogoutRequest, *LogoutResponse) {
			return leave(t, sp, logoutCase{}.byPost(t, second), "", nil)
		},
	} {
		if got, _, _ := r(); got != "" {
			t.Errorf("message %d: code %q", i+1, got)
		}
	}
}

// TestLogoutMessagesSignNobodyOn: genuine ones, at the door for sign-ons (row A20),
// and a genuine sign-on at the door for logout.
func TestLogoutMessagesSignNobodyOn(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	for _, doc := range []string{testLogoutRequest, testLogoutResponse} {
		m := newMessage(t, doc)
		idp.sign(t, m.root)
		if _, err := sp.Verify(t.Context(), Post{Response: encode(m.bytes(t))}, Expectation{RequestID: testLogoutID}); codeOf(t, err) != CodeRoot {
			t.Errorf("%s: %v, want %s", m.root.Tag, err, CodeRoot)
		}
	}
	response := attack{sign: signBoth}.build(t, idp)
	if got, _, _ := leave(t, sp, postRequest(url.Values{"SAMLResponse": {response}}), testRequestID, nil); got != CodeRoot {
		t.Errorf("sign-on at the door for logout: code %q, want %s", got, CodeRoot)
	}
}

func TestLogoutMessageOfTheOtherKind(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	request, err := ReadLogout(httptest.NewRecorder(), logoutCase{}.byPost(t, idp))
	if err != nil {
		t.Fatal(err)
	}
	response, err := ReadLogout(httptest.NewRecorder(), logoutCase{doc: testLogoutResponse}.byPost(t, idp))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sp.VerifyLogoutRequest(t.Context(), response, nil); codeOf(t, err) != CodeRoot {
		t.Errorf("response as a request: %v", err)
	}
	if _, err := sp.VerifyLogoutResponse(t.Context(), request, testLogoutID, nil); codeOf(t, err) != CodeRoot {
		t.Errorf("request as a response: %v", err)
	}
	if _, err := sp.VerifyLogoutResponse(t.Context(), LogoutMessage{}, testLogoutID, nil); codeOf(t, err) == "" {
		t.Error("the zero message was taken")
	}
	if _, err := sp.VerifyLogoutRequest(t.Context(), LogoutMessage{IsRequest: true}, nil); codeOf(t, err) == "" {
		t.Error("the zero request was taken")
	}
}

func TestLogoutWaitsForItsTurn(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	for range cap(sp.limiter.slots) {
		if err := sp.limiter.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m, err := ReadLogout(httptest.NewRecorder(), logoutCase{}.byPost(t, idp))
	if err != nil {
		t.Fatal(err)
	}
	for range maxWaiting {
		sp.limiter.waiting.Add(1)
	}
	trace := &Trace{}
	if _, err := sp.VerifyLogoutRequest(t.Context(), m, trace); codeOf(t, err) != CodeBusy {
		t.Errorf("%v, want busy", err)
	}
	if len(trace.Checks) != 1 || trace.Checks[0].Code != CodeBusy || trace.Message != "LogoutRequest" {
		t.Errorf("trace %+v", trace)
	}
	sp.limiter.release()
	for range 3 { // each gives its slot back, refused or not
		if _, err := sp.VerifyLogoutRequest(t.Context(), m, nil); err != nil && codeOf(t, err) != CodeReplay {
			t.Error(err)
		}
	}
}

// TestPanicInALogoutCheckIsARefusal: and is the last entry of the trace.
func TestPanicInALogoutCheckIsARefusal(t *testing.T) {
	trace := &Trace{}
	err := runSteps(&logoutJudgement{trace: trace}, []logoutPhase{{steps: []logoutStep{
		{name: "first", run: func(*logoutJudgement) error { return nil }},
		{name: "second", run: func(*logoutJudgement) error { panic("alas") }},
	}}})
	if codeOf(t, err) != CodeInternal || len(trace.Checks) != 2 || trace.Checks[1].Name != "second" || trace.Checks[1].Code != CodeInternal {
		t.Errorf("%v, %+v", err, trace.Checks)
	}
}
