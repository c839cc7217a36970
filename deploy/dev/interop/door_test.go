package interop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// Host names. The door and its tools are one site, each identity provider another.
const (
	doorHost   = "door.sallyport.localhost"
	toolHost   = "tool.sallyport.localhost"
	vaultsHost = "vaults.sallyport.localhost" // wants a step-up
	closedHost = "closed.sallyport.localhost"
)

// door is a gateway in this process, with a tool behind mutual TLS.
type door struct {
	*stage
	front  *front
	last   proxy.Config
	memory *session.Memory
	log    lines
	routes []proxy.Route
}

// lines collects the access log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newDoor(t *testing.T, s *stage) *door {
	t.Helper()
	d := &door{stage: s, front: s.front(doorHost, toolHost, vaultsHost, closedHost), memory: session.NewMemory(time.Now)}
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "tool of "+r.Header.Get("X-Forwarded-User")+", "+r.Header.Get("X-Forwarded-Groups"))
	}))
	backend.TLS = &tls.Config{
		Certificates: []tls.Certificate{s.issue(x509.ExtKeyUsageServerAuth, "tool.backend.test")},
		ClientCAs:    s.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	backend.StartTLS()
	t.Cleanup(backend.Close)
	dial := &tls.Config{
		RootCAs: s.pool, ServerName: "tool.backend.test", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{s.issue(x509.ExtKeyUsageClientAuth, "gateway.test")},
	}
	address := &url.URL{Scheme: "https", Host: backend.Listener.Addr().String()}
	route := func(name, host string, groups ...string) proxy.Route {
		return proxy.Route{Name: name, Title: name, Host: host, Backend: address, TLS: dial, Rule: policy.NewRule(nil, groups, false)}
	}
	d.routes = []proxy.Route{
		route("tool", toolHost, "engineers", "support"), route("vaults", vaultsHost, "engineers"), route("closed", closedHost, "nobody"),
	}
	return d
}

// config is the door as a service provider of an identity provider.
func (d *door) config(metadata []byte) saml.Config {
	signing, decryption := keyPair(d.t, "door"), keyPair(d.t, "door encryption")
	return saml.Config{
		EntityID: d.front.origin + "/saml/metadata", ACSURL: d.front.origin + "/saml/acs", SLOURL: d.front.origin + "/saml/slo",
		Key: signing.key, Certificate: signing.cert,
		Decryption:  []saml.DecryptionKey{{Key: decryption.key, Certificate: decryption.cert}},
		IdPMetadata: metadata,
		Attributes: saml.Attributes{
			User: []string{"mail", "urn:oid:0.9.2342.19200300.100.1.3"}, Email: []string{"mail"}, Name: []string{"displayName"},
			Groups: []string{"groups", "urn:oid:1.3.6.1.4.1.5923.1.1.1.1"},
		},
		ClockSkew: 3 * time.Minute,
	}
}

// describe is the door's metadata, for an identity provider that is not yet known.
func (d *door) describe(change func(*saml.Config)) []byte {
	d.t.Helper()
	return d.provider(d.config(placeholder(d.t)), change).Metadata()
}

func (d *door) provider(cfg saml.Config, change func(*saml.Config)) *saml.ServiceProvider {
	d.t.Helper()
	if change != nil {
		change(&cfg)
	}
	sp, err := saml.New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	return sp
}

// trust opens the door with the identity provider's metadata, or with other metadata
// or another configuration while it is open.
func (d *door) trust(metadata []byte, change func(*saml.Config)) {
	d.t.Helper()
	d.serve(func(cfg *proxy.Config) {
		cfg.IdPs = []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: d.provider(d.config(metadata), change)}}
	})
}

// serve replaces what the door serves.
func (d *door) serve(change func(*proxy.Config)) {
	d.t.Helper()
	at, err := url.Parse(d.front.origin)
	if err != nil {
		d.t.Fatal(err)
	}
	cfg := d.last
	cfg.DoorHost, cfg.Routes = doorHost, d.routes
	if cfg.PublicPort, err = strconv.Atoi(at.Port()); err != nil {
		d.t.Fatal(err)
	}
	if cfg.Access == nil {
		cfg.Access = accesslog.New(&d.log, "gateway")
	}
	if cfg.Sessions, err = session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: []string{doorHost, toolHost, vaultsHost, closedHost},
		Idle: time.Hour, Absolute: 10 * time.Hour, Memory: d.memory, Now: cfg.Now,
	}); err != nil {
		d.t.Fatal(err)
	}
	change(&cfg)
	gateway, err := proxy.New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	cfg.Replaces = gateway
	d.last = cfg
	d.front.serve(gateway)
}

func (d *door) origin(host string) string {
	return strings.Replace(d.front.origin, doorHost, host, 1)
}

// tool is where the tool is.
func (d *door) tool() string { return d.origin(toolHost) + "/" }

// reason is why the door did the last thing of a kind, as its access log says. A line
// is written after its answer, so it is waited for until that is one of those that are
// wanted.
func (d *door) reason(action, decision string, wanted ...string) (reason string) {
	d.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		for line := range strings.Lines(d.log.text()) {
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				d.t.Fatalf("line %q: %v", line, err)
			}
			if record["event.action"] == action && record["sallyport.decision"] == decision {
				reason, _ = record["event.reason"].(string)
			}
		}
		if slices.Contains(wanted, reason) {
			return reason
		}
	}
	if reason == "" {
		d.t.Fatalf("no line %s %s in\n%s", action, decision, d.log.text())
	}
	return reason
}

// refuses fails the test unless the page says that signing in did not work, for that
// reason.
func (d *door) refuses(b *browser, p *page, reason string) {
	d.t.Helper()
	if p.status != http.StatusForbidden || p.url.Path != "/saml/acs" {
		d.t.Fatalf("%s answers %d, expected a refusal; the way was\n%s", p.url, p.status, strings.Join(b.trail, "\n"))
	}
	if got := d.reason("signin", "deny", reason); got != reason {
		d.t.Errorf("refused for %q, want %q; the log is\n%s", got, reason, d.log.text())
	}
}

// lets fails the test unless the page is the tool's own.
func (d *door) lets(b *browser, p *page, user string) {
	d.t.Helper()
	if p.status != http.StatusOK || !strings.HasPrefix(p.text, "tool of "+user) {
		d.t.Fatalf("%s answers %d:\n%.300s\nthe way was\n%s\nthe log is\n%s",
			p.url, p.status, p.text, strings.Join(b.trail, "\n"), d.log.text())
	}
}

// placeholder is metadata of nobody: our own does not depend on the other side's.
func placeholder(t *testing.T) []byte {
	return []byte(`<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://nobody.example.test/"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` +
		base64Of(keyPair(t, "nobody").cert.Raw) +
		`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://nobody.example.test/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`)
}
