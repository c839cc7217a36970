package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// sent is a request as it left the browser.
type sent struct {
	method, address string
	site            string              // Sec-Fetch-Site
	cookies         []string            // names of those that went along
	kept            map[string][]string // those that did not, and why
}

// wire is what a tab sends. Safe for concurrent use.
type wire struct {
	mu    sync.Mutex
	asked map[network.RequestID]*network.Request // the first of each chain of redirects
	extra map[network.RequestID]*network.EventRequestWillBeSentExtraInfo
}

// listen writes down what the tab sends from now on.
func (p *person) listen() *wire {
	p.t.Helper()
	w := &wire{asked: make(map[network.RequestID]*network.Request), extra: make(map[network.RequestID]*network.EventRequestWillBeSentExtraInfo)}
	if err := chromedp.Listen(p.ctx, w.hear); err != nil {
		p.t.Fatal(err)
	}
	return w
}

func (w *wire) hear(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if w.asked[e.RequestID] == nil {
			w.asked[e.RequestID] = e.Request
		}
	case *network.EventRequestWillBeSentExtraInfo:
		if w.extra[e.RequestID] == nil {
			w.extra[e.RequestID] = e
		}
	}
}

// find returns the request to an address, once it is known whole.
func (w *wire) find(t *testing.T, method, address string) sent {
	t.Helper()
	found := sent{method: method, address: address, kept: make(map[string][]string)}
	eventually(t, "the browser to send "+method+" "+address, 5*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for id, request := range w.asked {
			extra := w.extra[id]
			if request.Method != method || request.URL != address || extra == nil {
				continue
			}
			for name, value := range extra.Headers {
				if strings.EqualFold(name, "Sec-Fetch-Site") {
					found.site = fmt.Sprint(value)
				}
			}
			for _, c := range extra.AssociatedCookies {
				if !strings.HasPrefix(address, "https://"+c.Cookie.Domain+":") {
					continue // another host's, which is no wonder
				}
				if len(c.BlockedReasons) == 0 {
					found.cookies = append(found.cookies, c.Cookie.Name)
				}
				for _, reason := range c.BlockedReasons {
					found.kept[c.Cookie.Name] = append(found.kept[c.Cookie.Name], string(reason))
				}
			}
			return nil
		}
		return fmt.Errorf("not among %d requests", len(w.asked))
	})
	return found
}

func (s sent) hasPending() bool {
	return slices.ContainsFunc(s.cookies, func(name string) bool { return strings.HasPrefix(name, "__Host-sallyport-signon-") })
}

// crossSite: the identity provider is another site. What it has the browser post comes
// with the cookie of the sign-on, and without the session.
func crossSite(t *testing.T) {
	d := shared.demo
	log := since(t)
	alice := newPerson(t)
	alice.open(d.headers() + "/json")
	alice.atPrefix(d.idp() + "/login")
	second := alice.tab() // signs on first, so that there is a session to stay away
	second.open(d.notes() + "/chat")
	second.signIn("alice", "alice-pw")
	second.at(d.notes() + "/chat")

	w := alice.listen()
	alice.signIn("alice", "alice-pw")
	alice.at(d.headers() + "/json")
	post := w.find(t, "POST", d.door()+"/saml/acs")
	if post.site != "cross-site" {
		t.Errorf("Sec-Fetch-Site %q", post.site)
	}
	if !post.hasPending() {
		t.Errorf("the sign-on's cookie stays away: %v", post)
	}
	if reasons := post.kept["__Host-sallyport"]; len(reasons) == 0 || !strings.HasSuffix(reasons[0], "SameSiteLax") {
		t.Errorf("the session's cookie: %v, want it kept back for SameSite=Lax: %v", reasons, post)
	}
	logs(t, log, 2, record{"event.action": "signin", "sallyport.decision": "allow", "event.reason": "assertion_verified", "user.name": "alice@example.com"})
	logs(t, log, 0, record{"event.action": "signin", "sallyport.decision": "deny"})
}

// thirdPartyCookies: a browser that keeps them back signs on all the same: the answer
// comes with a page of its own.
func thirdPartyCookies(t *testing.T) {
	d := shared.demo
	log := since(t)
	alice := newPerson(t)
	alice.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, network.SetCookieControls, network.SetCookieControlsParams{EnableThirdPartyCookieRestriction: true})
		if err == nil {
			_, err = cdp.Call(ctx, target, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true})
		}
		return chromedp.Void{}, err
	})
	alice.open(d.headers() + "/json")
	alice.atPrefix(d.idp() + "/login")
	w := alice.listen()
	address := d.door() + "/.sallyport/whoami"
	ask(alice, chromedp.Evaluate[bool](fmt.Sprintf(`fetch(%q, {mode: "no-cors", credentials: "include"}).then(() => true)`, address), chromedp.EvalAwaitPromise))
	if third := w.find(t, "GET", address); third.hasPending() || len(third.kept) == 0 {
		t.Errorf("a page of another site gets cookies along: %v", third)
	}
	alice.signIn("alice", "alice-pw")
	alice.at(d.headers() + "/json")
	if post := w.find(t, "POST", d.door()+"/saml/acs"); !post.hasPending() || post.site != "cross-site" {
		t.Errorf("the identity provider's answer: %v", post)
	}
	logs(t, log, 1, record{"event.action": "signin", "sallyport.decision": "allow", "event.reason": "assertion_verified"})
}

// severalTabs: they open together, sign on in another order, and each shows in the end
// what it was opened for.
func severalTabs(t *testing.T) {
	d := shared.demo
	log := since(t)
	first := newPerson(t)
	tabs := []*person{first, first.tab(), first.tab(), first.tab()}
	pages := []string{d.headers() + "/a?n=1", d.notes() + "/chat", d.headers() + "/b?n=3", d.notes() + "/"}
	var opening sync.WaitGroup
	for i, tab := range tabs {
		opening.Go(func() {
			if err := chromedp.Do(tab.ctx, chromedp.Navigate(pages[i])); err != nil {
				t.Errorf("opening %s: %v", pages[i], err)
			}
		})
	}
	opening.Wait()
	for _, tab := range tabs {
		tab.atPrefix(d.idp() + "/login")
	}
	for _, i := range []int{2, 0, 3, 1} {
		tabs[i].signIn("alice", "alice-pw")
		tabs[i].at(pages[i])
	}
	for i, tab := range tabs {
		tab.at(pages[i])
		tab.sees("alice@example.com")
	}
	logs(t, log, len(tabs), record{"event.action": "signin", "sallyport.decision": "allow", "event.reason": "assertion_verified", "user.name": "alice@example.com"})
	logs(t, log, 0, record{"event.action": "signin", "sallyport.decision": "deny"})
}
