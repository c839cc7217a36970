package tracing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base32"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/otlp"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// collector keeps the spans that it is sent.
type collector struct {
	*httptest.Server
	away    atomic.Bool
	refused atomic.Int64 // requests

	mu    sync.Mutex
	raw   []byte
	spans []*tracepb.Span
	whose []string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil || c.away.Load() {
			c.refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			raw = unpacked(t, raw)
		}
		var data tracepb.TracesData
		if err := proto.Unmarshal(raw, &data); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw = append(c.raw, raw...)
		for _, of := range data.GetResourceSpans() {
			for _, scoped := range of.GetScopeSpans() {
				c.spans = append(c.spans, scoped.GetSpans()...)
			}
			for _, a := range of.GetResource().GetAttributes() {
				c.whose = append(c.whose, a.GetKey()+"="+a.GetValue().GetStringValue())
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func unpacked(t *testing.T, raw []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Error(err)
		return nil
	}
	if raw, err = io.ReadAll(r); err != nil {
		t.Error(err)
	}
	return raw
}

// tracer returns one that sends to c, and a function that waits until all is sent.
func (c *collector) tracer(t *testing.T, sample float64) (tracer *tracing.Tracer, flush func()) {
	t.Helper()
	at, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := otlp.New(otlp.Config{Endpoint: at, Protocol: otlp.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	tracer = tracing.New(tracing.Config{
		Collector: client, Sample: sample, Log: slog.New(slog.DiscardHandler),
		Source: tracing.Source{Service: "sallyport-test", Version: "v1", Instance: "i", Host: "h"},
	})
	return tracer, func() {
		t.Helper()
		over, end := context.WithCancel(t.Context())
		end() // has Run send what waits, and end
		if err := tracer.Run(over); err != nil {
			t.Error(err)
		}
	}
}

const (
	strangersTrace  = "0af7651916cd43dd8448eb211c80319c"
	strangersParent = "00-" + strangersTrace + "-b7ad6b7169203331-01"
	requestID       = "k5z3q7m2w4xa6bcd"
)

func request(h http.Header) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: h}
}

func TestATraceThatBeginsHereIsNamedLikeItsRequest(t *testing.T) {
	c := newCollector(t)
	tracer, flush := c.tracer(t, 1)
	span := tracer.Serve(request(http.Header{}), requestID, false)
	var r accesslog.Record
	span.Note(&r)
	span.End(&r)
	flush()
	id, err := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").DecodeString(requestID)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.TraceID) != 32 || !strings.HasSuffix(r.TraceID, hex.EncodeToString(id)) || len(r.SpanID) != 16 {
		t.Errorf("trace %s, span %s; the request's id is %x", r.TraceID, r.SpanID, id)
	}
	if len(c.spans) != 1 || hex.EncodeToString(c.spans[0].GetTraceId()) != r.TraceID || hex.EncodeToString(c.spans[0].GetSpanId()) != r.SpanID {
		t.Errorf("collector has %v", c.spans)
	}
	if want := []string{"service.name=sallyport-test", "service.version=v1", "service.instance.id=i", "host.name=h"}; !slices.Equal(c.whose, want) {
		t.Errorf("of %q, want %q", c.whose, want)
	}
}

// TestWhoIsContinued: only who is trusted continues a trace, and decides that it is kept.
func TestWhoIsContinued(t *testing.T) {
	tests := []struct {
		name                    string
		header                  http.Header
		trusted                 bool
		sample                  float64
		continued, kept, linked bool
		state                   string
	}{
		{name: "a stranger", header: http.Header{"Traceparent": {strangersParent}}, sample: 1, kept: true, linked: true},
		{name: "a stranger who wants it kept", header: http.Header{"Traceparent": {strangersParent}}},
		{name: "a stranger with a state", header: http.Header{"Traceparent": {strangersParent}, "Tracestate": {"a=1"}}, sample: 1, kept: true, linked: true},
		{name: "a proxy that keeps it", header: http.Header{"Traceparent": {strangersParent}, "Tracestate": {"a=1", "b=2"}}, trusted: true, continued: true, kept: true, state: "a=1,b=2"},
		{name: "a proxy that does not", header: http.Header{"Traceparent": {strings.TrimSuffix(strangersParent, "1") + "0"}}, trusted: true, sample: 1, continued: true},
		{name: "a proxy that says nothing", header: http.Header{}, trusted: true, sample: 1, kept: true},
		{name: "two of them", header: http.Header{"Traceparent": {strangersParent, strangersParent}}, trusted: true, sample: 1, kept: true},
		{name: "no version of ours", header: http.Header{"Traceparent": {"ff" + strangersParent[2:]}}, trusted: true, sample: 1, kept: true},
		{name: "zeros", header: http.Header{"Traceparent": {"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01"}}, trusted: true, sample: 1, kept: true},
		{name: "a state without end", header: http.Header{"Traceparent": {strangersParent}, "Tracestate": {strings.Repeat("a=1,", 1000)}}, trusted: true, continued: true, kept: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCollector(t)
			tracer, flush := c.tracer(t, test.sample)
			var r accesslog.Record
			span := tracer.Serve(request(test.header), requestID, test.trusted)
			span.Note(&r)
			out := http.Header{"Traceparent": {strangersParent}, "Tracestate": {"mine=1"}}
			forward := span.Forward()
			forward.InjectOwn(out)
			forward.EndForward(&r)
			span.End(&r)
			flush()
			if continued := r.TraceID == strangersTrace; continued != test.continued {
				t.Errorf("trace is %s", r.TraceID)
			}
			if kept := len(c.spans) == 2; kept != test.kept || kept != (r.SpanID != "") {
				t.Errorf("%d spans were kept, record says %q", len(c.spans), r.SpanID)
			}
			flags := map[bool]string{true: "-01", false: "-00"}[test.kept]
			parent := out["Traceparent"]
			if len(parent) != 1 || !strings.HasPrefix(parent[0], "00-"+r.TraceID+"-") || !strings.HasSuffix(parent[0], flags) || !slices.Equal(parent, out[header.Trace]) {
				t.Errorf("the tool gets %q", out)
			}
			if got := out.Get("Tracestate"); got != test.state {
				t.Errorf("state %q, want %q", got, test.state)
			}
			linked := test.kept && len(c.spans[1].GetLinks()) == 1 && hex.EncodeToString(c.spans[1].GetLinks()[0].GetTraceId()) == strangersTrace
			if linked != test.linked {
				t.Errorf("linked: %v", linked)
			}
		})
	}
}

func TestASidecarContinuesItsGateway(t *testing.T) {
	c := newCollector(t)
	tracer, flush := c.tracer(t, 0)
	span := tracer.Continue(t.Context(), strangersParent, nil)
	var r accesslog.Record
	span.Note(&r)
	app := span.Forward()
	out := http.Header{}
	app.Inject(out)
	app.EndForward(&r)
	span.End(&r)
	flush()
	if r.TraceID != strangersTrace || len(c.spans) != 2 || hex.EncodeToString(c.spans[1].GetParentSpanId()) != "b7ad6b7169203331" {
		t.Errorf("trace %s, spans %v", r.TraceID, c.spans)
	}
	if out.Get("Traceparent") != "00-"+strangersTrace+"-"+hex.EncodeToString(c.spans[0].GetSpanId())+"-01" || out[header.Trace] != nil {
		t.Errorf("the application gets %v", out)
	}
	for _, parent := range []string{"", "nonsense", "00-" + strangersTrace} {
		if span := tracer.Continue(t.Context(), parent, nil); span != nil || tracing.TraceIDOf(t.Context(), parent) != "" {
			t.Errorf("%q is continued", parent)
		}
	}
	if tracing.TraceIDOf(t.Context(), strangersParent) != strangersTrace {
		t.Error("the id of a trace is not found")
	}
}

// TestNothingPersonalIsInASpan sets every field of a record to a mark of its own, and
// looks which of them the collector gets.
func TestNothingPersonalIsInASpan(t *testing.T) {
	public := []string{"RequestID", "Action", "Decision", "Reason", "Route", "Host", "Protocol", "Upstream"}
	c := newCollector(t)
	tracer, flush := c.tracer(t, 1)
	var r accesslog.Record
	fields := reflect.ValueOf(&r).Elem()
	for i := range fields.NumField() {
		if !fields.Type().Field(i).IsExported() {
			continue // nobody beside the log sees it
		}
		mark := "mark-of-" + fields.Type().Field(i).Name
		switch f := fields.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(mark)
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.String {
				f.Set(reflect.ValueOf([]string{mark}))
			}
		}
	}
	r.Upstream = "mark-of-Upstream:8443"
	span := tracer.Serve(request(http.Header{}), requestID, false)
	forward := span.Forward()
	forward.EndForward(&r)
	span.End(&r)
	flush()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		if got := bytes.Contains(c.raw, []byte("mark-of-"+name)); got != slices.Contains(public, name) {
			t.Errorf("%s is told: %v", name, got)
		}
	}
}

// TestWhatIsNoTextSpoilsNoBatch: values come from clients.
func TestWhatIsNoTextSpoilsNoBatch(t *testing.T) {
	c := newCollector(t)
	tracer, flush := c.tracer(t, 1)
	r := accesslog.Record{Method: "G\xffT", Host: "\xff" + strings.Repeat("ü", 300), Protocol: "\xc3", Status: 502}
	span := tracer.Serve(request(http.Header{}), "not a request id", false)
	span.End(&r)
	flush()
	if len(c.spans) != 1 || !strings.HasPrefix(c.spans[0].GetName(), "_OTHER") || c.spans[0].GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("spans %v", c.spans)
	}
}

func TestWithoutACollectorThereIsAContextAllTheSame(t *testing.T) {
	tracer := tracing.New(tracing.Config{Sample: 1})
	span := tracer.Serve(request(http.Header{}), requestID, false)
	var r accesslog.Record
	span.Note(&r)
	out := http.Header{}
	span.Forward().Inject(out)
	span.End(&r)
	if len(r.TraceID) != 32 || r.SpanID != "" || !strings.HasPrefix(out.Get("Traceparent"), "00-"+r.TraceID) || !strings.HasSuffix(out.Get("Traceparent"), "-00") {
		t.Errorf("record %q %q, tool %v", r.TraceID, r.SpanID, out)
	}
	if err := tracer.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTracingThatIsOffCostsNothing(t *testing.T) {
	var off *tracing.Tracer
	r, req, h := &accesslog.Record{}, request(http.Header{"Traceparent": {strangersParent}}), http.Header{}
	cost := testing.AllocsPerRun(100, func() {
		span := off.Serve(req, requestID, true)
		span.Note(r)
		forward := span.Forward()
		forward.InjectOwn(h)
		forward.EndForward(r)
		span.End(r)
		if off.Continue(req.Context(), strangersParent, nil) != nil {
			t.Error("there is a span")
		}
	})
	if cost != 0 || r.TraceID != "" || len(h) != 0 {
		t.Errorf("%v allocations, trace %q, header %v", cost, r.TraceID, h)
	}
	if err := off.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSpansThatFindNoRoomAreDroppedAndCounted(t *testing.T) {
	c := newCollector(t)
	c.away.Store(true)
	tracer, _ := c.tracer(t, 1)
	const begun, room = 3000, 2048
	for range begun {
		tracer.Serve(request(http.Header{}), requestID, false).End(&accesslog.Record{})
	}
	over, end := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tracer.Run(over) }()
	for c.refused.Load() == 0 {
		runtime.Gosched()
	}
	c.away.Store(false)
	for counted(t, tracer)["exported"] < room {
		runtime.Gosched()
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := map[string]float64{"exported": room, "dropped": begun - room, "rejected": 0}
	if got := counted(t, tracer); !maps.Equal(got, want) || len(c.spans) != room {
		t.Errorf("counted %v, want %v; the collector has %d", got, want, len(c.spans))
	}
}

// counted is what has become of spans, by the metric.
func counted(t *testing.T, tracer *tracing.Tracer) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(tracer)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		found[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	return found
}

func TestCallsOfOurOwn(t *testing.T) {
	c := newCollector(t)
	tracer, flush := c.tracer(t, 0)
	var seen []string
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Traceparent"))
		if r.URL.Path == "/v1/sys/health" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer vault.Close()
	var calls tracing.Calls
	transport := &http.Transport{}
	client := http.Client{Transport: calls.Wrap("vault", transport)}
	get := func(path string) {
		t.Helper()
		res, err := client.Get(vault.URL + path)
		if err == nil {
			res.Body.Close()
		}
	}
	get("/v1/early")
	calls.Use(tracer)
	get("/v1/secret/data/x?list=true")
	get("/v1/sys/health")
	vault.CloseClientConnections()
	client.CloseIdleConnections()
	flush()
	var names []string
	for _, span := range c.spans {
		for _, a := range span.GetAttributes() {
			if a.GetKey() == "sallyport.path" {
				names = append(names, span.GetName()+" "+a.GetValue().GetStringValue()+" "+span.GetStatus().GetCode().String())
			}
		}
	}
	want := []string{"vault GET secret/data/x STATUS_CODE_UNSET", "vault GET sys/health STATUS_CODE_ERROR"}
	if !slices.Equal(names, want) || seen[0] != "" || !strings.HasSuffix(seen[1], "-01") {
		t.Errorf("spans %q, want %q; Vault has seen %q", names, want, seen)
	}
}

// FuzzServe: whatever a client sends, its trace is not continued, and what goes on is one
// trace context of ours.
func FuzzServe(f *testing.F) {
	f.Add(strangersParent, "a=1", "k5z3q7m2w4xa6bcd")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01", strings.Repeat("a=1,", 200), "")
	f.Add("ff-\x00", "\n", "\xff")
	tracer := tracing.New(tracing.Config{Sample: 1})
	f.Fuzz(func(t *testing.T, parent, state, id string) {
		span := tracer.Serve(request(http.Header{"Traceparent": {parent}, "Tracestate": {state}}).WithContext(t.Context()), id, false)
		out := http.Header{"Traceparent": {parent}, "Tracestate": {state}}
		span.Forward().InjectOwn(out)
		said := tracing.TraceIDOf(t.Context(), parent)
		trace := tracing.TraceIDOf(t.Context(), out.Get("Traceparent"))
		if trace == "" || trace == said || len(out["Traceparent"]) != 1 || len(out["Tracestate"]) != 0 {
			t.Errorf("%q, %q goes on as %q", parent, state, out)
		}
	})
}
