package relay

import (
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// An answer that goes on for long has a record when it begins: whoever reads the log sees
// who is connected, and not only who was. What is such an answer is told from its head; or
// from what is sent of it later than [accesslog.LastsAfter]; or, of gRPC, whose calls are
// short as often as not, from its going on after grpcAfter.

// grpcAfter is how long a call of gRPC goes on that is no stream.
const grpcAfter = time.Second

// streaming is what an Exchange knows of its being a stream.
type streaming struct {
	recorder *Recorder
	late     *time.Timer   // writes the record of the beginning later; nil for none
	written  chan struct{} // closed when late has done so
	fault    error         // why it could not be written: nothing is sent without
}

// streamOf tells from an answer's head what stream it is, if any.
func streamOf(h http.Header) accesslog.Stream {
	kind := h["Content-Type"]
	if len(kind) == 0 {
		return ""
	}
	text := kind[0]
	switch {
	case hasPrefixFold(text, "text/event-stream"), hasPrefixFold(text, "multipart/x-mixed-replace"), hasPrefixFold(text, "application/x-ndjson"):
		return accesslog.StreamEvents
	case hasPrefixFold(text, "application/grpc") && isGRPC(h):
		return accesslog.StreamGRPC
	}
	return ""
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// beginStream writes the record of the beginning if the answer, whose status is known, is
// a stream by its head.
func (ex *Exchange) beginStream() {
	if ex.status != http.StatusOK || ex.Record.Method == http.MethodHead {
		return
	}
	switch kind := streamOf(ex.Header()); kind {
	case "":
	case accesslog.StreamGRPC:
		ex.streamLater(kind)
	default:
		ex.stream(kind)
	}
}

// forwarded reports whether the answer comes from behind us: nothing of our own lasts.
func (ex *Exchange) forwarded() bool { return ex.recorder != nil && ex.Record.Upstream != "" }

// stream writes the record of the beginning, once.
func (ex *Exchange) stream(kind accesslog.Stream) {
	if ex.Record.Stream != "" || !ex.forwarded() {
		return
	}
	ex.Record.Stream = kind
	begin := ex.beginning(kind)
	ex.fault = ex.recorder.Access.Write(&begin)
}

// streamLater does so after a while, if the exchange has not ended by then.
func (ex *Exchange) streamLater(kind accesslog.Stream) {
	if ex.Record.Stream != "" || ex.late != nil || !ex.forwarded() {
		return
	}
	begin := ex.beginning(kind)
	written := make(chan struct{})
	ex.written = written
	ex.late = time.AfterFunc(grpcAfter, func() {
		defer close(written)
		begin.Duration = ex.recorder.Now().Sub(begin.Time)
		_ = ex.recorder.Access.Write(&begin) // the log tells of its failures itself
	})
}

// beginning is the record of the beginning.
func (ex *Exchange) beginning(kind accesslog.Stream) accesslog.Record {
	begin := ex.Record
	begin.Action, begin.Stream, begin.Status = accesslog.ActionStream, kind, ex.status
	begin.Duration, begin.UpstreamTime = ex.recorder.Now().Sub(ex.start), time.Duration(ex.upstream.Load())
	begin.BytesIn, begin.BytesOut = ex.in.Load(), ex.out.Load()
	return begin
}

// endStream settles whether the exchange was a stream that is told of later.
func (ex *Exchange) endStream() {
	if ex.late == nil || ex.late.Stop() {
		return
	}
	<-ex.written // the beginning stands before the end
	ex.Record.Stream = accesslog.StreamGRPC
}

// lasts has an answer that goes on be a stream from now on.
func (ex *Exchange) lasts() {
	if ex.Record.Stream == "" && ex.late == nil && ex.forwarded() && ex.recorder.Now().Sub(ex.start) > accesslog.LastsAfter {
		ex.stream(accesslog.StreamLasting)
	}
}
