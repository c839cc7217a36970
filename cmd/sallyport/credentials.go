package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// credentialSecret is a secret that routes show to their tools, or why there is none.
type credentialSecret struct {
	kv    vaultpki.KV
	fault error
}

// firstCredentials reads the secrets that routes show to their tools. One that cannot be
// read closes the routes that need it, and keeps nothing else from starting.
func (g *liveGateway) firstCredentials(ctx context.Context, cfg *config.Gateway) (map[string]credentialSecret, error) {
	secrets := map[string]credentialSecret{}
	for _, path := range cfg.CredentialPaths() {
		kv, err := g.client.PeekKV(ctx, cfg.Vault.KVMount, path)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		secrets[path] = credentialSecret{kv, err}
		if err == nil {
			g.log.Info("credential for tools read", "path", kv.Mount+"/"+path, "version", kv.Version)
		}
	}
	return secrets, nil
}

// newCredentials reads those that cfg names and the configuration in use does not. That
// one goes on to be used if they cannot be read.
func (g *liveGateway) newCredentials(ctx context.Context, cfg *config.Gateway) (map[string]credentialSecret, error) {
	held, secrets := g.current.Load().credentials, map[string]credentialSecret{}
	for _, path := range cfg.CredentialPaths() {
		if _, ok := held[path]; ok {
			continue
		}
		kv, err := g.client.PeekKV(ctx, cfg.Vault.KVMount, path)
		if err != nil {
			return nil, fmt.Errorf("reading a credential for tools: %w", err)
		}
		secrets[path] = credentialSecret{kv: kv}
	}
	return secrets, nil
}

// stillShown returns what of the secrets that are held, and of what has arrived, cfg
// names. What is held may be newer.
func stillShown(cfg *config.Gateway, held, arrived map[string]credentialSecret) map[string]credentialSecret {
	secrets := map[string]credentialSecret{}
	for _, path := range cfg.CredentialPaths() {
		if secret, ok := held[path]; ok {
			secrets[path] = secret
		} else {
			secrets[path] = arrived[path]
		}
	}
	return secrets
}

// credentialNeeds says which fields of which secrets routes show to their tools.
func credentialNeeds(cfg *config.Gateway) []string {
	var needs []string
	for _, route := range cfg.Routes {
		c := route.Identity.Credentials
		place := cfg.Vault.KVMount + "/" + c.Path()
		switch {
		case c.Basic.On():
			needs = append(needs, fmt.Sprintf("route %s: fields %s and %s of %s", route.Name, c.Basic.UsernameField, c.Basic.PasswordField, place))
		case c.Bearer.On():
			needs = append(needs, fmt.Sprintf("route %s: field %s of %s", route.Name, c.Bearer.Field, place))
		}
	}
	return needs
}

// withCredentials gives each route what it shows to its tool. One whose credential is
// missing answers that it is.
func withCredentials(routes []proxy.Route, p gatewayParts) []proxy.Route {
	for i, route := range routes {
		at := slices.IndexFunc(p.cfg.Routes, func(r config.Route) bool { return r.Name == route.Name })
		if at < 0 {
			continue
		}
		credential, err := credentialOf(p.cfg.Routes[at].Identity.Credentials, p.credentials)
		if err != nil {
			credential = proxy.MissingCredential(err)
		}
		routes[i].Identity.Credential = credential
	}
	return routes
}

// credentialOf makes what c says of the secrets; nil if it says nothing. No error shows
// any part of one.
func credentialOf(c config.Credentials, secrets map[string]credentialSecret) (*proxy.Credential, error) {
	if c.Path() == "" {
		return nil, nil
	}
	secret := secrets[c.Path()]
	if secret.fault != nil {
		return nil, secret.fault
	}
	if c.Basic.On() {
		user, userErr := secret.kv.Field(c.Basic.UsernameField)
		password, passwordErr := secret.kv.Field(c.Basic.PasswordField)
		if err := errors.Join(userErr, passwordErr); err != nil {
			return nil, err
		}
		credential, err := proxy.BasicCredential(user, password)
		return credential, unfit(secret.kv, c.Basic.UsernameField+" and "+c.Basic.PasswordField, err)
	}
	token, err := secret.kv.Field(c.Bearer.Field)
	if err != nil {
		return nil, err
	}
	credential, err := proxy.BearerCredential(token)
	return credential, unfit(secret.kv, c.Bearer.Field, err)
}

// unfit says where something is that cannot stand in Authorization.
func unfit(kv vaultpki.KV, fields string, err error) error {
	if err == nil {
		return nil
	}
	return &secretError{
		where: placeOf(kv) + ", " + fields, err: err,
		hint: "write what the tool expects to that field, without a line break: vault kv patch -mount=" + kv.Mount + " " + kv.Path + " FIELD=-",
	}
}

// credentialFaults says why routes have nothing to show to their tools, by their names.
func credentialFaults(p gatewayParts) map[string]error {
	faults := map[string]error{}
	for _, route := range p.cfg.Routes {
		if _, err := credentialOf(route.Identity.Credentials, p.credentials); err != nil {
			faults[route.Name] = err
		}
	}
	return faults
}

// refuseWorse refuses a change that would close a route which was open, or which is new,
// for want of a credential.
func refuseWorse(before, after gatewayParts) error {
	known, faults := credentialFaults(before), credentialFaults(after)
	var worse []error
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if known[name] == nil {
			worse = append(worse, fmt.Errorf("route %s: %w", name, faults[name]))
		}
	}
	return errors.Join(worse...)
}

// tellOfCredentials logs which tools are shown nothing, unless that was so before for the
// same cause.
func (g *liveGateway) tellOfCredentials(before *gatewayState, p gatewayParts) {
	known := map[string]error{}
	if before != nil {
		known = credentialFaults(before.gatewayParts)
	}
	faults := credentialFaults(p)
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if err := faults[name]; known[name] == nil || known[name].Error() != err.Error() {
			g.log.Error("credential for a tool is missing", "event", "credential_missing", "route", name,
				"cause", err.Error(), "what_to_do", hintOf(err))
		}
	}
}

// useCredential puts a new version of a secret in use that routes show to their tools. It
// is refused if it takes from any of them what they have, or gives none of them anything.
func (g *liveGateway) useCredential(ctx context.Context, kv vaultpki.KV) error {
	return g.change(ctx, func(p *gatewayParts) error {
		if _, ok := p.credentials[kv.Path]; !ok {
			return errOvertaken // the configuration does not name it any more
		}
		before := *p
		p.credentials = maps.Clone(p.credentials)
		p.credentials[kv.Path] = credentialSecret{kv: kv}
		if err := refuseWorse(before, *p); err != nil {
			return err
		}
		return p.unshown(kv.Path)
	})
}

// unshown returns why no route shows anything of a secret; nil if any does.
func (p *gatewayParts) unshown(path string) error {
	var fault error
	for _, route := range p.cfg.Routes {
		if route.Identity.Credentials.Path() != path {
			continue
		}
		_, err := credentialOf(route.Identity.Credentials, p.credentials)
		if err == nil {
			return nil
		}
		fault = err
	}
	return fault
}

// credentialFollower keeps one of those secrets fresh. After a start that had to make do
// without it, it begins with a fault.
func (g *liveGateway) credentialFollower(path string) *follower[vaultpki.KV] {
	now := g.current.Load()
	mount := now.cfg.Vault.KVMount
	f := &follower[vaultpki.KV]{
		what: objectCredential, name: mount + "/" + path + " (credential)", every: g.refresh, version: versionOf, log: g.log, apply: g.useCredential,
		read: func(ctx context.Context) (vaultpki.KV, error) { return g.client.PeekKV(ctx, mount, path) },
		inUse: func(read vaultpki.KV) bool {
			now := g.current.Load()
			return read.Same(now.credentials[path].kv) && now.unshown(path) == nil
		},
	}
	version := versionNone
	fault := now.unshown(path)
	if fault == nil {
		version = versionOf(now.credentials[path].kv)
	}
	f.begin(kindSecret, version)
	if fault != nil {
		f.state.Cause = fault.Error() // it has been told of
	}
	return f
}
