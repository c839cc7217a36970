package tracing_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// BenchmarkRequest is what a request costs whose trace is not kept, as 99 of 100 are: both
// spans, the record and the header.
func BenchmarkRequest(b *testing.B) {
	tracer := tracing.New(tracing.Config{})
	req, out := request(http.Header{}), http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		r := accesslog.Record{Method: http.MethodGet, Route: "notes", Status: 200}
		span := tracer.Serve(req, requestID, false)
		span.Note(&r)
		forward := span.Forward()
		forward.InjectOwn(out)
		forward.EndForward(&r)
		span.End(&r)
	}
}
