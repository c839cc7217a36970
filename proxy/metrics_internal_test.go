package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// BenchmarkMetrics is what one request costs its counters and histograms.
func BenchmarkMetrics(b *testing.B) {
	m, record := NewMetrics(), recordOfMetrics()
	b.ReportAllocs()
	for b.Loop() {
		m.begin()
		m.end(&record)
	}
}

// BenchmarkMetricsTogether is the same on all processors at once.
func BenchmarkMetricsTogether(b *testing.B) {
	m := NewMetrics()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		record := recordOfMetrics()
		for pb.Next() {
			m.begin()
			m.end(&record)
		}
	})
}

func recordOfMetrics() accesslog.Record {
	return accesslog.Record{
		Time: time.Unix(1790000000, 0), Route: "headers", Status: 200, Decision: accesslog.DecisionAllow, Action: accesslog.ActionAccess,
		SessionID: "0123456789abcdef", Duration: 1200 * time.Microsecond, UpstreamTime: 700 * time.Microsecond,
	}
}

func TestMetricsOfARequestMakeNoGarbage(t *testing.T) {
	m, record := NewMetrics(), recordOfMetrics()
	if n := testing.AllocsPerRun(1000, func() { m.begin(); m.end(&record) }); n > 0 {
		t.Errorf("%v allocations for each request, expected none", n)
	}
}

// TestStatusOfNobodysIsCountedAsOther: a tool chooses its statuses, and must not make up
// as many series as there are numbers.
func TestStatusOfNobodysIsCountedAsOther(t *testing.T) {
	tests := map[int]string{200: "200", 404: "404", 499: "499", 599: "other", 999: "other", 99: "other", 0: "other", -1: "other", 218: "other", 1 << 40: "other"}
	s := newStatuses()
	for status, want := range tests {
		if got := s.names[s.place(status)]; got != want {
			t.Errorf("status %d is counted as %q, expected %q", status, got, want)
		}
	}
	if slices.Contains(s.names[:], "") {
		t.Errorf("the list of %d statuses is not full: Go has fewer than %d now", len(s.names), definedStatuses)
	}
	for i := range 1000 {
		status := i
		if text := http.StatusText(status); text != "" && s.names[s.place(status)] != fmt.Sprint(status) {
			t.Errorf("status %d (%s) is counted as %q", status, text, s.names[s.place(status)])
		}
	}
}

func TestSeriesOfARouteAreMadeOnce(t *testing.T) {
	m := NewMetrics()
	var together sync.WaitGroup
	for i := range 8 {
		together.Go(func() {
			record := recordOfMetrics()
			record.Route = fmt.Sprint("tool", i%2)
			for range 1000 {
				m.begin()
				m.end(&record)
			}
		})
	}
	together.Wait()
	text := exposed(t, m, "text/plain")
	for _, want := range []string{
		`sallyport_http_requests_total{code="200",decision="allow",route="tool0"} 4000`,
		`sallyport_http_requests_total{code="200",decision="allow",route="tool1"} 4000`,
		`sallyport_upstream_duration_seconds_count{route="tool1"} 4000`,
		`sallyport_http_request_duration_seconds_bucket{route="tool0",le="0.0025"} 4000`,
		`sallyport_http_requests_in_flight 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics do not have %s:\n%s", want, text)
		}
	}
}

// exposed is what /metrics answers to whoever accepts a type.
func exposed(t *testing.T, m *Metrics, accept string) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	handler := Admin(AdminConfig{Metrics: registry, Readiness: func() ([]string, []string) { return nil, nil }})
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

const openMetrics = "application/openmetrics-text; version=1.0.0"

// TestTraceIsAnExampleOfADuration holds the examples to the format that has them, and to
// one a second for durations of about the same length.
func TestTraceIsAnExampleOfADuration(t *testing.T) {
	m, record := NewMetrics(), recordOfMetrics()
	series := m.series.get("headers")
	observe := func(took time.Duration, trace string) {
		record.Duration = took
		series.observe(&record, trace)
	}
	observe(1100*time.Microsecond, "0af7651916cd43dd8448eb211c80319c")
	observe(1200*time.Microsecond, "11111111111111111111111111111111") // within the second
	observe(700*time.Millisecond, "22222222222222222222222222222222")
	observe(40*time.Millisecond, "")
	text := exposed(t, m, openMetrics)
	for _, want := range []string{
		`le="0.0025"} 2 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.0011`,
		`le="1.0"} 4 # {trace_id="22222222222222222222222222222222"} 0.7`,
		`le="0.05"} 3` + "\n",
		"# EOF\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("OpenMetrics do not have %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "1111") || strings.Contains(exposed(t, m, "text/plain"), "trace_id") {
		t.Error("there is an example too many")
	}
}

func TestSessionsActive(t *testing.T) {
	start := time.Unix(1790000040, 0)
	tests := map[string]struct {
		sessions, requests int
		off                float64 // by how much the count may be wrong: five times what is usual
	}{
		"nobody":            {0, 0, 0},
		"one, often":        {1, 1000, 0},
		"ten":               {10, 3, 0},
		"a few hundred":     {300, 1, .1},
		"thousands":         {5000, 1, .15},
		"a hundredthousand": {100000, 1, .15},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newActivity()
			for i := range test.sessions {
				for range test.requests {
					a.see(fmt.Sprint("session ", i), start)
				}
			}
			got, slack := a.count(start.Add(4*time.Minute)), test.off*float64(test.sessions)
			if test.sessions == 10 {
				slack = 2 // some of ten may fall into one place
			}
			if diff := float64(got - test.sessions); diff < -slack || diff > slack {
				t.Errorf("count %d, expected %d", got, test.sessions)
			}
			if got := a.count(start.Add(7 * time.Minute)); got != 0 {
				t.Errorf("count %d after seven minutes, expected 0", got)
			}
		})
	}
}

func TestSessionsActiveAreThoseOfTheLastMinutes(t *testing.T) {
	a, start := newActivity(), time.Unix(1790000040, 0)
	for i := range 20 { // each minute another session
		a.see(fmt.Sprint("session ", i), start.Add(time.Duration(i)*time.Minute))
	}
	if got := a.count(start.Add(19 * time.Minute)); got < 5 || got > 6 {
		t.Errorf("count %d, expected the six of the last minutes", got)
	}
	a.see("late", start.Add(14*time.Minute)) // one whose minute has been turned over, or is still there
	a.see("very late", start)                // a minute that is no more
	if got := a.count(start.Add(19 * time.Minute)); got < 5 || got > 7 {
		t.Errorf("count %d with late ones, expected seven at most", got)
	}
}
