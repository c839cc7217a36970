package proxy_test

import (
	"net/url"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/otlp"
	spans "github.com/sallyport/sallyport/proxy/tracing"
)

// TestDurationNamesATraceThatCanBeFound: the example of a duration is the trace of the
// request's line, and only of one that goes to a collector; what a stranger says that his
// trace is stands nowhere.
func TestDurationNamesATraceThatCanBeFound(t *testing.T) {
	for name, test := range map[string]struct {
		sample float64
		named  bool
	}{"sampled": {1, true}, "not sampled": {0, false}} {
		t.Run(name, func(t *testing.T) {
			collector, err := otlp.New(otlp.Config{Endpoint: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Protocol: otlp.HTTP})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(collector.Close)
			metrics, registry := proxy.NewMetrics(), prometheus.NewPedanticRegistry()
			registry.MustRegister(metrics)
			w := newWorld(t, func(cfg *proxy.Config) {
				cfg.Metrics, cfg.Tracer = metrics, spans.New(spans.Config{Collector: collector, Sample: test.sample})
			})
			b := w.browser()
			req := b.request("GET", w.origin(headersHost)+"/", nil)
			req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			b.do(req)
			record := w.lastRecord(1)
			waitInFlight(t, registry, 0)
			var want, got string
			if test.named {
				want, _ = record["trace.id"].(string)
			}
			text := scraped(t, registry, "application/openmetrics-text")
			if found := regexp.MustCompile(`sallyport_http_request_duration_seconds_bucket\{[^}]*\} \d+ # \{trace_id="([0-9a-f]{32})"\}`).FindStringSubmatch(text); found != nil {
				got = found[1]
			}
			if got != want || test.named && len(want) != 32 {
				t.Errorf("trace %q is named, expected %q", got, want)
			}
		})
	}
}
