package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
)

// Fields of the secrets that the gateway reads.
const (
	fieldSPKey  = "sp_private_key"
	fieldSPCert = "sp_public_cert"
	// A pair for encryption alone; without, the pair above is for both.
	fieldSPEncryptionKey  = "sp_encryption_private_key"
	fieldSPEncryptionCert = "sp_encryption_public_cert"
	fieldIdPMetadata      = "idp_metadata_xml"
	fieldIdPSigner        = "idp_metadata_signer"
	fieldIdPEntityID      = "idp_entity_id"
	suffixNext            = "_next"     // of the pair that will be ours
	suffixPrevious        = "_previous" // of the pair that was
	fieldCurrentKey       = "current"
	fieldNextKey          = "next"
	fieldPreviousKey      = "previous"
)

// hintsSAML say where each field of the SAML secret comes from.
var hintsSAML = map[string]string{
	fieldSPKey:            hintKeyPair,
	fieldSPCert:           hintKeyPair,
	fieldSPEncryptionKey:  hintEncryptionPair,
	fieldSPEncryptionCert: hintEncryptionPair,
	fieldIdPMetadata:      "write the identity provider's metadata document to that field; `sallyport provision apply --idp-metadata FILE` does",
	fieldIdPSigner:        "write the certificate that signs the metadata at saml.metadata_url to that field, as PEM",
}

const hintKeyPair = "write " + fieldSPKey + " and " + fieldSPCert + " as PEM, the certificate made for that key; `sallyport provision apply` makes such a pair if neither is there"

const hintEncryptionPair = "write " + fieldSPEncryptionKey + " and " + fieldSPEncryptionCert + " as PEM, of an RSA key; or remove both, with " + suffixNext + " and " + suffixPrevious + " too, and the key that signs is for both"

// fieldOf is the field of the identity provider of that name. One that has the name
// of the only one has plain fields.
func fieldOf(field, idp string) string {
	if idp == config.DefaultIdP {
		return field
	}
	return field + "_" + idp
}

// readServiceProvider makes the service provider towards one identity provider from
// what kv holds. fetched is its metadata from its URL; nil means that kv has it.
func readServiceProvider(shared sharedSAML, idp config.IdP, kv vaultpki.KV, fetched *fetched) (*saml.ServiceProvider, error) {
	settings := samlConfig(shared, idp)
	var err error
	if settings.IdPEntityID, err = readEntityID(idp, kv); err != nil {
		return nil, err
	}
	from, name := idp.MetadataURL, fieldOf(fieldIdPMetadata, idp.Name)
	if fetched != nil {
		settings.IdPMetadata = fetched.text
		settings.MetadataSigner, err = readSigner(idp, kv)
	} else {
		from = placeOf(kv) + ", field " + name
		var text string
		text, err = field(kv, name)
		settings.IdPMetadata = []byte(text)
	}
	if err != nil {
		return nil, err
	}
	provider, err := newServiceProvider(settings)
	if err != nil {
		hint := hintsSAML[fieldIdPMetadata]
		if want := settings.IdPEntityID; want != "" {
			hint += fmt.Sprintf("; it must be of %q, as field %s or saml.idps says: if it was, find out who changed one of them", want, fieldOf(fieldIdPEntityID, idp.Name))
		}
		return nil, &secretError{where: from, err: err, hint: hint}
	}
	return provider, nil
}

// readEntityID returns which entity of its metadata the identity provider is, empty
// if nobody says. What the secret says binds the configuration: it is not everybody
// who may write that secret.
func readEntityID(idp config.IdP, kv vaultpki.KV) (string, error) {
	pinned, ok := kv.Optional(fieldOf(fieldIdPEntityID, idp.Name))
	if !ok || idp.EntityID == "" || idp.EntityID == pinned {
		return cmp.Or(pinned, idp.EntityID), nil
	}
	return "", &secretError{
		where: placeOf(kv) + ", field " + fieldOf(fieldIdPEntityID, idp.Name),
		err:   fmt.Errorf("value %.200q, expected %q as saml.idps says", pinned, idp.EntityID),
		hint:  "make both the same, or leave one out",
	}
}

// placeOf names a version of a secret to an operator.
func placeOf(kv vaultpki.KV) string {
	return fmt.Sprintf("%s/%s (version %d)", kv.Mount, kv.Path, kv.Version)
}

// field is kv.Field with the hint that belongs to the name.
func field(kv vaultpki.KV, name string) (string, error) {
	text, err := kv.Field(name)
	if err != nil {
		return "", &hinted{err, hintOfField(name)}
	}
	return text, nil
}

// hintOfField says where a field comes from, whichever key or identity provider it
// is of.
func hintOfField(name string) string {
	for field, hint := range hintsSAML {
		if name == field || strings.HasPrefix(name, field+"_") {
			return hint
		}
	}
	return ""
}

// readSigner returns the certificate that must have signed fetched metadata, nil
// if the configuration lets it be unsigned.
func readSigner(idp config.IdP, kv vaultpki.KV) (*x509.Certificate, error) {
	if idp.UnsafeMetadataUnsigned {
		return nil, nil
	}
	name := fieldOf(fieldIdPSigner, idp.Name)
	text, err := field(kv, name)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		err = errors.New("it is not one certificate in PEM")
	} else if certificate, parseErr := x509.ParseCertificate(block.Bytes); parseErr == nil {
		return certificate, nil
	} else {
		err = fmt.Errorf("parsing X.509: %w", parseErr)
	}
	return nil, &secretError{where: placeOf(kv) + ", field " + name, err: err, hint: hintsSAML[fieldIdPSigner]}
}

// newServiceProvider is saml.New for metadata that may be something else: a key
// in the wrong field must not be quoted by an error about XML.
func newServiceProvider(settings saml.Config) (*saml.ServiceProvider, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(settings.IdPMetadata, []byte("\ufeff")))
	if !bytes.HasPrefix(text, []byte("<")) {
		return nil, fmt.Errorf("value of %d bytes does not begin with %q, expected an XML document", len(settings.IdPMetadata), "<")
	}
	return saml.New(settings)
}

// readSessions makes the session manager with the keys that kv holds.
func readSessions(cfg *config.Gateway, kv vaultpki.KV, memory *session.Memory) (*session.Manager, error) {
	keys, err := sessionKeys(kv)
	if err != nil {
		return nil, err
	}
	return session.New(session.Config{
		Keys: keys, Hosts: cfg.Hosts(), Idle: cfg.Session.Idle.Duration, Absolute: cfg.Session.Absolute.Duration,
		Memory: memory, Now: time.Now,
	})
}

// sessionKeys decodes the keys of kv: the current one is required.
func sessionKeys(kv vaultpki.KV) (session.Keys, error) {
	var keys session.Keys
	current, err := kv.Field(fieldCurrentKey)
	if err != nil {
		return keys, err
	}
	if keys.Current, err = decodeKey(kv, fieldCurrentKey, current); err != nil {
		return keys, err
	}
	for _, optional := range []struct {
		name string
		key  *[]byte
	}{{fieldNextKey, &keys.Next}, {fieldPreviousKey, &keys.Previous}} {
		value, ok := kv.Optional(optional.name)
		if !ok {
			continue
		}
		if *optional.key, err = decodeKey(kv, optional.name, value); err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// decodeKey decodes one session key. The error says what is wrong with its
// form, never what it is.
func decodeKey(kv vaultpki.KV, name, value string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(value)
	if err == nil && len(key) == session.KeySize {
		return key, nil
	}
	cause := fmt.Errorf("value is not base64")
	if err == nil {
		cause = fmt.Errorf("value decodes to %d bytes", len(key))
	}
	return nil, &secretError{
		where: placeOf(kv) + ", field " + name,
		err:   fmt.Errorf("%w, expected base64 of %d random bytes", cause, session.KeySize),
		hint:  "write the output of `openssl rand -base64 32` to that field",
	}
}
