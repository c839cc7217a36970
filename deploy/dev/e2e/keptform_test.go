package e2e

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// visit opens a tool of the house, for which name signs in with the corporate account.
func (h *house) visit(t *testing.T, name, address string) *person {
	t.Helper()
	p := newPerson(t)
	p.open(address)
	p.click(`a[href*="idp=corp"]`)
	p.signInAt(h.corp.origin, name, name+"-pw")
	p.at(address)
	return p
}

// forgottenBy drops what an identity provider knows the browser by.
func (p *person) forgottenBy(idp *provider) {
	p.t.Helper()
	p.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, network.DeleteCookies, network.DeleteCookiesParams{Name: "__Host-idp", URL: idp.origin})
		return chromedp.Void{}, err
	})
}

// pinned is how often the page shows a note.
func (p *person) pinned(note string) int {
	p.t.Helper()
	return strings.Count(p.text(), note)
}

// keptForm: what somebody wrote before the session ran out arrives, once, with a click
// after the sign-on.
func keptForm(t *testing.T) {
	h := newHouse(t)
	notes := h.origin(houseNotes)
	alice := h.visit(t, "alice", notes+"/")
	note := "What a long meeting. The \"tea\" & the <biscuits> were good. " + strconv.FormatUint(rand.Uint64(), 36)
	alice.fill("#text", note)
	h.forward(houseIdle + time.Minute)
	alice.click(".write button")
	alice.at(notes + "/notes")
	alice.sees("Your form is kept", "has not reached Notes")
	alice.looksGood("form-kept")
	logs(t, h.records, 1, record{"event.action": "form_kept", "sallyport.decision": "signin", "event.reason": "session_idle", "user.name": "alice@example.com"})

	alice.click("a.button") // the identity provider knows her still
	alice.atPrefix(notes + "/.sallyport/form?id=")
	alice.sees("Your form was kept", "alice@example.com", "POST /notes")
	alice.looksGood("form-send")
	offer := ask(alice, chromedp.Location())
	second := alice.tab()
	second.open(offer)
	second.sees("Your form was kept")
	logs(t, h.records, 2, record{"event.reason": "form_shown", "sallyport.decision": "allow"})

	alice.click(".choice button:not(.quiet)")
	alice.at(notes + "/")
	alice.sees(note)
	second.click(".choice button:not(.quiet)") // once more
	second.sees("There is no form to send", "may have reached Notes")
	alice.open(notes + "/")
	if got := alice.pinned(note); got != 1 {
		t.Errorf("the note is there %d times, want once:\n%s", got, alice.text())
	}
	logs(t, h.records, 1, record{"event.action": "access", "http.request.method": "POST", "url.path": "/notes", "sallyport.decision": "allow", "user.name": "alice@example.com"})

	alice.open(offer) // as from the history
	alice.sees("There is no form to send")
	alice.looksGood("form-gone")
	logs(t, h.records, 2, record{"event.reason": "form_gone", "sallyport.decision": "deny"})
}

// keptUpload: a file outlives the session as well, byte for byte; one that is too
// large does not, which the person is told.
func keptUpload(t *testing.T) {
	h := newHouse(t)
	want := upload{user: "alice@example.com", name: "plan.bin", text: "a plan,\r\nfür später", content: noise(100_000)}
	alice := h.visit(t, "alice", h.origin(houseFiles)+"/")
	alice.upload(want)
	h.forward(houseIdle + time.Minute)
	alice.click("button")
	alice.sees("Your form is kept")
	alice.click("a.button")
	alice.sees("Your form was kept", "100 kB")
	alice.click(".choice button:not(.quiet)")
	alice.at(h.origin(houseFiles) + "/added")
	got := <-h.uploads
	if !bytes.Equal(got.content, want.content) {
		t.Errorf("%d bytes arrived, and not as they were", len(got.content))
	}
	got.content, want.content = nil, nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(upload{})); diff != "" {
		t.Errorf("upload (-want +got):\n%s", diff)
	}

	alice.open(h.origin(houseFiles) + "/")
	alice.upload(upload{name: "film.bin", text: "a film", content: noise(5_000_000)})
	h.forward(houseIdle + time.Minute)
	alice.click("button")
	alice.sees("Your form was not sent", "too large to be kept")
	alice.looksGood("form-too-large")
	logs(t, h.records, 1, record{"event.reason": "form_too_large", "sallyport.decision": "deny"})
	if len(h.uploads) > 0 {
		t.Error("a file arrived that should not have")
	}
}

// upload fills in the form of the tool for files.
func (p *person) upload(u upload) {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), u.name)
	if err := os.WriteFile(path, u.content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.fill("textarea", strings.ReplaceAll(u.text, "\r\n", "\n"))
	p.do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{path}))
}

func noise(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(rand.UintN(256))
	}
	return content
}

// keptForNobodyElse: whoever signs in next in that browser is offered nothing, and
// what was kept is gone.
func keptForNobodyElse(t *testing.T) {
	h := newHouse(t)
	notes := h.origin(houseNotes)
	p := h.visit(t, "alice", notes+"/")
	note := "Alice wrote this for herself. " + strconv.FormatUint(rand.Uint64(), 36)
	p.fill("#text", note)
	h.forward(houseIdle + time.Minute)
	p.click(".write button")
	p.sees("Your form is kept")

	p.forgottenBy(h.corp)
	p.click("a.button")
	p.signInAt(h.corp.origin, "bob", "bob-pw")
	p.atPrefix(notes + "/.sallyport/form?id=")
	p.sees("This form is not yours", "thrown away")
	if n := ask(p, chromedp.Evaluate[int]("document.forms.length")); n != 0 || strings.Contains(p.text(), note) {
		t.Errorf("%d forms are offered to bob:\n%s", n, p.text())
	}
	p.looksGood("form-other-person")
	logs(t, h.records, 1, record{"event.reason": "form_other_person", "sallyport.decision": "deny", "user.name": "bob@example.com"})
	p.open(ask(p, chromedp.Location()))
	p.sees("There is no form to send")
	p.open(notes + "/")
	if p.pinned(note) != 0 {
		t.Error("the note was sent")
	}
	logs(t, h.records, 0, record{"http.request.method": "POST", "url.path": "/notes", "sallyport.decision": "allow"})
}
