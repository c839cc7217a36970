package ingress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/session"
)

// front is an ingress that runs.
type front struct {
	*stage
	kind    string
	address string
}

// run starts an ingress and waits until it takes connections. It is stopped with the
// test.
func (s *stage) run(kind, address string, name string, args ...string) *front {
	s.t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		s.t.Fatalf("%s is needed: %v", name, err)
	}
	cmd := exec.Command(program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"HOME=" + s.dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		if s.t.Failed() {
			s.t.Logf("%s says:\n%s", kind, out.String())
		}
	})
	f := &front{stage: s, kind: kind, address: address}
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := f.dial(toolHost)
		if err == nil {
			_ = conn.Close()
			return f
		}
		select {
		case <-done:
			s.t.Fatalf("%s has ended:\n%s", kind, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s takes no connection: %v", kind, err)
		}
	}
}

func (f *front) dial(name string) (*tls.Conn, error) {
	pool := x509.NewCertPool()
	pool.AddCert(f.ca)
	return tls.Dial("tcp", f.address, &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12})
}

// send sends lines as they are, and returns the answer.
func (f *front) send(lines ...string) (*http.Response, string) {
	f.t.Helper()
	conn, err := f.dial(toolHost)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, strings.Join(append(lines, "Connection: close", "", ""), "\r\n")); err != nil {
		f.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.t.Fatalf("%q: %v", lines[0], err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res, string(body)
}

const navigation = "Accept: text/html\r\nSec-Fetch-Mode: navigate"

// testFront is what every ingress has to do with the files of deploy/ingress.
func testFront(t *testing.T, f *front) {
	alice := f.cookie(toolHost, "alice@example.com", "engineers")
	t.Run("who may is let in, as who they are", func(t *testing.T) { f.testLetIn(t, alice) })
	t.Run("a session is renewed", f.testRenewal)
	t.Run("who has not signed in is sent to the door", f.testSignOn)
	t.Run("who may not is refused", f.testRefused)
	t.Run("nobody says for the ingress what is asked", func(t *testing.T) { f.testSpoofed(t, alice) })
	t.Run("nobody says for the gateway who they are", func(t *testing.T) { f.testImpersonation(t, alice) })
	t.Run("another tool's session opens nothing", f.testOtherHost)
	t.Run("an address that is read in two ways is refused", func(t *testing.T) { f.testOddTargets(t, alice) })
	t.Run("our own pages are the gateway's", func(t *testing.T) { f.testReserved(t, alice) })
}

func (f *front) testLetIn(t *testing.T, alice string) {
	f.toolPlain.seen()
	res, body := f.send("POST /deep/link?a=b HTTP/1.1", "Host: "+toolHost, "Cookie: theme=dark; "+alice, "Content-Length: 0")
	got := f.toolPlain.seen()
	if res.StatusCode != http.StatusOK || body != "tool" || len(got) != 1 {
		t.Fatalf("status %d, %d requests at the tool", res.StatusCode, len(got))
	}
	h := got[0].Header
	if got[0].RequestURI != "/deep/link?a=b" || got[0].Method != http.MethodPost {
		t.Errorf("the tool got %s %s", got[0].Method, got[0].RequestURI)
	}
	for name, want := range map[string]string{"X-Forwarded-User": "alice@example.com", "X-Forwarded-Groups": "engineers", "Cookie": "theme=dark"} {
		if values := h.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("the tool got %s %q, want %q", name, values, want)
		}
	}
	if len(h.Values("X-Request-Id")) != 1 {
		t.Errorf("the tool got X-Request-Id %q", h.Values("X-Request-Id"))
	}
	_, _ = f.send("GET / HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice)
	for _, r := range f.toolPlain.seen() {
		if strings.Contains(fmt.Sprint(r.Header["Cookie"]), "sallyport") {
			t.Errorf("the tool got our cookie: %q", r.Header["Cookie"])
		}
	}
}

// A session that is used goes on: the browser gets it anew, and only when it is due.
func (f *front) testRenewal(t *testing.T) {
	for name, old := range map[string]time.Duration{"fresh": 0, "used a while ago": 30 * time.Minute} {
		cookie := f.cookieOf(toolHost, time.Now().Add(-old), "alice@example.com", "engineers")
		res, _ := f.send("GET / HTTP/1.1", "Host: "+toolHost, "Cookie: "+cookie)
		want := 0
		if old > 0 {
			want = 1
		}
		if cookies := res.Cookies(); res.StatusCode != http.StatusOK || len(cookies) != want || want > 0 && cookies[0].Name != session.CookieName {
			t.Errorf("%s: status %d, Set-Cookie %q", name, res.StatusCode, res.Header["Set-Cookie"])
		}
	}
	f.toolPlain.seen()
}

func (f *front) testSignOn(t *testing.T) {
	res, _ := f.send("GET /deep?x=1 HTTP/1.1", "Host: "+toolHost, navigation)
	if location := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(location, "https://"+doorHost+"/.sallyport/sign_in?begin=") {
		t.Errorf("a page: %d to %q", res.StatusCode, location)
	}
	if cookies := res.Cookies(); len(cookies) != 1 || !strings.HasPrefix(cookies[0].Name, session.CookiePrefix) {
		t.Errorf("a page: cookies %v", cookies)
	}
	res, _ = f.send("GET /api HTTP/1.1", "Host: "+toolHost, "Accept: application/json")
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Location") != "" {
		t.Errorf("in the background: %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	if got := f.toolPlain.seen(); len(got) > 0 {
		t.Errorf("the tool got %d requests of nobody", len(got))
	}
}

func (f *front) testRefused(t *testing.T) {
	bob := f.cookie(toolHost, "bob@example.com", "support")
	alice := f.cookie(toolHost, "alice@example.com", "engineers")
	for name, lines := range map[string][]string{
		"a person who may not":                   {"GET / HTTP/1.1", "Host: " + toolHost, "Cookie: " + bob},
		"a change from a page of another site":   {"POST / HTTP/1.1", "Host: " + toolHost, "Cookie: " + alice, "Sec-Fetch-Site: cross-site", "Content-Length: 0"},
		"a WebSocket from a page of another one": {"GET /ws HTTP/1.1", "Host: " + toolHost, "Cookie: " + alice, "Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "Origin: https://evil.example"},
	} {
		if res, _ := f.send(lines...); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
	if got := f.toolPlain.seen(); len(got) > 0 {
		t.Errorf("the tool got %d of them", len(got))
	}
}

// What a client says about the question must not become the question.
func (f *front) testSpoofed(t *testing.T, alice string) {
	bobElsewhere := f.cookie(otherHost, "bob@example.com", "support")
	for name, more := range map[string][]string{
		"X-Original-URL":    {"X-Original-URL: https://" + otherHost + "/", "X-Original-Method: GET"},
		"X-Forwarded-*":     {"X-Forwarded-Host: " + otherHost, "X-Forwarded-Uri: /", "X-Forwarded-Method: GET", "X-Forwarded-Proto: https"},
		"a name that folds": {"X_Original_URL: https://" + otherHost + "/", "X_Forwarded_Host: " + otherHost},
		"Connection":        {"Connection: X-Original-URL, X-Forwarded-Host, X-Forwarded-Uri, Cookie"},
	} {
		res, _ := f.send(append([]string{"GET /admin HTTP/1.1", "Host: " + toolHost, "Cookie: " + bobElsewhere}, more...)...)
		if res.StatusCode == http.StatusOK || len(f.toolPlain.seen()) > 0 {
			t.Errorf("%s: another tool's session got in with status %d", name, res.StatusCode)
		}
	}
	// And with a session that is good, they change nothing of what is judged.
	res, _ := f.send("GET /a/../b HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice, "X-Original-URL: https://"+toolHost+"/fine", "X-Forwarded-Uri: /fine")
	if res.StatusCode == http.StatusOK {
		t.Error("the client's word about the address was believed")
	}
}

func (f *front) testImpersonation(t *testing.T, alice string) {
	f.toolPlain.seen()
	passed := 0
	for _, name := range []string{
		"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
		"X-Sallyport-Assertion", "Remote-User", "Remote_User", "Authorization",
		"X-Original-URL", "X-Original-Method", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
	} {
		_, _ = f.send("GET / HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice, name+": root")
		for _, r := range f.toolPlain.seen() {
			passed++
			for got, values := range r.Header {
				if strings.Contains(fmt.Sprint(values), "root") {
					t.Errorf("%s: the tool got %s: %q", name, got, values)
				}
			}
			if got := r.Header.Values("X-Forwarded-User"); len(got) != 1 || got[0] != "alice@example.com" {
				t.Errorf("%s: the tool got X-Forwarded-User %q", name, got)
			}
		}
	}
	if passed < 15 { // all but those that are refused for another spelling
		t.Errorf("%d requests have come to the tool", passed)
	}
}

// A request for another tool's host on this one's connection is not judged as the one
// and passed on as the other.
func (f *front) testOtherHost(t *testing.T) {
	bob := f.cookie(otherHost, "bob@example.com", "support") // who may open the other tool
	for _, host := range []string{otherHost, otherHost + ":443", strings.ToUpper(otherHost), toolHost} {
		res, _ := f.send("GET / HTTP/1.1", "Host: "+host, "Cookie: "+bob)
		if got := f.toolPlain.seen(); len(got) > 0 {
			t.Errorf("Host %s: the tool got the request (status %d)", host, res.StatusCode)
		}
	}
	res, _ := f.send("GET https://"+otherHost+"/ HTTP/1.1", "Host: "+toolHost, "Cookie: "+bob)
	if got := f.toolPlain.seen(); len(got) > 0 {
		t.Errorf("absolute form: the tool got the request (status %d)", res.StatusCode)
	}
}

func (f *front) testOddTargets(t *testing.T, alice string) {
	f.toolPlain.seen()
	for _, target := range []string{"/a/../b", "/a/%2e%2e/b", "/a/..%2fb", "/a/..;/b", "/%zz", "/a\\..\\b", "/.sallyport/../b", "/%2e%2e/b"} {
		res, _ := f.send("GET "+target+" HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice)
		if got := f.toolPlain.seen(); len(got) > 0 {
			t.Errorf("%s: the tool got %s (status %d)", target, got[0].RequestURI, res.StatusCode)
		}
	}
}

func (f *front) testReserved(t *testing.T, alice string) {
	f.toolPlain.seen()
	res, body := f.send("GET /.sallyport/whoami HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice)
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "alice@example.com") {
		t.Errorf("whoami: %d %q", res.StatusCode, body)
	}
	for _, target := range []string{"/.sallyport/whoami", "/%2esallyport/whoami", "//.sallyport/whoami", "/.sallyport"} {
		_, _ = f.send("GET "+target+" HTTP/1.1", "Host: "+toolHost, "Cookie: "+alice)
		if got := f.toolPlain.seen(); len(got) > 0 && !strings.HasPrefix(target, "//") {
			t.Errorf("%s: the tool got %s", target, got[0].RequestURI)
		}
	}
}
