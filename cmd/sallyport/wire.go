package main

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// loadGateway reads a configuration that a gateway can use: faults that need neither keys
// nor Vault to be found are found before either is asked for.
func loadGateway(name string, text []byte) (*config.Gateway, error) {
	cfg, err := config.LoadGateway(name, text)
	if err != nil {
		return nil, err
	}
	if err := proxy.CheckRoutes(routes(cfg, func(string) *tls.Config { return nil })); err != nil {
		return nil, usageError{fmt.Errorf("checking the routes of %s: %w", name, err)}
	}
	return cfg, nil
}

// routes translates the configured routes. dial makes the TLS configuration
// that pins a sidecar's name.
func routes(cfg *config.Gateway, dial func(name string) *tls.Config) []proxy.Route {
	var out []proxy.Route
	for _, route := range cfg.Routes {
		out = append(out, routed(&route, proxy.Route{
			Name: route.Name, Title: route.Title, Description: route.Description, Host: string(route.Host),
			Upstream: upstreamOptions(route.Backend),
			Rule:     policy.NewRule(route.Allow.Users, route.Allow.Groups, route.Allow.Anyone),
			StepUp: policy.StepUp{
				MaxAge: route.StepUp.MaxAge.Duration, Contexts: route.StepUp.AuthnContext.Classes, Minimum: route.StepUp.AuthnContext.Minimum(),
			},
			IdPs:     route.IdPs,
			Identity: toldBy(route.Identity), Assertion: route.Assertion,
			PassAuthorization: route.PassAuthorization, WebSocket: route.WebSocket, UnsafeCrossOrigin: route.UnsafeCrossOrigin,
			Answers: answersOf(route.Answers), Limits: routeLimits(route.Limits), QueryKeys: route.QueryKeys, ForwardAuth: route.ForwardAuth,
		}, dial))
	}
	return out
}

// toldBy is what a route tells its tool, but for its credential.
func toldBy(i config.Identity) proxy.Identity {
	out := proxy.Identity{Profiles: []header.Profile{}, AllGroups: i.AllGroups(), MoreGroups: i.MoreGroups}
	separator := header.Separator(i.Separator())
	for _, name := range i.Headers {
		profile, _ := header.ProfileOf(name) // of those that the configuration may name, each is there
		out.Profiles = append(out.Profiles, profile)
	}
	custom := i.Custom
	out.Profiles = append(out.Profiles, header.Profile{
		User: custom.Header(custom.User), Email: custom.Header(custom.Email), Name: custom.Header(custom.Name), Groups: custom.Header(custom.Groups),
	})
	if separator != "" {
		for n := range out.Profiles {
			out.Profiles[n].Separator = separator
		}
	}
	switch {
	case i.UnsafeUTF8:
		out.Values = header.UTF8
	case i.RefuseNonASCII():
		out.Values = header.Refuse
	}
	return out
}

// sharedSAML is what all service providers of a gateway have in common.
type sharedSAML struct {
	cfg    *config.Gateway
	own    ownKeys
	replay saml.Replay
	from   time.Time // from when our metadata is valid; zero if it is for ever
}

// samlConfig is the service provider of the configuration towards one of its identity
// providers. That one's metadata is still to come.
func samlConfig(shared sharedSAML, idp config.IdP) saml.Config {
	cfg, own := shared.cfg, shared.own
	settings := saml.Config{
		EntityID: cfg.SAML.EntityID, ACSURL: cfg.ACSURL(), SLOURL: cfg.SLOURL(),
		Key: own.key, Certificate: own.certificate, Published: own.published, Decryption: own.decryption,
		Description: description(cfg.SAML.OwnMetadata, shared.from),
		PinnedKeys:  idp.PinnedIdPKeys, NameIDFormat: idp.NameIDFormat, AuthnContext: authnContext(idp.AuthnContext),
		UnsafeUnsolicited: idp.UnsafeUnsolicitedLanding != "", UserDomains: domainNames(idp.UserDomains),
		Attributes: saml.Attributes{
			User: idp.Attributes.User, Email: idp.Attributes.Email, Name: idp.Attributes.Name, Groups: idp.Attributes.Groups,
		},
		ClockSkew: cfg.SAML.ClockSkew.Duration, MaxAge: idp.MaxAge.Duration, Replay: shared.replay,
	}
	switch {
	case idp.Redirect():
		settings.RequestBinding = saml.BindingRedirect
	case idp.Post():
		settings.RequestBinding = saml.BindingPost
	}
	return settings
}

func authnContext(a config.AuthnContext) saml.AuthnContext {
	return saml.AuthnContext{Classes: a.Classes, Minimum: a.Minimum()}
}

func domainNames(domains []config.Host) []string {
	var names []string
	for _, domain := range domains {
		names = append(names, string(domain))
	}
	return names
}

// description is what our metadata says besides.
func description(m config.OwnMetadata, from time.Time) saml.Description {
	return saml.Description{
		DisplayName: m.DisplayName, Text: m.Description, InformationURL: m.InformationURL, PrivacyStatementURL: m.PrivacyStatementURL,
		LogoURL: m.LogoURL, LogoWidth: m.LogoWidth, LogoHeight: m.LogoHeight,
		Organization: m.Organization, OrganizationURL: m.OrganizationURL,
		TechnicalContact: m.TechnicalContact, SupportContact: m.SupportContact, SecurityContact: m.SecurityContact,
		ValidFor: m.ValidFor.Duration, ValidFrom: from, Signed: m.Sign,
	}
}

// edgeCertificates are those that browsers see.
func edgeCertificates(cfg *config.Gateway, client *vaultpki.Client) vaultpki.CertificatesConfig {
	return certificates(cfg.Vault.EdgePKI, client, vaultpki.ServerUsage, cfg.Hosts()...)
}

// clientCertificate is the one that sidecars see.
func clientCertificate(cfg *config.Gateway, client *vaultpki.Client) vaultpki.CertificatesConfig {
	return certificates(cfg.Vault.BackendPKI, client, vaultpki.ClientUsage, string(cfg.Vault.ClientName))
}

// sidecarCertificate is the one that the gateway sees.
func sidecarCertificate(cfg *config.Sidecar, client *vaultpki.Client) vaultpki.CertificatesConfig {
	return certificates(cfg.PKI, client, vaultpki.ServerUsage, string(cfg.Name))
}

func certificates(pki config.PKI, client *vaultpki.Client, usage vaultpki.Usage, names ...string) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: pki.Mount, Role: pki.Role, TTL: pki.TTL.Duration, Names: names, Usage: usage,
		Window: vaultpki.Window(pki.RenewalWindow), RevokeOnStop: pki.RevokeOnStop,
	}
}

// spec says what a gateway of this configuration, and the sidecars of its
// routes, need from Vault.
func spec(cfg *config.Gateway) provision.Spec {
	s := provision.Spec{
		KVMount: cfg.Vault.KVMount, SAMLPath: cfg.Vault.SAMLPath, SessionPath: cfg.Vault.SessionPath, AssertionPath: cfg.Vault.AssertionPath,
		EdgeMount: cfg.Vault.EdgePKI.Mount, EdgeRole: cfg.Vault.EdgePKI.Role, EdgeHosts: cfg.Hosts(),
		BackendMount: cfg.Vault.BackendPKI.Mount, ClientRole: cfg.Vault.BackendPKI.Role, ClientName: string(cfg.Vault.ClientName),
		GatewayConfigPath: "sallyport/gateway", CredentialPaths: cfg.CredentialPaths(), SPEntityID: cfg.SAML.EntityID,
		AssertionRole: cfg.Vault.AssertionRole, AssertionName: string(cfg.Vault.AssertionName),
		CertTTL:        max(cfg.Vault.EdgePKI.TTL.Duration, cfg.Vault.BackendPKI.TTL.Duration),
		EdgeRevocation: cfg.Vault.EdgePKI.RevokeOnStop, ClientRevocation: cfg.Vault.BackendPKI.RevokeOnStop,
	}
	if signed := cfg.AccessLog.Checkpoints; signed.On() {
		s.Transit = provision.Transit{Mount: signed.Mount, Key: signed.Key, LogPath: signed.Path}
	}
	if acme := cfg.Vault.EdgeACME; acme.On() {
		s.ACMEPath = acme.KVPath
		if acme.Bound() {
			s.ACMEBindingPath = acme.EABPath
		}
	}
	if cfg.AccessLog.Pseudonymise {
		s.AuditPath = cfg.Vault.AuditPath
	}
	if cfg.Vault.HashesAccessor() {
		s.HashDevice = cfg.Vault.AuditDevice
	}
	seen := map[config.Peer]bool{}
	for _, route := range cfg.Routes {
		if seen[route.Backend.Name] || !route.HasBackend() {
			continue // one sidecar may serve several routes; the first names it
		}
		seen[route.Backend.Name] = true
		// The PKI role is the one that a sidecar of that name asks for by default.
		s.Sidecars = append(s.Sidecars, provision.Sidecar{
			Role: "sallyport-sidecar-" + route.Name, PKIRole: "sidecar-" + route.Backend.Name.Label(),
			Name: string(route.Backend.Name), ConfigPath: "sallyport/sidecar/" + route.Name,
		})
	}
	return s
}
