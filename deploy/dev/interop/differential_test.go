package interop

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/mellon.txt anew; the reasons in it stay")

// differences is where the two service providers part, and why, one case a line.
const differences = "testdata/mellon.txt"

// head stands at its top.
const head = `# Where mod_auth_mellon (Debian's, on Lasso and xmlsec) and the door judge a response of
# the corpus differently, and why. The cases that are not here, most of them, are judged
# alike. The first line counts them; the others are: case, the door's verdict, Mellon's,
# reason, and what the case is. "go test ./interop -run Mellon -update" writes it.
`

// TestMellonJudgesTheCorpus posts every response of the corpus to another service
// provider, which has our name, address, keys and clock. A verdict of either that
// changes, and a difference without a reason, fails.
func TestMellonJudgesTheCorpus(t *testing.T) {
	cases := readCorpus(t)
	slices.SortStableFunc(cases, func(a, b corpusCase) int { return a.Now.Compare(b.Now) })
	m := newMellon(t, cases)
	reasons := readReasons(t)
	var lines []string
	both, neither := 0, 0
	for i := range cases {
		c := &cases[i]
		user, refused := m.judge(c)
		switch {
		case c.Code == "" && refused == "":
			both++
		case c.Code != "" && refused != "":
			neither++
		default:
			ours, theirs := cmp.Or(c.Code, "accepted"), cmp.Or(refused, fmt.Sprintf("accepted %q", user))
			if reasons[c.ID] == "" {
				t.Errorf("%s %s: the door says %s, Mellon %s, and %s has no reason", c.ID, c.Name, ours, theirs, differences)
			}
			lines = append(lines, strings.Join([]string{c.ID, ours, theirs, cmp.Or(reasons[c.ID], "?"), c.Name}, " | "))
		}
	}
	slices.Sort(lines)
	got := head + fmt.Sprintf("%d accepted by both, %d refused by both, %d judged differently\n", both, neither, len(lines)) + strings.Join(lines, "\n") + "\n"
	if *update {
		write(t, []byte(got), differences)
		return
	}
	want, err := os.ReadFile(differences)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("verdicts have changed:\n%s", changed(string(want), got))
	}
}

// readReasons reads the fourth column, by the first.
func readReasons(t *testing.T) map[string]string {
	t.Helper()
	reasons := map[string]string{}
	text, err := os.ReadFile(differences)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, " | "); len(fields) == 5 && fields[3] != "?" {
			reasons[fields[0]] = fields[3]
		}
	}
	return reasons
}

// changed has the lines that are only in one of the two.
func changed(want, got string) string {
	var out []string
	before, after := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range before {
		if !slices.Contains(after, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			out = append(out, "+ "+line)
		}
	}
	return strings.Join(out, "\n")
}
