package config

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Collector is where telemetry is sent by the OpenTelemetry protocol.
type Collector struct {
	// Endpoint is the collector's origin, such as https://collector.internal:4317.
	// Default "none".
	Endpoint string `yaml:"endpoint"`
	// Protocol is what it speaks there: "grpc" or "http", in binary Protobuf. Default
	// "grpc".
	Protocol string `yaml:"protocol"`
	// CAFile is an absolute path to the PEM certificates of the only authorities that
	// are trusted for it. Default "system": those of the operating system.
	CAFile string `yaml:"ca_file"`
	// ClientCertificate shows it the certificate that this process has for its own mutual
	// TLS. Default false.
	ClientCertificate bool `yaml:"client_certificate"`
	// UnsafeHTTP lets Endpoint be http on another host. Default false.
	UnsafeHTTP bool `yaml:"unsafe_http"`
}

// Protocols of a collector.
const (
	otlpGRPC = "grpc"
	otlpHTTP = "http"
)

var otlpProtocols = [...]string{otlpGRPC, otlpHTTP}

func defaultCollector() Collector {
	return Collector{Endpoint: none, Protocol: otlpGRPC, CAFile: systemRoots}
}

// On says whether there is a collector.
func (t Collector) On() bool { return t.Endpoint != none }

// Origin is Endpoint taken apart; the zero value if there is none.
func (t Collector) Origin() Origin {
	var origin Origin
	_ = origin.UnmarshalText([]byte(t.Endpoint)) // was judged when it was read
	return origin
}

// SystemRoots says whether the operating system's authorities are trusted for it.
func (t Collector) SystemRoots() bool { return t.CAFile == systemRoots }

// collectorOf reports what is wrong with a collector; the zero Endpoint is not one.
func (c *collector) collectorOf(at string, t Collector) {
	var origin Origin
	switch {
	case !t.On():
	case origin.UnmarshalText([]byte(t.Endpoint)) != nil:
		c.refuse(join(at, "endpoint"), `the collector's origin, such as https://collector.internal:4317, or "none"`)
	case origin.Scheme == "http" && !isLoopback(origin.Host) && !t.UnsafeHTTP:
		c.refuse(join(at, "endpoint"), "https; http is for a loopback address, unless unsafe_http is on")
	}
	c.oneOf(join(at, "protocol"), t.Protocol, otlpProtocols[:])
	if !t.SystemRoots() && (!path.IsAbs(t.CAFile) || !isPrintable(t.CAFile)) {
		c.refuse(join(at, "ca_file"), `an absolute path, or "system"`)
	}
	if t.ClientCertificate && origin.Scheme == "http" {
		c.refuse(join(at, "client_certificate"), "false beside http, which has no certificates")
	}
}

// Tracing says what is told of the way of requests, and to whom.
type Tracing struct {
	// Propagate gives every request a trace context of ours, which the access log and
	// the tool see, also if there is no collector. Default false; with an Endpoint it is
	// so in any case.
	Propagate bool `yaml:"propagate"`
	// Endpoint, Protocol, CAFile, ClientCertificate and UnsafeHTTP are the collector that
	// gets the spans; see [Collector].
	Endpoint          string `yaml:"endpoint"`
	Protocol          string `yaml:"protocol"`
	CAFile            string `yaml:"ca_file"`
	ClientCertificate bool   `yaml:"client_certificate"`
	UnsafeHTTP        bool   `yaml:"unsafe_http"`
	// Sample is which part of the traces that begin here is kept. Default 1%.
	Sample Percent `yaml:"sample"`
	// TrustParent continues the trace that a trusted proxy says a request belongs to, and
	// keeps it if it is kept there. Default false: a trace begins here, and links to it.
	TrustParent bool `yaml:"trust_parent"`
}

// On says whether requests are traced at all.
func (t Tracing) On() bool { return t.Propagate || t.Collector().On() }

// Collector is where the spans go.
func (t Tracing) Collector() Collector {
	return Collector{Endpoint: t.Endpoint, Protocol: t.Protocol, CAFile: t.CAFile, ClientCertificate: t.ClientCertificate, UnsafeHTTP: t.UnsafeHTTP}
}

func defaultTracing() Tracing {
	c := defaultCollector()
	return Tracing{Endpoint: c.Endpoint, Protocol: c.Protocol, CAFile: c.CAFile, Sample: "1%"}
}

// tracing reports what is wrong with how requests are traced.
func (c *collector) tracing(g *Gateway) {
	c.collectorOf("tracing", g.Tracing.Collector())
	if g.Tracing.TrustParent && (len(g.Clients.TrustedProxies) == 0 || g.Clients.ProxyProtocol) {
		c.refuse("tracing.trust_parent", "false without clients.trusted_proxies, or beside proxy_protocol: what a client says is never trusted")
	}
}

// Percent is a part of a whole, that is written as 1%, 0.1% or 100%.
type Percent string

var percentText = regexp.MustCompile(`^([0-9]{1,2}(\.[0-9]{1,4})?|100)%$`)

// UnmarshalText accepts the form that [Percent] describes.
func (p *Percent) UnmarshalText(text []byte) error {
	if !percentText.Match(text) {
		return &mismatch{value: string(text), expected: "a part of a whole, such as 1%, 0.1% or 100%"}
	}
	*p = Percent(text)
	return nil
}

// Ratio is between 0 and 1; 0 for the zero value.
func (p Percent) Ratio() float64 {
	value, _ := strconv.ParseFloat(strings.TrimSuffix(string(p), "%"), 64) // was judged when it was read
	return value / 100
}
