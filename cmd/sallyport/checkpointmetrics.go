package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// checkpointMetrics tell how the signatures of the access log fare.
type checkpointMetrics struct{ signed checkpoints }

// The metrics. They are never written to.
var (
	checkpointsMade = prometheus.NewDesc("sallyport_access_log_checkpoints_total",
		"Checkpoints of the access log, by who has signed.", []string{"signer"}, nil)
	checkpointFailures = prometheus.NewDesc("sallyport_access_log_checkpoint_failures_total",
		"Signatures of the access log that Vault has refused, or not answered.", nil, nil)
	checkpointTime = prometheus.NewDesc("sallyport_access_log_signed_seconds",
		"When Vault has signed the access log last, in Unix seconds; 0 before the first time.", nil, nil)
	recordsUnsigned = prometheus.NewDesc("sallyport_access_log_unsigned_records",
		"Records of the access log that no signature of Vault's covers yet.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (*checkpointMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{checkpointsMade, checkpointFailures, checkpointTime, recordsUnsigned} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *checkpointMetrics) Collect(ch chan<- prometheus.Metric) {
	status, head := m.signed.maker.Status(), m.signed.log.Log.Head()
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	ch <- prometheus.MustNewConstMetric(checkpointsMade, counter, float64(status.Vault), "vault")
	ch <- prometheus.MustNewConstMetric(checkpointsMade, counter, float64(status.Own), "instance")
	ch <- prometheus.MustNewConstMetric(checkpointFailures, counter, float64(status.Failures))
	signed := 0.0
	if !status.At.IsZero() {
		signed = float64(status.At.UnixMicro()) / 1e6
	}
	ch <- prometheus.MustNewConstMetric(checkpointTime, gauge, signed)
	ch <- prometheus.MustNewConstMetric(recordsUnsigned, gauge, float64(head.Sequence-min(head.Sequence, status.Covered)))
}
