package proxy_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// The person is told what helps them and nobody else; all that an attacker could
// learn from looks the same.
func TestPagesOfRefusedSignOns(t *testing.T) {
	log := new(sink)
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Log, cfg.Traces = slog.New(slog.NewJSONHandler(log, nil)), proxy.NewTraces()
	})
	acs := w.origin(doorHost) + "/saml/acs"
	refused := func(code string) (answer, map[string]any) {
		b := w.browser()
		res := b.post(acs, "cross-site", samlForm(t, b.navigate(w.origin(doorHost)+"/").Header.Get("Location"), "refuse "+code))
		return res, w.last(b)
	}
	for code, want := range map[string]string{
		saml.CodeStatus:        "Your identity provider did not let you in",
		saml.CodeTooManyValues: "You are in too many groups to sign in",
	} {
		res, line := refused(code)
		id := line["http.request.id"].(string)
		if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, want) || !strings.Contains(res.body, id) || line["event.reason"] != code {
			t.Errorf("%s: %d, line %v\n%s", code, res.StatusCode, line, res.body)
		}
		if strings.Contains(res.body, "private detail") {
			t.Errorf("%s: the page shows the cause", code)
		}
		if again := strings.Contains(res.body, ">Try again<"); again == (code == saml.CodeTooManyValues) {
			t.Errorf("%s: whether to try again: %v\n%s", code, again, res.body)
		}
	}
	uniform := ""
	for _, code := range []string{saml.CodeSignature, saml.CodeAudience, saml.CodeReplay, saml.CodeUnsigned, saml.CodeIssuer, saml.CodeInternal} {
		res, line := refused(code)
		page := strings.ReplaceAll(res.body, line["http.request.id"].(string), "ID")
		if res.StatusCode != http.StatusForbidden || uniform != "" && page != uniform {
			t.Errorf("%s is told apart: %d\n%s", code, res.StatusCode, page)
		}
		uniform = page
	}
	if !strings.Contains(uniform, "Signing in did not work") {
		t.Errorf("page:\n%s", uniform)
	}
	b := w.browser()
	res := b.post(acs, "cross-site", url.Values{"SAMLResponse": {"x alice"}})
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "keeps no cookies") || !strings.Contains(res.body, "Try again") {
		t.Errorf("no sign-on under way: %d\n%s", res.StatusCode, res.body)
	}
	refused(saml.CodeTooManyValues)
	if n := strings.Count(log.text(), `"event":"too_many_values","idp":"corp"`); n != 1 {
		t.Errorf("%d warnings of too many values within a minute:\n%s", n, log.text())
	}
}

// Whom the identity provider does not name as we need it is told so, and where it
// helps its own people, which only its own answers lead to.
func TestPageOfAnAnswerThatNamesNobody(t *testing.T) {
	log := new(sink)
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Log = slog.New(slog.NewJSONHandler(log, nil))
		cfg.IdPs[0].SAML.(*scriptedSAML).errorURL = "https://idp.example.org/help/ERRORURL_CODE?tid=ERRORURL_TID&ctx=ERRORURL_CTX&c"
	})
	refused := func(code string) (answer, string) {
		b := w.browser()
		res := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, b.navigate(w.origin(doorHost)+"/").Header.Get("Location"), "refuse "+code))
		return res, w.last(b)["http.request.id"].(string)
	}
	for _, code := range namesNobody {
		res, id := refused(code)
		help := `<a href="https://idp.example.org/help/IDENTIFICATION_FAILURE?tid=` + id + `&amp;ctx=&amp;c" rel="noreferrer">`
		for _, want := range []string{"Your identity provider does not say who you are", "Trying again does not help", help, id} {
			if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, want) {
				t.Errorf("%s: %d without %q\n%s", code, res.StatusCode, want, res.body)
			}
		}
		if strings.Contains(res.body, "private detail") || strings.Contains(res.body, code+"<") {
			t.Errorf("%s: the page shows the cause\n%s", code, res.body)
		}
	}
	if n := strings.Count(log.text(), `"event":"person_unnamed","idp":"corp"`); n != 1 || strings.Contains(log.text(), "private detail") {
		t.Errorf("%d warnings of people who are not named within a minute:\n%s", n, log.text())
	}
	for _, code := range []string{saml.CodeSignature, saml.CodeStatus} {
		if res, _ := refused(code); strings.Contains(res.body, "idp.example.org") {
			t.Errorf("%s: the page leads there\n%s", code, res.body)
		}
	}
}

// tracing tells what it finds.
type tracing struct {
	*scriptedSAML
	verified bool
}

func (s *tracing) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	want.Trace.Message, want.Trace.Checks = "Response", []saml.Check{{Name: "audience", Code: "audience"}}
	if s.verified {
		want.Trace.Certificate = "5d41"
	}
	return s.scriptedSAML.Verify(ctx, p, want)
}

// The number on the person's page leads to what was found out.
func TestEveryAnswerIsTraced(t *testing.T) {
	traces, provider := proxy.NewTraces(), new(tracing)
	w := newWorld(t, func(cfg *proxy.Config) {
		provider.scriptedSAML = cfg.IdPs[0].SAML.(*scriptedSAML)
		cfg.IdPs[0].SAML, cfg.Traces = provider, traces
	})
	acs := w.origin(doorHost) + "/saml/acs"
	tests := []struct {
		name, response, decision, reason, idp string
		verified, pending                     bool
	}{
		{"let in", "alice", "allow", "assertion_verified", "corp", true, true},
		{"refused", "refuse audience", "deny", "audience", "corp", true, true},
		{"refused without a good signature", "refuse signature", "deny", "signature", "corp", false, true},
		{"brought by a stranger", "alice", "deny", "no_pending_signin", "", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			provider.verified = test.verified
			b := w.browser()
			form := url.Values{"SAMLResponse": {"x"}}
			if test.pending {
				form = samlForm(t, b.navigate(w.origin(doorHost)+"/").Header.Get("Location"), test.response)
			}
			b.post(acs, "cross-site", form)
			line := w.last(b)
			id := line["http.request.id"].(string)
			status, whole := ask(t, traces, "/saml/traces/"+id)
			for _, want := range []string{`"decision": "` + test.decision + `"`, `"reason": "` + test.reason + `"`, `"request_id": "` + id + `"`} {
				if status != http.StatusOK || !strings.Contains(whole, want) {
					t.Errorf("trace %d has no %s:\n%s", status, want, whole)
				}
			}
			if got := strings.Contains(whole, `"idp": "corp"`); got != (test.idp != "") {
				t.Errorf("identity provider:\n%s", whole)
			}
			if got := strings.Contains(whole, `"name": "audience"`); got != test.pending {
				t.Errorf("checks:\n%s", whole)
			}
			if test.decision == "deny" && !strings.Contains(whole, `"cause": "`+test.reason) {
				t.Errorf("no cause:\n%s", whole)
			}
		})
	}
}

// withholding is refused for a value of a person's, which its trace does not show.
type withholding struct{ *scriptedSAML }

func (s withholding) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	*want.Trace = saml.Trace{Message: "Response", Checks: []saml.Check{{Name: "identity", Code: saml.CodeEmail, Got: "a value that only the log quotes"}}}
	return s.scriptedSAML.Verify(ctx, p, want)
}

// What the trace of a check withholds does not stand in the cause beside it, nor does
// who was verified and may not enter.
func TestTracesNameNobody(t *testing.T) {
	traces := proxy.NewTraces()
	trace := func(w *world, b *browser) (whole, line string) {
		record := w.last(b)
		_, whole = ask(t, traces, "/saml/traces/"+record["http.request.id"].(string))
		return whole, fmt.Sprint(record)
	}
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.IdPs[0].SAML, cfg.Traces = withholding{cfg.IdPs[0].SAML.(*scriptedSAML)}, traces
	})
	b := w.browser()
	b.post(w.origin(doorHost)+"/saml/acs", "cross-site", samlForm(t, b.navigate(w.origin(doorHost)+"/").Header.Get("Location"), "refuse email"))
	if whole, line := trace(w, b); !strings.Contains(whole, `"reason": "email"`) || strings.Contains(whole, "private detail") || !strings.Contains(line, "private detail") {
		t.Errorf("an address that was refused:\n%s\nline %s", whole, line)
	}

	w = newUnasked(t)
	w.replace(func(cfg *proxy.Config) { cfg.Traces = traces })
	b = w.browser()
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=corp"), "bob")
	b.post(w.origin(doorHost)+"/saml/acs", "cross-site", url.Values{"SAMLResponse": {unaskedResponse("https://idp.partner.example", "carol")}})
	if whole, _ := trace(w, b); !strings.Contains(whole, `"reason": "other_person"`) || strings.Contains(whole, "bob") || strings.Contains(whole, "carol") {
		t.Errorf("another person:\n%s", whole)
	}
}

// unasked takes the base64 of an answer without a request, in which a person's name
// stands in place of an ID.
type unasked struct{ *scriptedSAML }

func unaskedResponse(issuer, person string) string {
	return base64.StdEncoding.EncodeToString([]byte(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="` + person + `">` +
		`<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">` + issuer + `</saml:Issuer></samlp:Response>`))
}

func (s unasked) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	if raw, err := base64.StdEncoding.DecodeString(p.Response); err == nil {
		_, rest, _ := strings.Cut(string(raw), `ID="`)
		person, _, _ := strings.Cut(rest, `"`)
		p.Response = " " + person
	}
	return s.scriptedSAML.Verify(ctx, p, want)
}

// newUnasked is a world in which the partner, and not corp, may begin a sign-on,
// which leads to a page of a tool.
func newUnasked(t *testing.T) *world {
	t.Helper()
	w, _ := newPartners(t, func(cfg *proxy.Config) {
		for i := range cfg.IdPs {
			cfg.IdPs[i].SAML = unasked{cfg.IdPs[i].SAML.(*scriptedSAML)}
		}
		cfg.IdPs[1].Landing = "https://" + headersHost + ":" + portOf(cfg.PublicPort) + "/welcome?x=1"
	})
	return w
}

func TestAnIdPMayBeginASignOn(t *testing.T) {
	w := newUnasked(t)
	acs := w.origin(doorHost) + "/saml/acs"
	const partner, corp = "https://idp.partner.example", "https://idp.example.org"
	tests := []struct {
		name, issuer, person, relayState string
		reason                           string
		status                           int
	}{
		{"good", partner, "carol", "", "assertion_unsolicited", 303},
		{"a RelayState that is an address", partner, "carol", "https://evil.example/", "assertion_unsolicited", 303},
		{"a RelayState that begins with slashes", partner, "carol", `//evil.example`, "assertion_unsolicited", 303},
		{"a RelayState like one of ours", partner, "carol", "1795338000AAAAAAAAAAAAAAAAAAAAAA", "assertion_unsolicited", 303},
		{"an answer to a request of another browser", partner, "refuse in_response_to", "", "no_pending_signin", 403},
		{"refused", partner, "refuse audience", "", "audience", 403},
		{"of an identity provider that may not", corp, "alice", "", "no_pending_signin", 403},
		{"of a stranger", "https://evil.example", "alice", "", "no_pending_signin", 403},
		{"of an identity provider that vouches as another", partner, "mixed", "", "issuer", 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := w.browser()
			form := url.Values{"SAMLResponse": {unaskedResponse(test.issuer, test.person)}}
			if test.relayState != "" {
				form.Set("RelayState", test.relayState)
			}
			res := b.post(acs, "cross-site", form)
			line := w.last(b)
			if res.StatusCode != test.status || line["event.reason"] != test.reason || line["event.action"] != "signin" {
				t.Fatalf("%d, line %v", res.StatusCode, line)
			}
			if test.status != http.StatusSeeOther {
				if strings.Contains(strings.Join(res.Header.Values("Set-Cookie"), "\n"), "__Host-sallyport=") {
					t.Error("a session was set")
				}
				return
			}
			landing := w.origin(headersHost) + "/welcome?x=1"
			if got := res.Header.Get("Location"); got != landing {
				t.Fatalf("it leads to %q", got)
			}
			if res := b.signIn(landing, "nobody asks"); res.body != "backend: carol@partner.example" || res.Request.URL.String() != landing {
				t.Errorf("at the landing: %d %q at %s", res.StatusCode, res.body, res.Request.URL)
			}
		})
	}
}

// A page that has somebody's browser post a sign-on as another person must not put
// that person in their place (login CSRF).
func TestASignOnThatNobodyAskedForTakesNobodysPlace(t *testing.T) {
	w := newUnasked(t)
	b := w.browser()
	acs := w.origin(doorHost) + "/saml/acs"
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=corp"), "bob")
	hostile := url.Values{"SAMLResponse": {unaskedResponse("https://idp.partner.example", "carol")}}
	res := b.post(acs, "cross-site", hostile)
	if res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "You are signed in here as bob@example.com") || len(res.Header.Values("Set-Cookie")) > 0 {
		t.Errorf("%d, cookies %v\n%s", res.StatusCode, res.Header.Values("Set-Cookie"), res.body)
	}
	if line := w.last(b); line["event.reason"] != "other_person" || line["sallyport.decision"] != "deny" || line["user.name"] != "carol@partner.example" {
		t.Errorf("line %v", line)
	}
	if res := b.signIn(w.origin(headersHost)+"/", "nobody asks"); res.body != "backend: bob@example.com" {
		t.Errorf("bob is now %q", res.body)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if res := b.post(acs, "cross-site", hostile); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after signing out: %d", res.StatusCode)
	}
	// The same person's own tile goes on with the same session.
	if res := b.post(acs, "cross-site", hostile); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the same person again: %d", res.StatusCode)
	}
}

// TestUnsolicitedCorpusAtTheDoor posts what package saml's corpus has without
// a request, to a door whose real service provider allows that, with no sign-on under
// way.
func TestUnsolicitedCorpusAtTheDoor(t *testing.T) {
	var cases []corpusCase
	for _, c := range readCorpus(t) {
		if c.Provider.Unsolicited && c.Request == "" {
			cases = append(cases, c)
		}
	}
	if len(cases) < 3 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		w := newWorld(t, func(cfg *proxy.Config) {
			cfg.IdPs[0].SAML = c.provider(t)
			cfg.IdPs[0].Landing = "https://" + doorHost + ":" + portOf(cfg.PublicPort) + "/"
		})
		b := w.browser()
		res := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", url.Values{"SAMLResponse": {c.Response}})
		want := map[string]string{"": "assertion_unsolicited", saml.CodeInResponseTo: "no_pending_signin"}[c.Code]
		if want == "" {
			want = c.Code
		}
		if line := w.last(b); line["event.reason"] != want || (res.StatusCode == http.StatusSeeOther) != (c.Code == "") {
			t.Errorf("%s %s: %d %v, want %s", c.ID, c.Name, res.StatusCode, line["event.reason"], want)
		}
	}
}
