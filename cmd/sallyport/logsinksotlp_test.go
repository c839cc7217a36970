package main

import (
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// logsCollector takes logs by OTLP/HTTP over TLS, and keeps what they say.
type logsCollector struct {
	*httptest.Server
	trust string // a file with its authority

	mu     sync.Mutex
	bodies strings.Builder
}

func newLogsCollector(t *testing.T) *logsCollector {
	t.Helper()
	c := &logsCollector{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		var err error
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, err = gzip.NewReader(r.Body)
		}
		if err != nil {
			t.Error(err)
			return
		}
		raw, err := io.ReadAll(body)
		var data logspb.LogsData
		if err != nil || proto.Unmarshal(raw, &data) != nil || r.URL.Path != "/v1/logs" {
			t.Errorf("%s: %v", r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, of := range data.GetResourceLogs() {
			for _, record := range of.GetScopeLogs()[0].GetLogRecords() {
				c.bodies.WriteString(record.GetBody().GetStringValue() + "\n")
			}
		}
	}))
	t.Cleanup(c.Close)
	c.trust = writeFile(t, t.TempDir(), "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})))
	return c
}

func (c *logsCollector) has() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bodies.String()
}

func TestRecordsReachACollectorThatSpeaksOTLP(t *testing.T) {
	dir := t.TempDir()
	all, denials := newLogsCollector(t), newLogsCollector(t)
	log, sinks, _ := openLog(t, fmt.Sprintf(`
  file: %[1]s/access.log
  sinks:
    - {name: all, otlp: {endpoint: %[2]q, protocol: http, ca_file: %[3]s}, spool: {directory: %[1]s/all}}
    - name: denials
      otlp: {endpoint: %[4]q, protocol: http, ca_file: %[5]s}
      spool: {directory: %[1]s/denials}
      only: {decisions: [deny], actions: [access]}
      format: ocsf
      on_failure: drop
`, dir, all.URL, all.trust, denials.URL, denials.trust))
	const records = 500
	for n := range records {
		r := accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Status: 200, RequestID: fmt.Sprint(n), Method: "GET", ClientAddress: "192.0.2.7"}
		if n%10 == 0 {
			r.Decision, r.Status = accesslog.DecisionDeny, 403
		}
		if err := log.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if file := read(t, dir+"/access.log"); all.has() != file || strings.Count(file, "\n") != records+2 {
		t.Errorf("the collector has %d lines, the file %d", strings.Count(all.has(), "\n"), strings.Count(file, "\n"))
	}
	said := strings.Split(strings.TrimSuffix(denials.has(), "\n"), "\n")
	var first struct {
		Class int `json:"class_uid"`
	}
	if err := json.Unmarshal([]byte(said[0]), &first); err != nil || first.Class == 0 || len(said) != records/10 {
		t.Errorf("%d denials, the first is %s (%v)", len(said), said[0], err)
	}
	for _, c := range sinks.collectors {
		if stats := c.Stats(); stats.Rejected != 0 || stats.Delivered == 0 || stats.Spool.Bytes != 0 {
			t.Errorf("%s: %+v", c.Name(), stats)
		}
	}
}

// TestACollectorThatNobodyVouchesForGetsNothing: its certificate is of another authority
// than the configuration says.
func TestACollectorThatNobodyVouchesForGetsNothing(t *testing.T) {
	dir := t.TempDir()
	c := newLogsCollector(t)
	log, sinks, _ := openLog(t, fmt.Sprintf(`
  file: %[1]s/access.log
  sinks: [{name: all, otlp: {endpoint: %[2]q, protocol: http, ca_file: %[3]s}, spool: {directory: %[1]s/all}}]
`, dir, c.URL, writeFile(t, dir, "ca.pem", otherCertificate(t))))
	if err := log.Write(&accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); len(sinks.remarks()) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody says that the collector is away")
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if c.has() != "" {
		t.Error("records were sent to whom nobody knows")
	}
}
