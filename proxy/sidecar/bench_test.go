package sidecar

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// BenchmarkGuard is a request of 1 KiB over a connection that is kept, with mutual TLS, and
// beside it what Go's own reverse proxy takes. The client and the application are in the
// same process, and allocate nothing.
func BenchmarkGuard(b *testing.B) {
	app := &url.URL{Scheme: "http", Host: strings.TrimPrefix(plainApp(b, "tcp", cheapApp), "tcp://")}
	b.Run("guard", func(b *testing.B) {
		w := newWorld(b, app.String(), func(c *Config) { c.Access = accesslog.New(io.Discard, "sidecar") })
		askAgain(b, w.server.Listener.Addr().String(), w.dial)
	})
	b.Run("floor", func(b *testing.B) {
		w := newWorld(b, app.String())
		quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
		server := httptest.NewUnstartedServer(&httputil.ReverseProxy{
			Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(app); pr.SetXForwarded() },
			Transport:  &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
			BufferPool: new(relay.Buffers), ErrorLog: quiet,
		})
		server.TLS, server.Config.ErrorLog = w.server.TLS, quiet
		server.StartTLS()
		defer server.Close()
		askAgain(b, server.Listener.Addr().String(), w.dial)
	})
}

// cheapApp answers every request of a connection with the same kilobyte.
func cheapApp(conn net.Conn) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	for in := bufio.NewReader(conn); readHead(in); {
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// readHead reads to the end of a head, and says whether there was one.
func readHead(in *bufio.Reader) bool {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return false
		}
		if len(line) == 2 {
			return true
		}
	}
}

// askAgain asks as a gateway does.
func askAgain(b *testing.B, address string, dial *tls.Config) {
	b.Helper()
	conn, err := tls.Dial("tcp", address, dial)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET /1k HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: app.example.com\r\n" +
		"X-Forwarded-Proto: https\r\nX-Forwarded-User: alice@example.com\r\nX-Forwarded-Email: alice@example.com\r\nX-Forwarded-Groups: engineers\r\n" +
		"X-Request-Id: 0123456789abcdef0123456789abcdef\r\n\r\n")
	in := bufio.NewReader(conn)
	body := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if !readHead(in) {
			b.Fatal("no answer")
		}
		if _, err := io.ReadFull(in, body); err != nil || !bytes.Equal(body[:1], []byte("x")) {
			b.Fatal(err, string(body))
		}
	}
}
