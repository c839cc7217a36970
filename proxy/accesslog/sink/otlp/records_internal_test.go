package otlp

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// BenchmarkMessage is what a record costs to become part of a message.
func BenchmarkMessage(b *testing.B) {
	var text bytes.Buffer
	log := accesslog.New(&text, "sallyport-gateway")
	const count = 1000
	for i := range count {
		if err := log.Write(&accesslog.Record{
			Time: time.Now(), Action: accesslog.ActionAccess, Decision: "allow", Reason: "group_allowed", Rule: "group:engineers", RequestID: fmt.Sprint("request-", i),
			User: "alice@example.com", Groups: []string{"engineers"}, SessionID: "0123456789abcdef", Route: "notes", Method: "GET", Host: "notes.example.com", Path: "/deep/link",
			Protocol: "2", Status: 200, ClientAddress: "192.0.2.7", ClientPort: "51234", TLSVersion: "1.3", UserAgent: "Mozilla/5.0", Upstream: "10.0.0.7:8443",
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := log.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(text.Bytes(), []byte{'\n'}), []byte{'\n'})
	var e encoder
	var raw []byte
	b.ReportAllocs()
	for b.Loop() {
		raw = e.message(raw[:0], lines, nil, time.Now())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(lines)), "ns/record")
}
