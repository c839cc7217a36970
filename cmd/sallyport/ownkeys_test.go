package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// pemPair is a key pair as the SAML secret has it.
type pemPair struct{ key, certificate string }

// ellipticPair makes a pair that signs, and cannot decrypt.
func ellipticPair(t *testing.T) pemPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return pemPair{encode("PRIVATE KEY", der), encode("CERTIFICATE", certificate)}
}

func TestOnlyRSAKeysDecrypt(t *testing.T) {
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, other := &x509.Certificate{}, &x509.Certificate{}
	keys := decryptionKeys([]keyPair{{curve, other}, {first, own}})
	if len(keys) != 1 || keys[0].Certificate != own {
		t.Errorf("%d keys decrypt, want the RSA key alone", len(keys))
	}
	if keys := decryptionKeys([]keyPair{{curve, other}}); keys != nil {
		t.Errorf("an elliptic key decrypts: %v", keys)
	}
}
