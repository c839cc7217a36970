package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

const (
	aes128GCM = nsXMLEnc11 + "aes128-gcm"
	aes192GCM = nsXMLEnc11 + "aes192-gcm"
	aes256GCM = nsXMLEnc11 + "aes256-gcm"
	aes128CBC = nsXMLEnc + "aes128-cbc"
	aes256CBC = nsXMLEnc + "aes256-cbc"

	rsaPKCS1 = nsXMLEnc + "rsa-1_5"
)

// encryption is how an identity provider encrypts an assertion, and what becomes of
// the parts on the way. The zero value is AES-256-GCM with RSA-OAEP, to "rsa-dec",
// the encrypted key inside of KeyInfo.
type encryption struct {
	data, key    string   // algorithms
	digest, mask string   // of OAEP; empty: not said
	to           []string // names of keys, one EncryptedKey for each
	sibling      bool     // EncryptedKey behind EncryptedData, with a RetrievalMethod
	recipient    string   // of every EncryptedKey
	certificate  string   // name of the key whose certificate stands in every EncryptedKey

	plaintext, ciphertext, wrapped func([]byte) []byte
	edit                           func(testing.TB, *etree.Element) // of the EncryptedAssertion
}

// decryptionKeys are of a configuration.
func decryptionKeys(t testing.TB, names ...string) []DecryptionKey {
	t.Helper()
	var keys []DecryptionKey
	for _, name := range names {
		key := testKey(t, name)
		keys = append(keys, DecryptionKey{Key: key.(crypto.Decrypter), Certificate: testCertificate(t, key, 0)})
	}
	return keys
}

// apply puts an EncryptedAssertion in the place of the assertion.
func (e encryption) apply(t testing.TB, m *message) {
	t.Helper()
	plaintext, err := writeElement(m.assertion)
	if err != nil {
		t.Fatal(err)
	}
	el := e.element(t, change(e.plaintext, plaintext))
	if e.edit != nil {
		e.edit(t, el)
	}
	parent, i := m.root, m.assertion.Index()
	parent.RemoveChildAt(i)
	parent.InsertChildAt(i, el)
}

func change(f func([]byte) []byte, b []byte) []byte {
	if f == nil {
		return b
	}
	return f(b)
}

// element is an EncryptedAssertion.
func (e encryption) element(t testing.TB, plaintext []byte) *etree.Element {
	t.Helper()
	if e.data == "" {
		e.data = aes256GCM
	}
	if e.key == "" {
		e.key = algOAEPMGF1P
	}
	if e.to == nil {
		e.to = []string{"rsa-dec"}
	}
	secret := make([]byte, max(16, dataMethods[e.data].keySize))
	_, _ = rand.Read(secret)
	var keys, retrieval strings.Builder
	for i, to := range e.to {
		keys.WriteString(e.encryptedKey(t, fmt.Sprintf("_key%d", i), to, secret))
		fmt.Fprintf(&retrieval, `<ds:RetrievalMethod Type="%sEncryptedKey" URI="#_key%d"/>`, nsXMLEnc, i)
	}
	inside, behind := keys.String(), ""
	if e.sibling {
		inside, behind = retrieval.String(), keys.String()
	}
	ciphertext := change(e.ciphertext, seal(t, e.data, secret, plaintext))
	return fragment(t, fmt.Sprintf(`<saml:EncryptedAssertion xmlns:saml="%s"><xenc:EncryptedData xmlns:xenc="%s" Id="_data" Type="%sElement"><xenc:EncryptionMethod Algorithm="%s"/><ds:KeyInfo xmlns:ds="%s">%s</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>%s</saml:EncryptedAssertion>`,
		nsAssertion, nsXMLEnc, nsXMLEnc, e.data, nsDsig, inside, encode(ciphertext), behind))
}

func (e encryption) encryptedKey(t testing.TB, id, to string, secret []byte) string {
	t.Helper()
	method, info, recipient := "", "", ""
	if e.digest != "" {
		method = `<ds:DigestMethod xmlns:ds="` + nsDsig + `" Algorithm="` + e.digest + `"/>`
	}
	if e.mask != "" {
		method += `<xenc11:MGF xmlns:xenc11="` + nsXMLEnc11 + `" Algorithm="` + e.mask + `"/>`
	}
	if e.certificate != "" {
		cert := testCertificate(t, testKey(t, e.certificate), 0)
		info = `<ds:KeyInfo xmlns:ds="` + nsDsig + `"><ds:X509Data><ds:X509Certificate>` + encode(cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
	}
	if e.recipient != "" {
		recipient = ` Recipient="` + e.recipient + `"`
	}
	return fmt.Sprintf(`<xenc:EncryptedKey xmlns:xenc="%s" Id="%s"%s><xenc:EncryptionMethod Algorithm="%s">%s</xenc:EncryptionMethod>%s<xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>`,
		nsXMLEnc, id, recipient, e.key, method, info, encode(change(e.wrapped, e.wrap(t, to, secret))))
}

// wrap encrypts the secret to a public key.
func (e encryption) wrap(t testing.TB, to string, secret []byte) []byte {
	t.Helper()
	public := testKey(t, to).Public().(*rsa.PublicKey)
	if e.key == rsaPKCS1 {
		wrapped, err := rsa.EncryptPKCS1v15(rand.Reader, public, secret) //nolint:staticcheck // what must be refused
		if err != nil {
			t.Fatal(err)
		}
		return wrapped
	}
	options := &rsa.OAEPOptions{Hash: known(keyDigests, e.digest), MGFHash: known(maskFunctions, e.mask)}
	wrapped, err := rsa.EncryptOAEPWithOptions(rand.Reader, public, secret, options)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

// known is the hash of an algorithm, SHA-1 for what there is none of.
func known(hashes map[string]crypto.Hash, algorithm string) crypto.Hash {
	if h, ok := hashes[algorithm]; ok {
		return h
	}
	return crypto.SHA1
}

// seal encrypts by an algorithm; what it does not know, by AES-CBC.
func seal(t testing.TB, algorithm string, secret, plaintext []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(algorithm, "-gcm") {
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			t.Fatal(err)
		}
		return gcm.Seal(nil, nil, plaintext, nil)
	}
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	padded := append(plaintext[:len(plaintext):len(plaintext)], make([]byte, padding)...)
	padded[len(padded)-1] = byte(padding)
	sealed := make([]byte, aes.BlockSize+len(padded))
	_, _ = rand.Read(sealed[:aes.BlockSize])
	cipher.NewCBCEncrypter(block, sealed[:aes.BlockSize]).CryptBlocks(sealed[aes.BlockSize:], padded)
	return sealed
}

// derivedRSA is the same key for a name in every process.
func derivedRSA(name string) (*rsa.PrivateKey, error) {
	p, q := derivedPrime(name+" p"), derivedPrime(name+" q")
	one := big.NewInt(1)
	e := big.NewInt(65537)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		D:         new(big.Int).ModInverse(e, phi), Primes: []*big.Int{p, q},
	}
	key.Precompute()
	return key, key.Validate()
}

// derivedPrime is a prime of 1024 bits whose upper two are set.
func derivedPrime(seed string) *big.Int {
	var stream []byte
	var h hash.Hash
	for i := range 4 {
		h = sha256.New()
		_, _ = fmt.Fprintf(h, "%s %d", seed, i)
		stream = h.Sum(stream)
	}
	stream[0] |= 0xc0
	stream[len(stream)-1] |= 1
	p := new(big.Int).SetBytes(stream)
	for two := big.NewInt(2); !p.ProbablyPrime(20); p.Add(p, two) {
	}
	return p
}

// counting counts the uses of a key.
type counting struct {
	crypto.Decrypter
	used int
}

func (c *counting) Decrypt(random io.Reader, message []byte, options crypto.DecrypterOpts) ([]byte, error) {
	c.used++
	return c.Decrypter.Decrypt(random, message, options)
}
