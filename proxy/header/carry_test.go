package header

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCarryTakesWhatTheGatewayHasSet hands cards on, as a sidecar does.
func TestCarryTakesWhatTheGatewayHasSet(t *testing.T) {
	formats := map[string]Format{
		"default": {AllGroups: true},
		"lines":   {AllGroups: true, Profiles: []Profile{{User: User, Groups: Groups, Separator: Lines}}},
		"custom":  {AllGroups: true, Profiles: []Profile{{User: "X-My-User", Groups: "X-My-Group", Separator: Lines}}},
		"nothing": {Profiles: []Profile{}},
	}
	for _, name := range []string{XForwarded, Remote, WebAuth, Authentik} {
		formats[name] = Format{AllGroups: true, Profiles: []Profile{profile(t, name)}}
	}
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			card := cardOf(t, format, jorg)
			in, want := http.Header{"Accept": {"*/*"}, "X-Auth-User": {"root"}, "X-Forwarded-Port": {"1"}}, http.Header{"Accept": {"*/*"}}
			card.Set(in)
			card.Tell(want)
			if got := PersonOf(in); got != "j%C3%B6rg@example.com" {
				t.Errorf("the log's person is %q", got)
			}
			if err := Check(in); err != nil {
				t.Fatalf("Check: %v", err)
			}
			if err := Carry(in, in); err != nil {
				t.Fatalf("Carry: %v", err)
			}
			if diff := cmp.Diff(want, in); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCarryRefusesWhatNoGatewaySets(t *testing.T) {
	var list *ListError
	var ambiguous *AmbiguousError
	for name, test := range map[string]struct {
		in http.Header
		as any
	}{
		"two lists":                {http.Header{SetNames: {"X-A", "X-B"}, "X-A": {"1"}, "X-B": {"1"}}, &ambiguous},
		"two persons":              {http.Header{Person: {"alice", "root"}}, &ambiguous},
		"an empty list":            {http.Header{SetNames: {""}}, &list},
		"a name twice":             {http.Header{SetNames: {"X-A,X-A"}, "X-A": {"1"}}, &list},
		"another spelling":         {http.Header{SetNames: {"x-a"}, "X-A": {"1"}}, &list},
		"blanks":                   {http.Header{SetNames: {"X-A, X-B"}, "X-A": {"1"}, "X-B": {"1"}}, &list},
		"a name that is no name":   {http.Header{SetNames: {"X_a"}, "X_a": {"1"}}, &list},
		"the host":                 {http.Header{SetNames: {"Host"}, "Host": {"1"}}, &list},
		"the client's address":     {http.Header{SetNames: {"X-Real-Ip"}, "X-Real-Ip": {"1"}}, &list},
		"a name of our own":        {http.Header{SetNames: {"X-Sallyport-Assertion=2"}, Assertion: {"1", "2"}}, &list},
		"no number":                {http.Header{SetNames: {"X-A="}, "X-A": {"1"}}, &list},
		"one line as several":      {http.Header{SetNames: {"X-A=1"}, "X-A": {"1"}}, &list},
		"a number in another form": {http.Header{SetNames: {"X-A=+2"}, "X-A": {"1", "2"}}, &list},
		"too many lines":           {http.Header{SetNames: {"X-A=10001"}, "X-A": {"1"}}, &list},
		"too many names":           {http.Header{SetNames: {strings.Repeat("X-A,", 100)}}, &list},
		"a name that is not there": {http.Header{SetNames: {"X-A"}}, &ambiguous},
		"a name that came twice":   {http.Header{SetNames: {"X-A"}, "X-A": {"1", "2"}}, &ambiguous},
		"a line too much":          {http.Header{SetNames: {"X-A=2"}, "X-A": {"1", "2", "3"}}, &ambiguous},
		"a line too few":           {http.Header{SetNames: {"X-A=2"}, "X-A": {"1"}}, &ambiguous},
	} {
		out := http.Header{User: {"root"}, "Accept": {"*/*"}}
		if err := Carry(out, test.in); !errors.As(err, test.as) || fmt.Sprint(Check(test.in)) != err.Error() {
			t.Errorf("%s: Carry = %v and Check = %v, want the same %T", name, err, Check(test.in), test.as)
		}
		if diff := cmp.Diff(http.Header{"Accept": {"*/*"}}, out); diff != "" {
			t.Errorf("%s: headers after a refusal (-want +got):\n%s", name, diff)
		}
	}
}

func TestCarryAllocatesNothing(t *testing.T) {
	in := http.Header{User: {"alice"}, Email: {"alice"}, Groups: {"engineers"}, RequestID: {"r"}, ForwardedFor: {"192.0.2.1"}, "Accept": {"a"}}
	out := in.Clone()
	if n := testing.AllocsPerRun(100, func() {
		if Carry(out, in) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("Carry allocates %v times, want 0", n)
	}
}

// FuzzCarry holds what an application behind a sidecar relies on, whatever list came.
func FuzzCarry(f *testing.F) {
	f.Add("X-My-User", "X-My-User", "alice")
	f.Add("X-Forwarded-Groups=2,X-A", "X-A", "root")
	f.Add("Host,Cookie=2", "X_Forwarded_User", "root")
	f.Fuzz(func(t *testing.T, list, name, value string) {
		in := http.Header{User: {"alice"}, SetNames: {list}, name: {value}}
		out := http.Header{"Host": {"a"}, "X_forwarded_user": {"root"}, "X-Real-Ip": {"127.0.0.1"}, Email: {"root"}}
		err := Carry(out, in)
		for got, values := range out {
			switch {
			case got == SetNames || got == Person || !plain(got):
				t.Fatalf("%q: %q reached the application", got, values)
			case err != nil && Managed(got):
				t.Fatalf("managed %q after %v", got, err)
			case Managed(got) && !cmp.Equal(in[got], values):
				t.Fatalf("%q: %q is not what the gateway has set", got, values)
			}
		}
	})
}
