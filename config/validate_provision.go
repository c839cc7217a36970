package config

import (
	"fmt"
	"path"
	"regexp"
	"time"
)

const (
	minTokenLife  = time.Minute
	minHeirTTL    = 10 * time.Minute
	maxCommonName = 64 // RFC 5280 appendix A.1
)

var (
	authorityKeys = [...]string{"ec-p256", "ec-p384", "rsa-3072", "rsa-4096"}
	auditTypes    = [...]string{"file", "syslog", "stdout"}
	transitTypes  = [...]string{"ed25519", "ecdsa-p256"}
)

// validateProvision reports what is wrong with values that are each well formed,
// and with their combinations. Defaults are filled in already.
func validateProvision(p *Provision, faults *collector) {
	faults.optionalPath("kv.mount", p.KV.Mount)
	faults.optionalPath("kv.saml_path", p.KV.SAMLPath)
	faults.optionalPath("kv.session_path", p.KV.SessionPath)
	faults.optionalPath("kv.assertion_path", p.KV.AssertionPath)
	faults.optionalPath("kv.config_path", p.KV.ConfigPath)
	faults.optionalPath("kv.acme_path", p.KV.ACMEPath)
	for i, value := range p.KV.CredentialPaths {
		faults.mount(entry("kv.credential_paths", i), value)
	}
	faults.texts("kv.credential_paths", p.KV.CredentialPaths, judgeText)
	faults.authority("edge_pki", p.EdgePKI)
	faults.authority("backend_pki", p.BackendPKI)
	faults.atLeastIfGiven("certificate_ttl", p.CertificateTTL, minCertificateTTL)
	faults.optionalPath("approle.mount", p.AppRole.Mount)
	faults.role("approle.introducer_policy", p.AppRole.IntroducerPolicy)
	faults.access("approle.access", p.AppRole.Access)
	faults.atLeast("heirs.ttl", p.Heirs.TTL, minHeirTTL)
	faults.provisionGateway("gateway", p.Gateway)
	names := map[string]string{}
	for i, sidecar := range p.Sidecars {
		faults.provisionSidecar(entry("sidecars", i), sidecar)
		faults.unique(join(entry("sidecars", i), "name"), names, string(sidecar.Name))
	}
	faults.provisionDriver("secret_driver", p.SecretDriver)
	paths := map[string]string{}
	for i, device := range p.Audit {
		faults.auditDevice(entry("audit", i), device)
		faults.unique(join(entry("audit", i), "path"), paths, device.Path)
	}
	faults.transit("transit", p.Transit)
}

// optionalPath reports a path that is given and cannot be one.
func (c *collector) optionalPath(path, value string) {
	if value != "" {
		c.mount(path, value)
	}
}

// role reports a name that is given and cannot be a role's or a policy's.
func (c *collector) role(path, value string) {
	if value != "" && !vaultRole.MatchString(value) {
		c.refuse(path, "the name of a role, made of letters, digits and _ . - with no dot in front")
	}
}

// atLeastIfGiven is atLeast for a duration that may be left out.
func (c *collector) atLeastIfGiven(path string, value Duration, least time.Duration) {
	if c.isGiven(path) {
		c.atLeast(path, value, least)
	}
}

// isGiven reports whether the key at path stands in the file.
func (c *collector) isGiven(path string) bool {
	_, ok := c.places[path]
	return ok
}

func (c *collector) atLeast(path string, value Duration, least time.Duration) {
	if value.Duration < least {
		c.refuse(path, "at least "+Duration{least}.String())
	}
}

func (c *collector) authority(at string, a Authority) {
	c.optionalPath(join(at, "mount"), a.Mount)
	c.mount(join(at, "root_mount"), a.RootMount)
	c.certificate(join(at, "root"), a.Root)
	c.certificate(join(at, "intermediate"), a.Intermediate)
	if a.Intermediate.Life.Duration >= a.Root.Life.Duration {
		c.add(c.given(join(at, "intermediate.life"), join(at, "root.life")),
			fmt.Sprintf("intermediate %s and root %s", a.Intermediate.Life, a.Root.Life), "the intermediate to live shorter than the root")
	}
}

func (c *collector) certificate(at string, cert Certificate) {
	if expected := judgeText(cert.Name); expected != "" || len(cert.Name) > maxCommonName {
		c.refuse(join(at, "name"), fmt.Sprintf("one line of text of at most %d bytes", maxCommonName))
	}
	c.atLeast(join(at, "life"), cert.Life, time.Hour)
	c.oneOf(join(at, "key"), cert.Key, authorityKeys[:])
}

// access judges what stands at this place itself: a fault in what is inherited
// is told where it was written.
func (c *collector) access(at string, a Access) {
	ttl, most := join(at, "token_ttl"), join(at, "token_max_ttl")
	c.atLeastIfGiven(ttl, a.TokenTTL, minTokenLife)
	c.atLeastIfGiven(join(at, "secret_id_ttl"), a.SecretIDTTL, minTokenLife)
	if at := c.given(most, ttl); c.isGiven(at) && a.TokenMaxTTL.Duration > 0 && a.TokenMaxTTL.Duration < a.TokenTTL.Duration {
		c.add(at, fmt.Sprintf("token_ttl %s and token_max_ttl %s", a.TokenTTL, a.TokenMaxTTL), "token_max_ttl to be longer, or 0s for a token without an end")
	}
	c.networks(join(at, "secret_id_cidrs"), a.SecretIDCIDRs)
	c.networks(join(at, "token_cidrs"), a.TokenCIDRs)
}

func (c *collector) networks(path string, values []string) {
	if c.isGiven(path) {
		c.texts(path, values, judgeNetwork)
	}
}

func (c *collector) provisionGateway(at string, g ProvisionGateway) {
	c.role(join(at, "role"), g.Role)
	c.texts(join(at, "hosts"), g.Hosts, judgeRouteHost)
	if g.EntityID != "" && !isEntityID(g.EntityID) {
		c.refuse(join(at, "entity_id"), "an absolute URI of at most 1024 characters, such as https://door.example.com/saml/metadata")
	}
	c.role(join(at, "edge_pki_role"), g.EdgePKIRole)
	c.role(join(at, "backend_pki_role"), g.BackendPKIRole)
	c.role(join(at, "assertion_pki_role"), g.AssertionPKIRole)
	c.texts(join(at, "spiffe_ids"), g.SPIFFEIDs, judgeSPIFFE)
	c.access(join(at, "access"), g.Access)
}

func (c *collector) provisionSidecar(at string, s ProvisionSidecar) {
	if s.Name == "" {
		c.refuse(join(at, "name"), "the name in the sidecar's certificate, such as grafana.backend.sallyport.internal")
	}
	c.role(join(at, "role"), s.Role)
	c.role(join(at, "pki_role"), s.PKIRole)
	c.optionalPath(join(at, "config_path"), s.ConfigPath)
	c.texts(join(at, "spiffe_ids"), s.SPIFFEIDs, judgeSPIFFE)
	c.texts(join(at, "policies"), s.Policies, judgePolicy)
	c.access(join(at, "access"), s.Access)
}

// policyName is what Vault does not write in another way: it makes names small. It has
// maxPolicyName bytes at most.
var policyName = regexp.MustCompile(`^[a-z0-9][a-z0-9_./-]*$`)

const maxPolicyName = 128

// judgePolicy refuses what Vault would take for another name, and root, which no AppRole
// can grant.
func judgePolicy(name string) string {
	if name == "root" || len(name) > maxPolicyName || !policyName.MatchString(name) {
		return "the name of a policy in small letters, digits, and -_./, other than root"
	}
	return ""
}

func (c *collector) provisionDriver(at string, d ProvisionDriver) {
	c.role(join(at, "policy"), d.Policy)
	for i, value := range d.KVPaths {
		c.mount(entry(join(at, "kv_paths"), i), value)
	}
	c.texts(join(at, "kv_paths"), d.KVPaths, judgeText)
	c.access(join(at, "access"), d.Access)
}

func (c *collector) auditDevice(at string, d AuditDevice) {
	c.mount(join(at, "path"), d.Path)
	c.oneOf(join(at, "type"), d.Type, auditTypes[:])
	switch file := join(at, "file"); {
	case d.Type == "file" && (!path.IsAbs(d.File) || !isPrintable(d.File)):
		c.refuse(file, "an absolute path on Vault's hosts, such as /var/log/vault/audit.log")
	case d.Type != "file" && d.File != "":
		c.refuse(file, "it for the type file only")
	}
	c.shown(join(at, "facility"), d.Facility)
	c.shown(join(at, "tag"), d.Tag)
}

func (c *collector) transit(at string, t Transit) {
	c.mount(join(at, "mount"), t.Mount)
	c.role(join(at, "key"), t.Key)
	c.oneOf(join(at, "type"), t.Type, transitTypes[:])
	c.mount(join(at, "log_path"), t.LogPath)
	c.role(join(at, "verifier_policy"), t.VerifierPolicy)
}
