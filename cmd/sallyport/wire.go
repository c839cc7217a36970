package main

import (
	"crypto/tls"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// routes translates the configured routes. dial makes the TLS configuration
// that pins a sidecar's name.
func routes(cfg *config.Gateway, dial func(name string) *tls.Config) []proxy.Route {
	var out []proxy.Route
	for _, route := range cfg.Routes {
		out = append(out, proxy.Route{
			Name: route.Name, Title: route.Title, Description: route.Description, Host: string(route.Host),
			Backend: route.Backend.URL.URL(), TLS: dial(string(route.Backend.Name)),
			Rule:              policy.NewRule(route.Allow.Users, route.Allow.Groups, route.Allow.Anyone),
			PassAuthorization: route.PassAuthorization, WebSocket: route.WebSocket,
		})
	}
	return out
}

// edgeNames are the hosts that browsers come to, the door's first.
func edgeNames(cfg *config.Gateway) []string {
	names := []string{string(cfg.Door.Host)}
	for _, route := range cfg.Routes {
		names = append(names, string(route.Host))
	}
	return names
}

// edgeCertificates are those that browsers see.
func edgeCertificates(cfg *config.Gateway, client *vaultpki.Client) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: cfg.Vault.EdgePKI.Mount, Role: cfg.Vault.EdgePKI.Role, TTL: cfg.Vault.EdgePKI.TTL.Duration,
		Names: edgeNames(cfg), Usage: vaultpki.ServerUsage,
	}
}

// clientCertificate is the one that sidecars see.
func clientCertificate(cfg *config.Gateway, client *vaultpki.Client) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: cfg.Vault.BackendPKI.Mount, Role: cfg.Vault.BackendPKI.Role, TTL: cfg.Vault.BackendPKI.TTL.Duration,
		Names: []string{string(cfg.Vault.ClientName)}, Usage: vaultpki.ClientUsage,
	}
}

// spec says what a gateway of this configuration, and the sidecars of its
// routes, need from Vault.
func spec(cfg *config.Gateway) provision.Spec {
	s := provision.Spec{
		KVMount: cfg.Vault.KVMount, SAMLPath: cfg.Vault.SAMLPath, SessionPath: cfg.Vault.SessionPath,
		EdgeMount: cfg.Vault.EdgePKI.Mount, EdgeRole: cfg.Vault.EdgePKI.Role, EdgeHosts: edgeNames(cfg),
		BackendMount: cfg.Vault.BackendPKI.Mount, ClientRole: cfg.Vault.BackendPKI.Role, ClientName: string(cfg.Vault.ClientName),
		GatewayConfigPath: "sallyport/gateway", SPEntityID: cfg.SAML.EntityID,
		CertTTL: max(cfg.Vault.EdgePKI.TTL.Duration, cfg.Vault.BackendPKI.TTL.Duration),
	}
	for _, route := range cfg.Routes {
		s.Sidecars = append(s.Sidecars, provision.Sidecar{
			Role: "sallyport-sidecar-" + route.Name, PKIRole: "sidecar-" + route.Name,
			Name: string(route.Backend.Name), ConfigPath: "sallyport/sidecar/" + route.Name,
		})
	}
	return s
}
