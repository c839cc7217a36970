package vaultpki_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/sallyport/sallyport/vaultpki"
)

// acmeServer is pebble: an ACME server that validates as a public one does, with
// a DNS in which every name leads to this host.
type acmeServer struct {
	*httptest.Server
	listen string // where it validates
	orders atomic.Int32
	issues *x509.CertPool
	trust  *x509.CertPool // for its directory
}

// eab is an account that pebble knows by other means.
const eabKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

// quickenACME is for every pebble of this process: it reads the environment.
func quickenACME() error {
	return errors.Join(
		os.Setenv("PEBBLE_VA_NOSLEEP", "1"),
		os.Setenv("PEBBLE_AUTHZREUSE", "0"), // every order is validated
	)
}

func startACME(t *testing.T, requireEAB bool, life time.Duration) *acmeServer {
	t.Helper()
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	store := db.NewMemoryStore()
	if err := store.AddExternalAccountKeyByID("kid-1", eabKey); err != nil {
		t.Fatal(err)
	}
	if err := store.AddBlockedDomain("blocked.example.com"); err != nil {
		t.Fatal(err)
	}
	s := &acmeServer{listen: freeAddress(t)}
	_, text, _ := net.SplitHostPort(s.listen)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(life.Seconds())}}
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, profiles)
	front := wfe.New(quiet, store, va.New(quiet, port, port, false, startDNS(t, "127.0.0.1"), store), authority, []string{"pebble"}, false, requireEAB, 0, 0)
	handler := front.Handler()
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/order-plz" {
			s.orders.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Server.Close)
	s.Server.Config.ErrorLog = quiet
	s.trust, s.issues = x509.NewCertPool(), x509.NewCertPool()
	s.trust.AddCert(s.Server.Certificate())
	s.issues.AddCert(authority.GetRootCert(0).Cert)
	return s
}

// startDNS runs a resolver that gives one address for every name.
func startDNS(t *testing.T, address string) string {
	t.Helper()
	resolver := freeAddress(t)
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{resolver}, Log: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4(address)
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	eventually(t, "the resolver answers", func() bool {
		conn, err := net.Dial("tcp", resolver)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	t.Cleanup(dns.Shutdown)
	return resolver
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// ordered returns the configuration for certificates of this server.
func (s *acmeServer) ordered(t *testing.T, path string, names ...string) vaultpki.CertificatesConfig {
	t.Helper()
	return vaultpki.CertificatesConfig{
		Client: operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}), Names: names, Usage: vaultpki.ServerUsage,
		ACME: &vaultpki.ACME{
			Directory: s.URL + wfe.DirectoryPath, Email: "ops@example.com", AgreeToTerms: true, Roots: s.trust,
			Listen: s.listen, KVMount: "secret", KVPath: path,
		},
	}
}

// serve answers at an address as an edge does, until the test ends.
func serve(t *testing.T, address string, edge *tls.Config) {
	t.Helper()
	listener, err := tls.Listen("tcp", address, edge)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

func TestEdgeCertificatesByACME(t *testing.T) {
	s, path := startACME(t, false, 24*time.Hour), freshPath()
	var log journal
	cfg := s.ordered(t, path, doorHost, notesHost)
	cfg.Log = log.logger()
	first := issue(t, cfg)
	inBackground(t, first.Run)
	serve(t, s.listen, first.EdgeTLS()) // from now on validations arrive at the edge itself
	shown := func(certs *vaultpki.Certificates, host string) string {
		t.Helper()
		state, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: host, RootCAs: s.issues, NextProtos: []string{"h2"}})
		if err != nil || state.NegotiatedProtocol != "h2" {
			t.Fatalf("%s: protocol %q, %v", host, state.NegotiatedProtocol, err)
		}
		return vaultSerial(state.PeerCertificates[0])
	}
	door, notes := shown(first, doorHost), shown(first, notesHost)
	status := first.Status()[0]
	if left := time.Until(status.Next); left < 11*time.Hour || left > 14*time.Hour || !strings.HasPrefix(status.Issuer, "CN=Pebble") {
		t.Errorf("status %+v, expected a renewal at half of a day", status)
	}
	if err := first.Renew(t.Context(), doorHost); err != nil {
		t.Fatal(err)
	}
	renewed := shown(first, doorHost)
	if renewed == door || shown(first, notesHost) != notes {
		t.Error("the renewal did not replace just the one certificate")
	}

	// Another replica takes what is there, and needs no ACME server for it.
	s.Server.Close()
	other := s.ordered(t, path, doorHost, notesHost)
	second := issue(t, other)
	if shown(second, doorHost) != renewed || shown(second, notesHost) != notes {
		t.Error("the second replica shows other certificates")
	}
	err := second.Renew(t.Context(), doorHost)
	if vaultpki.ReasonOf(err) != vaultpki.ReasonUnreachable {
		t.Errorf("renewing without a server: %v", err)
	}
	if shown(second, doorHost) != renewed {
		t.Error("a failed renewal replaced the certificate")
	}
	if strings.Contains(log.String(), "PRIVATE KEY") || strings.Contains(log.String(), vault.RootToken) {
		t.Error("the log shows a key or a token")
	}
}

func TestOneReplicaRenewsForAll(t *testing.T) {
	t.Parallel()
	s, path := startACME(t, false, 12*time.Second), freshPath()
	var replicas [2]*vaultpki.Certificates
	for i := range replicas {
		replicas[i] = issue(t, s.ordered(t, path, doorHost))
		inBackground(t, replicas[i].Run)
	}
	before := replicas[0].Status()[0].Serial
	serve(t, s.listen, replicas[0].EdgeTLS())
	eventually(t, "both show the next certificate", func() bool {
		now := replicas[0].Status()[0].Serial
		return now != before && replicas[1].Status()[0].Serial == now
	})
}

func TestEdgeCertificatesByHTTPChallenge(t *testing.T) {
	s := startACME(t, false, time.Hour)
	cfg := s.ordered(t, freshPath(), doorHost)
	cfg.ACME.HTTP = true
	certs := issue(t, cfg)
	if protocols := certs.EdgeTLS().NextProtos; strings.Contains(strings.Join(protocols, " "), "acme") {
		t.Errorf("the edge speaks %q", protocols)
	}
	if err := certs.SetNames(t.Context(), []string{doorHost, notesHost}); err != nil {
		t.Fatal(err)
	}
	if _, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: notesHost, RootCAs: s.issues}); err != nil {
		t.Error(err)
	}
}

func TestACMEOrdersAreRefused(t *testing.T) {
	s := startACME(t, true, time.Hour)
	tests := map[string]struct {
		change func(*vaultpki.CertificatesConfig)
		reason vaultpki.Reason
		text   string
	}{
		"bound account":    {func(c *vaultpki.CertificatesConfig) { c.ACME.KeyID, c.ACME.MACKey = "kid-1", eabKey }, vaultpki.ReasonUnknown, ""},
		"no bound account": {func(*vaultpki.CertificatesConfig) {}, vaultpki.ReasonDenied, "externalAccountRequired"},
		"wrong key": {
			func(c *vaultpki.CertificatesConfig) { c.ACME.KeyID, c.ACME.MACKey = "kid-1", strings.ToUpper(eabKey) },
			vaultpki.ReasonDenied, "urn:ietf:params:acme:error:un",
		},
		"name that the server refuses": {
			func(c *vaultpki.CertificatesConfig) {
				c.ACME.KeyID, c.ACME.MACKey, c.Names = "kid-1", eabKey, []string{"blocked.example.com"}
			}, vaultpki.ReasonDenied, "rejectedIdentifier",
		},
		"validation that does not arrive": {
			func(c *vaultpki.CertificatesConfig) {
				c.ACME.KeyID, c.ACME.MACKey, c.ACME.Listen = "kid-1", eabKey, freeAddress(t)
			}, vaultpki.ReasonDenied, "Failed to connect",
		},
		"directory of another authority": {
			func(c *vaultpki.CertificatesConfig) { c.ACME.Roots = x509.NewCertPool() }, vaultpki.ReasonUnreachable, "unknown authority",
		},
		"no directory": {
			func(c *vaultpki.CertificatesConfig) { c.ACME.Directory = s.URL + "/nothing" }, vaultpki.ReasonUnreachable, "/nothing",
		},
		"state that may not be written": {
			func(c *vaultpki.CertificatesConfig) { c.Client = login(t, sidecarRole) }, vaultpki.ReasonDenied, "permission denied",
		},

		"plain http":      {func(c *vaultpki.CertificatesConfig) { c.ACME.Directory = "http://127.0.0.1/dir" }, vaultpki.ReasonConfig, "https URL"},
		"no email":        {func(c *vaultpki.CertificatesConfig) { c.ACME.Email = "" }, vaultpki.ReasonConfig, "email"},
		"terms":           {func(c *vaultpki.CertificatesConfig) { c.ACME.AgreeToTerms = false }, vaultpki.ReasonConfig, "terms"},
		"half a binding":  {func(c *vaultpki.CertificatesConfig) { c.ACME.KeyID = "x" }, vaultpki.ReasonConfig, "mac key"},
		"no port":         {func(c *vaultpki.CertificatesConfig) { c.ACME.Listen = "127.0.0.1" }, vaultpki.ReasonConfig, "listen"},
		"a PKI role too":  {func(c *vaultpki.CertificatesConfig) { c.Mount = "pki-edge" }, vaultpki.ReasonConfig, "no mount"},
		"SPIFFE ID":       {func(c *vaultpki.CertificatesConfig) { c.Names = []string{"spiffe://example.com/a"} }, vaultpki.ReasonConfig, "DNS names"},
		"climbing path":   {func(c *vaultpki.CertificatesConfig) { c.ACME.KVPath = "../x" }, vaultpki.ReasonConfig, "path"},
		"for clients":     {func(c *vaultpki.CertificatesConfig) { c.Usage = vaultpki.ClientUsage }, vaultpki.ReasonConfig, "server usage"},
		"with revocation": {func(c *vaultpki.CertificatesConfig) { c.RevokeOnStop = true }, vaultpki.ReasonConfig, "revocation"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := s.ordered(t, freshPath(), doorHost)
			test.change(&cfg)
			certs, err := vaultpki.NewCertificates(t.Context(), cfg)
			if err == nil {
				certs.Close()
			}
			if vaultpki.ReasonOf(err) != test.reason || (test.text == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), test.text)) {
				t.Errorf("%s: %v; expected %s with %q", vaultpki.ReasonOf(err), err, test.reason, test.text)
			}
			if err != nil && strings.Contains(err.Error(), eabKey) {
				t.Errorf("the error shows the key of the binding: %v", err)
			}
		})
	}
}

// TestACMEOrdersHaveAPace: public servers count orders, and failed ones too.
func TestACMEOrdersHaveAPace(t *testing.T) {
	s := startACME(t, false, 24*time.Hour)
	certs := issue(t, s.ordered(t, freshPath(), doorHost))
	if err := certs.Renew(t.Context(), doorHost); err != nil {
		t.Fatal(err)
	}
	orders := s.orders.Load()
	var soon *vaultpki.Error
	if err := certs.Renew(t.Context(), ""); !errors.Is(err, vaultpki.ErrTooSoon) || !errors.As(err, &soon) || !strings.HasPrefix(soon.Hint, "wait 59m") && !strings.HasPrefix(soon.Hint, "wait 1h") {
		t.Errorf("at once again: %v, hint %+v; expected about an hour", err, soon)
	}
	if n := s.orders.Load(); n != orders {
		t.Errorf("%d orders for a renewal that was refused", n-orders)
	}

	const blocked = "blocked.example.com"
	wanted := []string{doorHost, blocked, notesHost}
	first := certs.SetNames(t.Context(), wanted)
	if vaultpki.ReasonOf(first) != vaultpki.ReasonDenied || !strings.Contains(first.Error(), blocked) {
		t.Fatalf("a name that the server refuses: %v", first)
	}
	orders = s.orders.Load()
	for range 3 {
		again := certs.SetNames(t.Context(), wanted)
		if vaultpki.ReasonOf(again) != vaultpki.ReasonDenied || !strings.HasPrefix(again.Error(), first.Error()+"; it is not tried again before 20") {
			t.Errorf("again: %v; expected %v and when it is tried again", again, first)
		}
	}
	if n := s.orders.Load(); n != orders {
		t.Errorf("%d more orders", n-orders)
	}
	if err := certs.SetNames(t.Context(), []string{doorHost, notesHost}); err != nil {
		t.Error(err)
	}
	if n := s.orders.Load(); n != orders {
		t.Errorf("%d orders for a name whose certificate is in the storage", n-orders)
	}
}

// TestPlantedCertificateIsNotServed: who may write to the storage is no authority.
func TestPlantedCertificateIsNotServed(t *testing.T) {
	s, path := startACME(t, false, 24*time.Hour), freshPath()
	before := issue(t, s.ordered(t, path, doorHost)).Status()[0]
	storage := vaultpki.NewKVStorage(operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}), "secret", path)
	for name, change := range map[string]func(*x509.Certificate){
		"for clients":      func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"an authority":     func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
		"another name":     func(c *x509.Certificate) { c.DNSNames = []string{notesHost} },
		"signed by itself": func(*x509.Certificate) {},
	} {
		t.Run(name, func(t *testing.T) {
			template := &x509.Certificate{
				SerialNumber: big.NewInt(7), DNSNames: []string{doorHost}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
				NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			}
			change(template)
			plant(t, storage, template)
			var log journal
			cfg := s.ordered(t, path, doorHost)
			cfg.Log = log.logger()
			now := issue(t, cfg).Status()[0]
			if !strings.HasPrefix(now.Issuer, "CN=Pebble") || now.Serial == before.Serial {
				t.Errorf("in use is %+v, expected another of the server's", now)
			}
			if len(log.entries(t, "certificate in the storage is of no use: ordering another")) != 1 {
				t.Errorf("no line about it:\n%s", log.String())
			}
		})
	}
}

// plant puts a self-signed certificate in the place of those in the storage.
func plant(t *testing.T, storage certmagic.Storage, template *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := storage.List(t.Context(), "certificates", true)
	if err != nil {
		t.Fatal(err)
	}
	planted := 0
	for _, name := range keys {
		block := &pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}
		switch filepath.Ext(name) {
		case ".crt":
			block = &pem.Block{Type: "CERTIFICATE", Bytes: cert}
		case ".key":
		default:
			continue
		}
		planted++
		if err := storage.Store(t.Context(), name, pem.EncodeToMemory(block)); err != nil {
			t.Fatal(err)
		}
	}
	if planted != 2 {
		t.Fatalf("planted %d files among %q", planted, keys)
	}
}

// TestValidationsOfStrangersAreRefusedUnseen: a stranger can open any number of
// handshakes, for any name.
func TestValidationsOfStrangersAreRefusedUnseen(t *testing.T) {
	front := newStandIn(t)
	s, path := startACME(t, false, time.Hour), freshPath()
	cfg := s.ordered(t, path, doorHost, notesHost)
	cfg.Client = operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	edge := issue(t, cfg).EdgeTLS()
	validate := func(host string) error {
		_, err := shake(edge, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}})
		return err
	}
	for range 20 {
		if err := validate("x.stranger.example"); err == nil {
			t.Error("a stranger's name was answered")
		}
	}
	if path, n := front.calledWith("stranger"); n != 0 {
		t.Errorf("%d calls of %s for a name that is not ours", n, path)
	}

	// One of our names that Vault does not answer for holds up no other.
	asked, answered := make(chan struct{}), make(chan struct{})
	door, _ := front.calledWith("/data/"+path+"/acme/", doorHost) // by its order
	notes, before := front.calledWith("/data/"+path+"/acme/", notesHost)
	front.on(door, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		close(asked)
		<-answered
		next.ServeHTTP(w, r)
	})
	done := make(chan error)
	go func() { done <- validate(doorHost) }()
	<-asked
	for range 3 {
		if err := validate(notesHost); err == nil {
			t.Error("there is no order, and the handshake succeeded")
		}
	}
	close(answered)
	if err := <-done; err == nil {
		t.Error("there is no order, and the handshake succeeded")
	}
	if n := front.called(notes) - before; n == 0 {
		t.Error("the storage was not looked into for a name of ours")
	}
}

// Whoever says that he validates is answered as any stranger.
func TestFalseValidationsWriteNoLogLine(t *testing.T) {
	s := startACME(t, false, time.Hour)
	var log journal
	cfg := s.ordered(t, freshPath(), doorHost)
	cfg.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	edge := issue(t, cfg).EdgeTLS()
	before := log.String()
	for _, host := range []string{doorHost, "evil.example.com", doorHost} {
		if _, err := shake(edge, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}); err == nil {
			t.Errorf("%s: the handshake succeeded", host)
		}
	}
	if after := log.String(); after != before {
		t.Errorf("the log grew by:\n%s", strings.TrimPrefix(after, before))
	}
}

// TestVaultsOwnACMEDirectory orders from a PKI mount. Vault validates at port
// 443, which not everybody may listen on: whoever may not sees the refusal.
func TestVaultsOwnACMEDirectory(t *testing.T) {
	newMount(t, "pki-acme")
	addRoot(t, "pki-acme", "one")
	write(t, "sys/mounts/pki-acme/tune", map[string]any{
		"passthrough_request_headers": []string{"If-Modified-Since"},
		"allowed_response_headers":    []string{"Last-Modified", "Location", "Replay-Nonce", "Link"},
	})
	write(t, "pki-acme/config/cluster", map[string]any{"path": vault.Address + "/v1/pki-acme"})
	write(t, "pki-acme/roles/acme", map[string]any{ // Vault demands a role that stores
		"allow_any_name": true, "key_type": "ec", "key_bits": 256, "max_ttl": "24h", "server_flag": true, "client_flag": false,
	})
	const address = "127.0.77.1"
	write(t, "pki-acme/config/acme", map[string]any{
		"enabled": true, "default_directory_policy": "role:acme", "allowed_roles": []string{"acme"}, "eab_policy": "not-required",
		"dns_resolver": startDNS(t, address),
	})
	may := false
	listener, err := net.Listen("tcp", address+":443")
	if err == nil {
		may = true
		listener.Close()
	}
	cfg := vaultpki.CertificatesConfig{
		Client: operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}), Names: []string{doorHost}, Usage: vaultpki.ServerUsage,
		ACME: &vaultpki.ACME{
			Directory: vault.Address + "/v1/pki-acme/acme/directory", Email: "ops@example.com", AgreeToTerms: true, Roots: trustOf(t, vault.CAFile).RootCAs,
			Listen: address + ":443", KVMount: "secret", KVPath: freshPath(),
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	certs, err := vaultpki.NewCertificates(ctx, cfg)
	if err != nil && !may {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer certs.Close()
	if _, err := shake(certs.EdgeTLS(), &tls.Config{ServerName: doorHost, RootCAs: mountRoots(t, "pki-acme")}); err != nil {
		t.Error(err)
	}
}
