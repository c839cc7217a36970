package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// asker is a client of a gateway's listener for an ingress. role is the PKI role that
// its certificate is of, empty for none.
func (s *stand) asker(t *testing.T, role, name string) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: doorHost, MinVersion: tls.VersionTLS13}
	if role != "" {
		var answer struct {
			Data struct {
				Certificate string
				Chain       []string `json:"ca_chain"`
				PrivateKey  string   `json:"private_key"`
			}
		}
		s.call(t, "POST", "pki-backend/issue/"+role, map[string]string{"common_name": name}, &answer)
		pair, err := tls.X509KeyPair([]byte(strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")), []byte(answer.Data.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: patience, Transport: transport}
}

// question asks whether somebody may open the notes; the answer is a status and who it
// is, or what went wrong.
func question(t *testing.T, client *http.Client, address string, cookie *http.Cookie) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/auth/nginx", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"https://" + notesHost + "/"}}
	req.AddCookie(cookie)
	res, err := client.Do(req)
	if err != nil {
		return "refused: " + err.Error()
	}
	defer res.Body.Close()
	return fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("X-Forwarded-User"))
}

// testForwardAuth asks a gateway as an ingress does: with a certificate of the right
// name, and as everybody else; and changes who may ask while it runs.
func testForwardAuth(t *testing.T, s *stand) {
	https, admin, asked := free(t), free(t), free(t)
	yaml := func(who string) string {
		y := gatewayYAML(https, admin, "forward_auth: "+who+"\n")
		y = strings.Replace(y, "listen: {", fmt.Sprintf("listen: {forward_auth: %q, ", asked), 1)
		return strings.Replace(y, "    backend: {url: \"https://127.0.0.1:1\", name: "+sidecarName+"}\n", "    forward_auth: true\n", 1)
	}
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml("{peers: ["+clientName+"]}"))
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
	p.ready(t, admin)
	cookie := s.signIn(t)
	ingress, nobody := s.asker(t, "sallyport-gateway", clientName), s.asker(t, "", "")
	expect := func(who, want, got string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, expected %s", who, got, want)
		}
	}
	expect("the ingress", "204 alice@example.com", question(t, ingress, asked, cookie))
	expect("one without a certificate", "refused: ", question(t, nobody, asked, cookie))
	expect("one with a server's certificate", "refused: ", question(t, s.asker(t, "sidecar-notes", sidecarName), asked, cookie))
	expect("one at the listener for browsers", "421 ", question(t, ingress, https, cookie))

	use := func(who string) {
		t.Helper()
		before := p.told("new version in use")
		if err := os.WriteFile(config, []byte(yaml(who)), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		p.eventually(t, "the change is in use", func() (string, bool) { return "", p.told("new version in use") > before })
	}
	use("{peers: [other.sallyport.internal]}")
	expect("one who might ask before", "refused: ", question(t, ingress, asked, cookie))
	use("{unsafe_addresses: [127.0.0.1]}")
	expect("an address that may ask", "204 alice@example.com", question(t, nobody, asked, cookie))
	expect("a certificate that may not, at an address that may", "refused: ", question(t, ingress, asked, cookie))
	use("{unsafe_addresses: [192.0.2.0/24]}")
	expect("an address that may not ask", "403 ", question(t, nobody, asked, cookie))
	use("{}")
	expect("where nobody may ask", "refused: ", question(t, nobody, asked, cookie))
	p.eventually(t, "the access log tells who has asked", func() (string, bool) {
		log := p.out.String()
		return log, strings.Contains(log, `"sallyport.peer":"`+clientName+`"`) && strings.Contains(log, `"event.reason":"asker_unknown"`)
	})
}
