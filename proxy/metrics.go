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
	shed     *prometheus.CounterVec
	limited  prometheus.Counter
	slow     *prometheus.CounterVec
	refused  *prometheus.CounterVec
	open     prometheus.Gauge
	http2    *prometheus.CounterVec
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
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_requests_shed_total", Help: "Requests that were turned away because too much was in hand, by what was too much.",
		}, []string{"limit"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_requests_rate_limited_total", Help: "Requests of strangers that were refused because their address has asked too often.",
		}),
		slow: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_slow_clients_cut_total", Help: "Requests that were cut because their client made no progress.",
		}, []string{"kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_connections_closed_total", Help: "Connections that were closed at a limit.",
		}, []string{"limit"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_connections", Help: "Connections of clients that are open now.",
		}),
		http2: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_http2_errors_total", Help: "Faults of HTTP/2 clients by kind.",
		}, []string{"kind"}),
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
	return []prometheus.Collector{
		m.requests, m.duration, m.inFlight, m.signIns, m.shed, m.limited, m.slow, m.refused, m.open, m.http2,
	}
}

// ConnectionClosed counts a connection that was closed at the named limit of package
// proxy/listen.
func (m *Metrics) ConnectionClosed(limit string) { m.refused.WithLabelValues(limit).Inc() }

// Connections counts n connections more that are open, or less.
func (m *Metrics) Connections(n int) { m.open.Add(float64(n)) }

// HTTP2Error counts a fault of a client by the name that net/http has for it.
func (m *Metrics) HTTP2Error(kind string) { m.http2.WithLabelValues(kind).Inc() }

func (m *Metrics) begin() { m.inFlight.Inc() }

func (m *Metrics) end(r *accesslog.Record) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(r.Route, strconv.Itoa(r.Status), r.Decision).Inc()
	m.duration.WithLabelValues(r.Route).Observe(r.Duration.Seconds())
	if r.Action == accesslog.ActionSignIn {
		m.signIns.WithLabelValues(r.Decision, r.Reason).Inc()
	}
}
