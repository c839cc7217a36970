package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	testIdPSLO    = "https://idp.example.test/slo"
	testIdPReturn = "https://idp.example.test/slo/return"
	testLogoutID  = "_our-logout"
)

// testLogoutRequest and testLogoutResponse are what a well-behaved identity
// provider sends to end alice's session, and to say that it has.
const (
	testLogoutRequest  = `<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_logout" Version="2.0" IssueInstant="2026-11-22T12:00:00Z" Destination="https://door.example.test/saml/slo" NotOnOrAfter="2026-11-22T12:05:00Z" Reason="urn:oasis:names:tc:SAML:2.0:logout:user"><saml:Issuer>https://idp.example.test/metadata</saml:Issuer><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="https://idp.example.test/metadata" SPNameQualifier="https://door.example.test/saml/metadata">alice-4711</saml:NameID><samlp:SessionIndex>_session</samlp:SessionIndex></samlp:LogoutRequest>`
	testLogoutResponse = `<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_answer" Version="2.0" IssueInstant="2026-11-22T12:00:00Z" Destination="https://door.example.test/saml/slo" InResponseTo="_our-logout"><saml:Issuer>https://idp.example.test/metadata</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:LogoutResponse>`
)

// aliceLeaves is what the request says.
func aliceLeaves() LogoutRequest {
	return LogoutRequest{
		ID: "_logout", RelayState: "state",
		Subject: Subject{
			NameID: "alice-4711", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
			NameQualifier: testIdPID, SPNameQualifier: testEntityID,
		},
		SessionIndexes: []string{"_session"},
	}
}

// logoutConfig is [testConfig] with single logout on both sides.
func logoutConfig(t testing.TB, idp *testIdP, services ...string) Config {
	t.Helper()
	cfg := testConfig(t, idp)
	cfg.SLOURL = testSLO
	if services == nil {
		services = []string{logoutService(bindingPost), logoutService(bindingRedirect)}
	}
	cfg.IdPMetadata = []byte(strings.Replace(string(cfg.IdPMetadata), "<md:SingleSignOnService", strings.Join(services, "")+"<md:SingleSignOnService", 1))
	return cfg
}

func logoutService(binding string) string {
	return `<md:SingleLogoutService Binding="` + binding + `" Location="` + testIdPSLO + `" ResponseLocation="` + testIdPReturn + `"/>`
}

// fieldOf is the field that a document belongs in.
func fieldOf(doc string) string {
	if strings.HasPrefix(doc, "<samlp:LogoutRequest") || strings.HasPrefix(doc, "<samlp:AuthnRequest") {
		return "SAMLRequest"
	}
	return "SAMLResponse"
}

// signOctets signs for a query, in the form that the algorithm's identifier stands
// for.
func (idp *testIdP) signOctets(t testing.TB, octets, algorithm string) []byte {
	t.Helper()
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(algorithm, "sha384"):
		hash = crypto.SHA384
	case strings.HasSuffix(algorithm, "sha512"):
		hash = crypto.SHA512
	case strings.HasSuffix(algorithm, "sha1"):
		hash = crypto.SHA1
	}
	h := hash.New()
	h.Write([]byte(octets))
	value, err := idp.key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		t.Fatal(err)
	}
	if public, ok := idp.key.Public().(*ecdsa.PublicKey); ok {
		if value, err = concatenate(value, public); err != nil {
			t.Fatal(err)
		}
	}
	return value
}

// algorithm is the key's, with SHA-256, unless another was chosen.
func (idp *testIdP) algorithm() string {
	if idp.method != "" {
		return idp.method
	}
	if _, ok := idp.key.Public().(*ecdsa.PublicKey); ok {
		return dsig.ECDSASHA256SignatureMethod
	}
	return dsig.RSASHA256SignatureMethod
}

// query is a document with a relay state in a signed query.
func (idp *testIdP) query(t testing.TB, doc, relayState string) string {
	t.Helper()
	return idp.signQuery(t, fieldOf(doc)+"="+url.QueryEscape(pack(t, doc)), "RelayState="+url.QueryEscape(relayState))
}

// signQuery signs parameters as they are, and puts algorithm and signature behind.
func (idp *testIdP) signQuery(t testing.TB, parameters ...string) string {
	t.Helper()
	octets := strings.Join(parameters, "&") + "&SigAlg=" + url.QueryEscape(idp.algorithm())
	return octets + "&Signature=" + url.QueryEscape(encode(idp.signOctets(t, octets, idp.algorithm())))
}

func pack(t testing.TB, doc string) string {
	t.Helper()
	packed, err := deflate([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// logoutCase is one logout message, and what must become of it.
type logoutCase struct {
	id, name string
	doc      string                           // empty: testLogoutRequest
	key      string                           // of the identity provider; empty: RSA 2048
	idp      func(testing.TB, *testIdP)       // before anything
	edit     func(testing.TB, *message)       // before signing
	after    func(testing.TB, *message)       // after signing; by POST alone
	query    func(q string) string            // what becomes of the signed query; by redirect alone
	config   func(*Config)                    // of the service provider
	request  *string                          // what this browser began; nil: testLogoutID
	clock    time.Duration                    // how far our clock is ahead of the identity provider's
	response func(*testing.T, LogoutResponse) // of what was accepted
	demand   func(*testing.T, LogoutRequest)  // of what was accepted
	want     string                           // code; empty: accepted
}

// document is the message before it is signed.
func (c logoutCase) document(t testing.TB) *message {
	t.Helper()
	doc := c.doc
	if doc == "" {
		doc = testLogoutRequest
	}
	m := newMessage(t, doc)
	if c.edit != nil {
		c.edit(t, m)
	}
	return m
}

// byRedirect and byPost are the two ways to send it.
func (c logoutCase) byRedirect(t testing.TB, idp *testIdP) *http.Request {
	t.Helper()
	query := idp.query(t, string(c.document(t).bytes(t)), "state")
	if c.query != nil {
		query = c.query(query)
	}
	return getRequest(query)
}

func (c logoutCase) byPost(t testing.TB, idp *testIdP) *http.Request {
	t.Helper()
	m := c.document(t)
	field := fieldOf(string(m.bytes(t)))
	idp.sign(t, m.root)
	if c.after != nil {
		c.after(t, m)
	}
	return postRequest(url.Values{field: {encode(m.bytes(t))}, "RelayState": {"state"}})
}

func getRequest(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/saml/slo", nil)
	r.URL.RawQuery = query
	return r
}

func postRequest(form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/saml/slo", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// scenery is who sends the message, how whoever judges it is configured, and which
// request this browser was given.
func (c logoutCase) scenery(t *testing.T) (*testIdP, Config, string) {
	t.Helper()
	key := c.key
	if key == "" {
		key = "rsa-idp"
	}
	idp := newTestIdP(t, key)
	if c.idp != nil {
		c.idp(t, idp)
	}
	cfg := logoutConfig(t, newTestIdP(t, key))
	cfg.Now = func() time.Time { return testNow.Add(c.clock) }
	if c.config != nil {
		c.config(&cfg)
	}
	request := testLogoutID
	if c.request != nil {
		request = *c.request
	}
	return idp, cfg, request
}

// scene is the same, with the judge at work.
func (c logoutCase) scene(t *testing.T) (*testIdP, *ServiceProvider, string) {
	t.Helper()
	idp, cfg, request := c.scenery(t)
	return idp, newTestSP(t, cfg), request
}

// leave does what a single logout service does with a message, and returns the code
// and what was made of it.
func leave(t testing.TB, sp *ServiceProvider, r *http.Request, requestID string, trace *Trace) (string, *LogoutRequest, *LogoutResponse) {
	t.Helper()
	m, err := ReadLogout(httptest.NewRecorder(), r)
	var request *LogoutRequest
	var response *LogoutResponse
	switch {
	case err != nil:
	case m.IsRequest:
		request, err = sp.VerifyLogoutRequest(t.Context(), m, trace)
	default:
		response, err = sp.VerifyLogoutResponse(t.Context(), m, requestID, trace)
	}
	if err != nil {
		t.Logf("refused: %v", err)
	}
	return codeOf(t, err), request, response
}

func directive(text string) *etree.Directive { return etree.NewDirective(text) }
