package supervise

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTheLogTellsALife: whoever reads it knows of every process when it was started, why it
// was to end, and how it has ended.
func TestTheLogTellsALife(t *testing.T) {
	// The first dies at once; the others are well until somebody says otherwise.
	well := filepath.Join(t.TempDir(), "well")
	script := `[ -e "$1" ] || { : >"$1"; exit 3; }; trap 'exit 4' TERM; echo ok >"$1"; echo up; while :; do sleep 0.01; done`
	r := run(t, Config{
		Command: []string{"/bin/sh", "-c", script, "sh", well}, Restart: OnFailure, Limit: 5, Backoff: quick,
		Check: &Check{Command: []string{"/bin/sh", "-c", `read -r x <"$1" && [ "$x" = ok ]`, "sh", well}, Every: 10 * time.Millisecond, Start: patience, Failures: 1},
	})
	r.log.wait(t, "app passes its check", 1)
	if err := os.WriteFile(well, []byte("not so\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "up", 2)
	if err := r.Restart(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "up", 3)
	r.stop()
	if err := r.end(t); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`app has started: 1`, `app has ended and is started again: 1, exit code 3, 1 of 5`,
		`app has started: 2`, `app is asked to end: 2, it does not pass its check`, `app has ended and is started again: 2, exit code 4, 2 of 5`,
		`app has started: 3`, `app is asked to end: 3, a restart was asked for`, `app has ended for a restart that was asked for: 3, exit code 4`,
		`app has started: 4`, `app is asked to end: 4, a stop was asked for`, `app has ended: 4, exit code 4`,
	}
	if diff := cmp.Diff(want, lives(r.log.String())); diff != "" {
		t.Errorf("%s\n%s", diff, r.log)
	}
}

// lives are the lines about processes, with what they say of one, and with the number of its
// start in the place of its own.
func lives(log string) []string {
	value := func(line, key string) string {
		found := regexp.MustCompile(` ` + key + `=("(?:[^":]*)|\S+)`).FindStringSubmatch(line)
		if found == nil {
			return ""
		}
		return strings.TrimPrefix(found[1], `"`)
	}
	var told []string
	starts := map[string]string{} // by the process
	for line := range strings.Lines(log) {
		if strings.Contains(line, `its check" pid=`) {
			continue
		}
		if start := value(line, "start"); start != "" {
			starts[value(line, "pid")] = start
		}
		says := value(line, "msg") + ": " + starts[value(line, "pid")]
		for _, key := range []string{"exit", "why", "restarts"} {
			if more := value(line, key); more != "" {
				says += ", " + more
			}
		}
		if limit := value(line, "limit"); limit != "" {
			says += " of " + limit
		}
		told = append(told, says)
	}
	return told
}
