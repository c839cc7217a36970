package main

import (
	"context"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/vaultpki"
)

// Fields of the secret that binds an ACME account.
const (
	fieldEABKeyID  = "eab_key_id"
	fieldEABMACKey = "eab_mac_key"
)

// edgeIssuing says how the certificates that browsers see are had: by the PKI of
// Vault, or by an ACME server.
func edgeIssuing(ctx context.Context, cfg *config.Gateway, client *vaultpki.Client) (vaultpki.CertificatesConfig, error) {
	acme := cfg.Vault.EdgeACME
	if !acme.On() {
		return edgeCertificates(cfg, client), nil
	}
	order := &vaultpki.ACME{
		Directory: acme.Directory, Email: acme.Email, AgreeToTerms: acme.AgreeToTerms,
		Listen: cfg.Listen.HTTPS, HTTP: acme.HTTP(), KVMount: cfg.Vault.KVMount, KVPath: acme.KVPath,
	}
	if acme.HTTP() {
		order.Listen = cfg.Listen.ACMEHTTP
	}
	issue := vaultpki.CertificatesConfig{
		Client: client, Names: cfg.Hosts(), Usage: vaultpki.ServerUsage, ACME: order,
		Window: vaultpki.Window(cfg.Vault.EdgePKI.RenewalWindow),
	}
	var err error
	if !acme.SystemRoots() {
		if order.Roots, err = readAuthorities("vault.edge_acme.ca_file", acme.CAFile); err != nil {
			return issue, err
		}
	}
	if acme.Bound() {
		order.KeyID, order.MACKey, err = readBinding(ctx, client, cfg.Vault.KVMount, acme.EABPath)
	}
	return issue, err
}

// readBinding reads what binds the account to one that the server knows.
func readBinding(ctx context.Context, client *vaultpki.Client, mount, path string) (keyID, macKey string, err error) {
	kv, err := client.ReadKV(ctx, mount, path)
	if err != nil {
		return "", "", err
	}
	if keyID, err = kv.Field(fieldEABKeyID); err != nil {
		return "", "", err
	}
	macKey, err = kv.Field(fieldEABMACKey)
	return keyID, macKey, err
}
