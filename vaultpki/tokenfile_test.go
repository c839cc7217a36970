package vaultpki

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTokenIsParsed(t *testing.T) {
	const token = "hvs.CAESIJlu2kUZ_bX-0123456789abcdefghijklmnopqrstuvwxyzAB"
	tests := map[string]struct {
		raw   string
		fault string // "" is accepted as token
	}{
		"bare":                       {token, ""},
		"with line end":              {token + "\n", ""},
		"with DOS line end":          {token + "\r\n", ""},
		"legacy":                     {"s.0123456789abcdefABCDEF", ""},
		"JWT format":                 {"eyJhbGciOi.eyJhY2Nlc3.MIGHAkFz-_", ""},
		"nothing":                    {"", "empty"},
		"a line end":                 {"\n", "empty"},
		"spaces":                     {"   \n", "empty"},
		"two lines":                  {token + "\n" + token, "one line"},
		"two line ends":              {token + "\n\n", "one line"},
		"leading space":              {" " + token, "expected a token of"},
		"quotes":                     {`"` + token + `"`, "expected a token of"},
		"JSON of vault write":        {`{"wrap_info":{"token":"x"}}`, "expected a token of"},
		"byte order mark":            {"\ufeff" + token, "expected a token of"},
		"NUL":                        {token + "\x00", "expected a token of"},
		"not UTF-8":                  {token + "\xff", "expected a token of"},
		"too short":                  {"hvs.short", "at least 16"},
		"just at the bound":          {strings.Repeat("a", 1024), ""},
		"over the bound":             {strings.Repeat("a", 1025), "at most 1024"},
		"line end is over the bound": {strings.Repeat("a", 1024) + "\n", "at most 1024"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseToken([]byte(test.raw))
			if test.fault == "" {
				if err != nil || got != strings.TrimRight(test.raw, "\r\n") {
					t.Errorf("parsed %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("error %v, expected %q", err, test.fault)
			}
			if err != nil && strings.Contains(err.Error(), "hvs.CAES") {
				t.Errorf("error quotes the file: %v", err)
			}
		})
	}
}

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"hvs.CAESIJlu2kUZ_bX-0123456789", "", "\n", "a\nb", "s.0123456789abcdef\r\n", "\xff\xfe"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		token, err := parseToken(raw)
		if err != nil {
			if len(raw) >= minTokenBytes && strings.Contains(err.Error(), string(raw)) {
				t.Errorf("error quotes the file: %v", err)
			}
			return
		}
		if len(token) < minTokenBytes || len(token) > maxTokenBytes || strings.ContainsFunc(token, notOfToken) {
			t.Errorf("accepted %q", token)
		}
		if !strings.HasPrefix(string(raw), token) || len(raw)-len(token) > 2 {
			t.Errorf("parsed %q out of %q", token, raw)
		}
	})
}

// A FIFO in place of the file would block the start for ever.
func TestTokenFileMustBeRegular(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, filepath.Dir(path)} {
		if _, err := openTokenFile(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("error %v, expected it to want a regular file", err)
		}
		if _, err := readTokenFile(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("error %v, expected it to want a regular file", err)
		}
	}
}

// Kubernetes mounts secrets as symbolic links.
func TestTokenFileMayBeALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("hvs.0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	file, err := openTokenFile(link, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	if file.token != "hvs.0123456789abcdef" {
		t.Errorf("read %q", file.token)
	}
	file.blank(slog.New(slog.DiscardHandler))
	if raw, err := os.ReadFile(target); err != nil || len(raw) != 0 {
		t.Errorf("after blanking: %q, %v", raw, err)
	}
}

// What is emptied is what was read, whatever bears its name by then.
func TestOtherFileUnderTheNameIsNotBlanked(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "token"), filepath.Join(dir, "victim")
	for name, content := range map[string]string{path: "hvs.0123456789abcdef\n", victim: "precious"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := openTokenFile(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	if err := errors.Join(os.Rename(path, path+".read"), os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	file.blank(slog.New(slog.DiscardHandler))
	for name, content := range map[string]string{path + ".read": "", victim: "precious"} {
		if raw, err := os.ReadFile(name); err != nil || string(raw) != content {
			t.Errorf("%s holds %q, %v; expected %q", name, raw, err, content)
		}
	}
}
