package saml

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// golden compares what is printed with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "inspect", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// fixedIdP has the same key and certificate in every run.
func fixedIdP(t testing.TB) *testIdP { return newTestIdP(t, "rsa-dec-idp") }

func TestInspectResponse(t *testing.T) {
	idp := fixedIdP(t)
	metadata := ResponseInspection{IdPMetadata: testMetadata(idp.cert), EntityID: testEntityID, ACSURL: testACS, ClockSkew: testSkew}
	withKey := metadata
	withKey.Decryption = decryptionKeys(t, "rsa-dec")
	elsewhere := metadata
	elsewhere.KeysElsewhere = true
	values := ResponseInspection{Values: true}
	now := metadata
	now.Now = testNow
	late := metadata
	late.Now = testNow.Add(24 * time.Hour)
	for name, tt := range map[string]struct {
		a        attack
		opt      ResponseInspection
		problems int
	}{
		"in-the-clear":             {attack{sign: signBoth}, metadata, 0},
		"without-metadata":         {attack{sign: signBoth}, ResponseInspection{}, 0},
		"with-values":              {attack{}, values, 0},
		"encrypted":                {attack{sign: signBoth, encrypt: &encryption{data: aes128CBC}}, withKey, 0},
		"encrypted-without-key":    {attack{sign: signBoth, encrypt: &encryption{}}, metadata, 1},
		"encrypted-keys-elsewhere": {attack{sign: signBoth, encrypt: &encryption{data: aes128CBC}}, elsewhere, 0},
		"encrypted-tampered": {attack{sign: signBoth, encrypt: &encryption{}, after: func(_ testing.TB, m *message) {
			m.find("Issuer").CreateAttr("Format", formatEntity)
		}}, elsewhere, 1},
		"encrypted-nothing-known": {attack{sign: signBoth, encrypt: &encryption{}}, ResponseInspection{KeysElsewhere: true}, 0},
		"a-day-later":             {attack{}, late, 4},
		"audience":                {attack{edit: setText(".//Audience", "https://other.example.test/")}, metadata, 1},
		"unsigned":                {attack{sign: signNothing}, metadata, 1},
		"status":                  {attack{edit: attr("StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")}, metadata, 1},
		"doctype":                 {attack{raw: func(s string) string { return "<!DOCTYPE x>" + s }}, now, 1},
		"deflated":                {attack{encode: func(raw []byte) string { return encode(deflated(raw)) }}, metadata, 1},
		"tampered":                {attack{after: func(_ testing.TB, m *message) { m.find("NameID").SetText("admin") }}, metadata, 1},
	} {
		t.Run(name, func(t *testing.T) {
			response := tt.a.build(t, idp)
			got := InspectResponse([]byte(response), tt.opt)
			golden(t, name, got.String())
			if n := got.Problems(); n != tt.problems {
				t.Errorf("%d problems, want %d", n, tt.problems)
			}
		})
	}
}

// TestInspectResponseFindsTheForm: the same explanation, however it was captured.
func TestInspectResponseFindsTheForm(t *testing.T) {
	response := attack{}.build(t, fixedIdP(t))
	raw, err := decodeBase64(response)
	if err != nil {
		t.Fatal(err)
	}
	explain := func(captured string) []Section {
		return InspectResponse([]byte(captured), ResponseInspection{}).Sections[1:]
	}
	want := explain(response)
	for name, captured := range map[string]string{
		"XML":                  "\n" + string(raw),
		"base64 in lines":      response[:76] + "\r\n" + response[76:] + "\n",
		"base64, escaped":      url.QueryEscape(response),
		"form":                 url.Values{"RelayState": {"x"}, "SAMLResponse": {response}}.Encode(),
		"form, other way":      "SAMLResponse=" + url.QueryEscape(response) + "&RelayState=x",
		"form with a question": "https://door.example.test/saml/acs?SAMLResponse=" + url.QueryEscape(response),
	} {
		if diff := cmp.Diff(want, explain(captured)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if junk := InspectResponse([]byte("hello, world"), ResponseInspection{}); junk.Problems() != 1 {
		t.Errorf("junk: %s", junk)
	}
}

// TestInspectionAgreesWithVerify: what would be accepted has no problem, and what
// would be refused has one, for every case of the corpus.
func TestInspectionAgreesWithVerify(t *testing.T) {
	for _, a := range corpus() {
		if a.config != nil && a.encrypt == nil || a.request != nil || a.clock != 0 || a.encode != nil || !cmp.Equal(a.expect, Expectation{}) {
			continue // what decides is not in the document
		}
		switch a.want {
		case CodeInResponseTo, CodeUser, CodeTransient, CodeAmbiguous, CodeValue, CodeEmail, CodeReplay, CodeEncoding:
			continue // is for the configuration to say, or the form
		}
		t.Run(a.id+" "+a.name, func(t *testing.T) {
			t.Parallel()
			s := a.scene(t)
			got := InspectResponse([]byte(s.response), ResponseInspection{
				IdPMetadata: s.cfg.IdPMetadata, EntityID: s.cfg.EntityID, ACSURL: s.cfg.ACSURL, Decryption: s.cfg.Decryption, ClockSkew: s.cfg.ClockSkew, Now: testNow,
			})
			if (got.Problems() > 0) != (a.want != "") {
				t.Errorf("%d problems, want the code %q\n%s", got.Problems(), a.want, got)
			}
			if text := got.String(); a.want != "" && !strings.Contains(text, a.want) || strings.Contains(text, "Fault of ours") {
				t.Errorf("%q is not in it\n%s", a.want, text)
			}
			checkInspection(t, got)
		})
	}
}

// checkInspection: nothing in it can harm a terminal, and no value of a person is
// shown unless it was asked for.
func checkInspection(t *testing.T, got Inspection) {
	t.Helper()
	for _, s := range got.Sections {
		for _, l := range s.Lines {
			for _, text := range []string{s.Title, l.Name, l.Text} {
				if !utf8.ValidString(text) || strings.ContainsFunc(text, invisible) || len(text) > 2*maxTraced {
					t.Errorf("not fit to be shown: %q", text)
				}
				if strings.Contains(text, "alice") || strings.Contains(text, "Alice") {
					t.Errorf("a value of a person: %q", text)
				}
			}
		}
	}
}

// TestInspectionOfAFederationIsCheap: a document of many is read once, not once for each.
func TestInspectionOfAFederationIsCheap(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, `<md:EntitiesDescriptor xmlns:md="%s">`, nsMetadata)
	for i := range 8000 {
		fmt.Fprintf(&b, `<md:EntityDescriptor entityID="https://%d.example.test/"><md:IDPSSODescriptor protocolSupportEnumeration="%s"/></md:EntityDescriptor>`, i, nsProtocol)
	}
	b.WriteString(`</md:EntitiesDescriptor>`)
	raw := []byte(b.String())
	fastest := func(f func()) time.Duration {
		least := time.Hour
		for range 3 {
			start := time.Now()
			f()
			least = min(least, time.Since(start))
		}
		return least
	}
	once := fastest(func() { _, _ = parseIdPMetadata(raw, metadataChoice{now: testNow}) })
	whole := fastest(func() { InspectMetadata(raw, testNow) })
	if whole > 10*once {
		t.Errorf("explaining takes %s, reading it once %s", whole, once)
	}
}

func TestInspectMetadata(t *testing.T) {
	idp := fixedIdP(t)
	one := string(testMetadata(idp.cert))
	replace := func(old, by string) string { return strings.Replace(one, old, by, 1) }
	aggregate := `<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `" validUntil="2026-12-01T00:00:00Z" cacheDuration="PT6H">` + one +
		strings.Replace(one, testIdPID, "https://other.example.test/metadata", 1) + `</md:EntitiesDescriptor>`
	service := `<md:EntityDescriptor xmlns:md="` + nsMetadata + `" entityID="` + testEntityID + `"><md:SPSSODescriptor WantAssertionsSigned="true" protocolSupportEnumeration="` + nsProtocol + `"><md:AssertionConsumerService Binding="` + bindingPost + `" Location="` + testACS + `" index="0"/></md:SPSSODescriptor></md:EntityDescriptor>`
	for name, tt := range map[string]struct {
		raw   string
		now   time.Time
		taken bool
	}{
		"metadata":              {one, testNow, true},
		"metadata-help":         {replace("<md:IDPSSODescriptor", `<md:IDPSSODescriptor errorURL="http://idp.example.test/help"`), testNow, true},
		"metadata-ended":        {one, testNow.Add(365 * 24 * time.Hour), true},
		"metadata-expired":      {replace("entityID=", `validUntil="2026-11-01T00:00:00Z" entityID=`), testNow, false},
		"metadata-http":         {replace("https://idp.example.test/sso", "http://idp.example.test/sso"), testNow, false},
		"metadata-aggregate":    {aggregate, testNow, true},
		"metadata-of-a-service": {service, testNow, false},
		"metadata-hostile":      {replace(testIdPID, "https://a&#x202e;&#xa;b/"), testNow, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := InspectMetadata([]byte(tt.raw), tt.now)
			checkInspection(t, got)
			verdict := got.Sections[len(got.Sections)-1]
			got.Sections = got.Sections[:len(got.Sections)-1]
			golden(t, name, got.String())
			for _, l := range verdict.Lines {
				if name != "metadata-aggregate" && (l.Mark == MarkPassed) != tt.taken {
					t.Errorf("taken: %t, the verdict is %q", tt.taken, l.Text)
				}
			}
		})
	}
	if got := InspectMetadata([]byte("<!DOCTYPE x>"+one), testNow); got.Problems() != 1 || len(got.Sections) != 1 {
		t.Errorf("document type: %s", got)
	}
}

// FuzzInspect: no input makes an inspection panic or print what harms a terminal.
func FuzzInspect(f *testing.F) {
	idp := newTestIdP(f, "p256-idp")
	for _, seed := range seeds(f, idp) {
		f.Add(seed)
	}
	f.Add(testMetadata(idp.cert))
	opt := ResponseInspection{IdPMetadata: testMetadata(idp.cert), Decryption: decryptionKeys(f, "rsa-dec"), Values: true}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, got := range []Inspection{InspectResponse(raw, opt), InspectMetadata(raw, testNow)} {
			text := got.String()
			if strings.Contains(text, "Fault of ours") || !utf8.ValidString(text) ||
				strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && invisible(r) }) {
				t.Fatalf("%q", text)
			}
		}
	})
}
