package vaultpki

import (
	"log/slog"
	"time"
)

// Config says where Vault is and how this process is introduced to it. It must
// not be modified after Login.
type Config struct {
	// Address is Vault's base URL, such as "https://vault.internal:8200".
	// Only https is accepted, unless UnsafeHTTP is set and the host is loopback.
	Address string
	// CAFile is a PEM file with the only certificate authorities that are
	// trusted for Vault's own certificate. The system's roots are not used.
	// Required, unless UnsafeHTTP is set.
	CAFile string
	// UnsafeHTTP permits plain http to a loopback address.
	UnsafeHTTP bool

	// AuthMount is the mount of the AppRole auth method; default "approle".
	AuthMount string
	// Role is the AppRole's name; the wrapping token must come from its path.
	Role string
	// RoleID is the AppRole's RoleID: an identifier, not a secret.
	RoleID string
	// WrappingTokenFile holds the wrapping token of a SecretID on one line.
	WrappingTokenFile string
	// MaxWrapTTL is the longest life of a wrapping token that is accepted;
	// default 1 hour.
	MaxWrapTTL time.Duration

	// Wait is how long an unreachable or sealed Vault is waited for;
	// default 2 minutes.
	Wait time.Duration

	// Log receives one line per step; nil discards. Now is the clock that
	// creation times are compared with; nil means time.Now. Both are used
	// concurrently.
	Log *slog.Logger
	Now func() time.Time
}

const (
	defaultAuthMount  = "approle"
	defaultMaxWrapTTL = time.Hour
	defaultWait       = 2 * time.Minute
)
