package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// following runs a follower and returns a channel of its lines.
func following(t *testing.T, cfg Config) (lines <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, caught, ended := make(chan string, 1000), make(chan struct{}), make(chan error, 1)
	cfg.Every = time.Millisecond
	cfg.Line = func(line []byte) error {
		out <- string(line)
		return nil
	}
	cfg.Caught = func() error {
		close(caught)
		return nil
	}
	go func() { ended <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-caught
	return out
}

func expect(t *testing.T, lines <-chan string, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, <-lines)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("lines (-want +got):\n%s", diff)
	}
}

func add(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenFromNowOnIsRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	add(t, name, "old\n")
	lines := following(t, Config{Name: name})
	add(t, name, "one\ntw")
	expect(t, lines, "one")
	add(t, name, "o\nthree\n")
	expect(t, lines, "two", "three")
}

func TestWhatWasThereIsReadBackToALine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	add(t, name, "first\nsecond\nthird\n")
	expect(t, following(t, Config{Name: name, Back: 10}), "third")
	expect(t, following(t, Config{Name: name, Back: 13}), "second", "third")
	expect(t, following(t, Config{Name: name, Back: 1000}), "first", "second", "third")
}

// TestRotationLosesNoLine renames the file while it is written to, again and again.
func TestRotationLosesNoLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	lines := following(t, Config{Name: name})
	for i := range 20 {
		add(t, name, fmt.Sprintf("before %d\n", i))
		if i%2 == 0 {
			expect(t, lines, fmt.Sprintf("before %d", i)) // else the next one is there before it was looked
		}
		old := fmt.Sprintf("%s.%d", name, i)
		if err := os.Rename(name, old); err != nil {
			t.Fatal(err)
		}
		add(t, old, fmt.Sprintf("behind %d\n", i)) // whoever has it open writes on
		if i%2 == 0 {
			add(t, name, fmt.Sprintf("new %d\n", i))
			expect(t, lines, fmt.Sprintf("behind %d", i), fmt.Sprintf("new %d", i))
		} else {
			expect(t, lines, fmt.Sprintf("before %d", i), fmt.Sprintf("behind %d", i))
		}
	}
}

func TestATruncatedFileBeginsAnew(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	add(t, name, "a long line that was there before\n")
	lines := following(t, Config{Name: name})
	if err := os.WriteFile(name, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, "new")
}

func TestALineWithoutEndIsPassedOver(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	lines := following(t, Config{Name: name})
	add(t, name, string(bytes.Repeat([]byte("x"), 3<<20))+"\nnext\n")
	expect(t, lines, "next")
}

func TestAnErrorEndsIt(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	add(t, name, "one\n")
	full := errors.New("full")
	err := Run(t.Context(), Config{Name: name, Back: 10, Line: func([]byte) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if err := Run(t.Context(), Config{Name: t.TempDir()}); err == nil {
		t.Error("a folder was followed")
	}
}
