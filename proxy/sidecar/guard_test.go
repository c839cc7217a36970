package sidecar

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/session"
)

// onSocket is an application on a Unix socket that tells the test what reached it.
func onSocket(t *testing.T) (address string, requests <-chan *http.Request) {
	t.Helper()
	seen := make(chan *http.Request, 10)
	path := filepath.Join(t.TempDir(), "app.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		_, _ = io.WriteString(w, "from the socket")
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return "unix:" + path, seen
}

func TestAppOnASocket(t *testing.T) {
	for name, change := range map[string]func(*Config){"HTTP/1.1": func(*Config) {}, "h2c": overH2C} {
		t.Run(name, func(t *testing.T) {
			app, requests := onSocket(t)
			w := newWorld(t, app, change)
			res := w.raw(t, wire("GET /a%2Fb?c HTTP/1.1", "Host: tool.example.com", "X-Forwarded-User: alice"))
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "from the socket" {
				t.Errorf("%q, %v", body, err)
			}
			if got := next(t, requests); got.Host != "tool.example.com" || got.URL.RequestURI() != "/a%2Fb?c" || got.Header.Get(header.User) != "alice" {
				t.Errorf("the application got %s %s %v", got.Host, got.URL, got.Header)
			}
			if line := w.line(t); line["server.address"] != app {
				t.Errorf("line: %v", line)
			}
		})
	}
}

func TestSocketThatIsNotThere(t *testing.T) {
	w := newWorld(t, "unix:"+filepath.Join(t.TempDir(), "none.sock"))
	res := w.raw(t, wire("GET / HTTP/1.1", "Host: a"))
	if res.StatusCode != http.StatusBadGateway || res.Header.Get(header.Fault) != "app_unreachable" {
		t.Errorf("status %d, fault %q", res.StatusCode, res.Header.Get(header.Fault))
	}
}

// template is that of an application's own names.
func template(t *testing.T, profiles ...header.Profile) *header.Template {
	t.Helper()
	made, err := header.NewTemplate(header.Format{Profiles: profiles, AllGroups: true})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func profile(t *testing.T, name string) header.Profile {
	t.Helper()
	p, ok := header.ProfileOf(name)
	if !ok {
		t.Fatalf("no profile %q", name)
	}
	return p
}

// TestAppHasNamesOfItsOwn: it gets these, made of what the gateway says, and of the others
// none in any spelling.
func TestAppHasNamesOfItsOwn(t *testing.T) {
	app, requests := recorder(t)
	told := []string{
		"X-Forwarded-User: j%C3%BCrgen@example.com", "X-Forwarded-Email: j@example.com", "X-Forwarded-Groups: engineers,CN=a%2Cb",
		"X-Forwarded-For: 192.0.2.7", "X-Request-Id: r1", "X-Sallyport-Assertion: a.b.c",
		"X-Webauth-User: root", "X_Webauth_User: root", "X-My-User: root", "X.My.User: root", "Remote-User: root",
		"X-From-Route: gateway", "X-Sallyport-Set: X-From-Route", "Accept: text/html",
	}
	way := http.Header{"Accept": {"text/html"}, "X-Forwarded-For": {"192.0.2.7"}, "X-Request-Id": {"r1"}, "X-Sallyport-Assertion": {"a.b.c"}}
	for name, test := range map[string]struct {
		profiles []header.Profile
		want     http.Header
	}{
		"webauth and a name": {[]header.Profile{profile(t, header.WebAuth), {User: "X-My-User"}}, http.Header{
			"X-Webauth-User": {"j%C3%BCrgen@example.com"}, "X-Webauth-Email": {"j@example.com"}, "X-Webauth-Groups": {"engineers,CN=a%2Cb"}, "X-My-User": {"j%C3%BCrgen@example.com"},
		}},
		"lines": {[]header.Profile{{User: "Remote-User", Groups: "X-Group", Separator: header.Lines}}, http.Header{
			"Remote-User": {"j%C3%BCrgen@example.com"}, "X-Group": {"engineers", "CN=a%2Cb"},
		}},
		"nothing": {[]header.Profile{}, http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, app, func(cfg *Config) { cfg.Headers = template(t, test.profiles...) })
			w.raw(t, wire(append([]string{"GET / HTTP/1.1", "Host: a"}, told...)...))
			got := next(t, requests).Header
			for _, own := range []string{"User-Agent", "X-My-User"} { // Go's own; and a name that means nothing here
				if _, wanted := test.want[own]; !wanted {
					got.Del(own)
				}
			}
			want := way.Clone()
			for name, values := range test.want {
				want[name] = values
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers at the application (-want +got):\n%s", diff)
			}
			if line := w.line(t); line["user.name"] != "j%C3%BCrgen@example.com" {
				t.Errorf("line: %v", line)
			}
		})
	}
}

func TestAppThatTakesNoOtherLettersRefusesThem(t *testing.T) {
	app, requests := recorder(t)
	strict, err := header.NewTemplate(header.Format{Values: header.Refuse})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, app, func(cfg *Config) { cfg.Headers = strict })
	res := w.raw(t, wire("GET / HTTP/1.1", "Host: a", "X-Forwarded-User: j%C3%BCrgen"))
	if line := w.line(t); res.StatusCode != http.StatusForbidden || line["event.reason"] != "identity_value" || len(requests) > 0 {
		t.Errorf("status %d, line %v", res.StatusCode, line)
	}
}

// door signs assertions bound to a client certificate.
type door struct {
	key  *ecdsa.PrivateKey
	leaf *x509.Certificate
}

func newDoor(t *testing.T) *door {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	template := *ca.cert
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &door{key, leaf}
}

const doorOrigin = "https://door.example.com"

// assert is an assertion of who for a route, bound to the client certificate of dial.
func (d *door) assert(t *testing.T, dial *tls.Config, route, who string) string {
	t.Helper()
	issuer, err := assertion.New(assertion.Config{
		Origin: doorOrigin, ClientCertificate: dial.Certificates[0].Certificate[0],
		Current: assertion.Key{Signer: d.key, Chain: []*x509.Certificate{d.leaf}},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.For(route, nil).Assert(&session.State{
		ID: "s", User: who, Email: "mail@example.com", Name: "Jürgen", Groups: []string{"engineers"},
		AuthnAt: time.Now().Unix(), Expires: time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// demands has a sidecar demand assertions of the door for the route "notes".
func (d *door) demands(t *testing.T, cfg *Config) {
	t.Helper()
	var err error
	cfg.Assertions, err = assertion.NewVerifier(assertion.VerifierConfig{
		Issuer: doorOrigin, Audiences: []string{assertion.Audience("notes")},
		Chain: func(chain []*x509.Certificate) error {
			if !chain[0].Equal(d.leaf) {
				return errors.New("another authority's")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Headers = template(t, profile(t, header.XForwarded))
}

func TestAssertionIsDemanded(t *testing.T) {
	app, requests := recorder(t)
	d := newDoor(t)
	w := newWorld(t, app, func(cfg *Config) { d.demands(t, cfg) })
	stolen := &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, gatewayName, x509.ExtKeyUsageClientAuth)}}
	const alice = "X-Forwarded-User: alice"
	token := d.assert(t, w.dial, "notes", "alice")
	for name, test := range map[string]struct {
		lines         []string
		reason, cause string
	}{
		"none":                     {[]string{alice}, "assertion_missing", "without an assertion"},
		"for another tool":         {[]string{alice, "X-Sallyport-Assertion: " + d.assert(t, w.dial, "wiki", "alice")}, "assertion_refused", "another audience"},
		"of another door":          {[]string{alice, "X-Sallyport-Assertion: " + newDoor(t).assert(t, w.dial, "notes", "alice")}, "assertion_refused", "another authority's"},
		"from another connection":  {[]string{alice, "X-Sallyport-Assertion: " + d.assert(t, stolen, "notes", "alice")}, "assertion_refused", "another client certificate"},
		"of another person":        {[]string{"X-Forwarded-User: root", "X-Sallyport-Assertion: " + token}, "assertion_refused", "another person"},
		"of another by both names": {[]string{alice, "X-Sallyport-Person: root", "X-Sallyport-Assertion: " + token}, "assertion_refused", "another person"},
		"without a name":           {[]string{"X-Sallyport-Assertion: " + token}, "assertion_refused", "comes without"},
		"two":                      {[]string{alice, "X-Sallyport-Assertion: " + token, "X-Sallyport-Assertion: " + token}, "ambiguous_header", "2 times"},
		"nonsense":                 {[]string{alice, "X-Sallyport-Assertion: x"}, "assertion_refused", "three parts"},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.raw(t, wire(append([]string{"GET / HTTP/1.1", "Host: a"}, test.lines...)...))
			line := w.line(t)
			if res.StatusCode != http.StatusForbidden && test.reason != "ambiguous_header" || res.StatusCode < 400 || res.Header.Get(header.Fault) != test.reason {
				t.Errorf("status %d, fault %q", res.StatusCode, res.Header.Get(header.Fault))
			}
			if cause, _ := line["error.message"].(string); line["event.reason"] != test.reason || line["sallyport.decision"] != "deny" || !strings.Contains(cause, test.cause) {
				t.Errorf("line: %v", line)
			}
			if name, named := line["user.name"]; named && test.reason == "assertion_refused" {
				t.Errorf("the line says that it is %v", name)
			}
		})
	}
	if len(requests) > 0 {
		t.Errorf("%d refused requests reached the application", len(requests))
	}
}

// TestAppIsToldWhatTheAssertionSays, whatever stands beside it.
func TestAppIsToldWhatTheAssertionSays(t *testing.T) {
	app, requests := recorder(t)
	d := newDoor(t)
	w := newWorld(t, app, func(cfg *Config) { d.demands(t, cfg) })
	for name, lines := range map[string][]string{
		"percent-encoded": {"X-Forwarded-User: j%C3%BCrgen"},
		"in UTF-8":        {"X-Forwarded-User: jürgen", "X-Sallyport-Person: j%C3%BCrgen"},
		"by person alone": {"X-Sallyport-Person: j%C3%BCrgen"},
	} {
		lines = append(lines, "X-Forwarded-Email: root@example.com", "X-Forwarded-Groups: admins", "X-My-User: root", "X-Sallyport-Set: X-My-User")
		token := d.assert(t, w.dial, "notes", "jürgen")
		res := w.raw(t, wire(append([]string{"GET / HTTP/1.1", "Host: a", "X-Sallyport-Assertion: " + token}, lines...)...))
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %v", name, res.StatusCode, w.line(t))
			continue
		}
		got := next(t, requests).Header
		got.Del("User-Agent")
		want := http.Header{
			"X-Forwarded-User": {"j%C3%BCrgen"}, "X-Forwarded-Email": {"mail@example.com"}, "X-Forwarded-Groups": {"engineers"}, "X-Forwarded-Preferred-Username": {"J%C3%BCrgen"},
			"X-Sallyport-Assertion": {token},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
		w.line(t)
	}
}

func TestHealthIsAnsweredByTheSidecar(t *testing.T) {
	app, requests := recorder(t)
	var unhealthy error
	w := newWorld(t, app, func(cfg *Config) {
		cfg.HealthPath = "/healthz"
		cfg.Health = func() error { return unhealthy }
	})
	ask := func(status int, body string) map[string]any {
		t.Helper()
		res := w.raw(t, wire("GET /healthz HTTP/1.1", "Host: a", "X-Forwarded-User: alice"))
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(got) != body || res.Header.Get(header.Fault) != "" {
			t.Errorf("%d %q %v, %v", res.StatusCode, got, res.Header, err)
		}
		return w.line(t)
	}
	line := ask(http.StatusOK, "ok\n")
	if _, named := line["user.name"]; named || line["event.reason"] != "health" || line["sallyport.decision"] != "allow" || line["rule.name"] != "peer:"+gatewayName {
		t.Errorf("line: %v", line)
	}
	unhealthy = errors.New("no secrets of /run/secret/path yet")
	if line := ask(http.StatusServiceUnavailable, "not ready\n"); line["error.message"] != unhealthy.Error() {
		t.Errorf("line: %v", line)
	}
	if len(requests) > 0 {
		t.Error("the application was asked")
	}
	w.raw(t, wire("GET /healthz/more HTTP/1.1", "Host: a"))
	if got := next(t, requests); got.URL.Path != "/healthz/more" {
		t.Errorf("the application got %s", got.URL)
	}
}

func TestHealthIsForPeersAlone(t *testing.T) {
	app, _ := recorder(t)
	w := newWorld(t, app, func(cfg *Config) {
		cfg.HealthPath = "/healthz"
		cfg.PeerName = func(tls.ConnectionState) (string, error) { return "", errors.New("another name") }
	})
	res := w.raw(t, wire("GET /healthz HTTP/1.1", "Host: a"))
	if line := w.line(t); res.StatusCode != http.StatusForbidden || line["event.reason"] != "no_peer" || !res.Close {
		t.Errorf("status %d, close %t, line %v", res.StatusCode, res.Close, line)
	}
}

// TestStreamsOfPeersOffTheListAreCut: an event stream, an upgraded connection and an
// upload do not go on for a peer that would not be let in any more; others do.
func TestStreamsOfPeersOffTheListAreCut(t *testing.T) {
	gone := make(chan string, 10)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = conn.Read(make([]byte, 1))
			gone <- r.URL.Path
			return
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		gone <- r.URL.Path
	}))
	t.Cleanup(app.Close) // once the connections to it are closed
	w := newWorld(t, app.URL)
	off := errors.New("its name is no longer on the list")
	for path, request := range map[string]string{
		"/events": wire("GET /events HTTP/1.1", "Host: a", "Accept: text/event-stream"),
		"/socket": wire("GET /socket HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket"),
		"/upload": wire("POST /upload HTTP/1.1", "Host: a", "Content-Length: 1000") + "half",
	} {
		conn := w.connect(t)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(conn)
		if res, err := http.ReadResponse(answers, nil); err != nil || res.StatusCode >= 300 {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		w.line(t) // it has begun
		if cut := w.living.Judge(func(cs tls.ConnectionState) error { _, err := peerName(cs); return err }); cut != 0 {
			t.Errorf("%s: %d were cut of those who may come in", path, cut)
		}
		if cut := w.living.Judge(func(tls.ConnectionState) error { return off }); cut != 1 {
			t.Errorf("%s: %d were cut", path, cut)
		}
		if got := next(t, gone); got != path {
			t.Errorf("%s: the application lost %s", path, got)
		}
		if end := w.line(t); !strings.Contains(end["error.message"].(string), off.Error()) {
			t.Errorf("%s: line %v", path, end)
		}
		// The guard hangs up, too: a client that says nothing more keeps no connection open.
		if _, err := io.Copy(io.Discard, answers); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", path)
		}
	}
}

// TestConnectionsAreKnownWhileTheyLast: one that waits for the next request is closed when
// its peer is let in no longer, and none is kept in mind after its end.
func TestConnectionsAreKnownWhileTheyLast(t *testing.T) {
	app, _ := recorder(t)
	w := newWorld(t, app)
	off := func(tls.ConnectionState) error { return errors.New("its name is no longer on the list") }
	silent, idle := w.connect(t), w.connect(t)
	if _, err := io.WriteString(idle, wire("GET / HTTP/1.1", "Host: a")); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(idle)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	if cut := w.living.Judge(off); cut != 1 {
		t.Errorf("%d were cut, want the one that was let in", cut)
	}
	if _, err := answers.Peek(1); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("idle: %v", err)
	}
	_ = silent.Close()
	for deadline := time.Now().Add(patience); ; {
		w.living.mu.Lock()
		known := len(w.living.all) + len(w.living.http)
		w.living.mu.Unlock()
		if known == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries of connections that are closed", known)
		}
		runtime.Gosched()
	}
}
