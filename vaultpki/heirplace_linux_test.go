package vaultpki

import (
	"io/fs"
	"strings"
	"testing"
)

func TestFolderOfTheHeirIsJudged(t *testing.T) {
	const self, other = 1000, 1001
	for name, test := range map[string]struct {
		mode  fs.FileMode
		owner int
		fault string // "" is accepted
	}{
		"ours alone":                       {0o700, self, ""},
		"root's":                           {0o755, 0, ""},
		"root's, for all, sticky":          {0o777 | fs.ModeSticky, 0, ""},
		"root's, for all":                  {0o777, 0, "expected that only its owner"},
		"ours, for the group":              {0o770, self, "expected that only its owner"},
		"somebody else's":                  {0o755, other, "it belongs to user 1001"},
		"somebody else's, for all, sticky": {0o777 | fs.ModeSticky, other, "it belongs to user 1001"},
	} {
		err := judgeFolder(test.mode|fs.ModeDir, test.owner, self)
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, expected %q", name, err, test.fault)
		}
	}
}
