package provision

import (
	"fmt"
	"strings"
	"time"
)

// Spec is what the product needs from Vault, in plain values. Paths and mounts
// are without slashes at their ends. Empty fields take the default that is
// named, except where "required" is said.
type Spec struct {
	KVMount           string // KV version 2 mount; "secret"
	SAMLPath          string // SP keys and IdP metadata; "sallyport/saml"
	SessionPath       string // session keys; "sallyport/session"
	AssertionPath     string // keys that sign assertions; "sallyport/assertion"
	GatewayConfigPath string // the gateway's configuration; "sallyport/gateway"
	ACMEPath          string // below it the gateway may keep ACME accounts and certificates; if empty, nowhere
	ACMEBindingPath   string // what binds such an account to one that the server knows; if empty, nothing
	// AuditPath is the secret with the key that pseudonyms in the access log are made with;
	// if empty, there is none. AuditorPolicy is that of a token which may read nothing else.
	AuditPath     string
	AuditorPolicy string // "sallyport-auditor"
	// HashDevice is the audit device whose form of the accessor of its token the gateway
	// may ask for; if empty, none.
	HashDevice string
	// CredentialPaths are secrets that the gateway shows to tools; none. Nobody writes them
	// but the operator.
	CredentialPaths []string

	EdgeMount     string    // PKI of the browsers' side; "pki-edge"
	EdgeAuthority Authority // what signs there
	EdgeRole      string    // signs server certificates there; "sallyport-edge"
	EdgeHosts     []string  // the door's and all tools' hosts, and wildcards; required

	BackendMount     string    // PKI between gateway and sidecars; "pki-backend"
	BackendAuthority Authority // what signs there
	ClientRole       string    // signs the gateway's client certificate; "sallyport-gateway"
	ClientName       string    // the DNS name or SPIFFE ID in it; "gateway.sallyport.internal"
	ClientIDs        []string  // SPIFFE IDs that it may have beside it; none
	AssertionRole    string    // signs certificates of the keys that sign assertions; "sallyport-assertion"
	AssertionName    string    // the DNS name in them; "assertion.sallyport.internal"
	Sidecars         []Sidecar // one per backend

	CertTTL        time.Duration // longest life of a leaf certificate; 24h
	EdgeRevocation bool          // the gateway may revoke server certificates that it shows
	// ClientRevocation is the same for its client certificates.
	ClientRevocation bool

	AuthMount        string        // AppRole auth method; "approle"
	GatewayRole      string        // the gateway's AppRole and policy; "sallyport-gateway"
	GatewayAccess    Access        // what that AppRole grants
	TokenPeriod      time.Duration // TokenTTL of every Access that says none; 24h
	NoHeirs          bool          // processes do not mint their own next introduction
	HeirTTL          time.Duration // longest life of such an introduction; 24h
	IntroducerPolicy string        // of a deployer's token; "sallyport-introducer"
	Driver           Driver        // the secret driver

	SPEntityID  string // named in the generated SP certificate; required
	IdPMetadata []byte // written if given, to idp_metadata_xml
	// NamedIdPMetadata is that of further identity providers, by their names, and
	// written to idp_metadata_xml_NAME.
	NamedIdPMetadata map[string][]byte
	NoSPKey          bool // an absent SP key pair is not generated
	NoSessionKey     bool // an absent session key is not generated
	NoAssertionKey   bool // an absent key that signs assertions is not generated

	Audit   []AuditDevice // devices that there must be; none
	Transit Transit       // the key of the access log's checkpoints
}

// Sidecar is one sidecar's place in Vault.
type Sidecar struct {
	Role       string   // its AppRole and policy; "sallyport-sidecar-" and the label of Name
	PKIRole    string   // signs its server certificate; "sidecar-" and the label of Name
	Name       string   // the DNS name or SPIFFE ID in its certificate; required
	IDs        []string // SPIFFE IDs that the certificate may have beside it; none
	ConfigPath string   // KV path of its configuration; "sallyport/sidecar/" and the label of Name
	Policies   []string // what its AppRole grants beside its own policy: others' policies, which are not made here; none
	Revocation bool     // it may revoke certificates that it shows
	Access     Access   // what its AppRole grants
}

// Access bounds the SecretIDs and tokens of one AppRole.
type Access struct {
	TokenTTL      time.Duration // the life that a renewal grants; Spec.TokenPeriod
	TokenMaxTTL   time.Duration // ends a token for good; 0: a periodic token, which has no end
	SecretIDTTL   time.Duration // the heirs' life and an hour more, or 1h without heirs
	SecretIDCIDRs []string      // networks from which a login may come; any
	TokenCIDRs    []string      // networks in which a token may be used; any
}

// Authority is the root and the intermediate of one side. A mount that has an
// authority already keeps it, whatever is said here.
type Authority struct {
	RootMount    string // PKI mount of the root; that of the intermediate and "-root"
	Root         Certificate
	Intermediate Certificate
}

// Certificate is what an authority's certificate is like.
type Certificate struct {
	Name string        // common name; "Sallyport edge root" and the like
	Life time.Duration // 10 years for a root, 3 for an intermediate
	Key  string        // "ec-p256" (the default), "ec-p384", "rsa-3072" or "rsa-4096"
}

// Driver is the secret driver's place in Vault.
type Driver struct {
	Policy  string   // its policy, and its AppRole if it has one; "sallyport-secret-driver"
	AppRole bool     // it logs in by an AppRole of its own
	KVPaths []string // secrets that it may serve; none
	Access  Access   // what its AppRole grants
}

// AuditDevice is where Vault records its requests.
type AuditDevice struct {
	Path     string // its name; required
	Type     string // "file", "syslog" or "stdout"; required
	File     string // of type file; required there
	Facility string // of type syslog; "AUTH"
	Tag      string // of type syslog; "vault"
}

// Transit is a signing key that never leaves Vault, for the checkpoints of the access
// log, and what belongs to it.
type Transit struct {
	Mount          string // "transit"
	Key            string // its name; if empty, there is none
	Type           string // "ed25519" (the default) or "ecdsa-p256"
	LogPath        string // KV path below which gateways publish their checkpoints; "sallyport/log"
	VerifierPolicy string // of who verifies the log; "sallyport-verifier"
}

// setDefault sets an empty value.
func setDefault[T comparable](field *T, value T) {
	var empty T
	if *field == empty {
		*field = value
	}
}

// withDefaults returns the Spec with its defaults filled in.
func (s Spec) withDefaults() Spec {
	setDefault(&s.KVMount, "secret")
	setDefault(&s.SAMLPath, "sallyport/saml")
	setDefault(&s.SessionPath, "sallyport/session")
	setDefault(&s.AssertionPath, "sallyport/assertion")
	setDefault(&s.AuditorPolicy, "sallyport-auditor")
	setDefault(&s.GatewayConfigPath, "sallyport/gateway")
	setDefault(&s.EdgeMount, "pki-edge")
	setDefault(&s.EdgeRole, "sallyport-edge")
	s.EdgeAuthority.setDefaults(s.EdgeMount, "edge")
	setDefault(&s.BackendMount, "pki-backend")
	s.BackendAuthority.setDefaults(s.BackendMount, "backend")
	setDefault(&s.ClientRole, "sallyport-gateway")
	setDefault(&s.ClientName, "gateway.sallyport.internal")
	setDefault(&s.AssertionRole, "sallyport-assertion")
	setDefault(&s.AssertionName, "assertion.sallyport.internal")
	setDefault(&s.AuthMount, "approle")
	setDefault(&s.GatewayRole, "sallyport-gateway")
	setDefault(&s.IntroducerPolicy, "sallyport-introducer")
	setDefault(&s.Driver.Policy, "sallyport-secret-driver")
	setDefault(&s.Transit.Mount, "transit")
	setDefault(&s.Transit.Type, "ed25519")
	setDefault(&s.Transit.LogPath, "sallyport/log")
	setDefault(&s.Transit.VerifierPolicy, "sallyport-verifier")
	setDefault(&s.TokenPeriod, 24*time.Hour)
	setDefault(&s.HeirTTL, 24*time.Hour)
	setDefault(&s.CertTTL, 24*time.Hour)
	s.accessDefaults(&s.GatewayAccess)
	s.accessDefaults(&s.Driver.Access)
	sidecars := make([]Sidecar, len(s.Sidecars))
	for i, sidecar := range s.Sidecars {
		label := labelOf(sidecar.Name)
		setDefault(&sidecar.Role, "sallyport-sidecar-"+label)
		setDefault(&sidecar.PKIRole, "sidecar-"+label)
		setDefault(&sidecar.ConfigPath, "sallyport/sidecar/"+label)
		s.accessDefaults(&sidecar.Access)
		sidecars[i] = sidecar
	}
	s.Sidecars = sidecars
	return s
}

// spiffe begins the names that are no DNS names.
const spiffe = "spiffe://"

// labelOf is the short form of a name in a certificate: the first label of a DNS
// name, the last segment of a SPIFFE ID.
func labelOf(name string) string {
	if strings.HasPrefix(name, spiffe) {
		return name[strings.LastIndexByte(name, '/')+1:]
	}
	label, _, _ := strings.Cut(name, ".")
	return label
}

// setDefaults fills in the authority above mount; side names it for people.
func (a *Authority) setDefaults(mount, side string) {
	setDefault(&a.RootMount, mount+"-root")
	setDefault(&a.Root.Name, "Sallyport "+side+" root")
	setDefault(&a.Root.Life, 10*year)
	setDefault(&a.Root.Key, "ec-p256")
	setDefault(&a.Intermediate.Name, "Sallyport "+side+" intermediate")
	setDefault(&a.Intermediate.Life, 3*year)
	setDefault(&a.Intermediate.Key, "ec-p256")
}

// accessDefaults fills in one AppRole's bounds. An heir must outlast its
// wrapping, or it would be found dead inside.
func (s Spec) accessDefaults(a *Access) {
	setDefault(&a.TokenTTL, s.TokenPeriod)
	life := time.Hour
	if !s.NoHeirs {
		life += s.HeirTTL
	}
	setDefault(&a.SecretIDTTL, life)
}

// New returns the desired state for spec. The error joins every fault of spec.
func New(spec Spec) (*Desired, error) {
	s := spec.withDefaults()
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("checking what Vault must hold: %w", err)
	}
	d := &Desired{}
	// Each object comes after those that it needs: mounts before what is on
	// them, a root before the roles that sign with it, a policy before the role
	// that grants it. Audit devices come first, so that they record the rest.
	add := func(objects ...object) { d.objects = append(d.objects, objects...) }
	for _, device := range s.Audit {
		add(auditDevice(device))
	}
	edge, backend := s.edge(), s.backend()
	add(
		mount{path: s.KVMount, kind: "kv", version: "2"},
		mount{path: s.AuthMount, kind: "approle", auth: true},
		mount{path: s.EdgeMount, kind: "pki", maxTTL: s.EdgeAuthority.Intermediate.Life},
		mount{path: s.BackendMount, kind: "pki", maxTTL: s.BackendAuthority.Intermediate.Life},
		rootMount{edge}, rootMount{backend},
		root{edge}, root{backend},
		intermediate{edge}, intermediate{backend},
		pkiRole(s.EdgeMount, s.EdgeRole, s.EdgeHosts, "server", s.CertTTL),
		pkiRole(s.BackendMount, s.ClientRole, append([]string{s.ClientName}, s.ClientIDs...), "client", s.CertTTL),
		assertionRole(s.BackendMount, s.AssertionRole, s.AssertionName, s.CertTTL),
	)
	if s.Transit.Key != "" {
		add(mount{path: s.Transit.Mount, kind: "transit"}, transitKey(s.Transit), policy{name: s.Transit.VerifierPolicy, text: s.verifierPolicy()})
	}
	add(policy{name: s.GatewayRole, text: s.gatewayPolicy()}, appRole(s.AuthMount, s.GatewayRole, s.GatewayAccess))
	for _, sidecar := range s.Sidecars {
		add(
			pkiRole(s.BackendMount, sidecar.PKIRole, append([]string{sidecar.Name}, sidecar.IDs...), "server", s.CertTTL),
			policy{name: sidecar.Role, text: s.sidecarPolicy(sidecar)},
			appRole(s.AuthMount, sidecar.Role, sidecar.Access, sidecar.Policies...),
		)
	}
	add(policy{name: s.IntroducerPolicy, text: s.introducerPolicy()}, policy{name: s.Driver.Policy, text: s.driverPolicy()})
	if s.AuditPath != "" {
		add(policy{name: s.AuditorPolicy, text: s.auditorPolicy()})
	}
	if s.Driver.AppRole {
		add(appRole(s.AuthMount, s.Driver.Policy, s.Driver.Access))
	}
	add(s.secrets()...)
	return d, nil
}

// edge and backend are the two authorities.
func (s Spec) edge() authority { return authority{mount: s.EdgeMount, Authority: s.EdgeAuthority} }
func (s Spec) backend() authority {
	return authority{mount: s.BackendMount, Authority: s.BackendAuthority}
}
