package idp

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxMessage is far above what a request or a logout message needs.
const maxMessage = 64 << 10

// Names of the fields that messages come in.
const (
	fieldRequest  = "SAMLRequest"
	fieldResponse = "SAMLResponse"
)

// incoming is a message of the service provider, as a browser brought it. Nothing in
// it has been verified.
type incoming struct {
	field string // fieldRequest or fieldResponse
	xml   []byte
	relay string
	query string // as it came; empty for HTTP-POST
}

// readMessage reads a query (HTTP-Redirect) or a form (HTTP-POST).
func readMessage(r *http.Request) (incoming, error) {
	if err := r.ParseForm(); err != nil {
		return incoming{}, fmt.Errorf("reading the form: %w", err)
	}
	values, query := r.PostForm, ""
	if r.Method == http.MethodGet {
		values, query = r.URL.Query(), r.URL.RawQuery
	}
	m := incoming{field: fieldRequest, relay: values.Get("RelayState"), query: query}
	if !values.Has(fieldRequest) {
		m.field = fieldResponse
	}
	raw, err := base64.StdEncoding.DecodeString(values.Get(m.field))
	if err != nil {
		return incoming{}, fmt.Errorf("reading %s: %w", m.field, err)
	}
	if query != "" {
		if raw, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), maxMessage)); err != nil {
			return incoming{}, fmt.Errorf("inflating %s: %w", m.field, err)
		}
	}
	m.xml = raw
	return m, nil
}

// verify returns the message if one of the certificates' keys has signed it, and of a
// posted one nothing but what was signed.
func (m incoming) verify(certs []*x509.Certificate) ([]byte, error) {
	if m.query != "" {
		return m.xml, verifyQuery(m.query, m.field, certs)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(m.xml); err != nil {
		return nil, fmt.Errorf("parsing the message: %w", err)
	}
	if doc.Root() == nil {
		return nil, errors.New("parsing the message: there is no element in it")
	}
	signed, err := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: certs}).Validate(doc.Root())
	if err != nil {
		return nil, fmt.Errorf("verifying the message: %w", err)
	}
	doc.SetRoot(signed)
	return doc.WriteToBytes()
}

// verifyQuery checks the signature of HTTP-Redirect, which is over the octets of the
// query as they came (saml-bindings 3.4.4.1).
func verifyQuery(query, field string, certs []*x509.Certificate) error {
	parts := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if _, twice := parts[name]; twice {
			return fmt.Errorf("verifying the query: %s is there twice", name)
		}
		parts[name] = pair
	}
	var octets []string
	for _, name := range []string{field, "RelayState", "SigAlg"} {
		if pair, ok := parts[name]; ok {
			octets = append(octets, pair)
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("verifying the query: %w", err)
	}
	signature, err := base64.StdEncoding.DecodeString(values.Get("Signature"))
	if err != nil || values.Get("SigAlg") != rsaSHA256 {
		return fmt.Errorf("verifying the query: signature with %q, expected %q", values.Get("SigAlg"), rsaSHA256)
	}
	for _, cert := range certs {
		if cert.CheckSignature(x509.SHA256WithRSA, []byte(strings.Join(octets, "&")), signature) == nil {
			return nil
		}
	}
	return errors.New("verifying the query: no key of the service provider has signed it")
}

// outgoing is a message of ours on its way to the service provider.
type outgoing struct {
	field, relay string
	to           saml.Endpoint
	element      func(signature *etree.Element) *etree.Element
}

// send has the browser carry the message, signed, with the binding of its endpoint.
func (p *IdP) send(w http.ResponseWriter, r *http.Request, m outgoing) {
	if m.to.Binding == saml.HTTPPostBinding {
		p.post(w, m)
		return
	}
	location, err := p.redirection(m)
	if err != nil {
		p.fail(w, http.StatusInternalServerError, "The message to the service could not be made.", err)
		return
	}
	http.Redirect(w, r, location, http.StatusSeeOther)
}

// redirection is the address of HTTP-Redirect.
func (p *IdP) redirection(m outgoing) (string, error) {
	raw, err := serialize(m.element(nil))
	if err != nil {
		return "", err
	}
	var deflated bytes.Buffer
	writer, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := writer.Write(raw); err != nil {
		return "", err
	}
	if err := writer.Close(); err != nil {
		return "", err
	}
	query := m.field + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if m.relay != "" {
		query += "&RelayState=" + url.QueryEscape(m.relay)
	}
	query += "&SigAlg=" + url.QueryEscape(rsaSHA256)
	digest := sha256.Sum256([]byte(query))
	signature, err := p.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("signing the query: %w", err)
	}
	separator := "?"
	if strings.Contains(m.to.Location, "?") {
		separator = "&"
	}
	return m.to.Location + separator + query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature)), nil
}

// postPage is what post.html shows.
type postPage struct{ URL, Field, Value, RelayState string }

// post writes the page that posts the message on.
func (p *IdP) post(w http.ResponseWriter, m outgoing) {
	signature, err := p.signature(m.element(nil))
	if err == nil {
		var raw []byte
		if raw, err = serialize(m.element(signature)); err == nil {
			p.page(w, http.StatusOK, "post.html", postPage{
				URL: m.to.Location, Field: m.field, Value: base64.StdEncoding.EncodeToString(raw), RelayState: m.relay,
			})
			return
		}
	}
	p.fail(w, http.StatusInternalServerError, "The message to the service could not be made.", err)
}

// signature is an enveloped one over the element.
func (p *IdP) signature(element *etree.Element) (*etree.Element, error) {
	ctx, err := dsig.NewSigningContext(p.key, [][]byte{p.saml.Certificate.Raw})
	if err != nil {
		return nil, fmt.Errorf("preparing to sign: %w", err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(rsaSHA256); err != nil {
		return nil, fmt.Errorf("preparing to sign: %w", err)
	}
	return ctx.ConstructSignature(element, true)
}

func serialize(element *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(element)
	return doc.WriteToBytes()
}

// signers are the certificates that the service provider may sign with: those of RSA
// keys, since this identity provider knows no other signatures.
func signers(provider *saml.EntityDescriptor) []*x509.Certificate {
	var all []*x509.Certificate
	for _, role := range provider.SPSSODescriptors {
		for _, key := range role.KeyDescriptors {
			if key.Use == "encryption" {
				continue
			}
			for _, found := range key.KeyInfo.X509Data.X509Certificates {
				if cert := certificate(found.Data); cert != nil {
					all = append(all, cert)
				}
			}
		}
	}
	return all
}

// certificate reads the text in a KeyInfo; nil for what is none of an RSA key.
func certificate(text string) *x509.Certificate {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return nil
	}
	return cert
}
