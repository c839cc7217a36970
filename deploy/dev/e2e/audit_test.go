package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// auditPage: an auditor finds what somebody else has just been refused, follows it, sees
// what happens next as it happens, and is seen; nobody else finds a page there.
func auditPage(t *testing.T) {
	d := shared.demo
	bob := signedIn(t, "bob", d.headers()+"/")
	bob.open(d.notes() + "/plans/secret")
	bob.sees("You may not open Notes")

	erin := signedIn(t, "erin", d.door()+"/")
	erin.sees("Access log")
	erin.click(`a[href$="/.sallyport/audit"]`)
	audit := d.door() + "/.sallyport/audit"
	erin.at(audit)
	erin.fill("#person", "bob@example.com")
	erin.do(chromedp.SetValue(chromedp.CSS("#decision"), "deny"))
	erin.click("form.search button[type=submit]")
	erin.atPrefix(audit + "?")
	erin.sees("notes.sallyport.localhost/plans/secret", "not_in_allow", "This gateway’s own records")
	erin.picture("audit-search")

	erin.click("tbody .more summary")
	erin.sees("user_agent.original", "sallyport.session.id")
	erin.click(`dd a[href*="session="]`)
	erin.atPrefix(audit + "?last=24h&session=")
	erin.sees("headers.sallyport.localhost/", "group_allowed", "Session")
	erin.click(".tool a")
	erin.atPrefix(audit + "?last=24h&tool=")
	erin.looksGood("audit-search")
	for _, page := range []string{"denials", "verification"} {
		erin.open(audit + "/" + page + "?last=all")
		erin.looksGood("audit-" + page)
	}
	erin.open(audit + "?address=here&path=there")
	erin.sees("Nothing was searched", "An address is one such as 192.0.2.7")
	erin.looksGood("audit-fault")
	erin.open(audit + "?person=nobody@example.com")
	erin.sees("No record fits.")

	auditLive(t, erin, bob)
	auditHidden(t, bob)
	logs(t, records, 1, record{"event.action": "audit_view", "user.name": "erin@example.com", "sallyport.decision": "allow", "rule.name": "group:auditors", "url.query": "decision=deny&last=24h&person=bob%40example.com"})
	logs(t, records, 1, record{"event.action": "audit_view", "user.name": "bob@example.com", "sallyport.decision": "deny", "event.reason": "not_in_allow"})
}

// auditLive: a line appears without anybody loading the page, and none after a sign-out.
func auditLive(t *testing.T, erin, bob *person) {
	t.Helper()
	d := shared.demo
	audit := d.door() + "/.sallyport/audit"
	erin.open(audit + "/live?person=bob@example.com")
	erin.sees("Live: waiting for records")
	bob.open(d.notes() + "/plans/another")
	bob.sees("You may not open Notes")
	erin.sees("notes.sallyport.localhost/plans/another", "Live: 1 new since this page was opened")
	erin.looksGood("audit-live")
	got := erin.fetch("/.sallyport/audit?person=bob@example.com")
	if got.Status != http.StatusOK {
		t.Errorf("the page's own fetch: status %d", got.Status)
	}
	door := erin.tab()
	door.open(d.door() + "/")
	door.click("form button.quiet")
	erin.sees("This page is told nothing more")
}

// auditHidden: who is no auditor, and who is nobody, get what is at any other address.
func auditHidden(t *testing.T, bob *person) {
	t.Helper()
	d := shared.demo
	answers := map[string]string{}
	for who, p := range map[string]*person{"bob": bob, "a stranger": newPerson(t)} {
		for _, path := range []string{"/.sallyport/audit", "/.sallyport/nothing"} {
			answer := ask(p, chromedp.NavigateResponse(d.door()+path))
			p.sees("There is nothing here")
			answers[fmt.Sprint(answer.Status, " ", p.text()[:40])] = who + " at " + path
		}
	}
	if len(answers) != 1 {
		t.Errorf("answers differ: %q", answers)
	}
}
