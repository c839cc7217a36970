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
// connections, and nothing else. At the door it has TLS in front and mutual TLS behind;
// beside a tool mutual TLS in front, and plain HTTP behind.
func floor(ctx context.Context, where, dir string, port int) error {
	at := door
	if where == beside.name {
		at = beside
	}
	front, err := serverTLS(dir, at.server)
	if err != nil {
		return err
	}
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", portPlain)}
	transport := &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
	if where == beside.name {
		front.ClientAuth, front.ClientCAs = tls.RequireAndVerifyClientCert, front.RootCAs
	} else {
		target = &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", portBackend)}
		if transport.TLSClientConfig, err = serverTLS(dir, "client"); err != nil {
			return err
		}
		transport.TLSClientConfig.ServerName, transport.TLSClientConfig.ClientSessionCache = backendName, tls.NewLRUClientSessionCache(64)
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server := &http.Server{
		Addr: fmt.Sprintf("127.0.0.1:%d", port), TLSConfig: front, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Minute,
		ErrorLog:    quiet,
		BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: &httputil.ReverseProxy{
			Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(target); pr.SetXForwarded() },
			BufferPool: new(relay.Buffers),
			ErrorLog:   quiet,
			Transport:  transport,
		},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
