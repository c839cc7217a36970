package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// stub is a transport that answers with given bytes and writes down what it was asked.
type stub struct {
	answer string
	asked  strings.Builder
}

// RoundTrip implements http.RoundTripper.
func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	fmt.Fprintf(&s.asked, "%s %s %s length %d %v close %t trailer %v\n", r.Method, r.URL, r.Host, r.ContentLength, r.TransferEncoding, r.Close, r.Trailer)
	_ = r.Header.Write(&s.asked)
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(&s.asked, "body %q %v", body, err)
	}
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s.answer)), r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		return nil, http.ErrNotSupported // no transport returns an interim answer
	}
	return res, nil
}

// told is everything that a backend and a client get to see.
func told(t *testing.T, request, answer string, plain bool) string {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		t.Skip("no request")
	}
	r.RemoteAddr = "192.0.2.1:1234"
	ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: time.Second})
	transport := &stub{answer: answer}
	forwarder := newForwarder(&url.URL{Scheme: "https", Host: "backend"}, transport)
	forward := forwarder.Forward
	if plain {
		forward = plainly(forwarder)
	}
	recorder := relay.Recorder{Access: accesslog.New(io.Discard, "test"), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	w := httptest.NewRecorder()
	var fault any
	func() {
		defer func() { fault = recover() }()
		recorder.Serve(w, r, func(ex *relay.Exchange, r *http.Request) { forward(ctx, ex, r) })
	}()
	res := w.Result()
	var got strings.Builder
	fmt.Fprintf(&got, "%s\n%d panic %v\n", &transport.asked, res.StatusCode, fault)
	_ = res.Header.Write(&got)
	body, _ := io.ReadAll(res.Body)
	fmt.Fprintf(&got, "%q\n", body)
	_ = res.Trailer.Write(&got)
	return got.String()
}

// FuzzForwardingIsWhatReverseProxyDoes: whatever is asked and answered, both sides see
// the same of it.
func FuzzForwardingIsWhatReverseProxyDoes(f *testing.F) {
	for _, request := range requests {
		f.Add(request, okay)
	}
	for name, answer := range answers {
		if !strings.HasPrefix(name, "large") {
			f.Add("GET / HTTP/1.1\r\nHost: x\r\nTe: trailers\r\n\r\n", answer)
		}
	}
	f.Fuzz(func(t *testing.T, request, answer string) {
		fast, plain := told(t, request, answer, false), told(t, request, answer, true)
		if fast != plain {
			t.Errorf("forwarded:\n%s\nplainly:\n%s", fast, plain)
		}
	})
}
