package auditpage

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	tests := []struct {
		name, query string
		want        audit.Filter
		canonical   string
	}{
		{name: "nothing", query: "", want: audit.Filter{Since: noon.Add(-24 * time.Hour)}},
		{name: "what is not known", query: "x=1&_=2&Person=bob", want: audit.Filter{Since: noon.Add(-24 * time.Hour)}},
		{
			name: "every field", query: "person=bob&tool=notes&decision=deny&reason=not_in_allow&rule=group:x&session=ab12&request=abcd&path=/a&action=access&text=Curl&address=192.0.2.7&last=all",
			want: audit.Filter{
				User: "bob", Route: "notes", Decision: "deny", Reason: "not_in_allow", Rule: "group:x", Session: "ab12", RequestID: "abcd",
				PathPrefix: "/a", Action: "access", Text: "Curl", Address: "192.0.2.7",
			},
			canonical: "action=access&address=192.0.2.7&decision=deny&last=all&path=%2Fa&person=bob&reason=not_in_allow&request=abcd&rule=group%3Ax&session=ab12&text=Curl&tool=notes",
		},
		{name: "space around a name", query: "person=+bob+&last=all", want: audit.Filter{User: "bob"}, canonical: "last=all&person=bob"},
		{name: "the first of two", query: "person=bob&person=alice&last=all", want: audit.Filter{User: "bob"}, canonical: "last=all&person=bob"},
		{name: "a network", query: "address=2001:db8::/32&last=all", want: audit.Filter{Address: "2001:db8::/32"}, canonical: "address=2001%3Adb8%3A%3A%2F32&last=all"},
		{name: "an hour", query: "last=1h", want: audit.Filter{Since: noon.Add(-time.Hour)}, canonical: "last=1h"},
		{
			name: "from until", query: "from=2026-11-22T10:30&until=2026-11-23&last=1h",
			want:      audit.Filter{Since: time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC), Until: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
			canonical: "from=2026-11-22T10%3A30&until=2026-11-23",
		},
		{
			name: "an instant of another zone", query: "from=2026-11-22T10:30:00%2B02:00",
			want: audit.Filter{Since: time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC)}, canonical: "from=2026-11-22T10%3A30%3A00%2B02%3A00",
		},
		{name: "an empty form", query: "person=&tool=&decision=&last=24h&address=&from=&until=", want: audit.Filter{Since: noon.Add(-24 * time.Hour)}, canonical: "last=24h"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			query, err := url.ParseQuery(test.query)
			if err != nil {
				t.Fatal(err)
			}
			a := parse(query, noon)
			if len(a.faults) > 0 {
				t.Fatalf("faults %v", a.faults)
			}
			if diff := cmp.Diff(test.want, a.Filter); diff != "" {
				t.Errorf("filter (-want +got):\n%s", diff)
			}
			if got := a.values.Encode(); got != test.canonical {
				t.Errorf("canonical %q, want %q", got, test.canonical)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, query, param string }{
		{"a decision that there is not", "decision=maybe", paramDecision},
		{"an address that is a name", "address=localhost", paramAddress},
		{"an address with a zone", "address=fe80::1%25eth0", paramAddress},
		{"an address with a port", "address=192.0.2.7:80", paramAddress},
		{"a path without its slash", "path=admin", paramPath},
		{"a range that there is not", "last=2y", paramLast},
		{"a time in words", "from=yesterday", paramFrom},
		{"a time before computers", "from=0001-01-01", paramFrom},
		{"an end before the beginning", "from=2026-11-23&until=2026-11-22", paramUntil},
		{"an end at the beginning", "from=2026-11-23&until=2026-11-23", paramUntil},
		{"a line break", "person=a%0Ab", paramPerson},
		{"a NUL", "tool=%00", paramTool},
		{"no UTF-8", "person=%ff", paramPerson},
		{"a megabyte", "text=" + strings.Repeat("a", 1<<20), paramText},
		{"a long place", "before=" + strings.Repeat("1", maxCursor+1), paramBefore},
		{"a negative place", "after=-1", paramAfter},
		{"a place beyond all", "after=18446744073709551616", paramAfter},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			query, err := url.ParseQuery(test.query)
			if err != nil {
				t.Fatal(err)
			}
			a := parse(query, noon)
			if len(a.faults) != 1 || a.faults[0].Param != test.param || a.faults[0].Message == "" {
				t.Errorf("faults %v, want one of %s", a.faults, test.param)
			}
		})
	}
}

// TestPivotsKeepTheRangeAlone: what leads on from a value looks for nothing else.
func TestPivotsKeepTheRangeAlone(t *testing.T) {
	a := parse(url.Values{"person": {"bob"}, "tool": {"x"}, "last": {"7d"}}, noon)
	if got := pivot(&a, paramSession, "9f&x=1"); got != "last=7d&session=9f%26x%3D1" {
		t.Errorf("pivot = %q", got)
	}
	if got := a.with(paramTool, ""); got != "last=7d&person=bob" {
		t.Errorf("without the tool: %q", got)
	}
	if got := a.values.Encode(); got != "last=7d&person=bob&tool=x" {
		t.Errorf("the search itself has become %q", got)
	}
}

// FuzzParse: whatever is asked for becomes a search that means the same when it is asked
// for again in its own words, or is refused with words for a person.
func FuzzParse(f *testing.F) {
	f.Add("person=bob&tool=notes&decision=deny&address=192.0.2.0/24&last=1h")
	f.Add("from=2026-11-22T10:30&until=2026-11-23T00:00:00Z&path=/a%2Fb&text=%22%3Cscript%3E")
	f.Add("before=12&after=9&before=%00&person=%ff&last=all&last=1h&action=;&rule=a%0d%0ab")
	f.Fuzz(func(t *testing.T, text string) {
		query, _ := url.ParseQuery(text) // what can be read of it
		a := parse(query, noon)
		for _, wrong := range a.faults {
			if wrong.Param == "" || wrong.Message == "" {
				t.Errorf("fault %+v of %q", wrong, text)
			}
		}
		for name, values := range a.values {
			if len(values) != 1 || len(values[0]) > maxTerm || !utf8.ValidString(values[0]) || strings.ContainsFunc(values[0], isControl) || !slices.Contains(params, name) {
				t.Errorf("%q has become %s=%q", text, name, values)
			}
		}
		if len(a.faults) > 0 {
			return
		}
		if _, err := a.matcher(); err != nil {
			t.Errorf("%q cannot be looked for: %v", text, err)
		}
		again, err := url.ParseQuery(a.values.Encode())
		if err != nil {
			t.Fatalf("%q has become %q: %v", text, a.values.Encode(), err)
		}
		b := parse(again, noon)
		if diff := cmp.Diff(a.Filter, b.Filter, cmpopts.EquateEmpty()); diff != "" || len(b.faults) > 0 {
			t.Errorf("%q asked for again: %v\n%s", text, b.faults, diff)
		}
	})
}

// params are all parameters that say what is looked for.
var params = []string{
	paramPerson, paramTool, paramAddress, paramDecision, paramReason, paramRule, paramSession, paramRequest, paramPath, paramAction, paramText, paramLast, paramFrom, paramUntil,
}
