package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// mount is a secrets engine or auth method at a path.
type mount struct {
	path    string
	kind    string        // Vault's type: "kv", "pki", "approle"
	auth    bool          // an auth method
	version string        // KV version; otherwise empty
	maxTTL  time.Duration // of leases; 0 leaves it alone
}

// object names the mount in a diff.
func (m mount) object() string {
	if m.auth {
		return "auth method " + m.path
	}
	return "mount " + m.path
}

// table returns where mounts of this kind are listed and made.
func (m mount) table() string {
	if m.auth {
		return "sys/auth"
	}
	return "sys/mounts"
}

// plan looks the mount up in the table of all mounts: reading one mount alone
// answers 400 if it is absent, like a dozen other faults.
func (m mount) plan(ctx context.Context, client *Client) (*Change, error) {
	secret, err := client.read(ctx, m.table())
	if err != nil {
		return nil, err
	}
	var have map[string]any
	if secret != nil {
		have, _ = secret.Data[m.path+"/"].(map[string]any)
	}
	if have == nil {
		detail := m.kind
		if m.version != "" {
			detail += " version " + m.version
		}
		return &Change{Create: true, Object: m.object(), Details: []string{detail}, apply: m.create}, nil
	}
	if err := m.compatible(have); err != nil {
		return nil, err
	}
	return m.planTTL(have), nil
}

// compatible refuses a mount of another kind: it holds somebody else's data.
func (m mount) compatible(have map[string]any) error {
	if kind, _ := have["type"].(string); kind != m.kind {
		return fmt.Errorf("checking %s: it is of type %q, expected %q; choose another path", m.object(), kind, m.kind)
	}
	options, _ := have["options"].(map[string]any)
	if version, _ := options["version"].(string); m.version != "" && version != m.version {
		return fmt.Errorf("checking %s: it is of KV version %q, expected %q; choose another path", m.object(), version, m.version)
	}
	return nil
}

// planTTL raises the longest lease; a longer one than wanted is left alone.
func (m mount) planTTL(have map[string]any) *Change {
	config, _ := have["config"].(map[string]any)
	number, _ := config["max_lease_ttl"].(json.Number)
	seconds, _ := number.Int64()
	current := time.Duration(seconds) * time.Second
	if m.maxTTL == 0 || current >= m.maxTTL {
		return nil
	}
	detail := fmt.Sprintf("max_lease_ttl %s -> %s", current, m.maxTTL)
	return &Change{
		Object: m.object(), Details: []string{detail}, Loosens: []string{detail},
		apply: func(ctx context.Context, client *Client) error {
			return client.write(ctx, m.table()+"/"+m.path+"/tune", map[string]string{"max_lease_ttl": m.maxTTL.String()})
		},
	}
}

// create makes the mount with its options and tuning in one call.
func (m mount) create(ctx context.Context, client *Client) error {
	body := map[string]any{"type": m.kind}
	if m.version != "" {
		body["options"] = map[string]string{"version": m.version}
	}
	if m.maxTTL > 0 {
		body["config"] = map[string]string{"max_lease_ttl": m.maxTTL.String()}
	}
	return client.write(ctx, m.table()+"/"+m.path, body)
}
