package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// tracesCollector keeps the spans that processes send it, by OTLP/HTTP.
type tracesCollector struct {
	*httptest.Server

	mu    sync.Mutex
	spans []toldSpan
}

// toldSpan is a span and whose it is.
type toldSpan struct {
	service, name, trace, id, parent string
	links                            int
	kind                             tracepb.Span_SpanKind
	attributes                       map[string]string
}

func newTracesCollector(t *testing.T) *tracesCollector {
	t.Helper()
	c := &tracesCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var unpacked *gzip.Reader
			if unpacked, err = gzip.NewReader(bytes.NewReader(raw)); err == nil {
				raw, err = io.ReadAll(unpacked)
			}
		}
		var data tracepb.TracesData
		if err != nil || proto.Unmarshal(raw, &data) != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, of := range data.GetResourceSpans() {
			c.keep(of)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *tracesCollector) keep(of *tracepb.ResourceSpans) {
	service := ""
	for _, a := range of.GetResource().GetAttributes() {
		if a.GetKey() == "service.name" {
			service = a.GetValue().GetStringValue()
		}
	}
	for _, scoped := range of.GetScopeSpans() {
		for _, s := range scoped.GetSpans() {
			told := toldSpan{
				service: service, name: s.GetName(), trace: hex.EncodeToString(s.GetTraceId()), id: hex.EncodeToString(s.GetSpanId()),
				parent: hex.EncodeToString(s.GetParentSpanId()), links: len(s.GetLinks()), kind: s.GetKind(), attributes: map[string]string{},
			}
			for _, a := range s.GetAttributes() {
				told.attributes[a.GetKey()] = a.GetValue().GetStringValue()
			}
			c.spans = append(c.spans, told)
		}
	}
}

// of returns the spans of a trace.
func (c *tracesCollector) of(trace string) (found []toldSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.trace == trace {
			found = append(found, s)
		}
	}
	return found
}

// callsOf counts the calls to Vault that a service has told of.
func (c *tracesCollector) callsOf(service string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.service == service && strings.HasPrefix(s.name, "vault ") {
			n++
		}
	}
	return n
}

// startTracedPair starts a gateway and a sidecar that send their spans to c.
func startTracedPair(t *testing.T, s *stand, app string, c *tracesCollector) *pair {
	t.Helper()
	p := &pair{stand: s, https: free(t), admin: free(t), beside: free(t), probes: free(t)}
	to := fmt.Sprintf("endpoint: %q, protocol: http", c.URL)
	sidecar := fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\npki: {ttl: 5m}\ntracing: {%s}\n", sidecarName, app, p.beside, p.probes, to)
	p.sidecar = s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole],
		"--wrapping-token-file", s.introduce(t, sidecarRole).file, "--config", writeFile(t, t.TempDir(), "sidecar.yaml", sidecar))
	yaml := gatewayYAML(p.https, p.admin, fmt.Sprintf("tracing: {%s, sample: 100%%}\n", to))
	p.config = writeFile(t, t.TempDir(), "gateway.yaml", strings.Replace(yaml, "https://127.0.0.1:1", "https://"+p.beside, 1))
	p.gateway = s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, p.config)
	p.sidecar.ready(t, p.probes)
	p.gateway.ready(t, p.admin)
	return p
}

// testTracing follows one request through a gateway, a sidecar and a tool: the spans of
// both, what the tool gets, and the records of both are of one trace, which is not the
// stranger's.
func testTracing(t *testing.T, s *stand) {
	const strangers = "0af7651916cd43dd8448eb211c80319c"
	got := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Traceparent")
		if r.Header.Get("X-Sallyport-Trace") != "" {
			t.Error("the tool gets a header that is between gateway and sidecar")
		}
		_, _ = io.WriteString(w, "hello "+r.Header.Get("X-Forwarded-User"))
	}))
	defer app.Close()
	c := newTracesCollector(t)
	p := startTracedPair(t, s, app.URL, c)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(s.signIn(t))
	req.Header.Set("Traceparent", "00-"+strangers+"-b7ad6b7169203331-01")
	transport := s.transportTo(t, p.https)
	res, err := transport.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	transport.CloseIdleConnections()
	p.both(func(process *process) { // at its end, each sends what it has
		process.signal(t, os.Interrupt)
		if code := process.wait(t); code != exitOK {
			t.Errorf("exit code %d\n%s", code, process.err.String())
		}
	})

	parent := <-got
	trace := strings.Split(parent, "-")[1]
	if trace == strangers || len(c.of(strangers)) > 0 {
		t.Fatalf("a stranger's trace is continued: %s", parent)
	}
	checkTracedWay(t, c.of(trace), parent)
	for service, process := range map[string]*process{"sallyport-gateway": p.gateway, "sallyport-sidecar": p.sidecar} {
		if record := recordOfTrace(t, process.out.String(), trace); record["sallyport.decision"] != "allow" || record["span.id"] == nil {
			t.Errorf("%s: the record of the trace is %v\n%s", service, record, process.out.String())
		}
		if c.callsOf(service) == 0 {
			t.Errorf("%s tells of no call to Vault", service)
		}
	}
}

// checkTracedWay checks the spans of one request, from the browser's to what the
// application was asked, which has got parent.
func checkTracedWay(t *testing.T, spans []toldSpan, parent string) {
	t.Helper()
	const server, client = tracepb.Span_SPAN_KIND_SERVER, tracepb.Span_SPAN_KIND_CLIENT
	above, links := "", 1
	for _, step := range []struct {
		service string
		kind    tracepb.Span_SpanKind
	}{{"sallyport-gateway", server}, {"sallyport-gateway", client}, {"sallyport-sidecar", server}, {"sallyport-sidecar", client}} {
		found := false
		for _, s := range spans {
			if s.service == step.service && s.kind == step.kind && s.parent == above && s.links == links {
				above, found = s.id, true
				break
			}
		}
		if !found {
			t.Fatalf("no span %v below %q among %+v", step, above, spans)
		}
		links = 0
	}
	if len(spans) != 4 || !strings.HasSuffix(parent, "-"+above+"-01") {
		t.Errorf("the application gets %s of %+v", parent, spans)
	}
	for _, s := range spans {
		for name, value := range s.attributes {
			if strings.Contains(value, "alice") {
				t.Errorf("span %q: %s is %q", s.name, name, value)
			}
		}
	}
}

// recordOfTrace is the record of that trace among lines.
func recordOfTrace(t *testing.T, lines, trace string) map[string]any {
	t.Helper()
	for line := range strings.Lines(lines) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["trace.id"] == trace {
			return record
		}
	}
	return nil
}
