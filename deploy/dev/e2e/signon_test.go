package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// deepLink: somebody opens a page deep inside a tool, is sent to the identity
// provider, mistypes, signs in, and lands where they wanted to be.
func deepLink(t *testing.T) {
	d := shared.demo
	alice := newPerson(t)
	page := d.headers() + "/reports/2026/q3?tab=costs&sort=-date"
	alice.open(page)
	alice.atPrefix(d.idp() + "/login")
	alice.sees("Sign in", "door.sallyport.localhost", "identity provider")
	if strings.Contains(alice.text(), "alice-pw") {
		t.Error("the login page shows a password")
	}
	alice.picture("login")

	alice.signIn("alice", "not-her-password")
	alice.sees("The user name or the password is not right")
	alice.picture("login-wrong")

	alice.signIn("alice", "alice-pw")
	alice.at(page)
	alice.sees("X-Forwarded-User", "alice@example.com", "X-Forwarded-Groups", "engineers", "/reports/2026/q3?tab=costs&sort=-date")
	alice.picture("headers")
}

// singleSignOn: the second tool asks for nothing.
func singleSignOn(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.headers()+"/")
	alice.open(d.notes() + "/chat")
	alice.at(d.notes() + "/chat")
	alice.sees("alice@example.com", "Chat")
}

// notAllowed: bob may use one tool and not the other, and is told how to ask.
func notAllowed(t *testing.T) {
	d := shared.demo
	bob := signedIn(t, "bob", d.headers()+"/")
	bob.sees("bob@example.com")
	answer := ask(bob, chromedp.NavigateResponse(d.notes()+"/"))
	if answer.Status != http.StatusForbidden {
		t.Errorf("status %d, want 403", answer.Status)
	}
	bob.at(d.notes() + "/")
	bob.looksGood("forbidden")
	id := ask(bob, chromedp.Evaluate[string](`[...document.querySelectorAll("dt")].find(e => e.textContent == "Request")?.nextElementSibling.textContent ?? ""`))
	if id == "" {
		t.Fatalf("the page shows no request id:\n%s", bob.text())
	}
	record := findRecord(t, id)
	for key, want := range map[string]string{
		"sallyport.decision": "deny", "url.domain": "notes.sallyport.localhost", "user.name": "bob@example.com",
	} {
		if got := record[key]; got != want {
			t.Errorf("access record %s is %v, want %q", key, got, want)
		}
	}
}

// portal: the door shows each person the tools that are open to them.
func portal(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.door()+"/")
	alice.sees("Request headers", "Notes", "alice@example.com", "Sign out")
	alice.picture("portal")
	alice.looksGood("portal")
	bob := signedIn(t, "bob", d.door()+"/")
	bob.sees("Request headers")
	if strings.Contains(bob.text(), "Notes") {
		t.Errorf("bob is shown a tool that he may not open:\n%s", bob.text())
	}
	bob.click(chromedp.CSS(`a[href^="` + d.headers() + `"]`))
	bob.at(d.headers() + "/")
	bob.sees("X-Forwarded-User", "bob@example.com")
}

// signOut: at the door it ends the sessions of the tools as well.
func signOut(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.headers()+"/")
	if got := alice.fetch("/json"); got.Status != http.StatusOK {
		t.Fatalf("before signing out: status %d: %s", got.Status, got.Body)
	}
	tool := d.headers() + "/json"
	before := alice.cookies(tool)

	door := alice.tab()
	door.open(d.door() + "/")
	door.at(d.door() + "/")
	door.click(`form[action$="sign_out"] button`)
	door.atPrefix(d.door() + "/.sallyport/signed_out")
	door.sees("You are signed out")
	door.picture("signed-out")

	if got := alice.fetch("/json"); got.Status != http.StatusUnauthorized {
		t.Errorf("after signing out: status %d, want 401: %s", got.Status, got.Body)
	}
	// A copy of the cookie that somebody kept is worth nothing any more.
	if status, body := get(t, tool, before); status != http.StatusUnauthorized {
		t.Errorf("with the old cookie: status %d, want 401: %s", status, body)
	}
}

// changeUser: the identity provider forgets a person at a sign-out at the door.
func changeUser(t *testing.T) {
	d := shared.demo
	p := signedIn(t, "alice", d.headers()+"/")
	p.signsOutAt(d.door())
	p.sees("has signed you out, too")
	p.open(d.idp() + "/signout")
	p.sees("You are signed out")

	p.open(d.headers() + "/")
	p.signIn("bob", "bob-pw")
	p.at(d.headers() + "/")
	p.sees("bob@example.com")
}

// flightRecorder: a line of the access log leads an operator to every check that was
// made of the sign-on.
func flightRecorder(t *testing.T) {
	d := shared.demo
	log := since(t)
	signedIn(t, "alice", d.headers()+"/")
	want := record{"event.action": "signin", "sallyport.decision": "allow", "user.name": "alice@example.com"}
	logs(t, log, 1, want)
	var number string
	for _, r := range log(t) {
		if r.has(want) {
			number, _ = r["http.request.id"].(string)
		}
	}
	trace := func(args ...string) string {
		args = append([]string{"saml", "trace", "--admin-url", "http://" + d.loopback(3)}, args...)
		out, err := exec.CommandContext(t.Context(), filepath.Join(shared.bin, "sallyport"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	says(t, trace(), number, "Response", "allow")
	whole := trace(number)
	says(t, whole, number, "audience", d.door()+"/saml/metadata", "signature")
	if strings.Contains(whole, "alice@") {
		t.Errorf("the trace names the person:\n%s", whole)
	}
}

// background: a request of a script or a program is never sent to sign on.
func background(t *testing.T) {
	d := shared.demo
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.headers()+"/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Sec-Fetch-Mode", "cors")
	resp, err := d.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", resp.StatusCode)
	}
	var answer struct {
		RequestID string `json:"request_id"`
		SignIn    string `json:"signin"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("the answer is no JSON: %v", err)
	}
	if answer.RequestID == "" || !strings.HasPrefix(answer.SignIn, "https://") {
		t.Errorf("the answer %+v does not say where to sign in", answer)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
}
