package tracing

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Calls traces calls of our own, as to Vault, by a Tracer that may come later than they:
// the configuration that says where it sends its spans may itself be in Vault. The zero
// value is ready, traces nothing, and is safe for concurrent use.
type Calls struct{ tracer atomic.Pointer[Tracer] }

// Use has the calls from now on traced by t; nil stops it.
func (c *Calls) Use(t *Tracer) { c.tracer.Store(t) }

// Wrap returns base with a span for each call to the named system. Its paths must hold
// nothing secret; queries and bodies are not looked at.
func (c *Calls) Wrap(system string, base http.RoundTripper) http.RoundTripper {
	return &carrier{calls: c, system: system, base: base}
}

// carrier is a RoundTripper with spans.
type carrier struct {
	calls  *Calls
	system string
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	t := c.calls.tracer.Load()
	if t == nil {
		return c.base.RoundTrip(r)
	}
	s := t.begin(r.Context(), c.system+" "+method(r.Method), trace.WithSpanKind(trace.SpanKindClient))
	defer s.span.End()
	out := r.Clone(s.ctx)
	s.Inject(out.Header)
	res, err := c.base.RoundTrip(out)
	if !s.span.IsRecording() {
		return res, err
	}
	s.span.SetAttributes(
		attribute.String("http.request.method", method(r.Method)),
		attribute.String("server.address", clean(r.URL.Hostname())),
		attribute.String("sallyport.path", clean(strings.TrimPrefix(r.URL.Path, "/v1/"))),
	)
	switch {
	case err != nil:
		s.fail("no_answer")
	case res.StatusCode >= http.StatusBadRequest:
		s.fail(strconv.Itoa(res.StatusCode))
	}
	if res != nil {
		s.span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
	}
	return res, err
}

// CloseIdleConnections has http.Client reach those of base.
func (c *carrier) CloseIdleConnections() {
	if closer, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
