package session

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// carried signs alice on at the door for a page of toolA, up to the ticket.
func carried(t *testing.T, m *Manager, atTool *browser, uri string) (state *State, ticket string) {
	t.Helper()
	w := httptest.NewRecorder()
	begin, ok := m.OpenBegin(m.Begin(w, atTool.request(), Aim{Host: toolA}, uri, AbsentCookie))
	if !ok || begin.Host != toolA {
		t.Fatalf("OpenBegin = %v, %t", begin, ok)
	}
	atTool.take(w)
	state = m.Start(newBrowser().request(), alice(), time.Time{})
	return state, m.Issue(state, begin.Host, begin.Return)
}

func redeem(m *Manager, b *browser, host, ticket string) (*State, string, TicketFault) {
	w := httptest.NewRecorder()
	state, uri, fault := m.Redeem(w, b.request(), host, ticket)
	b.take(w)
	return state, uri, fault
}

func TestTicketCarriesASignOn(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	b := newBrowser()
	want, ticket := carried(t, m, b, "/reports?q=a&b=%2F#")
	got, uri, fault := redeem(m, b, toolA, ticket)
	if fault != TicketGood || uri != "/reports?q=a&b=%2F#" {
		t.Errorf("Redeem = %q, %q", uri, fault)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if len(b.cookies) != 0 {
		t.Errorf("cookies left behind: %v", b.cookies)
	}
}

func TestTicketFaults(t *testing.T) {
	sealed := func(m *Manager, ticket Ticket, binding string) string { return sealJSON(m.tickets, ticket, binding) }
	tests := []struct {
		name string
		// spoil changes the world, and returns the ticket to use and where.
		spoil func(m *Manager, c *clock, b *browser, s *State, ticket string) (host, spoilt string)
		want  TicketFault
	}{
		{name: "as it came", want: TicketGood},
		{
			name: "in another browser", want: TicketForeign,
			spoil: func(_ *Manager, _ *clock, b *browser, _ *State, ticket string) (string, string) {
				clear(b.cookies)
				return toolA, ticket
			},
		},
		{
			name: "with the return cookie of another sign-on", want: TicketForeign,
			spoil: func(_ *Manager, _ *clock, b *browser, _ *State, ticket string) (string, string) {
				for name, value := range b.cookies {
					delete(b.cookies, name)
					b.cookies[returnPrefix+"1795338000AAAAAAAAAAAAAAAAAAAAAA"] = value
				}
				return toolA, ticket
			},
		},
		{
			name: "with a return cookie of that name that was made elsewhere", want: TicketForeign,
			spoil: func(m *Manager, _ *clock, b *browser, _ *State, ticket string) (string, string) {
				other, w := newBrowser(), httptest.NewRecorder()
				m.Begin(w, other.request(), Aim{Host: toolA}, "/evil", AbsentCookie)
				other.take(w)
				for name := range b.cookies {
					for _, value := range other.cookies {
						b.cookies[name] = value
					}
				}
				return toolA, ticket
			},
		},
		{
			name: "used twice, with the cookie kept", want: TicketUsed,
			spoil: func(m *Manager, _ *clock, b *browser, _ *State, ticket string) (string, string) {
				m.Redeem(httptest.NewRecorder(), b.request(), toolA, ticket)
				return toolA, ticket
			},
		},
		{
			name: "used twice, by a reload", want: TicketForeign,
			spoil: func(m *Manager, _ *clock, b *browser, _ *State, ticket string) (string, string) {
				redeem(m, b, toolA, ticket)
				return toolA, ticket
			},
		},
		{
			name: "at the last second", want: TicketGood,
			spoil: func(_ *Manager, c *clock, _ *browser, _ *State, ticket string) (string, string) {
				c.advance(ticketLife - time.Second)
				return toolA, ticket
			},
		},
		{
			name: "too old", want: TicketInvalid,
			spoil: func(_ *Manager, c *clock, _ *browser, _ *State, ticket string) (string, string) {
				c.advance(ticketLife)
				return toolA, ticket
			},
		},
		{
			name: "for a sign-on that took too long", want: TicketForeign,
			spoil: func(m *Manager, c *clock, _ *browser, s *State, ticket string) (string, string) {
				var t Ticket
				openJSON(m.tickets, ticket, toolA, &t)
				c.advance(signOnLife)
				return toolA, m.Issue(s, toolA, t.Return)
			},
		},
		{
			name: "at another host", want: TicketInvalid,
			spoil: func(_ *Manager, _ *clock, _ *browser, _ *State, ticket string) (string, string) { return toolB, ticket },
		},
		{
			name: "sealed for this host but made out to another", want: TicketInvalid,
			spoil: func(m *Manager, _ *clock, _ *browser, s *State, _ string) (string, string) {
				return toolA, sealed(m, Ticket{ID: "1", Host: toolB, State: s, Expiry: m.expiry(ticketLife)}, toolA)
			},
		},
		{
			name: "that carries nobody", want: TicketInvalid,
			spoil: func(m *Manager, _ *clock, _ *browser, _ *State, _ string) (string, string) {
				return toolA, sealed(m, Ticket{ID: "1", Host: toolA, Expiry: m.expiry(ticketLife)}, toolA)
			},
		},
		{
			name: "with a malformed return id", want: TicketForeign,
			spoil: func(m *Manager, _ *clock, _ *browser, s *State, _ string) (string, string) {
				return toolA, m.Issue(s, toolA, "x; y")
			},
		},
		{
			name: "cut", want: TicketInvalid,
			spoil: func(_ *Manager, _ *clock, _ *browser, _ *State, ticket string) (string, string) {
				return toolA, ticket[:len(ticket)-2]
			},
		},
		{
			name: "absent", want: TicketInvalid,
			spoil: func(*Manager, *clock, *browser, *State, string) (string, string) { return toolA, "" },
		},
		{
			name: "after signing out", want: TicketEnded,
			spoil: func(m *Manager, _ *clock, _ *browser, s *State, ticket string) (string, string) {
				m.End(httptest.NewRecorder(), s)
				return toolA, ticket
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, b := newClock(), newBrowser()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			state, ticket := carried(t, m, b, "/page")
			host := toolA
			if test.spoil != nil {
				host, ticket = test.spoil(m, c, b, state, ticket)
			}
			got, uri, fault := redeem(m, b, host, ticket)
			if fault != test.want {
				t.Errorf("Redeem = %q, want %q", fault, test.want)
			}
			if fault != TicketGood && (got != nil || uri != "") {
				t.Errorf("Redeem gave %v and %q with a fault", got, uri)
			}
		})
	}
}

func TestReturnURI(t *testing.T) {
	for give, want := range map[string]string{
		"/":                                    "/",
		"/a?b=c&d=%2F;e//f":                    "/a?b=c&d=%2F;e//f",
		"/\xff?q=\xfe":                         "/\xff?q=\xfe",
		"//evil":                               "/",
		"//evil.example/a":                     "/",
		`/\evil.example`:                       "/",
		"/\t/evil.example":                     "/",
		"/\n/evil.example":                     "/",
		"/a\r\nSet-Cookie: b=c":                "/",
		"/a\x7f":                               "/",
		"https://evil.example/":                "/",
		"javascript:alert(1)":                  "/",
		"":                                     "/",
		"*":                                    "/",
		"/" + strings.Repeat("&", maxReturn-1): "/" + strings.Repeat("&", maxReturn-1),
		"/" + strings.Repeat("&", maxReturn):   "/",
	} {
		m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
		b := newBrowser()
		_, ticket := carried(t, m, b, give)
		for name, value := range b.cookies {
			if size := len(name) + len(value); size > maxCookie-100 {
				t.Errorf("%.20q makes a cookie of %d bytes, which no browser keeps", give, size)
			}
		}
		if _, uri, fault := redeem(m, b, toolA, ticket); fault != TicketGood || uri != want {
			t.Errorf("asked for %.40q, came back to %.40q (%s), want %.40q", give, uri, fault, want)
		}
	}
}

func TestBeginTokens(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	token := m.Begin(httptest.NewRecorder(), newBrowser().request(), Aim{Host: toolA}, "/", AbsentCookie)
	ticket := m.Issue(&State{}, toolA, "")
	for name, bad := range map[string]string{"empty": "", "cut": token[1:], "a ticket": ticket, "grown": token + "AAAA"} {
		if b, ok := m.OpenBegin(bad); ok {
			t.Errorf("OpenBegin of a token that is %s = %v", name, b)
		}
	}
	c.advance(signOnLife)
	if b, ok := m.OpenBegin(token); ok {
		t.Errorf("OpenBegin of an old token = %v", b)
	}
}

func TestPendingSignOn(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(c *clock, b *browser, relayState string) string
		want  bool
	}{
		{name: "in the browser that began it", want: true},
		{name: "in another browser", spoil: func(_ *clock, b *browser, id string) string { clear(b.cookies); return id }},
		{name: "too late", spoil: func(c *clock, _ *browser, id string) string { c.advance(signOnLife); return id }},
		{name: "just in time", want: true, spoil: func(c *clock, _ *browser, id string) string { c.advance(signOnLife - time.Second); return id }},
		{name: "without a relay state", spoil: func(*clock, *browser, string) string { return "" }},
		{name: "under a relay state with odd bytes", spoil: func(_ *clock, _ *browser, id string) string { return id[:31] + "=" }},
		{name: "under a relay state of odd length", spoil: func(_ *clock, _ *browser, id string) string { return id + "A" }},
		{name: "under the relay state of another sign-on", spoil: func(_ *clock, b *browser, id string) string {
			var other string
			if last := id[31]; last == 'A' {
				other = id[:31] + "B"
			} else {
				other = id[:31] + "A"
			}
			b.cookies[pendingPrefix+other] = b.cookies[pendingPrefix+id]
			return other
		}},
		{name: "with the cookie changed", spoil: func(_ *clock, b *browser, id string) string { b.cookies[pendingPrefix+id] += "A"; return id }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, b := newClock(), newBrowser()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			want := Pending{RequestID: "_abc", Aim: Aim{Host: toolA}, Return: m.newSignOnID()}
			relayState, w := m.RelayState(), httptest.NewRecorder()
			m.Hold(w, b.request(), relayState, want)
			b.take(w)
			if test.spoil != nil {
				relayState = test.spoil(c, b, relayState)
			}
			got, ok := m.Held(b.request(), relayState)
			if ok != test.want {
				t.Fatalf("Held = %v, %t, want %t", got, ok, test.want)
			}
			want.Expiry = got.Expiry
			if diff := cmp.Diff(want, got); ok && diff != "" {
				t.Errorf("pending (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeldWithTwoCookiesOfOneName(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	b, relayState, w := newBrowser(), m.RelayState(), httptest.NewRecorder()
	m.Hold(w, b.request(), relayState, Pending{RequestID: "_1", Aim: Aim{Host: door}})
	b.take(w)
	r := b.request()
	r.AddCookie(&http.Cookie{Name: pendingPrefix + relayState, Value: b.cookies[pendingPrefix+relayState]})
	if p, ok := m.Held(r, relayState); ok {
		t.Errorf("Held = %v, want nothing", p)
	}
}

func TestFinishOnceOnly(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	p := Pending{RequestID: "_1", Expiry: c.now.Add(signOnLife).Unix()}
	w := httptest.NewRecorder()
	if !m.Finish(w, m.RelayState(), p) {
		t.Error("the first Finish = false")
	}
	if m.Finish(w, m.RelayState(), p) {
		t.Error("the second Finish = true")
	}
	if !m.Finish(w, m.RelayState(), Pending{RequestID: "_2", Expiry: p.Expiry}) {
		t.Error("Finish of another request = false")
	}
}

// TestTooManyPending restores many tabs at once: the newest sign-ons stay, and
// the cookies fit into any server's header limit.
func TestTooManyPending(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	b.cookies["theme"], b.cookies[CookieName] = "dark", "x"
	var ids []string
	for range 2 * maxPending {
		c.advance(time.Second)
		id, w := m.RelayState(), httptest.NewRecorder()
		m.Hold(w, b.request(), id, Pending{RequestID: id, Aim: Aim{Host: door}})
		m.Begin(w, b.request(), Aim{Host: toolA}, "/", AbsentCookie)
		b.take(w)
		ids = append(ids, id)
	}
	var held []string
	for _, id := range ids {
		if _, ok := m.Held(b.request(), id); ok {
			held = append(held, id)
		}
	}
	if diff := cmp.Diff(ids[maxPending:], held); diff != "" {
		t.Errorf("sign-ons that are held (-want +got):\n%s", diff)
	}
	if want := 2 + 2*maxPending; len(b.cookies) != want || b.cookies["theme"] != "dark" {
		t.Errorf("the browser has %d cookies, want %d", len(b.cookies), want)
	}
}

func TestSignOnIDsSortByAge(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	var ids []string
	for range 50 {
		id := m.RelayState()
		if !validSignOnID(id) {
			t.Errorf("RelayState = %q, which is not a valid id", id)
		}
		ids = append(ids, id)
		c.advance(time.Second)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids do not sort by age: %q", ids)
	}
}

// TestTicketRace redeems one ticket many times at once: one wins.
func TestTicketRace(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	b := newBrowser()
	_, ticket := carried(t, m, b, "/")
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		r := b.request()
		wg.Go(func() {
			if _, _, fault := m.Redeem(httptest.NewRecorder(), r, toolA, ticket); fault == TicketGood {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("the ticket was redeemed %d times, want once", good.Load())
	}
}

// FuzzHeld: no relay state of a stranger opens anything or names another cookie.
func FuzzHeld(f *testing.F) {
	c := newClock()
	m := newTestManager(f, c, Keys{Current: testKey(1)})
	const id = "1795338000AAAAAAAAAAAAAAAAAAAAAA"
	b, w := newBrowser(), httptest.NewRecorder()
	m.Hold(w, b.request(), id, Pending{RequestID: "_1", Aim: Aim{Host: door}})
	b.take(w)
	plain, err := json.Marshal(Pending{RequestID: "_1", Aim: Aim{Host: door}, Expiry: c.now.Add(time.Hour).Unix()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id, b.cookies[pendingPrefix+id])
	f.Add(id[1:], b.cookies[pendingPrefix+id])
	f.Add("", string(plain))
	f.Add("../"+id, m.begin.seal(plain, ""))
	f.Fuzz(func(t *testing.T, relayState, value string) {
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		r.Header.Set("Cookie", pendingPrefix+relayState+"="+value)
		if p, ok := m.Held(r, relayState); ok && (relayState != id || p.RequestID != "_1") {
			t.Fatalf("Held(%q) with %q = %v", relayState, value, p)
		}
	})
}
