// Package introduce mints introductions for others: response-wrapped SecretIDs,
// each for one process of one AppRole.
//
// It is what a deployer uses, with a token of his own that needs only update on
// the one path, and can be forced to wrap by the policy (min_wrapping_ttl): see
// [Policy]. What is minted, and what is checked of it, is
// [vaultpki.Client.Mint]'s.
//
// It is not a login. [Deliver] hands the introduction to whoever knows the way to
// the process, and takes it back if it did not get there. Specification: Vault's
// response wrapping.
package introduce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// revocation bounds the call that takes back what was not delivered: also when
// the deployer has interrupted the delivery.
const revocation = 5 * time.Second

// Config says where Vault is and who asks. It must not be modified while Mint
// or Deliver runs.
type Config struct {
	vaultpki.Server
	Token string // the deployer's own Vault token
	vaultpki.Minting
}

// Mint has Vault make one SecretID of the role and wrap it; see
// [vaultpki.Client.Mint].
func Mint(ctx context.Context, cfg Config) (vaultpki.Wrapped, error) {
	return Deliver(ctx, cfg, func(vaultpki.Wrapped) error { return nil })
}

// UndeliveredError is an introduction that did not get to where it was meant for.
type UndeliveredError struct {
	Wrapped vaultpki.Wrapped // what was minted
	Err     error            // why it was not delivered
	// Revoke is nil if the introduction was revoked, else why it could not be.
	Revoke error
}

// Error says why it was not delivered.
func (e *UndeliveredError) Error() string { return e.Err.Error() }

// Unwrap returns why it was not delivered.
func (e *UndeliveredError) Unwrap() error { return e.Err }

// Hint says what became of the introduction, and what is left to do.
func (e *UndeliveredError) Hint() string {
	if e.Revoke == nil {
		return "nothing was delivered, and the token is revoked"
	}
	return fmt.Sprintf("nothing was delivered; the token ends by itself in %s, or end it now: vault token revoke -accessor %s",
		e.Wrapped.TTL, e.Wrapped.Accessor)
}

// Deliver mints an introduction and calls deliver with it, once. If that fails,
// the introduction is revoked, should the deployer's token allow it: a token that
// lies about half delivered is a token that somebody may find. The error of
// deliver comes back in an [*UndeliveredError]; all others are Mint's.
func Deliver(ctx context.Context, cfg Config, deliver func(vaultpki.Wrapped) error) (vaultpki.Wrapped, error) {
	client, err := vaultpki.WithToken(cfg.Server, cfg.Token)
	if fault := cfg.Check(); err != nil || fault != nil {
		return vaultpki.Wrapped{}, &vaultpki.Error{
			Reason: vaultpki.ReasonConfig, Op: "configuring the introduction", Err: errors.Join(err, fault),
		}
	}
	defer client.Close()
	wrapped, err := client.Mint(ctx, cfg.Minting)
	if err != nil {
		return vaultpki.Wrapped{}, err
	}
	if err := deliver(wrapped); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revocation)
		defer cancel()
		return vaultpki.Wrapped{}, &UndeliveredError{Wrapped: wrapped, Err: err, Revoke: client.RevokeWrapped(ctx, wrapped)}
	}
	return wrapped, nil
}
