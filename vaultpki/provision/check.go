package provision

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// keyType is a kind of key as Vault calls it.
type keyType struct {
	kind string
	bits int
}

// keyTypes are the kinds of key that an authority may have.
var keyTypes = map[string]keyType{
	"ec-p256": {"ec", 256}, "ec-p384": {"ec", 384}, "rsa-3072": {"rsa", 3072}, "rsa-4096": {"rsa", 4096},
}

// check returns every fault of the Spec.
func (s Spec) check() error {
	var faults []error
	texts := s.names()
	for _, field := range slices.Sorted(maps.Keys(texts)) {
		faults = append(faults, checkText(field, texts[field]))
	}
	if len(s.EdgeHosts) == 0 {
		faults = append(faults, errors.New("EdgeHosts: expected at least the door's host"))
	}
	for _, sidecar := range s.Sidecars {
		faults = append(faults, checkPeer(sidecar.Name), checkIDs(sidecar.IDs), s.checkAccess(sidecar.Role, sidecar.Access))
	}
	for _, host := range s.EdgeHosts {
		faults = append(faults, checkEdgeHost(host))
	}
	faults = append(faults, checkPeer(s.ClientName), checkHost(s.AssertionName), checkIDs(s.ClientIDs), s.checkDistinct(), s.checkSecrets(),
		s.checkAccess(s.GatewayRole, s.GatewayAccess), s.checkAccess(s.Driver.Policy, s.Driver.Access),
		s.EdgeAuthority.check("EdgeAuthority", s.CertTTL), s.BackendAuthority.check("BackendAuthority", s.CertTTL))
	if s.SPEntityID == "" {
		faults = append(faults, errors.New("SPEntityID: none given"))
	}
	if s.TokenPeriod < time.Minute || s.CertTTL < time.Second {
		faults = append(faults, fmt.Errorf("TokenPeriod %s and CertTTL %s: too short", s.TokenPeriod, s.CertTTL))
	}
	for _, device := range s.Audit {
		faults = append(faults, device.check())
	}
	if s.Transit.Type != "ed25519" && s.Transit.Type != "ecdsa-p256" {
		faults = append(faults, fmt.Errorf("Transit.Type %q: expected ed25519 or ecdsa-p256", s.Transit.Type))
	}
	return errors.Join(faults...)
}

// names returns everything that becomes part of a path or a policy.
func (s Spec) names() map[string]string {
	texts := map[string]string{
		"KVMount": s.KVMount, "SAMLPath": s.SAMLPath, "SessionPath": s.SessionPath, "AssertionPath": s.AssertionPath, "GatewayConfigPath": s.GatewayConfigPath,
		"EdgeMount": s.EdgeMount, "EdgeAuthority.RootMount": s.EdgeAuthority.RootMount, "EdgeRole": s.EdgeRole,
		"BackendMount": s.BackendMount, "BackendAuthority.RootMount": s.BackendAuthority.RootMount, "ClientRole": s.ClientRole, "AssertionRole": s.AssertionRole,
		"AuthMount": s.AuthMount, "GatewayRole": s.GatewayRole,
		"IntroducerPolicy": s.IntroducerPolicy, "AuditorPolicy": s.AuditorPolicy, "Driver.Policy": s.Driver.Policy, "Transit.Mount": s.Transit.Mount,
		"Transit.LogPath": s.Transit.LogPath, "Transit.VerifierPolicy": s.Transit.VerifierPolicy,
	}
	for field, optional := range map[string]string{"ACMEPath": s.ACMEPath, "ACMEBindingPath": s.ACMEBindingPath, "AuditPath": s.AuditPath, "HashDevice": s.HashDevice, "Transit.Key": s.Transit.Key} {
		if optional != "" {
			texts[field] = optional
		}
	}
	for _, sidecar := range s.Sidecars {
		texts["Role of sidecar "+sidecar.Name] = sidecar.Role
		texts["PKIRole of sidecar "+sidecar.Name] = sidecar.PKIRole
		texts["ConfigPath of sidecar "+sidecar.Name] = sidecar.ConfigPath
		for i, policy := range sidecar.Policies {
			texts[fmt.Sprintf("Policies[%d] of sidecar %s", i, sidecar.Name)] = policy
		}
	}
	for i, path := range s.CredentialPaths {
		texts[fmt.Sprintf("CredentialPaths[%d]", i)] = path
	}
	for i, path := range s.Driver.KVPaths {
		texts[fmt.Sprintf("Driver.KVPaths[%d]", i)] = path
	}
	return texts
}

// checkDistinct refuses two processes that would share a role: each would be
// given the other's powers. Policies are told apart by the same names.
func (s Spec) checkDistinct() error {
	mounts := map[string]bool{}
	for _, mount := range []string{s.EdgeMount, s.BackendMount, s.EdgeAuthority.RootMount, s.BackendAuthority.RootMount} {
		if mounts[mount] {
			return fmt.Errorf("mount %q: edge, backend and the roots above them need a PKI each", mount)
		}
		mounts[mount] = true
	}
	// Vault does not tell upper case from lower in the names of policies and
	// AppRoles, and has two policies of its own.
	roles := map[string]bool{"root": true, "default": true}
	for _, name := range []string{s.GatewayRole, s.IntroducerPolicy, s.AuditorPolicy, s.Transit.VerifierPolicy, s.Driver.Policy} {
		if roles[strings.ToLower(name)] {
			return fmt.Errorf("policy %q: it is another's too", name)
		}
		roles[strings.ToLower(name)] = true
	}
	if s.AssertionRole == s.ClientRole || s.AssertionName == s.ClientName {
		return fmt.Errorf("PKI role %q and name %q of assertions: expected others than those of the client certificate", s.AssertionRole, s.AssertionName)
	}
	pkiRoles := map[string]bool{s.ClientRole: true, s.AssertionRole: true}
	for _, sidecar := range s.Sidecars {
		role := strings.ToLower(sidecar.Role)
		if roles[role] || pkiRoles[sidecar.PKIRole] || sidecar.Name == s.AssertionName {
			return fmt.Errorf("sidecar %q: the name, AppRole %q or PKI role %q is another's too", sidecar.Name, sidecar.Role, sidecar.PKIRole)
		}
		roles[role], pkiRoles[sidecar.PKIRole] = true, true
	}
	return nil
}

// checkSecrets refuses a secret of the gateway's that a sidecar or the secret
// driver would read, and a place for ACME where another secret is: the gateway
// may write everything there.
func (s Spec) checkSecrets() error {
	var faults []error
	own := []string{s.SAMLPath, s.SessionPath, s.AssertionPath, s.GatewayConfigPath}
	for _, optional := range []string{s.ACMEBindingPath, s.AuditPath} {
		if optional != "" {
			own = append(own, optional)
		}
	}
	readers := map[string]string{}
	for _, path := range s.Driver.KVPaths {
		readers[path] = "the secret driver"
	}
	for _, sidecar := range s.Sidecars {
		readers[sidecar.ConfigPath] = "sidecar " + sidecar.Name
	}
	others := sortedKeys(readers)
	for _, path := range others {
		if slices.Contains(own, path) {
			faults = append(faults, fmt.Errorf("secret %q: it is the gateway's, and %s would read it: expected another path", path, readers[path]))
		}
	}
	for _, path := range s.CredentialPaths {
		// The secret driver may serve it to the tool that it is for.
		if reader := readers[path]; slices.Contains(own, path) || strings.HasPrefix(reader, "sidecar ") {
			faults = append(faults, fmt.Errorf("secret %q: it holds more than a credential for a tool: expected a path of its own", path))
		}
	}
	for _, path := range slices.Concat(own, others, s.CredentialPaths) {
		if s.ACMEPath != "" && strings.HasPrefix(path+"/", s.ACMEPath+"/") {
			faults = append(faults, fmt.Errorf("ACMEPath %q: secret %q is there, which the gateway could then write: expected a path of its own", s.ACMEPath, path))
		}
	}
	return errors.Join(faults...)
}

// checkAccess returns the faults of one AppRole's bounds.
func (s Spec) checkAccess(role string, a Access) error {
	var faults []error
	if a.TokenTTL < time.Minute || a.TokenMaxTTL != 0 && a.TokenMaxTTL < a.TokenTTL {
		faults = append(faults, fmt.Errorf("role %q: TokenTTL %s and TokenMaxTTL %s: expected at least 1m, and no more than the maximum", role, a.TokenTTL, a.TokenMaxTTL))
	}
	switch {
	case a.SecretIDTTL < time.Minute:
		faults = append(faults, fmt.Errorf("role %q: SecretIDTTL %s: expected at least 1m", role, a.SecretIDTTL))
	case !s.NoHeirs && a.SecretIDTTL < s.HeirTTL:
		faults = append(faults, fmt.Errorf("role %q: SecretIDTTL %s: expected at least the %s that an heir may wait, or no heirs", role, a.SecretIDTTL, s.HeirTTL))
	}
	for _, network := range slices.Concat(a.SecretIDCIDRs, a.TokenCIDRs) {
		if _, err := netip.ParsePrefix(network); err != nil {
			faults = append(faults, fmt.Errorf("role %q: network %q: expected one such as 10.0.3.0/24", role, network))
		}
	}
	return errors.Join(faults...)
}

// check returns the faults of an authority that signs leaves of certTTL.
func (a Authority) check(field string, certTTL time.Duration) error {
	var faults []error
	for _, cert := range []Certificate{a.Root, a.Intermediate} {
		if _, known := keyTypes[cert.Key]; !known {
			faults = append(faults, fmt.Errorf("%s: key %q: expected one of %s", field, cert.Key, strings.Join(slices.Sorted(maps.Keys(keyTypes)), ", ")))
		}
	}
	if a.Root.Life <= a.Intermediate.Life || a.Intermediate.Life <= certTTL {
		faults = append(faults, fmt.Errorf("%s: lives of %s, %s and %s: expected the root to outlive the intermediate, and that its leaves",
			field, a.Root.Life, a.Intermediate.Life, certTTL))
	}
	return errors.Join(faults...)
}

// checkHost accepts a lower-case DNS name and nothing that a PKI role would take
// for a pattern.
func checkHost(host string) error {
	if host == "" || strings.Trim(host, ".-") != host || strings.ContainsFunc(host, notOfHost) {
		return fmt.Errorf("host %q: expected a lower-case DNS name", host)
	}
	return nil
}

// wildcard begins an edge host that stands for those of one more label.
const wildcard = "*."

func isWildcard(host string) bool { return strings.HasPrefix(host, wildcard) }

// checkEdgeHost accepts a host, and a wildcard below two labels or more.
func checkEdgeHost(host string) error {
	parent, wild := strings.CutPrefix(host, wildcard)
	if wild && strings.Contains(parent, ".") {
		host = parent
	}
	return checkHost(host)
}

func notOfHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-'
}

// checkPeer accepts a host or a SPIFFE ID.
func checkPeer(name string) error {
	if strings.HasPrefix(name, spiffe) {
		return checkIDs([]string{name})
	}
	return checkHost(name)
}

// checkIDs accepts SPIFFE IDs and no patterns of them.
func checkIDs(ids []string) error {
	var faults []error
	for _, id := range ids {
		rest, found := strings.CutPrefix(id, spiffe)
		if _, path, _ := strings.Cut(rest, "/"); !found || path == "" || checkText("", rest) != nil {
			faults = append(faults, fmt.Errorf("SPIFFE ID %q: expected one such as spiffe://example.com/gateway", id))
		}
	}
	return errors.Join(faults...)
}

// checkText accepts a mount, path or role as it stands in a policy.
func checkText(field, text string) error {
	if err := wire.CheckPath(text); err != nil {
		return fmt.Errorf("%s %q: expected a plain path: %w", field, text, err)
	}
	return nil
}
