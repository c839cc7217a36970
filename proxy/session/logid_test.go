package session

import (
	"strings"
	"testing"
	"time"
)

// TestLogIDIsKeyed: whoever knows a session's id and has no key cannot tell what logs call
// it; replicas agree; and names of other things are others.
func TestLogIDIsKeyed(t *testing.T) {
	c := newClock()
	m, replica, other := newTestManager(t, c, Keys{Current: testKey(1)}), newTestManager(t, c, Keys{Current: testKey(1)}), newTestManager(t, c, Keys{Current: testKey(2)})
	s := m.Start(newBrowser().request(), alice(), time.Time{})
	got := s.LogID()
	if len(got) != 16 || strings.Contains(s.ID, got) {
		t.Errorf("LogID = %q", got)
	}
	same := State{ID: s.ID}
	if again := replica.named(&same).LogID(); again != got {
		t.Errorf("a replica calls it %q, want %q", again, got)
	}
	foreign := State{ID: s.ID}
	if again := other.named(&foreign).LogID(); again == got {
		t.Error("another key makes the same name")
	}
	for what, name := range map[string]string{"subject": m.LogSubject(s.ID), "assertion": m.LogAssertion(s.ID)} {
		if name == got || len(name) != 16 {
			t.Errorf("a %s of that name is called %q", what, name)
		}
	}
	if m.LogSubject("") != "" {
		t.Error("nobody has a name")
	}
}

// TestLogIDOutlivesTheKey: lines of one session join though its key was rotated, also when
// the person signs on again under the same id.
func TestLogIDOutlivesTheKey(t *testing.T) {
	c := newClock()
	before := newTestManager(t, c, Keys{Current: testKey(1)})
	b := signedIn(t, before, nil)
	first, absence := before.Find(b.request(), toolA)
	if absence != Present || first.LogID() == "" {
		t.Fatalf("%v, %q", absence, first.LogID())
	}
	after := newTestManager(t, c, Keys{Current: testKey(2), Previous: testKey(1)})
	found, absence := after.Find(b.request(), toolA)
	if absence != Present || found.LogID() != first.LogID() {
		t.Errorf("after the rotation (%v) it is called %q, want %q", absence, found.LogID(), first.LogID())
	}
}

// TestSessionsOfTheVersionBeforeGoOn: a cookie without a name for logs opens, and gets one.
func TestSessionsOfTheVersionBeforeGoOn(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	person := alice()
	person.ID, person.Log = "someid", ""
	raw := person.append()
	raw = raw[:len(raw)-1] // the length of Log
	raw[0] = stateVersionBefore
	s, err := parseState(raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.named(s).LogID() == "" || s.User != person.User {
		t.Errorf("state %+v", s)
	}
}
