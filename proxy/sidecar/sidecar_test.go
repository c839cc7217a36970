package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/relay"
)

func TestNewRefusesAppsThatOthersReach(t *testing.T) {
	for app, good := range map[string]bool{
		"http://127.0.0.1:3000": true, "http://127.8.9.1:3000/": true, "http://[::1]:3000": true, "http://localhost:3000": true,
		"http://192.0.2.1:3000": false, "http://0.0.0.0:3000": false, "http://[::]:3000": false, "http://app:3000": false,
		"http://localhost.example.com:3000": false, "http://127.0.0.1.example.com": false, "http://2130706433": false, "http://:3000": false,
		"https://127.0.0.1:3000": false, "unix:///run/app.sock": true, "unix:/run/app.sock": true, "unix://host/app.sock": false, "unix:app.sock": false, "unix:": false, "tcp://127.0.0.1:3000": false, "127.0.0.1:3000": false, "": false,
		"http://127.0.0.1:3000/base": false, "http://127.0.0.1:3000?a": false, "http://u:secret@127.0.0.1:3000": false,
		"http://u:secret@192.0.2.1:3000": false, "https://u:secret@127.0.0.1:3000": false, "unix://u:secret@/run/app.sock": false,
	} {
		target, err := url.Parse(app)
		if err != nil {
			target = nil // New is given what a careless caller would pass on
		}
		_, err = New(Config{App: target, PeerName: peerName, Access: accesslog.New(io.Discard, "sidecar")})
		if (err == nil) != good {
			t.Errorf("New with app %q = %v, want good: %t", app, err, good)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("error shows a password: %v", err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New without an app succeeded")
	}
	if _, err := New(Config{App: &url.URL{Scheme: "http", Host: "127.0.0.1"}}); err == nil {
		t.Error("New without PeerName and Access succeeded")
	}
}

// TestHeadersReachTheAppExactly sends what a gateway sends, and everything that
// could pass for it, and compares all that arrives.
func TestHeadersReachTheAppExactly(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	res := w.raw(t, wire("GET /a HTTP/1.1", "Host: headers.example.com",
		"X-Forwarded-User: alice@example.com", "X-Forwarded-Email: alice@example.com", "X-Forwarded-Groups: engineers,admins",
		"X-Forwarded-Preferred-Username: J%C3%BCrgen", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: headers.example.com",
		"X-Forwarded-Proto: https", "X-Request-Id: abcdefghij234567", "X-Sallyport-Assertion: a.b.c", "X-Sallyport_Assertion: root",
		"X_Forwarded_User: root", "X.Forwarded.User: root", "X-Forwarded_User: root", "x~forwarded~user: root",
		"Remote-User: root", "Remote_User: root", "X-Remote-User: root", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1",
		"X-Forwarded-Prefix: /grafana", "X_Forwarded_Prefix: /evil", "X-Original-URL: /admin", "Proxy: http://evil", "Proxy-Authorization: Basic eA==",
		"X-Sallyport-Fault: x", "Keep-Alive: timeout=5", "TE: trailers", "HTTP2-Settings: AAMAAABkAAQAAP__",
		"Accept: text/html", "Cookie: a=1; b=2", "Authorization: Bearer t", "Accept: text/plain", "User-Agent: x"))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	want := http.Header{
		"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"}, "X-Forwarded-Groups": {"engineers,admins"},
		"X-Forwarded-Preferred-Username": {"J%C3%BCrgen"}, "X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Host": {"headers.example.com"},
		"X-Forwarded-Proto": {"https"}, "X-Request-Id": {"abcdefghij234567"}, "X-Forwarded-Prefix": {"/grafana"}, "X-Sallyport-Assertion": {"a.b.c"},
		"Accept": {"text/html", "text/plain"}, "Cookie": {"a=1; b=2"}, "Authorization": {"Bearer t"}, "User-Agent": {"x"},
	}
	got := next(t, requests)
	got.Header.Del("Te") // "trailers" is hop-by-hop, and ReverseProxy says it anew
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Errorf("headers at the application (-want +got):\n%s", diff)
	}
	if got.Host != "headers.example.com" {
		t.Errorf("Host = %q", got.Host)
	}
}

// TestWhatTheGatewaySaysItSetsIsCarried: names that are always stripped, and those that
// are not, arrive as the gateway says, and the log knows who it was.
func TestWhatTheGatewaySaysItSetsIsCarried(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	w.raw(t, wire("GET / HTTP/1.1", "Host: a", "X-Sallyport-Set: Remote-User,X-My-Group=2", "X-Sallyport-Person: alice",
		"Remote-User: alice", "X-My-Group: engineers", "X-My-Group: admins", "X-Sallyport-Assertion: a.b.c", "X-Forwarded-Prefix: /tool",
		"Remote-Email: root", "Remote_User: root", "X_My_Group: wheel", "X-Sallyport-Other: root", "Connection: close, Remote-User, X-My-Group, X-Sallyport-Set"))
	want := http.Header{
		"Remote-User": {"alice"}, "X-My-Group": {"engineers", "admins"}, "X-Sallyport-Assertion": {"a.b.c"}, "X-Forwarded-Prefix": {"/tool"},
	}
	got := next(t, requests).Header
	got.Del("User-Agent") // Go's own, for a request that has none
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers at the application (-want +got):\n%s", diff)
	}
	if line := w.line(t); line["user.name"] != "alice" {
		t.Errorf("line: %v", line)
	}
}

// TestConnectionTricks names the gateway's headers as hop-by-hop, to have them
// removed on the way.
func TestConnectionTricks(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	for _, connection := range []string{
		"close, X-Forwarded-User", "X-Forwarded-User, X-Forwarded-Groups", "x-forwarded-user", "keep-alive,\tX-FORWARDED-USER",
	} {
		w.raw(t, wire("GET / HTTP/1.1", "Host: a", "Connection: "+connection, "X-Forwarded-User: alice", "X-Forwarded-Groups: engineers"))
		h := next(t, requests).Header
		if diff := cmp.Diff([]string{"alice", "engineers"}, append(h[header.User], h[header.Groups]...)); diff != "" {
			t.Errorf("Connection: %s (-want +got):\n%s", connection, diff)
		}
		if len(h["Connection"]) != 0 {
			t.Errorf("Connection: %q reached the application", h["Connection"])
		}
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name    string
		request string
		status  int
		reason  string
		cause   string
	}{
		{
			name: "two users", status: http.StatusBadRequest, reason: "ambiguous_header", cause: "X-Forwarded-User came 2 times",
			request: wire("GET / HTTP/1.1", "Host: a", "X-Forwarded-User: alice", "x-forwarded-user: root"),
		},
		{
			name: "two request ids", status: http.StatusBadRequest, reason: "ambiguous_header", cause: "X-Request-Id came 2 times",
			request: wire("GET / HTTP/1.1", "Host: a", "X-Request-Id: a", "X-Request-Id: b"),
		},
		{
			name: "a list that names what no route sets", status: http.StatusBadRequest, reason: "ambiguous_header", cause: "X-Sallyport-Set, entry 2",
			request: wire("GET / HTTP/1.1", "Host: a", "X-My-User: alice", "X-Real-Ip: 127.0.0.1", "X-Sallyport-Set: X-My-User,X-Real-Ip"),
		},
		{
			name: "two lists", status: http.StatusBadRequest, reason: "ambiguous_header", cause: "X-Sallyport-Set came 2 times",
			request: wire("GET / HTTP/1.1", "Host: a", "X-My-User: root", "X-Sallyport-Set: X-My-User", "x-sallyport-set: X-My-User"),
		},
		{
			name: "another number of lines", status: http.StatusBadRequest, reason: "ambiguous_header", cause: "X-My-Group came 3 times",
			request: wire("GET / HTTP/1.1", "Host: a", "X-My-Group: a", "X-My-Group: b", "x-my-group: root", "X-Sallyport-Set: X-My-Group=2"),
		},
	}
	app, requests := recorder(t)
	w := newWorld(t, app)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res := w.raw(t, test.request)
			if res.StatusCode != test.status || res.Header.Get(header.Fault) != test.reason {
				t.Errorf("status %d, fault %q, want %d, %q", res.StatusCode, res.Header.Get(header.Fault), test.status, test.reason)
			}
			line := w.line(t)
			cause, _ := line["error.message"].(string)
			if line["event.reason"] != test.reason || line["sallyport.decision"] != "deny" || !strings.Contains(cause, test.cause) || strings.Contains(cause, "root") {
				t.Errorf("line: %v", line)
			}
		})
	}
	if len(requests) != 0 {
		t.Errorf("%d refused requests reached the application", len(requests))
	}
}

// TestPeersWithoutAProvenName covers what the TLS configuration would have let
// through by mistake: the handler asks once more.
func TestPeersWithoutAProvenName(t *testing.T) {
	app, requests := recorder(t)
	target, err := url.Parse(app)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(lineWriter, 10)
	guard, err := New(Config{App: target, PeerName: peerName, Access: accesslog.New(lines, "sidecar")})
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]*tls.ConnectionState{
		"no_tls": nil, "no_peer": {Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{{DNSNames: []string{gatewayName}}}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.TLS = state
		r.Header.Set(header.User, "root")
		rec := httptest.NewRecorder()
		guard.ServeHTTP(rec, r)
		if line := <-lines; rec.Code != http.StatusForbidden || !strings.Contains(line, `"event.reason":"`+name+`"`) || strings.Contains(line, "root") {
			t.Errorf("%s: status %d, line %s", name, rec.Code, line)
		}
	}
	if len(requests) != 0 {
		t.Error("a stranger reached the application")
	}
}

func TestStrangersFailTheHandshake(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	stranger := newAuthority(t)
	for name, certificates := range map[string][]tls.Certificate{
		"no certificate":                     nil,
		"a certificate of another authority": {stranger.issue(t, gatewayName, x509.ExtKeyUsageClientAuth)},
	} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.dial.RootCAs, ServerName: sidecarName, Certificates: certificates}}
		res, err := (&http.Client{Transport: transport, Timeout: patience}).Get(w.server.URL)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("with %s: status %d", name, res.StatusCode)
		}
		transport.CloseIdleConnections()
	}
	if len(requests) != 0 {
		t.Error("a stranger reached the application")
	}
}

// TestNobodyEntersUnrecorded breaks the log and mends it again.
func TestNobodyEntersUnrecorded(t *testing.T) {
	app, requests := recorder(t)
	target, err := url.Parse(app)
	if err != nil {
		t.Fatal(err)
	}
	disk := &breakable{}
	access := accesslog.New(disk, "sidecar")
	guard, err := New(Config{App: target, PeerName: func(tls.ConnectionState) (string, error) { return gatewayName, nil }, Access: access})
	if err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for _, broken := range []bool{false, true, true, false, false} {
		disk.broken.Store(broken)
		for access.Err() != nil && !broken {
			<-time.After(time.Millisecond) // it tries again by itself
		}
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
		rec := httptest.NewRecorder()
		guard.ServeHTTP(rec, r)
		statuses = append(statuses, rec.Code)
		if !broken { // its record is written before anything breaks
			if err := access.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for access.Err() == nil && broken {
			<-time.After(time.Millisecond) // the writer has not noticed yet
		}
	}
	if diff := cmp.Diff([]int{200, 200, 503, 200, 200}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if len(requests) != 4 {
		t.Errorf("%d requests reached the application, want 4", len(requests))
	}
}

type breakable struct {
	bytes.Buffer
	broken atomic.Bool
}

func (b *breakable) Write(p []byte) (int, error) {
	if b.broken.Load() {
		return 0, errors.New("no space left on device")
	}
	return b.Buffer.Write(p)
}

func TestTargetsReachTheAppAsTheyCame(t *testing.T) {
	app, requests := rawApp(t, "HTTP/1.1 204 No Content\r\n\r\n")
	w := newWorld(t, app)
	for give, want := range map[string]string{
		"/":                        "",
		"/a%2Fb/c":                 "",
		"/a;b=c;d?e;f=g&%zz&h=%2F": "",
		"//a//b/../c/./d":          "",
		"/%2e%2e/%5c%00":           "",
		"/a?":                      "",
		"/a?b=c?d":                 "",
		"/a+b%20c/@:!$'()*,":       "",
		"/~a_b-c.d/%E2%82%AC":      "",
		"/a|b%2Fc":                 "/a%7Cb%2Fc",
		"/[a]{b}%2F^`\"<>":         "/[a]%7Bb%7D%2F%5E%60%22%3C%3E",
		`/a\b`:                     "/a%5Cb",
		"/\xc3\xbc%2F":             "/%C3%BC%2F",
		"http://a/b%2Fc?d":         "/b%2Fc?d",
	} {
		if want == "" {
			want = give
		}
		res := w.raw(t, wire("GET "+give+" HTTP/1.1", "Host: a"))
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("%q: status %d", give, res.StatusCode)
			continue
		}
		if got := next(t, requests); got != "GET "+want {
			t.Errorf("%q reached the application as %q, want %q", give, got, want)
		}
	}
}

func TestRecordLine(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
	}))
	defer server.Close()
	w := newWorld(t, server.URL)
	w.raw(t, "POST /pot?secret=1 HTTP/1.1\r\nHost: tea.example.com\r\nX-Forwarded-User: alice\r\nX-Request-Id: r1\r\nUser-Agent: kettle\r\nContent-Length: 5\r\n\r\nwater")
	got := w.line(t)
	for _, varies := range []string{"@timestamp", "event.duration", "client.port", "sallyport.upstream.duration", "sallyport.log.instance", "sallyport.log.sequence", "sallyport.log.previous"} {
		if v, ok := got[varies]; !ok || v == float64(0) {
			t.Errorf("no %s in %v", varies, got)
		}
		delete(got, varies)
	}
	want := map[string]any{
		"ecs.version": "8.17.0", "event.kind": "event", "event.category": []any{"web"}, "event.type": []any{"access"}, "event.action": "access", "event.outcome": "failure",
		"service.name": "sidecar", "http.request.id": "r1", "sallyport.decision": "allow", "event.reason": "gateway", "rule.name": "peer:" + gatewayName,
		"user.name": "alice", "http.request.method": "POST", "url.domain": "tea.example.com", "url.path": "/pot", "http.version": "1.1",
		"client.address": "127.0.0.1", "tls.client.x509.serial_number": "02", "tls.version": "1.3", "user_agent.original": "kettle", "http.response.status_code": float64(http.StatusTeapot),
		"http.request.body.bytes": float64(5), "http.response.body.bytes": float64(15), "server.address": strings.TrimPrefix(server.URL, "http://"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestAppDown(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	w := newWorld(t, server.URL)
	res := w.raw(t, wire("GET / HTTP/1.1", "Host: a"))
	if res.StatusCode != http.StatusBadGateway || res.Header.Get(header.Fault) != "app_unreachable" {
		t.Errorf("status %d, fault %q", res.StatusCode, res.Header.Get(header.Fault))
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || strings.Contains(string(body), "127.0.0.1") {
		t.Errorf("body %q (%v) shows the inside", body, err)
	}
	if line := w.line(t); !strings.Contains(line["error.message"].(string), "refused") || line["http.response.status_code"] != float64(http.StatusBadGateway) {
		t.Errorf("line: %v", line)
	}
}

// TestGatewayHangsUp: the application is told, and the line says so.
func TestGatewayHangsUp(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	w := newWorld(t, server.URL)
	conn := w.connect(t)
	if _, err := io.WriteString(conn, wire("GET / HTTP/1.1", "Host: a")); err != nil {
		t.Fatal(err)
	}
	next(t, arrived)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	next(t, gone)
	if line := w.line(t); line["http.response.status_code"] != float64(relay.StatusClientClosed) || line["error.message"] == nil {
		t.Errorf("line: %v", line)
	}
}

// TestStoppingNeverLooksLikeAnEmptyAnswer ends a request's context while its
// connection is open, as a drain that ran out of time does.
func TestStoppingNeverLooksLikeAnEmptyAnswer(t *testing.T) {
	app, _ := recorder(t)
	w := newWorld(t, app)
	handler := w.server.Config.Handler
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		handler.ServeHTTP(rw, r.WithContext(ctx))
	})
	res, err := w.client.Get(w.server.URL)
	if err == nil {
		_ = res.Body.Close()
		t.Errorf("status %d, want a broken connection", res.StatusCode)
	}
}

// TestPanicIsRecorded: the request is cut, and the cause is not lost.
func TestPanicIsRecorded(t *testing.T) {
	app, _ := recorder(t)
	w := newWorld(t, app)
	guard, ok := w.server.Config.Handler.(*Sidecar)
	if !ok {
		t.Fatal("handler is no Sidecar")
	}
	guard.cfg.PeerName = func(tls.ConnectionState) (string, error) { panic("boom") }
	if res, err := w.client.Get(w.server.URL); err == nil {
		_ = res.Body.Close()
		t.Errorf("status %d, want a broken connection", res.StatusCode)
	}
	if line := w.line(t); line["error.message"] != "panic: boom" || line["http.response.status_code"] != float64(relay.StatusClientClosed) || line["sallyport.decision"] != "deny" {
		t.Errorf("line: %v", line)
	}
	w.server.Close() // waits for the handler, which logs
	if !strings.Contains(w.log.String(), "panic in a request") || !strings.Contains(w.log.String(), "(*Sidecar).admit") {
		t.Errorf("log: %s", w.log)
	}
}

func BenchmarkSidecar(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	}))
	defer server.Close()
	w := newWorld(b, server.URL)
	go func() {
		for range w.lines { // nobody reads them here
		}
	}()
	r, err := http.NewRequest(http.MethodGet, w.server.URL+"/page", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header = http.Header{header.User: {"alice"}, header.Groups: {"engineers"}, header.RequestID: {"r1"}, "Accept": {"text/html"}, "Cookie": {"a=1"}}
	b.ReportAllocs()
	for b.Loop() {
		res, err := w.client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// TestUsersAreLeftOut: a sidecar may be told to say nothing of who asks; the tool still
// learns it.
func TestUsersAreLeftOut(t *testing.T) {
	told := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get(header.User) }))
	defer server.Close()
	w := newWorld(t, server.URL, func(cfg *Config) { cfg.NoUsers = true })
	w.raw(t, "GET / HTTP/1.1\r\nHost: tea.example.com\r\nX-Forwarded-User: alice\r\nX-Request-Id: r1\r\n\r\n")
	line := w.line(t)
	if name, ok := line["user.name"]; ok || line["http.request.id"] != "r1" {
		t.Errorf("user %v in %v", name, line)
	}
	if got := <-told; got != "alice" {
		t.Errorf("the tool was told %q", got)
	}
}
