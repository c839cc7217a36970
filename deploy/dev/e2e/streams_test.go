package e2e

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/sidecar"
)

// streams is a tool that sends and takes much, and little at a time. It goes on when
// the browser says that it has seen what came: whoever held anything back would wait
// for ever.
type streams struct {
	seen      chan struct{}
	listeners atomic.Int64 // to events, so far
	resumed   atomic.Value // the Last-Event-ID of the last of them
	http.ServeMux
}

// What the tool has.
const (
	fileSize    = 20 << 20
	rangesSize  = 1 << 20
	eventsAPage = 3 // then the stream ends, and the browser asks for more
)

func newStreams() *streams {
	s := &streams{seen: make(chan struct{}, 1)}
	s.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Streams</title>streams")
	})
	s.HandleFunc("/seen", func(w http.ResponseWriter, _ *http.Request) { s.seen <- struct{}{} })
	s.HandleFunc("/events", s.events)
	s.HandleFunc("/file", s.file)
	s.HandleFunc("/upload", takeUpload)
	s.HandleFunc("/ranges", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "ranges.bin", time.Unix(1e9, 0), strings.NewReader(ranges()))
	})
	s.HandleFunc("/packed", packed)
	s.HandleFunc("/trailers", trailers)
	s.HandleFunc("/repeat", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
	})
	s.HandleFunc("/socket", repeatMessages)
	return s
}

// ranges is what is asked for in parts.
func ranges() string {
	content, _ := io.ReadAll(io.LimitReader(rand.NewChaCha8([32]byte{1}), rangesSize))
	return string(content)
}

// events sends one event, and the next when that was seen.
func (s *streams) events(w http.ResponseWriter, r *http.Request) {
	s.listeners.Add(1)
	s.resumed.Store(r.Header.Get("Last-Event-ID"))
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range eventsAPage {
		if _, err := fmt.Fprintf(w, "retry: 100\nid: %d-%d\ndata: %s\n\n", s.listeners.Load(), i, r.Header.Get("X-Forwarded-User")); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-s.seen:
		case <-r.Context().Done():
			return
		}
	}
}

// file sends a piece of itself, and the rest when that was seen.
func (s *streams) file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	content := rand.NewChaCha8([32]byte{2})
	_, _ = io.CopyN(w, content, 1000)
	_ = http.NewResponseController(w).Flush()
	select {
	case <-s.seen:
	case <-r.Context().Done():
		return
	}
	_, _ = io.CopyN(w, content, fileSize-1000)
}

// takeUpload says what it was sent.
func takeUpload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(w, "%s %d %d %s", r.Header.Get("X-Forwarded-User"), r.ContentLength, n, hex.EncodeToString(sum.Sum(nil)))
}

// packed answers with what its client has to unpack.
func packed(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = io.WriteString(w, strings.Repeat("plain ", 1000))
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	zip := gzip.NewWriter(w)
	defer zip.Close()
	_, _ = io.WriteString(zip, strings.Repeat("packed ", 1000))
}

func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "Server-Timing, X-Forwarded-User")
	_, _ = io.WriteString(w, "body")
	_ = http.NewResponseController(w).Flush()
	w.Header().Set("Server-Timing", "db;dur=53")
	w.Header().Set("X-Forwarded-User", "root")
}

func repeatMessages(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gateway has looked at Origin
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// besideSidecar serves a tool on loopback, and its sidecar before it.
func (h *house) besideSidecar(tool http.Handler) *url.URL {
	h.t.Helper()
	app := httptest.NewServer(tool)
	h.t.Cleanup(app.Close)
	at, err := url.Parse(app.URL)
	if err != nil {
		h.t.Fatal(err)
	}
	guard, err := sidecar.New(sidecar.Config{
		App: at, Access: accesslog.New(io.Discard, "sidecar"),
		PeerName: func(state tls.ConnectionState) (string, error) {
			if len(state.VerifiedChains) == 0 {
				return "", errors.New("the peer has no certificate")
			}
			return state.PeerCertificates[0].DNSNames[0], nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(h.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	config := &tls.Config{
		Certificates: []tls.Certificate{shared.authority.issue(h.t, x509.ExtKeyUsageServerAuth, "tool.house.internal")},
		ClientCAs:    shared.authority.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	go func() {
		ended <- proxy.Serve(ctx, proxy.ServerConfig{Listener: ln, Drain: time.Second, Handler: guard, TLS: config})
	}()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, proxy.ErrDrain) { // what a test leaves open is cut
			h.t.Errorf("closing the sidecar: %v", err)
		}
	})
	return &url.URL{Scheme: "https", Host: ln.Addr().String()}
}
