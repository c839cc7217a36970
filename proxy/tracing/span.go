package tracing

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
)

// Span is one part of a request's way. It belongs to the request's goroutine; nil is of a
// request that is not traced.
type Span struct {
	tracer *Tracer
	ctx    context.Context
	span   trace.Span
}

func (t *Tracer) begin(ctx context.Context, name string, options ...trace.SpanStartOption) *Span {
	ctx, span := t.spans.Start(ctx, name, options...)
	return &Span{tracer: t, ctx: ctx, span: span}
}

// Note writes the ids into the record of the request: that of the trace, and that of the
// span if it is kept.
func (s *Span) Note(r *accesslog.Record) {
	if s == nil {
		return
	}
	said := s.span.SpanContext()
	r.TraceID = said.TraceID().String()
	if said.IsSampled() {
		r.SpanID = said.SpanID().String()
	}
}

// Forward begins the span of handing the request on.
func (s *Span) Forward() *Span {
	if s == nil {
		return nil
	}
	return s.tracer.begin(s.ctx, "forward", trace.WithSpanKind(trace.SpanKindClient))
}

// Inject has h carry the trace context on, in place of what the client has sent. A trace
// that begins here has no state of anybody else's.
func (s *Span) Inject(h http.Header) {
	if s == nil {
		return
	}
	said := s.span.SpanContext()
	h[traceparent] = []string{"00-" + said.TraceID().String() + "-" + said.SpanID().String() + "-" + said.TraceFlags().String()}
	if state := said.TraceState().String(); state != "" {
		h[tracestate] = []string{state}
	} else {
		delete(h, tracestate)
	}
}

// InjectOwn is Inject, and says in a header that only a gateway can set that it is ours:
// a sidecar cannot tell otherwise from what a client has sent through a gateway that
// traces nothing.
func (s *Span) InjectOwn(h http.Header) {
	if s == nil {
		return
	}
	s.Inject(h)
	h[header.Trace] = h[traceparent]
}

// EndForward ends the span of handing a request on, with what its record says by then.
func (s *Span) EndForward(r *accesslog.Record) {
	if s == nil {
		return
	}
	defer s.span.End()
	if !s.span.IsRecording() {
		return
	}
	s.span.SetName(method(r.Method) + " upstream")
	s.span.SetAttributes(attribute.String("http.request.method", method(r.Method)), attribute.String("sallyport.route", clean(r.Route)))
	if host, port, err := net.SplitHostPort(r.Upstream); err == nil {
		s.span.SetAttributes(attribute.String("server.address", clean(host)), attribute.String("server.port", port))
	}
	if r.Attempts > 1 {
		s.span.SetAttributes(attribute.Int("http.request.resend_count", r.Attempts-1))
	}
	if r.Cause != "" {
		s.fail(r.Reason)
	}
}

// End ends the span of a request, with what its record says.
func (s *Span) End(r *accesslog.Record) {
	if s == nil {
		return
	}
	defer s.span.End()
	if !s.span.IsRecording() {
		return
	}
	name := r.Route
	if name == "" {
		name = string(r.Action)
	}
	s.span.SetName(method(r.Method) + " " + clean(name))
	s.span.SetAttributes(
		attribute.String("http.request.method", method(r.Method)),
		attribute.Int("http.response.status_code", r.Status),
		attribute.String("url.scheme", "https"),
		attribute.String("server.address", clean(r.Host)),
		attribute.String("network.protocol.version", clean(r.Protocol)),
		attribute.Int64("http.request.body.size", r.BytesIn),
		attribute.Int64("http.response.body.size", r.BytesOut),
		attribute.String("sallyport.request.id", clean(r.RequestID)),
		attribute.String("sallyport.action", string(r.Action)),
		attribute.String("sallyport.decision", clean(r.Decision)),
		attribute.String("sallyport.reason", clean(r.Reason)),
		attribute.String("sallyport.route", clean(r.Route)),
	)
	if r.Status >= http.StatusInternalServerError {
		s.fail(strconv.Itoa(r.Status))
	}
}

// fail marks the span as failed. why is a code: private causes are for the log alone.
func (s *Span) fail(why string) {
	s.span.SetAttributes(attribute.String("error.type", clean(why)))
	s.span.SetStatus(codes.Error, "")
}

// method is a request's as spans have it: one of few, whatever clients make up.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "_OTHER"
}

// clean is text as Protobuf takes it: what is no UTF-8 would spoil a whole batch.
func clean(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
