// Package tracing has requests tell of their way across gateway, sidecar and tool, and
// calls to Vault, as spans of OpenTelemetry that are joined by a W3C trace context
// (https://www.w3.org/TR/trace-context-2/) and sent to a collector by OTLP.
//
// A nil *Tracer and a nil *Span do nothing, and cost nothing: that is how tracing is off.
// Nothing personal is in a span: no user, no address of a client, no path and no query.
// What can be joined by the request id stands in the access log.
//
// Hostile input: the traceparent and tracestate of strangers. Whoever begins a trace
// chooses whether it is kept and what it is joined with; so only a peer that is trusted
// continues one. What a stranger says is a link to his trace, and nothing more.
package tracing

import (
	"context"
	"encoding/base32"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sallyport/sallyport/proxy/otlp"
)

// Config is what a Tracer needs. It must not be changed after New.
type Config struct {
	// Collector gets the spans; nil keeps none, and requests have a trace context all
	// the same.
	Collector *otlp.Client
	// Source says whose spans these are.
	Source Source
	// Sample is which part of the traces that begin here are kept, from 0 to 1. One
	// that is continued is kept if it is where it began.
	Sample float64
	// Log gets what becomes of the collector; nil discards.
	Log *slog.Logger
}

// Source is a process, as OpenTelemetry names it.
type Source struct {
	Service  string // service.name
	Version  string // service.version
	Instance string // service.instance.id
	Host     string // host.name
}

// Tracer begins spans. Its methods are safe for concurrent use; nil begins none.
type Tracer struct {
	provider *sdk.TracerProvider
	spans    trace.Tracer
	queue    *queue
}

// scope names the instrumentation to the collector.
const scope = "github.com/sallyport/sallyport"

// Bounds of one span. The library's own are not bounds at all for texts.
const (
	maxAttributes = 32
	maxText       = 255
	maxLinks      = 1
)

// New returns a Tracer. Spans reach the collector while Run runs.
func New(cfg Config) *Tracer {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tracer{queue: newQueue(cfg)}
	options := []sdk.TracerProviderOption{
		sdk.WithIDGenerator(ids{base32.NewEncoding(requestIDLetters).WithPadding(base32.NoPadding)}),
		sdk.WithResource(resource.Empty()), // the exporter has its own: nothing of the environment gets in
		sdk.WithRawSpanLimits(sdk.SpanLimits{
			AttributeCountLimit: maxAttributes, AttributeValueLengthLimit: maxText,
			LinkCountLimit: maxLinks, AttributePerLinkCountLimit: 1, EventCountLimit: 1, AttributePerEventCountLimit: 1,
		}),
	}
	if cfg.Collector == nil {
		options = append(options, sdk.WithSampler(sdk.NeverSample()))
	} else {
		options = append(options, sdk.WithSampler(sampler{sdk.TraceIDRatioBased(cfg.Sample)}), sdk.WithSpanProcessor(t.queue))
	}
	t.provider = sdk.NewTracerProvider(options...)
	t.spans = t.provider.Tracer(scope)
	return t
}

// sampler keeps a part of the traces that requests begin, what belongs to a trace that is
// kept, and all calls of our own: they are few, and each has to do with the life of the
// process.
type sampler struct{ ratio sdk.Sampler }

// ShouldSample implements sdk.Sampler.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	switch {
	case parent.IsValid() && parent.IsSampled(), !parent.IsValid() && p.Kind == trace.SpanKindClient:
		return sdk.SamplingResult{Decision: sdk.RecordAndSample, Tracestate: parent.TraceState()}
	case parent.IsValid():
		return sdk.SamplingResult{Decision: sdk.Drop, Tracestate: parent.TraceState()}
	}
	return s.ratio.ShouldSample(p)
}

// Description implements sdk.Sampler.
func (s sampler) Description() string { return "sallyport" }

// Serve begins the span of a request that has that id, which must be one of ours or
// empty. The trace context of r is continued if trusted says so; else a trace begins,
// whose id ends with the request's, and the span links to what r says.
func (t *Tracer) Serve(r *http.Request, requestID string, trusted bool) *Span {
	if t == nil {
		return nil
	}
	ctx := context.WithValue(r.Context(), requestIDKey{}, requestID)
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	if said := contextOf(ctx, r.Header); said.IsValid() {
		if trusted {
			ctx = trace.ContextWithRemoteSpanContext(ctx, said)
		} else {
			options = append(options, trace.WithLinks(trace.Link{
				SpanContext: said.WithTraceState(trace.TraceState{}), Attributes: []attribute.KeyValue{attribute.Bool("sallyport.trusted", false)},
			}))
		}
	}
	return t.begin(ctx, "HTTP", options...)
}

// Continue begins the span of a request at a sidecar, whose gateway says the trace context
// in parent, in the form of a traceparent. It is nil if that is none.
func (t *Tracer) Continue(ctx context.Context, parent string, state []string) *Span {
	if t == nil || parent == "" {
		return nil
	}
	said := contextOf(ctx, http.Header{traceparent: {parent}, tracestate: state})
	if !said.IsValid() {
		return nil
	}
	return t.begin(trace.ContextWithRemoteSpanContext(ctx, said), "HTTP", trace.WithSpanKind(trace.SpanKindServer))
}

// The headers of a trace context.
const (
	traceparent = "Traceparent"
	tracestate  = "Tracestate"
)

// maxState bounds a tracestate, in bytes (Trace Context section 3.3.1.5 has 512 passed on
// at least).
const maxState = 512

// contextOf is the trace context of a request; the zero value if it has none, has several,
// or one that is none.
func contextOf(ctx context.Context, h http.Header) trace.SpanContext {
	if len(h[traceparent]) != 1 {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": h[traceparent][0]}
	if state := strings.Join(h[tracestate], ","); len(state) <= maxState {
		carrier["tracestate"] = state
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, carrier))
}

// TraceIDOf returns the id of the trace that the traceparent parent belongs to, or "".
func TraceIDOf(ctx context.Context, parent string) string {
	said := contextOf(ctx, http.Header{traceparent: {parent}})
	if !said.IsValid() {
		return ""
	}
	return said.TraceID().String()
}

type requestIDKey struct{}

// ids makes the ids of spans and traces. That of a trace that a request begins is made from
// the request's: its last ten bytes are that id, so that each can be told from the other.
type ids struct{ requests *base32.Encoding }

// NewIDs implements sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	putRandom(id[:8])
	putRandom(id[8:])
	said, _ := ctx.Value(requestIDKey{}).(string)
	if raw, err := g.requests.DecodeString(said); err == nil && len(raw) == requestIDBytes {
		copy(id[len(id)-requestIDBytes:], raw)
	}
	return id, g.NewSpanID(ctx, id)
}

// What the request ids of package proxy are made of.
const (
	requestIDLetters = "abcdefghijklmnopqrstuvwxyz234567"
	requestIDBytes   = 10
)

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		putRandom(id[:])
	}
	return id
}

// putRandom fills b with what nobody can guess: the generator is that of the runtime.
func putRandom(b []byte) {
	n := rand.Uint64() //nolint:gosec // ids of traces name, and open nothing
	for i := range b {
		b[i], n = byte(n), n>>8
	}
}
