// Package otlp delivers telemetry to a collector by the OpenTelemetry protocol (OTLP 1.x,
// https://opentelemetry.io/docs/specs/otlp/), in binary Protobuf over gRPC or over HTTP.
//
// Of gRPC it speaks what OTLP needs, one unary call on a connection of net/http: one
// message out, one in, and a status in the trailers. There is no name resolution, no
// balancing, no reflection and no stream, and nothing of the environment is read.
//
// Hostile input: the collector's answers. Their size and their time are bounded, and of
// their texts only what is printable gets into an error.
package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Protocol is how messages are carried.
type Protocol string

// The protocols.
const (
	GRPC Protocol = "grpc" // OTLP/gRPC, over HTTP/2 alone
	HTTP Protocol = "http" // OTLP/HTTP, in binary Protobuf
)

// Signal is a kind of telemetry.
type Signal int

// The signals.
const (
	Logs Signal = iota
	Traces
)

// paths are where each signal is received: that of OTLP/HTTP below the endpoint's own,
// and the method of the gRPC service.
var paths = map[Signal]map[Protocol]string{
	Logs: {
		HTTP: "/v1/logs",
		GRPC: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
	},
	Traces: {
		HTTP: "/v1/traces",
		GRPC: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	},
}

// Config is what a Client needs. It must not be changed after New.
type Config struct {
	// Endpoint is the collector's origin: https, or http in the clear. Required.
	Endpoint *url.URL
	// Protocol is what it speaks. Required.
	Protocol Protocol
	// TLS is how to know it, and us; nil for the roots of this host and no certificate.
	TLS *tls.Config
	// Timeout bounds one Export. Default 10 s.
	Timeout time.Duration
	// Agent is what we call ourselves: NAME/VERSION. Default "sallyport".
	Agent string
}

const (
	defaultTimeout  = 10 * time.Second
	dialTimeout     = 5 * time.Second
	idleTimeout     = 90 * time.Second
	pingAfter       = 30 * time.Second // of a connection on which nothing comes
	maxHeaderBytes  = 32 << 10
	maxAnswer       = 64 << 10
	compressedAbove = 1 << 10 // a smaller message is not worth it
)

// Client delivers messages to one collector. It connects when there is something to
// deliver, and is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
}

// New returns a Client, or an error that names what is wrong with cfg.
func New(cfg Config) (*Client, error) {
	switch {
	case cfg.Endpoint == nil || cfg.Endpoint.Host == "" || cfg.Endpoint.Scheme != "https" && cfg.Endpoint.Scheme != "http":
		return nil, fmt.Errorf("collector %v: expected https://host:port", cfg.Endpoint)
	case cfg.Protocol != GRPC && cfg.Protocol != HTTP:
		return nil, fmt.Errorf("protocol %q: expected grpc or http", cfg.Protocol)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Agent == "" {
		cfg.Agent = "sallyport"
	}
	return &Client{cfg: cfg, http: &http.Client{
		Transport: newTransport(cfg),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // records go where the configuration says
		},
	}}, nil
}

// newTransport is the connections to the collector, past any proxy that the environment
// names.
func newTransport(cfg Config) *http.Transport {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // an answer cannot grow on the way in
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: cfg.Timeout},
	}
	if cfg.TLS != nil {
		t.TLSClientConfig = cfg.TLS.Clone()
	} else {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.Protocols.SetHTTP2(true)
	if cfg.Protocol == GRPC {
		t.Protocols.SetUnencryptedHTTP2(cfg.Endpoint.Scheme == "http")
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// Close lets go of the connections that no Export uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address is where the collector is: its scheme, host and port.
func (c *Client) Address() string { return c.cfg.Endpoint.Scheme + "://" + c.cfg.Endpoint.Host }

// Export delivers one message, an Export…ServiceRequest of that signal as Protobuf, and
// returns when the collector has answered. The error is a [*PartialError] if it has taken
// some of it, else an [*Error]; either may be wrapped. The message is not kept.
func (c *Client) Export(ctx context.Context, signal Signal, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var err error
	if c.cfg.Protocol == GRPC {
		err = c.call(ctx, signal, message)
	} else {
		err = c.post(ctx, signal, message)
	}
	var known *Error
	var partial *PartialError
	if err == nil || errors.As(err, &known) || errors.As(err, &partial) {
		return err
	}
	return &Error{Retry: true, err: stripURL(err)} // nothing was answered
}

// stripURL takes the address from an error of net/http, which begins with it; the
// endpoint may hold a path that is somebody's name for an account.
func stripURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// target is where a signal is delivered.
func (c *Client) target(signal Signal) string {
	return c.cfg.Endpoint.JoinPath(paths[signal][c.cfg.Protocol]).String()
}
