package accesslog

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of the documentation anew")

const page = "../../docs/access-log.md"

// TestPageIsGenerated holds the tables of docs/access-log.md to [Kinds] and [Fields].
func TestPageIsGenerated(t *testing.T) {
	before, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for _, part := range []struct{ name, text string }{
		{"kinds", tableOfKinds(t)}, {"fields", tableOfFields()}, {"examples", exampleLines()},
	} {
		after = replacePart(t, after, part.name, part.text)
	}
	if *update && !bytes.Equal(before, after) {
		if err := os.WriteFile(page, after, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(after), string(before)); diff != "" {
		t.Errorf("docs/access-log.md is not what is generated; go test ./proxy/accesslog -update writes it (-want +got):\n%s", diff)
	}
}

// replacePart puts text between the two comments of that name.
func replacePart(t *testing.T, page []byte, name, text string) []byte {
	t.Helper()
	begin, end := "<!-- generated: "+name+" -->\n", "<!-- end of "+name+" -->\n"
	head, rest, ok := strings.Cut(string(page), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("docs/access-log.md has no place for %s", name)
	}
	return []byte(head + begin + text + end + tail)
}

// cell is text as it stands in a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func tableOfKinds(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| `event.action` | category, type | meaning | fields beside those of every line |\n|---|---|---|---|\n")
	for _, k := range Kinds() {
		types := k.types
		if k.Action == ActionAccess {
			types += " or " + typeAccessEnd
		}
		own := "those of requests"
		switch {
		case k.IsEvent:
			own = fieldsOf(t, k.Action)
		case k.IsLog:
			own = "those of the log"
		}
		fmt.Fprintf(&b, "| `%s` | `%s`, `%s` | %s | %s |\n", k.Action, k.category, types, cell(k.Meaning), own)
	}
	return b.String()
}

// fieldsOf are the fields of the examples of an event.
func fieldsOf(t *testing.T, a Action) string {
	var names []string
	for _, r := range examples() {
		if r.Action != a {
			continue
		}
		for _, name := range keysOf(t, r.AppendJSON(nil, "x")) {
			if !slices.Contains(names, "`"+name+"`") && !slices.Contains(always(), name) {
				names = append(names, "`"+name+"`")
			}
		}
	}
	return strings.Join(names, ", ")
}

// always are the fields of every line.
func always() []string {
	return []string{"@timestamp", "ecs.version", "event.kind", "event.category", "event.type", "event.action", "event.outcome", "service.name"}
}

func tableOfFields() string {
	var b strings.Builder
	b.WriteString("| field | type | on lines of | example | meaning |\n|---|---|---|---|---|\n")
	for _, f := range Fields() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", f.Name, f.Type, f.Scope, cell(f.Example), cell(f.Meaning))
	}
	return b.String()
}

func exampleLines() string {
	var b strings.Builder
	b.WriteString("```json\n")
	for _, r := range examples() {
		b.Write(r.AppendJSON(nil, "sallyport-gateway"))
	}
	b.WriteString("```\n")
	return b.String()
}

// keysOf are the members of a line, in their order.
func keysOf(t *testing.T, line []byte) []string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(line))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for decoder.More() {
		key, err := decoder.Token()
		var value json.RawMessage
		if err != nil || decoder.Decode(&value) != nil {
			t.Fatalf("line is no JSON: %v: %s", err, line)
		}
		keys = append(keys, fmt.Sprint(key))
	}
	return keys
}

// TestEveryFieldIsDescribed holds [Fields] to what is written, both ways, with the
// order, the types and the scopes.
func TestEveryFieldIsDescribed(t *testing.T) {
	request := full()
	fillValue(reflect.ValueOf(&request).Elem())
	request.Event, request.ClientPort = nil, "1"
	event := Record{Action: ActionConfig, Event: new(Event)}
	fillValue(reflect.ValueOf(event.Event).Elem())
	written := map[string]map[Scope]any{}
	for scope, r := range map[Scope]*Record{OfRequests: &request, OfEvents: &event} {
		line := r.AppendJSON(nil, "x")
		var values map[string]any
		if err := json.Unmarshal(line, &values); err != nil {
			t.Fatal(err)
		}
		for name, value := range values {
			if written[name] == nil {
				written[name] = map[Scope]any{}
			}
			written[name][scope] = value
		}
	}
	for _, name := range keysOfLog(t) {
		if !slices.Contains(always(), name) && written[name] == nil {
			written[name] = map[Scope]any{}
		}
	}
	for _, f := range Fields() {
		values := written[f.Name]
		delete(written, f.Name)
		if f.Scope == OfLog || strings.HasPrefix(f.Name, "sallyport.log.") {
			continue
		}
		_, request := values[OfRequests]
		_, event := values[OfEvents]
		if want := f.Scope != OfEvents; request != want {
			t.Errorf("%s is on lines of requests: %t, want %t", f.Name, request, want)
		}
		if want := f.Scope != OfRequests; event != want {
			t.Errorf("%s is on lines of events: %t, want %t", f.Name, event, want)
		}
		var example any
		if err := json.Unmarshal([]byte(f.Example), &example); err != nil {
			t.Errorf("%s: example %s: %v", f.Name, f.Example, err)
		}
		for _, value := range values {
			if got, want := fmt.Sprintf("%T", value), fmt.Sprintf("%T", example); got != want {
				t.Errorf("%s is %s on a line and %s in its example", f.Name, got, want)
			}
		}
	}
	for name := range written {
		t.Errorf("Fields does not describe %s", name)
	}
}

// keysOfLog are the members of what the log says of itself, and of the seal.
func keysOfLog(t *testing.T) []string {
	t.Helper()
	cfg := Config{Version: "x", Predecessor: &Head{Instance: "x", Sequence: 1, Hash: "x"}}
	sealing := newChain(newInstance())
	var keys []string
	for _, line := range [][]byte{
		cfg.appendStart(nil, time.Now()), cfg.appendEnd(nil, time.Now()), (&gap{count: 1}).appendJSON(nil, time.Now(), "x"),
		sealing.seal(nil, []byte("{\"event.kind\":\"event\"}\n")),
	} {
		keys = append(keys, keysOf(t, line)...)
	}
	return keys
}

// fillValue sets every field that is empty to something.
func fillValue(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case !f.CanSet() || !f.IsZero():
		case f.Type() == reflect.TypeFor[time.Time]():
			f.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
		case f.Kind() == reflect.Struct:
			fillValue(f)
		case f.Kind() == reflect.String:
			f.SetString("x")
		case f.Kind() == reflect.Slice:
			f.Set(reflect.ValueOf([]string{"x"}))
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.CanInt():
			f.SetInt(2)
		}
	}
}
