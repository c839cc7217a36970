package sidecar

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/proxy/http1"
	"github.com/sallyport/sallyport/proxy/sidecar/loopback"
)

const (
	appDialTimeout = 5 * time.Second
	// appHeaderTimeout is longer than the longest backend.timeouts.response_header of a
	// gateway: that alone decides, and when it gives up, so does the sidecar.
	appHeaderTimeout = time.Hour + time.Minute
	appHeaderBytes   = 256 << 10
	appIdleConns     = 256
	// appContinue is how long the application may take to say whether it wants the
	// body of a request that asks first; then it is sent anyhow.
	appContinue = time.Second
	// appPing is how long an application that speaks HTTP/2 may be silent before it is
	// asked whether it is still there.
	appPing = 30 * time.Second
)

// application is where an unmodified tool listens: on this machine, or nowhere. It is
// immutable.
type application struct {
	network, address string        // as net.Dial takes them
	name             string        // of the log
	patience         time.Duration // with its accepting a connection
}

// applicationOf takes an address apart, and refuses one that anybody but this machine's
// sidecar may reach, or that is more than an address. scheme is the one of ports.
func applicationOf(app *url.URL, scheme string) (application, error) {
	switch {
	case app != nil && app.Scheme == "unix" && app.Host == "" && app.User == nil && filepath.IsAbs(app.Path) && app.RawQuery == "" && app.Fragment == "":
		return application{"unix", app.Path, "unix:" + app.Path, appDialTimeout}, nil
	case app == nil || app.Scheme != scheme || !isLoopback(app.Hostname()):
		return application{}, fmt.Errorf("application address %s: expected %s:// and a loopback host, or unix:/path, so that nobody walks round the sidecar", app.Redacted(), scheme)
	case app.User != nil || app.Path != "" && app.Path != "/" || app.RawQuery != "" || app.Fragment != "":
		return application{}, fmt.Errorf("application address %s: expected %s://HOST:PORT and nothing else", app.Redacted(), scheme)
	}
	address := app.Host
	if app.Port() == "" {
		if scheme != "http" {
			return application{}, fmt.Errorf("application address %s: expected a port", app.Redacted())
		}
		address = net.JoinHostPort(app.Hostname(), "80")
	}
	return application{"tcp", address, app.Host, appDialTimeout}, nil
}

// target is the application as HTTP has it.
func (a application) target() *url.URL {
	if a.network == "unix" {
		return &url.URL{Scheme: "http", Host: "application"} // goes nowhere: see dial
	}
	return &url.URL{Scheme: "http", Host: a.name}
}

// dial connects to the application, whatever address is asked for.
func (a application) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return loopback.Dialer{Timeout: a.patience}.DialContext(ctx, a.network, a.address)
}

// transport is HTTP in the clear, past any proxy that the environment names: HTTP/1.1,
// or HTTP/2.
func (a application) transport(h2c bool) http.RoundTripper {
	if !h2c {
		return http1.New(http1.Config{
			DialContext: a.dial, DialTimeout: appDialTimeout, HeaderTimeout: appHeaderTimeout, ContinueTimeout: appContinue,
			MaxHeaderBytes: appHeaderBytes, MaxIdle: appIdleConns, IdleTimeout: time.Minute,
		})
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: &protocols, HTTP2: &http.HTTP2Config{SendPingTimeout: appPing, PingTimeout: appDialTimeout},
		DialContext:            a.dial,
		ResponseHeaderTimeout:  appHeaderTimeout,
		MaxResponseHeaderBytes: appHeaderBytes,
		MaxIdleConnsPerHost:    appIdleConns,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
		ExpectContinueTimeout:  appContinue,
	}
}

// isLoopback reports whether host is this machine and nothing else.
func isLoopback(host string) bool {
	if host == loopback.Name {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
