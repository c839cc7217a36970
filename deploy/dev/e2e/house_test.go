package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/idp"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// A house is a gateway in this process, with what the demo does not have: a clock
// that can be put forward, two identity providers, and a route that demands a step-up.
// All that the browser meets is the product's own; Vault has no part in it. Its notes
// are those of the demo.
type house struct {
	t     *testing.T
	port  string
	ahead atomic.Int64 // of every clock in the house, in nanoseconds
	log   *transcript  // the access log

	corp, partners *provider
	uploads        chan upload // what the tool for files was sent
	streams        *streams
	gateway        http.Handler

	// withoutSession has the browser keep no session cookie of the notes.
	withoutSession atomic.Bool
}

// provider is an identity provider of a house.
type provider struct {
	origin  string
	handler atomic.Pointer[idp.IdP]
	slo     atomic.Int32 // how many logout messages were posted to it
}

// framesPath is a page of the identity provider's site that may show frames.
const framesPath = "/frames"

// ServeHTTP implements http.Handler.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == framesPath:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Frames</title>")
		return
	case r.Method == http.MethodPost && r.URL.Path == "/slo":
		p.slo.Add(1)
	}
	p.handler.Load().ServeHTTP(w, r)
}

// Limits of a house.
const (
	houseIdle    = time.Hour
	houseStepUp  = 5 * time.Minute
	houseDoor    = "door.house.localhost"
	houseNotes   = "notes.house.localhost"
	houseFiles   = "files.house.localhost"
	housePayroll = "payroll.house.localhost" // demands that a sign-on is fresh
	houseStreams = "streams.house.localhost"
	houseVaults  = "vaults.house.localhost" // demands a second factor, which nobody here has
)

var houseHosts = []string{houseDoor, houseNotes, houseFiles, housePayroll, houseStreams, houseVaults}

// newHouse opens a house, which closes with the test.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, log: &transcript{}, uploads: make(chan upload, 4), streams: newStreams()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the access log of the house:\n%s", h.log)
		}
	})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, h.port, _ = net.SplitHostPort(ln.Addr().String())
	var metadata []byte
	source := func(context.Context) ([]byte, error) { return metadata, nil }
	h.corp = h.openProvider("login.corp.localhost", source, append(idp.DemoUsers(), crowd()))
	h.partners = h.openProvider("sso.partners.localhost", source, []idp.User{{
		Name: "carol", Password: "carol-pw", FullName: "Carol Carter", Email: "carol@partners.example", Groups: []string{"engineers"},
	}})
	cfg := h.config()
	cfg.IdPs = []proxy.IdP{
		{Name: "corp", Title: "Corporate account", Domains: []string{"example.com"}, SAML: h.trusts(h.corp, saml.BindingRedirect, "example.com")},
		{Name: "partners", Title: "Partners", Domains: []string{"partners.example"}, SAML: h.trusts(h.partners, saml.BindingPost, "partners.example")},
	}
	metadata = postedLogout(cfg.IdPs[0].SAML.Metadata())
	gateway, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.gateway = h.withoutCookie(gateway)
	h.open(ln)
	return h
}

// postedLogout leaves in metadata the single logout by HTTP-POST alone: the demo shows
// the other binding.
func postedLogout(metadata []byte) []byte {
	return regexp.MustCompile(`<[a-z:]*SingleLogoutService [^>]*HTTP-Redirect"[^>]*(/>|></[a-z:]*SingleLogoutService>)`).ReplaceAll(metadata, nil)
}

// crowd is somebody who is in more groups than a sign-on can carry.
func crowd() idp.User {
	u := idp.User{Name: "dave", Password: "dave-pw", FullName: "Dave Dunn", Email: "dave@example.com"}
	for i := range 1200 {
		u.Groups = append(u.Groups, "group-"+strconv.Itoa(i))
	}
	return u
}

// open serves the gateway until the test ends.
func (h *house) open(ln net.Listener) {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	cert := shared.authority.issue(h.t, x509.ExtKeyUsageServerAuth, houseHosts...)
	go func() {
		ended <- proxy.Serve(ctx, proxy.ServerConfig{
			Listener: ln, Drain: time.Second, Handler: h.gateway,
			TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		})
	}()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			h.t.Errorf("closing the house: %v", err)
		}
	})
}

// withoutCookie takes a host's session cookie away, as an extension of a browser
// may.
func (h *house) withoutCookie(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.withoutSession.Load() && strings.HasPrefix(r.Host, houseNotes) {
			cookies := r.Cookies()
			r.Header.Del("Cookie")
			for _, c := range cookies {
				if c.Name != session.CookieName {
					r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// now is the time in the house.
func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// forward lets time pass in the house.
func (h *house) forward(d time.Duration) { h.ahead.Add(int64(d)) }

func (h *house) origin(host string) string { return "https://" + net.JoinHostPort(host, h.port) }

func (h *house) config() proxy.Config {
	h.t.Helper()
	port, err := strconv.Atoi(h.port)
	if err != nil {
		h.t.Fatal(err)
	}
	sessions, err := session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: houseHosts,
		Idle: houseIdle, Absolute: 10 * time.Hour, Now: h.now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return proxy.Config{
		DoorHost: houseDoor, PublicPort: port, Sessions: sessions, Access: accesslog.New(h.log, "gateway"), Now: h.now,
		Log: slog.New(slog.NewTextHandler(h.t.Output(), nil)), Routes: h.routes(),
	}
}

func (h *house) routes() []proxy.Route {
	dial := &tls.Config{
		RootCAs: shared.authority.pool, ServerName: "tool.house.internal", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{shared.authority.issue(h.t, x509.ExtKeyUsageClientAuth, "gateway.house.internal")},
	}
	notes := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: shared.demo.loopback(9)})
		r.Out.Host = r.In.Host
	}}
	route := func(name, title, host string, tool http.Handler) proxy.Route {
		return proxy.Route{
			Name: name, Title: title, Host: host, Backend: h.backend(tool), TLS: dial, Rule: policy.NewRule(nil, nil, true), WebSocket: true,
		}
	}
	payroll := route("payroll", "Payroll", housePayroll, http.HandlerFunc(h.servePayroll))
	payroll.IdPs, payroll.StepUp = []string{"corp"}, policy.StepUp{MaxAge: houseStepUp}
	streams := route("streams", "Streams", houseStreams, nil)
	streams.Backend = h.besideSidecar(h.streams)
	vaults := route("vaults", "Vaults", houseVaults, http.NotFoundHandler())
	vaults.StepUp = policy.StepUp{Contexts: []string{"https://refeds.org/profile/mfa"}}
	return []proxy.Route{
		streams, route("notes", "Notes", houseNotes, notes), route("files", "Files", houseFiles, http.HandlerFunc(h.serveFiles)), payroll, vaults,
	}
}

// backend serves a tool over mutual TLS, as its sidecar does.
func (h *house) backend(tool http.Handler) *url.URL {
	h.t.Helper()
	server := httptest.NewUnstartedServer(tool)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{shared.authority.issue(h.t, x509.ExtKeyUsageServerAuth, "tool.house.internal")},
		ClientCAs:    shared.authority.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	h.t.Cleanup(server.Close)
	return &url.URL{Scheme: "https", Host: server.Listener.Addr().String()}
}

// openProvider starts an identity provider on a site of its own.
func (h *house) openProvider(host string, source idp.MetadataSource, users []idp.User) *provider {
	h.t.Helper()
	p := new(provider)
	server := httptest.NewUnstartedServer(p)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{shared.authority.issue(h.t, x509.ExtKeyUsageServerAuth, host)}, MinVersion: tls.VersionTLS12,
	}
	server.StartTLS()
	h.t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	p.origin = "https://" + net.JoinHostPort(host, port)
	base, err := url.Parse(p.origin)
	if err != nil {
		h.t.Fatal(err)
	}
	pair, err := theSigner()
	if err != nil {
		h.t.Fatal(err)
	}
	running, err := idp.New(idp.Config{
		BaseURL: base, Key: pair.key, Certificate: pair.cert, Provider: source, Users: users,
		Log: slog.New(slog.NewTextHandler(h.t.Output(), nil)), Now: h.now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	p.handler.Store(running)
	return p
}

// trusts is the door as a service provider of p, whose people have addresses in
// domain.
func (h *house) trusts(p *provider, by saml.Binding, domain string) *saml.ServiceProvider {
	h.t.Helper()
	metadata, err := p.handler.Load().Metadata()
	if err != nil {
		h.t.Fatal(err)
	}
	metadata = postedLogout(metadata)
	pair, err := theSigner()
	if err != nil {
		h.t.Fatal(err)
	}
	door := h.origin(houseDoor)
	sp, err := saml.New(saml.Config{
		EntityID: door + "/saml/metadata", ACSURL: door + "/saml/acs", SLOURL: door + "/saml/slo",
		Key: pair.key, Certificate: pair.cert, IdPMetadata: metadata, RequestBinding: by, UserDomains: []string{domain},
		Attributes: saml.Attributes{
			User: []string{"urn:oid:0.9.2342.19200300.100.1.3"}, Name: []string{"displayName"},
			Groups: []string{"urn:oid:1.3.6.1.4.1.5923.1.1.1.1"},
		},
		ClockSkew: 3 * time.Minute, Now: h.now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return sp
}

// records reads the access log of the house.
func (h *house) records(t *testing.T) []record {
	t.Helper()
	return parseRecords(t, strings.NewReader(h.log.String()))
}

// upload is a file as the tool for files got it.
type upload struct {
	user, name, text string
	content          []byte
}

// serveFiles is a tool with a form for files.
func (h *house) serveFiles(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if r.Method != http.MethodPost {
		_, _ = io.WriteString(w, `<!doctype html><title>Files</title><form method="post" action="/add?to=share&amp;x=%20y" enctype="multipart/form-data">
<textarea name="text"></textarea><input type="file" name="file"><button>Upload</button></form>`)
		return
	}
	file, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil || r.URL.RawQuery != "to=share&x=%20y" {
		http.Error(w, "not what was sent: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	h.uploads <- upload{r.Header.Get("X-Forwarded-User"), header.Filename, r.FormValue("text"), content}
	http.Redirect(w, r, "/added", http.StatusSeeOther)
}

func (h *house) servePayroll(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!doctype html><title>Payroll</title>payroll for "+r.Header.Get("X-Forwarded-User"))
}
