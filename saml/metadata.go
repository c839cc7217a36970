package saml

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"fmt"
)

// buildMetadata writes our metadata (saml-metadata 2.4.4) by hand: gosaml2's
// offers encryption that we do not do and says a different validUntil on every
// call. There is no encryption key in it, since encrypted assertions are
// refused, and no address for single logout. The key that signs comes first.
func buildMetadata(cfg *Config) []byte {
	var keys []byte
	for i, cert := range append([]*x509.Certificate{cfg.Certificate}, cfg.Published...) {
		if i > 0 && cert.Equal(cfg.Certificate) {
			continue
		}
		keys = fmt.Appendf(keys, `
    <md:KeyDescriptor use="signing">
      <ds:KeyInfo>
        <ds:X509Data>
          <ds:X509Certificate>%s</ds:X509Certificate>
        </ds:X509Data>
      </ds:KeyInfo>
    </md:KeyDescriptor>`, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="%s" xmlns:ds="%s" entityID="%s">
  <md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true" protocolSupportEnumeration="%s">%s
    <md:AssertionConsumerService Binding="%s" Location="%s" index="0" isDefault="true"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>
`, nsMetadata, nsDsig, escape(cfg.EntityID), nsProtocol, keys, bindingPost, escape(cfg.ACSURL))
}

func escape(s string) string {
	var buf bytes.Buffer
	// Writing to a buffer cannot fail.
	_ = xml.EscapeText(&buf, []byte(s))
	return buf.String()
}
