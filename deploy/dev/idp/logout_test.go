package idp

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
)

// slo posts a LogoutRequest of the service provider, signed by it unless it has no key.
func (w *world) slo(change func(*saml.LogoutRequest)) (status int, page string) {
	w.t.Helper()
	request, err := w.sp.MakeLogoutRequest(w.server.URL+"/slo", "alice@example.com")
	if err != nil {
		w.t.Fatal(err)
	}
	request.NameID.Value = "alice@example.com"
	change(request)
	raw, err := request.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.post("/slo", url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString(raw)}, "RelayState": {"x"}})
}

// signingProvider gives the service provider a key and a place for logout messages.
func (w *world) signingProvider() {
	w.t.Helper()
	w.sp.Key, w.sp.Certificate = keyPair(w.t)
	w.sp.SignatureMethod = rsaSHA256
	w.sp.SloURL = *parse(w.t, "https://door.example.com:8443/saml/slo")
	w.sp.LogoutBindings = []string{saml.HTTPRedirectBinding}
	metadata, err := xml.Marshal(w.sp.Metadata())
	if err != nil {
		w.t.Fatal(err)
	}
	w.source = func(context.Context) ([]byte, error) { return metadata, nil }
}

func TestLogoutRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.signingProvider()
	for name, change := range map[string]func(*saml.LogoutRequest){
		"unsigned":              func(r *saml.LogoutRequest) { r.Signature = nil },
		"changed afterwards":    func(r *saml.LogoutRequest) { r.NameID.Value = "bob@example.com" },
		"of somebody else":      func(r *saml.LogoutRequest) { r.Issuer.Value = "https://other.example.com"; w.sign(r) },
		"for another place":     func(r *saml.LogoutRequest) { r.Destination = "https://other.example.com/slo"; w.sign(r) },
		"old":                   func(r *saml.LogoutRequest) { r.IssueInstant = time.Now().Add(-time.Hour); w.sign(r) },
		"of the future":         func(r *saml.LogoutRequest) { r.IssueInstant = time.Now().Add(time.Hour); w.sign(r) },
		"about nobody":          func(r *saml.LogoutRequest) { r.NameID = nil; w.sign(r) },
		"signed with a new key": func(r *saml.LogoutRequest) { old := w.sp.Key; w.sp.Key, _ = keyPair(t); w.sign(r); w.sp.Key = old },
	} {
		if status, _ := w.slo(change); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if status, page := w.slo(w.sign); status != http.StatusSeeOther {
		t.Errorf("a good one: status %d: %s", status, page)
	}
}

// sign signs the request anew.
func (w *world) sign(r *saml.LogoutRequest) {
	w.t.Helper()
	r.Signature = nil
	if err := w.sp.SignLogoutRequest(r); err != nil {
		w.t.Fatal(err)
	}
}

func TestLogoutMessagesThatAreNone(t *testing.T) {
	w := newWorld(t)
	w.signingProvider()
	var bomb bytes.Buffer
	writer, err := flate.NewWriter(&bomb, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(bytes.Repeat([]byte(" "), 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	for name, query := range map[string]url.Values{
		"nothing":              {},
		"no base64":            {"SAMLRequest": {"%"}},
		"not deflated":         {"SAMLRequest": {"YWJj"}},
		"a bomb":               {"SAMLRequest": {base64.StdEncoding.EncodeToString(bomb.Bytes())}},
		"an empty request":     {"SAMLRequest": {""}},
		"an answer to nothing": {"SAMLResponse": {""}},
	} {
		if status, _ := w.get(w.server.URL + "/slo?" + query.Encode()); status != http.StatusBadRequest {
			t.Errorf("%s by redirect: status %d", name, status)
		}
		if status, _ := w.post("/slo", query); status != http.StatusBadRequest {
			t.Errorf("%s by POST: status %d", name, status)
		}
	}
}

func TestRequestsOfAProviderThatSignsAreHeldToIt(t *testing.T) {
	w := newWorld(t)
	w.signingProvider()
	address, _ := w.request(nil)
	if status, page := w.get(address); status != http.StatusOK || !strings.Contains(page, "password") {
		t.Errorf("signed: status %d: %s", status, page)
	}
	at := parse(t, address)
	query := at.Query()
	query.Del("Signature")
	if status, _ := w.get(w.server.URL + "/sso?" + query.Encode()); status != http.StatusBadRequest {
		t.Errorf("unsigned: status %d", status)
	}
	if status, _ := w.get(address + "&SAMLRequest=again"); status != http.StatusBadRequest {
		t.Errorf("a parameter twice: status %d", status)
	}
}
