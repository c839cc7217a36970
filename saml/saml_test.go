package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func pkcs8(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseKeyPair(t *testing.T) {
	rsaKey, ecKey := testKey(t, "rsa-sp"), testKey(t, "p256-sp")
	sec1, err := x509.MarshalECPrivateKey(ecKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key  []byte
		pair crypto.Signer
	}{
		"PKCS #8 RSA":            {pemOf("PRIVATE KEY", pkcs8(t, rsaKey)), rsaKey},
		"PKCS #1":                {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey.(*rsa.PrivateKey))), rsaKey},
		"PKCS #8 ECDSA":          {pemOf("PRIVATE KEY", pkcs8(t, ecKey)), ecKey},
		"SEC 1":                  {pemOf("EC PRIVATE KEY", sec1), ecKey},
		"blank lines around PEM": {append([]byte("\n"), append(pemOf("PRIVATE KEY", pkcs8(t, rsaKey)), "\n\n"...)...), rsaKey},
	} {
		key, cert, err := ParseKeyPair(tt.key, pemOf("CERTIFICATE", testCertificate(t, tt.pair, 0).Raw))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !publishes(cert, key) || !publishes(cert, tt.pair) {
			t.Errorf("%s: another key", name)
		}
	}
}

func TestParseKeyPairRefuses(t *testing.T) {
	key := testKey(t, "rsa-sp")
	keyPEM := pemOf("PRIVATE KEY", pkcs8(t, key))
	certPEM := pemOf("CERTIFICATE", testCertificate(t, key, 0).Raw)
	weak := testKey(t, "rsa1024-idp")
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key, cert []byte
		want      string
	}{
		"no key":             {nil, certPEM, "private key: it is empty"},
		"key not PEM":        {[]byte("secret-material"), certPEM, "private key: it is not PEM"},
		"certificate as key": {certPEM, certPEM, `private key: PEM block of type "CERTIFICATE"`},
		"encrypted key":      {pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), certPEM, "encrypted"},
		"broken PKCS #8":     {pemOf("PRIVATE KEY", []byte("secret-material")), certPEM, "does not hold such a key"},
		"broken PKCS #1":     {pemOf("RSA PRIVATE KEY", []byte("secret-material")), certPEM, "does not hold such a key"},
		"broken SEC 1":       {pemOf("EC PRIVATE KEY", []byte("secret-material")), certPEM, "does not hold such a key"},
		"weak key":           {pemOf("PRIVATE KEY", pkcs8(t, weak)), certPEM, "RSA key of 1024 bits"},
		"Ed25519":            {pemOf("PRIVATE KEY", pkcs8(t, edKey)), certPEM, "expected RSA or ECDSA"},
		"two keys":           {append(keyPEM, keyPEM...), certPEM, "more than one PEM block"},
		"no certificate":     {keyPEM, nil, "certificate: it is empty"},
		"key as certificate": {keyPEM, keyPEM, `certificate: PEM block of type "PRIVATE KEY"`},
		"broken certificate": {keyPEM, pemOf("CERTIFICATE", []byte("x")), "certificate: parsing X.509"},
		"of another key":     {keyPEM, pemOf("CERTIFICATE", testCertificate(t, testKey(t, "rsa-other"), 0).Raw), "does not belong"},
	} {
		_, _, err := ParseKeyPair(tt.key, tt.cert)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want it to say %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-material") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

// brokenKey has a public half and cannot sign.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("device is gone")
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		break_ func(*Config)
		want   string
	}{
		"no entity ID":            {func(c *Config) { c.EntityID = "" }, "our own entity ID"},
		"no consumer service":     {func(c *Config) { c.ACSURL = "" }, "assertion consumer service"},
		"http consumer service":   {func(c *Config) { c.ACSURL = "http://door.example.test/saml/acs" }, "expected https"},
		"no key":                  {func(c *Config) { c.Key = nil }, "a key and its certificate are required"},
		"no certificate":          {func(c *Config) { c.Certificate = nil }, "a key and its certificate are required"},
		"certificate of another":  {func(c *Config) { c.Certificate = testCertificate(t, testKey(t, "rsa-other"), 0) }, "does not belong"},
		"weak key":                {func(c *Config) { c.Key = testKey(t, "rsa1024-idp"); c.Certificate = testCertificate(t, c.Key, 0) }, "our own key"},
		"key that cannot sign":    {func(c *Config) { c.Key = brokenKey{c.Key} }, "device is gone"},
		"skew too large":          {func(c *Config) { c.ClockSkew = 5*time.Minute + 1 }, "clock skew"},
		"negative skew":           {func(c *Config) { c.ClockSkew = -1 }, "clock skew"},
		"negative age":            {func(c *Config) { c.MaxAge = -1 }, "maximum age"},
		"nobody can have a name":  {func(c *Config) { c.Attributes.User = nil }, "no attribute for the user name"},
		"no metadata":             {func(c *Config) { c.IdPMetadata = nil }, "identity provider's metadata"},
		"metadata of an old kind": {func(c *Config) { c.IdPMetadata = []byte("<a/>") }, "expected an EntityDescriptor"},
	} {
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		tt.break_(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want it to say %q", name, err, tt.want)
		}
	}
}

func TestNewCopiesTheConfiguration(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	sp := newTestSP(t, cfg)
	cfg.Attributes.User[0] = "urn:nothing"
	cfg.Attributes.User[1] = "urn:nothing"
	if _, err := sp.Verify(t.Context(), Post{Response: attack{}.build(t, idp)}, Expectation{RequestID: testRequestID}); err != nil {
		t.Error(err)
	}
}

// TestRoundTrip: a request of ours, an answer to it, and nobody else's answer.
func TestRoundTrip(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := newTestSP(t, testConfig(t, idp))
	mine, err := sp.Begin(SignOn{RelayState: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	yours, err := sp.Begin(SignOn{RelayState: "yours"})
	if err != nil {
		t.Fatal(err)
	}
	answer := attack{edit: func(_ testing.TB, m *message) {
		m.root.CreateAttr("InResponseTo", mine.ID)
		m.find("SubjectConfirmationData").CreateAttr("InResponseTo", mine.ID)
	}}
	post := Post{Response: answer.build(t, idp)}
	if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: yours.ID}); codeOf(t, err) != CodeInResponseTo {
		t.Errorf("in your browser: %v, want %s", err, CodeInResponseTo)
	}
	if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: mine.ID}); err != nil {
		t.Errorf("in mine: %v", err)
	}
}
