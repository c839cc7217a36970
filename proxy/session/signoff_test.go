package session

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// remoteOf is what the door keeps for a session.
func remoteOf(id string, c *clock) Remote {
	return Remote{
		Session: id, Expires: c.now.Add(10 * time.Hour).Unix(), IdP: "corp",
		NameID: "alice-4711", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
		NameQualifier: "https://idp.example.org", SPNameQualifier: "https://door.example.com", SessionIndex: "_1",
	}
}

func TestLeave(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(m *Manager, c *clock, b *browser, token string) string
		want  bool
	}{
		{name: "in the browser of the session", want: true},
		{name: "in another browser", spoil: func(_ *Manager, _ *clock, b *browser, token string) string { clear(b.cookies); return token }},
		{name: "in the browser of another session", spoil: func(m *Manager, c *clock, b *browser, token string) string {
			w := httptest.NewRecorder()
			if err := m.SaveRemote(w, remoteOf(NewID(), c)); err != nil {
				panic(err)
			}
			b.take(w)
			return token
		}},
		{name: "twice", spoil: func(m *Manager, _ *clock, b *browser, token string) string {
			m.OpenLeave(b.request(), token)
			return token
		}},
		{name: "at the last second", want: true, spoil: func(_ *Manager, c *clock, _ *browser, token string) string {
			c.advance(ticketLife - time.Second)
			return token
		}},
		{name: "too late", spoil: func(_ *Manager, c *clock, _ *browser, token string) string { c.advance(ticketLife); return token }},
		{name: "cut", spoil: func(_ *Manager, _ *clock, _ *browser, token string) string { return token[1:] }},
		{name: "with nothing", spoil: func(*Manager, *clock, *browser, string) string { return "" }},
		{name: "with a ticket", spoil: func(m *Manager, _ *clock, _ *browser, _ string) string {
			return m.Issue(&State{ID: "1"}, door, "")
		}},
		{name: "with the cookie changed", spoil: func(_ *Manager, _ *clock, b *browser, token string) string {
			b.cookies[remoteName] += "A"
			return token
		}},
		{name: "after an attempt in another browser", want: true, spoil: func(m *Manager, _ *clock, _ *browser, token string) string {
			m.OpenLeave(newBrowser().request(), token)
			return token
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, b := newClock(), newBrowser()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			id := NewID()
			want, w := remoteOf(id, c), httptest.NewRecorder()
			if err := m.SaveRemote(w, want); err != nil {
				t.Fatal(err)
			}
			b.take(w)
			token := m.Leave(id)
			if strings.Contains(token, id) {
				t.Errorf("the token shows the session's id")
			}
			if test.spoil != nil {
				token = test.spoil(m, c, b, token)
			}
			got, ok := m.OpenLeave(b.request(), token)
			if ok != test.want {
				t.Fatalf("OpenLeave = %t, want %t", ok, test.want)
			}
			if diff := cmp.Diff(want, got); ok && diff != "" {
				t.Errorf("remote (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoteEndsWithItsSession(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	w := httptest.NewRecorder()
	if err := m.SaveRemote(w, remoteOf("1", c)); err != nil {
		t.Fatal(err)
	}
	b.take(w)
	c.advance(10 * time.Hour)
	if remote, ok := m.Remote(b.request(), "1"); ok {
		t.Errorf("Remote = %v", remote)
	}
}

// TestRemoteThatNoBrowserKeeps takes away what was kept of an earlier sign-on: it
// would name another session.
func TestRemoteThatNoBrowserKeeps(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	save := func(remote Remote) (string, error) {
		w := httptest.NewRecorder()
		err := m.SaveRemote(w, remote)
		b.take(w)
		return w.Result().Header["Set-Cookie"][0], err
	}
	remote := remoteOf("1", c)
	for {
		line, err := save(remote)
		if err == nil && len(line) <= maxCookie {
			remote.NameID += "ü"
			continue
		}
		if !errors.Is(err, ErrTooLarge) || len(line) > maxCookie {
			t.Errorf("SaveRemote = %v with a cookie of %d bytes, want ErrTooLarge before no browser keeps it", err, len(line))
		}
		break
	}
	if len(remote.NameID) < 2*256 {
		t.Errorf("a name of %d bytes is too long", len(remote.NameID))
	}
	if remote, ok := m.Remote(b.request(), "1"); ok {
		t.Errorf("kept of the one before: %v", remote)
	}
}

func TestSignOffUnderWay(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	hold := func(request string) string {
		relayState, w := m.RelayState(), httptest.NewRecorder()
		m.HoldSignOff(w, b.request(), relayState, Pending{RequestID: request, IdP: "corp"})
		b.take(w)
		c.advance(time.Second)
		return relayState
	}
	if _, _, ok := m.HeldSignOff(b.request(), ""); ok {
		t.Error("one is under way before any was begun")
	}
	first, second := hold("_1"), hold("_2")
	for relayState, want := range map[string][2]string{first: {"_1", first}, second: {"_2", second}, "": {"_2", second}, "lost": {"_2", second}} {
		if p, found, ok := m.HeldSignOff(b.request(), relayState); !ok || p.RequestID != want[0] || found != want[1] {
			t.Errorf("HeldSignOff(%q) = %v, %q, %t, want %v", relayState, p, found, ok, want)
		}
	}
	if _, ok := m.Held(b.request(), first); ok {
		t.Error("a sign-off passes for a sign-on")
	}
	w := httptest.NewRecorder()
	p, found, _ := m.HeldSignOff(b.request(), "")
	if !m.FinishSignOff(w, found, p) || m.FinishSignOff(w, found, p) {
		t.Error("a sign-off is finished once, and only once")
	}
	b.take(w)
	if p, _, _ := m.HeldSignOff(b.request(), ""); p.RequestID != "_1" {
		t.Errorf("after the second was finished, %v is under way", p)
	}
	c.advance(signOnLife)
	if _, _, ok := m.HeldSignOff(b.request(), first); ok {
		t.Error("still under way after ten minutes")
	}
}

func TestSignOffsAreBounded(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	for range 2 * maxPending {
		w := httptest.NewRecorder()
		m.HoldSignOff(w, b.request(), m.RelayState(), Pending{RequestID: NewID()})
		b.take(w)
		c.advance(time.Second)
	}
	if len(b.cookies) != maxPending {
		t.Errorf("the browser has %d cookies, want %d", len(b.cookies), maxPending)
	}
}

// FuzzOpenLeave: no token of a stranger opens anything.
func FuzzOpenLeave(f *testing.F) {
	c := newClock()
	m := newTestManager(f, c, Keys{Current: testKey(1)})
	b, w := newBrowser(), httptest.NewRecorder()
	if err := m.SaveRemote(w, remoteOf("1", c)); err != nil {
		f.Fatal(err)
	}
	b.take(w)
	f.Add(m.Leave("2"), b.cookies[remoteName])
	f.Add(m.Issue(&State{ID: "1"}, door, ""), b.cookies[remoteName])
	f.Add("", "")
	f.Fuzz(func(t *testing.T, token, cookie string) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Cookie", remoteName+"="+cookie)
		if remote, ok := m.OpenLeave(r, token); ok {
			t.Fatalf("OpenLeave(%q) with %q = %v", token, cookie, remote)
		}
	})
}
