package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// chatting opens the chat and waits until its WebSocket is connected.
func (p *person) chatting() {
	p.t.Helper()
	p.open(shared.demo.notes() + "/chat")
	p.do(chromedp.WaitVisible(chromedp.CSS("#state.on")))
	ask(p, chromedp.Evaluate[bool](`ended = new Promise(end => socket.addEventListener("close", () => end(Date.now()))), true`))
}

// cut waits until the chat's WebSocket is closed, and returns how long that took from
// the time begun.
func (p *person) cut(begun time.Time) time.Duration {
	p.t.Helper()
	at := ask(p, chromedp.Evaluate[int64](`Promise.race([ended, new Promise(end => setTimeout(() => end(0), 10000))])`, chromedp.EvalAwaitPromise))
	if at == 0 {
		p.t.Fatal("the WebSocket goes on ten seconds after the sign-out")
	}
	return time.UnixMilli(at).Sub(begun)
}

// signOutEverywhere: pressed at one tool, it ends what is open at the other, and the
// session at the identity provider.
func signOutEverywhere(t *testing.T) {
	d := shared.demo
	log := since(t)
	chat := signedIn(t, "alice", d.notes()+"/")
	chat.chatting()
	alice := chat.tab()
	alice.open(d.headers() + "/")
	alice.open(d.headers() + "/.sallyport/sign_out")
	alice.sees("Sign out?")
	begun := time.Now()
	alice.click("button[type=submit]")
	took := chat.cut(begun)
	t.Logf("the WebSocket of another tool was cut %d ms after the click", took.Milliseconds())
	if took > 2*time.Second { // a second is the promise; the rest is this machine's
		t.Errorf("the WebSocket was cut after %s", took)
	}
	alice.atPrefix(d.door() + "/.sallyport/signed_out?")
	alice.sees("You are signed out", "has signed you out, too")
	if got := chat.fetch("/"); got.Status != http.StatusUnauthorized {
		t.Errorf("the other tool answers %d", got.Status)
	}
	logs(t, log, 1, record{"event.action": "signout", "event.reason": "asked", "sallyport.decision": "allow", "http.request.method": "POST", "user.name": "alice@example.com"})
	logs(t, log, 1, record{"event.action": "signout", "event.reason": "logout_response", "sallyport.decision": "allow"})

	alice.open(d.headers() + "/") // the identity provider has forgotten her
	alice.atPrefix(d.idp() + "/login")
}

// signOutAtIdP: a sign-out that begins at the identity provider closes the tools.
func signOutAtIdP(t *testing.T) {
	d := shared.demo
	log := since(t)
	chat := signedIn(t, "alice", d.notes()+"/")
	chat.chatting()
	alice := chat.tab()
	alice.open(d.idp() + "/signout")
	alice.sees("Alice Archer")
	alice.picture("idp-signout")
	begun := time.Now()
	alice.click("button[type=submit]")
	took := chat.cut(begun)
	t.Logf("the WebSocket was cut %d ms after the click at the identity provider", took.Milliseconds())
	alice.at(d.idp() + "/signout")
	alice.sees("You are signed out")
	logs(t, log, 1, record{"event.action": "signout", "event.reason": "logout_request", "sallyport.decision": "allow"})
	alice.open(d.notes() + "/chat")
	alice.atPrefix(d.idp() + "/login")
}

// signOutByImage: what a page loads by itself signs nobody out.
func signOutByImage(t *testing.T) {
	d := shared.demo
	log := since(t)
	alice := signedIn(t, "alice", d.headers()+"/json")
	for _, host := range []string{d.headers(), d.door()} {
		script := fmt.Sprintf(`new Promise(end => { const i = new Image(); i.onload = i.onerror = () => end(true); i.src = %q })`, host+"/.sallyport/sign_out")
		ask(alice, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
	}
	logs(t, log, 2, record{"event.action": "signout", "http.request.method": "GET", "url.path": "/.sallyport/sign_out", "http.response.status_code": 200.0})
	if got := alice.fetch("/json"); got.Status != http.StatusOK {
		t.Errorf("after an image: status %d: %s", got.Status, got.Body)
	}
	alice.open(d.door() + "/")
	alice.sees("alice@example.com", "Request headers")
}

// signOutInAFrame: an identity provider that ends the sessions of several applications
// at once does so in frames, where no cookie comes along. Its request is obeyed, and
// answered in that frame.
func signOutInAFrame(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseNotes)+"/chat")
	idp := alice.tab()
	idp.open(h.corp.origin + framesPath)
	ask(idp, chromedp.Evaluate[bool](`fetch("/signout", {method: "POST"}).then(answer => answer.text()).then(page => {
		const frame = document.body.appendChild(document.createElement("iframe"))
		frame.srcdoc = page
		return true
	})`, chromedp.EvalAwaitPromise))
	logs(t, h.records, 1, record{"event.action": "signout", "event.reason": "logout_request", "sallyport.decision": "allow"})
	eventually(t, "the answer to reach the identity provider", 5*time.Second, func() error {
		if n := h.corp.slo.Load(); n != 1 {
			return fmt.Errorf("%d logout messages came", n)
		}
		return nil
	})
	if got := alice.fetch("/"); got.Status != http.StatusUnauthorized {
		t.Errorf("the tool answers %d", got.Status)
	}
}
