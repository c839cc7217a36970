package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	spans "github.com/sallyport/sallyport/proxy/tracing"
)

// TestNoStrangerContinuesATrace: what the tool and the record get is a trace of ours,
// unless a trusted proxy has passed the request on and may say so.
func TestNoStrangerContinuesATrace(t *testing.T) {
	const (
		said   = "0af7651916cd43dd8448eb211c80319c"
		parent = "00-" + said + "-b7ad6b7169203331-01"
	)
	tests := map[string]struct {
		trusted      []string
		trust        bool
		forwardedFor []string
		continued    bool
	}{
		"a stranger":                         {},
		"a stranger, were a proxy trusted":   {trusted: []string{"10.0.0.0/8"}, trust: true, forwardedFor: []string{"192.0.2.1"}},
		"a proxy that is not trusted so far": {trusted: []string{"127.0.0.0/8"}, forwardedFor: []string{"192.0.2.1"}},
		"a proxy for itself":                 {trusted: []string{"127.0.0.0/8"}, trust: true},
		"a proxy that is":                    {trusted: []string{"127.0.0.0/8"}, trust: true, forwardedFor: []string{"192.0.2.1"}, continued: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *proxy.Config) {
				trusting(test.trusted...)(cfg)
				cfg.Tracer, cfg.TrustTraces = spans.New(spans.Config{}), test.trust
			})
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
			req.Header["X-Forwarded-For"] = test.forwardedFor
			req.Header["Traceparent"] = []string{parent}
			req.Header["Tracestate"] = []string{"theirs=1"}
			req.Header["X-Sallyport-Trace"] = []string{parent}
			b.do(req)
			got, _ := w.backend.seen()
			line := w.lastRecord(6)
			trace, _ := line["trace.id"].(string)
			if len(trace) != 32 || (trace == said) != test.continued {
				t.Errorf("the record is of trace %q", trace)
			}
			parents := got.Header["Traceparent"]
			if len(parents) != 1 || !strings.HasPrefix(parents[0], "00-"+trace+"-") || parents[0] == parent || got.Header.Get("X-Sallyport-Trace") != parents[0] {
				t.Errorf("the tool gets %q, and %q", parents, got.Header["X-Sallyport-Trace"])
			}
			if state := got.Header.Get("Tracestate"); (state == "theirs=1") != test.continued {
				t.Errorf("the tool gets the state %q", state)
			}
		})
	}
}

// TestWhatIsNotTracedIsPassedOn, and says nothing in our name.
func TestWhatIsNotTracedIsPassedOn(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
	req.Header["Traceparent"], req.Header["X-Sallyport-Trace"] = []string{parent}, []string{parent}
	b.do(req)
	got, _ := w.backend.seen()
	if got.Header.Get("Traceparent") != parent || got.Header["X-Sallyport-Trace"] != nil {
		t.Errorf("the tool gets %q, and %q", got.Header["Traceparent"], got.Header["X-Sallyport-Trace"])
	}
	if line := w.lastRecord(6); line["trace.id"] != nil || line["span.id"] != nil {
		t.Errorf("the record is of trace %v", line["trace.id"])
	}
}

// TestRefusalsAreOfATraceToo.
func TestRefusalsAreOfATraceToo(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Tracer = spans.New(spans.Config{}) })
	b := w.browser()
	req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	b.do(req)
	if line := w.lastRecord(1); line["trace.id"] == nil || line["sallyport.decision"] != "deny" {
		t.Errorf("record %v", line)
	}
}
