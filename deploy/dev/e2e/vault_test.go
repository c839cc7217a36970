package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
)

// askVault makes one call with the demo's root token.
func (d *demo) askVault(t *testing.T, method, path string, in, out any) {
	t.Helper()
	client, err := localhost.Client(filepath.Join(d.state, "vault", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, d.vault()+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", d.rootToken(t))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("asking Vault for %s: status %s", path, resp.Status)
	}
	if out == nil {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatalf("asking Vault for %s: %v", path, err)
	}
}

func (d *demo) rootToken(t *testing.T) string {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(d.state, "vault", "root-token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}

// issue gets a certificate of any name, for clients or for servers.
func (d *demo) issue(t *testing.T, mount, name string, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	d.askVault(t, http.MethodPut, mount+"/roles/e2e", map[string]any{
		"allow_any_name": true,
		"client_flag":    usage == x509.ExtKeyUsageClientAuth, "server_flag": usage == x509.ExtKeyUsageServerAuth,
		"key_type": "ec", "key_bits": 256, "max_ttl": "1h", "not_before_duration": "1s",
	}, nil)
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
			Key         string   `json:"private_key"`
		} `json:"data"`
	}
	d.askVault(t, http.MethodPut, mount+"/issue/e2e", map[string]any{"common_name": name, "ttl": "1h"}, &answer)
	chain := strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")
	pair, err := tls.X509KeyPair([]byte(chain), []byte(answer.Data.Key))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// backendCA is what the gateway trusts sidecars by.
func (d *demo) backendCA(t *testing.T) *x509.CertPool {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	d.askVault(t, http.MethodGet, "pki-backend/cert/ca", nil, &answer)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(answer.Data.Certificate)) {
		t.Fatal("Vault's backend CA is no certificate")
	}
	return pool
}

// vaultRestart: Vault goes away and comes back, and nobody notices.
func vaultRestart(t *testing.T) {
	d := shared.demo
	whileAsking(t, func() {
		if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if err := d.waitFor("vault: restarted and unsealed", time.Minute); err != nil {
			t.Fatal(err)
		}
	})
	bob := signedIn(t, "bob", d.headers()+"/") // a sign-on works too
	bob.sees("bob@example.com")
}

// whileAsking does something while alice uses a tool, and fails if one of her
// requests does.
func whileAsking(t *testing.T, do func()) {
	t.Helper()
	d := shared.demo
	alice := signedIn(t, "alice", d.headers()+"/")
	cookies := alice.cookies(d.headers() + "/")
	stop := make(chan struct{})
	var asked, wrong int
	var asking sync.WaitGroup
	asking.Go(func() {
		pause := time.NewTicker(20 * time.Millisecond)
		defer pause.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pause.C:
			}
			asked++
			if status, body := get(t, d.headers()+"/json", cookies); status != http.StatusOK {
				wrong++
				t.Errorf("at %s: status %d: %s", time.Now().UTC().Format(time.RFC3339), status, body)
			}
		}
	})
	defer func() { // also when do has given up
		close(stop)
		asking.Wait()
		if asked < 10 || wrong > 0 {
			t.Errorf("%d requests, %d of them failed; want at least 10 and none", asked, wrong)
		}
	}()
	do()
}

// servers are the listeners whose certificates are renewed, with their names.
func (d *demo) servers() map[string]string {
	return map[string]string{
		"door.sallyport.localhost":           d.loopback(0),
		"headers.sallyport.localhost":        d.loopback(0),
		"headers.backend.sallyport.internal": d.loopback(4),
		"notes.backend.sallyport.internal":   d.loopback(7),
	}
}

// serial returns the serial number of the certificate that the listener shows. It
// is read before the listener asks for ours, so none is needed.
func serial(t *testing.T, address, name string) (string, error) {
	t.Helper()
	var shown string
	config := &tls.Config{
		ServerName: name, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // only the number is looked at
		VerifyConnection: func(state tls.ConnectionState) error {
			shown = state.PeerCertificates[0].SerialNumber.String()
			return nil
		},
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
	}
	if shown == "" {
		return "", fmt.Errorf("asking %s for the certificate of %s: %w", address, name, err)
	}
	return shown, nil
}

// firstSerials are the certificates that the processes began with. They are read
// early: the renewal is waited for at the end.
func firstSerials(t *testing.T) {
	for name, address := range shared.demo.servers() {
		number, err := serial(t, address, name)
		if err != nil {
			t.Fatal(err)
		}
		shared.serials[name] = number
	}
}

// renewal: certificates that live five minutes are replaced well before, by
// processes whose Vault was restarted meanwhile, and connections go on.
func renewal(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.headers()+"/")
	cookies := alice.cookies(d.headers() + "/")
	for name, address := range d.servers() {
		eventually(t, "a new certificate of "+name, 5*time.Minute, func() error {
			number, err := serial(t, address, name)
			if err != nil {
				return err
			}
			if number == shared.serials[name] {
				return fmt.Errorf("it still has %s", number)
			}
			return nil
		})
	}
	if status, body := get(t, d.headers()+"/json", cookies); status != http.StatusOK {
		t.Errorf("with the new certificates: status %d: %s", status, body)
	}
}
