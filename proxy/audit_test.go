package proxy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/auditpage"
	"github.com/sallyport/sallyport/proxy/session"
)

// feeding hands the lines of a log on to the audit page, without the goroutine that does
// so in a gateway.
type feeding struct{ to *auditpage.Recent }

func (f feeding) Write(lines []byte) (int, error) {
	f.to.Add(string(lines))
	return len(lines), nil
}

const auditMaxAge = time.Hour

// newAudited is a world whose admins, of whom alice is one, may look into the log.
func newAudited(tb testing.TB, change func(*proxy.Config)) *world {
	tb.Helper()
	recent, log := auditpage.NewRecent(auditpage.DefaultMemory), new(lines)
	w := newWorld(tb, func(cfg *proxy.Config) {
		if change != nil {
			change(cfg)
		}
		page, err := auditpage.New(auditpage.Config{Base: proxy.AuditPath, Home: "/", Store: recent, Recent: recent, Now: cfg.Now})
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Audit = &proxy.Audit{Groups: []string{"admins"}, MaxAge: auditMaxAge, Page: page}
		cfg.Access = accesslog.New(io.MultiWriter(log, feeding{recent}), "gateway")
	})
	w.log, log.access = log, w.cfg.Access
	return w
}

func (w *world) auditURL(rest string) string { return w.origin(doorHost) + proxy.AuditPath + rest }

// differing is what differs between two pages for one and the same thing.
var differing = regexp.MustCompile(`[a-z2-7]{16}`)

func TestAuditPageIsNothingToEverybodyElse(t *testing.T) {
	w := newAudited(t, nil)
	off := newWorld(t, nil)
	stranger, bob, offAlice := w.browser(), w.browser(), off.browser()
	bob.signIn(w.origin(doorHost)+"/", "bob")
	offAlice.signIn(off.origin(doorHost)+"/", "alice")
	for _, rest := range []string{"", "/", "/denials", "/live", "/live/events", "/verification", "/export.csv", "/export.json", "?person=alice", "/nothing"} {
		for name, b := range map[string]*browser{"a stranger": stranger, "no auditor": bob, "an admin where there is no page": offAlice} {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
				asks := func(address string) answer { return b.do(b.request(method, address, nil)) }
				got, want := asks(b.w.auditURL(rest)), asks(b.w.origin(doorHost)+"/.sallyport/no_such_page")
				if got.StatusCode != http.StatusNotFound {
					t.Errorf("%s, %s %s: status %d", name, method, rest, got.StatusCode)
				}
				got.Header.Del("Date")
				want.Header.Del("Date")
				if diff := cmp.Diff(want.Header, got.Header); diff != "" {
					t.Errorf("%s, %s %s: header (-elsewhere +there):\n%s", name, method, rest, diff)
				}
				if diff := cmp.Diff(differing.ReplaceAllString(want.body, "ID"), differing.ReplaceAllString(got.body, "ID")); diff != "" {
					t.Errorf("%s, %s %s: page (-elsewhere +there):\n%s", name, method, rest, diff)
				}
			}
		}
	}
}

func TestAuditorsViewsAreRecords(t *testing.T) {
	w := newAudited(t, nil)
	alice, bob := w.browser(), w.browser()
	home := alice.signIn(w.origin(doorHost)+"/", "alice")
	if !strings.Contains(home.body, `href="`+w.auditURL("")+`"`) {
		t.Errorf("the door does not lead an auditor there:\n%s", home.body)
	}
	if home := bob.signIn(w.origin(doorHost)+"/", "bob"); strings.Contains(home.body, "audit") {
		t.Error("the door leads somebody else there")
	}
	bob.signIn(w.origin(notesHost)+"/secret/plan", "bob") // denied
	w.log.text()                                          // so that the page has the record
	res := alice.navigate(w.auditURL("?person=bob@example.com&decision=deny&unknown=x"))
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, notesHost+"/secret/plan") || !strings.Contains(res.body, "not_in_allow") {
		t.Fatalf("status %d:\n%s", res.StatusCode, res.body)
	}
	bob.navigate(w.auditURL("?person=alice@example.com"))
	stranger := w.browser()
	stranger.navigate(w.auditURL(""))
	got := map[string][]any{}
	for _, r := range w.records(13) {
		if r["event.action"] == "audit_view" {
			got[fmt.Sprint(r["user.name"])] = []any{r["sallyport.decision"], r["event.reason"], r["rule.name"], r["http.response.status_code"], r["url.query"]}
		}
	}
	want := map[string][]any{
		"alice@example.com": {"allow", "group_allowed", "group:admins", 200., "decision=deny&person=bob%40example.com"},
		"bob@example.com":   {"deny", "not_in_allow", nil, 404., nil},
		"<nil>":             {"deny", "no_session", nil, 404., nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestAnotherSiteSearchesInNobodysName: whoever is led to the page by another site, or by a
// tool, is asked first, and the record has no search of theirs.
func TestAnotherSiteSearchesInNobodysName(t *testing.T) {
	w := newAudited(t, nil)
	b := w.browser()
	b.signIn(w.origin(doorHost)+"/", "alice")
	for _, site := range []string{"cross-site", "same-site", "same-origin", "none"} {
		for _, path := range []string{"?person=bob@example.com", "/denials?person=bob@example.com", "/live?person=bob@example.com"} {
			req := b.request(http.MethodGet, w.auditURL(path), nil)
			req.Header.Set("Accept", "text/html")
			req.Header.Set("Sec-Fetch-Site", site)
			req.Header.Set("Sec-Fetch-Mode", "navigate")
			req.Header.Set("Sec-Fetch-Dest", "document")
			res := b.do(req)
			led := strings.Contains(res.body, "Another site has led you to this search") && strings.Contains(res.body, "?person=bob%40example.com\">Search</a>")
			if own := site == "same-origin" || site == "none"; res.StatusCode != http.StatusOK || led == own {
				t.Errorf("%s, %s: status %d\n%s", site, path, res.StatusCode, res.body)
			}
		}
	}
	searched := 0
	for _, r := range w.lines(12, func(r map[string]any) bool { return r["event.action"] == "audit_view" }) {
		if r["url.query"] == "person=bob%40example.com" {
			searched++
		}
	}
	if searched != 6 {
		t.Errorf("%d records of a search, expected 6 of 12 visits", searched)
	}
}

func TestAuditPageNeedsAFreshSignOn(t *testing.T) {
	now := newClock()
	w := newAudited(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := w.browser()
	b.signIn(w.origin(doorHost)+"/", "alice")
	if res := b.navigate(w.auditURL("/denials?tool=notes")); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	for range 2 { // so that the session does not run out meanwhile
		now.pass(40 * time.Minute)
		b.navigate(w.origin(doorHost) + "/")
	}
	req := b.request(http.MethodGet, w.auditURL("/live/events"), nil)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if res := b.do(req); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "authn_too_old") {
		t.Errorf("a stream of events: status %d, %s", res.StatusCode, res.body)
	}
	w.saml.mu.Lock()
	alice := w.saml.people["alice"]
	alice.AuthnInstant = now.read()
	w.saml.people["alice"] = alice
	w.saml.mu.Unlock()
	at := w.auditURL("/denials?tool=notes")
	if res := b.navigate(at); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), idpSignOn) {
		t.Fatalf("status %d, to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if res := b.signIn(at, "alice"); res.StatusCode != http.StatusOK || res.Request.URL.String() != at {
		t.Errorf("after another sign-on: status %d at %s", res.StatusCode, res.Request.URL)
	}
}

// TestAuditorWhoseSessionRanOutSignsInAgain: and nobody else is told by it that there is
// a page.
func TestAuditorWhoseSessionRanOutSignsInAgain(t *testing.T) {
	now := newClock()
	w := newAudited(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	alice, bob := w.browser(), w.browser()
	alice.signIn(w.origin(doorHost)+"/", "alice")
	bob.signIn(w.origin(doorHost)+"/", "bob")
	now.pass(2 * time.Hour)
	if res := alice.navigate(w.auditURL("?person=bob")); res.StatusCode != http.StatusSeeOther {
		t.Errorf("an auditor: status %d", res.StatusCode)
	}
	if res := bob.navigate(w.auditURL("?person=bob")); res.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else: status %d", res.StatusCode)
	}
}

func TestOtherPagesCannotLook(t *testing.T) {
	w := newAudited(t, nil)
	b := w.browser()
	b.signIn(w.origin(doorHost)+"/", "alice")
	tests := []struct {
		name, rest, site, mode, dest string
		want                         int
	}{
		{"a link on another site", "?person=bob", "cross-site", "navigate", "document", 200},
		{"a link on a tool's page", "?person=bob", "same-site", "navigate", "document", 200},
		{"the page itself", "/live", "same-origin", "navigate", "document", 200},
		{"an address that was typed", "/export.csv", "none", "navigate", "document", 200},
		{"a link to an export on another site", "/export.csv", "cross-site", "navigate", "document", 404},
		{"a script of a tool", "", "same-site", "no-cors", "empty", 404},
		{"an event stream of a tool", "/live/events", "same-site", "cors", "empty", 404},
		{"an image of another site", "?person=bob", "cross-site", "no-cors", "image", 404},
		{"a frame of another site", "", "cross-site", "navigate", "iframe", 404},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := b.request(http.MethodGet, w.auditURL(test.rest), nil)
			req.Header.Set("Sec-Fetch-Site", test.site)
			req.Header.Set("Sec-Fetch-Mode", test.mode)
			req.Header.Set("Sec-Fetch-Dest", test.dest)
			res := b.do(req)
			if res.StatusCode != test.want {
				t.Errorf("status %d, want %d", res.StatusCode, test.want)
			}
			if res.StatusCode == http.StatusOK {
				for name, want := range map[string]string{
					"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "",
				} {
					if got := res.Header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			}
		})
	}
}

// events opens the stream of an auditor's live page.
func (b *browser) events(query string) *http.Response {
	b.w.tb.Helper()
	req := b.request(http.MethodGet, b.w.auditURL("/live/events"+query), nil)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Sec-Fetch-Mode", "cors")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.client.Do(req)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	b.w.tb.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		b.w.tb.Fatalf("status %d, %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	return res
}

func TestLivePageIsToldOfWhatOthersDo(t *testing.T) {
	w := newAudited(t, nil)
	alice, bob := w.browser(), w.browser()
	alice.signIn(w.origin(doorHost)+"/", "alice")
	lines := bufio.NewScanner(alice.events("?person=bob@example.com").Body)
	bob.signIn(w.origin(notesHost)+"/plan", "bob")
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var news struct{ Person, Tool, Decision, Target string }
		if err := json.Unmarshal([]byte(data), &news); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if news.Tool == "notes" && news.Decision == "deny" && news.Target == notesHost+"/plan" {
			return
		}
		if news.Person != "bob@example.com" {
			t.Errorf("told of %s", data)
		}
	}
	t.Errorf("the stream ended: %v", lines.Err())
}

// TestLivePageEndsWithTheSession, whoever has ended it.
func TestLivePageEndsWithTheSession(t *testing.T) {
	ends := map[string]func(*world, *browser){
		"a sign-out": func(w *world, b *browser) {
			b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
		},
		"an operator": func(w *world, _ *browser) {
			w.cfg.Sessions.Revocations().Withdraw(func(session.Use, *session.State) bool { return false })
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w := newAudited(t, nil)
			b := w.browser()
			b.signIn(w.origin(doorHost)+"/", "alice")
			res := b.events("")
			end(w, b)
			text, err := io.ReadAll(res.Body) // the client gives up long before the session would end
			if err != nil || !strings.HasSuffix(string(text), "event: end\ndata: {}\n\n") {
				t.Errorf("%v after:\n%s", err, text)
			}
		})
	}
}

// TestLivePageAfterAChangeOfTheConfiguration: it goes on for as long as its reader may
// look.
func TestLivePageAfterAChangeOfTheConfiguration(t *testing.T) {
	w := newAudited(t, nil)
	changed := func(audit *proxy.Audit) *proxy.Gateway {
		t.Helper()
		cfg := w.cfg
		cfg.Audit = audit
		g, err := proxy.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for name, after := range map[string]*proxy.Gateway{
		"another group":    changed(&proxy.Audit{Groups: []string{"auditors"}, Page: w.cfg.Audit.Page}),
		"no page any more": changed(nil),
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			b.signIn(w.origin(doorHost)+"/", "alice")
			lines := bufio.NewReader(b.events("?action=portal").Body)
			proxy.Withdraw(changed(w.cfg.Audit))
			b.navigate(w.origin(doorHost) + "/")
			for line := ""; !strings.HasPrefix(line, "data: "); {
				var err error
				if line, err = lines.ReadString('\n'); err != nil {
					t.Fatalf("ended by a change of nothing: %v", err)
				}
			}
			proxy.Withdraw(after)
			if text, err := io.ReadAll(lines); err != nil || !strings.HasSuffix(string(text), "event: end\ndata: {}\n\n") {
				t.Errorf("%v after:\n%s", err, text)
			}
		})
	}
}

func TestAuditPageWithoutGroupsIsAnError(t *testing.T) {
	w := newAudited(t, nil)
	for _, audit := range []*proxy.Audit{{Page: w.cfg.Audit.Page}, {Groups: []string{"admins"}}} {
		cfg := w.cfg
		cfg.Audit = audit
		if _, err := proxy.New(cfg); err == nil {
			t.Errorf("%+v was taken", audit)
		}
	}
}

// TestAuditPageStandsInNoWay: while the log cannot be written, auditors are let in no
// more than others.
func TestAuditPageStandsInNoWay(t *testing.T) {
	w := newAudited(t, nil)
	b := w.browser()
	b.signIn(w.origin(doorHost)+"/", "alice")
	w.log.setBroken(true)
	b.navigate(w.origin(doorHost) + "/")
	w.recordable(false)
	if res := b.navigate(w.auditURL("")); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", res.StatusCode)
	}
}
