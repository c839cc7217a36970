package vaultpki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

func TestRenewalOnDemand(t *testing.T) {
	front := newStandIn(t)
	newMount(t, "pki-demand")
	addRoot(t, "pki-demand", "one")
	const path = "pki-demand/sign/server"
	cfg := onMount(t, "pki-demand", vaultpki.ServerUsage, "a.example.com")
	cfg.Names = append(cfg.Names, "b.example.com", "c.example.com")
	cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	cfg.TTL = 2 * time.Hour
	var mu sync.Mutex
	var told []string
	cfg.OnChange = func(change vaultpki.Change) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, change.Name)
	}
	certs := issue(t, cfg)
	inBackground(t, certs.Run)
	before := certs.Status()

	if err := certs.Renew(t.Context(), "b.example.com"); err != nil {
		t.Fatal(err)
	}
	after := certs.Status()
	if after[0] != before[0] || after[2] != before[2] || after[1].Serial == before[1].Serial || after[1].Renewals != 1 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	state, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: "b.example.com", RootCAs: mountRoots(t, "pki-demand")})
	if err != nil || vaultSerial(state.PeerCertificates[0]) != after[1].Serial {
		t.Errorf("the handshake shows %v, %v; expected %s", state.PeerCertificates, err, after[1].Serial)
	}

	calls := front.called(path)
	if err := certs.Renew(t.Context(), "b.example.com"); !errors.Is(err, vaultpki.ErrTooSoon) || vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
		t.Errorf("at once again: %v", err)
	}
	if err := certs.Renew(t.Context(), "d.example.com"); !errors.Is(err, vaultpki.ErrUnknownName) || !strings.Contains(err.Error(), "d.example.com") {
		t.Errorf("unknown name: %v", err)
	}
	if n := front.called(path); n != calls {
		t.Errorf("%d calls for renewals that were refused", n-calls)
	}

	front.on(path, answer(503, `{"errors":["Vault is sealed"]}`))
	err = certs.Renew(t.Context(), "a.example.com")
	if vaultpki.ReasonOf(err) != vaultpki.ReasonSealed || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("vault is sealed: %v", err)
	}
	if now := certs.Status()[0]; now.Serial != before[0].Serial || now.Failures != 1 || now.Failure.Attempts != 0 || now.Next != before[0].Next {
		t.Errorf("after a failure %+v, before %+v", now, before[0])
	}
	front.on(path, nil)
	if err := certs.Renew(t.Context(), ""); !errors.Is(err, vaultpki.ErrTooSoon) {
		t.Errorf("all of them, two of which were just tried: %v", err)
	}
	if now := certs.Status()[2]; now.Serial == before[2].Serial {
		t.Error("the one that was not just tried stayed as it is")
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(told, " ") != "b.example.com c.example.com" {
		t.Errorf("OnChange told of %q", told)
	}
}

// vaultSerial writes a serial number as Vault does.
func vaultSerial(cert *x509.Certificate) string {
	var octets []string
	for _, octet := range cert.SerialNumber.Bytes() {
		octets = append(octets, fmt.Sprintf("%02x", octet))
	}
	return strings.Join(octets, ":")
}

func TestManyWhoAskRenewOnce(t *testing.T) {
	newMount(t, "pki-crowd")
	addRoot(t, "pki-crowd", "one")
	certs := issue(t, onMount(t, "pki-crowd", vaultpki.ServerUsage, sidecarName))
	var group sync.WaitGroup
	var mu sync.Mutex
	renewed := 0
	for range 20 {
		group.Go(func() {
			err := certs.Renew(t.Context(), sidecarName)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				renewed++
			case !errors.Is(err, vaultpki.ErrTooSoon):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := certs.Status()[0].Renewals; renewed != 1 || got != 1 {
		t.Errorf("%d of 20 renewed it, the status says %d", renewed, got)
	}
}

func TestClosedCertificatesAreLeftAlone(t *testing.T) {
	certs := issue(t, sidecarConfig(login(t, sidecarRole)))
	certs.Close()
	if err := certs.Renew(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Renew: %v", err)
	}
	if err := certs.SetNames(t.Context(), []string{sidecarName}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("SetNames: %v", err)
	}
}

func TestCloseEndsWhatWaitsForVault(t *testing.T) {
	front := newStandIn(t)
	newMount(t, "pki-slow")
	addRoot(t, "pki-slow", "one")
	cfg := onMount(t, "pki-slow", vaultpki.ServerUsage, sidecarName)
	cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	certs := issue(t, cfg)
	arrived := make(chan struct{})
	front.on("pki-slow/sign/server", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is noticed
		close(arrived)
		<-r.Context().Done()
	})
	done := make(chan error)
	go func() { done <- certs.Renew(t.Context(), "") }()
	<-arrived
	certs.Close()
	if err := <-done; err == nil {
		t.Error("a renewal that Vault never answered succeeded")
	}
	if len(certs.Status()) != 1 {
		t.Error("the certificate is gone")
	}
}

func TestDroppingANameEndsItsRenewal(t *testing.T) {
	front := newStandIn(t)
	newMount(t, "pki-dropped")
	addRoot(t, "pki-dropped", "one")
	cfg := onMount(t, "pki-dropped", vaultpki.ServerUsage, sidecarName)
	cfg.Names = append(cfg.Names, doorHost)
	cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	certs := issue(t, cfg)
	arrived := make(chan struct{})
	front.on("pki-dropped/sign/server", func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		close(arrived)
		silent(w, r, vault)
	})
	done := make(chan error)
	go func() { done <- certs.Renew(t.Context(), sidecarName) }()
	<-arrived
	if err := certs.SetNames(t.Context(), []string{doorHost}); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the renewal ended with %v, expected the drop to end it", err)
	}
	if status := certs.Status(); len(status) != 1 || status[0].Name != doorHost {
		t.Errorf("after the drop: %+v", status)
	}
}

func TestNamesOfALiveEdgeChange(t *testing.T) {
	var log journal
	cfg := edgeConfig(login(t, gatewayRole))
	cfg.Names, cfg.Log = []string{doorHost}, log.logger()
	certs := issue(t, cfg)
	inBackground(t, certs.Run)
	edge, door := certs.EdgeTLS(), certs.Status()[0]
	serves := func(host string) bool {
		_, err := shake(edge, &tls.Config{ServerName: host, RootCAs: mountRoots(t, "pki-edge")})
		return err == nil
	}
	if serves(notesHost) {
		t.Error("a name without a certificate is served")
	}
	if err := certs.SetNames(t.Context(), []string{notesHost, doorHost}); err != nil {
		t.Fatal(err)
	}
	if !serves(notesHost) || !serves(doorHost) || certs.Status()[1] != door {
		t.Errorf("after adding a name: %+v", certs.Status())
	}
	for _, bad := range [][]string{nil, {doorHost, doorHost}, {"*.com"}, {doorHost, "spiffe://example.com/x"}} {
		if err := certs.SetNames(t.Context(), bad); vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("names %q: %v", bad, err)
		}
	}
	err := certs.SetNames(t.Context(), []string{doorHost, "evil.example.com"})
	if vaultpki.ReasonOf(err) != vaultpki.ReasonDenied || !strings.Contains(err.Error(), "evil.example.com") {
		t.Errorf("name that the role does not allow: %v", err)
	}
	if !serves(notesHost) || serves("evil.example.com") {
		t.Error("an error changed the names")
	}
	if err := certs.SetNames(t.Context(), []string{doorHost}); err != nil {
		t.Fatal(err)
	}
	if serves(notesHost) || !serves(doorHost) || len(certs.Status()) != 1 || certs.Status()[0] != door {
		t.Errorf("after dropping a name: %+v", certs.Status())
	}
	if n := len(log.entries(t, "certificate issued")); n != 2 {
		t.Errorf("%d certificates were issued, expected 2", n)
	}
}

// revoked asks Vault for the state of a certificate that it stores.
func revoked(t *testing.T, mount, serial string) bool {
	t.Helper()
	var answer struct {
		Data struct {
			RevocationTime int64 `json:"revocation_time"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", mount+"/cert/"+serial, nil, &answer); err != nil {
		return false // it is stored with its revocation
	}
	return answer.Data.RevocationTime > 0
}

func TestCertificatesAreRevokedOnStop(t *testing.T) {
	newMount(t, "pki-revoked") // its roles store no certificate
	addRoot(t, "pki-revoked", "one")
	for _, usage := range []vaultpki.Usage{vaultpki.ServerUsage, vaultpki.ClientUsage} {
		for _, asked := range []bool{false, true} {
			cfg := onMount(t, "pki-revoked", usage, sidecarName)
			cfg.RevokeOnStop = asked
			certs := issue(t, cfg)
			serial := certs.Status()[0].Serial
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- certs.Run(ctx) }()
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := revoked(t, "pki-revoked", serial); got != asked {
				t.Errorf("%s, revoke on stop %t: revoked %t", usage, asked, got)
			}
		}
	}
}

func TestRevocationThatFailsIsToldAndEndsTheRun(t *testing.T) {
	var log journal
	cfg := sidecarConfig(login(t, sidecarRole)) // its policy has no revocation
	cfg.RevokeOnStop, cfg.Log = true, log.logger()
	certs := issue(t, cfg)
	if len(log.entries(t, "certificates will not be revoked on stop, or so it seems")) != 1 {
		t.Errorf("nothing at the start says that it will fail:\n%s", log.String())
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := certs.Run(ctx); err != nil {
		t.Error(err)
	}
	if failed := log.entries(t, "revoking the certificate did not succeed"); len(failed) != 1 || failed[0]["serial"] != certs.Status()[0].Serial {
		t.Errorf("log tells %v", failed)
	}
}

func TestVaultThatHangsDelaysNoStop(t *testing.T) {
	t.Parallel()
	front := newStandIn(t)
	newMount(t, "pki-hanging")
	addRoot(t, "pki-hanging", "one")
	cfg := onMount(t, "pki-hanging", vaultpki.ServerUsage, sidecarName)
	cfg.Client, cfg.RevokeOnStop = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile}), true
	certs := issue(t, cfg)
	front.on("pki-hanging/revoke", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // for as long as somebody waits
		panic(http.ErrAbortHandler)
	})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := certs.Run(ctx); err != nil { // it would not return if nobody gave up
		t.Error(err)
	}
	if n := front.called("pki-hanging/revoke"); n != 1 {
		t.Errorf("revocation was asked for %d times, expected once", n)
	}
}

func TestSPIFFEIDsNamePeers(t *testing.T) {
	newMount(t, "pki-spiffe")
	addRoot(t, "pki-spiffe", "one")
	const server, client = "spiffe://example.com/sidecar/Notes", "spiffe://example.com/gateway"
	sidecar := issue(t, onMount(t, "pki-spiffe", vaultpki.ServerUsage, server))
	gateway := issue(t, onMount(t, "pki-spiffe", vaultpki.ClientUsage, client))
	clientState, serverState, err := shakeBoth(sidecar.GuardTLS([]string{client}), gateway.DialTLS(server))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := vaultpki.PeerName(serverState); err != nil || name != client {
		t.Errorf("the sidecar sees %q, %v", name, err)
	}
	leaf := clientState.PeerCertificates[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != server || len(leaf.DNSNames) != 0 || leaf.Subject.CommonName != "" {
		t.Errorf("certificate for %q, %q and %q", leaf.URIs, leaf.DNSNames, leaf.Subject)
	}
	for peer, allowed := range map[string]string{
		strings.ToLower(server): client, "example.com": client, server: "spiffe://example.com/other",
	} {
		if _, err := shake(sidecar.GuardTLS([]string{allowed}), gateway.DialTLS(peer)); err == nil {
			t.Errorf("dialling %q, letting in %q: accepted", peer, allowed)
		}
	}
	serial := sidecar.Status()[0].Serial
	if err := sidecar.Renew(t.Context(), server); err != nil || sidecar.Status()[0].Serial == serial {
		t.Errorf("renewing by SPIFFE ID: %v", err)
	}
	if _, err := shake(sidecar.GuardTLS([]string{client}), gateway.DialTLS(server)); err != nil {
		t.Errorf("after a renewal: %v", err)
	}
	cfg := onMount(t, "pki-spiffe", vaultpki.ServerUsage, "spiffe://elsewhere.example/x")
	if certs, err := vaultpki.NewCertificates(t.Context(), cfg); vaultpki.ReasonOf(err) != vaultpki.ReasonDenied {
		certs.Close()
		t.Errorf("SPIFFE ID that the role does not allow: %v", err)
	}
}

func TestAWildcardStandsForOneLabelAndWhoHasNoName(t *testing.T) {
	cfg := edgeConfig(login(t, gatewayRole))
	cfg.Names = []string{doorHost, wildHost}
	certs := issue(t, cfg)
	roots := mountRoots(t, "pki-edge")
	shown := func(name string) string {
		state, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: name, RootCAs: roots})
		if err != nil {
			return ""
		}
		return state.PeerCertificates[0].DNSNames[0]
	}
	check := func(want map[string]string) {
		t.Helper()
		for name, expected := range want {
			if got := shown(name); got != expected {
				t.Errorf("%s is shown the certificate for %q, expected %q", name, got, expected)
			}
		}
	}
	check(map[string]string{
		doorHost: doorHost, "a.apps.example.com": wildHost, "own.apps.example.com": wildHost,
		"apps.example.com": "", "a.b.apps.example.com": "", "example.com": "",
	})
	// A name of its own changes nothing for the wildcard, neither when it comes nor
	// when it goes.
	if err := certs.SetNames(t.Context(), []string{doorHost, wildHost, ownHost}); err != nil {
		t.Fatal(err)
	}
	check(map[string]string{"a.apps.example.com": wildHost, ownHost: ownHost})
	for i, name := range []string{doorHost, wildHost, ownHost} {
		if status := certs.Status(); len(status) != 3 || status[i].Name != name {
			t.Errorf("status %+v, expected of %s at %d", status, name, i)
		}
	}
	if err := certs.SetNames(t.Context(), []string{doorHost, wildHost}); err != nil {
		t.Fatal(err)
	}
	check(map[string]string{"a.apps.example.com": wildHost, ownHost: wildHost, doorHost: doorHost})
}
