package keep

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// A form is sealed with AES-256-GCM under a key that was made for it and is used once.
// Bound to it are its id and its owner: an entry that was moved to another place opens
// nothing. What is sealed:
//
//	Target, ContentType, Origin, Referer: each its length (uvarint), then its bytes
//	Body: all that follows

const keySize = 32

// texts are the fields that are one string, in the order of the form.
func (f *Form) texts() [4]*string {
	return [4]*string{&f.Target, &f.ContentType, &f.Origin, &f.Referer}
}

// seal returns the form as it is kept, and the key that opens it, in base64.
func seal(f Form, id string, by owner) (sealed []byte, key string) {
	size := len(f.Body)
	for _, text := range f.texts() {
		size += binary.MaxVarintLen64 + len(*text)
	}
	plaintext := make([]byte, 0, size) // never grows, which would leave a copy behind
	for _, text := range f.texts() {
		plaintext = append(binary.AppendUvarint(plaintext, uint64(len(*text))), *text...)
	}
	plaintext = append(plaintext, f.Body...)
	defer clear(plaintext)
	var secret [keySize]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	defer clear(secret[:])
	sealed = newAEAD(secret[:]).Seal(nil, nil, plaintext, binding(id, by)) //nolint:gosec // it makes its nonces itself
	return sealed, base64.RawURLEncoding.EncodeToString(secret[:])
}

// open returns what seal was given, if key is the right one.
func open(sealed []byte, key, id string, by owner) (Form, bool) {
	secret, err := base64.RawURLEncoding.Strict().DecodeString(key)
	if err != nil || len(secret) != keySize || len(key) != base64.RawURLEncoding.EncodedLen(keySize) { // the decoder skips line breaks
		return Form{}, false
	}
	defer clear(secret)
	rest, err := newAEAD(secret).Open(nil, nil, sealed, binding(id, by))
	if err != nil {
		return Form{}, false
	}
	var f Form
	for _, text := range f.texts() {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest[n:])) { // nothing but seal makes what opens
			return Form{}, false
		}
		rest = rest[n:]
		*text, rest = string(rest[:size]), rest[size:]
	}
	f.Body = rest
	return f, true
}

// newAEAD is AES-256-GCM that makes its nonces itself.
func newAEAD(secret []byte) cipher.AEAD {
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(fmt.Sprintf("keep: %v", err)) // the key has the right size
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("keep: %v", err)) // AES has the right block size
	}
	return aead
}

func binding(id string, by owner) []byte { return fmt.Appendf(nil, "%s|%q|%q", id, by.host, by.user) }
