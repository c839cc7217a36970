package supervise

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// framed has a child's framing make lines of text that is read in parts of so many bytes.
func framed(t *testing.T, output Output, text []byte, part int) string {
	t.Helper()
	c := &Child{cfg: Config{Output: output, Service: "notes"}}
	var out bytes.Buffer
	f := &framer{to: &out, frame: c.frame("stdout")}
	for len(text) > 0 {
		n := min(part, len(text))
		if err := f.add(text[:n]); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestLinesWithAPrefix has lines begin with the service's name.
func TestLinesWithAPrefix(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"lines":               {"one\ntwo\n", "notes | one\nnotes | two\n"},
		"the last has no end": {"one\ntwo", "notes | one\nnotes | two\n"},
		"an empty line":       {"\n\n", "notes | \nnotes | \n"},
		"nothing":             {"", ""},
		"no text at all":      {"\xff\x00\n", "notes | \xff\x00\n"},
	}
	for name, test := range tests {
		for _, part := range []int{1, 3, 1000} {
			if got := framed(t, Prefix, []byte(test.in), part); got != test.want {
				t.Errorf("%s, in parts of %d: %q, expected %q", name, part, got, test.want)
			}
		}
	}
}

// TestLinesInJSON has each line be an object.
func TestLinesInJSON(t *testing.T) {
	got := framed(t, JSON, []byte("plain \"<&>\"\nbad \xff\\x\nlast"), 7)
	var lines []outputLine
	for line := range strings.Lines(got) {
		var l outputLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if time.Since(l.Time) > time.Hour || l.Time.Location() != time.UTC {
			t.Errorf("time is %s", l.Time)
		}
		l.Time = time.Time{}
		lines = append(lines, l)
	}
	want := []outputLine{
		{Stream: "stdout", Service: "notes", Text: `plain "<&>"`},
		{Stream: "stdout", Service: "notes", Text: `bad \xff\\x`, Escaped: true},
		{Stream: "stdout", Service: "notes", Text: "last"},
	}
	if len(lines) != len(want) {
		t.Fatalf("lines %+v", lines)
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("line %d is %+v, expected %+v", i, lines[i], want[i])
		}
	}
}

// TestLongLinesAreCut shows no line of ours that a pipe would not take at once, and loses
// nothing.
func TestLongLinesAreCut(t *testing.T) {
	for name, text := range map[string]string{
		"ASCII": strings.Repeat("x", 100_000), "wide": strings.Repeat("日本語", 20_000), "controls": strings.Repeat("\x01\"\\", 20_000), "none": strings.Repeat("\xff", 50_000),
	} {
		for _, output := range []Output{Prefix, JSON} {
			got := framed(t, output, []byte(text+"\nnext\n"), 5000)
			whole, pieces := joined(t, output, got)
			if whole != text+"\nnext\n" {
				t.Errorf("%s: %d bytes came out as %d", name, len(text)+6, len(whole))
			}
			if most := len(text)/600 + 2; pieces > most {
				t.Errorf("%s: %d pieces, expected at most %d", name, pieces, most)
			}
		}
	}
}

// joined undoes what a framing does, and counts its lines.
func joined(t *testing.T, output Output, text string) (whole string, pieces int) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		pieces++
		if len(line) > mostWritten {
			t.Fatalf("a line of %d bytes", len(line))
		}
		piece, more := strings.CutSuffix(strings.TrimSuffix(strings.TrimPrefix(line, "notes | "), "\n"), " …")
		if output == JSON {
			var l outputLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			piece, more = l.Text, l.Partial
			if l.Escaped {
				piece = unescaped(t, piece)
			}
		}
		b.WriteString(piece)
		if !more {
			b.WriteByte('\n')
		}
	}
	return b.String(), pieces
}

// unescaped undoes escaped.
func unescaped(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i:], `\\`):
			b.WriteByte('\\')
			i++
		default:
			value, err := strconv.ParseUint(text[i+2:i+4], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteByte(byte(value))
			i += 3
		}
	}
	return b.String()
}

// FuzzLines has anything be written, in parts of any size: it comes out whole, in lines
// that are not too long.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add([]byte(strings.Repeat("日\xff\\", 3000)), uint16(977))
	f.Fuzz(func(t *testing.T, text []byte, part uint16) {
		text = text[:min(len(text), 5000)]
		want := string(text)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			want += "\n"
		}
		got := framed(t, JSON, text, int(part)+1)
		if whole, _ := joined(t, JSON, got); whole != want {
			t.Errorf("%q came out as %q", want, whole)
		}
	})
}

// FuzzStat reads what the kernel writes of a process that has chosen any name.
func FuzzStat(f *testing.F) {
	f.Add("sh")
	f.Add(") R 1 (")
	f.Fuzz(func(t *testing.T, name string) {
		one, ok := parseStat("17 (" + name + ") S 4 5 6 7")
		if want := (relative{pid: 17, parent: 4, group: 5}); !ok || one != want {
			t.Errorf("%q is read as %+v", name, one)
		}
		_, _ = parseStat(name)
	})
}

// stuck is a writer that takes one line and then nothing until it is told to.
type stuck struct {
	first   chan struct{}
	release chan struct{}
	lines   int
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.lines++; s.lines == 1 {
		close(s.first)
		<-s.release
	}
	return len(p), nil
}

// TestFloodIsHeld has an application write without end while nobody takes it: nothing
// grows, it is still supervised, and it is stopped.
func TestFloodIsHeld(t *testing.T) {
	for name, output := range map[string]Output{"prefixed": Prefix, "JSON": JSON, "passed": Pass} {
		t.Run(name, func(t *testing.T) {
			out := &stuck{first: make(chan struct{}), release: make(chan struct{})}
			r := run(t, Config{Command: sh("exec yes " + strings.Repeat("flood", 100)), Output: output, Service: "notes", Stdout: out, Stop: Stop{After: time.Second}})
			<-out.first
			before := heap()
			if err := r.Signal(os.Signal(nil)); err == nil {
				t.Error("no signal was sent")
			}
			if s := r.State(); !s.OK() {
				t.Errorf("state %+v", s)
			}
			if grown := heap() - before; grown > 1<<20 {
				t.Errorf("%d bytes are held of a flood", grown)
			}
			r.stop()
			if err := r.end(t); err != nil {
				t.Error(err)
			}
			close(out.release)
		})
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFloodIsWhole lets a flood through, and finds every line in it.
func TestFloodIsWhole(t *testing.T) {
	const many = 20_000
	r := run(t, Config{Command: sh("seq 1 " + strconv.Itoa(many)), Output: Prefix, Service: "notes"})
	_ = r.end(t) // with success
	lines := strings.Split(strings.TrimSuffix(r.out.String(), "\n"), "\n")
	if len(lines) != many {
		t.Fatalf("%d lines, expected %d", len(lines), many)
	}
	for i, line := range lines {
		if want := "notes | " + strconv.Itoa(i+1); line != want {
			t.Fatalf("line %d is %q, expected %q", i, line, want)
		}
	}
}

// TestOutputThatNobodyTakes has the reader of our output be gone: the application need not
// wait for it.
func TestOutputThatNobodyTakes(t *testing.T) {
	for name, output := range map[string]Output{"pass": Pass, "prefix": Prefix, "json": JSON} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{Command: sh("seq 1 100000; exit 3"), Output: output, Service: "notes", Stdout: closedWriter{}})
			if err := r.end(t); err == nil || !strings.Contains(err.Error(), "exit code 3") {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
