package session

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sealedFor returns a Manager with a clock, and a Cookie line of a session that it
// started for host.
func sealedFor(t *testing.T, host string) (m *Manager, now *time.Time, line string) {
	t.Helper()
	at := time.Unix(1_800_000_000, 0)
	now = &at
	m, err := New(Config{
		Keys: Keys{Current: bytes.Repeat([]byte{1}, KeySize)}, Hosts: []string{host, "other.example.com"},
		Idle: time.Hour, Absolute: 8 * time.Hour, Now: func() time.Time { return *now },
	})
	if err != nil {
		t.Fatal(err)
	}
	sink := sinkHeader{}
	if err := m.Save(sink, carrying(""), host, m.Start(carrying(""), State{User: "alice", Groups: []string{"a", "b"}}, time.Time{})); err != nil {
		t.Fatal(err)
	}
	cookie, err := http.ParseSetCookie(http.Header(sink).Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	return m, now, cookie.Name + "=" + cookie.Value
}

type sinkHeader http.Header

func (s sinkHeader) Header() http.Header         { return http.Header(s) }
func (s sinkHeader) Write(p []byte) (int, error) { return len(p), nil }
func (s sinkHeader) WriteHeader(int)             {}

func carrying(lines ...string) *http.Request {
	return &http.Request{Header: http.Header{"Cookie": lines}}
}

const rememberedHost = "tool.example.com"

// Whatever is remembered of a cookie, each request is told the same of it as if it
// were opened for the first time.
func TestOpeningFromMemoryTellsTheSame(t *testing.T) {
	m, now, line := sealedFor(t, rememberedHost)
	for name, lines := range map[string][]string{
		"alone":               {line},
		"among others":        {"a=b; " + line + "; c=d"},
		"twice":               {line + "; " + line},
		"twice, in two lines": {line, line},
		"in the second line":  {"a=b", line},
		"broken":              {line[:len(line)-1]},
		"another's":           {"a=" + line},
		"none":                {"a=b"},
		"no header":           nil,
		"long":                {line + "; a=" + string(bytes.Repeat([]byte{'x'}, openedLine))},
	} {
		for range 3 {
			for _, host := range []string{rememberedHost, "other.example.com"} {
				want, wanted := m.unseal(carrying(lines...), host)
				got, absence := m.open(carrying(lines...), host)
				if absence != wanted || !cmp.Equal(got, want) {
					t.Errorf("%s on %s: %v, %q; without a memory %v, %q", name, host, got, absence, want, wanted)
				}
			}
		}
	}
	if s, absence := m.Find(carrying(line), "unknown.example.com"); s != nil || absence != AbsentForged {
		t.Errorf("on a host that is none: %v, %q", s, absence)
	}
	*now = now.Add(9 * time.Hour)
	if s, absence := m.Find(carrying(line), rememberedHost); s != nil || absence != AbsentExpired {
		t.Errorf("after its end: %v, %q", s, absence)
	}
}

func TestLimitsHoldForWhatIsRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		after func(m *Manager, now *time.Time, s *State)
		want  Absence
	}{
		"idle":                 {func(_ *Manager, now *time.Time, _ *State) { *now = now.Add(time.Hour + time.Second) }, AbsentIdle},
		"revoked":              {func(m *Manager, _ *time.Time, s *State) { m.revoke(s) }, AbsentRevoked},
		"changed":              {func(_ *Manager, _ *time.Time, s *State) { s.User, s.Seen = "mallory", 0 }, Present},
		"nothing":              {func(*Manager, *time.Time, *State) {}, Present},
		"signed out elsewhere": {func(m *Manager, _ *time.Time, s *State) { m.revoked.Revoke(&State{ID: s.ID}, m.forgettable()) }, AbsentRevoked},
	} {
		m, now, line := sealedFor(t, rememberedHost)
		for range 2 {
			if _, absence := m.Find(carrying(line), rememberedHost); absence != Present {
				t.Fatalf("%s: %q before", name, absence)
			}
		}
		s, _ := m.Find(carrying(line), rememberedHost)
		c.after(m, now, s)
		if s, absence := m.Find(carrying(line), rememberedHost); absence != c.want || s != nil && s.User != "alice" {
			t.Errorf("%s: %v, %q, expected %q", name, s, absence, c.want)
		}
	}
}

func TestMemoryOfCookiesIsBounded(t *testing.T) {
	m, _, line := sealedFor(t, rememberedHost)
	memory := &m.opened
	for i := range 3 * openedLimit {
		if _, absence := m.Find(carrying(fmt.Sprintf("n=%d; %s", i, line)), rememberedHost); absence != Present {
			t.Fatal(absence)
		}
		if n := len(memory.recent) + len(memory.before); n > 2*openedLimit {
			t.Fatalf("%d lines are remembered", n)
		}
		if _, absence := m.Find(carrying(line), rememberedHost); absence != Present { // asked again and again
			t.Fatal(absence)
		}
	}
	sum, _ := memory.lineOf(carrying(line), rememberedHost)
	if memory.recent[sum] == nil && memory.before[sum] == nil {
		t.Error("what is asked for all the time was forgotten")
	}
	for range 100 {
		m.Find(carrying("__Host-sallyport=forged"), rememberedHost)
	}
	sum, _ = memory.lineOf(carrying("__Host-sallyport=forged"), rememberedHost)
	if memory.recent[sum] != nil {
		t.Error("a forged cookie is remembered")
	}
}
