package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewRefusesUnusableLimits(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no idle limit":          {Absolute: time.Hour},
		"absolute below idle":    {Idle: time.Hour, Absolute: time.Minute},
		"negative idle":          {Idle: -1, Absolute: time.Hour},
		"no key":                 {Idle: time.Hour, Absolute: time.Hour},
		"a key that is too long": {Idle: time.Hour, Absolute: time.Hour, Keys: Keys{Current: make([]byte, 33)}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New with %s succeeded", name)
		}
	}
}

func TestSessionSurvivesARestart(t *testing.T) {
	c := newClock()
	keys := Keys{Current: testKey(1)}
	m := newTestManager(t, c, keys)
	want := m.Start(newBrowser().request(), alice(), time.Time{})
	b := signedIn(t, m, want)

	got, absence := newTestManager(t, c, keys).Find(b.request(), toolA)
	if absence != Present {
		t.Fatalf("Find = %q", absence)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	good := signedIn(t, m, nil).cookies[CookieName]
	other := signedIn(t, newTestManager(t, c, Keys{Current: testKey(9)}), nil).cookies[CookieName]
	sealed := func(plaintext string) string {
		return mustSealer(t, Keys{Current: testKey(1)}, forSession).seal([]byte(plaintext), CookieName+"|"+toolA)
	}
	tests := []struct {
		name   string
		cookie []string
		host   string
		want   Absence
	}{
		{name: "signed in", cookie: []string{CookieName + "=" + good}, host: toolA, want: Present},
		{name: "quoted by somebody on the way", cookie: []string{CookieName + `="` + good + `"`}, host: toolA, want: Present},
		{name: "no cookie at all", host: toolA, want: AbsentCookie},
		{name: "cookies of the tool", cookie: []string{"a=1; b=2"}, host: toolA, want: AbsentCookie},
		{name: "a name in another case is another cookie", cookie: []string{"__host-sallyport=" + good}, host: toolA, want: AbsentCookie},
		{name: "two in one line", cookie: []string{CookieName + "=" + good + "; " + CookieName + "=" + good}, host: toolA, want: AbsentTwice},
		{name: "two in two lines", cookie: []string{CookieName + "=x", CookieName + "=" + good}, host: toolA, want: AbsentTwice},
		{name: "empty", cookie: []string{CookieName + "="}, host: toolA, want: AbsentForged},
		{name: "cut", cookie: []string{CookieName + "=" + good[:len(good)-1]}, host: toolA, want: AbsentForged},
		{name: "under a key that is not ours", cookie: []string{CookieName + "=" + other}, host: toolA, want: AbsentForged},
		{name: "at the next tool", cookie: []string{CookieName + "=" + good}, host: toolB, want: AbsentForged},
		{name: "at the door", cookie: []string{CookieName + "=" + good}, host: door, want: AbsentForged},
		{name: "at a host that has no route", cookie: []string{CookieName + "=" + good}, host: "c.example.com", want: AbsentForged},
		{name: "sealed, but nothing", cookie: []string{CookieName + "=" + sealed("")}, host: toolA, want: AbsentForged},
		{name: "sealed, but in another form", cookie: []string{CookieName + "=" + sealed("{}")}, host: toolA, want: AbsentForged},
		{name: "sealed, but nobody", cookie: []string{CookieName + "=" + sealed(string((&State{}).append()))}, host: toolA, want: AbsentExpired},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header["Cookie"] = test.cookie
			state, absence := m.Find(r, test.host)
			if absence != test.want || (state != nil) != (test.want == Present) {
				t.Errorf("Find = %v, %q, want %q", state, absence, test.want)
			}
		})
	}
}

func TestFindRefusesEveryChangedCharacter(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	value := signedIn(t, m, nil).cookies[CookieName]
	for i := range value {
		changed := []byte(value)
		changed[i] = 'A'
		if value[i] == 'A' {
			changed[i] = 'B'
		}
		b := newBrowser()
		b.cookies[CookieName] = string(changed)
		if state, absence := m.Find(b.request(), toolA); absence != AbsentForged {
			t.Fatalf("Find with character %d changed = %v, %q", i, state, absence)
		}
	}
}

func TestSessionLimits(t *testing.T) {
	tests := []struct {
		name     string
		notAfter time.Duration // after sign-on; 0 for none
		steps    []time.Duration
		renew    bool
		want     Absence
	}{
		{name: "at once", want: Present},
		{name: "idle to the last second", steps: []time.Duration{time.Hour}, want: Present},
		{name: "idle", steps: []time.Duration{time.Hour + time.Second}, want: AbsentIdle},
		{name: "in use and renewed", steps: []time.Duration{50 * time.Minute, 50 * time.Minute, 50 * time.Minute}, renew: true, want: Present},
		{name: "in use and never renewed", steps: []time.Duration{50 * time.Minute, 50 * time.Minute}, want: AbsentIdle},
		{
			name: "absolute end, although in use", renew: true, want: AbsentExpired,
			steps: []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour},
		},
		{name: "the identity provider's end comes first", notAfter: 10 * time.Minute, steps: []time.Duration{10 * time.Minute}, want: AbsentExpired},
		{name: "just before the identity provider's end", notAfter: 10 * time.Minute, steps: []time.Duration{10*time.Minute - time.Second}, want: Present},
		{name: "the identity provider grants more than we do", notAfter: 24 * time.Hour, steps: []time.Duration{10 * time.Hour}, want: AbsentExpired},
		{name: "a replica whose clock is a little behind", steps: []time.Duration{-time.Minute}, want: Present},
		{name: "a clock that was set back", steps: []time.Duration{-2 * time.Minute}, want: AbsentExpired},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			var notAfter time.Time
			if test.notAfter != 0 {
				notAfter = c.now.Add(test.notAfter)
			}
			b := signedIn(t, m, m.Start(newBrowser().request(), alice(), notAfter))
			for _, step := range test.steps {
				c.advance(step)
				if state, _ := m.Find(b.request(), toolA); state != nil && test.renew {
					if renewed := m.Refresh(state); renewed != nil {
						b = signedIn(t, m, renewed)
					}
				}
			}
			if _, absence := m.Find(b.request(), toolA); absence != test.want {
				t.Errorf("Find = %q, want %q", absence, test.want)
			}
		})
	}
}

func TestSeenInTheFutureDoesNotBuyTime(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	state := m.Start(newBrowser().request(), alice(), time.Time{})
	state.Seen = c.now.Add(5 * time.Hour).Unix()
	if _, absence := m.Find(signedIn(t, m, state).request(), toolA); absence != AbsentIdle {
		t.Errorf("Find = %q, want %q", absence, AbsentIdle)
	}
}

func TestRefresh(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	state := m.Start(newBrowser().request(), alice(), time.Time{})
	before := *state
	c.advance(3*time.Minute - time.Second)
	if got := m.Refresh(state); got != nil {
		t.Errorf("Refresh before a twentieth of the idle limit = %v, want nil", got)
	}
	c.advance(time.Second)
	got, want := m.Refresh(state), before
	want.Seen = c.now.Unix()
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&before, state); diff != "" {
		t.Errorf("Refresh changed its argument (-want +got):\n%s", diff)
	}
}

// value stands for sealed values, which differ each time.
var value = regexp.MustCompile(`=[A-Za-z0-9_-]{40,}`)

func TestCookiesOnTheWire(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	w := httptest.NewRecorder()
	state := m.Start(newBrowser().request(), alice(), time.Time{})
	if err := m.SaveDoor(w, newBrowser().request(), door, state); err != nil {
		t.Fatalf("SaveDoor: %v", err)
	}
	const id = "1795338000AAAAAAAAAAAAAAAAAAAAAA"
	m.Hold(w, newBrowser().request(), id, Pending{RequestID: "_1", Aim: Aim{Host: door}})
	m.Finish(w, id, Pending{RequestID: "_1"})
	m.Round(w, newBrowser().request(), toolA, 1)
	m.Forget(w)
	want := []string{
		"__Host-sallyport=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax",
		"__Host-sallyport-link=VALUE; Path=/; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport-signon-" + id + "=VALUE; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport-signon-" + id + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport-rounds=VALUE; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"__Host-sallyport-link=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport-rounds=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=None",
		"__Host-sallyport-remote=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	}
	var got []string
	for _, line := range w.Result().Header["Set-Cookie"] {
		got = append(got, value.ReplaceAllString(line, "=VALUE"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Set-Cookie (-want +got):\n%s", diff)
	}
}

func TestSaveRefusesWhatNoBrowserKeeps(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	state := m.Start(newBrowser().request(), alice(), time.Time{})
	longest := 0
	for {
		w := httptest.NewRecorder()
		err := m.Save(w, newBrowser().request(), toolA, state)
		lines := w.Result().Header["Set-Cookie"]
		if err != nil {
			if !errors.Is(err, ErrTooLarge) || len(lines) != 0 {
				t.Errorf("Save = %v with %d cookies, want ErrTooLarge and none", err, len(lines))
			}
			break
		}
		if longest = len(lines[0]) - len("Set-Cookie"); len(lines[0]) > maxCookie {
			t.Fatalf("Save set a cookie of %d bytes", len(lines[0]))
		}
		state.Groups = append(state.Groups, "engineers")
	}
	if longest < maxCookie-100 {
		t.Errorf("the longest cookie that was saved has %d bytes, want nearly %d", longest, maxCookie)
	}
}

func TestSaveForAHostWithoutARoute(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	w := httptest.NewRecorder()
	if err := m.Save(w, newBrowser().request(), "c.example.com", &State{}); err == nil || !strings.Contains(err.Error(), "c.example.com") {
		t.Errorf("Save = %v, want an error that names the host", err)
	}
}

// TestStart signs on twice in one browser and looks at what becomes of the
// first session.
func TestStart(t *testing.T) {
	bob := alice()
	bob.User = "bob@example.com"
	tests := []struct {
		name       string
		second     State
		between    func(*testing.T, *clock, *Manager, *browser, *State)
		wantSameID bool
		wantFirst  Absence
	}{
		{name: "the same person goes on", second: alice(), wantSameID: true, wantFirst: Present},
		{name: "another person ends it", second: bob, wantFirst: AbsentRevoked},
		{
			name: "a session that was signed out is not taken up again", second: alice(), wantFirst: AbsentRevoked,
			between: func(_ *testing.T, _ *clock, m *Manager, _ *browser, s *State) { m.End(httptest.NewRecorder(), s) },
		},
		{
			name: "an expired one is not taken up again", second: alice(), wantFirst: AbsentExpired,
			between: func(_ *testing.T, c *clock, _ *Manager, _ *browser, _ *State) { c.advance(11 * time.Hour) },
		},
		{
			name: "two links are none", second: bob, wantFirst: Present,
			between: func(_ *testing.T, _ *clock, _ *Manager, b *browser, _ *State) {
				b.cookies["x"] = "y; " + linkName + "=" + b.cookies[linkName]
			},
		},
		{
			name: "a forged link is none", second: bob, wantFirst: Present,
			between: func(_ *testing.T, _ *clock, _ *Manager, b *browser, _ *State) { b.cookies[linkName] += "x" },
		},
		{
			name: "a session cookie is no link", second: bob, wantFirst: Present,
			between: func(_ *testing.T, _ *clock, _ *Manager, b *browser, _ *State) {
				b.cookies[linkName] = b.cookies[CookieName]
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, b := newClock(), newBrowser()
			m := newTestManager(t, c, Keys{Current: testKey(1)})
			first := m.Start(b.request(), alice(), time.Time{})
			w := httptest.NewRecorder()
			if err := m.SaveDoor(w, b.request(), door, first); err != nil {
				t.Fatalf("SaveDoor: %v", err)
			}
			b.take(w)
			if test.between != nil {
				test.between(t, c, m, b, first)
			}
			r := httptest.NewRequest(http.MethodPost, "/saml/acs", http.NoBody)
			for name, value := range b.cookies {
				r.Header["Cookie"] = append(r.Header["Cookie"], name+"="+value)
			}
			second := m.Start(r, test.second, time.Time{})
			if (second.ID == first.ID) != test.wantSameID {
				t.Errorf("same id = %t, want %t", second.ID == first.ID, test.wantSameID)
			}
			if _, absence := m.judge(first); absence != test.wantFirst {
				t.Errorf("the first session is %q, want %q", absence, test.wantFirst)
			}
			if _, absence := m.judge(second); absence != Present {
				t.Errorf("the second session is %q", absence)
			}
		})
	}
}

// TestSignOutOutlivesTheStateItCameFrom: a tool's host may hold an older state
// of the same session, with an earlier end. Signing out there must hold until
// the last state with that id has expired.
func TestSignOutOutlivesTheStateItCameFrom(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	w := httptest.NewRecorder()
	old := m.Start(b.request(), alice(), time.Time{})
	if err := m.SaveDoor(w, b.request(), door, old); err != nil {
		t.Fatalf("SaveDoor: %v", err)
	}
	b.take(w)
	c.advance(9 * time.Hour)
	renewed := m.Start(b.request(), alice(), time.Time{})
	if renewed.ID != old.ID {
		t.Fatal("the second sign-on did not go on under the first one's id")
	}
	m.End(httptest.NewRecorder(), old)
	for range 9 {
		c.advance(time.Hour)
		renewed.Seen = c.now.Unix()
		m.revoked.Revoke(&State{ID: NewID()}, c.now) // sweeps
		if _, absence := m.judge(renewed); absence != AbsentRevoked {
			t.Fatalf("after the sign-out, at %v, the session is %q", c.now, absence)
		}
	}
}

// TestSignOutOutlivesAShorterLimit: the limit is lowered, somebody signs out, and
// the limit is raised again. The session that ended stays ended.
func TestSignOutOutlivesAShorterLimit(t *testing.T) {
	c, b := newClock(), newBrowser()
	keys, memory := Keys{Current: testKey(1)}, NewMemory(func() time.Time { return c.now })
	manager := func(absolute time.Duration) *Manager {
		m, err := New(Config{
			Keys: keys, Hosts: []string{door}, Idle: time.Minute, Absolute: absolute, Memory: memory,
			Now: func() time.Time { return c.now },
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	s := manager(10*time.Hour).Start(b.request(), alice(), time.Time{})
	manager(time.Hour).End(httptest.NewRecorder(), s)
	c.advance(5 * time.Hour)
	s.Seen = c.now.Unix()
	memory.revoked.Revoke(&State{ID: NewID()}, c.now) // sweeps
	if _, absence := manager(10 * time.Hour).judge(s); absence != AbsentRevoked {
		t.Errorf("after the limit was raised again, the session is %q", absence)
	}
}

func TestEndTakesTheCookieAndRevokesEverywhere(t *testing.T) {
	m := newTestManager(t, newClock(), Keys{Current: testKey(1)})
	state := m.Start(newBrowser().request(), alice(), time.Time{})
	atA := signedIn(t, m, state)
	stolen := atA.request()
	w := httptest.NewRecorder()
	m.End(w, state)
	atA.take(w)
	if _, absence := m.Find(atA.request(), toolA); absence != AbsentCookie {
		t.Errorf("in the browser that signed out: %q, want %q", absence, AbsentCookie)
	}
	if _, absence := m.Find(stolen, toolA); absence != AbsentRevoked {
		t.Errorf("with a copy of the cookie: %q, want %q", absence, AbsentRevoked)
	}
}

func TestManagerUnderConcurrency(t *testing.T) {
	c := newClock()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			person := alice()
			person.User = fmt.Sprint(i)
			for range 50 {
				b := newBrowser()
				s := m.Start(b.request(), person, time.Time{})
				w := httptest.NewRecorder()
				if err := m.Save(w, b.request(), toolA, s); err != nil {
					t.Errorf("Save: %v", err)
				}
				b.take(w)
				if got, absence := m.Find(b.request(), toolA); absence != Present || got.User != person.User {
					t.Errorf("Find = %v, %q", got, absence)
				}
				m.End(httptest.NewRecorder(), s)
				if _, absence := m.Find(b.request(), toolA); absence != AbsentRevoked {
					t.Errorf("Find after End = %q", absence)
				}
			}
		})
	}
	wg.Wait()
}

// TestCodecRefusesForeignValues guards the seam to gorilla/sessions, which
// passes any.
func TestCodecRefusesForeignValues(t *testing.T) {
	codec := stateCodec{sealer: mustSealer(t, Keys{Current: testKey(1)}, forSession), host: toolA}
	for _, values := range []any{nil, "x", map[any]any{}, map[any]any{stateKey: State{}}} {
		if _, err := codec.Encode(CookieName, values); err == nil {
			t.Errorf("Encode(%v) succeeded", values)
		}
	}
	if err := codec.Decode(CookieName, "x", new(string)); err == nil {
		t.Error("Decode into a string succeeded")
	}
}

// realistic is a state as large companies have them.
func realistic() State {
	s := alice()
	for i := range 20 {
		s.Groups = append(s.Groups, fmt.Sprintf("team-%02d-engineering", i))
	}
	return s
}

func BenchmarkFind(b *testing.B) {
	m := newTestManager(b, newClock(), Keys{Current: testKey(1), Next: testKey(2), Previous: testKey(3)})
	r := signedIn(b, m, m.Start(newBrowser().request(), realistic(), time.Time{})).request()
	r.Header.Set("Cookie", "_ga=GA1.1.1234567890.1700000000; "+r.Header.Get("Cookie")+"; grafana_session=0123456789abcdef0123456789abcdef; theme=dark")
	b.ReportAllocs()
	for b.Loop() {
		if _, absence := m.Find(r, toolA); absence != Present {
			b.Fatal(absence)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	m := newTestManager(b, newClock(), Keys{Current: testKey(1)})
	r := newBrowser().request()
	s := m.Start(r, realistic(), time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Save(httptest.NewRecorder(), r, toolA, s); err != nil {
			b.Fatal(err)
		}
	}
}
