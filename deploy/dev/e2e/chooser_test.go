package e2e

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chooser: whoever can sign in with several says with which, once.
func chooser(t *testing.T) {
	h := newHouse(t)
	notes := h.origin(houseNotes) + "/chat"
	carol := newPerson(t)
	carol.open(notes)
	carol.atPrefix(h.origin(houseDoor) + "/.sallyport/sign_in?begin=")
	carol.sees("Sign in to Notes", "Corporate account", "Partners", "Your e-mail address at work")
	carol.looksGood("chooser")

	carol.fill("#login_hint", "carol@nowhere.example")
	carol.click("form button")
	carol.sees("Nobody here is known by that e-mail address")
	carol.looksGood("chooser-unknown")
	if typed := ask(carol, chromedp.Evaluate[string]("login_hint.value")); typed != "carol@nowhere.example" {
		t.Errorf("what can be corrected is %q", typed)
	}

	carol.fill("#login_hint", "carol@Partners.example")
	carol.click("form button")
	carol.signInAt(h.partners.origin, "carol", "carol-pw") // by a request that was posted
	carol.at(notes)
	logs(t, h.records, 1, record{"event.action": "signin", "sallyport.decision": "allow", "user.name": "carol@partners.example"})

	// The browser remembers, so the second sign-on asks nothing.
	carol.signsOutAt(h.origin(houseDoor))
	carol.open(notes)
	carol.signInAt(h.partners.origin, "carol", "carol-pw")
	carol.at(notes)

	// Another one can be chosen from the page after a sign-out.
	carol.signsOutAt(h.origin(houseDoor))
	carol.click("a.button")
	carol.sees("Sign in", "Last used")
	carol.looksGood("chooser-last-used")
	carol.click(`a[href*="idp=corp"]`)
	carol.signInAt(h.corp.origin, "alice", "alice-pw")
	carol.at(h.origin(houseDoor) + "/")
	carol.sees("alice@example.com")
}

// signsOutAt signs out at a host, and at the identity provider.
func (p *person) signsOutAt(origin string) {
	p.t.Helper()
	p.open(origin + "/.sallyport/sign_out")
	p.click("button[type=submit]")
	p.sees("You are signed out")
}

// chooserByKeyboard: neither a mouse nor eyes for it are needed.
func chooserByKeyboard(t *testing.T) {
	h := newHouse(t)
	alice := newPerson(t)
	alice.open(h.origin(houseNotes) + "/chat")
	alice.sees("Sign in to Notes")
	const focused = `(() => {
		const e = document.activeElement, style = getComputedStyle(e)
		return [(e.labels?.[0] ?? e).textContent.trim().replace(/\s+/g, " "), style.outlineStyle == "none" ? "" : "seen"]
	})()`
	for _, want := range []string{"Your e-mail address at work", "Continue", "Corporate account"} {
		alice.do(chromedp.KeyEvent(kb.Tab))
		if got := ask(alice, chromedp.Evaluate[[]string](focused)); got[0] != want || got[1] == "" {
			t.Errorf("the focus is on %q (%s), want %q", got[0], got[1], want)
		}
	}
	alice.picture("chooser-focus")
	alice.do(chromedp.KeyEvent(kb.Enter))
	alice.signInAt(h.corp.origin, "alice", "alice-pw")
	alice.at(h.origin(houseNotes) + "/chat")
}

// postedRequest: a request that has to be posted goes by itself, under the page's own
// policy; without scripts it goes with a button.
func postedRequest(t *testing.T) {
	h := newHouse(t)
	start := h.origin(houseDoor) + "/?idp=partners"
	carol := newPerson(t)
	carol.open(start)
	carol.signInAt(h.partners.origin, "carol", "carol-pw")
	carol.at(h.origin(houseDoor) + "/")

	careful := newPerson(t)
	careful.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	})
	careful.open(start)
	careful.sees("Signing in with Partners", "go on yourself")
	careful.looksGood("posted-request")
	careful.click("button")
	careful.signInAt(h.partners.origin, "carol", "carol-pw")
	careful.sees("continue by hand")
	careful.click("button") // the identity provider's own
	careful.at(h.origin(houseDoor) + "/")
	careful.sees("carol@partners.example")
	logs(t, h.records, 2, record{"event.action": "signin", "sallyport.decision": "allow", "user.name": "carol@partners.example"})
}
