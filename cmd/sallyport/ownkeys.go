package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
)

// keyPair is a key of ours and the certificate that publishes it.
type keyPair struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// ownKeys are all of the SAML secret's.
type ownKeys struct {
	keyPair                         // in use
	published  []*x509.Certificate  // of the pairs that come after it, or came before it
	decryption []saml.DecryptionKey // the one that is offered first
}

// readOwnKeys reads them. Of a pair that is there, both halves must be.
func readOwnKeys(kv vaultpki.KV) (keys ownKeys, err error) {
	if keys.keyPair, err = readKeyPair(kv, fieldSPKey, fieldSPCert, ""); err != nil {
		return keys, err
	}
	others, err := readOtherPairs(kv, fieldSPKey, fieldSPCert)
	if err != nil {
		return keys, err
	}
	for _, pair := range others {
		keys.published = append(keys.published, pair.certificate)
	}
	keys.decryption, err = readDecryption(kv, append([]keyPair{keys.keyPair}, others...))
	return keys, err
}

// readOtherPairs returns the pairs that come after the one in use, or came before it.
func readOtherPairs(kv vaultpki.KV, key, certificate string) ([]keyPair, error) {
	var pairs []keyPair
	for _, suffix := range []string{suffixNext, suffixPrevious} {
		if !hasPair(kv, key+suffix, certificate+suffix) {
			continue
		}
		pair, err := readKeyPair(kv, key, certificate, suffix)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// readDecryption returns the keys that assertions may be encrypted to: pairs of
// their own, if the secret has any, else those that sign. An elliptic key decrypts
// nothing.
func readDecryption(kv vaultpki.KV, signing []keyPair) ([]saml.DecryptionKey, error) {
	others, err := readOtherPairs(kv, fieldSPEncryptionKey, fieldSPEncryptionCert)
	if err != nil {
		return nil, err
	}
	apart := hasPair(kv, fieldSPEncryptionKey, fieldSPEncryptionCert) || len(others) > 0
	if !apart {
		return decryptionKeys(signing), nil
	}
	current, err := readKeyPair(kv, fieldSPEncryptionKey, fieldSPEncryptionCert, "")
	if err != nil {
		return nil, err
	}
	pairs := append([]keyPair{current}, others...)
	keys := decryptionKeys(pairs)
	if len(keys) < len(pairs) {
		return nil, &secretError{
			where: placeOf(kv) + ", field " + fieldSPEncryptionKey, hint: hintKeyPair,
			err: fmt.Errorf("a key for encryption is not an RSA key, expected RSA: no other can decrypt"),
		}
	}
	return keys, nil
}

// decryptionKeys are the RSA keys among pairs.
func decryptionKeys(pairs []keyPair) []saml.DecryptionKey {
	var keys []saml.DecryptionKey
	for _, pair := range pairs {
		if key, ok := pair.key.(*rsa.PrivateKey); ok {
			keys = append(keys, saml.DecryptionKey{Key: key, Certificate: pair.certificate})
		}
	}
	return keys
}

// hasPair says whether kv has a pair in these fields, or half of one.
func hasPair(kv vaultpki.KV, keyField, certificateField string) bool {
	_, key := kv.Optional(keyField)
	_, certificate := kv.Optional(certificateField)
	return key || certificate
}

// readKeyPair reads the pair in the fields of that suffix, which must be whole.
func readKeyPair(kv vaultpki.KV, keyField, certificateField, suffix string) (keyPair, error) {
	key, err := field(kv, keyField+suffix)
	if err != nil {
		return keyPair{}, err
	}
	certificate, err := field(kv, certificateField+suffix)
	if err != nil {
		return keyPair{}, err
	}
	var pair keyPair
	if pair.key, pair.certificate, err = saml.ParseKeyPair([]byte(key), []byte(certificate)); err != nil {
		where := placeOf(kv)
		if suffix != "" || keyField != fieldSPKey {
			where += ", field " + keyField + suffix
		}
		return keyPair{}, &secretError{where: where, err: err, hint: hintKeyPair}
	}
	return pair, nil
}
