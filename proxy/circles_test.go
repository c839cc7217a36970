package proxy_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/session"
)

// sink collects a program's log.
type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// lose has a browser forget, or replace, the session cookie of a host.
func (b *browser) lose(host, value string) {
	c := &http.Cookie{Name: session.CookieName, Value: value, Path: "/", Secure: true, MaxAge: -1}
	if value != "" {
		c.MaxAge = 0
	}
	b.client.Jar.SetCookies(mustURL(b.w.tb, b.w.origin(host)), []*http.Cookie{c})
}

// A browser that does not keep a tool's cookie is not sent to and fro for ever, and
// both the person and the operator are told why.
func TestASignInThatGoesInCirclesIsEnded(t *testing.T) {
	tests := []struct {
		name, cookie, found, advice string
	}{
		{"a cookie that is not kept", "", "no_session", "Allow them, and try again"},
		{"a cookie that another replica has sealed", "AAAA", "session_invalid", "This is not your fault"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			log := new(sink)
			w := newWorld(t, func(cfg *proxy.Config) { cfg.Log = slog.New(slog.NewJSONHandler(log, nil)) })
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			var res answer
			steps := 0
			for address := w.origin(headersHost) + "/"; address != "" && steps < 100; steps++ {
				b.lose(headersHost, test.cookie)
				res = b.navigate(address)
				address = res.Header.Get("Location")
			}
			if res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "signin_loop") || !strings.Contains(res.body, test.advice) {
				t.Fatalf("after %d steps: %d\n%s", steps, res.StatusCode, res.body)
			}
			line := w.last(b)
			if line["event.reason"] != "signin_loop" || line["sallyport.decision"] != "deny" || line["user.name"] != "alice@example.com" ||
				!strings.Contains(line["error.message"].(string), `"`+test.found+`"`) {
				t.Errorf("line %v", line)
			}
			if n := strings.Count(log.text(), `"event":"signin_loop","host":"`+headersHost+`","found":"`+test.found+`"`); n != 1 {
				t.Errorf("%d warnings:\n%s", n, log.text())
			}
			// Whoever tries again may, and if the cause has gone it works.
			if res := b.signIn(w.origin(headersHost)+"/", "nobody asks"); res.body != "backend: alice@example.com" {
				t.Errorf("another try: %d %q", res.StatusCode, res.body)
			}
			// Nobody fills the log with it.
			for range 40 {
				b.lose(headersHost, test.cookie)
				b.signIn(w.origin(headersHost)+"/", "nobody asks")
			}
			if n := strings.Count(log.text(), "signin_loop"); n != 1 {
				t.Errorf("%d warnings within a minute", n)
			}
		})
	}
}

// The door's own cookie may be the one that does not last: then each round goes
// through the identity provider.
func TestASignOnThatGoesInCirclesIsEnded(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	for round := range 20 {
		res := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, b.navigate(w.origin(doorHost)+"/").Header.Get("Location"), "alice"))
		if res.StatusCode == http.StatusConflict {
			if round != 5 || !strings.Contains(res.body, "the door did not find that") {
				t.Errorf("ended after %d rounds:\n%s", round, res.body)
			}
			return
		}
		if res.StatusCode != http.StatusSeeOther {
			t.Fatalf("round %d: %d", round, res.StatusCode)
		}
		b.lose(doorHost, "")
	}
	t.Error("twenty rounds are not enough")
}

// Thirty tabs that a browser restores at once are thirty sign-ins at one host, side
// by side.
func TestManyTabsAtOnceAreNoCircle(t *testing.T) {
	for name, signedIn := range map[string]bool{"with a session at the door": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := w.browser()
			if signedIn {
				b.signIn(w.origin(doorHost)+"/", "alice")
			}
			var tickets []string
			for range 5 { // six at once, as many sign-ons as a browser keeps
				var begins []string
				for range 6 {
					begins = append(begins, b.navigate(w.origin(headersHost)+"/").Header.Get("Location"))
				}
				for _, begin := range begins {
					res := b.navigate(begin)
					if strings.HasPrefix(res.Header.Get("Location"), idpSignOn) {
						res = b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, res.Header.Get("Location"), "alice"))
					}
					if !strings.Contains(res.Header.Get("Location"), "/.sallyport/ticket?") {
						t.Fatalf("after %d tickets: %d\n%s", len(tickets), res.StatusCode, res.body)
					}
					tickets = append(tickets, res.Header.Get("Location"))
				}
			}
			if res := b.navigate(tickets[len(tickets)-1]); res.StatusCode != http.StatusSeeOther {
				t.Errorf("the last ticket: %d", res.StatusCode)
			}
		})
	}
}

// People who sign out and in again, and those who open one tool after the other, go
// in no circle.
func TestSigningOutAndInIsNoCircle(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	for range 12 {
		if res := b.signIn(w.origin(headersHost)+"/", "alice"); res.StatusCode != http.StatusOK {
			t.Fatalf("%d\n%s", res.StatusCode, res.body)
		}
		b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	}
}
