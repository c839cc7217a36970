package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// logSinkMetrics tell what waits for the collectors of the access log. It is a
// prometheus.Collector.
type logSinkMetrics struct{ sinks *logSinks }

// Describe implements prometheus.Collector.
func (m *logSinkMetrics) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, ch)
}

// Collect implements prometheus.Collector.
func (m *logSinkMetrics) Collect(ch chan<- prometheus.Metric) {
	labels := []string{"sink"}
	show := func(name, help string, kind prometheus.ValueType, value float64, sink string) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, labels, nil), kind, value, sink)
	}
	for _, c := range m.sinks.collectors {
		stats := c.Stats()
		lag := 0.0
		if !stats.Spool.Oldest.IsZero() {
			lag = max(0, time.Since(stats.Spool.Oldest).Seconds())
		}
		show("sallyport_access_log_spool_bytes", "Bytes of records that wait on disk for a collector.", prometheus.GaugeValue, float64(stats.Spool.Bytes), c.Name())
		show("sallyport_access_log_spool_lag_seconds", "How long the oldest record has waited on disk for a collector.", prometheus.GaugeValue, lag, c.Name())
		show("sallyport_access_log_spool_dropped_total", "Records that have left the spool of a collector without being taken.", prometheus.CounterValue, float64(stats.Spool.Dropped), c.Name())
		show("sallyport_access_log_delivered_total", "Records that a collector has taken.", prometheus.CounterValue, float64(stats.Delivered), c.Name())
		show("sallyport_access_log_rejected_total", "Records that a collector will never take.", prometheus.CounterValue, float64(stats.Rejected), c.Name())
		show("sallyport_access_log_collector_failures_total", "Connections to a collector that could not be made, or broke.", prometheus.CounterValue, float64(stats.Failures), c.Name())
		show("sallyport_access_log_collector_away", "Whether a collector takes no records.", prometheus.GaugeValue, truth(!stats.Away.IsZero()), c.Name())
	}
}
