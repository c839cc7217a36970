package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// observability is where the rules and the dashboard are.
const observability = "../../deploy/observability/"

// rule is a recording rule, or an alert.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// rulesIn returns the rules of a file.
func rulesIn(t *testing.T, name string) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(read(t, observability+name)), &file, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	var rules []rule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) < 10 {
		t.Fatalf("%s has %d rules", name, len(rules))
	}
	return rules
}

// runbook is where an alert sends whoever it wakes.
const runbook = "https://github.com/sallyport/sallyport/blob/main/docs/operations.md#"

// wakes are the severities, in the words of docs/operations.md.
var wakes = map[string]string{"page": "now", "ticket": "in working hours", "info": "nobody"}

// TestAlertsAreThoseOfTheRunbook holds the alerts to the table of docs/operations.md,
// both ways: one truth about the expression, whom it wakes, and what to read then.
func TestAlertsAreThoseOfTheRunbook(t *testing.T) {
	page := readPage(t, "operations.md")
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `(Sallyport[A-Za-z0-9]+)` \\| `(.+)` \\| ([a-z0-9 ]+) \\| ([a-z ]+) \\| \\[[^\\]]+\\]\\(#([a-z0-9-]+)\\) \\|$")
	for _, cells := range row.FindAllStringSubmatch(page, -1) {
		if documented[cells[1]] != "" {
			t.Errorf("docs/operations.md has %s twice", cells[1])
		}
		documented[cells[1]] = fmt.Sprintf("%s for %s wakes %s: %s", strings.ReplaceAll(cells[2], `\|`, "|"), cells[3], cells[4], cells[5])
	}
	written, anchors := map[string]string{}, anchorsOf(page)
	for _, r := range rulesIn(t, "alerts.yml") {
		wait, anchor := r.For, strings.TrimPrefix(r.Annotations["runbook_url"], runbook)
		if wait == "" {
			wait = "at once"
		}
		if written[r.Alert] != "" || r.Annotations["summary"] == "" || wakes[r.Labels["severity"]] == "" || !anchors[anchor] {
			t.Errorf("%s: it stands twice, has no summary, a severity that nobody knows, or a page that is not there: %+v", r.Alert, r)
		}
		written[r.Alert] = fmt.Sprintf("%s for %s wakes %s: %s", r.Expr, wait, wakes[r.Labels["severity"]], anchor)
	}
	if diff := cmp.Diff(written, documented); diff != "" {
		t.Errorf("alerts (-alerts.yml +docs/operations.md):\n%s", diff)
	}
}

// TestEveryAlertIsTested looks for each alert in the tests for promtool, firing and not;
// package deploy/dev/observability runs them.
func TestEveryAlertIsTested(t *testing.T) {
	var want, found []string
	for _, r := range rulesIn(t, "alerts.yml") {
		want = append(want, r.Alert+" does not", r.Alert+" fires")
	}
	tests := read(t, observability+"alerts_test.yml") + read(t, observability+"alerts_hours_test.yml")
	for _, name := range regexp.MustCompile(`(?m)^  - name: (Sallyport.*)$`).FindAllStringSubmatch(tests, -1) {
		found = append(found, name[1])
	}
	slices.Sort(want)
	slices.Sort(found)
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("tests of alerts (-wanted +alerts_test.yml, alerts_hours_test.yml):\n%s", diff)
	}
}

// dashboard is what we look at of a dashboard of Grafana's.
type dashboard struct {
	Title, UID string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct{ Expr string }
	}
	Panels []dashboardPanel
}

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Value *float64 } }
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, observability+"grafana/sallyport.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboardIsWhole holds the dashboard to what Grafana expects, and to what a person
// does: every panel says what it shows, in which unit, and from when on that is bad.
func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	var variables, rows []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if diff := cmp.Diff([]string{"datasource", "job", "instance", "route"}, variables); diff != "" || d.UID != "sallyport" {
		t.Errorf("dashboard %q, variables (-want +got):\n%s", d.UID, diff)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%q: panel %d stands twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q is where %q is, or beyond the margin", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
		} else {
			checkPanel(t, p)
		}
	}
	if diff := cmp.Diff(dashboardRows, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

var dashboardRows = []string{"The door", "Tools", "Sign-on", "Vault and certificates", "Access log", "Limits"}

func checkPanel(t *testing.T, p dashboardPanel) {
	t.Helper()
	if p.Title == "" || len(p.Description) < 20 || p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0 || len(p.Targets) == 0 {
		t.Errorf("panel %d %q has no title, description, unit, thresholds or query", p.ID, p.Title)
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		if refs[target.RefID] || target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, "$job") {
			t.Errorf("%q, query %s: it stands twice, has another data source, or shows every job: %s", p.Title, target.RefID, target.Expr)
		}
		refs[target.RefID] = true
	}
}

// documentedMetrics are those of docs/metrics.md, and whether each is a histogram.
func documentedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	metrics := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(sallyport_[a-z0-9_]+)` \\|[^|]*\\|[^|]*\\|([^|]*)").FindAllStringSubmatch(readPage(t, "metrics.md"), -1) {
		metrics[row[1]] = strings.HasPrefix(row[2], " Histogram: ")
	}
	if len(metrics) < 30 {
		t.Fatalf("docs/metrics.md has %d metrics", len(metrics))
	}
	return metrics
}

// TestRulesAndDashboardKnowTheirMetrics holds every name in an expression to
// docs/metrics.md, and the recording rules to who uses them.
func TestRulesAndDashboardKnowTheirMetrics(t *testing.T) {
	expressions := map[string]string{}
	recorded, used := map[string]bool{}, map[string]bool{}
	for _, r := range slices.Concat(rulesIn(t, "recording.yml"), rulesIn(t, "alerts.yml")) {
		if r.Record != "" {
			recorded[r.Record] = true
		}
		expressions[r.Record+r.Alert] = r.Expr
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expressions[p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, a := range d.Annotations.List {
		expressions["annotation "+a.Expr] = a.Expr
	}
	for _, v := range d.Templating.List {
		expressions["variable "+v.Name] = v.Definition
	}
	metrics := documentedMetrics(t)
	for where, expression := range expressions {
		for _, name := range regexp.MustCompile(`sallyport_[a-z0-9_]+`).FindAllString(expression, -1) {
			bare := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
			if _, known := metrics[name]; !known && !metrics[bare] {
				t.Errorf("%s: docs/metrics.md has no %s", where, name)
			}
			used[bare] = true
		}
		for _, name := range regexp.MustCompile(`sallyport:[a-z0-9_:]+`).FindAllString(expression, -1) {
			if !recorded[name] {
				t.Errorf("%s: recording.yml has no %s", where, name)
			}
			used[name] = true
		}
	}
	for name := range recorded {
		if !used[name] {
			t.Errorf("recording.yml: nothing uses %s", name)
		}
	}
	var unseen []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if !used[name] && !used[name+"_total"] {
			unseen = append(unseen, name)
		}
	}
	if diff := cmp.Diff(unwatched, unseen); diff != "" {
		t.Errorf("metrics that neither an alert nor a panel shows (-known +found):\n%s", diff)
	}
}

// unwatched are metrics that other questions are asked of.
var unwatched = []string{
	"sallyport_app_answering", "sallyport_app_check_passing", "sallyport_app_orphans_total", "sallyport_app_running",
	"sallyport_app_secrets_leases",
	"sallyport_app_secrets_renders_total", "sallyport_app_secrets_renewals_total", "sallyport_app_secrets_replacements_total",
	"sallyport_app_start_time_seconds",
	"sallyport_secret_driver_remembered", "sallyport_source_read_seconds", "sallyport_upstream_requests_in_flight",
}
