package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// renewals is a set of certificates that says what it is told to.
type renewals struct {
	mu     sync.Mutex // guards the rest
	names  []string
	err    map[string]error
	called map[string]int
}

func (r *renewals) Status() []vaultpki.CertificateStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var statuses []vaultpki.CertificateStatus
	for _, name := range r.names {
		statuses = append(statuses, vaultpki.CertificateStatus{
			Name: name, Serial: fmt.Sprintf("%s:%02d", name[:1], r.called[name]), NotAfter: time.Date(2026, 11, 25, 12, r.called[name], 0, 0, time.UTC),
		})
	}
	return statuses
}

func (r *renewals) Renew(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.err[name]; err != nil {
		return err
	}
	r.called[name]++
	return nil
}

func TestRenewalsAreAnswered(t *testing.T) {
	away := &vaultpki.Error{Reason: vaultpki.ReasonUnreachable, Op: "issuing", Err: errors.New("no answer in time")}
	denied := &vaultpki.Error{Reason: vaultpki.ReasonDenied, Op: "issuing", Err: errors.New("permission denied")}
	soon := &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "renewing", Err: vaultpki.ErrTooSoon, Hint: "wait ten seconds"}
	gone := &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "renewing", Err: vaultpki.ErrUnknownName}
	const renewedA = "a: renewed, serial a:01, until 2026-11-25T12:01:00Z, in place of serial a:00, until 2026-11-25T12:00:00Z\n"
	tests := map[string]struct {
		name   string
		err    map[string]error
		status int
		body   string
	}{
		"one":              {"a", nil, 200, renewedA},
		"unknown":          {"x", nil, 404, `no certificate for "x", expected one of ["a" "b" "c"]` + "\n"},
		"vault is away":    {"b", map[string]error{"b": away}, 503, "b: not renewed, serial b:00, until 2026-11-25T12:00:00Z, stays in use: issuing: no answer in time\n"},
		"denied":           {"b", map[string]error{"b": denied}, 502, "b: not renewed, serial b:00, until 2026-11-25T12:00:00Z, stays in use: issuing: permission denied\n"},
		"too soon":         {"a", map[string]error{"a": soon}, 429, "a: not renewed, serial a:00, until 2026-11-25T12:00:00Z, stays in use: renewing: it was renewed on demand just now; wait ten seconds\n"},
		"dropped just now": {"a", map[string]error{"a": gone}, 404, "a: not renewed"},
		"all, one fails":   {"", map[string]error{"b": away}, 503, renewedA + "b: not renewed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			edge := &renewals{names: []string{"a", "b"}, err: test.err, called: map[string]int{}}
			backend := &renewals{names: []string{"c"}, called: map[string]int{}}
			handler := renewHandler(slog.New(slog.DiscardHandler), []renewable{edge, backend})
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, renewPath+"?"+url.Values{"name": {test.name}}.Encode(), nil))
			if recorder.Code != test.status || !strings.HasPrefix(recorder.Body.String(), test.body) {
				t.Errorf("status %d, body:\n%s", recorder.Code, recorder.Body)
			}
			if wanted := test.name == ""; (backend.called["c"] == 1) != wanted {
				t.Errorf("another certificate was renewed: %t", !wanted)
			}
		})
	}
}

func TestBrowsersRenewNothing(t *testing.T) {
	server := httptest.NewServer(proxy.Admin(proxy.AdminConfig{
		Metrics: newRegistry("gateway"), More: map[string]http.Handler{"POST " + renewPath: renewEndpoint(slog.New(slog.DiscardHandler), nil)},
	}))
	defer server.Close()
	send := func(method string, header http.Header) int {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+renewPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
	for name, header := range map[string]http.Header{
		"another site":          {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"a sibling":             {"Sec-Fetch-Site": {"same-site"}},
		"an older browser":      {"Origin": {"https://evil.example"}},
		"a sandboxed frame":     {"Origin": {"null"}},
		"after a DNS rebinding": {"Sec-Fetch-Site": {"same-origin"}, "Origin": {server.URL}},
		"typed by a person":     {"Sec-Fetch-Site": {"none"}},
	} {
		if status := send(http.MethodPost, header); status != http.StatusForbidden {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if status := send(http.MethodGet, http.Header{}); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", status)
	}
	// There is none to renew, which is for the command to know.
	if status := send(http.MethodPost, http.Header{}); status != http.StatusNotFound {
		t.Errorf("the command: status %d", status)
	}
}

// testCertificatesAreRenewedOnDemand asks a running gateway by the command.
func testCertificatesAreRenewedOnDemand(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	intro := s.introduce(t, gatewayRole)
	p := s.start(t, "gateway", "--role-id", s.roleIDs[gatewayRole], "--wrapping-token-file", intro.file,
		"--config", writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")))
	p.ready(t, admin)
	serial := func() string {
		conn, err := tls.Dial("tcp", https, &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: notesHost})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	command := s.start(t, "certificates", "renew", notesHost, "--admin-url", "http://"+admin)
	if code := command.wait(t); code != exitOK || !strings.Contains(command.out.String(), notesHost+": renewed, serial ") {
		t.Fatalf("exit code %d\n%s%s", code, command.out.String(), command.err.String())
	}
	if serial() == before {
		t.Error("the old certificate is still shown")
	}
	checkMetrics(t, admin,
		`sallyport_certificate_renewals_total{name="`+notesHost+`",result="success"} 1`,
		`sallyport_certificate_renewals_total{name="`+doorHost+`",result="success"} 0`,
		`sallyport_certificate_renewals_total{name="`+doorHost+`",result="failure"} 0`)
	for name, want := range map[string]string{notesHost: "answers 429", "other.example.com": "answers 404"} {
		command := s.start(t, "certificates", "renew", name, "--admin-url", "http://"+admin)
		if code := command.wait(t); code != exitFailure || !strings.Contains(command.err.String(), want) {
			t.Errorf("%s: exit code %d\n%s", name, code, command.err.String())
		}
	}
	if status := s.browser(t, https)(http.MethodPost, renewPath, nil); status == http.StatusOK {
		t.Error("renewals are answered to browsers")
	}
	s.checkNoSecret(t, p, intro.token)
}
