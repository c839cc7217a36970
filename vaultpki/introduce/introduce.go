// Package introduce mints introductions for others: response-wrapped SecretIDs,
// each for one process of one AppRole.
//
// It is what a deployer uses, with a token of his own that needs only update on
// the one path, and can be forced to wrap by the policy (min_wrapping_ttl). What
// is minted, and what is checked of it, is [vaultpki.Client.Mint]'s.
//
// It is not a login, and it hands nothing to the process: that is the deployer's
// work. Specification: Vault's response wrapping.
package introduce

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/vaultpki"
)

// Config says where Vault is and who asks. It must not be modified while Mint
// runs.
type Config struct {
	vaultpki.Server
	Token string // the deployer's own Vault token
	vaultpki.Minting
}

// Mint has Vault make one SecretID of the role and wrap it; see
// [vaultpki.Client.Mint].
func Mint(ctx context.Context, cfg Config) (vaultpki.Wrapped, error) {
	client, err := vaultpki.WithToken(cfg.Server, cfg.Token)
	if fault := cfg.Minting.Check(); err != nil || fault != nil {
		return vaultpki.Wrapped{}, &vaultpki.Error{
			Reason: vaultpki.ReasonConfig, Op: "configuring the introduction", Err: errors.Join(err, fault),
		}
	}
	defer client.Close()
	return client.Mint(ctx, cfg.Minting)
}
