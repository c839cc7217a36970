package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/index"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

var friday = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// visit is a request for a tool, some days after friday.
type visit struct {
	day                        int
	user, group, tool, verdict string
	rule                       string
}

// made makes a report of visits.
func made(t *testing.T, cfg Config, visits ...visit) *Report {
	t.Helper()
	chain := logtest.NewChain("a")
	var log []byte
	for _, v := range visits {
		r := accesslog.Record{
			Time: friday.AddDate(0, 0, v.day), Action: accesslog.ActionAccess, Decision: v.verdict, Reason: "because", Rule: v.rule, User: v.user, Route: v.tool,
			Method: "GET", Host: v.tool + ".example.com", Path: "/", Status: 200,
		}
		if v.group != "" {
			r.Groups = []string{v.group}
		}
		log = chain.Seal(log, r.AppendJSON(nil, "sallyport-gateway"))
	}
	name := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(name, log, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), "", name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	report, err := Make(t.Context(), x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// company is the configuration of these tests.
var company = Config{
	Since: friday, Until: friday.AddDate(0, 0, 10), Idle: 5 * 24 * time.Hour,
	Tools: []Tool{
		{Name: "wiki", Title: "Wiki", Host: "wiki.example.com", Parts: []Part{{Groups: []string{"staff", "guests"}, Users: []string{"carol", "dave"}}}},
		{Name: "pay", Title: "Pay", StepUp: true, Parts: []Part{{Name: "admin", Groups: []string{"finance"}, DenyUsers: []string{"eve"}, Paths: []string{"/admin"}}, {}}},
	},
}

func TestWhoMayDidAndHasNot(t *testing.T) {
	report := made(t, company,
		visit{0, "alice", "staff", "wiki", "allow", "group:staff"},
		visit{8, "alice", "staff", "wiki", "allow", "group:staff"},
		visit{1, "bob", "finance", "wiki", "deny", ""},
		visit{1, "bob", "finance", "pay", "allow", "admin/group:finance"},
		visit{2, "eve", "finance", "pay", "deny", "admin/user:eve"},
		visit{3, "carol", "", "wiki", "allow", "user:carol"},
		visit{4, "frank", "former", "wiki", "allow", "group:staff"},
		visit{5, "", "", "wiki", "signin", ""},
		visit{6, "gone", "staff", "old", "allow", "group:staff"},
		visit{-1, "before", "staff", "wiki", "allow", "group:staff"},
		visit{10, "after", "staff", "wiki", "allow", "group:staff"},
	)
	day := func(n int) time.Time { return friday.AddDate(0, 0, n) }
	wiki := report.Tools[0]
	want := []Person{
		{Name: "alice", Groups: []string{"staff"}, May: "group:staff", Allowed: 2, First: day(0), Last: day(8), Rules: []string{"group:staff"}},
		{Name: "carol", May: "user:carol", Allowed: 1, First: day(3), Last: day(3), Rules: []string{"user:carol"}, IsIdle: true},
		{Name: "frank", Groups: []string{"former"}, Allowed: 1, First: day(4), Last: day(4), Rules: []string{"group:staff"}},
		{Name: "bob", Groups: []string{"finance"}, Denied: 1, LastDenied: day(1)},
	}
	if diff := cmp.Diff(want, wiki.People); diff != "" {
		t.Errorf("people of the wiki (-want +got):\n%s", diff)
	}
	idle := []Person{want[1], {Name: "dave", May: "user:dave", IsIdle: true}, {Name: "gone", Groups: []string{"staff"}, May: "group:staff", IsIdle: true}}
	if diff := cmp.Diff(idle, wiki.Idle); diff != "" {
		t.Errorf("who may and has not (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Grant{{"", "user", "dave"}, {"", "group", "guests"}}, wiki.Unused); diff != "" {
		t.Errorf("unused grants (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Person{{Name: "bob", Groups: []string{"finance"}, May: "admin/group:finance", Allowed: 1, First: day(1), Last: day(1), Rules: []string{"admin/group:finance"}, IsIdle: true}}, report.Tools[1].Idle); diff != "" {
		t.Errorf("idle at pay: eve is kept out (-want +got):\n%s", diff)
	}
	if old := report.Tools[2]; old.Name != "old" || old.Configured || old.Allowed != 1 || len(report.Tools) != 3 {
		t.Errorf("a tool that the configuration has not any more: %+v", old)
	}
	if report.Requests != 6 || report.Denied != 2 || report.People != 6 || len(report.Days) != 11 || report.Days[0] != (Day{"2026-11-20", 1, 0}) || report.Days[1] != (Day{"2026-11-21", 1, 1}) {
		t.Errorf("sums %d, %d, %d, days %v", report.Requests, report.Denied, report.People, report.Days)
	}
}

// TestPseudonymsAreNotComparedWithNames says nothing of users whom it cannot know.
func TestPseudonymsAreNotComparedWithNames(t *testing.T) {
	cfg := company
	cfg.Pseudonyms = true
	report := made(t, cfg, visit{9, "p-abc", "", "wiki", "allow", "user:p-abc"}, visit{0, "p-def", "staff", "wiki", "allow", "group:staff"})
	wiki := report.Tools[0]
	if len(wiki.People) != 2 || wiki.People[0].May != "user:p-abc" || wiki.People[0].state() != stateActive {
		t.Errorf("people %+v", wiki.People)
	}
	if len(wiki.Idle) != 1 || wiki.Idle[0].Name != "p-def" {
		t.Errorf("idle %+v", wiki.Idle)
	}
	if diff := cmp.Diff([]Grant{{"", "group", "guests"}}, wiki.Unused); diff != "" {
		t.Errorf("unused grants (-want +got):\n%s", diff)
	}
}

// TestThePageNeedsNothingElse holds the page to what it promises: nothing is loaded,
// nothing runs, nobody's name acts, and who does not see it can read it.
func TestThePageNeedsNothingElse(t *testing.T) {
	evil := `<script>alert(1)</script>"'&` + "\u202e"
	cfg := company
	cfg.Tools = append([]Tool{{Name: "evil", Title: evil, Parts: []Part{{Groups: []string{evil}, Users: []string{evil}}}}}, company.Tools...)
	report := made(t, cfg, visit{0, evil, evil, "evil", "allow", "group:" + evil}, visit{1, evil, evil, evil, "deny", ""})
	var out bytes.Buffer
	if err := report.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for name, forbidden := range map[string]string{
		"a script": `(?i)<script`, "a handler": `(?i)\son[a-z]+=`, "something loaded": `(?i)\ssrc=|url\(|@import|<link|<iframe|<object|<img`, "a way out": `(?i)https?://`,
		"a style beside the one": `(?i)\sstyle=`, "a bidirectional override": "\u202e",
	} {
		if found := regexp.MustCompile(forbidden).FindString(page); found != "" {
			t.Errorf("the page has %s: %q", name, found)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(page)[1]
	sum := sha256.Sum256([]byte(style))
	policy := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)[1])
	if want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.HasPrefix(policy, want) {
		t.Errorf("policy %q, expected %q", policy, want)
	}
	count := func(part string) int { return strings.Count(page, part) }
	if n := count("<table>"); n == 0 || count("<caption") != n {
		t.Errorf("%d tables, %d captions", n, count("<caption"))
	}
	if n := count("<svg"); n == 0 || count("role=\"img\" aria-label=")+count("aria-hidden") != n {
		t.Errorf("%d charts, not all with a text", n)
	}
	if count(`<form class="sign"`) != len(report.Tools) || count(`type="date"`) != len(report.Tools) {
		t.Errorf("%d places to sign for %d tools", count(`<form class="sign"`), len(report.Tools))
	}
	if !strings.Contains(page, html.EscapeString(`<script>alert(1)</script>"'&`)[:30]) {
		t.Error("the name is not on the page")
	}
}

// TestCSVHasARowForEverybody reads it back.
func TestCSVHasARowForEverybody(t *testing.T) {
	report := made(t, company, visit{9, "=alice", "staff", "wiki", "allow", "group:staff"})
	var out bytes.Buffer
	if err := report.WriteCSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, fmt.Sprint(row[0], " ", row[2], " ", row[3], " ", row[6]))
	}
	want := []string{
		"tool about name state", "wiki person '=alice active", "wiki person carol idle", "wiki person dave idle",
		"wiki user carol unused", "wiki user dave unused", "wiki group guests unused", "pay group finance unused",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestChartsShowEveryDay puts many days together, and shows what is little.
func TestChartsShowEveryDay(t *testing.T) {
	var days []Day
	for i := range 365 {
		days = append(days, Day{Date: friday.AddDate(0, 0, i).Format(time.DateOnly), Allowed: int64(i * 10), Denied: 1})
	}
	c := newChart(days, 640, 150)
	if len(c.Bars) > maxBars || len(c.Bars) < maxBars/2 || c.Each != "in 4 days" {
		t.Errorf("%d columns %s", len(c.Bars), c.Each)
	}
	for _, b := range c.Bars {
		if b.X < 0 || b.X+b.Width > 640 || b.AllowedY < 0 || b.DeniedY < 0 || b.DeniedH < 1 {
			t.Errorf("column %+v", b)
		}
	}
	if c := newChart(days[:1], 640, 150); c.Text != "Requests from 2026-11-20 to 2026-11-20. Most on 2026-11-20: 0 let in, 1 turned away." {
		t.Error(c.Text)
	}
	if c := newChart(nil, 640, 150); len(c.Bars) != 0 {
		t.Error("columns of nothing")
	}
}
