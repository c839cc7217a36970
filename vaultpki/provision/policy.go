package provision

import (
	"context"
	"slices"
	"time"
)

// maxWrap is the longest that an introduction may wait for whom a deployer
// starts.
const maxWrap = time.Hour

// rule is one path of a policy.
type rule struct {
	path         string
	capabilities []string
	wrapped      time.Duration // the call works with response wrapping only, for at most so long
	required     string        // the call works only with this parameter
	forbidden    string        // the call works only without this parameter
}

// allow is a rule without conditions.
func allow(path string, capabilities ...string) rule {
	return rule{path: path, capabilities: capabilities}
}

// ownToken lets a process keep its token alive; the default policy, which
// allows more, is not given to it.
func ownToken() []rule {
	return []rule{allow("auth/token/renew-self", "update"), allow("auth/token/lookup-self", "read")}
}

// mintRule allows introductions of one role to be minted, wrapped and no other
// way.
func (s Spec) mintRule(role string, longest time.Duration) rule {
	return rule{path: "auth/" + s.AuthMount + "/role/" + role + "/secret-id", capabilities: []string{"update"}, wrapped: longest}
}

// heir lets a process mint its own next introduction: for its own role alone.
func (s Spec) heir(role string) []rule {
	if s.NoHeirs {
		return nil
	}
	return []rule{s.mintRule(role, s.HeirTTL)}
}

// certificates lets a process have certificates signed.
func (Spec) certificates(mount, role string, revocation bool) []rule {
	rules := []rule{signRule(mount, role), allow(mount+"/cert/ca_chain", "read")}
	if revocation {
		// Vault takes a certificate or a serial number, not both: who has never
		// met a certificate cannot revoke it by counting.
		rules = append(rules, rule{path: mount + "/revoke", capabilities: []string{"update"}, required: "certificate"})
	}
	return rules
}

// signRule lets a process have certificates of one role signed. With the parameter
// that it forbids Vault would not ask for how long the role allows.
func signRule(mount, role string) rule {
	return rule{path: mount + "/sign/" + role, capabilities: []string{"update"}, forbidden: "not_after"}
}

// own is what every process may do for itself.
func (s Spec) own(role string, revocation bool) []rule {
	rules := append(s.heir(role), ownToken()...)
	if revocation { // it looks whether it may, long before it does
		rules = append(rules, allow("sys/capabilities-self", "update"))
	}
	return rules
}

// gatewayPolicy allows four secrets to be read and three certificates to be
// signed, and what was asked for beside. It cannot list or write secrets that
// it reads, issue (which would make keys in Vault), or introduce others.
func (s Spec) gatewayPolicy() string {
	rules := []rule{
		allow(s.KVMount+"/data/"+s.SAMLPath, "read"),
		allow(s.KVMount+"/data/"+s.SessionPath, "read"),
		allow(s.KVMount+"/data/"+s.AssertionPath, "read"),
		allow(s.KVMount+"/data/"+s.GatewayConfigPath, "read"),
	}
	rules = append(rules, s.certificates(s.EdgeMount, s.EdgeRole, s.EdgeRevocation)...)
	rules = append(rules, s.certificates(s.BackendMount, s.ClientRole, s.ClientRevocation)...)
	rules = append(rules, signRule(s.BackendMount, s.AssertionRole))
	if s.ACMEPath != "" {
		rules = append(rules,
			allow(s.KVMount+"/data/"+s.ACMEPath+"/*", "create", "read", "update"),
			allow(s.KVMount+"/metadata/"+s.ACMEPath+"/*", "create", "update", "delete", "list"))
	}
	if s.ACMEBindingPath != "" {
		rules = append(rules, allow(s.KVMount+"/data/"+s.ACMEBindingPath, "read"))
	}
	if s.AuditPath != "" {
		rules = append(rules, allow(s.KVMount+"/data/"+s.AuditPath, "read"))
	}
	if s.HashDevice != "" {
		rules = append(rules, allow("sys/audit-hash/"+s.HashDevice, "update"))
	}
	for _, path := range s.CredentialPaths {
		rules = append(rules, allow(s.KVMount+"/data/"+path, "read"))
	}
	if s.Transit.Key != "" {
		rules = append(rules,
			allow(s.Transit.Mount+"/sign/"+s.Transit.Key, "update"),
			allow(s.Transit.Mount+"/keys/"+s.Transit.Key, "read"), // the public halves
			allow(s.KVMount+"/data/"+s.Transit.LogPath+"/*", "create", "read", "update"),
			allow(s.KVMount+"/metadata/"+s.Transit.LogPath+"/*", "list"))
	}
	return render("The gateway: its secrets and its certificates", append(rules, s.own(s.GatewayRole, s.EdgeRevocation || s.ClientRevocation)...))
}

// sidecarPolicy allows one secret and one certificate. A sidecar that is broken
// into cannot become the gateway, nor another sidecar.
func (s Spec) sidecarPolicy(sidecar Sidecar) string {
	return render("The sidecar "+sidecar.Name+": its certificate and its configuration", slices.Concat(
		[]rule{allow(s.KVMount+"/data/"+sidecar.ConfigPath, "read")},
		s.certificates(s.BackendMount, sidecar.PKIRole, sidecar.Revocation), s.own(sidecar.Role, sidecar.Revocation)))
}

// mintRules allow introductions of every process to be minted.
func (s Spec) mintRules() []rule {
	rules := []rule{s.mintRule(s.GatewayRole, maxWrap)}
	for _, sidecar := range s.Sidecars {
		rules = append(rules, s.mintRule(sidecar.Role, maxWrap))
	}
	return rules
}

// verifierPolicy allows the access log to be verified: what its checkpoints are signed
// with, and those that gateways have published, with the versions that Vault keeps.
func (s Spec) verifierPolicy() string {
	return render("Who verifies the access log: reads what that takes", []rule{
		allow(s.Transit.Mount+"/keys/"+s.Transit.Key, "read"),
		allow(s.KVMount+"/data/"+s.Transit.LogPath+"/*", "read"),
		allow(s.KVMount+"/metadata/"+s.Transit.LogPath+"/*", "read", "list"),
	})
}

// introducerPolicy allows SecretIDs to be made, wrapped and no other way: the
// deployer never sees one, so a log or shell history of his has none.
func (s Spec) introducerPolicy() string {
	return render("A deployer: mints wrapped SecretIDs and reads nothing", s.mintRules())
}

// auditorPolicy allows pseudonyms to be turned back into names, and nothing else.
func (s Spec) auditorPolicy() string {
	return render("An auditor: reads the key that pseudonyms in the access log are made with",
		append([]rule{allow(s.KVMount+"/data/"+s.AuditPath, "read")}, ownToken()...))
}

// driverPolicy is the introducer's, and the secrets that the driver serves.
func (s Spec) driverPolicy() string {
	rules := s.mintRules()
	for _, path := range s.Driver.KVPaths {
		rules = append(rules, allow(s.KVMount+"/data/"+path, "read"))
	}
	if s.Driver.AppRole {
		rules = append(rules, s.heir(s.Driver.Policy)...)
	}
	return render("The secret driver: mints wrapped SecretIDs, and reads what it serves", append(rules, ownToken()...))
}

// policy is an ACL policy with exactly this text.
type policy struct {
	name, text string
}

// plan compares texts, not meanings: a hand-made change that allows the same is
// reverted too, so that what is in Vault is what was reviewed.
func (p policy) plan(ctx context.Context, client *Client) (*Change, error) {
	path := "sys/policies/acl/" + p.name
	secret, err := client.read(ctx, path)
	if err != nil {
		return nil, err
	}
	change := &Change{
		Create: secret == nil, Object: "policy " + p.name,
		apply: func(ctx context.Context, client *Client) error {
			return client.write(ctx, path, map[string]string{"policy": p.text})
		},
	}
	if secret == nil {
		return change, nil
	}
	have, _ := secret.Data["policy"].(string)
	if have == p.text {
		return nil, nil
	}
	change.Details, change.Loosens = diffPolicies(have, p.text)
	return change, nil
}
