package main

import (
	"bytes"
	"crypto"
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
	fieldSPKey       = "sp_private_key"
	fieldSPCert      = "sp_public_cert"
	fieldIdPMetadata = "idp_metadata_xml"
	fieldIdPSigner   = "idp_metadata_signer"
	fieldIdPEntityID = "idp_entity_id"
	suffixNext       = "_next"     // of the pair that will be ours
	suffixPrevious   = "_previous" // of the pair that was
	fieldCurrentKey  = "current"
	fieldNextKey     = "next"
	fieldPreviousKey = "previous"
)

// hintsSAML say where each field of the SAML secret comes from.
var hintsSAML = map[string]string{
	fieldSPKey:       hintKeyPair,
	fieldSPCert:      hintKeyPair,
	fieldIdPMetadata: "write the identity provider's metadata document to that field; `sallyport provision apply --idp-metadata FILE` does",
	fieldIdPSigner:   "write the certificate that signs the metadata at saml.metadata_url to that field, as PEM",
}

const hintKeyPair = "write " + fieldSPKey + " and " + fieldSPCert + " as PEM, the certificate made for that key; `sallyport provision apply` makes such a pair if neither is there"

// readServiceProvider makes the service provider from what kv holds, and returns
// its certificate too. fetched is the identity provider's metadata from its URL;
// nil means that kv has it.
func readServiceProvider(
	cfg *config.Gateway, kv vaultpki.KV, fetched *fetched, replay saml.Replay,
) (*saml.ServiceProvider, *x509.Certificate, error) {
	own, err := readKeyPair(kv, "")
	if err != nil {
		return nil, nil, err
	}
	settings := samlConfig(cfg, own)
	settings.Replay = replay
	if settings.Published, err = readPublished(kv); err != nil {
		return nil, nil, err
	}
	from := cfg.SAML.MetadataURL
	if fetched != nil {
		settings.IdPMetadata = fetched.text
		settings.MetadataSigner, err = readSigner(cfg, kv)
	} else {
		from = placeOf(kv) + ", field " + fieldIdPMetadata
		var text string
		text, err = field(kv, fieldIdPMetadata)
		settings.IdPMetadata = []byte(text)
	}
	if err != nil {
		return nil, nil, err
	}
	provider, err := newServiceProvider(settings)
	if err != nil {
		return nil, nil, &secretError{where: from, err: err, hint: hintsSAML[fieldIdPMetadata]}
	}
	if want, pinned := kv.Optional(fieldIdPEntityID); pinned && provider.IdP().EntityID != want {
		return nil, nil, &secretError{
			where: from, err: fmt.Errorf("the document is of %q, expected %q as field %s of %s says", provider.IdP().EntityID, want, fieldIdPEntityID, placeOf(kv)),
			hint: "find out who changed the document or its place; write the entity ID to that field if it is meant",
		}
	}
	return provider, own.certificate, nil
}

// readPublished returns the certificates of the keys that come after the one in
// use, or came before it. A pair that is there must be whole.
func readPublished(kv vaultpki.KV) ([]*x509.Certificate, error) {
	var published []*x509.Certificate
	for _, suffix := range []string{suffixNext, suffixPrevious} {
		if !hasPair(kv, suffix) {
			continue
		}
		pair, err := readKeyPair(kv, suffix)
		if err != nil {
			return nil, err
		}
		published = append(published, pair.certificate)
	}
	return published, nil
}

// placeOf names a version of a secret to an operator.
func placeOf(kv vaultpki.KV) string {
	return fmt.Sprintf("%s/%s (version %d)", kv.Mount, kv.Path, kv.Version)
}

// field is kv.Field with the hint that belongs to the name.
func field(kv vaultpki.KV, name string) (string, error) {
	text, err := kv.Field(name)
	if err != nil {
		return "", &hinted{err, hintsSAML[strings.TrimSuffix(strings.TrimSuffix(name, suffixNext), suffixPrevious)]}
	}
	return text, nil
}

// keyPair is a key of ours and the certificate that publishes it.
type keyPair struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// hasPair says whether kv has a pair of that suffix, or half of one.
func hasPair(kv vaultpki.KV, suffix string) bool {
	_, key := kv.Optional(fieldSPKey + suffix)
	_, certificate := kv.Optional(fieldSPCert + suffix)
	return key || certificate
}

// readKeyPair reads the pair of that suffix, which must be whole.
func readKeyPair(kv vaultpki.KV, suffix string) (keyPair, error) {
	key, err := field(kv, fieldSPKey+suffix)
	if err != nil {
		return keyPair{}, err
	}
	certificate, err := field(kv, fieldSPCert+suffix)
	if err != nil {
		return keyPair{}, err
	}
	var pair keyPair
	if pair.key, pair.certificate, err = saml.ParseKeyPair([]byte(key), []byte(certificate)); err != nil {
		where := placeOf(kv)
		if suffix != "" {
			where += ", field " + fieldSPKey + suffix
		}
		return keyPair{}, &secretError{where: where, err: err, hint: hintKeyPair}
	}
	return pair, nil
}

// readSigner returns the certificate that must have signed fetched metadata, nil
// if the configuration lets it be unsigned.
func readSigner(cfg *config.Gateway, kv vaultpki.KV) (*x509.Certificate, error) {
	if cfg.SAML.UnsafeMetadataUnsigned {
		return nil, nil
	}
	text, err := field(kv, fieldIdPSigner)
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
	return nil, &secretError{where: placeOf(kv) + ", field " + fieldIdPSigner, err: err, hint: hintsSAML[fieldIdPSigner]}
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
