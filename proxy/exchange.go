package proxy

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// exchange is one request on its way through the gateway, and the
// http.ResponseWriter of its answer. It belongs to the request's goroutine,
// except for the byte counters, which the two directions of an upgraded
// connection share.
type exchange struct {
	http.ResponseWriter
	record accesslog.Record
	start  time.Time
	status int

	in, out atomic.Int64
}

// open begins an exchange and its record.
func open(w http.ResponseWriter, r *http.Request, now time.Time) *exchange {
	host, port, _ := net.SplitHostPort(r.RemoteAddr)
	ex := &exchange{ResponseWriter: w, start: now}
	ex.record = accesslog.Record{
		Time: now, RequestID: newRequestID(), Action: accesslog.ActionRefused, Decision: "deny",
		Method: r.Method, Host: r.Host, Path: r.URL.Path, Protocol: protocol(r),
		ClientAddress: host, ClientPort: port, UserAgent: r.UserAgent(), TLSVersion: tlsVersion(r.TLS),
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &countedBody{ReadCloser: r.Body, n: &ex.in}
	}
	return ex
}

// close completes the record.
func (ex *exchange) close(now time.Time) *accesslog.Record {
	ex.record.Duration = now.Sub(ex.start)
	ex.record.Status = ex.status
	ex.record.BytesIn, ex.record.BytesOut = ex.in.Load(), ex.out.Load()
	return &ex.record
}

// note writes what was decided, and why, into the record.
func (ex *exchange) note(action accesslog.Action, decision, reason string) {
	ex.record.Action, ex.record.Decision, ex.record.Reason = action, decision, reason
}

// WriteHeader passes final statuses on. Interim ones (1xx) of a backend are
// dropped: their headers would bypass the filter for answers.
func (ex *exchange) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		return
	}
	if ex.status == 0 {
		ex.status = status
	}
	ex.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes of the body.
func (ex *exchange) Write(p []byte) (int, error) {
	if ex.status == 0 {
		ex.status = http.StatusOK
	}
	n, err := ex.ResponseWriter.Write(p)
	ex.out.Add(int64(n))
	return n, err
}

// Flush sends what is buffered; streams depend on it.
func (ex *exchange) Flush() { _ = http.NewResponseController(ex.ResponseWriter).Flush() }

// Hijack gives an upgraded connection away, still counted.
func (ex *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(ex.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ex.status = http.StatusSwitchingProtocols
	return &countedConn{Conn: conn, in: &ex.in, out: &ex.out}, buffered, nil
}

// Unwrap lets http.ResponseController reach deadlines and full duplex.
func (ex *exchange) Unwrap() http.ResponseWriter { return ex.ResponseWriter }

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

type countedConn struct {
	net.Conn
	in, out *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	return n, err
}

// newRequestID returns 80 random bits as 16 lower-case letters and digits
// without 0, 1, 8 and 9: it is read aloud to a help desk.
func newRequestID() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
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
