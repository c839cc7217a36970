package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// full is a record in which every field is set.
func full() Record {
	return Record{
		Time:     time.Date(2026, 11, 22, 10, 30, 0, 1500, time.FixedZone("CET", 3600)),
		Duration: 12345 * time.Microsecond, RequestID: "abcdefghij234567",
		Action: ActionAccess, Decision: "allow", Reason: "group", Rule: "group:engineers",
		User: "alice@example.com", Groups: []string{"engineers", "admins"}, SessionID: "0123456789abcdef", IdP: "https://idp.example.org/metadata",
		Route: "headers", Method: "GET", Host: "headers.example.com", Path: "/a b/ü", Query: "page=2", Protocol: "2",
		Status: 200, BytesIn: 17, BytesOut: 4096, Upstream: "10.0.0.7:8443", UpstreamTime: 9 * time.Millisecond,
		ClientAddress: "192.0.2.7", ClientPort: "51234", TLSVersion: "1.3", UserAgent: `Mozilla/5.0 "x"`, Cause: "context canceled",
	}
}

func TestWholeRecord(t *testing.T) {
	const want = `{"@timestamp":"2026-11-22T09:30:00.000001Z","ecs.version":"8.17.0","event.kind":"event","event.category":["web"],` +
		`"event.type":["access"],"event.action":"access","event.outcome":"success","service.name":"gateway","http.request.id":"abcdefghij234567",` +
		`"sallyport.decision":"allow","event.reason":"group","rule.name":"group:engineers","user.name":"alice@example.com",` +
		`"user.roles":["engineers","admins"],"sallyport.session.id":"0123456789abcdef","sallyport.idp":"https://idp.example.org/metadata",` +
		`"sallyport.route":"headers","http.request.method":"GET","url.domain":"headers.example.com","url.path":"/a b/ü","url.query":"page=2",` +
		`"http.version":"2","client.address":"192.0.2.7","client.port":51234,"tls.version":"1.3","user_agent.original":"Mozilla/5.0 \"x\"",` +
		`"http.response.status_code":200,"http.request.body.bytes":17,"http.response.body.bytes":4096,"event.duration":12345000,` +
		`"server.address":"10.0.0.7:8443","sallyport.upstream.duration":9000000,"error.message":"context canceled"}` + "\n"
	r := full()
	if diff := cmp.Diff(want, string(r.AppendJSON(nil, "gateway"))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestEmptyFieldsAreLeftOut(t *testing.T) {
	const want = `{"@timestamp":"0001-01-01T00:00:00.000000Z","ecs.version":"8.17.0","event.kind":"event","event.category":["web"],` +
		`"event.type":["access"],"event.action":"","event.outcome":"unknown","service.name":"sidecar","http.request.id":"","sallyport.decision":"",` +
		`"http.request.method":"","url.domain":"","url.path":"","client.address":"","http.response.status_code":0,` +
		`"http.request.body.bytes":0,"http.response.body.bytes":0,"event.duration":0}` + "\n"
	var r Record
	if diff := cmp.Diff(want, string(r.AppendJSON(nil, "sidecar"))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// TestEveryFieldIsWritten sets each field of Record to a value of its own, and
// looks for it: a field that is added and forgotten in the encoder fails here.
func TestEveryFieldIsWritten(t *testing.T) {
	r := full()
	fields := reflect.ValueOf(&r).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		if name == "Event" || !fields.Field(i).CanSet() { // another kind of line, and what is never written
			continue
		}
		before := reflect.ValueOf(fields.Field(i).Interface())
		var mark string
		switch v := fields.Field(i).Addr().Interface().(type) {
		case *string:
			mark = "54321"
			*v = mark
		case *Action:
			mark = "marked"
			*v = Action(mark)
		case *Stream:
			mark = "marked"
			*v = Stream(mark)
		case *[]string:
			mark = "marked-group"
			*v = []string{"x", mark}
		case *int:
			mark = "54321"
			*v = 54321
		case *int64:
			mark = "54321"
			*v = 54321
		case *time.Duration:
			mark = "987654321"
			*v = 987654321
		case *time.Time:
			mark = "2031-05-06T07:08:09.123456Z"
			*v = time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.UTC)
		default:
			t.Fatalf("field %s has type %T, which this test does not know", name, v)
		}
		if line := string(r.AppendJSON(nil, "gateway")); !strings.Contains(line, mark) {
			t.Errorf("field %s is not in %s", name, line)
		}
		fields.Field(i).Set(before)
	}
}

func TestCategoriesAndOutcome(t *testing.T) {
	tests := []struct {
		action   Action
		decision string
		status   int
		want     string
	}{
		{ActionAccess, "allow", 200, `["web"] success`},
		{ActionAccess, "allow", 502, `["web"] failure`},
		{ActionAccess, "deny", 200, `["web"] failure`},
		{ActionSignInBegin, "signin", 303, `["web","authentication"] unknown`},
		{ActionSignIn, "deny", 403, `["web","authentication"] failure`},
		{ActionTicket, "allow", 303, `["web","session"] success`},
		{ActionSignOut, "allow", 303, `["web","session"] success`},
		{ActionPortal, "allow", 200, `["web"] success`},
		{ActionFormKept, "signin", 401, `["web"] failure`},
		{ActionSignInBegin, "step_up", 303, `["web","authentication"] unknown`},
		{ActionForm, "allow", 200, `["web"] success`},
		{ActionRefused, "deny", 400, `["web"] failure`},
	}
	for _, test := range tests {
		r := Record{Action: test.action, Decision: test.decision, Status: test.status}
		var line struct {
			Category json.RawMessage `json:"event.category"`
			Outcome  string          `json:"event.outcome"`
		}
		if err := json.Unmarshal(r.AppendJSON(nil, "gateway"), &line); err != nil {
			t.Fatal(err)
		}
		if got := string(line.Category) + " " + line.Outcome; got != test.want {
			t.Errorf("%s, %s, %d: %s, want %s", test.action, test.decision, test.status, got, test.want)
		}
	}
}

func TestNoValueForgesALine(t *testing.T) {
	tests := []struct{ name, give, want string }{
		{"plain", "/index.html?a=<b>&c='d'", `"/index.html?a=<b>&c='d'"`},
		{"letters and marks of the world", "Jürgen 東京 עברית 😀 e\u0301", "\"Jürgen 東京 עברית 😀 e\u0301\""},
		{"line break", "a\nb\r\nc", `"a\u000ab\u000d\u000ac"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"forged member", `x","user.name":"root`, `"x\",\"user.name\":\"root"`},
		{"NUL, escape sequence, delete", "\x00\x1b[31m\x7f", `"\u0000\u001b[31m\u007f"`},
		{"C1 controls", "\u0085\u009b31m", `"\u0085\u009b31m"`},
		{"line and paragraph separators", "\u2028\u2029", `"\u2028\u2029"`},
		{"bidi override and isolate", "\u202egpj.exe\u2066", `"\u202egpj.exe\u2066"`},
		{"zero width and byte order mark", "ro\u200bot\u200d\ufeff", `"ro\u200bot\u200d\ufeff"`},
		{"soft hyphen and no-break space", "a\u00adb\u00a0c", `"a\u00adb\u00a0c"`},
		{"fillers that draw nothing", "\u3164\u115f\u2800\u034f\ufe0f", `"\u3164\u115f\u2800\u034f\ufe0f"`},
		{"private use", "\ue000\U000f0000", `"\ue000\udb80\udc00"`},
		{"astral format characters", "\U000e0041\U0001d173", `"\udb40\udc41\ud834\udd73"`},
		{"invalid UTF-8", "a\xffb\xc3", `"a\ufffdb\ufffd"`},
		{"encoded surrogate", "\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`},
		{"overlong slash", "\xc0\xaf", `"\ufffd\ufffd"`},
		{"a replacement character that was sent", "\ufffd", `"` + "\ufffd" + `"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := string(appendString(nil, test.give)); got != test.want {
				t.Errorf("appendString(%q) = %s, want %s", test.give, got, test.want)
			}
		})
	}
}

// TestPathsThatDifferLookDifferent: bytes that are no UTF-8 are what they are, and nothing
// else looks like them.
func TestPathsThatDifferLookDifferent(t *testing.T) {
	seen := map[string]string{}
	for give, want := range map[string]string{
		"/\xfc": `"/%FC"`, "/\xfd": `"/%FD"`, "/%FC": `"/%25FC"`, "/%25FC": `"/%2525FC"`, "/ü": `"/ü"`, "/\ufffd": "\"/\ufffd\"", "/\xc3": `"/%C3"`,
		"/a\xffb\n": `"/a%FFb\u000a"`, "/100%": `"/100%25"`,
	} {
		got := string(appendText(nil, give, maxValue, true))
		if got != want {
			t.Errorf("path %q = %s, want %s", give, got, want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%q looks like %q: %s", give, other, got)
		}
		seen[got] = give
	}
}

func TestLongValuesAreCutBetweenCharacters(t *testing.T) {
	ascii := strings.Repeat("a", maxValue)
	tests := []struct{ name, give, want string }{
		{"just fits", ascii, ascii},
		{"one byte too long", ascii + "b", ascii + "…"},
		{"a megabyte", strings.Repeat("a", 1<<20), ascii + "…"},
		{"two-byte character across the limit", ascii[1:] + "ü", ascii[1:] + "…"},
		{"four-byte character across the limit", ascii[3:] + "😀", ascii[3:] + "…"},
		{"a megabyte of three-byte characters", strings.Repeat("東", 1<<20/3), strings.Repeat("東", maxValue/3) + "…"},
		{"a megabyte of stray bytes", strings.Repeat("\x80", 1<<20), strings.Repeat("\ufffd", maxValue/6) + "…"},
		{"what is only too long as it is written", strings.Repeat("\x1b", maxValue/6+1), strings.Repeat("\x1b", maxValue/6) + "…"},
		{"an escape across the limit", ascii[5:] + "\x1bb", ascii[5:] + "…"},
		{"an escape in two halves across the limit", ascii[11:] + "\U000e0001", ascii[11:] + "…"},
		{"a quotation mark across the limit", ascii[1:] + `"`, ascii[1:] + "…"},
		{"an escape that just fits", ascii[6:] + "\x1b", ascii[6:] + "\x1b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got string
			if err := json.Unmarshal(appendString(nil, test.give), &got); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("%d bytes, ending in %q, want %d bytes, ending in %q", len(got), got[len(got)-9:], len(test.want), test.want[len(test.want)-9:])
			}
		})
	}
}

func TestConcurrentWritersNeverInterleave(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	var wg sync.WaitGroup
	var logs []*Log
	const writers, each = 8, 50
	for i := range writers {
		f, err := Open(name) // half of them as processes of their own would
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		l := New(f, "gateway")
		logs = append(logs, l)
		for range 2 {
			wg.Go(func() {
				r := full()
				r.User = strings.Repeat(fmt.Sprint(i), maxValue)
				for range each {
					if err := l.Write(&r); err != nil || l.Err() != nil {
						t.Errorf("Write: %v, %v", err, l.Err())
					}
				}
			})
		}
	}
	wg.Wait()
	for _, l := range logs {
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	written, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(written, []byte("\n")), []byte("\n"))
	if len(lines) != 2*writers*each {
		t.Errorf("%d lines, want %d", len(lines), 2*writers*each)
	}
	for _, line := range lines {
		if !json.Valid(line) {
			t.Fatalf("line is no JSON: %.200s", line)
		}
	}
}

func TestOpen(t *testing.T) {
	tests := []struct {
		name         string
		before, want string
	}{
		{name: "new file", want: "new\n"},
		{name: "whole lines", before: "old\n", want: "old\nnew\n"},
		{name: "a line that a crash left unfinished", before: "old\nto", want: "old\nto\nnew\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "access.log")
			if test.before != "" {
				if err := os.WriteFile(name, []byte(test.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var w *os.File
			synctest.Test(t, func(t *testing.T) { // a line that stays unfinished is waited for
				var err error
				if w, err = Open(name); err != nil {
					t.Fatalf("Open: %v", err)
				}
			})
			if _, err := io.WriteString(w, "new\n"); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil || string(got) != test.want {
				t.Errorf("file holds %q (%v), want %q", got, err, test.want)
			}
			info, err := os.Stat(name)
			if err != nil || info.Mode().Perm()&0o137 != 0 {
				t.Errorf("mode %v (%v): nobody but the owner may write, and others not read", info.Mode(), err)
			}
		})
	}
}

// TestOpenWaitsForALineThatIsBeingWritten: what another process writes is seen in
// parts. Ending that line would leave an empty one behind it.
func TestOpenWaitsForALineThatIsBeingWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	other, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteString("old\nhalf of a "); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		go func() {
			<-time.After(looks * lookAgain / 2)
			_, _ = other.WriteString("line\n") // the test finds out
		}()
		w, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "new\n"); err != nil {
			t.Error(err)
		}
		_ = w.Close()
	})
	if got, err := os.ReadFile(name); err != nil || string(got) != "old\nhalf of a line\nnew\n" {
		t.Errorf("file holds %q (%v)", got, err)
	}
}

func TestWhatIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	precious, link := filepath.Join(dir, "precious"), filepath.Join(dir, "access.log")
	if err := errors.Join(os.WriteFile(precious, nil, 0o600), os.Symlink(precious, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); !errors.Is(err, syscall.ELOOP) || !strings.Contains(err.Error(), "is a symbolic link") {
		t.Errorf("Open of a symbolic link = %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "access.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open in a directory that is not there = %v", err)
	}
}

// FuzzAppendJSON: whatever clients send, a record is one line of valid JSON in
// which nothing acts on whoever looks at it, and says the same to a parser.
func FuzzAppendJSON(f *testing.F) {
	f.Add("/a", "alice", "g", "51234")
	f.Add("\n\u2028\u202e\x00\xff", `"\`, strings.Repeat("\xf0\x9f\x98", 900), "-1")
	f.Add(strings.Repeat("a", maxValue-1)+"ü", "\U000e0001", "\xed\xa0\x80", "99999")
	f.Fuzz(func(t *testing.T, path, user, group, port string) {
		r := Record{Path: path, User: user, Groups: []string{group, group}, ClientPort: port, UserAgent: user, Cause: path, Rule: group}
		line := r.AppendJSON(nil, "gateway")
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("not one line: %q", line)
		}
		if !utf8.Valid(line) {
			t.Fatalf("invalid UTF-8: %q", line)
		}
		for _, c := range string(line[:len(line)-1]) {
			if unicode.In(c, unicode.C, unicode.Zl, unicode.Zp) {
				t.Fatalf("raw %U in %q", c, line)
			}
		}
		var got struct {
			Path string `json:"url.path"`
			User string `json:"user.name"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if len(line) > longestLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
		const escaped = 6 // bytes for one
		if len(user)*escaped <= maxLate && utf8.ValidString(user) && user != got.User {
			t.Fatalf("%q came back as %q", user, got.User)
		}
		if back, err := url.PathUnescape(got.Path); len(path)*escaped <= maxLate && (err != nil || path != back) {
			t.Fatalf("%q came back as %q (%v)", path, got.Path, err)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	r := full()
	r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendJSON(buf[:0], "gateway")
	}
}
