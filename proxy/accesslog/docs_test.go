package accesslog

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestEveryFieldIsDocumented holds docs/access-log.md to what is written, both
// ways.
func TestEveryFieldIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for i, name := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				documented[name] = true
			}
		}
	}
	full := Record{
		RequestID: "x", Reason: "x", Rule: "x", User: "x", Groups: []string{"x"}, SessionID: "x", IdP: "x", IdPCertificate: "x", Route: "x", Query: "x",
		Protocol: "x", Upstream: "x", Attempts: 2, ClientPort: "1", Proxy: "x", TLSVersion: "x", UserAgent: "x", Via: "x", Peer: "x", Cause: "x",
	}
	var written map[string]any
	if err := json.Unmarshal(full.AppendJSON(nil, "x"), &written); err != nil {
		t.Fatal(err)
	}
	for name := range written {
		if !documented[name] {
			t.Errorf("docs/access-log.md does not describe %s", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/access-log.md describes %s, which is never written", name)
	}
}
