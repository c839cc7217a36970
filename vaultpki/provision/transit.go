package provision

import (
	"context"
	"fmt"
)

// transitKey is a key that signs, and never leaves Vault.
type transitKey Transit

// plan makes the key if it is absent. What cannot be undone is refused: a key
// that was ever exportable may be in other hands.
func (k transitKey) plan(ctx context.Context, client *Client) (*Change, error) {
	path, object := k.Mount+"/keys/"+k.Key, "transit key "+k.Mount+"/"+k.Key
	have, err := client.read(ctx, path)
	if err != nil {
		return nil, err
	}
	if have == nil {
		return &Change{
			Create: true, Object: object, Details: []string{k.Type, "not exportable"},
			apply: func(ctx context.Context, client *Client) error {
				return client.write(ctx, path, map[string]any{"type": k.Type, "exportable": false, "allow_plaintext_backup": false})
			},
		}, nil
	}
	if kind, _ := have.Data["type"].(string); kind != k.Type {
		return nil, fmt.Errorf("checking %s: it is of type %q, expected %q; choose another name", object, kind, k.Type)
	}
	for _, name := range []string{"exportable", "allow_plaintext_backup"} {
		if set, _ := have.Data[name].(bool); set {
			return nil, fmt.Errorf("checking %s: %s is true, so that it may be in other hands; choose another name", object, name)
		}
	}
	if set, _ := have.Data["deletion_allowed"].(bool); !set {
		return nil, nil
	}
	return &Change{Object: object, Details: []string{"deletion_allowed true -> false"}, apply: func(ctx context.Context, client *Client) error {
		return client.write(ctx, path+"/config", map[string]any{"deletion_allowed": false})
	}}, nil
}
