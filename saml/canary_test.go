package saml

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"
)

var update = flag.Bool("update", false, "write what the tests compare with anew")

// canaryFile holds the verdict of the bare library on each case.
const canaryFile = "testdata/canary.txt"

// TestLibraryCanary gives the corpus to gosaml2 as its documentation would have it
// used, without anything of ours. What it says is not what we rely on: it is here so
// that a new version of the library, or of what it is built on, that judges one case
// in another way is looked at by a person. Then run it with -update.
func TestLibraryCanary(t *testing.T) {
	var got strings.Builder
	accepted, bad := 0, 0
	verdicts := make([]string, len(corpus()))
	t.Run("cases", func(t *testing.T) {
		for i, a := range corpus() {
			t.Run(a.id, func(t *testing.T) {
				t.Parallel()
				verdicts[i] = a.bareVerdict(t)
			})
		}
	})
	for i, a := range corpus() {
		verdict := verdicts[i]
		fmt.Fprintf(&got, "%s\t%s\n", a.id, verdict)
		if a.want != "" {
			bad++
			if !strings.HasPrefix(verdict, "reject") {
				accepted++
			}
		}
	}
	t.Logf("of %d bad responses the bare library lets %d through, some with a warning", bad, accepted)
	if *update {
		if err := os.WriteFile(canaryFile, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(canaryFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the library judges otherwise than when it was last looked at; see what it means, then run this test with -update (-before +now):\n%s", diff)
	}
}

// bareVerdict is what the library alone makes of the case.
func (a attack) bareVerdict(t *testing.T) (verdict string) {
	t.Helper()
	defer func() {
		if recover() != nil {
			verdict = "panic"
		}
	}()
	s := a.scene(t)
	sp := &saml2.SAMLServiceProvider{
		IdentityProviderIssuer:      testIdPID,
		AssertionConsumerServiceURL: s.cfg.ACSURL,
		ServiceProviderIssuer:       s.cfg.EntityID,
		AudienceURI:                 s.cfg.EntityID,
		IDPCertificateStore:         &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{s.idp.cert}},
		Clock:                       dsig.NewFakeClock(newClock(s.cfg.Now, 0)),
	}
	if len(s.cfg.Decryption) > 0 {
		key := s.cfg.Decryption[0]
		sp.SPKeyStore = dsig.TLSCertKeyStore(tls.Certificate{PrivateKey: key.Key, Certificate: [][]byte{key.Certificate.Raw}})
	}
	info, err := sp.RetrieveAssertionInfo(s.response)
	if err != nil && a.encrypt != nil {
		return "reject" // how it words that depends on what comes out of a wrong key
	}
	if err != nil {
		return "reject\t" + bareCause(err)
	}
	warnings := info.WarningInfo
	return strings.TrimSpace(fmt.Sprintf("accept\t%s%s%s%s", when(warnings.InvalidTime, "InvalidTime "), when(warnings.NotInAudience, "NotInAudience "),
		when(warnings.OneTimeUse, "OneTimeUse "), when(warnings.ProxyRestriction != nil, "ProxyRestriction")))
}

func when(holds bool, word string) string {
	if holds {
		return word
	}
	return ""
}

// bareCause is the beginning of the library's error.
func bareCause(err error) string {
	if value, ok := errors.AsType[saml2.ErrInvalidValue](err); ok {
		return "invalid " + value.Key
	}
	if missing, ok := errors.AsType[saml2.ErrMissingElement](err); ok {
		return "missing " + missing.Tag
	}
	cause := err.Error()
	for _, place := range []string{" at input byte", " before offset"} { // which may differ with the length of a signature
		cause, _, _ = strings.Cut(cause, place)
	}
	return fmt.Sprintf("%.80q", cause)
}
