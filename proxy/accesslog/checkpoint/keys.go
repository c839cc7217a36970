package checkpoint

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Why a checkpoint does not count.
var (
	// ErrUnknownKey is a checkpoint by a key that is not among those given.
	ErrUnknownKey = errors.New("unknown signer")
	// ErrForged is a checkpoint whose signature is not that of its key.
	ErrForged = errors.New("forged checkpoint")
)

// Keys are public keys by their ids: ed25519.PublicKey and *ecdsa.PublicKey on P-256.
type Keys map[string]crypto.PublicKey

// KeyID is the id of a version of a transit key.
func KeyID(mount, name string, version int) string {
	return fmt.Sprintf("transit/%s/%s/v%d", mount, name, version)
}

// Verify returns nil if one of the keys has signed the checkpoint, else ErrUnknownKey
// or ErrForged.
func (k Keys) Verify(c *Checkpoint) error {
	key, ok := k[c.Key]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownKey, c.Key)
	}
	message := c.Message()
	switch key := key.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(key, message, c.Signature) {
			return nil
		}
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		if ecdsa.VerifyASN1(key, digest[:], c.Signature) {
			return nil
		}
	}
	return fmt.Errorf("%w: the signature is not that of %s", ErrForged, c.Key)
}

// ParseKey reads a public key as Vault's transit gives it: 32 bytes in base64 of an
// ed25519 key, PEM of one on P-256; or the one line of base64 that WriteKeys writes.
func ParseKey(text string) (crypto.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if len(der) == ed25519.PublicKeySize {
		return ed25519.PublicKey(der), nil
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	switch key := parsed.(type) {
	case ed25519.PublicKey:
		return key, nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, fmt.Errorf("public key is a %T, expected one of Ed25519 or on P-256", parsed)
}

// maxKeys bounds a file of keys, in bytes.
const maxKeys = 1 << 20

// ReadKeys reads public keys: a line for each, its id and the key in base64. Empty
// lines and those that begin with # are passed over.
func ReadKeys(r io.Reader) (Keys, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeys+1))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if len(text) > maxKeys {
		return nil, fmt.Errorf("reading keys: more than %d bytes", maxKeys)
	}
	keys := Keys{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxKeys+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, value, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(id, "transit/") || !isKeyID(id) {
			return nil, fmt.Errorf("reading keys: line %d, %.60q: expected transit/MOUNT/NAME/vN and a key in base64", n, line)
		}
		if keys[id] != nil {
			return nil, fmt.Errorf("reading keys: line %d: %s is there twice", n, id)
		}
		if keys[id], err = ParseKey(value); err != nil {
			return nil, fmt.Errorf("reading keys: line %d: %w", n, err)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("reading keys: there is none")
	}
	return keys, nil
}

// WriteKeys writes keys as ReadKeys reads them, sorted by their ids.
func WriteKeys(w io.Writer, keys Keys) error {
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		der, err := x509.MarshalPKIXPublicKey(keys[id])
		if err != nil {
			return fmt.Errorf("writing keys: %s: %w", id, err)
		}
		if _, err := fmt.Fprintf(w, "%s %s\n", id, base64.StdEncoding.EncodeToString(der)); err != nil {
			return fmt.Errorf("writing keys: %w", err)
		}
	}
	return nil
}
