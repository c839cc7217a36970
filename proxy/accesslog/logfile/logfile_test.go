package logfile_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

const instance = "abcdefghijklmnopqrstuvwx27"

// seal makes a sealed record of the members between its time and its seal.
func seal(members string, sequence uint64, previous logfile.Hash) string {
	return fmt.Sprintf(`{"@timestamp":"2026-11-22T09:30:00.%06dZ"%s,"sallyport.log.instance":"%s","sallyport.log.sequence":%d,"sallyport.log.previous":"%s"}`,
		sequence%1e6, members, instance, sequence, previous)
}

func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReader(t *testing.T) {
	long, longer := strings.Repeat("a", logfile.MaxLine), strings.Repeat("a", 3*logfile.MaxLine)
	broken := compressed(t, strings.Repeat("0123456789 abcdef\n", 9999))
	tests := []struct {
		name string
		give []byte
		want []string
	}{
		{"nothing", nil, nil},
		{"two lines", []byte("a\nbc\n"), []string{"f:1+0 whole 1", "f:2+2 whole 2"}},
		{"compressed", compressed(t, "a\nbc\n"), []string{"f:1+0 whole 1", "f:2+2 whole 2"}},
		{"compressed in two parts", append(compressed(t, "a\nb"), compressed(t, "c\n")...), []string{"f:1+0 whole 1", "f:2+2 whole 2"}},
		{"compressed, and something behind it", append(compressed(t, "a\n"), "no gzip is this"...), []string{"f:1+0 whole 1", "f:2+2 unreadable 0"}},
		{"one byte", []byte("\x1f"), []string{"f:1+0 no line break 1"}},
		{"empty lines and a last one without its break", []byte("\n\nx"), []string{"f:1+0 whole 0", "f:2+1 whole 0", "f:3+2 no line break 1"}},
		{"binary", []byte("\x00\xff\r\n\x1f\x8b\n"), []string{"f:1+0 whole 3", "f:2+4 whole 2"}},
		{"as long as may be", []byte(long + "\nx\n"), []string{"f:1+0 whole 1048576", "f:2+1048577 whole 1"}},
		{"as long as may be, without its break", []byte(long), []string{"f:1+0 no line break 1048576"}},
		{"one byte too long", []byte(long + "b\nx\n"), []string{"f:1+0 too long 1048576", "f:2+1048578 whole 1"}},
		{"much too long", []byte(longer + "\nx"), []string{"f:1+0 too long 1048576", "f:2+3145729 no line break 1"}},
		{"much too long, and nothing behind it", []byte(longer), []string{"f:1+0 too long 1048576"}},
		{"compression that breaks off", broken[:len(broken)/2], []string{"unreadable at the end"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := logfile.New(bytes.NewReader(test.give), "f", nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			last := logfile.Line{}
			for {
				line, err := r.Next()
				if err != nil {
					break
				}
				last = line
				got = append(got, fmt.Sprintf("%v+%d %v %d", line.Place, line.Offset, line.Fault, len(line.Text)))
			}
			if len(test.want) == 1 && test.want[0] == "unreadable at the end" {
				if last.Fault != logfile.Unreadable || !errors.Is(last.Cause, io.ErrUnexpectedEOF) {
					t.Errorf("last line: %v (%v)", last.Fault, last.Cause)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) || r.Close() != nil {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	whole := seal(`,"event.action":"access","user.name":"a\\"`, 7, sha256.Sum256([]byte("6")))
	big := seal(``, 1<<64-1, logfile.Hash{})
	with := func(part, by string) string { return strings.Replace(whole, part, by, 1) }
	tests := []struct {
		name, give string
		kind       logfile.Kind
		json       string
	}{
		{"sealed", whole, logfile.Sealed, whole},
		{"sealed, the largest number", big, logfile.Sealed, big},
		{"sealed, and a carriage return", whole + "\r", logfile.Sealed, whole},
		{"syslog", "<134>1 2026-11-22T09:30:00Z h sallyport 1 - - " + whole, logfile.Prefixed, whole},
		{"behind a torn one", whole[:99] + whole, logfile.Prefixed, whole},
		{"behind a whole one", whole + whole, logfile.Prefixed, whole},
		{"behind two torn ones", whole[:99] + whole[:20] + whole, logfile.Prefixed, whole},
		{"not sealed", `{"@timestamp":"2026-11-22T09:30:00.000000Z","event.action":"access"}`, logfile.Unsealed, ""},
		{"torn", whole[:len(whole)-1], logfile.Torn, ""},
		{"torn early", whole[:5], logfile.Torn, ""},
		{"blank", "  \r", logfile.Blank, ""},
		{"other JSON", `{"a":1}`, logfile.Foreign, ""},
		{"binary", "\x00\xff", logfile.Foreign, ""},
		{"syslog, torn", "<134>1 - " + whole[:99], logfile.Foreign, ""},
		{"number zero", with(":7,", ":0,"), logfile.Unsealed, ""},
		{"number with a zero before it", with(":7,", ":07,"), logfile.Torn, ""},
		{"number that is too large", with(":7,", ":18446744073709551616,"), logfile.Unsealed, ""},
		{"number without end", with(":7,", ":77777777777777777777777777777,"), logfile.Unsealed, ""},
		{"instance of other letters", with("abc", "ABC"), logfile.Unsealed, ""},
		{"instance that is too short", with("abc", "ab"), logfile.Unsealed, ""},
		{"order of the members", with("sallyport.log.sequence", "sallyport.log.Sequence"), logfile.Unsealed, ""},
		{"a value that looks like a seal", strings.TrimSuffix(whole, `"}`) + `x"}`, logfile.Unsealed, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, kind := logfile.Parse([]byte(test.give))
			if kind != test.kind || string(r.JSON) != test.json {
				t.Fatalf("%v: %s", kind, r.JSON)
			}
			if kind == logfile.Sealed && r.Hash() != sha256.Sum256([]byte(test.json)) {
				t.Error("hash is not that of the line")
			}
		})
	}
	r, _ := logfile.Parse([]byte(whole))
	if r.Instance.String() != instance || r.Sequence != 7 || r.Previous != sha256.Sum256([]byte("6")) || r.Time().Year() != 2026 || r.Action() != "access" {
		t.Errorf("record: %+v", r)
	}
}

func TestMembers(t *testing.T) {
	const line = `{"@timestamp":"2026-11-22T09:30:00.000001Z","a":"x\",\"b\":\"y","b":"é\\","c":[1,"]",{"d":2}],"n":-12,"o":{"b":"inner"},"t":true}`
	var got []string
	for name, value := range logfile.Members([]byte(line)) {
		got = append(got, name+"="+string(value))
	}
	want := []string{`@timestamp="2026-11-22T09:30:00.000001Z"`, `a="x\",\"b\":\"y"`, `b="é\\"`, `c=[1,"]",{"d":2}]`, "n=-12", `o={"b":"inner"}`, "t=true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	r := logfile.Record{JSON: []byte(line)}
	if a, b, n := logfile.Text(r.Member("a")), logfile.Text(r.Member("b")), logfile.Number(r.Member("n")); a != `x","b":"y` || b != `é\` || n != -12 {
		t.Errorf("a = %q, b = %q, n = %d", a, b, n)
	}
	if v := r.Member("none"); v != nil || logfile.Text(v) != "" || logfile.Number(v) != 0 {
		t.Errorf("a member that is not there: %q", v)
	}
	decoded, err := r.Decode()
	if err != nil || decoded["n"] != json.Number("-12") {
		t.Errorf("Decode = %v, %v", decoded, err)
	}
	for _, bad := range []string{``, `null`, `[]`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":1} {}`, `{"a":1`, `{"a" :1}`, `{"a":1}x`} {
		if got, err := logfile.Decode([]byte(bad)); !errors.Is(err, logfile.ErrMalformed) {
			t.Errorf("Decode(%s) = %v, %v", bad, got, err)
		}
	}
}

func TestOrder(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	other := strings.NewReplacer(instance, "other2other2other2other2ot")
	empty, live := file("empty", "\nno record\n"), file("live", seal("", 30, logfile.Hash{})+"\n")
	old := file("old.gz", string(compressed(t, "x\n"+seal("", 10, logfile.Hash{})+"\n")))
	late := strings.Replace(seal("", 20, logfile.Hash{}), "2026", "2025", 1) // a request that took a year
	middle := file("middle", late+"\n")
	twin := file("twin", other.Replace(seal("", 15, logfile.Hash{}))+"\n")
	got, err := logfile.Order([]string{live, logfile.Stdin, empty, twin, middle, old})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{old, middle, twin, live, logfile.Stdin, empty}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if got, err := logfile.Order([]string{filepath.Join(dir, "none"), live}); !errors.Is(err, os.ErrNotExist) || len(got) != 2 {
		t.Errorf("a file that is not there: %v, %v", got, err)
	}
}

func TestLines(t *testing.T) {
	dir := t.TempDir()
	one, none, two := filepath.Join(dir, "one"), filepath.Join(dir, "none"), filepath.Join(dir, "two")
	for name, text := range map[string]string{one: "a\nb\n", two: "c"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line, err := range logfile.Lines(t.Context(), one, none, two) {
		got = append(got, fmt.Sprintf("%s:%d %s %t", filepath.Base(line.File), line.Line, line.Text, errors.Is(err, os.ErrNotExist)))
	}
	if diff := cmp.Diff([]string{"one:1 a false", "one:2 b false", "none:0  true", "two:1 c false"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for _, err := range logfile.Lines(ctx, one, two) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d lines after the end of the context", n)
	}
}

// FuzzReader: whatever a file holds, its lines are all there is in it, each in its
// place, and nothing panics.
func FuzzReader(f *testing.F) {
	whole := seal(`,"event.action":"access","user.name":"a\\"`, 7, sha256.Sum256([]byte("6")))
	f.Add([]byte(whole + "\n" + whole[:50]))
	f.Add([]byte("<134>1 - - - - - " + whole + "\n\x00\n{\"@timestamp\":\""))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := logfile.New(bytes.NewReader(content), "f", nil)
		if err != nil {
			return // the head of a compression that is none
		}
		plain := !bytes.HasPrefix(content, []byte("\x1f\x8b"))
		var read int64
		for {
			line, err := r.Next()
			if err != nil {
				break
			}
			if plain && !bytes.HasPrefix(content[line.Offset:], line.Text) {
				t.Fatalf("line %v is not at its offset %d", line.Place, line.Offset)
			}
			read += int64(len(line.Text))
			record, kind := logfile.Parse(line.Text)
			if sealed := kind == logfile.Sealed || kind == logfile.Prefixed; sealed != (record.JSON != nil) || sealed && record.Sequence == 0 {
				t.Fatalf("%v: %+v", kind, record)
			}
			_, _ = logfile.Decode(line.Text)
			_, _, _ = record.Member("user.name"), record.Time(), record.Action()
		}
		if plain && read != int64(len(content)-bytes.Count(content, []byte("\n"))) {
			t.Fatalf("%d bytes of %d", read, len(content))
		}
	})
}

// BenchmarkParse is what a line costs whoever reads many.
func BenchmarkParse(b *testing.B) {
	line := seal(`,"event.action":"access","url.path":"`+strings.Repeat("/a/path", 60)+`"`, 7, logfile.Hash{})
	file := strings.Repeat(line+"\n", 1000)
	b.SetBytes(int64(len(line) + 1))
	b.ReportAllocs()
	for n := 0; n < b.N; {
		r, err := logfile.New(strings.NewReader(file), "f", nil)
		if err != nil {
			b.Fatal(err)
		}
		for ; n < b.N; n++ {
			line, err := r.Next()
			if err != nil {
				break
			}
			if r, kind := logfile.Parse(line.Text); kind != logfile.Sealed || r.Action() != "access" || r.RawTime() == nil {
				b.Fatal(kind)
			}
		}
	}
}
