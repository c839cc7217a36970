package e2e

import "testing"

// misdirected: one certificate is for every host of the house, at one address, so
// Chromium asks for a second host over its connection to the first. It is told to make
// one of its own, does so, and nobody sees anything of that: no page, and no form that
// is not sent.
func misdirected(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseNotes)+"/")
	for _, address := range []string{h.origin(houseFiles) + "/", h.origin(housePayroll) + "/", h.origin(houseDoor) + "/", h.origin(houseNotes) + "/"} {
		alice.open(address)
		alice.at(address)
	}
	found := 0
	for _, r := range h.records(t) {
		if r.has(record{"event.reason": "sni_mismatch", "http.response.status_code": float64(421), "sallyport.decision": "deny"}) {
			found++
		}
	}
	if found == 0 {
		t.Error("Chromium has used no connection for two hosts: nothing was shown")
	}
	alice.open(h.origin(houseDoor) + "/.sallyport/sign_out")
	alice.click(`button`)
	alice.sees("signed out")
}
