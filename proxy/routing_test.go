package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

const (
	appsHost  = "*.apps.example.test"
	aliceHost = "alice.apps.example.test"
	bobHost   = "bob.apps.example.test"
	ownHost   = "own.apps.example.test"
)

var (
	engineers = policy.NewRule(nil, []string{"engineers"}, false)
	everybody = policy.NewRule(nil, nil, true)
)

// routingWorld has a wildcard, an exact host under it, and a host of several paths.
func routingWorld(t *testing.T, change func(*proxy.Config)) *world {
	t.Helper()
	return newWorld(t, func(cfg *proxy.Config) {
		route := func(name, host, path string, rule policy.Rule) proxy.Route {
			r := cfg.Routes[0]
			r.Name, r.Title, r.Host, r.Path, r.Rule, r.TLS = name, name, host, path, rule, r.TLS.Clone()
			return r
		}
		cfg.Routes = append(cfg.Routes,
			route("apps", appsHost, "", engineers),
			route("own", ownHost, "", everybody),
			route("many", "many.example.test", "/", everybody),
			route("many-grafana", "many.example.test", "/grafana", engineers),
			route("many-deep", "many.example.test", "/grafana/deep", policy.Rule{}),
		)
		if change != nil {
			change(cfg)
		}
	})
}

func TestHostsAreFoundUnderTheNamesThatSomebodyWrote(t *testing.T) {
	w := routingWorld(t, func(cfg *proxy.Config) {
		evil := cfg.Routes[len(cfg.Routes)-1]
		evil.Name, evil.Host, evil.Path = "evil", "*.example.test", "/"
		cfg.Routes = append(cfg.Routes, evil)
	})
	for host, want := range map[string]string{
		headersHost:                                    "headers",
		aliceHost:                                      "apps",
		"a-1.apps.example.test":                        "apps",
		"xn--bcher-kva.apps.example.test":              "apps",
		ownHost:                                        "own",
		"apps.example.test":                            "evil", // one label before another wildcard's domain
		"a.b.apps.example.test":                        "",
		".apps.example.test":                           "",
		"*.apps.example.test":                          "",
		"-a.apps.example.test":                         "",
		"a_b.apps.example.test":                        "",
		"a..apps.example.test":                         "",
		"\u212aelvin.apps.example.test":                "",
		strings.Repeat("a", 64) + ".apps.example.test": "",
		"example.test":                                 "",
		"other.example.org":                            "",
		"":                                             "",
	} {
		if got, _ := proxy.RouteOf(w.gateway, host, "GET", "/"); got != want {
			t.Errorf("%q is route %q, expected %q", host, got, want)
		}
	}
	// The door is never a wildcard's: it shows the portal.
	if res := w.browser().signIn(w.origin(doorHost)+"/", "bob"); !strings.Contains(res.body, "Sign out") {
		t.Errorf("the door: %d %s", res.StatusCode, res.body)
	}
}

func TestUnknownHostsAndPathsReachNobody(t *testing.T) {
	w := routingWorld(t, func(cfg *proxy.Config) { cfg.Routes = append(cfg.Routes[:6], cfg.Routes[7:]...) }) // many.example.test without "/"
	for _, test := range []struct {
		host, path, reason string
		status             int
	}{
		{"unknown.example.test", "/", "unknown_host", http.StatusMisdirectedRequest},
		{"x.unknown.example.test", "/", "unknown_host", http.StatusMisdirectedRequest},
		{"many.example.test", "/", "no_route", http.StatusNotFound},
		{"many.example.test", "/grafanax", "no_route", http.StatusNotFound},
		{"many.example.test", "/GRAFANA", "no_route", http.StatusNotFound},
	} {
		res := w.browser().navigate(w.origin(test.host) + test.path)
		if res.StatusCode != test.status || !strings.Contains(res.body, test.reason) || !strings.Contains(res.body, "<h1") {
			t.Errorf("%s%s: %d, expected %d with the page %s", test.host, test.path, res.StatusCode, test.status, test.reason)
		}
	}
	if _, hits := w.backend.seen(); hits != 0 {
		t.Errorf("%d requests reached a backend", hits)
	}
}

// A host of a wildcard is a host like every other: session, cookie, ticket and what the
// tool is told are its own.
func TestEveryHostOfAWildcardHasItsOwnSession(t *testing.T) {
	w := routingWorld(t, nil)
	b := w.browser()
	if res := b.signIn(w.origin(aliceHost)+"/x", "alice"); res.StatusCode != http.StatusOK || res.body != "backend: alice@example.com" {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	ours := strings.TrimPrefix(w.origin(aliceHost), "https://")
	if got, _ := w.backend.seen(); got.Host != ours || got.Header.Get("X-Forwarded-Host") != ours {
		t.Errorf("the tool sees Host %q, X-Forwarded-Host %q, expected %q", got.Host, got.Header.Get("X-Forwarded-Host"), ours)
	}
	cookies := b.client.Jar.Cookies(mustParse(t, w.origin(aliceHost)+"/"))
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	// One host's cookie opens no other: another of the wildcard, or any.
	for _, host := range []string{bobHost, ownHost, openHost} {
		thief := w.browser()
		req := thief.request(http.MethodGet, w.origin(host)+"/", nil)
		req.Header.Set("Sec-Fetch-Mode", "cors")
		req.AddCookie(cookies[0])
		if res := thief.do(req); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "session_invalid") {
			t.Errorf("the cookie of %s at %s: %d %s", aliceHost, host, res.StatusCode, res.body)
		}
	}
	// One sign-on at the door serves the next host, by a ticket of its own.
	toDoor := b.navigate(w.origin(bobHost) + "/y").Header.Get("Location")
	ticket := b.navigate(toDoor).Header.Get("Location")
	if !strings.HasPrefix(ticket, w.origin(bobHost)+"/.sallyport/ticket?") {
		t.Fatalf("the door sends to %s", ticket)
	}
	if res := b.navigate(strings.Replace(ticket, bobHost, aliceHost, 1)); !strings.Contains(res.body, "ticket_invalid") {
		t.Errorf("a ticket at another host of the wildcard: %d", res.StatusCode)
	}
	if res := b.navigate(ticket); res.Header.Get("Location") != w.origin(bobHost)+"/y" {
		t.Errorf("the ticket: %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if res := b.do(background(b, w.origin(bobHost)+"/.sallyport/whoami")); !strings.Contains(res.body, w.origin(bobHost)+"/.sallyport/sign_out") {
		t.Errorf("whoami: %s", res.body)
	}
	// The sign-out of one ends all.
	b.post(w.origin(aliceHost)+"/.sallyport/sign_out", "same-origin", nil)
	if res := b.do(background(b, w.origin(bobHost)+"/")); !strings.Contains(res.body, "session_revoked") {
		t.Errorf("after a sign-out at another host: %d %s", res.StatusCode, res.body)
	}
}

func TestAWildcardIsNotOnThePortal(t *testing.T) {
	w := routingWorld(t, nil)
	home := w.browser().signIn(w.origin(doorHost)+"/", "alice")
	for link, want := range map[string]bool{
		"apps.example.test": false, w.origin("many.example.test") + "/\"": true, w.origin("many.example.test") + "/grafana/\"": true, "/grafana/deep": false,
	} {
		if strings.Contains(strings.ReplaceAll(home.body, "own.apps", ""), link) != want {
			t.Errorf("portal has %q: %v, expected %v", link, !want, want)
		}
	}
}

func TestWebSocketsOfAWildcardAreOfOneOrigin(t *testing.T) {
	w := routingWorld(t, nil)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(aliceHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if conn, _, err := b.dial(ctx, w.origin(aliceHost)+"/ws", w.origin(bobHost)); err == nil {
		conn.CloseNow()
		t.Error("a page of another host of the wildcard opened a WebSocket")
	}
	conn, _, err := b.dial(ctx, w.origin(aliceHost)+"/ws", w.origin(aliceHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); err != nil {
		t.Fatal(err)
	}
	// A wildcard that goes takes what is open with it.
	w.replace(func(cfg *proxy.Config) { cfg.Routes = cfg.Routes[:4] })
	proxy.Withdraw(w.live.Gateway())
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket outlives its route: %v", err)
	}
}

// over has one connection to the host that it is named for carry a request for another.
func (w *world) over(t *testing.T, named, host string, h2 bool) *http.Response {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{RootCAs: w.ca.pool, ServerName: named, InsecureSkipVerify: named == ""},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	address := "https://127.0.0.1/" // of which no name follows
	if named != "" {
		address = "https://" + named + "/"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Header.Set("X-Body", strings.ReplaceAll(string(body), "\n", " "))
	if want := 1 + map[bool]int{true: 1}[h2]; res.ProtoMajor != want {
		t.Fatalf("HTTP/%d, expected %d", res.ProtoMajor, want)
	}
	return res
}

func TestSNIAndHostAreOneName(t *testing.T) {
	w := routingWorld(t, nil)
	for _, h2 := range []bool{false, true} {
		for _, test := range []struct {
			named, host string
			status      int
		}{
			{headersHost, headersHost, http.StatusUnauthorized},
			{headersHost, "HEADERS.example.test.:443", http.StatusUnauthorized},
			{strings.ToUpper(headersHost), headersHost, http.StatusUnauthorized},
			{headersHost, notesHost, http.StatusMisdirectedRequest},
			{notesHost, doorHost, http.StatusMisdirectedRequest},
			{doorHost, headersHost, http.StatusMisdirectedRequest},
			{aliceHost, bobHost, http.StatusMisdirectedRequest},
			{"unknown.example.test", headersHost, http.StatusMisdirectedRequest},
			{"", headersHost, http.StatusUnauthorized},
			{"", "unknown.example.test", http.StatusMisdirectedRequest},
		} {
			if res := w.over(t, test.named, test.host, h2); res.StatusCode != test.status {
				t.Errorf("HTTP/2 %v, SNI %q, Host %q: %d, expected %d", h2, test.named, test.host, res.StatusCode, test.status)
			}
		}
	}
	third := w.browser().over("3")
	for host, want := range map[string]int{headersHost: http.StatusUnauthorized, notesHost: http.StatusMisdirectedRequest} {
		req := background(third, w.origin(headersHost)+"/")
		req.Host = host
		if res := third.do(req); res.StatusCode != want || res.ProtoMajor != 3 {
			t.Errorf("%s, SNI %q, Host %q: %d, expected %d", res.Proto, headersHost, host, res.StatusCode, want)
		}
	}
	res := w.over(t, headersHost, notesHost, true)
	if !strings.Contains(res.Header.Get("X-Body"), "sni_mismatch") {
		t.Errorf("body %s", res.Header.Get("X-Body"))
	}
	if _, hits := w.backend.seen(); hits != 0 {
		t.Errorf("%d requests reached a backend", hits)
	}
}

func TestTheLongestPathWins(t *testing.T) {
	w := routingWorld(t, nil)
	for path, want := range map[string]string{
		"/": "many", "/grafanax": "many", "/grafan": "many", "/x/grafana": "many",
		"/grafana": "many-grafana", "/grafana/": "many-grafana", "/grafana/d/1": "many-grafana", "/grafana/deeper": "many-grafana",
		"/grafana/deep": "many-deep", "/grafana/deep/x": "many-deep",
	} {
		if got, _ := proxy.RouteOf(w.gateway, "many.example.test", "GET", path); got != want {
			t.Errorf("%s is route %q, expected %q", path, got, want)
		}
	}
}

// A session is the host's, and who may is the route's.
func TestRoutesOfAHostShareItsSession(t *testing.T) {
	w := routingWorld(t, nil)
	b := w.browser()
	if res := b.signIn(w.origin("many.example.test")+"/", "bob"); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	for path, want := range map[string]int{"/other": 200, "/grafana": 403, "/grafana/x": 403, "/grafana/deep": 403, "/%67rafana": 400, "/x/../grafana": 400, "/grafana;x": 400} {
		if res := b.do(background(b, w.origin("many.example.test")+path)); res.StatusCode != want {
			t.Errorf("bob at %s: %d, expected %d", path, res.StatusCode, want)
		}
	}
	lines := w.records(11)
	if last := lines[len(lines)-1]; last["event.action"] == nil {
		t.Errorf("line %v", last)
	}
	alice := w.browser()
	if res := alice.signIn(w.origin("many.example.test")+"/grafana/x?y=1", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("alice at /grafana: %d", res.StatusCode)
	}
	if got, _ := w.backend.seen(); got.RequestURI != "/grafana/x?y=1" || got.Header.Get("X-Forwarded-Prefix") != "" {
		t.Errorf("the tool was asked for %s, prefix %q", got.RequestURI, got.Header.Get("X-Forwarded-Prefix"))
	}
}

func TestTwoRoutesOfOnePlaceAreRefused(t *testing.T) {
	for _, host := range []string{headersHost, appsHost} {
		for _, path := range []string{"", "/", "/x"} {
			cfg := proxy.Config{DoorHost: doorHost, PublicPort: 443}
			for range 2 {
				cfg.Routes = append(cfg.Routes, proxy.Route{
					Name: fmt.Sprint(len(cfg.Routes)), Host: host, Path: path, Respond: &proxy.Respond{Status: 503, Title: "x", Message: "y"},
				})
			}
			if _, err := proxy.New(cfg); err == nil || !strings.Contains(err.Error(), `which are taken by "0"`) {
				t.Errorf("%s%s twice: %v", host, path, err)
			}
		}
	}
}

func TestStripPathTellsTheToolWhatIsGone(t *testing.T) {
	w := routingWorld(t, func(cfg *proxy.Config) { cfg.Routes[7].StripPath = true })
	b := w.browser()
	b.signIn(w.origin("many.example.test")+"/grafana", "alice")
	for sent, want := range map[string]string{
		"/grafana": "/", "/grafana/": "/", "/grafana?a=%2F": "/?a=%2F", "/grafana/x%20y/z?q": "/x%20y/z?q", "/grafana/grafana": "/grafana",
		"/grafana/caf%C3%A9%7C|": "/caf%C3%A9%7C%7C",
	} {
		req := b.request(http.MethodGet, w.origin("many.example.test")+"/", nil)
		req.URL.Opaque = sent // as it stands here
		req.Header.Set("X-Forwarded-Prefix", "/evil")
		if res := b.do(req); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", sent, res.StatusCode, res.body)
			continue
		}
		if got, _ := w.backend.seen(); got.RequestURI != want || got.Header.Get("X-Forwarded-Prefix") != "/grafana" {
			t.Errorf("%s reached the tool as %s, prefix %q; expected %s", sent, got.RequestURI, got.Header.Get("X-Forwarded-Prefix"), want)
		}
	}
	_, before := w.backend.seen()
	if res := b.do(background(b, w.origin("many.example.test")+"/grafana/.sallyport/x")); res.StatusCode != http.StatusNotFound {
		t.Errorf("a path of ours below the prefix: %d", res.StatusCode)
	}
	if _, after := w.backend.seen(); after != before {
		t.Error("it reached the tool")
	}
}

func TestTheHostThatTheToolSees(t *testing.T) {
	w := routingWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].BackendHost = "grafana.internal:3000" })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	got, _ := w.backend.seen()
	if public := strings.TrimPrefix(w.origin(headersHost), "https://"); got.Host != "grafana.internal:3000" || got.Header.Get("X-Forwarded-Host") != public {
		t.Errorf("Host %q, X-Forwarded-Host %q", got.Host, got.Header.Get("X-Forwarded-Host"))
	}
}

func TestLinesOfRoutingSayWhat(t *testing.T) {
	w := routingWorld(t, nil)
	b := w.browser()
	b.do(background(b, w.origin("many.example.test")+"/a%2fb"))
	if line := w.lastRecord(1); line["event.reason"] != "path_ambiguous" || line["http.response.status_code"] != float64(400) {
		t.Errorf("line %v", line)
	}
	if diff := cmp.Diff(nil, w.lastRecord(1)["labels.route"]); diff != "" {
		t.Errorf("nothing was decided, and the line names a route:\n%s", diff)
	}
}
