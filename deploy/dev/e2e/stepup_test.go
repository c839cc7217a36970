package e2e

import (
	"testing"
	"time"
)

// stepUp: a tool that wants a fresh sign-on has the identity provider ask for the
// password again, of somebody whom it knows, and then lets them in.
func stepUp(t *testing.T) {
	h := newHouse(t)
	payroll := h.origin(housePayroll) + "/slips?month=11"
	alice := h.visit(t, "alice", h.origin(houseNotes)+"/")
	alice.open(payroll)
	alice.at(payroll) // fresh enough
	alice.sees("payroll for alice@example.com")

	h.forward(houseStepUp + time.Minute)
	alice.open(payroll)
	alice.signInAt(h.corp.origin, "alice", "alice-pw")
	alice.at(payroll)
	alice.sees("payroll for alice@example.com")
	logs(t, h.records, 1, record{"url.domain": housePayroll, "event.action": "signin_begin", "sallyport.decision": "step_up", "event.reason": "authn_too_old", "user.name": "alice@example.com"})
	logs(t, h.records, 2, record{"event.action": "signin", "sallyport.decision": "allow", "event.reason": "assertion_verified"})

	alice.open(payroll) // once is enough
	alice.at(payroll)
	if got := alice.fetch("/slips"); got.Status != 200 {
		t.Errorf("a background request: status %d", got.Status)
	}
	h.forward(houseStepUp + time.Minute)
	if got := alice.fetch("/slips"); got.Status != 401 {
		t.Errorf("a background request when the sign-on is old: status %d, want 401", got.Status)
	}
	alice.open(h.origin(houseNotes) + "/") // which does not care
	alice.at(h.origin(houseNotes) + "/")
}

// notStrongEnough: whoever has no second factor is told that the tool wants one, and
// may open the others as before.
func notStrongEnough(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseNotes)+"/")
	alice.open(h.origin(houseVaults) + "/")
	alice.at(h.origin(houseDoor) + "/saml/acs")
	alice.sees("This sign-in is not enough", "Vaults needs a stronger sign-in")
	alice.looksGood("not-strong-enough")
	logs(t, h.records, 1, record{"event.action": "signin", "sallyport.route": "vaults", "sallyport.decision": "deny", "event.reason": "authn_context"})
	alice.click("a.button")
	alice.at(h.origin(houseDoor) + "/")
	alice.sees("alice@example.com", "Notes")
}
