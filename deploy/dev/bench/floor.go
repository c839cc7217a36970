package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/proxy/relay"
)

// floor is what Go's own reverse proxy costs, with a transport that keeps its
// connections: TLS in front, mutual TLS behind, and nothing else.
func floor(ctx context.Context, dir string, port int) error {
	front, err := serverTLS(dir, "server")
	if err != nil {
		return err
	}
	back, err := serverTLS(dir, "client")
	if err != nil {
		return err
	}
	back.ServerName, back.ClientSessionCache = backendName, tls.NewLRUClientSessionCache(64)
	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", portBackend)}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server := &http.Server{
		Addr: fmt.Sprintf("127.0.0.1:%d", port), TLSConfig: front, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Minute,
		ErrorLog:    quiet,
		BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: &httputil.ReverseProxy{
			Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(target); pr.SetXForwarded() },
			BufferPool: new(relay.Buffers),
			ErrorLog:   quiet,
			Transport: &http.Transport{
				TLSClientConfig: back, MaxIdleConns: 1024, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			},
		},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
