package main

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// testCollector has a collector that lets in the gateway alone, by its certificate of
// Vault. The gateway is killed under load and started again, and the collector is away
// meanwhile: it has every record of the file in the end.
func testCollector(t *testing.T, s *stand) {
	shown := httptest.NewUnstartedServer(nil)
	shown.StartTLS() // for its certificate
	defer shown.Close()
	collector := siem{tls: &tls.Config{
		Certificates: shown.TLS.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.roots(t, "pki-backend"), MinVersion: tls.VersionTLS12,
	}}
	collector.start(t)
	dir := t.TempDir()
	trust := writeFile(t, dir, "siem.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate().Raw})))
	https, admin := free(t), free(t)
	config := writeFile(t, dir, "gateway.yaml", gatewayYAML(https, admin, fmt.Sprintf(`access_log:
  file: %[1]s/access.log
  sinks:
    - name: siem
      syslog: {address: %[2]q, ca_file: %[3]s, server_name: example.com, client_certificate: true}
      spool: {directory: %[1]s/spool}
`, dir, collector.address, trust)))
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: doorHost, MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	load := func(requests int) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range requests / 4 {
					if answer, err := client.Get("https://" + https + "/saml/metadata"); err == nil { // or the gateway was killed
						answer.Body.Close()
					}
				}
			})
		}
		wg.Wait()
	}
	for _, last := range []bool{false, true} {
		p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
		p.ready(t, admin)
		load(100)
		if last {
			p.signal(t, syscall.SIGTERM)
			if code := p.wait(t); code != exitOK {
				t.Errorf("exit code %d, expected 0\n%s", code, p.err.String())
			}
			break
		}
		collector.stop()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			load(40_000) // which a kill cuts short
		}()
		until(t, "there are records that wait", func() bool {
			status, body, err := get(admin, "/readyz")
			return err == nil && status == http.StatusOK && strings.Contains(body, "collector siem is away")
		})
		p.signal(t, syscall.SIGKILL)
		p.wait(t)
		<-ended
		collector.start(t)
	}
	collector.stop()
	seen := map[string]bool{}
	for line := range strings.Lines(collector.has()) {
		seen[line] = true
	}
	missing, records := 0, 0
	for line := range strings.Lines(read(t, dir+"/access.log")) {
		records++
		if !seen[line] {
			missing++
		}
	}
	if missing > 0 || records < 200 {
		t.Errorf("the collector misses %d of %d records", missing, records)
	}
}
