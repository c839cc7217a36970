package vaultpki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

// edgeConfig asks for the edge's certificates.
func edgeConfig(client *vaultpki.Client) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: "pki-edge", Role: "sallyport-edge", Names: []string{doorHost, notesHost},
		TTL: time.Hour, Usage: vaultpki.ServerUsage,
	}
}

// clientConfig asks for the gateway's client certificate.
func clientConfig(client *vaultpki.Client) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: "pki-backend", Role: "sallyport-gateway", Names: []string{clientName},
		TTL: time.Hour, Usage: vaultpki.ClientUsage,
	}
}

// sidecarConfig asks for the sidecar's server certificate.
func sidecarConfig(client *vaultpki.Client) vaultpki.CertificatesConfig {
	return vaultpki.CertificatesConfig{
		Client: client, Mount: "pki-backend", Role: "sidecar-notes", Names: []string{sidecarName},
		TTL: time.Hour, Usage: vaultpki.ServerUsage,
	}
}

// issue returns certificates that are closed when the test ends.
func issue(t testing.TB, cfg vaultpki.CertificatesConfig) *vaultpki.Certificates {
	t.Helper()
	certs, err := vaultpki.NewCertificates(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(certs.Close)
	return certs
}

func TestEveryNameHasItsCertificateOnReturn(t *testing.T) {
	var log journal
	cfg := edgeConfig(login(t, gatewayRole))
	cfg.Log = log.logger()
	certs := issue(t, cfg)
	var names []string
	for _, status := range certs.Status() {
		names = append(names, status.Name)
		if left := time.Until(status.NotAfter); left < 59*time.Minute || left > time.Hour {
			t.Errorf("certificate for %s ends in %s, expected an hour", status.Name, left)
		}
		if status.Serial == "" || status.NotBefore.After(time.Now()) {
			t.Errorf("status %+v", status)
		}
	}
	if diff := cmp.Diff([]string{doorHost, notesHost}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	issued := log.entries(t, "certificate issued")
	if len(issued) != 2 {
		t.Errorf("log tells of %d issued certificates, expected 2:\n%s", len(issued), log.String())
	}
	if strings.Contains(log.String(), "PRIVATE KEY") || strings.Contains(log.String(), "hvs.") {
		t.Error("the log shows a key or a token")
	}
}

func TestCertificatesAreNotIssued(t *testing.T) {
	tests := map[string]struct {
		change func(*vaultpki.CertificatesConfig)
		reason vaultpki.Reason
		text   string
	}{
		"name that the role does not allow": {
			func(c *vaultpki.CertificatesConfig) { c.Names = []string{doorHost, "evil.example.com"} },
			vaultpki.ReasonDenied, "evil.example.com",
		},
		"role of another process": {
			func(c *vaultpki.CertificatesConfig) { c.Mount, c.Role = "pki-backend", "sidecar-notes" },
			vaultpki.ReasonDenied, "pki-backend/sign/sidecar-notes",
		},
		"mount without a root": {
			func(c *vaultpki.CertificatesConfig) { c.Mount = "secret" }, vaultpki.ReasonDenied, "secret/cert/ca_chain",
		},
		"usage that the role does not give": {
			func(c *vaultpki.CertificatesConfig) { c.Usage, c.Names = vaultpki.ClientUsage, []string{doorHost} },
			vaultpki.ReasonBadCertificate, "not for use as a client",
		},
		"wildcard that the role does not give": {
			func(c *vaultpki.CertificatesConfig) { c.Names = []string{"*.example.com"} },
			vaultpki.ReasonDenied, "pki-edge/sign/sallyport-edge",
		},
		"wildcard of a whole domain": {func(c *vaultpki.CertificatesConfig) { c.Names = []string{"*.com"} }, vaultpki.ReasonConfig, `"*.com"`},
		"wildcard within a name":     {func(c *vaultpki.CertificatesConfig) { c.Names = []string{"a.*.example.com"} }, vaultpki.ReasonConfig, `"a.*.example.com"`},
		"wildcard of a client": {
			func(c *vaultpki.CertificatesConfig) { c.Usage, c.Names = vaultpki.ClientUsage, []string{wildHost} }, vaultpki.ReasonConfig, "without a wildcard",
		},
		"upper case":     {func(c *vaultpki.CertificatesConfig) { c.Names = []string{"Door.example.com"} }, vaultpki.ReasonConfig, "lower-case"},
		"no names":       {func(c *vaultpki.CertificatesConfig) { c.Names = nil }, vaultpki.ReasonConfig, "at least one"},
		"no usage":       {func(c *vaultpki.CertificatesConfig) { c.Usage = 0 }, vaultpki.ReasonConfig, "usage"},
		"life too short": {func(c *vaultpki.CertificatesConfig) { c.TTL = time.Second }, vaultpki.ReasonConfig, "ttl 1s"},
		"no client":      {func(c *vaultpki.CertificatesConfig) { c.Client = nil }, vaultpki.ReasonConfig, "client"},
	}
	client := login(t, gatewayRole)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := edgeConfig(client)
			test.change(&cfg)
			certs, err := vaultpki.NewCertificates(t.Context(), cfg)
			if err == nil {
				certs.Close()
			}
			if vaultpki.ReasonOf(err) != test.reason || err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: %v; expected %s with %q", vaultpki.ReasonOf(err), err, test.reason, test.text)
			}
		})
	}
}

// prepareLies makes PKI roles that sign what no honest one would.
func prepareLies(ctx context.Context) error {
	liar := func(path string, with map[string]any) error {
		body := map[string]any{
			"allow_any_name": true, "enforce_hostnames": false, "require_cn": false, "key_type": "any", "ttl": "1h",
			"server_flag": true, "client_flag": false, "use_csr_common_name": false,
		}
		for name, value := range with {
			body[name] = value
		}
		return vault.Call(ctx, "POST", path, body, nil)
	}
	return errors.Join(
		liar("pki-edge/roles/liar", nil),
		liar("pki-edge/roles/liar-names", map[string]any{"use_csr_sans": false}),
		liar("pki-edge/roles/liar-both", map[string]any{"client_flag": true}),
		liar("pki-edge/roles/liar-neither", map[string]any{"server_flag": false}),
		liar("pki-edge/roles/liar-lease", map[string]any{"generate_lease": true}),
		liar("pki-edge/roles/liar-short", map[string]any{"ttl": "2s", "max_ttl": "2s"}),
		liar("pki-backend/roles/liar", nil),
		liar("pki-backend/roles/both", map[string]any{"client_flag": true}),
		liar("pki-backend/roles/two", map[string]any{"server_flag": false, "client_flag": true, "use_csr_sans": false}),
		liar("pki-backend/roles/wild", nil),
		liar("pki-edge/roles/client", map[string]any{"server_flag": false, "client_flag": true}),
	)
}

// signedBy has the real Vault sign a request in another way than was asked for.
func signedBy(path string, extra map[string]any) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		var asked map[string]any
		decodeBody(r, &asked)
		for name, value := range extra {
			asked[name] = value
		}
		var answer map[string]any
		if err := vault.Call(r.Context(), "PUT", path, asked, &answer); err != nil {
			panic(err)
		}
		encodeBody(w, answer)
	}
}

func TestLyingVaultIsNotBelieved(t *testing.T) {
	const sign, roots = "pki-edge/sign/sallyport-edge", "pki-edge/issuers"
	otherRequest := newRequest(t, doorHost)
	tests := map[string]struct {
		path  string
		fault fault
		text  string
	}{
		"another key":        {sign, signedBy("pki-edge/sign/liar", map[string]any{"csr": otherRequest}), "another key"},
		"another name":       {sign, signedBy("pki-edge/sign/liar-names", map[string]any{"alt_names": "evil.example.com"}), `"evil.example.com"`},
		"one name more":      {sign, signedBy("pki-edge/sign/liar-names", map[string]any{"alt_names": doorHost + ",evil.example.com"}), `"evil.example.com"`},
		"no name":            {sign, signedBy("pki-edge/sign/liar-names", nil), "for the names []"},
		"an address besides": {sign, signedBy("pki-edge/sign/liar-names", map[string]any{"alt_names": doorHost, "ip_sans": "10.0.0.1"}), "not asked for"},
		"both usages":        {sign, signedBy("pki-edge/sign/liar-both", nil), "more uses"},
		"no usage":           {sign, signedBy("pki-edge/sign/liar-neither", nil), "not for use as a server"},
		"another authority":  {sign, signedBy("pki-backend/sign/liar", nil), "root of this mount"},
		"a lease":            {sign, signedBy("pki-edge/sign/liar-lease", nil), "generate_lease=false"},
		"no life left":       {sign, signedBy("pki-edge/sign/liar-short", map[string]any{"ttl": "2s"}), "is valid from"},
		"nothing":            {sign, answer(200, `{}`), "there are none"},
		"an empty answer":    {sign, answer(200, ``), "empty"},
		"a key, not a chain": {sign, answer(200, `{"data":{"certificate":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}`), "expected CERTIFICATE"},
		"a broken chain":     {sign, answer(200, `{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}`), "parsing a certificate"},
		"no issuers":         {roots, answer(200, `{"data":{"keys":[]}}`), "none of 0 certificates is a root"},
		"issuers elsewhere":  {roots, answer(200, `{"data":{"keys":["../x"]}}`), `"../x"`},
		"no list of issuers": {roots, answer(200, ``), "empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			front := newStandIn(t)
			front.on(test.path, test.fault)
			cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
			cfg.Address, cfg.CAFile = front.URL, front.CAFile
			client, err := vaultpki.Login(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			certConfig := edgeConfig(client)
			certConfig.Names = certConfig.Names[:1]
			certs, err := vaultpki.NewCertificates(t.Context(), certConfig)
			if err == nil {
				certs.Close()
			}
			if vaultpki.ReasonOf(err) != vaultpki.ReasonBadCertificate || err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: %v; expected bad_certificate with %q", vaultpki.ReasonOf(err), err, test.text)
			}
			if n := front.called(test.path); n != 1 {
				t.Errorf("%s was called %d times; a lie does not pass by waiting", test.path, n)
			}
		})
	}
}

func TestLostAnswerToASigningCallIsAskedForAgain(t *testing.T) {
	front := newStandIn(t)
	front.on("pki-edge/sign/sallyport-edge", failTwice(dropAfter))
	cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
	cfg.Address, cfg.CAFile = front.URL, front.CAFile
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if certs := issue(t, edgeConfig(client)); len(certs.Status()) != 2 {
		t.Errorf("have %d certificates, expected 2", len(certs.Status()))
	}
}

// TestOutageIsSurvived holds a certificate and a token of 24 seconds each,
// takes Vault away until the renewal of both has failed, and brings it back.
// Handshakes go on all the while.
func TestOutageIsSurvived(t *testing.T) {
	t.Parallel()
	var log journal
	server, cfg := ownVault(t, ownToken+`path "pki/sign/short" { capabilities = ["update"] }`, map[string]any{"token_period": "24s"})
	err := errors.Join(
		server.Call(t.Context(), "POST", "sys/mounts/pki", map[string]any{"type": "pki"}, nil),
		server.Call(t.Context(), "POST", "pki/root/generate/internal", map[string]any{"common_name": "one", "key_type": "ec", "key_bits": 256, "ttl": "24h"}, nil),
		// Without the half minute that Vault dates certificates back.
		server.Call(t.Context(), "POST", "pki/roles/short", map[string]any{
			"allow_any_name": true, "require_cn": false, "key_type": "ec", "key_bits": 256, "max_ttl": "1m", "not_before_duration": "1s",
			"no_store": true, "server_flag": true, "client_flag": false,
		}, nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = log.logger()
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	firstExpiry := client.TokenExpiry()
	var renewals atomic.Int64
	certs := issue(t, vaultpki.CertificatesConfig{
		Client: client, Mount: "pki", Role: "short", Names: []string{"outage.example.com"}, TTL: 24 * time.Second,
		Usage: vaultpki.ServerUsage, Log: log.logger(),
		OnChange: func(change vaultpki.Change) {
			if change.Name == "outage.example.com" {
				renewals.Add(1)
			}
		},
	})
	first := certs.Status()[0]
	inBackground(t, client.Run)
	inBackground(t, certs.Run)

	server.Stop()
	handshakes := 0
	shakeUntil := func(what string, done func() bool) {
		eventually(t, what, func() bool {
			state, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: "outage.example.com", InsecureSkipVerify: true})
			if err != nil {
				t.Fatalf("handshake %d, %s after the start: %v", handshakes, time.Since(first.NotBefore), err)
			}
			if leaf := state.PeerCertificates[0]; time.Now().After(leaf.NotAfter) {
				t.Fatalf("handshake %d with a certificate that expired at %s", handshakes, leaf.NotAfter)
			}
			handshakes++
			return done()
		})
	}
	shakeUntil("both renewals have failed", func() bool {
		return len(log.entries(t, "renewing the certificate did not succeed")) > 0 &&
			len(log.entries(t, "renewing the vault token did not succeed")) > 0
	})
	if err := server.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	shakeUntil("both were renewed", func() bool {
		return renewals.Load() > 0 && client.TokenExpiry().After(firstExpiry)
	})
	if now := certs.Status()[0]; now.Serial == first.Serial || !now.NotAfter.After(first.NotAfter) {
		t.Errorf("status after the renewal %+v, before %+v", now, first)
	}
	renewed := log.entries(t, "certificate renewed")
	if len(renewed) != 1 || renewed[0]["name"] != "outage.example.com" {
		t.Errorf("log tells of renewals %v, expected one", renewed)
	}
	for _, msg := range []string{"renewing the certificate did not succeed", "renewing the vault token did not succeed"} {
		entry := log.entries(t, msg)[0]
		for _, key := range []string{"cause", "attempt", "next_try", "time_left"} {
			if entry[key] == nil {
				t.Errorf("line %q lacks %s: %v", msg, key, entry)
			}
		}
	}
}

func TestMountsRootsArePinned(t *testing.T) {
	certs := issue(t, edgeConfig(login(t, gatewayRole)))
	pool := mountRoots(t, "pki-edge")
	state, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: doorHost, RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range state.PeerCertificates {
		if cert.CheckSignatureFrom(cert) == nil {
			t.Errorf("the root %q is sent along", cert.Subject)
		}
	}
	if _, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: doorHost, RootCAs: mountRoots(t, "pki-backend")}); err == nil {
		t.Error("the edge's certificate chains to the backend's root")
	}
	var unknown x509.HostnameError
	if _, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: "other.example.com", RootCAs: pool}); err == nil || errors.As(err, &unknown) {
		t.Errorf("a client that asks for an unknown name got a certificate: %v", err)
	}
}
