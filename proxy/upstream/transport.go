package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/http1"
	"github.com/sallyport/sallyport/proxy/relay"
)

// Protocol is the version of HTTP that is spoken to a sidecar.
type Protocol string

// The protocols. WebSockets go over HTTP/1.1 whatever is chosen.
const (
	// HTTP1 is HTTP/1.1; so is the zero value.
	HTTP1 Protocol = "http1"
	// HTTP2 is HTTP/2 alone: a sidecar that does not offer it is not reached.
	HTTP2 Protocol = "http2"
	// Auto is HTTP/2 with sidecars that offer it by ALPN, else HTTP/1.1.
	Auto Protocol = "auto"
)

// Defaults of Options.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultHeaderTimeout  = 5 * time.Minute // long polls answer late
)

const (
	maxAnswerHeader = 256 << 10
	idleTimeout     = 90 * time.Second // shorter than a sidecar's: it is us who close
	keepAlive       = 30 * time.Second
	// maxIdle bounds what a burst leaves behind, until idleTimeout. Go's default of
	// two has nearly every request of a busy tool shake hands anew.
	maxIdle = 1024
	// continueTimeout is how long a backend may take to say whether it wants the body
	// of a request that asks first ("Expect: 100-continue"). The client is not told to
	// go on before; then it is sent anyhow.
	continueTimeout = time.Second
	// Of an HTTP/2 connection on which nothing comes: all requests hang on it.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// transport is the connections to one upstream. Safe for concurrent use.
//
// An error says by the method Unsent that no byte of the request was written, and
// by Answered that a byte of an answer had come: such a request is not sent again.
// The request's body is closed in any case.
type transport interface {
	http.RoundTripper
	// CloseIdleConnections lets go of connections without a request, now, and of
	// the others when their requests have ended.
	CloseIdleConnections()
}

// way is how an upstream is reached: members of two Pools with the same way are
// one. It is comparable.
type way struct {
	address                 string // host:port
	tls                     *tls.Config
	protocol                Protocol
	connectTime, headerTime time.Duration
}

// newTransport makes the connections to one upstream, over mutual TLS in any case.
func newTransport(w way) transport {
	if w.protocol == HTTP1 {
		return newHTTP1(w)
	}
	return &mixed{upgrades: newHTTP1(w), rest: newHTTP2(w)}
}

// client is how to shake hands with the upstream.
func (w way) client() *tls.Config {
	config := w.tls.Clone()
	if config.ServerName == "" { // SNI; whom to trust is the configuration's to say
		config.ServerName, _, _ = net.SplitHostPort(w.address)
	}
	return config
}

// connect makes a connection, whatever address is asked for.
func (w way) connect(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: keepAlive}).DialContext(ctx, network, w.address)
}

// newHTTP1 is HTTP/1.1, which WebSockets need.
func newHTTP1(w way) transport {
	client := w.client()
	client.NextProtos = []string{"http/1.1"} // so that a sidecar that guards something else shakes no hands
	return http1.New(http1.Config{
		TLS: client, DialContext: w.connect,
		DialTimeout: w.connectTime, HeaderTimeout: w.headerTime, ContinueTimeout: continueTimeout,
		MaxHeaderBytes: maxAnswerHeader, MaxIdle: maxIdle, IdleTimeout: idleTimeout,
	})
}

// newHTTP2 is HTTP/2 if the sidecar offers it; else HTTP/1.1, or nothing.
func newHTTP2(w way) transport {
	d := &dialer{way: w, config: w.client()}
	d.config.NextProtos = []string{"h2"}
	if w.protocol == Auto {
		d.config.NextProtos = append(d.config.NextProtos, "http/1.1")
	}
	t := &http.Transport{
		DialTLSContext:         d.dial,
		ResponseHeaderTimeout:  w.headerTime,
		MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		ExpectContinueTimeout:  continueTimeout,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetHTTP1(w.protocol == Auto)
	return traced{t}
}

// traced is a transport of net/http, of which a trace says whether an answer had
// begun.
type traced struct{ transport }

// RoundTrip implements http.RoundTripper.
func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	var begun atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { begun.Store(true) }})
	res, err := t.transport.RoundTrip(r.WithContext(ctx))
	if err != nil && begun.Load() {
		err = &answeredError{err}
	}
	return res, err
}

// mixed sends upgrades over HTTP/1.1, and the rest over what may be HTTP/2:
// sidecars know no extended CONNECT (RFC 8441).
type mixed struct{ upgrades, rest transport }

// RoundTrip implements http.RoundTripper.
func (t *mixed) RoundTrip(r *http.Request) (*http.Response, error) {
	if relay.Upgrade(r) != "" {
		return t.upgrades.RoundTrip(r)
	}
	return t.rest.RoundTrip(r)
}

// CloseIdleConnections implements transport.
func (t *mixed) CloseIdleConnections() {
	t.upgrades.CloseIdleConnections()
	t.rest.CloseIdleConnections()
}

// dialer makes connections for net/http, and marks what goes wrong there.
type dialer struct {
	way
	config *tls.Config
}

// dial connects and shakes hands. Both together have the time for connecting.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connectTime)
	defer cancel()
	raw, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, &connectError{d.address, err}
	}
	conn := tls.Client(raw, d.config)
	if err = conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &connectError{d.address, fmt.Errorf("shaking hands: %w", err)}
	}
	if d.protocol == HTTP2 && conn.ConnectionState().NegotiatedProtocol != "h2" {
		raw.Close()
		return nil, &connectError{d.address, errNoHTTP2}
	}
	return conn, nil
}

// errNoHTTP2 is a sidecar that speaks another protocol than the one asked for.
var errNoHTTP2 = errors.New("the sidecar does not offer HTTP/2, and nothing else is allowed")
