package proxy_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/saml"
)

// ruledWorld opens headers to engineers and support, and has rules: what is public among
// ourselves, what admins may, what nobody may, and who may write.
func ruledWorld(t *testing.T, change func(*proxy.Config)) *world {
	t.Helper()
	return newWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Rules = []policy.PathRule{
			{Name: "health", Methods: []string{"GET"}, Exact: []string{"/admin/health"}, Allow: everybody},
			{Name: "admin", Paths: []string{"/admin"}, Allow: policy.NewRule(nil, []string{"admins"}, false)},
			{Name: "closed", Paths: []string{"/internal"}},
			{Name: "writes", Methods: []string{"POST", "DELETE"}, Allow: everybody, Deny: policy.NewRule([]string{"bob@example.com"}, nil, false)},
		}
		if change != nil {
			change(cfg)
		}
	})
}

func TestTheFirstRuleThatCoversARequestDecides(t *testing.T) {
	w := ruledWorld(t, nil)
	alice, bob := w.browser(), w.browser()
	alice.signIn(w.origin(headersHost)+"/", "alice")
	bob.signIn(w.origin(headersHost)+"/", "bob")
	tests := []struct {
		who          *browser
		method, path string
		status       int
		reason, rule string
	}{
		{bob, "GET", "/", 200, "group_allowed", "group:support"},
		{bob, "GET", "/administrators", 200, "group_allowed", "group:support"},
		{bob, "GET", "/admin", 403, "not_in_allow", "admin"},
		{bob, "GET", "/admin/users", 403, "not_in_allow", "admin"},
		{bob, "HEAD", "/admin/users", 403, "not_in_allow", "admin"},
		{bob, "OPTIONS", "/admin/users", 403, "not_in_allow", "admin"},
		{bob, "GET", "/admin/health", 200, "any_signed_in", "health/any_signed_in"},
		{bob, "HEAD", "/admin/health", 200, "any_signed_in", "health/any_signed_in"},
		{bob, "POST", "/admin/health", 403, "not_in_allow", "admin"},
		{bob, "GET", "/admin/health/", 403, "not_in_allow", "admin"},
		{bob, "GET", "/admin/health?x=1", 200, "any_signed_in", "health/any_signed_in"},
		{bob, "GET", "/?x=/admin", 200, "group_allowed", "group:support"},
		{bob, "POST", "/notes", 403, "in_deny", "writes/user:bob@example.com"},
		{bob, "PUT", "/notes", 200, "group_allowed", "group:support"},
		{alice, "POST", "/notes", 200, "any_signed_in", "writes/any_signed_in"},
		{alice, "GET", "/admin/users", 200, "group_allowed", "admin/group:admins"},
		{alice, "POST", "/admin/users", 200, "group_allowed", "admin/group:admins"},
		{alice, "GET", "/internal", 403, "route_allows_nobody", "closed"},
	}
	lines := 10
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			_, before := w.backend.seen()
			req := background(test.who, w.origin(headersHost)+test.path)
			req.Method = test.method
			req.Header.Set("X-HTTP-Method-Override", "GET")
			res := test.who.do(req)
			lines++
			last, after := w.backend.seen()
			if res.StatusCode != test.status || (after > before) != (test.status == 200) {
				t.Fatalf("answer %d, %d requests at the backend; expected %d", res.StatusCode, after-before, test.status)
			}
			if test.status == 200 && last.Method != test.method {
				t.Errorf("the backend was asked to %s", last.Method)
			}
			line := w.lastRecord(lines)
			rule, _ := line["rule.name"].(string)
			if line["event.reason"] != test.reason || rule != test.rule {
				t.Errorf("reason %v, rule %q; expected %s, %q", line["event.reason"], rule, test.reason, test.rule)
			}
		})
	}
}

// What is not written as the tool will read it is refused before anything is decided,
// where something is decided by the path; and passes as it came where nothing is.
func TestAmbiguousPathsAreRefusedWhereTheyDecide(t *testing.T) {
	w := ruledWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(openHost)+"/", "alice")
	for _, path := range []string{
		"/a%2fb", "/a%2Fb", "/%5cadmin", "/%5Cadmin", "/a%00", "/%2e/admin", "/%2E%2E/admin", "/x/%2e%2e/admin", "/x/../admin", "/./admin", "/x/..", "/x/.",
		"//admin", "/x//admin", "/x/admin//", `/x\admin`, `/x\..\admin`, "/admin;a=b", "/admin;/x", "/%3badmin", "/%61dmin", "/%41dmin", "/admi%6E", "/%7Eadmin", "/a%2Db",
		"/a%0a", "/a%7f", "/a%09b", "/\xc3\xa9", "/a\x80b", "/%c0%af", "/%e0%80%af", "/%ff", "/a%2e", "/%2fadmin|",
	} {
		_, before := w.backend.seen()
		res := b.rawGet(headersHost, path)
		body, err := io.ReadAll(res.Body)
		if _, after := w.backend.seen(); res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "path_ambiguous") || after != before || err != nil {
			t.Errorf("%q where paths decide: %d, %d requests at the backend: %s", path, res.StatusCode, after-before, body)
		}
		res = b.rawGet(openHost, path)
		got, after := w.backend.seen()
		if after != before+1 {
			t.Errorf("%q where they do not: %d, %d requests at the backend", path, res.StatusCode, after-before)
		}
		if escaped := strings.NewReplacer(`\`, "%5C", "|", "%7C", "\x80", "%80", "\xc3\xa9", "%C3%A9").Replace(path); got.RequestURI != escaped {
			t.Errorf("%q reached the tool as %q", path, got.RequestURI)
		}
	}
	for _, path := range []string{"/", "/a", "/a/", "/a.b/..c/d..", "/.../x", "/a%20b", "/caf%C3%A9", "/a@b:c,d!$&'()*+=", "/%25x", "/a%3Fb%23c", "/a|b^c", "/.well-known/x"} {
		if res := b.rawGet(headersHost, path); res.StatusCode != http.StatusOK {
			t.Errorf("%q: %d", path, res.StatusCode)
		}
		if got, _ := w.backend.seen(); got.RequestURI != strings.NewReplacer("|", "%7C", "^", "%5E").Replace(path) {
			t.Errorf("%q reached the tool as %q", path, got.RequestURI)
		}
	}
}

func TestAmbiguousPathsAreRefusedInEveryVersion(t *testing.T) {
	w := ruledWorld(t, nil)
	for _, version := range versions {
		b := w.signedIn(version)
		_, before := w.backend.seen()
		for _, path := range []string{"/x/%2e%2e/admin", "/x/../admin", "//admin", "/a%2Fb", "/%61dmin", "/a;b", "/a%5cb"} {
			req := background(b, w.origin(headersHost)+"/")
			decoded, err := url.PathUnescape(path)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Path, req.URL.RawPath = decoded, path
			if res := b.do(req); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "path_ambiguous") {
				t.Errorf("HTTP/%s, %q: %d %s", version, path, res.StatusCode, res.body)
			}
		}
		if _, after := w.backend.seen(); after != before {
			t.Errorf("HTTP/%s: %d requests reached the backend", version, after-before)
		}
	}
}

// rawGet asks for a path as it stands here.
func (b *browser) rawGet(host, path string) *http.Response {
	b.w.tb.Helper()
	var cookies []string
	for _, cookie := range b.client.Jar.Cookies(mustParse(b.w.tb, b.w.origin(host)+"/")) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	return b.w.raw("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\nCookie: " + strings.Join(cookies, "; ") + "\r\n\r\n")
}

func TestThePortalGoesByTheRuleOfTheFirstPage(t *testing.T) {
	w := ruledWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[1].Rules = []policy.PathRule{{Name: "front", Methods: []string{"GET"}, Exact: []string{"/"}, Allow: everybody}}
		cfg.Routes[2].Rules = []policy.PathRule{{Name: "none", Paths: []string{"/"}}}
	})
	home := w.browser().signIn(w.origin(doorHost)+"/", "bob")
	for host, want := range map[string]bool{headersHost: true, notesHost: true, openHost: false} {
		if strings.Contains(home.body, w.origin(host)+"/") != want {
			t.Errorf("portal links %s: %v, expected %v", host, !want, want)
		}
	}
}

// A connection remembers as what it was let in, and loses it by the rule for that alone.
func TestWithdrawnRulesEndWhatTheyLetIn(t *testing.T) {
	w := ruledWorld(t, nil)
	w.backend.mux.HandleFunc("/admin/ws", echo)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	open := map[string]*websocket.Conn{}
	for _, path := range []string{"/admin/ws", "/ws"} {
		conn, _, err := b.dial(ctx, w.origin(headersHost)+path, w.origin(headersHost))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		open[path] = conn
	}
	w.replace(func(cfg *proxy.Config) { cfg.Routes[0].Rules[1].Allow = policy.Rule{} })
	proxy.Withdraw(w.live.Gateway())
	if _, _, err := open["/admin/ws"].Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket outlives its rule: %v", err)
	}
	if err := open["/ws"].Write(ctx, websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := open["/ws"].Read(ctx); err != nil || string(message) != "still" {
		t.Errorf("a WebSocket that another rule lets in: %q, %v", message, err)
	}
}

// The door judges for the page that was asked for, and not for another of the host's:
// whoever may not enter there is asked for nothing more.
func TestTheDoorKnowsWhichPartSomebodyWants(t *testing.T) {
	w, idp := steppingWorld(t, func(cfg *proxy.Config) {
		strict := cfg.Routes[1] // notes: a sign-on of the last five minutes
		strict.Name, strict.Path, strict.Rule = "notes-admin", "/admin", policy.Rule{}
		strict.Rules = []policy.PathRule{{Name: "users", Paths: []string{"/admin/users"}, Allow: engineers}}
		cfg.Routes = append(cfg.Routes, strict)
		cfg.Routes[1].StepUp = policy.StepUp{}
	})
	b := w.browser()
	if res := b.signIn(w.origin(notesHost)+"/", "alice"); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	if diff := cmp.Diff([]saml.SignOn{{}}, idp.requests()); diff != "" {
		t.Fatalf("requests (-want +got):\n%s", diff)
	}
	if res := b.signIn(w.origin(notesHost)+"/admin/x", "alice"); res.StatusCode != http.StatusForbidden || len(idp.requests()) != 1 {
		t.Errorf("where nobody may: %d, %d requests", res.StatusCode, len(idp.requests()))
	}
	if res := b.signIn(w.origin(notesHost)+"/admin/users/1", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("where she may after a new sign-on: %d %s", res.StatusCode, res.body)
	}
	if got := idp.requests(); len(got) != 2 || !got[1].ForceAuthn {
		t.Errorf("requests %+v", got)
	}
	// In a browser that has signed in nowhere, too: the sign-on is the one that it takes.
	fresh := w.browser()
	if res := fresh.signIn(w.origin(notesHost)+"/admin/users/1", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("in a fresh browser: %d %s", res.StatusCode, res.body)
	}
}

// A form is kept, shown and sent by the rule for its own address.
func TestKeptFormsGoByTheirOwnRule(t *testing.T) {
	w, c, bodies := formWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Rules = []policy.PathRule{
			{Name: "saves", Methods: []string{"POST"}, Paths: []string{"/save"}, Allow: engineers},
			{Name: "pages", Methods: []string{"GET"}, Paths: []string{"/form"}, Allow: engineers},
		}
		cfg.Routes[0].Rule = policy.Rule{}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/form", "alice")
	c.pass(61 * time.Minute)
	if res := b.sendForm(w.origin(headersHost)+"/other", "same-origin", urlencoded, strings.NewReader("a=1")); strings.Contains(res.body, "is kept for") {
		t.Errorf("a form that she may not send is kept: %s", res.body)
	}
	kept := b.sendForm(w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
	page := b.signIn(kept.first(t, links), "alice")
	if page.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	send := page.first(t, actions)
	elsewhere := strings.Replace(send, "/save?", "/other?", 1)
	if res := b.sendForm(elsewhere, "same-origin", urlencoded, http.NoBody); res.StatusCode == http.StatusOK || len(bodies()) != 0 {
		t.Errorf("sent through another address: %d, %d sent", res.StatusCode, len(bodies()))
	}
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusOK || len(bodies()) != 1 {
		t.Errorf("sent as it should be: %d %s", res.StatusCode, res.body)
	}
}

// What a form's target is cannot be swapped for what another rule lets pass.
func TestAKeptFormIsNotSentByAnotherRule(t *testing.T) {
	open := policy.PathRule{Name: "open", Methods: []string{"POST"}, Paths: []string{"/open"}, Allow: everybody}
	w, c, bodies := formWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Rules = []policy.PathRule{open, {Name: "saves", Methods: []string{"POST"}, Paths: []string{"/save"}, Allow: engineers}}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	c.pass(61 * time.Minute)
	kept := b.sendForm(w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
	send := b.signIn(kept.first(t, links), "alice").first(t, actions)
	w.replace(func(cfg *proxy.Config) {
		cfg.Routes[0].Rules = []policy.PathRule{open, {Name: "saves", Paths: []string{"/save"}}}
	})
	if res := b.sendForm(strings.Replace(send, "/save?", "/open?", 1), "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusGone || len(bodies()) != 0 {
		t.Errorf("through what is open to her: %d, %d sent", res.StatusCode, len(bodies()))
	}
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusForbidden || len(bodies()) != 0 {
		t.Errorf("by its own address: %d, %d sent", res.StatusCode, len(bodies()))
	}
}

func TestRedirectsAndPagesAreForWhoMayOpenThem(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		own := func(name, path string, rule policy.Rule, to *proxy.Redirect, page *proxy.Respond) proxy.Route {
			return proxy.Route{Name: name, Title: name, Host: "own.example.test", Path: path, Rule: rule, Redirect: to, Respond: page}
		}
		cfg.Routes = append(cfg.Routes,
			own("moved", "/old", engineers, &proxy.Redirect{To: "https://new.example.test/tool/", Status: 308, KeepPath: true}, nil),
			own("here", "/here", everybody, &proxy.Redirect{To: "/old?x=1", Status: 302}, nil),
			own("bare", "/bare", everybody, &proxy.Redirect{To: "https://new.example.test", Status: 307, KeepPath: true}, nil),
			own("repair", "/", everybody, nil, &proxy.Respond{Status: 503, Title: "Being <moved>", Message: "Back on Monday & not before."}),
			own("closed", "/closed", policy.Rule{}, nil, &proxy.Respond{Status: 200, Title: "x", Message: "y"}),
		)
	})
	at := w.origin("own.example.test")
	stranger := w.browser()
	for _, path := range []string{"/", "/old/x", "/here", "/closed"} {
		if res := stranger.navigate(at + path); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), w.origin(doorHost)) {
			t.Errorf("a stranger at %s: %d to %s", path, res.StatusCode, res.Header.Get("Location"))
		}
	}
	alice, bob := w.browser(), w.browser()
	if res := alice.signIn(at+"/", "alice"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "Being &lt;moved&gt;") || !strings.Contains(res.body, "Monday &amp; not") || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page: %d %v\n%s", res.StatusCode, res.Header, res.body)
	}
	bob.signIn(at+"/", "bob")
	for _, test := range []struct {
		who            *browser
		path, location string
		status         int
	}{
		{alice, "/old", "https://new.example.test/tool/", 308},
		{alice, "/old/a%20b?c=%2F&d", "https://new.example.test/tool/a%20b?c=%2F&d", 308},
		{alice, "/here/x?y", at + "/old?x=1", 302},
		{alice, "/bare/@evil.example?q", "https://new.example.test/@evil.example?q", 307},
		{alice, "/bare//evil.example", "", 400},
		{bob, "/old", "", 403},
		{alice, "/closed", "", 403},
	} {
		res := test.who.navigate(at + test.path)
		if res.StatusCode != test.status || res.Header.Get("Location") != test.location {
			t.Errorf("%s: %d to %q, expected %d to %q", test.path, res.StatusCode, res.Header.Get("Location"), test.status, test.location)
		}
	}
	if res := alice.do(background(alice, at+"/x")); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, `"message":"Back on Monday`) {
		t.Errorf("a program gets %d %s", res.StatusCode, res.body)
	}
	req := alice.request(http.MethodPost, at+"/old", io.MultiReader(strings.NewReader("a form")))
	if res := alice.do(req); res.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("a form: %d", res.StatusCode)
	}
}

func TestOwnRoutesThatMakeNoSenseAreRefused(t *testing.T) {
	for name, route := range map[string]proxy.Route{
		"both":                     {Redirect: &proxy.Redirect{To: "/x", Status: 302}, Respond: &proxy.Respond{Status: 503}},
		"a status of no redirect":  {Redirect: &proxy.Redirect{To: "/x", Status: 303}},
		"a redirect in the clear":  {Redirect: &proxy.Redirect{To: "http://a.example.test/", Status: 302}},
		"another host in disguise": {Redirect: &proxy.Redirect{To: "//evil.example.test", Status: 302}},
		"the same by backslashes":  {Redirect: &proxy.Redirect{To: `/\evil.example.test`, Status: 302}},
		"a script":                 {Redirect: &proxy.Redirect{To: "javascript:alert(1)", Status: 302}},
		"a line break":             {Redirect: &proxy.Redirect{To: "/x\r\nSet-Cookie: a=b", Status: 302}},
		"nowhere":                  {Redirect: &proxy.Redirect{Status: 302}},
		"a query beside a path":    {Redirect: &proxy.Redirect{To: "/x?y", Status: 302, KeepPath: true}},
		"no status of an answer":   {Respond: &proxy.Respond{Status: 100}},
	} {
		route.Name, route.Host = "a", "a.example.test"
		if _, err := proxy.New(proxy.Config{DoorHost: doorHost, PublicPort: 443, Routes: []proxy.Route{route}}); err == nil || !strings.Contains(err.Error(), `route "a"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Routes of one host may take the people of different identity providers: which one is
// asked, and whether a session counts, is the route's, and who is signed in the host's.
func TestRoutesOfAHostMayTakeDifferentIdPs(t *testing.T) {
	w, _ := newPartners(t, func(cfg *proxy.Config) {
		shared := cfg.Routes[1]
		shared.Name, shared.Path, shared.IdPs = "notes-partner", "/partner", []string{"partner"}
		cfg.Routes = append(cfg.Routes, shared)
	})
	b := w.browser()
	begun := b.toDoor(w.origin(notesHost) + "/partner/x")
	if got := askedWith(begun); got != partnerSignOn {
		t.Fatalf("asked with %q", got)
	}
	if res := b.finish(begun, "carol"); res.StatusCode != http.StatusOK || res.body != "backend: carol@partner.example" {
		t.Errorf("at her own route: %d %s", res.StatusCode, res.body)
	}
	if res := b.do(background(b, w.origin(notesHost)+"/")); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "other_idp") {
		t.Errorf("at the other: %d %s", res.StatusCode, res.body)
	}
	if res := b.do(background(b, w.origin(notesHost)+"/.sallyport/whoami")); res.StatusCode != http.StatusOK || !strings.Contains(res.body, "carol@partner.example") {
		t.Errorf("who am I: %d %s", res.StatusCode, res.body)
	}
	if got := askedWith(b.toDoor(w.origin(notesHost) + "/")); got != idpSignOn {
		t.Errorf("at the other she is asked with %q", got)
	}
}
