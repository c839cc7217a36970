package audit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

// line is a record of a known request, sealed.
func line(t *testing.T) (string, accesslog.Record) {
	t.Helper()
	r := accesslog.Record{
		Time: time.Date(2026, 11, 26, 8, 0, 0, 123456000, time.UTC), Duration: 5 * time.Millisecond, RequestID: "abcd", Action: accesslog.ActionAccess,
		Decision: accesslog.DecisionAllow, Reason: "group_allowed", Rule: "admin/group:staff", User: "Ünal \"the\u202e cat\"", Groups: []string{"staff", "b\\c"},
		SessionID: "s1", Route: "wiki", Method: "GET", Host: "wiki.example.com", Path: "/a\nb", Status: 200, BytesIn: 1, BytesOut: 2, ClientAddress: "::ffff:192.0.2.7",
	}
	return strings.TrimSuffix(string(logtest.NewChain("a").Seal(nil, r.AppendJSON(nil, "sallyport-gateway"))), "\n"), r
}

func TestDecodeReturnsWhatWasRecorded(t *testing.T) {
	text, r := line(t)
	for name, text := range map[string]string{"as it is": text, "behind a syslog header": "<134>1 2026-11-26T08:00:00Z host - - - - " + text, "with a CR": text + "\r"} {
		t.Run(name, func(t *testing.T) {
			e, ok := Decode([]byte(text))
			if !ok {
				t.Fatal("no record")
			}
			got := map[Field]string{}
			for f := range Fields {
				if v := e.Value(f); v != "" {
					got[f] = v
				}
			}
			want := map[Field]string{
				Action: "access", Decision: "allow", Reason: "group_allowed", Rule: "admin/group:staff", User: r.User, Route: "wiki", Host: "wiki.example.com",
				Address: "::ffff:192.0.2.7", Method: "GET", Status: "200", Path: "/a\nb", RequestID: "abcd", Session: "s1", Service: "sallyport-gateway",
				Instance: logtest.NewChain("a").Instance(),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if !e.Time.Equal(r.Time) || e.Sequence != 1 || e.Duration != r.Duration || e.BytesIn != 1 || e.BytesOut != 2 || !cmp.Equal(e.Groups, r.Groups) {
				t.Errorf("entry %+v", e)
			}
			if e.Member("http.response.body.bytes") != "2" || e.Member("nosuch") != "" || e.Value(Day) != "2026-11-26" || e.Value(Hour) != "2026-11-26T08" {
				t.Error("members")
			}
		})
	}
	for _, text := range []string{"", "no record", `{"@timestamp":"2026-11-26T08`, `{"@timestamp":"yesterday"}`, `{"a":1}`} {
		if _, ok := Decode([]byte(text)); ok {
			t.Errorf("%q is a record", text)
		}
	}
}

func TestFilterMatches(t *testing.T) {
	text, r := line(t)
	e, _ := Decode([]byte(text))
	tests := map[string]struct {
		filter Filter
		want   bool
	}{
		"everything":                       {Filter{}, true},
		"the user":                         {Filter{User: r.User}, true},
		"another user":                     {Filter{User: "bob"}, false},
		"a part of a name is no name":      {Filter{Route: "wik"}, false},
		"a beginning":                      {Filter{Route: "wi*"}, true},
		"another beginning":                {Filter{Route: "no*"}, false},
		"a rule":                           {Filter{Rule: "admin/group:staff"}, true},
		"the rule's name":                  {Filter{Rule: "admin"}, true},
		"what in it decided":               {Filter{Rule: "group:staff"}, true},
		"a part of a part":                 {Filter{Rule: "group:sta"}, false},
		"an address, mapped":               {Filter{Address: "192.0.2.7"}, true},
		"a prefix":                         {Filter{Address: "192.0.2.0/24"}, true},
		"another prefix":                   {Filter{Address: "192.0.3.0/24"}, false},
		"a path":                           {Filter{PathPrefix: "/a"}, true},
		"from its time on":                 {Filter{Since: r.Time}, true},
		"from later":                       {Filter{Since: r.Time.Add(time.Nanosecond)}, false},
		"until its time":                   {Filter{Until: r.Time}, false},
		"until later":                      {Filter{Until: r.Time.Add(time.Microsecond)}, true},
		"text in letters of either case":   {Filter{Text: "WIKI.Example"}, true},
		"text that is not there":           {Filter{Text: "wikix"}, false},
		"text longer than the line":        {Filter{Text: strings.Repeat("x", 5000)}, false},
		"all of several":                   {Filter{Route: "wiki", Status: "200", Decision: "allow"}, true},
		"all but one of several":           {Filter{Route: "wiki", Status: "200", Decision: "deny"}, false},
		"a member that the record has not": {Filter{Accessor: "x"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := test.filter.Matcher()
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Match(&e); got != test.want {
				t.Errorf("match %v, expected %v", got, test.want)
			}
		})
	}
	if _, err := (&Filter{Address: "10.0.0.0/33"}).Matcher(); err == nil {
		t.Error("a prefix that there is not")
	}
}

func TestCursorsAreReadBack(t *testing.T) {
	text, _ := line(t)
	e, _ := Decode([]byte(text))
	p, err := ParseCursor(e.Cursor())
	if err != nil || p != e.Position() {
		t.Errorf("position %+v, %v", p, err)
	}
	for _, bad := range []string{"", "1", "1.2", "x.1.i", "1.-2.i"} {
		if _, err := ParseCursor(bad); err == nil {
			t.Errorf("cursor %q", bad)
		}
	}
}

func TestFieldsHaveNames(t *testing.T) {
	for f := range Day + 1 {
		if f == Fields {
			continue // is none
		}
		got, known := FieldNamed(f.String())
		if !known || got != f {
			t.Errorf("%v is read as %v, %v", f, got, known)
		}
	}
	if _, known := FieldNamed(""); known {
		t.Error("nothing is a field")
	}
}

func TestFamilyFindsRotatedFiles(t *testing.T) {
	dir := t.TempDir()
	family := []string{
		"access-20261126.log.gz", "access.log", "access.log-20261121T120000.000Z", "access.log-20261121T120000.000Z.gz", "access.log.1", "access.log.2.gz", "access.log.gz",
	}
	for _, name := range append([]string{"access.log.bak", "access.logs", "other.log.1", "access.log-20261121T120000.000Z.gz.tmp", "access-admin.log", "xaccess.log"}, family...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "access.log.3"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Family(filepath.Join(dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = filepath.Base(got[i])
	}
	if diff := cmp.Diff(family, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := Family(filepath.Join(dir, "nosuch.log")); err == nil {
		t.Error("a log that is not there")
	}
	t.Chdir(dir)
	if got, err := Family("access.log"); err != nil || len(got) != len(family) || got[1] != "access.log" {
		t.Errorf("family %v, %v", got, err)
	}
}

func TestCellsAreNoFormulas(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "alice": "alice", "a=b": "a=b", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "|x": "'|x", "%0": "'%0", "  =1": "'  =1",
		"\t=1": `\u0009=1`, "\r=1": `\u000d=1`, "＝1": "'＝1", "\u200b=1": `\u200b=1`, "a\nb": `a\u000ab`,
	} {
		if got := Cell(value); got != want {
			t.Errorf("Cell(%q) = %q, expected %q", value, got, want)
		}
	}
}

// FuzzVisible lets nothing through that acts, and of JSON makes the same JSON.
func FuzzVisible(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b]0;owned\x07\u202e\U000e0001\xff")
	f.Add(`{"a":"` + "\u202e" + `"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got := Visible(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Visible(%q) = %q", text, got)
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if json.Unmarshal(quoted, &before) != nil || json.Unmarshal([]byte(Visible(string(quoted))), &after) != nil || before != after {
			t.Errorf("JSON of %q says %q, then %q", text, before, after)
		}
	})
}

// FuzzDecode reads lines that whoever could write to the file has written.
func FuzzDecode(f *testing.F) {
	company, chain := logtest.NewCompany(1, time.Unix(0, 0)), logtest.NewChain("a")
	f.Add(company.Lines(nil, chain, 1))
	f.Add([]byte(`{"@timestamp":"2026-11-26T08:00:00.000000Z","user.roles":["a",],"url.path":"\ud800"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, ok := Decode(text)
		if !ok {
			return
		}
		again, ok := Decode(e.Line)
		if !ok || !cmp.Equal(e, again, cmp.AllowUnexported(Entry{})) {
			t.Errorf("decoded again, %q is another", text)
		}
		if p, err := ParseCursor(e.Cursor()); err != nil || p != e.Position() {
			t.Errorf("cursor %q: %v", e.Cursor(), err)
		}
	})
}
