package saml

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	"github.com/russellhaering/gosaml2/types"
)

// seeds are documents of the corpus, as XML: of each row of it, which is its cases of
// one letter and one number, the first with each verdict. Every case itself is for
// [TestCorpus]. Those that are not base64 of anything, or large, are left out.
func seeds(f *testing.F, idp *testIdP) [][]byte {
	f.Helper()
	var all [][]byte
	seen := map[[2]string]bool{}
	for _, a := range corpus() {
		row := [2]string{strings.TrimRight(a.id, "abcdefghijklmnopqrstuvwxyz"), a.want}
		if a.key != "" || a.idp != nil || a.encode != nil || seen[row] {
			continue
		}
		seen[row] = true
		raw, err := decodeBase64(a.build(f, idp))
		if err != nil {
			f.Fatal(err)
		}
		if len(raw) < 16<<10 {
			all = append(all, raw)
		}
	}
	return all
}

// FuzzGate: whatever passes the gates is, for two parsers, the one response
// with the one assertion that the gates say it is.
func FuzzGate(f *testing.F) {
	for _, pairs := range []bool{false, true} {
		idp := newTestIdP(f, "p256-idp")
		idp.pairs = pairs
		for _, seed := range seeds(f, idp) {
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, env, err := gate(encode(raw))
		if err != nil {
			if codeOf(t, err) == "" {
				t.Fatal("refused without a code")
			}
			return
		}
		if !bytes.Equal(got, raw) || len(raw) > maxResponseSize || !utf8.Valid(raw) {
			t.Fatalf("let through %d bytes, of %d", len(got), len(raw))
		}
		for _, forbidden := range []string{"<!", "<?xml-"} {
			if bytes.Contains(raw, []byte(forbidden)) {
				t.Fatalf("let %q through", forbidden)
			}
		}
		checkTree(t, raw, env)
		checkUnmarshalled(t, raw, env)
	})
}

// checkTree reads what was let through with the library's parser.
func checkTree(t *testing.T, raw []byte, env *envelope) {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		t.Fatal(err)
	}
	root := doc.Root()
	count := map[string]int{}
	ids := map[string]bool{}
	for _, el := range root.FindElements("//*") {
		if parent := el.Parent(); parent != nil && parent.Tag == "AttributeValue" && el.Tag == "NameID" {
			continue // it names somebody in an attribute, not the subject
		}
		count[el.NamespaceURI()+" "+el.Tag]++
		if id := el.SelectAttrValue("ID", ""); id != "" {
			if ids[id] {
				t.Fatalf("ID %q twice", id)
			}
			ids[id] = true
		}
	}
	for name, most := range map[string]int{
		nsProtocol + " Response": 1, nsAssertion + " Assertion": 1, nsAssertion + " Subject": 1,
		nsAssertion + " NameID": 1, nsAssertion + " Conditions": 1, nsAssertion + " SubjectConfirmation": 1,
		nsAssertion + " AuthnStatement": 1, nsDsig + " Signature": 2, nsDsig + " Object": 0, nsAssertion + " EncryptedAssertion": 0,
	} {
		if count[name] > most {
			t.Fatalf("%d of %s", count[name], name)
		}
	}
	if n := count[nsDsig+" Signature"]; n != len(env.signatures) || n == 0 {
		t.Fatalf("%d signatures, the envelope has %d", n, len(env.signatures))
	}
}

// checkUnmarshalled reads it with the other parser, as the library does in the
// end: both must see the same assertion and the same name.
func checkUnmarshalled(t *testing.T, raw []byte, env *envelope) {
	t.Helper()
	var response types.Response
	if err := xml.Unmarshal(raw, &response); err != nil {
		t.Fatalf("let through what encoding/xml cannot read: %v", err)
	}
	if len(response.Assertions) != 1 || response.Assertions[0].ID != env.assertionID {
		t.Fatalf("%d assertions, want %q", len(response.Assertions), env.assertionID)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		t.Fatal(err)
	}
	subject := childOf(childOf(doc.Root(), nsAssertion, "Assertion"), nsAssertion, "Subject")
	var name string
	if id := response.Assertions[0].Subject.NameID; id != nil {
		name = id.Value
	}
	if tree := textOf(childOf(subject, nsAssertion, "NameID")); tree != name {
		t.Fatalf("NameID %q in the tree, %q unmarshalled", tree, name)
	}
}

// FuzzVerify: no input makes it panic, and no input makes anybody of it but
// the people whom the identity provider signed for.
func FuzzVerify(f *testing.F) {
	idp := newTestIdP(f, "p256-idp")
	cfg := testConfig(f, idp)
	cfg.Replay = &recording{first: true}
	cfg.Decryption = decryptionKeys(f, "rsa-dec")
	sp := newTestSP(f, cfg)
	var genuine []*Principal
	inPairs := *idp
	inPairs.pairs = true
	for _, raw := range slices.Concat(seeds(f, idp), seeds(f, &inPairs)) {
		f.Add(raw)
		if p, err := sp.Verify(f.Context(), Post{Response: encode(raw)}, Expectation{RequestID: testRequestID}); err == nil {
			genuine = append(genuine, p)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := sp.Verify(t.Context(), Post{Response: encode(raw)}, Expectation{RequestID: testRequestID})
		switch {
		case err != nil && p != nil:
			t.Fatalf("%v and %v", p, err)
		case err != nil && codeOf(t, err) == CodeInternal:
			t.Fatal(err)
		case err == nil && !slices.ContainsFunc(genuine, func(g *Principal) bool { return cmp.Equal(*g, *p) }):
			t.Fatalf("signed for nobody like this: %+v", p)
		}
		if issuer, failed := (Post{Response: encode(raw)}).Issuer(); err == nil && (failed != nil || issuer != p.IdP) {
			t.Fatalf("accepted of %q, said to be of %q (%v)", p.IdP, issuer, failed)
		}
	})
}

// FuzzDecrypt: whatever is well encrypted to us, in a response that nobody signed or
// in one that the identity provider did, makes no panic. Nobody comes of it who was
// not signed for, inside or around.
func FuzzDecrypt(f *testing.F) {
	idp := newTestIdP(f, "p256-idp")
	cfg := testConfig(f, idp)
	cfg.Replay = &recording{first: true}
	cfg.Decryption = decryptionKeys(f, "rsa-dec")
	sp := newTestSP(f, cfg)
	m := newMessage(f, testResponse)
	idp.sign(f, m.assertion)
	genuine, err := writeElement(m.assertion)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine, false)
	f.Add(genuine, true)
	signatureValue(m.assertion).SetText(encode(sideBySide(valueOfSignature(f, m.assertion))))
	paired, err := writeElement(m.assertion)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(paired, false)
	f.Add(paired, true)
	for _, a := range badPlaintexts() {
		if a.encrypt.plaintext != nil {
			f.Add(a.encrypt.plaintext(genuine), a.sign == signBoth)
		}
	}
	want := alice(idp)
	f.Fuzz(func(t *testing.T, plaintext []byte, sign bool) {
		a := attack{sign: signNothing, encrypt: &encryption{plaintext: func([]byte) []byte { return plaintext }}}
		if sign {
			a.sign = signResponse
		}
		p, err := sp.Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID, Trace: &Trace{}})
		switch {
		case err != nil && p != nil:
			t.Fatalf("%v and %v", p, err)
		case err != nil && codeOf(t, err) == CodeInternal:
			t.Fatal(err)
		case err == nil && !sign && !cmp.Equal(want, *p):
			t.Fatalf("signed for nobody like this: %+v", p)
		}
	})
}

// FuzzParseMetadata: what is accepted is usable as it is.
func FuzzParseMetadata(f *testing.F) {
	one := string(testMetadata(newTestIdP(f, "p256-idp").cert))
	for _, seed := range []string{
		one,
		`<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + one + `</md:EntitiesDescriptor>`,
		strings.Replace(one, ` use="signing"`, "", 1),
		strings.Replace(one, `entityID=`, `validUntil="2027-01-01T00:00:00Z" entityID=`, 1),
		strings.Replace(one, testSSO, testSSO+"?a=b", 1),
		`<!DOCTYPE x>` + one,
		string(aggregate(one, strings.ReplaceAll(one, testIdPID, "https://b.example.test"))),
		string(aggregate(string(aggregate(one)))),
		strings.Replace(one, "<md:IDPSSODescriptor", `<md:IDPSSODescriptor errorURL="https://idp.example.test/help"`, 1),
		strings.Replace(one, "<md:KeyDescriptor", `<md:Extensions><mdui:UIInfo xmlns:mdui="`+nsMDUI+`"><mdui:DisplayName xml:lang="en"> Sign-on </mdui:DisplayName></mdui:UIInfo></md:Extensions><md:KeyDescriptor`, 1),
		strings.Replace(one, "</md:EntityDescriptor>", `<md:Organization><md:OrganizationDisplayName xml:lang="en">Example</md:OrganizationDisplayName></md:Organization></md:EntityDescriptor>`, 1),
		strings.Replace(one, "entityID=", `cacheDuration="P1DT6H" entityID=`, 1),
		strings.Replace(one, "<md:SingleSignOnService", `<md:SingleLogoutService Binding="`+bindingPost+`" Location="https://idp.example.test/slo" ResponseLocation="https://idp.example.test/done"/><md:SingleSignOnService`, 1),
		strings.Replace(one, bindingRedirect, bindingPost, 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		idp, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
		if err != nil {
			return
		}
		addresses := []string{idp.ssoURL}
		for _, e := range idp.slo {
			addresses = append(addresses, e.location, e.responseLocation)
		}
		for _, address := range addresses {
			if err := checkEndpoint(address); err != nil || idp.entityID == "" {
				t.Fatalf("accepted %q at %q: %v", idp.entityID, address, err)
			}
		}
		if d := idp.info(); checkValue(d.DisplayName) != nil || d.CacheDuration < 0 || d.CacheDuration > maxDuration {
			t.Fatalf("accepted as %q, to be kept for %s", d.DisplayName, d.CacheDuration)
		}
		if address := idp.errorURL; address != "" && checkWebAddress(address) != nil {
			t.Fatalf("people could be sent to %q", address)
		}
		if err := (&ServiceProvider{idp: idp}).checkFresh(testNow); err != nil {
			t.Fatal(err)
		}
		for _, cert := range idp.certificates {
			if err := checkStrength(cert.PublicKey); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(idp.certificates); n == 0 || n > maxIdPCertificates {
			t.Fatalf("accepted with %d certificates", n)
		}
	})
}

// FuzzDuration: whatever is written, the result is within bounds, and a time of day is
// what the standard library makes of it.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"PT6H", "P1D", "P1Y2M3DT4H5M6.7S", "-P1D", "P", "PT", "P999999999Y", " PT1S\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || d > maxDuration || d%time.Second != 0 {
			t.Fatalf("%q is %s", s, d)
		}
		clock, isClock := strings.CutPrefix(strings.TrimSpace(s), "PT")
		if want, err := time.ParseDuration(strings.ToLower(clock)); isClock && err == nil && d != min(want.Truncate(time.Second), maxDuration) {
			t.Fatalf("%q is %s, want %s", s, d, want)
		}
	})
}

// FuzzNormalize: what may leave as somebody's name survives a header, a log
// line and a comma-separated list as the one value that it is.
func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		"alice@example.com", "", " alice", "alice\u202e", "a\u200bb", "a,b", "a@b@c", "@", "a@", "é",
		"инженеры", "a\x00b", "a\r\nb", "\xff", "\u3164", "\ufeffa", "a\u00a0", strings.Repeat("é", 257), "\U000e0041",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkValue(s) != nil {
			return
		}
		if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxTextLength || strings.TrimSpace(s) != s {
			t.Fatalf("let %q through", s)
		}
		for _, r := range s {
			if r < ' ' || r == 0x7f || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Cc, r) {
				t.Fatalf("let %q through", s)
			}
		}
		if checkEmail("mail", s) == nil && (strings.Count(s, "@") != 1 || strings.ContainsAny(s, ", ;")) {
			t.Fatalf("let %q through as an address", s)
		}
	})
}
