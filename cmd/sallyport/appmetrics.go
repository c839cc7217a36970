package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
)

// appMetrics tell of the application that a sidecar runs. It is a prometheus.Collector.
type appMetrics struct{ app *app }

// Describe implements prometheus.Collector.
func (m *appMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *appMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.app.child.State()
	tell := func(kind prometheus.ValueType, name, help string, value float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, value)
	}
	tell(prometheus.GaugeValue, "sallyport_app_running", "Whether the application runs.", truth(s.Running))
	tell(prometheus.GaugeValue, "sallyport_app_answering", "Whether it runs and passes its check, if it has one.", truth(s.OK()))
	tell(prometheus.CounterValue, "sallyport_app_restarts_total", "How often it was started again after it had ended by itself.", float64(s.Restarts))
	tell(prometheus.CounterValue, "sallyport_app_orphans_total", "Processes that it has left behind, and that have ended.", float64(m.app.reaper.Orphans()))
	if s.Running {
		tell(prometheus.GaugeValue, "sallyport_app_start_time_seconds", "When it was started, in Unix seconds.", float64(s.Since.Unix()))
	}
	if s.Check != supervise.Unchecked {
		tell(prometheus.GaugeValue, "sallyport_app_check_passing", "Whether its check passes.", truth(s.Check == supervise.Passing))
	}
}
