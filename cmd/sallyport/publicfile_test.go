package main

import (
	"strings"
	"syscall"
	"testing"
)

func TestPublicFilesAreRegularAndBounded(t *testing.T) {
	dir := t.TempDir()
	fifo := dir + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		fifo: "expected a regular file", "/dev/zero": "expected a regular file", dir: "expected a regular file",
		dir + "/absent": "no such file", writeFile(t, dir, "large", "123456789"): "more than 8 bytes",
	} {
		if text, err := readPublicFile(name, 8); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: read %d bytes, error %v, expected one with %q", name, len(text), err, want)
		}
	}
	if text, err := readPublicFile(writeFile(t, dir, "right", "12345678"), 8); err != nil || string(text) != "12345678" {
		t.Errorf("read %q, %v", text, err)
	}
}
