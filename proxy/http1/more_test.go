package http1_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/proxy/http1"
)

// tlsBackend is a backend over TLS, and how to speak to it.
func tlsBackend(t *testing.T, handle http.HandlerFunc) (*shaken, *http1.Transport) {
	t.Helper()
	s := shaking(t, nil)
	s.Config.Handler = handle
	return s, newTransport(t, http1.Config{TLS: s.dial()})
}

func TestWhatHasComeIsReadAtOnce(t *testing.T) {
	const size = 256 << 10
	sent := make(chan struct{})
	s, transport := tlsBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "262144")
		_, _ = w.Write(bytes.Repeat([]byte("x"), size))
		close(sent)
	})
	res, err := transport.RoundTrip(request(t, http.MethodGet, s.URL+"/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-sent // or as much as the sockets take
	reads, total, buf := 0, 0, make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = res.Body.Read(buf)
		reads, total = reads+1, total+n
	}
	if !errors.Is(err, io.EOF) || total != size {
		t.Fatalf("%d bytes of %d, ended with %v", total, size, err)
	}
	if reads >= size>>14 { // as many as there are records
		t.Errorf("%d reads for %d records that had come", reads, size>>14)
	}
}

// What has come is not kept back for what has not.
func TestWhatHasComeIsNotKeptBack(t *testing.T) {
	taken := make(chan struct{})
	s, transport := tlsBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "20000")
		for range 20 {
			_, _ = w.Write(bytes.Repeat([]byte("y"), 1000))
			_ = http.NewResponseController(w).Flush()
			<-taken
		}
	})
	for range 2 { // the second over the same connection
		res, err := transport.RoundTrip(request(t, http.MethodGet, s.URL+"/", nil))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		for part := range 20 {
			if n, err := res.Body.Read(buf); n != 1000 || (err != nil && !errors.Is(err, io.EOF)) {
				t.Fatalf("part %d: %d bytes and %v, expected what was sent", part, n, err)
			}
			taken <- struct{}{}
		}
		_ = res.Body.Close()
	}
	if n := s.whole.Load() + s.resumed.Load(); n != 1 {
		t.Errorf("%d connections for two answers that were read to their ends", n)
	}
}

func TestAnswerThatBreaksOffIsNeverWhole(t *testing.T) {
	s, transport := tlsBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(make([]byte, 99_999))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	res, err := transport.RoundTrip(request(t, http.MethodGet, s.URL+"/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d bytes of 100000 were taken for the whole", n)
	}
}
