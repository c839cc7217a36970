package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// role is an object whose settings are read and written as one JSON object: a
// PKI role or an AppRole. Settings that are not listed are neither compared nor
// changed.
type role struct {
	object string
	path   string
	mount  string // the PKI mount of a PKI role; otherwise empty
	// settings by name; values are bool, int, string, []string (compared as
	// sets) and time.Duration (seconds on the wire).
	settings map[string]any
}

// pkiRole signs certificates for exactly names, DNS names and SPIFFE IDs, for use
// as a server or as a client, and never for both.
func pkiRole(mount, name string, names []string, usage string, ttl time.Duration) role {
	hosts, ids := []string{}, []string{}
	for _, name := range names {
		if strings.HasPrefix(name, spiffe) {
			ids = append(ids, name)
		} else {
			hosts = append(hosts, name)
		}
	}
	path := mount + "/roles/" + name
	return role{object: "pki role " + path, path: path, mount: mount, settings: map[string]any{
		"allowed_domains":             hosts,
		"allow_bare_domains":          true,
		"allow_subdomains":            false,
		"allow_glob_domains":          false,
		"allow_wildcard_certificates": slices.ContainsFunc(hosts, isWildcard), // for those in allowed_domains alone
		"allow_any_name":              false,
		"allow_localhost":             false,
		"allow_ip_sans":               false,
		"allowed_uri_sans":            ids,
		"allowed_other_sans":          []string{},
		"allowed_user_ids":            []string{},
		"allowed_serial_numbers":      []string{},
		"allowed_domains_template":    false,
		"allowed_uri_sans_template":   false,
		"enforce_hostnames":           true,
		"require_cn":                  false,
		"server_flag":                 usage == "server",
		"client_flag":                 usage == "client",
		"code_signing_flag":           false,
		"email_protection_flag":       false,
		"ext_key_usage":               []string{},
		"ext_key_usage_oids":          []string{},
		"key_type":                    "ec",
		"key_bits":                    256,
		"key_usage":                   []string{"DigitalSignature"},
		"ttl":                         ttl,
		"max_ttl":                     ttl,
		"not_after":                   "", // a date would stand in for max_ttl
		// A lease would revoke the certificate with the token.
		"generate_lease": false,
		// Leaves of a day need no revocation; thousands of them would fill the
		// storage.
		"no_store": ttl <= 24*time.Hour,
	}}
}

// useJWT is id-kp-jwt: the key of a certificate signs JWTs (RFC 9509 section 3).
const useJWT = "1.3.6.1.5.5.7.3.37"

// assertionRole signs certificates that no handshake takes: for keys that sign
// assertions, and for that alone. Without any use, they would pass for every one.
func assertionRole(mount, name, dnsName string, ttl time.Duration) role {
	r := pkiRole(mount, name, []string{dnsName}, "", ttl)
	r.settings["ext_key_usage_oids"] = []string{useJWT}
	return r
}

// appRole logs a process in by one SecretID, once, for a token that its policy, and
// those of more, alone empower.
func appRole(mount, name string, a Access, more ...string) role {
	period, ttl := a.TokenTTL, time.Duration(0)
	if a.TokenMaxTTL > 0 {
		// The process ends there, or logs in again by its heir.
		period, ttl = 0, a.TokenTTL
	}
	return role{object: "approle " + name, path: "auth/" + mount + "/role/" + name, settings: map[string]any{
		"bind_secret_id":          true,
		"secret_id_num_uses":      1,
		"secret_id_ttl":           a.SecretIDTTL,
		"secret_id_bound_cidrs":   append([]string{}, a.SecretIDCIDRs...),
		"token_bound_cidrs":       append([]string{}, a.TokenCIDRs...),
		"token_policies":          append([]string{name}, more...),
		"token_no_default_policy": true,
		"token_period":            period,
		"token_ttl":               ttl,
		"token_max_ttl":           a.TokenMaxTTL,
		"token_explicit_max_ttl":  time.Duration(0),
		"token_num_uses":          0,
		"token_type":              "service",
	}}
}

// plan compares setting by setting. A value that Vault does not report counts
// as the zero value, which is what it stands for.
func (r role) plan(ctx context.Context, client *Client) (*Change, error) {
	secret, err := client.read(ctx, r.path)
	if err != nil {
		return nil, err
	}
	change := &Change{Create: secret == nil, Object: r.object, apply: r.write}
	if secret == nil {
		return change, nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.settings)) {
		want, have := show(r.settings[name], r.settings[name]), show(secret.Data[name], r.settings[name])
		if have == want {
			continue
		}
		detail := fmt.Sprintf("%s %s -> %s", name, have, want)
		change.Details = append(change.Details, detail)
		if loosens(name, secret.Data[name], r.settings[name]) {
			change.Loosens = append(change.Loosens, detail)
		}
	}
	if len(change.Details) == 0 {
		return nil, nil
	}
	return change, nil
}

// write sends all settings, also those that are right, and those of a PKI role
// that are not ours as they are: an update of one sets what it does not name back
// to Vault's defaults.
func (r role) write(ctx context.Context, client *Client) error {
	body := map[string]any{}
	if r.mount != "" {
		secret, err := client.read(ctx, r.path)
		if err != nil {
			return err
		}
		if secret != nil {
			maps.Copy(body, secret.Data)
			if err := r.remember(ctx, client, secret.Data); err != nil {
				return err
			}
		}
	}
	for name, value := range r.settings {
		if d, ok := value.(time.Duration); ok {
			value = int(d.Seconds())
		}
		body[name] = value
	}
	return client.write(ctx, r.path, body)
}

// remember notes how long the leaves of a PKI role may live that were signed so
// far, if it is about to grant less: what is above them is not retired before.
func (r role) remember(ctx context.Context, client *Client, have map[string]any) error {
	ceiling, err := client.ceiling(ctx, r.mount)
	if err != nil {
		return err
	}
	before := leafLife(have, ceiling)
	if after, _ := r.settings["max_ttl"].(time.Duration); before <= after {
		return nil
	}
	return authority{mount: r.mount}.noteLeaves(ctx, client, before)
}

// show writes a setting for comparison and for the diff, in the manner of the
// wanted value: a number is a duration where a duration is wanted, absence is
// the zero value.
func show(value, like any) string {
	if value == nil {
		value = zeroLike(like)
	}
	switch v := value.(type) {
	case time.Duration:
		return v.String()
	case json.Number:
		if _, isDuration := like.(time.Duration); isDuration {
			if seconds, err := v.Int64(); err == nil {
				return (time.Duration(seconds) * time.Second).String()
			}
		}
		return v.String()
	case []string:
		return showSet(v)
	case []any:
		var texts []string
		for _, item := range v {
			texts = append(texts, fmt.Sprint(item))
		}
		return showSet(texts)
	}
	return fmt.Sprint(value)
}

// showSet writes a list whose order says nothing.
func showSet(texts []string) string {
	return "[" + strings.Join(slices.Sorted(slices.Values(texts)), " ") + "]"
}

// zeroLike returns the zero value of the wanted value's type.
func zeroLike(like any) any {
	switch like.(type) {
	case time.Duration:
		return time.Duration(0)
	case []string:
		return []string(nil)
	case bool:
		return false
	case int:
		return 0
	}
	return ""
}
