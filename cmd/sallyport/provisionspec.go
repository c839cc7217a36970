package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// provisionFlags say what Vault should hold.
type provisionFlags struct {
	operatorFlags
	config, file string
	idpMetadata  []string // [NAME=]FILE
	gatewayRole  string
	tokenPeriod  time.Duration
}

// add declares the flags.
func (f *provisionFlags) add(flags *pflag.FlagSet, std stdio) {
	f.operatorFlags.add(flags, std)
	flags.StringVar(&f.config, "config", env(std, "", "SALLYPORT_CONFIG"), "the gateway's configuration `FILE` (SALLYPORT_CONFIG)")
	flags.StringVarP(&f.file, "file", "f", "", "`FILE` with what a gateway's configuration cannot say, or all of it")
	flags.StringVar(&f.gatewayRole, "gateway-role", "sallyport-gateway", "`NAME` of the gateway's AppRole and policy")
	flags.DurationVar(&f.tokenPeriod, "token-period", 24*time.Hour, "period of the tokens that the AppRoles grant: the longest outage of Vault that they survive")
}

// wanted is what the flags and the files that they name ask for.
type wanted struct {
	spec    provision.Spec
	session time.Duration // the longest life of a session; 0 if no configuration says it
	refresh time.Duration // the interval at which Vault is read again; as well
	// metadata are the fields of the SAML secret for the metadata of identity providers
	// that the gateway does not fetch.
	metadata []string
}

// wants reads what the flags name. Nothing is asked of Vault.
func (f *provisionFlags) wants(cmd *cobra.Command) (wanted, error) {
	if f.config == "" && f.file == "" {
		return wanted{}, usageError{errors.New("flags --config and --file are missing, expected one of them or both")}
	}
	if err := requireFlags(cmd, "vault-addr"); err != nil {
		return wanted{}, err
	}
	return f.read(cmd.Flags().Changed)
}

// client has the operator's token; it has not asked anything yet.
func (f *provisionFlags) client() (*provision.Client, error) {
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	return provision.NewClient(provision.Config{Server: f.server(), Token: token})
}

// read turns the files into one Spec; isGiven says which flags were given, which
// win over what a file says.
func (f *provisionFlags) read(isGiven func(flag string) bool) (wanted, error) {
	want := wanted{metadata: []string{fieldIdPMetadata}}
	var gateway *config.Gateway
	if f.config != "" {
		text, err := source(f.config).readFile()
		if err != nil {
			return want, err
		}
		if gateway, err = config.LoadGateway(f.config, text); err != nil {
			return want, err
		}
		want = wanted{
			spec: spec(gateway), session: gateway.Session.Absolute.Duration, refresh: gateway.Vault.Refresh.Duration,
			metadata: storedMetadata(gateway.SAML),
		}
	}
	var vault *config.Provision
	if f.file != "" {
		text, err := source(f.file).readFile()
		if err != nil {
			return want, err
		}
		if vault, err = config.LoadProvision(f.file, text); err != nil {
			return want, err
		}
		if err := refine(&want.spec, vault, gateway != nil); err != nil {
			return want, usageError{fmt.Errorf("file %s: %w", f.file, err)}
		}
	}
	f.override(&want.spec, isGiven)
	return want, f.readMetadata(&want.spec, gateway)
}

// override sets what flags say. One that was not given counts where no file says
// anything.
func (f *provisionFlags) override(want *provision.Spec, isGiven func(flag string) bool) {
	if isGiven("auth-mount") || want.AuthMount == "" {
		want.AuthMount = f.authMount
	}
	if isGiven("gateway-role") || want.GatewayRole == "" {
		want.GatewayRole = f.gatewayRole
	}
	want.TokenPeriod = f.tokenPeriod
	if isGiven("token-period") { // in place of those of the file
		want.GatewayAccess.TokenTTL, want.Driver.Access.TokenTTL = 0, 0
		for i := range want.Sidecars {
			want.Sidecars[i].Access.TokenTTL = 0
		}
	}
}

// storedMetadata are the fields for the metadata of those that have no URL.
func storedMetadata(s config.SAML) []string {
	var fields []string
	for _, idp := range s.Providers() {
		if idp.MetadataURL == "" {
			fields = append(fields, fieldOf(fieldIdPMetadata, idp.Name))
		}
	}
	return fields
}

// readMetadata reads the identity providers' metadata and tries each as a gateway
// will.
func (f *provisionFlags) readMetadata(want *provision.Spec, gateway *config.Gateway) error {
	var err error
	named := gateway != nil
	if gateway == nil && len(want.EdgeHosts) > 0 {
		// Any gateway will do: what is judged is not its own.
		if gateway, err = config.LoadGateway(f.file, []byte("door: {host: "+want.EdgeHosts[0]+"}")); err != nil {
			return err
		}
	}
	files := map[string]string{} // by the entity that they describe
	for _, given := range f.idpMetadata {
		name, file := splitMetadata(given)
		text, err := os.ReadFile(file)
		if err != nil {
			return usageError{fmt.Errorf("reading the identity provider's metadata: %w", err)}
		}
		storeMetadata(want, name, text)
		if gateway == nil {
			continue // without a host there is a fault that says so
		}
		idp, err := idpNamed(gateway, name, named)
		if err != nil {
			return err
		}
		entity, err := judgeMetadata(gateway, idp, text)
		if err != nil {
			return &hinted{usageError{fmt.Errorf("file %s: %w", file, err)}, "give --idp-metadata the metadata document of your identity provider, as it exports it"}
		}
		if other, twice := files[entity]; twice {
			return usageError{fmt.Errorf("files %s and %s are both of the identity provider %.200q, expected another for each name", other, file, entity)}
		}
		files[entity] = file
	}
	return nil
}

// storeMetadata has the metadata stored for the identity provider of that name.
func storeMetadata(want *provision.Spec, name string, text []byte) {
	switch {
	case name == config.DefaultIdP:
		want.IdPMetadata = text
	case want.NamedIdPMetadata == nil:
		want.NamedIdPMetadata = map[string][]byte{name: text}
	default:
		want.NamedIdPMetadata[name] = text
	}
}

// nameBefore is a NAME= in front of a file.
var nameBefore = regexp.MustCompile(`^([a-z0-9-]{1,40})=(.+)$`)

// splitMetadata takes [NAME=]FILE apart.
func splitMetadata(given string) (name, file string) {
	if parts := nameBefore.FindStringSubmatch(given); parts != nil {
		return parts[1], parts[2]
	}
	return config.DefaultIdP, given
}

// idpNamed returns the identity provider of that name. Without a gateway's
// configuration, any name will do.
func idpNamed(gateway *config.Gateway, name string, mustBe bool) (config.IdP, error) {
	var names []string
	for _, idp := range gateway.SAML.Providers() {
		if idp.Name == name || !mustBe {
			return idp, nil
		}
		names = append(names, idp.Name)
	}
	return config.IdP{}, usageError{fmt.Errorf("flag --idp-metadata is for an identity provider %s, expected NAME=FILE with one of %s, as saml.idps has them",
		name, strings.Join(names, ", "))}
}

// refine adds to what follows from a gateway's configuration, if there is one,
// what the file says. What both say must be the same: the gateway looks where
// its configuration says.
func refine(want *provision.Spec, vault *config.Provision, beside bool) error {
	var faults []error
	join := func(key string, field *string, value string) {
		if value != "" && *field != "" && *field != value {
			faults = append(faults, fmt.Errorf("%s: found %q, expected %q as the gateway's configuration has it", key, value, *field))
		} else if value != "" {
			*field = value
		}
	}
	join("kv.mount", &want.KVMount, vault.KV.Mount)
	join("kv.saml_path", &want.SAMLPath, vault.KV.SAMLPath)
	join("kv.session_path", &want.SessionPath, vault.KV.SessionPath)
	join("kv.assertion_path", &want.AssertionPath, vault.KV.AssertionPath)
	join("kv.acme_path", &want.ACMEPath, vault.KV.ACMEPath)
	join("edge_pki.mount", &want.EdgeMount, vault.EdgePKI.Mount)
	join("backend_pki.mount", &want.BackendMount, vault.BackendPKI.Mount)
	join("gateway.entity_id", &want.SPEntityID, vault.Gateway.EntityID)
	join("gateway.edge_pki_role", &want.EdgeRole, vault.Gateway.EdgePKIRole)
	join("gateway.backend_pki_role", &want.ClientRole, vault.Gateway.BackendPKIRole)
	join("gateway.client_name", &want.ClientName, string(vault.Gateway.ClientName))
	join("gateway.assertion_pki_role", &want.AssertionRole, vault.Gateway.AssertionPKIRole)
	join("gateway.assertion_name", &want.AssertionName, string(vault.Gateway.AssertionName))
	if vault.Transit.Key != "" && want.Transit.Key != "" {
		join("transit.key", &want.Transit.Key, vault.Transit.Key)
		join("transit.mount", &want.Transit.Mount, vault.Transit.Mount)
		join("transit.log_path", &want.Transit.LogPath, vault.Transit.LogPath)
	}
	for _, host := range vault.Gateway.Hosts {
		if !slices.Contains(want.EdgeHosts, host) {
			want.EdgeHosts = append(want.EdgeHosts, host)
		}
	}
	switch {
	case len(want.EdgeHosts) == 0:
		faults = append(faults, errors.New("gateway.hosts: found nothing, expected the door's host and the tools', or --config beside the file"))
	case want.SPEntityID == "" && !beside:
		want.SPEntityID = "https://" + want.EdgeHosts[0] + "/saml/metadata"
	}
	for _, path := range vault.KV.CredentialPaths {
		if !slices.Contains(want.CredentialPaths, path) {
			want.CredentialPaths = append(want.CredentialPaths, path)
		}
	}
	extend(want, vault)
	want.Sidecars = refineSidecars(want.Sidecars, vault)
	return errors.Join(faults...)
}

// extend sets what only the file can say.
func extend(want *provision.Spec, vault *config.Provision) {
	want.GatewayConfigPath = vault.KV.ConfigPath
	want.NoSPKey, want.NoSessionKey, want.NoAssertionKey = !vault.Generate.SPKey, !vault.Generate.SessionKey, !vault.Generate.AssertionKey
	want.EdgeAuthority, want.BackendAuthority = authorityOf(vault.EdgePKI), authorityOf(vault.BackendPKI)
	if ttl := vault.CertificateTTL.Duration; ttl > 0 {
		want.CertTTL = ttl
	}
	want.EdgeRevocation = want.EdgeRevocation || vault.Revocation
	want.ClientRevocation = want.ClientRevocation || vault.Revocation
	want.AuthMount, want.IntroducerPolicy = vault.AppRole.Mount, vault.AppRole.IntroducerPolicy
	want.NoHeirs, want.HeirTTL = !vault.Heirs.Enabled, vault.Heirs.TTL.Duration
	want.GatewayRole, want.GatewayAccess, want.ClientIDs = vault.Gateway.Role, accessOf(vault.Gateway.Access), vault.Gateway.SPIFFEIDs
	want.Driver = provision.Driver{
		Policy: vault.SecretDriver.Policy, AppRole: vault.SecretDriver.AppRole,
		KVPaths: vault.SecretDriver.KVPaths, Access: accessOf(vault.SecretDriver.Access),
	}
	for _, device := range vault.Audit {
		want.Audit = append(want.Audit, provision.AuditDevice{
			Path: device.Path, Type: device.Type, File: device.File, Facility: device.Facility, Tag: device.Tag,
		})
	}
	want.Transit.Type, want.Transit.VerifierPolicy = vault.Transit.Type, vault.Transit.VerifierPolicy
	if want.Transit.Key == "" { // the gateway's configuration has none, or there is none beside the file
		want.Transit.Key, want.Transit.Mount, want.Transit.LogPath = vault.Transit.Key, vault.Transit.Mount, vault.Transit.LogPath
	}
}

func authorityOf(a config.Authority) provision.Authority {
	certificate := func(c config.Certificate) provision.Certificate {
		return provision.Certificate{Name: c.Name, Life: c.Life.Duration, Key: c.Key}
	}
	return provision.Authority{RootMount: a.RootMount, Root: certificate(a.Root), Intermediate: certificate(a.Intermediate)}
}

func accessOf(a config.Access) provision.Access {
	return provision.Access{
		TokenTTL: a.TokenTTL.Duration, TokenMaxTTL: a.TokenMaxTTL.Duration, SecretIDTTL: a.SecretIDTTL.Duration,
		SecretIDCIDRs: a.SecretIDCIDRs, TokenCIDRs: a.TokenCIDRs,
	}
}

// refineSidecars joins the sidecars of the routes and those of the file, by the
// name in their certificates.
func refineSidecars(sidecars []provision.Sidecar, vault *config.Provision) []provision.Sidecar {
	for i := range sidecars {
		sidecars[i].Access = accessOf(vault.AppRole.Access)
	}
	for _, said := range vault.Sidecars {
		at := slices.IndexFunc(sidecars, func(s provision.Sidecar) bool { return s.Name == string(said.Name) })
		if at < 0 {
			at = len(sidecars)
			label := said.Name.Label()
			sidecars = append(sidecars, provision.Sidecar{
				Name: string(said.Name), Role: "sallyport-sidecar-" + label, PKIRole: "sidecar-" + label, ConfigPath: "sallyport/sidecar/" + label,
			})
		}
		sidecar := &sidecars[at]
		for field, value := range map[*string]string{&sidecar.Role: said.Role, &sidecar.PKIRole: said.PKIRole, &sidecar.ConfigPath: said.ConfigPath} {
			if value != "" {
				*field = value
			}
		}
		sidecar.IDs, sidecar.Policies, sidecar.Access = said.SPIFFEIDs, said.Policies, accessOf(said.Access)
	}
	for i := range sidecars {
		sidecars[i].Revocation = vault.Revocation
	}
	return sidecars
}

// judgeMetadata tries an identity provider's metadata the way a gateway will, so
// that what it would refuse is not stored. The key is thrown away.
func judgeMetadata(cfg *config.Gateway, idp config.IdP, metadata []byte) (entityID string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("generating a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", fmt.Errorf("signing a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return "", fmt.Errorf("parsing a certificate: %w", err)
	}
	own := ownKeys{keyPair: keyPair{key, certificate}}
	settings := samlConfig(sharedSAML{cfg: cfg, own: own, from: cfg.SAML.OwnMetadata.ValidFrom(time.Now())}, idp)
	settings.IdPMetadata, settings.IdPEntityID = metadata, idp.EntityID
	provider, err := newServiceProvider(settings)
	if err != nil {
		return "", err
	}
	return provider.IdP().EntityID, nil
}
