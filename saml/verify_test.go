package saml

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/beevik/etree"
	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

func TestLibraryRefusal(t *testing.T) {
	for want, errs := range map[string][]error{
		CodeSignature:           {dsig.ErrMissingSignature, errors.New("Signature could not be verified")},
		CodeTooManyValues:       {etreeutils.ErrTraversalLimit, errors.New("hidden: " + etreeutils.ErrTraversalLimit.Error())},
		CodeDestination:         {saml2.ErrInvalidValue{Key: saml2.DestinationAttr}},
		CodeIssuer:              {saml2.ErrInvalidValue{Key: saml2.IssuerTag}, saml2.ErrMissingElement{Tag: saml2.IssuerTag}},
		CodeRecipient:           {saml2.ErrInvalidValue{Key: saml2.RecipientAttr}},
		CodeExpired:             {saml2.ErrInvalidValue{Key: saml2.NotOnOrAfterAttr}},
		CodeSubjectConfirmation: {saml2.ErrInvalidValue{Key: saml2.SubjectConfirmationTag}, saml2.ErrMissingElement{Tag: saml2.SubjectConfirmationDataTag}},
		CodeInternal:            {saml2.ErrInvalidValue{Key: "SAML version"}, saml2.ErrMissingElement{Tag: saml2.AssertionTag}},
	} {
		for _, err := range errs {
			if got := libraryRefusal(err); got.Code != want {
				t.Errorf("%v: code %q, want %q", err, got.Code, want)
			}
		}
	}
}

func TestRefusalsAreBoundedAndEscaped(t *testing.T) {
	hostile := strings.Repeat("a\n\x1b[2J", 10_000)
	for _, err := range []error{
		libraryRefusal(saml2.ErrInvalidValue{Key: saml2.IssuerTag, Actual: hostile}),
		checkValue(hostile),
		checkContentType(map[string][]string{"Content-Type": {hostile}}),
		checkStream([]byte("<a>&"+strings.Repeat("x\u009b2J\u202e", 1000)+";</a>"), responseLimits()),
		checkStream([]byte("<"+strings.Repeat("x\u009b2J\u202e", 1000)+"/>"), responseLimits()),
	} {
		if s := err.Error(); len(s) > 2000 || strings.ContainsAny(s, "\n\x1b\u009b\u202e") {
			t.Errorf("%d bytes: %.200q", len(s), s)
		}
	}
}

func TestPanicOfTheLibraryIsARefusal(t *testing.T) {
	signed := etree.NewElement("saml:Assertion")
	signed.CreateAttr("xmlns:saml", nsAssertion)
	signed.CreateElement("ds:Signature").CreateAttr("xmlns:ds", nsDsig)
	for name, j := range map[string]*judgement{
		"as it arrived":       {raw: []byte("<a/>"), root: signed, assertion: signed},
		"inside a signed one": {raw: []byte("<a/>"), vouched: signed, assertion: signed},
	} {
		j.env, j.verifier = &envelope{}, &verifier{} // without a service provider in it the call panics
		err := j.run(phase{steps: verification})
		if j.response != nil || codeOf(t, err) != CodeInternal || !strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %v, %v, want %s", name, j.response, err, CodeInternal)
		}
	}
}

func TestVerifiedAssertionMustBeTheGatedOne(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	j := &judgement{sp: newTestSP(t, testConfig(t, idp)), now: testNow, post: Post{Response: attack{}.build(t, idp)}, want: Expectation{RequestID: testRequestID}}
	if err := j.run(partOf(order, stepBody, stepComparison)...); err != nil {
		t.Fatal(err)
	}
	gated := *j.env
	for name, other := range map[string]envelope{
		"another ID":         {assertionID: "_other"},
		"a signed response":  {assertionID: "_assertion", responseSigned: true},
		"the one that it is": gated,
	} {
		j.env = &other
		err := j.run(partOf(order, stepComparison, stepIdentity)...)
		if want := map[bool]string{true: "", false: CodeInternal}[other.assertionID == gated.assertionID && !other.responseSigned]; codeOf(t, err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	j.env = &gated
	j.response.Assertions = append(j.response.Assertions, j.response.Assertions[0])
	if err := j.run(partOf(order, stepComparison, stepIdentity)...); codeOf(t, err) != CodeAssertions {
		t.Errorf("two assertions: %v, want %s", err, CodeAssertions)
	}
}

// gate is what happens to a response in the clear before a signature is looked at.
func gate(encoded string) ([]byte, *envelope, error) {
	j := &judgement{sp: &ServiceProvider{}, post: Post{Response: encoded}}
	err := j.run(partOf(order, stepBody, stepOpening)...)
	if err != nil {
		return nil, nil, err
	}
	return j.raw, j.env, nil
}

// TestGateIsCheap: what the first gates refuse must not cost much more than
// reading it. Memory is counted, because time depends on the machine.
func TestGateIsCheap(t *testing.T) {
	for _, a := range resources() {
		response := a.build(t, newTestIdP(t, "rsa-idp"))
		spent := allocated(func() {
			if _, _, err := gate(response); err == nil {
				t.Errorf("%s %s was let through", a.id, a.name)
			}
		})
		if limit := uint64(24*len(response) + 512<<10); spent > limit {
			t.Errorf("%s %s: %d bytes of response cost %d bytes of memory, at most %d are allowed", a.id, a.name, len(response), spent, limit)
		}
	}
}

// TestWorstIsBounded: the most expensive response that passes the gates, of
// somebody without a signature, and of somebody who has a signed response of
// their own and changed it.
func TestWorstIsBounded(t *testing.T) {
	paired := newTestIdP(t, "p256-idp")
	paired.pairs = true
	for name, tt := range map[string]struct {
		idp   *testIdP
		after func(testing.TB, *message)
		want  string
		limit uint64
	}{
		"stranger":                {newTestIdP(t, "rsa-idp"), forgeSignature, CodeSignature, 8 << 20},
		"insider":                 {newTestIdP(t, "rsa-idp"), setText(".//NameID", "bob"), CodeSignature, 40 << 20},
		"genuine":                 {newTestIdP(t, "rsa-idp"), nil, "", 40 << 20},
		"stranger, ECDSA as r||s": {paired, forgePair, CodeSignature, 8 << 20},
		"insider, ECDSA as r||s":  {paired, setText(".//NameID", "bob"), CodeSignature, 40 << 20},
		"genuine, ECDSA as r||s":  {paired, nil, "", 40 << 20},
	} {
		sp := newTestSP(t, testConfig(t, tt.idp))
		post := Post{Response: worst(t, tt.idp, tt.after)}
		spent := allocated(func() {
			if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID}); codeOf(t, err) != tt.want {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
		})
		t.Logf("%s: %d bytes of memory", name, spent)
		if spent > tt.limit {
			t.Errorf("%s: costs %d bytes of memory, at most %d are allowed", name, spent, tt.limit)
		}
	}
}

// TestWorstEncryptedIsBounded: the same for what a stranger may have decrypted.
func TestWorstEncryptedIsBounded(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	cfg.Decryption = decryptionKeys(t, "rsa-dec-a", "rsa-dec-b", "rsa-dec-c", "rsa-dec")
	sp := newTestSP(t, cfg)
	for opens, want := range map[bool]string{true: CodeSignature, false: CodeDecryption} {
		post := Post{Response: worstEncrypted(t, idp, opens)}
		spent := allocated(func() {
			if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID}); codeOf(t, err) != want {
				t.Errorf("refused otherwise: %v", err)
			}
		})
		if spent > 12<<20 {
			t.Errorf("costs %d bytes of memory, at most %d are allowed", spent, 12<<20)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// worst uses every limit of the stream gate up: elements, namespaces in scope
// of all of them, attributes.
func worst(t testing.TB, idp *testIdP, after func(testing.TB, *message)) string {
	t.Helper()
	return attack{after: after, edit: func(t testing.TB, m *message) {
		for i := range 9 {
			m.root.CreateAttr(fmt.Sprintf("xmlns:r%d", i), fmt.Sprintf("urn:r%d", i))
			m.assertion.CreateAttr(fmt.Sprintf("xmlns:n%d", i), fmt.Sprintf("urn:n%d", i))
		}
		groups := m.root.FindElement(".//Attribute[@Name='groups']")
		for i := range 930 {
			value := groups.CreateElement("saml:AttributeValue")
			value.SetText(fmt.Sprintf("group-%d", i))
			for j := range 3 {
				value.CreateAttr(fmt.Sprintf("n%d:a", j), "0123456")
			}
		}
	}}.build(t, idp)
}

func forgeSignature(_ testing.TB, m *message) {
	m.find("SignatureValue").SetText(encode(make([]byte, 256)))
}

func forgePair(_ testing.TB, m *message) {
	m.find("SignatureValue").SetText(encode(bytes.Repeat([]byte{1}, 64)))
}

func BenchmarkVerify(b *testing.B) {
	idp := newTestIdP(b, "rsa-idp")
	cfg := testConfig(b, idp)
	cfg.Replay = &recording{first: true}
	cfg.Decryption = decryptionKeys(b, "rsa-dec")
	sp := newTestSP(b, cfg)
	for _, bm := range []struct {
		name  string
		a     attack
		trace *Trace
	}{
		{name: "assertion", a: attack{}},
		{name: "both", a: attack{sign: signBoth}},
		{name: "both, traced", a: attack{sign: signBoth}, trace: &Trace{}},
		{name: "encrypted with GCM", a: attack{encrypt: &encryption{}}},
		{name: "both, encrypted with CBC", a: attack{sign: signBoth, encrypt: &encryption{data: aes128CBC}}},
	} {
		post := Post{Response: bm.a.build(b, idp)}
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sp.Verify(b.Context(), post, Expectation{RequestID: testRequestID, Trace: bm.trace}); err != nil {
					b.Fatal(err)
				}
			}
		})
		if bm.a.encrypt != nil {
			continue
		}
		b.Run(bm.name+"/library alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sp.verifiers[0].sp.RetrieveAssertionInfo(post.Response); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyECDSA compares the two forms of a signature, which go different ways.
func BenchmarkVerifyECDSA(b *testing.B) {
	for name, pairs := range map[string]bool{"DER": false, "r and s": true} {
		for what, sign := range map[string]signing{"assertion": signAssertion, "response": signResponse, "both": signBoth} {
			idp := newTestIdP(b, "p256-idp")
			idp.pairs = pairs
			cfg := testConfig(b, idp)
			cfg.Replay = &recording{first: true}
			sp := newTestSP(b, cfg)
			post := Post{Response: attack{sign: sign}.build(b, idp)}
			b.Run(what+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := sp.Verify(b.Context(), post, Expectation{RequestID: testRequestID}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkWorstAccepted(b *testing.B) {
	idp := newTestIdP(b, "rsa-idp")
	sp := newTestSP(b, testConfig(b, idp))
	for name, after := range map[string]func(testing.TB, *message){"stranger": forgeSignature, "insider": setText(".//NameID", "bob")} {
		post := Post{Response: worst(b, idp, after)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sp.Verify(b.Context(), post, Expectation{RequestID: testRequestID}); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// worstEncrypted has our keys tried as often as they ever are, by somebody without
// a signature; or it opens, and holds as much as a response may.
func worstEncrypted(t testing.TB, idp *testIdP, opens bool) string {
	t.Helper()
	a := attack{encrypt: &encryption{to: []string{"rsa-dec-x", "rsa-dec-x", "rsa-dec-x", "rsa-dec-x"}}}
	if opens {
		a.encrypt.to = []string{"rsa-dec"}
	}
	a.edit = func(_ testing.TB, m *message) {
		for i := range 14 {
			m.assertion.CreateAttr(fmt.Sprintf("xmlns:n%d", i), fmt.Sprintf("urn:n%d", i))
		}
		manyGroups(930)(nil, m)
	}
	a.encrypt.plaintext = swapped("<ds:SignatureValue>", "<ds:SignatureValue>AAAA")
	return a.build(t, idp)
}

func BenchmarkWorstEncrypted(b *testing.B) {
	idp := newTestIdP(b, "rsa-idp")
	cfg := testConfig(b, idp)
	cfg.Decryption = decryptionKeys(b, "rsa-dec-a", "rsa-dec-b", "rsa-dec-c", "rsa-dec")
	sp := newTestSP(b, cfg)
	for name, opens := range map[string]bool{"no key opens it": false, "the last key opens it": true} {
		post := Post{Response: worstEncrypted(b, idp, opens)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := sp.Verify(b.Context(), post, Expectation{RequestID: testRequestID})
				if want := map[bool]string{true: CodeSignature, false: CodeDecryption}[opens]; codeOf(b, err) != want {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWorstRefused(b *testing.B) {
	response := encode(xmlnsBomb(20_000))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := gate(response); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	sp := newTestSP(b, testConfig(b, newTestIdP(b, "rsa-idp")))
	for b.Loop() {
		if _, err := sp.Begin(SignOn{RelayState: "state"}); err != nil {
			b.Fatal(err)
		}
	}
}
