package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// NewAccessLogMetrics shows what an access log has done and has to do.
func NewAccessLogMetrics(access *accesslog.Log) prometheus.Collector {
	sink := []string{"sink"}
	return &accessLogMetrics{
		access:   access,
		records:  prometheus.NewDesc("sallyport_access_log_records_total", "Records of the access log that a sink has got.", sink, nil),
		lost:     prometheus.NewDesc("sallyport_access_log_lost_total", "Records of the access log that a sink never gets.", sink, nil),
		failures: prometheus.NewDesc("sallyport_access_log_failures_total", "Attempts to write or sync that did not succeed.", sink, nil),
		failing:  prometheus.NewDesc("sallyport_access_log_failing", "Whether the last attempt to write to a sink did not succeed.", sink, nil),
		dropped:  prometheus.NewDesc("sallyport_access_log_dropped_total", "Records that found no room, and are in no sink.", nil, nil),
		buffered: prometheus.NewDesc("sallyport_access_log_buffer_bytes", "Bytes of records that wait to be written.", nil, nil),
		limit:    prometheus.NewDesc("sallyport_access_log_buffer_limit_bytes", "Bytes of records that may wait.", nil, nil),
		lag:      prometheus.NewDesc("sallyport_access_log_lag_seconds", "How long the oldest record has waited that is not written.", nil, nil),
	}
}

// accessLogMetrics is a prometheus.Collector.
type accessLogMetrics struct {
	access                                                          *accesslog.Log
	records, lost, failures, failing, dropped, buffered, limit, lag *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (m *accessLogMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.records, m.lost, m.failures, m.failing, m.dropped, m.buffered, m.limit, m.lag} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *accessLogMetrics) Collect(ch chan<- prometheus.Metric) {
	stats := m.access.Stats()
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for _, sink := range stats.Sinks {
		counter(m.records, sink.Records, sink.Name)
		counter(m.lost, sink.Lost, sink.Name)
		counter(m.failures, sink.Failures, sink.Name)
		failing := 0.0
		if sink.Fault != nil {
			failing = 1
		}
		gauge(m.failing, failing, sink.Name)
	}
	counter(m.dropped, stats.Dropped)
	gauge(m.buffered, float64(stats.Buffered))
	gauge(m.limit, float64(stats.BufferSize))
	gauge(m.lag, stats.Lag.Seconds())
}
