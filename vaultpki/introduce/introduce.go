// Package introduce mints introductions: response-wrapped SecretIDs for one AppRole.
package introduce

import (
	"context"
	"errors"
	"time"
)

// Config says where Vault is, who asks, and for which role. It must not be
// modified while Mint runs.
type Config struct {
	Address    string        // Vault's base URL; https, or loopback http with UnsafeHTTP
	CAFile     string        // PEM file with the only CAs trusted for Vault
	UnsafeHTTP bool          // permits plain http to loopback
	Token      string        // the deployer's own Vault token
	AuthMount  string        // mount of the AppRole auth method; default "approle"
	Role       string        // the AppRole to introduce
	WrapTTL    time.Duration // life of the wrapping token; default 5 minutes
}

// Wrapped is a minted introduction.
type Wrapped struct {
	Token        string
	Accessor     string
	TTL          time.Duration
	CreationPath string
}

func Mint(ctx context.Context, cfg Config) (Wrapped, error) {
	return Wrapped{}, errors.New("not available in this build")
}
