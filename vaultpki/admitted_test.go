package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// admittedState is a connection of a client with a leaf of pki, as it was verified
// at its handshake.
func admittedState(t testing.TB, pki mountPKI, change func(*x509.Certificate)) tls.ConnectionState {
	t.Helper()
	template, key := leafTemplate(), newKey(t)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	change(template)
	leaf := sign(t, template, pki.intermediate, &key.PublicKey, pki.key)
	chain := []*x509.Certificate{leaf, pki.intermediate}
	return tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{append(chain, pki.root)}}
}

func TestPeersAreJudgedByWhatIsTrustedNow(t *testing.T) {
	old, next := newMountPKI(t), newMountPKI(t)
	c := clientTrusting(t, old.root)
	same := func(*x509.Certificate) {}
	ofOld, ofNext := admittedState(t, old, same), admittedState(t, next, same)
	name := ofOld.PeerCertificates[0].DNSNames[0]
	try := func(step string, state tls.ConnectionState, allowed []string, fault string) {
		t.Helper()
		for range 2 { // the second time it may be remembered
			got, err := c.Admit(state, allowed)
			if fault == "" && (err != nil || got != name) {
				t.Errorf("%s: %q, %v", step, got, err)
			}
			if fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
				t.Errorf("%s: error %v, expected one with %q", step, err, fault)
			}
		}
	}
	try("of a root that is trusted", ofOld, []string{name}, "")
	try("of another", ofNext, []string{name}, "building the chain")
	try("a name that is allowed no longer", ofOld, []string{"other.example.com"}, "expected one of")
	try("nobody is allowed", ofOld, nil, "expected one of")
	c.trust.Store(trusting(t, old.root, next.root))
	try("while both are trusted", ofNext, []string{name}, "")
	c.trust.Store(trusting(t, next.root))
	try("after the old root is gone", ofOld, []string{name}, "building the chain")
	try("of the new one", ofNext, []string{name}, "")
	try("without a certificate", tls.ConnectionState{}, []string{name}, "no verified certificate")
	ended := admittedState(t, next, func(leaf *x509.Certificate) { leaf.NotAfter = time.Now().Add(-time.Second) })
	try("its certificate has ended", ended, []string{name}, "expired since")
}

// TestWhatIsUnderWayOutlastsACertificate: certificates end all the time, and nobody is to
// notice; who is taken off the list, or whose authority is taken away, is meant.
func TestWhatIsUnderWayOutlastsACertificate(t *testing.T) {
	old, next := newMountPKI(t), newMountPKI(t)
	c := clientTrusting(t, old.root)
	living := admittedState(t, old, func(*x509.Certificate) {})
	ended := admittedState(t, old, func(leaf *x509.Certificate) { leaf.NotAfter = time.Now().Add(-time.Second) })
	name := []string{living.PeerCertificates[0].DNSNames[0]}
	try := func(step string, state tls.ConnectionState, allowed []string, keep bool) {
		t.Helper()
		if err := c.Keep(state, allowed); (err == nil) != keep {
			t.Errorf("%s: %v", step, err)
		}
	}
	try("let in", living, name, true)
	try("its certificate has ended", ended, name, true)
	try("that, and its name is allowed no longer", ended, nil, false)
	try("its name is allowed no longer", living, []string{"other.example.com"}, false)
	c.trust.Store(trusting(t, next.root))
	try("its root is trusted no longer", living, name, false)
	try("nor that of one that has ended", ended, name, true)
	try("without a certificate", tls.ConnectionState{}, name, false)
}

func TestWhatIsRememberedOfPeersIsBounded(t *testing.T) {
	a, by := &admitted{}, &trust{}
	for range 3 * admittedLimit {
		a.add(by, []*x509.Certificate{{}}, "any")
	}
	if len(a.names) > admittedLimit {
		t.Errorf("%d leaves are remembered", len(a.names))
	}
	now := time.Now()
	leaf := &x509.Certificate{NotAfter: now.Add(time.Hour)}
	a.add(by, []*x509.Certificate{leaf}, "gateway")
	of := func(leaf *x509.Certificate) tls.ConnectionState {
		return tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	}
	if name, known := a.nameOf(by, of(leaf), now); !known || name != "gateway" {
		t.Errorf("%q, %t", name, known)
	}
	for what, known := range map[string]func() (string, bool){
		"another trust": func() (string, bool) { return a.nameOf(&trust{}, of(leaf), now) },
		"another leaf":  func() (string, bool) { return a.nameOf(by, of(&x509.Certificate{}), now) },
		"a leaf that nobody has verified": func() (string, bool) {
			return a.nameOf(by, tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, now)
		},
	} {
		if name, known := known(); known {
			t.Errorf("%s passes for the one that was judged, as %q", what, name)
		}
	}
}

// TestWhatIsRememberedOfPeersEnds with the first certificate of the chain, or of the roots:
// from then on it is verified whether there is another way.
func TestWhatIsRememberedOfPeersEnds(t *testing.T) {
	now := time.Now()
	ends := func(hours int) *x509.Certificate {
		return &x509.Certificate{NotAfter: now.Add(time.Duration(hours) * time.Hour)}
	}
	for name, test := range map[string]struct {
		leaf, intermediate, root int // hours; one ends after one
	}{
		"the leaf ends first":         {1, 2, 3},
		"the intermediate ends first": {3, 1, 2},
		"the root ends first":         {3, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a, by, leaf := &admitted{}, &trust{roots: []*x509.Certificate{ends(test.root)}}, ends(test.leaf)
			a.add(by, []*x509.Certificate{leaf, ends(test.intermediate)}, "gateway")
			cs := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
			end := now.Add(time.Hour)
			if _, known := a.nameOf(by, cs, end); !known {
				t.Error("it is not remembered")
			}
			if _, known := a.nameOf(by, cs, end.Add(time.Second)); known {
				t.Error("it is remembered after that")
			}
		})
	}
}

func BenchmarkAdmit(b *testing.B) {
	pki := newMountPKI(b)
	c := &Certificates{}
	c.trust.Store(trusting(b, pki.root))
	state := admittedState(b, pki, func(*x509.Certificate) {})
	allowed := []string{state.PeerCertificates[0].DNSNames[0]}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Admit(state, allowed); err != nil {
			b.Fatal(err)
		}
	}
}
