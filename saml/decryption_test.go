package saml

import (
	"crypto"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFaultsOfDecryptionAreOne: whatever is wrong once a key of ours is used, it is
// the same code and the same text, to the operator and to everybody else.
func TestFaultsOfDecryptionAreOne(t *testing.T) {
	texts := map[string]int{}
	for _, a := range encryptions() {
		if a.want != CodeDecryption {
			continue
		}
		s := a.scene(t)
		_, err := newTestSP(t, s.cfg).Verify(t.Context(), Post{Response: s.response}, Expectation{RequestID: testRequestID})
		texts[err.Error()]++
	}
	if len(texts) != 1 {
		t.Errorf("%d texts: %v", len(texts), texts)
	}
	for s, n := range texts {
		t.Logf("%d cases: %s", n, s)
	}
}

// TestUnwrapsAreBounded: what a stranger can have us do with our keys.
func TestUnwrapsAreBounded(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	var counted []*counting
	for _, k := range decryptionKeys(t, "rsa-dec-a", "rsa-dec-b", "rsa-dec-c", "rsa-dec") {
		c := &counting{Decrypter: k.Key}
		counted = append(counted, c)
		cfg.Decryption = append(cfg.Decryption, DecryptionKey{Key: c, Certificate: k.Certificate})
	}
	a := attack{encrypt: &encryption{to: []string{"rsa-dec-x", "rsa-dec-x", "rsa-dec-x", "rsa-dec-x"}}}
	if _, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID}); codeOf(t, err) != CodeDecryption {
		t.Fatal(err)
	}
	used := 0
	for _, c := range counted {
		used += c.used
	}
	if used != maxUnwraps {
		t.Errorf("%d RSA operations, want %d", used, maxUnwraps)
	}
}

// TestNoKeyIsUsedBeforeTheSignature: a signed response whose signature is bad, and
// AES-CBC that nobody signed, never come near a key.
func TestNoKeyIsUsedBeforeTheSignature(t *testing.T) {
	for _, a := range encryptions() {
		if !slices.Contains([]string{"D3", "D3b", "D3c", "D3l", "D3m", "D3n", "D5", "D9g"}, a.id) {
			continue
		}
		idp := newTestIdP(t, "rsa-idp")
		cfg := testConfig(t, idp)
		key := decryptionKeys(t, "rsa-dec")[0]
		c := &counting{Decrypter: key.Key}
		cfg.Decryption = []DecryptionKey{{Key: c, Certificate: key.Certificate}}
		_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID})
		if codeOf(t, err) != a.want || c.used != 0 {
			t.Errorf("%s %s: %v after %d uses of the key", a.id, a.name, err, c.used)
		}
	}
}

func TestDecryptionKeysAreJudged(t *testing.T) {
	good := decryptionKeys(t, "rsa-dec")[0]
	other := decryptionKeys(t, "rsa-dec-old")[0]
	weak, curve := testKey(t, "rsa1024-dec"), testKey(t, "p256-dec")
	for name, tt := range map[string]struct {
		keys []DecryptionKey
		want string
	}{
		"none":              {nil, ""},
		"two":               {[]DecryptionKey{good, other}, ""},
		"five":              {[]DecryptionKey{good, good, good, good, good}, "at most 4"},
		"no key":            {[]DecryptionKey{good, {Certificate: good.Certificate}}, "decryption key 2: a key and its certificate"},
		"no certificate":    {[]DecryptionKey{{Key: good.Key}}, "a key and its certificate"},
		"another's":         {[]DecryptionKey{{Key: good.Key, Certificate: other.Certificate}}, "does not belong"},
		"RSA of 1024 bits":  {[]DecryptionKey{{Key: weak.(crypto.Decrypter), Certificate: testCertificate(t, weak, 0)}}, "1024 bits"},
		"an elliptic curve": {[]DecryptionKey{{Key: good.Key, Certificate: testCertificate(t, curve, 0)}}, "expected RSA"},
	} {
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.Decryption = tt.keys
		_, err := New(cfg)
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestPrincipalIsTheSameEncrypted: encryption changes nothing of who somebody is.
func TestPrincipalIsTheSameEncrypted(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	for _, a := range []attack{
		{encrypt: &encryption{}},
		{sign: signResponse, encrypt: &encryption{}},
		{sign: signBoth, encrypt: &encryption{data: aes128CBC, sibling: true}},
	} {
		cfg := testConfig(t, idp)
		cfg.Decryption = decryptionKeys(t, "rsa-dec")
		got, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(alice(idp), *got); diff != "" {
			t.Errorf("signing %d (-want +got):\n%s", a.sign, diff)
		}
	}
}
