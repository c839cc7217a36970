package proxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/sallyport/sallyport/proxy"
)

func TestTheAddressChoosesTheIdP(t *testing.T) {
	w, _ := newPartners(t, nil)
	tests := []struct {
		name, query, cookie, want string
	}{
		{"nothing is known", "", "", "chooser"},
		{"by name", "idp=partner", "", partnerSignOn},
		{"by name, whatever came last", "idp=partner", "corp", partnerSignOn},
		{"a name that there is not", "idp=evil", "", "chooser"},
		{"a name that there is not, whatever came last", "idp=evil", "corp", "chooser"},
		{"an address for a name", "idp=https://evil.example", "corp", "chooser"},
		{"no name", "idp=", "corp", "chooser"},
		{"asked to choose", "choose=1", "corp", "chooser"},
		{"by domain", "domain_hint=partner.example", "", partnerSignOn},
		{"by another domain of the same", "domain_hint=Example.NET", "", idpSignOn},
		{"a domain that nobody has", "domain_hint=other.example", "corp", "chooser"},
		{"a domain of which one is the end", "domain_hint=evil-partner.example", "", "chooser"},
		{"the last choice", "", "partner", partnerSignOn},
		{"a last choice that is gone", "", "former", "chooser"},
		{"a last choice that is none", "", "%zz", "chooser"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := w.browser()
			if test.cookie != "" {
				b.client.Jar.SetCookies(mustParse(t, w.origin(doorHost)), []*http.Cookie{{Name: "__Host-sallyport-idp", Value: test.cookie, Path: "/", Secure: true}})
			}
			if got := askedWith(b.navigate(w.origin(doorHost) + "/?" + test.query)); got != test.want {
				t.Errorf("the door's list of tools asks %q, want %q", got, test.want)
			}
			begin := b.navigate(w.origin(headersHost) + "/").Header.Get("Location")
			if got := askedWith(b.navigate(begin + "&" + test.query)); got != test.want {
				t.Errorf("a tool's sign-in asks %q, want %q", got, test.want)
			}
			begin = b.navigate(w.origin(notesHost) + "/").Header.Get("Location")
			if got := askedWith(b.navigate(begin + "&" + test.query)); got != idpSignOn {
				t.Errorf("a tool that takes one alone asks %q", got)
			}
		})
	}
}

// follow presses what a page offers: the link with that text, or the form.
func (b *browser) follow(page answer, name string, fill url.Values) answer {
	b.w.tb.Helper()
	root, err := html.Parse(strings.NewReader(page.body))
	if err != nil {
		b.w.tb.Fatal(err)
	}
	attr := func(n *html.Node, key string) string {
		for _, a := range n.Attr {
			if a.Key == key {
				return a.Val
			}
		}
		return ""
	}
	for n := range root.Descendants() {
		switch {
		case n.Data == "a" && fill == nil:
			var text strings.Builder
			for d := range n.Descendants() {
				if d.Type == html.TextNode {
					text.WriteString(d.Data)
				}
			}
			if strings.HasPrefix(text.String(), name) {
				return b.navigate(page.Request.URL.ResolveReference(mustURL(b.w.tb, attr(n, "href"))).String())
			}
		case n.Data == "form" && fill != nil:
			for d := range n.Descendants() {
				if d.Data == "input" && attr(d, "type") == "hidden" {
					fill.Set(attr(d, "name"), attr(d, "value"))
				}
			}
			return b.navigate(page.Request.URL.ResolveReference(mustURL(b.w.tb, attr(n, "action"))).String() + "?" + fill.Encode())
		}
	}
	b.w.tb.Fatalf("nothing to press on the page:\n%s", page.body)
	return page
}

func mustURL(tb testing.TB, address string) *url.URL {
	tb.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	return parsed
}

func TestAPersonChoosesAndIsRemembered(t *testing.T) {
	w, _ := newPartners(t, nil)
	b := w.browser()
	page := b.toDoor(w.origin(headersHost) + "/deep")
	for _, want := range []string{"Corporate", "Partner &amp; Sons", "Sign in to", "headers"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the chooser does not show %q:\n%s", want, page.body)
		}
	}
	if line := w.last(b); line["sallyport.decision"] != "signin" || line["event.action"] != "signin_begin" || line["event.reason"] != "no_session" {
		t.Errorf("line %v", line)
	}
	if strings.Contains(page.body, "Last used") {
		t.Error("a fresh browser is told of a last choice")
	}
	begun := b.follow(page, "Partner", nil)
	if got := askedWith(begun); got != partnerSignOn {
		t.Fatalf("the chosen one is %q", got)
	}
	if res := b.finish(begun, "carol"); res.body != "backend: carol@partner.example" || res.Request.URL.Path != "/deep" {
		t.Fatalf("after the choice: %d %q at %s", res.StatusCode, res.body, res.Request.URL)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if got := askedWith(b.toDoor(w.origin(headersHost) + "/")); got != partnerSignOn {
		t.Errorf("the next sign-on goes to %q", got)
	}
	again := b.navigate(w.origin(doorHost) + "/?choose=1")
	if askedWith(again) != "chooser" || !strings.Contains(again.body, "<strong>Partner &amp; Sons</strong> <span>Last used</span>") {
		t.Errorf("asked to choose anew: %d\n%s", again.StatusCode, again.body)
	}
	// A route without a choice changes nothing.
	b.finish(b.toDoor(w.origin(notesHost)+"/"), "alice")
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if got := askedWith(b.toDoor(w.origin(headersHost) + "/")); got != partnerSignOn {
		t.Errorf("after a sign-on without a choice, the next one goes to %q", got)
	}
}

func TestAnEMailAddressFindsTheIdP(t *testing.T) {
	w, _ := newPartners(t, nil)
	for address, want := range map[string]string{
		"carol@partner.example": partnerSignOn, "Alice@EXAMPLE.com": idpSignOn, " carol@partner.example ": partnerSignOn, `"a@example.com"@partner.example`: partnerSignOn,
		"carol@other.example": "chooser", "carol": "chooser", "": "chooser", "@": "chooser", "carol@": "chooser",
	} {
		b := w.browser()
		res := b.follow(b.toDoor(w.origin(headersHost)+"/deep"), "", url.Values{"login_hint": {address}})
		if want == "chooser" {
			if askedWith(res) != "chooser" || !strings.Contains(res.body, `role="alert"`) {
				t.Errorf("%q: %d\n%s", address, res.StatusCode, res.body)
			}
			continue
		}
		// No redirect: Chromium holds those of a form to the form's own page.
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Refresh"), "0; url="+w.origin(doorHost)+"/.sallyport/sign_in?begin=") {
			t.Errorf("%q: %d, Refresh %q", address, res.StatusCode, res.Header.Get("Refresh"))
			continue
		}
		begun := b.follow(res, "Continue", nil)
		if got := askedWith(begun); got != want {
			t.Errorf("%q leads to %q, want %q", address, got, want)
		}
		if strings.Contains(begun.Header.Get("Location"), "partner.example%22") || strings.Contains(res.Header.Get("Refresh"), "login_hint") {
			t.Errorf("%q: the address goes on to %q", address, begun.Header.Get("Location"))
		}
	}
	if strings.Contains(w.log.text(), "partner.example@") || strings.Contains(w.log.text(), "carol@") {
		t.Error("the access log has e-mail addresses that were typed")
	}
}

// TestAnUnknownAddressCanBeCorrected: it stands in the field again, as text, unless it
// is longer than any address.
func TestAnUnknownAddressCanBeCorrected(t *testing.T) {
	w, _ := newPartners(t, nil)
	for typed, want := range map[string]string{
		"carol@other.example": `value="carol@other.example"`, `"><b>@x`: `value="&#34;&gt;&lt;b&gt;@x"`, strings.Repeat("a", 250) + "@b.example": `value=""`,
	} {
		b := w.browser()
		if res := b.follow(b.toDoor(w.origin(headersHost)+"/"), "", url.Values{"login_hint": {typed}}); !strings.Contains(res.body, want) {
			t.Errorf("%q: %s is not on the page:\n%s", typed, want, res.body)
		}
	}
}

func TestChooserWithoutDomainsAsksForNoAddress(t *testing.T) {
	w, _ := newPartners(t, func(cfg *proxy.Config) { cfg.IdPs[0].Domains, cfg.IdPs[1].Domains = nil, nil })
	if page := w.browser().toDoor(w.origin(headersHost) + "/"); askedWith(page) != "chooser" || strings.Contains(page.body, "<form") {
		t.Errorf("%d\n%s", page.StatusCode, page.body)
	}
}

// A route whose identity providers are all out lets nobody in, and does not fall back
// to the others.
func TestARouteWithoutIdPsIsClosed(t *testing.T) {
	w, _ := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[0].IdPs = []string{} })
	b := w.browser()
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=corp"), "alice")
	for _, query := range []string{"", "&idp=corp", "&choose=1", "&login_hint=a@example.com"} {
		res := b.navigate(b.navigate(w.origin(headersHost)+"/").Header.Get("Location") + query)
		if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "no_idp") {
			t.Errorf("%q: %d\n%s", query, res.StatusCode, res.body)
		}
		if line := w.last(b); line["event.reason"] != "no_idp" || line["sallyport.decision"] != "deny" {
			t.Errorf("line %v", line)
		}
	}
}

// FuzzChoose: whatever a link and a cookie say, a sign-on goes to one of the identity
// providers that are allowed, or nowhere yet.
func FuzzChoose(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"", "corp"}, {"idp=corp", "partner"}, {"idp=corp&idp=evil", ""}, {"choose", "corp"}, {"login_hint=a%40partner.example", ""},
		{"domain_hint=partner.example", "%zz"}, {"idp=%00", "a%2Fb"}, {"login_hint=%40", "="}, {"idp;domain_hint=x", `"corp"`},
	} {
		f.Add(seed[0], seed[1])
	}
	allowed := []*proxy.IdP{{Name: "corp", Domains: []string{"example.com"}}, {Name: "a/b", Domains: []string{"partner.example"}}}
	f.Fuzz(func(t *testing.T, query, cookie string) {
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{"Cookie": {"__Host-sallyport-idp=" + cookie}}}
		got, said := proxy.Choose(r, allowed), r.URL.Query()
		switch {
		case got == "":
		case got != "corp" && got != "a/b":
			t.Errorf("query %q and cookie %q choose %q", query, cookie, got)
		case said.Has("choose"), said.Has("idp") && said.Get("idp") != got:
			t.Errorf("query %q chooses %q", query, got)
		}
		if alone := proxy.Choose(r, allowed[:1]); alone != "corp" {
			t.Errorf("query %q and cookie %q choose %q where there is no choice", query, cookie, alone)
		}
	})
}
