package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// checkpointMetrics tell how the signatures of the access log fare.
type checkpointMetrics struct{ signed checkpoints }

// descriptions are the metrics, in the order in which they are collected; the first
// one is collected for each signer.
func (*checkpointMetrics) descriptions() [4]*prometheus.Desc {
	return [4]*prometheus.Desc{
		prometheus.NewDesc("sallyport_access_log_checkpoints_total", "Checkpoints of the access log, by who has signed.", []string{"signer"}, nil),
		prometheus.NewDesc("sallyport_access_log_checkpoint_failures_total", "Signatures of the access log that Vault has refused, or not answered.", nil, nil),
		prometheus.NewDesc("sallyport_access_log_signed_seconds", "When Vault has signed the access log last, in Unix seconds; 0 before the first time.", nil, nil),
		prometheus.NewDesc("sallyport_access_log_unsigned_records", "Records of the access log that no signature of Vault's covers yet.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (m *checkpointMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descriptions() {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *checkpointMetrics) Collect(ch chan<- prometheus.Metric) {
	status, head := m.signed.maker.Status(), m.signed.log.Log.Head()
	made := m.descriptions()
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	ch <- prometheus.MustNewConstMetric(made[0], counter, float64(status.Vault), "vault")
	ch <- prometheus.MustNewConstMetric(made[0], counter, float64(status.Own), "instance")
	ch <- prometheus.MustNewConstMetric(made[1], counter, float64(status.Failures))
	signed := 0.0
	if !status.At.IsZero() {
		signed = float64(status.At.UnixMicro()) / 1e6
	}
	ch <- prometheus.MustNewConstMetric(made[2], gauge, signed)
	ch <- prometheus.MustNewConstMetric(made[3], gauge, float64(head.Sequence-min(head.Sequence, status.Covered)))
}
