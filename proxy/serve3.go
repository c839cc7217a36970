package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Server3Config is what Serve3 needs. It must not be changed afterwards.
type Server3Config struct {
	// Socket receives the datagrams; Serve3 closes it. Required.
	Socket net.PacketConn
	// TLS ends TLS, in version 1.3 whatever it says. No early data is taken: it
	// could be sent again by whoever has seen it. Required.
	TLS *tls.Config
	// Handler answers. Required.
	Handler http.Handler
	// Announce is how long everything goes on after ctx has ended, and Drain how long
	// requests in flight may take after that; see ServerConfig.
	Announce, Drain time.Duration
	// Log gets what is a matter for operators; nil discards.
	Log *slog.Logger
	// Admit is asked for each new connection, with its peer's address, and returns
	// how to say that it has ended, or false to refuse it. It is called concurrently.
	// Nil lets everybody in.
	Admit func(net.Addr) (leave func(), ok bool)
}

const (
	// How much of a body may wait here unread: of one stream, and of a connection.
	streamWindow, connectionWindow = 1 << 20, 2 << 20
	// deadPeer is how long a connection lives on whose peer is not heard of, and
	// keepAlive how often a peer is asked for a sign of life.
	deadPeer, keepAlive = time.Minute, 20 * time.Second
	// unprovenPerSecond is how many connections a second may begin before the peer
	// has shown that it is where it says; beyond that it has to, which takes one
	// round trip more and keeps forged addresses from costing a handshake each.
	unprovenPerSecond = 100
	// lastPackets is how long a client may take to fetch the end of an answer whose
	// handler has returned.
	lastPackets = time.Second
)

// Serve3 answers HTTP/3 (RFC 9114) on a socket until ctx ends, and then stops in two
// phases as Serve does: clients are told to go elsewhere (GOAWAY), event streams end,
// and requests in flight finish within the drain deadline; what is left then is cut. It
// returns nil after a clean stop, and ErrDrain when something had to be cut.
func Serve3(ctx context.Context, cfg Server3Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	handler := newAwaited(requests, withoutBody3(cfg.Handler))
	server := &http3.Server{
		Handler: handler, MaxHeaderBytes: maxHeaderBytes, IdleTimeout: idleTimeout,
		Logger: slog.New(loud{cfg.Log.Handler()}), ConnContext: cfg.connection,
	}
	transport := &quic.Transport{Conn: cfg.Socket, ConnContext: cfg.admit, VerifySourceAddress: (&unproven{now: time.Now}).tooMany}
	listener, err := transport.Listen(http3.ConfigureTLSConfig(cfg.TLS), quicConfig())
	if err != nil {
		return errors.Join(fmt.Errorf("serving HTTP/3 on %s: %w", cfg.Socket.LocalAddr(), err), transport.Close(), cfg.Socket.Close())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeListener(listener) }()
	var stopped error
	select {
	case err := <-failed:
		stopped = fmt.Errorf("serving HTTP/3 on %s: %w", cfg.Socket.LocalAddr(), err)
	case <-ctx.Done():
		pause(context.WithoutCancel(ctx), cfg.Announce)
	}
	err = drain3(context.WithoutCancel(ctx), server, handler, cfg.Drain)
	if !handler.ended(context.WithoutCancel(ctx), cutPatience) {
		err = ErrDrain
	}
	if stopped == nil {
		if stopped = <-failed; errors.Is(stopped, http.ErrServerClosed) {
			stopped = nil
		}
	}
	return errors.Join(err, stopped, server.Close(), transport.Close(), cfg.Socket.Close())
}

// quicConfig has the limits of connections (RFC 9000).
func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: headerTimeout / 2, // twice that in all
		MaxIdleTimeout:       deadPeer, KeepAlivePeriod: keepAlive,
		MaxIncomingStreams: maxStreams, MaxIncomingUniStreams: 8, // HTTP/3 needs three
		InitialStreamReceiveWindow: streamWindow / 2, MaxStreamReceiveWindow: streamWindow,
		InitialConnectionReceiveWindow: streamWindow, MaxConnectionReceiveWindow: connectionWindow,
	}
}

// drain3 tells clients to go elsewhere, ends event streams, waits for requests in
// flight, for the given time, and closes every connection.
func drain3(ctx context.Context, server *http3.Server, handler *awaited, limit time.Duration) error {
	ctx, cut := context.WithTimeout(ctx, limit+lastPackets)
	defer cut()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = server.Shutdown(ctx) // that a client holds on to its connection is no failure
	}()
	handler.endStreams()
	clean := handler.ended(ctx, limit)
	if clean {
		defer time.AfterFunc(lastPackets, cut).Stop()
	} else {
		cut()
	}
	<-stopped
	if !clean {
		return ErrDrain
	}
	return nil
}

// admit asks whether a connection may begin, and tells when it has ended.
func (c Server3Config) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if c.Admit == nil {
		return ctx, nil
	}
	leave, ok := c.Admit(info.RemoteAddr)
	if !ok {
		return nil, errors.New("too many connections")
	}
	context.AfterFunc(ctx, leave)
	return ctx, nil
}

// connection makes the context of a connection's requests.
func (c Server3Config) connection(ctx context.Context, conn *quic.Conn) context.Context {
	// ReverseProxy lets an answer that breaks off look whole, unless it finds itself in a
	// server of net/http.
	server := &http.Server{ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)} //nolint:gosec // serves nobody
	return closeUnlessUsed(context.WithValue(ctx, http.ServerContextKey, server), conn)
}

// usedKey is the context key of the timer that closes an unused connection.
type usedKey struct{}

// closeUnlessUsed closes a connection on which no request has come whole within the
// time that one may take.
func closeUnlessUsed(ctx context.Context, conn *quic.Conn) context.Context {
	timer := time.AfterFunc(headerTimeout, func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "no request came")
	})
	context.AfterFunc(ctx, func() { timer.Stop() })
	return context.WithValue(ctx, usedKey{}, timer)
}

// withoutBody3 notes that the connection is used, and makes of a request what net/http
// would have: one that has no body by its method, and announces none, has none. HTTP/3
// could only know after waiting for the end of the stream, and a body of unknown length
// goes on as a chunked one.
func withoutBody3(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if timer, ok := r.Context().Value(usedKey{}).(*time.Timer); ok {
			timer.Stop()
		}
		if r.ContentLength < 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		next.ServeHTTP(w, r)
	})
}

// unproven counts the connections that begin within a second.
type unproven struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	since time.Time
	begun int
}

// tooMany reports whether the next one has to prove its address first.
func (u *unproven) tooMany(net.Addr) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.now(); now.Sub(u.since) >= time.Second {
		u.since, u.begun = now, 0
	}
	u.begun++
	return u.begun > unprovenPerSecond
}

// loud passes on what is a matter for operators. Below that, the library tells of
// every request, with its query.
type loud struct{ slog.Handler }

// Enabled implements slog.Handler.
func (l loud) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// advertisedFor is how long a browser may remember that HTTP/3 is spoken: a day.
const advertisedFor = "86400"

// Advertise tells clients of other protocols that HTTP/3 is spoken at the same host,
// on the given port as they see it (RFC 7838). A backend's own Alt-Svc never passes.
func Advertise(next http.Handler, port int) http.Handler {
	service := []string{`h3=":` + strconv.Itoa(port) + `"; ma=` + advertisedFor}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 3 {
			w.Header()["Alt-Svc"] = service
		}
		next.ServeHTTP(w, r)
	})
}
