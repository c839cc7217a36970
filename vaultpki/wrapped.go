package vaultpki

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// AccessorHash names the introduction in logs and labels: the first 48 bits of
// the SHA-256 of its accessor. The accessor itself can end the token, to whoever
// may revoke.
func (w Wrapped) AccessorHash() string { return fingerprint(w.Accessor) }

// WrapKV has Vault read the latest version of the secret at path in the KV
// version 2 mount, and wrap its answer: this process never sees a field of it.
// Whoever unwraps gets what a read of mount/data/path answers, once, within ttl;
// of a deleted version that is its metadata, and null for data.
//
// The call is sent once. The error is an [*Error] with ReasonConfig,
// ReasonDenied, ReasonMissingSecret, ReasonUnreachable, or ReasonForged if the
// answer is not what was asked for.
func (c *Client) WrapKV(ctx context.Context, mount, path string, ttl time.Duration) (Wrapped, error) {
	kv := KV{Mount: mount, Path: path}
	err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path))
	if ttl < time.Second {
		err = errors.Join(err, errors.New("wrap ttl: expected at least 1s"))
	}
	if err != nil {
		return Wrapped{}, &Error{Reason: ReasonConfig, Op: "wrapping the secret", Where: kv.where(), Err: err}
	}
	call := mount + "/data/" + path
	secret, err := c.do(ctx, wire.Call{Method: http.MethodGet, Path: call, WrapTTL: ttl})
	if err != nil {
		return Wrapped{}, kv.readError(err)
	}
	wrapped, err := acceptWrapped(secret, call)
	if err != nil {
		return Wrapped{}, &Error{Reason: ReasonForged, Op: "wrapping the secret", Where: kv.where(), Err: err, Hint: hintBetween}
	}
	return wrapped, nil
}

// RevokeWrapped ends an introduction that could not be delivered, by its
// accessor. The error is an [*Error] with ReasonDenied if the token may not do
// that; then the introduction ends by itself.
func (c *Client) RevokeWrapped(ctx context.Context, w Wrapped) error {
	const path = "auth/token/revoke-accessor"
	_, err := c.do(ctx, wire.Call{
		Method: http.MethodPut, Path: path,
		Body: map[string]string{"accessor": w.Accessor}, Secrets: []string{w.Accessor},
	})
	if err != nil {
		return Classify("revoking the undelivered introduction by", path, err)
	}
	return nil
}
