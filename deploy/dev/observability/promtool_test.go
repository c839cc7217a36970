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

// testFiles have each alert fire, and not fire.
var testFiles = []string{"alerts_test.yml", "alerts_hours_test.yml"}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	if said, err := promtool(t, append([]string{"test", "rules"}, testFiles...)...); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// TestAlertsThatAreWrongAreFound: what would an alert be worth whose test passes for any
// expression? All of them never fire, and then fire always.
func TestAlertsThatAreWrongAreFound(t *testing.T) {
	t.Parallel()
	expression := regexp.MustCompile(`(?m)^        expr: '.*'$`)
	for wrong, name := range map[string]string{"vector(1) > 2": " fires", "vector(1)": " does not"} {
		t.Run(wrong, func(t *testing.T) {
			dir := t.TempDir()
			copied := func(file string, change func(string) string) (text string) {
				original, err := os.ReadFile(filepath.Join(folder, file))
				if err != nil {
					t.Fatal(err)
				}
				text = change(string(original))
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return text
			}
			same := func(text string) string { return text }
			copied("recording.yml", same)
			copied("alerts.yml", func(text string) string { return expression.ReplaceAllString(text, "        expr: '"+wrong+"'") })
			args, all := []string{"test", "rules"}, 0
			for _, file := range testFiles {
				all += strings.Count(copied(file, same), name+"\n")
				args = append(args, filepath.Join(dir, file))
			}
			said, err := promtool(t, args...)
			if found := strings.Count(said, name+","); err == nil || found != all || all < 30 {
				t.Errorf("%d of %d alerts are found out: %v", found, all, err)
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
