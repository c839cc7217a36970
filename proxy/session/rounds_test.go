package session

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// round delivers a sign-on that was asked for at begun.
func round(m *Manager, b *browser, host string, begun time.Time) int {
	w := httptest.NewRecorder()
	n := m.Round(w, b.request(), host, begun.UnixMicro())
	b.take(w)
	return n
}

func TestRoundsAreCountedOneAfterTheOther(t *testing.T) {
	c := newClock()
	m, b := newTestManager(t, c, Keys{Current: testKey(1)}), newBrowser()
	for want := 1; want <= 8; want++ {
		begun := c.now
		c.advance(50 * time.Millisecond) // a redirect
		if got := round(m, b, toolA, begun); got != want {
			t.Fatalf("round %d is counted as %d", want, got)
		}
		c.advance(100 * time.Millisecond) // the ticket, and the page again
	}
	if got := round(m, b, toolB, c.now); got != 1 {
		t.Errorf("another host's first round is %d", got)
	}
	if got := round(m, newBrowser(), toolA, c.now); got != 1 {
		t.Errorf("another browser's first round is %d", got)
	}
	c.advance(roundsWindow)
	if got := round(m, b, toolA, c.now); got != 1 {
		t.Errorf("a minute later the first round is %d", got)
	}
	w := httptest.NewRecorder()
	m.Forget(w)
	b.take(w)
	if got := round(m, b, toolA, c.now); got != 1 {
		t.Errorf("after a sign-out the first round is %d", got)
	}
}

// Tabs that are restored together all ask before the first session has reached the
// browser, which is two redirects after the first delivery.
func TestTabsThatOpenTogetherAreNoRow(t *testing.T) {
	for _, apart := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 49 * time.Millisecond} {
		const redirect = 50 * time.Millisecond
		c := newClock()
		m, b := newTestManager(t, c, Keys{Current: testKey(1)}), newBrowser()
		start, most := c.now, 0
		for i := range 60 {
			begun := start.Add(time.Duration(i) * apart)
			if begun.After(start.Add(3 * redirect)) {
				break // this tab has the session of the first
			}
			c.now = begun.Add(redirect)
			most = max(most, round(m, b, toolA, begun))
		}
		if most > 3 {
			t.Errorf("tabs that open %v apart are counted as a row of %d", apart, most)
		}
	}
}

func TestRoundsOfABrowserHaveAnEnd(t *testing.T) {
	c := newClock()
	m, b := newTestManager(t, c, Keys{Current: testKey(1)}), newBrowser()
	for _, host := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		round(m, b, strings.Repeat(host, 250), c.now)
	}
	if size := len(b.cookies[roundsName]); size > 600 {
		t.Errorf("the cookie has %d bytes", size)
	}
	if rows := m.openRounds(b.request()); len(rows) != maxRows {
		t.Errorf("%d hosts are counted, want %d", len(rows), maxRows)
	}
	for _, spoilt := range []string{"", "AAAA", b.cookies[roundsName][1:], sealJSON(m.links, []row{{Count: 100}}, "")} {
		b.cookies[roundsName] = spoilt
		if got := round(m, b, toolA, c.now); got != 1 {
			t.Errorf("with the cookie %.20q the first round is %d", spoilt, got)
		}
	}
}

func TestBeginTellsWhy(t *testing.T) {
	c := newClock()
	m, b := newTestManager(t, c, Keys{Current: testKey(1)}), newBrowser()
	begin, ok := m.OpenBegin(m.Begin(httptest.NewRecorder(), b.request(), Aim{Host: toolA}, "/", AbsentForged))
	if !ok || begin.Why != AbsentForged || begin.At != c.now.UnixMicro() {
		t.Errorf("OpenBegin = %+v, %t", begin, ok)
	}
}
