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
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
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
	if err := checkApp(cfg.App); err != nil {
		return nil, err
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
		Rewrite:        s.rewrite,
		Transport:      appTransport{newTransport()},
		ModifyResponse: filterResponse,
		ErrorHandler:   appFailed,
		BufferPool:     new(bufferPool),
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// checkApp refuses an address that anybody but this machine's sidecar may
// reach, or that is more than an origin.
func checkApp(app *url.URL) error {
	switch {
	case app == nil || app.Scheme != "http" || !loopback(app.Hostname()):
		return fmt.Errorf("application address %v: expected http:// and a loopback host, so that nobody walks round the sidecar", app)
	case app.User != nil || app.Path != "" && app.Path != "/" || app.RawQuery != "" || app.Fragment != "":
		return fmt.Errorf("application address %s: expected http://HOST:PORT and nothing else", app.Redacted())
	}
	return nil
}

// newTransport is HTTP/1.1 in the clear, over loopback, past any proxy that the
// environment names.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: appDialTimeout}).DialContext,
		ResponseHeaderTimeout:  appHeaderTimeout,
		MaxResponseHeaderBytes: appHeaderBytes,
		MaxIdleConnsPerHost:    appIdleConns,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
	}
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
	a := &answer{ResponseWriter: w, start: s.cfg.Now()}
	a.count(r)
	record := accesslog.Record{
		Time: a.start, Action: accesslog.ActionAccess, Decision: "deny", Method: r.Method, Host: r.Host, Path: r.URL.Path,
		Protocol: strings.TrimSuffix(strings.TrimPrefix(r.Proto, "HTTP/"), ".0"), UserAgent: r.UserAgent(),
	}
	record.ClientAddress, record.ClientPort, _ = net.SplitHostPort(r.RemoteAddr)
	defer func() {
		fault := recover()
		s.finish(a, r, &record, fault)
		if fault != nil {
			panic(http.ErrAbortHandler) // the connection is cut; the cause is in the line
		}
	}()
	if status, err := s.admit(r, &record); err != nil {
		a.cause = err
		refuse(a, status, record.Reason)
		return
	}
	record.Upstream = s.cfg.App.Host
	s.proxy.ServeHTTP(a, r.WithContext(httptrace.WithClientTrace(r.Context(), a.trace(s.cfg.Now))))
}

// statusClientClosed marks, in the log only, a request whose client went away
// before there was an answer.
const statusClientClosed = 499

// finish writes the line of a request, also of one that ended in a panic.
func (s *Sidecar) finish(a *answer, r *http.Request, record *accesslog.Record, fault any) {
	record.Duration, record.Status = s.cfg.Now().Sub(a.start), a.status
	record.BytesIn, record.BytesOut = a.in.Load(), a.out.Load()
	record.UpstreamTime = time.Duration(a.upstream.Load())
	if err, ok := fault.(error); fault != nil && !(ok && errors.Is(err, http.ErrAbortHandler)) {
		a.cause = fmt.Errorf("panic: %v", fault)
		s.cfg.Log.Error("panic in a request", "request_id", record.RequestID, "cause", a.cause.Error())
	} else if fault != nil && a.cause == nil {
		a.cause = errBrokeOff
	}
	if record.Status == 0 {
		record.Status = http.StatusOK // net/http sends this for a handler that wrote nothing
		if r.Context().Err() != nil || fault != nil {
			record.Status = statusClientClosed
		}
	}
	if a.cause != nil {
		record.Cause = a.cause.Error()
	}
	if err := s.cfg.Access.Write(record); err != nil {
		s.cfg.Log.Error("access log cannot be written; nobody is let in", "error", err, "request_id", record.RequestID)
	}
}

// errBrokeOff is the cause of an answer that ended in the middle.
var errBrokeOff = errors.New("connection to the gateway or the application broke off")

// admit decides whether a request comes from the gateway and is unambiguous,
// and gives the status of the refusal if not. It leaves only the gateway's
// managed headers in r.
func (s *Sidecar) admit(r *http.Request, record *accesslog.Record) (status int, err error) {
	if r.TLS == nil {
		record.Reason = "no_tls"
		return http.StatusForbidden, errors.New("request without TLS")
	}
	record.TLSVersion = strings.TrimPrefix(tls.VersionName(r.TLS.Version), "TLS ")
	peer, err := s.cfg.PeerName(*r.TLS)
	if err != nil {
		record.Reason = "no_peer"
		return http.StatusForbidden, err
	}
	record.Rule = "peer:" + peer
	if err := header.Carry(r.Header, r.Header); err != nil {
		record.Reason = "ambiguous_header"
		return http.StatusBadRequest, err
	}
	record.User, record.RequestID = r.Header.Get(header.User), r.Header.Get(header.RequestID)
	if err := s.cfg.Access.Err(); err != nil { // tried again with this refusal's own line
		record.Reason = "access_log"
		return http.StatusServiceUnavailable, err
	}
	record.Decision, record.Reason = "allow", "gateway"
	return 0, nil
}

// rewrite makes the request that the application gets. The hop-by-hop headers
// are gone before it runs, and with them every X-Forwarded header that
// net/http knows, so all of the gateway's values are carried over from In.
func (s *Sidecar) rewrite(pr *httputil.ProxyRequest) {
	keepEscapes(pr.Out.URL)
	pr.SetURL(s.cfg.App)
	pr.Out.Host = pr.In.Host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.Out.Trailer = nil
	delete(pr.Out.Header, "Trailer")
	delete(pr.Out.Header, "Http2-Settings")
	if !strings.EqualFold(pr.Out.Header.Get("Upgrade"), "websocket") {
		delete(pr.Out.Header, "Upgrade")
		delete(pr.Out.Header, "Connection")
	}
	// In was left with one value a name by admit, so this cannot fail.
	_ = header.Carry(pr.Out.Header, pr.In.Header)
}

// keepEscapes keeps "%2F" apart from "/" on the way. Go does so by itself, but
// not in a path that also holds a byte which it would have escaped and a browser
// did not, such as "|": it then writes the whole path anew from its decoded
// form. Here only those bytes are escaped, and every other stays as it came.
func keepEscapes(u *url.URL) {
	if u.RawPath == "" || u.EscapedPath() == u.RawPath {
		return
	}
	var raw strings.Builder
	for i := range len(u.RawPath) {
		c := u.RawPath[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@[]%/", c) >= 0 {
			raw.WriteByte(c)
		} else {
			fmt.Fprintf(&raw, "%%%02X", c)
		}
	}
	u.RawPath = raw.String()
}

// filterResponse takes from the application's answer what is not its to say.
func filterResponse(res *http.Response) error {
	header.StripResponse(res.Header)
	delete(res.Header, "Trailer")
	return nil
}

// appTransport hides trailers from the reverse proxy: they arrive after the
// answer was filtered. net/http stores them, announced or not, in the Response
// that it made, so the proxy is given a copy.
type appTransport struct{ base http.RoundTripper }

func (t appTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	filtered := *res
	filtered.Trailer = nil
	return &filtered, nil
}

// appFailed answers for an application that did not; the gateway turns it into
// a page.
func appFailed(w http.ResponseWriter, r *http.Request, err error) {
	a, ok := w.(*answer)
	if ok {
		a.cause = err
	}
	if r.Context().Err() != nil {
		// The gateway has hung up, or we are stopping: an empty answer must not
		// pass for the application's.
		panic(http.ErrAbortHandler)
	}
	refuse(w, http.StatusBadGateway, "app_unreachable")
}

// refuse answers for the sidecar itself, so that the gateway can tell it from
// the application.
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set(header.Fault, reason)
	http.Error(w, http.StatusText(status), status)
}
