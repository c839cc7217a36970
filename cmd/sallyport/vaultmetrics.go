package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// vaultBuckets are the bounds of the classic buckets of calls to Vault, in seconds; a
// call has ten.
var vaultBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// vaultMetrics count the calls to Vault, from the login on. It is a
// prometheus.Collector, safe for concurrent use.
type vaultMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newVaultMetrics() *vaultMetrics {
	return &vaultMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_vault_requests_total", Help: "Calls to Vault, by what was asked for and how it ended.",
		}, []string{"op", "result"}),
		duration: prometheus.NewHistogramVec(proxy.Histogram(
			"sallyport_vault_request_duration_seconds", "Time that calls to Vault took, by what was asked for.", vaultBuckets,
		), []string{"op"}),
	}
}

// observe counts one call. Its words are from short lists.
func (m *vaultMetrics) observe(o vaultpki.Observation) {
	m.requests.WithLabelValues(o.Op, o.Result).Inc()
	m.duration.WithLabelValues(o.Op).Observe(o.Took.Seconds())
}

// Describe implements prometheus.Collector.
func (m *vaultMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.requests.Describe(ch)
	m.duration.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *vaultMetrics) Collect(ch chan<- prometheus.Metric) {
	m.requests.Collect(ch)
	m.duration.Collect(ch)
}
