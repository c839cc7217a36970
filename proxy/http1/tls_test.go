package http1_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/http1"
)

// shaken is a backend over TLS that counts handshakes, whole and resumed.
type shaken struct {
	*httptest.Server
	whole, resumed atomic.Int64
}

func shaking(t testing.TB, change func(*tls.Config)) *shaken {
	s := &shaken{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))}
	s.TLS = &tls.Config{VerifyConnection: func(state tls.ConnectionState) error {
		if state.DidResume {
			s.resumed.Add(1)
		} else {
			s.whole.Add(1)
		}
		return nil
	}}
	if change != nil {
		change(s.TLS)
	}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// dial is how to speak to s.
func (s *shaken) dial() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
}

// A connection that is made for nothing costs as much as twenty requests: however
// many ask at once, no more are made than they need, and none is made for the next
// who ask.
func TestHandshakesAreNotRepeated(t *testing.T) {
	const atOnce = 16
	s := shaking(t, nil)
	transport := newTransport(t, http1.Config{TLS: s.dial()})
	for range 20 {
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() { mustGet(t, transport, s.URL+"/") })
		}
		wg.Wait()
	}
	if n := s.whole.Load() + s.resumed.Load(); n > atOnce {
		t.Errorf("%d handshakes for %d requests at once, 20 times", n, atOnce)
	}
	before := s.whole.Load()
	transport.CloseIdleConnections()
	mustGet(t, transport, s.URL+"/")
	if s.whole.Load() != before || s.resumed.Load() == 0 {
		t.Errorf("a session was not resumed: %d whole handshakes after %d", s.whole.Load(), before)
	}
}

func TestHandshakesThatMustFail(t *testing.T) {
	s := shaking(t, nil)
	demanding := shaking(t, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	other := shaking(t, func(c *tls.Config) { c.NextProtos = []string{"h2"} })
	for name, c := range map[string]struct {
		of     *shaken
		change func(*tls.Config)
	}{
		"a name that is another's":      {s, func(c *tls.Config) { c.ServerName = "example.net" }},
		"the name of the address":       {s, func(c *tls.Config) { c.ServerName, c.RootCAs = "", x509.NewCertPool() }},
		"roots that are others":         {s, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }},
		"a certificate that is wanted":  {demanding, func(*tls.Config) {}},
		"a protocol that is none of us": {other, func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
	} {
		config := c.of.dial()
		c.change(config)
		transport := newTransport(t, http1.Config{TLS: config})
		if body, err := get(t, transport, request(t, http.MethodGet, c.of.URL+"/", nil)); err == nil {
			t.Errorf("%s: %q", name, body)
		}
	}
}

func TestCertificateIsForTheHostOfTheAddress(t *testing.T) {
	s := shaking(t, nil)
	config := s.dial()
	config.ServerName = ""
	transport := newTransport(t, http1.Config{TLS: config})
	mustGet(t, transport, s.URL+"/") // whose certificate is for 127.0.0.1 too
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := get(t, transport, request(t, http.MethodGet, "https://localhost:"+port+"/", nil)); err == nil {
		t.Errorf("got %q from a backend that has no certificate for localhost", body)
	}
}

// Nobody waits for a peer that does not shake hands.
func TestHandshakeIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	transport := newTransport(t, http1.Config{TLS: &tls.Config{ServerName: "x"}, DialTimeout: 30 * time.Millisecond})
	_, err = get(t, transport, request(t, http.MethodGet, "https://"+ln.Addr().String()+"/", nil))
	if timeout, ok := err.(interface{ Timeout() bool }); !ok && err == nil || ok && !timeout.Timeout() {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	transport = newTransport(t, http1.Config{TLS: &tls.Config{ServerName: "x"}})
	if _, err = get(t, transport, request(t, http.MethodGet, "https://"+ln.Addr().String()+"/", nil).WithContext(ctx)); err == nil {
		t.Error("no error")
	}
}

// What comes unasked behind TLS is noticed as well, also in the piece of the stream
// that brought the answer.
func TestUnaskedAnswersBehindTLS(t *testing.T) {
	s := shaking(t, nil)
	sent := make(chan struct{}, 20)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) // a record of its own
		sent <- struct{}{}
		_, _ = conn.Read(make([]byte, 1))
	})
	transport := newTransport(t, http1.Config{TLS: s.dial()})
	for range 20 {
		if body, err := get(t, transport, request(t, http.MethodDelete, s.URL+"/", nil)); err != nil || body != "ok" {
			t.Fatalf("got %q, %v", body, err)
		}
		<-sent
	}
}
