package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// node is one of several addresses, and counts the calls that it received.
type node struct {
	*httptest.Server
	calls atomic.Int64
}

func newNode(t *testing.T, answer http.HandlerFunc) *node {
	t.Helper()
	n := new(node)
	n.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.calls.Add(1)
		answer(w, r)
	}))
	n.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	n.Start()
	t.Cleanup(n.Close)
	return n
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func dropped(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func clientOf(t *testing.T, addresses ...string) *Client {
	t.Helper()
	client, err := New(Config{Address: strings.Join(addresses, ","), UnsafeHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	return client
}

const nobody = "http://127.0.0.1:1"

func TestNodeWithoutServiceIsPassedOver(t *testing.T) {
	limited := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	tests := map[string]struct {
		first           http.HandlerFunc
		repeat, oneTime bool // whether the second node is asked
	}{
		"sealed":                  {status(503, `{"errors":["Vault is sealed"]}`), true, false},
		"standby of health":       {status(429, ""), true, false},
		"standby for recovery":    {status(472, ""), true, false},
		"standby for performance": {status(473, ""), true, false},
		"standby that redirects":  {status(307, ""), true, false},
		"internal error":          {status(500, `{"errors":["internal error"]}`), true, false},
		"dropped connection":      {dropped, true, false},
		"garbage":                 {status(200, "<html>"), true, false},
		"rate limit":              {limited, false, false},
		"denied":                  {status(403, `{"errors":["permission denied"]}`), false, false},
		"absent":                  {status(404, `{"errors":[]}`), false, false},
		"bad request":             {status(400, `{"errors":["bad"]}`), false, false},
	}
	for name, test := range tests {
		for kind, want := range map[string]bool{"repeatable": test.repeat, "one-time": test.oneTime} {
			t.Run(name+", "+kind, func(t *testing.T) {
				first, second := newNode(t, test.first), newNode(t, status(200, `{"data":{"a":"b"}}`))
				_, err := clientOf(t, first.URL, second.URL).Do(t.Context(), Call{Method: "PUT", Path: "x", OneTime: kind == "one-time"})
				if asked := second.calls.Load() == 1; asked != want || (err == nil) != want || first.calls.Load() != 1 {
					t.Errorf("second node asked: %t, expected %t; first got %d calls; error %v", asked, want, first.calls.Load(), err)
				}
			})
		}
	}
}

func TestCallThatNeverLeftMayGoElsewhereOnce(t *testing.T) {
	second := newNode(t, status(200, `{"data":{"a":"b"}}`))
	client := clientOf(t, nobody, second.URL)
	if _, err := client.Do(t.Context(), Call{Method: "PUT", Path: "x", OneTime: true}); err != nil || second.calls.Load() != 1 {
		t.Errorf("%d calls, %v", second.calls.Load(), err)
	}
}

func TestNodeThatWorksIsAskedFirst(t *testing.T) {
	first, second := newNode(t, status(503, "")), newNode(t, status(200, `{"data":{"a":"b"}}`))
	client := clientOf(t, first.URL, second.URL)
	for range 5 {
		if _, err := client.Do(t.Context(), Call{Method: "GET", Path: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if first.calls.Load() != 1 || second.calls.Load() != 5 {
		t.Errorf("the sealed node got %d calls, the other %d; expected 1 and 5", first.calls.Load(), second.calls.Load())
	}
}

// TestSilentNodeLeavesTimeForTheOthers: it must not use up the caller's time.
func TestSilentNodeLeavesTimeForTheOthers(t *testing.T) {
	release := make(chan struct{})
	silent := newNode(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	second := newNode(t, status(200, `{"data":{"a":"b"}}`))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := clientOf(t, silent.URL, second.URL).Do(ctx, Call{Method: "GET", Path: "x"}); err != nil {
		t.Error(err)
	}
}

func TestFailureOfAllNodesTellsWhatSaysMost(t *testing.T) {
	sealed := newNode(t, status(503, `{"errors":["Vault is sealed"]}`))
	for _, order := range [][]string{{nobody, sealed.URL}, {sealed.URL, nobody}} {
		if _, err := clientOf(t, order...).Do(t.Context(), Call{Method: "GET", Path: "x"}); Status(err) != 503 {
			t.Errorf("error %v, expected the one of the sealed node", err)
		}
	}
}

func TestListOfAddressesIsJudged(t *testing.T) {
	for name, test := range map[string]struct{ list, fault string }{
		"spaces":   {nobody + " , http://127.0.0.1:2", ""},
		"twice":    {nobody + "," + nobody, "each address once"},
		"empty":    {nobody + ",", "expected https"},
		"bad":      {nobody + ",ftp://127.0.0.1", "expected scheme https"},
		"too many": {strings.Join([]string{nobody, nobody + "0", nobody + "1", nobody + "2", nobody + "3", nobody + "4", nobody + "5", nobody + "6", nobody + "7", nobody + "8"}, ","), "at most 9"},
	} {
		_, err := New(Config{Address: test.list, UnsafeHTTP: true})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, expected %q", name, err, test.fault)
		}
	}
}

func TestNamespaceTravelsWithEveryCall(t *testing.T) {
	var seen string
	server := newNode(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Vault-Namespace")
		w.WriteHeader(http.StatusNoContent)
	})
	client, err := New(Config{Address: server.URL, UnsafeHTTP: true, Namespace: "team/tools"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	if _, err := client.Do(t.Context(), Call{Method: "GET", Path: "x"}); err != nil || seen != "team/tools" {
		t.Errorf("namespace %q, %v", seen, err)
	}
	if _, err := New(Config{Address: server.URL, UnsafeHTTP: true, Namespace: "a\r\nX: y"}); err == nil {
		t.Error("a namespace with a line end is accepted")
	}
}

// TestClientCertificateIsReadAgain renews the files under a running client.
func TestClientCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, caFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem"), filepath.Join(dir, "ca.pem")
	shown := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown <- r.TLS.PeerCertificates[0].Subject.CommonName
		w.WriteHeader(http.StatusNoContent)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	writeBlock(t, caFile, "CERTIFICATE", server.Certificate().Raw)
	cfg := Config{Address: server.URL, CAFile: caFile, CertFile: certFile, KeyFile: keyFile}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "client certificate") {
		t.Fatalf("without files: %v", err)
	}
	writePair(t, certFile, keyFile, "first")
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	check := func(want string) {
		t.Helper()
		if _, err := client.Do(t.Context(), Call{Method: "PUT", Path: "x", OneTime: true}); err != nil {
			t.Fatal(err)
		}
		if got := <-shown; got != want {
			t.Errorf("the server saw %q, expected %q", got, want)
		}
	}
	check("first")
	writePair(t, certFile, keyFile, "second")
	check("second")
	if err := os.WriteFile(keyFile, []byte("half writ"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("second")
}

func writePair(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeBlock(t, certFile, "CERTIFICATE", cert)
	writeBlock(t, keyFile, "PRIVATE KEY", raw)
}

func writeBlock(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
