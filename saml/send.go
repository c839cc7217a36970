package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// The fields that a message travels in (saml-bindings 3.4.4 and 3.5.4).
const (
	fieldRequest  = "SAMLRequest"
	fieldResponse = "SAMLResponse"
)

// sender signs messages of ours and makes them ready for the browser that carries
// them, by HTTP-Redirect or HTTP-POST.
type sender struct {
	key       signingKey
	cert      *x509.Certificate
	algorithm string // of signatures
}

// newSender chooses the algorithm by the key: one of each is enough, and SHA-1 is
// none.
func newSender(key crypto.Signer, cert *x509.Certificate) (*sender, error) {
	s := &sender{key: signingKey{key}, cert: cert, algorithm: dsig.RSASHA256SignatureMethod}
	if _, ok := key.Public().(*ecdsa.PublicKey); ok {
		s.algorithm = dsig.ECDSASHA256SignatureMethod
	}
	// A key that cannot sign shall stop the start, not the first sign-on.
	if _, err := s.key.signOctets("probe"); err != nil {
		return nil, fmt.Errorf("trying our own key: %w", err)
	}
	return s, nil
}

// newMessageElement writes what every message of ours begins with. It is stamped to
// the second.
func newMessageElement(tag, issuer, destination string, now time.Time) *etree.Element {
	root := etree.NewElement("samlp:" + tag)
	root.CreateAttr("xmlns:samlp", nsProtocol)
	root.CreateAttr("xmlns:saml", nsAssertion)
	root.CreateAttr("ID", newMessageID())
	root.CreateAttr("Version", "2.0")
	root.CreateAttr("IssueInstant", stamp(now))
	root.CreateAttr("Destination", destination)
	root.CreateElement("saml:Issuer").SetText(issuer)
	return root
}

// newMessageID returns an XML ID with 160 random bits: whoever could guess it
// could finish what somebody else has begun.
func newMessageID() string {
	random := make([]byte, 20)
	rand.Read(random) // never fails: crypto/rand ends the process instead
	return "_" + hex.EncodeToString(random)
}

// send makes the message of such an element. The field is one of those above.
func (s *sender) send(root *etree.Element, field string, binding Binding, location, relayState string) (Message, error) {
	m := Message{ID: root.SelectAttrValue("ID", ""), IssuedAt: instantOf(root, "IssueInstant"), URL: location}
	var err error
	if binding == BindingPost {
		m.Form, err = s.form(root, field, relayState)
	} else {
		var query string
		query, err = s.query(root, field, relayState)
		m.URL = openQuery(location) + query
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// form signs the message itself (saml-bindings 3.5.4), exclusively canonicalised,
// with the signature right behind the Issuer, where the schema has it.
func (s *sender) form(root *etree.Element, field, relayState string) ([]FormField, error) {
	if err := s.signElement(root, 1); err != nil {
		return nil, err
	}
	raw, err := writeElement(root)
	if err != nil {
		return nil, fmt.Errorf("writing the message: %w", err)
	}
	form := []FormField{{field, base64.StdEncoding.EncodeToString(raw)}}
	if relayState != "" {
		form = append(form, FormField{"RelayState", relayState})
	}
	return form, nil
}

// signElement puts a signature over the whole of an element into it, as the child
// with that index.
func (s *sender) signElement(root *etree.Element, index int) error {
	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.cert.Raw})
	if err != nil {
		return fmt.Errorf("preparing to sign: %w", err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signature, err := ctx.ConstructSignature(root.Copy(), true) // which the library makes canonical
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	root.InsertChildAt(index, signature)
	return nil
}

// query writes the parameters in the order that the signature is over
// (saml-bindings 3.4.4.1), so that the octets signed are the octets sent. There is
// no signature in the message itself.
func (s *sender) query(root *etree.Element, field, relayState string) (string, error) {
	raw, err := writeElement(root)
	if err != nil {
		return "", fmt.Errorf("writing the message: %w", err)
	}
	packed, err := deflate(raw)
	if err != nil {
		return "", fmt.Errorf("packing the message: %w", err)
	}
	query := field + "=" + url.QueryEscape(packed)
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	query += "&SigAlg=" + url.QueryEscape(s.algorithm)
	signature, err := s.key.signOctets(query)
	if err != nil {
		return "", fmt.Errorf("signing the message: %w", err)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature)), nil
}

// deflate packs a message as saml-bindings 3.4.4.1 has it: raw DEFLATE, base64.
func deflate(message []byte) (string, error) {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(message); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes()), nil
}

// openQuery makes an address ready for more parameters. What it has in its own
// query stays as it is.
func openQuery(location string) string {
	switch {
	case !strings.Contains(location, "?"):
		return location + "?"
	case strings.HasSuffix(location, "?"), strings.HasSuffix(location, "&"):
		return location
	}
	return location + "&"
}
