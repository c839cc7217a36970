package main

import (
	"net/url"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// origins are the addresses of sidecars as URLs.
func origins(list []config.Origin) []*url.URL {
	var out []*url.URL
	for _, origin := range list {
		out = append(out, origin.URL())
	}
	return out
}

// upstreamOptions says how a tool's sidecars are reached, chosen and watched.
func upstreamOptions(b config.Backend) upstream.Options {
	o := upstream.Options{
		Protocol: upstream.Protocol(b.Protocol), Sticky: b.Sticky, MaxRequests: b.MaxRequests,
		ConnectTimeout: b.Timeouts.Connect.Duration, HeaderTimeout: b.Timeouts.ResponseHeader.Duration,
	}
	for _, origin := range b.Drain {
		o.Draining = append(o.Draining, origin.Address())
	}
	if h := b.Health; h.On() {
		o.Health = upstream.Health{
			Path: h.Path, Interval: h.Interval.Duration, Timeout: h.Timeout.Duration, Unhealthy: h.Unhealthy, Healthy: h.Healthy,
		}
	}
	return o
}
