package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// Metrics counts what the gateway does. It is a prometheus.Collector, safe for
// concurrent use. No label holds anything of a client: no user, host or path.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	signIns  *prometheus.CounterVec
}

// NewMetrics returns metrics that are registered nowhere yet.
func NewMetrics() *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_http_requests_total", Help: "Requests by route, status and decision.",
		}, []string{"route", "code", "decision"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sallyport_http_request_duration_seconds", Help: "Time from a request's arrival to the last byte of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_http_requests_in_flight", Help: "Requests being served now.",
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_saml_logins_total", Help: "Answers of the identity provider by result and reason.",
		}, []string{"result", "reason"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.inFlight, m.signIns}
}

func (m *Metrics) begin() { m.inFlight.Inc() }

func (m *Metrics) end(r *accesslog.Record) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(r.Route, strconv.Itoa(r.Status), r.Decision).Inc()
	m.duration.WithLabelValues(r.Route).Observe(r.Duration.Seconds())
	if r.Action == accesslog.ActionSignIn {
		m.signIns.WithLabelValues(r.Decision, r.Reason).Inc()
	}
}
