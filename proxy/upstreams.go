package proxy

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/upstream"
)

// Run watches the backends of the Gateway in use, and of each that replaces it,
// until ctx ends; it then returns nil. Without it, what is known of backends comes
// from people's requests alone.
func (l *Live) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.watch(ctx)
	}
	return nil
}

// watch is Run for one Gateway. It returns when that is replaced.
func (l *Live) watch(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var probing sync.WaitGroup
	defer probing.Wait()
	defer stop()
	for _, rt := range l.Gateway().order {
		if rt.pool != nil {
			probing.Go(func() { rt.pool.Run(ctx) })
		}
	}
	select {
	case <-ctx.Done():
	case <-l.replaced:
	}
}

// wake has Run look which Gateway is in use.
func (l *Live) wake() {
	select {
	case l.replaced <- struct{}{}:
	default: // it has been told already
	}
}

// RouteUpstreams are the upstreams of one route.
type RouteUpstreams struct {
	// Route is its name.
	Route string
	// Upstreams are in the order of the configuration.
	Upstreams []upstream.Status
	// Retries is how many further attempts were made for requests, since the
	// configuration is in use.
	Retries int64
}

// Upstreams describes where the Gateway in use sends requests, as it is now.
func (l *Live) Upstreams() []RouteUpstreams {
	var all []RouteUpstreams
	for _, rt := range l.Gateway().order {
		if rt.pool == nil {
			continue
		}
		all = append(all, RouteUpstreams{Route: rt.Name, Upstreams: rt.pool.Status(), Retries: rt.pool.Retries()})
	}
	return all
}

// UpstreamMetrics shows what Upstreams describes. It is a prometheus.Collector,
// safe for concurrent use.
type UpstreamMetrics struct {
	upstreams                          func() []RouteUpstreams
	healthy, inFlight, faults, retries *prometheus.Desc
}

// NewUpstreamMetrics returns metrics that are registered nowhere yet. upstreams is
// called whenever they are gathered.
func NewUpstreamMetrics(upstreams func() []RouteUpstreams) *UpstreamMetrics {
	each := []string{"route", "upstream"}
	return &UpstreamMetrics{
		upstreams: upstreams,
		healthy:   prometheus.NewDesc("sallyport_upstream_healthy", "1 while an upstream is thought well of, else 0.", each, nil),
		inFlight:  prometheus.NewDesc("sallyport_upstream_requests_in_flight", "Requests that an upstream is answering now.", each, nil),
		faults:    prometheus.NewDesc("sallyport_upstream_faults_total", "Connections that were not made, and faults that a sidecar reported.", each, nil),
		retries:   prometheus.NewDesc("sallyport_upstream_retries_total", "Further attempts for requests.", []string{"route"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *UpstreamMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.healthy, m.inFlight, m.faults, m.retries} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *UpstreamMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, rt := range m.upstreams() {
		ch <- prometheus.MustNewConstMetric(m.retries, prometheus.CounterValue, float64(rt.Retries), rt.Route)
		for _, up := range rt.Upstreams {
			healthy := 0.0
			if up.Healthy {
				healthy = 1
			}
			ch <- prometheus.MustNewConstMetric(m.healthy, prometheus.GaugeValue, healthy, rt.Route, up.Address)
			ch <- prometheus.MustNewConstMetric(m.inFlight, prometheus.GaugeValue, float64(up.InFlight), rt.Route, up.Address)
			ch <- prometheus.MustNewConstMetric(m.faults, prometheus.CounterValue, float64(up.Faults), rt.Route, up.Address)
		}
	}
}
