package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"

	"golang.org/x/net/http/httpguts"
)

// roundTrip asks req, with that head and a body of that length, on c, which it owns
// from now on. An error is a *failure unless the context or the body is to blame; if it
// is unsent, the body is the caller's to close.
func (c *conn) roundTrip(req *http.Request, head []byte, length int64) (*http.Response, error) {
	c.br = readers.Get().(*bufio.Reader) //nolint:forcetypeassert // nothing else is put there
	c.br.Reset(c)
	c.limit = c.t.cfg.MaxHeaderBytes
	x := &exchange{c: c, req: req}
	if req.Context().Done() != nil {
		x.stop = context.AfterFunc(req.Context(), c.abort)
	}
	res, err := x.run(head, length)
	if err == nil {
		return res, nil
	}
	x.end(false)
	switch fault := x.up.failure(); {
	case c.cut.Load():
		return nil, context.Cause(req.Context())
	case fault != nil:
		return nil, fault
	}
	return nil, err
}

// exchange is one request on a connection, and its answer.
type exchange struct {
	c    *conn
	req  *http.Request
	up   *upload     // nil without a body
	stop func() bool // ends the watch over the context; nil for none
	done bool        // the connection was given back
}

func (x *exchange) run(head []byte, length int64) (*http.Response, error) {
	if err := x.send(head, length); err != nil {
		return nil, err
	}
	if _, err := x.c.br.Peek(1); err != nil {
		return nil, &failure{error: x.headFault(err)}
	}
	trace := httptrace.ContextClientTrace(x.req.Context())
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	res, err := x.read(trace)
	if err != nil {
		return nil, &failure{error: x.headFault(err), answered: true}
	}
	if fault := x.up.failure(); fault != nil { // and the backend answers to a part of the body
		return nil, &failure{error: fault, answered: true}
	}
	x.c.limit = -1
	x.up.heard()
	res.TLS = x.c.state
	return res, x.attach(res)
}

// headFault says what an error means while the head is waited for.
func (x *exchange) headFault(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errTooLate
	}
	if x.c.limit == 0 {
		return fmt.Errorf("%w of %d bytes", errHead, x.c.t.cfg.MaxHeaderBytes)
	}
	return err
}

// send writes the head of the request, and begins to send its body.
func (x *exchange) send(head []byte, length int64) error {
	if length != 0 {
		x.c.unbind() // until the body is sent
	}
	n, err := x.c.stream.Write(head)
	if err != nil {
		if n > 0 {
			closeBody(x.req)
		}
		return &failure{error: fmt.Errorf("sending the request: %w", err), unsent: n == 0}
	}
	if length == 0 {
		closeBody(x.req)
		return nil
	}
	x.up = x.c.upload(x.req, length)
	go x.up.run()
	return nil
}

// maxInterim is how many interim answers may come before the answer.
const maxInterim = 32

// read reads heads up to the one that is the answer.
func (x *exchange) read(trace *httptrace.ClientTrace) (*http.Response, error) {
	for range maxInterim {
		res, err := http.ReadResponse(x.c.br, x.req)
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
		if res.StatusCode == http.StatusContinue {
			x.up.answer(true)
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err //nolint:wrapcheck // the caller's own
			}
		}
	}
	return nil, errInterim
}

// attach gives the answer its body, and the connection back if it has none.
func (x *exchange) attach(res *http.Response) error {
	if switches(res) {
		return x.hand(res)
	}
	clean := !res.Close && !x.req.Close && res.StatusCode > 199
	if res.Body == http.NoBody || x.req.Method == http.MethodHead {
		x.end(clean)
		return nil
	}
	if length := res.ContentLength; length < 0 || length > int64(x.c.br.Buffered()) {
		x.c.unbind()
	}
	res.Body = &body{x: x, src: res.Body, left: res.ContentLength, clean: clean}
	return nil
}

// switches reports whether the connection now belongs to another protocol.
func switches(res *http.Response) bool {
	return res.StatusCode == http.StatusSwitchingProtocols && res.Header.Get("Upgrade") != "" &&
		httpguts.HeaderValuesContainsToken(res.Header["Connection"], "upgrade")
}

// hand gives the connection away with res, as a body that can be written to.
func (x *exchange) hand(res *http.Response) error {
	if x.stop != nil && !x.stop() {
		return context.Cause(x.req.Context())
	}
	x.done = true
	x.c.unbind()
	res.Body = &handed{c: x.c}
	return nil
}

// end gives the connection back, once. clean says that it can be used again as far
// as the answer is concerned.
func (x *exchange) end(clean bool) {
	if x.done {
		return
	}
	x.done = true
	if x.stop != nil && !x.stop() {
		clean = false // it is cut, or about to be
	}
	x.c.release(clean && x.up.ended())
}

// handed is a connection that was given away, as a response's body.
type handed struct{ c *conn }

// Read implements io.Reader: first what came along with the head.
func (h *handed) Read(p []byte) (int, error) { return h.c.br.Read(p) }

// Write implements io.Writer.
func (h *handed) Write(p []byte) (int, error) { return h.c.stream.Write(p) } //nolint:wrapcheck // a connection's own

// Close implements io.Closer.
func (h *handed) Close() error { return h.c.stream.Close() } //nolint:wrapcheck // a connection's own

// CloseWrite ends the way to the backend alone.
func (h *handed) CloseWrite() error {
	stream := h.c.stream
	if stream == net.Conn(h.c.socket) {
		stream = h.c.socket.Conn
	}
	if half, ok := stream.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // a connection's own
	}
	return errors.ErrUnsupported
}

var _ io.ReadWriteCloser = (*handed)(nil)
