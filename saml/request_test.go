package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// receive does what an identity provider does with a redirect: it checks the
// signature over the octets of the query and unpacks the request.
func receive(t *testing.T, key crypto.PublicKey, address string) *etree.Element {
	t.Helper()
	_, query, _ := strings.Cut(address, "?")
	signed, signature, ok := strings.Cut(query[strings.Index(query, "SAMLRequest="):], "&Signature=")
	if !ok {
		t.Fatalf("no signature at the end of %s", query)
	}
	signature, err := url.QueryUnescape(signature)
	if err != nil {
		t.Fatal(err)
	}
	value, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(signed))
	form, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if got := form.Get("SigAlg"); got != "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" {
			t.Errorf("SigAlg %q", got)
		}
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], value); err != nil {
			t.Error(err)
		}
	case *ecdsa.PublicKey:
		if got := form.Get("SigAlg"); got != "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256" {
			t.Errorf("SigAlg %q", got)
		}
		half := len(value) / 2
		if half != 32 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(value[:half]), new(big.Int).SetBytes(value[half:])) {
			t.Errorf("ECDSA signature of %d bytes does not verify", len(value))
		}
	}
	packed, err := base64.StdEncoding.DecodeString(form.Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	message, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(message); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

func TestBegin(t *testing.T) {
	for _, keyName := range []string{"rsa-sp", "p256-sp"} {
		t.Run(keyName, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			cfg.useKey(t, keyName)
			request, err := newTestSP(t, cfg).Begin(SignOn{RelayState: "state+/=1"})
			if err != nil {
				t.Fatal(err)
			}
			root := receive(t, cfg.Key.Public(), request.URL)
			for key, want := range map[string]string{
				"ID": request.ID, "Version": "2.0", "Destination": testSSO, "AssertionConsumerServiceURL": testACS,
				"ProtocolBinding": bindingPost, "IssueInstant": "2026-11-22T12:00:00Z", "ForceAuthn": "", "IsPassive": "",
			} {
				if got := root.SelectAttrValue(key, ""); got != want {
					t.Errorf("%s %q, want %q", key, got, want)
				}
			}
			if root.Tag != "AuthnRequest" || root.NamespaceURI() != nsProtocol || root.FindElement("./Issuer").Text() != testEntityID {
				t.Errorf("request %s by %s", root.Tag, root.FindElement("./Issuer").Text())
			}
			if children := root.ChildElements(); len(children) != 1 {
				t.Errorf("%d elements in the request, expected its Issuer alone", len(children))
			}
			u, err := url.Parse(request.URL)
			if err != nil || u.Query().Get("RelayState") != "state+/=1" {
				t.Errorf("relay state %q (%v)", u.Query().Get("RelayState"), err)
			}
		})
	}
}

func TestBeginKeepsTheAddress(t *testing.T) {
	for location, want := range map[string]string{
		testSSO:                         testSSO + "?SAMLRequest=",
		testSSO + "?":                   testSSO + "?SAMLRequest=",
		testSSO + "?z=1&amp;a=%2F&amp;": testSSO + "?z=1&a=%2F&SAMLRequest=",
		testSSO + "?z=1&amp;a=b":        testSSO + "?z=1&a=b&SAMLRequest=",
	} {
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.IdPMetadata = metadataOf(t, testSSO, location)
		request, err := newTestSP(t, cfg).Begin(SignOn{RelayState: ""})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(request.URL, want) {
			t.Errorf("URL %.100s, want it to begin with %s", request.URL, want)
		}
		if strings.Contains(request.URL, "RelayState") {
			t.Errorf("an empty relay state is in %s", request.URL)
		}
		receive(t, cfg.Key.Public(), request.URL)
	}
}

func TestBeginRefusesRelayStates(t *testing.T) {
	sp := newTestSP(t, testConfig(t, newTestIdP(t, "rsa-idp")))
	for _, state := range []string{strings.Repeat("a", 81), "a b", "a\r\nb", "é"} {
		if _, err := sp.Begin(SignOn{RelayState: state}); err == nil {
			t.Errorf("relay state %q was taken", state)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newMessageID()
		if !regexp.MustCompile(`^_[0-9a-f]{40}$`).MatchString(id) || seen[id] {
			t.Fatalf("request ID %q", id)
		}
		seen[id] = true
	}
}
