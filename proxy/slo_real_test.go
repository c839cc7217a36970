package proxy_test

import (
	"compress/flate"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// realLogout is a real service provider for whatever has to do with signing out;
// who signs on is still scripted.
type realLogout struct {
	*scriptedSAML
	real *saml.ServiceProvider
}

func (r realLogout) BeginLogout(s saml.Subject, index, relayState string) (saml.Message, error) {
	return r.real.BeginLogout(s, index, relayState)
}

func (r realLogout) VerifyLogoutRequest(ctx context.Context, m saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error) {
	return r.real.VerifyLogoutRequest(ctx, m, trace)
}

func (r realLogout) VerifyLogoutResponse(ctx context.Context, m saml.LogoutMessage, requestID string, trace *saml.Trace) (*saml.LogoutResponse, error) {
	return r.real.VerifyLogoutResponse(ctx, m, requestID, trace)
}

func (r realLogout) AnswerLogout(request *saml.LogoutRequest) (saml.Message, error) {
	return r.real.AnswerLogout(request)
}

// signingIdP is an identity provider that signs logout messages, and the service
// provider's key, by which it knows ours.
type signingIdP struct {
	tb      testing.TB
	key, sp *rsa.PrivateKey
	slo     string // our single logout service
}

// certificate publishes a key.
func certificate(tb testing.TB, key *rsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// newSigningWorld is a world whose identity provider takes logout messages by
// redirect, for real.
func newSigningWorld(tb testing.TB) (*world, *signingIdP) {
	tb.Helper()
	idp := &signingIdP{tb: tb}
	for _, key := range []**rsa.PrivateKey{&idp.key, &idp.sp} {
		var err error
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			tb.Fatal(err)
		}
	}
	w := newWorld(tb, func(cfg *proxy.Config) {
		door := "https://" + net.JoinHostPort(doorHost, strconv.Itoa(cfg.PublicPort))
		idp.slo = door + "/saml/slo"
		sp, err := saml.New(saml.Config{
			EntityID: door + "/saml/metadata", ACSURL: door + "/saml/acs", SLOURL: idp.slo, Key: idp.sp, Certificate: certificate(tb, idp.sp),
			IdPMetadata: fmt.Appendf(nil, `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="%s"/><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="%s"/></md:IDPSSODescriptor></md:EntityDescriptor>`,
				idpEntityID, base64.StdEncoding.EncodeToString(certificate(tb, idp.key).Raw), idpLogout, idpSignOn),
			Attributes: saml.Attributes{User: []string{saml.NameIDAttribute}},
		})
		if err != nil {
			tb.Fatal(err)
		}
		cfg.IdPs = []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: realLogout{cfg.IdPs[0].SAML.(*scriptedSAML), sp}}}
	})
	return w, idp
}

// query is a signed message with a relay state, as it stands in an address.
func (idp *signingIdP) query(kind, attributes, body, relayState string) string {
	idp.tb.Helper()
	message := fmt.Sprintf(`<samlp:%s xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_%s" Version="2.0" IssueInstant="%s" Destination="%s"%s><saml:Issuer>%s</saml:Issuer>%s</samlp:%s>`,
		kind, session.NewID(), time.Now().UTC().Format(time.RFC3339), idp.slo, attributes, idpEntityID, body, kind)
	field := "SAMLResponse"
	if kind == "LogoutRequest" {
		field = "SAMLRequest"
	}
	octets := field + "=" + url.QueryEscape(deflated(idp.tb, message)) + "&RelayState=" + url.QueryEscape(relayState) +
		"&SigAlg=" + url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256")
	digest := sha256.Sum256([]byte(octets))
	signature, err := rsa.SignPKCS1v15(nil, idp.key, crypto.SHA256, digest[:])
	if err != nil {
		idp.tb.Fatal(err)
	}
	return octets + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature))
}

// read verifies the signature of a message of ours, and returns its text.
func (idp *signingIdP) read(address, field string) (text, relayState string) {
	idp.tb.Helper()
	octets, signature, _ := strings.Cut(strings.TrimPrefix(address, idpLogout+"?"), "&Signature=")
	signed, err := url.QueryUnescape(signature)
	if err != nil {
		idp.tb.Fatal(err)
	}
	value, err := base64.StdEncoding.DecodeString(signed)
	if err != nil {
		idp.tb.Fatal(err)
	}
	digest := sha256.Sum256([]byte(octets))
	if err := rsa.VerifyPKCS1v15(&idp.sp.PublicKey, crypto.SHA256, digest[:], value); err != nil {
		idp.tb.Fatalf("the signature of %q: %v", address, err)
	}
	query, err := url.ParseQuery(octets)
	if err != nil {
		idp.tb.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(query.Get(field))
	if err != nil {
		idp.tb.Fatal(err)
	}
	raw, err := io.ReadAll(flate.NewReader(strings.NewReader(string(packed))))
	if err != nil {
		idp.tb.Fatal(err)
	}
	return string(raw), query.Get("RelayState")
}

var messageID = regexp.MustCompile(` ID="([^"]+)"`)

// TestSignOutWithARealServiceProvider signs out at a tool, at the identity provider
// and back, with real signatures both ways.
func TestSignOutWithARealServiceProvider(t *testing.T) {
	for name, test := range map[string]struct{ status, says string }{
		"everywhere":     {`<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>`, "has signed you out, too"},
		"not everywhere": {`<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:PartialLogout"/></samlp:StatusCode>`, "could not sign you out of every other application"},
		"not at all":     {`<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>`, "has not confirmed"},
	} {
		t.Run(name, func(t *testing.T) {
			w, idp := newSigningWorld(t)
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			toIdP := b.navigate(b.post(w.origin(headersHost)+signOutPath, "same-origin", nil).next()).next()
			request, relayState := idp.read(toIdP, "SAMLRequest")
			if !strings.Contains(request, ">alice-4711</saml:NameID>") || !strings.Contains(request, "<samlp:SessionIndex>alice-1</samlp:SessionIndex>") {
				t.Errorf("the request says %s", request)
			}
			answer := ` InResponseTo="` + messageID.FindStringSubmatch(request)[1] + `"`
			res := b.navigate(idp.slo + "?" + idp.query("LogoutResponse", answer, "<samlp:Status>"+test.status+"</samlp:Status>", relayState))
			if page := b.navigate(res.next()); !strings.Contains(page.body, test.says) {
				t.Errorf("after %d to %q: %s", res.StatusCode, res.next(), page.body)
			}
		})
	}
}

// TestLogoutRequestOfARealIdentityProvider ends the session that it names, is
// answered by a signed response, and is taken once.
func TestLogoutRequestOfARealIdentityProvider(t *testing.T) {
	w, idp := newSigningWorld(t)
	b, other := w.browser(), w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	other.signIn(w.origin(headersHost)+"/", "bob")
	demand := func(person, index string) string {
		return idp.slo + "?" + idp.query("LogoutRequest", "", "<saml:NameID>"+person+"</saml:NameID><samlp:SessionIndex>"+index+"</samlp:SessionIndex>", "theirs")
	}
	address := demand("alice-4711", "alice-1")
	response, relayState := idp.read(w.browser().navigate(address).next(), "SAMLResponse")
	if relayState != "theirs" || !strings.Contains(response, `Value="urn:oasis:names:tc:SAML:2.0:status:Success"`) {
		t.Errorf("the answer is %s with %q", response, relayState)
	}
	if b.signedIn(headersHost) || b.signedIn(doorHost) || !other.signedIn(headersHost) {
		t.Errorf("signed in: alice %t, bob %t", b.signedIn(headersHost), other.signedIn(headersHost))
	}
	if res := w.browser().navigate(address); res.StatusCode != http.StatusForbidden {
		t.Errorf("the same request again: %d", res.StatusCode)
	}
	if res := w.browser().navigate(strings.Replace(demand("bob-4712", "bob-1"), "RelayState=theirs", "RelayState=others", 1)); res.StatusCode != http.StatusForbidden || !other.signedIn(headersHost) {
		t.Errorf("a request that was changed on its way: %d", res.StatusCode)
	}
}
