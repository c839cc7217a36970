package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

var errStranger = errors.New("a stranger asks")

// newIngressWorld is a world whose gateway an ingress may ask, and that ingress.
func newIngressWorld(tb testing.TB, change func(*proxy.Config)) (*world, *asker) {
	tb.Helper()
	w := newWorld(tb, func(cfg *proxy.Config) {
		cfg.Routes[0].ForwardAuth, cfg.Routes[1].ForwardAuth = true, true
		cfg.Routes[3].ForwardAuth = true
		cfg.Asks = func(r *http.Request) (string, error) {
			if r.Header.Get("X-Test-Stranger") != "" {
				return "", errStranger
			}
			return "ingress.test", nil
		}
		if change != nil {
			change(cfg)
		}
	})
	server := httptest.NewServer(w.live.ForwardAuth())
	tb.Cleanup(server.Close)
	return w, &asker{w: w, address: server.Listener.Addr().String(), client: server.Client()}
}

// asker puts the questions of an ingress.
type asker struct {
	w       *world
	address string
	client  *http.Client
}

// ask sends a question as it is given: header names to the letter.
func (a *asker) ask(method, target, host string, h http.Header) answer {
	a.w.tb.Helper()
	req, err := http.NewRequestWithContext(a.w.tb.Context(), method, "http://"+a.address, nil)
	if err != nil {
		a.w.tb.Fatal(err)
	}
	req.URL.Opaque, req.Host, req.Header = target, host, h
	client := *a.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		a.w.tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.w.tb.Fatal(err)
	}
	return answer{res, string(body)}
}

// original is a request that an ingress has got.
type original struct {
	method, host, target string
	header               http.Header
}

// about asks about a request in the way of each ingress.
func (a *asker) about(ingress string, o original) answer {
	a.w.tb.Helper()
	h := http.Header{}
	for name, values := range o.header {
		h[name] = values
	}
	switch ingress {
	case "nginx":
		h["X-Original-Method"], h["X-Original-Url"] = []string{o.method}, []string{"https://" + o.host + o.target}
		return a.ask(http.MethodGet, "/auth/nginx", doorHost, h)
	case "envoy":
		return a.ask(o.method, "/auth/envoy"+o.target, o.host, h)
	}
	h["X-Forwarded-Method"], h["X-Forwarded-Proto"] = []string{o.method}, []string{"https"}
	h["X-Forwarded-Host"], h["X-Forwarded-Uri"] = []string{o.host}, []string{o.target}
	return a.ask(http.MethodGet, "/auth/"+ingress, doorHost, h)
}

var ingresses = []string{"nginx", "traefik", "caddy", "envoy"}

// sessionOf signs a person in at a host, and returns the Cookie header of that host.
func (w *world) sessionOf(host, person string) string {
	w.tb.Helper()
	b := w.browser()
	b.signIn(w.origin(host)+"/", person)
	at, err := url.Parse(w.origin(host) + "/")
	if err != nil {
		w.tb.Fatal(err)
	}
	var parts []string
	for _, cookie := range b.client.Jar.Cookies(at) {
		parts = append(parts, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(parts, "; ")
}

var navigation = http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}}

func withHeader(base http.Header, more ...string) http.Header {
	h := base.Clone()
	if h == nil {
		h = http.Header{}
	}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = append(h[more[i]], more[i+1])
	}
	return h
}

func TestIngressLearnsWhoMayPass(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	alice := w.sessionOf(headersHost, "alice")
	for _, kind := range ingresses {
		t.Run(kind, func(t *testing.T) {
			lines := len(w.records(1))
			said := withHeader(navigation, "Cookie", "theme=dark; "+alice+"; lang=en", "X-Forwarded-User", "root", "Remote-User", "root",
				"X-Forwarded-For", "203.0.113.1, 198.51.100.7")
			if kind == "envoy" { // the others cannot be told to remove it
				said["X_forwarded_user"] = []string{"root"}
			}
			got := ingress.about(kind, original{"GET", headersHost, "/deep/link?a=b", said})
			want := map[string]int{"nginx": http.StatusNoContent}[kind]
			if want == 0 {
				want = http.StatusOK
			}
			if got.StatusCode != want || got.body != "" {
				t.Fatalf("status %d, body %q, want %d", got.StatusCode, got.body, want)
			}
			for name, value := range map[string]string{
				"X-Forwarded-User": "alice@example.com", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Groups": "engineers",
				"Cookie": "theme=dark; lang=en",
			} {
				if values := got.Header.Values(name); len(values) != 1 || values[0] != value {
					t.Errorf("%s: %q, want %q", name, values, value)
				}
			}
			if removed := got.Header.Get("X-Envoy-Auth-Headers-To-Remove"); (kind == "envoy") != (strings.Contains(removed, "remote-user") && strings.Contains(removed, "x_forwarded_user")) {
				t.Errorf("headers to remove: %q", removed)
			}
			record := w.lastRecord(lines + 1)
			for field, value := range map[string]any{
				"event.action": "access", "sallyport.decision": "allow", "sallyport.route": "headers", "sallyport.via": "forward_auth/" + kind,
				"sallyport.peer": "ingress.test", "url.domain": headersHost, "url.path": "/deep/link", "http.request.method": "GET",
				"user.name": "alice@example.com", "client.address": "198.51.100.7", "rule.name": "group:engineers",
			} {
				if record[field] != value {
					t.Errorf("line: %s is %v, want %v", field, record[field], value)
				}
			}
		})
	}
}

func TestIngressLearnsWhoMayNot(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	alice, bob := w.sessionOf(headersHost, "alice"), w.sessionOf(headersHost, "bob")
	bobAtNotes := w.sessionOf(notesHost, "bob")
	tests := []struct {
		name   string
		asked  original
		status int // before nginx's translation
		reason string
	}{
		{"nobody, to a page", original{"GET", headersHost, "/a?b=c", navigation}, http.StatusSeeOther, "no_session"},
		{"nobody, in the background", original{"GET", headersHost, "/api", http.Header{"Accept": {"application/json"}}}, http.StatusUnauthorized, "no_session"},
		{"nobody, with a form", original{"POST", headersHost, "/form", withHeader(navigation, "Content-Type", "application/x-www-form-urlencoded")}, http.StatusUnauthorized, "no_session"},
		{"somebody who may not", original{"GET", notesHost, "/", withHeader(navigation, "Cookie", bobAtNotes)}, http.StatusForbidden, "not_in_allow"},
		{"a session of another host", original{"GET", notesHost, "/", withHeader(nil, "Cookie", alice)}, http.StatusUnauthorized, "session_invalid"},
		{"two sessions", original{"GET", headersHost, "/", withHeader(nil, "Cookie", alice+"; "+bob)}, http.StatusUnauthorized, "two_cookies"},
		{"a change from a page of another site", original{"POST", headersHost, "/", withHeader(nil, "Cookie", alice, "Sec-Fetch-Site", "cross-site")}, http.StatusForbidden, "cross_origin"},
		{"a WebSocket from a page of another tool", original{"GET", headersHost, "/ws", withHeader(nil, "Cookie", alice, "Sec-Websocket-Key", "x", "Origin", "https://evil.example")}, http.StatusForbidden, "websocket_origin"},
		{"a tool that is not asked about", original{"GET", openHost, "/", navigation}, http.StatusForbidden, "forward_auth_off"},
		{"a tool that nobody may open", original{"GET", closedHost, "/", navigation}, http.StatusSeeOther, "no_session"},
		{"the door", original{"GET", doorHost, "/", navigation}, http.StatusForbidden, "unknown_host"},
		{"an unknown host", original{"GET", "unknown.example.test", "/", navigation}, http.StatusForbidden, "unknown_host"},
		{"a path of ours", original{"GET", headersHost, "/.sallyport/whoami", withHeader(nil, "Cookie", alice)}, http.StatusForbidden, "reserved_path"},
		{"a path of ours, encoded", original{"GET", headersHost, "/%2esallyport/whoami", withHeader(nil, "Cookie", alice)}, http.StatusForbidden, "reserved_path"},
		{"a method that is none", original{"TRACE", headersHost, "/", withHeader(nil, "Cookie", alice)}, http.StatusMethodNotAllowed, "method"},
		{"dots", original{"GET", headersHost, "/public/../admin", withHeader(nil, "Cookie", alice)}, http.StatusBadRequest, "asked_uri"},
		{"encoded dots", original{"GET", headersHost, "/public/%2e%2E/admin", withHeader(nil, "Cookie", alice)}, http.StatusBadRequest, "asked_uri"},
		{"dots with a parameter", original{"GET", headersHost, "/public/..;x/admin", withHeader(nil, "Cookie", alice)}, http.StatusBadRequest, "asked_uri"},
		{"dots behind an encoded slash", original{"GET", headersHost, "/public%2f..%2fadmin", withHeader(nil, "Cookie", alice)}, http.StatusBadRequest, "asked_uri"},
		{"an escape that is none (CVE-2021-32637)", original{"GET", headersHost, "/%zz", withHeader(nil, "Cookie", alice)}, http.StatusBadRequest, "asked_uri"},
	}
	for _, test := range tests {
		for _, kind := range ingresses {
			if kind == "envoy" && (strings.Contains(test.asked.target, "%zz") || test.asked.method == "TRACE") {
				continue // net/http refuses the question itself
			}
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				lines := len(w.records(1))
				got := ingress.about(kind, test.asked)
				if want := seenBy(kind, test.status); got.StatusCode != want {
					t.Errorf("status %d, want %d", got.StatusCode, want)
				}
				for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Groups", "Cookie"} {
					if got.Header.Get(name) != "" {
						t.Errorf("%s is told: %v", name, got.Header)
					}
				}
				if record := w.lastRecord(lines + 1); record["event.reason"] != test.reason || record["sallyport.decision"] == "allow" {
					t.Errorf("line %v, want reason %q", record, test.reason)
				}
			})
		}
	}
}

// seenBy is a status as that ingress is given it.
func seenBy(kind string, status int) int {
	switch {
	case kind != "nginx":
		return status
	case status == http.StatusSeeOther:
		return http.StatusUnauthorized
	case status != http.StatusUnauthorized:
		return http.StatusForbidden
	}
	return status
}

// The way through the door and back, with the cookies that the ingress passes on.
func TestSignOnBeginsAtAnIngress(t *testing.T) {
	w, ingress := newIngressWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].Backend, cfg.Routes[0].TLS = nil, nil })
	for _, kind := range ingresses {
		b := w.browser()
		began := ingress.about(kind, original{"GET", headersHost, "/deep?x=1", navigation})
		location := began.Header.Get("Location")
		if kind == "nginx" {
			if location != "" {
				t.Errorf("nginx got Location %q", location)
			}
			location = began.Header.Get("X-Sallyport-Redirect")
		}
		if !strings.HasPrefix(location, w.origin(doorHost)+"/.sallyport/sign_in?begin=") || len(began.Header.Values("Set-Cookie")) != 1 {
			t.Fatalf("%s: sent to %q with %d cookies", kind, location, len(began.Header.Values("Set-Cookie")))
		}
		at, err := url.Parse(w.origin(headersHost) + "/")
		if err != nil {
			t.Fatal(err)
		}
		b.client.Jar.SetCookies(at, began.Cookies())
		end := b.signIn(location, "alice")
		if end.StatusCode != http.StatusMisdirectedRequest || end.Request.URL.RequestURI() != "/deep?x=1" {
			t.Errorf("%s: the sign-on ends at %s with %d, want the page that was asked for, which is not the gateway's", kind, end.Request.URL, end.StatusCode)
		}
	}
}

// The rules for parts of a tool are those of the path that the ingress says.
func TestIngressIsHeldToRulesOfPaths(t *testing.T) {
	w, ingress := newIngressWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Rules = []policy.PathRule{{Name: "admin", Paths: []string{"/admin"}, Allow: policy.NewRule(nil, []string{"support"}, false)}}
	})
	alice := w.sessionOf(headersHost, "alice")
	for target, want := range map[string]int{"/": 200, "/admin": 403, "/admin/x": 403, "/%61dmin": 400, "//admin": 400, "/x%2f..%2fadmin": 400, "/administrators": 200} {
		if got := ingress.about("traefik", original{"GET", headersHost, target, withHeader(nil, "Cookie", alice)}); got.StatusCode != want {
			t.Errorf("%s: status %d, want %d", target, got.StatusCode, want)
		}
	}
}

// What the ingress says is believed only if it says it once, and in the clear form.
func TestOddQuestionsAreRefused(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	alice := w.sessionOf(headersHost, "alice")
	nginx := func(method, address string) http.Header {
		return http.Header{"X-Original-Method": {method}, "X-Original-Url": {address}, "Cookie": {alice}}
	}
	forwarded := func(change func(http.Header)) http.Header {
		h := http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {headersHost}, "X-Forwarded-Uri": {"/"}, "Cookie": {alice}}
		if change != nil {
			change(h)
		}
		return h
	}
	fine := ingress.ask("GET", "/auth/nginx", doorHost, nginx("GET", "https://"+headersHost+"/"))
	if fine.StatusCode != http.StatusNoContent {
		t.Fatalf("a question as it should be: %d", fine.StatusCode)
	}
	tests := map[string]struct {
		target, host string
		header       http.Header
	}{
		"nginx: no address":                 {"/auth/nginx", doorHost, http.Header{"X-Original-Method": {"GET"}, "Cookie": {alice}}},
		"nginx: no method":                  {"/auth/nginx", doorHost, http.Header{"X-Original-Url": {"https://" + headersHost + "/"}, "Cookie": {alice}}},
		"nginx: two addresses":              {"/auth/nginx", doorHost, withHeader(nginx("GET", "https://"+headersHost+"/"), "X-Original-Url", "https://"+headersHost+"/")},
		"nginx: in the clear":               {"/auth/nginx", doorHost, nginx("GET", "http://"+headersHost+"/")},
		"nginx: another scheme":             {"/auth/nginx", doorHost, nginx("GET", "ftp://"+headersHost+"/")},
		"nginx: no path":                    {"/auth/nginx", doorHost, nginx("GET", "https://"+headersHost)},
		"nginx: only a query":               {"/auth/nginx", doorHost, nginx("GET", "https://"+headersHost+"?/")},
		"nginx: a name before the host":     {"/auth/nginx", doorHost, nginx("GET", "https://x@"+headersHost+"/")},
		"nginx: a backslash for a slash":    {"/auth/nginx", doorHost, nginx("GET", `https://`+headersHost+`/\admin`)},
		"nginx: a fragment":                 {"/auth/nginx", doorHost, nginx("GET", "https://"+headersHost+"/#/")},
		"nginx: a space":                    {"/auth/nginx", doorHost, nginx("GET", "https://"+headersHost+"/a b")},
		"nginx: a method in lower case":     {"/auth/nginx", doorHost, nginx("get", "https://"+headersHost+"/")},
		"nginx: two methods in one":         {"/auth/nginx", doorHost, nginx("GET,POST", "https://"+headersHost+"/")},
		"nginx: by the headers of another":  {"/auth/nginx", doorHost, forwarded(nil)},
		"traefik: two hosts":                {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Host"] = []string{headersHost, notesHost} })},
		"traefik: two hosts in one":         {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Host"] = []string{headersHost + "," + notesHost} })},
		"traefik: two targets":              {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Uri"] = []string{"/", "/admin"} })},
		"traefik: an absolute target":       {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Uri"] = []string{"https://" + headersHost + "/"} })},
		"traefik: an empty target":          {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Uri"] = []string{""} })},
		"traefik: in the clear":             {"/auth/traefik", doorHost, forwarded(func(h http.Header) { h["X-Forwarded-Proto"] = []string{"http"} })},
		"traefik: no method":                {"/auth/traefik", doorHost, forwarded(func(h http.Header) { delete(h, "X-Forwarded-Method") })},
		"caddy: no host":                    {"/auth/caddy", doorHost, forwarded(func(h http.Header) { delete(h, "X-Forwarded-Host") })},
		"envoy: in the clear":               {"/auth/envoy/", headersHost, http.Header{"X-Forwarded-Proto": {"http"}, "Cookie": {alice}}},
		"envoy: no path of its own":         {"/auth/envoy", headersHost, http.Header{"Cookie": {alice}}},
		"a question of no known kind":       {"/auth/", doorHost, nginx("GET", "https://"+headersHost+"/")},
		"a path beside those for questions": {"/auth/envoyx/", headersHost, http.Header{"Cookie": {alice}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ingress.ask("GET", test.target, test.host, test.header)
			if got.StatusCode < 400 || got.StatusCode >= 500 || got.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("status %d, headers %v", got.StatusCode, got.Header)
			}
		})
	}
}

func TestOnlyAnIngressMayAsk(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	alice := w.sessionOf(headersHost, "alice")
	asked := original{"GET", headersHost, "/", withHeader(nil, "Cookie", alice, "X-Test-Stranger", "yes")}
	for _, kind := range ingresses {
		lines := len(w.records(1))
		got := ingress.about(kind, asked)
		if got.StatusCode != http.StatusForbidden || got.Header.Get("X-Forwarded-User") != "" {
			t.Errorf("%s: a stranger got status %d, headers %v", kind, got.StatusCode, got.Header)
		}
		if record := w.lastRecord(lines + 1); record["event.reason"] != "asker_unknown" || record["error.message"] != errStranger.Error() || record["user.name"] != nil {
			t.Errorf("%s: line %v", kind, record)
		}
	}
	w.replace(func(cfg *proxy.Config) { cfg.Asks = nil })
	if got := ingress.about("nginx", original{"GET", headersHost, "/", withHeader(nil, "Cookie", alice)}); got.StatusCode != http.StatusForbidden {
		t.Errorf("where nobody may ask, status %d", got.StatusCode)
	}
	// Nothing of it is on the listener for browsers.
	if got := w.browser().navigate(w.origin(doorHost) + "/auth/nginx"); got.StatusCode != http.StatusNotFound {
		t.Errorf("the door answers questions with %d", got.StatusCode)
	}
}

func TestIngressIsToldOfWhatIsLacking(t *testing.T) {
	now := newClock()
	w, ingress := newIngressWorld(t, func(cfg *proxy.Config) {
		cfg.Now = now.read
		cfg.Routes[0].StepUp = policy.StepUp{MaxAge: 5 * time.Minute}
	})
	alice := w.sessionOf(headersHost, "alice")
	now.pass(10 * time.Minute)
	page := ingress.about("traefik", original{"GET", headersHost, "/", withHeader(navigation, "Cookie", alice)})
	if page.StatusCode != http.StatusSeeOther || !strings.HasPrefix(page.Header.Get("Location"), w.origin(doorHost)) {
		t.Errorf("a page: %d to %q", page.StatusCode, page.Header.Get("Location"))
	}
	for name, o := range map[string]original{
		"in the background": {"GET", headersHost, "/", withHeader(nil, "Cookie", alice)},
		"with a form":       {"POST", headersHost, "/", withHeader(navigation, "Cookie", alice, "Content-Type", "text/plain", "Sec-Fetch-Site", "same-origin")},
	} {
		if got := ingress.about("traefik", o); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, policy.ReasonTooOld) {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	// Somebody who goes on has the session renewed, in one cookie.
	alice = w.sessionOf(notesHost, "alice")
	now.pass(10 * time.Minute)
	renewed := ingress.about("nginx", original{"GET", notesHost, "/", withHeader(nil, "Cookie", alice)})
	if cookies := renewed.Cookies(); renewed.StatusCode != http.StatusNoContent || len(cookies) != 1 || cookies[0].Name != "__Host-sallyport" {
		t.Errorf("renewal: %d %v", renewed.StatusCode, cookies)
	}
}

func TestNobodyPassesAnIngressUnrecorded(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	alice := w.sessionOf(headersHost, "alice")
	w.log.setBroken(true)
	asked := original{"GET", headersHost, "/", withHeader(nil, "Cookie", alice)}
	for i := range 3 { // the first is let pass by a log that was in order before
		got := ingress.about("nginx", asked)
		if i > 0 && got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("question %d: status %d", i, got.StatusCode)
		}
		w.recordable(false)
	}
}

// A route may go from the ingress to the gateway and back while both run.
func TestRouteMovesBetweenIngressAndGateway(t *testing.T) {
	w, ingress := newIngressWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	backend, dial := w.cfg.Routes[0].Backend, w.cfg.Routes[0].TLS
	alice := w.sessionOf(headersHost, "alice")
	for _, mine := range []bool{false, true, false, true} {
		w.replace(func(cfg *proxy.Config) {
			cfg.Routes[0].Backend, cfg.Routes[0].TLS = nil, nil
			if mine {
				cfg.Routes[0].Backend, cfg.Routes[0].TLS = backend, dial
			}
		})
		w.live.Gateway().CloseIdleConnections()
		want := map[bool]int{true: http.StatusOK, false: http.StatusMisdirectedRequest}[mine]
		if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != want {
			t.Errorf("with a backend %t: the gateway answers %d", mine, got.StatusCode)
		}
		if got := ingress.about("traefik", original{"GET", headersHost, "/", withHeader(nil, "Cookie", alice)}); got.StatusCode != http.StatusOK {
			t.Errorf("with a backend %t: the ingress is told %d", mine, got.StatusCode)
		}
	}
}

// FuzzQuestions: whatever an ingress may have been made to ask, only a target that is
// what it seems gets somebody in.
func FuzzQuestions(f *testing.F) {
	for _, target := range []string{"/", "/a/../b", "//x/y", "/%2e%2e/", "/a?b=/../", "/\\x", "/a#b", "http://x/", "/%zz", "/..;/", "*", ""} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := proxy.TargetAsked(target)
		if err != nil {
			return
		}
		if u.Host != "" || u.Scheme != "" || u.User != nil || u.Path == "" || u.Path[0] != '/' || u.RequestURI()[0] != '/' {
			t.Errorf("%q became %+v", target, u)
		}
		for segment := range strings.SplitSeq(u.Path, "/") {
			if segment == ".." || segment == "." {
				t.Errorf("%q has the segment %q", target, segment)
			}
		}
		if strings.ContainsAny(target, "\r\n \t#") {
			t.Errorf("%q passes: %s", target, fmt.Sprint(u))
		}
	})
}
