package main

import "github.com/prometheus/client_golang/prometheus"

// checkpointMetrics tell how far the access log is signed, if it is. It is a
// prometheus.Collector.
type checkpointMetrics struct{ signed *checkpoints }

// Describe implements prometheus.Collector.
func (m checkpointMetrics) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, ch)
}

// Collect implements prometheus.Collector.
func (m checkpointMetrics) Collect(ch chan<- prometheus.Metric) {
	status, signer := m.signed.maker.Status(), []string{"signer"}
	made := prometheus.NewDesc("sallyport_access_log_checkpoints_total", "Checkpoints of the access log, by who has signed them.", signer, nil)
	failures := prometheus.NewDesc("sallyport_access_log_checkpoint_failures_total", "Checkpoints that Vault has refused to sign, or not answered.", nil, nil)
	at := prometheus.NewDesc("sallyport_access_log_checkpoint_timestamp_seconds", "When Vault last signed a checkpoint, in Unix seconds; 0 before the first.", nil, nil)
	behind := prometheus.NewDesc("sallyport_access_log_unsigned_records", "Records that Vault has not signed for yet.", nil, nil)
	last, unsigned := 0.0, 0.0
	if !status.At.IsZero() {
		last = float64(status.At.Unix())
	}
	if head, ok := m.signed.log.Head(); ok && head.Sequence > status.Covered {
		unsigned = float64(head.Sequence - status.Covered)
	}
	ch <- prometheus.MustNewConstMetric(made, prometheus.CounterValue, float64(status.Vault), "vault")
	ch <- prometheus.MustNewConstMetric(made, prometheus.CounterValue, float64(status.Own), "instance")
	ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(status.Failures))
	ch <- prometheus.MustNewConstMetric(at, prometheus.GaugeValue, last)
	ch <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, unsigned)
}
