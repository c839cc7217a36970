package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// KV is one version of a secret of a KV version 2 mount. It is immutable. No
// format, JSON or log shows its fields' values.
type KV struct {
	Mount   string // the mount's path, without slashes at its ends
	Path    string // the secret's path below the mount
	Version int    // the version that was read, from 1
	// Created is when that version was written. A secret that was removed with
	// all its versions and written anew has the same numbers again.
	Created time.Time

	data map[string]any
}

// ReadKV reads the latest version of the secret at path in the KV version 2
// mount. It waits for an unreachable Vault as long as Config.Wait. Errors are
// [*Error] with ReasonDenied, ReasonMissingSecret, ReasonUnreachable or
// ReasonConfig.
func (c *Client) ReadKV(ctx context.Context, mount, path string) (KV, error) {
	kv := KV{Mount: mount, Path: path}
	if err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path)); err != nil {
		return KV{}, &Error{Reason: ReasonConfig, Op: "reading the secret", Where: kv.where(), Err: err}
	}
	return c.readKV(kv, func(path string) (*api.Secret, error) { return c.read(ctx, "reading "+kv.where(), path) })
}

// readKV fills kv with what read finds.
func (c *Client) readKV(kv KV, read func(path string) (*api.Secret, error)) (KV, error) {
	secret, err := read(kv.Mount + "/data/" + kv.Path)
	if err != nil {
		return KV{}, kv.readError(err)
	}
	if err := kv.fill(secret); err != nil {
		return KV{}, err
	}
	return kv, nil
}

// PeekKV is ReadKV that asks once and waits for nobody: for somebody who has a
// version already and looks for a newer one.
func (c *Client) PeekKV(ctx context.Context, mount, path string) (KV, error) {
	kv := KV{Mount: mount, Path: path}
	if err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path)); err != nil {
		return KV{}, &Error{Reason: ReasonConfig, Op: "reading the secret", Where: kv.where(), Err: err}
	}
	return c.readKV(kv, func(path string) (*api.Secret, error) { return c.readOnce(ctx, path) })
}

// fill takes data and version from an answer.
func (kv *KV) fill(secret *api.Secret) error {
	if secret == nil {
		return kv.missing(errors.New("vault's answer is empty"))
	}
	data, isMap := secret.Data["data"].(map[string]any)
	metadata, hasMetadata := secret.Data["metadata"].(map[string]any)
	if !isMap || !hasMetadata {
		return &Error{
			Reason: ReasonConfig, Op: "reading the secret", Where: kv.where(),
			Err:  errors.New("vault's answer has no data and metadata"),
			Hint: fmt.Sprintf("check that the mount %q is of KV version 2", kv.Mount),
		}
	}
	version, ok := intOf(metadata["version"])
	if !ok || version < 1 {
		return &Error{
			Reason: ReasonConfig, Op: "reading the secret", Where: kv.where(),
			Err: fmt.Errorf("vault's answer has version %v", metadata["version"]),
		}
	}
	if when, ok := metadata["created_time"].(string); ok {
		kv.Created, _ = time.Parse(time.RFC3339Nano, when) // without it, the number has to do
	}
	kv.data, kv.Version = data, version
	return nil
}

// readError explains a failed read.
func (kv *KV) readError(err error) error {
	switch wire.Status(err) {
	case http.StatusForbidden:
		e := Classify("reading the secret", kv.where(), err)
		e.Hint = fmt.Sprintf("grant the role a policy: path %q { capabilities = [\"read\"] }", kv.Mount+"/data/"+kv.Path)
		return e
	case http.StatusNotFound:
		var status *wire.StatusError
		if errors.As(err, &status) && status.Data != nil {
			if metadata, ok := status.Data.Data["metadata"].(map[string]any); ok {
				return kv.removed(metadata)
			}
		}
		return kv.missing(errors.New("there is no such secret"))
	}
	return Classify("reading the secret", kv.where(), err)
}

// missing says that there is no secret to read.
func (kv *KV) missing(cause error) *Error {
	return &Error{
		Reason: ReasonMissingSecret, Op: "reading the secret", Where: kv.where(), Err: cause,
		Hint: fmt.Sprintf("write it: vault kv put -mount=%s %s ...", kv.Mount, kv.Path),
	}
}

// Same says whether both are the same version of the same secret.
func (kv KV) Same(other KV) bool {
	return kv.Mount == other.Mount && kv.Path == other.Path && kv.Version == other.Version && kv.Created.Equal(other.Created)
}

// removed says that the latest version is gone. To write another in its place
// would replace keys that are in use.
func (kv *KV) removed(metadata map[string]any) *Error {
	version := metadata["version"]
	if metadata["destroyed"] == true {
		e := kv.missing(fmt.Errorf("its latest version, %v, is destroyed", version))
		e.Hint = fmt.Sprintf("bring an earlier version back: vault kv rollback -mount=%s -version=N %s", kv.Mount, kv.Path)
		return e
	}
	e := kv.missing(fmt.Errorf("its latest version, %v, is deleted", version))
	e.Hint = fmt.Sprintf("bring it back: vault kv undelete -mount=%s -versions=%v %s", kv.Mount, version, kv.Path)
	return e
}

// where names the secret as an operator does: without the "data" of the API.
func (kv KV) where() string { return kv.Mount + "/" + kv.Path }

// Field returns the value of a field that must be there. The error is an
// [*Error] with ReasonMissingField if it is absent, empty or no string; it
// names field and path.
func (kv KV) Field(name string) (string, error) {
	value, found := kv.data[name]
	text, isText := value.(string)
	switch {
	case found && isText && text != "":
		return text, nil
	case !found:
		return "", kv.fieldError(name, "is absent")
	case isText:
		return "", kv.fieldError(name, "is empty")
	}
	return "", kv.fieldError(name, fmt.Sprintf("is of type %T, expected a string", value))
}

// Optional returns the value of a field, and false if it is absent, empty or no
// string.
func (kv KV) Optional(name string) (string, bool) {
	text, _ := kv.data[name].(string)
	return text, text != ""
}

// fieldError says what is wrong with one field, never what is in it.
func (kv KV) fieldError(name, fault string) *Error {
	return &Error{
		Reason: ReasonMissingField, Op: "reading the secret", Where: kv.where(),
		Err:  fmt.Errorf("field %q of version %d %s", name, kv.Version, fault),
		Hint: fmt.Sprintf("write it: vault kv patch -mount=%s %s %s=...", kv.Mount, kv.Path, name),
	}
}

// Format implements [fmt.Formatter]: every verb shows mount, path and version.
func (kv KV) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s version %d [redacted]", kv.where(), kv.Version)
}

// LogValue implements [slog.LogValuer] and shows mount, path and version.
func (kv KV) LogValue() slog.Value {
	return slog.GroupValue(slog.String("mount", kv.Mount), slog.String("path", kv.Path), slog.Int("version", kv.Version))
}
