package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestATokenReplacesNothingElse: a file that is named by mistake is kept, and a folder that
// is missing costs no introduction.
func TestATokenReplacesNothingElse(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "absent"), link); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file string
		says string // "" if it may be written
	}{
		"absent":             {filepath.Join(dir, "absent"), ""},
		"an earlier token":   {writeFile(t, t.TempDir(), "token", "hvs.CAESIJ0123\n"), ""},
		"one that was used":  {writeFile(t, t.TempDir(), "token", ""), ""},
		"a device":           {"/dev/null", "no regular file"},
		"a link":             {link, "no regular file"},
		"a folder":           {dir, "no regular file"},
		"a configuration":    {writeFile(t, t.TempDir(), "sidecar.yaml", "name: x\napp: y\n"), "something else in it than an earlier token"},
		"something long":     {writeFile(t, t.TempDir(), "long", strings.Repeat("x", mostOfToken+1)), "something else in it than an earlier token"},
		"a folder is absent": {filepath.Join(dir, "absent", "token"), "no such file or directory"},
	}
	for name, test := range tests {
		err := checkTokenPlace(test.file)
		switch {
		case test.says == "" && err == nil:
		case test.says != "" && err != nil && strings.Contains(err.Error(), test.says) && exitCode(err) == exitUsage:
		default:
			t.Errorf("%s: %v, expected %q", name, err, test.says)
		}
	}
}
