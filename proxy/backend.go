package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/http1"
)

const (
	backendDialTimeout   = 10 * time.Second
	backendHeaderTimeout = 5 * time.Minute // long polls answer late
	backendHeaderBytes   = 256 << 10
	backendIdleTimeout   = 90 * time.Second
	backendIdleConns     = 256
	backendConnAge       = time.Hour // so that a name that points elsewhere is noticed
	// backendContinueTimeout is how long an upload waits for a backend that was told
	// to say whether it wants it, and may not know how.
	backendContinueTimeout = time.Second
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
func newTransport(config *tls.Config) backend {
	return http1.New(http1.Config{
		TLS:             config,
		DialTimeout:     backendDialTimeout,
		HeaderTimeout:   backendHeaderTimeout,
		ContinueTimeout: backendContinueTimeout,
		MaxHeaderBytes:  backendHeaderBytes,
		MaxIdle:         backendIdleConns,
		IdleTimeout:     backendIdleTimeout,
		MaxAge:          backendConnAge,
	})
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
	if r.Context().Err() != nil {
		// The client has gone, the session has ended, or we are stopping: an
		// empty answer must not pass for the backend's.
		ex.Fail(err)
		panic(http.ErrAbortHandler)
	}
	rf := refusal{
		status: http.StatusBadGateway, reason: "backend_unreachable", cause: err,
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment; if it stays like this, give its owner the request number below.",
		link: g.door + "/", text: "Your tools",
	}
	var timeout net.Error
	var fault sidecarFault
	switch {
	case errors.As(err, &fault):
		rf.reason = "app_unreachable"
		if fault != "app_unreachable" {
			rf.reason = "sidecar_refused"
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		rf.status, rf.reason = http.StatusGatewayTimeout, "backend_timeout"
	}
	g.refuse(ex, r, rf)
}
