package telemetry

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	sink "github.com/sallyport/sallyport/proxy/accesslog/sink/otlp"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
	"github.com/sallyport/sallyport/proxy/otlp"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// dial returns a client of c that shows it a certificate, in either protocol.
func (c *collector) dial(t *testing.T, protocol otlp.Protocol) *otlp.Client {
	t.Helper()
	at := &url.URL{Scheme: "https", Host: map[otlp.Protocol]string{otlp.GRPC: c.grpc, otlp.HTTP: c.http}[protocol]}
	client, err := otlp.New(otlp.Config{
		Endpoint: at, Protocol: protocol, TLS: &tls.Config{RootCAs: c.trust, Certificates: []tls.Certificate{c.client}, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// recording is a log with a file and a sink for c.
type recording struct {
	*accesslog.Log
	file string
	sink *sink.Sink
}

func record(t *testing.T, dir string, c *collector, protocol otlp.Protocol) *recording {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	kept, err := spool.Open(spool.Config{Directory: filepath.Join(dir, "spool"), Size: 256 << 20, Name: "telemetry", Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{file: filepath.Join(dir, "access.log")}
	out, err := os.OpenFile(r.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r.sink = sink.New(t.Context(), sink.Config{Name: "telemetry", Collector: c.dial(t, protocol), Spool: kept, Log: logger})
	r.Log = accesslog.Prepare(accesslog.Config{
		Service: "sallyport-gateway", Log: logger, Sinks: []accesslog.Sink{accesslog.NewOutput("file", out), r.sink},
	})
	return r
}

// write writes records of what clients send, some of it odd.
func (r *recording) write(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		record := &accesslog.Record{
			Time: time.Now(), Action: accesslog.ActionAccess, Decision: "allow", Reason: "group_allowed", RequestID: fmt.Sprint("request-", i),
			User: "alice@example.com", Route: "notes", Method: "GET", Host: "notes.example.com", Path: "/\xff\u202e\"\\" + strings.Repeat("x", i%3000), Status: 200,
		}
		if err := r.Write(record); err != nil {
			t.Fatal(err)
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// same checks that the collector has what the file has, to the byte and in order. What was
// on its way when the collector stopped may be there twice.
func same(t *testing.T, c *collector, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var got strings.Builder
	repeated := 0
	for line := range strings.Lines(string(c.received())) {
		if seen[line] {
			repeated++
			continue
		}
		seen[line] = true
		got.WriteString(line)
	}
	if string(want) != got.String() {
		t.Errorf("file and collector differ: %.2000s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")))
	}
	t.Logf("%d records, %d of them twice", len(seen), repeated)
}

// TestTheCollectorHasWhatTheFileHas while it is there, goes away under load, stays away
// over a restart of ours, and comes back.
func TestTheCollectorHasWhatTheFileHas(t *testing.T) {
	for _, protocol := range []otlp.Protocol{otlp.GRPC, otlp.HTTP} {
		t.Run(string(protocol), func(t *testing.T) {
			c, dir := newCollector(t), t.TempDir()
			r := record(t, dir, c, protocol)
			const each = 3000
			r.write(t, 0, each)
			until(t, "the first records do not arrive", func() bool { return c.count() > each/2 })
			c.stop(t)
			r.write(t, each, 2*each)
			until(t, "nobody notices that the collector is away", func() bool { return !r.sink.Stats().Away.IsZero() })
			if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
			r = record(t, dir, c, protocol)
			r.write(t, 2*each, 3*each)
			c.start(t)
			until(t, "the records do not arrive", func() bool { return r.sink.Stats().Spool.Bytes == 0 })
			r.write(t, 3*each, 4*each)
			if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
			same(t, c, r.file)
			checkResources(t, c)
		})
	}
}

// checkResources checks that records stand under the instance that wrote them.
func checkResources(t *testing.T, c *collector) {
	t.Helper()
	instances := map[string]bool{}
	for _, l := range c.logs {
		for _, of := range l.ResourceLogs().All() {
			service, _ := of.Resource().Attributes().Get("service.name")
			instance, _ := of.Resource().Attributes().Get("service.instance.id")
			instances[service.Str()+" "+instance.Str()] = true
			for _, record := range of.ScopeLogs().At(0).LogRecords().All() {
				if !strings.Contains(record.Body().Str(), `"sallyport.log.instance":"`+instance.Str()+`"`) {
					t.Fatalf("a record of another instance than %s: %s", instance.Str(), record.Body().Str())
				}
			}
		}
	}
	if len(instances) != 2 {
		t.Errorf("instances %v, want two of one service", instances)
	}
}

// TestSpansArrive in both protocols, below one another.
func TestSpansArrive(t *testing.T) {
	for _, protocol := range []otlp.Protocol{otlp.GRPC, otlp.HTTP} {
		t.Run(string(protocol), func(t *testing.T) {
			c := newCollector(t)
			client := c.dial(t, protocol)
			defer client.Close()
			tracer := tracing.New(tracing.Config{Collector: client, Sample: 1, Source: tracing.Source{Service: "sallyport-gateway", Instance: "i"}})
			r := accesslog.Record{RequestID: "k5z3q7m2w4xa6bcd", Method: http.MethodGet, Route: "notes", Status: 200, Upstream: "10.0.0.7:8443"}
			span := tracer.Serve(&http.Request{Header: http.Header{}}, r.RequestID, false)
			span.Note(&r)
			forward := span.Forward()
			forward.EndForward(&r)
			span.End(&r)
			ctx, stop := contextOf(t)
			ended := make(chan error)
			go func() { ended <- tracer.Run(ctx) }()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if len(c.spans) != 1 || c.spans[0].SpanCount() != 2 {
				t.Fatalf("%d messages", len(c.spans))
			}
			spans := c.spans[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans()
			below, above := spans.At(0), spans.At(1)
			if id := above.TraceID(); hex.EncodeToString(id[:]) != r.TraceID || below.TraceID() != id || below.ParentSpanID() != above.SpanID() {
				t.Errorf("spans %v and %v of the trace %s", above, below, r.TraceID)
			}
			if above.Name() != "GET notes" || below.Name() != "GET upstream" {
				t.Errorf("spans %q, %q", above.Name(), below.Name())
			}
		})
	}
}

// TestWhoShowsNoCertificateIsAway: TLS of the collector's own making, and both sides of it.
func TestWhoShowsNoCertificateIsAway(t *testing.T) {
	c := newCollector(t)
	for _, protocol := range []otlp.Protocol{otlp.GRPC, otlp.HTTP} {
		for name, cfg := range map[string]*tls.Config{"we are unknown": {RootCAs: c.trust}, "it is unknown": {Certificates: []tls.Certificate{c.client}}} {
			at := &url.URL{Scheme: "https", Host: map[otlp.Protocol]string{otlp.GRPC: c.grpc, otlp.HTTP: c.http}[protocol]}
			client, err := otlp.New(otlp.Config{Endpoint: at, Protocol: protocol, TLS: cfg})
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Export(t.Context(), otlp.Logs, nil); err == nil || c.count() != 0 {
				t.Errorf("%s, %s: delivered", protocol, name)
			}
			client.Close()
		}
	}
}

// TestTheReceiverRefusesNonsense: what the Collector says of a message that is none is
// understood, in both protocols.
func TestTheReceiverRefusesNonsense(t *testing.T) {
	c := newCollector(t)
	for _, protocol := range []otlp.Protocol{otlp.GRPC, otlp.HTTP} {
		client := c.dial(t, protocol)
		err := client.Export(t.Context(), otlp.Logs, []byte("\xff\xff\xff\xff nonsense"))
		t.Log(protocol, err)
		if err == nil {
			t.Errorf("%s: nonsense was taken", protocol)
		}
		client.Close()
	}
}
