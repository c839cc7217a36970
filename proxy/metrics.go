package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/listen"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/saml"
)

// Metrics counts what the gateway does. It is a prometheus.Collector, safe for
// concurrent use. No label holds anything of a client: no user, host or path; and each
// label has a bounded number of values, whatever clients and tools do.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	upstream *prometheus.HistogramVec
	inFlight prometheus.Gauge
	refusals *prometheus.CounterVec
	signIns  *prometheus.CounterVec
	begun    prometheus.Counter
	signOn   *prometheus.HistogramVec
	shed     *prometheus.CounterVec
	limited  prometheus.Counter
	slow     *prometheus.CounterVec
	refused  *prometheus.CounterVec
	open     prometheus.Gauge
	http2    *prometheus.CounterVec

	series   series // of requests, looked up once
	statuses *statuses
	sessions *activity // which have been seen of late
	active   prometheus.GaugeFunc
}

// NewMetrics returns metrics that are registered nowhere yet.
func NewMetrics() *Metrics {
	m := &Metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_http_requests_in_flight", Help: "Requests being served now.",
		}),
		begun: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_saml_logins_begun_total", Help: "Browsers that were sent to the identity provider.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_requests_rate_limited_total", Help: "Requests of strangers that were refused because their address has asked too often.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_connections", Help: "Connections of clients that are open now.",
		}),
		sessions: newActivity(), statuses: newStatuses(),
	}
	m.makeHistograms()
	m.makeCounters()
	m.beginAtZero()
	m.series.of = m.newRouteSeries
	m.active = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_sessions_active", Help: "Sessions that this process has served a request of in the last five minutes, estimated.",
	}, func() float64 { return float64(m.sessions.count(time.Now())) })
	return m
}

// makeCounters makes those that have labels.
func (m *Metrics) makeCounters() {
	counter := func(to **prometheus.CounterVec, name, help string, labels ...string) {
		*to = prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	counter(&m.requests, "sallyport_http_requests_total", "Requests by route, status and decision.", "route", "code", "decision")
	counter(&m.refusals, "sallyport_http_refusals_total", "Requests that were not let in, by reason.", "reason")
	counter(&m.signIns, "sallyport_saml_logins_total", "Answers of the identity provider by result and reason.", "result", "reason")
	counter(&m.shed, "sallyport_requests_shed_total", "Requests that were turned away because too much was in hand, by what was too much.", "limit")
	counter(&m.slow, "sallyport_slow_clients_cut_total", "Requests that were cut because their client made no progress.", "kind")
	counter(&m.refused, "sallyport_connections_closed_total", "Connections that were closed at a limit.", "limit")
	counter(&m.http2, "sallyport_http2_errors_total", "Faults of HTTP/2 clients by kind.", "kind")
}

// beginAtZero shows counters that alarms watch before there is anything to count: of the
// first one that appears as 1, Prometheus does not see that it grew.
func (m *Metrics) beginAtZero() {
	for _, why := range []string{shedRequests, shedMemory, shedRoute, shedPerson} {
		m.shed.WithLabelValues(why)
	}
	for _, limit := range []string{listen.LimitTotal, listen.LimitAddress, listen.LimitStall} {
		m.refused.WithLabelValues(limit)
	}
	for _, code := range []string{saml.CodeTooManyValues, saml.CodeUnknownCertificate, saml.CodeSignature, saml.CodeIdPCertificate, saml.CodeIdPMetadataExpired} {
		m.signIns.WithLabelValues(accesslog.DecisionDeny, code)
	}
	for _, result := range []string{accesslog.DecisionAllow, accesslog.DecisionDeny} {
		m.signOn.WithLabelValues(result)
	}
	for _, kind := range []string{relay.SlowReader, relay.SlowWriter} {
		m.slow.WithLabelValues(kind)
	}
}

// makeHistograms makes those of durations.
func (m *Metrics) makeHistograms() {
	histogram := func(to **prometheus.HistogramVec, buckets []float64, name, help, label string) {
		*to = prometheus.NewHistogramVec(Histogram(name, help, buckets), []string{label})
	}
	histogram(&m.duration, requestBuckets, "sallyport_http_request_duration_seconds", "Time from a request's arrival to the last byte of its answer.", "route")
	histogram(&m.upstream, requestBuckets, "sallyport_upstream_duration_seconds", "Time from when a request was passed on to the head of the tool's answer.", "route")
	histogram(&m.signOn, personBuckets, "sallyport_saml_login_duration_seconds", "Time from when a browser was sent to the identity provider to its answer, in whole seconds.", "result")
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
		m.requests, m.duration, m.upstream, m.inFlight, m.refusals, m.signIns, m.begun, m.signOn, m.active,
		m.shed, m.limited, m.slow, m.refused, m.open, m.http2,
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

// end counts a request that has ended. It is on the way of every request: what is
// counted for them all is looked up once for each route, status and decision.
func (m *Metrics) end(r *accesslog.Record) {
	m.inFlight.Dec()
	route := m.series.get(r.Route)
	route.request(r.Status, r.Decision).Inc()
	route.observe(r, traceOf(r))
	if r.Decision == accesslog.DecisionDeny {
		m.refusals.WithLabelValues(r.Reason).Inc()
	}
	if r.SessionID != "" {
		m.sessions.see(r.SessionID, r.Time.Add(r.Duration))
	}
	if r.Action == accesslog.ActionSignIn {
		m.signIns.WithLabelValues(r.Decision, r.Reason).Inc()
	}
}

// traceOf is the trace that a request is part of, if its span reaches a collector: there
// is nothing to be found under the others.
func traceOf(r *accesslog.Record) string {
	if r.SpanID == "" {
		return ""
	}
	return r.TraceID
}

// signedOn counts how long a sign-on took that this browser had begun.
func (m *Metrics) signedOn(result string, took time.Duration) {
	m.signOn.WithLabelValues(result).Observe(max(took, 0).Seconds()) // the clocks of two replicas may differ
}
