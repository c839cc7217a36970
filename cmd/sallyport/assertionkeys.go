package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/vaultpki"
)

// assertionKey is a key that signs assertions.
type assertionKey struct {
	id     string // its kid
	signer crypto.Signer
}

// assertionKeys are all of the secret's, the current one first.
type assertionKeys []assertionKey

// readAssertionKeys reads them; the current one is required.
func readAssertionKeys(kv vaultpki.KV) (assertionKeys, error) {
	var keys assertionKeys
	for _, name := range []string{fieldCurrentKey, fieldNextKey, fieldPreviousKey} {
		text, ok := kv.Optional(name)
		if !ok {
			if name != fieldCurrentKey {
				continue
			}
			_, err := kv.Field(name)
			return nil, &hinted{err, hintAssertionKey + "; `sallyport provision apply` makes one if there is none"}
		}
		key, err := parseAssertionKey(text)
		if err != nil {
			return nil, &secretError{where: placeOf(kv) + ", field " + name, err: err, hint: hintAssertionKey}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

const hintAssertionKey = "write the output of `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` to that field"

// parseAssertionKey reads one key in PEM. The error says what is wrong with its form,
// never what it is.
func parseAssertionKey(text string) (assertionKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return assertionKey{}, errors.New("value is not PEM, expected a private key")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = errors.New("another kind of block")
	}
	if err != nil {
		return assertionKey{}, errors.New("value cannot be parsed, expected a private key in PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return assertionKey{}, fmt.Errorf("value is a %T, expected an elliptic key on P-256", parsed)
	}
	id, err := assertion.KeyID(key.Public())
	if err != nil {
		return assertionKey{}, fmt.Errorf("judging the key: %w", err)
	}
	return assertionKey{id, key}, nil
}

// newIssuer makes what signs assertions, for the client certificate that backends
// are shown.
func newIssuer(cfg *config.Gateway, keys assertionKeys, certificates *keyCertificates, shown *x509.Certificate, logID func(string) string) (*assertion.Issuer, error) {
	settings := assertion.Config{Origin: cfg.Origin(cfg.Door.Host), ClientCertificate: shown.Raw, LogID: logID}
	for i, key := range keys {
		published := assertion.Key{Signer: key.signer, Chain: certificates.chain(key.id)}
		if i == 0 {
			settings.Current = published
		} else {
			settings.Others = append(settings.Others, published)
		}
	}
	return assertion.New(settings)
}
