package session

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestLapsedIsWhatRanOutByItself(t *testing.T) {
	tests := []struct {
		name  string
		then  func(c *clock, m *Manager, s *State)
		known bool
	}{
		{"a session that is alive", func(*clock, *Manager, *State) {}, false},
		{"one that was not used", func(c *clock, _ *Manager, _ *State) { c.advance(2 * time.Hour) }, true},
		{"one past its end", func(c *clock, _ *Manager, _ *State) { c.advance(100 * time.Hour) }, true},
		{"one that was ended", func(_ *clock, m *Manager, s *State) { m.End(httptest.NewRecorder(), s) }, false},
		{"one that was ended, and not used since", func(c *clock, m *Manager, s *State) {
			m.End(httptest.NewRecorder(), s)
			c.advance(2 * time.Hour)
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			s := m.Start(newBrowser().request(), State{User: "alice"}, time.Time{})
			b, w := newBrowser(), httptest.NewRecorder()
			if err := m.Save(w, b.request(), toolA, s); err != nil {
				t.Fatal(err)
			}
			b.take(w)
			test.then(c, m, s)
			r := b.request()
			got, known := m.Lapsed(r, toolA)
			if known != test.known || known && got.User != "alice" {
				t.Errorf("known %t, want %t: %+v", known, test.known, got)
			}
			if _, known := m.Lapsed(r, toolB); known {
				t.Error("a cookie of another host is known")
			}
			if _, known := m.Lapsed(newBrowser().request(), toolA); known {
				t.Error("a stranger is known")
			}
		})
	}
}

func TestFormKeys(t *testing.T) {
	w := httptest.NewRecorder()
	LeaveFormKey(w, "AB23", "key", time.Minute)
	cookie := w.Result().Cookies()[0]
	if cookie.Name != "__Host-sallyport-form-AB23" || !cookie.HttpOnly || !cookie.Secure || cookie.Path != "/" || cookie.MaxAge != 60 || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %v", cookie)
	}
	r := newBrowser().request()
	r.AddCookie(cookie)
	if FormKey(r, "AB23") != "key" || FormKey(r, "AB") != "" || FormKey(r, "") != "" {
		t.Error("a key opens another form than its own")
	}
	r.AddCookie(&http.Cookie{Name: "__Host-sallyport-form-GONE", Value: "old"})
	w = httptest.NewRecorder()
	ForgetFormKeys(w, r, func(id string) bool { return id == "AB23" })
	if taken := w.Result().Cookies(); len(taken) != 1 || taken[0].Name != "__Host-sallyport-form-GONE" || taken[0].MaxAge >= 0 {
		t.Errorf("taken away: %v", taken)
	}
	r.AddCookie(&http.Cookie{Name: cookie.Name, Value: "tossed"})
	if FormKey(r, "AB23") != "" {
		t.Error("two keys for one form are taken")
	}
}
