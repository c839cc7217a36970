package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// front stands between processes and a real Vault and can be told to fail in ways
// in which Vault itself, and what companies put before it, do. It knows its
// callers by their tokens.
type front struct {
	server *httptest.Server
	caFile string // what the callers are to trust
	pass   http.Handler

	mu      sync.Mutex // guards what follows
	fault   fault      // nil: everything passes
	lifted  chan struct{}
	tokens  map[string]bool
	faulted calls
	passed  calls
}

// fault answers in Vault's place. pass asks Vault after all; lifted is closed when
// the fault is over, for those that keep a caller waiting.
type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler, lifted <-chan struct{})

// calls are the times of calls, by what they ask for and by their token.
type calls map[string]map[string][]time.Time

// The calls that keep a process alive.
const (
	renewToken      = "renew a token"
	signCertificate = "sign a certificate"
)

// kindOf says what a path asks for, "" for what is not of interest.
func kindOf(path string) string {
	switch {
	case strings.HasSuffix(path, "/auth/token/renew-self"):
		return renewToken
	case strings.Contains(path, "/sign/"):
		return signCertificate
	}
	return ""
}

// newFront returns a front that lets everything pass.
func newFront(t *testing.T, s *stand) *front {
	t.Helper()
	target, err := url.Parse(s.vault.Address)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{faulted: calls{}, passed: calls{}, tokens: map[string]bool{}}
	f.pass = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: s.http.Transport,
		// A caller that gave up is what some tests want.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = f.pass.(*httputil.ReverseProxy).ErrorLog
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	t.Cleanup(f.lift) // first: nobody is kept waiting
	f.caFile = writeFile(t, t.TempDir(), "front-ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})))
	return f
}

// args are the flags by which a process finds the front.
func (f *front) args() []string {
	return []string{"--vault-addr", f.server.URL, "--vault-ca-file", f.caFile}
}

// ServeHTTP notes the call and passes it on, or has the fault answer it.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	fault, lifted := f.fault, f.lifted
	noted := f.passed
	if fault != nil {
		noted = f.faulted
	}
	token := r.Header.Get("X-Vault-Token")
	if kind := kindOf(r.URL.Path); kind != "" {
		if noted[kind] == nil {
			noted[kind] = map[string][]time.Time{}
		}
		noted[kind][token] = append(noted[kind][token], time.Now())
	}
	if token != "" {
		f.tokens[token] = true
	}
	f.mu.Unlock()
	if fault != nil {
		fault(w, r, f.pass, lifted)
		return
	}
	f.pass.ServeHTTP(w, r)
}

// begin has every call answered by a fault, and forgets what was noted before.
func (f *front) begin(fault fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.lifted = fault, make(chan struct{})
	f.faulted, f.passed = calls{}, calls{}
}

// lift ends the fault. Without one it does nothing.
func (f *front) lift() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		close(f.lifted)
	}
	f.fault = nil
}

// callers counts who has made calls of a kind: under the fault, and past it.
func (f *front) callers(kind string) (faulted, passed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.faulted[kind]), len(f.passed[kind])
}

// faultedCalls are the times of the calls of a kind under the fault, by caller.
func (f *front) faultedCalls(kind string) [][]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var times [][]time.Time
	for _, of := range f.faulted[kind] {
		times = append(times, slices.Clone(of))
	}
	return times
}

// secrets are the tokens that went by.
func (f *front) secrets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.tokens))
}

// answer is a fault that is one answer.
func answer(status int, header http.Header, body string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// silent takes requests and answers none.
func silent(_ http.ResponseWriter, r *http.Request, _ http.Handler, lifted <-chan struct{}) {
	select {
	case <-lifted:
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}

// dripping begins to answer and never comes to an end of it.
func dripping(w http.ResponseWriter, r *http.Request, _ http.Handler, lifted <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	w.Header().Set("Content-Type", "application/json")
	for {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
			continue
		case <-lifted:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
}

// reset has Vault do what is asked, sends half of the answer, and resets the
// connection: what was asked for failed, but is done.
func reset(w http.ResponseWriter, r *http.Request, pass http.Handler, _ <-chan struct{}) {
	done := httptest.NewRecorder()
	pass.ServeHTTP(done, r)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	body := done.Body.String()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"+body[:len(body)/2])
	if tcp, ok := conn.(*tls.Conn).NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // RST and no FIN
		_ = tcp.Close()
	}
	_ = conn.Close()
}

// elsewhere is a server that must never be spoken to.
type elsewhere struct {
	server *httptest.Server
	mu     sync.Mutex // guards asked
	asked  []string
}

func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	e := &elsewhere{}
	e.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.asked = append(e.asked, r.Method+" "+r.URL.Path)
	}))
	t.Cleanup(e.server.Close)
	return e
}

// check fails if somebody followed a redirect: the token would have gone along.
func (e *elsewhere) check(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.asked) > 0 {
		t.Errorf("another host was asked: %q", e.asked)
	}
}

// redirect sends every caller there.
func (e *elsewhere) redirect(w http.ResponseWriter, r *http.Request, _ http.Handler, _ <-chan struct{}) {
	http.Redirect(w, r, e.server.URL+r.URL.Path, http.StatusTemporaryRedirect)
}

// TestFrontIsTransparent guards against tests that pass because the front fails.
func TestFrontIsTransparent(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	f := newFront(t, s)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, f.caFile)))
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	renew := func() (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.server.URL+"/v1/auth/token/renew-self", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", "hvs.nosuch")
		res, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	if status, body, err := renew(); status != http.StatusForbidden || !strings.Contains(body, "permission denied") || err != nil {
		t.Errorf("status %d, body %q, error %v, want Vault's own refusal", status, body, err)
	}
	f.begin(reset)
	if status, body, err := renew(); err == nil {
		t.Errorf("a reset in the middle: status %d, body %q", status, body)
	}
	faulted, passed := f.callers(renewToken)
	if faulted != 1 || passed != 0 || !slices.Equal(f.secrets(), []string{"hvs.nosuch"}) {
		t.Errorf("%d callers under the fault, %d past it, tokens %q", faulted, passed, f.secrets())
	}
}
