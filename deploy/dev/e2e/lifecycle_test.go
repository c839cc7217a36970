package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
)

// fails runs a demo that cannot start and returns what it said; it must say it at
// once and leave nothing.
func fails(t *testing.T, state string, port int, env ...string) string {
	t.Helper()
	d, err := launch(state, port, env...)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.wait(10 * time.Second); err == nil {
		t.Fatalf("the demo ended without an error:\n%s", d.out)
	}
	if state != shared.demo.state {
		d.leavesNothing(t)
	}
	return d.out.String()
}

func says(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// refusesToStart: what cannot work is told at once, and nothing is touched.
func refusesToStart(t *testing.T) {
	port, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("when a port is taken", func(t *testing.T) {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+2)))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		says(t, fails(t, t.TempDir(), port), strconv.Itoa(port+2), "Vault", "taken by e2e.test", "DEMO_PORT")
	})
	t.Run("when the folder is somebody else's", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "thesis.txt")
		if err := os.WriteFile(file, []byte("years of work"), 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, fails(t, dir, port), dir, "not empty", "DEMO_STATE")
		if data, err := os.ReadFile(file); err != nil || string(data) != "years of work" {
			t.Errorf("the file in it: %q, %v", data, err)
		}
	})
	t.Run("when another demo uses the folder", func(t *testing.T) {
		says(t, fails(t, shared.demo.state, port), "another demo runs", "DEMO_STATE")
	})
	t.Run("when the port is no number", func(t *testing.T) {
		says(t, fails(t, t.TempDir(), port, "DEMO_PORT=door"), `DEMO_PORT: "door"`)
	})
	t.Run("when Vault's other address is elsewhere", func(t *testing.T) {
		says(t, fails(t, t.TempDir(), port, "DEMO_VAULT_ADDR=https://vault.example.com:8200"), "DEMO_VAULT_ADDR", "vault.example.com")
	})
	t.Run("when the metadata file is missing", func(t *testing.T) {
		says(t, fails(t, t.TempDir(), port, "DEMO_IDP_METADATA=/nowhere.xml"), "DEMO_IDP_METADATA", "/nowhere.xml")
	})
}

// secondDemo: two run beside each other; the second uses an identity provider that
// is not its own, stops when it is asked to, and its folder can be used again.
func secondDemo(t *testing.T) {
	first, state := shared.demo, filepath.Join(t.TempDir(), "state")
	second, err := startDemo(state, "DEMO_IDP_METADATA="+filepath.Join(first.state, "idp", "metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	says(t, second.out.String(), second.door()+"/saml/metadata", second.caFile(), second.rootToken(t))
	if location := opened(t, second); !strings.HasPrefix(location, first.idp()+"/sso?") {
		t.Errorf("the second door sends to %q, want the first one's identity provider", location)
	}
	if location := opened(t, first); !strings.HasPrefix(location, first.idp()+"/sso?") {
		t.Errorf("the first door sends to %q", location)
	}
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	second.leavesNothing(t)

	ca := readFile(t, second.caFile())
	again, err := startDemo(state) // on other ports
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ca, readFile(t, again.caFile())); diff != "" {
		t.Errorf("a CA that was imported is worth nothing now (-want +got):\n%s", diff)
	}
	losesSidecar(t, again)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// opened asks a door for its page without a session and returns where it sends to.
func opened(t *testing.T, d *demo) (location string) {
	t.Helper()
	if err := localhost.WaitOK(t.Context(), d.client(t), d.door()+"/saml/metadata"); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.door()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := d.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("Location")
}

// losesSidecar: when one process dies, the demo says which, and stops the rest.
func losesSidecar(t *testing.T, d *demo) {
	t.Helper()
	for _, process := range d.running(t) {
		pid, name, _ := strings.Cut(process, " ")
		if name == "sallyport" && strings.Contains(commandLine(t, pid), "sidecar-notes.yaml") {
			number, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := d.wait(time.Minute)
	if err == nil {
		t.Fatalf("the demo ended without an error:\n%s", d.out)
	}
	says(t, d.out.String(), "sidecar-notes", "signal: killed", d.log("sidecar-notes"))
	d.leavesNothing(t)
}

// stoppedWhileStarting: Ctrl-C works at any time, and is no failure.
func stoppedWhileStarting(t *testing.T) {
	port, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	d, err := launch(t.TempDir(), port)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.waitFor("provision", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.wait(time.Minute); err != nil {
		t.Error(err)
	}
	d.leavesNothing(t)
}

// killedOutright: not even an orchestrator that is killed leaves its children.
func killedOutright(t *testing.T) {
	d, err := startDemo(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	d.leavesNothing(t)
}

// stops: the demo that all tests used ends as it should, with nothing left.
func stops(t *testing.T) {
	d := shared.demo
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.wait(time.Minute); err != nil {
		t.Error(err)
	}
	d.leavesNothing(t)
}
