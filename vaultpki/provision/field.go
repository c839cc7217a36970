package provision

import "context"

// Field returns one field of a secret of a KV version 2 mount, or nothing if there is
// none.
func (c *Client) Field(ctx context.Context, mount, path, name string) (string, error) {
	have, err := secret{mount: mount, path: path}.read(ctx, c)
	if err != nil {
		return "", err
	}
	text, _ := have.data[name].(string)
	return text, nil
}
