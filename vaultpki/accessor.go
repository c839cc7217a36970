package vaultpki

import (
	"context"
	"errors"
)

// AccessorHash returns the accessor of the token in use in the form in which an audit
// device of Vault's writes it: its HMAC under that device's salt (sys/audit-hash). An
// accessor lets whoever may revoke find the token, so it is given to nobody itself; this
// form finds, in Vault's audit log, what the token was used for.
func (c *Client) AccessorHash(ctx context.Context, device string) (string, error) {
	accessor := c.current().accessor
	if accessor == "" {
		return "", errors.New("asking for the accessor as an audit device writes it: the token has none")
	}
	secret, err := c.write(ctx, "sys/audit-hash/"+device, map[string]any{"input": accessor})
	if err != nil {
		return "", err
	}
	var hash string
	if secret != nil {
		hash, _ = secret.Data["hash"].(string)
	}
	if hash == "" {
		return "", errors.New("asking for the accessor as an audit device writes it: the answer has no hash")
	}
	return hash, nil
}
