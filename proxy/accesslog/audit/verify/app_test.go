package verify_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLinesOfAnAppAmongThoseOfItsSidecar has both write to one standard output, as with
// child.output: pass: what a collector then has. With json a forged record is text.
func TestLinesOfAnAppAmongThoseOfItsSidecar(t *testing.T) {
	w := small()
	lines := w.hosts[0]
	forged := strings.Replace(lines[4].text, `"event.action":"access"`, `"event.action":"access","user.name":"mallory"`, 1)
	successor := strings.Replace(lines[5].text, `"event.action":"access"`, `"event.action":"access","user.name":"mallory"`, 1)
	marked, err := json.Marshal(map[string]string{"stream": "stdout", "service": "notes", "text": forged})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		says string // before line 6
		glue bool   // and does not end it
		want []string
	}{
		"a line":                     {says: "listening on 127.0.0.1:3000"},
		"an unfinished line":         {says: "working... ", glue: true},
		"the beginning of an object": {says: `{"message":"`, glue: true},
		"the beginning of a record":  {says: forged[:len(forged)/2], glue: true},
		"a forged record, as text":   {says: string(marked)},
		"behind a prefix":            {says: "notes | " + forged, want: []string{"inserted 6 5-5"}},
		"a forged successor":         {says: successor, want: []string{"inserted 7 6-6", "edited 6 6-0"}},
		"a forged record":            {says: forged, want: []string{"inserted 6 5-5"}},
	} {
		t.Run(name, func(t *testing.T) {
			mixed := slices.Clone(lines)
			if test.glue {
				mixed[5].text = test.says + mixed[5].text
			} else {
				mixed = slices.Insert(mixed, 5, line{text: test.says})
			}
			report := judge(t, w, text(mixed), aCopy)
			if diff := cmp.Diff(test.want, short(report.Findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if want := uint64(len(lines)); report.Records < want {
				t.Errorf("%d records are found, expected %d", report.Records, want)
			}
		})
	}
}
