package interop

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"testing"
	"time"

	crewjamsaml "github.com/crewjam/saml"
	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/sallyport/sallyport/saml"
)

// BenchmarkVerify is what verifying one response costs three service providers: ours,
// with all of its checks but the memory of what was used, which would refuse the second
// time; gosaml2, on which ours is built, as it is; and crewjam's. What is verified is
// the same octets.
func BenchmarkVerify(b *testing.B) {
	for _, c := range readCorpus(b) {
		name := map[string]string{"P1": "assertion signed", "P3": "both signed"}[c.ID]
		if name == "" {
			continue
		}
		for who, verify := range map[string]func() error{"sallyport": ours(b, &c), "gosaml2": bare(b, &c), "crewjam": crewjams(b, &c)} {
			b.Run(name+"/"+who, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := verify(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// forgetful lets an assertion in again and again.
type forgetful struct{}

func (forgetful) Remember(string, time.Time) bool { return true }

func ours(b *testing.B, c *corpusCase) func() error {
	b.Helper()
	key, certificate, err := saml.ParseKeyPair([]byte(c.Provider.Key), []byte(c.Provider.Certificate))
	if err != nil {
		b.Fatal(err)
	}
	sp, err := saml.New(saml.Config{
		EntityID: c.Provider.EntityID, ACSURL: c.Provider.ACSURL, Key: key, Certificate: certificate,
		IdPMetadata: []byte(c.Provider.Metadata), Attributes: saml.Attributes{User: []string{"mail"}, Groups: []string{"groups"}},
		ClockSkew: 3 * time.Minute, Replay: forgetful{}, Now: func() time.Time { return c.Now },
	})
	if err != nil {
		b.Fatal(err)
	}
	return func() error {
		_, err := sp.Verify(b.Context(), saml.Post{Response: c.Response}, saml.Expectation{RequestID: c.Request})
		return err
	}
}

func bare(b *testing.B, c *corpusCase) func() error {
	b.Helper()
	metadata, certificate := theirMetadata(b, c)
	sp := &saml2.SAMLServiceProvider{
		IdentityProviderIssuer: metadata.EntityID, AssertionConsumerServiceURL: c.Provider.ACSURL,
		ServiceProviderIssuer: c.Provider.EntityID, AudienceURI: c.Provider.EntityID,
		IDPCertificateStore: &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate}},
		Clock:               dsig.NewFakeClockAt(c.Now),
	}
	return func() error {
		_, err := sp.RetrieveAssertionInfo(c.Response)
		return err
	}
}

func crewjams(b *testing.B, c *corpusCase) func() error {
	b.Helper()
	before, clock := crewjamsaml.TimeNow, crewjamsaml.Clock
	b.Cleanup(func() { crewjamsaml.TimeNow, crewjamsaml.Clock = before, clock })
	crewjamsaml.TimeNow, crewjamsaml.Clock = func() time.Time { return c.Now }, dsig.NewFakeClockAt(c.Now)
	metadata, _ := theirMetadata(b, c)
	acs, err := url.Parse(c.Provider.ACSURL)
	if err != nil {
		b.Fatal(err)
	}
	key, certificate, err := saml.ParseKeyPair([]byte(c.Provider.Key), []byte(c.Provider.Certificate))
	if err != nil {
		b.Fatal(err)
	}
	sp := &crewjamsaml.ServiceProvider{EntityID: c.Provider.EntityID, AcsURL: *acs, Key: key, Certificate: certificate, IDPMetadata: metadata}
	return func() error {
		raw, err := base64.StdEncoding.DecodeString(c.Response)
		if err != nil {
			return err
		}
		_, err = sp.ParseXMLResponse(raw, []string{c.Request}, *acs)
		return err
	}
}

// theirMetadata is the identity provider's, as crewjam reads it, and its certificate.
func theirMetadata(b *testing.B, c *corpusCase) (*crewjamsaml.EntityDescriptor, *x509.Certificate) {
	b.Helper()
	metadata := new(crewjamsaml.EntityDescriptor)
	if err := xml.Unmarshal([]byte(c.Provider.Metadata), metadata); err != nil {
		b.Fatal(err)
	}
	text := metadata.IDPSSODescriptors[0].KeyDescriptors[0].KeyInfo.X509Data.X509Certificates[0].Data
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		b.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	return metadata, certificate
}
