package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// KeySize is the length in bytes of a session key.
const KeySize = 32

// sealVersion is the first byte of everything sealed; another format gets
// another byte, never another meaning of this one.
const sealVersion = 1

const (
	keyIDSize = 4
	nonceSize = 12
	// sealOverhead is version, key id, nonce and GCM tag.
	sealOverhead = 1 + keyIDSize + nonceSize + 16
)

// purpose separates the sealed things from each other: each has a key of its
// own, derived from the session key, so that none can be presented as another.
type purpose string

const (
	forSession purpose = "session"
	forTicket  purpose = "ticket"
	forBegin   purpose = "begin"
	forPending purpose = "pending"
	forReturn  purpose = "return"
	forLink    purpose = "link"
	forRounds  purpose = "rounds"
	forRemote  purpose = "remote"
	forSignOff purpose = "signoff"
	forLeaving purpose = "leaving"
)

// errUnsealed is the only error of open: why something does not open helps
// nobody but an attacker.
var errUnsealed = errors.New("sealed value does not open under any session key")

// Keys are the session keys of a gateway: Current seals, all three open. They
// overlap so that a rotation signs nobody out: the next key is known everywhere
// before it seals anything, the previous one opens what it sealed until that
// has expired. Each is nil or exactly KeySize bytes.
//
// Nonces are random, so a key must be rotated before it has sealed 2^32 values
// (NIST SP 800-38D section 8.3): at a hundred a second, within a year.
type Keys struct {
	Current, Next, Previous []byte
}

// Format keeps keys out of logs and error messages, under every verb.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// MarshalText does the same for JSON, YAML and slog.
func (Keys) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// sealer seals and opens small values for one purpose. It is immutable and
// safe for concurrent use.
type sealer struct {
	seals sealKey
	opens []sealKey
}

type sealKey struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// newSealer derives the keys for purpose p (HKDF-SHA256, RFC 5869).
func newSealer(keys Keys, p purpose) (*sealer, error) {
	current, err := deriveKey(keys.Current, p)
	if err != nil {
		return nil, fmt.Errorf("reading the current session key: %w", err)
	}
	s := &sealer{seals: current, opens: []sealKey{current}}
	for _, overlap := range []struct {
		name string
		key  []byte
	}{{"next", keys.Next}, {"previous", keys.Previous}} {
		if overlap.key == nil {
			continue
		}
		k, err := deriveKey(overlap.key, p)
		if err != nil {
			return nil, fmt.Errorf("reading the %s session key: %w", overlap.name, err)
		}
		s.opens = append(s.opens, k)
	}
	return s, nil
}

func deriveKey(secret []byte, p purpose) (sealKey, error) {
	if len(secret) != KeySize {
		return sealKey{}, fmt.Errorf("session key has %d bytes, expected %d", len(secret), KeySize)
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, "sallyport/v1/"+string(p), KeySize+keyIDSize)
	if err != nil {
		return sealKey{}, fmt.Errorf("deriving the %s key: %w", p, err)
	}
	block, err := aes.NewCipher(derived[:KeySize])
	if err != nil {
		return sealKey{}, fmt.Errorf("deriving the %s key: %w", p, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealKey{}, fmt.Errorf("deriving the %s key: %w", p, err)
	}
	return sealKey{id: [keyIDSize]byte(derived[KeySize:]), aead: aead}, nil
}

// seal encrypts and authenticates plaintext (AES-256-GCM) for the given
// binding, such as a host: open succeeds only under the same binding. The
// result is URL- and cookie-safe.
func (s *sealer) seal(plaintext []byte, binding string) string {
	out := make([]byte, 0, sealOverhead+len(plaintext))
	out = append(out, sealVersion)
	out = append(out, s.seals.id[:]...)
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	out = append(out, nonce[:]...)
	out = s.seals.aead.Seal(out, nonce[:], plaintext, []byte(binding))
	return base64.RawURLEncoding.EncodeToString(out)
}

// open returns what seal was given, or errUnsealed.
func (s *sealer) open(sealed, binding string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || strings.ContainsAny(sealed, "\r\n") || // which the decoder skips
		len(raw) < sealOverhead || raw[0] != sealVersion {
		return nil, errUnsealed
	}
	id, rest := [keyIDSize]byte(raw[1:]), raw[1+keyIDSize:]
	for _, key := range s.opens {
		if key.id != id {
			continue
		}
		plaintext, err := key.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], []byte(binding))
		if err == nil {
			return plaintext, nil
		}
	}
	return nil, errUnsealed
}
