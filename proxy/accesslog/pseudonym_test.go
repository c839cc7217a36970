package accesslog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testPseudonyms(tb testing.TB, fill byte) *Pseudonyms {
	tb.Helper()
	p, err := NewPseudonyms(bytes.Repeat([]byte{fill}, PseudonymKeySize))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPseudonymsAreKeyed(t *testing.T) {
	p, replica, rotated := testPseudonyms(t, 1), testPseudonyms(t, 1), testPseudonyms(t, 2)
	alice := p.Of("alice@example.com")
	if len(alice) != len(PseudonymPrefix)+pseudonymLength || !strings.HasPrefix(alice, PseudonymPrefix) || strings.Contains(alice, "alice") {
		t.Errorf("pseudonym %q", alice)
	}
	if alice != replica.Of("alice@example.com") || alice != p.Of("alice@example.com") {
		t.Error("lines of one person do not join")
	}
	if alice == rotated.Of("alice@example.com") || alice == p.Of("Alice@example.com") || p.Of("") != "" {
		t.Error("two names or two keys make one pseudonym")
	}
	if _, err := NewPseudonyms(make([]byte, 16)); err == nil || strings.Contains(err.Error(), "\x00") {
		t.Errorf("a short key: %v", err)
	}
}

func TestPseudonymsRememberSoMuchAndNoMore(t *testing.T) {
	p := testPseudonyms(t, 1)
	first := p.Of("0")
	for i := range 2 * mostKnown {
		p.Of(strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String())
	}
	if len(p.known) > mostKnown || p.Of("0") != first {
		t.Errorf("%d are known", len(p.known))
	}
}

// TestNoNameIsWritten holds every text of a record that may have a person's name in it.
func TestNoNameIsWritten(t *testing.T) {
	p := testPseudonyms(t, 1)
	alice := p.Of("alice@example.com")
	tests := []struct {
		name  string
		give  Record
		field string
		want  string
	}{
		{"the user", Record{User: "alice@example.com"}, "user.name", alice},
		{"a rule about her", Record{Rule: "user:alice@example.com"}, "rule.name", "user:" + alice},
		{"a named rule about her", Record{Rule: "admin/user:alice@example.com"}, "rule.name", "admin/user:" + alice},
		{"a rule about a group", Record{Rule: "group:users"}, "rule.name", "group:users"},
		{"a cause with her name", Record{User: "alice", Cause: `telling "alice": header is too long`}, "error.message", `telling "` + p.Of("alice") + `": header is too long`},
		{"a cause with her address", Record{User: "u17", Cause: "mail to <alice@example.com>, lost"}, "error.message", "mail to <" + alice + ">, lost"},
		{"a cause with what she is called", Record{User: "u17", known: [2]string{"", "Alice Liddell"}, Cause: `name "Alice Liddell" has a control`}, "error.message", `name "` + p.Of("Alice Liddell") + `" has a control`},
		{"a short name in a word", Record{User: "al", Cause: `value "al" is not equal`}, "error.message", `value "` + p.Of("al") + `" is not equal`},
		{"whatever an identity provider has sent", Record{Action: ActionSignIn, Cause: `NameID "al\"ice" is transient`}, "error.message", `NameID "` + p.Of(`al\"ice`) + `" is transient`},
		{"an event", Record{Event: &Event{User: "alice@example.com"}}, "user.name", alice},
		{"the cause of an event", Record{Event: &Event{User: "alice", Cause: "alice has left"}}, "error.message", p.Of("alice") + " has left"},
		{"a cause without any", Record{User: "alice", Cause: "dial tcp 10.0.0.1:1: refused"}, "error.message", "dial tcp 10.0.0.1:1: refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			l := New(&out, "gateway")
			l.Pseudonymise(p)
			before := test.give
			if err := l.Write(&test.give); err != nil {
				t.Fatal(err)
			}
			if err := l.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			if got := line[test.field]; got != test.want {
				t.Errorf("%s is %q, want %q", test.field, got, test.want)
			}
			if diff := cmp.Diff(before, test.give, cmp.AllowUnexported(Record{})); diff != "" {
				t.Errorf("the caller's record has changed:\n%s", diff)
			}
		})
	}
}

// TestNoKindOfLineNamesAnybody has every kind of line, with the person in every text that
// says who, by what rule, and what went wrong.
func TestNoKindOfLineNamesAnybody(t *testing.T) {
	const name = "alice.liddell"
	l := newLog(Config{Service: "gateway"})
	l.Pseudonymise(testPseudonyms(t, 1))
	causes := []string{`"` + name + `" is unknown`, "no session of " + name, "mail to " + name + "@example.com is lost"}
	for _, kind := range Kinds() {
		for _, cause := range causes {
			r := full()
			r.Action, r.User, r.Rule, r.Cause = kind.Action, name, "named/"+userRule+name, cause
			r.Path, r.Query = "/", "person="+name+"&text="+name+"&rule="+userRule+name
			if kind.Action != ActionAuditView {
				r.Query = "" // the keys that the operator allows are what the operator allows
			}
			if kind.IsEvent {
				r = Record{Action: kind.Action, Event: &Event{Action: kind.Action, User: name, Cause: cause}}
			}
			if line := string(l.line(nil, &r)); strings.Contains(line, name) || !strings.Contains(line, PseudonymPrefix) {
				t.Errorf("%s: %s", kind.Action, line)
			}
		}
	}
}

// FuzzNoNameIsWritten: wherever a cause has the user's name or address, the line has not.
func FuzzNoNameIsWritten(f *testing.F) {
	f.Add("alice@example.com", "before ", " after")
	f.Add("bob", `"`, `\"`)
	p := testPseudonyms(f, 1)
	f.Fuzz(func(t *testing.T, user, before, after string) {
		if len(user) < shortName || strings.Contains(p.Of(user), user) || strings.Contains(p.Of(user)+after, user) {
			return
		}
		hidden := p.hide(Record{Action: ActionSignIn, User: user, Rule: userRule + user, Cause: before + user + after})
		// What replaces other words may look like the name by chance, if it is short.
		if hidden.User == user || hidden.Rule == userRule+user || len(user) > 2*pseudonymLength && strings.Contains(hidden.Cause, user) {
			t.Fatalf("%q is in %+v", user, hidden)
		}
	})
}

// BenchmarkLine is what a record costs until it is among those to be written, as it is and
// with a pseudonym in it.
func BenchmarkLine(b *testing.B) {
	r := full()
	for name, names := range map[string]*Pseudonyms{"plain": nil, "pseudonym": testPseudonyms(b, 1)} {
		b.Run(name, func(b *testing.B) {
			l := newLog(Config{Service: "gateway"})
			if names != nil {
				l.Pseudonymise(names)
			}
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buf = l.line(buf[:0], &r)
			}
		})
	}
}

// TestASearchForAPersonIsPseudonymised: the record of an auditor's visit names nobody.
func TestASearchForAPersonIsPseudonymised(t *testing.T) {
	p := testPseudonyms(t, 1)
	bob := p.Of("bob")
	for query, want := range map[string]string{
		"person=bob&tool=notes":    "person=" + bob + "&tool=notes",
		"person=" + bob:            "person=" + bob,
		"text=bob":                 "text=" + bob,
		"rule=user%3Abob":          "rule=user%3A" + bob,
		"rule=group%3Aa":           "rule=group%3Aa",
		"person=bob&person=bob;x=": "",
	} {
		if got := p.hide(Record{Action: ActionAuditView, Query: query}).Query; got != want {
			t.Errorf("%s: %q, expected %q", query, got, want)
		}
	}
	if got := p.hide(Record{Action: ActionAccess, Query: "page=2"}).Query; got != "page=2" {
		t.Errorf("of a tool: %q", got)
	}
}
