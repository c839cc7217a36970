package session

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

const (
	door  = "door.example.com"
	toolA = "a.example.com"
	toolB = "b.example.com"
)

// browser keeps cookies of one host as a browser does: by name, last one wins,
// until they are taken away.
type browser struct {
	cookies map[string]string
}

func newBrowser() *browser { return &browser{cookies: make(map[string]string)} }

// request is a GET with everything the browser holds.
func (b *browser) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// take obeys the Set-Cookie lines of an answer.
func (b *browser) take(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
}

// clock is a hand-set clock.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)} }

func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

// testKey is a key of one repeated byte.
func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

// newTestManager has an idle limit of one hour and an absolute one of ten.
func newTestManager(tb testing.TB, c *clock, keys Keys) *Manager {
	tb.Helper()
	m, err := New(Config{
		Keys: keys, Hosts: []string{door, toolA, toolB}, Idle: time.Hour, Absolute: 10 * time.Hour,
		Now: func() time.Time { return c.now },
	})
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return m
}

// alice is a principal as the door hands it to Start.
func alice() State {
	return State{
		User: "alice@example.com", Email: "alice@example.com", Name: "Alice Liddell", Groups: []string{"engineers", "admins"},
		IdP: "https://idp.example.org/metadata", AuthnContext: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", AuthnAt: 1795338000,
	}
}

// signedIn is a browser of toolA's host in which s, or a fresh session of alice
// when s is nil, is saved.
func signedIn(tb testing.TB, m *Manager, s *State) *browser {
	tb.Helper()
	b := newBrowser()
	if s == nil {
		s = m.Start(b.request(), alice(), time.Time{})
	}
	w := httptest.NewRecorder()
	if err := m.Save(w, b.request(), toolA, s); err != nil {
		tb.Fatalf("Save: %v", err)
	}
	b.take(w)
	return b
}
