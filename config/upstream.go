package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Backend is the tool behind a route: its sidecar, or several of the same kind.
type Backend struct {
	// URL is where to dial: https://host[:port]. Required unless URLs is given.
	URL Origin `yaml:"url"`
	// URLs are where to dial if there are several sidecars, 32 at most; all carry
	// Name. Default: just URL.
	URLs []Origin `yaml:"urls"`
	// Name is the name that a sidecar's certificate must carry, whatever its URL
	// says. Default NAME.backend.sallyport.internal with the route's name.
	Name Peer `yaml:"name"`
	// Drain are those of URLs that get no new requests. Not all may be. Default
	// none.
	Drain []Origin `yaml:"drain"`
	// Protocol is what is spoken to the sidecars: "http1", "http2" or "auto".
	// Default "http1".
	Protocol string `yaml:"protocol"`
	// Sticky sends the requests of one session to one of URLs while it answers.
	// Default false: each goes to the one with the fewest under way.
	Sticky bool `yaml:"sticky"`
	// MaxRequests is how many requests one sidecar may have under way at once.
	// Default 0: any number.
	MaxRequests int `yaml:"max_requests"`
	// Timeouts are how long to wait for a sidecar.
	Timeouts BackendTimeouts `yaml:"timeouts"`
	// Health is how sidecars are probed.
	Health Health `yaml:"health"`
}

// BackendTimeouts are how long to wait for a sidecar.
type BackendTimeouts struct {
	// Connect is for a connection to be made, its handshake included. Default
	// 10s, 100ms to 1m.
	Connect Duration `yaml:"connect"`
	// ResponseHeader is for the header of an answer, from the end of the request.
	// Default 5m, 1s to 1h.
	ResponseHeader Duration `yaml:"response_header"`
}

// Health is how sidecars are probed.
type Health struct {
	// Path is what probes ask for: an absolute path. Default "none": no probes.
	Path string `yaml:"path"`
	// Interval is the time between two probes of a sidecar. Default 10s, 1s to 1h.
	Interval Duration `yaml:"interval"`
	// Timeout is how long a probe may take. Default 2s, 100ms to Interval.
	Timeout Duration `yaml:"timeout"`
	// Unhealthy is how many probes in a row fail before a sidecar is left out.
	// Default 3, 1 to 10.
	Unhealthy int `yaml:"unhealthy"`
	// Healthy is how many in a row succeed before it is back. Default 2, 1 to 10.
	Healthy int `yaml:"healthy"`
}

// On reports whether h probes anything.
func (h Health) On() bool { return h.Path != none }

// Upstreams are the origins to dial: one at least.
func (b Backend) Upstreams() []Origin {
	if len(b.URLs) > 0 {
		return b.URLs
	}
	return []Origin{b.URL}
}

// Protocols of a backend.
const (
	protocolHTTP1 = "http1"
	protocolHTTP2 = "http2"
	protocolAuto  = "auto"
)

// protocols are the words of backend.protocol.
var protocols = [...]string{protocolHTTP1, protocolHTTP2, protocolAuto}

const (
	maxUpstreams       = 32
	maxBackendRequests = 100_000
	maxInARow          = 10
)

// healthPath has no room for a query, and for nothing that would be written
// otherwise on its way.
var healthPath = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$`)

func defaultBackend() Backend {
	return Backend{
		Protocol: protocolHTTP1,
		Timeouts: BackendTimeouts{Connect: Duration{10 * time.Second}, ResponseHeader: Duration{5 * time.Minute}},
		Health:   Health{Path: none, Interval: Duration{10 * time.Second}, Timeout: Duration{2 * time.Second}, Unhealthy: 3, Healthy: 2},
	}
}

// backend reports what is wrong with how a tool is reached.
func (c *collector) backend(at string, b Backend) {
	c.upstreams(at, b)
	c.oneOf(join(at, "protocol"), b.Protocol, protocols[:])
	c.count(join(at, "max_requests"), b.MaxRequests, 0, maxBackendRequests)
	c.within(join(at, "timeouts.connect"), b.Timeouts.Connect, 100*time.Millisecond, time.Minute)
	c.within(join(at, "timeouts.response_header"), b.Timeouts.ResponseHeader, time.Second, time.Hour)
	c.health(join(at, "health"), b.Health)
}

// upstreams reports origins that cannot be dialled, or say too little or too much.
func (c *collector) upstreams(at string, b Backend) {
	const expected = "https://host[:port] of the tool's sidecar, such as https://grafana:8443"
	switch {
	case len(b.URLs) == 0 && b.URL.Scheme != "https":
		c.refuse(join(at, "url"), expected)
	case len(b.URLs) > 0 && b.URL != Origin{}:
		c.refuse(join(at, "urls"), "url or urls, not both")
	case len(b.URLs) > maxUpstreams:
		c.refuse(join(at, "urls"), fmt.Sprintf("at most %d entries", maxUpstreams))
	}
	for i, origin := range b.URLs {
		if origin.Scheme != "https" {
			c.refuse(entry(join(at, "urls"), i), expected)
		}
	}
	c.once(join(at, "urls"), b.URLs)
	c.once(join(at, "drain"), b.Drain)
	for i, origin := range b.Drain {
		if !slices.Contains(b.URLs, origin) {
			c.refuse(entry(join(at, "drain"), i), "one of urls")
		}
	}
	if len(b.URLs) > 0 && !slices.ContainsFunc(b.URLs, func(o Origin) bool { return !slices.Contains(b.Drain, o) }) {
		c.refuse(join(at, "drain"), "one of urls at least to be left, or nobody could open the tool")
	}
}

// once reports origins that stand in a list twice.
func (c *collector) once(at string, origins []Origin) {
	for i, origin := range origins {
		if first := slices.Index(origins, origin); first < i && origin != (Origin{}) {
			c.refuse(entry(at, i), fmt.Sprintf("each entry once; %s is the same", entry(at, first)))
		}
	}
}

func (c *collector) health(at string, h Health) {
	if h.On() && (!healthPath.MatchString(h.Path) || len(h.Path) > maxTextLength) {
		c.refuse(join(at, "path"), `an absolute path such as /healthz, without a query, or "none"`)
	}
	c.within(join(at, "interval"), h.Interval, time.Second, time.Hour)
	c.within(join(at, "timeout"), h.Timeout, 100*time.Millisecond, max(h.Interval.Duration, 100*time.Millisecond))
	c.count(join(at, "unhealthy"), h.Unhealthy, 1, maxInARow)
	c.count(join(at, "healthy"), h.Healthy, 1, maxInARow)
}
