package portal

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// signOnForm is what an identity provider is sent.
func signOnForm() Form {
	return Form{
		Title: "Going to your identity provider", Message: "Press the button if nothing happens.",
		Action: "https://idp.example.org/sso?tenant=a&b=c", Button: "Go on",
		Fields: []Field{{"SAMLRequest", "PHNhbWw+/+=="}, {"RelayState", "1795338000AAAA"}},
	}
}

var script = regexp.MustCompile(`(?s)<script>(.*)</script>`)

// TestOnlyTheScriptThatPostsRuns: the policy names that one script by its hash,
// and lets the browser follow whatever the post is redirected to.
func TestOnlyTheScriptThatPostsRuns(t *testing.T) {
	res := render(t, pages()["form"])
	page := body(t, res)
	sum := sha256.Sum256([]byte(script.FindStringSubmatch(page)[1]))
	sheet := sha256.Sum256([]byte(style.FindStringSubmatch(page)[1]))
	want := "default-src 'none'; base-uri 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sheet[:]) +
		"'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action https:; frame-ancestors 'none'"
	if diff := cmp.Diff(want, res.Header.Get("Content-Security-Policy")); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name := range pages() {
		if other := render(t, pages()[name]).Header.Get("Content-Security-Policy"); name != "form" && strings.Contains(other, "script-src") {
			t.Errorf("page %s allows a script: %s", name, other)
		}
	}
}

// TestFormArrivesAsItWasGiven reads the page as a browser does: a value that is
// changed on the way would break the signature over it.
func TestFormArrivesAsItWasGiven(t *testing.T) {
	for name, value := range map[string]string{
		"base64": "PHNhbWw+/+==", "markup": `"><script>alert(1)</script><input name="x`, "an action": "{{.Action}}", "entities": "&lt;&#43;&amp;", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			want := signOnForm()
			want.Fields[0].Value = value
			got := Form{Title: want.Title, Message: want.Message, Button: want.Button}
			res := render(t, func(p *Pages, w http.ResponseWriter) error { return p.WriteForm(w, want) })
			for _, n := range elements(t, body(t, res)) {
				switch n.Data {
				case "form":
					got.Action = attr(n, "action")
				case "input":
					got.Fields = append(got.Fields, Field{attr(n, "name"), attr(n, "value")})
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFormLeadsToHTTPSAlone(t *testing.T) {
	for _, action := range []string{
		"", "/relative", "http://idp.example.org/sso", "javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "https:", "https:///sso",
		"https://user:secret@idp.example.org/", "//idp.example.org/sso", "https://idp.example.org\x00/", "HTTPS",
	} {
		form, w := signOnForm(), httptest.NewRecorder()
		form.Action = action
		err := newPages(t).WriteForm(w, form)
		if err == nil || w.Body.Len() > 0 {
			t.Errorf("WriteForm to %q: error %v, %d bytes", action, err, w.Body.Len())
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

// TestFormInAFrame: only the site that it posts to may show it in one, and no other
// page may be in any.
func TestFormInAFrame(t *testing.T) {
	form := signOnForm()
	form.InFrame = true
	res := render(t, func(p *Pages, w http.ResponseWriter) error { return p.WriteForm(w, form) })
	if policy := res.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "; frame-ancestors https://idp.example.org") {
		t.Errorf("policy %q", policy)
	}
	if got := res.Header.Get("X-Frame-Options"); got != "" {
		t.Errorf("X-Frame-Options: %q", got)
	}
}

// A notice sends people, at once or by a link, to https addresses alone.
func TestOnwardLeadsToHTTPSAlone(t *testing.T) {
	onward := func(address string) (*httptest.ResponseRecorder, error) {
		w := httptest.NewRecorder()
		return w, newPages(t).WriteNotice(w, Notice{Status: http.StatusOK, Title: "Going on", Onward: address})
	}
	if w, err := onward("https://idp.example.org/slo?a=b&c=%2B"); err != nil || w.Header().Get("Refresh") != "0; url=https://idp.example.org/slo?a=b&c=%2B" {
		t.Errorf("WriteNotice: %v, Refresh %q", err, w.Header().Get("Refresh"))
	}
	for _, address := range []string{"javascript:alert(1)", "http://idp.example.org/", "//idp.example.org", "/here"} {
		w := httptest.NewRecorder()
		if err := newPages(t).WriteNotice(w, Notice{Status: http.StatusForbidden, Title: "No", Help: address}); err == nil || w.Body.Len() > 0 {
			t.Errorf("WriteNotice with help at %q: error %v, %d bytes", address, err, w.Body.Len())
		}
	}
	for _, address := range []string{"javascript:alert(1)", "http://idp.example.org/", "//idp.example.org", "/here", "https://a\r\nSet-Cookie: b=c"} {
		if w, err := onward(address); err == nil || w.Body.Len() > 0 || w.Header().Get("Refresh") != "" {
			t.Errorf("WriteNotice onward to %q: error %v, %d bytes", address, err, w.Body.Len())
		}
	}
}
