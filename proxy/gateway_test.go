package proxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSignOnEndsAtThePageThatWasAskedFor(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()

	first := b.navigate(w.origin(headersHost) + "/deep/link?q=1;2&q=%2F")
	if first.StatusCode != http.StatusSeeOther || !strings.HasPrefix(first.Header.Get("Location"), w.origin(doorHost)+"/.sallyport/sign_in?begin=") {
		t.Fatalf("a tool without session answers %d to %q, want a redirect to the door", first.StatusCode, first.Header.Get("Location"))
	}
	toIdP := b.navigate(first.Header.Get("Location"))
	posted := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, toIdP.Header.Get("Location"), "alice"))
	if !strings.HasPrefix(posted.Header.Get("Location"), w.origin(headersHost)+"/.sallyport/ticket?ticket=") {
		t.Fatalf("after sign-on the door sends to %q, want a ticket for the tool", posted.Header.Get("Location"))
	}
	redeemed := b.navigate(posted.Header.Get("Location"))
	if want := w.origin(headersHost) + "/deep/link?q=1;2&q=%2F"; redeemed.Header.Get("Location") != want {
		t.Fatalf("the ticket leads to %q, want %q", redeemed.Header.Get("Location"), want)
	}
	page := b.navigate(redeemed.Header.Get("Location"))
	if page.StatusCode != http.StatusOK || page.body != "backend: alice@example.com" {
		t.Fatalf("the tool answers %d %q", page.StatusCode, page.body)
	}
	got, _ := w.backend.seen()
	if got.RequestURI != "/deep/link?q=1;2&q=%2F" {
		t.Errorf("backend got %q, want the target as it was sent", got.RequestURI)
	}

	if second := b.signIn(w.origin(notesHost)+"/", "nobody asks"); second.body != "backend: alice@example.com" {
		t.Errorf("the second tool asks again: %d %q", second.StatusCode, second.body)
	}
}

func TestBackendLearnsWhoItIsFromTheGatewayAlone(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodGet, w.origin(headersHost)+"/x", nil)
	for name, value := range map[string]string{
		"X-Forwarded-User": "root", "X_Forwarded_User": "root", "X.Forwarded.User": "root", "x-forwarded-GROUPS": "wheel",
		"Remote-User": "root", "X-Forwarded-For": "203.0.113.1", "X-Forwarded-Host": "evil.example", "Forwarded": "for=evil",
		"X-Real-Ip": "203.0.113.1", "Authorization": "Bearer stolen", "X-Request-Id": "mine", "X-Sallyport-Assertion": "forged",
		"Connection": "X-Forwarded-User, X-Forwarded-Groups, close", "X-Custom": "kept",
	} {
		req.Header[name] = []string{value}
	}
	if res := b.do(req); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, res.body)
	}
	got, _ := w.backend.seen()
	delete(got.Header, "Accept-Encoding")
	delete(got.Header, "User-Agent")
	if id := got.Header.Get("X-Request-Id"); len(id) != 16 {
		t.Errorf("request id %q, want one of ours", id)
	}
	delete(got.Header, "X-Request-Id")
	want := http.Header{
		"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"},
		"X-Forwarded-Preferred-Username": {"Alice Liddell"}, "X-Forwarded-Groups": {"engineers"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {strings.TrimPrefix(w.origin(headersHost), "https://")},
		"X-Custom": {"kept"}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Errorf("headers at the backend (-want +got):\n%s", diff)
	}
}

func TestCookiesOfTheGatewayStayAtTheGateway(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/cookies", func(rw http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"own=1; Path=/", "__Host-sallyport=evil; Path=/; Secure", "__host-SALLYPORT-link=evil", "=__Host-sallyport=evil"} {
			rw.Header().Add("Set-Cookie", line)
		}
		rw.Header().Set("X-Forwarded-User", "root")
		rw.Header().Set("Alt-Svc", `h3="evil:443"`)
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodGet, w.origin(headersHost)+"/cookies", nil)
	req.AddCookie(&http.Cookie{Name: "theirs", Value: "1"})
	res := b.do(req)
	if diff := cmp.Diff([]string{"own=1; Path=/"}, res.Header.Values("Set-Cookie")); diff != "" {
		t.Errorf("Set-Cookie (-want +got):\n%s", diff)
	}
	if res.Header.Get("X-Forwarded-User") != "" || res.Header.Get("Alt-Svc") != "" {
		t.Errorf("managed headers came back: %v", res.Header)
	}
	got, _ := w.backend.seen()
	if diff := cmp.Diff([]string{"theirs=1"}, got.Header.Values("Cookie")); diff != "" {
		t.Errorf("Cookie at the backend (-want +got):\n%s", diff)
	}
}

func TestPolicyDecidesPerRoute(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "bob")
	_, before := w.backend.seen()
	for host, reason := range map[string]string{notesHost: "not_in_allow", closedHost: "route_allows_nobody"} {
		res := b.signIn(w.origin(host)+"/", "nobody asks")
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s answers %d, want 403", host, res.StatusCode)
		}
		record := w.records(1)
		last := record[len(record)-1]
		if !strings.Contains(res.body, reason) || !strings.Contains(res.body, last["http.request.id"].(string)) {
			t.Errorf("the page of %s does not show reason %s and the request id of its line:\n%s", host, reason, res.body)
		}
		if last["sallyport.decision"] != "deny" || last["event.reason"] != reason || last["user.name"] != "bob@example.com" {
			t.Errorf("line of %s: %v", host, last)
		}
	}
	if _, after := w.backend.seen(); after != before {
		t.Errorf("%d refused requests reached the backend", after-before)
	}
	if res := b.signIn(w.origin(openHost)+"/", "nobody asks"); res.StatusCode != http.StatusOK {
		t.Errorf("any_signed_in answers %d, want 200", res.StatusCode)
	}
}

func TestPortalListsWhatMayBeOpened(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	home := b.signIn(w.origin(doorHost)+"/", "bob")
	for host, want := range map[string]bool{headersHost: true, openHost: true, notesHost: false, closedHost: false} {
		if got := strings.Contains(home.body, w.origin(host)+"/"); got != want {
			t.Errorf("portal links %s: %v, want %v", host, got, want)
		}
	}
	if !strings.Contains(home.body, "bob@example.com") || home.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("portal without the user or cacheable: %v\n%s", home.Header, home.body)
	}
}

func TestBackgroundRequestsGet401(t *testing.T) {
	tests := []struct {
		name   string
		method string
		header http.Header
		status int
		page   bool
	}{
		{"fetch", "GET", http.Header{"Sec-Fetch-Mode": {"cors"}, "Accept": {"*/*"}}, 401, false},
		{"a page's own XHR that asks for HTML", "GET", http.Header{"X-Requested-With": {"XMLHttpRequest"}, "Accept": {"text/html"}}, 401, false},
		{"an API client", "GET", http.Header{"Accept": {"application/json"}}, 401, false},
		{"an image", "GET", http.Header{"Sec-Fetch-Mode": {"no-cors"}, "Accept": {"text/html"}}, 401, false},
		{"a WebSocket", "GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Accept": {"text/html"}}, 401, false},
		{"a form of a person", "POST", http.Header{"Sec-Fetch-Mode": {"navigate"}}, 401, true},
		{"a navigation", "GET", http.Header{"Sec-Fetch-Mode": {"navigate"}}, 303, false},
		{"an old browser", "GET", http.Header{"Accept": {"text/html,*/*"}}, 303, false},
	}
	w := newWorld(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := w.browser()
			req := b.request(test.method, w.origin(headersHost)+"/api", nil)
			req.Header = test.header
			res := b.do(req)
			if res.StatusCode != test.status || strings.Contains(res.Header.Get("Content-Type"), "text/html") != test.page {
				t.Fatalf("answer %d %s", res.StatusCode, res.Header.Get("Content-Type"))
			}
			if test.status == 401 && !test.page && (!strings.Contains(res.body, `"error":"no_session"`) || !strings.Contains(res.body, `"signin":"`+w.origin(headersHost)+`/"`)) {
				t.Errorf("body %s", res.body)
			}
			if test.status == 401 && len(res.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("a background request was given cookies: %v", res.Header.Values("Set-Cookie"))
			}
		})
	}
}

func TestTicketsWorkOnceAndInOneBrowser(t *testing.T) {
	w := newWorld(t, nil)
	victim, attacker := w.browser(), w.browser()
	toDoor := attacker.navigate(w.origin(headersHost) + "/").Header.Get("Location")
	toIdP := attacker.navigate(toDoor).Header.Get("Location")
	ticket := attacker.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, toIdP, "bob")).Header.Get("Location")

	if res := victim.navigate(ticket); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "ticket_foreign") {
		t.Errorf("another browser's ticket: %d", res.StatusCode)
	}
	atOther := strings.Replace(ticket, headersHost, notesHost, 1)
	if res := attacker.navigate(atOther); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "ticket_invalid") {
		t.Errorf("a ticket at another tool: %d", res.StatusCode)
	}
	// Redeem with a copy of the cookies, so that the second try has them too.
	cookies := attacker.client.Jar.Cookies(mustParse(t, ticket))
	if res := attacker.navigate(ticket); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("first use: %d %s", res.StatusCode, res.body)
	}
	again := w.browser()
	again.client.Jar.SetCookies(mustParse(t, ticket), cookies)
	if res := again.navigate(ticket); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "ticket_used") {
		t.Errorf("second use: %d", res.StatusCode)
	}
}

func TestAnswersOfTheIdPAreBoundToOneBrowserAndOneUse(t *testing.T) {
	w := newWorld(t, nil)
	attacker, victim := w.browser(), w.browser()
	toIdP := func(b *browser) string {
		return b.navigate(b.navigate(w.origin(headersHost) + "/").Header.Get("Location")).Header.Get("Location")
	}
	acs := w.origin(doorHost) + "/saml/acs"
	form := samlForm(t, toIdP(attacker), "bob")
	refused := func(name string, res answer, reason string) {
		t.Helper()
		records := w.records(1)
		last := records[len(records)-1]
		if res.StatusCode != http.StatusForbidden || last["event.reason"] != reason || last["event.action"] != "signin" {
			t.Errorf("%s: %d, line %v, want 403 %s", name, res.StatusCode, last, reason)
		}
		if strings.Contains(res.body, reason) || strings.Contains(res.body, "private detail") {
			t.Errorf("%s: the page tells why: %s", name, res.body)
		}
		if len(res.Header.Values("Set-Cookie")) > 0 && strings.Contains(strings.Join(res.Header.Values("Set-Cookie"), "\n"), "__Host-sallyport=") {
			t.Errorf("%s: a session was set", name)
		}
	}
	refused("posted in another browser", victim.post(acs, "cross-site", form), "no_pending_signin")
	refused("unsolicited", victim.post(acs, "cross-site", url.Values{"SAMLResponse": {"x alice"}}), "no_pending_signin")

	other := samlForm(t, toIdP(attacker), "bob")
	mixed := url.Values{"RelayState": form["RelayState"], "SAMLResponse": other["SAMLResponse"]}
	refused("answer to another request of the same browser", attacker.post(acs, "cross-site", mixed), "in_response_to")

	cookies := attacker.client.Jar.Cookies(mustParse(t, acs))
	if res := attacker.post(acs, "cross-site", form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("first use: %d %s", res.StatusCode, res.body)
	}
	again := w.browser()
	again.client.Jar.SetCookies(mustParse(t, acs), cookies)
	refused("the same answer again", again.post(acs, "cross-site", form), "signin_used")
	if res := attacker.post(acs, "cross-site", other); res.StatusCode != http.StatusSeeOther {
		t.Errorf("a second tab of the same browser: %d", res.StatusCode)
	}
}

func TestSignOutEndsEveryTool(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "alice")
	signOut := w.origin(notesHost) + "/.sallyport/sign_out"

	if res := b.navigate(signOut); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `method="post"`) {
		t.Errorf("a link to sign out: %d, want a page with a button", res.StatusCode)
	}
	if res := b.post(signOut, "cross-site", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("another site's form signs out: %d", res.StatusCode)
	}
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Fatalf("still signed in: %d", res.StatusCode)
	}
	res := b.post(signOut, "same-origin", nil)
	if !strings.HasPrefix(res.next(), w.origin(doorHost)+"/.sallyport/sign_out?token=") {
		t.Fatalf("sign-out leads to %q", res.next())
	}
	if res = b.navigate(res.next()); res.next() != w.origin(doorHost)+"/.sallyport/signed_out?idp=corp" {
		t.Fatalf("and then to %q", res.next())
	}
	if page := b.navigate(res.next()); page.StatusCode != http.StatusOK || !strings.Contains(page.body, "You may still be signed in at Corporate") {
		t.Errorf("signed-out page: %d %s", page.StatusCode, page.body)
	}
	for _, host := range []string{headersHost, notesHost, doorHost} {
		if res := b.navigate(w.origin(host) + "/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s still answers %d", host, res.StatusCode)
		}
	}
}

func TestTabsThatSignOnSideBySideEndTogether(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	begin := func(host string) url.Values {
		return samlForm(t, b.navigate(b.navigate(w.origin(host)+"/").Header.Get("Location")).Header.Get("Location"), "alice")
	}
	forms := map[string]url.Values{headersHost: begin(headersHost), notesHost: begin(notesHost)}
	for host, form := range forms {
		ticket := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", form).Header.Get("Location")
		if !strings.HasPrefix(ticket, w.origin(host)) {
			t.Fatalf("sign-on for %s leads to %q", host, ticket)
		}
		b.navigate(ticket)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	for host := range forms {
		if res := b.navigate(w.origin(host) + "/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s outlives the sign-out: %d", host, res.StatusCode)
		}
	}
}

func TestOddRequestsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	tests := []struct {
		name, method, host, path string
		status                   int
		reason                   string
	}{
		{"unknown host", "GET", "unknown.example.test", "/", 421, "unknown_host"},
		{"TRACE", "TRACE", headersHost, "/", 405, "method"},
		{"lower-case method", "get", headersHost, "/", 405, "method"},
		{"reserved path", "GET", headersHost, "/.sallyport/unknown", 404, "not_found"},
		{"reserved path, encoded", "GET", headersHost, "/%2esallyport/unknown", 404, "not_found"},
		{"nothing at the door", "GET", doorHost, "/admin", 404, "not_found"},
		{"begin without token", "GET", doorHost, "/.sallyport/sign_in", 400, "begin_invalid"},
		{"forged begin", "GET", doorHost, "/.sallyport/sign_in?begin=AAAA", 400, "begin_invalid"},
		{"forged ticket", "GET", headersHost, "/.sallyport/ticket?ticket=AAAA", 403, "ticket_invalid"},
		{"answer by GET", "GET", doorHost, "/saml/acs?SAMLResponse=x", 403, "method"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res := b.do(b.request(test.method, w.origin(test.host)+test.path, nil))
			last := w.lastRecord(i + 1)
			if res.StatusCode != test.status || last["event.reason"] != test.reason {
				t.Errorf("answer %d, reason %v, want %d %s", res.StatusCode, last["event.reason"], test.status, test.reason)
			}
		})
	}
	if _, hits := w.backend.seen(); hits > 0 {
		t.Errorf("%d of them reached a backend", hits)
	}
}

func TestHostIsReadInOneForm(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	for _, host := range []string{"HEADERS.example.test", "headers.example.test.", "Headers.Example.Test.:8443"} {
		req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
		req.Host = host
		if res := b.do(req); res.StatusCode != http.StatusOK {
			t.Errorf("Host %q: %d", host, res.StatusCode)
		}
	}
}

func mustParse(t testing.TB, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
