package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"fmt"
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
	fieldCurrentKey  = "current"
	fieldNextKey     = "next"
	fieldPreviousKey = "previous"
)

// hintsSAML say where each field of the SAML secret comes from.
var hintsSAML = map[string]string{
	fieldSPKey:       hintKeyPair,
	fieldSPCert:      hintKeyPair,
	fieldIdPMetadata: "write the identity provider's metadata document to that field; `sallyport provision apply --idp-metadata FILE` does",
}

const hintKeyPair = "write " + fieldSPKey + " and " + fieldSPCert + " as PEM, the certificate made for that key; `sallyport provision apply` makes such a pair if neither is there"

// readServiceProvider makes the service provider from what Vault holds.
func readServiceProvider(ctx context.Context, client *vaultpki.Client, cfg *config.Gateway) (*saml.ServiceProvider, vaultpki.KV, error) {
	kv, err := client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.SAMLPath)
	if err != nil {
		return nil, kv, err
	}
	var fields [3]string
	for i, name := range []string{fieldSPKey, fieldSPCert, fieldIdPMetadata} {
		if fields[i], err = kv.Field(name); err != nil {
			return nil, kv, &hinted{err, hintsSAML[name]}
		}
	}
	place := fmt.Sprintf("%s/%s (version %d)", kv.Mount, kv.Path, kv.Version)
	key, certificate, err := saml.ParseKeyPair([]byte(fields[0]), []byte(fields[1]))
	if err != nil {
		return nil, kv, &secretError{
			where: place, err: err, hint: hintKeyPair,
		}
	}
	provider, err := newServiceProvider(cfg, key, certificate, []byte(fields[2]))
	if err != nil {
		return nil, kv, &secretError{
			where: place + ", field " + fieldIdPMetadata, err: err,
			hint: hintsSAML[fieldIdPMetadata],
		}
	}
	return provider, kv, nil
}

// newServiceProvider is saml.New for metadata that may be something else: a key
// in the wrong field must not be quoted by an error about XML.
func newServiceProvider(
	cfg *config.Gateway, key crypto.Signer, certificate *x509.Certificate, metadata []byte,
) (*saml.ServiceProvider, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(metadata, []byte("\ufeff")))
	if !bytes.HasPrefix(text, []byte("<")) {
		return nil, fmt.Errorf("value of %d bytes does not begin with %q, expected an XML document", len(metadata), "<")
	}
	return saml.New(samlConfig(cfg, key, certificate, metadata))
}

// readSessions makes the session manager with the keys that Vault holds.
func readSessions(ctx context.Context, client *vaultpki.Client, cfg *config.Gateway) (*session.Manager, vaultpki.KV, error) {
	kv, err := client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.SessionPath)
	if err != nil {
		return nil, kv, err
	}
	keys, err := sessionKeys(kv)
	if err != nil {
		return nil, kv, err
	}
	manager, err := session.New(session.Config{
		Keys: keys, Hosts: cfg.Hosts(), Idle: cfg.Session.Idle.Duration, Absolute: cfg.Session.Absolute.Duration, Now: time.Now,
	})
	return manager, kv, err
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
func decodeKey(kv vaultpki.KV, field, value string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(value)
	if err == nil && len(key) == session.KeySize {
		return key, nil
	}
	cause := fmt.Errorf("value is not base64")
	if err == nil {
		cause = fmt.Errorf("value decodes to %d bytes", len(key))
	}
	return nil, &secretError{
		where: fmt.Sprintf("%s/%s (version %d), field %s", kv.Mount, kv.Path, kv.Version, field),
		err:   fmt.Errorf("%w, expected base64 of %d random bytes", cause, session.KeySize),
		hint:  "write the output of `openssl rand -base64 32` to that field",
	}
}
