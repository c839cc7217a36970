package program

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"testing"
)

func TestExitCode(t *testing.T) {
	parse := func(args ...string) error {
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		return Parse(flags, args, new(bytes.Buffer))
	}
	tests := []struct {
		name    string
		err     error
		code    int
		printed string
	}{
		{"a clean end", nil, 0, ""},
		{"help that was asked for", parse("-h"), 0, ""},
		{"an unknown flag", parse("-nonsense"), 2, ""},
		{"a wrapped usage error", fmt.Errorf("starting: %w", parse("-nonsense")), 2, ""},
		{"anything else", errors.New("no luck"), 1, "x: no luck\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := exitCode("x", tt.err, &stderr); code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if stderr.String() != tt.printed {
				t.Errorf("printed %q, want %q", &stderr, tt.printed)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	var stderr bytes.Buffer
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	if err := Parse(flags, []string{"-nonsense"}, &stderr); err == nil {
		t.Fatal("no error")
	}
	if !bytes.Contains(stderr.Bytes(), []byte("-nonsense")) {
		t.Errorf("it does not name the flag:\n%s", &stderr)
	}
}
