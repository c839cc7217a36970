package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Warnings returns what is allowed but probably not meant, or loosens the
// gateway's guard: one line each, beginning with the key. The list is empty
// for a configuration that needs no second look.
func (g *Gateway) Warnings() []string {
	warnings := unsafeKeys(reflect.ValueOf(g).Elem(), "")
	if len(g.Routes) == 0 {
		warnings = append(warnings, "routes: there are none, so the portal is empty")
	}
	for i, route := range g.Routes {
		warnings = append(warnings, g.secondLooks(entry("routes", i), route)...)
	}
	if g.Vault.BackendPKI.TTL.Duration < chainedTTL && slices.ContainsFunc(g.Routes, Route.asserts) {
		warnings = append(warnings, fmt.Sprintf("vault.backend_pki.ttl: certificates of %s end before assertions do, which are sent without them then; tools that verify by the authority refuse those. %s is enough",
			g.Vault.BackendPKI.TTL, Duration{chainedTTL}))
	}
	warnings = append(warnings, g.AccessLog.warnings()...)
	warnings = append(warnings, g.ForwardAuth.warnings(g)...)
	warnings = append(warnings, g.SAML.namesWithoutDomains()...)
	if !g.Vault.EdgeACME.On() { // how long an ACME server's certificates live is its own affair
		warnings = append(warnings, g.Vault.EdgePKI.warnings("vault.edge_pki")...)
	}
	return append(warnings, g.Vault.BackendPKI.warnings("vault.backend_pki")...)
}

// secondLooks tells of what is probably not meant in one route.
func (g *Gateway) secondLooks(at string, route Route) []string {
	var warnings []string
	if !route.lets() {
		warnings = append(warnings, at+".allow: lets nobody in to "+route.Name)
	}
	if health := route.Backend.Health; !health.On() && health != defaultBackend().Health && route.HasBackend() {
		warnings = append(warnings, at+".backend.health: nothing is probed without path")
	}
	if path := route.Identity.Credentials.Path(); strings.HasPrefix(path, g.Vault.KVMount+"/") || strings.HasPrefix(path, "data/") {
		warnings = append(warnings, fmt.Sprintf("%s.identity.credentials: the secret is at %s of the mount %s; paths are written without the mount and without data/",
			at, path, g.Vault.KVMount))
	}
	if len(g.SAML.IdPs) > 1 && route.IdPs == nil && route.namesGroups() {
		warnings = append(warnings, at+".allow.groups: every identity provider in saml.idps says who is in them; list in "+at+".idps those that this route trusts")
	}
	return warnings
}

// chainedTTL is a life of which five minutes, that of an assertion, are left whenever a
// certificate is renewed: at half of it, and a little later at times.
const chainedTTL = 15 * time.Minute

// asserts reports whether a tool is sent assertions.
func (r Route) asserts() bool { return r.Assertion && (r.HasBackend() || r.IngressOnly()) }

// namesWithoutDomains tells of identity providers that are held to domains, while
// their user names come from attributes whose values have none as a rule: whoever
// signs in there would be refused.
func (s SAML) namesWithoutDomains() []string {
	var warnings []string
	for i, idp := range s.IdPs {
		names := s.over(idp).Attributes.User
		if len(idp.UserDomains) == 0 || slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(bareNames[:], name) }) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s.user_domains: user names come from %s, which has no domain as a rule, and are refused then; name an attribute with addresses in %s.attributes.user",
			entry("saml.idps", i), strings.Join(names, ", "), entry("saml.idps", i)))
	}
	return warnings
}

// bareNames are the attributes of presets that hold names such as alice.
var bareNames = [...]string{"username", "uid", oidUID}

// Warnings returns what is allowed but probably not meant, or loosens the
// sidecar's guard; see [Gateway.Warnings].
func (s *Sidecar) Warnings() []string {
	warnings := unsafeKeys(reflect.ValueOf(s).Elem(), "")
	if !s.Confine.UnsafeOff {
		warnings = append(warnings, s.Secrets.wideFolders("secrets")...)
	}
	return append(warnings, s.PKI.warnings("pki")...)
}

// warnings tells of a window that renewals cannot keep to: one that may stay
// closed from half of a certificate's life to its last quarter.
func (p PKI) warnings(at string) []string {
	needed := 4 * p.RenewalWindow.closed()
	if p.RenewalWindow.None() || p.TTL.Duration >= needed {
		return nil
	}
	return []string{fmt.Sprintf("%s: renewal_window %s cannot always be kept with ttl %s; %s is enough",
		at, p.RenewalWindow, p.TTL, Duration{needed})}
}

// Warnings returns what loosens the driver's guard, patterns that fit more than
// they seem to, and that it hands out nothing if that is so; see
// [Gateway.Warnings].
func (s *SecretDriver) Warnings() []string {
	warnings := unsafeKeys(reflect.ValueOf(s).Elem(), "")
	if len(s.Roles) == 0 && len(s.Secrets) == 0 {
		warnings = append(warnings, "roles, secrets: there are none, so nothing is handed out")
	}
	for i, role := range s.Roles {
		warnings = append(warnings, widePatterns(entry("roles", i), role.Services, role.Stacks)...)
	}
	for i, secret := range s.Secrets {
		warnings = append(warnings, widePatterns(entry("secrets", i), secret.Services, secret.Stacks)...)
	}
	return warnings
}

// widePatterns tells of patterns that nothing binds to a stack: the name of a
// stack may go on where a pattern's text ends.
func widePatterns(at string, services, stacks []string) []string {
	if len(stacks) > 0 {
		return nil
	}
	var warnings []string
	for i, service := range services {
		if strings.ContainsAny(service, "*?[") {
			warnings = append(warnings, fmt.Sprintf("%s: pattern %q may fit services of other stacks, as shop_* fits shop_evil_app of the stack shop_evil; name the stacks beside it",
				entry(join(at, "services"), i), service))
		}
	}
	return warnings
}

// unsafeKeys finds every key that begins with "unsafe_" and is on. It walks
// the struct, so that a new key cannot be forgotten here.
func unsafeKeys(value reflect.Value, path string) []string {
	var found []string
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			key := tagOf(value.Type().Field(i))
			if key == "" {
				continue // the inside of a Duration, an Origin or a Window
			}
			at := join(path, key)
			if strings.HasPrefix(key, "unsafe_") && !value.Field(i).IsZero() {
				found = append(found, at+": is on and loosens the guard")
			}
			found = append(found, unsafeKeys(value.Field(i), at)...)
		}
	case reflect.Slice:
		for i := range value.Len() {
			found = append(found, unsafeKeys(value.Index(i), entry(path, i))...)
		}
	}
	return found
}
