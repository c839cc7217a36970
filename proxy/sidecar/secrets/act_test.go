package secrets_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// TestAnApplicationThatIsAwayShowsNoQuery: it may have what lets us in.
func TestAnApplicationThatIsAwayShowsNoQuery(t *testing.T) {
	_, log := changing(t, "away", secrets.Action{Verb: secrets.HTTP, URL: "http://127.0.0.1:1/reload?key=let-me-in"})
	await(t, "the line about it", func() bool { return strings.Contains(log.String(), "could not be told") })
	if text := log.String(); strings.Contains(text, "let-me-in") || !strings.Contains(text, "http://127.0.0.1:1/reload") || !strings.Contains(text, "connection refused") {
		t.Errorf("the log: %s", text)
	}
}

// execute runs a program, as the command does by other means.
func execute(ctx context.Context, argv []string, output *os.File) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = output, output
	return cmd.Run()
}

// changing renders one file whose secret is then changed, and has the action done.
func changing(t *testing.T, name string, change secrets.Action) (*secrets.Secrets, *journal) {
	t.Helper()
	path := "app/" + name
	write(t, path, map[string]string{"password": "old-password"})
	log := &journal{}
	change.Debounce = -1
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: &app{}, Exec: execute, Refresh: 50 * time.Millisecond, Log: log.logger(),
		Files: []secrets.File{{
			Path: filepath.Join(memory(t), "f"), OnChange: change,
			Template: `{{ with secret "secret/` + path + `" }}{{ .Data.data.password }}{{ end }}`,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s)
	write(t, path, map[string]string{"password": "new-password"})
	return s, log
}

// TestAnApplicationIsAskedByHTTP until it answers well, and nobody else is.
func TestAnApplicationIsAskedByHTTP(t *testing.T) {
	var asked, followed atomic.Int32
	tool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/reload":
			followed.Add(1)
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.URL.RawQuery != "key=let-me-in":
			w.WriteHeader(http.StatusForbidden)
		case asked.Add(1) == 1:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer tool.Close()
	s, log := changing(t, "http", secrets.Action{Verb: secrets.HTTP, URL: tool.URL + "/reload?key=let-me-in"})
	await(t, "the second attempt", func() bool { return s.State().Actions[secrets.HTTP] == 2 })
	await(t, "nothing to be left", func() bool { return s.State().Pending == 0 })
	if asked.Load() != 2 || followed.Load() != 0 {
		t.Errorf("asked %d times, %d elsewhere", asked.Load(), followed.Load())
	}
	if failures := s.State().ActionFailures[secrets.HTTP]; failures != 1 {
		t.Errorf("%d failures", failures)
	}
	if strings.Contains(log.String(), "let-me-in") {
		t.Errorf("the log has what lets us in: %s", log)
	}
	if !strings.Contains(log.String(), "it answers 307, expected 2xx") {
		t.Error("the log does not say why the first did not do")
	}
}

// TestACommandIsRunWithoutAShell, within bounds, and its output is told without secrets.
func TestACommandIsRunWithoutAShell(t *testing.T) {
	s, log := changing(t, "command", secrets.Action{Verb: secrets.Command, Command: []string{"/bin/echo", "$HOME;", "new-password", "bmV3LXBhc3N3b3Jk"}})
	await(t, "the command", func() bool { return s.State().Actions[secrets.Command] == 1 })
	await(t, "the line about it", func() bool { return strings.Contains(log.String(), "was told") })
	if !strings.Contains(log.String(), `"output":"$HOME; [redacted] [redacted]"`) {
		t.Errorf("the log has no output, or a secret:\n%s", log)
	}
	for _, secret := range []string{"new-password", "old-password", "bmV3LXBhc3N3b3Jk"} {
		if strings.Contains(strings.ReplaceAll(log.String(), "/bin/echo $HOME; new-password bmV3LXBhc3N3b3Jk", ""), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}

// TestACommandMayTellOfWhatWas: the credentials before a change live on for a while, and the
// log has neither them nor the new ones, whether they are texts, numbers or in lists.
func TestACommandMayTellOfWhatWas(t *testing.T) {
	path, log := "app/past", &journal{}
	put := func(text string, number int) {
		t.Helper()
		fields := map[string]any{"password": text, "pin": number, "keys": []any{text + "-key", map[string]any{"pin": number + 1}}}
		if err := vault.Call(t.Context(), "POST", "secret/data/"+path, map[string]any{"data": fields}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put("former", 471100)
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: &app{}, Exec: execute, Refresh: 50 * time.Millisecond, Log: log.logger(),
		Files: []secrets.File{{
			Path: filepath.Join(memory(t), "f"), Template: `{{ with secret "secret/app/past" }}{{ .Data.data.password }}{{ end }}`,
			OnChange: secrets.Action{Verb: secrets.Command, Debounce: -1, Command: []string{
				"/bin/sh", "-c", `echo is: $(for n in r-key ''; do echo "forme$n latte$n"; done) former 471100 $((471100 + 1)) latter 815000 $((815000 + 1))`,
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s)
	put("latter", 815000)
	await(t, "the line about it", func() bool { return strings.Contains(log.String(), "was told") })
	const want = `"output":"is: [redacted] [redacted] forme latte [redacted] [redacted] [redacted] [redacted] [redacted] [redacted]"`
	if !strings.Contains(log.String(), want) {
		t.Errorf("the log has no output, or a secret:\n%s", log)
	}
}

// TestACommandThatFailsIsTriedAgain, and one that does not end is killed; floods are cut.
func TestACommandThatFailsIsTriedAgain(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "flag")
	script := fmt.Sprintf(`if [ -e %[1]s ]; then exit 0; fi; touch %[1]s; head -c 300000 /dev/zero | tr '\0' x; exec sleep 600`, flag)
	s, log := changing(t, "failing", secrets.Action{Verb: secrets.Command, Command: []string{"/bin/sh", "-c", script}, Timeout: time.Second})
	await(t, "the second attempt", func() bool { return s.State().Actions[secrets.Command] == 2 })
	await(t, "nothing to be left", func() bool { return s.State().Pending == 0 })
	if !strings.Contains(log.String(), "it did not end within 1s") || strings.Contains(log.String(), strings.Repeat("x", 2049)) {
		t.Error("the log does not say why the first did not do, or has more than is bearable")
	}
}

// TestWhatIsNoActionIsRefused before anything is rendered.
func TestWhatIsNoActionIsRefused(t *testing.T) {
	tests := map[string]struct {
		change secrets.Action
		app    secrets.App
		want   string
	}{
		"another verb":              {secrets.Action{Verb: "exec"}, &app{}, "expected none, signal"},
		"a signal to nobody":        {hup, nil, "no application"},
		"a restart of nobody":       {secrets.Action{Verb: secrets.Restart}, nil, "no application"},
		"a signal without a signal": {secrets.Action{Verb: secrets.Signal}, &app{}, "no signal"},
		"a URL elsewhere":           {secrets.Action{Verb: secrets.HTTP, URL: "http://10.0.0.1/reload"}, nil, "127.0.0.1"},
		"a URL of a name":           {secrets.Action{Verb: secrets.HTTP, URL: "http://localhost/reload"}, nil, "127.0.0.1"},
		"a command without a path":  {secrets.Action{Verb: secrets.Command, Command: []string{"reload"}}, nil, "absolute path"},
		"a command of nothing":      {secrets.Action{Verb: secrets.Command}, nil, "absolute path"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := secrets.New(t.Context(), secrets.Config{
				Vault: session{}, App: test.app, Exec: execute,
				Files: []secrets.File{{Path: filepath.Join(memory(t), "f"), Template: "x", OnChange: test.change}},
				Env:   map[string]string{"1X": "x"}, // refused in any case
			})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"1X"`) {
				t.Errorf("error %v, expected %q", err, test.want)
			}
		})
	}
}

// TestHalfASecretIsNotTold where the output of a command is cut: what would be taken out of it
// is not recognised by its beginning.
func TestHalfASecretIsNotTold(t *testing.T) {
	path, log, long := "app/long", &journal{}, strings.Repeat("0123456789abcdef", 250)
	write(t, path, map[string]string{"password": "before"})
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: &app{}, Exec: execute, Refresh: 50 * time.Millisecond, Log: log.logger(),
		Files: []secrets.File{{
			Path: filepath.Join(memory(t), "f"), Template: `{{ with secret "secret/app/long" }}{{ .Data.data.password }}{{ end }}`,
			OnChange: secrets.Action{Verb: secrets.Command, Debounce: -1, Command: []string{
				"/bin/sh", "-c", `for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do echo line; printf %4000s "" | sed 's/                /0123456789abcdef/g'; done`,
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s)
	write(t, path, map[string]string{"password": long})
	await(t, "the line about it", func() bool { return strings.Contains(log.String(), "was told") })
	if !strings.Contains(log.String(), `line\n[redacted]`) || strings.Contains(log.String(), strings.Repeat("0123456789abcdef", 2)) {
		t.Errorf("the log has no output, or half a secret:\n%s", log)
	}
}
