package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// TestLogoutRequestFindsSessionsWithoutCookies: the demand comes in a browser that
// has no cookie of ours, and says which sessions it means.
func TestLogoutRequestFindsSessionsWithoutCookies(t *testing.T) {
	for name, test := range map[string]struct {
		nameID  string
		indexes []string
		change  func(*saml.LogoutRequest)
		// open is what is left of alice's session 1, her session 2, and bob's.
		open [3]bool
	}{
		"one session":             {"alice-4711", []string{"alice-1"}, nil, [3]bool{false, true, true}},
		"the other":               {"alice-4711", []string{"alice-2"}, nil, [3]bool{true, false, true}},
		"both by name":            {"alice-4711", []string{"alice-2", "alice-1"}, nil, [3]bool{false, false, true}},
		"all of a person's":       {"alice-4711", nil, nil, [3]bool{false, false, true}},
		"a session of nobody":     {"alice-4711", []string{"alice-3"}, nil, [3]bool{true, true, true}},
		"another's session":       {"bob-4712", []string{"alice-1"}, nil, [3]bool{true, true, true}},
		"nobody":                  {"carol", nil, nil, [3]bool{true, true, true}},
		"a name in another case":  {"Alice-4711", nil, nil, [3]bool{true, true, true}},
		"a name with a qualifier": {"alice-4711", nil, func(r *saml.LogoutRequest) { r.Subject.SPNameQualifier = "other" }, [3]bool{true, true, true}},
		"a name of another kind":  {"alice-4711", nil, func(r *saml.LogoutRequest) { r.Subject.Format = "urn:x" }, [3]bool{true, true, true}},
		"what goes without saying": {"alice-4711", nil, func(r *saml.LogoutRequest) {
			r.Subject.Format, r.Subject.NameQualifier = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified", idpEntityID
			r.Subject.SPNameQualifier = ourEntityID
		}, [3]bool{false, false, true}},
		"qualified by us in the request alone": {"alice-4711", nil, func(r *saml.LogoutRequest) { r.Subject.SPNameQualifier = ourEntityID }, [3]bool{false, false, true}},
		"qualified by us, one session":         {"alice-4711", []string{"alice-2"}, func(r *saml.LogoutRequest) { r.Subject.SPNameQualifier = ourEntityID }, [3]bool{true, false, true}},
		"qualified the wrong way round":        {"alice-4711", nil, func(r *saml.LogoutRequest) { r.Subject.NameQualifier = ourEntityID }, [3]bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			second := w.saml.people["alice"]
			second.SessionIndex, second.Subject.SPNameQualifier = "alice-2", ourEntityID // which is the default
			w.saml.people["alice again"] = second
			var people [3]*browser
			for i, person := range []string{"alice", "alice again", "bob"} {
				people[i] = w.browser()
				people[i].signIn(w.origin(headersHost)+"/", person)
			}
			w.saml.script(func(s *scriptedLogout) {
				s.binding = saml.BindingRedirect
				s.demand = &saml.LogoutRequest{RelayState: "theirs", Subject: saml.Subject{NameID: test.nameID}, SessionIndexes: test.indexes}
				if test.change != nil {
					test.change(s.demand)
				}
			})
			res := w.browser().post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutRequest", idpEntityID, "theirs"))
			if !strings.HasPrefix(res.Header.Get("Location"), idpLogout+"?RelayState=theirs&SAMLResponse=") {
				t.Errorf("the demand is answered %d to %q, want a redirect that says so", res.StatusCode, res.Header.Get("Location"))
			}
			for i, b := range people {
				if got := b.signedIn(headersHost); got != test.open[i] {
					t.Errorf("session %d at the tool is open: %t", i, got)
				}
				if got := b.signedIn(doorHost); got != test.open[i] {
					t.Errorf("session %d at the door is open: %t", i, got)
				}
			}
		})
	}
}

// TestLogoutRequestIsAnsweredAsTheMetadataSays: by redirect, by a page that posts
// itself and may stand in a frame of theirs, or not at all.
func TestLogoutRequestIsAnsweredAsTheMetadataSays(t *testing.T) {
	for name, test := range map[string]struct {
		binding saml.Binding
		check   func(*testing.T, answer)
	}{
		"by redirect": {saml.BindingRedirect, func(t *testing.T, a answer) {
			if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), idpLogout) {
				t.Errorf("answer %d to %q", a.StatusCode, a.Header.Get("Location"))
			}
		}},
		"by post": {saml.BindingPost, func(t *testing.T, a answer) {
			if !strings.Contains(a.body, `action="`+idpLogout+`"`) || !strings.Contains(a.body, `name="SAMLResponse"`) ||
				!strings.HasSuffix(a.Header.Get("Content-Security-Policy"), "frame-ancestors https://idp.example.org") {
				t.Errorf("answer %d %v %s", a.StatusCode, a.Header, a.body)
			}
		}},
		"not at all": {saml.BindingAny, func(t *testing.T, a answer) {
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, "You are signed out") {
				t.Errorf("answer %d %s", a.StatusCode, a.body)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := signedInEverywhere(w, test.binding)
			test.check(t, w.demandLogout("alice-4711"))
			if b.signedIn(headersHost) {
				t.Error("still signed in")
			}
		})
	}
}

// TestLogoutRequestInTheBrowserOfThePerson takes the cookies away when they come.
func TestLogoutRequestInTheBrowserOfThePerson(t *testing.T) {
	w := newWorld(t, nil)
	b := signedInEverywhere(w, saml.BindingRedirect)
	w.saml.script(func(s *scriptedLogout) {
		s.demand = &saml.LogoutRequest{Subject: saml.Subject{NameID: "alice-4711"}, SessionIndexes: []string{"alice-1"}}
	})
	before := len(w.records(1))
	b.navigate(w.origin(doorHost) + "/saml/slo?SAMLRequest=" + url.QueryEscape(deflated(t, logoutXML("LogoutRequest", idpEntityID))) +
		"&SigAlg=http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256&Signature=eA%3D%3D")
	if cookies := b.client.Jar.Cookies(mustParse(t, w.origin(doorHost)+"/")); len(cookies) > 0 {
		t.Errorf("cookies left at the door: %v", cookies)
	}
	line := w.lastRecord(before + 1)
	for name, want := range map[string]any{
		"event.action": "signout", "event.reason": "logout_request", "sallyport.decision": "allow", "user.name": "alice@example.com",
		"sallyport.idp": idpEntityID, "sallyport.idp_certificate": "5d41",
	} {
		if line[name] != want {
			t.Errorf("%s: %v, want %v", name, line[name], want)
		}
	}
}

// TestSignOnThatIsUnderWay: a ticket of before the logout is worth nothing, and
// whoever signs on after it is let in.
func TestSignOnThatIsUnderWay(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := w.browser()
	toIdP := b.navigate(b.navigate(w.origin(headersHost) + "/").next()).next()
	ticket := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, toIdP, "alice")).next()
	w.demandLogout("alice-4711")
	if res := b.navigate(ticket); res.StatusCode != http.StatusForbidden {
		t.Errorf("a ticket of before the logout: %d", res.StatusCode)
	}
	now.pass(time.Millisecond)
	if res := b.signIn(w.origin(headersHost)+"/", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("a sign-on after the logout: %d %s", res.StatusCode, res.body)
	}
}

// TestRefusedLogoutMessagesEndNothing tries what strangers may send: every refusal
// is one page, and has a line and an entry among the traces.
func TestRefusedLogoutMessagesEndNothing(t *testing.T) {
	traces := proxy.NewTraces()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Traces = traces })
	b := signedInEverywhere(w, saml.BindingRedirect)
	waiting := signedInEverywhere(w, saml.BindingRedirect)
	waiting.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
	asked, _ := w.saml.last()
	slo := w.origin(doorHost) + "/saml/slo"
	for _, test := range []struct {
		name    string
		browser *browser
		form    url.Values
		reason  string
	}{
		{"a request that does not verify", b, logoutForm("LogoutRequest", idpEntityID, ""), saml.CodeSignature},
		{"a request of an unknown issuer", b, logoutForm("LogoutRequest", "https://evil.example", ""), saml.CodeSignature},
		{"a request of nobody", b, logoutForm("LogoutRequest", "", ""), saml.CodeSignature},
		{"a response that nobody waits for", b, logoutForm("LogoutResponse", idpEntityID, ""), "no_pending_signout"},
		{"a response to another browser", b, logoutForm("LogoutResponse", idpEntityID, asked.relayState), "no_pending_signout"},
		{"a response that does not verify", waiting, logoutForm("LogoutResponse", idpEntityID, asked.relayState), saml.CodeSignature},
		{"nothing", b, url.Values{}, saml.CodeForm},
		{"both", b, url.Values{"SAMLRequest": {"eA=="}, "SAMLResponse": {"eA=="}}, saml.CodeForm},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(w.records(1))
			res := test.browser.post(slo, "cross-site", test.form)
			line := w.lastRecord(before + 1)
			if res.StatusCode != http.StatusForbidden || line["event.reason"] != test.reason || line["sallyport.decision"] != "deny" || line["event.action"] != "signout" {
				t.Errorf("answer %d, line %v", res.StatusCode, line)
			}
			if strings.Contains(res.body, "private detail") || strings.Contains(res.body, test.reason) {
				t.Errorf("the page tells what was wrong: %s", res.body)
			}
			if latest := traces.All()[0]; latest.Reason != test.reason || latest.Decision != "deny" || latest.RequestID != line["http.request.id"] {
				t.Errorf("trace %+v", latest)
			}
			if !b.signedIn(headersHost) {
				t.Fatal("signed out")
			}
		})
	}
	// What was refused has used nothing up.
	w.saml.script(func(s *scriptedLogout) { s.reply = &saml.LogoutResponse{} })
	if next := waiting.post(slo, "cross-site", logoutForm("LogoutResponse", idpEntityID, asked.relayState)).next(); !strings.Contains(next, "at_idp=everywhere") {
		t.Errorf("the real response leads to %q", next)
	}
	if res := waiting.post(slo, "cross-site", logoutForm("LogoutResponse", idpEntityID, asked.relayState)); res.StatusCode != http.StatusForbidden {
		t.Errorf("the same response again: %d", res.StatusCode)
	}
	good := slices.IndexFunc(traces.All(), func(t proxy.Traced) bool { return t.Decision == "allow" && t.Reason == "logout_response" })
	if good < 0 || traces.All()[good].IdP != "corp" || traces.All()[good].Trace.Certificate != "5d41" {
		t.Errorf("traces %+v", traces.All())
	}
}

// TestLogoutRequestIsJudgedByItsIssuer: one identity provider cannot sign out the
// other's people, even those of the same name, and an unknown one nobody.
func TestLogoutRequestIsJudgedByItsIssuer(t *testing.T) {
	partner := &scriptedSAML{at: partnerSignOn}
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.IdPs = append(cfg.IdPs, proxy.IdP{Name: "partner", Title: "Partner", SAML: partner})
	})
	b := w.browser()
	b.finish(b.navigate(b.navigate(w.origin(headersHost)+"/").next()+"&idp=corp"), "alice")
	demand := func(issuer string) string {
		before := len(w.records(1))
		w.browser().post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutRequest", issuer, ""))
		return w.lastRecord(before + 1)["event.reason"].(string)
	}
	partner.demand = &saml.LogoutRequest{Subject: saml.Subject{NameID: "alice-4711"}}
	for issuer, want := range map[string]string{
		strings.TrimSuffix(partnerSignOn, "/sso"): "logout_request", "https://evil.example": saml.CodeIssuer, "": saml.CodeIssuer, idpEntityID: saml.CodeSignature,
	} {
		if got := demand(issuer); got != want || !b.signedIn(headersHost) {
			t.Errorf("a request of %q: %s, want %s", issuer, got, want)
		}
	}
	w.saml.script(func(s *scriptedLogout) { s.demand = partner.demand })
	if got := demand(idpEntityID); got != "logout_request" || b.signedIn(headersHost) {
		t.Errorf("a request of the right one: %s", got)
	}
}

// TestLogoutRequestWithANewKey: the metadata that we hold does not know it, but
// newer metadata does.
func TestLogoutRequestWithANewKey(t *testing.T) {
	for name, newer := range map[string]*scriptedSAML{
		"without newer metadata": nil,
		"with newer metadata":    {scriptedLogout: scriptedLogout{demand: &saml.LogoutRequest{Subject: saml.Subject{NameID: "alice-4711"}}}},
	} {
		asked := 0
		w := newWorld(t, func(cfg *proxy.Config) {
			cfg.Refresh = func(_ context.Context, idp string) proxy.ServiceProvider {
				if asked++; idp != "corp" || newer == nil {
					return nil
				}
				return newer
			}
		})
		b := signedInEverywhere(w, saml.BindingRedirect)
		demand := func() int {
			return w.browser().post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutRequest", idpEntityID, "")).StatusCode
		}
		want := http.StatusForbidden
		if newer != nil {
			want = http.StatusSeeOther
		}
		if status := demand(); status != want || asked != 1 || b.signedIn(headersHost) != (newer == nil) {
			t.Errorf("%s: %d, asked for it %d times", name, status, asked)
		}
		// Strangers use up no more than that.
		for range 3 {
			if status := demand(); status != http.StatusForbidden || asked != 1 {
				t.Errorf("%s, once more: %d, asked for it %d times", name, status, asked)
			}
		}
		b.signIn(w.origin(headersHost)+"/", "alice")
		b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
		b.post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutResponse", idpEntityID, ""))
		if asked != 2 {
			t.Errorf("%s: for the answer to a sign-off asked %d times in all, want 2", name, asked)
		}
	}
}

// TestResponseWithoutItsRelayState: some identity providers lose it; the request
// that was sent last is meant.
func TestResponseWithoutItsRelayState(t *testing.T) {
	w := newWorld(t, nil)
	b := signedInEverywhere(w, saml.BindingRedirect)
	b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
	w.saml.script(func(s *scriptedLogout) { s.reply = &saml.LogoutResponse{} })
	if next := b.post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutResponse", idpEntityID, "")).next(); !strings.Contains(next, "at_idp=everywhere") {
		t.Errorf("it leads to %q", next)
	}
}

// stream opens an event stream that never ends by itself.
func (b *browser) stream(path string) *http.Response {
	b.w.tb.Helper()
	req := b.request(http.MethodGet, b.w.origin(headersHost)+path, nil)
	req.Header.Set("Accept", "text/event-stream")
	res, err := b.client.Do(req)
	if err != nil {
		b.w.tb.Fatal(err)
	}
	b.w.tb.Cleanup(func() { _ = res.Body.Close() })
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "data: one\n" {
		b.w.tb.Fatalf("first event %q, %v", line, err)
	}
	return res
}

// TestLiveConnectionsEndWithTheSession opens a WebSocket and an event stream in two
// sessions, ends one session, and finds its connections gone and the other's alive.
func TestLiveConnectionsEndWithTheSession(t *testing.T) {
	for name, end := range map[string]func(*world, *browser){
		"by signing out at the door":       func(w *world, b *browser) { b.post(w.origin(doorHost)+signOutPath, "same-origin", nil) },
		"by signing out at another tool":   func(w *world, b *browser) { b.post(w.origin(notesHost)+signOutPath, "same-origin", nil) },
		"by a logout request":              func(w *world, _ *browser) { w.demandLogout("alice-4711", "alice-1") },
		"by a logout request for a person": func(w *world, _ *browser) { w.demandLogout("alice-4711") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/ws", echo)
			w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				_, _ = fmt.Fprint(rw, "data: one\n\n")
				_ = http.NewResponseController(rw).Flush()
				<-r.Context().Done()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			open := func(b *browser) (*websocket.Conn, *http.Response) {
				conn, _, err := b.dial(ctx, w.origin(headersHost)+"/ws", w.origin(headersHost))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.CloseNow() })
				return conn, b.stream("/events")
			}
			alice, bob := signedInEverywhere(w, saml.BindingRedirect), w.browser()
			bob.signIn(w.origin(headersHost)+"/", "bob")
			socket, events := open(alice)
			others, _ := open(bob)

			end(w, alice)
			if _, _, err := socket.Read(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the WebSocket goes on: %v", err)
			}
			if _, err := io.ReadAll(events.Body); err == nil {
				t.Error("the stream ended as if it were complete, want it cut")
			}
			if err := others.Write(ctx, websocket.MessageText, []byte("still")); err != nil {
				t.Fatal(err)
			}
			if _, message, err := others.Read(ctx); err != nil || string(message) != "still" {
				t.Errorf("another person's WebSocket: %q, %v", message, err)
			}
		})
	}
}

// TestAFloodAtTheLogoutServiceIsTurnedAway: it shares the places of the answers.
func TestAFloodAtTheLogoutServiceIsTurnedAway(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const share, more = 16, 4
	turnedAway := make(chan int, share+more)
	for range share + more {
		body, writer := io.Pipe() // nothing is ever written
		defer writer.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.origin(doorHost)+"/saml/slo", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		transport := w.browser().client.Transport
		go func() {
			if res, err := transport.RoundTrip(req); err == nil {
				res.Body.Close()
				turnedAway <- res.StatusCode
			}
		}()
	}
	for range more {
		if status := <-turnedAway; status != http.StatusServiceUnavailable {
			t.Fatalf("a body that does not come is answered %d", status)
		}
	}
}
