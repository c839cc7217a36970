package vaultpki

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Server says where Vault is and how to know it.
type Server struct {
	// Address is Vault's base URL, such as "https://vault.internal:8200".
	// Only https is accepted, unless UnsafeHTTP is set and the host is a
	// literal loopback address.
	Address string
	// CAFile is a PEM file with the only certificate authorities that are
	// trusted for Vault's own certificate. The system's roots are not used.
	// Required for https.
	CAFile string
	// UnsafeHTTP permits plain http to a loopback address.
	UnsafeHTTP bool
}

// Config says where Vault is and how this process is introduced to it. It must
// not be modified after Login.
type Config struct {
	// Server is where Vault is.
	Server

	// AuthMount is the mount of the AppRole auth method; default "approle".
	AuthMount string
	// Role is the AppRole's name; the wrapping token must come from its path.
	Role string
	// RoleID is the AppRole's RoleID: an identifier, not a secret.
	RoleID string
	// WrappingTokenFile holds the wrapping token of a SecretID on one line. It
	// is emptied once the token was used, if the file system allows.
	WrappingTokenFile string
	// MaxWrapTTL is the longest life of a wrapping token that is accepted;
	// default 1 hour.
	MaxWrapTTL time.Duration

	// Wait is how long an unreachable or sealed Vault is waited for, per call;
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

// withDefaults returns the Config with its defaults filled in, and every fault
// in it joined into one error.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.AuthMount == "" {
		cfg.AuthMount = defaultAuthMount
	}
	if cfg.MaxWrapTTL == 0 {
		cfg.MaxWrapTTL = defaultMaxWrapTTL
	}
	if cfg.Wait == 0 {
		cfg.Wait = defaultWait
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var faults []error
	if err := wire.CheckPath(cfg.AuthMount); err != nil {
		faults = append(faults, fmt.Errorf("auth mount: %w", err))
	}
	if wire.CheckName(cfg.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of an AppRole", cfg.Role))
	}
	if cfg.RoleID == "" {
		faults = append(faults, errors.New("role id: none given"))
	}
	if cfg.WrappingTokenFile == "" {
		faults = append(faults, errors.New("wrapping token file: none given"))
	}
	if cfg.MaxWrapTTL < 0 || cfg.Wait < 0 {
		faults = append(faults, fmt.Errorf("durations %s and %s: expected more than 0", cfg.MaxWrapTTL, cfg.Wait))
	}
	return cfg, errors.Join(faults...)
}

// Dial checks what it is told and reads the CA file; it connects to nothing yet.
// What it returns is for the packages below this one.
func (s Server) Dial() (*wire.Client, error) {
	return wire.New(wire.Config{Address: s.Address, CAFile: s.CAFile, UnsafeHTTP: s.UnsafeHTTP})
}
