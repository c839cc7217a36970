package proxy_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sallyport/sallyport/proxy"
)

// framesTo opens a connection of HTTP/2 to the gateway's host, frame by frame.
func framesTo(t *testing.T, w *world, host string) (*tls.Conn, *http2.Framer) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: w.ca.pool, ServerName: host, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	secure := conn.(*tls.Conn)
	if _, err := secure.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(secure, secure)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return secure, framer
}

func headersFor(host, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", host}, {":path", path}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

// TestHTTP2Floods sends what has brought servers down (CVE-2023-44487, CVE-2023-45288,
// CVE-2019-9512, CVE-2019-9515) while somebody works. The connections are ended, or the
// flood is waded through; memory and goroutines are as before.
func TestHTTP2Floods(t *testing.T) {
	floods := map[string]func(framer *http2.Framer, i uint32) error{
		"requests that are reset at once": func(framer *http2.Framer, i uint32) error {
			id := 2*i + 1
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headersFor(doorHost, "/saml/metadata"), EndHeaders: true, EndStream: true}); err != nil {
				return err
			}
			return framer.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"headers that never end": func(framer *http2.Framer, i uint32) error {
			if i == 0 {
				return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headersFor(doorHost, "/")})
			}
			return framer.WriteContinuation(1, false, bytes.Repeat([]byte{0}, 1000))
		},
		"pings":    func(framer *http2.Framer, i uint32) error { return framer.WritePing(false, [8]byte{byte(i)}) },
		"settings": func(framer *http2.Framer, _ uint32) error { return framer.WriteSettings() },
		"more streams than are allowed": func(framer *http2.Framer, i uint32) error {
			return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: headersFor(doorHost, "/saml/acs"), EndHeaders: true})
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Stall = time.Second })
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			runtime.GC()
			goroutines, before := runtime.NumGoroutine(), heap()
			conn, framer := framesTo(t, w, doorHost)
			sent := 0
			for i := range uint32(20_000) {
				if flood(framer, i) != nil {
					break // the gateway has had enough
				}
				if sent++; i%2000 == 0 {
					if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
						t.Fatalf("others meanwhile: %d", res.StatusCode)
					}
				}
			}
			conn.Close()
			if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
				t.Errorf("afterwards: %d", res.StatusCode)
			}
			settle(t, goroutines+20)
			runtime.GC()
			if grown := int64(heap()) - int64(before); grown > 16<<20 {
				t.Errorf("%d bytes more are in use", grown)
			}
			t.Logf("%d frames sent", sent)
		})
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// settle waits until there are no more goroutines than that.
func settle(t *testing.T, most int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > most; {
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines are left, want at most %d", runtime.NumGoroutine(), most)
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}
