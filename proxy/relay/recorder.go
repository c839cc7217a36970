package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// Recorder sees to it that every request has one line in the access log,
// whatever becomes of it. It must not be changed once it is used, and is safe
// for concurrent use. All fields but Ended are required.
type Recorder struct {
	// Access gets the lines.
	Access *accesslog.Log
	// Log gets what no line can say: panics.
	Log *slog.Logger
	// Now is the clock, called concurrently.
	Now func() time.Time
	// Ended, if not nil, is shown each record before it is written.
	Ended func(*accesslog.Record)

	clients Serials // of the certificates that clients have shown
}

// Serve has serve answer one request, with a copy of r whose body is counted,
// and writes its line. A panic of serve's cuts the connection; the cause is in
// the line.
func (rec *Recorder) Serve(w http.ResponseWriter, r *http.Request, serve func(*Exchange, *http.Request)) {
	ex, r := open(w, r, rec.Now())
	ex.recorder = rec
	if r.TLS != nil {
		ex.Record.ClientSerial = rec.clients.Of(r.TLS.PeerCertificates)
	}
	defer func() {
		fault := recover()
		ex.endPlace()
		rec.finish(r.Context(), ex, fault)
		if fault != nil {
			ex.abandonBody()
			panic(http.ErrAbortHandler)
		}
	}()
	serve(ex, r)
	ex.leaveBody()
}

// finish writes the line. fault is what recover returned; one that is not the
// way of net/http to cut a connection is a bug of ours and deserves more.
func (rec *Recorder) finish(ctx context.Context, ex *Exchange, fault any) {
	if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		ex.Fail(errBrokeOff)
	} else if fault != nil {
		ex.Record.Cause = fmt.Sprintf("panic: %v", fault)
		rec.Log.Error("panic in a request", "request_id", ex.Record.RequestID, "cause", ex.Record.Cause, "stack", string(debug.Stack()))
	}
	record := ex.close(rec.Now(), ctx.Err() != nil || fault != nil)
	ex.Span.End(record)
	if rec.Ended != nil {
		rec.Ended(record)
	}
	_ = rec.Access.Write(record) // it tells of its failures itself, and counts what it loses
}

// WriteEvent writes the line of an event. The log tells of its failures itself.
func (rec *Recorder) WriteEvent(v *accesslog.Event) { _ = rec.Access.WriteEvent(v) }
