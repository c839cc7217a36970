package vaultpki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// newMount makes a PKI mount of its own, without an issuer, with roles for
// servers and clients of any name.
func newMount(t *testing.T, path string) {
	t.Helper()
	write(t, "sys/mounts/"+path, map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "240h"}})
	t.Cleanup(func() { // by then the test's context is over
		ctx := context.WithoutCancel(t.Context())
		if err := vault.Call(ctx, "DELETE", "sys/mounts/"+path, nil, nil); err != nil {
			t.Error(err)
		}
	})
	for _, usage := range []string{"server", "client"} {
		write(t, path+"/roles/"+usage, map[string]any{
			"allow_any_name": true, "require_cn": false, "key_type": "ec", "key_bits": 256, "max_ttl": "24h", "no_store": true,
			"allowed_uri_sans": []string{"spiffe://example.com/*"}, "not_before_duration": "1s",
			"server_flag": usage == "server", "client_flag": usage == "client",
		})
	}
}

// write does one call to the real Vault as root.
func write(t *testing.T, path string, body map[string]any) {
	t.Helper()
	if err := vault.Call(t.Context(), "PUT", path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// addRoot makes a root on a mount and returns the issuer's identifier. The first
// is the default.
func addRoot(t *testing.T, mount, name string) string {
	t.Helper()
	var made struct {
		Data struct {
			IssuerID string `json:"issuer_id"`
		} `json:"data"`
	}
	body := map[string]any{"common_name": name, "issuer_name": name, "key_name": name, "key_type": "ec", "key_bits": 256, "ttl": "200h"}
	if err := vault.Call(t.Context(), "PUT", mount+"/root/generate/internal", body, &made); err != nil {
		t.Fatal(err)
	}
	return made.Data.IssuerID
}

// useIssuer makes an issuer the default of its mount.
func useIssuer(t *testing.T, mount, id string) {
	t.Helper()
	write(t, mount+"/config/issuers", map[string]any{"default": id})
}

// removeIssuer removes an issuer from its mount.
func removeIssuer(t *testing.T, mount, id string) {
	t.Helper()
	if err := vault.Call(t.Context(), "DELETE", mount+"/issuer/"+id, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// operator is a client with the root token.
func operator(t *testing.T, server vaultpki.Server) *vaultpki.Client {
	t.Helper()
	client, err := vaultpki.WithToken(server, vault.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	vaultpki.BePatient(client, 20*time.Second) // a busy machine's Vault may lose itself for a moment
	return client
}

// onMount returns the configuration for one name of a mount of newMount.
func onMount(t *testing.T, mount string, usage vaultpki.Usage, name string) vaultpki.CertificatesConfig {
	t.Helper()
	return vaultpki.CertificatesConfig{
		Client: operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}),
		Mount:  mount, Role: usage.String(), Names: []string{name}, TTL: 20 * time.Second, Usage: usage,
	}
}

// subjects returns the names of the trusted roots, those in use with a star.
func subjects(certs *vaultpki.Certificates) string {
	var names []string
	for _, root := range certs.Roots() {
		name := strings.TrimPrefix(root.Subject, "CN=")
		if root.InUse {
			name += "*"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestEveryRootAmongTheIssuersIsTrusted(t *testing.T) {
	newMount(t, "pki-several")
	addRoot(t, "pki-several", "one")
	addRoot(t, "pki-several", "two")
	leaf := issue(t, onMount(t, "pki-several", vaultpki.ServerUsage, sidecarName))
	if got := subjects(leaf); got != "one* two" {
		t.Errorf("roots %q, expected both and the first in use", got)
	}
	for _, root := range leaf.Roots() {
		if len(root.Fingerprint) != 64 || !root.NotBefore.Before(time.Now()) || !root.NotAfter.After(time.Now().Add(100*time.Hour)) {
			t.Errorf("root %+v", root)
		}
	}
}

// TestRootsRotateUnderLivingConnections goes the operator's way: add, switch,
// renew, remove. The configurations are made once, as a listener and a transport
// hold them.
func TestRootsRotateUnderLivingConnections(t *testing.T) {
	t.Parallel()
	newMount(t, "pki-rotated")
	old := addRoot(t, "pki-rotated", "old")
	var changes atomic.Int64
	cfg := onMount(t, "pki-rotated", vaultpki.ServerUsage, sidecarName)
	cfg.OnChange = func(change vaultpki.Change) {
		if change.Roots {
			changes.Add(1)
		}
	}
	sidecar := issue(t, cfg)
	gateway := issue(t, onMount(t, "pki-rotated", vaultpki.ClientUsage, clientName))
	inBackground(t, sidecar.Run)
	inBackground(t, gateway.Run)
	guard, dial := sidecar.GuardTLS([]string{clientName}), gateway.DialTLS(sidecarName)
	shakeUntil := func(what string, roots string) {
		eventually(t, what, func() bool {
			if _, err := shake(guard, dial); err != nil {
				t.Fatalf("until %s: %v", what, err)
			}
			return subjects(sidecar) == roots && subjects(gateway) == roots
		})
	}
	shakeUntil("there is one root", "old*")
	next := addRoot(t, "pki-rotated", "new")
	shakeUntil("both sides trust both", "new old*")
	useIssuer(t, "pki-rotated", next)
	if err := errors.Join(sidecar.Renew(t.Context(), ""), gateway.Renew(t.Context(), clientName)); err != nil {
		t.Fatal(err)
	}
	shakeUntil("both show certificates of the new root", "new* old")
	useIssuer(t, "pki-rotated", old)
	retired := signedPair(t, "pki-rotated/sign/client", clientName, nil)
	useIssuer(t, "pki-rotated", next)
	removeIssuer(t, "pki-rotated", old)
	shakeUntil("the old root is gone", "new*")
	if n := changes.Load(); n != 2 {
		t.Errorf("OnChange told of other roots %d times, expected 2", n)
	}
	show := gateway.DialTLS(sidecarName)
	show.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &retired, nil }
	if _, err := shake(guard, show); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("client of the root that is gone: %v", err)
	}
}

func TestCertificateOfARootThatIsGoneIsRenewedAtOnce(t *testing.T) {
	t.Parallel()
	newMount(t, "pki-compromised")
	old := addRoot(t, "pki-compromised", "old")
	cfg := onMount(t, "pki-compromised", vaultpki.ServerUsage, sidecarName)
	cfg.TTL = 2 * time.Hour
	var log journal
	cfg.Log = log.logger()
	certs := issue(t, cfg)
	useIssuer(t, "pki-compromised", addRoot(t, "pki-compromised", "new"))
	removeIssuer(t, "pki-compromised", old)
	inBackground(t, certs.Run)
	// A peer that is not known makes it look before its minute is over.
	stranger := newAuthority(t).leaf(t, "other.example.com", x509.ExtKeyUsageServerAuth)
	client := issue(t, onMount(t, "pki-compromised", vaultpki.ClientUsage, clientName))
	if got := subjects(client); got != "new*" {
		t.Errorf("roots %q", got)
	}
	_, _ = shake(&tls.Config{Certificates: []tls.Certificate{stranger}}, certs.DialTLS("other.example.com"))
	eventually(t, "the certificate is of the new root", func() bool { return subjects(certs) == "new*" })
	if len(log.entries(t, "trusted roots changed")) != 1 || certs.Status()[0].Issuer != "CN=new" {
		t.Errorf("issuer %q, log:\n%s", certs.Status()[0].Issuer, log.String())
	}
}

// Vault may begin to sign under a root between two readings.
func TestCertificateOfARootThatIsNewIsAccepted(t *testing.T) {
	newMount(t, "pki-hasty")
	addRoot(t, "pki-hasty", "old")
	cfg := onMount(t, "pki-hasty", vaultpki.ServerUsage, sidecarName)
	cfg.TTL = 2 * time.Hour
	certs := issue(t, cfg)
	useIssuer(t, "pki-hasty", addRoot(t, "pki-hasty", "new"))
	if err := certs.Renew(t.Context(), sidecarName); err != nil {
		t.Fatal(err)
	}
	if got := subjects(certs); got != "new* old" {
		t.Errorf("roots %q, expected both", got)
	}
}

func TestCrossSignedIntermediateIsPassedOn(t *testing.T) {
	newMount(t, "pki-cross")
	old := addRoot(t, "pki-cross", "old")
	useIssuer(t, "pki-cross", addRoot(t, "pki-cross", "new"))
	var cross struct {
		Data struct {
			CSR string `json:"csr"`
			Key string `json:"key_id"`
		} `json:"data"`
	}
	// The new root's key, signed by the old one too: peers that only know the old
	// one can verify certificates of the new.
	body := map[string]any{"common_name": "new", "key_ref": "new"}
	if err := vault.Call(t.Context(), "PUT", "pki-cross/intermediate/cross-sign", body, &cross); err != nil {
		t.Fatal(err)
	}
	var signed struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	body = map[string]any{"csr": cross.Data.CSR, "use_csr_values": true, "ttl": "100h"}
	if err := vault.Call(t.Context(), "PUT", "pki-cross/issuer/"+old+"/sign-intermediate", body, &signed); err != nil {
		t.Fatal(err)
	}
	var imported struct {
		Data struct {
			Issuers []string `json:"imported_issuers"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", "pki-cross/issuers/import/cert", map[string]any{"pem_bundle": signed.Data.Certificate}, &imported); err != nil {
		t.Fatal(err)
	}
	body = map[string]any{"issuer_name": "new", "manual_chain": []string{"self", imported.Data.Issuers[0]}}
	write(t, "pki-cross/issuer/new", body)
	certs := issue(t, onMount(t, "pki-cross", vaultpki.ServerUsage, sidecarName))
	if got := subjects(certs); got != "new* old*" {
		t.Errorf("roots %q, expected the certificate to lead to both", got)
	}
	oldOnly := x509.NewCertPool()
	oldOnly.AppendCertsFromPEM([]byte(issuerPEM(t, "pki-cross", old)))
	if _, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: sidecarName, RootCAs: oldOnly}); err != nil {
		t.Errorf("a peer that only knows the old root: %v", err)
	}
}

// issuerPEM returns the certificate of an issuer.
func issuerPEM(t *testing.T, mount, id string) string {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", mount+"/issuer/"+id+"/json", nil, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Certificate
}

func TestRootsStayTrustedWhateverVaultAnswers(t *testing.T) {
	t.Parallel()
	newMount(t, "pki-stubborn")
	first := addRoot(t, "pki-stubborn", "one")
	addRoot(t, "pki-stubborn", "two")
	const list = "pki-stubborn/issuers"
	oneKey := func(body map[string]any) {
		body["data"] = map[string]any{"keys": []any{first}}
	}
	tests := map[string]fault{
		"lost":           dropAfter,
		"error":          answer(500, `{"errors":["x"]}`),
		"garbage":        answer(200, `{"data":`),
		"no keys":        answer(200, `{"data":{"keys":[]}}`),
		"unknown issuer": answer(200, `{"data":{"keys":["00000000-0000-0000-0000-000000000000"]}}`),
		"odd identifier": answer(200, `{"data":{"keys":["../../secret"]}}`),
		"too many":       answer(200, `{"data":{"keys":[`+strings.Repeat(`"x",`, 100)+`"x"]}}`),
		"redirected":     answer(307, ``),
		"one missing":    once(rewrite(oneKey)),
	}
	type watched struct {
		front *standIn
		certs *vaultpki.Certificates
		calls int
	}
	all := map[string]watched{}
	for name, fault := range tests {
		front := newStandIn(t)
		cfg := onMount(t, "pki-stubborn", vaultpki.ServerUsage, sidecarName)
		cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
		cfg.TTL = 10 * time.Second
		certs := issue(t, cfg)
		front.on(list, fault)
		all[name] = watched{front, certs, front.called(list)}
		inBackground(t, certs.Run)
	}
	for name, w := range all {
		t.Run(name, func(t *testing.T) {
			eventually(t, "the roots were read again", func() bool { return w.front.called(list) >= w.calls+3 })
			if got := strings.ReplaceAll(subjects(w.certs), "*", ""); got != "one two" {
				t.Errorf("roots %q", got)
			}
		})
	}
}

// once breaks the first call and lets the others through.
func once(f fault) fault {
	var done atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		if done.Swap(true) {
			vault.ServeHTTP(w, r)
			return
		}
		f(w, r, vault)
	}
}

func TestChainIsReadWhereThereIsNoListOfIssuers(t *testing.T) {
	newMount(t, "pki-older")
	addRoot(t, "pki-older", "one")
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
		front := newStandIn(t)
		front.on("pki-older/issuers", answer(status, `{"errors":["unsupported path"]}`))
		cfg := onMount(t, "pki-older", vaultpki.ServerUsage, sidecarName)
		cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
		if got := subjects(issue(t, cfg)); got != "one*" {
			t.Errorf("status %d: roots %q", status, got)
		}
		front.on("pki-older/cert/ca_chain", rewrite(func(body map[string]any) { body["data"] = map[string]any{"certificate": leafPEM(t)} }))
		certs, err := vaultpki.NewCertificates(t.Context(), cfg)
		if err == nil {
			certs.Close()
		}
		if vaultpki.ReasonOf(err) != vaultpki.ReasonBadCertificate || !strings.Contains(err.Error(), "none of 1 certificates is a root") {
			t.Errorf("status %d: a leaf for the root: %v", status, err)
		}
	}
}

func TestSessionsEndWithTheRoots(t *testing.T) {
	newMount(t, "pki-sessions")
	addRoot(t, "pki-sessions", "one")
	cfg := onMount(t, "pki-sessions", vaultpki.ServerUsage, doorHost)
	cfg.Names = []string{doorHost, notesHost}
	certs := issue(t, cfg)
	edge := certs.EdgeTLS()
	client := func(host string) *tls.Config {
		return &tls.Config{
			ServerName: host, RootCAs: mountRoots(t, "pki-sessions"), ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
	}
	door, notes := client(doorHost), client(notesHost)
	resumes := func(client *tls.Config) bool {
		state, err := shake(edge, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.DidResume
	}
	for _, c := range []*tls.Config{door, notes} {
		if resumes(c) || !resumes(c) {
			t.Fatal("the test needs sessions that are resumed")
		}
	}
	if err := certs.SetNames(t.Context(), []string{doorHost}); err != nil {
		t.Fatal(err)
	}
	if _, err := shake(edge, notes); err == nil {
		t.Error("a session was resumed for a name that was dropped")
	}
	useIssuer(t, "pki-sessions", addRoot(t, "pki-sessions", "two"))
	if err := certs.Renew(t.Context(), doorHost); err != nil { // reads the roots, as it must
		t.Fatal(err)
	}
	door.RootCAs.AppendCertsFromPEM([]byte(issuerPEM(t, "pki-sessions", "two")))
	if resumes(door) {
		t.Error("a session outlived the roots that it began under")
	}
	if !resumes(door) {
		t.Error("sessions are resumed no more")
	}
}
