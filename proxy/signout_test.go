package proxy_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

const signOutPath = "/.sallyport/sign_out"

// signedInEverywhere is a browser in which alice is signed in at two tools and the
// door, and whose identity provider takes logout messages.
func signedInEverywhere(w *world, binding saml.Binding) *browser {
	w.tb.Helper()
	w.saml.script(func(s *scriptedLogout) { s.binding = binding })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "alice")
	return b
}

// signedIn reports whether the browser is let in at a host.
func (b *browser) signedIn(host string) bool {
	b.w.tb.Helper()
	return b.navigate(b.w.origin(host)+"/").StatusCode == http.StatusOK
}

func TestSignOutGoesOnToTheIdentityProvider(t *testing.T) {
	for name, test := range map[string]struct {
		host    string
		binding saml.Binding
	}{
		"from the door, by redirect": {doorHost, saml.BindingRedirect},
		"from the door, by post":     {doorHost, saml.BindingPost},
		"from a tool, by redirect":   {notesHost, saml.BindingRedirect},
		"from a tool, by post":       {notesHost, saml.BindingPost},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := signedInEverywhere(w, test.binding)
			page := b.post(w.origin(test.host)+signOutPath, "same-origin", nil)
			for _, host := range []string{headersHost, notesHost, doorHost} {
				if b.signedIn(host) {
					t.Errorf("%s is open while the identity provider is asked", host)
				}
			}
			if test.host != doorHost {
				if page.Header.Get("Location") != "" {
					t.Errorf("the answer to a form is a redirect to %q, which the form's page may not allow", page.Header.Get("Location"))
				}
				page = b.navigate(page.next())
			}
			asked, n := w.saml.last()
			if n != 1 || asked.subject.NameID != "alice-4711" || asked.index != "alice-1" {
				t.Fatalf("the identity provider was asked %d times, last %+v", n, asked)
			}
			if test.binding == saml.BindingRedirect {
				if !strings.HasPrefix(page.Header.Get("Refresh"), "0; url="+idpLogout+"?") {
					t.Errorf("the browser goes to %q", page.next())
				}
			} else if !strings.Contains(page.body, `action="`+idpLogout+`"`) || !strings.Contains(page.body, asked.relayState) {
				t.Errorf("the browser posts %s", page.body)
			}
		})
	}
}

// TestWhatIsKnownAfterASignOut: the page claims what the identity provider said.
func TestWhatIsKnownAfterASignOut(t *testing.T) {
	for name, test := range map[string]struct {
		reply  saml.LogoutResponse
		says   string
		reason string
	}{
		"everywhere":                {saml.LogoutResponse{}, "Corporate has signed you out, too.", "logout_response"},
		"not everywhere":            {saml.LogoutResponse{Partial: true, Status: "partial"}, "could not sign you out of every other application: close the browser", "logout_partial"},
		"not everywhere, and so no": {saml.LogoutResponse{Partial: true, Failed: true, Status: "partial"}, "could not sign you out of every other application: close the browser", "logout_partial"},
		"not at all":                {saml.LogoutResponse{Failed: true, Status: "denied"}, "Corporate has not confirmed that you are signed out there", "logout_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := signedInEverywhere(w, saml.BindingRedirect)
			b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
			asked, _ := w.saml.last()
			w.saml.script(func(s *scriptedLogout) { s.reply = &test.reply })
			before := len(w.records(1))
			res := b.post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutResponse", idpEntityID, asked.relayState))
			line := w.lastRecord(before + 1)
			if line["event.action"] != "signout" || line["event.reason"] != test.reason || line["sallyport.decision"] != "allow" || line["sallyport.idp"] != idpEntityID {
				t.Errorf("line %v", line)
			}
			if page := b.navigate(res.next()); !strings.Contains(page.body, test.says) {
				t.Errorf("after %q: %s", res.next(), page.body)
			}
		})
	}
}

// TestSignOutOfAnIdentityProviderThatCannotBeAsked ends everything here, and says
// what may go on there.
func TestSignOutOfAnIdentityProviderThatCannotBeAsked(t *testing.T) {
	for name, test := range map[string]struct {
		fault        error
		says, reason string
	}{
		"it takes no logout requests": {saml.ErrNoLogout, "You may still be signed in at Corporate", "local_only"},
		"its metadata has expired":    {errors.New("expired"), "has not confirmed", "logout_request_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := signedInEverywhere(w, saml.BindingRedirect)
			w.saml.script(func(s *scriptedLogout) { s.fault = test.fault })
			before := len(w.records(1))
			res := b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
			if line := w.lastRecord(before + 1); line["event.reason"] != test.reason || line["user.name"] != "alice@example.com" {
				t.Errorf("line %v", line)
			}
			if page := b.navigate(res.next()); !strings.Contains(page.body, test.says) {
				t.Errorf("after %q: %s", res.next(), page.body)
			}
			if b.signedIn(headersHost) || b.signedIn(notesHost) || b.signedIn(doorHost) {
				t.Error("still signed in")
			}
		})
	}
}

// TestNothingIsSignedOutByALink opens, as an image or a link of another site can,
// every address that has to do with signing out.
func TestNothingIsSignedOutByALink(t *testing.T) {
	w := newWorld(t, nil)
	mallory, b := signedInEverywhere(w, saml.BindingRedirect), signedInEverywhere(w, saml.BindingRedirect)
	token := mallory.post(w.origin(notesHost)+signOutPath, "same-origin", nil).next()
	_, asked := w.saml.last()
	for name, address := range map[string]string{
		"the page with the button":       w.origin(doorHost) + signOutPath,
		"the page at a tool":             w.origin(notesHost) + signOutPath,
		"a token that is forged":         w.origin(doorHost) + signOutPath + "?token=AAAA",
		"a token of another browser":     token,
		"a token at a tool":              w.origin(notesHost) + signOutPath + "?" + mustParse(t, token).RawQuery,
		"the page after a sign-out":      w.origin(doorHost) + "/.sallyport/signed_out?at_idp=everywhere",
		"the logout service":             w.origin(doorHost) + "/saml/slo",
		"a logout request of a stranger": w.origin(doorHost) + "/saml/slo?SAMLRequest=" + url.QueryEscape(deflated(t, logoutXML("LogoutRequest", idpEntityID))),
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req := b.request(method, address, nil)
			req.Header.Set("Sec-Fetch-Site", "cross-site")
			req.Header.Set("Sec-Fetch-Mode", "no-cors")
			req.Header.Set("Sec-Fetch-Dest", "image")
			b.do(req)
			if !b.signedIn(headersHost) || !b.signedIn(notesHost) || !b.signedIn(doorHost) {
				t.Fatalf("%s %s signs out", method, name)
			}
		}
	}
	if _, n := w.saml.last(); n != asked {
		t.Errorf("the identity provider was asked %d times", n-asked)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		for _, host := range []string{doorHost, notesHost} {
			if res := b.post(w.origin(host)+signOutPath, site, nil); res.StatusCode != http.StatusForbidden || !b.signedIn(headersHost) {
				t.Errorf("a form of a page that is %s signs out at %s: %d", site, host, res.StatusCode)
			}
		}
	}
}

func TestTokenOfASignOutIsGoodOnce(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := signedInEverywhere(w, saml.BindingRedirect)
	first := b.post(w.origin(notesHost)+signOutPath, "same-origin", nil).next()
	kept := b.client.Jar.Cookies(mustParse(t, first))
	if next := b.navigate(first).next(); !strings.HasPrefix(next, idpLogout) {
		t.Fatalf("the first use leads to %q", next)
	}
	b.client.Jar.SetCookies(mustParse(t, first), kept) // as if the cookie had not been taken away
	if next := b.navigate(first).next(); strings.HasPrefix(next, idpLogout) {
		t.Errorf("the second use leads to %q", next)
	}

	b = signedInEverywhere(w, saml.BindingRedirect)
	late := b.post(w.origin(notesHost)+signOutPath, "same-origin", nil).next()
	now.pass(2 * time.Minute)
	if next := b.navigate(late).next(); strings.HasPrefix(next, idpLogout) {
		t.Errorf("a token of two minutes ago leads to %q", next)
	}
}

// TestPageAfterASignOutDoesNotLie: whoever is signed in reads that, whatever link
// has brought him there.
func TestPageAfterASignOutDoesNotLie(t *testing.T) {
	w := newWorld(t, nil)
	b := signedInEverywhere(w, saml.BindingRedirect)
	page := b.navigate(w.origin(doorHost) + "/.sallyport/signed_out?at_idp=everywhere&idp=corp")
	if !strings.Contains(page.body, "You are signed in as alice@example.com") || strings.Contains(page.body, "signed you out") {
		t.Errorf("page %s", page.body)
	}
	stranger := w.browser().navigate(w.origin(doorHost) + "/.sallyport/signed_out?at_idp=%3Cb%3E&idp=%3Cscript%3E")
	if !strings.Contains(stranger.body, "You may still be signed in at your identity provider") {
		t.Errorf("page %s", stranger.body)
	}
}

// TestSignOutAtADoorThatWasLeftIdle: the door's session has gone unused for too
// long, a tool's has not. The button at the door ends both.
func TestSignOutAtADoorThatWasLeftIdle(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := signedInEverywhere(w, saml.BindingRedirect)
	for range 3 {
		now.pass(30 * time.Minute)
		if !b.signedIn(headersHost) {
			t.Fatal("the tool's session ended")
		}
	}
	page := b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
	if b.signedIn(headersHost) {
		t.Error("the tool outlives the sign-out at the door")
	}
	if !strings.HasPrefix(page.next(), idpLogout) {
		t.Errorf("the browser goes to %q", page.next())
	}
}

// TestIdlenessSignsNobodyOutElsewhere: a session that runs out here is no reason to end
// one at the identity provider.
func TestIdlenessSignsNobodyOutElsewhere(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := signedInEverywhere(w, saml.BindingRedirect)
	now.pass(61 * time.Minute)
	for _, host := range []string{headersHost, notesHost, doorHost} {
		res := b.navigate(w.origin(host) + "/")
		if res.StatusCode != http.StatusSeeOther || strings.HasPrefix(res.Header.Get("Location"), idpLogout) {
			t.Errorf("%s: %d to %q", host, res.StatusCode, res.Header.Get("Location"))
		}
	}
	if _, n := w.saml.last(); n != 0 {
		t.Errorf("the identity provider was asked to sign out %d times", n)
	}
}

// TestSignOutWhereNobodyIsSignedIn: at a tool it leads to the door, where somebody
// may be.
func TestSignOutWhereNobodyIsSignedIn(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	if next := b.post(w.origin(notesHost)+signOutPath, "same-origin", nil).next(); next != w.origin(doorHost)+signOutPath {
		t.Errorf("at a tool: to %q", next)
	}
	if next := b.post(w.origin(doorHost)+signOutPath, "same-origin", nil).next(); next != w.origin(doorHost)+"/.sallyport/signed_out" {
		t.Errorf("at the door: to %q", next)
	}
	if line := w.lastRecord(2); line["event.reason"] != "nobody_signed_in" {
		t.Errorf("line %v", line)
	}
}

// TestNameThatIsTooLongForACookie: the person signs on all the same, and out here
// alone.
func TestNameThatIsTooLongForACookie(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.saml.people["alice"]
	long := strings.Repeat("\U0001d4d0", 256) // the most that a name may have
	alice.Subject, alice.SessionIndex = saml.Subject{NameID: long, Format: long, NameQualifier: long, SPNameQualifier: long}, long
	w.saml.people["alice"] = alice
	b := signedInEverywhere(w, saml.BindingRedirect)
	if !b.signedIn(headersHost) {
		t.Fatal("not signed in")
	}
	found := false
	for _, line := range w.records(4) {
		cause, _ := line["error.message"].(string)
		found = found || line["event.action"] == "signin" && strings.Contains(cause, "what a sign-out must tell the identity provider")
	}
	if !found {
		t.Error("no line says that a sign-out will end the session here alone")
	}
	next := b.post(w.origin(doorHost)+signOutPath, "same-origin", nil).next()
	if next != w.origin(doorHost)+"/.sallyport/signed_out" || b.signedIn(headersHost) {
		t.Errorf("the sign-out leads to %q", next)
	}
}

// TestToolsNeverSeeWhatASignOutNeeds: what the identity provider calls a person is
// for the door alone.
func TestToolsNeverSeeWhatASignOutNeeds(t *testing.T) {
	w := newWorld(t, nil)
	b := signedInEverywhere(w, saml.BindingRedirect)
	for _, host := range []string{headersHost, notesHost} {
		for _, c := range b.client.Jar.Cookies(mustParse(t, w.origin(host)+"/")) {
			if c.Name != "__Host-sallyport" {
				t.Errorf("%s has the cookie %s", host, c.Name)
			}
		}
	}
}
