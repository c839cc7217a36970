package wire

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newServer runs an HTTPS server and returns it with a Client that trusts it.
func newServer(t *testing.T, handler http.HandlerFunc) (*httptest.Server, *Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := New(Config{Address: server.URL, CAFile: caFile(t, server)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	return server, client
}

func caFile(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCallOnTheWire(t *testing.T) {
	var got *http.Request
	var body map[string]any
	_, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte(`{"data":{"n":1},"lease_id":"x"}`))
	})
	secret, err := client.Do(t.Context(), Call{
		Method: "PUT", Path: "auth/approle/login", Query: map[string]string{"list": "true"}, Token: "t0ken",
		Body: map[string]string{"role_id": "r"}, WrapTTL: 90 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if secret.LeaseID != "x" || secret.Data["n"] != json.Number("1") {
		t.Errorf("secret %+v", secret)
	}
	if got.Method != http.MethodPut || got.URL.String() != "/v1/auth/approle/login?list=true" {
		t.Errorf("request %s %s", got.Method, got.URL)
	}
	want := http.Header{
		"Accept-Encoding": nil, "Content-Length": {"15"}, "Content-Type": {"application/json"}, "User-Agent": {"Go-http-client/1.1"},
		"X-Vault-Request": {"true"}, "X-Vault-Token": {"t0ken"}, "X-Vault-Wrap-Ttl": {"1m30s"},
	}
	delete(want, "Accept-Encoding")
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"role_id": "r"}, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// TestNoEnvironmentVariableHasAnyInfluence sets every variable that the client
// library of Vault, or Go's HTTP, would read, to something that would be seen.
func TestNoEnvironmentVariableHasAnyInfluence(t *testing.T) {
	var reached atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	for name, value := range map[string]string{
		"VAULT_ADDR": elsewhere.URL, "VAULT_AGENT_ADDR": elsewhere.URL, "VAULT_PROXY_ADDR": elsewhere.URL,
		"VAULT_HTTP_PROXY": elsewhere.URL, "HTTP_PROXY": elsewhere.URL, "HTTPS_PROXY": elsewhere.URL, "ALL_PROXY": elsewhere.URL,
		"https_proxy": elsewhere.URL, "NO_PROXY": "",
		"VAULT_TOKEN": "from-the-environment", "VAULT_NAMESPACE": "evil", "VAULT_HEADERS": `{"X-Evil":"1"}`,
		"VAULT_SKIP_VERIFY": "true", "VAULT_TLS_SERVER_NAME": "evil.example.com", "VAULT_CACERT": "/nonexistent",
		"VAULT_CACERT_BYTES": "garbage", "VAULT_CAPATH": "/nonexistent", "VAULT_CLIENT_CERT": "/nonexistent", "VAULT_CLIENT_KEY": "/nonexistent",
		"VAULT_MAX_RETRIES": "not a number", "VAULT_RATE_LIMIT": "not a number", "VAULT_CLIENT_TIMEOUT": "not a duration",
		"VAULT_SRV_LOOKUP": "true", "VAULT_DISABLE_REDIRECTS": "not a bool", "VAULT_WRAP_TTL": "1h", "VAULT_MFA": "x",
		"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent",
	} {
		t.Setenv(name, value)
	}
	var header http.Header
	server, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(http.StatusNoContent)
	})
	if secret, err := client.Do(t.Context(), Call{Method: "GET", Path: "secret/data/x"}); err != nil || secret != nil {
		t.Fatalf("call: %v, %v", secret, err)
	}
	want := http.Header{"User-Agent": {"Go-http-client/1.1"}, "X-Vault-Request": {"true"}}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	// Go proxies no loopback address, so a call to an address for documentation
	// (RFC 5737), where nobody answers, must not find its way to the proxy.
	away, err := New(Config{Address: "https://192.0.2.1:8200", CAFile: caFile(t, server)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := away.Do(ctx, Call{Method: "GET", Path: "x"}); err == nil {
		t.Error("an address where nobody answers answered")
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests went to the address of a variable", n)
	}
	// VAULT_SKIP_VERIFY is as good as not there.
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	strict, err := New(Config{Address: server.URL, CAFile: selfSigned(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Do(t.Context(), Call{Method: "GET", Path: "x"}); !Untrusted(err) {
		t.Errorf("a server of an unknown authority: %v, expected it untrusted", err)
	}
}

// selfSigned writes a CA file that no server of the tests chains to.
func selfSigned(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(path, []byte(otherCA), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var stolen atomic.Int64
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		_, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+r.URL.Path, status)
		})
		_, err := client.Do(t.Context(), Call{Method: "GET", Path: "x", Token: "t0ken"})
		if Status(err) != status || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: error %v", status, err)
		}
		if !MaySucceedLater(err) {
			t.Errorf("%d: a standby's redirect is not waited for", status)
		}
	}
	if n := stolen.Load(); n != 0 {
		t.Errorf("%d requests followed the redirect", n)
	}
}

func TestAnswerIsBounded(t *testing.T) {
	_, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/header":
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
		case "/v1/endless":
			for range 1 << 12 {
				if _, err := w.Write(make([]byte, 1<<14)); err != nil {
					return
				}
			}
		case "/v1/error":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":["`+strings.Repeat("y", AuthBytes)+`"]}`)
		case "/v1/fits":
			_, _ = io.WriteString(w, `{"request_id":"`+strings.Repeat("z", AuthBytes-17)+`"}`)
		}
	})
	for path, limit := range map[string]int64{"header": 0, "endless": 0, "error": 0, "endless ": DataBytes} {
		var transport *TransportError
		if _, err := client.Do(t.Context(), Call{Method: "GET", Path: strings.TrimSpace(path), Limit: limit}); !errors.As(err, &transport) || !transport.Sent {
			t.Errorf("%s: error %T %v, expected a TransportError of a call that was sent", path, err, err)
		}
	}
	if _, err := client.Do(t.Context(), Call{Method: "GET", Path: "fits"}); err != nil {
		t.Errorf("an answer of just the limit: %v", err)
	}
}

func TestErrorsAreCleanOfSecretsAndControls(t *testing.T) {
	_, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		messages := []string{
			"token " + r.Header.Get("X-Vault-Token") + " and " + string(raw),
			"line\nbreak\x1b[31m\u202Ered\x00", strings.Repeat("long ", 200), "four", "five",
		}
		w.WriteHeader(http.StatusForbidden)
		if err := json.NewEncoder(w).Encode(map[string]any{"errors": messages}); err != nil {
			t.Error(err)
		}
	})
	_, err := client.Do(t.Context(), Call{
		Method: "PUT", Path: "x", Token: "t0ken", Body: map[string]string{"secret_id": "s3cret"}, Secrets: []string{"s3cret"},
	})
	var status *StatusError
	if !errors.As(err, &status) || !status.FromVault || status.Status != 403 {
		t.Fatalf("error %T %v", err, err)
	}
	text := err.Error()
	for _, bad := range []string{"t0ken", "s3cret", "\n", "\x1b", "\u202e", "\x00", "five"} {
		if strings.Contains(text, bad) {
			t.Errorf("error holds %q: %s", bad, text)
		}
	}
	if want := "line break [31m red"; status.Messages[1] != want {
		t.Errorf("cleaned message %q, expected %q", status.Messages[1], want)
	}
	if len(text) > 4*maxMessageBytes {
		t.Errorf("error of %d bytes", len(text))
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	type verdict struct {
		Status           int
		Later, FromVault bool
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		want    verdict
	}{
		"bad request":        {status(400, `{"errors":["no"]}`), verdict{400, false, true}},
		"denied":             {status(403, `{"errors":["permission denied"]}`), verdict{403, false, true}},
		"absent":             {status(404, `{"errors":[]}`), verdict{404, false, true}},
		"absent, deleted":    {status(404, `{"data":{"metadata":{"version":2}}}`), verdict{404, false, true}},
		"not replicated":     {status(412, `{"errors":["x"]}`), verdict{412, true, true}},
		"rate limited":       {status(429, `{"errors":["x"]}`), verdict{429, true, true}},
		"standby":            {status(473, ``), verdict{473, true, false}},
		"internal":           {status(500, `{"errors":["x"]}`), verdict{500, true, true}},
		"a proxy's page":     {status(502, `<html>bad gateway`), verdict{502, true, false}},
		"sealed":             {status(503, `{"errors":["Vault is sealed"]}`), verdict{503, true, true}},
		"connection dropped": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, verdict{0, true, false}},
		"not JSON":           {status(200, `<html>`), verdict{0, true, false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, client := newServer(t, test.handler)
			_, err := client.Do(t.Context(), Call{Method: "PUT", Path: "x"})
			if err == nil {
				t.Fatal("no error")
			}
			got := verdict{Status: Status(err), Later: MaySucceedLater(err)}
			var se *StatusError
			if errors.As(err, &se) {
				got.FromVault = se.FromVault
				if RetryAfter(err) != 7*time.Second {
					t.Errorf("RetryAfter = %s", RetryAfter(err))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict on %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestUnsentIsToldFromLost(t *testing.T) {
	client, err := New(Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	var transport *TransportError
	_, err = client.Do(t.Context(), Call{Method: "PUT", Path: "x"})
	if !errors.As(err, &transport) || transport.Sent {
		t.Errorf("refused connection: %#v, expected it unsent", err)
	}
	if strings.Contains(err.Error(), "/v1/") {
		t.Errorf("error repeats the URL: %v", err)
	}
	_, client = newServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = client.Do(t.Context(), Call{Method: "PUT", Path: "x"})
	if !errors.As(err, &transport) || !transport.Sent {
		t.Errorf("dropped connection: %#v, expected it sent", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = client.Do(cancelled, Call{Method: "PUT", Path: "x"}); MaySucceedLater(err) {
		t.Errorf("a cancelled call may succeed later: %v", err)
	}
}

// TestOneTimeCallHasAConnectionToItself while others share theirs: an idle one may
// just be closed by the other side, and what they share is left as it is.
func TestOneTimeCallHasAConnectionToItself(t *testing.T) {
	var mu sync.Mutex
	calls := map[string][]string{} // the paths that came by each connection
	_, client := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls[r.RemoteAddr] = append(calls[r.RemoteAddr], r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	})
	do := func(path string) {
		if _, err := client.Do(t.Context(), Call{Method: "PUT", Path: path, OneTime: path == "once"}); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"shared", "once", "shared", "once", "once", "shared"} {
		do(path)
	}
	if len(calls) != 4 {
		t.Errorf("calls by connection %v, expected one for each one-time call and one for the others", calls)
	}
	var group sync.WaitGroup
	for _, path := range []string{"once", "shared", "shared", "shared"} {
		group.Go(func() {
			for range 100 {
				do(path)
			}
		})
	}
	group.Wait()
	for _, paths := range calls {
		if slices.Contains(paths, "/v1/once") && len(paths) != 1 {
			t.Errorf("%d calls by the connection of a one-time call", len(paths))
		}
	}
}

func TestAddressIsJudged(t *testing.T) {
	tests := map[string]struct {
		address    string
		unsafeHTTP bool
		fault      string // "" is accepted
	}{
		"https":                  {"https://vault.internal:8200", false, ""},
		"https with a path":      {"https://proxy.internal/vault/", false, ""},
		"http to loopback":       {"http://127.0.0.1:8200", true, ""},
		"http to loopback IPv6":  {"http://[::1]:8200", true, ""},
		"http without permit":    {"http://127.0.0.1:8200", false, "unsafe"},
		"http to another host":   {"http://10.0.0.1:8200", true, "loopback"},
		"http to a name":         {"http://localhost:8200", true, "loopback"},
		"no scheme":              {"vault.internal:8200", false, "https"},
		"unix socket":            {"unix:///run/vault.sock", false, "https"},
		"user and password":      {"https://user:hunter2@vault.internal", false, "https://HOST"},
		"query":                  {"https://vault.internal?x=1", false, "https://HOST"},
		"nothing":                {"", false, "https://HOST"},
		"control characters":     {"https://vault\x00.internal", false, "expected a URL"},
		"http in capital letter": {"HTTP://10.0.0.1", true, "loopback"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseAddress(test.address, test.unsafeHTTP)
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("error %v, expected %q", err, test.fault)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows the password: %v", err)
			}
		})
	}
}

func TestCAFileIsRequiredAndRead(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, fault := range map[string]string{"": "none given", "/nonexistent": "no such file", empty: "expected PEM"} {
		if _, err := New(Config{Address: "https://vault.internal", CAFile: path}); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("CA file %q: %v, expected %q", path, err, fault)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	client, err := New(Config{Address: server.URL, CAFile: caFile(t, server)})
	if err != nil {
		t.Fatal(err)
	}
	var transport *TransportError
	if _, err := client.Do(t.Context(), Call{Method: "GET", Path: "x"}); !errors.As(err, &transport) || transport.Sent {
		t.Errorf("TLS 1.1: error %v, expected a refused handshake", err)
	}
}

// FuzzAnswer: no answer makes decode panic, echo a secret, or return neither.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"auth":{"client_token":"x"}}`))
	f.Add(403, []byte(`{"errors":["permission denied for t0ken-of-the-caller"]}`))
	f.Add(404, []byte(`{"data":{"data":null,"metadata":{"deletion_time":"x"}}}`))
	f.Add(500, []byte(`{"errors":null}`))
	f.Add(200, []byte(`{"errors":null}`))
	f.Add(204, []byte(``))
	f.Add(200, []byte(`{"data":[]}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		call := Call{Path: "x", Token: "t0ken-of-the-caller"}
		resp := &http.Response{StatusCode: status, Header: http.Header{}}
		secret, err := decode(resp, body, call)
		switch {
		case err == nil && status >= 300:
			t.Errorf("status %d is no error", status)
		case err == nil && secret == nil && strings.TrimSpace(string(body)) != "":
			t.Errorf("answer %q became nothing", body)
		case err != nil && strings.Contains(err.Error(), call.Token):
			t.Errorf("error shows the token: %v", err)
		case err != nil && strings.ContainsAny(err.Error(), "\n\r\x1b\x00"):
			t.Errorf("error has control characters: %q", err.Error())
		}
	})
}
