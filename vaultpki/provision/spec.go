package provision

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Spec is what the product needs from Vault, in plain values. Paths and mounts
// are without slashes at their ends. Empty fields take the default that is
// named, except where "required" is said.
type Spec struct {
	KVMount           string // KV version 2 mount; "secret"
	SAMLPath          string // SP keys and IdP metadata; "sallyport/saml"
	SessionPath       string // session keys; "sallyport/session"
	GatewayConfigPath string // the gateway's configuration; "sallyport/gateway"

	EdgeMount string   // PKI of the browsers' side; "pki-edge"
	EdgeRole  string   // signs server certificates there; "sallyport-edge"
	EdgeHosts []string // the door's and all tools' hosts; required

	BackendMount string    // PKI between gateway and sidecars; "pki-backend"
	ClientRole   string    // signs the gateway's client certificate; "sallyport-gateway"
	ClientName   string    // the name in it; "gateway.sallyport.internal"
	Sidecars     []Sidecar // one per backend

	AuthMount   string // AppRole auth method; "approle"
	GatewayRole string // the gateway's AppRole and policy; "sallyport-gateway"

	SPEntityID  string        // named in the generated SP certificate; required
	IdPMetadata []byte        // written if given
	TokenPeriod time.Duration // a token renewed this often lives for ever; 24h
	CertTTL     time.Duration // longest life of a leaf certificate; 24h
}

// Sidecar is one sidecar's place in Vault.
type Sidecar struct {
	Role       string // its AppRole and policy; "sallyport-sidecar-" and the first label of Name
	PKIRole    string // signs its server certificate; "sidecar-" and the first label of Name
	Name       string // the DNS name in its certificate; required
	ConfigPath string // KV path of its configuration; "sallyport/sidecar/" and the first label of Name
}

// setDefault sets an empty text.
func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// withDefaults returns the Spec with its defaults filled in.
func (s Spec) withDefaults() Spec {
	setDefault(&s.KVMount, "secret")
	setDefault(&s.SAMLPath, "sallyport/saml")
	setDefault(&s.SessionPath, "sallyport/session")
	setDefault(&s.GatewayConfigPath, "sallyport/gateway")
	setDefault(&s.EdgeMount, "pki-edge")
	setDefault(&s.EdgeRole, "sallyport-edge")
	setDefault(&s.BackendMount, "pki-backend")
	setDefault(&s.ClientRole, "sallyport-gateway")
	setDefault(&s.ClientName, "gateway.sallyport.internal")
	setDefault(&s.AuthMount, "approle")
	setDefault(&s.GatewayRole, "sallyport-gateway")
	if s.TokenPeriod == 0 {
		s.TokenPeriod = 24 * time.Hour
	}
	if s.CertTTL == 0 {
		s.CertTTL = 24 * time.Hour
	}
	sidecars := make([]Sidecar, len(s.Sidecars))
	for i, sidecar := range s.Sidecars {
		label, _, _ := strings.Cut(sidecar.Name, ".")
		setDefault(&sidecar.Role, "sallyport-sidecar-"+label)
		setDefault(&sidecar.PKIRole, "sidecar-"+label)
		setDefault(&sidecar.ConfigPath, "sallyport/sidecar/"+label)
		sidecars[i] = sidecar
	}
	s.Sidecars = sidecars
	return s
}

// check returns every fault of the Spec.
func (s Spec) check() error {
	var faults []error
	texts := map[string]string{
		"KVMount": s.KVMount, "SAMLPath": s.SAMLPath, "SessionPath": s.SessionPath,
		"GatewayConfigPath": s.GatewayConfigPath, "EdgeMount": s.EdgeMount, "EdgeRole": s.EdgeRole,
		"BackendMount": s.BackendMount, "ClientRole": s.ClientRole, "AuthMount": s.AuthMount, "GatewayRole": s.GatewayRole,
	}
	for _, sidecar := range s.Sidecars {
		texts["Role of sidecar "+sidecar.Name] = sidecar.Role
		texts["PKIRole of sidecar "+sidecar.Name] = sidecar.PKIRole
		texts["ConfigPath of sidecar "+sidecar.Name] = sidecar.ConfigPath
		faults = append(faults, checkHost(sidecar.Name))
	}
	for _, field := range slices.Sorted(maps.Keys(texts)) {
		faults = append(faults, checkText(field, texts[field]))
	}
	if len(s.EdgeHosts) == 0 {
		faults = append(faults, errors.New("EdgeHosts: expected at least the door's host"))
	}
	for _, host := range append([]string{s.ClientName}, s.EdgeHosts...) {
		faults = append(faults, checkHost(host))
	}
	faults = append(faults, s.checkDistinct())
	if s.SPEntityID == "" {
		faults = append(faults, errors.New("SPEntityID: none given"))
	}
	if s.TokenPeriod < time.Minute || s.CertTTL < time.Second {
		faults = append(faults, fmt.Errorf("TokenPeriod %s and CertTTL %s: too short", s.TokenPeriod, s.CertTTL))
	}
	return errors.Join(faults...)
}

// checkDistinct refuses two processes that would share a role: each would be
// given the other's powers.
func (s Spec) checkDistinct() error {
	roles := map[string]bool{s.GatewayRole: true}
	pkiRoles := map[string]bool{s.ClientRole: true}
	if s.EdgeMount == s.BackendMount {
		return fmt.Errorf("mount %q: edge and backend need a PKI each", s.EdgeMount)
	}
	for _, sidecar := range s.Sidecars {
		if roles[sidecar.Role] || pkiRoles[sidecar.PKIRole] {
			return fmt.Errorf("sidecar %q: AppRole %q or PKI role %q is another's too", sidecar.Name, sidecar.Role, sidecar.PKIRole)
		}
		roles[sidecar.Role], pkiRoles[sidecar.PKIRole] = true, true
	}
	return nil
}

// checkHost accepts a lower-case DNS name and nothing that a PKI role would take
// for a pattern.
func checkHost(host string) error {
	if host == "" || strings.Trim(host, ".-") != host || strings.ContainsFunc(host, notOfHost) {
		return fmt.Errorf("host %q: expected a lower-case DNS name", host)
	}
	return nil
}

func notOfHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-'
}

// checkText accepts a mount, path or role as it stands in a policy.
func checkText(field, text string) error {
	if err := wire.CheckPath(text); err != nil {
		return fmt.Errorf("%s %q: expected a plain path: %w", field, text, err)
	}
	return nil
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
	// that grants it.
	add := func(objects ...object) { d.objects = append(d.objects, objects...) }
	add(
		mount{path: s.KVMount, kind: "kv", version: "2"},
		mount{path: s.AuthMount, kind: "approle", auth: true},
		mount{path: s.EdgeMount, kind: "pki", maxTTL: rootLife},
		mount{path: s.BackendMount, kind: "pki", maxTTL: rootLife},
		root{mount: s.EdgeMount, name: "Sallyport edge root"},
		root{mount: s.BackendMount, name: "Sallyport backend root"},
		pkiRole(s.EdgeMount+"/roles/"+s.EdgeRole, s.EdgeHosts, "server", s.CertTTL),
		pkiRole(s.BackendMount+"/roles/"+s.ClientRole, []string{s.ClientName}, "client", s.CertTTL),
		policy{name: s.GatewayRole, text: s.gatewayPolicy()},
		appRole(s.AuthMount, s.GatewayRole, s.TokenPeriod),
	)
	for _, sidecar := range s.Sidecars {
		add(
			pkiRole(s.BackendMount+"/roles/"+sidecar.PKIRole, []string{sidecar.Name}, "server", s.CertTTL),
			policy{name: sidecar.Role, text: s.sidecarPolicy(sidecar)},
			appRole(s.AuthMount, sidecar.Role, s.TokenPeriod),
		)
	}
	add(policy{name: introducerPolicy, text: s.introducerPolicy()})
	add(s.samlSecret(), s.sessionSecret())
	return d, nil
}
