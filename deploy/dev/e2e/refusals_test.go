package e2e

import "testing"

// circles: a browser that keeps no session cookie of a tool is sent to and fro until the door
// says so, before the browser itself gives up.
func circles(t *testing.T) {
	h := newHouse(t)
	h.withoutSession.Store(true)
	alice := newPerson(t)
	alice.open(h.origin(houseNotes) + "/chat")
	alice.click(`a[href*="idp=corp"]`)
	alice.signInAt(h.corp.origin, "alice", "alice-pw")
	alice.atPrefix(h.origin(houseDoor) + "/.sallyport/sign_in?begin=")
	alice.sees("Signing in goes in circles", "does not keep cookies for that address")
	alice.looksGood("circles")
	logs(t, h.records, 1, record{"event.reason": "signin_loop", "sallyport.decision": "deny", "user.name": "alice@example.com"})

	h.withoutSession.Store(false) // she has allowed them
	alice.click("a.button")
	alice.at(h.origin(houseNotes) + "/")
}

// tooManyGroups: somebody whom the identity provider says too much of is told what
// helps.
func tooManyGroups(t *testing.T) {
	h := newHouse(t)
	dave := newPerson(t)
	dave.open(h.origin(houseDoor) + "/?idp=corp")
	dave.signInAt(h.corp.origin, "dave", "dave-pw")
	dave.at(h.origin(houseDoor) + "/saml/acs")
	dave.sees("You are in too many groups to sign in", "Request")
	dave.looksGood("too-many-groups")
	logs(t, h.records, 1, record{"event.action": "signin", "event.reason": "too_many_values", "sallyport.decision": "deny"})
}
