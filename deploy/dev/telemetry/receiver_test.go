package telemetry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// patience bounds every wait.
const patience = 30 * time.Second

// collector is the Collector's receiver of OTLP, over TLS with client certificates, and
// what it has received.
type collector struct {
	grpc, http string // its addresses
	trust      *x509.CertPool
	client     tls.Certificate
	files      map[string]string // of its own certificate

	running []receiver.Logs // and of traces, which share the listeners

	mu    sync.Mutex
	lines []string // the bodies of logs
	logs  []plog.Logs
	spans []ptrace.Traces
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{grpc: free(t), http: free(t), trust: x509.NewCertPool(), files: map[string]string{}}
	c.certify(t)
	c.start(t)
	t.Cleanup(func() { c.stop(t) })
	return c
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certify makes one certificate for both ends, which is its own authority.
func (c *collector) certify(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: raw}} {
		c.files[name] = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(c.files[name], pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c.trust.AddCert(own)
	c.client = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// start opens the receiver, as a Collector with this configuration would.
func (c *collector) start(t *testing.T) {
	t.Helper()
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	secured := map[string]any{"cert_file": c.files["cert"], "key_file": c.files["key"], "client_ca_file": c.files["cert"]}
	if err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{
		"grpc": map[string]any{"endpoint": c.grpc, "tls": secured},
		"http": map[string]any{"endpoint": c.http, "tls": secured},
	}}).Unmarshal(cfg); err != nil {
		t.Fatal(err)
	}
	logs, err := consumer.NewLogs(func(_ context.Context, l plog.Logs) error { c.takeLogs(l); return nil })
	if err != nil {
		t.Fatal(err)
	}
	traces, err := consumer.NewTraces(func(_ context.Context, s ptrace.Traces) error { c.takeSpans(s); return nil })
	if err != nil {
		t.Fatal(err)
	}
	settings := receivertest.NewNopSettings(factory.Type())
	of, err := factory.CreateLogs(t.Context(), settings, cfg, logs)
	if err != nil {
		t.Fatal(err)
	}
	ofTraces, err := factory.CreateTraces(t.Context(), settings, cfg, traces)
	if err != nil {
		t.Fatal(err)
	}
	c.running = []receiver.Logs{of, ofTraces}
	for _, r := range c.running {
		if err := r.Start(t.Context(), componenttest.NewNopHost()); err != nil {
			t.Fatal(err)
		}
	}
}

// stop closes it, as a Collector that is stopped or replaced does.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	for _, r := range c.running {
		if err := r.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	c.running = nil
}

func (c *collector) takeLogs(l plog.Logs) {
	kept := plog.NewLogs()
	l.CopyTo(kept)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logs = append(c.logs, kept)
	for _, of := range kept.ResourceLogs().All() {
		for _, scoped := range of.ScopeLogs().All() {
			for _, record := range scoped.LogRecords().All() {
				c.lines = append(c.lines, record.Body().Str())
			}
		}
	}
}

func (c *collector) takeSpans(s ptrace.Traces) {
	kept := ptrace.NewTraces()
	s.CopyTo(kept)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, kept)
}

// received returns the bodies of logs.
func (c *collector) received() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all bytes.Buffer
	for _, line := range c.lines {
		all.WriteString(line)
		all.WriteByte('\n')
	}
	return all.Bytes()
}

// count is how many logs it has.
func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// contextOf is one that the test ends, at the latest when it ends itself.
func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	return ctx, stop
}
