package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	backendDialTimeout   = 10 * time.Second
	backendHeaderTimeout = 5 * time.Minute // long polls answer late
	backendHeaderBytes   = 256 << 10
	backendIdleTimeout   = 90 * time.Second
	backendIdleConns     = 256
)

// backend is how a route's requests are answered by its tool: whoever makes a
// connection, chooses among several, or tries again, does so behind it. Safe for
// concurrent use.
type backend interface {
	http.RoundTripper
	// CloseIdleConnections has new requests shake hands anew.
	CloseIdleConnections()
}

// newTransport is HTTP/1.1 over mutual TLS, which WebSockets need.
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: backendDialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    backendDialTimeout,
		ResponseHeaderTimeout:  backendHeaderTimeout,
		MaxResponseHeaderBytes: backendHeaderBytes,
		MaxIdleConnsPerHost:    backendIdleConns,
		IdleConnTimeout:        backendIdleTimeout,
		DisableCompression:     true,
	}
}

// CloseIdleConnections makes new requests shake hands anew with every backend.
// Call it after the client certificate was renewed.
func (g *Gateway) CloseIdleConnections() {
	for _, rt := range g.order {
		rt.transport.CloseIdleConnections()
	}
}

// sidecarFault is an answer of the sidecar itself: the reason why the
// application has not answered.
type sidecarFault string

func (f sidecarFault) Error() string {
	return fmt.Sprintf("sidecar answers for the application: %q", string(f))
}

// backendFailed answers for a backend that did not. The cause is for the log.
func (g *Gateway) backendFailed(_ http.ResponseWriter, r *http.Request, err error) {
	ex := outgoingOf(r.Context()).exchange
	if rf := bodyFault(err); rf != nil {
		// net/http would read on before it answers, and after that.
		ex.Header().Set("Connection", "close")
		ex.ExpectBody(time.Millisecond)
		g.refuse(ex, r, *rf)
		return
	}
	if cause := context.Cause(r.Context()); errors.Is(cause, errLate) {
		err = errLate
	} else if cause != nil {
		// The client has gone, the session has ended, or we are stopping: an
		// empty answer must not pass for the backend's.
		ex.Fail(err)
		panic(http.ErrAbortHandler)
	}
	status, reason := backendFault(err)
	g.refuse(ex, r, refusal{
		status: status, reason: reason, cause: err,
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment; if it stays like this, give its owner the request number below.",
		link: g.door + "/", text: "Your tools",
	})
}
