package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

const name = "assertion.sallyport.internal"

var useJWT = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 37}

// pair is a key and its certificate.
type pair struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// authority is a root and an intermediate, as the product sets up Vault.
type authority struct{ root, intermediate pair }

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	root := sign(t, template("Sallyport backend root"), nil)
	return authority{root, sign(t, template("Sallyport backend intermediate"), &root)}
}

// leaf is a certificate for one name, changed before it is signed.
func leaf(t *testing.T, by pair, change func(*x509.Certificate)) pair {
	t.Helper()
	template := &x509.Certificate{
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{useJWT},
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	return sign(t, template, &by)
}

// sign makes a key and a certificate for it; by nil, it signs itself.
func sign(t *testing.T, template *x509.Certificate, by *pair) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	parent := pair{key, template}
	if by != nil {
		parent = *by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{key, cert}
}
