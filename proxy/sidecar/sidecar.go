// Package sidecar is the other end of the inner door: it stands beside one
// unmodified application, lets in only the gateway, and hands requests on to
// the application over loopback.
//
// That the peer is the gateway is proven by mutual TLS before this package sees
// a byte (the tls.Config demands it, on resumed connections too) and asserted
// here once more. The same list of headers that the gateway stripped and set is
// stripped and set again: an application reads the gateway's values in one
// spelling, once, or nothing.
//
// Hostile input: requests of whoever reaches the listener, and the
// application's answers. Output: plain HTTP to loopback, and one line per
// request.
package sidecar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
)

// Config is what a Sidecar needs. It must not be changed after New.
type Config struct {
	// App is the application's address, http://HOST:PORT with a loopback host.
	// Required.
	App *url.URL
	// PeerName returns the verified name of a connection's peer, or an error
	// when there is none. Called concurrently. Required.
	PeerName func(tls.ConnectionState) (string, error)
	// Access gets one line per request. Required.
	Access *accesslog.Log
	// Log is for what no request is to blame for; nil discards.
	Log *slog.Logger
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Sidecar guards one application, as an http.Handler. It is immutable and safe
// for concurrent use.
type Sidecar struct {
	cfg   Config
	proxy *httputil.ReverseProxy
}

const (
	appDialTimeout   = 5 * time.Second
	appHeaderTimeout = 5 * time.Minute
	appHeaderBytes   = 256 << 10
	appIdleConns     = 256
)

// New returns a Sidecar, or an error that names what is wrong with cfg.
func New(cfg Config) (*Sidecar, error) {
	if cfg.App == nil || cfg.App.Scheme != "http" || !loopback(cfg.App.Hostname()) {
		return nil, fmt.Errorf("application address %v: expected http:// and a loopback host, so that nobody walks round the sidecar", cfg.App)
	}
	if cfg.PeerName == nil || cfg.Access == nil {
		return nil, errors.New("sidecar needs PeerName and Access")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sidecar{cfg: cfg}
	s.proxy = &httputil.ReverseProxy{
		Rewrite: s.rewrite,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: appDialTimeout}).DialContext,
			ResponseHeaderTimeout:  appHeaderTimeout,
			MaxResponseHeaderBytes: appHeaderBytes,
			MaxIdleConnsPerHost:    appIdleConns,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
		},
		ModifyResponse: func(res *http.Response) error { header.StripResponse(res.Header); return nil },
		ErrorHandler:   appFailed,
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// ServeHTTP hands one request on and writes its line.
func (s *Sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.cfg.Now()
	answer := &answer{ResponseWriter: w}
	record := accesslog.Record{
		Time: start, Action: accesslog.ActionAccess, Decision: "deny", Method: r.Method, Host: r.Host, Path: r.URL.Path,
		Protocol: strings.TrimPrefix(r.Proto, "HTTP/"), Upstream: s.cfg.App.Host,
	}
	record.ClientAddress, record.ClientPort, _ = net.SplitHostPort(r.RemoteAddr)
	defer func() {
		fault := recover()
		record.Duration, record.Status, record.BytesOut = s.cfg.Now().Sub(start), answer.status, answer.bytes.Load()
		if answer.cause != nil {
			record.Cause = answer.cause.Error()
		}
		if err := s.cfg.Access.Write(&record); err != nil {
			s.cfg.Log.Error("access log cannot be written; nobody is let in", "error", err)
		}
		if fault != nil {
			panic(http.ErrAbortHandler)
		}
	}()
	if err := s.admit(r, &record); err != nil {
		record.Cause = err.Error()
		http.Error(answer, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		return
	}
	s.proxy.ServeHTTP(answer, r)
}

// admit decides whether a request comes from the gateway and is unambiguous. It
// leaves only the gateway's managed headers in r.
func (s *Sidecar) admit(r *http.Request, record *accesslog.Record) error {
	if err := s.cfg.Access.Err(); err != nil {
		record.Reason = "access_log"
		return err
	}
	if r.TLS == nil {
		record.Reason = "no_tls"
		return errors.New("request without TLS")
	}
	record.TLSVersion = strings.TrimPrefix(tls.VersionName(r.TLS.Version), "TLS ")
	peer, err := s.cfg.PeerName(*r.TLS)
	if err != nil {
		record.Reason = "no_peer"
		return err
	}
	record.Rule = "peer:" + peer
	if err := header.Carry(r.Header, r.Header); err != nil {
		record.Reason = "ambiguous_header"
		return err
	}
	record.User, record.RequestID = r.Header.Get(header.User), r.Header.Get(header.RequestID)
	record.Decision, record.Reason = "allow", "gateway"
	return nil
}

// rewrite makes the request that the application gets. The hop-by-hop headers
// are gone before it runs, and with them every X-Forwarded header that
// net/http knows, so all of the gateway's values are carried over from In.
func (s *Sidecar) rewrite(pr *httputil.ProxyRequest) {
	pr.SetURL(s.cfg.App)
	pr.Out.Host = pr.In.Host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.Out.Trailer = nil
	delete(pr.Out.Header, "Trailer")
	if !strings.EqualFold(pr.Out.Header.Get("Upgrade"), "websocket") {
		delete(pr.Out.Header, "Upgrade")
		delete(pr.Out.Header, "Connection")
	}
	// In was left with one value a name by admit, so this cannot fail.
	_ = header.Carry(pr.Out.Header, pr.In.Header)
}

// appFailed answers for an application that did not; the gateway turns it into
// a page.
func appFailed(w http.ResponseWriter, r *http.Request, err error) {
	if a, ok := w.(*answer); ok {
		a.cause = err
	}
	if r.Context().Err() != nil {
		return // the gateway has hung up
	}
	w.Header().Set(header.Fault, "app_unreachable")
	http.Error(w, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
}

// answer is the http.ResponseWriter of one request: it counts.
type answer struct {
	http.ResponseWriter
	status int
	bytes  atomic.Int64
	cause  error
}

func (a *answer) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		return // interim answers bypass the gateway's filter
	}
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes.Add(int64(n))
	return n, err
}

// Unwrap lets http.ResponseController flush, hijack and set deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
