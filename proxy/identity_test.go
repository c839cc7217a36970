package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/sidecar"
)

// wire is an application that keeps the very bytes that reach it, and answers.
type wire struct {
	tb       testing.TB
	listener net.Listener
	requests chan string
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	w := &wire{tb, listener, make(chan string, 100)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.answer(conn)
		}
	}()
	return w
}

// answer takes one request of a connection.
func (w *wire) answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var got bytes.Buffer
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &got)))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.requests <- got.String()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
}

// chain is a gateway, a sidecar behind it, and an application behind that, all of them
// on real connections; alice is signed in at every tool.
type chain struct {
	*world
	app     *wire
	cookies map[string]string // by host
	sent    int
	waits   time.Duration // for an answer
}

func newChain(tb testing.TB, change func(*proxy.Config)) *chain {
	tb.Helper()
	c := &chain{world: newWorld(tb, change), app: newWire(tb), cookies: map[string]string{}, waits: 10 * time.Second}
	guard, err := sidecar.New(sidecar.Config{
		App:    &url.URL{Scheme: "http", Host: c.app.listener.Addr().String()},
		Access: accesslog.New(new(lines), "sidecar"),
		PeerName: func(state tls.ConnectionState) (string, error) {
			if len(state.VerifiedChains) == 0 {
				return "", errors.New("no chain")
			}
			return "gateway.test", nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.backend.mux.Handle("/app/", guard)
	b := c.browser()
	for _, rt := range c.cfg.Routes[:3] {
		b.signIn(c.origin(rt.Host)+"/", "alice")
		at, err := url.Parse(c.origin(rt.Host))
		if err != nil {
			tb.Fatal(err)
		}
		var cookies []string
		for _, cookie := range b.client.Jar.Cookies(at) {
			cookies = append(cookies, cookie.Name+"="+cookie.Value)
		}
		c.cookies[rt.Host] = strings.Join(cookies, "; ")
	}
	return c
}

// send has alice send a request to a host with the given bytes after the first lines,
// and returns the status and what of it reached the application, "" for nothing. What was
// sent before may come late: a request that was refused in its midst.
func (c *chain) send(tb testing.TB, host, rest string) (status int, got string) {
	tb.Helper()
	conn, err := tls.Dial("tcp", c.addr, &tls.Config{RootCAs: c.ca.pool, ServerName: host, MinVersion: tls.VersionTLS13})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(c.waits))
	c.sent++
	target := fmt.Sprintf("/app/?n=%d", c.sent)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n%s", target, strings.TrimPrefix(c.origin(host), "https://"), c.cookies[host], rest); err != nil {
		return 0, "" // it was refused before it had come whole
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "" // it has been hung up on
	}
	_ = res.Body.Close()
	for {
		select {
		case request := <-c.app.requests:
			if strings.HasPrefix(request, "GET "+target+" ") {
				got = request
			}
		default:
			return res.StatusCode, got
		}
	}
}

// told are the lines of a request that say who somebody is or where it comes from, as an
// application may read them that takes "_" and "." for "-", sorted.
func (c *chain) told(request string) (lines []string) {
	head, trailer, _ := strings.Cut(request, "\r\n\r\n")
	for _, line := range append(strings.Split(head, "\r\n")[1:], strings.Split(trailer, "\r\n")...) {
		name, _, isField := strings.Cut(line, ":")
		folded := strings.Map(func(r rune) rune {
			if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9') {
				return r
			}
			return '-'
		}, strings.TrimSpace(name))
		folded = textproto.CanonicalMIMEHeaderKey(folded)
		if isField && folded != header.RequestID && (header.Managed(folded) || slices.Contains(customNames, folded)) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

var customNames = []string{"X-My-User", "Team"}

// customRoute has the second route set names of its own, and no other.
func customRoute(cfg *proxy.Config) {
	cfg.Routes[1].Identity = proxy.Identity{
		Profiles:  []header.Profile{{User: "X-My-User", Groups: "Team", Separator: header.Lines}},
		AllGroups: true,
	}
	remote, _ := header.ProfileOf(header.Remote)
	cfg.Routes[2].Identity = proxy.Identity{Profiles: []header.Profile{remote}, MoreGroups: []string{"admins"}}
}

// expected is what the application behind each host is told of alice.
func (c *chain) expected(host string) []string {
	lines := []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: " + strings.TrimPrefix(c.origin(host), "https://"), "X-Forwarded-Proto: https"}
	switch host {
	case headersHost:
		lines = append(lines, "X-Forwarded-User: alice@example.com", "X-Forwarded-Email: alice@example.com",
			"X-Forwarded-Preferred-Username: Alice Liddell", "X-Forwarded-Groups: engineers")
	case notesHost:
		lines = append(lines, "X-My-User: alice@example.com", "Team: engineers", "Team: admins")
	case openHost:
		lines = append(lines, "Remote-User: alice@example.com", "Remote-Email: alice@example.com", "Remote-Name: Alice Liddell", "Remote-Groups: admins")
	}
	slices.Sort(lines)
	return lines
}

// forgeries are header lines by which somebody would pass for somebody else; the rows of
// security reviews and advisories of other proxies.
var forgeries = map[string]string{
	"nothing":                            "",
	"the name itself":                    "X-Forwarded-User: root\r\n",
	"repeated":                           "X-Forwarded-User: root\r\nx-forwarded-user: root\r\nX-FORWARDED-USER: root\r\n",
	"underscore (CVE-2025-64484)":        "X_Forwarded_User: root\r\nX-Forwarded_User: root\r\n",
	"dot (CVE-2026-88011)":               "X.Forwarded.User: root\r\nX-Forwarded.User: root\r\n",
	"other signs":                        "X~Forwarded~User: root\r\nX!Forwarded!User: root\r\nX'Forwarded-User: root\r\n",
	"empty":                              "X-Forwarded-Groups:\r\nX-Forwarded-User: \r\n",
	"family":                             "X-Forwarded-Email: root\r\nX-Forwarded-Groups: wheel\r\nX-Forwarded-Preferred-Username: root\r\nX-Forwarded-Anything: root\r\n",
	"others that tools know":             "Remote-User: root\r\nRemote_User: root\r\nX-Remote-User: root\r\nX-WEBAUTH-USER: root\r\nX-Auth-Request-Email: root\r\nX-authentik-username: root\r\n",
	"custom names":                       "X-My-User: root\r\nx-my-user: root\r\nX_My_User: root\r\nTeam: wheel\r\nTEAM: wheel\r\n",
	"hop by hop":                         "Connection: close, X-Forwarded-User, X-Forwarded-Groups, X-My-User, Team, Remote-User\r\n",
	"hop by hop, then again":             "Connection: X-My-User\r\nConnection: X-Sallyport-Set\r\nX_Forwarded-User: root\r\n",
	"what the sidecar is told":           "X-Sallyport-Set: X-Auth-User,X-My-User,X-Forwarded-Groups=2\r\nX-Auth-User: root\r\nX-Sallyport-Person: root\r\nX_Sallyport_Set: X-My-User\r\n",
	"the assertion":                      "X-Sallyport-Assertion: e30.e30.e30\r\nX_Sallyport_Assertion: e30\r\n",
	"where it comes from":                "X-Forwarded-For: 203.0.113.1\r\nForwarded: for=203.0.113.1\r\nX-Real-IP: 203.0.113.1\r\nTrue-Client-IP: 203.0.113.1\r\nX-Forwarded-Prefix: /evil\r\n",
	"what is asked for (CVE-2026-40575)": "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\nX-Forwarded-Uri: /admin\r\n",
	"a certificate":                      "X-SSL-Client-S-DN: CN=root\r\nX-Client-Cert: x\r\nSSL_CLIENT_VERIFY: SUCCESS\r\nClient-Cert: :eA==:\r\n",
	"a trailer":                          "Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-User, X-My-User\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-User: root\r\nX-My-User: root\r\nX_Forwarded_User: root\r\n",
	"a trailer that nobody announced":    "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-User: root\r\nTeam: wheel\r\n",
	"a folded line":                      "X-Odd: a\r\n X-Forwarded-User: root\r\n",
	"an upgrade":                         "Connection: Upgrade, X-Forwarded-User\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Forwarded-User: root\r\n",
	"a blank before the colon":           "X-Forwarded-User : root\r\n",
	"a bare line feed":                   "X-Odd: a\nX-Forwarded-User: root\r\n",
}

// TestNoRequestForgesIdentity sends what forges, through gateway and sidecar, and looks
// at the bytes that reach the application: they say what we know of alice, once, or the
// request was refused.
func TestNoRequestForgesIdentity(t *testing.T) {
	c := newChain(t, customRoute)
	for name, forgery := range forgeries {
		for _, host := range []string{headersHost, notesHost, openHost} {
			status, got := c.send(t, host, forgery+"\r\n")
			if status != http.StatusOK && name != "a blank before the colon" {
				t.Errorf("%s at %s: status %d", name, host, status)
			}
			if got == "" {
				if status == http.StatusOK {
					t.Errorf("%s at %s: nothing reached the application", name, host)
				}
				continue
			}
			if diff := cmp.Diff(c.expected(host), c.told(got)); diff != "" {
				t.Errorf("%s at %s (-want +got):\n%s", name, host, diff)
			}
		}
	}
}

// FuzzNoRequestForgesIdentity holds the same for any header lines.
func FuzzNoRequestForgesIdentity(f *testing.F) {
	c := newChain(f, customRoute)
	c.waits = 500 * time.Millisecond // many a body never ends
	for _, forgery := range forgeries {
		f.Add(forgery)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		lower := strings.ToLower(lines)
		if len(lines) > 4096 || strings.Contains(lower, "content-length") || strings.Contains(lower, "expect") {
			return // it would wait for what does not come
		}
		for _, host := range []string{headersHost, notesHost} {
			if _, got := c.send(t, host, lines+"\r\n\r\n"); got != "" {
				if diff := cmp.Diff(c.expected(host), c.told(got)); diff != "" {
					t.Errorf("at %s (-want +got):\n%s", host, diff)
				}
			}
		}
	})
}

func TestWhoCannotBeToldIsRefused(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].Identity.Values = header.Refuse })
	alice := w.saml.people["alice"]
	alice.Name = "Älice"
	w.saml.people["alice"] = alice
	b := w.browser()
	res := b.signIn(w.origin(headersHost)+"/", "alice")
	line := w.last(b)
	if res.StatusCode != http.StatusForbidden || line["event.reason"] != "identity_value" || line["sallyport.decision"] != "deny" {
		t.Errorf("status %d, line %v", res.StatusCode, line)
	}
	if _, hits := w.backend.seen(); hits != 0 {
		t.Errorf("%d requests reached the backend", hits)
	}
	if res := b.signIn(w.origin(openHost)+"/", "nobody asks"); res.StatusCode != http.StatusOK {
		t.Errorf("a route that encodes: %d", res.StatusCode)
	}
}

func TestCredentialTakesThePlaceOfTheClients(t *testing.T) {
	basic, err := proxy.BasicCredential("jenkins", "s3cret-canary")
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := proxy.BearerCredential("t0ken-canary")
	if err != nil {
		t.Fatal(err)
	}
	c := newChain(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Identity.Credential, cfg.Routes[1].Identity.Credential = basic, bearer
	})
	for host, want := range map[string]string{
		headersHost: "Authorization: Basic amVua2luczpzM2NyZXQtY2FuYXJ5", notesHost: "Authorization: Bearer t0ken-canary", openHost: "",
	} {
		_, got := c.send(t, host, "Authorization: Basic cm9vdDpyb290\r\nauthorization: Bearer x\r\nConnection: Authorization\r\nAUTHORIZATION: y\r\nAuthorization_: z\r\n\r\n")
		var lines []string
		for line := range strings.SplitSeq(got, "\r\n") {
			if strings.Contains(strings.ToLower(line), "authorization") {
				lines = append(lines, line)
			}
		}
		if strings.Join(lines, "\n") != want {
			t.Errorf("at %s the application reads %q, want %q", host, lines, want)
		}
	}
	if text := c.log.text(); strings.Contains(text, "canary") || strings.Contains(text, "amVua2lu") {
		t.Errorf("the access log shows a credential: %s", text)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q", basic, basic, basic, *basic, bearer), fmt.Sprintf("%+v", c.cfg.Routes[0])} {
		if strings.Contains(shown, "canary") || strings.Contains(shown, "amVua2lu") {
			t.Errorf("a format shows a credential: %s", shown)
		}
	}
}

// TestRefusedCredentialAsksNobodyForAnother: the person's browser must not ask for a
// password that is the operator's to set, and the log says what is wrong.
func TestRefusedCredentialAsksNobodyForAnother(t *testing.T) {
	credential, err := proxy.BasicCredential("service", "canary")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].Identity.Credential = credential })
	w.backend.mux.HandleFunc("/closed", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Www-Authenticate", `Basic realm="tool"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "nobody asks")
	res := b.navigate(w.origin(headersHost) + "/closed")
	line := w.last(b)
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Www-Authenticate") != "" || line["error.message"] != "tool refuses the credential that it is shown" {
		t.Errorf("status %d, challenge %q, line %v", res.StatusCode, res.Header.Get("Www-Authenticate"), line)
	}
	if res := b.navigate(w.origin(notesHost) + "/closed"); res.Header.Get("Www-Authenticate") == "" {
		t.Error("a tool that asks by itself cannot ask")
	}
}

func TestMissingCredentialClosesItsRouteAlone(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Identity.Credential = proxy.MissingCredential(errors.New("private detail of vault"))
	})
	b := w.browser()
	res := b.signIn(w.origin(headersHost)+"/", "alice")
	line := w.last(b)
	if res.StatusCode != http.StatusServiceUnavailable || line["event.reason"] != "credential_missing" || line["error.message"] != "private detail of vault" {
		t.Errorf("status %d, line %v", res.StatusCode, line)
	}
	if strings.Contains(res.body, "private detail") {
		t.Errorf("the page shows the cause: %s", res.body)
	}
	if res := b.signIn(w.origin(notesHost)+"/", "nobody asks"); res.StatusCode != http.StatusOK {
		t.Errorf("another route: %d", res.StatusCode)
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	long := strings.Repeat("a", 4097)
	for name, try := range map[string]func() (*proxy.Credential, error){
		"no user":                 func() (*proxy.Credential, error) { return proxy.BasicCredential("", "canary") },
		"no password":             func() (*proxy.Credential, error) { return proxy.BasicCredential("canary", "") },
		"a colon in the user":     func() (*proxy.Credential, error) { return proxy.BasicCredential("can:ary", "canary") },
		"a line break at the end": func() (*proxy.Credential, error) { return proxy.BasicCredential("canary", "canary\n") },
		"a long password":         func() (*proxy.Credential, error) { return proxy.BasicCredential("canary", long) },
		"no token":                func() (*proxy.Credential, error) { return proxy.BearerCredential("") },
		"a token with a break":    func() (*proxy.Credential, error) { return proxy.BearerCredential("canary\r\nX: y") },
		"a token with a blank":    func() (*proxy.Credential, error) { return proxy.BearerCredential("canary canary") },
		"a long token":            func() (*proxy.Credential, error) { return proxy.BearerCredential(long) },
	} {
		if c, err := try(); err == nil || c != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestRoutesWhoseIdentityIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	credential, err := proxy.BearerCredential("x")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*proxy.Route){
		"Authorization of both":  func(r *proxy.Route) { r.PassAuthorization, r.Identity.Credential = true, credential },
		"a name with an owner":   func(r *proxy.Route) { r.Identity.Profiles = []header.Profile{{User: "Cookie"}} },
		"the gateway's own name": func(r *proxy.Route) { r.Identity.Profiles = []header.Profile{{User: "X-Sallyport-User"}} },
	} {
		cfg := w.cfg
		cfg.Routes = slices.Clone(cfg.Routes)
		change(&cfg.Routes[0])
		if _, err := proxy.New(cfg); err == nil || !strings.Contains(err.Error(), `"headers"`) {
			t.Errorf("%s: New = %v, want an error that names the route", name, err)
		}
	}
}
