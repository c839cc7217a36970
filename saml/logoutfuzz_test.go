package saml

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzRedirectQuery: what is accepted is what the identity provider signed, octet by
// octet, whatever else was done to the query.
func FuzzRedirectQuery(f *testing.F) {
	idp := newTestIdP(f, "p256-idp")
	cfg := logoutConfig(f, idp)
	cfg.Replay = &forgetful{}
	sp := newTestSP(f, cfg)
	request, response := idp.query(f, testLogoutRequest, "state"), idp.query(f, testLogoutResponse, "state")
	signed := map[string]string{} // octets -> document
	for _, doc := range []string{testLogoutRequest, testLogoutResponse} {
		octets, _, _ := strings.Cut(idp.query(f, doc, "state"), "&Signature=")
		signed[octets] = doc
	}
	for _, seed := range []string{
		request, response, lower(request), exchanged("RelayState", "")(request), dropped("Signature")(request), request + "&", request + "&x=y",
		reordered("Signature", "SigAlg", "RelayState", "SAMLRequest")(request), request + "&SAMLEncoding=" + url.QueryEscape(encodingDeflate),
		strings.ReplaceAll(request, "%2B", "+"), request + "&" + response, "", "SAMLRequest", "&&", "SAMLart=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := getRequest(query)
		m, err := ReadLogout(httptest.NewRecorder(), r)
		if err != nil {
			if codeOf(t, err) == CodeInternal || codeOf(t, err) == "" {
				t.Fatal(err)
			}
			return
		}
		if len(m.raw) > maxLogoutSize {
			t.Fatalf("%d bytes", len(m.raw))
		}
		if m.IsRequest {
			_, err = sp.VerifyLogoutRequest(t.Context(), m, &Trace{})
		} else {
			_, err = sp.VerifyLogoutResponse(t.Context(), m, testLogoutID, &Trace{})
		}
		if err != nil {
			if codeOf(t, err) == CodeInternal {
				t.Fatal(err)
			}
			return
		}
		doc, ok := signed[string(m.query.signature.signed)]
		if !ok || string(m.raw) != doc || m.RelayState != "state" || m.IsRequest != (doc == testLogoutRequest) {
			t.Fatalf("accepted %q from %q", m.raw, query)
		}
	})
}

// FuzzLogoutPost: what is accepted says what the identity provider signed.
func FuzzLogoutPost(f *testing.F) {
	idp := newTestIdP(f, "p256-idp")
	cfg := logoutConfig(f, idp)
	cfg.Replay = &forgetful{}
	sp := newTestSP(f, cfg)
	var genuine [][]byte
	judge := func(t testing.TB, raw []byte, isRequest bool) ([]byte, error) {
		field := "SAMLResponse"
		if isRequest {
			field = "SAMLRequest"
		}
		m, err := ReadLogout(httptest.NewRecorder(), postRequest(url.Values{field: {encode(raw)}}))
		if err != nil {
			return nil, err
		}
		var made any
		if isRequest {
			made, err = sp.VerifyLogoutRequest(t.Context(), m, &Trace{})
		} else {
			made, err = sp.VerifyLogoutResponse(t.Context(), m, testLogoutID, &Trace{})
		}
		return fmt.Appendf(nil, "%+v", made), err
	}
	add := func(c logoutCase) {
		if c.key != "" || c.idp != nil || c.config != nil {
			return
		}
		m := c.document(f)
		isRequest := fieldOf(string(m.bytes(f))) == "SAMLRequest"
		idp.sign(f, m.root)
		if c.after != nil {
			c.after(f, m)
		}
		raw := m.bytes(f)
		f.Add(raw, isRequest)
		if made, err := judge(f, raw, isRequest); err == nil {
			genuine = append(genuine, made)
		}
	}
	for _, c := range append(logoutCorpus(), postCorpus()...) {
		add(c)
	}
	f.Fuzz(func(t *testing.T, raw []byte, isRequest bool) {
		made, err := judge(t, raw, isRequest)
		if err != nil {
			if codeOf(t, err) == CodeInternal {
				t.Fatal(err)
			}
			return
		}
		for _, known := range genuine {
			if bytes.Equal(known, made) {
				return
			}
		}
		t.Fatalf("signed for nobody like this: %s", made)
	})
}
