// Package introduce mints introductions: response-wrapped SecretIDs, each for
// one process of one AppRole.
//
// It wraps the call that makes the SecretID, not the SecretID afterwards: then
// the wrapping token's creation path, which nobody can forge, says which role it
// introduces, and the SecretID itself is seen by no one but the process that
// unwraps it. The deployer's token needs only update on that one path, and can
// be forced to wrap by the policy (min_wrapping_ttl).
//
// It is not a login, and it hands nothing to the process: that is the deployer's
// work. Hostile input is Vault's answer, which is checked to be a wrapping token
// of the path that was called. Specification: Vault's response wrapping.
package introduce

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// DefaultWrapTTL is the life of a wrapping token unless Config says otherwise:
// long enough for a container to start, short enough to notice that it did not.
const DefaultWrapTTL = 5 * time.Minute

// Config says where Vault is, who asks, and for which role. It must not be
// modified while Mint runs.
type Config struct {
	Address    string        // Vault's base URL; https, or loopback http with UnsafeHTTP
	CAFile     string        // PEM file with the only CAs trusted for Vault; required for https
	UnsafeHTTP bool          // permits plain http to a loopback address
	Token      string        // the deployer's own Vault token
	AuthMount  string        // mount of the AppRole auth method; default "approle"
	Role       string        // the AppRole to introduce
	WrapTTL    time.Duration // life of the wrapping token; default DefaultWrapTTL, at least 1 second
}

// Wrapped is a minted introduction. Its formats do not show the token; read the
// field.
type Wrapped struct {
	Token        string        // the wrapping token: the secret to deliver
	Accessor     string        // names the token to Vault without its powers
	TTL          time.Duration // as granted
	CreationPath string        // what sys/wrapping/lookup will say
}

// Format implements [fmt.Formatter]: every verb shows path and TTL only.
func (w Wrapped) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "introduction by %s for %s [redacted]", w.CreationPath, w.TTL)
}

// Mint has Vault make one SecretID of the role and wrap it. The call is sent
// once. The error is a [*vaultpki.Error] with ReasonConfig, ReasonDenied,
// ReasonUnreachable, or ReasonForged if the answer is not what was asked for.
func Mint(ctx context.Context, cfg Config) (Wrapped, error) {
	if cfg.AuthMount == "" {
		cfg.AuthMount = "approle"
	}
	if cfg.WrapTTL == 0 {
		cfg.WrapTTL = DefaultWrapTTL
	}
	path := "auth/" + cfg.AuthMount + "/role/" + cfg.Role + "/secret-id"
	if err := cfg.check(); err != nil {
		return Wrapped{}, &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "configuring the introduction", Err: err}
	}
	client, err := wire.New(wire.Config{Address: cfg.Address, CAFile: cfg.CAFile, UnsafeHTTP: cfg.UnsafeHTTP})
	if err != nil {
		return Wrapped{}, &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "configuring the introduction", Err: err}
	}
	defer client.CloseIdle()
	secret, err := client.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: path, Token: cfg.Token, Body: map[string]any{}, WrapTTL: cfg.WrapTTL,
	})
	if err != nil {
		return Wrapped{}, mintError(path, cfg.Role, err)
	}
	wrapped, err := accept(secret, path)
	if err != nil {
		return Wrapped{}, &vaultpki.Error{
			Reason: vaultpki.ReasonForged, Op: "minting an introduction by", Where: path, Err: err,
			Hint: "do not deliver anything; find out what stands between this host and Vault",
		}
	}
	return wrapped, nil
}

// check returns every fault of the configuration but those of address and CA.
func (cfg Config) check() error {
	var faults []error
	if cfg.Token == "" {
		faults = append(faults, errors.New("token: none given"))
	}
	if wire.CheckName(cfg.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of an AppRole", cfg.Role))
	}
	if wire.CheckPath(cfg.AuthMount) != nil {
		faults = append(faults, fmt.Errorf("auth mount %q: expected the path of a mount", cfg.AuthMount))
	}
	if cfg.WrapTTL < time.Second {
		faults = append(faults, fmt.Errorf("wrap ttl %s: expected at least 1s", cfg.WrapTTL))
	}
	return errors.Join(faults...)
}

// accept checks that the answer is a wrapping token of the call at path.
func accept(secret *api.Secret, path string) (Wrapped, error) {
	switch {
	case secret == nil || secret.WrapInfo == nil || secret.WrapInfo.Token == "":
		return Wrapped{}, errors.New("vault did not wrap its answer")
	case len(secret.Data) > 0:
		return Wrapped{}, errors.New("vault's answer holds data beside the wrapping token")
	case secret.WrapInfo.CreationPath != path:
		return Wrapped{}, fmt.Errorf("the wrapping token has creation path %q", secret.WrapInfo.CreationPath)
	}
	return Wrapped{
		Token: secret.WrapInfo.Token, Accessor: secret.WrapInfo.Accessor,
		TTL: time.Duration(secret.WrapInfo.TTL) * time.Second, CreationPath: secret.WrapInfo.CreationPath,
	}, nil
}

func mintError(path, role string, err error) error {
	e := vaultpki.Classify("minting an introduction by", path, err)
	switch wire.Status(err) {
	case http.StatusForbidden:
		e.Hint = fmt.Sprintf("use a token with a policy: path %q { capabilities = [\"update\"] }", path)
	case http.StatusNotFound:
		e.Hint = fmt.Sprintf("there is no AppRole %q on that mount: run `sallyport provision plan`", role)
	}
	return e
}
