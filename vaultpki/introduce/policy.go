package introduce

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// Policy is what a deployer's token needs: to make SecretIDs of some roles,
// wrapped and no other way, and to read nothing.
type Policy struct {
	// AuthMount is the mount of the AppRole auth method; default "approle".
	AuthMount string
	// Roles are the AppRoles that may be introduced. At least one.
	Roles []string
	// MaxWrapTTL is the longest life that a wrapping token may be given; default
	// 1 hour.
	MaxWrapTTL time.Duration
	// Renew lets the token keep itself alive, as a secret driver's does.
	Renew bool
	// Heir is the token's own AppRole, whose next introduction it may mint for
	// itself; empty for none. An heir lives for up to HeirTTL, default 24 hours.
	Heir    string
	HeirTTL time.Duration
	// Revoke lets the token end what could not be delivered. It then can end any
	// token whose accessor it learns, so it is not the default.
	Revoke bool
}

// Text returns the policy in Vault's language, for `vault policy write`, or every
// fault of it.
func (p Policy) Text() (string, error) {
	if p.AuthMount == "" {
		p.AuthMount = "approle"
	}
	if p.MaxWrapTTL == 0 {
		p.MaxWrapTTL = time.Hour
	}
	if p.HeirTTL == 0 {
		p.HeirTTL = 24 * time.Hour
	}
	if err := p.check(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# A deployer: mints wrapped SecretIDs of these roles, and reads nothing.\n")
	mint := func(role string, longest time.Duration) {
		fmt.Fprintf(&b, "path %q {\n  capabilities = [\"update\"]\n  min_wrapping_ttl = \"1s\"\n  max_wrapping_ttl = \"%ds\"\n}\n",
			"auth/"+p.AuthMount+"/role/"+role+"/secret-id", int(longest.Seconds()))
	}
	for _, role := range p.Roles {
		mint(role, p.MaxWrapTTL)
	}
	if p.Heir != "" {
		b.WriteString("# Its own next introduction.\n")
		mint(p.Heir, p.HeirTTL)
	}
	if p.Renew {
		b.WriteString("# Keeps itself alive, and finds out whether it is.\npath \"auth/token/renew-self\" {\n  capabilities = [\"update\"]\n}\n" +
			"path \"auth/token/lookup-self\" {\n  capabilities = [\"read\"]\n}\n")
	}
	if p.Revoke {
		b.WriteString("# Ends what could not be delivered, and any token whose accessor is known.\n" +
			"path \"auth/token/revoke-accessor\" {\n  capabilities = [\"update\"]\n}\n")
	}
	return b.String(), nil
}

func (p Policy) check() error {
	var faults []error
	if len(p.Roles) == 0 {
		faults = append(faults, errors.New("roles: none given, expected the name of an AppRole"))
	}
	if slices.Contains(p.Roles, p.Heir) {
		faults = append(faults, fmt.Errorf("heir %q: expected another role than those that are introduced", p.Heir))
	}
	if p.Heir != "" {
		faults = append(faults, vaultpki.Minting{AuthMount: p.AuthMount, Role: p.Heir, WrapTTL: p.HeirTTL}.Check())
	}
	for _, role := range p.Roles {
		// What cannot be minted cannot be allowed: a pattern, above all.
		faults = append(faults, vaultpki.Minting{AuthMount: p.AuthMount, Role: role, WrapTTL: p.MaxWrapTTL}.Check())
	}
	return errors.Join(faults...)
}
