package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// identityMetrics tell what a process lives from, and when that ends. It is a
// prometheus.Collector.
type identityMetrics struct{ life *life }

// Describe implements prometheus.Collector.
func (m *identityMetrics) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, ch)
}

// Collect implements prometheus.Collector.
func (m *identityMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value)
	}
	if ends := m.life.client.TokenExpiry(); !ends.IsZero() { // a token may have no end
		gauge("sallyport_vault_token_expiry_seconds", "When the Vault token ends unless it is renewed, in Unix seconds.", float64(ends.Unix()))
	}
	gauge("sallyport_vault_token_lost", "Whether the Vault token is lost: nothing can be read or signed.", truth(m.life.client.Status().Lost))
	// An application's credentials live for minutes as a rule, and have a metric of their own.
	own := slices.DeleteFunc(m.life.artefacts(), func(a artefact) bool { return a.Kind == kindAppSecret })
	if first, found := hardStop(own); found {
		gauge("sallyport_hard_stop_seconds", "When the first thing stops that people notice, unless something is renewed, in Unix seconds, an application's secrets apart.", float64(first.Until.Unix()))
	}
	gauge("sallyport_ready", "Whether /readyz says ready.", truth(len(m.life.unready()) == 0))
	m.certificates(ch)
	m.ends(ch)
	m.followed(ch)
	(&configMetrics{m.life.followed[0]}).Collect(ch)
}

// ends tells when each thing that has an end ends, and how near that is.
func (m *identityMetrics) ends(ch chan<- prometheus.Metric) {
	labels := []string{"kind", "name"}
	expiry := prometheus.NewDesc("sallyport_expiry_seconds", "When something that the process lives from ends, unless it is renewed or replaced, in Unix seconds.", labels, nil)
	near := prometheus.NewDesc("sallyport_expiry_level", "How near that end is: 0 far, 1 half of the life left and nobody renews it, 2 a quarter, 3 a tenth, 4 over.", labels, nil)
	for what, e := range endsOf(m.life.artefacts(), time.Now()) {
		ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(e.until.Unix()), what.kind, what.name)
		ch <- prometheus.MustNewConstMetric(near, prometheus.GaugeValue, float64(e.level), what.kind, what.name)
	}
}

// kindAndName is what an artefact is known by, and end its end and how near that is.
type (
	kindAndName struct{ kind, name string }
	end         struct {
		until time.Time
		level level
	}
)

// endsOf returns the ends of those artefacts that have one. What is held twice, such as
// an authority of two mounts, stands once, as what is worse off: Prometheus takes nothing
// of a process that shows the same thing twice.
func endsOf(all []artefact, now time.Time) map[kindAndName]end {
	ends := map[kindAndName]end{}
	for _, a := range all {
		if a.Until.IsZero() {
			continue
		}
		what := kindAndName{a.Kind, a.Name}
		e, known := ends[what]
		if !known || a.Until.Before(e.until) {
			e.until = a.Until
		}
		e.level = max(e.level, a.level(now))
		ends[what] = e
	}
	return ends
}

// certificates tells of each certificate.
func (m *identityMetrics) certificates(ch chan<- prometheus.Metric) {
	expiry := prometheus.NewDesc("sallyport_certificate_expiry_seconds", "When a certificate ends unless it is renewed, in Unix seconds.", []string{"name"}, nil)
	renewals := prometheus.NewDesc("sallyport_certificate_renewals_total", "Attempts to renew a certificate, by result.", []string{"name", "result"}, nil)
	for _, c := range m.life.certificates {
		for _, status := range c.Status() {
			ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(status.NotAfter.Unix()), status.Name)
			ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(status.Renewals), status.Name, "success")
			ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(status.Failures), status.Name, "failure")
		}
	}
}

// followed tells of each secret and document that is read again and again. What
// is not of Vault has no version that is a number.
func (m *identityMetrics) followed(ch chan<- prometheus.Metric) {
	labels := []string{"source"}
	version := prometheus.NewDesc("sallyport_secret_version", "Version of a secret that is in use.", labels, nil)
	held := prometheus.NewDesc("sallyport_source_fault", "Whether a newer version was refused, or the source cannot be read; what is held stays in use.", labels, nil)
	read := prometheus.NewDesc("sallyport_source_read_seconds", "When a source was last read, in Unix seconds.", labels, nil)
	for _, state := range m.life.follows() {
		if number, err := strconv.Atoi(state.Version); err == nil {
			ch <- prometheus.MustNewConstMetric(version, prometheus.GaugeValue, float64(number), state.Name)
		}
		ch <- prometheus.MustNewConstMetric(held, prometheus.GaugeValue, truth(state.Cause != ""), state.Name)
		ch <- prometheus.MustNewConstMetric(read, prometheus.GaugeValue, float64(state.Read.Unix()), state.Name)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// configMetrics tell which configuration is in use, and whether a newer one is not. It is
// a prometheus.Collector.
type configMetrics struct{ config followed }

// Describe implements prometheus.Collector.
func (m *configMetrics) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, ch)
}

// Collect implements prometheus.Collector.
func (m *configMetrics) Collect(ch chan<- prometheus.Metric) {
	successful := prometheus.NewDesc("sallyport_config_last_reload_successful", "Whether the newest configuration is the one in use.", nil, nil)
	since := prometheus.NewDesc("sallyport_config_last_reload_success_timestamp_seconds", "When the configuration in use was put in use, in Unix seconds.", nil, nil)
	info := prometheus.NewDesc("sallyport_config_info", "Which version of the configuration is in use: always 1.", []string{"version"}, nil)
	for _, state := range m.config.states() { // there is one
		ch <- prometheus.MustNewConstMetric(successful, prometheus.GaugeValue, truth(state.Cause == ""))
		ch <- prometheus.MustNewConstMetric(since, prometheus.GaugeValue, float64(state.Since.Unix()))
		ch <- prometheus.MustNewConstMetric(info, prometheus.GaugeValue, 1, state.Version)
	}
}

// newRegistry returns a registry with what every process tells of itself.
func newRegistry(service string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_build_info", Help: "What the process was built from: always 1.",
			ConstLabels: prometheus.Labels{"service": service, "version": buildVersion(), "revision": revision(buildInfo()), "goversion": buildInfo().GoVersion},
		}, func() float64 { return 1 }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return registry
}
