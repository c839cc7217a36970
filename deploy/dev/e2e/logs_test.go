package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/deploy/dev/idp"
)

// records are whole: every line of the access log says who, what, decided how.
func accessLogIsWhole(t *testing.T) {
	all := records(t)
	if len(all) < 50 {
		t.Fatalf("%d records after all these tests", len(all))
	}
	for i, r := range all {
		for _, key := range []string{
			"@timestamp", "http.request.id", "sallyport.decision", "event.reason", "event.action",
			"http.request.method", "url.domain", "url.path", "http.response.status_code", "event.duration", "client.address",
		} {
			if r[key] == nil {
				t.Errorf("line %d has no %s: %v", i+1, key, r)
			}
		}
		if path, _ := r["url.path"].(string); strings.Contains(path, "?") {
			t.Errorf("line %d has a query: %s", i+1, path)
		}
	}
}

// logsAreClean: nothing that opens anything is in a log, and the race detector,
// with which every program was built, saw nothing.
func logsAreClean(t *testing.T) {
	d := shared.demo
	paths, err := filepath.Glob(filepath.Join(d.state, "log", "*.log"))
	if err != nil || len(paths) < 8 {
		t.Fatalf("logs: %q, %v", paths, err)
	}
	secrets := map[string]string{
		"the root token":  d.rootToken(t),
		"a Vault token":   "hvs.",
		"a private key":   "PRIVATE KEY",
		"a SAML response": "SAMLResponse=",
		"a session":       "__Host-",
		"a data race":     "DATA RACE",
		"a panic":         "panic:",
	}
	for _, user := range append(idp.DemoUsers(), idp.User{Name: "carol", Password: "carol-pw"}) {
		secrets["the password of "+user.Name] = user.Password // and not what all have in common: a hash may have that
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range secrets {
			if at := strings.Index(string(data), text); at >= 0 {
				t.Errorf("%s has %s: …%s…", filepath.Base(path), what, around(string(data), at))
			}
		}
	}
}

func around(text string, at int) string {
	return text[max(0, at-80):min(len(text), at+200)]
}

// commandLine returns the arguments of a process.
func commandLine(t *testing.T, pid string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\x00", " ")
}
