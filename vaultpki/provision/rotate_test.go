package provision_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

const notes = "notes.backend.sallyport.internal"

func newRotation(t *testing.T, cfg provision.RotationConfig) *provision.Rotation {
	t.Helper()
	r, err := provision.NewRotation(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begin waits until a rotation may begin: what was just provisioned has yet to
// settle.
func begin(t *testing.T, cfg provision.RotationConfig) *provision.Rotation {
	t.Helper()
	r := newRotation(t, cfg)
	for {
		p, err := r.Next(t.Context(), newClient(t))
		if err != nil {
			t.Fatal(err)
		}
		if p.Left == 0 {
			return r
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended while waiting")
		case <-time.After(p.Left):
		}
	}
}

// steps collects the names of the steps that were done.
type steps struct{ done []string }

func (s *steps) tell(p provision.Progress) {
	if p.Done {
		s.done = append(s.done, p.Step.Name)
	}
}

// trust returns what every process trusts of a mount: each self-signed
// authority among its issuers. Nobody needs a token to read it.
func trust(ctx context.Context, mount string) (*x509.CertPool, int, error) {
	var list struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err := vault.Call(ctx, "LIST", mount+"/issuers", nil, &list); err != nil {
		return nil, 0, err
	}
	pool, count := x509.NewCertPool(), 0
	for _, id := range list.Data.Keys {
		var issuer struct {
			Data struct {
				Certificate string `json:"certificate"`
			} `json:"data"`
		}
		if err := vault.Call(ctx, "GET", mount+"/issuer/"+id+"/json", nil, &issuer); err != nil {
			return nil, 0, err
		}
		block, _ := pem.Decode([]byte(issuer.Data.Certificate))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, 0, err
		}
		if cert.CheckSignatureFrom(cert) == nil {
			pool.AddCert(cert)
			count++
		}
	}
	return pool, count, nil
}

// leaf is a certificate and the intermediates that go along with it.
type leaf struct {
	cert  *x509.Certificate
	chain *x509.CertPool
}

// signLeaf has a mount sign a fresh key for the sidecar.
func signLeaf(ctx context.Context, mount string) (leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return leaf{}, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{notes}}, key)
	if err != nil {
		return leaf{}, err
	}
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
		} `json:"data"`
	}
	body := map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	if err := vault.Call(ctx, "PUT", mount+"/sign/sidecar-notes", body, &answer); err != nil {
		return leaf{}, err
	}
	block, _ := pem.Decode([]byte(answer.Data.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return leaf{}, err
	}
	chain := x509.NewCertPool()
	for _, text := range answer.Data.Chain {
		chain.AppendCertsFromPEM([]byte(text))
	}
	return leaf{cert, chain}, nil
}

func (l leaf) verify(roots *x509.CertPool) error {
	_, err := l.cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: l.chain, DNSName: notes})
	return err
}

// shortSpec is a Spec whose leaves live two seconds.
func shortSpec(prefix string) provision.Spec {
	spec := specFor(prefix)
	spec.CertTTL = 2 * time.Second
	return spec
}

// watch signs a leaf again and again and holds each, as long as it lives,
// against what is trusted then. It returns how many it has signed, and how many
// different authorities did, once done is closed.
func watch(ctx context.Context, t *testing.T, mount string, done <-chan struct{}) (signed, authorities int) {
	t.Helper()
	var alive []leaf
	seen := map[string]bool{}
	for {
		fresh, err := signLeaf(ctx, mount)
		if err != nil {
			t.Errorf("signing a leaf: %v", err)
			return signed, len(seen)
		}
		signed++
		seen[string(fresh.cert.AuthorityKeyId)] = true
		alive = append(alive, fresh)
		roots, _, err := trust(ctx, mount)
		if err != nil && (strings.Contains(err.Error(), "does not exist") || strings.Contains(err.Error(), "unable to find PKI issuer")) {
			continue // Vault fails to list, or to show, what is removed at the same time
		}
		if err != nil {
			t.Errorf("reading what is trusted: %v", err)
			return signed, len(seen)
		}
		alive = slices.DeleteFunc(alive, func(l leaf) bool { return time.Until(l.cert.NotAfter) < 0 })
		for _, l := range alive {
			if err := l.verify(roots); err != nil && time.Now().Before(l.cert.NotAfter) {
				t.Errorf("a leaf of %s, valid until %s: %v", l.cert.Issuer, l.cert.NotAfter, err)
			}
		}
		select {
		case <-done:
			return signed, len(seen)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestLeavesVerifyThroughoutARotation(t *testing.T) {
	for what, want := range map[string][]string{
		provision.Intermediate: {"next", "switch", "retire"},
		provision.Root:         {"next", "publish", "intermediate", "switch", "retire"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			spec := shortSpec("rotate-" + what)
			mustApply(t, spec)
			before, _, err := trust(t.Context(), spec.BackendMount)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			var watching sync.WaitGroup
			var signed, authorities int
			watching.Go(func() { signed, authorities = watch(context.WithoutCancel(t.Context()), t, spec.BackendMount, done) })
			var s steps
			err = begin(t, provision.RotationConfig{Spec: spec, What: what, Side: provision.Backend, Settle: time.Second}).Run(t.Context(), newClient(t), s.tell)
			close(done)
			watching.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, s.done); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if authorities != 2 || signed < 10 {
				t.Errorf("%d leaves by %d authorities, expected many by 2", signed, authorities)
			}
			after, roots, err := trust(t.Context(), spec.BackendMount)
			if err != nil || roots != 1 || before.Equal(after) != (what == provision.Intermediate) {
				t.Errorf("afterwards %d roots are trusted (%v), the same as before: %t", roots, err, before.Equal(after))
			}
			if left := mustPlan(t, spec); len(left) > 0 {
				t.Errorf("after the rotation, still planned: %q", left)
			}
		})
	}
}

func TestTheRootOfAnOlderInstallationMovesAboveAnIntermediate(t *testing.T) {
	t.Parallel() // most of it is waiting
	spec := shortSpec("older")
	for _, mount := range []string{spec.EdgeMount, spec.BackendMount} {
		for path, body := range map[string]any{
			"sys/mounts/" + mount: map[string]any{"type": "pki", "config": map[string]string{"max_lease_ttl": "87600h"}},
		} {
			if err := vault.Call(t.Context(), "POST", path, body, nil); err != nil {
				t.Fatal(err)
			}
		}
		root := map[string]any{"common_name": "old root", "issuer_name": "root-1", "key_name": "root-1", "key_type": "ec", "key_bits": 256, "ttl": "87600h", "max_path_length": 0}
		if err := vault.Call(t.Context(), "POST", mount+"/root/generate/internal", root, nil); err != nil {
			t.Fatal(err)
		}
	}
	// It is taken as it is: no other authority is planned.
	applied := strings.Join(mustApply(t, spec), "\n")
	for _, none := range []string{"root of", "intermediate of", "-root"} {
		if strings.Contains(applied, none) {
			t.Errorf("apply touched the authority:\n%s", applied)
		}
	}
	alone := newRotation(t, provision.RotationConfig{Spec: spec, What: provision.Intermediate, Side: provision.Backend})
	if _, err := alone.Next(t.Context(), newClient(t)); err == nil || !strings.Contains(err.Error(), "provision rotate root") {
		t.Errorf("rotating an intermediate that is not there: %v", err)
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { watch(context.WithoutCancel(t.Context()), t, spec.BackendMount, done) })
	var s steps
	err := begin(t, provision.RotationConfig{Spec: spec, What: provision.Root, Side: provision.Backend, Settle: time.Second}).Run(t.Context(), newClient(t), s.tell)
	close(done)
	watching.Wait()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := signLeaf(t.Context(), spec.BackendMount)
	if err != nil || fresh.cert.Issuer.CommonName != "Sallyport backend intermediate" {
		t.Errorf("leaves are signed by %q, %v", fresh.cert.Issuer.CommonName, err)
	}
	var second steps
	again := newRotation(t, provision.RotationConfig{Spec: spec, What: provision.Intermediate, Side: provision.Backend})
	again.Hurry()
	if err := again.Run(t.Context(), newClient(t), second.tell); err != nil {
		t.Errorf("rotating the intermediate then: %v after %q", err, second.done)
	}
}

func TestAnAuthorityOfSomebodyElsesIsLeftAlone(t *testing.T) {
	spec := shortSpec("foreignca")
	mustApply(t, spec)
	// The intermediate of another root, which is in no mount that we know.
	elsewhere := spec
	elsewhere.BackendAuthority.RootMount = "foreignca-nowhere"
	if left := mustPlan(t, elsewhere); len(left) > 0 {
		t.Errorf("planned for an authority that is there: %q", left)
	}
	for _, what := range []string{provision.Intermediate, provision.Root} {
		r := newRotation(t, provision.RotationConfig{Spec: elsewhere, What: what, Side: provision.Backend})
		if _, err := r.Next(t.Context(), newClient(t)); err == nil || !strings.Contains(err.Error(), "rotate it where its root is") {
			t.Errorf("rotating the %s: %v, expected a refusal", what, err)
		}
	}
}

// state is what a rotation may leave behind.
func state(t *testing.T, spec provision.Spec) string {
	t.Helper()
	var out strings.Builder
	for _, mount := range []string{spec.BackendMount, "killed-backend-root"} {
		for _, list := range []string{"issuers", "keys"} {
			var answer struct {
				Data struct {
					Keys []string `json:"keys"`
				} `json:"data"`
			}
			if err := vault.Call(t.Context(), "LIST", mount+"/"+list, nil, &answer); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s/%s %d\n", mount, list, len(answer.Data.Keys))
		}
	}
	for _, path := range []string{"killed-kv/data/sallyport/saml", "killed-kv/data/sallyport/session"} {
		fmt.Fprintf(&out, "%s %q\n", path, slices.Sorted(maps.Keys(readKV(t, path))))
	}
	return out.String()
}

// TestARotationGoesOnAfterAKillAtEachCall loses the answer to each write of each
// rotation, and then goes on without the proxy.
func TestARotationGoesOnAfterAKillAtEachCall(t *testing.T) {
	t.Parallel() // most of it is waiting
	spec := specFor("killed")
	mustApply(t, spec)
	clean := state(t, spec)
	proxy := newCutter(t)
	for what, least := range map[string]int{provision.SessionKey: 3, provision.SPKey: 3, provision.Intermediate: 8, provision.Root: 15} {
		t.Run(what, func(t *testing.T) {
			kills := 0
			for ; ; kills++ {
				proxy.left.Store(int64(kills))
				if !killedAndResumed(t, spec, what, clientOf(t, proxy.Server)) {
					break
				}
				if got := state(t, spec); got != clean {
					t.Fatalf("after a kill at write %d, left behind:\n%s\nexpected:\n%s", kills, got, clean)
				}
			}
			if kills < least {
				t.Errorf("%d writes were cut, expected at least %d", kills, least)
			}
		})
	}
}

// killedAndResumed runs a rotation through the proxy until it is cut, and then
// without it to its end; it says whether it was cut. The leaf that was signed
// before is trusted until the authority above it is retired, and one can be
// signed at any time.
func killedAndResumed(t *testing.T, spec provision.Spec, what string, through *provision.Client) bool {
	t.Helper()
	cfg := provision.RotationConfig{Spec: spec, What: what, Settle: 24 * time.Hour}
	if what == provision.Intermediate || what == provision.Root {
		cfg.Side = provision.Backend
	}
	old, err := signLeaf(t.Context(), spec.BackendMount)
	if err != nil {
		t.Fatal(err)
	}
	var s steps
	run := func(client *provision.Client) error {
		r := newRotation(t, cfg)
		r.Hurry()
		return r.Run(t.Context(), client, func(p provision.Progress) {
			s.tell(p)
			checkTrust(t, spec.BackendMount, old, p)
		})
	}
	err = run(through)
	if err == nil {
		return false
	}
	if vaultpki.ReasonOf(err) != vaultpki.ReasonUnreachable {
		t.Fatalf("cut off: %v", err)
	}
	checkTrust(t, spec.BackendMount, old, provision.Progress{})
	if next, err := newRotation(t, cfg).Next(t.Context(), newClient(t)); err != nil || next.Step.First {
		// Nothing was done yet, or only the last answer was lost: the next rotation
		// is another, that the old leaf does not live to see the end of.
		if old, err = signLeaf(t.Context(), spec.BackendMount); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(newClient(t)); err != nil {
		t.Fatalf("going on: %v, after %q", err, s.done)
	}
	return true
}

// checkTrust signs a leaf and holds it, and the old one until something was
// retired, against what is trusted.
func checkTrust(t *testing.T, mount string, old leaf, p provision.Progress) {
	t.Helper()
	roots, _, err := trust(t.Context(), mount)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := signLeaf(t.Context(), mount)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.verify(roots); err != nil {
		t.Errorf("after %q a new leaf does not verify: %v", p, err)
	}
	if p.Done && p.Step.Name != "retire" {
		if err := old.verify(roots); err != nil {
			t.Errorf("after %q the old leaf does not verify: %v", p, err)
		}
	}
}

func TestASessionKeyIsRotatedWithOverlap(t *testing.T) {
	t.Parallel() // most of it is waiting
	spec := specFor("session")
	mustApply(t, spec)
	const path = "session-kv/data/sallyport/session"
	first := readKV(t, path)["current"]
	r := begin(t, provision.RotationConfig{Spec: spec, What: provision.SessionKey, Settle: time.Second, Session: time.Second})
	var second string
	var s steps
	if err := r.Run(t.Context(), newClient(t), func(p provision.Progress) {
		s.tell(p)
		have := readKV(t, path)
		switch {
		case !p.Done:
		case p.Step.Name == "next":
			second = have["next"]
			if diff := cmp.Diff(map[string]string{"current": first, "next": second}, have); diff != "" || second == "" || second == first {
				t.Errorf("after next (-want +got):\n%s", diff)
			}
		case p.Step.Name == "switch":
			if diff := cmp.Diff(map[string]string{"current": second, "previous": first}, have); diff != "" {
				t.Errorf("after switch (-want +got):\n%s", diff)
			}
		case p.Step.Name == "retire":
			if diff := cmp.Diff(map[string]string{"current": second}, have); diff != "" {
				t.Errorf("after retire (-want +got):\n%s", diff)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"next", "switch", "retire"}, s.done); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// The backends fetch the keys when they like: nothing is signed with a key, and none
// is taken away, before each has had the time.
func TestAnAssertionKeyIsRotatedWithOverlap(t *testing.T) {
	spec := specFor("assertion")
	mustApply(t, spec)
	const path = "assertion-kv/data/sallyport/assertion"
	first := readKV(t, path)["current"]
	patient := func() string {
		r := newRotation(t, provision.RotationConfig{Spec: spec, What: provision.AssertionKey, Settle: time.Second})
		next, err := r.Next(t.Context(), newClient(t))
		if err != nil {
			t.Fatal(err)
		}
		return next.String()
	}
	step := func(want string) map[string]string {
		r := newRotation(t, provision.RotationConfig{Spec: spec, What: provision.AssertionKey, Settle: time.Second})
		r.Hurry()
		var told []string
		if err := r.Step(t.Context(), newClient(t), func(p provision.Progress) { told = append(told, p.String()) }); err != nil || !strings.HasPrefix(told[0], "done: "+want) {
			t.Fatalf("step %s: %q, %v", want, told, err)
		}
		return readKV(t, path)
	}
	have := step("next")
	second := have["next"]
	if diff := cmp.Diff(map[string]string{"current": first, "next": second}, have); diff != "" || second == "" || second == first {
		t.Errorf("after next (-want +got):\n%s", diff)
	}
	if told := patient(); !strings.HasPrefix(told, "due in 10m") && !strings.HasPrefix(told, "due in 9m5") {
		t.Errorf("the backends have no time to fetch the next key: %s", told)
	}
	if diff := cmp.Diff(map[string]string{"current": second, "previous": first}, step("switch")); diff != "" {
		t.Errorf("after switch (-want +got):\n%s", diff)
	}
	if told := patient(); !strings.HasPrefix(told, "due in 16m") && !strings.HasPrefix(told, "due in 15m5") {
		t.Errorf("the last assertion of the old key has not ended: %s", told)
	}
	if diff := cmp.Diff(map[string]string{"current": second}, step("retire")); diff != "" {
		t.Errorf("after retire (-want +got):\n%s", diff)
	}
}

func TestAnSPKeyWaitsForTheIdentityProvider(t *testing.T) {
	spec := specFor("spkey")
	mustApply(t, spec)
	const path = "spkey-kv/data/sallyport/saml"
	before := readKV(t, path)
	step := func(vouched bool) string {
		r := newRotation(t, provision.RotationConfig{Spec: spec, What: provision.SPKey, Settle: time.Second, Vouched: vouched})
		r.Hurry()
		var lines []string
		if err := r.Step(t.Context(), newClient(t), func(p provision.Progress) { lines = append(lines, p.String()) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	if told := step(true); !strings.HasPrefix(told, "done: next:") || !strings.Contains(told, "waits for you: switch:") {
		t.Errorf("first: %s", told)
	}
	published := readKV(t, path)
	if published["sp_private_key"] != before["sp_private_key"] || published["sp_private_key_next"] == "" || published["sp_public_cert_next"] == "" {
		t.Error("the next pair is not beside the current one")
	}
	if told := step(false); strings.Contains(told, "done") || !strings.Contains(told, "--idp-has-new-metadata") {
		t.Errorf("without a word of the identity provider: %s", told)
	}
	if told := step(true); !strings.HasPrefix(told, "done: switch:") || !strings.Contains(told, "waits for you: retire:") {
		t.Errorf("with it: %s", told)
	}
	switched := readKV(t, path)
	want := map[string]string{
		"sp_private_key": published["sp_private_key_next"], "sp_public_cert": published["sp_public_cert_next"],
		"sp_private_key_previous": before["sp_private_key"], "sp_public_cert_previous": before["sp_public_cert"],
		"idp_metadata_xml": before["idp_metadata_xml"],
	}
	if !maps.Equal(want, switched) {
		t.Errorf("fields after the switch: %q", slices.Sorted(maps.Keys(switched)))
	}
	if told := step(true); !strings.HasPrefix(told, "done: retire:") {
		t.Errorf("at the end: %s", told)
	}
	if retired := readKV(t, path); len(retired) != 3 {
		t.Errorf("fields after the retirement: %q", slices.Sorted(maps.Keys(retired)))
	}
}

// A step counts from when its fields were written, however often the secret was
// written since for other reasons.
func TestAStepCountsFromWhenItsFieldsWereWritten(t *testing.T) {
	spec := specFor("since")
	mustApply(t, spec)
	cfg := provision.RotationConfig{Spec: spec, What: provision.SPKey, Settle: 24 * time.Hour}
	first := newRotation(t, cfg)
	first.Hurry()
	if err := first.Step(t.Context(), newClient(t), func(provision.Progress) {}); err != nil {
		t.Fatal(err)
	}
	due := func() time.Time {
		p, err := newRotation(t, cfg).Next(t.Context(), newClient(t))
		if err != nil || p.Step.Name != "switch" || p.Left < 23*time.Hour {
			t.Fatalf("next is %q, %v", p, err)
		}
		return p.Step.Due
	}
	before := due()
	for i := range 3 {
		spec.IdPMetadata = fmt.Appendf(nil, "<EntityDescriptor entityID='%d'/>", i)
		mustApply(t, spec)
	}
	if after := due(); !after.Equal(before) {
		t.Errorf("due at %s, and after other changes at %s", before, after)
	}
}

func TestTwoOperatorsDoNotOverwriteEachOther(t *testing.T) {
	spec := specFor("two")
	mustApply(t, spec)
	cfg := provision.RotationConfig{Spec: spec, What: provision.SessionKey}
	var wins, losses atomic.Int64
	var operators sync.WaitGroup
	for range 6 {
		r, client := newRotation(t, cfg), newClient(t)
		r.Hurry()
		operators.Go(func() {
			switch err := r.Step(context.WithoutCancel(t.Context()), client, func(provision.Progress) {}); {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, provision.ErrRaced):
				losses.Add(1)
			default:
				t.Errorf("racing: %v", err)
			}
		})
	}
	operators.Wait()
	if wins.Load() == 0 || wins.Load()+losses.Load() != 6 {
		t.Errorf("%d won and %d lost", wins.Load(), losses.Load())
	}
	if have := readKV(t, "two-kv/data/sallyport/session"); have["current"] == "" {
		t.Errorf("no current key is left: %q", slices.Sorted(maps.Keys(have)))
	}
}

func TestRotationsOfNothingAreRefused(t *testing.T) {
	spec := specFor("nothing")
	for name, cfg := range map[string]provision.RotationConfig{
		"no such thing":           {Spec: spec, What: "password"},
		"a key of a side":         {Spec: spec, What: provision.SPKey, Side: provision.Edge},
		"an authority of no side": {Spec: spec, What: provision.Root},
		"no time to settle":       {Spec: spec, What: provision.SPKey, Settle: time.Millisecond},
		"a spec with a fault":     {Spec: provision.Spec{}, What: provision.SPKey},
	} {
		if _, err := provision.NewRotation(cfg); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
	for _, cfg := range []provision.RotationConfig{
		{Spec: spec, What: provision.SessionKey}, {Spec: spec, What: provision.Root, Side: provision.Edge},
	} {
		if _, err := newRotation(t, cfg).Next(t.Context(), newClient(t)); err == nil || !strings.Contains(err.Error(), "provision apply") {
			t.Errorf("rotating the %s of an empty vault: %v, expected a hint", cfg.What, err)
		}
	}
}
