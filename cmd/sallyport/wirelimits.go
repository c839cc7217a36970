package main

import (
	"net"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/listen"
)

const mebibyte = 1 << 20

// gatewayLimits translates the limits of requests.
func gatewayLimits(l config.Limits) proxy.Limits {
	limits := proxy.Limits{
		Requests: l.Requests, PerPerson: l.RequestsPerPerson, Memory: int64(l.MemoryMiB) * mebibyte, StrangersPerSecond: l.StrangersPerSecond,
		URLBytes: l.URLBytes, HeaderNames: l.HeaderNames, Stall: l.Stall.Duration,
	}
	if limits.Memory == 0 {
		limits.Memory = memoryLimit("/")
	}
	return limits
}

// connectionLimits holds a listener's connections to what is configured.
func connectionLimits(l config.Limits, metrics *proxy.Metrics) func(net.Listener) net.Listener {
	return func(inner net.Listener) net.Listener {
		return listen.Limit(inner, listen.Limits{
			Total: l.Connections, PerAddress: l.ConnectionsPerAddress, Stall: l.Stall.Duration,
			Closed: metrics.ConnectionClosed, Opened: metrics.Connections,
		})
	}
}

// routeLimits translates those of a route.
func routeLimits(l config.RouteLimits) proxy.RouteLimits {
	return proxy.RouteLimits{
		Requests: l.Requests, BodyBytes: int64(l.BodyMiB) * mebibyte, HeaderBytes: l.HeaderBytes,
	}
}
