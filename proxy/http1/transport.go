package http1

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

// Config is what a Transport needs. It must not be changed after New.
type Config struct {
	// TLS is how to speak to backends; it must not be changed any more. Without a
	// ServerName, a certificate has to be for the host of the request's address. Nil
	// speaks in the clear. Requests for the other scheme are refused.
	TLS *tls.Config
	// DialContext makes connections, called concurrently; nil means TCP with
	// keep-alive probes.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// DialTimeout bounds a connection's making and the handshake on it together; zero
	// means ten seconds.
	DialTimeout time.Duration
	// HeaderTimeout is how long after a request was written the head of its answer
	// may take, give or take a second; zero leaves it to the request's context.
	HeaderTimeout time.Duration
	// ContinueTimeout is how long a body whose request says "Expect: 100-continue"
	// waits for the backend to ask for it; zero does not wait.
	ContinueTimeout time.Duration
	// MaxHeaderBytes bounds the heads of an answer, interim ones included; zero means
	// 256 KiB.
	MaxHeaderBytes int64
	// MaxIdle is how many connections to one address are kept when nobody uses them;
	// zero means 256.
	MaxIdle int
	// IdleTimeout is how long one is kept; zero means 90 seconds.
	IdleTimeout time.Duration
	// MaxAge is how long after it was made a connection is used again; zero sets no
	// bound.
	MaxAge time.Duration
}

// Transport asks backends. It is safe for concurrent use; make one with New.
//
// A request that was sent on a connection which was used before, and which ended
// before a byte of an answer came, is sent again on a new one if that cannot do
// anything twice: when nothing of it had been written, or when its method is safe
// (RFC 9110 section 9.2.1) or it has an Idempotency-Key; in both cases only without a
// body, or with GetBody.
//
// Like [http.Transport] it calls GotFirstResponseByte and Got1xxResponse of a
// request's [httptrace.ClientTrace], and nothing else of that.
type Transport struct {
	cfg    Config
	scheme string
	pool   pool
}

// The bounds that Config does not name.
const (
	defaultDialTimeout = 10 * time.Second
	defaultIdleTimeout = 90 * time.Second
	defaultMaxIdle     = 256
	defaultHeaderBytes = 256 << 10
	keepAlive          = 30 * time.Second
)

// New returns a Transport without connections.
func New(cfg Config) *Transport {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.DialContext == nil {
		cfg.DialContext = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	}
	if cfg.MaxHeaderBytes == 0 {
		cfg.MaxHeaderBytes = defaultHeaderBytes
	}
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = defaultMaxIdle
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	t := &Transport{cfg: cfg, scheme: "http"}
	if cfg.TLS != nil {
		t.scheme = "https"
	}
	t.pool = pool{limit: cfg.MaxIdle, timeout: cfg.IdleTimeout, idle: make(map[string][]*conn)}
	return t
}

// CloseIdleConnections has every request from now on asked on a connection that is
// made from now on; those in use end with what they are used for.
func (t *Transport) CloseIdleConnections() { t.pool.closeAll() }

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	asked, length := measured(req)
	e := encoders.Get().(*encoder) //nolint:forcetypeassert // nothing else is put there
	defer e.free()
	if err := e.encode(asked, length); err != nil {
		closeBody(asked)
		return nil, err
	}
	res, err := t.ask(asked, e.buf, length)
	if err != nil {
		return nil, err
	}
	res.Request = req
	return res, nil
}

// ask sends a request with that head and a body of that length, and sends it again
// if that is safe and will help.
func (t *Transport) ask(req *http.Request, head []byte, length int64) (*http.Response, error) {
	c, reused, err := t.connection(req, true)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := c.roundTrip(req, head, length)
	if err == nil {
		return res, nil
	}
	if again := sendableAgain(req, err); reused && again != nil {
		req = again
		if c, _, err = t.connection(req, false); err != nil {
			closeBody(req)
			return nil, err
		}
		if res, err = c.roundTrip(req, head, length); err == nil {
			return res, nil
		}
	}
	var f *failure
	if errors.As(err, &f) && f.unsent {
		closeBody(req)
	}
	return nil, err
}

// check refuses requests that are none of ours.
func (t *Transport) check(req *http.Request) error {
	switch {
	case req.URL == nil || req.Header == nil:
		return errors.New("request without an address or headers")
	case req.URL.Scheme != t.scheme:
		return fmt.Errorf("request for scheme %q over a transport of %q", req.URL.Scheme, t.scheme)
	case req.URL.Host == "":
		return errors.New("request without a host in its address")
	case req.ContentLength != 0 && req.Body == nil:
		return fmt.Errorf("request of %d bytes without a body", req.ContentLength)
	}
	if ctx := req.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// connection returns one to ask req on: an idle one if there is one and kept says
// that it will do, which is then reused, else a new one.
func (t *Transport) connection(req *http.Request, kept bool) (c *conn, reused bool, err error) {
	for kept {
		c := t.pool.get(req.URL.Host)
		if c == nil {
			break
		}
		if c.usable(safe(req)) {
			return c, true, nil
		}
		c.close()
	}
	c, err = t.dial(req.Context(), req.URL)
	return c, false, err
}

// dial makes a connection to where u points.
func (t *Transport) dial(ctx context.Context, u *url.URL) (*conn, error) {
	generation := t.pool.generation.Load()
	bounded, cancel := context.WithTimeout(ctx, t.cfg.DialTimeout)
	defer cancel()
	raw, err := t.cfg.DialContext(bounded, "tcp", address(u))
	if err != nil {
		return nil, undialled(ctx, u, err)
	}
	c := newConn(t, raw, u.Host, generation)
	if err := t.secure(bounded, c, u.Hostname()); err != nil {
		_ = raw.Close() // the first error is the one to tell
		return nil, undialled(ctx, u, fmt.Errorf("shaking hands: %w", err))
	}
	c.bind(c.made, t.cfg.HeaderTimeout)
	return c, nil
}

// secure puts TLS over c, to the host of that name, unless t speaks in the clear.
func (t *Transport) secure(ctx context.Context, c *conn, host string) error {
	config := t.cfg.TLS
	if config == nil {
		return nil
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	return c.handshake(ctx, config)
}

// address is where u points, with the port of its scheme if it names none.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
		return u.Host
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// undialled is what to say of a connection that was not made: why ctx has ended, if
// it has.
func undialled(ctx context.Context, u *url.URL, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &failure{error: fmt.Errorf("connecting to %s: %w", u.Host, err), unsent: true}
}
