package config

import (
	"reflect"
	"time"
)

// Provision is what `sallyport provision` makes Vault hold, as far as a
// gateway's configuration does not say it. It is checked, and every default is
// filled in but those of the keys that a gateway's configuration may say
// instead: they stay empty if they are left out. It must not be modified after
// [LoadProvision] has returned it; reading it concurrently is safe.
type Provision struct {
	// KV says where secrets are.
	KV ProvisionKV `yaml:"kv"`
	// Generate says which secrets are made if they are absent.
	Generate Generate `yaml:"generate"`
	// EdgePKI is the authority of the certificates that browsers see.
	EdgePKI Authority `yaml:"edge_pki"`
	// BackendPKI is the authority between gateway and sidecars.
	BackendPKI Authority `yaml:"backend_pki"`
	// CertificateTTL is the longest life of a leaf certificate. Default: what
	// the gateway's configuration asks for, or 24h.
	CertificateTTL Duration `yaml:"certificate_ttl"`
	// Revocation lets each process revoke the certificates that it shows. Default
	// false, but it is on where the gateway's configuration revokes on stop.
	Revocation bool `yaml:"revocation"`
	// AppRole is the auth method, and what holds for each of its roles.
	AppRole AppRole `yaml:"approle"`
	// Heirs are the introductions that a process mints for its next start.
	Heirs Heirs `yaml:"heirs"`
	// Gateway is the gateway's place in Vault.
	Gateway ProvisionGateway `yaml:"gateway"`
	// Sidecars are the sidecars' places. One with the name of a route's backend
	// refines what follows from the route. Names are unique.
	Sidecars []ProvisionSidecar `yaml:"sidecars"`
	// SecretDriver is the place of `sallyport secret-driver`.
	SecretDriver ProvisionDriver `yaml:"secret_driver"`
	// Audit lists the audit devices that there must be. Paths are unique.
	Audit []AuditDevice `yaml:"audit"`
	// Transit is the key that signs the access log's checkpoints.
	Transit Transit `yaml:"transit"`
}

// ProvisionKV says where in the KV engine secrets are. Paths have no slash at
// either end.
type ProvisionKV struct {
	// Mount is the mount of the engine, version 2. Default: the gateway's, or
	// "secret".
	Mount string `yaml:"mount"`
	// SAMLPath is the secret with the SP keys and the IdP's metadata. Default:
	// the gateway's, or "sallyport/saml".
	SAMLPath string `yaml:"saml_path"`
	// SessionPath is the secret with the session keys. Default: the gateway's,
	// or "sallyport/session".
	SessionPath string `yaml:"session_path"`
	// AssertionPath is the secret with the keys that sign assertions. Default: the
	// gateway's, or "sallyport/assertion".
	AssertionPath string `yaml:"assertion_path"`
	// ConfigPath is where the gateway may read its configuration. Default
	// "sallyport/gateway".
	ConfigPath string `yaml:"config_path"`
	// ACMEPath is where the gateway may keep ACME accounts and certificates.
	// Default: the gateway's if it orders certificates by ACME, else none.
	ACMEPath string `yaml:"acme_path"`
	// CredentialPaths are secrets that the gateway may read to show them to tools,
	// beside those that its configuration names. Default none.
	CredentialPaths []string `yaml:"credential_paths"`
}

// Generate says which secrets are made if they are absent.
type Generate struct {
	// SPKey is the service provider's key pair. Default true.
	SPKey bool `yaml:"sp_key"`
	// SessionKey is the key that seals sessions. Default true.
	SessionKey bool `yaml:"session_key"`
	// AssertionKey is the key that signs assertions. Default true.
	AssertionKey bool `yaml:"assertion_key"`
}

// Authority is one side's root and the intermediate below it.
type Authority struct {
	// Mount is the engine of the intermediate, which signs leaves. Default: the
	// gateway's, or "pki-edge" and "pki-backend".
	Mount string `yaml:"mount"`
	// RootMount is the engine of the root. Default "pki-edge-root" and
	// "pki-backend-root".
	RootMount string `yaml:"root_mount"`
	// Root is what the root is like.
	Root Certificate `yaml:"root"`
	// Intermediate is what the intermediate is like; it lives shorter.
	Intermediate Certificate `yaml:"intermediate"`
}

// Certificate is what an authority's certificate is like.
type Certificate struct {
	// Name is its common name, of at most 64 bytes.
	Name string `yaml:"name"`
	// Life is how long it is valid.
	Life Duration `yaml:"life"`
	// Key is its kind of key: ec-p256, ec-p384, rsa-3072 or rsa-4096.
	Key string `yaml:"key"`
}

// AppRole is the auth method, and what holds for each of its roles that does
// not say otherwise.
type AppRole struct {
	// Mount is where the method is. Default: that of --auth-mount, or "approle".
	Mount string `yaml:"mount"`
	// IntroducerPolicy is the name of the policy for a deployer's token.
	// Default "sallyport-introducer".
	IntroducerPolicy string `yaml:"introducer_policy"`
	// Access bounds what a role grants.
	Access Access `yaml:"access"`
}

// Access bounds the SecretIDs and the tokens of an AppRole. What one role
// leaves out is as AppRole.Access says.
type Access struct {
	// TokenTTL is the life of a token, within which it is renewed. Default 24h.
	TokenTTL Duration `yaml:"token_ttl"`
	// TokenMaxTTL ends a token for good, however often it was renewed. Default
	// 0: the token is periodic and has no end.
	TokenMaxTTL Duration `yaml:"token_max_ttl"`
	// SecretIDTTL is how long a SecretID may wait to be used. Default the heirs'
	// life and an hour more, or an hour without heirs.
	SecretIDTTL Duration `yaml:"secret_id_ttl"`
	// SecretIDCIDRs are the networks from which a login comes. Default any.
	SecretIDCIDRs []string `yaml:"secret_id_cidrs"`
	// TokenCIDRs are the networks in which a token is used. Default any.
	TokenCIDRs []string `yaml:"token_cidrs"`
}

// Heirs are the introductions that each process mints for its own next start.
type Heirs struct {
	// Enabled lets the processes do so. Default true.
	Enabled bool `yaml:"enabled"`
	// TTL is the longest life of an heir. Default 24h.
	TTL Duration `yaml:"ttl"`
}

// ProvisionGateway is the gateway's place in Vault.
type ProvisionGateway struct {
	// Role is its AppRole and policy. Default: that of --gateway-role, or
	// "sallyport-gateway".
	Role string `yaml:"role"`
	// Hosts are names that the edge certificates may have, beside those of the
	// gateway's configuration. Required without one.
	Hosts []string `yaml:"hosts"`
	// EntityID is named in the SP certificate. Default: the gateway's, or
	// https://HOST/saml/metadata with the first of Hosts.
	EntityID string `yaml:"entity_id"`
	// EdgePKIRole signs the edge certificates. Default: the gateway's, or
	// "sallyport-edge".
	EdgePKIRole string `yaml:"edge_pki_role"`
	// BackendPKIRole signs the client certificate. Default: the gateway's, or
	// "sallyport-gateway".
	BackendPKIRole string `yaml:"backend_pki_role"`
	// ClientName is the name in the client certificate. Default: the gateway's,
	// or "gateway.sallyport.internal".
	ClientName Peer `yaml:"client_name"`
	// AssertionPKIRole signs certificates of the keys that sign assertions.
	// Default: the gateway's, or "sallyport-assertion".
	AssertionPKIRole string `yaml:"assertion_pki_role"`
	// AssertionName is the name in them. Default: the gateway's, or
	// "assertion.sallyport.internal".
	AssertionName Host `yaml:"assertion_name"`
	// SPIFFEIDs are what the client certificate may be named beside it.
	SPIFFEIDs []string `yaml:"spiffe_ids"`
	// Access bounds what the AppRole grants.
	Access Access `yaml:"access"`
}

// ProvisionSidecar is one sidecar's place in Vault. LABEL is the first label
// of its name, or the last segment of a SPIFFE ID.
type ProvisionSidecar struct {
	// Name is the name in its certificate. Required.
	Name Peer `yaml:"name"`
	// Role is its AppRole and policy. Default "sallyport-sidecar-" and the
	// route's name, or LABEL for one without a route.
	Role string `yaml:"role"`
	// PKIRole signs its certificate. Default "sidecar-LABEL".
	PKIRole string `yaml:"pki_role"`
	// ConfigPath is where it may read its configuration. Default
	// "sallyport/sidecar/" and the route's name, or LABEL.
	ConfigPath string `yaml:"config_path"`
	// SPIFFEIDs are what the certificate may be named beside Name.
	SPIFFEIDs []string `yaml:"spiffe_ids"`
	// Policies are yours, by name, which the AppRole grants beside its own: what lets
	// the sidecar have secrets for its tool. They are not made here, and may be written
	// later. Default none.
	Policies []string `yaml:"policies"`
	// Access bounds what the AppRole grants.
	Access Access `yaml:"access"`
}

// ProvisionDriver is what the Docker Swarm secret driver may do.
type ProvisionDriver struct {
	// Policy is the name of its policy. Default "sallyport-secret-driver".
	Policy string `yaml:"policy"`
	// AppRole makes an AppRole of that name too. Default false.
	AppRole bool `yaml:"approle"`
	// KVPaths are secrets that it may serve. Default none.
	KVPaths []string `yaml:"kv_paths"`
	// Access bounds what the AppRole grants.
	Access Access `yaml:"access"`
}

// AuditDevice is where Vault records its requests.
type AuditDevice struct {
	// Path is the device's name. Required.
	Path string `yaml:"path"`
	// Type is file, syslog or stdout. Required.
	Type string `yaml:"type"`
	// File is an absolute path on Vault's hosts. Required for type file.
	File string `yaml:"file"`
	// Facility is that of syslog. Default "AUTH".
	Facility string `yaml:"facility"`
	// Tag is that of syslog. Default "vault".
	Tag string `yaml:"tag"`
}

// Transit is the key that signs the access log's checkpoints.
type Transit struct {
	// Mount is the engine's. Default "transit".
	Mount string `yaml:"mount"`
	// Key is its name. Default none: there is no such key.
	Key string `yaml:"key"`
	// Type is ed25519 or ecdsa-p256. Default "ed25519".
	Type string `yaml:"type"`
	// LogPath is where gateways publish their checkpoints in the KV mount. Default
	// "sallyport/log".
	LogPath string `yaml:"log_path"`
	// VerifierPolicy is the name of a policy for who verifies the log: reads the public
	// key and the checkpoints. Default "sallyport-verifier".
	VerifierPolicy string `yaml:"verifier_policy"`
}

// hoursOfYear are the hours of 365 days.
const hoursOfYear = 365 * 24 * time.Hour

// defaultProvision returns what an empty file means.
func defaultProvision() Provision {
	side := func(name string) Authority {
		return Authority{
			RootMount:    "pki-" + name + "-root",
			Root:         Certificate{Name: "Sallyport " + name + " root", Life: Duration{10 * hoursOfYear}, Key: "ec-p256"},
			Intermediate: Certificate{Name: "Sallyport " + name + " intermediate", Life: Duration{3 * hoursOfYear}, Key: "ec-p256"},
		}
	}
	return Provision{
		KV:           ProvisionKV{ConfigPath: "sallyport/gateway"},
		Generate:     Generate{SPKey: true, SessionKey: true, AssertionKey: true},
		EdgePKI:      side("edge"),
		BackendPKI:   side("backend"),
		AppRole:      AppRole{IntroducerPolicy: "sallyport-introducer", Access: Access{TokenTTL: Duration{24 * time.Hour}}},
		Heirs:        Heirs{Enabled: true, TTL: Duration{24 * time.Hour}},
		SecretDriver: ProvisionDriver{Policy: "sallyport-secret-driver"},
		Transit:      Transit{Mount: "transit", Type: "ed25519", LogPath: "sallyport/log", VerifierPolicy: "sallyport-verifier"},
	}
}

// setDefaults makes d what an empty entry of audit means.
func (d *AuditDevice) setDefaults() {
	d.Facility, d.Tag = "AUTH", "vault"
}

// complete fills in what follows from other keys; given says which keys stand
// in the file.
func (p *Provision) complete(given func(path string) bool) {
	if base := &p.AppRole.Access; !given("approle.access.secret_id_ttl") {
		base.SecretIDTTL = Duration{time.Hour}
		if p.Heirs.Enabled {
			base.SecretIDTTL.Duration += p.Heirs.TTL.Duration
		}
	}
	p.Gateway.Access.inherit(p.AppRole.Access, "gateway.access", given)
	p.SecretDriver.Access.inherit(p.AppRole.Access, "secret_driver.access", given)
	for i := range p.Sidecars {
		p.Sidecars[i].Access.inherit(p.AppRole.Access, entry("sidecars", i)+".access", given)
	}
}

// inherit takes over from base what is not given at path.
func (a *Access) inherit(base Access, path string, given func(path string) bool) {
	own := *a
	*a = base
	if given(join(path, "token_ttl")) {
		a.TokenTTL = own.TokenTTL
	}
	if given(join(path, "token_max_ttl")) {
		a.TokenMaxTTL = own.TokenMaxTTL
	}
	if given(join(path, "secret_id_ttl")) {
		a.SecretIDTTL = own.SecretIDTTL
	}
	if given(join(path, "secret_id_cidrs")) {
		a.SecretIDCIDRs = own.SecretIDCIDRs
	}
	if given(join(path, "token_cidrs")) {
		a.TokenCIDRs = own.TokenCIDRs
	}
}

// Warnings returns what is allowed but deserves a second look; see
// [Gateway.Warnings].
func (p *Provision) Warnings() []string {
	warnings := unsafeKeys(reflect.ValueOf(p).Elem(), "")
	if len(p.Audit) == 0 {
		warnings = append(warnings, "audit: no device is asked for, so that Vault may keep no record of who read what")
	}
	return warnings
}
