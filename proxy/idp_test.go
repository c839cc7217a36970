package proxy_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/saml"
)

const partnerSignOn = "https://idp.partner.example/sso"

// newPartners is a world with two identity providers: corp, which all routes take
// but for notes, which takes corp alone, and partner, which has a carol and a user of
// the same name as corp's alice.
func newPartners(tb testing.TB, change func(*proxy.Config)) (*world, *scriptedSAML) {
	tb.Helper()
	partner := &scriptedSAML{at: partnerSignOn, issued: map[string]bool{}, people: map[string]saml.Principal{
		"carol": {User: "carol@partner.example", Groups: []string{"engineers"}, IdP: "https://idp.partner.example", AuthnInstant: time.Now(), SigningCertificate: "7e2c"},
		"alice": {User: "alice@example.com", Groups: []string{"engineers"}, IdP: "https://idp.partner.example", AuthnInstant: time.Now()},
		"mixed": {User: "alice@example.com", Groups: []string{"engineers"}, IdP: "https://idp.example.org", AuthnInstant: time.Now()},
	}}
	return newWorld(tb, func(cfg *proxy.Config) {
		cfg.IdPs[0].Domains = []string{"example.com", "example.net"}
		cfg.IdPs = append(cfg.IdPs, proxy.IdP{Name: "partner", Title: "Partner & Sons", SAML: partner, Domains: []string{"partner.example"}})
		cfg.Routes[1].IdPs = []string{"corp"}
		if change != nil {
			change(cfg)
		}
	}), partner
}

// toDoor opens address, and follows to the door what a tool's host answers.
func (b *browser) toDoor(address string) answer {
	b.w.tb.Helper()
	res := b.navigate(address)
	for strings.HasPrefix(res.Header.Get("Location"), b.w.origin(doorHost)+"/.sallyport/sign_in") {
		res = b.navigate(res.Header.Get("Location"))
	}
	return res
}

// finish posts the answer to the sign-on that begun leads to, and follows it home.
func (b *browser) finish(begun answer, person string) answer {
	b.w.tb.Helper()
	res := b.post(b.w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(b.w.tb, begun.Header.Get("Location"), person))
	for range 5 {
		if res.StatusCode != http.StatusSeeOther {
			return res
		}
		res = b.navigate(res.Header.Get("Location"))
	}
	b.w.tb.Fatalf("still redirected: %s", res.Header.Get("Location"))
	return res
}

// askedWith is the identity provider that an answer sends to: its address up to the
// query, or "chooser".
func askedWith(res answer) string {
	if at, _, ok := strings.Cut(res.Header.Get("Location"), "?"); ok {
		return at
	}
	if res.StatusCode == http.StatusOK && strings.Contains(res.body, `class="choices"`) {
		return "chooser"
	}
	return res.Status
}

// last is the line of the last request that has been answered.
func (w *world) last(b *browser) map[string]any {
	w.tb.Helper()
	id := b.navigate(w.origin("unknown.example.test") + "/").body
	all := w.records(1)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); all = w.records(1) {
		if i := len(all) - 1; i > 0 && strings.Contains(id, all[i]["http.request.id"].(string)) {
			return all[i-1]
		}
		<-time.After(time.Millisecond)
	}
	w.tb.Fatal("no line for the marker")
	return nil
}

// Whoever vouched for a session decides where it counts, on every request.
func TestARouteOpensToItsOwnIdPs(t *testing.T) {
	w, _ := newPartners(t, nil)
	b := w.browser()
	home := b.finish(b.navigate(w.origin(doorHost)+"/?idp=partner"), "alice")
	if strings.Contains(home.body, w.origin(notesHost)) || !strings.Contains(home.body, w.origin(headersHost)) {
		t.Errorf("the list of tools of somebody from the partner:\n%s", home.body)
	}
	_, before := w.backend.seen()
	begun := b.toDoor(w.origin(notesHost) + "/page")
	if got := askedWith(begun); got != idpSignOn {
		t.Fatalf("somebody from the partner is asked with %q", got)
	}
	line := w.last(b)
	if line["event.reason"] != "other_idp" || line["sallyport.decision"] != "signin" || line["user.name"] != "alice@example.com" {
		t.Errorf("line %v", line)
	}
	if _, after := w.backend.seen(); after != before {
		t.Error("the request has reached the backend")
	}
	if res := b.finish(begun, "alice"); res.body != "backend: alice@example.com" || res.Request.URL.Path != "/page" {
		t.Errorf("after signing in with the route's own: %d %q", res.StatusCode, res.body)
	}

	// A session of the partner's in the cookie of the very host, as after a change of
	// the route.
	wider, _ := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[1].IdPs = nil })
	b = wider.browser()
	begin := b.navigate(wider.origin(notesHost) + "/").Header.Get("Location")
	b.finish(b.navigate(begin+"&idp=partner"), "carol")
	if res := b.navigate(wider.origin(notesHost) + "/"); res.StatusCode != http.StatusOK {
		t.Fatalf("before the change: %d", res.StatusCode)
	}
	wider.replace(func(cfg *proxy.Config) { cfg.Routes[1].IdPs = []string{"corp"} })
	req := b.request(http.MethodGet, wider.origin(notesHost)+"/api", nil)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	if res := b.do(req); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, `"error":"other_idp"`) {
		t.Errorf("a background request: %d %s", res.StatusCode, res.body)
	}
	if line := wider.last(b); line["user.name"] != "carol@partner.example" || line["event.reason"] != "other_idp" || line["sallyport.decision"] != "deny" {
		t.Errorf("line %v", line)
	}
	if res := b.navigate(wider.origin(notesHost) + "/.sallyport/whoami"); res.StatusCode != http.StatusUnauthorized || strings.Contains(res.body, "carol") {
		t.Errorf("whoami: %d %s", res.StatusCode, res.body)
	}
	if got := askedWith(b.toDoor(wider.origin(notesHost) + "/")); got != idpSignOn {
		t.Errorf("a navigation is asked with %q", got)
	}
}

// Taking an identity provider out of the configuration is the switch for the day on
// which its key is stolen.
func TestARemovedIdPTakesItsSessionsAlong(t *testing.T) {
	w, _ := newPartners(t, nil)
	w.backend.mux.HandleFunc("/stream", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "first\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	signed := map[string]*browser{"carol": w.browser(), "bob": w.browser()}
	idps := map[string]string{"carol": "partner", "bob": "corp"}
	streams := map[string]*http.Response{}
	for person, b := range signed {
		b.finish(b.navigate(b.navigate(w.origin(headersHost)+"/").Header.Get("Location")+"&idp="+idps[person]), person)
		res, err := b.client.Do(b.request(http.MethodGet, w.origin(headersHost)+"/stream", nil))
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", person, err)
		}
		defer res.Body.Close()
		if _, err := io.ReadFull(res.Body, make([]byte, len("first\n"))); err != nil {
			t.Fatal(err)
		}
		streams[person] = res
	}
	begun := w.browser()
	under := begun.navigate(w.origin(doorHost) + "/?idp=partner")

	w.replace(func(cfg *proxy.Config) { cfg.IdPs = cfg.IdPs[:1] })
	if _, err := io.ReadAll(streams["carol"].Body); err == nil { // at once: nobody waits a minute here
		t.Error("a stream of the partner's people ends as if it were whole")
	}
	if res := signed["carol"].navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("a session of the partner's people: %d", res.StatusCode)
	}
	if line := w.last(signed["carol"]); line["event.reason"] != "idp_removed" || line["user.name"] != "carol@partner.example" {
		t.Errorf("line %v", line)
	}
	if res := signed["carol"].navigate(w.origin(doorHost) + "/"); askedWith(res) != idpSignOn {
		t.Errorf("the door asks them with %q", askedWith(res))
	}
	res := begun.finish(under, "carol")
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "is not used here any more") {
		t.Errorf("a sign-on that was under way: %d\n%s", res.StatusCode, res.body)
	}
	if line := w.last(begun); line["event.reason"] != "idp_removed" || line["event.action"] != "signin" {
		t.Errorf("line %v", line)
	}
	if res := signed["bob"].navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("a session of the other: %d", res.StatusCode)
	}
	streams["bob"].Body.Close()
	found := slices.ContainsFunc(w.records(1), func(r map[string]any) bool {
		return r["url.path"] == "/stream" && r["event.reason"] == "access_withdrawn" && r["user.name"] == "carol@partner.example"
	})
	if !found {
		t.Error("no line says that the stream was cut")
	}
}

// An identity provider answers for itself alone (mix-up): which one is asked to
// verify stands in the browser's cookie, and in nothing that was posted.
func TestAnAnswerIsVerifiedByTheIdPThatWasAsked(t *testing.T) {
	w, partner := newPartners(t, nil)
	b := w.browser()
	atCorp := b.navigate(w.origin(doorHost) + "/?idp=corp")
	atPartner := b.navigate(w.origin(doorHost) + "/?idp=partner")
	acs := w.origin(doorHost) + "/saml/acs"
	corpForm, partnerForm := samlForm(t, atCorp.Header.Get("Location"), "alice"), samlForm(t, atPartner.Header.Get("Location"), "alice")

	crossed := url.Values{"RelayState": corpForm["RelayState"], "SAMLResponse": partnerForm["SAMLResponse"]}
	if res := b.post(acs, "cross-site", crossed); res.StatusCode != http.StatusForbidden || len(partner.wants) > 0 || len(w.saml.wants) != 1 {
		t.Errorf("the partner's answer under corp's relay state: %d, corp was asked %d times and the partner %d", res.StatusCode, len(w.saml.wants), len(partner.wants))
	}
	mixed := samlForm(t, atPartner.Header.Get("Location"), "mixed")
	if res := b.post(acs, "cross-site", mixed); res.StatusCode != http.StatusForbidden {
		t.Errorf("the partner vouches as if it were corp: %d", res.StatusCode)
	}
	if line := w.last(b); line["event.reason"] != "issuer" {
		t.Errorf("line %v", line)
	}
	begun := time.Now()
	for name, form := range map[string]url.Values{"corp": corpForm, "partner": partnerForm} {
		if res := b.post(acs, "cross-site", form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	for sp, form := range map[*scriptedSAML]url.Values{w.saml: corpForm, partner: partnerForm} {
		got := sp.wants[len(sp.wants)-1]
		id, _, _ := strings.Cut(form.Get("SAMLResponse"), " ")
		if age := begun.Sub(got.RequestedAt); got.RequestID != id || age < 0 || age > time.Minute {
			t.Errorf("%s has to find %+v, %v old", sp.IdP().EntityID, got, age)
		}
		got.RequestID, got.RequestedAt = "", time.Time{}
		if diff := cmp.Diff(saml.Expectation{}, got); diff != "" {
			t.Errorf("what else is expected:\n%s", diff)
		}
	}
}

func TestTabsAtSeveralIdPs(t *testing.T) {
	w, _ := newPartners(t, nil)
	b := w.browser()
	begun := map[string]answer{}
	for host, idp := range map[string]string{headersHost: "corp", openHost: "partner", notesHost: "corp"} {
		begun[host] = b.navigate(b.navigate(w.origin(host)+"/").Header.Get("Location") + "&idp=" + idp)
	}
	for host, res := range begun { // the same person, in whichever order
		if got := b.finish(res, "alice"); got.body != "backend: alice@example.com" {
			t.Errorf("%s: %d %q", host, got.StatusCode, got.body)
		}
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	for host := range begun {
		if res := b.navigate(w.origin(host) + "/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s outlives the sign-out: %d", host, res.StatusCode)
		}
	}
}

func TestRequestsByPOSTAreCarriedByAPage(t *testing.T) {
	w, partner := newPartners(t, nil)
	partner.posts = true
	res := w.browser().navigate(w.origin(doorHost) + "/?idp=partner")
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, `<form method="post" action="`+partnerSignOn+`">`) || !strings.Contains(res.body, `name="SAMLRequest"`) {
		t.Errorf("%d\n%s", res.StatusCode, res.body)
	}
	if !strings.Contains(strings.Join(res.Header.Values("Set-Cookie"), "\n"), "__Host-sallyport-signon-") {
		t.Error("the sign-on is not remembered")
	}
}

// Who has to prove more does so where they have signed in, and is not asked where.
func TestStepUpGoesToTheIdPThatVouched(t *testing.T) {
	w, partner := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[0].StepUp.MaxAge = 5 * time.Minute })
	old := partner.people["carol"]
	old.AuthnInstant = time.Now().Add(-time.Hour)
	partner.people["old"] = old
	forget := func(b *browser) {
		b.client.Jar.SetCookies(mustParse(t, w.origin(doorHost)), []*http.Cookie{{Name: "__Host-sallyport-idp", Path: "/", Secure: true, MaxAge: -1}})
	}
	b := w.browser()
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=partner"), "old")
	forget(b)
	begun := b.toDoor(w.origin(headersHost) + "/")
	if got := askedWith(begun); got != partnerSignOn {
		t.Fatalf("somebody of the partner's who signed in too long ago is asked with %q", got)
	}
	if res := b.finish(begun, "carol"); res.body != "backend: carol@partner.example" {
		t.Errorf("after that: %d %q", res.StatusCode, res.body)
	}
	// At once after a sign-on that turns out to be too old.
	b = w.browser()
	begun = b.navigate(b.navigate(w.origin(headersHost)+"/").Header.Get("Location") + "&idp=partner")
	forget(b)
	again := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, begun.Header.Get("Location"), "old"))
	if got := askedWith(again); got != partnerSignOn {
		t.Fatalf("an answer that is too old leads to %q", got)
	}
	if res := b.finish(again, "carol"); res.body != "backend: carol@partner.example" {
		t.Errorf("after that: %d %q", res.StatusCode, res.body)
	}
}

func TestEachIdPIsGivenItsMetadata(t *testing.T) {
	w, _ := newPartners(t, nil)
	for query, want := range map[string]int{"": 200, "?idp=corp": 200, "?idp=partner": 200, "?idp=other": 404} {
		if res := w.browser().navigate(w.origin(doorHost) + "/saml/metadata" + query); res.StatusCode != want {
			t.Errorf("metadata%s: %d, want %d", query, res.StatusCode, want)
		}
	}
}

func TestIdPsThatDoNotFitAreRefused(t *testing.T) {
	w, partner := newPartners(t, nil)
	good := func() []proxy.IdP { return slices.Clone(w.cfg.IdPs) }
	port := w.addr[strings.LastIndexByte(w.addr, ':'):]
	for name, change := range map[string]func(*proxy.Config){
		"no identity provider":    func(cfg *proxy.Config) { cfg.IdPs = nil },
		"name is empty, or taken": func(cfg *proxy.Config) { cfg.IdPs[1].Name = "corp" },
		`"": its name is empty`:   func(cfg *proxy.Config) { cfg.IdPs[1].Name = "" },
		"no service provider":     func(cfg *proxy.Config) { cfg.IdPs[1].SAML = nil },
		"or another's":            func(cfg *proxy.Config) { cfg.IdPs[1].SAML = &scriptedSAML{} },
		`wants the identity provider "other"`: func(cfg *proxy.Config) {
			cfg.Routes = slices.Clone(cfg.Routes)
			cfg.Routes[0].IdPs = []string{"corp", "other"}
		},
		`lead to "https://evil.example"`:             func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "https://evil.example" },
		`lead to "https://` + doorHost + `/"`:        func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "https://" + doorHost + "/" }, // another port
		`lead to "http://` + doorHost + port + `"`:   func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "http://" + doorHost + port },
		`lead to "https://a@` + doorHost + port:      func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "https://a@" + doorHost + port },
		`lead to "https://` + doorHost + `.evil.org`: func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "https://" + doorHost + ".evil.org" + port },
		`lead to "//` + doorHost:                     func(cfg *proxy.Config) { cfg.IdPs[1].Landing = "//" + doorHost + port },
	} {
		cfg := w.cfg
		cfg.IdPs, cfg.Access = good(), accesslog.New(io.Discard, "gateway")
		change(&cfg)
		if _, err := proxy.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one with %q", err, name)
		}
	}
	cfg := w.cfg
	cfg.IdPs = good()
	cfg.IdPs[1] = proxy.IdP{Name: "partner", SAML: partner, Landing: "https://" + notesHost + port + "/start?x=1"}
	if _, err := proxy.New(cfg); err != nil {
		t.Errorf("a landing on a tool's host: %v", err)
	}
}

func portOf(port int) string { return strconv.Itoa(port) }

// A page that sends somebody to a tool of another identity provider's must not have that
// one put another person in their place: they are asked first.
func TestAPageChangesNobodysIdP(t *testing.T) {
	w, _ := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[1].IdPs = []string{"partner"} })
	b := w.browser()
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=corp"), "bob")
	from := func(site, address string) answer {
		req := b.request(http.MethodGet, address, nil)
		req.Header.Set("Sec-Fetch-Site", site)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		return b.do(req)
	}
	begin := from("cross-site", w.origin(notesHost)+"/page").Header.Get("Location")
	if sibling := from("same-site", begin); sibling.StatusCode != http.StatusOK || !strings.Contains(sibling.body, "bob@example.com") {
		t.Errorf("a page of another tool: %d, leads to %q", sibling.StatusCode, sibling.Header.Get("Location"))
	}
	page := from("cross-site", begin)
	if page.StatusCode != http.StatusOK || !strings.Contains(page.body, "You are signed in as bob@example.com") || len(page.Header.Values("Set-Cookie")) > 0 {
		t.Fatalf("%d, cookies %v, leads to %q\n%s", page.StatusCode, page.Header.Values("Set-Cookie"), page.Header.Get("Location"), page.body)
	}
	if line := w.last(b); line["event.reason"] != "other_idp" || line["user.name"] != "bob@example.com" {
		t.Errorf("line %v", line)
	}
	if !strings.Contains(page.body, `href="`+begin+`"`) {
		t.Errorf("the page does not lead to %s:\n%s", begin, page.body)
	}
	if got := askedWith(from("same-origin", begin)); got != partnerSignOn {
		t.Errorf("after the click somebody is asked with %q", got)
	}
	if got := askedWith(from("none", begin)); got != partnerSignOn {
		t.Errorf("an address that was typed leads to %q", got)
	}
}
