package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
)

// spKeyBits is the length of the service provider's key: the one that the peers of the
// figure have. With the 3072 bits that provisioning makes, a sign-on takes half as long
// again, since it signs once and decrypts once.
const spKeyBits = 2048

// samlSecret is where the service provider's key is in Vault.
const samlSecret = "secret/data/sallyport/saml"

// shorterKey has the gateway use a key of spKeyBits.
func (s *stand) shorterKey(ctx context.Context) error {
	key, err := rsa.GenerateKey(rand.Reader, spKeyBits)
	if err != nil {
		return fmt.Errorf("making the service provider's key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, keyTemplate("bench service provider"), keyTemplate("bench service provider"), key.Public(), key)
	if err != nil {
		return fmt.Errorf("making the service provider's certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing the service provider's key: %w", err)
	}
	var have struct {
		Data struct{ Data map[string]string }
	}
	if err := s.vault.Call(ctx, http.MethodGet, samlSecret, nil, &have); err != nil {
		return fmt.Errorf("reading the service provider's key: %w", err)
	}
	fields := maps.Clone(have.Data.Data)
	fields["sp_private_key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	fields["sp_public_cert"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err := s.vault.Call(ctx, http.MethodPut, samlSecret, map[string]any{"data": fields}, nil); err != nil {
		return fmt.Errorf("keeping the service provider's key: %w", err)
	}
	return nil
}
