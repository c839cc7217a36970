package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The metrics that docs and dashboards rely on.
var (
	identityMetricNames = []string{"sallyport_ready", "sallyport_access_log_dropped_total 0", "sallyport_vault_token_expiry_seconds", "sallyport_certificate_expiry_seconds", "go_goroutines", "process_start_time_seconds", "go_build_info"}
	requestMetricNames  = []string{"sallyport_http_requests_total", "sallyport_http_request_duration_seconds_count", "sallyport_http_requests_in_flight", "sallyport_saml_logins_total"}
)

// checkAdmin looks at what a gateway's admin listener answers, and that its
// other listener does not.
func (s *stand) checkAdmin(t *testing.T, p *process, https, admin string) {
	t.Helper()
	browser := s.browser(t, https)
	if status := browser("POST", "/saml/acs", strings.NewReader("SAMLResponse=x")); status < 400 || status >= 500 {
		t.Errorf("a response that is none got status %d, expected 4xx", status)
	}
	if status := browser("GET", "/saml/metadata", nil); status != http.StatusOK {
		t.Errorf("/saml/metadata got status %d", status)
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if status := browser("GET", path, nil); status == http.StatusOK {
			t.Errorf("%s is answered to browsers", path)
		}
	}
	for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ready\n"} {
		if status, body, err := get(admin, path); status != http.StatusOK || body != want || err != nil {
			t.Errorf("%s: status %d, body %q, error %v", path, status, body, err)
		}
	}
	checkMetrics(t, admin, append(requestMetricNames, identityMetricNames...)...)
	for _, name := range []string{doorHost, notesHost, clientName} {
		checkMetrics(t, admin, `sallyport_certificate_expiry_seconds{name="`+name+`"}`)
	}
	checkMetrics(t, admin, "sallyport_ready 1")
	p.eventually(t, "the access log has a line for each of 5 requests, after that of its start", func() (string, bool) {
		log := p.out.String()
		return log, len(requestsIn(log)) == 5 && strings.Contains(log, `"process_start"`) && strings.Contains(log, `"/saml/acs"`) && strings.Contains(log, `"log_start"`)
	})
}

// checkMetrics looks for lines that begin with what is promised.
func checkMetrics(t *testing.T, admin string, beginnings ...string) {
	t.Helper()
	status, body, err := get(admin, "/metrics")
	if status != http.StatusOK || err != nil {
		t.Fatalf("/metrics: status %d, error %v", status, err)
	}
	for _, beginning := range beginnings {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(beginning) + `\b|^` + regexp.QuoteMeta(beginning) + `[ {]`).MatchString(body) {
			t.Errorf("/metrics has no %s", beginning)
		}
	}
}

// browser returns a function that makes one request to the door and returns
// the status.
func (s *stand) browser(t *testing.T, https string) func(method, path string, body io.Reader) int {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots(t, "pki-edge"), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", https)
		},
		DisableKeepAlives: true,
	}}
	return func(method, path string, body io.Reader) int {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+doorHost+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if body != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
}

// upload is a request whose body has only begun: the gateway waits for the rest.
type upload struct{ conn *tls.Conn }

// beginUpload sends half of a request to the door's ACS and waits until the
// gateway works on it.
func (s *stand) beginUpload(t *testing.T, p *process, https, admin string) upload {
	t.Helper()
	conn, err := tls.Dial("tcp", https, &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: doorHost, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	head := "POST /saml/acs HTTP/1.1\r\nHost: " + doorHost + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\nSAML"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "a request is in flight", func() (string, bool) {
		_, body, _ := get(admin, "/metrics")
		return "", strings.Contains(body, "sallyport_http_requests_in_flight 1")
	})
	return upload{conn}
}

// finish sends the rest and returns the answer's status.
func (u upload) finish(t *testing.T) int {
	t.Helper()
	if _, err := io.WriteString(u.conn, "Response=x"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(u.conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// gatewayWithUpload starts a gateway that is busy with one request.
func gatewayWithUpload(t *testing.T, s *stand, more func(string) string) (p *process, u upload, https, admin string) {
	t.Helper()
	https, admin = free(t), free(t)
	intro := s.introduce(t, gatewayRole)
	p = s.startGateway(t, gatewayRole, intro.file, writeFile(t, t.TempDir(), "gateway.yaml", more(gatewayYAML(https, admin, ""))))
	p.ready(t, admin)
	return p, s.beginUpload(t, p, https, admin), https, admin
}

func asItIs(yaml string) string { return yaml }

// testGatewayStops stops a gateway that is busy: it is not ready, takes no new
// connection, ends what is in flight, and is gone.
func testGatewayStops(t *testing.T, s *stand) {
	p, u, https, admin := gatewayWithUpload(t, s, asItIs)
	p.signal(t, syscall.SIGTERM)
	p.eventually(t, "/readyz says stopping", func() (string, bool) {
		status, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), status == http.StatusServiceUnavailable && strings.Contains(body, "- stopping\n")
	})
	p.eventually(t, "no new connection is taken", func() (string, bool) {
		conn, err := net.Dial("tcp", https)
		if err == nil {
			_ = conn.Close()
		}
		return fmt.Sprint(err), err != nil
	})
	if status, body, err := get(admin, "/livez"); status != http.StatusOK {
		t.Errorf("/livez while stopping: status %d, body %q, error %v", status, body, err)
	}
	checkMetrics(t, admin, "sallyport_ready 0")
	if status := u.finish(t); status < 400 || status >= 500 {
		t.Errorf("the request in flight got status %d, expected the 4xx that it gets at other times", status)
	}
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, expected 0\n%s", code, p.err.String())
	}
	checkClosed(t, https, admin)
	if log := p.log(); log[len(log)-1].Msg != "stopped" || log[len(log)-1].fields["clean"] != true {
		t.Errorf("the log does not end with a clean stop:\n%s", p.err.String())
	}
	checkLastRecords(t, p)
}

// checkLastRecords looks for the line of the request that ended last, and for the
// one that ends the log.
func checkLastRecords(t *testing.T, p *process) {
	t.Helper()
	log := p.out.String()
	requests := requestsIn(log)
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	if n := len(requests); n == 0 || !strings.Contains(requests[n-1], `"/saml/acs"`) || !strings.Contains(lines[len(lines)-1], `"event.action":"log_end"`) {
		t.Errorf("the access log does not end with the last request and its end: %q", log)
	}
	if n := len(lines); n < 2 || !strings.Contains(lines[n-2], `"event.reason":"stopped"`) {
		t.Errorf("the access log does not say that the process has stopped: %q", log)
	}
}

// requestsIn are the lines of an access log that are about requests.
func requestsIn(log string) []string {
	return slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool { return !strings.Contains(line, `"http.request.method"`) })
}

// testGatewayDrainEnds stops a gateway whose client never ends its request.
func testGatewayDrainEnds(t *testing.T, s *stand) {
	short := func(yaml string) string { return strings.ReplaceAll(yaml, "drain: 20s", "drain: 1s") }
	p, _, https, admin := gatewayWithUpload(t, s, short)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitDrain {
		t.Errorf("exit code %d, expected %d\n%s", code, exitDrain, p.err.String())
	}
	checkClosed(t, https, admin)
	if strings.Contains(p.err.String(), "introduction is used up") {
		t.Error("a stop that was asked for is explained as a failed start")
	}
	checkLastRecords(t, p)
}

// testGatewayStopsAtOnce sends more signals into the drain.
func testGatewayStopsAtOnce(t *testing.T, s *stand) {
	p, _, https, admin := gatewayWithUpload(t, s, asItIs)
	p.signal(t, syscall.SIGINT)
	p.eventually(t, "/readyz says stopping", func() (string, bool) {
		_, body, _ := get(admin, "/readyz")
		return body, strings.Contains(body, "stopping")
	})
	// The process may not have let go of the signal yet, of which it tells nobody.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ended := false; !ended; {
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-p.done:
			ended = true
		case <-tick.C:
		}
	}
	if code := p.wait(t); code != -1 {
		t.Errorf("exit code %d, expected an end by the signal\n%s", code, p.err.String())
	}
	checkClosed(t, https, admin)
}

// testStopBeforeServing stops a gateway that waits for its Vault. It has failed
// at nothing, and its introduction can be used by the next start.
func testStopBeforeServing(t *testing.T, s *stand) {
	intro := s.introduce(t, gatewayRole)
	p := s.startGateway(t, gatewayRole, intro.file, s.yamlFile(t, ""), "--vault-addr", "https://"+free(t), "--vault-wait", "1h")
	p.eventually(t, "it waits for vault", func() (string, bool) {
		return "", strings.Contains(p.err.String(), "waiting for vault")
	})
	p.signal(t, syscall.SIGHUP) // looks for new versions, and ends nothing
	waits := strings.Count(p.err.String(), "waiting for vault")
	p.eventually(t, "it goes on waiting", func() (string, bool) {
		return "", strings.Count(p.err.String(), "waiting for vault") > waits
	})
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, expected 0\n%s", code, p.err.String())
	}
	if log := p.log(); log[len(log)-1].Msg != "stopped before serving" || log[len(log)-1].fields["logged_in"] != false {
		t.Errorf("the log does not end with the stop:\n%s", p.err.String())
	}
	if !s.usable(t, intro.token) {
		t.Error("the introduction is used up")
	}
}

// testSidecar starts a sidecar in front of a slow application, and stops it
// while a request of the gateway's is under way.
func testSidecar(t *testing.T, s *stand) {
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done(): // the test has failed
		}
		_, _ = io.WriteString(w, "hello "+r.Header.Get("X-Forwarded-User"))
	}))
	t.Cleanup(app.Close)
	https, admin := free(t), free(t)
	intro := s.introduce(t, sidecarRole)
	yaml := fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\nstop: {drain: 20s}\n", sidecarName, app.URL, https, admin)
	p := s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", intro.file,
		"--config", writeFile(t, t.TempDir(), "sidecar.yaml", yaml))
	p.ready(t, admin)
	checkMetrics(t, admin, append(identityMetricNames, `sallyport_certificate_expiry_seconds{name="`+sidecarName+`"}`)...)
	if _, err := tls.Dial("tcp", https, &tls.Config{RootCAs: s.roots(t, "pki-backend"), ServerName: sidecarName, MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("the sidecar speaks TLS 1.2")
	}

	client := s.gatewayClient(t, https)
	answers := make(chan string, 1)
	go func() { answers <- ask(t.Context(), client) }()
	await(t, p, arrived)
	p.signal(t, syscall.SIGTERM)
	p.eventually(t, "/readyz says stopping", func() (string, bool) {
		status, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), status == http.StatusServiceUnavailable && strings.Contains(body, "- stopping\n")
	})
	close(answer)
	if got := await(t, p, answers); got != "hello alice@example.com" {
		t.Errorf("the request in flight got %q", got)
	}
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, expected 0\n%s", code, p.err.String())
	}
	checkClosed(t, https, admin)
	s.checkNoSecret(t, p, intro.token)
}

// gatewayClient is what a gateway is to a sidecar: somebody with its certificate.
func (s *stand) gatewayClient(t *testing.T, https string) *http.Client {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string
			Chain       []string `json:"ca_chain"`
			PrivateKey  string   `json:"private_key"`
		}
	}
	s.call(t, "POST", "pki-backend/issue/sallyport-gateway", map[string]string{"common_name": clientName}, &answer)
	chain := strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")
	pair, err := tls.X509KeyPair([]byte(chain), []byte(answer.Data.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			RootCAs: s.roots(t, "pki-backend"), ServerName: sidecarName, MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
			VerifyConnection: func(state tls.ConnectionState) error {
				return state.PeerCertificates[0].VerifyHostname(sidecarName)
			},
		},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", https)
		},
	}}
}

// ask makes one request as the gateway makes it, and returns the answer or what
// went wrong.
func ask(ctx context.Context, client *http.Client) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("X-Forwarded-User", "alice@example.com")
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// await receives from a channel, for as long as a test waits and the process
// lives.
func await[T any](t *testing.T, p *process, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-p.done:
		t.Fatalf("the process ended:\n%s", p.err.String())
	case <-time.After(patience):
		t.Fatalf("nothing comes\n%s", p.err.String())
	}
	panic("not reached")
}
