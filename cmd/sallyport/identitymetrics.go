package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// identityMetrics tell when what a process holds from Vault ends. It is a
// prometheus.Collector.
type identityMetrics struct{ life *life }

// Describe implements prometheus.Collector.
func (m *identityMetrics) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, ch)
}

// Collect implements prometheus.Collector.
func (m *identityMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(
		prometheus.NewDesc("sallyport_vault_token_expiry_seconds", "When the Vault token ends unless it is renewed, in Unix seconds.", nil, nil),
		prometheus.GaugeValue, float64(m.life.client.TokenExpiry().Unix()))
	expiry := prometheus.NewDesc("sallyport_certificate_expiry_seconds", "When a certificate ends unless it is renewed, in Unix seconds.", []string{"name"}, nil)
	renewals := prometheus.NewDesc("sallyport_certificate_renewals_total", "Attempts to renew a certificate, by result.", []string{"name", "result"}, nil)
	for _, c := range m.life.certificates {
		for _, status := range c.Status() {
			ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(status.NotAfter.Unix()), status.Name)
			ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(status.Renewals), status.Name, "success")
			ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(status.Failures), status.Name, "failure")
		}
	}
	ready := 1.0
	if len(m.life.unready()) > 0 {
		ready = 0
	}
	ch <- prometheus.MustNewConstMetric(
		prometheus.NewDesc("sallyport_ready", "Whether /readyz says ready.", nil, nil), prometheus.GaugeValue, ready)
}

// newRegistry returns a registry with what every process tells of itself.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return registry
}
