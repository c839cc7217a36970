package vaultpki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// mountPKI is a root with an intermediate below it.
type mountPKI struct {
	root, intermediate *x509.Certificate
	rootKey, key       *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate out of a template.
func sign(t testing.TB, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func newMountPKI(t testing.TB) mountPKI {
	t.Helper()
	p := mountPKI{rootKey: newKey(t), key: newKey(t)}
	template := authorityTemplate("root")
	p.root = sign(t, template, template, &p.rootKey.PublicKey, p.rootKey)
	p.intermediate = sign(t, authorityTemplate("intermediate"), p.root, &p.key.PublicKey, p.rootKey)
	return p
}

// trusting returns the trust in these roots.
func trusting(t testing.TB, roots ...*x509.Certificate) *trust {
	t.Helper()
	trust, err := newTrust(roots, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// leafTemplate is what an honest Vault would sign for a.example.com.
func leafTemplate() *x509.Certificate {
	return &x509.Certificate{
		DNSNames: []string{"a.example.com"}, NotBefore: time.Now().Add(-30 * time.Second), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func TestIssuedNamesAreComparedByKind(t *testing.T) {
	const id = "spiffe://example.com/gateway"
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	asked := &x509.CertificateRequest{URIs: []*url.URL{uri}}
	for name, test := range map[string]struct {
		leaf *x509.Certificate
		good bool
	}{
		"the URI":           {&x509.Certificate{URIs: []*url.URL{uri}}, true},
		"spelled in a name": {&x509.Certificate{DNSNames: []string{id}}, false},
		"and a name":        {&x509.Certificate{URIs: []*url.URL{uri}, DNSNames: []string{"example.com"}}, false},
	} {
		if err := checkNames(test.leaf, asked); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPublicCertificateIsCheckedWithoutRoots(t *testing.T) {
	pki, ours := newMountPKI(t), newKey(t)
	want := expectation{
		request: &x509.CertificateRequest{DNSNames: []string{"a.example.com"}, PublicKey: &ours.PublicKey}, usage: ServerUsage, now: time.Now(),
	}
	for name, test := range map[string]struct {
		change func(leaf *x509.Certificate)
		own    bool // signed by its own key
		fault  string
	}{
		"good":                    {func(*x509.Certificate) {}, false, ""},
		"for clients too":         {func(leaf *x509.Certificate) { leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }, false, ""},
		"for clients":             {func(leaf *x509.Certificate) { leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, false, "not for use as a server"},
		"signed by its own key":   {func(*x509.Certificate) {}, true, "signed itself"},
		"for as long as may be":   {func(leaf *x509.Certificate) { leaf.NotAfter = leaf.NotBefore.Add(longestPublicLife) }, false, ""},
		"for half of a lifetime":  {func(leaf *x509.Certificate) { leaf.NotAfter = leaf.NotBefore.AddDate(50, 0, 0) }, false, "expected at most 825"},
		"an authority's":          {func(leaf *x509.Certificate) { leaf.IsCA, leaf.BasicConstraintsValid = true, true }, false, "an authority's"},
		"of another key's holder": {func(*x509.Certificate) { want.request.PublicKey = &pki.key.PublicKey }, false, "another key"},
	} {
		want.request.PublicKey = &ours.PublicKey
		template := leafTemplate()
		test.change(template)
		parent, key := pki.intermediate, pki.key
		if test.own {
			parent, key = template, ours
		}
		err := want.check([]*x509.Certificate{sign(t, template, parent, &ours.PublicKey, key)})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, expected %q", name, err, test.fault)
		}
	}
}

func TestIssuedCertificateIsCheckedAgainstTheRequest(t *testing.T) {
	pki, stranger, ours := newMountPKI(t), newMountPKI(t), newKey(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example.com"}}, ours)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := trusting(t, pki.root)
	tests := map[string]struct {
		change func(leaf *x509.Certificate)
		signer mountPKI
		key    *ecdsa.PrivateKey
		fault  string // "" is accepted
	}{
		"what was asked for": {func(*x509.Certificate) {}, pki, ours, ""},
		"clock a little behind vault's": {
			func(leaf *x509.Certificate) { leaf.NotBefore = time.Now().Add(50 * time.Second) }, pki, ours, "",
		},
		"another key":       {func(*x509.Certificate) {}, pki, pki.key, "another key"},
		"another authority": {func(*x509.Certificate) {}, stranger, ours, "root of this mount"},
		"authority's certificate": {
			func(leaf *x509.Certificate) { leaf.IsCA, leaf.BasicConstraintsValid = true, true }, pki, ours, "an authority's",
		},
		"not yet valid": {
			func(leaf *x509.Certificate) { leaf.NotBefore = time.Now().Add(2 * time.Minute) }, pki, ours, "compare the clocks",
		},
		"expired": {func(leaf *x509.Certificate) { leaf.NotAfter = time.Now().Add(-time.Second) }, pki, ours, "is valid from"},
		"about to expire": {
			func(leaf *x509.Certificate) { leaf.NotAfter = time.Now().Add(2 * time.Second) }, pki, ours, "is valid from",
		},
		"wildcard in place of the name": {
			func(leaf *x509.Certificate) { leaf.DNSNames = []string{"*.example.com"} }, pki, ours, `"*.example.com"`,
		},
		"name in other case": {func(leaf *x509.Certificate) { leaf.DNSNames = []string{"A.example.com"} }, pki, ours, "for the names"},
		"same name twice": {
			func(leaf *x509.Certificate) { leaf.DNSNames = []string{"a.example.com", "a.example.com"} }, pki, ours, "for the names",
		},
		"address": {func(leaf *x509.Certificate) { leaf.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }, pki, ours, "not asked for"},
		"e-mail":  {func(leaf *x509.Certificate) { leaf.EmailAddresses = []string{"a@example.com"} }, pki, ours, "not asked for"},
		"URI": {
			func(leaf *x509.Certificate) { leaf.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/y"}} }, pki, ours, "spiffe://x/y",
		},
		"no usage": {func(leaf *x509.Certificate) { leaf.ExtKeyUsage = nil }, pki, ours, "not for use as a server"},
		"any usage": {
			func(leaf *x509.Certificate) { leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) }, pki, ours, "more uses",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			template := leafTemplate()
			test.change(template)
			leaf := sign(t, template, test.signer.intermediate, &test.key.PublicKey, test.signer.key)
			want := expectation{request: request, usage: ServerUsage, trust: roots, now: time.Now()}
			err := want.check([]*x509.Certificate{leaf, test.signer.intermediate, test.signer.root})
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("check: %v, expected %q", err, test.fault)
			}
		})
	}
}

// A resumed connection brings the chain of an earlier handshake, which crypto/tls
// does not verify again: checkPeer must judge it alone.
func TestPeerOfAResumedConnectionIsJudgedByItsChain(t *testing.T) {
	pki, retired := newMountPKI(t), newMountPKI(t)
	c := &Certificates{}
	c.trust.Store(trusting(t, pki.root))
	tests := map[string]struct {
		signer   mountPKI
		notAfter time.Duration
		fault    string
	}{
		"still good":                 {pki, time.Hour, ""},
		"expired since":              {pki, -time.Second, "expired"},
		"of a root that was retired": {retired, time.Hour, "unknown authority"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			template := leafTemplate()
			template.NotAfter = time.Now().Add(test.notAfter)
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			leaf := sign(t, template, test.signer.intermediate, &newKey(t).PublicKey, test.signer.key)
			state := tls.ConnectionState{
				DidResume: true, PeerCertificates: []*x509.Certificate{leaf, test.signer.intermediate},
				VerifiedChains: [][]*x509.Certificate{{leaf, test.signer.intermediate, test.signer.root}},
			}
			name, err := checkPeer(state, ClientUsage, c.trust.Load(), []string{"a.example.com"})
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) || (err == nil) != (name == "a.example.com") {
				t.Errorf("checkPeer: %q, %v, expected %q", name, err, test.fault)
			}
		})
	}
	if _, err := checkPeer(tls.ConnectionState{}, ClientUsage, c.trust.Load(), []string{"a.example.com"}); err == nil {
		t.Error("a peer without a certificate is let in")
	}
}

func TestChainIsPassedOnWithoutItsRoots(t *testing.T) {
	pki := newMountPKI(t)
	leaf := sign(t, leafTemplate(), pki.intermediate, &newKey(t).PublicKey, pki.key)
	// The same intermediate, signed by another root: browsers of an older trust
	// store need it.
	crossKey := newKey(t)
	crossTemplate := authorityTemplate("older root")
	cross := sign(t, crossTemplate, crossTemplate, &crossKey.PublicKey, crossKey)
	crossSigned := sign(t, authorityTemplate("intermediate"), cross, &pki.key.PublicKey, crossKey)
	given := []*x509.Certificate{leaf, pki.intermediate, pki.root, crossSigned, cross}
	got := withoutRoots(given)
	want := []*x509.Certificate{leaf, pki.intermediate, crossSigned}
	if len(got) != len(want) {
		t.Fatalf("%d certificates, expected %d", len(got), len(want))
	}
	for i := range want {
		if !got[i].Equal(want[i]) {
			t.Errorf("certificate %d is %q of %q", i, got[i].Subject, got[i].Issuer)
		}
	}
}

func TestSerialIsWrittenAsVaultDoes(t *testing.T) {
	for want, serial := range map[string]*big.Int{
		"0a:ff:00": big.NewInt(0x0aff00), "01": big.NewInt(1), "": big.NewInt(0),
	} {
		if got := serialOf(&x509.Certificate{SerialNumber: serial}); got != want {
			t.Errorf("serial %s is %q, expected %q", serial, got, want)
		}
	}
}

// FuzzParseChain: a chain is all certificates or an error, never a part.
func FuzzParseChain(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := authorityTemplate("root")
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		f.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for _, seed := range []string{text, text + text, "junk\n" + text, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		chain, err := parseChain(text)
		if (err == nil) != (len(chain) > 0) {
			t.Errorf("%d certificates and error %v", len(chain), err)
		}
	})
}
