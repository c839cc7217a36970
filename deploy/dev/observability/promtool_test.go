package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// folder is where the rules are.
const folder = "../../observability"

// promtool runs it in the folder of the rules, and returns what it says.
func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program, err := filepath.Abs("../../../.build/debian/prometheus/usr/bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run `make .build/debian/prometheus` once", err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = folder
	said, err := cmd.CombinedOutput()
	return string(said), err
}

func TestPromtoolTakesConfigurationAndRules(t *testing.T) {
	t.Parallel()
	if said, err := promtool(t, "check", "config", "--lint-fatal", "prometheus.yml"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// TestAlertsFireWhenTheyShould has each alert fire, and not fire.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	if said, err := promtool(t, "test", "rules", "alerts_test.yml"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// TestAlertsThatAreWrongAreFound: what would an alert be worth whose test passes for any
// expression? Each in turn never fires, and fires always.
func TestAlertsThatAreWrongAreFound(t *testing.T) {
	t.Parallel()
	alerts, err := os.ReadFile(filepath.Join(folder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	expression := regexp.MustCompile(`(?m)^        expr: '.*'$`)
	for name, wrong := range map[string]string{"never": "vector(1) > 2", "always": "vector(1)"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			changed := expression.ReplaceAllString(string(alerts), "        expr: '"+wrong+"'")
			for file, text := range map[string]string{"alerts.yml": changed, "recording.yml": "groups: []\n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tests, err := os.ReadFile(filepath.Join(folder, "alerts_test.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "alerts_test.yml"), tests, 0o600); err != nil {
				t.Fatal(err)
			}
			absolute, err := filepath.Abs(filepath.Join(dir, "alerts_test.yml"))
			if err != nil {
				t.Fatal(err)
			}
			said, err := promtool(t, "test", "rules", absolute)
			if err == nil {
				t.Fatalf("promtool finds nothing wrong: %s", said)
			}
			suffix := map[string]string{"never": "fires", "always": "does not"}[name]
			found, all := strings.Count(said, " "+suffix+","), strings.Count(string(tests), " "+suffix+"\n")
			if found != all {
				t.Errorf("%d of %d alerts are found out", found, all)
			}
		})
	}
}

// TestDashboardAsksWhatPrometheusUnderstands makes a rule of each query, with values in
// place of Grafana's variables, and has promtool judge them.
func TestDashboardAsksWhatPrometheusUnderstands(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(folder, "grafana", "sallyport.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	queries := 0
	add := func(expr string) {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$route", ".*").Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("a variable that the dashboard has not: %s", expr)
		}
		fmt.Fprintf(&rules, "- {record: 'query:%d', expr: %q}\n", queries, expr)
		queries++
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			add(target.Expr)
		}
	}
	for _, annotation := range dashboard.Annotations.List {
		add(annotation.Expr)
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(file, []byte("groups:\n- name: queries\n  rules:\n"+indent(rules.String())), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := promtool(t, "check", "rules", file)
	if err != nil || queries < 40 || !strings.Contains(said, fmt.Sprintf("%d rules found", queries)) {
		t.Errorf("%d queries: %v: %s", queries, err, said)
	}
}

func indent(lines string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n  ") + "\n"
}
