package provision

import (
	"context"
	"fmt"
	"strings"
)

// introducerPolicy is the name of the policy for a deployer's token: it mints
// introductions for every role of Sallyport and can do nothing else.
const introducerPolicy = "sallyport-introducer"

// rule is one path of a policy.
type rule struct {
	path       string
	capability string
	wrapped    bool // the call works with response wrapping only
}

// render writes a policy in Vault's language.
func render(purpose string, rules []rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s. Written by sallyport provision; changes are reverted by it.\n", purpose)
	for _, r := range rules {
		fmt.Fprintf(&b, "path %q {\n  capabilities = [%q]\n", r.path, r.capability)
		if r.wrapped {
			b.WriteString("  min_wrapping_ttl = \"1s\"\n  max_wrapping_ttl = \"1h\"\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// ownToken lets a process keep its token alive; the default policy, which
// allows more, is not given to it.
func ownToken() []rule {
	return []rule{
		{path: "auth/token/renew-self", capability: "update"},
		{path: "auth/token/lookup-self", capability: "read"},
	}
}

// gatewayPolicy allows three secrets to be read and two certificates to be
// signed. It cannot list, write, issue (which would make keys in Vault), or
// introduce others.
func (s Spec) gatewayPolicy() string {
	return render("The gateway: its secrets and its certificates", append([]rule{
		{path: s.KVMount + "/data/" + s.SAMLPath, capability: "read"},
		{path: s.KVMount + "/data/" + s.SessionPath, capability: "read"},
		{path: s.KVMount + "/data/" + s.GatewayConfigPath, capability: "read"},
		{path: s.EdgeMount + "/sign/" + s.EdgeRole, capability: "update"},
		{path: s.EdgeMount + "/cert/ca_chain", capability: "read"},
		{path: s.BackendMount + "/sign/" + s.ClientRole, capability: "update"},
		{path: s.BackendMount + "/cert/ca_chain", capability: "read"},
	}, ownToken()...))
}

// sidecarPolicy allows one secret and one certificate. A sidecar that is broken
// into cannot become the gateway, nor another sidecar.
func (s Spec) sidecarPolicy(sidecar Sidecar) string {
	return render("The sidecar "+sidecar.Name+": its certificate and its configuration", append([]rule{
		{path: s.KVMount + "/data/" + sidecar.ConfigPath, capability: "read"},
		{path: s.BackendMount + "/sign/" + sidecar.PKIRole, capability: "update"},
		{path: s.BackendMount + "/cert/ca_chain", capability: "read"},
	}, ownToken()...))
}

// introducerPolicy allows SecretIDs to be made, wrapped and no other way: the
// deployer never sees one, so a log or shell history of his has none.
func (s Spec) introducerPolicy() string {
	var rules []rule
	roles := []string{s.GatewayRole}
	for _, sidecar := range s.Sidecars {
		roles = append(roles, sidecar.Role)
	}
	for _, role := range roles {
		rules = append(rules, rule{
			path: "auth/" + s.AuthMount + "/role/" + role + "/secret-id", capability: "update", wrapped: true,
		})
	}
	return render("A deployer: mints wrapped SecretIDs and reads nothing", rules)
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
	change.Details = diffPaths(have, p.text)
	return change, nil
}

// diffPaths says which paths a policy gains and loses; if none, that its text
// differs otherwise.
func diffPaths(have, want string) []string {
	var details []string
	for _, line := range missingIn(have, want) {
		details = append(details, "gains "+line)
	}
	for _, line := range missingIn(want, have) {
		details = append(details, "loses "+line)
	}
	if len(details) == 0 {
		details = []string{"text differs"}
	}
	return details
}

// missingIn returns the paths of policy b, quoted, that policy a has not.
func missingIn(a, b string) []string {
	var missing []string
	for line := range strings.Lines(b) {
		rest, isPath := strings.CutPrefix(strings.TrimSpace(line), `path "`)
		path, _, closed := strings.Cut(rest, `"`)
		if quoted := `"` + path + `"`; isPath && closed && !strings.Contains(a, quoted) {
			missing = append(missing, quoted)
		}
	}
	return missing
}
