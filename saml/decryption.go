package saml

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/beevik/etree"
)

// How an encrypted assertion is judged, and why nothing that nobody signed is
// ever used. gosaml2 could decrypt, but it takes one key, algorithms that are
// broken, and says in its errors what it found; so it is never given a key.
//
// If the response is signed, its signature is verified first, with no key used.
// The ciphertext is then taken from the tree that was read back from the signed
// bytes, and what comes out of it takes its place in that tree: it is the
// identity provider's word as much as everything around it. If the assertion in it
// is signed too, that signature is verified as well.
//
// If the response is not signed, everything in it is a stranger's, and so is what
// comes out of the decryption, because everybody may encrypt to our public key. It
// takes its place in the tree, and that goes the way of a response which arrived in
// the clear: without a signature in the assertion it is refused.
//
// Either way what came out passes the same gates that the response has passed.

// errDecryption is every fault from the use of a key to the first look at what came
// out. It never says which.
var errDecryption = errors.New("no key of ours opens the assertion, or it is not XML within the limits")

// checkDecryptionKeys judges the keys of a configuration.
func checkDecryptionKeys(keys []DecryptionKey) error {
	if len(keys) > maxDecryptionKeys {
		return fmt.Errorf("%d decryption keys, at most %d are allowed", len(keys), maxDecryptionKeys)
	}
	for i, k := range keys {
		if k.Key == nil || k.Certificate == nil {
			return fmt.Errorf("decryption key %d: a key and its certificate are required", i+1)
		}
		if _, ok := k.Certificate.PublicKey.(*rsa.PublicKey); !ok {
			return fmt.Errorf("decryption key %d: key of type %T, expected RSA", i+1, k.Certificate.PublicKey)
		}
		if err := checkStrength(k.Certificate.PublicKey); err != nil {
			return fmt.Errorf("decryption key %d: %w", i+1, err)
		}
		if !publishes(k.Certificate, k.Key) {
			return fmt.Errorf("decryption key %d: the certificate does not belong to the private key: their public keys differ", i+1)
		}
	}
	return nil
}

// verifyEnvelope verifies the response's own signature, over the encrypted form,
// and goes on with what was read back from the signed bytes.
func (j *judgement) verifyEnvelope() error {
	verified, err := j.verifier.validate(j.root)
	if err != nil {
		return libraryRefusal(err)
	}
	encrypted := childrenOf(verified, nsAssertion, "EncryptedAssertion")
	if len(encrypted) != 1 {
		return refusef(CodeInternal, "%d encrypted assertions verified, one gated", len(encrypted))
	}
	j.root, j.vouched, j.encrypted = verified, verified, encrypted[0]
	return nil
}

// decrypt puts what is in the encrypted assertion in its place, and leaves the
// whole for the gates.
func (j *judgement) decrypt() error {
	plaintext, ok := j.open()
	scope := scopeOf(j.encrypted)
	// Two elements, or the end of a third, must not become a part of what is around.
	if !ok || checkStreamIn(plaintext, responseLimits(), scope) != nil {
		return refusef(CodeDecryption, "%w", errDecryption)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(plaintext); err != nil || doc.Root() == nil {
		return refusef(CodeDecryption, "%w", errDecryption)
	}
	replaceElement(j.encrypted, doc.Root())
	raw, err := writeElement(j.root)
	if err != nil {
		return refusef(CodeInternal, "writing the decrypted response: %w", err)
	}
	j.raw, j.opened = raw, true
	return nil
}

// replaceElement puts el where old is. The namespaces that old itself declares
// still hold for it (XML Encryption 4.4, Decrypt and replace).
func replaceElement(old, el *etree.Element) {
	for _, a := range old.Attr {
		if isDeclaration(a) && el.SelectAttr(a.FullKey()) == nil {
			el.CreateAttr(a.FullKey(), a.Value)
		}
	}
	parent, i := old.Parent(), old.Index()
	parent.RemoveChildAt(i)
	parent.InsertChildAt(i, el)
}

// writeElement writes an element so that reading it yields the same characters:
// without the canonical form a carriage return becomes a line feed.
func writeElement(el *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	doc.SetRoot(el.Copy())
	return doc.WriteToBytes()
}

// scopeOf are the namespaces that hold inside of an element, the outermost first.
func scopeOf(el *etree.Element) []binding {
	var scope []binding
	for ; el != nil; el = el.Parent() {
		for _, a := range el.Attr {
			if !isDeclaration(a) {
				continue
			}
			prefix := ""
			if a.Space == "xmlns" {
				prefix = a.Key
			}
			scope = append(scope, binding{prefix, a.Value})
		}
	}
	slices.Reverse(scope)
	return scope
}

// open unwraps the key and decrypts the assertion with it. If no key of ours
// unwraps one, it decrypts with a key that nobody knows: which of the two failed
// takes the same time to find out.
func (j *judgement) open() ([]byte, bool) {
	sealed, err := decodeBase64(j.sealed.data.Text())
	if err != nil {
		return nil, false
	}
	key, unwrapped := j.unwrap()
	if !unwrapped {
		key = make([]byte, j.sealed.method.keySize)
		// Reading randomness cannot fail: the process would end.
		_, _ = rand.Read(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, false
	}
	opening := openCBC
	if j.sealed.method.authenticated {
		opening = openGCM
	}
	plaintext, opened := opening(block, sealed)
	return plaintext, unwrapped && opened
}

// attempt is one of our keys tried on one wrapped key.
type attempt struct {
	wrapped *wrappedKey
	key     *DecryptionKey
	rank    int
}

// attempts are in the order in which they are made: first where the certificate in
// the message is ours, then our keys one after the other. During a rollover either
// side may know of it before the other does.
func (j *judgement) attempts() []attempt {
	var all []attempt
	for i := range j.sp.decryption {
		key := &j.sp.decryption[i]
		for w := range j.sealed.keys {
			wrapped := &j.sealed.keys[w]
			rank := 1
			if wrapped.certificate != nil && hasKeyOf(wrapped.certificate, key.Certificate) {
				rank = 0
			}
			all = append(all, attempt{wrapped, key, rank})
		}
	}
	slices.SortStableFunc(all, func(a, b attempt) int { return cmp.Compare(a.rank, b.rank) })
	return all[:min(len(all), maxUnwraps)]
}

// hasKeyOf reports whether a certificate in DER is cert, or another one of its key:
// certificates are renewed, and identity providers keep the old one.
func hasKeyOf(der []byte, cert *x509.Certificate) bool {
	return bytes.Equal(der, cert.Raw) || bytes.Contains(der, cert.RawSubjectPublicKeyInfo)
}

// unwrap returns the key that the assertion is encrypted with.
func (j *judgement) unwrap() ([]byte, bool) {
	for _, a := range j.attempts() {
		value, err := decodeBase64(a.wrapped.value.Text())
		if err != nil {
			continue
		}
		key, err := a.key.Key.Decrypt(rand.Reader, value, a.wrapped.options)
		if err == nil && len(key) == j.sealed.method.keySize {
			return key, true
		}
	}
	return nil, false
}

// openGCM has the nonce before the ciphertext (XML Encryption 1.1, 5.2.4).
func openGCM(block cipher.Block, sealed []byte) ([]byte, bool) {
	gcm, err := cipher.NewGCM(block)
	if err != nil || len(sealed) < gcm.NonceSize()+gcm.Overhead() {
		return nil, false
	}
	plaintext, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	return plaintext, err == nil
}

// openCBC has the initialisation vector before the ciphertext, and at the end of
// the plaintext padding whose last byte is its length (XML Encryption 5.2). It is
// used only on what the identity provider has signed.
func openCBC(block cipher.Block, sealed []byte) ([]byte, bool) {
	const size = aes.BlockSize
	if len(sealed) < 2*size || len(sealed)%size != 0 {
		return nil, false
	}
	plaintext := make([]byte, len(sealed)-size)
	cipher.NewCBCDecrypter(block, sealed[:size]).CryptBlocks(plaintext, sealed[size:])
	padding := int(plaintext[len(plaintext)-1])
	if padding < 1 || padding > size {
		return nil, false
	}
	return plaintext[:len(plaintext)-padding], true
}
