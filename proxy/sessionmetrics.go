package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/session"
)

// SessionMetrics shows what a process remembers of sessions. It is a
// prometheus.Collector, safe for concurrent use.
type SessionMetrics struct {
	counts                          func() session.Counts
	connected, connections, revoked *prometheus.Desc
}

// NewSessionMetrics returns metrics that are registered nowhere yet. counts is called
// whenever they are gathered.
func NewSessionMetrics(counts func() session.Counts) *SessionMetrics {
	return &SessionMetrics{
		counts:      counts,
		connected:   prometheus.NewDesc("sallyport_sessions_connected", "Sessions that have a request or a stream at a tool under way.", nil, nil),
		connections: prometheus.NewDesc("sallyport_session_connections", "Requests and streams of sessions that are under way at tools.", nil, nil),
		revoked:     prometheus.NewDesc("sallyport_sessions_revoked", "Sessions that ended before their time, and are remembered until they would have.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *SessionMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.connected, m.connections, m.revoked} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *SessionMetrics) Collect(ch chan<- prometheus.Metric) {
	c := m.counts()
	for desc, value := range map[*prometheus.Desc]int{m.connected: c.Connected, m.connections: c.Connections, m.revoked: c.Revoked} {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value))
	}
}
