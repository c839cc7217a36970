package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
)

// spoofed: whatever a signed-in client calls itself, in whatever spelling, the
// backend is told who it is by the gateway alone.
func spoofed(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.headers()+"/")
	got := rawRequest(t, alice.cookies(d.headers()+"/"), []string{
		"X-Forwarded-User: root",
		"x-forwarded-user: root",
		"X_Forwarded_User: root",
		"X-Forwarded_User: root",
		"X.Forwarded.User: root",
		"X-Forwarded-Email: root@example.com",
		"X-Forwarded-Groups: root",
		"X_FORWARDED_GROUPS: root",
		"X-Forwarded-Preferred-Username: root",
		"X-Sallyport-Assertion: root",
		"X_Sallyport_Assertion: root",
		"Remote-User: root",
		"X-Remote-User: root",
		"X-Forwarded-For: 203.0.113.9",
		"X-Real-IP: 203.0.113.9",
		"Connection: keep-alive, X-Forwarded-User, X-Forwarded-Groups, X-Request-Id",
		"X-Harmless: passes",
	})
	checkAssertion(t, got["X-Sallyport-Assertion"])
	delete(got, "X-Sallyport-Assertion") // any letters may stand in it
	identity := map[string][]string{}
	for name, values := range got {
		if strings.HasPrefix(name, "X-Forwarded-") {
			identity[name] = values
		}
		for _, value := range values {
			if strings.Contains(value, "root") || strings.Contains(value, "203.0.113.9") {
				t.Errorf("the backend received %s: %s", name, value)
			}
			if strings.Contains(value, "__Host-") {
				t.Errorf("the backend received a cookie of the gateway: %s", name)
			}
		}
	}
	host := strings.TrimPrefix(d.headers(), "https://")
	want := map[string][]string{
		"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"},
		"X-Forwarded-Groups": {"engineers"}, "X-Forwarded-Preferred-Username": {"Alice Archer"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {host}, "X-Forwarded-Proto": {"https"},
	}
	if diff := cmp.Diff(want, identity); diff != "" {
		t.Errorf("what the backend received about alice (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"passes"}, got["X-Harmless"]); diff != "" {
		t.Errorf("a header of no meaning (-want +got):\n%s", diff)
	}
	if len(got["X-Request-Id"]) != 1 {
		t.Errorf("X-Request-Id is %q", got["X-Request-Id"])
	}
}

// checkAssertion looks whom the backend is told of under the door's signature, which
// the tests of package verify judge.
func checkAssertion(t *testing.T, values []string) {
	t.Helper()
	if len(values) != 1 {
		t.Errorf("%d assertions: %.300q", len(values), values)
		return
	}
	_, rest, _ := strings.Cut(values[0], ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Audience string `json:"aud"`
		Subject  string `json:"sub"`
		Groups   []string
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Audience != "sallyport:route:headers" || claims.Subject != "alice@example.com" ||
		strings.Join(claims.Groups, ",") != "engineers" {
		t.Errorf("the assertion says %s (%v)", text, err)
	}
}

// rawRequest sends the lines as they are, by HTTP/1.1 on a socket of its own, and
// returns the headers that the backend says it received.
func rawRequest(t *testing.T, cookies []*http.Cookie, lines []string) http.Header {
	t.Helper()
	d := shared.demo
	conn := dialTLS(t, d, "headers.sallyport.localhost")
	defer conn.Close()
	var jar []string
	for _, cookie := range cookies {
		jar = append(jar, cookie.Name+"="+cookie.Value)
	}
	head := []string{
		"GET /json HTTP/1.1",
		"Host: " + strings.TrimPrefix(d.headers(), "https://"),
		"Cookie: " + strings.Join(jar, "; "),
	}
	if _, err := io.WriteString(conn, strings.Join(append(head, lines...), "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Headers http.Header `json:"headers"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %s, body %s", resp.Status, body)
	}
	return answer.Headers
}

// dialTLS connects to the gateway by HTTP/1.1, for a name below .localhost.
func dialTLS(t *testing.T, d *demo, name string) *tls.Conn {
	t.Helper()
	transport, err := localhost.Transport(d.caFile())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := localhost.Dial(t.Context(), "tcp", d.loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(plain, &tls.Config{
		ServerName: name, RootCAs: transport.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12,
	})
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// program is a client that signs on as a browser does, and can look into what
// it carries from the identity provider to the door.
type program struct {
	t      *testing.T
	client *http.Client
}

func newProgram(t *testing.T) *program {
	t.Helper()
	transport, err := localhost.Transport(shared.demo.caFile())
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &program{t: t, client: &http.Client{Transport: transport, Jar: jar}}
}

// send makes a request as a navigation and follows redirects.
func (p *program) send(method, address string, form url.Values) (status int, body string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// fields returns the hidden fields of a page's form.
func fields(page string) url.Values {
	form := make(url.Values)
	for _, match := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(match[1], html.UnescapeString(match[2]))
	}
	return form
}

// begin opens the tool and signs in, up to the page that carries the response.
func (p *program) begin() url.Values {
	p.t.Helper()
	_, page := p.send(http.MethodGet, shared.demo.headers()+"/", nil)
	if !fields(page).Has("SAMLResponse") {
		form := fields(page)
		form.Set("username", "alice")
		form.Set("password", "alice-pw")
		_, page = p.send(http.MethodPost, shared.demo.idp()+"/login", form)
	}
	form := fields(page)
	if form.Get("SAMLResponse") == "" || form.Get("RelayState") == "" {
		p.t.Fatalf("the identity provider answers without a response:\n%s", page)
	}
	return form
}

func (p *program) post(form url.Values) (status int, body string) {
	p.t.Helper()
	return p.send(http.MethodPost, shared.demo.door()+"/saml/acs", form)
}

// replayed: a response is good once, in the browser that asked for it.
func replayed(t *testing.T) {
	victim := newProgram(t)
	captured := victim.begin()

	refused(t, "in another browser", newProgram(t), captured, "no_pending_signin")
	if status, body := victim.post(captured); status != http.StatusOK || !strings.Contains(body, "alice@example.com") {
		t.Fatalf("the first use: status %d:\n%s", status, body)
	}
	refused(t, "a second time", victim, captured, "no_pending_signin", "replay", "signin_used")

	// An attacker with a sign-on of their own slips the captured response into it.
	attacker := newProgram(t)
	own := attacker.begin()
	own.Set("SAMLResponse", captured.Get("SAMLResponse"))
	refused(t, "inside another sign-on", attacker, own, "in_response_to", "replay")
}

var requestNumber = regexp.MustCompile(`<dt>Request</dt><dd>(\w+)</dd>`)

// refused posts the response and wants the one page that says nothing, with the
// reason in the access log.
func refused(t *testing.T, name string, p *program, form url.Values, reasons ...string) {
	t.Helper()
	status, body := p.post(form)
	// Which page it is hangs on what the browser itself holds, not on the response.
	told := strings.Contains(body, "Signing in did not work") || strings.Contains(body, "This sign-in is over")
	if status != http.StatusForbidden || !told {
		t.Errorf("%s: status %d, want 403 and the page for it:\n%s", name, status, body)
		return
	}
	id := requestNumber.FindStringSubmatch(body)
	if id == nil {
		t.Errorf("%s: the page has no request number", name)
		return
	}
	if reason := fmt.Sprint(findRecord(t, id[1])["event.reason"]); !slices.Contains(reasons, reason) {
		t.Errorf("%s: refused for %q, want one of %q", name, reason, reasons)
	}
}

// sidecarStrangers: behind the gateway, only the gateway gets in.
func sidecarStrangers(t *testing.T) {
	d := shared.demo
	const right, wrong = "gateway.sallyport.internal", "intruder.sallyport.internal"
	const client, server = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	tests := []struct {
		name   string
		client *tls.Certificate // nil for none
		in     bool
	}{
		{"without a certificate", nil, false},
		{"with a certificate of another name", d.issue(t, "pki-backend", wrong, client), false},
		{"with the right name from another CA", d.issue(t, "pki-edge", right, client), false},
		{"with the right name in a server's certificate", d.issue(t, "pki-backend", right, server), false},
		{"with the gateway's name, from its CA", d.issue(t, "pki-backend", right, client), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, err := d.askSidecar(t, tt.client)
			if tt.in && (err != nil || status != http.StatusOK) {
				t.Errorf("status %d, error %v; want to be let in", status, err)
			}
			if !tt.in && err == nil {
				t.Errorf("status %d; want the handshake refused", status)
			}
		})
	}
}

// askSidecar sends one request to the sidecar of headers, as a machine on the
// network of the backend could.
func (d *demo) askSidecar(t *testing.T, client *tls.Certificate) (status int, err error) {
	t.Helper()
	config := &tls.Config{
		RootCAs: d.backendCA(t), ServerName: "headers.backend.sallyport.internal", MinVersion: tls.VersionTLS13,
	}
	if client != nil {
		// Given whatever the server says it accepts: an intruder would not ask.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "https://"+d.loopback(4)+"/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}
