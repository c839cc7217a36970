package sidecar

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// ALPN is what is spoken to a guard of connections (RFC 7301), so that no HTTP is taken
// for something else, nor the other way round.
const ALPN = "sallyport-tcp"

// TCPConfig is what a guard of connections needs. It must not be changed after NewTCP.
type TCPConfig struct {
	// App is the application's address, tcp://HOST:PORT with a loopback host, or
	// unix:/PATH. Required.
	App *url.URL
	// PeerName is that of Config. Required.
	PeerName func(tls.ConnectionState) (string, error)
	// Living notes what is under way, to be cut when its peer is let in no longer; nil
	// has everything end by itself.
	Living *Living
	// ConnectTimeout is how long the application may take to accept a connection. Zero
	// means five seconds.
	ConnectTimeout time.Duration
	// IdleTimeout is how long a connection may carry nothing in either direction. Zero
	// means an hour.
	IdleTimeout time.Duration
	// Connections is how many there may be at once. Zero means 512.
	Connections int
	// Access gets a line when a connection begins, and one when it ends. Required.
	Access *accesslog.Log
	// Log is for what no connection is to blame for; nil discards.
	Log *slog.Logger
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// TCP guards one application that speaks anything over connections. It is immutable and
// safe for concurrent use.
type TCP struct {
	cfg TCPConfig
	app application
}

// NewTCP returns a TCP, or an error that names what is wrong with cfg.
func NewTCP(cfg TCPConfig) (*TCP, error) {
	app, err := applicationOf(cfg.App, "tcp")
	if err != nil {
		return nil, err
	}
	if cfg.PeerName == nil || cfg.Access == nil {
		return nil, errors.New("guard of connections needs PeerName and Access")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = appDialTimeout
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Hour
	}
	if cfg.Connections == 0 {
		cfg.Connections = 512
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	app.patience = cfg.ConnectTimeout
	return &TCP{cfg, app}, nil
}

// passage is one connection on its way through.
type passage struct {
	guard  *TCP
	client *tls.Conn
	app    closeWriter
	record accesslog.Record

	in, out atomic.Int64 // bytes from the client, and to it
	began   time.Time    // of the carrying
	moved   atomic.Int64 // when something has last moved, in nanoseconds since began: by no clock that is set
}

// closeWriter is a connection whose directions end one by one.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// The causes that are ours with which a connection ends.
var (
	errIdle     = errors.New("nothing was said for longer than tcp.idle_timeout")
	errStopping = errors.New("the process is stopping")
	errBrokeOff = errors.New("client went without saying that this was the end")
	errTooMany  = errors.New("there are as many connections as tcp.connections allows")
)

// handle carries one connection, whose handshake is over, until it ends or ctx does.
// full says that there are as many as may be. The connection is closed in any case.
func (t *TCP) handle(ctx context.Context, client *tls.Conn, full bool) {
	defer client.Close()
	state := client.ConnectionState()
	p := &passage{guard: t, client: client, record: t.recordOf(client, &state)}
	// Before it is let in: who is taken off the list just then is cut, and not overlooked.
	ctx, forget := t.cfg.Living.begin(ctx, &state)
	defer forget()
	if err := p.admit(&state, full); err != nil {
		p.end(err)
		return
	}
	begin := p.record
	begin.Action, begin.Upstream = accesslog.ActionStream, t.app.name
	if err := t.cfg.Access.Write(&begin); err != nil { // nobody is let in of whom there is no record
		return
	}
	p.record.Upstream = t.app.name
	p.end(p.carry(ctx))
}

// recordOf begins the record of a connection; it says "deny" until somebody decides
// otherwise.
func (t *TCP) recordOf(client *tls.Conn, state *tls.ConnectionState) accesslog.Record {
	host, port, _ := net.SplitHostPort(client.RemoteAddr().String())
	record := accesslog.Record{
		Time: t.cfg.Now(), RequestID: strings.ToLower(rand.Text()), Action: accesslog.ActionRefused, Decision: accesslog.DecisionDeny,
		Host: state.ServerName, ClientAddress: host, ClientPort: port, TLSVersion: strings.TrimPrefix(tls.VersionName(state.Version), "TLS "),
		Stream: accesslog.StreamTCP,
	}
	if len(state.PeerCertificates) > 0 {
		record.ClientSerial = relay.Serial(state.PeerCertificates[0])
	}
	return record
}

// admit decides whether a connection is let in, and notes that.
func (p *passage) admit(state *tls.ConnectionState, full bool) error {
	peer, err := p.guard.cfg.PeerName(*state)
	if err != nil {
		p.record.Reason = "no_peer"
		return err
	}
	p.record.Rule = "peer:" + peer
	if full {
		p.record.Reason = "connection_limit"
		return errTooMany
	}
	if err := p.guard.cfg.Access.Err(); err != nil {
		p.record.Reason = "access_log"
		return err
	}
	p.record.Action, p.record.Decision, p.record.Reason = accesslog.ActionAccess, accesslog.DecisionAllow, "gateway"
	return nil
}

// end writes the record of the end.
func (p *passage) end(cause error) {
	p.record.Duration = p.guard.cfg.Now().Sub(p.record.Time)
	p.record.BytesIn, p.record.BytesOut = p.in.Load(), p.out.Load()
	if cause != nil {
		p.record.Cause = cause.Error()
	}
	if p.record.Decision == accesslog.DecisionDeny {
		p.record.Stream = ""
	}
	_ = p.guard.cfg.Access.Write(&p.record) // it tells of its failures itself, and counts what it loses
}

// connect connects to the application.
func (p *passage) connect(ctx context.Context) error {
	conn, err := p.guard.app.dial(ctx, "", "")
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = conn.Close() // nothing was said on it
		}
		return context.Cause(ctx)
	case err != nil:
		p.record.Status, p.record.Reason = http.StatusBadGateway, "app_unreachable"
		return fmt.Errorf("connecting to the application: %w", err)
	}
	p.record.UpstreamTime = p.guard.cfg.Now().Sub(p.record.Time)
	p.app = conn.(closeWriter) //nolint:forcetypeassert // TCP and Unix sockets are
	return nil
}

// carry connects to the application, and moves bytes until both directions have ended,
// one has failed, nothing has moved for too long, or ctx has ended.
func (p *passage) carry(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer p.app.Close()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	defer context.AfterFunc(ctx, p.cut)()
	defer p.watch(cut)()
	faults := make(chan error, 1)
	var both sync.WaitGroup
	for _, way := range []func() error{
		func() error { return p.move(p.app, p.client, &p.in) },
		func() error { return p.move(p.client, p.app, &p.out) },
	} {
		both.Go(func() {
			if err := way(); err != nil {
				select {
				case faults <- err: // the first is the cause of the other
				default:
				}
				cut(nil) // half a connection is of no use to anybody
			}
		})
	}
	both.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	select {
	case err := <-faults:
		return err
	default:
		return nil
	}
}

// cut ends both connections at once, with a reset where there is such a thing: what was
// cut must not look whole to either side.
func (p *passage) cut() {
	for _, side := range []net.Conn{p.client.NetConn(), p.app} {
		if abrupt, ok := side.(interface{ SetLinger(sec int) error }); ok {
			_ = abrupt.SetLinger(0)
		}
		_ = side.Close() // there is an error already, and that is the one to tell
	}
}

// watch has the connection cut when nothing has moved for too long, until stop is
// called.
func (p *passage) watch(cut context.CancelCauseFunc) (stop func()) {
	limit := p.guard.cfg.IdleTimeout
	p.began = time.Now()
	var mu sync.Mutex // guards the others
	var timer *time.Timer
	over := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(limit, func() {
		mu.Lock()
		defer mu.Unlock()
		switch left := limit - (time.Since(p.began) - time.Duration(p.moved.Load())); {
		case over:
		case left > 0:
			timer.Reset(left)
		default:
			cut(errIdle)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

// moves notes that something has moved.
func (p *passage) moves() { p.moved.Store(int64(time.Since(p.began))) }

// tcpBuffers lends what bytes are moved through.
var tcpBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// move copies from one side to the other until its end, and passes that on: the other
// direction may go on for long.
func (p *passage) move(to, from closeWriter, count *atomic.Int64) error {
	buf := tcpBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // nothing else is put there
	defer tcpBuffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			p.moves()
			if _, err := to.Write(buf[:n]); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
			count.Add(int64(n))
			p.moves()
		}
		switch {
		case errors.Is(err, io.EOF) && from == closeWriter(p.client) && brokeOff(p.client):
			return errBrokeOff
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // who is gone altogether shows in the other direction
			return nil
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
	}
}
