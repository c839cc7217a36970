package vaultpki

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// DefaultWrapTTL is the life of a wrapping token unless Minting says otherwise:
// long enough for a container to start, short enough to notice that it did not.
const DefaultWrapTTL = 5 * time.Minute

// hintBetween is what to do about an answer that Vault does not give.
const hintBetween = "do not deliver anything; find out what stands between this host and Vault"

// Minting says which introduction to make.
type Minting struct {
	// AuthMount is the mount of the AppRole auth method; default "approle".
	AuthMount string
	// Role is the AppRole to introduce. Required.
	Role string
	// WrapTTL is the life of the wrapping token; default DefaultWrapTTL, at
	// least 1 second.
	WrapTTL time.Duration
	// CIDRs bind the SecretID, and the token that it logs in for, to these
	// networks; nil leaves it to the role.
	CIDRs []netip.Prefix
	// Metadata stands in Vault's audit log beside every use of the SecretID;
	// nil for none. It is not secret.
	Metadata map[string]string
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

// Mint has Vault make one SecretID of the role and wrap it. It wraps the call
// that makes the SecretID, not the SecretID afterwards: then the creation path,
// which nobody can forge, says which role is introduced, and the SecretID is
// seen by no one but the process that unwraps it.
//
// The SecretID is good for one use, and the call is sent once. The error is an
// [*Error] with ReasonConfig, ReasonDenied, ReasonUnreachable, or ReasonForged if
// the answer is not what was asked for.
func (c *Client) Mint(ctx context.Context, m Minting) (Wrapped, error) {
	return m.mint(ctx, c.do)
}

// mintHeir has the credential of the next login made. It does not wait for
// another token, which is Run's to get and may take an heir.
func (c *Client) mintHeir(ctx context.Context, m Minting) (Wrapped, error) {
	return m.mint(ctx, func(ctx context.Context, call wire.Call) (*api.Secret, error) {
		call.Token = c.current().token
		return c.wire.Do(ctx, call)
	})
}

// mint makes the introduction by a call that brings the token.
func (m Minting) mint(ctx context.Context, do func(context.Context, wire.Call) (*api.Secret, error)) (Wrapped, error) {
	m = m.withDefaults()
	path := secretIDPath(m.AuthMount, m.Role)
	body, err := m.body()
	if err = errors.Join(m.Check(), err); err != nil {
		return Wrapped{}, &Error{Reason: ReasonConfig, Op: "configuring the introduction", Err: err}
	}
	secret, err := do(ctx, wire.Call{Method: http.MethodPut, Path: path, Body: body, WrapTTL: m.WrapTTL, OneTime: true})
	if err != nil {
		return Wrapped{}, m.mintError(path, err)
	}
	wrapped, err := acceptWrapped(secret, path)
	if err != nil {
		return Wrapped{}, &Error{
			Reason: ReasonForged, Op: "minting an introduction by", Where: path, Err: err,
			Hint: hintBetween,
		}
	}
	return wrapped, nil
}

func (m Minting) withDefaults() Minting {
	if m.AuthMount == "" {
		m.AuthMount = defaultAuthMount
	}
	if m.WrapTTL == 0 {
		m.WrapTTL = DefaultWrapTTL
	}
	return m
}

// Check returns every fault of the minting; Mint does it too.
func (m Minting) Check() error {
	m = m.withDefaults()
	var faults []error
	if wire.CheckName(m.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of an AppRole", m.Role))
	}
	if wire.CheckPath(m.AuthMount) != nil {
		faults = append(faults, fmt.Errorf("auth mount %q: expected the path of a mount", m.AuthMount))
	}
	if m.WrapTTL < time.Second {
		faults = append(faults, fmt.Errorf("wrap ttl %s: expected at least 1s", m.WrapTTL))
	}
	for _, cidr := range m.CIDRs {
		if !cidr.IsValid() || cidr != cidr.Masked() {
			faults = append(faults, fmt.Errorf("network %q: expected one such as %q", cidr, cidr.Masked()))
		}
	}
	return errors.Join(faults...)
}

// body is the call's. Vault wants the networks of a SecretID as a list in a
// text, and its metadata as JSON in a text.
func (m Minting) body() (map[string]string, error) {
	body := map[string]string{"num_uses": "1"} // whatever the role says
	if len(m.CIDRs) > 0 {
		var texts []string
		for _, cidr := range m.CIDRs {
			texts = append(texts, cidr.String())
		}
		networks := strings.Join(texts, ",")
		body["cidr_list"], body["token_bound_cidrs"] = networks, networks
	}
	if len(m.Metadata) > 0 {
		metadata, err := json.Marshal(m.Metadata)
		if err != nil {
			return nil, fmt.Errorf("encoding the metadata: %w", err)
		}
		body["metadata"] = string(metadata)
	}
	return body, nil
}

// secretIDPath is the path of the call that makes SecretIDs of a role: the only
// creation path that a wrapping token for that role may have.
func secretIDPath(authMount, role string) string {
	return "auth/" + authMount + "/role/" + role + "/secret-id"
}

// acceptWrapped checks that the answer is a wrapping token of the call at path.
func acceptWrapped(secret *api.Secret, path string) (Wrapped, error) {
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

func (m Minting) mintError(path string, err error) error {
	e := Classify("minting an introduction by", path, err)
	switch status := wire.Status(err); {
	case isInvalidToken(err):
	case status == http.StatusForbidden:
		e.Hint = fmt.Sprintf("use a token with a policy: path %q { capabilities = [\"update\"] }, whose max_wrapping_ttl, if it has one, "+
			"is not less than %s", path, m.WrapTTL)
	case status == http.StatusNotFound:
		e.Hint = fmt.Sprintf("there is no AppRole %q on that mount: run `sallyport provision plan`", m.Role)
	}
	return e
}
