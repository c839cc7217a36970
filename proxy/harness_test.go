package proxy_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

const (
	doorHost    = "door.example.test"
	headersHost = "headers.example.test"
	notesHost   = "notes.example.test"
	openHost    = "open.example.test"
	closedHost  = "closed.example.test"
)

// authority is a throw-away certificate authority.
type authority struct {
	tb   testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{tb: tb, key: key, cert: cert, pool: pool}
}

func (a *authority) issue(usage x509.ExtKeyUsage, names ...string) tls.Certificate {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// scriptedSAML stands in for the service provider, whose own tests speak real
// SAML: the answer to a request names the person.
type scriptedSAML struct {
	errorURL string // where it helps its people; may be empty
	scriptedLogout
	mu     sync.Mutex
	issued map[string]bool
	people map[string]saml.Principal
	broken error // of Begin
	// at is where it is, in place of idpSignOn; posts has it take requests by POST.
	at    string
	posts bool
	// wants is what the answers so far had to live up to.
	wants []saml.Expectation
}

const idpSignOn = "https://idp.example.org/sso"

func (s *scriptedSAML) Metadata() []byte { return []byte("<EntityDescriptor/>") }

func (s *scriptedSAML) IdP() saml.IdPInfo {
	return saml.IdPInfo{EntityID: strings.TrimSuffix(cmp.Or(s.at, idpSignOn), "/sso"), ErrorURL: s.errorURL}
}

func (s *scriptedSAML) Begin(want saml.SignOn) (saml.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return saml.Message{}, s.broken
	}
	id := "_" + session.NewID()
	s.issued[id] = true
	m := saml.Message{IssuedAt: time.Now(), ID: id, URL: cmp.Or(s.at, idpSignOn)}
	if s.posts {
		m.Form = []saml.FormField{{Name: "SAMLRequest", Value: id}, {Name: "RelayState", Value: want.RelayState}}
	} else {
		m.URL += "?" + url.Values{"RelayState": {want.RelayState}, "id": {id}}.Encode()
	}
	return m, nil
}

// Verify takes "REQUEST-ID person" for a response, and "REQUEST-ID refuse CODE" for
// one that it refuses.
func (s *scriptedSAML) Verify(_ context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wants = append(s.wants, want)
	id, person, _ := strings.Cut(p.Response, " ")
	if code, ok := strings.CutPrefix(person, "refuse "); ok {
		return nil, &saml.Refusal{Code: code, Err: errors.New("private detail of the assertion")}
	}
	if id != want.RequestID {
		return nil, &saml.Refusal{Code: saml.CodeInResponseTo, Err: errors.New("private detail of the assertion")}
	}
	principal, ok := s.people[person]
	if !ok {
		return nil, &saml.Refusal{Code: saml.CodeSignature, Err: errors.New("private detail of the assertion")}
	}
	return &principal, nil
}

// lines collects the access log. While broken it takes nothing.
type lines struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	broken bool
	access *accesslog.Log // that writes here; nil if nobody waits for it

	// What is looked at again and again is read once: of so many bytes are the records.
	looked  int
	records []map[string]any // which nobody changes
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return 0, errors.New("disk is full")
	}
	return l.buf.Write(p)
}

func (l *lines) setBroken(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

// text is what was written. A record that was put in before is waited for.
func (l *lines) text() string {
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) flush() {
	if l.access != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.access.Flush(ctx) // who looks for what is not there finds out
	}
}

// parsed is text, as records.
func (l *lines) parsed() ([]map[string]any, error) {
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.buf.Bytes()[l.looked:]) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		l.looked += len(line)
		l.records = append(l.records, record)
	}
	return slices.Clip(l.records), nil
}

// world is a gateway with its backends, on real sockets with real TLS.
type world struct {
	tb      testing.TB
	ca      *authority
	gateway *proxy.Gateway
	live    *proxy.Live  // what the listener serves
	cfg     proxy.Config // of gateway
	saml    *scriptedSAML
	log     *lines
	addr    string
	backend *backend
	stop    func() error
}

// backend is an application behind mutual TLS; it remembers what it got.
type backend struct {
	mux *http.ServeMux

	mu   sync.Mutex
	last *http.Request
	hits int
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.last, b.hits = r.Clone(context.Background()), b.hits+1
	b.mu.Unlock()
	b.mux.ServeHTTP(w, r)
}

func (b *backend) seen() (*http.Request, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.hits
}

func newWorld(tb testing.TB, change func(*proxy.Config)) *world {
	tb.Helper()
	w := &world{tb: tb, ca: newAuthority(tb), log: new(lines), backend: &backend{mux: http.NewServeMux()}}
	w.saml = &scriptedSAML{issued: map[string]bool{}, people: map[string]saml.Principal{
		"alice": {Subject: saml.Subject{NameID: "alice-4711"}, SessionIndex: "alice-1", User: "alice@example.com", Email: "alice@example.com", Name: "Alice Liddell", Groups: []string{"engineers", "admins"}, IdP: "https://idp.example.org", AuthnInstant: time.Now(), SigningCertificate: "5d41"},
		"bob":   {Subject: saml.Subject{NameID: "bob-4712"}, SessionIndex: "bob-1", User: "bob@example.com", Email: "bob@example.com", Name: "Bob", Groups: []string{"support"}, IdP: "https://idp.example.org", AuthnInstant: time.Now()},
	}}
	w.backend.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "backend: "+r.Header.Get("X-Forwarded-User"))
	})
	upstream := httptest.NewUnstartedServer(w.backend)
	upstream.TLS = &tls.Config{
		Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageServerAuth, "tool.backend.test")},
		ClientCAs:    w.ca.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	upstream.EnableHTTP2 = true // for those who ask for it
	upstream.StartTLS()
	tb.Cleanup(upstream.Close)
	w.start(w.config(upstream.Listener.Addr().String()), change)
	return w
}

// config is a gateway with one route for each kind of rule.
func (w *world) config(upstream string) proxy.Config {
	dial := &tls.Config{
		RootCAs: w.ca.pool, ServerName: "tool.backend.test", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageClientAuth, "gateway.test")},
	}
	address := &url.URL{Scheme: "https", Host: upstream}
	route := func(name, host string, rule policy.Rule) proxy.Route {
		return proxy.Route{Name: name, Title: name, Host: host, Backend: address, TLS: dial.Clone(), Rule: rule, WebSocket: true}
	}
	return proxy.Config{
		DoorHost: doorHost, EntityID: ourEntityID,
		Routes: []proxy.Route{
			route("headers", headersHost, policy.NewRule(nil, []string{"engineers", "support"}, false)),
			route("notes", notesHost, policy.NewRule(nil, []string{"engineers"}, false)),
			route("open", openHost, policy.NewRule(nil, nil, true)),
			route("closed", closedHost, policy.Rule{}),
		},
		IdPs: []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: w.saml}}, Access: accesslog.New(w.log, "gateway"),
		Limits: proxy.Limits{StrangersPerSecond: 1e6}, // every browser of a test has one and the same address
	}
}

func (w *world) start(cfg proxy.Config, change func(*proxy.Config)) {
	w.tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	w.addr = listener.Addr().String()
	_, port, _ := net.SplitHostPort(w.addr)
	cfg.PublicPort, _ = strconv.Atoi(port)
	if change != nil {
		change(&cfg)
	}
	hosts := []string{doorHost, headersHost, notesHost, openHost, closedHost}
	for _, rt := range cfg.Routes {
		hosts = append(hosts, rt.Host)
	}
	if cfg.Sessions, err = session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: hosts, Idle: time.Hour, Absolute: 10 * time.Hour, Now: cfg.Now,
	}); err != nil {
		w.tb.Fatal(err)
	}
	if w.gateway, err = proxy.New(cfg); err != nil {
		w.tb.Fatal(err)
	}
	w.cfg, w.live, w.log.access = cfg, proxy.NewLive(w.gateway), cfg.Access
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Serve(ctx, proxy.ServerConfig{
			Listener: listener, Handler: w.live, Drain: 5 * time.Second,
			TLS: &tls.Config{Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageServerAuth, append(hosts, "unknown.example.test", "*.unknown.example.test")...)}},
		})
	}()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.tb.Cleanup(func() { _ = w.stop() })
}

// origin is the address of a host as a browser writes it.
func (w *world) origin(host string) string {
	_, port, _ := net.SplitHostPort(w.addr)
	return "https://" + net.JoinHostPort(host, port)
}

// browser is a client with cookies that follows no redirect by itself.
type browser struct {
	w      *world
	client *http.Client
}

func (w *world) browser() *browser {
	w.tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.ca.pool},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
		},
	}
	w.tb.Cleanup(transport.CloseIdleConnections)
	return &browser{w: w, client: &http.Client{
		Jar: jar, Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response that was read whole.
type answer struct {
	*http.Response
	body string
}

func (b *browser) do(req *http.Request) answer {
	b.w.tb.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	return answer{res, string(body)}
}

// navigate opens an address as a person does.
func (b *browser) navigate(address string) answer {
	b.w.tb.Helper()
	return b.do(b.request(http.MethodGet, address, nil))
}

func (b *browser) request(method, address string, body io.Reader) *http.Request {
	b.w.tb.Helper()
	req, err := http.NewRequestWithContext(b.w.tb.Context(), method, address, body)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	return req
}

// post sends a form as a browser does from a page of the given site.
func (b *browser) post(address, site string, form url.Values) answer {
	b.w.tb.Helper()
	req := b.request(http.MethodPost, address, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", site)
	return b.do(req)
}

// next is where an answer has the browser go by itself.
func (a answer) next() string {
	if location := a.Header.Get("Location"); location != "" {
		return location
	}
	_, location, _ := strings.Cut(a.Header.Get("Refresh"), "url=")
	return location
}

// signIn opens address and follows every redirect; at the identity provider it
// signs in as person.
func (b *browser) signIn(address, person string) answer {
	b.w.tb.Helper()
	res := b.navigate(address)
	for range 10 {
		if res.StatusCode != http.StatusSeeOther {
			return res
		}
		location := res.Header.Get("Location")
		if !strings.HasPrefix(location, idpSignOn) {
			res = b.navigate(location)
			continue
		}
		res = b.post(b.w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(b.w.tb, location, person))
	}
	b.w.tb.Fatalf("still redirected: %s", res.Header.Get("Location"))
	return res
}

// samlForm is what the identity provider has the browser post.
func samlForm(tb testing.TB, location, person string) url.Values {
	tb.Helper()
	at, err := url.Parse(location)
	if err != nil {
		tb.Fatal(err)
	}
	return url.Values{"RelayState": {at.Query().Get("RelayState")}, "SAMLResponse": {at.Query().Get("id") + " " + person}}
}

// records are the access log's lines so far of requests, one of each. A line is written
// after its answer, so the wanted number is waited for.
func (w *world) records(want int) []map[string]any {
	w.tb.Helper()
	return w.lines(want, func(record map[string]any) bool {
		return record["http.request.method"] != nil && record["event.action"] != "stream_begin"
	})
}

// events are those with that action, as soon as there are as many as wanted.
func (w *world) events(want int, action string) []map[string]any {
	w.tb.Helper()
	return w.lines(want, func(record map[string]any) bool { return record["event.action"] == action })
}

// lines are the access log's lines so far that are asked for.
func (w *world) lines(want int, asked func(record map[string]any) bool) []map[string]any {
	w.tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		all, err := w.log.parsed()
		if err != nil {
			w.tb.Fatal(err)
		}
		var out []map[string]any
		for _, record := range all {
			if asked(record) {
				out = append(out, record)
			}
		}
		if len(out) >= want || time.Now().After(deadline) {
			return out
		}
	}
}

// recordable waits until the log says that records can be written, or cannot.
func (w *world) recordable(want bool) {
	w.tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); (w.cfg.Access.Err() == nil) != want; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			w.tb.Fatalf("the log says %v", w.cfg.Access.Err())
		}
	}
}

// lastRecord waits for the wanted number of lines and returns the last.
func (w *world) lastRecord(want int) map[string]any {
	w.tb.Helper()
	all := w.records(want)
	return all[len(all)-1]
}

// clock is a time that tests move.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *clock) read() time.Time      { return time.Unix(0, c.nanos.Load()) }
func (c *clock) pass(d time.Duration) { c.nanos.Add(int64(d)) }
