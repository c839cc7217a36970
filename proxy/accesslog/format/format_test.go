package format

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// records are whole lines of every kind, as the log writes them.
func records(tb testing.TB) []string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "kinds.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// sealed is a line with the seal of the log.
func sealed(line string) string {
	return strings.TrimSuffix(line, "}") + `,"sallyport.log.instance":"2f7kq3zw4mxa6bcd5e2f7kq3zw","sallyport.log.sequence":7,"sallyport.log.previous":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}`
}

// TestEveryKindInEveryFormat compares whole lines with those in testdata.
func TestEveryKindInEveryFormat(t *testing.T) {
	for name, suffix := range map[string]string{NameOCSF: "ocsf.jsonl", NameCombined: "combined.log"} {
		t.Run(name, func(t *testing.T) {
			convert, err := Named(name)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, line := range records(t) {
				if out, ok := convert(nil, []byte(sealed(line))); ok {
					got.Write(out)
					got.WriteByte('\n')
				}
			}
			golden := filepath.Join("testdata", "kinds."+suffix)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	line := []byte(records(t)[0])
	for _, name := range []string{NameECS, NameOCSF, NameCombined} {
		convert, err := Named(name)
		if err != nil {
			t.Fatal(err)
		}
		if out, ok := convert([]byte("before "), line); !ok || !bytes.HasPrefix(out, []byte("before ")) {
			t.Errorf("%s: %q, %t", name, out, ok)
		}
	}
	if out, _ := ECS(nil, line); !bytes.Equal(out, line) {
		t.Error("a native line changes on its way")
	}
	if _, err := Named("cef"); err == nil || !strings.Contains(err.Error(), "ocsf") {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestWhatIsNoRecordIsNoLine(t *testing.T) {
	for _, line := range []string{"", "{", "{}", "null", "[1]", `{"event.action":"access"}`, "{\"event.action\":\"access\",\"@timestamp\":\"x\"}\n{}", `{"event.action":"access","@timestamp":"x"`} {
		for name, convert := range map[string]Func{NameOCSF: OCSF, NameCombined: Combined} {
			if out, ok := convert([]byte("x"), []byte(line)); ok || string(out) != "x" {
				t.Errorf("%s of %q: %q, %t", name, line, out, ok)
			}
		}
	}
}

func TestEveryMethodHasItsActivity(t *testing.T) {
	for method, want := range map[string]activity{
		"CONNECT": {1, "Connect"}, "DELETE": {2, "Delete"}, "GET": {3, "Get"}, "HEAD": {4, "Head"}, "OPTIONS": {5, "Options"}, "POST": {6, "Post"},
		"PUT": {7, "Put"}, "TRACE": {8, "Trace"}, "PATCH": {99, "Other"}, "PROPFIND": {99, "Other"}, "": {99, "Other"},
	} {
		if got := methodOf(method); got != want {
			t.Errorf("%q is %v, want %v", method, got, want)
		}
	}
}

// TestNothingIsLost: what a record says stands in its event, under its own name if nowhere
// else.
func TestNothingIsLost(t *testing.T) {
	for _, line := range records(t) {
		out, ok := OCSF(nil, []byte(sealed(line)))
		if !ok {
			t.Fatalf("no event of %s", line)
		}
		var native map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &native); err != nil {
			t.Fatal(err)
		}
		for name, value := range native {
			if name != "ecs.version" && name != "event.outcome" && value[0] == '"' && !bytes.Contains(out, value) {
				t.Errorf("%s, %s, is not in %s", name, value, out)
			}
		}
	}
}

// combinedLine is what a parser of the format takes it for.
var combinedLine = regexp.MustCompile(`^(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}|-) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"$`)

func TestCombinedKeepsEveryValueInItsPlace(t *testing.T) {
	tests := []struct {
		name string
		give accesslog.Record
		want string
	}{
		{"a user with a space and a bracket", accesslog.Record{User: `al ice [x] "y"`, Path: "/"}, `- - al\x20ice\x20[x]\x20\"y\" [01/Jan/0001:00:00:00 +0000] "GET / HTTP/" - - "-" "-"`},
		{"a user who is called -", accesslog.Record{User: "-", Path: "/"}, `- - \x2d [01/Jan/0001:00:00:00 +0000] "GET / HTTP/" - - "-" "-"`},
		{"a path that would end the request", accesslog.Record{Path: `/a" 200 1 "x`}, `- - - [01/Jan/0001:00:00:00 +0000] "GET /a%22%20200%201%20%22x HTTP/" - - "-" "-"`},
		{"a line break", accesslog.Record{Path: "/a\nb", UserAgent: "x\r\ny"}, `- - - [01/Jan/0001:00:00:00 +0000] "GET /a%0Ab HTTP/" - - "-" "x\x0d\x0ay"`},
		{"a user agent with a quotation mark", accesslog.Record{Path: "/", UserAgent: `a" "b\`}, `- - - [01/Jan/0001:00:00:00 +0000] "GET / HTTP/" - - "-" "a\" \"b\\"`},
		{"letters of the world", accesslog.Record{Path: "/ü", UserAgent: "ü", Protocol: "2", Status: 200, BytesOut: 5}, `- - - [01/Jan/0001:00:00:00 +0000] "GET /%C3%BC HTTP/2.0" 200 5 "-" "\xc3\xbc"`},
		{"invalid UTF-8 in a path", accesslog.Record{Path: "/\xfc%"}, `- - - [01/Jan/0001:00:00:00 +0000] "GET /%FC%25 HTTP/" - - "-" "-"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.give.Action, test.give.Method = accesslog.ActionAccess, "GET"
			got, ok := Combined(nil, bytes.TrimSuffix(test.give.AppendJSON(nil, "x"), []byte("\n")))
			if diff := cmp.Diff(test.want, string(got)); diff != "" || !ok {
				t.Errorf("%t (-want +got):\n%s", ok, diff)
			}
			if !combinedLine.Match(got) {
				t.Errorf("not of the format: %s", got)
			}
		})
	}
}

// FuzzFormats: whatever clients send, and whatever a file holds, is one line of each format
// or none, in which every value is in its place.
func FuzzFormats(f *testing.F) {
	f.Add("/a", "alice", "agent", "GET", []byte(`{"event.action":"x","@timestamp":"y"}`))
	f.Add("/\n\" 200", "al ice", "\u2028\u202e\x00\xff", "POST", []byte(sealed(records(f)[0])))
	f.Add("\"}\n{", `","class_uid":1,"x":"`, `\`, `"`, []byte("{\"@timestamp\":\"\\u000a\",\"event.action\":{\"a\":[1]}}"))
	f.Fuzz(func(t *testing.T, path, user, agent, method string, raw []byte) {
		r := accesslog.Record{Action: accesslog.ActionAccess, Decision: "deny", Path: path, User: user, UserAgent: agent, Method: method, Host: path, Reason: user, Rule: agent, Cause: path, ClientAddress: user}
		native := bytes.TrimSuffix(r.AppendJSON(nil, "gateway"), []byte("\n"))
		for _, line := range [][]byte{native, []byte(sealed(string(native))), raw} {
			checkOCSF(t, line)
			checkCombined(t, line)
		}
		if out, ok := OCSF(nil, native); !ok || !bytes.Contains(out, []byte(`"class_uid":4002,`)) {
			t.Fatalf("no event: %s", native)
		}
		if _, ok := Combined(nil, native); !ok {
			t.Fatalf("no line: %s", native)
		}
	})
}

func checkOCSF(t *testing.T, line []byte) {
	t.Helper()
	out, ok := OCSF(nil, line)
	if !ok {
		return
	}
	if !json.Valid(out) || bytes.ContainsAny(out, "\n\r") {
		t.Fatalf("no event: %q of %q", out, line)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	if key, err := firstKey(decoder); err != nil || key != "class_uid" {
		t.Fatalf("first member %q (%v) of %s", key, err, out)
	}
}

func firstKey(decoder *json.Decoder) (string, error) {
	if _, err := decoder.Token(); err != nil {
		return "", err
	}
	key, err := decoder.Token()
	text, _ := key.(string)
	return text, err
}

func checkCombined(t *testing.T, line []byte) {
	t.Helper()
	out, ok := Combined(nil, line)
	if !ok {
		return
	}
	for _, c := range string(out) {
		if c >= utf8.RuneSelf || unicode.IsControl(c) {
			t.Fatalf("%q in %q", c, out)
		}
	}
	if !combinedLine.Match(out) {
		t.Fatalf("not of the format: %s of %q", out, strconv.Quote(string(line)))
	}
}

func BenchmarkFormats(b *testing.B) {
	line := []byte(sealed(records(b)[0]))
	for name, convert := range map[string]Func{NameOCSF: OCSF, NameCombined: Combined} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 8192)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = convert(buf[:0], line)
			}
		})
	}
}
