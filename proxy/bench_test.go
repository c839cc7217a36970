package proxy_test

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkRequest is one whole request of a signed-in person: over loopback
// TLS to the gateway, session, policy, headers, mutual TLS to a backend, and
// back, with its line in the access log.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, nil)
	person := w.browser()
	person.signIn(w.origin(headersHost)+"/", "alice")
	b.ReportAllocs()
	for b.Loop() {
		res, err := person.client.Do(person.request(http.MethodGet, w.origin(headersHost)+"/", nil))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
}

// BenchmarkRefusal is what a stranger costs.
func BenchmarkRefusal(b *testing.B) {
	w := newWorld(b, nil)
	stranger := w.browser()
	b.ReportAllocs()
	for b.Loop() {
		req := stranger.request(http.MethodGet, w.origin(headersHost)+"/", nil)
		req.Header.Set("Sec-Fetch-Mode", "cors")
		res, err := stranger.client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
}
