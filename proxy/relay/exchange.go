package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// StatusClientClosed marks, in the log only, a request whose client went away
// before there was an answer.
const StatusClientClosed = 499

// errBrokeOff is the cause of an answer that ended in the middle.
var errBrokeOff = errors.New("connection to the client or the backend broke off")

// Exchange is one request on its way, the http.ResponseWriter of its answer,
// and its record; a [Recorder] makes it. It belongs to the request's goroutine,
// except for the counters, which the two directions of an upgraded connection
// share.
type Exchange struct {
	http.ResponseWriter
	// Record is filled on the way; the Recorder completes it.
	Record accesslog.Record
	// Span is that of the request, which the Recorder ends; nil if it is not traced.
	Span *tracing.Span

	start    time.Time
	status   int
	in, out  atomic.Int64
	upstream atomic.Int64 // nanoseconds from sent to the head of the backend's answer
	sent     time.Time    // when Time was called, by the clock now
	now      func() time.Time
	heard    atomic.Int64 // when the client of an upgraded connection last sent something, in nanoseconds
	body     *countedBody // nil for none
	duplex   bool
	begun    atomic.Bool // whether the answer has begun, for whoever reads the body
	progress progress
	place    place
	streaming
}

// open begins an exchange; the record says "deny" until somebody decides
// otherwise. It returns the request to go on with, a copy whose body is counted:
// net/http must keep its own to answer early, before a body has come.
func open(w http.ResponseWriter, r *http.Request, now time.Time) (*Exchange, *http.Request) {
	host, port, _ := net.SplitHostPort(r.RemoteAddr)
	ex := &Exchange{ResponseWriter: w, start: now}
	ex.Record = accesslog.Record{
		Time: now, Action: accesslog.ActionRefused, Decision: accesslog.DecisionDeny,
		Method: r.Method, Host: withoutPort(r.Host), Path: r.URL.Path, Protocol: protocol(r),
		ClientAddress: host, ClientPort: port, UserAgent: r.UserAgent(), TLSVersion: tlsVersion(r.TLS),
	}
	if r.Body == nil || r.Body == http.NoBody {
		return ex, r
	}
	ex.body = &countedBody{ReadCloser: r.Body, n: &ex.in, oneWay: r.ProtoMajor < 2}
	counted := *r
	counted.Body = ex.body
	return ex, &counted
}

// ExpectBody bounds how long the rest of the request's body may take to come:
// the patience of whoever has not been let in. Zero ends the bound. It concerns
// nothing but bodies; connections that cannot do it (in tests) go without.
func (ex *Exchange) ExpectBody(patience time.Duration) {
	var deadline time.Time
	if patience > 0 {
		deadline = time.Now().Add(patience)
	}
	_ = http.NewResponseController(ex.ResponseWriter).SetReadDeadline(deadline)
}

// Note writes what was decided, and why, into the record.
func (ex *Exchange) Note(action accesslog.Action, decision, reason string) {
	ex.Record.Action, ex.Record.Decision, ex.Record.Reason = action, decision, reason
}

// Fail writes the private cause of a failure into the record, unless an earlier
// one stands there.
func (ex *Exchange) Fail(cause error) {
	if cause != nil && ex.Record.Cause == "" {
		ex.Record.Cause = cause.Error()
	}
}

// close completes the record and returns it. cut says that the answer, if none
// was begun, was not sent either.
func (ex *Exchange) close(now time.Time, cut bool) *accesslog.Record {
	if ex.status == 0 {
		ex.status = http.StatusOK // net/http sends this for a handler that wrote nothing
		if cut {
			ex.status = StatusClientClosed
		}
	}
	ex.endStream()
	ex.Record.Duration, ex.Record.Status = now.Sub(ex.start), ex.status
	ex.Record.BytesIn, ex.Record.BytesOut = ex.in.Load(), ex.out.Load()
	ex.Record.UpstreamTime = time.Duration(ex.upstream.Load())
	return &ex.Record
}

// Time has [SafeTrailers] note how long the backend takes from now on until the head of
// its answer is there, of requests whose context has the Exchange as its [TimedKey]. It is
// called once.
func (ex *Exchange) Time(now func() time.Time) { ex.now, ex.sent = now, now() }

// TimedKey is the key of the *Exchange of a request that is timed.
type TimedKey struct{}

// answered notes that the answer to a request with that context has come.
func answered(ctx context.Context) {
	if ex, ok := ctx.Value(TimedKey{}).(*Exchange); ok {
		ex.upstream.Store(int64(ex.now().Sub(ex.sent)))
	}
}

// WriteHeader passes final statuses on. Interim ones (1xx) of a backend are
// dropped: their headers would bypass the filter for answers. An answer without
// Content-Type stays without one: net/http would guess.
func (ex *Exchange) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		return
	}
	if ex.status == 0 {
		ex.status = status
	}
	ex.begun.Store(true)
	if h := ex.Header(); h["Content-Type"] == nil {
		h["Content-Type"] = nil // present and empty: this is how net/http is told
	}
	ex.begin()
	ex.ResponseWriter.WriteHeader(status)
}

// begin is what comes before the answer's first byte.
func (ex *Exchange) begin() {
	ex.closeIfEarly()
	ex.forHTTP3()
	ex.place.answered()
	ex.beginStream()
}

// Write counts the bytes of the body.
func (ex *Exchange) Write(p []byte) (int, error) {
	if ex.status == 0 {
		ex.status = http.StatusOK
		ex.begin()
	}
	if ex.lasts(); ex.fault != nil {
		return 0, ex.fault // nobody is told anything of which there is no record
	}
	ex.progress.writing.Store(sinceBirth())
	n, err := ex.ResponseWriter.Write(p)
	ex.progress.writing.Store(0)
	ex.out.Add(int64(n))
	return n, err
}

// Hijack gives an upgraded connection away, still counted.
func (ex *Exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	ex.status = http.StatusSwitchingProtocols
	ex.stream(accesslog.StreamUpgrade)
	if fault := ex.fault; fault != nil { // who cannot be recorded is told so, and goes nowhere
		ex.status, ex.fault, ex.Record.Stream = 0, nil, ""
		return nil, nil, fault
	}
	conn, buffered, err := http.NewResponseController(ex.ResponseWriter).Hijack()
	if err != nil {
		ex.status = 0
		return nil, nil, err
	}
	upgraded := &upgradedConn{Conn: conn, exchange: ex}
	if buffered.Reader.Buffered() > 0 {
		upgraded.early = buffered.Reader
	}
	return upgraded, buffered, nil
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (ex *Exchange) Unwrap() http.ResponseWriter { return ex.ResponseWriter }

// withoutPort is host as the record has it, the same at both ends of the inner
// door.
func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// protocol is the version of HTTP as ECS writes it: "1.1", "2".
func protocol(r *http.Request) string {
	if r.ProtoMajor >= 2 {
		return strconv.Itoa(r.ProtoMajor)
	}
	return strings.TrimPrefix(r.Proto, "HTTP/")
}

// tlsVersion is the version of TLS as ECS writes it: "1.3".
func tlsVersion(state *tls.ConnectionState) string {
	if state == nil {
		return ""
	}
	return strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
}
