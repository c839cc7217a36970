package saml

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

// otherSide is an identity provider that judges our messages as we judge its: by our
// certificate, at the given address.
func otherSide(t *testing.T, ours Config, at string) *ServiceProvider {
	t.Helper()
	cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.EntityID, cfg.SLOURL = testIdPID, at
	cfg.IdPMetadata = []byte(strings.Replace(string(testMetadata(ours.Certificate)), testIdPID, ours.EntityID, 1))
	return newTestSP(t, cfg)
}

// delivered is a message of ours as the browser brings it.
func delivered(m Message) *http.Request {
	if m.Form == nil {
		_, query, _ := strings.Cut(m.URL, "?")
		return getRequest(query)
	}
	form := url.Values{}
	for _, field := range m.Form {
		form.Add(field.Name, field.Value)
	}
	return postRequest(form)
}

// opened is the XML in a message of ours.
func opened(t *testing.T, m Message) *etree.Element {
	t.Helper()
	if m.Form == nil {
		_, query, _ := strings.Cut(m.URL, "?")
		q, err := readQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := q.unpack()
		if err != nil {
			t.Fatal(err)
		}
		return fragment(t, string(raw))
	}
	raw, err := decodeBase64(m.Form[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	return fragment(t, string(raw))
}

var sendings = map[string]struct {
	services []string
	key      string
	post     bool
}{
	"redirect by RSA":   {nil, "rsa-sp", false},
	"redirect by ECDSA": {nil, "p256-sp", false},
	"post by RSA":       {[]string{logoutService(bindingPost)}, "rsa-sp", true},
}

func TestBeginLogout(t *testing.T) {
	subject := aliceLeaves().Subject
	for name, tt := range sendings {
		t.Run(name, func(t *testing.T) {
			cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"), tt.services...)
			cfg.useKey(t, tt.key)
			sp := newTestSP(t, cfg)
			m, err := sp.BeginLogout(subject, "_session", "state+/=1")
			if err != nil {
				t.Fatal(err)
			}
			if to, _, _ := strings.Cut(m.URL, "?"); to != testIdPSLO || (m.Form != nil) != tt.post || !m.IssuedAt.Equal(testNow) {
				t.Errorf("message to %s with the form %v, of %s", m.URL, m.Form, m.IssuedAt)
			}
			code, got, _ := leave(t, otherSide(t, cfg, testIdPSLO), delivered(m), "", nil)
			if code != "" {
				t.Fatal(code)
			}
			want := LogoutRequest{ID: m.ID, RelayState: "state+/=1", Subject: subject, SessionIndexes: []string{"_session"}}
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			root := opened(t, m)
			for key, want := range map[string]string{
				"Version": "2.0", "Destination": testIdPSLO, "IssueInstant": "2026-11-22T12:00:00Z",
				"NotOnOrAfter": "2026-11-22T12:05:00Z", "Reason": "urn:oasis:names:tc:SAML:2.0:logout:user",
			} {
				if got := root.SelectAttrValue(key, ""); got != want {
					t.Errorf("%s %q, want %q", key, got, want)
				}
			}
		})
	}
}

// TestBeginLogoutNamesThePersonAsTheyWereNamed: with every qualifier that was there,
// and none that was not (row F12).
func TestBeginLogoutNamesThePersonAsTheyWereNamed(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := logoutConfig(t, idp)
	for _, attrs := range []string{
		``,
		` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"`,
		` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient" NameQualifier="` + testIdPID + `"`,
		` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="` + testIdPID + `" SPNameQualifier="` + testEntityID + `"`,
		` SPNameQualifier="a&amp;b &quot;c&quot; &lt;d>"`,
	} {
		name := `<saml:NameID` + attrs + `>alice &amp; &lt;bob> 'x' "y"</saml:NameID>`
		sp := newTestSP(t, cfg)
		response := attack{edit: func(t testing.TB, m *message) {
			old := m.find("NameID")
			old.Parent().InsertChildAt(old.Index(), fragment(t, strings.Replace(name, "<saml:NameID", `<saml:NameID`+ofAssertion, 1)))
			old.Parent().RemoveChild(old)
		}}
		p, err := sp.Verify(t.Context(), Post{Response: response.build(t, idp)}, Expectation{RequestID: testRequestID})
		if err != nil {
			t.Fatal(err)
		}
		m, err := sp.BeginLogout(p.Subject, p.SessionIndex, "")
		if err != nil {
			t.Fatal(err)
		}
		root := opened(t, m)
		got, want := childOf(root, nsAssertion, "NameID"), fragment(t, name)
		if textOf(got) != textOf(want) || len(got.Attr) != len(want.Attr) {
			t.Errorf("name %q %v, want %q %v", textOf(got), got.Attr, textOf(want), want.Attr)
		}
		for _, a := range want.Attr {
			if got.SelectAttrValue(a.Key, "") != a.Value {
				t.Errorf("%s %q, want %q", a.Key, got.SelectAttrValue(a.Key, ""), a.Value)
			}
		}
		if index := textOf(childOf(root, nsProtocol, "SessionIndex")); index != "_session" {
			t.Errorf("session index %q", index)
		}
	}
}

func TestBeginLogoutRefuses(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	soap := `<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="` + testIdPSLO + `"/>`
	for name, tt := range map[string]struct {
		services  []string
		subject   Subject
		index     string
		state     string
		noService bool
	}{
		"no service":               {[]string{""}, Subject{NameID: "alice"}, "", "", true},
		"only SOAP":                {[]string{soap}, Subject{NameID: "alice"}, "", "", true},
		"person without a name":    {nil, Subject{}, "_session", "", true},
		"name that cannot be seen": {nil, Subject{NameID: "a\u200b"}, "", "", false},
		"bad qualifier":            {nil, Subject{NameID: "a", NameQualifier: "\x00"}, "", "", false},
		"bad session index":        {nil, Subject{NameID: "a"}, " s", "", false},
		"bad relay state":          {nil, Subject{NameID: "a"}, "", "a b", false},
	} {
		m, err := newTestSP(t, logoutConfig(t, idp, tt.services...)).BeginLogout(tt.subject, tt.index, tt.state)
		if err == nil || errors.Is(err, ErrNoLogout) != tt.noService || m.URL != "" {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestNoLogoutMessageByMetadataThatHasEnded(t *testing.T) {
	cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.IdPMetadata = []byte(strings.Replace(string(cfg.IdPMetadata), " entityID=", ` validUntil="2026-11-22T12:30:00Z" entityID=`, 1))
	now := testNow
	cfg.Now = func() time.Time { return now }
	sp := newTestSP(t, cfg)
	now = now.Add(time.Hour)
	if _, err := sp.BeginLogout(Subject{NameID: "alice"}, "", ""); err == nil || errors.Is(err, ErrNoLogout) {
		t.Errorf("request: %v", err)
	}
	if _, err := sp.AnswerLogout(&LogoutRequest{ID: "_logout"}, false); err == nil || errors.Is(err, ErrNoLogout) {
		t.Errorf("answer: %v", err)
	}
}

func TestAnswerLogout(t *testing.T) {
	request := &LogoutRequest{ID: "_logout", RelayState: "their/state"}
	for name, tt := range sendings {
		for _, partial := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, partial %v", name, partial), func(t *testing.T) {
				cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"), tt.services...)
				cfg.useKey(t, tt.key)
				m, err := newTestSP(t, cfg).AnswerLogout(request, partial)
				if err != nil {
					t.Fatal(err)
				}
				if to, _, _ := strings.Cut(m.URL, "?"); to != testIdPReturn || (m.Form != nil) != tt.post || m.ID == request.ID {
					t.Errorf("message %s to %s with the form %v", m.ID, m.URL, m.Form)
				}
				code, _, got := leave(t, otherSide(t, cfg, testIdPReturn), delivered(m), request.ID, nil)
				if code != "" {
					t.Fatal(code)
				}
				want := LogoutResponse{}
				if partial {
					want = LogoutResponse{Failed: true, Status: `"` + statusResponder + `", "", message "Some sessions could not be ended."`}
				}
				if diff := cmp.Diff(want, *got); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
				back, err := ReadLogout(nil, delivered(m))
				if err != nil || back.RelayState != request.RelayState || back.Issuer != cfg.EntityID {
					t.Errorf("brought back %+v, %v", back, err)
				}
			})
		}
	}
}

// TestAnswerGoesToTheLocationIfThereIsNoOther: ResponseLocation is optional.
func TestAnswerGoesToTheLocationIfThereIsNoOther(t *testing.T) {
	service := strings.Replace(logoutService(bindingRedirect), ` ResponseLocation="`+testIdPReturn+`"`, "", 1)
	sp := newTestSP(t, logoutConfig(t, newTestIdP(t, "rsa-idp"), service))
	m, err := sp.AnswerLogout(&LogoutRequest{ID: "_logout"}, false)
	if err != nil || !strings.HasPrefix(m.URL, testIdPSLO+"?SAMLResponse=") || strings.Contains(m.URL, "RelayState") {
		t.Errorf("%s, %v", m.URL, err)
	}
	if sp, err := New(logoutConfig(t, newTestIdP(t, "rsa-idp"), "")); err != nil || sp.IdP().SLO {
		t.Errorf("metadata without a service says that there is one (%v)", err)
	} else if _, err := sp.AnswerLogout(&LogoutRequest{ID: "_logout"}, false); !errors.Is(err, ErrNoLogout) {
		t.Errorf("answer to nowhere: %v", err)
	}
}

func TestSLOURLMustBeUsable(t *testing.T) {
	for address, want := range map[string]string{
		"http://door.example.test/saml/slo":      "expected https",
		"https://door.example.test/saml/slo?a=b": "with a query",
		"https://door.example.test/saml/slo?":    "with a query",
		"/saml/slo":                              "expected https",
	} {
		cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.SLOURL = address
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", address, err, want)
		}
	}
}

// openssl runs the program, which shares nothing with Go's cryptography.
func openssl(t *testing.T, args ...string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("openssl %s: %w: %s", args[0], err, out)
	}
	return nil
}

// files writes files into a directory of the test's, and returns their names.
func files(t *testing.T, contents ...[]byte) []string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, content := range contents {
		name := filepath.Join(dir, fmt.Sprint(i))
		write(t, name, content)
		names = append(names, name)
	}
	return names
}

func publicPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PUBLIC KEY", der)
}

// ourLogoutMessages are a request of ours, and an answer.
func ourLogoutMessages(t *testing.T, sp *ServiceProvider) []Message {
	t.Helper()
	request, err := sp.BeginLogout(aliceLeaves().Subject, "_session", "state")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := sp.AnswerLogout(&LogoutRequest{ID: "_logout", RelayState: "state"}, true)
	if err != nil {
		t.Fatal(err)
	}
	return []Message{request, answer}
}

// TestOpenSSLVerifiesOurQueries: the signature is over the octets that are sent.
func TestOpenSSLVerifiesOurQueries(t *testing.T) {
	for _, keyName := range []string{"rsa-sp", "p256-sp"} {
		cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.useKey(t, keyName)
		sp := newTestSP(t, cfg)
		for _, m := range ourLogoutMessages(t, sp) {
			_, query, _ := strings.Cut(m.URL, "?")
			octets, rest, _ := strings.Cut(query, "&Signature=")
			encoded, err := url.QueryUnescape(rest)
			if err != nil {
				t.Fatal(err)
			}
			value, err := decodeBase64(encoded)
			if err != nil {
				t.Fatal(err)
			}
			in := files(t, []byte(octets), derValue(value, cfg.Key.Public()), publicPEM(t, cfg.Key))
			if err := openssl(t, "dgst", "-sha256", "-verify", in[2], "-signature", in[1], in[0]); err != nil {
				t.Errorf("%s: %v", keyName, err)
			}
		}
	}
}

// TestOpenSSLSignsQueriesForUs: for ECDSA it writes DER, as Java does.
func TestOpenSSLSignsQueriesForUs(t *testing.T) {
	for keyName, methods := range map[string]map[string]string{
		"rsa-idp":  {dsig.RSASHA256SignatureMethod: "-sha256", dsig.RSASHA384SignatureMethod: "-sha384", dsig.RSASHA512SignatureMethod: "-sha512"},
		"p256-idp": {dsig.ECDSASHA256SignatureMethod: "-sha256", dsig.ECDSASHA384SignatureMethod: "-sha384", dsig.ECDSASHA512SignatureMethod: "-sha512"},
	} {
		for method, digest := range methods {
			idp, sp, _ := logoutCase{key: keyName}.scene(t)
			octets := "SAMLRequest=" + url.QueryEscape(pack(t, testLogoutRequest)) + "&RelayState=state&SigAlg=" + url.QueryEscape(method)
			in := files(t, []byte(octets), []byte(keyPEM(t, idp.key)), nil)
			if err := openssl(t, "dgst", digest, "-sign", in[1], "-out", in[2], in[0]); err != nil {
				t.Fatal(err)
			}
			value, err := os.ReadFile(in[2])
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := leave(t, sp, getRequest(octets+"&Signature="+url.QueryEscape(encode(value))), "", nil); got != "" {
				t.Errorf("%s: code %q", method, got)
			}
		}
	}
}

// logoutIDs tells xmlsec1 which attributes are IDs.
var logoutIDs = []string{"--id-attr:ID", nsProtocol + ":LogoutRequest", "--id-attr:ID", nsProtocol + ":LogoutResponse"}

// TestXMLSecVerifiesOurForms: RSA, and ECDSA in the form of the specification.
func TestXMLSecVerifiesOurForms(t *testing.T) {
	for _, keyName := range []string{"rsa-sp", "p256-sp"} {
		cfg := logoutConfig(t, newTestIdP(t, "rsa-idp"), logoutService(bindingPost))
		cfg.useKey(t, keyName)
		sp := newTestSP(t, cfg)
		for _, m := range ourLogoutMessages(t, sp) {
			raw, err := decodeBase64(m.Form[0].Value)
			if err != nil {
				t.Fatal(err)
			}
			in := files(t, raw, pemOf("CERTIFICATE", cfg.Certificate.Raw))
			out, err := xmlsec(t, append(append([]string{"--verify", "--enabled-key-data", "x509", "--pubkey-cert-pem", in[1]}, logoutIDs...), in[0])...)
			if err != nil {
				t.Errorf("%s: %v\n%s", keyName, err, out)
			}
		}
	}
}

// TestXMLSecSignsLogoutForUs: what it signs, we accept.
func TestXMLSecSignsLogoutForUs(t *testing.T) {
	for _, doc := range []string{testLogoutRequest, testLogoutResponse} {
		for method, key := range map[string]string{
			dsig.RSASHA256SignatureMethod: "", dsig.RSASHA512SignatureMethod: "",
			dsig.ECDSASHA256SignatureMethod: "p256-idp", dsig.ECDSASHA384SignatureMethod: "p384-idp",
		} {
			idp, sp, _ := logoutCase{key: key}.scene(t)
			m := newMessage(t, doc)
			m.root.InsertChildAt(1, fragment(t, signatureTemplate(m.root.SelectAttrValue("ID", ""), method, "http://www.w3.org/2001/04/xmlenc#sha256", "samlp saml")))
			in := files(t, m.bytes(t), []byte(keyPEM(t, idp.key)), pemOf("CERTIFICATE", idp.cert.Raw), nil)
			if out, err := xmlsec(t, append(append([]string{"--sign", "--privkey-pem", in[1] + "," + in[2], "--output", in[3]}, logoutIDs...), in[0])...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			raw, err := os.ReadFile(in[3])
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := leave(t, sp, postRequest(url.Values{fieldOf(doc): {encode(raw)}}), testLogoutID, nil); got != "" {
				t.Errorf("%s by %s: code %q", m.root.Tag, method, got)
			}
		}
	}
}
