package saml

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/beevik/etree"
)

// offeredEncryption is what assertions may be encrypted with, best first. CBC is
// not offered: it is let through at most, from whoever has nothing better.
var offeredEncryption = []string{
	nsXMLEnc11 + "aes256-gcm", nsXMLEnc11 + "aes128-gcm", algOAEPMGF1P, algOAEP,
}

// buildMetadata writes our metadata (saml-metadata 2.4.4) by our own hand: gosaml2's
// offers encryption that we do not do and says a different validUntil on every
// call. The elements are in the order of the schema.
func buildMetadata(cfg *Config, s *sender) ([]byte, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	root := doc.CreateElement("md:EntityDescriptor")
	root.CreateAttr("xmlns:md", nsMetadata)
	root.CreateAttr("xmlns:ds", nsDsig)
	root.CreateAttr("entityID", cfg.EntityID)
	if d := &cfg.Description; d.ValidFor > 0 {
		root.CreateAttr("validUntil", stamp(d.ValidFrom.Add(d.ValidFor)))
	}
	cfg.Attributes.addRequirement(root)
	cfg.addRole(root)
	cfg.Description.addOrganization(root)
	cfg.Description.addContacts(root)
	doc.Indent(2)
	raw, err := doc.WriteToBytes()
	if err != nil || !cfg.Description.Signed {
		return raw, err
	}
	// The signature needs an ID to refer to: of the content, so that it changes only
	// with that.
	root.CreateAttr("ID", "_"+fingerprint(raw))
	if err := s.signElement(root, 0); err != nil {
		return nil, fmt.Errorf("signing our own metadata: %w", err)
	}
	return doc.WriteToBytes()
}

// addRole writes the service provider. The key that signs comes first.
func (cfg *Config) addRole(root *etree.Element) {
	role := root.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("AuthnRequestsSigned", "true")
	role.CreateAttr("WantAssertionsSigned", "true")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	cfg.Description.addUIInfo(role)
	for i, cert := range append([]*x509.Certificate{cfg.Certificate}, cfg.Published...) {
		if i == 0 || !cert.Equal(cfg.Certificate) {
			addKey(role, "signing", cert)
		}
	}
	if len(cfg.Decryption) > 0 {
		key := addKey(role, "encryption", cfg.Decryption[0].Certificate)
		for _, method := range offeredEncryption {
			key.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", method)
		}
	}
	if cfg.SLOURL != "" {
		for _, binding := range []string{bindingRedirect, bindingPost} {
			addService(role, "SingleLogoutService", binding, cfg.SLOURL)
		}
	}
	if cfg.NameIDFormat != "" {
		role.CreateElement("md:NameIDFormat").SetText(cfg.NameIDFormat)
	}
	consumer := addService(role, "AssertionConsumerService", bindingPost, cfg.ACSURL)
	consumer.CreateAttr("index", "0")
	consumer.CreateAttr("isDefault", "true")
}

func addKey(role *etree.Element, use string, cert *x509.Certificate) *etree.Element {
	key := role.CreateElement("md:KeyDescriptor")
	key.CreateAttr("use", use)
	key.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(cert.Raw))
	return key
}

func addService(role *etree.Element, tag, binding, location string) *etree.Element {
	service := role.CreateElement("md:" + tag)
	service.CreateAttr("Binding", binding)
	service.CreateAttr("Location", location)
	return service
}
