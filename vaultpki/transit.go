package vaultpki

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// TransitKey is a key of Vault's transit engine, which signs and never leaves it. All
// methods are safe for concurrent use.
type TransitKey struct {
	client      *Client
	mount, name string
	version     atomic.Int64 // the latest that is known
}

// NewTransitKey returns the key of that name in the transit engine at mount. Vault is
// not asked.
func NewTransitKey(client *Client, mount, name string) (*TransitKey, error) {
	if err := errors.Join(wire.CheckPath(mount), wire.CheckName(name)); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "using the transit key", Where: mount + "/" + name, Err: err}
	}
	k := &TransitKey{client: client, mount: mount, name: name}
	k.version.Store(1)
	return k, nil
}

// maxTransitTries is how often a signature is asked for because the key got a new
// version meanwhile.
const maxTransitTries = 3

// Sign has Vault sign with the latest version of the key, and returns that version and
// the raw signature. What is signed may depend on the version: message is called with
// the one that is expected, and again if it turns out to be another. Vault is asked
// once for each, and not waited for. The error is an [*Error].
func (k *TransitKey) Sign(ctx context.Context, message func(version int) []byte) (version int, signature []byte, err error) {
	for range maxTransitTries {
		expected := int(k.version.Load())
		if version, signature, err = k.sign(ctx, message(expected)); err != nil {
			return 0, nil, k.fault("signing with the transit key", err)
		}
		if version == expected {
			return version, signature, nil
		}
		k.version.Store(int64(version))
	}
	return 0, nil, k.fault("signing with the transit key", errors.New("its version changes all the time"))
}

func (k *TransitKey) sign(ctx context.Context, message []byte) (version int, signature []byte, err error) {
	body := map[string]string{"input": base64.StdEncoding.EncodeToString(message)}
	secret, err := k.client.write(ctx, k.mount+"/sign/"+k.name, body)
	if err != nil {
		return 0, nil, err
	}
	if secret == nil {
		return 0, nil, errors.New("vault's answer is empty")
	}
	text, _ := secret.Data["signature"].(string)
	rest, isVault := strings.CutPrefix(text, "vault:v")
	number, encoded, hasVersion := strings.Cut(rest, ":")
	version, err = strconv.Atoi(number)
	if !isVault || !hasVersion || err != nil || version < 1 {
		return 0, nil, errors.New("vault's answer has no signature of the form vault:vN:…")
	}
	if signature, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return 0, nil, errors.New("vault's answer has a signature that is not base64")
	}
	return version, signature, nil
}

// PublicKeys returns the public keys of all versions that the key has, as Vault gives
// them: base64 of 32 bytes for Ed25519, PEM else. The error is an [*Error].
func (k *TransitKey) PublicKeys(ctx context.Context) (map[int]string, error) {
	secret, err := k.client.readOnce(ctx, k.mount+"/keys/"+k.name)
	if err != nil {
		return nil, k.fault("reading the transit key", err)
	}
	keys := map[int]string{}
	if secret != nil {
		versions, _ := secret.Data["keys"].(map[string]any)
		for number, value := range versions {
			version, err := strconv.Atoi(number)
			fields, _ := value.(map[string]any)
			if public, ok := fields["public_key"].(string); ok && err == nil && public != "" {
				keys[version] = public
			}
		}
	}
	if len(keys) == 0 {
		return nil, k.fault("reading the transit key", errors.New("vault's answer has no public key, expected one of a key that signs"))
	}
	return keys, nil
}

// fault explains a failed call.
func (k *TransitKey) fault(op string, err error) error {
	e := Classify(op, k.mount+"/"+k.name, err)
	switch wire.Status(err) {
	case 0:
		if ReasonOf(err) == ReasonUnknown && !wire.MaySucceedLater(err) {
			e.Reason, e.Hint = ReasonConfig, "find out what answers in Vault's place"
		}
	case http.StatusForbidden:
		e.Hint = fmt.Sprintf("run `sallyport provision plan`: the policy has to allow path %q or %q", k.mount+"/sign/"+k.name, k.mount+"/keys/"+k.name)
	case http.StatusBadRequest, http.StatusNotFound:
		e.Hint = fmt.Sprintf("there is no transit key %q on the mount %q: run `sallyport provision plan`", k.name, k.mount)
	}
	return e
}
