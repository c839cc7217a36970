package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/saml"
)

const password, mfa = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", "https://refeds.org/profile/mfa"

// heedful stands in for a service provider and an identity provider that remembers
// its people: it asks them anew, or for more, only if it is told to.
type heedful struct {
	*scriptedSAML
	clock *clock

	mu      sync.Mutex
	asked   []saml.SignOn // of each request
	wanted  []saml.Expectation
	proved  time.Time                                     // when people did so last
	answers func(*saml.Principal, saml.Expectation) error // if not nil, changes the answer
}

func (h *heedful) Begin(s saml.SignOn) (saml.Message, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, s)
	m, err := h.scriptedSAML.Begin(s)
	m.IssuedAt = h.clock.read()
	return m, err
}

func (h *heedful) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	principal, err := h.scriptedSAML.Verify(ctx, p, want)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted = append(h.wanted, want)
	if want.SignOn.ForceAuthn {
		h.proved = h.clock.read()
	}
	principal.AuthnInstant, principal.AuthnContext = h.proved, password
	if classes := want.SignOn.AuthnContext.Classes; len(classes) > 0 {
		principal.AuthnContext = classes[0]
	}
	if h.answers != nil {
		if err := h.answers(principal, want); err != nil {
			return nil, err
		}
	}
	return principal, nil
}

// requests are what was asked for so far.
func (h *heedful) requests() []saml.SignOn {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := append([]saml.SignOn(nil), h.asked...)
	for i := range asked {
		asked[i].RelayState = ""
	}
	return asked
}

// steppingWorld demands a sign-on of the last five minutes for notes, and a second
// factor for open. Everybody has signed in at the identity provider an hour ago.
func steppingWorld(t *testing.T, change func(*proxy.Config)) (*world, *heedful) {
	t.Helper()
	h := &heedful{clock: newClock()}
	h.proved = h.clock.read().Add(-time.Hour)
	w := newWorld(t, func(cfg *proxy.Config) {
		h.scriptedSAML = cfg.IdPs[0].SAML.(*scriptedSAML)
		cfg.IdPs[0].SAML = h
		cfg.Now = h.clock.read
		cfg.Routes[1].StepUp = policy.StepUp{MaxAge: 5 * time.Minute}
		cfg.Routes[2].StepUp = policy.StepUp{Contexts: []string{mfa, "urn:example:hardware"}, Minimum: true}
		if change != nil {
			change(cfg)
		}
	})
	return w, h
}

func TestStepUpByAge(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	if res := b.signIn(w.origin(notesHost)+"/deep?a=1", "alice"); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, res.body)
	}
	// The first answer, of somebody whom the identity provider knew, was too old.
	plain, forced := saml.SignOn{}, saml.SignOn{ForceAuthn: true}
	if diff := cmp.Diff([]saml.SignOn{plain, forced}, h.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := h.wanted[1]; !got.SignOn.ForceAuthn || got.MaxAge != 5*time.Minute || got.RequestedAt.Unix() != h.clock.read().Unix() {
		t.Errorf("the answer was held to %+v", got)
	}
	if got, _ := w.backend.seen(); got.RequestURI != "/deep?a=1" {
		t.Errorf("sign-on ended at %s", got.RequestURI)
	}

	h.clock.pass(4 * time.Minute)
	if res := b.navigate(w.origin(notesHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("within the time: status %d", res.StatusCode)
	}
	h.clock.pass(61 * time.Second)
	background := b.request(http.MethodGet, w.origin(notesHost)+"/api", nil)
	background.Header.Set("Sec-Fetch-Mode", "cors")
	res := b.do(background)
	var body map[string]string
	if err := json.Unmarshal([]byte(res.body), &body); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusUnauthorized || body["error"] != "authn_too_old" || body["signin"] != w.origin(notesHost)+"/" {
		t.Errorf("background request: %d %v", res.StatusCode, body)
	}
	if _, res, err := b.dial(t.Context(), w.origin(notesHost)+"/ws", w.origin(notesHost)); err == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a WebSocket: %v", res)
	}
	if res := b.signIn(w.origin(headersHost)+"/", "alice"); res.StatusCode != http.StatusOK || len(h.requests()) != 2 {
		t.Errorf("a tool that demands nothing: status %d after %d requests", res.StatusCode, len(h.requests()))
	}
	if res := b.signIn(w.origin(notesHost)+"/", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("after another sign-on: status %d", res.StatusCode)
	}
	if diff := cmp.Diff([]saml.SignOn{plain, forced, forced}, h.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestRecordsOfAStepUp(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	before := len(w.records(6))
	h.clock.pass(6 * time.Minute)
	b.signIn(w.origin(notesHost)+"/", "alice")
	var got []string
	for _, r := range w.records(before + 5)[before:] {
		got = append(got, strings.Join([]string{r["event.action"].(string), r["sallyport.decision"].(string), r["event.reason"].(string), r["user.name"].(string)}, " "))
	}
	want := []string{
		"signin_begin step_up authn_too_old alice@example.com", // the tool's host
		"signin_begin step_up authn_too_old alice@example.com", // the door
		"signin allow assertion_verified alice@example.com",
		"signin_carry allow ticket_redeemed alice@example.com",
		"access allow group_allowed alice@example.com",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestStepUpByContext(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "bob")
	if res := b.signIn(w.origin(openHost)+"/", "bob"); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, res.body)
	}
	strong := saml.SignOn{AuthnContext: saml.AuthnContext{Classes: []string{mfa, "urn:example:hardware"}, Minimum: true}}
	if diff := cmp.Diff([]saml.SignOn{{}, strong}, h.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	whoami := func(host string) (who struct {
		At      int64  `json:"authenticated_at"`
		Context string `json:"authn_context"`
	}) {
		if err := json.Unmarshal([]byte(b.navigate(w.origin(host)+"/.sallyport/whoami").body), &who); err != nil {
			t.Fatal(err)
		}
		return who
	}
	// The other tool knows of the earlier sign-on, and of no later one.
	if got := whoami(openHost); got.Context != mfa || got.At != h.proved.Unix() {
		t.Errorf("whoami says %+v", got)
	}
	if got := whoami(headersHost); got.Context != password {
		t.Errorf("whoami of the other tool says %+v", got)
	}
}

func TestStepUpThatIsNotDoneEndsWithAPage(t *testing.T) {
	refused := func(code string) func(*saml.Principal, saml.Expectation) error {
		return func(_ *saml.Principal, want saml.Expectation) error {
			if want.SignOn.ForceAuthn || want.SignOn.AuthnContext.Classes != nil {
				return &saml.Refusal{Code: code, Err: errors.New("private detail")}
			}
			return nil
		}
	}
	var w *world
	var h *heedful
	tests := []struct {
		name, host, reason, says string
		answers                  func(*saml.Principal, saml.Expectation) error
	}{
		{"an answer that is too old", notesHost, "authn_too_old", "within the last 5 minutes", refused(saml.CodeAuthnAge)},
		{"an answer of somebody who was not asked", notesHost, "authn_too_old", "within the last 5 minutes", refused(saml.CodeAuthnNotFresh)},
		{"an answer without the class", openHost, "authn_context", "stronger sign-in", refused(saml.CodeAuthnContext)},
		{"an identity provider that cannot", openHost, "authn_context", "stronger sign-in", refused(saml.CodeNoAuthnContext)},
		{"a class that the gateway itself finds lacking", openHost, "authn_context", "stronger sign-in", func(p *saml.Principal, _ saml.Expectation) error {
			p.AuthnContext = password
			return nil
		}},
		{"a person who takes too long", notesHost, "authn_too_old", "within the last 5 minutes", func(_ *saml.Principal, want saml.Expectation) error {
			if want.SignOn.ForceAuthn {
				h.clock.pass(6 * time.Minute)
			}
			return nil
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log syncBuffer
			w, h = steppingWorld(t, func(cfg *proxy.Config) { cfg.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
			h.answers = test.answers
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			before := len(h.requests())
			res := b.signIn(w.origin(test.host)+"/", "alice")
			if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, test.says) || strings.Contains(res.body, "private") {
				t.Errorf("status %d: %s", res.StatusCode, res.body)
			}
			if n := len(h.requests()) - before; n != 1 {
				t.Errorf("%d requests for one click", n)
			}
			if _, hits := w.backend.seen(); hits != 1 {
				t.Errorf("the backends got %d requests", hits)
			}
			if last := w.lastRecord(8); last["event.action"] != "signin" || last["sallyport.decision"] != "deny" || last["event.reason"] != test.reason {
				t.Errorf("line %v", last)
			}
			if line := log.String(); strings.Count(line, `"step_up_refused"`) != 1 || !strings.Contains(line, test.reason) {
				t.Errorf("operators are told %s", line)
			}
			if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
				t.Errorf("the session before it is gone: status %d", res.StatusCode)
			}
		})
	}
}

func TestStepUpIsNotForThoseWhoMayNotEnter(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "bob")
	h.clock.pass(10 * time.Minute)
	res := b.signIn(w.origin(notesHost)+"/", "bob")
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "not_in_allow") || len(h.requests()) != 1 {
		t.Errorf("status %d after %d requests: %s", res.StatusCode, len(h.requests()), res.body)
	}
}

func TestStepUpByAnotherPersonEndsTheSession(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	b.signIn(w.origin(headersHost)+"/", "alice")
	h.clock.pass(6 * time.Minute)
	if res := b.signIn(w.origin(notesHost)+"/", "bob"); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "bob@example.com") {
		t.Errorf("status %d: %s", res.StatusCode, res.body)
	}
	req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	if res := b.do(req); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "session_revoked") {
		t.Errorf("the session of the person before: status %d: %s", res.StatusCode, res.body)
	}
}

func TestWebSocketEndsWhenTheSignOnIsTooOld(t *testing.T) {
	w, h := steppingWorld(t, nil)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	h.clock.pass(5*time.Minute - time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := b.dial(ctx, w.origin(notesHost)+"/ws", w.origin(notesHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Fatalf("the connection outlives the sign-on: %v", err)
	}
	if last := w.lastRecord(7); last["event.reason"] != "authn_too_old" || last["http.response.status_code"] != 101.0 {
		t.Errorf("line %v", last)
	}
}

func TestRequestsThatAreBoundByTheAgeOfTheSignOn(t *testing.T) {
	w, _ := steppingWorld(t, func(cfg *proxy.Config) { cfg.Now = nil })
	plain := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	upgrade := plain.Clone(t.Context())
	upgrade.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	authnAt := time.Now().Truncate(time.Second).Add(-time.Minute)
	for name, test := range map[string]struct {
		r    *http.Request
		host string
		left time.Duration // of the five minutes, and of the one that an answer may still take
	}{
		"a WebSocket has the time that is left": {upgrade, notesHost, 5 * time.Minute},
		"an answer has a minute more":           {plain, notesHost, 6 * time.Minute},
		"other routes have no bound":            {upgrade, openHost, 0},
	} {
		until, bound := proxy.BoundByAge(w.gateway, test.r, test.host, authnAt)
		if off := until.Sub(authnAt.Add(test.left)).Abs(); bound != (test.left > 0) || bound && off > 5*time.Second {
			t.Errorf("%s: until %s (%t)", name, until, bound)
		}
	}
}

// syncBuffer collects what several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
