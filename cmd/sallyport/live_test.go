package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// liveGatewayTest is a gateway whose every part is in Vault at one place, and is
// read again every second.
type liveGatewayTest struct {
	*stand
	p            *process
	https, admin string
	place        string // in the KV mount
	saml         map[string]string
	secrets      []string       // that must not be shown
	edge         *x509.CertPool // what is trusted of the gateway; nil: asked of Vault
	assertion    string         // where its assertion keys are; empty: where everybody's are
}

// yaml is its configuration; more is appended to it, to the section vault.
func (g *liveGatewayTest) yaml(more string) string {
	return fmt.Sprintf(`door: {host: %[1]s}
listen: {https: "%[2]s", admin: "%[3]s"}
stop: {drain: 1s}
vault: {refresh: 1s, saml_path: %[4]s/saml, session_path: %[4]s/session, assertion_path: %[6]s}
%[5]s`, doorHost, g.https, g.admin, g.place, more, cmp.Or(g.assertion, "sallyport/assertion"))
}

// notesRoute is a route that the configuration begins without.
const notesRoute = `
routes:
  - {name: notes, host: ` + notesHost + `, backend: {url: "https://127.0.0.1:1", name: ` + sidecarName + `}, allow: {any_signed_in: true}}
`

// configure writes the configuration.
func (g *liveGatewayTest) configure(t *testing.T, text string) {
	t.Helper()
	g.writeKV(t, g.place+"/gateway", map[string]string{configField: text})
}

// status is what the process says of itself.
func (g *liveGatewayTest) status(t *testing.T) statusDocument {
	t.Helper()
	_, body, err := get(g.admin, "/status")
	if err != nil {
		t.Fatal(err)
	}
	var doc statusDocument
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("status %q: %v", body, err)
	}
	return doc
}

// follows returns what is known of the source whose name ends so.
func (g *liveGatewayTest) follows(t *testing.T, name string) followState {
	t.Helper()
	for _, state := range g.status(t).Followed {
		if strings.HasSuffix(state.Name, name) {
			return state
		}
	}
	t.Fatalf("nothing called %q is followed", name)
	return followState{}
}

// inUse waits until a version of a source is in use.
func (g *liveGatewayTest) inUse(t *testing.T, name, version string) {
	t.Helper()
	g.p.eventually(t, name+" has version "+version, func() (string, bool) {
		state := g.follows(t, name)
		return fmt.Sprintf("%+v", state), state.Version == version && state.Cause == ""
	})
}

// refuses waits until a version of a source is refused for this cause, and
// checks that everything else goes on.
func (g *liveGatewayTest) refuses(t *testing.T, name, version, cause string) {
	t.Helper()
	g.p.eventually(t, name+" refuses version "+version, func() (string, bool) {
		state := g.follows(t, name)
		return fmt.Sprintf("%+v", state), state.Refused == version && strings.Contains(state.Cause, cause)
	})
	if _, body, _ := get(g.admin, "/readyz"); !strings.HasPrefix(body, "ready, serving with what is held:\n- ") || !strings.Contains(body, "version "+version+" refused: ") {
		t.Errorf("/readyz says %q", body)
	}
}

// metadata fetches the service provider's, as an identity provider does.
func (g *liveGatewayTest) metadata(t *testing.T) string {
	t.Helper()
	status, body, err := g.ask(t, doorHost, "/saml/metadata")
	if err != nil || status != http.StatusOK {
		t.Fatalf("metadata: status %d, %v", status, err)
	}
	return body
}

// client has a connection to the gateway of its own for each request.
func (g *liveGatewayTest) client(t *testing.T) *http.Client {
	t.Helper()
	roots := g.edge
	if roots == nil {
		roots = g.roots(t, "pki-edge")
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", g.https)
		},
	}
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask makes a request to a host of the gateway's.
func (g *liveGatewayTest) ask(t *testing.T, host, path string) (status int, body string, err error) {
	t.Helper()
	res, err := g.client(t).Get("https://" + host + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	return res.StatusCode, string(content), err
}

// signOnAt is the host that a person is sent to, to sign on.
func (g *liveGatewayTest) signOnAt(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+doorHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(name, value)
	}
	res, err := g.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	place, err := res.Location()
	if err != nil {
		t.Fatalf("status %d, %v", res.StatusCode, err)
	}
	return place.Host
}

// newPair makes a key pair as PEM.
func (g *liveGatewayTest) newPair(t *testing.T) (key, certificate string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	g.secrets = append(g.secrets, key)
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t, private)}))
}

// inXML is a certificate as metadata has it.
func inXML(certificate string) string {
	lines := strings.Split(strings.TrimSpace(certificate), "\n")
	return strings.Join(lines[1:len(lines)-1], "")
}

// testLiveSecrets changes everything that a gateway reads from Vault while it
// runs, well and badly.
func testLiveSecrets(t *testing.T, s *stand) {
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: maps.Clone(s.saml), place: "cases/live", assertion: "cases/live/assertion"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	g.writeKV(t, g.place+"/assertion", s.readKV(t, "sallyport/assertion"))
	g.configure(t, g.yaml(""))
	intro := s.introduce(t, caseRole)
	g.p = s.startGateway(t, caseRole, intro.file, "vault:secret/"+g.place+"/gateway")
	g.p.ready(t, g.admin)

	g.checkKeyRollover(t)
	g.checkSessionKeys(t)
	g.checkAssertionKeys(t)
	g.checkConfiguration(t)

	g.p.signal(t, syscall.SIGHUP)
	g.p.eventually(t, "SIGHUP is obeyed", func() (string, bool) {
		return "", strings.Contains(g.p.err.String(), `"looking for new versions"`)
	})
	g.p.signal(t, syscall.SIGTERM)
	if code := g.p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, g.p.err.String())
	}
	s.checkNoSecret(t, g.p, append(g.secrets, intro.token)...)
}

// checkKeyRollover goes through next, switch and retire, with a broken version
// in between.
func (g *liveGatewayTest) checkKeyRollover(t *testing.T) {
	current := g.saml[fieldSPCert]
	key, next := g.newPair(t)
	g.saml[fieldSPKey+suffixNext], g.saml[fieldSPCert+suffixNext] = key, next
	g.writeKV(t, g.place+"/saml", g.saml)
	g.inUse(t, g.place+"/saml", "2")
	if text := g.metadata(t); !strings.Contains(text, inXML(next)) || strings.Index(text, inXML(current)) > strings.Index(text, inXML(next)) {
		t.Errorf("metadata does not show the current key, then the next one:\n%s", text)
	}

	g.writeKV(t, g.place+"/saml", with(g.saml, fieldSPCert+suffixNext, otherCertificate(t)))
	g.refuses(t, g.place+"/saml", "3", "does not belong to the private key")
	g.writeKV(t, g.place+"/saml", with(g.saml, fieldIdPMetadata, "<EntityDescriptor/>"))
	g.refuses(t, g.place+"/saml", "4", "field idp_metadata_xml")
	g.writeKV(t, g.place+"/saml", with(g.saml, fieldSPCert+suffixNext, ""))
	g.refuses(t, g.place+"/saml", "5", `field "sp_public_cert_next" of version 5 is absent`)
	if text := g.metadata(t); !strings.Contains(text, inXML(next)) {
		t.Errorf("a version that was refused changed the metadata:\n%s", text)
	}

	g.saml[fieldSPKey+suffixPrevious], g.saml[fieldSPCert+suffixPrevious] = g.saml[fieldSPKey], current
	g.saml[fieldSPKey], g.saml[fieldSPCert] = key, next
	delete(g.saml, fieldSPKey+suffixNext)
	delete(g.saml, fieldSPCert+suffixNext)
	g.writeKV(t, g.place+"/saml", g.saml)
	g.inUse(t, g.place+"/saml", "6")
	if text := g.metadata(t); strings.Index(text, inXML(next)) > strings.Index(text, inXML(current)) || strings.Count(text, `use="signing"`) != 2 {
		t.Errorf("metadata does not show the new key, then the previous one:\n%s", text)
	}
}

// checkSessionKeys adds a key, and takes the secret away.
func (g *liveGatewayTest) checkSessionKeys(t *testing.T) {
	key := "bmV4dC1uZXh0LW5leHQtbmV4dC1uZXh0LW5leHQtMzI="
	g.secrets = append(g.secrets, key)
	g.writeKV(t, g.place+"/session", with(g.session, fieldNextKey, key))
	g.inUse(t, g.place+"/session", "2")
	g.writeKV(t, g.place+"/session", with(g.session, fieldCurrentKey, "c2hvcnQ="))
	g.refuses(t, g.place+"/session", "3", "value decodes to 5 bytes")
	g.call(t, "DELETE", "secret/data/"+g.place+"/session", nil, nil)
	g.p.eventually(t, "the deleted secret is told of", func() (string, bool) {
		state := g.follows(t, g.place+"/session")
		return fmt.Sprintf("%+v", state), strings.Contains(state.Cause, "is deleted") && state.Version == "2"
	})
	g.metadata(t) // the door is still open
	g.writeKV(t, g.place+"/session", g.session)
	g.inUse(t, g.place+"/session", "4")
}

// checkAssertionKeys goes through the rotation of the keys that sign assertions; the
// door shows each with a certificate of Vault's.
func (g *liveGatewayTest) checkAssertionKeys(t *testing.T) {
	first, second := g.newAssertionKey(t), g.newAssertionKey(t)
	ids := g.assertionKeyIDs(t)
	if len(ids) != 1 {
		t.Fatalf("the door shows %d keys, expected the one of %s", len(ids), g.place)
	}
	g.writeKV(t, g.place+"/assertion", with(with(g.readKV(t, g.place+"/assertion"), fieldNextKey, first), fieldPreviousKey, second))
	g.inUse(t, g.place+"/assertion", "2")
	if all := g.assertionKeyIDs(t); len(all) != 3 || all[0] != ids[0] {
		t.Errorf("the door shows %q, expected %q first and two more", all, ids[0])
	}
	g.writeKV(t, g.place+"/assertion", map[string]string{fieldCurrentKey: g.saml[fieldSPKey]})
	g.refuses(t, g.place+"/assertion", "3", "expected an elliptic key on P-256")
	g.writeKV(t, g.place+"/assertion", map[string]string{fieldCurrentKey: "canary-assertion-key"})
	g.refuses(t, g.place+"/assertion", "4", "value is not PEM")
	g.writeKV(t, g.place+"/assertion", map[string]string{fieldNextKey: first})
	g.refuses(t, g.place+"/assertion", "5", `field "current" of version 5 is absent`)
	g.writeKV(t, g.place+"/assertion", map[string]string{fieldCurrentKey: first})
	g.inUse(t, g.place+"/assertion", "6")
	if after := g.assertionKeyIDs(t); len(after) != 1 || after[0] == ids[0] {
		t.Errorf("the door shows %q after the switch", after)
	}
	g.secrets = append(g.secrets, "canary-assertion-key")
}

// newAssertionKey makes a key as the hint of a faulty one says.
func (g *liveGatewayTest) newAssertionKey(t *testing.T) string {
	t.Helper()
	key, err := exec.Command("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").Output()
	if err != nil {
		t.Fatal(err)
	}
	g.secrets = append(g.secrets, string(key))
	return string(key)
}

// assertionKeyIDs fetches the key set as a tool does, and checks that Vault has
// certified each key.
func (g *liveGatewayTest) assertionKeyIDs(t *testing.T) []string {
	t.Helper()
	status, body, err := g.ask(t, doorHost, "/.well-known/sallyport/jwks.json")
	var set struct {
		Keys []struct {
			ID    string   `json:"kid"`
			Chain [][]byte `json:"x5c"`
		}
	}
	if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &set) != nil {
		t.Fatalf("key set: status %d, %v\n%s", status, err, body)
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.ID)
		intermediates := x509.NewCertPool()
		var leaf *x509.Certificate
		for i, der := range key.Chain {
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				leaf = certificate
			} else {
				intermediates.AddCert(certificate)
			}
		}
		if leaf == nil {
			t.Fatalf("key %s has no certificate", key.ID)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{
			DNSName: "assertion.sallyport.internal", Roots: g.roots(t, "pki-backend-root"), Intermediates: intermediates,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err != nil {
			t.Errorf("key %s: %v", key.ID, err)
		}
	}
	return ids
}

// checkConfiguration adds a tool, and writes what cannot be used.
func (g *liveGatewayTest) checkConfiguration(t *testing.T) {
	if status, _, err := g.ask(t, notesHost, "/"); err == nil {
		t.Errorf("a host that nobody wrote answers %d", status)
	}
	g.configure(t, g.yaml(notesRoute))
	g.inUse(t, g.place+"/gateway", "2")
	if status, _, err := g.ask(t, notesHost, "/"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("the new tool answers %d, %v", status, err)
	}
	g.configure(t, strings.Replace(g.yaml(notesRoute), g.https, "127.0.0.1:1", 1))
	g.refuses(t, g.place+"/gateway", "3", "listen.https changes from")
	g.configure(t, g.yaml(notesRoute)+"surprise: 1\n")
	g.refuses(t, g.place+"/gateway", "4", "surprise")
	g.configure(t, g.yaml(""))
	g.inUse(t, g.place+"/gateway", "5")
	if status, _, err := g.ask(t, notesHost, "/"); err == nil {
		t.Errorf("a host that was taken away answers %d", status)
	}
}

// testFileConfiguration changes the file of a gateway and of a sidecar, whose
// people write them where they run.
func testFileConfiguration(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	file := writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "vault: {refresh: 1s}\n"))
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, file)
	p.ready(t, admin)
	if _, err := exec.Command("sed", "-i", "s/engineers/nobody/", file).Output(); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "the file's new content is in use", func() (string, bool) {
		return "", strings.Contains(p.err.String(), `"new version in use"`)
	})
	checkMetrics(t, admin, "sallyport_config_last_reload_successful 1", `sallyport_config_info{version="`+versionOfText([]byte(read(t, file)))+`"} 1`)
	if _, err := exec.Command("sed", "-i", "s/routes/rootes/", file).Output(); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "the file's fault is told of", func() (string, bool) {
		_, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), strings.Contains(body, "did you mean routes?")
	})
	checkMetrics(t, admin, "sallyport_config_last_reload_successful 0", "sallyport_config_last_reload_success_timestamp_seconds")
}

// testStatus looks at what a person sees.
func testStatus(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")))
	p.ready(t, admin)
	status := s.start(t, "status", "--admin-url", "http://"+admin)
	if code := status.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, status.err.String())
	}
	for _, part := range []string{
		"gateway ", ": ready\n", "first hard stop ", "KIND ", "vault_token approle: a Vault that is away is outlasted for ", "certificate ", "renewals and new versions", doorHost, clientName, "every tool is reached",
		"idp_certificate ", "signing in", "sp_certificate ", "secret/sallyport/saml ", "secret/sallyport/session ", "gateway.yaml ",
	} {
		if !strings.Contains(status.out.String(), part) {
			t.Errorf("the status lacks %q:\n%s", part, status.out.String())
		}
	}
	s.checkNoSecret(t, status)
	for name, args := range map[string][]string{
		`flag --admin-url is "x"`:   {"--admin-url", "x"},
		"asking http://127.0.0.1:1": {"--admin-url", "http://127.0.0.1:1"},
	} {
		status := s.start(t, append([]string{"status"}, args...)...)
		if code := status.wait(t); code == exitOK || !strings.Contains(status.err.String(), name) {
			t.Errorf("%v: exit code %d\n%s", args, code, status.err.String())
		}
	}
	raw := s.start(t, "status", "--json", "--admin-url", "http://"+admin)
	var doc statusDocument
	if code := raw.wait(t); code != exitOK || json.Unmarshal([]byte(raw.out.String()), &doc) != nil || !doc.Ready || doc.HardStop == nil || doc.Now.Sub(doc.Started) > time.Hour {
		t.Errorf("exit code %d, status %+v", code, doc)
	}
}
