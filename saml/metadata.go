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
// refused, and no address for single logout.
func buildMetadata(entityID, acsURL string, cert *x509.Certificate) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="%s" xmlns:ds="%s" entityID="%s">
  <md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true" protocolSupportEnumeration="%s">
    <md:KeyDescriptor use="signing">
      <ds:KeyInfo>
        <ds:X509Data>
          <ds:X509Certificate>%s</ds:X509Certificate>
        </ds:X509Data>
      </ds:KeyInfo>
    </md:KeyDescriptor>
    <md:AssertionConsumerService Binding="%s" Location="%s" index="0" isDefault="true"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>
`, nsMetadata, nsDsig, escape(entityID), nsProtocol,
		base64.StdEncoding.EncodeToString(cert.Raw), bindingPost, escape(acsURL))
}

func escape(s string) string {
	var buf bytes.Buffer
	// Writing to a buffer cannot fail.
	_ = xml.EscapeText(&buf, []byte(s))
	return buf.String()
}
