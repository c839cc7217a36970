package accesslog

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// What a line is long at most, without its seal: that of a stranger, and any.
const (
	longestOfStrangers = 8 << 10
	longestLine        = 32 << 10
)

// TestALineHasABoundHoweverItIsEscaped: what a stranger sends is written with up to six
// bytes for each, and nobody's line costs more for it.
func TestALineHasABoundHoweverItIsEscaped(t *testing.T) {
	for name, hostile := range map[string]string{
		"controls": "\x01", "stray bytes": "\xff", "quotation marks": `"`, "bidi": "\u202e", "beyond the basic plane": "\U000e0001", "letters": "a", "percent": "%",
	} {
		t.Run(name, func(t *testing.T) {
			long := strings.Repeat(hostile, 64<<10)
			stranger := Record{Action: ActionRefused, Decision: DecisionDeny, Reason: "host", RequestID: "abcdefghij234567", Method: long, Host: long, Path: long, Query: long, UserAgent: long, Cause: long}
			event := Record{Action: ActionConfig, Event: new(Event)}
			var all Record
			for _, r := range []*Record{&all, &event} {
				fillLong(reflect.ValueOf(r).Elem(), long)
			}
			all.Event, all.User = nil, long
			for of, test := range map[string]struct {
				give Record
				most int
			}{
				"a stranger's": {stranger, longestOfStrangers}, "a person's": {all, longestLine}, "an event's": {event, longestLine},
			} {
				line := test.give.AppendJSON(nil, "gateway")
				if len(line) > test.most || !json.Valid(line) {
					t.Errorf("%s line has %d bytes, want JSON of at most %d", of, len(line), test.most)
				}
			}
		})
	}
}

// fillLong sets all text to something long.
func fillLong(v reflect.Value, long string) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case !f.CanSet():
		case f.Kind() == reflect.Struct:
			fillLong(f, long)
		case f.Kind() == reflect.Pointer && !f.IsNil():
			fillLong(f.Elem(), long)
		case f.Kind() == reflect.String && f.Type().Name() == "string":
			f.SetString(long)
		case f.Kind() == reflect.Slice:
			f.Set(reflect.ValueOf([]string{long, long, long, long}))
		}
	}
}

func TestAListIsCutBetweenItsEntries(t *testing.T) {
	r := full()
	r.Groups = strings.Split(strings.Repeat("a-group-of-people\x00,", 1000), ",")
	var got struct {
		Roles  []string `json:"user.roles"`
		Path   string   `json:"url.path"`
		Domain string   `json:"url.domain"`
	}
	if err := json.Unmarshal(r.AppendJSON(nil, "gateway"), &got); err != nil {
		t.Fatal(err)
	}
	last := len(got.Roles) - 1
	if want := (maxList - len(`["…"]`)) / len(`"a-group-of-people\u0000",`); last != want || got.Roles[last] != "…" || got.Roles[last-1] != "a-group-of-people\x00" {
		t.Errorf("%d roles and %q, want %d and an ellipsis", last, got.Roles[last], want)
	}
	if got.Path != r.Path || got.Domain != r.Host {
		t.Errorf("what comes behind is %q at %q", got.Path, got.Domain)
	}
}
