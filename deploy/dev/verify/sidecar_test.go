package verify

import (
	"crypto/x509"
	"encoding/base64"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/vaultpki"
)

// TestVerifierOfTheSidecar asks the product's own verifier what those of the pages are
// asked, by the authority; twice, since it remembers what it has found good.
func TestVerifierOfTheSidecar(t *testing.T) {
	d := newDoor(t)
	roots := x509.NewCertPool()
	roots.AddCert(d.authority.root.cert)
	verifier, err := assertion.NewVerifier(assertion.VerifierConfig{
		Issuer: issuer, Audiences: []string{audience},
		Chain: func(chain []*x509.Certificate) error {
			return vaultpki.CheckAssertionKey(chain, roots, name, time.Now())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := d.questions(t)
	good, refused := 0, 0
	for _, q := range append(asked, asked...) {
		if q.Way != "roots" {
			continue // a sidecar fetches no keys
		}
		peer := clientCertificate // there is no request without a connection
		if q.Peer != "" {
			if peer, err = base64.StdEncoding.DecodeString(q.Peer); err != nil {
				t.Fatal(err)
			}
		}
		claims, err := verifier.Verify(q.Token, peer)
		switch {
		case q.good && (err != nil || claims.Subject != person):
			t.Errorf("%s: %v, %v", q.What, claims, err)
		case q.good:
			good++
		case err == nil:
			t.Errorf("%s: believed", q.What)
		default:
			refused++
		}
	}
	t.Logf("%d verdicts: %d good, %d refused", good+refused, good, refused)
}
