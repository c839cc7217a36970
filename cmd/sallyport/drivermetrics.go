package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/vaultpki/introduce/swarm"
)

// driverMetrics tell what a secret driver does.
type driverMetrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
}

func newDriverMetrics() *driverMetrics {
	m := &driverMetrics{registry: newRegistry("secret-driver"), requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_secret_driver_requests_total", Help: "Requests of the container engine, by what was ordered and how it ended.",
	}, []string{"kind", "result"})}
	m.registry.MustRegister(m.requests)
	return m
}

// observe counts one request. Both words are from short lists.
func (m *driverMetrics) observe(kind, result string) { m.requests.WithLabelValues(kind, result).Inc() }

// attach adds what is only known once the driver is there.
func (m *driverMetrics) attach(l *driverLife, driver *swarm.Driver, config followed) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("sallyport_secret_driver_remembered", "Wrapping tokens that are remembered for their tasks.", func() float64 { return float64(driver.Remembered()) })
	gauge("sallyport_ready", "Whether /readyz says ready.", func() float64 { return truth(len(l.unready()) == 0) })
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_source_fault", ConstLabels: prometheus.Labels{"source": string(l.from)},
		Help: "Whether a newer version of the configuration is refused, or it cannot be read.",
	}, func() float64 { return float64(min(len(remarksOf(config)), 1)) }), &configMetrics{config})
	gauge("sallyport_vault_token_expiry_seconds", "When the Vault token ends unless it is renewed, in Unix seconds.", func() float64 {
		return float64(l.client.TokenExpiry().Unix())
	})
	gauge("sallyport_vault_token_lost", "Whether the Vault token is lost: nothing can be read or signed.", func() float64 { return truth(l.client.Status().Lost) })
}
